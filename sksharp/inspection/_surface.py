"""The loss of a network as a function of its weights, with its derivatives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from .._jobs import Array, Matrix, Weights
from ..options.losses import RegressionLoss
from ..training._bridge import flatten, to_parts, to_tensor
from ..training._device import deserved_threads
from ..training._losses import loss_of
from ..training._module import MLPModule

# units of all layers times rows of a part: bounds the memory of a second derivative
PART_SIZE = 2**23


class Surface(Protocol):
    """A loss as a function of a float64 vector of weights, for the measures.

    ``start`` are the weights of the fit, and ``advice`` says how to avoid a loss that is
    not finite.
    """

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

    Call its methods in the context ``computation()``, which :meth:`losses` enters itself.

    .. math:: L(w) = \frac{\sum_i s_i\, \ell(f_w(x_i), y_i)}{\sum_i s_i}
        + \frac{c}{2} \sum_j W_j^2

    Parameters
    ----------
    weights : Weights
        Those of the network, of float64.

    activation, out_activation : str
        Those of the network.

    X : array or sparse matrix of shape (n_samples, n_features)
        Rows, of float64.

    y : array of shape (n_samples, n_outputs)
        Encoded targets, of float64.

    sample_weight : array of shape (n_samples,) or None
        Weights of the rows, :math:`s`.

    penalty : float, default=0.0
        Factor :math:`c` of the squared weights, biases apart.

    loss : RegressionLoss or None, default=None
        The loss, None if ``out_activation`` says which.
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
        loss: RegressionLoss | None = None,
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
        of_outputs = loss_of(out_activation, loss)
        self._row_losses = of_outputs.row_objectives
        self._scale = 1 / units[-1] if of_outputs.is_mean else 1.0
        self._penalty = penalty

    @contextlib.contextmanager
    def computation(self) -> Iterator[None]:
        """Context that shields the computation from the caller's settings of torch."""
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
        """Return the losses at several weights, given as arrays."""
        with self.computation():
            return [self.loss(flatten(point)) for point in points]
