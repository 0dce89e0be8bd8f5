"""Dropout in the engine: which masks are drawn, and that all of a step has the same."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import ESAM, SAM
from sksharp.options.solvers import SOLVERS
from sksharp.training import _batches, _parts, fit_models
from sksharp.training._batches import Batches
from sksharp.training._dropout import Dropout

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

CPU = torch.device("cpu")
N, N_FEATURES, HIDDEN = 23, 5, (7, 6)
BATCH_SIZE = 10
SHARES = [0.2, 0.3, 0.6]
LEVELS = 2**16

rng = np.random.RandomState(0)
X = rng.normal(size=(N, N_FEATURES)) * (rng.uniform(size=(N, N_FEATURES)) < 0.7)
TARGETS = X[:, 0] - X[:, 1] ** 2
LABELS = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int) + (X[:, 2] > 0.5)


def make(cls=SAMMLPRegressor, **params):
    defaults = {
        "hidden_layer_sizes": HIDDEN,
        "solver": "sgd",
        "momentum": 0.0,
        "learning_rate_init": 0.05,
        "batch_size": BATCH_SIZE,
        "alpha": 0.01,
        "max_iter": 3,
        "random_state": 0,
        "rho": 0.1,
        "base_solver": "sgd",
        "dropout": SHARES,
    }
    return cls(**{**defaults, **params})


# -- the masks, by pencil and paper --------------------------------------------------------


def splitmix64(seed, n):
    """Return the first numbers of SplitMix64, in Python's integers."""
    numbers, state, bits = [], int(seed), 2**64 - 1
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) & bits
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & bits
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & bits
        numbers.append(z ^ (z >> 31))
    return numbers


