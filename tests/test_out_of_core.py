"""Rows in files: chunks of them train as rows in memory do, and nothing is copied whole."""

import gc
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import make_classification
from sklearn.preprocessing import StandardScaler

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.training._bridge import to_tensor
from sksharp.training._loop import Loop
from sksharp.training._net import MLPNet
from sksharp.training._networks import Networks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_SAMPLES, N_FEATURES, CHUNK = 300, 8, 70


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    """Dtype of the rows."""
    return request.param


@pytest.fixture
def rows(dtype):
    """Rows and labels in memory."""
    X, y = make_classification(
        N_SAMPLES, n_features=N_FEATURES, n_informative=4, n_classes=3, random_state=0
    )
    return X.astype(dtype), y


@pytest.fixture
def file(rows, tmp_path):
    """The same rows and labels as read-only memory maps."""
    for name, array in zip("Xy", rows, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    return [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "Xy"]


def chunks():
    return [
        slice(start, min(start + CHUNK, N_SAMPLES))
        for start in range(0, N_SAMPLES, CHUNK)
    ]


def trained(X, y, estimator, **params):
    scaler = StandardScaler()
    for rows in chunks():
        scaler.partial_fit(X[rows])
    for _ in range(2):
        for rows in chunks():
            estimator.partial_fit(scaler.transform(X[rows]), y[rows], **params)
    return estimator


@pytest.mark.parametrize("solver", ["sam", "adam"])
def test_chunks_of_a_file_train_as_chunks_in_memory(rows, file, solver):
    X, y = rows

    def clf():
        return SAMMLPClassifier((6,), solver=solver, rho=0.1, random_state=0)

    expected = trained(X, y, clf(), classes=np.unique(y))
    found = trained(*file, clf(), classes=np.unique(y))
    for a, b in zip(found.coefs_, expected.coefs_, strict=True):
        assert_array_equal(a, b)


def test_a_fit_on_a_file_is_that_on_its_rows_in_memory(rows, file):
    clf = SAMMLPClassifier((6,), rho=0.1, max_iter=3, batch_size=50, random_state=0)
    expected = clf.fit(*rows).coefs_
    for a, b in zip(clf.fit(*file).coefs_, expected, strict=True):
        assert_array_equal(a, b)


def test_the_targets_of_a_regression_may_lie_in_a_file(rows, file):
    X, _ = rows
    regr = SAMMLPRegressor(hidden_layer_sizes=(6,), rho=0.1, max_iter=3, random_state=0)
    expected = regr.fit(X, X[:, 0]).coefs_
    for a, b in zip(regr.fit(file[0], file[0][:, 0]).coefs_, expected, strict=True):
        assert_array_equal(a, b)


def test_a_file_is_not_written_to(file, tmp_path):
    before = (tmp_path / "X.npy").read_bytes()
    X = np.load(tmp_path / "X.npy", mmap_mode="r+")  # which could be
    clf = SAMMLPClassifier((6,), rho=0.1, max_iter=2, random_state=0)
    clf.fit(X, file[1]).partial_fit(X, file[1])
    X.flush()
    assert (tmp_path / "X.npy").read_bytes() == before


def test_rows_in_a_file_become_a_tensor_without_a_copy(file):
    X, _ = file
    assert to_tensor(X).data_ptr() == X.ctypes.data


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_training_allocates_little_beside_the_file(tmp_path, method):
    n_samples, n_features = 20_000, 100  # 8 MB in single precision
    path = tmp_path / "X.npy"
    X = np.lib.format.open_memmap(
        path, mode="w+", dtype="float32", shape=(n_samples, n_features)
    )
    X[:] = np.random.RandomState(0).randn(n_samples, n_features)
    X.flush()
    X, y = np.load(path, mmap_mode="r"), np.arange(n_samples) % 2
    # solver='sgd' has the same data and no second pass
    clf = SAMMLPClassifier(
        (2,), solver="sgd", max_iter=1, batch_size=1000, random_state=0
    )
    getattr(clf, method)(X[:2000], y[:2000], **_classes(method))  # imports
    tracemalloc.start()
    try:
        getattr(clf, method)(X, y, **_classes(method))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # labels, their order and their encoding; torch gathers 2 MB at a time, untraced
    assert peak < X.nbytes / 4


@pytest.mark.parametrize("params", [{}, {"n_members": 2}])
def test_rows_are_let_go_of_when_a_call_ends(rows, params):
    clf = SAMMLPClassifier((6,), rho=0.1, max_iter=2, random_state=0, **params)
    gc.collect()
    gc.disable()
    try:
        clf.partial_fit(*rows, classes=[0, 1, 2])
        n_left = sum(type(o) in (MLPNet, Networks, Loop) for o in gc.get_objects())
    finally:
        gc.enable()
    assert n_left == 0


def _classes(method):
    return {"classes": [0, 1]} if method == "partial_fit" else {}
