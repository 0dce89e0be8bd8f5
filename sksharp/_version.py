"""The version of the package, and the versions stamped into pickles."""

import warnings
from collections.abc import Mapping
from typing import Any

import sklearn

from .exceptions import InconsistentVersionWarning

__version__ = "0.1.0"

# keys of the versions in a pickled state; scikit-learn's is that of its own pickles
OURS, SKLEARNS = "_sksharp_version", "_sklearn_version"
UNKNOWN = "unknown"


class VersionStamp:
    """Mixin that stamps the pickled state with the versions that wrote it.

    pickle, joblib, copy and skops all use these methods. scikit-learn stamps its own
    classes only.
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
