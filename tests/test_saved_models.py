"""Files of data alone: what is saved comes back, what is damaged does not."""

import copy
import errno
import functools
import io
import json
import os
import pickle
import re
import stat
import subprocess
import sys
import warnings
import zipfile
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix, issparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import InconsistentVersionWarning as SklearnVersionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler

import sksharp
from sksharp import (
    PiecewiseLinearEncoder,
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    _version,
    options,
    tabular_pipeline,
)
from sksharp.exceptions import InconsistentVersionWarning
from sksharp.options import (
    ASAM,
    ESAM,
    GSAM,
    SAM,
    SWA,
    WSAM,
    AbsoluteError,
    AdamW,
    Cosine,
    Cyclic,
    Exponential,
    FisherSAM,
    FriendlySAM,
    Huber,
    InputNoise,
    LearningRateSchedule,
    Lookahead,
    LookSAM,
    MultiStep,
    Muon,
    Option,
    Quantile,
    Ranger,
    ScheduleFree,
    Snapshots,
    Solver,
    Step,
)
from sksharp.options.losses import RegressionLoss
from sksharp.options.solvers import SOLVERS
from sksharp.persistence import _encoding
from sksharp.storage import _files

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = make_classification(60, 6, n_informative=4, n_classes=3, random_state=0)
STRINGS = np.array(["ant", "bee", "cow"])[y]
LABELS = np.column_stack([y == 0, y > 1, X[:, 0] > 0]).astype(int)
TARGETS = X[:, :2] @ [[1.0, 2.0], [3.0, 4.0]]
SMALL = {"max_iter": 4, "hidden_layer_sizes": (7,), "batch_size": 16, "random_state": 0}
CASES = {
    **{name: (SAMMLPClassifier(**SMALL, solver=name), y) for name in SOLVERS},
    "lbfgs": (SAMMLPClassifier(**SMALL, solver="lbfgs"), y),
    "over sgd": (SAMMLPRegressor(**SMALL, base_solver="sgd"), TARGETS),
    "over ranger": (SAMMLPRegressor(**SMALL, base_solver="ranger"), TARGETS[:, 0]),
    "swa": (SAMMLPClassifier(**SMALL, swa=SWA(start=2)), y),
    "ema": (SAMMLPClassifier(**SMALL, ema_decay=0.9), y),
    "dropout": (SAMMLPClassifier(**SMALL, dropout=[0.1, np.float64(0.3)]), y),
    "dropout of an array": (SAMMLPClassifier(**SMALL, dropout=np.array([0.2])), y),
    "strings": (SAMMLPClassifier(**SMALL), STRINGS),
    "objects": (SAMMLPClassifier(**SMALL), STRINGS.astype(object)),
    "booleans": (SAMMLPClassifier(**SMALL), y > 0),
    "multilabel": (SAMMLPClassifier(**SMALL), LABELS),
    "class_weight": (
        SAMMLPClassifier(
            **SMALL, class_weight={np.int64(0): 2.0, 1: 1, 2: np.float32(3)}
        ),
        y,
    ),
    "string weights": (
        SAMMLPClassifier(**SMALL, class_weight={"ant": 2, "bee": 1, "cow": 0.5}),
        STRINGS,
    ),
    "poisson": (SAMMLPRegressor("poisson", **SMALL), np.abs(TARGETS)),
    "absolute error": (SAMMLPRegressor("absolute_error", **SMALL), TARGETS),
    "huber": (SAMMLPRegressor(Huber(delta=np.float32(0.5)), **SMALL), TARGETS),
    "a quantile": (SAMMLPRegressor("quantile", **SMALL), TARGETS[:, 0]),
    "quantiles": (
        SAMMLPRegressor(Quantile(quantile=np.array([0.1, 0.5, 0.9])), **SMALL),
        TARGETS[:, 0],
    ),
    "quantiles of members": (
        SAMMLPRegressor(Quantile(quantile=[0.1, 0.9]), **SMALL, n_members=2),
        TARGETS[:, 0],
    ),
    "members": (SAMMLPClassifier(**SMALL, n_members=3), STRINGS),
    "members of one fold": (
        SAMMLPRegressor(
            **SMALL, n_members=2, cv=[([*range(40)], [*range(40, 60)])] * 2
        ),
        TARGETS[:, 0],
    ),
    "rho": (
        SAMMLPRegressor(**SMALL, rho=[0, 0.5], cv=3),
        TARGETS[:, 0],
    ),
    "rho of members": (
        SAMMLPClassifier(
            **SMALL, rho=np.array([0, 0.5]), n_members=2, swa=SWA(start=2)
        ),
        y,
    ),
    "generator": (
        SAMMLPClassifier(**{**SMALL, "random_state": np.random.RandomState(3)}),
        y,
    ),
    "generator of another kind": (
        SAMMLPClassifier(
            **{**SMALL, "random_state": np.random.RandomState(np.random.PCG64(3))}
        ),
        y,
    ),
    # training by rows left out ends at the best epoch, without slow weights
    **{
        f"members of {name}": (SAMMLPClassifier(**SMALL, solver=name, n_members=2), y)
        for name in ("ranger", "schedule_free", "yellowfin")
    },
    "snapshots": (SAMMLPClassifier(**SMALL, snapshots=2), y),
    "sparse labels": (SAMMLPClassifier(**SMALL), csr_matrix(LABELS)),
    "one class": (SAMMLPClassifier(**SMALL), np.zeros(60)),
    "early stopping": (SAMMLPClassifier(**SMALL, early_stopping=True), y),
    "infinite patience": (SAMMLPClassifier(**SMALL, n_iter_no_change=np.inf), y),
    "array of sizes": (
        SAMMLPClassifier(**{**SMALL, "hidden_layer_sizes": np.array([5, 4])}),
        y,
    ),
    "ascents with options": (
        SAMMLPClassifier(
            **SMALL,
            solver=LookSAM(k=2, interval=2, micro_batch_size=8),
            base_solver=Muon(momentum=0.9, weight_decay=0.1),
            learning_rate=Cyclic(length=1, growth=2, lr_min=1e-4),
            swa=SWA(start=0.5, freq=2),
        ),
        y,
    ),
    "options of numpy": (
        SAMMLPClassifier(
            **SMALL,
            solver=Ranger(k=np.int64(2), alpha=np.float32(0.25)),
            learning_rate=MultiStep(milestones=np.array([1, 3])),
        ),
        y,
    ),
    "triangular snapshots": (
        SAMMLPClassifier(
            **SMALL, snapshots=Snapshots(n=2, schedule="triangular", start=1)
        ),
        y,
    ),
    "numpy numbers": (
        SAMMLPClassifier(**SMALL, alpha=np.float32(0.1), rho=np.float64(0.2)),
        y,
    ),
}


