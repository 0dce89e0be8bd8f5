import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

from sksharp import SAMMLPRegressor
from sksharp.optim import SGD
from sksharp.options.solvers import solver_chain
from sksharp.training._learning_rate import LearningRate, Rates

from ..solvers import every_solver

rng = np.random.RandomState(0)
X, y = rng.normal(size=(20, 3)), rng.normal(size=20)

SCHEDULES = ["constant", "invscaling", "adaptive"]


@pytest.fixture
def make_rate(job_of):
    def make_rate(solver="sgd", base_solver="adam", **changes):
        changes = {"learning_rate_init": 0.1, **changes}
        job = job_of(SAMMLPRegressor(solver=solver, base_solver=base_solver), X, y)
        optimizer = SGD([torch.zeros(1)], lr=changes["learning_rate_init"])
        settings = dataclasses.replace(job.settings, **changes)
        return LearningRate(Rates(optimizer, 1), settings)

    return make_rate


@pytest.mark.parametrize("power_t", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_is_scikit_learns_epoch_by_epoch(schedule, power_t, make_rate):
    rate = make_rate(learning_rate=schedule, power_t=power_t)
    reference = SGDOptimizer([], 0.1, schedule, power_t=power_t)
    for epoch in range(1, 40):
        rate.after_epoch(20 * epoch)
        reference.iteration_ends(20 * epoch)
        assert_allclose(rate.value, reference.learning_rate, rtol=1e-15)
        if epoch % 3 == 0:  # training stalls
            assert rate.stops("Stalled.") == reference.trigger_stopping("", False)
            assert_allclose(rate.value, reference.learning_rate, rtol=1e-15)
        assert rate.rates.optimizer.param_groups[0]["lr"] == rate.value


def test_an_adaptive_rate_ends_at_a_millionth(make_rate):
    rate = make_rate(learning_rate="adaptive", learning_rate_init=1.0)
    divisions = 0
    while not rate.stops("Stalled."):
        divisions += 1
        assert_allclose(rate.value, 5.0**-divisions, rtol=1e-12)
    assert 5.0**-divisions <= 1e-6 < 5.0 ** -(divisions - 1)


@pytest.mark.filterwarnings("ignore:solver='friendly_sam' perturbs along the noise")
@pytest.mark.parametrize("schedule", SCHEDULES)
@every_solver
def test_schedules_are_for_gradient_descent_alone(
    solver, base_solver, schedule, make_rate
):
    rate = make_rate(solver, base_solver, learning_rate=schedule)
    descends = solver_chain(solver, base_solver)[-1].name == "sgd"
    rate.after_epoch(99)
    scaled = descends and schedule == "invscaling"
    assert rate.value == (0.1 / 100**0.5 if scaled else 0.1)
    assert rate.stops("Stalled.") == (not (descends and schedule == "adaptive"))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_rate_that_is_held_follows_no_schedule(schedule, make_rate):
    rate = make_rate(learning_rate=schedule)
    rate.hold(0.7)
    rate.after_epoch(99)
    assert rate.stops("Stalled.")
    assert rate.value == 0.7


def test_all_groups_share_the_rate(make_rate):
    rate = make_rate(learning_rate="adaptive")
    rate.rates.optimizer.add_param_group({"params": [torch.zeros(1)], "lr": 9.0})
    rate.stops("Stalled.")
    assert [group["lr"] for group in rate.rates.optimizer.param_groups] == [0.02, 0.02]


# one stalled training for every answer
ANSWERS = {
    "constant": ("constant", 0.1),
    "slower": ("adaptive", 0.1),
    "too slow": ("adaptive", 1e-7),
}


@pytest.mark.parametrize(("schedule", "initial"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_printed_is_scikit_learns(schedule, initial, make_rate, capsys):
    reference = SGDOptimizer([], initial, schedule)
    reference.trigger_stopping("Stalled.", True)
    expected = capsys.readouterr().out
    rate = make_rate(learning_rate=schedule, learning_rate_init=initial, verbose=True)
    rate.stops("Stalled.")
    assert capsys.readouterr().out == expected
    make_rate(learning_rate=schedule, learning_rate_init=initial).stops("Stalled.")
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_inverse_rate_drives_the_weights_of_a_linear_model():
    """Gradient descent by hand, on a network without a hidden layer."""
    regr = SAMMLPRegressor(
        hidden_layer_sizes=(),
        solver="sgd",
        momentum=0.0,
        alpha=0.0,
        learning_rate="invscaling",
        learning_rate_init=0.5,
        power_t=0.3,
        batch_size=20,
        shuffle=False,
        random_state=0,
    )
    regr.set_params(max_iter=1, learning_rate_init=1e-300).fit(X, y)
    w, b = regr.coefs_[0].ravel(), regr.intercepts_[0]
    rate = 0.5
    for epoch in range(1, 6):
        residual = X @ w + b - y
        w, b = w - rate * X.T @ residual / 20, b - rate * residual.mean()
        rate = 0.5 / (20 * epoch + 1) ** 0.3
    regr.set_params(max_iter=5, learning_rate_init=0.5).fit(X, y)
    assert_allclose(regr.coefs_[0].ravel(), w, rtol=1e-12)
    assert_allclose(regr.intercepts_[0], b, rtol=1e-12)


# -- rates of steps ----------------------------------------------------------------------


def make_rates(n_models, dtype=torch.float64):
    shape = (n_models, 2) if n_models > 1 else (2,)
    optimizer = SGD([torch.zeros(shape, dtype=dtype)], lr=0.1)
    return Rates(optimizer, n_models), optimizer.param_groups[0]


def test_rates_that_stand_are_left_alone():
    rates, group = make_rates(3)
    assert rates.plan([None] * 3) is None
    assert group["lr"] == 0.1


def test_a_rate_that_stands_for_an_epoch_is_written_before_it():
    rates, group = make_rates(1)
    assert rates.plan([[0.3, 0.3]]) is None
    assert group["lr"] == 0.3
    rates, group = make_rates(2)
    assert rates.plan([[0.3, 0.3], None]) is None
    assert group["lr"].tolist() == [0.3, 0.1]
    assert rates.plan([[0.2, 0.2], [0.2, 0.2]]) is None
    assert group["lr"] == 0.2


def test_models_that_agree_share_a_number_for_every_step():
    rates, _ = make_rates(3)
    lrs = rates.plan([[0.3, 0.2]] * 3)
    assert list(lrs) == [0.3, 0.2]
    assert all(isinstance(lr, float) for lr in lrs)


def test_models_that_differ_have_a_rate_each_for_every_step():
    rates, group = make_rates(3)
    lrs = rates.plan([[0.3, 0.2], None, [0.5, 0.4]])
    seen = []
    for i in range(len(lrs)):
        rates.take(lrs, i)
        seen.append(group["lr"].tolist())
    assert seen == [[0.3, 0.1, 0.5], [0.2, 0.1, 0.4]]
    assert [rates.get(k) for k in range(3)] == [0.2, 0.1, 0.4]


def test_a_rate_that_somebody_else_has_written_is_seen():
    rates, group = make_rates(2)
    rates.plan([[0.3, 0.2], None])
    group["lr"] = torch.tensor([0.7, 0.8], dtype=torch.float64)
    assert [rates.get(k) for k in range(2)] == [0.7, 0.8]
    rates.set(0, 0.6)
    assert group["lr"].tolist() == [0.6, 0.8]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_remembered_is_what_is_written_bit_for_bit(dtype):
    rates, group = make_rates(2, dtype)
    rates.set(1, 0.3)
    assert [rates.get(k) for k in range(2)] == group["lr"].tolist()
    lrs = rates.plan([[0.3, 0.2], [0.1, 0.7]])
    for i in range(len(lrs)):
        rates.take(lrs, i)
    assert [rates.get(k) for k in range(2)] == group["lr"].tolist()
