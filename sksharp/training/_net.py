"""The training loop, as a skorch net."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn

from .._contract import (
    Array,
    Matrix,
    TrainingJob,
    TrainingResult,
)
from ..optim import make_optimizer
from ._batches import CHUNK_BYTES, Batches
from ._bridge import (
    flatten,
    state_to_tensors,
    to_array,
    to_dtype,
    to_parts,
)
from ._callbacks import Listeners, StopTraining
from ._epoch import EpochLoss
from ._gradient import Backprop, Batch
from ._loop import Loop
from ._losses import LOSSES
from ._module import MLPModule


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
    """

    __slots__ = ("batch", "gradient", "mean", "on_gradient")

    def __init__(
        self, gradient: Backprop, batch: Batch, mean: Tensor, on_gradient: Any
    ) -> None:
        self.gradient, self.batch, self.mean = gradient, batch, mean
        self.on_gradient = on_gradient

    def __call__(self) -> Any:
        self.gradient(self.batch, self.mean)
        self.mean = self.gradient.scratch(len(self.batch))
        if self.on_gradient is not None:
            self.on_gradient(self.batch)


class MLPNet(NeuralNet):  # type: ignore[misc]
    """A skorch net that trains the network of one job.

    skorch gives the phases and the callbacks. Batches, the epoch and the step are
    written here: skorch's own take most of the time of a small network.

    Parameters
    ----------
    job : TrainingJob
        The network to train, with its data.

    device : torch.device
        Where to train.
    """

    def __init__(self, job: TrainingJob, device: torch.device) -> None:
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
        self.job = job
        self.torch_device = device

    # -- what skorch builds ------------------------------------------------------------

    def get_default_callbacks(self) -> list[Any]:
        """Return no callbacks: the loop records its own history."""
        return []

    def initialize_module(self) -> MLPNet:
        """Build the network with the job's weights."""
        job = self.job
        weights = job.weights if job.iterate is None else job.iterate
        self.module_ = MLPModule(
            [len(weights.coefs[0]), *map(len, weights.intercepts)],
            job.settings.activation,
            dtype=to_dtype(weights.coefs[0].dtype),
            device=self.torch_device,
        )
        with torch.no_grad():
            self.module_.flat.copy_(flatten(weights, self.torch_device))
        return self

    def initialize_criterion(self) -> MLPNet:
        """Build the loss."""
        self.criterion_ = Criterion(self.job.settings.out_activation)
        return self

    def initialize_optimizer(self, triggered_directly: Any = None) -> MLPNet:
        """Build the solver and give it the state to continue from."""
        settings = self.job.settings
        self.optimizer_ = make_optimizer(
            [self.module_.flat],
            settings.solver,
            settings.base_solver,
            settings.solver_parameters,
        )
        if self.job.optimizer_state is not None:
            state = state_to_tensors(
                self.job.optimizer_state.state_dict, self.torch_device
            )
            self.optimizer_.load_state_dict(state)
            if self.job.is_rewritten:
                self.optimizer_.adopt_params()
        return self

    # -- training ----------------------------------------------------------------------

    def train(self) -> TrainingResult:
        """Train the network and return what came of it."""
        job = self.job
        self.initialize()
        # skorch moves nothing while it builds, but knows the device when it loads
        self.device = str(self.torch_device)
        self.listeners = Listeners(self) if self.callbacks_ else None
        gradient = Backprop(self.module_, self.criterion_.loss, job.settings.alpha)
        self.loop = Loop(self, gradient)
        with suppress(StopTraining):
            self.notify("on_train_begin", X=job.X, y=job.y)
            self.fit_loop(job.X, job.y)
        with suppress(StopTraining):
            self.notify("on_train_end", X=job.X, y=job.y)
        return self.loop.result()

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
    ) -> float:
        """Train on every minibatch and return the mean loss of the epoch.

        The losses stay on the device until the epoch ends: one host sync per epoch.
        """
        optimizer, listeners = self.optimizer_, self.listeners
        loss = EpochLoss(self.loop.gradient, self.criterion_.loss)
        saw_model = False
        for chunk in iterator:
            means = loss.begin(chunk)
            for batch, mean in zip(chunk.batches, means, strict=True):
                saw_model = saw_model or optimizer.is_synchronized
                loss.before_step()
                if listeners is None:
                    step_fn(batch, mean)
                else:
                    listeners.step(batch, mean, step_fn)
            loss.end(chunk)
        self.loop.saw_model = saw_model
        return loss.value(iterator)

    def train_step(self, batch: Batch, mean: Tensor, **fit_params: Any) -> None:
        """Update the weights once, and write the prediction before the update."""
        listeners = self.listeners
        on_gradient = None if listeners is None else listeners.on_gradient
        self.optimizer_.step(Evaluation(self.loop.gradient, batch, mean, on_gradient))

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

    @torch.no_grad()
    def outputs(self, X: Matrix, flat: Tensor | None = None) -> Array:
        """Return the outputs for rows, of shape (n_samples, n_outputs).

        Parameters
        ----------
        X : array, sparse matrix or Tensor of shape (n_samples, n_features)
            Rows.

        flat : Tensor of shape (n_params,), default=None
            Weights; by default those that the solver would predict with.
        """
        flat = self.optimizer_.evaluation_params()[0] if flat is None else flat
        row_bytes = flat.element_size() * max(self.module_.layer_units)
        parts = to_parts(X, max(1, CHUNK_BYTES // row_bytes), self.torch_device)
        activate_ = self.criterion_.loss.activate_
        return to_array(torch.cat([activate_(self.module_(X, flat)) for X in parts]))

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
