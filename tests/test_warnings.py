"""A warning names the line that called for the fit."""

import inspect
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksharp import SAMMLPClassifier, VectorizedGridSearchCV
from sksharp.exceptions import UnusedParameterWarning

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
y = np.arange(40) % 2

# how it comes about, category, parameters
WARNINGS = {
    "the end of the epochs": (ConvergenceWarning, {"max_iter": 2}),
    "a minibatch of more than all rows": (UserWarning, {"batch_size": 99}),
    "a parameter that nothing reads": (
        UnusedParameterWarning,
        {"solver": "adam", "gamma": 0.5},
    ),
    "minibatches without noise": (
        UserWarning,
        {"solver": "friendly_sam", "batch_size": 40},
    ),
}
WAYS = {
    "alone": lambda clf: clf,
    "in a pipeline": lambda clf: make_pipeline(StandardScaler(), clf),
    "in a search": lambda clf: GridSearchCV(clf, {"alpha": [1.0]}, cv=2),
    "in a search of ours": lambda clf: VectorizedGridSearchCV(
        clf, {"alpha": [1.0]}, cv=2
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", WARNINGS)
def test_a_warning_of_a_fit_names_the_line_of_the_fit(case, way):
    category, params = WARNINGS[case]
    quick = {"rho": 0.05, "max_iter": 200, "tol": 1.0, "random_state": 0}
    estimator = WAYS[way](SAMMLPClassifier((2,), **{**quick, **params}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = inspect.currentframe().f_lineno + 1
        estimator.fit(X, y)
    assert {(w.filename, w.lineno) for w in caught} == {(__file__, line)}
    assert category in {w.category for w in caught}


def test_a_warning_of_partial_fit_names_the_line_of_the_call():
    clf = SAMMLPClassifier((2,), solver="adam", gamma=0.5)
    line = inspect.currentframe().f_lineno + 2
    with pytest.warns(UnusedParameterWarning) as caught:
        clf.partial_fit(X, y, classes=[0, 1])
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]
