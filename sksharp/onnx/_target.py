"""TransformedTargetRegressor, whose predictions are scaled back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

from ..preprocessing import _functions
from ._functions import FUNCTIONS, known_functions
from ._graph import DType, Graph, dtype_of, tensor_type


def shape_target(operator: Any, dtype: DTypeLike | None = None) -> None:
    """Set the type of the output of the inverse of a target's transformer."""
    (prediction,) = operator.inputs
    _, dtype = _inverse_steps(operator, dtype)
    operator.outputs[0].type = tensor_type(dtype, prediction.type.shape[1])


def convert_target(
    scope: Any, operator: Any, container: Any, dtype: DTypeLike | None = None
) -> None:
    """Add the nodes of the inverse of a target's transformer."""
    graph, (prediction,) = Graph(scope, container), operator.inputs
    output, before = prediction.full_name, dtype_of(prediction)
    steps, after = _inverse_steps(operator, dtype)
    output = graph.cast(output, before, after)
    for step in steps:
        output = _invert(graph, output, step, after)
    graph("Identity", output, to=operator.outputs[0].full_name)


def _inverse_steps(operator: Any, dtype: DTypeLike | None) -> tuple[list[Any], DType]:
    """Return the transformers of a target to invert, the last first, and the dtype."""
    steps = _last_first(operator.raw_operator.transformer_)
    is_double = any(
        getattr(step, "inverse_func", None) is _functions.to_double for step in steps
    )
    if not is_double:
        return steps, dtype_of(operator.inputs[0])
    return steps, np.dtype(np.float64 if dtype is None else dtype)


def _last_first(transformer: Any) -> list[Any]:
    if not isinstance(transformer, Pipeline):
        return [transformer]
    steps = [step for _, step in reversed(transformer.steps)]
    kept = [step for step in steps if step is not None and step != "passthrough"]
    return [part for step in kept for part in _last_first(step)]


def _invert(graph: Graph, values: str, transformer: Any, dtype: DType) -> str:
    """Add the inverse of a transformer of the target."""
    shift = scale = None
    match transformer:
        case FunctionTransformer(inverse_func=None | _functions.to_double):
            return values
        case FunctionTransformer(inverse_func=function) if function in FUNCTIONS:
            return FUNCTIONS[function](graph, values, dtype)
        case StandardScaler():
            shift, scale = transformer.mean_, transformer.scale_
            shift = shift if transformer.with_mean else None
        case RobustScaler():
            shift, scale = transformer.center_, transformer.scale_
        case MinMaxScaler():
            shift = -transformer.min_ / transformer.scale_
            scale = 1 / transformer.scale_
        case MaxAbsScaler():
            scale = transformer.scale_
        case _:
            raise ValueError(
                "the transformer of a TransformedTargetRegressor must be a scaler, or have "
                f"one of numpy's {known_functions()} as its inverse, to be converted, got "
                f"{transformer!r}."
            )
    if scale is not None:
        values = graph("Mul", values, graph.constant(scale, dtype))
    if shift is not None:
        values = graph("Add", values, graph.constant(shift, dtype))
    return values
