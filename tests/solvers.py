"""Solvers with their base solvers, for the tests of all of them."""

import pytest

from sksharp.optim import SOLVERS, base_solvers, solver_parameters

NO_BASE = "adam"  # what base_solver is where nothing reads it

PAIRS = [
    (solver, base_solver)
    for solver in SOLVERS
    for base_solver in base_solvers(solver) or [NO_BASE]
]
# not those that find a learning rate by themselves
PAIRS_WITH_A_RATE = [
    pair for pair in PAIRS if "learning_rate_init" in solver_parameters(*pair)
]


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
