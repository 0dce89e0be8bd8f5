"""Robustness against loops written by hand, and what it must leave alone."""

import copy
import math
import pickle
import sys
import warnings
from itertools import product

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array, csc_matrix, csr_array, csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import make_multilabel_classification
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.metrics import (
    accuracy_score,
    check_scoring,
    log_loss,
    make_scorer,
    mean_squared_error,
)
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sksharp import (
    RobustnessDisplay,
    SAMMLPClassifier,
    SAMMLPRegressor,
    robustness,
    tabular_pipeline,
)
from sksharp.inspection._evaluation import predicting_once
from sksharp.inspection._perturbations import SEEDS
from sksharp.inspection._weight_perturbations import WeightPerturbation
from sksharp.preprocessing._values import is_missing

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.randn(60, 4) * [1, 2, 5, 0.1] + [0, 10, -3, 1]
y = (X[:, 0] + X[:, 1] / 2 > 5).astype(int)
TARGET = X @ [1.0, 2.0, 0.5, 3.0] + RNG.randn(60)
WEIGHTS = RNG.uniform(0.1, 2, 60)
SMALL = {"hidden_layer_sizes": (5, 3), "max_iter": 4, "random_state": 0}
TREE = DecisionTreeClassifier(random_state=0).fit(X, y)
LINE = LinearRegression().fit(X, TARGET)
NUMERIC = ["noise", "rounding", "shift", "scale"]
SHARES = ["missing", "constant", "swap"]
WEIGHT = ["weight_noise", "weight_rounding"]


class Recorder(DummyRegressor):
    """Predicts 0, and keeps the rows that it is given."""

    def fit(self, X, y):
        self.rows_ = []
        return self

    def predict(self, X):
        self.rows_.append(X)
        return np.zeros(X.shape[0])

    def score(self, X, y, sample_weight=None):
        return 0.0


def rows_given(X, perturbation, strength, **options):
    """Return the rows that an estimator is given in one repeat."""
    recorder = Recorder().fit(X, None)
    options = {"n_repeats": 1, "random_state": 3, **options}
    robustness(
        recorder,
        X,
        np.arange(X.shape[0]),
        perturbation=perturbation,
        strengths=[strength],
        **options,
    )
    baseline, perturbed = recorder.rows_
    assert baseline is X
    return perturbed


def network(**params):
    return SAMMLPClassifier(**SMALL, **params).fit(X, y)


# -- what is done to a column --------------------------------------------------------------


def by_hand(name, x, strength, rng):
    """Return a perturbed column of numbers, by the formulas of the docstring."""
    n, m, s = len(x), x.mean(), x.std()
    if name == "noise":
        return x + strength * s * rng.standard_normal(n)
    if name == "rounding":
        return m + strength * s * np.rint((x - m) / (strength * s))
    if name == "shift":
        return x + (2 * rng.randint(2) - 1) * strength * s
    if name == "scale":
        return m + math.exp((2 * rng.randint(2) - 1) * strength) * (x - m)
    is_replaced = rng.uniform(size=n) < strength
    if name == "missing":
        return np.where(is_replaced, np.nan, x)
    if name == "constant":
        return np.where(is_replaced, m, x)
    steps = 1 + rng.randint(n - 1, size=n)
    return np.array(
        [x[(i + steps[i]) % n] if is_replaced[i] else x[i] for i in range(n)]
    )


def table_by_hand(name, X, strength, seed):
    seeds = np.random.RandomState(seed).randint(SEEDS, size=X.shape[1])
    columns = [
        by_hand(name, x, strength, np.random.RandomState(s))
        for x, s in zip(X.T, seeds, strict=True)
    ]
    return np.column_stack(columns)


@pytest.mark.parametrize("name", [*NUMERIC, *SHARES])
def test_scores_and_losses_are_those_of_a_loop_by_hand(name):
    fits = {
        "tree": TREE,
        "nearest": HistGradientBoostingClassifier(max_iter=3).fit(X, y),
    }
    strengths = [0.3, 0, 0.8]
    found = robustness(
        fits, X, y, perturbation=name, strengths=strengths, n_repeats=3, random_state=5
    )
    seeds = np.random.RandomState(5).randint(SEEDS, size=3)
    assert found.scores.shape == found.losses.shape == (2, 3, 3)
    for (i, clf), (j, strength), (k, seed) in product(
        enumerate(fits.values()), enumerate(strengths), enumerate(seeds)
    ):
        rows = table_by_hand(name, X, strength, seed) if strength else X
        assert found.scores[i, j, k] == clf.score(rows, y)
        expected = log_loss(y, clf.predict_proba(rows))
        assert_allclose(found.losses[i, j, k], expected, rtol=1e-10)
    for values, mean, std in [
        (found.scores, found.scores_mean, found.scores_std),
        (found.losses, found.losses_mean, found.losses_std),
    ]:
        assert_allclose(mean, values.mean(axis=2), rtol=1e-12)
        assert_allclose(std, values.std(axis=2), atol=1e-12)
    assert_array_equal(found.baseline_scores, [c.score(X, y) for c in fits.values()])
    assert_array_equal(found.strengths, strengths)
    assert found.names == ["tree", "nearest"]
    assert found.perturbation == name


@pytest.mark.parametrize("name", [*NUMERIC, *SHARES, *WEIGHT, "unseen", "function"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_strength_0_is_the_score_of_the_estimator_exactly(name, weighted):
    clf = network()
    rows, perturbation = X, name
    if name == "unseen":
        rows = np.column_stack([X.astype(object), np.array(["a", "b"] * 30)])
        columns = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), [4]), remainder="passthrough"
        )
        clf = make_pipeline(columns, SAMMLPClassifier(**SMALL)).fit(rows, y)
    if name == "function":

        def perturbation(X, strength, rng):
            raise AssertionError("called for 0")

    weights = {"sample_weight": WEIGHTS} if weighted else {}
    found = robustness(
        clf,
        rows,
        y,
        perturbation=perturbation,
        strengths=[0, 0],
        n_repeats=3,
        **weights,
    )
    if not hasattr(clf, "steps"):
        assert (found.scores == clf.score(rows, y, **weights)).all()
    assert (found.scores == found.baseline_scores[0]).all()
    assert_array_equal(found.scores_mean[0], found.baseline_scores.repeat(2))
    assert_array_equal(found.scores_std, [[0, 0]])
    assert_array_equal(found.losses_std, [[0, 0]])
    expected = log_loss(y, clf.predict_proba(rows), **weights)
    assert_allclose(found.losses, expected, rtol=1e-10)


def test_noise_has_the_standard_deviation_that_the_strength_says():
    many = np.random.RandomState(1).randn(20000, 2) * [3, 0.01]
    noise = rows_given(many, "noise", 0.5) - many
    assert_allclose(noise.std(axis=0), 0.5 * many.std(axis=0), rtol=0.02)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.03
    assert (abs(noise.mean(axis=0)) < 0.02 * many.std(axis=0)).all()


@pytest.mark.parametrize("name", SHARES)
def test_the_share_of_entries_is_replaced(name):
    many = np.random.RandomState(1).randn(20000, 2)
    found = rows_given(many, name, 0.3)
    is_replaced = ~(found == many)
    assert_allclose(is_replaced.mean(axis=0), 0.3, atol=0.015)
    both = is_replaced.all(axis=1).mean()  # of independent columns the product
    assert_allclose(both, 0.09, atol=0.01)
    assert (~(rows_given(many, name, 1.0) == many)).all()


