"""The functions that convert the steps of an estimator, by class."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from numpy.typing import DTypeLike
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import guess_tensor_type
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
)
from sklearn.utils.validation import check_is_fitted

from ..preprocessing._compose import Standardizer, TargetRegressor
from ..preprocessing._piecewise_linear import PiecewiseLinearEncoder
from ..preprocessing._readers import NumberReader, WordReader
from ._categories import (
    convert_one_hot,
    convert_ordinal,
    convert_words,
    shape_one_hot,
    shape_ordinal,
    shape_words,
)
from ._functions import convert_function, shape_function
from ._imputer import convert_imputer, shape_imputer
from ._network import convert_network, parse_network, shape_network
from ._numeric import (
    convert_numbers,
    convert_ramps,
    convert_splines,
    convert_standardizer,
    shape_numbers,
    shape_ramps,
    shape_splines,
    shape_standardizer,
)
from ._parsers import (
    PARSERS,
    Merge,
    Pick,
    convert_merge,
    convert_pick,
    shape_merge,
    shape_pick,
)
from ._target import convert_target, shape_target
from ._text import CONVERTERS as TEXT_CONVERTERS
from ._text import PARSERS as TEXT_PARSERS

# sets the types of the outputs; adds the nodes
Converter: TypeAlias = tuple[Callable[..., Any], Callable[..., Any]]

CONVERTERS: dict[type, Converter] = {
    FunctionTransformer: (shape_function, convert_function),
    Merge: (shape_merge, convert_merge),
    NumberReader: (shape_numbers, convert_numbers),
    OneHotEncoder: (shape_one_hot, convert_one_hot),
    OrdinalEncoder: (shape_ordinal, convert_ordinal),
    Pick: (shape_pick, convert_pick),
    PiecewiseLinearEncoder: (shape_ramps, convert_ramps),
    SimpleImputer: (shape_imputer, convert_imputer),
    SplineTransformer: (shape_splines, convert_splines),
    Standardizer: (shape_standardizer, convert_standardizer),
    WordReader: (shape_words, convert_words),
}


def converters_of(
    estimator: Any, network: Any, dtype: DTypeLike | None
) -> tuple[dict[type, Converter], dict[type, Callable[..., list[Any]]]]:
    """Return the converters and the parsers of an estimator's steps, by class."""
    target = (
        functools.partial(shape_target, dtype=dtype),
        functools.partial(convert_target, dtype=dtype),
    )
    converters: dict[type, Converter] = {
        **CONVERTERS,
        **TEXT_CONVERTERS,
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
    parsers = {**PARSERS, **TEXT_PARSERS, type(network): parse_network}
    return converters, parsers


def _by_type(alias: str, look_up: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a function of skl2onnx for the steps of a class.

    A converter may plan another operator for the same step, which would come here too.
    """

    def call(*args: Any) -> Any:
        # (operator,) or (scope, operator, container)
        kind = args[len(args) // 2].type
        return look_up(alias if kind is None else kind)(*args)

    return call


def _with_dtype(shape: Callable[..., Any]) -> Callable[..., Any]:
    """Return a shape function of skl2onnx that knows the dtype of what comes in.

    skl2onnx's own keeps a dtype that it guesses before those of this package are known.
    """

    def call(operator: Any) -> Any:
        if len(operator.outputs) == 1:
            operator.outputs[0].type = guess_tensor_type(operator.inputs[0].type)
        return shape(operator)

    return call


def _named(path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of skl2onnx whose errors name the step."""

    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception as error:
            raise ValueError(
                f"skl2onnx cannot convert the step {path!r}: {error}"
            ) from error

    return call


def _leaves(step: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the steps within a step, with the names that lead to them."""
    check_is_fitted(step)
    parts: list[tuple[str, Any]] = []
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
