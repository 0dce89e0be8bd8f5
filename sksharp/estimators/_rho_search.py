"""The choice of a radius: successive halving, validated on held-out rows."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .._jobs import Array, Settings, TrainingJob, TrainingResult, Validation
from .._numbers import check_range
from ..observers._bar import say
from ..options.solvers import SOLVERS
from ._folds import Folds, has_zeros, nonzero_rows
from ._network import FitData, Network, Trainer, make_job
from ._parameters import FitPlan
from ._validation import validation_of

# steps between two evaluations of a fold, unless an epoch is longer
STEPS_BETWEEN_SCORES = 20

# rungs of the halving: (share of the epochs, share of the radii that are kept after it),
# and the folds of members that they are compared on
RUNGS = ((0.05, 1 / 2), (0.1, 0.0))
FOLDS_TO_COMPARE = 2

# a fold of a single network stops after so many evaluations without a better loss; a loss
# within AS_GOOD_AS_BEST of the lowest is as good
PATIENCE_OF_ONE = 15
AS_GOOD_AS_BEST = 0.02


def validated_jobs(
    networks: Sequence[Network],
    data: FitData,
    folds: Folds | None,
    *,
    stops_early: bool = False,
) -> list[TrainingJob]:
    """Return the jobs of networks whose best epochs are chosen on held-out rows.

    Parameters
    ----------
    networks : list of Network
        New networks, or those of the last fit.

    data : FitData
        Data. User-supplied rows for validation take the place of folds; all others are
        then trained on.

    folds : list of (array of int, array of int) or None
        Rows to train on and to hold out, a pair per network. None with user-supplied
        rows.

    stops_early : bool, default=False
        Whether training ends when the rows held out have not got better for
        ``n_iter_no_change`` evaluations.

    Returns
    -------
    jobs : list of TrainingJob
        One per network.
    """
    jobs = []
    for i, network in enumerate(networks):
        weights = data.sample_weight
        train: Array | None = None
        kept: Array | None = None
        rows = data if data.validation is None else data.validation
        if folds is not None:
            train, kept = folds[i]
            if weights is not None and not weights[kept].sum() > 0:
                raise ValueError(
                    "sample_weight must not sum to zero over a fold, class_weight "
                    "included. Drop the rows of weight zero, or lower n_members or cv."
                )
        if weights is not None and has_zeros(weights):
            # a small minibatch might hold rows of weight 0 only
            train = nonzero_rows(train, weights)
        validation = validation_of(
            data.estimator, rows, kept, scoring=network.plan.scoring or "loss"
        )
        job = make_job(network, data, train)
        jobs.append(validated(job, validation, stops_early=stops_early))
    # folds of any size are evaluated together: their scores are compared by epochs
    freq = max(validation_in(job).freq for job in jobs)
    return [
        dataclasses.replace(
            job, validation=dataclasses.replace(validation_in(job), freq=freq)
        )
        for job in jobs
    ]


def validated(
    job: TrainingJob, validation: Validation, *, stops_early: bool = False
) -> TrainingJob:
    """Return a copy of a job that keeps its best epoch, and trains to the end or stops."""
    n_batches = -(-job.n_samples // job.settings.batch_size)
    freq = max(1, round(STEPS_BETWEEN_SCORES / n_batches))
    progress = dataclasses.replace(
        job.progress,
        best_loss=None,
        validation_scores=[],
        best_validation_score=-math.inf,
        inverse_temperature=None,
    )
    settings = job.settings
    if not (stops_early or adapts(settings)):
        # the best epoch is kept, and may be late
        settings = dataclasses.replace(settings, n_iter_no_change=math.inf)
    return dataclasses.replace(
        job,
        settings=settings,
        validation=dataclasses.replace(validation, freq=freq),
        progress=progress,
        should_converge=False,
    )


def adapts(settings: Settings) -> bool:
    """Return whether the rate falls by the stopping rule, which then ends training."""
    follows = SOLVERS[settings.chain[-1]].has_schedule
    return settings.learning_rate == "adaptive" and follows


def labeled(jobs: Sequence[TrainingJob], name: str) -> list[TrainingJob]:
    """Return copies of jobs, labeled by a name and a number for what is printed."""
    n_jobs = len(jobs)
    return [
        dataclasses.replace(
            job,
            settings=dataclasses.replace(job.settings, label=f"{name} {k}/{n_jobs}"),
        )
        for k, job in enumerate(jobs, start=1)
    ]


def with_patience(job: TrainingJob) -> TrainingJob:
    """Return a copy of a fold's job that stops some time after its best epoch."""
    if adapts(job.settings):
        return job
    settings = dataclasses.replace(
        job.settings, n_iter_no_change=PATIENCE_OF_ONE, tol=0.0
    )
    return dataclasses.replace(job, settings=settings)