def test_swapped_entries_are_those_of_other_rows_of_their_column():
    found = rows_given(X, "swap", 1.0)
    assert all(np.isin(a, b).all() for a, b in zip(found.T, X.T, strict=True))
    assert (found != X).all()
    # some source is taken twice: they are drawn, and not a permutation
    assert len(np.unique(found[:, 0])) < 60


def test_a_shift_keeps_the_spread_and_a_scale_the_mean():
    shifted = rows_given(X, "shift", 0.7)
    assert_allclose(shifted.std(axis=0), X.std(axis=0), rtol=1e-12)
    moves = (shifted - X) / X.std(axis=0)
    assert_allclose(abs(moves), 0.7, rtol=1e-9)
    assert_allclose(np.ptp(moves, axis=0), 0, atol=1e-9)
    scaled = rows_given(X, "scale", 0.7)
    assert_allclose(scaled.mean(axis=0), X.mean(axis=0), rtol=1e-12)
    logs = np.log(scaled.std(axis=0) / X.std(axis=0))
    assert_allclose(abs(logs), 0.7, rtol=1e-9)


@pytest.mark.parametrize("name", ["shift", "scale"])
def test_directions_are_drawn_per_column_and_repeat(name):
    wide = np.random.RandomState(0).randn(5, 400)
    first = rows_given(wide, name, 0.5)
    second = rows_given(wide, name, 0.5, random_state=4)
    ups = [(abs(t[0] - t[1]) > abs(wide[0] - wide[1])) for t in (first, second)]
    if name == "shift":
        ups = [(t > wide).all(axis=0) for t in (first, second)]
    assert all(0.4 < up.mean() < 0.6 for up in ups)
    assert 0.4 < (ups[0] == ups[1]).mean() < 0.6


def test_rounding_leaves_few_values_and_moves_none_further_than_half_a_step():
    found = rows_given(X, "rounding", 0.5)
    steps = 0.5 * X.std(axis=0)
    assert (abs(found - X) <= steps / 2 + 1e-12).all()
    multiples = (found - X.mean(axis=0)) / steps
    assert_allclose(multiples, np.rint(multiples), atol=1e-9)
    assert_allclose(rows_given(X, "rounding", 1e9), [X.mean(axis=0)] * 60, rtol=1e-12)


def test_in_a_repeat_all_strengths_share_the_random_numbers():
    few, many = (rows_given(X, "missing", c) for c in (0.2, 0.6))
    assert (np.isnan(many) | ~np.isnan(few)).all()
    assert np.isnan(many).sum() > np.isnan(few).sum()
    noise = [(rows_given(X, "noise", c) - X) / c for c in (0.5, 1)]
    assert_allclose(*noise, rtol=1e-9)
    options = {"n_repeats": 4, "random_state": 1}
    alone = robustness(TREE, X, y, strengths=[0.5], **options)
    among = robustness(TREE, X, y, strengths=[0.9, 0, 0.5], **options)
    assert_array_equal(alone.scores[:, 0], among.scores[:, 2])
    fewer = robustness(TREE, X, y, strengths=[0.5], n_repeats=2, random_state=1)
    assert_array_equal(fewer.scores, alone.scores[:, :, :2])
    assert len({*alone.losses[0, 0]}) > 1


@pytest.mark.parametrize("name", [*NUMERIC, *SHARES])
def test_a_column_is_perturbed_the_same_whichever_others_are(name):
    everything = rows_given(X, name, 0.4)
    found = rows_given(X, name, 0.4, features=[3, 1])
    assert_array_equal(found[:, [1, 3]], everything[:, [1, 3]])
    assert_array_equal(found[:, [0, 2]], X[:, [0, 2]])


def test_all_estimators_are_given_the_same_rows_in_whatever_order():
    line = LogisticRegression().fit(X, y)
    options = {"strengths": [0.2, 0.9], "n_repeats": 3, "random_state": 2}
    for name in ("noise", "weight_noise"):
        first, second = network(), network(rho=0)
        fits = (line, TREE) if name == "noise" else (first, second)
        pair = robustness([*fits], X, y, perturbation=name, **options)
        turned = robustness([*fits[::-1]], X, y, perturbation=name, **options)
        assert_array_equal(pair.losses, turned.losses[::-1])
        alone = robustness(fits[1], X, y, perturbation=name, **options)
        assert_array_equal(pair.losses[1:], alone.losses)
        twice = robustness(
            {"a": fits[0], "b": fits[0]}, X, y, perturbation=name, **options
        )
        assert_array_equal(twice.losses[0], twice.losses[1])
        assert_array_equal(twice.scores[0], twice.scores[1])


@pytest.mark.parametrize(
    "backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", ["noise", "swap", "weight_noise", "rounding"])
def test_jobs_do_not_change_a_bit(backend, name):
    fits = [network(), network(rho=0)]
    options = {"perturbation": name, "n_repeats": 3, "random_state": 7}
    one = robustness(fits, X, y, n_jobs=1, **options)
    with joblib.parallel_config(backend):
        two = robustness(fits, X, y, n_jobs=2, **options)
    assert_array_equal(one.scores, two.scores)
    assert_array_equal(one.losses, two.losses)


def test_the_random_state_alone_decides():
    state = np.random.mtrand._rand.get_state()[1].copy()
    found = [
        robustness(TREE, X, y, random_state=seed).losses
        for seed in (0, 0, 1, np.random.RandomState(0))
    ]
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[0], found[3])
    assert (found[0] != found[2]).any()
    assert_array_equal(found[0], robustness(TREE, X, y).losses)
    assert_array_equal(np.random.mtrand._rand.get_state()[1], state)


@pytest.mark.parametrize("name", [*NUMERIC, *SHARES, *WEIGHT])
def test_rows_and_estimators_stay_as_they_are(name):
    fits = [network(), network(n_members=2)]
    if name == "missing":
        fits = [TREE]
    rows = X.copy()
    rows.flags.writeable = False
    before = joblib.hash([fits, rows, y])
    robustness(fits, rows, y, perturbation=name, strengths=[0.1, 1], n_repeats=2)
    assert joblib.hash([fits, rows, y]) == before


def test_what_draws_nothing_is_computed_once():
    recorder = Recorder().fit(X, y)
    robustness(recorder, X, y, perturbation="rounding", strengths=[0, 0.5], n_repeats=4)
    assert len(recorder.rows_) == 2
    found = robustness(TREE, X, y, perturbation="rounding", strengths=[0.5])
    assert found.scores.shape == (1, 1, 5)
    assert_array_equal(found.losses_std, [[0]])


# -- tables --------------------------------------------------------------------------------


def mixed_columns():
    return {
        "float": np.where(np.arange(60) % 7 == 0, np.nan, X[:, 0]),
        "single": X[:, 1].astype(np.float32),
        "whole": np.arange(60) % 5,
        "flag": np.arange(60) % 3 == 0,
        "word": np.where(np.arange(60) % 4 == 0, "red", "blue").astype(object),
        "date": np.datetime64("2024-01-01", "us")
        + np.arange(60) % 9 * np.timedelta64(1, "D"),
        "same": np.full(60, 0.1),
    }


def frame():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(mixed_columns(), index=np.arange(60)[::-1])
    table["kind"] = pd.Categorical.from_codes(
        np.append(np.arange(59) % 3, -1), ["x", "y", "z", "never"]
    )
    table["code"] = pd.Categorical(np.arange(60) % 4)
    table["nullable"] = pd.array([None, *range(59)], dtype="Int64")
    table["boolean"] = pd.array([None, *[True, False] * 29, True], dtype="boolean")
    table["text"] = pd.array([None, *["a", "b"] * 29, "a"], dtype="string")
    return table


