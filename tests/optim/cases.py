"""The optimizers under test, and what they are tested on.

Imported by processes that tests start too, so it imports nothing relative.
"""

from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from sksharp.optim import (
    ASAM,
    ESAM,
    GSAM,
    MSAM,
    SAM,
    SGD,
    WSAM,
    Adam,
    AdamW,
    AdaptivePerturbation,
    FisherSAM,
    FriendlySAM,
    Lookahead,
    LookSAM,
    Muon,
    RAdam,
    Ranger,
    ScheduleFree,
    SharpnessAware,
    WeightedSharpness,
    YellowFin,
)

# one value for each of four models
LR = {"lr": [0.1, 0.002, 0.03, 0.01]}
MOMENTUM = {"momentum": [0.0, 0.5, 0.9, 0.99]}
MOMENTS = {
    "beta_1": [0.0, 0.8, 0.9, 0.95],
    "beta_2": [0.5, 0.9, 0.99, 0.999],
    "eps": [1e-8, 1e-5, 1e-3, 0.1],
}
ALPHA = {"alpha": [0.0, 0.3, 0.6, 1.0]}
RHO = {"rho": [0.0, 0.02, 0.1, 0.5]}
GAMMA = {"gamma": [0.0, 0.5, 0.8, 0.9]}
DECAY = {"weight_decay": [0.0, 1.0, 0.3, 0.01]}
WARMUP = {"warmup": [0.0, 1.0, 9.0, 3.0]}
ETA = {"eta": [0.0, 0.01, 0.1, 1.0]}
GSAM_ALPHA = {"gsam_alpha": [0.0, 0.1, 0.4, 1.0]}
FRIENDLY = {"sigma": [0.0, 0.5, 1.0, 1.0], "decay": [0.0, 0.5, 0.9, 0.99]}
LOOKSAM_ALPHA = {"looksam_alpha": [0.0, 0.2, 0.7, 1.0]}
N_MODELS = 4
MODEL = 2  # the one that tests of a single model take


class Case(NamedTuple):
    """An optimizer or a composition, with hyperparameters for each of the models."""

    optimizer: Callable[..., Any]
    per_model: dict[str, list[float]]
    # what takes a model_ndim without being an ascent
    knows_models: bool = False
    # whether each evaluation of the first step has gradients on, if not as usual
    evaluations: tuple[bool, ...] | None = None

    @property
    def is_ascent(self) -> bool:
        """Whether a step evaluates the closure twice."""
        return "rho" in self.per_model and not self.knows_models

    def values(self, model: int = MODEL) -> SimpleNamespace:
        """Hyperparameters of one model."""
        return SimpleNamespace(**{n: v[model] for n, v in self.per_model.items()})

    def make(self, params: Any, model: int = MODEL) -> torch.optim.Optimizer:
        """Make the optimizer of one model."""
        return self.optimizer(params, **vars(self.values(model)))

    def make_for_all(
        self, params: Any, shared: Iterable[str] = ()
    ) -> torch.optim.Optimizer:
        """Make the optimizer of all models, on the leading axis of the parameters.

        The hyperparameters that they share are numbers, the others tensors.
        """
        tensors = {
            name: torch.tensor(values, dtype=torch.float64)
            for name, values in self.per_model.items()
        }
        numbers = {name: getattr(self.values(), name) for name in shared}
        axis = {"model_ndim": 1} if self.is_ascent or self.knows_models else {}
        return self.optimizer(params, **{**tensors, **numbers}, **axis)


def weighted_asam(params: Any, *, rho: Any, eta: Any, gamma: Any, **other: Any) -> Any:
    """Make WSAM's combination of ASAM's perturbation."""
    return SharpnessAware(
        params,
        perturbation=AdaptivePerturbation(rho, eta),
        combination=WeightedSharpness(gamma),
        **other,
    )


torch_sgd = partial(torch.optim.SGD, lr=0.02, momentum=0.9, nesterov=True)
torch_adam = partial(torch.optim.Adam, lr=0.02, betas=(0.8, 0.99))

