"""Micro-batches of a step that are evaluated at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._ascent import Memory
from ._base import Group
from ._models import global_norm


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

    # every gradient is written into the same memory
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
    memory : Memory
        That of the optimizer.
    """

    model_ndim = 1

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def global_norm(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the norm of tensors taken as one vector, one value per part."""
        return global_norm(tensors, self.model_ndim)


def repeat_models(value: Any, n_parts: int) -> Any:
    """Return values per part, from those per model; leave what all have in common."""
    if isinstance(value, Tensor) and value.ndim:
        return torch.repeat_interleave(value, n_parts, dim=0)
    return value
