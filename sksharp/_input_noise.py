"""Noise of a network's inputs: its size in every column, and draws for rows."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.special import ndtri

from ._bits import LEVELS, nearest_level, words_of
from ._numbers import near_one

Array = NDArray[Any]

# bytes of rows whose columns are measured at once: a file's may not fit into memory
BLOCK_BYTES = 2**24

# rows held out are repeated, each time with another draw, until there are so many
ENOUGH_ROWS, MOST_DRAWS = 1000, 10


@dataclass(frozen=True)
class NoiseSettings:
    """Noise of inputs.

    Parameters
    ----------
    std : float
        Standard deviation, in units of that of the column.

    missing : float
        Share of the entries that the mean of their column replaces.
    """

    std: float
    missing: float


@dataclass(frozen=True)
class Columns:
    """Mean and variance of the columns of rows.

    Parameters
    ----------
    weight : float
        Sum of the weights of the rows, or their number.

    mean, variance : array of shape (n_features,)
        Of the rows. A column that is constant has variance 0.
    """

    weight: float
    mean: Array
    variance: Array

    @classmethod
    def of(
        cls, X: Array, sample_weight: Array | None = None, before: Self | None = None
    ) -> Self:
        """Measure rows, together with those of before."""
        n_features = X.shape[1]
        columns = before or cls(0.0, np.zeros(n_features), np.zeros(n_features))
        n_rows = max(1, BLOCK_BYTES // (8 * n_features))
        for start in range(0, len(X), n_rows):
            part = slice(start, start + n_rows)
            rows = np.asarray(X[part], dtype=np.float64)
            weights = np.ones(len(rows))
            if sample_weight is not None:
                weights = np.abs(sample_weight[part])
            if weights.any():
                # a row of weight 0 may have any numbers
                is_there = weights > 0
                if not is_there.all():
                    rows, weights = rows[is_there], weights[is_there]
                columns = columns._with(rows, weights)
        return columns

    def _with(self, rows: Array, weights: Array) -> Self:
        # around a row: a constant column has no rounding errors
        of_rows, origin = weights.sum(), rows[0]
        with np.errstate(over="ignore", invalid="ignore"):
            weights, unit = near_one(weights)
            mean = weights @ (rows - origin) / (of_rows / unit)
            variance = weights @ (rows - origin - mean) ** 2 / (of_rows / unit)
            if not self.weight:
                return type(self)(float(of_rows), origin + mean, variance)
            total = self.weight + of_rows
            share, delta = of_rows / total, origin + mean - self.mean
            variance = (1 - share) * self.variance + share * variance
            variance += share * (1 - share) * delta**2
        return type(self)(float(total), self.mean + share * delta, variance)

    @property
    def key(self) -> tuple[Any, ...]:
        """A key that equal ones share."""
        return self.weight, self.mean.tobytes(), self.variance.tobytes()

    @property
    def spread(self) -> Array:
        """Standard deviations of the columns."""
        spread: Array = np.sqrt(self.variance)
        return spread


class Draws:
    """Turns random numbers of sixteen bits into noise of rows.

    A row has as many words as its columns need, in the order of the rows: its noise does
    not depend on how many rows are drawn at once.

    Parameters
    ----------
    noise : NoiseSettings
        Its strengths.

    columns : Columns
        Of the rows of the training.

    dtype : dtype
        Of the rows.
    """

    def __init__(
        self, noise: NoiseSettings, columns: Columns, dtype: DTypeLike
    ) -> None:
        self.mean = columns.mean.astype(dtype)
        self.scale = (noise.std * columns.spread).astype(dtype)
        self._quantiles = normal_quantiles(self.scale.dtype.str)
        self.n_features = len(self.mean)
        self.n_replaced = nearest_level(noise.missing)
        self.has_noise = noise.std > 0
        n_kinds = self.has_noise + (self.n_replaced > 0)
        self.n_words = words_of(n_kinds * self.n_features)

    def draw(self, generator: Any, n_rows: int) -> tuple[Array | None, Array | None]:
        """Return what is added to rows, and which entries their means replace.

        Both have the shape (n_rows, n_features), or are None if there is nothing.
        """
        words = generator.random_raw(n_rows * self.n_words)
        bits = words.reshape(n_rows, self.n_words).view(np.uint16)
        added = replaced = None
        if self.has_noise:
            added = self._quantiles.take(bits[:, : self.n_features])
            added *= self.scale
            bits = bits[:, self.n_features :]
        if self.n_replaced:
            # not below their number, which sixteen bits may not hold
            last = np.uint16(self.n_replaced - 1)
            replaced = bits[:, : self.n_features] <= last
        return added, replaced


@functools.cache
def normal_quantiles(dtype: str) -> Array:
    """Return as many equally likely values as there are levels, of variance 1.

    They are the normal distribution's, in the middle of every level. Looking them up is
    several times as fast as numpy's normal numbers.
    """
    values = ndtri((np.arange(LEVELS) + 0.5) / LEVELS)
    values /= np.sqrt(np.mean(values**2))
    quantiles: Array = values.astype(dtype)
    return quantiles


@dataclass(frozen=True)
class HeldOutNoise:
    """The noise of rows that judge networks, the same in all epochs.

    Parameters
    ----------
    settings : NoiseSettings
        Its strengths.

    columns : Columns
        Of the rows of the training.

    seed : tuple of int
        Seed of the draws.
    """

    settings: NoiseSettings
    columns: Columns
    seed: tuple[int, ...]

    def of(self, X: Array) -> Array:
        """Return rows with noise, repeated as by :meth:`repeat`."""
        draws = Draws(self.settings, self.columns, X.dtype)
        noisy = self.repeat(X)
        generator = np.random.SFC64(self.seed)
        added, replaced = draws.draw(generator, len(noisy))
        if added is not None:
            noisy += added
        if replaced is not None:
            noisy = np.where(replaced, draws.mean, noisy)
        return noisy

    @staticmethod
    def repeat(array: Array) -> Array:
        """Return values of rows, once for every draw: all rows, and all rows again."""
        n_draws = n_draws_of(len(array))
        repeated: Array = np.concatenate([array] * n_draws)
        return repeated


def n_draws_of(n_rows: int) -> int:
    """Return how often rows that are held out are repeated."""
    return min(MOST_DRAWS, max(1, round(ENOUGH_ROWS / n_rows)))
