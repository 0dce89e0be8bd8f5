"""Columns of words that would be numbers or dates, but for how some values are written."""

import re
import reprlib
from collections import Counter

import numpy as np

from ._columns import (
    DATE,
    DURATION,
    FEW,
    NUMBER,
    NUMERIC,
    is_blank,
    is_read,
    kind_of,
    kind_of_values,
)
from ._warnings import warn
from .exceptions import ColumnWarning

MOST = 0.9  # of the different values, or of the rows
SAMPLE = 1000  # values that tell of all
AFFIXES = 3  # signs and units of one column: more of them are parts of names
QUOTED = 3  # values of a column

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
_NAME = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_YEAR = r"(?:\d{4}|\d\d)"
_TIME = r"(?:[T ,]+\d{1,2}:\d\d.*)?"
_DATES = [
    re.compile(pattern + _TIME, re.IGNORECASE)
    for pattern in (
        rf"{_DAY}(?P<sign>[./-]){_DAY}(?P=sign){_YEAR}",
        rf"\d{{4}}(?P<sign>[./-]){_MONTH}(?P=sign){_DAY}",
        rf"{_DAY}(?:st|nd|rd|th)?[ .-]*{_NAME}[ ,-]*{_YEAR}",
        rf"{_NAME}[ -]{_DAY}(?:st|nd|rd|th)?,? \d{{4}}",
    )
]
_MONTHS = re.compile(rf"{_NAME}[ -]\d{{4}}|\d{{4}}[-/]{_MONTH}", re.IGNORECASE)
_CALLS = {NUMBER: "to_numeric", DATE: "to_datetime", DURATION: "to_timedelta"}


def misread(column, kind):
    """Return what a column of words nearly holds.

    Parameters
    ----------
    column : Column
        Of a fit.

    kind : str
        What it holds.

    Returns
    -------
    nearly : tuple or None
        A kind of numbers, values that are not read as that, and whether these are all and
        a few. None for a column that is read as it should be.
    """
    if kind in NUMERIC or column.is_category or column.values().dtype.kind != "O":
        return None
    distinct, codes = column.coded()
    counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
    is_value = np.array([not is_blank(value) for value in distinct], dtype=bool)
    values = [value for value, keep in zip(distinct, is_value, strict=True) if keep]
    some = slice(None, None, 1 + len(values) // SAMPLE)
    return _nearly(values, some, counts[is_value][some], column.may_be_codes)


def _nearly(values, some, counts, may_be_codes):
    plain = _plain(values[some])
    for kind in (NUMBER, DATE, DURATION):
        is_plain = _are_read(plain, kind)
        if not _are_most(is_plain, counts):
            continue
        kept = [value for value, keep in zip(plain, is_plain, strict=True) if keep]
        n_rows = counts[is_plain].sum() if may_be_codes else 0
        if kind_of_values(kept, n_rows) not in NUMERIC:
            continue
        are_few = _are_most(_are_read(values[some], kind), counts)
        looked_at = values if are_few else values[some]
        return kind, [v for v in looked_at if not is_read(v, kind)], are_few
    return None


def warn_of_misread(columns):
    """Warn of columns of words that nearly hold numbers, dates or durations.

    Parameters
    ----------
    columns : list of Column
        Of a fit.
    """
    found: dict = {}
    for column in columns:
        nearly = misread(column, kind_of(column))
        if nearly is not None:
            kind, wrong, are_few = nearly
            found.setdefault((kind, are_few), {})[column.name] = wrong
    for (kind, are_few), wrong in found.items():
        names = [*wrong]
        told = "; ".join(
            f"{quoted(values, are_all=are_few)} in {name!r}"
            for name, values in wrong.items()
        )
        call = f"pd.{_CALLS[kind]}"
        if are_few:
            message = (
                f"columns {names} of X hold {kind}s but for some values: {told}. They "
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
                f"{told}. They are read as words. {before}Convert them with {call}."
            )
        warn(
            f"{message} If they are names, make them categories: astype('category').",
            ColumnWarning,
        )


def quoted(values, *, are_all=True):
    """Return the first of some values as they are written, and how many more there are."""
    first = ", ".join(map(reprlib.repr, values[:QUOTED]))
    n_more = len(values) - QUOTED
    return f"{first} and {n_more} more" if are_all and n_more > 0 else first


def _are_read(values, kind):
    return np.array([is_read(value, kind) for value in values], dtype=bool)


def _are_most(is_one, counts):
    """Return whether at least three values are, and most of them or of the rows."""
    of_rows = counts[is_one].sum() >= MOST * counts.sum()
    return is_one.sum() >= 3 and (is_one.mean() >= MOST or of_rows)


def _plain(values):
    """Return values with texts in the place of those that resemble numbers or dates."""
    texts = [value.strip() if isinstance(value, str) else None for value in values]
    matches = [None if text is None else _NUMBER.fullmatch(text) for text in texts]
    affixes = Counter(match.group("before", "after") for match in matches if match)
    usual = {affix for affix, _ in affixes.most_common(1 + AFFIXES)}
    has_many = len(values) > FEW
    plain = []
    for value, text, match in zip(values, texts, matches, strict=True):
        if text is not None and _is_date(text, has_many) and not is_read(value, DATE):
            plain.append("2000-01-01")
        elif match and match.group("before", "after") in usual:
            plain.append(_digits(match) if not is_read(value, NUMBER) else value)
        else:
            plain.append(value)
    return plain


def _is_date(text, has_many):
    """Return whether a text is a day, or one of many months, in any notation."""
    is_day = any(pattern.fullmatch(text) for pattern in _DATES)
    return is_day or (has_many and _MONTHS.fullmatch(text) is not None)


def _digits(match):
    whole = re.sub(r"\D", "", match["separated"] or match["whole"] or "0")
    rest = (match["rest"] or "")[1:]
    return f"{whole}.{rest}" if rest else whole
