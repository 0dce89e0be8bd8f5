"""Losses of the output layer, in scikit-learn's definition.

Every loss comes with its canonical output activation, so that the gradient with respect
to the layer's input ``z`` is always ``mean - y``.
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
        Turns the input ``z`` of the output layer into the predicted mean, in place.

    row_losses : callable
        Takes the predicted mean and ``y``, both of shape (..., n_samples, n_outputs),
        and returns the loss that is reported, of shape (..., n_samples).

    row_objectives : callable
        Takes ``z`` and ``y`` and returns the loss whose gradient training follows, of
        shape (..., n_samples), differentiable.
    """

    activate_: Callable[[Tensor], Tensor]
    row_losses: Callable[[Tensor, Tensor], Tensor]
    row_objectives: Callable[[Tensor, Tensor], Tensor]


def _clip(mean: Tensor) -> Tensor:
    eps = torch.finfo(mean.dtype).eps
    return mean.clamp(eps, 1 - eps)


def _softmax_(z: Tensor) -> Tensor:
    return torch.softmax(z, -1, out=z)


def _log_losses(mean: Tensor, y: Tensor) -> Tensor:
    return -_clip(mean).log_().mul_(y).sum(-1)


def _log_objectives(z: Tensor, y: Tensor) -> Tensor:
    return -(y * torch.log_softmax(z, -1)).sum(-1)


def _binary_log_losses(mean: Tensor, y: Tensor) -> Tensor:
    # not F.binary_cross_entropy, which raises at the NaN of a fit that diverges
    mean = _clip(mean)
    losses = torch.lerp((1 - mean).log_(), mean.log_(), y)
    return losses.sum(-1).neg_()


def _binary_log_objectives(z: Tensor, y: Tensor) -> Tensor:
    y = y.expand_as(z)
    return F.binary_cross_entropy_with_logits(z, y, reduction="none").sum(-1)


def _squared_losses(mean: Tensor, y: Tensor) -> Tensor:
    return (mean - y).square_().mean(-1) / 2


def _squared_objectives(z: Tensor, y: Tensor) -> Tensor:
    # the sum over the outputs, although scikit-learn reports their mean: its gradient
    # is n_outputs times that of the loss it reports (scikit-learn#8349)
    return (z - y).square().sum(-1) / 2


def _poisson_losses(mean: Tensor, y: Tensor) -> Tensor:
    return (torch.xlogy(y, y / mean) - y + mean).sum(-1)


def _poisson_objectives(z: Tensor, y: Tensor) -> Tensor:
    return (torch.xlogy(y, y) - y * z - y + torch.exp(z)).sum(-1)


# by the estimators' out_activation_
LOSSES = {
    "softmax": Loss(_softmax_, _log_losses, _log_objectives),
    "logistic": Loss(torch.sigmoid_, _binary_log_losses, _binary_log_objectives),
    "identity": Loss(lambda z: z, _squared_losses, _squared_objectives),
    "exp": Loss(torch.exp_, _poisson_losses, _poisson_objectives),
}
