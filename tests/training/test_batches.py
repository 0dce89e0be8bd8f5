import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils import shuffle

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.training._batches import Batches

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

CPU = torch.device("cpu")
N = 23

rng = np.random.RandomState(0)
# a row is known by its first column
X = np.column_stack([np.arange(1.0, N + 1), rng.normal(size=(N, 3))])
y = X[:, 0] * 10
SAMPLE_WEIGHT = rng.uniform(0.5, 2, size=N)

KINDS = {"dense": np.asarray, "csr": sp.csr_array, "csc": sp.csc_matrix}
SIZES = {"one batch": 23, "a short last one": 10, "all but one": 22, "single rows": 1}


def minibatches(batches):
    """Return the minibatches of an epoch."""
    return [batch for chunk in batches for batch in chunk.cut()]


def dense(tensor):
    return (tensor.to_dense() if tensor.is_sparse else tensor).numpy()


@pytest.mark.parametrize("batch_size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_draws_what_scikit_learns_shuffle_draws(kind, batch_size, job_of):
    regr = SAMMLPRegressor(batch_size=batch_size, random_state=0)
    job = job_of(regr, KINDS[kind](X), y, sample_weight=SAMPLE_WEIGHT)
    random_state, order = copy.deepcopy(job.random_state), np.arange(N)
    batches = Batches([job], CPU)
    for _ in range(3):
        # every epoch permutes the permutation of the last
        order = shuffle(order, random_state=random_state)
        epoch = minibatches(batches)
        starts = range(0, N, batch_size)
        assert len(epoch) == len(batches) == len(starts)
        for batch, start in zip(epoch, starts, strict=True):
            rows = order[start : start + batch_size]
            assert len(batch) == len(rows)
            assert_array_equal(dense(batch.X), X[rows])
            assert_array_equal(batch.y[:, 0], y[rows])
            assert_array_equal(batch.sample_weight, SAMPLE_WEIGHT[rows])
            assert_allclose(batch.weight_sum, SAMPLE_WEIGHT[rows].sum(), rtol=1e-14)
        drawn, expected = job.random_state.get_state(), random_state.get_state()
        assert drawn[2:] == expected[2:]
        assert_array_equal(drawn[1], expected[1])


@pytest.mark.parametrize("kind", KINDS)
def test_without_shuffling_rows_keep_their_order_and_nothing_is_drawn(kind, job_of):
    regr = SAMMLPRegressor(batch_size=10, shuffle=False, random_state=0)
    job = job_of(regr, KINDS[kind](X), y)
    before = job.random_state.get_state()[1].copy()
    batches = Batches([job], CPU)
    for _ in range(2):
        rows = np.concatenate([dense(batch.X) for batch in minibatches(batches)])
        assert_array_equal(rows, X)
    assert_array_equal(job.random_state.get_state()[1], before)


def test_without_weights_the_total_is_the_number_of_rows(job_of):
    job = job_of(SAMMLPRegressor(batch_size=10), X, y)
    epoch = minibatches(Batches([job], CPU))
    assert [batch.weight_sum for batch in epoch] == [10, 10, 3]
    assert all(batch.sample_weight is None for batch in epoch)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_of_the_dtype_of_the_rows(kind, dtype, job_of):
    rows = KINDS[kind](X.astype(dtype))
    job = job_of(SAMMLPRegressor(batch_size=10), rows, y, sample_weight=SAMPLE_WEIGHT)
    expected = {np.float32: torch.float32, np.float64: torch.float64}[dtype]
    for batch in minibatches(Batches([job], CPU)):
        assert batch.X.dtype == batch.y.dtype == batch.sample_weight.dtype == expected


def test_chunks_of_minibatches_are_cut_anywhere_without_a_trace(job_of, monkeypatch):
    epochs = []
    for n_bytes in (2**30, 1, 3 * 10 * X[0].nbytes):
        monkeypatch.setattr(
            "sksharp.training._batches.CHUNK_BYTES", n_bytes, raising=False
        )
        regr = SAMMLPRegressor(batch_size=4, random_state=0)
        job = job_of(regr, X, y, sample_weight=SAMPLE_WEIGHT)
        epochs.append(minibatches(Batches([job], CPU)))
    for epoch in epochs[1:]:
        for batch, expected in zip(epoch, epochs[0], strict=True):
            assert_array_equal(batch.X, expected.X)
            assert_array_equal(batch.y, expected.y)
            assert_array_equal(batch.sample_weight, expected.sample_weight)
            assert batch.weight_sum == expected.weight_sum


ROWS_WITHOUT_WEIGHT = {"first minibatch": range(10), "short last one": range(20, 23)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ROWS_WITHOUT_WEIGHT.values(), ids=ROWS_WITHOUT_WEIGHT)
def test_a_minibatch_without_weight_is_refused(rows, kind, job_of):
    sample_weight = SAMPLE_WEIGHT.copy()
    sample_weight[list(rows)] = 0
    regr = SAMMLPRegressor(batch_size=10, shuffle=False)
    job = job_of(regr, KINDS[kind](X), y, sample_weight=sample_weight)
    with pytest.raises(ValueError, match=r"sample_weight must not.*raise batch_size"):
        minibatches(Batches([job], CPU))


def test_rows_without_weight_are_fine_beside_others(job_of):
    sample_weight = np.where(np.arange(N) % 10 == 0, 2.0, 0.0)
    regr = SAMMLPRegressor(batch_size=10, shuffle=False)
    job = job_of(regr, X, y, sample_weight=sample_weight)
    assert [batch.weight_sum for batch in minibatches(Batches([job], CPU))] == [2, 2, 2]


def test_the_users_arrays_are_only_read(job_of):
    arrays = [X.copy(), y.reshape(-1, 1).copy(), SAMPLE_WEIGHT.copy()]
    for array in arrays:
        array.flags.writeable = False
    job = job_of(SAMMLPRegressor(batch_size=10), X, y, sample_weight=SAMPLE_WEIGHT)
    job.X, job.y, job.sample_weight = arrays
    minibatches(Batches([job], CPU))
    assert_array_equal(arrays[0], X)
    assert_array_equal(arrays[2], SAMPLE_WEIGHT)


@pytest.mark.parametrize("solver", ["sam", "ranger", "sgd"])
def test_sparse_rows_train_as_dense_ones(solver):
    sparse = X * (np.abs(X) > 0.5)
    fits = [
        SAMMLPRegressor(
            hidden_layer_sizes=(5,),
            solver=solver,
            batch_size=10,
            learning_rate_init=1e-4,
            max_iter=3,
            random_state=0,
        ).fit(KINDS[kind](sparse), y / 100)
        for kind in KINDS
    ]
    for regr in fits[1:]:
        for coef, expected in zip(regr.coefs_, fits[0].coefs_, strict=True):
            assert_allclose(coef, expected, rtol=1e-11)


def test_a_sparse_matrix_too_large_to_be_dense_is_trained_on():
    n_samples, n_features = 20_000, 1_000_000  # 160 gigabytes
    rows, columns = np.arange(0, n_samples, 100), np.arange(0, n_features, 5000)
    matrix = sp.csr_array(
        (np.ones(200), (rows, columns)), shape=(n_samples, n_features)
    )
    # each of the two minibatches has 80 gigabytes
    clf = SAMMLPClassifier(
        hidden_layer_sizes=(1,), rho=0.1, batch_size=10_000, max_iter=1, random_state=0
    )
    clf.fit(matrix, np.arange(n_samples) % 2)
    assert np.isfinite(clf.loss_)
