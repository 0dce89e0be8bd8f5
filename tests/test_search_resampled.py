"""A search of a pipeline that resamples its rows is scikit-learn's, result for result."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from sksharp import SAMMLPClassifier, VectorizedGridSearchCV, training
from sksharp.model_selection._cache import TransformerCache
from sksharp.training import _fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.normal(size=(60, 3))
Y = (X[:, 0] + 0.5 * rng.normal(size=60) > 0.7).astype(int)
MLP = SAMMLPClassifier((3,), batch_size=8, max_iter=2, random_state=0)
GRID = {"sammlpclassifier__rho": [0.05, 0.4]}


def write_to_all(rows, targets):
    rows *= -1
    targets[:] = 1 - targets
    return rows, targets


def every_other(rows, targets):
    return rows[::2], targets[::2]


def steps_of(case):
    """Return the steps before the network, their data and more of the grid."""
    from imblearn import FunctionSampler
    from imblearn.over_sampling import SMOTE, RandomOverSampler

    over = RandomOverSampler(random_state=0)
    return {
        "rows again": ([over], X, Y, {}),
        "rows of its own": (
            [StandardScaler(), SMOTE(random_state=np.random.RandomState(3))],
            X,
            np.array(["no", "yes"])[Y],
            {"smote__k_neighbors": [1, 3]},
        ),
        "one that writes to what it is given": (
            [over, FunctionSampler(func=write_to_all)],
            X,
            Y,
            {},
        ),
        "one without a fingerprint": (
            [FunctionSampler(func=lambda rows, targets: every_other(rows, targets))],
            X,
            Y,
            {},
        ),
        "a table": (
            [over, StandardScaler()],
            pd.DataFrame(X, columns=[*"abc"]),
            pd.Series(Y),
            {},
        ),
        "a sparse matrix": ([over], sp.csr_matrix(X), Y, {}),
    }[case]


CASES = [
    "rows again",
    "rows of its own",
    "one that writes to what it is given",
    "one without a fingerprint",
    "a table",
    "a sparse matrix",
]


@pytest.fixture
def calls(monkeypatch):
    """Count the jobs of every call of the engine."""
    sizes = []

    def fit_models(jobs, **kwargs):
        sizes.append(len(jobs))
        return _fit.fit_models(jobs, **kwargs)

    monkeypatch.setattr(training, "fit_models", fit_models)
    return sizes


def make(steps):
    pytest.importorskip("imblearn")
    from imblearn.pipeline import make_pipeline

    return make_pipeline(*steps, MLP)


@pytest.mark.parametrize("case", CASES)
def test_rows_are_resampled_per_fold_as_in_scikit_learns(case, calls):
    pytest.importorskip("imblearn")
    steps, rows, targets, more = steps_of(case)
    ours, theirs = (
        Search(make(steps), {**GRID, **more}, cv=2, scoring="neg_log_loss").fit(
            rows.copy(), targets.copy()
        )
        for Search in (VectorizedGridSearchCV, GridSearchCV)
    )
    n_candidates = len(theirs.cv_results_["params"])
    # ours trains all at once, and each is what its own fit asks for
    assert calls[:2] == [2 * n_candidates, 1]
    assert sum(calls) == 2 * (2 * n_candidates + 1)
    for name in ("split0_test_score", "split1_test_score", "mean_test_score"):
        assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], rtol=1e-9)
    assert_allclose(
        ours.predict_proba(rows), theirs.predict_proba(rows), rtol=0, atol=1e-9
    )


def test_a_resampler_without_a_seed_draws_once_for_all_candidates(calls):
    pytest.importorskip("imblearn")
    from imblearn.over_sampling import RandomOverSampler

    pipeline = make([RandomOverSampler()])
    VectorizedGridSearchCV(pipeline, GRID, cv=2, refit=False).fit(X, Y)
    # other rows would be trained once more
    assert calls == [4]


def test_what_is_remembered_is_safe_from_what_the_next_step_writes():
    remembered = TransformerCache(10**6).cache(lambda n: (np.ones(n), np.ones(n), n))
    for _ in range(3):
        rows, targets, fitted = remembered(4)
        assert_array_equal([rows, targets], np.ones((2, 4)))
        assert fitted == 4
        rows += 1
        targets += 1


@pytest.mark.parametrize("make_targets", [np.ones, lambda n: pd.Series(np.ones(n))])
@pytest.mark.parametrize(("budget", "expected"), [(100, [0, 1, 0]), (1000, [0, 1])])
def test_resampled_targets_count_among_the_bytes_that_are_kept(
    make_targets, budget, expected
):
    made = []

    def resample(n):
        made.append(n)
        return np.ones(1), make_targets(10), n  # 88 bytes and an index

    remembered = TransformerCache(budget).cache(resample)
    for n in (0, 1, 0):
        remembered(n)
    assert made == expected


def add(x, y):
    return np.ones(1), x + y


def subtract(x, y):
    return np.ones(1), x - y


def test_two_functions_of_the_same_arguments_are_remembered_apart():
    cache = TransformerCache(10**6)
    assert [cache.cache(f)(1, 2)[-1] for f in (add, subtract)] == [3, -1]
