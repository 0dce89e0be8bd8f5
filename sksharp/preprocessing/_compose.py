"""Steps of scikit-learn's that need less memory, or do more with what fit is given."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import TransformerMixin, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_array

from .._jobs import Array
from .._version import VersionStamp
from ..estimators._outputs import mean_d2_pinball_score
from ..estimators._validation import prefix_errors
from ._nearly_numeric import warn_of_nearly_numeric
from ._tables import Table, as_table, cast, columns_of, is_frame

BLOCK_SIZE = 2**11  # rows that are encoded at a time


class TableTransformer(VersionStamp, ColumnTransformer):
    """A ColumnTransformer that does not copy the only part of its output."""

    def fit_transform(self, X: Table, y: Any = None, **params: Any) -> Any:
        """Fit the transformers, and return their outputs side by side.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets.

        **params : dict
            For the transformers, where metadata is routed.

        Returns
        -------
        features : array of shape (n_samples, n_features_out)
            Their outputs.
        """
        X = as_table(X)
        if is_frame(X):
            warn_of_nearly_numeric(columns_of(X))
        return super().fit_transform(X, y, **params)

    def transform(self, X: Table, **params: Any) -> Any:
        """Return the outputs of the transformers side by side.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.

        **params : dict
            For the transformers, where metadata is routed.

        Returns
        -------
        features : array of shape (n_samples, n_features_out)
            Their outputs.
        """
        return super().transform(as_table(X), **params)

    def _hstack(self, Xs: list[Any], *, n_samples: int) -> Any:
        if len(Xs) == 1 and isinstance(Xs[0], np.ndarray):
            return Xs[0]
        return super()._hstack(Xs, n_samples=n_samples)


class Standardizer(StandardScaler):
    """A StandardScaler that asks for no weights of the rows where metadata is routed."""

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sample_weight": False}


class BlockUnion(VersionStamp, FeatureUnion):
    """A FeatureUnion that transforms some rows at a time, and holds no part twice.

    Parameters
    ----------
    transformer_list, n_jobs, transformer_weights, verbose, verbose_feature_names_out
        As of FeatureUnion.

    dtype : dtype or None, default=None
        Of the features, None for that of the parts.
    """

    def __init__(
        self,
        transformer_list: list[tuple[str, Any]],
        *,
        n_jobs: int | None = None,
        transformer_weights: dict[str, float] | None = None,
        verbose: bool = False,
        verbose_feature_names_out: bool = True,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(
            transformer_list,
            n_jobs=n_jobs,
            transformer_weights=transformer_weights,
            verbose=verbose,
            verbose_feature_names_out=verbose_feature_names_out,
        )
        self.dtype = dtype

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit the parts, and return what they make of the rows side by side.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        y : array-like or None, default=None
            Targets.

        **params : dict
            For ``fit`` of the parts.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out)
            The parts' features.
        """
        if all(_is_plain(part) for _, part in self.transformer_list):
            return self.fit(X, y, **params).transform(X)
        return self._cast(super().fit_transform(X, y, **params))

    def transform(self, X: Any, **params: Any) -> Any:
        """Return what the parts make of the rows side by side.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        **params : dict
            For ``transform`` of the parts.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out)
            The parts' features.
        """
        if params or not isinstance(X, np.ndarray) or len(X) <= BLOCK_SIZE:
            return self._cast(super().transform(X, **params))
        features = None
        for rows in gen_batches(len(X), BLOCK_SIZE):
            block = self._cast(super().transform(X[rows]))
            if not isinstance(block, np.ndarray):
                return self._cast(super().transform(X))
            if features is None:
                features = np.empty((len(X), block.shape[1]), block.dtype)
            features[rows] = block
        return features

    def _cast(self, features: Any) -> Any:
        return features if self.dtype is None else cast(features, self.dtype)


def _is_plain(part: Any) -> bool:
    """Return whether a transformer's ``fit_transform`` is ``fit`` and ``transform``."""
    if isinstance(part, Pipeline):
        return all(_is_plain(step) for _, step in part.steps)
    if part is None or isinstance(part, str):
        return True
    is_inherited: bool = type(part).fit_transform is TransformerMixin.fit_transform
    return is_inherited


class TargetRegressor(VersionStamp, TransformedTargetRegressor):
    """A TransformedTargetRegressor that transforms ``y_val`` of ``fit`` like ``y``."""

    transformer: Any

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Fit the transformer on ``y``, and the regressor on transformed targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.

        **fit_params : dict
            For ``fit`` of the regressor. Of these, ``y_val`` is in the units of ``y``.

        Returns
        -------
        self : TargetRegressor
            The fitted regressor.
        """
        y_val = fit_params.get("y_val")
        if y_val is None or self.transformer is None:
            super().fit(X, y, **fit_params)
            return self
        unfitted = self.transformer
        fitted = clone(unfitted).fit(_as_columns(y, "y"))
        with prefix_errors("y_val must hold targets like those of y"):
            transformed = fitted.transform(_as_columns(y_val, "y_val"))
        one_column = np.ndim(y_val) == 1 and transformed.shape[1:] == (1,)
        fit_params["y_val"] = transformed[:, 0] if one_column else transformed
        try:
            # fitted once: some draw rows at random
            self.transformer = _Fitted(fitted)
            super().fit(X, y, **fit_params)
        finally:
            self.transformer = unfitted
        self.transformer_ = fitted
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R² of the predictions, or D² if the regressor predicts quantiles.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1, and 0 for the best constant.
        """
        levels = getattr(getattr(self, "regressor_", None), "quantiles_", None)
        if levels is None:
            score: float = super().score(X, y, sample_weight)
            return score
        return mean_d2_pinball_score(tuple(levels), y, self.predict(X), sample_weight)


class _Fitted:
    """A transformer whose fit is over. scikit-learn's frozen one asks for a target."""

    def __init__(self, transformer: Any) -> None:
        self.transform = transformer.transform
        self.inverse_transform = transformer.inverse_transform

    def __sklearn_clone__(self) -> Self:
        return self

    def fit(self, X: Array) -> Self:
        return self


def _as_columns(y: Any, name: str) -> Array:
    targets: Array = check_array(y, input_name=name, ensure_2d=False, dtype="numeric")
    return targets.reshape(-1, 1) if targets.ndim == 1 else targets
