"""Do the optimizers take the steps of the published code, number by number?

    python benchmarks/compare_references.py     # writes results/references.json

The same network, weights and minibatches for 50 steps, in single and in double precision.
A figure is the largest distance between the two trajectories over the length of the
weights. Where other code departs from the paper, a second row shows ours with the same
departure: then nothing else is different. Needs ``pytorch_optimizer``, ``schedulefree``,
``torch_optimizer`` and ``pytorch_ranger``, none of which sksharp uses.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import _harness as harness
import pytorch_optimizer
import pytorch_ranger
import schedulefree
import torch
import torch_optimizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sksharp import optim
from sksharp.averaging import EMA, SWA

N_STEPS, N_ROWS, N_FEATURES, N_CLASSES = 50, 32, 20, 3
RHO = 0.1


def minibatches(dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Return the minibatches, the same numbers in every precision."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N_STEPS, N_ROWS, N_FEATURES, generator=generator)
    plane = torch.randn(N_FEATURES, N_CLASSES, generator=generator)
    return list(zip(X.to(dtype), (X @ plane).argmax(-1), strict=True))


def network(dtype: torch.dtype) -> nn.Module:
    """Return the network with its initial weights, the same in every precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Linear(N_FEATURES, 16), nn.Tanh(), nn.Linear(16, N_CLASSES))
        return nn.Sequential(*layers).to(dtype)


def one_matrix(dtype: torch.dtype) -> nn.Module:
    """Return a network of one parameter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(N_FEATURES, N_CLASSES, bias=False).to(dtype)


def flat(model: nn.Module) -> Tensor:
    """Return a copy of all weights, as one vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


class Side:
    """One of the two trainings of a comparison.

    Parameters
    ----------
    make : callable
        Takes the module, returns the optimizer.

    style : {'closure', 'plain', 'before', 'set'}
        Whether ``step`` takes a closure, takes none, wants a gradient before the closure,
        or was given the closure.

    averages : callable or None
        Makes what is averaged after every step, to be compared in the weights' place.

    ends : callable or None
        Called with the optimizer at the end; only what it leaves is then compared.
    """

    def __init__(
        self,
        make: Callable[[nn.Module], Any],
        style: str = "closure",
        *,
        averages: Callable[[nn.Module], Any] | None = None,
        ends: Callable[[Any], Any] | None = None,
    ) -> None:
        self.make, self.style = make, style
        self.averages, self.ends = averages, ends

    def train(self, model: nn.Module, dtype: torch.dtype) -> Tensor:
        """Return the weights after every step, of shape (n_steps, n_weights)."""
        optimizer = self.make(model)
        average = None if self.averages is None else self.averages(model)
        path = []
        for x, y in minibatches(dtype):
            self._step(optimizer, model, x, y)
            path.append(flat(model) if average is None else average(model))
        if self.ends is None:
            return torch.stack(path)
        self.ends(optimizer)
        return flat(model).unsqueeze(0)

    def _step(self, optimizer: Any, model: nn.Module, x: Tensor, y: Tensor) -> None:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            return loss

        if self.style == "set":
            optimizer.set_closure(cross_entropy, x, y)
            optimizer.step()
            return
        if self.style in ("plain", "before"):
            closure()
        optimizer.step(*([] if self.style == "plain" else [closure]))


@dataclass
class Comparison:
    """An optimizer of ours, one of others, and what is to be known of the difference."""

    method: str
    reference: str
    ours: Side
    theirs: Side
    note: str = ""
    module: Callable[[torch.dtype], nn.Module] = network
    without: Callable[[], AbstractContextManager[Any]] = nullcontext

    def difference(self, dtype: torch.dtype) -> float:
        """Return the largest distance of the trajectories, relative to the weights."""
        ours = self.ours.train(self.module(dtype), dtype)
        with self.without():
            theirs = self.theirs.train(self.module(dtype), dtype)
        distance = (ours - theirs).double().norm(dim=1) / theirs.double().norm(dim=1)
        return float(distance.max())


