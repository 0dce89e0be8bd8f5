"""The net with the plain network as module is the estimator, step by step."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.nets import SAMNetClassifier, SAMNetRegressor
from sksharp.options import ESAM, GSAM, SAM, SWA, FisherSAM, LookSAM, Snapshots

# Ranger's own defaults differ
SKLEARNS = {"optimizer__beta_1": 0.9, "optimizer__eps": 1e-8}
SOLVERS = [
    {},
    {"solver": "wsam"},
    {"solver": "gsam"},
    {"solver": GSAM(alpha=0.2, interval=3)},
    {"solver": FisherSAM(eta=100.0)},
    {"solver": "friendly_sam"},
    {"solver": LookSAM(k=3)},
    {"solver": ESAM(fraction=0.4)},
    {"solver": SAM(start=0.5, micro_batch_size=7), "base_solver": "sgd"},
    {"solver": "asam", "rho": 0.5},
    {"base_solver": "adamw"},
    {"base_solver": "muon"},
    {"solver": "schedule_free"},
    {"base_solver": "ranger", **SKLEARNS},
    {"solver": "msam"},
    {"solver": "lookahead"},
    {"solver": "yellowfin"},
    {"solver": "sgd"},
]
WAYS = [
    {"learning_rate": "cosine", "warmup": 2},
    {"learning_rate": "onecycle"},
    {"swa": True},
    {"swa": SWA(start=4, lr=0.002, anneal=3)},
    {"swa": SWA(start=2, lr=0.002, cycle=4)},
    {"ema_decay": 0.9},
    {"snapshots": Snapshots(n=2, lr_min=1e-4)},
    {"snapshots": Snapshots(n=2, schedule="triangular", start=2)},
]


def random_rows(n_classes=3):
    random = np.random.RandomState(0)
    X = random.standard_normal((45, 4))
    y = (X @ random.standard_normal((4, n_classes))).argmax(1)
    return X, y


def both(kind, params, y):
    """Return an estimator, and a net whose module begins with its weights."""
    X, _ = random_rows()
    common = {"rho": 0.1, **params}
    of_optimizer = {k: common.pop(k) for k in SKLEARNS if k in common}
    Estimator, Net = kind
    estimator = Estimator(
        hidden_layer_sizes=(6,),
        activation="tanh",
        alpha=0,
        batch_size=10,
        learning_rate_init=0.01,
        max_iter=10,
        shuffle=False,
        n_iter_no_change=100,
        random_state=0,
        **common,
    )
    start = Estimator(
        hidden_layer_sizes=(6,), alpha=0, rho=0, random_state=0, max_iter=1
    )
    start = start.set_params(activation="tanh", learning_rate_init=1e-300).fit(X, y)
    module = nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, start.n_outputs_)
    ).double()
    with torch.no_grad():
        for layer, w, b in zip(
            (module[0], module[2]), start.coefs_, start.intercepts_, strict=True
        ):
            layer.weight.copy_(torch.as_tensor(w.T))
            layer.bias.copy_(torch.as_tensor(b))
    net = Net(
        module,
        lr=0.01,
        batch_size=10,
        max_epochs=10,
        shuffle=False,
        device="cpu",
        **common,
        **of_optimizer,
    )
    return X, estimator, net


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("params", [*SOLVERS, *WAYS], ids=str)
def test_fifty_steps_of_a_classifier_are_those_of_the_estimator(params):
    _, y = random_rows()
    X, estimator, net = both((SAMMLPClassifier, SAMNetClassifier), params, y)
    estimator.fit(X, y)
    net.fit(X, y)
    assert_allclose(
        net.predict_proba(X), estimator.predict_proba(X), rtol=0, atol=1e-12
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("params", [{}, {"swa": True}], ids=str)
def test_fifty_steps_of_a_regressor_are_those_of_the_estimator(params):
    y = random_rows()[0][:, 0] ** 2
    X, estimator, net = both((SAMMLPRegressor, SAMNetRegressor), params, y)
    # the estimator's loss is half the squared error
    net.set_params(criterion=HalfSquaredError)
    estimator.fit(X, y)
    net.fit(X, y)
    assert_allclose(net.predict(X), estimator.predict(X), rtol=0, atol=1e-12)


class HalfSquaredError(nn.MSELoss):
    def forward(self, y_pred, y):
        return super().forward(y_pred, y) / 2
