"""Learning rates over the epochs: scikit-learn's three schedules."""

from __future__ import annotations

from torch.optim import Optimizer

from .._contract import Settings
from ..optim import SOLVERS, solver_chain

SMALLEST_ADAPTIVE_RATE = 1e-6


class LearningRate:
    """The learning rate of an optimizer, and when it changes.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its groups share one learning rate.

    settings : Settings
        The schedule, which applies to solvers over stochastic gradient descent only.
    """

    def __init__(self, optimizer: Optimizer, settings: Settings) -> None:
        self.optimizer = optimizer
        self.initial = settings.learning_rate_init
        self.power_t = settings.power_t
        self.verbose = settings.verbose
        descent = solver_chain(settings.solver, settings.base_solver)[-1]
        has_schedule = SOLVERS[descent].has_schedule
        self.schedule = settings.learning_rate if has_schedule else "constant"

    @property
    def value(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set(self, value: float) -> None:
        """Set the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = value

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
