"""Muon."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import AdamW, Muon
from sksharp.optim.muon import orthogonalize

from .cases import Training, equal, initial_weights, train

SHAPES = [(3, 3), (2, 5), (6, 2), (1, 4), (4, 1)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def random_matrix(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def newton_schulz(singular_values):
    """Apply the polynomial to the singular values of a matrix."""
    s = singular_values / np.linalg.norm(singular_values)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


@each_shape
def test_the_singular_vectors_stay_and_the_values_go_through_the_polynomial(shape):
    matrix = random_matrix(shape)
    u, s, vt = np.linalg.svd(matrix.numpy(), full_matrices=False)
    expected = u @ np.diag(newton_schulz(s)) @ vt
    assert_allclose(orthogonalize(matrix), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("smallest", [0.02, 0.1, 0.5])
def test_singular_values_become_about_one(smallest):
    diagonal = torch.linspace(smallest, 1, 8, dtype=torch.float64).diag()
    s = torch.linalg.svdvals(orthogonalize(diagonal))
    assert (s > 0.65).all()
    assert (s < 1.25).all()


@each_shape
def test_it_does_not_depend_on_scale_and_turns_with_the_matrix(shape):
    matrix = random_matrix(shape)
    q, _ = torch.linalg.qr(random_matrix((shape[0], shape[0]), seed=1))
    expected = orthogonalize(matrix)
    assert_allclose(orthogonalize(1e6 * matrix), expected, rtol=0, atol=1e-12)
    assert_allclose(orthogonalize(q @ matrix), q @ expected, rtol=0, atol=1e-11)
    assert_allclose(orthogonalize(matrix.mT), expected.mT, rtol=0, atol=1e-12)


@each_shape
def test_many_matrices_are_each_as_alone(shape):
    matrices = torch.stack([random_matrix(shape, seed) for seed in range(3)])
    matrices[1] = 0
    result = orthogonalize(matrices)
    for k in (0, 2):
        assert_allclose(result[k], orthogonalize(matrices[k]), rtol=0, atol=1e-12)
    assert (result[1] == 0).all()
    assert (orthogonalize(matrices[1]) == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_low_precision_is_close_and_is_kept(dtype):
    matrix = random_matrix((4, 6))
    result = orthogonalize(1e3 * matrix.to(dtype))
    assert result.dtype == dtype
    assert_allclose(result.double(), orthogonalize(matrix), rtol=0, atol=0.05)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
def test_matrices_train_as_by_the_muon_of_torch(momentum, decay, monkeypatch):
    # torch iterates in bfloat16: let it keep the precision it is given
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    values = {"lr": 0.02, "momentum": momentum, "weight_decay": decay}

    def make_theirs(params):
        adjust = {"adjust_lr_fn": "match_rms_adamw"}
        return torch.optim.Muon(params[::2], **values, **adjust)

    ours = train(lambda params: Muon(params[::2], **values), 50)
    for p, q in zip(ours, train(make_theirs, 50), strict=True):
        assert_allclose(p, q, rtol=0, atol=1e-10)


def test_the_muon_of_torch_is_close_in_its_own_precision():
    def make_theirs(params):
        return torch.optim.Muon(params[::2], lr=0.02, adjust_lr_fn="match_rms_adamw")

    ours = train(lambda params: Muon(params[::2], lr=0.02, weight_decay=0.1), 3)
    for p, q in zip(ours, train(make_theirs, 3), strict=True):
        assert_allclose(p, q, rtol=0, atol=3 * 0.02 * 0.02)


def test_all_but_matrices_train_as_by_adamw():
    values = {"lr": 0.02, "beta_1": 0.8, "beta_2": 0.95}
    muon = partial(Muon, **values, use_muon=False, weight_decay=0.0)
    assert equal(train(muon), train(partial(AdamW, **values, weight_decay=0.0)))


def test_a_group_may_be_kept_from_muon():
    """The output layer trains as by AdamW, the hidden one by Muon."""

    def make(params):
        output = {"params": params[2:], "use_muon": False, "weight_decay": 0.0}
        return Muon([{"params": params[:2]}, output], lr=0.02)

    training = Training(make, initial_weights(0))
    training.closure()
    grads = [p.grad.clone() for p in training.params]
    training.optimizer.step()
    start = initial_weights(0)
    hidden = (1 - 0.02 * 0.01) * start[0] - 0.02 * 0.2 * 7**0.5 * orthogonalize(
        grads[0]
    )
    assert_allclose(training.params[0].detach(), hidden, rtol=0, atol=1e-12)
    for i in (1, 2, 3):
        adam = start[i] - 0.02 * grads[i] / (grads[i].abs() + 1e-8 / 0.001**0.5)
        assert_allclose(training.params[i].detach(), adam, rtol=0, atol=1e-12)


def test_a_network_without_hidden_layers_trains_as_by_adamw_bit_for_bit():
    layout = [(5, 7), (7,)]
    start = torch.cat([w.flatten() for w in initial_weights(0)[:2]])
    flats = [nn.Parameter(start.clone()) for _ in range(2)]
    for flat, optimizer in zip(flats, (Muon, AdamW), strict=True):
        step = optimizer([flat], lr=0.02, weight_decay=0.1, layout=layout).step
        for _ in range(5):
            flat.grad = flat.detach().sin()
            step()
    assert torch.equal(*flats)


def test_autocast_around_the_step_does_not_change_it():
    weights = []
    for enabled in (False, True):
        w = nn.Parameter(torch.zeros(3, 5))
        optimizer = Muon([w], lr=1.0)
        w.grad = torch.arange(15.0).reshape(3, 5).sin()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            optimizer.step()
        weights.append(w.detach())
    assert torch.equal(*weights)
