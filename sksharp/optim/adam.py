"""Adam, in scikit-learn's form."""

import functools

import torch
from torch import Tensor

from ._base import Descent, Group, Params, State
from ._checks import check_interval
from ._models import PLAIN_TENSORS, Hyperparameter, as_weight, expand
from ._tape import changing, count, is_captured

# what a scheduler that cycles the momentum sets in the place of beta_1
CYCLED = {"momentum": None}


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

    capturable = True

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
        defaults = {"lr": lr, "beta_1": beta_1, "beta_2": beta_2, "eps": eps}
        super().__init__(params, {**defaults, **CYCLED})

    def update(self, p: Tensor, grad: Tensor, state: State, group: Group) -> None:
        """Move ``p`` in place by one step of adaptive moments."""
        beta_1, beta_2 = expand(decay_of(group), p), expand(group["beta_2"], p)
        count_step(state, p)
        lr = changing(corrected_rate, state, group, p)
        adaptive_step_(p, grad, state, lr, beta_1, beta_2, expand(group["eps"], p))


def corrected_rate(state: State, group: Group, p: Tensor) -> Hyperparameter:
    """Return the rate of the step that was counted, with both bias corrections."""
    beta_1, beta_2 = expand(decay_of(group), p), expand(group["beta_2"], p)
    t = state["step"]
    lr: Hyperparameter = expand(group["lr"], p) * (
        (1 - beta_2**t) ** 0.5 / (1 - beta_1**t)
    )
    return lr


def decay_of(group: Group) -> Hyperparameter:
    """Return the decay of the mean gradient: a scheduler's momentum, else ``beta_1``."""
    momentum: Hyperparameter | None = group.get("momentum")
    beta_1: Hyperparameter = group["beta_1"]
    return beta_1 if momentum is None else momentum


def count_step(state: State, p: Tensor) -> None:
    """Count the step that begins, and make the moments at the first."""
    if "mean" not in state:
        state.update(step=0, mean=torch.zeros_like(p), mean_sq=torch.zeros_like(p))
    count(state, "step")


def update_moments(
    grad: Tensor, state: State, beta_1: Hyperparameter, beta_2: Hyperparameter
) -> tuple[Tensor, Tensor]:
    """Update the means of the gradient and of its square."""
    mean = state["mean"].lerp_(grad, as_weight(1 - beta_1, grad))
    return mean, update_mean_sq(grad, state["mean_sq"], beta_2)


def update_mean_sq(grad: Tensor, mean_sq: Tensor, beta_2: Hyperparameter) -> Tensor:
    """Update the mean of the squared gradient."""
    mean_sq.mul_(beta_2)
    if isinstance(beta_2, Tensor):
        return mean_sq.addcmul_(grad.square(), 1 - beta_2)
    return mean_sq.addcmul_(grad, grad, value=1 - beta_2)


def adaptive_step_(
    p: Tensor,
    grad: Tensor,
    state: State,
    lr: Hyperparameter,
    beta_1: Hyperparameter,
    beta_2: Hyperparameter,
    eps: Hyperparameter,
) -> None:
    """Update the moments and subtract ``lr * mean / (sqrt(mean_sq) + eps)``, in place."""
    mean, mean_sq = state["mean"], state["mean_sq"]
    differs_by_model = (
        (isinstance(lr, Tensor) and not _is_rate_of_kernel(lr, p))
        or isinstance(beta_1, Tensor)
        or isinstance(beta_2, Tensor)
        or isinstance(eps, Tensor)
    )
    if not differs_by_model and _has_kernel(p, grad, mean, mean_sq):
        torch._fused_adam_(
            [p],
            [grad],
            [mean],
            [mean_sq],
            [],
            [_bias_free_step(p.device)],
            lr=lr,  # type: ignore[arg-type]
            beta1=beta_1,  # type: ignore[arg-type]
            beta2=beta_2,  # type: ignore[arg-type]
            weight_decay=0.0,
            eps=eps,  # type: ignore[arg-type]
            amsgrad=False,
            maximize=False,
        )
        return
    mean, mean_sq = update_moments(grad, state, beta_1, beta_2)
    denominator = mean_sq.sqrt().add_(eps)
    if isinstance(lr, Tensor):
        # in the order of the kernel, which may overflow in the product
        p.addcdiv_(mean * lr, denominator, value=-1)
    else:
        p.addcdiv_(mean, denominator, value=-lr)


def _is_rate_of_kernel(lr: Tensor, p: Tensor) -> bool:
    """Return whether the fused kernel takes a tensor for the rate, as it took a number.

    That is in a capture alone, and on CUDA in single precision. The rates of users that
    are tensors differ by model, or are rounded as those that do.
    """
    is_exact = lr.dtype == p.dtype and (p.is_cpu or p.dtype == torch.float32)
    return is_exact and not lr.ndim and is_captured()


def _has_kernel(p: Tensor, grad: Tensor, mean: Tensor, mean_sq: Tensor) -> bool:
    """Return whether the fused kernel is right for tensors.

    It runs through the memory of all of them side by side, whatever their strides, and
    is not for subclasses. A module that was converted between two steps has moments of
    another dtype.
    """
    return (
        type(p) in PLAIN_TENSORS
        and (p.is_cpu or p.is_cuda)
        and p.dtype == grad.dtype == mean.dtype == mean_sq.dtype
        and p.is_contiguous()
        and grad.is_contiguous()
        and mean.is_contiguous()
        and mean_sq.is_contiguous()
    )


@functools.cache
def _bias_free_step(device: torch.device) -> Tensor:
    """Return a step count so high that the kernel's bias corrections are 1.

    The kernel corrects the variance before it adds epsilon; the correction is in ``lr``.
    """
    return torch.tensor(1e30, device=device)
