"""The loss of an epoch, from what its steps predicted on the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._batches import Batches, Chunk
from ._bridge import to_array
from ._gradient import Backprop
from ._losses import Loss


class EpochLoss:
    """Mean loss of an epoch, every minibatch's before its own step.

    The steps leave their predictions in one buffer per chunk, which is turned into a
    loss at once: no kernel per step, and no wait for the device before the epoch ends.

    Parameters
    ----------
    gradient : Backprop
        Of the network.

    loss : Loss
        Of the output layer.
    """

    def __init__(self, gradient: Backprop, loss: Loss) -> None:
        self.gradient, self.loss = gradient, loss
        self._data: list[Tensor] = []
        self._norms: list[Tensor] = []

    def begin(self, chunk: Chunk) -> Sequence[Tensor]:
        """Return where the steps of a chunk write their predictions."""
        shape = (*self.gradient.model_shape, *chunk.y.shape[-2:])
        self._means = chunk.y.new_empty(shape)
        return torch.split(self._means, len(chunk.batches[0]), dim=-2)

    def before_step(self) -> None:
        """Note the penalty at the weights of now."""
        if self.gradient.is_penalized:
            self._norms.append(self.gradient.weight_norm())

    def end(self, chunk: Chunk) -> None:
        """Turn the predictions of a chunk into its share of the loss."""
        rows = self.loss.row_losses(self._means, chunk.y)
        self._data.append((rows * chunk.row_scale).sum(-1, dtype=torch.float64))

    def value(self, batches: Batches) -> float:
        """Return the loss of the epoch, waiting for the device."""
        loss: float = to_array(torch.stack(self._data)).sum(0)
        if self._norms:
            norms = to_array(torch.stack(self._norms)).astype("float64")
            shares = batches.sizes / (batches.totals * batches.n_samples)
            loss = loss + self.gradient.alpha / 2 * (shares @ norms**2)
        return loss
