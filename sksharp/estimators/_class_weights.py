"""Weights of rows by the classes of several labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from .._jobs import Array


def weights_of_several(class_weight: Any, y: Any, y_train: Any) -> Array:
    """Return the weights of rows with several labels.

    Parameters
    ----------
    class_weight : list of dict or 'balanced'
        Weights of the classes of each label, which are multiplied.

    y : array of int of shape (n_rows, n_labels)
        The labels.

    y_train : array of int of shape (n_train, n_labels) or None
        Those whose classes 'balanced' counts, None for ``y``.

    Returns
    -------
    weights : array of shape (n_rows,)
        Their weights.
    """
    if y_train is None or class_weight != "balanced":
        weights: Array = compute_sample_weight(class_weight, y)
        return weights
    both = np.vstack([y_train, y]).astype(int)
    trained = np.arange(len(y_train))
    of_both: Array = compute_sample_weight("balanced", both, indices=trained)
    return of_both[len(y_train) :]
