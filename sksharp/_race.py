"""Trainings that rows left out judge, and the race of the radii between them."""

import copy
import dataclasses
import math

import numpy as np

from ._folds import has_zeros, rows_that_count
from .optim import SOLVERS, solver_chain

# steps between two looks at a fold, unless an epoch is longer
STEPS_BETWEEN_SCORES = 20

# (share of the epochs, share of the radii that go on after it): successive halving
RACE = ((0.15, 1 / 2), (0.4, 1 / 3), (0.7, 0.0))

# a fold of a single network's gives up after this share of the epochs without a better
# loss, and is at its best as long as the loss is within this share of the lowest
PATIENCE_OF_ONE = 0.2
AS_GOOD_AS_BEST = 0.02


def judged_jobs(networks, X, y, sample_weight, folds, given):
    """Return the jobs of networks whose best epochs are chosen by rows left out.

    Parameters
    ----------
    networks : list of estimators
        New networks, or those of the last fit.

    X, y, sample_weight : arrays
        Data.

    folds : list of (array of int, array of int) or None
        Rows to train on and to keep, a pair per network. None if rows are given.

    given : Validation or None
        Rows that the user gives to all networks. All others are then trained on.

    Returns
    -------
    jobs : list of TrainingJob
        One per network.
    """
    jobs = []
    for i, network in enumerate(networks):
        if folds is None:
            data, train, kept = (given.X, given.y, given.sample_weight), None, None
        else:
            data, (train, kept) = (X, y, sample_weight), folds[i]
            if sample_weight is not None and not sample_weight[kept].sum() > 0:
                raise ValueError(
                    "sample_weight must not sum to zero over a fold, class_weight "
                    "included. Drop the rows of weight zero, or lower n_members or cv."
                )
        if has_zeros(sample_weight):
            # in small minibatches none may count
            train = rows_that_count(train, sample_weight)
        validation = network._validation(*data, kept, default="loss")
        job = network._job(X, y, sample_weight, rows=train)
        jobs.append(judged_by(job, validation))
    # folds of any size are looked at together: what they say is compared by epochs
    freq = max(job.validation.freq for job in jobs)
    return [
        dataclasses.replace(
            job, validation=dataclasses.replace(job.validation, freq=freq)
        )
        for job in jobs
    ]


