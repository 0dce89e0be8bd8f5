"""scikit-learn's callbacks: the tasks of a fit that they are told of."""

import copy

import sklearn

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
except ImportError:  # scikit-learn 1.8 and older

    class CallbackSupport:
        """Mixin of the estimators: says which version has callbacks."""

        @property
        def set_callbacks(self):
            """Raise what ``hasattr`` takes for a no."""
            raise AttributeError(
                "set_callbacks needs scikit-learn 1.9 or newer, got scikit-learn "
                f"{sklearn.__version__}. Upgrade it. With any version sksharp.progress() "
                "shows how far a fit is, and the parameter callbacks takes skorch's."
            )


# what scikit-learn takes from an estimator when its fit is over, also one that failed
OF_A_FIT = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")


def has_callbacks(estimator):
    """Return whether scikit-learn's callbacks are set on an estimator."""
    return "_skl_callbacks" in vars(estimator)


def silence(estimator):
    """Take the callbacks from an estimator and from those in it."""
    for part in (estimator, *estimator.get_params().values()):
        getattr(part, "__dict__", {}).pop("_skl_callbacks", None)


class Tasks:
    """Tasks of an estimator, each inside the one that began before it.

    Parameters
    ----------
    estimator : estimator
        The one that fits.

    context : CallbackContext or None
        Its outermost task if that has begun.

    **data : dict
        What callbacks are told of its data: ``X``, ``y`` and ``metadata``.
    """

    def __init__(self, estimator, context=None, **data):
        self.estimator, self._data = estimator, data
        self._contexts = [] if context is None else [context]
        self._groups, self._depth = [], 0

    def begin(self, name, max_subtasks=0, fitted=None):
        """Begin a task; ``fitted`` makes the attributes of a fit that ends there."""
        if self._contexts:
            context = self._contexts[-1].subcontext(name, max_subtasks=max_subtasks)
        else:
            context = self.estimator._init_callback_context(max_subtasks=max_subtasks)
        self._contexts.append(context)
        context.call_on_fit_task_begin(
            estimator=self.estimator, reconstruction_attributes=fitted, **self._data
        )

    def end(self, fitted=None):
        """End the innermost task; return whether a callback asks to stop."""
        return self._contexts.pop().call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=fitted, **self._data
        )

    def begin_groups(self, groups):
        """Begin the task of the first of several groups of jobs."""
        self._groups, self._depth = list(groups), len(self._contexts)
        self._begin_group()

    def _begin_group(self):
        if self._groups:
            group = self._groups.pop(0)
            self.begin("train-group", max(job.epochs_to_come for job in group))

    def begin_epoch(self, result_now):
        """Begin an epoch of the innermost task."""
        self.begin("epoch", fitted=self.fitted(result_now))

    def end_epoch(self, result_now):
        """End it; return whether to stop."""
        return self.end(fitted=self.fitted(result_now))

    def end_group(self):
        """End the task of a group and begin the next."""
        self.end_until(self._depth)
        self._begin_group()

    def end_until(self, depth):
        """End tasks until so many are left."""
        # training may have been stopped within an epoch
        while len(self._contexts) > depth:
            self.end()

    def fitted(self, result_now):
        """Return what makes the attributes of a fit that ends now, None if nobody can."""
        return None

    def close(self):
        """Leave the rest to scikit-learn, which tells the callbacks of the end."""


class FitTasks(Tasks):
    """Tasks of our estimator's fit.

    With one network they are the epochs of the fit, or of its last part, after the choice
    of a radius. Several are trained in groups, which have epochs.

    Parameters
    ----------
    estimator : estimator
        The one that fits.

    X, y : array-like
        What it was given.

    sample_weight : array-like or None
        Weights of the rows.
    """

    def __init__(self, estimator, X, y, sample_weight):
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        super().__init__(estimator, X=X, y=y, metadata=metadata)
        self._is_choosing = self._is_alone = False

    def begin_fit(self):
        """Begin a fit without other tasks."""
        self.begin("fit")

    def begin_choice(self, n_stages, n_parts):
        """Begin to choose a radius."""
        self.begin("fit", n_parts)
        self.begin("choose-rho", n_stages)
        self._is_choosing = True

    def end_choice(self):
        """End the choice."""
        self.end()
        self._is_choosing = False

    def begin_training(self, groups):
        """Begin to train groups of jobs."""
        # the task of the fit is left for the end
        self._left = max(1, len(self._contexts))
        n_jobs = sum(map(len, groups))
        self._is_alone = n_jobs == 1 and not self._is_choosing
        if self._is_alone:
            name = "fit-with-chosen-rho" if self._contexts else "fit"
            self.begin(name, groups[0][0].epochs_to_come)
            self._groups, self._depth = [], len(self._contexts)
        else:
            self.begin("stage" if self._is_choosing else "fit", len(groups))
            self.begin_groups(groups)

    def end_training(self, is_interrupted):
        """End the tasks of the training."""
        self._is_alone = False
        self.end_until(self._left)

    def fitted(self, result_now):
        """Return what makes the attributes, if a single network is the estimator."""
        if not self._is_alone:
            return None
        return lambda: attributes_of(self.estimator, result_now())

    def finish(self):
        """End the task of the fit."""
        if not self._contexts:  # it was trained before, with others
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

    def __init__(self, search, context):
        super().__init__(search, context)
        self._is_whole = False

    def expect_no_more(self):
        """Hear that the next training is the only one."""
        self._is_whole = True

    def begin_training(self, groups):
        """Begin to train groups of networks."""
        if len(self._contexts) == 1:
            n_groups = len(groups) if self._is_whole else None
            self.begin("train-networks", n_groups)
        self.begin_groups(groups)

    def end_training(self, is_interrupted):
        """Wait for the next training."""

    def finish(self):
        """End the common training."""
        self.end_until(1)


def attributes_of(estimator, result):
    """Return the attributes that a result gives an estimator, None without finite weights.

    Parameters
    ----------
    estimator : estimator
        Ours, in its fit. It is not changed.

    result : TrainingResult
        What came of its training so far.
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
