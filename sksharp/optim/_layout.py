"""Several tensors, one after the other, in the last axis of a parameter.

A layout is the sequence of their shapes. With a layout of ``[(4, 5), (5,)]`` the last
axis of a parameter holds a matrix of 4 x 5 numbers and a vector of 5. Tensors of two axes
and more are weights, the others biases.
"""

import functools
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import prod
from typing import TypeAlias

from torch import Tensor

Layout: TypeAlias = Sequence[tuple[int, ...]]


def slices(layout: Layout) -> list[slice]:
    """Return where the tensors of a layout lie in the last axis."""
    ends = list(accumulate(prod(shape) for shape in layout))
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def joined(parts: Iterable[slice]) -> list[slice]:
    """Return ascending slices with neighbours made one: fewer kernels."""
    runs: list[slice] = []
    for part in parts:
        if runs and runs[-1].stop == part.start:
            runs[-1] = slice(runs[-1].start, part.stop)
        else:
            runs.append(part)
    return runs


def weight_slices(layout: Layout) -> list[slice]:
    """Return where the weights of a layout lie in the last axis."""
    return _weight_slices(tuple(map(tuple, layout)))


@functools.lru_cache  # called in every step
def _weight_slices(layout: tuple[tuple[int, ...], ...]) -> list[slice]:
    pairs = zip(slices(layout), layout, strict=True)
    return joined(part for part, shape in pairs if len(shape) > 1)


def check_layout(layout: Layout | None, params: Iterable[Tensor]) -> None:
    """Raise ``ValueError`` unless a layout fills the last axis of every parameter."""
    if layout is None:
        return
    size = sum(prod(shape) for shape in layout)
    for p in params:
        if not p.ndim or p.shape[-1] != size:
            raise ValueError(
                f"layout must fill the last axis of every parameter, got {size} numbers "
                f"in layout={list(layout)} for a parameter of shape {tuple(p.shape)}. "
                "Leave layout out where each parameter is one tensor."
            )
