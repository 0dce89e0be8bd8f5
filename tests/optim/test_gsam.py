"""Surrogate gap guided sharpness-aware minimization."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import GSAM

from .cases import quadratic, walk

PLAIN = {"momentum": 0.0, "nesterov": False}
HESSIAN = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


@pytest.mark.parametrize("alpha", [0.0, 0.4, 2.0])
def test_a_step_is_the_formula(alpha):
    """The descent is g~ - alpha g_perp: as steep along g~ as SAM's."""
    linear, w = np.array([1.0, 0.0, -1.0]), np.array([1.0, 2.0, -0.5])
    gsam = partial(GSAM, rho=0.3, gsam_alpha=alpha, lr=0.1, **PLAIN)
    [step] = np.diff(walk(gsam, quadratic(HESSIAN, linear), w), axis=0)
    g = HESSIAN @ w - linear
    h = g + 0.3 * HESSIAN @ g / np.linalg.norm(g)
    orthogonal = g - (g @ h) / (h @ h) * h
    assert_allclose(orthogonal @ h, 0, atol=1e-12)
    descent = -step / 0.1
    assert_allclose(descent, h - alpha * orthogonal, rtol=0, atol=1e-12)
    assert_allclose(descent @ h, h @ h, rtol=1e-12)


def test_the_products_are_over_all_parameters():
    """Two tensors are one vector: not projected tensor by tensor."""
    w = np.array([1.0, 2.0, -0.5])
    gsam = partial(GSAM, rho=0.3, gsam_alpha=0.4, lr=0.1, **PLAIN)
    whole = walk(lambda ps: gsam(ps), quadratic(HESSIAN), w, n_steps=4)
    single = nn.Parameter(torch.from_numpy(w.copy()))
    optimizer = gsam([single])
    loss = quadratic(HESSIAN)

    def closure():
        optimizer.zero_grad()
        loss(single).backward()

    for _ in range(4):
        optimizer.step(closure)
    assert_allclose(whole[-1], single.detach(), rtol=0, atol=1e-12)


def descend(gradients, n_models=None, dtype=torch.float64):
    """Return what is descended with, given both gradients."""
    first, second = (torch.tensor(g, dtype=dtype) for g in gradients)
    w = nn.Parameter(torch.zeros_like(first))
    optimizer = GSAM([w], rho=0.1, gsam_alpha=0.5, lr=1.0, **PLAIN)
    if first.ndim == 2:
        optimizer.model_ndim = 1
    given = iter([first, second])

    def closure():
        w.grad = next(given).clone()

    optimizer.step(closure)
    return -w.detach()


def test_at_a_second_gradient_of_zero_nothing_is_divided_by_zero():
    """All of the first is then orthogonal to it."""
    assert_allclose(descend([[3.0, 4.0], [0.0, 0.0]]), [-1.5, -2.0])
    assert_allclose(descend([[0.0, 0.0], [3.0, 4.0]]), [3.0, 4.0])
    assert_allclose(descend([[0.0, 0.0], [0.0, 0.0]]), [0.0, 0.0])


@pytest.mark.parametrize("scale", [1e-25, 1e-15, 1.0, 1e15])
def test_gradients_whose_squares_underflow_are_combined_all_the_same(scale):
    first, second = np.array([3.0, 4.0]), np.array([1.0, 0.0])
    result = descend([scale * first, scale * second], dtype=torch.float32)
    assert torch.isfinite(result).all()
    if scale >= 1e-15:
        assert_allclose(result / scale, [1.0, -0.5 * 4], rtol=1e-5)


def test_each_model_has_products_of_its_own():
    gradients = [[[3.0, 4.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]]]
    together = descend(gradients)
    for k in range(2):
        alone = descend([gradients[0][k], gradients[1][k]])
        assert_allclose(together[k], alone, rtol=1e-12)


def test_with_rho_of_zero_many_numbers_have_no_orthogonal_part():
    gradient = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    descent = descend([gradient.tolist()] * 2, dtype=torch.float32)
    assert torch.equal(descent, gradient)
