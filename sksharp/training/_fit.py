"""The waist between the estimators and the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import joblib
import torch

from .._contract import TrainingJob, TrainingResult
from ._device import deserved_threads, resolve_device
from ._net import MLPNet
from ._plan import plan
from ._ranks import active_ranks


def fit_models(
    jobs: Sequence[TrainingJob],
    *,
    n_jobs: int | None = None,
    on_group: Callable[[int, int], None] | None = None,
    skip_errors: bool = False,
) -> list[Any]:
    """Train the network of every job, those that are alike together.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        Networks to train. Their ``progress`` may be updated in place, their arrays are
        not.

    n_jobs : int or None, default=None
        Processes to train in, as in :class:`joblib.Parallel`. Not used where several
        processes share every training.

    on_group : callable or None, default=None
        Called with the number of networks trained so far and of all.

    skip_errors : bool, default=False
        Whether to go on if a group fails. Its results are then None.

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
    n_workers = 1 if active_ranks() else joblib.effective_n_jobs(n_jobs)
    groups = plan(jobs, n_workers)
    fit = _try_group if skip_errors else _fit_group
    parts = ([jobs[place] for place in group] for group in groups)
    if n_workers == 1 or len(groups) == 1:
        trained = (fit(part) for part in parts)
    else:
        run = joblib.Parallel(n_jobs, return_as="generator")
        trained = run(joblib.delayed(fit)(part) for part in parts)
    results: dict[int, Any] = {}
    for group, of_group in zip(groups, trained, strict=True):
        results.update(zip(group, of_group, strict=True))
        if len(results) < len(jobs) and any(r and r.is_interrupted for r in of_group):
            raise KeyboardInterrupt  # the other groups have not been trained
        if on_group is not None:
            on_group(len(results), len(jobs))
    return [results[place] for place in range(len(jobs))]


def _try_group(jobs: Sequence[TrainingJob]) -> Sequence[Any]:
    try:
        return _fit_group(jobs)
    except (ValueError, RuntimeError, MemoryError):
        return [None] * len(jobs)


def _fit_group(jobs: Sequence[TrainingJob]) -> list[TrainingResult]:
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
    ):
        return MLPNet(jobs, device, ranks).train()
