"""Minibatches are those of a DataLoader."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from numpy.testing import assert_array_equal
from skorch.dataset import Dataset
from torch.utils.data import DataLoader, Subset, TensorDataset

from sksharp.nets import Batches
from sksharp.nets._batches import Weighted

X, y = np.arange(14.0).reshape(7, 2), np.arange(7)
DATASETS = {
    "array": Dataset(X, y),
    "no targets": Dataset(X),
    "tensor": Dataset(torch.as_tensor(X), torch.as_tensor(y)),
    "dictionary": Dataset({"a": X, "b": X[:, 0]}, y),
    "list": Dataset([X, X[:, :1]], y),
    "frame": Dataset(pd.DataFrame(X, columns=["a", "b"]), y),
    "sparse": Dataset(scipy.sparse.csr_matrix(X), y),
    "torch's own": TensorDataset(torch.as_tensor(X), torch.as_tensor(y)),
    "part": Subset(Subset(Dataset(X, y), [6, 1, 2, 5, 4]), np.array([3, 0, 4])),
    "weighted": Weighted(Subset(Dataset(X, y), [6, 1, 2]), np.array([0.5, 1.0, 2.0])),
}


def leaves(batch):
    """Return the arrays of a minibatch, in their order."""
    if isinstance(batch, dict):
        return [leaf for key in sorted(batch) for leaf in leaves(batch[key])]
    if isinstance(batch, list | tuple):
        return [leaf for part in batch for leaf in leaves(part)]
    return [np.asarray(batch)]


# pandas' columns, of a DataLoader
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("name", DATASETS)
def test_minibatches_are_those_of_a_dataloader(name):
    dataset = DATASETS[name]
    ours, theirs = Batches(dataset, batch_size=3), DataLoader(dataset, batch_size=3)
    assert len(ours) == len(theirs)
    for batch, expected in zip(ours, theirs, strict=True):
        for a, b in zip(leaves(batch), leaves(expected), strict=True):
            assert_array_equal(a, b.reshape(a.shape))


def test_the_order_is_torchs():
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(7, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [t for _, targets in Batches(Dataset(X, y), 3, True) for t in targets]
    assert_array_equal(drawn, order)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(3, [3, 4]), (6, [7]), (5, [5, 2]), (1, [1] * 5 + [2])]
)
def test_a_single_last_row_joins_the_others(batch_size, sizes):
    batches = Batches(Dataset(X, y), batch_size, joins_single=True)
    assert [len(targets) for _, targets in batches] == sizes
    assert len(batches) == len(sizes)
