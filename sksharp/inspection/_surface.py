"""The loss of a network as a function of its weights, with its derivatives."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .._contract import Array, Matrix, Weights
from ..training._bridge import flatten, to_parts, to_tensor
from ..training._device import deserved_threads
from ..training._losses import LOSSES
from ..training._module import MLPModule

# numbers per layer of a part of the rows: bounds the memory of a second derivative
PART_SIZE = 2**23


class Surface(Protocol):
    """A loss as a function of a vector of weights of float64: what a measure asks."""

    # how to avoid a loss that is not finite
    advice: str
    start: Tensor

    def computation(self) -> AbstractContextManager[None]:
        """Return the context in which the other methods are called."""

    def loss(self, flat: Tensor) -> float:
        """Return the loss at weights of shape (n_params,)."""

    def gradient(self, flat: Tensor) -> tuple[float, Tensor]:
        """Return the loss at weights of shape (n_params,), and its gradient."""

    def hessian_product(self, flat: Tensor, vector: Tensor) -> Tensor:
        """Return the Hessian at ``flat`` times a vector, both of shape (n_params,)."""


class LossSurface:
    r"""Mean loss over rows, as a function of all weights and biases, in float64.

    Call its methods in its context ``computation()``, which :meth:`losses` enters itself.

    .. math:: L(w) = \frac{\sum_i s_i\, \ell(f_w(x_i), y_i)}{\sum_i s_i}
        + \frac{c}{2} \sum_j W_j^2

    Parameters
    ----------
    weights : Weights
        Those of the network, of float64.

    activation, out_activation : str
        Keys of ``ACTIVATIONS`` and ``LOSSES``.

    X : array or sparse matrix of shape (n_samples, n_features)
        Rows, of float64.

    y : array of shape (n_samples, n_outputs)
        Encoded targets, of float64.

    sample_weight : array of shape (n_samples,) or None
        Weights of the rows, :math:`s`.

    penalty : float, default=0.0
        Factor :math:`c` of the squared weights, biases apart.
    """

    advice = "scale the features, or lower learning_rate_init, and fit again"

    def __init__(
        self,
        weights: Weights,
        activation: str,
        out_activation: str,
        X: Matrix,
        y: Array,
        sample_weight: Array | None,
        penalty: float = 0.0,
    ) -> None:
        self._device = torch.device("cpu")
        units = [len(weights.coefs[0]), *map(len, weights.intercepts)]
        self._layer_units, self._n_rows = units, max(1, PART_SIZE // sum(units))
        self._n_samples = len(y)
        with self.computation():
            # meta: the weights are arguments, the module holds none
            self._module = MLPModule(units, activation, device=torch.device("meta"))
            self.start = flatten(weights)
            self._X = list(to_parts(X, self._n_rows, self._device))
            self._y = torch.split(to_tensor(y), self._n_rows)
            rows = torch.ones(len(y), dtype=torch.float64)
            if sample_weight is not None:
                rows = to_tensor(sample_weight).to(torch.float64)
            self._rows = torch.split(rows / rows.sum(), self._n_rows)
        self._row_losses = LOSSES[out_activation].row_objectives
        # training follows the sum over the outputs, scikit-learn reports their mean
        self._scale = 1 / units[-1] if out_activation == "identity" else 1.0
        self._penalty = penalty

    @contextlib.contextmanager
    def computation(self) -> Iterator[None]:
        """Compute apart from the caller's settings of torch, which stay as they are."""
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            deserved_threads(
                self._device, min(self._n_rows, self._n_samples), self._layer_units
            ),
        ):
            yield

    def _part_losses(self, flat: Tensor) -> Iterator[Tensor]:
        """Yield losses that sum to that of all rows and of the penalty."""
        for X, y, rows in zip(self._X, self._y, self._rows, strict=True):
            z = self._module(X, flat)
            yield self._scale * (rows * self._row_losses(z, y)).sum()
        if self._penalty:
            coefs = flat[: self._module.n_weights]
            yield self._penalty / 2 * coefs.square().sum()

    def loss(self, flat: Tensor) -> float:
        """Return the loss at weights of shape (n_params,)."""
        with torch.no_grad():
            return float(sum(part.item() for part in self._part_losses(flat)))

    def gradient(self, flat: Tensor) -> tuple[float, Tensor]:
        """Return the loss at weights of shape (n_params,), and its gradient."""
        flat = flat.detach().requires_grad_()
        loss, total = 0.0, torch.zeros_like(flat)
        for part in self._part_losses(flat):
            total += torch.autograd.grad(part, flat)[0]
            loss += part.item()
        return loss, total

    def hessian_product(self, flat: Tensor, vector: Tensor) -> Tensor:
        """Return the Hessian at ``flat`` times a vector, both of shape (n_params,)."""
        flat = flat.detach().requires_grad_()
        total = torch.zeros_like(flat)
        for part in self._part_losses(flat):
            (gradient,) = torch.autograd.grad(part, flat, create_graph=True)
            total += torch.autograd.grad(gradient, flat, vector)[0]
        return total

    def losses(self, points: Sequence[Weights]) -> list[float]:
        """Return the losses at weights that are given as arrays."""
        with self.computation():
            return [self.loss(flatten(point)) for point in points]


# -- measures ------------------------------------------------------------------------------
# each returns (values of the probes or starts, number of iterations, whether it converged)

Outcome: TypeAlias = tuple[list[float], int, bool]


