"""The door between the estimators and the engine: ``fit_models``."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import joblib
import torch

from .._jobs import DATA, Observer, TrainingJob, TrainingResult
from ..checkpointing._context import current_checkpoints
from ..checkpointing._saves import GroupSave, open_saves
from ._device import (
    deserved_threads,
    flushed_denormals,
    own_stream,
    resolve_device,
)
from ._net import MLPNet
from ._networks import Networks
from ._placement import placed
from ._plan import is_on_accelerator, plan
from ._ranks import active_ranks


def fit_models(
    jobs: Sequence[TrainingJob],
    *,
    n_jobs: int | None = None,
    on_group: Callable[[int, int], None] | None = None,
    skip_errors: bool = False,
    observer: Observer | None = None,
) -> list[Any]:
    """Train the network of every job, jobs with shared settings together.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        Networks to train. Their ``progress`` may be updated in place, their arrays are
        not.

    n_jobs : int or None, default=None
        Processes to train in, as in :class:`joblib.Parallel`. None is one inside a task
        of dask. Not used where several processes share every training, and for networks
        on a GPU, which train in this process unless the others are of a cluster.

    on_group : callable or None, default=None
        Called with the number of networks trained so far and of all.

    skip_errors : bool, default=False
        Whether to go on if a group fails. Its results are then None.

    observer : Observer or None, default=None
        Called for every group, and for its epochs unless it is trained in a process.

    Returns
    -------
    results : list of TrainingResult
        One per job, in their order.

    Raises
    ------
    ValueError
        If a job's device is not there, a minibatch has no weight, or the processes that
        share a training do not agree.
    MemoryError
        If the GPU has not enough memory.
    KeyboardInterrupt
        If the user interrupts the training of one group while others wait.
    """
    n_workers = 1
    if active_ranks() is None and not (n_jobs is None and _is_dask_task()):
        n_workers = joblib.effective_n_jobs(n_jobs)
    is_on_cluster = n_workers > 1 and _is_on_cluster()
    if not is_on_cluster:
        jobs = placed(jobs, n_workers)
    groups = plan(jobs, n_workers, is_on_cluster)
    fit = _try_group if skip_errors else _fit_group
    parts = _parts([[jobs[index] for index in group] for group in groups])
    if observer is not None:
        observer.begin_training([part.jobs for part in parts])
    left = [part for part in parts if not part.is_done]
    if is_on_cluster:
        fit = functools.partial(_fit_placed, fit)
    apart = _apart(left, is_on_cluster) if n_workers > 1 else []
    trained = _trained(left, apart, fit, observer, n_jobs)
    results: dict[int, Any] = {}
    is_interrupted = False
    for group, of_group in zip(groups, _with_known(parts, trained), strict=True):
        results.update(zip(group, of_group, strict=True))
        is_interrupted = any(r and r.is_interrupted for r in of_group)
        if len(results) < len(jobs) and is_interrupted:
            raise KeyboardInterrupt  # the other groups have not been trained
        if on_group is not None:
            on_group(len(results), len(jobs))
        if observer is not None and not is_interrupted:
            observer.end_group()
    if observer is not None:
        observer.end_training(is_interrupted=is_interrupted)
    return [results[index] for index in range(len(jobs))]


@dataclasses.dataclass(frozen=True)
class _Part:
    """Jobs that train together, and their save if there is one.

    Parameters
    ----------
    jobs : list of TrainingJob
        The jobs, as they go on.

    save : GroupSave or None
        Where their training is kept.
    """

    jobs: Sequence[TrainingJob]
    save: GroupSave | None = None

    @property
    def is_on_accelerator(self) -> bool:
        """Whether the jobs train elsewhere than on the CPU."""
        return is_on_accelerator(self.jobs[0])

    @property
    def is_done(self) -> bool:
        """Whether the results of all are known."""
        return self.save is not None and self.save.is_done

    def with_jobs(self, jobs: Sequence[TrainingJob]) -> _Part:
        """Return the part with other jobs, to be sent to another process."""
        if self.save is None:
            return _Part(jobs)
        return _Part(jobs, self.save.without_jobs())


def _parts(groups: Sequence[Sequence[TrainingJob]]) -> list[_Part]:
    """Return groups of jobs, as they go on if their training was kept."""
    context, ranks = current_checkpoints(), active_ranks()
    if context is None:
        return [_Part(jobs) for jobs in groups]
    if ranks is not None:  # one that reads other files than the first waits for ever
        for jobs in groups:
            ranks.check(jobs, _device_of(jobs[0]))
    saves = open_saves(
        context,
        groups,
        {"torch": torch.__version__},
        None if ranks is None else ranks.bytes_of_first,
        is_writer=ranks is None or ranks.is_first,
    )
    return [
        _Part(jobs if save is None else save.jobs, save)
        for jobs, save in zip(groups, saves, strict=True)
    ]


def _apart(parts: Sequence[_Part], is_on_cluster: bool) -> Sequence[_Part]:
    """Return the parts to train in processes.

    A GPU is not shared by processes: each would hold a context and rows of its own there,
    and wait for its turn.
    """
    found = [part for part in parts if is_on_cluster or not part.is_on_accelerator]
    return found if len(found) > 1 else []


def _trained(
    parts: Sequence[_Part],
    apart: Sequence[_Part],
    fit: Any,
    observer: Observer | None,
    n_jobs: int | None,
) -> Iterator[Any]:
    """Yield the results of parts, some of them trained apart, in processes."""
    in_processes: Iterator[Any] = iter(())
    if apart:
        packed = (_pack(part.jobs) for part in apart)
        in_processes = iter(
            _parallel(n_jobs)(
                joblib.delayed(_fit_packed)(fit, part.with_jobs(packed_jobs), *arrays)
                for part, (packed_jobs, arrays) in zip(apart, packed, strict=True)
            )
        )
    are_apart = {id(part) for part in apart}
    for part in parts:
        yield next(in_processes) if id(part) in are_apart else fit(part, observer)


def _with_known(parts: Sequence[_Part], trained: Iterator[Any]) -> Iterator[Any]:
    """Yield the results of all parts, of which some were known."""
    for part in parts:
        if part.save is not None and part.is_done:
            yield part.save.all_results([])
        else:
            yield next(trained)


def _parallel(n_jobs: int | None) -> Any:
    backend, _ = joblib.parallel.get_active_backend()
    return_as = "generator" if backend.supports_return_generator else "list"
    if not hasattr(backend, "client"):  # of dask, which is for several at once
        # one that was chosen by its name may be at work for scikit-learn's search
        backend = copy.copy(backend)
        vars(backend).pop("_pool", None)  # of threads or processes that are at work
    return joblib.Parallel(n_jobs, backend=backend, return_as=return_as)


def _is_on_cluster() -> bool:
    """Return whether joblib's processes may be of other machines, with other devices."""
    backend, _ = joblib.parallel.get_active_backend()
    is_of_joblib = type(backend).__module__.startswith("joblib.")
    return hasattr(backend, "client") or not is_of_joblib


