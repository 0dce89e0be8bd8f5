"""From a fitted estimator to an ONNX model, and from rows to its inputs."""

import functools
import importlib
import json
import warnings
from numbers import Integral

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from .._classifier import SAMMLPClassifier
from .._columns import (
    DATE,
    DURATION,
    FLAG,
    MISSING,
    NUMBER,
    NUMERIC,
    as_table,
    as_text,
    columns_of,
    is_frame,
    names_of,
    numbers,
    words,
)
from .._estimator import FlatMinimaMLP
from .._regressor import SAMMLPRegressor
from .._tabular import NumberReader, PiecewiseLinearEncoder, WordReader

EXTRA = "pip install onnx skl2onnx"

# strings can be compared from this version of the operators on
LEAST_OPSET = 19

# which property of a model says what its columns held in the fit
KINDS = "sksharp_columns"

# rows that the model is tried on, and how far it may be off, relative to the largest value
N_TRIED = 100
TOLERANCE = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-3}


def to_onnx(estimator, X, *, dtype=None, target_opset=None):
    """Return an ONNX model that predicts the same, of an estimator or a whole pipeline.

    Parameters
    ----------
    estimator : SAMMLPClassifier, SAMMLPRegressor, Pipeline or search
        Fitted. A pipeline ends with one of the two, or with a
        ``TransformedTargetRegressor`` around one, such as that of
        :func:`sksharp.tabular_pipeline`. Of a search, its ``best_estimator_``. Members and
        snapshots are averaged as in ``predict``.

    X : {array-like, sparse matrix} of shape (n_samples, n_features) or list of tuples
        Rows as ``predict`` takes them; they say the names and types of the inputs, and the
        model is tried on the first of them. Or the inputs alone, as a list of names and
        types of ``skl2onnx.common.data_types``; then nothing is tried.

    dtype : dtype or None, default=None
        float32 or float64, the numbers of the inputs and of the network. None for those of
        ``X`` (float32 stays what it is, all else is float64), and for the network what
        numpy makes of them and ``coefs_``, as in ``predict``.

    target_opset : int or None, default=None
        Version of the operators, at least 19. None for the latest that skl2onnx knows.

    Returns
    -------
    model : onnx.ModelProto
        A classifier's first output has the labels, as ``predict`` returns them, the second
        the probabilities, of shape (n_samples, n_classes). A regressor's output is that of
        ``predict``. A DataFrame in front of a ``ColumnTransformer`` becomes an input for
        each column, of shape (n_samples, 1), of its name; all else is one matrix 'X', of
        one column for texts. Where the name is taken or has more than letters, digits and
        underscores, the input has another, and the column's in its ``doc_string``.

    Raises
    ------
    ImportError
        If onnx or skl2onnx is not installed.

    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    TypeError
        If it does not end with an estimator of this package.

    ValueError
        If a step cannot be converted, if ``X`` does not have the columns of the fit, or if
        the model predicts otherwise for the rows of ``X``.

    See Also
    --------
    make_inputs : From rows to what the model takes.
    register_converters : For estimators that have one of these inside.

    Notes
    -----
    In ONNX there are no missing strings and no dates. A missing string is the word
    'missing', which :func:`sksharp.tabular_pipeline` makes of it as well, and a date or a
    duration is a number of days, since 1970. Missing numbers are NaN. An encoder with
    ``handle_unknown='error'`` cannot raise in ONNX: what it does not know becomes zeros, or
    the first category.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.onnx import to_onnx
    >>> X, y = [[0.0], [1.0], [2.0]], ["no", "yes", "yes"]
    >>> clf = SAMMLPClassifier(n_iter_no_change=2, tol=1, random_state=0)
    >>> model = to_onnx(make_pipeline(StandardScaler(), clf).fit(X, y), X)
    >>> [output.name for output in model.graph.output]
    ['label', 'probabilities']
    """
    _import("onnx")
    skl2onnx = _import("skl2onnx")
    if dtype is not None:
        dtype = np.dtype(dtype)
        if dtype not in TOLERANCE:
            raise ValueError(f"dtype must be float32, float64 or None, got {dtype}.")
    latest = _import("onnx.defs").onnx_opset_version()
    is_whole = isinstance(target_opset, Integral)
    if target_opset is not None and not (
        is_whole and LEAST_OPSET <= target_opset <= latest
    ):
        raise ValueError(
            f"target_opset must be a whole number from {LEAST_OPSET} to the installed "
            f"onnx's {latest}, or None, got {target_opset!r}. Leave it out, or update onnx "
            "and what runs the model."
        )
    if isinstance(estimator, BaseSearchCV):
        check_is_fitted(estimator)
        _check_refit(estimator)
        estimator = estimator.best_estimator_
    network = _find_network(estimator)
    is_given = _are_types(X)
    converters, parsers = _converters(estimator, network, dtype)
    if not is_given:
        X = _in_order(estimator, X)
    kinds = _kinds(estimator)
    inputs = X if is_given else _inputs(estimator, X, dtype, kinds)
    model = skl2onnx.convert_sklearn(
        estimator,
        name=type(network).__name__,
        initial_types=inputs,
        target_opset=target_opset,
        custom_conversion_functions={key: both[1] for key, both in converters.items()},
        custom_shape_calculators={key: both[0] for key, both in converters.items()},
        custom_parsers=parsers,
    )
    for value, (name, _) in zip(model.graph.input, inputs, strict=True):
        if value.name != name:
            value.doc_string = name
    if kinds and [name for name, _ in inputs] == [*kinds]:
        model.metadata_props.add(key=KINDS, value=json.dumps(kinds))
    if not is_classifier(network):
        _name_prediction(model, is_flat=_is_flat(estimator, network))
    _check_types(model)
    if not is_given:
        _try(model, estimator, X)
    return model


