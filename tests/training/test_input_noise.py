"""Noise of inputs in the engine: what is drawn, and that all of a step has the same."""

import copy
import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from sksharp import SAMMLPClassifier, SAMMLPRegressor, _input_noise, training
from sksharp._input_noise import (
    Columns,
    Draws,
    HeldOutNoise,
    NoiseSettings,
    n_draws_of,
    normal_quantiles,
)
from sksharp.options import ESAM, InputNoise
from sksharp.options.solvers import SOLVERS
from sksharp.training import _batches
from sksharp.training._batches import Batches
from sksharp.training._temperature import TemperatureScaling

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CPU = torch.device("cpu")
N, N_FEATURES, BATCH_SIZE, LEVELS = 23, 5, 10, 2**16
STD, MISSING = 0.7, 0.3

rng = np.random.RandomState(0)
# columns of different spread around other places, and one that is constant
X = rng.normal(size=(N, N_FEATURES)) * [1.0, 3.0, 0.1, 2.0, 0.0] + [0, 1, 5, -2, 0.1]
TARGETS = X[:, 0] - (X[:, 1] - 1) ** 2 / 9
WEIGHTS = np.arange(N) % 3
LABELS = (X[:, 0] > 0.5).astype(int)


def make(cls=SAMMLPRegressor, **params):
    defaults = {
        "hidden_layer_sizes": (7, 6),
        "solver": "sgd",
        "momentum": 0.0,
        "learning_rate_init": 0.02,
        "batch_size": BATCH_SIZE,
        "alpha": 0.01,
        "max_iter": 3,
        "random_state": 0,
        "rho": 0.1,
        "base_solver": "sgd",
        "input_noise": InputNoise(std=STD, missing=MISSING),
    }
    return cls(**{**defaults, **params})


def weights_of(estimator):
    return np.concatenate([w.ravel() for w in estimator.coefs_ + estimator.intercepts_])


def rows_of(batches):
    return torch.cat([batch.X for chunk in batches for batch in chunk.cut()], -2)


# -- the noise, by pencil and paper --------------------------------------------------------

QUANTILES = norm.ppf((np.arange(LEVELS) + 0.5) / LEVELS)
QUANTILES /= QUANTILES.std()


