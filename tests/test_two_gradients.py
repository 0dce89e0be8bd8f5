"""The two-gradient solvers of the estimators, and their parameters."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV

from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV
from sksharp.optim import SOLVERS

ASCENTS = [name for name, solver in SOLVERS.items() if solver.is_ascent]
each_ascent = pytest.mark.parametrize("solver", ASCENTS)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.normal(size=(60, 5))
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
TARGET = X[:, 0] * X[:, 1] + X[:, 2]
SETTINGS = {
    "hidden_layer_sizes": (8,),
    "batch_size": 20,
    "max_iter": 8,
    "learning_rate_init": 0.02,
    "random_state": 0,
    "rho": 0.3,
}
# one value per solver at which it is not SAM
OWN = {
    "fisher_sam": {"fisher_eta": 100.0},
    "looksam": {"looksam_k": 2},
    "esam": {"esam_fraction": 0.3},
}


def fit(solver="sam", y=LABELS, estimator=SAMMLPClassifier, **params):
    return estimator(solver=solver, **{**SETTINGS, **params}).fit(X, y)


def flat(network):
    return np.concatenate([w.ravel() for w in (*network.coefs_, *network.intercepts_)])


@pytest.mark.parametrize("base_solver", ["adam", "sgd", "ranger"])
@each_ascent
def test_rho_of_zero_is_the_base_solver(solver, base_solver):
    zero = fit(solver, rho=0, base_solver=base_solver, **OWN.get(solver, {}))
    assert_allclose(flat(zero), flat(fit(base_solver)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("solver", "params"),
    [
        ("gsam", {"gsam_alpha": 0}),
        ("fisher_sam", {"fisher_eta": 0}),
        ("friendly_sam", {"friendly_sigma": 0}),
        ("looksam", {"looksam_k": 1}),
        ("esam", {"esam_fraction": 1.0}),
        ("sam", {"micro_batch_size": 20}),
        ("sam", {"micro_batch_size": 1000}),
        ("sam", {"sam_interval": 1, "sam_start": 0}),
    ],
)
def test_what_reduces_to_sam_is_sam(solver, params):
    assert_array_equal(flat(fit(solver, **params)), flat(fit()))


@each_ascent
def test_every_solver_goes_its_own_way(solver):
    others = [flat(fit(s, **OWN.get(s, {}))) for s in ASCENTS if s != solver]
    own = flat(fit(solver, **OWN.get(solver, {})))
    assert min(abs(own - other).max() for other in others) > 1e-4


@each_ascent
def test_both_estimators_train_with_it(solver):
    own = OWN.get(solver, {})
    classifier = fit(solver, max_iter=100, rho=0.05, **own)
    regressor = fit(solver, TARGET, SAMMLPRegressor, max_iter=100, rho=0.05, **own)
    assert classifier.score(X, LABELS) > 0.7
    assert regressor.score(X, TARGET) > 0.4


@pytest.mark.parametrize(("start", "n_before"), [(3, 3), (0.5, 4), (0.0, 0), (7, 7)])
@each_ascent
def test_the_epochs_before_sam_start_are_the_base_solvers(solver, start, n_before):
    late = fit(solver, sam_start=start)
    base = fit("adam")
    # a loss is taken before the step: the first that differs is that of the next epoch
    same = [a == b for a, b in zip(late.loss_curve_, base.loss_curve_, strict=True)]
    assert all(same[:n_before])
    assert not any(same[n_before + 1 :])
    # of the last epoch there is no loss after it
    assert not np.array_equal(flat(late), flat(base))


def test_sam_start_counts_the_epochs_of_max_steps():
    """3 batches an epoch: 24 steps are 8 epochs."""
    by_steps = fit(max_steps=24, max_iter=5, sam_start=0.5)
    assert_array_equal(flat(by_steps), flat(fit(sam_start=4)))


@pytest.mark.parametrize("lengths", [(3, 1, 2, 1), (1, 3, 2, 1)])
def test_sam_start_counts_calls_of_partial_fit_however_long(lengths):
    late, base = (
        SAMMLPClassifier(solver=solver, sam_start=3, **SETTINGS)
        for solver in ("sam", "adam")
    )
    for n_before, length in enumerate(lengths):
        rows = slice(20 * length)
        for network in (late, base):
            network.partial_fit(X[rows], LABELS[rows], classes=np.unique(LABELS))
        assert np.array_equal(flat(late), flat(base)) == (n_before < 3)


@pytest.mark.parametrize(
    ("length", "start"), [("max_iter", 8), ("max_iter", 9), ("max_steps", 8)]
)
@each_ascent
def test_an_ascent_that_would_never_begin_is_an_error(solver, length, start):
    params = {"max_iter": 8} if length == "max_iter" else {"max_steps": 24}
    message = rf"sam_start must lie before {length}=.* got sam_start={start}\. .* lower"
    with pytest.raises(ValueError, match=message):
        fit(solver, sam_start=start, **params)


def test_sam_start_is_not_looked_at_by_other_solvers():
    assert_array_equal(flat(fit("adam", sam_start=100)), flat(fit("adam")))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("asam_eta", -1),
        ("gsam_alpha", -1),
        ("fisher_eta", -1),
        ("friendly_sigma", -1),
        ("friendly_decay", 1.0),
        ("looksam_k", 0),
        ("looksam_k", 1.5),
        ("looksam_alpha", -1),
        ("esam_fraction", 0),
        ("esam_fraction", 1.5),
        ("sam_interval", 0),
        ("sam_start", -1),
        ("sam_start", 1.0),
        ("micro_batch_size", 0),
        ("micro_batch_size", 2.5),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        fit(**{name: value})


@each_ascent
def test_an_interval_is_plain_steps_in_between(solver):
    """A single step of an epoch, every second one: every second epoch's."""
    own = OWN.get(solver, {}) | ({"looksam_k": 1} if solver == "looksam" else {})
    params = {**own, "batch_size": 60, "micro_batch_size": 20, "shuffle": False}
    every_second = fit(solver, sam_interval=2, max_iter=1, **params)
    every = fit(solver, max_iter=1, **params)
    assert_array_equal(flat(every_second), flat(every))
    two = fit(solver, sam_interval=2, max_iter=2, **params)
    assert abs(flat(two) - flat(fit(solver, max_iter=2, **params))).max() > 0


