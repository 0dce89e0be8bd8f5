"""Learning rates as functions of the step: nothing to keep, so nothing to restore.

Importing it does not import torch.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

# torch.optim.lr_scheduler.OneCycleLR's defaults
ONECYCLE_RISE = 0.3
ONECYCLE_FIRST = 1 / 25
ONECYCLE_LAST = 1 / 25 / 1e4

# where snapshots begin: cycles from scratch, or around weights that have been trained
SNAPSHOT_STARTS = {"cosine": 0.0, "triangular": 0.8}


class Moment(NamedTuple):
    """Where in the training a step lies.

    Parameters
    ----------
    step : int
        Steps before it.

    n_steps : int
        Steps of an epoch.

    total : int
        Steps of the training, 0 if nobody knows.

    warm_up : int
        Steps of warm-up.
    """

    step: int
    n_steps: int
    total: int
    warm_up: int

    @property
    def epoch(self) -> int:
        """Epochs before the step's."""
        return self.step // self.n_steps


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step of a training.

    Parameters
    ----------
    name : str
        Key of ``SCHEDULES``, 'constant', or a key of ``CYCLES``.

    initial : float
        The largest rate.

    epochs : int or None
        Epochs that it spans, None if nobody knows.

    warmup : float or int
        Share of the training, or epochs, in which the rate rises.

    values : dict of str to float, int or tuple
        Parameters of the schedule.

    turns : tuple of int
        Epochs at which a cyclic rate turns, the first where the cycles begin.

    steps_of_epoch : int or None
        Steps that it counts as an epoch, None for those of the training's own.
    """

    name: str
    initial: float
    epochs: int | None
    warmup: float
    values: Mapping[str, Any]
    turns: tuple[int, ...] = ()
    steps_of_epoch: int | None = None

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
        n_steps = self.steps_of_epoch or n_steps
        total = 0 if self.epochs is None else self.epochs * n_steps
        if isinstance(self.warmup, int):
            warm_up = self.warmup * n_steps
        else:
            warm_up = int(self.warmup * total)
        return [
            self._at(Moment(min(step, total or step), n_steps, total, warm_up))
            for step in range(start, start + n)
        ]

    def _at(self, at: Moment) -> float:
        rate: float = _RATES[self.name](self, at)
        if at.step < at.warm_up and self.name != "onecycle":
            # no step is wasted on a rate of zero
            rate *= (at.step + 1) / (at.warm_up + 1)
        return rate


def anneal(start: float, end: float, share: float) -> float:
    """Return a point of the half cosine from ``start`` to ``end``."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _constant(schedule: Schedule, at: Moment) -> float:
    return schedule.initial


def _cosine(schedule: Schedule, at: Moment) -> float:
    return _falling(schedule, at, at.warm_up)


def _flat_cosine(schedule: Schedule, at: Moment) -> float:
    flat = int(schedule.values["lr_flat"] * at.total)
    return _falling(schedule, at, max(flat, at.warm_up))


def _falling(schedule: Schedule, at: Moment, start: int) -> float:
    if at.step < start:
        return schedule.initial
    share = (at.step - start) / max(1, at.total - start)
    return anneal(schedule.initial, schedule.values["lr_min"], share)


def _onecycle(schedule: Schedule, at: Moment) -> float:
    top = (at.warm_up or ONECYCLE_RISE * at.total) - 1
    last = at.total - 1
    step = min(at.step, last)
    highest = schedule.initial
    if step <= top:
        share = step / top if top else 1.0
        return anneal(highest * ONECYCLE_FIRST, highest, share)
    return anneal(highest, highest * ONECYCLE_LAST, (step - top) / (last - top))


def _step(schedule: Schedule, at: Moment) -> float:
    n_drops = at.epoch // schedule.values["lr_step_size"]
    return _power(schedule, n_drops)


def _multistep(schedule: Schedule, at: Moment) -> float:
    milestones = sorted(
        m if isinstance(m, int) else int(m * (schedule.epochs or 0))
        for m in schedule.values["lr_milestones"]
    )
    return _power(schedule, bisect_right(milestones, at.epoch))


