"""Numeric parameters: which values are valid, and the range of the dtype of ``X``."""

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.utils._param_validation import Interval


class Number(Interval):
    """Constraint of a number in an interval that does not accept True and False.

    scikit-learn's ``Interval`` accepts them as 1 and 0.
    """

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is a number in the interval."""
        return not isinstance(val, bool) and super().is_satisfied_by(val)


def is_real(constraints: Iterable[Any]) -> bool:
    """Return whether the constraints of a parameter allow real numbers."""
    return any(isinstance(c, Interval) and c.type is Real for c in constraints)


def as_float(name: str, value: Any) -> Any:
    """Return a real number as a Python float, any other value unchanged."""
    if not isinstance(value, Real):
        return value
    try:
        number = float(value)
    except OverflowError:  # an integer; numpy's longer floats become infinite
        number = np.inf
    if np.isinf(number) and number != value:
        raise ValueError(
            f"{name} must be at most {np.finfo(float).max:.2g}, the largest float, got a "
            f"larger number. Lower {name}."
        )
    return number


def plain(name: str, value: Any, constraints: Iterable[Any]) -> Any:
    """Return a parameter as a Python scalar, a float if it may be real."""
    # scikit-learn accepts True and the largest integers too, torch does not
    if is_real(constraints):
        return as_float(name, value)
    return plain_scalar(value)


def plain_scalar(value: Any) -> Any:
    """Return a numpy scalar as a Python scalar, any other value unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def check_numeric(array: NDArray[Any], name: str) -> None:
    """Raise if an array does not hold real numbers."""
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must hold numbers, got dtype={array.dtype}. Convert it, dates to "
            "numbers of days for instance."
        )


def check_range(name: str, value: float, dtype: DTypeLike) -> None:
    """Raise if a value exceeds the largest number of a dtype."""
    largest = float(np.finfo(dtype).max)
    if value > largest:
        raise ValueError(
            f"{name} must be representable in {dtype}, the dtype of X: at most "
            f"{largest:.2g}, got {name}={value:g}. Lower {name}{_or_wider(dtype)}."
        )


def check_divisor(name: str, value: float, dtype: DTypeLike) -> None:
    """Raise if a divisor is below the smallest normal number of a dtype."""
    smallest = float(np.finfo(dtype).tiny)
    if value < smallest:
        raise ValueError(
            f"{name} must be at least {smallest:.2g}, the smallest normal number of "
            f"{np.dtype(dtype)}, got {name}={value:g}. Raise {name}{_or_wider(dtype)}."
        )


def check_data(array: Any, dtype: DTypeLike, name: str) -> None:
    """Raise if numbers of an array or sparse matrix exceed the range of a dtype."""
    if array.dtype.kind != "f" or array.dtype.itemsize <= np.dtype(dtype).itemsize:
        return
    values = array.data if hasattr(array, "tocsr") else array
    found, largest = np.abs(values).max(initial=0), np.finfo(dtype).max
    if found > largest:
        raise ValueError(
            f"{name} must be representable in {dtype}, the dtype that training computes "
            f"in: at most {largest:.2g}, got {found:g}. Scale {name}, or train anew with "
            "X as float64."
        )


def _or_wider(dtype: DTypeLike) -> str:
    return ", or give X as float64" if np.finfo(dtype).bits < 64 else ""


def near_one(values: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Return numbers over a power of two, and it: their squares do not overflow.

    They have the digits that they had, and the largest is between 1 and 2.
    """
    largest = np.abs(values).max(initial=0)
    exponent = int(np.frexp(largest)[1]) - 1
    return np.ldexp(values, -exponent), float(np.ldexp(1.0, exponent))