def fitted(case):
    estimator, targets = CASES[case]
    return clone(estimator).fit(X, targets)


def round_trip(estimator, tmp_path):
    path = tmp_path / "model.sksharp"
    sksharp.save(estimator, path)
    return sksharp.load(path)


def assert_same(actual, expected, where="estimator"):
    """Compare values of all kinds, types and bits included."""
    assert type(actual) is type(expected), where
    if isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype, where
        assert actual.shape == expected.shape, where
        if expected.dtype == object:
            assert_same(actual.tolist(), expected.tolist(), where)
        else:
            assert actual.tobytes() == expected.tobytes(), where
    elif isinstance(expected, dict):
        assert_same([*actual.items()], [*expected.items()], where)
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), where
        for a, e in zip(actual, expected, strict=True):
            assert_same(a, e, where)
    elif isinstance(expected, np.random.RandomState):
        assert_same(
            actual.get_state(legacy=False), expected.get_state(legacy=False), where
        )
    elif hasattr(expected, "__dict__"):
        left, right = vars(actual), vars(expected)
        assert left.keys() == right.keys(), where
        for name in right:
            assert_same(left[name], right[name], f"{where}.{name}")
    else:
        assert actual == expected or actual != actual, where


@pytest.mark.parametrize("case", CASES)
def test_all_that_an_estimator_has_comes_back(case, tmp_path):
    estimator = fitted(case)
    twin = round_trip(estimator, tmp_path)
    assert_same(twin, estimator)
    actual, expected = twin.predict(X), estimator.predict(X)
    if issparse(expected):
        actual, expected = actual.toarray(), expected.toarray()
    assert_array_equal(actual, expected, strict=True)


@pytest.mark.parametrize("policy", ["StepLR", "CyclicLR"])
@pytest.mark.parametrize("solver", ["sam", "sgd"])
def test_what_a_scheduler_leaves_in_a_solver_comes_back(solver, policy, tmp_path):
    settings = (
        {"step_size": 2} if policy == "StepLR" else {"base_lr": 0.01, "max_lr": 1}
    )
    scheduler = LRScheduler(policy, **settings)
    clf = SAMMLPClassifier(**SMALL, solver=solver, base_solver="sgd")
    clf.set_params(callbacks=[scheduler]).fit(X, y).set_params(callbacks=None)
    sksharp.save(clf, tmp_path / "model")
    twin = sksharp.load(tmp_path / "model")
    for estimator in (clf, twin):
        estimator.partial_fit(X, y)
    assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("case", [name for name in CASES if name != "lbfgs"])
def test_training_goes_on_bit_for_bit(case, tmp_path):
    estimator = fitted(case)
    targets = CASES[case][1]
    estimator.set_params(warm_start=True)
    twin = round_trip(estimator, tmp_path)
    can_go_on = not estimator.early_stopping and estimator.snapshots is None
    for method in ["partial_fit"] * can_go_on + ["fit"]:
        for one in (twin, estimator):
            getattr(one, method)(X, targets)
        assert_same(twin, estimator)


def test_partial_fit_goes_on_bit_for_bit(tmp_path):
    estimator = SAMMLPClassifier(**SMALL, swa=SWA(start=2), solver="wsam")
    for _ in range(3):
        estimator.partial_fit(X, y, classes=[0, 1, 2])
    twin = round_trip(estimator, tmp_path)
    for one in (estimator, twin):
        one.partial_fit(X, y)
    assert_same(twin, estimator)


