"""A fitted estimator is arrays and numbers: it can be stored, copied and continued."""

import copy
import io
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_classification

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import SWA, Quantile, Ranger, Step

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = make_classification(60, 6, n_informative=4, n_classes=3, random_state=0)
SMALL = {"max_iter": 4, "hidden_layer_sizes": (7,), "batch_size": 16, "random_state": 0}
VARIANTS = {
    "sam": SAMMLPClassifier(**SMALL),
    "sam-over-sgd": SAMMLPRegressor(**SMALL, base_solver="sgd"),
    "wsam": SAMMLPRegressor(**SMALL, solver="wsam"),
    "quantiles": SAMMLPRegressor(Quantile(quantile=[0.1, 0.6, 0.7]), **SMALL),
    "ranger": SAMMLPClassifier(solver=Ranger(k=3), **SMALL),
    "adam": SAMMLPRegressor(**SMALL, solver="adam"),
    "sgd": SAMMLPClassifier(**SMALL, solver="sgd", learning_rate="invscaling"),
    "swa": SAMMLPClassifier(swa=SWA(start=2), learning_rate_init=0.01, **SMALL),
    "swa-of-ranger": SAMMLPRegressor(swa=SWA(start=2), solver="ranger", **SMALL),
    "decay": SAMMLPClassifier(
        learning_rate=Step(size=2), warmup=1, solver="ranger", **SMALL
    ),
    "annealed-swa": SAMMLPRegressor(swa=SWA(start=1, lr=1e-4, anneal=3), **SMALL),
    "random-state": SAMMLPClassifier(
        **{**SMALL, "random_state": np.random.RandomState(3)}
    ),
}
HISTORIES = {
    "fit": lambda estimator: estimator.fit(X, y),
    "partial_fit": lambda estimator: [
        estimator.partial_fit(X[i::2], y[i::2], **classes(estimator)) for i in (0, 1, 0)
    ],
    "early_stopping": lambda estimator: (
        estimator.set_params(early_stopping=True)
        .fit(X, y)
        .set_params(early_stopping=False)
    ),
}


def classes(estimator):
    """Return what the first call of ``partial_fit`` needs."""
    return {"classes": [0, 1, 2]} if is_classifier(estimator) else {}


def by_pickle(estimator, path):
    return pickle.loads(pickle.dumps(estimator))


def by_deepcopy(estimator, path):
    return copy.deepcopy(estimator)


def by_joblib(estimator, path):
    joblib.dump(estimator, path)
    return joblib.load(path)


def by_memory_map(estimator, path):
    joblib.dump(estimator, path)
    return joblib.load(path, mmap_mode="r")


COPIERS = [by_pickle, by_deepcopy, by_joblib, by_memory_map]


def trained(variant, history):
    estimator = clone(VARIANTS[variant])
    HISTORIES[history](estimator)
    return estimator


def assert_bitwise_same(actual, expected):
    for name in ["coefs_", "intercepts_"]:
        for a, e in zip(getattr(actual, name), getattr(expected, name), strict=True):
            assert_array_equal(a, e, strict=True)
    assert actual.loss_curve_ == expected.loss_curve_
    assert_array_equal(actual.predict(X), expected.predict(X), strict=True)


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("make_copy", COPIERS)
def test_a_copy_predicts_and_continues_bitwise_as_the_original(
    make_copy, variant, history, tmp_path
):
    original = trained(variant, history)
    twin = make_copy(original, tmp_path / "estimator.joblib")
    assert_bitwise_same(twin, original)
    for method in ["partial_fit", "fit"]:
        getattr(twin, method)(X, y)
        getattr(original, method)(X, y)
        assert_bitwise_same(twin, original)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_copy_and_its_original_share_nothing(variant):
    original = trained(variant, "fit")
    before = pickle.dumps(original)
    copy.deepcopy(original).partial_fit(X, y)
    assert pickle.dumps(original) == before


def test_training_does_not_write_to_the_file_behind_the_memory(tmp_path):
    path = tmp_path / "estimator.joblib"
    twin = by_memory_map(trained("sam", "fit"), path)
    before = path.read_bytes()
    twin.partial_fit(X, y)
    assert path.read_bytes() == before


class Importers(pickle.Unpickler):
    """Notes the modules that a pickle imports from."""

    def __init__(self, file):
        super().__init__(file)
        self.packages = set()

    def find_class(self, module, name):
        self.packages.add(module.partition(".")[0])
        return super().find_class(module, name)


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_fitted_state_is_of_numpy_scikit_learn_and_sksharp_alone(variant, history):
    unpickler = Importers(io.BytesIO(pickle.dumps(trained(variant, history))))
    unpickler.load()
    assert unpickler.packages <= {"builtins", "numpy", "sklearn", "sksharp"}


WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "skorch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def run(program, *arguments):
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True)


def test_a_pickle_loads_and_predicts_without_torch_and_skorch(tmp_path):
    estimators = [
        trained(variant, history) for variant in VARIANTS for history in HISTORIES
    ]
    for params in ({"n_members": 3}, {"rho": "auto", "cv": 2}, {"snapshots": 2}):
        estimators.append(SAMMLPClassifier(**SMALL, **params).fit(X, y))
    (tmp_path / "estimators.pickle").write_bytes(pickle.dumps((estimators, X)))
    program = WITHOUT_TORCH + (
        """
import pathlib, pickle
folder = pathlib.Path(sys.argv[1])
estimators, X = pickle.loads((folder / "estimators.pickle").read_bytes())
predictions = [estimator.predict(X) for estimator in estimators]
(folder / "predictions.pickle").write_bytes(pickle.dumps(predictions))
"""
    )
    run(program, tmp_path)
    predictions = pickle.loads((tmp_path / "predictions.pickle").read_bytes())
    for estimator, prediction in zip(estimators, predictions, strict=True):
        assert_array_equal(prediction, estimator.predict(X), strict=True)


def test_torch_is_not_imported_before_it_trains():
    program = """
import sys
import sklearn.base
import sksharp

for Estimator in (sksharp.SAMMLPClassifier, sksharp.SAMMLPRegressor):
    estimator = sklearn.base.clone(Estimator(rho=0.1, swa=True))
    repr(estimator), estimator._repr_html_(), estimator.get_params()
    estimator.set_params(swa__start=2.0)
    try:
        estimator.fit([[0.0], [1.0]], [0, 1])
    except ValueError as error:
        assert "'start' parameter of SWA" in str(error)
    else:
        raise AssertionError("start=2.0 is not valid")
    Estimator(solver="lbfgs").fit([[0.0], [1.0]], [0, 1]).predict([[0.5]])
assert not {"torch", "skorch"} & sys.modules.keys()
"""
    run(program)
