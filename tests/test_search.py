"""A vectorized search is scikit-learn's, result for result, and trains together."""

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import types
import warnings
from collections import Counter

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_validate,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import Callback

import sksharp.training
from sksharp import (
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    VectorizedRandomizedSearchCV,
    training,
)
from sksharp.model_selection import _folder
from sksharp.model_selection._cache import TransformerCache
from sksharp.model_selection._results import find_network
from sksharp.options import SWA
from sksharp.training import _fit
from sksharp.training._step import Step

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
N = 60
X = rng.normal(size=(N, 4)) * [1, 2, 1, 0.5]
LABELS = (X[:, 0] + rng.normal(size=N) > 0.5).astype(int) + (X[:, 2] > 0.5)
TARGETS = X[:, 0] - X[:, 2] ** 2 + 0.5 * rng.normal(size=N)
WEIGHTS = rng.uniform(0.1, 3, size=N)
GROUPS = np.arange(N) % 7

SMALL = {
    "hidden_layer_sizes": (4,),
    "batch_size": 8,
    "max_iter": 5,
    "random_state": 0,
}
GRID = {"rho": [0.05, 0.5], "learning_rate_init": [0.002, 0.02]}
SOLVERS = {
    "sam": {},
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd"},
    "wsam": {"solver": "wsam"},
    "ranger": {"solver": "ranger"},
    "sam over sgd": {"base_solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
}
TRAININGS = {
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 12},
    "swa": {"swa": SWA(start=2)},
    "ema": {"ema_decay": 0.8},
    "early stopping and swa": {"early_stopping": True, "swa": SWA(start=2)},
    "early stopping and ema": {"early_stopping": True, "ema_decay": 0.8},
    "max_steps": {"max_steps": 12},
}


def make_classifier(**params):
    return SAMMLPClassifier(**{**SMALL, "rho": 0.05, **params})


def make_regressor(**params):
    return SAMMLPRegressor(**{**SMALL, "rho": 0.05, **params})


# (what stands around the network, prefix of the network's parameters, makes it, targets)
KINDS = {
    "classifier": (lambda mlp: mlp, "", make_classifier, LABELS),
    "regressor": (lambda mlp: mlp, "", make_regressor, TARGETS),
    "pipeline of a classifier": (
        lambda mlp: Pipeline([("scale", StandardScaler()), ("mlp", mlp)]),
        "mlp__",
        make_classifier,
        LABELS,
    ),
    "pipeline of a regressor": (
        lambda mlp: Pipeline([("scale", StandardScaler()), ("mlp", mlp)]),
        "mlp__",
        make_regressor,
        TARGETS,
    ),
    "transformed targets": (
        lambda mlp: TransformedTargetRegressor(mlp, transformer=StandardScaler()),
        "regressor__",
        make_regressor,
        TARGETS,
    ),
    "transformed targets of a pipeline": (
        lambda mlp: TransformedTargetRegressor(
            make_pipeline(StandardScaler(), mlp), transformer=StandardScaler()
        ),
        "regressor__sammlpregressor__",
        make_regressor,
        TARGETS,
    ),
}


def make_kind(kind, **params):
    """Return an estimator, its grid and targets for it."""
    around, prefix, make, y = KINDS[kind]
    return (
        around(make(**params)),
        {prefix + name: values for name, values in GRID.items()},
        y,
    )


@pytest.fixture
def calls(monkeypatch):
    """Count the jobs of every call of the engine."""
    sizes = []

    def fit_models(jobs, **kwargs):
        sizes.append(len(jobs))
        return _fit.fit_models(jobs, **kwargs)

    monkeypatch.setattr(training, "fit_models", fit_models)
    return sizes


def fitted_network(estimator):
    """Return the fitted network inside of an estimator."""
    while not hasattr(estimator, "coefs_"):
        estimator = getattr(estimator, "regressor_", None) or estimator[-1]
    return estimator


def assert_same_search(search, plain, rtol=0.0):
    ours, theirs = search.cv_results_, plain.cv_results_
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        if name.startswith("rank"):
            assert_array_equal(ours[name], expected)
        elif name.startswith(("split", "mean", "std")) and "time" not in name:
            assert_allclose(ours[name], expected, rtol=rtol, atol=0, err_msg=name)
        elif name == "params":
            assert repr(ours[name]) == repr(expected)
    for name in ("best_index_", "n_splits_", "multimetric_"):
        assert getattr(search, name, None) == getattr(plain, name, None)
    if hasattr(plain, "best_estimator_"):
        assert repr(search.best_params_) == repr(plain.best_params_)
        a, b = map(fitted_network, (search.best_estimator_, plain.best_estimator_))
        for array, other in zip(
            [*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True
        ):
            assert_allclose(array, other, rtol=1e-9, atol=max(1e-9, rtol))


def search_both(estimator, grid, X, y, fit_params=None, **params):
    """Return our search and scikit-learn's, fitted alike."""
    searches = []
    for Search in (VectorizedGridSearchCV, GridSearchCV):
        search = Search(clone(estimator), grid, **{"cv": 3, **params})
        searches.append(search.fit(X, y, **(fit_params or {})))
    return searches


# -- the same results -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "kind"),
    [(solver, "classifier") for solver in SOLVERS]
    + [(solver, "pipeline of a regressor") for solver in SOLVERS]
    + [
        ("sam", kind)
        for kind in KINDS
        if kind not in ("classifier", "pipeline of a regressor")
    ],
)
def test_a_search_gives_the_results_of_scikit_learns(solver, kind):
    estimator, grid, y = make_kind(kind, **SOLVERS[solver])
    ours, theirs = search_both(estimator, grid, X, y, cv=2)
    assert_same_search(ours, theirs, rtol=1e-9 if y is TARGETS else 0)


