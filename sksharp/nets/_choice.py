"""The choice of the radius by the loss of rows that are held back."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import clone, is_classifier
from skorch.callbacks import Checkpoint, LoadInitState, TrainEndCheckpoint
from skorch.dataset import ValidSplit, unpack_data
from skorch.utils import to_numpy

from .._jobs import Array
from ..estimators._comparison import compared_to_lowest
from ._inputs import FitRows
from ._parameters import radii_of

# callbacks that would write, or read, the files of the net itself
SAVING = Checkpoint, LoadInitState, TrainEndCheckpoint


class DivergenceError(ValueError):
    """The loss of a training is infinite or NaN."""


def choose_radius(
    net: Any, rows: FitRows, seed: int, fit_params: dict[str, Any]
) -> None:
    """Fit nets with every radius, and tell the net the one with the lowest loss.

    The estimators take the largest that is not measurably worse. Here a single fold is
    held out, on which far too large a radius is not measurably worse.

    Parameters
    ----------
    net : SAMNetClassifier or SAMNetRegressor
        The net, whose ``rho_`` is set.

    rows : FitRows
        Its rows.

    seed : int
        Of all nets, so that they have the same initial weights and minibatches.

    fit_params : dict
        Arguments of ``forward``.
    """
    radii = radii_of(net)
    if radii is None or len(radii) == 1:
        net.rho_ = radii[0] if radii else net.radius
        return
    held = rows.validation
    validation = {} if held is None else {"X_val": held.X, "y_val": held.y}
    if held is not None and held.sample_weight is not None:
        validation["sample_weight_val"] = held.sample_weight
    radii = [*np.unique(radii).tolist()]
    losses = np.full(len(radii), np.inf)
    of_rows: list[HeldOutLosses] = []
    for k, rho in enumerate(radii):
        candidate = _candidate(net, rows.y, rho, seed)
        of_rows.append(candidate.held_out_)
        with contextlib.suppress(DivergenceError):
            candidate.fit(
                rows.X,
                rows.y,
                sample_weight=rows.sample_weight,
                **validation,
                **fit_params,
            )
            losses[k] = candidate.validation_loss_
    if not np.isfinite(losses).any():
        raise DivergenceError(
            f"A radius must have a finite validation loss, got none of rho={net.rho!r}. "
            "Lower lr, or scale X and y."
        )
    net.rho_grid_, net.rho_losses_ = np.array(radii), losses
    net.rho_ = radii[int(np.argmin(losses))]
    _compare(net, losses, of_rows)


def _compare(net: Any, losses: Array, of_rows: Sequence[HeldOutLosses]) -> None:
    """Compare radii by the losses of rows, if the criterion has some."""
    for name in ("rho_differences_", "rho_standard_errors_"):
        net.__dict__.pop(name, None)  # of another choice
    first = of_rows[int(np.argmin(losses))]
    if first.losses is None:
        return
    net.rho_differences_, net.rho_standard_errors_ = compared_to_lowest(
        range(len(losses)),
        losses,
        lambda i: np.asarray(of_rows[i].losses),
        np.arange(len(first.losses)),
        first.weights,
    )


class HeldOutLosses:
    """The losses of the rows that a net is validated with, by its final weights.

    Attributes
    ----------
    dataset : Dataset or None
        The rows, while the net trains.

    losses : array of shape (n_rows,) or None
        Their losses. None if the criterion has none of single rows.

    weights : array of shape (n_rows,)
        Their weights.
    """

    dataset: Any = None
    losses: Array | None = None
    weights: Array = np.ones(0)

    def measure(self, net: Any) -> None:
        """Evaluate the rows, at the end of a training."""
        if getattr(net.criterion_, "reduction", None) is None:
            return
        weights = net.rows_.held_weights_of(self.dataset)
        losses = [
            net.row_losses(net.evaluation_step(batch), unpack_data(batch)[1])
            for batch in net.get_iterator(self.dataset, training=False)
        ]
        self.losses = to_numpy(torch.cat(losses)).astype(np.float64)
        self.weights = np.ones(len(self.losses)) if weights is None else weights
        self.dataset = None


def _candidate(net: Any, y: Any, rho: float, seed: int) -> Any:
    """Return a net that is trained with a radius."""
    candidate = clone(net).set_params(rho=rho, verbose=0)
    candidate.next_seed_ = seed
    candidate.held_out_ = HeldOutLosses()
    if candidate.callbacks not in (None, "disable"):
        candidate.callbacks = [
            given
            for given in candidate.callbacks
            if not isinstance(given[-1] if isinstance(given, tuple) else given, SAVING)
        ]
    if candidate.train_split is None and not candidate.early_stopping:
        candidate.train_split = split_of(net, y, seed)
    return candidate


def split_of(net: Any, y: Any, seed: int) -> ValidSplit:
    """Return what holds back a part of the rows, of every class if there is one a row."""
    has_classes = is_classifier(net) and y is not None and np.ndim(y) == 1
    return ValidSplit(
        float(net.validation_fraction), stratified=has_classes, random_state=seed
    )
