"""Base classes of the optimizers: descent methods, and wrappers around them."""

from __future__ import annotations

import contextlib
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer, optimizer

from ._checkpoint import add_own, method_of, put_own, take_own
from ._checks import (
    check_base,
    check_params,
    check_range,
    refuse_closure_of_its_own,
    refuse_complex,
    refuse_owner,
    refuse_shared_name,
    refuse_sparse,
)

Closure: TypeAlias = Callable[[], Any]
Params: TypeAlias = Any  # torch's ParamsT: parameters, named parameters or groups
Group: TypeAlias = dict[str, Any]
State: TypeAlias = dict[str, Any]


def evaluate(closure: Closure) -> Any:
    """Return what a closure returns, with gradients on."""
    # what torch.enable_grad does, without making a context for every evaluation
    before = torch.is_grad_enabled()
    torch._C._set_grad_enabled(True)
    try:
        return closure()
    finally:
        torch._C._set_grad_enabled(before)


def each_closure(closure: Any, change: Callable[[Closure], Closure]) -> Any:
    """Change the closure, or the closures of micro-batches; leave anything else."""
    if callable(closure):
        return change(closure)
    if isinstance(closure, tuple) and len(closure) == 2 and callable(closure[0]):
        rest = closure[1]
        return (change(closure[0]), change(rest) if callable(rest) else rest)
    if isinstance(closure, Sequence):
        return [each_closure(part, change) for part in closure]
    return closure


def light_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """Run a ``step`` without gradients, and its hooks and profiling only if there are any.

    torch wraps every ``step`` in a profiling record, whether anybody profiles or not.
    """
    hooked_step = Optimizer.profile_hook_step(step)

    @functools.wraps(step)
    def wrapper(self: Optimizer, closure: Closure | None = None) -> Any:
        has_observers = (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or optimizer._global_optimizer_pre_hooks
            or optimizer._global_optimizer_post_hooks
            or torch._C._autograd._profiler_enabled()
        )
        run = hooked_step if has_observers else step
        if not torch.is_grad_enabled():  # inside another step
            return run(self, closure)
        # what torch.no_grad does, without making a context for every step
        try:
            torch._C._set_grad_enabled(False)
            return run(self, closure)
        finally:
            torch._C._set_grad_enabled(True)

    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper


