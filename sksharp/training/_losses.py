"""Losses of the output layer, in scikit-learn's definition.

Every loss comes with its canonical output activation, so that the gradient with respect
to the layer's input ``z`` is always ``y_pred - y``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss:
    """Loss of the rows of a batch.

    Parameters
    ----------
    activate_ : callable
        Turns the input ``z`` of the output layer into the prediction, in place.

    row_losses : callable
        Takes the prediction and ``y``, both of shape (..., n_samples, n_outputs),
        and returns the loss that is reported, of shape (..., n_samples).

    row_objectives : callable
        Takes ``z`` and ``y`` and returns the loss whose gradient training follows, of
        shape (..., n_samples), differentiable.
    """

    activate_: Callable[[Tensor], Tensor]
    row_losses: Callable[[Tensor, Tensor], Tensor]
    row_objectives: Callable[[Tensor, Tensor], Tensor]


def _clip(y_pred: Tensor) -> Tensor:
    eps = torch.finfo(y_pred.dtype).eps
    return y_pred.clamp(eps, 1 - eps)


def _softmax_(z: Tensor) -> Tensor:
    return torch.softmax(z, -1, out=z)


def _log_losses(y_pred: Tensor, y: Tensor) -> Tensor:
    return -_clip(y_pred).log_().mul_(y).sum(-1)


def _log_objectives(z: Tensor, y: Tensor) -> Tensor:
    return -(y * torch.log_softmax(z, -1)).sum(-1)


def _binary_log_losses(y_pred: Tensor, y: Tensor) -> Tensor:
    # not F.binary_cross_entropy, which raises at the NaN of a fit that diverges
    y_pred = _clip(y_pred)
    losses = torch.lerp((1 - y_pred).log_(), y_pred.log_(), y)
    return losses.sum(-1).neg_()


def _binary_log_objectives(z: Tensor, y: Tensor) -> Tensor:
    y = y.expand_as(z)
    return F.binary_cross_entropy_with_logits(z, y, reduction="none").sum(-1)


def _squared_losses(y_pred: Tensor, y: Tensor) -> Tensor:
    return (y_pred - y).square_().mean(-1) / 2


def _squared_objectives(z: Tensor, y: Tensor) -> Tensor:
    # the sum over the outputs, although scikit-learn reports their mean: its gradient
    # is n_outputs times that of the loss it reports (scikit-learn#8349)
    return (z - y).square().sum(-1) / 2


def _poisson_losses(y_pred: Tensor, y: Tensor) -> Tensor:
    return (torch.xlogy(y, y / y_pred) - y + y_pred).sum(-1)


def _poisson_objectives(z: Tensor, y: Tensor) -> Tensor:
    return (torch.xlogy(y, y) - y * z - y + torch.exp(z)).sum(-1)


# by the estimators' out_activation_
LOSSES = {
    "softmax": Loss(_softmax_, _log_losses, _log_objectives),
    "logistic": Loss(torch.sigmoid_, _binary_log_losses, _binary_log_objectives),
    "identity": Loss(lambda z: z, _squared_losses, _squared_objectives),
    "exp": Loss(torch.exp_, _poisson_losses, _poisson_objectives),
}
