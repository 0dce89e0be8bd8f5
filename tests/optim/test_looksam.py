"""LookSAM."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import LookSAM

from .cases import quadratic, walk
from .test_sharpness_aware import evaluations_of

PLAIN = {"momentum": 0.0, "nesterov": False}
HESSIAN = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_costs_one_gradient_more_every_k_steps(k):
    expected = [2 if step % k == 0 else 1 for step in range(7)]
    assert evaluations_of(partial(LookSAM, looksam_k=k), 7) == expected


def test_the_steps_between_reuse_what_is_orthogonal_to_the_gradient():
    looksam = partial(
        LookSAM, rho=0.3, looksam_k=3, looksam_alpha=0.7, lr=0.05, **PLAIN
    )
    trajectory = walk(looksam, quadratic(HESSIAN), [1.0, 2.0, -0.5], n_steps=7)
    for t, (w, after) in enumerate(pairwise(trajectory)):
        g = HESSIAN @ w
        if t % 3 == 0:
            h = g + 0.3 * HESSIAN @ g / np.linalg.norm(g)
            v = h - (h @ g) / (g @ g) * g
            assert_allclose(v @ g, 0, atol=1e-12)
            v = v / np.linalg.norm(v)
            descent = h
        else:
            descent = g + 0.7 * np.linalg.norm(g) * v
        assert_allclose(after, w - 0.05 * descent, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "base", [torch.optim.SGD, partial(torch.optim.SGD, momentum=0.9)]
)
def test_it_counts_its_own_steps_and_not_the_base_optimizers(base):
    assert evaluations_of(partial(LookSAM, base_optimizer=base, looksam_k=2), 5) == [
        2,
        1,
        2,
        1,
        2,
    ]


def test_at_a_gradient_of_zero_there_is_no_direction():
    w = nn.Parameter(torch.zeros(3))
    optimizer = LookSAM([w], looksam_k=2, lr=0.1, **PLAIN)
    given = iter([torch.zeros(3), torch.zeros(3), torch.ones(3)])

    def closure():
        w.grad = next(given)

    optimizer.step(closure)
    assert not w.detach().any()
    optimizer.step(closure)
    assert_allclose(w.detach(), [-0.1] * 3, rtol=1e-6)


@pytest.mark.parametrize("rho", [0.0, 1e-5, 1.0])
def test_what_is_reused_of_many_numbers_is_orthogonal_to_the_gradient(rho):
    torch.manual_seed(0)
    w, curvature = nn.Parameter(torch.randn(300_000) / 800), 1 + torch.rand(300_000)
    start = w.detach().clone()
    optimizer = LookSAM([w], rho=rho, looksam_k=2, lr=0.1, **PLAIN)

    def closure():
        optimizer.zero_grad()
        (curvature * w**2 / 2).sum().backward()

    optimizer.step(closure)
    direction = optimizer.state[w]["looksam_direction"].double()
    g = (curvature * start).double()
    assert_allclose(direction @ g / g.norm(), 0, atol=1e-4)
    assert_allclose(direction.norm(), 1 if rho else 0, rtol=1e-5)


def test_of_many_numbers_along_one_line_nothing_is_reused():
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(300_000))
    optimizer = LookSAM([w], rho=1.0, looksam_k=2, lr=0.1, **PLAIN)

    def closure():
        optimizer.zero_grad()
        (w**2 / 2).sum().backward()

    optimizer.step(closure)
    assert not optimizer.state[w]["looksam_direction"].any()
