"""Consecutive minibatches, whose rows are gathered at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TypeAlias

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
