"""Small modules and rows for the tests of the nets."""

import numpy as np
import torch
from torch import nn


class Small(nn.Module):
    """Two layers, with batch normalization and dropout where they are asked for."""

    def __init__(
        self,
        n_features_in,
        n_outputs,
        n_hidden=5,
        bn=False,
        dropout=0.0,
        dtype=torch.float64,
    ):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features_in, n_hidden),
            nn.BatchNorm1d(n_hidden) if bn else nn.Identity(),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(n_hidden, n_outputs),
        ).to(dtype)

    def forward(self, X):
        return self.layers(X)


RANDOM = {"module__bn": True, "module__dropout": 0.3}


def rows(n=40, labels=("a", "b", "c")):
    random = np.random.RandomState(1)
    X = random.standard_normal((n, 4))
    y = (X @ random.standard_normal((4, len(labels)))).argmax(1)
    return X, np.array(labels)[y]


def weights(net):
    """Return all parameters and buffers as one array."""
    return np.concatenate(
        [v.detach().double().numpy().ravel() for v in net.module_.state_dict().values()]
    )
