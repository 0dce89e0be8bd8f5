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
        written = column.astype(object)
        written[is_replaced] = value
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
        return taken.mask(is_missing) if is_missing.any() else taken

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
        elif hasattr(column.dtype, "pyarrow_dtype"):
            column = column.astype(object)  # a dictionary takes no new value
        return column.where(~is_replaced, value)

    @staticmethod
    def table(X: Table, columns: Sequence[Any]) -> Table:
        written = type(X)(dict(enumerate(columns)), index=X.index)
        written.columns = X.columns  # names that repeat stay
        return written


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
        texts = column.cast(sys.modules["polars"].String).to_list()
        return type(column)(column.name, _with_value(texts, is_replaced, value))

    @staticmethod
    def table(X: Table, columns: Sequence[Any]) -> Table:
        return type(X)(list(columns))


class ArrowWriter:
    """Columns of a table of pyarrow."""

    @staticmethod
    def take(column: Any, rows: Array) -> Any:
        return column.take(sys.modules["pyarrow"].array(rows, mask=rows < 0))

    @staticmethod
    def numbers(column: Any, values: Array) -> Any:
        is_single = str(column.type) == "float"
        values = values.astype(np.float32 if is_single else np.float64)
        return sys.modules["pyarrow"].array(values, from_pandas=True)

    @staticmethod
    def replace(column: Any, is_replaced: Array, value: Any) -> Any:
        texts = _with_value(column.to_pylist(), is_replaced, value)
        return sys.modules["pyarrow"].array(texts)

    @staticmethod
    def table(X: Table, columns: Sequence[Any]) -> Table:
        Table_ = sys.modules["pyarrow"].Table
        return Table_.from_arrays(list(columns), names=column_names_of(X))


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
