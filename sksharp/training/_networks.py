"""The networks of a training: weights, optimizer, gradient and average."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._jobs import Array, AveragingState, Matrix, OptimizerSpec, TrainingJob
from ..optim import SharpnessAware
from ..optim._models import Hyperparameter
from ._averaging import AveragingPhase, StepAverage
from ._bridge import flatten, state_to_arrays, state_to_tensors, to_array, to_dtype
from ._gradient import Backprop
from ._losses import loss_of
from ._module import MLPModule
from ._optimizer import make_optimizer
from ._ranks import Ranks
from ._validation import outputs
from ._values import join_models, select_model, select_models, shared_or_each


class Networks:
    """The networks of one job, or of many that are trained at once.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        The networks to train, with their data. Several must agree in what
        :func:`~sksharp.training._plan.shared_settings` returns.

    device : torch.device
        Where to train.

    ranks : Ranks or None, default=None
        Processes that share every step.

    is_group : bool or None, default=None
        Whether they have an axis of models. None if there are several: of those that
        went on, one may be left.

    Attributes
    ----------
    module : MLPModule
        The weights, which begin as those of the jobs.

    loss : Loss
        Of the output layer.

    optimizer : LightOptimizer
        The solver, in the state to continue from.

    gradient : Backprop
        Writes the gradient of the weights.

    ema : StepAverage or None
        The moving average that predicts, if there is one.
    """

    def __init__(
        self,
        jobs: Sequence[TrainingJob],
        device: torch.device,
        ranks: Ranks | None = None,
        *,
        is_group: bool | None = None,
    ) -> None:
        job = jobs[0]
        self.jobs, self.device, self.ranks = list(jobs), device, ranks
        is_group = len(jobs) > 1 if is_group is None else is_group
        self.model_shape: tuple[int, ...] = (len(jobs),) if is_group else ()
        self.loss = loss_of(job.settings.out_activation, job.settings.loss)
        # no bound method, which would keep the networks alive
        self.make_module = functools.partial(
            MLPModule,
            job.layer_units,
            job.settings.activation,
            dtype=to_dtype(job.weights.coefs[0].dtype),
            device=device,
        )
        starts = [flatten(j.weights if j.iterate is None else j.iterate) for j in jobs]
        flat = torch.stack(starts) if self.model_shape else starts[0]
        self._set_weights(flat.to(device))
        self._resume_optimizer()
        self.ema = self._make_average()

    @property
    def job(self) -> TrainingJob:
        """The first job, for what all have in common."""
        return self.jobs[0]

    # -- making ------------------------------------------------------------------------

    def _set_weights(self, flat: Tensor) -> None:
        """Make module, optimizer and gradient anew, of weights."""
        self.module = self.make_module(model_shape=self.model_shape)
        with torch.no_grad():
            self.module.flat.copy_(flat)
        self.optimizer = self._make_optimizer(self.module.flat, self.jobs)
        self.gradient = Backprop(self.module, self.loss, self.alpha)

    @property
    def alpha(self) -> Hyperparameter:
        """Strength of the penalty: a number, or one per model."""
        alphas = [job.settings.alpha for job in self.jobs]
        return shared_or_each(alphas, self.module.flat)

    def _make_optimizer(self, flat: Tensor, jobs: Sequence[TrainingJob]) -> Any:
        optimizer = make_optimizer(
            [flat],
            self._specs(flat, jobs),
            model_ndim=flat.ndim - 1,
            layout=self.module.shapes,
        )
        ranks = self.ranks
        if ranks is not None and ranks.first_pass == "local":
            if isinstance(optimizer, SharpnessAware):
                optimizer.first_pass = ranks.local
        return optimizer

    def _specs(self, like: Tensor, jobs: Sequence[TrainingJob]) -> list[OptimizerSpec]:
        """Return what the optimizers of all jobs are made with."""
        return [
            OptimizerSpec(
                specs[0].solver,
                {
                    name: shared_or_each([spec.arguments[name] for spec in specs], like)
                    for name in specs[0].arguments
                },
            )
            for specs in zip(*(job.settings.optimizers for job in jobs), strict=True)
        ]

    def _resume_optimizer(self) -> None:
        """Give the optimizer the state to continue from, if there is one."""
        states = [job.optimizer_state for job in self.jobs]
        dicts = [state.state_dict for state in states if state is not None]
        if not dicts:
            return
        self.optimizer.load_state_dict(self._joint_state(dicts))
        self._postpone_ascents()
        if self.job.is_rewritten:
            self.optimizer.reset_to_params()
        else:
            self.optimizer.resume_params()

    def _postpone_ascents(self) -> None:
        """Set ``start`` in steps such that ascents begin after the set number of calls."""
        job = self.job
        start = job.settings.argument("start")
        if start is None or not job.is_incremental or job.optimizer_state is None:
            return
        group = self.optimizer.param_groups[0]
        if group["n_steps"] < group["start"]:
            n_steps = -(-job.n_samples // job.settings.batch_size)
            left = start - n_steps * job.optimizer_state.epochs
            group["start"] = group["n_steps"] + max(0, left)

    def _make_average(self) -> StepAverage | None:
        job = self.job
        if job.settings.ema_decay is None:
            return None
        average = StepAverage(job.settings.ema_decay, warm_up=True)
        states = [job.averaging_state for job in self.jobs]
        dicts = [state.scheme_state for state in states if state is not None]
        if dicts:
            average.load_state_dict(self._joint_state(dicts))
        return average

    def _joint_state(self, states: Sequence[Any]) -> Any:
        """Return the states of all jobs as one state with tensors."""
        tensors = [state_to_tensors(state, self.device) for state in states]
        if not self.model_shape:
            return tensors[0]
        return join_models(tensors, self.module.flat)

    # -- during training ---------------------------------------------------------------

    def keep(self, models: Sequence[int]) -> None:
        """Go on with some of the networks."""
        index = torch.tensor(models, device=self.device)
        self.jobs = [self.jobs[k] for k in models]
        self.model_shape = (len(models),)
        state = select_models(self.optimizer.state_dict(), index)
        self._set_weights(self.module.flat.detach().index_select(0, index))
        self.optimizer.load_state_dict(state)
        if self.ema is not None:
            self.ema.load_state_dict(select_models(self.ema.state_dict(), index))

    def evaluation_weights(self) -> Tensor:
        """Return the weights to predict with, of shape (*model_shape, n_params)."""
        if self.ema is not None and self.ema.n_averaged:
            return self.ema.averaged[0]
        weights: Tensor = self.optimizer.evaluation_params()[0].detach()
        return weights

    def outputs(self, X: Matrix) -> Array:
        """Return the outputs for rows, of shape (*model_shape, n_samples, n_outputs)."""
        weights = self.evaluation_weights()
        return to_array(outputs(self.module, self.loss, X, weights, self.device))

    # -- afterwards --------------------------------------------------------------------

    def training_weights(self) -> Tensor:
        """Return the weights to go on from, of shape (*model_shape, n_params)."""
        weights: Tensor = self.optimizer.training_params()[0].detach()
        return weights

    def optimizer_of(self, k: int) -> Any:
        """Return an optimizer of one network alone, in the current state."""
        if not self.model_shape:
            return self.optimizer
        state = select_model(self.optimizer.state_dict(), k)
        param = nn.Parameter(self.module.flat.detach()[k].clone())
        optimizer = self._make_optimizer(param, [self.jobs[k]])
        optimizer.load_state_dict(state)
        return optimizer

    def averaging_state(
        self, k: int, phase: AveragingPhase | None
    ) -> AveragingState | None:
        """Return what is needed to continue the average of one network."""
        if phase is not None:
            return phase.state()
        if self.ema is None:
            return None
        state = self.ema.state_dict()
        if self.model_shape:
            state = select_model(state, k)
        return AveragingState("ema_decay", 0, None, state_to_arrays(state))