def make_inputs(model, X):
    """Return rows as an ONNX model of :func:`to_onnx` takes them.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.

    X : array-like of shape (n_samples, n_features)
        Rows as ``predict`` takes them, a DataFrame if the model has an input per column,
        a vector of strings if it takes texts.

    Returns
    -------
    inputs : dict of str to ndarray
        What ``onnxruntime.InferenceSession.run`` takes as its second argument.

    Raises
    ------
    ImportError
        If onnx is not installed.

    ValueError
        If ``X`` lacks a column.

    Examples
    --------
    >>> from sksharp import SAMMLPRegressor
    >>> from sksharp.onnx import make_inputs, to_onnx
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 4.0]
    >>> regr = SAMMLPRegressor(n_iter_no_change=2, tol=1, random_state=0).fit(X, y)
    >>> make_inputs(to_onnx(regr, X), X)
    {'X': array([[0.],
           [1.],
           [2.]])}
    """
    helper = _import("onnx.helper")
    dtypes = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
    }
    if [*dtypes] == ["X"] and not _is_column(model.graph.input[0], X):
        return {"X": _matrix(X, dtypes["X"])}
    of_inputs = {
        value.name: value.doc_string or value.name for value in model.graph.input
    }
    names = [*of_inputs.values()]
    if not is_frame(X):
        raise ValueError(
            f"X must be a DataFrame with the columns {names}, got {type(X).__name__}."
        )
    columns = {str(column.name): column for column in columns_of(X)}
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(f"X must have the columns {names}, lacks {missing}.")
    kinds = {entry.key: entry.value for entry in model.metadata_props}
    kinds = json.loads(kinds.get(KINDS, "{}"))
    return {
        name: _values(columns[column], dtypes[name], kinds.get(column)).reshape(-1, 1)
        for name, column in of_inputs.items()
    }


def register_converters():
    """Tell skl2onnx how the classes of this package are converted.

    For ``skl2onnx.to_onnx`` of scikit-learn's estimators with one of these inside, such as
    a ``VotingClassifier``. :func:`to_onnx` does without, and leaves what is registered in
    skl2onnx as it is.

    Raises
    ------
    ImportError
        If onnx or skl2onnx is not installed.

    Examples
    --------
    >>> from sksharp.onnx import register_converters
    >>> register_converters()
    """
    _import("onnx")
    skl2onnx = _import("skl2onnx")
    from ._network import convert_network, shape_network
    from ._steps import convert_ramps, shape_ramps

    options = {
        "zipmap": [True, False, "columns"],
        "output_class_labels": [False, True],
        "nocl": [True, False],
    }

    # it asks for functions with just these parameters
    def shape(operator):
        shape_network(operator)

    def convert(scope, operator, container):
        convert_network(scope, operator, container)

    for Estimator, functions, allowed in (
        (SAMMLPClassifier, (shape, convert), options),
        (SAMMLPRegressor, (shape, convert), None),
        (PiecewiseLinearEncoder, (shape_ramps, convert_ramps), None),
    ):
        skl2onnx.update_registered_converter(
            Estimator, f"Sksharp{Estimator.__name__}", *functions, options=allowed
        )


