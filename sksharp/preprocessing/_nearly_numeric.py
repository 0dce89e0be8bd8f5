"""Columns of words that would be numbers or dates, but for how some values are written."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._jobs import Array
from .._warnings import warn
from ..exceptions import ColumnWarning
from ._kinds import MANY_VALUES, kind_of, kind_of_values
from ._tables import Column
from ._values import DATE, DURATION, NUMBER, NUMERIC, is_blank, is_read

MIN_SHARE = 0.9  # of the distinct values, or of the rows
SAMPLE_SIZE = 1000  # distinct values that are looked at
MAX_AFFIXES = 3  # signs and units of one column: more of them are parts of names
MAX_QUOTED = 3  # values of a column that a message quotes

_SEPARATED = r"\d{1,3}(?:[.,' \u2019_\u00a0\u202f]\d{3})+"
_NUMBER = re.compile(
    # a currency, or up to two signs; a hash is of a name
    r"(?P<before>(?:(?:usd|eur|gbp|chf|inr|rs\.?|[a-z]{0,3}[$€£¥₹₩])\s?|[^\w\s#]{0,2}\s?)?)"
    rf"[+-]?(?:(?P<separated>{_SEPARATED})|(?P<whole>\d+(?:_\d+)*)|(?=[.,]\d))"
    r"(?P<rest>[.,]\d*)?(?:e[+-]?\d+)?"
    r"(?P<after>[^\d]{0,20})",
    re.IGNORECASE,
)
_DAY, _MONTH = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_MONTH_NAME = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_YEAR = r"(?:\d{4}|\d\d)"
_TIME = r"(?:[T ,]+\d{1,2}:\d\d.*)?"
_DATES = [
    re.compile(pattern + _TIME, re.IGNORECASE)
    for pattern in (
        rf"{_DAY}(?P<sign>[./-]){_DAY}(?P=sign){_YEAR}",
        rf"\d{{4}}(?P<sign>[./-]){_MONTH}(?P=sign){_DAY}",
        rf"{_DAY}(?:st|nd|rd|th)?[ .-]*{_MONTH_NAME}[ ,-]*{_YEAR}",
        rf"{_MONTH_NAME}[ -]{_DAY}(?:st|nd|rd|th)?,? \d{{4}}",
    )
]
_MONTH_AND_YEAR = re.compile(
    rf"{_MONTH_NAME}[ -]\d{{4}}|\d{{4}}[-/]{_MONTH}", re.IGNORECASE
)
_CALLS = {NUMBER: "to_numeric", DATE: "to_datetime", DURATION: "to_timedelta"}


class NearlyNumeric(NamedTuple):
    """What a column of words nearly holds.

    ``kind`` is one of the numeric kinds and ``exceptions`` are values that cannot be read
    as that: all of them if ``are_few`` is True, otherwise most values are among them.
    """

    kind: str
    exceptions: list[Any]
    are_few: bool


def nearly_numeric(column: Column, kind: str) -> NearlyNumeric | None:
    """Return what a column of words nearly holds, None if it is rightly read as words.

    Parameters
    ----------
    column : Column
        Of a fit.

    kind : str
        What it holds.

    Returns
    -------
    nearly : NearlyNumeric or None
        The numeric kind, and the values that cannot be read as that.
    """
    if kind in NUMERIC or column.is_category or column.values().dtype.kind != "O":
        return None
    codes, uniques = column.factorize()
    counts = np.bincount(codes[codes >= 0], minlength=len(uniques))
    is_value = np.array([not is_blank(value) for value in uniques], dtype=bool)
    values = [value for value, keep in zip(uniques, is_value, strict=True) if keep]
    sample = slice(None, None, 1 + len(values) // SAMPLE_SIZE)
    return _compare(values, sample, counts[is_value][sample], column.may_be_codes)


def _compare(
    values: list[Any], sample: slice, counts: Array, may_be_codes: bool
) -> NearlyNumeric | None:
    plain = _in_plain_notation(values[sample])
    for kind in (NUMBER, DATE, DURATION):
        is_plain = _are_read(plain, kind)
        if not _are_most(is_plain, counts):
            continue
        kept = [value for value, keep in zip(plain, is_plain, strict=True) if keep]
        n_rows = counts[is_plain].sum() if may_be_codes else 0
        if kind_of_values(kept, n_rows) not in NUMERIC:
            continue
        are_few = _are_most(_are_read(values[sample], kind), counts)
        inspected = values if are_few else values[sample]
        exceptions = [value for value in inspected if not is_read(value, kind)]
        return NearlyNumeric(kind, exceptions, are_few)
    return None


def warn_of_nearly_numeric(columns: Iterable[Column]) -> None:
    """Warn of columns of words that nearly hold numbers, dates or durations.

    Parameters
    ----------
    columns : list of Column
        Of a fit.
    """
    found: dict[tuple[str, bool], dict[Hashable, list[Any]]] = {}
    for column in columns:
        nearly = nearly_numeric(column, kind_of(column))
        if nearly is not None:
            alike = found.setdefault((nearly.kind, nearly.are_few), {})
            alike[column.name] = nearly.exceptions
    for (kind, are_few), exceptions in found.items():
        names = [*exceptions]
        examples = "; ".join(
            f"{quoted(values, are_all=are_few)} in {name!r}"
            for name, values in exceptions.items()
        )
        call = f"pd.{_CALLS[kind]}"
        if are_few:
            message = (
                f"columns {names} of X hold {kind}s but for some values: {examples}. They "
                "are read as words for these. Correct them, or make them missing, as "
                f"{call}(column, errors='coerce') does."
            )
        else:
            before = (
                "Leave out signs and units, and write 1234.5. "
                if kind == NUMBER
                else ""
            )
            message = (
                f"columns {names} of X hold {kind}s in a notation that is not read: "
                f"{examples}. They are read as words. {before}Convert them with {call}."
            )
        warn(
            f"{message} If they are names, make them categories: astype('category').",
            ColumnWarning,
        )


def quoted(values: Sequence[Any], *, are_all: bool = True) -> str:
    """Return the first of some values as they are written, and how many more there are."""
    first = ", ".join(map(reprlib.repr, values[:MAX_QUOTED]))
    n_more = len(values) - MAX_QUOTED
    return f"{first} and {n_more} more" if are_all and n_more > 0 else first


def _are_read(values: Iterable[Any], kind: str) -> Array:
    return np.array([is_read(value, kind) for value in values], dtype=bool)


def _are_most(is_one: Array, counts: Array) -> bool:
    """Return whether at least three values are, and most of them or of the rows."""
    of_rows = counts[is_one].sum() >= MIN_SHARE * counts.sum()
    return bool(is_one.sum() >= 3 and (is_one.mean() >= MIN_SHARE or of_rows))


def _in_plain_notation(values: list[Any]) -> list[Any]:
    """Return values, with what resembles a number or a date written as one."""
    texts = [value.strip() if isinstance(value, str) else None for value in values]
    matches = [None if text is None else _NUMBER.fullmatch(text) for text in texts]
    affixes = Counter(m.group("before", "after") for m in matches if m)
    usual = {affix for affix, _ in affixes.most_common(1 + MAX_AFFIXES)}
    has_many = len(values) > MANY_VALUES
    plain = []
    for value, text, match in zip(values, texts, matches, strict=True):
        if text is not None and _is_date(text, has_many) and not is_read(value, DATE):
            plain.append("2000-01-01")
        elif match and match.group("before", "after") in usual:
            plain.append(_digits(match) if not is_read(value, NUMBER) else value)
        else:
            plain.append(value)
    return plain


def _is_date(text: str, has_many: bool) -> bool:
    """Return whether a text is a day, or one of many months, in any notation."""
    is_day = any(pattern.fullmatch(text) for pattern in _DATES)
    return is_day or (has_many and _MONTH_AND_YEAR.fullmatch(text) is not None)


def _digits(match: re.Match[str]) -> str:
    whole = re.sub(r"\D", "", match["separated"] or match["whole"] or "0")
    rest = (match["rest"] or "")[1:]
    return f"{whole}.{rest}" if rest else whole
