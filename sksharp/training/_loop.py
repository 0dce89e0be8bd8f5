"""What happens between the epochs of a training job."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from .._contract import OptimizerState, TrainingResult
from ..optim import solver_chain
from ._averaging import AveragingPhase
from ._batches import Batches
from ._bridge import flatten, state_to_arrays, to_tensor, unflatten
from ._gradient import Backprop
from ._schedule import LearningRate
from ._stopping import StoppingRule

if TYPE_CHECKING:
    from ._net import MLPNet


class Loop:
    """The epochs of a job: what is judged, kept and averaged between them.

    Parameters
    ----------
    net : MLPNet
        Trains an epoch when asked.

    gradient : Backprop
        Of the network.
    """

    def __init__(self, net: MLPNet, gradient: Backprop) -> None:
        job = net.job
        self.net, self.job, self.gradient = net, job, gradient
        self.progress = job.progress
        self.rule = StoppingRule(job.settings, job.progress)
        self.rate = LearningRate(net.optimizer_, job.settings)
        self.batches = Batches(job, net.torch_device)
        # the rows for validation lie on the device too, unless they are sparse
        self.validation_X = None if job.validation is None else job.validation.X
        if isinstance(self.validation_X, np.ndarray):
            self.validation_X = to_tensor(self.validation_X, device=net.torch_device)
        self.best = flatten(job.weights, net.torch_device)
        # whether the losses of the epoch are those of the model, at least in part
        self.saw_model = True
        self.phase: AveragingPhase | None = None
        if job.settings.averaging is not None:
            self.phase = AveragingPhase(
                job.settings.averaging, job.averaging_state, net.torch_device
            )
            self._hold_rate(self.phase)

    def run(self) -> None:
        """Train until a rule or the user stops."""
        self.progress.n_iter = 0
        try:
            for _ in range(self.job.epochs):
                if self._epoch():
                    break
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)

    def _epoch(self) -> bool:
        """Train an epoch; return whether it was the last."""
        net = self.net
        datasets = {} if net.listeners is None else net.listeners.datasets
        net.notify("on_epoch_begin", **datasets)
        loss = net.run_single_epoch(
            self.batches, training=True, prefix="train", step_fn=net.train_step
        )
        is_last = self._after_epoch(loss)
        if net.listeners is not None:
            net.listeners.record_epoch(self.progress)
        net.notify("on_epoch_end", **datasets)
        return is_last

    def _after_epoch(self, loss: float) -> bool:
        progress, job = self.progress, self.job
        progress.n_iter += 1
        progress.t += self.batches.n_samples
        progress.loss_curve.append(loss)
        self._say(f"Iteration {progress.n_iter}, loss = {loss:.8f}")
        weights = self.net.optimizer_.evaluation_params()[0].detach()
        self._judge(loss, weights)
        self.rate.after_epoch(progress.t)
        if self.phase is not None:
            self.phase.after_epoch(weights)
        stalled = self._is_stalled()
        if self.phase is None:
            is_last = stalled
        else:
            self._begin_averaging(self.phase, stalled)
            is_last = self.phase.is_over
        if is_last or job.is_incremental:
            return True
        if progress.n_iter == job.epochs:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({job.epochs}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return False

    def _judge(self, loss: float, weights: Tensor) -> None:
        validation = self.job.validation
        if validation is None:
            self.rule.after_loss(loss, is_of_model=self.saw_model)
            return
        score = validation.score(self.net.outputs(self.validation_X, weights))
        self._say(f"Validation score: {score:f}")
        if self.rule.after_score(score):
            self.best.copy_(weights)

    def _is_stalled(self) -> bool:
        """Return whether the rule ends training by the learning rate's leave."""
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
        if phase.is_on and phase.settings.lr is not None:
            self.rate.hold(phase.settings.lr)

    def result(self) -> TrainingResult:
        """Return the weights to keep and the state to continue from."""
        net, job = self.net, self.job
        kept, n_averaged = self._kept()
        flat = net.module_.flat.detach()
        phase = self.phase
        if job.validation is not None and not n_averaged:
            # training goes on from the best epoch, which may not be the last, and the
            # average of what came after it is given up
            flat.copy_(kept)
            net.optimizer_.adopt_params()
            phase = None
        hides_iterate = not torch.equal(kept, flat)
        return TrainingResult(
            weights=unflatten(kept, job.weights),
            iterate=unflatten(flat, job.weights) if hides_iterate else None,
            progress=self.progress,
            optimizer_state=OptimizerState(
                solvers=tuple(
                    solver_chain(job.settings.solver, job.settings.base_solver)
                ),
                state_dict=state_to_arrays(net.optimizer_.state_dict()),
            ),
            averaging_state=None if phase is None else phase.state(),
            n_averaged=n_averaged,
        )

    def _kept(self) -> tuple[Tensor, int]:
        """Return the weights to predict with, and of how many they are the average."""
        average = None if self.phase is None else self.phase.average()
        validation = self.job.validation
        if self.phase is None or average is None:
            if validation is not None:
                return self.best, 0
            return self.net.optimizer_.evaluation_params()[0].detach(), 0
        if validation is not None:
            score = validation.score(self.net.outputs(self.validation_X, average))
            best = self.progress.best_validation_score
            assert best is not None
            self._say(f"Validation score of the averaged weights: {score:f}")
            if not score >= best:
                return self.best, 0
            self.progress.best_validation_score = score
        return average, self.phase.scheme.n_averaged

    def _say(self, message: str) -> None:
        if self.job.settings.verbose:
            print(message)