@pytest.mark.parametrize("kind", ["classifier", "pipeline of a regressor"])
@pytest.mark.parametrize(
    ("solver", "random_state"), [("sam", 3), ("ranger", np.random.RandomState(3))]
)
@pytest.mark.parametrize("case", TRAININGS)
def test_every_way_of_training_gives_the_results_of_scikit_learns(
    case, solver, random_state, kind, calls
):
    settings = {**SOLVERS[solver], **TRAININGS[case], "random_state": random_state}
    estimator, grid, y = make_kind(kind, **settings)
    ours, theirs = search_both(estimator, grid, X, y, cv=2)
    assert_same_search(ours, theirs, rtol=1e-9 if y is TARGETS else 0)
    # ours trains 4 candidates on 2 splits at once, theirs each alone
    assert calls[:2] == [8, 1]


@pytest.mark.parametrize("kind", ["classifier", "pipeline of a regressor"])
def test_a_randomized_search_gives_the_results_of_scikit_learns(kind, calls):
    estimator, _, y = make_kind(kind)
    prefix = KINDS[kind][1]
    distributions = {
        f"{prefix}rho": loguniform(1e-2, 1),
        f"{prefix}alpha": loguniform(1e-4, 10),
        f"{prefix}solver": ["sam", "wsam"],
    }
    searches = [
        Search(clone(estimator), distributions, n_iter=5, cv=3, random_state=1)
        for Search in (VectorizedRandomizedSearchCV, RandomizedSearchCV)
    ]
    ours, theirs = (search.fit(X, y) for search in searches)
    assert_same_search(ours, theirs, rtol=1e-9 if y is TARGETS else 0)
    assert calls[:2] == [15, 1]


def as_frame(X):
    return pd.DataFrame(X, columns=list("abcd"))


DATA = {
    "string labels": (make_classifier(), X, np.array(["no", "yes", "so"])[LABELS]),
    "two labels": (make_classifier(), X, LABELS > 0),
    "class_weight": (make_classifier(class_weight="balanced"), X, LABELS),
    "several labels": (make_classifier(), X, np.c_[LABELS > 0, LABELS > 1]),
    "several targets": (make_regressor(), X, np.c_[TARGETS, TARGETS**2]),
    "counts": (make_regressor(loss="poisson"), X, np.abs(TARGETS).round()),
    "sparse rows": (make_classifier(), sp.csr_array(X * (X > 0)), LABELS),
    "sparse columns": (make_classifier(), sp.csc_matrix(X * (X > 0)), LABELS),
    "a frame": (make_classifier(), as_frame(X), pd.Series(LABELS)),
    "lists": (make_classifier(), X.tolist(), LABELS.tolist()),
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("case", DATA)
def test_every_kind_of_data_is_searched_as_by_scikit_learn(case, early_stopping, calls):
    estimator, rows, y = DATA[case]
    estimator = clone(estimator).set_params(early_stopping=early_stopping)
    if early_stopping:
        estimator.set_params(validation_fraction=0.3)
    ours, theirs = search_both(estimator, GRID, rows, y, cv=KFold(2))
    assert_same_search(ours, theirs, rtol=1e-9)
    assert calls[:2] == [8, 1]
    assert_array_equal(ours.predict(rows), theirs.predict(rows))
    for name in ("classes_", "n_features_in_", "feature_names_in_"):
        assert_array_equal(getattr(ours, name, None), getattr(theirs, name, None))


def test_single_precision_is_searched_in_single_precision(calls):
    ours, theirs = search_both(
        make_classifier(), GRID, X.astype(np.float32), LABELS, scoring="neg_log_loss"
    )
    assert calls[:2] == [12, 1]
    assert fitted_network(ours.best_estimator_).coefs_[0].dtype == np.float32
    assert_same_search(ours, theirs, rtol=1e-4)


def refit_the_last(results):
    return len(results["params"]) - 1


@pytest.mark.parametrize("refit", ["neg_log_loss", refit_the_last, False])
def test_several_scores_are_those_of_scikit_learn(refit, calls):
    ours, theirs = search_both(
        make_classifier(),
        GRID,
        X,
        LABELS,
        scoring=["accuracy", "neg_log_loss"],
        refit=refit,
        return_train_score=True,
    )
    assert_same_search(ours, theirs, rtol=1e-9)
    assert "mean_train_neg_log_loss" in ours.cv_results_
    assert hasattr(ours, "best_estimator_") == bool(refit)
    assert calls[: 1 + bool(refit)] == [12, 1][: 1 + bool(refit)]


# -- rows, weights and groups -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["classifier", "pipeline of a regressor"])
def test_weights_reach_the_training_as_in_scikit_learn(kind, calls):
    estimator, grid, y = make_kind(kind)
    name = KINDS[kind][1] + "sample_weight"
    ours, theirs = search_both(estimator, grid, X, y, {name: WEIGHTS})
    assert_same_search(ours, theirs, rtol=1e-9)
    assert calls[:2] == [12, 1]
    (plain, _) = search_both(estimator, grid, X, y)
    assert not np.allclose(
        fitted_network(plain.best_estimator_).coefs_[0],
        fitted_network(ours.best_estimator_).coefs_[0],
    )


def test_routed_weights_and_groups_reach_fit_score_and_splits(calls):
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            make_classifier().set_fit_request(sample_weight=True),
        )
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        ours, theirs = search_both(
            pipeline,
            {"sammlpclassifier__rho": [0.05, 0.5]},
            X,
            LABELS,
            {"sample_weight": WEIGHTS, "groups": GROUPS},
            scoring=scorer,
            cv=GroupKFold(3),
        )
    assert_same_search(ours, theirs, rtol=1e-9)
    assert calls[:2] == [6, 1]


