"""Which models to train together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .._jobs import TrainingJob
from ..options.solvers import SOLVERS
from ._batches import stream_key

# multiply-adds of a step's products from which on models train faster one by one
WORK_TOGETHER = 2**22

# bytes of weights, gradients and activations that a group's step goes through: about
# the cache of a core
GROUP_BYTES = 2**21
SMALLEST_GROUP = 4

# models from which on a step is efficient
ENOUGH = 12

# the same where the memory is an accelerator's: the more models, the fewer steps there are
# to launch
ACCELERATED_GROUP_BYTES = 2**30


def plan(
    jobs: Sequence[TrainingJob], n_workers: int = 1, is_on_cluster: bool = False
) -> list[list[int]]:
    """Return groups of jobs, by their indices, that are trained together.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        Networks to train.

    n_workers : int, default=1
        How many groups are trained at a time.

    is_on_cluster : bool, default=False
        Whether the workers may have accelerators of their own. Else they would share one,
        and one of them takes all.

    Returns
    -------
    groups : list of list of int
        Every job is in one. Jobs of a group agree in :func:`shared_settings`; those that
        go through the same rows in the same order are next to each other.
    """
    groups = []
    for indices in alike(jobs).values():
        job = jobs[indices[0]]
        is_alone = is_on_accelerator(job) and not is_on_cluster
        size = group_size(job, len(indices), 1 if is_alone else n_workers)
        streams: dict[Any, list[int]] = {}
        for index in indices:
            streams.setdefault(stream_key(jobs[index]), []).append(index)
        enough = size if is_on_accelerator(job) else ENOUGH
        groups += cut(list(streams.values()), size, enough)
    return groups


def alike(jobs: Sequence[TrainingJob]) -> dict[Any, list[int]]:
    """Return the indices of jobs that can train together, by what they agree in."""
    indices: dict[Any, list[int]] = {}
    for index, job in enumerate(jobs):
        key = shared_settings(job) if can_share(job) else index
        indices.setdefault(key, []).append(index)
    return indices


def is_on_accelerator(job: TrainingJob) -> bool:
    """Return whether a job is to train elsewhere than on the CPU; 'auto' is the CPU."""
    return job.settings.device.partition(":")[0] not in ("auto", "cpu")


def cut(
    streams: Sequence[list[int]], size: int, enough: int = ENOUGH
) -> list[list[int]]:
    """Return groups of at most ``size`` jobs, each of few streams.

    Models of one stream share their rows. Where a stream has enough of them it stays
    alone, else several make a group.
    """
    groups: list[list[int]] = []
    small: list[int] = []
    for stream in streams:
        if len(stream) >= min(size, enough):
            n_parts = -(-len(stream) // size)
            step = -(-len(stream) // n_parts)
            groups += [stream[i : i + step] for i in range(0, len(stream), step)]
            continue
        if len(small) + len(stream) > size:
            groups.append(small)
            small = []
        small = small + stream
    return [*groups, small] if small else groups


def can_share(job: TrainingJob) -> bool:
    """Return whether a job may be trained together with others."""
    goes_on = job.optimizer_state is not None and not job.is_resumed
    return not (job.callbacks or job.is_incremental or goes_on)


def shared_settings(job: TrainingJob) -> Any:
    """Return what jobs must agree in to be trained together."""
    settings = job.settings
    links = [(SOLVERS[spec.solver], spec.arguments) for spec in settings.optimizers]
    selects_rows = any(solver.chooses_rows for solver, _ in links)
    is_sparse = hasattr(job.X, "tocsr")
    return (
        tuple(job.layer_units),
        job.weights.coefs[0].dtype.str,
        settings.activation,
        settings.out_activation,
        settings.loss,
        settings.chain,
        settings.device,
        settings.batch_size,
        -(-job.n_samples // settings.batch_size),
        settings.ema_decay,
        # in which layers there is dropout, and the rows that models share
        tuple(share > 0 for share in settings.dropout),
        settings.dropout[:1],
        settings.input_noise,
        job.is_resumed and job.progress.n_iter,
        # hyperparameters that the steps of all models share
        tuple(
            arguments.get(name) for solver, arguments in links for name in solver.shared
        ),
        settings.micro_batch_size,
        # rows that pad a short minibatch must not be selected or cut
        (selects_rows or settings.micro_batch_size) and job.n_samples,
        # a step without an ascent costs half
        settings.argument("rho") == 0,
        # the rows of sparse matrices are not gathered for several streams
        is_sparse and stream_key(job),
    )


def group_size(job: TrainingJob, n_jobs: int, n_workers: int) -> int:
    """Return how many models like that of a job to train together at most.

    An accelerator takes as many as its memory holds.
    """
    of_worker = -(-n_jobs // n_workers)
    if is_on_accelerator(job):
        return max(1, min(of_worker, ACCELERATED_GROUP_BYTES // bytes_of_model(job)))
    if job.settings.batch_size * n_weights_of(job) > WORK_TOGETHER:
        return 1
    largest = GROUP_BYTES // bytes_of_model(job)
    if largest < 2:
        return 1
    largest = max(SMALLEST_GROUP, largest)
    return min(largest, of_worker)


def n_weights_of(job: TrainingJob) -> int:
    """Return the number of weights of a job's network, without biases."""
    return sum(a * b for a, b in pairwise(job.layer_units))


def bytes_of_model(job: TrainingJob) -> int:
    """Return the bytes that a step of a job's network goes through."""
    units = job.layer_units
    # what Backprop writes for a minibatch: outputs and, unless they share memory, deltas
    n_outputs = sum(units[1:]) if units[2:] == [1] else 2 * sum(units[1:])
    if job.settings.dropout:  # masks, and what they leave
        n_outputs += 2 * sum(units[1:-1])
    n_numbers = 6 * n_weights_of(job) + job.settings.batch_size * n_outputs
    return n_numbers * job.weights.coefs[0].itemsize
