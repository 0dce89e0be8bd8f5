"""Whether the optimizers step on a device as on the CPU, in any torch module."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from _cuda_checks import TOLERANCES, judged
from _cuda_runs import Run
from torch import Tensor, nn
from torch.nn import functional as F

from sksharp import optim
from sksharp.averaging import EMA, SWA

# of the distance to the steps in single precision, over what those steps moved
HALF_TOLERANCE = 0.5
N_STEPS = 5

OVER_ADAM: dict[str, Any] = {"base_optimizer": torch.optim.AdamW, "lr": 0.01}
METHODS: dict[str, Callable[..., Any]] = {
    "SAM": partial(optim.SAM, rho=0.05, **OVER_ADAM),
    "SAM over SGD, clipped": partial(
        optim.SAM, base_optimizer=torch.optim.SGD, lr=0.1, max_grad_norm=0.1
    ),
    "WSAM": partial(optim.WSAM, rho=0.05, **OVER_ADAM),
    "ASAM": partial(optim.ASAM, rho=0.5, **OVER_ADAM),
    "GSAM": partial(optim.GSAM, rho=0.05, **OVER_ADAM),
    "FisherSAM": partial(optim.FisherSAM, rho=0.05, eta=100.0, **OVER_ADAM),
    "FriendlySAM": partial(optim.FriendlySAM, rho=0.05, **OVER_ADAM),
    "LookSAM": partial(optim.LookSAM, rho=0.05, looksam_k=2, **OVER_ADAM),
    "MSAM": partial(optim.MSAM, rho=0.5, **OVER_ADAM),
    "Lookahead": partial(optim.Lookahead, base_optimizer=optim.Adam, k=2, lr=0.01),
    "Ranger": partial(optim.Ranger, lr=0.01, k=3),
    "RAdam": partial(optim.RAdam, lr=0.01),
    "Adam": partial(optim.Adam, lr=0.01),
    "AdamW": partial(optim.AdamW, lr=0.01),
    "ScheduleFree": partial(optim.ScheduleFree, lr=0.01),
    "Muon": partial(optim.Muon, lr=0.01),
    "SGD": partial(optim.SGD, lr=0.1, momentum=0.9),
}
# those whose parts differ most, for what a module may be
SOME = ("SAM", "ASAM", "MSAM", "Ranger", "Muon")


def network(device: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a convolutional network with batch normalization, always the same.

    The gradient of a bias before batch normalization is rounding alone, which Adam would
    make as large as any other.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 4),
        )
    return model.to(device, dtype)


def images(device: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return images and labels."""
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(64, 3, 12, 12, generator=generator, dtype=torch.float64)
    y = torch.randint(4, (64,), generator=generator)
    return X.to(device, dtype), y.to(device)


def trained(
    method: str,
    device: str,
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    autocast: torch.dtype | None = None,
    scaler: Any = None,
    backend: str | None = None,
) -> list[Tensor]:
    """Take steps and return the parameters and buffers, on the CPU.

    Parameters
    ----------
    method : str
        Key of ``METHODS``.

    device : str
        Where to train.

    dtype : torch.dtype, default=torch.float32
        Of weights and images.

    channels_last : bool, default=False
        Whether weights and images are in that format.

    autocast : torch.dtype or None, default=None
        Precision of the forward pass.

    scaler : torch.amp.GradScaler or None, default=None
        Scales the loss.

    backend : str or None, default=None
        Of ``torch.compile``, None for not compiled.
    """
    model, (X, y) = network(device, dtype), images(device, dtype)
    if channels_last:
        model, X = (
            model.to(memory_format=torch.channels_last),
            X.to(memory_format=torch.channels_last),
        )
    compiled = None if backend is None else torch.compile(model, backend=backend)
    evaluate = model if compiled is None else compiled
    arguments = (
        {} if compiled is None or method not in ("SAM", "ASAM") else {"replay": model}
    )
    optimizer = METHODS[method](model.parameters(), **arguments)
    for k in range(N_STEPS):
        rows = slice(k * 8, k * 8 + 16)

        def closure(rows: slice = rows) -> Tensor:
            optimizer.zero_grad()
            with torch.autocast(device, autocast, enabled=autocast is not None):
                loss = F.cross_entropy(evaluate(X[rows]), y[rows])
            (loss if scaler is None else scaler.scale(loss)).backward()
            return loss

        if scaler is None:
            optimizer.step(closure)
        else:
            optim.scaled_step(scaler, optimizer, closure)
    values = [*model.parameters(), *model.buffers()]
    return [value.detach().cpu().double() for value in values]


