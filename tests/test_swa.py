import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import SWA, Lookahead, Ranger

from .solvers import (
    PAIRS,
    PAIRS_WITH_A_RATE,
    every_solver,
    every_solver_with_a_rate,
    pair_params,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
y = (X[:, 0] + 0.5 * rng.normal(size=40) > 0).astype(int)
target = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=40)


def with_steps(solver, k):
    """Return a solver whose slow weights, if it has any, move every so many steps."""
    return {"ranger": Ranger(k=k), "lookahead": Lookahead(k=k)}.get(solver, solver)


def make_classifier(k=4, **params):
    """Return a classifier with three steps an epoch; slow weights move every four."""
    defaults = {
        "hidden_layer_sizes": (4,),
        "batch_size": 16,
        "learning_rate_init": 0.02,
        "max_iter": 6,
        "n_iter_no_change": np.inf,
        "swa": True,
        "random_state": 0,
    }
    params = {**defaults, **params}
    for name in params.keys() & {"solver", "base_solver"}:
        params[name] = with_steps(params[name], k)
    return SAMMLPClassifier(**params)


def parameters(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def epochs_without_averaging(estimator, X, y, n_epochs):
    """Return the parameters after every epoch of the same fit without averaging."""
    alone = clone(estimator).set_params(swa=False)
    return [
        parameters(alone.set_params(max_iter=epoch).fit(X, y))
        for epoch in range(1, n_epochs + 1)
    ]


def mean_of(epochs):
    """Return the mean over epochs, array by array."""
    return [np.mean(arrays, axis=0) for arrays in zip(*epochs, strict=True)]


def assert_close(parameters, expected, rtol=1e-12):
    for array, other in zip(parameters, expected, strict=True):
        assert_allclose(array, other, rtol=rtol, atol=rtol)


def assert_same(parameters, expected):
    for array, other in zip(parameters, expected, strict=True):
        assert_array_equal(array, other)


# -- what is averaged ----------------------------------------------------------------


@every_solver
def test_the_weights_are_the_mean_over_the_last_epochs(solver, base_solver):
    clf = make_classifier(solver=solver, base_solver=base_solver, swa=SWA(start=2))
    epochs = epochs_without_averaging(clf, X, y, 6)
    clf.fit(X, y)
    assert_close(parameters(clf), mean_of(epochs[2:]))
    assert clf.n_averaged_ == 4


# start, freq, epochs that are averaged of six, counted from one
COLLECTED = {
    "from the first": (0, 1, [1, 2, 3, 4, 5, 6]),
    "from an epoch": (4, 1, [5, 6]),
    "the last alone": (5, 1, [6]),
    "from a fraction": (0.5, 1, [4, 5, 6]),
    "from a fraction that is no epoch": (0.75, 1, [5, 6]),
    "from the smallest fraction": (0.0, 1, [1, 2, 3, 4, 5, 6]),
    "every second": (0, 2, [2, 4, 6]),
    "every second, after an odd start": (1, 2, [3, 5]),
    "every third": (2, 3, [5]),
    "once": (0.5, 3, [6]),
}


@pytest.mark.parametrize(("start", "freq", "epochs"), COLLECTED.values(), ids=COLLECTED)
def test_start_and_frequency_say_which_epochs_are_averaged(start, freq, epochs):
    clf = make_classifier(swa=SWA(start=start, freq=freq))
    path = epochs_without_averaging(clf, X, y, 6)
    clf.fit(X, y)
    assert_close(parameters(clf), mean_of([path[epoch - 1] for epoch in epochs]))
    assert clf.n_averaged_ == len(epochs)
    assert clf.n_iter_ == 6


@every_solver
def test_averaging_only_watches(solver, base_solver):
    clf = make_classifier(solver=solver, base_solver=base_solver).fit(X, y)
    alone = clone(clf).set_params(swa=False).fit(X, y)
    assert clf.loss_curve_ == alone.loss_curve_
    assert clf.best_loss_ == alone.best_loss_
    assert alone.n_averaged_ == 0


def test_predictions_are_those_of_the_average():
    clf = make_classifier(hidden_layer_sizes=(), swa=SWA(start=3))
    epochs = epochs_without_averaging(clf, X, y, 6)
    clf.fit(X, y)
    # the logits of a linear model are the mean of the logits
    logits = [X @ coef + intercept for coef, intercept in epochs[3:]]
    expected = 1 / (1 + np.exp(-np.mean(logits, axis=0)))
    assert_allclose(clf.predict_proba(X)[:, [1]], expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_average_is_of_the_dtype_of_the_rows(dtype):
    clf = make_classifier().fit(X.astype(dtype), y)
    assert {array.dtype for array in parameters(clf)} == {np.dtype(dtype)}


STAY = Ranger(k=4, alpha=0.0)


@pytest.mark.parametrize(
    "solvers", [{"solver": STAY}, {"solver": "sam", "base_solver": STAY}]
)
def test_slow_weights_are_averaged_and_not_fast_ones(solvers):
    # an epoch is three steps, slow weights follow every four: epoch 4 ends with both
    clf = make_classifier(**solvers, max_iter=4)
    start = parameters(clone(clf).set_params(max_iter=1, swa=False).fit(X, y))
    clf.fit(X, y)
    # slow weights that never follow stay where they began
    assert_close(parameters(clf), start)


# -- the learning rate ---------------------------------------------------------------


def make_linear(**params):
    """Return a regressor that does plain gradient descent on a linear model."""
    defaults = {
        "hidden_layer_sizes": (),
        "solver": "sgd",
        "momentum": 0.0,
        "alpha": 0.0,
        "shuffle": False,
        "learning_rate_init": 0.1,
        "max_iter": 6,
        "n_iter_no_change": np.inf,
        "swa": SWA(start=3),
        "random_state": 0,
    }
    return SAMMLPRegressor(**{**defaults, **params})


def gradient_descent(rates):
    """Return weights and bias after every epoch, by hand."""
    start = make_linear(swa=False, learning_rate_init=1e-300, max_iter=1)
    w, b = (array.ravel() for array in parameters(start.fit(X, target)))
    epochs = []
    for rate in rates:
        residual = X @ w + b - target
        w, b = w - rate * X.T @ residual / 40, b - rate * residual.mean()
        epochs.append([w[:, np.newaxis], b])
    return epochs


# learning_rate, the rate of averaging and the rates of six epochs of forty rows
RATES = {
    "constant": ("constant", None, [0.1] * 6),
    "constant, then held": ("constant", 0.7, [0.1] * 3 + [0.7] * 3),
    "falling": ("invscaling", None, [0.1 / (40 * n + 1) ** 0.5 for n in range(6)]),
    "falling, then held": (
        "invscaling",
        0.7,
        [0.1, 0.1 / 41**0.5, 0.1 / 81**0.5, 0.7, 0.7, 0.7],
    ),
    "exponential, then held": (
        "exponential",
        0.7,
        [0.1, 0.1 * 0.99, 0.1 * 0.99**2, 0.7, 0.7, 0.7],
    ),
    "adaptive, then held": ("adaptive", 1e-9, [0.1] * 3 + [1e-9] * 3),
}
every_rate = pytest.mark.parametrize(
    ("schedule", "lr", "rates"), RATES.values(), ids=RATES
)


@every_rate
def test_the_rate_is_held_while_averaging(schedule, lr, rates):
    regr = make_linear(learning_rate=schedule, swa=SWA(start=3, lr=lr)).fit(X, target)
    assert_close(parameters(regr), mean_of(gradient_descent(rates)[3:]))


@every_rate
def test_the_rate_is_held_from_call_to_call(schedule, lr, rates):
    regr = make_linear(learning_rate=schedule, swa=SWA(start=3, lr=lr))
    for _ in rates:
        regr.partial_fit(X, target)
    assert_close(parameters(regr), mean_of(gradient_descent(rates)[3:]))


def test_the_rate_is_held_when_averaging_begins_early():
    regr = make_linear(
        swa=SWA(start=3, lr=0.7), tol=1e9, n_iter_no_change=1, max_iter=5
    )
    regr.fit(X, target)
    # three epochs until training stalls, two of averaging
    epochs = gradient_descent([0.1, 0.1, 0.1, 0.7, 0.7])
    assert_close(parameters(regr), mean_of(epochs[3:]))


# -- stopping ------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True], ids=["loss", "score"])
@every_solver
def test_a_stall_begins_the_averaging_and_the_averaging_ends_the_fit(
    solver, base_solver, early_stopping
):
    clf = make_classifier(
        solver=solver,
        base_solver=base_solver,
        k=1,
        early_stopping=early_stopping,
        validation_fraction=0.3,
        tol=1e9,
        n_iter_no_change=2,
        max_iter=40,
        swa=SWA(start=36),
    ).fit(X, y)
    # the first epoch improves on nothing, two are the patience and one is too many
    assert clf.n_iter_ == len(clf.loss_curve_) == 4 + (40 - 36)


def test_an_average_that_begins_early_is_of_all_epochs_after():
    clf = make_classifier(tol=1e9, n_iter_no_change=1, max_iter=12, swa=SWA(start=0.75))
    clf.fit(X, y)
    # three epochs until training stalls; then three, as there would have been
    path = clone(clf).set_params(n_iter_no_change=np.inf)
    epochs = epochs_without_averaging(path, X, y, 6)
    assert_close(parameters(clf), mean_of(epochs[3:]))
    assert clf.n_averaged_ == 3


@pytest.mark.filterwarnings("error")
def test_an_adaptive_rate_gives_way_to_averaging_when_it_is_too_small():
    regr = make_linear(
        learning_rate="adaptive",
        learning_rate_init=1e-5,
        tol=1e9,
        n_iter_no_change=1,
        max_iter=100,
        swa=SWA(start=96),
    ).fit(X, target)
    # 1e-5 for three epochs, 2e-6 and 4e-7 for two each, which is too small
    assert regr.n_iter_ == 3 + 2 + 2 + 4
    assert regr.n_averaged_ == 4


# -- early stopping ------------------------------------------------------------------


class ValidationRows(Callback):
    def on_epoch_end(self, net, dataset_valid, **kwargs):
        self.X, self.y = dataset_valid.X, dataset_valid.y


def test_an_average_better_than_the_best_epoch_is_kept():
    # steps so long that the weights swing around the optimum
    rows = ValidationRows()
    regr = make_linear(
        learning_rate_init=1.2,
        max_iter=40,
        swa=SWA(start=2),
        early_stopping=True,
        validation_fraction=0.3,
        callbacks=[rows],
    ).fit(X, X @ [1.0, -2.0, 0.5])
    assert regr.n_averaged_ == 38
    score = regr.score(rows.X, rows.y)
    assert score > max(regr.validation_scores_)
    assert_allclose(regr.best_validation_score_, score, rtol=1e-12)


def test_an_average_as_good_as_the_best_epoch_is_kept():
    clf = make_classifier(
        early_stopping=True, validation_fraction=0.3, swa=SWA(start=3)
    )
    clf.set_params(learning_rate_init=1e-9).fit(X, y)  # every epoch scores the same
    assert clf.n_averaged_ == 3
    assert clf.best_validation_score_ == max(clf.validation_scores_)


@pytest.mark.parametrize("solver", [*dict(PAIRS_WITH_A_RATE)])
def test_an_average_worse_than_the_best_epoch_is_not_kept(solver):
    params = {
        "hidden_layer_sizes": (4,),
        "solver": solver,
        "learning_rate_init": 1e-3,
        "batch_size": 10,
        "early_stopping": True,
        "validation_fraction": 0.3,
        "n_iter_no_change": np.inf,
        "random_state": 0,
    }
    # averaging at a rate that spoils the weights
    regr = SAMMLPRegressor(
        swa=SWA(start=4, lr=50.0), max_iter=6, beta_2=0.0, **params
    ).fit(X, target)
    alone = SAMMLPRegressor(**params, max_iter=4, beta_2=0.0).fit(X, target)
    assert_same(parameters(regr), parameters(alone))
    assert regr.n_averaged_ == 0
    assert regr.best_validation_score_ == alone.best_validation_score_
    assert regr.validation_scores_[:4] == alone.validation_scores_


# -- the next call -------------------------------------------------------------------


def partial_fits(clf, n_calls):
    for _ in range(n_calls):
        clf.partial_fit(X, y, classes=[0, 1])
    return clf


@pytest.mark.parametrize(
    ("solver", "base_solver", "collected"),
    [
        *pair_params(PAIRS, "every second"),
        *(("sam", "ranger", collected) for collected in COLLECTED),
    ],
)
def test_calls_of_partial_fit_are_epochs_of_one_fit(solver, base_solver, collected):
    start, freq, epochs = COLLECTED[collected]
    # without shuffling: an int seed gives every call the same permutation
    clf = make_classifier(
        solver=solver,
        base_solver=base_solver,
        swa=SWA(start=start, freq=freq),
        shuffle=False,
    )
    called = partial_fits(clone(clf), 6)
    clf.fit(X, y)
    assert_same(parameters(called), parameters(clf))
    assert called.loss_curve_ == clf.loss_curve_
    assert called.n_averaged_ == clf.n_averaged_ == len(epochs)


@every_solver
def test_partial_fit_after_fit_continues_path_and_average(solver, base_solver):
    clf = make_classifier(
        solver=solver, base_solver=base_solver, swa=SWA(start=4), shuffle=False
    )
    epochs = epochs_without_averaging(clf, X, y, 8)
    partial_fits(clf.fit(X, y), 2)
    assert_close(parameters(clf), mean_of(epochs[4:]))
    assert clf.n_averaged_ == 4


@every_solver
def test_switching_off_uncovers_the_path(solver, base_solver):
    clf = make_classifier(solver=solver, base_solver=base_solver, shuffle=False)
    epochs = epochs_without_averaging(clf, X, y, 7)
    partial_fits(clf.fit(X, y).set_params(swa=False), 1)
    assert_close(parameters(clf), epochs[6])
    assert clf.n_averaged_ == 0


@every_solver
def test_a_warm_start_continues_the_path_and_begins_a_new_average(solver, base_solver):
    clf = make_classifier(
        solver=solver,
        base_solver=base_solver,
        warm_start=True,
        max_iter=4,
        swa=SWA(start=2),
    )
    alone = clone(clf).set_params(swa=False).fit(X, y)
    start = pickle.dumps(alone)
    epochs = [
        parameters(pickle.loads(start).set_params(max_iter=n).fit(X, y))
        for n in (1, 2, 3, 4)
    ]
    clf.fit(X, y).fit(X, y)
    assert_close(parameters(clf), mean_of(epochs[2:]))
    assert clf.n_averaged_ == 2


@every_solver
def test_an_average_resumes_from_a_pickle_bit_for_bit(solver, base_solver):
    clf = make_classifier(solver=solver, base_solver=base_solver, swa=SWA(start=2))
    resumed = clone(clf)
    partial_fits(clf, 6)
    for _ in range(6):
        resumed = partial_fits(pickle.loads(pickle.dumps(resumed)), 1)
    assert_same(parameters(resumed), parameters(clf))
    assert resumed.n_averaged_ == clf.n_averaged_ == 4
    assert resumed.loss_curve_ == clf.loss_curve_


def write_new(clf):
    clf.coefs_ = [np.full_like(coef, 0.5) for coef in clf.coefs_]
    clf.intercepts_ = [np.full_like(intercept, 0.5) for intercept in clf.intercepts_]


def write_in_place(clf):
    for array in parameters(clf):
        array[:] = 0.5


@pytest.mark.parametrize("write", [write_new, write_in_place])
@pytest.mark.parametrize("swa", [False, SWA(start=2)], ids=["path", "average"])
@every_solver_with_a_rate
def test_weights_written_by_hand_are_where_training_continues(
    solver, base_solver, swa, write
):
    clf = make_classifier(solver=solver, base_solver=base_solver, swa=swa)
    clf.set_params(learning_rate_init=1e-12)  # the weights stay where they are
    partial_fits(clf, 5)
    write(clf)
    partial_fits(clf, 1)
    for array in parameters(clf):
        assert_allclose(array, 0.5, rtol=1e-9)


@pytest.mark.parametrize("part", ["coefs_", "intercepts_"])
def test_a_part_of_the_weights_may_be_written_by_hand(part):
    clf = make_classifier(solver=Ranger(k=4), swa=False)
    clf.set_params(learning_rate_init=1e-12)  # the weights stay where they are
    partial_fits(clf, 5)
    for array in getattr(clf, part):
        array[:] = 0.5
    expected = [array.copy() for array in parameters(clf)]
    partial_fits(clf, 1)
    for array, value in zip(parameters(clf), expected, strict=True):
        assert_allclose(array, value, rtol=1e-9)


@every_solver_with_a_rate
def test_training_continues_at_the_weights_that_early_stopping_kept(
    solver, base_solver
):
    clf = make_classifier(
        solver=solver,
        base_solver=base_solver,
        swa=False,
        momentum=0.0,
        learning_rate_init=0.5,
        early_stopping=True,
        validation_fraction=0.3,
        max_iter=40,
    ).fit(X, y)
    assert np.argmax(clf.validation_scores_) < 39
    kept = [array.copy() for array in parameters(clf)]
    # at a rate of next to nothing
    clf.set_params(early_stopping=False, swa=SWA(start=0, lr=1e-300))
    clf.partial_fit(X, y)
    assert_close(parameters(clf), kept)


@pytest.mark.parametrize("warm_start", [False, True])
def test_the_weights_of_the_path_are_not_forgotten_by_looking(warm_start):
    clf = make_classifier(warm_start=warm_start, shuffle=False).fit(X, y)
    looked_at = pickle.loads(pickle.dumps(clf))
    looked_at.predict(X)
    looked_at.score(X, y)
    looked_at.coefs_ = [coef.copy() for coef in looked_at.coefs_]
    assert_same(
        parameters(looked_at.partial_fit(X, y)), parameters(clf.partial_fit(X, y))
    )
