"""A trained network as a plain torch module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from .._jobs import Array, Weights
from ._bridge import to_dtype, to_tensor
from ._losses import ascending

Module: TypeAlias = nn.Module


class Exp(nn.Module):
    """Exponential function."""

    def forward(self, z: Tensor) -> Tensor:
        """Return the exponential of every entry."""
        return torch.exp(z)


class Ascending(nn.Module):
    """Outputs that ascend, of several quantiles."""

    def forward(self, z: Tensor) -> Tensor:
        """Return the outputs for what the last layer returns."""
        return ascending(z)


class Mean(nn.Module):
    """Mean of what several modules return.

    Parameters
    ----------
    members : sequence of Module
        The modules.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, X: Tensor) -> Tensor:
        """Return the mean over the members."""
        return torch.stack([member(X) for member in self.members]).mean(0)


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


def to_sequential(
    weights: Weights,
    activation: str,
    out_activation: str,
    *,
    is_binary: bool,
    is_flat: bool,
    output_activation: bool,
) -> nn.Sequential:
    """Return linear layers with their activations.

    Parameters
    ----------
    weights : Weights
        Those of the network, which are copied.

    activation, out_activation : str
        Of the hidden layers and of the output.

    is_binary : bool
        Whether the only output is the probability of the second of two classes. The
        module then has an output for each of them.

    is_flat : bool
        Whether to return the only output as a vector.

    output_activation : bool
        Whether to apply the activation of the output.
    """
    linears = [
        _linear(coef.T, intercept)
        for coef, intercept in zip(weights.coefs, weights.intercepts, strict=True)
    ]
    if is_binary:
        # softmax of (0, z) is (1 - sigmoid(z), sigmoid(z))
        z = weights.coefs[-1].T, weights.intercepts[-1]
        linears[-1] = _linear(
            *(np.concatenate([np.zeros_like(part), part]) for part in z)
        )
        out_activation = "softmax"
    layers: list[nn.Module] = [linears[0]]
    for linear in linears[1:]:
        layers += [ACTIVATIONS[activation](), linear]
    if output_activation and out_activation == "softmax":
        layers.append(nn.Softmax(-1))
    elif output_activation and out_activation == "logistic":
        layers.append(nn.Sigmoid())
    elif output_activation and out_activation == "exp":
        layers.append(Exp())
    elif output_activation and out_activation == "ascending":
        layers.append(Ascending())
    if is_flat:
        layers.append(nn.Flatten(0))
    return nn.Sequential(*layers)


def _linear(weight: Array, bias: Array) -> nn.Linear:
    # on no device first: its initialization would draw from torch's global generator
    n_outputs, n_inputs = weight.shape
    linear = nn.Linear(n_inputs, n_outputs, dtype=to_dtype(weight.dtype), device="meta")
    linear.weight = nn.Parameter(to_tensor(weight).contiguous().clone())
    linear.bias = nn.Parameter(to_tensor(bias).clone())
    return linear
