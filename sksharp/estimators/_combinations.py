"""Parameters that are valid alone and not together."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from .._numbers import plain_scalar
from ..options._base import epochs_before
from ..options.averages import SWA, Snapshots, as_snapshots
from ..options.losses import as_loss
from ..options.schedules import SCHEDULES, SKLEARN_SCHEDULES
from ..options.solvers import SOLVERS, TwoGradients
from ._parameters import FitPlan


def check(plan: FitPlan, incremental: bool) -> None:
    """Raise for parameters that are valid alone and not together."""
    if plan.is_stochastic and plan.outer.takes_base:
        _check_base_solver(plan)
    _check_dropout(plan)
    _check_needs_steps(plan)
    for callback in plan.callbacks or ():
        if isinstance(callback, tuple) and callback:  # with its name
            callback = callback[-1]
        if not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                f"callbacks must hold skorch callbacks, got {callback!r}. Derive it "
                "from skorch.callbacks.Callback, or give one of scikit-learn's to "
                "set_callbacks."
            )
    if plan.swa and plan.ema_decay:
        raise ValueError(
            "swa and ema_decay are two averages of the weights, and a fit has one, got "
            f"swa={plan.params['swa']} and ema_decay={plan.ema_decay}. Set swa=False "
            "or ema_decay=None."
        )
    if plan.is_stochastic:
        _check_rates(plan, incremental)
    if plan.max_steps is None and not incremental:
        check_start(plan, plan.max_iter)
    if plan.callbacks and plan.n_members > 1:
        raise ValueError(
            "callbacks work with one network, got callbacks and "
            f"n_members={plan.n_members}. Set callbacks=None or n_members=1."
        )
    if plan.searches and plan.outer.takes_radius:
        _check_candidates(plan)


def _check_base_solver(plan: FitPlan) -> None:
    allowed = plan.outer.allowed_bases()
    base = plan.chain[-1]
    if base.name not in allowed:
        why = "whose own slow or averaged weights do not work with it"
        if not base.is_base:
            why = "which cannot be a base solver"
        raise ValueError(
            f"base_solver must be one of {sorted(allowed)} with solver="
            f"{plan.params['solver']!r}, got base_solver="
            f"{plan.params['base_solver']!r}, {why}. Choose another base_solver, or "
            f"solver={base.name!r}."
        )


def _check_dropout(plan: FitPlan) -> None:
    given, n_hidden = plan.params["dropout"], plan.n_hidden
    if isinstance(given, Real):
        return
    shares = list(np.atleast_1d(np.asarray(given, dtype=object)))
    if not all(_is_share(share) for share in shares):
        raise ValueError(
            "dropout must hold numbers of at least 0 and below 1, one per layer, got "
            f"dropout={given!r}."
        )
    if len(shares) not in (n_hidden, n_hidden + 1):
        raise ValueError(
            f"dropout must be one number, {n_hidden} numbers (one per hidden layer) or "
            f"{n_hidden + 1} (the first for the inputs), got {len(shares)} in "
            f"dropout={given!r} with hidden_layer_sizes="
            f"{plan.params['hidden_layer_sizes']!r}."
        )


def _is_share(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return is_number and 0 <= value < 1


def _check_needs_steps(plan: FitPlan) -> None:
    needs_steps = {
        "loss": as_loss(plan.params.get("loss")),
        "swa": plan.swa,
        "ema_decay": plan.ema_decay,
        "learning_rate": plan.schedule,
        "warmup": plan.warmup,
        "snapshots": plan.snapshots,
        "n_members": plan.n_members > 1,
        "max_steps": plan.max_steps is not None,
        "dropout": plan.dropout,
        "input_noise": plan.noise_of("training") or plan.noise_of("validation"),
        "callbacks": plan.callbacks,
    }
    name = next((name for name, is_on in needs_steps.items() if is_on), None)
    if not plan.is_stochastic and name is not None:
        raise ValueError(
            f"{name} needs a stochastic solver, got solver="
            f"{plan.params['solver']!r}. Set solver to one of {sorted(SOLVERS)}, or "
            f"leave {name} at its default."
        )


def _check_candidates(plan: FitPlan) -> None:
    candidates = plan.candidates
    try:
        radii = np.asarray(candidates, dtype=np.float64)
    except (OverflowError, TypeError, ValueError):  # words, a set, 10**400
        radii = np.empty(0)
    is_valid = radii.ndim == 1 and radii.size > 0 and bool(np.isfinite(radii).all())
    if is_valid:  # numpy takes True for 1
        is_valid = not any(isinstance(r, bool | np.bool_) for r in candidates)
    if not is_valid or radii.min() < 0:
        raise ValueError(
            "rho must hold at least one radius to choose from, numbers that are "
            f"neither negative nor infinite, got rho={plan.params['rho']!r}."
        )


def check_start(plan: FitPlan, epochs: int) -> None:
    """Raise if no step would take two gradients."""
    outer = plan.outer if plan.is_stochastic else None
    if not isinstance(outer, TwoGradients):
        return
    if epochs_before(outer.start, epochs) >= epochs:
        length = plan.length_name
        raise ValueError(
            f"solver__start must lie before {length}={plan.params[length]}, got "
            f"solver__start={outer.start}. No step would be sharpness-aware; lower it, "
            f"raise {length}, or set solver={plan.chain[-1].name!r}."
        )


def _check_rates(plan: FitPlan, incremental: bool) -> None:
    if plan.warmup and plan.params["learning_rate"] in SKLEARN_SCHEDULES:
        raise ValueError(
            "warmup needs learning_rate='constant' or one of "
            f"{sorted(SCHEDULES)}, got learning_rate={plan.params['learning_rate']!r} with "
            f"warmup={plan.warmup}. scikit-learn's schedules have no warm-up: set "
            "warmup=0 or another learning_rate."
        )
    _check_rate_is_given(plan)
    if plan.snapshots is not None:
        _check_snapshots(plan, incremental)
    _check_lowest_rate(plan)
    if incremental:
        _check_unknown_length(plan)
    if plan.max_steps is None and not incremental:
        check_lengths(plan, plan.max_iter)


def _check_rate_is_given(plan: FitPlan) -> None:
    """Raise for a schedule with a solver that tunes its learning rate itself."""
    if "learning_rate_init" in plan.reads:
        return
    asked = {
        "learning_rate": plan.schedule is not None,
        "warmup": plan.warmup,
        "snapshots": plan.snapshots is not None,
        "swa": plan.swa is not None and plan.swa.lr is not None,
    }
    for name, is_on in asked.items():
        if is_on:
            raise ValueError(
                f"solver={plan.params['solver']!r} tunes its learning rate itself, "
                f"without a schedule, got {name}={plan.params[name]!r}. Choose another "
                f"solver, or leave {name} at its default."
            )


def _check_lowest_rate(plan: FitPlan) -> None:
    name = "learning_rate" if plan.snapshots is None else "snapshots"
    holder = plan.schedule if plan.snapshots is None else plan.snapshots
    lowest = getattr(holder, "lr_min", 0)
    if lowest > plan.learning_rate_init:
        raise ValueError(
            f"{name}__lr_min must not exceed learning_rate_init, from which the rate "
            f"falls, got {name}={plan.params[name]!r} with learning_rate_init="
            f"{plan.learning_rate_init}. Lower lr_min."
        )
    swa = plan.swa
    if swa is None or swa.cycle is None or swa.lr is None:
        return
    if swa.lr >= plan.learning_rate_init:
        raise ValueError(
            "swa__lr must be below learning_rate_init with swa__cycle, since each cycle "
            f"falls from learning_rate_init to swa__lr, got swa={plan.swa!r} with "
            f"learning_rate_init={plan.learning_rate_init}. Lower lr."
        )


def _check_unknown_length(plan: FitPlan) -> None:
    """Raise for what depends on the length of the training, which is unknown."""
    warmup = plain_scalar(plan.warmup)
    needs = {
        "learning_rate": plan.schedule is not None and plan.schedule.needs_length,
        "warmup": isinstance(warmup, float) and warmup > 0,
        "ema_decay": plan.ema_decay == "auto",
    }
    ways_out = {
        "learning_rate": "Set it to 'constant', 'step' or 'exponential', or give its "
        "milestones or its length in epochs, as ints: a call is one epoch",
        "warmup": "Give epochs, as an int: a call is one epoch",
        "ema_decay": "Set it to a number",
    }
    for name, depends in needs.items():
        if depends:
            raise ValueError(
                f"partial_fit does not know the length of the training, on which "
                f"{name}={plan.params[name]!r} depends. {ways_out[name]}, or call "
                "fit."
            )


def _check_snapshots(plan: FitPlan, incremental: bool) -> None:
    """Raise for parameters that do not work with an ensemble of snapshots."""
    setting = f"snapshots={plan.params['snapshots']!r}"
    if incremental:
        raise ValueError(
            "partial_fit does not know the length of the training, on which the cycles "
            f"of {setting} depend. Set snapshots=None, or call fit."
        )
    excluded = {
        "learning_rate": (plan.params["learning_rate"] != "constant", "'constant'"),
        "early_stopping": (plan.early_stopping, "False"),
        "n_members": (plan.n_members > 1, "1"),
        "swa": (plan.swa is not None, "False"),
        "ema_decay": (plan.ema_decay is not None, "None"),
    }
    reasons = {
        "learning_rate": "The cycles are the schedule",
        "early_stopping": "It keeps the best epoch, they keep the end of every cycle",
        "n_members": "Members keep the best epoch of their folds, snapshots the end "
        "of every cycle",
        "swa": "An average and an ensemble are two ways to use the path",
        "ema_decay": "An average and an ensemble are two ways to use the path",
    }
    for name, (is_on, value) in excluded.items():
        if is_on:
            raise ValueError(
                f"{setting} needs {name} to be {value}, got {name}="
                f"{plan.params[name]!r}. {reasons[name]}; set it to {value}, or "
                "snapshots=None."
            )


def check_lengths(plan: FitPlan, epochs: int) -> None:
    """Raise if a training of so many epochs is too short."""
    length = plan.length_name
    end = f"{length}={plan.params[length]}"
    if isinstance(plan.warmup, Integral) and 0 < plan.warmup >= epochs:
        raise ValueError(
            f"warmup must be shorter than the {epochs} epochs of {end}, got warmup="
            f"{plan.warmup}. Lower warmup or raise {length}."
        )
    if plan.swa is not None:
        check_swa(plan.swa, epochs, end, length)
    if plan.snapshots is not None:
        check_cycles(plan.params["snapshots"], epochs, end, length)
        _check_warmup_ends(plan, plan.snapshots, epochs)


def check_swa(swa: SWA, epochs: int, end: str, length: str) -> None:
    """Raise if a training of so many epochs is too short for an average."""
    left = epochs - swa.first_epoch(epochs)
    if left <= 0:
        raise ValueError(
            f"swa__start must lie before {end}, got swa__start={swa.start}. Averaging "
            f"would never begin; lower swa__start or raise {length}."
        )
    anneal = swa.anneal if isinstance(swa.anneal, Integral) else 0
    spans = {"freq": swa.freq, "anneal": anneal, "cycle": swa.cycle or 0}
    for name, span in spans.items():
        if span > left:
            why = "" if name == "anneal" else "Nothing would be averaged; "
            way_out = f"lower swa__{name} or swa__start, or raise {length}."
            way_out = way_out if why else way_out.capitalize()
            raise ValueError(
                f"swa__{name} must not exceed the {left} epochs after swa__start="
                f"{swa.start}, got swa__{name}={span}. {why}{way_out}"
            )


def check_cycles(given: Any, epochs: int, end: str, length: str) -> None:
    """Raise if a training of so many epochs is too short for the cycles.

    Parameters
    ----------
    given : int or Snapshots
        What makes the cycles, as the user wrote it.
    """
    snapshots = as_snapshots(given)
    assert snapshots is not None
    start = snapshots.first_epoch(epochs)
    if epochs - start < snapshots.n_parts:
        raise ValueError(
            f"snapshots={given!r} needs at least "
            f"{snapshots.n_parts} epochs, got {max(0, epochs - start)} after "
            f"snapshots__start={start} of {end}. Lower snapshots__n or "
            f"snapshots__start, or raise {length}."
        )


def _check_warmup_ends(plan: FitPlan, snapshots: Snapshots, epochs: int) -> None:
    warmup = plan.warmup if isinstance(plan.warmup, Integral) else plan.warmup * epochs
    end_of_first = snapshots.boundaries(epochs)[1]
    if warmup and warmup >= end_of_first:
        raise ValueError(
            f"warmup must end before the first cycle of the learning rate does, after "
            f"{end_of_first} epochs, got warmup={plan.warmup}. Lower warmup or "
            "snapshots__n."
        )
