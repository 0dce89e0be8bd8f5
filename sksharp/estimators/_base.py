"""What the two estimators share: scikit-learn's MLP with another training loop."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data

from .._choices import in_order, suggesting
from .._jobs import (
    Array,
    Matrix,
    Progress,
    Snapshot,
    TrainingJob,
    TrainingResult,
    Weights,
)
from .._numbers import Number, check_data, check_range
from .._version import VersionStamp
from .._warnings import warn
from ..checkpointing._context import carry
from ..observers._observers import Observers, fit_observers
from ..observers._sklearn_callbacks import CallbackSupport  # type: ignore[attr-defined]
from ..options._base import cloned
from ._advice import advise
from ._checkpoints import kept
from ._combinations import check
from ._convert import Exports
from ._folds import n_nonzero_weight
from ._network import FitData, Network, Trainer, check_result, hidden_units
from ._noise import with_columns
from ._parameters import (
    CONSTRAINTS,
    FitPlan,
    check_options,
    read_parameters,
    with_objects,
)
from ._state import (
    OUT_OF_FOLD,
    RADIUS,
    SHARED,
    all_or_nothing,
    as_data,
    as_records,
    forget,
    state_of,
    weights_digest,
)
from ._strategies import Outcome, members_of, train
from ._tempering import output_layer, tempered, untempered
from ._types import MatrixLike, TypedPerceptron, ValidationData, validates
from ._unused import warn_of_few_rows, warn_of_unused
from ._validation import CONSTRAINTS as SCORING_CONSTRAINTS
from ._validation import (
    check_scoring_of,
    check_sum,
    check_user_rows,
    is_refined,
    read_user_rows,
    validated_by,
)

DOCUMENTATION = "https://sksharp.readthedocs.io/en/stable"


class FlatMinimaMLP(Exports, CallbackSupport, VersionStamp, TypedPerceptron):
    """Base of the estimators: everything but their signatures and docstrings.

    scikit-learn keeps the validation of data, labels, initialization, prediction and
    the solver 'lbfgs'. This class leaves stochastic training to the engine, which returns
    numpy arrays, so that a fitted estimator needs no torch.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = in_order(
        {
            **BaseMultilayerPerceptron._parameter_constraints,
            **CONSTRAINTS,
            **SCORING_CONSTRAINTS,
            "n_jobs": [Number(Integral, None, None, closed="neither"), None],
            "device": [str],
            "callbacks": [list, tuple, None],
        }
    )

    _doc_link_module = "sksharp"
    _doc_link_template = DOCUMENTATION + "/api/sksharp.{estimator_name}.html"

    @classmethod
    @functools.cache  # called by every get_params, set_params, clone and fit
    def _get_param_names(cls) -> list[str]:
        names: list[str] = super()._get_param_names()
        return names

    def _validate_params(self) -> None:
        params = self.get_params(deep=False)
        with suggesting(self._parameter_constraints, params):
            check_options(params)
            super()._validate_params()

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and options of those that hold an object.

        Parameters
        ----------
        **params : dict
            Parameters by name. ``solver__eta`` sets the option ``eta`` of ``solver``,
            whether that is a name or an object. The object is replaced by a copy, so
            that other estimators that hold it do not change.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter, or it has no such option.
        """
        holders = {name.partition("__")[0] for name in params if "__" in name}
        super().set_params(**{k: v for k, v in params.items() if "__" not in k})
        if holders:
            for name, value in with_objects(self, holders).items():
                setattr(self, name, value)
            super().set_params(**{k: v for k, v in params.items() if "__" in k})
        return self

    def _check_solver(self) -> bool:
        if isinstance(self.solver, str) and self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    @contextlib.contextmanager
    def _observed(
        self, X: Any, y: Any, sample_weight: Any
    ) -> Iterator[Observers | None]:
        """Yield the observers of a fit, None if there are none."""
        observer = fit_observers(self, X, y, sample_weight)
        if not observer:
            yield None
            return
        try:
            yield observer
            observer.finish()
        finally:
            observer.close()

    # -- from data to a training -----------------------------------------------------

    @validates
    def fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: MatrixLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network; ``warm_start`` continues from the weights of the last call.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: class labels or numbers.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation rows, 2 or more. They replace held-out rows: those of
            ``validation_fraction`` with ``early_stopping=True``, and the folds with
            ``n_members`` and ``rho='auto'``. All rows of ``X`` are then trained on. In
            a Pipeline with ``transform_input=["X_val"]`` they are transformed like
            ``X``.

        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Targets of ``X_val``. Every label must be among those of ``y``.

        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of ``X_val``, multiplied by those of ``class_weight``, which are
            computed from ``y``.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If data or parameters are not valid, alone or together, if the validation
            rows do not match the others or have no effect, or if training diverges. The
            estimator is then as it was before the call.
        """
        validation = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight=sample_weight, validation=validation)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        incremental: bool = False,
        validation: ValidationData = (None, None, None),
    ) -> Self:
        with (
            kept(self, incremental),
            all_or_nothing(self),
            self._observed(X, y, sample_weight) as observer,
        ):
            plan = self._read_parameters(incremental)
            check_user_rows(self, plan, *validation)
            if not (incremental and hasattr(self, "t_")):
                warn_of_unused(self, plan)
            if self.warm_start or incremental:
                self._restore_network()
            if plan.is_stochastic:
                data = self._prepare(X, y, sample_weight, incremental, validation)
                data = with_columns(self, plan, data, incremental)
                self._train(plan, data, observer, incremental)
                if not incremental:
                    advise(self, plan, data)
            else:
                if observer is not None:
                    observer.begin_fit()
                if self.warm_start and hasattr(self, "coefs_"):
                    weights, _ = untempered(self)
                    self.coefs_ = list(weights.coefs)
                    self.intercepts_ = list(weights.intercepts)
                super()._fit(X, y, sample_weight=sample_weight, incremental=incremental)
                self.n_averaged_ = 0
                forget(self)
        return self

    def _fit_lbfgs(
        self, X: Any, y: Array, sample_weight: Array | None, *buffers: Any
    ) -> None:
        *_, layer_units = buffers
        self._check_same_network(layer_units)
        check_range("alpha", read_parameters(self).value("alpha"), self._dtype())
        super()._fit_lbfgs(X, y, self._row_weights(y, sample_weight), *buffers)

    def _read_parameters(self, incremental: bool) -> FitPlan:
        """Return the plan of a fit, or raise if parameters are not valid together."""
        if incremental:  # scikit-learn validates before the first call only
            self._validate_params()
        plan = read_parameters(self)
        if not plan.is_stochastic:  # scikit-learn does not check these
            hidden_units(self.hidden_layer_sizes)
            for name in ("alpha", "tol"):
                plan.value(name)
        check(plan, incremental)
        check_scoring_of(self)
        return plan

    def _radius(self, plan: FitPlan) -> float | None:
        """Return the radius to train with, None if the solver has none."""
        if "rho" not in plan.reads:
            return None
        if isinstance(self.rho, Real):
            radius: float = plan.value("rho")
            return radius
        return self.rho_ if hasattr(self, "rho_") else plan.radius_until_chosen

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        incremental: bool,
        validation: ValidationData,
    ) -> FitData:
        """Return validated data, with the network ready, new or as it was."""
        hidden = hidden_units(self.hidden_layer_sizes)
        continues = self.warm_start or incremental
        is_first = not (
            continues and (hasattr(self, "coefs_") or hasattr(self, "members_"))
        )
        if not is_first:
            self._check_same_number()
        X, y = self._validate_input(X, y, incremental, reset=is_first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        y = self._as_outputs(y)
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
        X = X.astype(self._dtype(), copy=False)
        user_rows = read_user_rows(self, *validation, y)
        return FitData(X, y, sample_weight, user_rows, self)

    def _initialize(
        self, y: Array, layer_units: list[int], dtype: np.dtype[Any]
    ) -> None:
        super()._initialize(y, layer_units, dtype)
        # the engine keeps the best weights itself
        del self._best_coefs, self._best_intercepts
        forget(self)

    def _check_same_number(self) -> None:
        n_before = len(getattr(self, "members_", [self]))
        if n_before != self.n_members:
            raise ValueError(
                "To continue training needs as many members as in the previous fit, "
                f"{n_before}, got n_members={self.n_members}. Set n_members back, or "
                "warm_start=False to start anew."
            )

    def _check_same_network(self, layer_units: list[int]) -> None:
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

    def _as_outputs(self, y: Array) -> Array:
        """Return encoded targets with a column for every output."""
        return y.reshape(-1, 1) if y.ndim == 1 else y

    def _decode_targets(self, y: Array) -> Array:
        """Return targets as the user gave them, from a column for every output."""
        return self._decode(y)

    def _row_weights(
        self, y: Array, sample_weight: Array | None, y_train: Array | None = None
    ) -> Array | None:
        """Return the weights of the rows of encoded targets.

        ``y_train`` are the targets of the training, None if these are.
        """
        return sample_weight

    def _train(
        self,
        plan: FitPlan,
        data: FitData,
        observer: Observers | None,
        incremental: bool,
    ) -> None:
        """Train on validated data and store the outcome."""
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        forget(self, OUT_OF_FOLD)
        if self._rho_is_of_another(plan, incremental) or not plan.searches:
            forget(self, RADIUS)
            self._state = state_of(self).replace(rho_solver=None)
        may_choose = plan.n_members == 1 and plan.searches and not incremental
        if may_choose and not self._has_chosen():
            if not plan.chooses(data.y, data.sample_weight, data.validation):
                self._keep_radius(plan, plan.radius_until_chosen)
                if not data.is_automatic(plan):
                    n_rows = n_nonzero_weight(data.y, data.sample_weight)
                    warn_of_few_rows(self, plan, n_rows)
        outcome = train(
            plan,
            data,
            self._network(plan, data, incremental=incremental),
            members_of(self) if plan.n_members > 1 else [],
            Trainer(functools.partial(self._run, observer=observer), observer),
            incremental=incremental,
            has_chosen=self._has_chosen(),
        )
        self._take_over(plan, outcome)
        if data.columns is not None:
            self._state = state_of(self).replace(columns=data.columns)
        if plan.n_members == 1:
            by = validated_by(plan, data)
            self._state = self._state.replace(validated_by=by)

    def _network(
        self, plan: FitPlan, data: FitData, *, incremental: bool = False
    ) -> Network:
        """Return the network of the estimator, members aside."""
        if hasattr(self, "members_"):
            return Network(
                plan,
                Weights([], []),  # which its members have
                self._random_state,
                state=state_of(self),
                rho=self._radius(plan),
            )
        progress = self._progress(plan, data)
        network = Network.of(self, plan, progress, rho=self._radius(plan))
        if self._keeps_temperature(plan, progress, incremental):
            progress.inverse_temperature = network.state.inverse_temperature
        return network

    def _keeps_temperature(
        self, plan: FitPlan, progress: Progress, incremental: bool
    ) -> bool:
        """Return whether the temperature holds until rows are scored in this call."""
        if plan.early_stopping:
            return bool(progress.validation_scores)  # by the same rows and score
        if plan.snapshots is not None or not is_refined(plan.scoring):
            return False
        return incremental or self._has_chosen()

    def _take_over(self, plan: FitPlan, outcome: Outcome) -> None:
        """Store the outcome of a fit."""
        choice = outcome.choice
        if choice is not None:
            self._keep_radius(plan, choice.rho)
            if plan.outer.takes_radius:
                self.rho_grid_, self.rho_epochs_ = choice.radii, choice.epochs
                if choice.is_scored:
                    self.rho_scores_ = -choice.losses
                else:
                    self.rho_losses_ = choice.losses
                    self.rho_differences_ = choice.differences
                    self.rho_standard_errors_ = choice.standard_errors
        if outcome.fold_seed is not None:
            self._state = state_of(self).replace(fold_seed=outcome.fold_seed)
        if plan.n_members > 1:
            self._take_members(plan, outcome)
        else:
            self._take(outcome.results[0])
        if outcome.out_of_fold is not None:
            self._keep_out_of_fold(outcome.out_of_fold)
        if outcome.cut_off is not None:
            warn(outcome.cut_off, ConvergenceWarning)

    def _keep_radius(self, plan: FitPlan, radius: float | None) -> None:
        """Store the outcome of a choice, or what takes its place with few rows."""
        if radius is not None and plan.outer.takes_radius:
            self.rho_ = radius
        self._state = state_of(self).replace(rho_solver=repr(plan.outer))

    def _has_chosen(self) -> bool:
        """Return whether a fit has chosen, for this one to go on with."""
        return state_of(self).rho_solver is not None

    def _take_members(self, plan: FitPlan, outcome: Outcome) -> None:
        """Store several networks, each as an estimator."""
        members = []
        for network, result in zip(outcome.networks, outcome.results, strict=True):
            own = {**network.plan.params, "random_state": network.seed}
            if plan.searches:
                own["rho"] = self._radius(plan) or 0.0
            member = self._new_member(own)
            member._random_state = network.random_state
            freq = outcome.score_freq or network.state.score_freq
            member._state = network.state.replace(score_freq=freq)
            member._take(result)
            members.append(member)
        self.members_, self._state = members, state_of(self)
        forget(self, ("coefs_", "intercepts_", "n_averaged_"))
        self.n_iter_ = max(member.n_iter_ for member in members)
        self.t_ = max(member.t_ for member in members)
        self.loss_ = float(np.mean([member.loss_ for member in members]))

    def _new_member(self, params: dict[str, Any]) -> Self:
        """Return an estimator of one network for the same targets."""
        member = type(self)(**self.get_params(deep=False))
        # a subclass may leave some of them out of its signature
        shared = {k: v for k, v in vars(self).items() if k in SHARED}
        for name, value in {**cloned(params), **shared}.items():
            setattr(member, name, value)
        return member

    def _rho_is_of_another(self, plan: FitPlan, incremental: bool = False) -> bool:
        """Return whether the radius was chosen for another solver, or among others."""
        chosen_for = state_of(self).rho_solver
        if chosen_for is None:
            return False
        if incremental:  # which chooses nothing, and goes on where it can
            return not chosen_for.startswith(f"{type(plan.outer).__name__}(")
        is_listed = plan.radii is None or getattr(self, "rho_", None) in plan.candidates
        return chosen_for != repr(plan.outer) or not is_listed

    def _keeps_rho(self, plan: FitPlan) -> bool:
        """Return whether a fit keeps what an earlier one has chosen."""
        has_chosen = self._has_chosen() and not self._rho_is_of_another(plan)
        return bool(self.warm_start) and plan.searches and has_chosen

    def _dtype(self) -> np.dtype[Any]:
        (network, *_) = getattr(self, "members_", [self])
        dtype: np.dtype[Any] = network.coefs_[0].dtype
        return dtype

    def _run(
        self, jobs: Sequence[TrainingJob], observer: Observers | None = None
    ) -> list[TrainingResult]:
        """Return the results of jobs, from a search or from the engine."""
        trainer = vars(self).get("_trainer")
        if trainer is not None:
            results: list[TrainingResult] = trainer.train(self, jobs, observer)
            return results
        from ..training import fit_models  # imports torch

        return fit_models(jobs, n_jobs=self.n_jobs, observer=observer)

    @property
    def _optimizer(self) -> Any:
        # scikit-learn's name for it, which its tests read
        return self._state.optimizer

    def __getstate__(self) -> dict[str, Any]:
        return as_data(super().__getstate__())

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(as_records(dict(state)))

    def __sklearn_clone__(self) -> Self:
        copy: Self = super().__sklearn_clone__()
        if "_trainer" in vars(self):
            copy._trainer = self._trainer
        carry(copy)
        return copy

    def _rows_of_minibatch(
        self, n_samples: int, sample_weight: Array | None = None
    ) -> int:
        """Return the rows of a minibatch of a fit on so many rows."""
        weights = np.ones(n_samples) if sample_weight is None else sample_weight
        plan = read_parameters(self)
        is_automatic = plan.is_automatic(weights, sample_weight)
        if is_automatic:
            n_samples = n_nonzero_weight(weights, sample_weight)
        return plan.clipped_batch_size(n_samples, is_automatic=is_automatic)

    # -- state between calls of fit --------------------------------------------------

    def _progress(self, plan: FitPlan, data: FitData) -> Progress:
        """Return the counters, consistent with the current stopping rule."""
        progress = Progress(
            t=self.t_,
            loss_curve=list(getattr(self, "loss_curve_", [])),
            no_improvement_count=getattr(self, "_no_improvement_count", 0),
        )
        if self.early_stopping:
            progress.best_loss = None
            if state_of(self).validated_by != validated_by(plan, data):
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

    def _take(self, result: TrainingResult) -> None:
        """Store the result of training one network, as arrays and numbers."""
        check_result(result, keeps_best=self.early_stopping)
        progress = result.progress
        b = progress.inverse_temperature
        weights = tempered(result.weights, b)
        self.coefs_, self.intercepts_ = list(weights.coefs), list(weights.intercepts)
        self._state = state_of(self).replace(
            iterate=result.iterate,
            digest=weights_digest(weights),
            optimizer=result.optimizer_state,
            averaging=result.averaging_state,
            inverse_temperature=b,
            output_layer=None if b is None else output_layer(result.weights),
        )
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

    # -- snapshots -------------------------------------------------------------------

    def _take_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Store the collected networks as members."""
        n_after = len(self.loss_curve_) - self.n_iter_
        plan, members = read_parameters(self), []
        own = {**plan.params, "snapshots": None}
        if plan.searches:
            own["rho"] = self._radius(plan) or 0.0
        for snapshot in snapshots:
            member = self._new_member(own)
            member.coefs_ = list(snapshot.weights.coefs)
            member.intercepts_ = list(snapshot.weights.intercepts)
            member.n_iter_, member.t_ = snapshot.n_iter, snapshot.t
            member.loss_curve_ = self.loss_curve_[: n_after + snapshot.n_iter]
            member.loss_ = member.loss_curve_[-1]
            member.n_averaged_ = 0
            member.validation_scores_ = member.best_validation_score_ = None
            members.append(member)
        self.members_ = members
        self._state = self._state.replace(holds_snapshots=True)
        forget(self, ("coefs_", "intercepts_", "n_averaged_"))

    def _restore_network(self) -> None:
        """Make the last snapshot the network, to train it further."""
        if not state_of(self).holds_snapshots:
            return
        self._state = self._state.replace(holds_snapshots=False)
        last = self.members_[-1]
        self.coefs_ = [coef.copy() for coef in last.coefs_]
        self.intercepts_ = [intercept.copy() for intercept in last.intercepts_]
        del self.members_

    # -- prediction ------------------------------------------------------------------

    def _forward_pass_fast(self, X: Matrix, check_input: bool = True) -> Array:
        members = vars(self).get("members_")
        if members is None:
            outputs: Array = super()._forward_pass_fast(X, check_input=check_input)
            return outputs
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        total: Any = 0
        for member in members:
            total = total + member._forward_pass_fast(X, check_input=False)
        mean: Array = total / len(members)
        return mean
