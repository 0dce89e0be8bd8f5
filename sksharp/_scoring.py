"""What judges the epochs of a training: a scorer, and rows to score."""

import contextlib
import copy
import dataclasses
import functools
import inspect
from typing import Any

import joblib
import numpy as np
from sklearn.base import is_regressor
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_sample_weight, validate_data

from ._contract import Validation
from ._numbers import check_data
from ._warnings import warn

CONSTRAINTS = {
    "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
}

# of scikit-learn's early stopping: r2_score is not defined for one row
FEWEST_ROWS = 2

# standard deviations of y that most targets of validation rows are from its mean at most,
# and how many rows there must be to tell
FARTHEST, TELLING_ROWS = 10, 10


class Scoring:
    """Mixin of the estimators: how validation rows are scored, and those of the user."""

    # -- the scorer ------------------------------------------------------------------

    def _validation(self, X, y, sample_weight, rows, *, default):
        """Return rows of encoded data with what scores them.

        Parameters
        ----------
        X, y, sample_weight : arrays
            Data, encoded as for training.

        rows : array of int or None
            Which rows of them, all if None.

        default : 'loss' or None
            What ``scoring=None`` stands for: minus the loss, or for None the metric of
            scikit-learn's early stopping.
        """
        scoring = default if self.scoring is None else self.scoring
        score = None
        if not is_loss(scoring):
            some = slice(None) if rows is None else rows
            weights = None if sample_weight is None else sample_weight[some]
            labels = self._decode(y[some])
            if scoring is None:
                score = Metric(self, labels, weights)
            else:
                score = Score(self, self._scorer(weights), X[some], labels, weights)
        return Validation(X, y, rows, score, sample_weight)

    def _scorer(self, sample_weight=None):
        """Return the scorer that ``scoring`` names."""
        scorer = check_scoring(self, self.scoring)
        if sample_weight is not None and not _takes_weights(scorer):
            raise ValueError(
                "scoring must take sample_weight where rows have weights, by sample_weight "
                f"or class_weight, got scoring={self.scoring!r}. Choose another, write it "
                "as scorer(estimator, X, y, sample_weight=None), or leave the weights out."
            )
        return scorer

    def _score_outputs(self, outputs, y, sample_weight):
        """Score outputs as scikit-learn does, NaN if they are not finite predictions."""
        predictions = self._decode(outputs)
        is_float = np.issubdtype(predictions.dtype, np.floating)
        if is_float and not np.isfinite(predictions).all():
            return np.nan
        return self._metric(y, predictions, sample_weight=sample_weight)

    # -- rows of the user's ----------------------------------------------------------

    def _check_given(self, X_val, y_val, sample_weight_val):
        """Raise for validation rows that are incomplete or that nothing would read."""
        data = {"X_val": X_val, "y_val": y_val}
        if sample_weight_val is not None:
            data["sample_weight_val"] = sample_weight_val
        given = [name for name, value in data.items() if value is not None]
        missing = [name for name, value in data.items() if value is None]
        if not given:
            return
        if missing:
            raise ValueError(
                "X_val and y_val must be given together, got "
                f"{' and '.join(given)} without {' and '.join(missing)}. Pass both, or "
                "none of them."
            )
        if self.solver == "lbfgs":
            raise ValueError(
                "X_val needs a stochastic solver, got solver='lbfgs', which does not stop "
                "early. Choose another solver, or leave X_val and y_val out."
            )
        has_folds = self.n_members > 1 or self._searches()
        if not (self.early_stopping or has_folds):
            raise ValueError(
                "X_val needs early_stopping=True, n_members above 1 or rho='auto', got "
                "early_stopping=False. Nothing would read the validation rows; set "
                "early_stopping=True, or leave X_val and y_val out."
            )
        if not self.early_stopping and self.n_members == 1 and self._goes_on_with_rho():
            raise ValueError(
                "X_val needs early_stopping=True or n_members above 1 once rho='auto' has "
                f"chosen, got warm_start=True with rho_={self.rho_}. Nothing would read "
                "the validation rows; set early_stopping=True, warm_start=False to choose "
                "anew, or leave X_val and y_val out."
            )
        if self.cv is not None and has_folds:
            raise ValueError(
                "X_val takes the place of the folds, got X_val and cv="
                f"{self.cv!r}. Set cv=None, or leave X_val and y_val out."
            )

    def _prepare_given(self, X_val, y_val, sample_weight_val, y):
        """Return validation rows of the user's as they are used, None if there are none.

        ``y`` are the encoded targets of the training rows.
        """
        if X_val is None:
            return None
        with about("X_val must hold rows like those of X"):
            X_val = validate_data(
                self,
                X_val,
                reset=False,
                accept_sparse=["csr", "csc"],
                dtype=(np.float64, np.float32),
            )
        with about("y_val must hold targets like those of y"):
            y_val = self._encode_given(y_val)
            if y_val.ndim == 0:
                raise ValueError(f"it must be array-like, got {y_val}.")
        y_val = y_val.reshape(-1, 1) if y_val.ndim == 1 else y_val
        if y_val.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y_val must have {self.n_outputs_} columns like y, got {y_val.shape[1]}."
            )
        if len(y_val) != X_val.shape[0] or len(y_val) < FEWEST_ROWS:
            raise ValueError(
                f"X_val and y_val must have the same number of rows, {FEWEST_ROWS} or "
                f"more, got {X_val.shape[0]} and {len(y_val)}."
            )
        weights = sample_weight_val
        if weights is not None:
            with about("sample_weight_val must hold a weight for every row of X_val"):
                weights = _check_sample_weight(weights, X_val, dtype=np.float64)
        weights = self._row_weights(y_val, weights, of=y)
        check_sum(weights, self._dtype(), "sample_weight_val")
        if weights is not None and not weights.sum() > 0:
            raise ValueError(
                "sample_weight_val must not sum to zero, class_weight included, got "
                f"{weights.sum()}."
            )
        check_data(X_val, self._dtype(), "X_val")
        check_data(y_val, self._dtype(), "y_val")
        if is_regressor(self):
            _warn_of_units(y, y_val)
        X_val = X_val.astype(self._dtype(), copy=False)
        return Validation(X_val, y_val, sample_weight=weights)

    def _begins_anew(self, given):
        """Return whether scores of the last fit are not those of this one."""
        return getattr(self, "_scored_by", (None, None)) != self._judge(given)

    def _note_judge(self, given):
        """Remember by what the best epoch was chosen, for the next fit."""
        vars(self).pop("_scored_by", None)
        judge = self._judge(given)
        if self.early_stopping and judge != (None, None):
            self._scored_by = judge

    def _judge(self, given):
        digest = None
        if given is not None:
            digest = joblib.hash([given.X, given.y, given.sample_weight])
        return self.scoring, digest


