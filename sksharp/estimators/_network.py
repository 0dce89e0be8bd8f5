"""The data of a fit, one network to train, and its job for the engine."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from .._input_noise import Columns
from .._jobs import (
    Array,
    Matrix,
    Progress,
    TrainingJob,
    TrainingResult,
    Validation,
    Weights,
)
from .._warnings import warn
from ..observers._observers import Observers
from ._combinations import check_lengths, check_start
from ._folds import has_zeros, n_nonzero_weight, nonzero_rows
from ._outputs import fitted_loss
from ._parameters import FitPlan
from ._state import TrainingState, weights_digest
from ._tempering import untempered


@dataclass(frozen=True)
class Rows:
    """Rows of data, encoded for the network.

    Parameters
    ----------
    X : array or sparse matrix of shape (n_samples, n_features)
        Features.

    y : array of shape (n_samples, n_outputs)
        Encoded targets.

    sample_weight : array of shape (n_samples,) or None
        Weights of the rows, multiplied by those of their classes.
    """

    X: Matrix
    y: Array
    sample_weight: Array | None = None


@dataclass(frozen=True)
class FitData(Rows):
    """The data of a fit.

    Parameters
    ----------
    validation : Rows or None
        User-supplied rows for validation.

    estimator : estimator
        The estimator that is fitted: it decodes outputs, and is scored.

    columns : Columns or None
        Of the rows, where their inputs get noise.
    """

    validation: Rows | None = None
    estimator: Any = None
    columns: Columns | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the network."""
        dtype: np.dtype[Any] = self.X.dtype
        return dtype

    def is_automatic(self, plan: FitPlan) -> bool:
        """Return whether the choice of a radius also changes other parameters."""
        return plan.is_automatic(self.y, self.sample_weight, self.validation)


@dataclass
class Network:
    """One network to train: where it starts, and with which parameters.

    Parameters
    ----------
    plan : FitPlan
        Its parameters.

    weights : Weights
        Weights and biases.

    random_state : numpy.random.RandomState
        Shuffles its rows.

    progress : Progress
        Its counters.

    state : TrainingState
        State to continue from.

    seed : int or None
        Seed of its random state, ``random_state`` if it becomes an estimator.

    rho : float or None
        Its radius, if its solver has one.
    """

    plan: FitPlan
    weights: Weights
    random_state: np.random.RandomState
    progress: Progress = field(default_factory=Progress)
    state: TrainingState = field(default_factory=TrainingState)
    seed: int | None = None
    rho: float | None = None

    @classmethod
    def of(
        cls, estimator: Any, plan: FitPlan, progress: Progress, **own: Any
    ) -> Network:
        """Return the network of an estimator."""
        weights, state = untempered(estimator)
        return cls(plan, weights, estimator._random_state, progress, state, **own)

    @property
    def averages(self) -> bool:
        """Whether an average of ``rho='auto'`` is under way."""
        averaging = self.state.averaging
        is_decay = averaging is not None and averaging.scheme == "ema_decay"
        return self.plan.searches and is_decay


@dataclass
class Trainer:
    """Trains the jobs of a fit.

    Parameters
    ----------
    train : callable
        Takes jobs, returns their results.

    observer : Observers or None
        Called during the training.
    """

    train: Callable[[Sequence[TrainingJob]], list[TrainingResult]]
    observer: Observers | None = None

    def __call__(self, jobs: Sequence[TrainingJob]) -> list[TrainingResult]:
        """Return the results of jobs."""
        return self.train(jobs)


def hidden_units(sizes: Any) -> list[int]:
    """Return the units of every hidden layer from ``hidden_layer_sizes``."""
    hidden: list[int] = np.atleast_1d(np.asarray(sizes, dtype=object)).tolist()
    if not all(
        type(units) is not bool and isinstance(units, Integral) for units in hidden
    ):
        raise TypeError(
            "hidden_layer_sizes must be an integer or a list of integers, got "
            f"{sizes!r}. Give the units of every hidden layer."
        )
    if any(units <= 0 for units in hidden):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
    return hidden


def new_network(
    estimator: Any,
    plan: FitPlan,
    data: FitData,
    seed: int,
    rho: float | None,
) -> Network:
    """Return a network with new weights, drawn from a seed.

    Parameters
    ----------
    estimator : estimator
        The estimator that is fitted, initialized.

    plan : FitPlan
        Its parameters.

    data : FitData
        Its data.

    seed : int
        Seed of the weights and of the order of the rows.

    rho : float or None
        Its radius, if its solver has one.
    """
    generator = np.random.RandomState(seed)
    source = copy.copy(estimator)
    source._random_state = generator
    hidden = hidden_units(estimator.hidden_layer_sizes)
    units = [data.X.shape[1], *hidden, data.y.shape[1]]
    layers = [
        source._init_coef(fan_in, fan_out, data.dtype)
        for fan_in, fan_out in itertools.pairwise(units)
    ]
    coefs, intercepts = map(list, zip(*layers, strict=True))
    return Network(plan, Weights(coefs, intercepts), generator, seed=seed, rho=rho)


