"""Networks that each keep a fold of the rows, and the choice of a radius by them."""

import contextlib
import copy
import dataclasses
import itertools
import math
from numbers import Integral

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.utils.validation import validate_data

from ._progress import say
from ._warnings import hold_back, warn
from .optim import SOLVERS, solver_chain

# steps between two looks at a fold, unless an epoch is longer
STEPS_BETWEEN_SCORES = 20

# (share of the epochs, share of the radii that go on after it): successive halving
RACE = ((0.15, 1 / 2), (0.4, 1 / 3), (0.7, 0.0))

# radii that rho='auto' tries for one network, and for members
RADII_OF_ONE = (0.0, 0.1, 0.5)
RADII_OF_MEMBERS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)

# a single network's radius is chosen by thirds of the rows, as many as it takes to keep
# enough of them; with fewer rows than the least there is nothing to choose by
PARTS_OF_ONE = 3
ENOUGH_KEPT = 300
LEAST_ROWS = 100

# average of the weights, unless the user asks for another or for none
DECAY_OF_AUTO = 0.99

# a fold of a single network's gives up after this share of the epochs without a better
# loss, and is at its best as long as the loss is within this share of the lowest
PATIENCE_OF_ONE = 0.2
AS_GOOD_AS_BEST = 0.02

RADIUS_ATTRIBUTES = (
    "rho_",
    "rho_grid_",
    "rho_losses_",
    "rho_scores_",
    "rho_epochs_",
    "_rho_solver",
)

OUT_OF_FOLD_ATTRIBUTES = ("oof_prediction_", "oof_decision_function_")

MEMBERS_ATTRIBUTES = (
    "members_",
    "_fold_seed",
    *RADIUS_ATTRIBUTES,
    *OUT_OF_FOLD_ATTRIBUTES,
)

# what the networks of an estimator have in common
FITTED_ATTRIBUTES = (
    "classes_",
    "_label_binarizer",
    "n_features_in_",
    "feature_names_in_",
    "n_outputs_",
)


