"""torch's generators, lent to a fit and given back as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from ..optim._replay import random_states, set_random_states, with_generators


def draw_seed(random_state: Any) -> int:
    """Return the seed of a fit.

    Parameters
    ----------
    random_state : int, RandomState or None
        The parameter. None draws from torch's generator, as modules do.
    """
    if random_state is None:
        return int(torch.randint(2**31 - 1, ()).item())
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def seeded_states(seed: int, device: torch.device) -> list[Tensor]:
    """Return states that generators have after they were seeded."""
    cpu = torch.device("cpu")
    return [
        torch.Generator(where).manual_seed(seed).get_state()
        for where in (cpu, *with_generators([device]))
    ]


@contextlib.contextmanager
def lent_generators(states: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Context in which torch draws from generators with states of their own.

    Layers, dropout and the order of the rows draw from torch's generators, which belong to
    all: on leaving they are as before.

    Parameters
    ----------
    states : sequence of Tensor
        Of the CPU and, if it has one of its own, the device.

    device : torch.device
        Where the module is.
    """
    accelerators = with_generators([device])
    before = random_states(accelerators)
    set_random_states(accelerators, states)
    try:
        yield
    finally:
        set_random_states(accelerators, before)


def states_now(device: torch.device) -> list[Tensor]:
    """Return the states of the generators that are in use."""
    return random_states(with_generators([device]))


def set_states(states: Sequence[Tensor], device: torch.device) -> None:
    """Set the generators that are in use."""
    set_random_states(with_generators([device]), states)
