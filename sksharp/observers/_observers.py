"""Observers of a fit or a search: scikit-learn's callbacks and the progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .._jobs import Observer, TrainingJob, TrainingResult
from ._bar import current_display
from ._sklearn_callbacks import FitTasks, SearchTasks, has_callbacks

Groups = Sequence[Sequence[TrainingJob]]  # jobs that train together


class FitObserver(Observer, Protocol):
    """An observer of whole fits, of which a training is a part."""

    def begin_fit(self) -> None:
        """Call when a fit begins that reports no training, such as one by 'lbfgs'."""

    def begin_choice(self, n_rungs: int, n_parts: int) -> None:
        """Call when the choice of a radius begins, in a fit of one part or two."""

    def end_choice(self) -> None:
        """Call when the radius is chosen."""

    def expect_no_more(self) -> None:
        """Call when the next training of a search is its only one."""

    def finish(self) -> None:
        """Call when the fit has succeeded."""

    def close(self) -> None:
        """Call when the fit is over, also if it has failed."""


class Observers:
    """Several observers as one; each event goes to all of them, in order.

    Parameters
    ----------
    *observers : FitTasks, SearchTasks or Bar
        The observers.

    Attributes
    ----------
    error : Exception or None
        What one of them has raised.
    """

    def __init__(self, *observers: FitObserver) -> None:
        self._observers = observers
        self.error: Exception | None = None

    def __reduce__(self) -> Any:
        # an estimator that is sent to another process goes without
        return Observers, ()

    def __bool__(self) -> bool:
        return bool(self._observers)

    def _call(self, event: str, *args: Any, **kwargs: Any) -> list[Any]:
        try:
            return [getattr(each, event)(*args, **kwargs) for each in self._observers]
        except Exception as error:
            self.error = error
            raise

    def begin_fit(self) -> None:
        """Call when a fit begins that reports no training, such as one by 'lbfgs'."""
        self._call("begin_fit")

    def begin_choice(self, n_rungs: int, n_parts: int) -> None:
        """Call when the choice of a radius begins, in a fit of one part or two."""
        self._call("begin_choice", n_rungs, n_parts)

    def end_choice(self) -> None:
        """Call when the radius is chosen."""
        self._call("end_choice")

    def expect_no_more(self) -> None:
        """Call when the next training of a search is its only one."""
        self._call("expect_no_more")

    def begin_training(self, groups: Groups) -> None:
        """Call with the jobs that will train together, group after group."""
        self._call("begin_training", groups)

    def begin_epoch(self, result_now: Callable[[], TrainingResult]) -> None:
        """Call when an epoch begins."""
        self._call("begin_epoch", result_now)

    def end_epoch(self, result_now: Callable[[], TrainingResult]) -> bool:
        """Call when an epoch has ended; return whether to stop."""
        return any(self._call("end_epoch", result_now))

    def end_group(self) -> None:
        """Call when a group is trained."""
        self._call("end_group")

    def end_training(self, *, is_interrupted: bool) -> None:
        """Call when all groups are trained, or the user has interrupted one."""
        self._call("end_training", is_interrupted=is_interrupted)

    def finish(self) -> None:
        """Call when the fit has succeeded."""
        self._call("finish")

    def close(self) -> None:
        """Call when the fit is over, also if it has failed."""
        for observer in self._observers:
            observer.close()


def fit_observers(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Observers:
    """Return the observers of a fit."""
    observers = _bars(estimator)
    if has_callbacks(estimator):
        observers.append(FitTasks(estimator, X, y, sample_weight))
    return Observers(*observers)


def search_observers(search: Any, context: Any) -> Observers:
    """Return the observers of the common training of a search."""
    observers = _bars(search)
    if context is not None and has_callbacks(search):
        observers.append(SearchTasks(search, context))
    return Observers(*observers)


def _bars(estimator: Any) -> list[FitObserver]:
    display = current_display()
    return [] if display is None else [display.bar(type(estimator).__name__)]
