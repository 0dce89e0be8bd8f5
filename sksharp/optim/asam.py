"""Adaptive sharpness-aware minimization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ._ascent import Active, AscentContext, Combination, Perturbation
from ._base import Group, Params
from ._checks import check_count, check_interval
from ._models import Hyperparameter, expand
from .sgd import SGD
from .sharpness_aware import SharpnessAware


class AdaptivePerturbation(Perturbation):
    r"""ASAM's perturbation, relative to the size of each weight.

    .. math::
        \epsilon = \rho\, T^2 g / \|T g\|_2

    with :math:`T = |w| + \eta` for weights and :math:`T = 1` for biases. The scales of
    normalization layers, which are vectors, are treated as biases.

    Parameters
    ----------
    rho : float or Tensor of shape (n_models,), default=0.5
        Radius of the neighborhood, of :math:`T^{-1} \epsilon`.

    eta : float or Tensor of shape (n_models,), default=0.01
        Added to the size of the weights.

    n_scaled : int or None, default=None
        Number of leading entries of the last axis of every parameter that are weights.
        None is all of a parameter with two axes or more (besides that of the models),
        which is a matrix of weights, and none of a vector.

    See Also
    --------
    SharpnessAware : The optimizer whose ``perturbation`` it can be.
    ASAM : The optimizer that has it.

    References
    ----------
    J. Kwon, J. Kim, H. Park, I. K. Choi. "ASAM: Adaptive sharpness-aware minimization
    for scale-invariant learning of deep neural networks." ICML 2021.
    :arxiv:`2102.11600`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import AdaptivePerturbation, SharpnessAware
    >>> w = torch.nn.Parameter(torch.tensor([[2.0]]))
    >>> optimizer = SharpnessAware(
    ...     [w], torch.optim.SGD, lr=0.1,
    ...     perturbation=AdaptivePerturbation(rho=0.5, eta=0.0))
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> _ = optimizer.step(closure)
    >>> round(w.item(), 3)  # 2 - 0.1 * (2 + 0.5 * 2)
    1.7
    """

    def __init__(
        self,
        rho: Hyperparameter = 0.5,
        eta: Hyperparameter = 0.01,
        n_scaled: int | None = None,
    ) -> None:
        check_interval("eta", eta, 0)
        if n_scaled is not None:
            check_count("n_scaled", n_scaled, 0)
            n_scaled = int(n_scaled)
        super().__init__(rho, eta=eta, n_scaled=n_scaled)

    def direction(
        self, active: Active, grads: list[Tensor], optimizer: AscentContext
    ) -> tuple[list[Tensor], Tensor]:
        """Return the gradient scaled twice, and the norm of that scaled once."""
        vectors, scaled = [], []
        for (p, group), grad in zip(active, grads, strict=True):
            n_scaled = _n_scaled(p, group, optimizer.model_ndim)
            vector = grad
            if n_scaled:
                # whole vectors: a copy of the biases is cheaper than a view of the rest
                scale = p.abs().add_(expand(group["eta"], p))
                if n_scaled < p.shape[-1]:
                    scale[..., n_scaled:].fill_(1)
                vector = grad * scale
                scaled.append((vector, scale))
            vectors.append(vector)
        norm = optimizer.global_norm(vectors)
        for vector, scale in scaled:
            vector.mul_(scale)
        return vectors, norm


def _n_scaled(p: Tensor, group: Group, model_ndim: int) -> int:
    """Return how many leading entries of the last axis are weights."""
    length: int = p.shape[-1] if p.ndim else 0
    n_scaled: int | None = group["n_scaled"]
    if n_scaled is not None:
        return min(n_scaled, length)
    return length if p.ndim - model_ndim >= 2 else 0


class ASAM(SharpnessAware):
    r"""Adaptive SAM: perturb each weight relative to its size.

    .. math::
        \epsilon = \rho\, T^2 g / \|T g\|_2, \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(w + \epsilon))

    with :math:`T = \mathrm{diag}(|w_i| + \eta)` for the weights of a layer and
    :math:`T = 1` for biases. If layers are rescaled so that the network stays the same
    function, the perturbed networks stay the same function too.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups.

    base_optimizer : callable, default=SGD
        Makes the optimizer that takes the descent step.

    rho : float or Tensor of shape (n_models,), default=0.5
        Radius of the neighborhood, of :math:`T^{-1} \epsilon`: relative to the weights,
        about ten times SAM's. 0 gives the base optimizer.

    eta : float or Tensor of shape (n_models,), default=0.01
        Added to the size of the weights, so that zero weights can be perturbed.

    n_scaled : int or None, default=None
        Number of leading entries of the last axis of every parameter that are weights,
        for modules that keep weights and biases in one vector. None is all of a
        parameter with two axes or more (besides that of the models), and none of a
        vector. A group may have its own number.

    **kwargs
        ``interval``, ``start``, ``max_grad_norm``, ``model_ndim`` and ``replay`` of
        :class:`SharpnessAware`, and the arguments of ``base_optimizer``.

    Raises
    ------
    ValueError
        If ``rho``, ``eta`` or ``n_scaled`` is negative.

    See Also
    --------
    SAM : With :math:`T = 1`.
    SharpnessAware : Arguments, attributes and errors that all of these share.

    Notes
    -----
    Weights differ from biases by their dimension, not by their name. Biases are left
    out of :math:`T`, as by the authors: a bias that begins at zero would otherwise stay
    unperturbed.

    References
    ----------
    J. Kwon, J. Kim, H. Park, I. K. Choi. "ASAM: Adaptive sharpness-aware minimization
    for scale-invariant learning of deep neural networks." ICML 2021.
    :arxiv:`2102.11600`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import ASAM
    >>> w = torch.nn.Parameter(torch.tensor([[2.0]]))
    >>> optimizer = ASAM([w], torch.optim.SGD, rho=0.5, eta=0.0, lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> optimizer.step(closure)
    2.0
    >>> round(w.item(), 3)  # 2 - 0.1 * (2 + 0.5 * 2)
    1.7
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.5,
        eta: Hyperparameter = 0.01,
        n_scaled: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            params,
            base_optimizer,
            perturbation=AdaptivePerturbation(rho, eta, n_scaled),
            combination=Combination(),
            **kwargs,
        )
