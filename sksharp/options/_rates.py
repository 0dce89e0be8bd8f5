"""The learning rate of every step: what the engine is given of a schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class StepInfo(NamedTuple):
    """Position of a step in the training.

    Parameters
    ----------
    step : int
        Steps before it.

    n_steps : int
        Steps of an epoch.

    epochs : int
        Epochs of the training, 0 if unknown.

    warmup : int
        Steps of warm-up.
    """

    step: int
    n_steps: int
    epochs: int
    warmup: int

    @property
    def epoch(self) -> int:
        """Epochs before the step's."""
        return self.step // self.n_steps

    @property
    def total(self) -> int:
        """Steps of the training, 0 if unknown."""
        return self.epochs * self.n_steps


class Schedule(Protocol):
    """What has a rate for every step.

    Attributes
    ----------
    warms_up : bool
        Whether :meth:`rate` contains the warm-up.
    """

    warms_up: bool

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step, given the largest one."""


def anneal(start: float, end: float, share: float) -> float:
    """Return a point of the half cosine from ``start`` to ``end``."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class RatePlan:
    """The learning rate of every step of a training.

    Parameters
    ----------
    schedule : Schedule
        The schedule, with Python scalars.

    initial : float
        The largest rate.

    epochs : int or None
        Epochs that it spans, None if unknown.

    warmup : float or int
        Share of the training, or epochs, in which the rate rises.
    """

    schedule: Schedule
    initial: float
    epochs: int | None
    warmup: float

    def rate(self, epoch: int, n_steps: int, i: int = 0) -> float:
        """Return the learning rate of a step.

        Parameters
        ----------
        epoch : int
            Epochs before the step's.

        n_steps : int
            Steps of an epoch.

        i : int, default=0
            Steps before it in its epoch.
        """
        return self._rates(epoch * n_steps + i, 1, n_steps)[0]

    def rates(self, epoch: int, n_steps: int) -> list[float]:
        """Return the learning rates of all steps of an epoch."""
        return self._rates(epoch * n_steps, n_steps, n_steps)

    def _rates(self, start: int, n: int, n_steps: int) -> list[float]:
        epochs = self.epochs or 0
        total = epochs * n_steps
        if isinstance(self.warmup, int):
            warmup = self.warmup * n_steps
        else:
            warmup = int(self.warmup * total)
        return [
            self._at(StepInfo(min(step, total or step), n_steps, epochs, warmup))
            for step in range(start, start + n)
        ]

    def _at(self, at: StepInfo) -> float:
        rate = self.schedule.rate(self.initial, at)
        if at.step < at.warmup and not self.schedule.warms_up:
            # no step is wasted on a rate of zero
            rate *= (at.step + 1) / (at.warmup + 1)
        return rate


@dataclass(frozen=True)
class AveragingRate:
    """The learning rate while weights are averaged.

    Parameters
    ----------
    start : float
        Rate when averaging begins, or the highest of a cycle.

    end : float
        Final rate, or the lowest of a cycle.

    anneal : int
        Epochs of the transition from one to the other.

    strategy : str
        'cosine' or 'linear'.

    cycle : int or None
        Epochs of a cycle, None for no cycles.
    """

    start: float
    end: float
    anneal: int = 0
    strategy: str = "cosine"
    cycle: int | None = None

    def rates(self, epoch: int, n_steps: int) -> list[float]:
        """Return the learning rates of all steps of an epoch of the averaging."""
        if self.cycle is None:
            return [self._annealed(epoch)] * n_steps
        length = self.cycle * n_steps
        shares = [((epoch * n_steps + i) % length + 1) / length for i in range(n_steps)]
        return [(1 - share) * self.start + share * self.end for share in shares]

    def _annealed(self, epoch: int) -> float:
        share = min(1.0, (epoch + 1) / max(1, self.anneal))
        if self.strategy == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.end * share + self.start * (1 - share)
