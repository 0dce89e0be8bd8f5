"""Schedules of the learning rate, and the averages that depend on a length."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV
from sksharp._schedules import SCHEDULES

from .solvers import PAIRS_WITH_A_RATE, is_usual

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
target = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=40)
labels = (target > 0).astype(int)


N_STEPS, EPOCHS, INITIAL = 4, 6, 0.05

# a solver and a schedule meet in the rate of a step: every solver meets one schedule,
# and every schedule a solver with one gradient, one with two and one over Ranger
MET_BY_ALL = [("adam", "adam"), ("sam", "adam"), ("wsam", "ranger")]


def solvers_and(cases):
    """Return a mark for every solver with every case, most of them slow."""
    first, *_ = cases
    marks = [
        pytest.param(
            *pair,
            case,
            marks=()
            if pair in MET_BY_ALL or (case == first and is_usual(pair))
            else pytest.mark.slow,
        )
        for pair in PAIRS_WITH_A_RATE
        for case in cases
    ]
    return pytest.mark.parametrize(("solver", "base_solver", "case"), marks)


class Rates(Callback):
    """Write down the learning rate of every step."""

    def on_train_begin(self, net, **kwargs):
        self.rates = []

    def on_batch_begin(self, net, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])


def rates_of(estimator, y=target):
    """Return the learning rates of a fit, and the fitted estimator."""
    seen = Rates()
    fitted = clone(estimator).set_params(callbacks=[seen]).fit(X, y)
    return seen.rates, fitted


def make_regressor(**params):
    defaults = {
        "hidden_layer_sizes": (4,),
        "batch_size": 10,
        "max_iter": EPOCHS,
        "learning_rate_init": INITIAL,
        "n_iter_no_change": np.inf,
        "random_state": 0,
    }
    return SAMMLPRegressor(**{**defaults, **params})


def torchs(make, n=N_STEPS * EPOCHS):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=INITIAL)
    scheduler, rates = make(optimizer), []
    for step in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < n - 1:
            scheduler.step()
    return rates


def per_epoch(make):
    return lambda: np.repeat(torchs(make, EPOCHS), N_STEPS).tolist()


# parameters, and torch's scheduler
SETTINGS = {
    "cosine": (
        {"learning_rate": "cosine", "lr_min": 0.01},
        lambda: torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, 24, 0.01)),
    ),
    "flat, then cosine": (
        {"learning_rate": "flat_cosine", "lr_flat": 0.5},
        lambda: (
            [INITIAL] * 12 + torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, 12), 12)
        ),
    ),
    "one cycle": (
        {"learning_rate": "onecycle"},
        lambda: torchs(
            lambda o: lr_scheduler.OneCycleLR(
                o, INITIAL, total_steps=24, cycle_momentum=False
            )
        ),
    ),
    "drops": (
        {"learning_rate": "step", "lr_step_size": 2},
        per_epoch(lambda o: lr_scheduler.StepLR(o, 2)),
    ),
    "drops at milestones": (
        {"learning_rate": "multistep", "lr_milestones": [1, 4], "lr_gamma": 0.3},
        per_epoch(lambda o: lr_scheduler.MultiStepLR(o, [1, 4], 0.3)),
    ),
    "decay": (
        {"learning_rate": "exponential"},
        per_epoch(lambda o: lr_scheduler.ExponentialLR(o, 0.99)),
    ),
    "warm-up": (
        {"warmup": 2},
        lambda: torchs(lambda o: lr_scheduler.LinearLR(o, 1 / 9, total_iters=8)),
    ),
}


@solvers_and(SETTINGS)
def test_every_solver_takes_its_steps_at_torchs_rates(solver, base_solver, case):
    params, expected = SETTINGS[case]
    regr = make_regressor(solver=solver, base_solver=base_solver, **params)
    rates, _ = rates_of(regr)
    assert_allclose(rates, expected(), rtol=1e-12)


def make_linear(**params):
    """Return a regressor that does plain gradient descent on a linear model."""
    defaults = {
        "hidden_layer_sizes": (),
        "solver": "sgd",
        "momentum": 0.0,
        "alpha": 0.0,
        "shuffle": False,
    }
    return make_regressor(**{**defaults, **params})


def gradient_descent(rates):
    """Return weights and bias after every epoch of minibatches of ten, by hand."""
    start = make_linear(learning_rate_init=1e-300, max_iter=1).fit(X, target)
    w, b = start.coefs_[0].ravel(), start.intercepts_[0]
    epochs = []
    for step, rate in enumerate(rates):
        rows = slice(step % N_STEPS * 10, step % N_STEPS * 10 + 10)
        residual = X[rows] @ w + b - target[rows]
        w, b = w - rate * X[rows].T @ residual / 10, b - rate * residual.mean()
        if step % N_STEPS == N_STEPS - 1:
            epochs.append(np.append(w, b))
    return np.array(epochs)


def weights_of(regr):
    return np.append(regr.coefs_[0], regr.intercepts_[0])


@pytest.mark.parametrize("case", SETTINGS)
def test_a_schedule_drives_the_weights_of_a_linear_model(case):
    params, expected = SETTINGS[case]
    regr = make_linear(**params).fit(X, target)
    assert_allclose(weights_of(regr), gradient_descent(expected())[-1], rtol=1e-12)


# -- limits ------------------------------------------------------------------------------


def assert_same_training(regr, other):
    for array, expected in zip(
        [*regr.coefs_, *regr.intercepts_],
        [*other.coefs_, *other.intercepts_],
        strict=True,
    ):
        assert_array_equal(array, expected)
    assert regr.loss_curve_ == other.loss_curve_


CONSTANTS = {
    "a cosine to where it begins": {"learning_rate": "cosine", "lr_min": INITIAL},
    "drops by one": {"learning_rate": "step", "lr_step_size": 1, "lr_gamma": 1.0},
    "no milestone on the way": {"learning_rate": "multistep", "lr_milestones": [99]},
    "a decay by one": {"learning_rate": "exponential", "lr_gamma": 1.0},
    "one snapshot": {"n_snapshots": 1, "snapshot_schedule": "triangular"},
}


@solvers_and(CONSTANTS)
def test_a_schedule_that_stands_still_is_a_constant_rate(solver, base_solver, case):
    regr = make_regressor(solver=solver, base_solver=base_solver)
    still = clone(regr).set_params(**CONSTANTS[case])
    assert_same_training(still.fit(X, target), regr.fit(X, target))


# -- how long the training is ------------------------------------------------------------


def test_the_length_is_that_of_max_steps():
    params = {"learning_rate": "cosine", "warmup": 0.25}
    by_steps = make_regressor(max_steps=21, max_iter=99, **params)
    rates, fitted = rates_of(by_steps)
    assert fitted.n_iter_ == 6
    assert rates == rates_of(make_regressor(max_iter=6, **params))[0]


@pytest.mark.parametrize("learning_rate", SCHEDULES)
def test_a_rule_may_end_a_training_before_its_schedule(learning_rate):
    params = {"learning_rate": learning_rate, "max_iter": 30}
    whole, _ = rates_of(make_regressor(**params))
    rates, fitted = rates_of(make_regressor(**params, tol=1e9, n_iter_no_change=2))
    # the first epoch improves on nothing, two are the patience and one is too many
    assert fitted.n_iter_ == 4
    assert rates == whole[: 4 * N_STEPS]


@pytest.mark.parametrize("learning_rate", ["constant", *SCHEDULES])
def test_a_training_whose_rate_has_come_to_its_end_was_not_cut_off(learning_rate):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_regressor(learning_rate=learning_rate, warmup=1).fit(X, target)
    ends = learning_rate in ("cosine", "flat_cosine", "onecycle")
    assert [w.category for w in caught] == ([] if ends else [ConvergenceWarning])


@pytest.mark.parametrize("case", SETTINGS)
def test_a_warm_start_begins_the_schedule_anew(case):
    seen = Rates()
    regr = make_regressor(warm_start=True, callbacks=[seen], **SETTINGS[case][0])
    first = regr.fit(X, target).callbacks[0].rates
    assert regr.fit(X, target).callbacks[0].rates == first


# -- partial_fit -------------------------------------------------------------------------

WITHOUT_LENGTH = {
    "drops": {"learning_rate": "step", "lr_step_size": 2},
    "drops at epochs": {"learning_rate": "multistep", "lr_milestones": (1, 4)},
    "decay": {"learning_rate": "exponential", "lr_gamma": 0.7},
    "warm-up": {"warmup": 3},
    "warm-up, then drops": {"warmup": 3, "learning_rate": "step", "lr_step_size": 2},
    "annealed averaging": {
        "swa": True,
        "swa_start": 2,
        "swa_lr": 0.001,
        "swa_anneal": 3,
        "learning_rate": "exponential",
    },
    "averaging in cycles": {
        "swa": True,
        "swa_start": 2,
        "swa_lr": 0.001,
        "swa_cycle": 2,
    },
}


@solvers_and(WITHOUT_LENGTH)
def test_calls_of_partial_fit_are_epochs_of_one_fit_bit_for_bit(
    solver, base_solver, case
):
    params = {"solver": solver, "base_solver": base_solver, **WITHOUT_LENGTH[case]}
    # without shuffling: an int seed gives every call the same permutation
    whole = make_regressor(shuffle=False, **params)
    parts = clone(whole)
    for _ in range(EPOCHS):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, target)))
    assert_same_training(parts, whole.fit(X, target))
    assert parts.n_averaged_ == whole.n_averaged_
    assert parts.t_ == whole.t_


@pytest.mark.slow
def test_another_process_goes_on_bit_for_bit(tmp_path):
    params = {**WITHOUT_LENGTH["annealed averaging"], "warmup": 4, "solver": "wsam"}
    whole = make_regressor(shuffle=False, **params).fit(X, target)
    part = make_regressor(shuffle=False, **params)
    for _ in range(3):
        part.partial_fit(X, target)
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_bytes(pickle.dumps((part, X, target)))
    program = f"""