NUMBERS = ["float", "single", "whole", "nullable"]


@pytest.mark.parametrize("name", NUMERIC)
def test_numeric_columns_of_a_frame_change_and_no_others(name):
    table = frame()
    before = table.copy(deep=True)
    found = rows_given(table, name, 0.5)
    assert [*found.columns] == [*table.columns]
    assert (found.index == table.index).all()
    seeds = np.random.RandomState(np.random.RandomState(3).randint(SEEDS, size=1)[0])
    seeds = seeds.randint(SEEDS, size=table.shape[1])
    for j, column in enumerate(table):
        if column not in NUMBERS:
            assert found[column].equals(table[column]), column
            assert found[column].dtype == table[column].dtype
            continue
        values = table[column].to_numpy(dtype=float, na_value=np.nan)
        present = ~np.isnan(values)
        x = np.where(present, values, values[present].mean())
        full = x + 0  # mean and deviation of what is present
        rng = np.random.RandomState(seeds[j])
        m, s = values[present].mean(), values[present].std()
        scaled = (full - m) / s
        expected = {
            "noise": lambda z, rng: z + 0.5 * rng.standard_normal(60),
            "rounding": lambda z, rng: 0.5 * np.rint(z / 0.5),
            "shift": lambda z, rng: z + 0.5 * (2 * rng.randint(2) - 1),
            "scale": lambda z, rng: z * np.exp(0.5 * (2 * rng.randint(2) - 1)),
        }[name](scaled, rng)
        given = found[column].to_numpy(dtype=float, na_value=np.nan)
        assert_array_equal(np.isnan(given), ~present)
        tolerance = 1e-5 if column == "single" else 1e-9
        assert_allclose(
            given[present],
            (m + s * expected)[present],
            rtol=0,
            atol=tolerance * s * 100,
        )
    dtypes = [str(found[column].dtype) for column in NUMBERS]
    assert dtypes == ["float64", "float32", "float64", "Float64"]
    assert table.equals(before)


def test_entries_of_all_kinds_of_columns_go_missing():
    table = frame()
    found = rows_given(table, "missing", 0.4)
    for column in table:
        gone = found[column].isna() & ~table[column].isna()
        assert 0.1 < gone.mean() < 0.7, column
        kept = ~found[column].isna()
        assert (found[column][kept] == table[column][kept]).all()
    assert found["kind"].dtype == table["kind"].dtype
    assert found["nullable"].dtype == "Int64"


def test_entries_of_all_kinds_of_columns_get_the_mean_or_the_most_frequent_value():
    table = frame()
    found = rows_given(table, "constant", 1.0)
    for column in table:
        assert found[column].nunique(dropna=False) == 1, column
        value = found[column].iloc[0]
        if column in [*NUMBERS, "same"]:
            assert_allclose(value, table[column].mean(), rtol=1e-6)
        else:
            counts = table[column].value_counts()
            ties = counts.index[counts == counts.max()]
            assert value == next(v for v in table[column] if v in set(ties))
    assert found["kind"].dtype == table["kind"].dtype


def test_entries_of_all_kinds_of_columns_are_swapped():
    table = frame()
    found = rows_given(table, "swap", 0.5)
    assert (found.dtypes == table.dtypes).all()
    for column in set(table) - {"same"}:
        changed = ~(found[column].eq(table[column]) | found[column].isna()).fillna(
            False
        )
        assert changed.any(), column
        assert set(found[column].dropna()) <= set(table[column].dropna())


def test_unseen_categories_are_in_columns_of_words_and_categories_alone():
    table = frame()
    table.loc[table.index[1], "word"] = "never seen"
    found = rows_given(table, "unseen", 0.5)
    for column in table:
        if column in ("word", "kind", "code", "text"):
            new = set(found[column].dropna()) - set(table[column].dropna())
            is_new = found[column].isin(new)
            assert len(new) == 1, column
            assert 0.2 < is_new.mean() < 0.8
            kept = ~is_new & ~table[column].isna()
            assert [*found[column][kept]] == [*table[column][kept]]
        else:
            assert found[column].equals(table[column]), column
    assert set(found["code"].cat.categories) == {0, 1, 2, 3, 4}
    assert "never" not in set(found["kind"].dropna())
    assert "never seen!" in set(found["word"])
    assert [*table["kind"].cat.categories] == ["x", "y", "z", "never"]


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
@pytest.mark.parametrize("name", [*NUMERIC, *SHARES, "unseen"])
def test_tables_of_other_libraries_are_perturbed_as_those_of_pandas(library, name):
    pd, other = pytest.importorskip("pandas"), pytest.importorskip(library)
    columns = mixed_columns()
    del columns["flag"]  # pandas makes objects of booleans with gaps
    table = pd.DataFrame(columns)
    given = {
        "polars": lambda: other.DataFrame(columns, nan_to_null=True),
        "pyarrow": lambda: other.table(
            {k: other.array(v, from_pandas=True) for k, v in columns.items()}
        ),
    }[library]()
    found = rows_given(given, name, 0.5)
    assert type(found) is type(given)
    expected = rows_given(table, name, 0.5)
    found = found.to_pandas()
    assert [*found.columns] == [*table.columns]
    for column in table:
        assert_array_equal(found[column].isna(), expected[column].isna())
        present = ~expected[column].isna()
        assert [*found[column][present]] == [*expected[column][present]], column


def test_columns_of_a_frame_are_named_or_counted():
    table = frame()
    for features in (["single", "whole"], [1, 2], np.array(["single", "whole"])):
        found = rows_given(table, "noise", 1, features=features)
        assert not found["single"].equals(table["single"])
        assert not found["whole"].equals(table["whole"])
        assert found["float"].equals(table["float"])
    twice = table.iloc[:, [0, 0, 4]]
    found = rows_given(twice, "noise", 1, features=["float"])
    assert [*found.columns] == ["float", "float", "word"]
    assert not (found.iloc[:, 0] == found.iloc[:, 1]).any()


def test_arrays_of_any_dtype():
    objects = np.array([[1, "a", 2.5, True], [3, "b", None, False]] * 5, dtype=object)
    found = rows_given(objects, "shift", 1)
    assert_array_equal(found[:, [1, 3]], objects[:, [1, 3]])
    assert_allclose(abs((found[:, 0] - objects[:, 0]).astype(float)), 1)
    assert [v is None or np.isnan(v) for v in found[:, 2]] == [False, True] * 5
    assert_array_equal(found[::2, 2], objects[::2, 2])  # one value is constant
    whole = np.arange(20).reshape(10, 2)
    assert rows_given(whole, "noise", 1).dtype == np.float64
    assert rows_given(whole, "swap", 1).dtype == whole.dtype
    assert rows_given(whole, "missing", 0.5).dtype == np.float64
    single = X.astype(np.float32)
    for name in [*NUMERIC, *SHARES]:
        assert rows_given(single, name, 0.5).dtype == np.float32
    words = np.array([["a", "b"]] * 5 + [["c", "d"]] * 5)
    assert set(rows_given(words, "swap", 1.0)[:, 0]) <= {"a", "c"}
    assert set(rows_given(words, "unseen", 1.0).ravel()) == {"never seen"}
    infinite = X.copy()
    infinite[0] = np.inf
    found = rows_given(infinite, "shift", 1)
    assert np.isinf(found[0]).all()
    assert_allclose(abs(found - X)[1:], [X[1:].std(axis=0)] * 59)
    estimator = LogisticRegression().fit(X, y)
    as_list = robustness(estimator, X.tolist(), y.tolist())
    assert_array_equal(as_list.scores, robustness(estimator, X, y).scores)


