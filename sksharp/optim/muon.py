"""Muon: momentum with its matrices made orthogonal."""

import functools
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from ._base import Descent, Group, Params, State
from ._checks import check_interval
from ._layout import Layout, check_layout, joined, slices
from ._models import (
    Hyperparameter,
    add_scaled_,
    as_plain,
    as_weight,
    expand,
    share_as,
)
from ._tape import changing
from .adam import adaptive_step_, count_step
from .adamw import decay_

# of the polynomial that drives singular values to about 1, and how often it is applied
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5

# the root mean square of AdamW's steps, which the steps of a matrix are scaled to
USUAL_STEP = 0.2


class Muon(Descent):
    r"""Orthogonalized momentum for matrices (Newton-Schulz); AdamW for the rest.

    For a hidden weight matrix :math:`W` of :math:`a \times b`

    .. math::
        B \leftarrow \mu B + (1 - \mu) G, \qquad
        W \leftarrow (1 - \eta \lambda) W - 0.2 \eta \sqrt{\max(a, b)}\;
            \mathrm{NS}((1 - \mu) G + \mu B)

    where :math:`\mathrm{NS}` divides by the Frobenius norm and iterates
    :math:`X \leftarrow 3.4445 X - 4.775 X X^\top X + 2.0315 (X X^\top)^2 X` five times:
    the singular vectors stay and all singular values become about 1. The factor 0.2
    gives the step the size of AdamW's, so that both share a learning rate.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`. Matrices
        are orthogonalized; all else takes :class:`AdamW`'s step. Put the matrix of the
        output layer, and embeddings, into a group with ``"use_muon": False``.

    lr : float or Tensor of shape (n_models,), default=1e-3
        Learning rate :math:`\eta`, not negative.

    momentum : float or Tensor of shape (n_models,), default=0.95
        Decay :math:`\mu` of the mean gradient of the matrices, in [0, 1).

    beta_1 : float or Tensor of shape (n_models,), default=0.9
        Decay of the mean of the gradient of the rest, in [0, 1).

    beta_2 : float or Tensor of shape (n_models,), default=0.999
        Decay of the mean of the squared gradient of the rest, in [0, 1).

    eps : float or Tensor of shape (n_models,), default=1e-8
        Added to the root of the mean squared gradient of the rest, not negative.

    weight_decay : float or Tensor of shape (n_models,), default=0.01
        Decoupled decay :math:`\lambda`, not negative. Biases are not decayed.

    use_muon : bool, default=True
        Whether matrices are orthogonalized. A group may have its own.

    model_ndim : int, default=0
        Number of leading axes of every parameter that count models: 0 for one model, 1
        for parameters of shape ``(n_models, ...)``.

    layout : sequence of tuple of int, default=None
        Shapes of the tensors that the last axis of every parameter holds, one after the
        other. The last matrix is the output layer and takes AdamW's step.

    Raises
    ------
    ValueError
        If a hyperparameter is out of its range, or ``layout`` does not fill a parameter.

    See Also
    --------
    AdamW : What the rest is trained by.

    Notes
    -----
    The iteration runs in the precision of the parameters, under autocast too.
    :class:`torch.optim.Muon`, with ``adjust_lr_fn="match_rms_adamw"``, runs it in bfloat16
    and takes matrices only.

    References
    ----------
    K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse, J. Bernstein. "Muon: An
    optimizer for hidden layers in neural networks." 2024.

    J. Liu et al. "Muon is scalable for LLM training." 2025. :arxiv:`2502.16982`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import Muon
    >>> w = torch.nn.Parameter(torch.zeros(1, 4))
    >>> optimizer = Muon([w], lr=0.1)
    >>> w.grad = torch.tensor([[0.0, 0.0, 8.0, 0.0]])
    >>> _ = optimizer.step()  # 0.1 * 0.2 * sqrt(4), times a singular value of about 1
    >>> round(w[0, 2].item(), 3)
    -0.028
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        lr: Hyperparameter = 1e-3,
        momentum: Hyperparameter = 0.95,
        beta_1: Hyperparameter = 0.9,
        beta_2: Hyperparameter = 0.999,
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.01,
        use_muon: bool = True,
        *,
        model_ndim: int = 0,
        layout: Layout | None = None,
    ) -> None:
        check_interval("lr", lr, 0)
        check_interval("momentum", momentum, 0, 1)
        check_interval("beta_1", beta_1, 0, 1)
        check_interval("beta_2", beta_2, 0, 1)
        check_interval("eps", eps, 0)
        check_interval("weight_decay", weight_decay, 0)
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "beta_1": beta_1,
            "beta_2": beta_2,
            "eps": eps,
            "weight_decay": weight_decay,
            "use_muon": use_muon,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            check_layout(layout, group["params"])
        self.model_ndim, self.layout = model_ndim, layout

    def __getstate__(self) -> dict[str, Any]:
        own = {"model_ndim": self.model_ndim, "layout": self.layout}
        return {**super().__getstate__(), **own}

    def update(self, p: Tensor, grad: Tensor, state: State, group: Group) -> None:
        """Move ``p`` in place: its matrices by Muon, the rest by AdamW."""
        count_step(state, p)
        ndim = p.ndim - self.model_ndim
        if self.layout is not None or ndim > 1:
            decay_(p, group, self.layout)
        tensors = (p, grad, state["mean"], state["mean_sq"])
        if self.layout is None:
            if group["use_muon"] and ndim == 2:
                orthogonal_step_(p, grad, state["mean"], group)
            else:
                adam_step_(*tensors, state, group)
            return
        layout = tuple(map(tuple, self.layout))
        matrices, rest = _parts(layout, use_muon=group["use_muon"])
        for part, shape in matrices:
            views = [tensor[..., part].unflatten(-1, shape) for tensor in tensors[:3]]
            orthogonal_step_(views[0], views[1], views[2], group)
        for part in rest:
            w, g, mean, mean_sq = (tensor[..., part] for tensor in tensors)
            adam_step_(w, g, mean, mean_sq, state, group)


@functools.lru_cache  # called in every step
def _parts(
    layout: tuple[tuple[int, ...], ...], *, use_muon: bool
) -> tuple[list[tuple[slice, tuple[int, ...]]], list[slice]]:
    """Return the hidden matrices of a layout with their shapes, and the rest."""
    of_matrices = [i for i, shape in enumerate(layout) if len(shape) == 2]
    hidden = set(of_matrices[:-1]) if use_muon else set()
    parts = slices(layout)
    matrices = [(parts[i], layout[i]) for i in sorted(hidden)]
    return matrices, joined(part for i, part in enumerate(parts) if i not in hidden)


def orthogonal_step_(p: Tensor, grad: Tensor, mean: Tensor, group: Group) -> None:
    """Move matrices, the last two axes of ``p``, along their orthogonal momentum."""
    momentum = as_weight(group["momentum"], p)
    mean.lerp_(grad, 1 - momentum)
    # the rows of a matrix that processes share are made orthogonal together
    direction = orthogonalize(as_plain(grad.lerp(mean, momentum)))
    add_scaled_(p, share_as(direction, p), changing(_step_size, group, p))


def _step_size(group: Group, p: Tensor) -> Any:
    return -expand(group["lr"], p) * (USUAL_STEP * sqrt(max(p.shape[-2:])))


def adam_step_(
    p: Tensor, grad: Tensor, mean: Tensor, mean_sq: Tensor, state: State, group: Group
) -> None:
    """Move ``p`` by the step of :class:`Adam`."""
    beta_1, beta_2 = expand(group["beta_1"], p), expand(group["beta_2"], p)
    lr = changing(_corrected_rate, state, group, p)
    moments = {"mean": mean, "mean_sq": mean_sq}
    adaptive_step_(p, grad, moments, lr, beta_1, beta_2, expand(group["eps"], p))


def _corrected_rate(state: State, group: Group, p: Tensor) -> Any:
    # not that of Adam: the momentum of the group is that of the matrices
    step = state["step"]
    beta_1, beta_2 = expand(group["beta_1"], p), expand(group["beta_2"], p)
    return expand(group["lr"], p) * ((1 - beta_2**step) ** 0.5 / (1 - beta_1**step))


def orthogonalize(matrix: Tensor) -> Tensor:
    """Return matrices with singular values of about 1, by Newton-Schulz iteration.

    Parameters
    ----------
    matrix : Tensor of shape (..., a, b)
        One matrix or several.

    Returns
    -------
    orthogonal : Tensor of shape (..., a, b)
        With the singular vectors of ``matrix``. Zero if it is.
    """
    device = matrix.device.type
    if torch.is_autocast_enabled(
        device
    ):  # around the step; products lose half the digits
        with torch.autocast(device, enabled=False):
            return orthogonalize(matrix)
    is_tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if is_tall else matrix  # the smaller product of the two
    is_half = x.dtype in (torch.float16, torch.bfloat16)
    norm = torch.linalg.vector_norm(
        x, dim=(-2, -1), keepdim=True, dtype=torch.float32 if is_half else None
    )
    norm.clamp_min_(torch.finfo(norm.dtype).tiny ** 0.5)
    x = (x / norm).to(matrix.dtype)
    add_product = torch.addmm if x.ndim == 2 else torch.baddbmm
    a, b, c = COEFFICIENTS
    for _ in range(N_ITERATIONS):
        gram = x @ x.mT
        polynomial = add_product(gram, gram, gram, beta=b, alpha=c)
        x = add_product(x, polynomial, x, beta=a)
    return x.mT if is_tall else x
