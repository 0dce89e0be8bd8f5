"""Steps of a pipeline that skl2onnx lacks, or has for float32 or some cases only."""

import math

import numpy as np
from skl2onnx._parse import _parse_sklearn
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from .. import _tabular
from .._columns import MISSING, NOTHING, as_text
from .._compose import TableTransformer, TargetRegressor
from .._tabular import (
    BlockUnion,
    NumberReader,
    PiecewiseLinearEncoder,
    Standardizer,
    WordReader,
)
from ._graph import (
    STRING,
    Graph,
    columns,
    common_dtype,
    dtype_of,
    float_dtype,
    merge,
    n_columns,
    tensor_type,
)

BOOL, DOUBLE = np.dtype(bool), np.dtype(np.float64)


# -- which columns go where ----------------------------------------------------------------


class Pick:
    """Some of the columns of a matrix."""

    def __init__(self, places):
        self.places = list(places)


class Merge:
    """Matrices beside each other, in a dtype or in that which numpy would give them."""

    def __init__(self, dtype=None):
        self.dtype = dtype

    def dtype_of(self, operator):
        """Return the dtype of the output."""
        return common_dtype(operator) if self.dtype is None else np.dtype(self.dtype)


def shape_pick(operator):
    operator.outputs[0].type = tensor_type(
        dtype_of(operator.inputs[0]), len(operator.raw_operator.places)
    )


def convert_pick(scope, operator, container):
    (matrix,), (output,) = operator.inputs, operator.outputs
    Graph(scope, container).pick(
        matrix.full_name, operator.raw_operator.places, to=output.full_name
    )


def shape_merge(operator):
    dtype = operator.raw_operator.dtype_of(operator)
    operator.outputs[0].type = tensor_type(dtype, n_columns(operator))


def convert_merge(scope, operator, container):
    merge(
        Graph(scope, container),
        operator,
        operator.raw_operator.dtype_of(operator),
        to=operator.outputs[0].full_name,
    )


def declare(scope, step, inputs, name="variable"):
    """Add a step to skl2onnx's plan of the model, and return its output."""
    operator = scope.declare_local_operator(None, step)
    operator.inputs = inputs
    operator.outputs.append(
        scope.declare_local_variable(name, tensor_type(DOUBLE, None))
    )
    return operator.outputs


def parse_pipeline(scope, model, inputs, custom_parsers=None):
    for _, step in model.steps:
        if step is not None and step != "passthrough":
            inputs = _parse(scope, step, inputs, custom_parsers)
    return inputs


def parse_union(scope, model, inputs, custom_parsers=None):
    _refuse_weights(model)
    parts = []
    for _, step in model.transformer_list:
        if step == "passthrough":
            parts.extend(inputs)
        elif step != "drop":
            parts.extend(_parse(scope, step, inputs, custom_parsers))
    return declare(scope, Merge(getattr(model, "dtype", None)), parts)


def parse_columns(scope, model, inputs, custom_parsers=None):
    _refuse_weights(model)
    parts = []
    for name, step, _ in model.transformers_:
        # by number, whatever names, masks or functions they were chosen by
        places = model._transformer_to_input_indices[name]
        if len(places) == 0 or (isinstance(step, str) and step == "drop"):
            continue
        if len(inputs) == 1:
            chosen = declare(scope, Pick(places), inputs)
        else:
            chosen = [inputs[place] for place in places]
        if isinstance(step, str):
            parts.extend(chosen)
        else:
            parts.extend(_parse(scope, step, chosen, custom_parsers))
    return declare(scope, Merge(), parts)


def parse_target(scope, model, inputs, custom_parsers=None):
    outputs = _parse(scope, model.regressor_, inputs, custom_parsers)
    return declare(scope, model, outputs, "target")


def parse_step(scope, model, inputs, custom_parsers=None):
    return declare(scope, model, inputs)


def _parse(scope, step, inputs, custom_parsers):
    if len(inputs) > 1 and type(step) not in PARSERS:
        inputs = declare(scope, Merge(), inputs)
    return _parse_sklearn(scope, step, inputs, custom_parsers=custom_parsers)


