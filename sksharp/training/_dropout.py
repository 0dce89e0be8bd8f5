"""Dropout: masks of the inputs and hidden units that a step leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .._bits import (
    BITS,
    LEVELS,
    PER_WORD,
    generator_of_epoch,
    nearest_level,
    words_of,
)
from .._jobs import Array, TrainingJob
from ..optim._models import Hyperparameter
from ._bridge import to_dtype, to_tensor

# one per hidden layer, None where nothing is left out
Masks: TypeAlias = tuple[Tensor | None, ...]

# A unit draws 16 bits. A share is the nearest of their levels, and what is kept is
# multiplied by one over what they leave.

# of SplitMix64: https://prng.di.unimi.it/splitmix64.c
GAMMA = np.uint64(0x9E3779B97F4A7C15)
MULTIPLIERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


@dataclass(frozen=True)
class _Layer:
    """A hidden layer with dropout.

    Parameters
    ----------
    columns : slice
        Its numbers among those of a row.

    lowest : int or Tensor of int16 of shape (n_models, 1, 1)
        The lowest number of a unit that is kept.

    scale : float or Tensor of shape (n_models, 1, 1)
        What a unit that is kept is multiplied by.
    """

    columns: slice
    lowest: int | Tensor
    scale: Hyperparameter


class Dropout:
    """Draws the masks of minibatches, the same ones for a model alone and among many.

    A row takes as many words of its stream's generator as its units need, in the order
    of training: its masks depend neither on how many rows are drawn at once nor on what
    else is trained. The inputs of a row take one word, of which a hash makes a number for
    every column: of sparse rows, for those that are stored.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        One per model. They have dropout in the same layers, and the same share of the
        inputs.

    device : torch.device
        Where the masks are made. Their numbers are drawn on the CPU, the same ones for
        every device.
    """

    def __init__(self, jobs: Sequence[TrainingJob], device: torch.device) -> None:
        self.device, self.shares = device, [job.settings.dropout for job in jobs]
        self._n_inputs, *self._hidden = jobs[0].layer_units[:-1]
        self.array_dtype = jobs[0].weights.coefs[0].dtype
        self.dtype = to_dtype(self.array_dtype)
        self._generators: list[Any] = []
        self._set_up()

    def _set_up(self) -> None:
        share = self.shares[0][0]
        self.has_inputs = share > 0
        self._n_dropped, self._input_scale = _levels(share)
        columns = np.arange(1, self._n_inputs + 1, dtype=np.uint64)
        self._offsets = columns * GAMMA
        self._layers: list[_Layer | None] = []
        end = start = PER_WORD * self.has_inputs  # after the word of the inputs
        for layer, width in enumerate(self._hidden, start=1):
            shares = [shares[layer] for shares in self.shares]
            if not shares[0]:
                self._layers.append(None)
                continue
            self._layers.append(self._layer(slice(end, end + width), shares))
            end += width
        self.n_units = end - start
        self.n_words = words_of(end)

    def _layer(self, columns: slice, shares: Sequence[float]) -> _Layer:
        n_dropped, scales = zip(*map(_levels, shares), strict=True)
        # numbers are read as signed ones, which torch compares
        lowest = [n - LEVELS // 2 for n in n_dropped]
        if len(set(lowest)) == 1:
            return _Layer(columns, lowest[0], scales[0])
        each = torch.tensor(lowest, dtype=torch.int16, device=self.device)
        scale = torch.tensor(scales, dtype=self.dtype, device=self.device)
        return _Layer(columns, each.view(-1, 1, 1), scale.view(-1, 1, 1))

    @property
    def differs(self) -> bool:
        """Whether models have shares of their own."""
        return any(shares != self.shares[0] for shares in self.shares)

    def keep(self, models: Sequence[int]) -> None:
        """Go on with some of the models."""
        self.shares = [self.shares[k] for k in models]
        self._set_up()

    def begin_epoch(self, random_states: Sequence[np.random.RandomState]) -> None:
        """Draw seeds of the masks of an epoch, from the random states of the streams."""
        self._generators = [generator_of_epoch(r) for r in random_states]

    def draw(self, counts: Sequence[int], index: Tensor | None) -> Drawn:
        """Draw for the rows that come next.

        Parameters
        ----------
        counts : sequence of int
            Rows of every stream.

        index : Tensor of int of shape (n_models,) or None
            As of :class:`Drawn`.
        """
        parts = [
            generator.random_raw(count * self.n_words).reshape(count, self.n_words)
            for generator, count in zip(self._generators, counts, strict=True)
        ]
        words: Array = parts[0]
        if len(parts) > 1:
            words = np.zeros((len(parts), max(counts), self.n_words), dtype=np.uint64)
            for out, part in zip(words, parts, strict=True):
                out[: len(part)] = part
        return Drawn(self, words, index)

    def hidden_masks(self, bits: Tensor) -> list[Tensor | None]:
        """Return the masks of the hidden layers, given the numbers of rows."""
        return [
            None if layer is None else self._mask(bits[..., layer.columns], layer)
            for layer in self._layers
        ]

    def _mask(self, bits: Tensor, layer: _Layer) -> Tensor:
        # into int16: truth values take torch eight times as long
        if isinstance(layer.lowest, Tensor):
            kept = bits.new_empty(len(layer.lowest), *bits.shape[-2:])
            torch.ge(bits, layer.lowest, out=kept)
        else:
            kept = bits.ge_(layer.lowest)
        return kept.to(self.dtype).mul_(layer.scale)

    def input_mask(self, keys: Array, columns: Any = slice(None)) -> Array:
        """Return the masks of entries of rows.

        Parameters
        ----------
        keys : array of uint64 of shape (..., n_rows, 1) or (n_entries,)
            Words of the rows, or of the row of every entry.

        columns : array of int of shape (n_entries,), default=slice(None)
            Columns of the entries, by default all of every row.
        """
        # SplitMix64 seeded by the word of a row, at the place of the column
        numbers = keys + self._offsets[columns]
        *shifts, last = SHIFTS
        for shift, multiplier in zip(shifts, MULTIPLIERS, strict=True):
            numbers ^= numbers >> shift
            numbers *= multiplier
        numbers ^= numbers >> last
        kept = (numbers >> np.uint64(64 - BITS)) >= np.uint64(self._n_dropped)
        mask: Array = np.multiply(kept, self._input_scale, dtype=self.array_dtype)
        return mask


@dataclass(frozen=True)
class Drawn:
    """What was drawn for consecutive rows.

    Parameters
    ----------
    dropout : Dropout
        What drew it.

    words : array of uint64 of shape (n_rows, n_words) or (n_streams, n_rows, n_words)
        Words of the rows, zero for those that a stream lacks. Without an axis of the
        streams if there is one.

    index : Tensor of int of shape (n_models,) or None
        The stream of every model, None to keep the axis of the streams.
    """

    dropout: Dropout
    words: Array
    index: Tensor | None

    def of_hidden(self) -> Masks:
        """Return the masks of the hidden layers.

        They are 0 for a unit that is left out, and for the others one over the share of
        those that are kept.
        """
        if not self.dropout.n_units:
            return ()
        bits = self._of_models(self.words.view(np.int16))
        return tuple(self.dropout.hidden_masks(bits))

    def of_inputs(self, X: Tensor) -> Tensor:
        """Return dense rows without what is left out of them."""
        if not self.dropout.has_inputs:
            return X
        return X * self._of_models(self.dropout.input_mask(self.words[..., :1]))

    def of_entries(self, rows: Any, first: int) -> None:
        """Leave entries of sparse rows out, in place.

        Parameters
        ----------
        rows : sparse array of shape (n_rows, n_features)
            Rows in CSR format.

        first : int
            The place of the first among those that this was drawn for.
        """
        if self.dropout.has_inputs:
            words = self.words[first : first + rows.shape[0], 0]
            keys = np.repeat(words, np.diff(rows.indptr))
            rows.data *= self.dropout.input_mask(keys, rows.indices)

    def _of_models(self, array: Array) -> Tensor:
        tensor = to_tensor(array, device=self.dropout.device)
        return tensor if self.index is None else tensor.index_select(0, self.index)


def _levels(share: float) -> tuple[int, float]:
    """Return how many levels a share takes, and what scales what is kept."""
    n_dropped = min(nearest_level(share), LEVELS - 1)
    return n_dropped, LEVELS / (LEVELS - n_dropped)
