"""Numbers of sixteen bits, of which the masks and the noise of rows are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

# 32 would take several times as long
BITS = 16
LEVELS = 2**BITS
PER_WORD = 64 // BITS


def generator_of_epoch(random_state: np.random.RandomState) -> Any:
    """Return the generator of an epoch, whose seed the random state of a stream draws.

    Of one epoch: what goes on from a pause needs no state but the random state.
    """
    seed = random_state.randint(2**32, size=4, dtype=np.uint32)
    return np.random.SFC64(seed)


def words_of(n_numbers: int) -> int:
    """Return how many words of 64 bits hold so many numbers."""
    return -(-n_numbers // PER_WORD)


def nearest_level(share: float) -> int:
    """Return how many of the levels a share takes."""
    level: int = round(share * LEVELS)
    return level
