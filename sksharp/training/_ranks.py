"""One training in several processes, each with its share of every minibatch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .._fingerprints import DATA_VAL, Fingerprints
from .._jobs import DATA, TrainingJob
from ..optim._models import Hyperparameter, expand
from ._gradient import Batch

FIRST_PASSES = ("reduced", "local")


class Ranks:
    """The processes of a training, and what they exchange.

    The exchanges are collective: every process has to make the same ones in the same
    order, which it does because it goes through the same epochs.

    Parameters
    ----------
    first_pass : str
        'reduced' or 'local': whether the first gradient of a two-gradient step is that of
        the minibatch or of the process's own rows.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.

    world_size : int
        Number of processes.
    """

    def __init__(self, first_pass: str) -> None:
        self.first_pass = first_pass
        is_one_of_many = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if is_one_of_many else 0
        self.world_size: int = dist.get_world_size() if is_one_of_many else 1
        self._is_local = False

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints and writes for all."""
        return self.rank == 0

    # -- before a training -------------------------------------------------------------

    def check(self, jobs: Sequence[TrainingJob], device: torch.device) -> None:
        """Raise in every process unless all train the same.

        Raises
        ------
        ValueError
            If the data, the settings or the random state differ, if there are callbacks
            in one of them, or if the processes cannot exchange tensors of the device.
        """
        if dist.get_backend() == "nccl" and device.type != "cuda":
            raise ValueError(
                f"device must be a CUDA device where the processes exchange by NCCL, got "
                f"{device.type!r}. Leave device='auto', or call "
                "torch.distributed.init_process_group('gloo') before data_parallel."
            )
        # exchanged like all else: a process that raises alone leaves the others waiting
        n_callbacks = max(len(job.callbacks or ()) for job in jobs)
        own = n_callbacks, Fingerprints()(jobs)
        all_of_them: list[Any] = [None] * self.world_size
        dist.all_gather_object(all_of_them, own)
        counts, fingerprints = zip(*all_of_them, strict=True)
        if any(counts):
            raise ValueError(
                "callbacks must be None in a fit of several processes, where each sees "
                f"its share of a minibatch only, got {max(counts)} of them in process "
                f"{counts.index(max(counts))}. Drop them, or fit in one process."
            )
        for rank, theirs in enumerate(fingerprints):
            for name, digest in theirs.items():
                if digest != fingerprints[0][name]:
                    raise ValueError(_MUST_AGREE[name].format(rank=rank))

    def quiet(self, jobs: Sequence[TrainingJob]) -> Sequence[TrainingJob]:
        """Return jobs that print in the first process only."""
        if self.is_first:
            return jobs
        return [
            dataclasses.replace(
                job, settings=dataclasses.replace(job.settings, verbose=0)
            )
            for job in jobs
        ]

    def bytes_of_first(self, content: bytes | None) -> bytes | None:
        """Return what the first process has read, in all of them."""
        sent: list[Any] = [content]
        dist.broadcast_object_list(sent, 0)
        received: bytes | None = sent[0]
        return received

    # -- in a step ---------------------------------------------------------------------

    def share_of(self, batch: Batch) -> tuple[slice, Batch, Hyperparameter]:
        """Return this process's rows of a minibatch: their slice, and how they count.

        Parameters
        ----------
        batch : Batch
            Rows of a step.

        Returns
        -------
        rows : slice
            Their slice, empty if there are more processes than rows.

        part : Batch
            The rows. A process without any has one that counts for nothing.

        share : float or Tensor of shape (n_models,)
            Their part of the weight of the minibatch.
        """
        n_samples = len(batch)
        first = n_samples * self.rank // self.world_size
        last = n_samples * (self.rank + 1) // self.world_size
        rows = slice(first, last)
        if first == last:
            return rows, batch.part(slice(0, 1)), 0.0
        part = batch.part(rows)
        return rows, part, part.weight_sum / batch.weight_sum

    def average_(self, grad: Tensor, share: Hyperparameter) -> None:
        """Turn the gradient of this process's rows, in place, into the minibatch's."""
        if self._is_local:
            return
        grad.mul_(expand(share, grad))
        dist.all_reduce(grad)

    @contextlib.contextmanager
    def local(self) -> Iterator[None]:
        """Context in which a gradient stays that of the process's own rows."""
        self._is_local = True
        try:
            yield
        finally:
            self._is_local = False

    # -- after a step ------------------------------------------------------------------

    def sum_(self, parts: Tensor) -> None:
        """Sum a tensor over the processes, in place."""
        dist.all_reduce(parts)

    def of_first(
        self, values: Sequence[float | None], device: torch.device
    ) -> list[Any]:
        """Return the first process's values; None stays where it is.

        The epoch's loss and scores are the same in all processes but for the rounding of
        unlike machines, by which one might stop and wait for ever for the others.
        """
        known = [value for value in values if value is not None]
        if not known:
            return list(values)
        sent = torch.tensor(known, dtype=torch.float64, device=device)
        dist.broadcast(sent, 0)
        received = iter(sent.tolist())
        return [None if value is None else next(received) for value in values]


_active: ContextVar[Ranks | None] = ContextVar("ranks", default=None)


def active_ranks() -> Ranks | None:
    """Return the processes that train together here, None for this one alone."""
    return _active.get()


@contextlib.contextmanager
def data_parallel(first_pass: str) -> Iterator[Ranks]:
    """Context in which a training is shared by the processes of the group."""
    if first_pass not in FIRST_PASSES:
        raise ValueError(
            f"first_pass must be one of {FIRST_PASSES}, got first_pass={first_pass!r}."
        )
    if not dist.is_available():
        raise RuntimeError(
            "data_parallel needs a torch with torch.distributed, which this one was built "
            "without. Install another build of torch."
        )
    if not dist.is_initialized():
        _set_up()
    ranks = Ranks(first_pass)
    token = _active.set(ranks if ranks.world_size > 1 else None)
    try:
        yield ranks
    finally:
        _active.reset(token)


def _set_up() -> None:
    """Join the processes that a launcher has started, if it has."""
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ImportError(
            "data_parallel needs accelerate to set up the processes: pip install "
            "accelerate. Or call torch.distributed.init_process_group before."
        ) from error
    n_threads = torch.get_num_threads()
    PartialState(cpu=not torch.accelerator.is_available())
    if torch.get_num_threads() != n_threads:
        torch.set_num_threads(n_threads)


# -- whether all train the same ---------------------------------------------------------

_SAME_DATA = (
    "{name} must be the same in all processes, each of which takes its share of every "
    "minibatch by itself, got another {name} in process {{rank}} than in process 0. Load "
    "all rows in every process."
)
_MUST_AGREE = {
    **{name: _SAME_DATA.format(name=name) for name in (*DATA, *DATA_VAL)},
    "random_state": (
        "random_state must be the same in all processes, got other initial weights, rows "
        "or draws in process {rank} than in process 0. Set random_state to an int; with "
        "None every process draws its own."
    ),
    "settings": (
        "The parameters of the estimator must be the same in all processes, got others in "
        "process {rank} than in process 0."
    ),
    "state": (
        "The estimator must have been trained alike in all processes before, got another "
        "state in process {rank} than in process 0."
    ),
}