import pickle
from pathlib import Path
part, X, target = pickle.loads(Path({str(before)!r}).read_bytes())
for _ in range(3):
    part.partial_fit(X, target)
Path({str(after)!r}).write_bytes(pickle.dumps(part))
"""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program], check=True, env=env)
    assert_same_training(pickle.loads(after.read_bytes()), whole)


def test_partial_fit_goes_on_where_fit_has_left_the_schedule():
    regr = make_linear(learning_rate="step", lr_step_size=4, lr_gamma=0.5)
    regr.fit(X, target)
    for _ in range(4):
        regr.partial_fit(X, target)
    rates = np.repeat(INITIAL * 0.5 ** (np.arange(EPOCHS + 4) // 4), N_STEPS)
    assert_allclose(weights_of(regr), gradient_descent(rates)[-1], rtol=1e-12)


# parameters, and what the error names
NEED_A_LENGTH = {
    "cosine": ({"learning_rate": "cosine"}, "learning_rate='cosine'"),
    "flat": ({"learning_rate": "flat_cosine"}, "learning_rate='flat_cosine'"),
    "one cycle": ({"learning_rate": "onecycle"}, "learning_rate='onecycle'"),
    "shares": ({"learning_rate": "multistep"}, r"lr_milestones=\(0.5, 0.75\)"),
    "a share": ({"warmup": 0.1}, r"warmup=0\.1"),
    "an average": ({"ema_decay": "auto"}, "ema_decay='auto'"),
    "snapshots": ({"n_snapshots": 3}, "n_snapshots=3"),
}


@pytest.mark.parametrize("case", NEED_A_LENGTH)
def test_partial_fit_refuses_what_needs_the_length(case):
    params, name = NEED_A_LENGTH[case]
    regr = make_regressor(**params)
    with pytest.raises(
        ValueError, match=rf"does not know the length .*{name}.*call fit"
    ):
        regr.partial_fit(X, target)
    regr.fit(X, target)


# -- combinations ------------------------------------------------------------------------

REFUSED = {
    "warm-up of an inverse rate": (
        {"warmup": 2, "learning_rate": "invscaling", "solver": "sgd"},
        r"warmup needs learning_rate='constant' or one of .*got learning_rate='inv",
    ),
    "warm-up of an adaptive rate": (
        {"warmup": 0.1, "learning_rate": "adaptive"},
        r"warmup needs .*got learning_rate='adaptive' with warmup=0\.1",
    ),
    "a warm-up that never ends": (
        {"warmup": 6},
        r"warmup must be shorter than the 6 epochs of max_iter=6, got warmup=6",
    ),
    "a warm-up that never ends, in steps": (
        {"warmup": 6, "max_steps": 22},
        r"shorter than the 6 epochs of max_steps=22, got warmup=6.*raise max_steps",
    ),
    "a rate that would rise": (
        {"learning_rate": "cosine", "lr_min": 0.06},
        r"lr_min must not exceed learning_rate_init.*lr_min=0\.06 with .*=0\.05",
    ),
    "a rate of snapshots that would rise": (
        {"n_snapshots": 2, "lr_min": 0.06},
        "lr_min must not exceed learning_rate_init",
    ),
    "an epoch that is a float": (
        {"learning_rate": "multistep", "lr_milestones": (0.5, 2.0)},
        r"lr_milestones must hold .*, got 2\.0 among \(0\.5, 2\.0\)\..*as an int",
    ),
    "a negative milestone": (
        {"learning_rate": "multistep", "lr_milestones": [-1]},
        "lr_milestones must hold .*got -1",
    ),
    "no milestone": (
        {"learning_rate": "multistep", "lr_milestones": []},
        "lr_milestones must hold at least one",
    ),
    "annealing to nowhere": (
        {"swa": True, "swa_anneal": 2},
        "swa_anneal needs swa_lr.*got swa_lr=None with swa_anneal=2",
    ),
    "cycles to nowhere": (
        {"swa": True, "swa_cycle": 2},
        "swa_cycle needs swa_lr.*got swa_lr=None with swa_cycle=2",
    ),
    "annealing and cycles": (
        {"swa": True, "swa_lr": 0.01, "swa_cycle": 1, "swa_anneal": 1},
        "swa_anneal and swa_cycle both say",
    ),
    "cycles and a frequency": (
        {"swa": True, "swa_lr": 0.01, "swa_cycle": 1, "swa_freq": 2},
        "swa_freq must be 1 with swa_cycle.*got swa_freq=2",
    ),
    "cycles that rise": (
        {"swa": True, "swa_lr": 0.05, "swa_cycle": 1},
        r"swa_lr must be below learning_rate_init.*got swa_lr=0\.05",
    ),
    "a cycle longer than the averaging": (
        {"swa": True, "swa_lr": 0.01, "swa_cycle": 3, "swa_start": 4},
        "swa_cycle must not exceed the 2 epochs after swa_start=4, got swa_cycle=3",
    ),
    "annealing longer than the averaging": (
        {"swa": True, "swa_lr": 0.01, "swa_anneal": 3, "swa_start": 4},
        "swa_anneal must not exceed the 2 epochs after swa_start=4, got swa_anneal=3",
    ),
    "a schedule of lbfgs": (
        {"solver": "lbfgs", "learning_rate": "cosine"},
        "learning_rate needs a stochastic solver, got solver='lbfgs'",
    ),
    "a warm-up of lbfgs": (
        {"solver": "lbfgs", "warmup": 3},
        "warmup needs a stochastic solver, got solver='lbfgs'",
    ),
    "snapshots of lbfgs": (
        {"solver": "lbfgs", "n_snapshots": 3},
        "n_snapshots needs a stochastic solver, got solver='lbfgs'",
    ),
    "snapshots and a schedule": (
        {"n_snapshots": 3, "learning_rate": "cosine"},
        "n_snapshots=3 needs learning_rate to be 'constant', got learning_rate='cosine'",
    ),
    "snapshots and early stopping": (
        {"n_snapshots": 3, "early_stopping": True},
        "n_snapshots=3 needs early_stopping to be False, got early_stopping=True",
    ),
    "snapshots and members": (
        {"n_snapshots": 3, "n_members": 2},
        "n_snapshots=3 needs n_members to be 1, got n_members=2",
    ),
    "snapshots and an average": (
        {"n_snapshots": 3, "swa": True},
        "n_snapshots=3 needs swa to be False, got swa=True",
    ),
    "snapshots and a moving average": (
        {"n_snapshots": 3, "ema_decay": "auto"},
        "n_snapshots=3 needs ema_decay to be None, got ema_decay='auto'",
    ),
    "a schedule of a rate that is found": (
        {"solver": "yellowfin", "learning_rate": "cosine"},
        "solver='yellowfin' finds its learning rate.*got learning_rate='cosine'",
    ),
    "an average at a rate that is found": (
        {"solver": "yellowfin", "swa": True, "swa_lr": 0.1},
        "solver='yellowfin' finds its learning rate.*got swa_lr=0.1",
    ),
    "snapshots of a rate that is found": (
        {"solver": "yellowfin", "n_snapshots": 2},
        "solver='yellowfin' finds its learning rate.*got n_snapshots=2",
    ),
    "more snapshots than epochs": (
        {"n_snapshots": 7},
        "n_snapshots=7 with .*'cosine' needs at least 7 epochs, got 6 after .*max_iter",
    ),
    "more snapshots than can be counted": (
        {"n_snapshots": 10**20},
        f"needs at least {10**20} epochs, got 6 after .*max_iter",
    ),
    "more triangles than epochs": (
        {"n_snapshots": 3, "snapshot_schedule": "triangular", "snapshot_start": 2},
        "'triangular' needs at least 5 epochs, got 4 after snapshot_start=2 of max_iter",
    ),
    "more snapshots than steps": (
        {"n_snapshots": 7, "max_steps": 20},
        "at least 7 epochs, got 5 after snapshot_start=0 of max_steps=20",
    ),
    "snapshots that never begin": (
        {"n_snapshots": 2, "snapshot_start": 9},
        "at least 2 epochs, got 0 after snapshot_start=9",
    ),
    "a warm-up longer than a cycle": (
        {"n_snapshots": 3, "warmup": 2},
        "warmup must end before the first cycle .* after 2 epochs, got warmup=2",
    ),
    "a share of warm-up longer than a cycle": (
        {"n_snapshots": 3, "warmup": 0.5},
        "warmup must end before the first cycle .* after 2 epochs, got warmup=0.5",
    ),
    "two averages": (
        {"swa": True, "ema_decay": "auto"},
        "swa and ema_decay are two averages .*ema_decay=auto",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_parameters_that_contradict_each_other_are_refused(case):
    params, match = REFUSED[case]
    with pytest.raises(ValueError, match=match):
        make_regressor(**params).fit(X, target)


INVALID = {
    "learning_rate": ["cyclic", None, 0.1],
    "warmup": [-1, 1.0, -0.1, "long", None],
    "lr_min": [-0.1, None],
    "lr_gamma": [0, 1.1, "half"],
    "lr_step_size": [0, 1.5, None],
    "lr_milestones": [3, None],
    "lr_flat": [1.0, -0.1],
    "ema_decay": [1.0, -0.1, "long"],
    "swa_anneal": [-1, 1.5, None],
    "swa_anneal_strategy": ["cos", None],
    "swa_cycle": [0, 1.5],
    "n_snapshots": [0, 1.5, None],
    "snapshot_schedule": ["step", None],
    "snapshot_start": [-1, 1.0],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in INVALID.items() for v in values]
)
def test_a_value_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"The '{name}' parameter of SAMMLPRegressor"):
        make_regressor(**{name: value}).fit(X, target)


@pytest.mark.parametrize("number", [np.int64, np.float64], ids=str)
def test_numbers_may_be_numpys(number):
    warmup = number(2) if number is np.int64 else number(0.25)
    params = {"learning_rate": "multistep", "lr_gamma": np.float32(0.25)}
    plain = make_regressor(**params, warmup=warmup.item(), lr_milestones=(1, 3))
    theirs = make_regressor(**params, warmup=warmup, lr_milestones=np.array([1, 3]))
    assert rates_of(theirs)[0] == rates_of(plain)[0]


# -- searches ----------------------------------------------------------------------------


def test_a_search_over_schedules_is_scikit_learns():
    network = SAMMLPClassifier(
        (4,), batch_size=10, max_iter=8, learning_rate_init=0.05, random_state=0
    )
    grid = [
        {"learning_rate": ["constant", *SCHEDULES], "warmup": [0, 0.25]},
        {"learning_rate": ["cosine"], "lr_min": [0.0, 0.01], "rho": [0, 0.2]},
        {"n_snapshots": [2, 3]},
    ]
    found = VectorizedGridSearchCV(network, grid, cv=2).fit(X, labels)
    expected = GridSearchCV(network, grid, cv=2).fit(X, labels)
    for name in ("mean_test_score", "rank_test_score"):
        assert_array_equal(found.cv_results_[name], expected.cv_results_[name])
    assert found.best_params_ == expected.best_params_


def test_members_follow_their_schedules_on_their_own_rows():
    regr = make_regressor(n_members=2, learning_rate="cosine", random_state=0)
    regr.fit(X, target)
    # two minibatches of 20 rows: the last of 12 steps has all but come to the end
    last = INITIAL / 2 * (1 + np.cos(np.pi * 11 / 12))
    for member in regr.members_:
        assert_allclose(member._optimizer.learning_rate, last, rtol=1e-12)


def jobs_of(estimator):
    """Return the jobs of a fit, call by call of the engine."""
    seen = []

    class Trainer:
        """Train as always, and see the jobs."""

        def train(self, estimator, jobs, watch=None):
            from sksharp.training import fit_models

            seen.append(jobs)
            return fit_models(jobs, watch=watch)

    estimator._trainer = Trainer()
    estimator.fit(X, target)
    return seen


AUTO = {"rho": "auto", "rho_grid": [0.1], "cv": 2}


@pytest.mark.parametrize("case", SETTINGS)
def test_the_network_of_a_chosen_radius_follows_the_schedule_of_the_whole_length(case):
    settings = {**SETTINGS[case][0], "batch_size": 10}
    *_, (job,) = jobs_of(make_regressor(**AUTO, **settings))
    ((plain,),) = jobs_of(make_regressor(rho=0.1, **settings))
    assert job.epochs <= plain.epochs
    assert job.settings.schedule == plain.settings.schedule


def test_a_chosen_radius_may_be_that_of_snapshots():
    regr = make_regressor(**AUTO, n_snapshots=3, batch_size=10).fit(X, target)
    plain = make_regressor(rho=0.1, n_snapshots=3, batch_size=10).fit(X, target)
    assert regr.rho_ == 0.1
    assert len(regr.members_) == 3
    assert_array_equal(regr.predict(X), plain.predict(X))


# -- averages ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "decay"), [(2, 0.9), (25, 0.9), (50, 0.95), (250, 0.99), (3000, 0.999)]
)
def test_the_decay_is_that_of_a_tenth_of_all_steps(epochs, decay):
    regr = make_regressor(max_iter=epochs)
    n_steps = epochs * N_STEPS
    expected = np.clip(1 - 1 / (0.1 * n_steps), 0.9, 0.999)
    assert_allclose(expected, decay, rtol=1e-12)
    found = regr.set_params(ema_decay="auto")._averaging_decay(
        n_steps, is_automatic=False
    )
    assert_allclose(found, expected, rtol=1e-15)


@pytest.mark.parametrize("length", [{"max_iter": 50}, {"max_steps": 198}])
def test_an_average_of_a_length_is_that_of_its_decay(length):
    params = {**length, "n_iter_no_change": np.inf}
    auto = make_regressor(ema_decay="auto", **params).fit(X, target)
    # 200 steps, a tenth of them
    number = make_regressor(ema_decay=0.95, **params).fit(X, target)
    assert_same_training(auto, number)


# parameters of averaging that begins after two of six epochs, and its epochs' rates
ANNEALED = {
    "cosine": (
        {"swa_anneal": 3},
        lambda: torchs(lambda o: SWALR(o, 0.001, anneal_epochs=3), 5)[1:],
    ),
    "linear": (
        {"swa_anneal": 4, "swa_anneal_strategy": "linear"},
        lambda: torchs(
            lambda o: SWALR(o, 0.001, anneal_epochs=4, anneal_strategy="linear"), 5
        )[1:],
    ),
    "a share": (
        {"swa_anneal": 0.5},
        lambda: torchs(lambda o: SWALR(o, 0.001, anneal_epochs=2), 5)[1:],
    ),
    "at once": ({"swa_anneal": 0}, lambda: [0.001] * 4),
}


@pytest.mark.parametrize("case", ANNEALED)
def test_the_rate_goes_to_that_of_averaging_as_under_torchs_scheduler(case):
    params, expected = ANNEALED[case]
    regr = make_linear(swa=True, swa_start=2, swa_lr=0.001, **params)
    rates, fitted = rates_of(regr)
    expected = np.repeat([INITIAL, INITIAL, *expected()], N_STEPS)
    assert_allclose(rates, expected, rtol=1e-12)
    path = gradient_descent(expected)
    assert_allclose(weights_of(fitted), path[2:].mean(0), rtol=1e-12)


def test_annealing_begins_at_the_rate_of_the_schedule():
    regr = make_linear(
        swa=True, swa_start=2, swa_lr=0.001, swa_anneal=4, learning_rate="cosine"
    )
    rates, _ = rates_of(regr)
    at_start = INITIAL / 2 * (1 + np.cos(np.pi * 8 / 24))
    t = (1 - np.cos(np.pi * np.arange(1, 5) / 4)) / 2
    expected = np.repeat(t * 0.001 + (1 - t) * at_start, N_STEPS)
    assert_allclose(rates[8:], expected, rtol=1e-12)


def test_averages_of_cycles_are_of_their_lowest_points():
    regr = make_linear(swa=True, swa_start=2, swa_lr=0.001, swa_cycle=2)
    rates, fitted = rates_of(regr)
    t = np.tile(np.arange(1, 9) / 8, 2)
    expected = [*[INITIAL] * 8, *((1 - t) * INITIAL + t * 0.001)]
    assert_allclose(rates, expected, rtol=1e-12)
    path = gradient_descent(expected)
    assert_allclose(weights_of(fitted), path[[3, 5]].mean(0), rtol=1e-12)
    assert fitted.n_averaged_ == 2


def test_a_stall_begins_the_annealing_too():
    regr = make_linear(
        swa=True,
        swa_start=4,
        swa_lr=0.001,
        swa_anneal=2,
        swa_anneal_strategy="linear",
        tol=1e9,
        n_iter_no_change=1,
    )
    rates, fitted = rates_of(regr)
    middle = (INITIAL + 0.001) / 2
    expected = np.repeat([INITIAL] * 3 + [middle, 0.001], N_STEPS)
    assert_allclose(rates, expected, rtol=1e-12)
    assert fitted.n_averaged_ == 2
