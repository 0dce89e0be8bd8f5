"""What a regressor is beside its signature: targets, losses and predictions."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d

from .._jobs import Array, Matrix
from .._numbers import check_numeric
from ..options.losses import RegressionLoss, as_loss
from ._base import FlatMinimaMLP
from ._outputs import (
    ASCENDING,
    ascending_,
    fitted_loss,
    loss_name,
    mean_d2_pinball_score,
)
from ._types import MatrixLike


class FlatMinimaRegressor(FlatMinimaMLP):
    """Base of the regressor: everything but its signature and docstring."""

    oof_prediction_: Array
    _fitted_loss: RegressionLoss
    _metric = staticmethod(r2_score)

    @property
    def quantiles_(self) -> Array:
        """Levels of the quantiles that are predicted."""
        levels = self._levels
        if not levels:
            raise AttributeError(
                "quantiles_ is only set by a fit with the loss 'quantile'."
            )
        return np.array(levels)

    @property
    def _levels(self) -> tuple[float, ...]:
        """Levels of the quantiles of the last fit, none if it predicts something else."""
        loss = fitted_loss(self)
        return () if loss is None else loss.levels

    def score(
        self, X: MatrixLike, y: MatrixLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the coefficient of determination of the predictions, R².

        With the loss 'quantile', return the D² pinball score, of several quantiles the
        mean: the share of the loss of the best constant prediction that is gone.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1, and 0 for the best constant.

        See Also
        --------
        sklearn.metrics.r2_score : R².
        sklearn.metrics.d2_pinball_score : D² of a quantile.
        """
        check_is_fitted(self)
        if not self._levels:
            return super().score(X, y, sample_weight)
        y_pred = self.predict(X)
        return mean_d2_pinball_score(self._levels, y, y_pred, sample_weight)

    def _forward_pass_fast(self, X: Matrix, check_input: bool = True) -> Array:
        if self.out_activation_ != ASCENDING or "members_" in vars(self):
            return super()._forward_pass_fast(X, check_input=check_input)
        network = copy.copy(self)
        network.out_activation_ = "identity"  # which scikit-learn has
        z = super(FlatMinimaRegressor, network)._forward_pass_fast(X, check_input)
        return ascending_(z)

    def _initialize(
        self, y: Array, layer_units: list[int], dtype: np.dtype[Any]
    ) -> None:
        super()._initialize(y, layer_units, dtype)
        loss = as_loss(self.loss)
        if loss is None:
            return
        self._fitted_loss = loss.plain()
        if len(loss.levels) > 1:
            self.out_activation_ = ASCENDING

    def _decode(self, outputs: Array) -> Array:
        """Return predictions, one-dimensional for a single output."""
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _decode_targets(self, y: Array) -> Array:
        """Return targets as the user gave them, from a column for every output."""
        return y[:, 0] if self.out_activation_ == ASCENDING else self._decode(y)

    def _as_outputs(self, y: Array) -> Array:
        """Return targets with a column for every output: of quantiles, all the same."""
        y, loss = super()._as_outputs(y), as_loss(self.loss)
        n_levels = 0 if loss is None else len(loss.levels)
        if n_levels < 2:
            return y
        if y.shape[1] > 1:
            raise ValueError(
                f"loss={self.loss!r} predicts {n_levels} quantiles of a single target, got "
                f"{y.shape[1]} targets in y. Fit an estimator for each of them, or set a "
                "single level."
            )
        return y.repeat(n_levels, axis=1)

    def _keep_out_of_fold(self, outputs: Array) -> None:
        self.oof_prediction_ = self._decode(outputs)

    def _check_same_network(self, layer_units: list[int]) -> None:
        loss = as_loss(self.loss)
        now = repr(self.loss if loss is None else loss.plain())
        before = loss_name(self)
        if now != before:
            raise ValueError(
                "loss must stay the same to continue training, got "
                f"loss={now} after {before} in the previous fit. Set loss back, or "
                "warm_start=False to start anew."
            )
        super()._check_same_network(layer_units)

    def _validate_input(
        self, X: Any, y: Any, incremental: bool, reset: bool
    ) -> tuple[Matrix, Array]:
        X, y = super()._validate_input(X, y, incremental, reset)
        if issparse(y):
            raise TypeError("y must be dense, got a sparse matrix. Give y.toarray().")
        check_numeric(y, "y")
        self._check_counts(y, "y")
        return X, y

    def _check_counts(self, y: Array, name: str) -> None:
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(
                f"{name} must not be negative with loss='poisson', got a minimum of "
                f"{y.min()}. Use loss='squared_error' for targets of both signs."
            )

    def _encode_user_targets(self, y: Any) -> Array:
        """Return validation targets, as those of the training."""
        targets: Array = check_array(
            y,
            ensure_2d=False,
            ensure_min_samples=0,
            dtype="numeric",
            input_name="y_val",
        )
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = column_or_1d(targets, warn=True)
        check_numeric(targets, "y_val")
        if targets.size:
            self._check_counts(targets, "y_val")
        return targets
