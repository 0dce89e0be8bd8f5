"""The choice of a radius on held-out rows: its folds, its rungs and its outcome."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .._input_noise import HeldOutNoise
from .._jobs import Array, Settings, TrainingJob, TrainingResult, Validation
from .._numbers import check_range
from ..observers._bar import say
from ..options.solvers import SOLVERS
from ._comparison import rows_of_fold, validation_in
from ._folds import Folds, has_zeros, nonzero_rows
from ._halving import Halving, best_score
from ._network import FitData, Network, Trainer, make_job
from ._noise import of_fold
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
    noise: HeldOutNoise | None = None,
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

    noise : HeldOutNoise or None, default=None
        What the rows held out are scored with: folds have draws of their own.

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
            data.estimator,
            rows,
            kept,
            scoring=network.plan.scoring or "loss",
            noise=noise if folds is None else of_fold(noise, i),
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

    differences : array of shape (n_radii,)
        Loss less the lowest, when a radius was last compared with others. 0 for the only
        one, and with a scorer.

    standard_errors : array of shape (n_radii,)
        Standard errors of these differences, paired over the rows held out.

    epochs : array of int of shape (n_radii,)
        Epochs for which each radius was trained.

    results : list of TrainingResult
        Those of the chosen radius, one per fold.

    chosen : int
        Index of that radius.

    is_scored : bool
        Whether folds are scored by a scorer.
    """

    radii: Array
    losses: Array
    differences: Array
    standard_errors: Array
    epochs: Array
    results: list[TrainingResult]
    chosen: int
    is_scored: bool

    @property
    def rho(self) -> float | None:
        """The chosen radius, None if the solver has no radius."""
        radius = self.radii[self.chosen]
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
    halving = Halving(jobs, radii.tolist(), n_compared)
    results = halving.run(train, pauses, keeps_interrupted=plan.n_members > 1)
    if observer is not None:
        observer.end_choice()
    if plan.verbose and plan.outer.takes_radius:
        say(f"Chose rho={radii[halving.chosen]:g}.")
    return RadiusChoice(
        radii,
        halving.losses,
        halving.differences,
        halving.standard_errors,
        halving.epochs,
        results,
        halving.chosen,
        halving.is_scored,
    )


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


def check_scores(results: Iterable[TrainingResult]) -> None:
    """Raise if a network never had a finite loss or score on held-out rows."""
    without = [r for r in results if not np.isfinite(best_score(r))]
    if any(result.is_interrupted for result in without):
        raise KeyboardInterrupt  # before the rows that were left out said anything
    if without:
        raise ValueError(
            "Solver produced non-finite parameter weights, and no epoch had a finite loss "
            "or score on the held-out rows. The input data may contain large "
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
    return float(
        np.average(gains, weights=[rows_of_fold(job)[1].sum() for job in jobs])
    )


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
