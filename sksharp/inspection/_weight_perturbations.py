"""Perturbations of the weights of networks, wherever in an estimator these are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.neural_network import MLPClassifier, MLPRegressor

from .._jobs import Array
from ._data import networks_of

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


def networks_in(estimator: Any) -> list[Any]:
    """Return the fitted networks that an estimator consists of, members one by one."""
    return [*_networks(estimator, set())]


def _networks(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    inner: Iterable[Any] = ()
    if isinstance(value, MLPClassifier | MLPRegressor):
        yield from (one for one in networks_of(value) if hasattr(one, "coefs_"))
    elif isinstance(value, BaseEstimator) or hasattr(type(value), "predict_proba"):
        inner = vars(value).values()
    elif isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple) or (
        isinstance(value, np.ndarray) and value.dtype == object
    ):
        inner = value
    for one in inner:
        yield from _networks(one, seen)


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
