"""The two-gradient solvers of the estimators, and their parameters."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV

from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV
from sksharp.options import (
    ASAM,
    ESAM,
    GSAM,
    SAM,
    Adam,
    FisherSAM,
    FriendlySAM,
    LookSAM,
)
from sksharp.options.solvers import SOLVERS

ASCENTS = [cls for cls in SOLVERS.values() if cls.is_two_gradient]
each_ascent = pytest.mark.parametrize("Solver", ASCENTS, ids=lambda cls: cls.name)
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
OWN = {FisherSAM: {"eta": 100.0}, LookSAM: {"k": 2}, ESAM: {"fraction": 0.3}}


def own(Solver, **options):
    """Return a solver with the options at which it is not SAM, and others."""
    return Solver(**{**OWN.get(Solver, {}), **options})


def fit(solver="sam", y=LABELS, estimator=SAMMLPClassifier, **params):
    return estimator(solver=solver, **{**SETTINGS, **params}).fit(X, y)


def flat(network):
    return np.concatenate([w.ravel() for w in (*network.coefs_, *network.intercepts_)])


@pytest.mark.parametrize("base_solver", ["adam", "sgd", "ranger"])
@each_ascent
def test_rho_of_zero_is_the_base_solver(Solver, base_solver):
    zero = fit(own(Solver), rho=0, base_solver=base_solver)
    assert_allclose(flat(zero), flat(fit(base_solver)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "solver",
    [
        GSAM(alpha=0),
        FisherSAM(eta=0),
        FriendlySAM(sigma=0),
        LookSAM(k=1),
        ESAM(fraction=1.0),
        SAM(micro_batch_size=20),
        SAM(micro_batch_size=1000),
        SAM(interval=1, start=0),
    ],
    ids=repr,
)
def test_what_reduces_to_sam_is_sam(solver):
    assert_array_equal(flat(fit(solver)), flat(fit()))


@each_ascent
def test_every_solver_goes_its_own_way(Solver):
    others = [flat(fit(own(cls))) for cls in ASCENTS if cls is not Solver]
    distances = [abs(flat(fit(own(Solver))) - other).max() for other in others]
    assert min(distances) > 1e-4


@each_ascent
def test_both_estimators_train_with_it(Solver):
    solver = own(Solver)
    classifier = fit(solver, max_iter=100, rho=0.05)
    regressor = fit(solver, TARGET, SAMMLPRegressor, max_iter=100, rho=0.05)
    assert classifier.score(X, LABELS) > 0.7
    assert regressor.score(X, TARGET) > 0.4


@pytest.mark.parametrize(("start", "n_before"), [(3, 3), (0.5, 4), (0.0, 0), (7, 7)])
@each_ascent
def test_the_epochs_before_the_start_are_the_base_solvers(Solver, start, n_before):
    late = fit(Solver(start=start))
    base = fit("adam")
    # a loss is taken before the step: the first that differs is that of the next epoch
    same = [a == b for a, b in zip(late.loss_curve_, base.loss_curve_, strict=True)]
    assert all(same[:n_before])
    assert not any(same[n_before + 1 :])
    # of the last epoch there is no loss after it
    assert not np.array_equal(flat(late), flat(base))


def test_the_start_counts_the_epochs_of_max_steps():
    """3 batches an epoch: 24 steps are 8 epochs."""
    by_steps = fit(SAM(start=0.5), max_steps=24, max_iter=5)
    assert_array_equal(flat(by_steps), flat(fit(SAM(start=4))))


@pytest.mark.parametrize("lengths", [(3, 1, 2, 1), (1, 3, 2, 1)])
def test_the_start_counts_calls_of_partial_fit_however_long(lengths):
    late, base = (
        SAMMLPClassifier(solver=solver, **SETTINGS) for solver in (SAM(start=3), Adam())
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
def test_an_ascent_that_would_never_begin_is_an_error(Solver, length, start):
    params = {"max_iter": 8} if length == "max_iter" else {"max_steps": 24}
    message = rf"solver__start must lie before {length}=.*={start}\. .* lower it"
    with pytest.raises(ValueError, match=message):
        fit(Solver(start=start), **params)


def test_a_solver_without_an_ascent_has_no_start():
    network = SAMMLPClassifier(solver="adam", **SETTINGS)
    with pytest.raises(
        ValueError, match="Invalid parameter 'start' for estimator Adam"
    ):
        network.set_params(solver__start=100)


@pytest.mark.parametrize(
    ("Solver", "name", "value"),
    [
        (ASAM, "eta", -1),
        (GSAM, "alpha", -1),
        (FisherSAM, "eta", -1),
        (FriendlySAM, "sigma", -1),
        (FriendlySAM, "decay", 1.0),
        (LookSAM, "k", 0),
        (LookSAM, "k", 1.5),
        (LookSAM, "alpha", -1),
        (ESAM, "fraction", 0),
        (ESAM, "fraction", 1.5),
        *(
            (cls, name, value)
            for cls in ASCENTS
            for name, value in [
                ("interval", 0),
                ("start", -1),
                ("start", 1.0),
                ("micro_batch_size", 0),
                ("micro_batch_size", 2.5),
            ]
        ),
    ],
)
def test_a_value_out_of_range_is_named(Solver, name, value):
    message = f"The '{name}' parameter of {Solver.__name__} must be"
    with pytest.raises(ValueError, match=message):
        fit(Solver(**{name: value}))


@each_ascent
def test_an_interval_is_plain_steps_in_between(Solver):
    """A single step of an epoch, every second one: every second epoch's."""
    options = {"micro_batch_size": 20} | ({"k": 1} if Solver is LookSAM else {})
    one_step = {"batch_size": 60, "shuffle": False}
    every, every_second = (
        own(Solver, interval=interval, **options) for interval in (1, 2)
    )
    first = [fit(s, max_iter=1, **one_step) for s in (every_second, every)]
    assert_array_equal(*map(flat, first))
    second = [fit(s, max_iter=2, **one_step) for s in (every_second, every)]
    assert abs(np.subtract(*map(flat, second))).max() > 0


