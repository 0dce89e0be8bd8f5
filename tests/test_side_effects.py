"""A fit leaves the process and the data as it found them, and does not depend on them."""

import contextlib
import functools
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_classification
from skorch.callbacks import Callback
from threadpoolctl import threadpool_info

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import SWA

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = make_classification(60, 6, n_informative=4, n_classes=3, random_state=0)
weights = np.random.RandomState(1).uniform(0.5, 2, size=60)
SMALL = {"max_iter": 4, "hidden_layer_sizes": (7,), "batch_size": 16, "random_state": 0}
VARIANTS = {
    "sam": SAMMLPClassifier(**SMALL),
    "wsam-over-sgd": SAMMLPRegressor(**SMALL, solver="wsam", base_solver="sgd"),
    "ranger": SAMMLPRegressor(**SMALL, solver="ranger"),
    "sgd": SAMMLPClassifier(**SMALL, solver="sgd"),
    "swa": SAMMLPClassifier(swa=SWA(start=2), **SMALL),
    "early-stopping": SAMMLPRegressor(**SMALL, early_stopping=True),
}
each_variant = pytest.mark.parametrize("variant", VARIANTS)
# the solvers see the data through the same batches
each_way_of_the_data = pytest.mark.parametrize(
    "variant", ["sam", "wsam-over-sgd", "early-stopping"]
)


def trained(variant, X=X, y=y, **data):
    """Return a network after both ways to train it."""
    estimator = clone(VARIANTS[variant]).fit(X, y, **data)
    if not estimator.early_stopping:
        estimator.partial_fit(X, y, **data)
    return estimator


def numbers(estimator):
    """Return all that training came to, as one vector."""
    arrays = [*estimator.coefs_, *estimator.intercepts_, estimator.loss_curve_]
    return np.concatenate([np.ravel(array) for array in arrays])


class Raise(Callback):
    """Ends training with an exception."""

    def __init__(self, exception):
        self.exception = exception

    def on_epoch_end(self, net, **kwargs):
        raise self.exception


def surroundings():
    """Return the state of the process that a fit could disturb."""
    with ThreadPoolExecutor(1) as new_thread:
        n_threads_elsewhere = new_thread.submit(torch.get_num_threads).result()
    name, keys, *position = np.random.get_state()  # noqa: NPY002
    return {
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": [name, keys.tolist(), *position],
        "python generator": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "threads between operations": torch.get_num_interop_threads(),
        "threads elsewhere": n_threads_elsewhere,
        "thread pools": [(p["filepath"], p["num_threads"]) for p in threadpool_info()],
        "floating-point errors": np.geterr(),
    }


@pytest.fixture(scope="module")
def loaded():
    """Load the libraries that the first fits load."""
    for variant in VARIANTS:
        trained(variant)


