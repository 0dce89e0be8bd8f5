"""Base of the averages of weights."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class RunningAverage(ABC):
    """Average of weights: a subclass writes how new ones enter it.

    Weights in half precision are averaged in single precision, which does not lose
    small shares of them.
    """

    def __init__(self) -> None:
        self.averaged: list[Tensor] = []
        self.n_averaged = 0

    @abstractmethod
    def update(self, params: Iterable[Tensor]) -> None:
        """Add the current weights to the average."""

    def _checked(self, params: Iterable[Tensor]) -> list[Tensor]:
        """Return checked weights, before the average is changed."""
        if self.n_averaged:
            weights = list(params)
            check_alike(weights, self.averaged)
            return weights
        weights = check_tensors(params)
        for w in weights:
            if not (w.dtype.is_floating_point or w.dtype.is_complex):
                raise TypeError(
                    "params must be floating-point or complex to be averaged, got a "
                    f"tensor of {w.dtype}. Leave counters and the like out."
                )
        return weights

    def _begin(self, weights: list[Tensor]) -> None:
        self.averaged = [_accumulator(w) for w in weights]

    @torch.no_grad()
    def copy_to(self, params: Iterable[Tensor]) -> None:
        """Write the averaged weights into ``params``, in place.

        Parameters
        ----------
        params : iterable of Tensor
            Tensors of the same number and shapes as in every update.

        Raises
        ------
        ValueError
            If there is no average yet, or the shapes are others.
        """
        if not self.n_averaged:
            raise ValueError(
                "copy_to needs at least one update, got none. Call update(params) first."
            )
        weights = list(params)
        check_alike(weights, self.averaged)
        for p, mean in zip(weights, self.averaged, strict=True):
            p.copy_(mean)

    @contextlib.contextmanager
    def evaluating(self, params: Iterable[Tensor]) -> Iterator[None]:
        """Context in which ``params`` are the averaged weights.

        On exit they are restored, and training continues as if nothing had happened.
        Buffers, such as the statistics of batch normalization, stay as they are.

        Parameters
        ----------
        params : iterable of Tensor
            Tensors of the same number and shapes as in every update.

        Raises
        ------
        ValueError
            If there is no average yet, or the shapes are others.
        """
        weights = list(params)
        with restoring(weights):
            self.copy_to(weights)
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return the average as a dictionary of tensors and numbers.

        Returns
        -------
        state_dict : dict
            With keys 'averaged' and 'n_averaged'. Later updates do not change it.
        """
        averaged = [mean.clone() for mean in self.averaged]
        return {"averaged": averaged, "n_averaged": self.n_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the average of another object.

        Parameters
        ----------
        state_dict : dict
            What :meth:`state_dict` returned. Its tensors are copied, and must be on the
            device of the weights: ``torch.load`` takes it as ``map_location``.

        Raises
        ------
        ValueError
            If its keys are not those of an average. The average is as it was.
        """
        check_keys(self, state_dict, ("averaged", "n_averaged"))
        averaged: Sequence[Tensor] = state_dict["averaged"]
        self.averaged = [_accumulator(mean) for mean in averaged]
        self.n_averaged = state_dict["n_averaged"]


@contextlib.contextmanager
def restoring(weights: Sequence[Tensor]) -> Iterator[None]:
    """Context after which weights are as before, whatever was written to them."""
    before = [w.detach().clone() for w in weights]
    try:
        yield
    finally:
        with torch.no_grad():
            for w, value in zip(weights, before, strict=True):
                w.copy_(value)


def check_keys(
    average: object, state_dict: dict[str, Any], keys: tuple[str, ...]
) -> None:
    """Raise ``ValueError`` unless a state has the keys that an average returns."""
    if not set(keys) <= state_dict.keys():
        raise ValueError(
            f"state_dict must have the keys {', '.join(map(repr, keys))}, got "
            f"{sorted(state_dict)}. Pass what state_dict() of another "
            f"{type(average).__name__} returned."
        )


def check_tensors(params: Iterable[Tensor]) -> list[Tensor]:
    """Return weights as a list, or raise unless they are tensors, one at least."""
    weights = list(params) if isinstance(params, Iterable) else [params]
    wrong = [type(w).__name__ for w in weights if not isinstance(w, Tensor)]
    if wrong:
        raise TypeError(
            f"params must be tensors, got {type(params).__name__} with {wrong[0]}. Pass "
            "model.parameters()."
        )
    if not weights:
        raise ValueError(
            "params must hold at least one tensor, got none. An iterator such as "
            "model.parameters() is empty after its first use; make a new one."
        )
    return weights


def check_alike(weights: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Raise ``ValueError`` unless tensors have the shapes of those of before."""
    if [w.shape for w in weights] != [w.shape for w in before]:
        expected, shapes = (
            [tuple(w.shape) for w in part] for part in (before, weights)
        )
        raise ValueError(
            f"params must have the shapes of the first update, {expected}, got {shapes}. "
            "Make another object for another model."
        )


def _accumulator(weights: Tensor) -> Tensor:
    is_half = weights.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float32 if is_half else weights.dtype
    # a tensor of inference mode could not be updated outside of it
    with torch.inference_mode(False):
        return weights.detach().to(dtype, copy=True)
