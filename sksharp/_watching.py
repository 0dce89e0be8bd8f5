"""Who is told how far a fit is: scikit-learn's callbacks and the progress bar."""

from ._progress import current_display
from ._tasks import FitTasks, SearchTasks, has_callbacks


class Watchers:
    """Several who are told of a training, as one ``Watch``.

    Parameters
    ----------
    *watchers : Tasks or Bar
        They are told of everything in this order.
    """

    def __init__(self, *watchers):
        self._watchers = watchers
        self.error = None

    def __reduce__(self):
        # an estimator that goes to another process leaves them at home
        return Watchers, ()

    def __bool__(self):
        return bool(self._watchers)

    def _tell(self, event, *args):
        try:
            return [getattr(watcher, event)(*args) for watcher in self._watchers]
        except Exception as error:
            self.error = error
            raise

    def begin_fit(self):
        """Tell that a fit begins of which nothing else will be heard."""
        self._tell("begin_fit")

    def begin_choice(self, n_stages, n_parts):
        """Tell that a radius will be chosen, in a fit of one part or two."""
        self._tell("begin_choice", n_stages, n_parts)

    def end_choice(self):
        """Tell that it is chosen."""
        self._tell("end_choice")

    def expect_no_more(self):
        """Tell that the next training of a search is its only one."""
        self._tell("expect_no_more")

    def begin_training(self, groups):
        """Tell which jobs will be trained together."""
        self._tell("begin_training", groups)

    def begin_epoch(self, result_now):
        """Tell that an epoch begins."""
        self._tell("begin_epoch", result_now)

    def end_epoch(self, result_now):
        """Tell that it has ended; return whether to stop."""
        return any(self._tell("end_epoch", result_now))

    def end_group(self):
        """Tell that a group is trained."""
        self._tell("end_group")

    def end_training(self, *, is_interrupted):
        """Tell that all groups are trained, or that the user has stopped one."""
        self._tell("end_training", is_interrupted)

    def finish(self):
        """Tell that all went well."""
        self._tell("finish")

    def close(self):
        """Let the watchers tidy up, however it went."""
        for watcher in self._watchers:
            watcher.close()


def fit_watchers(estimator, X, y, sample_weight):
    """Return those who are told of a fit."""
    watchers = _bars(estimator)
    if has_callbacks(estimator):
        watchers.append(FitTasks(estimator, X, y, sample_weight))
    return Watchers(*watchers)


def search_watchers(search, context):
    """Return those who are told of the common training of a search."""
    watchers = _bars(search)
    if context is not None and has_callbacks(search):
        watchers.append(SearchTasks(search, context))
    return Watchers(*watchers)


def _bars(estimator):
    display = current_display()
    return [] if display is None else [display.bar(type(estimator).__name__)]
