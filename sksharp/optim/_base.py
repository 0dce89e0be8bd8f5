"""What optimizers are made of: a descent, and wrappers around one."""

from __future__ import annotations

import contextlib
import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer, optimizer

from ._checks import (
    check_base,
    refuse_missing_closure,
    refuse_owner,
    refuse_shared_name,
)
from ._replay import Replay

Closure: TypeAlias = Callable[[], Any]
Params: TypeAlias = Any  # torch's ParamsT: parameters, named parameters or groups
Group: TypeAlias = dict[str, Any]
State: TypeAlias = dict[str, Any]

NO_REPLAY = contextlib.nullcontext()


def evaluate(closure: Closure) -> Any:
    """Return what a closure returns, with gradients on."""
    with torch.enable_grad():
        return closure()


def light_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """Run a ``step`` without gradients, and its hooks and profiling only if there are any.

    torch wraps every ``step`` in a profiling record, whether anybody profiles or not.
    """
    hooked_step = Optimizer.profile_hook_step(step)

    @functools.wraps(step)
    def wrapper(self: Optimizer, closure: Closure | None = None) -> Any:
        is_watched = (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or optimizer._global_optimizer_pre_hooks
            or optimizer._global_optimizer_post_hooks
            or torch._C._autograd._profiler_enabled()
        )
        run = hooked_step if is_watched else step
        if not torch.is_grad_enabled():  # inside another step
            return run(self, closure)
        with torch.no_grad():
            return run(self, closure)

    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper


class LightOptimizer(Optimizer):
    """A torch optimizer that is light to make and to step.

    Making it does not import ``torch._dynamo``.
    """

    # torch shields these four from torch.compile with a decorator whose first call
    # imports torch._dynamo, 1-2 s in every process that makes an optimizer. A closure
    # runs Python anyway, so nothing here is ever compiled.
    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)

    # whether a step computes the parameters from weights of the optimizer's own, so that
    # what is written to them between two steps is lost
    owns_params = False

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def is_synchronized(self) -> bool:
        """Whether the parameters are the weights to evaluate the model with."""
        return True

    def evaluation_params(self) -> list[Tensor]:
        """Weights to evaluate the model with, in the order of the parameters.

        Returns
        -------
        params : list of Tensor
            The parameters themselves, unless the method keeps other weights for
            prediction than for training.
        """
        return self._params()

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Context in which the parameters are the weights to evaluate the model with.

        On leaving they are as before, and training goes on as if nothing had happened.
        """
        params = self._params()
        trained = [p.detach().clone() for p in params]
        self._write(self.evaluation_params())
        try:
            yield
        finally:
            self._write(trained)

    @torch.no_grad()
    def _write(self, weights: list[Tensor]) -> None:
        for p, w in zip(self._params(), weights, strict=True):
            if p is not w:
                p.copy_(w)

    def synchronize(self) -> None:
        """Set the parameters to the weights to evaluate the model with, in place.

        Training that goes on begins from them.
        """
        self._write(self.evaluation_params())
        self.adopt_params()

    def adopt_params(self) -> None:
        """Take parameters that were written to from outside for the weights of now.

        Moments and velocities stay; slow weights start anew from the parameters.
        """

    @property
    def sees_model(self) -> bool:
        """Whether the loss of the next step is to be taken for that of the model."""
        return self.is_synchronized

    def iterate_params(self) -> list[Tensor]:
        """Weights that training goes on from, given the state.

        Returns
        -------
        params : list of Tensor
            One tensor per parameter, in their order: the parameters, unless these
            follow from other weights and the state.
        """
        return self._params()

    def resume_params(self) -> None:
        """Set parameters that hold :meth:`iterate_params` to what they were in training.

        To be called after ``load_state_dict``.
        """


class Descent(LightOptimizer):
    """Element-wise optimizer: a subclass writes the update of one parameter."""

    # weights that a step updates in the place of parameters, if these are elsewhere
    targets: Mapping[Tensor, Tensor] = {}

    @light_step
    def step(self, closure: Closure | None = None) -> Any:
        """Update the parameters once.

        Parameters
        ----------
        closure : callable, default=None
            Clears the gradients, computes the loss, calls backward and returns the
            loss. Without it the gradients are taken as they are.

        Returns
        -------
        loss : object
            What ``closure`` returned, or None without one.
        """
        loss = None if closure is None else evaluate(closure)
        targets = self.targets
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    w = targets.get(p, p) if targets else p
                    self.update(w, p.grad, self.state[p], group)
        return loss

    @abstractmethod
    def update(self, p: Tensor, grad: Tensor, state: State, group: Group) -> None:
        """Move ``p`` in place, given its gradient, its state and its group."""


class Wrapper(LightOptimizer):
    """Optimizer around another, whose groups and state are the base optimizer's own.

    Both hold the same objects, so that learning-rate schedulers, ``state_dict`` and
    ``add_param_group`` reach the base optimizer through the wrapper.
    """

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer],
        base: dict[str, Any],
        hyperparameters: dict[str, Any],
    ) -> None:
        check_base(base_optimizer)
        self.base_optimizer = base_optimizer(params, **base)
        for name, value in hyperparameters.items():
            refuse_shared_name(self, self.base_optimizer, name)
            for group in self.base_optimizer.param_groups:
                group.setdefault(name, value)
        super().__init__(
            self.base_optimizer.param_groups,
            {**self.base_optimizer.defaults, **hyperparameters},
        )
        self.state = self.base_optimizer.state  # some bases are made with one
        self._share()

    def _share(self) -> None:
        self.base_optimizer.__setstate__(
            {"state": self.state, "param_groups": self.param_groups}
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "base_optimizer": self.base_optimizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # load_state_dict ends here, with new group and state objects
        super().__setstate__(state)
        self._share()

    @property
    def is_synchronized(self) -> bool:
        """Whether the parameters are the weights to evaluate the model with."""
        base = self.base_optimizer
        return base.is_synchronized if isinstance(base, LightOptimizer) else True

    def evaluation_params(self) -> list[Tensor]:
        """Weights to evaluate the model with: the base optimizer's.

        Returns
        -------
        params : list of Tensor
            One tensor per parameter, in their order.
        """
        if isinstance(self.base_optimizer, LightOptimizer):
            return self.base_optimizer.evaluation_params()
        return super().evaluation_params()

    def adopt_params(self) -> None:
        """Take parameters that were written to from outside for the weights of now."""
        if isinstance(self.base_optimizer, LightOptimizer):
            self.base_optimizer.adopt_params()

    @property
    def sees_model(self) -> bool:
        """Whether the loss of the next step is to be taken for that of the model."""
        base = self.base_optimizer
        return base.sees_model if isinstance(base, LightOptimizer) else True

    def iterate_params(self) -> list[Tensor]:
        """Weights that training goes on from, given the state: the base optimizer's."""
        if isinstance(self.base_optimizer, LightOptimizer):
            return self.base_optimizer.iterate_params()
        return super().iterate_params()

    def resume_params(self) -> None:
        """Set parameters that hold :meth:`iterate_params` to what they were in training."""
        if isinstance(self.base_optimizer, LightOptimizer):
            self.base_optimizer.resume_params()

    @property
    def base_owns_params(self) -> bool:
        """Whether the base optimizer computes the parameters from weights of its own."""
        base = self.base_optimizer
        if not isinstance(base, LightOptimizer):
            return False
        return base.owns_params or (isinstance(base, Wrapper) and base.base_owns_params)

    def refuse_owner(self, does: str) -> None:
        """Raise ``ValueError`` if the base optimizer would undo what this one does."""
        if self.base_owns_params:
            refuse_owner(self, self.base_optimizer, does)