@pytest.mark.parametrize("solver", ["sam", "ranger"])
def test_members_that_began_with_partial_fit_go_on(solver, tmp_path):
    estimator = SAMMLPClassifier(**{**SMALL, "rho": "auto"}, solver=solver, n_members=2)
    estimator.partial_fit(X, y, classes=[0, 1, 2])
    twin = round_trip(estimator, tmp_path)
    for one in (estimator, twin):
        one.partial_fit(X, y)
    assert_same(twin, estimator)


ASCENT = {"interval": 2, "start": 0.25, "micro_batch_size": 8}
# no option of them but the last ones' is the default
CHANGED = [
    SAM(**ASCENT),
    WSAM(gamma=0.5, decouple=True, **ASCENT),
    ASAM(eta=0.1, **ASCENT),
    GSAM(alpha=0.1, **ASCENT),
    FisherSAM(eta=0.1, **ASCENT),
    FriendlySAM(sigma=0.5, decay=0.5, **ASCENT),
    LookSAM(k=2, alpha=0.1, **ASCENT),
    ESAM(fraction=0.25, **ASCENT),
    Ranger(k=2, alpha=0.25),
    Lookahead(k=2, alpha=0.25),
    AdamW(weight_decay=0.1),
    ScheduleFree(weight_decay=0.1, warmup_steps=3),
    Muon(momentum=0.5, weight_decay=0.1),
    Cosine(lr_min=1e-4, flat=0.5),
    Step(size=2, gamma=0.5),
    MultiStep(milestones=(1, 0.75), gamma=0.5),
    Exponential(gamma=0.5),
    Cyclic(shape="triangular", length=2, growth=3, lr_min=1e-4),
    SWA(start=2, freq=2, lr=0.1, anneal=0.5, strategy="linear"),
    SWA(lr=0.1, cycle=3),
    Snapshots(n=2, schedule="triangular", start=1, lr_min=1e-4),
    InputNoise(std=0.5, missing=0.1, on="both"),
    AbsoluteError(),
    Huber(delta=0.5),
    Quantile(quantile=0.9),
    Quantile(quantile=[0.1, 0.9]),
]
OPTIONS = [cls() for cls in _encoding.OPTIONS.values()] + CHANGED


def holding(option):
    """Return an estimator with an object in the parameter that takes it."""
    kinds = {Solver: "solver", LearningRateSchedule: "learning_rate"}
    kinds |= {SWA: "swa", Snapshots: "snapshots", InputNoise: "input_noise"}
    kinds |= {RegressionLoss: "loss"}
    (name,) = [name for kind, name in kinds.items() if isinstance(option, kind)]
    Estimator = SAMMLPRegressor if name == "loss" else SAMMLPClassifier
    return Estimator(**SMALL, **{name: option})


def test_every_option_of_every_class_is_tried():
    public = {getattr(options, name) for name in options.__all__}
    bases = {base for cls in public for base in cls.__mro__[1:]}
    assert {*_encoding.OPTIONS.values()} == public - bases
    for cls in _encoding.OPTIONS.values():
        defaults = cls().get_params()
        tried = [option.get_params() for option in CHANGED if type(option) is cls]
        for name, default in defaults.items():
            assert any(values[name] != default for values in tried), (cls, name)


@pytest.mark.parametrize("option", OPTIONS, ids=repr)
def test_an_object_with_options_comes_back(option, tmp_path):
    estimator = holding(option)
    twin = round_trip(estimator, tmp_path)
    assert_same(twin, estimator)
    assert twin.get_params() == estimator.get_params()


@pytest.mark.parametrize(
    ("option", "match"),
    [
        (ASAM(eta=-1), "The 'eta' parameter of ASAM must be"),
        (Cyclic(shape="sine"), "The 'shape' parameter of Cyclic must be"),
        (SWA(anneal=3), "anneal needs lr"),
        (MultiStep(milestones=(1, "2")), "milestones must hold shares"),
        (Quantile(quantile=[0.9, 0.1]), "quantile must hold its levels in ascending"),
    ],
    ids=repr,
)
def test_options_that_no_method_takes_are_saved_and_refused_by_fit(
    option, match, tmp_path
):
    estimator = holding(option)
    twin = round_trip(estimator, tmp_path)
    assert twin.get_params() == estimator.get_params()
    with pytest.raises(ValueError, match=match):
        twin.fit(X, y)


class Tilted(Cosine):
    """Somebody's own, which no other process knows."""

    name = ""


def test_a_class_of_the_users_is_not_saved(tmp_path):
    estimator = SAMMLPClassifier(**SMALL, learning_rate=Tilted())
    with pytest.raises(TypeError, match=r"learning_rate must be data.*got Tilted\(\)"):
        sksharp.save(estimator, tmp_path / "model")


def test_a_generator_that_is_shared_stays_shared(tmp_path):
    twin = round_trip(fitted("generator"), tmp_path)
    assert twin._random_state is twin.random_state


def test_arrays_keep_their_order_in_memory(tmp_path):
    estimator = fitted("adam")
    estimator.coefs_[0] = np.asfortranarray(estimator.coefs_[0])
    twin = round_trip(estimator, tmp_path)
    assert_same(twin, estimator)
    assert twin.coefs_[0].flags.f_contiguous
    assert twin.coefs_[1].flags.c_contiguous


