"""From a table as it is to the numbers that a network trains well on."""

from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse
from sklearn.base import (
    BaseEstimator,
    TransformerMixin,
    _fit_context,
    is_classifier,
    is_regressor,
)
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from ._pickles import VersionStamp

MISSING = "missing"
CLIP = 3.0
LARGEST = 1e100  # of a numeric column: the squares of larger numbers would overflow


class PiecewiseLinearEncoder(VersionStamp, TransformerMixin, BaseEstimator):
    r"""Encode every feature by where it lies between its quantiles.

    The quantiles of a feature, each the nearest value that occurs, are the knots
    :math:`t_0 < \dots < t_k` of its bins. For every bin it gets a ramp, which rises from
    0 to 1 within the bin and is constant outside:

    .. math:: r_j(x) = \min(\max((x - t_{j-1}) / (t_j - t_{j-1}), 0), 1)

    A linear function of the ramps is any function that is linear between the knots and
    constant beyond the outer ones, so that the first layer of a network can bend each
    feature where the data are.

    Parameters
    ----------
    n_bins : int, default=8
        Bins of every feature, of equal shares of the rows. Quantiles that coincide are
        one knot, so that a feature with repeated values gets fewer.

    height : float, default=1.0
        How far a ramp rises. A feature has many ramps, each with a weight of its own: the
        lower they are, the more the scaled feature beside them counts.

    center : bool, default=False
        Whether to subtract the mean over the training rows from every ramp.

    Attributes
    ----------
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
    tabular_pipeline : Uses it beside the scaled value.
    sklearn.preprocessing.SplineTransformer : With ``degree=1`` and
        ``extrapolation='constant'`` it spans the same functions of the same knots, but
        refuses repeated quantiles.

    Notes
    -----
    The encoding in the paper goes on linearly beyond the outer knots. Here it is
    constant, so that the output spans no more than ``height`` whatever comes. Put the
    scaled feature beside it where values beyond those of the training rows matter.

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

    _parameter_constraints: dict = {
        "n_bins": [Interval(Integral, 2, None, closed="left")],
        "height": [Interval(Real, 0, None, closed="neither")],
        "center": ["boolean"],
    }

    def __init__(self, n_bins=8, *, height=1.0, center=False):
        self.n_bins = n_bins
        self.height = height
        self.center = center

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
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
        shares = np.linspace(0, 1, self.n_bins + 1)
        # values that occur: a quantile between them would split an indicator in two
        quantiles = np.quantile(X, shares, axis=0, method="nearest")
        self.knots_ = [np.unique(column) for column in quantiles.T]
        self.means_ = self._ramps(X).mean(axis=0, dtype=np.float64)
        return self

    def transform(self, X):
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

    def _ramps(self, X):
        n_ramps = self._n_ramps()
        pairs = list(zip(self.knots_, n_ramps, strict=True))
        lower = np.concatenate([knots[:n] for knots, n in pairs])
        width = np.concatenate([np.diff(knots)[:n] for knots, n in pairs])
        ramps = X[:, np.repeat(np.arange(len(pairs)), n_ramps)]
        with np.errstate(over="ignore"):  # infinity is clipped too
            ramps -= lower
            ramps /= width
        return np.clip(ramps, 0, 1, out=ramps)

    def get_feature_names_out(self, input_features=None):
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

    def _n_ramps(self):
        return [len(knots) - 1 if len(knots) > 2 else 0 for knots in self.knots_]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def tabular_pipeline(
    estimator,
    *,
    n_bins=8,
    max_categories=32,
    numeric=None,
    binary=None,
    categorical=None,
    target=None,
):
    """Put scikit-learn's preprocessing for a table as it is before an estimator.

    The pipeline takes a pandas DataFrame with numbers, dates, booleans, strings,
    categories and missing values, or an array of numbers. ``fit`` reads from the dtypes
    which column is of which kind:

    - **numeric**: numbers, dates and durations (in days), and every column of an array.
      A missing value becomes the median, and a column of its own tells of it. The value
      is standardized and softly clipped, ``z / sqrt(1 + (z / 3)**2)``; beside it stand
      the ramps of :class:`PiecewiseLinearEncoder`, of height 0.5 and centered. Infinite
      values are an error.
    - **binary**: any other column with two values, one of which may be "missing". It
      becomes 0 and 1, in the order of their names; a value that is new at prediction
      becomes the mean of the training rows.
    - **categorical**: the rest, one-hot. Missing is a category. Of many categories the
      rare ones share a column. A new one goes to that column, or is all zeros if there
      is none.

    The target of a regressor is standardized, and predictions are scaled back.

    Parameters
    ----------
    estimator : estimator
        The last part, unfitted: a classifier or a regressor.

    n_bins : int, default=8
        Bins of the piecewise-linear encoding. Only used when ``numeric`` is None.

    max_categories : int or None, default=32
        Columns that a feature becomes at most. None for no limit. Only used when
        ``categorical`` is None.

    numeric, binary, categorical : transformer, 'passthrough', 'drop' or None, \
