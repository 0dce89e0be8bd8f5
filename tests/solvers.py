"""Solvers with their base solvers, for the tests of all of them."""

import pytest

from sksharp._jobs import OptimizerSpec
from sksharp.options.solvers import SOLVERS, solver_chain

NO_BASE = "adam"  # what base_solver is where nothing reads it

PAIRS = [
    (solver, base_solver)
    for solver in SOLVERS
    for base_solver in SOLVERS[solver]().allowed_bases() or [NO_BASE]
]


def reads(solver, base_solver=NO_BASE):
    """Return the parameters of the estimators that solvers read, but their options."""
    chain = solver_chain(solver, base_solver)
    return {name for link in chain for name in link.reads.values()}


def specs(solver, base_solver, values):
    """Return what the engine is given for solvers: names, or objects with options.

    ``values`` are parameters of the estimators. Where several models have values of their
    own, these may be tensors, and so may the options by ``solver__eta`` and the like.
    """
    return [
        OptimizerSpec(
            link.name,
            {
                **{argument: values[name] for argument, name in link.reads.items()},
                **link.own_arguments(),
                # epochs, of which the engine makes steps
                **({"start": 0} if link.is_two_gradient else {}),
                **{
                    argument: values[f"{holder}__{name}"]
                    for argument, name in link.option_arguments().items()
                    if f"{holder}__{name}" in values
                },
            },
        )
        for link, holder in zip(
            solver_chain(solver, base_solver), ("solver", "base_solver"), strict=False
        )
    ]


def of_chain(solver, base_solver, options):
    """Return values of options as :func:`specs` takes them, of those of every solver.

    ``options`` holds them by the solver's name and then by the option's.
    """
    return {
        f"{holder}__{name}": value
        for link, holder in zip(
            solver_chain(solver, base_solver), ("solver", "base_solver"), strict=False
        )
        for name, value in options.get(link.name, {}).items()
    }


# not those that find a learning rate by themselves
PAIRS_WITH_A_RATE = [pair for pair in PAIRS if "learning_rate_init" in reads(*pair)]


def is_usual(pair):
    """Return whether the solver is over Adam, or SAM over any base."""
    solver, base_solver = pair
    return solver == "sam" or base_solver == NO_BASE


def pair_params(pairs, *others):
    """Return parameters for a test of every pair, unusual ones marked slow.

    Two-gradient solvers meet their base in the code of SAM: what holds for all of them
    over Adam, and for SAM over all bases, can hardly fail for another pair. 'msam' and
    'lookahead' over other bases are left to tests/optim, and to `make test-all`.
    """
    return [
        pytest.param(*pair, *others, marks=() if is_usual(pair) else pytest.mark.slow)
        for pair in pairs
    ]


every_solver = pytest.mark.parametrize(("solver", "base_solver"), pair_params(PAIRS))
every_solver_with_a_rate = pytest.mark.parametrize(
    ("solver", "base_solver"), pair_params(PAIRS_WITH_A_RATE)
)