def test_groups_split_the_rows_as_in_scikit_learn(calls):
    ours, theirs = search_both(
        make_classifier(), GRID, X, LABELS, {"groups": GROUPS}, cv=GroupKFold(3)
    )
    assert_same_search(ours, theirs)
    assert calls[:2] == [12, 1]


@pytest.mark.parametrize("kind", ["list", "generator", "default"])
def test_every_kind_of_split_is_taken_as_by_scikit_learn(kind, calls):
    n_splits = 5 if kind == "default" else 4
    searches = []
    for Search in (VectorizedGridSearchCV, GridSearchCV):
        splits = KFold(4).split
        cv = {"list": list(splits(X)), "generator": splits(X), "default": None}[kind]
        search = Search(make_classifier(), {"rho": [0.05, 0.5]}, cv=cv)
        searches.append(search.fit(X, LABELS))
        assert search.cv is cv
    assert_same_search(*searches)
    assert searches[0].n_splits_ == n_splits
    assert calls[:2] == [2 * n_splits, 1]


def test_random_splits_are_drawn_once(calls):
    search = VectorizedGridSearchCV(
        make_classifier(), GRID, cv=ShuffleSplit(3, random_state=None)
    ).fit(X, LABELS)
    # what was trained is what is fitted and scored
    assert calls == [12, 1]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# -- training together ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_fit_but_the_last_trains_again(kind, calls):
    estimator, grid, y = make_kind(kind)
    VectorizedGridSearchCV(estimator, grid, cv=3).fit(X, y)
    assert calls == [12, 1]


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_draws_without_a_seed_are_all_found(kind, early_stopping, calls):
    estimator, grid, y = make_kind(
        kind, random_state=None, early_stopping=early_stopping
    )
    search = VectorizedGridSearchCV(estimator, grid, cv=3).fit(X, y)
    assert calls == [12, 1]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_candidates_that_are_alike_train_in_one_group(monkeypatch):
    groups, fit_group = [], _fit._fit_group

    def counted(part, *args):
        groups.append(len(part.jobs))
        return fit_group(part, *args)

    monkeypatch.setattr(_fit, "_fit_group", counted)
    grid = {"hidden_layer_sizes": [(3,), (5,)], "rho": [0.0, 0.1, 0.3]}
    VectorizedGridSearchCV(make_classifier(), grid, cv=2).fit(X, LABELS)
    # a step with rho=0 is another one; the last is the refit
    assert sorted(groups[:-1]) == [2, 2, 4, 4]
    assert groups[-1] == 1


def test_several_groups_come_to_the_results_of_scikit_learns(calls):
    grid = [
        {"hidden_layer_sizes": [(3,), (5, 3)], "rho": [0.0, 0.3]},
        {"solver": ["adam", "ranger"], "batch_size": [8, 20]},
        {"random_state": [1, 2], "activation": ["tanh"], "shuffle": [True, False]},
    ]
    ours, theirs = search_both(make_classifier(), grid, X, LABELS, cv=2)
    assert_same_search(ours, theirs)
    assert calls[:2] == [24, 1]


class CountingScaler(StandardScaler):
    """Counts its fits, those of its clones too."""

    fits = []

    def fit(self, X, y=None, sample_weight=None):
        self.fits.append(len(X))
        return super().fit(X, y, sample_weight)


def test_a_transformer_is_fitted_once_per_split(monkeypatch):
    monkeypatch.setattr(CountingScaler, "fits", [])
    pipeline = Pipeline([("scale", CountingScaler()), ("mlp", make_classifier())])
    grid = {"mlp__rho": [0.05, 0.1, 0.5]}
    VectorizedGridSearchCV(pipeline, grid, cv=KFold(3)).fit(X, LABELS)
    assert CountingScaler.fits == [40, 40, 40, 60]


def test_a_grid_may_go_over_a_transformer_too(monkeypatch, calls):
    monkeypatch.setattr(CountingScaler, "fits", [])
    pipeline = Pipeline([("scale", CountingScaler()), ("mlp", make_classifier())])
    grid = {"scale__with_mean": [False, True], "mlp__rho": [0.05, 0.5]}
    ours = VectorizedGridSearchCV(pipeline, grid, cv=KFold(3)).fit(X, LABELS)
    assert CountingScaler.fits == [40] * 6 + [60]
    assert calls == [12, 1]
    theirs = GridSearchCV(pipeline, grid, cv=KFold(3)).fit(X, LABELS)
    assert_same_search(ours, theirs)


def test_a_thread_does_not_lose_what_another_one_forgets():
    class Slow:
        @property
        def nbytes(self):
            # it is asked for when it is stored, and something else comes in then
            if other.ident is None:
                other.start()
                other.join(timeout=0.1)
            return 8

    cache = TransformerCache(budget=1)  # the oldest goes at once
    make = cache.cache(lambda x: (Slow() if x == 0 else np.ones(1), x))
    other = threading.Thread(target=make, args=(1,))
    assert make(0)[1] == 0
    other.join()


