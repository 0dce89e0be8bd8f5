"""SimpleImputer, whose columns may be strings."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..preprocessing._values import MISSING
from ._graph import (
    BOOL,
    STRING,
    DType,
    Graph,
    common_dtype,
    float_dtype,
    merge,
    tensor_type,
)


def shape_imputer(operator: Any) -> None:
    """Set the type of the output of a SimpleImputer."""
    imputer = operator.raw_operator
    n_kept, flagged = len(_kept(imputer)), _flagged(imputer)
    operator.outputs[0].type = tensor_type(
        _imputer_dtype(operator), n_kept + len(flagged)
    )


def convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a SimpleImputer."""
    graph, imputer = Graph(scope, container), operator.raw_operator
    dtype = _imputer_dtype(operator)
    rows = merge(graph, operator, dtype)
    if dtype == STRING:
        word = imputer.missing_values
        missing_word = word if isinstance(word, str) else MISSING
        missing = graph("Equal", rows, graph.constant([missing_word], STRING))
        fill = np.array([str(value) for value in imputer.statistics_], dtype=object)
    else:
        if is_missing(imputer.missing_values):
            missing = graph("IsNaN", rows)
        else:
            value = graph.constant(imputer.missing_values, dtype)
            missing = graph("Equal", rows, value)
        fill = imputer.statistics_.astype(dtype)
    kept, flagged = _kept(imputer), _flagged(imputer)
    filled = graph("Where", missing, graph.constant(fill), rows)
    parts = [graph.pick(filled, kept)]
    if len(flagged):
        flags = graph.pick(missing, flagged)
        parts.append(graph.cast(flags, BOOL, dtype))
    graph.concat(parts, to=operator.outputs[0].full_name)


def _imputer_dtype(operator: Any) -> DType:
    return STRING if common_dtype(operator) == STRING else float_dtype(operator)


def _kept(imputer: Any) -> list[int]:
    """Return the columns that had a value in training, all if empty ones are kept."""
    return [
        j
        for j, value in enumerate(imputer.statistics_)
        if imputer.keep_empty_features or not is_missing(value)
    ]


def _flagged(imputer: Any) -> Any:
    """Return the columns with an indicator of missing values."""
    return imputer.indicator_.features_ if imputer.add_indicator else []


def is_missing(value: Any) -> bool:
    """Return whether a category or a statistic is missing."""
    if value is None or type(value).__name__ == "NAType":  # pandas', which has no truth
        return True
    return isinstance(value, float) and bool(np.isnan(value))