def of(optimizer: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return a function that makes an optimizer of a module's parameters."""
    return lambda model: optimizer(model.parameters(), *args, **options)


SGD = {"lr": 0.05, "momentum": 0.9}
ADAM = {"lr": 0.01}
BASES = {
    "SGD with momentum": (torch.optim.SGD, SGD),
    "Adam": (torch.optim.Adam, ADAM),
}
THEIRS = pytorch_optimizer
NORM_IN_SINGLE = "Takes the norm in single precision, also of weights in double."


def sam_family() -> list[Comparison]:
    """Return the comparisons of two-gradient methods with pytorch_optimizer."""
    name, rows = "pytorch_optimizer", []
    for base, (cls, options) in BASES.items():
        rows.append(
            Comparison(
                f"SAM over {base}",
                f"{name}.SAM",
                Side(of(optim.SAM, cls, rho=RHO, **options)),
                Side(of(THEIRS.SAM, cls, rho=RHO, **options), "before"),
                NORM_IN_SINGLE,
            )
        )
    base, options = BASES["SGD with momentum"]
    theirs = Side(of(THEIRS.SAM, base, rho=0.5, adaptive=True, **options), "before")
    rows += [
        Comparison(
            "ASAM",
            f"{name}.SAM(adaptive=True)",
            Side(of(optim.ASAM, base, rho=0.5, **options)),
            theirs,
            "Scales biases too and has no eta, against the paper's experiments.",
        ),
        Comparison(
            "ASAM, biases scaled, `eta=0`",
            f"{name}.SAM(adaptive=True)",
            Side(partial(asam_of_all, base=base, rho=0.5, **options)),
            theirs,
            NORM_IN_SINGLE,
        ),
        Comparison(
            "GSAM",
            f"{name}.GSAM",
            Side(of(optim.GSAM, base, rho=RHO, gsam_alpha=0.4, **options)),
            Side(partial(their_gsam, base=base, **options), "set"),
            NORM_IN_SINGLE,
        ),
    ]
    for words, (cls, options) in BASES.items():
        for decouple in (False, True):
            own = {"rho": RHO, "gamma": 0.8, "decouple": decouple, **options}
            rows.append(
                Comparison(
                    f"WSAM, {'de' * decouple}coupled, over {words}",
                    f"{name}.WSAM",
                    Side(of(optim.WSAM, cls, **own)),
                    Side(partial(their_wsam, base=cls, **own)),
                    NORM_IN_SINGLE,
                )
            )
    return [*rows, *looksam(), *friendly_sam()]


def asam_of_all(model: nn.Module, *, base: Any, **options: Any) -> optim.ASAM:
    """Make an ASAM that takes every entry of every parameter for a weight."""
    groups = [{"params": [p], "n_scaled": p.shape[-1]} for p in model.parameters()]
    return optim.ASAM(groups, base, eta=0.0, **options)


def their_gsam(model: nn.Module, *, base: Any, **options: Any) -> Any:
    """Make the GSAM of pytorch_optimizer, with a radius that stands."""
    inner = base(model.parameters(), **options)
    radius = SimpleNamespace(step=lambda: RHO)
    return THEIRS.GSAM(model.parameters(), inner, model, radius, alpha=0.4)


def their_wsam(model: nn.Module, *, base: Any, **options: Any) -> Any:
    """Make the WSAM of pytorch_optimizer."""
    return THEIRS.WSAM(model, model.parameters(), base, **options)


def looksam() -> list[Comparison]:
    """Return the comparisons of LookSAM."""
    base, options = BASES["SGD with momentum"]
    own = {"looksam_k": 5, "looksam_alpha": 0.7, "rho": RHO, **options}
    theirs = {"k": 5, "alpha": 0.7, "rho": RHO, **options}
    row = partial(
        Comparison,
        reference="pytorch_optimizer.LookSAM",
        ours=Side(of(optim.LookSAM, base, **own)),
        theirs=Side(of(THEIRS.LookSAM, base, **theirs), "before"),
    )
    return [
        row(
            "LookSAM",
            note="Projects each tensor by itself, not the whole gradient. "
            "Evaluates twice in every step, so it saves nothing.",
        ),
        row(
            "LookSAM, one parameter",
            module=one_matrix,
            note=f"{NORM_IN_SINGLE} What the projection leaves is a hundredth to a tenth "
            "of the gradient, so rounding counts for more.",
        ),
    ]


def friendly_sam() -> list[Comparison]:
    """Return the comparisons of Friendly-SAM."""
    base, options = BASES["SGD with momentum"]
    decay = 0.9

    def row(method: str, sigma: float, theirs: float, note: str) -> Comparison:
        return Comparison(
            method,
            "pytorch_optimizer.FriendlySAM",
            Side(
                of(
                    optim.FriendlySAM,
                    base,
                    rho=RHO,
                    sigma=sigma,
                    decay=decay,
                    **options,
                )
            ),
            Side(
                of(
                    THEIRS.FriendlySAM,
                    base,
                    rho=RHO,
                    sigma=theirs,
                    lmbda=decay,
                    **options,
                ),
                "before",
            ),
            note,
        )

    # with the mean m' of before, g - s m' is along g - sigma m of now for this sigma
    same = 0.5 / (decay + 0.5 * (1 - decay))
    return [
        row("Friendly-SAM, sigma = 1", 1.0, 1.0, NORM_IN_SINGLE),
        row(
            "Friendly-SAM, sigma = 0.5",
            0.5,
            0.5,
            "Subtracts the mean as it was before the step's gradient entered it.",
        ),
        row("Friendly-SAM, sigma for the mean of before", same, 0.5, NORM_IN_SINGLE),
    ]


def adaptive() -> list[Comparison]:
    """Return the comparisons of RAdam, AdamW, Ranger and Muon."""
    radam, ranger = Side(of(optim.RAdam, **ADAM)), Side(of(optim.Ranger, **ADAM))
    decayed = {"weight_decay": 0.1, **ADAM}
    muon = Side(of(optim.Muon, eps=0.0, **decayed))
    in_single = "Computes in single precision, also with weights in double."
    return [
        Comparison(
            "RAdam", "torch.optim.RAdam", radam, Side(of(torch.optim.RAdam, **ADAM))
        ),
        Comparison(
            "RAdam",
            "torch_optimizer.RAdam",
            radam,
            Side(of(torch_optimizer.RAdam, **ADAM)),
            in_single,
        ),
        Comparison(
            "RAdam",
            "pytorch_optimizer.RAdam",
            radam,
            Side(of(THEIRS.RAdam, **ADAM)),
            "Takes no step while the variance is unknown, here the first five.",
        ),
        Comparison(
            "RAdam",
            "pytorch_optimizer.RAdam(degenerated_to_sgd=True)",
            radam,
            Side(of(THEIRS.RAdam, degenerated_to_sgd=True, **ADAM)),
        ),
        Comparison(
            "AdamW",
            "torch.optim.AdamW",
            Side(of(optim.AdamW, **decayed)),
            Side(of(torch.optim.AdamW, **decayed)),
            "Adds epsilon to the corrected root: ours is in scikit-learn's form.",
        ),
        Comparison(
            "AdamW, `eps=0`",
            "torch.optim.AdamW",
            Side(of(optim.AdamW, eps=0.0, **decayed)),
            Side(of(torch.optim.AdamW, eps=0.0, **decayed)),
        ),
        Comparison(
            "Ranger",
            "pytorch_ranger.Ranger",
            ranger,
            Side(of(pytorch_ranger.Ranger, **ADAM), "plain"),
            in_single + " Does not call a closure.",
        ),
        Comparison(
            "Ranger",
            "pytorch_optimizer.Ranger",
            ranger,
            Side(of(THEIRS.Ranger, **ADAM)),
            "Centralizes gradients; no step while the variance is unknown.",
        ),
        Comparison(
            "Ranger",
            "pytorch_optimizer.Ranger(use_gc=False, degenerated_to_sgd=True)",
            ranger,
            Side(of(THEIRS.Ranger, use_gc=False, degenerated_to_sgd=True, **ADAM)),
        ),
        Comparison(
            "Muon",
            "torch.optim.Muon, biases by Adam",
            muon,
            Side(torch_muon),
            "Orthogonalizes in bfloat16.",
        ),
        Comparison(
            "Muon",
            "torch.optim.Muon in the precision of the weights",
            muon,
            Side(torch_muon),
            without=partial(mock.patch.object, Tensor, "bfloat16", lambda x: x),
        ),
    ]


def torch_muon(model: nn.Module) -> Any:
    """Make torch's Muon of the matrices, with torch's Adam of the biases."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if p.ndim != 2]
    parts = (
        torch.optim.Muon(
            matrices,
            momentum=0.95,
            weight_decay=0.1,
            adjust_lr_fn="match_rms_adamw",
            **ADAM,
        ),
        torch.optim.Adam(rest, eps=0.0, **ADAM),
    )

    def step(closure: Callable[[], Any]) -> None:
        closure()
        for part in parts:
            part.step()

    return SimpleNamespace(zero_grad=lambda: [p.zero_grad() for p in parts], step=step)


def averages() -> list[Comparison]:
    """Return the comparisons of Lookahead, Schedule-Free and averages of weights."""
    adam = of(torch.optim.Adam, **ADAM)
    ours = of(optim.Lookahead, torch.optim.Adam, k=5, alpha=0.5, **ADAM)
    at_end = {"ends": lambda optimizer: optimizer.synchronize()}
    free = {"warmup": 10, "lr": 0.02, "weight_decay": 0.1}
    free_sgd = {"warmup": 10, "lr": 0.5}
    return [
        Comparison(
            "Lookahead",
            "pytorch_optimizer.Lookahead",
            Side(ours),
            Side(lambda model: THEIRS.Lookahead(adam(model), k=5, alpha=0.5)),
        ),
        Comparison(
            "Lookahead",
            "torch_optimizer.Lookahead",
            Side(ours),
            Side(lambda model: torch_optimizer.Lookahead(adam(model), k=5, alpha=0.5)),
            "Its slow weights and its cycles begin after the first step.",
        ),
        Comparison(
            "Lookahead that begins after a step",
            "torch_optimizer.Lookahead",
            Side(partial(late_lookahead, make=ours)),
            Side(lambda model: torch_optimizer.Lookahead(adam(model), k=5, alpha=0.5)),
        ),
        Comparison(
            "Schedule-Free AdamW",
            "schedulefree.AdamWScheduleFree",
            Side(of(optim.ScheduleFree, **free), **at_end),
            Side(
                partial(
                    their_schedule_free, cls=schedulefree.AdamWScheduleFree, **free
                ),
                ends=lambda optimizer: optimizer.eval(),
            ),
        ),
        Comparison(
            "Schedule-Free SGD",
            "schedulefree.SGDScheduleFree",
            Side(of(optim.ScheduleFree, adaptive=False, **free_sgd), **at_end),
            Side(
                partial(
                    their_schedule_free,
                    cls=schedulefree.SGDScheduleFree,
                    momentum=0.9,
                    **free_sgd,
                ),
                ends=lambda optimizer: optimizer.eval(),
            ),
        ),
        Comparison(
            "SWA",
            "torch.optim.swa_utils.AveragedModel",
            Side(adam, averages=lambda model: our_average(SWA())),
            Side(adam, averages=lambda model: torch_average(model)),
        ),
        Comparison(
            "EMA",
            "torch.optim.swa_utils.AveragedModel",
            Side(adam, averages=lambda model: our_average(EMA(decay=0.9))),
            Side(
                adam,
                averages=lambda model: torch_average(
                    model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
                ),
            ),
        ),
    ]


def late_lookahead(model: nn.Module, *, make: Callable[[nn.Module], Any]) -> Any:
    """Make a Lookahead whose slow weights are those after the first step."""
    optimizer = make(model)
    count = iter(range(N_STEPS))

    def step(closure: Callable[[], Any]) -> None:
        optimizer.step(closure)
        if next(count) == 0:
            optimizer.reset_to_params()

    return SimpleNamespace(zero_grad=optimizer.zero_grad, step=step)


def their_schedule_free(
    model: nn.Module, *, cls: Any, warmup: int, **options: Any
) -> Any:
    """Make an optimizer of the schedulefree package, in the mode of training."""
    optimizer = cls(model.parameters(), warmup_steps=warmup, **options)
    optimizer.train()
    return optimizer


def our_average(average: Any) -> Callable[[nn.Module], Tensor]:
    """Return a function that takes the weights into an average of ours and returns it."""

    def update(model: nn.Module) -> Tensor:
        average.update(list(model.parameters()))
        return torch.cat([mean.flatten() for mean in average.averaged])

    return update


def torch_average(model: nn.Module, **options: Any) -> Callable[[nn.Module], Tensor]:
    """Return a function that takes the weights into torch's average and returns it."""
    averaged = torch.optim.swa_utils.AveragedModel(model, **options)

    def update(model: nn.Module) -> Tensor:
        averaged.update_parameters(model)
        return flat(averaged.module)

    return update


def main() -> None:
    """Compare and store the figures."""
    rows = []
    for row in (*sam_family(), *adaptive(), *averages()):
        single, double = (row.difference(d) for d in (torch.float32, torch.float64))
        rows.append(
            {
                "method": row.method,
                "reference": row.reference,
                "float32": single,
                "float64": double,
                "note": row.note,
            }
        )
        print(f"{row.method:42s} {row.reference:64s} {single:.1e} {double:.1e}")
    environment = harness.environment(
        "pytorch_optimizer", "schedulefree", "torch_optimizer", "pytorch_ranger"
    )
    del environment["clock"]
    result = {"environment": environment, "n_steps": N_STEPS, "rows": rows}
    print("wrote", harness.save("references", result))


if __name__ == "__main__":
    main()
