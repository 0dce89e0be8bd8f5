"""What the columns of a table hold, and their values, however a frame stores them.

The kind of a column is decided once, from the values of the fit, and every later column
of that name is read as that kind: a flag may come as True, 1, 1.0 or 'True', a date as a
timestamp, a ``datetime.date`` or a text.
"""

import re
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from numbers import Real

import numpy as np
import sklearn
from scipy.sparse import issparse
from sklearn.utils.validation import _get_feature_names

MISSING = "missing"

# the kinds. Words are spelled alike: 3, 3.0 and '3.0' are one, and with 'word:5' so are
# 2134 and '02134'. Where that would make one of two words of the fit, they are texts.
NUMBER, DATE, DURATION, NOTHING = "number", "date", "duration", "nothing"
FLAG, WORD, TEXT = "flag", "word", "text"
NUMERIC = frozenset({NUMBER, DATE, DURATION, NOTHING})

FLAGS = {"true": True, "1": True, "false": False, "0": False}
BLANKS = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>", "nat"})
# what else files have where a number or a date is missing: of other programs, and of people
MARKERS = frozenset(
    {"#n/a", "#na", "#n/a n/a", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
)
MARKERS |= {
    "?",
    "-",
    "--",
    "\u2013",
    "\u2014",
    ".",
    "..",
    "...",
    "n.a.",
    "(null)",
    "\\n",
}
MARKERS |= {"unknown", "missing", "not available"}
BLANKS |= MARKERS
FEW = 32  # words that a column has before most of them must repeat

_KIND_OF_STORAGE = {"b": FLAG, "i": NUMBER, "u": NUMBER, "f": NUMBER}
_KIND_OF_STORAGE |= {"M": DATE, "m": DURATION}
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


# -- tables ------------------------------------------------------------------------------


def library_of(X):
    """Return whose frame a table is: 'pandas', 'polars' or 'pyarrow', 'numpy' if none."""
    if issparse(X):
        raise TypeError("X must be dense, got a sparse matrix. Give X.toarray().")
    if isinstance(X, np.ndarray):
        return "numpy"
    if hasattr(X, "iloc"):  # pandas, and what is made like it
        return "pandas"
    for name, classes in (
        ("polars", ["DataFrame"]),
        ("pyarrow", ["Table", "RecordBatch"]),
    ):
        library = sys.modules.get(name)
        if library and isinstance(X, tuple(getattr(library, of) for of in classes)):
            return name
    kind = type(X)
    ways_out = {"collect": "X.collect()", "to_pandas": "X.to_pandas()"}
    way_out = next(
        (call for name, call in ways_out.items() if hasattr(X, name)),
        "numpy.asarray(X)",
    )
    raise TypeError(
        "X must be a DataFrame of pandas or polars, a table of pyarrow or an array of "
        f"numpy, got a {kind.__name__} of {kind.__module__.partition('.')[0]}. Give "
        f"{way_out}."
    )


def is_frame(X):
    """Return whether rows are a table with names, of a library that is read here."""
    try:
        return library_of(X) != "numpy"
    except TypeError:
        return False


def as_table(X):
    """Return a table of a class that scikit-learn chooses columns of; a list as it is."""
    library = None if isinstance(X, list | tuple) else library_of(X)
    if library == "pyarrow":
        pyarrow = sys.modules["pyarrow"]
        is_batch = isinstance(X, pyarrow.RecordBatch)
        X = pyarrow.Table.from_batches([X]) if is_batch else X
    if library in ("polars", "pyarrow") and _get_feature_names(X) is None:
        raise TypeError(
            f"X must be a frame whose columns scikit-learn {sklearn.__version__} finds by "
            f"name, got one of {library} {sys.modules[library].__version__}. Give "
            "X.to_pandas(), or update scikit-learn to 1.9 or later."
        )
    return X


def names_of(X):
    """Return the names of the columns of a frame."""
    of_schema = library_of(X) == "pyarrow"
    return [*(X.schema.names if of_schema else X.columns)]


def columns_of(X):
    """Return the columns of a table, as a list."""
    library = library_of(X)
    shape = X.shape
    if len(shape) != 2:
        raise ValueError(
            f"Expected a table of rows and columns, got {len(shape)} dimension(s) of shape "
            f"{shape}. Give a single column as a DataFrame, or reshape(-1, 1) an array."
        )
    names = range(shape[1]) if library == "numpy" else names_of(X)
    Class = COLUMNS[library]
    return [Class(X, j, name) for j, name in enumerate(names)]


class Column:
    """A column of an array.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The table.

    place : int
        Which of its columns.

    name : hashable
        How errors call it.
    """

    is_category = False  # whether it was declared to be one
    may_be_codes = False  # whether whole numbers that are text may be categories

    def __init__(self, X, place, name):
        self.name = name
        self.stored = self._take(X, place)

    def _take(self, X, place):
        return X[:, place]

    def _convert(self, *, exact):
        return self.stored

    def values(self, *, exact=False):
        """Return an array of booleans, numbers, dates or durations, or of objects.

        Where a value is missing, booleans are objects, and integers are floats, or objects
        if they are to be ``exact``.
        """
        values = self._convert(exact=exact)
        is_known = values.dtype.kind in _KIND_OF_STORAGE
        return values if is_known else values.astype(object, copy=False)

    def coded(self):
        """Return the values that occur, and which of them every row has, -1 for none."""
        values = self.values(exact=True)
        if values.dtype.kind == "O":
            return _coded(values)
        missing = is_missing(values)
        if values.dtype.kind in "Mm":
            values = values.astype(f"{values.dtype.kind}8[us]")
        distinct, places = np.unique(values[~missing], return_inverse=True)
        codes = np.full(len(values), -1)
        codes[~missing] = places
        # the digits of single precision are fewer
        return [*distinct] if values.dtype == np.float32 else distinct.tolist(), codes


class PandasColumn(Column):
    """A column of a frame of pandas."""

    may_be_codes = True

    def _take(self, X, place):
        column = X.iloc[:, place]
        of_arrow = str(getattr(column.dtype, "pyarrow_dtype", ""))
        self.is_category = hasattr(column.dtype, "categories") or of_arrow.startswith(
            "dictionary"
        )
        return column

    def _convert(self, *, exact):
        column, dtype = self.stored, self.stored.dtype
        if isinstance(dtype, np.dtype):
            return column.to_numpy()
        kind = "O" if self.is_category else dtype.kind
        if kind in "Mm":
            return column.to_numpy(dtype=f"{kind}8[us]")
        if kind not in "biuf":
            return column.to_numpy(dtype=object)
        if kind == "f":
            is_single = getattr(dtype, "itemsize", 8) == 4
            dtype = np.float32 if is_single else np.float64
            return column.to_numpy(dtype=dtype, na_value=np.nan)
        if not column.isna().any():
            return column.to_numpy(
                dtype={"b": bool, "i": np.int64, "u": np.uint64}[kind]
            )
        if kind == "b" or exact:
            return column.to_numpy(dtype=object)
        return column.to_numpy(dtype=np.float64, na_value=np.nan)

    def coded(self):
        """Return the values that occur, and which of them every row has, -1 for none."""
        if not hasattr(self.stored.dtype, "categories"):
            return super().coded()
        codes = self.stored.cat.codes.to_numpy(dtype=np.intp)
        occurring, places = np.unique(codes[codes >= 0], return_inverse=True)
        categories = self.stored.cat.categories.to_numpy(dtype=object)
        found = np.full(len(codes), -1)
        found[codes >= 0] = places
        return [*categories[occurring]], found


class PolarsColumn(Column):
    """A column of a frame of polars."""

    may_be_codes = True

    def _take(self, X, place):
        column = X.to_series(place)
        self.is_category = type(column.dtype).__name__ in ("Categorical", "Enum")
        return column

    def _convert(self, *, exact):
        column, dtype = self.stored, self.stored.dtype
        kind = type(dtype).__name__
        has_gaps = column.null_count() > 0
        as_objects = has_gaps and (kind == "Boolean" or (exact and dtype.is_integer()))
        # a cast of decimals is not the nearest float
        is_plain = (
            dtype.is_integer()
            or dtype.is_float()
            or kind
            in (
                "Date",
                "Datetime",
                "Duration",
                "Boolean",
            )
        )
        if as_objects or not is_plain:
            return _objects(column.to_list())
        return column.to_numpy()


class ArrowColumn(Column):
    """A column of a table of pyarrow."""

    may_be_codes = True

    def _take(self, X, place):
        column = X.column(place)
        self.is_category = sys.modules["pyarrow"].types.is_dictionary(column.type)
        return column.cast(column.type.value_type) if self.is_category else column

    def _convert(self, *, exact):
        types, column = sys.modules["pyarrow"].types, self.stored
        kind = column.type
        is_integer, has_gaps = types.is_integer(kind), column.null_count > 0
        if is_integer and has_gaps and not exact:
            return column.cast("float64").to_numpy(zero_copy_only=False)
        is_plain = (
            types.is_floating(kind)
            or types.is_date(kind)
            or types.is_timestamp(kind)
            or types.is_duration(kind)
            or ((is_integer or types.is_boolean(kind)) and not has_gaps)
        )
        if not is_plain:
            return _objects(column.to_pylist())
        return column.to_numpy(zero_copy_only=False)


COLUMNS = {
    "numpy": Column,
    "pandas": PandasColumn,
    "polars": PolarsColumn,
    "pyarrow": ArrowColumn,
}


def _objects(values):
    array = np.empty(len(values), dtype=object)  # lists stay elements
    array[:] = values
    return array


def _coded(values):
    """Return the distinct objects, and which of them every row has, -1 for none."""
    kinds = {*map(type, values)}
    if any(issubclass(kind, Decimal) for kind in kinds):
        # one that signals has no hash
        values = [None if _is_gap(value) else value for value in values]
        kinds = {*map(type, values)}
    # True, 1 and 1.0 are equal, and not the same word
    keys = values if len(kinds) == 1 else zip(map(type, values), values, strict=True)
    places: dict = {}
    codes = np.fromiter(
        (places.setdefault(key, len(places)) for key in keys), np.intp, len(values)
    )
    distinct = [*places] if len(kinds) == 1 else [value for _, value in places]
    has_value = np.array([not _is_gap(value) for value in distinct], dtype=bool)
    renumbered = np.where(has_value, np.cumsum(has_value) - 1, -1)
    return [
        value for value, is_kept in zip(distinct, has_value, strict=True) if is_kept
    ], renumbered[codes] if len(codes) else codes


def is_missing(values):
    """Return which values of an array are missing."""
    kind = values.dtype.kind
    if kind == "f":
        return np.isnan(values)
    if kind in "Mm":
        return np.isnat(values)
    return np.zeros(len(values), dtype=bool)


def _is_gap(value):
    if type(value).__name__ in ("NoneType", "NAType", "NaTType"):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()  # one that signals raises where it is compared
    kinds = float | np.floating | np.datetime64 | np.timedelta64
    return isinstance(value, kinds) and value != value


# -- what a column holds -------------------------------------------------------------------


def kind_of(column):
    """Return what a column of the fit holds, from its values."""
    if not column.is_category:
        values = column.values()
        kind = _KIND_OF_STORAGE.get(values.dtype.kind)
        if kind is not None:
            return NOTHING if is_missing(values).all() else kind
    try:
        distinct, codes = column.coded()
    except TypeError as error:  # a value has no hash
        kinds = {type(value).__name__: None for value in values if not _is_gap(value)}
        raise TypeError(
            f"column {column.name!r} of X must hold numbers, dates, booleans or words, got "
            f"{', '.join(kinds)}. Give every element a column of its own, or leave the "
            "column out."
        ) from error
    if not distinct:
        return NOTHING
    if column.is_category:
        return _kind_of_categories(distinct)
    return kind_of_values(distinct, (codes >= 0).sum() if column.may_be_codes else 0)


def kind_of_values(distinct, n_present):
    """Return what a column of some values holds.

    Parameters
    ----------
    distinct : list
        Values that occur, none of them missing.

    n_present : int
        Rows that have one. 0 if whole numbers that are text are no categories.

    Returns
    -------
    kind : str
        One of those above.
    """
    groups = {_group(kind) for kind in {*map(type, distinct)}}
    if groups == {TEXT}:
        return _kind_of_texts([*map(_decoded, distinct)], n_present)
    others = groups - {TEXT}
    kind = WORD if len(others) > 1 else next(iter(others))
    if others == {FLAG, NUMBER}:
        kind = NUMBER
    texts = [_decoded(value) for value in distinct if _is_text(value)]
    if kind == WORD or not all(is_read(text, kind) for text in texts):
        return _kind_of_words(distinct)
    has_names = kind == NUMBER and any(map(_has_leading_zero, texts))
    return _kind_of_words(distinct) if has_names else kind


def is_text(column):
    """Return whether a column stores texts, whatever they tell of."""
    if column.is_category or column.values().dtype.kind != "O":
        return False
    return any(map(_is_text, column.coded()[0]))


def markers_of(column):
    """Return the texts that a column has in the place of numbers or dates."""
    texts = [_decoded(value).strip() for value in column.coded()[0] if _is_text(value)]
    return [
        text for text in texts if text.lower() in MARKERS or text.startswith(_NO_DATE)
    ]


def is_mostly_unique(words):
    """Return whether words are many, and more than half the rows, as of a name or a key."""
    present = words[words != MISSING]
    return len({*present}) > max(FEW, len(present) / 2)


def _group(kind):
    """Return what a Python class holds; WORD for one that is nothing of it."""
    if issubclass(kind, bool | np.bool_):
        return FLAG
    if issubclass(kind, str | bytes):
        return TEXT
    if issubclass(kind, date | np.datetime64) or kind.__name__ == "Period":
        return DATE
    # before numbers: a duration of numpy is an integer too
    if issubclass(kind, timedelta | time | np.timedelta64):
        return DURATION
    return NUMBER if issubclass(kind, Real | Decimal) else WORD


def _kind_of_categories(distinct):
    groups = {_group(type(value)) for value in distinct}
    if groups <= {FLAG, NUMBER, TEXT} and all(
        _spelled(value).lower() in FLAGS for value in distinct
    ):
        return FLAG
    return _kind_of_words(distinct)


def _kind_of_texts(distinct, n_present):
    real = [text for text in distinct if not is_blank(text)]
    if not real:
        return _kind_of_words(distinct)
    if all(_spelled(text.strip()).lower() in FLAGS for text in real):
        return FLAG
    if all(is_read(text, NUMBER) for text in real) and not any(
        map(_has_leading_zero, real)
    ):
        is_code = all(_spelled(text.strip()).lstrip("-").isdigit() for text in real)
        repeats = len(real) <= min(FEW, n_present / 2)
        return _kind_of_words(distinct) if is_code and repeats else NUMBER
    for kind in (DATE, DURATION):
        if all(is_read(text, kind) for text in real):
            return kind
    return _kind_of_words(distinct)


def _kind_of_words(distinct):
    """Return how the words of a column are spelled."""
    texts = [_decoded(value) for value in distinct if _is_text(value)]
    width = len(texts[0]) if texts else 0
    if (
        width > 1
        and any(map(_has_leading_zero, texts))
        and all(len(text) == width and text.isdecimal() for text in texts)
    ):
        return f"{WORD}:{width}"
    return WORD if len({*map(_spelled, texts)}) == len(texts) else TEXT


def is_read(value, kind):
    """Return whether a value is one of a kind, or tells that there is none."""
    try:
        PARSERS[kind](value)
    except (
        TypeError,
        ValueError,
        OverflowError,
    ):  # a day that Python's calendar has not
        return False
    return True


def is_blank(value):
    """Return whether a value is a text that says that there is none."""
    return _is_text(value) and _decoded(value).strip().lower() in BLANKS


def _has_leading_zero(text):
    return len(text) > 1 and text[0] == "0" and text[1:].isdecimal()


# -- numbers -------------------------------------------------------------------------------


def numbers(column, kind):
    """Return a column as floats, dates and durations in days, missing values as NaN."""
    values = column.values()
    storage = values.dtype.kind
    if kind == NOTHING:
        return np.full(len(values), np.nan)
    if kind == NUMBER and storage in "biuf":
        return values if values.dtype == np.float32 else values.astype(np.float64)
    if _KIND_OF_STORAGE.get(storage) != kind:
        values = _parsed(column, kind)
    return values if kind == NUMBER else _days(values)


def _days(values):
    """Return dates since 1970, or durations, in days."""
    kind = values.dtype.kind
    values = values.astype(f"{kind}8[us]")
    since = values - np.datetime64(0, "us") if kind == "M" else values
    return since / np.timedelta64(1, "D")


def _parsed(column, kind):
    distinct, codes = column.coded()
    dtype = {NUMBER: np.float64, DATE: "M8[us]", DURATION: "m8[us]"}[kind]
    # the last is for rows without a value
    parsed = np.full(len(distinct) + 1, "nan" if kind == NUMBER else "NaT", dtype=dtype)
    for place, value in enumerate(distinct):
        try:
            parsed[place] = PARSERS[kind](value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"column {column.name!r} of X must hold {kind}s, as in the fit, got "
                f"{value!r}. Give {kind}s, and None where one is missing."
            ) from error
    return parsed[codes]


def _number(value):
    if isinstance(value, str | bytes):
        text = _decoded(value).strip()
        if text.lower() in BLANKS:
            return np.nan
        if text.lower() in FLAGS:
            return float(FLAGS[text.lower()])
        if "_" in text:
            raise ValueError("an underscore is not a digit")
        return float(text)
    if _group(type(value)) not in (FLAG, NUMBER):
        raise TypeError("not a number")
    return float(value)


def _date(value):
    if isinstance(value, str | bytes):
        text = _decoded(value).strip()
        if text.lower() in BLANKS or text.startswith(_NO_DATE):
            return "NaT"
        if not _DATE_TEXT.fullmatch(text):
            raise ValueError("not a date of ISO 8601")
        value = datetime.fromisoformat(text)
    if type(value).__name__ == "Period":
        value = value.to_timestamp()
    if not isinstance(value, date | np.datetime64):
        raise TypeError("not a date")
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(value).astype("M8[us]")


def _duration(value):
    if isinstance(value, time):
        value = datetime.combine(date.min, value.replace(tzinfo=None)) - datetime.min
    if isinstance(value, str | bytes):
        text = _decoded(value).strip()
        if text.lower() in BLANKS:
            return "NaT"
        matches = [pattern.fullmatch(text) for pattern in _DURATION_TEXTS]
        parts = next((match.groupdict() for match in matches if match), {})
        given = {name: float(part) for name, part in parts.items() if part}
        if not given:
            raise ValueError("not a duration")
        value = timedelta(**given)
    if not isinstance(value, timedelta | np.timedelta64):
        raise TypeError("not a duration")
    return np.timedelta64(value).astype("m8[us]")


def _boolean(value):
    text = _spelled(value).strip().lower()
    if text not in FLAGS and not is_blank(text):
        raise ValueError("not a flag")
    return FLAGS.get(text)


PARSERS = {NUMBER: _number, DATE: _date, DURATION: _duration, FLAG: _boolean}


# -- words ---------------------------------------------------------------------------------


def words(column, kind):
    """Return a column as an array of words, with one for missing values.

    Where no fit has told the kind, which is then None, texts are as they are.
    """
    found, codes = coded_words(column, kind)
    return found[codes]


def coded_words(column, kind):
    """Return the words of a column and that for missing values, and which every row has."""
    distinct, codes = column.coded()
    found = [*map(_speller(kind), distinct), MISSING]
    return np.array(found, dtype=object), codes


def _speller(kind):
    if kind is None:
        return as_text
    if kind == FLAG:
        return _flag
    name, _, width = kind.partition(":")
    width = int(width or 0)
    spell = as_text if name == TEXT else lambda value: _spelled(value, width)
    # an empty text is what a file has where a value is missing
    return lambda value: spell(value) or MISSING


def _flag(value):
    word = _spelled(value).strip()
    if word.lower() in FLAGS:
        return str(FLAGS[word.lower()])
    return MISSING if word.lower() in BLANKS else word


def as_text(value):
    """Return a value as a word, a text as it is."""
    if _is_gap(value):
        return MISSING
    return value if isinstance(value, str) else _spelled(value)


def _spelled(value, width=0):
    """Return a value as a word, whole numbers without a point and ``width`` digits."""
    kind = _group(type(value))
    if kind == TEXT:
        text = _decoded(value)
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
        return str(_date(value).item()).removesuffix(" 00:00:00")
    if kind == DURATION and not isinstance(value, time):
        return str(_duration(value).item())
    return str(value)


def _is_text(value):
    return isinstance(value, str | bytes)


def _decoded(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else value
