"""Optimizers from the specs of a job."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from math import prod
from typing import Any

from torch import nn

from .._jobs import OptimizerSpec
from ..optim._base import LightOptimizer
from ..options.solvers import SOLVERS, Solver


def make_optimizer(
    params: Any,
    specs: Sequence[OptimizerSpec],
    *,
    model_ndim: int = 0,
    layout: Sequence[tuple[int, ...]] | None = None,
    replay: bool | nn.Module = False,
    base_optimizer: Callable[..., Any] | None = None,
) -> LightOptimizer:
    """Make the optimizer of a solver.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters, as in :class:`torch.optim.Optimizer`.

    specs : sequence of OptimizerSpec
        The optimizers, the one with the descent step last. Values may be Tensors of shape
        (n_models,).

    model_ndim : int, default=0
        How many leading axes of every parameter count models.

    layout : sequence of tuple of int, default=None
        Shapes of the weights and biases that the last axis of every parameter holds, one
        after the other. None if every parameter is one tensor.

    replay : bool or Module, default=False
        Whether the second pass of a step has to replay the first. The estimators' networks
        need none: the masks of dropout come with the minibatch.

    base_optimizer : callable, default=None
        A class of another package in the place of the optimizer with the descent step,
        which gets the arguments of the last spec.

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
        "replay": replay,
    }
    *wrappers, base = specs
    optimizer = base_optimizer or _bound(base, network)
    arguments = {**base.arguments}
    for wrapper in wrappers:
        arguments |= {"base_optimizer": optimizer, **wrapper.arguments}
        optimizer = _bound(wrapper, network)
    result: LightOptimizer = optimizer(params, **arguments)
    return result


def optimizer_class(solver: type[Solver]) -> Any:
    """Return the class of a solver's optimizer, from the module of the solver's name."""
    module = import_module(f"..optim.{solver.name}", __package__)
    return getattr(module, solver.optimizer)


def _bound(spec: OptimizerSpec, network: Mapping[str, Any]) -> Any:
    """Return an optimizer's class, bound to what it needs to know of the network."""
    solver = SOLVERS[spec.solver]
    names = [*solver.needs, *(["replay"] if solver.is_two_gradient else [])]
    # bound to it: a wrapper passes what it does not know to its base, not what both do
    bound = {name: network[name] for name in names}
    return functools.partial(optimizer_class(solver), **bound)
