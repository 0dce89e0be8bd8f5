"""The version of the package, and the stamp of what it has written."""

import warnings
from collections.abc import Mapping
from typing import Any

import sklearn

from .exceptions import InconsistentVersionWarning

__version__ = "0.1.0.dev0"

# how the versions are called in the state, scikit-learn's as in its own pickles
OURS, SKLEARNS = "_sksharp_version", "_sklearn_version"
UNKNOWN = "unknown"


class VersionStamp:
    """Mixin whose pickled state is stamped with the versions that wrote it.

    pickle, joblib, copy and skops all go through the two methods. scikit-learn's own
    stamp is for its own classes alone.
    """

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {**state, **_versions()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
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
        after: Any = super()  # an estimator of scikit-learn's
        after.__setstate__(
            {name: value for name, value in state.items() if name not in now}
        )


def _versions() -> dict[str, str]:
    return {OURS: __version__, SKLEARNS: sklearn.__version__}