@pytest.mark.parametrize("make", [csr_matrix, csr_array, coo_array])
def test_a_sparse_matrix_is_swapped_as_a_dense_one(make):
    dense = np.where(RNG.uniform(size=(60, 6)) < 0.3, RNG.randn(60, 6), 0)
    sparse = make(dense)
    found = rows_given(sparse, "swap", 0.6)
    assert found.format == sparse.format
    assert isinstance(found, type(sparse))
    assert_array_equal(found.toarray(), rows_given(dense, "swap", 0.6))
    assert_array_equal(sparse.toarray(), dense)
    for name in ["noise", "missing", "unseen"]:
        with pytest.raises(TypeError, match=rf"X must be dense for.*{name}.*toarray"):
            robustness(TREE, sparse, y, perturbation=name)

    def drop(X, strength, rng):
        return X * (1 - strength)

    assert_allclose(rows_given(sparse, drop, 0.5).toarray(), dense / 2)


def test_a_sparse_matrix_that_is_not_sorted_stays_as_it_is():
    data, rows, ends = [1.0, 2.0, 4.0, 8.0], [2, 0, 0, 1], [0, 3, 4]
    sparse = csc_matrix((data, rows, ends), shape=(3, 2))
    found = rows_given(sparse, "swap", 1.0)
    assert_array_equal(found.toarray(), rows_given(sparse.toarray(), "swap", 1.0))
    assert_array_equal(sparse.indices, rows)
    assert sparse.nnz == 4


def test_an_unseen_category_is_none_of_those_that_are_declared():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    declared = [
        ([0, 1, 2], [0, 1, 2, 3]),  # no row has the highest
        ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 1e17]),
        ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0, np.inf]),
        (["a", "b", "c"], ["a", "b", "c", "never seen"]),
    ]
    for values, categories in declared:
        table = pd.DataFrame({"k": pd.Categorical(values * 4, categories=categories)})
        found = rows_given(table, "unseen", 1.0)["k"]
        assert not found.isin(categories).any()
        assert [*found.cat.categories[:4]] == categories
    enum = pl.Enum(["a", "b", "c", "never seen"])
    found = rows_given(pl.DataFrame({"k": ["a", "b"]}, {"k": enum}), "unseen", 1.0)
    assert [*found["k"]] == ["never seen!"] * 2


def kinds_of_words():
    """Return tables of words, with gaps, as the libraries store them."""
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    pd = pytest.importorskip("pandas")
    words = ["a", None, "b", "c"] * 5
    of_bytes = [None if word is None else word.encode() + b"\xff" for word in words]
    encoded = pa.array(words).dictionary_encode()
    return {
        "dictionary of pandas": pd.DataFrame(
            {"k": pd.Series(encoded, dtype=pd.ArrowDtype(encoded.type))}
        ),
        "dictionary": pa.table({"k": encoded}, metadata={"from": "here"}),
        "batch": pa.record_batch({"k": encoded}),
        "chunks": pa.table({"k": pa.chunked_array([encoded[:9], encoded[9:]])}),
        "large": pa.table({"k": pa.array(words, pa.large_string())}),
        "view": pa.table({"k": pa.array(words, pa.string_view())}),
        "bytes": pa.table({"k": pa.array(of_bytes)}),
        "enum": pl.DataFrame({"k": words}, {"k": pl.Enum(["a", "b", "c"])}),
        "categorical": pl.DataFrame({"k": words}, {"k": pl.Categorical}),
        "binary": pl.DataFrame({"k": of_bytes}, {"k": pl.Binary}),
    }


def words_in(values):
    """Return words, those that are missing as None."""
    return [None if is_missing(value) else value for value in values]


@pytest.mark.parametrize("name", [*SHARES, "unseen"])
def test_words_of_all_kinds_change_where_objects_do(name):
    for kind, table in kinds_of_words().items():
        to_list = "to_list" if hasattr(table["k"], "to_list") else "to_pylist"
        words = np.array(words_in(getattr(table["k"], to_list)()), dtype=object)
        expected = rows_given(words[:, None], name, 0.5)[:, 0]
        found = rows_given(table, name, 0.5)
        assert words_in(getattr(found["k"], to_list)()) == words_in(expected), kind
        assert type(found) is type(table)
        if to_list == "to_pylist":
            assert found.schema.equals(table.schema, check_metadata=True)
        elif not (name == "unseen" and kind == "enum"):
            assert [*found.dtypes] == [*table.dtypes], kind


def test_columns_that_do_not_change_are_left_as_they_are_stored():
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {"k": pa.array(["a", "b"] * 5).dictionary_encode(), "x": range(10)}
    )
    found = rows_given(table, "noise", 0.5)
    assert found["k"].equals(table["k"])
    assert not found["x"].equals(table["x"].cast("double"))


def test_arrays_of_words_get_as_wide_as_they_must_be():
    for values, unseen in [
        (np.array([["a"], ["b"]]), "never seen"),
        (np.array([[b"a"], [b"b"]]), b"never seen"),
        (np.array([["a"], ["b"]], dtype=np.dtypes.StringDType()), "never seen"),
    ]:
        found = rows_given(values, "unseen", 1.0)
        assert found.dtype.kind == values.dtype.kind
        assert [*found[:, 0]] == [unseen] * 2


def test_a_list_of_rows_is_given_as_it_is_and_its_numbers_stay_numbers():
    rows = [[float(a), "u" if b > 9 else "v"] for a, b in X[:, :2]]
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), [1]), remainder="passthrough"
    )
    pipe = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    pipe.fit(rows, y)
    found = robustness(pipe, rows, y, strengths=[0, 1], n_repeats=1)
    assert found.baseline_scores == pipe.score(rows, y)
    table = np.array(rows, dtype=object)
    pipe = make_pipeline(columns, LogisticRegression()).fit(table, y)
    for name in ("noise", "swap", "unseen"):
        options = {"perturbation": name, "strengths": [1], "n_repeats": 1}
        found = robustness(pipe, table, y, **options)
        assert_array_equal(found.losses, robustness(pipe, rows, y, **options).losses)


def test_a_function_perturbs_a_copy_by_a_generator_of_the_repeat():
    seen = []

    def damp(X, strength, rng):
        seen.append((strength, rng.randint(SEEDS)))
        X *= 1 - strength
        return X

    rows = X.copy()
    found = robustness(
        TREE, rows, y, perturbation=damp, strengths=[0, 0.25, 1], n_repeats=2
    )
    assert_array_equal(rows, X)
    seeds = np.random.RandomState(0).randint(SEEDS, size=2)
    draws = [np.random.RandomState(seed).randint(SEEDS) for seed in seeds]
    assert seen == [*product([0.25, 1], draws)]
    expected = [TREE.score(X * (1 - c), y) for c in (0, 0.25, 1)]
    assert_array_equal(found.scores, np.array([expected] * 2).T[None])
    assert found.perturbation == "damp"
    for wrong in (lambda X, c, rng: X[1:], lambda X, c, rng: None):
        with pytest.raises(ValueError, match="perturbation must return as many rows"):
            robustness(TREE, X, y, perturbation=wrong)


