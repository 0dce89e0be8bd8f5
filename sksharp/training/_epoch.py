"""The loss of an epoch, from what its steps predicted on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .._jobs import Array
from ._batches import Batches, Chunk
from ._bridge import to_array
from ._gradient import Backprop
from ._losses import Loss
from ._ranks import Ranks


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

    alpha : float or array of shape (n_models,)
        Strength of the penalty.

    ranks : Ranks or None, default=None
        Processes that share the steps, each of which predicts for its own rows.
    """

    def __init__(
        self,
        gradient: Backprop,
        loss: Loss,
        alpha: float | Array,
        ranks: Ranks | None = None,
    ) -> None:
        self.gradient, self.loss, self.ranks = gradient, loss, ranks
        self._alpha = alpha
        self._data: list[Tensor] = []
        self._norms: list[Tensor] = []

    def begin(self, chunk: Chunk) -> Sequence[Tensor]:
        """Return where the steps of a chunk write their predictions."""
        shape = (*self.gradient.model_shape, *chunk.y.shape[-2:])
        self._y_pred = chunk.y.new_empty(shape)
        if self.ranks is not None:
            self._y_pred.zero_()  # the rows of the others
        return torch.split(self._y_pred, len(chunk.batches[0]), dim=-2)

    def before_step(self) -> None:
        """Record the norm of the current weights, for the penalty."""
        if self.gradient.is_penalized:
            self._norms.append(self.gradient.weight_norm())

    def end(self, chunk: Chunk) -> None:
        """Add the loss of a chunk's predictions."""
        if self.ranks is not None:
            self.ranks.sum_(self._y_pred)
        rows = self.loss.row_losses(self._y_pred, chunk.y)
        self._data.append((rows * chunk.row_scale).sum(-1, dtype=torch.float64))

    def values(self, batches: Batches) -> list[float]:
        """Return the loss of the epoch, one per model, waiting for the device."""
        loss = to_array(torch.stack(self._data)).sum(0).reshape(-1)
        if self._norms:
            norms = to_array(torch.stack(self._norms)).astype("float64")
            norms = norms.reshape(len(norms), -1)
            penalties = np.einsum("kb,bk->k", batches.penalty_shares(), norms**2)
            loss = loss + self._alpha / 2 * penalties
        losses: list[float] = loss.tolist()
        return losses
