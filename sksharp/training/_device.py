"""Where training runs, and on how many threads."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

# multiply-adds of a step's largest product below which a second thread does not pay
WORK_PER_THREAD = 2**30

# environment variable that lets steps become CUDA graphs
GRAPHS_VARIABLE = "SKSHARP_CUDA_GRAPHS"


def has_cuda() -> bool:
    """Return whether this process can use CUDA.

    One that was forked from a process with CUDA cannot, whatever torch says of devices.
    """
    return not torch.cuda._is_in_bad_fork() and torch.cuda.is_available()


def resolve_device(name: str, dtype: np.dtype[np.floating]) -> torch.device:
    """Return the torch device of the estimator's parameter ``device``.

    What :func:`~sksharp.training._placement.placed` has left at 'auto' is the CPU's.

    Raises
    ------
    ValueError
        If there is no such device here, or if it cannot compute in ``dtype``.
    """
    if name == "auto":
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            "device must be 'auto', 'cpu', 'cuda' or another torch device such as "
            f"'cuda:1', got device={name!r}."
        ) from error
    _check_available(device, name)
    if device.type == "mps" and dtype == np.float64:
        raise ValueError(
            "device='mps' computes in single precision, got X of float64. Convert X with "
            "X.astype('float32') or use device='cpu'."
        )
    return device


def _check_available(device: torch.device, name: str) -> None:
    if device.type == "cpu":
        return
    if device.type == "cuda" and torch.cuda._is_in_bad_fork():
        raise ValueError(
            f"device={name!r} needs a process that was not forked from one with CUDA, got "
            "a process of joblib's 'multiprocessing' or another fork. Use joblib's 'loky', "
            "start processes by 'spawn', or use device='cpu'."
        )
    try:
        accelerator = torch.get_device_module(device)
        n_devices = accelerator.device_count() if accelerator.is_available() else 0
    except (RuntimeError, AttributeError):
        n_devices = 0
    if (device.index or 0) < n_devices:
        return
    found = f"{n_devices} of them" if n_devices else "none"
    raise ValueError(
        f"device={name!r} needs a {device.type} device that torch can use, found {found} "
        "on this machine. Use device='auto' to fall back to the CPU, device='cpu', or "
        "install a build of torch that supports the device."
    )


def deserved_threads(
    device: torch.device, batch_size: int, layer_units: Sequence[int]
) -> contextlib.AbstractContextManager[object]:
    """Return a context that runs small work on one thread.

    A second thread gains nothing on a small step and loses much when another process
    wants its core. The limit holds for the calling thread alone and ends with the
    context.
    """
    largest = max(batch_size * a * b for a, b in pairwise(layer_units))
    if device.type != "cpu" or largest >= WORK_PER_THREAD:
        return contextlib.nullcontext()
    return _one_thread()


def captures_graphs(device: torch.device) -> bool:
    """Return whether steps on a device may become graphs: on CUDA, if the user says so.

    Off unless ``SKSHARP_CUDA_GRAPHS=1``: no graph of this package has run on a GPU yet.

    Raises
    ------
    ValueError
        If the variable is neither 0 nor 1.
    """
    if device.type != "cuda":
        return False
    value = os.environ.get(GRAPHS_VARIABLE, "")
    if value not in ("", "0", "1"):
        raise ValueError(
            f"The environment variable {GRAPHS_VARIABLE} must be 0 or 1, got {value!r}. "
            "Set it to 1 to capture the steps of a training in CUDA graphs."
        )
    return value == "1"


# streams of trainings that have ended, by the index of their device
_idle_streams: dict[int, list[torch.cuda.Stream]] = {}


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Launch kernels on a stream that no other training uses, if graphs are captured.

    CUDA captures no graph on the default stream, and what another thread launched on this
    one would be captured too. Memory that was made on one stream and is freed on another
    may be used too early, so a whole training is on one.
    """
    if not captures_graphs(device):
        yield
        return
    before = torch.cuda.current_stream(device)
    # memory that a stream has freed is used again by the same one only: the last one first
    idle = _idle_streams.setdefault(before.device.index, [])
    try:
        stream = idle.pop()
    except IndexError:
        stream = torch.cuda.Stream(before.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(before)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        before.wait_stream(stream)
        idle.append(stream)


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Compute with zero for numbers too small to have all their digits.

    Processors take many times as long for them, and the gradients of a network that fits
    its rows exactly are full of them. Holds for the calling thread, where the processor
    can do it, and ends with the context. With several threads nothing changes: those that
    begin within the context would not see its end.
    """
    if torch.get_num_threads() > 1 or _flushes_denormals():
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _flushes_denormals() -> bool:
    """Return whether the calling thread does already; torch has no getter."""
    return sys.float_info.min / 2 == 0


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    torch.get_num_threads()  # torch sets up a new thread at its first call, so do it now
    set_mkl_threads = _mkl_setting()
    with _thread_pools().limit(limits=1, user_api="openmp"):
        before = set_mkl_threads(1)
        try:
            yield
        finally:
            set_mkl_threads(before)


@functools.cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


@functools.cache
def _mkl_setting() -> Callable[[int], int]:
    """Return the function that sets MKL's threads in the calling thread alone.

    The MKL inside torch is linked statically, where threadpoolctl does not see it. It
    follows OpenMP until a call of ``torch.set_num_threads``, and no longer.
    """
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        setting = ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):  # another system, or a torch without MKL
        return lambda n_threads: 0
    return lambda n_threads: int(setting(n_threads))