@pytest.mark.parametrize("restored", [False, True], ids=["", "pickled"])
@pytest.mark.parametrize("micro_batch_size", [None, 7])
@each_ascent
def test_partial_fit_goes_on_where_it_stopped(Solver, micro_batch_size, restored):
    """Step counts, means and directions are kept: epochs alone or in one fit."""
    solver = own(Solver, interval=2, start=2, micro_batch_size=micro_batch_size)
    params = {**SETTINGS, "shuffle": False, "tol": 0.0, "n_iter_no_change": 100}
    whole = SAMMLPClassifier(solver=solver, **params).fit(X, LABELS)
    parts = SAMMLPClassifier(solver=solver, **params)
    for _ in range(8):
        parts.partial_fit(X, LABELS, classes=[0, 1, 2])
        if restored:
            parts = pickle.loads(pickle.dumps(parts))
    assert_array_equal(flat(parts), flat(whole))


@each_ascent
def test_candidates_train_together_as_alone(Solver):
    """What may differ between models does, and what may not is kept apart."""
    values = {
        "solver__eta": [0.3, 5.0],
        "solver__alpha": [0.9, 0.2],
        "solver__sigma": [0.4],
        "solver__decay": [0.5],
        "solver__gamma": [0.7],
        "solver__decouple": [False, True],
        "solver__k": [3],
        "solver__fraction": [0.7],
    }
    options = SAMMLPClassifier(solver=Solver()).get_params()
    grid = [
        {"rho": [0.1, 0.4], "alpha": [1e-4, 1.0]},
        {"solver__interval": [2], "solver__start": [0.25, 3]},
        {
            "solver__micro_batch_size": [7, 5],
            "alpha": [1e-4, 1.0],
            "rho": [0.1, 0.4],
        },
        {name: tried for name, tried in values.items() if name in options},
    ]
    shared = ["interval", "start", "micro_batch_size"]
    own_options = {f"solver__{name}" for name in Solver().get_params()}
    assert own_options <= {*values, *(f"solver__{name}" for name in shared)}
    network = SAMMLPClassifier(solver=Solver(), **{**SETTINGS, "max_iter": 5})
    searches = [
        search(network, grid, cv=2, scoring="neg_log_loss").fit(X, LABELS)
        for search in (VectorizedGridSearchCV, GridSearchCV)
    ]
    together, alone = (s.cv_results_["mean_test_score"] for s in searches)
    assert_allclose(together, alone, rtol=1e-9)


@each_ascent
def test_members_train_with_it(Solver):
    ensemble = SAMMLPClassifier(solver=own(Solver), n_members=2, **SETTINGS)
    ensemble.fit(X, LABELS)
    assert len(ensemble.members_) == 2
    assert ensemble.predict_proba(X).shape == (60, 3)


# -- Friendly SAM on whole batches -------------------------------------------------------


def test_friendly_sam_of_whole_batches_is_sam_and_says_so():
    params = {"batch_size": 60}
    with pytest.warns(
        UserWarning, match="all 60 rows has none.*solver__micro_batch_size"
    ):
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
    friendly = fit(FriendlySAM(micro_batch_size=20), batch_size=60)
    assert not any("noise" in str(warning.message) for warning in recwarn.list)
    sam = fit(SAM(micro_batch_size=20), batch_size=60)
    assert abs(flat(friendly) - flat(sam)).max() > 1e-4


def test_a_copy_of_the_estimator_is_independent():
    first = SAMMLPClassifier(solver="friendly_sam", **SETTINGS)
    first.partial_fit(X, LABELS, classes=[0, 1, 2])
    twin = copy.deepcopy(first)
    first.partial_fit(X, LABELS)
    twin.partial_fit(X, LABELS)
    assert_array_equal(flat(first), flat(twin))
