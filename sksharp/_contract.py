"""What passes between the estimators (numpy) and the engine (torch).

Nothing here imports torch, and no object that crosses holds a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Matrix: TypeAlias = Any  # an Array or a scipy sparse matrix


@dataclass(frozen=True)
class AveragingSettings:
    """When weights are averaged, in epochs.

    Parameters
    ----------
    scheme : str
        Key of ``AVERAGERS``.

    start : int
        Epochs of training before averaging begins.

    freq : int
        Epochs between two weights that enter the average.

    length : int
        Epochs that averaging lasts.

    lr : float or None
        Learning rate while averaging; None leaves it to the schedule.
    """

    scheme: str
    start: int
    freq: int
    length: int
    lr: float | None


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of a training job, named as in the estimators."""

    activation: str
    out_activation: str
    alpha: float
    solver: str
    base_solver: str
    solver_parameters: Mapping[str, Any]
    learning_rate: str
    learning_rate_init: float
    power_t: float
    batch_size: int
    shuffle: bool
    tol: float
    n_iter_no_change: float
    verbose: int
    device: str
    averaging: AveragingSettings | None


@dataclass
class Progress:
    """How training went so far: the estimator's attributes without the underscore.

    Either ``best_loss`` (without a validation set) or ``validation_scores`` and
    ``best_validation_score`` (with one) are kept, the others are None.
    """

    t: int = 0
    n_iter: int = 0
    loss_curve: list[float] = field(default_factory=list)
    best_loss: float | None = float("inf")
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    no_improvement_count: int = 0


@dataclass(frozen=True)
class Validation:
    """Rows kept out of training, and how predictions for them are scored.

    Parameters
    ----------
    X : array or sparse matrix of shape (n_samples, n_features)
        The rows.

    y : array of shape (n_samples, n_outputs)
        Their targets, encoded as for training.

    score : callable
        Takes the network's outputs of shape (n_samples, n_outputs), returns a float,
        the higher the better.
    """

    X: Matrix
    y: Array
    score: Callable[[Array], float]


@dataclass(frozen=True)
class OptimizerState:
    """State of an optimizer as arrays, to continue training from.

    Parameters
    ----------
    solvers : tuple of str
        The solvers that the state belongs to, the one with the descent step last.

    state_dict : dict
        torch's ``state_dict``, with arrays in the place of tensors.
    """

    solvers: tuple[str, ...]
    state_dict: Mapping[str, Any]

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return float(self.state_dict["param_groups"][0]["lr"])


@dataclass(frozen=True)
class Weights:
    """Weights and biases of a network, layer by layer.

    Parameters
    ----------
    coefs : list of arrays of shape (fan_in, fan_out)
        Weights.

    intercepts : list of arrays of shape (fan_out,)
        Biases.
    """

    coefs: Sequence[Array]
    intercepts: Sequence[Array]

    def is_finite(self) -> bool:
        """Return whether no weight or bias is infinite or NaN."""
        return all(np.isfinite(w).all() for w in [*self.coefs, *self.intercepts])


@dataclass(frozen=True)
class AveragingState:
    """An average under way, to continue it in the next call.

    Parameters
    ----------
    epochs : int
        Epochs trained so far.

    began : int or None
        Epoch after which averaging began.

    scheme_state : dict
        The scheme's ``state_dict``, with arrays in the place of tensors.
    """

    epochs: int
    began: int | None
    scheme_state: Mapping[str, Any]


@dataclass
class TrainingJob:
    """One network to train.

    Parameters
    ----------
    weights : Weights
        Where training starts, and what it returns if nothing better is found.

    iterate : Weights or None
        Where training starts instead, if an average hides the solver's own weights.

    X : array or sparse matrix of shape (n_samples, n_features)
        Training rows.

    y : array of shape (n_samples, n_outputs)
        Their targets; indicators in classification.

    sample_weight : array of shape (n_samples,) or None
        Their weights.

    random_state : numpy.random.RandomState
        Shuffles the rows.

    settings : Settings
        Hyperparameters.

    progress : Progress
        Where the counters stand. Updated during training.

    epochs : int
        Epochs to train at most.

    is_incremental : bool
        Whether this is one call of ``partial_fit``: one epoch, no stopping rule.

    validation : Validation or None
        Rows for early stopping.

    optimizer_state : OptimizerState or None
        State to continue from.

    is_rewritten : bool
        Whether ``weights`` were written to since that state was kept.

    averaging_state : AveragingState or None
        Average to continue.

    decode : callable
        Turns outputs of shape (n_samples, n_outputs) into the estimator's predictions.

    classes : array or None
        Class labels, None in regression.

    callbacks : list or None
        skorch callbacks.
    """

    weights: Weights
    X: Matrix
    y: Array
    sample_weight: Array | None
    random_state: np.random.RandomState
    settings: Settings
    progress: Progress
    epochs: int
    decode: Callable[[Array], Array]
    classes: Array | None = None
    iterate: Weights | None = None
    is_incremental: bool = False
    validation: Validation | None = None
    optimizer_state: OptimizerState | None = None
    is_rewritten: bool = False
    averaging_state: AveragingState | None = None
    callbacks: Sequence[Any] | None = None


@dataclass(frozen=True)
class TrainingResult:
    """What a training job came to.

    Parameters
    ----------
    weights : Weights
        The weights to predict with.

    iterate : Weights or None
        The solver's own weights to continue from, None if they are ``weights``.

    progress : Progress
        The counters after training.

    optimizer_state : OptimizerState
        State to continue from.

    averaging_state : AveragingState or None
        Average to continue.

    n_averaged : int
        Number of epochs whose weights are averaged in ``weights``, 0 if they are not an
        average.
    """

    weights: Weights
    iterate: Weights | None
    progress: Progress
    optimizer_state: OptimizerState
    averaging_state: AveragingState | None
    n_averaged: int
