"""Friendly sharpness-aware minimization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._ascent import Active, AscentContext, Combination, Perturbation, rounding
from ._base import Params
from ._checks import check_interval
from ._models import Hyperparameter, as_weight, expand
from .sgd import SGD
from .sharpness_aware import SharpnessAware

MEAN = "friendly_mean"


class FriendlyPerturbation(Perturbation):
    r"""Friendly SAM's perturbation, along the noise of the gradient.

    .. math::
        m \leftarrow \lambda m + (1 - \lambda) g, \qquad d = g - \sigma m, \qquad
        \epsilon = \rho\, d / \|d\|_2

    Parameters
    ----------
    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, in the Euclidean norm over all parameters.

    sigma : float or Tensor of shape (n_models,), default=1.0
        Share of the mean gradient that is subtracted.

    decay : float or Tensor of shape (n_models,), default=0.9
        Decay of the mean gradient, in [0, 1).

    See Also
    --------
    SharpnessAware : The optimizer whose ``perturbation`` it can be.
    FriendlySAM : The optimizer that has it.

    References
    ----------
    T. Li, P. Zhou, Z. He, X. Cheng, X. Huang. "Friendly sharpness-aware minimization."
    CVPR 2024. :arxiv:`2403.12350`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import FriendlyPerturbation, SharpnessAware
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SharpnessAware(
    ...     [w], torch.optim.SGD, perturbation=FriendlyPerturbation(rho=0.5), lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> _ = optimizer.step(closure)
    >>> round(w.item(), 3)  # the first step is that of SAM
    0.85
    """

    remembers = True
    state_names = (MEAN,)

    def __init__(
        self,
        rho: Hyperparameter = 0.05,
        sigma: Hyperparameter = 1.0,
        decay: Hyperparameter = 0.9,
    ) -> None:
        check_interval("sigma", sigma, 0)
        check_interval("decay", decay, 0, 1)
        super().__init__(rho, sigma=sigma, decay=decay)

    def direction(
        self, active: Active, grads: list[Tensor], optimizer: AscentContext
    ) -> tuple[list[Tensor], Tensor]:
        """Return the gradient without its mean, the gradient itself if nothing is left."""
        noise = []
        for (p, group), grad in zip(active, grads, strict=True):
            mean = optimizer.memory.get(p, MEAN)
            if mean is None:  # the first step is SAM's: nothing is known to be noise
                optimizer.memory.set(p, MEAN, grad.clone())
                noise.append(grad)
                continue
            # the gradient as it is enters the mean, not what is left of it; its precision
            # may be another since
            mean = torch.lerp(mean.to(grad), grad, as_weight(1 - group["decay"], p))
            optimizer.memory.set(p, MEAN, mean)
            sigma = expand(group["sigma"], p)
            noise.append(_difference(grad, mean, sigma))
        norm, whole = optimizer.global_norm(noise), optimizer.global_norm(grads)
        # a difference that is rounding has no direction
        is_noise = (norm > whole * rounding(grads)).to(norm.dtype)
        # by weights of 0 and 1, which cost less than torch.where
        vectors = [
            torch.lerp(grad, vector, as_weight(is_noise.to(grad.device), grad))
            for vector, grad in zip(noise, grads, strict=True)
        ]
        return vectors, torch.lerp(whole, norm, is_noise)


def _difference(grad: Tensor, mean: Tensor, sigma: Hyperparameter) -> Tensor:
    """Return ``grad - sigma * mean``."""
    if isinstance(sigma, Tensor):
        return torch.addcmul(grad, mean, -sigma)
    return torch.sub(grad, mean, alpha=sigma)


class FriendlySAM(SharpnessAware):
    r"""Friendly SAM: perturb along the noise of the minibatch only.

    .. math::
        m \leftarrow \lambda m + (1 - \lambda) g, \qquad d = g - \sigma m, \qquad
        \epsilon = \rho\, d / \|d\|_2, \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(w + \epsilon))

    The mean :math:`m` estimates the gradient of all rows; the authors find that
    perturbing along it does harm.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups.

    base_optimizer : callable, default=SGD
        Makes the optimizer that takes the descent step.

    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, in the Euclidean norm over all parameters. 0 gives
        the base optimizer, bit for bit.

    sigma : float or Tensor of shape (n_models,), default=1.0
        Share of the mean gradient that is subtracted, not negative. 0 gives SAM.

    decay : float or Tensor of shape (n_models,), default=0.9
        Decay :math:`\lambda` of the mean gradient, in [0, 1).

    **kwargs
        ``interval``, ``start``, ``max_grad_norm``, ``model_ndim`` and ``replay`` of
        :class:`SharpnessAware`, and the arguments of ``base_optimizer``.

    Raises
    ------
    ValueError
        If ``rho`` or ``sigma`` is negative, or ``decay`` outside [0, 1).

    See Also
    --------
    SAM : With ``sigma=0``.
    SharpnessAware : Arguments, attributes and errors that all of these share.

    Notes
    -----
    The mean begins at the first gradient, whose step is SAM's. A step whose :math:`d` is
    zero, or rounding, is SAM's too: so is every step while the gradient is constant.
    Minibatches that hold all rows have no noise; what is left of their gradient is how it
    drifts. The mean is not updated in steps without an ascent (``interval``, ``start``).

    References
    ----------
    T. Li, P. Zhou, Z. He, X. Cheng, X. Huang. "Friendly sharpness-aware minimization."
    CVPR 2024. :arxiv:`2403.12350`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import FriendlySAM
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = FriendlySAM([w], torch.optim.SGD, rho=0.5, decay=0.5, lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> _ = optimizer.step(closure)
    >>> round(w.item(), 3)  # as SAM: 1 - 0.1 * (1 + 0.5)
    0.85
    >>> _ = optimizer.step(closure)
    >>> round(w.item(), 3)  # below the mean: 0.85 - 0.1 * (0.85 - 0.5)
    0.815
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.05,
        sigma: Hyperparameter = 1.0,
        decay: Hyperparameter = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            params,
            base_optimizer,
            perturbation=FriendlyPerturbation(rho, sigma, decay),
            combination=Combination(),
            **kwargs,
        )