def _import(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"sksharp.onnx needs {name.split('.')[0]}, which is not installed. Run {EXTRA}",
            name=error.name,
        ) from error


# -- what is converted ---------------------------------------------------------------------


def _check_refit(search):
    if not hasattr(search, "best_estimator_"):
        raise ValueError(
            "a search must have refit its best candidate to be converted, got "
            f"refit={search.refit}. Set refit=True, or fit an estimator with best_params_."
        )


def _find_network(estimator):
    """Return the network at the end of an estimator, fitted."""
    last = estimator
    while True:
        if isinstance(last, Pipeline):
            last = last.steps[-1][1]
        elif isinstance(last, TransformedTargetRegressor):
            check_is_fitted(last)
            last = last.regressor_
        else:
            break
    if not isinstance(last, FlatMinimaMLP):
        raise TypeError(
            "estimator must be a SAMMLPClassifier or SAMMLPRegressor, or end with one, got "
            f"{type(last).__name__}. Use skl2onnx.to_onnx for it, after "
            "sksharp.onnx.register_converters() if it has one inside."
        )
    check_is_fitted(last)
    return last


def _converters(estimator, network, dtype):
    """Return functions for skl2onnx by class: (types, conversion), and parsers."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import get_converter, get_shape_calculator

    from .._compose import TargetRegressor
    from ._network import convert_network, parse_network, shape_network
    from ._steps import CONVERTERS, PARSERS, convert_target, shape_target
    from ._text import CONVERTERS as OF_TEXT
    from ._text import PARSERS as PARSERS_OF_TEXT

    target = (
        functools.partial(shape_target, dtype=dtype),
        functools.partial(convert_target, dtype=dtype),
    )
    converters = {
        **CONVERTERS,
        **OF_TEXT,
        **dict.fromkeys((TransformedTargetRegressor, TargetRegressor), target),
        type(network): (
            functools.partial(shape_network, dtype=dtype),
            functools.partial(convert_network, dtype=dtype),
        ),
    }
    for path, step in _leaves(estimator, ""):
        if type(step) in converters:
            continue
        alias = sklearn_operator_name_map.get(type(step))
        if alias is None:
            raise ValueError(
                f"the step {path!r}, a {type(step).__name__}, cannot be converted to ONNX: "
                "neither sksharp nor skl2onnx has a converter. Take another "
                "transformer, or register a converter in skl2onnx "
                "(update_registered_converter)."
            )
        shape = _with_dtype(_by_type(alias, get_shape_calculator))
        converters[type(step)] = (
            _named(path, shape),
            _named(path, _by_type(alias, get_converter)),
        )
    parsers = {**PARSERS, **PARSERS_OF_TEXT, type(network): parse_network}
    return converters, parsers


def _by_type(alias, look_up):
    """Return a function of skl2onnx for the steps of a class.

    A converter may plan another operator for the same step, which would come here too.
    """

    def call(*args):
        # (operator,) or (scope, operator, container)
        kind = args[len(args) // 2].type
        return look_up(alias if kind is None else kind)(*args)

    return call


def _with_dtype(shape):
    """Return a shape function of skl2onnx that knows the dtype of what comes in.

    It keeps the dtype that was guessed before the types of the steps of this package were
    known.
    """
    from skl2onnx.common.data_types import guess_tensor_type

    def call(operator):
        if len(operator.outputs) == 1:
            operator.outputs[0].type = guess_tensor_type(operator.inputs[0].type)
        return shape(operator)

    return call


def _named(path, function):
    """Return a function of skl2onnx whose errors name the step."""

    def call(*args):
        try:
            return function(*args)
        except Exception as error:
            raise ValueError(
                f"skl2onnx cannot convert the step {path!r}: {error}"
            ) from error

    return call


def _leaves(step, path):
    """Yield the steps within a step, with the names that lead to them."""
    check_is_fitted(step)
    parts = []
    if isinstance(step, Pipeline):
        parts = step.steps
    elif isinstance(step, FeatureUnion):
        parts = step.transformer_list
    elif isinstance(step, ColumnTransformer):
        # what has no columns was not fitted
        parts = [
            (name, part)
            for name, part, _ in step.transformers_
            if len(step._transformer_to_input_indices[name])
        ]
    elif isinstance(step, TransformedTargetRegressor):
        parts = [("regressor", step.regressor_)]
    else:
        yield path, step
    for name, part in parts:
        if part is not None and not isinstance(part, str):
            yield from _leaves(part, f"{path}__{name}" if path else name)


# -- inputs and outputs --------------------------------------------------------------------


def _are_types(X):
    """Return whether X is a list of names and types in the place of rows."""
    return isinstance(X, list) and all(
        isinstance(item, tuple) and len(item) == 2 and hasattr(item[1], "to_onnx_type")
        for item in X
    )


def _in_order(estimator, X):
    """Return the rows with the columns of the fit, whatever else X has."""
    if _takes_text(estimator):
        return _texts(X)
    if issparse(X):
        X = X.tocsr()
    X = as_table(X) if is_frame(X) else X
    names = getattr(estimator, "feature_names_in_", None)
    if is_frame(X) and names is not None:
        have = names_of(X)
        missing = [name for name in names if name not in have]
        if missing:
            raise ValueError(f"X must have the columns of the fit, lacks {missing}.")
        X = _safe_indexing(X, [*names], axis=1)
    shape = X.shape if is_frame(X) else np.shape(X)
    if len(shape) != 2 or shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X must have rows of the {estimator.n_features_in_} features of the fit, got "
            f"an array of shape {shape}."
        )
    return X


def _kinds(estimator):
    """Return what the columns of a table held in the fit, by name, empty if none tells."""
    first = _first(estimator)
    names = getattr(estimator, "feature_names_in_", None)
    if not isinstance(first, ColumnTransformer):
        return {}
    if names is None:
        names = range(first.n_features_in_)
    kinds = dict.fromkeys(map(str, names))
    for name, part, _ in first.transformers_:
        reader = part.steps[0][1] if isinstance(part, Pipeline) else part
        if isinstance(reader, NumberReader | WordReader) and hasattr(reader, "kinds_"):
            places = first._transformer_to_input_indices[name]
            for place, kind in zip(places, reader.kinds_, strict=True):
                kinds[str(names[place])] = kind
    return kinds if any(kinds.values()) else {}


def _inputs(estimator, X, dtype, kinds):
    """Return the names and types of what the model takes."""
    from ._graph import tensor_type

    if not is_frame(X):
        kind = X.dtype if hasattr(X, "dtype") else np.asarray(X).dtype
        width = np.shape(X)[1] if np.ndim(X) > 1 else 1
        return [("X", tensor_type(_array_dtype(kind, dtype), width))]
    columns = columns_of(X)
    if isinstance(_first(estimator), ColumnTransformer):
        return [
            (
                str(column.name),
                tensor_type(
                    _column_dtype(column, dtype, kinds.get(str(column.name))), 1
                ),
            )
            for column in columns
        ]
    found = {_column_dtype(column, dtype, None) for column in columns}
    kind = np.result_type(*found) if len(found) > 1 else found.pop()
    return [("X", tensor_type(_array_dtype(kind, dtype), np.shape(X)[1]))]


def _takes_text(estimator):
    """Return whether the first step takes texts, one after another and no matrix."""
    first = _first(estimator)
    while isinstance(first, FeatureUnion):
        first = _first(first.transformer_list[0][1])
    # in the function: it comes with much else
    from sklearn.feature_extraction.text import CountVectorizer

    return isinstance(first, CountVectorizer)


def _texts(X):
    """Return texts as a vector."""
    texts = np.asarray(X, dtype=object)
    if texts.ndim != 1 or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            "X must be a list, an array or a Series of strings, one for each row, as the "
            f"first step of the pipeline takes them, got {type(X).__name__} of shape "
            f"{texts.shape}. Give a column of a DataFrame as X['name']."
        )
    return texts


def _first(estimator):
    """Return the first step of an estimator."""
    first = estimator
    while isinstance(first, Pipeline | TransformedTargetRegressor):
        is_pipeline = isinstance(first, Pipeline)
        first = first.steps[0][1] if is_pipeline else first.regressor_
    return first


def _array_dtype(kind, dtype):
    if kind.kind in "OUS":
        return np.dtype(object)
    if kind.kind not in "biuf":
        raise ValueError(
            f"X must hold numbers, booleans or strings, got dtype={kind}. Give dates as "
            "numbers of days, or X as a DataFrame to a ColumnTransformer."
        )
    if dtype is not None:
        return dtype
    return np.dtype(np.float32 if kind == np.float32 else np.float64)


def _stored_kind(column):
    """Return what a column holds by its storage, None for words."""
    kinds = {"b": FLAG, "M": DATE, "m": DURATION, **dict.fromkeys("iuf", NUMBER)}
    return None if column.is_category else kinds.get(column.values().dtype.kind)


def _column_dtype(column, dtype, kind):
    kind = _stored_kind(column) if kind is None else kind
    if kind == FLAG:
        has_gap = (words(column, FLAG) == MISSING).any()
        return np.dtype(object if has_gap else bool)
    if kind not in NUMERIC:
        return np.dtype(object)
    if kind != NUMBER:
        return np.dtype(np.float64)
    return _array_dtype(numbers(column, kind).dtype, dtype)


def _is_column(value, X):
    """Return whether the input 'X' is the column of that name, not a matrix."""
    width = value.type.tensor_type.shape.dim[1].dim_value
    is_table = is_frame(X) and len(X.shape) > 1
    return width == 1 and is_table and "X" in map(str, names_of(X))


def _matrix(X, dtype):
    X = X.toarray() if issparse(X) else np.asarray(X)
    if dtype.kind != "O":
        return X.astype(dtype)
    # None and NaN: ONNX has neither among strings
    found = [as_text(value) for value in X.ravel().tolist()]
    # texts are a column
    shape = X.shape if X.ndim > 1 else (-1, 1)
    return np.array(found, dtype=object).reshape(shape)


def _values(column, dtype, kind):
    kind = _stored_kind(column) if kind is None else kind
    if dtype.kind == "O":
        return words(column, kind)
    if dtype.kind != "b":
        return numbers(column, kind if kind in NUMERIC else NUMBER).astype(dtype)
    found = words(column, FLAG)
    strange = sorted({*found} - {"False", "True"})
    if strange:
        raise ValueError(
            f"X must hold booleans in column {column.name!r}, as where the model was made, "
            f"got {', '.join(strange)}. Make them booleans. For a model that takes missing "
            "ones too, give to_onnx rows of which one is missing."
        )
    return found == "True"


def _is_flat(estimator, network):
    """Return whether predictions are one-dimensional."""
    last = estimator
    while isinstance(last, Pipeline):
        last = last.steps[-1][1]
    if isinstance(last, TransformedTargetRegressor):
        return last._training_dim == 1
    return network.n_outputs_ == 1


def _name_prediction(model, *, is_flat):
    """Give a regressor's output its name, and the shape of ``predict``."""
    from onnx import helper, numpy_helper

    graph, (output,) = model.graph, model.graph.output
    if is_flat:
        axes = numpy_helper.from_array(np.array([1]), "prediction_axes")
        graph.initializer.append(axes)
        node = helper.make_node("Squeeze", [output.name, axes.name], ["prediction"])
        del output.type.tensor_type.shape.dim[1:]
    else:
        node = helper.make_node("Identity", [output.name], ["prediction"])
    graph.node.append(node)
    output.name = "prediction"


