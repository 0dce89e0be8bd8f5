"""Rows for validation, and how the epochs of a training are scored on them."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import is_regressor
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_sample_weight, validate_data

from .._digest import digest_of
from .._input_noise import HeldOutNoise
from .._jobs import Array, Matrix, Validation, Weights
from .._numbers import check_data
from .._warnings import warn
from ._network import FitData, Rows
from ._outputs import fitted_loss
from ._parameters import FitPlan

CONSTRAINTS: dict[str, Any] = {
    "scoring": [
        StrOptions({"loss", "refined_loss", *get_scorer_names()}),
        callable,
        None,
    ],
}

# as in scikit-learn's early stopping: r2_score is not defined for one row
FEWEST_ROWS = 2

# y_val has other units if most targets are this many standard deviations of y from its
# mean; tested from so many rows on
MAX_DEVIATIONS, MIN_ROWS_OF_UNITS = 10, 10


def validation_of(
    estimator: Any,
    data: Rows,
    rows: Array | None,
    *,
    scoring: str | Callable[..., float] | None,
    noise: HeldOutNoise | None = None,
) -> Validation:
    """Return rows for validation with their score.

    Parameters
    ----------
    estimator : estimator
        Estimator, which decodes outputs and is scored.

    data : Rows
        Data, encoded as for training.

    rows : array of int or None
        Which rows of it, all if None.

    scoring : str, callable or None
        Minus the loss if 'loss', that at the best temperature if 'refined_loss', the
        metric of scikit-learn's early stopping if None; minus the loss for a loss that
        scikit-learn does not have.

    noise : HeldOutNoise or None, default=None
        What the rows are scored with.
    """
    score: Metric | Score | None = None
    if scoring is None and fitted_loss(estimator) is not None:
        scoring = "loss"
    if not is_loss(scoring):
        some = slice(None) if rows is None else rows
        y, weights = data.y[some], data.sample_weight
        weights = None if weights is None else weights[some]
        if noise is not None:
            y = noise.repeat(y)
            weights = None if weights is None else noise.repeat(weights)
        labels = estimator._decode_targets(y)
        if scoring is None:
            score = Metric(estimator, labels, weights)
        else:
            scorer = check_scorer(estimator, weights)
            X = data.X[some]
            X = X if noise is None else noise.of(X)
            score = Score(estimator, scorer, X, labels, weights)
    return Validation(
        data.X,
        data.y,
        rows,
        score,
        data.sample_weight,
        is_refined=is_refined(scoring),
        noise=noise,
    )


def check_scoring_of(estimator: Any) -> None:
    """Raise if ``scoring`` is not one for the estimator."""
    scoring = estimator.scoring
    if is_refined(scoring) and is_regressor(estimator):
        raise ValueError(
            "scoring='refined_loss' needs a classifier, whose probabilities have a "
            f"temperature, got {type(estimator).__name__}. Set scoring='loss'."
        )
    if scoring is not None and not is_loss(scoring):
        check_scorer(estimator)


def check_scorer(
    estimator: Any, sample_weight: Array | None = None
) -> Callable[..., float]:
    """Return the scorer of ``scoring``, which must take weights if there are any."""
    scorer: Callable[..., float] = check_scoring(estimator, estimator.scoring)
    if sample_weight is not None and not _takes_weights(scorer):
        raise ValueError(
            "scoring must take sample_weight where rows have weights, by sample_weight "
            f"or class_weight, got scoring={estimator.scoring!r}. Choose another, write it "
            "as scorer(estimator, X, y, sample_weight=None), or leave the weights out."
        )
    return scorer


# -- user-supplied rows ------------------------------------------------------------------


def check_user_rows(
    estimator: Any, plan: FitPlan, X_val: Any, y_val: Any, sample_weight_val: Any
) -> None:
    """Raise for validation rows that are incomplete or have no effect."""
    data = {"X_val": X_val, "y_val": y_val}
    if sample_weight_val is not None:
        data["sample_weight_val"] = sample_weight_val
    present = [name for name, value in data.items() if value is not None]
    missing = [name for name, value in data.items() if value is None]
    if not present:
        return
    if missing:
        raise ValueError(
            "X_val and y_val must be given together, got "
            f"{' and '.join(present)} without {' and '.join(missing)}. Pass both, or "
            "none of them."
        )
    if not plan.is_stochastic:
        raise ValueError(
            "X_val needs a stochastic solver, got solver='lbfgs', which does not stop "
            "early. Choose another solver, or leave X_val and y_val out."
        )
    has_folds = plan.n_members > 1 or plan.searches
    if not (plan.early_stopping or has_folds):
        raise ValueError(
            "X_val needs early_stopping=True, n_members above 1 or rho='auto', got "
            "early_stopping=False. Nothing would read the validation rows; set "
            "early_stopping=True, or leave X_val and y_val out."
        )
    is_alone = not plan.early_stopping and plan.n_members == 1
    if is_alone and estimator._keeps_rho(plan):
        raise ValueError(
            "X_val needs early_stopping=True or n_members above 1 once rho='auto' has "
            f"chosen, got warm_start=True with rho_={estimator.rho_}. Nothing would read "
            "the validation rows; set early_stopping=True, warm_start=False to choose "
            "anew, or leave X_val and y_val out."
        )
    if plan.cv is not None and has_folds:
        raise ValueError(
            "X_val takes the place of the folds, got X_val and cv="
            f"{plan.cv!r}. Set cv=None, or leave X_val and y_val out."
        )


def read_user_rows(
    estimator: Any, X_val: Any, y_val: Any, sample_weight_val: Any, y: Array
) -> Rows | None:
    """Return user-supplied validation rows, encoded, or None if there are none.

    ``y`` are the encoded targets of the training rows.
    """
    if X_val is None:
        return None
    dtype = estimator._dtype()
    with prefix_errors("X_val must hold rows like those of X"):
        X_val = validate_data(
            estimator,
            X_val,
            reset=False,
            accept_sparse=["csr", "csc"],
            dtype=(np.float64, np.float32),
        )
    with prefix_errors("y_val must hold targets like those of y"):
        y_val = estimator._encode_user_targets(y_val)
        if y_val.ndim == 0:
            raise ValueError(f"it must be array-like, got {y_val}.")
    y_val = estimator._as_outputs(y_val)
    n_outputs = estimator.n_outputs_
    if y_val.shape[1] != n_outputs:
        raise ValueError(
            f"y_val must have {n_outputs} columns like y, got {y_val.shape[1]}."
        )
    if len(y_val) != X_val.shape[0] or len(y_val) < FEWEST_ROWS:
        raise ValueError(
            f"X_val and y_val must have the same number of rows, {FEWEST_ROWS} or "
            f"more, got {X_val.shape[0]} and {len(y_val)}."
        )
    weights = sample_weight_val
    if weights is not None:
        with prefix_errors(
            "sample_weight_val must hold a weight for every row of X_val"
        ):
            weights = _check_sample_weight(weights, X_val, dtype=np.float64)
    weights = estimator._row_weights(y_val, weights, y_train=y)
    check_sum(weights, dtype, "sample_weight_val")
    if weights is not None and not weights.sum() > 0:
        raise ValueError(
            "sample_weight_val must not sum to zero, class_weight included, got "
            f"{weights.sum()}."
        )
    check_data(X_val, dtype, "X_val")
    check_data(y_val, dtype, "y_val")
    if is_regressor(estimator):
        _warn_of_units(y, y_val)
    return Rows(X_val.astype(dtype, copy=False), y_val, weights)


def validated_by(plan: FitPlan, data: FitData) -> tuple[Any, Any] | None:
    """Return the scorer and rows that choose the best epoch, None for the defaults."""
    if not plan.early_stopping:
        return None
    rows = data.validation
    digest = None
    if rows is not None:
        digest = digest_of([rows.X, rows.y, rows.sample_weight]).hex()
    noise = plan.noise_of("validation")
    if noise is not None:
        digest = f"{digest} with {noise}"
    return None if plan.scoring is None and digest is None else (plan.scoring, digest)


def _warn_of_units(y: Array, y_val: Array) -> None:
    """Warn of validation targets that cannot be in the units of y."""
    if min(len(y) // 2, len(y_val)) < MIN_ROWS_OF_UNITS:
        return
    mean, spread = y.mean(axis=0), y.std(axis=0)
    distance = np.median(np.abs(y_val - mean), axis=0)
    if (distance > MAX_DEVIATIONS * spread)[spread > 0].any():
        warn(
            "y_val must be in the units of the targets that the network is fitted on, got "
            f"values around {np.median(y_val):.3g} where these have mean "
            f"{mean.mean():.3g} and standard deviation {spread.mean():.3g}. A "
            "TransformedTargetRegressor leaves y_val as it is: transform it before, or let "
            "sksharp.tabular_pipeline scale the target, which transforms both."
        )


@dataclasses.dataclass(frozen=True)
class Metric:
    """The score of scikit-learn's early stopping: accuracy or R².

    Parameters
    ----------
    estimator : estimator
        Estimator, which decodes outputs.

    y : array of shape (n_rows,) or (n_rows, n_outputs)
        Decoded targets.

    sample_weight : array of shape (n_rows,) or None
        Weights of the rows.
    """

    estimator: Any
    y: Array
    sample_weight: Array | None

    def __call__(self, outputs: Array, weights: Callable[[], Weights]) -> float:
        """Score outputs as scikit-learn does, NaN if they are not finite predictions."""
        predictions = self.estimator._decode(outputs)
        is_float = np.issubdtype(predictions.dtype, np.floating)
        if is_float and not np.isfinite(predictions).all():
            return np.nan
        metric = self.estimator._metric
        score: float = metric(self.y, predictions, sample_weight=self.sample_weight)
        return score


@dataclasses.dataclass(frozen=True)
class Score:
    """The score of a scorer, which is called with the network as an estimator.

    Parameters
    ----------
    estimator : estimator
        Estimator, whose network it is.

    scorer : callable
        Takes an estimator, rows and targets, and weights if there are any.

    X : array or sparse matrix of shape (n_rows, n_features)
        Rows.

    y : array of shape (n_rows,) or (n_rows, n_outputs)
        Decoded targets.

    sample_weight : array of shape (n_rows,) or None
        Weights of the rows.
    """

    estimator: Any
    scorer: Callable[..., float]
    X: Matrix
    y: Array
    sample_weight: Array | None

    def __call__(self, outputs: Array, weights: Callable[[], Weights]) -> float:
        """Score a network by its outputs for the rows; ``weights`` makes its weights.

        The score is NaN for a network that has diverged.
        """
        # labels and ranks would hide that
        if not np.isfinite(outputs).all():
            return np.nan
        network = network_at(self.estimator, weights(), self.X, outputs)
        options = {}
        if self.sample_weight is not None:
            options["sample_weight"] = self.sample_weight
        try:
            score = float(self.scorer(network, self.X, self.y, **options))
        except Exception as error:
            reason = str(error).rstrip(".")
            raise ValueError(
                self._must()
                + f"but it raised {type(error).__name__}: {reason}. Choose a "
                "scorer for these predictions and rows, or scoring='loss'."
            ) from error
        if not np.isfinite(score):
            raise ValueError(
                self._must()
                + f"got {score}. It may not be defined for these rows: choose "
                "another scorer or other rows, or scoring='loss'."
            )
        return score

    def _must(self) -> str:
        return (
            f"scoring={self.estimator.scoring!r} must give a finite number for the "
            f"predictions of {type(self.estimator).__name__} for {len(self.y)} validation "
            "rows, "
        )


def network_at(estimator: Any, weights: Weights, X: Matrix, outputs: Array) -> Any:
    """Return an estimator with the weights of an epoch and its known outputs for X."""
    network = copy.copy(estimator)
    network.coefs_, network.intercepts_ = list(weights.coefs), list(weights.intercepts)
    vars(network).pop("members_", None)
    # X is an array, without the column names of the user's table
    vars(network).pop("feature_names_in_", None)
    network._forward_pass_fast = functools.partial(_forward, network, X, outputs)
    return network


def _forward(
    network: Any, X: Matrix, outputs: Array, rows: Any, check_input: bool = True
) -> Array:
    if rows is X:
        return outputs.copy()  # predict_log_proba writes to it
    computed: Array = type(network)._forward_pass_fast(
        network, rows, check_input=check_input
    )
    return computed


def is_loss(scoring: object) -> bool:
    """Return whether scores are minus the loss of the network, refined or not."""
    return isinstance(scoring, str) and scoring in ("loss", "refined_loss")


def is_refined(scoring: object) -> bool:
    """Return whether that loss is the one at the best temperature."""
    return isinstance(scoring, str) and scoring == "refined_loss"


def _takes_weights(scorer: Any) -> bool:
    if hasattr(scorer, "_accept_sample_weight"):  # scikit-learn's own
        return bool(scorer._accept_sample_weight())
    try:
        parameters = inspect.signature(scorer).parameters
    except (TypeError, ValueError):  # which compiled callables do not have
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return "sample_weight" in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def check_sum(weights: Array | None, dtype: DTypeLike, name: str) -> None:
    """Raise if the sum of weights overflows, or all are below the smallest float."""
    if weights is None:
        return
    with np.errstate(over="ignore"):
        parts = np.abs(weights.astype(dtype)).max(initial=0), np.abs(weights).sum()
    if not np.isfinite(parts).all():
        raise ValueError(
            f"{name} must have a finite sum in {dtype}, class_weight included, got "
            f"weights up to {np.abs(weights).max():g}. Divide them by the largest."
        )
    largest, tiny = np.abs(weights).max(initial=0), np.finfo(dtype).tiny
    if 0 < largest < tiny:
        raise ValueError(
            f"{name} must have a weight of at least {tiny:.2g}, the smallest normal number "
            f"of {dtype}, the dtype of X, class_weight included, got weights up to "
            f"{largest:g}. Divide them by the largest."
        )


@contextlib.contextmanager
def prefix_errors(what: str) -> Iterator[None]:
    """Prefix an error of scikit-learn's with the requirement on an argument."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {error}") from error
