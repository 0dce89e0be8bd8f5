"""Perturbations of rows: tables that differ from those of the training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import issparse

from .._jobs import Array
from ..preprocessing._kinds import stores_text
from ..preprocessing._tables import Column, check_dimensions, columns_of, library_of
from ..preprocessing._tables import names_of as column_names_of
from ..preprocessing._values import NUMBER, is_missing, kind_of_class
from ._column_writers import ArrayWriter, ColumnWriter, writer_of

RandomState = np.random.RandomState
SEEDS = np.iinfo(np.int32).max  # as scikit-learn draws the seeds of repeats

# -- numbers of a column -------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of the finite entries of a numeric column."""

    mean: float
    std: float


def add_noise(
    values: Array, spread: Spread, strength: float, rng: RandomState
) -> Array:
    """Return values with independent Gaussian noise."""
    return values + strength * spread.std * rng.standard_normal(len(values))


def round_off(
    values: Array, spread: Spread, strength: float, rng: RandomState
) -> Array:
    """Return the nearest multiples of a step, counted from the mean."""
    step = strength * spread.std
    n_steps = (values - spread.mean) / step
    # a step may be too small to be counted
    rounded: Array = np.where(
        np.isfinite(n_steps), spread.mean + step * np.rint(n_steps), values
    )
    return rounded


def shift(values: Array, spread: Spread, strength: float, rng: RandomState) -> Array:
    """Return values that are all moved up, or all moved down."""
    return values + _sign(rng) * strength * spread.std


def scale(values: Array, spread: Spread, strength: float, rng: RandomState) -> Array:
    """Return values whose distances to the mean all grow, or all shrink."""
    factor = np.exp(_sign(rng) * strength)
    scaled: Array = spread.mean + factor * (values - spread.mean)
    return scaled


def _sign(rng: RandomState) -> int:
    return 2 * int(rng.randint(2)) - 1


# -- a share of the entries of a column ----------------------------------------------------


@dataclass(frozen=True)
class Entries:
    """A column, which of its entries are replaced, and what is known of the column."""

    column: Column
    writer: type[ColumnWriter]
    is_replaced: Array
    rng: RandomState
    known: Any

    @property
    def stored(self) -> Any:
        """The column in its library."""
        return self.column.stored

    def taken(self, source: Array | int) -> Any:
        """Return the column with the entries of other rows in the place of some."""
        rows = np.arange(len(self.is_replaced))
        return self.writer.take(self.stored, np.where(self.is_replaced, source, rows))


def blank_out(entries: Entries) -> Any:
    """Return the column with missing values."""
    return entries.taken(-1)


def swap(entries: Entries) -> Any:
    """Return the column with values of other rows."""
    n = len(entries.is_replaced)
    return entries.taken((np.arange(n) + 1 + entries.rng.randint(n - 1, size=n)) % n)


def fill(entries: Entries) -> Any:
    """Return the column with its mean, or its most frequent value."""
    if not isinstance(entries.known, Spread):
        return entries.taken(entries.known)
    values = numbers_of(entries.column)
    assert values is not None
    values = np.where(entries.is_replaced, entries.known.mean, values)
    return entries.writer.numbers(entries.stored, values)


def make_unseen(entries: Entries) -> Any:
    """Return the column with a category that it does not have."""
    return entries.writer.replace(entries.stored, entries.is_replaced, entries.known)


OF_NUMBERS: dict[str, Callable[[Array, Spread, float, RandomState], Array]] = {
    "noise": add_noise,
    "rounding": round_off,
    "shift": shift,
    "scale": scale,
}
OF_ENTRIES: dict[str, Callable[[Entries], Any]] = {
    "missing": blank_out,
    "constant": fill,
    "swap": swap,
    "unseen": make_unseen,
}
OF_SPARSE = ("swap",)  # of which a sparse matrix stays sparse


# -- columns -------------------------------------------------------------------------------


def numbers_of(column: Column) -> Array | None:
    """Return a numeric column as float64, missing values as NaN; None of any other."""
    if column.is_category:
        return None
    values = column.values()
    if values.dtype.kind in "iuf":
        return values.astype(np.float64)
    if values.dtype.kind != "O":
        return None
    is_present = np.array([not is_missing(value) for value in values], dtype=bool)
    kinds = {kind_of_class(cls) for cls in {*map(type, values[is_present])}}
    if kinds != {NUMBER}:
        return None
    numbers = np.full(len(values), np.nan)
    try:
        numbers[is_present] = values[is_present].astype(np.float64)
    except OverflowError as error:
        raise ValueError(_of_large_numbers(column)) from error
    return numbers


