"""What a step works out on the host, so that its kernels can run again without Python.

A step is Python that counts, computes numbers from the counts (a rate with its bias
correction) and launches kernels with them. A graph that was captured on the device
launches the kernels alone. What Python did in between goes through the functions here.
They call what they are given, and while a tape records it notes that. In a capture the
steps then read their numbers from the memory of the tape, and before every replay the
tape is played, which gives the numbers for that memory.
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

    In a capture a float comes as a tensor of the precision of the parameters, and a
    tensor in memory that the tape writes to. Any other value, such as a decision, must be
    the same in a step that is to be replayed.

    Parameters
    ----------
    function : callable
        Reads what changes, counts and rates, from its arguments, which it does not
        change.

    *args
        Objects that stay in place from step to step, such as the state of a parameter.
    """
    tape = _active.tape
    return function(*args) if tape is None else tape.value(function, args)


def advance(container: Container, key: str, function: Function, *args: Any) -> None:
    """Set ``container[key]`` to ``function(*args)``, in this step and when replayed."""
    tape = _active.tape
    if tape is None:
        container[key] = function(*args)
    else:
        tape.advance(container, key, function, args)


def count(container: Container, key: str) -> None:
    """Add one to a count, in this step and when replayed."""
    advance(container, key, _successor, container, key)


def is_captured() -> bool:
    """Return whether the kernels of this step are captured, and what changes is lent."""
    tape = _active.tape
    return tape is not None and tape.is_lending


def _successor(container: Container, key: str) -> int:
    number: int = container.get(key, 0)
    return number + 1


@dataclass
class _Note:
    """A value that was worked out.

    Parameters
    ----------
    function, args
        How.

    value : object
        What came out, None for what the host keeps.

    place : tuple of (dict, str) or None
        Where the host keeps it, None for what kernels read.

    memory : Tensor or None
        Where kernels read it, None outside of a capture and for decisions.
    """

    function: Function
    args: Any
    value: Any = None
    place: tuple[Container, str] | None = None
    memory: Tensor | None = None


class Tape:
    """What steps work out on the host, in order.

    Attributes
    ----------
    numbers : Tensor of shape (n_numbers,) or None
        The floats, where kernels read them. None before :meth:`lending`.
    """

    def __init__(self) -> None:
        self.numbers: Tensor | None = None
        self._notes: list[_Note] = []
        self._places: dict[tuple[int, str], tuple[Container, str]] = {}
        self._before: list[Any] = []
        # in a capture, the notes whose values are still to be lent
        self._lent: Iterator[_Note] | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Context in which what steps of this thread work out is noted."""
        self._notes.clear()
        with self._active_for_thread():
            yield

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Context in which the same steps read the memory of the tape.

        The host keeps what it has. :meth:`allocate` comes before.
        """
        self._lent = iter(self._notes)
        try:
            with self._active_for_thread():
                yield
        finally:
            self._lent = None

    @property
    def is_lending(self) -> bool:
        """Whether steps read the memory of the tape."""
        return self._lent is not None

    @contextmanager
    def _active_for_thread(self) -> Iterator[None]:
        _active.tape = self
        try:
            yield
        finally:
            _active.tape = None

    def allocate(self, like: Tensor) -> None:
        """Make the memory from which kernels read, of the precision of a tensor.

        Not in the capture, whose memory is used for several things.
        """
        floats = [note for note in self._notes if isinstance(note.value, float)]
        self.numbers = like.new_zeros(len(floats))
        for note, memory in zip(floats, self.numbers.unbind(), strict=True):
            note.memory = memory
        for note in self._notes:
            if isinstance(note.value, Tensor):
                note.memory = torch.zeros_like(note.value)

    def value(self, function: Function, args: Any) -> Any:
        """Return a value that may change, noted or lent."""
        if self._lent is not None:
            note = self._next(function)
            return note.value if note.memory is None else note.memory
        value = function(*args)
        self._notes.append(_Note(function, args, value))
        return value

    def advance(
        self, container: Container, key: str, function: Function, args: Any
    ) -> None:
        """Change what the host keeps and note it, or leave it in a capture."""
        if self._lent is not None:
            self._next(function)
            return
        place = self._places.setdefault((id(container), key), (container, key))
        self._notes.append(_Note(function, args, place=place))
        container[key] = function(*args)

    def _next(self, function: Function) -> _Note:
        assert self._lent is not None
        note = next(self._lent, None)
        if note is None or note.function != function:
            raise RuntimeError(f"{function} was not noted here")
        return note

    def advances(self, container: Container, key: str) -> bool:
        """Return whether a change of ``container[key]`` was noted."""
        return (id(container), key) in self._places

    def play(self, largest: float) -> list[float] | None:
        """Do on the host what the steps did, and return the floats for the kernels.

        Parameters
        ----------
        largest : float
            Largest number of the precision of the parameters.

        Returns
        -------
        numbers : list of float or None
            As many as were noted. None if these are not the steps that were noted,
            because a decision is another one, or if a float is too large: the host is
            then as before.
        """
        self._before = [container[key] for container, key in self._places.values()]
        numbers: list[float] = []
        is_same = False
        try:
            is_same = self._play(numbers, largest)
        finally:
            if not is_same:
                self.rewind()
        return numbers if is_same else None

    def _play(self, numbers: list[float], largest: float) -> bool:
        for note in self._notes:
            value, noted = note.function(*note.args), note.value
            if note.place is not None:
                container, key = note.place
                container[key] = value
            elif isinstance(noted, float):
                if not isinstance(value, float) or abs(value) > largest:
                    return False
                numbers.append(value)
            elif isinstance(noted, Tensor):
                if not isinstance(value, Tensor):
                    return False
                if note.memory is not None:
                    note.memory.copy_(value)
            elif isinstance(value, Tensor) or value != noted:
                return False
        return True

    def rewind(self) -> None:
        """Undo what playing the tape has changed on the host."""
        for (container, key), value in zip(
            self._places.values(), self._before, strict=True
        ):
            container[key] = value


class _Active(threading.local):
    """The tape that is at work in a thread, if one is."""

    tape: Tape | None = None


_active = _Active()
