"""One value of a table: what kind it is of, and how it is read as a number or a word."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

MISSING = "missing"

# the kinds. Words are spelled alike: 3, 3.0 and '3.0' are one, and with 'word:5' so are
# 2134 and '02134'. Where that would make one of two words of the fit, they are texts.
NUMBER, DATE, DURATION, NOTHING = "number", "date", "duration", "nothing"
BOOLEAN, WORD, TEXT = "boolean", "word", "text"
NUMERIC = frozenset({NUMBER, DATE, DURATION, NOTHING})

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

# texts that stand for a missing number or date: of libraries, of spreadsheets and other
# programs, and of people
NULLS = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>", "nat"})
MARKERS = frozenset(
    """
    #n/a #na 1.#ind -1.#ind 1.#qnan -1.#qnan
    ? - -- \u2013 \u2014 . .. ... n.a. (null) \\n unknown missing
    """.split()
) | {"#n/a n/a", "not available"}
BLANKS = NULLS | MARKERS

_NUMBER_WORD = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?", re.ASCII)
_NO_DATE = "0000-00-00"  # of databases, also with a time
_DATE_TEXT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:.*)?", re.ASCII)
_DURATION_TEXTS = [
    re.compile(
        r"(?:(?P<days>-?\d+) days?,?\s*)?(?:\+?(?P<hours>\d+):(?P<minutes>\d\d)"
        r"(?::(?P<seconds>\d\d(?:\.\d+)?))?)?",
        re.ASCII,
    ),
    re.compile(  # ISO 8601
        r"P(?:(?P<days>-?\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?"
        r"(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
        re.ASCII,
    ),
]


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, NA or NaT."""
    if type(value).__name__ in ("NoneType", "NAType", "NaTType"):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()  # a signaling NaN raises where it is compared
    kinds = float | np.floating | np.datetime64 | np.timedelta64
    return isinstance(value, kinds) and bool(value != value)


def is_text(value: Any) -> bool:
    """Return whether a value is a string, decoded or not."""
    return isinstance(value, str | bytes)


def decoded(value: Any) -> str:
    """Return a text as a string."""
    text: str = value.decode(errors="replace") if isinstance(value, bytes) else value
    return text


def is_blank(value: Any) -> bool:
    """Return whether a value is a text that stands for a missing one."""
    return is_text(value) and decoded(value).strip().lower() in BLANKS


def is_marker(text: str) -> bool:
    """Return whether a text stands for a missing number or date and is not empty."""
    return text.lower() in MARKERS or text.startswith(_NO_DATE)


def has_leading_zero(text: str) -> bool:
    """Return whether a text is a whole number with a zero in front, as a code is."""
    return len(text) > 1 and text[0] == "0" and text[1:].isdecimal()


def kind_of_class(cls: type) -> str:
    """Return the kind of the instances of a class, WORD if it is none of the others."""
    if issubclass(cls, bool | np.bool_):
        return BOOLEAN
    if issubclass(cls, str | bytes):
        return TEXT
    if issubclass(cls, date | np.datetime64) or cls.__name__ == "Period":
        return DATE
    # before numbers: a duration of numpy is an integer too
    if issubclass(cls, timedelta | time | np.timedelta64):
        return DURATION
    return NUMBER if issubclass(cls, Real | Decimal) else WORD


# -- parsers -------------------------------------------------------------------------------


def is_read(value: Any, kind: str) -> bool:
    """Return whether a value can be read as one of a kind, or as a missing one."""
    try:
        PARSERS[kind](value)
    except (TypeError, ValueError, OverflowError):
        return False  # OverflowError: a day that Python's calendar does not have
    return True


def _parse_number(value: Any) -> float:
    if is_text(value):
        text = decoded(value).strip()
        if text.lower() in BLANKS:
            return np.nan
        if text.lower() in BOOLEANS:
            return float(BOOLEANS[text.lower()])
        if "_" in text:
            raise ValueError("an underscore is not a digit")
        return float(text)
    if kind_of_class(type(value)) not in (BOOLEAN, NUMBER):
        raise TypeError("not a number")
    return float(value)


def _parse_date(value: Any) -> Any:
    if is_text(value):
        text = decoded(value).strip()
        if text.lower() in BLANKS or text.startswith(_NO_DATE):
            return "NaT"
        if not _DATE_TEXT.fullmatch(text):
            raise ValueError("not a date of ISO 8601")
        value = datetime.fromisoformat(text)
    if type(value).__name__ == "Period":
        value = value.to_timestamp()
    if not isinstance(value, date | np.datetime64):
        raise TypeError("not a date")
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(value).astype("M8[us]")


def _parse_duration(value: Any) -> Any:
    if isinstance(value, time):
        value = datetime.combine(date.min, value.replace(tzinfo=None)) - datetime.min
    if is_text(value):
        text = decoded(value).strip()
        if text.lower() in BLANKS:
            return "NaT"
        matches = [pattern.fullmatch(text) for pattern in _DURATION_TEXTS]
        groups = next((match.groupdict() for match in matches if match), {})
        parts = {name: float(part) for name, part in groups.items() if part}
        if not parts:
            raise ValueError("not a duration")
        value = timedelta(**parts)
    if not isinstance(value, timedelta | np.timedelta64):
        raise TypeError("not a duration")
    return np.timedelta64(value).astype("m8[us]")


def _parse_boolean(value: Any) -> bool | None:
    text = spelled(value).strip().lower()
    if text not in BOOLEANS and not is_blank(text):
        raise ValueError("not a boolean")
    return BOOLEANS.get(text)


PARSERS: dict[str, Callable[[Any], Any]] = {
    NUMBER: _parse_number,
    DATE: _parse_date,
    DURATION: _parse_duration,
    BOOLEAN: _parse_boolean,
}


# -- words ---------------------------------------------------------------------------------


def as_word(value: Any) -> str:
    """Return a value as a word, a string as it is."""
    if is_missing(value):
        return MISSING
    return value if isinstance(value, str) else spelled(value)


def as_boolean_word(value: Any) -> str:
    """Return a value as 'True' or 'False', what is neither as it is."""
    word = spelled(value).strip()
    if word.lower() in BOOLEANS:
        return str(BOOLEANS[word.lower()])
    return MISSING if word.lower() in BLANKS else word


def spelled(value: Any, width: int = 0) -> str:
    """Return a value as a word, whole numbers without a point and ``width`` digits."""
    kind = kind_of_class(type(value))
    if kind == TEXT:
        text = decoded(value)
        if not _NUMBER_WORD.fullmatch(text):
            return text
        whole, _, rest = text.partition(".")
        if rest.strip("0"):
            return str(float(text))
        return str(int(whole)).zfill(width)
    if kind == NUMBER:
        # pandas turns integers into floats beside a missing value
        is_whole = value == value and abs(value) != float("inf") and int(value) == value
        if is_whole:
            return str(int(value)).zfill(width)
        return str(value) if isinstance(value, np.floating) else str(float(value))
    if kind == DATE and type(value).__name__ != "Period":
        return str(_parse_date(value).item()).removesuffix(" 00:00:00")
    if kind == DURATION and not isinstance(value, time):
        return str(_parse_duration(value).item())
    return str(value)
