"""Folds: rows to train on and rows to hold out."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, check_cv

from .._jobs import Array, Matrix

Folds: TypeAlias = list[tuple[Array, Array]]  # rows to train on and to hold out


def has_zeros(sample_weight: Array | None) -> bool:
    """Return whether there are rows of weight 0."""
    return sample_weight is not None and not np.all(sample_weight)


def n_nonzero_weight(y: Array, sample_weight: Array | None) -> int:
    """Return how many rows have a weight other than 0, all of them if none has."""
    if sample_weight is None:
        return len(y)
    return int(np.count_nonzero(sample_weight)) or len(y)


def nonzero_rows(rows: Array | None, sample_weight: Array) -> Array:
    """Return those of some rows, or of all, whose weight is not 0; all if none is."""
    if rows is None:
        rows = np.arange(len(sample_weight))
    kept = rows[sample_weight[rows] != 0]
    return kept if len(kept) else rows


def make_folds(
    cv: Any,
    n_folds: int | None,
    X: Matrix,
    y: Array,
    labels: Array | None,
    *,
    stratify: bool,
    random_state: np.random.RandomState,
) -> Folds:
    """Return the rows of every fold: those to train on and those to hold out.

    Parameters
    ----------
    cv : int, splitter, iterable of splits or None
        Parameter of the estimator.

    n_folds : int or None
        How many folds there must be, None if ``cv`` says.

    X : array or sparse matrix of shape (n_samples, n_features)
        Rows, for a splitter.

    y : array of shape (n_samples, n_outputs)
        Encoded targets.

    labels : array of shape (n_samples,) or (n_samples, n_outputs)
        Decoded targets, for a splitter.

    stratify : bool
        Whether ``y`` are indicators of one label, to stratify by it.

    random_state : numpy.random.RandomState
        Source of the folds, unless ``cv`` is a splitter.

    Returns
    -------
    folds : list of (array of int, array of int)
        Rows, by their indices.

    Raises
    ------
    ValueError
        If there are fewer rows than folds, or if ``cv`` cannot split the rows, gives no
        split, an empty part, no valid indices of rows, or another number of splits than
        ``n_folds``.
    """
    if cv is None:
        cv = n_folds
    if isinstance(cv, int | np.integer):
        n_splits = int(cv)
        if len(y) < n_splits:
            raise ValueError(
                f"Each of the {n_splits} folds needs a row whose weight is not 0, got "
                f"n_samples={len(y)} such rows. Lower n_members or cv."
            )
        if stratify:
            y = y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1)
        can_stratify = (
            stratify and np.unique(y, return_counts=True)[1].max() >= n_splits
        )
        splitter = StratifiedKFold if can_stratify else KFold
        splitter = splitter(n_splits, shuffle=True, random_state=random_state)
        splits = splitter.split(y, y)
    else:
        splits = _splits_of(cv, X, labels)
    folds = [(_indices(a, len(y)), _indices(b, len(y))) for a, b in splits]
    if not folds:
        raise ValueError(
            "cv must give at least one split, got none. Give a list of splits: a generator "
            "is used up by its first fit."
        )
    if any(len(train) == 0 or len(test) == 0 for train, test in folds):
        raise ValueError(
            "cv must leave rows to train on and rows to hold out in every split, got an "
            "empty part."
        )
    if n_folds is not None and len(folds) != n_folds:
        raise ValueError(
            f"cv must give one split per member, got {len(folds)} splits with "
            f"n_members={n_folds}. Set n_members={len(folds)}, or cv=None."
        )
    return folds


def _splits_of(cv: Any, X: Matrix, labels: Array | None) -> list[Any]:
    """Return the splits of a splitter, or of an iterable of splits."""
    try:
        return list(check_cv(cv).split(X, labels))
    except (TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise ValueError(
            f"cv must split the rows by X and y, got cv={cv!r}: {reason}. Choose another "
            "splitter, or give the splits themselves: list(splitter.split(X, y, groups))."
        ) from error


def _indices(rows: Any, n_rows: int) -> Array:
    """Return the indices of rows, from indices or a mask."""
    rows = np.asarray(rows)
    if rows.size == 0:
        return np.empty(0, dtype=int)
    try:
        indices: Array = np.arange(n_rows)[rows]
    except IndexError as error:
        raise ValueError(
            f"cv must give the indices of rows, or masks, of n_samples={n_rows}, got "
            f"{rows!r}: {error}."
        ) from error
    if indices.ndim != 1:
        raise ValueError(
            f"cv must give the indices of rows in one dimension, got {indices.ndim} of "
            f"shape {indices.shape}. Flatten them."
        )
    return indices