def _warn_of_units(y, y_val):
    """Warn of targets of validation rows that cannot be in the units of y."""
    if min(len(y) // 2, len(y_val)) < TELLING_ROWS:
        return
    mean, spread = y.mean(axis=0), y.std(axis=0)
    distance = np.median(np.abs(y_val - mean), axis=0)
    if (distance > FARTHEST * spread)[spread > 0].any():
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
        Whose predictions they are.

    y : array of shape (n_rows,) or (n_rows, n_outputs)
        Targets as the user's own.

    sample_weight : array of shape (n_rows,) or None
        Weights of the rows.
    """

    estimator: Any
    y: Any
    sample_weight: Any

    def __call__(self, outputs, weights):
        """Score the network's outputs for the rows."""
        return self.estimator._score_outputs(outputs, self.y, self.sample_weight)


@dataclasses.dataclass(frozen=True)
class Score:
    """The score of a scorer, which is given the network as an estimator.

    Parameters
    ----------
    estimator : estimator
        Whose network it is.

    scorer : callable
        Takes an estimator, rows and targets, and weights if there are any.

    X : array or sparse matrix of shape (n_rows, n_features)
        Rows.

    y : array of shape (n_rows,) or (n_rows, n_outputs)
        Targets as the user's own.

    sample_weight : array of shape (n_rows,) or None
        Weights of the rows.
    """

    estimator: Any
    scorer: Any
    X: Any
    y: Any
    sample_weight: Any

    def __call__(self, outputs, weights):
        """Score the network, given its outputs for the rows and what makes its weights.

        It is NaN for a network that has diverged.
        """
        # labels and ranks would hide it
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

    def _must(self):
        return (
            f"scoring={self.estimator.scoring!r} must give a finite number for the "
            f"predictions of {type(self.estimator).__name__} for {len(self.y)} validation "
            "rows, "
        )


def network_at(estimator, weights, X, outputs):
    """Return an estimator with the weights of an epoch, whose outputs for X are known."""
    network = copy.copy(estimator)
    network.coefs_, network.intercepts_ = list(weights.coefs), list(weights.intercepts)
    vars(network).pop("members_", None)
    # the rows are an array, without the names of the user's table
    vars(network).pop("feature_names_in_", None)
    network._forward_pass_fast = functools.partial(_forward, network, X, outputs)
    return network


def _forward(network, X, outputs, rows, check_input=True):
    if rows is X:
        return outputs.copy()  # predict_log_proba writes to it
    return type(network)._forward_pass_fast(network, rows, check_input=check_input)


def is_loss(scoring):
    """Return whether scores are minus the loss of the network."""
    return isinstance(scoring, str) and scoring == "loss"


def _takes_weights(scorer):
    if hasattr(scorer, "_accept_sample_weight"):  # scikit-learn's own
        return scorer._accept_sample_weight()
    try:
        parameters = inspect.signature(scorer).parameters
    except (TypeError, ValueError):  # which compiled callables do not have
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return "sample_weight" in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def check_sum(weights, dtype, name):
    """Raise if weights of rows are too large to be added up, or all too small to count."""
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
            f"{name} must have a weight of at least {tiny:.2g}, the smallest number that "
            f"{dtype}, the dtype of X, holds with all its digits, class_weight included, "
            f"got weights up to {largest:g}. Divide them by the largest."
        )


@contextlib.contextmanager
def about(what):
    """Say in an error of scikit-learn's which argument it is about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {error}") from error
