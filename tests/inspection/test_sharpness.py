"""Sharpness against closed forms, exact Hessians and what it must not depend on."""

import math
import warnings
from itertools import product

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import hadamard
from scipy.optimize import brentq
from scipy.sparse import csc_array, csr_matrix, lil_matrix
from sklearn.datasets import (
    load_iris,
    make_classification,
    make_multilabel_classification,
)
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from sksharp import SAMMLPClassifier, SAMMLPRegressor, sharpness
from sksharp.inspection._surface import LossSurface

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # torch.func uses what torch deprecates
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
]

RNG = np.random.RandomState(0)
X = RNG.randn(40, 5)
MULTICLASS = make_classification(
    40, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=0
)[1]
TARGETS = {
    "binary": (X[:, 0] + RNG.randn(40) > 0).astype(int),
    "multiclass": MULTICLASS,
    "strings": np.array(["ant", "bee", "cow"])[MULTICLASS],
    "multilabel": make_multilabel_classification(40, 5, n_classes=3, random_state=0)[1],
    "squared": X @ RNG.randn(5) + RNG.randn(40),
    "squared, three targets": X @ RNG.randn(5, 3) + RNG.randn(40, 3),
    "poisson": RNG.poisson(3, 40).astype(float),
    "poisson, two targets": RNG.poisson(3, (40, 2)).astype(float),
}
ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]


def is_regression(target):
    return target.startswith(("squared", "poisson"))


def make(target, family="sksharp", **params):
    params = {"hidden_layer_sizes": (6, 4), "max_iter": 15, "random_state": 0} | params
    if not is_regression(target):
        Estimator = SAMMLPClassifier if family == "sksharp" else MLPClassifier
        return Estimator(**params)
    Estimator = SAMMLPRegressor if family == "sksharp" else MLPRegressor
    loss = "poisson" if target.startswith("poisson") else "squared_error"
    return Estimator(loss, **params)


def fitted(target, family="sksharp", **params):
    return make(target, family, **params).fit(X, TARGETS[target])


def flat_weights(network):
    return np.concatenate([w.ravel() for w in (*network.coefs_, *network.intercepts_)])


def loss_of(network, X, y, flat):
    """Return the mean loss by formulas of its own, from a vector of all weights."""
    shapes = [w.shape for w in (*network.coefs_, *network.intercepts_)]
    parts = torch.split(flat, [math.prod(shape) for shape in shapes])
    parts = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    n_layers = len(network.coefs_)
    act = {
        "identity": lambda z: z,
        "logistic": lambda z: 1 / (1 + torch.exp(-z)),
        "tanh": torch.tanh,
        "relu": lambda z: torch.where(z > 0, z, torch.zeros_like(z)),
    }[network.activation]
    out = X
    for i in range(n_layers):
        out = (act(out) if i else out) @ parts[i] + parts[n_layers + i]
    if network.out_activation_ == "identity":
        return (out - y).square().mean() / 2
    if network.out_activation_ == "exp":
        return (torch.xlogy(y, y) - y * out - y + torch.exp(out)).sum(1).mean()
    if network.out_activation_ == "softmax":
        return -(y * torch.log_softmax(out, 1)).sum(1).mean()
    p = 1 / (1 + torch.exp(-out))
    return -(y * p.log() + (1 - y) * (1 - p).log()).sum(1).mean()


def encoded(network, y):
    if hasattr(network, "_label_binarizer"):
        y = network._label_binarizer.transform(y)
    y = np.asarray(y, dtype=float)
    return torch.tensor(y.reshape(len(y), -1))


def exact_hessian(network, y, X=X):
    rows, y = torch.tensor(X), encoded(network, y)
    flat = torch.tensor(flat_weights(network))
    return torch.func.hessian(lambda w: loss_of(network, rows, y, w))(flat).numpy()


