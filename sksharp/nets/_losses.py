"""The loss of a minibatch whose rows have weights, and those of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch.utils import to_numpy
from torch import Tensor, nn

# criteria whose mean is over the weights that they give the classes of the rows
_BY_WEIGHT = nn.CrossEntropyLoss, nn.NLLLoss


def plain(criterion: Any) -> Any:
    """Return a criterion without the wrapper of ``torch.compile``."""
    return getattr(criterion, "_orig_mod", criterion)


def losses_and_shares(
    criterion: Any, evaluate: Callable[[], Tensor], y: Any
) -> tuple[Tensor, Tensor]:
    """Return the loss of every row, and the shares that their mean is taken with.

    The loss of the rows is the sum of the losses over the sum of the shares; with
    ``reduction='sum'`` it is the sum.

    Parameters
    ----------
    criterion : Module
        The criterion, which has an attribute ``reduction``.

    evaluate : callable
        Evaluates it.

    y : Tensor
        Targets, as the criterion takes them.

    Returns
    -------
    losses, shares : Tensor of shape (n_rows,)
        The losses, of several outputs their mean, or their sum with ``reduction='sum'``.
    """
    before = getattr(criterion, "reduction", None)
    if before is None:
        raise ValueError(
            "criterion must have an attribute 'reduction' for the losses of single "
            f"rows, which weights and 'esam' need, got {type(criterion).__name__}. "
            "Write it as torch's losses are, or leave the weights out."
        )
    criterion.reduction = "none"
    try:
        losses = evaluate()
    finally:
        criterion.reduction = before
    if not losses.ndim or len(losses) != len(y):
        raise ValueError(
            "criterion must return a loss for every row when its reduction is 'none', "
            f"got a tensor of shape {tuple(losses.shape)} for {len(y)} rows of "
            f"{type(criterion).__name__}."
        )
    if losses.ndim > 1:
        parts = losses.flatten(1)
        losses = parts.sum(1) if before == "sum" else parts.mean(1)
    return losses, _shares(criterion, losses, y)


def _shares(criterion: Any, losses: Tensor, y: Any) -> Tensor:
    of_class = getattr(criterion, "weight", None)
    is_label = isinstance(y, Tensor) and y.ndim == 1 and not y.is_floating_point()
    if of_class is None or not (isinstance(plain(criterion), _BY_WEIGHT) and is_label):
        return torch.ones_like(losses)
    shares: Tensor = of_class.to(losses)[y]
    return shares


def shares_of(net: Any, y: Any, weights: Any, n_rows: int) -> Any:
    """Return the shares of rows in the loss of a minibatch, None if they are summed up.

    Parameters
    ----------
    net : SAMNetClassifier or SAMNetRegressor
        The net.

    y : object
        Targets of the rows, as the dataset has them.

    weights : array of shape (n_rows,) or None
        Weights of the rows.

    n_rows : int
        How many there are.

    Returns
    -------
    shares : ndarray of shape (n_rows,) or None
        Up to a factor.
    """
    criterion = net.criterion_
    if getattr(criterion, "reduction", None) == "sum":
        return None
    shares = np.ones(n_rows) if weights is None else to_numpy(weights)
    of_class = getattr(criterion, "weight", None)
    if of_class is not None and isinstance(plain(criterion), _BY_WEIGHT):
        labels = net._encoded(y) if hasattr(net, "n_outputs_") else to_numpy(y)
        shares = shares * to_numpy(of_class)[labels]
    return shares


def weighted(criterion: Any, losses: Tensor, shares: Tensor, weights: Any) -> Tensor:
    """Return the loss of rows with weights, which count as repeated rows do."""
    w = torch.as_tensor(weights).to(losses)
    total = (losses * w).sum()
    return total if criterion.reduction == "sum" else total / (shares * w).sum()