@pytest.mark.parametrize("restored", [False, True], ids=["", "pickled"])
@pytest.mark.parametrize("micro_batch_size", [None, 7])
@each_ascent
def test_partial_fit_goes_on_where_it_stopped(solver, micro_batch_size, restored):
    """Step counts, means and directions are kept: epochs alone or in one fit."""
    params = {**SETTINGS, **OWN.get(solver, {}), "shuffle": False, "tol": 0.0}
    params |= {"sam_interval": 2, "sam_start": 2, "n_iter_no_change": 100}
    params |= {"micro_batch_size": micro_batch_size}
    whole = SAMMLPClassifier(solver=solver, **params).fit(X, LABELS)
    parts = SAMMLPClassifier(solver=solver, **params)
    for _ in range(8):
        parts.partial_fit(X, LABELS, classes=[0, 1, 2])
        if restored:
            parts = pickle.loads(pickle.dumps(parts))
    assert_array_equal(flat(parts), flat(whole))


@each_ascent
def test_candidates_train_together_as_alone(solver):
    """What may differ between models does, and what may not is kept apart."""
    grid = [
        {"rho": [0.1, 0.4], "alpha": [1e-4, 1.0]},
        {"sam_interval": [2], "sam_start": [0.25, 3]},
        {"micro_batch_size": [7, 5], "alpha": [1e-4, 1.0], "rho": [0.1, 0.4]},
        {
            "asam_eta": [0.3],
            "gsam_alpha": [0.9],
            "fisher_eta": [5.0],
            "friendly_sigma": [0.4],
            "friendly_decay": [0.5],
            "looksam_alpha": [0.2],
        },
        {"looksam_k": [3], "esam_fraction": [0.7]},
    ]
    network = SAMMLPClassifier(solver=solver, **{**SETTINGS, "max_iter": 5})
    searches = [
        search(network, grid, cv=2, scoring="neg_log_loss").fit(X, LABELS)
        for search in (VectorizedGridSearchCV, GridSearchCV)
    ]
    together, alone = (s.cv_results_["mean_test_score"] for s in searches)
    assert_allclose(together, alone, rtol=1e-9)


@each_ascent
def test_members_train_with_it(solver):
    ensemble = SAMMLPClassifier(
        solver=solver, n_members=2, **{**SETTINGS, **OWN.get(solver, {})}
    ).fit(X, LABELS)
    assert len(ensemble.members_) == 2
    assert ensemble.predict_proba(X).shape == (60, 3)


# -- Friendly SAM on whole batches -------------------------------------------------------


def test_friendly_sam_of_whole_batches_is_sam_and_says_so():
    params = {"batch_size": 60}
    with pytest.warns(UserWarning, match="all 60 rows has none.*micro_batch_size"):
        friendly = fit("friendly_sam", **params)
    assert_array_equal(flat(friendly), flat(fit("sam", **params)))


def test_the_rows_of_a_call_of_partial_fit_have_noise(recwarn):
    """They are a minibatch of all that come, whole or not."""
    both = [
        SAMMLPClassifier(solver=solver, **SETTINGS)
        for solver in ("friendly_sam", "sam")
    ]
    for network in both:
        for start in (0, 20, 40):
            rows = slice(start, start + 20)
            network.partial_fit(X[rows], LABELS[rows], classes=[0, 1, 2])
    assert not any("noise" in str(warning.message) for warning in recwarn.list)
    assert abs(flat(both[0]) - flat(both[1])).max() > 1e-4


def test_friendly_sam_of_micro_batches_has_noise(recwarn):
    friendly = fit("friendly_sam", batch_size=60, micro_batch_size=20)
    assert not any("noise" in str(warning.message) for warning in recwarn.list)
    sam = fit("sam", batch_size=60, micro_batch_size=20)
    assert abs(flat(friendly) - flat(sam)).max() > 1e-4


def test_a_copy_of_the_estimator_is_independent():
    first = SAMMLPClassifier(solver="friendly_sam", **SETTINGS)
    first.partial_fit(X, LABELS, classes=[0, 1, 2])
    twin = copy.deepcopy(first)
    first.partial_fit(X, LABELS)
    twin.partial_fit(X, LABELS)
    assert_array_equal(flat(first), flat(twin))
