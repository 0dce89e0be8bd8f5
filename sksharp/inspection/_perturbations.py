"""Perturbations of rows: tables that differ from those of the training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import hstack, issparse

from .._jobs import Array
from ..preprocessing._kinds import stores_text
from ..preprocessing._tables import Column, columns_of, library_of
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
    """A column, and which of its entries are replaced."""

    column: Column
    writer: type[ColumnWriter]
    is_replaced: Array
    rng: RandomState

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
    values = numbers_of(entries.column)
    if values is not None:
        mean = spread_of(values).mean
        values = np.where(entries.is_replaced, mean, values)
        return entries.writer.numbers(entries.stored, values)
    codes, uniques = entries.column.factorize()
    if not uniques:
        return entries.stored
    # the first row with the most frequent value, of equals the first to occur
    present = codes[codes >= 0]
    counts = np.bincount(present)
    most = present[np.argmax(counts[present] == counts.max())]
    return entries.taken(int(np.argmax(codes == most)))


def make_unseen(entries: Entries) -> Any:
    """Return the column with a category that it does not have."""
    unseen = _unseen(entries.column.factorize()[1])
    return entries.writer.replace(entries.stored, entries.is_replaced, unseen)


def _unseen(categories: Sequence[Any]) -> Any:
    if categories and {kind_of_class(type(value)) for value in categories} == {NUMBER}:
        return max(categories) + 1
    word = "never seen"
    while word in categories:
        word += "!"
    return word


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
    numbers[is_present] = values[is_present].astype(np.float64)
    return numbers


def spread_of(values: Array) -> Spread:
    """Return mean and standard deviation; NaN and 0 of a column without an entry."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Spread(np.nan, 0.0)
    # the standard deviation of equal numbers is not always 0
    std = 0.0 if finite.min() == finite.max() else finite.std()
    return Spread(float(finite.mean()), float(std))


def _has_words(column: Column) -> bool:
    return column.is_category or stores_text(column)


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
        _check_table(name, X)
        chosen = _chosen(X, features)
        self.spreads: dict[int, Spread] = {}
        if name in OF_NUMBERS:
            columns = columns_of(X)
            for j in chosen:
                values = numbers_of(columns[j])
                if values is not None:
                    self.spreads[j] = spread_of(values)
            chosen = [*self.spreads]
            _check_any(chosen, name, "numeric", "'swap' or 'missing'")
        elif name == "unseen":
            columns = columns_of(X)
            chosen = [j for j in chosen if _has_words(columns[j])]
            _check_any(chosen, name, "categorical", "'swap' or 'noise'")
        self.chosen = {*chosen}

    def __call__(self, X: Any, strength: float, rng: RandomState) -> Any:
        """Return perturbed rows; ``X`` itself is left as it is."""
        seeds = rng.randint(SEEDS, size=X.shape[1])
        if issparse(X):
            columns = self._columns(ArrayWriter, _dense_columns(X), strength, seeds)
            parts = [type(X.tocsc())(column.reshape(-1, 1)) for column in columns]
            return hstack(parts, format=X.format)
        writer = writer_of(X)
        return writer.table(X, [*self._columns(writer, columns_of(X), strength, seeds)])

    def _columns(
        self,
        writer: type[ColumnWriter],
        columns: Iterable[Column],
        strength: float,
        seeds: Array,
    ) -> Iterator[Any]:
        for j, column in enumerate(columns):
            if j in self.chosen:
                yield self._column(j, writer, column, strength, RandomState(seeds[j]))
            else:
                yield column.stored

    def _column(
        self,
        j: int,
        writer: type[ColumnWriter],
        column: Column,
        strength: float,
        rng: RandomState,
    ) -> Any:
        if self.name in OF_ENTRIES:
            is_replaced = rng.uniform(size=len(column.stored)) < strength
            return OF_ENTRIES[self.name](Entries(column, writer, is_replaced, rng))
        if self.spreads[j].std == 0:
            return column.stored
        values = numbers_of(column)
        assert values is not None
        change, spread = OF_NUMBERS[self.name], self.spreads[j]
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            changed = change(values, spread, strength, rng)
        if (np.isfinite(values) & ~np.isfinite(changed)).any():
            raise ValueError(
                f"strengths must leave numbers finite, got {strength:g}, by which "
                f"perturbation={self.name!r} does not in column {column.name!r} of X. "
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


def _check_table(name: str, X: Any) -> None:
    if issparse(X):
        if name not in OF_SPARSE:
            raise TypeError(
                f"X must be dense for perturbation={name!r}, which makes most entries "
                "other than zero, got a sparse matrix. Give X.toarray(), if that fits "
                "into memory, perturbation='swap', or a function of your own."
            )
    else:
        columns_of(X)
    if name == "swap" and X.shape[0] < 2:
        raise ValueError(
            "X must have at least two rows for perturbation='swap', which takes entries "
            f"from others, got {X.shape[0]}. Give more rows."
        )


def _check_any(chosen: Sequence[int], name: str, kind: str, others: str) -> None:
    if not chosen:
        raise ValueError(
            f"X must have a {kind} column among those to perturb with "
            f"perturbation={name!r}, got none. Take {others}, or other features."
        )


def _dense_columns(X: Any) -> Iterator[Column]:
    by_column = X.tocsc()
    for j in range(X.shape[1]):
        yield Column(by_column[:, [j]].toarray(), 0, j)


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
            of_names = f" or the names {names}" if names else ""
            raise ValueError(
                f"features must be positions of columns of X, from 0 to {n_features - 1},"
                f"{of_names}, got {feature!r}."
            )
    if not chosen:
        raise ValueError(
            "features must name at least one column, got none. Leave it out for all."
        )
    return chosen
