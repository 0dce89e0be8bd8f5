"""Parts of two-gradient methods: perturbation, combination and ascent schedule."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._base import Group, State
from ._checks import check_count, check_interval
from ._models import Hyperparameter, add_direction_

Active: TypeAlias = list[tuple[Tensor, Group]]  # parameters and the groups they are in


class Memory:
    """State per parameter that a method carries from step to step.

    What is set in a step is staged, and enters the optimizer's state when the step is
    done: a step that fails leaves no trace.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Whose ``state`` it enters.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._staged: dict[tuple[Tensor, str], Tensor] = {}

    def __bool__(self) -> bool:
        """Whether anything is staged."""
        return bool(self._staged)

    def get(self, p: Tensor, name: str) -> Tensor | None:
        """Return the value set last, None if there is none."""
        staged = self._staged.get((p, name))
        if staged is not None:
            return staged
        state: State = self.optimizer.state.get(p, {})
        return state.get(name)

    def set(self, p: Tensor, name: str, value: Tensor) -> None:
        """Keep a tensor for the steps to come."""
        self._staged[p, name] = value

    def forget(self) -> None:
        """Drop what a step has staged that was not finished."""
        self._staged.clear()

    def commit(self) -> None:
        """Enter what the step has staged into the state."""
        for (p, name), value in self._staged.items():
            # torch's optimizers take a filled state for their own, so it is filled after
            # their first step, and only for parameters that took part in it
            if p.grad is not None:
                self.optimizer.state[p][name] = value
        self._staged.clear()


