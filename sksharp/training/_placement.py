"""Where ``device='auto'`` trains: on CUDA if the work is worth it, else on the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from .._jobs import TrainingJob
from ._device import has_cuda
from ._plan import (
    SMALLEST_GROUP,
    alike,
    bytes_of_model,
    can_share,
    group_size,
    n_weights_of,
)
from ._ranks import active_ranks

# What the numbers rest on. CPU: measured on one thread of an x86-64 server, in float32
# (`benchmarks/results/steps.json`), a gradient and its update take 0.07 ms if they are
# little work, and otherwise 0.06 to 0.17 ns for each unit of `step_work`.
# CUDA: not measured. Some 50 kernels a gradient, each launched from Python in 5 µs or
# more, make 0.25 ms, however small the network is; the first use of CUDA in a process
# takes a second or more. `benchmarks/bench_cuda.py --part crossover` measures both.

# A row of a minibatch costs a multiply-add per weight, forward. The update of a weight
# costs as much as that many rows.
ROWS_OF_UPDATE = 12

# 1 to 3 ms on the CPU: four times what the launches take at least
STEP_WORK = 2**24

# 4 to 12 s on the CPU: several times the start of CUDA
FIT_WORK = 2**36

# share of the free memory of the GPU that a training may be expected to need
MEMORY_SHARE = 0.5


def step_work(
    n_networks: float,
    n_weights: int,
    batch_size: int,
    n_row_weights: float | None = None,
) -> float:
    """Return the work of a gradient and its update, in multiply-adds.

    Parameters
    ----------
    n_networks : float
        Networks that are trained at once, a process.

    n_weights : int
        Weights of a network.

    batch_size : int
        Rows of a minibatch.

    n_row_weights : float or None, default=None
        Weights that a row meets, without those of the features that a sparse row lacks.
        None for all.

    Returns
    -------
    work : float
        ``n_networks * (batch_size * n_row_weights + ROWS_OF_UPDATE * n_weights)``.
    """
    per_row = n_weights if n_row_weights is None else n_row_weights
    return n_networks * (batch_size * per_row + ROWS_OF_UPDATE * n_weights)


def pays_on_cuda(work: float, n_steps: float) -> bool:
    """Return whether a training is enough work to be moved to a GPU.

    The rule rests on measurements on a CPU and on an estimate of what launching costs on
    a GPU, where nothing was measured.

    Parameters
    ----------
    work : float
        Of a step, as :func:`step_work` returns it.

    n_steps : float
        Steps, at most.

    Returns
    -------
    pays : bool
        Whether a step is worth its launches, and all of them the start of CUDA.
    """
    return work >= STEP_WORK and work * n_steps >= FIT_WORK


def placed(jobs: Sequence[TrainingJob], n_workers: int = 1) -> Sequence[TrainingJob]:
    """Return jobs with ``'cuda'`` in the place of ``'auto'`` where it pays.

    Those that can train together count together. What stays ``'auto'`` trains on the CPU.
    CUDA is not touched, and the jobs are returned as they are, unless all of them together
    are work enough.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        Networks to train.

    n_workers : int, default=1
        Processes that the CPU would be shared by.

    Returns
    -------
    jobs : sequence of TrainingJob
        In their order.
    """
    if active_ranks() is not None:  # whose launcher gives each process its GPU
        moved = {i for i, job in enumerate(jobs) if job.settings.device == "auto"}
        return _on_cuda(jobs, moved if moved and has_cuda() else set())
    if not _may_pay(jobs) or not has_cuda():
        return jobs
    moved = set()
    for indices in alike(jobs).values():
        group = [jobs[index] for index in indices]
        if _pays(group, n_workers) and _has_room(group):
            moved.update(indices)
    return _on_cuda(jobs, moved)


def gains_from_others(job: TrainingJob, n_jobs: int, n_workers: int = 1) -> bool:
    """Return whether a job is faster together with as many others like it.

    Parameters
    ----------
    job : TrainingJob
        A network to train.

    n_jobs : int
        The number of them.

    n_workers : int, default=1
        Processes that the CPU would be shared by.

    Returns
    -------
    gains : bool
        Whether they are to be trained together.
    """
    jobs = [job] * n_jobs
    if _pays(jobs, n_workers) and has_cuda() and _has_room(jobs):
        (job,) = _on_cuda([job], {0})
    return can_share(job) and group_size(job, SMALLEST_GROUP, 1) > 1


def _may_pay(jobs: Sequence[TrainingJob]) -> bool:
    """Return whether the jobs would be work enough if all were alike."""
    autos = [job for job in jobs if job.settings.device == "auto"]
    total = sum(_work_of(job) * _steps_of(job) for job in autos)
    return sum(map(_work_of, autos)) >= STEP_WORK and total >= FIT_WORK


def _pays(jobs: Sequence[TrainingJob], n_workers: int) -> bool:
    """Return whether jobs that are alike pay on a GPU, against processes on the CPU."""
    job = jobs[0]
    if job.settings.device != "auto":
        return False
    n_networks = len(jobs) / min(n_workers, len(jobs))
    return pays_on_cuda(n_networks * _work_of(job), max(map(_steps_of, jobs)))


def _work_of(job: TrainingJob) -> float:
    n_weights = n_weights_of(job)
    n_row_weights = float(n_weights)
    if hasattr(job.X, "tocsr"):
        n_entries = job.X.nnz / job.X.shape[0]
        n_row_weights -= (job.X.shape[1] - n_entries) * job.layer_units[1]
    return step_work(1, n_weights, job.settings.batch_size, n_row_weights)


def _steps_of(job: TrainingJob) -> int:
    return job.epochs * -(-job.n_samples // job.settings.batch_size)


def _has_room(jobs: Sequence[TrainingJob]) -> bool:
    """Return whether the GPU has memory for the rows of jobs and a group of them."""
    arrays = {id(a): a for job in jobs for a in (job.X, job.y) if hasattr(a, "nbytes")}
    (moved,) = _on_cuda(jobs[:1], {0})
    size = group_size(moved, len(jobs), 1)
    needed = sum(a.nbytes for a in arrays.values()) + size * bytes_of_model(jobs[0])
    try:
        _run_a_kernel()
        free, _ = torch.cuda.mem_get_info()
        # what torch holds for tensors to come
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    except Exception:  # no memory for a context, a broken driver, another build
        return False
    return needed <= MEMORY_SHARE * free


def _run_a_kernel() -> None:
    """Raise if the GPU runs none, as one that is too old or too new for this torch."""
    torch.zeros(1, device="cuda").add_(1).item()


def _on_cuda(jobs: Sequence[TrainingJob], moved: set[int]) -> Sequence[TrainingJob]:
    if not moved:
        return jobs
    return [
        dataclasses.replace(
            job, settings=dataclasses.replace(job.settings, device="cuda")
        )
        if index in moved
        else job
        for index, job in enumerate(jobs)
    ]
