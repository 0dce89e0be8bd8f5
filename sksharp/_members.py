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
from sklearn.utils.validation import validate_data

from ._folds import make_folds, n_counting
from ._numbers import check_range
from ._progress import say
from ._race import (
    RACE,
    adapts,
    check_scores,
    judged_jobs,
    labeled,
    late_gain,
    pauses_of,
    race,
    share_at_best,
    with_patience,
    with_radius,
)
from ._warnings import hold_back, warn
from .optim import SOLVERS

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
            folds = self._make_folds(X, y, sample_weight, self.n_members, draws)
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
            if not incremental:
                member._score_freq = job.validation.freq
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
                folds = self._make_folds(X, y, sample_weight, None, draws)
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
        gain = late_gain(results, jobs, self.n_iter_no_change)
        if gain > self.tol:
            epochs = max(job.epochs for job in jobs)
            of_what = "loss" if jobs[0].validation.score is None else "score"
            is_given = jobs[0].validation.rows is None
            rows = "validation rows" if is_given else "rows left out"
            limit = self._length_name
            why = (
                f"got better by more than tol={self.tol:g} in the last "
                f"n_iter_no_change={self.n_iter_no_change} of them"
            )
            if np.isinf(gain):
                why = "was looked at once"
            warn(
                f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the "
                f"optimization hasn't converged yet: the {of_what} of the {rows} {why}. "
                f"Increase {limit}.",
                ConvergenceWarning,
            )

    def _race(self, jobs, is_new):
        """Choose the radius, and return what came of the jobs with it."""
        if not is_new and hasattr(self, "rho_"):
            return self._run([with_radius(job, self.rho_) for job in jobs])
        radii = np.unique(np.asarray(self._grid(), dtype=np.float64))
        radii = self._before_weight(radii)
        check_range("rho_grid", radii.max(), self._dtype())
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
                left = "1 radius" if n_left == 1 else f"{n_left} radii"
                networks = "1 network" if len(parts) == 1 else f"{len(parts)} networks"
                say(
                    f"Choosing rho, stage {next(stage)} of at most {n_stages}: {left}, "
                    f"{networks}."
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

    def _make_folds(self, X, y, sample_weight, n_folds, draws):
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
            X,
            y,
            None if is_drawn else self._decode(y),
            stratify=is_classifier(self)
            and (self.n_outputs_ == 1 or self.out_activation_ == "softmax"),
            # the same folds under warm_start: what chose an epoch goes on choosing
            random_state=np.random.RandomState(self._fold_seed),
        )
        if counts is not None:
            folds = [(counts[train], counts[test]) for train, test in folds]
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
        layer_units = [X.shape[1], *self._hidden_units(), self.n_outputs_]
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


def draw_seed(random_state):
    """Return a seed for another generator."""
    return int(random_state.randint(np.iinfo(np.int32).max))


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
