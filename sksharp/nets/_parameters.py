"""The parameters of the nets: which values are valid, alone and together."""

from __future__ import annotations

import copy
import inspect
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import validate_parameter_constraints
from torch import nn

from .._choices import Choice, in_order, suggesting
from .._numbers import Number, plain_scalar
from ..estimators._combinations import check_cycles, check_swa
from ..estimators._parameters import CONSTRAINTS, RADII, check_options
from ..options.averages import as_snapshots, as_swa
from ..options.schedules import SCHEDULES, LearningRateSchedule, as_schedule
from ..options.solvers import SOLVERS, Solver
from ..training._device import resolve_device
from ._solver import check_base, is_foreign, solvers_of

_POSITIVE = [Number(Real, 0, None, closed="neither")]

NET_CONSTRAINTS: dict[str, Any] = {
    "solver": [Choice(set(SOLVERS), Solver, "sksharp.options.ASAM()")],
    "base_solver": CONSTRAINTS["base_solver"],
    "rho": CONSTRAINTS["rho"],
    "lr": _POSITIVE,
    "learning_rate": [
        Choice(
            {"constant", *SCHEDULES}, LearningRateSchedule, "sksharp.options.Cosine()"
        )
    ],
    "warmup": CONSTRAINTS["warmup"],
    "max_epochs": [Number(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "swa": CONSTRAINTS["swa"],
    "ema_decay": [Number(Real, 0, 1, closed="left"), None],
    "snapshots": CONSTRAINTS["snapshots"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Number(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Number(Real, 1, None, closed="left")],
    "tol": [Number(Real, 0, None, closed="left")],
    "gradient_accumulation": [Number(Integral, 1, None, closed="left")],
    "mixed_precision": [Choice({"bf16", "fp16"}), None],
    "random_state": ["random_state"],
}


def check_parameters(net: Any) -> None:
    """Raise for parameters of a net that are not valid, alone or together."""
    _check_module(net.module)
    params = {name: getattr(net, name) for name in NET_CONSTRAINTS}
    if is_foreign(net.base_solver):
        del params["base_solver"]
    check_options(params)
    constraints = in_order({name: NET_CONSTRAINTS[name] for name in params})
    with suggesting(constraints, params):
        validate_parameter_constraints(constraints, params, type(net).__name__)
    if vars(net)["device"] is not None:
        resolve_device(vars(net)["device"], np.dtype(np.float32))
    if not (net.callbacks in (None, "disable") or isinstance(net.callbacks, list)):
        raise TypeError(
            "callbacks must be a list of skorch's callbacks, None or 'disable', got "
            f"{net.callbacks!r}."
        )
    check_base(net)
    _check_rho(net)
    _check_rate(net)
    _check_averages(net)
    _check_parts(net)


# parameters that a training is planned with: they stay while it goes on
PLANNED = (
    "solver",
    "base_solver",
    "learning_rate",
    "warmup",
    "swa",
    "ema_decay",
    "snapshots",
    "early_stopping",
    "n_iter_no_change",
    "tol",
)


def planned_with(net: Any) -> dict[str, Any]:
    """Return copies of the parameters that a training is planned with."""
    return {name: copy.deepcopy(getattr(net, name)) for name in PLANNED}


def check_plan(net: Any) -> None:
    """Raise if a training that goes on was planned with other parameters."""
    for name, before in net.planned_with_.items():
        now = getattr(net, name)
        if now != before:
            raise ValueError(
                f"{name} must stay the same to continue training, got {name}={now!r} after "
                f"{name}={before!r}. Set it back, or begin anew with fit; initialize makes "
                "a new net too."
            )


def _check_parts(net: Any) -> None:
    outer = solvers_of(net)[0]
    if outer.chooses_rows and net.mixed_precision == "fp16":
        raise ValueError(
            f"mixed_precision='fp16' scales losses, which solver={net.solver!r} compares. "
            "Take 'bf16', or solver='sam'."
        )
    if net.gradient_accumulation == 1:
        return
    if outer.chooses_rows:
        raise ValueError(
            "gradient_accumulation must be 1 for a solver that chooses rows, got "
            f"{net.gradient_accumulation} with solver={net.solver!r}. Take 'sam'."
        )
    if getattr(outer, "micro_batch_size", None) is not None:
        raise ValueError(
            "gradient_accumulation must be 1 with solver__micro_batch_size="
            f"{outer.micro_batch_size}, whose parts have a perturbation each, got "
            f"{net.gradient_accumulation}. Set one of them."
        )


def _check_module(module: Any) -> None:
    is_object = isinstance(module, nn.Module)
    is_class = inspect.isclass(module) and issubclass(module, nn.Module)
    if not (is_object or is_class or callable(module)):
        raise TypeError(
            "module must be a class or an object of torch.nn.Module, or a function that "
            f"makes one, got {module!r}."
        )


def radii_of(net: Any) -> list[float] | None:
    """Return the radii that a fit chooses from, None if it does not."""
    outer = solvers_of(net)[0]
    if isinstance(net.rho, Real) or not outer.takes_radius:
        return None
    if isinstance(net.rho, str):
        return [float(r) for r in outer.scale_radii(np.multiply(RADII, outer.radius))]
    return [float(r) for r in net.rho]


def _check_rho(net: Any) -> None:
    try:
        radii = radii_of(net)
        is_valid = radii is None or (len(radii) > 0 and min(radii) >= 0)
        is_valid = is_valid and bool(np.isfinite(radii or 0).all())
    except (TypeError, ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        raise ValueError(
            "rho must hold at least one radius to choose from, numbers that are "
            f"neither negative nor infinite, got rho={net.rho!r}."
        )


def _check_rate(net: Any) -> None:
    schedule = as_schedule(net.learning_rate)
    lowest = getattr(schedule, "lr_min", 0)
    if lowest > net.lr:
        raise ValueError(
            "learning_rate__lr_min must not exceed lr, from which the rate falls, got "
            f"learning_rate={net.learning_rate!r} with lr={net.lr}. Lower lr_min."
        )
    warmup = plain_scalar(net.warmup)
    if isinstance(warmup, int) and 0 < warmup >= net.max_epochs:
        raise ValueError(
            f"warmup must be shorter than max_epochs={net.max_epochs}, got "
            f"warmup={warmup}. Lower warmup or raise max_epochs."
        )
    reads = {name for solver in solvers_of(net) for name in solver.reads.values()}
    if "learning_rate_init" in reads or is_foreign(net.base_solver):
        return
    swa = as_swa(net.swa)
    asked = {
        "learning_rate": schedule is not None,
        "warmup": net.warmup,
        "snapshots": net.snapshots is not None,
        "swa": swa is not None and swa.lr is not None,
    }
    for name, is_on in asked.items():
        if is_on:
            raise ValueError(
                f"solver={net.solver!r} tunes its learning rate itself, without a "
                f"schedule, got {name}={getattr(net, name)!r}. Choose another solver, or "
                f"leave {name} at its default."
            )


def _check_averages(net: Any) -> None:
    if net.swa and net.ema_decay:
        raise ValueError(
            "swa and ema_decay are two averages of the weights, and a fit has one, got "
            f"swa={net.swa} and ema_decay={net.ema_decay}. Set swa=False or "
            "ema_decay=None."
        )
    end = f"max_epochs={net.max_epochs}"
    swa = as_swa(net.swa)
    if swa is not None:
        check_swa(swa, net.max_epochs, end, "max_epochs")
    snapshots = as_snapshots(net.snapshots)
    if snapshots is None:
        return
    check_cycles(net.snapshots, net.max_epochs, end, "max_epochs")
    off = {
        "learning_rate": "constant",
        "warmup": 0,
        "early_stopping": False,
        "swa": False,
        "ema_decay": None,
    }
    for name, value in off.items():
        given = getattr(net, name)
        if given != value:
            raise ValueError(
                f"snapshots={net.snapshots!r} needs {name} to be {value!r}, got "
                f"{name}={given!r}. Set it to {value!r}, or snapshots=None."
            )
    if snapshots.lr_min > net.lr:
        raise ValueError(
            "snapshots__lr_min must not exceed lr, from which the rate falls, got "
            f"snapshots={net.snapshots!r} with lr={net.lr}. Lower lr_min."
        )
