"""The waist between the estimators and the engine."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import joblib
import torch

from .._contract import DATA, TrainingJob, TrainingResult, Watch
from ._device import deserved_threads, flushed_denormals, resolve_device
from ._net import MLPNet
from ._plan import plan
from ._ranks import active_ranks


def fit_models(
    jobs: Sequence[TrainingJob],
    *,
    n_jobs: int | None = None,
    on_group: Callable[[int, int], None] | None = None,
    skip_errors: bool = False,
    watch: Watch | None = None,
) -> list[Any]:
    """Train the network of every job, those that are alike together.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        Networks to train. Their ``progress`` may be updated in place, their arrays are
        not.

    n_jobs : int or None, default=None
        Processes to train in, as in :class:`joblib.Parallel`. None is one inside a task
        of dask. Not used where several processes share every training.

    on_group : callable or None, default=None
        Called with the number of networks trained so far and of all.

    skip_errors : bool, default=False
        Whether to go on if a group fails. Its results are then None.

    watch : Watch or None, default=None
        Told of every group, and of its epochs unless it is trained in a process.

    Returns
    -------
    results : list of TrainingResult
        One per job, in their order.

    Raises
    ------
    ValueError
        If a job's device is not there, a minibatch has no weight, or the processes that
        share a training do not agree.
    KeyboardInterrupt
        If the user interrupts the training of one group while others wait.
    """
    n_workers = 1
    if active_ranks() is None and not (n_jobs is None and _is_dask_task()):
        n_workers = joblib.effective_n_jobs(n_jobs)
    groups = plan(jobs, n_workers)
    fit = _try_group if skip_errors else _fit_group
    parts = [[jobs[place] for place in group] for group in groups]
    if watch is not None:
        watch.begin_training(parts)
    if n_workers == 1 or len(groups) == 1:
        trained = (fit(part, watch) for part in parts)
    else:
        packed = (_pack(part) for part in parts)
        trained = _parallel(n_jobs)(
            joblib.delayed(_fit_packed)(fit, part, *arrays) for part, arrays in packed
        )
    results: dict[int, Any] = {}
    is_interrupted = False
    for group, of_group in zip(groups, trained, strict=True):
        results.update(zip(group, of_group, strict=True))
        is_interrupted = any(r and r.is_interrupted for r in of_group)
        if len(results) < len(jobs) and is_interrupted:
            raise KeyboardInterrupt  # the other groups have not been trained
        if on_group is not None:
            on_group(len(results), len(jobs))
        if watch is not None and not is_interrupted:
            watch.end_group()
    if watch is not None:
        watch.end_training(is_interrupted=is_interrupted)
    return [results[place] for place in range(len(jobs))]


def _parallel(n_jobs: int | None) -> Any:
    backend, _ = joblib.parallel.get_active_backend()
    return_as = "generator" if backend.supports_return_generator else "list"
    if not hasattr(backend, "client"):  # of dask, which is for several at once
        # one that was chosen by its name may be at work for scikit-learn's search
        backend = copy.copy(backend)
        vars(backend).pop("_pool", None)  # of threads or processes that are at work
    return joblib.Parallel(n_jobs, backend=backend, return_as=return_as)


def _is_dask_task() -> bool:
    """Return whether this runs in a worker of dask, beside other tasks.

    joblib would spread what a task leaves to it over the whole cluster again.
    """
    worker = sys.modules.get("distributed.worker")
    return worker is not None and hasattr(worker.thread_state, "execution_state")


def _pack(jobs: Sequence[TrainingJob]) -> tuple[list[TrainingJob], list[Any]]:
    """Return jobs with places where they had data, and the data.

    Arrays that are arguments of their own travel once to a cluster, not with every task.
    """
    places: dict[int, int] = {}
    arrays: list[Any] = []

    def place(array: Any) -> Any:
        if array is None:
            return None
        if id(array) not in places:
            places[id(array)] = len(arrays)
            arrays.append(array)
        return places[id(array)]

    return [_with_data(job, place) for job in jobs], arrays


def _fit_packed(fit: Any, jobs: Sequence[TrainingJob], *arrays: Any) -> Any:
    def array_at(place: Any) -> Any:
        return None if place is None else arrays[place]

    return fit([_with_data(job, array_at) for job in jobs])


def _with_data(job: TrainingJob, change: Callable[[Any], Any]) -> TrainingJob:
    """Return a job whose data went through a function."""
    validation = job.validation
    if validation is not None:
        data = {name: change(getattr(validation, name)) for name in DATA}
        validation = dataclasses.replace(validation, **data)
    data = {name: change(getattr(job, name)) for name in DATA}
    return dataclasses.replace(job, validation=validation, **data)


def _try_group(
    jobs: Sequence[TrainingJob], watch: Watch | None = None
) -> Sequence[Any]:
    try:
        return _fit_group(jobs, watch)
    except Exception as error:  # warnings and numpy's errors may be any
        if watch is not None and watch.error is error:
            raise
        return [None] * len(jobs)


@contextlib.contextmanager
def named_overflow(dtype: Any) -> Iterator[None]:
    """Say in the words of the estimators that a number of a step is out of range.

    torch refuses one that its kernels would take for infinite: a quotient or product of
    parameters that are each in range.
    """
    try:
        yield
    except RuntimeError as error:
        if "without overflow" not in str(error):
            raise
        raise ValueError(
            f"The training diverged: the numbers of a step must be representable in "
            f"{dtype}, the dtype of X, got larger ones from learning_rate_init, alpha, "
            "rho or sample_weight. Lower them, of sample_weight divide all by the "
            "largest, or give X as float64."
        ) from error


def _fit_group(
    jobs: Sequence[TrainingJob], watch: Watch | None = None
) -> list[TrainingResult]:
    job, ranks = jobs[0], active_ranks()
    device = resolve_device(job.settings.device, job.weights.coefs[0].dtype)
    if ranks is not None:
        ranks.check(jobs, device)
        jobs = ranks.quiet(jobs)
    # a fit works inside the caller's inference_mode and autocast too
    with (
        torch.inference_mode(False),
        torch.autocast(device.type, enabled=False),
        deserved_threads(device, job.settings.batch_size, job.layer_units),
        flushed_denormals(),
        named_overflow(job.weights.coefs[0].dtype),
    ):
        return MLPNet(jobs, device, watch, ranks).train()
