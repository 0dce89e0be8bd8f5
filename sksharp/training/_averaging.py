"""When weights are averaged during training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .._jobs import AveragingSettings, AveragingState
from ..averaging import EMA, SWA, Snapshots
from ..averaging._base import RunningAverage
from ..optim._tape import changing, count
from ..options._rates import AveragingRate
from ._bridge import state_to_arrays, state_to_tensors

SCHEMES: dict[str, Any] = {"swa": SWA, "snapshots": Snapshots}


class StepAverage(EMA):
    """The moving average that predicts, updated in every step."""

    @torch.no_grad()
    def update(self, params: Iterable[Tensor]) -> None:
        """Add the current weights to the average."""
        if not changing(self._has_begun):
            super().update(params)
            return
        self._approach(params, changing(self._share))
        count(vars(self), "n_averaged")

    def _has_begun(self) -> bool:
        return self.n_averaged > 0


class AveragingPhase:
    """The last part of training, in which an averaging scheme collects weights.

    Parameters
    ----------
    settings : AveragingSettings
        When to begin, how often to collect and how long to go on.

    state : AveragingState or None
        A phase to continue.

    device : torch.device
        Of the weights.
    """

    def __init__(
        self,
        settings: AveragingSettings,
        state: AveragingState | None,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.scheme: Any = SCHEMES[settings.scheme]()
        self.epochs, self.began = 0, None if settings.start else 0
        # the learning rate when it began
        self.lr: float | None = None
        if state is not None:
            self.epochs, self.began, self.lr = state.epochs, state.began, state.lr
            self.scheme.load_state_dict(state_to_tensors(state.scheme_state, device))

    @property
    def is_on(self) -> bool:
        """Whether averaging has begun."""
        return self.began is not None

    @property
    def is_over(self) -> bool:
        """Whether averaging has lasted as long as it should."""
        return (
            self.began is not None and self.epochs - self.began >= self.settings.length
        )

    def after_epoch(self, weights: Tensor) -> None:
        """Count an epoch and, every ``freq`` epochs, add its weights to the average."""
        self.epochs += 1
        if self.began is None:
            return
        among, freq = self.settings.epochs, self.settings.freq
        if (
            (self.epochs - self.began) % freq == 0
            if among is None
            else self.epochs in among
        ):
            self.scheme.update([weights])

    def rates(self, n_steps: int) -> list[float] | None:
        """Return the rate of every step of the next epoch, None if it does not change."""
        settings = self.settings
        moves = settings.cycle is not None or settings.anneal > 0
        if self.began is None or settings.lr is None or self.lr is None or not moves:
            return None
        rate = AveragingRate(
            self.lr, settings.lr, settings.anneal, settings.strategy, settings.cycle
        )
        return rate.rates(self.epochs - self.began, n_steps)

    def begins(self, *, stalled: bool) -> bool:
        """Return whether averaging begins now: it is time, or training has stalled."""
        if self.is_on or not (stalled or self.epochs >= self.settings.start):
            return False
        self.began = self.epochs
        return True

    def average(self) -> Tensor | None:
        """Return the averaged weights, None if there is no average."""
        mean: Tensor | None = None
        if isinstance(self.scheme, RunningAverage) and self.scheme.n_averaged:
            mean = self.scheme.averaged[0]
        return mean

    def members(self) -> list[tuple[int, Tensor]]:
        """Return the epochs and the weights that were collected one by one."""
        if isinstance(self.scheme, RunningAverage):
            return []
        collected = [weights for (weights,) in self.scheme.members]
        return list(zip(self.settings.epochs or (), collected, strict=False))

    def state(self) -> AveragingState:
        """Return what is needed to continue."""
        scheme_state = state_to_arrays(self.scheme.state_dict())
        return AveragingState(
            self.settings.scheme, self.epochs, self.began, scheme_state, self.lr
        )
