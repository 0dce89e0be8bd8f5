"""ONNX models predict as the estimators and pipelines that they come from."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from sksharp import (
    PiecewiseLinearEncoder,
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    tabular_pipeline,
)

onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")

from skl2onnx.common.data_types import DoubleTensorType  # noqa: E402

from sksharp.onnx import _functions as functions  # noqa: E402
from sksharp.onnx import make_inputs, register_converters, to_onnx  # noqa: E402
from sksharp.options import SWA, Quantile  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = make_classification(60, 6, n_informative=4, n_classes=3, random_state=0)
STRINGS = np.array(["ant", "bée", "cow"])[y]
LABELS = np.column_stack([y == 0, y > 1, X[:, 0] > 0]).astype(int)
TARGETS = X[:, :2] @ [[1.0, 2.0], [3.0, 4.0]]
SMALL = {
    "max_iter": 4,
    "hidden_layer_sizes": (7, 5),
    "batch_size": 16,
    "random_state": 0,
    "rho": 0.05,
}
CLASSIFIER, REGRESSOR = SAMMLPClassifier(**SMALL), SAMMLPRegressor(**SMALL)
CASES = {
    "multiclass": (CLASSIFIER, y),
    "binary": (CLASSIFIER, y > 1),
    "numbers with a gap": (CLASSIFIER, 2.0 * y - 1),
    "strings": (CLASSIFIER, STRINGS),
    "two strings": (CLASSIFIER, STRINGS == "ant"),
    "one class": (CLASSIFIER, np.full(60, "ant")),
    "multilabel": (CLASSIFIER, LABELS),
    "two labels": (CLASSIFIER, LABELS[:, :2]),
    "regression": (REGRESSOR, TARGETS[:, 0]),
    "outputs": (REGRESSOR, TARGETS),
    "poisson": (SAMMLPRegressor("poisson", **SMALL), np.abs(TARGETS[:, 0])),
    "absolute error": (SAMMLPRegressor("absolute_error", **SMALL), TARGETS),
    "a quantile": (SAMMLPRegressor(Quantile(quantile=0.9), **SMALL), TARGETS),
    "two quantiles": (
        SAMMLPRegressor(Quantile(quantile=[0.1, 0.9]), **SMALL),
        TARGETS[:, 0],
    ),
    "quantiles of members": (
        SAMMLPRegressor(
            Quantile(quantile=[0.1, 0.2, 0.3, 0.4, 0.9]), **SMALL, n_members=2
        ),
        TARGETS[:, 0],
    ),
    "members": (SAMMLPClassifier(**SMALL, n_members=3), STRINGS),
    "members for two classes": (SAMMLPClassifier(**SMALL, n_members=2), y > 1),
    "members of outputs": (SAMMLPRegressor(**SMALL, n_members=2), TARGETS),
    "snapshots": (SAMMLPClassifier(**SMALL, snapshots=2), y),
    "average": (SAMMLPRegressor(**SMALL, swa=SWA(start=2)), TARGETS[:, 0]),
    "lbfgs": (SAMMLPClassifier(**{**SMALL, "rho": 0}, solver="lbfgs"), y),
    "no hidden layer": (
        SAMMLPRegressor(**{**SMALL, "hidden_layer_sizes": ()}),
        TARGETS,
    ),
    **{
        name: (SAMMLPRegressor(**SMALL, activation=name), TARGETS)
        for name in ("identity", "logistic", "tanh", "relu")
    },
}


def fitted(case):
    estimator, targets = CASES[case]
    return clone(estimator).fit(X, targets)


def outputs(model, rows):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, make_inputs(model, rows))


def assert_predicts_the_same(estimator, rows, tolerance=1e-12, **options):
    """Compare what onnxruntime makes of the model with the estimator's predictions."""
    model = to_onnx(estimator, rows, **options)
    if not hasattr(estimator, "predict_proba"):
        (actual,) = outputs(model, rows)
        expected = estimator.predict(rows)
        scale = max(1, np.abs(expected).max())
        assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)
        assert actual.shape == expected.shape
        return model
    labels, probabilities = outputs(model, rows)
    expected = estimator.predict(rows)
    assert_array_equal(labels, expected)
    is_text = expected.dtype.kind in "OU"
    assert labels.dtype == (object if is_text else expected.dtype)
    expected = estimator.predict_proba(rows)
    assert_allclose(probabilities, expected, rtol=0, atol=tolerance)
    assert probabilities.shape == expected.shape
    return model


