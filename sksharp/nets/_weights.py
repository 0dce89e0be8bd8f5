"""Minibatches whose rows have weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._batches import Weighted


def weighted_batches(net: Any, iterator: Any, training: bool) -> Any:
    """Return minibatches whose weights the net has at hand while it uses them.

    Parameters
    ----------
    net : SAMNetClassifier or SAMNetRegressor
        The net, whose ``batch_weights_`` is set.

    iterator : iterable
        Minibatches of a dataset.

    training : bool
        Whether they are trained on.
    """
    rows, dataset = net.rows_, getattr(iterator, "dataset", None)
    if rows is None:
        return iterator
    held = rows.validation
    if held is not None and dataset is held.dataset:
        rows = held
    if rows.weights is None:
        return iterator
    weights = rows.weights_of(dataset)
    if weights is None:
        raise ValueError(
            "sample_weight and class_weight need minibatches of the rows that fit was "
            f"given, got {type(iterator).__name__} of {type(dataset).__name__}. Leave "
            "dataset, iterators and train_split at their defaults, or the weights out."
        )
    return _each(net, net.get_iterator(Weighted(dataset, weights), training=training))


def _each(net: Any, iterator: Any) -> Iterator[Any]:
    for batch, weights in iterator:
        net.batch_weights_ = weights
        yield batch