class Ensemble:
    """Mixin of the estimators: several networks, and the choice of a radius by folds."""

    _race_stages = RACE

    def _train_members(self, X, y, sample_weight, incremental, given):
        is_new = not hasattr(self, "members_")
        draws = self._random_state
        folds = None
        if not incremental and given is None:
            folds = self._make_folds(y, sample_weight, self.n_members, draws)
        params = self._member_params(y, sample_weight, given)
        if incremental and self._averages() and params["ema_decay"] is None:
            params["ema_decay"] = DECAY_OF_AUTO
        if is_new:
            members = [
                self._new_network(X, y, params, draws) for _ in range(self.n_members)
            ]
        else:
            members = copy.deepcopy(self.members_)
            for member in members:
                vars(member).update({**params, "random_state": member.random_state})
        if incremental:
            jobs = [
                member._job(X, y, sample_weight, incremental=True) for member in members
            ]
            jobs = labeled(jobs, "member")
            results = self._run(jobs)
        else:
            jobs = judged_jobs(members, X, y, sample_weight, folds, given)
            jobs = labeled(jobs, "member")
            results = self._race(jobs, is_new) if self._searches() else self._run(jobs)
            check_scores(results)
        for member, job, result in zip(members, jobs, results, strict=True):
            member._take(result)
            member._score_freq = 1 if incremental else job.validation.freq
            if self._searches():
                member.rho = self._radius()
        self.members_ = members
        if not incremental:
            self._keep_out_of_fold(members, X, folds)
        for name in ("coefs_", "intercepts_", "n_averaged_"):
            vars(self).pop(name, None)
        self.n_iter_ = max(member.n_iter_ for member in members)
        self.t_ = max(member.t_ for member in members)
        self.loss_ = float(np.mean([member.loss_ for member in members]))
        if not incremental:
            self._warn_if_cut_off(results, jobs)

    def _is_automatic(self, y, sample_weight, given=None):
        """Return whether ``rho='auto'`` says how to train: there are rows to judge by."""
        if not self._searches() or self.cv is not None or given is not None:
            return self._searches()
        n_rows = len(y) if sample_weight is None else np.count_nonzero(sample_weight)
        return n_rows >= LEAST_ROWS

    def _search(self, X, y, sample_weight, given):
        """Choose the radius by folds and train on all rows with it."""
        rows, validation = self._split(X, y, sample_weight, given)
        # the network of all rows is drawn as if nothing were chosen before
        draws = copy.deepcopy(self._random_state)
        folds = None
        if given is None:
            # a rare class is not in every fold, and maybe nobody has asked for folds
            with hold_back() if self.cv is None else contextlib.nullcontext():
                folds = self._make_folds(y, sample_weight, None, draws)
        params = self._member_params(y, sample_weight, given)
        n_networks = 1 if folds is None else len(folds)
        networks = [self._new_network(X, y, params, draws) for _ in range(n_networks)]
        jobs = judged_jobs(networks, X, y, sample_weight, folds, given)
        jobs = labeled(jobs, "fold" if given is None else "network")
        if not self.swa:
            jobs = [with_patience(job) for job in jobs]
        outcome = self._race(jobs, is_new=True)
        check_scores(outcome)
        for network, result in zip(networks, outcome, strict=True):
            network._take(result)
        self._keep_out_of_fold(networks, X, folds)
        if self.verbose:
            say("Training a network on all rows.")
        job = self._job(X, y, sample_weight, rows, validation, given=given)
        judges_itself = validation is not None or adapts(job.settings)
        if job.settings.averaging is None and not judges_itself:
            job = dataclasses.replace(
                job,
                epochs=max(1, round(share_at_best(outcome, jobs) * job.epochs)),
                settings=dataclasses.replace(job.settings, n_iter_no_change=np.inf),
                should_converge=False,
            )
        (result,) = self._run([job])
        self._take(result)
        self._note_judge(given)
        if validation is None:
            self._warn_if_cut_off(outcome, jobs)

    def _warn_if_cut_off(self, results, jobs):
        """Warn if networks that are judged by rows left out got better to the end."""
        settings = jobs[0].settings
        ends_otherwise = settings.averaging is not None or adapts(settings)
        is_interrupted = any(result.is_interrupted for result in results)
        if ends_otherwise or is_interrupted or self._ends_on_purpose():
            return
        if late_gain(results, jobs, self.n_iter_no_change) > self.tol:
            epochs = max(job.epochs for job in jobs)
            of_what = "loss" if jobs[0].validation.score is None else "score"
            is_given = jobs[0].validation.rows is None
            rows = "validation rows" if is_given else "rows left out"
            limit = self._length_name
            warn(
                f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the "
                f"optimization hasn't converged yet: the {of_what} of the {rows} got "
                f"better by more than tol={self.tol:g} in the last "
                f"n_iter_no_change={self.n_iter_no_change} of them. Increase {limit}.",
                ConvergenceWarning,
            )

    def _race(self, jobs, is_new):
        """Choose the radius, and return what came of the jobs with it."""
        if not is_new and hasattr(self, "rho_"):
            return self._run([with_radius(job, self.rho_) for job in jobs])
        radii = np.unique(np.asarray(self._grid(), dtype=np.float64))
        radii = self._before_weight(radii)
        outcome = self._told_race(jobs, radii.tolist())
        self.rho_ = radii[outcome.best].item()
        self.rho_grid_ = radii
        self.rho_epochs_, self._rho_solver = outcome.epochs, self.solver
        if jobs[0].validation.score is None:
            self.rho_losses_ = outcome.losses
        else:
            self.rho_scores_ = -outcome.losses
        return outcome.results

    def _told_race(self, jobs, radii):
        """Return the outcome of a race, and tell of its stages."""
        watch = vars(self).get("_watch")
        pauses = pauses_of(jobs, self._race_stages) if len(radii) > 1 else {}
        n_stages = len(pauses) + 1
        stage = itertools.count(1)

        def train(parts):
            if self.verbose:
                n_left = len({job.settings.solver_parameters["rho"] for job in parts})
                say(
                    f"Choosing rho, stage {next(stage)} of at most {n_stages}: {n_left} "
                    f"radii, {len(parts)} networks."
                )
            return self._run(parts)

        if watch is not None:
            watch.begin_choice(n_stages, 1 if self.n_members > 1 else 2)
        outcome = race(jobs, radii, train, pauses)
        if watch is not None:
            watch.end_choice()
        if self.verbose:
            say(f"Chose rho={radii[outcome.best]:g}.")
        return outcome

    def _grid(self):
        if self.rho_grid is not None:
            return self.rho_grid
        radii = RADII_OF_ONE if self.n_members == 1 else RADII_OF_MEMBERS
        return np.multiply(radii, SOLVERS[self.solver].radius)

    def _make_folds(self, y, sample_weight, n_folds, draws):
        if not hasattr(self, "_fold_seed"):
            self._fold_seed = draw_seed(draws)
        n_parts, n_kept = n_folds, None
        if n_folds is None and self.cv is None:
            n_parts = PARTS_OF_ONE
            n_rows = n_counting(y, sample_weight)
            n_kept = min(n_parts, math.ceil(n_parts * ENOUGH_KEPT / n_rows))
        is_drawn = self.cv is None or isinstance(self.cv, Integral)
        counts = None
        if is_drawn and sample_weight is not None:
            # a fold of rows that do not count could not judge
            counts = np.flatnonzero(sample_weight)
            y = y[counts]
        folds = make_folds(
            self.cv,
            n_parts,
            y,
            stratify=is_classifier(self)
            and (self.n_outputs_ == 1 or self.out_activation_ == "softmax"),
            # the same folds under warm_start: what chose an epoch goes on choosing
            random_state=np.random.RandomState(self._fold_seed),
        )
        if counts is not None:
            folds = [(counts[train], counts[test]) for train, test in folds]
        elif has_zeros(sample_weight) and self._searches():
            folds = [
                (rows_that_count(train, sample_weight), test) for train, test in folds
            ]
        return folds[:n_kept]

    def _new_network(self, X, y, params, draws):
        """Return an estimator of one network, initialized with a seed of its own."""
        seed = draw_seed(draws)
        network = type(self)(**self.get_params(deep=False))
        vars(network).update({**params, "random_state": seed})
        for name in FITTED_ATTRIBUTES:
            if hasattr(self, name):
                setattr(network, name, getattr(self, name))
        network._random_state = np.random.RandomState(seed)
        hidden = [len(bias) for bias in self.intercepts_[:-1]]
        layer_units = [X.shape[1], *hidden, self.n_outputs_]
        network._initialize(y, layer_units, X.dtype)
        return network

    def _member_params(self, y, sample_weight, given):
        """Return the parameters of a network of its own, but for its seed."""
        # those that a subclass leaves out of its signature too
        params = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and not name.endswith("_")
        }
        own = {
            "n_members": 1,
            "rho": self._radius(),
            "early_stopping": False,
            "cv": None,  # splits that are drawn once cannot be copied
            "callbacks": None,
            "n_snapshots": 1,
        }
        if self._is_automatic(y, sample_weight, given):
            # a network with a radius of its own does not know what was automatic
            if self.ema_decay is None and not self.swa:
                own["ema_decay"] = DECAY_OF_AUTO
            if self.batch_size == "auto":
                own["batch_size"] = self._clipped_batch_size(
                    n_counting(y, sample_weight), is_automatic=True
                )
        return {**params, **own}

    def _keep_out_of_fold(self, networks, X, folds):
        if folds is not None:
            outputs = out_of_fold(networks, X, folds, self.n_outputs_)
            self._take_out_of_fold(outputs)

    def _forward_pass_fast(self, X, check_input=True):
        members = vars(self).get("members_")
        if members is None:
            return super()._forward_pass_fast(X, check_input=check_input)
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        total = 0
        for member in members:
            total = total + member._forward_pass_fast(X, check_input=False)
        return total / len(members)