def _refuse_weights(model):
    if model.transformer_weights is not None:
        raise ValueError(
            f"{type(model).__name__} must have transformer_weights=None, got "
            f"{model.transformer_weights}. Scale in a step of its own."
        )


# -- missing values ------------------------------------------------------------------------


def shape_imputer(operator):
    imputer = operator.raw_operator
    n_kept, flagged = len(_kept(imputer)), _flagged(imputer)
    operator.outputs[0].type = tensor_type(
        _imputer_dtype(operator), n_kept + len(flagged)
    )


def convert_imputer(scope, operator, container):
    graph, imputer = Graph(scope, container), operator.raw_operator
    dtype = _imputer_dtype(operator)
    rows = merge(graph, operator, dtype)
    if dtype == STRING:
        word = imputer.missing_values
        missing_word = word if isinstance(word, str) else MISSING
        is_missing = graph("Equal", rows, graph.constant([missing_word], STRING))
        fill = np.array([str(value) for value in imputer.statistics_], dtype=object)
    else:
        if _is_missing(imputer.missing_values):
            is_missing = graph("IsNaN", rows)
        else:
            value = graph.constant(imputer.missing_values, dtype)
            is_missing = graph("Equal", rows, value)
        fill = imputer.statistics_.astype(dtype)
    kept, flagged = _kept(imputer), _flagged(imputer)
    filled = graph("Where", is_missing, graph.constant(fill), rows)
    parts = [graph.pick(filled, kept)]
    if len(flagged):
        flags = graph.pick(is_missing, flagged)
        parts.append(graph.cast(flags, BOOL, dtype))
    graph.beside(parts, to=operator.outputs[0].full_name)


def _imputer_dtype(operator):
    return STRING if common_dtype(operator) == STRING else float_dtype(operator)


def _kept(imputer):
    """Return the columns that had a value in training, all if empty ones are kept."""
    return [
        j
        for j, value in enumerate(imputer.statistics_)
        if imputer.keep_empty_features or not _is_missing(value)
    ]


def _flagged(imputer):
    return imputer.indicator_.features_ if imputer.add_indicator else []


# -- categories ----------------------------------------------------------------------------


def shape_one_hot(operator):
    encoder = operator.raw_operator
    width = sum(_one_hot(encoder, j)[0].shape[1] for j in _features(encoder))
    operator.outputs[0].type = tensor_type(encoder.dtype, width)


def convert_one_hot(scope, operator, container):
    graph, encoder = Graph(scope, container), operator.raw_operator
    dtype = np.dtype(encoder.dtype)
    parts = []
    for j, column in zip(_features(encoder), columns(graph, operator), strict=True):
        of_known, of_unknown = _one_hot(encoder, j)
        is_category, is_known = _compare(graph, encoder, j, *column)
        # sums of products with one 1: exact
        codes = graph("MatMul", is_category, graph.constant(of_known, np.float32))
        known = graph.cast(is_known, np.dtype(np.float32), BOOL)
        unknown = graph.constant(of_unknown, np.float32)
        codes = graph("Where", known, codes, unknown)
        parts.append(graph.cast(codes, np.dtype(np.float32), dtype))
    graph.beside(parts, to=operator.outputs[0].full_name)


def shape_ordinal(operator):
    encoder = operator.raw_operator
    operator.outputs[0].type = tensor_type(encoder.dtype, len(encoder.categories_))


def convert_ordinal(scope, operator, container):
    graph, encoder = Graph(scope, container), operator.raw_operator
    dtype = np.dtype(encoder.dtype)
    parts = []
    for j, column in zip(_features(encoder), columns(graph, operator), strict=True):
        codes = _places(encoder, j, counts_missing=False).astype(dtype)
        if _is_missing(encoder.categories_[j][-1]):
            codes[-1] = encoder.encoded_missing_value
        is_category, is_known = _compare(graph, encoder, j, *column)
        place = graph("ArgMax", is_category, axis=1, keepdims=1)
        code = graph("Gather", graph.constant(codes), place, axis=0)
        if encoder.handle_unknown == "use_encoded_value":
            known = graph.cast(is_known, np.dtype(np.float32), BOOL)
            unknown = graph.constant([encoder.unknown_value], dtype)
            code = graph("Where", known, code, unknown)
        parts.append(code)
    graph.beside(parts, to=operator.outputs[0].full_name)


