"""The loss of an epoch, from what its steps predicted on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._jobs import Array
from ._batches import Batches
from ._bridge import to_array
from ._chunk import Chunk
from ._gradient import Backprop
from ._losses import Loss
from ._ranks import Ranks


@dataclass(slots=True)
class Trace:
    """What the steps of a chunk leave of where they began, for the loss.

    Parameters
    ----------
    y_pred : Tensor of shape (*model_shape, n_samples, n_outputs)
        What every step predicted for its rows.

    norms : Tensor of shape (n_steps, *model_shape) or None
        Norm of all weights before every step. None without a penalty.

    is_of_model : bool
        Whether these are losses of the weights that predict, at least in part.
    """

    y_pred: Tensor
    norms: Tensor | None
    is_of_model: bool = False


def new_trace(gradient: Backprop, chunk: Chunk) -> Trace:
    """Return memory for what the steps of a chunk leave."""
    shape = gradient.model_shape
    y_pred = chunk.y.new_empty((*shape, *chunk.y.shape[-2:]))
    norms = chunk.y.new_empty(len(chunk), *shape) if gradient.is_penalized else None
    return Trace(y_pred, norms)


class EpochLoss:
    """Mean loss of an epoch, every minibatch's before its own step.

    The steps leave their predictions in one buffer per chunk, which is turned into a
    loss at once: no kernel per step, and no wait for the device before the epoch ends.

    Parameters
    ----------
    loss : Loss
        Of the output layer.

    alpha : float or array of shape (n_models,)
        Strength of the penalty.

    ranks : Ranks or None, default=None
        Processes that share the steps, each of which predicts for its own rows.
    """

    def __init__(
        self,
        loss: Loss,
        alpha: float | Array,
        ranks: Ranks | None = None,
    ) -> None:
        self.loss, self.ranks = loss, ranks
        self._alpha = alpha
        self._data: list[Tensor] = []
        self._norms: list[Tensor] = []

    def add(self, chunk: Chunk, trace: Trace) -> None:
        """Add the loss of a chunk, given what its steps left."""
        if self.ranks is not None:
            self.ranks.sum_(trace.y_pred)
        rows = self.loss.row_losses(trace.y_pred, chunk.y)
        self._data.append((rows * chunk.row_scale).sum(-1, dtype=torch.float64))
        if trace.norms is not None:
            self._norms.append(trace.norms)

    def values(self, batches: Batches) -> list[float]:
        """Return the loss of the epoch, one per model, waiting for the device."""
        loss = to_array(torch.stack(self._data)).sum(0).reshape(-1)
        if self._norms:
            norms = to_array(torch.cat(self._norms)).astype("float64")
            norms = norms.reshape(len(norms), -1)
            penalties = np.einsum("kb,bk->k", batches.penalty_shares(), norms**2)
            loss = loss + self._alpha / 2 * penalties
        losses: list[float] = loss.tolist()
        return losses
