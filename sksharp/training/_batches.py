"""Minibatches as slices of a permutation, without a DataLoader."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._jobs import Array, TrainingJob, state_key
from ._bridge import to_canonical, to_sparse_tensor, to_tensor
from ._chunk import Chunk, Weights
from ._dropout import Drawn, Dropout, Masks
from ._noise import InputNoise

# bytes of rows that are gathered at once
CHUNK_BYTES = 2**21

# Steps of a chunk that becomes one graph, and bytes of its rows. What a chunk costs the
# host, some twenty launches, is then less than one launch per step.
STEPS_PER_GRAPH = 64
GRAPH_BYTES = 2**26


class Stream:
    """Rows that one or more models are trained on in the same order.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        Jobs with the same rows and the same order to come.

    tensors : callable
        Turns an array into a tensor on the device, the same one for the same array.
    """

    def __init__(self, jobs: Sequence[TrainingJob], tensors: Any) -> None:
        job = jobs[0]
        dtype = to_tensor(job.weights.coefs[0]).dtype
        self.n_samples = job.n_samples
        self.is_sparse = hasattr(job.X, "tocsr")
        self.X: Any = to_canonical(job.X) if self.is_sparse else tensors(job.X)
        self.y: Tensor = tensors(job.y, dtype)
        self.sample_weight = job.sample_weight
        self.weight_tensor: Tensor | None = None
        if job.sample_weight is not None:
            self.weight_tensor = tensors(job.sample_weight, dtype)
        # whether the rows are in memory in the order of training
        self.is_plain = not job.settings.shuffle and job.rows is None
        self.order: Array = np.arange(self.n_samples) if job.rows is None else job.rows
        self.shuffles, self.draws = job.settings.shuffle, job.settings.draws
        self.random_state = job.random_state
        if len(jobs) > 1 and self.draws:
            # one of the jobs may end before the others
            self.random_state = copy.deepcopy(job.random_state)

    def begin_epoch(self) -> None:
        """Draw from the random state what :func:`sklearn.utils.shuffle` would."""
        if self.shuffles:
            # permutes the last epoch's permutation, as scikit-learn does
            self.order = self.order[self.random_state.permutation(self.n_samples)]

    def index(self, start: int, stop: int, device: torch.device) -> Tensor | None:
        """Return indices of the rows from ``start`` to ``stop``, None for a slice."""
        if self.is_plain:
            return None
        return to_tensor(self.order[start:stop], device=device)

    def weight_sums(self, batch_size: int) -> Array:
        """Return the sum of the weights of every minibatch of this epoch."""
        starts = np.arange(0, self.n_samples, batch_size)
        if self.sample_weight is None:
            return np.diff(starts, append=self.n_samples).astype(np.float64)
        weights = self.sample_weight[self.order].astype(np.float64)
        sums: Array = np.add.reduceat(weights, starts)
        if np.any(sums == 0):
            raise ValueError(
                "sample_weight must not sum to zero over a minibatch, class_weight "
                f"included, got minibatch {int(np.argmin(np.abs(sums)))} of "
                f"{len(sums)} with a sum of 0. Drop the rows of weight zero, or raise "
                "batch_size."
            )
        return sums


class Batches:
    """Training rows on the device, cut into minibatches anew in every epoch.

    The rows lie on the device once; a chunk of minibatches gathers its own. Models with
    the same rows in the same order share their minibatches. If there are several such
    streams, the minibatches have a model axis, and a stream whose last minibatch is
    shorter than another's fills it up with rows of weight zero.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        Rows, targets, weights, batch size, and whether and how to shuffle: one per
        model, all with as many minibatches an epoch.

    device : torch.device
        Where the batches are made.

    for_graphs : bool, default=False
        Whether the steps of a chunk are replayed: all numbers that change from epoch to
        epoch are then tensors.
    """

    def __init__(
        self,
        jobs: Sequence[TrainingJob],
        device: torch.device,
        *,
        for_graphs: bool = False,
    ) -> None:
        self.for_graphs = for_graphs
        settings = jobs[0].settings
        self.device, self.batch_size = device, settings.batch_size
        tensors = _Tensors(device)
        members: dict[Any, list[TrainingJob]] = {}
        for job in jobs:
            members.setdefault(stream_key(job), []).append(job)
        self.streams = [Stream(members[key], tensors) for key in members]
        indices = {key: i for i, key in enumerate(members)}
        # index of the stream of every model
        self.stream_of = np.array([indices[stream_key(job)] for job in jobs])
        self.dropout = Dropout(jobs, device) if settings.dropout else None
        self.noise: InputNoise | None = None
        if settings.input_noise is not None:
            firsts = [of_stream[0] for of_stream in members.values()]
            self.noise = InputNoise(firsts, device)
        self._set_up(jobs[0].X.shape[1], jobs[0].y.shape[1])

    def _set_up(self, n_features: int, n_outputs: int) -> None:
        first = self.streams[0]
        self._widths = n_features, n_outputs
        n_models = len(self.stream_of) if len(self.streams) > 1 else 1
        width = (n_features + 3 * n_outputs) * n_models
        if self.dropout is not None:
            n_masks = len(self.stream_of) if self.dropout.differs else n_models
            width += self.dropout.n_units * n_masks
        if self.noise is not None:
            width += n_features * len(self.streams)
        row_bytes = first.y.element_size() * width
        per_chunk = self._steps_per_chunk(row_bytes * self.batch_size)
        self._chunk_size = per_chunk * self.batch_size
        self._longest = max(stream.n_samples for stream in self.streams)
        starts = np.arange(0, self._longest, self.batch_size)
        ends = np.minimum(
            starts + self.batch_size,
            np.array([stream.n_samples for stream in self.streams])[:, None],
        )
        # rows per stream and minibatch
        self.sizes: Array = ends - starts
        self.weight_sums: Array = self.sizes.astype(np.float64)
        self.is_weighted = any(s.weight_tensor is not None for s in self.streams)
        # the stream of every model, unless each has its own or all share one
        self._index: Tensor | None = None
        if len(self.stream_of) > len(self.streams) > 1:
            self._index = to_tensor(self.stream_of, device=self.device)

    def _steps_per_chunk(self, bytes_of_batch: int) -> int:
        if self.for_graphs:
            return max(1, min(STEPS_PER_GRAPH, GRAPH_BYTES // bytes_of_batch))
        return max(1, CHUNK_BYTES // bytes_of_batch)

    def __len__(self) -> int:
        return int(self.sizes.shape[1])

    @property
    def n_samples(self) -> Array:
        """Number of rows of every model."""
        per_stream = np.array([stream.n_samples for stream in self.streams])
        counts: Array = per_stream[self.stream_of]
        return counts

    def random_state(self, k: int) -> np.random.RandomState | None:
        """Return the generator of a model's next epoch, None if nothing is drawn."""
        stream = self.streams[self.stream_of[k]]
        if not stream.draws:
            return None
        is_shared = (self.stream_of == self.stream_of[k]).sum() > 1
        random_state: np.random.RandomState = stream.random_state
        return copy.deepcopy(random_state) if is_shared else random_state

    def order(self, k: int) -> Array:
        """Return a model's rows in the order of the last epoch."""
        order: Array = self.streams[self.stream_of[k]].order
        return order

    def keep(self, models: Sequence[int]) -> None:
        """Go on with some of the models."""
        kept, stream_of = np.unique(self.stream_of[models], return_inverse=True)
        self.streams = [self.streams[i] for i in kept]
        self.stream_of = stream_of
        if self.dropout is not None:
            self.dropout.keep(models)
        if self.noise is not None:
            self.noise.keep(kept.tolist())
        self._set_up(*self._widths)

    def penalty_shares(self) -> Array:
        """Return the weights of the penalty in the loss, (n_models, n_batches)."""
        n_samples = self.sizes.sum(axis=1, keepdims=True)
        shares: Array = (self.sizes / (self.weight_sums * n_samples))[self.stream_of]
        return shares

    def __iter__(self) -> Iterator[Chunk]:
        for stream in self.streams:
            stream.begin_epoch()
        random_states = [stream.random_state for stream in self.streams]
        if self.dropout is not None:
            self.dropout.begin_epoch(random_states)
        if self.noise is not None:
            self.noise.begin_epoch(random_states)
        if self.is_weighted:
            sums = [s.weight_sums(self.batch_size) for s in self.streams]
            self.weight_sums = np.stack(sums)
        for start in range(0, self._longest, self._chunk_size):
            stop = min(start + self._chunk_size, self._longest)
            yield self._chunk(start, stop)

    def _chunk(self, start: int, stop: int) -> Chunk:
        size = self.batch_size
        batches = slice(start // size, -(-stop // size))
        indices = [
            s.index(start, min(stop, s.n_samples), self.device) for s in self.streams
        ]
        y = self._rows([s.y for s in self.streams], indices, start, stop)
        weights: Weights = None
        row_scale: float | Tensor = 1 / self._longest
        if self.is_weighted:
            weights = self._weights(indices, start, stop)
            row_scale = self._row_scale(batches) * weights
        elif len(self.streams) > 1:
            row_scale = self._row_scale(batches)
            weights = [*self._filled(batches)]
        masks: Masks = ()
        drawn: Drawn | None = None
        counts = [min(stop, s.n_samples) - start for s in self.streams]
        if self.dropout is not None:
            drawn = self.dropout.draw(counts, self._index)
            masks = drawn.of_hidden()
        X: Tensor | Sequence[Tensor]
        if self.streams[0].is_sparse:
            X = [*self._sparse_rows(start, stop, drawn)]
        else:
            X = self._gather([s.X for s in self.streams], indices, start, stop)
            if self.noise is not None:
                X = self.noise.of(X, counts)
            X = self._of_models(X)
            if drawn is not None:
                X = drawn.of_inputs(X)
        sums = [*self._batch_weight_sums(batches)]
        return Chunk(X, y, weights, sums, masks, row_scale, size)

    def _rows(
        self,
        sources: Sequence[Tensor],
        indices: Sequence[Tensor | None],
        start: int,
        stop: int,
    ) -> Tensor:
        """Gather the rows of a chunk, those of several streams for every model."""
        return self._of_models(self._gather(sources, indices, start, stop))

    def _of_models(self, rows: Tensor) -> Tensor:
        return rows if self._index is None else rows.index_select(0, self._index)

    @staticmethod
    def _gather(
        sources: Sequence[Tensor],
        indices: Sequence[Tensor | None],
        start: int,
        stop: int,
    ) -> Tensor:
        """Gather the rows of a chunk, of every stream."""
        if len(sources) == 1:
            return _take(sources[0], indices[0], start, stop)
        # rows that fill up a short stream are finite: zero times infinity is NaN
        out = sources[0].new_zeros(len(sources), stop - start, *sources[0].shape[1:])
        for part, source, index in zip(out, sources, indices, strict=True):
            taken = _take(source, index, start, min(stop, start + len(part)))
            part[: len(taken)] = taken
        return out

    def _weights(
        self, indices: Sequence[Tensor | None], start: int, stop: int
    ) -> Tensor:
        sources = [
            s.y.new_ones(len(s.y)) if s.weight_tensor is None else s.weight_tensor
            for s in self.streams
        ]
        return self._rows(sources, indices, start, stop)

    def _filled(self, batches: slice) -> Iterator[Tensor | None]:
        """Yield weights for the minibatches in which streams have fewer rows."""
        for sizes in self.sizes[:, batches].T:
            if (sizes == sizes[0]).all():
                yield None
                continue
            mask = np.arange(sizes.max()) < sizes[self.stream_of, None]
            yield to_tensor(mask, dtype=self.streams[0].y.dtype, device=self.device)

    def _batch_weight_sums(self, batches: slice) -> Iterator[float | Tensor]:
        if self.for_graphs and self.is_weighted:
            yield from self._weight_sum_tensors(self.weight_sums[:, batches])
            return
        if len(self.streams) == 1:
            yield from self.weight_sums[0, batches].tolist()
            return
        for sums in self.weight_sums[:, batches].T:
            if (sums == sums[0]).all():
                yield float(sums[0])
            else:
                yield to_tensor(
                    sums[self.stream_of],
                    dtype=self.streams[0].y.dtype,
                    device=self.device,
                )

    def _weight_sum_tensors(self, sums: Array) -> Iterator[Tensor]:
        """Yield a number of double precision that models share, else one for each."""
        shared = to_tensor(sums[0], device=self.device).unbind()
        each = to_tensor(
            sums[self.stream_of].T, dtype=self.streams[0].y.dtype, device=self.device
        ).unbind()
        is_shared = (sums == sums[0]).all(axis=0)
        for is_one, one, several in zip(is_shared, shared, each, strict=True):
            yield one if is_one else several

    def _row_scale(self, batches: slice) -> Tensor:
        """Return the factor from weight to loss of every row: one copy per chunk."""
        per_batch = self.penalty_shares()[:, batches]
        sizes = self.sizes[:, batches]
        longest = sizes.max(axis=0)
        scale = np.repeat(per_batch, longest, axis=1)
        if (sizes != longest).any():
            rows = np.concatenate([np.arange(n) for n in longest])
            scale *= rows < np.repeat(sizes[self.stream_of], longest, axis=1)
        if len(self.streams) == 1:
            scale = scale[0]
        return to_tensor(scale, dtype=self.streams[0].y.dtype, device=self.device)

    def _sparse_rows(
        self, start: int, stop: int, drawn: Drawn | None
    ) -> Iterator[Tensor]:
        (stream,) = self.streams
        for first in range(start, stop, self.batch_size):
            last = min(first + self.batch_size, stop)
            rows = stream.X[stream.order[first:last]]
            if drawn is not None:
                drawn.of_entries(rows, first - start)
            yield to_sparse_tensor(rows, self.device)


class _Tensors:
    """Tensors of arrays, the same one for the same array."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._made: dict[tuple[int, torch.dtype | None], tuple[Array, Tensor]] = {}

    def __call__(self, array: Array, dtype: torch.dtype | None = None) -> Tensor:
        key = id(array), dtype
        if key not in self._made:
            tensor = to_tensor(array, dtype=dtype, device=self.device)
            self._made[key] = array, tensor
        return self._made[key][1]


def stream_key(job: TrainingJob) -> Any:
    """Return a key that jobs share if they train on the same rows in the same order.

    And if they draw the same masks of dropout, and the same noise.
    """
    order: Any = None
    if job.settings.draws:
        order = state_key(job.random_state)
    rows = None if job.rows is None else job.rows.tobytes()
    columns = None
    if job.settings.input_noise is not None and job.columns is not None:
        columns = job.columns.key
    return id(job.X), id(job.y), id(job.sample_weight), rows, order, columns


def _take(source: Tensor, index: Tensor | None, start: int, stop: int) -> Tensor:
    return source[start:stop] if index is None else source.index_select(0, index)
