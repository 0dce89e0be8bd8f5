"""The state that a fit leaves in an estimator, to continue from."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from .._digest import digest_of
from .._input_noise import Columns
from .._jobs import AveragingState, OptimizerState, Weights
from ..observers._sklearn_callbacks import OF_A_FIT


@dataclass(frozen=True)
class TrainingState:
    """State to continue training from, besides weights, counters and the generator.

    An estimator holds it as ``_state``. It is replaced, never changed.

    Parameters
    ----------
    iterate : Weights or None
        The solver's own weights, None if they are those of the estimator.

    digest : str or None
        Fingerprint of the estimator's weights, to detect changes by the user.

    optimizer : OptimizerState or None
        State of the optimizer.

    averaging : AveragingState or None
        An average under way.

    validated_by : tuple or None
        Scorer, and fingerprint of user-supplied rows, that chose the best epoch of early
        stopping. None for the defaults.

    score_freq : int or None
        Epochs between two validation scores of a member.

    fold_seed : int or None
        Seed of the folds.

    rho_solver : str or None
        The solver that the radius was chosen for, with its options, as its ``repr``.

    holds_snapshots : bool
        Whether the members are snapshots of one training.

    inverse_temperature : float or None
        What the output layer was multiplied by, None for nothing.

    output_layer : Weights or None
        That layer, of the estimator's weights, before it was multiplied.

    columns : Columns or None
        Of the rows of the calls so far, that ``input_noise`` is measured by.
    """

    iterate: Weights | None = None
    digest: str | None = None
    optimizer: OptimizerState | None = None
    averaging: AveragingState | None = None
    validated_by: tuple[Any, Any] | None = None
    score_freq: int | None = None
    fold_seed: int | None = None
    rho_solver: str | None = None
    holds_snapshots: bool = False
    inverse_temperature: float | None = None
    output_layer: Weights | None = None
    columns: Columns | None = None

    def replace(self, **changes: Any) -> TrainingState:
        """Return a copy with other values."""
        return replace(self, **changes)


# the fields that are records
_RECORDS: dict[str, Any] = {
    "iterate": Weights,
    "optimizer": OptimizerState,
    "averaging": AveragingState,
    "output_layer": Weights,
    "columns": Columns,
}


def state_of(estimator: Any) -> TrainingState:
    """Return the state of an estimator, an empty one before the first fit."""
    state: TrainingState | None = vars(estimator).get("_state")
    return state or TrainingState()


def weights_digest(weights: Weights) -> str:
    """Return a fingerprint of weights."""
    return digest_of([*weights.coefs, *weights.intercepts]).hex()


# attributes of a choice of the radius, and predictions for held-out rows
RADIUS = (
    "rho_",
    "rho_grid_",
    "rho_losses_",
    "rho_differences_",
    "rho_standard_errors_",
    "rho_scores_",
    "rho_epochs_",
)
OUT_OF_FOLD = ("oof_prediction_", "oof_decision_function_")

# attributes that a new fit drops
FORGOTTEN = (
    "_fitted_loss",
    "_state",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "_no_improvement_count",
    "members_",
    *RADIUS,
    *OUT_OF_FOLD,
)

# attributes that the members of an ensemble share
SHARED = (
    "classes_",
    "_label_binarizer",
    "n_features_in_",
    "feature_names_in_",
    "n_outputs_",
    "n_layers_",
    "out_activation_",
    "_fitted_loss",
)


def forget(estimator: Any, names: Iterable[str] = FORGOTTEN) -> None:
    """Drop attributes of an earlier fit."""
    for name in names:
        vars(estimator).pop(name, None)


@contextlib.contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Leave an estimator as it was if a fit fails."""
    # fitting changes nothing in place but lists of losses and of weights
    before = {
        name: value.copy()
        if isinstance(value, list) and "_" in (name[0], name[-1])
        else value
        for name, value in vars(estimator).items()
    }
    try:
        yield
    except BaseException:
        before |= {k: v for k, v in vars(estimator).items() if k in OF_A_FIT}
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def as_data(state: dict[str, Any]) -> dict[str, Any]:
    """Return the pickled state with records as dicts, for readers that trust no classes."""
    training = state.get("_state")
    if training is None:
        return state
    return {**state, "_state": _record_as_data(training)}


def as_records(state: dict[str, Any]) -> dict[str, Any]:
    """Return a pickled state with records again: the inverse of :func:`as_data`."""
    training = state.get("_state")
    if not isinstance(training, dict):
        return state
    values = {
        name: _RECORDS[name](**value)
        if name in _RECORDS and value is not None
        else value
        for name, value in training.items()
    }
    return {**state, "_state": TrainingState(**values)}


def _record_as_data(record: TrainingState) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        name: dict(vars(value)) if dataclasses.is_dataclass(value) else value
        for name, value in values.items()
    }
