"""Measures of sharpness of a loss, as functions of a surface."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..training._bridge import to_tensor
from ._surface import Surface


class Outcome(NamedTuple):
    """Result of a measure: its probes or starts, and how it ended."""

    values: list[float]
    n_iterations: int
    converged: bool


def top_eigenvalue(
    surface: Surface,
    random_state: np.random.RandomState,
    *,
    max_iter: int,
    tol: float,
) -> Outcome:
    """Return the largest eigenvalue of the Hessian, by the Lanczos method.

    All vectors are kept and orthogonalized again, so that no eigenvalue occurs twice. The
    iteration stops when the residual of the largest Ritz pair, which bounds the distance
    to an eigenvalue, is at most ``tol`` times the largest Ritz value in magnitude.
    """
    flat = surface.start
    vector = _normal(random_state, flat)
    basis = [vector / vector.norm()]
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    n_iter = min(max_iter, len(flat))
    value, converged = 0.0, False
    while len(diagonal) < n_iter:
        product = surface.hessian_product(flat, basis[-1])
        diagonal.append(float(basis[-1] @ product))
        vectors = torch.stack(basis)
        for _ in range(2):  # the second pass removes the rounding errors of the first
            product = product - vectors.T @ (vectors @ product)
        T = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        if off_diagonal:
            off = torch.tensor(off_diagonal, dtype=torch.float64)
            T = T + torch.diag(off, 1) + torch.diag(off, -1)
        eigenvalues, eigenvectors = torch.linalg.eigh(T)
        value, norm = float(eigenvalues[-1]), float(product.norm())
        magnitude = float(eigenvalues.abs().max())
        residual = norm * float(eigenvectors[-1, -1].abs())
        if norm <= 1e-13 * magnitude or norm == 0 or len(diagonal) == len(flat):
            converged = True  # the basis spans the Krylov space of the first vector
            break
        # the residual of few vectors may be small by chance
        if len(diagonal) >= 5 and residual <= tol * magnitude:
            converged = True
            break
        off_diagonal.append(norm)
        basis.append(product / norm)
    return Outcome([value], len(diagonal), converged)


def trace(
    surface: Surface, random_state: np.random.RandomState, *, n_probes: int
) -> Outcome:
    """Return Hutchinson's estimates of the trace, ``z @ H @ z`` for random signs ``z``.

    With as many probes as weights, return the trace itself.
    """
    n_weights = len(surface.start)
    if n_probes >= n_weights:
        diagonal = 0.0
        for i in range(n_weights):
            unit = torch.zeros_like(surface.start)
            unit[i] = 1
            diagonal += float(surface.hessian_product(surface.start, unit)[i])
        return Outcome([diagonal], n_weights, True)
    values = []
    for _ in range(n_probes):
        signs = random_state.randint(0, 2, size=n_weights) * 2.0 - 1
        z = to_tensor(signs).to(surface.start)
        values.append(float(z @ surface.hessian_product(surface.start, z)))
    return Outcome(values, n_probes, True)


def average_case(
    surface: Surface,
    random_state: np.random.RandomState,
    *,
    sigma: float,
    adaptive: bool,
    n_probes: int,
) -> Outcome:
    """Return rises of the loss under Gaussian noise, each averaged over both signs.

    The average has no term linear in the noise, and so a smaller variance.
    """
    flat = surface.start
    scale = flat.abs() if adaptive else torch.ones_like(flat)
    before = surface.loss(flat)
    values = []
    for _ in range(n_probes):
        noise = sigma * scale * _normal(random_state, flat)
        after = (surface.loss(flat + noise) + surface.loss(flat - noise)) / 2
        values.append(after - before)
    return Outcome(values, n_probes, True)


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
    """Return the highest rises of the loss in a ball, from random starts."""
    values, n_iter, converged = [], 0, True
    before = surface.loss(surface.start)
    for _ in range(n_starts):
        direction = _normal(random_state, surface.start)
        highest, n_steps, has_converged = _ascend(
            surface, direction, rho, adaptive, max_iter, tol
        )
        values.append(highest - before)
        n_iter += n_steps
        converged = converged and has_converged
    return Outcome(values, n_iter, converged)


def _ascend(
    surface: Surface,
    direction: Tensor,
    rho: float,
    adaptive: bool,
    max_iter: int,
    tol: float,
) -> tuple[float, int, bool]:
    """Maximize the loss in the ball by projected gradient ascent, never down.

    The step is a multiple of the radius, longer after a rise and shorter otherwise. A
    long step goes to the point of the ball farthest along the gradient; on a quadratic
    bowl that is the power iteration.

    Returns the highest loss, the number of steps and whether they have converged.
    """
    flat = surface.start
    scale = flat.abs() if adaptive else torch.ones_like(flat)
    center = surface.loss(flat)
    epsilon = rho * direction / direction.norm()
    loss, gradient = surface.gradient(flat + scale * epsilon)
    length = 2.0
    for step in range(max_iter):
        uphill = scale * gradient
        norm = float(uphill.norm())
        if rho == 0 or norm == 0:
            return loss, step, True
        candidate = epsilon + length * rho / norm * uphill
        candidate = candidate * (rho / candidate.norm()).clamp(max=1)
        new_loss, new_gradient = surface.gradient(flat + scale * candidate)
        if math.isfinite(new_loss) and new_loss > loss:
            # the gain falls with the square of the distance to the maximum
            is_small = new_loss - loss <= tol**2 * (new_loss - center)
            epsilon, loss, gradient = candidate, new_loss, new_gradient
            if length >= 1 and is_small:
                return loss, step + 1, True
            length = min(2 * length, 1e3)
        else:
            length /= 4
            if length < 1e-9:  # a maximum, to rounding error
                return loss, step + 1, True
    return loss, max_iter, False


def _normal(random_state: np.random.RandomState, like: Tensor) -> Tensor:
    return to_tensor(random_state.standard_normal(len(like))).to(like)
