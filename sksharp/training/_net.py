"""The training loop, as a skorch net."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn

from .._contract import (
    Array,
    AveragingState,
    Matrix,
    TrainingJob,
    TrainingResult,
    Watch,
)
from ..averaging import EMA
from ..optim import SharpnessAware, make_optimizer
from ._averaging import AveragingPhase
from ._batches import Batches
from ._bridge import (
    flatten,
    state_to_arrays,
    state_to_tensors,
    to_array,
    to_dtype,
)
from ._callbacks import Listeners, StopTraining
from ._epoch import EpochLoss
from ._gradient import Backprop, Batch
from ._loop import Loop
from ._losses import LOSSES
from ._module import MLPModule
from ._parts import Parts
from ._ranks import Ranks
from ._validation import outputs
from ._values import join_models, select_model, select_models, shared_or_each


class Criterion(nn.Module):
    """The loss of the output layer."""

    def __init__(self, out_activation: str) -> None:
        super().__init__()
        self.loss = LOSSES[out_activation]

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss of rows, given the input of the output activation."""
        return self.loss.row_objectives(z, y).mean(-1)


class Evaluation:
    """The closure of a step, which leaves the prediction of its first call in place.

    It is a ``RowClosure`` too, for solvers that look at the losses of the rows.

    Parameters
    ----------
    gradient : Backprop
        Of the network.

    batch : Batch
        Rows of the step.

    mean : Tensor of shape (*model_shape, n_samples, n_outputs)
        Where the first call writes the predicted mean, that before the step.

    on_gradient : callable or None
        Told of every gradient.

    exchange : callable or None, default=None
        Takes the gradient of this process's rows and turns it, in place, into that of
        the rows of all.
    """

    __slots__ = ("batch", "exchange", "gradient", "mean", "on_gradient")

    # the gradient stays where it is, and each replaces the one before
    writes_grad = True

    def __init__(
        self,
        gradient: Backprop,
        batch: Batch,
        mean: Tensor,
        on_gradient: Any,
        exchange: Any = None,
    ) -> None:
        self.gradient, self.batch, self.mean = gradient, batch, mean
        self.on_gradient, self.exchange = on_gradient, exchange

    def __call__(self) -> Any:
        self.gradient(self.batch, self.mean)
        self._end(self.batch)
        self.mean = self.gradient.scratch(len(self.batch))

    def _end(self, batch: Batch) -> None:
        """Exchange the gradient and tell of it."""
        if self.exchange is not None:
            self.exchange(self.gradient.grad)
        if self.on_gradient is not None:
            self.on_gradient(batch)

    @property
    def weights(self) -> Tensor | None:
        """Weights of the rows."""
        return self.batch.weights

    def backward(self) -> Tensor:
        """Write the gradient of all rows and return their losses."""
        mean = self.mean
        self()
        return self.gradient.loss.row_losses(mean, self.batch.y)

    def losses(self) -> Tensor:
        """Return the losses of all rows."""
        batch = self.batch
        mean = self.gradient.scratch(len(batch))
        self.gradient.predict(batch, mean)
        return self.gradient.loss.row_losses(mean, batch.y)

    def backward_part(self, rows: Tensor) -> None:
        """Write the gradient of some rows, from the pass that gave their losses."""
        self._backward(self.gradient.select(self.batch, rows))

    def backward_weighted(self, weights: Tensor) -> None:
        """Write the gradient of all rows with other weights, from the same pass."""
        self._backward(self.batch.reweigh(weights))

    def _backward(self, batch: Batch) -> None:
        self.gradient.differentiate(batch, self.gradient.scratch(len(batch)))
        self._end(batch)


