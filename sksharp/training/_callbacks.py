"""skorch's callbacks inside the training loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from skorch import NeuralNet
from skorch.dataset import Dataset
from torch import Tensor

from .._jobs import Array, Matrix, Progress
from ._bridge import to_tensor
from ._gradient import Batch
from ._networks import Networks


class Listeners:
    """Calls a net's callbacks and writes its history, batch by batch, epoch by epoch.

    The history holds, per epoch, ``train_loss`` and, with a validation set,
    ``valid_loss`` and ``valid_score``, each with a flag ``..._best``; per batch
    ``train_loss`` and ``train_batch_size``.

    Parameters
    ----------
    net : NeuralNet
        The net, with callbacks.

    networks : Networks
        What it trains.
    """

    def __init__(self, net: NeuralNet, networks: Networks) -> None:
        self.net, self.networks = net, networks
        job, validation = networks.job, networks.job.validation
        # user-supplied rows and targets, for callbacks that score
        self._datasets = {
            "dataset_train": self._dataset(job.X, job.y, job.rows),
            "dataset_valid": None
            if validation is None
            else self._dataset(validation.X, validation.y, validation.rows),
        }
        self._best: dict[str, float] = {}

    def _dataset(self, X: Matrix, y: Array, rows: Array | None) -> Dataset:
        if rows is not None:
            X, y = X[rows], y[rows]
        job = self.networks.job
        return Dataset(X, (job.decode_targets or job.decode)(y))

    def begin_epoch(self) -> None:
        """Call the callbacks of the begin of an epoch."""
        self.net.notify("on_epoch_begin", **self._datasets)

    def step(
        self, batch: Batch, y_pred: Tensor, step: Callable[[Batch, Tensor], None]
    ) -> None:
        """Train on a batch, and call the callbacks before and after."""
        net = self.net
        pair = (batch.X, batch.y)
        net.notify("on_batch_begin", batch=pair, training=True)
        step(batch, y_pred)
        loss = self._loss(batch, y_pred)
        net.history.record_batch("train_loss", loss.item())
        net.history.record_batch("train_batch_size", len(batch))
        net.notify("on_batch_end", batch=pair, training=True, y_pred=y_pred, loss=loss)

    def _loss(self, batch: Batch, y_pred: Tensor) -> Tensor:
        """Return the weighted mean loss of the rows, without the penalty."""
        rows = self.networks.loss.row_losses(y_pred, batch.y)
        weights = batch.sample_weight
        return (rows if weights is None else rows * weights).sum() / batch.weight_sum

    def on_gradient(self, batch: Batch) -> None:
        """Call the callbacks of a gradient, twice in a step with an ascent."""
        self.net.notify(
            "on_grad_computed",
            named_parameters=list(self.networks.module.named_parameters()),
            batch=(batch.X, batch.y),
            training=True,
        )

    def end_epoch(self, progress: Progress) -> None:
        """Write the losses and scores to the history, and call the callbacks."""
        self._record("train_loss", progress.loss_curve[-1], sign=-1)
        if progress.validation_scores:
            self._record("valid_loss", self._validation_loss(), sign=-1)
            self._record("valid_score", progress.validation_scores[-1], sign=1)
        self.net.notify("on_epoch_end", **self._datasets)

    def _record(self, name: str, value: float, *, sign: int) -> None:
        history = self.net.history
        is_best = bool(sign * value > self._best.get(name, -np.inf))
        if is_best:
            self._best[name] = sign * value
        history.record(name, float(value))
        history.record(name + "_best", is_best)

    def _validation_loss(self) -> float:
        validation = self.networks.job.validation
        assert validation is not None
        rows = slice(None) if validation.rows is None else validation.rows
        y_pred = to_tensor(self.networks.outputs(validation.X[rows]))
        y = to_tensor(validation.y[rows], dtype=y_pred.dtype)
        return self.networks.loss.row_losses(y_pred, y).mean().item()
