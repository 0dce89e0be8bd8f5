"""Stochastic gradient descent."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import SGD

from . import reference
from .cases import quadratic, walk


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_a_constant_gradient_sums_to_a_geometric_series(momentum):
    """The t-th move is lr (1 - mu^t) / (1 - mu), one step further with Nesterov."""
    t = np.arange(1, 31)[:, None]
    for nesterov in (False, True):
        sgd = partial(SGD, lr=0.1, momentum=momentum, nesterov=nesterov)
        moves = -np.diff(walk(sgd, torch.sum, [0.0, 1.0], n_steps=30), axis=0)
        series = (1 - momentum ** (t + nesterov)) / (1 - momentum)
        assert_allclose(moves, 0.1 * series * np.ones(2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy ball", "Nesterov"])
def test_a_new_rate_does_not_rescale_the_velocity(nesterov):
    """As in scikit-learn and unlike torch, where the rate is outside the velocity."""
    w = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    other = nn.Parameter(w.detach().clone())
    settings = {"momentum": 0.9, "nesterov": nesterov}
    optimizers = [SGD([w], lr=0.1, **settings), torch.optim.SGD([other], **settings)]
    expected, velocity = np.array([1.0, -2.0]), 0.0
    for lr in (0.1, 0.1, 0.01, 0.001):
        for p, optimizer in zip((w, other), optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = lr
            p.grad = p.detach().clone()
            optimizer.step()
        gradient = expected
        velocity = 0.9 * velocity - lr * gradient
        move = 0.9 * velocity - lr * gradient if nesterov else velocity
        expected = expected + move
    assert_allclose(w.detach(), expected, rtol=0, atol=1e-12)
    assert (w - other).abs().max() > 1e-2


def test_momentum_of_one_never_forgets():
    sgd = partial(SGD, lr=0.1, momentum=1.0, nesterov=False)
    trajectory = walk(sgd, torch.sum, [0.0], n_steps=10)
    t = np.arange(11)
    assert_allclose(trajectory[:, 0], -0.1 * t * (t + 1) / 2, rtol=0, atol=1e-12)


def test_a_step_without_a_closure_takes_the_gradients_as_they_are():
    step = reference.sgd(lr=0.1, momentum=0.9, nesterov=True)
    w = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = SGD([w], lr=0.1, momentum=0.9)
    expected = np.array([1.0, 2.0])
    for _ in range(4):
        w.grad = 3 * w.detach()
        assert optimizer.step() is None
        expected = step(expected, lambda w: 3 * w)
    assert_allclose(w.detach(), expected, rtol=0, atol=1e-12)


def test_a_step_on_a_quadratic_contracts_each_direction_by_one_minus_lr_h():
    sgd = partial(SGD, lr=0.1, momentum=0.0)
    h = np.array([1.0, 4.0, 19.0])
    trajectory = walk(sgd, quadratic(np.diag(h)), np.ones(3), n_steps=12)
    t = np.arange(13)[:, None]
    assert_allclose(trajectory, (1 - 0.1 * h) ** t, rtol=0, atol=1e-12)
