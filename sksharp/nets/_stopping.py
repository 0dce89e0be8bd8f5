"""Early stopping that keeps the weights of the best epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from .._numbers import plain_scalar
from ._evaluation import copies, states, write
from ._planned import Planned


class BestWeights(Planned):
    """Early stopping: keeps the weights of the epoch with the lowest validation loss.

    Parameters
    ----------
    patience : float
        Epochs without improvement after which training stalls.

    tol : float
        What counts as an improvement.
    """

    def __init__(self, patience: float = 10, tol: float = 1e-4) -> None:
        self.patience, self.tol = patience, tol

    def initialize(self) -> Self:
        """Begin to count."""
        super().initialize()
        self._reset()
        return self

    def _reset(self) -> None:
        self.loss_, self.misses_, self.best_epoch_ = float("inf"), 0, 0
        self.best_: list[Any] | None = None

    def plan(self, net: Any) -> None:
        """Begin a training."""
        self._reset()

    @property
    def is_stalled(self) -> bool:
        """Whether the patience has run out."""
        return self.misses_ > self.patience

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Keep the weights if they are the best yet."""
        super().on_epoch_end(net)
        loss = valid_loss(net)
        self.misses_ = self.misses_ + 1 if loss > self.loss_ - self.tol else 0
        if loss < self.loss_:
            self.loss_, self.best_epoch_ = loss, self.done_
            self.best_ = copies(states(net))

    def restore(self, net: Any) -> None:
        """Write the best weights into the net."""
        if self.best_ is not None:
            write(states(net), self.best_)
            self.best_ = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a training needs to go on."""
        names = ("loss_", "misses_", "best_epoch_", "best_")
        return {**super().state_dict(), **{n: getattr(self, n) for n in names}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the state of another training."""
        super().load_state_dict(state_dict)
        for name in ("loss_", "misses_", "best_epoch_", "best_"):
            setattr(self, name, state_dict[name])


def valid_loss(net: Any) -> float:
    """Return the validation loss of the last epoch."""
    names = ["valid_loss", "valid_batch_size"]
    losses, sizes = zip(*net.history[-1, "batches", :, names], strict=True)
    return float(plain_scalar(np.average(losses, weights=sizes)))


@contextmanager
def explained_keys() -> Iterator[None]:
    """Say what a callback lacks that reads from the history what is not there."""
    try:
        yield
    except KeyError as error:
        if "not found in history" not in str(error):
            raise
        raise ValueError(
            f"callbacks must find in the history what they read, got: {error.args[0]} "
            "Validation losses and scores need validation rows: give fit X_val and y_val, "
            "or set early_stopping=True or train_split."
        ) from error
