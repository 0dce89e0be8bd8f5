"""The optimizer that a net's parameters name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from .._jobs import OptimizerSpec
from ..options._base import epochs_before
from ..options.solvers import SOLVERS, Solver, TwoGradients, as_solver
from ..training._optimizer import make_optimizer, optimizer_class
from ._planned import steps_of


def solvers_of(net: Any) -> list[Solver]:
    """Return the solvers of a net that take part, without a base of another package."""
    outer = as_solver(net.solver).plain()
    if not outer.takes_base or is_foreign(net.base_solver):
        return [outer]
    return [outer, as_solver(net.base_solver).plain()]


def is_foreign(base_solver: Any) -> bool:
    """Return whether a base solver is an optimizer's class of torch's kind."""
    is_class = inspect.isclass(base_solver)
    return is_class and issubclass(base_solver, torch.optim.Optimizer)


def check_base(net: Any) -> None:
    """Raise for a base solver that does not go with the solver."""
    outer, base = as_solver(net.solver), net.base_solver
    if not outer.takes_base or is_foreign(base):
        return
    allowed = outer.allowed_bases()
    if as_solver(base).name not in allowed:
        raise ValueError(
            f"base_solver must be one of {sorted(allowed)}, or a class of torch.optim, "
            f"with solver={net.solver!r}, got base_solver={base!r}. Choose another."
        )


def make_solver(net: Any, groups: Any, arguments: Mapping[str, Any]) -> Any:
    """Return the optimizer of a net.

    Parameters
    ----------
    net : SAMNetClassifier or SAMNetRegressor
        The net, with its module.

    groups : list of dict
        Parameter groups.

    arguments : dict
        What the user has set by ``optimizer__``, and ``lr``.
    """
    solvers = solvers_of(net)
    outer, arguments = solvers[0], dict(arguments)
    specs = [_spec(solver, net.radius) for solver in solvers]
    _refuse_own(specs, arguments)
    foreign = (
        net.base_solver if outer.takes_base and is_foreign(net.base_solver) else None
    )
    _check_arguments(net, solvers[-1], foreign, arguments)
    reads = {name for solver in solvers for name in solver.reads.values()}
    is_given = "optimizer__lr" in vars(net)
    if foreign is None and "learning_rate_init" not in reads and not is_given:
        del arguments["lr"]  # it finds its rate itself
    if foreign is not None:
        specs.append(OptimizerSpec(outer.name, arguments))
    else:
        last = specs[-1]
        specs[-1] = OptimizerSpec(last.solver, {**last.arguments, **arguments})
        if "optimizer__param_groups" not in vars(net):
            groups = _without_decay(groups, specs[-1])
    return make_optimizer(
        groups,
        specs,
        replay=net.module_ if net.compile else True,
        base_optimizer=foreign,
    )


def _spec(solver: Solver, radius: float) -> OptimizerSpec:
    own = solver.own_arguments()
    if "rho" in solver.reads:
        own["rho"] = radius
    if isinstance(solver, TwoGradients):
        own["start"] = 0  # in steps, which are known when the rows are
    return OptimizerSpec(solver.name, own)


def _without_decay(groups: Any, spec: OptimizerSpec) -> Any:
    """Return groups in which biases and scales do not decay, as in the estimators.

    The output layer takes no orthogonal step.
    """
    if "weight_decay" not in spec.arguments:
        return groups
    params = [p for group in groups for p in group["params"]]
    parts: list[dict[str, Any]] = [
        {"params": [p for p in params if p.ndim > 1]},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if spec.solver == "muon" and parts[0]["params"]:
        last = parts[0]["params"].pop()
        parts.append({"params": [last], "use_muon": False})
    return [part for part in parts if part["params"]]


def _check_arguments(
    net: Any, solver: Solver, foreign: Any, arguments: Mapping[str, Any]
) -> None:
    """Raise for arguments that the optimizer with the descent step does not have."""
    name = foreign.__name__ if foreign else f"{solver.name!r}"
    known = _arguments_of(foreign or optimizer_class(type(solver)))
    unknown = [each for each in arguments if known and each not in known]
    if not unknown:
        return
    word = unknown[0]
    having = [
        other
        for other in sorted(as_solver(net.solver).allowed_bases())
        if word in _arguments_of(optimizer_class(SOLVERS[other]))
    ]
    way_out = f"Its arguments are {sorted(known)}."
    if having and as_solver(net.solver).takes_base:
        way_out += f" For {word} set base_solver to one of {having}."
    raise TypeError(
        f"optimizer__{word} must be an argument of {name}, got optimizer__{word}="
        f"{arguments[word]!r}. {way_out}"
    )


def _arguments_of(optimizer: Any) -> set[str]:
    """Return the names of an optimizer's arguments, none if it takes any."""
    parameters = inspect.signature(optimizer).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return set()
    return {p.name for p in parameters} - {"params", "base_optimizer", "defaults"}


def _refuse_own(specs: list[OptimizerSpec], arguments: Mapping[str, Any]) -> None:
    for spec, holder in zip(specs, ("solver", "base_solver"), strict=False):
        for name in arguments:
            if name in spec.arguments:
                where = "rho" if name == "rho" else f"{holder}__{name}"
                raise ValueError(
                    f"optimizer__{name} must not be set, it is {where} here, got "
                    f"optimizer__{name}={arguments[name]!r}. Set {where}."
                )


def postpone_ascents(net: Any, dataset: Any) -> None:
    """Let two-gradient steps begin where ``solver__start`` says.

    Parameters
    ----------
    net : SAMNetClassifier or SAMNetRegressor
        The net.

    dataset : Dataset
        The rows to train with.
    """
    outer, epochs = solvers_of(net)[0], net.max_epochs
    if not isinstance(outer, TwoGradients):
        return
    before = epochs_before(outer.start, epochs)
    if before >= epochs:
        raise ValueError(
            f"solver__start must lie before max_epochs={epochs}, got solver__start="
            f"{outer.start}. No step would be sharpness-aware; lower it or raise "
            "max_epochs."
        )
    start = steps_of(net, dataset, "solver__start") * before if before else 0
    for group in net.optimizer_.param_groups:
        if not group["n_steps"]:
            group["start"] = start
