"""Momentum-SAM: sharpness-aware minimization with one gradient a step."""

import functools
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._base import (
    Closure,
    Descent,
    LightOptimizer,
    Params,
    State,
    Wrapper,
    evaluate,
    light_step,
)
from ._checks import check_interval
from ._models import Hyperparameter, global_norm, set_direction_
from .sgd import SGD

# the base optimizer's momentum by its name in the state, and whether it points downhill
MOMENTA = {"velocity": 1, "mean": -1, "momentum_buffer": -1, "exp_avg": -1}


def is_zero(rho: Hyperparameter) -> bool:
    """Return whether a radius is zero for all models, without looking into a tensor."""
    return not isinstance(rho, Tensor) and rho == 0


@functools.cache
def smallest_norm(dtype: torch.dtype) -> float:
    """Return the norm below which squares underflow."""
    return float(torch.finfo(dtype).tiny ** 0.5)


class MSAM(Wrapper):
    r"""Sharpness-aware minimization along the momentum, with one gradient a step.

    The parameters are kept perturbed along the momentum :math:`v` of the base optimizer.
    From the weights :math:`w`

    .. math::
        \tilde w = w - \rho\, v / \|v\|_2, \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(\tilde w))

    after which :math:`\tilde w` is computed from the new :math:`w` and :math:`v`. With
    SGD :math:`v \leftarrow \mu v + g` is its velocity, with adaptive methods the mean
    of the gradient. The norm is taken over all parameters of all groups (and per model,
    if parameters hold many).

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`.

    base_optimizer : callable, default=SGD
        Class of the optimizer that takes the step, from this package or from
        :mod:`torch.optim`, or any function that takes the parameters and ``**base`` and
        returns an optimizer. It must keep a momentum.

    rho : float or Tensor of shape (n_models,), default=0.3
        Length of the perturbation, in the Euclidean norm over all parameters; larger
        than the ``rho`` of :class:`SAM` for the same effect. 0 gives the base optimizer,
        bit for bit. A group may have its own.

    model_ndim : int, default=0
        Number of leading axes of every parameter that count models: 0 for one model, 1
        for parameters of shape ``(n_models, ...)``.

    **base
        Arguments of ``base_optimizer``.

    Attributes
    ----------
    base_optimizer : torch.optim.Optimizer
        The optimizer that takes the step. It shares ``param_groups`` and ``state`` with
        this one.

    Raises
    ------
    ValueError
        If ``rho`` is negative or NaN. If ``base_optimizer`` has no momentum: on
        construction if it sets the parameters from weights of its own, otherwise in the
        first step.
    TypeError
        If ``base_optimizer`` cannot be called.

    See Also
    --------
    SAM : Along the gradient, with two gradients a step.

    Notes
    -----
    The model is evaluated at :math:`w`: ``with optimizer.evaluating():`` puts it in the
    place of the parameters, and :meth:`synchronize` leaves it there. The loss that
    ``step`` returns, penalties in it and running statistics of normalization layers are
    those of :math:`\tilde w`; decoupled weight decay of the base optimizer is that of
    :math:`w`. Over :class:`SGD`, whose velocity holds the learning rate, :math:`v` weighs
    gradients by their rates.

    References
    ----------
    M. Becker, F. Altrock, B. Risse. "Momentum-SAM: Sharpness aware minimization without
    computational overhead." 2024. :arxiv:`2401.12033`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import MSAM
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = MSAM([w], torch.optim.SGD, rho=0.5, lr=0.1, momentum=0.9)
    >>> (w**2 / 2).sum().backward()
    >>> _ = optimizer.step()
    >>> [round(p.item(), 3) for p in (w, *optimizer.evaluation_params())]
    [0.4, 0.9]
    """

    capturable = True

    owns_params = True

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        rho: Hyperparameter = 0.3,
        model_ndim: int = 0,
        **base: Any,
    ) -> None:
        check_interval("rho", rho, 0)
        super().__init__(params, base_optimizer, base, {"rho": rho})
        self.refuse_owner("keeps the parameters perturbed between the steps")
        self.refuse_closure_of_its_own()
        self.model_ndim = model_ndim

    @property
    def state_names(self) -> Collection[str]:
        """Names of this optimizer's own tensors in the state of a parameter."""
        return ("start",)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "model_ndim": self.model_ndim}

    @light_step
    def step(self, closure: Closure | None = None) -> Any:
        """Update the weights once, and perturb the parameters.

        Parameters
        ----------
        closure : callable, default=None
            Clears the gradients, computes the loss, calls backward and returns the
            loss. Without it the gradients are taken as they are.

        Returns
        -------
        loss : object
            What ``closure`` returned: the loss at the perturbed weights. None without
            one.
        """
        loss = None if closure is None else evaluate(closure)
        starts = {
            p: state["start"]
            for p in self._params()
            if "start" in (state := self.state.get(p, {}))
        }
        if isinstance(self.base_optimizer, Descent):
            self._step_from(starts, self.base_optimizer)
        else:
            self._refuse_sparse()  # the momentum of torch's SGD would be sparse too
            # by copy: w + e - e is not w in floating point
            for p, w in starts.items():
                p.copy_(w)
            self.base_optimizer.step()
            for p, w in starts.items():
                w.copy_(p)
        self._perturb()
        return loss

    def _step_from(self, starts: dict[Tensor, Tensor], base: Descent) -> None:
        """Let the base optimizer update the weights where they are: no copies."""
        base.targets = starts
        try:
            base.step()
        finally:
            del base.targets

    def _perturb(self) -> None:
        """Set the parameters to the perturbed weights, given a momentum."""
        if all(is_zero(group["rho"]) for group in self.param_groups):
            self._write(self._start())
            self._forget_start()
            return
        active: list[tuple[Tensor, Hyperparameter, State]] = []
        momenta: list[Tensor] = []
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state.get(p, {})
                if state or p.grad is not None:
                    momentum, sign = self._momentum(state)
                    momenta.append(momentum)
                    active.append((p, sign * group["rho"], state))
        if not active:
            return
        norm = global_norm(momenta, self.model_ndim)
        # below this the squares underflow: the norm is rounding, the momentum zero
        norm.clamp_min_(smallest_norm(norm.dtype))
        for (p, length, state), momentum in zip(active, momenta, strict=True):
            if "start" not in state:
                state["start"] = p.clone()
            own_norm = norm if len(active) == 1 else norm.to(p.device)
            set_direction_(p, state["start"], momentum, own_norm, length)

    def _momentum(self, state: State) -> tuple[Tensor, int]:
        for name, sign in MOMENTA.items():
            momentum = state.get(name)
            if momentum is not None:
                return momentum, sign
        base = type(self.base_optimizer).__name__
        raise ValueError(
            f"base_optimizer must keep a momentum for MSAM, got {base} with a state of "
            f"{sorted(state)}. Set its momentum, or choose another base_optimizer."
        )

    def _forget_start(self) -> None:
        for p in self._params():
            if p in self.state:
                self.state[p].pop("start", None)

    @property
    def is_synchronized(self) -> bool:
        """Whether the parameters are not perturbed."""
        if self._is_evaluating:
            return True
        is_perturbed = any("start" in self.state.get(p, {}) for p in self._params())
        return super().is_synchronized and not is_perturbed

    @torch.no_grad()
    def evaluation_params(self) -> list[Tensor]:
        """Weights without the perturbation, as the base optimizer evaluates them.

        Returns
        -------
        params : list of Tensor
            One tensor per parameter, in their order.
        """
        if self._is_evaluating:
            return self._params()
        weights = self._start()
        base = self.base_optimizer
        if not isinstance(base, LightOptimizer) or base.is_synchronized:
            return weights
        # slow weights are computed from the parameters
        params = self._params()
        perturbed = [p.clone() for p in params]
        for p, w in zip(params, weights, strict=True):
            p.copy_(w)
        evaluated = [
            w.clone() if w is p else w
            for p, w in zip(params, base.evaluation_params(), strict=True)
        ]
        for p, w in zip(params, perturbed, strict=True):
            p.copy_(w)
        return evaluated

    def _start(self) -> list[Tensor]:
        return [self.state.get(p, {}).get("start", p) for p in self._params()]

    def training_params(self) -> list[Tensor]:
        """Weights to go on from: those without the perturbation."""
        return self._start()

    @torch.no_grad()
    def resume_params(self) -> None:
        """Perturb parameters that are the weights, if they were perturbed."""
        super().resume_params()
        if any("start" in self.state.get(p, {}) for p in self._params()):
            self._perturb()

    def reset_to_params(self) -> None:
        """Take parameters that were written to from outside for the weights."""
        self._forget_start()
        super().reset_to_params()
