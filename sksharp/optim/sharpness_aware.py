"""Two-gradient steps: a perturbation, a combination and a schedule of ascents."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._ascent import (
    Active,
    AscentSchedule,
    Combination,
    DecoupledTerm,
    GradientPerturbation,
    Memory,
    Pair,
    Perturbation,
    clamp_norm_,
)
from ._base import Closure, Group, Params, Wrapper, evaluate, light_step
from ._checks import (
    check_interval,
    check_parts,
    explain_missing_gradient,
    missing_attribute,
    refuse_adaptive,
    refuse_empty_closure,
    refuse_gradients_before,
    refuse_missing_closure,
    refuse_missing_gradient,
)
from ._gradients import Gradients
from ._models import Hyperparameter, add_scaled_, expand, global_norm
from ._parts import MicroBatches, OfParts
from ._replay import Replay
from ._tape import changing, count
from .sgd import SGD

# a closure's loss, the parameters with a gradient, and their gradients before the ascent
Evaluated: TypeAlias = tuple[Any, Active, list[Tensor]]

# context of the first evaluation
FirstPass: TypeAlias = Callable[[], contextlib.AbstractContextManager[Any]]

NO_CONTEXT = contextlib.nullcontext()


class SharpnessAware(Wrapper):
    r"""Two-gradient optimizer from a perturbation and a combination of gradients.

    With the gradient :math:`g` at the weights, a step moves the weights by a
    perturbation, takes the gradient there, moves back, and descends with a combination
    of the two:

    .. math::
        \tilde g = \nabla L(w + \epsilon(g)), \qquad
        w \leftarrow \mathrm{base}(w, d(g, \tilde g))

    :class:`SAM`, :class:`WSAM`, :class:`ASAM`, :class:`GSAM`, :class:`FisherSAM`,
    :class:`FriendlySAM` and :class:`LookSAM` are such combinations.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`.

    base_optimizer : callable, default=SGD
        Class of the optimizer that takes the descent step, from this package or from
        :mod:`torch.optim`, or any function that takes the parameters and ``**base`` and
        returns an optimizer.

    perturbation : Perturbation, default=None
        How :math:`\epsilon` is built: ``GradientPerturbation`` (if None),
        ``AdaptivePerturbation``, ``FisherPerturbation`` or ``FriendlyPerturbation``.

    combination : Combination, default=None
        How the gradients are combined: ``Combination`` (if None: the second alone),
        ``WeightedSharpness``, ``SurrogateGap`` or ``ReusedDirection``.

    interval : int, default=1
        Number of steps from one ascent to the next. The others are the base
        optimizer's, with one gradient.

    start : int, default=0
        Number of steps of the base optimizer before the first ascent.

    max_grad_norm : float, Tensor of shape (n_models,) or None, default=None
        Largest Euclidean norm, over all parameters, of the combined gradient. A longer
        one is scaled down.

    model_ndim : int, default=0
        Number of leading axes of every parameter that count models: 0 for one model, 1
        for parameters of shape ``(n_models, ...)``.

    replay : bool or Module, default=True
        Whether the second evaluation replays the first: with the same dropout masks,
        and running statistics of normalization layers that count each batch once. Turn
        it off for modules with neither, to save a little time. Pass the module if it is
        compiled, which hides its layers. Buffers of other layers change in both
        evaluations, such as the vectors of spectral normalization.

    **base
        Arguments of ``base_optimizer``.

    Attributes
    ----------
    base_optimizer : torch.optim.Optimizer
        The optimizer that takes the descent step. It shares ``param_groups`` and
        ``state`` with this one.

    first_pass : callable or None
        Returns a context for the evaluation at the weights themselves, such as
        ``no_sync`` of a ``DistributedDataParallel`` module: every process then perturbs
        along the gradient of its own rows, and gradients are exchanged only in the
        second pass. None, the default, is no context. It may be set at any time, and is
        not part of the optimizer's state.

    is_second_pass : bool
        Whether a step is evaluating its closure at the perturbed weights: do not count
        or log there. Always False for optimizers with one gradient.

    Raises
    ------
    ValueError
        If a hyperparameter is out of its range, or the base optimizer has one of that
        name or takes no step without a closure. If ``first_pass`` is set with
        :class:`WSAM`, :class:`GSAM`, :class:`LookSAM` or :class:`FriendlySAM`, which
        use the first gradient for more than the perturbation: processes would differ.
    TypeError
        If ``base_optimizer`` cannot be called, or ``interval`` or ``start`` is no
        integer.

    See Also
    --------
    SAM : The composition to begin with.

    Notes
    -----
    The hyperparameters of perturbation and combination are in the parameter groups, so
    that a group may have its own ``rho``, for instance. ``interval`` and ``start`` are
    those of the first group.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur. "Sharpness-aware minimization for
    efficiently improving generalization." ICLR 2021. :arxiv:`2010.01412`.

    Examples
    --------
    ASAM's perturbation, weighed as WSAM does, in every other step:

    >>> import torch
    >>> from sksharp.optim import (
    ...     AdaptivePerturbation, SharpnessAware, WeightedSharpness)
    >>> w = torch.nn.Parameter(torch.tensor([[1.0]]))
    >>> optimizer = SharpnessAware(
    ...     [w], torch.optim.SGD, perturbation=AdaptivePerturbation(rho=0.5, eta=0.0),
    ...     combination=WeightedSharpness(gamma=0.75), interval=2, lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     loss.backward()
    ...     return loss.item()
    >>> optimizer.step(closure)
    0.5
    >>> round(w.item(), 3)  # 1 - 0.1 * (1 + 3 * 0.5)
    0.75
    >>> _ = optimizer.step(closure)
    >>> round(w.item(), 3)  # 0.75 - 0.1 * 0.75
    0.675
    """

    # of the class: load_state_dict does not touch it
    _first_pass: FirstPass | None = None

    def __init__(
        self,
        params: Params,
        base_optimizer: Callable[..., Optimizer] = SGD,
        *,
        perturbation: Perturbation | None = None,
        combination: Combination | None = None,
        interval: int = 1,
        start: int = 0,
        max_grad_norm: Hyperparameter | None = None,
        model_ndim: int = 0,
        replay: bool | nn.Module = True,
        **base: Any,
    ) -> None:
        self.perturbation = perturbation or GradientPerturbation()
        combination = combination or Combination()
        if max_grad_norm is not None:
            check_interval("max_grad_norm", max_grad_norm, 0)
        parts = (self.perturbation, combination, AscentSchedule(interval, start))
        hyperparameters: dict[str, Any] = {}
        for part in parts:
            hyperparameters |= part.hyperparameters
        try:
            super().__init__(params, base_optimizer, base, hyperparameters)
        except TypeError as error:
            if "adaptive" in base and "'adaptive'" in str(error):
                refuse_adaptive(self)
            raise
        self.refuse_closure_of_its_own()
        self.combination = combination.bind(self.base_optimizer)
        self.max_grad_norm = max_grad_norm
        self.model_ndim = model_ndim
        self.replay = replay
        self._set_up()

    @property
    def first_pass(self) -> FirstPass | None:
        """Context in which the closure is evaluated at the weights themselves."""
        return self._first_pass

    @first_pass.setter
    def first_pass(self, context: FirstPass | None) -> None:
        keeps_more = self.combination.keeps_ascent_grads or self.perturbation.remembers
        if context is not None and keeps_more:
            raise ValueError(
                f"first_pass must be None with {type(self).__name__}, which uses the first "
                "gradient for more than the perturbation: processes would drift apart. "
                "Leave it None ('reduced' in data_parallel), or use SAM, ASAM, FisherSAM "
                "or ESAM."
            )
        self._first_pass = context

    @property
    def state_names(self) -> Collection[str]:
        """Names of this optimizer's own tensors in the state of a parameter."""
        return (*self.perturbation.state_names, *self.combination.state_names)

    def _set_up(self) -> None:
        self.memory = Memory(self.base_optimizer)
        self._copies: dict[tuple[str, Tensor], Tensor] = {}
        self._gradients = Gradients()
        # not of the class, from which an object that stands for this one would have it
        self._is_second_pass = False

    @property
    def is_second_pass(self) -> bool:
        """Whether a step is evaluating its closure at the perturbed weights.

        Do not count or log then: the weights are not those that are trained.
        """
        return self._is_second_pass

    if not TYPE_CHECKING:  # to which every attribute would exist

        def __getattr__(self, name: str) -> NoReturn:
            raise missing_attribute(self, name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._set_up()

    def __getstate__(self) -> dict[str, Any]:
        names = (
            "perturbation",
            "combination",
            "max_grad_norm",
            "model_ndim",
            "replay",
        )
        own = {name: getattr(self, name) for name in names}
        return {**super().__getstate__(), **own}

    @light_step
    def step(self, closure: Closure | Sequence[Any] | None = None) -> Any:
        """Update the parameters once, from two evaluations of ``closure``.

        Parameters
        ----------
        closure : callable, or sequence of callables or of (callable, float)
            Computes the loss, calls backward and returns the loss. The optimizer sets
            the gradients of its own parameters to None before each evaluation; the
            closure has to clear those of others. A closure that returns None and leaves
            no gradient skips the minibatch. Several closures are those of the
            micro-batches of one step: each is perturbed by itself, and the gradients
            are averaged, weighted by the numbers, which are the sizes of the
            micro-batches (equal without numbers).

        Returns
        -------
        loss : object
            What ``closure`` returned the first time: the loss at the weights before the
            step, not at the perturbed ones. With several closures, the weighted mean.

        Raises
        ------
        TypeError
            If ``closure`` is missing.
        ValueError
            If ``closure`` returns a loss without calling backward, or adds to gradients
            of other parameters: the second evaluation would lack those of earlier
            minibatches.

        Notes
        -----
        If ``closure`` raises, the parameters are left as they were before the step.
        """
        if closure is None and not self._is_at_rest:
            refuse_missing_closure(self)
        if self.memory:  # a step that was not finished
            self.memory.forget()
        self._gradients.is_first = True
        leader = self.param_groups[0]
        is_own, ascends = changing(self._kind_of_step, leader)
        if self.replay is False and self.is_off:
            # the second evaluation would leave no trace
            is_own = ascends = False
        if closure is None:
            ascends, (loss, active, grads) = True, self._rest()
        elif callable(closure):
            run = self._run_of(closure) if ascends else self._one_pass
            loss, active, grads = run(closure)
        else:
            loss, active, grads = self._in_parts(closure, ascends=ascends)
        decoupled: Sequence[DecoupledTerm] = ()
        if ascends:
            if self.combination.keeps_ascent_grads:
                pairs = self._pairs(active, grads)
                decoupled = list(self.combination.combine(pairs, self))
        elif is_own:
            self.combination.reuse(active, self)
        if self.max_grad_norm is not None:
            self._clip(self.max_grad_norm, decoupled)
        self.base_optimizer.step()
        for p, group, term, weight in decoupled:
            add_scaled_(p, term, changing(_decoupled_size, group, weight, p))
        if self.memory:
            self.memory.commit()
        if closure is not None:
            for group in self.param_groups:
                count(group, "n_steps")
        if not self._gradients.is_first:
            self._gradients.note(self._params())
        return loss

    def _kind_of_step(self, leader: Group) -> tuple[bool, bool]:
        """Return whether the step is the method's own, and whether it has an ascent."""
        index = AscentSchedule.index(leader)
        if index is None:
            return False, False
        return True, self.combination.ascends(index, leader)

    def _rest(self) -> Evaluated:
        """Return gradients of zero for both evaluations."""
        active = self._with_grads()
        self.perturbation.ascend(active, self)
        grads = [torch.zeros_like(p) for p, _ in active]
        return None, active, grads

    def _run_of(self, closure: Any) -> Callable[[Any], Evaluated]:
        return self._at_once if isinstance(closure, MicroBatches) else self._two_passes

    def _one_pass(self, closure: Any) -> Evaluated:
        loss = self._evaluate(self.evaluate_start, closure)
        return loss, self._with_grads(), []

    def _two_passes(self, closure: Any) -> Evaluated:
        second_pass = self._second_pass()
        with NO_CONTEXT if self._first_pass is None else self._first_pass():
            loss = self._evaluate(self.evaluate_start, closure)
        self._refuse_sparse()
        active = self._with_grads()
        if not active:  # a minibatch that is skipped
            return loss, [], []
        start = [self.keep_copy("start", p, p) for p, _ in active]
        grads: list[Tensor] = []
        if self.combination.keeps_ascent_grads:
            grads = [
                self.keep_copy("grads", p, grad)
                for p, _ in active
                if (grad := p.grad) is not None
            ]
        try:
            self.perturbation.ascend(active, self)
            # an autocast around the step caches casts of the unperturbed weights
            torch.clear_autocast_cache()
            self._is_second_pass = True
            with second_pass:
                self._evaluate(self.evaluate_perturbed, closure)
        finally:
            self._is_second_pass = False
            # by copy: w + e - e is not w in floating point
            for (p, _), w in zip(active, start, strict=True):
                p.copy_(w)
            torch.clear_autocast_cache()
        if not self._with_grads():  # skipped at the perturbed weights
            return loss, [], []
        return loss, active, grads

    def _evaluate(self, evaluate: Callable[[Any], Any], closure: Any) -> Any:
        """Clear the gradients and evaluate a closure, which must leave some."""
        if getattr(closure, "writes_grad", False):  # the estimators', in place
            return evaluate(closure)
        params, gradients = self._params(), self._gradients
        gradients.clear(params)
        try:
            result = evaluate(closure)
        except BaseException as error:
            explain_missing_gradient(error, params)
            gradients.note(params)
            raise
        finally:
            gradients.stop()
        if not gradients.is_any_new(params) and any(p.requires_grad for p in params):
            if result is not None:
                refuse_missing_gradient(self)
            if gradients.is_any_added_to():
                refuse_empty_closure(self)
        if gradients.is_any_added_to():
            refuse_gradients_before(self)
        gradients.settle(params)
        return result

    def _at_once(self, parts: MicroBatches) -> Evaluated:
        """Evaluate micro-batches at once, and leave the mean of their gradients."""
        loss = parts.evaluate_start()
        active = self._with_grads()
        [(p, group)] = active
        assert p.grad is not None
        grads: list[Tensor] = []
        if self.combination.keeps_ascent_grads:
            grads = [parts.mean_grad()]
        of_parts = [(parts.points, parts.group_of_parts(group))]
        self.perturbation.ascend(of_parts, OfParts(self.memory))
        parts.evaluate_perturbed()
        p.grad.copy_(parts.mean_grad())
        return loss, active, grads

    def _second_pass(self) -> contextlib.AbstractContextManager[None]:
        if self.replay is False:
            return NO_CONTEXT
        module = self.replay if isinstance(self.replay, nn.Module) else None
        return Replay(self._devices(), module, self.param_groups)

    def _in_parts(self, closures: Sequence[Any], *, ascends: bool) -> Evaluated:
        """Evaluate micro-batches one by one and leave the mean of their gradients."""
        parts, total = check_parts(closures)
        run = self._two_passes if ascends else self._one_pass
        loss: Any = None
        ascent: dict[Tensor, Tensor] = {}
        descent: dict[Tensor, Tensor] = {}
        for closure, size in parts:
            share = size / total
            part_loss, active, grads = run(closure)
            if part_loss is not None:
                part_loss = share * part_loss
                loss = part_loss if loss is None else loss + part_loss
            for (p, _), grad in zip(active, grads, strict=False):
                _accumulate(ascent, p, grad, share)
            for p, _ in self._with_grads():
                assert p.grad is not None
                _accumulate(descent, p, p.grad, share)
        for p, grad in descent.items():
            # by copy: others may hold the memory of the gradient
            p.grad = grad if p.grad is None else p.grad.copy_(grad)
        if not (ascends and self.combination.keeps_ascent_grads):
            return loss, self._with_grads(), []
        active = [
            (p, group)
            for group in self.param_groups
            for p in group["params"]
            if p in ascent
        ]
        return loss, active, [ascent[p] for p, _ in active]

    def evaluate_start(self, closure: Any) -> Any:
        """Evaluate a closure at the weights and return what it returns."""
        return evaluate(closure)

    def evaluate_perturbed(self, closure: Any) -> Any:
        """Evaluate a closure at the perturbed weights and return what it returns."""
        return evaluate(closure)

    @property
    def takes_parts_at_once(self) -> bool:
        """Whether a step may evaluate micro-batches at once."""
        return not self.perturbation.remembers

    @property
    def is_off(self) -> bool:
        """Whether the perturbation has length zero whatever the gradient."""
        for group in self.param_groups:
            rho = group["rho"]
            if isinstance(rho, Tensor) or rho != 0:
                return False
        return True

    def global_norm(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the norm of tensors taken as one vector, one value per model."""
        return global_norm(tensors, self.model_ndim)

    def _pairs(self, active: Active, grads: list[Tensor]) -> list[Pair]:
        of_ascent = {p: grad for (p, _), grad in zip(active, grads, strict=True)}
        # a parameter without a gradient in one evaluation has one of zero there
        return [
            Pair(p, group, of_ascent.get(p))
            for group in self.param_groups
            for p in group["params"]
            if p in of_ascent or p.grad is not None
        ]

    def _clip(
        self, max_norm: Hyperparameter, decoupled: Sequence[DecoupledTerm]
    ) -> None:
        """Clip the norm of the gradient and the decoupled terms together."""
        grads = {p: p.grad for p, _ in self._with_grads() if p.grad is not None}
        if not grads:
            return
        whole = dict(grads)
        for p, _, term, weight in decoupled:
            whole[p] = grads[p] + expand(weight, p) * term
        norm = clamp_norm_(self.global_norm(list(whole.values())))
        scale = (max_norm / norm).clamp_(max=1)
        for tensor in (*grads.values(), *(part.term for part in decoupled)):
            tensor.mul_(expand(scale.to(tensor.device), tensor))

    def keep_copy(self, slot: str, p: Tensor, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor of a parameter's, in memory that steps share."""
        copy = self._copies.get((slot, p))
        if copy is None or not _is_alike(copy, tensor):
            # the first step, or the module was converted or moved since
            copy = self._copies[slot, p] = torch.empty_like(tensor)
        return copy.copy_(tensor)

    def _with_grads(self) -> Active:
        return [
            (p, group)
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None
        ]

    def _devices(self) -> set[torch.device]:
        return {p.device for group in self.param_groups for p in group["params"]}


def _decoupled_size(group: Group, weight: Hyperparameter, p: Tensor) -> Any:
    length = expand(group["lr"] * weight, p)
    return length if group.get("maximize") else -length


def _is_alike(a: Tensor, b: Tensor) -> bool:
    return a.is_same_size(b) and a.dtype == b.dtype and a.device == b.device


def _accumulate(
    sums: dict[Tensor, Tensor], p: Tensor, grad: Tensor, share: Hyperparameter
) -> None:
    if p not in sums:
        sums[p] = torch.zeros_like(grad)
    add_scaled_(sums[p], grad, expand(share, grad))