@pytest.mark.parametrize("is_fitted", [False, True])
def test_names_of_features_come_back(is_fitted, tmp_path):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    estimator = SAMMLPClassifier(**SMALL)
    if is_fitted:
        estimator.fit(frame, y)
    twin = round_trip(estimator, tmp_path)
    assert_same(twin, estimator)
    if is_fitted:
        with pytest.raises(ValueError, match="feature names should match"):
            twin.predict(frame[list("fedcba")])


def test_equal_estimators_make_equal_files(tmp_path):
    for name in ("a", "b"):
        sksharp.save(fitted("rho of members"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_loads_in_a_process_without_torch_and_predicts_the_same(tmp_path):
    estimator = fitted("rho of members")
    sksharp.save(estimator, tmp_path / "model")
    np.save(tmp_path / "X.npy", X)
    program = """
import sys, numpy as np, sksharp
folder = sys.argv[1]
estimator = sksharp.load(folder + "/model")
np.save(folder + "/p.npy", estimator.predict_proba(np.load(folder + "/X.npy")))
assert not {"torch", "skorch"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert_array_equal(np.load(tmp_path / "p.npy"), estimator.predict_proba(X))


# -- pickles: the versions that wrote them -------------------------------------------------


def unfitted_and_fitted():
    yield SAMMLPClassifier(**SMALL, solver=Ranger(k=4), swa=SWA(start=2))
    yield fitted("swa")
    yield fitted("members")
    yield PiecewiseLinearEncoder().fit(X)
    yield VectorizedGridSearchCV(SAMMLPClassifier(**SMALL), {"rho": [0, 0.1]})


@pytest.mark.parametrize("package", [_version, sklearn])
def test_a_pickle_of_another_version_warns_of_both_versions(package, monkeypatch):
    here = package.__version__
    for estimator in unfitted_and_fitted():
        monkeypatch.setattr(package, "__version__", "0.0.7")
        content = pickle.dumps(estimator)
        monkeypatch.setattr(package, "__version__", here)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            twin = pickle.loads(content)
        # scikit-learn's objects in it warn themselves
        (message, *_) = [
            w.message
            for w in caught
            if isinstance(w.message, InconsistentVersionWarning)
            and type(estimator).__name__ in str(w.message)
        ]
        assert "0.0.7" in str(message)
        assert here in str(message)
        assert_same(twin, estimator)


def test_the_warning_is_of_scikit_learns_category_and_tells_the_versions(monkeypatch):
    content = pickle.dumps(SAMMLPClassifier())
    here = sksharp.__version__
    monkeypatch.setattr(_version, "__version__", "9.9")
    with pytest.warns(SklearnVersionWarning, match=r"read by sksharp 9\.9") as caught:
        pickle.loads(content)
    message = caught[0].message
    assert message.original_sksharp_version == here
    assert message.current_sksharp_version == "9.9"
    assert message.original_sklearn_version == sklearn.__version__
    assert message.estimator_name == "SAMMLPClassifier"


@pytest.mark.parametrize("case", ["swa", "members", "ranger"])
def test_a_pickle_from_before_the_stamp_warns_and_goes_on_as_the_original(case):
    estimator = fitted(case).set_params(warm_start=True)
    # the attributes as they are, of which a pickle consisted
    twin = SAMMLPClassifier.__new__(SAMMLPClassifier)
    with pytest.warns(InconsistentVersionWarning, match="by sksharp unknown with"):
        twin.__setstate__(copy.deepcopy(vars(estimator)))
    assert_same(twin, estimator)
    for one in (twin, estimator):
        one.fit(X, CASES[case][1])
    assert_same(twin, estimator)


def test_the_stamp_is_in_pickles_and_not_among_the_attributes():
    for estimator in unfitted_and_fitted():
        state = estimator.__getstate__()
        assert state["_sksharp_version"] == sksharp.__version__
        assert state["_sklearn_version"] == sklearn.__version__
        for twin in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
            assert vars(twin).keys() == vars(estimator).keys()
            assert not {"_sksharp_version", "_sklearn_version"} & vars(twin).keys()


# -- skops: the types to trust -------------------------------------------------------------


def skops_round_trip(estimator):
    """Return what comes back, and the types that had to be trusted, sorted."""
    skops = pytest.importorskip("skops.io")
    content = skops.dumps(estimator)
    trusted = skops.get_untrusted_types(data=content)
    return skops.loads(content, trusted=trusted), sorted(trusted)


def full_name(obj):
    return f"{obj.__module__}.{obj.__qualname__}"


@pytest.mark.parametrize(
    # a limit of skops, which knows the oldest generator alone
    "case",
    [name for name in CASES if name != "generator of another kind"],
)
def test_skops_has_to_trust_the_class_and_its_options_and_brings_all_back(case):
    estimator = fitted(case)
    twin, trusted = skops_round_trip(estimator)
    held = {type(v) for v in vars(estimator).values() if isinstance(v, Option)}
    assert trusted == sorted(map(full_name, {type(estimator), *held}))
    assert_same(twin, estimator)
    is_shared = estimator.random_state is getattr(estimator, "_random_state", None)
    assert (twin.random_state is getattr(twin, "_random_state", None)) == is_shared


@pytest.mark.parametrize("case", ["snapshots", "ranger", "swa"])
def test_training_goes_on_bit_for_bit_after_skops(case):
    estimator = SAMMLPClassifier(**SMALL, warm_start=True, snapshots=2)
    estimator = estimator.fit(X, y) if case == "snapshots" else fitted(case)
    twin, _ = skops_round_trip(estimator.set_params(warm_start=True))
    for one in (twin, estimator):
        one.fit(X, y)
    assert_same(twin, estimator)


def test_in_a_pipeline_and_a_search_skops_has_to_trust_ours_and_what_theirs_needs():
    pipeline = make_pipeline(StandardScaler(), SAMMLPClassifier(**SMALL))
    grid = {"sammlpclassifier__rho": [0, 0.1]}
    twin, trusted = skops_round_trip(pipeline.fit(X, y))
    assert trusted == [full_name(SAMMLPClassifier)]
    assert_array_equal(twin.predict_proba(X), pipeline.predict_proba(X), strict=True)

    theirs = GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=3).fit(X, y)
    _, needed = skops_round_trip(theirs)
    ours = VectorizedGridSearchCV(pipeline, grid, cv=3).fit(X, y)
    twin, trusted = skops_round_trip(ours)
    own = {full_name(SAMMLPClassifier), full_name(VectorizedGridSearchCV)}
    assert {*trusted} == {*needed} | own
    assert_array_equal(twin.predict_proba(X), ours.predict_proba(X), strict=True)
    assert twin.cv_results_["mean_test_score"] == pytest.approx(
        ours.cv_results_["mean_test_score"], abs=0
    )


def test_of_a_tabular_pipeline_skops_asks_for_what_this_package_wrote():
    table = pd.DataFrame({"a": X[:, 0], "b": STRINGS, "c": X[:, 1] > 0})
    table.iloc[3, :2] = None
    model = tabular_pipeline(SAMMLPRegressor(**SMALL)).fit(table, TARGETS[:, 0])
    twin, trusted = skops_round_trip(model)
    assert all(name.startswith(("sksharp.", "numpy.")) for name in trusted)
    assert_array_equal(twin.predict(table), model.predict(table), strict=True)


# -- how far predictions are from the original's, whichever way a model is carried ---------

HOUSES = pd.DataFrame(
    {
        "town": np.array(["Ulm", "Bonn", None], dtype=object)[y],
        "area": np.where(X[:, 0] > 1.5, np.nan, X[:, 0]),
        "lift": X[:, 1] > 0,
    }
)
CARRIED = {
    "classifier": (SAMMLPClassifier(**SMALL), X, y > 1),
    "multiclass": (SAMMLPClassifier(**SMALL), X, STRINGS),
    "multilabel": (SAMMLPClassifier(**SMALL), X, LABELS),
    "regressor": (SAMMLPRegressor(**SMALL), X, TARGETS),
    "ensemble": (SAMMLPClassifier(**SMALL, n_members=3), X, STRINGS),
    "pipeline": (tabular_pipeline(SAMMLPClassifier(**SMALL)), HOUSES, STRINGS),
}


def predictions(estimator, rows):
    """Return what the outputs of the network say."""
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(rows)
    return estimator.predict(rows)


def network_and_rows(model, rows):
    """Return the network at the end of a model, and the rows as it sees them."""
    if isinstance(model, Pipeline):
        return model[-1], model[:-1].transform(rows)
    return model, rows


def by_save(model, rows, path):
    network, rows = network_and_rows(model, rows)
    return predictions(round_trip(network, path), rows)


def by_skops(model, rows, path):
    return predictions(skops_round_trip(model)[0], rows)


def by_pickle(model, rows, path):
    return predictions(pickle.loads(pickle.dumps(model)), rows)


def by_sklearn(model, rows, path):
    network, rows = network_and_rows(model, rows)
    return predictions(network.to_sklearn(), rows)


def by_torch(model, rows, path):
    network, rows = network_and_rows(model, rows)
    return np.array(network.to_torch()(torch.tensor(rows)).tolist())


def by_onnx(model, rows, path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    from sksharp.onnx import make_inputs, to_onnx

    carried = to_onnx(model, rows)
    session = onnxruntime.InferenceSession(carried.SerializeToString())
    return session.run(None, make_inputs(carried, rows))[-1]


# with the largest difference allowed, in float64 and in the pipeline's float32
CARRIERS = {
    "save": (by_save, 0, 0),
    "skops": (by_skops, 0, 0),
    "pickle": (by_pickle, 0, 0),
    "to_sklearn": (by_sklearn, 0, 0),
    "to_torch": (by_torch, 1e-13, 1e-6),
    "ONNX": (by_onnx, 1e-13, 1e-6),
}


@functools.cache
def model_to_carry(kind):
    model, rows, targets = CARRIED[kind]
    return clone(model).fit(rows, targets)


def difference(carrier, kind, path):
    """Return the largest difference of predictions, relative to the largest of them."""
    model, (_, rows, _) = model_to_carry(kind), CARRIED[kind]
    expected = predictions(model, rows)
    actual = CARRIERS[carrier][0](model, rows, path)
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("kind", CARRIED)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_predictions_are_the_originals_whichever_way_a_model_is_carried(
    carrier, kind, tmp_path
):
    if (carrier, kind) == ("to_sklearn", "ensemble"):
        with pytest.raises(ValueError, match="scikit-learn's estimators have one netw"):
            difference(carrier, kind, tmp_path)
        return
    _, of_double, of_single = CARRIERS[carrier]
    allowed = of_single if kind == "pipeline" else of_double
    assert difference(carrier, kind, tmp_path) <= allowed


# -- files that are not as they were written -----------------------------------------------


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    estimator, targets = CASES["swa"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sksharp.save(clone(estimator).fit(X, targets), path)
    return path.read_bytes()


def damage(content, seed):
    """Return the content cut short, with bytes changed, left out, doubled or added."""
    rng = np.random.RandomState(seed)
    place = rng.randint(len(content))
    kind = ["cut", "flip", "flips", "leave out", "insert", "append", "swap", "zeros"][
        seed % 8
    ]
    new = bytearray(content)
    if kind == "cut":
        return bytes(new[:place])
    if kind == "flip":
        new[place] ^= 1 << rng.randint(8)
    elif kind == "flips":
        for i in rng.randint(len(new), size=20):
            new[i] ^= rng.randint(1, 256)
    elif kind == "leave out":
        del new[place : place + rng.randint(1, 50)]
    elif kind == "insert":
        new[place:place] = rng.bytes(rng.randint(1, 50))
    elif kind == "append":
        new += rng.bytes(rng.randint(1, 50))
    elif kind == "swap":
        half = len(new) // 2
        new = new[half:] + new[:half]
    else:
        new[place : place + 200] = bytes(len(new[place : place + 200]))
    return bytes(new)


def test_200_damaged_files_are_200_clear_errors(content, tmp_path):
    path = tmp_path / "damaged"
    n_refused = 0
    for seed in range(200):
        damaged = damage(content, seed)
        if damaged == content:  # 200 zeros in the place of zeros
            damaged = damaged[:-1]
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged' cannot be loaded: it"):
            sksharp.load(path)
        n_refused += 1
    assert n_refused == 200


def test_the_last_bytes_and_no_bytes_are_errors_too(content, tmp_path):
    path = tmp_path / "model"
    for damaged in (b"", content[-1:], content[-64:], content[-79:], b"0" * 64):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot be loaded: it"):
            sksharp.load(path)
    flipped = bytearray(content)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match="checksum is wrong"):
        sksharp.load(path)


def rewritten(content, change_manifest=None, replace=None, compress=zipfile.ZIP_STORED):
    """Return the content with other parts, under a checksum that is right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts["manifest.json"])
    if change_manifest is not None:
        change_manifest(manifest)
    parts["manifest.json"] = json.dumps(manifest).encode()
    parts.update(replace or {})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        archive.comment = b"sksharp sha256 " + b"0" * 64
        for name, part in parts.items():
            archive.writestr(name, part)
    new = buffer.getvalue()[:-64]
    return new + sha256(new).hexdigest().encode()


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def huge():
    """Return an array's file whose header promises more than there is."""
    return npy(np.zeros(2)).replace(b"(2,)", b"(999999999999,)", 1)


FOREIGN = {
    "a later format": (
        lambda m: m.update(format_version=2),
        {},
        "format has version 2, and this version of sksharp reads 1",
    ),
    "another format": (lambda m: m.update(format="other"), {}, "not a file of"),
    "no estimator": (lambda m: m.pop("estimator"), {}, "not valid"),
    "another class": (
        lambda m: m["estimator"].update(type="Pipeline"),
        {},
        "'Pipeline' in place of an estimator",
    ),
    "an array alone": (
        lambda m: m.update(estimator={"type": "array", "array": 0}),
        {},
        "'array' in place of an estimator",
    ),
    "a later parameter": (
        lambda m: m["estimator"]["params"].update(depth=3),
        {},
        r"parameters that this version does not know, \['depth'\]",
    ),
    "options of a later class": (
        lambda m: m["estimator"]["params"].update(
            solver={"type": "option", "name": "QSAM", "options": {}}
        ),
        {},
        "options of 'QSAM', which this version does not know",
    ),
    "a later option": (
        lambda m: m["estimator"]["params"].update(
            solver={"type": "option", "name": "SAM", "options": {"depth": 3}}
        ),
        {},
        r"options of 'SAM' that this version does not know, \['depth'\]",
    ),
    "a method": (
        lambda m: m["estimator"]["state"].update(predict=3),
        {},
        r"not of a fit, \['predict'\]",
    ),
    "a missing array": (lambda m: m.update(n_arrays=10**6), {}, "not a file of"),
    "layers that do not fit": (
        lambda m: m["estimator"]["state"].update(n_features_in_=5),
        {},
        "layers of its network do not fit",
    ),
    "pickled objects": (
        None,
        {"arrays/0.npy": npy(np.array([Bomb()], dtype=object))},
        "an array of object",
    ),
    "a pickle": (None, {"arrays/0.npy": pickle.dumps(Bomb())}, "not a file of"),
    "records": (
        None,
        {"arrays/0.npy": npy(np.zeros(2, "f4,f4"))},
        "has an array of",
    ),
    "a huge array": (None, {"arrays/0.npy": huge()}, "not complete"),
    "deep nesting": (
        None,
        {"manifest.json": b"[" * 100_000 + b"]" * 100_000},
        "not a file of",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_file_of_other_content_is_a_clear_error_and_runs_nothing(
    case, content, tmp_path
):
    change, replace, match = FOREIGN[case]
    (tmp_path / "model").write_bytes(rewritten(content, change, replace))
    with pytest.raises(ValueError, match=match):
        sksharp.load(tmp_path / "model")


def test_a_compressed_file_is_refused_before_it_unfolds(content, tmp_path):
    packed = rewritten(content, compress=zipfile.ZIP_DEFLATED)
    (tmp_path / "model").write_bytes(packed)
    with pytest.raises(ValueError, match="it is compressed"):
        sksharp.load(tmp_path / "model")


NO_VERSION = object()


@pytest.mark.parametrize("version", [0, 2, -1, None, True, 1.0, "1", [1], NO_VERSION])
def test_a_format_of_any_version_but_1_is_refused(version, content, tmp_path):
    def change(manifest):
        manifest["format_version"] = version
        if version is NO_VERSION:
            del manifest["format_version"]

    (tmp_path / "model").write_bytes(rewritten(content, change))
    found = None if version is NO_VERSION else version
    with pytest.raises(ValueError, match=re.escape(f"format has version {found!r}, ")):
        sksharp.load(tmp_path / "model")


def test_other_zip_archives_and_pickles_are_not_models(tmp_path):
    path = tmp_path / "model"
    np.savez(path, a=X)
    path.with_suffix(".npz").rename(path)
    with pytest.raises(ValueError, match="not a complete file of"):
        sksharp.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="not a complete file of"):
        sksharp.load(path)
    with pytest.raises(FileNotFoundError):
        sksharp.load(tmp_path / "nothing")


# -- what cannot be saved ------------------------------------------------------------------


class Subclass(SAMMLPClassifier):
    pass


UNSAVED = {
    "pipeline": (make_pipeline(SAMMLPClassifier()), r"pipeline\[-1\].*joblib\.dump"),
    "scikit-learn's": (MLPClassifier(), "got MLPClassifier"),
    "subclass": (Subclass(), "got Subclass"),
    "callbacks": (SAMMLPClassifier(callbacks=[Bomb()]), "callbacks must be data"),
    "splitter": (SAMMLPClassifier(cv=KFold(3)), "cv must be data"),
}


def add_a_note(estimator):
    estimator.note_ = "of Tuesday"


def cut_a_layer(estimator):
    estimator.coefs_[0] = estimator.coefs_[0][:3]


def count_as_text(estimator):
    estimator.t_ = str(estimator.t_)


ALTERED = {
    "an attribute more": (add_a_note, r"not of a fit, \['note_'\]"),
    "a layer that does not fit": (cut_a_layer, "layers of its network do not fit"),
    "another type": (
        count_as_text,
        "its t_ must be an integer of at least 0, got '240'",
    ),
}


@pytest.mark.parametrize("case", ALTERED)
def test_what_could_not_be_loaded_is_not_saved_and_the_file_stays(case, tmp_path):
    path = tmp_path / "model"
    path.write_text("before")
    alter, match = ALTERED[case]
    estimator = fitted("adam")
    alter(estimator)
    with pytest.raises(ValueError, match=rf"as fit leaves it.*{match}.*joblib\.dump"):
        sksharp.save(estimator, path)
    assert path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]


def test_parameters_are_saved_as_they_are_and_checked_by_fit(tmp_path):
    for estimator in (SAMMLPClassifier(max_iter=-1), fitted("adam")):
        estimator.set_params(max_iter=-1, alpha="much")
        twin = round_trip(estimator, tmp_path)
        assert_same(twin, estimator)
        with pytest.raises(ValueError, match=r"'(alpha|max_iter)' parameter"):
            twin.fit(X, y)


def test_weights_that_were_cast_are_saved_and_trained_on(tmp_path):
    estimator = fitted("swa").set_params(warm_start=True)
    for name in ("coefs_", "intercepts_"):
        layers = getattr(estimator, name)
        setattr(estimator, name, [layer.astype(np.float32) for layer in layers])
    twin = round_trip(estimator, tmp_path)
    for one in (twin, estimator):
        one.partial_fit(X, y)
    assert twin.coefs_[0].dtype == np.float32
    assert_same(twin, estimator)


@pytest.mark.parametrize("case", UNSAVED)
def test_what_is_not_data_is_not_saved_and_the_file_stays(case, tmp_path):
    path = tmp_path / "model"
    path.write_text("before")
    estimator, match = UNSAVED[case]
    with pytest.raises(TypeError, match=match):
        sksharp.save(estimator, path)
    assert path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]


