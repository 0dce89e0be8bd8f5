"""Successive halving: all folds are trained with every radius, and poor ones dropped."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .._jobs import Array, TrainingJob, TrainingResult
from ._comparison import (
    compared_to_lowest,
    largest_as_good,
    rows_of_fold,
    validation_in,
)


class Halving:
    """Trains all folds with every radius, and chooses one.

    Parameters
    ----------
    jobs : list of TrainingJob
        One per fold.

    radii : list of float or None
        Radii, in ascending order. The only one is None if the solver has no radius.

    n_compared : int
        Folds to compare the radii on. The others are trained with the chosen radius alone.

    Attributes
    ----------
    losses, differences, standard_errors, epochs : array of shape (n_radii,)
        As in :class:`RadiusChoice`.

    chosen : int
        Index of the chosen radius.

    is_scored : bool
        Whether folds are scored by a scorer: the best is chosen then.
    """

    def __init__(
        self,
        jobs: Sequence[TrainingJob],
        radii: Sequence[float | None],
        n_compared: int,
    ) -> None:
        self.is_scored = validation_in(jobs[0]).score is not None
        self.n_folds, self.n_compared, self.n_radii = len(jobs), n_compared, len(radii)
        keeps_rows = len(radii) > 1 and not self.is_scored
        self.running = {
            i: [with_radius(job, radius, keeps_rows=keeps_rows) for job in jobs]
            for i, radius in enumerate(radii)
        }
        rows, weights = zip(*map(rows_of_fold, jobs), strict=True)
        self.rows, self.weights = rows, weights
        self.losses = np.full(len(radii), np.inf)
        self.differences, self.standard_errors = np.zeros((2, len(radii)))
        self.epochs = np.zeros(len(radii), dtype=int)
        self.results: dict[tuple[int, int], TrainingResult] = {}
        self.chosen = 0

    def run(
        self,
        train: Callable[[Sequence[TrainingJob]], list[TrainingResult]],
        pauses: dict[int, float],
        *,
        keeps_interrupted: bool,
    ) -> list[TrainingResult]:
        """Train, and return the results of the chosen radius, one per fold.

        Parameters
        ----------
        train : callable
            Takes a list of jobs, returns their results.

        pauses : dict of int to float
            Epochs, in ascending order, and the share of the radii kept after them.

        keeps_interrupted : bool
            Whether networks of the chosen radius are of use if the user ends their
            training.
        """
        folds = range(self.n_folds)
        compared = folds[: self.n_compared] if pauses else folds
        rungs: list[tuple[int | None, float]] = [*pauses.items(), (None, 0.0)]
        for pause_at, share in rungs:
            is_last = pause_at is None or len(self.running) == 1
            trained_on, pause_at = (folds, None) if is_last else (compared, pause_at)
            parts = self._parts(trained_on, pause_at)
            trained = train(list(parts.values())) if parts else []
            for part, result in zip(parts, trained, strict=True):
                is_kept = keeps_interrupted and is_last and len(self.running) == 1
                if result.is_interrupted and not is_kept:
                    raise KeyboardInterrupt  # nothing is chosen yet
                self.results[part] = result
            for i in self.running:
                of_radius = [self.results[i, j].progress.n_iter for j in trained_on]
                self.epochs[i] = max(of_radius)
            self._compare(compared)
            if is_last:
                break
            n_left = max(1, math.ceil(share * self.n_radii))
            # the chosen one may be far from the lowest loss
            ranked = sorted(self.running, key=lambda i: self.losses[i])
            kept = [*dict.fromkeys([self.chosen, *ranked])][:n_left]
            self.running = {i: self.running[i] for i in sorted(kept)}
        return [self.results[self.chosen, j] for j in folds]

    def _parts(
        self, folds: Iterable[int], pause_at: int | None
    ) -> dict[tuple[int, int], TrainingJob]:
        """Return the jobs left to train up to a pause, by radius and fold."""
        parts = {}
        for i, of_radius in self.running.items():
            for j in folds:
                result = self.results.get((i, j))
                if result is None:
                    parts[i, j] = dataclasses.replace(of_radius[j], pause_at=pause_at)
                elif result.is_paused:  # and has not stopped
                    parts[i, j] = of_radius[j].resume(result, pause_at)
        return parts

    def _compare(self, folds: Sequence[int]) -> None:
        """Update the losses of the radii that still run, and choose one of them."""
        sizes = [self.weights[j].sum() for j in folds]
        for i in self.running:
            scores = [best_score(self.results[i, j]) for j in folds]
            loss = -np.average(scores, weights=sizes)
            self.losses[i] = loss if np.isfinite(loss) else np.inf
        running = list(self.running)
        self.chosen = min(running, key=lambda i: self.losses[i])
        if self.is_scored or len(running) == 1:
            return
        self.differences[running], self.standard_errors[running] = compared_to_lowest(
            running,
            self.losses,
            lambda i: self._row_losses(i, folds),
            np.concatenate([self.rows[j] for j in folds]),
            np.concatenate([self.weights[j] for j in folds]),
        )
        self.chosen = largest_as_good(
            running, self.losses, self.differences, self.standard_errors
        )

    def _row_losses(self, i: int, folds: Iterable[int]) -> Array:
        """Return the losses of the rows of folds, each at the fold's best epoch."""
        of_folds = []
        for j in folds:
            losses = self.results[i, j].progress.best_row_losses
            assert losses is not None
            of_folds.append(losses)
        return np.concatenate(of_folds)


def best_score(result: TrainingResult) -> float:
    """Return the best score of a training that was validated."""
    score = result.progress.best_validation_score
    assert score is not None
    return score


def with_radius(
    job: TrainingJob, radius: float | None, *, keeps_rows: bool = False
) -> TrainingJob:
    """Return a copy of a job that has not begun, with another radius if it has one."""
    settings = job.settings
    if radius is not None:
        settings = dataclasses.replace(
            settings.with_argument("rho", radius),
            label=f"rho={radius:g}, {settings.label}",
        )
    return dataclasses.replace(
        job,
        settings=settings,
        validation=dataclasses.replace(validation_in(job), keeps_rows=keeps_rows),
        random_state=copy.deepcopy(job.random_state),
        progress=dataclasses.replace(
            job.progress,
            loss_curve=list(job.progress.loss_curve),
            validation_scores=list(job.progress.validation_scores or []),
        ),
    )
