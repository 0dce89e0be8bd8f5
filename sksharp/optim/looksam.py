"""LookSAM: sharpness-aware minimization that reuses its direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from ._ascent import (
    Active,
    Combination,
    DecoupledTerm,
    DescentContext,
    GradientPerturbation,
    Pair,
    clamp_norm_,
    rounding,
)
from ._base import Group, Params
from ._checks import check_count, check_interval
from ._models import Hyperparameter, add_scaled_, expand, global_dot
from .sgd import SGD
from .sharpness_aware import SharpnessAware

DIRECTION = "looksam_direction"


class ReusedDirection(Combination):
    r"""LookSAM's combination: reuse the slowly changing part of SAM's gradient.

    Parameters
    ----------
    looksam_k : int, default=5
        Number of steps from one ascent to the next.

    looksam_alpha : float or Tensor of shape (n_models,), default=0.7
        Length of the reused part, relative to the gradient.

    See Also
    --------
    SharpnessAware : The optimizer whose ``combination`` it can be.
    LookSAM : The optimizer that has it.

    References
    ----------
    Y. Liu, S. Mai, X. Chen, C.-J. Hsieh, Y. You. "Towards efficient and scalable
    sharpness-aware minimization." CVPR 2022. :arxiv:`2203.02714`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import ReusedDirection, SharpnessAware
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SharpnessAware(
    ...     [w], torch.optim.SGD, combination=ReusedDirection(looksam_k=2), lr=0.1)
    >>> optimizer.param_groups[0]["looksam_k"]
    2
    """

    keeps_ascent_grads = True
    state_names = (DIRECTION,)

    def __init__(self, looksam_k: int = 5, looksam_alpha: Hyperparameter = 0.7) -> None:
        check_count("looksam_k", looksam_k, 1)
        check_interval("looksam_alpha", looksam_alpha, 0)
        super().__init__(looksam_k=int(looksam_k), looksam_alpha=looksam_alpha)

    def ascends(self, index: int, group: Group) -> bool:
        """Whether there is an ascent in the method's step of that index."""
        k: int = group["looksam_k"]
        return index % k == 0

    def combine(
        self, pairs: list[Pair], optimizer: DescentContext
    ) -> list[DecoupledTerm]:
        """Keep the direction of what is orthogonal to the first gradient."""
        if not pairs:
            return []
        descent = [pair.ascended_grad for pair in pairs]
        grads = [
            torch.zeros_like(pair.p) if pair.grad is None else pair.grad
            for pair in pairs
        ]
        norm = clamp_norm_(optimizer.global_norm(grads))
        # of the difference: the share of g~ is near 1, and norm and product sum otherwise
        orthogonal = [g - grad for g, grad in zip(descent, grads, strict=True)]
        share = global_dot(grads, orthogonal, optimizer.model_ndim) / norm / norm
        for vector, grad in zip(orthogonal, grads, strict=True):
            add_scaled_(vector, grad, -expand(share.to(vector.device), vector))
        length = optimizer.global_norm(orthogonal)
        # where the gradients are parallel, what is left is rounding
        is_left = length > rounding(grads) * optimizer.global_norm(descent)
        inverse = torch.where(is_left, 1 / clamp_norm_(length), 0)
        for (p, _, _), vector in zip(pairs, orthogonal, strict=True):
            vector.mul_(expand(inverse.to(p.device), p))
            optimizer.memory.set(p, DIRECTION, vector)
        return []

    def reuse(self, active: Active, optimizer: DescentContext) -> None:
        """Add the direction to the gradient of a step without an ascent."""
        grads = [p.grad for p, _ in active if p.grad is not None]
        if not grads:
            return
        norm = optimizer.global_norm(grads)
        for (p, group), grad in zip(active, grads, strict=True):
            direction = optimizer.memory.get(p, DIRECTION)
            if direction is not None:
                length = group["looksam_alpha"] * norm.to(p.device)
                add_scaled_(grad, direction, expand(length, p))


class LookSAM(SharpnessAware):
    r"""LookSAM: perturb every few steps, and reuse the direction in between.

    In every :math:`k`-th step, with the gradients :math:`g` at the weights and
    :math:`\tilde g` at the perturbed ones,

    .. math::
        g_v = \tilde g - \frac{\tilde g^\top g}{\|g\|_2^2}\, g, \qquad
        w \leftarrow \mathrm{base}(w, \tilde g)

    and in the steps between

    .. math::
        w \leftarrow \mathrm{base}\left(w,
            g + \alpha\, \|g\|_2\, \frac{g_v}{\|g_v\|_2}\right)

    The norms and products are over all parameters of a model.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups.

    base_optimizer : callable, default=SGD
        Makes the optimizer that takes the descent step.

    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, in the Euclidean norm over all parameters. 0 gives
        the base optimizer, bit for bit.

    looksam_k : int, default=5
        Number of steps from one ascent to the next. 1 gives SAM. The same for all
        models.

    looksam_alpha : float or Tensor of shape (n_models,), default=0.7
        Length :math:`\alpha` of the reused direction relative to the gradient, not
        negative. 0 gives SAM every ``looksam_k`` steps.

    **kwargs
        ``interval``, ``start``, ``max_grad_norm``, ``model_ndim`` and ``replay`` of
        :class:`SharpnessAware`, and the arguments of ``base_optimizer``.

    Raises
    ------
    ValueError
        If ``rho`` or ``looksam_alpha`` is negative, or ``looksam_k`` less than 1.

    See Also
    --------
    SAM : With ``looksam_k=1``. Its ``interval`` makes plain steps in between.
    SharpnessAware : Arguments, attributes and errors that all of these share.

    Notes
    -----
    ``interval`` and ``start`` are counted first: of the steps that they leave, every
    ``looksam_k``-th has an ascent and the others reuse its direction. Where the two
    gradients are parallel there is no direction, and the steps between are the base
    optimizer's.

    References
    ----------
    Y. Liu, S. Mai, X. Chen, C.-J. Hsieh, Y. You. "Towards efficient and scalable
    sharpness-aware minimization." CVPR 2022. :arxiv:`2203.02714`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import LookSAM
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> curvature = torch.tensor([1.0, 3.0])
    >>> optimizer = LookSAM([w], torch.optim.SGD, rho=0.1, looksam_k=2, lr=0.1)
    >>> n_evaluations = 0
    >>> def closure():
    ...     global n_evaluations
    ...     n_evaluations += 1
    ...     optimizer.zero_grad()
    ...     loss = (curvature * w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> for _ in range(4):
    ...     _ = optimizer.step(closure)
    >>> n_evaluations
    6
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.05,
        looksam_k: int = 5,
        looksam_alpha: Hyperparameter = 0.7,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            params,
            base_optimizer,
            perturbation=GradientPerturbation(rho),
            combination=ReusedDirection(looksam_k, looksam_alpha),
            **kwargs,
        )
