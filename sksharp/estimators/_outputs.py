"""What the outputs of a network mean: its loss, and several quantiles at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import d2_pinball_score

from .._jobs import Array
from ..options.losses import RegressionLoss

# out_activation_ of a network that predicts several quantiles
ASCENDING = "ascending"


def fitted_loss(estimator: Any) -> RegressionLoss | None:
    """Return the loss that a network was fitted with, None if out_activation_ says."""
    loss: RegressionLoss | None = getattr(estimator, "_fitted_loss", None)
    return loss


def loss_name(estimator: Any) -> str:
    """Return how the loss of a fitted regressor is written."""
    loss = fitted_loss(estimator)
    if loss is not None:
        return repr(loss)
    return {"identity": "'squared_error'", "exp": "'poisson'"}[
        estimator.out_activation_
    ]


def ascending_(z: Array) -> Array:
    """Turn outputs of the last layer into outputs that ascend, in place.

    Parameters
    ----------
    z : array of shape (n_samples, n_outputs)
        The prediction of the middle output, and the inverse of the softplus of the step
        to the next one for all others.

    Returns
    -------
    outputs : array of shape (n_samples, n_outputs)
        The same memory.
    """
    middle = (z.shape[1] - 1) // 2
    center = z[:, middle : middle + 1]
    # added one by one, so that rounding cannot make them cross
    up = np.logaddexp(z[:, middle + 1 :], 0).cumsum(axis=1)
    down = np.logaddexp(z[:, :middle], 0)[:, ::-1].cumsum(axis=1)[:, ::-1]
    z[:, middle + 1 :] = center + up
    z[:, :middle] = center - down
    return z


def mean_d2_pinball_score(
    levels: tuple[float, ...], y: Any, y_pred: Array, sample_weight: Any
) -> float:
    """Return the D² pinball score of a quantile, or the mean of those of several.

    Parameters
    ----------
    levels : tuple of float
        Their levels.

    y : array-like of shape (n_samples,), or (n_samples, n_targets) for one level
        Targets.

    y_pred : array of shape (n_samples,), (n_samples, n_targets) or (n_samples, n_quantiles)
        Predictions.

    sample_weight : array-like of shape (n_samples,) or None
        Weights of the rows.
    """
    predictions = [y_pred] if len(levels) == 1 else y_pred.T
    scores = [
        d2_pinball_score(y, of_level, sample_weight=sample_weight, alpha=level)
        for of_level, level in zip(predictions, levels, strict=True)
    ]
    return float(np.mean(scores))
