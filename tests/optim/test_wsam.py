"""Weighted sharpness-aware minimization."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import SGD, WSAM, Adam, Lookahead, RAdam, Ranger

from .cases import quadratic, walk

PLAIN = {"momentum": 0.0, "nesterov": False}
each_way = pytest.mark.parametrize(
    "decouple", [False, True], ids=["coupled", "decoupled"]
)


@each_way
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 0.9])
def test_a_step_without_momentum_is_the_formula(gamma, decouple):
    """w - lr (g + kappa rho H u) with kappa = gamma / (1 - gamma), either way."""
    hessian = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
    linear, w = np.array([1.0, 0.0, -1.0]), np.array([1.0, 2.0, -0.5])
    wsam = partial(WSAM, rho=0.3, gamma=gamma, lr=0.1, decouple=decouple, **PLAIN)
    step = walk(wsam, quadratic(hessian, linear), w)
    g = hessian @ w - linear
    sharpness = gamma / (1 - gamma) * 0.3 * hessian @ g / np.linalg.norm(g)
    assert_allclose(step[-1], w - 0.1 * (g + sharpness), rtol=0, atol=1e-12)


@each_way
def test_only_the_coupled_sharpness_enters_the_momentum(decouple):
    """v <- mu v + g, or g + kappa rho H u if coupled; w <- w - lr v - the rest."""
    hessian, w = np.diag([4.0, 1.0]), np.array([1.0, 2.0])
    wsam = partial(
        WSAM,
        base_optimizer=partial(torch.optim.SGD, momentum=0.9),
        rho=0.3,
        gamma=0.8,
        lr=0.05,
        decouple=decouple,
    )
    trajectory = walk(wsam, quadratic(hessian), w, n_steps=5)
    expected, v = [w], 0.0
    for _ in range(5):
        g = hessian @ w
        sharpness = 4 * 0.3 * hessian @ g / np.linalg.norm(g)
        v = 0.9 * v + g + (0 if decouple else sharpness)
        w = w - 0.05 * v - (0.05 * sharpness if decouple else 0)
        expected.append(w)
    assert_allclose(trajectory, expected, rtol=0, atol=1e-12)


@each_way
@pytest.mark.parametrize(
    ("h", "lr", "rho", "gamma"), [(1, 0.1, 0.5, 0.9), (4, 0.2, 0.3, 0.3)]
)
def test_in_one_dimension_it_ends_in_a_cycle_kappa_times_as_wide(
    h, lr, rho, gamma, decouple
):
    wsam = partial(WSAM, rho=rho, gamma=gamma, lr=lr, decouple=decouple, **PLAIN)
    trajectory = walk(wsam, quadratic(h), [1.0], n_steps=330)
    kappa = gamma / (1 - gamma)
    amplitude = lr * h * kappa * rho / (2 - lr * h)
    assert_allclose(abs(trajectory[-4:]), amplitude, rtol=0, atol=1e-12)
    assert np.all(np.diff(np.sign(trajectory[-4:]), axis=0) != 0)


@pytest.mark.parametrize(
    ("base", "decoupled"),
    [
        (SGD, True),
        (partial(SGD, momentum=0.5), True),
        (torch.optim.SGD, True),
        (Adam, False),
        (RAdam, False),
        (Ranger, False),
        (torch.optim.Adam, False),
        (partial(Lookahead, base_optimizer=SGD), False),
    ],
)
def test_it_decouples_over_stochastic_gradient_descent_only(base, decoupled):
    params = [nn.Parameter(torch.ones(1))]
    assert WSAM(params, base).decouple is decoupled
    assert WSAM(params, base, decouple=not decoupled).decouple is not decoupled


@each_way
def test_a_group_may_have_its_own_gamma(decouple):
    def make(params):
        groups = [{"params": params[:1], "gamma": 0.75}, {"params": params[1:]}]
        return WSAM(groups, rho=0.3, gamma=0.0, lr=0.1, decouple=decouple, **PLAIN)

    step = walk(make, quadratic(np.diag([4, 1])), [1.0, 2.0])
    expected = [1 - 0.1 * (4 + 3 * 0.3 * 16 / 20**0.5), 2 - 0.1 * 2]
    assert_allclose(step[-1], expected, rtol=0, atol=1e-12)


@each_way
@pytest.mark.parametrize("set_to_none", [True, False], ids=["none", "zero"])
@pytest.mark.parametrize(
    ("used_in", "weight"), [(1, 1 - 3), (2, 3)], ids=["ascent", "descent"]
)
def test_a_parameter_used_in_one_evaluation_has_a_gradient_of_zero_in_the_other(
    used_in, weight, set_to_none, decouple
):
    """Whether the closure clears gradients to None or to zero; kappa is 3."""
    always, sometimes = (nn.Parameter(torch.tensor([2.0])) for _ in range(2))
    sometimes.grad = torch.zeros(1)
    optimizer = WSAM(
        [always, sometimes], rho=0.0, gamma=0.75, lr=0.1, decouple=decouple, **PLAIN
    )
    n_evaluations = 0

    def closure():
        nonlocal n_evaluations
        n_evaluations += 1
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = always.square().sum() / 2
        if n_evaluations == used_in:
            loss = loss + sometimes.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert_allclose(always.detach(), [2 - 0.1 * 2], rtol=1e-6)
    assert_allclose(sometimes.detach(), [2 - 0.1 * weight * 2], rtol=1e-6)


@each_way
def test_a_rate_per_model_reaches_the_sharpness(decouple):
    """Three models of one weight: each steps with its own rate, rho and gamma."""
    lr, rho, gamma = torch.tensor(
        [[0.1, 0.2, 0.3], [0.1, 0.5, 1.0], [0.5, 0.8, 0.9]], dtype=torch.float64
    )
    start = torch.tensor([[1.0], [2.0], [-3.0]], dtype=torch.float64)
    w = nn.Parameter(start.clone())
    values = {"rho": rho, "gamma": gamma, "lr": lr, "model_ndim": 1}
    optimizer = WSAM([w], decouple=decouple, **values, **PLAIN)

    def closure():
        optimizer.zero_grad()
        loss = w.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    kappa = gamma / (1 - gamma)
    expected = start.T - lr * (start.T + kappa * rho * start.T.sign())
    assert_allclose(w.detach().T, expected, rtol=0, atol=1e-12)
