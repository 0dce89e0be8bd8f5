"""What a step costs on a device, how often the host waits, and from which size it pays."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from _cuda_runs import Run, graph_fields, seconds_of, synchronize
from _cuda_speed import fixed, make_rows

from sksharp import SAMMLPClassifier, training
from sksharp.options import SWA
from sksharp.training import _placement
from sksharp.training._device import deserved_threads, own_stream
from sksharp.training._epoch import EpochLoss
from sksharp.training._loop import Loop
from sksharp.training._networks import Networks

N_STEPS = 10  # of an epoch


class _Handed(Exception):
    """The estimator has handed its job to the engine."""


def job_of(estimator: Any, X: Any, y: Any) -> Any:
    """Return the job that an estimator hands to the engine."""
    jobs: list[Any] = []

    def hand(given: Sequence[Any], **options: Any) -> None:
        jobs.extend(given)
        raise _Handed

    with mock.patch.object(training, "fit_models", hand):
        with contextlib.suppress(_Handed):
            estimator.fit(X, y)
    return jobs[0]


@contextlib.contextmanager
def loop_of(
    device: str,
    units: tuple[int, ...],
    batch_size: int,
    n_networks: int,
    solver: str = "sam",
    **params: Any,
) -> Iterator[Loop]:
    """Context with the training of networks in a group, whose epochs have ``N_STEPS``.

    A quarter of the networks has the same rows in the same order, as in a search. As in a
    fit the stream is one on which graphs are captured.
    """
    X, y = make_rows(N_STEPS * batch_size, units[0])
    estimator = SAMMLPClassifier(
        units[1:], solver=solver, rho=0.05, **fixed(10**6, batch_size), **params
    )
    job = job_of(estimator, X, y)
    jobs = [
        dataclasses.replace(job, random_state=np.random.RandomState(k % 4))
        for k in range(n_networks)
    ]
    where = torch.device(device)
    with own_stream(where):
        yield Loop(Networks(jobs, where))


# -- from which size on ------------------------------------------------------------------

# units but the output, minibatch, networks
SIZES = [
    ((20, 32), 32, 1),
    ((20, 100), 200, 1),
    ((20, 32), 64, 60),
    ((20, 100), 200, 12),
    ((60, 128, 128), 32, 5),
    ((60, 128, 128), 256, 5),
    ((50, 256, 256), 32, 1),
    ((50, 256, 256), 200, 1),
    ((50, 256, 256), 1024, 1),
    ((20, 100), 200, 120),
    ((2000, 256), 1, 1),
    ((2000, 1024), 32, 1),
    ((50, 1024), 200, 1),
    ((50, 1024, 1024), 200, 1),
    ((50, 256, 256), 200, 40),
]


def step_seconds(loop: Loop, device: str, seconds: float) -> float:
    """Return the shortest time of a step, over epochs."""
    best, end, n_epochs = np.inf, time.monotonic() + seconds, 0
    n_steps = len(loop.batches)
    while n_epochs < 3 or time.monotonic() < end:
        elapsed = seconds_of(lambda: loop.train_epoch(None), device)
        best, n_epochs = min(best, elapsed / n_steps), n_epochs + 1
    return float(best)


def size_row(
    units: tuple[int, ...],
    batch_size: int,
    n_networks: int,
    device: str,
    seconds: float,
) -> dict[str, Any]:
    """Return the time of a step on the device and on one thread of the CPU."""
    n_weights = sum(a * b for a, b in pairwise((*units, 1)))
    row: dict[str, Any] = {
        "networks": n_networks,
        "weights": n_weights,
        "minibatch": batch_size,
        "work": _placement.step_work(n_networks, n_weights, batch_size),
    }
    for where, name in ((device, "us"), ("cpu", "CPU, us")):
        with (
            loop_of(where, units, batch_size, n_networks) as loop,
            deserved_threads(torch.device(where), batch_size, (*units, 1)),
        ):
            loop.train_epoch(None)  # warm
            row[name] = 1e6 * step_seconds(loop, where, seconds)
            if where == device:
                row |= graph_fields([loop.steps])
        del loop
    row["CPU / device"] = row["CPU, us"] / row["us"]
    return row


def crossover(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the measured steps say of the constant of the rule.

    Parameters
    ----------
    rows : sequence of dict
        With 'work' and 'CPU / device', as :func:`size_row` returns them.

    Returns
    -------
    found : dict
        'faster_from': the smallest work from which on the device is faster in all rows.
        'slower_to': the largest at which it is slower. None where there is no such row.
    """
    rows = sorted((r for r in rows if "work" in r), key=lambda row: row["work"])
    slower = [row["work"] for row in rows if row["CPU / device"] < 1]
    to = max(slower, default=None)
    faster = [row["work"] for row in rows if to is None or row["work"] > to]
    return {
        "faster_from": min(faster, default=None),
        "slower_to": to,
        "STEP_WORK": _placement.STEP_WORK,
        "FIT_WORK": _placement.FIT_WORK,
    }


