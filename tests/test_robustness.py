"""What users pass besides plain Python numbers, dense arrays and their own settings."""

import threading
import time
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_array_equal
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import EpochScoring

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import SAM, SWA, WSAM, FisherSAM, FriendlySAM, Ranger, Step
from sksharp.options.solvers import SOLVERS
from sksharp.training import _validation
from sksharp.training._device import deserved_threads

pytestmark = pytest.mark.filterwarnings(
    # most fits here take two epochs
    "ignore::sklearn.exceptions.ConvergenceWarning"
)

X, y = make_classification(60, 6, random_state=0)
SMALL = {"hidden_layer_sizes": (5,), "max_iter": 2, "random_state": 0}
NUMBERS = {
    "batch_size": 16,
    "max_iter": 2,
    "rho": 0.25,
    "beta_1": 0.75,
    "beta_2": 0.875,
    "epsilon": 0.125,
    "momentum": 0.5,
    "alpha": 0.25,
    "learning_rate_init": 0.125,
    "n_iter_no_change": 4,
    "tol": 0.0,
}
OPTIONS = {
    "sam": (SAM, {"interval": 2, "start": 1, "micro_batch_size": 8}),
    "wsam": (WSAM, {"gamma": 0.5}),
    "ranger": (Ranger, {"k": 3, "alpha": 0.25}),
}
AVERAGE = {"start": 1, "freq": 1, "lr": 0.125, "anneal": 1}


def parameters(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def with_numbers(values, to_float, to_int):
    """Return parameters with other kinds of numbers."""
    return {
        name: to_int(value) if isinstance(value, int) else to_float(value)
        for name, value in values.items()
    }


@pytest.mark.parametrize("base_solver", ["adam", "sgd", "ranger"])
@pytest.mark.parametrize("solver", ["sam", "wsam", "ranger", "adam", "sgd"])
def test_numbers_of_numpy_are_as_good_as_pythons(solver, base_solver):
    fits = []
    for to_float, to_int in ((float, int), (np.float64, np.int64), (np.float32, int)):
        converted = partial(with_numbers, to_float=to_float, to_int=to_int)
        solvers = []
        for name in (solver, base_solver):
            cls, values = OPTIONS.get(name, (SOLVERS[name], {}))
            solvers.append(cls(**converted(values)))
        clf = SAMMLPClassifier(
            solver=solvers[0],
            base_solver=solvers[1],
            swa=SWA(**converted(AVERAGE)),
            **{**SMALL, **converted(NUMBERS)},
        )
        fits.append(parameters(clf.fit(X, y)))
    for others in fits[1:]:
        for array, other in zip(fits[0], others, strict=True):
            assert_array_equal(array, other)


@pytest.mark.parametrize(
    ("params", "value"),
    [
        (lambda number: {"solver": "sgd", "momentum": number}, True),
        (lambda number: {"solver": FriendlySAM(sigma=number)}, 1),
        (lambda number: {"solver": FisherSAM(eta=number)}, 10**20),
        (lambda number: {"swa": SWA(start=1, lr=number)}, 1),
        (lambda number: {"learning_rate": Step(size=1, gamma=number)}, 1),
    ],
)
def test_an_integer_is_the_real_number_that_it_equals(params, value):
    coefs, expected = (
        SAMMLPClassifier(**{**SMALL, "batch_size": 30, **params(number)})
        .fit(X, y)
        .coefs_
        for number in (value, float(value))
    )
    for coef, other in zip(coefs, expected, strict=True):
        assert_array_equal(coef, other)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "targets", [y, np.c_[y, 1 - y], y + (X[:, 0] > 1)], ids=["one", "labels", "classes"]
)
def test_a_fit_that_diverges_ends_in_scikit_learns_error(targets):
    clf = SAMMLPClassifier(**SMALL, learning_rate_init=1e300)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        clf.fit(X, targets)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_fit_that_diverges_after_its_best_epoch_says_so():
    settings = {"solver": "sgd", "activation": "identity", "learning_rate_init": 1e3}
    regr = SAMMLPRegressor(early_stopping=True, random_state=0, **settings)
    with pytest.warns(ConvergenceWarning, match="diverged") as record:
        regr.fit(X, y.astype(float))
    first = 1 + np.flatnonzero(~np.isfinite(regr.loss_curve_))[0]
    best = 1 + np.nanargmax(regr.validation_scores_)
    (message,) = [str(w.message) for w in record if "diverged" in str(w.message)]
    assert f"from epoch {first} on" in message
    assert f"those of the best epoch, {best}. Lower learning_rate_init" in message
    assert np.isfinite(regr.predict(X)).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_epochs_of_a_fit_that_diverges_are_those_of_this_fit():
    regr = SAMMLPRegressor(early_stopping=True, random_state=0, warm_start=True)
    regr.set_params(solver="adam", max_iter=4).fit(X, y.astype(float))
    coefs = [coef.copy() for coef in regr.coefs_]
    # weights are finite, and the loss overflows
    regr.set_params(learning_rate_init=1e200, beta_1=0.0)
    with pytest.warns(ConvergenceWarning, match="diverged") as record:
        regr.fit(X, y.astype(float))
    (message,) = [str(w.message) for w in record if "diverged" in str(w.message)]
    first = 1 + np.flatnonzero(~np.isfinite(regr.loss_curve_[-regr.n_iter_ :]))[0]
    assert f"from epoch {first} on" in message
    assert "The weights are those that it began with." in message
    for coef, before in zip(regr.coefs_, coefs, strict=True):
        assert_array_equal(coef, before)


