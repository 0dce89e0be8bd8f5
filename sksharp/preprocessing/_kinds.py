"""What a column holds, and its values read as that.

The kind of a column is decided once, from the values of the fit, and every later column
of that name is read as that kind: a boolean may come as True, 1, 1.0 or 'True', a date as
a timestamp, a ``datetime.date`` or a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .._jobs import Array
from ._tables import Column, missing_mask
from ._values import (
    BOOLEAN,
    BOOLEANS,
    DATE,
    DURATION,
    MISSING,
    NOTHING,
    NUMBER,
    PARSERS,
    TEXT,
    WORD,
    as_boolean_word,
    as_word,
    decoded,
    has_leading_zero,
    is_blank,
    is_marker,
    is_read,
    is_text,
    kind_of_class,
    spelled,
)

# more distinct values than these are categories only if most of them repeat
MANY_VALUES = 32

# by numpy's kind of dtype
KIND_OF_DTYPE = {
    "b": BOOLEAN,
    "i": NUMBER,
    "u": NUMBER,
    "f": NUMBER,
    "M": DATE,
    "m": DURATION,
}


def kind_of(column: Column) -> str:
    """Return what a column of the fit holds, from its values."""
    if not column.is_category:
        values = column.values()
        kind = KIND_OF_DTYPE.get(values.dtype.kind)
        if kind is not None:
            return NOTHING if missing_mask(values).all() else kind
    codes, uniques = column.factorize()
    if not uniques:
        return NOTHING
    if column.is_category:
        return _kind_of_categories(uniques)
    return kind_of_values(uniques, (codes >= 0).sum() if column.may_be_codes else 0)


def kind_of_values(uniques: list[Any], n_present: int) -> str:
    """Return what a column of some values holds.

    Parameters
    ----------
    uniques : list
        Distinct values, none of them missing.

    n_present : int
        Rows with a value. 0 if whole numbers stored as text cannot be categories.

    Returns
    -------
    kind : str
        One of the kinds of ``_values.py``, for words with the width of whole numbers.
    """
    kinds = {kind_of_class(cls) for cls in {*map(type, uniques)}}
    if kinds == {TEXT}:
        return _kind_of_texts([*map(decoded, uniques)], n_present)
    others = kinds - {TEXT}
    kind = WORD if len(others) > 1 else next(iter(others))
    if others == {BOOLEAN, NUMBER}:
        kind = NUMBER
    texts = [decoded(value) for value in uniques if is_text(value)]
    if kind == WORD or not all(is_read(text, kind) for text in texts):
        return _kind_of_words(uniques)
    has_codes = kind == NUMBER and any(map(has_leading_zero, texts))
    return _kind_of_words(uniques) if has_codes else kind


def _kind_of_categories(uniques: list[Any]) -> str:
    kinds = {kind_of_class(type(value)) for value in uniques}
    if kinds <= {BOOLEAN, NUMBER, TEXT} and all(
        spelled(value).lower() in BOOLEANS for value in uniques
    ):
        return BOOLEAN
    return _kind_of_words(uniques)


def _kind_of_texts(uniques: list[str], n_present: int) -> str:
    texts = [text for text in uniques if not is_blank(text)]
    if not texts:
        return _kind_of_words(uniques)
    if all(spelled(text.strip()).lower() in BOOLEANS for text in texts):
        return BOOLEAN
    are_numbers = all(is_read(text, NUMBER) for text in texts)
    if are_numbers and not any(map(has_leading_zero, texts)):
        are_whole = all(spelled(t.strip()).lstrip("-").isdigit() for t in texts)
        do_repeat = len(texts) <= min(MANY_VALUES, n_present / 2)
        return _kind_of_words(uniques) if are_whole and do_repeat else NUMBER
    for kind in (DATE, DURATION):
        if all(is_read(text, kind) for text in texts):
            return kind
    return _kind_of_words(uniques)


def _kind_of_words(uniques: list[Any]) -> str:
    """Return how the words of a column are spelled."""
    texts = [decoded(value) for value in uniques if is_text(value)]
    width = len(texts[0]) if texts else 0
    if (
        width > 1
        and any(map(has_leading_zero, texts))
        and all(len(text) == width and text.isdecimal() for text in texts)
    ):
        return f"{WORD}:{width}"
    return WORD if len({*map(spelled, texts)}) == len(texts) else TEXT


# -- what a warning asks of a column -------------------------------------------------------


def stores_text(column: Column) -> bool:
    """Return whether a column stores text, whatever the text means."""
    if column.is_category or column.values().dtype.kind != "O":
        return False
    return any(map(is_text, column.factorize()[1]))


def markers_of(column: Column) -> list[str]:
    """Return the texts of a column that stand for missing numbers or dates."""
    _, uniques = column.factorize()
    texts = [decoded(value).strip() for value in uniques if is_text(value)]
    return [*filter(is_marker, texts)]


def is_mostly_unique(words: Array) -> bool:
    """Return whether words are many, and more than half the rows, as of a name or a key."""
    present = words[words != MISSING]
    return len({*present}) > max(MANY_VALUES, len(present) / 2)


# -- numbers and words ---------------------------------------------------------------------


def numbers(column: Column, kind: str) -> Array:
    """Return a column as floats, dates and durations in days, missing values as NaN."""
    values = column.values()
    stored = values.dtype.kind
    if kind == NOTHING:
        return np.full(len(values), np.nan)
    if kind == NUMBER and stored in "biuf":
        return values if values.dtype == np.float32 else values.astype(np.float64)
    if KIND_OF_DTYPE.get(stored) != kind:
        values = _parsed(column, kind)
    return values if kind == NUMBER else _days(values)


def _days(values: Array) -> Array:
    """Return dates since 1970, or durations, in days."""
    kind = values.dtype.kind
    values = values.astype(f"{kind}8[us]")
    since = values - np.datetime64(0, "us") if kind == "M" else values
    days: Array = since / np.timedelta64(1, "D")
    return days


def _parsed(column: Column, kind: str) -> Array:
    codes, uniques = column.factorize()
    dtype = {NUMBER: "f8", DATE: "M8[us]", DURATION: "m8[us]"}[kind]
    # the last is for rows without a value
    parsed = np.full(len(uniques) + 1, "nan" if kind == NUMBER else "NaT", dtype=dtype)
    for i, value in enumerate(uniques):
        try:
            parsed[i] = PARSERS[kind](value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"column {column.name!r} of X must hold {kind}s, as in the fit, got "
                f"{value!r}. Give {kind}s, and None where one is missing."
            ) from error
    return parsed[codes]


def words(column: Column, kind: str | None) -> Array:
    """Return a column as an array of words, with one for missing values.

    Texts stay as they are where the kind is None, because no fit has decided it.
    """
    codes, uniques = factorized_words(column, kind)
    return uniques[codes]


def factorized_words(column: Column, kind: str | None) -> tuple[Array, Array]:
    """Return codes and the words that they index; the last, also code -1, is missing."""
    codes, uniques = column.factorize()
    found = [*_spelled_as(kind, uniques), MISSING]
    return codes, np.array(found, dtype=object)


def _spelled_as(kind: str | None, values: Iterable[Any]) -> Iterable[str]:
    if kind is None:
        return map(as_word, values)
    if kind == BOOLEAN:
        return map(as_boolean_word, values)
    name, _, digits = kind.partition(":")
    width = int(digits or 0)
    spell: Callable[[Any], str] = as_word
    if name != TEXT:

        def spell(value: Any) -> str:
            return spelled(value, width)

    # files have an empty text where a value is missing
    return (spell(value) or MISSING for value in values)
