"""Lookahead: slow weights behind any optimizer."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from ._base import Closure, Group, Params, Wrapper, each_closure, light_step
from ._checks import check_count, check_interval
from ._models import Hyperparameter, as_weight
from ._tape import advance, changing, count
from .adam import Adam


class Lookahead(Wrapper):
    r"""Slow weights that follow the fast weights of another optimizer.

    After every :math:`k` steps of the base optimizer on the fast weights :math:`w`,

    .. math::
        s \leftarrow s + \alpha (w - s), \qquad w \leftarrow s

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`.

    base_optimizer : callable, default=Adam
        Class of the optimizer of the fast weights, from this package or from
        :mod:`torch.optim`, or any function that takes the parameters and ``**base`` and
        returns an optimizer.

    k : int, default=5
        Steps of the base optimizer between two updates of the slow weights, >= 1.

    alpha : float or Tensor of shape (n_models,), default=0.5
        Share of the way that the slow weights move towards the fast ones, in [0, 1].

    **base
        Arguments of ``base_optimizer``.

    Attributes
    ----------
    base_optimizer : torch.optim.Optimizer
        The optimizer of the fast weights. It shares ``param_groups`` and ``state`` with
        this one.

    Raises
    ------
    ValueError
        If ``k`` is less than 1 or ``alpha`` outside [0, 1], or if ``base_optimizer`` sets
        the parameters from weights of its own.
    TypeError
        If ``base_optimizer`` cannot be called, or ``k`` is no integer.

    See Also
    --------
    Ranger : Lookahead over RAdam.

    Notes
    -----
    The model is evaluated at the slow weights. Training that ends between two updates
    ends with :meth:`synchronize`. The momentum of the base optimizer is kept across
    updates. After weights were written into the parameters, as by ``load_state_dict`` of
    a module, :meth:`reset_to_params` lets the slow ones begin anew from them.

    References
    ----------
    M. R. Zhang, J. Lucas, G. Hinton, J. Ba. "Lookahead optimizer: k steps forward, 1
    step back." NeurIPS 2019. :arxiv:`1907.08610`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import Lookahead
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Lookahead([w], torch.optim.SGD, k=2, alpha=0.5, lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w**2 / 2).sum().backward()
    ...     _ = optimizer.step()
    >>> round(w.item(), 3)  # 1 - 0.5 + 0.5 * 0.9**2
    0.905
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = Adam,
        *,
        k: int = 5,
        alpha: Hyperparameter = 0.5,
        **base: Any,
    ) -> None:
        check_count("k", k, 1)
        check_interval("alpha", alpha, 0, 1, closed=True)
        super().__init__(
            params,
            base_optimizer,
            base,
            {"k": int(k), "alpha": alpha, "steps_since_sync": 0},
        )
        self.refuse_owner("sets the parameters to slow weights")

    @property
    def state_names(self) -> Collection[str]:
        """Names of this optimizer's own tensors in the state of a parameter."""
        return ("slow",)

    @light_step
    def step(self, closure: Closure | None = None) -> Any:
        """Update the fast weights once and, every ``k`` steps, the slow ones.

        Parameters
        ----------
        closure : callable, default=None
            Clears the gradients, computes the loss, calls backward and returns the
            loss. Needed if the base optimizer needs it.

        Returns
        -------
        loss : object
            What the base optimizer's step returned.
        """
        start: dict[Tensor, Tensor] = {}
        lazy: list[Tensor] = []
        for p in self._params():
            if "slow" not in self.state.get(p, {}):
                if is_lazy(p):
                    lazy.append(p)
                else:
                    start[p] = p.clone()
        if lazy and closure is not None:
            closure = each_closure(closure, partial(_then_keep, lazy, start))
        loss = self.base_optimizer.step(closure)
        # after the first step: torch's optimizers take a filled state for their own
        for p, weights in start.items():
            if p.grad is not None:
                self.state[p]["slow"] = weights
        for group in self.param_groups:
            count(group, "steps_since_sync")
            if changing(_is_due, group):
                self._synchronize(group)
        return loss

    @torch.no_grad()
    def synchronize(self) -> None:
        """Update the slow weights now and set the fast ones to them, in place."""
        for group in self.param_groups:
            if group["steps_since_sync"]:
                self._synchronize(group)

    def _synchronize(self, group: dict[str, Any]) -> None:
        advance(group, "steps_since_sync", int)
        for p in group["params"]:
            if "slow" in self.state.get(p, {}):
                # in the current precision: the module may have been converted
                slow = self.state[p]["slow"] = self.state[p]["slow"].to(p)
                p.copy_(slow.lerp_(p, as_weight(group["alpha"], p)))

    def reset_to_params(self) -> None:
        """Continue from parameters that you have written to, as slow weights."""
        for group in self.param_groups:
            group["steps_since_sync"] = 0
            for p in group["params"]:
                self.state.get(p, {}).pop("slow", None)
        super().reset_to_params()

    @property
    def is_synchronized(self) -> bool:
        """Whether the parameters are the slow weights."""
        return self._is_evaluating or not any(
            changing(_is_ahead, group) for group in self.param_groups
        )

    @property
    def loss_at_evaluation_params(self) -> bool:
        """Whether the loss of the next step is that of the slow weights."""
        return self.is_synchronized

    @torch.no_grad()
    def evaluation_params(self) -> list[Tensor]:
        """Weights that :meth:`synchronize` would leave, without changing any.

        Returns
        -------
        params : list of Tensor
            One tensor per parameter, in their order.
        """
        if self._is_evaluating:
            return self._params()
        return [
            self.state[p]["slow"].to(p).lerp(p, as_weight(group["alpha"], p))
            if changing(_is_ahead, group) and "slow" in self.state.get(p, {})
            else p
            for group in self.param_groups
            for p in group["params"]
        ]


def _is_due(group: Group) -> bool:
    is_due: bool = group["steps_since_sync"] >= group["k"]
    return is_due


def _is_ahead(group: Group) -> bool:
    """Return whether the fast weights have moved since they were the slow ones."""
    return bool(group["steps_since_sync"])


def _then_keep(
    lazy: list[Tensor], start: dict[Tensor, Tensor], closure: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a closure that keeps the weights which its first evaluation makes."""

    def evaluate(*rows: Tensor) -> Any:
        result = closure(*rows)
        for p in lazy:
            if p not in start and not is_lazy(p):
                start[p] = p.detach().clone()
        return result

    return evaluate
