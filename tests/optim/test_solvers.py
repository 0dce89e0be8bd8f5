"""The registry of solvers."""

import pytest
import torch
from torch import nn

import sksharp.optim
from sksharp.optim import (
    BASE_SOLVERS,
    SOLVERS,
    make_optimizer,
    solver_chain,
)
from sksharp.optim import solver_parameters as parameters_of

from ..solvers import PAIRS
from .cases import equal, train

VALUES = {
    "learning_rate_init": 0.02,
    "momentum": 0.8,
    "nesterovs_momentum": False,
    "beta_1": 0.85,
    "beta_2": 0.95,
    "epsilon": 1e-4,
    "lookahead_k": 3,
    "lookahead_alpha": 0.4,
    "rho": 0.3,
    "gamma": 0.7,
    "weight_decay": 0.1,
    "muon_momentum": 0.9,
    "schedule_free_warmup": 5,
    "asam_eta": 0.1,
    "gsam_alpha": 0.3,
    "fisher_eta": 5.0,
    "friendly_sigma": 0.8,
    "friendly_decay": 0.7,
    "looksam_k": 3,
    "looksam_alpha": 0.6,
    "esam_fraction": 0.4,
    "sam_interval": 2,
    "sam_start": 1,
}


@pytest.mark.parametrize(("solver", "base"), PAIRS)
def test_a_solver_is_its_optimizer_with_the_estimators_values(solver, base):
    def make_by_hand(params):
        *ascents, descent = solver_chain(solver, base)
        arguments = {
            argument: VALUES[name]
            for link in (*ascents, descent)
            for argument, name in SOLVERS[link].arguments.items()
        }
        optimizer = getattr(sksharp.optim, SOLVERS[descent].optimizer)
        if ascents:
            arguments["base_optimizer"] = optimizer
            optimizer = getattr(sksharp.optim, SOLVERS[ascents[0]].optimizer)
        return optimizer(params, **arguments)

    def make(params):
        return make_optimizer(params, solver, base, VALUES)

    assert equal(train(make), train(make_by_hand))


@pytest.mark.parametrize(("solver", "base"), PAIRS)
def test_a_solver_reads_the_parameters_it_declares_only(solver, base):
    params = [nn.Parameter(torch.ones(1))]
    declared = {name: VALUES[name] for name in parameters_of(solver, base)}
    make_optimizer(params, solver, base, declared)
    for name in declared:
        missing = {key: value for key, value in declared.items() if key != name}
        with pytest.raises(KeyError, match=name):
            make_optimizer(params, solver, base, missing)


def test_a_solver_that_is_no_ascent_does_not_read_the_base_solver():
    for solver in BASE_SOLVERS:
        assert solver_chain(solver, "sgd") == solver_chain(solver, "adam") == [solver]


def test_every_public_name_is_the_class_of_that_name():
    for name in sksharp.optim.__all__:
        assert getattr(sksharp.optim, name).__name__ == name
    with pytest.raises(AttributeError, match="'Adagrad'"):
        _ = sksharp.optim.Adagrad
