"""A pipeline from a raw table to an estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from .._jobs import Array
from ._functions import soft_clip, to_double, to_single
from ._kinds import words
from ._piecewise_linear import PiecewiseLinearEncoder
from ._readers import NumberReader, WordReader, kinds_of
from ._recommended import recommended_network
from ._tables import Column, Table, columns_of
from ._values import NUMERIC


def tabular_pipeline(
    estimator: Any,
    *,
    n_bins: int | Literal["auto"] = "auto",
    max_categories: int | None = 32,
    numeric: Any = None,
    binary: Any = None,
    categorical: Any = None,
    target: Any = None,
    **params: Any,
) -> Pipeline:
    """Build a pipeline that preprocesses a raw table for an estimator.

    ``tabular_pipeline("classifier")`` and ``tabular_pipeline("regressor")`` end in the
    networks that are recommended for tables.

    The pipeline takes a DataFrame of pandas or polars or a table of pyarrow, with
    numbers, dates, booleans, words, categories and missing values, or an array of
    numbers, dates or booleans. ``fit`` infers the kind of a column from its values.
    Later columns of the same name are read as that kind, in any dtype:

    - **numeric**: numbers, dates and durations (in days), and empty columns. A missing
      value becomes the median, and an indicator column marks it. The value is standardized
      and softly clipped, ``z / sqrt(1 + (z / 3)**2)``. The ramps of
      :class:`PiecewiseLinearEncoder`, of height 0.5 and centered, are further features.
      Infinite values are an error.
    - **binary**: any other column with two values, one of which may be "missing". It
      becomes 0 and 1, in the order of their names. A new value at prediction becomes the
      mean of the training rows, and a warning names it.
    - **categorical**: the rest, one-hot encoded. Missing is a category. If there are more
      than ``max_categories``, the rare ones share a column. A new category goes to that
      column, or becomes all zeros if there is none.

    Numbers, dates and durations stored as text are read as such, and "?", "-",
    "unknown" and the like among them as missing values. Whole numbers stored as text
    are categories if there are at most 32 and they repeat.

    The target of a regressor is standardized, and predictions are scaled back.

    Parameters
    ----------
    estimator : {'classifier', 'regressor'} or estimator
        Last step: an unfitted classifier or regressor, or the name of the recommended
        network, an ensemble of five (see Notes). 'classification' and 'regression' mean
        the same.

    n_bins : int or 'auto', default='auto'
        Number of bins of the piecewise-linear encoding; 'auto' chooses by the data (see
        :class:`PiecewiseLinearEncoder`). Only used when ``numeric`` is None.

    max_categories : int or None, default=32
        Largest number of columns per feature. None is no limit. Only used when
        ``categorical`` is None.

    numeric, binary, categorical : transformer, 'passthrough', 'drop' or None, \
default=None
        Transformer of the columns of a kind, instead of the above. It gets the columns
        as they are stored, missing values included.

    target : transformer, 'passthrough' or None, default=None
        Transformer of a regressor's target. None standardizes it, except when the
        ``loss`` of the estimator is 'poisson', whose targets must not be negative.
        'passthrough' leaves it as it is.

    **params : dict
        Parameters of the recommended network that replace the recommended ones, such as
        ``random_state=0``. Only with 'classifier' or 'regressor'.

    Returns
    -------
    pipeline : Pipeline
        With the steps 'columns' (a ``ColumnTransformer`` of 'numeric', 'binary' and
        'categorical'), 'precision' (which makes everything float32: a network trains in
        the dtype of its features) and 'model'. The model is the estimator, or a
        ``TransformedTargetRegressor`` around it, so a parameter of the estimator is
        ``model__rho`` or ``model__regressor__rho``. Pass weights of the rows to ``fit``
        as ``model__sample_weight``, or by scikit-learn's metadata routing. ``y_val`` is
        transformed like the target.

    Warns
    -----
    sksharp.exceptions.ColumnWarning
        In ``fit``, about columns, by name: text that is read as numbers, dates or
        durations; text that is read as words because some values ("$18", "12%") or all
        have another notation; more than 32 words, and more words than half the rows, as
        in a column of names or keys. Declared categories, and whole numbers that are
        read as categories, do not warn.

        In ``predict``, about new words of a binary column; of a categorical column with
        several new words and none of the fit; and words that differ from those of the
        fit only in case or spaces. Other new categories do not warn.

    See Also
    --------
    PiecewiseLinearEncoder : The encoding of the numeric columns.

    Notes
    -----
    The recommended network is an ensemble of five, each trained without a fifth of the
    rows, which chooses its best epoch and ends its training; their predictions are
    averaged. Each has two hidden layers of 128 units and is trained by AdamW (``rho=[0]``:
    one gradient a step) with dropout, a cosine schedule of the learning rate and an
    exponential average of the weights, for at most some 2,500 steps on small minibatches.
    The epochs of a classifier are judged by ``scoring='refined_loss'``.
    ``tabular_pipeline("classifier")[-1]`` shows all parameters; ``rho='auto'`` chooses a
    radius too.

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

    if isinstance(estimator, str):
        estimator = recommended_network(estimator, params)
    else:
        _check_is_estimator(estimator, params)
    columns = TableTransformer(
        [
            (
                "numeric",
                numeric_steps(n_bins) if numeric is None else numeric,
                select_numeric,
            ),
            ("binary", binary_steps() if binary is None else binary, select_binary),
            (
                "categorical",
                categorical_steps(max_categories)
                if categorical is None
                else categorical,
                select_categorical,
            ),
        ],
        sparse_threshold=0,
    )
    single = FunctionTransformer(to_single, feature_names_out="one-to-one")
    model = _with_target(estimator, target)
    return Pipeline([("columns", columns), ("precision", single), ("model", model)])