def gap(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Return the largest difference, infinite if a number is not finite."""
    largest = [float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)]
    return max(largest) if all(x == x for x in largest) else float("inf")


def compare_devices(method: str, dtype: str, device: str) -> dict[str, Any]:
    """Compare steps on the device with those on the CPU."""
    kind = getattr(torch, dtype)
    ours = trained(method, device, dtype=kind)
    return judged(gap(ours, trained(method, "cpu", dtype=kind)), TOLERANCES[dtype])


def compare_forms(method: str, device: str, **form: Any) -> dict[str, Any]:
    """Compare steps of a module in another form with those as it comes."""
    is_half = form.get("autocast") is not None
    if form.pop("is_scaled", False):
        form["scaler"] = torch.amp.GradScaler(device, init_scale=2.0**8)
    ours, theirs = trained(method, device, **form), trained(method, device)
    if not is_half:
        return judged(gap(ours, theirs), TOLERANCES["float32"])
    start = [p.detach().cpu().double() for p in network(device).parameters()]
    moved = torch.cat([(b - a).ravel() for a, b in zip(start, theirs, strict=False)])
    apart = torch.cat([(b - a).ravel() for a, b in zip(ours, theirs, strict=True)])
    apart = apart[: len(moved)]  # without the statistics of batches
    return judged(float(apart.norm() / moved.norm()), HALF_TOLERANCE)


def check_overflow(device: str) -> dict[str, Any]:
    """Let a scaled loss overflow: the step is undone and the scale halved."""
    model, (X, y) = network(device), images(device)
    optimizer = optim.SAM(model.parameters(), torch.optim.SGD, lr=0.1)
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
    before = [p.detach().clone() for p in model.parameters()]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X), y) * torch.inf
        scaler.scale(loss).backward()
        return loss

    optim.scaled_step(scaler, optimizer, closure)
    pairs = zip(before, model.parameters(), strict=True)
    undone = all(bool((a == b).all()) for a, b in pairs)
    return {"ok": undone and scaler.get_scale() == 2.0**9}


def check_replay(device: str) -> dict[str, Any]:
    """Take steps without a radius: dropout is drawn once, as by the base optimizer."""
    found = []
    for wrapped in (True, False):
        model = nn.Sequential(network(device), nn.Dropout(0.5), nn.Linear(4, 4))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            model[2] = nn.Linear(4, 4)
        model.to(device)
        X, y = images(device)
        params = model.parameters()
        optimizer = (
            optim.SAM(params, torch.optim.SGD, rho=0.0, lr=0.1)
            if wrapped
            else torch.optim.SGD(params, lr=0.1)
        )

        def closure(model: Any = model, optimizer: Any = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), y)  # noqa: B023
            loss.backward()
            return loss

        devices = [0] if device == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(3)
            for _ in range(N_STEPS):
                optimizer.step(closure)
        found.append([p.detach().cpu().double() for p in model.parameters()])
    return judged(gap(*found), 0.0)


def check_averages(device: str) -> dict[str, Any]:
    """Average the weights of a module on the device and on the CPU."""
    found = []
    for where in (device, "cpu"):
        model, (X, y) = network(where), images(where)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        averages = [SWA(), EMA(0.9)]
        for _ in range(N_STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(X), y).backward()
            optimizer.step()
            for average in averages:
                average.update(list(model.parameters()))
        found.append([p.cpu().double() for a in averages for p in a.averaged])
    return judged(gap(*found), TOLERANCES["float32"])


def check_checkpoint(device: str) -> dict[str, Any]:
    """Go on from the state of an optimizer on the device, as without a break."""
    found = []
    for breaks in (False, True):
        model, (X, y) = network(device), images(device)
        make = partial(METHODS["SAM"], list(model.parameters()))
        optimizer = make()
        for k in range(N_STEPS):
            if breaks and k == 2:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = make()
                optimizer.load_state_dict(state)

            def closure(optimizer: Any = optimizer, model: Any = model) -> Tensor:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(X), y)  # noqa: B023
                loss.backward()
                return loss

            optimizer.step(closure)
        found.append([p.detach().cpu().double() for p in model.parameters()])
    return judged(gap(*found), TOLERANCES["float32"])


def run(part: Run) -> None:
    """Compare devices, then forms of a module on the device."""
    device = part.device
    warnings.simplefilter("ignore")
    # convolutions in TF32 have three digits
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    part.row("an overflow of the scaler", lambda: check_overflow(device))
    part.row("dropout, rho=0", lambda: check_replay(device))
    part.row("averages", lambda: check_averages(device))
    part.row("a checkpoint", lambda: check_checkpoint(device))
    for method in METHODS:
        for dtype in TOLERANCES:
            part.row(
                f"{method}, device",
                lambda m=method, dtype=dtype: compare_devices(m, dtype, device),
                dtype=dtype,
            )
    forms: dict[str, dict[str, Any]] = {
        "channels_last": {"channels_last": True},
        "autocast, bfloat16": {"autocast": torch.bfloat16},
        "GradScaler": {"is_scaled": True},
        "autocast, float16, GradScaler": {"autocast": torch.float16, "is_scaled": True},
        "torch.compile": {"backend": part.pick("inductor", "eager")},
    }
    for form, arguments in forms.items():
        for method in SOME:
            part.row(
                f"{method}, {form}",
                lambda m=method, a=arguments: compare_forms(m, device, **a),
            )
