"""Minibatches of a skorch dataset, taken at once and not row by row."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from skorch.dataset import Dataset
from skorch.utils import is_pandas_ndframe, multi_indexing
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, IterableDataset, Subset, default_collate

from .._jobs import Array


class Batches:
    """Minibatches of a dataset, for ``iterator_train`` and ``iterator_valid``.

    A :class:`torch.utils.data.DataLoader` takes single rows and collates them, which for
    a small network takes longer than training it. Rows of arrays are taken at once here,
    sparse ones as dense. Of a dataset of another class than skorch's the items are
    collated as a DataLoader does.

    Parameters
    ----------
    dataset : Dataset
        The rows.

    batch_size : int, default=1
        Rows of a minibatch. The last one may have less.

    shuffle : bool, default=False
        Whether the order is drawn anew, from torch's generator, each time.

    drop_last : bool, default=False
        Whether a last minibatch with less rows than ``batch_size`` is left out.

    joins_single : bool, default=False
        Whether a last minibatch of a single row joins the one before it. Batch
        normalization needs two rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch.dataset import Dataset
    >>> from sksharp.nets import Batches
    >>> dataset = Dataset(np.eye(3), np.arange(3))
    >>> [y.tolist() for X, y in Batches(dataset, batch_size=2)]
    [[0, 1], [2]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        joins_single: bool = False,
    ) -> None:
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.drop_last, self.joins_single = drop_last, joins_single

    def __len__(self) -> int:
        return len(self._sizes())

    def __iter__(self) -> Iterator[Any]:
        n_rows = len(self.dataset)
        order = torch.randperm(n_rows) if self.shuffle else torch.arange(n_rows)
        sizes = self._sizes()
        for rows in order[: sum(sizes)].split(sizes):
            yield take(self.dataset, rows.tolist())

    def _sizes(self) -> list[int]:
        n_full, rest = divmod(len(self.dataset), self.batch_size)
        sizes = [self.batch_size] * n_full + [rest] * (rest > 0)
        if self.drop_last:
            return sizes[:n_full]
        if self.joins_single and len(sizes) > 1 and sizes[-1] == 1:
            return [*sizes[:-2], sizes[-2] + 1]
        return sizes


def batches(
    net: Any, iterator: Any, dataset: Any, kwargs: dict[str, Any], *, training: bool
) -> Any:
    """Return an iterator over minibatches, shuffled as the net says.

    Parameters
    ----------
    net : NeuralNet
        The net.

    iterator : class
        Makes it.

    dataset : Dataset
        The rows. Those of an ``IterableDataset`` come in the order that it has.

    kwargs : dict
        Arguments, of which the user's come first.

    training : bool
        Whether they are trained on.
    """
    if not inspect.isclass(iterator):
        return iterator(dataset, **kwargs)
    is_stream = isinstance(dataset, IterableDataset)
    if is_stream and issubclass(iterator, Batches):
        iterator = DataLoader
    if training and not is_stream and issubclass(iterator, Batches | DataLoader):
        kwargs.setdefault("shuffle", net.shuffle)
    if issubclass(iterator, Batches):
        unknown = kwargs.keys() - inspect.signature(iterator).parameters.keys()
        if unknown:
            where = "iterator_train" if training else "iterator_valid"
            raise TypeError(
                f"{where}__{min(unknown)} is no argument of {iterator.__name__}. Set "
                f"{where}=torch.utils.data.DataLoader, or leave it out."
            )
        if training and normalizes_batches(net.module_):
            kwargs.setdefault("joins_single", True)
    return iterator(dataset, **kwargs)


def normalizes_batches(module: nn.Module) -> bool:
    """Return whether a module has a layer that needs two rows in training."""
    return any(isinstance(m, _BatchNorm) for m in module.modules())


class Weighted(torch.utils.data.Dataset[Any]):
    """A dataset whose items come with their weights.

    Parameters
    ----------
    dataset : Dataset
        The rows.

    weights : ndarray of shape (n_rows,)
        Their weights.
    """

    def __init__(self, dataset: Any, weights: Array) -> None:
        self.dataset, self.weights = dataset, weights

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[Any, float]:
        return self.dataset[row], float(self.weights[row])


def take(dataset: Any, rows: Sequence[int]) -> Any:
    """Return the minibatch of some rows of a dataset."""
    if isinstance(dataset, Weighted):
        return take(dataset.dataset, rows), dataset.weights[rows]
    if isinstance(dataset, Subset):
        return take(dataset.dataset, np.asarray(dataset.indices)[rows].tolist())
    if type(dataset) is not Dataset:  # which may make its items as it likes
        return default_collate([dataset[row] for row in rows])
    X, y = dataset.X, dataset.y
    if is_pandas_ndframe(X):  # skorch's form of it: columns by their names
        X = {name: X[name].to_numpy()[:, None] for name in X}
    X = multi_indexing(X, rows)
    X = X.toarray() if scipy.sparse.issparse(X) else X
    return X, torch.zeros(len(rows)) if y is None else multi_indexing(y, rows)


def rows_of(data: Any, rows: Array) -> Any:
    """Return some rows of inputs or targets, of all kinds that skorch takes."""
    if is_pandas_ndframe(data):
        return data.iloc[rows]
    if isinstance(data, torch.utils.data.Dataset):
        return Subset(data, rows.tolist())
    return multi_indexing(data, rows.tolist())


def n_rows_of(dataset: Any) -> int | None:
    """Return the number of rows of a dataset, None without one or if it does not know."""
    try:
        return len(dataset)
    except TypeError:
        return None


def with_arrays(batch: Any) -> Any:
    """Return a minibatch whose labels are no list of words, which a DataLoader makes."""
    if isinstance(batch, list | tuple) and len(batch) == 2:
        X, y = batch
        if isinstance(y, list | tuple) and y and isinstance(y[0], str):
            return X, np.asarray(y)
    return batch
