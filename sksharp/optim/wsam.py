"""Weighted sharpness-aware minimization."""

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
)
from ._base import Group, Params
from ._checks import check_interval
from ._models import Hyperparameter, as_weight
from .sgd import SGD
from .sharpness_aware import SharpnessAware


class WeightedSharpness(Combination):
    r"""WSAM's combination: the loss plus the weighted sharpness.

    Parameters
    ----------
    gamma : float or Tensor of shape (n_models,), default=0.9
        Weight of the sharpness, in [0, 1).

    decouple : bool or None, default=None
        Whether the sharpness term bypasses the base optimizer. None decouples with
        stochastic gradient descent only; the paper does so with Adam too.

    See Also
    --------
    SharpnessAware : The optimizer whose ``combination`` it can be.
    WSAM : The optimizer that has it.

    References
    ----------
    Y. Yue, J. Jiang, Z. Ye, N. Gao, Y. Liu, K. Zhang. "Sharpness-aware minimization
    revisited: Weighted sharpness as a regularization term." KDD 2023.
    :arxiv:`2305.15817`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import SharpnessAware, WeightedSharpness
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SharpnessAware(
    ...     [w], torch.optim.SGD, combination=WeightedSharpness(gamma=0.75), lr=0.1)
    >>> optimizer.param_groups[0]["gamma"]
    0.75
    """

    keeps_ascent_grads = True

    def __init__(
        self, gamma: Hyperparameter = 0.9, decouple: bool | None = None
    ) -> None:
        check_interval("gamma", gamma, 0, 1)
        super().__init__(gamma=gamma)
        self.decouple = decouple

    def bind(self, base_optimizer: object) -> WeightedSharpness:
        """Return the combination, decoupled or not, for a base optimizer."""
        if self.decouple is not None:
            return self
        is_sgd = isinstance(base_optimizer, SGD | torch.optim.SGD)
        return WeightedSharpness(self.hyperparameters["gamma"], is_sgd)

    def combine(
        self, pairs: list[Pair], optimizer: DescentContext
    ) -> list[DecoupledTerm]:
        """Write the weighted gradient, or the first one and return the sharpness."""
        if self.decouple:
            return [_decouple(pair, optimizer) for pair in pairs]
        for pair in pairs:
            descent_grad = pair.ascended_grad
            kappa = as_weight(_kappa(pair.group), descent_grad)
            if pair.grad is None:
                descent_grad.mul_(kappa)
            else:  # exact at gamma of 0 and 0.5: lerp starts at either end
                torch.lerp(pair.grad, descent_grad, kappa, out=descent_grad)
        return []


def _decouple(pair: Pair, optimizer: DescentContext) -> DecoupledTerm:
    p, group, grad = pair
    descent_grad = pair.ascended_grad
    if grad is None:
        grad = torch.zeros_like(descent_grad)
    sharpness = optimizer.keep_copy("sharpness", p, descent_grad).sub_(grad)
    descent_grad.copy_(grad)
    return DecoupledTerm(p, group, sharpness, _kappa(group))


def _kappa(group: Group) -> Any:
    return group["gamma"] / (1 - group["gamma"])


class WSAM(SharpnessAware):
    r"""Weighted SAM: minimize the loss plus a weighted sharpness.

    The objective is :math:`L + \kappa (L_{SAM} - L)` with
    :math:`\kappa = \gamma / (1 - \gamma)`. With the gradients :math:`g` at the weights
    and :math:`\tilde g` at the perturbed ones, a step is

    .. math::
        \text{coupled:} \quad & w \leftarrow
            \mathrm{base}(w, \kappa \tilde g + (1 - \kappa) g) \\
        \text{decoupled:} \quad & w \leftarrow
            \mathrm{base}(w, g) - \eta \kappa (\tilde g - g)

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups.

    base_optimizer : callable, default=SGD
        Makes the optimizer that takes the descent step.

    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, in the Euclidean norm over all parameters. Compare
        :math:`\kappa \rho` with the ``rho`` of :class:`SAM`.

    gamma : float or Tensor of shape (n_models,), default=0.9
        Weight of the sharpness, in [0, 1). 0 gives the base optimizer, 0.5 SAM.

    decouple : bool or None, default=None
        Whether the sharpness term bypasses the base optimizer. None decouples with
        stochastic gradient descent only. The paper decouples with Adam too; but an
        adaptive optimizer normalizes its own step and not the decoupled term, which
        then has almost no effect at its small learning rates.

    **kwargs
        ``interval``, ``start``, ``max_grad_norm``, ``model_ndim`` and ``replay`` of
        :class:`SharpnessAware`, and the arguments of ``base_optimizer``.

    Attributes
    ----------
    decouple : bool
        Whether the sharpness term bypasses the base optimizer.

    Raises
    ------
    ValueError
        If ``rho`` is negative, or ``gamma`` outside [0, 1), or if ``decouple`` is True over
        a ``base_optimizer`` that sets the parameters from weights of its own.

    See Also
    --------
    SAM : The special case ``gamma=0.5``, coupled.
    SharpnessAware : Arguments, attributes and errors that all of these share.

    References
    ----------
    Y. Yue, J. Jiang, Z. Ye, N. Gao, Y. Liu, K. Zhang. "Sharpness-aware minimization
    revisited: Weighted sharpness as a regularization term." KDD 2023.
    :arxiv:`2305.15817`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import WSAM
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = WSAM([w], torch.optim.SGD, rho=0.5, gamma=0.75, lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> optimizer.step(closure)
    0.5
    >>> round(w.item(), 3)  # 1 - 0.1 * (1 + 3 * 0.5)
    0.75
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.05,
        gamma: Hyperparameter = 0.9,
        decouple: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            params,
            base_optimizer,
            perturbation=GradientPerturbation(rho),
            combination=WeightedSharpness(gamma, decouple),
            **kwargs,
        )
        if self.decouple:
            self.refuse_owner("adds the decoupled term to the parameters")

    @property
    def decouple(self) -> bool:
        """Whether the sharpness term bypasses the base optimizer."""
        assert isinstance(self.combination, WeightedSharpness)
        return bool(self.combination.decouple)
