"""Columns of numbers: reading, scaling, ramps and splines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..preprocessing import _functions
from ..preprocessing._values import NOTHING
from ._graph import (
    BOOL,
    DOUBLE,
    Graph,
    columns,
    float_dtype,
    merge,
    n_columns,
    tensor_type,
)


def shape_numbers(operator: Any) -> None:
    """Set the type of the output of a NumberReader."""
    operator.outputs[0].type = tensor_type(float_dtype(operator), n_columns(operator))


def convert_numbers(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a NumberReader."""
    graph, dtype = Graph(scope, container), float_dtype(operator)
    rows = merge(graph, operator, dtype)
    if dtype == np.float64:
        bounds = [-_functions.MAX_MAGNITUDE, _functions.MAX_MAGNITUDE]
        rows = graph("Clip", rows, *(graph.constant(b, dtype) for b in bounds))
    had_none = np.array([[kind == NOTHING for kind in operator.raw_operator.kinds_]])
    if had_none.any():
        gap = graph.constant(np.nan, dtype)
        rows = graph("Where", graph.constant(had_none), gap, rows)
    graph("Identity", rows, to=operator.outputs[0].full_name)


def shape_standardizer(operator: Any) -> None:
    """Set the type of the output of a StandardScaler without row weights."""
    operator.outputs[0].type = tensor_type(float_dtype(operator), n_columns(operator))


def convert_standardizer(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a StandardScaler without row weights."""
    graph, scaler = Graph(scope, container), operator.raw_operator
    dtype = float_dtype(operator)
    rows = merge(graph, operator, dtype)
    if scaler.with_mean:
        rows = graph("Sub", rows, graph.constant(scaler.mean_, dtype))
    if scaler.with_std:
        rows = graph("Div", rows, graph.constant(scaler.scale_, dtype))
    graph("Identity", rows, to=operator.outputs[0].full_name)


def shape_ramps(operator: Any) -> None:
    """Set the type of the output of a PiecewiseLinearEncoder."""
    encoder = operator.raw_operator
    operator.outputs[0].type = tensor_type(
        float_dtype(operator), sum(encoder._n_ramps())
    )


def convert_ramps(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a PiecewiseLinearEncoder."""
    graph, encoder = Graph(scope, container), operator.raw_operator
    dtype = float_dtype(operator)
    rows = merge(graph, operator, dtype)
    lower, width, features = encoder._bins(range(len(encoder.knots_)))
    ramps = graph("Sub", graph.pick(rows, features), graph.constant(lower, dtype))
    ramps = graph("Div", ramps, graph.constant(width, dtype))
    bounds = [graph.constant(bound, dtype) for bound in (0, 1)]
    ramps = graph("Clip", ramps, *bounds)
    if encoder.center:
        ramps = graph("Sub", ramps, graph.constant(encoder.means_, dtype))
    # one for every ramp: onnxruntime rounds a single one to float32 to fuse it
    height = graph.constant(np.full(len(features), encoder.height), dtype)
    graph("Mul", ramps, height, to=operator.outputs[0].full_name)


def shape_splines(operator: Any) -> None:
    """Set the type of the output of a SplineTransformer."""
    operator.outputs[0].type = tensor_type(
        float_dtype(operator), operator.raw_operator.n_features_out_
    )


def convert_splines(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a SplineTransformer."""
    graph, encoder = Graph(scope, container), operator.raw_operator
    dtype = float_dtype(operator)
    parts = [
        graph.cast(
            _splines(graph, graph.cast(name, before, DOUBLE), encoder, spline),
            DOUBLE,
            dtype,
        )
        for (name, before), spline in zip(
            columns(graph, operator), encoder.bsplines_, strict=True
        )
    ]
    graph.concat(parts, to=operator.outputs[0].full_name)


def _splines(graph: Graph, rows: str, encoder: Any, spline: Any) -> str:
    """Add the splines of a feature, as polynomials between the knots."""
    degree = encoder.degree
    knots = spline.t[degree : len(spline.t) - degree]
    low, high = (graph.constant([[knot]]) for knot in knots[[0, -1]])
    inside = rows
    if encoder.extrapolation == "periodic":
        length = graph.constant(knots[-1] - knots[0])
        periods = graph("Floor", graph("Div", graph("Sub", rows, low), length))
        inside = graph("Sub", rows, graph("Mul", periods, length))
    elif encoder.extrapolation != "continue":
        inside = graph("Max", low, graph("Min", high, rows))
    # the last knot belongs to the last interval
    ends = graph.constant([np.append(knots[1:-1], np.inf)])
    is_behind = graph("GreaterOrEqual", inside, ends)
    counts = graph.cast(is_behind, BOOL, np.dtype(np.int64))
    interval = graph("ReduceSum", counts, graph.constant([1], np.int64), keepdims=0)
    starts = knots[:-1]
    from_start = graph(
        "Sub", inside, graph("Gather", graph.constant(starts[:, None]), interval)
    )
    n_splines = spline.c.shape[1] - (not encoder.include_bias)

    def derivative(order: int, at: Any) -> Any:
        return spline(at, nu=order)[..., :n_splines]

    values = ""
    for order in range(degree, -1, -1):
        table = derivative(order, starts) / math.factorial(order)
        coefs = graph("Gather", graph.constant(table), interval)
        if values:
            coefs = graph("Add", coefs, graph("Mul", values, from_start))
        values = coefs
    if encoder.extrapolation == "linear":
        for bound, at, side in ((low, knots[0], "Min"), (high, knots[-1], "Max")):
            beyond = graph(side, graph("Sub", rows, bound), graph.constant(0, DOUBLE))
            slope = graph.constant(derivative(1, at)[None])
            values = graph("Add", values, graph("Mul", beyond, slope))
    return values
