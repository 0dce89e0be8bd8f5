"""The epochs of a training, for one model or many."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from .._jobs import (
    Observer,
    OptimizerState,
    Progress,
    Saver,
    Snapshot,
    TrainingResult,
)
from ..optim._models import Hyperparameter
from ._batches import Batches
from ._bridge import state_to_arrays, unflatten
from ._epoch import EpochLoss
from ._graphs import StepGraphs, graphs_for
from ._learning_rate import LearningRate, Rates
from ._model_run import Epoch, ModelRun
from ._networks import Networks
from ._ranks import Ranks
from ._step import StepHooks
from ._stopping import StopTraining
from ._validation import Score, Validator


class Hooks(StepHooks, Protocol):
    """Callbacks of a single network, around its epochs and steps."""

    def begin_epoch(self) -> None:
        """Call the callbacks of the begin of an epoch."""

    def end_epoch(self, progress: Progress) -> None:
        """Call the callbacks of the end of an epoch."""


class Loop:
    """The epochs of networks, until the run of each has ended.

    A network whose run ends leaves with its result, and the others go on.

    Parameters
    ----------
    networks : Networks
        The networks to train.

    observer : Observer or None, default=None
        Called before and after every epoch.

    hooks : Hooks or None, default=None
        Callbacks of a single network.

    saver : Saver or None, default=None
        Called after every epoch but the last.

    Attributes
    ----------
    is_stopped : bool
        Whether the observer has ended the training.
    """

    def __init__(
        self,
        networks: Networks,
        observer: Observer | None = None,
        hooks: Hooks | None = None,
        saver: Saver | None = None,
    ) -> None:
        jobs, device = networks.jobs, networks.device
        self.networks, self.observer, self.hooks = networks, observer, hooks
        self.saver, self.is_stopped = saver, False
        self._new_graph = graphs_for(networks, hooks)
        has_graphs = self._new_graph is not None
        self.batches = Batches(jobs, device, for_graphs=has_graphs)
        self.validator = Validator(jobs, networks.module, networks.loss, device)
        self._set_up()
        n_steps = len(self.batches)
        self.runs = [
            ModelRun(job, LearningRate(self.rates, job.settings, k, n_steps), device)
            for k, job in enumerate(jobs)
        ]
        # indices, among all results, of the models that remain
        self._indices = list(range(len(jobs)))
        self._results: list[TrainingResult | None] = [None] * len(jobs)

    def _set_up(self) -> None:
        """Make what depends on which networks remain."""
        networks = self.networks
        self.rates = Rates(networks.optimizer, len(networks.jobs))
        self.steps = StepGraphs(networks, self.rates, self.hooks, self._new_graph)

    def run(self) -> None:
        """Train until rules or the user have stopped every model."""
        try:
            while len(ended := self._epoch()) < len(self._indices):
                if ended:
                    self._leave(ended)
                if self.saver is not None:
                    self.saver.after_epoch(self.results_now)
        except KeyboardInterrupt:
            if self.networks.ranks is not None:
                raise  # the other processes are elsewhere
            for run in self.runs:
                run.is_interrupted = True
                run.warn("Training interrupted by user.", UserWarning)

    def results(self) -> list[TrainingResult]:
        """Return the results of all jobs, in their order."""
        for k, index in enumerate(self._indices):
            self._results[index] = self._result(k, self.runs[k])
        return [result for result in self._results if result is not None]

    def _epoch(self) -> list[int]:
        """Train an epoch; return the models for which it was the last."""
        observer, hooks, ranks = self.observer, self.hooks, self.networks.ranks
        if observer is not None:
            observer.begin_epoch(self.result_now)
        # what to write before every step, None if no rate changes within the epoch
        lrs = self.rates.plan([run.rates() for run in self.runs])
        if hooks is not None:
            hooks.begin_epoch()
        losses, is_of_model = self.train_epoch(lrs)
        ended = self._after_epoch(losses, is_of_model)
        stops = observer is not None and observer.end_epoch(self.result_now)
        if ranks is not None:
            (stops,) = ranks.of_first([float(stops)], self.networks.device)
        if hooks is not None:
            hooks.end_epoch(self.runs[0].progress)
        if stops:
            for run in self.runs:
                run.is_paused = False
            self.is_stopped = True
            raise StopTraining
        return ended

    def train_epoch(
        self, lrs: Sequence[Hyperparameter] | None
    ) -> tuple[list[float], bool]:
        """Train on every minibatch.

        The losses stay on the device until the epoch ends: one host sync per epoch.

        Parameters
        ----------
        lrs : sequence of float or of Tensor of shape (n_models,), or None
            Learning rate of every step, None to leave it.

        Returns
        -------
        losses : list of float
            Mean loss of every network.

        is_of_model : bool
            Whether these are losses of the weights that predict, at least in part.
        """
        networks = self.networks
        alphas = np.array([job.settings.alpha for job in networks.jobs])
        loss = EpochLoss(networks.loss, alphas, networks.ranks)
        n_steps, is_of_model = 0, False
        for chunk in self.batches:
            end = n_steps + len(chunk)
            trace = self.steps(chunk, None if lrs is None else lrs[n_steps:end])
            loss.add(chunk, trace)
            n_steps, is_of_model = end, is_of_model or trace.is_of_model
        return loss.values(self.batches), is_of_model

    def _after_epoch(self, losses: Sequence[float], is_of_model: bool) -> list[int]:
        networks, ranks = self.networks, self.networks.ranks
        weights = networks.evaluation_weights()
        wanted = [run.wants_score for run in self.runs]
        scores = self.validator.scores(weights, wanted)
        if ranks is not None:
            losses = ranks.of_first(losses, networks.device)
            scores = self._of_first(ranks, scores)
        rows = weights.view(len(self.runs), -1)
        n_samples = self.batches.n_samples.tolist()
        return [
            k
            for k, run in enumerate(self.runs)
            if run.after_epoch(
                Epoch(losses[k], is_of_model, n_samples[k], rows[k], scores[k])
            )
        ]

    def _of_first(
        self, ranks: Ranks, scores: Sequence[Score | None]
    ) -> list[Score | None]:
        """Return the first process's scores."""
        device = self.networks.device
        # in one exchange
        parts = [part for score in scores for part in (score or (None, None))[:2]]
        numbers = ranks.of_first(parts, device)
        received: list[Score | None] = []
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        for run, own, (value, b) in zip(self.runs, scores, pairs, strict=True):
            rows = None if own is None else own.rows
            if rows is not None and run.keeps_rows:
                rows = rows.new_tensor(ranks.of_first(rows.tolist(), device))
            received.append(None if value is None else Score(value, b, rows))
        return received

    def _leave(self, ended: Sequence[int]) -> None:
        """Store the results of models and go on with the others."""
        for k in ended:
            self._results[self._indices[k]] = self._result(k, self.runs[k])
        left = [k for k in range(len(self._indices)) if k not in set(ended)]
        self._indices = [self._indices[k] for k in left]
        self.runs = [self.runs[k] for k in left]
        self.networks.keep(left)
        self.batches.keep(left)
        self.validator.keep(self.networks.jobs)
        self._set_up()
        for k, run in enumerate(self.runs):
            run.rate.move(self.rates, k)

    def results_now(self) -> list[TrainingResult]:
        """Return results of models that have ended, and pauses of the others."""
        results = list(self._results)
        for k, index in enumerate(self._indices):
            run = copy.copy(self.runs[k])
            run.job, run.is_paused = replace(run.job, keeps_state=True), True
            results[index] = self._result(k, run)
        return [result for result in results if result is not None]

    def result_now(self) -> TrainingResult:
        """Return the result of the first model if its training ended now."""
        run = copy.copy(self.runs[0])
        job, progress = run.job, run.progress
        scores = progress.validation_scores
        run.progress = replace(
            progress,
            loss_curve=list(progress.loss_curve),
            validation_scores=None if scores is None else list(scores),
        )
        run.job = replace(
            job, settings=replace(job.settings, verbose=0), keeps_state=False
        )
        run.is_paused, run.warnings = False, []
        return self._result(0, run)

    def _result(self, k: int, run: ModelRun) -> TrainingResult:
        """Return the weights of a model to keep and the state to continue from."""
        job = run.job
        iterate = self.networks.training_weights().view(len(self.runs), -1)[k]
        returns, n_averaged = False, 0
        if run.is_paused:
            kept = run.best
        else:
            weights = self.networks.evaluation_weights().view(len(self.runs), -1)[k]
            kept, n_averaged = run.end(weights, lambda w: self.validator.score(k, w))
            # with early stopping, training goes on from the best epoch, which may not
            # be the last
            returns = job.validation is not None and not n_averaged
        goes_on_from = kept if returns else iterate
        hides_iterate = not torch.equal(kept, goes_on_from)
        averaging = None if returns else self.networks.averaging_state(k, run.phase)
        snapshots = () if run.is_paused else self._snapshots(k, run)
        if snapshots:
            averaging = None
        return TrainingResult(
            weights=unflatten(kept, job.weights),
            iterate=unflatten(goes_on_from, job.weights) if hides_iterate else None,
            progress=run.progress,
            optimizer_state=self._state(k, returns=returns)
            if job.keeps_state
            else None,
            averaging_state=averaging if job.keeps_state else None,
            n_averaged=n_averaged,
            random_state=self.batches.random_state(k) or job.random_state,
            warnings=tuple(run.warnings),
            rows=self.batches.order(k) if run.is_paused else None,
            is_interrupted=run.is_interrupted,
            snapshots=snapshots,
        )

    def _snapshots(self, k: int, run: ModelRun) -> tuple[Snapshot, ...]:
        n_samples = int(self.batches.n_samples[k])
        progress = run.progress
        t_before = progress.t - progress.n_iter * n_samples
        return tuple(
            Snapshot(
                unflatten(weights, run.job.weights),
                epoch,
                t_before + epoch * n_samples,
            )
            for epoch, weights in ([] if run.phase is None else run.phase.members())
        )

    def _state(self, k: int, *, returns: bool) -> OptimizerState:
        optimizer = self.networks.optimizer_of(k)
        if returns:
            optimizer.reset_to_params()
        return OptimizerState(
            solvers=self.runs[k].job.settings.chain,
            state_dict=state_to_arrays(optimizer.state_dict()),
            epochs=self.runs[k].epochs,
        )
