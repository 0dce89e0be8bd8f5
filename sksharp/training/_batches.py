"""Minibatches as slices of a permutation, without a DataLoader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from .._contract import Array, TrainingJob
from ._bridge import to_canonical, to_sparse_tensor, to_tensor
from ._gradient import Batch

# bytes of rows that are gathered at once
CHUNK_BYTES = 2**21


@dataclass(slots=True)
class Chunk:
    """Consecutive minibatches of an epoch, whose rows are gathered at once.

    Parameters
    ----------
    batches : sequence of Batch
        The minibatches, in order.

    y : Tensor of shape (n_samples, n_outputs)
        Targets of all their rows.

    row_scale : float or Tensor of shape (n_samples,)
        What a row's loss counts for in the loss of the epoch.
    """

    batches: Sequence[Batch]
    y: Tensor
    row_scale: float | Tensor


class Batches:
    """Training rows on the device, cut into minibatches anew in every epoch.

    The rows lie on the device once; a chunk of minibatches gathers its own. Iterating
    draws from ``random_state`` exactly what :func:`sklearn.utils.shuffle` would.

    Parameters
    ----------
    job : TrainingJob
        Rows, targets, weights, batch size, and whether and how to shuffle.

    device : torch.device
        Where the batches are made.
    """

    def __init__(self, job: TrainingJob, device: torch.device) -> None:
        settings = job.settings
        dtype = to_tensor(job.weights.coefs[0]).dtype
        self.n_samples: int = job.X.shape[0]
        self.batch_size = settings.batch_size
        self.device = device
        self.is_sparse = hasattr(job.X, "tocsr")
        row_bytes = dtype.itemsize * (job.X.shape[1] + 3 * job.y.shape[1])
        if self.is_sparse:
            self._matrix = to_canonical(job.X)
        else:
            self._X = to_tensor(job.X, device=device)
        per_chunk = max(1, CHUNK_BYTES // (row_bytes * self.batch_size))
        self._chunk_size = per_chunk * self.batch_size
        self._y = to_tensor(job.y, dtype=dtype, device=device)
        self._weights: Tensor | None = None
        self._sample_weight = job.sample_weight
        if job.sample_weight is not None:
            self._weights = to_tensor(job.sample_weight, dtype=dtype, device=device)
        self._random_state = job.random_state if settings.shuffle else None
        self._order = np.arange(self.n_samples)
        # rows per minibatch
        starts = np.arange(0, self.n_samples, self.batch_size)
        self.sizes: Array = np.diff(starts, append=self.n_samples)
        self.totals: Array = self.sizes.astype(np.float64)

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Chunk]:
        if self._random_state is not None:
            # permutes the last epoch's permutation, as scikit-learn does
            self._order = self._order[self._random_state.permutation(self.n_samples)]
        if self._sample_weight is not None:
            self.totals = self._weight_totals(self._sample_weight)
            self._row_scale = self._scale_of_rows()
        order = to_tensor(self._order, device=self.device)
        for start in range(0, self.n_samples, self._chunk_size):
            stop = min(start + self._chunk_size, self.n_samples)
            yield self._chunk(start, stop, order[start:stop])

    def _chunk(self, start: int, stop: int, index: Tensor) -> Chunk:
        size = self.batch_size
        y = self._rows(self._y, start, stop, index)
        weights: Iterable[Tensor | None] = repeat(None)
        row_scale: float | Tensor = 1 / self.n_samples
        batches = slice(start // size, -(-stop // size))
        totals = self.totals[batches].tolist()
        if self._weights is not None:
            chunk_weights = self._rows(self._weights, start, stop, index)
            weights = torch.split(chunk_weights, size)
            row_scale = self._row_scale[start:stop] * chunk_weights
        X: Iterable[Tensor]
        if self.is_sparse:
            rows = range(start, stop, size)
            X = [self._sparse_rows(i, min(i + size, stop)) for i in rows]
        else:
            X = torch.split(self._rows(self._X, start, stop, index), size)
        return Chunk(
            list(map(Batch, X, torch.split(y, size), weights, totals)), y, row_scale
        )

    def _rows(self, values: Tensor, start: int, stop: int, index: Tensor) -> Tensor:
        if self._random_state is None:
            return values[start:stop]
        return values.index_select(0, index)

    def _sparse_rows(self, start: int, stop: int) -> Tensor:
        return to_sparse_tensor(self._matrix[self._order[start:stop]], self.device)

    def _scale_of_rows(self) -> Tensor:
        """Return what a unit of weight counts for, row by row: one copy an epoch."""
        per_batch = self.sizes / self.totals / self.n_samples
        per_row = np.repeat(per_batch, self.sizes)
        return to_tensor(per_row, dtype=self._y.dtype, device=self.device)

    def _weight_totals(self, sample_weight: Array) -> Array:
        """Return the sum of the weights of every minibatch of this epoch."""
        starts = np.arange(0, self.n_samples, self.batch_size)
        weights = sample_weight[self._order].astype(np.float64)
        totals: Array = np.add.reduceat(weights, starts)
        if np.any(totals == 0):
            raise ValueError(
                "sample_weight must not sum to zero over a minibatch, class_weight "
                f"included, got minibatch {int(np.argmin(np.abs(totals)))} of "
                f"{len(totals)} with a sum of 0. Drop the rows of weight zero, or raise "
                "batch_size."
            )
        return totals
