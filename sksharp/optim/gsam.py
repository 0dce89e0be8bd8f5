"""Surrogate gap guided sharpness-aware minimization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from ._ascent import (
    Combination,
    DecoupledTerm,
    DescentContext,
    GradientPerturbation,
    Pair,
    clamp_norm_,
)
from ._base import Params
from ._checks import check_interval
from ._models import Hyperparameter, add_product_, add_scaled_, expand, global_dot
from .sgd import SGD
from .sharpness_aware import SharpnessAware


class SurrogateGap(Combination):
    r"""GSAM's combination: lower the perturbed loss and the surrogate gap.

    Parameters
    ----------
    gsam_alpha : float or Tensor of shape (n_models,), default=0.4
        Weight of the descent on the gap. 0 gives SAM.

    See Also
    --------
    SharpnessAware : The optimizer whose ``combination`` it can be.
    GSAM : The optimizer that has it.

    References
    ----------
    J. Zhuang et al. "Surrogate gap minimization improves sharpness-aware training."
    ICLR 2022. :arxiv:`2203.08065`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import SharpnessAware, SurrogateGap
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SharpnessAware(
    ...     [w], torch.optim.SGD, combination=SurrogateGap(gsam_alpha=0.5), lr=0.1)
    >>> optimizer.param_groups[0]["gsam_alpha"]
    0.5
    """

    keeps_ascent_grads = True

    def __init__(self, gsam_alpha: Hyperparameter = 0.4) -> None:
        check_interval("gsam_alpha", gsam_alpha, 0)
        super().__init__(gsam_alpha=gsam_alpha)

    def combine(
        self, pairs: list[Pair], optimizer: DescentContext
    ) -> list[DecoupledTerm]:
        """Take out of the second gradient what of the first is orthogonal to it."""
        if not pairs:
            return []
        descent = [pair.ascended_grad for pair in pairs]
        grads = [
            torch.zeros_like(pair.p) if pair.grad is None else pair.grad
            for pair in pairs
        ]
        norm = clamp_norm_(optimizer.global_norm(descent))
        # of the difference: the share of g is near 1, and norm and product sum otherwise
        fall = [grad.sub_(g) for grad, g in zip(grads, descent, strict=True)]
        # divided twice: the square of a small norm underflows
        share = global_dot(fall, descent, optimizer.model_ndim).div_(norm).div_(norm)
        for (p, group, _), vector, to_step in zip(pairs, fall, descent, strict=True):
            # g~ - alpha (g - g~ - share g~)
            alpha = group["gsam_alpha"]
            add_product_(to_step, to_step, share.to(p.device), alpha)
            add_scaled_(to_step, vector, -expand(alpha, p))
        return []


class GSAM(SharpnessAware):
    r"""SAM that also reduces the surrogate gap, the perturbed loss minus the loss.

    With the gradients :math:`g` at the weights and :math:`\tilde g` at the perturbed
    ones,

    .. math::
        g_\perp = g - \frac{g^\top \tilde g}{\|\tilde g\|_2^2}\, \tilde g, \qquad
        w \leftarrow \mathrm{base}(w, \tilde g - \alpha\, g_\perp)

    To first order this lowers the gap, and the perturbed loss as SAM does: the part of
    the gap's gradient along :math:`\tilde g` is removed. Products are over all
    parameters of a model.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups.

    base_optimizer : callable, default=SGD
        Makes the optimizer that takes the descent step.

    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, in the Euclidean norm over all parameters. 0 gives
        the base optimizer, bit for bit.

    gsam_alpha : float or Tensor of shape (n_models,), default=0.4
        Weight :math:`\alpha` of the descent on the gap, not negative. 0 gives SAM.

    **kwargs
        ``interval``, ``start``, ``max_grad_norm``, ``model_ndim`` and ``replay`` of
        :class:`SharpnessAware`, and the arguments of ``base_optimizer``.

    Raises
    ------
    ValueError
        If ``rho`` or ``gsam_alpha`` is negative.

    See Also
    --------
    SAM : With ``gsam_alpha=0``.
    SharpnessAware : Arguments, attributes and errors that all of these share.

    Notes
    -----
    The paper ties ``rho`` to the schedule of the learning rate. It is in the parameter
    groups, so a schedule may set it there; here it is constant.

    References
    ----------
    J. Zhuang et al. "Surrogate gap minimization improves sharpness-aware training."
    ICLR 2022. :arxiv:`2203.08065`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import GSAM
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> curvature = torch.tensor([1.0, 3.0])
    >>> optimizer = GSAM([w], torch.optim.SGD, rho=0.1, gsam_alpha=0.5, lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (curvature * w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> optimizer.step(closure)
    2.0
    >>> [round(x, 3) for x in w.tolist()]
    [0.899, 0.671]
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.05,
        gsam_alpha: Hyperparameter = 0.4,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            params,
            base_optimizer,
            perturbation=GradientPerturbation(rho),
            combination=SurrogateGap(gsam_alpha),
            **kwargs,
        )