def noisy(rows, generator, std=STD, missing=MISSING):
    """Return rows with the noise that comes next, from the docs of the draws."""
    rows = rows.copy()
    n_numbers = N_FEATURES * ((std > 0) + (missing > 0))
    for row in rows:
        words = generator.random_raw(-(-n_numbers // 4))
        # sixteen bits a number, the lowest ones of a word first
        numbers = [(int(word) >> s) & 0xFFFF for word in words for s in (0, 16, 32, 48)]
        if std:
            row += std * X.std(0) * QUANTILES[numbers[:N_FEATURES]]
            numbers = numbers[N_FEATURES:]
        if missing:
            is_missing = np.array(numbers[:N_FEATURES]) < round(missing * LEVELS)
            row[is_missing] = X.mean(0)[is_missing]
    return rows


def generator_of(random_state):
    return np.random.SFC64(random_state.randint(2**32, size=4, dtype=np.uint32))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("std", "missing"), [(STD, MISSING), (STD, 0), (0, MISSING)])
def test_the_noise_is_what_the_random_state_draws(std, missing, dtype, job_of):
    noise = InputNoise(std=std, missing=missing)
    job = job_of(make(input_noise=noise), X.astype(dtype), TARGETS)
    random_state = copy.deepcopy(job.random_state)
    batches, order = Batches([job], CPU), np.arange(N)
    for _ in range(2):
        order = order[random_state.permutation(N)]
        expected = noisy(X[order], generator_of(random_state), std, missing)
        tolerance = {"float32": 3e-6, "float64": 1e-12}[dtype]
        found = rows_of(batches)
        assert found.dtype == getattr(torch, dtype)
        assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    assert_array_equal(job.random_state.get_state()[1], random_state.get_state()[1])
    assert job.random_state.get_state()[2:] == random_state.get_state()[2:]


def test_the_values_of_the_noise_are_normal_with_mean_0_and_variance_1():
    values = normal_quantiles("<f8")
    assert_allclose(values.mean(), 0, atol=1e-15)
    assert_allclose((values**2).mean(), 1, rtol=1e-14)
    assert_allclose(values, -values[::-1], atol=1e-12)
    # by Kolmogorov's distance
    below = np.arange(LEVELS + 1) / LEVELS
    at = norm.cdf(values)
    assert max(np.abs(at - below[1:]).max(), np.abs(at - below[:-1]).max()) < 2e-5


def test_entries_are_drawn_independently_of_each_other(job_of):
    n = 4000
    rows = np.random.RandomState(1).normal(size=(n, N_FEATURES)) * [1, 2, 3, 4, 5] + 7
    job = job_of(make(batch_size=n, shuffle=False), rows, np.zeros(n))
    found = rows_of(Batches([job], CPU)).numpy()
    is_missing = np.isclose(found, rows.mean(0), rtol=1e-12)
    # 5 standard errors
    assert_allclose(is_missing.mean(0), MISSING, atol=5 * 0.5 / np.sqrt(n))
    noise = np.where(is_missing, 0, (found - rows) / (STD * rows.std(0)))
    left = 1 - MISSING
    assert_allclose(noise.mean(0), 0, atol=5 * np.sqrt(left / n))
    # a fourth moment of 3, of the share that is left
    error = np.sqrt((3 * left - left**2) / n)
    assert_allclose((noise**2).mean(0), left, atol=5 * error)
    both = np.hstack([noise, is_missing])
    limit = 5 / np.sqrt(n)
    assert np.abs(np.corrcoef(both.T) - np.eye(2 * N_FEATURES)).max() < limit
    next_row = np.corrcoef(both[:-1].T, both[1:].T)[: 2 * N_FEATURES, 2 * N_FEATURES :]
    assert np.abs(next_row).max() < limit


def test_where_all_is_missing_the_inputs_are_constant(job_of):
    noise = InputNoise(std=3.0, missing=1.0)
    found = rows_of(Batches([job_of(make(input_noise=noise), X, TARGETS)], CPU))
    assert_allclose(found, np.tile(X.mean(0), (N, 1)), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("missing", [0.0, 1e-9])
def test_a_constant_column_gets_no_noise(missing, job_of):
    noise = InputNoise(std=100.0, missing=missing)
    job = job_of(make(input_noise=noise), X, TARGETS)
    found = rows_of(Batches([job], CPU)).numpy()
    assert_array_equal(found[:, -1], X[:, -1])
    assert (np.abs(found[:, :-1] - X.mean(0)[:-1]) > 5 * X.std(0)[:-1]).any(0).all()


def test_noise_that_goes_to_zero_is_none():
    none = make(input_noise=0.0, shuffle=False).fit(X, TARGETS)
    for std in (1e-4, 1e-6, 1e-8):
        little = make(input_noise=std, shuffle=False).fit(X, TARGETS)
        off = np.abs(weights_of(little) - weights_of(none)).max()
        assert 1e-3 * std < off < 10 * std


# -- a whole training, in plain torch ------------------------------------------------------


def train_in_torch(regr, job, *, rho=0.0, fraction=1.0):
    """Return the weights and the losses of epochs, by autograd and noise drawn here."""
    random_state, order = copy.deepcopy(job.random_state), np.arange(N)
    start = [*job.weights.coefs, *job.weights.intercepts]
    w = [torch.tensor(part, requires_grad=True) for part in start]
    n_layers, losses = len(w) // 2, []

    def evaluate(rows, y, chosen=slice(None)):
        z = rows[chosen]
        for i in range(n_layers):
            z = z @ w[i] + w[n_layers + i]
            z = torch.relu(z) if i < n_layers - 1 else z
        of_rows = ((z - y[chosen]) ** 2).mean(-1) / 2
        squares = sum((part**2).sum() for part in w[:n_layers])
        loss = of_rows.mean() + regr.alpha / 2 * squares / len(rows)
        return loss, of_rows.detach(), torch.autograd.grad(loss, w)

    def move(by, factor):
        with torch.no_grad():
            for part, value in zip(w, by, strict=True):
                part.add_(factor * value)

    for _ in range(regr.max_iter):
        order = order[random_state.permutation(N)]
        rows = torch.from_numpy(noisy(X[order], generator_of(random_state)))
        targets, total = torch.from_numpy(TARGETS[order])[:, None], 0.0
        for x, y in zip(rows.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True):
            loss, before, grads = evaluate(x, y)
            total += loss.item() * len(x)
            if rho:
                step = rho / torch.cat([g.ravel() for g in grads]).norm()
                first, at = grads, [part.detach().clone() for part in w]
                move(first, step)
                chosen = slice(None)
                if fraction < 1:
                    rise = evaluate(x, y)[1] - before
                    chosen = rise.topk(max(1, round(fraction * len(x)))).indices
                grads = evaluate(x, y, chosen)[2]
                with torch.no_grad():
                    for part, value in zip(w, at, strict=True):
                        part.copy_(value)
            move(grads, -regr.learning_rate_init)
        losses.append(total / N)
    return np.concatenate([part.detach().numpy().ravel() for part in w]), losses


TRAINED = {
    "sgd": ({}, {}),
    "sam": ({"solver": "sam", "rho": 0.3}, {"rho": 0.3}),
    "esam": ({"solver": ESAM(fraction=0.4), "rho": 0.3}, {"rho": 0.3, "fraction": 0.4}),
}


@pytest.mark.parametrize("case", TRAINED)
def test_a_fit_is_that_of_the_noisy_rows_by_autograd(case, job_of):
    params, options = TRAINED[case]
    regr = make(**params)
    weights, losses = train_in_torch(regr, job_of(regr, X, TARGETS), **options)
    regr.fit(X, TARGETS)
    assert_allclose(weights_of(regr), weights, rtol=1e-12, atol=1e-13)
    # of the passes of the training, with their noise
    assert_allclose(regr.loss_curve_, losses, rtol=1e-12)


ASCENTS = [name for name, solver in SOLVERS.items() if solver.is_two_gradient]


@pytest.mark.parametrize("size", [None, 4], ids=["whole", "in parts"])
@pytest.mark.parametrize("solver", [n for n in ASCENTS if n not in ("esam", "looksam")])
def test_a_second_gradient_close_by_is_the_first(solver, size):
    """With other noise it would be another one, however close."""
    options = {} if solver == "friendly_sam" else {"micro_batch_size": size}
    near = make(solver=SOLVERS[solver](**options), rho=1e-9).fit(X, TARGETS)
    base = make(solver="sgd").fit(X, TARGETS)
    assert_allclose(weights_of(near), weights_of(base), rtol=1e-6, atol=1e-8)


# -- what the noise does not depend on -----------------------------------------------------


@pytest.mark.parametrize(
    "noise", [0.4, InputNoise(missing=0.3), InputNoise(std=1, missing=0.1)]
)
def test_chunks_leave_no_trace(noise, monkeypatch):
    whole = make(solver="sam", input_noise=noise).fit(X, TARGETS)
    monkeypatch.setattr(_batches, "CHUNK_BYTES", 1)
    in_parts = make(solver="sam", input_noise=noise).fit(X, TARGETS)
    assert_array_equal(weights_of(in_parts), weights_of(whole))


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_rows_of_the_user_are_not_written_to(shuffle):
    rows = X.copy()
    make(shuffle=shuffle).fit(rows, TARGETS)
    assert_array_equal(rows, X)


def test_radii_of_one_network_are_compared_on_the_same_rows(job_of):
    jobs = [job_of(make(rho=rho, solver="sam"), X, TARGETS) for rho in (0.1, 0.5)]
    jobs[1].X, jobs[1].y = jobs[0].X, jobs[0].y
    assert rows_of(Batches(jobs, CPU)).ndim == 2


def test_networks_of_other_seeds_have_noise_of_their_own(job_of):
    jobs = [
        job_of(make(random_state=seed, shuffle=False), X, TARGETS) for seed in (0, 1, 0)
    ]
    batches = Batches(jobs, CPU)
    first = rows_of(batches)
    assert first.shape[0] == 3
    assert_array_equal(first[0], first[2])
    assert (first[0] != first[1])[:, :-1].any(0).all()
    # and every epoch
    assert (rows_of(batches) != first)[..., :-1].any(1).all()
    batches.keep([1, 2])
    assert rows_of(batches).shape[0] == 2


# -- columns -------------------------------------------------------------------------------


def test_columns_are_measured_as_if_weights_were_repetitions(monkeypatch):
    repeated = np.repeat(X, WEIGHTS, axis=0)
    for block in (2**24, 8 * N_FEATURES * 4):
        monkeypatch.setattr(_input_noise, "BLOCK_BYTES", block)
        for found in (Columns.of(X, WEIGHTS.astype(float)), Columns.of(repeated)):
            assert found.weight == WEIGHTS.sum()
            assert_allclose(found.mean, repeated.mean(0), rtol=1e-14, atol=1e-15)
            assert_allclose(found.spread, repeated.std(0), rtol=1e-12, atol=1e-16)
            assert found.spread[-1] == 0


def test_calls_measure_what_all_their_rows_are():
    columns = None
    for part in np.array_split(X, 5):
        columns = Columns.of(part, before=columns)
    whole = Columns.of(X)
    assert columns.weight == N
    assert_allclose(columns.mean, whole.mean, rtol=1e-13)
    assert_allclose(columns.spread, whole.spread, rtol=1e-13, atol=1e-15)


def test_rows_without_weight_measure_nothing():
    columns = Columns.of(X, np.zeros(N))
    assert_array_equal(columns.spread, 0)
    assert_array_equal(Columns.of(X[:3], before=columns).mean, Columns.of(X[:3]).mean)


def test_sizes_around_a_far_place_keep_their_digits():
    far = Columns.of(X + 1e9)
    assert_allclose(far.spread[:-1], X.std(0)[:-1], rtol=1e-5)


def test_rows_of_weight_zero_may_have_any_numbers():
    far = np.r_[np.full((1, X.shape[1]), 1e308), np.full((1, X.shape[1]), -1e308), X]
    found = Columns.of(far, np.r_[0.0, 0.0, np.ones(len(X))])
    assert found.key == Columns.of(X).key


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**1000])
def test_the_unit_of_weights_does_not_matter(unit):
    found = Columns.of(1e3 * X, np.full(len(X), unit))
    assert found.key[1:] == Columns.of(1e3 * X).key[1:]


