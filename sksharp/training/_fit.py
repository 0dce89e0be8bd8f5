"""The waist between the estimators and the engine."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._contract import TrainingJob, TrainingResult
from ._device import deserved_threads, resolve_device
from ._net import MLPNet


def fit_models(jobs: Sequence[TrainingJob]) -> list[TrainingResult]:
    """Train the network of every job.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        Networks to train. Their ``progress`` is updated in place, their arrays are not.

    Returns
    -------
    results : list of TrainingResult
        One per job, in their order.

    Raises
    ------
    ValueError
        If a job's device is not there, or a minibatch has no weight.
    """
    return [_fit_model(job) for job in jobs]


def _fit_model(job: TrainingJob) -> TrainingResult:
    device = resolve_device(job.settings.device, job.weights.coefs[0].dtype)
    layer_units = [len(job.weights.coefs[0]), *map(len, job.weights.intercepts)]
    # a fit works inside the caller's inference_mode and autocast too
    with (
        torch.inference_mode(False),
        torch.autocast(device.type, enabled=False),
        deserved_threads(device, job.settings.batch_size, layer_units),
    ):
        return MLPNet(job, device).train()
