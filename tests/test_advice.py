"""A fit that came to nothing says which number was in its way; another one is silent."""

import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import sksharp.training
from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.estimators._advice import advise, loss_of_constant, sizes_of_columns
from sksharp.estimators._network import FitData
from sksharp.estimators._parameters import read_parameters
from sksharp.exceptions import ScalingWarning

rng = np.random.RandomState(0)
X = rng.normal(size=(60, 3))
labels = (X[:, 0] > 0).astype(int)
target = X[:, 0] + 0.1 * rng.normal(size=60)
CONSTANT = "stayed a constant"
QUICK = {
    "learning_rate_init": 0.1,
    "batch_size": 20,
    "max_iter": 15,
    "random_state": 0,
}


def said(estimator, X, y, **params):
    """Return what a fit warns of, but for the end of the epochs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X, y, **params)
    return [
        (w.category, str(w.message)) for w in caught if "Maximum" not in str(w.message)
    ]


def kinds(estimator, X, y, **params):
    """Return the categories of :func:`said`."""
    return [category for category, _ in said(estimator, X, y, **params)]


# -- a radius that is too large --------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize(
    ("solver", "rho"), [("sam", 30.0), ("wsam", 3.0), ("gsam", 3.0)]
)
def test_a_network_that_stays_a_constant_says_that_a_smaller_radius_helps(
    solver, rho, n_members
):
    params = {**QUICK, "solver": solver, "n_members": n_members}
    clf = SAMMLPClassifier((8,), rho=rho, base_solver="sgd", **params)
    ((category, message),) = said(clf, X, labels)
    assert category is ConvergenceWarning
    assert CONSTANT in message
    assert message.endswith(f"The radius {rho:g} is too large; lower rho.")
    assert said(clf.set_params(rho=0.05), X, labels) == []


def test_the_losses_it_tells_are_those_of_the_network_and_of_the_best_constant():
    reg = SAMMLPRegressor(
        hidden_layer_sizes=(8,),
        rho=3.0,
        base_solver="sgd",
        **{**QUICK, "learning_rate_init": 0.01},
    )
    ((_, message),) = said(reg, X, target)
    loss = np.mean((reg.predict(X) - target) ** 2) / 2
    assert f"its loss is {loss:.4g}," in message
    assert f"best constant {np.var(target) / 2:.4g}," in message


def test_a_radius_that_was_chosen_among_too_large_ones_is_named():
    params = {**QUICK, "rho": [3.0, 4.0], "cv": 2}
    clf = SAMMLPClassifier((8,), base_solver="sgd", **params)
    ((_, message),) = said(clf, X, labels)
    assert CONSTANT in message
    assert message.endswith("The radius 3 is too large; lower rho.")


NOT_THE_RADIUS = {
    "labels without a pattern": (labels[rng.permutation(60)], {"hidden": (1,)}),
    "a penalty that is too large": (labels, {"alpha": 1e4}),
    "a learning rate that is too small": (labels, {"learning_rate_init": 1e-9}),
    "fewer epochs than the patience": (labels, {"max_iter": 10, "tol": 0.0}),
    "no radius": (labels, {"solver": "sgd"}),
    "one class": (0 * labels, {}),
}


@pytest.mark.parametrize("case", NOT_THE_RADIUS)
def test_a_network_that_another_reason_keeps_constant_does_not_blame_it(case):
    y, params = NOT_THE_RADIUS[case]
    params = {"rho": 3.0, "base_solver": "sgd", **QUICK, **params}
    hidden = params.pop("hidden", (8,))
    if params.get("solver") == "sgd":
        params["learning_rate_init"] = 1e-9
        params["rho"] = "auto"
    found = said(SAMMLPClassifier(hidden, **params), X, y)
    assert [message for _, message in found if CONSTANT in message] == []


def test_there_are_no_trials_in_one_of_several_processes(monkeypatch):
    clf = SAMMLPClassifier((8,), rho=30.0, base_solver="sgd", **QUICK)
    assert CONSTANT in said(clf, X, labels)[0][1]
    monkeypatch.setattr(sksharp.training, "active_ranks", lambda: "several")
    assert said(clf, X, labels) == []


def test_the_trials_repeat_no_warning_of_the_fit():
    params = {**QUICK, "batch_size": 99, "max_iter": 40}
    found = said(SAMMLPClassifier((8,), rho=30.0, **params), X, labels)
    assert sorted("batch_size" in message for _, message in found) == [False, True]


def test_advice_changes_nothing_of_the_fit():
    clf = SAMMLPClassifier((8,), rho=3.0, base_solver="sgd", **QUICK)
    source = np.random.RandomState(0)
    clf.set_params(random_state=source)
    with pytest.warns(ConvergenceWarning, match=CONSTANT):
        clf.fit(X, labels)
    after = source.randint(2**31)
    other = SAMMLPClassifier((8,), rho=3.0, base_solver="sgd", **QUICK)
    other.set_params(random_state=np.random.RandomState(0), n_iter_no_change=14)
    other.set_params(max_iter=clf.n_iter_)  # which is no more than its patience
    assert said(other, X, labels) == []
    assert other.random_state.randint(2**31) == after
    for ours, plain in zip(clf.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(ours, plain)


# -- data to scale ---------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("params", [{}, {"rho": 0.05}, {"solver": "adam"}])
def test_targets_that_want_scaling_say_so_once(params, scale):
    data, y = load_diabetes(return_X_y=True)
    y = StandardScaler().fit_transform(y[:, None])[:, 0]
    reg = SAMMLPRegressor(
        hidden_layer_sizes=(4,), max_iter=15, random_state=0, **params
    )
    found = said(reg, data[:90], scale * y[:90] + scale)
    assert [category for category, _ in found] == [ScalingWarning]
    assert "root mean square of y is 1e" in found[0][1]
    scaled = TransformedTargetRegressor(reg, transformer=StandardScaler())
    assert said(scaled, data[:90], scale * y[:90] + scale) == []


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_targets_that_are_scaled_do_not_however_bad_the_fit(scale):
    y = scale * rng.normal(size=60)
    reg = SAMMLPRegressor(
        hidden_layer_sizes=(4,), max_iter=15, random_state=0, rho=0.05
    )
    assert kinds(reg, X, y) == []


def test_a_target_that_is_one_number_does_not():
    reg = SAMMLPRegressor(hidden_layer_sizes=(4,), max_iter=15, rho=0.05)
    assert kinds(reg, X, np.full(60, 50.1)) == []


def test_the_network_that_predicts_is_judged_not_the_one_that_was_trained():
    reg = SAMMLPRegressor(hidden_layer_sizes=(8,), rho=0.0, **QUICK)
    said(reg, X, 20 * target)
    reg.loss_ = 1e9  # as if an average had made up for a bad last epoch
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advise(reg, read_parameters(reg), FitData(X, 20 * target[:, None]))


def test_large_targets_that_are_learnt_all_the_same_do_not():
    reg = SAMMLPRegressor(
        hidden_layer_sizes=(8,), rho=0.0, **{**QUICK, "learning_rate_init": 0.5}
    )
    assert kinds(reg, X, 20 * target) == []
    assert reg.score(X, 20 * target) > 0.5


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, sp.coo_matrix])
def test_columns_that_differ_in_size_say_so(make):
    wide = X * [1.0, 1e5, 1.0]
    clf = SAMMLPClassifier((4,), rho=0.05, **QUICK)
    ((category, message),) = said(clf, make(wide), labels)
    assert category is ScalingWarning
    assert "column 1" in message
    assert kinds(clf, make(StandardScaler().fit_transform(wide)), labels) == []
    # whatever of rounding is beside them
    beside = np.c_[wide, 1e-14 * X]
    assert kinds(clf, make(beside), labels) == [ScalingWarning]


SCALED = {
    "a category of one row": np.c_[X, np.eye(60)[:, 0]],
    "a principal component of rounding errors": np.c_[30 * X, 1e-15 * X[:, 0]],
    "rounding beside large components": np.c_[1e3 * X, 1e-13 * X[:, 1], 3e-11 * X],
    "rounding in single precision": np.c_[1e3 * X, 3e-5 * X].astype(np.float32),
    "rounding that is nearly one number": np.c_[1e3 * X, 2e-14 + 1e-17 * X[:, 1]],
    "nothing but zeros": np.zeros((60, 3)),
    "a column of zeros": np.c_[1e6 * X, np.zeros(60)],
    "all in one large unit": 1e6 * X,
    "all in one small unit": 1e-6 * X,
    "an outlier": np.c_[X, 90 * np.eye(60)[:, 0]],
}


@pytest.mark.parametrize("case", SCALED)
def test_columns_that_are_scaled_do_not(case):
    found = said(SAMMLPClassifier((4,), rho=0.05, **QUICK), SCALED[case], labels)
    assert [category for category, _ in found if category is ScalingWarning] == []


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, sp.coo_matrix])
def test_components_of_constant_pixels_do_not(make):
    random = np.random.RandomState(0)
    pixels = 65535 * random.rand(60, 12)
    pixels[:, ::3] = 65535 * random.rand(4)
    components = PCA(svd_solver="full").fit_transform(pixels)
    sizes = sizes_of_columns(components)
    assert 0 < sizes[sizes > 0].min() < 1e-13 * sizes.max()
    clf = SAMMLPClassifier((4,), rho=0.05, **QUICK)
    assert kinds(clf, make(components), labels) == []


def test_sizes_are_those_of_the_entries_that_are_not_zero():
    dense = np.array([[3.0, 0.0, 0.0], [0.0, 0.0, -5.0], [4.0, 0.0, 5.0]])
    expected = [np.sqrt(12.5), 0.0, 5.0]
    for array in (dense, sp.csr_array(dense), sp.csc_matrix(dense)):
        np.testing.assert_allclose(sizes_of_columns(array), expected, rtol=1e-15)


# -- the loss of a constant ------------------------------------------------------------

weights = rng.randint(3, size=60).astype(float)
three = rng.randint(3, size=60)
several = np.c_[labels, rng.randint(2, size=60)]


@pytest.mark.parametrize("w", [None, weights])
@pytest.mark.parametrize(
    ("Estimator", "y", "params"),
    [
        (SAMMLPClassifier, labels, {}),
        (SAMMLPClassifier, three, {}),
        (SAMMLPClassifier, several, {}),
        (SAMMLPRegressor, target, {}),
        (SAMMLPRegressor, np.c_[target, 3 * target], {}),
        (SAMMLPRegressor, three, {"loss": "poisson"}),
    ],
)
def test_the_loss_of_the_best_constant_is_that_of_a_network_without_features(
    Estimator, y, params, w
):
    # zeros for features: biases alone are left to train
    fit = Estimator(
        hidden_layer_sizes=(1,), solver="lbfgs", alpha=0.0, tol=1e-12, **params
    )
    fit.fit(np.zeros((60, 1)), y, sample_weight=w)
    encoded = np.asarray(y, dtype=float).reshape(60, -1)
    if fit.out_activation_ == "softmax":
        encoded = np.eye(3)[three]
    at_best = loss_of_constant(fit, encoded, w)
    np.testing.assert_allclose(at_best, fit.loss_, rtol=1e-6)


def test_advice_needs_little_memory_of_a_fit_that_went_well():
    clf = SAMMLPClassifier((2,), rho=0.0, **QUICK)
    said(clf, X, labels)
    clf.loss_, clf.out_activation_ = 0.0, "softmax"
    many, indicators = np.ones((40_000, 50)), np.zeros((40_000, 50), dtype=bool)
    indicators[:, :2] = True
    tracemalloc.start()
    try:
        advise(clf, read_parameters(clf), FitData(many, indicators, np.ones(40_000)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < many.nbytes / 8


def test_the_loss_of_a_constant_is_zero_for_targets_that_are_one():
    fit = SAMMLPRegressor(hidden_layer_sizes=(1,), solver="lbfgs", tol=1.0).fit(
        X, target
    )
    assert loss_of_constant(fit, np.full((60, 1), 7.1), None) == 0.0
    only = np.r_[np.ones(1), np.zeros(59)]
    assert loss_of_constant(fit, target[:, None], only) == 0.0