class InPlace(TransformerMixin, BaseEstimator):
    """Writes to the rows it is given."""

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def transform(self, X):
        X += 1
        return X


@pytest.mark.parametrize("n_before", [0, 1])
def test_a_transformer_may_write_to_its_rows(n_before, calls):
    before = [StandardScaler() for _ in range(n_before)]
    pipeline = make_pipeline(*before, InPlace(), make_classifier())
    grid = {"sammlpclassifier__rho": [0.05, 0.3, 1.0]}
    ours, theirs = (
        Search(pipeline, grid, cv=3, scoring="neg_log_loss")
        # the last fit writes to the rows of the caller
        .fit(X.copy(), LABELS)
        for Search in (VectorizedGridSearchCV, GridSearchCV)
    )
    assert_same_search(ours, theirs, rtol=1e-9)
    assert calls[:2] == [9, 1]


@pytest.mark.parametrize("kind", ["classifier", "pipeline of a classifier"])
def test_a_small_budget_gives_the_same_results_split_by_split(kind, calls):
    estimator, grid, y = make_kind(kind)
    searches = [
        VectorizedGridSearchCV(estimator, grid, cv=3, memory_budget=budget).fit(X, y)
        for budget in (1, 2**30)
    ]
    assert calls == [4, 4, 4, 1, 12, 1]
    assert_same_search(*searches)


def test_processes_give_the_same_results_and_leave_no_folder(monkeypatch, tmp_path):
    folders, mkdtemp = [], tempfile.mkdtemp

    def recorded(*args, prefix, **kwargs):
        folders.append(mkdtemp(prefix=prefix, dir=tmp_path))
        return folders[-1]

    monkeypatch.setattr(_folder.tempfile, "mkdtemp", recorded)
    estimator, grid, y = make_kind("pipeline of a regressor")
    one, two = (
        VectorizedGridSearchCV(estimator, grid, cv=2, n_jobs=n_jobs).fit(X, y)
        for n_jobs in (None, 2)
    )
    assert_same_search(two, one, rtol=1e-9)
    # joblib makes some of its own
    assert sum(_folder.PREFIX in name for name in folders) == 1
    assert not list(tmp_path.glob(_folder.PREFIX + "*"))
    assert b"_pretraining" not in pickle.dumps(two)


def test_a_folder_that_a_killed_search_has_left_goes_with_the_next(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    held, left = _folder.SearchFolder(), _folder.SearchFolder()
    left._lock.close()  # as when its process has ended
    (left.path / "key").write_bytes(b"result")
    (tmp_path / (_folder.PREFIX + "of-something-else")).mkdir()
    mine = tmp_path / "sksharp-of-mine"
    mine.mkdir()
    new = _folder.SearchFolder()
    assert not left.path.exists()
    assert held.path.exists()
    assert new.path.exists()
    assert mine.exists()
    held.close()
    new.close()
    assert len(list(tmp_path.iterdir())) == 2


def no_folder(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")


def full_disk(monkeypatch):
    def dump(result, file, **options):
        file.write(b"some of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        "sksharp.model_selection._results.pickle",
        types.SimpleNamespace(**vars(pickle)),
    )
    monkeypatch.setattr("sksharp.model_selection._results.pickle.dump", dump)


def cut_short(monkeypatch):
    def dump(result, file, **options):
        file.write(pickle.dumps(result)[:40])

    full_disk(monkeypatch)
    monkeypatch.setattr("sksharp.model_selection._results.pickle.dump", dump)


def numpy_raises(monkeypatch):
    fit_group = _fit._fit_group

    def fit_one(part, observer=None):
        if len(part.jobs) > 1:
            raise FloatingPointError("overflow encountered in square")
        return fit_group(part, observer)

    monkeypatch.setattr(_fit, "_fit_group", fit_one)


@pytest.mark.parametrize("trouble", [no_folder, full_disk, cut_short, numpy_raises])
def test_trouble_with_the_common_training_costs_time_only(trouble, monkeypatch):
    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=2, memory_budget=1)
    expected = clone(search).fit(X, LABELS)
    trouble(monkeypatch)
    assert_same_search(search.fit(X, LABELS), expected)


@pytest.mark.parametrize(
    ("backend", "n_jobs"),
    [
        ("loky", 2),
        ("threading", None),
        ("threading", 2),
        pytest.param("loky", None, marks=pytest.mark.slow),
        pytest.param("multiprocessing", None, marks=pytest.mark.slow),
        pytest.param("multiprocessing", 2, marks=pytest.mark.slow),
    ],
)
def test_a_backend_chosen_by_its_name_trains_what_one_process_trains(backend, n_jobs):
    search = VectorizedGridSearchCV(
        make_classifier(), {"rho": [0, 0.2]}, cv=2, n_jobs=n_jobs, error_score="raise"
    )
    expected = clone(search).set_params(n_jobs=None).fit(X, LABELS)
    with joblib.parallel_config(backend, n_jobs=2):
        assert_same_search(search.fit(X, LABELS), expected)


def test_the_time_of_a_fit_has_its_share_of_the_training(monkeypatch):
    seconds = iter([0.0, 1200.0])
    clock = types.SimpleNamespace(perf_counter=lambda: next(seconds))
    monkeypatch.setattr("sksharp.model_selection._pretraining.time", clock)
    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=3).fit(X, LABELS)
    times = search.cv_results_["mean_fit_time"]
    # 1200 seconds for 12 networks, and what the fits take themselves
    assert ((times >= 100) & (times < 110)).all()


