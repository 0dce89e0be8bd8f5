"""What the two estimators share: scikit-learn's MLP with another training loop."""

import contextlib
import functools
import hashlib
from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_sample_weight

from ._advice import advise
from ._choices import in_order, suggesting
from ._contract import Progress, Settings, TrainingJob, Weights
from ._export import Exports
from ._folds import has_zeros, n_counting, rows_that_count
from ._members import (
    LEAST_ROWS,
    MEMBERS_ATTRIBUTES,
    OUT_OF_FOLD_ATTRIBUTES,
    RADIUS_ATTRIBUTES,
    Ensemble,
)
from ._numbers import Number, as_float, check_data, check_divisor, check_range, is_real
from ._pickles import VersionStamp, data_as_records, records_as_data
from ._schedules import SCHEDULES
from ._scheduling import CONSTRAINTS, SHARE_OR_EPOCHS, Scheduling, _plain
from ._scoring import CONSTRAINTS as SCORING_CONSTRAINTS
from ._scoring import Scoring, check_sum, is_loss
from ._tasks import OF_A_FIT, CallbackSupport
from ._unused import warn_of_few_rows, warn_of_unused
from ._warnings import warn
from ._watching import fit_watchers
from .optim import (
    BASE_SOLVERS,
    SOLVERS,
    base_solvers,
    solver_chain,
    solver_parameters,
)

DOCUMENTATION = "https://sksharp.readthedocs.io/en/stable"

# with rho='auto': the radius before one is chosen, the steps of an epoch at least, and
# the rows of a minibatch at least
RHO_UNTIL_CHOSEN = 0.05
STEPS_OF_AUTO = 20
SMALLEST_OF_AUTO = 8


