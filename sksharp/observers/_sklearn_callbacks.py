"""scikit-learn's callbacks: the tasks of a fit that they are called for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import sklearn

from .._jobs import TrainingJob, TrainingResult

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
except ImportError:  # scikit-learn 1.8 and older

    class CallbackSupport:  # type: ignore[no-redef]
        """Mixin of the estimators whose ``set_callbacks`` names the version to install."""

        @property
        def set_callbacks(self) -> None:
            """Raise AttributeError, so that ``hasattr`` is False."""
            raise AttributeError(
                "set_callbacks needs scikit-learn 1.9 or newer, got scikit-learn "
                f"{sklearn.__version__}. Upgrade it. With any version sksharp.progress() "
                "shows how far a fit is, and the parameter callbacks takes skorch's."
            )


# attributes that scikit-learn removes when a fit is over, also one that failed
OF_A_FIT = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")


def has_callbacks(estimator: Any) -> bool:
    """Return whether scikit-learn's callbacks are set on an estimator."""
    return "_skl_callbacks" in vars(estimator)


def silence(estimator: Any) -> None:
    """Remove the callbacks of an estimator and of those inside it."""
    for part in (estimator, *estimator.get_params().values()):
        getattr(part, "__dict__", {}).pop("_skl_callbacks", None)


class Tasks:
    """Tasks of an estimator, each inside the one that has begun before it.

    Parameters
    ----------
    estimator : estimator
        The one that fits.

    context : CallbackContext or None
        Its outermost task if that has begun.

    **data : dict
        Arguments of the callbacks: ``X``, ``y`` and ``metadata``.

    Attributes
    ----------
    error : None
        What it raises, :class:`Observers` keeps.
    """

    error: Exception | None = None

    def __init__(self, estimator: Any, context: Any = None, **data: Any) -> None:
        self.estimator, self._data = estimator, data
        self._contexts = [] if context is None else [context]
        self._groups: list[Sequence[TrainingJob]] = []
        self._depth = 0

    def begin(
        self, name: str, max_subtasks: int | None = 0, fitted: Any = None
    ) -> None:
        """Begin a task; ``fitted`` returns the attributes of a fit that would end now."""
        if self._contexts:
            context = self._contexts[-1].subcontext(name, max_subtasks=max_subtasks)
        else:
            context = self.estimator._init_callback_context(max_subtasks=max_subtasks)
        self._contexts.append(context)
        context.call_on_fit_task_begin(
            estimator=self.estimator, reconstruction_attributes=fitted, **self._data
        )

    def end(self, fitted: Any = None) -> bool:
        """End the innermost task; return whether a callback asks to stop."""
        is_stopped: bool = self._contexts.pop().call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=fitted, **self._data
        )
        return is_stopped

    def begin_fit(self) -> None:
        """Do nothing: the task of the fit has begun, or begins with the training."""

    def begin_choice(self, n_rungs: int, n_parts: int) -> None:
        """Do nothing: a search chooses no radius."""

    def end_choice(self) -> None:
        """Do nothing: a search chooses no radius."""

    def expect_no_more(self) -> None:
        """Do nothing: a fit has one training."""

    def begin_groups(self, groups: Sequence[Sequence[TrainingJob]]) -> None:
        """Begin the task of the first of several groups of jobs."""
        self._groups, self._depth = list(groups), len(self._contexts)
        self._begin_group()

    def _begin_group(self) -> None:
        if self._groups:
            group = self._groups.pop(0)
            self.begin("train-group", max(job.epochs_to_come for job in group))

    def begin_epoch(self, result_now: Callable[[], TrainingResult]) -> None:
        """Begin an epoch of the innermost task."""
        self.begin("epoch", fitted=self.fitted(result_now))

    def end_epoch(self, result_now: Callable[[], TrainingResult]) -> bool:
        """End it; return whether to stop."""
        return self.end(fitted=self.fitted(result_now))

    def end_group(self) -> None:
        """End the task of a group and begin the next."""
        self.end_until(self._depth)
        self._begin_group()

    def end_until(self, depth: int) -> None:
        """End tasks until ``depth`` of them are left."""
        # training may have stopped within an epoch
        while len(self._contexts) > depth:
            self.end()

    def fitted(self, result_now: Callable[[], TrainingResult]) -> Any:
        """Return a function that returns fitted attributes, None where there is none."""
        return None

    def close(self) -> None:
        """Do nothing: scikit-learn calls the callbacks at the end."""


