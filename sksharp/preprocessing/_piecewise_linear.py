"""The piecewise-linear encoding of numeric features."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from .._jobs import Array
from .._version import VersionStamp

# n_bins='auto', chosen on the tables of the quality benchmark
FEW_FEATURES, ENOUGH_ROWS = 12, 90  # rows per feature
BINS_OF_MANY, BINS, BINS_OF_FEW = 4, 8, 32


class PiecewiseLinearEncoder(VersionStamp, TransformerMixin, BaseEstimator):
    r"""Encode every feature by ramps between its quantiles.

    The quantiles of a feature, each the nearest value in the data, are the knots
    :math:`t_0 < \dots < t_k` of its bins. Every bin gives a ramp, which rises from 0 to
    1 within the bin and is constant outside:

    .. math:: r_j(x) = \min(\max((x - t_{j-1}) / (t_j - t_{j-1}), 0), 1)

    Linear functions of the ramps are all functions that are linear between the knots
    and constant outside, so the first layer of a network can bend each feature where
    the data are.

    Parameters
    ----------
    n_bins : int or 'auto', default=8
        Number of bins of every feature, with equal numbers of rows. Equal quantiles are
        one knot, so a feature with repeated values gets fewer bins. 'auto' counts the
        features with more than two values: 4 bins for more than 12 of them; otherwise
        32 bins if there are 90 rows a feature, and 8 if there are fewer.

    height : float, default=1.0
        Value of a ramp above its bin. A feature has many ramps, each with its own
        weight: lower ramps give the scaled feature next to them more influence.

    center : bool, default=False
        Whether to subtract the mean over the training rows from every ramp.

    Attributes
    ----------
    n_bins_ : int
        Number of bins of every feature, fewer where quantiles are equal.

    knots_ : list of `n_features_in_` ndarrays
        The distinct quantiles of every feature, ascending. A feature with fewer than
        three has no ramps: one ramp would be the feature itself, shifted and scaled.

    means_ : ndarray of shape (n_ramps,)
        Means of the ramps of height 1 over the training rows, which ``center`` subtracts.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features. Only set when ``X`` has string column names.

    See Also
    --------
    tabular_pipeline : Uses it together with the scaled value.
    sklearn.preprocessing.SplineTransformer : With ``degree=1`` and
        ``extrapolation='constant'`` it spans the same functions of the same knots, but
        refuses repeated quantiles.

    Notes
    -----
    The encoding of the paper is linear beyond the outer knots. Here it is constant, so
    that the output stays within ``height`` for any input. Add the scaled feature where
    values outside the range of the training rows matter.

    References
    ----------
    Y. Gorishniy, I. Rubachev, A. Babenko. "On embeddings for numerical features in
    tabular deep learning." NeurIPS 2022. :arxiv:`2203.05556`.

    Examples
    --------
    >>> from sksharp import PiecewiseLinearEncoder
    >>> encoder = PiecewiseLinearEncoder(n_bins=2).fit([[0.0], [1.0], [5.0]])
    >>> encoder.knots_
    [array([0., 1., 5.])]
    >>> encoder.transform([[0.5], [4.0], [1000.0]])
    array([[0.5 , 0.  ],
           [1.  , 0.75],
           [1.  , 1.  ]])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_bins": [Interval(Integral, 2, None, closed="left"), StrOptions({"auto"})],
        "height": [Interval(Real, 0, None, closed="neither")],
        "center": ["boolean"],
    }

    def __init__(
        self,
        n_bins: int | Literal["auto"] = 8,
        *,
        height: float = 1.0,
        center: bool = False,
    ) -> None:
        self.n_bins = n_bins
        self.height = height
        self.center = center

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: object = None) -> Self:
        """Find the knots.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, without missing values.

        y : None
            Ignored.

        Returns
        -------
        self : PiecewiseLinearEncoder
            The fitted encoder.
        """
        X = validate_data(self, X, dtype=(np.float64, np.float32))
        self.n_bins_ = n_bins_for(X) if self.n_bins == "auto" else self.n_bins
        probabilities = np.linspace(0, 1, self.n_bins_ + 1)
        # values that occur: a quantile between them would split an indicator in two
        quantiles = np.quantile(X, probabilities, axis=0, method="nearest")
        self.knots_ = [np.unique(column) for column in quantiles.T]
        # feature by feature: all ramps together take many times the memory of X
        means = [
            self._ramps(X, j).mean(axis=0, dtype=np.float64) for j in range(X.shape[1])
        ]
        self.means_ = np.concatenate(means)
        return self

    def transform(self, X: Any) -> Array:
        """Return the ramps of every feature, side by side.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, without missing values.

        Returns
        -------
        ramps : ndarray of shape (n_samples, n_ramps)
            Values in [0, ``height``], less their mean if ``center`` is True, of the
            dtype of ``X`` if that is a float.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        ramps = self._ramps(X)
        if self.center:
            ramps -= self.means_
        ramps *= self.height
        return ramps

    def _ramps(self, X: Array, feature: int | None = None) -> Array:
        """Return the ramps of height 1 of all features or of one."""
        features = range(len(self.knots_)) if feature is None else [feature]
        lower, width, index = self._bins(features)
        ramps = X[:, index]
        with np.errstate(over="ignore"):  # infinity is clipped too
            ramps -= lower
            ramps /= width
        return np.clip(ramps, 0, 1, out=ramps)

    def _bins(self, features: Sequence[int]) -> tuple[Array, Array, Array]:
        """Return the lower knot, width and feature of every bin of some features."""
        n_ramps = self._n_ramps()
        pairs = [(self.knots_[j], n_ramps[j]) for j in features]
        lower = np.concatenate([knots[:n] for knots, n in pairs])
        width = np.concatenate([np.diff(knots)[:n] for knots, n in pairs])
        return lower, width, np.repeat(features, [n for _, n in pairs])

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the ramps: ``x_bin1``, ``x_bin2`` … for a feature ``x``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the features. None for those seen during fit, or ``x0``, ``x1`` …

        Returns
        -------
        names : ndarray of shape (n_ramps,)
            One name for every column of the output.
        """
        check_is_fitted(self, "n_features_in_")
        features = _check_feature_names_in(self, input_features)
        return np.array(
            [
                f"{feature}_bin{j + 1}"
                for feature, n in zip(features, self._n_ramps(), strict=True)
                for j in range(n)
            ],
            dtype=object,
        )

    def _n_ramps(self) -> list[int]:
        """Return the number of ramps of every feature."""
        return [len(knots) - 1 if len(knots) > 2 else 0 for knots in self.knots_]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def n_bins_for(X: Array) -> int:
    """Return the number of bins for rows: fewer features get more."""
    is_between = (X.min(axis=0) < X) & (X.max(axis=0) > X)
    n_features = np.count_nonzero(is_between.any(axis=0))
    if n_features > FEW_FEATURES:
        return BINS_OF_MANY
    return BINS_OF_FEW if len(X) >= ENOUGH_ROWS * n_features else BINS