# -- estimators ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_in_float64_the_model_predicts_as_the_estimator(case):
    assert_predicts_the_same(fitted(case), X)


@pytest.mark.parametrize("case", ["strings", "multilabel", "poisson", "members"])
def test_what_was_trained_in_float32_is_computed_in_float32(case):
    estimator, targets = CASES[case]
    rows = X.astype(np.float32)
    estimator = clone(estimator).fit(rows, targets)
    model = assert_predicts_the_same(estimator, rows, tolerance=1e-6)
    assert outputs(model, rows)[-1].dtype == np.float32


def test_the_dtype_is_that_of_predict_unless_one_is_given():
    single = X.astype(np.float32)
    of_single, of_double = clone(REGRESSOR).fit(single, y), clone(REGRESSOR).fit(X, y)
    for estimator in (of_single, of_double):
        for rows in (single, X, (10 * X).astype(int)):
            actual = outputs(to_onnx(estimator, rows), rows)[0]
            assert actual.dtype == estimator.predict(rows).dtype
            model = to_onnx(estimator, rows, dtype=np.float32)
            (actual,) = outputs(model, rows)
            assert actual.dtype == make_inputs(model, rows)["X"].dtype == np.float32
            assert_allclose(actual, estimator.predict(rows), atol=1e-4, rtol=1e-4)


def test_half_the_bytes_in_float32():
    estimator = SAMMLPRegressor(max_iter=1, rho=0, hidden_layer_sizes=(200, 100))
    estimator.fit(X, y)
    sizes = [
        len(to_onnx(estimator, X, dtype=dtype).SerializeToString())
        for dtype in (np.float64, np.float32)
    ]
    assert sizes[0] / sizes[1] == pytest.approx(2, rel=0.05)


def test_a_network_of_sparse_rows_takes_dense_ones():
    sparse = csr_array(np.where(X > 0, X, 0))
    estimator = clone(CLASSIFIER).fit(sparse, y)
    model = to_onnx(estimator, sparse)
    labels, probabilities = outputs(model, sparse.toarray())
    assert_array_equal(labels, estimator.predict(sparse))
    assert_allclose(probabilities, estimator.predict_proba(sparse), atol=1e-12, rtol=0)


def test_types_are_enough_without_rows():
    estimator = fitted("strings")
    model = to_onnx(estimator, [("X", DoubleTensorType([None, 6]))])
    assert model == to_onnx(estimator, X)


