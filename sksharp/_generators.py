"""Random generators from states that numpy would take unchecked."""

import math

import numpy as np

BIT_GENERATORS = {
    cls.__name__: cls
    for cls in (
        np.random.MT19937,
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.Philox,
        np.random.SFC64,
    )
}

# the largest integers of a state. Those of a place say how many numbers are used up of
# the array next to it: beyond its end there is memory of others
LARGEST = {
    "pos": 624,
    "buffer_pos": 4,
    "state": 2**128 - 1,
    "inc": 2**128 - 1,
    "has_uint32": 1,
    "uinteger": 2**32 - 1,
    "has_gauss": 1,
}


def make_generator(state):
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
        If no generator could have come to the state.
    """
    generator = np.random.RandomState(BIT_GENERATORS[state["bit_generator"]]())
    inner = state["state"]
    is_sound = (
        _is_like(state, generator.get_state(legacy=False))
        # these two would draw the same number forever
        and inner.get("inc", 1) % 2 == 1
        and ("pos" not in inner or inner["key"].any())
    )
    if not is_sound:
        raise ValueError(f"no {state['bit_generator']} has the state {state!r:.200}")
    generator.set_state(state)
    return generator


def _is_like(value, template, name=None):
    """Return whether a part of a state could be in the place of another."""
    if isinstance(template, np.ndarray):
        is_array = isinstance(value, np.ndarray) and value.shape == template.shape
        return is_array and value.dtype.newbyteorder("=") == template.dtype
    if type(value) is not type(template):
        return False
    if isinstance(value, dict):
        return value.keys() == template.keys() and all(
            _is_like(part, template[key], key) for key, part in value.items()
        )
    if isinstance(value, int):
        return 0 <= value <= LARGEST[name]
    if isinstance(value, float):
        return math.isfinite(value)
    return value == template
