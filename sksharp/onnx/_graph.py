"""Nodes, constants and types of an ONNX graph, in numpy's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx.helper
import onnx.numpy_helper
from numpy.typing import DTypeLike
from skl2onnx.common import data_types

DType: TypeAlias = np.dtype[Any]

BOOL, SINGLE, DOUBLE = np.dtype(bool), np.dtype(np.float32), np.dtype(np.float64)
# strings are objects, as in scikit-learn
STRING = np.dtype(object)

TENSOR_TYPES: dict[DType, Any] = {
    BOOL: data_types.BooleanTensorType,
    np.dtype(np.int32): data_types.Int32TensorType,
    np.dtype(np.int64): data_types.Int64TensorType,
    SINGLE: data_types.FloatTensorType,
    DOUBLE: data_types.DoubleTensorType,
    STRING: data_types.StringTensorType,
}


class Graph:
    """Adds nodes to the model of a converter of skl2onnx.

    Parameters
    ----------
    scope : skl2onnx.common._topology.Scope
        Has the names that are taken.

    container : skl2onnx.common._container.ModelComponentContainer
        Takes the nodes.
    """

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container

    def __call__(
        self, operation: str, *inputs: str, to: str | None = None, **attributes: Any
    ) -> str:
        """Add a node and return the name of its output."""
        if to is None:
            to = self._new_name(operation.lower())
        name = self.scope.get_unique_operator_name(operation)
        self.container.add_node(operation, [*inputs], [to], name=name, **attributes)
        return to

    def _new_name(self, name: str) -> str:
        unique: str = self.scope.get_unique_variable_name(name)
        return unique

    def constant(self, values: Any, dtype: DTypeLike | None = None) -> str:
        """Add an array, of strings if its dtype is of objects, and return its name."""
        array = np.asarray(values, dtype)
        name = self._new_name("constant")
        if array.dtype == STRING:
            words = [word.encode() for word in array.ravel()]
            self.container.add_initializer(
                name, onnx.TensorProto.STRING, array.shape, words
            )
        else:
            tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
            tensor.dims[:] = array.shape
            self.container.add_initializer(name, None, None, tensor)
        return name

    def cast(
        self, name: str, before: DType, dtype: DTypeLike, to: str | None = None
    ) -> str:
        """Cast values to another dtype, and return their name."""
        if before == dtype:
            return name if to is None else self("Identity", name, to=to)
        if dtype == STRING and before.kind == "b":
            words = [self.constant([word], STRING) for word in ("True", "False")]
            return self("Where", name, *words, to=to)
        if to is None:
            to = self._new_name("cast")
        operator = self.scope.get_unique_operator_name("Cast")
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        # the attribute and the output would both be ``to`` in a call of this graph
        self.container.add_node("Cast", [name], [to], name=operator, to=kind)
        return to

    def pick(self, name: str, indices: Any, to: str | None = None) -> str:
        """Select columns of a matrix, and return their name."""
        return self("Gather", name, self.constant(indices, np.int64), axis=1, to=to)

    def concat(self, names: Sequence[str], to: str | None = None) -> str:
        """Concatenate matrices by columns, and return the name of the result."""
        if len(names) == 1:
            return names[0] if to is None else self("Identity", *names, to=to)
        return self("Concat", *names, axis=1, to=to)


def tensor_type(dtype: DTypeLike, n_columns: int | None = None) -> Any:
    """Return skl2onnx's type of a matrix, or of a vector if ``n_columns`` is None."""
    shape = [None] if n_columns is None else [None, n_columns]
    return TENSOR_TYPES[np.dtype(dtype)](shape)


def dtype_of(variable: Any) -> DType:
    """Return the dtype of a variable."""
    for dtype, Type in TENSOR_TYPES.items():
        if isinstance(variable.type, Type):
            return dtype
    raise ValueError(
        f"X must hold numbers, booleans or strings, got {variable.type} for "
        f"{variable.onnx_name!r}."
    )


def common_dtype(operator: Any) -> DType:
    """Return the dtype that numpy would give to the concatenated inputs."""
    dtypes = {dtype_of(variable) for variable in operator.inputs}
    if STRING in dtypes and len(dtypes) > 1:
        raise ValueError(
            f"columns of {_name(operator)} must all be strings or all be numbers, got "
            "both. Put them into two transformers of the ColumnTransformer."
        )
    return np.result_type(*dtypes)


def float_dtype(operator: Any) -> DType:
    """Return the dtype in which scikit-learn computes with the inputs."""
    dtype = common_dtype(operator)
    if dtype == STRING:
        raise ValueError(f"{_name(operator)} needs numbers, got strings.")
    return SINGLE if dtype == SINGLE else DOUBLE


def n_columns(operator: Any) -> int:
    """Return the number of columns of the inputs together."""
    return sum(variable.type.shape[1] for variable in operator.inputs)


def merge(graph: Graph, operator: Any, dtype: DTypeLike, to: str | None = None) -> str:
    """Concatenate the inputs in a dtype, and return the name of the result."""
    names = [
        graph.cast(variable.full_name, dtype_of(variable), dtype)
        for variable in operator.inputs
    ]
    return graph.concat(names, to=to)


def columns(graph: Graph, operator: Any) -> list[tuple[str, DType]]:
    """Return the name and the dtype of every column of the inputs."""
    return [
        (
            variable.full_name
            if variable.type.shape[1] == 1
            else graph.pick(variable.full_name, [j]),
            dtype_of(variable),
        )
        for variable in operator.inputs
        for j in range(variable.type.shape[1])
    ]


def _name(operator: Any) -> str:
    return type(operator.raw_operator).__name__
