"""The steps of a training: an optimizer, and the closures that it evaluates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..optim import SharpnessAware
from ..optim._models import Hyperparameter
from ._chunk import Chunk
from ._epoch import Trace
from ._gradient import Backprop, Batch
from ._learning_rate import Rates
from ._networks import Networks
from ._parts import Parts


class Evaluation:
    """The closure of a step, which leaves the prediction of its first call in place.

    It is a ``RowClosure`` too, for solvers that look at the losses of the rows.

    Parameters
    ----------
    gradient : Backprop
        Of the network.

    batch : Batch
        Rows of the step.

    y_pred : Tensor of shape (*model_shape, n_samples, n_outputs)
        Where the first call writes the prediction, that before the step.

    on_gradient : callable or None
        Called with the rows of every gradient.

    exchange : callable or None, default=None
        Takes the gradient of this process's rows and turns it, in place, into that of
        the rows of all.
    """

    __slots__ = ("batch", "exchange", "gradient", "on_gradient", "y_pred")

    # every gradient is written into the same memory
    writes_grad = True

    def __init__(
        self,
        gradient: Backprop,
        batch: Batch,
        y_pred: Tensor,
        on_gradient: Any,
        exchange: Any = None,
    ) -> None:
        self.gradient, self.batch, self.y_pred = gradient, batch, y_pred
        self.on_gradient, self.exchange = on_gradient, exchange

    def __call__(self) -> Any:
        self.gradient(self.batch, self.y_pred)
        self._end(self.batch)
        self.y_pred = self.gradient.scratch(len(self.batch))

    def _end(self, batch: Batch) -> None:
        """Exchange the gradient and call ``on_gradient``."""
        if self.exchange is not None:
            self.exchange(self.gradient.grad)
        if self.on_gradient is not None:
            self.on_gradient(batch)

    @property
    def sample_weight(self) -> Tensor | None:
        """Weights of the rows."""
        return self.batch.sample_weight

    def backward(self) -> Tensor:
        """Write the gradient of all rows and return their losses."""
        y_pred = self.y_pred
        self()
        return self.gradient.loss.row_losses(y_pred, self.batch.y)

    def losses(self) -> Tensor:
        """Return the losses of all rows."""
        batch = self.batch
        y_pred = self.gradient.scratch(len(batch))
        self.gradient.predict(batch, y_pred)
        return self.gradient.loss.row_losses(y_pred, batch.y)

    def backward_part(self, rows: Tensor) -> None:
        """Write the gradient of some rows, from the pass that gave their losses."""
        self._backward(self.gradient.select(self.batch, rows))

    def backward_weighted(self, sample_weight: Tensor) -> None:
        """Write the gradient of all rows with other weights, from the same pass."""
        self._backward(self.batch.reweigh(sample_weight))

    def _backward(self, batch: Batch) -> None:
        self.gradient.differentiate(batch, self.gradient.scratch(len(batch)))
        self._end(batch)


class Step:
    """Updates the weights of networks by a minibatch.

    Parameters
    ----------
    networks : Networks
        The networks, whose optimizer and gradient it takes.

    on_gradient : callable or None, default=None
        Called with the rows of every gradient.
    """

    def __init__(
        self,
        networks: Networks,
        on_gradient: Callable[[Batch], None] | None = None,
    ) -> None:
        self.optimizer, self.gradient = networks.optimizer, networks.gradient
        self.ranks, self.on_gradient = networks.ranks, on_gradient
        self.micro_batch_size = size = networks.job.settings.micro_batch_size
        # evaluates micro-batches at once, unless a callback is called for each
        self.parts: Parts | None = None
        if size is None or self.ranks is not None or on_gradient is not None:
            return
        optimizer, make_module = self.optimizer, networks.make_module
        if isinstance(optimizer, SharpnessAware) and optimizer.takes_parts_at_once:
            flat, alpha = self.gradient.flat, networks.alpha
            self.parts = Parts(make_module, flat, networks.loss, alpha, size)

    def __call__(self, batch: Batch, y_pred: Tensor) -> None:
        """Update the weights once, and write the prediction before the update."""
        if self.micro_batch_size is None:
            self.optimizer.step(self._evaluation(batch, y_pred))
            return
        if self.parts is not None and self.parts.take(batch):
            whole = self._evaluation(batch, y_pred)
            self.optimizer.step(self.parts.evaluation(whole, batch, y_pred))
            return
        parts = [
            (self._evaluation(part, y_pred[..., rows, :]), part.weight_sum)
            for rows, part in batch.cut(self.micro_batch_size)
        ]
        self.optimizer.step(parts)

    def _evaluation(self, batch: Batch, y_pred: Tensor) -> Evaluation:
        ranks = self.ranks
        if ranks is None:
            return Evaluation(self.gradient, batch, y_pred, self.on_gradient)
        rows, part, share = ranks.share_of(batch)
        y_pred = y_pred[..., rows, :]
        if not y_pred.shape[-2]:  # a row that counts for nothing
            y_pred = self.gradient.scratch(len(part))
        exchange = functools.partial(ranks.average_, share=share)
        return Evaluation(self.gradient, part, y_pred, None, exchange)


class StepHooks(Protocol):
    """Callbacks of a single network, around its steps."""

    def step(
        self, batch: Batch, y_pred: Tensor, step: Callable[[Batch, Tensor], None]
    ) -> None:
        """Train on a batch by calling ``step`` with it and where it predicts."""

    def on_gradient(self, batch: Batch) -> None:
        """Call the callbacks of a gradient, twice in a step with an ascent."""


class Steps:
    """The steps of a chunk, one after the other.

    Parameters
    ----------
    networks : Networks
        The networks that are trained.

    rates : Rates
        Their learning rates.

    hooks : StepHooks or None, default=None
        Callbacks of a single network.
    """

    def __init__(
        self, networks: Networks, rates: Rates, hooks: StepHooks | None = None
    ) -> None:
        self.networks, self.rates, self.hooks = networks, rates, hooks
        self.step = Step(networks, None if hooks is None else hooks.on_gradient)

    def __call__(
        self, chunk: Chunk, trace: Trace, lrs: Sequence[Hyperparameter] | None
    ) -> None:
        """Train on the minibatches of a chunk.

        Parameters
        ----------
        chunk : Chunk
            The minibatches.

        trace : Trace
            Where the steps leave what the loss is computed from.

        lrs : sequence of float or of Tensor of shape (n_models,), or None
            Learning rate of every step, None to leave it.
        """
        networks, hooks, step = self.networks, self.hooks, self.step
        optimizer, ema = networks.optimizer, networks.ema
        norms = None if trace.norms is None else trace.norms.unbind()
        y_preds = torch.split(trace.y_pred, chunk.batch_size, dim=-2)
        for i, (batch, y_pred) in enumerate(zip(chunk.cut(), y_preds, strict=True)):
            trace.is_of_model = trace.is_of_model or optimizer.loss_at_evaluation_params
            if norms is not None:
                networks.gradient.write_weight_norm(norms[i])
            if lrs is not None:
                self.rates.take(lrs, i)
            if hooks is None:
                step(batch, y_pred)
            else:
                hooks.step(batch, y_pred, step)
            if ema is not None:
                ema.update(optimizer.evaluation_params())
