"""Minibatches as slices of a permutation, without a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .._contract import Array, TrainingJob
from ._bridge import to_sparse_tensor, to_tensor
from ._gradient import Batch


class Batches:
    """Training rows on the device, cut into minibatches anew in every epoch.

    The rows lie on the device once; a step gathers its own. Iterating draws from
    ``random_state`` exactly what :func:`sklearn.utils.shuffle` would.

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
        if self.is_sparse:
            self._matrix = job.X.tocsr()
        else:
            self._X = to_tensor(job.X, device=device)
        self._y = to_tensor(job.y, dtype=dtype, device=device)
        self._sample_weight = job.sample_weight
        if job.sample_weight is not None:
            self._weights = to_tensor(job.sample_weight, dtype=dtype, device=device)
        self._random_state = job.random_state if settings.shuffle else None
        self._order = np.arange(self.n_samples)

    def __len__(self) -> int:
        return -(-self.n_samples // self.batch_size)

    def sizes(self) -> Array:
        """Return the number of rows of every minibatch."""
        starts = np.arange(0, self.n_samples, self.batch_size)
        return np.diff(starts, append=self.n_samples)

    def __iter__(self) -> Iterator[Batch]:
        if self._random_state is not None:
            # permutes the last epoch's permutation, as scikit-learn does
            self._order = self._order[self._random_state.permutation(self.n_samples)]
        totals = self._totals()
        order = to_tensor(self._order, device=self.device)
        for i, start in enumerate(range(0, self.n_samples, self.batch_size)):
            rows = slice(start, min(start + self.batch_size, self.n_samples))
            yield self._batch(rows, order[rows], float(totals[i]))

    def _batch(self, rows: slice, index: Tensor, total: float) -> Batch:
        if self.is_sparse:
            X = to_sparse_tensor(self._matrix[self._order[rows]], self.device)
        else:
            X = self._X.index_select(0, index)
        weights = None
        if self._sample_weight is not None:
            weights = self._weights.index_select(0, index)
        return Batch(X, self._y.index_select(0, index), weights, total)

    def _totals(self) -> Array:
        """Return the sum of the weights of every minibatch of this epoch."""
        if self._sample_weight is None:
            return self.sizes()
        starts = np.arange(0, self.n_samples, self.batch_size)
        weights = self._sample_weight[self._order].astype(np.float64)
        totals: Array = np.add.reduceat(weights, starts)
        if np.any(totals == 0):
            raise ValueError(
                "sample_weight must not sum to zero over a minibatch, got minibatch "
                f"{int(np.argmin(np.abs(totals)))} of {len(totals)} with a sum of 0. Drop "
                "the rows of weight zero, or raise batch_size."
            )
        return totals
