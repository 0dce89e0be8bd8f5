"""Gradients that are there before a closure is evaluated."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import TensorWeakRef

from ._models import global_norm

# which tensors they are and how often each was written to; None if it is not known
Marks: TypeAlias = list[tuple[int, int] | None] | None


class Gradients:
    """Clears the gradients of parameters before each evaluation of a closure.

    What the evaluations of an optimizer have left is cleared, as by ``zero_grad``. What
    others have left may be the sum of earlier minibatches, on which only the first
    evaluation of a step could build: the closure must clear it, by None or by zeros.

    Gradients that a closure writes itself, into the memory that they have, are cleared by
    zeros and not by None.
    """

    def __init__(self) -> None:
        self._left: Marks = None
        # weak: clearing gradients frees their memory
        self._one_left: TensorWeakRef | None = None
        # those of others, while the first closure of a step is evaluated
        self._before: dict[Tensor, Foreign] = {}
        # parameters whose gradients the closure writes, with the mark of one of zeros
        self._written: dict[Tensor, Marks] = {}
        self.is_first = True

    def note(self, params: list[Tensor]) -> None:
        """Record the gradients as those that the evaluations of a step have left."""
        grads = [p.grad for p in params]
        self._left, self._one_left = _marks(grads), None
        for grad in grads:
            if grad is not None:
                self._one_left = TensorWeakRef(grad)
                break

    def clear(self, params: list[Tensor]) -> None:
        """Clear gradients, except foreign ones at the first evaluation."""
        self._before = {}
        if self.is_first and not self._are_left(params):
            self._written = {}
            self._before = {
                p: Foreign(p, grad) for p in params if (grad := p.grad) is not None
            }
        elif self._written:
            self._clear_in_place(params)
        else:
            for p in params:
                p.grad = None
        self.is_first = False

    def _clear_in_place(self, params: list[Tensor]) -> None:
        for p in params:
            if p in self._written and p.grad is not None:
                self._written[p] = _marks([p.grad.zero_()])
            else:
                p.grad = None

    def _are_left(self, params: list[Tensor]) -> bool:
        # a mark is that of another one where the memory was used again
        if self._one_left is None or self._one_left() is None:
            return False
        return _marks([p.grad for p in params]) == self._left

    def is_any_new(self, params: list[Tensor]) -> bool:
        """Whether the evaluation has left a gradient."""
        for p in params:
            if (grad := p.grad) is not None:
                foreign = self._before.get(p)
                if foreign is not None:
                    if foreign.is_changed(grad):
                        return True
                elif not self._written or self._written.get(p) != _marks([grad]):
                    return True
        return False

    def is_any_added_to(self) -> bool:
        """Whether the evaluation has added to a gradient that it found."""
        for p, foreign in self._before.items():
            if (grad := p.grad) is not None and foreign.is_in(grad):
                return True
        return False

    def stop(self) -> None:
        """Remove the hooks: the evaluation is over."""
        for foreign in self._before.values():
            foreign.stop()

    def settle(self, params: list[Tensor]) -> None:
        """Separate gradients that the closure has written from those that it zeroed."""
        if not self._before:
            return
        written = [
            (p, p.grad, foreign)
            for p, foreign in self._before.items()
            if p.grad is not None and foreign.is_only_written(p.grad)
        ]
        if not written:
            return
        is_zero = [not global_norm([grad]) for _, grad, _ in written]
        n_grads = sum(p.grad is not None for p in params)
        is_by_hand = len(written) == n_grads and not all(is_zero)
        for (p, _, foreign), zeroed in zip(written, is_zero, strict=True):
            # zeros beside what backward made are of a parameter that takes no part
            if foreign.was_zero and (is_by_hand or not zeroed):
                self._written[p] = None
            else:
                p.grad = None


class Foreign:
    """A gradient that was there before a step.

    Parameters
    ----------
    p : Tensor
        The parameter. Hooked until ``stop``.

    grad : Tensor
        Its gradient, which is not kept from being freed.
    """

    def __init__(self, p: Tensor, grad: Tensor) -> None:
        self._ref, self._mark = TensorWeakRef(grad), _marks([grad])
        # looked into only if the closure leaves the gradient where it is
        self._norm = None if grad.is_sparse else global_norm([grad])
        # norms of what was written into it, whenever backward was about to add to it
        self._norms: list[Tensor] = []
        self._is_added_to = False
        self._hooks: list[RemovableHandle] = []
        if p.requires_grad:
            self._p = p
            self._hooks = [
                p.register_hook(self._before_backward),  # type: ignore[no-untyped-call]
                p.register_post_accumulate_grad_hook(self._after_backward),  # type: ignore[no-untyped-call]
            ]

    def _before_backward(self, _: Tensor) -> None:
        grad = self._p.grad
        if grad is not None and self._is_written_to(grad) and self._norm is not None:
            self._norms.append(global_norm([grad.detach()]))

    def _after_backward(self, _: Tensor) -> None:
        self._is_added_to = True

    def stop(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    @property
    def was_zero(self) -> bool:
        """Whether the gradient was zero before the step."""
        return self._norm is not None and not self._norm

    def _is_written_to(self, grad: Tensor) -> bool:
        return self._ref() is grad and self._mark != _marks([grad])

    def is_changed(self, grad: Tensor) -> bool:
        """Whether a gradient is another one, or was written to, other than by zeros."""
        if self._ref() is not grad:
            return True
        if not self._is_written_to(grad):
            return False
        if self._is_added_to or self._norm is None:
            return True
        return bool(global_norm([grad]) != 0)

    def is_in(self, grad: Tensor) -> bool:
        """Whether a gradient is this one, with what was added to it."""
        if self._ref() is not grad:
            return False
        if self._norm is None:
            return True
        if self.was_zero or any(not norm for norm in self._norms):
            return False
        return not self._is_written_to(grad) or bool(global_norm([grad]) != 0)

    def is_only_written(self, grad: Tensor) -> bool:
        """Whether a gradient is this one, written to by other than backward."""
        return self._is_written_to(grad) and not self._is_added_to


def _marks(grads: list[Tensor | None]) -> Marks:
    """Return which tensors they are and how often each was written to, if it is known."""
    try:
        return [None if grad is None else (id(grad), grad._version) for grad in grads]
    except RuntimeError:  # made in inference mode
        return None
