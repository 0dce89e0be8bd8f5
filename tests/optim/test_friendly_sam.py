"""Friendly sharpness-aware minimization."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import FriendlySAM


def perturbations(make, gradients, n_models=None):
    """Return the perturbation of every step, given the gradients; and the mean."""
    gradients = [torch.as_tensor(g, dtype=torch.float64) for g in gradients]
    w = nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = make([w], lr=0.0)
    moved = []
    for gradient in gradients:

        def closure(gradient=gradient):
            moved.append(w.detach().clone())
            w.grad = gradient.clone()

        optimizer.step(closure)
    steps = [b - a for a, b in zip(moved[::2], moved[1::2], strict=True)]
    return torch.stack(steps), optimizer.state[w]["friendly_mean"]


GRADIENTS = np.random.default_rng(0).normal(size=(6, 4))


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("decay", [0.0, 0.6, 0.95])
def test_the_perturbation_is_along_what_the_mean_gradient_leaves(decay, sigma):
    steps, mean = perturbations(
        partial(FriendlySAM, rho=0.3, sigma=sigma, decay=decay), GRADIENTS
    )
    m = GRADIENTS[0]
    assert_allclose(steps[0], 0.3 * m / np.linalg.norm(m), rtol=0, atol=1e-12)
    for step, g in zip(steps[1:], GRADIENTS[1:], strict=True):
        m = decay * m + (1 - decay) * g
        d = g - sigma * m
        if np.linalg.norm(d) < 1e-14:
            d = g
        assert_allclose(step, 0.3 * d / np.linalg.norm(d), rtol=0, atol=1e-12)
    assert_allclose(mean, m, rtol=0, atol=1e-12)


def test_of_sigma_one_the_mean_may_be_that_of_now_or_of_before():
    """g - m_t is decay times g - m_(t-1): one direction."""
    steps, _ = perturbations(partial(FriendlySAM, rho=0.3, decay=0.7), GRADIENTS)
    m = GRADIENTS[0]
    for step, g in zip(steps[1:], GRADIENTS[1:], strict=True):
        d, m = g - m, 0.7 * m + 0.3 * g
        assert_allclose(step, 0.3 * d / np.linalg.norm(d), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_steps", [1, 2, 30])
def test_the_mean_of_a_constant_gradient_is_that_gradient(n_steps):
    """And what is taken out of the gradient does not reach the mean."""
    g = GRADIENTS[0]
    _, mean = perturbations(partial(FriendlySAM, rho=0.3), [g] * n_steps)
    assert_allclose(mean, g, rtol=0, atol=0)


@pytest.mark.parametrize("jitter", [0.0, 1e-16])
def test_without_noise_it_is_sam(jitter):
    """A constant gradient, or one that differs by rounding, has no noise."""
    g = GRADIENTS[0]
    gradients = [g * (1 + jitter * (-1) ** t) for t in range(5)]
    steps, _ = perturbations(partial(FriendlySAM, rho=0.3), gradients)
    assert_allclose(steps, [0.3 * g / np.linalg.norm(g)] * 5, rtol=0, atol=1e-12)


def test_each_model_falls_back_by_itself():
    noisy = GRADIENTS
    constant = np.tile(GRADIENTS[0], (6, 1))
    both = np.stack([noisy, constant], axis=1)
    make = partial(FriendlySAM, rho=0.3)
    together, _ = perturbations(partial(make, model_ndim=1), both)
    for k, gradients in enumerate([noisy, constant]):
        alone, _ = perturbations(make, gradients)
        assert_allclose(together[:, k], alone, rtol=0, atol=1e-12)


def test_a_gradient_of_zero_is_not_divided_by():
    steps, mean = perturbations(partial(FriendlySAM, rho=0.3), np.zeros((3, 4)))
    assert not steps.any()
    assert not mean.any()