@pytest.mark.parametrize(("target", "activation"), list(product(TARGETS, ACTIVATIONS)))
def test_curvatures_are_those_of_the_exact_hessian(target, activation):
    network = fitted(target, activation=activation)
    y = TARGETS[target]
    H = exact_hessian(network, y)
    eigenvalue = sharpness(network, X, y, measure="top_eigenvalue", tol=1e-6)
    assert_allclose(eigenvalue.value, np.linalg.eigvalsh(H)[-1], rtol=1e-6)
    assert eigenvalue.converged
    trace = sharpness(network, X, y, measure="trace", n_probes=64, random_state=3)
    signs = np.random.RandomState(3).randint(0, 2, (64, len(H))) * 2 - 1
    samples = np.einsum("ki,ij,kj->k", signs, H, signs)
    assert_allclose(trace.value, samples.mean(), rtol=1e-9)
    assert_allclose(trace.standard_error, samples.std(ddof=1) / 8, rtol=1e-9)
    assert abs(trace.value - np.trace(H)) < 4 * trace.standard_error
    exact = sharpness(network, X, y, measure="trace", n_probes=len(H))
    assert_allclose(exact.value, np.trace(H), rtol=1e-9)
    assert exact.standard_error is None
    assert exact.n_iterations == len(H)


