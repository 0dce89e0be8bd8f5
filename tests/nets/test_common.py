"""scikit-learn's checks of estimators, and how many of them skorch's own nets pass."""

from collections import Counter

import pytest
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_estimator,
    parametrize_with_checks,
)
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sksharp.nets import SAMNetClassifier, SAMNetRegressor

from .modules import Small

# some checks ask for a good score
QUICK = {"max_epochs": 8, "lr": 0.1, "device": "cpu"}
OF_LABELS = {"criterion": nn.BCEWithLogitsLoss, "random_state": 0}
NETS = [
    SAMNetClassifier(Small, **QUICK),
    SAMNetClassifier(Small, **OF_LABELS, **QUICK),
    SAMNetRegressor(Small, **QUICK),
]
EXPECTED = {"check_no_attributes_set_in_init": "skorch's constructor sets some"}


@parametrize_with_checks(NETS, expected_failed_checks=lambda net: EXPECTED)
def test_the_nets_pass_the_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("net", NETS, ids=["classifier", "labels", "regressor"])
def test_the_nets_read_the_names_of_columns(net):
    check_dataframe_column_names_consistency(type(net).__name__, net)


def lazy(n_outputs):
    """Return the module for nets that do not tell it the number of features."""
    layers = nn.LazyLinear(5), nn.Tanh(), nn.Linear(5, n_outputs)
    return nn.Sequential(*layers).double()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "theirs",
    [
        NeuralNetClassifier(lazy, module__n_outputs=3, criterion=nn.CrossEntropyLoss),
        NeuralNetRegressor(lazy, module__n_outputs=1),
    ],
    ids=["classifier", "regressor"],
)
def test_skorchs_own_nets_fail_more_than_twenty(theirs):
    theirs.set_params(lr=0.1, verbose=0)
    results = check_estimator(theirs, on_fail=None, on_skip=None)
    assert Counter(r["status"] for r in results)["failed"] > 20
