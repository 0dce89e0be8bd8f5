"""The temperature in the output layer of a network that was scored by its refined loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .._jobs import TrainingResult, Weights
from ._state import TrainingState, state_of, weights_digest


def tempered(weights: Weights, inverse_temperature: float | None) -> Weights:
    """Return weights whose output layer is multiplied, which leaves a plain network.

    Parameters
    ----------
    weights : Weights
        Not changed.

    inverse_temperature : float or None
        The factor, None for nothing.
    """
    if inverse_temperature is None:
        return weights
    layer = output_layer(weights)
    factor = layer.coefs[0].dtype.type(inverse_temperature)
    return _with_output_layer(
        weights, Weights([layer.coefs[0] * factor], [layer.intercepts[0] * factor])
    )


def untempered(estimator: Any) -> tuple[Weights, TrainingState]:
    """Return the weights that training has reached, and the state that belongs to them.

    Weights that the user has written to are taken as they are.
    """
    weights = Weights(estimator.coefs_, estimator.intercepts_)
    state = state_of(estimator)
    layer = state.output_layer
    if layer is None:
        return weights, state
    if state.digest != weights_digest(weights):
        return weights, state.replace(output_layer=None, inverse_temperature=None)
    weights = _with_output_layer(weights, layer)
    return weights, state.replace(output_layer=None, digest=weights_digest(weights))


def output_layer(weights: Weights) -> Weights:
    """Return the last layer of a network."""
    return Weights(weights.coefs[-1:], weights.intercepts[-1:])


def _with_output_layer(weights: Weights, layer: Weights) -> Weights:
    return Weights(
        [*weights.coefs[:-1], *layer.coefs],
        [*weights.intercepts[:-1], *layer.intercepts],
    )


def soften(result: TrainingResult) -> None:
    """Take the root of the inverse temperature of a member: their mean is softer."""
    b = result.progress.inverse_temperature
    if b is not None:
        result.progress.inverse_temperature = float(np.sqrt(b))


def common_inverse_temperature(results: Iterable[TrainingResult]) -> float | None:
    """Return the geometric mean of networks, None if they were not refined."""
    each = [result.progress.inverse_temperature for result in results]
    logs = [np.log(b) for b in each if b is not None]
    return float(np.exp(np.mean(logs))) if logs else None
