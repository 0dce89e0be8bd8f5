"""Efficient sharpness-aware minimization: the second gradient from some rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._ascent import Combination, GradientPerturbation
from ._base import Params
from ._models import Hyperparameter
from .sgd import SGD
from .sharpness_aware import SharpnessAware


class RowClosure(Protocol):
    """What ESAM needs of a minibatch."""

    @property
    def sample_weight(self) -> Tensor | None:
        """Weights of the rows, of shape (n_samples,) or (n_models, n_samples)."""

    def backward(self) -> Tensor:
        """Write the gradient of the mean loss of all rows and return their losses."""

    def losses(self) -> Tensor:
        """Return the losses of all rows, of shape (*model_shape, n_samples)."""

    def backward_part(self, rows: Tensor) -> None:
        """Write the gradient of the mean loss of some rows.

        At the weights of the last call of ``losses``, whose passes it may go on from.

        Parameters
        ----------
        rows : Tensor of shape (*model_shape, n_rows)
            Their indices in the minibatch.
        """

    def backward_weighted(self, sample_weight: Tensor) -> None:
        """Write the gradient of the mean loss of all rows with other weights.

        At the weights of the last call of ``losses``, as ``backward_part``.
        """


class _Autograd:
    """The closure of a user, which returns the losses of rows."""

    sample_weight: Tensor | None = None

    def __init__(self, closure: Callable[..., Any], optimizer: ESAM) -> None:
        self.closure, self.optimizer = closure, optimizer

    def backward(self) -> Tensor:
        return self._backward()

    def losses(self) -> Tensor:
        return self._evaluate()

    def backward_part(self, rows: Tensor) -> None:
        self._backward(rows)

    def backward_weighted(self, sample_weight: Tensor) -> None:
        raise NotImplementedError  # rows without weights are selected by their indices

    def _backward(self, *rows: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        with torch.enable_grad():
            losses = self._evaluate(*rows)
            torch.autograd.backward(losses.mean(-1).sum())
        return losses.detach()

    def _evaluate(self, *rows: Tensor) -> Tensor:
        try:
            losses = self.closure(*rows)
        except TypeError as error:
            if rows and not _takes_one(self.closure):
                raise TypeError(
                    "The closure of ESAM must take the indices of rows and return their "
                    "losses, or without them those of all, as closure(rows=slice(None)); "
                    f"{error}. Closures that go through Lightning take none: use SAM."
                ) from error
            raise
        if not (isinstance(losses, Tensor) and losses.ndim):
            raise TypeError(
                "The closure of ESAM must return the loss of every row as a tensor, and "
                f"leave clearing the gradients and backward to ESAM, got {losses!r}. Pass "
                "reduction='none' to the loss, or use SAM."
            )
        ndim = self.optimizer.model_ndim + 1
        if losses.ndim != ndim:
            raise ValueError(
                "The closure of ESAM must return one loss for every row, a tensor with "
                f"{ndim} axes for model_ndim={ndim - 1}, got one of shape "
                f"{tuple(losses.shape)}. Reduce the axes of the outputs, for instance by "
                ".mean(-1)."
            )
        return losses


class ESAM(SharpnessAware):
    r"""Efficient SAM: take the second gradient from the rows whose loss rose most.

    With the losses :math:`\ell_i` of the :math:`B` rows of the minibatch, SAM's
    perturbation :math:`\epsilon`, and the set :math:`S` of the
    :math:`\max(1, \mathrm{round}(\gamma B))` rows with the largest
    :math:`\ell_i(w + \epsilon) - \ell_i(w)`,

    .. math::
        w \leftarrow \mathrm{base}\left(w,
            \frac{1}{|S|} \sum_{i \in S} \nabla \ell_i(w + \epsilon)\right)

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups.

    base_optimizer : callable, default=SGD
        Makes the optimizer that takes the descent step.

    rho : float or Tensor of shape (n_models,), default=0.05
        Radius of the neighborhood, in the Euclidean norm over all parameters. 0 gives
        the base optimizer. No entry of a tensor may be 0: that model would need all
        rows, and all models select the same number.

    fraction : float, default=0.5
        Share :math:`\gamma` of the rows whose second gradient is taken, in (0, 1]. 1
        gives SAM, bit for bit. The same for all models.

    **kwargs
        ``interval``, ``start``, ``max_grad_norm``, ``model_ndim`` and ``replay`` of
        :class:`SharpnessAware`, and the arguments of ``base_optimizer``.

    Raises
    ------
    ValueError
        If ``rho`` is negative, or ``fraction`` outside (0, 1]. If a closure returns
        losses with an axis beside those of the models and the rows.

    See Also
    --------
    SAM : With ``fraction=1``.
    SharpnessAware : Arguments, attributes and errors that all of these share.

    Notes
    -----
    ``step(closure)`` needs the losses of the rows: ``closure()`` returns those of the
    whole minibatch and ``closure(rows)`` those of the rows with the indices ``rows``, of
    shape (n_rows,) or, for many models, (n_models, n_rows). It neither clears the
    gradients nor calls backward; the optimizer does. ``step`` returns the mean of the
    first losses.

    This is the data selection of the paper. Its other half, leaving whole tensors out of
    the perturbation at random, is left out: of a network with a handful of tensors it
    often leaves out all. A step costs a gradient, an evaluation of all rows, and a
    gradient of a part of them: for small networks hardly less than SAM's two gradients.

    The selected rows are other inputs to dropout and batch normalization than the whole
    minibatch: only the evaluation of all rows replays the first one.

    References
    ----------
    J. Du et al. "Efficient sharpness-aware minimization for improved training of neural
    networks." ICLR 2022. :arxiv:`2110.03141`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import ESAM
    >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    >>> w = torch.nn.Parameter(torch.tensor(1.0))
    >>> optimizer = ESAM([w], torch.optim.SGD, rho=0.5, fraction=0.25, lr=0.01)
    >>> def closure(rows=slice(None)):
    ...     return (x[rows] * w) ** 2 / 2
    >>> round(optimizer.step(closure).item(), 3)
    3.75
    >>> round(w.item(), 3)  # from the last row alone: 1 - 0.01 * 16 * (1 + 0.5)
    0.76
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.05,
        fraction: float = 0.5,
        **kwargs: Any,
    ) -> None:
        self.fraction = _check_fraction(fraction)
        super().__init__(
            params,
            base_optimizer,
            perturbation=GradientPerturbation(rho),
            combination=Combination(),
            **kwargs,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "fraction": self.fraction}

    def evaluate_start(self, closure: Any) -> Any:
        """Take the gradient of all rows and return the mean of their losses."""
        self._before = self._rows_of(closure).backward()
        return self._before.mean(-1)

    def evaluate_perturbed(self, closure: Any) -> None:
        """Take the gradient of the rows whose loss rose most."""
        rows = self._rows_of(closure)
        n_samples = self._before.shape[-1]
        n_selected = max(1, round(self.fraction * n_samples))
        if self.is_off or self.fraction == 1:
            rows.backward()
        elif rows.sample_weight is not None:
            rise, weights = self._rise(rows), rows.sample_weight
            rows.backward_weighted(select_weights(rise, weights, self.fraction))
        elif n_selected == n_samples:
            rows.backward()
        else:
            rise = self._rise(rows)
            # by index, not by a threshold, which ties would make select none or all
            _, chosen = rise.topk(n_selected, dim=-1, sorted=False)
            rows.backward_part(chosen)

    @property
    def takes_parts_at_once(self) -> bool:
        """Whether a step may evaluate micro-batches at once: rows are selected of each."""
        return False

    def _rise(self, rows: RowClosure) -> Tensor:
        rise = rows.losses() - self._before
        return -rise if self.param_groups[0].get("maximize") else rise

    def _rows_of(self, closure: Any) -> RowClosure:
        # isinstance of a protocol takes as long as the gradient of a small network
        if hasattr(closure, "backward_weighted"):
            rows: RowClosure = closure
            return rows
        return _Autograd(closure, self)


