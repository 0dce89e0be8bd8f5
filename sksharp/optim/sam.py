"""Sharpness-aware minimization."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from ._ascent import Combination, GradientPerturbation
from ._base import Params
from ._models import Hyperparameter
from .sgd import SGD
from .sharpness_aware import SharpnessAware


class SAM(SharpnessAware):
    r"""Sharpness-aware minimization: descend with the gradient at the worst neighbor.

    .. math::
        \epsilon = \rho\, g / \|g\|_2, \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(w + \epsilon))

    The norm is taken over all parameters of all groups (and per model, if parameters
    hold many). A step costs two gradients.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups.

    base_optimizer : callable, default=SGD
        Makes the optimizer that takes the descent step.

    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, in the Euclidean norm over all parameters. 0 gives
        the base optimizer, bit for bit. A group may have its own radius.

    **kwargs
        ``interval``, ``start``, ``max_grad_norm``, ``model_ndim`` and ``replay`` of
        :class:`SharpnessAware`, and the arguments of ``base_optimizer``.

    Raises
    ------
    ValueError
        If ``rho`` is negative or NaN.

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

    capturable = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            params,
            base_optimizer,
            perturbation=GradientPerturbation(rho),
            combination=Combination(),
            **kwargs,
        )
