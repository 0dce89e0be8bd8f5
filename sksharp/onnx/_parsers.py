"""skl2onnx's plan of a model: which outputs are the inputs of which step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from skl2onnx._parse import _parse_sklearn
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
)

from ..preprocessing._compose import (
    BlockUnion,
    Standardizer,
    TableTransformer,
    TargetRegressor,
)
from ..preprocessing._piecewise_linear import PiecewiseLinearEncoder
from ..preprocessing._readers import NumberReader, WordReader
from ._graph import DType, Graph, common_dtype, dtype_of, merge, n_columns, tensor_type


class Pick:
    """Step that selects columns of a matrix."""

    def __init__(self, indices: Iterable[int]) -> None:
        self.indices = list(indices)


class Merge:
    """Step that concatenates matrices, in a dtype or in that which numpy would choose."""

    def __init__(self, dtype: DTypeLike | None = None) -> None:
        self.dtype = dtype

    def dtype_of(self, operator: Any) -> DType:
        """Return the dtype of the output."""
        return common_dtype(operator) if self.dtype is None else np.dtype(self.dtype)


def shape_pick(operator: Any) -> None:
    """Set the type of the output of a :class:`Pick`."""
    operator.outputs[0].type = tensor_type(
        dtype_of(operator.inputs[0]), len(operator.raw_operator.indices)
    )


def convert_pick(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a :class:`Pick`."""
    (matrix,), (output,) = operator.inputs, operator.outputs
    Graph(scope, container).pick(
        matrix.full_name, operator.raw_operator.indices, to=output.full_name
    )


def shape_merge(operator: Any) -> None:
    """Set the type of the output of a :class:`Merge`."""
    dtype = operator.raw_operator.dtype_of(operator)
    operator.outputs[0].type = tensor_type(dtype, n_columns(operator))


def convert_merge(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a :class:`Merge`."""
    merge(
        Graph(scope, container),
        operator,
        operator.raw_operator.dtype_of(operator),
        to=operator.outputs[0].full_name,
    )


def declare(
    scope: Any, step: Any, inputs: list[Any], name: str = "variable"
) -> list[Any]:
    """Add a step to skl2onnx's plan of the model, and return its output."""
    operator = scope.declare_local_operator(None, step)
    operator.inputs = inputs
    operator.outputs.append(
        scope.declare_local_variable(name, tensor_type(np.float64, None))
    )
    outputs: list[Any] = operator.outputs
    return outputs


def parse_pipeline(
    scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None
) -> list[Any]:
    """Plan the steps of a Pipeline, and return their outputs."""
    for _, step in model.steps:
        if step is not None and step != "passthrough":
            inputs = _parse(scope, step, inputs, custom_parsers)
    return inputs


def parse_union(
    scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None
) -> list[Any]:
    """Plan the parts of a FeatureUnion, and return their merged output."""
    _refuse_weights(model)
    parts = []
    for _, step in model.transformer_list:
        if step == "passthrough":
            parts.extend(inputs)
        elif step != "drop":
            parts.extend(_parse(scope, step, inputs, custom_parsers))
    return declare(scope, Merge(getattr(model, "dtype", None)), parts)


def parse_columns(
    scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None
) -> list[Any]:
    """Plan the parts of a ColumnTransformer, and return their merged output."""
    _refuse_weights(model)
    parts = []
    for name, step, _ in model.transformers_:
        # indices, whatever names, masks or functions selected them
        indices = model._transformer_to_input_indices[name]
        if len(indices) == 0 or (isinstance(step, str) and step == "drop"):
            continue
        if len(inputs) == 1:
            chosen = declare(scope, Pick(indices), inputs)
        else:
            chosen = [inputs[index] for index in indices]
        if isinstance(step, str):
            parts.extend(chosen)
        else:
            parts.extend(_parse(scope, step, chosen, custom_parsers))
    return declare(scope, Merge(), parts)


def parse_target(
    scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None
) -> list[Any]:
    """Plan a TransformedTargetRegressor, and return its output."""
    outputs = _parse(scope, model.regressor_, inputs, custom_parsers)
    return declare(scope, model, outputs, "target")


def parse_step(
    scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None
) -> list[Any]:
    """Plan a single step, and return its output."""
    return declare(scope, model, inputs)


def _parse(scope: Any, step: Any, inputs: list[Any], custom_parsers: Any) -> list[Any]:
    if len(inputs) > 1 and type(step) not in PARSERS:
        inputs = declare(scope, Merge(), inputs)
    outputs: list[Any] = _parse_sklearn(
        scope, step, inputs, custom_parsers=custom_parsers
    )
    return outputs


def _refuse_weights(model: Any) -> None:
    if model.transformer_weights is not None:
        raise ValueError(
            f"{type(model).__name__} must have transformer_weights=None, got "
            f"{model.transformer_weights}. Scale in a step of its own."
        )


PARSERS: dict[type, Callable[..., list[Any]]] = {
    Pipeline: parse_pipeline,
    FeatureUnion: parse_union,
    BlockUnion: parse_union,
    ColumnTransformer: parse_columns,
    TableTransformer: parse_columns,
    TransformedTargetRegressor: parse_target,
    TargetRegressor: parse_target,
    **{
        Step: parse_step
        for Step in (
            FunctionTransformer,
            NumberReader,
            OneHotEncoder,
            OrdinalEncoder,
            PiecewiseLinearEncoder,
            SimpleImputer,
            SplineTransformer,
            Standardizer,
            WordReader,
        )
    },
}