def has_zeros(sample_weight):
    """Return whether there are rows that do not count."""
    return sample_weight is not None and not np.all(sample_weight)


def n_counting(y, sample_weight):
    """Return how many rows count, all of them if none does."""
    return (
        len(y) if sample_weight is None else np.count_nonzero(sample_weight) or len(y)
    )


def rows_that_count(rows, sample_weight):
    """Return those of some rows that count, or of all if None; all if none does."""
    if rows is None:
        rows = np.arange(len(sample_weight))
    kept = rows[sample_weight[rows] != 0]
    return kept if len(kept) else rows


def draw_seed(random_state):
    """Return a seed for another generator."""
    return int(random_state.randint(np.iinfo(np.int32).max))


def make_folds(cv, n_folds, y, *, stratify, random_state):
    """Return the rows of every fold: those to train on and those to keep.

    Parameters
    ----------
    cv : int, splitter, iterable of splits or None
        Parameter of the estimator.

    n_folds : int or None
        How many folds there must be, None if ``cv`` says.

    y : array of shape (n_samples, n_outputs)
        Encoded targets.

    stratify : bool
        Whether they are the indicators of one label.

    random_state : numpy.random.RandomState
        Draws the folds, unless ``cv`` is a splitter.

    Returns
    -------
    folds : list of (array of int, array of int)
        Rows, by their places.

    Raises
    ------
    ValueError
        If there are fewer rows than folds, or if ``cv`` gives no split, an empty part, or
        another number of splits than ``n_folds``.
    """
    labels = None
    if stratify:
        labels = y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1)
    if cv is None or isinstance(cv, int | np.integer):
        n_splits = n_folds if cv is None else int(cv)
        if len(y) < n_splits:
            raise ValueError(
                f"Each of the {n_splits} folds needs a row, got n_samples={len(y)}. Lower "
                "n_members or cv."
            )
        can_stratify = (
            stratify and np.unique(labels, return_counts=True)[1].max() >= n_splits
        )
        splitter = StratifiedKFold if can_stratify else KFold
        cv = splitter(n_splits, shuffle=True, random_state=random_state)
    else:
        cv = check_cv(cv)
    target = y if labels is None else labels
    n_rows = len(target)
    folds = [
        (_places(a, n_rows), _places(b, n_rows)) for a, b in cv.split(target, target)
    ]
    if not folds:
        raise ValueError(
            "cv must give at least one split, got none. Give a list of splits: a generator "
            "is used up by its first fit."
        )
    if any(len(train) == 0 or len(test) == 0 for train, test in folds):
        raise ValueError(
            "cv must leave rows to train on and rows to keep in every split, got an empty "
            "part."
        )
    if n_folds is not None and len(folds) != n_folds:
        raise ValueError(
            f"cv must give one split per member, got {len(folds)} splits with "
            f"n_members={n_folds}. Set n_members={len(folds)}, or cv=None."
        )
    return folds


