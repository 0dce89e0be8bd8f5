"""Nets for rows with several labels."""

import numpy as np
import pytest
import scipy.sparse
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from skorch.callbacks import EpochScoring
from torch import nn

from sksharp import SAMMLPClassifier, options
from sksharp.nets import SAMNetClassifier

from .modules import Small, rows, weights

X, words = rows()
y = np.c_[words == "a", X[:, 0] > 0, X[:, 1] > 1].astype(int)
COMMON = {"lr": 0.05, "max_epochs": 4, "batch_size": 9, "random_state": 0}


def net(**params):
    defaults = {"module": Small, "criterion": nn.BCEWithLogitsLoss, "device": "cpu"}
    return SAMNetClassifier(**{**defaults, **COMMON, **params})


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"criterion": nn.MultiLabelSoftMarginLoss},
        {"solver": options.ESAM(fraction=0.5)},
        {"solver": options.SAM(micro_batch_size=4), "swa": True},
        {"gradient_accumulation": 2, "ema_decay": 0.5},
        {"snapshots": 2},
        {"early_stopping": True},
    ],
    ids=str,
)
def test_every_label_has_a_probability(params):
    fit = net(max_epochs=40, **{k: v for k, v in params.items()}).fit(X, y)
    proba = fit.predict_proba(X)
    assert proba.shape == y.shape
    assert_array_equal(fit.predict(X), (proba > 0.5).astype(int))
    assert_array_equal(fit.classes_, [0, 1, 2])
    assert fit.score(X, y) == accuracy_score(y, fit.predict(X)) > 0.6
    if "snapshots" not in params:
        logits = fit.forward(X).numpy()
        assert_allclose(proba, 1 / (1 + np.exp(-logits)), rtol=1e-12)


def test_probabilities_of_the_module_stay_what_they_are():
    module = nn.Sequential(Small(4, 3), nn.Sigmoid())
    fit = net(module=module, criterion=nn.BCELoss).fit(X, y)
    assert_array_equal(fit.predict_proba(X), fit.forward(X).numpy())


def test_the_loss_is_the_mean_over_rows_and_labels():
    weight = 1.0 + np.arange(len(X)) % 3
    fit = net(max_epochs=1, lr=1e-30, shuffle=False)
    fit.fit(X, y, weight, X_val=X, y_val=y, sample_weight_val=weight[::-1])
    p = fit.predict_proba(X)
    losses = -np.where(y == 1, np.log(p), np.log(1 - p)).mean(1)
    expected = np.average(losses, weights=weight)
    assert_allclose(fit.history[-1, "train_loss"], expected, rtol=1e-12)
    expected = np.average(losses, weights=weight[::-1])
    assert_allclose(fit.validation_loss_, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "class_weight", ["balanced", [{0: 1, 1: 2}, {0: 1, 1: 1}, {0: 3, 1: 1}]], ids=str
)
def test_weights_of_the_classes_of_labels(class_weight):
    fit = net(class_weight=class_weight).fit(X, y)
    expected = net().fit(X, y, compute_sample_weight(class_weight, y))
    assert_array_equal(weights(fit), weights(expected))
    # of validation rows they are those of the training
    fit = net(class_weight=class_weight, early_stopping=True, max_epochs=1)
    fit.fit(X[:30], y[:30], X_val=X[30:], y_val=y[30:])
    both = {} if class_weight != "balanced" else {"indices": np.arange(30)}
    w = compute_sample_weight(class_weight, y, **both)[30:]
    p = fit.predict_proba(X[30:])
    losses = -np.where(y[30:] == 1, np.log(p), np.log(1 - p)).mean(1)
    assert_allclose(fit.validation_loss_, np.average(losses, weights=w), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_steps_are_those_of_the_estimator():
    params = {"rho": 0.1, "batch_size": 10, "shuffle": False, "random_state": 0}
    start = SAMMLPClassifier((5,), rho=0.1, max_iter=1, learning_rate_init=1e-300)
    start.set_params(activation="tanh", alpha=0, random_state=0).fit(X, y)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        for k, layer in enumerate((module[0], module[2])):
            layer.weight.copy_(torch.as_tensor(start.coefs_[k].T))
            layer.bias.copy_(torch.as_tensor(start.intercepts_[k]))
    sgd = {"base_solver": "sgd", **params}
    clf = SAMMLPClassifier((5,), activation="tanh", alpha=0, max_iter=5, **sgd)
    clf.set_params(learning_rate_init=0.01).fit(X, y)
    # the estimator sums the losses of labels up, the criterion averages them
    fit = SAMNetClassifier(
        module,
        criterion=nn.BCEWithLogitsLoss,
        lr=0.03,
        max_epochs=5,
        device="cpu",
        **sgd,
    )
    assert_allclose(
        fit.fit(X, y).predict_proba(X), clf.predict_proba(X), rtol=0, atol=1e-12
    )


def test_callbacks_and_partial_fit_see_the_labels():
    scoring = EpochScoring("accuracy", on_train=True, use_caching=False)
    fit = net(callbacks=[scoring]).partial_fit(X, y).partial_fit(X, y)
    assert fit.history[-1, "accuracy"] == fit.score(X, y)
    assert net(rho=[0.0, 0.2]).fit(X, y).rho_grid_.tolist() == [0.0, 0.2]


@pytest.mark.parametrize(
    ("params", "targets", "message"),
    [
        ({"criterion": nn.CrossEntropyLoss}, y, "y must have one label a row.*got 3"),
        ({"module": Small(4, 2)}, y, r"one output for every label, \(n_rows, 3\)"),
        ({}, y + 1, "must hold 0 and 1 in the columns of several labels"),
        ({}, scipy.sparse.csr_array(y), r"y must be dense.*toarray"),
        ({"class_weight": {0: 1, 1: 2}}, y, "class_weight"),
    ],
)
def test_labels_that_do_not_fit(params, targets, message):
    with pytest.raises((ValueError, TypeError), match=message):
        net(**params).fit(X, targets)


def test_labels_stay_what_they_were():
    fit = net().fit(X, y)
    with pytest.raises(ValueError, match="must have several labels a row, as before"):
        fit.partial_fit(X, y[:, 0])
    with pytest.raises(ValueError, match="must have 3 labels as before"):
        fit.partial_fit(X, y[:, :2])
    fit.fit(X, y[:, 0])
    with pytest.raises(ValueError, match="must have one label a row, as before"):
        fit.partial_fit(X, y)
    assert fit.predict(X).shape == (len(X),)