def _is_alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device


class Ascent(Wrapper):
    """Two-gradient step: perturb uphill, take the gradient there, go back, descend.

    A subclass writes :meth:`ascend`, and :meth:`descend` where the base optimizer does
    not step with the second gradient as it is.
    """

    keeps_ascent_grads = False

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer],
        base: dict[str, Any],
        hyperparameters: dict[str, Any],
        *,
        model_ndim: int,
        replay: bool,
    ) -> None:
        super().__init__(params, base_optimizer, base, hyperparameters)
        self.model_ndim = model_ndim
        self.replay = replay
        self._buffers: dict[str, dict[Tensor, Tensor]] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._buffers = {}

    def __getstate__(self) -> dict[str, Any]:
        own = {"model_ndim": self.model_ndim, "replay": self.replay}
        return {**super().__getstate__(), **own}

    @light_step
    def step(self, closure: Closure | None = None) -> Any:
        """Update the parameters once, from two evaluations of ``closure``.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes the loss, calls backward and returns the
            loss.

        Returns
        -------
        loss : object
            What ``closure`` returned the first time: the loss at the weights before the
            step, not at the perturbed ones.

        Raises
        ------
        TypeError
            If ``closure`` is missing.

        Notes
        -----
        If ``closure`` raises, the parameters are left as they were before the step.
        """
        if closure is None:
            refuse_missing_closure(self)
        if self.is_off and not self.replay:
            # nobody sees whether the second evaluation takes place
            loss = evaluate(closure)
            self.base_optimizer.step()
            return loss
        second_pass = Replay(self._devices()) if self.replay else NO_REPLAY
        loss = evaluate(closure)
        active = self._with_grads()
        params = [p for _, members in active for p in members]
        start = self._kept("start", params, params)
        grads: list[Tensor] = []
        if self.keeps_ascent_grads:
            ascent_grads = [p.grad for p in params if p.grad is not None]
            grads = self._kept("grads", params, ascent_grads)
        try:
            self.ascend(active)
            with second_pass:
                evaluate(closure)
        finally:
            # by copy: w + e - e is not w in floating point
            for p, w in zip(params, start, strict=True):
                p.copy_(w)
        self.descend(active, grads)
        return loss

    @abstractmethod
    def ascend(self, active: list[tuple[Group, list[Tensor]]]) -> None:
        """Add the perturbation to the parameters that have a gradient, in place."""

    def descend(
        self, active: list[tuple[Group, list[Tensor]]], grads: list[Tensor]
    ) -> None:
        """Step from the start, with the gradients of the second pass in place."""
        self.base_optimizer.step()

    @property
    def is_off(self) -> bool:
        """Whether the perturbation has length zero whatever the gradient."""
        return False

    def _kept(
        self, slot: str, params: list[Tensor], tensors: list[Tensor]
    ) -> list[Tensor]:
        """Return copies of one tensor per parameter, in memory that steps share."""
        buffers = self._buffers.setdefault(slot, {})
        for p, tensor in zip(params, tensors, strict=True):
            buffer = buffers.get(p)
            if buffer is not None and _is_alike(buffer, tensor):
                buffer.copy_(tensor)
            else:  # the first step, or the module was converted or moved since
                buffers[p] = tensor.detach().clone()
        return [buffers[p] for p in params]

    def _with_grads(self) -> list[tuple[Group, list[Tensor]]]:
        return [
            (group, [p for p in group["params"] if p.grad is not None])
            for group in self.param_groups
        ]

    def _devices(self) -> set[torch.device]:
        return {p.device for group in self.param_groups for p in group["params"]}