def test_the_share_of_a_split_is_that_of_its_own_fits(monkeypatch):
    # split by split: 0, 400 and 800 seconds for four networks each
    seconds = iter([0.0, 0.0, 0.0, 400.0, 400.0, 1200.0])
    clock = types.SimpleNamespace(perf_counter=lambda: next(seconds))
    monkeypatch.setattr("sksharp.model_selection._pretraining.time", clock)
    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=3, memory_budget=1)
    results = search.fit(X, LABELS).cv_results_
    assert_allclose(results["mean_fit_time"], 100, atol=10)
    assert_allclose(results["std_fit_time"], np.std([0, 100, 200]), atol=10)


@pytest.mark.parametrize("verbose", [0, 1])
def test_verbose_counts_the_networks(verbose, capsys):
    grid = {"hidden_layer_sizes": [(3,), (5,)], "rho": [0.05, 0.3]}
    VectorizedGridSearchCV(make_classifier(), grid, cv=2, verbose=verbose).fit(
        X, LABELS
    )
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith("Trained")]
    counts = [4, 8] if verbose else []
    assert told == [f"Trained {count} of 8 networks." for count in counts]


# -- candidates that train by themselves -------------------------------------------------


class Silent(Callback):
    """Does nothing."""


def test_candidates_that_train_by_themselves_are_among_the_others(calls):
    grid = [
        {"rho": [0.05, 0.5]},
        {"solver": ["lbfgs"]},
        {"rho": [[0.0, 0.1]], "cv": [2]},
        {"n_members": [2]},
        {"callbacks": [[Silent()]], "rho": [0.05]},
    ]
    ours, theirs = search_both(
        make_classifier(), grid, X, LABELS, cv=2, refit=refit_the_last
    )
    assert calls[0] == 4
    assert_same_search(ours, theirs)
    scores = ours.cv_results_["mean_test_score"]
    assert scores[5] == scores[0]


def test_networks_of_the_grid_train_once(calls):
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", make_classifier())])
    grid = {"mlp": [make_classifier(rho=rho) for rho in (0.05, 0.5)]}
    ours, theirs = search_both(pipeline, grid, X, LABELS, cv=2)
    n_calls = len(calls)
    assert_same_search(ours, theirs)
    # theirs trains 4 fits and the last
    assert sum(calls) == 5 + 5, f"{n_calls} calls: {calls}"


@pytest.mark.parametrize("wins", [False, True])
def test_another_estimator_may_take_the_place_of_the_network(wins, calls):
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", make_classifier())])
    grid = [{"mlp__rho": [0.05, 0.5]}, {"mlp": [LogisticRegression()]}]
    searches = [
        Search(pipeline, grid, cv=2, refit=lambda results: 2 if wins else 0)
        for Search in (VectorizedGridSearchCV, GridSearchCV)
    ]
    ours, theirs = (search.fit(X, LABELS) for search in searches)
    assert calls[0] == 4
    assert_array_equal(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )
    assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    assert isinstance(ours.best_estimator_[-1], LogisticRegression) == wins
    assert ours.best_estimator_.memory is None


@pytest.mark.parametrize("estimator", [MLPClassifier(**SMALL), LogisticRegression()])
def test_estimators_of_scikit_learn_are_searched_plainly(estimator, calls):
    name = "C" if isinstance(estimator, LogisticRegression) else "alpha"
    searches = [
        Search(estimator, {name: [0.1, 10]}, cv=2).fit(X, LABELS)
        for Search in (VectorizedGridSearchCV, GridSearchCV)
    ]
    for key, expected in searches[1].cv_results_.items():
        if key.endswith("_score"):
            assert_array_equal(searches[0].cv_results_[key], expected)
    assert find_network(estimator) is None
    assert calls == []


# -- failures ----------------------------------------------------------------------------


