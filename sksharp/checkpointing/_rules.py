"""What a file of a training may hold: states that the training can have come to.

Anyone may have written a file, and torch does not check what it goes on from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._jobs import Progress, Snapshot, TrainingJob, TrainingResult, Weights
from ..storage._predicates import (
    is_count,
    is_finite,
    is_floats,
    is_network,
    is_number,
    is_numbers,
)
from ..storage._solver_state import holds, is_average, is_optimizer_state

# warnings of a training, by their names in a file
CATEGORIES: dict[str, type[Warning]] = {
    "ConvergenceWarning": ConvergenceWarning,
    "UserWarning": UserWarning,
}


def are_results(results: Any, jobs: Sequence[TrainingJob]) -> bool:
    """Return whether values are results, or pauses, of jobs."""
    return (
        type(results) is list
        and len(results) == len(jobs)
        and all(holds(_is_result, *pair) for pair in zip(results, jobs, strict=True))
    )


def _is_result(result: Any, job: TrainingJob) -> bool:
    iterate, averaging = result.iterate, result.averaging_state
    return (
        type(result) is TrainingResult
        and _are_weights(result.weights, job)
        and (iterate is None or _are_weights(iterate, job))
        and _is_progress(result.progress, job)
        and (
            _is_state(result.optimizer_state, job)
            if result.optimizer_state is not None
            else not result.is_paused
        )
        and (not result.is_paused or _may_go_on(result.progress.n_iter, job))
        and (averaging is None or _is_average(averaging, job))
        and is_count(result.n_averaged)
        and _draws_alike(result.random_state, job.random_state)
        and all(map(_is_warning, result.warnings))
        and (result.rows is None or _are_rows(result.rows, job))
        and result.is_interrupted is False
        and all(_is_snapshot(snapshot, job) for snapshot in result.snapshots)
    )


def _may_go_on(n_iter: int, job: TrainingJob) -> bool:
    """Return whether a training may pause there; after its last epoch it has no end."""
    return n_iter < job.epochs or n_iter == job.pause_at


def _is_warning(value: Any) -> bool:
    text, name = value
    return isinstance(text, str) and name in CATEGORIES


def _are_weights(value: Any, job: TrainingJob) -> bool:
    return (
        type(value) is Weights
        and is_network(value.coefs, value.intercepts, job.layer_units)
        and value.coefs[0].dtype == job.weights.coefs[0].dtype
    )


def _is_progress(value: Any, job: TrainingJob) -> bool:
    before = len(job.progress.loss_curve)
    if job.is_resumed:
        before -= job.progress.n_iter
    scores = value.validation_scores
    optional = value.best_loss, value.best_validation_score, value.inverse_temperature
    return (
        type(value) is Progress
        and all(map(is_count, (value.t, value.n_iter, value.best_n_iter)))
        and is_count(value.no_improvement_count)
        and value.n_iter <= (job.epochs if job.pause_at is None else job.pause_at)
        and is_numbers(value.loss_curve)
        and len(value.loss_curve) == before + value.n_iter
        and (scores is None) == (job.progress.validation_scores is None)
        and (scores is None or is_numbers(scores))
        and all(
            (getattr(value, name) is None) == (getattr(job.progress, name) is None)
            for name in ("best_loss", "best_validation_score")
        )
        and all(number is None or is_number(number) for number in optional)
        and type(value.was_stalled) is bool
        and (value.best_row_losses is None or _are_losses(value.best_row_losses, job))
    )


def _are_losses(value: Any, job: TrainingJob) -> bool:
    """Return whether a value has a loss for every validation row."""
    validation = job.validation
    if validation is None or not validation.keeps_rows:
        return False
    rows = validation.y if validation.rows is None else validation.rows
    return is_floats(value, (len(rows),))


def _is_vector(value: Any, job: TrainingJob) -> bool:
    parts = [*job.weights.coefs, *job.weights.intercepts]
    is_long = is_floats(value, (sum(part.size for part in parts),))
    return is_long and bool(value.dtype == parts[0].dtype)


def _is_state(value: Any, job: TrainingJob) -> bool:
    def are_settings(group: dict[str, Any], links: Sequence[Any]) -> bool:
        *_, descent = links
        needed = {"params", "lr", *descent.reads, *descent.option_arguments()}
        rest = dict(group)
        given = {name for spec in job.settings.optimizers for name in spec.arguments}
        # of a descent without momentum
        if "momentum" not in given and rest.get("momentum", 0) is None:
            del rest["momentum"]
        return (
            rest.pop("params") == [0]
            and needed | {*descent.counters} <= group.keys()
            and all(type(v) is bool or is_finite(v) for v in rest.values())
            and type(rest["lr"]) is not bool
        )

    return is_optimizer_state(
        value, [job.settings.chain], lambda v: _is_vector(v, job), are_settings
    )


def _is_average(value: Any, job: TrainingJob) -> bool:
    averaging = job.settings.averaging
    scheme = "ema_decay" if averaging is None else averaging.scheme
    return is_average(value, [scheme], lambda v: _is_vector(v, job))


def _draws_alike(value: Any, like: np.random.RandomState) -> bool:
    if type(value) is not np.random.RandomState:
        return False
    name: str = value.get_state(legacy=False)["bit_generator"]
    return bool(name == like.get_state(legacy=False)["bit_generator"])


def _are_rows(value: Any, job: TrainingJob) -> bool:
    """Return whether a value is the job's rows in another order."""
    rows = np.arange(job.n_samples) if job.rows is None else job.rows
    return (
        isinstance(value, np.ndarray)
        and value.dtype.kind == "i"
        and np.array_equal(np.sort(value), np.sort(rows))
    )


def _is_snapshot(value: Any, job: TrainingJob) -> bool:
    is_one = type(value) is Snapshot and _are_weights(value.weights, job)
    return is_one and is_count(value.n_iter, 1) and is_count(value.t, 1)
