"""Rectified Adam."""

from typing import Any

import torch
from torch import Tensor

from ._base import Group, State
from ._models import Hyperparameter, add_scaled_, expand
from ._tape import changing
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

    capturable = True

    def update(self, p: Tensor, grad: Tensor, state: State, group: Group) -> None:
        """Move ``p`` in place by one rectified step."""
        beta_1, beta_2 = expand(decay_of(group), p), expand(group["beta_2"], p)
        eps = expand(group["eps"], p)
        count_step(state, p)
        is_rectified = changing(_is_rectified, state, beta_2)
        if is_rectified is True:
            lr = changing(_rectified_rate, state, group, p)
            adaptive_step_(p, grad, state, lr, beta_1, beta_2, eps)
            return
        mean, mean_sq = update_moments(grad, state, beta_1, beta_2)
        if is_rectified is not False:  # one answer per model
            rectify = changing(_rectifier, state, beta_2)
            adapted = rectify * mean / mean_sq.sqrt().add_(eps)
            mean = torch.where(is_rectified, adapted, mean)
        add_scaled_(p, mean, changing(_step_size, state, group, p))


def _rectified_rate(state: State, group: Group, p: Tensor) -> Any:
    rectify = _rectifier(state, expand(group["beta_2"], p))
    return _rate(state, group, p) * rectify


def _step_size(state: State, group: Group, p: Tensor) -> Any:
    return -_rate(state, group, p)


def _rate(state: State, group: Group, p: Tensor) -> Any:
    return expand(group["lr"], p) / (1 - expand(decay_of(group), p) ** state["step"])


def _is_rectified(state: State, beta_2: Hyperparameter) -> Any:
    is_rectified = _length(state["step"], beta_2) > 5
    return is_rectified if isinstance(is_rectified, Tensor) else bool(is_rectified)


def _rectifier(state: State, beta_2: Hyperparameter) -> Any:
    r"""Return the factor :math:`r_t \sqrt{1 - \beta_2^t}` of a step that has one."""
    t, length_max = state["step"], _length_max(beta_2)
    length = _length(t, beta_2)
    squared = (length - 4) * (length - 2) * length_max
    squared = squared / ((length_max - 4) * (length_max - 2) * length)
    return (squared * (1 - beta_2**t)) ** 0.5


def _length(t: int, beta_2: Hyperparameter) -> Any:
    r"""Return :math:`\rho_t`."""
    return _length_max(beta_2) - 2 * t * beta_2**t / (1 - beta_2**t)


def _length_max(beta_2: Hyperparameter) -> Any:
    return 2 / (1 - beta_2) - 1