def _check_is_estimator(estimator: Any, params: Mapping[str, Any]) -> None:
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise TypeError(
            "estimator must be 'classifier', 'regressor' or an object with fit and "
            f"predict, such as SAMMLPClassifier(), got estimator={estimator!r}."
        )
    if params:
        names = ", ".join(params)
        raise TypeError(
            "Parameters of the network need estimator='classifier' or 'regressor', got "
            f"{names} with {type(estimator).__name__}. Set them on the estimator."
        )


def numeric_steps(n_bins: int | Literal["auto"]) -> Pipeline:
    """Return the default transformer of numeric columns."""
    from sklearn.impute import SimpleImputer

    from ._compose import BlockUnion, Standardizer

    scale = [
        # not RobustScaler: it leaves a column that is mostly zeros unscaled
        ("standardize", Standardizer()),
        ("clip", FunctionTransformer(soft_clip, feature_names_out="one-to-one")),
    ]
    # lower than the scaled feature: there is one of it, and many ramps
    bins = PiecewiseLinearEncoder(n_bins, height=0.5, center=True)
    encode = [("scale", Pipeline(scale)), ("bins", bins)]
    # an empty column is kept, as zeros, so that its indicator does not stand alone
    impute = SimpleImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    return Pipeline(
        [
            ("numbers", NumberReader()),
            ("impute", impute),
            # the ramps take much memory: never in double precision
            ("encode", BlockUnion(encode, dtype=np.float32)),
        ]
    )


def binary_steps() -> Pipeline:
    """Return the default transformer of binary columns."""
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


def categorical_steps(max_categories: int | None) -> Pipeline:
    """Return the default transformer of categorical columns."""
    encode = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=max_categories,
        sparse_output=False,
        dtype=np.float32,
    )
    return Pipeline([("text", WordReader()), ("encode", encode)])


def _with_target(estimator: Any, target: Any) -> Any:
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
        target = target_steps() if is_regressor(estimator) and has_scale else None
    if target is None or target == "passthrough":
        return estimator
    from ._compose import TargetRegressor

    # the check takes the rounding of single precision near zero for an error
    return TargetRegressor(estimator, transformer=target, check_inverse=not is_default)


def target_steps() -> Pipeline:
    """Return the default transformer of a regressor's target."""
    # a network's single precision is that of the scaled target, not of the target
    double = FunctionTransformer(inverse_func=to_double)
    return Pipeline([("scale", StandardScaler()), ("precision", double)])


# -- which columns are of which part: masks, since a label may be a number -----------------


def select_numeric(X: Table) -> Array:
    """Return which columns are numeric."""
    return _mask(X, "numeric")


def select_binary(X: Table) -> Array:
    """Return which columns are binary."""
    return _mask(X, "binary")


def select_categorical(X: Table) -> Array:
    """Return which columns are categorical."""
    return _mask(X, "categorical")


def _mask(X: Table, part: str) -> Array:
    columns = columns_of(X)
    kinds = kinds_of(X, columns)
    parts = [_part(*pair) for pair in zip(columns, kinds, strict=True)]
    mask: Array = np.array(parts, dtype=object) == part
    return mask


def _part(column: Column, kind: str) -> str:
    if kind in NUMERIC:
        return "numeric"
    return "binary" if len({*words(column, kind)}) == 2 else "categorical"