START = """
import time
import torch
start = time.perf_counter()
a = torch.ones(64, 64, device={device!r})
(a @ a).sum().item()
print(time.perf_counter() - start)
"""


def start_row(device: str) -> dict[str, Any]:
    """Return the seconds that the first use of the device takes in a new process."""
    found = [
        float(
            subprocess.run(
                [sys.executable, "-c", START.format(device=device)],
                text=True,
                capture_output=True,
                check=True,
                timeout=120,
            ).stdout
        )
        for _ in range(2)
    ]
    return {"seconds": min(found)}


def run_crossover(part: Run) -> None:
    """Measure steps of all sizes, and say what they mean for the rule."""
    torch.set_num_threads(1)
    sizes = part.pick(SIZES, [((5, 4), 8, 1), ((5, 8), 8, 3)])
    seconds = part.pick(0.5, 0.0)
    rows = []
    for units, batch_size, n_networks in sizes:
        name = f"{n_networks} x {units}, minibatch {batch_size}"
        size = units, batch_size, n_networks
        rows.append(part.row(name, lambda s=size: size_row(*s, part.device, seconds)))
    start = part.row("first use", lambda: start_row(part.device))
    found = part.row("crossover", lambda: crossover(rows))
    if found.get("faster_from") is not None:
        print(
            f"The device is faster from a work of {found['faster_from']:.3g} a step on; "
            f"STEP_WORK of sksharp/training/_placement.py is {found['STEP_WORK']:.3g}."
        )
    if "seconds" in start and rows and "work" in rows[-1]:
        rate = rows[-1]["work"] / (rows[-1]["CPU, us"] * 1e-6) / 2  # two gradients
        print(
            f"The start of the device is as long as a work of "
            f"{start['seconds'] * rate:.3g} on the CPU; FIT_WORK is "
            f"{found['FIT_WORK']:.3g}."
        )


# -- waits -------------------------------------------------------------------------------

WAITS: dict[str, dict[str, Any]] = {
    "sam": {},
    "adam": {"solver": "adam"},
    "asam": {"solver": "asam"},
    "ranger": {"solver": "ranger"},
    "muon": {"solver": "muon"},
    "swa": {"swa": SWA(start=1)},
    "ema_decay": {"ema_decay": 0.9},
    "cosine": {"learning_rate": "cosine"},
    "dropout": {"dropout": 0.1},
}


