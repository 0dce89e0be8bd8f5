"""Warnings that name the line of the user's."""

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

# pipelines and searches call a fit too, and are nobody's own line
_FOLDERS = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep
    for file in (__file__, sklearn.__file__, joblib.__file__)
)

# message, category, file, line and module
Held: TypeAlias = tuple[Any, type[Warning], str, int, str | None]


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, at the line that called this package, by way of scikit-learn or directly."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDERS):
        frame, level = frame.f_back, level + 1
    counts = _of_thread.counts
    if counts is not None and _of_thread.held_back is None:
        if _action(message, category, frame) != "error":
            counts[category, message] += 1
            return
    warnings.warn(message, category, stacklevel=level)


class Counting:
    """Context that gives the warnings of its thread once at the end, with their number.

    Those of this package alone. What the filters make an error is raised at once.

    Parameters
    ----------
    of_what : str
        What to say that they come from, such as 'this search'.
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
    """Return what the filters do with a warning of a line."""
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
    # warnings, while they are held back
    held_back: list[Held] | None = None
    # how often each came, while they are counted
    counts: collections.Counter[tuple[type[Warning], str]] | None = None


class _IsHeldBack(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return _of_thread.held_back is not None


class _HeldBack(metaclass=_IsHeldBack):
    """What a filter takes for the category of warnings that are held back."""


_of_thread = _OfThread()
# filters take any class here, and ask it whether a category is below it
_HELD_BACK: Any = _HeldBack
_ENTRY = ("always", None, _HELD_BACK, None, 0)
_lock, _n_holding = threading.Lock(), 0
_installed: functools.partial[None] | None = None


@contextlib.contextmanager
def hold_back() -> Iterator[list[Held]]:
    """Hold back the warnings of this thread, whatever the filters, and list them.

    ``warnings.catch_warnings`` would change the filters of all threads, and for good if
    another one enters it before this one leaves and leaves it after. What may be left
    behind here speaks of no other thread.
    """
    global _n_holding, _installed
    held_back: list[Held] = []
    outer, _of_thread.held_back = _of_thread.held_back, held_back
    with _lock:
        _n_holding += 1
        warnings.simplefilter("always", _HELD_BACK)
        if warnings.showwarning is not _installed:
            # one of its own: others may go on calling what they found here
            _installed = functools.partial(_keep_or_show, warnings.showwarning)
            warnings.showwarning = _installed
    try:
        yield held_back
    finally:
        _of_thread.held_back = outer
        with _lock:
            _n_holding -= 1
            if not _n_holding:
                filters: Any = warnings.filters
                with contextlib.suppress(ValueError):
                    filters.remove(_ENTRY)
                if warnings.showwarning is _installed:
                    warnings.showwarning = _installed.args[0]


def _keep_or_show(
    show: Callable[..., Any],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    held_back = _of_thread.held_back
    frame: FrameType | None = sys._getframe(1)
    if held_back is None:
        show(message, category, filename, lineno, file, line)
        return
    while frame is not None and frame.f_code.co_filename != filename:
        frame = frame.f_back
    module = None if frame is None else frame.f_globals.get("__name__")
    held_back.append((message, category, filename, lineno, module))


def warn_again(held_back: Iterable[Held]) -> None:
    """Warn of what was held back, as the filters are now."""
    for warning in held_back:
        warnings.warn_explicit(*warning)
