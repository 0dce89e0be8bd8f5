"""The loss of predictions of any estimator: log-loss, squared error or pinball loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, column_or_1d

from .._jobs import Array
from ..options.losses import Quantile
from ._data import check_classes

LOG_LOSS, SQUARED_ERROR, PINBALL = "Log-loss", "Squared error", "Pinball loss"


def loss_name(estimators: Sequence[Any]) -> str:
    """Return the name of the loss that estimators are compared by."""
    if is_classifier(estimators[0]):
        return LOG_LOSS
    return PINBALL if common_levels(estimators) else SQUARED_ERROR


def common_levels(estimators: Sequence[Any]) -> tuple[float, ...]:
    """Return the levels of the quantiles that all predict, none if they differ."""
    levels = {levels_of(estimator) for estimator in estimators}
    return levels.pop() if len(levels) == 1 else ()


def levels_of(estimator: Any) -> tuple[float, ...]:
    """Return the levels of the quantiles that an estimator predicts, if it does."""
    while not hasattr(estimator, "quantiles_"):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "regressor_"):  # of a TransformedTargetRegressor
            estimator = estimator.regressor_
        else:
            return ()
    return tuple(estimator.quantiles_.tolist())


def make_loss(
    estimator: Any, y: Any, sample_weight: Array | None, levels: tuple[float, ...] = ()
) -> Callable[[Any, Any], float]:
    """Return the mean loss of an estimator as a function of it and of rows.

    NaN for classifiers that predict no probabilities. ``levels`` are those of the
    quantiles that a regressor predicts, none if it predicts something else.
    """
    if not is_classifier(estimator):
        return RegressionError(y, sample_weight, levels)
    if hasattr(estimator, "predict_proba"):
        return LogLoss(y, sample_weight)
    return no_loss


def no_loss(estimator: Any, X: Any) -> float:
    """Return NaN."""
    return np.nan


class RegressionError:
    """The squared error, or the pinball loss, averaged over outputs and rows."""

    def __init__(
        self, y: Any, sample_weight: Array | None, levels: tuple[float, ...] = ()
    ) -> None:
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        self.y, self.sample_weight = y.reshape(len(y), -1), sample_weight
        self.pinball = Quantile(quantile=levels) if levels else None
        if len(levels) > 1 and self.y.shape[1] == 1:
            self.y = self.y.repeat(len(levels), axis=1)

    def __call__(self, estimator: Any, X: Any) -> float:
        """Return the loss of predictions for rows."""
        predicted = np.asarray(estimator.predict(X), dtype=np.float64)
        predicted = predicted.reshape(len(self.y), -1)
        if predicted.shape != self.y.shape:
            raise ValueError(
                "y must have as many targets as the estimator predicts, "
                f"{predicted.shape[1]}, got {self.y.shape[1]}."
            )
        residuals = predicted - self.y
        losses = self.pinball.losses(residuals) if self.pinball else residuals**2
        errors = losses.mean(axis=1)
        return float(np.average(errors, weights=self.sample_weight))


class LogLoss:
    """Minus the logarithm of the probability of the class, averaged over rows.

    Several outputs, or labels of which each is there or not, are summed up.
    """

    def __init__(self, y: Any, sample_weight: Array | None) -> None:
        self.sample_weight = sample_weight
        y = y.toarray() if issparse(y) else np.asarray(y)
        is_single = y.ndim == 1 or y.shape[1] == 1
        self.y = column_or_1d(y).reshape(-1, 1) if is_single else y
        self.labels = [Labels(column) for column in self.y.T]

    def __call__(self, estimator: Any, X: Any) -> float:
        """Return the loss of predictions for rows."""
        found, classes = estimator.predict_proba(X), estimator.classes_
        if isinstance(found, list | tuple):
            losses = sum(map(self._losses, self.labels, found, classes))
        elif len(self.labels) > 1:
            losses = _minus_log(np.where(self.y == 1, found, 1 - found)).sum(axis=1)
        else:
            losses = self._losses(self.labels[0], found, classes)
        return float(np.average(losses, weights=self.sample_weight))

    def _losses(self, labels: Labels, probabilities: Array, classes: Any) -> Array:
        rows = np.arange(len(probabilities))
        return _minus_log(probabilities[rows, labels.positions_in(classes)])


class Labels:
    """The labels of one output, looked up in the classes of a fit."""

    def __init__(self, y: Array) -> None:
        indices: dict[Any, int] = {}
        self.codes = np.array([indices.setdefault(v, len(indices)) for v in y.tolist()])
        self.uniques = [*indices]

    def positions_in(self, classes: Any) -> Array:
        """Return the position of every label among classes."""
        classes = np.asarray(classes).tolist()
        check_classes(self.uniques, classes)
        positions = {label: i for i, label in enumerate(classes)}
        found: Array = np.array([positions[v] for v in self.uniques])[self.codes]
        return found


def _minus_log(probabilities: Array) -> Array:
    eps = np.finfo(probabilities.dtype).eps  # as log_loss of scikit-learn clips
    losses: Array = -np.log(np.clip(probabilities, eps, 1 - eps).astype(np.float64))
    return losses
