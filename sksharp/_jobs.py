"""The interface between the estimators (numpy) and the engine (torch).

Nothing here imports torch, and no object that crosses holds a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._input_noise import Columns, HeldOutNoise, NoiseSettings
from .options._rates import RatePlan
from .options.losses import RegressionLoss

Array: TypeAlias = NDArray[Any]
Matrix: TypeAlias = Any  # an Array or a scipy sparse matrix

# fields of a job and of its validation that hold user-supplied data
DATA = ("X", "y", "sample_weight")


@dataclass(frozen=True)
class AveragingSettings:
    """When weights are averaged, in epochs.

    Parameters
    ----------
    scheme : str
        'swa' or 'snapshots'.

    start : int
        Epochs of training before averaging begins.

    freq : int
        Epochs between two weights that enter the average.

    length : int
        Epochs that averaging lasts.

    lr : float or None
        Learning rate while averaging; None leaves it to the schedule.

    anneal : int
        Epochs in which the rate goes to ``lr``.

    strategy : str
        How it goes there: 'cosine' or 'linear'.

    cycle : int or None
        Epochs in which the rate falls to ``lr``, again and again; None to hold it.

    epochs : tuple of int or None
        Epochs whose weights are collected, None if ``freq`` says.
    """

    scheme: str
    start: int
    freq: int
    length: int
    lr: float | None
    anneal: int = 0
    strategy: str = "cosine"
    cycle: int | None = None
    epochs: tuple[int, ...] | None = None


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer and its arguments.

    Parameters
    ----------
    solver : str
        Key of ``SOLVERS``.

    arguments : dict
        Arguments of the optimizer's class, Python scalars.
    """

    solver: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of a training job, named as in the estimators.

    ``optimizers`` are those that take part in a step, the one with the descent last.
    ``schedule`` says the learning rate of every step, None if ``learning_rate`` does, one
    of scikit-learn's names. ``dropout`` has the shares of the inputs and of the units of
    every hidden layer that a step leaves out, and is empty if that is none.
    ``input_noise`` is that of the training, None without. ``loss`` is None if
    ``out_activation`` says which. ``label`` names the network in what is printed, one among
    several.
    """

    activation: str
    out_activation: str
    alpha: float
    optimizers: tuple[OptimizerSpec, ...]
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
    ema_decay: float | None = None
    schedule: RatePlan | None = None
    micro_batch_size: int | None = None
    dropout: tuple[float, ...] = ()
    input_noise: NoiseSettings | None = None
    loss: RegressionLoss | None = None
    label: str = ""

    @property
    def chain(self) -> tuple[str, ...]:
        """The solvers that take part, the one with the descent step last."""
        return tuple(spec.solver for spec in self.optimizers)

    @property
    def draws(self) -> bool:
        """Whether every epoch draws from the random state."""
        return self.shuffle or bool(self.dropout) or self.input_noise is not None

    def argument(self, name: str) -> Any:
        """Return an argument of the first optimizer, None if it has none of that name."""
        return self.optimizers[0].arguments.get(name)

    def with_argument(self, name: str, value: Any) -> Settings:
        """Return a copy with another argument of the first optimizer."""
        first, *others = self.optimizers
        first = replace(first, arguments={**first.arguments, name: value})
        return replace(self, optimizers=(first, *others))

    def say(self, message: str) -> None:
        """Print a message about the network, if ``verbose``."""
        if self.verbose:
            print(f"[{self.label}] {message}" if self.label else message)


@dataclass
class Progress:
    """How training went so far: the estimator's attributes without the underscore.

    ``best_n_iter`` is the epoch of the best score. ``inverse_temperature`` is what
    multiplies the output layer in predictions, None for nothing: where validation is
    refined, it belongs to the weights of the best score. ``best_row_losses`` are the
    losses of the validation rows at the best score, where the validation keeps them.

    Either ``best_loss`` (without a validation set) or ``validation_scores`` and
    ``best_validation_score`` (with one) are kept, the others are None.
    """

    t: int = 0
    n_iter: int = 0
    best_n_iter: int = 0
    loss_curve: list[float] = field(default_factory=list)
    best_loss: float | None = float("inf")
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    inverse_temperature: float | None = None
    best_row_losses: Array | None = None
    no_improvement_count: int = 0
    was_stalled: bool = False


@dataclass(frozen=True)
class Validation:
    """Rows kept out of training, and how predictions for them are scored.

    Parameters
    ----------
    X : array or sparse matrix of shape (n_samples, n_features)
        The rows.

    y : array of shape (n_samples, n_outputs)
        Their targets, encoded as for training.

    rows : array of int or None
        Which rows of ``X`` and ``y``, all if None.

    score : callable or None
        Takes the network's outputs for the rows, of shape (n_rows, n_outputs), and a
        callable that makes its weights, returns a float, the higher the better. None for
        minus their mean loss.

    sample_weight : array of shape (n_samples,) or None
        Weights of the rows in that mean.

    freq : int
        Epochs between two scores.

    is_refined : bool
        Whether their loss is that at the best temperature. Only without ``score``.

    keeps_rows : bool
        Whether the losses of the rows are kept, of the best epoch. Only without
        ``score``.

    noise : HeldOutNoise or None
        What the rows are scored with. ``score`` has the same noisy rows.
    """

    X: Matrix
    y: Array
    rows: Array | None = None
    score: Callable[[Array, Callable[[], Weights]], float] | None = None
    sample_weight: Array | None = None
    freq: int = 1
    is_refined: bool = False
    keeps_rows: bool = False
    noise: HeldOutNoise | None = None


@dataclass(frozen=True)
class OptimizerState:
    """State of an optimizer as arrays, to continue training from.

    Parameters
    ----------
    solvers : tuple of str
        The solvers that the state belongs to, the one with the descent step last.

    state_dict : dict
        torch's ``state_dict``, with arrays in the place of tensors.

    epochs : int
        Epochs that the optimizer has trained for.
    """

    solvers: tuple[str, ...]
    state_dict: Mapping[str, Any]
    epochs: int = 0

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
    scheme : str
        'swa' or 'ema_decay'.

    epochs : int
        Epochs trained so far.

    began : int or None
        Epoch after which averaging began.

    scheme_state : dict
        The scheme's ``state_dict``, with arrays in the place of tensors.

    lr : float or None
        Learning rate when averaging began.
    """

    scheme: str
    epochs: int
    began: int | None
    scheme_state: Mapping[str, Any]
    lr: float | None = None


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

    rows : array of int or None
        Which rows of ``X``, ``y`` and ``sample_weight`` to train on, all if None.

    random_state : numpy.random.RandomState
        Shuffles the rows, and draws the masks of dropout and the noise of inputs.

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

    decode_targets : callable or None
        Turns encoded targets of that shape into the user's, ``decode`` if None.

    classes : array or None
        Class labels, None in regression.

    callbacks : list or None
        skorch callbacks.

    should_converge : bool
        Whether to warn if training lasts until ``epochs``.

    keeps_state : bool
        Whether the result has a state to continue from.

    pause_at : int or None
        Epoch after which to pause, unless training has ended by then.

    is_resumed : bool
        Whether this goes on from a pause: the counters are those of one training.

    columns : Columns or None
        Of the rows of the fit, for the noise of inputs.
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
    decode_targets: Callable[[Array], Array] | None = None
    rows: Array | None = None
    classes: Array | None = None
    iterate: Weights | None = None
    is_incremental: bool = False
    validation: Validation | None = None
    optimizer_state: OptimizerState | None = None
    is_rewritten: bool = False
    averaging_state: AveragingState | None = None
    callbacks: Sequence[Any] | None = None
    should_converge: bool = True
    keeps_state: bool = True
    pause_at: int | None = None
    is_resumed: bool = False
    columns: Columns | None = None

    def resume(self, paused: TrainingResult, pause_at: int | None) -> TrainingJob:
        """Return the rest of the job, up to the next pause."""
        return replace(
            self,
            weights=paused.weights,
            iterate=paused.iterate,
            is_rewritten=False,
            progress=paused.progress,
            optimizer_state=paused.optimizer_state,
            averaging_state=paused.averaging_state,
            random_state=paused.random_state,
            rows=paused.rows,
            pause_at=pause_at,
            is_resumed=True,
        )

    @property
    def epochs_to_come(self) -> int:
        """Epochs until the next pause or the end, at most."""
        last = self.epochs if self.pause_at is None else min(self.epochs, self.pause_at)
        return last - (self.progress.n_iter if self.is_resumed else 0)

    @property
    def n_samples(self) -> int:
        """Number of rows to train on."""
        n_samples: int = self.X.shape[0] if self.rows is None else len(self.rows)
        return n_samples

    @property
    def layer_units(self) -> list[int]:
        """Width of the input, of the hidden layers and of the output."""
        return [len(self.weights.coefs[0]), *map(len, self.weights.intercepts)]


