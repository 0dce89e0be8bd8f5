"""Parameters that are one of several words, and the nearest word to a slip."""

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
    """Constraint of one of several words, which its message lists by the alphabet.

    Parameters
    ----------
    options : set of str
        The words.

    kind : type or None, default=None
        Class of the objects that are taken besides.

    example : str, default=''
        One of these.
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
        """Return what an error says that the parameter must be."""
        words = f"a str among {{{', '.join(map(repr, sorted(self.options)))}}}"
        return (
            words if self.kind is None else f"{words} or an object like {self.example}"
        )


def in_order(constraints: Mapping[str, Any]) -> dict[str, Any]:
    """Return constraints of parameters whose messages list words by the alphabet."""
    return {name: _in_order(allowed) for name, allowed in constraints.items()}


def _in_order(allowed: Any) -> Any:
    if isinstance(allowed, str):  # 'no_validation'
        return allowed
    return [Choice(c.options) if type(c) is StrOptions else c for c in allowed]


@contextlib.contextmanager
def suggesting(
    constraints: Mapping[str, Any], params: Mapping[str, Any]
) -> Iterator[None]:
    """Add to the error of a parameter that is no word of its choice the nearest word."""
    try:
        yield
    except InvalidParameterError as error:
        word = _suggestion(constraints, params, str(error))
        if word is None:
            raise
        raise InvalidParameterError(f"{error} Did you mean {word!r}?") from None


def suggests(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that ``validate_params`` guards, to suggest the nearest word."""
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
    """Return the word that was meant, None if there is none like it.

    Capitals, spaces and hyphens are taken for what they would be in a name here.

    Parameters
    ----------
    word : str
        As it was written.

    words : list of str
        As they should be.

    Returns
    -------
    meant : str or None
        One of the words.
    """
    written = word.strip().lower().replace("-", "_").replace(" ", "_")
    alike = difflib.get_close_matches(written, words, n=1)
    if not alike and len(written) > 2:  # 'cosine_annealing', 'exp'
        alike = [w for w in words if w.startswith(written) or written.startswith(w)]
    return next(iter(alike), None)
