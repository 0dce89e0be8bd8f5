"""Noise of the inputs that a step sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._bits import generator_of_epoch
from .._input_noise import Draws
from .._jobs import Array, TrainingJob
from ._bridge import to_tensor


class InputNoise:
    """Draws the noise of minibatches, the same one for a model alone and among many.

    A row takes as many words of its stream's generator as its columns need, in the order
    of training. All gradients of a step are at the same noisy rows.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        One per stream of rows.

    device : torch.device
        Where the rows lie. The numbers are drawn on the CPU, the same ones for every
        device.
    """

    def __init__(self, jobs: Sequence[TrainingJob], device: torch.device) -> None:
        self.device = device
        self._draws: list[Draws] = []
        for job in jobs:
            noise, columns = job.settings.input_noise, job.columns
            assert noise is not None
            assert columns is not None
            dtype = job.weights.coefs[0].dtype
            self._draws.append(Draws(noise, columns, dtype))
        self._generators: list[Any] = []
        self._set_up()

    def _set_up(self) -> None:
        means = np.stack([draws.mean for draws in self._draws])
        self._means = to_tensor(means, device=self.device)
        if len(self._draws) > 1:
            self._means = self._means.unsqueeze(-2)

    def keep(self, streams: Sequence[int]) -> None:
        """Go on with some of the streams."""
        self._draws = [self._draws[i] for i in streams]
        self._set_up()

    def begin_epoch(self, random_states: Sequence[np.random.RandomState]) -> None:
        """Draw seeds of the noise of an epoch, from the random states of the streams."""
        self._generators = [generator_of_epoch(r) for r in random_states]

    def of(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the rows that come next with noise.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_features) or (n_streams, n_rows, n_features)
            Rows, without an axis of the streams if there is one.

        counts : sequence of int
            How many of them every stream has.
        """
        parts = [
            draws.draw(generator, count)
            for draws, generator, count in zip(
                self._draws, self._generators, counts, strict=True
            )
        ]
        added, replaced = (
            self._stacked(part, rows) for part in zip(*parts, strict=True)
        )
        if added is not None:
            rows = rows + added
        if replaced is not None:
            rows = torch.where(replaced, self._means, rows)
        return rows

    def _stacked(self, parts: Sequence[Array | None], rows: Tensor) -> Tensor | None:
        """Return arrays of the streams as a tensor, zero for rows that one lacks."""
        first = parts[0]
        if first is None:
            return None
        if len(parts) > 1:
            whole = np.zeros(rows.shape, dtype=first.dtype)
            for out, part in zip(whole, parts, strict=True):
                out[: len(part)] = part  # type: ignore[arg-type]
            first = whole
        return to_tensor(first, device=self.device)
