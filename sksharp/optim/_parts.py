"""Micro-batches of a step that are evaluated at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._base import Group
from ._models import joint_norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sharpness_aware import SharpnessAware


class MicroBatches(ABC):
    """Closure of a minibatch that can take its parts at once, each at its own weights.

    Called, it writes the gradient of the whole minibatch, as any closure. The parts take
    the place of models: what they have of their own leads with an axis of all parts of
    all models.

    Attributes
    ----------
    points : Tensor of shape (n_models * n_parts, n_params)
        The weights at which every part is evaluated. Its ``grad`` is that of the parts.
    """

    __slots__ = ()

    # the gradient stays where it is, and each replaces the one before
    writes_grad = True

    points: Tensor

    @abstractmethod
    def __call__(self) -> Any:
        """Write the gradient of the minibatch, and return its loss."""

    @abstractmethod
    def evaluate_start(self) -> Any:
        """Set the points to the weights, write their gradients and return the loss."""

    @abstractmethod
    def evaluate_perturbed(self) -> None:
        """Write the gradients at the points."""

    @abstractmethod
    def mean_grad(self) -> Tensor:
        """Return the mean of the parts' gradients, of the shape of the weights."""

    @abstractmethod
    def group_of_parts(self, group: Group) -> Group:
        """Return hyperparameters per part, from those per model."""


class OfParts:
    """An optimizer as a perturbation of parts sees it: every part is a model.

    Parameters
    ----------
    optimizer : SharpnessAware
        The optimizer.
    """

    model_ndim = 1

    def __init__(self, optimizer: SharpnessAware) -> None:
        self.memory = optimizer.memory

    def joint_norm(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the norm of tensors taken as one vector, one value per part."""
        return joint_norm(tensors, self.model_ndim)


def repeat_models(value: Any, n_parts: int) -> Any:
    """Return values per part, from those per model; leave what all have in common."""
    if isinstance(value, Tensor) and value.ndim:
        return torch.repeat_interleave(value, n_parts, dim=0)
    return value
