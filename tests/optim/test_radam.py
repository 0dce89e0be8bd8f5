"""Rectified Adam."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import RAdam

from . import reference
from .cases import walk


def measured_rectifier(beta_2, n_steps):
    """Moves at a constant gradient: the moments cancel and leave r_t, or 1."""
    radam = partial(RAdam, lr=1.0, beta_2=beta_2, eps=0.0)
    trajectory = walk(radam, torch.sum, [0.0], n_steps)[:, 0]
    return -np.diff(trajectory)


@pytest.mark.parametrize("beta_2", [0.5, 0.8, 0.9, 0.99, 0.999])
def test_a_constant_gradient_moves_by_the_rectifier(beta_2):
    factors = [reference.rectifier(t, beta_2) for t in range(1, 101)]
    expected = [1.0 if factor is None else factor for factor in factors]
    assert_allclose(measured_rectifier(beta_2, 100), expected, rtol=0, atol=1e-11)


def test_the_rectifier_has_the_published_values():
    moves = measured_rectifier(beta_2=0.999, n_steps=1000)
    assert_allclose(moves[:5], 1, rtol=0, atol=1e-12)  # the variance is unknown
    published = {6: 0.0258, 10: 0.0490, 100: 0.2153, 1000: 0.6453}
    for t, factor in published.items():
        assert_allclose(moves[t - 1], factor, rtol=0, atol=5e-5)
    assert_allclose(measured_rectifier(0.99, 6)[-1], 0.0817, rtol=0, atol=5e-5)


def test_models_are_rectified_from_their_own_step_on():
    """The first is never, the others from steps that differ."""
    beta_2 = torch.tensor([0.5, 0.75, 0.999], dtype=torch.float64)
    w = nn.Parameter(torch.zeros(3, 2, dtype=torch.float64))
    optimizer = RAdam([w], lr=1.0, beta_2=beta_2, eps=0.0)
    moves = []
    for _ in range(12):
        before = w.detach().clone()
        w.grad = torch.ones_like(w)
        optimizer.step()
        moves.append(before - w.detach())
    for k, beta in enumerate(beta_2.tolist()):
        expected = measured_rectifier(beta, 12)[:, None] * np.ones(2)
        assert_allclose(torch.stack(moves)[:, k], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta_2", [3 / 5, 2 / 3, 1 / 3, 0.0])
def test_a_memory_at_a_pole_of_the_rectifier_gives_no_nan(beta_2):
    """2 / (1 - beta_2) - 1 is 4, 5, 2 and 1: the formula divides by zero at two."""
    per_model = torch.tensor([beta_2], dtype=torch.float64)
    w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = RAdam([w], lr=1.0, beta_2=per_model)
    for _ in range(8):
        w.grad = torch.ones_like(w)
        optimizer.step()
    assert_allclose(w.detach(), [-8.0], rtol=0, atol=1e-12)
    assert_allclose(measured_rectifier(beta_2, 8), 1, rtol=0, atol=1e-12)