CASES = {
    "SGD": Case(SGD, LR | MOMENTUM),
    "SGD without Nesterov": Case(partial(SGD, nesterov=False), LR | MOMENTUM),
    "Adam": Case(Adam, LR | MOMENTS),
    "RAdam": Case(RAdam, LR | MOMENTS),
    "Ranger": Case(partial(Ranger, k=3), LR | MOMENTS | ALPHA),
    "Lookahead over Adam": Case(partial(Lookahead, k=3), LR | MOMENTS | ALPHA),
    "Lookahead over torch's Adam": Case(
        partial(Lookahead, base_optimizer=torch_adam, k=3), ALPHA
    ),
    "AdamW": Case(AdamW, LR | MOMENTS | DECAY),
    "Schedule-Free": Case(ScheduleFree, LR | MOMENTS | DECAY | WARMUP),
    "Schedule-Free SGD": Case(
        partial(ScheduleFree, adaptive=False),
        LR | {"beta_1": MOMENTS["beta_1"]} | DECAY | WARMUP,
    ),
    "Muon": Case(Muon, LR | MOMENTUM | MOMENTS | DECAY, knows_models=True),
    "YellowFin": Case(
        partial(YellowFin, beta=0.9, window=4, slow_start=10), LR, knows_models=True
    ),
    "MSAM over SGD": Case(MSAM, RHO | LR | MOMENTUM, knows_models=True),
    "MSAM over Adam": Case(
        partial(MSAM, base_optimizer=Adam), RHO | LR | MOMENTS, knows_models=True
    ),
    "MSAM over Ranger": Case(
        partial(MSAM, base_optimizer=Ranger, k=3),
        RHO | LR | MOMENTS | ALPHA,
        knows_models=True,
    ),
    "MSAM over torch's SGD": Case(
        partial(MSAM, base_optimizer=torch_sgd), RHO, knows_models=True
    ),
    "MSAM over torch's Adam": Case(
        partial(MSAM, base_optimizer=torch_adam), RHO, knows_models=True
    ),
    "SAM over SGD": Case(SAM, RHO | LR | MOMENTUM),
    "SAM over Adam": Case(partial(SAM, base_optimizer=Adam), RHO | LR | MOMENTS),
    "SAM over Ranger": Case(
        partial(SAM, base_optimizer=Ranger, k=3), RHO | LR | MOMENTS | ALPHA
    ),
    "SAM over torch's SGD": Case(partial(SAM, base_optimizer=torch_sgd), RHO),
    "SAM over torch's Adam": Case(partial(SAM, base_optimizer=torch_adam), RHO),
    "SAM over Schedule-Free": Case(
        partial(SAM, base_optimizer=ScheduleFree), RHO | LR | MOMENTS | DECAY | WARMUP
    ),
    "WSAM decoupled over SGD": Case(
        partial(WSAM, decouple=True), RHO | GAMMA | LR | MOMENTUM
    ),
    "WSAM coupled over SGD": Case(
        partial(WSAM, decouple=False), RHO | GAMMA | LR | MOMENTUM
    ),
    "WSAM coupled over Adam": Case(
        partial(WSAM, base_optimizer=Adam), RHO | GAMMA | LR | MOMENTS
    ),
    "WSAM decoupled over torch's SGD": Case(
        partial(WSAM, base_optimizer=torch_sgd), RHO | GAMMA
    ),
    "Lookahead over SAM over Adam": Case(
        partial(Lookahead, base_optimizer=partial(SAM, base_optimizer=Adam), k=3),
        RHO | LR | MOMENTS | ALPHA,
    ),
    # entries 0 and 1 of the last axis of every parameter, so that vectors have some
    "ASAM over SGD": Case(partial(ASAM, n_scaled=2), RHO | ETA | LR | MOMENTUM),
    "ASAM over torch's Adam": Case(partial(ASAM, base_optimizer=torch_adam), RHO | ETA),
    "GSAM over SGD": Case(GSAM, RHO | GSAM_ALPHA | LR | MOMENTUM),
    "GSAM over Ranger": Case(
        partial(GSAM, base_optimizer=Ranger, k=3),
        RHO | GSAM_ALPHA | LR | MOMENTS | ALPHA,
    ),
    "FisherSAM over Adam": Case(
        partial(FisherSAM, base_optimizer=Adam), RHO | ETA | LR | MOMENTS
    ),
    "FriendlySAM over SGD": Case(FriendlySAM, RHO | FRIENDLY | LR | MOMENTUM),
    "FriendlySAM over torch's Adam": Case(
        partial(FriendlySAM, base_optimizer=torch_adam), RHO | FRIENDLY
    ),
    "LookSAM over SGD": Case(
        partial(LookSAM, looksam_k=7), RHO | LOOKSAM_ALPHA | LR | MOMENTUM
    ),
    "LookSAM over torch's Adam": Case(
        partial(LookSAM, base_optimizer=torch_adam, looksam_k=7), RHO | LOOKSAM_ALPHA
    ),
    "SAM over Adam, late and every third step": Case(
        partial(SAM, base_optimizer=Adam, interval=3, start=1),
        RHO | LR | MOMENTS,
        evaluations=(True,),
    ),
    "clipped WSAM over SGD": Case(
        WSAM,
        RHO | GAMMA | LR | MOMENTUM | {"max_grad_norm": [0.1, 1.0, 0.4, 0.01]},
    ),
    "weighted ASAM over Adam": Case(
        partial(weighted_asam, base_optimizer=Adam), RHO | ETA | GAMMA | LR | MOMENTS
    ),
    "ESAM over Adam": Case(
        partial(ESAM, base_optimizer=Adam, fraction=0.3),
        {"rho": [0.01, 0.02, 0.1, 0.5]} | LR | MOMENTS,
        evaluations=(True, False, True),
    ),
}