def expected_masks(random_state, n_samples, shares, widths):
    """Return the masks of an epoch, of the inputs first, from the docs of the draws."""
    seed = random_state.randint(2**32, size=4, dtype=np.uint32)
    generator = np.random.SFC64(seed)
    n_units = sum(w for w, p in zip(widths[1:], shares[1:], strict=True) if p)
    counts = [round(share * LEVELS) for share in shares]
    masks = [np.ones((n_samples, width)) for width in widths]
    for i in range(n_samples):
        words = generator.random_raw((shares[0] > 0) + -(-n_units // 4))
        if shares[0]:
            high = [z >> 48 for z in splitmix64(words[0], widths[0])]
            masks[0][i] = np.array(high) >= counts[0]
            words = words[1:]
        # sixteen bits a unit, the lowest ones of a word first, read as a signed number
        numbers = [(int(word) >> s) & 0xFFFF for word in words for s in (0, 16, 32, 48)]
        numbers = [(u + LEVELS // 2) % LEVELS for u in numbers]
        for mask, share, count in zip(masks[1:], shares[1:], counts[1:], strict=True):
            if share:
                width = mask.shape[1]
                mask[i] = np.array(numbers[:width]) >= count
                numbers = numbers[width:]
    return [m * LEVELS / (LEVELS - c) for m, c in zip(masks, counts, strict=True)]


KINDS = {
    "dense": np.asarray,
    "csr": sp.csr_array,
    "csc": sp.csc_matrix,
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shares", [SHARES, [0, 0.3, 0], [0, 0, 0.5], [0.5, 0, 0], [0.4, 0, 0.1]], ids=str
)
def test_masks_are_those_that_the_random_state_draws(shares, kind, dtype, job_of):
    job = job_of(make(dropout=shares), KINDS[kind](X.astype(dtype)), TARGETS)
    random_state = copy.deepcopy(job.random_state)
    batches, order = Batches([job], CPU), np.arange(N)
    for _ in range(2):
        order = order[random_state.permutation(N)]
        widths = [N_FEATURES, *HIDDEN]
        of_inputs, *masks = expected_masks(random_state, N, shares, widths)
        found = [batch for chunk in batches for batch in chunk.cut()]
        rows = [b.X.to_dense() if b.X.is_sparse else b.X for b in found]
        rtol = 1e-6 if dtype == "float32" else 1e-14
        assert_allclose(torch.cat(rows), X[order] * of_inputs, rtol=rtol)
        for layer, (mask, share) in enumerate(zip(masks, shares[1:], strict=True)):
            of_layer = [batch.masks[layer] if batch.masks else None for batch in found]
            if not share:
                assert of_layer == [None] * len(found)
            else:
                assert_allclose(torch.cat(of_layer), mask, rtol=rtol)
                assert of_layer[0].dtype == getattr(torch, dtype)
    assert_array_equal(job.random_state.get_state()[1], random_state.get_state()[1])
    assert job.random_state.get_state()[2:] == random_state.get_state()[2:]


@pytest.mark.parametrize("share", [1e-9, 0.1, 1 / 3, 0.5, 0.999999, 1 - 2**-53])
def test_the_mean_of_a_mask_over_all_draws_is_1(share, job_of):
    dropout = Dropout([job_of(make(dropout=share), X, TARGETS)], CPU)
    every_draw = np.arange(LEVELS, dtype=np.uint16).view(np.int16)
    bits = torch.from_numpy(np.tile(every_draw[:, None], sum(HIDDEN)))
    for mask in dropout.hidden_masks(bits):
        assert mask.mean().item() == pytest.approx(1, rel=1e-12)
        assert (mask == 0).double().mean() == pytest.approx(share, abs=2 / LEVELS)
        kept = mask[mask > 0]
        assert len(kept) > 0
        assert (kept == kept[0]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_units_and_inputs_are_left_out_independently_of_each_other(kind, job_of):
    ones = KINDS[kind](np.ones((4000, N_FEATURES)))
    job = job_of(make(dropout=SHARES, batch_size=4000), ones, np.zeros(4000))
    (chunk,) = Batches([job], CPU)
    (batch,) = chunk.cut()
    rows = batch.X.to_dense() if batch.X.is_sparse else batch.X
    kept = torch.cat([rows, *batch.masks], dim=1).numpy() > 0
    shares = np.repeat(SHARES, [N_FEATURES, *HIDDEN])
    # 5 standard errors
    assert_allclose(kept.mean(0), 1 - shares, atol=5 * 0.5 / np.sqrt(4000))
    correlations = np.corrcoef(kept.T) - np.eye(len(shares))
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)
    from_row_to_row = np.corrcoef(kept[:-1].T, kept[1:].T)[: len(shares), len(shares) :]
    assert np.abs(from_row_to_row).max() < 5 / np.sqrt(4000)


# -- a whole training, in plain torch ------------------------------------------------------


def forward(weights, X, masks):
    n_layers = len(weights) // 2
    z = X
    for i in range(n_layers):
        z = z @ weights[i] + weights[n_layers + i]
        if i < n_layers - 1:
            z = torch.relu(z) * masks[i]
    return z


def row_losses(weights, rows, y, masks):
    return ((forward(weights, rows, masks) - y) ** 2).mean(-1) / 2


def train_in_torch(regr, job, *, rho=0.0, fraction=1.0):
    """Return the weights and the losses of epochs, by autograd and masks drawn here."""
    random_state, order = copy.deepcopy(job.random_state), np.arange(N)
    start = [*job.weights.coefs, *job.weights.intercepts]
    w = [torch.tensor(part, requires_grad=True) for part in start]
    n_layers = len(w) // 2
    inputs, targets = torch.from_numpy(X), torch.from_numpy(TARGETS)[:, None]
    losses = []
    for _ in range(regr.max_iter):
        order = order[random_state.permutation(N)]
        drawn = expected_masks(random_state, N, SHARES, [N_FEATURES, *HIDDEN])
        of_inputs, *masks = map(torch.from_numpy, drawn)
        total = 0.0
        for first in range(0, N, BATCH_SIZE):
            part = slice(first, min(first + BATCH_SIZE, N))
            rows, y = inputs[order[part]] * of_inputs[part], targets[order[part]]
            batch = rows, y, [mask[part] for mask in masks]

            def evaluate(chosen=slice(None), batch=batch):
                rows, y, masks = batch
                of_rows = row_losses(
                    w, rows[chosen], y[chosen], [m[chosen] for m in masks]
                )
                squares = sum((part**2).sum() for part in w[:n_layers])
                loss = of_rows.mean() + regr.alpha / 2 * squares / len(rows)
                return loss, of_rows.detach(), torch.autograd.grad(loss, w)

            loss, before, grads = evaluate()
            total += loss.item() * len(rows)
            if rho:
                norm = torch.cat([g.ravel() for g in grads]).norm()
                at = [part.detach().clone() for part in w]
                with torch.no_grad():
                    for part, grad in zip(w, grads, strict=True):
                        part.add_(rho / norm * grad)
                chosen = slice(None)
                if fraction < 1:
                    rise = evaluate()[1] - before
                    chosen = rise.topk(max(1, round(fraction * len(rows)))).indices
                grads = evaluate(chosen)[2]
                with torch.no_grad():
                    for part, value in zip(w, at, strict=True):
                        part.copy_(value)
            with torch.no_grad():
                for part, grad in zip(w, grads, strict=True):
                    part.sub_(regr.learning_rate_init * grad)
        losses.append(total / N)
    return [part.detach().numpy() for part in w], losses


TRAINED = {
    "sgd": ({"solver": "sgd"}, {}),
    "sam": ({"solver": "sam", "rho": 0.3}, {"rho": 0.3}),
    "esam": (
        {"solver": ESAM(fraction=0.4), "rho": 0.3},
        {"rho": 0.3, "fraction": 0.4},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", TRAINED)
def test_a_fit_is_that_of_the_masked_network_by_autograd(case, kind, job_of):
    params, options = TRAINED[case]
    regr = make(**params)
    job = job_of(regr, KINDS[kind](X), TARGETS)
    weights, losses = train_in_torch(regr, job, **options)
    regr.fit(KINDS[kind](X), TARGETS)
    for found, expected in zip([*regr.coefs_, *regr.intercepts_], weights, strict=True):
        assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    # of the passes of the training, with their masks
    assert_allclose(regr.loss_curve_, losses, rtol=1e-10)


# -- the same masks in all passes of a step ------------------------------------------------

ASCENTS = [name for name, solver in SOLVERS.items() if solver.is_two_gradient]


def weights_of(estimator):
    return np.concatenate([w.ravel() for w in estimator.coefs_ + estimator.intercepts_])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [None, 4], ids=["whole", "in parts"])
@pytest.mark.parametrize("solver", [n for n in ASCENTS if n not in ("esam", "looksam")])
def test_a_second_gradient_close_by_is_the_first(solver, size, kind):
    """With other masks it would be another one, however close."""
    options = {} if solver == "friendly_sam" else {"micro_batch_size": size}
    near = make(solver=SOLVERS[solver](**options), rho=1e-9)
    base = make(solver="sgd")
    near.fit(KINDS[kind](X), TARGETS)
    base.fit(KINDS[kind](X), TARGETS)
    assert_allclose(weights_of(near), weights_of(base), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver", ASCENTS)
def test_an_epoch_without_ascents_is_the_base_solvers(solver):
    late = make(solver=SOLVERS[solver](start=1), rho=0.3, max_iter=2).fit(X, TARGETS)
    base = make(solver="sgd", max_iter=2).fit(X, TARGETS)
    assert_allclose(late.loss_curve_[0], base.loss_curve_[0], rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("size", [4, 5, 7])
@pytest.mark.parametrize("solver", [name for name in ASCENTS if name != "esam"])
def test_parts_at_once_are_parts_one_by_one(
    solver, size, weighted, job_of, monkeypatch
):
    weight = np.arange(1.0, N + 1) if weighted else None
    regr = make(solver=SOLVERS[solver](micro_batch_size=size), rho=0.3)
    jobs = [
        job_of(regr.set_params(alpha=alpha), X, TARGETS, sample_weight=weight)
        for alpha in (0.01, 0.5)
    ]
    for group in (jobs[:1], jobs):
        at_once = fit_models(copy.deepcopy(group))
        with monkeypatch.context() as patch:
            patch.setattr(_parts, "MAX_WEIGHTS", 0)
            one_by_one = fit_models(copy.deepcopy(group))
        for result, other in zip(at_once, one_by_one, strict=True):
            for found, expected in zip(
                result.weights.coefs, other.weights.coefs, strict=True
            ):
                assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


# -- what the masks do not depend on -------------------------------------------------------


@pytest.mark.parametrize("solver", ["sam", "esam", SAM(micro_batch_size=4)], ids=str)
def test_sparse_rows_train_as_dense_ones(solver):
    if solver == "esam":
        solver = ESAM(fraction=1.0)  # selects by weights, with ties in another order
    dense = make(solver=solver).fit(X, TARGETS)
    for kind in ("csr", "csc"):
        sparse = make(solver=solver).fit(KINDS[kind](X), TARGETS)
        assert_allclose(weights_of(sparse), weights_of(dense), rtol=1e-9, atol=1e-12)


def test_a_zero_that_is_stored_changes_nothing():
    rows = sp.csr_array(X)
    stored = rows.copy()
    stored.data[::3] = 0
    fits = []
    for kind in (stored, sp.csr_array(stored.toarray())):
        before = copy.deepcopy(kind)
        fits.append(make().fit(kind, TARGETS))
        assert_array_equal(kind.data, before.data)  # nor is it written to
    assert_allclose(weights_of(fits[0]), weights_of(fits[1]), rtol=1e-12)


def test_chunks_leave_no_trace(monkeypatch):
    whole = make(solver="sam").fit(X, TARGETS)
    monkeypatch.setattr(_batches, "CHUNK_BYTES", 1)
    in_parts = make(solver="sam").fit(X, TARGETS)
    assert_array_equal(weights_of(in_parts), weights_of(whole))


def test_single_precision_has_the_masks_of_double_precision():
    single = make(max_iter=1).fit(X.astype("f4"), TARGETS)
    double = make(max_iter=1).fit(X.astype("f4").astype("f8"), TARGETS)
    for coefs in (single.coefs_, double.coefs_):
        assert not any(np.isnan(coef).any() for coef in coefs)
    assert_allclose(single.loss_, double.loss_, rtol=1e-5)


def test_radii_of_one_network_are_compared_with_the_same_masks(job_of):
    jobs = [job_of(make(rho=rho, solver="sam"), X, TARGETS) for rho in (0.1, 0.5)]
    jobs[1].X, jobs[1].y = jobs[0].X, jobs[0].y
    (chunk,) = Batches(jobs, CPU)
    assert all(mask.ndim == 2 for mask in chunk.cut()[0].masks)


def test_networks_of_other_seeds_have_masks_of_their_own(job_of):
    jobs = [job_of(make(random_state=seed), X, TARGETS) for seed in (0, 1, 0)]
    (chunk,) = Batches(jobs, CPU)
    for mask in chunk.cut()[0].masks:
        assert mask.shape[0] == 3
        assert_array_equal(mask[0], mask[2])
        assert (mask[0] != mask[1]).any()


def test_epochs_have_masks_of_their_own(job_of):
    batches = Batches([job_of(make(shuffle=False), X, TARGETS)], CPU)
    epochs = [
        torch.cat([b.masks[0] for chunk in batches for b in chunk.cut()])
        for _ in range(2)
    ]
    assert (epochs[0] != epochs[1]).any()


def test_the_masks_of_a_chunk_count_as_its_rows_do(job_of, monkeypatch):
    # of a row: five features, a target with two of its copies, a mask for every unit
    row_bytes = 8 * (N_FEATURES + 3 + sum(HIDDEN))
    monkeypatch.setattr(_batches, "CHUNK_BYTES", 2 * BATCH_SIZE * row_bytes)
    job = job_of(make(), X, TARGETS)
    assert [len(chunk) for chunk in Batches([job], CPU)] == [2, 1]


def test_all_networks_of_a_classifier_train_with_dropout():
    """Members, folds and radii: another network than without."""
    fits = [
        make(
            SAMMLPClassifier,
            solver="sam",
            rho=[0.0, 0.3],
            n_members=3,
            dropout=dropout,
        ).fit(X, LABELS)
        for dropout in (0.0, 0.5)
    ]
    for without, with_dropout in zip(*(fit.members_ for fit in fits), strict=True):
        assert np.abs(weights_of(without) - weights_of(with_dropout)).max() > 1e-3
