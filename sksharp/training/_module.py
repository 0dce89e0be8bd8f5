"""The network as a torch module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """Activation of a hidden layer.

    Parameters
    ----------
    apply_ : callable
        Activates a layer's input in place.

    differentiate : callable
        Takes a gradient, the layer's output, and where to write the gradient times the
        derivative: it may be the memory of either argument. A gradient that is the same
        for all units may be given for one.
    """

    apply_: Callable[[Tensor], Tensor]
    differentiate: Callable[[Tensor, Tensor, Tensor], Tensor]


ACTIVATIONS = {
    "identity": Activation(lambda z: z, lambda grad, a, out: out.copy_(grad)),
    "logistic": Activation(
        torch.sigmoid_,
        lambda grad, a, out: aten.sigmoid_backward.grad_input(grad, a, grad_input=out),
    ),
    "tanh": Activation(
        torch.tanh_,
        lambda grad, a, out: aten.tanh_backward.grad_input(grad, a, grad_input=out),
    ),
    "relu": Activation(
        torch.relu_,
        lambda grad, a, out: aten.threshold_backward.grad_input(
            grad, a, 0, grad_input=out
        ),
    ),
}


class MLPModule(nn.Module):
    """Multi-layer perceptron whose weights and biases are one vector per model.

    Parameters
    ----------
    layer_units : sequence of int
        Width of the input, of the hidden layers and of the output.

    activation : str
        Key of ``ACTIVATIONS``.

    model_shape : tuple of int, default=()
        ``()`` for one model, ``(n_models,)`` for many.

    dtype : torch.dtype, default=torch.float64
        Of the parameters.

    device : torch.device, default=None
        Of the parameters.

    Attributes
    ----------
    flat : Parameter of shape (*model_shape, n_params)
        All weights, layer by layer, then all biases. One vector makes the norms, the
        perturbation and the updates of a step one kernel each.

    shapes : list of tuple of int
        Of all weights, then of all biases: what ``flat`` holds, one after the other.

    n_weights : int
        How many entries of ``flat`` are weights, which are penalized; the others are
        biases.
    """

    def __init__(
        self,
        layer_units: Sequence[int],
        activation: str,
        *,
        model_shape: tuple[int, ...] = (),
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.layer_units = list(layer_units)
        self.activation = ACTIVATIONS[activation]
        self.shapes: list[tuple[int, ...]] = [
            *pairwise(layer_units),
            *((width,) for width in layer_units[1:]),
        ]
        self.n_weights = sum(a * b for a, b in pairwise(layer_units))
        n_params = self.n_weights + sum(layer_units[1:])
        self.flat = nn.Parameter(
            torch.zeros(*model_shape, n_params, dtype=dtype, device=device)
        )

    def split(self, flat: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return views of a vector as weights and biases, layer by layer.

        Parameters
        ----------
        flat : Tensor of shape (*model_shape, n_params)
            Laid out as the attribute of the same name.

        Returns
        -------
        coefs : list of Tensor of shape (*model_shape, fan_in, fan_out)
            Weights.

        intercepts : list of Tensor of shape (*model_shape, fan_out)
            Biases.
        """
        parts = torch.split(flat, [prod(shape) for shape in self.shapes], dim=-1)
        views = [
            part.view(*part.shape[:-1], *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]
        n_layers = len(self.layer_units) - 1
        return views[:n_layers], views[n_layers:]

    def forward(
        self,
        X: Tensor,
        flat: Tensor | None = None,
        masks: Sequence[Tensor | None] = (),
    ) -> Tensor:
        """Return the output layer before its activation.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features) or (*model_shape, n_samples, n_features)
            Rows, dense or (without a model axis) sparse.

        flat : Tensor of shape (*model_shape, n_params), default=None
            Weights to use in the place of the module's own.

        masks : sequence of (Tensor or None), default=()
            What multiplies the outputs of every hidden layer. Empty to leave them.

        Returns
        -------
        z : Tensor of shape (*model_shape, n_samples, n_outputs)
            Input of the output activation.
        """
        coefs, intercepts = self.split(self.flat if flat is None else flat)
        z = X
        for i, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
            if i:
                # a copy only where autograd needs the input of the activation
                z = self.activation.apply_(z.clone() if z.requires_grad else z)
                if masks and (mask := masks[i - 1]) is not None:
                    z = z * mask
            z = product(z, coef) + intercept.unsqueeze(-2)
        return z


def product(X: Tensor, W: Tensor) -> Tensor:
    """Return ``X @ W`` for dense or sparse rows ``X`` and one or many ``W``."""
    if not X.is_sparse:
        return X @ W
    XW: Tensor
    if W.ndim == 2:
        XW = torch.sparse.mm(X, W)
        return XW
    # concatenated, the models are one wide layer: (f, K * h) -> (n, K * h) -> (K, n, h)
    XW = torch.sparse.mm(X, W.transpose(0, 1).flatten(1))
    return XW.view(len(X), W.shape[0], W.shape[2]).transpose(0, 1)