class LightOptimizer(Optimizer):
    """A torch optimizer that is fast to create and to step.

    Making it does not import ``torch._dynamo``.
    """

    # torch shields these four from torch.compile with a decorator whose first call
    # imports torch._dynamo, 1-2 s in every process that makes an optimizer. A closure
    # runs Python anyway, so nothing here is ever compiled.
    _add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    _load_state_dict = inspect.unwrap(Optimizer.load_state_dict)

    # whether a step may be captured in a CUDA graph: what changes from step to step goes
    # through _tape. Of the class that says so alone, not of those that derive from it.
    capturable = False

    # whether a step computes the parameters from weights of the optimizer's own, so that
    # what is written to them between two steps is lost
    owns_params = False

    # whether the parameters are those weights to evaluate the model with, for a while
    _is_evaluating = False

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters to train, with their own hyperparameters.

        Parameters
        ----------
        param_group : dict
            With the key 'params', and hyperparameters by their names.

        Raises
        ------
        TypeError
            If a parameter is complex.
        ValueError
            If a hyperparameter is a number too large for the precision of the parameters.
        """
        self._add_param_group(param_group)
        self._check_new_group()

    def _check_new_group(self) -> None:
        """Raise, and drop the last group, if it has what cannot be trained."""
        group = self.param_groups[-1]
        try:
            for p in group["params"]:
                if p.is_complex():
                    refuse_complex(p)
            check_range(group, group["params"])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def load_state_dict(self, state_dict: State) -> None:
        """Load a state that :meth:`state_dict` returned.

        Parameters
        ----------
        state_dict : dict
            The state, with the hyperparameters of the groups.

        Raises
        ------
        ValueError
            If the groups are not those of this optimizer, or one of their hyperparameters
            is a number too large for the precision of the parameters here.
        """
        self._check_saved(state_dict)
        self._load_state_dict(state_dict)

    def _check_saved(self, state_dict: Mapping[str, Any]) -> None:
        # a base optimizer with a form of its own may have no groups in it
        saved_groups = state_dict.get("param_groups", ())
        for group, saved in zip(self.param_groups, saved_groups, strict=False):
            check_range(saved, group["params"])

    def _refuse_sparse(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if (grad := p.grad) is not None and grad.is_sparse:
                    refuse_sparse(self)

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def _is_at_rest(self) -> bool:
        """Whether no step would move anything: rates and gradients are zero.

        torch.distributed.checkpoint takes such a step, without a closure, to make the
        state that it loads into.
        """
        if any(torch.as_tensor(g.get("lr", 0)).any() for g in self.param_groups):
            return False
        grads = [grad for p in self._params() if (grad := p.grad) is not None]
        return not any(bool(grad.any()) for grad in grads)

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

        On exit they are restored, and training continues as if nothing had happened.
        Nested contexts have no further effect.
        """
        if self._is_evaluating:
            yield
            return
        params = self._params()
        trained = [p.detach().clone() for p in params]
        self._write(self.evaluation_params())
        self._is_evaluating = True
        try:
            yield
        finally:
            self._is_evaluating = False
            self._write(trained)

    @torch.no_grad()
    def _write(self, weights: list[Tensor]) -> None:
        for p, w in zip(self._params(), weights, strict=True):
            if p is not w:
                p.copy_(w)

    def synchronize(self) -> None:
        """Set the parameters to the weights to evaluate the model with, in place.

        Training continues from them.
        """
        self._write(self.evaluation_params())
        self.reset_to_params()

    def reset_to_params(self) -> None:
        """Continue training from parameters that you have written to.

        Moments and velocities stay; slow weights restart from the parameters.
        """

    @property
    def is_second_pass(self) -> bool:
        """Whether a step is evaluating its closure for the second time.

        The second evaluation is at perturbed weights: do not count or log there.
        """
        return False

    @property
    def loss_at_evaluation_params(self) -> bool:
        """Whether the next step has its loss at the weights to evaluate the model with."""
        return self.is_synchronized

    def training_params(self) -> list[Tensor]:
        """Weights that training goes on from, given the state.

        Returns
        -------
        params : list of Tensor
            One tensor per parameter, in their order: the parameters, unless these
            follow from other weights and the state.
        """
        return self._params()

    def resume_params(self) -> None:
        """Set parameters that hold :meth:`training_params` to what they were in training.

        To be called after ``load_state_dict``.
        """


