"""Weighted sharpness-aware minimization."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._base import Group, Params
from ._checks import check_interval
from ._models import Hyperparameter, add_scaled_, expand
from .sam import SAM
from .sgd import SGD


class WSAM(SAM):
    r"""Weighted SAM: the sharpness is a term of the objective, with a weight.

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
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`.

    base_optimizer : callable, default=SGD
        Class of the optimizer that takes the descent step, from this package or from
        :mod:`torch.optim`, or any function that takes the parameters and ``**base`` and
        returns an optimizer.

    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighbourhood, in the Euclidean norm over all parameters. Compare
        :math:`\kappa \rho` with the ``rho`` of :class:`SAM`.

    gamma : float or Tensor of shape (n_models,), default=0.9
        Weight of the sharpness, in [0, 1). 0 gives the base optimizer, 0.5 SAM.

    decouple : bool or None, default=None
        Whether the sharpness term bypasses the base optimizer. None decouples over
        stochastic gradient descent, as the paper does, and couples over any other base:
        an adaptive optimizer normalizes its own step but not the decoupled term, which
        at its small learning rates then does next to nothing.

    model_ndim : int, default=0
        How many leading axes of every parameter count models.

    replay : bool, default=True
        Whether the second evaluation replays the first, as in :class:`SAM`.

    **base
        Arguments of ``base_optimizer``.

    Attributes
    ----------
    base_optimizer : torch.optim.Optimizer
        The optimizer that takes the descent step. It shares ``param_groups`` and
        ``state`` with this one.

    decouple : bool
        Whether the sharpness term bypasses the base optimizer.

    Raises
    ------
    ValueError
        If ``rho`` is negative, or ``gamma`` outside [0, 1), or if ``decouple`` is True over
        a ``base_optimizer`` that sets the parameters from weights of its own.
    TypeError
        If ``base_optimizer`` cannot be called.

    See Also
    --------
    SAM : The special case ``gamma=0.5``, coupled.

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

    keeps_ascent_grads = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.05,
        gamma: Hyperparameter = 0.9,
        decouple: bool | None = None,
        model_ndim: int = 0,
        replay: bool = True,
        **base: Any,
    ) -> None:
        check_interval("gamma", gamma, 0, 1)
        super().__init__(
            params,
            base_optimizer,
            rho=rho,
            model_ndim=model_ndim,
            replay=replay,
            **base,
        )
        self.defaults["gamma"] = gamma
        for group in self.param_groups:
            group.setdefault("gamma", gamma)
        if decouple is None:
            decouple = isinstance(self.base_optimizer, SGD | torch.optim.SGD)
        if decouple:
            self.refuse_owner("adds the decoupled term to the parameters")
        self.decouple = decouple

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "decouple": self.decouple}

    def descend(
        self, active: list[tuple[Group, list[Tensor]]], grads: list[Tensor]
    ) -> None:
        """Step with the sharpness weighted against the loss."""
        ascended = [p for _, members in active for p in members]
        of_ascent = dict(zip(ascended, grads, strict=True))
        # a parameter without a gradient in one evaluation has one of zero there
        params = [
            (p, group, of_ascent.get(p))
            for group in self.param_groups
            for p in group["params"]
            if p in of_ascent or p.grad is not None
        ]
        if self.decouple:
            self._descend_decoupled(params)
            return
        for p, group, grad in params:
            kappa = expand(_kappa(group), p)
            # not g + kappa (g~ - g): this form is exact at gamma of 0 and 0.5
            descent_grad = _descent_grad(p).mul_(kappa)
            if grad is not None:
                add_scaled_(descent_grad, grad, 1 - kappa)
        self.base_optimizer.step()

    def _descend_decoupled(
        self, params: list[tuple[Tensor, Group, Tensor | None]]
    ) -> None:
        sharpness = []
        for p, _, grad in params:
            descent_grad = _descent_grad(p)
            if grad is None:
                grad = torch.zeros_like(descent_grad)
            (term,) = self._kept("sharpness", [p], [descent_grad])
            sharpness.append(term.sub_(grad))
            descent_grad.copy_(grad)
        self.base_optimizer.step()
        for (p, group, _), term in zip(params, sharpness, strict=True):
            add_scaled_(p, term, -expand(group["lr"] * _kappa(group), p))


def _kappa(group: Group) -> Any:
    return group["gamma"] / (1 - group["gamma"])


def _descent_grad(p: Tensor) -> Tensor:
    """Gradient of the second pass, zero for a parameter that took no part in it."""
    if p.grad is None:
        p.grad = torch.zeros_like(p)
    return p.grad