FAILURES = {
    "a parameter is invalid": ({"alpha": [1e-4, -1.0]}, {}),
    "the training diverges": (
        {"learning_rate_init": [0.01, 1e10], "solver": ["sgd"]},
        {"max_iter": 20},
    ),
    "the penalty overflows": ({"alpha": [1e-4, 1e300], "solver": ["sgd"]}, {}),
    "a layer has no unit": ({"hidden_layer_sizes": [(3,), (0,)]}, {}),
    "averaging would never begin": ({"swa": [True], "swa__start": [1, 9]}, {}),
    "an option is invalid": ({"solver__interval": [2, 0]}, {}),
}


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("case", FAILURES)
def test_a_candidate_that_fails_scores_as_in_scikit_learn(case, calls):
    grid, settings = FAILURES[case]
    searches, messages = [], []
    for Search in (VectorizedGridSearchCV, GridSearchCV):
        search = Search(make_classifier(**settings), grid, cv=2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            searches.append(search.fit(X, LABELS))
        messages.append(
            [str(w.message) for w in caught if w.category is FitFailedWarning]
        )
    assert_same_search(*searches)
    assert_array_equal(
        np.isnan(searches[0].cv_results_["mean_test_score"]), [False, True]
    )
    assert len(messages[0]) == len(messages[1]) == 1
    # without the traceback, the same words
    assert messages[0][0].splitlines()[-1] == messages[1][0].splitlines()[-1]


@pytest.mark.parametrize("Search", [VectorizedGridSearchCV, GridSearchCV])
def test_an_option_that_a_method_does_not_have_ends_the_search(Search):
    grid = {"solver": ["sam", "adam"], "solver__interval": [2]}
    search = Search(make_classifier(), grid, cv=2)
    with pytest.raises(ValueError, match=r"Invalid parameter 'interval' for .* Adam"):
        search.fit(X, LABELS)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_raised_if_asked_for(case):
    grid, settings = FAILURES[case]
    errors = []
    for Search in (VectorizedGridSearchCV, GridSearchCV):
        search = Search(make_classifier(**settings), grid, cv=2, error_score="raise")
        with pytest.raises(ValueError, match=r".") as info:
            search.fit(X, LABELS)
        errors.append((type(info.value), str(info.value)))
    assert errors[0] == errors[1]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
def test_a_minibatch_without_weight_fails_the_fits_that_meet_it():
    gap = np.where(np.arange(N) % 10 == 0, 0.0, 1.0)
    ours, theirs = search_both(
        make_classifier(batch_size=2),
        {"random_state": list(range(6)), "rho": [0.05, 0.3]},
        X,
        LABELS,
        {"sample_weight": gap},
        refit=False,
    )
    assert_same_search(ours, theirs)
    failed = np.isnan(
        [ours.cv_results_[f"split{i}_test_score"] for i in range(ours.n_splits_)]
    )
    assert failed.any()
    assert not failed.all()


# -- the search as an object -------------------------------------------------------------


def parameters(search):
    return {name: id(value) for name, value in search.get_params(deep=False).items()}


def attributes(search):
    estimator = search.estimator
    return set(vars(search)), set(vars(estimator)), set(vars(find_network(estimator)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_leaves_the_parameters_and_no_trainer(kind):
    estimator, grid, y = make_kind(kind)
    search = VectorizedGridSearchCV(estimator, grid, cv=KFold(2))
    before, (own, *of_estimator) = parameters(search), attributes(search)
    reference = GridSearchCV(estimator, grid, cv=KFold(2)).fit(X, y)
    search.fit(X, y)
    assert parameters(search) == before
    assert attributes(search)[1:] == tuple(of_estimator)
    assert set(vars(search)) - own == set(vars(reference)) - set(
        reference.get_params(deep=False)
    )
    for fitted in (search, search.best_estimator_):
        stored = pickle.dumps(fitted)
        for name in (b"_pretraining", b"_trainer", b"FrozenSplits"):
            assert name not in stored
    if isinstance(search.best_estimator_, Pipeline):
        assert search.best_estimator_.memory is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_an_error_leaves_the_search_as_it_was(error, monkeypatch):
    def fit_models(jobs, **kwargs):
        raise error

    estimator, grid, y = make_kind("pipeline of a classifier")
    search = VectorizedGridSearchCV(estimator, grid, cv=KFold(2), error_score="raise")
    before, (_, *of_estimator) = parameters(search), attributes(search)
    monkeypatch.setattr(training, "fit_models", fit_models)
    with pytest.raises(error):
        search.fit(X, y)
    assert parameters(search) == before
    assert attributes(search)[1:] == tuple(of_estimator)
    assert not {"_pretraining", "_pretrain"} & vars(search).keys()
    assert estimator.memory is None
    monkeypatch.undo()
    assert hasattr(search.fit(X, y), "best_estimator_")


def test_the_memory_of_a_pipeline_is_its_own(tmp_path, calls):
    pipeline = make_pipeline(StandardScaler(), make_classifier(), memory=str(tmp_path))
    grid = {"sammlpclassifier__rho": [0.05, 0.5]}
    search = VectorizedGridSearchCV(pipeline, grid, cv=2).fit(X, LABELS)
    assert search.best_estimator_.memory == str(tmp_path)
    assert any(tmp_path.iterdir())
    assert calls == [4, 1]


@pytest.mark.parametrize("n_groups", [1, 2])
def test_an_interrupt_of_the_common_training_ends_the_search(n_groups, monkeypatch):
    def interrupted(step, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Step, "__call__", interrupted)
    grid = {"rho": [0.1, 0.2], "batch_size": [8, 16][:n_groups]}
    search = VectorizedGridSearchCV(make_classifier(), grid, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, LABELS)
    assert not hasattr(search, "cv_results_")


def test_a_grid_may_go_over_the_memory(tmp_path):
    pipeline = make_pipeline(StandardScaler(), make_classifier())
    grid = {"memory": [str(tmp_path)]}
    search = VectorizedGridSearchCV(pipeline, grid, cv=2).fit(X, LABELS)
    assert search.best_estimator_.memory == str(tmp_path)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_scorer_finds_nothing_of_the_search_in_a_candidate(n_jobs):
    def n_traces(estimator, X, y):
        stored = pickle.dumps(estimator)
        assert pickle.loads(stored).memory is None
        return sum(name in stored for name in (b"_trainer", b"_pretraining"))

    pipeline = make_pipeline(StandardScaler(), make_classifier())
    grid = {"sammlpclassifier__rho": [0.05, 0.5]}
    search = VectorizedGridSearchCV(
        pipeline, grid, cv=2, scoring=n_traces, n_jobs=n_jobs, error_score="raise"
    )
    assert_array_equal(search.fit(X, LABELS).cv_results_["mean_test_score"], [0, 0])


def test_an_unknown_parameter_is_called_so_as_by_scikit_learn():
    pipeline = make_pipeline(StandardScaler(), make_classifier())
    messages = []
    for Search in (VectorizedGridSearchCV, GridSearchCV):
        with pytest.raises(ValueError, match="Invalid parameter 'foo'") as info:
            Search(pipeline, {"foo__rho": [1]}, cv=2, error_score="raise").fit(
                X, LABELS
            )
        messages.append(str(info.value))
    assert messages[0] == messages[1]


class FailsOnAllRows(StandardScaler):
    def fit(self, X, y=None, sample_weight=None):
        if len(X) == N:
            raise ZeroDivisionError
        return super().fit(X, y, sample_weight)


def test_a_last_fit_that_fails_leaves_nothing_of_the_search():
    pipeline = make_pipeline(FailsOnAllRows(), make_classifier())
    search = VectorizedGridSearchCV(pipeline, {"sammlpclassifier__rho": [0.1]}, cv=2)
    with pytest.raises(ZeroDivisionError):
        search.fit(X, LABELS)
    assert search.best_estimator_.memory is None
    assert "_trainer" not in vars(search.best_estimator_[-1])


@pytest.mark.parametrize(
    "search",
    [
        VectorizedGridSearchCV(make_classifier(), GRID, cv=2, memory_budget=10**6),
        VectorizedRandomizedSearchCV(
            make_classifier(), GRID, n_iter=2, random_state=0, cv=2, memory_budget=10**6
        ),
    ],
    ids=["grid", "randomized"],
)
def test_a_search_is_cloned_set_and_stored_like_any(search):
    twin = clone(search)
    own, twins = search.get_params(), twin.get_params()
    assert own.keys() == twins.keys()
    assert twins["memory_budget"] == 10**6
    twin.set_params(memory_budget=None, estimator__rho=0.7, cv=3)
    assert (twin.memory_budget, twin.estimator.rho, twin.cv) == (None, 0.7, 3)
    assert search.estimator.rho == 0.05
    fitted = clone(search).fit(X, LABELS)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    assert_same_search(loaded, fitted)
    assert_same_search(loaded.fit(X, LABELS), fitted)


@pytest.mark.parametrize("budget", [0, -1, 0.5, "all"])
def test_the_budget_must_be_a_number_of_bytes(budget):
    search = VectorizedGridSearchCV(make_classifier(), GRID, memory_budget=budget)
    with pytest.raises(ValueError, match="The 'memory_budget' parameter"):
        search.fit(X, LABELS)


def test_the_budget_is_not_looked_at_where_validation_is_skipped():
    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=2, memory_budget=1e9)
    with sklearn.config_context(skip_parameter_validation=True):
        assert hasattr(search.fit(X, LABELS), "best_score_")


def test_a_search_inside_of_a_cross_validation_is_scikit_learns():
    scores = [
        cross_validate(Search(make_classifier(), GRID, cv=2), X, LABELS, cv=3)
        for Search in (VectorizedGridSearchCV, GridSearchCV)
    ]
    assert_array_equal(scores[0]["test_score"], scores[1]["test_score"])


def test_a_search_may_be_fitted_again_on_other_rows():
    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=2)
    search.fit(X, LABELS).fit(X[:50], LABELS[:50])
    expected = GridSearchCV(make_classifier(), GRID, cv=2).fit(X[:50], LABELS[:50])
    assert_same_search(search, expected)


@pytest.mark.parametrize("kind", ["classifier", "pipeline of a regressor"])
def test_warnings_that_are_the_same_come_once_and_are_counted(kind):
    estimator, grid, y = make_kind(kind)
    told = []
    for Search in (VectorizedGridSearchCV, GridSearchCV):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Search(estimator, grid, cv=3).fit(X, y)
        told.append(
            [str(w.message) for w in caught if w.category is ConvergenceWarning]
        )
    ours, theirs = told
    assert len(theirs) == 13  # 4 candidates on 3 splits, and the last fit
    assert ours == [
        f"{message} ({n} times in this search)"
        for message, n in Counter(theirs).items()
    ]


def test_a_warning_that_comes_once_is_not_counted():
    search = VectorizedGridSearchCV(
        make_classifier(), {"max_iter": [2, 3]}, cv=[(np.arange(40), np.arange(40, N))]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.set_params(refit=False).fit(X, LABELS)
    assert len(caught) == 2
    assert not any("times" in str(w.message) for w in caught)


def test_warnings_are_counted_of_a_search_that_fails_too():
    def refit(results):
        raise ArithmeticError

    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=3, refit=refit)
    with (
        pytest.warns(ConvergenceWarning, match=r"\(12 times in this search\)"),
        pytest.raises(ArithmeticError),
    ):
        search.fit(X, LABELS)


@pytest.mark.parametrize("module", ["", __name__])
@pytest.mark.parametrize("message", ["", "Stochastic Optimizer"])
def test_a_warning_of_a_network_that_is_an_error_fails_its_fit(message, module):
    module = module.replace(".", r"\.")
    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=2, error_score="raise")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message, ConvergenceWarning, module)
        with pytest.raises(ConvergenceWarning, match=r"yet\.$"):
            search.fit(X, LABELS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("error", "another", ConvergenceWarning)
        warnings.filterwarnings("error", "", ConvergenceWarning, "another")
        warnings.filterwarnings("error", "", ConvergenceWarning, lineno=1)
        search.fit(X, LABELS)
    assert len(caught) == 1


class WarningScaler(StandardScaler):
    def fit(self, X, y=None, sample_weight=None):
        warnings.warn("scaled", RuntimeWarning, stacklevel=1)
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("memory_budget", [None, 1])
def test_transformers_warn_as_often_as_in_scikit_learns(memory_budget):
    pipeline = make_pipeline(WarningScaler(), make_classifier())
    grid = {"sammlpclassifier__rho": [0.0, 0.2]}
    ours = VectorizedGridSearchCV(pipeline, grid, cv=3, memory_budget=memory_budget)
    caught = []
    for search in (ours, GridSearchCV(pipeline, grid, cv=3)):
        with warnings.catch_warnings(record=True) as of_search:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", "scaled", module=__name__)
            search.fit(X, LABELS)
        caught.append([(w.category, w.filename, w.lineno) for w in of_search])
    assert caught[0] == caught[1]
    assert len(caught[0]) == 7  # 2 candidates on 3 splits, and the last fit


def test_a_warning_that_is_an_error_fails_the_fits_as_in_scikit_learns():
    pipeline = make_pipeline(WarningScaler(), make_classifier())
    grid = {"sammlpclassifier__rho": [0.0, 0.2]}
    for Search in (VectorizedGridSearchCV, GridSearchCV):
        search = Search(pipeline, grid, cv=2, refit=False, error_score="raise")
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "scaled")
            with pytest.raises(RuntimeWarning, match="scaled"):
                search.fit(X, LABELS)


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()  # noqa: NPY002
    VectorizedGridSearchCV(make_classifier(), GRID, cv=2).fit(X, LABELS)
    after = np.random.get_state()  # noqa: NPY002
    assert repr(before) == repr(after)
    assert_array_equal(before[1], after[1])


