"""Tables of any library, and their columns as arrays of numpy."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import sklearn
from numpy.typing import DTypeLike
from scipy.sparse import issparse
from sklearn.utils.validation import _get_feature_names

from .._jobs import Array
from ._values import is_missing

Table: TypeAlias = Any  # a frame of pandas or polars, a table of pyarrow, or an Array

# kinds of numpy's dtypes that are no objects: booleans, numbers, dates and durations
STORED_KINDS = "biufMm"


def library_of(X: Any) -> str:
    """Return the library of a table: 'numpy', 'pandas', 'polars' or 'pyarrow'."""
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


def is_frame(X: Any) -> bool:
    """Return whether rows are a table with named columns, of a supported library."""
    try:
        return library_of(X) != "numpy"
    except TypeError:
        return False


def as_table(X: Any) -> Table:
    """Return a table whose columns scikit-learn can select; a list as it is."""
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


def names_of(X: Table) -> list[Hashable]:
    """Return the names of the columns of a frame."""
    of_schema = library_of(X) == "pyarrow"
    return [*(X.schema.names if of_schema else X.columns)]


def columns_of(X: Table) -> list[Column]:
    """Return the columns of a table, as a list."""
    library = library_of(X)
    check_dimensions(X)
    is_array = library == "numpy"
    names: Iterable[Hashable] = range(X.shape[1]) if is_array else names_of(X)
    Class = COLUMNS[library]
    return [Class(X, j, name) for j, name in enumerate(names)]


def check_dimensions(X: Any) -> None:
    """Raise unless a table or a sparse matrix has rows and columns."""
    if len(X.shape) != 2:
        raise ValueError(
            f"Expected a table of rows and columns, got {len(X.shape)} dimension(s) of "
            f"shape {X.shape}. Give a single column as a DataFrame, or reshape(-1, 1) an "
            "array."
        )


def cast(X: Table, dtype: DTypeLike) -> Table:
    """Return an array or a frame of numbers in another dtype."""
    if isinstance(X, np.ndarray):
        return X.astype(dtype, copy=False)
    if library_of(X) == "polars":
        return X.cast(getattr(sys.modules["polars"], np.dtype(dtype).name.title()))
    return X.astype(dtype)


class Column:
    """A column of an array.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The table.

    index : int
        Position of the column.

    name : hashable
        Its name, for messages.
    """

    is_category = False  # whether it is declared as one
    may_be_codes = False  # whether whole numbers stored as text may be categories

    def __init__(self, X: Table, index: int, name: Hashable) -> None:
        self.name = name
        self.stored = self._take(X, index)

    def _take(self, X: Table, index: int) -> Any:
        return X[:, index]

    def _convert(self, *, exact: bool) -> Array:
        values: Array = self.stored
        return values

    def values(self, *, exact: bool = False) -> Array:
        """Return an array of booleans, numbers, dates or durations, or of objects.

        With missing values, booleans become objects, and integers become floats, or objects
        if ``exact`` is True.
        """
        values = self._convert(exact=exact)
        is_plain = values.dtype.kind in STORED_KINDS
        return values if is_plain else values.astype(object, copy=False)

    def factorize(self) -> tuple[Array, list[Any]]:
        """Return codes of shape (n_samples,), -1 where missing, and the distinct values."""
        values = self.values(exact=True)
        if values.dtype.kind == "O":
            try:
                return _factorize_objects(values)
            except TypeError as error:  # a value has no hash
                raise TypeError(_of_no_words(self.name, values)) from error
        missing = missing_mask(values)
        if values.dtype.kind in "Mm":
            values = values.astype(f"{values.dtype.kind}8[us]")
        uniques, inverse = np.unique(values[~missing], return_inverse=True)
        codes = np.full(len(values), -1)
        codes[~missing] = inverse
        # tolist would write out float32 with the digits of a double
        is_single = values.dtype == np.float32
        return codes, [*uniques] if is_single else uniques.tolist()

    def categories(self) -> list[Any]:
        """Return the distinct values, and the categories that are declared besides."""
        return self.factorize()[1]


class PandasColumn(Column):
    """A column of a frame of pandas."""

    may_be_codes = True

    def _take(self, X: Table, index: int) -> Any:
        column = X.iloc[:, index]
        of_arrow = str(getattr(column.dtype, "pyarrow_dtype", ""))
        self.is_category = hasattr(column.dtype, "categories") or of_arrow.startswith(
            "dictionary"
        )
        return column

    def _convert(self, *, exact: bool) -> Any:
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

    def factorize(self) -> tuple[Array, list[Any]]:
        """Return codes of shape (n_samples,), -1 where missing, and the distinct values."""
        if not hasattr(self.stored.dtype, "categories"):
            return super().factorize()
        codes = self.stored.cat.codes.to_numpy(dtype=np.intp)
        occurring, inverse = np.unique(codes[codes >= 0], return_inverse=True)
        categories = self.stored.cat.categories.to_numpy(dtype=object)
        codes[codes >= 0] = inverse
        return codes, [*categories[occurring]]

    def categories(self) -> list[Any]:
        """Return the distinct values, and the categories that are declared besides."""
        if not hasattr(self.stored.dtype, "categories"):
            return super().categories()
        return [*self.stored.cat.categories.to_numpy(dtype=object)]


class PolarsColumn(Column):
    """A column of a frame of polars."""

    may_be_codes = True

    def _take(self, X: Table, index: int) -> Any:
        column = X.to_series(index)
        self.is_category = type(column.dtype).__name__ in ("Categorical", "Enum")
        return column

    def _convert(self, *, exact: bool) -> Any:
        column, dtype = self.stored, self.stored.dtype
        kind = type(dtype).__name__
        has_gaps = column.null_count() > 0
        as_objects = has_gaps and (kind == "Boolean" or (exact and dtype.is_integer()))
        # a cast of decimals is not the nearest float, and numpy has no 128 bits
        is_number = dtype.is_float() or (dtype.is_integer() and "128" not in kind)
        is_plain = is_number or kind in ("Date", "Datetime", "Duration", "Boolean")
        if as_objects or not is_plain:
            return _objects(column.to_list())
        return column.to_numpy()

    def categories(self) -> list[Any]:
        """Return the distinct values, and the categories that are declared besides."""
        dtype = self.stored.dtype
        is_enum = type(dtype).__name__ == "Enum"
        return [*dtype.categories] if is_enum else super().categories()


class ArrowColumn(Column):
    """A column of a table of pyarrow."""

    may_be_codes = True

    def _take(self, X: Table, index: int) -> Any:
        column = X.column(index)
        self.is_category = sys.modules["pyarrow"].types.is_dictionary(column.type)
        return column

    def _convert(self, *, exact: bool) -> Any:
        types, column = sys.modules["pyarrow"].types, self.stored
        if self.is_category:
            column = column.cast(column.type.value_type)
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


COLUMNS: dict[str, type[Column]] = {
    "numpy": Column,
    "pandas": PandasColumn,
    "polars": PolarsColumn,
    "pyarrow": ArrowColumn,
}


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)  # lists stay elements
    array[:] = values
    return array


def _of_no_words(name: Hashable, values: Array) -> str:
    classes = {type(value).__name__: None for value in values if not is_missing(value)}
    return (
        f"column {name!r} of X must hold numbers, dates, booleans or words, got "
        f"{', '.join(classes)}. Give every element a column of its own, or leave the "
        "column out."
    )


def _factorize_objects(values: Array) -> tuple[Array, list[Any]]:
    classes = {*map(type, values)}
    if any(issubclass(cls, Decimal) for cls in classes):
        # a signaling NaN has no hash
        values = _objects([None if is_missing(value) else value for value in values])
        classes = {*map(type, values)}
    # True, 1 and 1.0 are equal, and not the same word
    has_one_class = len(classes) == 1
    keys = values if has_one_class else zip(map(type, values), values, strict=True)
    indices: dict[Any, int] = {}
    codes = np.fromiter(
        (indices.setdefault(key, len(indices)) for key in keys), np.intp, len(values)
    )
    uniques = [*indices] if has_one_class else [value for _, value in indices]
    is_present = np.array([not is_missing(value) for value in uniques], dtype=bool)
    renumbered = np.where(is_present, np.cumsum(is_present) - 1, -1)
    present = [v for v, is_kept in zip(uniques, is_present, strict=True) if is_kept]
    return renumbered[codes] if len(codes) else codes, present


def missing_mask(values: Array) -> Array:
    """Return which values of an array of no objects are missing."""
    kind = values.dtype.kind
    if kind == "f":
        return np.isnan(values)
    if kind in "Mm":
        return np.isnat(values)
    return np.zeros(len(values), dtype=bool)