def test_a_model_runs_where_nothing_else_is_imported(tmp_path):
    estimator = make_pipeline(StandardScaler(), clone(CLASSIFIER)).fit(X, STRINGS)
    (tmp_path / "model.onnx").write_bytes(to_onnx(estimator, X).SerializeToString())
    np.save(tmp_path / "X.npy", X)
    program = """
import sys, numpy as np, onnxruntime
folder = sys.argv[1]
session = onnxruntime.InferenceSession(folder + "/model.onnx")
_, probabilities = session.run(None, {"X": np.load(folder + "/X.npy")})
np.save(folder + "/p.npy", probabilities)
assert not {"torch", "skorch", "sklearn", "sksharp"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert_allclose(
        np.load(tmp_path / "p.npy"), estimator.predict_proba(X), atol=1e-12, rtol=0
    )


# -- pipelines -----------------------------------------------------------------------------

RNG = np.random.RandomState(0)
N = 90


def gaps(values, missing=None):
    values = np.array(values, dtype=object)
    values[::7] = missing
    return pd.Series(values, dtype=object)


TABLE = pd.DataFrame(
    {
        "size": 1000 * RNG.randn(N),
        "rooms": RNG.randint(0, 9, N),
        "single": RNG.randn(N).astype(np.float32),
        "gap": np.where(RNG.rand(N) < 0.2, np.nan, RNG.randn(N)),
        "counts": pd.array(gaps(RNG.randint(0, 5, N)), dtype="Int64"),
        "since": pd.date_range("2020", periods=N, freq="7h"),
        "lift": RNG.rand(N) < 0.5,
        "let": pd.array(gaps(RNG.rand(N) < 0.5), dtype="boolean"),
        "old": RNG.choice(["no", "yes"], N),
        "city": gaps(RNG.choice(["Ulm", "Bonn", "Köln"], N)),
        "street": RNG.choice([f"street {i}" for i in range(50)], N),
        "floor": pd.Categorical(RNG.choice([1, 2, 3], N)),
        "empty": np.nan,
    }
)
NEW = TABLE.sample(N, random_state=1).reset_index(drop=True)
NEW.loc[3:9, ["old", "city", "street"]] = "new"
NEW.loc[2:20:3, "size"] = np.nan
NEW.loc[5, "size"] = 1e200
TABLE_TARGETS = {
    "number": RNG.randn(N) * 7 + 100,
    "outputs": RNG.randn(N, 2),
    "counts": RNG.poisson(3, N),
    "words": RNG.choice(["a", "b", "c"], N),
}


@pytest.mark.filterwarnings(
    "ignore:columns .* hold words that are not those of the fit"
)
@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (REGRESSOR, "number"),
        (SAMMLPRegressor(**SMALL, n_members=2), "outputs"),
        (SAMMLPRegressor("poisson", **SMALL), "counts"),
        (SAMMLPRegressor(Quantile(quantile=[0.1, 0.5, 0.9]), **SMALL), "number"),
        (CLASSIFIER, "words"),
        (SAMMLPClassifier(**SMALL, snapshots=2), "words"),
    ],
)
def test_a_tabular_pipeline_predicts_the_same_in_its_float32(estimator, target):
    model = tabular_pipeline(estimator).fit(TABLE, TABLE_TARGETS[target])
    assert_predicts_the_same(model, NEW, tolerance=1e-6)


@pytest.mark.filterwarnings(
    "ignore:columns .* hold words that are not those of the fit"
)
@pytest.mark.parametrize(
    ("word", "target"), [("classifier", "words"), ("regressor", "number")]
)
def test_the_recommended_network_predicts_the_same_in_float64(word, target):
    model = tabular_pipeline(word, max_steps=40, random_state=0)
    model.set_params(columns__numeric__encode__dtype=None, precision="passthrough")
    model.fit(TABLE, TABLE_TARGETS[target])
    assert_predicts_the_same(model, NEW)
    # the temperature of a classifier is a part of the weights
    network = getattr(model["model"], "regressor_", model["model"])
    rows = model[:-1].transform(NEW)
    predict = "predict_proba" if word == "classifier" else "predict"
    plain = [getattr(m.to_sklearn(), predict)(rows) for m in network.members_]
    assert_allclose(
        np.mean(plain, axis=0), getattr(network, predict)(rows), rtol=1e-12, atol=1e-12
    )


def test_a_tabular_pipeline_of_an_array_predicts_the_same():
    rows = X.copy()
    rows[::5, 2] = np.nan
    model = tabular_pipeline(clone(CLASSIFIER), n_bins=4).fit(rows, y)
    assert_predicts_the_same(model, rows, tolerance=1e-6)


CHOSEN = make_column_transformer(
    (
        make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
        ["rooms", "gap", "counts"],
    ),
    (OneHotEncoder(handle_unknown="ignore"), ["city", "old"]),
    (OneHotEncoder(drop="if_binary"), ["lift", "rooms"]),
    (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["street"]),
    ("passthrough", [2]),
    (FunctionTransformer(np.abs), slice("single", "gap")),
)


def test_a_pipeline_of_strings_predicts_the_same_with_its_columns_in_any_order():
    model = make_pipeline(
        CHOSEN, SimpleImputer(), clone(SAMMLPClassifier(**SMALL, n_members=2))
    )
    model.fit(TABLE, TABLE_TARGETS["words"])
    rows = NEW.assign(rooms=TABLE["rooms"], more=1.0)[[*TABLE.columns[::-1], "more"]]
    assert_predicts_the_same(model, rows[TABLE.columns])
    found = to_onnx(model, rows)
    assert [value.name for value in found.graph.input] == [*TABLE.columns]
    assert_allclose(outputs(found, rows)[1], model.predict_proba(rows), atol=1e-12)


@pytest.mark.parametrize(
    "names",
    [["a b", "a_b", "no."], ["label", "1st", "X"], ["probabilities", "c", "é-é"]],
    ids=lambda names: names[0],
)
def test_columns_of_any_name_find_their_inputs(names):
    table = pd.DataFrame(X[:, :3], columns=names)
    # the first is not used, and has an input
    chosen = make_column_transformer((StandardScaler(), names[:0:-1]))
    model = make_pipeline(chosen, clone(CLASSIFIER)).fit(table, STRINGS)
    found = to_onnx(model, table)
    assert [value.doc_string or value.name for value in found.graph.input] == names
    rows = table[names[::-1]]
    assert_allclose(outputs(found, rows)[1], model.predict_proba(table), atol=1e-12)
    with pytest.raises(ValueError, match=rf"lacks \['{names[0]}'\]"):
        make_inputs(found, table.drop(columns=names[0]))


def test_columns_named_by_numbers_find_their_inputs():
    table = pd.DataFrame(X[:, :3])
    chosen = make_column_transformer((StandardScaler(), [2, 0]))
    model = make_pipeline(chosen, clone(CLASSIFIER)).fit(table, STRINGS)
    found = to_onnx(model, table)
    assert_allclose(outputs(found, table)[1], model.predict_proba(table), atol=1e-12)


WORDS = np.array([["a", "x"], ["b", "x"], ["b", "y"], ["c", "z"], ["d", "y"]] * 6)
WHOLE = np.array([[3, 1], [5, 1], [5, 2], [9, 7], [4, 2]] * 6)
PARTS = np.array([[0.1, 1.0], [0.5, np.nan], [0.5, 2.0], [np.nan, 7.0]] * 6)
ENCODERS = [
    OneHotEncoder(),
    OneHotEncoder(handle_unknown="ignore", dtype=np.float32),
    OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=1),
    OneHotEncoder(drop="first"),
    OneHotEncoder(drop=["b", "x"]),
    OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=7),
    OneHotEncoder(handle_unknown="ignore", min_frequency=7),
    OneHotEncoder(handle_unknown="warn", min_frequency=7),
    OneHotEncoder(handle_unknown="warn", drop="first"),
    OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=2, drop="first"),
    OrdinalEncoder(),
    OrdinalEncoder(dtype=np.int64, encoded_missing_value=-1),
    OrdinalEncoder(min_frequency=7),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-3),
    OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-3, min_frequency=7
    ),
    OrdinalEncoder(encoded_missing_value=-2),
]


def target_of(rows):
    return np.random.RandomState(0).randn(len(rows))


@pytest.mark.parametrize("rows", [WORDS, WHOLE, PARTS], ids=["words", "ints", "floats"])
@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_encoders_give_what_scikit_learns_give(encoder, rows):
    if getattr(encoder, "drop", None) == ["b", "x"] and rows is not WORDS:
        pytest.skip("these are words")
    fill = SimpleImputer(strategy="constant", fill_value=-1)
    after = [fill] if rows is PARTS else []
    model = make_pipeline(encoder, *after, clone(REGRESSOR))
    model.fit(rows, target_of(rows))
    rows = rows.copy()
    if encoder.handle_unknown != "error":
        rows[2:5, 0] = {"U": "new", "i": 77, "f": 0.7}[rows.dtype.kind]
    assert_predicts_the_same(
        model, rows, 1e-6 if encoder.dtype == np.float32 else 1e-12
    )


@pytest.mark.parametrize("missing", [None, np.nan], ids=str)
def test_a_missing_string_is_a_category_or_is_imputed(missing):
    rows = pd.DataFrame({"a": gaps(WORDS[:, 0], missing), "b": WORDS[:, 1]})
    target = target_of(rows)
    encoder = OneHotEncoder(handle_unknown="ignore")
    impute = SimpleImputer(strategy="most_frequent", missing_values=missing)
    for step in (encoder, make_pipeline(impute, encoder)):
        chosen = make_column_transformer((step, ["a", "b"]))
        model = make_pipeline(chosen, clone(REGRESSOR)).fit(rows, target)
        assert_predicts_the_same(model, rows)
        assert_predicts_the_same(model, rows[::-1])


def test_a_word_that_would_be_taken_for_a_missing_one_is_refused():
    rows = np.array([["missing"], ["a"], [None]] * 9, dtype=object)
    model = piped(OneHotEncoder(), rows)
    with pytest.raises(ValueError, match="categories of OneHotEncoder must differ as"):
        to_onnx(model, rows)


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(),
        SimpleImputer(strategy="median", add_indicator=True),
        SimpleImputer(keep_empty_features=True, add_indicator=True),
        SimpleImputer(strategy="constant", fill_value=1e9 + 1),
        SimpleImputer(missing_values=-1, strategy="most_frequent"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Skipping features without")
@pytest.mark.filterwarnings("ignore:Currently, when `keep_empty_feature:FutureWarning")
def test_imputers_give_what_scikit_learns_give(imputer):
    missing = imputer.missing_values
    rows = X.copy()
    rows[::5, 2] = rows[1::3, 0] = missing
    if missing != -1:
        rows[:, 4] = missing
    model = make_pipeline(clone(imputer), StandardScaler(), clone(REGRESSOR))
    assert_predicts_the_same(model.fit(rows, y), rows)


STEPS = {
    "standardize": StandardScaler(),
    "without mean": StandardScaler(with_mean=False),
    "min-max": MinMaxScaler(clip=True),
    "robust": RobustScaler(),
    "largest": MaxAbsScaler(),
    "ramps": PiecewiseLinearEncoder(4),
    "low ramps": PiecewiseLinearEncoder(4, height=0.3),
    "centered ramps": PiecewiseLinearEncoder(4, height=0.3, center=True),
    "logarithm": FunctionTransformer(np.log1p),
    "square": make_pipeline(FunctionTransformer(np.square), FunctionTransformer()),
    "union": FeatureUnion(
        [("a", StandardScaler()), ("b", "passthrough"), ("c", "drop")]
    ),
    "columns": make_column_transformer(
        (StandardScaler(), [3, 1]),
        ("passthrough", [True, False, False, False, False, True]),
        (RobustScaler(), slice(2, 4)),
        (MinMaxScaler(), []),
        remainder=MaxAbsScaler(),
    ),
    "permuted": make_column_transformer(("passthrough", [5, 4, 3, 2, 1, 0])),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", STEPS)
def test_steps_give_what_scikit_learns_give(name, dtype):
    rows = np.abs(X).astype(dtype)
    model = make_pipeline(clone(STEPS[name]), "passthrough", clone(REGRESSOR))
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    model = assert_predicts_the_same(model.fit(rows, y), rows, tolerance)
    assert outputs(model, rows)[0].dtype == dtype


def test_columns_of_several_dtypes_lie_beside_each_other_as_in_numpy():
    rows = np.abs(X).astype(np.float32)
    rows[:, 0] = rows[:, 0].round()
    steps = make_column_transformer(
        (OrdinalEncoder(dtype=np.int64), [0]), (StandardScaler(), [1, 2])
    )
    assert steps.fit_transform(rows).dtype == np.float64
    model = make_pipeline(steps, clone(REGRESSOR)).fit(rows, y)
    assert_predicts_the_same(model, rows, 1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("degree", [1, 3])
@pytest.mark.parametrize(
    "extrapolation", ["constant", "linear", "continue", "periodic", "error"]
)
def test_splines_are_those_of_scikit_learn(extrapolation, degree, dtype):
    # scikit-learn's own bounds are wrong for the second feature of a linear one of degree 1
    n_features = 1 if (extrapolation, degree) == ("linear", 1) else 2
    rows = X[:, :n_features].astype(dtype)
    encoder = SplineTransformer(
        4, degree, extrapolation=extrapolation, include_bias=degree == 1
    )
    model = piped(encoder, rows)
    beyond = rows if extrapolation == "error" else 1.5 * rows
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    found = assert_predicts_the_same(model, beyond, tolerance)
    assert outputs(found, beyond)[0].dtype == dtype


TARGET_STEPS = {
    "standardize": {"transformer": StandardScaler()},
    "scale": {"transformer": StandardScaler(with_mean=False)},
    "center": {"transformer": StandardScaler(with_std=False)},
    "robust": {"transformer": RobustScaler()},
    "min-max": {"transformer": MinMaxScaler((-1, 3))},
    "largest": {"transformer": MaxAbsScaler()},
    "logarithm": {"func": np.log1p, "inverse_func": np.expm1},
    "several": {
        "transformer": make_pipeline(
            FunctionTransformer(np.sqrt, np.square), "passthrough", StandardScaler()
        )
    },
    "nothing": {},
}


@pytest.mark.parametrize("shape", [(60,), (60, 2)])
@pytest.mark.parametrize("name", TARGET_STEPS)
def test_a_target_is_transformed_back(name, shape):
    target = np.abs(TARGETS[:, 0] if shape == (60,) else TARGETS) * 10 + 5
    inner = make_pipeline(StandardScaler(), clone(REGRESSOR))
    model = TransformedTargetRegressor(inner, **TARGET_STEPS[name]).fit(X, target)
    assert_predicts_the_same(model, X)
    assert_predicts_the_same(make_pipeline(StandardScaler(), model).fit(X, target), X)


@pytest.mark.parametrize("Search", [GridSearchCV, VectorizedGridSearchCV])
def test_a_search_is_its_best_estimator(Search):
    search = Search(
        make_pipeline(StandardScaler(), clone(CLASSIFIER)),
        {"sammlpclassifier__alpha": [0.1, 1]},
        cv=2,
    )
    assert_predicts_the_same(search.fit(X, STRINGS), X)


# -- errors --------------------------------------------------------------------------------


def piped(step, rows=X):
    return make_pipeline(step, clone(REGRESSOR)).fit(rows, np.arange(len(rows)))


def test_an_unfitted_estimator_is_not_converted():
    for estimator in (
        SAMMLPClassifier(),
        make_pipeline(StandardScaler(), SAMMLPClassifier()),
        TransformedTargetRegressor(SAMMLPRegressor()),
        GridSearchCV(SAMMLPClassifier(), {}),
        make_pipeline(StandardScaler(), fitted("strings")),
    ):
        with pytest.raises(NotFittedError):
            to_onnx(estimator, X)


class Own(StandardScaler):
    pass


REFUSED = {
    "another estimator": (
        lambda: make_pipeline(LogisticRegression()).fit(X, y),
        TypeError,
        "end with one, got LogisticRegression",
    ),
    "a step without a converter": (
        lambda: piped(Own()),
        ValueError,
        "'own', a Own, cannot be converted",
    ),
    "a step within a step": (
        lambda: piped(FeatureUnion([("a", make_pipeline(Own()))])),
        ValueError,
        "'featureunion__a__own', a Own",
    ),
    "a step that is not converted for its settings": (
        lambda: piped(KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")),
        ValueError,
        "skl2onnx cannot convert the step 'kbinsdiscretizer'",
    ),
    "a step that is converted to what is not valid": (
        lambda: piped(PolynomialFeatures()),
        ValueError,
        "not valid for these types",
    ),
    "a function": (
        lambda: piped(FunctionTransformer(np.cbrt)),
        ValueError,
        r"one of numpy's \['absolute', 'exp'.*got <ufunc 'cbrt'>",
    ),
    "weights": (
        lambda: piped(
            FeatureUnion([("a", StandardScaler())], transformer_weights={"a": 2})
        ),
        ValueError,
        "FeatureUnion must have transformer_weights=None",
    ),
    "a target": (
        lambda: TransformedTargetRegressor(
            clone(REGRESSOR), transformer=QuantileTransformer(n_quantiles=9)
        ).fit(X, TARGETS[:, 0]),
        ValueError,
        "must be a scaler, or have one of numpy's",
    ),
    "a search without a best estimator": (
        lambda: GridSearchCV(clone(CLASSIFIER), {}, refit=False, cv=2).fit(X, y),
        (ValueError, NotFittedError),
        "refit",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_named(case):
    make, Error, match = REFUSED[case]
    with pytest.raises(Error, match=match):
        to_onnx(make(), X)


@pytest.mark.parametrize(
    ("rows", "options", "match"),
    [
        (X[:, :5], {}, r"rows of the 6 features of the fit, got .* \(60, 5\)"),
        (X[0], {}, "rows of the 6 features"),
        (X.astype(str), {}, "must be numbers for SAMMLPClassifier, got strings"),
        (X.astype("M8[D]"), {}, "must hold numbers, booleans or strings"),
        (X, {"dtype": "f2"}, "dtype must be float32, float64 or None, got float16"),
        (
            X,
            {"target_opset": 15},
            "target_opset must be a whole number from 19 .*, got 15",
        ),
        (X, {"target_opset": "19"}, "target_opset must be .*, or None, got '19'"),
        (X, {"target_opset": 999}, "target_opset must be .*, got 999"),
        ([("X", DoubleTensorType([None, 5]))], {}, "the 6 columns that SAMMLPClass"),
    ],
)
def test_rows_and_options_that_do_not_fit_are_errors(rows, options, match):
    with pytest.raises(ValueError, match=match):
        to_onnx(fitted("multiclass"), rows, **options)


LIFTS = pd.DataFrame({"a": [0.5, 1.0, 2.0, 3.0], "lift": [True, False, True, True]})


@pytest.mark.parametrize(
    "lift",
    [
        pd.Series([None, True], dtype=object),
        pd.Series([True, pd.NA], dtype="boolean"),
        pd.Series([0, 2]),
    ],
    ids=["gap", "pandas' gap", "a third value"],
)
def test_booleans_stay_booleans(lift):
    network = SAMMLPClassifier((2,), max_iter=2, random_state=0)
    model = to_onnx(tabular_pipeline(network).fit(LIFTS, [0, 1, 0, 1]), LIFTS)
    other = pd.DataFrame({"a": [0.5, 1.0], "lift": lift})
    with pytest.raises(ValueError, match="X must hold booleans in column 'lift'"):
        make_inputs(model, other)


@pytest.mark.parametrize("dtype", [None, np.float32])
def test_a_large_target_is_scaled_back_in_double_precision(dtype):
    rows = pd.DataFrame({"a": np.linspace(-1, 1, 50)})
    target = 1.7e9 + 100 * rows["a"]
    network = SAMMLPRegressor(hidden_layer_sizes=(4,), max_iter=20, random_state=0)
    pipeline = tabular_pipeline(network).fit(rows, target)
    model = to_onnx(pipeline, rows, dtype=dtype)
    (prediction,) = outputs(model, rows)
    assert prediction.dtype == (dtype or np.float64)
    error = np.abs(prediction - pipeline.predict(rows)).max()
    assert error < (1e-3 if dtype is None else 200)


def test_numbers_too_large_to_square_are_clipped():
    rows = np.random.RandomState(0).normal(size=(20, 2))
    network = SAMMLPClassifier((2,), max_iter=2, random_state=0)
    pipeline = tabular_pipeline(network).fit(rows, np.arange(20) % 2)
    model = to_onnx(pipeline, rows)
    rows[3, 0], rows[4, 1] = 1e200, -1e300
    expected = pipeline.predict_proba(rows)
    assert_allclose(outputs(model, rows)[1], expected, atol=1e-6)


def test_columns_that_are_missing_or_of_another_kind_are_errors():
    chosen = make_column_transformer((OneHotEncoder(), ["old"]), ("passthrough", [0]))
    model = make_pipeline(chosen, clone(REGRESSOR))
    model.fit(TABLE, TABLE_TARGETS["number"])
    with pytest.raises(
        ValueError, match=r"columns of the fit, lacks \['size', 'old'\]"
    ):
        to_onnx(model, TABLE.drop(columns=["old", "size"]))
    found = to_onnx(model, TABLE)
    with pytest.raises(ValueError, match=r"lacks \['old'\]"):
        make_inputs(found, TABLE.drop(columns="old"))
    with pytest.raises(ValueError, match="X must be a DataFrame with the columns"):
        make_inputs(found, TABLE.to_numpy())
    with pytest.raises(ValueError, match=r"X must have strings for the categories"):
        to_onnx(model, [(name, DoubleTensorType([None, 1])) for name in TABLE])


def test_a_conversion_that_predicts_otherwise_is_an_error(monkeypatch):
    model = piped(FunctionTransformer(np.square))
    wrong = {**functions.FUNCTIONS, np.square: functions.FUNCTIONS[np.abs]}
    monkeypatch.setattr(functions, "FUNCTIONS", wrong)
    with pytest.raises(ValueError, match="differ from those of the estimator, by up"):
        to_onnx(model, X)


@pytest.mark.parametrize("package", ["onnx", "skl2onnx"])
def test_a_missing_package_is_an_error_that_says_what_to_install(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for call in (lambda: to_onnx(fitted("binary"), X), register_converters):
        with pytest.raises(ImportError, match="pip install onnx skl2onnx"):
            call()


# -- skl2onnx's own conversion -------------------------------------------------------------


def test_nothing_is_registered_in_skl2onnx_until_it_is_asked_for():
    from skl2onnx._supported_operators import sklearn_operator_name_map as registered

    before = dict(registered)
    to_onnx(fitted("binary"), X)
    assert registered == before

    vote = VotingClassifier(
        [("a", clone(CLASSIFIER)), ("b", clone(CLASSIFIER).set_params(alpha=1))],
        voting="soft",
        flatten_transform=False,
    ).fit(X, STRINGS)
    try:
        register_converters()
        model = skl2onnx.to_onnx(vote, X, options={"zipmap": False})
        assert_predicts_the_same(fitted("strings"), X)
    finally:
        for Estimator in registered.keys() - before.keys():
            del registered[Estimator]
    labels, probabilities = outputs(model, X)
    assert_array_equal(labels, vote.predict(X))
    assert_allclose(probabilities, vote.predict_proba(X), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "column",
    [
        pd.date_range("2020-01-01", periods=12),
        pd.array(["u", "v", None] * 4, dtype="string"),
    ],
    ids=["dates", "words"],
)
def test_the_only_column_of_a_table_may_be_named_X(column):
    table, target = pd.DataFrame({"X": column}), np.linspace(1.0, 2.0, 12)
    network = SAMMLPRegressor(solver="lbfgs", max_iter=5, random_state=0)
    model = tabular_pipeline(network, n_bins=2).fit(table, target)
    onnx_model = to_onnx(model, table)
    session = onnxruntime.InferenceSession(onnx_model.SerializeToString())
    (prediction,) = session.run(None, make_inputs(onnx_model, table))
    assert_allclose(prediction, model.predict(table), rtol=1e-6)
