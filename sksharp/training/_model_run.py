"""One model between its epochs: stopping rule, averaging, best weights, result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from .._jobs import TrainingJob
from ._averaging import AveragingPhase
from ._bridge import flatten, to_array
from ._learning_rate import LearningRate
from ._stopping import StoppingRule
from ._validation import Score


@dataclass(slots=True)
class Epoch:
    """Loss, score and weights of one model after an epoch.

    Parameters
    ----------
    loss : float
        Mean loss of its minibatches.

    is_of_model : bool
        Whether that is the loss of the model, at least in part.

    n_samples : int
        Rows seen.

    weights : Tensor of shape (n_params,)
        Weights to predict with, as they are now.

    score : Score or None
        Their validation score, None if it was not asked for.
    """

    loss: float
    is_of_model: bool
    n_samples: int
    weights: Tensor
    score: Score | None


class ModelRun:
    """The training of one model, epoch by epoch.

    Parameters
    ----------
    job : TrainingJob
        The model, whose ``progress`` is updated.

    rate : LearningRate
        Its learning rate.

    device : torch.device
        Where it is trained.
    """

    def __init__(
        self,
        job: TrainingJob,
        rate: LearningRate,
        device: torch.device,
    ) -> None:
        self.job, self.rate = job, rate
        self.progress = job.progress
        self.rule = StoppingRule(job.settings, job.progress)
        self.best = flatten(job.weights, device)
        self.warnings: list[tuple[str, type[Warning]]] = []
        self.phase: AveragingPhase | None = None
        self.is_paused = self.is_interrupted = False
        if not job.is_resumed:
            self.progress.n_iter = 0
        # what the optimizer has trained for before this call
        self._epochs_before = 0
        if job.is_incremental and job.optimizer_state is not None:
            self._epochs_before = job.optimizer_state.epochs
        if job.settings.averaging is not None:
            self.phase = AveragingPhase(
                job.settings.averaging, job.averaging_state, device
            )
            self._hold_rate(self.phase)

    @property
    def epochs(self) -> int:
        """Epochs that the optimizer has trained for."""
        return self._epochs_before + self.progress.n_iter

    def rates(self) -> list[float] | None:
        """Return the rate of every step of the next epoch, None if it does not change."""
        if self.phase is not None:
            rates = self.phase.rates(self.rate.n_steps)
            if rates is not None:
                return rates
        return self.rate.of_epoch(self.epochs)

    @property
    def wants_score(self) -> bool:
        """Whether the epoch that begins ends with a validation score."""
        validation, epoch = self.job.validation, self.progress.n_iter + 1
        return validation is not None and (
            epoch % validation.freq == 0 or epoch == self.job.epochs
        )

    @property
    def keeps_rows(self) -> bool:
        """Whether the losses of the validation rows are kept, at the best score."""
        validation = self.job.validation
        return validation is not None and validation.keeps_rows

    def after_epoch(self, epoch: Epoch) -> bool:
        """Update for an epoch; return whether it was the last, or a pause follows."""
        progress, job = self.progress, self.job
        progress.n_iter += 1
        progress.t += epoch.n_samples
        progress.loss_curve.append(epoch.loss)
        self._say(f"Iteration {progress.n_iter}, loss = {epoch.loss:.8f}")
        self._apply_rule(epoch)
        self.rate.after_epoch(progress.t)
        if self.phase is not None:
            self.phase.after_epoch(epoch.weights)
        stalled = self._is_stalled()
        if self.phase is None:
            is_last = stalled
        else:
            self._begin_averaging(self.phase, stalled)
            is_last = self.phase.is_over
        if is_last or job.is_incremental:
            return True
        if progress.n_iter == job.epochs:
            if job.should_converge:
                self.warn(
                    f"Stochastic Optimizer: Maximum iterations ({job.epochs}) reached "
                    "and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                )
            return True
        self.is_paused = progress.n_iter == job.pause_at
        return self.is_paused

    def warn(self, message: str, category: type[Warning]) -> None:
        """Record a warning, which the estimator raises."""
        self.warnings.append((message, category))

    def _apply_rule(self, epoch: Epoch) -> None:
        if self.job.validation is None:
            self.rule.after_loss(epoch.loss, is_of_model=epoch.is_of_model)
            return
        if epoch.score is None:
            return
        self._say(f"Validation score: {epoch.score.value:f}")
        if self.rule.after_score(epoch.score.value):
            self.progress.best_n_iter = self.progress.n_iter
            self._keep(epoch.score)
            self.best.copy_(epoch.weights)

    def _keep(self, score: Score) -> None:
        """Keep what belongs to the best score."""
        self.progress.inverse_temperature = score.inverse_temperature
        if self.keeps_rows:
            assert score.rows is not None
            self.progress.best_row_losses = to_array(score.rows).astype(np.float64)

    def _is_stalled(self) -> bool:
        """Return whether the rule ends training if the learning rate agrees."""
        if not self.rule.fires() or (self.phase is not None and self.phase.is_on):
            return False
        if self.rate.stops(self.rule.message()):
            return True
        self.rule.reset()
        return False

    def _begin_averaging(self, phase: AveragingPhase, stalled: bool) -> None:
        if not phase.begins(stalled=stalled):
            return
        self._say(f"Averaging weights from epoch {phase.epochs + 1}.")
        self._hold_rate(phase)

    def _hold_rate(self, phase: AveragingPhase) -> None:
        if not phase.is_on or phase.settings.lr is None:
            return
        if phase.lr is None:
            cycles = phase.settings.cycle is not None
            phase.lr = self.rate.initial if cycles else self.rate.at_epoch(self.epochs)
        self.rate.hold(phase.settings.lr)

    def end(
        self, weights: Tensor, score_of: Callable[[Tensor], Score]
    ) -> tuple[Tensor, int]:
        """Return the weights to predict with, and of how many they are the average.

        Parameters
        ----------
        weights : Tensor of shape (n_params,)
            Those of the last epoch.

        score_of : callable
            Takes weights, returns their validation score.
        """
        has_validation = self.job.validation is not None
        average = None if self.phase is None else self.phase.average()
        if self.phase is None or average is None:
            return (self.best if has_validation else weights), 0
        if has_validation:
            score = score_of(average)
            best = self.progress.best_validation_score
            assert best is not None
            self._say(f"Validation score of the averaged weights: {score.value:f}")
            if not score.value >= best:
                # discard what came after the best epoch
                self.phase = None
                return self.best, 0
            self.progress.best_validation_score = score.value
            self._keep(score)
        return average, self.phase.scheme.n_averaged

    def _say(self, message: str) -> None:
        self.job.settings.say(message)
