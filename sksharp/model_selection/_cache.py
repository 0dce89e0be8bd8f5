"""Memory of a search: the outputs of its transformers, and how much there is."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import joblib
import numpy as np

from .._jobs import Matrix
from .._warnings import record_warnings, warn_again


class TransformerCache:
    """Outputs of fitted transformers in memory, for the pipelines of a search.

    It has the methods that a Pipeline calls on its parameter ``memory``. scikit-learn's
    function returns rows and the fitted transformer; imbalanced-learn's, which resamples,
    returns rows, their targets and the fitted resampler.

    Parameters
    ----------
    budget : int
        Most bytes to keep. The oldest outputs are dropped first.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        # by key: what the function returned, and its warnings
        self._cached: OrderedDict[str, tuple[Any, list[Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        # a pickled pipeline has its user's memory, which is None
        return type(None), ()

    def __repr__(self) -> str:
        # so in messages too
        return "None"

    def __deepcopy__(self, memo: dict[int, Any]) -> TransformerCache:
        # the clones of a pipeline share it
        return self

    def cache(
        self, function: Callable[..., Any], ignore: Sequence[str] = ()
    ) -> Callable[..., Any]:
        """Return a cached version of a function, whose key ignores some arguments."""
        name_of_function = function.__module__, function.__qualname__

        def cached(*args: Any, **kwargs: Any) -> Any:
            in_key = {name: kwargs[name] for name in kwargs if name not in ignore}
            try:
                key = joblib.hash((name_of_function, args, in_key))
            except Exception:  # a lambda, for instance, has no fingerprint
                return function(*args, **kwargs)
            with self._lock:
                output, warned = self._cached.get(key, (None, []))
            try:
                if output is None:
                    with record_warnings() as warned:
                        output = function(*args, **kwargs)
                    with self._lock:
                        self._cached[key] = output, warned
                        self._drop_oldest()
            finally:
                warn_again(warned)  # to every fit, as if it were its own
            *data, fitted = output
            # the next step may write to its input
            data = [part.copy() if hasattr(part, "copy") else part for part in data]
            return *data, fitted

        return cached

    def _drop_oldest(self) -> None:
        sizes = [_size_of_output(output) for output, _ in self._cached.values()]
        total = sum(sizes)
        for size in sizes[:-1]:
            if total <= self.budget:
                break
            self._cached.popitem(last=False)
            total -= size


def _size_of_output(output: Sequence[Any]) -> int:
    return sum(map(_size_of, output[:-1]))


def _size_of(data: Any) -> int:
    if hasattr(data, "memory_usage"):
        return int(np.sum(data.memory_usage()))
    return n_bytes(data) if hasattr(data, "tocsr") else getattr(data, "nbytes", 0)


def n_bytes(array: Matrix) -> int:
    """Return the memory of an array or a sparse matrix."""
    if hasattr(array, "tocsr"):
        return int(array.data.nbytes + array.indices.nbytes + array.indptr.nbytes)
    return int(array.nbytes)


def free_memory() -> int:
    """Return the bytes of memory that are free, 2 GiB if that is unknown."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**31