def spread_of(column: Column) -> Spread | None:
    """Return mean and standard deviation of a numeric column, None of any other.

    NaN and 0 of a column without an entry.
    """
    values = numbers_of(column)
    if values is None:
        return None
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Spread(np.nan, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        # the standard deviation of equal numbers is not always 0
        std = 0.0 if finite.min() == finite.max() else finite.std()
        mean = finite.mean()
    if not np.isfinite([mean, std]).all():
        raise ValueError(_of_large_numbers(column))
    return Spread(float(mean), float(std))


def _of_large_numbers(column: Column) -> str:
    return (
        f"column {column.name!r} of X must have a finite mean and standard deviation, got "
        "numbers that are too large for them. Give it in other units, or name the columns "
        "that may change in features."
    )


def constant_of(column: Column) -> Spread | int:
    """Return mean and deviation of numbers, of any other a row with the usual value."""
    spread = spread_of(column)
    if spread is not None:
        return spread
    codes, uniques = column.factorize()
    if not uniques:
        return 0  # missing, as all are
    # the first row with the most frequent value, of equals the first to occur
    present = codes[codes >= 0]
    counts = np.bincount(present)
    most = present[np.argmax(counts[present] == counts.max())]
    return int(np.argmax(codes == most))


def unseen_of(column: Column) -> Any:
    """Return a category that a column does not have, None if it is of none."""
    if not column.is_category and not stores_text(column):
        return None
    categories = column.categories()
    kinds = {kind_of_class(type(value)) for value in categories}
    if kinds == {NUMBER}:
        number = max((c for c in categories if abs(c) < np.inf), default=0) + 1
        while number in categories:
            number *= 2  # of large floats, the next one is the same
        return number
    word = "never seen"
    while word in categories or word.encode() in categories:
        word += "!"
    are_bytes = bool(categories) and all(isinstance(c, bytes) for c in categories)
    return word.encode() if are_bytes else word


def _nothing_of(column: Column) -> bool:
    return True


KNOWN: dict[str, Callable[[Column], Any]] = {
    **dict.fromkeys(OF_NUMBERS, spread_of),
    "missing": _nothing_of,
    "constant": constant_of,
    "swap": _nothing_of,
    "unseen": unseen_of,
}


# -- rows ----------------------------------------------------------------------------------


class RowPerturbation:
    """A perturbation of rows by its name.

    Every column draws from a generator of its own, so that it does not matter which other
    columns are perturbed. In a repeat all strengths draw the same numbers.

    Parameters
    ----------
    name : str
        One of ``OF_NUMBERS`` and ``OF_ENTRIES``.

    X : table or sparse matrix of shape (n_samples, n_features)
        The rows, of which the spread of the columns is taken.

    features : list of int or str, or None
        Columns to perturb, None for all.
    """

    is_of_weights = False

    def __init__(self, name: str, X: Any, features: Sequence[Any] | None) -> None:
        self.name = name
        self.is_random = name != "rounding"
        X = _as_table(X)
        _check_table(name, X)
        chosen = _chosen(X, features)
        self.known: dict[int, Any] = dict.fromkeys(chosen, True)
        if issparse(X):
            return
        columns = columns_of(X)
        found = {j: KNOWN[name](columns[j]) for j in chosen}
        self.known = {j: known for j, known in found.items() if known is not None}
        if not self.known:
            kind, others = (
                ("categorical", "'swap' or 'noise'")
                if name == "unseen"
                else ("numeric", "'swap' or 'missing'")
            )
            raise ValueError(
                f"X must have a {kind} column among those to perturb with "
                f"perturbation={name!r}, got none. Take {others}, or other features."
            )

    def __call__(self, X: Any, strength: float, rng: RandomState) -> Any:
        """Return perturbed rows; ``X`` itself is left as it is."""
        X = _as_table(X)
        seeds = rng.randint(SEEDS, size=X.shape[1])
        if issparse(X):
            return self._sparse(X, strength, seeds)
        writer, columns = writer_of(X), columns_of(X)
        written = [
            self._column(j, writer, columns[j], strength, RandomState(seeds[j]))
            if j in self.known
            else columns[j].stored
            for j in range(len(columns))
        ]
        return writer.table(X, written)

    def _sparse(self, X: Any, strength: float, seeds: Array) -> Any:
        by_column = X.tocsc(copy=True)
        by_column.sum_duplicates()
        parts = []
        for j in range(X.shape[1]):
            at = slice(*by_column.indptr[j : j + 2])
            rows, values = by_column.indices[at], by_column.data[at]
            if j in self.known:
                dense = np.zeros((X.shape[0], 1), values.dtype)
                dense[rows, 0] = values
                column, rng = Column(dense, 0, j), RandomState(seeds[j])
                values = self._column(j, ArrayWriter, column, strength, rng)
                rows = np.flatnonzero(values)
                values = values[rows]
            parts.append((rows, values))
        rows, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        ends = np.cumsum([0, *(len(of_column) for of_column, _ in parts)])
        found = type(by_column)((values, rows, ends), shape=X.shape)
        return found.asformat(X.format)

    def _column(
        self,
        j: int,
        writer: type[ColumnWriter],
        column: Column,
        strength: float,
        rng: RandomState,
    ) -> Any:
        known = self.known[j]
        if self.name in OF_ENTRIES:
            is_replaced = rng.uniform(size=len(column.stored)) < strength
            entries = Entries(column, writer, is_replaced, rng, known)
            return OF_ENTRIES[self.name](entries)
        if known.std == 0:
            return column.stored
        values, kind = numbers_of(column), column.values().dtype
        assert values is not None
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            changed = OF_NUMBERS[self.name](values, known, strength, rng)
        largest = np.finfo(kind if kind.kind == "f" else np.float64).max
        if (np.isfinite(values) & ~(np.abs(changed) <= largest)).any():
            raise ValueError(
                f"strengths must keep numbers finite, got {strength:g}, with which "
                f"perturbation={self.name!r} overflows in column {column.name!r} of X. "
                "Lower it."
            )
        return writer.numbers(column.stored, changed)


class RowFunction:
    """A perturbation of rows by a function of the user's.

    Parameters
    ----------
    function : callable
        Takes rows, a strength and a ``RandomState``, returns rows.
    """

    is_random = True
    is_of_weights = False

    def __init__(self, function: Callable[[Any, float, RandomState], Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def __call__(self, X: Any, strength: float, rng: RandomState) -> Any:
        """Return what the function makes of a copy of the rows."""
        found = self.function(copy.deepcopy(X), strength, rng)
        n, n_found = _n_rows(X), _n_rows(found)
        if n_found != n:
            raise ValueError(
                f"perturbation must return as many rows as it is given, {n}, got "
                f"{'no rows' if n_found is None else n_found} from {self.name}. Return the "
                "perturbed X, its rows in the same order."
            )
        return found


def _n_rows(X: Any) -> int | None:
    shape = getattr(X, "shape", None)
    if shape:
        return int(shape[0])
    return len(X) if hasattr(X, "__len__") else None


def _as_table(X: Any) -> Any:
    """Return a list of rows as an array, numbers among words as they are."""
    if not isinstance(X, list | tuple):
        return X
    table = np.asarray(X)
    return np.array(X, dtype=object) if table.dtype.kind in "SU" else table


def _check_table(name: str, X: Any) -> None:
    if issparse(X):
        if name not in OF_SPARSE:
            raise TypeError(
                f"X must be dense for perturbation={name!r}, which makes most entries "
                "nonzero, got a sparse matrix. Give X.toarray(), if that fits "
                "into memory, perturbation='swap', or a function of your own."
            )
    else:
        library_of(X)
    check_dimensions(X)
    if not X.shape[1]:
        raise ValueError(
            f"X must have at least one column, got an array of shape {X.shape}."
        )
    if name == "swap" and X.shape[0] < 2:
        raise ValueError(
            "X must have at least two rows for perturbation='swap', which takes entries "
            f"from others, got {X.shape[0]}. Give more rows."
        )


def _chosen(X: Any, features: Sequence[Any] | None) -> list[int]:
    """Return the positions of the columns to perturb."""
    n_features = X.shape[1]
    if features is None:
        return [*range(n_features)]
    names: list[Any] = []
    if not issparse(X) and library_of(X) != "numpy":
        names = column_names_of(X)
    chosen = []
    for feature in features:
        if feature in names:
            chosen += [j for j, name in enumerate(names) if name == feature]
        elif (
            isinstance(feature, Integral)
            and not isinstance(feature, bool)
            and 0 <= int(feature) < n_features
        ):
            chosen.append(int(feature))
        else:
            of_names = f", or the names {names}" if names else ""
            raise ValueError(
                f"features must be positions of columns of X, from 0 to {n_features - 1}"
                f"{of_names}, got {feature!r}."
            )
    if not chosen:
        raise ValueError(
            "features must name at least one column, got none. Leave it out for all."
        )
    return chosen