def test_a_pipeline_is_given_the_raw_table():
    pytest.importorskip("pandas")
    table = frame()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = tabular_pipeline(SAMMLPClassifier(**SMALL)).fit(table, y)
        for name in [*NUMERIC, *SHARES, "unseen", *WEIGHT]:
            found = robustness(
                pipe, table, y, perturbation=name, strengths=[0, 1], n_repeats=1
            )
            assert found.scores[0, 0, 0] == pipe.score(table, y)
            assert found.losses[0, 1].mean() != found.losses[0, 0, 0], name
    boosting = HistGradientBoostingClassifier(
        max_iter=3, categorical_features="from_dtype", min_samples_leaf=2
    )
    columns = ["float", "whole", "flag", "kind", "code", "nullable"]
    boosting.fit(table[columns], y)
    for name in [*NUMERIC, *SHARES, "unseen"]:
        found = robustness(
            boosting,
            table[columns],
            y,
            perturbation=name,
            strengths=[0.5],
            n_repeats=1,
        )
        assert np.isfinite(found.losses).all()


# -- scores and losses ---------------------------------------------------------------------


def test_a_metric_of_scikit_learn_by_its_name_or_as_a_function():
    line = LogisticRegression().fit(X, y)
    options = {"strengths": [0.5], "n_repeats": 1}
    found = robustness(line, X, y, scoring="neg_log_loss", **options)
    assert_allclose(found.scores, -found.losses, rtol=1e-12)
    assert found.score_name == "neg_log_loss"

    def share_of_ones(estimator, X, y):
        return estimator.predict(X).mean()

    found = robustness(line, X, y, scoring=share_of_ones, **options)
    rows = rows_given(X, "noise", 0.5, random_state=0)
    assert found.scores == line.predict(rows).mean()
    assert found.score_name == "share_of_ones"


def test_weights_of_rows_are_in_scores_and_losses_and_not_in_the_noise():
    for estimator, target in ((TREE, y), (LINE, TARGET)):
        options = {"strengths": [0.7], "n_repeats": 1}
        found = robustness(estimator, X, target, sample_weight=WEIGHTS, **options)
        rows = rows_given(X, "noise", 0.7, random_state=0)
        assert found.scores == estimator.score(rows, target, sample_weight=WEIGHTS)
        if estimator is LINE:
            expected = mean_squared_error(
                target, LINE.predict(rows), sample_weight=WEIGHTS
            )
        else:
            proba = TREE.predict_proba(rows)
            expected = log_loss(y, proba, sample_weight=WEIGHTS)
        assert_allclose(found.losses.item(), expected, rtol=1e-10)