def _features(encoder):
    return range(len(encoder.categories_))


def _compare(graph, encoder, j, name, dtype):
    """Return which category a value is, and whether it is one, as 0 and 1 in float32."""
    categories = encoder.categories_[j]
    is_nan = None
    if dtype == STRING:
        words = [*map(as_text, categories.tolist())]
        if len({*words}) < len(words):
            raise ValueError(
                f"categories of {type(encoder).__name__} must differ as words, where a "
                f"missing value is {MISSING!r}, got {words}. Fill the missing values "
                "before."
            )
        is_category = graph("Equal", name, graph.constant([words], STRING))
    else:
        try:
            values = np.asarray(categories, dtype=DOUBLE)
        except ValueError:
            raise ValueError(
                f"X must have strings for the categories {categories.tolist()} of "
                f"{type(encoder).__name__}, got numbers."
            ) from None
        rows = graph.cast(name, dtype, DOUBLE)
        is_category = graph("Equal", rows, graph.constant([values]))
        if np.isnan(values).any():
            is_nan = graph("IsNaN", rows)
            missing = graph.constant([np.isnan(values)])
            is_category = graph("Or", is_category, graph("And", is_nan, missing))
    is_category = graph.cast(is_category, BOOL, np.dtype(np.float32))
    is_known = graph(
        "ReduceMax", is_category, graph.constant([1], np.int64), keepdims=1
    )
    return is_category, is_known


def _is_missing(value):
    if value is None or type(value).__name__ == "NAType":  # pandas', which has no truth
        return True
    return isinstance(value, float) and np.isnan(value)


def _places(encoder, j, *, counts_missing=True):
    """Return the code of every category; those of the infrequent ones are the last.

    A missing value has a code among those of OneHotEncoder, not of OrdinalEncoder.
    """
    categories = encoder.categories_[j].tolist()
    rare = _infrequent(encoder, j)
    has_rare_gap = not counts_missing or any(_is_missing(value) for value in rare)
    is_rare = np.array(
        [has_rare_gap if _is_missing(value) else value in rare for value in categories]
    )
    return np.where(is_rare, (~is_rare).sum(), np.cumsum(~is_rare) - 1)


def _infrequent(encoder, j):
    infrequent = getattr(encoder, "infrequent_categories_", None)
    if infrequent is None or infrequent[j] is None:
        return []
    return infrequent[j].tolist()


def _one_hot(encoder, j):
    """Return the codes of the categories, one a row, and that of an unknown value."""
    places = _places(encoder, j)
    codes = np.eye(places.max() + 1)
    takes_rare = encoder.handle_unknown in ("infrequent_if_exist", "warn")
    unknown = (
        codes[-1] if takes_rare and _infrequent(encoder, j) else np.zeros(len(codes))
    )
    of_known = codes[places]
    drop = encoder.drop_idx_
    if drop is not None and drop[j] is not None:
        of_known, unknown = (
            np.delete(code, places[drop[j]], axis=-1) for code in (of_known, unknown)
        )
    return of_known, unknown[None]


# -- numbers -------------------------------------------------------------------------------


def shape_ramps(operator):
    encoder = operator.raw_operator
    operator.outputs[0].type = tensor_type(
        float_dtype(operator), sum(encoder._n_ramps())
    )


def convert_ramps(scope, operator, container):
    graph, encoder = Graph(scope, container), operator.raw_operator
    dtype, n_ramps = float_dtype(operator), encoder._n_ramps()
    rows = merge(graph, operator, dtype)
    pairs = [*zip(encoder.knots_, n_ramps, strict=True)]
    lower = np.concatenate([knots[:n] for knots, n in pairs])
    width = np.concatenate([np.diff(knots)[:n] for knots, n in pairs])
    places = np.repeat(np.arange(len(pairs)), n_ramps)
    ramps = graph("Sub", graph.pick(rows, places), graph.constant(lower, dtype))
    ramps = graph("Div", ramps, graph.constant(width, dtype))
    bounds = [graph.constant(bound, dtype) for bound in (0, 1)]
    ramps = graph("Clip", ramps, *bounds)
    if encoder.center:
        ramps = graph("Sub", ramps, graph.constant(encoder.means_, dtype))
    # one for every ramp: onnxruntime rounds a single one to float32 to fuse it
    height = graph.constant(np.full(sum(n_ramps), encoder.height), dtype)
    graph("Mul", ramps, height, to=operator.outputs[0].full_name)


