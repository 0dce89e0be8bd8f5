"""A training that was killed goes on from its checkpoint as if nothing had happened."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint, LoadInitState
from skorch.dataset import ValidSplit
from torch import nn

from sksharp.nets import SAMNetClassifier, Snapshots, WeightAveraging
from sksharp.optim import SAM
from sksharp.options import SWA

from .modules import RANDOM, Small, rows, weights

X, y = rows()
EPOCHS = 8


class Killed(Exception):
    pass


class Kill(Callback):
    """Kills a training at the end of an epoch."""

    def __init__(self, after):
        self.after = after

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.after:
            raise Killed


def saving(folder, **more):
    return Checkpoint(monitor=None, dirname=str(folder), **more)


VARIANTS = [
    {},
    {"swa": SWA(start=2, freq=2)},
    {"swa": SWA(start=0.5, lr=0.003, anneal=3), "early_stopping": True},
    {"ema_decay": 0.9, "early_stopping": True},
    {"ema_decay": 0.9},
    {"snapshots": 2},
    {"early_stopping": True, "n_iter_no_change": 2, "tol": 0.05},
    {"learning_rate": "cosine", "warmup": 2, "solver": "gsam"},
    {"solver": "looksam"},
    {"solver": "friendly_sam"},
    {"solver": "ranger"},
    {"solver": "schedule_free", "early_stopping": True},
    {"solver": "msam"},
    {"rho": [0.0, 0.2]},
    {"mixed_precision": "fp16", "module__dtype": torch.float32},
]


@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_a_net_that_was_killed_goes_on_bit_for_bit(params, tmp_path):
    after = 1 + 4 * (VARIANTS.index(params) % 2)  # before an average begins, or behind

    def net(callbacks):
        return SAMNetClassifier(
            Small,
            max_epochs=EPOCHS,
            lr=0.02,
            batch_size=11,
            random_state=3,
            callbacks=callbacks,
            device="cpu",
            **RANDOM,
            **params,
        )

    uninterrupted = net(None).fit(X, y)

    checkpoint = saving(tmp_path, f_training="training.pt")
    with pytest.raises(Killed):
        net([checkpoint, Kill(after)]).fit(X, y)
    checkpoint = saving(tmp_path, f_training="training.pt")
    resumed = net([checkpoint, LoadInitState(checkpoint)]).fit(X, y)

    assert len(resumed.history) == len(uninterrupted.history)
    np.testing.assert_array_equal(weights(resumed), weights(uninterrupted))
    np.testing.assert_array_equal(
        resumed.predict_proba(X), uninterrupted.predict_proba(X)
    )
    # and so does what follows
    resumed.set_params(callbacks=[]).partial_fit(X, y)
    uninterrupted.partial_fit(X, y)
    np.testing.assert_array_equal(weights(resumed), weights(uninterrupted))


def test_a_training_that_was_over_is_not_trained_again(tmp_path):
    checkpoint = saving(tmp_path, f_training="training.pt")
    net = SAMNetClassifier(
        Small,
        max_epochs=4,
        swa=True,
        random_state=0,
        batch_size=8,
        callbacks=[checkpoint, LoadInitState(checkpoint)],
        device="cpu",
        **RANDOM,
    )
    first = weights(net.fit(X, y))
    again = weights(net.fit(X, y))
    np.testing.assert_array_equal(first, again)
    assert len(net.history) == 4


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path):
    checkpoint = saving(tmp_path, f_training="training.pt")
    common = {"max_epochs": 2, "random_state": 0, "device": "cpu"}
    SAMNetClassifier(Small, callbacks=[checkpoint], **common).fit(X, y)
    callbacks = [LoadInitState(checkpoint)]
    net = SAMNetClassifier(Small, callbacks=callbacks, learning_rate="cosine", **common)
    with pytest.raises(ValueError, match="checkpoint must be of a net with the same"):
        net.fit(X, y)


@pytest.mark.parametrize(
    ("callback", "file"),
    [
        (lambda: WeightAveraging(SWA(start=3)), "weight_averaging"),
        (lambda: WeightAveraging(SWA(start=3, lr=0.01, cycle=2)), "weight_averaging"),
        (lambda: WeightAveraging(ema_decay=0.8), "weight_averaging"),
        (lambda: WeightAveraging(ema_decay=0.8, validate=False), "weight_averaging"),
        (lambda: Snapshots(n=2), "snapshots"),
    ],
)
@pytest.mark.parametrize(("split", "after"), [(None, 2), (ValidSplit(4), 6)])
def test_a_net_of_skorch_goes_on_with_its_average(
    callback, file, split, after, tmp_path
):
    # without dropout and shuffling: their generators are not skorch's to save
    def net(callbacks, epochs=EPOCHS):
        torch.manual_seed(0)
        return NeuralNetClassifier(
            Small,
            module__n_features_in=4,
            module__n_outputs=3,
            module__bn=True,
            criterion=nn.CrossEntropyLoss,
            optimizer=SAM,
            optimizer__base_optimizer=torch.optim.Adam,
            lr=0.02,
            batch_size=11,
            max_epochs=epochs,
            train_split=split,
            callbacks=[callback(), *callbacks],
            verbose=0,
        )

    labels = np.unique(y, return_inverse=True)[1]
    uninterrupted = net([]).fit(X, labels)
    checkpoint = saving(tmp_path, **{f"f_{file}": "average.pt"})
    with pytest.raises(Killed):
        net([checkpoint, Kill(after)]).fit(X, labels)
    resumed = net([LoadInitState(checkpoint)], EPOCHS - after).fit(X, labels)
    np.testing.assert_array_equal(weights(resumed), weights(uninterrupted))
    if file == "snapshots":
        assert len(resumed.snapshots_) == 2
        np.testing.assert_array_equal(
            resumed.snapshots_.predict_proba(resumed, X),
            uninterrupted.snapshots_.predict_proba(uninterrupted, X),
        )