def with_radius(job: TrainingJob, radius: float | None) -> TrainingJob:
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
        random_state=copy.deepcopy(job.random_state),
        progress=dataclasses.replace(
            job.progress,
            loss_curve=list(job.progress.loss_curve),
            validation_scores=list(job.progress.validation_scores or []),
        ),
    )


@dataclasses.dataclass
class RadiusChoice:
    """Result of training all folds with every radius.

    Parameters
    ----------
    radii : array of shape (n_radii,)
        Radii, in ascending order. The only one is None if the solver has no radius.

    losses : array of shape (n_radii,)
        Loss over the rows of the folds that radii are compared on, at each fold's best
        epoch. Minus the score with a scorer.

    epochs : array of int of shape (n_radii,)
        Epochs for which each radius was trained.

    results : list of TrainingResult
        Those of the best radius, one per fold.

    best : int
        Index of that radius.

    is_scored : bool
        Whether folds are scored by a scorer.
    """

    radii: Array
    losses: Array
    epochs: Array
    results: list[TrainingResult]
    best: int
    is_scored: bool

    @property
    def rho(self) -> float | None:
        """The best radius, None if the solver has no radius."""
        radius = self.radii[self.best]
        return None if radius is None else float(radius)


def choose_radius(
    plan: FitPlan, jobs: Sequence[TrainingJob], trainer: Trainer
) -> RadiusChoice:
    """Train all radii of a plan together and drop poor ones early.

    Parameters
    ----------
    plan : FitPlan
        Plan of the fit, with the radii.

    jobs : list of TrainingJob
        One per fold.

    trainer : Trainer
        Trains the jobs of every rung.

    Returns
    -------
    choice : RadiusChoice
        The outcome.
    """
    radii = _radii_of(plan, jobs[0].weights.coefs[0].dtype)
    pauses = pauses_of(jobs, RUNGS) if len(radii) > 1 else {}
    n_rungs, rung = len(pauses) + 1, itertools.count(1)

    def train(parts: Sequence[TrainingJob]) -> list[TrainingResult]:
        if plan.verbose:
            networks = "1 network" if len(parts) == 1 else f"{len(parts)} networks"
            what = "Choosing the length of training"
            if plan.outer.takes_radius:
                n_left = len({job.settings.argument("rho") for job in parts})
                left = "1 radius" if n_left == 1 else f"{n_left} radii"
                what = f"Choosing rho, rung {next(rung)} of at most {n_rungs}: {left}"
            say(f"{what}, {networks}.")
        return trainer(parts)

    observer = trainer.observer
    if observer is not None:
        observer.begin_choice(n_rungs, 1 if plan.n_members > 1 else 2)
    n_compared = len(jobs) if plan.n_members == 1 else FOLDS_TO_COMPARE
    losses, epochs, results, best = halve(
        jobs,
        radii.tolist(),
        train,
        pauses,
        n_compared,
        keeps_interrupted=plan.n_members > 1,
    )
    if observer is not None:
        observer.end_choice()
    if plan.verbose and plan.outer.takes_radius:
        say(f"Chose rho={radii[best]:g}.")
    is_scored = validation_in(jobs[0]).score is not None
    return RadiusChoice(radii, losses, epochs, results, best, is_scored)


