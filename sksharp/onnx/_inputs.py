"""The inputs of an ONNX model: their types, and rows as their values."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import issparse
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing

from .._jobs import Array
from ..preprocessing._kinds import KIND_OF_DTYPE, numbers, words
from ..preprocessing._readers import NumberReader, WordReader
from ..preprocessing._tables import Column, as_table, columns_of, is_frame, names_of
from ..preprocessing._values import BOOLEAN, MISSING, NUMBER, NUMERIC, as_word
from ._import import import_package

DType: TypeAlias = np.dtype[Any]

# property of a model with the kinds of its columns in the fit
KINDS = "sksharp_columns"


def make_inputs(model: Any, X: Any) -> dict[str, Array]:
    """Return rows as an ONNX model of :func:`to_onnx` takes them.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.

    X : array-like of shape (n_samples, n_features)
        Rows as ``predict`` takes them, a DataFrame if the model has an input per column,
        a vector of strings if it takes texts.

    Returns
    -------
    inputs : dict of str to ndarray
        What ``onnxruntime.InferenceSession.run`` takes as its second argument.

    Raises
    ------
    ImportError
        If onnx is not installed.

    ValueError
        If ``X`` lacks a column.

    Examples
    --------
    >>> from sksharp import SAMMLPRegressor
    >>> from sksharp.onnx import make_inputs, to_onnx
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 4.0]
    >>> regr = SAMMLPRegressor(n_iter_no_change=2, tol=1, random_state=0).fit(X, y)
    >>> make_inputs(to_onnx(regr, X), X)
    {'X': array([[0.],
           [1.],
           [2.]])}
    """
    helper = import_package("onnx.helper")
    dtypes = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
    }
    if [*dtypes] == ["X"] and not _is_column(model.graph.input[0], X):
        return {"X": _matrix(X, dtypes["X"])}
    column_of = {
        value.name: value.doc_string or value.name for value in model.graph.input
    }
    names = [*column_of.values()]
    if not is_frame(X):
        raise ValueError(
            f"X must be a DataFrame with the columns {names}, got {type(X).__name__}."
        )
    columns = {str(column.name): column for column in columns_of(X)}
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(f"X must have the columns {names}, lacks {missing}.")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    kinds = json.loads(metadata.get(KINDS, "{}"))
    return {
        name: _values(columns[column], dtypes[name], kinds.get(column)).reshape(-1, 1)
        for name, column in column_of.items()
    }


# -- types ---------------------------------------------------------------------------------


def are_types(X: Any) -> bool:
    """Return whether X is a list of names and types instead of rows."""
    return isinstance(X, list) and all(
        isinstance(item, tuple) and len(item) == 2 and hasattr(item[1], "to_onnx_type")
        for item in X
    )


def in_order(estimator: Any, X: Any) -> Any:
    """Return the rows with the columns of the fit, in its order."""
    if _takes_text(estimator):
        return _as_texts(X)
    if issparse(X):
        X = X.tocsr()
    X = as_table(X) if is_frame(X) else X
    names = getattr(estimator, "feature_names_in_", None)
    if is_frame(X) and names is not None:
        have = names_of(X)
        missing = [name for name in names if name not in have]
        if missing:
            raise ValueError(f"X must have the columns of the fit, lacks {missing}.")
        X = _safe_indexing(X, [*names], axis=1)
    shape = X.shape if is_frame(X) else np.shape(X)
    if len(shape) != 2 or shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X must have rows of the {estimator.n_features_in_} features of the fit, got "
            f"an array of shape {shape}."
        )
    return X


def kinds_in_fit(estimator: Any) -> dict[str, str | None]:
    """Return the kinds of columns in the fit, by name; empty without our readers."""
    first = _first(estimator)
    names = getattr(estimator, "feature_names_in_", None)
    if not isinstance(first, ColumnTransformer):
        return {}
    if names is None:
        names = range(first.n_features_in_)
    kinds: dict[str, str | None] = dict.fromkeys(map(str, names))
    for name, part, _ in first.transformers_:
        reader = part.steps[0][1] if isinstance(part, Pipeline) else part
        if isinstance(reader, NumberReader | WordReader) and hasattr(reader, "kinds_"):
            indices = first._transformer_to_input_indices[name]
            for index, kind in zip(indices, reader.kinds_, strict=True):
                kinds[str(names[index])] = kind
    return kinds if any(kinds.values()) else {}


def input_types(
    estimator: Any, X: Any, dtype: DType | None, kinds: dict[str, str | None]
) -> list[tuple[str, Any]]:
    """Return the names and types of the inputs of the model."""
    from ._graph import tensor_type  # imports onnx

    if not is_frame(X):
        kind = X.dtype if hasattr(X, "dtype") else np.asarray(X).dtype
        width = np.shape(X)[1] if np.ndim(X) > 1 else 1
        return [("X", tensor_type(_array_dtype(kind, dtype), width))]
    columns = columns_of(X)
    if isinstance(_first(estimator), ColumnTransformer):
        return [
            (
                str(column.name),
                tensor_type(
                    _column_dtype(column, dtype, kinds.get(str(column.name))), 1
                ),
            )
            for column in columns
        ]
    found = {_column_dtype(column, dtype, None) for column in columns}
    kind = np.result_type(*found) if len(found) > 1 else found.pop()
    return [("X", tensor_type(_array_dtype(kind, dtype), np.shape(X)[1]))]


def _takes_text(estimator: Any) -> bool:
    """Return whether the first step takes texts, one after another and no matrix."""
    first = _first(estimator)
    while isinstance(first, FeatureUnion):
        first = _first(first.transformer_list[0][1])
    # in the function: it comes with much else
    from sklearn.feature_extraction.text import CountVectorizer

    return isinstance(first, CountVectorizer)


def _as_texts(X: Any) -> Array:
    """Return texts as a vector."""
    texts = np.asarray(X, dtype=object)
    if texts.ndim != 1 or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            "X must be a list, an array or a Series of strings, one for each row, as the "
            f"first step of the pipeline takes them, got {type(X).__name__} of shape "
            f"{texts.shape}. Give a column of a DataFrame as X['name']."
        )
    return texts


def _first(estimator: Any) -> Any:
    """Return the first step of an estimator."""
    first = estimator
    while isinstance(first, Pipeline | TransformedTargetRegressor):
        is_pipeline = isinstance(first, Pipeline)
        first = first.steps[0][1] if is_pipeline else first.regressor_
    return first


def _array_dtype(kind: DType, dtype: DType | None) -> DType:
    if kind.kind in "OUS":
        return np.dtype(object)
    if kind.kind not in "biuf":
        raise ValueError(
            f"X must hold numbers, booleans or strings, got dtype={kind}. Give dates as "
            "numbers of days, or X as a DataFrame to a ColumnTransformer."
        )
    if dtype is not None:
        return dtype
    return np.dtype(np.float32 if kind == np.float32 else np.float64)


def _stored_kind(column: Column) -> str | None:
    """Return what a column holds by its dtype, None for words."""
    if column.is_category:
        return None
    return KIND_OF_DTYPE.get(column.values().dtype.kind)


def _column_dtype(column: Column, dtype: DType | None, kind: str | None) -> DType:
    kind = _stored_kind(column) if kind is None else kind
    if kind == BOOLEAN:
        has_gap = (words(column, BOOLEAN) == MISSING).any()
        return np.dtype(object if has_gap else bool)
    if kind not in NUMERIC:
        return np.dtype(object)
    if kind != NUMBER:
        return np.dtype(np.float64)
    return _array_dtype(numbers(column, kind).dtype, dtype)


# -- values --------------------------------------------------------------------------------


def _is_column(value: Any, X: Any) -> bool:
    """Return whether the input 'X' is the column of that name, not a matrix."""
    width = value.type.tensor_type.shape.dim[1].dim_value
    is_table = is_frame(X) and len(X.shape) > 1
    return width == 1 and is_table and "X" in map(str, names_of(X))


def _matrix(X: Any, dtype: DType) -> Array:
    rows: Array = X.toarray() if issparse(X) else np.asarray(X)
    if dtype.kind != "O":
        return rows.astype(dtype)
    # None and NaN become words: ONNX has no missing strings
    found = [as_word(value) for value in rows.ravel().tolist()]
    # a vector of texts becomes a column
    shape = rows.shape if rows.ndim > 1 else (-1, 1)
    return np.array(found, dtype=object).reshape(shape)


def _values(column: Column, dtype: DType, kind: str | None) -> Array:
    kind = _stored_kind(column) if kind is None else kind
    if dtype.kind == "O":
        return words(column, kind)
    if dtype.kind != "b":
        return numbers(column, kind if kind in NUMERIC else NUMBER).astype(dtype)
    found = words(column, BOOLEAN)
    others = sorted({*found} - {"False", "True"})
    if others:
        raise ValueError(
            f"X must hold booleans in column {column.name!r}, as where the model was made, "
            f"got {', '.join(others)}. Make them booleans. For a model that takes missing "
            "ones too, give to_onnx rows of which one is missing."
        )
    is_true: Array = found == "True"
    return is_true
