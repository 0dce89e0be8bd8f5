"""Callbacks that know how long a training is, and the learning rate of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from skorch.callbacks import Callback

from ..options._rates import RatePlan
from ..options.schedules import LearningRateSchedule
from ._evaluation import optimizers


def groups_of(net: Any) -> list[dict[str, Any]]:
    """Return the parameter groups of all optimizers."""
    return [group for optimizer in optimizers(net) for group in optimizer.param_groups]


def steps_of(net: Any, dataset: Any, what: str) -> int:
    """Return how many minibatches a dataset has, for what needs to know."""
    iterator = net.get_iterator(dataset, training=True)
    try:
        return len(iterator)
    except TypeError:
        raise TypeError(
            f"{what} needs to know the number of minibatches of an epoch, got rows without "
            f"a length from {type(iterator).__name__}. Give the dataset a __len__."
        ) from None


class Planned(Callback):
    """Counts the epochs of a training and sets the learning rate of every step.

    A call of ``fit`` or ``partial_fit`` plans ``max_epochs`` more epochs, unless it goes
    on with a training that was cut off.
    """

    def initialize(self) -> Self:
        """Begin to count."""
        self.done_ = self.begin_ = self.end_ = 0
        # the largest rate of every group, and what was written last
        self.initial_: list[float] = []
        self.written_: list[float] = []
        self.rates_: list[Sequence[float]] = []
        self.step_ = 0
        return self

    @property
    def epochs(self) -> int:
        """Epochs of the plan."""
        return self.end_ - self.begin_

    @property
    def epoch(self) -> int:
        """Epochs of the plan that are done."""
        return self.done_ - self.begin_

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Plan the training, if it begins, and the rates of the epoch."""
        now = [float(group["lr"]) for group in groups_of(net) if "lr" in group]
        if now != self.written_:  # by the user, or at the beginning
            self.initial_ = now
        if self.done_ >= self.end_:
            self.begin_, self.end_ = self.done_, self.done_ + net.max_epochs
            self.plan(net)
        self.rates_, self.step_ = [], 0
        if self.moves_rate:
            n_steps = steps_of(net, dataset_train, "A learning rate that changes")
            self.rates_ = self.rates(now, n_steps)

    def on_batch_begin(self, net: Any, training: Any = None, **kwargs: Any) -> None:
        """Set the rate of a step."""
        if not (training and self.rates_):
            return
        for group, rates in zip(groups_of(net), self.rates_, strict=True):
            # a generator of rows may yield more batches than it has said
            group["lr"] = rates[min(self.step_, len(rates) - 1)]
        self.written_ = [group["lr"] for group in groups_of(net)]
        self.step_ += 1

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Count an epoch."""
        self.done_ += 1

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Plan anew if training goes on."""
        self.end_ = self.done_

    def plan(self, net: Any) -> None:
        """Begin a training of so many epochs."""

    @property
    def moves_rate(self) -> bool:
        """Whether the epoch that begins has rates of its own."""
        return False

    def rates(self, now: Sequence[float], n_steps: int) -> list[Sequence[float]]:
        """Return, for every group, the rates of the steps of an epoch."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Return what a training needs to go on."""
        names = ("done_", "begin_", "end_", "initial_", "written_")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the state of another training."""
        for name in Planned.state_dict(self):
            setattr(self, name, state_dict[name])


class LearningRate(Planned):
    """A schedule of the learning rate.

    Parameters
    ----------
    schedule : LearningRateSchedule
        The schedule.

    warmup : float or int
        Share of the training, or epochs, in which the rate rises.
    """

    def __init__(self, schedule: LearningRateSchedule, warmup: float = 0) -> None:
        self.schedule, self.warmup = schedule, warmup

    @property
    def moves_rate(self) -> bool:
        """Whether the epoch that begins has rates of its own."""
        return True

    def rates(self, now: Sequence[float], n_steps: int) -> list[Sequence[float]]:
        """Return, for every group, the rates of the steps of an epoch."""
        return [
            RatePlan(self.schedule, lr, self.epochs, self.warmup).rates(
                self.epoch, n_steps
            )
            for lr in self.initial_
        ]
