"""Nodes, constants and types of an ONNX graph, in numpy's words."""

import numpy as np
import onnx.helper
import onnx.numpy_helper
from skl2onnx.common import data_types

# of strings, as numpy and as scikit-learn have them
STRING = np.dtype(object)

TENSOR_TYPES = {
    np.dtype(bool): data_types.BooleanTensorType,
    np.dtype(np.int32): data_types.Int32TensorType,
    np.dtype(np.int64): data_types.Int64TensorType,
    np.dtype(np.float32): data_types.FloatTensorType,
    np.dtype(np.float64): data_types.DoubleTensorType,
    STRING: data_types.StringTensorType,
}


class Graph:
    """Adds nodes to the model that a converter of skl2onnx is given.

    Parameters
    ----------
    scope : skl2onnx.common._topology.Scope
        Knows the names that are taken.

    container : skl2onnx.common._container.ModelComponentContainer
        Takes the nodes.
    """

    def __init__(self, scope, container):
        self.scope, self.container = scope, container

    def __call__(self, operation, *inputs, to=None, **attributes):
        """Add a node and return the name of its output."""
        if to is None:
            to = self.scope.get_unique_variable_name(operation.lower())
        name = self.scope.get_unique_operator_name(operation)
        self.container.add_node(operation, [*inputs], [to], name=name, **attributes)
        return to

    def constant(self, values, dtype=None):
        """Return the name of an array, of strings if its dtype is of objects."""
        array = np.asarray(values, dtype)
        name = self.scope.get_unique_variable_name("constant")
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

    def cast(self, name, before, dtype, to=None):
        """Return the name of values in another dtype."""
        if before == dtype:
            return name if to is None else self("Identity", name, to=to)
        if dtype == STRING and before.kind == "b":
            words = [self.constant([word], STRING) for word in ("True", "False")]
            return self("Where", name, *words, to=to)
        if to is None:
            to = self.scope.get_unique_variable_name("cast")
        operator = self.scope.get_unique_operator_name("Cast")
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        # the attribute and the output would both be ``to`` in a call of this graph
        self.container.add_node("Cast", [name], [to], name=operator, to=kind)
        return to

    def pick(self, name, places, to=None):
        """Return the name of some of the columns of a matrix."""
        return self("Gather", name, self.constant(places, np.int64), axis=1, to=to)

    def beside(self, names, to=None):
        """Return the name of matrices beside each other."""
        if len(names) == 1:
            return names[0] if to is None else self("Identity", *names, to=to)
        return self("Concat", *names, axis=1, to=to)


def tensor_type(dtype, n_columns=None):
    """Return skl2onnx's type of matrices, or of vectors if there are no columns."""
    shape = [None] if n_columns is None else [None, n_columns]
    return TENSOR_TYPES[np.dtype(dtype)](shape)


def dtype_of(variable):
    """Return the dtype of a variable, that of objects for strings."""
    for dtype, Type in TENSOR_TYPES.items():
        if isinstance(variable.type, Type):
            return dtype
    raise ValueError(
        f"X must hold numbers, booleans or strings, got {variable.type} for "
        f"{variable.onnx_name!r}."
    )


def common_dtype(operator):
    """Return the dtype that numpy would give the inputs beside each other."""
    dtypes = {dtype_of(variable) for variable in operator.inputs}
    if STRING in dtypes and len(dtypes) > 1:
        raise ValueError(
            f"columns of {_name(operator)} must all be strings or all be numbers, got "
            "both. Put them into two transformers of the ColumnTransformer."
        )
    return np.result_type(*dtypes)


def float_dtype(operator):
    """Return the dtype in which scikit-learn computes with the inputs."""
    dtype = common_dtype(operator)
    if dtype == STRING:
        raise ValueError(f"{_name(operator)} needs numbers, got strings.")
    return dtype if dtype == np.float32 else np.dtype(np.float64)


def n_columns(operator):
    """Return the number of columns of the inputs together."""
    return sum(variable.type.shape[1] for variable in operator.inputs)


def merge(graph, operator, dtype, to=None):
    """Return the name of the inputs beside each other."""
    names = [
        graph.cast(variable.full_name, dtype_of(variable), dtype)
        for variable in operator.inputs
    ]
    return graph.beside(names, to=to)


def columns(graph, operator):
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


def _name(operator):
    return type(operator.raw_operator).__name__
