"""A warning names the line that called for the fit."""

import inspect
import threading
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksharp import SAMMLPClassifier, VectorizedGridSearchCV
from sksharp._warnings import Counting, record_warnings, warn, warn_again
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
        {"solver": "adam", "base_solver": "sgd"},
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
    clf = SAMMLPClassifier((2,), solver="adam", base_solver="sgd")
    line = inspect.currentframe().f_lineno + 2
    with pytest.warns(UnusedParameterWarning) as caught:
        clf.partial_fit(X, y, classes=[0, 1])
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]


def test_warnings_are_recorded_in_one_thread_and_leave_nothing():
    def warn():
        warnings.warn("of another thread", UserWarning, stacklevel=1)

    before, show = list(warnings.filters), warnings.showwarning
    with record_warnings() as outer:
        warnings.warn("mine", DeprecationWarning, stacklevel=1)
        with record_warnings() as inner:
            warnings.warn("mine too", UserWarning, stacklevel=1)
        warnings.warn("mine again", UserWarning, stacklevel=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            thread = threading.Thread(target=warn)
            thread.start()
            thread.join()
    assert [str(w[0]) for w in outer] == ["mine", "mine again"]
    assert [str(w[0]) for w in inner] == ["mine too"]
    assert [str(w.message) for w in caught] == ["of another thread"]
    assert (warnings.filters, warnings.showwarning) == (before, show)
    with pytest.warns(UserWarning, match="mine too") as again:
        warn_again(inner)
    assert again[0].filename == __file__


def test_warnings_that_are_recorded_are_not_counted():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Counting("all"):
            warn("often")
            with record_warnings() as recorded:
                warn("often")
            with Counting("part"):
                warn("seldom")
            warn("often")
    assert [str(w[0]) for w in recorded] == ["often"]
    assert [str(w.message) for w in caught] == ["often (2 times in all)", "seldom"]


def test_a_filter_by_a_whole_text_counts_what_has_another():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # as Python itself does for a module that is run
        warnings.filters.insert(0, ("error", None, UserWarning, "another", 0))
        with Counting("all"):
            warn("often")
            warn("often")
    assert [str(w.message) for w in caught] == ["often (2 times in all)"]


@pytest.mark.parametrize("is_first_to_leave", [True, False])
def test_what_another_thread_does_to_the_filters_switches_off_no_warning(
    is_first_to_leave,
):
    with warnings.catch_warnings():
        holding, other = record_warnings(), warnings.catch_warnings()
        leave = [other, holding] if is_first_to_leave else [holding, other]
        holding.__enter__()
        other.__enter__()
        for context in leave:
            context.__exit__(None, None, None)
        with pytest.warns(UserWarning, match="heard"):
            warnings.warn("heard", UserWarning, stacklevel=1)


def test_who_wraps_the_display_of_warnings_meanwhile_is_called_once(monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda *args: shown.append(args))
    with record_warnings():
        before = warnings.showwarning
        monkeypatch.setattr(warnings, "showwarning", lambda *args: before(*args))
    with record_warnings():
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("heard", UserWarning, stacklevel=1)
    assert len(shown) == 1