class Descent(LightOptimizer, ABC):
    """Element-wise optimizer: a subclass writes the update of one parameter."""

    # weights that a step updates in the place of parameters, if these are elsewhere
    targets: Mapping[Tensor, Tensor] = {}

    # whether a step can read gradients of only some rows, as of an embedding's
    takes_sparse = False

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
        if not self.takes_sparse:
            self._refuse_sparse()
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

    Learning-rate schedulers, ``state_dict`` and ``add_param_group`` reach the base
    optimizer through the wrapper. Hyperparameters of the wrapper that a checkpoint of
    the base optimizer lacks keep their values.
    """

    # groups that have all hyperparameters, and how many they are
    _filled: list[Group] | None = None
    _n_filled = 0

    # whether it is made, and groups that are added are new to the base optimizer: no value
    # of the class, which an object that stands for this one (Lightning's) would inherit
    _is_made: bool

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer],
        base: dict[str, Any],
        hyperparameters: dict[str, Any],
    ) -> None:
        check_params(self, params)
        check_base(base_optimizer)
        self._is_made = False
        self.base_optimizer = base_optimizer(params, **base)
        for name, value in hyperparameters.items():
            refuse_shared_name(self, self.base_optimizer, name)
            for group in self.base_optimizer.param_groups:
                group.setdefault(name, value)
        state = self.base_optimizer.state  # some bases are made with one
        super().__init__(
            self.base_optimizer.param_groups,
            {**self.base_optimizer.defaults, **hyperparameters},
        )
        self.state = state
        self._is_made = True

    @property
    def state_names(self) -> Collection[str]:
        """Names of this optimizer's own tensors in the state of a parameter."""
        return ()

    def _add_param_group(self, param_group: Group) -> None:
        if self._is_made:
            method_of(self.base_optimizer, "add_param_group")(param_group)
        else:
            super()._add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state and the groups, in the form of the base optimizer.

        Returns
        -------
        state_dict : dict
            What the base optimizer's ``state_dict`` returns, with this optimizer's own
            tensors and hyperparameters.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        saved = method_of(self.base_optimizer, "state_dict")()
        state_dict = add_own(saved, self, self.state_names, self._own_hyperparameters)
        for post_hook in self._optimizer_state_dict_post_hooks.values():
            changed = post_hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        return state_dict

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state by the base optimizer's ``load_state_dict``.

        Parameters
        ----------
        state_dict : dict
            What :meth:`state_dict` returned, of this optimizer or of its base
            optimizer.

        Raises
        ------
        ValueError
            If the groups are not those of this optimizer, or one of their hyperparameters
            is a number too large for the precision of the parameters here.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        self._check_saved(state_dict)
        n_groups = len(self.param_groups)
        for_base, state, values = take_own(state_dict, n_groups, self.state_names)
        method_of(self.base_optimizer, "load_state_dict")(for_base)
        put_own(self, state, values)
        for post_hook in self._optimizer_load_state_dict_post_hooks.values():
            post_hook(self)

    @property
    def _own_hyperparameters(self) -> Collection[str]:
        return self.defaults.keys() - self.base_optimizer.defaults.keys()

    @property
    def param_groups(self) -> list[Group]:
        """Groups of the base optimizer."""
        groups = self.base_optimizer.param_groups
        # the base optimizer may have loaded others, or been given one more
        if groups is not self._filled or len(groups) != self._n_filled:
            own = self._own_hyperparameters
            for group in groups:
                for name in own:
                    group.setdefault(name, self.defaults[name])
            self._filled, self._n_filled = groups, len(groups)
        return groups

    @param_groups.setter
    def param_groups(self, groups: list[Group]) -> None:
        self.base_optimizer.param_groups = groups

    @property
    def state(self) -> Any:
        """State of the base optimizer."""
        return self.base_optimizer.state

    @state.setter
    def state(self, state: Any) -> None:
        self.base_optimizer.state = state

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "base_optimizer": self.base_optimizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        shared = ("state", "param_groups")
        super().__setstate__({n: v for n, v in state.items() if n not in shared})
        self.base_optimizer.__setstate__({name: state[name] for name in shared})
        self._is_made = True

    @property
    def _is_evaluating(self) -> bool:
        return getattr(self.base_optimizer, "_is_evaluating", False)

    @_is_evaluating.setter
    def _is_evaluating(self, value: bool) -> None:
        # of all that are wrapped too
        self.base_optimizer._is_evaluating = value  # type: ignore[attr-defined]

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

    def reset_to_params(self) -> None:
        """Continue training from parameters that you have written to."""
        if isinstance(self.base_optimizer, LightOptimizer):
            self.base_optimizer.reset_to_params()

    @property
    def is_second_pass(self) -> bool:
        """Whether a step is evaluating its closure for the second time."""
        base = self.base_optimizer
        return base.is_second_pass if isinstance(base, LightOptimizer) else False

    @property
    def loss_at_evaluation_params(self) -> bool:
        """Whether the next step has its loss at the weights to evaluate the model with."""
        base = self.base_optimizer
        return (
            base.loss_at_evaluation_params if isinstance(base, LightOptimizer) else True
        )

    def training_params(self) -> list[Tensor]:
        """Weights that training goes on from, given the state: the base optimizer's."""
        if isinstance(self.base_optimizer, LightOptimizer):
            return self.base_optimizer.training_params()
        return super().training_params()

    def resume_params(self) -> None:
        """Set parameters from :meth:`training_params` to what they were in training."""
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

    def refuse_closure_of_its_own(self) -> None:
        """Raise ``ValueError`` if no step can be taken without a closure, as by LBFGS."""
        base = self.base_optimizer
        while isinstance(base, Wrapper):
            base = base.base_optimizer
        closure = inspect.signature(base.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            refuse_closure_of_its_own(self, base)
