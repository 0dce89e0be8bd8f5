"""Adam."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sksharp.optim import Adam, RAdam

from .cases import quadratic, walk


@pytest.mark.parametrize("eps", [0.0, 1e-8, 0.3])
def test_epsilon_is_added_before_the_bias_correction(eps):
    """Constant gradients: m = 1 - beta_1^t and sqrt(v) = s = sqrt(1 - beta_2^t)."""
    adam = partial(Adam, lr=0.01, beta_1=0.8, beta_2=0.95, eps=eps)
    trajectory = walk(adam, lambda w: (2 * w).sum(), [0.0, 1.0], n_steps=40)
    s = np.sqrt(1 - 0.95 ** np.arange(1, 41))[:, None]
    expected = 0.01 * s * 2 / (2 * s + eps) * np.ones(2)
    assert_allclose(-np.diff(trajectory, axis=0), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_steps_do_not_depend_on_the_scale_of_the_loss(scale):
    adam = partial(Adam, lr=0.01, beta_1=0.8, beta_2=0.95, eps=0.0)
    hessian = np.array([[2.0, 1.0], [1.0, 3.0]])
    trajectory = walk(adam, quadratic(scale * hessian), [1.0, 2.0], n_steps=20)
    expected = walk(adam, quadratic(hessian), [1.0, 2.0], n_steps=20)
    assert_allclose(trajectory, expected, rtol=0, atol=1e-12)


def test_the_mean_of_the_gradient_is_corrected_for_its_start_at_zero():
    """Without a second moment: beta_2 = 0 and a huge epsilon give g's weighted mean."""
    eps = 1e9
    adam = partial(Adam, lr=eps, beta_1=0.9, beta_2=0.0, eps=eps)
    trajectory = walk(adam, lambda w: (w**2).sum() / 4, [1.0], n_steps=10)
    for t in range(1, 11):
        weights = 0.9 ** np.arange(t - 1, -1, -1.0)
        mean = weights @ (trajectory[:t, 0] / 2) / weights.sum()
        move = trajectory[t - 1, 0] - trajectory[t, 0]
        assert_allclose(move, mean, rtol=1e-8)


def test_a_gradient_of_zero_leaves_the_weights():
    trajectory = walk(Adam, lambda w: (0 * w).sum(), [1.0, 2.0], n_steps=5)
    assert_allclose(trajectory, [[1.0, 2.0]] * 6, rtol=0, atol=0)


class Tagged(torch.Tensor):
    """A subclass of the tensor, such as other libraries make."""


@pytest.mark.parametrize("optimizer", [Adam, RAdam])
def test_a_subclass_of_the_tensor_trains_as_a_tensor(optimizer):
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    plain, tagged = start.clone(), start.clone().as_subclass(Tagged)
    for w in (plain, tagged):
        step = optimizer([w.requires_grad_()], lr=0.1, eps=1e-3).step
        for _ in range(8):
            w.grad = 3 * w.detach()
            step()
    assert_allclose(plain.detach(), tagged.detach(), rtol=0, atol=1e-12)


def test_a_rate_per_model_overflows_where_one_for_all_does():
    rates = [1e30, torch.full((2,), 1e30)]
    weights = []
    for lr in rates:
        w = torch.ones(2, 3, requires_grad=True)
        w.grad = torch.full_like(w, 1e12)
        Adam([w], lr=lr).step()
        weights.append(w.detach())
    assert_array_equal(*weights)
    assert torch.isinf(weights[0]).all()


def test_a_rate_of_a_user_that_is_a_tensor_is_rounded_as_one_of_many_models(
    monkeypatch,
):
    def refuse(*tensors, **numbers):
        raise AssertionError("the fused kernel rounds otherwise")

    w = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    both = torch.nn.Parameter(w.detach().repeat(2, 1))
    one = Adam([w], lr=torch.tensor(0.1))
    many = Adam([both], lr=torch.full((2,), 0.1))
    monkeypatch.setattr(torch, "_fused_adam_", refuse)
    for _ in range(3):
        w.grad, both.grad = w.detach() * 0.7, both.detach() * 0.7
        one.step()
        many.step()
    assert_array_equal(both[1].detach(), w.detach())
