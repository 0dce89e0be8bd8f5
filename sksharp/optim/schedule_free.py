"""Schedule-Free: averaging instead of a learning-rate schedule."""

from typing import Any

import torch
from torch import Tensor

from ._base import Descent, Group, Params, State
from ._checks import check_interval
from ._layout import Layout, check_layout, weight_slices
from ._models import Hyperparameter, add_scaled_, as_weight, expand
from ._tape import advance, changing, count
from .adam import CYCLED, adaptive_step_, decay_of


class ScheduleFree(Descent):
    r"""Schedule-Free AdamW or SGD: gradients near a running average of the iterates.

    .. math::
        y_t &= (1 - \beta_1) z_t + \beta_1 x_t, \qquad g_t = \nabla L(y_t), \\
        z_{t+1} &= z_t - \gamma_t \left( \frac{g_t}{\sqrt{\hat v_t} + \epsilon}
                   + \lambda y_t \right), \\
        x_{t+1} &= (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}, \qquad
        c_{t+1} = \frac{\gamma_t^2}{\sum_{i \le t} \gamma_i^2}

    with :math:`v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2`,
    :math:`\hat v_t = v_t / (1 - \beta_2^t)` and the learning rate
    :math:`\gamma_t = \eta \min(1, t / T)` for a warm-up of :math:`T` steps. The form of
    SGD has :math:`g_t` in the place of the fraction. The parameters are :math:`y`, where
    the gradient is taken; the model is evaluated at :math:`x`.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`. A leading
        axis of every parameter may count models.

    lr : float or Tensor of shape (n_models,), default=1e-3
        Learning rate :math:`\eta`, not negative. It stays constant; rates of 1 to 10
        times those of AdamW with a schedule, and more for SGD, are usual.

    beta_1 : float or Tensor of shape (n_models,), default=0.9
        Interpolation between the iterate and its average, in [0, 1). 0 takes the
        gradient at the iterate: plain averaging.

    beta_2 : float or Tensor of shape (n_models,), default=0.999
        Decay of the mean of the squared gradient, in [0, 1). Only used when
        ``adaptive`` is True.

    eps : float or Tensor of shape (n_models,), default=1e-8
        :math:`\epsilon`, not negative. Only used when ``adaptive`` is True.

    weight_decay : float or Tensor of shape (n_models,), default=0.0
        Decoupled decay :math:`\lambda` at :math:`y`, not negative.

    warmup : float or Tensor of shape (n_models,), default=0
        Steps :math:`T` over which the learning rate rises to ``lr``, not negative.

    adaptive : bool, default=True
        Whether to divide the gradient by the root of its mean square: the form of AdamW.
        False gives the form of SGD.

    layout : sequence of tuple of int, default=None
        Shapes of the tensors that the last axis of every parameter holds, one after the
        other. Those of one axis are biases and are not decayed. None decays all entries.

    Raises
    ------
    ValueError
        If a hyperparameter is out of its range, or ``layout`` does not fill a parameter.

    See Also
    --------
    AdamW : With a constant rate and no average.

    Notes
    -----
    Algorithm 1 of the paper has :math:`\sqrt{1 - \beta_2^t}` in :math:`\gamma_t`, and
    :math:`v_t` in the place of :math:`\hat v_t`. That is the same step along the gradient,
    but the first iterates then count less in the mean. This is the form of the authors'
    package.

    ``with optimizer.evaluating():`` puts :math:`x` in place of the parameters, and
    :meth:`synchronize` leaves it there. Running statistics of normalization layers belong
    to :math:`y`: estimate them again at :math:`x`.

    References
    ----------
    A. Defazio, X. Yang, H. Mehta, K. Mishchenko, A. Khaled, A. Cutkosky. "The road less
    scheduled." NeurIPS 2024. :arxiv:`2405.15682`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import ScheduleFree
    >>> w = torch.nn.Parameter(torch.tensor([0.0]))
    >>> optimizer = ScheduleFree([w], lr=0.5, adaptive=False)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     w.sum().backward()
    ...     _ = optimizer.step()
    >>> optimizer.evaluation_params()  # the mean of -0.5 and -1
    [tensor([-0.7500])]
    """

    capturable = True

    owns_params = True

    def __init__(
        self,
        params: Params,
        lr: Hyperparameter = 1e-3,
        beta_1: Hyperparameter = 0.9,
        beta_2: Hyperparameter = 0.999,
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        warmup: Hyperparameter = 0,
        *,
        adaptive: bool = True,
        layout: Layout | None = None,
    ) -> None:
        check_interval("lr", lr, 0)
        check_interval("beta_1", beta_1, 0, 1)
        check_interval("beta_2", beta_2, 0, 1)
        check_interval("eps", eps, 0)
        check_interval("weight_decay", weight_decay, 0)
        check_interval("warmup", warmup, 0)
        defaults: dict[str, Any] = {
            "lr": lr,
            "beta_1": beta_1,
            "beta_2": beta_2,
            "eps": eps,
            "weight_decay": weight_decay,
            "warmup": warmup,
            "adaptive": adaptive,
            **CYCLED,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            check_layout(layout, group["params"])
        self.layout = layout

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "layout": self.layout}

    def update(self, p: Tensor, grad: Tensor, state: State, group: Group) -> None:
        """Move the iterate and its average, and ``p`` between them, in place."""
        if "fast" not in state:
            state.update(fast=p.clone(), averaged=p.clone(), weight_sum=0.0)
        count(state, "step")
        fast, averaged = state["fast"], state["averaged"]
        self._decay_(fast, p, state, group)
        if group["adaptive"]:
            adapted_step_(fast, grad, state, group)
        else:
            add_scaled_(fast, grad, changing(_step_size, state, group, p))
        advance(state, "weight_sum", _weight_sum, state, group)
        averaged.lerp_(fast, as_weight(changing(_share_of_step, state, group), p))
        torch.lerp(fast, averaged, as_weight(decay_of(group), p), out=p)

    def _decay_(self, fast: Tensor, p: Tensor, state: State, group: Group) -> None:
        weight_decay = group["weight_decay"]
        if not isinstance(weight_decay, Tensor) and weight_decay == 0:
            return
        scale = changing(_shrinkage, state, group, p)
        if self.layout is None:
            add_scaled_(fast, p, scale)
            return
        for part in weight_slices(self.layout):
            add_scaled_(fast[..., part], p[..., part], scale)

    @property
    def is_synchronized(self) -> bool:
        """Whether the parameters are the averaged weights: before the first step."""
        return self._is_evaluating or not any(
            "averaged" in self.state.get(p, {}) for p in self._params()
        )

    @property
    def loss_at_evaluation_params(self) -> bool:
        """Whether the next loss stands for the model's: it is that of y, near x."""
        return True

    def evaluation_params(self) -> list[Tensor]:
        """Averaged weights, to evaluate the model with.

        Returns
        -------
        params : list of Tensor
            One tensor per parameter, in their order.
        """
        if self._is_evaluating:
            return self._params()
        return [self.state.get(p, {}).get("averaged", p) for p in self._params()]

    def training_params(self) -> list[Tensor]:
        """Weights to go on from: the averaged ones."""
        return self.evaluation_params()

    @torch.no_grad()
    def resume_params(self) -> None:
        """Set the parameters to where the next gradient is taken."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state.get(p, {})
                if "fast" in state:
                    beta_1 = as_weight(decay_of(group), p)
                    p.copy_(state["fast"]).lerp_(state["averaged"], beta_1)

    def reset_to_params(self) -> None:
        """Continue training from parameters that you have written to.

        The average restarts; the mean squares and the count of steps stay.
        """
        for p in self._params():
            for name in ("fast", "averaged", "weight_sum"):
                self.state.get(p, {}).pop(name, None)


def ramp(step: int, warmup: Hyperparameter) -> Any:
    """Return the share of the learning rate that a step of the warm-up takes."""
    if isinstance(warmup, Tensor):
        return (step / warmup).clamp(max=1.0)  # 1 without a warm-up: x / 0 is infinite
    return min(1.0, step / warmup) if warmup else 1.0


def share(weight: Any, total: Any) -> Any:
    """Return ``weight / total``, where both may be zero."""
    if isinstance(total, Tensor):
        return weight / total.clamp_min(torch.finfo(total.dtype).tiny)
    return weight / total if total else 1.0


def _rate(state: State, group: Group) -> Any:
    return group["lr"] * ramp(state["step"], group["warmup"])


def _step_size(state: State, group: Group, p: Tensor) -> Any:
    return -expand(_rate(state, group), p)


def _shrinkage(state: State, group: Group, p: Tensor) -> Any:
    return -expand(_rate(state, group) * group["weight_decay"], p)


def _weight_sum(state: State, group: Group) -> Any:
    lr = _rate(state, group)
    return state["weight_sum"] + lr * lr


def _share_of_step(state: State, group: Group) -> Any:
    lr = _rate(state, group)
    return share(lr * lr, state["weight_sum"])


def _correction(state: State, group: Group, p: Tensor) -> Any:
    return (1 - expand(group["beta_2"], p) ** state["step"]) ** 0.5


def _corrected_rate(state: State, group: Group, p: Tensor) -> Any:
    return _correction(state, group, p) * expand(_rate(state, group), p)


def _corrected_eps(state: State, group: Group, p: Tensor) -> Any:
    return _correction(state, group, p) * expand(group["eps"], p)


def adapted_step_(w: Tensor, grad: Tensor, state: State, group: Group) -> None:
    """Subtract the rate times the gradient over the root of its mean square, in place."""
    if "mean_sq" not in state:
        state["mean_sq"] = torch.zeros_like(grad)
    beta_2 = expand(group["beta_2"], grad)
    # Adam's step without momentum, whose mean is the gradient, also where it is written
    moments = {"mean": grad, "mean_sq": state["mean_sq"]}
    lr = changing(_corrected_rate, state, group, w)
    eps = changing(_corrected_eps, state, group, w)
    adaptive_step_(w, grad, moments, lr, 0.0, beta_2, eps)
