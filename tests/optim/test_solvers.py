"""The registry of solvers."""

import numpy as np
import pytest

import sksharp.optim
from sksharp import SAMMLPRegressor, options
from sksharp.estimators._parameters import read_parameters
from sksharp.options.solvers import SOLVERS, solver_chain
from sksharp.training._optimizer import make_optimizer, optimizer_class

from ..solvers import PAIRS, specs
from .cases import equal, train

VALUES = {
    "learning_rate_init": 0.02,
    "momentum": 0.8,
    "nesterovs_momentum": False,
    "beta_1": 0.85,
    "beta_2": 0.95,
    "epsilon": 1e-4,
    "rho": 0.3,
}
# of the options of every solver, in the place of the defaults
OPTIONS = {
    "wsam": {"gamma": 0.7},
    "asam": {"eta": 0.1},
    "gsam": {"alpha": 0.3},
    "fisher_sam": {"eta": 5.0},
    "friendly_sam": {"sigma": 0.8, "decay": 0.7},
    "looksam": {"k": 3, "alpha": 0.6},
    "esam": {"fraction": 0.4},
    "ranger": {"k": 3, "alpha": 0.4},
    "lookahead": {"k": 3, "alpha": 0.4},
    "adamw": {"weight_decay": 0.1},
    "schedule_free": {"weight_decay": 0.1, "warmup_steps": 5},
    "muon": {"momentum": 0.9, "weight_decay": 0.1},
}


def options_of(solver):
    """Return options of a solver by their names."""
    own = OPTIONS.get(solver, {})
    return own | {"interval": 2, "start": 1} if SOLVERS[solver].is_two_gradient else own


def with_options(solver):
    """Return a solver with options of its own."""
    return SOLVERS[solver](**options_of(solver))


@pytest.mark.parametrize(("solver", "base"), PAIRS)
def test_a_solver_is_its_optimizer_with_the_estimators_values(solver, base):
    def make_by_hand(params):
        *ascents, descent = solver_chain(solver, base)
        arguments = {}
        for link in (*ascents, descent):
            arguments |= {arg: VALUES[name] for arg, name in link.reads.items()}
            own = options_of(link.name)
            names = link.option_arguments()
            arguments |= {arg: own[name] for arg, name in names.items() if name in own}
        optimizer = optimizer_class(type(descent))
        if ascents:
            arguments["base_optimizer"] = optimizer
            optimizer = optimizer_class(type(ascents[0]))
        return optimizer(params, **arguments)

    def make(params):
        link = with_options(solver)
        values = VALUES | {"solver__start": 1}
        return make_optimizer(params, specs(link, with_options(base), values))

    assert equal(train(make), train(make_by_hand))


@pytest.mark.parametrize(("solver", "base"), PAIRS)
def test_an_estimator_hands_on_what_its_solvers_declare_and_nothing_else(solver, base):
    values = {k: v for k, v in VALUES.items() if k != "rho"}
    link, descent = with_options(solver), with_options(base)
    plan = read_parameters(SAMMLPRegressor(solver=link, base_solver=descent, **values))
    settings = plan.settings(
        n_samples=35,
        batch_size=10,
        epochs=3,
        radius=VALUES["rho"],
        dtype=np.dtype("f8"),
        incremental=False,
        averages=False,
        out_activation="identity",
    )
    # an epoch has four steps
    expected = specs(link, descent, VALUES | {"solver__start": 4})
    assert settings.optimizers == tuple(expected)


def test_a_solver_that_takes_no_base_does_not_read_the_base_solver():
    for name, solver in SOLVERS.items():
        if not solver.takes_base:
            for base in ("sgd", "adam"):
                assert [link.name for link in solver_chain(name, base)] == [name]


def test_every_public_name_is_the_class_of_that_name():
    for name in sksharp.optim.__all__:
        assert getattr(sksharp.optim, name).__name__ == name
    with pytest.raises(AttributeError, match="'Adagrad'"):
        _ = sksharp.optim.Adagrad


def test_every_solver_and_its_optimizer_are_public():
    for solver in SOLVERS.values():
        assert getattr(options, solver.__name__) is solver
        optimizer = optimizer_class(solver)
        assert getattr(sksharp.optim, solver.optimizer) is optimizer
