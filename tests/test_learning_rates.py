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
from sksharp.estimators._parameters import read_parameters
from sksharp.options import (
    SWA,
    Cosine,
    Cyclic,
    Exponential,
    MultiStep,
    Snapshots,
    Step,
)
from sksharp.options.schedules import SCHEDULES

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
        {"learning_rate": Cosine(lr_min=0.01)},
        lambda: torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, 24, 0.01)),
    ),
    "flat, then cosine": (
        {"learning_rate": Cosine(flat=0.5)},
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
        {"learning_rate": Step(size=2)},
        per_epoch(lambda o: lr_scheduler.StepLR(o, 2)),
    ),
    "drops at milestones": (
        {"learning_rate": MultiStep(milestones=[1, 4], gamma=0.3)},
        per_epoch(lambda o: lr_scheduler.MultiStepLR(o, [1, 4], 0.3)),
    ),
    "decay": (
        {"learning_rate": "exponential"},
        per_epoch(lambda o: lr_scheduler.ExponentialLR(o, 0.99)),
    ),
    "restarts": (
        {"learning_rate": Cyclic(length=1, growth=2, lr_min=0.01)},
        lambda: torchs(
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2, 0.01)
        ),
    ),
    "triangles": (
        {"learning_rate": Cyclic(shape="triangular", length=0.5, lr_min=0.01)},
        lambda: torchs(
            lambda o: lr_scheduler.CyclicLR(o, 0.01, INITIAL, 6, cycle_momentum=False)
        ),
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
    "a cosine to where it begins": {"learning_rate": Cosine(lr_min=INITIAL)},
    "drops by one": {"learning_rate": Step(size=1, gamma=1.0)},
    "no milestone on the way": {"learning_rate": MultiStep(milestones=[99])},
    "a decay by one": {"learning_rate": Exponential(gamma=1.0)},
    "restarts to where they begin": {"learning_rate": Cyclic(length=2, lr_min=INITIAL)},
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
    ends = learning_rate in ("cosine", "onecycle")
    assert [w.category for w in caught] == ([] if ends else [ConvergenceWarning])


@pytest.mark.parametrize("case", SETTINGS)
def test_a_warm_start_begins_the_schedule_anew(case):
    seen = Rates()
    regr = make_regressor(warm_start=True, callbacks=[seen], **SETTINGS[case][0])
    first = regr.fit(X, target).callbacks[0].rates
    assert regr.fit(X, target).callbacks[0].rates == first


# -- partial_fit -------------------------------------------------------------------------

WITHOUT_LENGTH = {
    "drops": {"learning_rate": Step(size=2)},
    "drops at epochs": {"learning_rate": MultiStep(milestones=(1, 4))},
    "decay": {"learning_rate": Exponential(gamma=0.7)},
    "restarts": {"learning_rate": Cyclic(length=1, growth=2)},
    "warm-up, then triangles": {
        "warmup": 1,
        "learning_rate": Cyclic(shape="triangular", length=3, lr_min=0.01),
    },
    "warm-up": {"warmup": 3},
    "warm-up, then drops": {"warmup": 3, "learning_rate": Step(size=2)},
    "annealed averaging": {
        "swa": SWA(start=2, lr=0.001, anneal=3),
        "learning_rate": "exponential",
    },
    "averaging in cycles": {"swa": SWA(start=2, lr=0.001, cycle=2)},
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
    regr = make_linear(learning_rate=Step(size=4, gamma=0.5))
    regr.fit(X, target)
    for _ in range(4):
        regr.partial_fit(X, target)
    rates = np.repeat(INITIAL * 0.5 ** (np.arange(EPOCHS + 4) // 4), N_STEPS)
    assert_allclose(weights_of(regr), gradient_descent(rates)[-1], rtol=1e-12)


# parameters, and what the error names
NEED_A_LENGTH = {
    "cosine": ({"learning_rate": "cosine"}, "learning_rate='cosine'"),
    "flat": (
        {"learning_rate": Cosine(flat=0.75)},
        r"learning_rate=Cosine\(flat=0\.75\)",
    ),
    "one cycle": ({"learning_rate": "onecycle"}, "learning_rate='onecycle'"),
    "shares": ({"learning_rate": "multistep"}, "learning_rate='multistep'"),
    "a share of several": (
        {"learning_rate": MultiStep(milestones=(1, 0.5))},
        r"learning_rate=MultiStep\(milestones=\(1, 0\.5\)\)",
    ),
    "cycles of a share": ({"learning_rate": "cyclic"}, "learning_rate='cyclic'"),
    "triangles of a share": (
        {"learning_rate": Cyclic(shape="triangular", length=0.5)},
        r"learning_rate=Cyclic\(shape='triangular', length=0\.5\)",
    ),
    "a share": ({"warmup": 0.1}, r"warmup=0\.1"),
    "an average": ({"ema_decay": "auto"}, "ema_decay='auto'"),
    "snapshots": ({"snapshots": 3}, "snapshots=3"),
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
        {"learning_rate": Cosine(lr_min=0.06)},
        r"learning_rate__lr_min must not exceed learning_rate_init.*lr_min=0\.06.*=0\.05",
    ),
    "cycles of a rate that would rise": (
        {"learning_rate": Cyclic(lr_min=0.06)},
        r"learning_rate__lr_min must not exceed learning_rate_init.*lr_min=0\.06.*=0\.05",
    ),
    "a rate of snapshots that would rise": (
        {"snapshots": Snapshots(n=2, lr_min=0.06)},
        "snapshots__lr_min must not exceed learning_rate_init",
    ),
    "an epoch that is a float": (
        {"learning_rate": MultiStep(milestones=(0.5, 2.0))},
        r"milestones must hold .*, got 2\.0 among \(0\.5, 2\.0\)\..*as an int",
    ),
    "a negative milestone": (
        {"learning_rate": MultiStep(milestones=[-1])},
        "milestones must hold .*got -1",
    ),
    "no milestone": (
        {"learning_rate": MultiStep(milestones=[])},
        "milestones must hold at least one",
    ),
    "annealing to nowhere": (
        {"swa": SWA(anneal=2)},
        r"anneal needs lr, .*got SWA\(anneal=2\)",
    ),
    "cycles to nowhere": (
        {"swa": SWA(cycle=2)},
        r"cycle needs lr, .*got SWA\(cycle=2\)",
    ),
    "annealing and cycles": (
        {"swa": SWA(lr=0.01, cycle=1, anneal=1)},
        r"anneal and cycle must not.*got SWA\(lr=0\.01, anneal=1, cycle=1\)",
    ),
    "cycles and a frequency": (
        {"swa": SWA(lr=0.01, cycle=1, freq=2)},
        r"freq must be 1 with cycle.*got SWA\(freq=2, lr=0\.01, cycle=1\)",
    ),
    "cycles that rise": (
        {"swa": SWA(lr=0.05, cycle=1)},
        r"swa__lr must be below learning_rate_init.*got swa=SWA\(lr=0\.05, cycle=1\)",
    ),
    "a cycle longer than the averaging": (
        {"swa": SWA(lr=0.01, cycle=3, start=4)},
        "swa__cycle must not exceed the 2 epochs after swa__start=4, got swa__cycle=3",
    ),
    "annealing longer than the averaging": (
        {"swa": SWA(lr=0.01, anneal=3, start=4)},
        "swa__anneal must not exceed the 2 epochs after swa__start=4, got swa__anneal=3",
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
        {"solver": "lbfgs", "snapshots": 3},
        "snapshots needs a stochastic solver, got solver='lbfgs'",
    ),
    "snapshots and a schedule": (
        {"learning_rate": "cosine", "snapshots": 3},
        "snapshots=3 needs learning_rate to be 'constant', got learning_rate='cosine'",
    ),
    "snapshots and early stopping": (
        {"early_stopping": True, "snapshots": 3},
        "snapshots=3 needs early_stopping to be False, got early_stopping=True",
    ),
    "snapshots and members": (
        {"n_members": 2, "snapshots": 3},
        "snapshots=3 needs n_members to be 1, got n_members=2",
    ),
    "snapshots and an average": (
        {"swa": True, "snapshots": 3},
        "snapshots=3 needs swa to be False, got swa=True",
    ),
    "snapshots and a moving average": (
        {"ema_decay": "auto", "snapshots": 3},
        "snapshots=3 needs ema_decay to be None, got ema_decay='auto'",
    ),
    "a schedule of a rate that is found": (
        {"solver": "yellowfin", "learning_rate": "cosine"},
        "solver='yellowfin' tunes its learning rate.*got learning_rate='cosine'",
    ),
    "an average at a rate that is found": (
        {"solver": "yellowfin", "swa": SWA(lr=0.1)},
        r"solver='yellowfin' tunes its learning rate.*got swa=SWA\(lr=0\.1\)",
    ),
    "snapshots of a rate that is found": (
        {"solver": "yellowfin", "snapshots": 2},
        "solver='yellowfin' tunes its learning rate.*got snapshots=2",
    ),
    "more snapshots than epochs": (
        {"snapshots": 7},
        "snapshots=7 needs at least 7 epochs, got 6 after snapshots__start=0 of max_iter",
    ),
    "more snapshots than can be counted": (
        {"snapshots": 10**20},
        f"needs at least {10**20} epochs, got 6 after .*max_iter",
    ),
    "more triangles than epochs": (
        {"snapshots": Snapshots(n=3, schedule="triangular", start=2)},
        "'triangular'.* at least 5 epochs, got 4 after snapshots__start=2 of max_iter",
    ),
    "more snapshots than steps": (
        {"max_steps": 20, "snapshots": 7},
        "at least 7 epochs, got 5 after snapshots__start=0 of max_steps=20",
    ),
    "snapshots that never begin": (
        {"snapshots": Snapshots(n=2, start=9)},
        "at least 2 epochs, got 0 after snapshots__start=9",
    ),
    "a warm-up longer than a cycle": (
        {"warmup": 2, "snapshots": 3},
        "warmup must end before the first cycle .* after 2 epochs, got warmup=2",
    ),
    "a share of warm-up longer than a cycle": (
        {"warmup": 0.5, "snapshots": 3},
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
    "learning_rate": ["cycles", None, 0.1],
    "warmup": [-1, 1.0, -0.1, "long", None],
    "ema_decay": [1.0, -0.1, "long"],
    "swa": [None, 1, "cosine"],
    "snapshots": [0, 1, 1.5, "cosine"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in INVALID.items() for v in values]
)
def test_a_value_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"The '{name}' parameter of SAMMLPRegressor"):
        make_regressor(**{name: value}).fit(X, target)


# parameters that hold an object, and values that its class does not take
INVALID_OPTIONS = {
    Cosine: ("learning_rate", {"lr_min": [-0.1, None], "flat": [1.0, -0.1]}),
    Step: ("learning_rate", {"gamma": [0, 1.1, "half"], "size": [0, 1.5, None]}),
    MultiStep: ("learning_rate", {"gamma": [0, 1.1, None], "milestones": [3, None]}),
    Exponential: ("learning_rate", {"gamma": [0, 1.1, "half"]}),
    Cyclic: (
        "learning_rate",
        {
            "shape": ["step", None],
            "length": [0, 0.0, -1, 1.5, True, None],
            "growth": [0, 1.5, None],
            "lr_min": [-0.1, None],
        },
    ),
    SWA: (
        "swa",
        {
            "anneal": [-1, 1.5, None],
            "strategy": ["cos", None],
            "cycle": [0, 1.5],
        },
    ),
    Snapshots: (
        "snapshots",
        {
            "n": [0, 1, 1.5, None],
            "schedule": ["step", None],
            "start": [-1, 1.0],
            "lr_min": [-0.1, None],
        },
    ),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (cls, name, value)
        for cls, (_, values) in INVALID_OPTIONS.items()
        for name in values
        for value in values[name]
    ],
)
def test_a_value_of_an_option_out_of_range_is_refused(cls, name, value, method):
    holder, _ = INVALID_OPTIONS[cls]
    regr = make_regressor(**{holder: cls(**{name: value})})
    with pytest.raises(ValueError, match=rf"The '{name}' parameter of {cls.__name__} "):
        getattr(regr, method)(X, target)


@pytest.mark.parametrize("number", [np.int64, np.float64], ids=str)
def test_numbers_may_be_numpys(number):
    warmup = number(2) if number is np.int64 else number(0.25)
    theirs = make_regressor(
        warmup=warmup,
        learning_rate=MultiStep(milestones=np.array([1, 3]), gamma=np.float32(0.25)),
    )
    plain = make_regressor(
        warmup=warmup.item(), learning_rate=MultiStep(milestones=(1, 3), gamma=0.25)
    )
    assert rates_of(theirs)[0] == rates_of(plain)[0]


@pytest.mark.parametrize("number", [np.int64(2), np.float64(0.5)], ids=repr)
def test_numbers_of_cycles_may_be_numpys(number):
    theirs = Cyclic(length=number, growth=np.int32(2), lr_min=np.float32(0.25 / 16))
    plain = Cyclic(length=number.item(), growth=2, lr_min=0.25 / 16)
    assert theirs.needs_length == plain.needs_length
    rates, expected = (
        rates_of(make_regressor(learning_rate=schedule))[0]
        for schedule in (theirs, plain)
    )
    assert rates == expected


# -- searches ----------------------------------------------------------------------------


def test_a_search_over_schedules_is_scikit_learns():
    network = SAMMLPClassifier(
        (4,), batch_size=10, max_iter=8, learning_rate_init=0.05, random_state=0
    )
    grid = [
        {"learning_rate": ["constant", *SCHEDULES], "warmup": [0, 0.25]},
        {
            "learning_rate": ["cosine"],
            "learning_rate__lr_min": [0.0, 0.01],
            "rho": [0, 0.2],
        },
        {"learning_rate": [Cyclic(shape="triangular", length=3), MultiStep(gamma=0.3)]},
        {"snapshots": [2, 3, Snapshots(n=2, lr_min=0.01)]},
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
        assert_allclose(member._state.optimizer.learning_rate, last, rtol=1e-12)


def jobs_of(estimator):
    """Return the jobs of a fit, call by call of the engine."""
    seen = []

    class Trainer:
        """Train as always, and see the jobs."""

        def train(self, estimator, jobs, observer=None):
            from sksharp.training import fit_models

            seen.append(jobs)
            return fit_models(jobs, observer=observer)

    estimator._trainer = Trainer()
    estimator.fit(X, target)
    return seen


AUTO = {"rho": [0.1], "cv": 2}


@pytest.mark.parametrize("case", SETTINGS)
def test_the_network_of_a_chosen_radius_follows_the_schedule_of_the_whole_length(case):
    settings = {**SETTINGS[case][0], "batch_size": 10}
    *_, (job,) = jobs_of(make_regressor(**AUTO, **settings))
    ((plain,),) = jobs_of(make_regressor(rho=0.1, **settings))
    assert job.epochs <= plain.epochs
    assert job.settings.schedule == plain.settings.schedule


def test_a_chosen_radius_may_be_that_of_snapshots():
    regr = make_regressor(batch_size=10, snapshots=3, **AUTO).fit(X, target)
    plain = make_regressor(rho=0.1, batch_size=10, snapshots=3).fit(X, target)
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
    plan = read_parameters(regr.set_params(ema_decay="auto"))
    found = plan._decay(n_steps, is_automatic=False)
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
        {"anneal": 3},
        lambda: torchs(lambda o: SWALR(o, 0.001, anneal_epochs=3), 5)[1:],
    ),
    "linear": (
        {"anneal": 4, "strategy": "linear"},
        lambda: torchs(
            lambda o: SWALR(o, 0.001, anneal_epochs=4, anneal_strategy="linear"), 5
        )[1:],
    ),
    "a share": (
        {"anneal": 0.5},
        lambda: torchs(lambda o: SWALR(o, 0.001, anneal_epochs=2), 5)[1:],
    ),
    "at once": ({"anneal": 0}, lambda: [0.001] * 4),
}


@pytest.mark.parametrize("case", ANNEALED)
def test_the_rate_goes_to_that_of_averaging_as_under_torchs_scheduler(case):
    options, expected = ANNEALED[case]
    regr = make_linear(swa=SWA(start=2, lr=0.001, **options))
    rates, fitted = rates_of(regr)
    expected = np.repeat([INITIAL, INITIAL, *expected()], N_STEPS)
    assert_allclose(rates, expected, rtol=1e-12)
    path = gradient_descent(expected)
    assert_allclose(weights_of(fitted), path[2:].mean(0), rtol=1e-12)


def test_annealing_begins_at_the_rate_of_the_schedule():
    regr = make_linear(swa=SWA(start=2, lr=0.001, anneal=4), learning_rate="cosine")
    rates, _ = rates_of(regr)
    at_start = INITIAL / 2 * (1 + np.cos(np.pi * 8 / 24))
    t = (1 - np.cos(np.pi * np.arange(1, 5) / 4)) / 2
    expected = np.repeat(t * 0.001 + (1 - t) * at_start, N_STEPS)
    assert_allclose(rates[8:], expected, rtol=1e-12)


def test_averages_of_cycles_are_of_their_lowest_points():
    regr = make_linear(swa=SWA(start=2, lr=0.001, cycle=2))
    rates, fitted = rates_of(regr)
    t = np.tile(np.arange(1, 9) / 8, 2)
    expected = [*[INITIAL] * 8, *((1 - t) * INITIAL + t * 0.001)]
    assert_allclose(rates, expected, rtol=1e-12)
    path = gradient_descent(expected)
    assert_allclose(weights_of(fitted), path[[3, 5]].mean(0), rtol=1e-12)
    assert fitted.n_averaged_ == 2


def test_a_stall_begins_the_annealing_too():
    regr = make_linear(
        swa=SWA(start=4, lr=0.001, anneal=2, strategy="linear"),
        tol=1e9,
        n_iter_no_change=1,
    )
    rates, fitted = rates_of(regr)
    middle = (INITIAL + 0.001) / 2
    expected = np.repeat([INITIAL] * 3 + [middle, 0.001], N_STEPS)
    assert_allclose(rates, expected, rtol=1e-12)
    assert fitted.n_averaged_ == 2