@pytest.fixture
def used_process(loaded):
    """Let nothing be as a fit might set it: two threads, generators drawn from."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.rand(1), np.random.random(), random.random()  # noqa: NPY002
    yield
    torch.set_num_threads(before)


@each_variant
@pytest.mark.usefixtures("used_process")
def test_a_fit_leaves_the_process_as_it_was(variant):
    before = surroundings()
    trained(variant)
    assert surroundings() == before


@pytest.mark.parametrize("exception", [ZeroDivisionError, SystemExit])
@pytest.mark.usefixtures("used_process")
def test_a_fit_that_fails_leaves_the_process_as_it_was(exception):
    before = surroundings()
    estimator = SAMMLPClassifier(**SMALL, callbacks=[Raise(exception)])
    with pytest.raises(exception):
        estimator.fit(X, y)
    assert surroundings() == before


@pytest.mark.usefixtures("used_process")
def test_other_threads_keep_their_number_of_threads_during_a_fit():
    own, seen = [], []

    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            own.append(torch.get_num_threads())
            seen.append(old_thread.submit(torch.get_num_threads).result())
            with ThreadPoolExecutor(1) as new_thread:
                seen.append(new_thread.submit(torch.get_num_threads).result())

    with ThreadPoolExecutor(1) as old_thread:
        old_thread.submit(torch.get_num_threads).result()
        SAMMLPClassifier(**SMALL, device="cpu", callbacks=[Look()]).fit(X, y)
    assert own == [1] * SMALL["max_iter"]
    assert seen == [2] * 2 * SMALL["max_iter"]


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def torch_seed(seed):
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


SPARSE = sp.csr_array(np.where(X > 0, X, 0.0).astype(np.float32))


def trained_on_each_kind(variant):
    kinds = [X, X.astype(np.float32), SPARSE]
    return [numbers(trained(variant, kind)) for kind in kinds]


trained_undisturbed = functools.cache(trained_on_each_kind)

SETTINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float32": lambda: default_dtype(torch.float32),
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another-seed": lambda: torch_seed(7),
    "another-device": lambda: torch.device("meta"),
    "numpy-raises": lambda: np.errstate(all="raise"),
}


@each_variant
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_fit_does_not_depend_on_the_users_settings(setting, variant):
    expected = trained_undisturbed(variant)
    with SETTINGS[setting]():
        actual = trained_on_each_kind(variant)
    for a, e in zip(actual, expected, strict=True):
        assert_array_equal(a, e, strict=True)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def negative_strides(array):
    return array[::-1].copy()[::-1]


def every_other(array):
    return np.repeat(array, 2, axis=0)[::2]


def big_endian(array):
    return array.astype(array.dtype.newbyteorder(">"))


def long_double(array):
    return array.astype(np.longdouble)


LAYOUTS = [
    read_only,
    negative_strides,
    every_other,
    np.asfortranarray,
    big_endian,
    long_double,
    np.ndarray.tolist,
]


@each_way_of_the_data
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fit_does_not_depend_on_the_layout_of_the_data(layout, variant):
    estimator = trained(variant, layout(X), layout(y), sample_weight=layout(weights))
    expected = trained(variant, sample_weight=weights)
    # not bitwise: a matrix product may add up in another order
    same = functools.partial(assert_allclose, rtol=1e-12, atol=1e-12)
    same(numbers(estimator), numbers(expected))
    same(estimator.predict(layout(X)), estimator.predict(X))


def parts(data):
    """Return copies of the arrays that an array or a sparse matrix is made of."""
    names = ["data", "indices", "indptr"] if sp.issparse(data) else []
    return [np.array(getattr(data, name)) for name in names] or [np.array(data)]


def unsorted(matrix):
    """Return a CSR matrix whose rows hold their columns in descending order."""
    matrix = matrix.copy()
    for row in map(slice, matrix.indptr, matrix.indptr[1:]):
        matrix.indices[row] = matrix.indices[row][::-1].copy()
        matrix.data[row] = matrix.data[row][::-1].copy()
    matrix.has_sorted_indices = False
    return matrix


KINDS = {
    "float64": X,
    "float32": X.astype(np.float32),
    "fortran": np.asfortranarray(X),
    "csr": SPARSE,
    "csr-unsorted": unsorted(SPARSE),
    "csc": SPARSE.tocsc(),
}


@each_way_of_the_data
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_data_are_never_written_to(kind, shuffle, variant):
    data = [KINDS[kind], y.astype(np.float64), weights]
    before = [parts(array) for array in data]
    estimator = clone(VARIANTS[variant]).set_params(shuffle=shuffle)
    estimator.fit(data[0], data[1], sample_weight=data[2])
    estimator.predict(data[0])
    estimator.score(*data)
    for array, expected in zip(data, before, strict=True):
        for a, e in zip(parts(array), expected, strict=True):
            assert_array_equal(a, e, strict=True)


@each_variant
def test_two_fits_at_the_same_time_are_as_one_after_the_other(variant):
    others = [name for name in VARIANTS if name != variant]
    names = [variant, *others[:1]]
    expected = [numbers(trained(name)) for name in names]
    together = threading.Barrier(len(names))

    def train(name):
        together.wait()
        return [numbers(trained(name)) for _ in range(5)]

    with ThreadPoolExecutor(len(names)) as pool:
        repeated = list(pool.map(train, names))
    for actual, e in zip(repeated, expected, strict=True):
        for a in actual:
            assert_array_equal(a, e)