def select_weights(rise: Tensor, weights: Tensor, fraction: float) -> Tensor:
    """Return the weights of a part of the rows, those whose loss rose most.

    A row of weight 2 counts as two rows, and of the last one as much is taken as is due.

    Parameters
    ----------
    rise : Tensor of shape (*model_shape, n_samples)
        By how much the losses rose.

    weights : Tensor of shape (n_samples,) or (*model_shape, n_samples)
        Weights of the rows, not negative.

    fraction : float
        Part of the weight to select.

    Returns
    -------
    selected : Tensor of shape (*model_shape, n_samples)
        At most ``weights``, zero for rows that are not selected.
    """
    rise = rise.masked_fill(weights == 0, -torch.inf)
    order = rise.argsort(dim=-1, descending=True)
    ranked = weights.expand_as(rise).gather(-1, order)
    due = fraction * ranked.sum(-1, keepdim=True)
    # a whole number of rows, and one at least, whatever the scale of the weights
    at_least = torch.maximum(due, ranked[..., :1].clamp(max=1))
    due = torch.where(due >= 1, due.round(), at_least)
    left = due - (ranked.cumsum(-1) - ranked)
    selected = torch.minimum(left.clamp(min=0), ranked)
    return torch.zeros_like(rise).scatter(-1, order, selected)


def _takes_one(closure: Callable[..., Any]) -> bool:
    try:
        inspect.signature(closure).bind(None)
    except TypeError:
        return False
    except ValueError:  # it has no signature
        pass
    return True


def _check_fraction(fraction: Any) -> float:
    if isinstance(fraction, Tensor):
        raise TypeError(
            "fraction must be a number, the same for all models, whose rows are counted "
            f"at once, got fraction={fraction!r}."
        )
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be > 0 and <= 1, got fraction={fraction}.")
    return float(fraction)
