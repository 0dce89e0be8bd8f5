"""ONNX models count and weigh words as the pipelines that they come from."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import (
    CountVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from sksharp import SAMMLPClassifier

onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")

from skl2onnx.common.data_types import StringTensorType  # noqa: E402

from sksharp.onnx import make_inputs, to_onnx  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TEXTS = [
    "Good cat sat, it's a mat",
    "bad dog ran away from the été",
    "good good CAT\tand the ÉTÉ",
    "ЖУК bad mat 42 a x² naïve",
    "cat ran good it's",
    "bad bad dog \n zebra_1 Größe",
]
NEW = ["Good cat", "", "unknown words", "БАД жук bad dog"]
Y = [1, 0, 1, 0, 1, 0]


def fit(*steps, rows=TEXTS):
    network = SAMMLPClassifier((3,), batch_size=6, max_iter=2, random_state=0)
    return make_pipeline(*steps, network).fit(rows, Y)


def probabilities(model, rows):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, make_inputs(model, rows))[1]


def assert_same(estimator, rows, new=None):
    model = to_onnx(estimator, rows)
    for some in (rows, rows if new is None else new):
        expected = estimator.predict_proba(some)
        assert_allclose(probabilities(model, some), expected, rtol=0, atol=1e-6)
    return model


@pytest.mark.parametrize(
    "steps",
    [
        [CountVectorizer()],
        [CountVectorizer(binary=True, dtype=np.float32)],
        [CountVectorizer(ngram_range=(2, 3), lowercase=False)],
        [CountVectorizer(stop_words=["cat"], token_pattern=r"(?u)\b\w+\b")],
        [CountVectorizer(token_pattern="[a-z']+"), TfidfTransformer(norm="l1")],
        [CountVectorizer(vocabulary=["dog", "cat"]), TfidfTransformer(use_idf=False)],
        [TfidfVectorizer()],
        [TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=9)],
        [TfidfVectorizer(norm=None, dtype=np.float32)],
        [make_union(CountVectorizer(min_df=2), TfidfVectorizer())],
        [TfidfVectorizer(max_df=0.4), TruncatedSVD(2, random_state=0)],
    ],
    ids=str,
)
def test_a_model_of_texts_predicts_as_its_pipeline(steps):
    assert_same(fit(*steps), TEXTS, NEW)


@pytest.mark.parametrize("kind", [list, pd.Series])
def test_texts_come_in_every_kind_of_vector(kind):
    estimator, rows = fit(TfidfVectorizer()), kind(TEXTS)
    model = assert_same(estimator, rows)
    (value,) = model.graph.input
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [0, 1]
    assert make_inputs(model, rows)["X"].shape == (6, 1)
    of_types = to_onnx(estimator, [("X", StringTensorType([None, 1]))])
    assert_allclose(probabilities(of_types, rows), probabilities(model, rows))


def test_a_column_of_texts_stands_beside_others():
    table = pd.DataFrame({"text": TEXTS, "z": np.arange(6.0)})
    words = make_pipeline(CountVectorizer(), TfidfTransformer())
    columns = make_column_transformer((words, "text"), (StandardScaler(), ["z"]))
    assert_same(fit(columns, rows=table), table)


def test_no_letter_of_another_script_needs_no_language_of_the_system():
    # 'C' is there on every system, onnxruntime's default is not
    for texts, expected in ((["Go", "no"] * 3, "C"), (TEXTS, "C.UTF-8")):
        model = to_onnx(fit(CountVectorizer(), rows=texts), texts)
        (node,) = (n for n in model.graph.node if n.op_type == "StringNormalizer")
        (locale,) = (a.s for a in node.attribute if a.name == "locale")
        assert locale.decode() == expected


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"analyzer": "char_wb"}, "analyzer must be 'word'"),
        ({"strip_accents": "ascii"}, "strip_accents must be None"),
        ({"tokenizer": str.split, "token_pattern": None}, "tokenizer must be None"),
        ({"preprocessor": str.lower}, "preprocessor must be None"),
        ({"token_pattern": r"\d+|\w+"}, r"token_pattern must be one of .* got '\\\\d"),
        ({"token_pattern": "[a-z ]+", "ngram_range": (1, 2)}, "without a blank"),
        ({"stop_words": ["cat"], "ngram_range": (1, 2)}, "stop_words must be None"),
    ],
)
def test_what_onnx_cannot_do_is_refused_by_its_parameter(parameters, message):
    estimator = fit(CountVectorizer(**parameters))
    with pytest.raises(ValueError, match=message):
        to_onnx(estimator, TEXTS)


@pytest.mark.parametrize("rows", ["good cat", [["good"], ["cat"]], [1.0, 2.0]])
def test_texts_that_are_none_are_refused(rows):
    with pytest.raises(ValueError, match="X must be a list, an array or a Series"):
        to_onnx(fit(CountVectorizer()), rows)


class Centred(StandardScaler):
    """A class of a user's, with the converter of its parent."""


def test_a_converter_may_plan_another_operator_for_the_same_step():
    from skl2onnx._supported_operators import sklearn_operator_name_map as registered
    from skl2onnx.common.data_types import DoubleTensorType

    calls = []

    def shape(operator):
        operator.outputs[0].type.shape = operator.inputs[0].type.shape

    def convert(scope, operator, container):
        calls.append(operator.type)
        assert len(calls) == 1, "it would be called for what it plans, for ever"
        inner = scope.declare_local_operator("SklearnScaler", operator.raw_operator)
        inner.inputs.append(operator.inputs[0])
        inner.outputs.append(scope.declare_local_variable("v", DoubleTensorType()))
        container.add_node(
            "Identity",
            inner.outputs[0].full_name,
            operator.outputs[0].full_name,
            name=scope.get_unique_operator_name("Identity"),
        )

    skl2onnx.update_registered_converter(Centred, "CustomCentred", shape, convert)
    try:
        rows = np.arange(18.0).reshape(6, 3) % 5
        assert_same(fit(Centred(), rows=rows), rows)
    finally:
        del registered[Centred]
