"""Transformers that read the columns of a table as numbers or as words."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .._jobs import Array
from .._version import VersionStamp
from .._warnings import warn
from ..exceptions import ColumnWarning
from ._functions import clip_magnitude
from ._kinds import (
    MANY_VALUES,
    factorized_words,
    is_mostly_unique,
    kind_of,
    markers_of,
    numbers,
    stores_text,
    words,
)
from ._nearly_numeric import nearly_numeric, quoted
from ._tables import Column, Table, columns_of, library_of
from ._values import BOOLEAN, MISSING, NUMERIC


def kinds_of(X: Table, columns: list[Column]) -> list[str]:
    """Return what each column of a table holds."""
    kinds = [kind_of(column) for column in columns]
    if library_of(X) == "numpy":
        for column, kind in zip(columns, kinds, strict=True):
            if kind not in NUMERIC and kind != BOOLEAN:
                raise ValueError(
                    "X must hold numbers, dates or booleans where it is an array, got "
                    f"non-numeric data in column {column.name}. Give a DataFrame."
                )
    return kinds


class ColumnReader(OneToOneFeatureMixin, VersionStamp, TransformerMixin, BaseEstimator):
    """Base of transformers that read columns by their kind in the fit."""

    kinds_: list[str]

    def fit(self, X: Table, y: object = None) -> Self:
        """Find out what the columns hold.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Columns of the fit.

        y : None
            Ignored.

        Returns
        -------
        self : ColumnReader
            The fitted reader.
        """
        validate_data(self, X, skip_check_array=True)
        columns = columns_of(X)
        self.kinds_ = kinds_of(X, columns)
        self._fit_columns(columns)
        return self

    def transform(self, X: Table) -> Array:
        """Read the columns.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            The same columns.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features)
            Their values.
        """
        check_is_fitted(self)
        pairs = zip(columns_of(X), self.kinds_, strict=True)
        return np.column_stack([self._read(*pair) for pair in pairs])

    def _fit_columns(self, columns: list[Column]) -> None:
        """Warn of columns of the fit, and keep what later ones are compared with."""
        raise NotImplementedError

    def _read(self, column: Column, kind: str) -> Array:
        raise NotImplementedError


class NumberReader(ColumnReader):
    """Reads columns as floats: dates and durations in days, missing values as NaN."""

    def _read(self, column: Column, kind: str) -> Array:
        return clip_magnitude(numbers(column, kind))

    def _fit_columns(self, columns: list[Column]) -> None:
        names_of_kind: dict[str, list[Hashable]] = {}
        markers: dict[str, dict[str, None]] = {}
        for column, kind in zip(columns, self.kinds_, strict=True):
            if stores_text(column):
                names_of_kind.setdefault(kind, []).append(column.name)
                markers.setdefault(kind, {}).update(dict.fromkeys(markers_of(column)))
        for kind, names in names_of_kind.items():
            missing = ", ".join(map(repr, markers[kind]))
            warn(
                f"columns {names} of X hold {kind}s as text. They are read as {kind}s"
                f"{missing and f', and {missing} as missing'}. Convert them to {kind}s, "
                "or to categories if they are names: astype('category').",
                ColumnWarning,
            )


class WordReader(ColumnReader):
    """Reads columns as words, with one for missing values."""

    words_: list[set[str]]

    def transform(self, X: Table) -> Array:
        """Read the columns, and warn of words that may be others of the fit.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            The same columns.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features)
            Their words.
        """
        check_is_fitted(self)
        columns = columns_of(X)
        factorized = [*map(factorized_words, columns, self.kinds_)]
        unexpected = {}
        for column, kind, (_, found), known in zip(
            columns, self.kinds_, factorized, self.words_, strict=True
        ):
            new = _unexpected({*found[:-1]} - {MISSING}, known, kind)
            if new:
                unexpected[column.name] = quoted(sorted(new)), quoted(sorted(known))
        if unexpected:
            examples = "; ".join(
                f"{new} in {name!r}, where the fit had {known}"
                for name, (new, known) in unexpected.items()
            )
            warn(
                f"columns {[*unexpected]} of X hold words that are not those of the fit: "
                f"{examples}. The model ignores them. If they are other spellings, write "
                "them as in the fit.",
                ColumnWarning,
            )
        return np.column_stack([found[codes] for codes, found in factorized])

    def _fit_columns(self, columns: list[Column]) -> None:
        factorized = map(factorized_words, columns, self.kinds_)
        self.words_ = [{*found[np.unique(codes)]} for codes, found in factorized]
        names = [
            column.name
            for column, kind in zip(columns, self.kinds_, strict=True)
            if is_mostly_unique(words(column, kind))
            and nearly_numeric(column, kind) is None
        ]
        if names:
            warn(
                f"columns {names} of X have more than {MANY_VALUES} words, and more words "
                "than half the rows, as columns of names or keys have. A network learns "
                "nothing from them. Drop them, or encode them as numbers or as fewer "
                "categories.",
                ColumnWarning,
            )


def _unexpected(found: set[str], known: set[str], kind: str) -> set[str]:
    """Return the new words of a column that are more than one further category."""
    new = found - known
    if kind == BOOLEAN or len(known) == 2 or (new == found and len(new) > 1):
        return new
    spelled = {word.strip().casefold() for word in known}
    return {word for word in new if word.strip().casefold() in spelled}
