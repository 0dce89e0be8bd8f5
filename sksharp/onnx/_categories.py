"""Columns of categories: words, and their encoders."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._jobs import Array
from ..preprocessing._values import MISSING, as_word
from ._graph import (
    BOOL,
    DOUBLE,
    SINGLE,
    STRING,
    DType,
    Graph,
    columns,
    dtype_of,
    merge,
    n_columns,
    tensor_type,
)
from ._imputer import is_missing


def shape_words(operator: Any) -> None:
    """Set the type of the output of a WordReader."""
    kinds = {dtype_of(variable) for variable in operator.inputs}
    if not kinds <= {STRING, BOOL}:
        raise ValueError(
            "X must have strings or booleans where tabular_pipeline found categories, got "
            "numbers. Give X as a DataFrame, as in the fit."
        )
    operator.outputs[0].type = tensor_type(STRING, n_columns(operator))


def convert_words(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a WordReader."""
    # which make_inputs spells
    merge(Graph(scope, container), operator, STRING, to=operator.outputs[0].full_name)


def shape_one_hot(operator: Any) -> None:
    """Set the type of the output of a OneHotEncoder."""
    encoder = operator.raw_operator
    width = sum(_one_hot(encoder, j)[0].shape[1] for j in _features(encoder))
    operator.outputs[0].type = tensor_type(encoder.dtype, width)


def convert_one_hot(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a OneHotEncoder."""
    graph, encoder = Graph(scope, container), operator.raw_operator
    dtype = np.dtype(encoder.dtype)
    parts = []
    for j, column in zip(_features(encoder), columns(graph, operator), strict=True):
        of_known, of_unknown = _one_hot(encoder, j)
        is_category, is_known = _compare(graph, encoder, j, *column)
        # sums of products with one 1: exact
        codes = graph("MatMul", is_category, graph.constant(of_known, SINGLE))
        known = graph.cast(is_known, SINGLE, BOOL)
        unknown = graph.constant(of_unknown, SINGLE)
        codes = graph("Where", known, codes, unknown)
        parts.append(graph.cast(codes, SINGLE, dtype))
    graph.concat(parts, to=operator.outputs[0].full_name)


def shape_ordinal(operator: Any) -> None:
    """Set the type of the output of an OrdinalEncoder."""
    encoder = operator.raw_operator
    operator.outputs[0].type = tensor_type(encoder.dtype, len(encoder.categories_))


def convert_ordinal(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of an OrdinalEncoder."""
    graph, encoder = Graph(scope, container), operator.raw_operator
    dtype = np.dtype(encoder.dtype)
    parts = []
    for j, column in zip(_features(encoder), columns(graph, operator), strict=True):
        codes = _codes(encoder, j, counts_missing=False).astype(dtype)
        if is_missing(encoder.categories_[j][-1]):
            codes[-1] = encoder.encoded_missing_value
        is_category, is_known = _compare(graph, encoder, j, *column)
        index = graph("ArgMax", is_category, axis=1, keepdims=1)
        code = graph("Gather", graph.constant(codes), index, axis=0)
        if encoder.handle_unknown == "use_encoded_value":
            known = graph.cast(is_known, SINGLE, BOOL)
            unknown = graph.constant([encoder.unknown_value], dtype)
            code = graph("Where", known, code, unknown)
        parts.append(code)
    graph.concat(parts, to=operator.outputs[0].full_name)


def _features(encoder: Any) -> range:
    return range(len(encoder.categories_))


def _compare(
    graph: Graph, encoder: Any, j: int, name: str, dtype: DType
) -> tuple[str, str]:
    """Return indicators of the categories of feature ``j``, and of any of them."""
    categories = encoder.categories_[j]
    is_nan = None
    if dtype == STRING:
        words = [*map(as_word, categories.tolist())]
        if len({*words}) < len(words):
            raise ValueError(
                f"categories of {type(encoder).__name__} must differ as words, where a "
                f"missing value is {MISSING!r}, got {words}. Fill the missing values "
                "before."
            )
        is_category = graph("Equal", name, graph.constant([words], STRING))
    else:
        try:
            values = np.asarray(categories, dtype=DOUBLE)
        except ValueError:
            raise ValueError(
                f"X must have strings for the categories {categories.tolist()} of "
                f"{type(encoder).__name__}, got numbers."
            ) from None
        rows = graph.cast(name, dtype, DOUBLE)
        is_category = graph("Equal", rows, graph.constant([values]))
        if np.isnan(values).any():
            is_nan = graph("IsNaN", rows)
            missing = graph.constant([np.isnan(values)])
            is_category = graph("Or", is_category, graph("And", is_nan, missing))
    is_category = graph.cast(is_category, BOOL, SINGLE)
    is_known = graph(
        "ReduceMax", is_category, graph.constant([1], np.int64), keepdims=1
    )
    return is_category, is_known


def _codes(encoder: Any, j: int, *, counts_missing: bool = True) -> Array:
    """Return the code of every category; the infrequent ones share the last code.

    A missing value has a code of its own in OneHotEncoder, and none in OrdinalEncoder.
    """
    categories = encoder.categories_[j].tolist()
    rare = _infrequent(encoder, j)
    has_rare_gap = not counts_missing or any(is_missing(value) for value in rare)
    is_rare = np.array(
        [has_rare_gap if is_missing(value) else value in rare for value in categories]
    )
    return np.where(is_rare, (~is_rare).sum(), np.cumsum(~is_rare) - 1)


def _infrequent(encoder: Any, j: int) -> list[Any]:
    infrequent = getattr(encoder, "infrequent_categories_", None)
    if infrequent is None or infrequent[j] is None:
        return []
    values: list[Any] = infrequent[j].tolist()
    return values


def _one_hot(encoder: Any, j: int) -> tuple[Array, Array]:
    """Return the rows that encode the categories, and the row of an unknown value."""
    positions = _codes(encoder, j)
    codes = np.eye(positions.max() + 1)
    takes_rare = encoder.handle_unknown in ("infrequent_if_exist", "warn")
    unknown = (
        codes[-1] if takes_rare and _infrequent(encoder, j) else np.zeros(len(codes))
    )
    of_known = codes[positions]
    drop = encoder.drop_idx_
    if drop is not None and drop[j] is not None:
        of_known, unknown = (
            np.delete(code, positions[drop[j]], axis=-1) for code in (of_known, unknown)
        )
    return of_known, unknown[None]
