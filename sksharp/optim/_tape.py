"""What a step works out on the host, so that its kernels can run again without Python.

A step is Python that counts, computes numbers from the counts (a rate with its bias
correction) and launches kernels with them. A graph that was captured on the device
launches the kernels alone. What Python did in between goes through the functions here:
they call what they are given and, while a tape records, note it. The tape plays it again
before every replay and writes the numbers to where the kernels read them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

Container: TypeAlias = MutableMapping[str, Any]
Function: TypeAlias = Callable[..., Any]


def changing(function: Function, *args: Any) -> Any:
    """Return a value that may differ from step to step: ``function(*args)``.

    While a tape records, a float or a tensor comes in memory that the tape writes to
    before every replay, the float as a tensor of the precision of the parameters. Any
    other value, such as a decision, must be the same in a step that is to be replayed.

    Parameters
    ----------
    function : callable
        Reads what changes, counts and rates, from its arguments, which it does not
        change.

    *args
        Objects that stay in place from step to step, such as the state of a parameter.
    """
    tape = _recording.tape
    return function(*args) if tape is None else tape.note(function, args)


def advance(container: Container, key: str, function: Function, *args: Any) -> None:
    """Set ``container[key]`` to ``function(*args)``, in this step and when replayed."""
    tape = _recording.tape
    if tape is not None:
        tape.note_advance(container, key, function, args)
    container[key] = function(*args)


def count(container: Container, key: str) -> None:
    """Add one to a count, in this step and when replayed."""
    advance(container, key, _successor, container, key)


def _successor(container: Container, key: str) -> int:
    number: int = container.get(key, 0)
    return number + 1


@dataclass(frozen=True)
class _Place:
    """Where the host keeps what a step changes."""

    container: Container
    key: str


@dataclass(frozen=True)
class _Number:
    """A float, whose memory kernels read."""

    memory: Tensor


class Tape:
    """What the steps of a graph work out on the host, in order.

    Parameters
    ----------
    like : Tensor
        Of the dtype and device of the parameters.

    capacity : int
        How many floats there may be.

    Attributes
    ----------
    numbers : Tensor of shape (capacity,)
        The floats, where kernels read them.
    """

    def __init__(self, like: Tensor, capacity: int) -> None:
        self.numbers = like.new_zeros(capacity)
        self._free = iter(self.numbers.unbind())
        self._largest = torch.finfo(like.dtype).max
        self._notes: list[tuple[Function, Any, Any]] = []
        self._places: dict[tuple[int, str], _Place] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Context in which the steps of this thread are noted."""
        _recording.tape = self
        try:
            yield
        finally:
            _recording.tape = None

    def note(self, function: Function, args: Any) -> Any:
        """Note a value that may change, and return it as kernels read it."""
        value = function(*args)
        if isinstance(value, float):
            memory = next(self._free, None)
            if memory is None:
                raise RuntimeError(f"no room for more than {len(self.numbers)} numbers")
            self._notes.append((function, args, _Number(memory)))
            return memory
        if isinstance(value, Tensor):
            value = value.clone()
        self._notes.append((function, args, value))
        return value

    def note_advance(
        self, container: Container, key: str, function: Function, args: Any
    ) -> None:
        """Note a change of what the host keeps."""
        place = self._places.setdefault((id(container), key), _Place(container, key))
        self._notes.append((function, args, place))

    def advances(self, container: Container, key: str) -> bool:
        """Return whether a change of ``container[key]`` was noted."""
        return (id(container), key) in self._places

    def play(self) -> list[float] | None:
        """Do on the host what the steps did, and return the floats for the kernels.

        Returns
        -------
        numbers : list of float or None
            As many as were noted. None if these are not the steps that were noted,
            because a decision is another one, or if a float is too large for the
            precision: the host is then as before.
        """
        before = [
            (p.container, p.key, p.container[p.key]) for p in self._places.values()
        ]
        numbers: list[float] = []
        is_same = False
        try:
            is_same = self._play(numbers)
        finally:
            if not is_same:
                for container, key, value in before:
                    container[key] = value
        return numbers if is_same else None

    def _play(self, numbers: list[float]) -> bool:
        for function, args, noted in self._notes:
            value = function(*args)
            if isinstance(noted, _Number):
                if not isinstance(value, float) or abs(value) > self._largest:
                    return False
                numbers.append(value)
            elif isinstance(noted, _Place):
                noted.container[noted.key] = value
            elif isinstance(noted, Tensor):
                noted.copy_(value)
            elif isinstance(value, Tensor) or value != noted:
                return False
        return True


class _Recording(threading.local):
    """The tape that records in a thread, if one does."""

    tape: Tape | None = None


_recording = _Recording()
