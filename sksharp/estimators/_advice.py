"""Warnings of a fit that learned nothing: of unscaled data, or of a large radius."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import xlogy
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network._base import LOSS_FUNCTIONS

from .._jobs import Array, Matrix
from .._warnings import record_warnings, warn
from ..exceptions import ScalingWarning
from ._network import FitData, make_job, new_network
from ._outputs import ASCENDING, fitted_loss
from ._parameters import FitPlan
from ._strategies import draw_seed, with_weights

# relative to the loss of the best constant prediction: from NOTHING on a fit has learned
# nothing, up to CONSTANT it predicts a constant, and from SOMETHING down it has learned
NOTHING, CONSTANT, SOMETHING = 0.99, 1.05, 0.95

# epochs of the trial without perturbation, at most
EPOCHS_OF_TRIAL = 20

# columns differ in size from this ratio on, if the largest exceeds that of scaled data;
# targets are scaled if their size is within this factor of 1
RATIO_OF_COLUMNS, SCALED_COLUMN, SCALED_TARGET = 1e4, 100.0, 10.0

# up to this share of the largest, a column is zero but for rounding, as PCA makes them
ROUNDING = {4: 1e-7, 8: 1e-9}  # by the bytes of a number

# rows to measure columns by: all would be too many of a file that exceeds the memory
ROWS_TO_SIZE = 2000

_LOSSES = {
    "softmax": "log_loss",
    "logistic": "binary_log_loss",
    "identity": "squared_error",
    "exp": "poisson",
}


def advise(estimator: Any, plan: FitPlan, data: FitData) -> None:
    """Warn of features or targets to scale, or of a radius that is too large.

    Parameters
    ----------
    estimator : SAMMLPClassifier or SAMMLPRegressor
        Just fitted, with a stochastic solver.

    plan : FitPlan
        Its parameters.

    data : FitData
        The rows of the fit.
    """
    X, y, sample_weight = data.X, data.y, data.sample_weight
    if sample_weight is not None and not np.sum(sample_weight) > 0:
        return
    _warn_of_columns(X)
    had_time = estimator.n_iter_ > estimator.n_iter_no_change
    if not (had_time and np.isfinite(estimator.loss_)):
        return
    at_best = loss_of_constant(estimator, y, sample_weight)
    if not at_best > 0 or estimator.loss_ < NOTHING * at_best:
        return
    # a solver or an average may predict with other weights than it trained
    outputs = estimator._forward_pass_fast(X, check_input=False)
    loss = _loss(estimator, y, outputs, sample_weight)
    if loss >= NOTHING * at_best and not _warn_of_target(estimator, y, sample_weight):
        _warn_of_radius(estimator, plan, data, loss, at_best)


def loss_of_constant(estimator: Any, y: Array, sample_weight: Array | None) -> float:
    """Return the lowest loss of a prediction that is the same for all rows.

    Parameters
    ----------
    estimator : SAMMLPClassifier or SAMMLPRegressor
        Estimator, whose loss it is.

    y : array of shape (n_samples, n_outputs)
        Encoded targets.

    sample_weight : array of shape (n_samples,) or None
        Weights of the rows.

    Returns
    -------
    loss : float
        0 if all targets with a weight are equal.
    """
    # from the means alone: y may be indicators of many classes, of millions of rows
    w = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
    w = w / w.sum()
    of_residuals = fitted_loss(estimator)
    if of_residuals is not None:
        y = np.asarray(y, dtype=float)
        losses = of_residuals.losses(of_residuals.best_constants(y, w) - y)
        return float(w @ losses.mean(axis=1))
    mean = np.einsum("i,ij->j", w, y, dtype=float)
    kind = estimator.out_activation_
    if kind == "softmax":
        return float(-xlogy(mean, mean).sum())
    if kind == "logistic":
        return float(-(xlogy(mean, mean) + xlogy(1 - mean, 1 - mean)).sum())
    if kind == "exp":
        return float((w @ xlogy(y, y) - xlogy(mean, mean)).sum())
    square = np.einsum("i,ij,ij->j", w, y, y, dtype=float)
    loss = float((square - mean**2).mean() / 2)
    is_rounding = loss <= 1e-12 * square.mean()
    return 0.0 if is_rounding else loss


def _loss(
    estimator: Any, y: Array, outputs: Array, sample_weight: Array | None
) -> float:
    outputs = np.asarray(outputs, dtype=float)
    of_residuals = fitted_loss(estimator)
    if of_residuals is not None:
        losses = of_residuals.losses(outputs - y).mean(axis=1)
        return float(np.average(losses, weights=sample_weight))
    loss = LOSS_FUNCTIONS[_LOSSES[estimator.out_activation_]]
    return float(loss(y, outputs, sample_weight))


def sizes_of_columns(X: Matrix) -> Array:
    """Return the root mean square of the entries of every column that are not zero.

    Zeros are left out: a category of few rows is as large as one of many.

    Parameters
    ----------
    X : array or sparse matrix of shape (n_samples, n_features)
        Features.

    Returns
    -------
    sizes : array of shape (n_features,)
        0 for a column of zeros.
    """
    with np.errstate(over="ignore"):
        if hasattr(X, "tocoo"):
            X = X.tocoo()
            squares = np.square(X.data, dtype=float)
            total = np.bincount(X.col, squares, minlength=X.shape[1])
            n_filled = np.bincount(X.col, X.data != 0, minlength=X.shape[1])
        else:
            total = np.einsum("ij,ij->j", X, X, dtype=float)
            n_filled = np.count_nonzero(X, axis=0)
    sizes: Array = np.sqrt(total / np.maximum(n_filled, 1))
    return sizes


def _warn_of_columns(X: Matrix) -> None:
    sizes = sizes_of_columns(X[:: -(-X.shape[0] // ROWS_TO_SIZE)])
    large = sizes.max(initial=0.0)
    small = sizes[sizes > ROUNDING.get(X.dtype.itemsize, 0.0) * large].min(
        initial=large
    )
    if large >= max(SCALED_COLUMN, RATIO_OF_COLUMNS * small):
        warn(
            f"The columns of X differ in size by more than {RATIO_OF_COLUMNS:g}: the root "
            f"mean square of column {sizes.argmax()} is {large:.0e}. The network hardly "
            "uses the small ones. Scale X, for instance with "
            "make_pipeline(StandardScaler(), estimator), or use tabular_pipeline.",
            ScalingWarning,
        )


def _warn_of_target(estimator: Any, y: Array, sample_weight: Array | None) -> bool:
    """Warn of targets to scale; return whether there are any."""
    if estimator.out_activation_ not in ("identity", ASCENDING):
        return False
    squares = np.square(np.asarray(y, dtype=float))
    size = np.sqrt(np.average(squares, axis=0, weights=sample_weight).max())
    if 1 / SCALED_TARGET <= size <= SCALED_TARGET:
        return False
    constant = "their mean" if fitted_loss(estimator) is None else "a constant"
    warn(
        f"The network predicts the rows of the fit no better than {constant} does, and the "
        f"root mean square of y is {size:.0e}, far from 1. Scale y, for instance with "
        "TransformedTargetRegressor(estimator, transformer=StandardScaler()), or use "
        "tabular_pipeline.",
        ScalingWarning,
    )
    return True


def _warn_of_radius(
    estimator: Any, plan: FitPlan, data: FitData, loss: float, at_best: float
) -> None:
    radius = estimator._radius(plan)
    if not radius or loss > CONSTANT * at_best:
        return
    from ..training import active_ranks  # imports torch

    if active_ranks() is not None:  # whose processes might not all get here
        return
    epochs = min(estimator.n_iter_, EPOCHS_OF_TRIAL)
    with_it, without = _losses_of_trials(plan, data, (radius, 0.0), epochs)
    gained, missed = at_best - with_it, at_best - without
    if not missed >= max((1 - SOMETHING) * at_best, 2 * gained):
        return
    warn(
        f"The network has stayed a constant: its loss is {loss:.4g}, that of the best "
        f"constant {at_best:.4g}, and {epochs} epochs with rho=0 reach "
        f"{without:.4g}. The radius {radius:g} is too large; lower rho.",
        ConvergenceWarning,
    )


def _losses_of_trials(
    plan: FitPlan, data: FitData, radii: tuple[float, float], epochs: int
) -> list[float]:
    """Return the losses of short trainings that differ in the radius only."""
    from ..training import fit_models  # imports torch

    plan = plan.with_params(
        max_iter=epochs,
        max_steps=None,
        n_members=1,
        snapshots=None,
        early_stopping=False,
        swa=False,
        ema_decay=None,
        cv=None,
        callbacks=None,
        verbose=False,
    )
    seed = draw_seed(np.random.RandomState(0))
    with record_warnings():
        jobs = [
            make_job(
                new_network(
                    data.estimator, plan.with_params(rho=radius), data, seed, radius
                ),
                data,
            )
            for radius in radii
        ]
        losses = []
        for result in fit_models(jobs):
            network = with_weights(data.estimator, result.weights)
            outputs = network._forward_pass_fast(data.X, check_input=False)
            losses.append(_loss(network, data.y, outputs, data.sample_weight))
    return losses
