"""Steps with gradients that a gradient scaler keeps from underflowing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch.amp import GradScaler
from torch.optim import Optimizer

from ._base import Closure, Group, Wrapper, each_closure
from .esam import ESAM


class _Evaluation:
    """One evaluation of a closure, as an optimizer for a scaler.

    A scaler unscales the gradients of an optimizer once between two updates, and a step
    may evaluate its closure more than once.
    """

    def __init__(self, param_groups: list[Group]) -> None:
        self.param_groups = param_groups
        self.is_finite = False

    def step(self) -> None:
        """Record that the scaler has found neither infinity nor NaN."""
        self.is_finite = True


class _Overflow(Exception):
    """A gradient was too large for its precision; ends a step, which undoes it."""


def scaled_step(
    scaler: GradScaler,
    optimizer: Optimizer,
    closure: Closure | Sequence[Any],
) -> Any:
    """Take a step whose closure scales its loss, and update the scale.

    Use it instead of ``scaler.step(optimizer)`` and ``scaler.update()`` for optimizers
    that evaluate a closure. The gradients of every evaluation are unscaled separately.
    If one is infinite or NaN, the step is skipped and the scale lowered.

    Parameters
    ----------
    scaler : torch.amp.GradScaler
        The scaler.

    optimizer : torch.optim.Optimizer
        The optimizer. It must restore the parameters if a closure raises, as those of
        this package do. Not :class:`ESAM`, which calls backward itself.

    closure : callable, or sequence of callables or of (callable, float)
        What ``optimizer.step`` takes, with ``scaler.scale(loss).backward()`` instead of
        ``loss.backward()``. A closure that returns None and leaves no gradient skips
        the minibatch.

    Returns
    -------
    loss : object
        What ``optimizer.step`` returned. None if the step was skipped.

    Raises
    ------
    TypeError
        If ``scaler`` is no gradient scaler, or ``optimizer`` calls backward itself.
    ValueError
        If the closure does not leave gradients of a scaled loss.

    See Also
    --------
    SAM : Where a closure is explained.

    Notes
    -----
    Every evaluation waits for its device, as ``scaler.step`` does. bfloat16 needs no
    scaler.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import SAM, scaled_step
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SAM([w], torch.optim.SGD, rho=0.5, lr=0.1)
    >>> scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2 / 2).sum()
    ...     scaler.scale(loss).backward()
    ...     return loss.item()
    >>> scaled_step(scaler, optimizer, closure)
    0.5
    >>> round(w.item(), 3)  # 1 - 0.1 * (1 + 0.5)
    0.85
    """
    _check(scaler, optimizer)
    # the scaler knows them by their ids: none may be freed before the update
    evaluations: list[_Evaluation] = []

    def unscaled(closure: Closure) -> Closure:
        def evaluate() -> Any:
            loss = closure()
            if loss is None and not _has_grads(
                optimizer
            ):  # a minibatch that is skipped
                return None
            evaluation = _Evaluation(optimizer.param_groups)
            evaluations.append(evaluation)
            _unscale(scaler, evaluation)
            if not evaluation.is_finite:
                raise _Overflow
            return loss

        return evaluate

    try:
        loss = optimizer.step(each_closure(closure, unscaled))
    except _Overflow:
        loss = None
    except BaseException:
        # forgets them and stays as it was; a scaler that saw no loss has none to forget
        with contextlib.suppress(AssertionError):
            scaler.update(scaler.get_scale())
        raise
    if evaluations:
        scaler.update()
    return loss


def _has_grads(optimizer: Optimizer) -> bool:
    return any(
        p.grad is not None for group in optimizer.param_groups for p in group["params"]
    )


def _unscale(scaler: GradScaler, evaluation: Any) -> None:
    try:
        scaler.unscale_(evaluation)
        scaler.step(evaluation)
    except AssertionError as error:
        # the scaler has seen no loss, or there is no gradient
        raise ValueError(
            "closure must leave the gradients of a scaled loss, got none. Call "
            "scaler.scale(loss).backward() in it."
        ) from error


def _check(scaler: object, optimizer: Optimizer) -> None:
    if not isinstance(scaler, GradScaler):
        raise TypeError(
            f"scaler must be a torch.amp.GradScaler, got {scaler!r}. Without one, call "
            "optimizer.step(closure)."
        )
    if any(isinstance(part, ESAM) for part in _parts(optimizer)):
        raise TypeError(
            "optimizer must leave backward to the closure, got ESAM, which selects rows "
            "by their losses and calls backward itself. Train in bfloat16 autocast, which "
            "needs no scaler, or choose SAM."
        )


def _parts(optimizer: Optimizer) -> Iterator[Optimizer]:
    """Yield an optimizer and those that it wraps."""
    yield optimizer
    while isinstance(optimizer, Wrapper):
        optimizer = optimizer.base_optimizer
        yield optimizer
