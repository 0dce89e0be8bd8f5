"""The training loop, as a skorch net."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from skorch import NeuralNet
from torch import Tensor, nn

from .._jobs import Array, Matrix, Observer, Saver, TrainingResult
from ._callbacks import Listeners
from ._loop import Loop
from ._losses import Loss
from ._module import MLPModule
from ._networks import Networks
from ._stopping import StopTraining


class Criterion(nn.Module):
    """The loss of the output layer."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss of rows, given the input of the output activation."""
        return self.loss.row_objectives(z, y).mean(-1)


class MLPNet(NeuralNet):  # type: ignore[misc]
    """A skorch net that trains networks: its phases and its callbacks.

    Batches, the epoch and the step are those of :class:`Loop`: skorch's own take most of
    the time of a small network.

    Parameters
    ----------
    networks : Networks
        The networks. Several must have no callbacks.

    observer : Observer or None, default=None
        Called before and after every epoch.

    saver : Saver or None, default=None
        Called after every epoch.
    """

    def __init__(
        self,
        networks: Networks,
        observer: Observer | None = None,
        saver: Saver | None = None,
    ) -> None:
        job = networks.job
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
        self.networks, self.observer, self.saver = networks, observer, saver
        self._job = job

    # -- what skorch builds ------------------------------------------------------------

    def get_default_callbacks(self) -> list[Any]:
        """Return no callbacks: the loop records its own history."""
        return []

    def initialize_module(self) -> MLPNet:
        """Take the module of the networks."""
        self.module_ = self.networks.module
        return self

    def initialize_criterion(self) -> MLPNet:
        """Take the loss of the networks."""
        self.criterion_ = Criterion(self.networks.loss)
        return self

    def initialize_optimizer(self, triggered_directly: Any = None) -> MLPNet:
        """Take the optimizer of the networks."""
        self.optimizer_ = self.networks.optimizer
        return self

    # -- training ----------------------------------------------------------------------

    def train(self) -> list[TrainingResult]:
        """Train the networks and return their results."""
        job = self._job
        self.initialize()
        # skorch moves nothing while it builds, but knows the device when it loads
        self.device = str(self.networks.device)
        hooks = Listeners(self, self.networks) if self.callbacks_ else None
        self.loop = Loop(self.networks, self.observer, hooks, self.saver)
        with suppress(StopTraining):
            self.notify("on_train_begin", X=job.X, y=job.y)
            self.fit_loop(job.X, job.y)
        with suppress(StopTraining):
            self.notify("on_train_end", X=job.X, y=job.y)
        return self.loop.results()

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

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call the callbacks, if there are any."""
        if not self.callbacks_:
            return
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as error:
            # skorch's callbacks stop training in this way
            raise StopTraining from error

    # -- prediction, for callbacks -------------------------------------------------------

    def predict(self, X: Matrix) -> Array:
        """Return what the estimator would predict now."""
        return self._job.decode(self.networks.outputs(X))

    def predict_proba(self, X: Matrix) -> Array:
        """Return the probabilities that the estimator would predict now."""
        outputs = self.networks.outputs(X)
        if outputs.shape[1] > 1 or self._job.classes is None:
            return outputs
        return np.hstack([1 - outputs, outputs])

    @property
    def classes_(self) -> Array:
        """Class labels."""
        if self._job.classes is None:
            raise AttributeError("a regressor has no classes")
        return self._job.classes

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the objective of skorch's own steps."""
        loss: Tensor = self.criterion_(y_pred, y_true)
        return loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor" if self._job.classes is None else "classifier"
        return tags
