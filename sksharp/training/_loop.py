"""The epochs of a training, for one model or many."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from .._contract import OptimizerState, Snapshot, TrainingResult
from ..optim import solver_chain
from ._batches import Batches
from ._bridge import state_to_arrays, unflatten
from ._callbacks import StopTraining
from ._course import Course, Epoch
from ._schedule import LearningRate, Rates
from ._validation import Validator

if TYPE_CHECKING:
    from ._net import MLPNet


class Loop:
    """The epochs of a net, until the course of every model has ended.

    A model whose course ends leaves the net with its result, and the others go on.

    Parameters
    ----------
    net : MLPNet
        Trains an epoch when asked.
    """

    def __init__(self, net: MLPNet) -> None:
        jobs = net.jobs
        self.net = net
        self.batches = Batches(jobs, net.torch_device)
        self.validator = Validator(
            jobs, net.module_, net.criterion_.loss, net.torch_device
        )
        self.rates = Rates(net.optimizer_, len(jobs))
        n_steps = len(self.batches)
        self.courses = [
            Course(
                job,
                LearningRate(self.rates, job.settings, k, n_steps),
                net.torch_device,
            )
            for k, job in enumerate(jobs)
        ]
        # where the results of the models that are left belong
        self._places = list(range(len(jobs)))
        self._results: list[TrainingResult | None] = [None] * len(jobs)
        # whether the losses of the epoch are those of the models, at least in part
        self.saw_model = True

    def run(self) -> None:
        """Train until rules or the user have stopped every model."""
        try:
            while len(ended := self._epoch()) < len(self._places):
                if ended:
                    self._leave(ended)
        except KeyboardInterrupt:
            if self.net.ranks is not None:
                raise  # the other processes are elsewhere
            for course in self.courses:
                course.is_interrupted = True
                course.warn("Training interrupted by user.", UserWarning)

    def results(self) -> list[TrainingResult]:
        """Return what came of every job, in their order."""
        for k, place in enumerate(self._places):
            self._results[place] = self._result(k, self.courses[k])
        return [result for result in self._results if result is not None]

    def _epoch(self) -> list[int]:
        """Train an epoch; return the models for which it was the last."""
        net, watch = self.net, self.net.watch
        if watch is not None:
            watch.begin_epoch(self.result_now)
        # what to write before every step, None if no rate changes within the epoch
        self.lrs = self.rates.plan([course.rates() for course in self.courses])
        datasets = {} if net.listeners is None else net.listeners.datasets
        net.notify("on_epoch_begin", **datasets)
        losses = net.run_single_epoch(
            self.batches, training=True, prefix="train", step_fn=net.train_step
        )
        ended = self._after_epoch(losses)
        stops = watch is not None and watch.end_epoch(self.result_now)
        if net.ranks is not None:
            (stops,) = net.ranks.of_first([float(stops)], net.torch_device)
        if net.listeners is not None:
            net.listeners.record_epoch(self.courses[0].progress)
        net.notify("on_epoch_end", **datasets)
        if stops:
            for course in self.courses:
                course.is_paused = False
            raise StopTraining
        return ended

    def _after_epoch(self, losses: Sequence[float]) -> list[int]:
        weights = self.net.evaluation_weights()
        wanted = [course.wants_score for course in self.courses]
        scores = self.validator.scores(weights, wanted)
        ranks = self.net.ranks
        if ranks is not None:
            losses = ranks.of_first(losses, self.net.torch_device)
            scores = ranks.of_first(scores, self.net.torch_device)
        rows = weights.view(len(self.courses), -1)
        n_samples = self.batches.n_samples.tolist()
        return [
            k
            for k, course in enumerate(self.courses)
            if course.after_epoch(
                Epoch(losses[k], self.saw_model, n_samples[k], rows[k], scores[k])
            )
        ]

    def _leave(self, ended: Sequence[int]) -> None:
        """Take the results of models and go on with the others."""
        for k in ended:
            self._results[self._places[k]] = self._result(k, self.courses[k])
        left = [k for k in range(len(self._places)) if k not in set(ended)]
        self._places = [self._places[k] for k in left]
        self.courses = [self.courses[k] for k in left]
        self.net.keep(left)
        self.batches.keep(left)
        self.validator.keep(self.net.jobs)
        self.rates = Rates(self.net.optimizer_, len(left))
        for k, course in enumerate(self.courses):
            course.rate.move(self.rates, k)

    def result_now(self) -> TrainingResult:
        """Return what would come of the first model if its training ended now."""
        course = copy.copy(self.courses[0])
        job, progress = course.job, course.progress
        scores = progress.validation_scores
        course.progress = replace(
            progress,
            loss_curve=list(progress.loss_curve),
            validation_scores=None if scores is None else list(scores),
        )
        course.job = replace(
            job, settings=replace(job.settings, verbose=0), keeps_state=False
        )
        course.is_paused, course.warnings = False, []
        return self._result(0, course)

    def _result(self, k: int, course: Course) -> TrainingResult:
        """Return the weights of a model to keep and the state to continue from."""
        job = course.job
        iterate = self.net.iterate().view(len(self.courses), -1)[k]
        returns, n_averaged = False, 0
        if course.is_paused:
            kept = course.best
        else:
            weights = self.net.evaluation_weights().view(len(self.courses), -1)[k]
            kept, n_averaged = course.end(weights, lambda w: self.validator.score(k, w))
            # with early stopping, training goes on from the best epoch, which may not
            # be the last
            returns = job.validation is not None and not n_averaged
        goes_on_from = kept if returns else iterate
        hides_iterate = not torch.equal(kept, goes_on_from)
        averaging = None if returns else self.net.averaging_state(k, course.phase)
        snapshots = () if course.is_paused else self._snapshots(k, course)
        if snapshots:
            averaging = None
        return TrainingResult(
            weights=unflatten(kept, job.weights),
            iterate=unflatten(goes_on_from, job.weights) if hides_iterate else None,
            progress=course.progress,
            optimizer_state=self._state(k, returns=returns)
            if job.keeps_state
            else None,
            averaging_state=averaging if job.keeps_state else None,
            n_averaged=n_averaged,
            random_state=self.batches.random_state(k) or job.random_state,
            warnings=tuple(course.warnings),
            rows=self.batches.order(k) if course.is_paused else None,
            is_interrupted=course.is_interrupted,
            snapshots=snapshots,
        )

    def _snapshots(self, k: int, course: Course) -> tuple[Snapshot, ...]:
        n_samples = int(self.batches.n_samples[k])
        progress = course.progress
        t_before = progress.t - progress.n_iter * n_samples
        return tuple(
            Snapshot(
                unflatten(weights, course.job.weights),
                epoch,
                t_before + epoch * n_samples,
            )
            for epoch, weights in (
                [] if course.phase is None else course.phase.members()
            )
        )

    def _state(self, k: int, *, returns: bool) -> OptimizerState:
        settings = self.courses[k].job.settings
        optimizer = self.net.optimizer_of(k)
        if returns:
            optimizer.adopt_params()
        return OptimizerState(
            solvers=tuple(solver_chain(settings.solver, settings.base_solver)),
            state_dict=state_to_arrays(optimizer.state_dict()),
            epochs=self.courses[k].epochs,
        )