def initial_weights(seed: int) -> list[Tensor]:
    """Weights and biases of a network of 5 inputs, 7 hidden units and 2 outputs."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(5, 7), (7,), (7, 2), (2,)]
    return [
        0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in shapes
    ]


class Training:
    """A network, or many, trained by regression; can stop at any step and go on."""

    def __init__(
        self, make: Callable[[Any], torch.optim.Optimizer], weights: Iterable[Tensor]
    ) -> None:
        self.params = [nn.Parameter(w) for w in weights]
        self.optimizer = make(self.params)
        self.scheduler: StepLR | None = None
        self.n_steps = 0
        self.loss_scale: float | Tensor = 1.0

    @property
    def takes_rows(self) -> bool:
        """Whether the closure returns the losses of rows and leaves the rest."""
        return isinstance(self.optimizer, ESAM)

    def loss(self) -> Tensor:
        """Loss of each model on the minibatch of this step."""
        return self.row_losses().mean(-1)

    def row_losses(self, rows: Any = slice(None)) -> Tensor:
        """Loss of each model on the rows of the minibatch of this step, or on some."""
        generator = torch.Generator().manual_seed(self.n_steps)
        x = torch.randn(20, 5, generator=generator, dtype=torch.float64)
        y = (2 * x[:, :2]).sin()
        x, y = x[rows], y[rows]
        w_1, b_1, w_2, b_2 = self.params
        hidden = torch.tanh(x @ w_1 + b_1.unsqueeze(-2))
        output = hidden @ w_2 + b_2.unsqueeze(-2)
        losses = (output - y).square().mean(-1)
        return torch.as_tensor(self.loss_scale).unsqueeze(-1) * losses

    def closure(self, *rows: Tensor) -> Tensor:
        """Evaluate the loss and its gradients."""
        if self.takes_rows:
            return self.row_losses(*rows)
        self.optimizer.zero_grad()
        losses = self.loss()
        losses.sum().backward()
        return losses.detach()

    def run(self, n_steps: int) -> list[Tensor]:
        """Train for some steps and return what each of them returned."""
        losses = []
        for _ in range(n_steps):
            losses.append(self.optimizer.step(self.closure))
            if self.scheduler is not None:
                self.scheduler.step()
            self.n_steps += 1
        return losses

    def schedule(self) -> None:
        """Halve the learning rate every two steps from now on."""
        self.scheduler = StepLR(self.optimizer, step_size=2, gamma=0.5)

    def checkpoint(self) -> dict[str, Any]:
        """Return all that another process needs to go on."""
        return {
            "params": [p.detach() for p in self.params],
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler and self.scheduler.state_dict(),
            "n_steps": self.n_steps,
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        with torch.no_grad():
            for p, w in zip(self.params, checkpoint["params"], strict=True):
                p.copy_(w)
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(checkpoint["scheduler"])
        self.n_steps = checkpoint["n_steps"]


def train(
    make: Callable[[Any], torch.optim.Optimizer], n_steps: int = 12
) -> list[Tensor]:
    """Train one network and return its weights."""
    training = Training(make, initial_weights(0))
    training.run(n_steps)
    return [p.detach() for p in training.params]


def walk(
    make: Callable[[Any], torch.optim.Optimizer],
    loss: Callable[[Tensor], Tensor],
    start: Iterable[float],
    n_steps: int = 1,
) -> np.ndarray:
    """Minimize a function of a vector and return where each step begins and ends.

    The optimizer sees the vector in two pieces, if it has two elements.
    """
    vector = torch.tensor(start, dtype=torch.float64)
    pieces = vector.tensor_split(min(2, len(vector)))
    params = [nn.Parameter(piece.clone()) for piece in pieces]
    optimizer = make(params)

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(torch.cat(params))
        value.backward()
        return value.item()

    trajectory = [vector.numpy()]
    for _ in range(n_steps):
        optimizer.step(closure)
        trajectory.append(torch.cat(params).detach().numpy())
    return np.array(trajectory)


def quadratic(hessian: Any, linear: Any = 0.0) -> Callable[[Tensor], Tensor]:
    """Return L(w) = w'Hw/2 - b'w, for H a matrix or, in one dimension, a number."""
    matrix = torch.atleast_2d(torch.tensor(hessian, dtype=torch.float64))
    vector = torch.tensor(linear, dtype=torch.float64)
    return lambda w: w @ matrix @ w / 2 - (vector * w).sum()


def equal(first: Iterable[Tensor], second: Iterable[Tensor]) -> bool:
    """Whether two lists of tensors are the same, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
