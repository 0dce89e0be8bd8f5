"""The engine, whose weights are one vector, against a module of separate tensors."""

from functools import partial

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import (
    MSAM,
    SAM,
    AdamW,
    Lookahead,
    Muon,
    RAdam,
    ScheduleFree,
    YellowFin,
)
from sksharp.options.solvers import SOLVERS
from sksharp.training._gradient import Backprop, Batch
from sksharp.training._losses import LOSSES
from sksharp.training._module import MLPModule
from sksharp.training._optimizer import make_optimizer
from sksharp.training._step import Evaluation

from ..solvers import of_chain, specs

UNITS = [4, 6, 5, 3]
VALUES = {
    "learning_rate_init": 0.02,
    "beta_1": 0.8,
    "beta_2": 0.95,
    "epsilon": 1e-6,
    "rho": 0.3,
    "momentum": 0.9,
    "nesterovs_momentum": True,
}
OPTIONS = {
    "adamw": {"weight_decay": 0.5},
    "schedule_free": {"weight_decay": 0.5, "warmup_steps": 4},
    "muon": {"momentum": 0.9, "weight_decay": 0.5},
    "lookahead": {"k": 3, "alpha": 0.6},
}
ADAM = {"lr": 0.02, "beta_1": 0.8, "beta_2": 0.95, "eps": 1e-6}
DECAYED = {**ADAM, "weight_decay": 0.5}

# by hand, for groups of weights and biases
adamw = partial(AdamW, **DECAYED)
schedule_free = partial(ScheduleFree, **DECAYED, warmup=4)
muon = partial(Muon, **DECAYED, momentum=0.9)
BY_HAND = {
    ("adamw", "-"): adamw,
    ("radam", "-"): partial(RAdam, **ADAM),
    ("schedule_free", "-"): schedule_free,
    ("muon", "-"): muon,
    ("yellowfin", "-"): YellowFin,
    ("sam", "muon"): partial(SAM, base_optimizer=muon, rho=0.3),
    ("sam", "schedule_free"): partial(SAM, base_optimizer=schedule_free, rho=0.3),
    ("msam", "adamw"): partial(MSAM, base_optimizer=adamw, rho=0.3),
    ("msam", "muon"): partial(MSAM, base_optimizer=muon, rho=0.3),
    ("lookahead", "muon"): partial(Lookahead, base_optimizer=muon, k=3, alpha=0.6),
}


def make_batches():
    generator = torch.Generator().manual_seed(0)
    batches = []
    for n in (10, 10, 4, 10, 10, 4, 10):
        X = torch.randn(n, UNITS[0], generator=generator, dtype=torch.float64)
        y = torch.eye(3, dtype=torch.float64)[torch.arange(n) % 3]
        batches.append(Batch(X, y, None, float(n)))
    return batches


def flat_start():
    size = MLPModule(UNITS, "tanh").flat.numel()
    generator = torch.Generator().manual_seed(1)
    return 0.5 * torch.randn(size, generator=generator, dtype=torch.float64)


def train_flat(solver, base_solver):
    """Train by the engine's optimizer and gradient; return w and the parameters."""
    module = MLPModule(UNITS, "tanh")
    with torch.no_grad():
        module.flat.copy_(flat_start())
    gradient = Backprop(module, LOSSES["softmax"], 0.0)
    values = VALUES | of_chain(solver, base_solver, OPTIONS)
    optimizer = make_optimizer(
        [module.flat], specs(solver, base_solver, values), layout=module.shapes
    )
    for batch in make_batches():
        mean = torch.empty_like(batch.y)
        optimizer.step(Evaluation(gradient, batch, mean, None))
    return optimizer.evaluation_params()[0].detach(), module.flat.detach()


def train_apart(make):
    """Train the same network as a list of tensors, by autograd."""
    coefs, intercepts = MLPModule(UNITS, "tanh").split(flat_start())
    weights, biases = (
        [nn.Parameter(t.clone()) for t in ts] for ts in (coefs, intercepts)
    )
    groups = [
        {"params": weights[:-1]},
        {"params": weights[-1:], "use_muon": False},
        {"params": biases, "weight_decay": 0.0},
    ]
    optimizer = make(groups)
    for batch in make_batches():

        def closure(batch=batch):
            optimizer.zero_grad()
            z = batch.X
            for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
                z = (z.tanh() if i else z) @ w + b
            loss = -(batch.y * z.log_softmax(-1)).sum() / batch.weight_sum
            loss.backward()

        optimizer.step(closure)
    params = [*weights, *biases]
    order = {p: i for i, p in enumerate(optimizer._params())}
    evaluated = optimizer.evaluation_params()
    return [
        torch.cat([tensors[order[p]].detach().flatten() for p in params])
        for tensors in (evaluated, list(order))
    ]


@pytest.mark.parametrize(("solver", "base_solver"), BY_HAND)
def test_the_engine_trains_as_a_module_of_separate_tensors(solver, base_solver):
    result = train_flat(solver, base_solver)
    expected = train_apart(BY_HAND[solver, base_solver])
    for a, b in zip(result, expected, strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-11)


def test_every_solver_that_is_told_the_layout_is_among_them():
    told = {name for name, solver in SOLVERS.items() if "layout" in solver.needs}
    assert told <= {name for name, _ in BY_HAND}


def test_a_layout_is_told_through_every_wrapper():
    """Biases are not decayed, whatever stands before the solver that decays."""
    options = {
        **OPTIONS,
        "wsam": {"gamma": 0.5},
        "lookahead": {"k": 3, "alpha": 1.0},
        "schedule_free": {"weight_decay": 0.5, "warmup_steps": 0},
    }
    told = {"adamw", "schedule_free", "muon"}
    wrapped = set()
    for solver in SOLVERS.keys() - {"esam"}:  # which takes the losses of the rows
        for base_solver in told & {*SOLVERS[solver]().allowed_bases()}:
            wrapped.add(base_solver)
            flat = nn.Parameter(torch.ones(13, dtype=torch.float64))
            values = {**VALUES, "rho": 0.0, **of_chain(solver, base_solver, options)}
            optimizer = make_optimizer(
                [flat],
                specs(solver, base_solver, values),
                layout=[(2, 3), (3, 1), (3,), (1,)],
            )

            def closure(flat=flat):
                flat.grad = torch.zeros_like(flat)

            optimizer.step(closure)
            (w,) = optimizer.evaluation_params()
            assert_allclose(w.detach()[:9], 0.99, rtol=0, atol=1e-12)
            assert (w[9:] == 1).all()
    assert wrapped == told
