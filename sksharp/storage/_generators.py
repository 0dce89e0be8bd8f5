"""Random generators from states, which numpy does not check."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

BIT_GENERATORS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        np.random.MT19937,
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.Philox,
        np.random.SFC64,
    )
}

# the largest integers of a state. A position counts the numbers that are used of the array
# next to it: numpy would read beyond its end
LARGEST = {
    "pos": 624,
    "buffer_pos": 4,
    "state": 2**128 - 1,
    "inc": 2**128 - 1,
    "has_uint32": 1,
    "uinteger": 2**32 - 1,
    "has_gauss": 1,
}


def make_generator(state: dict[str, Any]) -> np.random.RandomState:
    """Return the generator of a state.

    Parameters
    ----------
    state : dict
        As of ``RandomState.get_state(legacy=False)``.

    Returns
    -------
    generator : numpy.random.RandomState
        A new one.

    Raises
    ------
    ValueError
        If no generator can be in the state.
    """
    generator = np.random.RandomState(BIT_GENERATORS[state["bit_generator"]]())
    inner = state["state"]
    is_sound = (
        _is_like(state, generator.get_state(legacy=False))
        # with either, every draw would be the same number
        and inner.get("inc", 1) % 2 == 1
        and ("pos" not in inner or inner["key"].any())
    )
    if not is_sound:
        raise ValueError(f"no {state['bit_generator']} has the state {state!r:.200}")
    generator.set_state(state)
    return generator


def _is_like(value: Any, template: Any, name: str = "") -> bool:
    """Return whether a part of a state has the structure and range of another."""
    if isinstance(template, np.ndarray):
        is_array = isinstance(value, np.ndarray) and value.shape == template.shape
        return is_array and bool(value.dtype.newbyteorder("=") == template.dtype)
    if type(value) is not type(template):
        return False
    if isinstance(value, dict):
        return bool(value.keys() == template.keys()) and all(
            _is_like(part, template[key], key) for key, part in value.items()
        )
    if isinstance(value, int):
        return 0 <= value <= LARGEST[name]
    if isinstance(value, float):
        return math.isfinite(value)
    return bool(value == template)