class MLPNet(NeuralNet):  # type: ignore[misc]
    """A skorch net that trains the network of one job, or those of many at once.

    skorch gives the phases and the callbacks. Batches, the epoch and the step are
    written here: skorch's own take most of the time of a small network.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        The networks to train, with their data. Several must agree in what
        :func:`~sksharp.training._plan.shared_settings` returns and have no callbacks.

    device : torch.device
        Where to train.

    watch : Watch or None, default=None
        Told of every epoch.
    ranks : Ranks or None, default=None
        Processes that share every step.
    """

    def __init__(
        self,
        jobs: Sequence[TrainingJob],
        device: torch.device,
        watch: Watch | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        job = jobs[0]
        super().__init__(
            module=MLPModule,
            criterion=Criterion,
            max_epochs=job.epochs,
            batch_size=job.settings.batch_size,
            lr=job.settings.learning_rate_init,
            train_split=None,
            callbacks=list(job.callbacks) if job.callbacks else "disable",
            verbose=0,
            device=None,
            use_caching=False,
        )
        self.jobs = list(jobs)
        self.watch = watch
        self.ranks = ranks
        self.torch_device = device
        self.model_shape = (len(jobs),) if len(jobs) > 1 else ()
        self.micro_batch_size = job.settings.micro_batch_size

    @property
    def job(self) -> TrainingJob:
        """The first job, for what all have in common."""
        return self.jobs[0]

    # -- what skorch builds ------------------------------------------------------------

    def get_default_callbacks(self) -> list[Any]:
        """Return no callbacks: the loop records its own history."""
        return []

    def initialize_module(self) -> MLPNet:
        """Build the networks with the jobs' weights."""
        starts = [
            flatten(job.weights if job.iterate is None else job.iterate)
            for job in self.jobs
        ]
        flat = torch.stack(starts) if self.model_shape else starts[0]
        self.module_ = self._make_module(flat.to(self.torch_device))
        return self

    def _module_of(self, model_shape: tuple[int, ...]) -> MLPModule:
        return MLPModule(
            self.job.layer_units,
            self.job.settings.activation,
            model_shape=model_shape,
            dtype=to_dtype(self.job.weights.coefs[0].dtype),
            device=self.torch_device,
        )

    def _make_module(self, flat: Tensor) -> MLPModule:
        module = self._module_of(self.model_shape)
        with torch.no_grad():
            module.flat.copy_(flat)
        return module

    def initialize_criterion(self) -> MLPNet:
        """Build the loss."""
        self.criterion_ = Criterion(self.job.settings.out_activation)
        return self

    def initialize_optimizer(self, triggered_directly: Any = None) -> MLPNet:
        """Build the solver and give it the state to continue from."""
        self.optimizer_ = self._make_optimizer(self.module_.flat, self.jobs)
        states = [job.optimizer_state for job in self.jobs]
        dicts = [state.state_dict for state in states if state is not None]
        if dicts:
            self.optimizer_.load_state_dict(self._joint_state(dicts))
            self._postpone_ascents()
            if self.job.is_rewritten:
                self.optimizer_.adopt_params()
            else:
                self.optimizer_.resume_params()
        return self

    def _postpone_ascents(self) -> None:
        """Let them begin after as many calls as was asked for, however long each was."""
        job = self.job
        start = job.settings.solver_parameters.get("sam_start")
        if start is None or not job.is_incremental or job.optimizer_state is None:
            return
        group = self.optimizer_.param_groups[0]
        if group["n_steps"] < group["start"]:
            n_steps = -(-job.n_samples // job.settings.batch_size)
            left = start - n_steps * job.optimizer_state.epochs
            group["start"] = group["n_steps"] + max(0, left)

    def _joint_state(self, states: Sequence[Any]) -> Any:
        """Return the states of all jobs as one state with tensors."""
        tensors = [state_to_tensors(state, self.torch_device) for state in states]
        if not self.model_shape:
            return tensors[0]
        return join_models(tensors, self.module_.flat)

    def _make_optimizer(self, flat: Tensor, jobs: Sequence[TrainingJob]) -> Any:
        settings = jobs[0].settings
        values = {
            name: self._value(name, flat, jobs) for name in settings.solver_parameters
        }
        optimizer = make_optimizer(
            [flat],
            settings.solver,
            settings.base_solver,
            values,
            model_ndim=flat.ndim - 1,
            layout=self.module_.shapes,
        )
        ranks = self.ranks
        if ranks is not None and ranks.first_pass == "local":
            if isinstance(optimizer, SharpnessAware):
                optimizer.first_pass = ranks.local
        return optimizer

    def _value(self, name: str, like: Tensor, jobs: Sequence[TrainingJob]) -> Any:
        values = [job.settings.solver_parameters[name] for job in jobs]
        return shared_or_each(values, like)

    # -- training ----------------------------------------------------------------------

    def train(self) -> list[TrainingResult]:
        """Train the networks and return what came of them."""
        job = self.job
        self.initialize()
        # skorch moves nothing while it builds, but knows the device when it loads
        self.device = str(self.torch_device)
        self.listeners = Listeners(self) if self.callbacks_ else None
        self._make_gradient()
        self.ema = self._make_average()
        self.loop = Loop(self)
        with suppress(StopTraining):
            self.notify("on_train_begin", X=job.X, y=job.y)
            self.fit_loop(job.X, job.y)
        with suppress(StopTraining):
            self.notify("on_train_end", X=job.X, y=job.y)
        results = self.loop.results()
        # the loop holds the net: without the circle its rows go when it goes, and not
        # when Python looks for circles, many calls of partial_fit later
        del self.loop
        return results

    def _make_gradient(self) -> None:
        alphas = [job.settings.alpha for job in self.jobs]
        alpha = shared_or_each(alphas, self.module_.flat)
        self.gradient = Backprop(self.module_, self.criterion_.loss, alpha)
        self.parts: Parts | None = None
        optimizer, size = self.optimizer_, self.micro_batch_size
        if size is None or self.ranks is not None or self.listeners is not None:
            return
        if isinstance(optimizer, SharpnessAware) and optimizer.takes_parts_at_once:
            flat = self.gradient.flat
            self.parts = Parts(self._module_of, flat, self.criterion_.loss, alpha, size)

    def _make_average(self) -> EMA | None:
        job = self.job
        if job.settings.ema_decay is None:
            return None
        average = EMA(job.settings.ema_decay, warm_up=True)
        states = [job.averaging_state for job in self.jobs]
        dicts = [state.scheme_state for state in states if state is not None]
        if dicts:
            average.load_state_dict(self._joint_state(dicts))
        return average

    def keep(self, models: Sequence[int]) -> None:
        """Go on with some of the networks."""
        index = torch.tensor(models, device=self.torch_device)
        self.jobs = [self.jobs[k] for k in models]
        self.model_shape = (len(models),)
        flat = self.module_.flat.detach().index_select(0, index)
        state = select_models(self.optimizer_.state_dict(), index)
        self.module_ = self._make_module(flat)
        self.optimizer_ = self._make_optimizer(self.module_.flat, self.jobs)
        self.optimizer_.load_state_dict(state)
        if self.ema is not None:
            self.ema.load_state_dict(select_models(self.ema.state_dict(), index))
        self._make_gradient()

    def optimizer_of(self, k: int) -> Any:
        """Return an optimizer of one network's own, in the state of now."""
        if not self.model_shape:
            return self.optimizer_
        state = select_model(self.optimizer_.state_dict(), k)
        param = torch.nn.Parameter(self.module_.flat.detach()[k].clone())
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

    def evaluation_weights(self) -> Tensor:
        """Return the weights to predict with, of shape (*model_shape, n_params)."""
        if self.ema is not None and self.ema.n_averaged:
            return self.ema.averaged[0]
        weights: Tensor = self.optimizer_.evaluation_params()[0].detach()
        return weights

    def iterate(self) -> Tensor:
        """Return the weights to go on from, of shape (*model_shape, n_params)."""
        weights: Tensor = self.optimizer_.iterate_params()[0].detach()
        return weights

    def fit_loop(
        self,
        X: Matrix,
        y: Array | None = None,
        epochs: int | None = None,
        **fit_params: Any,
    ) -> MLPNet:
        """Run the epochs until a rule, a callback or the user stops them."""
        self.loop.run()
        return self

    def run_single_epoch(
        self,
        iterator: Batches,
        training: bool,
        prefix: str,
        step_fn: Any,
        **fit_params: Any,
    ) -> list[float]:
        """Train on every minibatch and return the mean losses of the epoch.

        The losses stay on the device until the epoch ends: one host sync per epoch.
        """
        optimizer, listeners, ema = self.optimizer_, self.listeners, self.ema
        alphas = np.array([job.settings.alpha for job in self.jobs])
        loss = EpochLoss(self.gradient, self.criterion_.loss, alphas, self.ranks)
        rates, lrs = self.loop.rates, self.loop.lrs
        next_lr = None if lrs is None else iter(lrs)
        saw_model = False
        for chunk in iterator:
            means = loss.begin(chunk)
            for batch, mean in zip(chunk.batches, means, strict=True):
                saw_model = saw_model or optimizer.sees_model
                loss.before_step()
                if next_lr is not None:
                    rates.write(next(next_lr))
                if listeners is None:
                    step_fn(batch, mean)
                else:
                    listeners.step(batch, mean, step_fn)
                if ema is not None:
                    ema.update(optimizer.evaluation_params())
            loss.end(chunk)
        self.loop.saw_model = saw_model
        return loss.values(iterator)

    def train_step(self, batch: Batch, mean: Tensor, **fit_params: Any) -> None:
        """Update the weights once, and write the prediction before the update."""
        if self.micro_batch_size is None:
            self.optimizer_.step(self._evaluation(batch, mean))
            return
        if self.parts is not None and self.parts.take(batch):
            whole = self._evaluation(batch, mean)
            self.optimizer_.step(self.parts.evaluation(whole, batch, mean))
            return
        parts = [
            (self._evaluation(part, mean[..., rows, :]), part.total)
            for rows, part in batch.cut(self.micro_batch_size)
        ]
        self.optimizer_.step(parts)

    def _evaluation(self, batch: Batch, mean: Tensor) -> Evaluation:
        listeners, ranks = self.listeners, self.ranks
        if ranks is None:
            on_gradient = None if listeners is None else listeners.on_gradient
            return Evaluation(self.gradient, batch, mean, on_gradient)
        rows, part, share = ranks.share_of(batch)
        mean = mean[..., rows, :]
        if not mean.shape[-2]:  # a row that counts for nothing
            mean = self.gradient.scratch(len(part))
        exchange = functools.partial(ranks.average_, share=share)
        return Evaluation(self.gradient, part, mean, None, exchange)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Tell the callbacks, if any, that something happened."""
        if not self.callbacks_:
            return
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as error:
            # skorch's callbacks stop training in this way
            raise StopTraining from error

    # -- prediction, for callbacks -------------------------------------------------------

    def outputs(self, X: Matrix) -> Array:
        """Return the outputs for rows, of shape (n_samples, n_outputs)."""
        weights, loss = self.evaluation_weights(), self.criterion_.loss
        return to_array(outputs(self.module_, loss, X, weights, self.torch_device))

    def predict(self, X: Matrix) -> Array:
        """Return what the estimator would predict now."""
        return self.job.decode(self.outputs(X))

    def predict_proba(self, X: Matrix) -> Array:
        """Return the probabilities that the estimator would predict now."""
        outputs = self.outputs(X)
        if outputs.shape[1] > 1 or self.job.classes is None:
            return outputs
        return np.hstack([1 - outputs, outputs])

    @property
    def classes_(self) -> Array:
        """Class labels."""
        if self.job.classes is None:
            raise AttributeError("a regressor has no classes")
        return self.job.classes

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the objective of skorch's own steps."""
        loss: Tensor = self.criterion_(y_pred, y_true)
        return loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor" if self.job.classes is None else "classifier"
        return tags
