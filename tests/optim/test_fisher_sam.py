"""Fisher sharpness-aware minimization."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import FisherSAM

from .test_sam import perturbation


@pytest.mark.parametrize("eta", [0.0, 1.0, 1e4])
def test_the_perturbation_has_length_rho_in_the_metric(eta):
    """e' F e = rho^2 with F = 1 + eta g^2, over all parameters."""
    rng = np.random.default_rng(0)
    gradients = [torch.from_numpy(rng.normal(size=n)) for n in (5, 3)]
    params = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
    steps = perturbation(params, gradients, partial(FisherSAM, rho=0.1, eta=eta))
    e, g = torch.cat(steps), torch.cat(gradients)
    f = 1 + eta * g**2
    assert_allclose((e * f * e).sum(), 0.1**2, rtol=1e-12)
    assert_allclose(e, 0.1 * g / f / ((g / f) @ g).sqrt(), rtol=0, atol=1e-12)


def test_a_large_gradient_is_followed_less_far_than_a_small_one():
    """With eta so large that F is the squared gradient, e is along 1 / g."""
    gradients = [torch.tensor([1.0, 10.0], dtype=torch.float64)]
    params = [nn.Parameter(torch.zeros(2, dtype=torch.float64))]
    [step] = perturbation(params, gradients, partial(FisherSAM, rho=1.0, eta=1e12))
    assert_allclose(step[0] / step[1], 10, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_it_is_never_longer_than_rho(scale):
    gradients = [scale * torch.tensor([0.6, -0.8])]
    params = [nn.Parameter(torch.zeros(2))]
    [step] = perturbation(params, gradients, partial(FisherSAM, rho=0.5, eta=1.0))
    assert step.norm() <= 0.5 * (1 + 1e-6)


def test_the_squares_of_half_precision_do_not_overflow():
    gradient = [1000.0, -10.0, 0.01]
    moved = []
    for dtype in (torch.float16, torch.float32):
        w = nn.Parameter(torch.zeros(3, dtype=dtype))
        optimizer = FisherSAM([w], rho=0.5, eta=1e4, lr=0.0)

        def closure(w=w, dtype=dtype):
            moved.append(w.detach().clone().float())
            w.grad = torch.tensor(gradient, dtype=dtype)

        optimizer.step(closure)
    assert moved[3].all()
    assert_allclose(moved[1], moved[3], rtol=2e-3, atol=1e-7)
