"""The temperature by which outputs fit rows best: closed forms, minimizers, limits."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax, logit

from sksharp.training import _temperature
from sksharp.training._temperature import TemperatureScaling

N = 60
KINDS = {
    "binary": (1, "logistic"),
    "several labels": (3, "logistic"),
    "two classes": (2, "softmax"),
    "five classes": (5, "softmax"),
}


def make_rows(kind, seed=0, n_models=4):
    """Return outputs of models that are cold, hot and worse, indicators and weights."""
    n_outputs, out_activation = KINDS[kind]
    rng = np.random.RandomState(seed)
    if out_activation == "softmax":
        y = np.eye(n_outputs)[rng.randint(n_outputs, size=N)]
    else:
        y = rng.randint(2, size=(N, n_outputs)).astype(float)
    noise = rng.normal(size=(n_models, N, n_outputs))
    scale = np.geomspace(0.05, 30, n_models)[:, None, None]
    weights = rng.uniform(0.1, 3, size=N)
    return scale * (y + noise), y, weights / weights.sum()


def fitted(z, y, weights=None, out_activation="logistic", dtype=torch.float64):
    of_rows = None if weights is None else torch.tensor(weights, dtype=dtype)
    scaling = TemperatureScaling(torch.tensor(y, dtype=dtype), of_rows, out_activation)
    return scaling.fit(torch.tensor(z, dtype=dtype)).numpy()


def smoothed_loss(b, z, y, weights, out_activation):
    """Return the mean loss at an inverse temperature, for the smoothed targets."""
    n_classes = y.shape[1] if out_activation == "softmax" else 2
    share = 1 / (np.count_nonzero(weights) + 1)
    t = (1 - share) * y + share / n_classes
    if out_activation == "softmax":
        losses = -(t * log_softmax(b * z, axis=1))
    else:
        losses = -(t * log_expit(b * z) + (1 - t) * log_expit(-b * z))
    return weights @ losses.sum(axis=1)


@pytest.mark.parametrize("has_weights", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_minimizes_the_loss_of_smoothed_targets(kind, has_weights):
    z, y, weights = make_rows(kind)
    out_activation = KINDS[kind][1]
    given = weights if has_weights else None
    weights = weights if has_weights else np.full(N, 1 / N)
    for b, of_model in zip(fitted(z, y, given, out_activation), z, strict=True):

        def loss(log_b, of_model=of_model):
            return smoothed_loss(np.exp(log_b), of_model, y, weights, out_activation)

        found = minimize_scalar(
            loss, bounds=(-6.9, 6.9), method="bounded", options={"xatol": 1e-9}
        )
        assert_allclose(np.log(b), found.x, atol=1e-6)
        # a flat minimum is known less well from its values than from its slope
        grid = np.linspace(-6.9, 6.9, 2001)
        assert loss(np.log(b)) <= min(map(loss, grid)) + 1e-12


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_equal_logits_of_two_classes_have_a_closed_form(share):
    # sigmoid(b z) is the share of the smoothed targets
    n = 200
    y = (np.arange(n) < share * n).astype(float)[:, None]
    z = 0.2 if share > 0.5 else -0.2
    mean = (1 - 1 / (n + 1)) * share + 0.5 / (n + 1)
    (b,) = fitted(np.full((1, n, 1), z), y)
    assert_allclose(b, logit(mean) / z, rtol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_two_levels_of_logits_of_a_softmax_have_a_closed_form(n_classes):
    # every row names a class, and 3 of 4 rows are right
    n, level = 40, 0.8
    named = np.arange(n) % n_classes
    true = np.where(np.arange(n) < 30, named, (named + 1) % n_classes)
    z = level * np.eye(n_classes)[named]
    share = 1 / (n + 1)
    right = (1 - share) * 0.75 + share / n_classes
    (b,) = fitted(z[None], np.eye(n_classes)[true], None, "softmax")
    odds = right * (n_classes - 1) / (1 - right)
    assert_allclose(b, np.log(odds) / level, rtol=1e-7)


def test_two_classes_by_one_output_are_two_classes_by_a_softmax():
    z, y, weights = make_rows("binary")
    two = np.concatenate([np.zeros_like(z), z], axis=2)
    of_two = fitted(two, np.hstack([1 - y, y]), weights, "softmax")
    assert_allclose(fitted(z, y, weights), of_two, rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_counts_as_so_many_rows_and_none_as_no_row(kind):
    z, y, _ = make_rows(kind)
    out_activation = KINDS[kind][1]
    weights = np.arange(N) % 4.0
    kept = weights > 0
    some = fitted(z[:, kept], y[kept], weights[kept] / weights.sum(), out_activation)
    all_of_them = fitted(z, y, weights / weights.sum(), out_activation)
    assert_allclose(all_of_them, some, rtol=1e-7)
    # the targets are smoothed by how many rows there are, whatever they weigh
    equal = np.full(N, 1 / N)
    assert_allclose(
        fitted(z, y, equal, out_activation),
        fitted(z, y, None, out_activation),
        rtol=1e-7,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_times_a_number_have_its_part_of_the_temperature(kind):
    z, y, weights = make_rows(kind)
    out_activation = KINDS[kind][1]
    b = fitted(z, y, weights, out_activation)
    assert_allclose(fitted(3 * z, y, weights, out_activation), b / 3, rtol=1e-7)


@pytest.mark.parametrize("n_bytes", [1, 2**11, 2**30])
@pytest.mark.parametrize("kind", KINDS)
def test_many_models_are_fitted_as_each_of_them_alone(kind, n_bytes, monkeypatch):
    monkeypatch.setattr(_temperature, "CHUNK_BYTES", n_bytes)
    z, y, weights = make_rows(kind, n_models=9)
    out_activation = KINDS[kind][1]
    together = fitted(z, y, weights, out_activation)
    alone = [fitted(of_model[None], y, weights, out_activation) for of_model in z]
    assert_allclose(together, np.concatenate(alone), rtol=1e-12)


# -- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_separable_rows_are_as_sure_as_the_smoothed_targets(kind):
    n_outputs, out_activation = KINDS[kind]
    y = make_rows(kind)[1]
    z = y if out_activation == "softmax" else 2 * y - 1
    (b,) = fitted(0.01 * z[None], y, None, out_activation)
    n_classes = n_outputs if out_activation == "softmax" else 2
    sure = 1 - 1 / (N + 1) * (1 - 1 / n_classes)
    if out_activation == "softmax":
        expected = np.log(sure * (n_classes - 1) / (1 - sure)) / 0.01
    else:
        expected = logit(sure) / 0.01
    assert_allclose(b, expected, rtol=1e-7)


@pytest.mark.parametrize("out_activation", ["logistic", "softmax"])
def test_rows_of_one_class_and_two_rows_have_a_temperature(out_activation):
    z = np.array([[0.5, -1.0], [2.0, 0.25]])
    y = np.array([[1.0, 0.0], [1.0, 0.0]])
    (b,) = fitted(z[None], y, None, out_activation)
    losses = [
        smoothed_loss(factor * b, z, y, np.full(2, 0.5), out_activation)
        for factor in (1, 0.999, 1.001)
    ]
    assert 0.1 < b < 10
    assert losses[0] < min(losses[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_errs_is_as_unsure_as_can_be(kind):
    z, y, weights = make_rows(kind)
    out_activation = KINDS[kind][1]
    b = fitted(-z, y, weights, out_activation)
    assert_allclose(b, 2.0**-10, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_differences_of_rounding_are_not_blown_up_without_end(kind):
    _, out_activation = KINDS[kind]
    y = make_rows(kind)[1]
    z = y if out_activation == "softmax" else 2 * y - 1
    (b,) = fitted(1e-12 * z[None], y, None, out_activation)
    assert_allclose(b, 2.0**10, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_that_do_not_differ_or_are_not_finite_stay_as_they_are(kind):
    z, y, weights = make_rows(kind, n_models=6)
    out_activation = KINDS[kind][1]
    expected = fitted(z, y, weights, out_activation)
    z[1] = 0.0 if out_activation == "logistic" else 7.3
    z[2, 3, 0] = np.nan
    z[4, 5, 0] = np.inf
    found = fitted(z, y, weights, out_activation)
    assert_array_equal(found[[1, 2, 4]], 1.0)
    # and leave the others alone
    assert_allclose(found[[0, 3, 5]], expected[[0, 3, 5]], rtol=1e-12)


@pytest.mark.parametrize("size", [1e-30, 1e30, 1e300])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_of_any_size_give_a_finite_number(kind, size):
    z, y, weights = make_rows(kind)
    b = fitted(size * z, y, weights, KINDS[kind][1])
    assert np.isfinite(b).all()
    assert (b >= 2.0**-10 * (1 - 1e-12)).all()
    assert (b <= 2.0**10 * (1 + 1e-12)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_is_solved_in_double(kind):
    z, y, weights = make_rows(kind)
    out_activation = KINDS[kind][1]
    z, weights = z.astype(np.float32), weights.astype(np.float32)
    single = fitted(z, y, weights, out_activation, dtype=torch.float32)
    assert single.dtype == np.float64
    assert_allclose(single, fitted(z, y, weights, out_activation), rtol=1e-12)


def test_few_evaluations_are_enough(monkeypatch):
    counts = []
    for name in ("_softmax_moments", "_logistic_moments"):
        moments = getattr(_temperature, name)

        def counted(z, b, moments=moments):
            counts[-1] += 1
            return moments(z, b)

        monkeypatch.setattr(_temperature, name, counted)
    for kind in KINDS:
        for seed in range(30):
            counts.append(0)
            z, y, weights = make_rows(kind, seed)
            fitted(z, y, weights, KINDS[kind][1])
    assert max(counts) <= 12
    assert np.mean(counts) <= 9


def test_global_settings_are_not_touched():
    z, y, _ = make_rows("binary")
    before = torch.get_rng_state()
    with torch.device("meta"):
        fitted_there = TemperatureScaling(
            torch.tensor(y, device="cpu"), None, "logistic"
        ).fit(torch.tensor(z, device="cpu"))
    assert fitted_there.dtype == torch.float64
    assert torch.equal(torch.get_rng_state(), before)
