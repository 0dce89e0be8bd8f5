"""Rectified Adam."""

from typing import Any

import torch
from torch import Tensor

from ._base import Group, State
from ._models import Hyperparameter, add_scaled_, expand
from .adam import Adam, adaptive_step_, count_step, decay_of, update_moments


class RAdam(Adam):
    r"""Adam whose step is rectified while its variance is not yet known.

    With the moments :math:`m` and :math:`v` of :class:`Adam` and

    .. math::
        \rho_\infty = \frac{2}{1 - \beta_2} - 1, \qquad
        \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}, \qquad
        r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}
                         {(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}}

    the step is :math:`-\eta\, r_t \hat m \sqrt{1 - \beta_2^t} / (\sqrt{v} + \epsilon)`
    if :math:`\rho_t > 5`, else :math:`-\eta\, \hat m`, with
    :math:`\hat m = m / (1 - \beta_1^t)`. The paper rectifies from :math:`\rho_t > 4`;
    the bound of 5 is its authors' code's and :class:`torch.optim.RAdam`'s, with which
    this class agrees to rounding.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`. A leading
        axis of every parameter may count models.

    lr : float or Tensor of shape (n_models,), default=1e-3
        Learning rate :math:`\eta`, not negative.

    beta_1 : float or Tensor of shape (n_models,), default=0.9
        Decay of the mean of the gradient, in [0, 1).

    beta_2 : float or Tensor of shape (n_models,), default=0.999
        Decay of the mean of the squared gradient, in [0, 1). With 0.999 the rectifier
        stays below 0.65 for the first 1,000 steps: a slow start on small data.

    eps : float or Tensor of shape (n_models,), default=1e-8
        :math:`\epsilon`, not negative.

    Raises
    ------
    ValueError
        If a hyperparameter is out of its range.

    See Also
    --------
    Ranger : RAdam with Lookahead.

    References
    ----------
    L. Liu, H. Jiang, P. He, W. Chen, X. Liu, J. Gao, J. Han. "On the variance of the
    adaptive learning rate and beyond." ICLR 2020. :arxiv:`1908.03265`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import RAdam
    >>> w = torch.nn.Parameter(torch.tensor([2.0]))
    >>> optimizer = RAdam([w], lr=0.5)
    >>> (w**2 / 2).sum().backward()
    >>> _ = optimizer.step()  # a plain gradient step: the variance is unknown
    >>> round(w.item(), 3)
    1.0
    """

    def update(self, p: Tensor, grad: Tensor, state: State, group: Group) -> None:
        """Move ``p`` in place by one rectified step."""
        beta_1, beta_2 = expand(decay_of(group), p), expand(group["beta_2"], p)
        eps = expand(group["eps"], p)
        t = count_step(state, p)
        lr = expand(group["lr"], p) / (1 - beta_1**t)
        rectify, is_rectified = rectification(t, beta_2)
        if is_rectified is True:
            adaptive_step_(p, grad, state, lr * rectify, beta_1, beta_2, eps)
            return
        mean, mean_sq = update_moments(grad, state, beta_1, beta_2)
        if is_rectified is not False:  # one answer per model
            adapted = rectify * mean / mean_sq.sqrt().add_(eps)
            mean = torch.where(is_rectified, adapted, mean)
        add_scaled_(p, mean, -lr)


def rectification(t: int, beta_2: Hyperparameter) -> tuple[Any, Any]:
    r"""Factor :math:`r_t \sqrt{1 - \beta_2^t}`, and whether step ``t`` has one."""
    length_max = 2 / (1 - beta_2) - 1
    length = length_max - 2 * t * beta_2**t / (1 - beta_2**t)
    is_rectified = length > 5
    if not isinstance(is_rectified, Tensor):
        is_rectified = bool(is_rectified)  # a Python scalar
    if is_rectified is False:
        return 0.0, False
    squared = (length - 4) * (length - 2) * length_max
    squared = squared / ((length_max - 4) * (length_max - 2) * length)
    return (squared * (1 - beta_2**t)) ** 0.5, is_rectified