def _exponential(schedule: Schedule, at: Moment) -> float:
    return _power(schedule, at.epoch)


def _power(schedule: Schedule, n: int) -> float:
    rate: float = schedule.initial * schedule.values["lr_gamma"] ** n
    return rate


def _cosine_cycles(schedule: Schedule, at: Moment) -> float:
    part, begin, end = _part(schedule, at)
    if part < 0:
        return schedule.initial
    share = (at.step - begin) / (end - begin)
    return anneal(schedule.initial, schedule.values["lr_min"], share)


def _triangles(schedule: Schedule, at: Moment) -> float:
    part, begin, end = _part(schedule, at)
    high, low = schedule.initial, schedule.values["lr_min"]
    if part < 0:
        return high
    share = (at.step + 1 - begin) / (end - begin)
    fallen = share if part % 2 == 0 else 1 - share
    rate: float = (1 - fallen) * high + fallen * low
    return rate


def _part(schedule: Schedule, at: Moment) -> tuple[int, int, int]:
    """Return which part between two turns a step is in, and where it begins and ends."""
    part = bisect_right(schedule.turns, at.epoch) - 1
    part = min(part, len(schedule.turns) - 2)
    begin = max(schedule.turns[part] * at.n_steps, at.warm_up)
    if part < 0 or at.step < begin:
        return -1, 0, 0
    return part, begin, schedule.turns[part + 1] * at.n_steps


# cycles of the learning rate at whose lowest points members are collected
CYCLES: dict[str, Callable[[Schedule, Moment], float]] = {
    "cosine": _cosine_cycles,
    "triangular": _triangles,
}


@dataclass(frozen=True)
class Kind:
    """A schedule by name.

    Parameters
    ----------
    rate : callable
        Takes a Schedule and a Moment, returns the learning rate.

    reads : tuple of str
        The estimator's parameters that it reads.

    needs_length : bool
        Whether the length of the training must be known.
    """

    rate: Callable[[Schedule, Moment], float]
    reads: tuple[str, ...] = ()
    needs_length: bool = False


SCHEDULES: dict[str, Kind] = {
    "cosine": Kind(_cosine, ("lr_min",), needs_length=True),
    "flat_cosine": Kind(_flat_cosine, ("lr_flat", "lr_min"), needs_length=True),
    "onecycle": Kind(_onecycle, needs_length=True),
    "step": Kind(_step, ("lr_step_size", "lr_gamma")),
    "multistep": Kind(_multistep, ("lr_milestones", "lr_gamma")),
    "exponential": Kind(_exponential, ("lr_gamma",)),
}

_RATES: dict[str, Callable[[Schedule, Moment], float]] = {
    "constant": _constant,
    **{name: kind.rate for name, kind in SCHEDULES.items()},
    **{f"{name} cycles": rate for name, rate in CYCLES.items()},
}

# what lr_gamma=None stands for: a drop to a tenth, or a slow decay
GAMMAS = {"step": 0.1, "multistep": 0.1, "exponential": 0.99}


def snapshot_turns(name: str, n_snapshots: int, start: int, epochs: int) -> list[int]:
    """Return the epochs at which the learning rate of snapshots turns.

    Cosine cycles fall from turn to turn. Triangles fall and rise, and end with a fall:
    the last snapshot is the end of the training.
    """
    n_parts = snapshot_parts(name, n_snapshots)
    return [start + (epochs - start) * k // n_parts for k in range(n_parts + 1)]


def snapshot_parts(name: str, n_snapshots: int) -> int:
    """Return how often the learning rate of snapshots falls or rises."""
    return n_snapshots if name == "cosine" else 2 * n_snapshots - 1


def snapshot_epochs(name: str, turns: list[int]) -> list[int]:
    """Return the epochs after which snapshots are taken, where the rate is lowest."""
    return turns[1:] if name == "cosine" else turns[1::2]


@dataclass(frozen=True)
class AveragingRate:
    """The learning rate while weights are averaged.

    Parameters
    ----------
    start : float
        Rate when averaging begins, or the highest of a cycle.

    end : float
        Rate that is held in the end, or the lowest of a cycle.

    anneal : int
        Epochs from the one to the other.

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
