"""Sharpness-aware minimization."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ._ascent import GradientPerturbation
from ._base import Params
from ._models import Hyperparameter
from .sgd import SGD
from .sharpness_aware import SharpnessAware


class SAM(SharpnessAware):
    r"""Sharpness-aware minimization: descend with the gradient of the worst neighbor.

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
        Radius of the neighborhood, in the Euclidean norm over all parameters. 0 gives
        the base optimizer, bit for bit. A group may have its own.

    interval : int, default=1
        Every how many steps there is an ascent. The others are the base optimizer's, for
        one gradient.

    start : int, default=0
        Steps of the base optimizer before the first ascent.

    max_grad_norm : float, Tensor of shape (n_models,) or None, default=None
        Largest Euclidean norm of the gradient that is descended with. A longer one is
        scaled down.

    model_ndim : int, default=0
        How many leading axes of every parameter count models: 0 for one model, 1 for
        parameters of shape ``(n_models, ...)``.

    replay : bool or Module, default=True
        Whether the second evaluation replays the first: the same dropout masks, and
        running statistics of normalization layers that count each batch once. Turn it
        off for modules with neither, to save a little time. Give the module if it is
        compiled, because what is compiled does not tell of its layers.

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
        If ``base_optimizer`` cannot be called, or ``interval`` or ``start`` is no
        integer.

    See Also
    --------
    WSAM : Weighs the sharpness against the loss.
    ASAM : Measures the neighborhood in units of the weights.
    SharpnessAware : Any composition.

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
        interval: int = 1,
        start: int = 0,
        max_grad_norm: Hyperparameter | None = None,
        model_ndim: int = 0,
        replay: bool | nn.Module = True,
        **base: Any,
    ) -> None:
        super().__init__(
            params,
            base_optimizer,
            perturbation=GradientPerturbation(rho),
            interval=interval,
            start=start,
            max_grad_norm=max_grad_norm,
            model_ndim=model_ndim,
            replay=replay,
            **base,
        )
