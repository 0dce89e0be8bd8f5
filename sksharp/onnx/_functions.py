"""FunctionTransformer, for functions of numpy and of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..preprocessing import _functions
from ._graph import (
    SINGLE,
    DType,
    Graph,
    common_dtype,
    float_dtype,
    merge,
    n_columns,
    tensor_type,
)

# adds the nodes of a function of rows in a dtype, and returns the name of its values
Nodes: TypeAlias = Callable[[Graph, str, DType], str]


def shape_function(operator: Any) -> None:
    """Set the type of the output of a FunctionTransformer."""
    dtype, _ = _function(operator.raw_operator.func, operator)
    operator.outputs[0].type = tensor_type(dtype, n_columns(operator))


def convert_function(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a FunctionTransformer."""
    graph = Graph(scope, container)
    dtype, function = _function(operator.raw_operator.func, operator)
    rows = merge(graph, operator, dtype)
    output = rows if function is None else function(graph, rows, dtype)
    graph("Identity", output, to=operator.outputs[0].full_name)


def _function(function: Any, operator: Any) -> tuple[DType, Nodes | None]:
    """Return the dtype of a function's values and the nodes that compute them."""
    if function is None:
        return common_dtype(operator), None
    if function is _functions.to_single:
        return SINGLE, None
    if function in FUNCTIONS:
        return float_dtype(operator), FUNCTIONS[function]
    raise ValueError(
        "FunctionTransformer must have one of numpy's "
        f"{known_functions()} as its function to be converted, got {function!r}. "
        "Compute it before, on the way to X."
    )


def known_functions() -> list[str]:
    """Return the names of the functions of numpy that can be converted."""
    return sorted(known.__name__ for known in FUNCTIONS if isinstance(known, np.ufunc))


def _soft_clip(graph: Graph, rows: str, dtype: DType) -> str:
    one = graph.constant(1, dtype)
    size = graph("Abs", graph("Div", rows, graph.constant(_functions.CLIP, dtype)))
    larger, smaller = graph("Max", size, one), graph("Min", size, one)
    # as np.hypot: the square of a large number would overflow
    ratio = graph("Div", smaller, larger)
    root = graph("Sqrt", graph("Add", graph("Mul", ratio, ratio), one))
    return graph("Div", rows, graph("Mul", larger, root))


def _node(operation: str) -> Nodes:
    return lambda graph, rows, dtype: graph(operation, rows)


def _log1p(graph: Graph, rows: str, dtype: DType) -> str:
    return graph("Log", graph("Add", rows, graph.constant(1, dtype)))


def _expm1(graph: Graph, rows: str, dtype: DType) -> str:
    return graph("Sub", graph("Exp", rows), graph.constant(1, dtype))


def _square(graph: Graph, rows: str, dtype: DType) -> str:
    return graph("Mul", rows, rows)


FUNCTIONS: dict[Any, Nodes] = {
    np.abs: _node("Abs"),
    np.exp: _node("Exp"),
    np.expm1: _expm1,
    np.log: _node("Log"),
    np.log1p: _log1p,
    np.sqrt: _node("Sqrt"),
    np.square: _square,
    _functions.soft_clip: _soft_clip,
}
