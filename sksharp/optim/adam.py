"""Adam, in scikit-learn's form."""

import torch
from torch import Tensor

from ._base import Descent, Group, Params, State
from ._checks import check_interval
from ._models import Hyperparameter, add_scaled_, expand


class Adam(Descent):
    r"""Adaptive moment estimation, in scikit-learn's form.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
                         \frac{m}{\sqrt{v} + \epsilon}

    :math:`\epsilon` is added to the uncorrected :math:`\sqrt{v}`, the efficient form at
    the end of section 2 of the paper. :class:`torch.optim.Adam` adds it to the corrected
    one.

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
        Decay of the mean of the squared gradient, in [0, 1).

    eps : float or Tensor of shape (n_models,), default=1e-8
        :math:`\epsilon`, not negative.

    Raises
    ------
    ValueError
        If a hyperparameter is out of its range.

    See Also
    --------
    RAdam : Adam with a rectified variance, for the first steps.

    References
    ----------
    D. P. Kingma, J. Ba. "Adam: A method for stochastic optimization." ICLR 2015.
    :arxiv:`1412.6980`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import Adam
    >>> w = torch.nn.Parameter(torch.tensor([2.0]))
    >>> optimizer = Adam([w], lr=0.5)
    >>> (w**2 / 2).sum().backward()
    >>> _ = optimizer.step()  # the first step has the length of the learning rate
    >>> round(w.item(), 3)
    1.5
    """

    def __init__(
        self,
        params: Params,
        lr: Hyperparameter = 1e-3,
        beta_1: Hyperparameter = 0.9,
        beta_2: Hyperparameter = 0.999,
        eps: Hyperparameter = 1e-8,
    ) -> None:
        check_interval("lr", lr, 0)
        check_interval("beta_1", beta_1, 0, 1)
        check_interval("beta_2", beta_2, 0, 1)
        check_interval("eps", eps, 0)
        super().__init__(
            params, {"lr": lr, "beta_1": beta_1, "beta_2": beta_2, "eps": eps}
        )

    def update(self, p: Tensor, grad: Tensor, state: State, group: Group) -> None:
        """Move ``p`` in place by one step of adaptive moments."""
        beta_1, beta_2 = expand(group["beta_1"], p), expand(group["beta_2"], p)
        t, mean, mean_sq = update_moments(grad, state, beta_1, beta_2)
        lr = expand(group["lr"], p) * ((1 - beta_2**t) ** 0.5 / (1 - beta_1**t))
        descend_ratio_(p, mean, mean_sq.sqrt().add_(expand(group["eps"], p)), lr)


def update_moments(
    grad: Tensor, state: State, beta_1: Hyperparameter, beta_2: Hyperparameter
) -> tuple[int, Tensor, Tensor]:
    """Count the step and update the means of the gradient and of its square."""
    if "mean" not in state:
        state.update(
            step=0, mean=torch.zeros_like(grad), mean_sq=torch.zeros_like(grad)
        )
    state["step"] += 1
    mean = state["mean"].lerp_(grad, 1 - beta_1)
    mean_sq = state["mean_sq"].mul_(beta_2)
    if isinstance(beta_2, Tensor):
        mean_sq.addcmul_(grad.square(), 1 - beta_2)
    else:
        mean_sq.addcmul_(grad, grad, value=1 - beta_2)
    return state["step"], mean, mean_sq


def descend_ratio_(
    p: Tensor, numerator: Tensor, denominator: Tensor, lr: Hyperparameter
) -> None:
    """Subtract ``lr * numerator / denominator`` from ``p`` in place."""
    if isinstance(lr, Tensor):
        add_scaled_(p, numerator.div(denominator), -lr)
    else:
        p.addcdiv_(numerator, denominator, value=-lr)
