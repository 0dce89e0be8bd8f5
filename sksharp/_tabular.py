"""From a table as it is to the numbers that a network trains well on."""

import sys
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
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
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from ._columns import (
    FEW,
    FLAG,
    MISSING,
    NUMERIC,
    coded_words,
    columns_of,
    is_mostly_unique,
    is_text,
    kind_of,
    library_of,
    markers_of,
    numbers,
    words,
)
from ._misread import misread, quoted
from ._pickles import VersionStamp
from ._warnings import warn
from .exceptions import ColumnWarning

CLIP = 3.0
BLOCK = 2**11  # rows that are encoded at a time
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
        # one after the other: all ramps together are many times as large as X
        means = [
            self._ramps(X, j).mean(axis=0, dtype=np.float64) for j in range(X.shape[1])
        ]
        self.means_ = np.concatenate(means)
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

    def _ramps(self, X, feature=None):
        """Return the ramps of height 1 of all features or of one."""
        n_ramps = self._n_ramps()
        features = range(len(n_ramps)) if feature is None else [feature]
        pairs = [(self.knots_[j], n_ramps[j]) for j in features]
        lower = np.concatenate([knots[:n] for knots, n in pairs])
        width = np.concatenate([np.diff(knots)[:n] for knots, n in pairs])
        ramps = X[:, np.repeat(features, [n for _, n in pairs])]
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

    The pipeline takes a frame of pandas or polars or a table of pyarrow, with numbers,
    dates, booleans, words, categories and missing values, or an array of numbers, dates or
    booleans. ``fit`` reads from the values of a column what it holds, and later columns of
    that name are read as that, however either is stored:

    - **numeric**: numbers, dates and durations (in days), and columns without any value.
      A missing value becomes the median, and a column of its own tells of it. The value
      is standardized and softly clipped, ``z / sqrt(1 + (z / 3)**2)``; beside it stand
      the ramps of :class:`PiecewiseLinearEncoder`, of height 0.5 and centered. Infinite
      values are an error.
    - **binary**: any other column with two values, one of which may be "missing". It
      becomes 0 and 1, in the order of their names; a value that is new at prediction
      becomes the mean of the training rows, and is named in a warning.
    - **categorical**: the rest, one-hot. Missing is a category. Of many categories the
      rare ones share a column. A new one goes to that column, or is all zeros if there
      is none.

    Text of numbers, dates or durations is read as these, and "?", "-", "unknown" and the
    like among them as missing values. Whole numbers that are text are categories where at
    most 32 repeat.

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
        columns as they are stored, missing values included.

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
        weights of the rows are given to ``fit`` as ``model__sample_weight``, or by
        scikit-learn's metadata routing. ``y_val`` is transformed like the target.

    Warns
    -----
    sksharp.exceptions.ColumnWarning
        In ``fit``, by name, of columns of text that are read as numbers, dates or
        durations; of those that are read as words because some values ("$18", "12%") or
        all are not written as such; and of those with more than 32 words, and more words
        than half the rows, as a name or a key has. Categories that were declared, and
        whole numbers that are read as categories, do not warn.

        In ``predict``, of new words of a binary column, and of a categorical column that
        holds several new words and none of the fit, or words that differ from those of
        the fit in case or spaces alone. Another new category does not warn.

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
    from ._compose import TableTransformer  # scikit-learn's compose, with svm and more

    _check_is_estimator(estimator)
    columns = TableTransformer(
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


def _check_is_estimator(estimator):
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise TypeError(
            "estimator must be a classifier or a regressor, got "
            f"estimator={estimator!r}. Pass an object with fit and predict, such as "
            "SAMMLPClassifier()."
        )


def _to_single(X):
    return _cast(X, np.float32)


def _cast(X, dtype):
    """Return an array or a frame of numbers in a dtype."""
    if isinstance(X, np.ndarray):
        return X.astype(dtype, copy=False)
    if library_of(X) == "polars":
        return X.cast(getattr(sys.modules["polars"], np.dtype(dtype).name.title()))
    return X.astype(dtype)


def _or_default(transformer, make_default, *args):
    return make_default(*args) if transformer is None else transformer


def _numeric(n_bins):
    from sklearn.impute import SimpleImputer

    scale = [
        # not RobustScaler: it leaves a column that is mostly zeros unscaled
        ("standardize", Standardizer()),
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
            ("numbers", NumberReader()),
            ("impute", impute),
            # the ramps are many: not first in double precision and then in single
            ("encode", BlockUnion(encode, dtype=np.float32)),
        ]
    )


