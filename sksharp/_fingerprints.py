"""Fingerprints of trainings: what their results depend on, by names known to users."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from ._digest import digest_of
from ._jobs import DATA, TrainingJob, Weights, state_key

# the parts: data, rows of the user's for validation, what is drawn, parameters, and what
# an earlier training has left
DATA_VAL = tuple(f"{name}_val" for name in DATA)
PARTS = (*DATA, *DATA_VAL, "random_state", "settings", "state")


class Fingerprints:
    """Takes the fingerprints of jobs, of an array that several of them hold once."""

    def __init__(self) -> None:
        # by id, with the array: an id is free again when its array is gone
        self._known: dict[int, tuple[Any, bytes]] = {}

    def __call__(self, jobs: Sequence[TrainingJob]) -> dict[str, str]:
        """Return digests of all that the training of jobs depends on, by their names.

        Where it runs and what it prints are not among it.
        """
        digests = {name: hashlib.blake2b(digest_size=16) for name in PARTS}
        for job in jobs:
            for name, part in self._parts(job):
                digests[name].update(part)
        return {name: digest.hexdigest() for name, digest in digests.items()}

    def _parts(self, job: TrainingJob) -> Iterator[tuple[str, bytes]]:
        validation = job.validation
        for name in DATA:
            yield name, self._of_data(getattr(job, name))
            if validation is not None and validation.rows is None:  # user-supplied
                yield f"{name}_val", self._of_data(getattr(validation, name))
        kept = None if validation is None else validation.rows
        noise = None if validation is None else validation.noise
        drawn = [*_arrays(job.weights), *_arrays(job.iterate), job.rows, kept]
        yield "random_state", digest_of(drawn)
        if noise is not None:
            yield "random_state", repr(noise.seed).encode()
        if job.settings.draws:
            yield "random_state", repr(state_key(job.random_state)).encode()
        settings = dataclasses.replace(job.settings, device="", verbose=0, label="")
        shared = (
            *(settings, job.epochs, job.layer_units, job.is_incremental, job.pause_at),
            validation
            and (validation.is_refined, validation.freq, validation.keeps_rows),
            None if noise is None else noise.settings,
            *(job.keeps_state, job.should_converge),
        )
        yield "settings", repr(shared).encode()
        yield "state", repr((job.is_resumed, job.is_rewritten)).encode()
        columns = [job.columns, None if noise is None else noise.columns]
        states = job.progress, job.optimizer_state, job.averaging_state
        for record in (*states, *columns):
            yield "state", _of_record(record)

    def _of_data(self, array: Any) -> bytes:
        if id(array) not in self._known:
            self._known[id(array)] = array, digest_of([array])
        return self._known[id(array)][1]


def _arrays(weights: Weights | None) -> list[Any]:
    return [None] if weights is None else [*weights.coefs, *weights.intercepts]


def _of_record(record: Any) -> bytes:
    """Return the digest of a record that holds arrays in containers."""
    if record is None:
        return b"None"
    arrays: list[Any] = []

    def place(value: Any) -> Any:
        if isinstance(value, dict):
            return [(key, place(value[key])) for key in value]
        if isinstance(value, list | tuple):
            return [place(item) for item in value]
        if hasattr(value, "dtype"):
            arrays.append(value)
            return "array"
        return value

    described = repr(place(vars(record))).encode()
    return hashlib.blake2b(described + digest_of(arrays)).digest()
