"""Adam with decoupled weight decay."""

from typing import Any

from torch import Tensor

from ._base import Group, Params, State
from ._checks import check_interval, check_range
from ._layout import Layout, check_layout, weight_slices
from ._models import Hyperparameter, expand
from ._tape import changing
from .adam import Adam


class AdamW(Adam):
    r"""Adam with decoupled weight decay.

    .. math::
        w \leftarrow (1 - \eta \lambda) w
          - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt{v} + \epsilon}

    with the moments :math:`m` and :math:`v` of :class:`Adam`. A penalty on the squared
    weights would be part of :math:`g` and be divided by :math:`\sqrt{v}`, so that
    weights with large gradients would decay less. Here all weights decay alike.

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

    weight_decay : float or Tensor of shape (n_models,), default=0.01
        Decay :math:`\lambda`, not negative. 0 gives :class:`Adam`, bit for bit. A group
        may have its own, such as 0 for biases.

    layout : sequence of tuple of int, default=None
        Shapes of the tensors that the last axis of every parameter holds, one after the
        other. Those of one axis are biases and are not decayed. None decays all entries,
        as :class:`torch.optim.AdamW` does.

    Raises
    ------
    ValueError
        If a hyperparameter is out of its range, or ``layout`` does not fill a parameter.

    See Also
    --------
    Adam : The form without decay, and where epsilon stands.

    References
    ----------
    I. Loshchilov, F. Hutter. "Decoupled weight decay regularization." ICLR 2019.
    :arxiv:`1711.05101`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import AdamW
    >>> w = torch.nn.Parameter(torch.tensor([2.0]))
    >>> optimizer = AdamW([w], lr=0.5, weight_decay=0.1)
    >>> (w**2 / 2).sum().backward()
    >>> _ = optimizer.step()
    >>> round(w.item(), 3)  # 2 * (1 - 0.5 * 0.1) - 0.5
    1.4
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        lr: Hyperparameter = 1e-3,
        beta_1: Hyperparameter = 0.9,
        beta_2: Hyperparameter = 0.999,
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.01,
        *,
        layout: Layout | None = None,
    ) -> None:
        check_interval("weight_decay", weight_decay, 0)
        super().__init__(params, lr, beta_1, beta_2, eps)
        self.defaults["weight_decay"] = weight_decay
        for group in self.param_groups:
            group.setdefault("weight_decay", weight_decay)
            check_range(group, group["params"])
            check_layout(layout, group["params"])
        self.layout = layout

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "layout": self.layout}

    def update(self, p: Tensor, grad: Tensor, state: State, group: Group) -> None:
        """Move ``p`` in place by one step of adaptive moments, and decay it."""
        decay_(p, group, self.layout)
        super().update(p, grad, state, group)


def decay_(p: Tensor, group: Group, layout: Layout | None = None) -> None:
    """Multiply the weights in ``p`` by ``1 - lr * weight_decay``, in place."""
    weight_decay = group["weight_decay"]
    if not isinstance(weight_decay, Tensor) and weight_decay == 0:
        return
    factor = changing(_kept_share, group, p)
    if layout is None:
        p.mul_(factor)
        return
    for part in weight_slices(layout):
        p[..., part].mul_(factor)


def _kept_share(group: Group, p: Tensor) -> Hyperparameter:
    return expand(1 - group["lr"] * group["weight_decay"], p)