class FitTasks(Tasks):
    """Tasks of the fit of an estimator.

    The subtasks of the fit of one network are its epochs; after the choice of a radius
    they are in a task of their own. Several networks train in groups, which have epochs.

    Parameters
    ----------
    estimator : estimator
        The one that fits.

    X, y : array-like
        Its data.

    sample_weight : array-like or None
        Weights of the rows.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        super().__init__(estimator, X=X, y=y, metadata=metadata)
        self._is_choosing = self._is_alone = False

    def begin_fit(self) -> None:
        """Begin a fit without subtasks."""
        self.begin("fit")

    def begin_choice(self, n_rungs: int, n_parts: int) -> None:
        """Begin the choice of a radius."""
        self.begin("fit", n_parts)
        self.begin("choose-rho", n_rungs)
        self._is_choosing = True

    def end_choice(self) -> None:
        """End the choice."""
        self.end()
        self._is_choosing = False

    def begin_training(self, groups: Sequence[Sequence[TrainingJob]]) -> None:
        """Begin the training of groups of jobs."""
        # finish ends the task of the fit
        self._left = max(1, len(self._contexts))
        n_jobs = sum(map(len, groups))
        self._is_alone = n_jobs == 1 and not self._is_choosing
        if self._is_alone:
            name = "fit-with-chosen-rho" if self._contexts else "fit"
            self.begin(name, groups[0][0].epochs_to_come)
            self._groups, self._depth = [], len(self._contexts)
        else:
            self.begin("rung" if self._is_choosing else "fit", len(groups))
            self.begin_groups(groups)

    def end_training(self, *, is_interrupted: bool) -> None:
        """End the tasks of the training."""
        self._is_alone = False
        self.end_until(self._left)

    def fitted(self, result_now: Callable[[], TrainingResult]) -> Any:
        """Return a function that returns fitted attributes, None for several networks."""
        if not self._is_alone:
            return None
        return lambda: attributes_of(self.estimator, result_now())

    def finish(self) -> None:
        """End the task of the fit."""
        if not self._contexts:  # a search has trained it before
            self.begin("fit")
        self.end(fitted={})


class SearchTasks(Tasks):
    """The common training within the tasks of a search.

    Parameters
    ----------
    search : estimator
        The search.

    context : CallbackContext
        Its outermost task.
    """

    def __init__(self, search: Any, context: Any) -> None:
        super().__init__(search, context)
        self._is_only_training = False

    def expect_no_more(self) -> None:
        """Set the number of subtasks, which is that of the next training."""
        self._is_only_training = True

    def begin_training(self, groups: Sequence[Sequence[TrainingJob]]) -> None:
        """Begin the training of groups of networks."""
        if len(self._contexts) == 1:
            n_groups = len(groups) if self._is_only_training else None
            self.begin("train-networks", n_groups)
        self.begin_groups(groups)

    def end_training(self, *, is_interrupted: bool) -> None:
        """Do nothing: another training may follow."""

    def finish(self) -> None:
        """End the common training."""
        self.end_until(1)


def attributes_of(estimator: Any, result: TrainingResult) -> dict[str, Any] | None:
    """Return the fitted attributes that a result leads to, None unless it is finite.

    Parameters
    ----------
    estimator : estimator
        The one that fits. It is not changed.

    result : TrainingResult
        Of its training so far.
    """
    if not result.weights.is_finite():
        return None
    fitted = copy.copy(estimator)
    fitted._take(result)
    before = vars(estimator)
    return {
        name: value
        for name, value in vars(fitted).items()
        if name not in before or before[name] is not value
    }
