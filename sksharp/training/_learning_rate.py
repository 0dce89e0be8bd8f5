"""Learning rates over the epochs: scikit-learn's three schedules, and others by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from .._jobs import Settings
from ..optim._models import Hyperparameter
from ..optim._tape import advance
from ..options.solvers import SOLVERS
from ._bridge import to_device
from ._values import shared_or_each

SMALLEST_ADAPTIVE_RATE = 1e-6


class Rates:
    """The learning rates that an optimizer's groups hold, one per model.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its groups share one learning rate, a float or a Tensor of shape (n_models,).

    n_models : int
        Number of models.
    """

    def __init__(self, optimizer: Optimizer, n_models: int) -> None:
        self.optimizer = optimizer
        self.n_models = n_models
        # the tensor that was written last, and its values: reading them would wait for
        # the device
        self._written: Hyperparameter | None = None
        self._each: list[float] = []

    def get(self, k: int) -> float:
        """Return the learning rate of a model's next step."""
        return self._values()[k]

    def set(self, k: int, value: float) -> None:
        """Set the learning rate of a model's next step."""
        values = self._values()
        values[k] = value
        self._write_all(values)

    def take(self, lrs: Sequence[Hyperparameter], i: int) -> None:
        """Set the learning rate of the next step, one of those that were planned."""
        for group in self.optimizer.param_groups:
            advance(group, "lr", lrs.__getitem__, i)

    def plan(
        self, each: Sequence[Sequence[float] | None]
    ) -> Sequence[Hyperparameter] | None:
        """Return what to write before every step of an epoch.

        Parameters
        ----------
        each : sequence of (sequence of float or None)
            The rates of every model's steps, None for a model whose rate does not change.

        Returns
        -------
        lrs : sequence of float or of Tensor of shape (n_models,), or None
            One per step. None if no rate changes within the epoch; it is then written.
        """
        moving = next((rates for rates in each if rates is not None), None)
        if moving is None:
            return None
        columns = [
            [value] * len(moving) if rates is None else rates
            for rates, value in zip(each, self._values(), strict=True)
        ]
        if all(min(column) == max(column) for column in columns):
            self._write_all([column[0] for column in columns])
            return None
        lrs: Sequence[Hyperparameter] = columns[0]
        if any(column != columns[0] for column in columns):
            # one copy to the device for all steps
            like = self.optimizer.param_groups[0]["params"][0]
            rows = list(zip(*columns, strict=True))
            lrs = to_device(torch.tensor(rows, dtype=like.dtype), like.device).unbind()
        # no rate is read before the epoch ends
        self._remember(lrs[-1], [column[-1] for column in columns])
        return lrs

    def _write_all(self, values: list[float]) -> None:
        lr = shared_or_each(values, self.optimizer.param_groups[0]["params"][0])
        self._remember(lr, values)
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def _remember(self, lr: Hyperparameter, values: list[float]) -> None:
        if isinstance(lr, Tensor) and lr.dtype == torch.float32:
            # the values as read from the tensor, which a resumed training reads
            values = np.asarray(values, dtype=np.float32).tolist()
        self._written, self._each = lr, values

    def _values(self) -> list[float]:
        lr = self.optimizer.param_groups[0]["lr"]
        if not isinstance(lr, Tensor) or not lr.ndim:
            return [float(lr)] * self.n_models
        if lr is not self._written:
            self._written, self._each = lr, lr.tolist()
        return list(self._each)


class LearningRate:
    """The learning rate of a model, and when it changes.

    Parameters
    ----------
    rates : Rates
        The optimizer's learning rates.

    settings : Settings
        The schedule. scikit-learn's apply to solvers over stochastic gradient descent
        only, the others to all.

    k : int, default=0
        Which model of the optimizer's.

    n_steps : int, default=1
        Steps of an epoch.
    """

    def __init__(
        self, rates: Rates, settings: Settings, k: int = 0, n_steps: int = 1
    ) -> None:
        self.rates, self.k, self.n_steps = rates, k, n_steps
        self.curve = settings.schedule
        self.initial = settings.learning_rate_init
        self.power_t = settings.power_t
        self._say = settings.say
        has_schedule = SOLVERS[settings.chain[-1]].has_schedule
        self.schedule = settings.learning_rate if has_schedule else "constant"

    @property
    def value(self) -> float:
        """The learning rate of the next step."""
        return self.rates.get(self.k)

    def set(self, value: float) -> None:
        """Set the learning rate of the next step."""
        self.rates.set(self.k, value)

    def move(self, rates: Rates, k: int) -> None:
        """Follow the model to an index of another optimizer."""
        self.rates, self.k = rates, k

    def hold(self, value: float) -> None:
        """Set the learning rate and keep it, whatever the schedule."""
        self.schedule, self.curve = "constant", None
        self.set(value)

    def of_epoch(self, epoch: int) -> list[float] | None:
        """Return the rate of every step of an epoch, None if it does not change."""
        return None if self.curve is None else self.curve.rates(epoch, self.n_steps)

    def at_epoch(self, epoch: int) -> float:
        """Return the rate of the first step of the epoch that comes next."""
        return (
            self.value if self.curve is None else self.curve.rate(epoch, self.n_steps)
        )

    def after_epoch(self, t: int) -> None:
        """Follow 'invscaling', given the number of rows seen so far."""
        if self.schedule == "invscaling":
            try:
                self.set(self.initial / (t + 1) ** self.power_t)
            except OverflowError:
                self.set(0.0)  # what is left of a rate over infinity

    def stops(self, message: str) -> bool:
        """Decide whether a stalled training stops or, if 'adaptive', slows down."""
        if self.schedule != "adaptive":
            self._say(message + " Stopping.")
            return True
        if self.value <= SMALLEST_ADAPTIVE_RATE:
            self._say(message + " Learning rate too small. Stopping.")
            return True
        self.set(self.value / 5.0)
        self._say(message + f" Setting learning rate to {self.value:f}")
        return False