def shape_splines(operator):
    operator.outputs[0].type = tensor_type(
        float_dtype(operator), operator.raw_operator.n_features_out_
    )


def convert_splines(scope, operator, container):
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
    graph.beside(parts, to=operator.outputs[0].full_name)


def _splines(graph, rows, encoder, spline):
    """Add the splines of a feature, as polynomials between the knots."""
    degree = encoder.degree
    knots = spline.t[degree : len(spline.t) - degree]
    low, high = (graph.constant([[knot]]) for knot in knots[[0, -1]])
    inside = rows
    if encoder.extrapolation == "periodic":
        length = graph.constant(knots[-1] - knots[0])
        turns = graph("Floor", graph("Div", graph("Sub", rows, low), length))
        inside = graph("Sub", rows, graph("Mul", turns, length))
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

    def derivative(order, at):
        return spline(at, nu=order)[..., :n_splines]

    values = None
    for order in range(degree, -1, -1):
        table = derivative(order, starts) / math.factorial(order)
        coefs = graph("Gather", graph.constant(table), interval)
        if values is not None:
            coefs = graph("Add", coefs, graph("Mul", values, from_start))
        values = coefs
    if encoder.extrapolation == "linear":
        for bound, at, side in ((low, knots[0], "Min"), (high, knots[-1], "Max")):
            beyond = graph(side, graph("Sub", rows, bound), graph.constant(0, DOUBLE))
            slope = graph.constant(derivative(1, at)[None])
            values = graph("Add", values, graph("Mul", beyond, slope))
    return values


def shape_function(operator):
    dtype, _ = _function(operator.raw_operator.func, operator)
    operator.outputs[0].type = tensor_type(dtype, n_columns(operator))


def convert_function(scope, operator, container):
    graph = Graph(scope, container)
    dtype, function = _function(operator.raw_operator.func, operator)
    rows = merge(graph, operator, dtype)
    output = rows if function is None else function(graph, rows, dtype)
    graph("Identity", output, to=operator.outputs[0].full_name)


def _function(function, operator):
    """Return the dtype of a function's values and the nodes that compute them."""
    if function is None:
        return common_dtype(operator), None
    if function is _tabular._to_single:
        return np.dtype(np.float32), None
    if function in FUNCTIONS:
        return float_dtype(operator), FUNCTIONS[function]
    raise ValueError(
        f"FunctionTransformer must have one of numpy's {_known()} as its function to be "
        f"converted, got {function!r}. Compute it before, on the way to X."
    )


def _known():
    return sorted(known.__name__ for known in FUNCTIONS if isinstance(known, np.ufunc))


def _soft_clip(graph, rows, dtype):
    one = graph.constant(1, dtype)
    size = graph("Abs", graph("Div", rows, graph.constant(_tabular.CLIP, dtype)))
    larger, smaller = graph("Max", size, one), graph("Min", size, one)
    # as np.hypot: the square of a large number would overflow
    ratio = graph("Div", smaller, larger)
    root = graph("Sqrt", graph("Add", graph("Mul", ratio, ratio), one))
    return graph("Div", rows, graph("Mul", larger, root))


def _node(operation):
    return lambda graph, rows, dtype: graph(operation, rows)


def _log1p(graph, rows, dtype):
    return graph("Log", graph("Add", rows, graph.constant(1, dtype)))


def _expm1(graph, rows, dtype):
    return graph("Sub", graph("Exp", rows), graph.constant(1, dtype))


def _square(graph, rows, dtype):
    return graph("Mul", rows, rows)


def _within_reach(graph, rows, dtype):
    bounds = (graph.constant(sign * _tabular.LARGEST, dtype) for sign in (-1, 1))
    return graph("Clip", rows, *bounds)


