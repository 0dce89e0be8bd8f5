"""Perturbations of the weights of networks, wherever in an estimator these are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .._jobs import Array
from ._data import networks_in

RandomState = np.random.RandomState


def add_noise(weights: Array, scale: float, rng: RandomState) -> Array:
    """Return weights with independent Gaussian noise."""
    return weights + scale * rng.standard_normal(weights.shape)


def round_off(weights: Array, scale: float, rng: RandomState) -> Array:
    """Return the nearest multiples of a step."""
    if not scale:  # a layer of zeros has no step
        return weights
    n_steps = weights / scale
    # a step may be too small to be counted
    rounded: Array = np.where(np.isfinite(n_steps), scale * np.rint(n_steps), weights)
    return rounded


OF_WEIGHTS: dict[str, Callable[[Array, float, RandomState], Array]] = {
    "weight_noise": add_noise,
    "weight_rounding": round_off,
}


class WeightPerturbation:
    """A perturbation of weights and biases by its name.

    Parameters
    ----------
    name : str
        One of ``OF_WEIGHTS``.
    """

    is_of_weights = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_random = name != "weight_rounding"

    def __call__(self, estimator: Any, strength: float, rng: RandomState) -> Any:
        """Return a copy of an estimator with perturbed networks."""
        perturbed = copy.deepcopy(estimator)
        for network in networks_in(perturbed):
            self._perturb(network, strength, rng)
        return perturbed

    def _perturb(self, network: Any, strength: float, rng: RandomState) -> None:
        coefs, intercepts = [], []
        for coef, bias in zip(network.coefs_, network.intercepts_, strict=True):
            size = np.sqrt(np.mean(coef.astype(np.float64) ** 2))
            scale = strength * float(size)
            coefs.append(self._changed(coef, scale, rng))
            intercepts.append(self._changed(bias, scale, rng))
        network.coefs_, network.intercepts_ = coefs, intercepts

    def _changed(self, weights: Array, scale: float, rng: RandomState) -> Array:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            changed = OF_WEIGHTS[self.name](weights.astype(np.float64), scale, rng)
            return changed.astype(weights.dtype)
