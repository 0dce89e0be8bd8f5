"""The solvers with one gradient a step, as the estimators run them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import AdamW, Lookahead, Muon, Ranger, ScheduleFree
from sksharp.options.solvers import SOLVERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
target = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=40)
labels = (target > 0).astype(int)


def make_regressor(**params):
    defaults = {
        "hidden_layer_sizes": (4,),
        "batch_size": 16,
        "learning_rate_init": 0.02,
        "max_iter": 4,
        "random_state": 0,
    }
    return SAMMLPRegressor(**{**defaults, **params})


def parameters(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def assert_same(first, second):
    for a, b in zip(parameters(first), parameters(second), strict=True):
        assert_array_equal(a, b)


REDUCTIONS = {
    "msam without a radius": (
        {"solver": "msam", "base_solver": "sgd", "rho": 0},
        {"solver": "sgd"},
    ),
    "msam over adam without a radius": (
        {"solver": "msam", "rho": 0},
        {"solver": "adam"},
    ),
    "lookahead that follows at once": (
        {"solver": Lookahead(k=1, alpha=1.0)},
        {"solver": "adam"},
    ),
    "lookahead over radam": (
        {"solver": Lookahead(k=4), "base_solver": "radam"},
        {"solver": Ranger(k=4)},
    ),
    "adamw without decay": ({"solver": AdamW(weight_decay=0)}, {"solver": "adam"}),
    "muon without a hidden layer": (
        {"solver": "muon", "hidden_layer_sizes": ()},
        {"solver": "adamw", "hidden_layer_sizes": ()},
    ),
    "sam over radam without a radius": (
        {"solver": "sam", "base_solver": "radam", "rho": 0},
        {"solver": "radam"},
    ),
    "sam over schedule_free without a radius": (
        {"solver": "sam", "base_solver": "schedule_free", "rho": 0},
        {"solver": "schedule_free"},
    ),
}


@pytest.mark.parametrize(("special", "plain"), REDUCTIONS.values(), ids=REDUCTIONS)
def test_a_special_case_is_the_solver_it_reduces_to(special, plain):
    first = make_regressor(**special).fit(X, target)
    second = make_regressor(**plain).fit(X, target)
    assert_same(first, second)
    assert first.loss_curve_ == second.loss_curve_


@pytest.mark.parametrize("Solver", [AdamW, ScheduleFree, Muon])
def test_a_step_decays_the_weights_and_not_the_biases(Solver):
    params = {"batch_size": 40, "max_iter": 1}
    start = make_regressor(**params, solver=Solver(), learning_rate_init=1e-300)
    start.fit(X, target)
    decayed, plain = (
        make_regressor(**params, solver=Solver(weight_decay=decay)).fit(X, target)
        for decay in (0.5, 0.0)
    )
    for i in range(2):
        decay = 0.02 * 0.5 * start.coefs_[i]
        assert_allclose(decayed.coefs_[i], plain.coefs_[i] - decay, rtol=0, atol=1e-15)
        assert_array_equal(decayed.intercepts_[i], plain.intercepts_[i])


def perturbation(regr):
    """Return how far the solver's own weights are from the estimator's."""
    state = regr._state.optimizer.state_dict["state"][0]
    return state["start"] - np.concatenate([w.ravel() for w in parameters(regr)])


@pytest.mark.parametrize("base_solver", ["adam", "sgd", "muon"])
def test_msam_predicts_and_goes_on_from_the_weights_without_perturbation(base_solver):
    regr = make_regressor(solver="msam", base_solver=base_solver, rho=0.5)
    regr.fit(X, target)
    assert_array_equal(perturbation(regr), 0)
    assert regr._state.iterate is None  # nothing else to go on from


@pytest.mark.parametrize("solver", ["msam", "schedule_free"])
def test_a_warm_start_begins_at_the_weights_of_prediction(solver):
    """Not at the perturbed ones, or where the next gradient would have been taken."""
    regr = make_regressor(solver=solver, rho=0.5, warm_start=True).fit(X, target)
    before = [w.copy() for w in parameters(regr)]
    regr.set_params(learning_rate_init=1e-12).fit(X, target)
    for a, b in zip(parameters(regr), before, strict=True):
        assert_allclose(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("solver", ["msam", "schedule_free"])
def test_early_stopping_keeps_weights_that_score_what_it_says(solver):
    regr = make_regressor(
        solver=solver,
        rho=0.5,
        early_stopping=True,
        validation_fraction=0.3,
        max_iter=8,
        learning_rate_init=0.05,
    ).fit(X, target)
    scores = regr.validation_scores_
    assert regr.best_validation_score_ == max(scores)
    at_best = clone(regr).set_params(max_iter=int(np.argmax(scores)) + 1)
    assert_same(at_best.fit(X, target), regr)


@pytest.mark.parametrize("solver", ["msam", "schedule_free", "muon"])
def test_an_average_is_of_the_weights_of_prediction(solver):
    regr = make_regressor(solver=solver, rho=0.5, ema_decay=0.0).fit(X, target)
    alone = clone(regr).set_params(ema_decay=None).fit(X, target)
    for a, b in zip(parameters(regr), parameters(alone), strict=True):
        assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", ["msam", "schedule_free", "lookahead", "yellowfin"])
def test_a_stalled_training_stops(solver):
    """The loss at the perturbed weights, or near the averaged ones, is judged."""
    clf = SAMMLPClassifier(
        (4,), solver=solver, learning_rate_init=0.02, max_iter=400, random_state=0
    )
    rows = np.repeat(X, 5, axis=0)
    clf.set_params(tol=1e-2, rho=0.05).fit(rows, np.repeat(labels, 5))
    assert clf.n_iter_ < 400
    if solver != "lookahead":  # some of its epochs are of the fast weights alone
        assert clf.best_loss_ == min(clf.loss_curve_)


def test_the_loss_of_msam_is_that_of_the_perturbed_weights():
    """One gradient a step has no other; the first step is not perturbed."""
    params = {"batch_size": 40, "learning_rate_init": 0.01, "max_iter": 3}
    plain = make_regressor(solver="adam", **params).fit(X, target)
    regr = make_regressor(solver="msam", rho=0.5, **params).fit(X, target)
    assert regr.loss_curve_[0] == plain.loss_curve_[0]
    assert regr.loss_curve_[1] != plain.loss_curve_[1]


REFUSED = [
    ("lookahead", "ranger"),
    ("lookahead", "schedule_free"),
    ("msam", "schedule_free"),
]


@pytest.mark.parametrize(("solver", "base_solver"), REFUSED)
def test_a_base_solver_that_does_not_go_with_the_solver_is_refused(solver, base_solver):
    regr = make_regressor(solver=solver, base_solver=base_solver)
    message = f"base_solver must be one of .*'adam'.* got base_solver='{base_solver}'"
    for train in (regr.fit, regr.partial_fit):
        with pytest.raises(ValueError, match=message):
            train(X, target)


def test_a_base_solver_that_is_not_read_is_not_judged():
    make_regressor(solver="adam", base_solver="schedule_free", max_iter=1).fit(
        X, target
    )


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"solver": AdamW(weight_decay=-0.1)}, "weight_decay"),
        ({"solver": ScheduleFree(weight_decay=-0.1)}, "weight_decay"),
        ({"solver": ScheduleFree(warmup_steps=-1)}, "warmup_steps"),
        ({"solver": ScheduleFree(warmup_steps=0.5)}, "warmup_steps"),
        ({"solver": Muon(weight_decay=-0.1)}, "weight_decay"),
        ({"base_solver": Muon(momentum=1.0)}, "momentum"),
        ({"solver": Ranger(k=0)}, "k"),
        ({"base_solver": Ranger(alpha=1.5)}, "alpha"),
        ({"solver": Lookahead(k=2.0)}, "k"),
        ({"solver": Lookahead(alpha=-0.1)}, "alpha"),
        ({"base_solver": "yellowfin"}, "base_solver"),
        ({"base_solver": "lookahead"}, "base_solver"),
    ],
    ids=repr,
)
def test_a_parameter_out_of_its_range_is_named(params, name):
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        make_regressor(**params).fit(X, target)


def test_the_radius_of_msam_can_be_chosen_by_folds():
    regr = make_regressor(solver="msam", rho=[0.0, 0.5], cv=2)
    regr.fit(X, target)
    assert regr.rho_ in (0.0, 0.5)
    again = clone(regr).set_params(rho=regr.rho_)
    assert again.fit(X, target).predict(X).shape == (40,)


def test_the_warm_up_goes_on_in_the_next_call():
    """A step of the warm-up at a tenth of the rate moves a tenth as far."""
    solver = ScheduleFree(warmup_steps=10)
    params = {"solver": solver, "batch_size": 40, "shuffle": False, "max_iter": 6}
    regr = make_regressor(**params).fit(X, target)
    called = clone(regr)
    for _ in range(6):
        called.partial_fit(X, target)
    assert_same(regr, called)
    without = clone(regr).set_params(solver__warmup_steps=0).fit(X, target)
    assert abs(without.coefs_[0] - regr.coefs_[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("solver", "first"),
    [(solver, one) for solver in SOLVERS for one in ("adam", "sgd") if solver != one],
)
def test_partial_fit_with_another_solver_begins_it_anew(solver, first):
    params = {"rho": 0.1, "shuffle": False}
    expected = make_regressor(solver=solver, **params).partial_fit(X, target)
    # steps too short to be seen
    network = make_regressor(solver=first, learning_rate_init=1e-300, **params)
    network.partial_fit(X, target)
    network.set_params(solver=solver, learning_rate_init=0.02).partial_fit(X, target)
    assert_same(network, expected)