def _places(rows, n_rows):
    """Return the places of rows that are given by places or by a mask."""
    rows = np.asarray(rows)
    if rows.size == 0:
        return np.empty(0, dtype=int)
    try:
        places = np.arange(n_rows)[rows]
    except IndexError as error:
        raise ValueError(
            f"cv must give the places of rows, or masks, of n_samples={n_rows}, got "
            f"{rows!r}: {error}."
        ) from error
    if places.ndim != 1:
        raise ValueError(
            f"cv must give the places of rows in one dimension, got {places.ndim} of shape "
            f"{places.shape}. Flatten them."
        )
    return places


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
            if has_zeros(sample_weight):
                train = rows_that_count(None, sample_weight)
        else:
            data, (train, kept) = (X, y, sample_weight), folds[i]
            if sample_weight is not None and not sample_weight[kept].sum() > 0:
                raise ValueError(
                    "sample_weight must not sum to zero over a fold, class_weight "
                    "included. Drop the rows of weight zero, or lower n_members or cv."
                )
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
        first one if all epochs are the last. 0 for folds that gave up.
    """
    gains = []
    for result, job in zip(results, jobs, strict=True):
        progress = result.progress
        n_before = int(max(0, job.epochs - n_epochs) // job.validation.freq)
        gain = 0.0
        if progress.n_iter >= job.epochs:
            scores = np.asarray(progress.validation_scores)
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


def out_of_fold(networks, X, folds, n_outputs):
    """Return the outputs for every row of the networks that kept it, NaN if none did."""
    total = np.zeros((X.shape[0], n_outputs))
    counts = np.zeros((X.shape[0], 1))
    for network, (_, test) in zip(networks, folds, strict=True):
        # a fold may hold a row twice
        np.add.at(total, test, network._forward_pass_fast(X[test], check_input=False))
        np.add.at(counts, test, 1)
    with np.errstate(invalid="ignore"):
        return total / counts
