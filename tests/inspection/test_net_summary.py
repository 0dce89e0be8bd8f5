"""The summary of a net says what its fit has chosen, in the words of the estimators."""

import pickle
import re

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import TensorDataset

from sksharp import options, summary
from sksharp.nets import SAMNetClassifier, SAMNetRegressor

rng = np.random.RandomState(0)
X = rng.normal(size=(60, 4)).astype(np.float32)
y = np.array(["a", "b", "c"])[(X @ rng.normal(size=(4, 3))).argmax(1)]
DATASET = TensorDataset(
    torch.as_tensor(X), torch.as_tensor(np.unique(y, return_inverse=True)[1])
)
COMMON = {"max_epochs": 4, "lr": 0.01, "random_state": 0, "device": "cpu"}


def linear(n_features_in=4, n_outputs=3):
    return nn.Sequential(nn.Linear(n_features_in, n_outputs))


def net(**params):
    return SAMNetClassifier(params.pop("module", linear), **{**COMMON, **params})


def line_of(label, estimator):
    """Return what is said under a label, in one line, None if there is none."""
    found = re.search(rf"^  {label} +(.*(?:\n {{15}}.*)*)", summary(estimator), re.M)
    return found and " ".join(found[1].split())


def test_the_text_of_a_net():
    fit = net(callbacks="disable").fit(X, y)
    loss = np.mean(fit.history[-1, "batches", :, "train_loss"])
    assert summary(fit).splitlines() == [
        "SAMNetClassifier",
        "  data         60 rows to train with, 4 features, 3 classes",
        "  module       Sequential; 15 parameters, float32, on cpu",
        "  loss         CrossEntropyLoss",
        "  solver       'sam', base_solver='adam', lr=0.01, batch_size=128",
        "  radius       rho=0.05, as given",
        f"  training     4 epochs (all of max_epochs=4), loss {loss:.4g} at the end",
    ]


def test_the_choice_of_a_radius_has_a_table():
    fit = net(rho=[0.0, 0.5, 2.0]).fit(X, y)
    text = summary(fit)
    assert f"rho={fit.rho_:.4g} was chosen: the lowest validation loss" in text
    (head, *table) = [line.split() for line in text.splitlines()[6:10]]
    assert head == "rho loss above lowest standard error".split()
    chosen = [row for row in table if row[0] == "*"]
    assert [float(row[1]) for row in chosen] == [fit.rho_]
    columns = zip(*(row[-4:] for row in table), strict=True)
    for column, values in zip(
        columns,
        (
            fit.rho_grid_,
            fit.rho_losses_,
            fit.rho_differences_,
            fit.rho_standard_errors_,
        ),
        strict=True,
    ):
        assert list(column) == [f"{value:.4g}" for value in values]


@pytest.mark.parametrize(
    ("params", "label", "expected"),
    [
        ({"rho": "auto"}, "radius", "was chosen: the lowest validation loss"),
        ({"rho": [0.3]}, "radius", "rho=0.3, the only one of the list"),
        ({"solver": "adam"}, "radius", None),
        ({"solver": "adam"}, "solver", "'adam', lr=0.01, batch_size=128"),
        (
            {"base_solver": torch.optim.SGD, "optimizer__momentum": 0.5},
            "solver",
            "base_solver=SGD, lr=0.01, batch_size=128, optimizer__momentum=0.5",
        ),
        (
            {"learning_rate": "cosine", "gradient_accumulation": 2},
            "solver",
            "batch_size=128, learning_rate='cosine', gradient_accumulation=2",
        ),
        ({"swa": options.SWA(start=2)}, "average", "after each of 2 epochs"),
        ({"ema_decay": 0.5}, "average", "ema_decay=0.5, over 4 steps"),
        ({"snapshots": 2}, "snapshots", "2 networks, whose predictions are averaged"),
        ({"early_stopping": True}, "data", "54 rows to train with, 6 to validate with"),
        (
            {"early_stopping": True, "tol": 9.0, "n_iter_no_change": 1},
            "training",
            "validation loss not better by more than tol=9 in the last 2 epochs",
        ),
        (
            {"module": nn.Sequential(nn.Linear(4, 3).requires_grad_(False), linear(3))},
            "module",
            "27 parameters, 15 of them frozen",
        ),
    ],
    ids=str,
)
def test_what_a_fit_was_given_and_has_chosen(params, label, expected):
    fit = net(**params).fit(X, y)
    found = line_of(label, fit)
    assert found is None if expected is None else expected in found
    text = summary(fit)
    assert max(map(len, text.splitlines())) <= 88
    assert summary(pickle.loads(pickle.dumps(fit))) == text
    assert summary(make_pipeline(StandardScaler(), fit)) == text