FUNCTIONS = {
    np.abs: _node("Abs"),
    np.exp: _node("Exp"),
    np.expm1: _expm1,
    np.log: _node("Log"),
    np.log1p: _log1p,
    np.sqrt: _node("Sqrt"),
    np.square: _square,
    _tabular._soft_clip: _soft_clip,
}


# -- columns as they were read in the fit --------------------------------------------------


def shape_numbers(operator):
    operator.outputs[0].type = tensor_type(float_dtype(operator), n_columns(operator))


def convert_numbers(scope, operator, container):
    graph, dtype = Graph(scope, container), float_dtype(operator)
    rows = merge(graph, operator, dtype)
    if dtype == np.float64:
        rows = _within_reach(graph, rows, dtype)
    had_none = np.array([[kind == NOTHING for kind in operator.raw_operator.kinds_]])
    if had_none.any():
        gap = graph.constant(np.nan, dtype)
        rows = graph("Where", graph.constant(had_none), gap, rows)
    graph("Identity", rows, to=operator.outputs[0].full_name)


def shape_words(operator):
    kinds = {dtype_of(variable) for variable in operator.inputs}
    if not kinds <= {STRING, BOOL}:
        raise ValueError(
            "X must have strings or booleans where tabular_pipeline found categories, got "
            "numbers. Give X as a DataFrame, as in the fit."
        )
    operator.outputs[0].type = tensor_type(STRING, n_columns(operator))


def convert_words(scope, operator, container):
    # which make_inputs spells
    merge(Graph(scope, container), operator, STRING, to=operator.outputs[0].full_name)


def shape_standardizer(operator):
    operator.outputs[0].type = tensor_type(float_dtype(operator), n_columns(operator))


def convert_standardizer(scope, operator, container):
    graph, scaler = Graph(scope, container), operator.raw_operator
    dtype = float_dtype(operator)
    rows = merge(graph, operator, dtype)
    if scaler.with_mean:
        rows = graph("Sub", rows, graph.constant(scaler.mean_, dtype))
    if scaler.with_std:
        rows = graph("Div", rows, graph.constant(scaler.scale_, dtype))
    graph("Identity", rows, to=operator.outputs[0].full_name)


# -- the target ----------------------------------------------------------------------------


def shape_target(operator, dtype=None):
    (prediction,) = operator.inputs
    _, dtype = _undoing(operator, dtype)
    operator.outputs[0].type = tensor_type(dtype, prediction.type.shape[1])


def convert_target(scope, operator, container, dtype=None):
    graph, (prediction,) = Graph(scope, container), operator.inputs
    output, before = prediction.full_name, dtype_of(prediction)
    steps, after = _undoing(operator, dtype)
    output = graph.cast(output, before, after)
    for step in steps:
        output = _undo(graph, output, step, after)
    graph("Identity", output, to=operator.outputs[0].full_name)


def _undoing(operator, dtype):
    """Return the transformers of a target to undo, the last first, and in which dtype."""
    steps = _last_first(operator.raw_operator.transformer_)
    is_double = any(
        getattr(step, "inverse_func", None) is _tabular._to_double for step in steps
    )
    if is_double and dtype is None:
        dtype = np.dtype(np.float64)
    return steps, dtype_of(operator.inputs[0]) if not is_double else dtype


def _last_first(transformer):
    if not isinstance(transformer, Pipeline):
        return [transformer]
    steps = [step for _, step in reversed(transformer.steps)]
    kept = [step for step in steps if step is not None and step != "passthrough"]
    return [part for step in kept for part in _last_first(step)]


def _undo(graph, values, transformer, dtype):
    """Add the inverse of a transformer of the target."""
    shift = scale = None
    match transformer:
        case FunctionTransformer(inverse_func=None | _tabular._to_double):
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
                f"one of numpy's {_known()} as its inverse, to be converted, got "
                f"{transformer!r}."
            )
    if scale is not None:
        values = graph("Mul", values, graph.constant(scale, dtype))
    if shift is not None:
        values = graph("Add", values, graph.constant(shift, dtype))
    return values


CONVERTERS = {
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

PARSERS = {
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
