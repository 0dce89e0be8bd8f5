"""What a value is: numbers, arrays and layers, as a fit stores them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

# classes that Python or numpy derive from integers, and that are none
NO_INTEGERS = (bool, np.timedelta64)


def is_count(value: Any, low: int = 0) -> bool:
    """Return whether a value is an integer of 64 bits that is at least ``low``."""
    is_integer = isinstance(value, Integral) and not isinstance(value, NO_INTEGERS)
    return is_integer and bool(low <= value < 2**63)


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, infinite and NaN included."""
    return isinstance(value, float | np.floating) or is_count(value, -(2**63))


def is_finite_or_none(value: Any) -> bool:
    """Return whether a value is a finite number or None."""
    return value is None or is_finite(value)


def is_positive(value: Any) -> bool:
    """Return whether a value is a finite number of at least 0."""
    return is_finite(value) and bool(value >= 0)


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return is_number(value) and bool(-np.inf < value < np.inf)


def is_floats(value: Any, shape: tuple[int, ...]) -> bool:
    """Return whether a value is an array of a shape, in single or double precision."""
    is_array = isinstance(value, np.ndarray) and value.shape == shape
    return is_array and value.dtype in (np.float32, np.float64)


def is_numbers(value: Any) -> bool:
    """Return whether a value is a list of numbers."""
    return type(value) is list and all(map(is_number, value))


def is_strings(value: Any) -> bool:
    """Return whether a value is an array of objects that are strings."""
    is_array = isinstance(value, np.ndarray) and value.dtype == object
    return is_array and all(isinstance(item, str) for item in value.flat)


def is_network(coefs: Any, intercepts: Any, units: Sequence[int]) -> bool:
    """Return whether arrays are the weights and biases of layers of so many units."""
    if not (type(coefs) is type(intercepts) is list and len(units) > 1):
        return False
    shapes = list(itertools.pairwise(units))
    return (
        all(is_count(n, 1) for n in units)
        and len({array.dtype for array in (*coefs, *intercepts)}) == 1
        and len(coefs) == len(intercepts) == len(shapes)
        and all(map(is_floats, coefs, shapes))
        and all(is_floats(b, (n,)) for b, n in zip(intercepts, units[1:], strict=True))
    )
