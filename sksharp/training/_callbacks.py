"""skorch's callbacks inside the training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from skorch.dataset import Dataset
from torch import Tensor

from .._contract import Array, Matrix, Progress
from ._bridge import to_tensor
from ._gradient import Batch

if TYPE_CHECKING:
    from ._net import MLPNet


class StopTraining(Exception):
    """A callback asked for the end of training."""


class Listeners:
    """What a net with callbacks tells and records, batch by batch and epoch by epoch.

    The history holds, per epoch, ``train_loss`` and, with a validation set,
    ``valid_loss`` and ``valid_score``, each with a flag ``..._best``; per batch
    ``train_loss`` and ``train_batch_size``.

    Parameters
    ----------
    net : MLPNet
        The net, with callbacks.

    Attributes
    ----------
    datasets : dict
        Rows and targets as the user's own, for callbacks that score.
    """

    def __init__(self, net: MLPNet) -> None:
        job = net.job
        self.net = net
        validation = job.validation
        self.datasets = {
            "dataset_train": self._dataset(job.X, job.y, job.rows),
            "dataset_valid": None
            if validation is None
            else self._dataset(validation.X, validation.y, validation.rows),
        }
        self._best: dict[str, float] = {}

    def _dataset(self, X: Matrix, y: Array, rows: Array | None) -> Dataset:
        if rows is not None:
            X, y = X[rows], y[rows]
        return Dataset(X, self.net.job.decode(y))

    def step(
        self, batch: Batch, mean: Tensor, step_fn: Callable[[Batch, Tensor], None]
    ) -> None:
        """Train on a batch and tell before and after, with the prediction before."""
        net = self.net
        pair = (batch.X, batch.y)
        net.notify("on_batch_begin", batch=pair, training=True)
        step_fn(batch, mean)
        loss = self._loss(batch, mean)
        net.history.record_batch("train_loss", loss.item())
        net.history.record_batch("train_batch_size", len(batch))
        net.notify("on_batch_end", batch=pair, training=True, y_pred=mean, loss=loss)

    def _loss(self, batch: Batch, mean: Tensor) -> Tensor:
        """Return the weighted mean loss of the rows, without the penalty."""
        rows = self.net.criterion_.loss.row_losses(mean, batch.y)
        return (
            rows if batch.weights is None else rows * batch.weights
        ).sum() / batch.total

    def on_gradient(self, batch: Batch) -> None:
        """Tell that a gradient is there; twice a step with an ascent."""
        self.net.notify(
            "on_grad_computed",
            named_parameters=list(self.net.module_.named_parameters()),
            batch=(batch.X, batch.y),
            training=True,
        )

    def record_epoch(self, progress: Progress) -> None:
        """Write the losses and scores of an epoch to the history."""
        self._record("train_loss", progress.loss_curve[-1], sign=-1)
        if progress.validation_scores:
            self._record("valid_loss", self._validation_loss(), sign=-1)
            self._record("valid_score", progress.validation_scores[-1], sign=1)

    def _record(self, name: str, value: float, *, sign: int) -> None:
        history = self.net.history
        is_best = bool(sign * value > self._best.get(name, -np.inf))
        if is_best:
            self._best[name] = sign * value
        history.record(name, float(value))
        history.record(name + "_best", is_best)

    def _validation_loss(self) -> float:
        validation = self.net.job.validation
        assert validation is not None
        rows = slice(None) if validation.rows is None else validation.rows
        mean = to_tensor(self.net.outputs(validation.X[rows]))
        y = to_tensor(validation.y[rows], dtype=mean.dtype)
        return self.net.criterion_.loss.row_losses(mean, y).mean().item()