def make_job(
    network: Network,
    data: FitData,
    rows: Array | None = None,
    validation: Validation | None = None,
    *,
    incremental: bool = False,
) -> TrainingJob:
    """Return the training of a network.

    Parameters
    ----------
    network : Network
        What to train.

    data : FitData
        Its data.

    rows : array of int or None, default=None
        Which rows to train on, all if None.

    validation : Validation or None, default=None
        Rows for early stopping.

    incremental : bool, default=False
        Whether this is a call of ``partial_fit``.
    """
    plan, state, estimator = network.plan, network.state, data.estimator
    sample_weight, n_rows = data.sample_weight, len(data.y)
    is_rewritten = state.digest != weights_digest(network.weights)
    is_automatic = data.is_automatic(plan)
    if is_automatic and sample_weight is not None and has_zeros(sample_weight):
        # an automatic minibatch is small, and might hold rows of weight 0 only
        rows = nonzero_rows(rows, sample_weight)
    n_samples = n_rows if rows is None else len(rows)
    # 'auto' is a part of all rows, those of a validation set too
    n_of_auto = n_nonzero_weight(data.y, sample_weight) if is_automatic else n_samples
    batch_size = plan.clipped_batch_size(n_of_auto, is_automatic=is_automatic)
    batch_size = min(n_samples, int(batch_size))
    # a fold may be smaller than the minibatch without a warning
    n_largest = n_rows if validation is None else n_samples
    if plan.batch_size != "auto" and plan.batch_size > n_largest:
        warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to "
            "be clipped"
        )
    epochs = plan.epochs(n_samples, batch_size)
    if plan.max_steps is not None and not incremental:
        check_lengths(plan, epochs)
        check_start(plan, epochs)
    job = TrainingJob(
        weights=network.weights,
        # the solver's own weights, unless coefs_ was written to
        iterate=None if is_rewritten else state.iterate,
        is_rewritten=is_rewritten,
        X=data.X,
        y=data.y,
        sample_weight=sample_weight,
        rows=rows,
        columns=data.columns,
        random_state=network.random_state,
        settings=plan.settings(
            n_samples=n_samples,
            batch_size=batch_size,
            epochs=epochs,
            radius=network.rho,
            dtype=network.weights.coefs[0].dtype,
            incremental=incremental,
            # a call of partial_fit with few rows continues the average
            averages=is_automatic or (incremental and network.averages),
            out_activation=estimator.out_activation_,
            loss=fitted_loss(estimator),
        ),
        progress=network.progress,
        epochs=1 if incremental else epochs,
        is_incremental=incremental,
        validation=validation,
        decode=estimator._decode,
        decode_targets=estimator._decode_targets,
        classes=estimator.classes_ if is_classifier(estimator) else None,
        callbacks=plan.callbacks,
        should_converge=not plan.ends_low,
    )
    if incremental:
        _continue(job, network)
    return job


def _continue(job: TrainingJob, network: Network) -> None:
    """Let a job continue where the previous call of fit or partial_fit stopped."""
    state, plan = network.state, network.plan
    if state.optimizer is not None and state.optimizer.solvers == plan.names:
        job.optimizer_state = state.optimizer
    if not job.is_rewritten and state.averaging is not None:
        scheme = "ema_decay" if plan.swa is None else "swa"
        job.averaging_state = (
            state.averaging if state.averaging.scheme == scheme else None
        )


def check_result(result: TrainingResult, *, keeps_best: bool = False) -> None:
    """Raise if training has diverged, and emit its warnings.

    Parameters
    ----------
    result : TrainingResult
        Result of a training.

    keeps_best : bool, default=False
        Whether the weights are those of the best epoch of early stopping.
    """
    for message, category in result.warnings:
        warn(message, category)
    progress = result.progress
    if not result.weights.is_finite():
        raise ValueError(
            "Solver produced non-finite parameter weights. The input data may contain "
            "large values and need to be preprocessed."
        )
    has_ended_well = not progress.n_iter or np.isfinite(progress.loss_curve[-1])
    if not has_ended_well and progress.best_validation_score is None:
        raise ValueError(
            "The training diverged: the loss of the last epoch must be finite in "
            f"{result.weights.coefs[0].dtype}, got {progress.loss_curve[-1]}. Scale X and "
            "y, or lower learning_rate_init."
        )
    if keeps_best:
        _warn_of_divergence(progress)


def _warn_of_divergence(progress: Progress) -> None:
    """Warn if training diverged after the epoch whose weights were kept."""
    n_before = len(progress.loss_curve) - progress.n_iter
    losses = progress.loss_curve[n_before:]
    if not losses or np.isfinite(losses[-1]):
        return
    n_finite = np.flatnonzero(np.isfinite([0, *losses]))[-1]
    best = progress.best_n_iter
    kept = f"those of the best epoch, {best}" if best else "those that it began with"
    warn(
        f"The training diverged: from epoch {n_finite + 1} on the loss is not finite. The "
        f"weights are {kept}. Lower learning_rate_init, or scale X.",
        ConvergenceWarning,
    )
