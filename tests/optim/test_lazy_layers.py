"""Lazy layers, whose weights are made by the first evaluation of a closure."""

from functools import partial

import numpy as np
import pytest
import torch
from skorch import NeuralNetRegressor
from torch import nn
from torch.nn.parameter import is_lazy

from sksharp.optim import MSAM, SAM, Lookahead, Ranger, ScheduleFree

from .cases import equal


class Lazy(nn.Module):
    """Layers that learn their shapes from the first minibatch, or know them."""

    def __init__(self, lazy=True):
        super().__init__()
        torch.manual_seed(0)
        first = nn.LazyLinear(4) if lazy else nn.Linear(3, 4)
        second = nn.LazyLinear(2) if lazy else nn.Linear(4, 2)
        self.unused = nn.LazyLinear(2)
        self.layers = nn.Sequential(first, nn.Tanh(), second)

    def forward(self, X):
        if is_lazy(self.layers[0].weight):
            torch.manual_seed(0)
        return self.layers(X)


@pytest.mark.parametrize(
    "optimizer",
    [
        Ranger,
        partial(Lookahead, k=2),
        partial(Lookahead, base_optimizer=SAM, k=2),
        partial(MSAM, base_optimizer=Ranger),
        partial(SAM, base_optimizer=Ranger),
        ScheduleFree,
    ],
)
def test_lazy_layers_train_as_those_that_know_their_shapes(optimizer):
    X = np.arange(24.0, dtype="float32").reshape(8, 3)
    trained = []
    for lazy in (True, False):
        net = NeuralNetRegressor(
            Lazy,
            module__lazy=lazy,
            optimizer=optimizer,
            lr=0.05,
            max_epochs=5,
            train_split=None,
            verbose=0,
        )
        with torch.random.fork_rng(devices=[]):
            net.fit(np.sin(X), np.cos(X[:, :2]))
        trained.append([p.detach() for p in net.module_.layers.parameters()])
    assert equal(*trained)


def test_micro_batches_make_lazy_layers_too():
    module = nn.LazyLinear(1)
    optimizer = Lookahead(module.parameters(), SAM, k=1, alpha=0.0, lr=0.1)

    def closure(rows):
        loss = module(torch.ones(rows, 2)).square().mean()
        loss.backward()
        return loss

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        optimizer.step([(partial(closure, 2), 2), (partial(closure, 3), 3)])
        torch.manual_seed(0)
        expected = nn.Linear(2, 1)
    assert equal(module.parameters(), expected.parameters())  # the slow weights stay
