"""Gradients that are there before a closure is evaluated."""

from __future__ import annotations

from torch import Tensor
from torch.utils.weak import TensorWeakRef

from ._models import joint_norm


class Gradients:
    """Clears the gradients of parameters before each evaluation of a closure.

    What the evaluations of an optimizer have left is cleared, as by ``zero_grad``. What
    others have left may be the sum of earlier minibatches, on which only the first
    evaluation of a step could build: the closure must clear it.
    """

    def __init__(self) -> None:
        self._left: list[tuple[int, int] | None] | None = None
        # weak: whoever clears gradients frees their memory
        self._one_left: TensorWeakRef | None = None
        # those of others, while the first closure of a step is evaluated
        self._before: dict[Tensor, Foreign] = {}
        self.is_first = True

    def note(self, params: list[Tensor]) -> None:
        """Take the gradients for what the evaluations of a step have left."""
        grads = [p.grad for p in params]
        self._left, self._one_left = _marks(grads), None
        for grad in grads:
            if grad is not None:
                self._one_left = TensorWeakRef(grad)
                break

    def clear(self, params: list[Tensor]) -> None:
        """Clear gradients, unless they are others' and this is the first evaluation."""
        self._before = {}
        if self.is_first and not self._are_left(params):
            self._before = {
                p: Foreign(grad) for p in params if (grad := p.grad) is not None
            }
        else:
            for p in params:
                p.grad = None
        self.is_first = False

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
                if foreign is None or foreign.is_changed(grad):
                    return True
        return False

    def is_any_added_to(self) -> bool:
        """Whether the evaluation has left a gradient that it found."""
        for p, foreign in self._before.items():
            if (grad := p.grad) is not None and foreign.is_in(grad):
                return True
        return False


class Foreign:
    """A gradient that was there before a step.

    Parameters
    ----------
    grad : Tensor
        The gradient. It is not kept from being freed.
    """

    def __init__(self, grad: Tensor) -> None:
        self._ref, self._mark = TensorWeakRef(grad), _marks([grad])
        # looked into only if the closure leaves the gradient where it is
        self._norm = None if grad.is_sparse else joint_norm([grad])

    def is_changed(self, grad: Tensor) -> bool:
        """Whether a gradient is another one, or was written to."""
        return self._ref() is not grad or self._mark != _marks([grad])

    def is_in(self, grad: Tensor) -> bool:
        """Whether a gradient is this one, with what was added to it."""
        if self._ref() is not grad:
            return False
        return self._norm is None or bool(self._norm != 0)


def _marks(grads: list[Tensor | None]) -> list[tuple[int, int] | None] | None:
    """Return which tensors they are and how often each was written to, if it is known."""
    try:
        return [None if grad is None else (id(grad), grad._version) for grad in grads]
    except RuntimeError:  # made in inference mode
        return None
