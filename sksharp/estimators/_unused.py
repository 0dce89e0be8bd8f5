"""Parameters that have no effect."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Set
from numbers import Real
from typing import Any

import numpy as np

from .._warnings import warn
from ..exceptions import UnusedParameterWarning
from ..options.solvers import as_solver
from ._parameters import FitPlan


def warn_of_unused(estimator: Any, plan: FitPlan) -> None:
    """Warn of parameters that were changed and that nothing reads."""
    for name, unread_by in _UNREAD.items():
        changed = _changed(estimator, unread_by(plan))
        if changed:
            warn(
                f"Parameters that {name}={getattr(estimator, name)!r} does not read have "
                f"no effect, got {_named(changed)}. Set another {name}, or leave them at "
                "their defaults.",
                UnusedParameterWarning,
            )


def warn_of_few_rows(estimator: Any, plan: FitPlan, n_rows: int) -> None:
    """Warn of parameters of a choice, if there are too few rows for it."""
    unread = set() if estimator.early_stopping else _of_held_out_rows(plan)
    changed = _changed(estimator, unread)
    if not changed:
        return
    what, instead = "the length of training", "S"
    if hasattr(estimator, "rho_"):
        what, instead = "a radius", f"Training is with rho={estimator.rho_:g}; s"
    warn(
        f"Parameters of the choice of {what} have no effect with {n_rows} rows, got "
        f"{_named(changed)}. {instead}et cv, or rho to a number.",
        UnusedParameterWarning,
    )


def _named(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items())


def _unread_by_solver(plan: FitPlan) -> set[str]:
    if not plan.is_stochastic:
        return {"base_solver", "rho", "cv", "scoring"}
    # the default, as an object too
    is_default = plan.params["base_solver"] == as_solver("adam")
    unread: set[str] = set() if plan.outer.takes_base or is_default else {"base_solver"}
    if not plan.outer.chooses_length:
        unread |= {"rho"} | _of_the_choice(plan)
    elif not plan.outer.takes_radius and plan.radii is not None:
        unread |= {"rho"}  # a number says not to choose the length
    return unread


def _unread_by_radius(plan: FitPlan) -> set[str]:
    chooses = plan.is_stochastic and plan.outer.chooses_length
    return set() if plan.searches or not chooses else _of_the_choice(plan)


def _of_the_choice(plan: FitPlan) -> set[str]:
    """Return the parameters that have no effect where no radius is chosen."""
    return {"cv"} if plan.n_members == 1 else set()


def _unread_without_validation(plan: FitPlan) -> set[str]:
    has_folds = plan.n_members > 1 or plan.searches
    is_read = plan.early_stopping or has_folds or not plan.is_stochastic
    return set() if is_read else _of_held_out_rows(plan)


def _of_held_out_rows(plan: FitPlan) -> set[str]:
    """Return the parameters that have no effect where no rows are held out."""
    has_noise = plan.noise_of("validation") and not plan.noise_of("training")
    return {"scoring", "input_noise"} if has_noise else {"scoring"}


def _unread_without_hidden_layers(plan: FitPlan) -> set[str]:
    """Return the share of hidden units, where there are none."""
    is_of_hidden = isinstance(plan.params["dropout"], Real)
    return {"dropout"} if is_of_hidden and not plan.n_hidden else set()


_UNREAD: dict[str, Callable[[FitPlan], set[str]]] = {
    "solver": _unread_by_solver,
    "rho": _unread_by_radius,
    "early_stopping": _unread_without_validation,
    "hidden_layer_sizes": _unread_without_hidden_layers,
}


def _changed(estimator: Any, names: Set[str]) -> dict[str, Any]:
    """Return the parameters among names that are not at their defaults."""
    cls: type = type(estimator)
    defaults = _defaults(cls)
    return {
        name: getattr(estimator, name)
        for name in sorted(names & defaults.keys())
        if not _is_same(getattr(estimator, name), defaults[name])
    }


@functools.cache  # a signature takes as long as some steps of training
def _defaults(cls: Any) -> dict[str, Any]:
    """Return the parameters of a class with their defaults."""
    parameters = inspect.signature(cls.__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _is_same(value: Any, default: Any) -> bool:
    if value is default or isinstance(value, str) or isinstance(default, str):
        return value is default or (isinstance(value, str) and value == default)
    try:
        return bool(np.array_equal(value, default))
    except (TypeError, ValueError):
        return False
