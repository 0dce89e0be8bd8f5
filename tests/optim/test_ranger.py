"""Ranger."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sksharp.optim import Lookahead, RAdam, Ranger

from . import reference
from .cases import equal, train, walk


def test_the_defaults_are_those_of_the_published_code():
    published = partial(
        Lookahead,
        base_optimizer=RAdam,
        lr=1e-3,
        beta_1=0.95,
        beta_2=0.999,
        eps=1e-5,
        k=6,
        alpha=0.5,
    )
    assert equal(train(Ranger, 20), train(published, 20))


@pytest.mark.parametrize("beta_2", [0.9, 0.999])
def test_a_constant_gradient_moves_half_the_sum_of_the_rectifiers(beta_2):
    ranger = partial(Ranger, lr=0.1, beta_2=beta_2, eps=0.0)
    trajectory = walk(ranger, torch.sum, [0.0, 3.0], n_steps=30)
    factors = [reference.rectifier(t, beta_2) for t in range(1, 31)]
    moves = np.array([1.0 if factor is None else factor for factor in factors])
    distance = 0.5 * 0.1 * moves.reshape(5, 6).sum(1).cumsum()
    expected = [0.0, 3.0] - distance[:, None]
    assert_allclose(trajectory[6::6], expected, rtol=0, atol=1e-12)


def test_a_weight_of_a_layer_with_one_input_is_trained():
    """Gradient centralization, which other versions have, would hold it for ever."""
    w = torch.nn.Parameter(torch.ones(4, 1, dtype=torch.float64))
    optimizer = Ranger([w], lr=0.1, k=2)
    for _ in range(2):
        w.grad = torch.ones_like(w)
        optimizer.step()
    assert_allclose(w.detach(), np.full((4, 1), 1 - 0.5 * 0.1 * 2), rtol=0, atol=1e-12)