def test_the_squared_error_of_noise_in_a_line_is_that_of_the_formula():
    rng = np.random.RandomState(0)
    rows = rng.randn(20000, 3) * [1, 2, 3]
    line = LinearRegression().fit(rows, rows @ [1.0, -1.0, 0.5])
    found = robustness(
        line, rows, rows @ [1.0, -1.0, 0.5], strengths=[0, 0.5], n_repeats=2
    )
    expected = 0.25 * ((rows.std(axis=0) * [1, 1, 0.5]) ** 2).sum()
    assert_allclose(found.losses[0, 0], 0, atol=1e-20)
    assert_allclose(found.losses[0, 1], expected, rtol=0.05)
    assert (found.score_name, found.loss_name) == ("R²", "Squared error")


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("Estimator", [LinearRegression, SAMMLPRegressor])
def test_regressors_of_several_targets(Estimator, n_targets):
    targets = np.column_stack([TARGET] * n_targets) + RNG.randn(60, n_targets)
    params = {} if Estimator is LinearRegression else SMALL
    fitted = Estimator(**params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a column where a vector is meant
        fitted.fit(X, targets)
    found = robustness(fitted, X, targets, strengths=[0, 0.4], n_repeats=1)
    rows = rows_given(X, "noise", 0.4, random_state=0)
    for j, given in enumerate((X, rows)):
        expected = mean_squared_error(targets, fitted.predict(given))
        assert_allclose(found.losses[0, j, 0], expected, rtol=1e-10)
    with pytest.raises(ValueError, match="as many targets as the estimator predicts"):
        robustness(LINE, X, np.column_stack([TARGET] * 2), scoring=lambda e, X, y: 0)


def test_losses_of_labels_and_of_several_outputs_are_summed():
    rows, labels = make_multilabel_classification(60, 5, n_classes=3, random_state=0)
    mlp = SAMMLPClassifier(**SMALL).fit(rows, labels)
    proba = mlp.predict_proba(rows)
    expected = sum(log_loss(labels[:, k], proba[:, k]) for k in range(3))
    for given in (labels, csr_matrix(labels)):
        found = robustness(mlp, rows, given, strengths=[0], n_repeats=1)
        assert_allclose(found.losses.item(), expected, rtol=1e-9)
    outputs = np.column_stack([np.array(["a", "b"])[y], np.arange(60) % 3])
    for estimator in (
        KNeighborsClassifier(),
        RandomForestClassifier(5, random_state=0),
    ):
        estimator.fit(X, outputs)
        found = robustness(
            estimator, X, outputs, strengths=[0], scoring=lambda e, X, y: 0.0
        )
        expected = sum(
            log_loss(outputs[:, k], proba, labels=estimator.classes_[k])
            for k, proba in enumerate(estimator.predict_proba(X))
        )
        assert_allclose(found.losses, expected, rtol=1e-9)
    several = RandomForestClassifier(5, random_state=0).fit(rows, labels)
    found = robustness(several, rows, labels, strengths=[0])
    expected = sum(
        log_loss(labels[:, k], proba)
        for k, proba in enumerate(several.predict_proba(rows))
    )
    assert_allclose(found.losses, expected, rtol=1e-9)


def test_classifiers_without_probabilities_have_scores_and_no_losses():
    svc = LinearSVC().fit(X, y)
    found = robustness([svc, TREE], X, y, strengths=[0, 0.3])
    assert np.isnan(found.losses[0]).all()
    assert np.isnan(found.baseline_losses[0])
    assert np.isfinite(found.losses[1]).all()
    assert found.scores[0, 0, 0] == svc.score(X, y)


def test_words_as_labels_and_labels_that_the_fit_does_not_know():
    words = np.array(["ant", "bee"])[y]
    line = LogisticRegression().fit(X, words)
    found = robustness(line, X, words)
    assert_array_equal(
        found.losses, robustness(LogisticRegression().fit(X, y), X, y).losses
    )
    words = np.append(words[:-1], "crab")
    with pytest.raises(ValueError, match=r"y must hold the classes.*'crab'"):
        robustness(line, X, words)


class Shift(TransformerMixin, BaseEstimator):
    """Adds 1, and counts."""

    def fit(self, X, y=None):
        self.calls_ = []
        return self

    def transform(self, X):
        self.calls_.append(1)
        return X + 1


ESTIMATORS = [
    make_pipeline(Shift(), LogisticRegression()),
    make_pipeline(Shift(), "passthrough", None, make_pipeline(Shift(), LinearSVC())),
    RandomForestClassifier(3, random_state=0),
    HistGradientBoostingClassifier(max_iter=2),
    VotingClassifier([("a", DecisionTreeClassifier())], voting="soft"),
    FixedThresholdClassifier(LogisticRegression(), threshold=0.9),
    GridSearchCV(LogisticRegression(), {"C": [1]}, scoring="neg_log_loss", cv=2),
    make_pipeline(StandardScaler(), SAMMLPClassifier(**SMALL, n_members=2)),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("scoring", [None, "roc_auc", "f1"])
def test_with_one_pass_the_scores_are_those_of_two(estimator, scoring):
    fitted = clone(estimator).fit(X, y)
    before = [*vars(fitted)]
    found = robustness(fitted, X, y, scoring=scoring, strengths=[0.5], n_repeats=2)
    assert [*vars(fitted)] == before
    seeds = np.random.RandomState(0).randint(SEEDS, size=2)
    for k, seed in enumerate(seeds):
        rows = table_by_hand("noise", X, 0.5, seed)
        assert found.scores[0, 0, k] == check_scoring(fitted, scoring)(fitted, rows, y)
        if hasattr(fitted, "predict_proba"):
            expected = log_loss(y, fitted.predict_proba(rows))
            assert_allclose(found.losses[0, 0, k], expected, rtol=1e-9)


@pytest.mark.parametrize("scoring", [None, "roc_auc", "neg_log_loss"])
def test_a_pipeline_transforms_and_predicts_once_for_score_and_loss(scoring):
    pipe = make_pipeline(Shift(), RandomForestClassifier(3, random_state=0)).fit(X, y)
    pipe[0].calls_.clear()
    robustness(pipe, X, y, strengths=[0, 0.5], n_repeats=3, scoring=scoring)
    assert len(pipe[0].calls_) == 4
    assert "predict_proba" not in vars(pipe[-1])
    with sklearn.config_context(enable_metadata_routing=True):
        once, rows = predicting_once(pipe, X)
    assert rows is X
    assert once.steps == pipe.steps


def test_what_is_remembered_is_of_these_rows_and_no_ones_to_change():
    forest = RandomForestRegressor(3, random_state=0).fit(X, TARGET)
    once, rows = predicting_once(forest, X)
    assert rows is X
    once.predict(X)[:] = 0
    assert_array_equal(once.predict(X), forest.predict(X))
    assert_array_equal(once.predict(X[:5]), forest.predict(X[:5]))
    assert once.score(X, TARGET) == forest.score(X, TARGET)
    tree = RandomForestClassifier(3, random_state=0).fit(X, y)
    once, _ = predicting_once(tree, X)
    once.estimators_ = None
    with pytest.raises(TypeError):
        once.predict(X)
    once, _ = predicting_once(tree, X)
    once.predict_proba(X)
    once.estimators_ = None  # what predict needs is remembered
    assert_array_equal(once.predict(X), tree.predict(X))


def test_a_metric_of_the_users_is_given_the_estimator_and_the_rows():
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    seen = []

    def metric(estimator, X, y):
        seen.append((estimator, X))
        return 0.0

    robustness(pipe, X, y, scoring=metric, strengths=[0])
    ((estimator, rows),) = seen
    assert estimator is pipe
    assert rows is X


def test_the_score_has_the_name_of_the_metric_that_it_is():
    search = GridSearchCV(LogisticRegression(), {"C": [1]}, cv=2)
    several = {"scoring": ["f1", "accuracy"], "refit": "f1"}
    named = [
        (KNeighborsClassifier(), "Accuracy"),
        (make_pipeline(StandardScaler(), KNeighborsClassifier()), "Accuracy"),
        (clone(search), "Accuracy"),
        (clone(search).set_params(scoring="f1"), "f1"),
        (clone(search).set_params(**several), "f1"),
        (clone(search).set_params(scoring=make_scorer(accuracy_score)), "Score"),
        (HistGradientBoostingClassifier(max_iter=1), "Accuracy"),
    ]
    for estimator, name in named:
        found = robustness(estimator.fit(X, y), X, y, strengths=[0])
        assert found.score_name == name
    fits = [named[3][0], named[0][0]]
    assert robustness(fits, X, y, strengths=[0]).score_name == "Score"
    poisson = PoissonRegressor().fit(X, TARGET - TARGET.min())  # D² and not R²
    found = robustness([poisson], X, TARGET - TARGET.min(), strengths=[0])
    assert found.score_name == "Score"
    scorer = make_scorer(accuracy_score)
    found = robustness(TREE, X, y, scoring=scorer, strengths=[0])
    assert found.score_name == "accuracy_score"


# -- weights -------------------------------------------------------------------------------


def weights_by_hand(name, network, strength, rng):
    for i, coef in enumerate(network.coefs_):
        scale = strength * np.sqrt((coef.astype(float) ** 2).mean())
        for weights in (network.coefs_, network.intercepts_):
            w = weights[i].astype(float)
            weights[i] = (
                scale * np.rint(w / scale)
                if name == "weight_rounding"
                else w + scale * rng.standard_normal(w.shape)
            ).astype(weights[i].dtype)


@pytest.mark.parametrize("name", WEIGHT)
@pytest.mark.parametrize("Estimator", [SAMMLPClassifier, MLPClassifier])
def test_scores_under_perturbed_weights_are_those_of_a_loop_by_hand(name, Estimator):
    clf = Estimator(**SMALL).fit(X, y)
    found = robustness(clf, X, y, perturbation=name, strengths=[0.5], n_repeats=2)
    for k, seed in enumerate(np.random.RandomState(0).randint(SEEDS, size=2)):
        other = copy.deepcopy(clf)
        weights_by_hand(name, other, 0.5, np.random.RandomState(seed))
        assert found.scores[0, 0, k] == other.score(X, y)
        expected = log_loss(y, other.predict_proba(X))
        assert_allclose(found.losses[0, 0, k], expected, rtol=1e-10)


def test_noise_of_weights_is_in_units_of_every_layer():
    clf = SAMMLPClassifier((400,), max_iter=1, random_state=0).fit(X, y)
    clf.coefs_[1] *= 50
    noisy = WeightPerturbation("weight_noise")(clf, 0.3, np.random.RandomState(0))
    for i in range(2):
        size = np.sqrt((clf.coefs_[i] ** 2).mean())
        noise = noisy.coefs_[i] - clf.coefs_[i]
        assert_allclose(noise.std(), 0.3 * size, rtol=0.15)
    bias = noisy.intercepts_[0] - clf.intercepts_[0]
    assert_allclose(bias.std(), 0.3 * np.sqrt((clf.coefs_[0] ** 2).mean()), rtol=0.15)
    single = SAMMLPClassifier(**SMALL).fit(X.astype(np.float32), y)
    noisy = WeightPerturbation("weight_noise")(single, 0.3, np.random.RandomState(0))
    assert {w.dtype for w in (*noisy.coefs_, *noisy.intercepts_)} == {
        single.coefs_[0].dtype
    }
    clf.coefs_[1] *= 0
    rounded = WeightPerturbation("weight_rounding")(clf, 0.3, None)
    assert_array_equal(rounded.coefs_[1], clf.coefs_[1])


def test_networks_are_found_wherever_they_are():
    members = network(n_members=3)
    target = TransformedTargetRegressor(SAMMLPRegressor(**SMALL)).fit(X, TARGET)
    pipe = make_pipeline(StandardScaler(), SAMMLPRegressor(**SMALL)).fit(X, TARGET)
    search = GridSearchCV(MLPRegressor(**SMALL), {"alpha": [1, 2]}, cv=2).fit(X, TARGET)
    vote = VotingClassifier([("a", MLPClassifier(**SMALL)), ("b", TREE)]).fit(X, y)
    inner = {
        members: lambda e: e.members_,
        target: lambda e: [e.regressor_],
        pipe: lambda e: [e[-1]],
        search: lambda e: [e.best_estimator_],
        vote: lambda e: [e.estimators_[0]],
    }
    for estimator, networks in inner.items():
        noisy = WeightPerturbation("weight_noise")(
            estimator, 0.5, np.random.RandomState(0)
        )
        rng = np.random.RandomState(0)
        other = copy.deepcopy(estimator)
        for one in networks(other):
            weights_by_hand("weight_noise", one, 0.5, rng)
        predict = getattr(other, "predict_proba", other.predict)
        if estimator is vote:
            predict = other.transform
            assert_array_equal(predict(X), noisy.transform(X))
            continue
        given = getattr(noisy, predict.__name__)(X)
        assert_array_equal(given, predict(X))
        original = getattr(estimator, predict.__name__)(X)
        assert not np.allclose(given, original)


def test_networks_of_calibrated_classifiers_are_the_fitted_ones():
    template = MLPClassifier(**SMALL).fit(X, y)  # of which clones are fitted
    for mlp in (MLPClassifier(**SMALL), template):
        fitted = CalibratedClassifierCV(mlp, cv=2).fit(X, y)
        found = robustness(
            fitted, X, y, perturbation="weight_noise", strengths=[0, 2], n_repeats=1
        )
        assert found.losses[0, 1, 0] != found.losses[0, 0, 0]


@pytest.mark.parametrize("name", WEIGHT)
def test_an_estimator_without_networks_is_refused_for_weights(name):
    with pytest.raises(
        TypeError, match=rf"'{name}' needs estimators with net.*got tree"
    ):
        robustness({"mlp": network(), "tree": TREE}, X, y, perturbation=name)


# -- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perturbation": "nois"}, r"'perturbation' parameter.*Did you mean 'noise'"),
        ({"perturbation": "weightnoise"}, "Did you mean 'weight_noise'"),
        ({"strengths": [0, -0.5]}, r"strengths must be finite.*from 0 on.*got -0\.5"),
        ({"strengths": [0, np.nan]}, "strengths must be finite.*got nan"),
        ({"strengths": [np.inf]}, "strengths must be finite.*got inf"),
        ({"strengths": []}, "strengths must be a list"),
        ({"strengths": [[0, 1]]}, "strengths must be a list"),
        ({"strengths": ["a"]}, "strengths must hold numbers"),
        (
            {"strengths": [1.5], "perturbation": "swap"},
            "from 0 to 1, as shares.*got 1.5",
        ),
        ({"n_repeats": 0}, "'n_repeats' parameter"),
        ({"features": [-1]}, r"from 0 to 3, got -1\."),
        ({"sample_weight": [1, 2]}, "sample_weight.shape"),
        ({"sample_weight": np.zeros(60)}, "at least one non-zero number"),
        ({"sample_weight": -np.ones(60)}, "Negative values"),
        ({"features": [4]}, "features must be positions of columns of X, from 0 to 3"),
        ({"features": ["a"]}, "features must be positions"),
        ({"features": [True]}, "features must be positions"),
        ({"features": []}, "features must name at least one"),
        ({"features": [0], "perturbation": len}, "features must be None"),
        ({"perturbation": "unseen"}, "X must have a categorical column"),
        ({"scoring": "accurate"}, "accurate"),
    ],
)
def test_bad_parameters_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        robustness(TREE, X, y, **options)