def test_the_epoch_that_is_kept_has_the_lowest_validation_loss():
    fit = net(lr=0.5, max_epochs=20, callbacks="disable")
    fit.set_params(early_stopping=True).fit(X, y, X_val=X[:9], y_val=y[:9])
    losses = [epoch["batches"][-1]["valid_loss"] for epoch in fit.history]
    best = int(np.argmin(losses))
    expected = f"the weights of epoch {best + 1}, validation loss {losses[best]:.4g}"
    assert line_of("kept", fit) == expected
    assert "60 rows to train with, 9 to validate with" in summary(fit)
    assert f"validation loss {losses[-1]:.4g} at the end" in line_of("training", fit)


def test_epochs_of_several_calls_are_counted():
    fit = net(rho=[0.1, 0.2]).partial_fit(X, y).partial_fit(X[:30], y[:30])
    expected = "8 epochs, 4 of them in the last call (all of max_epochs=4), "
    assert line_of("training", fit).startswith(expected)
    assert line_of("radius", fit) == (
        "rho=0.05, used without a choice (rho=[0.1, 0.2])"
    )
    assert "30 rows to train with" in line_of("data", fit)
    warm = net(warm_start=True).fit(X, y).fit(X, y)
    assert line_of("training", warm).startswith(expected)


def test_weights_of_rows_are_no_rows():
    fit = net(callbacks="disable").fit(X, y, 1.0 + np.arange(len(X)))
    assert line_of("data", fit).startswith("60 rows to train with, 4 features")


def test_the_time_is_that_of_the_epochs():
    fit = net().fit(X, y)
    assert f", {sum(fit.history[:, 'dur']):.3g} s, " in line_of("training", fit)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        (lambda: net(module=linear()).fit(DATASET, None), "60 rows to train with"),
        (
            lambda: net(criterion=nn.BCEWithLogitsLoss).fit(X, (X > 0).astype(int)),
            "60 rows to train with, 4 features, 4 labels",
        ),
        (
            lambda: SAMNetRegressor(linear, **COMMON).fit(X, X[:, :2]),
            "60 rows to train with, 4 features, 2 targets",
        ),
        (lambda: net(module=linear()).initialize(), None),
    ],
)
def test_other_kinds_of_rows(fit, expected):
    assert line_of("data", fit()) == expected


def test_of_a_search_the_net_that_was_fitted_counts():
    search = GridSearchCV(net(), {"rho": [0.3]}, cv=2).fit(X, y)
    assert summary(search) == summary(search.best_estimator_)
    assert "rho=0.3, as given" in summary(search)


@pytest.mark.parametrize("model", [net(), make_pipeline(StandardScaler(), net())])
def test_a_net_that_is_not_fitted_has_none(model):
    with pytest.raises(NotFittedError):
        summary(model)


def test_nets_of_skorch_are_refused_with_the_place_of_their_epochs():
    theirs = NeuralNetClassifier(linear, verbose=0, train_split=None).initialize()
    with pytest.raises(TypeError, match="skorch's own nets have their epochs in hist"):
        summary(theirs)
