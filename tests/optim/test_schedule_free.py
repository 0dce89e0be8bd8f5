"""Schedule-Free."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import SGD, ScheduleFree

from .cases import Training, equal, initial_weights, quadratic, train, walk

sgd = partial(ScheduleFree, adaptive=False)


def evaluated(make, loss, start, n_steps):
    """Return where the model is evaluated after each step."""
    w = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = make([w])
    points = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss(w).backward()
        optimizer.step()
        points.append(optimizer.evaluation_params()[0].tolist())
    return np.array(points)


def test_without_interpolation_it_is_gradient_descent_and_its_mean():
    """beta_1 = 0: the gradient is taken at z, and x is the mean of the z's."""
    make = partial(sgd, lr=0.1, beta_1=0.0)
    loss, start = quadratic([[2.0, 1.0], [1.0, 3.0]]), [1.0, -2.0]
    descent = walk(
        partial(SGD, lr=0.1, momentum=0.0, nesterov=False), loss, start, n_steps=12
    )
    assert_allclose(walk(make, loss, start, 12), descent, rtol=0, atol=1e-12)
    means = np.cumsum(descent[1:], axis=0) / np.arange(1, 13)[:, None]
    assert_allclose(evaluated(make, loss, start, 12), means, rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta_1", [0.0, 0.5, 0.9])
def test_the_averaged_weights_are_the_mean_of_the_iterates(beta_1):
    """At a constant gradient z_t = -lr t, whatever beta_1, so x_t = -lr (t + 1) / 2."""
    make = partial(sgd, lr=0.1, beta_1=beta_1)
    t = np.arange(1, 21)
    x = evaluated(make, torch.sum, [0.0], 20)[:, 0]
    assert_allclose(x, -0.1 * (t + 1) / 2, rtol=0, atol=1e-12)
    # the gradient is taken between the two
    y = walk(make, torch.sum, [0.0], 20)[1:, 0]
    assert_allclose(y, (1 - beta_1) * -0.1 * t + beta_1 * x, rtol=0, atol=1e-12)


def test_the_warm_up_weighs_the_iterates_by_their_squared_rates():
    make = partial(sgd, lr=0.2, warmup=5)
    rates = 0.2 * np.minimum(1, np.arange(1, 13) / 5)
    z = -np.cumsum(rates)
    x = evaluated(make, torch.sum, [0.0], 12)[:, 0]
    expected = np.cumsum(rates**2 * z) / np.cumsum(rates**2)
    assert_allclose(x, expected, rtol=0, atol=1e-12)


def test_a_change_of_the_rate_weighs_the_iterates_by_their_squared_rates():
    w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = sgd([w], lr=0.1)
    rates = np.array([0.1, 0.1, 0.4, 0.4, 0.05])
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        w.grad = torch.ones_like(w)
        optimizer.step()
    expected = np.sum(rates**2 * -np.cumsum(rates)) / np.sum(rates**2)
    assert_allclose(optimizer.evaluation_params()[0], [expected], rtol=0, atol=1e-12)


def test_the_adaptive_form_moves_by_the_rate_at_a_constant_gradient():
    """m is g and the root of its mean square |g|: z_t = -lr t sign(g)."""
    make = partial(ScheduleFree, lr=0.1, eps=0.0)
    x = evaluated(make, lambda w: (w * torch.tensor([3.0, -0.01])).sum(), [0.0] * 2, 9)
    t = np.arange(1, 10)[:, None]
    assert_allclose(x, -0.1 * (t + 1) / 2 * [1, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 0.5])
def test_epsilon_is_added_to_the_root_without_its_bias(eps):
    """The root of the mean square is 2 from the first step on: 2 / (2 + eps)."""
    make = partial(ScheduleFree, lr=0.1, eps=eps)
    t = np.arange(1, 9)
    x = evaluated(make, lambda w: 2 * w.sum(), [0.0], 8)[:, 0]
    expected = -0.1 * 2 / (2 + eps) * (t + 1) / 2
    assert_allclose(x, expected, rtol=0, atol=1e-12)


def test_the_decay_is_that_of_the_point_of_the_gradient():
    """z <- z - lr decay y, without a gradient."""
    w = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = sgd([w], lr=0.1, beta_1=0.9, weight_decay=0.5)
    x = y = z = 1.0
    for t in range(1, 8):
        w.grad = torch.zeros_like(w)
        optimizer.step()
        z -= 0.1 * 0.5 * y
        x += (z - x) / t
        y = 0.1 * z + 0.9 * x
        assert_allclose(w.item(), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("lr", [0.0, torch.tensor(0.0, dtype=torch.float64)])
def test_a_rate_of_zero_is_no_training_and_no_nan(lr, adaptive):
    training = Training(
        partial(ScheduleFree, lr=lr, adaptive=adaptive), initial_weights(0)
    )
    training.run(3)
    for weights in (training.params, training.optimizer.evaluation_params()):
        assert equal(weights, initial_weights(0))


MAKERS = {
    "AdamW": partial(ScheduleFree, lr=0.01, warmup=3),
    "SGD": partial(sgd, lr=0.05),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@each
def test_synchronizing_puts_the_averaged_weights_in_place(make):
    training = Training(make, initial_weights(0))
    assert training.optimizer.is_synchronized
    training.run(5)
    assert not training.optimizer.is_synchronized
    averaged = [w.clone() for w in training.optimizer.evaluation_params()]
    training.optimizer.synchronize()
    assert training.optimizer.is_synchronized
    assert equal(training.params, averaged)
    assert equal(training.optimizer.evaluation_params(), averaged)


@each
def test_adopted_parameters_are_where_a_new_average_begins(make):
    training = Training(make, initial_weights(0))
    training.run(5)
    mean_sq = [training.optimizer.state[p].get("mean_sq") for p in training.params]
    with torch.no_grad():
        for p in training.params:
            p.fill_(7.0)
    training.optimizer.reset_to_params()
    for p, kept in zip(training.params, mean_sq, strict=True):
        assert (p == 7).all()
        assert training.optimizer.state[p].get("mean_sq") is kept
    training.run(1)  # x_1 = z_1 = y_1
    assert equal(training.params, training.optimizer.evaluation_params())


@each
def test_the_parameters_are_found_again_from_the_averaged_weights(make):
    training = Training(make, initial_weights(0))
    training.run(5)
    before = [p.detach().clone() for p in training.params]
    with torch.no_grad():
        for p, w in zip(
            training.params, training.optimizer.training_params(), strict=True
        ):
            p.copy_(w)
    assert not equal(training.params, before)
    training.optimizer.resume_params()
    assert equal(training.params, before)
    training.run(4)
    assert equal(training.params, train(make, 9))


def test_a_parameter_may_change_its_precision_between_two_steps():
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = ScheduleFree([parameter], lr=0.1)
    for dtype in (torch.float64, torch.float32):
        parameter.data = parameter.data.to(dtype)
        parameter.grad = torch.ones(3, dtype=dtype)
        optimizer.step()
    assert parameter.dtype == torch.float32
    assert torch.isfinite(parameter).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_step_leaves_the_gradient_as_it_is(dtype):
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 99, dtype=dtype))
    optimizer = ScheduleFree([parameter], lr=0.1)
    for scale in (0.1, 3.0):
        grad = (scale * torch.linspace(0, 7, 99)).sin().to(dtype)
        parameter.grad = grad.clone()
        optimizer.step()
        assert torch.equal(parameter.grad, grad)
