"""Functions of a table's numbers, as the steps of the pipeline apply them."""

from __future__ import annotations

import numpy as np

from .._jobs import Array
from ._tables import Table, cast

CLIP = 3.0
# of a numeric column: the squares of larger numbers would overflow
MAX_MAGNITUDE = 1e100


def to_single(X: Table) -> Table:
    """Return numbers as float32."""
    return cast(X, np.float32)


def to_double(X: Array) -> Array:
    """Return numbers as float64."""
    return X.astype(np.float64)


def soft_clip(X: Array) -> Array:
    """Return X within (-3, 3), hardly changed near 0."""
    # the root of 1 + (X / 3)**2 would overflow
    clipped: Array = X / np.hypot(1, X / CLIP)
    return clipped


def clip_magnitude(values: Array) -> Array:
    """Return values whose squares are finite; infinite ones stay, to be refused later."""
    if values.dtype != np.float64 or not (np.abs(values) > MAX_MAGNITUDE).any():
        return values
    clipped = np.clip(values, -MAX_MAGNITUDE, MAX_MAGNITUDE)
    return np.where(np.isinf(values), values, clipped)
