"""The networks of the estimators as nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import is_classifier

from .._jobs import Array
from ._graph import (
    BOOL,
    DOUBLE,
    SINGLE,
    STRING,
    DType,
    Graph,
    dtype_of,
    merge,
    n_columns,
    tensor_type,
)

ACTIVATIONS = {
    "identity": None,
    "logistic": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "exp": "Exp",
    "softmax": "Softmax",
}
ASCENDING = "ascending"


def parse_network(
    scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None
) -> list[Any]:
    """Add an estimator to skl2onnx's plan of the model, and return its outputs."""
    operator = scope.declare_local_operator(None, model)
    operator.inputs = inputs
    names = ["label", "probabilities"] if is_classifier(model) else ["variable"]
    for name in names:
        # the types are known when those of the inputs are
        operator.outputs.append(
            scope.declare_local_variable(name, tensor_type(np.float64))
        )
    outputs: list[Any] = operator.outputs
    return outputs


def shape_network(operator: Any, dtype: DTypeLike | None = None) -> None:
    """Set the types of what an estimator returns."""
    estimator = operator.raw_operator
    dtype = _dtype(operator, dtype)
    if not is_classifier(estimator):
        operator.outputs[0].type = tensor_type(dtype, estimator.n_outputs_)
        return
    is_multilabel = _is_multilabel(estimator)
    n_labels = estimator.n_outputs_ if is_multilabel else None
    labels = np.dtype(np.int64) if is_multilabel else _classes(estimator).dtype
    operator.outputs[0].type = tensor_type(labels, n_labels)
    n_probabilities = max(2, estimator.n_outputs_)
    operator.outputs[1].type = tensor_type(
        dtype, estimator.n_outputs_ if is_multilabel else n_probabilities
    )


def convert_network(
    scope: Any, operator: Any, container: Any, dtype: DTypeLike | None = None
) -> None:
    """Add the nodes of an estimator."""
    estimator = operator.raw_operator
    dtype = _dtype(operator, dtype)
    graph = Graph(scope, container)
    networks = getattr(estimator, "members_", [estimator])
    if n_columns(operator) != estimator.n_features_in_:
        raise ValueError(
            f"X must have the {estimator.n_features_in_} columns that "
            f"{type(estimator).__name__} was fitted on, got {n_columns(operator)}."
        )
    rows = merge(graph, operator, dtype)
    outputs = [_forward(graph, rows, network, dtype) for network in networks]
    total = outputs[0]
    for output in outputs[1:]:
        total = graph("Add", total, output)
    if len(outputs) > 1:
        total = graph("Div", total, graph.constant(len(outputs), dtype))
    names = [variable.full_name for variable in operator.outputs]
    if is_classifier(estimator):
        _classify(graph, total, estimator, dtype, *names)
    else:
        graph("Identity", total, to=names[0])


def _forward(graph: Graph, rows: str, network: Any, dtype: DType) -> str:
    last = len(network.coefs_) - 1
    for i, (coef, intercept) in enumerate(
        zip(network.coefs_, network.intercepts_, strict=True)
    ):
        rows = graph("MatMul", rows, graph.constant(coef, dtype))
        rows = graph("Add", rows, graph.constant(intercept, dtype))
        name = network.out_activation_ if i == last else network.activation
        if name == ASCENDING:
            return _ascend(graph, rows, len(intercept), dtype)
        attributes: dict[str, Any] = {"axis": 1} if name == "softmax" else {}
        operation = ACTIVATIONS[name]
        if operation is not None:
            rows = graph(operation, rows, **attributes)
    return rows


def _ascend(graph: Graph, rows: str, n_outputs: int, dtype: DType) -> str:
    """Add the steps of several quantiles to the middle one."""
    middle, axis = (n_outputs - 1) // 2, graph.constant(1, np.int64)
    center = graph.pick(rows, [middle])
    steps = _softplus(graph, graph.pick(rows, range(middle + 1, n_outputs)), dtype)
    parts = [center, graph("Add", center, graph("CumSum", steps, axis))]
    if middle:
        steps = _softplus(graph, graph.pick(rows, range(middle)), dtype)
        down = graph("CumSum", steps, axis, reverse=1)
        parts = [graph("Sub", center, down), *parts]
    return graph.concat(parts)


def _softplus(graph: Graph, z: str, dtype: DType) -> str:
    # onnxruntime has none for double
    small = graph("Exp", graph("Neg", graph("Abs", z)))
    rest = graph("Log", graph("Add", graph.constant(1, dtype), small))
    return graph("Add", graph("Relu", z), rest)


def _classify(
    graph: Graph,
    outputs: str,
    estimator: Any,
    dtype: DType,
    label: str,
    probabilities: str,
) -> None:
    if _is_multilabel(estimator):
        graph("Identity", outputs, to=probabilities)
        is_label = graph("Greater", outputs, graph.constant(0.5, dtype))
        graph.cast(is_label, BOOL, np.dtype(np.int64), to=label)
        return
    if estimator.n_outputs_ == 1:
        rest = graph("Sub", graph.constant(1, dtype), outputs)
        graph("Concat", rest, outputs, axis=1, to=probabilities)
    else:
        graph("Identity", outputs, to=probabilities)
    index = graph("ArgMax", probabilities, axis=1, keepdims=0)
    graph("Gather", graph.constant(_classes(estimator)), index, axis=0, to=label)


def _dtype(operator: Any, dtype: DTypeLike | None) -> DType:
    """Return ``dtype``, or if it is None that in which ``predict`` computes."""
    if dtype is not None:
        return np.dtype(dtype)
    estimator = operator.raw_operator
    (network, *_) = getattr(estimator, "members_", [estimator])
    inputs = {dtype_of(variable) for variable in operator.inputs}
    if STRING in inputs:
        raise ValueError(
            f"X must be numbers for {type(estimator).__name__}, got strings. Encode them, "
            "with sksharp.tabular_pipeline for instance."
        )
    of_rows = SINGLE if inputs == {SINGLE} else DOUBLE
    return np.result_type(of_rows, network.coefs_[0].dtype)


def _is_multilabel(estimator: Any) -> bool:
    kind: str = estimator._label_binarizer.y_type_
    return kind.startswith("multilabel")


def _classes(estimator: Any) -> Array:
    """Return the labels in a dtype of ONNX; a single label is returned twice."""
    classes = np.asarray(estimator.classes_)
    if classes.dtype.kind in "OUS":
        words = [str(name) for name in classes.tolist()]
        classes = np.array(words, dtype=object)
    elif classes.dtype.kind in "iu":
        classes = classes.astype(np.int64)
    elif classes.dtype.kind == "f":
        classes = classes.astype(np.float64)
    return np.repeat(classes, 2) if len(classes) == 1 else classes