def _binary():
    from sklearn.impute import SimpleImputer

    # not OneHotEncoder(drop='if_binary'): a new value would silently be the first one
    encode = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float32
    )
    return Pipeline(
        [
            ("text", WordReader()),
            ("encode", encode),
            ("impute", SimpleImputer(strategy="mean")),
        ]
    )


def _categorical(max_categories):
    encode = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=max_categories,
        sparse_output=False,
        dtype=np.float32,
    )
    return Pipeline(
        [
            ("text", WordReader()),
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
    from ._compose import TargetRegressor

    # the check takes the rounding of single precision near zero for an error
    return TargetRegressor(estimator, transformer=target, check_inverse=not is_default)


def _target():
    # a network's single precision is that of the scaled target, not of the target
    double = FunctionTransformer(inverse_func=_to_double)
    return Pipeline([("scale", StandardScaler()), ("precision", double)])


def _to_double(X):
    return X.astype(np.float64)


# -- which columns are of which kind: masks, since a label may be a number ----------------


def _numeric_columns(X):
    return _mask(X, "numeric")


def _binary_columns(X):
    return _mask(X, "binary")


def _categorical_columns(X):
    return _mask(X, "categorical")


def _mask(X, part):
    columns = columns_of(X)
    kinds = _kinds(X, columns)
    parts = [_part(*pair) for pair in zip(columns, kinds, strict=True)]
    return np.array(parts, dtype=object) == part


def _part(column, kind):
    if kind in NUMERIC:
        return "numeric"
    return "binary" if len({*words(column, kind)}) == 2 else "categorical"


def _kinds(X, columns):
    """Return what each column of a table holds."""
    kinds = [kind_of(column) for column in columns]
    if library_of(X) == "numpy":
        for column, kind in zip(columns, kinds, strict=True):
            if kind not in NUMERIC and kind != FLAG:
                raise ValueError(
                    "X must hold numbers, dates or booleans where it is an array, got "
                    f"non-numeric data in column {column.name}. Give a DataFrame."
                )
    return kinds


# -- what scikit-learn's transformers cannot read ------------------------------------------


class _Reader(OneToOneFeatureMixin, VersionStamp, TransformerMixin, BaseEstimator):
    """Reads columns of a table as what they held in the fit, however they are stored."""

    def fit(self, X, y=None):
        """Find out what the columns hold.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Columns of the fit.

        y : None
            Ignored.

        Returns
        -------
        self : _Reader
            The fitted reader.
        """
        validate_data(self, X, skip_check_array=True)
        columns = columns_of(X)
        self.kinds_ = _kinds(X, columns)
        self._warn(columns)
        return self

    def transform(self, X):
        """Read the columns.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            The same columns.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features)
            Their values.
        """
        check_is_fitted(self)
        pairs = zip(columns_of(X), self.kinds_, strict=True)
        return np.column_stack([self._read(*pair) for pair in pairs])


class NumberReader(_Reader):
    """Reads columns as floats: dates and durations in days, missing values as NaN."""

    def _read(self, column, kind):
        return _within_reach(numbers(column, kind))

    def _warn(self, columns):
        named, markers = {}, {}
        for column, kind in zip(columns, self.kinds_, strict=True):
            if is_text(column):
                named.setdefault(kind, []).append(column.name)
                markers.setdefault(kind, {}).update(dict.fromkeys(markers_of(column)))
        for kind, names in named.items():
            gaps = ", ".join(map(repr, markers[kind]))
            warn(
                f"columns {names} of X hold {kind}s as text. They are read as {kind}s"
                f"{gaps and f', and {gaps} as missing'}. Convert them to {kind}s, or to "
                "categories if they are names: astype('category').",
                ColumnWarning,
            )


class WordReader(_Reader):
    """Reads columns as words, with one for missing values."""

    def transform(self, X):
        """Read the columns, and warn of words that seem to be others of the fit.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            The same columns.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features)
            Their words.
        """
        check_is_fitted(self)
        columns = columns_of(X)
        coded = [*map(coded_words, columns, self.kinds_)]
        others = {}
        for column, kind, (found, _), known in zip(
            columns, self.kinds_, coded, self.words_, strict=True
        ):
            unexpected = _unexpected({*found[:-1]} - {MISSING}, known, kind)
            if unexpected:
                others[column.name] = quoted(sorted(unexpected)), quoted(sorted(known))
        if others:
            told = "; ".join(
                f"{new} in {name!r}, where the fit had {old}"
                for name, (new, old) in others.items()
            )
            warn(
                f"columns {[*others]} of X hold words that the fit had not: {told}. They "
                "tell the model nothing. Where they mean the same, write them as in the "
                "fit.",
                ColumnWarning,
            )
        return np.column_stack([found[codes] for found, codes in coded])

    def _warn(self, columns):
        coded = map(coded_words, columns, self.kinds_)
        self.words_ = [{*found[np.unique(codes)]} for found, codes in coded]
        names = [
            column.name
            for column, kind in zip(columns, self.kinds_, strict=True)
            if is_mostly_unique(words(column, kind)) and misread(column, kind) is None
        ]
        if names:
            warn(
                f"columns {names} of X have more than {FEW} words, and more words than "
                "half the rows, as a name or a key has. A network learns nothing from such "
                "a column. Leave it out, or make numbers or fewer categories of it.",
                ColumnWarning,
            )


def _unexpected(found, known, kind):
    """Return the new words of a column that are not just a category more."""
    new = found - known
    if kind == FLAG or len(known) == 2 or (new == found and len(new) > 1):
        return new
    spelled = {word.strip().casefold() for word in known}
    return {word for word in new if word.strip().casefold() in spelled}


def _within_reach(values):
    """Return finite values no larger than can be squared."""
    if values.dtype != np.float64 or not (np.abs(values) > LARGEST).any():
        return values
    return np.where(np.isinf(values), values, np.clip(values, -LARGEST, LARGEST))


class Standardizer(StandardScaler):
    """A StandardScaler that asks for no weights of the rows where metadata is routed."""

    __metadata_request__fit = {"sample_weight": False}


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
        transformer_list,
        *,
        n_jobs=None,
        transformer_weights=None,
        verbose=False,
        verbose_feature_names_out=True,
        dtype=None,
    ):
        super().__init__(
            transformer_list,
            n_jobs=n_jobs,
            transformer_weights=transformer_weights,
            verbose=verbose,
            verbose_feature_names_out=verbose_feature_names_out,
        )
        self.dtype = dtype

    def fit_transform(self, X, y=None, **params):
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

    def transform(self, X, **params):
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
        if params or not isinstance(X, np.ndarray) or len(X) <= BLOCK:
            return self._cast(super().transform(X, **params))
        features = None
        for rows in gen_batches(len(X), BLOCK):
            block = self._cast(super().transform(X[rows]))
            if not isinstance(block, np.ndarray):
                return self._cast(super().transform(X))
            if features is None:
                features = np.empty((len(X), block.shape[1]), block.dtype)
            features[rows] = block
        return features

    def _cast(self, features):
        return features if self.dtype is None else _cast(features, self.dtype)


def _is_plain(part):
    """Return whether a transformer's ``fit_transform`` is ``fit`` and ``transform``."""
    if isinstance(part, Pipeline):
        return all(_is_plain(step) for _, step in part.steps)
    is_named = part is None or isinstance(part, str)
    return is_named or type(part).fit_transform is TransformerMixin.fit_transform


def _soft_clip(X):
    """Return X within (-3, 3), hardly changed near 0."""
    return X / np.hypot(1, X / CLIP)  # the root of 1 + (X / 3)**2 would overflow