@contextlib.contextmanager
def sync_mode(mode: str, device: str) -> Iterator[None]:
    """Context in which torch warns of waits for the device, or raises."""
    if device != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits_of(call: Callable[[], Any], device: str) -> collections.Counter[str]:
    """Return how often the host waits within a call, by the line that waits."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with sync_mode("warn", device):
            call()
    return collections.Counter(
        f"{Path(warning.filename).name}:{warning.lineno}"
        for warning in caught
        if "called a synchronizing" in str(warning.message)
    )


def wait_row(params: dict[str, Any], n_networks: int, device: str) -> dict[str, Any]:
    """Return the waits of an epoch, and whether there is one between its steps."""
    with loop_of(device, (20, 100), 200, n_networks, **params) as loop:
        return _waits_of_epoch(loop, device)


def _waits_of_epoch(loop: Loop, device: str) -> dict[str, Any]:
    for _ in range(2):
        loop.train_epoch(None)
    row: dict[str, Any] = {"steps": len(loop.batches)}
    of_steps = waits_of(lambda: loop.train_epoch(None), device)
    row["waits_of_steps"] = sum(of_steps.values())
    row["where"] = dict(of_steps)
    whole = waits_of(loop._epoch, device)
    row["waits_of_epoch"] = sum(whole.values())
    values = EpochLoss.values

    def end(self: EpochLoss, batches: Any) -> list[float]:
        # the one wait that an epoch needs: for its loss
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
        return values(self, batches)

    try:
        with mock.patch.object(EpochLoss, "values", end), sync_mode("error", device):
            loop.train_epoch(None)
    except RuntimeError as error:
        row["error_mode"] = " ".join(str(error).split())[:200]
    row |= graph_fields([loop.steps])
    row["ok"] = "error_mode" not in row and row["captured"]
    return row


def run_waits(part: Run) -> None:
    """Count waits, of one network and of several."""
    for name, params in list(WAITS.items())[: part.pick(None, 2)]:
        for n in (1, 8):
            part.row(
                f"{name}, {n} networks" if n > 1 else name,
                lambda params=params, n=n: wait_row(params, n, part.device),
            )


# -- where the time goes -----------------------------------------------------------------

LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC")
PROFILED: dict[str, tuple[Any, ...]] = {
    "one, 100 units": ((20, 100), 200, 1),
    "one, 100 units, adam": ((20, 100), 200, 1, "adam"),
    "one, 256, 256 units": ((50, 256, 256), 1024, 1),
    "five, 128, 128 units": ((60, 128, 128), 32, 5),
    "120, 100 units": ((20, 100), 200, 120),
}


def host_seconds(loop: Loop, device: str) -> float:
    """Return the time of a step until the host has launched it, at best."""
    values, ends = EpochLoss.values, list[float]()

    def end(self: EpochLoss, batches: Any) -> list[float]:
        ends.append(time.perf_counter())
        return values(self, batches)

    found = []
    with mock.patch.object(EpochLoss, "values", end):
        for _ in range(10):
            synchronize(device)
            start = time.perf_counter()
            loop.train_epoch(None)
            found.append((ends[-1] - start) / len(loop.batches))
    return min(found)


def profile_row(case: tuple[Any, ...], device: str) -> dict[str, Any]:
    """Return kernels, launches and times of a step."""
    with loop_of(device, *case) as loop:
        return _profile_of(loop, device)


def _profile_of(loop: Loop, device: str) -> dict[str, Any]:
    for _ in range(3):
        loop.train_epoch(None)
    row: dict[str, Any] = {
        "us": 1e6 * step_seconds(loop, device, 0.5),
        "host_us": 1e6 * host_seconds(loop, device),
    }
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    n_epochs = 3
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(n_epochs):
            loop.train_epoch(None)
        synchronize(device)
    n_steps = n_epochs * len(loop.batches)
    events = profile.key_averages()
    kernels = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    counts = {event.key: event.count for event in events}
    row["kernels"] = sum(e.count for e in kernels) / n_steps
    row["device_us"] = sum(e.self_device_time_total for e in kernels) / n_steps
    row["launches"] = sum(counts.get(name, 0) for name in LAUNCHES) / n_steps
    row["graphs"] = counts.get("cudaGraphLaunch", 0) / n_steps
    row["copies"] = counts.get("cudaMemcpyAsync", 0) / n_steps
    row["waits"] = counts.get("cudaStreamSynchronize", 0) / n_steps
    row["operators"] = (
        sum(n for name, n in counts.items() if name.startswith("aten::")) / n_steps
    )
    kernels.sort(key=lambda event: event.self_device_time_total, reverse=True)
    row["longest"] = {
        event.key[:80]: round(event.self_device_time_total / n_steps, 2)
        for event in kernels[:5]
    }
    return row | graph_fields([loop.steps])


def run_profile(part: Run) -> None:
    """Profile steps."""
    torch.set_num_threads(1)
    for name, case in list(PROFILED.items())[: part.pick(None, 1)]:
        part.row(name, lambda case=case: profile_row(case, part.device))