class AscentContext(Protocol):
    """What a perturbation reads of its optimizer.

    Attributes
    ----------
    model_ndim : int
        How many leading axes of every parameter count models.

    memory : Memory
        Tensors that are kept from step to step.
    """

    model_ndim: int
    memory: Memory

    def global_norm(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the norm of tensors taken as one vector, one value per model."""


class DescentContext(AscentContext, Protocol):
    """What a combination reads of its optimizer."""

    def keep_copy(self, slot: str, p: Tensor, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor of a parameter's, in memory that steps share."""


class Perturbation(ABC):
    """Where the weights are moved before the second gradient.

    A subclass writes :meth:`direction`.

    Parameters
    ----------
    rho : float or Tensor of shape (n_models,)
        Radius of the neighborhood.

    **hyperparameters
        What else the method reads from the parameter groups.

    Attributes
    ----------
    remembers : bool
        Whether it carries gradients from step to step, by the optimizer's ``memory``.
        The estimators then evaluate micro-batches one after the other.

    state_names : tuple of str
        By which names it does.
    """

    remembers = False
    state_names: tuple[str, ...] = ()

    def __init__(self, rho: Hyperparameter, **hyperparameters: Any) -> None:
        check_interval("rho", rho, 0)
        self.hyperparameters: dict[str, Any] = {"rho": rho, **hyperparameters}

    @abstractmethod
    def direction(
        self, active: Active, grads: list[Tensor], optimizer: AscentContext
    ) -> tuple[list[Tensor], Tensor]:
        """Return a vector and the norm by which it is divided, one per model.

        Parameters
        ----------
        active : list of (Tensor, dict)
            The parameters that have a gradient, and the groups they are in.

        grads : list of Tensor
            Their gradients, which must not be written to.

        optimizer : SharpnessAware
            The optimizer, for its ``model_ndim``, ``global_norm`` and ``memory``. For
            micro-batches that are evaluated at once, something else that has these.
        """

    def ascend(self, active: Active, optimizer: AscentContext) -> None:
        """Add ``rho`` times the vector over its norm to the parameters, in place."""
        grads = [grad for p, _ in active if (grad := p.grad) is not None]
        if not grads:
            return
        vectors, norm = self.direction(active, grads, optimizer)
        clamp_norm_(norm)
        device = norm.device
        for (p, group), vector in zip(active, vectors, strict=True):
            if p.device != device:
                device = p.device
                norm = norm.to(device)
            # with maximize of torch's optimizers, the worst loss is the lowest
            length = -group["rho"] if group.get("maximize") else group["rho"]
            add_direction_(p, vector, norm, length)


class GradientPerturbation(Perturbation):
    r"""SAM's perturbation, along the gradient: :math:`\epsilon = \rho\, g / \|g\|_2`.

    Parameters
    ----------
    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, in the Euclidean norm over all parameters.

    See Also
    --------
    SharpnessAware : The optimizer whose ``perturbation`` it can be.
    SAM : The optimizer that has it.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur. "Sharpness-aware minimization for
    efficiently improving generalization." ICLR 2021. :arxiv:`2010.01412`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import GradientPerturbation, SharpnessAware
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SharpnessAware(
    ...     [w], torch.optim.SGD, perturbation=GradientPerturbation(rho=0.5), lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> _ = optimizer.step(closure)
    >>> round(w.item(), 3)  # 1 - 0.1 * (1 + 0.5)
    0.85
    """

    def __init__(self, rho: Hyperparameter = 0.05) -> None:
        super().__init__(rho)

    def direction(
        self, active: Active, grads: list[Tensor], optimizer: AscentContext
    ) -> tuple[list[Tensor], Tensor]:
        """Return the gradient and its norm."""
        return grads, optimizer.global_norm(grads)


class Pair(NamedTuple):
    """A parameter that had a gradient in one of the evaluations, or in both.

    Parameters
    ----------
    p : Tensor
        The parameter. Its ``grad`` is that at the perturbed weights.

    group : dict
        The group it is in.

    grad : Tensor or None
        The gradient at the weights themselves, None for one of zero.
    """

    p: Tensor
    group: Group
    grad: Tensor | None

    @property
    def ascended_grad(self) -> Tensor:
        """Gradient at the perturbed weights, zero if the parameter took no part."""
        grad = self.p.grad
        if grad is None:
            grad = self.p.grad = torch.zeros_like(self.p)
        return grad


class DecoupledTerm(NamedTuple):
    """A term of the descent that does not go through the base optimizer.

    ``term``, times its weight and the learning rate, is subtracted after the base step.
    """

    p: Tensor
    group: Group
    term: Tensor
    weight: Hyperparameter


class Combination:
    """What the base optimizer steps with: here the second gradient, as in SAM.

    A subclass that needs both gradients sets ``keeps_ascent_grads`` and writes
    :meth:`combine`.

    Parameters
    ----------
    **hyperparameters
        Defaults of what a subclass reads from the parameter groups.

    See Also
    --------
    SharpnessAware : The optimizer whose ``combination`` it can be.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur. "Sharpness-aware minimization for
    efficiently improving generalization." ICLR 2021. :arxiv:`2010.01412`.

    Examples
    --------
    >>> from sksharp.optim import Combination
    >>> Combination().keeps_ascent_grads
    False
    """

    keeps_ascent_grads = False

    # of tensors that it keeps by the optimizer's memory
    state_names: tuple[str, ...] = ()

    def __init__(self, **hyperparameters: Any) -> None:
        self.hyperparameters: dict[str, Any] = hyperparameters

    def bind(self, base_optimizer: object) -> Combination:
        """Return the combination for a base optimizer."""
        return self

    def ascends(self, index: int, group: Group) -> bool:
        """Whether there is an ascent in the method's step of that index."""
        return True

    def combine(
        self, pairs: list[Pair], optimizer: DescentContext
    ) -> Iterable[DecoupledTerm]:
        """Write the gradient to step with into ``grad`` of the parameters, in place.

        Returns what does not go through the base optimizer.
        """
        return ()

    def reuse(self, active: Active, optimizer: DescentContext) -> None:
        """Change the gradient of a step of the method's without an ascent, in place."""


class AscentSchedule:
    """Which steps are the method's; the others are the base optimizer's.

    Parameters
    ----------
    interval : int, default=1
        Every how many steps.

    start : int, default=0
        Steps of the base optimizer before the first.
    """

    def __init__(self, interval: int = 1, start: int = 0) -> None:
        check_count("interval", interval, 1)
        check_count("start", start, 0)
        self.hyperparameters: dict[str, Any] = {
            "interval": int(interval),
            "start": int(start),
            "n_steps": 0,
        }

    @staticmethod
    def index(group: Group) -> int | None:
        """Return the index of this step among the method's, None if it is not one."""
        since_start: int = group["n_steps"] - group["start"]
        index, rest = divmod(since_start, group["interval"])
        return None if since_start < 0 or rest else index


def clamp_norm_(norm: Tensor) -> Tensor:
    """Clamp a norm, in place, to the smallest that may be divided by."""
    return norm.clamp_min_(_smallest_norm(norm.dtype))


@functools.cache
def _smallest_norm(dtype: torch.dtype) -> float:
    # below this the squares underflow: the norm is rounding, the gradient zero
    smallest: float = torch.finfo(dtype).tiny ** 0.5
    return smallest


def rounding(tensors: Iterable[Tensor]) -> float:
    """Return the relative norm up to which a difference is rounding."""
    return 16 * max(torch.finfo(tensor.dtype).eps for tensor in tensors)