def _radii_of(plan: FitPlan, dtype: np.dtype[Any]) -> Array:
    """Return the radii to choose from, in ascending order."""
    if not plan.outer.takes_radius:
        return np.array(plan.candidates, dtype=object)
    radii = np.unique(np.asarray(plan.candidates, dtype=np.float64))
    check_range("rho", radii.max(), dtype)
    return radii


def pauses_of(
    jobs: Sequence[TrainingJob], rungs: Iterable[tuple[float, float]]
) -> dict[int, float]:
    """Return the epochs after which radii are dropped, with the share that is kept.

    Parameters
    ----------
    jobs : list of TrainingJob
        One per fold.

    rungs : sequence of (float, float)
        Shares of the epochs, in ascending order, and of the radii kept after them.

    Returns
    -------
    pauses : dict of int to float
        Epochs at evaluations of the folds, before the last. Short trainings have few
        evaluations, and rungs may share a pause.
    """
    epochs, freq = max(job.epochs for job in jobs), validation_in(jobs[0]).freq
    pauses = {math.ceil(share * epochs / freq) * freq: left for share, left in rungs}
    return {epoch: left for epoch, left in pauses.items() if epoch < epochs}


def halve(
    jobs: Sequence[TrainingJob],
    radii: Sequence[float | None],
    train: Callable[[Sequence[TrainingJob]], list[TrainingResult]],
    pauses: dict[int, float],
    n_compared: int,
    *,
    keeps_interrupted: bool,
) -> tuple[Array, Array, list[TrainingResult], int]:
    """Train all folds with every radius, by successive halving.

    Parameters
    ----------
    jobs : list of TrainingJob
        One per fold.

    radii : list of float or None
        Radii.

    train : callable
        Takes a list of jobs, returns their results.

    pauses : dict of int to float
        Epochs, in ascending order, and the share of the radii kept after them.

    n_compared : int
        Folds to compare the radii on. The others are trained with the best radius alone.

    keeps_interrupted : bool
        Whether networks of the best radius are of use if the user ends their training.

    Returns
    -------
    losses, epochs, results, best
        As in :class:`RadiusChoice`.
    """
    sizes = np.array([_weight_of_fold(job) for job in jobs])
    losses = np.full(len(radii), np.inf)
    lengths = np.zeros(len(radii), dtype=int)
    running = {
        i: [with_radius(job, radius) for job in jobs] for i, radius in enumerate(radii)
    }
    results: dict[tuple[int, int], TrainingResult] = {}
    rungs: list[tuple[int | None, float]] = [*pauses.items(), (None, 0.0)]
    folds = range(len(jobs))
    compared = folds[:n_compared] if pauses else folds
    for pause_at, share in rungs:
        is_last = pause_at is None or len(running) == 1
        trained_on, pause_at = (folds, None) if is_last else (compared, pause_at)
        parts = _parts(running, results, trained_on, pause_at)
        trained = train(list(parts.values())) if parts else []
        for part, result in zip(parts, trained, strict=True):
            is_kept = keeps_interrupted and is_last and len(running) == 1
            if result.is_interrupted and not is_kept:
                raise KeyboardInterrupt  # nothing is chosen yet
            results[part] = result
        for i in running:
            scores = [best_score(results[i, j]) for j in compared]
            loss = -np.average(scores, weights=sizes[: len(scores)])
            losses[i] = loss if np.isfinite(loss) else np.inf
            lengths[i] = max(results[i, j].progress.n_iter for j in trained_on)
        if is_last:
            break
        n_left = max(1, math.ceil(share * len(radii)))
        ranked = sorted(running, key=lambda i: losses[i])
        running = {i: running[i] for i in ranked[:n_left]}
    best = min(running, key=lambda i: losses[i])
    return losses, lengths, [results[best, j] for j in folds], best


