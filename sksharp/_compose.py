"""Steps of scikit-learn's that need less memory, or do more with what fit is given."""

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.utils.validation import check_array

from ._columns import as_table, columns_of, is_frame
from ._misread import warn_of_misread
from ._pickles import VersionStamp
from ._scoring import about


class TableTransformer(VersionStamp, ColumnTransformer):
    """A ColumnTransformer that does not copy the only part of its output."""

    def fit_transform(self, X, y=None, **params):
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
            warn_of_misread(columns_of(X))
        return super().fit_transform(X, y, **params)

    def transform(self, X, **params):
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

    def _hstack(self, Xs, *, n_samples):
        if len(Xs) == 1 and isinstance(Xs[0], np.ndarray):
            return Xs[0]
        return super()._hstack(Xs, n_samples=n_samples)


class TargetRegressor(VersionStamp, TransformedTargetRegressor):
    """A TransformedTargetRegressor that transforms ``y_val`` of ``fit`` like ``y``."""

    def fit(self, X, y, **fit_params):
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
            return super().fit(X, y, **fit_params)
        given = self.transformer
        fitted = clone(given).fit(_as_columns(y, "y"))
        with about("y_val must hold targets like those of y"):
            transformed = fitted.transform(_as_columns(y_val, "y_val"))
        one_column = np.ndim(y_val) == 1 and transformed.shape[1:] == (1,)
        fit_params["y_val"] = transformed[:, 0] if one_column else transformed
        try:
            # fitted once: some draw rows at random
            self.transformer = _Fitted(fitted)
            super().fit(X, y, **fit_params)
        finally:
            self.transformer = given
        self.transformer_ = fitted
        return self


class _Fitted:
    """A transformer whose fit is over. scikit-learn's frozen one asks for a target."""

    def __init__(self, transformer):
        self.transform = transformer.transform
        self.inverse_transform = transformer.inverse_transform

    def __sklearn_clone__(self):
        return self

    def fit(self, X):
        return self


def _as_columns(y, name):
    y = check_array(y, input_name=name, ensure_2d=False, dtype="numeric")
    return y.reshape(-1, 1) if y.ndim == 1 else y
