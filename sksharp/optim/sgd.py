"""Stochastic gradient descent, in scikit-learn's form."""

from typing import Any

import torch
from torch import Tensor

from ._base import Descent, Group, Params, State
from ._checks import check_interval
from ._models import Hyperparameter, add_scaled_, expand
from ._tape import changing


class SGD(Descent):
    r"""Stochastic gradient descent with momentum, in scikit-learn's form.

    .. math::
        v \leftarrow \mu v - \eta g, \qquad
        w \leftarrow w + \begin{cases} \mu v - \eta g & \text{Nesterov} \\
                                       v & \text{otherwise} \end{cases}

    The velocity holds the learning rate, so a change of the rate does not rescale the
    steps already taken. :class:`torch.optim.SGD` keeps the rate outside: the two agree
    to rounding while the rate is constant.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`. A leading
        axis of every parameter may count models.

    lr : float or Tensor of shape (n_models,), default=1e-3
        Learning rate :math:`\eta`, not negative.

    momentum : float or Tensor of shape (n_models,), default=0.9
        Decay :math:`\mu` of the velocity, in [0, 1].

    nesterov : bool, default=True
        Whether to look ahead along the velocity (Nesterov's momentum).

    Raises
    ------
    ValueError
        If ``lr`` or ``momentum`` is out of its range.

    See Also
    --------
    Adam : Adaptive moments, in scikit-learn's form.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl, G. Hinton. "On the importance of initialization
    and momentum in deep learning." ICML 2013.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import SGD
    >>> w = torch.nn.Parameter(torch.tensor([2.0]))
    >>> optimizer = SGD([w], lr=0.1, momentum=0.5, nesterov=False)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w**2 / 2).sum().backward()
    ...     _ = optimizer.step()
    >>> round(w.item(), 3)
    1.52
    """

    capturable = True

    takes_sparse = True

    def __init__(
        self,
        params: Params,
        lr: Hyperparameter = 1e-3,
        momentum: Hyperparameter = 0.9,
        nesterov: bool = True,
    ) -> None:
        check_interval("lr", lr, 0)
        check_interval("momentum", momentum, 0, 1, closed=True)
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def update(self, p: Tensor, grad: Tensor, state: State, group: Group) -> None:
        """Move ``p`` in place by one step of momentum."""
        step_size = changing(_step_size, group, p)
        momentum = expand(group["momentum"], p)
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(p)
        velocity = state["velocity"].mul_(momentum)
        add_scaled_(velocity, grad, step_size)
        if group["nesterov"]:
            add_scaled_(p, velocity, momentum)
            add_scaled_(p, grad, step_size)
        else:
            p.add_(velocity)


def _step_size(group: Group, p: Tensor) -> Hyperparameter:
    return -expand(group["lr"], p)
