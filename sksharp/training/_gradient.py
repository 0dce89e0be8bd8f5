"""Loss and gradient of a network, written out layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..optim._models import Hyperparameter, add_scaled_, expand
from ._losses import Loss
from ._module import MLPModule, product


@dataclass(frozen=True)
class Batch:
    """Rows of one step.

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_features)
        Rows, dense or sparse.

    y : Tensor of shape (n_samples, n_outputs)
        Targets.

    weights : Tensor of shape (n_samples,) or None
        Weights of the rows.

    total : float
        Sum of the weights, or number of rows.
    """

    X: Tensor
    y: Tensor
    weights: Tensor | None
    total: float

    def __len__(self) -> int:
        return self.y.shape[-2]


def penalty(module: MLPModule, flat: Tensor, alpha: Hyperparameter) -> Tensor:
    """Return half of ``alpha`` times the squared norm of the weights, per model."""
    return alpha * flat[..., : module.n_weights].square().sum(-1) / 2


def objective(
    module: MLPModule, loss: Loss, alpha: Hyperparameter, batch: Batch
) -> Tensor:
    """Return what training descends on, one value per model, for autograd.

    The reference for :class:`Backprop`, and the objective of any network that has no
    gradient written out.
    """
    rows = loss.row_objectives(module(batch.X), batch.y)
    if batch.weights is not None:
        rows = rows * batch.weights
    return (rows.sum(-1) + penalty(module, module.flat, alpha)) / batch.total


class Backprop:
    """Loss and gradient of a network on a batch, into buffers made once.

    Parameters
    ----------
    module : MLPModule
        The network. Its gradient is written to ``module.flat.grad``, whose memory stays
        the same.

    loss : Loss
        Of the output layer.

    alpha : float or Tensor of shape (n_models,)
        Strength of the penalty on the squared weights.
    """

    def __init__(self, module: MLPModule, loss: Loss, alpha: Hyperparameter) -> None:
        self.module, self.loss, self.alpha = module, loss, alpha
        self.flat = module.flat.detach()
        self.grad = torch.zeros_like(self.flat)
        module.flat.grad = self.grad
        self.coefs, self.intercepts = module.split(self.flat)
        self.coef_grads, self.intercept_grads = module.split(self.grad)
        self._buffers: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    @torch.no_grad()
    def __call__(self, batch: Batch, *, with_loss: bool = True) -> Tensor | None:
        """Write the gradient; return the reported loss, one value per model."""
        outputs, deltas = self._buffers_for(len(batch))
        self._forward(batch.X, outputs)
        value = self._reported_loss(batch, outputs[-1]) if with_loss else None
        self._backward(batch, outputs, deltas)
        return value

    def _buffers_for(self, n_samples: int) -> tuple[list[Tensor], list[Tensor]]:
        # two sizes at most: whole batches and the short last one
        if n_samples not in self._buffers:
            model_shape = self.flat.shape[:-1]
            outputs, deltas = (
                [
                    self.flat.new_empty(*model_shape, n_samples, width)
                    for width in widths
                ]
                for widths in (
                    self.module.layer_units[1:],
                    self.module.layer_units[1:-1],
                )
            )
            self._buffers[n_samples] = outputs, deltas
        return self._buffers[n_samples]

    def _forward(self, X: Tensor, outputs: list[Tensor]) -> None:
        below = X
        for i, out in enumerate(outputs):
            affine(below, self.coefs[i], self.intercepts[i], out=out)
            activate_ = (
                self.module.activation.apply_
                if out is not outputs[-1]
                else self.loss.activate_
            )
            below = activate_(out)

    def _reported_loss(self, batch: Batch, mean: Tensor) -> Tensor:
        rows = self.loss.row_losses(mean, batch.y)
        data = rows.sum(-1) if batch.weights is None else rows @ batch.weights
        return data.add_(penalty(self.module, self.flat, self.alpha)).div_(batch.total)

    def _backward(
        self, batch: Batch, outputs: list[Tensor], deltas: list[Tensor]
    ) -> None:
        delta = outputs[-1].sub_(batch.y)
        if batch.weights is not None:
            delta.mul_(batch.weights.unsqueeze(-1))
        delta.div_(batch.total)
        for i in reversed(range(len(outputs))):
            below = outputs[i - 1] if i else batch.X
            transposed_product(below, delta, out=self.coef_grads[i])
            torch.sum(delta, -2, out=self.intercept_grads[i])
            if i:
                delta = torch.matmul(
                    delta, self.coefs[i].transpose(-1, -2), out=deltas[i - 1]
                )
                self.module.activation.differentiate_(delta, below)
        weights = slice(0, self.module.n_weights)
        scale = expand(self.alpha, self.flat) / batch.total
        add_scaled_(self.grad[..., weights], self.flat[..., weights], scale)


def affine(X: Tensor, W: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
    """Write ``X @ W + b`` to ``out``."""
    if X.is_sparse:
        return torch.add(product(X, W), b.unsqueeze(-2), out=out)
    if W.ndim == 2:
        return torch.addmm(b, X, W, out=out)
    return torch.matmul(X, W, out=out).add_(b.unsqueeze(-2))


def transposed_product(X: Tensor, delta: Tensor, *, out: Tensor) -> Tensor:
    """Write ``X.T @ delta`` to ``out``."""
    if X.is_sparse:
        return out.copy_(product(X.t(), delta))
    return torch.matmul(X.transpose(-1, -2), delta, out=out)
