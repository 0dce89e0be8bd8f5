"""From a fitted estimator to an ONNX model."""

from __future__ import annotations

import json
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..estimators._base import FlatMinimaMLP
from ..estimators._classifier import SAMMLPClassifier
from ..estimators._regressor import SAMMLPRegressor
from ..preprocessing._piecewise_linear import PiecewiseLinearEncoder
from ._import import import_package
from ._inputs import KINDS, are_types, in_order, input_types, kinds_in_fit

# the first version of the operators that compares strings
MIN_OPSET = 19


def to_onnx(
    estimator: Any,
    X: Any,
    *,
    dtype: DTypeLike | None = None,
    target_opset: int | None = None,
) -> Any:
    """Convert an estimator or a whole pipeline to an ONNX model.

    Parameters
    ----------
    estimator : SAMMLPClassifier, SAMMLPRegressor, Pipeline or search
        Fitted. A pipeline ends with one of the two, or with a
        ``TransformedTargetRegressor`` around one, such as that of
        :func:`sksharp.tabular_pipeline`. Of a search, its ``best_estimator_`` is
        converted. Members and snapshots are averaged as in ``predict``.

    X : {array-like, sparse matrix} of shape (n_samples, n_features) or list of tuples
        Rows as for ``predict``. They give the names and types of the inputs, and the
        predictions of the model are compared on the first 100. Alternatively the
        inputs, as a list of names and types of ``skl2onnx.common.data_types``; nothing
        is compared then.

    dtype : dtype or None, default=None
        float32 or float64, for the numeric inputs and the network. None is the dtype of
        ``X`` (float64 unless it is float32), and for the network the result type of
        that and ``coefs_``, as in ``predict``.

    target_opset : int or None, default=None
        Version of the operators, at least 19. None for the latest that skl2onnx knows.

    Returns
    -------
    model : onnx.ModelProto
        A classifier has two outputs, the labels of ``predict`` and the probabilities,
        of shape (n_samples, n_classes). The output of a regressor is that of
        ``predict``. A DataFrame for a ``ColumnTransformer`` becomes an input of shape
        (n_samples, 1) for each column, with its name. Any other ``X`` becomes one
        matrix 'X', texts one column. If a name is taken or has more than letters,
        digits and underscores, the input gets another one, and its ``doc_string`` is
        the name of the column.

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
    ONNX has no missing strings and no dates. A missing string is the word 'missing', as in
    :func:`sksharp.tabular_pipeline`; a date is a number of days since 1970, a duration a
    number of days. Missing numbers are NaN. An encoder with ``handle_unknown='error'``
    cannot raise in ONNX: an unknown value becomes zeros, or the first category.

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
    import_package("onnx")
    skl2onnx = import_package("skl2onnx")
    from ._checks import check_predictions, check_types
    from ._converters import converters_of

    dtype = _check_dtype(dtype)
    _check_opset(target_opset)
    if isinstance(estimator, BaseSearchCV):
        check_is_fitted(estimator)
        _check_refit(estimator)
        estimator = estimator.best_estimator_
    network = _find_network(estimator)
    has_rows = not are_types(X)
    converters, parsers = converters_of(estimator, network, dtype)
    if has_rows:
        X = in_order(estimator, X)
    kinds = kinds_in_fit(estimator)
    inputs = input_types(estimator, X, dtype, kinds) if has_rows else X
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
    check_types(model)
    if has_rows:
        check_predictions(model, estimator, network, X)
    return model


def register_converters() -> None:
    """Register the converters of this package's classes in skl2onnx.

    For ``skl2onnx.to_onnx`` of scikit-learn's estimators with one of these inside, such as
    a ``VotingClassifier``. :func:`to_onnx` needs no registration and changes none.

    Raises
    ------
    ImportError
        If onnx or skl2onnx is not installed.

    Examples
    --------
    >>> from sksharp.onnx import register_converters
    >>> register_converters()
    """
    import_package("onnx")
    skl2onnx = import_package("skl2onnx")
    from ._network import convert_network, shape_network
    from ._numeric import convert_ramps, shape_ramps

    options = {
        "zipmap": [True, False, "columns"],
        "output_class_labels": [False, True],
        "nocl": [True, False],
    }

    # skl2onnx checks for exactly these parameters
    def shape(operator: Any) -> None:
        shape_network(operator)

    def convert(scope: Any, operator: Any, container: Any) -> None:
        convert_network(scope, operator, container)

    for Estimator, functions, allowed in (
        (SAMMLPClassifier, (shape, convert), options),
        (SAMMLPRegressor, (shape, convert), None),
        (PiecewiseLinearEncoder, (shape_ramps, convert_ramps), None),
    ):
        skl2onnx.update_registered_converter(
            Estimator, f"Sksharp{Estimator.__name__}", *functions, options=allowed
        )


def _check_dtype(dtype: DTypeLike | None) -> np.dtype[Any] | None:
    from ._checks import TOLERANCE  # imports onnx

    if dtype is None:
        return None
    dtype = np.dtype(dtype)
    if dtype not in TOLERANCE:
        raise ValueError(f"dtype must be float32, float64 or None, got {dtype}.")
    return dtype


def _check_opset(target_opset: int | None) -> None:
    latest = import_package("onnx.defs").onnx_opset_version()
    is_whole = isinstance(target_opset, Integral)
    if target_opset is not None and not (
        is_whole and MIN_OPSET <= target_opset <= latest
    ):
        raise ValueError(
            f"target_opset must be a whole number from {MIN_OPSET} to the installed "
            f"onnx's {latest}, or None, got {target_opset!r}. Leave it out, or update onnx "
            "and what runs the model."
        )


def _check_refit(search: Any) -> None:
    if not hasattr(search, "best_estimator_"):
        raise ValueError(
            "a search must have refit its best candidate to be converted, got "
            f"refit={search.refit}. Set refit=True, or fit an estimator with best_params_."
        )


def _find_network(estimator: Any) -> FlatMinimaMLP:
    """Return the fitted network at the end of an estimator."""
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


def _is_flat(estimator: Any, network: Any) -> bool:
    """Return whether predictions are one-dimensional."""
    last = estimator
    while isinstance(last, Pipeline):
        last = last.steps[-1][1]
    if isinstance(last, TransformedTargetRegressor):
        return bool(last._training_dim == 1 and network.n_outputs_ == 1)
    return bool(network.n_outputs_ == 1)


def _name_prediction(model: Any, *, is_flat: bool) -> None:
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
