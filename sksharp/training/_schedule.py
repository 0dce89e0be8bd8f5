"""Learning rates over the epochs: scikit-learn's three schedules."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer

from .._contract import Settings
from ..optim import SOLVERS, solver_chain
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

    def get(self, k: int) -> float:
        """Return the learning rate of a model's next step."""
        return self._values()[k]

    def set(self, k: int, value: float) -> None:
        """Set the learning rate of a model's next step."""
        values = self._values()
        values[k] = value
        for group in self.optimizer.param_groups:
            group["lr"] = shared_or_each(values, group["params"][0])

    def _values(self) -> list[float]:
        lr = self.optimizer.param_groups[0]["lr"]
        if isinstance(lr, Tensor) and lr.ndim:
            each: list[float] = lr.tolist()
            return each
        return [float(lr)] * self.n_models


class LearningRate:
    """The learning rate of a model, and when it changes.

    Parameters
    ----------
    rates : Rates
        The optimizer's learning rates.

    settings : Settings
        The schedule, which applies to solvers over stochastic gradient descent only.

    k : int, default=0
        Which model of the optimizer's.
    """

    def __init__(self, rates: Rates, settings: Settings, k: int = 0) -> None:
        self.rates, self.k = rates, k
        self.initial = settings.learning_rate_init
        self.power_t = settings.power_t
        self.verbose = settings.verbose
        descent = solver_chain(settings.solver, settings.base_solver)[-1]
        has_schedule = SOLVERS[descent].has_schedule
        self.schedule = settings.learning_rate if has_schedule else "constant"

    @property
    def value(self) -> float:
        """The learning rate of the next step."""
        return self.rates.get(self.k)

    def set(self, value: float) -> None:
        """Set the learning rate of the next step."""
        self.rates.set(self.k, value)

    def move(self, rates: Rates, k: int) -> None:
        """Follow the model to another place of another optimizer."""
        self.rates, self.k = rates, k

    def hold(self, value: float) -> None:
        """Set the learning rate and keep it, whatever the schedule."""
        self.schedule = "constant"
        self.set(value)

    def after_epoch(self, t: int) -> None:
        """Follow 'invscaling', given the number of rows seen so far."""
        if self.schedule == "invscaling":
            self.set(self.initial / (t + 1) ** self.power_t)

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

    def _say(self, message: str) -> None:
        if self.verbose:
            print(message)
