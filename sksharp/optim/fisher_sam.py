"""Fisher sharpness-aware minimization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._ascent import Active, AscentContext, Combination, Perturbation
from ._base import Params
from ._checks import check_interval
from ._models import Hyperparameter, expand
from .sgd import SGD
from .sharpness_aware import SharpnessAware


class FisherPerturbation(Perturbation):
    r"""Fisher SAM's perturbation, in the metric of the batch's Fisher information.

    .. math::
        \epsilon = \rho\, F^{-1} g / \sqrt{g^\top F^{-1} g}, \qquad
        F = \mathrm{diag}(1 + \eta\, g_i^2)

    Parameters
    ----------
    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, in the norm of :math:`F`.

    eta : float or Tensor of shape (n_models,), default=1e4
        Weight of the squared gradient against the identity, which damps it.

    See Also
    --------
    SharpnessAware : The optimizer whose ``perturbation`` it can be.
    FisherSAM : The optimizer that has it.

    References
    ----------
    M. Kim, D. Li, S. X. Hu, T. M. Hospedales. "Fisher SAM: Information geometry and
    sharpness aware minimisation." ICML 2022. :arxiv:`2206.04920`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import FisherPerturbation, SharpnessAware
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SharpnessAware(
    ...     [w], torch.optim.SGD, perturbation=FisherPerturbation(rho=0.5, eta=3.0), lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> _ = optimizer.step(closure)
    >>> round(w.item(), 3)  # 1 - 0.1 * (1 + 0.5 / (1 + 3 * 1) ** 0.5)
    0.875
    """

    def __init__(self, rho: Hyperparameter = 0.05, eta: Hyperparameter = 1e4) -> None:
        check_interval("eta", eta, 0)
        super().__init__(rho, eta=eta)

    def direction(
        self, active: Active, grads: list[Tensor], optimizer: AscentContext
    ) -> tuple[list[Tensor], Tensor]:
        """Return ``g / F`` and the norm of ``g`` over the root of ``F``."""
        # the squares of half precision overflow from 2.6 on, times eta
        grads = [
            grad.float() if grad.dtype in (torch.float16, torch.bfloat16) else grad
            for grad in grads
        ]
        roots = [
            _fisher(grad, expand(group["eta"], grad)).sqrt_()
            for (_, group), grad in zip(active, grads, strict=True)
        ]
        vectors = [grad / root for grad, root in zip(grads, roots, strict=True)]
        norm = optimizer.global_norm(vectors)
        for vector, root in zip(vectors, roots, strict=True):
            vector.div_(root)
        return vectors, norm


def _fisher(grad: Tensor, eta: Hyperparameter) -> Tensor:
    """Return ``1 + eta * grad**2``."""
    one = grad.new_ones(())
    if isinstance(eta, Tensor):
        return torch.addcmul(one, grad.square(), eta)
    return torch.addcmul(one, grad, grad, value=eta)


class FisherSAM(SharpnessAware):
    r"""Fisher SAM: perturb weights with a large squared gradient less.

    .. math::
        \epsilon = \rho\, F^{-1} g / \sqrt{g^\top F^{-1} g}, \qquad
        F = \mathrm{diag}(1 + \eta\, g_i^2), \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(w + \epsilon))

    :math:`F` approximates the Fisher information of the outputs by the squared gradient
    of the minibatch, damped by the identity.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups.

    base_optimizer : callable, default=SGD
        Makes the optimizer that takes the descent step.

    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, :math:`\sqrt{\epsilon^\top F \epsilon}`. 0 gives the
        base optimizer, bit for bit.

    eta : float or Tensor of shape (n_models,), default=1e4
        Weight :math:`\eta` of the squared gradient against the damping. Values far
        below :math:`1 / g_i^2` give SAM, such as 0 and usually the paper's 1: search in
        powers of ten.

    **kwargs
        ``interval``, ``start``, ``max_grad_norm``, ``model_ndim`` and ``replay`` of
        :class:`SharpnessAware`, and the arguments of ``base_optimizer``.

    Raises
    ------
    ValueError
        If ``rho`` or ``eta`` is negative.

    See Also
    --------
    SAM : With ``eta=0``.
    SharpnessAware : Arguments, attributes and errors that all of these share.

    Notes
    -----
    The squared gradient of the mean loss is not the mean of the squared gradients of the
    rows. It is the one that costs no further evaluation.

    References
    ----------
    M. Kim, D. Li, S. X. Hu, T. M. Hospedales. "Fisher SAM: Information geometry and
    sharpness aware minimisation." ICML 2022. :arxiv:`2206.04920`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import FisherSAM
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = FisherSAM([w], torch.optim.SGD, rho=0.5, eta=3.0, lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> optimizer.step(closure)
    0.5
    >>> round(w.item(), 3)  # 1 - 0.1 * (1 + 0.5 / (1 + 3 * 1) ** 0.5)
    0.875
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.05,
        eta: Hyperparameter = 1e4,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            params,
            base_optimizer,
            perturbation=FisherPerturbation(rho, eta),
            combination=Combination(),
            **kwargs,
        )