@pytest.mark.parametrize("family", ["sksharp", "sklearn"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_loss_is_the_one_that_the_estimator_reports(target, family):
    y, solver = TARGETS[target], "adam"
    network = make(
        target, family, solver=solver, batch_size=40, max_iter=1, shuffle=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.set_params(learning_rate_init=1e-300).fit(X, y)
    found = sharpness(network, X, y, sigma=0, measure="average_case", penalty=True)
    assert_allclose(found.loss, network.loss_, rtol=1e-12)
    assert found.value == 0


def linear_regression(n=16, n_features=4, n_targets=1):
    rows = np.random.RandomState(1).randn(n, n_features) * [1, 2, 3, 4][:n_features]
    y = rows @ np.ones((n_features, n_targets)) + np.random.RandomState(2).randn(
        n, n_targets
    )
    network = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=0, tol=1e-14)
    network.fit(rows, y if n_targets > 1 else y.ravel())
    A = np.column_stack([rows, np.ones(n)])
    best = np.linalg.lstsq(A, y, rcond=None)[0]
    network.coefs_, network.intercepts_ = [best[:-1]], [best[-1]]
    return network, rows, y, A.T @ A / n


def test_the_hessian_of_linear_regression_is_that_of_the_features():
    network, rows, y, H = linear_regression()
    found = sharpness(network, rows, y, measure="top_eigenvalue", tol=1e-8)
    assert_allclose(found.value, np.linalg.eigvalsh(H)[-1], rtol=1e-12)


def test_several_targets_count_by_their_mean():
    network, rows, y, H = linear_regression(n_targets=3)
    found = sharpness(network, rows, y, measure="top_eigenvalue", tol=1e-8)
    assert_allclose(found.value, np.linalg.eigvalsh(H)[-1] / 3, rtol=1e-12)


def test_the_hessian_of_logistic_regression_is_weighted_by_the_variance():
    y = TARGETS["binary"]
    network = fitted("binary", hidden_layer_sizes=())
    p = network.predict_proba(X)[:, 1]
    A = np.column_stack([X, np.ones(len(X))])
    H = A.T @ (A * (p * (1 - p))[:, None]) / len(X)
    found = sharpness(network, X, y, measure="top_eigenvalue", tol=1e-8)
    assert_allclose(found.value, np.linalg.eigvalsh(H)[-1], rtol=1e-10)


def test_a_negative_curvature_is_not_the_largest():
    # beyond its bend tanh curves down, and a large residual makes much of that
    rows, y = np.ones((2, 1)), np.full(2, -100.0)
    network = make("squared", hidden_layer_sizes=(1,), activation="tanh").fit(rows, y)
    network.coefs_ = [np.ones((1, 1)), np.full((1, 1), 10.0)]
    network.intercepts_ = [np.zeros(1), np.zeros(1)]
    eigenvalues = np.linalg.eigvalsh(exact_hessian(network, y, rows))
    assert abs(eigenvalues[0]) > 10 * eigenvalues[-1] > 0
    found = sharpness(network, rows, y, measure="top_eigenvalue")
    assert_allclose(found.value, eigenvalues[-1], rtol=1e-9)


def test_one_probe_gives_the_trace_of_a_diagonal_hessian():
    rows = hadamard(8)[:, 1:5].astype(float)  # orthogonal to each other and to the bias
    network = make("squared", hidden_layer_sizes=()).fit(rows, np.arange(8.0))
    found = sharpness(network, rows, np.arange(8.0), measure="trace", n_probes=1)
    assert_allclose(found.value, 5.0, rtol=1e-14)
    assert found.standard_error is None
    many = sharpness(network, rows, np.arange(8.0), measure="trace", n_probes=4)
    assert many.standard_error < 1e-14


def test_the_worst_loss_around_the_minimum_of_a_bowl_goes_with_the_top_eigenvalue():
    network, rows, y, H = linear_regression()
    for rho in (0.1, 2.0):
        found = sharpness(network, rows, y, rho=rho)
        assert_allclose(found.value, np.linalg.eigvalsh(H)[-1] * rho**2 / 2, rtol=1e-6)
        assert found.converged


def test_the_worst_loss_on_the_slope_of_a_bowl_solves_the_secular_equation():
    network, rows, y, H = linear_regression()
    network.coefs_[0] = network.coefs_[0] + 0.3
    w = np.append(network.coefs_[0].ravel(), network.intercepts_[0])
    A = np.column_stack([rows, np.ones(len(rows))])
    g, rho = A.T @ (A @ w - y.ravel()) / len(rows), 0.5
    top = np.linalg.eigvalsh(H)[-1]

    def excess(mu):
        return np.linalg.norm(np.linalg.solve(mu * np.eye(len(w)) - H, g)) - rho

    mu = brentq(excess, top + 1e-9, top + 1e3, xtol=1e-14)
    e = np.linalg.solve(mu * np.eye(len(w)) - H, g)
    found = sharpness(network, rows, y, rho=rho)
    assert_allclose(found.value, g @ e + e @ H @ e / 2, rtol=1e-6)


def test_the_adaptive_worst_loss_of_a_bowl_is_that_of_the_scaled_hessian():
    network, rows, y, H = linear_regression()
    T = np.diag(np.abs(np.append(network.coefs_[0].ravel(), network.intercepts_[0])))
    found = sharpness(network, rows, y, rho=0.2, adaptive=True)
    expected = np.linalg.eigvalsh(T @ H @ T)[-1] * 0.2**2 / 2
    assert_allclose(found.value, expected, rtol=1e-6)


def test_the_worst_loss_of_a_network_is_found_from_every_direction():
    network, y = fitted("multiclass", hidden_layer_sizes=(3,)), TARGETS["multiclass"]
    found = sharpness(network, X, y, rho=0.3, n_starts=3)
    rows, labels = torch.tensor(X), encoded(network, y)
    w, rng = flat_weights(network), np.random.RandomState(7)
    best = -np.inf
    for _ in range(300):
        e = rng.randn(len(w))
        at = torch.tensor(w + 0.3 * e / np.linalg.norm(e))
        best = max(best, float(loss_of(network, rows, labels, at)))
    assert best - found.loss < found.value
    # another ascent, by small steps from another start
    flat = torch.tensor(w)
    place = torch.tensor(rng.randn(len(w)))
    place *= 0.3 / place.norm()
    for step in range(500):
        at = (flat + place).requires_grad_()
        (g,) = torch.autograd.grad(loss_of(network, rows, labels, at), at)
        place = place + 0.1 * 0.98**step * g / g.norm()
        place *= min(1, 0.3 / float(place.norm()))
    highest = float(loss_of(network, rows, labels, flat + place))
    assert_allclose(found.value, highest - found.loss, rtol=1e-3)


def test_of_several_starts_the_highest_counts():
    network, y = fitted("multiclass"), MULTICLASS
    generator = np.random.RandomState(0)
    alone = [
        sharpness(network, X, y, rho=1.0, n_starts=1, random_state=generator)
        for _ in range(4)
    ]
    values = [one.value for one in alone]
    assert np.argmax(values) > 0
    together = sharpness(network, X, y, rho=1.0, n_starts=4)
    assert together.value == max(values)
    assert together.n_iterations == sum(one.n_iterations for one in alone)


def test_the_default_starts_find_what_few_miss():
    data, y = load_iris(return_X_y=True)
    params = {"max_iter": 30, "learning_rate_init": 0.02, "random_state": 1}
    network = SAMMLPClassifier((4,), rho=0.0, **params).fit(scale(data), y)
    rises = [
        sharpness(network, scale(data), y, rho=2.0, **starts)
        for starts in ({}, {"n_starts": 3}, {"n_starts": 20})
    ]
    found, of_few, of_many = (rise.value for rise in rises)
    assert all(rise.converged for rise in rises)
    assert of_few < 0.9 * of_many
    assert_allclose(found, of_many, rtol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_mean_rise_on_a_bowl_is_half_the_variance_times_the_trace(adaptive):
    network, rows, y, H = linear_regression()
    network.coefs_[0] = network.coefs_[0] + 0.3  # on its slope as at its bottom
    w = np.append(network.coefs_[0].ravel(), network.intercepts_[0])
    scale = np.abs(w) if adaptive else np.ones(5)
    sigma, options = (
        0.3,
        {"measure": "average_case", "sigma": 0.3, "adaptive": adaptive},
    )
    found = sharpness(network, rows, y, **options, n_probes=400, random_state=5)
    noise = sigma * scale * np.random.RandomState(5).standard_normal((400, 5))
    samples = np.einsum("ki,ij,kj->k", noise, H, noise) / 2
    assert_allclose(found.value, samples.mean(), rtol=1e-10)
    assert_allclose(found.standard_error, samples.std(ddof=1) / 20, rtol=1e-10)
    expected = sigma**2 * np.trace(H * np.outer(scale, scale)) / 2
    assert abs(found.value - expected) < 4 * found.standard_error


def rescaled(network, factor):
    """Multiply the first layer and divide the second, which ReLU does not notice."""
    coefs = [network.coefs_[0] * factor, network.coefs_[1] / factor[:, None]]
    intercepts = [network.intercepts_[0] * factor, network.intercepts_[1]]
    twin = MLPClassifier()
    vars(twin).update(vars(network))
    twin.coefs_, twin.intercepts_ = coefs, intercepts
    return twin


@pytest.mark.parametrize("has_biases", [False, True])
@pytest.mark.parametrize("measure", ["worst_case", "average_case"])
def test_adaptive_measures_do_not_see_a_rescaling_of_relu_units(measure, has_biases):
    network = fitted("multiclass", hidden_layer_sizes=(6,), family="sklearn")
    if not has_biases:
        network.intercepts_ = [np.zeros_like(b) for b in network.intercepts_]
    twin = rescaled(network, np.array([10.0, 0.1, 3, 5, 1, 0.5]))
    assert_allclose(twin.predict_proba(X), network.predict_proba(X), rtol=1e-10)

    def measured(network, **options):
        y = TARGETS["multiclass"]
        return sharpness(network, X, y, measure=measure, n_probes=20, **options).value

    assert_allclose(
        measured(twin, adaptive=True), measured(network, adaptive=True), rtol=1e-6
    )
    assert abs(measured(twin) / measured(network) - 1) > 0.3


@pytest.mark.parametrize("target", ["multiclass", "squared, three targets"])
def test_weights_of_rows_count_as_repeated_rows(target):
    network, y = fitted(target), TARGETS[target]
    weights = np.arange(40) % 3
    repeated = np.repeat(np.arange(40), weights)
    for measure in ("worst_case", "average_case", "top_eigenvalue", "trace"):
        options = {"measure": measure, "n_probes": 5}
        actual = sharpness(network, X, y, sample_weight=weights, **options)
        expected = sharpness(network, X[repeated], y[repeated], **options)
        assert_allclose(actual.value, expected.value, rtol=1e-6)
        assert_allclose(actual.loss, expected.loss, rtol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_penalty_adds_its_constant_curvature_to_the_weights_alone(solver):
    network = fitted("squared", hidden_layer_sizes=(), solver=solver, batch_size=10)
    network.set_params(alpha=0.8)
    options = {"measure": "trace", "n_probes": 3}
    plain, penalized = (
        sharpness(network, X, TARGETS["squared"], **options, penalty=penalty)
        for penalty in (False, True)
    )
    n_rows = 10 if solver == "adam" else 40
    assert_allclose(penalized.value - plain.value, 5 * 0.8 / n_rows, rtol=1e-9)
    squares = (network.coefs_[0] ** 2).sum()
    assert_allclose(penalized.loss - plain.loss, 0.4 / n_rows * squares, rtol=1e-9)
    assert penalized.settings["penalty"]
    assert not plain.settings["penalty"]


@pytest.mark.parametrize("Estimator", [SAMMLPRegressor, MLPRegressor])
def test_the_minibatch_of_the_penalty_is_no_larger_than_the_rows(Estimator):
    params = {"solver": "adam", "alpha": 0.8, "max_iter": 2, "random_state": 0}
    y = TARGETS["squared"]
    network = Estimator(hidden_layer_sizes=(3,), **params).fit(X, y)
    plain, penalized = (
        sharpness(network, X, y, measure="trace", n_probes=1, penalty=penalty)
        for penalty in (False, True)
    )
    squares = sum((coef**2).sum() for coef in network.coefs_)
    assert_allclose(penalized.loss - plain.loss, 0.4 / 40 * squares, rtol=1e-9)


@pytest.mark.parametrize(("rho", "size"), [(0.05, 200), ("auto", 14)])
def test_the_penalty_is_that_of_the_automatic_minibatch(rho, size):
    rows, y = np.tile(X, (7, 1)), np.tile(TARGETS["squared"], 7)
    network = fitted("squared", alpha=0.8, rho=rho)
    plain, penalized = (
        sharpness(network, rows, y, measure="trace", n_probes=1, penalty=penalty)
        for penalty in (False, True)
    )
    squares = sum((coef**2).sum() for coef in network.coefs_)
    # of 280 rows
    assert_allclose(penalized.loss - plain.loss, 0.4 / size * squares, rtol=1e-9)


@pytest.mark.parametrize(
    "measure", ["worst_case", "average_case", "top_eigenvalue", "trace"]
)
def test_sparse_rows_are_as_dense_ones(measure):
    rows = np.where(X > 0, X, 0)
    network = make("multiclass").fit(csr_matrix(rows), MULTICLASS)
    options = {"measure": measure, "n_probes": 4}
    dense = sharpness(network, rows, MULTICLASS, **options)
    sparse = sharpness(network, csr_matrix(rows), MULTICLASS, **options)
    assert_allclose(sparse.value, dense.value, rtol=1e-8)


@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize(
    "measure", ["worst_case", "average_case", "top_eigenvalue", "trace"]
)
def test_rows_in_parts_are_as_all_at_once(measure, penalty, monkeypatch):
    network, y = fitted("multiclass").set_params(alpha=4.0), MULTICLASS
    options = {"measure": measure, "n_probes": 3, "penalty": penalty}

    def measured():
        found = [sharpness(network, rows, y, **options) for rows in (X, csr_matrix(X))]
        return [(one.value, one.loss) for one in found]

    whole = measured()
    # 7 rows a part
    monkeypatch.setattr("sksharp.inspection._surface.PART_SIZE", 18 * 7)
    assert_allclose(measured(), whole, rtol=1e-8)


@pytest.mark.parametrize("measure", ["worst_case", "trace"])
def test_an_ensemble_is_measured_network_by_network(measure):
    ensemble = fitted("multiclass", n_members=3)
    options = {"measure": measure, "n_probes": 6}
    found = sharpness(ensemble, X, MULTICLASS, **options)
    generator = np.random.RandomState(0)
    alone = [
        sharpness(member, X, MULTICLASS, **options, random_state=generator)
        for member in ensemble.members_
    ]
    assert_array_equal(found.member_values, [one.value for one in alone])
    assert_allclose(found.value, np.mean(found.member_values))
    if measure == "trace":
        errors = [one.standard_error for one in alone]
        assert_allclose(found.standard_error, np.sqrt(np.square(errors).sum()) / 3)
    assert found.n_iterations == sum(one.n_iterations for one in alone)


@pytest.mark.parametrize(
    "measure", ["worst_case", "average_case", "top_eigenvalue", "trace"]
)
def test_the_same_seed_measures_the_same_and_touches_nothing(measure):
    network = fitted("multiclass", "sklearn")
    before = {name: repr(value) for name, value in vars(network).items()}
    states = np.random.mtrand._rand.get_state()[1].copy(), torch.get_rng_state()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    values = [
        sharpness(
            network, X, MULTICLASS, measure=measure, n_probes=4, random_state=seed
        ).value
        for seed in (1, 1, np.random.RandomState(1), 2)
    ]
    assert values[0] == values[1] == values[2]
    assert values[3] != values[0]
    sharpness(network, X, MULTICLASS, measure=measure, n_probes=4, random_state=None)
    assert_array_equal(np.random.mtrand._rand.get_state()[1], states[0])
    assert torch.equal(torch.get_rng_state(), states[1])
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
    assert {name: repr(value) for name, value in vars(network).items()} == before


def test_it_measures_inside_the_callers_inference_mode():
    network = fitted("multiclass")
    expected = sharpness(network, X, MULTICLASS)
    with torch.inference_mode(), torch.autocast("cpu"):
        found = sharpness(network, X, MULTICLASS)
    assert found.value == expected.value


def test_float32_networks_are_measured_in_float64():
    network = make("squared").fit(X.astype(np.float32), TARGETS["squared"])
    twin = make("squared").fit(X, TARGETS["squared"])
    twin.coefs_ = [coef.astype(np.float64) for coef in network.coefs_]
    twin.intercepts_ = [bias.astype(np.float64) for bias in network.intercepts_]
    y = TARGETS["squared"]
    assert sharpness(network, X, y).value == sharpness(twin, X, y).value


def test_a_perturbation_of_nothing_raises_nothing():
    network = fitted("multiclass")
    assert sharpness(network, X, MULTICLASS, rho=0).value == 0
    network.coefs_ = [np.zeros_like(coef) for coef in network.coefs_]
    network.intercepts_ = [np.zeros_like(bias) for bias in network.intercepts_]
    assert sharpness(network, X, MULTICLASS, adaptive=True).value == 0


def test_it_says_when_it_has_not_converged():
    network = fitted("multiclass")
    for measure in ("top_eigenvalue", "worst_case"):
        with pytest.warns(ConvergenceWarning, match=f"measure='{measure}'.*max_iter=1"):
            found = sharpness(network, X, MULTICLASS, measure=measure, max_iter=1)
        assert not found.converged


@pytest.mark.parametrize("of", [csr_matrix, csc_array, lil_matrix])
def test_sparse_labels_are_what_they_are_dense(of):
    network, y = fitted("multilabel"), TARGETS["multilabel"]
    assert sharpness(network, X, of(y)) == sharpness(network, X, y)
    with pytest.raises(ValueError, match="each of the 3 labels"):
        sharpness(network, X, of(y[:, :2]))


with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    FITTED = {
        target: fitted(target)
        for target in ("binary", "multilabel", "squared", "poisson")
    }
BAD = {
    "unfitted": (NotFittedError, "not fitted", make("binary"), X, MULTICLASS, {}),
    "features": (ValueError, "expecting 5", FITTED["binary"], X[:, :3], MULTICLASS, {}),
    "labels": (
        ValueError,
        r"y must hold the classes of the fit, \[0, 1\], got \[2\]",
        FITTED["binary"],
        X,
        MULTICLASS,
        {},
    ),
    "label columns": (
        ValueError,
        "each of the 3 labels",
        FITTED["multilabel"],
        X,
        TARGETS["multilabel"][:, :2],
        {},
    ),
    "targets": (
        ValueError,
        "as many targets as in the fit, 1, got 3",
        FITTED["squared"],
        X,
        TARGETS["squared, three targets"],
        {},
    ),
    "negative": (
        ValueError,
        "must not be negative with loss='poisson'",
        FITTED["poisson"],
        X,
        TARGETS["squared"],
        {},
    ),
    "lengths": (
        ValueError,
        "inconsistent numbers of samples",
        FITTED["squared"],
        X,
        TARGETS["squared"][1:],
        {},
    ),
    "no weight": (
        ValueError,
        "at least one non-zero",
        FITTED["squared"],
        X,
        TARGETS["squared"],
        {"sample_weight": np.zeros(40)},
    ),
    "measure": (
        ValueError,
        "The 'measure' parameter of sharpness must be a str among",
        FITTED["binary"],
        X,
        TARGETS["binary"],
        {"measure": "flatness"},
    ),
    "rho": (ValueError, "The 'rho' parameter", FITTED["binary"], X, X, {"rho": -1}),
    "pipeline": (TypeError, r"pipeline\[-1\]", make_pipeline(make("binary")), X, X, {}),
    "other": (TypeError, "got StandardScaler", StandardScaler(), X, X, {}),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_measured_is_said_clearly(case):
    error, match, estimator, rows, y, options = BAD[case]
    with pytest.raises(error, match=match):
        sharpness(estimator, rows, y, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"measure": "worst_case", "rho": 1e200},
        {"measure": "average_case", "sigma": 1e200},
    ],
    ids=["worst", "average"],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_around_the_weights_that_is_not_finite_is_an_error(options):
    told = r"around the weights must be finite, got .* with (rho|sigma)=1e\+200\. Look"
    with pytest.raises(ValueError, match=told):
        sharpness(fitted("squared"), X, TARGETS["squared"], **options)


def test_a_loss_that_is_not_finite_is_an_error():
    network = fitted("squared")
    network.coefs_[0][0, 0] = np.inf
    with pytest.raises(ValueError, match="loss at the weights must be finite"):
        sharpness(network, X, TARGETS["squared"])


def test_the_gradient_is_that_of_the_loss():
    network, y = fitted("multiclass", activation="tanh"), MULTICLASS
    from sksharp._jobs import Weights

    targets = encoded(network, y)
    surface = LossSurface(
        Weights(network.coefs_, network.intercepts_),
        "tanh",
        "softmax",
        X,
        targets.numpy(),
        None,
    )
    expected = torch.func.grad(lambda w: loss_of(network, torch.tensor(X), targets, w))
    loss, gradient = surface.gradient(surface.start)
    torch.testing.assert_close(
        gradient, expected(surface.start), rtol=1e-10, atol=1e-12
    )
    assert_allclose(loss, surface.loss(surface.start), rtol=1e-14)