def test_a_transformer_without_a_fingerprint_is_fitted_as_always():
    pipeline = make_pipeline(
        FunctionTransformer(lambda rows: 2 * rows),
        SAMMLPClassifier((4,), max_iter=3, random_state=0),
    )
    grid = {"sammlpclassifier__rho": [0.0, 0.2]}
    ours = VectorizedGridSearchCV(pipeline, grid, cv=2, error_score="raise")
    theirs = GridSearchCV(pipeline, grid, cv=2)
    assert_array_equal(
        ours.fit(X, LABELS).cv_results_["mean_test_score"],
        theirs.fit(X, LABELS).cv_results_["mean_test_score"],
    )


def test_without_a_seed_candidates_keep_their_own_share_of_rows():
    def n_rows(estimator, X, y):
        return estimator.t_ / estimator.n_iter_

    clf = SAMMLPClassifier((4,), max_iter=3, early_stopping=True)
    grid = {"validation_fraction": [0.1, 0.5]}
    search = VectorizedGridSearchCV(clf, grid, cv=2, scoring=n_rows).fit(X, LABELS)
    few, many = sorted(search.cv_results_["mean_test_score"])
    assert few < 0.7 * many


def test_a_seed_of_the_grid_that_is_none_gives_every_candidate_its_own_draw():
    def first_loss(estimator, X, y):
        return estimator.loss_curve_[0]

    clf = SAMMLPClassifier((4,), max_iter=3, random_state=0)
    grid = {"random_state": [None], "alpha": [1e-4, 1.1e-4, 1.2e-4]}
    search = VectorizedGridSearchCV(clf, grid, cv=2, scoring=first_loss).fit(X, LABELS)
    losses = search.cv_results_["split0_test_score"]
    assert np.ptp(losses) > 1e-3


