"""What the two nets share: skorch's net with the parameters of this package."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Iterator
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from skorch import NeuralNet
from skorch.utils import to_tensor
from torch import Tensor, nn

from .._jobs import Array
from .._numbers import plain_scalar
from ..estimators._parameters import HOLD_OPTIONS, RHO_UNTIL_CHOSEN, with_objects
from ..options.averages import as_snapshots, as_swa
from ..options.schedules import Constant, as_schedule
from ..training._device import has_cuda
from ._batches import Batches, batches, n_rows_of, with_arrays
from ._callbacks import Snapshots, WeightAveraging
from ._choice import DivergenceError, HeldOutLosses, choose_radius, split_of
from ._evaluation import EvaluationWeights, reset_to_params
from ._generators import draw_seed, lent_generators, seeded_states, states_now
from ._inputs import (
    SHAPE,
    FitRows,
    cast,
    check_signature,
    checked_inputs,
    read_rows,
)
from ._losses import losses_and_shares, weighted
from ._parameters import check_parameters, check_plan, planned_with
from ._planned import LearningRate, Planned
from ._solver import make_solver, postpone_ascents, solvers_of
from ._steps import accumulated, accumulates, in_precision, take_step, takes_own_step
from ._stopping import BestWeights, explained_keys, valid_loss
from ._training import TrainingState
from ._weights import weighted_batches


class FlatNet(NeuralNet):
    """Base of the nets, in front of skorch's classifier or regressor."""

    # what a net unpickled without CUDA has to bring to the CPU
    cuda_dependent_attributes_ = ["phases_", "snapshots_", "weight_averaging_"]

    # the rows of the fit that runs, and the weights of the minibatch
    rows_: FitRows | None = None
    batch_weights_: Any = None
    # of a net that is fitted to compare radii
    held_out_: HeldOutLosses | None = None
    # of the last training: to train and to validate with, None where it is not known
    n_rows_: tuple[int | None, ...] = (None, None)
    # of 'fp16'
    scaler_: torch.amp.GradScaler | None = None

    def _set_up(self, own: dict[str, Any], of_skorch: dict[str, Any]) -> None:
        """Store the parameters of a constructor."""
        if "optimizer" in of_skorch:
            raise TypeError(
                "optimizer must be left out, solver and base_solver choose it here, got "
                f"optimizer={of_skorch['optimizer']!r}. Give a class of torch.optim as "
                "base_solver, or use skorch's own net with sksharp.optim."
            )
        defaults = {
            "iterator_train": Batches,
            "iterator_valid": Batches,
            "train_split": None,
        }
        super().__init__(**{**defaults, **of_skorch})
        del self.optimizer
        for name, value in own.items():
            setattr(self, name, value)

    # -- parameters ------------------------------------------------------------------------

    @property
    def device(self) -> Any:
        """Where the net trains: with 'auto', CUDA if there is a device."""
        given = vars(self).get("device")
        if isinstance(given, str) and given == "auto":
            return "cuda" if has_cuda() else "cpu"
        return given

    @device.setter
    def device(self, value: Any) -> None:
        self.__dict__["device"] = value

    def _get_param_names(self) -> list[str]:
        names: list[str] = super()._get_param_names()
        return sorted(name for name in names if not name.startswith("_"))

    def get_params(self, deep: bool = True, **kwargs: Any) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether options and callbacks have rows of their own.

        **kwargs
            Ignored.

        Returns
        -------
        params : dict
            Values by their names.
        """
        params: dict[str, Any] = super().get_params(deep=deep, **kwargs)
        params.pop("_params_to_validate", None)
        return {**params, "device": vars(self)["device"]}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and options of those that hold an object.

        Parameters
        ----------
        **params : dict
            Parameters by their names. ``solver__eta`` sets the option ``eta`` of
            ``solver``; ``module__x`` is an argument of the module.

        Returns
        -------
        self : object
            The net.
        """
        if "optimizer" in params:
            raise TypeError(
                "optimizer must be left out, solver and base_solver choose it here. Set "
                "base_solver."
            )
        options = {
            name: value
            for name, value in params.items()
            if name.partition("__")[0] in HOLD_OPTIONS and "__" in name
        }
        others = {name: v for name, v in params.items() if name not in options}
        if isinstance(others.get("module"), nn.Module):
            # an object, which skorch takes for one that it has made
            self.__dict__["module"] = others.pop("module")
        if "callbacks" in others:  # of which skorch would initialize the old ones
            self.callbacks = others.pop("callbacks")
            if self.initialized_:
                self._initialize_callbacks()
        with self._lent():
            super().set_params(**others)
        if options:
            holders = {name.partition("__")[0] for name in options}
            for name, holder in with_objects(self, holders).items():
                own = {
                    key.partition("__")[2]: value
                    for key, value in options.items()
                    if key.partition("__")[0] == name
                }
                setattr(self, name, holder.set_params(**own))
        if "rho" in others and isinstance(self.rho, Real):
            self._set_radius(float(self.rho))
        return self

    def _set_radius(self, rho: float) -> None:
        """Let a training that goes on use another radius, as skorch does with lr."""
        if not self.initialized_:
            return
        self.rho_ = rho
        for group in self.optimizer_.param_groups:
            if "rho" in group:
                group["rho"] = rho

    @property
    def radius(self) -> float:
        """The radius to train with."""
        if isinstance(self.rho, Real):
            return float(self.rho)
        chosen: float | None = getattr(self, "rho_", None)
        outer = solvers_of(self)[0]
        first = float(outer.scale_radii(RHO_UNTIL_CHOSEN * outer.radius))
        return first if chosen is None else chosen

    # -- what skorch makes -----------------------------------------------------------------

    def initialize(self) -> Self:
        """Make module, criterion, optimizer and callbacks anew.

        Returns
        -------
        self : object
            The net.
        """
        check_parameters(self)
        seed = self.__dict__.pop("next_seed_", None)
        self.seed_ = draw_seed(self.random_state) if seed is None else seed
        self.training_ = TrainingState(self)
        self.generator_states_ = seeded_states(self.seed_, self.training_.device)
        self.planned_with_, self.scaler_ = planned_with(self), None
        self.phases_ = self._make_phases()
        for phase in self.phases_.values():
            phase.initialize()
        with self._lent():
            super().initialize()
        return self

    def initialize_history(self) -> Self:
        """Make a new history, whoever holds the last one."""
        self.history_ = None
        super().initialize_history()
        return self

    def initialize_module(self) -> Self:
        """Make the module: of a class, or a copy of an object."""
        arguments = self.get_params_for("module")
        if isinstance(self.module, nn.Module) and not arguments:
            self.module_ = copy.deepcopy(self.module)
        else:
            check_signature(self.module, arguments)
            super().initialize_module()
        return self

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the arguments of the module and others.

        Those of the module get ``n_features_in`` and ``n_outputs`` where it takes them.

        Parameters
        ----------
        prefix : str
            'module' or another.

        Returns
        -------
        arguments : dict
            Values by their names.
        """
        arguments: dict[str, Any] = super().get_params_for(prefix)
        if prefix != "module" or isinstance(self.module, nn.Module):
            return arguments
        taken = inspect.signature(self.module).parameters
        known = {
            name: getattr(self, attribute)
            for name, attribute in SHAPE.items()
            if name in taken and hasattr(self, attribute)
        }
        return {**known, **arguments}

    def initialize_optimizer(self, triggered_directly: Any = None) -> Self:
        """Make the optimizer that the parameters name."""
        named = list(self.get_all_learnable_params())
        if not any(p.requires_grad for _, p in named):
            raise ValueError(
                "module must have parameters that require gradients, got none in "
                f"{type(self.module_).__name__}. There is nothing to train; add a layer "
                "with weights, or unfreeze one."
            )
        (groups,), arguments = self.get_params_for_optimizer("optimizer", named)
        self.optimizer_ = make_solver(self, groups, arguments)
        return self

    def _make_phases(self) -> dict[str, Any]:
        """Return what averages, sets the rate and stops, in the order of its calls."""
        phases: dict[str, Any] = {"weights": EvaluationWeights()}
        if self.swa:
            phases["weights"] = WeightAveraging(swa=as_swa(self.swa))
        elif self.ema_decay:
            phases["weights"] = WeightAveraging(ema_decay=float(self.ema_decay))
        snapshots = as_snapshots(self.snapshots)
        schedule = as_schedule(self.learning_rate)
        if snapshots is not None:
            phases["snapshots"] = Snapshots(**snapshots.get_params())
        elif schedule is not None or self.warmup:
            schedule = Constant() if schedule is None else schedule.plain()
            phases["rate"] = LearningRate(schedule, plain_scalar(self.warmup))
        if self.early_stopping:
            phases["best"] = BestWeights(float(self.n_iter_no_change), float(self.tol))
        return {**phases, "plan": Planned()}

    # -- fits --------------------------------------------------------------------------

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any],
        fit_params: dict[str, Any],
    ) -> Self:
        """Train from the beginning, or with ``warm_start`` go on."""
        with self._as_before_if_it_fails():
            check_parameters(self)
            goes_on = self.warm_start and self.initialized_
            if goes_on:
                check_plan(self)
            reset = not (goes_on and self._knows_targets)
            self.rows_ = read_rows(self, X, y, sample_weight, validation, reset=reset)
            if not goes_on:
                if "next_seed_" not in vars(self):  # that of another net
                    self.next_seed_ = draw_seed(self.random_state)
                choose_radius(self, self.rows_, self.next_seed_, fit_params)
            super().fit(self.rows_.X, self.rows_.y, **fit_params)
            self._forget_rows()
        return self

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any]
    ) -> Self:
        """Go on for ``max_epochs`` epochs."""
        if fit_params.get("_routing_method") != "fit":  # skorch's fit has read the rows
            check_parameters(self)
            reset = not (self.initialized_ and self._knows_targets)
            self.rows_ = read_rows(self, X, y, sample_weight, reset=reset)
            X, y = self.rows_.X, self.rows_.y
        if not self.initialized_:
            self.initialize()
        check_plan(self)
        try:
            with self._lent():
                super().partial_fit(X, y, **fit_params)
        finally:
            self._forget_rows()
        return self

    @property
    def _knows_targets(self) -> bool:
        """Whether a fit has seen targets; ``initialize`` alone has not."""
        return "n_outputs_" in vars(self)

    def _forget_rows(self) -> None:
        for name in ("rows_", "batch_weights_"):
            self.__dict__.pop(name, None)

    @contextlib.contextmanager
    def _as_before_if_it_fails(self) -> Iterator[None]:
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    @contextlib.contextmanager
    def _lent(self) -> Iterator[None]:
        """Context in which torch draws from the net's generators."""
        training = getattr(self, "training_", None)
        if training is None or training.is_lent:
            yield
            return
        with lent_generators(self.generator_states_, training.device):
            training.is_lent = True
            try:
                yield
            finally:
                training.is_lent = False
                self.generator_states_ = states_now(training.device)

    def _weigh(self, y: Any, sample_weight: Any, y_train: Any) -> Any:
        """Return the weights of rows with those of their classes."""
        return sample_weight

    @property
    def validation_loss_(self) -> float:
        """Validation loss of the net: at the best epoch, or at the last."""
        best = self.phases_.get("best")
        try:
            return valid_loss(self) if best is None else float(best.loss_)
        except (KeyError, IndexError):
            raise AttributeError(
                "validation_loss_ is only set by a fit with validation rows."
            ) from None

    @property
    def n_averaged_(self) -> int:
        """Number of weights in the average of ``swa`` or ``ema_decay``, 0 without."""
        weights = self.phases_["weights"]
        return weights.n_averaged_ if isinstance(weights, WeightAveraging) else 0

    # -- the loop --------------------------------------------------------------------------

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Return the datasets to train and to validate with."""
        parts = self._split(X, y, **fit_params)
        self.n_rows_ = tuple(map(n_rows_of, parts))
        return parts

    def _split(self, X: Any, y: Any, **fit_params: Any) -> Any:
        rows = self.rows_
        if rows is None:
            return super().get_split_datasets(X, y, **fit_params)
        dataset = rows.dataset = self.get_dataset(X, y)
        if rows.validation is not None:
            held = rows.validation
            held.dataset = self.get_dataset(held.X, held.y)
            return dataset, held.dataset
        split = self.train_split
        if split is None and self.early_stopping:
            split = split_of(self, y, self.seed_)
        if not split:
            return dataset, None
        args = () if y is None else (y,)
        return split(dataset, *args, **fit_params)

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the minibatches of a dataset."""
        kwargs = self.get_params_for("iterator_train" if training else "iterator_valid")
        iterator = self.iterator_train if training else self.iterator_valid
        kwargs.setdefault("batch_size", self.batch_size)
        if kwargs["batch_size"] == -1:
            kwargs["batch_size"] = len(dataset)
        return batches(self, iterator, dataset, kwargs, training=training)

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> Self:
        """Train for ``max_epochs``, or for what is left of a training that was cut off."""
        plan = self.phases_["plan"]
        if epochs is None and self.training_.is_loaded:
            epochs = 0 if self._is_over() else plan.end_ - plan.done_
        if epochs == 0:  # its rows are still needed for batch normalization
            self.phases_["weights"].dataset_, _ = self.get_split_datasets(X, y)
        super().fit_loop(X, y, epochs=epochs, **fit_params)
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call what averages, sets the rate and stops, then the callbacks."""
        if "batch" in cb_kwargs:
            cb_kwargs["batch"] = with_arrays(cb_kwargs["batch"])
        if method_name == "on_epoch_begin":
            if not self.phases_["plan"].done_:
                postpone_ascents(self, cb_kwargs["dataset_train"])
            if self.held_out_ is not None:
                self.held_out_.dataset = cb_kwargs["dataset_valid"]
        elif method_name == "on_batch_end" and self.batch_weights_ is not None:
            # by which skorch averages the losses of minibatches
            prefix = "train" if cb_kwargs["training"] else "valid"
            weight = float(sum(self.batch_weights_))
            self.history.record_batch(f"{prefix}_batch_size", weight)
        elif method_name == "on_epoch_end":
            self._check_losses()
        for phase in self.phases_.values():
            getattr(phase, method_name)(self, **cb_kwargs)
        if method_name == "on_train_end":
            self._end_training()
        with explained_keys():
            super().notify(method_name, **cb_kwargs)
        if method_name == "on_epoch_end" and self._is_over():
            raise KeyboardInterrupt  # skorch's way to end a training

    def _check_losses(self) -> None:
        if not self.history[-1]["batches"]:
            raise ValueError(
                "An epoch must have a minibatch, got none. Lower batch_size, or leave "
                "drop_last of the iterator at False."
            )
        losses = self.history[-1, "batches", :, "train_loss"]
        if not np.isfinite(losses).all():
            raise DivergenceError(
                f"The training loss must stay finite, got {float(np.sum(losses))} in epoch "
                f"{len(self.history)}. Lower lr or rho, or scale X and y."
            )

    def _is_over(self) -> bool:
        """Return whether training ends before ``max_epochs``."""
        best, weights = self.phases_.get("best"), self.phases_["weights"]
        if best is None:
            return False
        if not (isinstance(weights, WeightAveraging) and weights.is_swa):
            return bool(best.is_stalled)
        if best.is_stalled and not weights.is_on:
            weights.begin_now()
        return weights.is_over

    def _end_training(self) -> None:
        best = self.phases_.get("best")
        if best is not None and best.best_ is not None:
            best.restore(self)
            self.phases_["weights"].forget()
            reset_to_params(self)
        if self.held_out_ is not None:
            self.held_out_.measure(self)
        self.training_.is_loaded = False

    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Any,
        **fit_params: Any,
    ) -> None:
        """Train or validate on every minibatch once."""
        if iterator is not None:
            iterator = weighted_batches(self, iterator, training)
        try:
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
        finally:
            self.__dict__.pop("batch_weights_", None)

    # -- a step ----------------------------------------------------------------------------

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Take a step, as the solver needs it."""
        if takes_own_step(self):
            return take_step(self, batch, **fit_params)
        step: dict[str, Any] = super().train_step(batch, **fit_params)
        return step

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the gradient of a minibatch."""
        if accumulates(self):
            return accumulated(self, batch, **fit_params)
        step: dict[str, Any] = super().train_step_single(batch, **fit_params)
        return step

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Return the outputs of the module, in whose dtype the inputs are."""
        x = cast(self.module_, to_tensor(x, device=self.device))
        with in_precision(self) as restored:
            return restored(super().infer(x, **fit_params))

    def get_loss(
        self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the loss of a minibatch, weighted if its rows have weights."""
        weights = self.batch_weights_
        if weights is not None:
            losses, shares = self._losses_and_shares(y_pred, y_true)
            return weighted(self.criterion_, losses, shares, weights)
        y_pred, y_true = self._matched(y_pred, y_true)
        loss: Tensor = super().get_loss(y_pred, y_true, X=X, training=training)
        return loss

    def row_losses(self, y_pred: Any, y_true: Any) -> Tensor:
        """Return the loss of every row.

        Parameters
        ----------
        y_pred : Tensor
            Outputs of the module.

        y_true : Tensor
            Targets of the dataset.

        Returns
        -------
        losses : Tensor of shape (n_rows,)
            The losses, of several outputs their mean. Their mean is the loss.
        """
        losses, shares = self._losses_and_shares(y_pred, y_true)
        return losses / shares.mean()

    def _losses_and_shares(self, y_pred: Any, y_true: Any) -> tuple[Tensor, Tensor]:
        y_pred, y_true = self._matched(y_pred, y_true)
        evaluate = functools.partial(super().get_loss, y_pred, y_true)
        return losses_and_shares(self.criterion_, evaluate, y_true)

    # -- prediction ------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Array:
        """Return outputs after the nonlinearity of the criterion, of snapshots the mean."""
        self.check_is_fitted()
        X = checked_inputs(self, X, reset=False)
        predict: Any = super().predict_proba
        snapshots = self.phases_.get("snapshots")
        if snapshots is None or snapshots.is_training_ or not len(snapshots):
            return np.asarray(predict(X))
        mean: Array = snapshots.mean(self, lambda: predict(X))
        return mean

    # -- files and pickles -----------------------------------------------------------------

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load what ``save_params`` or a checkpoint has saved."""
        given = vars(self)["device"]
        super().load_params(*args, **kwargs)
        if given == "auto":
            self.device = given

    def __setstate__(self, state: dict[str, Any]) -> None:
        given = state["device"]
        self.__dict__["device"] = given
        super().__setstate__({**state, "device": self.device})
        if given == "auto":
            self.device = given
