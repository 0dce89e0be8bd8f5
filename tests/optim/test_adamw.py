"""AdamW, and the layout of a long parameter."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import Adam, AdamW, Muon, ScheduleFree
from sksharp.optim._layout import joined, slices, weight_slices

from .cases import Training, equal, initial_weights, train, walk


@pytest.mark.parametrize("decay", [0.0, 0.1, 2.0])
def test_without_a_gradient_the_weights_shrink_geometrically(decay):
    adamw = partial(AdamW, lr=0.1, weight_decay=decay)
    trajectory = walk(adamw, lambda w: (0 * w).sum(), [1.0, -3.0], n_steps=9)
    expected = (1 - 0.1 * decay) ** np.arange(10)[:, None] * [1.0, -3.0]
    assert_allclose(trajectory, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_decay_does_not_depend_on_the_scale_of_the_loss(scale):
    """A penalty in the gradient would count for nothing beside a large loss."""
    adamw = partial(AdamW, lr=0.01, eps=0.0, weight_decay=0.5)
    trajectory = walk(adamw, lambda w: scale * w.sum(), [1.0, 2.0], n_steps=10)
    expected = walk(adamw, torch.sum, [1.0, 2.0], n_steps=10)
    assert_allclose(trajectory, expected, rtol=0, atol=1e-12)


def test_without_decay_it_is_adam_bit_for_bit():
    values = {"lr": 0.01, "beta_1": 0.8, "beta_2": 0.95, "eps": 1e-3}
    adamw = partial(AdamW, **values, weight_decay=0.0)
    assert equal(train(adamw), train(partial(Adam, **values)))


@pytest.mark.parametrize("decay", [0.01, 1.0])
def test_without_epsilon_it_is_the_adamw_of_torch(decay):
    """The two forms differ by where epsilon stands only."""
    values = {"lr": 0.01, "eps": 0.0, "weight_decay": decay}
    adamw = partial(AdamW, **values, beta_1=0.8, beta_2=0.95)
    other = partial(torch.optim.AdamW, **values, betas=(0.8, 0.95))
    for p, q in zip(train(adamw, 50), train(other, 50), strict=True):
        assert_allclose(p, q, rtol=0, atol=1e-12)


def test_biases_in_a_group_without_decay_are_not_decayed():
    def make(params):
        biases = {"params": params[1::2], "weight_decay": 0.0}
        return AdamW([{"params": params[::2]}, biases], lr=0.1, weight_decay=0.5)

    training = Training(make, initial_weights(0))
    for p in training.params:
        p.grad = torch.zeros_like(p)
    training.optimizer.step()
    for p, w in zip(training.params, initial_weights(0), strict=True):
        factor = 0.95 if p.ndim == 2 else 1.0
        assert_allclose(p.detach(), factor * w, rtol=0, atol=1e-15)


# -- the layout ----------------------------------------------------------------------

LAYOUT = [(2, 3), (3, 1), (3,), (1,)]


def test_a_layout_says_where_its_tensors_lie():
    assert slices(LAYOUT) == [slice(0, 6), slice(6, 9), slice(9, 12), slice(12, 13)]
    assert weight_slices(LAYOUT) == [slice(0, 9)]
    assert weight_slices([(4,), (2, 2), (1,), (3, 1)]) == [slice(4, 8), slice(9, 12)]
    assert joined(slices(LAYOUT)) == [slice(0, 13)]
    assert slices([]) == joined([]) == weight_slices([(3,)]) == []


@pytest.mark.parametrize("optimizer", [AdamW, ScheduleFree, Muon])
@pytest.mark.parametrize("n_models", [None, 3])
def test_the_weights_of_a_layout_are_decayed_and_its_biases_are_not(
    optimizer, n_models
):
    shape = (13,) if n_models is None else (n_models, 13)
    axis = {"model_ndim": len(shape) - 1} if optimizer is Muon else {}
    w = nn.Parameter(torch.ones(shape, dtype=torch.float64))
    step = optimizer([w], lr=0.1, weight_decay=0.5, layout=LAYOUT, **axis).step
    w.grad = torch.zeros_like(w)
    step()
    assert_allclose(w.detach()[..., :9], 0.95, rtol=0, atol=1e-15)
    assert (w.detach()[..., 9:] == 1).all()


@pytest.mark.parametrize("optimizer", [AdamW, ScheduleFree, Muon])
@pytest.mark.parametrize("shape", [(12,), (13, 2), ()])
def test_a_layout_that_does_not_fill_a_parameter_is_refused(optimizer, shape):
    with pytest.raises(ValueError, match=r"layout must fill .*got 13 numbers"):
        optimizer([nn.Parameter(torch.ones(shape))], layout=LAYOUT)