def test_bad_estimators_and_rows_are_refused_by_name():
    with pytest.raises(NotFittedError):
        robustness(SAMMLPClassifier(), X, y)
    with pytest.raises(NotFittedError):
        robustness({"a": TREE, "b": LogisticRegression()}, X, y)
    for nothing in ({}, []):
        with pytest.raises(ValueError, match="estimator must hold at least one"):
            robustness(nothing, X, y)
    with pytest.raises(TypeError, match="estimator must have the method predict"):
        robustness(StandardScaler().fit(X), X, y)
    for other in (
        KMeans(2),
        IsolationForest(n_estimators=3),
        make_pipeline(GaussianMixture()),
    ):
        with pytest.raises(TypeError, match="must be a classifier or a regressor, got"):
            robustness(other.fit(X), X, y)
    with pytest.raises(ValueError, match=r"y must hold the targets.*None"):
        robustness(TREE, X, None)
    with pytest.raises(ValueError, match=r"got \[.*\] and 55 others besides"):
        robustness(TREE, X, TARGET)
    with pytest.raises(ValueError, match="classifiers alone or regressors alone"):
        robustness([TREE, LINE], X, y)
    with pytest.raises(
        ValueError, match="y must have a target for every row of X, 60, g"
    ):
        robustness(TREE, X, y[:-1])
    with pytest.raises(ValueError, match="Expected a table of rows and columns"):
        robustness(TREE, X[:, 0], y)
    words = np.array([["a", "b"]] * 60)
    with pytest.raises(ValueError, match=r"X must have a numeric column.*'noise'"):
        robustness(TREE, words, y)
    with pytest.raises(ValueError, match="X must have at least two rows"):
        robustness(TREE, X[:1], y[:1], perturbation="swap")


def test_tables_that_cannot_be_perturbed_are_refused_by_name():
    lists = np.empty((60, 1), dtype=object)
    lists[:, 0] = [[1, 2]] * 60
    for name in ("constant", "unseen"):
        with pytest.raises(TypeError, match=r"column 0 of X must hold.*got list"):
            robustness(TREE, lists, y, perturbation=name)
    with pytest.raises(ValueError, match="X must have at least one column"):
        robustness(TREE, X[:, :0], y, perturbation="missing")
    with pytest.raises(ValueError, match="Expected a table of rows and columns, got 1"):
        robustness(TREE, coo_array(X[:, 0]), y, perturbation="swap")
    whole = np.array([[10**400]] * 59 + [[1]], dtype=object)
    for large in (whole, np.where(X > 1, 1e300, -1e300)):
        with pytest.raises(ValueError, match="column 0 of X must have a finite mean"):
            robustness(TREE, large, y)
    pl = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"X must be a DataFrame.*X\.collect"):
        robustness(TREE, pl.DataFrame(X).lazy(), y)
    wide = pl.DataFrame({"x": range(60)}, {"x": pl.Int128})
    assert_array_equal(
        rows_given(wide, "shift", 1).to_numpy(),
        rows_given(np.arange(60)[:, None], "shift", 1),
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("name", ["noise", "scale", "shift"])
def test_numbers_that_the_dtype_cannot_hold_are_refused(name, dtype):
    clf = HistGradientBoostingClassifier(max_iter=1).fit(X, y)
    narrow = (np.sign(X) * np.finfo(dtype).max / 2).astype(dtype)
    narrow[::2] /= 2
    with pytest.raises(ValueError, match=rf"strengths must keep.*{name}.*Lower it"):
        robustness(clf, narrow, y, perturbation=name, strengths=[5])


@pytest.mark.parametrize("name", ["noise", "scale", "shift"])
def test_strengths_beyond_all_numbers_are_refused(name):
    clf = HistGradientBoostingClassifier(max_iter=1).fit(X, y)  # takes infinite numbers
    with pytest.raises(ValueError, match=rf"strengths must keep.*{name}.*Lower it"):
        robustness(clf, 10 * X, y, perturbation=name, strengths=[1.7e308])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_predictions_without_a_number_are_refused():
    message = "predictions of SAMMLPClassifier.* must be finite"
    with pytest.raises(ValueError, match=message):
        robustness(network(), X, y, perturbation="weight_noise", strengths=[1e308])
    diverged = copy.deepcopy(LINE)
    diverged.coef_ = np.full(4, np.nan)
    with pytest.raises(ValueError, match=r"predictions of Linear.*nan.*has diverged"):
        robustness(diverged, X, TARGET)


@pytest.mark.parametrize("name", ["rounding", "weight_rounding"])
def test_steps_below_all_numbers_change_nothing(name):
    clf = network()
    found = robustness(clf, X, y, perturbation=name, strengths=[0, 5e-324])
    assert_array_equal(found.losses[:, 0], found.losses[:, 1])


def test_an_estimator_that_takes_no_missing_values_is_told_a_way_out():
    line = LogisticRegression().fit(X, y)
    message = r"take the rows that perturbation='missing'.*line.*'constant'.*NaN"
    with pytest.raises(ValueError, match=message):
        robustness({"tree": TREE, "line": line}, X, y, perturbation="missing")
    pytest.importorskip("pandas")
    table = frame()[["word", "kind"]].iloc[:-1]
    strict = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, y[:-1])
    with pytest.raises(
        ValueError, match=r"'unseen'.*handle_unknown='ignore'.*unknown cat"
    ):
        robustness(strict, table, y[:-1], perturbation="unseen")
    codes = np.column_stack([np.arange(60) % 3, X[:, 0]])
    columns = make_column_transformer((OneHotEncoder(), [0]), remainder="passthrough")
    strict = make_pipeline(columns, LogisticRegression()).fit(codes, y)
    with pytest.raises(
        ValueError, match=r"'noise'.*features, without numbers that are c"
    ):
        robustness(strict, codes, y)
    assert robustness(strict, codes, y, features=[1]).scores.shape == (1, 6, 5)


