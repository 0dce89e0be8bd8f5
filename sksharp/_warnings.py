"""Warnings that point to the user's line of code."""

import collections
import contextlib
import functools
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, TextIO, TypeAlias

import joblib
import sklearn

# frames of these packages, pipelines and searches say, are not the user's code
_FOLDERS = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep
    for file in (__file__, sklearn.__file__, joblib.__file__)
)

# message, category, file, line and module
WarningRecord: TypeAlias = tuple[Any, type[Warning], str, int, str | None]


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the user's line that called this package, also through scikit-learn."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDERS):
        frame, level = frame.f_back, level + 1
    counts = _of_thread.counts
    if counts is not None and _of_thread.recorded is None:
        if _action(message, category, frame) != "error":
            counts[category, message] += 1
            return
    warnings.warn(message, category, stacklevel=level)


class Counting:
    """Context that emits each warning of its thread once, at its end, with its count.

    Only warnings of this package are counted. Those that filters make errors are raised
    at once.

    Parameters
    ----------
    of_what : str
        Where the warnings come from, for the message, such as 'this search'.
    """

    def __init__(self, of_what: str) -> None:
        self.of_what = of_what

    def __enter__(self) -> None:
        self._outer, _of_thread.counts = _of_thread.counts, collections.Counter()

    def __exit__(self, *error: object) -> None:
        counts, _of_thread.counts = _of_thread.counts, self._outer
        for (category, message), n in (counts or {}).items():
            times = "" if n == 1 else f" ({n} times in {self.of_what})"
            warn(message + times, category)


def _action(message: str, category: type[Warning], frame: FrameType) -> str | None:
    """Return the action of the filters for a warning at a line."""
    module = frame.f_globals.get("__name__", "")
    for action, text, kind, where, line in warnings.filters:
        is_meant = _matches(text, message) and _matches(where, module)
        if is_meant and issubclass(category, kind) and line in (0, frame.f_lineno):
            return action
    return None


def _matches(pattern: re.Pattern[str] | str | None, text: str) -> bool:
    if pattern is None or isinstance(pattern, str):
        return pattern is None or pattern == text
    return pattern.match(text) is not None


class _OfThread(threading.local):
    # the warnings, while they are recorded
    recorded: list[WarningRecord] | None = None
    # how often each came, while they are counted
    counts: collections.Counter[tuple[type[Warning], str]] | None = None


class _IsRecording(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return _of_thread.recorded is not None


class _RecordedCategory(metaclass=_IsRecording):
    """Category of a filter that matches every warning while its thread records."""


_of_thread = _OfThread()
# a filter calls issubclass with it, and needs no class of warnings
_CATEGORY: Any = _RecordedCategory
_ENTRY = ("always", None, _CATEGORY, None, 0)
_lock, _n_recording = threading.Lock(), 0
_installed: functools.partial[None] | None = None


@contextlib.contextmanager
def record_warnings() -> Iterator[list[WarningRecord]]:
    """Record the warnings of this thread in a list, whatever the filters.

    ``warnings.catch_warnings`` changes the filters of all threads, and restores the wrong
    ones if the contexts of two threads overlap. The filter of this function only matches
    warnings of threads that record.
    """
    global _n_recording, _installed
    recorded: list[WarningRecord] = []
    outer, _of_thread.recorded = _of_thread.recorded, recorded
    with _lock:
        _n_recording += 1
        warnings.simplefilter("always", _CATEGORY)
        if warnings.showwarning is not _installed:
            # a new one each time: others may keep a reference to the last
            _installed = functools.partial(_record_or_show, warnings.showwarning)
            warnings.showwarning = _installed
    try:
        yield recorded
    finally:
        _of_thread.recorded = outer
        with _lock:
            _n_recording -= 1
            if not _n_recording:
                filters: Any = warnings.filters
                with contextlib.suppress(ValueError):
                    filters.remove(_ENTRY)
                if warnings.showwarning is _installed:
                    warnings.showwarning = _installed.args[0]


def _record_or_show(
    show: Callable[..., Any],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    recorded = _of_thread.recorded
    frame: FrameType | None = sys._getframe(1)
    if recorded is None:
        show(message, category, filename, lineno, file, line)
        return
    while frame is not None and frame.f_code.co_filename != filename:
        frame = frame.f_back
    module = None if frame is None else frame.f_globals.get("__name__")
    recorded.append((message, category, filename, lineno, module))


def warn_again(recorded: Iterable[WarningRecord]) -> None:
    """Emit recorded warnings, with the filters of now."""
    for warning in recorded:
        warnings.warn_explicit(*warning)