default=None
        What to do with the columns of a kind instead of the above. It is given the
        columns as they are, missing values included.

    target : transformer, 'passthrough' or None, default=None
        What to do with the target of a regressor. None standardizes it, except when the
        ``loss`` of the estimator is 'poisson', whose targets must not be negative.
        'passthrough' leaves it as it is.

    Returns
    -------
    pipeline : Pipeline
        With the steps 'columns' (a ``ColumnTransformer`` of 'numeric', 'binary' and
        'categorical'), 'precision' (which makes everything float32: a network trains in
        the dtype of its features) and 'model'. The model
        is the estimator, or a ``TransformedTargetRegressor`` around it, so that a
        parameter of the estimator is ``model__rho`` or ``model__regressor__rho``, and
        weights of the rows are given to ``fit`` as ``model__sample_weight``.

    See Also
    --------
    PiecewiseLinearEncoder : The encoding of the numeric columns.

    Notes
    -----
    The default of 'numeric' has the steps 'numbers', 'impute' and 'encode', the last
    with the parts 'scale' and 'bins'; that of 'binary' 'text', 'encode' and 'impute';
    that of 'categorical' 'text' and 'encode'. ``set_params`` reaches all of them, for
    instance with ``columns__numeric__encode__bins__n_bins=16``, or
    ``columns__numeric__encode__bins='drop'`` to do without the ramps.

    References
    ----------
    Y. Gorishniy, I. Rubachev, A. Babenko. "On embeddings for numerical features in
    tabular deep learning." NeurIPS 2022. :arxiv:`2203.05556`.

    D. Holzmüller, L. Grinsztajn, I. Steinwart. "Better by default: Strong pre-tuned MLPs
    and boosted trees on tabular data." NeurIPS 2024. :arxiv:`2407.04491` (the soft
    clipping).

    Examples
    --------
    >>> import pandas as pd
    >>> from sksharp import SAMMLPRegressor, tabular_pipeline
    >>> flats = pd.DataFrame({
    ...     "area": [31.0, 48.0, None, 74.0, 90.0, 112.0],
    ...     "city": ["Ulm", "Bonn", "Ulm", "Köln", None, "Bonn"],
    ...     "lift": [False, True, True, False, True, True],
    ... })
    >>> rent = [450, 700, 720, 980, 1150, 1500]
    >>> network = SAMMLPRegressor(solver="lbfgs", random_state=0)
    >>> model = tabular_pipeline(network, n_bins=2).fit(flats, rent)
    >>> model[0].get_feature_names_out()
    array(['numeric__scale__area', 'numeric__scale__missingindicator_area',
           'numeric__bins__area_bin1', 'numeric__bins__area_bin2',
           'binary__lift', 'categorical__city_Bonn', 'categorical__city_Köln',
           'categorical__city_Ulm', 'categorical__city_missing'], dtype=object)
    >>> model.predict(flats).round(-1)
    array([ 450.,  700.,  720.,  980., 1150., 1500.])
    """
    from sklearn.compose import ColumnTransformer  # with svm, neighbors and more

    columns = ColumnTransformer(
        [
            ("numeric", _or_default(numeric, _numeric, n_bins), _numeric_columns),
            ("binary", _or_default(binary, _binary), _binary_columns),
            (
                "categorical",
                _or_default(categorical, _categorical, max_categories),
                _categorical_columns,
            ),
        ],
        sparse_threshold=0,
    )
    single = FunctionTransformer(_to_single, feature_names_out="one-to-one")
    model = _with_target(estimator, target)
    return Pipeline([("columns", columns), ("precision", single), ("model", model)])


def _to_single(X):
    return X.astype(np.float32)


def _or_default(transformer, make_default, *args):
    return make_default(*args) if transformer is None else transformer


def _numeric(n_bins):
    from sklearn.impute import SimpleImputer

    scale = [
        # not RobustScaler: it leaves a column that is mostly zeros unscaled
        ("standardize", StandardScaler()),
        ("clip", FunctionTransformer(_soft_clip, feature_names_out="one-to-one")),
    ]
    # lower than the feature, of which there is one beside so many of them
    bins = PiecewiseLinearEncoder(n_bins, height=0.5, center=True)
    encode = [("scale", Pipeline(scale)), ("bins", bins)]
    # a column without any value is kept, as zeros, lest the indicator stand alone
    impute = SimpleImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    return Pipeline(
        [
            ("numbers", FunctionTransformer(_numbers, feature_names_out="one-to-one")),
            ("impute", impute),
            ("encode", FeatureUnion(encode)),
        ]
    )


def _binary():
    from sklearn.impute import SimpleImputer

    # not OneHotEncoder(drop='if_binary'): a new value would silently be the first one
    encode = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float64
    )
    return Pipeline(
        [
            ("text", FunctionTransformer(_text, feature_names_out="one-to-one")),
            ("encode", encode),
            ("impute", SimpleImputer(strategy="mean")),
        ]
    )


def _categorical(max_categories):
    encode = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=max_categories,
        sparse_output=False,
    )
    return Pipeline(
        [
            ("text", FunctionTransformer(_text, feature_names_out="one-to-one")),
            ("encode", encode),
        ]
    )


def _with_target(estimator, target):
    """Return the estimator, in a regressor that transforms its target if it has to."""
    if target is not None and target != "passthrough" and not is_regressor(estimator):
        kind = "a classifier" if is_classifier(estimator) else "no regressor"
        raise ValueError(
            f"target must be None or 'passthrough' unless estimator is a regressor, got "
            f"target={target!r} with {type(estimator).__name__}, {kind}. Leave target out."
        )
    is_default = target is None
    if is_default:
        has_scale = getattr(estimator, "loss", None) != "poisson"
        target = _target() if is_regressor(estimator) and has_scale else None
    if target is None or target == "passthrough":
        return estimator
    from sklearn.compose import TransformedTargetRegressor

    # the check takes the rounding of single precision near zero for an error
    return TransformedTargetRegressor(
        estimator, transformer=target, check_inverse=not is_default
    )


def _target():
    # a network's single precision is that of the scaled target, not of the target
    double = FunctionTransformer(inverse_func=_to_double)
    return Pipeline([("scale", StandardScaler()), ("precision", double)])


def _to_double(X):
    return X.astype(np.float64)


# -- which columns are of which kind: masks, since a label may be a number ----------------


def _columns(X):
    """Return the columns of a frame, or of an array, as a list."""
    is_frame = _is_frame(X)
    if X.ndim != 2:
        raise ValueError(
            f"Expected a table of rows and columns, got {X.ndim} dimension(s) of shape "
            f"{X.shape}. Give a single column as a DataFrame, or reshape(-1, 1) an array."
        )
    return [X.iloc[:, j] if is_frame else X[:, j] for j in range(X.shape[1])]


def _is_frame(X):
    """Return whether a table is a frame, and not an array."""
    if issparse(X):
        raise TypeError("X must be dense, got a sparse matrix. Give X.toarray().")
    is_frame = hasattr(X, "iloc")
    if not (is_frame or isinstance(X, np.ndarray)):
        kind = type(X)
        way_out = "X.to_pandas()" if hasattr(X, "to_pandas") else "numpy.asarray(X)"
        raise TypeError(
            f"X must be a DataFrame of pandas or an array of numpy, got a {kind.__name__} "
            f"of {kind.__module__.partition('.')[0]}. Give {way_out}."
        )
    return is_frame


def _is_numeric(column):
    if hasattr(column, "iloc"):
        return column.dtype.kind in "iufMm"  # pandas' own dtypes have a kind too
    return column.dtype.kind != "b"


def _is_binary(column):
    if _is_numeric(column):
        return False
    if hasattr(column, "iloc"):
        return _n_values(column) + column.isna().any() == 2
    return len(np.unique(column)) == 2


def _n_values(column):
    """Return how many values a column of a frame has, missing ones aside."""
    try:
        return column.nunique()
    except TypeError as error:  # it has no hash
        kinds = {type(value).__name__: None for value in column[column.notna()]}
        raise TypeError(
            f"column {column.name!r} of X must hold numbers, dates, booleans or words, got "
            f"{', '.join(kinds)}. Give every element a column of its own, or leave the "
            "column out."
        ) from error


def _numeric_columns(X):
    return np.array([_is_numeric(column) for column in _columns(X)], dtype=bool)


def _binary_columns(X):
    return np.array([_is_binary(column) for column in _columns(X)], dtype=bool)


def _categorical_columns(X):
    return ~_numeric_columns(X) & ~_binary_columns(X)


# -- what scikit-learn's transformers cannot read ------------------------------------------


def _numbers(X):
    """Return a frame as an array of floats: dates in days, missing values as NaN."""
    if not _is_frame(X):
        return _within_reach(X)
    return np.column_stack([_floats(column) for column in _columns(X)])


def _floats(column):
    kind = column.dtype.kind
    if kind in "Mm":
        values = column.to_numpy(dtype=f"{kind}8[us]")
        since = values - np.datetime64(0, "us") if kind == "M" else values
        return since / np.timedelta64(1, "D")
    dtype = np.float32 if column.dtype == np.float32 else np.float64
    return _within_reach(column.to_numpy(dtype=dtype, na_value=np.nan))


def _within_reach(values):
    """Return finite values no larger than can be squared."""
    if values.dtype != np.float64 or not (np.abs(values) > LARGEST).any():
        return values
    return np.where(np.isinf(values), values, np.clip(values, -LARGEST, LARGEST))


def _text(X):
    """Return an array of words, with one for missing values."""
    if not _is_frame(X):
        return X.astype(str).astype(object)
    return np.array([_words(column) for column in _columns(X)], dtype=object).T


def _words(column):
    missing = column.isna().to_numpy()
    values = column.to_numpy(dtype=object)
    return [
        MISSING if is_missing else _word(value)
        for value, is_missing in zip(values, missing, strict=True)
    ]


def _word(value):
    # pandas turns integers into floats beside a missing value: 3 and 3.0 are one category
    is_whole = isinstance(value, float | np.floating) and value.is_integer()
    return str(int(value) if is_whole else value)


def _soft_clip(X):
    """Return X within (-3, 3), hardly changed near 0."""
    return X / np.hypot(1, X / CLIP)  # the root of 1 + (X / 3)**2 would overflow