# -- the result and its display ------------------------------------------------------------


def test_the_frame_is_tidy():
    pd = pytest.importorskip("pandas")
    found = robustness({"a": TREE, "b": TREE}, X, y, strengths=[0, 0.5], n_repeats=3)
    table = found.to_frame()
    assert [*table] == [
        "estimator",
        "perturbation",
        "strength",
        "repeat",
        "score",
        "loss",
    ]
    assert len(table) == 12
    index = ["estimator", "strength", "repeat"]
    assert not table.duplicated(index).any()
    for (i, name), (j, strength), k in product(
        enumerate("ab"), enumerate([0, 0.5]), range(3)
    ):
        row = table.set_index(index).loc[(name, strength, k)]
        assert row["score"] == found.scores[i, j, k]
        assert row["loss"] == found.losses[i, j, k]
    assert isinstance(table, pd.DataFrame)
    assert "scores" not in repr(found)
    assert_array_equal(pickle.loads(pickle.dumps(found)).scores, found.scores)


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    found = robustness(TREE, X, y, strengths=[0], n_repeats=1)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_frame needs pandas.*pip install pandas"):
        found.to_frame()


@pytest.fixture
def plt():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    yield plt
    plt.close("all")


def test_the_lines_are_means_and_the_bands_one_deviation(plt):
    options = {"strengths": [0.5, 0, 0.2], "n_repeats": 3, "perturbation": "swap"}
    fits = {"tree": TREE, "line": LogisticRegression().fit(X, y)}
    found = robustness(fits, X, y, **options)
    order = [1, 2, 0]
    for metric in ("score", "loss"):
        values = {"score": found.scores, "loss": found.losses}[metric][:, order]
        for display in (
            RobustnessDisplay.from_results(found, metric=metric),
            RobustnessDisplay.from_estimators(fits, X, y, metric=metric, **options),
        ):
            assert_array_equal(display.strengths, [0, 0.2, 0.5])
            for line, band, of_one in zip(
                display.lines_, display.bands_, values, strict=True
            ):
                mean, std = of_one.mean(axis=1), of_one.std(axis=1)
                assert_array_equal(line.get_xdata(), [0, 0.2, 0.5])
                assert_allclose(line.get_ydata(), mean, rtol=1e-12)
                edges = band.get_paths()[0].vertices
                assert_allclose(edges[:, 1].max(), (mean + std).max(), rtol=1e-12)
                assert_allclose(edges[:, 1].min(), (mean - std).min(), rtol=1e-12)
            name = {"score": "Accuracy", "loss": "Log-loss"}[metric]
            assert display.ax_.get_ylabel() == name
            assert display.ax_.get_xlabel() == "Share of entries from other rows"
            colors = {line.get_color() for line in display.lines_}
            assert len(colors) == 2


def test_the_legend_stands_beside_the_axes_and_names_all(plt):
    display = RobustnessDisplay.from_estimator(TREE, X, y, name="tree", n_repeats=2)
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["tree", "± 1 standard deviation\nof the repeats"]
    assert legend.get_window_extent().x0 >= display.ax_.get_window_extent().x1
    assert legend.get_window_extent().x1 <= display.figure_.bbox.x1
    assert display.ax_.get_xlabel() == "Noise, in standard deviations of a column"
    one = RobustnessDisplay.from_estimator(TREE, X, y, name="tree", n_repeats=1)
    assert one.bands_ == [None]
    assert len(one.ax_.get_legend().get_texts()) == 1
    twice = RobustnessDisplay.from_estimators([TREE, TREE], X, y, names=["a", "a"])
    assert [line.get_label() for line in twice.lines_] == ["a", "a"]


def test_a_display_refuses_what_it_cannot_draw(plt):
    svc = LinearSVC().fit(X, y)
    with pytest.raises(ValueError, match="metric must be 'score' where there are no"):
        RobustnessDisplay.from_estimator(svc, X, y, metric="loss")
    with pytest.raises(ValueError, match="metric must be 'score' where there are no"):
        RobustnessDisplay([0], [[[1]]], ["a"]).plot(metric="loss")
    with pytest.raises(ValueError, match="Did you mean 'score'"):
        RobustnessDisplay.from_estimator(TREE, X, y, metric="scores")
    with pytest.raises(TypeError, match="results must be what robustness returned"):
        RobustnessDisplay.from_results({})
    with pytest.raises(TypeError, match="estimators must be a dict or a list"):
        RobustnessDisplay.from_estimators(make_pipeline(TREE), X, y)


def test_a_display_refuses_arrays_that_do_not_belong_together():
    for strengths, scores, names in [
        ([0, 1], [[1, 2]], ["a"]),
        ([0, 1, 2], [[[1], [2]]], ["a"]),
        ([0, 1], [[[1], [2]]], ["a", "b"]),
        ([0, 1], [[[], []]], ["a"]),
    ]:
        with pytest.raises(ValueError, match="scores must have the shape"):
            RobustnessDisplay(strengths, scores, names)
    with pytest.raises(ValueError, match="losses must have the shape"):
        RobustnessDisplay([0, 1], [[[1], [2]]], ["a"], losses=[[1, 2]])


def test_a_metric_is_refused_before_anything_is_measured():
    recorder = Recorder().fit(X, y)
    with pytest.raises(ValueError, match="'metric' parameter"):
        RobustnessDisplay.from_estimators([recorder], X, y, metric="scores")
    assert not recorder.rows_


def test_every_perturbation_has_a_label_with_its_unit():
    from sksharp.inspection._perturbations import OF_ENTRIES, OF_NUMBERS
    from sksharp.inspection._robustness_display import LABELS
    from sksharp.inspection._weight_perturbations import OF_WEIGHTS

    assert LABELS.keys() == {*OF_NUMBERS, *OF_ENTRIES, *OF_WEIGHTS}
