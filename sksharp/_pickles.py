"""What of an estimator goes into a pickle: plain data, and who wrote it."""

import warnings

import sklearn

from ._contract import AveragingState, OptimizerState, Weights
from .exceptions import InconsistentVersionWarning

# how the versions are called in the state, scikit-learn's as in its own pickles
OURS, SKLEARNS = "_sksharp_version", "_sklearn_version"
UNKNOWN = "unknown"

RECORDS = {"_optimizer": OptimizerState, "_averaging": AveragingState}


class VersionStamp:
    """Mixin whose state tells the versions that wrote it.

    pickle, joblib, copy and skops all go through the two methods. scikit-learn's own
    stamp is for its own classes alone.
    """

    def __getstate__(self):
        return {**super().__getstate__(), **_versions()}

    def __setstate__(self, state):
        now = _versions()
        written_by = {name: state.get(name, UNKNOWN) for name in now}
        if written_by != now:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sksharp_version=now[OURS],
                    original_sksharp_version=written_by[OURS],
                    current_sklearn_version=now[SKLEARNS],
                    original_sklearn_version=written_by[SKLEARNS],
                ),
                stacklevel=2,
            )
        super().__setstate__(
            {name: value for name, value in state.items() if name not in now}
        )


def _versions():
    from . import __version__

    return {OURS: __version__, SKLEARNS: sklearn.__version__}


def records_as_data(state):
    """Return an estimator's state without classes that a reader would have to trust."""
    state = dict(state)
    for name in RECORDS:
        if state.get(name) is not None:
            state[name] = dict(vars(state[name]))
    if "_iterate" in state:
        iterate, digest = state["_iterate"]
        state["_iterate"] = (iterate and dict(vars(iterate)), digest)
    return state


def data_as_records(state):
    """Return the state that :func:`records_as_data` was given."""
    state = dict(state)
    for name, Record in RECORDS.items():
        # a pickle from before has the records themselves
        if isinstance(state.get(name), dict):
            state[name] = Record(**state[name])
    if "_iterate" in state:
        iterate, digest = state["_iterate"]
        if isinstance(iterate, dict):
            iterate = Weights(**iterate)
        state["_iterate"] = (iterate, digest)
    return state