# -- writing: the old file or the new one, and nothing else --------------------------------


class FullDisk(io.FileIO):
    """A file that takes some bytes and then no more."""

    def write(self, data):
        super().write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def open_full(path, mode, **options):
    return FullDisk(path, mode.replace("b", ""), **options)


def fail(*args):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


FAILURES = {
    "a full disk": (_files, "open", open_full),
    "what the disk has not taken": (os, "fsync", fail),
    "a move": (os, "replace", fail),
}


@pytest.mark.parametrize("case", FAILURES)
@pytest.mark.parametrize("is_there", [False, True])
def test_a_write_that_fails_leaves_the_file_as_it_was_and_no_other(
    case, is_there, tmp_path, monkeypatch
):
    path = tmp_path / "model"
    if is_there:
        path.write_text("before")
    place, name, failing = FAILURES[case]
    monkeypatch.setattr(place, name, failing, raising=False)
    with pytest.raises(OSError, match=r"No space left|Input/output error"):
        sksharp.save(SAMMLPClassifier(), path)
    assert [*tmp_path.iterdir()] == [path] * is_there
    assert not is_there or path.read_text() == "before"


def test_the_bytes_are_on_disk_before_the_move_and_the_name_after_it(
    tmp_path, monkeypatch
):
    path, done = tmp_path / "model", []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        of_what = os.fstat(descriptor)
        if os.path.samestat(of_what, tmp_path.stat()):
            done.append(("folder", path.exists()))
        else:
            done.append(("file", of_what.st_size))
        fsync(descriptor)

    def note_replace(source, target):
        done.append(("move", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    sksharp.save(SAMMLPClassifier(), path)
    expected = [("file", path.stat().st_size), ("move", "model"), ("folder", True)]
    assert done == expected


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask():
    if os.name == "nt":
        pytest.skip("Windows has other permissions")
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_has_the_mode_that_the_user_asks_for(mask, mode, umask, tmp_path):
    os.umask(mask)
    sksharp.save(SAMMLPClassifier(), tmp_path / "model")
    assert mode_of(tmp_path / "model") == mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
def test_a_file_that_is_replaced_keeps_its_mode(mode, umask, tmp_path, monkeypatch):
    path, before, chmod = tmp_path / "model", [], os.chmod
    path.write_text("before")
    path.chmod(mode)

    def note_chmod(other, new_mode):
        before.append((mode_of(other), os.path.getsize(other)))
        chmod(other, new_mode)

    monkeypatch.setattr(os, "chmod", note_chmod)
    sksharp.save(SAMMLPClassifier(), path)
    assert mode_of(path) == mode
    assert type(sksharp.load(path)) is SAMMLPClassifier
    assert before == [
        (0o600, 0)
    ]  # nobody else could read it, and there was nothing yet


def test_what_the_system_does_not_let_us_set_is_no_error(umask, tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_text("before")
    for name in ("chmod", "chown"):
        monkeypatch.setattr(os, name, fail)
    sksharp.save(SAMMLPClassifier(), path)
    assert mode_of(path) == 0o600
    assert type(sksharp.load(path)) is SAMMLPClassifier


def test_another_group_may_not_read_what_the_old_group_could(
    umask, tmp_path, monkeypatch
):
    path = tmp_path / "model"
    path.write_text("new")
    old = SimpleNamespace(st_mode=stat.S_IFREG | 0o664, st_gid=path.stat().st_gid + 1)
    monkeypatch.setattr(os, "chown", fail)
    _files._take_mode(path, old)
    assert mode_of(path) == 0o604


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            fail()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    sksharp.save(SAMMLPClassifier(), tmp_path / "model")
    assert type(sksharp.load(tmp_path / "model")) is SAMMLPClassifier


@pytest.mark.parametrize("target", ["there", "not there"])
def test_a_link_stays_one_and_leads_to_the_new_file(target, tmp_path):
    link, file = tmp_path / "link", tmp_path / "folder" / "model"
    file.parent.mkdir()
    if target == "there":
        file.write_text("before")
    between = tmp_path / "between"
    between.symlink_to(os.path.join("folder", "model"))
    link.symlink_to("between")
    sksharp.save(SAMMLPClassifier(), link)
    assert link.readlink() == Path("between")
    assert between.readlink() == Path("folder", "model")
    assert not file.is_symlink()
    assert type(sksharp.load(file)) is SAMMLPClassifier
    assert [*file.parent.iterdir()] == [file]


def test_a_folder_is_not_replaced_and_a_name_may_be_as_long_as_any(tmp_path):
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        sksharp.save(SAMMLPClassifier(), tmp_path)
    sksharp.save(SAMMLPClassifier(), tmp_path / ("m" * 255))
    assert [path.name for path in tmp_path.iterdir()] == ["m" * 255]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    sksharp.save(SAMMLPClassifier(), tmp_path / "model")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        sksharp.save(SAMMLPClassifier(), pipe)
        sent = os.read(reader, 10**6)
    finally:
        os.close(reader)
    assert sent == (tmp_path / "model").read_bytes()
    assert pipe.is_fifo()


def test_a_path_is_text_bytes_or_a_path_from_the_folder_of_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("a", b"b", Path("c")):
        sksharp.save(SAMMLPClassifier(), path)
        assert type(sksharp.load(path)) is SAMMLPClassifier
    assert sorted(os.listdir()) == ["a", "b", "c"]