# -- the proof -----------------------------------------------------------------------------


def _check_types(model):
    """Raise if the types of the nodes do not fit together."""
    from onnx import checker

    try:
        checker.check_model(model, full_check=True)
    except Exception as error:
        raise ValueError(
            "skl2onnx converts a step to a graph that is not valid for these types: "
            f"{error}. Give X in float32, or take another transformer."
        ) from error


def _try(model, estimator, X):
    """Raise if the model predicts otherwise than the estimator."""
    from onnx.reference import ReferenceEvaluator

    from ._text import OPERATORS

    n_tried = min(N_TRIED, X.shape[0] if hasattr(X, "shape") else len(X))
    rows = _safe_indexing(X, slice(n_tried)) if is_frame(X) else X[:n_tried]
    is_probable = is_classifier(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = (
            estimator.predict_proba(rows) if is_probable else estimator.predict(rows)
        )
        session = ReferenceEvaluator(model, new_ops=OPERATORS)
        with np.errstate(all="ignore"):
            actual = session.run(None, make_inputs(model, rows))[-1]
    expected, actual = np.asarray(expected), np.asarray(actual)
    # a target may be scaled back in double precision after a network in single
    (network, *_) = getattr(found := _find_network(estimator), "members_", [found])
    tolerance = max(
        TOLERANCE[np.dtype(dtype)] for dtype in (actual.dtype, network.coefs_[0].dtype)
    )
    is_same = expected.shape == actual.shape and np.allclose(
        actual, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max())
    )
    if not is_same:
        difference = (
            f"by up to {np.abs(actual - expected).max():.2g}"
            if expected.shape == actual.shape
            else f"an array of shape {actual.shape} in the place of {expected.shape}"
        )
        raise ValueError(
            f"the ONNX model predicts otherwise than the estimator, {difference}. A step "
            "may be converted inexactly by skl2onnx; give X in float64, and try the steps "
            "one by one with skl2onnx.to_onnx."
        )