# -- rows that are held out ----------------------------------------------------------------

NOISE = HeldOutNoise(NoiseSettings(STD, MISSING), Columns.of(X), (1, 2))


def test_rows_held_out_are_repeated_with_other_draws():
    rows, n_draws = X[:7], n_draws_of(7)
    assert n_draws == 10
    expected = noisy(np.tile(rows, (n_draws, 1)), np.random.SFC64((1, 2)))
    assert_allclose(NOISE.of(rows), expected, rtol=1e-12)
    assert_array_equal(NOISE.of(rows), NOISE.of(rows.copy()))
    other = dataclasses.replace(NOISE, seed=(1, 3))
    assert (other.of(rows) != NOISE.of(rows))[:, :-1].any(0).all()


@pytest.mark.parametrize(
    ("n_rows", "n_draws"),
    [(2, 10), (100, 10), (334, 3), (333, 3), (700, 1), (10**6, 1)],
)
def test_small_sets_are_repeated_up_to_ten_times(n_rows, n_draws):
    assert n_draws_of(n_rows) == n_draws
    assert len(NOISE.repeat(np.zeros(n_rows))) == n_rows * n_draws


@pytest.mark.parametrize("scoring", ["loss", "neg_log_loss"])
@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("on", ["validation", "both"])
def test_held_out_scores_are_those_of_a_loop_by_hand(on, weighted, scoring, job_of):
    """A network of one epoch, two epochs and so on, scored at the same noisy rows."""
    params = {
        "early_stopping": True,
        "validation_fraction": 0.4,
        "shuffle": False,
        "scoring": scoring,
        "input_noise": InputNoise(std=STD, missing=MISSING, on=on),
        "learning_rate_init": 0.05,
    }
    weight = WEIGHTS + 1.0 if weighted else None
    clf = make(SAMMLPClassifier, **params)
    job = job_of(clf, X, LABELS, sample_weight=weight)
    validation = job.validation
    rows = validation.rows
    # the seed is drawn from a copy of what draws the orders and the noise
    seed = copy.deepcopy(job.random_state).randint(2**32, size=4, dtype=np.uint32)
    assert validation.noise.seed == tuple(seed.tolist())
    n_draws = n_draws_of(len(rows))
    columns = Columns.of(X, weight)
    held_out = HeldOutNoise(NoiseSettings(STD, MISSING), columns, validation.noise.seed)
    inputs = held_out.of(X[rows])
    labels = np.tile(LABELS[rows], n_draws)
    weights = None if weight is None else np.tile(weight[rows], n_draws)
    clf.fit(X, LABELS, sample_weight=weight)
    losses = []

    def by_hand(estimator, X, y, sample_weight=None):
        assert_array_equal(X, inputs)
        assert_array_equal(y, labels)
        z = inputs
        for coef, bias in zip(estimator.coefs_, estimator.intercepts_, strict=True):
            z = (z if coef is estimator.coefs_[0] else np.maximum(z, 0)) @ coef + bias
        of_rows = np.logaddexp(0, np.where(labels == 1, -1, 1) * z[:, 0])
        losses.append(np.average(of_rows, weights=weights))
        return len(losses)

    twin = make(SAMMLPClassifier, **{**params, "scoring": by_hand})
    twin.fit(X, LABELS, sample_weight=weight)
    assert len(losses) == 3
    assert_allclose(clf.validation_scores_, np.negative(losses), rtol=1e-12)


