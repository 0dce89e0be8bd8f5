"""Parameters that have no effect, as far as the registries tell."""

import functools
import inspect

import numpy as np
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron

from ._schedules import SCHEDULES
from ._warnings import warn
from .exceptions import UnusedParameterWarning
from .optim import SOLVERS, solver_chain, solver_parameters


def warn_of_unused(estimator):
    """Warn of parameters that were changed and that nothing reads."""
    for name, unread_by in _UNREAD.items():
        unread = unread_by(estimator)
        changed = _changed(estimator, unread)
        if changed:
            warn(
                f"Parameters that {name}={getattr(estimator, name)!r} does not read have "
                f"no effect, got {_named(changed)}. Set another {name}, or leave them at "
                "their defaults.",
                UnusedParameterWarning,
            )


def warn_of_few_rows(estimator, n_rows):
    """Warn of parameters of a choice that the rows are too few for."""
    unread = set() if estimator.early_stopping else {"scoring"}
    if np.size(estimator.rho_grid) > 1:  # of a single radius there is no choice
        unread.add("rho_grid")
    changed = _changed(estimator, unread)
    if changed:
        warn(
            "Parameters of the choice of a radius are without effect with "
            f"{n_rows} rows, got {_named(changed)}. Training is with "
            f"rho={estimator.rho_:g}; set cv, or rho to a number.",
            UnusedParameterWarning,
        )


def _named(params):
    return ", ".join(f"{name}={value!r}" for name, value in params.items())


def _unread_by_solver(estimator):
    theirs = _defaults(BaseMultilayerPerceptron)
    names = {name for solver in SOLVERS.values() for name in solver.arguments.values()}
    unread = (names | {"base_solver", "micro_batch_size", "scoring"}) - theirs.keys()
    if estimator.solver in SOLVERS:
        unread.discard("scoring")
        if SOLVERS[estimator.solver].is_ascent:
            unread.discard("micro_batch_size")
        unread -= solver_parameters(estimator.solver, estimator.base_solver)
        if len(solver_chain(estimator.solver, estimator.base_solver)) > 1:
            unread.discard("base_solver")
    if "rho" in unread:
        unread |= _of_the_choice(estimator)
    return unread


def _unread_by_schedule(estimator):
    unread = {name for schedule in SCHEDULES.values() for name in schedule.reads}
    if estimator.solver in SOLVERS and estimator.learning_rate in SCHEDULES:
        unread -= set(SCHEDULES[estimator.learning_rate].reads)
    if estimator.n_snapshots > 1:
        unread.discard("lr_min")
    return unread


def _unread_by_radius(estimator):
    if isinstance(estimator.rho, str):
        return set()
    return _of_the_choice(estimator) - _unread_by_solver(estimator)


def _of_the_choice(estimator):
    """Return the parameters that nothing reads where no radius is chosen."""
    return {"rho_grid", "cv"} if estimator.n_members == 1 else {"rho_grid"}


def _unread_without_validation(estimator):
    has_folds = estimator.n_members > 1 or estimator._searches()
    is_read = estimator.early_stopping or has_folds or estimator.solver not in SOLVERS
    return set() if is_read else {"scoring"}


def _unread_without_averaging(estimator):
    names = {"swa_start", "swa_freq", "swa_lr", "swa_cycle"}
    names |= {"swa_anneal", "swa_anneal_strategy"}
    return set() if estimator.swa else names


def _unread_without_snapshots(estimator):
    names = {"snapshot_schedule", "snapshot_start"}
    return set() if estimator.n_snapshots > 1 else names


_UNREAD = {
    "solver": _unread_by_solver,
    "learning_rate": _unread_by_schedule,
    "rho": _unread_by_radius,
    "early_stopping": _unread_without_validation,
    "swa": _unread_without_averaging,
    "n_snapshots": _unread_without_snapshots,
}


def _changed(estimator, names):
    """Return the parameters among names that are not at their defaults."""
    defaults = _defaults(type(estimator))
    return {
        name: getattr(estimator, name)
        for name in sorted(names & defaults.keys())
        if not _is_same(getattr(estimator, name), defaults[name])
    }


@functools.cache  # a signature takes as long as some steps of training
def _defaults(cls):
    """Return the parameters of a class with their defaults."""
    parameters = inspect.signature(cls.__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _is_same(value, default):
    if value is default or isinstance(value, str) or isinstance(default, str):
        return value is default or value == default
    try:
        return bool(np.array_equal(value, default))
    except (TypeError, ValueError):
        return False
