"""The registry of solvers: one line each. Importing it does not import torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
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

    has_base : bool
        Whether the solver leaves the descent to a base solver without being an ascent.

    is_base : bool
        Whether the solver can be the base of another. One that has a base cannot.

    refuses : tuple of str
        Base solvers that do not go with it.

    told : tuple of str
        What the optimizer is told of the network: of 'model_ndim', 'layout' and
        'n_scaled', the number of entries that are weights. An ascent is told of
        'model_ndim' in any case.

    radius : float
        How long its radii are, in those of 'sam' that do as much. 1 if it has none.

    state : tuple of str
        What it keeps of every parameter from the first step on: 'step', 'weight_sum' and
        tensors of the parameter's shape.

    memory : tuple of str
        What it keeps besides for some of the time, all of it or nothing.

    counters : tuple of str
        What its groups hold besides the arguments.
    """

    optimizer: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    is_ascent: bool = False
    has_schedule: bool = False
    has_base: bool = False
    is_base: bool = True
    refuses: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    radius: float = 1.0
    state: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()

    @property
    def takes_base(self) -> bool:
        """Whether a base solver takes the descent step."""
        return self.is_ascent or self.has_base


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
_DECAY = {"weight_decay": "weight_decay"}
_LOOKAHEAD = {"k": "lookahead_k", "alpha": "lookahead_alpha"}
_ASCENT = {"rho": "rho", "interval": "sam_interval", "start": "sam_start"}
_MOMENTS = ("step", "mean", "mean_sq")
_STEPS = ("n_steps",)

SOLVERS: dict[str, Solver] = {
    "sgd": Solver("SGD", _SGD, has_schedule=True, state=("velocity",)),
    "adam": Solver("Adam", _ADAM, state=_MOMENTS),
    "ranger": Solver(
        "Ranger",
        {**_ADAM, **_LOOKAHEAD},
        state=_MOMENTS,
        memory=("slow",),
        counters=("steps_since_sync",),
    ),
    "sam": Solver("SAM", _ASCENT, is_ascent=True, counters=_STEPS),
    "wsam": Solver(
        "WSAM", {**_ASCENT, "gamma": "gamma"}, is_ascent=True, counters=_STEPS
    ),
    "asam": Solver(
        "ASAM",
        {**_ASCENT, "eta": "asam_eta"},
        is_ascent=True,
        told=("n_scaled",),
        radius=10.0,
        counters=(*_STEPS, "n_scaled"),
    ),
    "gsam": Solver(
        "GSAM",
        {**_ASCENT, "gsam_alpha": "gsam_alpha"},
        is_ascent=True,
        counters=_STEPS,
    ),
    "fisher_sam": Solver(
        "FisherSAM", {**_ASCENT, "eta": "fisher_eta"}, is_ascent=True, counters=_STEPS
    ),
    "friendly_sam": Solver(
        "FriendlySAM",
        {**_ASCENT, "sigma": "friendly_sigma", "decay": "friendly_decay"},
        is_ascent=True,
        memory=("friendly_mean",),
        counters=_STEPS,
    ),
    "looksam": Solver(
        "LookSAM",
        {**_ASCENT, "looksam_k": "looksam_k", "looksam_alpha": "looksam_alpha"},
        is_ascent=True,
        memory=("looksam_direction",),
        counters=_STEPS,
    ),
    "esam": Solver(
        "ESAM",
        {**_ASCENT, "fraction": "esam_fraction"},
        is_ascent=True,
        counters=_STEPS,
    ),
    "adamw": Solver("AdamW", {**_ADAM, **_DECAY}, told=("layout",), state=_MOMENTS),
    "radam": Solver("RAdam", _ADAM, state=_MOMENTS),
    "schedule_free": Solver(
        "ScheduleFree",
        {**_ADAM, **_DECAY, "warmup": "schedule_free_warmup"},
        told=("layout",),
        state=("step", "mean_sq"),
        memory=("fast", "averaged", "weight_sum"),
        counters=("adaptive",),
    ),
    "muon": Solver(
        "Muon",
        {**_ADAM, **_DECAY, "momentum": "muon_momentum"},
        told=("model_ndim", "layout"),
        state=_MOMENTS,
        counters=("use_muon",),
    ),
    # it finds its learning rate, and measures the gradients of its own steps
    "yellowfin": Solver(
        "YellowFin",
        told=("model_ndim",),
        is_base=False,
        state=("step", "velocity", "mean", "mean_sq"),
    ),
    "msam": Solver(
        "MSAM",
        {"rho": "rho"},
        has_base=True,
        refuses=("schedule_free",),
        told=("model_ndim",),
        radius=10.0,
        memory=("start",),
    ),
    "lookahead": Solver(
        "Lookahead",
        _LOOKAHEAD,
        has_base=True,
        refuses=("ranger", "schedule_free"),
        memory=("slow",),
        counters=("steps_since_sync",),
    ),
}
BASE_SOLVERS = [
    name for name, solver in SOLVERS.items() if solver.is_base and not solver.takes_base
]


def base_solvers(solver: str) -> list[str]:
    """Return the base solvers that go with a solver, none if it has no base."""
    entry = SOLVERS[solver]
    if not entry.takes_base:
        return []
    return [name for name in BASE_SOLVERS if name not in entry.refuses]


def solver_chain(solver: str, base_solver: str) -> list[str]:
    """Return the solvers that take part, the one with the descent step last."""
    return [solver, base_solver] if SOLVERS[solver].takes_base else [solver]


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
    layout: Sequence[tuple[int, ...]] | None = None,
) -> LightOptimizer:
    """Make the optimizer of a solver, for networks without dropout or batch statistics.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters, as in :class:`torch.optim.Optimizer`.

    solver, base_solver : str
        Keys of ``SOLVERS``. ``base_solver`` is only used when ``solver`` takes a base.

    values : dict
        The estimator's parameters, at least :func:`solver_parameters` of them.

    model_ndim : int, default=0
        How many leading axes of every parameter count models.

    layout : sequence of tuple of int, default=None
        Shapes of the weights and biases that the last axis of every parameter holds, one
        after the other. None if every parameter is one tensor.

    Returns
    -------
    optimizer : torch.optim.Optimizer
        The solver's optimizer.
    """
    n_scaled = None
    if layout is not None:  # weights come first
        n_scaled = sum(prod(shape) for shape in layout if len(shape) > 1)
    network = {
        "model_ndim": model_ndim,
        "layout": layout,
        "n_scaled": n_scaled,
        "replay": False,
    }
    *wrappers, descent = solver_chain(solver, base_solver)
    base = SOLVERS[descent]
    arguments = {arg: values[name] for arg, name in base.arguments.items()}
    optimizer = _told(base, network)
    for name in wrappers:
        wrapper = SOLVERS[name]
        own = {arg: values[param] for arg, param in wrapper.arguments.items()}
        arguments |= {"base_optimizer": optimizer, **own}
        optimizer = _told(wrapper, network)
    result: LightOptimizer = optimizer(params, **arguments)
    return result


def _told(solver: Solver, network: Mapping[str, Any]) -> Any:
    """Return a solver's optimizer, told what it has to know of the network."""
    import sksharp.optim as optim

    optimizer = getattr(optim, solver.optimizer)
    names = {*solver.told, *(("model_ndim", "replay") if solver.is_ascent else ())}
    # bound to it: a wrapper passes what it does not know to its base, not what both do
    return functools.partial(optimizer, **{name: network[name] for name in names})