def _parts(
    running: dict[int, list[TrainingJob]],
    results: dict[tuple[int, int], TrainingResult],
    folds: Iterable[int],
    pause_at: int | None,
) -> dict[tuple[int, int], TrainingJob]:
    """Return the jobs left to train up to a pause, by radius and fold."""
    parts = {}
    for i, of_radius in running.items():
        for j in folds:
            result = results.get((i, j))
            if result is None:
                parts[i, j] = dataclasses.replace(of_radius[j], pause_at=pause_at)
            elif result.is_paused:  # and has not stopped
                parts[i, j] = of_radius[j].resume(result, pause_at)
    return parts


def _weight_of_fold(job: TrainingJob) -> float:
    validation = validation_in(job)
    weights = validation.sample_weight
    if weights is None:
        weights = np.ones(len(validation.y))
    if validation.rows is not None:
        weights = weights[validation.rows]
    return float(weights.sum())


def validation_in(job: TrainingJob) -> Validation:
    """Return the validation of a job that has one."""
    assert job.validation is not None
    return job.validation


def best_score(result: TrainingResult) -> float:
    """Return the best score of a training that was validated."""
    score = result.progress.best_validation_score
    assert score is not None
    return score


def check_scores(results: Iterable[TrainingResult]) -> None:
    """Raise if a network never had a finite loss or score on held-out rows."""
    without = [r for r in results if not np.isfinite(best_score(r))]
    if any(result.is_interrupted for result in without):
        raise KeyboardInterrupt  # before the rows that were left out said anything
    if without:
        raise ValueError(
            "Solver produced non-finite parameter weights, and no finite loss or score of "
            "the rows that were left out in any epoch. The input data may contain large "
            "values and need to be preprocessed, or learning_rate_init is too large."
        )


def late_gain(
    results: Sequence[TrainingResult], jobs: Sequence[TrainingJob], n_epochs: float
) -> float:
    """Return the mean improvement of the folds in the last epochs.

    Parameters
    ----------
    results : list of TrainingResult
        One per fold.

    jobs : list of TrainingJob
        Their jobs.

    n_epochs : float
        How many epochs are the last. Infinite for all.

    Returns
    -------
    gain : float
        Fall of the lowest loss, or rise of the highest score, in its units: from the
        first one if all epochs are the last. 0 for folds that stopped early, and infinite
        if a fold was evaluated once, which shows no trend.
    """
    gains = []
    for result, job in zip(results, jobs, strict=True):
        progress = result.progress
        n_before = int(max(0, job.epochs - n_epochs) // validation_in(job).freq)
        gain = 0.0
        if progress.n_iter >= job.epochs:
            scores = np.asarray(progress.validation_scores)
            if len(scores) == 1:
                return math.inf
            before = scores[: max(1, n_before)]
            before = before[np.isfinite(before)].max(initial=-np.inf)
            gain = best_score(result) - before
        gains.append(gain)
    return float(np.average(gains, weights=[_weight_of_fold(job) for job in jobs]))


def share_at_best(
    results: Sequence[TrainingResult], jobs: Sequence[TrainingJob]
) -> float:
    """Return the mean share of the epochs up to which the folds improved."""
    shares = []
    for result, job in zip(results, jobs, strict=True):
        losses = -np.asarray(result.progress.validation_scores)
        lowest = losses[np.isfinite(losses)].min()
        # the units of a scorer are unknown
        slack = AS_GOOD_AS_BEST if validation_in(job).score is None else 0
        is_good = losses <= lowest + slack * abs(lowest)
        n_scores = np.flatnonzero(is_good)[-1] + 1
        epochs = min(n_scores * validation_in(job).freq, result.progress.n_iter)
        shares.append(epochs / job.epochs)
    return float(np.mean(shares))