class FlatMinimaMLP(
    Scheduling,
    Scoring,
    Ensemble,
    Exports,
    CallbackSupport,
    VersionStamp,
    BaseMultilayerPerceptron,
):
    """Base of the estimators: everything but their signatures and docstrings.

    scikit-learn keeps the validation of data, labels, initialization, prediction and
    the solver 'lbfgs'. This class hands stochastic training to the engine and takes
    back numpy arrays, so that a fitted estimator needs no torch.
    """

    _parameter_constraints: dict = in_order(
        {
            **BaseMultilayerPerceptron._parameter_constraints,
            "solver": [StrOptions({"lbfgs", *SOLVERS})],
            "base_solver": [StrOptions(set(BASE_SOLVERS))],
            "rho": [Number(Real, 0, None, closed="left"), StrOptions({"auto"})],
            "rho_grid": ["array-like", None],
            "cv": ["cv_object"],
            "n_members": [Number(Integral, 1, None, closed="left")],
            "max_steps": [Number(Integral, 1, None, closed="left"), None],
            "gamma": [Number(Real, 0, 1, closed="left")],
            "asam_eta": [Number(Real, 0, None, closed="left")],
            "gsam_alpha": [Number(Real, 0, None, closed="left")],
            "fisher_eta": [Number(Real, 0, None, closed="left")],
            "friendly_sigma": [Number(Real, 0, None, closed="left")],
            "friendly_decay": [Number(Real, 0, 1, closed="left")],
            "looksam_k": [Number(Integral, 1, None, closed="left")],
            "looksam_alpha": [Number(Real, 0, None, closed="left")],
            "esam_fraction": [Number(Real, 0, 1, closed="right")],
            "sam_interval": [Number(Integral, 1, None, closed="left")],
            "sam_start": SHARE_OR_EPOCHS,
            "micro_batch_size": [Number(Integral, 1, None, closed="left"), None],
            "lookahead_k": [Number(Integral, 1, None, closed="left")],
            "lookahead_alpha": [Number(Real, 0, 1, closed="both")],
            "weight_decay": [Number(Real, 0, None, closed="left")],
            "muon_momentum": [Number(Real, 0, 1, closed="left")],
            "schedule_free_warmup": [Number(Integral, 0, None, closed="left")],
            **CONSTRAINTS,
            **SCORING_CONSTRAINTS,
            "swa": ["boolean"],
            "swa_freq": [Number(Integral, 1, None, closed="left")],
            "swa_lr": [Number(Real, 0, None, closed="neither"), None],
            "n_jobs": [Number(Integral, None, None, closed="neither"), None],
            "device": [str],
            "callbacks": [list, tuple, None],
        }
    )

    _doc_link_module = "sksharp"
    _doc_link_template = DOCUMENTATION + "/api/sksharp.{estimator_name}.html"

    @classmethod
    @functools.cache  # asked for at every get_params, set_params, clone and fit
    def _get_param_names(cls):
        return super()._get_param_names()

    def _validate_params(self):
        params = self.get_params(deep=False)
        with suggesting(self._parameter_constraints, params):
            super()._validate_params()

    def _check_solver(self):
        if isinstance(self.solver, str) and self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    @contextlib.contextmanager
    def _all_or_nothing(self):
        """Leave the estimator as it was if a fit fails."""
        # the lists of losses and of weights are the only state that fitting changes in
        # place
        before = {
            name: value.copy()
            if isinstance(value, list) and "_" in (name[0], name[-1])
            else value
            for name, value in vars(self).items()
        }
        try:
            yield
        except BaseException:
            before |= {k: v for k, v in vars(self).items() if k in OF_A_FIT}
            vars(self).clear()
            vars(self).update(before)
            raise

    @contextlib.contextmanager
    def _watched(self, X, y, sample_weight):
        """Tell whoever wants to know how far a fit is."""
        watch = fit_watchers(self, X, y, sample_weight)
        if not watch:
            yield
            return
        self._watch = watch
        try:
            yield
            del self._watch
            watch.finish()
        finally:
            vars(self).pop("_watch", None)
            watch.close()

    # -- from the user's data to a training job -----------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Train on rows, anew or, with ``warm_start``, from the weights of the last call.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: class labels or numbers.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Rows for validation, 2 or more. They take the place of those that would be
            left out: of ``validation_fraction`` with ``early_stopping=True``, and of the
            folds with ``n_members`` and ``rho='auto'``. All rows of ``X`` are then
            trained on. In a Pipeline with ``transform_input=["X_val"]`` they are
            transformed like ``X``.

        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Their targets. Every label must be among those of ``y``.

        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights. They are multiplied by those of ``class_weight``, which are
            computed from ``y``.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If the data or parameters are not valid, alone or together, if the validation
            rows do not match the others or nothing reads them, or if training diverges.
            The estimator is then as it was.
        """
        given = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight=sample_weight, given=given)

    def _fit(
        self, X, y, sample_weight=None, incremental=False, given=(None, None, None)
    ):
        with self._all_or_nothing(), self._watched(X, y, sample_weight):
            self._check_combinations(incremental)
            self._check_given(*given)
            if not (incremental and hasattr(self, "t_")):
                warn_of_unused(self)
            if self.warm_start or incremental:
                self._restore_network()
            if self.solver in SOLVERS:
                X, y, sample_weight = self._prepare(X, y, sample_weight, incremental)
                given = self._prepare_given(*given, y)
                self._train(X, y, sample_weight, incremental, given)
                if not incremental:
                    advise(self, X, y, sample_weight)
            else:
                if "_watch" in vars(self):
                    self._watch.begin_fit()
                super()._fit(X, y, sample_weight=sample_weight, incremental=incremental)
                self._forget_training()
        return self

    def _fit_lbfgs(self, X, y, sample_weight, *buffers):
        *_, layer_units = buffers
        self._check_same_network(layer_units)
        check_range("alpha", self._value("alpha"), self._dtype())
        super()._fit_lbfgs(X, y, self._row_weights(y, sample_weight), *buffers)

    def _forget_training(self):
        """Drop what stochastic training left, after another solver's fit."""
        self.n_averaged_ = 0
        for name in (*_STATE_ATTRIBUTES, *_PROGRESS_ATTRIBUTES, *MEMBERS_ATTRIBUTES):
            vars(self).pop(name, None)

    def _check_combinations(self, incremental):
        """Raise for parameters that are valid alone and not together."""
        if incremental:  # scikit-learn validates before the first call only
            self._validate_params()
        stochastic = self.solver in SOLVERS
        if not stochastic:  # what scikit-learn computes with
            self._hidden_units()
            for name in ("alpha", "tol"):
                self._value(name)
        if stochastic and SOLVERS[self.solver].takes_base:
            self._check_base_solver()
        needs_steps = {
            "swa": self.swa,
            "ema_decay": self.ema_decay,
            "learning_rate": self.learning_rate in SCHEDULES,
            "warmup": self.warmup,
            "n_snapshots": self.n_snapshots > 1,
            "n_members": self.n_members > 1,
            "max_steps": self.max_steps is not None,
            "callbacks": self.callbacks,
        }
        name = next((name for name, is_on in needs_steps.items() if is_on), None)
        if not stochastic and name is not None:
            raise ValueError(
                f"{name} needs a stochastic solver, got solver={self.solver!r}. Set solver "
                f"to one of {sorted(SOLVERS)}, or leave {name} at its default."
            )
        for callback in self.callbacks or ():
            if isinstance(callback, tuple) and callback:  # with its name
                callback = callback[-1]
            if not hasattr(callback, "on_epoch_end"):
                raise TypeError(
                    f"callbacks must hold skorch callbacks, got {callback!r}. Derive it "
                    "from skorch.callbacks.Callback, or give one of scikit-learn's to "
                    "set_callbacks."
                )
        if self.swa and self.ema_decay:
            raise ValueError(
                "swa and ema_decay are two averages of the weights, and a fit has one, got "
                f"swa=True and ema_decay={self.ema_decay}. Set swa=False or "
                "ema_decay=None."
            )
        if stochastic:
            self._check_scheduling(incremental)
        if self.max_steps is None and not incremental:
            self._check_ascent(self.max_iter)
        if self.callbacks and self.n_members > 1:
            raise ValueError(
                "callbacks see one network, got callbacks and "
                f"n_members={self.n_members}. Set callbacks=None or n_members=1."
            )
        if self._searches():
            self._check_grid()
        if self.scoring is not None and not is_loss(self.scoring):
            self._scorer()

    def _check_base_solver(self):
        allowed = base_solvers(self.solver)
        if self.base_solver not in allowed:
            raise ValueError(
                f"base_solver must be one of {sorted(allowed)} with "
                f"solver={self.solver!r}, got base_solver={self.base_solver!r}, whose own "
                "slow or averaged weights do not go with it. Choose another base_solver, "
                f"or solver={self.base_solver!r}."
            )

    def _searches(self):
        """Return whether the radius is to be found."""
        has_radius = (
            self.solver in SOLVERS and "rho" in SOLVERS[self.solver].arguments.values()
        )
        is_off = self.solver == "wsam" and self.gamma == 0
        return has_radius and not is_off and isinstance(self.rho, str)

    def _radius(self):
        """Return the radius to train with, where none is being searched."""
        if not isinstance(self.rho, str):
            return self._value("rho")
        return getattr(self, "rho_", self._radius_until_chosen())

    def _radius_until_chosen(self):
        radius = RHO_UNTIL_CHOSEN * SOLVERS[self.solver].radius
        if self.rho_grid is not None and np.size(self.rho_grid) == 1:
            radius = np.ravel(self.rho_grid).item()  # which leaves no choice
        return self._before_weight(radius)

    def _before_weight(self, radii):
        """Return the ``rho`` of perturbations as long as 'sam' would make them."""
        if self.solver != "wsam" or not self.gamma:
            return radii
        factor = (1 - self.gamma) / self.gamma
        if not np.isfinite(factor):
            raise ValueError(
                "gamma must be 0 or a weight that can be divided by, for the radii of "
                f"rho='auto', got gamma={self.gamma}. Raise gamma, or set it to 0."
            )
        return radii * factor

    def _check_grid(self):
        try:
            grid = np.asarray(self._grid(), dtype=np.float64)
        except (OverflowError, TypeError, ValueError):  # words, a set, 10**400
            grid = np.empty(0)
        is_valid = grid.ndim == 1 and grid.size and np.isfinite(grid).all()
        if is_valid:  # numpy takes True for 1
            is_valid = not any(isinstance(r, bool | np.bool_) for r in self._grid())
        if not is_valid or grid.min() < 0:
            raise ValueError(
                "rho_grid must hold at least one radius, numbers that are neither negative "
                f"nor infinite, got rho_grid={self.rho_grid}."
            )

    def _check_ascent(self, epochs):
        is_ascent = self.solver in SOLVERS and SOLVERS[self.solver].is_ascent
        if is_ascent and self._first_epoch(self.sam_start, epochs) >= epochs:
            length = self._length_name
            raise ValueError(
                f"sam_start must lie before {length}={getattr(self, length)}, got "
                f"sam_start={self.sam_start}. There would never be an ascent; lower "
                f"sam_start, raise {length}, or set solver={self.base_solver!r}."
            )

    def _check_averaging(self, epochs):
        start = self._first_epoch(self.swa_start, epochs)
        length = self._length_name
        if start >= epochs:
            raise ValueError(
                f"swa_start must lie before {length}={getattr(self, length)}, got "
                f"swa_start={self.swa_start}. Averaging would never begin; lower swa_start "
                f"or raise {length}."
            )
        if self.swa_freq > epochs - start:
            raise ValueError(
                f"swa_freq must not exceed the {epochs - start} epochs after "
                f"swa_start={self.swa_start}, got swa_freq={self.swa_freq}. Nothing would "
                f"be averaged; lower swa_freq or swa_start, or raise {length}."
            )

    @staticmethod
    def _first_epoch(start, epochs):
        """Return the epochs before something starts, given as a number or a fraction."""
        return int(start) if isinstance(start, Integral) else int(start * epochs)

    def _prepare(self, X, y, sample_weight, incremental):
        """Validate the data and make the network ready, new or as it was."""
        hidden = self._hidden_units()
        goes_on = self.warm_start or incremental
        is_first = not (
            goes_on and (hasattr(self, "coefs_") or hasattr(self, "members_"))
        )
        if not is_first:
            self._check_same_number()
        X, y = self._validate_input(X, y, incremental, reset=is_first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        self.n_outputs_ = y.shape[1]
        layer_units = [X.shape[1], *hidden, self.n_outputs_]
        self._random_state = check_random_state(self.random_state)
        if is_first:
            self._initialize(y, layer_units, X.dtype)
        else:
            self._check_same_network(layer_units)
        sample_weight = self._row_weights(y, sample_weight)
        check_sum(sample_weight, self._dtype(), "sample_weight")
        check_data(X, self._dtype(), "X")
        check_data(y, self._dtype(), "y")
        return X, y, sample_weight

    def _hidden_units(self):
        """Return the units of every hidden layer."""
        sizes = self.hidden_layer_sizes
        hidden = np.atleast_1d(np.asarray(sizes, dtype=object)).tolist()
        if not all(
            type(units) is not bool and isinstance(units, Integral) for units in hidden
        ):
            raise TypeError(
                "hidden_layer_sizes must be an integer or a list of integers, got "
                f"{sizes!r}. Give the units of every hidden layer."
            )
        if any(units <= 0 for units in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        return hidden

    def _initialize(self, y, layer_units, dtype):
        super()._initialize(y, layer_units, dtype)
        # the engine keeps its own copy of the best weights, while it trains
        del self._best_coefs, self._best_intercepts
        for name in (*_STATE_ATTRIBUTES, *_PROGRESS_ATTRIBUTES, *MEMBERS_ATTRIBUTES):
            vars(self).pop(name, None)

    def _check_same_number(self):
        n_before = len(getattr(self, "members_", [self]))
        if n_before != self.n_members:
            raise ValueError(
                "To continue training needs as many members as in the previous fit, "
                f"{n_before}, got n_members={self.n_members}. Set n_members back, or "
                "warm_start=False to start anew."
            )

    def _check_same_network(self, layer_units):
        (network, *_) = getattr(self, "members_", [self])
        coefs = network.coefs_
        before = [*(len(coef) for coef in coefs), coefs[-1].shape[1]]
        if before != layer_units:
            raise ValueError(
                "To continue training needs the network of the previous fit, with "
                f"layers of {before} units, got {layer_units} from hidden_layer_sizes="
                f"{self.hidden_layer_sizes} and y. Set hidden_layer_sizes back, or "
                "warm_start=False to start anew."
            )

    def _row_weights(self, y, sample_weight, of=None):
        """Return the weights of the rows of encoded targets.

        ``of`` are the targets of the training, None if these are.
        """
        return sample_weight

    def _train(self, X, y, sample_weight, incremental, given):
        """Train on validated data and take over what came of it."""
        X = X.astype(self._dtype(), copy=False)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        forgotten = OUT_OF_FOLD_ATTRIBUTES
        if self._rho_is_of_another() or not self._searches():
            forgotten += RADIUS_ATTRIBUTES
        for name in forgotten:
            vars(self).pop(name, None)
        if self.n_members > 1:
            self._train_members(X, y, sample_weight, incremental, given)
            return
        if self._searches() and not incremental and not hasattr(self, "rho_"):
            if self._is_automatic(y, sample_weight, given):
                self._search(X, y, sample_weight, given)
                return
            self.rho_, self._rho_solver = self._radius_until_chosen(), self.solver
            warn_of_few_rows(self, n_counting(y, sample_weight))
        rows, validation = self._split(X, y, sample_weight, given)
        job = self._job(
            X, y, sample_weight, rows, validation, incremental=incremental, given=given
        )
        (result,) = self._run([job])
        self._take(result)
        self._note_judge(given)

    def _rho_is_of_another(self):
        """Return whether a radius was chosen for another solver, which it says nothing."""
        return getattr(self, "_rho_solver", self.solver) != self.solver

    def _goes_on_with_rho(self):
        """Return whether a fit trains on with the radius that an earlier one has chosen."""
        has_chosen = hasattr(self, "rho_") and not self._rho_is_of_another()
        return self.warm_start and self._searches() and has_chosen

    def _dtype(self):
        (network, *_) = getattr(self, "members_", [self])
        return network.coefs_[0].dtype

    def _run(self, jobs):
        """Return the results of jobs, from whoever trains for this estimator."""
        trainer, watch = vars(self).get("_trainer"), vars(self).get("_watch")
        if trainer is not None:
            return trainer.train(self, jobs, watch)
        from .training import fit_models  # imports torch

        return fit_models(jobs, n_jobs=self.n_jobs, watch=watch)

    def __getstate__(self):
        return records_as_data(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(data_as_records(state))

    def __sklearn_clone__(self):
        copy = super().__sklearn_clone__()
        if "_trainer" in vars(self):
            copy._trainer = self._trainer
        return copy

    def _job(
        self,
        X,
        y,
        sample_weight,
        rows=None,
        validation=None,
        *,
        incremental=False,
        given=None,
    ):
        weights = Weights(self.coefs_, self.intercepts_)
        iterate, digest = getattr(self, "_iterate", (None, None))
        is_rewritten = digest != _digest(weights)
        is_automatic = self._is_automatic(y, sample_weight, given)
        if is_automatic and has_zeros(sample_weight):
            # in minibatches that nobody has made so small, none may count
            rows = rows_that_count(rows, sample_weight)
        n_samples = len(y) if rows is None else len(rows)
        # 'auto' is a part of all rows, those of a validation set too
        n_of_auto = n_counting(y, sample_weight) if is_automatic else n_samples
        batch_size = self._clipped_batch_size(n_of_auto, is_automatic=is_automatic)
        batch_size = min(n_samples, int(batch_size))
        # a fold that is smaller than the minibatch is not the user's doing
        n_given = len(y) if validation is None else n_samples
        if self.batch_size != "auto" and self.batch_size > n_given:
            warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to "
                "be clipped"
            )
        epochs = self._epochs(n_samples, batch_size)
        job = TrainingJob(
            weights=weights,
            # what the solver itself was at, unless the public weights were written to
            iterate=None if is_rewritten else iterate,
            is_rewritten=is_rewritten,
            X=X,
            y=y,
            sample_weight=sample_weight,
            rows=rows,
            random_state=self._random_state,
            settings=self._settings(
                n_samples,
                batch_size,
                epochs,
                incremental=incremental,
                is_automatic=is_automatic,
            ),
            progress=self._progress(given),
            epochs=1 if incremental else epochs,
            is_incremental=incremental,
            validation=validation,
            decode=self._decode,
            classes=self.classes_ if is_classifier(self) else None,
            callbacks=self.callbacks,
            should_converge=not self._ends_on_purpose(),
        )
        if incremental:
            self._continue(job)
        return job

    def _epochs(self, n_samples, batch_size):
        if self.max_steps is None:
            return int(self.max_iter)
        return -(-int(self.max_steps) // -(-n_samples // batch_size))

    def _split(self, X, y, sample_weight, given):
        """Return the rows to train on and the rows for early stopping, None for all."""
        if not self.early_stopping:
            return None, None
        if given is not None:
            data = given.X, given.y, given.sample_weight
            return None, self._validation(*data, None, default=None)
        has_one_label = is_classifier(self) and self.n_outputs_ == 1
        rows, held_out = train_test_split(
            np.arange(len(y)),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=y if has_one_label else None,
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the "
                "size of your dataset."
            )
        return rows, self._validation(X, y, sample_weight, held_out, default=None)

    def _value(self, name):
        """Return a parameter as a number of Python's own, a float if it may be real."""
        value = getattr(self, name)
        # scikit-learn takes True and the largest integers too, torch does not
        if is_real(self._parameter_constraints[name]):
            return as_float(name, value)
        return _plain(value)

    def _settings(self, n_samples, batch_size, epochs, *, incremental, is_automatic):
        n_batches = -(-n_samples // batch_size)
        if self.max_steps is not None and not incremental:
            self._check_lengths(epochs)
        values = {
            name: self._value(name)
            for name in sorted(solver_parameters(self.solver, self.base_solver))
        }
        if "rho" in values:
            values["rho"] = self._radius()
        micro_batch_size = None
        if SOLVERS[self.solver].is_ascent:
            if self.max_steps is not None and not incremental:
                self._check_ascent(epochs)
            values["sam_start"] = n_batches * self._first_epoch(self.sam_start, epochs)
            micro_batch_size = _plain(self.micro_batch_size)
            is_whole = n_samples <= (micro_batch_size or batch_size)
            # the rows of one call of partial_fit are a minibatch of all that come
            is_silent = incremental or values["rho"] == 0
            if "friendly_sigma" in values and is_whole and not is_silent:
                warn(
                    "solver='friendly_sam' perturbs along the noise of minibatches, and "
                    f"one that holds all {n_samples} rows has none. It is going to be "
                    "'sam'; lower batch_size or set micro_batch_size."
                )
                values["friendly_sigma"] = 0.0
        settings = Settings(
            out_activation=self.out_activation_,
            batch_size=batch_size,
            solver_parameters=values,
            averaging=self._averaging_settings(epochs),
            micro_batch_size=micro_batch_size,
            ema_decay=self._averaging_decay(
                epochs * n_batches,
                # a call of partial_fit with few rows goes on with the average
                is_automatic=is_automatic or (incremental and self._averages()),
            ),
            schedule=self._schedule(None if incremental else epochs),
            **{name: self._value(name) for name in _SHARED_SETTINGS},
        )
        self._check_ranges(settings)
        return settings

    def _check_ranges(self, settings):
        """Raise for numbers that are out of the range of the dtype of ``X``."""
        dtype = self._dtype()
        numbers = {**settings.solver_parameters, "alpha": settings.alpha}
        if settings.averaging is not None and settings.averaging.lr is not None:
            numbers["swa_lr"] = settings.averaging.lr
        if isinstance(self.rho, str) and "rho" in numbers:
            numbers["rho_grid"] = numbers.pop("rho")
        for name, value in numbers.items():
            if isinstance(value, float):
                check_range(name, value, dtype)
        if "epsilon" in numbers:
            check_divisor("epsilon", numbers["epsilon"], dtype)
        if "esam_fraction" in numbers:  # of rows, which no tensor holds
            check_divisor("esam_fraction", numbers["esam_fraction"], np.float64)

    def _averages(self):
        """Return whether an automatic average is under way."""
        (network, *_) = getattr(self, "members_", [self])
        state = getattr(network, "_averaging", None)
        return self._searches() and state is not None and state.scheme == "ema_decay"

    def _clipped_batch_size(self, n_samples, *, is_automatic):
        """Return the rows of a minibatch, of a network that trains on so many rows."""
        if self.batch_size == "auto":
            largest = min(200, n_samples)
            if not is_automatic or n_samples < LEAST_ROWS:
                return largest
            return min(largest, max(SMALLEST_OF_AUTO, n_samples // STEPS_OF_AUTO))
        return min(self.batch_size, n_samples)

    def _rows_of_minibatch(self, n_samples, sample_weight=None):
        """Return the rows of a minibatch of a fit on so many rows."""
        weights = np.ones(n_samples) if sample_weight is None else sample_weight
        is_automatic = self._is_automatic(weights, sample_weight)
        if is_automatic:
            n_samples = n_counting(weights, sample_weight)
        return self._clipped_batch_size(n_samples, is_automatic=is_automatic)

    # -- what one call of fit leaves for the next ---------------------------------------

    def _progress(self, given=None):
        """Return where the counters stand, consistent with the stopping rule of now."""
        progress = Progress(
            t=self.t_,
            loss_curve=list(getattr(self, "loss_curve_", [])),
            no_improvement_count=getattr(self, "_no_improvement_count", 0),
        )
        if self.early_stopping:
            progress.best_loss = None
            if self._begins_anew(given):
                progress.validation_scores = []
                progress.best_validation_score = -np.inf
                return progress
            progress.validation_scores = list(
                getattr(self, "validation_scores_", None) or []
            )
            best = getattr(self, "best_validation_score_", None)
            progress.best_validation_score = -np.inf if best is None else best
        elif getattr(self, "best_loss_", None) is not None:
            progress.best_loss = self.best_loss_
        return progress

    def _continue(self, job):
        """Let a job continue where the previous call of fit or partial_fit stopped."""
        state = getattr(self, "_optimizer", None)
        chain = tuple(solver_chain(self.solver, self.base_solver))
        if state is not None and state.solvers == chain:
            job.optimizer_state = state
        average = getattr(self, "_averaging", None)
        if not job.is_rewritten and average is not None:
            scheme = "swa" if self.swa else "ema_decay"
            job.averaging_state = average if average.scheme == scheme else None

    def _take(self, result):
        """Store what came of training, as arrays and numbers."""
        for message, category in result.warnings:
            warn(message, category)
        weights, progress = result.weights, result.progress
        if not weights.is_finite():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain "
                "large values and need to be preprocessed."
            )
        has_ended_well = not progress.n_iter or np.isfinite(progress.loss_curve[-1])
        if not has_ended_well and progress.best_validation_score is None:
            raise ValueError(
                "The training diverged: the loss of the last epoch must be finite in "
                f"{self._dtype()}, got {progress.loss_curve[-1]}. Scale X and y, or lower "
                "learning_rate_init."
            )
        if self.early_stopping:
            _warn_of_divergence(progress)
        self.coefs_, self.intercepts_ = list(weights.coefs), list(weights.intercepts)
        self._iterate = (result.iterate, _digest(weights))
        self._optimizer = result.optimizer_state
        self._averaging = result.averaging_state
        self.n_averaged_ = result.n_averaged
        self.n_iter_, self.t_ = progress.n_iter, progress.t
        self.loss_curve_ = progress.loss_curve
        self.loss_ = progress.loss_curve[-1] if progress.loss_curve else np.nan
        self.best_loss_ = progress.best_loss
        self.validation_scores_ = progress.validation_scores
        self.best_validation_score_ = progress.best_validation_score
        self._no_improvement_count = progress.no_improvement_count
        if result.random_state is not self._random_state:
            self._random_state.set_state(result.random_state.get_state(legacy=False))
        if result.snapshots:
            self._take_snapshots(result.snapshots)


def _warn_of_divergence(progress):
    """Say that weights are finite only because those of an earlier epoch were kept."""
    n_before = len(progress.loss_curve) - progress.n_iter
    losses = progress.loss_curve[n_before:]
    if not losses or np.isfinite(losses[-1]):
        return
    n_finite = np.flatnonzero(np.isfinite([0, *losses]))[-1]
    best = progress.best_n_iter
    kept = f"those of the best epoch, {best}" if best else "those that it began with"
    warn(
        f"The training diverged: from epoch {n_finite + 1} on the loss is not finite. The "
        f"weights are {kept}. Lower learning_rate_init, or scale X.",
        ConvergenceWarning,
    )


_STATE_ATTRIBUTES = ("_optimizer", "_averaging", "_iterate", "_holds_snapshots")

_PROGRESS_ATTRIBUTES = (
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "_scored_by",
    "_no_improvement_count",
)

# parameters that the engine knows by the estimator's name
_SHARED_SETTINGS = (
    "activation",
    "alpha",
    "solver",
    "base_solver",
    "learning_rate",
    "learning_rate_init",
    "power_t",
    "shuffle",
    "tol",
    "n_iter_no_change",
    "verbose",
    "device",
)


def _digest(weights):
    """Return a fingerprint of weights, to see whether they were written to."""
    digest = hashlib.blake2b()
    for array in (*weights.coefs, *weights.intercepts):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()