def top_eigenvalue(
    surface: Surface,
    random_state: np.random.RandomState,
    *,
    max_iter: int,
    tol: float,
) -> Outcome:
    """Return the largest eigenvalue of the Hessian, by Lanczos' method.

    All vectors are kept and made orthogonal again, so that no eigenvalue shows twice.
    It stops when the residual of the largest Ritz pair, which bounds the distance to an
    eigenvalue, is at most ``tol`` times the largest one in size.
    """
    flat = surface.start
    vector = _normal(random_state, flat)
    basis = [vector / vector.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    n_iter = min(max_iter, len(flat))
    value, converged = 0.0, False
    while len(diagonal) < n_iter:
        image = surface.hessian_product(flat, basis[-1])
        diagonal.append(float(basis[-1] @ image))
        known = torch.stack(basis)
        for _ in range(2):  # once leaves what rounding of the first pass brought in
            image = image - known.T @ (known @ image)
        T = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        if beside:
            off = torch.tensor(beside, dtype=torch.float64)
            T = T + torch.diag(off, 1) + torch.diag(off, -1)
        eigenvalues, vectors = torch.linalg.eigh(T)
        value, rest = float(eigenvalues[-1]), float(image.norm())
        size = float(eigenvalues.abs().max())
        residual = rest * float(vectors[-1, -1].abs())
        if rest <= 1e-13 * size or rest == 0 or len(diagonal) == len(flat):
            converged = True  # the vectors span all that the Hessian makes of the first
            break
        # the residual of few vectors may be small by chance
        if len(diagonal) >= 5 and residual <= tol * size:
            converged = True
            break
        beside.append(rest)
        basis.append(image / rest)
    return [value], len(diagonal), converged


def trace(
    surface: Surface, random_state: np.random.RandomState, *, n_probes: int
) -> Outcome:
    """Return ``z @ H @ z`` of random signs ``z``, whose mean is the trace: Hutchinson's.

    With a probe for every weight, return the trace itself.
    """
    n_weights = len(surface.start)
    if n_probes >= n_weights:
        diagonal = 0.0
        for i in range(n_weights):
            unit = torch.zeros_like(surface.start)
            unit[i] = 1
            diagonal += float(surface.hessian_product(surface.start, unit)[i])
        return [diagonal], n_weights, True
    values = []
    for _ in range(n_probes):
        signs = random_state.randint(0, 2, size=n_weights) * 2.0 - 1
        z = to_tensor(signs).to(surface.start)
        values.append(float(z @ surface.hessian_product(surface.start, z)))
    return values, n_probes, True


def average_case(
    surface: Surface,
    random_state: np.random.RandomState,
    *,
    sigma: float,
    adaptive: bool,
    n_probes: int,
) -> Outcome:
    """Return rises of the loss under Gaussian noise, each the mean of both its signs.

    The mean over the signs has no part linear in the noise, so it varies less.
    """
    flat = surface.start
    scale = flat.abs() if adaptive else torch.ones_like(flat)
    before = surface.loss(flat)
    values = []
    for _ in range(n_probes):
        noise = sigma * scale * _normal(random_state, flat)
        after = (surface.loss(flat + noise) + surface.loss(flat - noise)) / 2
        values.append(after - before)
    return values, n_probes, True


def worst_case(
    surface: Surface,
    random_state: np.random.RandomState,
    *,
    rho: float,
    adaptive: bool,
    n_starts: int,
    max_iter: int,
    tol: float,
) -> Outcome:
    """Return the highest rises of the loss in a ball, found from random starts."""
    values, n_iter, converged = [], 0, True
    before = surface.loss(surface.start)
    for _ in range(n_starts):
        direction = _normal(random_state, surface.start)
        highest, steps, arrived = _climb(
            surface, direction, rho, adaptive, max_iter, tol
        )
        values.append(highest - before)
        n_iter += steps
        converged = converged and arrived
    return values, n_iter, converged


def _climb(
    surface: Surface,
    direction: Tensor,
    rho: float,
    adaptive: bool,
    max_iter: int,
    tol: float,
) -> tuple[float, int, bool]:
    """Ascend from a point of the sphere by projected gradients, never down.

    A step is a multiple of the radius, longer after one that went up and shorter after
    one that did not. Long steps lead to where the ball is highest in the direction of the
    gradient, which on a quadratic bowl is the power iteration.
    """
    flat = surface.start
    scale = flat.abs() if adaptive else torch.ones_like(flat)
    foot = surface.loss(flat)
    place = rho * direction / direction.norm()
    loss, gradient = surface.gradient(flat + scale * place)
    length = 2.0
    for step in range(max_iter):
        uphill = scale * gradient
        norm = float(uphill.norm())
        if rho == 0 or norm == 0:
            return loss, step, True
        there = place + length * rho / norm * uphill
        there = there * (rho / there.norm()).clamp(max=1)
        higher, gradient_there = surface.gradient(flat + scale * there)
        if math.isfinite(higher) and higher > loss:
            # the height goes with the square of the distance to its maximum
            arrived = length >= 1 and higher - loss <= tol**2 * (higher - foot)
            place, loss, gradient = there, higher, gradient_there
            if arrived:
                return loss, step + 1, True
            length = min(2 * length, 1e3)
        else:
            length /= 4
            if length < 1e-9:  # no higher, to rounding error
                return loss, step + 1, True
    return loss, max_iter, False


def _normal(random_state: np.random.RandomState, like: Tensor) -> Tensor:
    return to_tensor(random_state.standard_normal(len(like))).to(like)