def test_a_candidate_that_trains_alone_leaves_the_others_together(monkeypatch):
    calls = []
    original = sksharp.training.fit_models

    def fit_models(jobs, **options):
        calls.append(len(jobs))
        return original(jobs, **options)

    monkeypatch.setattr("sksharp.training.fit_models", fit_models)
    clf = SAMMLPClassifier((4,), max_iter=3, random_state=0)
    grid = {"rho": ["auto", 0.0, 0.1, 0.2]}
    VectorizedGridSearchCV(clf, grid, cv=2, refit=False).fit(X, LABELS)
    assert calls[0] == 6


def test_the_last_fit_keeps_the_state_of_its_solver():
    everything = np.arange(len(X))
    clf = SAMMLPClassifier((4,), max_iter=3, random_state=0)
    cv = [(everything, everything)]
    search = VectorizedGridSearchCV(clf, {"rho": [0.1, 0.2]}, cv=cv).fit(X, LABELS)
    alone = clf.set_params(**search.best_params_).fit(X, LABELS)
    for network in (search.best_estimator_, alone):
        network.partial_fit(X, LABELS)
    assert_array_equal(search.best_estimator_.coefs_[0], alone.coefs_[0])


@pytest.mark.slow
def test_other_processes_know_a_training_by_the_same_key():
    program = """
import numpy as np
from sksharp import SAMMLPClassifier
from sksharp.model_selection._results import JobCollected, PretrainedResults

clf = SAMMLPClassifier((4,), max_iter=3, random_state=0, early_stopping=True)
clf._trainer = PretrainedResults()
clf._trainer.is_collecting = True
try:
    clf.fit(np.arange(80.0).reshape(40, 2) / 80, np.arange(40) % 2)
except JobCollected as collected:
    print(collected.key)
"""
    keys = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1
    assert len(keys.pop()) > 20