@dataclass(frozen=True)
class Snapshot:
    """A network during training, kept as a member of an ensemble.

    Parameters
    ----------
    weights : Weights
        The weights to predict with.

    n_iter : int
        Epochs of the training until then.

    t : int
        Rows seen until then.
    """

    weights: Weights
    n_iter: int
    t: int


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training job.

    Parameters
    ----------
    weights : Weights
        The weights to predict with.

    iterate : Weights or None
        The solver's own weights to continue from, None if they are ``weights``.

    progress : Progress
        The counters after training.

    optimizer_state : OptimizerState or None
        State to continue from, None if ``keeps_state`` is False.

    averaging_state : AveragingState or None
        Average to continue.

    n_averaged : int
        Number of epochs whose weights are averaged in ``weights``, 0 if they are not an
        average.

    random_state : numpy.random.RandomState
        Generator of the next order of the rows.

    warnings : tuple of (str, type)
        Messages for the user with their categories.

    rows : array of int or None
        After a pause, the rows in the order of the last epoch. None if training ended.

    is_interrupted : bool
        Whether the user ended training before its time.

    snapshots : tuple of Snapshot
        Members that were collected on the way.
    """

    weights: Weights
    iterate: Weights | None
    progress: Progress
    optimizer_state: OptimizerState | None
    averaging_state: AveragingState | None
    n_averaged: int
    random_state: np.random.RandomState
    warnings: tuple[tuple[str, type[Warning]], ...] = ()
    rows: Array | None = None
    is_interrupted: bool = False
    snapshots: tuple[Snapshot, ...] = ()

    @property
    def is_paused(self) -> bool:
        """Whether the job is not done."""
        return self.rows is not None


class Observer(Protocol):
    """Is called before and after epochs of a training, and may end it.

    ``error`` is what it raised, if it did.
    """

    error: Exception | None

    def begin_training(self, groups: Sequence[Sequence[TrainingJob]]) -> None:
        """Begin a training of jobs, group after group."""

    def begin_epoch(self, result_now: Callable[[], TrainingResult]) -> None:
        """Begin an epoch of the group.

        ``result_now`` returns what would come of its first job if training ended now.
        """

    def end_epoch(self, result_now: Callable[[], TrainingResult]) -> bool:
        """End it; return whether to end the training of the group."""

    def end_group(self) -> None:
        """End a group, without any of its epochs if it was trained in a process."""

    def end_training(self, *, is_interrupted: bool) -> None:
        """End the training: all groups are trained, or the user interrupted one."""


class Saver(Protocol):
    """Keeps the training of a group, to go on with another time."""

    def after_epoch(self, results_now: Callable[[], list[TrainingResult]]) -> None:
        """Call after an epoch.

        ``results_now`` returns the results of the jobs of the group that have ended, and
        pauses of the others.
        """


def state_key(random_state: np.random.RandomState) -> tuple[Any, ...]:
    """Return a key that generators share if they will draw the same."""
    return _flat_state(random_state.get_state(legacy=False))


def _flat_state(state: Any) -> tuple[Any, ...]:
    # not pickled: equal states may have different pickles
    if isinstance(state, Mapping):
        parts = [(name, *_flat_state(state[name])) for name in sorted(state)]
        return tuple(parts)
    if isinstance(state, np.ndarray):
        return (state.tobytes(),)
    return (state,)
