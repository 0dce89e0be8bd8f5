"""The parts of a minibatch, evaluated at once, each at its own weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..optim._base import Group
from ..optim._models import Hyperparameter
from ..optim._parts import MicroBatches, repeat_models
from ._gradient import Backprop, Batch
from ._losses import Loss
from ._module import MLPModule

# Weights of all parts up to which they are taken at once. One by one they share the
# weights of the first pass, which counts for more in a large network than calls do.
MAX_WEIGHTS = 2**18


class Parts:
    """Cuts minibatches into parts of one size, with memory that is allocated once.

    Parameters
    ----------
    make_module : callable
        Takes a ``model_shape`` by name, returns the network.

    flat : Tensor of shape (*model_shape, n_params)
        The weights.

    loss : Loss
        Of the output layer.

    alpha : float or Tensor of shape (n_models,)
        Strength of the penalty on the squared weights.

    size : int
        Rows of a part. The last one of a minibatch may have fewer.
    """

    def __init__(
        self,
        make_module: Callable[..., MLPModule],
        flat: Tensor,
        loss: Loss,
        alpha: Hyperparameter,
        size: int,
    ) -> None:
        self.make_module, self.flat, self.loss = make_module, flat, loss
        self.alpha, self.size = alpha, size
        self.model_shape = flat.shape[:-1]
        self._memories: dict[int, _PartsMemory] = {}

    def take(self, batch: Batch) -> bool:
        """Return whether the parts of a minibatch are to be evaluated at once."""
        n_parts = -(-len(batch) // self.size)
        is_small = n_parts * self.flat.numel() <= MAX_WEIGHTS
        return n_parts > 1 and is_small and not batch.X.is_sparse

    def evaluation(
        self, whole: Callable[[], None], batch: Batch, y_pred: Tensor
    ) -> PartsEvaluation:
        """Return the closure of a step.

        Parameters
        ----------
        whole : callable
            Writes the gradient of the minibatch.

        batch : Batch
            Rows of the step.

        y_pred : Tensor of shape (*model_shape, n_samples, n_outputs)
            Where the prediction is written, that before the step.
        """
        memory = self._memories.get(len(batch))
        if memory is None:
            memory = self._memories[len(batch)] = _PartsMemory(self, len(batch))
        return PartsEvaluation(memory, whole, batch, y_pred)


class _PartsMemory:
    """Memory and network of the parts of minibatches of one length."""

    def __init__(self, parts: Parts, n_samples: int) -> None:
        self.flat, self.size, self.n_samples = parts.flat, parts.size, n_samples
        self.model_shape = parts.model_shape
        self.n_parts = -(-n_samples // self.size)
        n_models = self.model_shape.numel()
        module = parts.make_module(model_shape=(n_models * self.n_parts,))
        self.points = module.flat.detach()
        alpha = repeat_models(parts.alpha, self.n_parts)
        self.gradient = Backprop(module, parts.loss, alpha)
        self.points.grad = self.gradient.grad
        self.scratch = self.gradient.scratch(self.size)
        # the last part is filled up with rows of weight zero
        self.n_filled = self.n_parts * self.size - n_samples
        self._filled: dict[str, Tensor] = {}
        starts = range(0, n_samples, self.size)
        counts = [float(min(self.size, n_samples - start)) for start in starts]
        self.counts = self.flat.new_tensor(counts)
        self._shares = (self.counts / n_samples).unsqueeze(-2)
        # weights of rows that have none
        ones = self._rows("ones", self.flat.new_ones(n_samples, 1))
        self._is_row = ones.squeeze(-1)

    def cut(self, batch: Batch) -> tuple[Batch, Tensor]:
        """Return the rows with the parts as models, and the shares of the parts."""
        weights, shares = batch.sample_weight, self._shares
        weight_sum: Hyperparameter = float(self.size)
        if weights is not None:
            weights = self._rows("weights", weights.unsqueeze(-1)).squeeze(-1)
            weight_sum = weights.sum(-1)
            sums = weight_sum.view(*self.model_shape, 1, self.n_parts)
            shares = sums / sums.sum(-1, keepdim=True)
        elif self.n_filled:
            weights, weight_sum = self._is_row, self._of_all(self.counts)
        X, y = self._rows("X", batch.X), self._rows("y", batch.y)
        masks = tuple(
            mask if mask is None else self._rows(f"mask {layer}", mask)
            for layer, mask in enumerate(batch.masks)
        )
        of_minibatch = repeat_models(batch.penalty_divisor, self.n_parts)
        return Batch(X, y, weights, weight_sum, of_minibatch, masks), shares

    def _rows(self, name: str, rows: Tensor) -> Tensor:
        """Return rows with an axis of the parts of all models."""
        if self.n_filled:
            shape = *rows.shape[:-2], self.n_parts * self.size, rows.shape[-1]
            filled = self._filled.get(name)
            if filled is None or filled.shape != shape:
                filled = self._filled[name] = rows.new_zeros(shape)
            filled[..., : self.n_samples, :].copy_(rows)
            rows = filled
        rows = rows.reshape(*rows.shape[:-2], self.n_parts, self.size, rows.shape[-1])
        return self._of_all(rows, 4) if self.model_shape else rows

    def _of_all(self, values: Tensor, ndim: int = 2) -> Tensor:
        """Return what models have in common, or each its own, for all their parts."""
        if values.ndim < ndim:
            values = values.expand(*self.model_shape, *values.shape)
        return values.flatten(0, 1) if self.model_shape else values


class PartsEvaluation(MicroBatches):
    """The closure of a step of parts, which leaves the prediction of its first call.

    Parameters
    ----------
    memory : _PartsMemory
        Of minibatches of this length.

    whole, batch, y_pred
        As in :meth:`Parts.evaluation`.
    """

    __slots__ = (
        "_batch",
        "_memory",
        "_parts",
        "_shares",
        "_whole",
        "_y_pred",
        "points",
    )

    def __init__(
        self,
        memory: _PartsMemory,
        whole: Callable[[], None],
        batch: Batch,
        y_pred: Tensor,
    ) -> None:
        self._memory, self._whole, self._batch = memory, whole, batch
        self._y_pred, self.points = y_pred, memory.points

    def __call__(self) -> None:
        self._whole()

    def evaluate_start(self) -> None:
        memory = self._memory
        self._parts, self._shares = memory.cut(self._batch)
        points = memory.points.view(*memory.model_shape, memory.n_parts, -1)
        points.copy_(memory.flat.unsqueeze(-2))
        memory.gradient.predict(self._parts, memory.scratch)
        y_pred = memory.scratch.view(*memory.model_shape, -1, memory.scratch.shape[-1])
        self._y_pred.copy_(y_pred[..., : memory.n_samples, :])
        memory.gradient.differentiate(self._parts, memory.scratch)

    def evaluate_perturbed(self) -> None:
        self._memory.gradient(self._parts, self._memory.scratch)

    def mean_grad(self) -> Tensor:
        memory = self._memory
        grads = memory.gradient.grad.view(*memory.model_shape, memory.n_parts, -1)
        return torch.matmul(self._shares, grads).squeeze(-2)

    def group_of_parts(self, group: Group) -> Group:
        n_parts = self._memory.n_parts
        if not self._memory.model_shape:
            return group
        return {name: repeat_models(value, n_parts) for name, value in group.items()}
