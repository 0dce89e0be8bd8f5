"""Efficient sharpness-aware minimization: the selection of rows."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import ESAM, SAM

from .cases import Training, initial_weights

PLAIN = {"momentum": 0.0, "nesterov": False}


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_the_second_gradient_is_that_of_the_rows_whose_loss_rose_most(fraction):
    rng = np.random.default_rng(0)
    x, y, w_0 = rng.normal(size=(12, 3)), rng.normal(size=12), rng.normal(size=3)
    X, Y = torch.from_numpy(x), torch.from_numpy(y)
    w = nn.Parameter(torch.from_numpy(w_0.copy()))
    optimizer = ESAM([w], rho=0.4, fraction=fraction, lr=0.1, **PLAIN)

    def closure(rows=slice(None)):
        return (X[rows] @ w - Y[rows]) ** 2 / 2

    loss = optimizer.step(closure)

    def losses(w):
        return (x @ w - y) ** 2 / 2

    g = (x.T @ (x @ w_0 - y)) / 12
    perturbed = w_0 + 0.4 * g / np.linalg.norm(g)
    rise = losses(perturbed) - losses(w_0)
    chosen = np.argsort(-rise)[: max(1, round(fraction * 12))]
    gradient = x[chosen].T @ (x[chosen] @ perturbed - y[chosen]) / len(chosen)
    assert_allclose(w.detach(), w_0 - 0.1 * gradient, rtol=0, atol=1e-12)
    assert_allclose(loss, losses(w_0).mean(), rtol=1e-12)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 64, 65])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_as_many_rows_are_taken_as_asked_for_whether_losses_tie_or_not(
    fraction, ties, n_samples
):
    x = torch.ones(n_samples) if ties else torch.arange(1.0, n_samples + 1)
    w = nn.Parameter(torch.tensor(1.0))
    optimizer = ESAM([w], fraction=fraction)
    taken = []

    def closure(rows=None):
        if rows is None:
            return (x * w) ** 2
        taken.append(rows)
        assert len(set(rows.tolist())) == len(rows)
        return (x[rows] * w) ** 2

    optimizer.step(closure)
    n_expected = max(1, round(fraction * n_samples))
    assert [len(rows) for rows in taken] == (
        [] if n_expected == n_samples else [n_expected]
    )
    assert w.requires_grad
    assert w.detach() < 1


def test_a_closure_of_a_whole_loss_is_refused_with_the_way_out():
    training = Training(partial(SAM), initial_weights(0))
    optimizer = ESAM(training.params)
    with pytest.raises(TypeError, match=r"loss of every row .* reduction='none'"):
        optimizer.step(training.closure)


@pytest.mark.parametrize("model_ndim", [0, 1])
def test_losses_with_an_axis_of_outputs_are_refused_with_the_way_out(model_ndim):
    w = nn.Parameter(torch.ones(*[2] * model_ndim, 1, 3))
    optimizer = ESAM([w], model_ndim=model_ndim)

    def closure(rows=slice(None)):
        return (torch.ones(4, 1)[rows] * w).square()

    with pytest.raises(
        ValueError, match=r"got one of shape \((2, )?4, 3\).*\.mean\(-1\)"
    ):
        optimizer.step(closure)
    assert w.detach().eq(1).all()


def test_the_selected_rows_cost_a_part_of_the_backward_pass():
    """All rows twice forward, a part of them once more, and backward."""
    x = torch.arange(20.0)
    w = nn.Parameter(torch.tensor(1.0))
    optimizer = ESAM([w], fraction=0.25)
    passes = []

    def closure(rows=slice(None)):
        passes.append((len(x[rows]), torch.is_grad_enabled()))
        return (x[rows] * w) ** 2

    optimizer.step(closure)
    assert passes == [(20, True), (20, False), (5, True)]


def test_micro_batches_select_rows_each():
    """The mean of the selected gradients, weighted by the sizes of the whole."""
    xs = [torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 5.0])]
    w = nn.Parameter(torch.tensor(1.0))
    optimizer = ESAM([w], rho=0.5, fraction=0.25, lr=0.01, **PLAIN)

    def closure(x, rows=slice(None)):
        return (x[rows] * w) ** 2 / 2

    loss = optimizer.step([(partial(closure, x), len(x)) for x in xs])
    gradient = (4 * 16 + 2 * 25) / 6 * 1.5
    assert_allclose(w.detach(), 1 - 0.01 * gradient, rtol=1e-6)
    assert_allclose(loss, (1 + 4 + 9 + 16 + 1 + 25) / 12, rtol=1e-6)


def test_a_closure_that_takes_no_rows_is_refused_by_what_it_must_take():
    """As Lightning's, around one that takes them."""
    w = nn.Parameter(torch.ones(1))
    optimizer = ESAM([w], torch.optim.SGD, rho=0.1, lr=0.1)
    with pytest.raises(TypeError, match=r"must take the indices of rows .* use SAM"):
        optimizer.step(lambda: w.square().expand(4))
    assert w == 1


def test_an_error_within_a_closure_is_its_own():
    w = nn.Parameter(torch.ones(1))
    optimizer = ESAM([w], torch.optim.SGD, rho=0.1, lr=0.1)

    def closure(*rows):
        if rows:
            raise TypeError("my own")
        return w.square().expand(4)

    with pytest.raises(TypeError, match="my own"):
        optimizer.step(closure)