def test_class_weights_that_are_not_finite_are_refused():
    clf = SAMMLPClassifier(**SMALL, class_weight={0: np.nan, 1: 1})
    with pytest.raises(ValueError, match="class_weight must hold finite numbers"):
        clf.fit(X, y)


def test_a_sparse_matrix_with_duplicates_stays_as_it_was():
    matrix = sp.csr_matrix(X)
    doubled = sp.csr_matrix(
        (
            np.repeat(matrix.data / 2, 2),
            np.repeat(matrix.indices, 2),
            matrix.indptr * 2,
        ),
        shape=X.shape,
    )
    callback = EpochScoring("accuracy", on_train=True, lower_is_better=False)
    clf = SAMMLPClassifier(**SMALL, callbacks=[callback]).fit(doubled, y)
    assert doubled.nnz == 2 * matrix.nnz
    plain = SAMMLPClassifier(**SMALL).fit(matrix, y)
    for array, other in zip(parameters(clf), parameters(plain), strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("to_input", [np.asarray, sp.csr_matrix])
def test_validation_in_parts_is_validation_at_once(monkeypatch, to_input):
    settings = {**SMALL, "early_stopping": True, "validation_fraction": 0.5}
    at_once = SAMMLPClassifier(**settings).fit(to_input(X), y)
    monkeypatch.setattr(_validation, "CHUNK_BYTES", 1)  # a row at a time
    in_parts = SAMMLPClassifier(**settings).fit(to_input(X), y)
    assert at_once.validation_scores_ == in_parts.validation_scores_
    for array, other in zip(parameters(at_once), parameters(in_parts), strict=True):
        assert_array_equal(array, other)


def test_the_loss_must_stay_the_same_under_warm_start():
    reg = SAMMLPRegressor(**SMALL, warm_start=True).fit(X, y.astype(float))
    with pytest.raises(ValueError, match="loss must stay the same"):
        reg.set_params(loss="poisson").fit(X, y.astype(float))


def test_another_base_solver_matters_only_to_an_ascent():
    fits = []
    for base_solver in ("adam", "sgd"):
        clf = SAMMLPClassifier(**SMALL, solver="adam").fit(X, y)
        clf.set_params(base_solver=base_solver).partial_fit(X, y)
        fits.append(parameters(clf))
    for array, other in zip(*fits, strict=True):
        assert_array_equal(array, other)


def cores_in_use():
    """Return the CPU time of the process over that of this thread, for a product."""
    matrix = torch.ones(700, 700)
    ratios = []
    with deserved_threads(torch.device("cpu"), 10, [10, 10]):
        for _ in range(4):  # threads of earlier tests may still spin at first
            process, thread = time.process_time(), time.thread_time()
            matrix @ matrix
            process, thread = time.process_time() - process, time.thread_time() - thread
            ratios.append(process / thread)
    return min(ratios)


@pytest.mark.parametrize("where", ["main", "other"])
def test_small_work_runs_on_one_thread_whatever_the_user_has_set(where):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = []
        if where == "main":
            found.append(cores_in_use())
        else:
            thread = threading.Thread(target=lambda: found.append(cores_in_use()))
            thread.start()
            thread.join()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert found[0] < 1.5  # 2 without the limit


@pytest.mark.parametrize("wrong", [{"base_solver": "lbfgs"}, {"rho": -1}, {"swa": 2}])
def test_parameters_are_validated_in_every_call_of_partial_fit(wrong):
    clf = SAMMLPClassifier(**SMALL).fit(X, y).set_params(**wrong)
    with pytest.raises(ValueError, match=f"The '{next(iter(wrong))}' parameter"):
        clf.partial_fit(X, y)