def judged_by(job, validation):
    """Return a copy of a job that trains to the end and keeps its best epoch."""
    n_batches = -(-job.n_samples // job.settings.batch_size)
    freq = max(1, round(STEPS_BETWEEN_SCORES / n_batches))
    progress = dataclasses.replace(
        job.progress,
        best_loss=None,
        validation_scores=[],
        best_validation_score=-math.inf,
    )
    settings = job.settings
    if not adapts(settings):
        # the best epoch is kept, and may be late
        settings = dataclasses.replace(settings, n_iter_no_change=math.inf)
    return dataclasses.replace(
        job,
        settings=settings,
        validation=dataclasses.replace(validation, freq=freq),
        progress=progress,
        should_converge=False,
    )


def adapts(settings):
    """Return whether the learning rate goes by the stopping rule, and ends training."""
    descent = solver_chain(settings.solver, settings.base_solver)[-1]
    return settings.learning_rate == "adaptive" and SOLVERS[descent].has_schedule


def labeled(jobs, name):
    """Return copies of jobs whose networks have a name in what is printed."""
    n_jobs = len(jobs)
    return [
        dataclasses.replace(
            job,
            settings=dataclasses.replace(job.settings, label=f"{name} {k}/{n_jobs}"),
        )
        for k, job in enumerate(jobs, start=1)
    ]


def with_patience(job):
    """Return a copy of a fold's job that gives up some time after its best epoch."""
    if adapts(job.settings):
        return job
    patience = PATIENCE_OF_ONE * job.epochs / job.validation.freq
    return dataclasses.replace(
        job,
        settings=dataclasses.replace(job.settings, n_iter_no_change=patience, tol=0.0),
    )


def with_radius(job, radius):
    """Return a copy of a job that has not begun, with another radius."""
    settings = dataclasses.replace(
        job.settings,
        solver_parameters={**job.settings.solver_parameters, "rho": radius},
        label=f"rho={radius:g}, {job.settings.label}",
    )
    return dataclasses.replace(
        job,
        settings=settings,
        random_state=copy.deepcopy(job.random_state),
        progress=dataclasses.replace(
            job.progress,
            loss_curve=list(job.progress.loss_curve),
            validation_scores=list(job.progress.validation_scores),
        ),
    )


@dataclasses.dataclass
class Race:
    """What came of training all folds with every radius.

    Parameters
    ----------
    losses : array of shape (n_radii,)
        Loss over the rows of all folds, of each fold's best epoch. Minus the score if a
        scorer judges.

    epochs : array of int of shape (n_radii,)
        Epochs for which a radius was in the race.

    results : list of TrainingResult
        Those of the best radius, one per fold.

    best : int
        Which radius that is.
    """

    losses: np.ndarray
    epochs: np.ndarray
    results: list
    best: int


def pauses_of(jobs, stages):
    """Return after which epochs radii are dropped, with the share of those that go on.

    Parameters
    ----------
    jobs : list of TrainingJob
        One per fold.

    stages : sequence of (float, float)
        Shares of the epochs, in ascending order, and of the radii that go on after them.

    Returns
    -------
    pauses : dict of int to float
        At looks at the folds, before the last. Of short trainings, where looks are few,
        a pause may be that of several stages.
    """
    epochs, freq = max(job.epochs for job in jobs), jobs[0].validation.freq
    pauses = {math.ceil(share * epochs / freq) * freq: left for share, left in stages}
    return {epoch: left for epoch, left in pauses.items() if epoch < epochs}


def race(jobs, radii, train, pauses):
    """Train all folds with every radius and drop hopeless ones on the way.

    Parameters
    ----------
    jobs : list of TrainingJob
        One per fold.

    radii : list of float
        Radii.

    train : callable
        Takes a list of jobs, returns their results.

    pauses : dict of int to float
        Epochs, in ascending order, and the share of the radii that go on after them.

    Returns
    -------
    race : Race
        The outcome.
    """
    sizes = np.array([_weight_of_fold(job) for job in jobs])
    losses = np.full(len(radii), np.inf)
    lengths = np.zeros(len(radii), dtype=int)
    running = {
        i: [with_radius(job, radius) for job in jobs] for i, radius in enumerate(radii)
    }
    results = {i: [None] * len(jobs) for i in running}
    for pause_at, share in [*pauses.items(), (None, 0)]:
        if len(running) == 1:
            pause_at = None
        parts = _parts(running, results, pause_at)
        trained = train(list(parts.values())) if parts else []
        for (i, j), result in zip(parts, trained, strict=True):
            if result.is_interrupted:
                raise KeyboardInterrupt  # nothing is chosen yet
            results[i][j] = result
        for i in running:
            scores = [r.progress.best_validation_score for r in results[i]]
            loss = -np.average(scores, weights=sizes)
            losses[i] = loss if np.isfinite(loss) else np.inf
            lengths[i] = max(r.progress.n_iter for r in results[i])
        if pause_at is None:
            break
        n_left = max(1, math.ceil(share * len(radii)))
        ranked = sorted(running, key=lambda i: losses[i])
        running = {i: running[i] for i in ranked[:n_left]}
    best = min(running, key=lambda i: losses[i])
    return Race(losses, lengths, results[best], best)


def _parts(running, results, pause_at):
    """Return what is left to train up to a pause, by radius and fold."""
    parts = {}
    for i, of_radius in running.items():
        for j, (job, result) in enumerate(zip(of_radius, results[i], strict=True)):
            if result is None:
                parts[i, j] = dataclasses.replace(job, pause_at=pause_at)
            elif result.is_paused:  # and has not given up
                parts[i, j] = job.resume(result, pause_at)
    return parts


def _weight_of_fold(job):
    validation = job.validation
    weights = validation.sample_weight
    if weights is None:
        weights = np.ones(len(validation.y))
    return (weights if validation.rows is None else weights[validation.rows]).sum()


def check_scores(results):
    """Raise if a network never had a finite loss, or score, on the rows that judge it."""
    if not all(np.isfinite(r.progress.best_validation_score) for r in results):
        raise ValueError(
            "Solver produced non-finite parameter weights, and no finite loss or score of "
            "the rows that were left out in any epoch. The input data may contain large "
            "values and need to be preprocessed, or learning_rate_init is too large."
        )


def late_gain(results, jobs, n_epochs):
    """Return by how much the folds got better in the last epochs, on average.

    Parameters
    ----------
    results : list of TrainingResult
        One per fold.

    jobs : list of TrainingJob
        What they were trained for.

    n_epochs : float
        How many epochs are the last. Infinite for all.

    Returns
    -------
    gain : float
        Fall of the lowest loss, or rise of the highest score, in its units: from the
        first one if all epochs are the last. 0 for folds that gave up, and infinite for
        those that were looked at once: nothing tells of them that they got no better.
    """
    gains = []
    for result, job in zip(results, jobs, strict=True):
        progress = result.progress
        n_before = int(max(0, job.epochs - n_epochs) // job.validation.freq)
        gain = 0.0
        if progress.n_iter >= job.epochs:
            scores = np.asarray(progress.validation_scores)
            if len(scores) == 1:
                return math.inf
            before = scores[: max(1, n_before)]
            before = before[np.isfinite(before)].max(initial=-np.inf)
            gain = progress.best_validation_score - before
        gains.append(gain)
    return float(np.average(gains, weights=[_weight_of_fold(job) for job in jobs]))


def share_at_best(results, jobs):
    """Return the share of their epochs for which the folds did well, on average."""
    shares = []
    for result, job in zip(results, jobs, strict=True):
        losses = -np.asarray(result.progress.validation_scores)
        lowest = losses[np.isfinite(losses)].min()
        # nobody knows in which units a scorer counts
        slack = AS_GOOD_AS_BEST if job.validation.score is None else 0
        is_good = losses <= lowest + slack * abs(lowest)
        n_looks = np.flatnonzero(is_good)[-1] + 1
        epochs = min(n_looks * job.validation.freq, result.progress.n_iter)
        shares.append(epochs / job.epochs)
    return float(np.mean(shares))
