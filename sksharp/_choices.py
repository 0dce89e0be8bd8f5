"""String parameters: the allowed words, and the nearest one to a typo."""

import contextlib
import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from sklearn.utils._param_validation import (
    InvalidParameterError,
    Options,
    StrOptions,
    make_constraint,
)

P = ParamSpec("P")
R = TypeVar("R")


class Choice(StrOptions):
    """Constraint of one of several words, which its message lists alphabetically.

    Parameters
    ----------
    options : set of str
        The allowed words.

    kind : type or None, default=None
        Class of objects that are allowed too.

    example : str, default=''
        Such an object, as code.
    """

    def __init__(
        self, options: Collection[str], kind: type | None = None, example: str = ""
    ) -> None:
        super().__init__(set(options))
        self.kind, self.example = kind, example

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is one of the words or objects."""
        if self.kind is not None and isinstance(val, self.kind):
            return True
        is_word: bool = super().is_satisfied_by(val)
        return is_word

    def __str__(self) -> str:
        """Return the requirement, for an error message."""
        words = f"a str among {{{', '.join(map(repr, sorted(self.options)))}}}"
        return (
            words if self.kind is None else f"{words} or an object like {self.example}"
        )


def in_order(constraints: Mapping[str, Any]) -> dict[str, Any]:
    """Return constraints whose messages list words alphabetically."""
    return {name: _in_order(allowed) for name, allowed in constraints.items()}


def _in_order(allowed: Any) -> Any:
    if isinstance(allowed, str):  # 'no_validation'
        return allowed
    return [Choice(c.options) if type(c) is StrOptions else c for c in allowed]


@contextlib.contextmanager
def suggesting(
    constraints: Mapping[str, Any], params: Mapping[str, Any]
) -> Iterator[None]:
    """Add the nearest allowed word to the error of a parameter."""
    try:
        yield
    except InvalidParameterError as error:
        word = _suggestion(constraints, params, str(error))
        if word is None:
            raise
        raise InvalidParameterError(f"{error} Did you mean {word!r}?") from None


def suggests(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function under ``validate_params``, to suggest the nearest word."""
    signature = inspect.signature(function)
    guarded: Any = function

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        params = signature.bind_partial(*args, **kwargs).arguments
        with suggesting(guarded._skl_parameter_constraints, params):
            return function(*args, **kwargs)

    return wrapper


def _suggestion(
    constraints: Mapping[str, Any], params: Mapping[str, Any], message: str
) -> str | None:
    for name, value in params.items():
        if isinstance(value, str) and message.startswith(f"The {name!r} parameter of "):
            allowed = map(make_constraint, constraints[name])
            options = [c.options for c in allowed if isinstance(c, Options)]
            return nearest(value, sorted(set().union(*options)))
    return None


def nearest(word: str, words: Sequence[str]) -> str | None:
    """Return the allowed word nearest to a typo, None if none is near.

    Case is ignored, and spaces and hyphens are read as underscores.

    Parameters
    ----------
    word : str
        The word that was written.

    words : list of str
        The allowed words.

    Returns
    -------
    meant : str or None
        One of them.
    """
    written = word.strip().lower().replace("-", "_").replace(" ", "_")
    alike = difflib.get_close_matches(written, words, n=1)
    if not alike and len(written) > 2:  # 'cosine_annealing', 'exp'
        alike = [w for w in words if w.startswith(written) or written.startswith(w)]
    return next(iter(alike), None)
