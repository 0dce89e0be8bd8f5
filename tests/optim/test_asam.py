"""Adaptive sharpness-aware minimization."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import ASAM, SAM

from .test_sam import perturbation


def draw(*shapes):
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.normal(size=shape)) for shape in shapes]


@pytest.mark.parametrize("eta", [0.0, 0.01, 1.0])
def test_the_perturbation_has_length_rho_in_units_of_the_weights(eta):
    """rho T^2 g / |T g|, whose T^-1 norm is rho; T is 1 for vectors."""
    shapes = [(4, 3), (3,), (3, 2, 2), ()]
    params = [nn.Parameter(w) for w in draw(*shapes)]
    gradients = draw(*shapes)
    sizes = [
        (w.detach().abs() + eta) if w.ndim >= 2 else torch.ones_like(w) for w in params
    ]
    steps = perturbation(params, gradients, partial(ASAM, rho=0.5, eta=eta))
    norm = sum((t * g).square().sum() for t, g in zip(sizes, gradients, strict=True))
    for step, t, g in zip(steps, sizes, gradients, strict=True):
        assert_allclose(step, 0.5 * t**2 * g / norm.sqrt(), rtol=0, atol=1e-12)
    length = sum((e / t).square().sum() for e, t in zip(steps, sizes, strict=True))
    assert_allclose(length.sqrt(), 0.5, rtol=1e-12)


def test_a_bias_of_zero_is_perturbed():
    """Scaled by its own size it would never be."""
    params = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.zeros(2))]
    gradients = [torch.ones(2, 2), torch.ones(2)]
    _, bias = perturbation(params, gradients, partial(ASAM, rho=1.0, eta=0.0))
    assert bias.abs().min() > 0


def test_a_weight_of_zero_is_perturbed_by_eta_only():
    params = [nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))]
    gradients = [torch.ones(2, 2, dtype=torch.float64)]
    [still] = perturbation(params, gradients, partial(ASAM, rho=1.0, eta=0.0, lr=0.0))
    [moved] = perturbation(params, gradients, partial(ASAM, rho=1.0, eta=0.1))
    assert not still.any()
    assert_allclose(moved, np.full((2, 2), 0.1 / 2), rtol=1e-12)


@pytest.mark.parametrize("n_models", [0, 3])
def test_weights_are_told_from_biases_by_their_axes_beside_that_of_the_models(n_models):
    shape = (n_models,) if n_models else ()
    weights, biases = draw((*shape, 2, 4), (*shape, 4))
    params = [nn.Parameter(weights), nn.Parameter(biases)]
    gradients = draw((*shape, 2, 4), (*shape, 4))
    make = partial(ASAM, rho=0.3, lr=0.0, model_ndim=len(shape))
    steps = perturbation(params, gradients, make)
    flat = nn.Parameter(torch.cat([p.detach().reshape(*shape, -1) for p in params], -1))
    gradient = torch.cat([g.reshape(*shape, -1) for g in gradients], -1)
    [of_flat] = perturbation([flat], [gradient], partial(make, n_scaled=8))
    joined = torch.cat([step.reshape(*shape, -1) for step in steps], -1)
    assert_allclose(of_flat, joined, rtol=0, atol=1e-12)


def test_a_group_may_say_how_many_entries_are_weights():
    w, g = draw((6,), (6,))
    first, second = nn.Parameter(w.clone()), nn.Parameter(w.clone())

    def make(params):
        groups = [{"params": params[:1], "n_scaled": 4}, {"params": params[1:]}]
        return ASAM(groups, rho=1.0, eta=0.0)

    scaled, plain = perturbation([first, second], [g, g], make)
    assert_allclose(scaled[:4] / plain[:4], w[:4] ** 2, rtol=1e-12)
    assert_allclose(scaled[4:], plain[4:], rtol=1e-12)


@pytest.mark.parametrize("c", [2.0, 10.0])
def test_the_perturbed_loss_does_not_change_with_the_scale_of_the_factors(c):
    """Of (a b - 1)^2 / 2 at (c a, b / c), which SAM's does."""

    def perturbed_loss(method, a, b):
        params = [
            nn.Parameter(torch.full((1, 1), x, dtype=torch.float64)) for x in (a, b)
        ]
        gradients = [(a * b - 1) * torch.full((1, 1), x).double() for x in (b, a)]
        e_a, e_b = perturbation(params, gradients, method)
        return (((a + e_a) * (b + e_b) - 1) ** 2 / 2).item()

    asam = partial(ASAM, rho=0.2, eta=0.0)
    at_one = perturbed_loss(asam, 1.0, 1.3)
    assert_allclose(perturbed_loss(asam, c * 1.0, 1.3 / c), at_one, rtol=1e-12)
    sam = partial(SAM, rho=0.2)
    change = perturbed_loss(sam, c * 1.0, 1.3 / c) / perturbed_loss(sam, 1.0, 1.3)
    assert abs(change - 1) > 0.05


def test_a_rescaled_network_of_rectifiers_is_perturbed_to_the_same_function():
    """Without biases, and without eta."""
    x = draw((30, 5))[0]

    def perturbed_outputs(c):
        w_1, w_2 = draw((5, 7), (7, 2))
        params = [nn.Parameter(c * w_1), nn.Parameter(w_2 / c)]
        optimizer = ASAM(params, rho=0.3, eta=0.0)
        outputs = []

        def closure():
            optimizer.zero_grad()
            outputs.append(torch.relu(x @ params[0]) @ params[1])
            loss = (outputs[-1] - 1).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        return [output.detach() for output in outputs]

    for a, b in zip(perturbed_outputs(1.0), perturbed_outputs(8.0), strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-12)


def test_at_a_gradient_of_zero_there_is_no_ascent():
    params = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.zeros(2))]
    gradients = [torch.zeros(2, 2), torch.zeros(2)]
    for step in perturbation(params, gradients, partial(ASAM, eta=0.0)):
        assert not step.any()