def test_radii_and_epochs_of_a_fold_have_one_draw_and_folds_their_own(monkeypatch):
    fit_models, seen = training.fit_models, []

    def noted(jobs, **options):
        seen.extend(job.validation for job in jobs if job.validation is not None)
        return fit_models(jobs, **options)

    monkeypatch.setattr(training, "fit_models", noted)
    noise = InputNoise(std=0.5, on="validation")
    params = {"solver": "sam", "rho": [0.0, 0.3, 1.0], "input_noise": noise}
    given = {"X_val": X[:9], "y_val": LABELS[:9]}
    for folds, rows, n in (
        ({"cv": 3}, {}, 3),
        ({"n_members": 3}, {}, 3),
        ({"n_members": 3}, given, 1),  # the same rows for all
    ):
        seen.clear()
        clf = make(SAMMLPClassifier, **params, **folds, max_iter=6)
        clf.fit(X, LABELS, **rows)
        assert len(seen) >= 9
        draws = {
            (None if v.rows is None else v.rows.tobytes(), v.noise.seed) for v in seen
        }
        assert len(draws) == len({seed for _, seed in draws}) == n


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
def test_rows_are_compared_by_the_mean_of_their_draws(weighted, job_of):
    noise = InputNoise(std=STD, on="validation")
    clf = make(SAMMLPClassifier, early_stopping=True, scoring="loss", input_noise=noise)
    weight = WEIGHTS + 1.0 if weighted else None
    job = job_of(clf, X, LABELS, sample_weight=weight)
    job.validation = dataclasses.replace(job.validation, keeps_rows=True)
    (result,) = training.fit_models([job])
    rows, found = job.validation.rows, result.progress.best_row_losses
    assert found.shape == rows.shape
    weights = None if weight is None else weight[rows]
    best = -result.progress.best_validation_score
    assert_allclose(np.average(found, weights=weights), best, rtol=1e-12)


@pytest.mark.parametrize("activation", ["logistic", "softmax"])
def test_repeated_rows_have_the_temperature_of_the_rows(activation):
    width = 1 if activation == "logistic" else 3
    generator = np.random.RandomState(0)
    z = torch.from_numpy(generator.normal(size=(2, 8, width)))
    y = torch.from_numpy(
        np.eye(max(2, width))[generator.randint(width, size=8)][:, :width]
    )
    for weights in (None, torch.tensor([0.0, *[1 / 7] * 7], dtype=torch.float64)):
        once = TemperatureScaling(y, weights, activation)
        often = TemperatureScaling(y.repeat(4, 1), weights, activation, n_draws=4)
        assert_allclose(often.fit(z.repeat(1, 4, 1)), once.fit(z), rtol=1e-9)


def test_sparse_rows_are_refused_and_a_draw_needs_no_dense_columns(job_of):
    with pytest.raises(ValueError, match="X must be dense with input_noise"):
        make().fit(sp.csr_array(X), TARGETS)
    draws = Draws(NoiseSettings(0.0, 0.5), Columns.of(X), "f8")
    added, replaced = draws.draw(np.random.SFC64(0), 4)
    assert added is None
    assert replaced.shape == (4, N_FEATURES)
