"""YellowFin."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import YellowFin
from sksharp.optim.yellowfin import conditioning, single_step

from . import reference
from .cases import walk

make = partial(YellowFin, slow_start=0)


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 0.1, 1.0, 7.0, 1e3, 1e6])
def test_the_single_step_minimizes_the_model(noise):
    """x^2 + noise^2 (1 - x)^4, whose minimum the formula of Cardano gives too."""
    x = single_step(torch.tensor(noise, dtype=torch.float64)).item()
    assert_allclose(x, reference.optimal_root(1.0, noise**2), rtol=3e-8, atol=1e-11)
    assert_allclose(2 * x, 4 * noise**2 * (1 - x) ** 3, rtol=1e-6, atol=1e-12)
    if 0.1 <= noise <= 10:
        p = 1 / (2 * noise**2)
        w = -np.cbrt((np.sqrt(p**2 + 4 * p**3 / 27) + p) / 2)
        assert_allclose(x, w - p / (3 * w) + 1, rtol=1e-10)


def test_without_noise_there_is_no_momentum_and_with_noise_alone_all_of_it():
    noise = torch.tensor([0.0, 1e-300, 1e300, torch.inf], dtype=torch.float64)
    assert_allclose(single_step(noise), [0, 0, 1, 1], rtol=0, atol=1e-15)


@pytest.mark.parametrize("ratio", [1.0, 4.0, 100.0])
def test_a_range_of_curvatures_wants_the_momentum_of_the_heavy_ball(ratio):
    root = np.sqrt(ratio)
    measured = conditioning(torch.tensor(ratio, dtype=torch.float64))
    assert_allclose(measured, (root - 1) / (root + 1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("slope", [0.1, 1.0, 30.0])
def test_at_a_constant_gradient_a_step_is_the_gradient_over_its_square(slope):
    """C = 0 and kappa = 1: no momentum and lr = 1 / h_min, where h = |g|^2."""
    trajectory = walk(make, lambda w: slope * w.sum(), [0.0, 0.0], n_steps=30)
    expected = -1 / (2 * slope) * np.arange(31)[:, None] * np.ones(2)
    # the variance of equal numbers is rounding, which the root makes larger
    assert_allclose(trajectory, expected, rtol=1e-4, atol=0)


def test_the_slow_start_raises_the_rate_in_a_straight_line():
    yellowfin = partial(YellowFin, slow_start=10, lr=0.5)
    trajectory = walk(yellowfin, lambda w: 2 * w.sum(), [0.0], n_steps=15)[:, 0]
    shares = np.minimum(1, np.arange(1, 16) / 10)
    assert_allclose(-np.diff(trajectory), 0.5 * shares / 2, rtol=1e-4)


def test_the_curvatures_of_a_window_give_the_momentum():
    """Two gradients of opposite sign in turn: kappa = 4, and the range is at once known."""
    w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = make([w], beta=0.0, window=2)  # no memory but the window's
    for t in range(6):
        w.grad = torch.full_like(w, 1.0 if t % 2 else 2.0)
        optimizer.step()
        if t:
            momentum = optimizer.param_groups[0]["tuner"]["momentum"]
            assert_allclose(momentum, ((2 - 1) / (2 + 1)) ** 2, rtol=0, atol=1e-12)


def test_a_gradient_of_zero_gives_no_nan():
    w = nn.Parameter(torch.ones(2))
    optimizer = YellowFin([w])
    for _ in range(3):
        w.grad = torch.zeros_like(w)
        optimizer.step()
    assert (w == 1).all()


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_models_whose_parameters_have_any_shape_train_as_each_one_alone(shape):
    def train(weights, **options):
        params = [nn.Parameter(w.clone()) for w in weights]
        optimizer = make(params, **options)
        for _ in range(3):
            for p in params:
                p.grad = p.detach().sin()
            optimizer.step()
        return params

    generator = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(2, *s, generator=generator, dtype=torch.float64)
        for s in [shape, (4,)]
    ]
    together = train(weights, model_ndim=1)
    for k in range(2):
        for p, alone in zip(together, train([w[k] for w in weights]), strict=True):
            assert_allclose(p[k].detach(), alone.detach(), rtol=0, atol=1e-12)


def test_what_is_measured_survives_a_checkpoint_with_several_groups():
    def train(n_steps, state=None, start=None):
        params = [nn.Parameter(p.clone()) for p in start]
        optimizer = YellowFin([{"params": [p]} for p in params])
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(n_steps):
            for p in params:
                p.grad = (3 * p.detach()).sin()
            optimizer.step()
        return params, optimizer.state_dict()

    begin = [torch.ones(2), torch.full((3,), 2.0)]
    whole, _ = train(9, start=begin)
    half, state = train(4, start=begin)
    resumed, _ = train(5, state, [p.detach() for p in half])
    for p, q in zip(whole, resumed, strict=True):
        assert torch.equal(p, q)


def stepped(device="cpu"):
    w = nn.Parameter(torch.ones(2, device=device))
    w.grad = torch.full_like(w, 3.0)
    optimizer = YellowFin([w])
    optimizer.step()
    return optimizer


def test_what_is_measured_follows_the_parameters_to_their_device():
    saved = stepped().state_dict()
    elsewhere = stepped("meta")
    elsewhere.load_state_dict(saved)
    elsewhere.step()
    tuner = elsewhere.param_groups[0]["tuner"]
    assert tuner.pop("step") == 2
    assert {value.device.type for value in tuner.values()} == {"meta"}


def test_a_checkpoint_in_memory_is_left_as_it_is():
    saved = stepped().state_dict()
    for _ in range(2):
        resumed = stepped()
        resumed.load_state_dict(saved)
        resumed.step()
        assert resumed.param_groups[0]["tuner"]["step"] == 2


def test_a_step_at_rates_and_gradients_of_zero_measures_nothing():
    """It makes the state only, as torch.distributed.checkpoint wants it."""

    def run(rests):
        w = nn.Parameter(torch.ones(2, dtype=torch.float64))
        optimizer = YellowFin([w], window=3, slow_start=0)
        if rests:
            w.grad = torch.zeros_like(w)
            optimizer.param_groups[0]["lr"] = 0.0
            optimizer.step()
            optimizer.param_groups[0]["lr"] = 1.0
            assert optimizer.state[w]
        for _ in range(5):
            w.grad = w.detach().clone()
            optimizer.step()
        return w.detach()

    assert torch.equal(run(rests=True), run(rests=False))
