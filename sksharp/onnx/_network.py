"""The networks of the estimators as nodes."""

import numpy as np
from sklearn.base import is_classifier

from ._graph import STRING, Graph, dtype_of, merge, n_columns, tensor_type

ACTIVATIONS = {
    "identity": None,
    "logistic": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "exp": "Exp",
    "softmax": "Softmax",
}


def parse_network(scope, model, inputs, custom_parsers=None):
    """Add an estimator to skl2onnx's plan of the model, and return its outputs."""
    operator = scope.declare_local_operator(None, model)
    operator.inputs = inputs
    names = ["label", "probabilities"] if is_classifier(model) else ["variable"]
    for name in names:
        # the types are known when those of the inputs are
        operator.outputs.append(
            scope.declare_local_variable(name, tensor_type(np.float64))
        )
    return operator.outputs


def shape_network(operator, dtype=None):
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


def convert_network(scope, operator, container, dtype=None):
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


def _forward(graph, rows, network, dtype):
    last = len(network.coefs_) - 1
    for i, (coef, intercept) in enumerate(
        zip(network.coefs_, network.intercepts_, strict=True)
    ):
        rows = graph("MatMul", rows, graph.constant(coef, dtype))
        rows = graph("Add", rows, graph.constant(intercept, dtype))
        name = network.out_activation_ if i == last else network.activation
        attributes = {"axis": 1} if name == "softmax" else {}
        if ACTIVATIONS[name] is not None:
            rows = graph(ACTIVATIONS[name], rows, **attributes)
    return rows


def _classify(graph, outputs, estimator, dtype, label, probabilities):
    if _is_multilabel(estimator):
        graph("Identity", outputs, to=probabilities)
        is_label = graph("Greater", outputs, graph.constant(0.5, dtype))
        graph.cast(is_label, np.dtype(bool), np.dtype(np.int64), to=label)
        return
    if estimator.n_outputs_ == 1:
        rest = graph("Sub", graph.constant(1, dtype), outputs)
        graph("Concat", rest, outputs, axis=1, to=probabilities)
    else:
        graph("Identity", outputs, to=probabilities)
    place = graph("ArgMax", probabilities, axis=1, keepdims=0)
    graph("Gather", graph.constant(_classes(estimator)), place, axis=0, to=label)


def _dtype(operator, dtype):
    """Return the dtype in which numpy would compute the network, unless one is given."""
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
    is_single = inputs == {np.dtype(np.float32)}
    return np.result_type(
        np.float32 if is_single else np.float64, network.coefs_[0].dtype
    )


def _is_multilabel(estimator):
    return estimator._label_binarizer.y_type_.startswith("multilabel")


def _classes(estimator):
    """Return the labels in a dtype that ONNX has, and two at least to choose from."""
    classes = np.asarray(estimator.classes_)
    if classes.dtype.kind in "OUS":
        words = [str(name) for name in classes.tolist()]
        classes = np.array(words, dtype=object)
    elif classes.dtype.kind in "iu":
        classes = classes.astype(np.int64)
    elif classes.dtype.kind == "f":
        classes = classes.astype(np.float64)
    return np.repeat(classes, 2) if len(classes) == 1 else classes
