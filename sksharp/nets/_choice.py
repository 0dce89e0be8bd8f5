"""The choice of the radius by the loss of rows that are held back."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from skorch.callbacks import Checkpoint, LoadInitState, TrainEndCheckpoint
from skorch.dataset import ValidSplit

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
    losses = np.full(len(radii), np.inf)
    for k, rho in enumerate(radii):
        candidate = _candidate(net, rho, seed)
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


def _candidate(net: Any, rho: float, seed: int) -> Any:
    """Return a net that is trained with a radius."""
    candidate = clone(net).set_params(rho=rho, verbose=0)
    candidate.next_seed_ = seed
    if candidate.callbacks not in (None, "disable"):
        candidate.callbacks = [
            given
            for given in candidate.callbacks
            if not isinstance(given[-1] if isinstance(given, tuple) else given, SAVING)
        ]
    if candidate.train_split is None and not candidate.early_stopping:
        candidate.train_split = split_of(net, seed)
    return candidate


def split_of(net: Any, seed: int) -> ValidSplit:
    """Return what holds back a part of the rows."""
    return ValidSplit(
        float(net.validation_fraction),
        stratified=is_classifier(net),
        random_state=seed,
    )
