"""The registry of solvers: one line each. Importing it does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._base import LightOptimizer


@dataclass(frozen=True)
class Solver:
    """How a solver's name in an estimator becomes an optimizer.

    Parameters
    ----------
    optimizer : str
        Name of the optimizer's class in :mod:`sksharp.optim`.

    arguments : dict of str to str
        Arguments of the optimizer, each with the estimator's parameter it comes from.

    is_ascent : bool
        Whether the solver perturbs the weights and leaves the descent to a base solver.

    has_schedule : bool
        Whether the estimator's ``learning_rate`` schedule applies.

    scales_weights : bool
        Whether the optimizer treats weights and biases differently, and is told how many
        entries are weights.
    """

    optimizer: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    is_ascent: bool = False
    has_schedule: bool = False
    scales_weights: bool = False


_SGD = {
    "lr": "learning_rate_init",
    "momentum": "momentum",
    "nesterov": "nesterovs_momentum",
}
_ADAM = {
    "lr": "learning_rate_init",
    "beta_1": "beta_1",
    "beta_2": "beta_2",
    "eps": "epsilon",
}
_LOOKAHEAD = {"k": "lookahead_k", "alpha": "lookahead_alpha"}
_ASCENT = {"rho": "rho", "interval": "sam_interval", "start": "sam_start"}

SOLVERS: dict[str, Solver] = {
    "sgd": Solver("SGD", _SGD, has_schedule=True),
    "adam": Solver("Adam", _ADAM),
    "ranger": Solver("Ranger", {**_ADAM, **_LOOKAHEAD}),
    "sam": Solver("SAM", _ASCENT, is_ascent=True),
    "wsam": Solver("WSAM", {**_ASCENT, "gamma": "gamma"}, is_ascent=True),
    "asam": Solver(
        "ASAM", {**_ASCENT, "eta": "asam_eta"}, is_ascent=True, scales_weights=True
    ),
    "gsam": Solver("GSAM", {**_ASCENT, "gsam_alpha": "gsam_alpha"}, is_ascent=True),
    "fisher_sam": Solver("FisherSAM", {**_ASCENT, "eta": "fisher_eta"}, is_ascent=True),
    "friendly_sam": Solver(
        "FriendlySAM",
        {**_ASCENT, "sigma": "friendly_sigma", "decay": "friendly_decay"},
        is_ascent=True,
    ),
    "looksam": Solver(
        "LookSAM",
        {**_ASCENT, "looksam_k": "looksam_k", "looksam_alpha": "looksam_alpha"},
        is_ascent=True,
    ),
    "esam": Solver("ESAM", {**_ASCENT, "fraction": "esam_fraction"}, is_ascent=True),
}
BASE_SOLVERS = [name for name, solver in SOLVERS.items() if not solver.is_ascent]


def solver_chain(solver: str, base_solver: str) -> list[str]:
    """Return the solvers that take part, the one with the descent step last."""
    return [solver, base_solver] if SOLVERS[solver].is_ascent else [solver]


def solver_parameters(solver: str, base_solver: str) -> set[str]:
    """Return the names of the estimator's parameters that a solver reads."""
    chain = solver_chain(solver, base_solver)
    return {name for link in chain for name in SOLVERS[link].arguments.values()}


def make_optimizer(
    params: Any,
    solver: str,
    base_solver: str,
    values: Mapping[str, Any],
    *,
    model_ndim: int = 0,
    n_weights: int | None = None,
) -> LightOptimizer:
    """Make the optimizer of a solver, for networks without dropout or batch statistics.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters, as in :class:`torch.optim.Optimizer`.

    solver, base_solver : str
        Keys of ``SOLVERS``. ``base_solver`` is only used when ``solver`` is an ascent.

    values : dict
        The estimator's parameters, at least :func:`solver_parameters` of them.

    model_ndim : int, default=0
        How many leading axes of every parameter count models.

    n_weights : int or None, default=None
        How many leading entries of the last axis of every parameter are weights, if they
        share it with biases.

    Returns
    -------
    optimizer : torch.optim.Optimizer
        The solver's optimizer.
    """
    import sksharp.optim as optim

    *ascents, descent = solver_chain(solver, base_solver)
    base = SOLVERS[descent]
    arguments = {arg: values[name] for arg, name in base.arguments.items()}
    optimizer = getattr(optim, base.optimizer)
    for name in ascents:
        own = {arg: values[param] for arg, param in SOLVERS[name].arguments.items()}
        own |= {"model_ndim": model_ndim, "replay": False}
        if SOLVERS[name].scales_weights:
            own["n_scaled"] = n_weights
        arguments |= {"base_optimizer": optimizer, **own}
        optimizer = getattr(optim, SOLVERS[name].optimizer)
    result: LightOptimizer = optimizer(params, **arguments)
    return result
