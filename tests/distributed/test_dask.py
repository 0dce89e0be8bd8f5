"""Searches on a cluster of dask: two worker processes on the loopback interface."""

import sys
import warnings

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksharp import (
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    VectorizedRandomizedSearchCV,
)
from sksharp.model_selection._results import PretrainedResults

from .cases import classes, classifier, targets, weights_of

cloudpickle = pytest.importorskip("cloudpickle")
distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # of dask's own, when its processes start and end
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


# its processes start in seconds
on_a_cluster = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    """A client of two workers of one thread each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            client.run(warnings.simplefilter, "ignore", ConvergenceWarning)
            # the workers cannot import a test
            cloudpickle.register_pickle_by_value(sys.modules[__name__])
            try:
                yield client
            finally:
                cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def on_cluster(search, *data, **params):
    """Return a search that the cluster has done."""
    with joblib.parallel_config("dask"):
        return search.fit(*data, **params)


def assert_same_results(found, expected, rtol=0.0):
    """Assert that all results agree, and the refitted network too."""
    assert {"split2_test_score", "mean_test_score"} <= expected.cv_results_.keys()
    assert found.cv_results_.keys() == expected.cv_results_.keys()
    for name, values in expected.cv_results_.items():
        if name.endswith("_score"):
            assert_allclose(found.cv_results_[name], values, rtol=rtol, err_msg=name)
        elif not name.endswith("_time"):
            assert_array_equal(found.cv_results_[name], values, err_msg=name)
    assert found.best_params_ == expected.best_params_
    networks = [
        getattr(search.best_estimator_, "steps", [[search.best_estimator_]])[-1][-1]
        for search in (found, expected)
    ]
    assert_allclose(*map(weights_of, networks), rtol=rtol)


GRID = {"rho": [0.0, 0.1, 0.5], "alpha": [1e-4, 0.1]}
DRAWS = {"rho": loguniform(0.01, 1.0), "alpha": loguniform(1e-4, 0.1)}
SEARCHES = {
    "grid": lambda estimator: GridSearchCV(estimator, GRID, cv=3, scoring=SCORING),
    "random": lambda estimator: RandomizedSearchCV(
        estimator, DRAWS, n_iter=4, cv=3, random_state=0, scoring=SCORING
    ),
    "vectorized grid": lambda estimator: VectorizedGridSearchCV(
        estimator, GRID, cv=3, scoring=SCORING
    ),
    "vectorized random": lambda estimator: VectorizedRandomizedSearchCV(
        estimator, DRAWS, n_iter=4, cv=3, random_state=0, scoring=SCORING
    ),
}
SCORING = "neg_log_loss"


@on_a_cluster
@pytest.mark.parametrize("search", SEARCHES)
def test_a_cluster_finds_what_one_process_finds(client, search):
    make, data = SEARCHES[search], classes(90)
    # how many networks are trained together, which goes by the number of workers, is
    # seen in the last bit
    rtol = 1e-12 if "vectorized" in search else 0.0
    expected = make(classifier()).fit(*data)
    assert_same_results(on_cluster(make(classifier()), *data), expected, rtol)


@on_a_cluster
def test_a_pipeline_with_weights_is_searched_on_a_cluster(client):
    X, y = targets(90)
    network = SAMMLPRegressor(hidden_layer_sizes=(6,), max_iter=3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), network)
    name = "sammlpregressor__"
    search = VectorizedGridSearchCV(pipeline, {f"{name}rho": [0.0, 0.1, 0.5]}, cv=2)
    params = {f"{name}sample_weight": np.linspace(0.5, 2, 90)}
    expected = search.fit(X, y, **params)
    expected_results = expected.cv_results_["mean_test_score"]
    found = on_cluster(search, X, y, **params)
    assert_allclose(found.cv_results_["mean_test_score"], expected_results, rtol=1e-12)


@on_a_cluster
def test_a_radius_that_is_chosen_in_a_task_is_that_of_one_process(client):
    # the folds of a fit stay in its task, in the groups of one process
    grid, data = {"alpha": [1e-4, 0.1]}, classes(120)
    expected, found = (
        GridSearchCV(classifier(rho="auto"), grid, cv=2, scoring=SCORING, refit=False)
        for _ in range(2)
    )
    expected.fit(*data)
    on_cluster(found, *data)
    assert_array_equal(
        found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


def train_calls(dask_worker=None):
    """Return how many trainings a worker has run since the last time."""
    from sksharp.training import _fit

    n_calls, _fit.n_calls = getattr(_fit, "n_calls", 0), 0
    return n_calls


def count_trainings():
    """Let a worker count the networks that it trains."""
    from sksharp.training import _fit

    if not hasattr(_fit, "n_calls"):
        train = _fit.MLPNet.train

        def counting(net):
            _fit.n_calls += len(net.networks.jobs)
            return train(net)

        _fit.MLPNet.train = counting
    _fit.n_calls = 0


@on_a_cluster
@pytest.mark.parametrize("memory_budget", [None, 1], ids=["at once", "in parts"])
def test_workers_train_every_network_once(client, memory_budget):
    client.run(count_trainings)
    search = VectorizedGridSearchCV(
        classifier(), GRID, cv=3, refit=False, memory_budget=memory_budget
    )
    on_cluster(search, *classes(90))
    counts = client.run(train_calls)
    # what a worker did not find would be trained again by the fit that scores it
    assert sum(counts.values()) == len(GRID["rho"]) * len(GRID["alpha"]) * 3


@on_a_cluster
def test_a_cluster_needs_no_folder_that_all_workers_see(client, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a folder of this machine")

    monkeypatch.setattr("sksharp.model_selection._pretraining.SearchFolder", refuse)
    search = VectorizedGridSearchCV(classifier(), GRID, cv=3, memory_budget=1)
    on_cluster(search, *classes(90))


def n_kept():
    """Return how many searches a worker has results of."""
    from sksharp.model_selection import _results

    return len(_results._of_worker)


@on_a_cluster
def test_nothing_of_a_search_stays_on_the_cluster(client):
    search = VectorizedGridSearchCV(classifier(), GRID, cv=3)
    on_cluster(search, *classes(90))
    assert not vars(search.best_estimator_).get("_trainer")
    assert set(client.run(n_kept).values()) == {0}


def test_data_travel_beside_the_jobs_and_not_in_them(monkeypatch):
    from sksharp.training import _fit

    X, y = classes(60)
    seen = []
    pack = _fit._pack

    def noting(jobs):
        light, arrays = pack(jobs)
        seen.append((light, arrays))
        return light, arrays

    monkeypatch.setattr(_fit, "_pack", noting)
    network = classifier(early_stopping=True)
    search = VectorizedGridSearchCV(network, GRID, cv=3, n_jobs=2, refit=False)
    with joblib.parallel_config("threading"):
        search.fit(X, y)
    for light, arrays in seen:
        assert all(isinstance(job.X, int) for job in light)
        assert all(isinstance(job.validation.X, int) for job in light)
        assert len({id(array) for array in arrays}) == len(arrays)
    n_candidates = len(GRID["rho"]) * len(GRID["alpha"])
    assert sum(len(light) for light, _ in seen) == 3 * n_candidates
    # X and y of three folds, in as many groups as there are
    n_arrays = len({id(array) for _, arrays in seen for array in arrays})
    assert n_arrays == 6


def test_results_are_sent_once():
    class Client:
        def run(self, function, name, results):
            sent.append(list(results))

    sent, found = [], PretrainedResults(client=Client())
    for key in ("first", "second"):
        found.add(key, None)
        found.send()
    assert sent == [["first"], ["second"]]


def test_a_fit_in_a_task_of_dask_is_not_spread_unless_it_says_so(monkeypatch):
    from sksharp.training import _fit

    runs, parallel = [], joblib.Parallel
    monkeypatch.setattr(
        _fit.joblib,
        "Parallel",
        lambda *args, **kw: runs.append(1) or parallel(*args, **kw),
    )
    monkeypatch.setattr(_fit, "_is_dask_task", lambda: True)
    with joblib.parallel_config("threading", n_jobs=2):
        classifier(n_members=4).fit(*classes(60))
        assert runs == []
        classifier(n_members=4, n_jobs=2).fit(*classes(60))
    assert runs == [1]


def test_results_that_are_lost_are_trained_again():
    found = PretrainedResults()
    found._sent = "the name of a search that this process does not know"
    assert found._find("key") is None
