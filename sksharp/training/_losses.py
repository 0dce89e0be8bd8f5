"""Losses of the output layer, scikit-learn's in its definition."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..options.losses import AbsoluteError, Huber, RegressionLoss

# from here on softplus(z) is z, to the last digit of a double
SOFTPLUS_IS_LINEAR = 50


def _subtract(y_pred: Tensor, y: Tensor, out: Tensor) -> Tensor:
    return torch.sub(y_pred, y, out=out)


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

    differentiate : callable
        Takes the prediction, ``y``, and where to write the gradient of ``row_objectives``
        with respect to ``z``, which may be the memory of the prediction. By default their
        difference, which it is for a loss with its canonical activation.

    is_mean : bool, default=False
        Whether the loss that is reported is the mean over the outputs, and the objective
        their sum. scikit-learn does so: the gradient is n_outputs times that of the loss
        that it reports (scikit-learn#8349).
    """

    activate_: Callable[[Tensor], Tensor]
    row_losses: Callable[[Tensor, Tensor], Tensor]
    row_objectives: Callable[[Tensor, Tensor], Tensor]
    differentiate: Callable[[Tensor, Tensor, Tensor], Tensor] = _subtract
    is_mean: bool = False


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
    return (z - y).square().sum(-1) / 2


def _poisson_losses(y_pred: Tensor, y: Tensor) -> Tensor:
    return (torch.xlogy(y, y / y_pred) - y + y_pred).sum(-1)


def _poisson_objectives(z: Tensor, y: Tensor) -> Tensor:
    return (torch.xlogy(y, y) - y * z - y + torch.exp(z)).sum(-1)


# scikit-learn's, by the estimators' out_activation_
LOSSES = {
    "softmax": Loss(_softmax_, _log_losses, _log_objectives),
    "logistic": Loss(torch.sigmoid_, _binary_log_losses, _binary_log_objectives),
    "identity": Loss(lambda z: z, _squared_losses, _squared_objectives, is_mean=True),
    "exp": Loss(torch.exp_, _poisson_losses, _poisson_objectives),
}


def loss_of(out_activation: str, of_residuals: RegressionLoss | None = None) -> Loss:
    """Return the loss of an output layer.

    Parameters
    ----------
    out_activation : str
        Its activation: a key of ``LOSSES``, or 'ascending' for several quantiles.

    of_residuals : RegressionLoss or None, default=None
        The loss, None if it is the one that goes with the activation.
    """
    if of_residuals is None:
        return LOSSES[out_activation]
    if isinstance(of_residuals, AbsoluteError):
        return _loss_of_residuals(torch.abs, lambda r: r.sign_())
    if isinstance(of_residuals, Huber):
        delta = float(of_residuals.delta)
        return _loss_of_residuals(
            lambda r: _huber(r, delta), lambda r: r.clamp_(-delta, delta)
        )
    levels = of_residuals.levels
    if out_activation == "ascending":
        return _ascending_quantiles(levels)
    tilt = 0.5 - levels[0]
    return _loss_of_residuals(
        lambda r: r.abs() / 2 + tilt * r, lambda r: r.sign_().div_(2).add_(tilt)
    )


def _loss_of_residuals(
    function: Callable[[Tensor], Tensor], differentiate_: Callable[[Tensor], Tensor]
) -> Loss:
    """Return a loss of the residuals, from its function and its derivative in place."""
    return Loss(
        activate_=lambda z: z,
        row_losses=lambda y_pred, y: function(y_pred - y).mean(-1),
        row_objectives=lambda z, y: function(z - y).sum(-1),
        differentiate=lambda y_pred, y, out: differentiate_(_subtract(y_pred, y, out)),
        is_mean=True,
    )


def _huber(residuals: Tensor, delta: float) -> Tensor:
    size = residuals.abs()
    clipped = size.clamp(max=delta)
    return clipped * (size - clipped / 2)


# -- several quantiles -------------------------------------------------------------------


def ascending(z: Tensor) -> Tensor:
    """Return outputs that ascend: the middle one, and steps away from it.

    The same as the estimators' in numpy.

    Parameters
    ----------
    z : Tensor of shape (..., n_outputs)
        Outputs of the last layer: the prediction of the middle one, the inverse of the
        softplus of the step to the next one for all others.
    """
    middle = (z.shape[-1] - 1) // 2
    below, center, above = torch.tensor_split(z, [middle, middle + 1], -1)
    up = F.softplus(above, threshold=SOFTPLUS_IS_LINEAR).cumsum(-1)
    down = F.softplus(below, threshold=SOFTPLUS_IS_LINEAR).flip(-1).cumsum(-1).flip(-1)
    return torch.cat([center - down, center, center + up], -1)


def _ascending_quantiles(levels: tuple[float, ...]) -> Loss:
    """Return the mean pinball loss of several quantiles that do not cross."""
    tilts = [0.5 - level for level in levels]

    @functools.cache  # a copy to the device in every step would wait for it
    def tilts_on(device: torch.device, dtype: torch.dtype) -> Tensor:
        return torch.tensor(tilts, dtype=dtype, device=device)

    def pinball(y_pred: Tensor, y: Tensor) -> Tensor:
        residuals = y_pred - y
        return residuals.abs() / 2 + tilts_on(y_pred.device, y_pred.dtype) * residuals

    def differentiate(y_pred: Tensor, y: Tensor, out: Tensor) -> Tensor:
        middle = (len(levels) - 1) // 2
        # of softplus, by its value
        slopes = torch.expm1(y_pred[..., :-1] - y_pred[..., 1:]).neg_()
        grad = (y_pred - y).sign_().div_(2).add_(tilts_on(y_pred.device, y_pred.dtype))
        out[..., middle] = grad.sum(-1)
        # a step moves all outputs that are farther from the middle
        above, below = grad[..., middle + 1 :], grad[..., :middle]
        out[..., middle + 1 :] = (
            above.flip(-1).cumsum(-1).flip(-1) * slopes[..., middle:]
        )
        out[..., :middle] = -below.cumsum(-1) * slopes[..., :middle]
        return out

    return Loss(
        activate_=lambda z: z.copy_(ascending(z)),
        row_losses=lambda y_pred, y: pinball(y_pred, y).mean(-1),
        row_objectives=lambda z, y: pinball(ascending(z), y).sum(-1),
        differentiate=differentiate,
        is_mean=True,
    )
