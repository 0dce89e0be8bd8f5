"""Sharpness-aware minimization."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._base import Ascent, Group, Params
from ._checks import check_interval
from ._models import Hyperparameter, add_direction_, joint_norm
from .sgd import SGD


class SAM(Ascent):
    r"""Sharpness-aware minimization: descend with the gradient of the worst neighbour.

    .. math::
        \epsilon = \rho\, g / \|g\|_2, \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(w + \epsilon))

    The norm is taken over all parameters of all groups (and per model, if parameters
    hold many). A step costs two gradients.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`.

    base_optimizer : callable, default=SGD
        Class of the optimizer that takes the descent step, from this package or from
        :mod:`torch.optim`, or any function that takes the parameters and ``**base`` and
        returns an optimizer.

    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighbourhood, in the Euclidean norm over all parameters. 0 gives
        the base optimizer, bit for bit. A group may have its own.

    model_ndim : int, default=0
        How many leading axes of every parameter count models: 0 for one model, 1 for
        parameters of shape ``(n_models, ...)``.

    replay : bool, default=True
        Whether the second evaluation replays the first: the same dropout masks, and
        running statistics of normalization layers that count each batch once. Turn it
        off for modules with neither, to save a little time.

    **base
        Arguments of ``base_optimizer``.

    Attributes
    ----------
    base_optimizer : torch.optim.Optimizer
        The optimizer that takes the descent step. It shares ``param_groups`` and
        ``state`` with this one.

    Raises
    ------
    ValueError
        If ``rho`` is negative or NaN.
    TypeError
        If ``base_optimizer`` cannot be called.

    See Also
    --------
    WSAM : Weighs the sharpness against the loss.

    Notes
    -----
    ``step(closure)`` evaluates the closure twice and returns the first loss. The
    perturbation is undone by copying the weights back, also when the closure raises.
    At a gradient of zero there is no ascent.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur. "Sharpness-aware minimization for
    efficiently improving generalization." ICLR 2021. :arxiv:`2010.01412`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import SAM
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SAM([w], torch.optim.SGD, rho=0.5, lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> optimizer.step(closure)  # the loss at w = 1
    0.5
    >>> round(w.item(), 3)  # 1 - 0.1 * (1 + 0.5)
    0.85
    """

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.05,
        model_ndim: int = 0,
        replay: bool = True,
        **base: Any,
    ) -> None:
        check_interval("rho", rho, 0)
        super().__init__(
            params,
            base_optimizer,
            base,
            {"rho": rho},
            model_ndim=model_ndim,
            replay=replay,
        )

    @property
    def is_off(self) -> bool:
        """Whether ``rho`` is 0 for every parameter."""
        radii = [group["rho"] for group in self.param_groups]
        return not any(isinstance(rho, Tensor) or rho != 0 for rho in radii)

    def ascend(self, active: list[tuple[Group, list[Tensor]]]) -> None:
        """Add ``rho`` times the direction of the gradient to the parameters."""
        grads = [p.grad for _, members in active for p in members if p.grad is not None]
        if not grads:
            return
        norm = joint_norm(grads, self.model_ndim)
        # below this the squares underflow: the norm is rounding, the gradient zero
        norm.clamp_min_(torch.finfo(norm.dtype).tiny ** 0.5)
        for group, members in active:
            for p in members:
                assert p.grad is not None
                add_direction_(p, p.grad, norm.to(p.device), group["rho"])
