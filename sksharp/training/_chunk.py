"""Consecutive minibatches, whose rows are gathered at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..optim._models import Hyperparameter
from ._dropout import Masks
from ._gradient import Batch

# one for all rows, one per minibatch, or none
Weights: TypeAlias = Tensor | Sequence[Tensor | None] | None


@dataclass(slots=True)
class Chunk:
    """Consecutive minibatches of an epoch.

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_features) or sequence of sparse Tensor
        Their rows, sparse ones by minibatch. Dense ones, and all else here, may lead with
        a model axis.

    y : Tensor of shape (n_samples, n_outputs)
        Targets.

    sample_weight : Tensor of shape (n_samples,), sequence of (Tensor or None) or None
        Weights of the rows, or those of every minibatch.

    weight_sums : sequence of (float or Tensor of shape (n_models,))
        Sum of the weights, or number of rows, of every minibatch.

    masks : tuple of (Tensor or None)
        Masks of the hidden layers, as of :class:`Batch`.

    row_scale : float or Tensor of shape (n_samples,)
        Weight of a row's loss in the loss of the epoch.

    batch_size : int
        Rows of a minibatch. The last one may have fewer.
    """

    X: Tensor | Sequence[Tensor]
    y: Tensor
    sample_weight: Weights
    weight_sums: Sequence[Hyperparameter]
    masks: Masks
    row_scale: float | Tensor
    batch_size: int

    def __len__(self) -> int:
        return len(self.weight_sums)

    def cut(self) -> list[Batch]:
        """Return the minibatches, in order."""
        size, masks, weights = self.batch_size, self.masks, self.sample_weight
        X = torch.split(self.X, size, -2) if isinstance(self.X, Tensor) else self.X
        of_batches: Iterable[Tensor | None] = (
            repeat(None) if weights is None else weights
        )
        if isinstance(weights, Tensor):
            of_batches = torch.split(weights, size, -1)
        layers = [
            repeat(None) if m is None else torch.split(m, size, -2) for m in masks
        ]
        of_layers: Iterable[Masks] = zip(*layers, strict=False) if masks else repeat(())
        y, sums = torch.split(self.y, size, -2), self.weight_sums
        return [*map(Batch, X, y, of_batches, sums, repeat(None), of_layers)]

    @property
    def kind(self) -> Any:
        """Equal for chunks that can be copied over one another."""
        return _map(lambda t: (t.dtype, t.shape), self._parts), self.batch_size

    def copy(self) -> Chunk:
        """Return a chunk of the same minibatches, in memory of its own."""
        X, y, weights, sums, masks = _map(torch.clone, self._parts)
        return replace(
            self, X=X, y=y, sample_weight=weights, weight_sums=sums, masks=masks
        )

    def copy_from(self, other: Chunk) -> None:
        """Take the minibatches of a chunk of the same kind, in place."""
        # in a few kernels for all of them
        torch._foreach_copy_([*_tensors(self._parts)], [*_tensors(other._parts)])

    @property
    def _parts(self) -> Any:
        """What the minibatches are cut from."""
        return self.X, self.y, self.sample_weight, self.weight_sums, self.masks


def _map(function: Any, parts: Any) -> Any:
    """Apply a function to the tensors of a nested sequence."""
    if isinstance(parts, Tensor):
        return function(parts)
    if isinstance(parts, Sequence):
        return tuple(_map(function, part) for part in parts)
    return parts


def _tensors(parts: Any) -> Iterator[Tensor]:
    """Yield the tensors of a nested sequence."""
    if isinstance(parts, Tensor):
        yield parts
    elif isinstance(parts, Sequence):
        for part in parts:
            yield from _tensors(part)
