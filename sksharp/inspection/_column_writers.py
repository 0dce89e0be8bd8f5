"""Columns of tables with other entries, each in the library of its table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from .._jobs import Array
from ..preprocessing._tables import Table, library_of
from ..preprocessing._tables import names_of as column_names_of


class ColumnWriter(Protocol):
    """Makes columns of one library from others. No column is written to."""

    @staticmethod
    def take(column: Any, rows: Array) -> Any:
        """Return the entries of some rows, missing ones where a row is -1."""

    @staticmethod
    def numbers(column: Any, values: Array) -> Any:
        """Return numbers in the place of a column, NaN for missing ones."""

    @staticmethod
    def replace(column: Any, is_replaced: Array, value: Any) -> Any:
        """Return the column of words with another word in some places."""

    @staticmethod
    def table(X: Table, columns: Sequence[Any]) -> Table:
        """Return a table like ``X`` of other columns."""


class ArrayWriter:
    """Columns of an array of numpy, which are arrays themselves."""

    @staticmethod
    def take(column: Array, rows: Array) -> Array:
        taken, is_missing = column[np.maximum(rows, 0)], rows < 0
        kind = column.dtype.kind
        if not is_missing.any():
            return taken
        if kind not in "fMm":
            taken = taken.astype(np.float64 if kind in "biu" else object)
        taken[is_missing] = "NaT" if kind in "Mm" else np.nan
        return taken

    @staticmethod
    def numbers(column: Array, values: Array) -> Array:
        return values.astype(column.dtype if column.dtype.kind == "f" else np.float64)

    @staticmethod
    def replace(column: Array, is_replaced: Array, value: Any) -> Array:
        written: Array = np.where(is_replaced, value, column)  # as wide as it must be
        return written

    @staticmethod
    def table(X: Array, columns: Sequence[Array]) -> Array:
        dtypes = {column.dtype for column in columns}
        # of integers and float32, as of scikit-learn's frames, float64
        written = np.empty(X.shape, np.result_type(*dtypes))
        for j, column in enumerate(columns):
            written[:, j] = column
        return written


class PandasWriter:
    """Columns of a frame of pandas."""

    @staticmethod
    def take(column: Any, rows: Array) -> Any:
        taken, is_missing = column.take(np.maximum(rows, 0)), rows < 0
        taken.index = column.index
        return _where_not(is_missing, taken) if is_missing.any() else taken

    @staticmethod
    def numbers(column: Any, values: Array) -> Any:
        dtype = column.dtype
        if dtype.kind != "f":
            is_plain = isinstance(dtype, np.dtype)
            of_arrow = hasattr(dtype, "pyarrow_dtype")
            nullable = "double[pyarrow]" if of_arrow else "Float64"
            dtype = np.float64 if is_plain else nullable
        return type(column)(values, index=column.index, name=column.name, dtype=dtype)

    @staticmethod
    def replace(column: Any, is_replaced: Array, value: Any) -> Any:
        if hasattr(column.dtype, "categories"):
            column = column.cat.add_categories([value])
        return _where_not(is_replaced, column, value)

    @staticmethod
    def table(X: Table, columns: Sequence[Any]) -> Table:
        written = type(X)(dict(enumerate(columns)), index=X.index)
        written.columns = X.columns  # names that repeat stay
        return written


def _where_not(is_replaced: Array, column: Any, *value: Any) -> Any:
    """Return a column of pandas with a value, or a missing one, in some places."""
    if not hasattr(column.dtype, "pyarrow_dtype"):
        return column.where(~is_replaced, *value)
    # pandas 3.1 fills the gaps of dictionaries
    replaced = column.astype(object).where(~is_replaced, *value)
    return replaced.astype(column.dtype)


class PolarsWriter:
    """Columns of a frame of polars."""

    @staticmethod
    def take(column: Any, rows: Array) -> Any:
        taken = column.gather(np.maximum(rows, 0))
        is_present = type(column)(rows >= 0)
        return taken.zip_with(is_present, column.clear(len(rows)))

    @staticmethod
    def numbers(column: Any, values: Array) -> Any:
        is_single = type(column.dtype).__name__ == "Float32"
        values = values.astype(np.float32 if is_single else np.float64)
        return type(column)(column.name, values, nan_to_null=True)

    @staticmethod
    def replace(column: Any, is_replaced: Array, value: Any) -> Any:
        values, dtype = _with_value(column.to_list(), is_replaced, value), column.dtype
        if type(dtype).__name__ == "Enum":
            dtype = type(dtype)([*dtype.categories, value])
        return type(column)(column.name, values, dtype=dtype)

    @staticmethod
    def table(X: Table, columns: Sequence[Any]) -> Table:
        return type(X)(list(columns))


class ArrowWriter:
    """Columns of a table of pyarrow."""

    @staticmethod
    def take(column: Any, rows: Array) -> Any:
        pyarrow = sys.modules["pyarrow"]
        try:
            return column.take(pyarrow.array(rows, mask=rows < 0))
        except pyarrow.ArrowNotImplementedError:  # of views
            values = column.to_pylist()
            taken = [values[row] if row >= 0 else None for row in rows]
            return pyarrow.array(taken, column.type)

    @staticmethod
    def numbers(column: Any, values: Array) -> Any:
        is_single = str(column.type) == "float"
        values = values.astype(np.float32 if is_single else np.float64)
        return sys.modules["pyarrow"].array(values, from_pandas=True)

    @staticmethod
    def replace(column: Any, is_replaced: Array, value: Any) -> Any:
        values = _with_value(column.to_pylist(), is_replaced, value)
        return sys.modules["pyarrow"].array(values, column.type)

    @staticmethod
    def table(X: Table, columns: Sequence[Any]) -> Table:
        options = {"names": column_names_of(X), "metadata": X.schema.metadata}
        return type(X).from_arrays(list(columns), **options)


def _with_value(values: list[Any], is_replaced: Array, value: Any) -> list[Any]:
    return [
        value if other else old for old, other in zip(values, is_replaced, strict=True)
    ]


WRITERS: dict[str, type[ColumnWriter]] = {
    "numpy": ArrayWriter,
    "pandas": PandasWriter,
    "polars": PolarsWriter,
    "pyarrow": ArrowWriter,
}


def writer_of(X: Table) -> type[ColumnWriter]:
    """Return what makes columns for a table."""
    return WRITERS[library_of(X)]