def _is_dask_task() -> bool:
    """Return whether this runs in a worker of dask, beside other tasks.

    joblib would spread what a task leaves to it over the whole cluster again.
    """
    worker = sys.modules.get("distributed.worker")
    return worker is not None and hasattr(worker.thread_state, "execution_state")


def _pack(jobs: Sequence[TrainingJob]) -> tuple[list[TrainingJob], list[Any]]:
    """Return jobs with indices in the place of their data, and the data.

    Arrays that are arguments of their own travel once to a cluster, not with every task.
    """
    indices: dict[int, int] = {}
    arrays: list[Any] = []

    def index_of(array: Any) -> Any:
        if array is None:
            return None
        if id(array) not in indices:
            indices[id(array)] = len(arrays)
            arrays.append(array)
        return indices[id(array)]

    return [_with_data(job, index_of) for job in jobs], arrays


def _fit_placed(fit: Any, part: _Part, observer: Observer | None = None) -> Any:
    """Fit a part where it is, on the device that pays there."""
    return fit(_Part(placed(part.jobs), part.save), observer)


def _fit_packed(fit: Any, part: _Part, *arrays: Any) -> Any:
    def array_at(index: Any) -> Any:
        return None if index is None else arrays[index]

    return fit(_Part([_with_data(job, array_at) for job in part.jobs], part.save))


def _with_data(job: TrainingJob, change: Callable[[Any], Any]) -> TrainingJob:
    """Return a copy of a job with a function applied to its data."""
    validation = job.validation
    if validation is not None:
        data = {name: change(getattr(validation, name)) for name in DATA}
        validation = dataclasses.replace(validation, **data)
    data = {name: change(getattr(job, name)) for name in DATA}
    return dataclasses.replace(job, validation=validation, **data)


def _try_group(part: _Part, observer: Observer | None = None) -> Sequence[Any]:
    try:
        return _fit_group(part, observer)
    except Exception as error:  # warnings and numpy's errors may be any
        if observer is not None and observer.error is error:
            raise
        return [None] * (len(part.jobs) if part.save is None else part.save.n_jobs)


@contextlib.contextmanager
def named_overflow(dtype: Any) -> Iterator[None]:
    """Raise an overflow inside a step as an error in terms of the parameters.

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


@contextlib.contextmanager
def named_exhaustion(name: str) -> Iterator[None]:
    """Raise a lack of memory on a GPU as an error in terms of the parameters."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(".")[0]
        raise MemoryError(
            f"device={name!r} must have memory for the rows and the networks that train "
            f"together, got {reason!r}. Use device='cpu', lower batch_size, give X as "
            "float32, or let fewer processes use the GPU (n_jobs)."
        ) from error


def _fit_group(part: _Part, observer: Observer | None = None) -> list[TrainingResult]:
    save = part.save
    if save is None:
        return _train(part, observer)[0]
    save.begin()
    results, has_ended = _train(part, observer)
    if any(result.is_interrupted for result in results):
        save.context.is_interrupted = True
    elif has_ended:
        save.end(results)
    return save.all_results(results)


def _device_of(job: TrainingJob) -> torch.device:
    return resolve_device(job.settings.device, job.weights.coefs[0].dtype)


def _train(part: _Part, observer: Observer | None) -> tuple[list[TrainingResult], bool]:
    """Return the results of a part, and whether nobody has ended it before its time."""
    jobs, save = part.jobs, part.save
    job, ranks = jobs[0], active_ranks()
    is_group = None if save is None else save.n_jobs > 1
    device = _device_of(job)
    if ranks is not None:
        ranks.check(jobs, device)
        jobs = ranks.quiet(jobs)
    # a fit works inside the caller's inference_mode and autocast too
    with (
        torch.inference_mode(False),
        torch.autocast(device.type, enabled=False),
        deserved_threads(device, job.settings.batch_size, job.layer_units),
        flushed_denormals(),
        own_stream(device),
        named_overflow(job.weights.coefs[0].dtype),
        named_exhaustion(job.settings.device),
    ):
        networks = Networks(jobs, device, ranks, is_group=is_group)
        net = MLPNet(networks, observer, save)
        return net.train(), not net.loop.is_stopped
