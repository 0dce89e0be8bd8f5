"""Validation scores that a fit has stored: what they are, and of which epochs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._jobs import Array
from ..estimators._outputs import fitted_loss
from ..estimators._state import state_of
from ..estimators._validation import is_loss, is_refined


def name_of_scores(network: Any, is_member: bool) -> str:
    """Return what the validation scores of a network are."""
    scoring = getattr(network, "scoring", None)
    if scoring is not None and not is_loss(scoring):
        is_name = isinstance(scoring, str)
        return f"Validation {scoring}" if is_name else "Validation score"
    if is_member or is_loss(scoring) or fitted_loss(network) is not None:
        refined = "refined " if is_refined(scoring) else ""
        return f"Minus {refined}loss of the left-out rows"
    return "Validation accuracy" if hasattr(network, "classes_") else "Validation R²"


def epochs_of_scores(network: Any, is_member: bool) -> Array | None:
    """Return the epochs after which the scores were taken, None if unknown."""
    n_epochs, n_scores = len(network.loss_curve_), len(network.validation_scores_)
    if not is_member:
        # with early stopping every epoch has a score, except those of an earlier fit
        return np.arange(n_epochs - n_scores, n_epochs) + 1
    freq = state_of(network).score_freq or 1
    n_last = network.n_iter_
    epochs = np.append(np.arange(freq, n_last, freq), n_last)
    # the curve may have begun in an earlier fit
    epochs += n_epochs - n_last
    return epochs if len(epochs) == n_scores else None
