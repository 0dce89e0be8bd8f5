"""Where a solver reduces to scikit-learn's, it walks scikit-learn's trajectory.

The solvers 'adam' and 'sgd', SAM and ASAM with ``rho=0`` and WSAM with ``gamma=0`` begin
at the same weights, keep the same rows for validation, see the others in the same order
and take the same steps as scikit-learn's estimators. Whatever training leaves is then the
same to rounding error.
"""

import copy
import functools
import inspect
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import is_classifier
from sklearn.datasets import (
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils import get_tags
from sklearn.utils.fixes import parse_version

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import ASAM, WSAM

OURS = {MLPClassifier: SAMMLPClassifier, MLPRegressor: SAMMLPRegressor}

REDUCTIONS = {
    "itself": lambda solver: {"solver": solver},
    "sam-without-rho": lambda solver: {
        "solver": "sam",
        "base_solver": solver,
        "rho": 0,
    },
    "micro-batches-of-asam-without-rho": lambda solver: {
        "solver": ASAM(micro_batch_size=16),
        "base_solver": solver,
        "rho": 0,
    },
    # coupled over 'adam', decoupled over 'sgd'
    "wsam-without-gamma": lambda solver: {
        "solver": WSAM(gamma=0),
        "base_solver": solver,
        "rho": 0.1,
    },
}

X2, y2 = make_classification(130, 6, random_state=1)
X3, y3 = make_classification(130, 7, n_informative=5, n_classes=3, random_state=0)
XL, YL = make_multilabel_classification(120, 6, n_classes=4, random_state=0)
XR, YR = make_regression(120, 5, n_targets=3, noise=5.0, random_state=0)
YR = YR / 100
y_counts = np.random.RandomState(0).poisson(np.exp(0.3 * XR[:, 0])).astype(float)
weights = np.random.RandomState(1).uniform(0.2, 3, size=130)
some_zero = np.where(np.arange(130) % 3 == 0, 0.0, weights)
strings = np.array(["low", "middle", "high"], dtype=object)[y3]
csr = sp.csr_array(np.where(X3 > 0, X3, 0))
csr_twice = sp.csr_array(
    # every entry as two halves, the columns of a row in descending order
    (
        np.repeat(csr.data[::-1] / 2, 2),
        np.repeat(csr.indices[::-1], 2),
        2 * np.concatenate([[0], np.cumsum(np.diff(csr.indptr)[::-1])]),
    ),
    shape=csr.shape,
)


@dataclass(frozen=True)
class Case:
    """What an estimator of scikit-learn is trained on, and how."""

    Estimator: type
    X: Any
    y: Any
    solver: str
    calls: tuple[str, ...]
    sample_weight: Any
    params: dict[str, Any]

    @property
    def rtol(self):
        return 1e-9 if self.X.dtype == np.float64 else 1e-3

    @property
    def classes(self):
        return np.arange(self.y.shape[1]) if self.y.ndim == 2 else np.unique(self.y)

    def theirs(self, **params):
        defaults = {"max_iter": 20, "random_state": 0, "hidden_layer_sizes": (20,)}
        return self.Estimator(
            solver=self.solver, **{**defaults, **self.params, **params}
        )

    def ours(self, reduction, **params):
        shared = self.theirs(**params).get_params()
        reduced = REDUCTIONS[reduction](self.solver)
        return OURS[self.Estimator](**{**shared, **reduced})

    def train(self, estimator):
        """Return copies of the estimator after every call."""
        after = []
        for i, call in enumerate(self.calls):
            X, y, sample_weight = self.X, self.y, self.sample_weight
            arguments = {}
            if call == "partial_fit":
                rows = slice(i % 2, None, 2)  # every other row, in turn
                X, y = X[rows], y[rows]
                if sample_weight is not None:
                    sample_weight = sample_weight[rows]
                if is_classifier(estimator):
                    arguments["classes"] = self.classes
            if call == "warm_fit":
                estimator.set_params(warm_start=True)
            method = getattr(estimator, call.removeprefix("warm_"))
            method(X, y, sample_weight=sample_weight, **arguments)
            after.append(copy.deepcopy(estimator))
        return after


def case(Estimator, X, y, solver="adam", *, calls="fit", sample_weight=None, **params):
    return Case(Estimator, X, y, solver, tuple(calls.split()), sample_weight, params)


classify = functools.partial(case, MLPClassifier)
regress = functools.partial(case, MLPRegressor)

CASES = {
    # classification
    "binary-adam": classify(X2, y2),
    "binary-sgd": classify(X2, y2, "sgd", learning_rate_init=0.05),
    "multiclass-adam": classify(X3, y3),
    "multiclass-sgd": classify(X3, y3, "sgd", learning_rate_init=0.05),
    "multilabel-adam": classify(XL, YL),
    "multilabel-sgd": classify(XL, YL, "sgd"),
    "labels-strings": classify(X3, strings),
    "labels-bool": classify(X2, y2 == 1),
    "labels-negative": classify(X2, 2 * y2 - 1),
    "labels-one": classify(X2, np.ones(130)),
    "labels-sparse": classify(XL, sp.csr_array(YL)),
    # regression
    "one-target": regress(XR, YR[:, 0]),
    "three-targets-adam": regress(XR, YR),
    "three-targets-sgd": regress(XR, YR, "sgd", alpha=0.5),
    "poisson": regress(XR, y_counts, loss="poisson"),
    "poisson-three": regress(XR, np.abs(YR), "sgd", loss="poisson"),
    # network
    "identity": classify(X3, y3, activation="identity"),
    "logistic": classify(X3, y3, activation="logistic"),
    "tanh-deep": classify(X3, y3, activation="tanh", hidden_layer_sizes=(9, 5, 4)),
    "tanh-sgd": regress(XR, YR, "sgd", activation="tanh", hidden_layer_sizes=8),
    "no-hidden-layer": classify(X3, y3, hidden_layer_sizes=()),
    "no-hidden-layer-sgd": regress(XR, YR, "sgd", hidden_layer_sizes=[]),
    # objective
    "alpha-large": classify(X3, y3, alpha=3.0, batch_size=50),
    "alpha-large-sgd": classify(X3, y3, "sgd", alpha=3.0, batch_size=50),
    "alpha-zero": classify(X3, y3, alpha=0.0),
    "weights": classify(X3, y3, sample_weight=weights, batch_size=40),
    "weights-sgd": regress(XR, YR, "sgd", sample_weight=weights[:120], batch_size=50),
    "weights-some-zero": classify(X2, y2, sample_weight=some_zero, batch_size=40),
    "weights-negative": classify(X2, y2, sample_weight=weights - 0.4),
    "weights-number": regress(XR, YR, sample_weight=2.5),
    "weights-poisson": regress(
        XR, y_counts, sample_weight=some_zero[:120], loss="poisson"
    ),
    # solver
    "adam-betas": classify(X3, y3, beta_1=0.7, beta_2=0.9, epsilon=1e-2),
    "adam-schedule-ignored": classify(
        X3, y3, learning_rate="invscaling", learning_rate_init=0.01
    ),
    "sgd-no-momentum": classify(X2, y2, "sgd", momentum=0.0, learning_rate_init=0.1),
    "sgd-heavy-ball": classify(X2, y2, "sgd", nesterovs_momentum=False, momentum=0.8),
    "sgd-invscaling": classify(
        X3, y3, "sgd", learning_rate="invscaling", learning_rate_init=0.5, power_t=0.3
    ),
    "sgd-adaptive": classify(
        X3,
        y3,
        "sgd",
        learning_rate="adaptive",
        learning_rate_init=0.5,
        tol=0.02,
        n_iter_no_change=1,
        max_iter=60,
    ),
    "sgd-adaptive-early-stopping": regress(
        XR,
        YR[:, 0],
        "sgd",
        learning_rate="adaptive",
        early_stopping=True,
        n_iter_no_change=1,
        tol=0.05,
        max_iter=60,
    ),
    "lbfgs": classify(X3, y3, "lbfgs"),
    "lbfgs-weights": regress(XR, YR, "lbfgs", sample_weight=weights[:120]),
    "lbfgs-warm": classify(X2, y2, "lbfgs", calls="fit warm_fit", max_iter=5),
    # minibatches
    "no-shuffle": classify(X3, y3, shuffle=False, batch_size=37),
    "batches-of-1": classify(X2, y2, batch_size=1, max_iter=2),
    "batches-one-row-left": regress(XR, YR, "sgd", batch_size=119),
    "batches-whole": classify(X3, y3, batch_size=130),
    # stopping
    "tol-stops": classify(X2, y2, tol=1e-2, n_iter_no_change=3, max_iter=400),
    "tol-stops-sgd": regress(XR, YR, "sgd", tol=1e-2, n_iter_no_change=1, max_iter=400),
    "tol-zero": classify(X2, y2, tol=0.0, n_iter_no_change=1),
    "patience-infinite": classify(X2, y2, tol=10.0, n_iter_no_change=np.inf),
    "early-stopping": classify(
        X3, y3, early_stopping=True, n_iter_no_change=3, learning_rate_init=0.02
    ),
    "early-stopping-sgd": regress(
        XR, YR[:, 0], "sgd", early_stopping=True, n_iter_no_change=3
    ),
    "early-stopping-to-the-end": regress(
        XR, YR, early_stopping=True, validation_fraction=0.3
    ),
    "early-stopping-strings": classify(X3, strings, early_stopping=True),
    "early-stopping-multilabel": classify(
        XL, YL, early_stopping=True, n_iter_no_change=3, learning_rate_init=0.01
    ),
    "early-stopping-poisson": regress(
        XR, y_counts, loss="poisson", early_stopping=True, n_iter_no_change=3
    ),
    "early-stopping-weights": classify(
        X3, y3, sample_weight=weights, early_stopping=True, n_iter_no_change=3
    ),
    "early-stopping-csr": classify(csr, y3, early_stopping=True, max_iter=8),
    # kinds of X
    "csr": classify(csr, y3),
    "csr-unsorted-duplicates": classify(csr_twice, y3[::-1]),
    "csr-matrix-weights": regress(
        sp.csr_matrix(XR), YR, "sgd", sample_weight=weights[:120], batch_size=50
    ),
    "csc": classify(csr.tocsc(), y3, batch_size=40),
    "coo": regress(sp.coo_array(XR), YR),
    "float32": classify(X2.astype(np.float32), y2),
    "float32-csr": classify(csr.astype(np.float32), y3, "sgd"),
    "float32-and-64": regress(XR.astype(np.float32), YR, "sgd"),
    "float32-early-stopping": regress(
        XR.astype(np.float32), YR.astype(np.float32), early_stopping=True
    ),
    # several calls
    "partial-fit": classify(X3, y3, calls="partial_fit " * 4, batch_size=20),
    "partial-fit-sgd": regress(XR, YR, "sgd", calls="partial_fit " * 4),
    "partial-fit-invscaling": regress(
        XR, YR, "sgd", calls="partial_fit " * 4, learning_rate="invscaling"
    ),
    "partial-fit-multilabel": classify(XL, YL, calls="partial_fit " * 3),
    "partial-fit-csr": classify(csr, y3, calls="partial_fit " * 3),
    "partial-fit-weights": classify(
        X2, y2, calls="partial_fit " * 3, sample_weight=weights
    ),
    "partial-fit-then-fit": classify(X2, y2, calls="partial_fit fit partial_fit"),
    "fit-then-partial-fit-sgd": regress(XR, YR, "sgd", calls="fit partial_fit fit"),
    "warm-fit": classify(X3, y3, calls="fit warm_fit warm_fit", max_iter=4),
    "warm-fit-sgd": regress(
        XR,
        YR,
        "sgd",
        calls="fit warm_fit partial_fit warm_fit",
        max_iter=4,
        learning_rate="invscaling",
        learning_rate_init=0.1,
    ),
    "warm-fit-converged": classify(
        X2, y2, calls="fit warm_fit", tol=1e-2, n_iter_no_change=2, max_iter=400
    ),
}

COUNTS = ["n_iter_", "t_", "n_layers_", "n_outputs_", "n_features_in_"]
LOSSES = ["loss_", "loss_curve_", "best_loss_"]
SCORES = ["validation_scores_", "best_validation_score_"]
OUTPUTS = ["predict", "predict_proba", "predict_log_proba"]


def assert_same(actual, expected, X, rtol):
    """Assert that two estimators have the same fitted attributes and predictions."""
    for name in [*COUNTS, "out_activation_", "_no_improvement_count"]:
        assert getattr(actual, name, None) == getattr(expected, name, None), name
    if is_classifier(expected):
        assert_array_equal(actual.classes_, expected.classes_, strict=True)
    for name in ["coefs_", "intercepts_"]:
        for a, e in zip(getattr(actual, name), getattr(expected, name), strict=True):
            assert a.dtype == e.dtype
            assert a.flags.c_contiguous
            assert_allclose(a, e, rtol=rtol, atol=rtol, err_msg=name)
    for name in [*LOSSES, *SCORES]:
        assert hasattr(actual, name) == hasattr(expected, name), name
        a, e = getattr(actual, name, None), getattr(expected, name, None)
        assert (a is None) == (e is None), name
        if e is not None:
            assert_allclose(a, e, rtol=rtol, err_msg=name)
    for name in [name for name in OUTPUTS if hasattr(expected, name)]:
        with np.errstate(divide="ignore"):
            a, e = getattr(actual, name)(X), getattr(expected, name)(X)
        assert type(a) is type(e)
        assert (a.shape, a.dtype) == (e.shape, e.dtype), name
        if sp.issparse(e):
            a, e = a.toarray(), e.toarray()
        if np.issubdtype(e.dtype, np.floating):
            assert_allclose(a, e, rtol=10 * rtol, atol=10 * rtol, err_msg=name)
        else:
            assert_array_equal(a, e)


@functools.cache
def reference(name):
    """Return scikit-learn's estimator after every call of a case."""
    return CASES[name].train(CASES[name].theirs())


# what older versions of scikit-learn fail at
NEW_IN_1_9 = {
    "early-stopping-strings": "scores labels that are objects",
    "weights-zero": "refuses weights that are all zero",
}


def param(name, *values):
    """Return a test's parameters, skipped where scikit-learn is too old for the case."""
    reason = NEW_IN_1_9.get(name, "")
    is_missing = bool(reason) and parse_version(sklearn.__version__).release < (1, 9)
    skip = pytest.mark.skipif(is_missing, reason=f"scikit-learn 1.9 {reason}")
    return pytest.param(name, *values, id="-".join([name, *values]), marks=skip)


ROUTES = [
    param(name, reduction)
    for name, case in CASES.items()
    for reduction in REDUCTIONS
    if reduction == "itself" or case.solver != "lbfgs"
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "reduction"), ROUTES)
def test_training_walks_the_trajectory_of_scikit_learn(name, reduction):
    case = CASES[name]
    trained = case.train(case.ours(reduction))
    for actual, expected in zip(trained, reference(name), strict=True):
        assert_same(actual, expected, case.X, case.rtol)


DRAWS = {
    "weights-and-order": classify(X2, y2),
    "validation-rows": classify(X2, y2, early_stopping=True),
    "validation-rows-of-targets": regress(XR, YR, early_stopping=True),
    "no-order": classify(X2, y2, shuffle=False),
    "several-calls": regress(XR, YR, calls="fit partial_fit warm_fit partial_fit"),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_are_drawn_as_scikit_learn_draws_them(name, reduction):
    case = DRAWS[name]
    ours, theirs = np.random.RandomState(3), np.random.RandomState(3)
    actual = case.train(case.ours(reduction, random_state=ours))[-1]
    expected = case.train(case.theirs(random_state=theirs))[-1]
    assert_same(actual, expected, case.X, case.rtol)
    assert ours.randint(2**31) == theirs.randint(2**31)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_a_seed_numpys_global_generator_is_used_as_in_scikit_learn():
    case = classify(X2, y2, random_state=None)
    before = np.random.get_state()  # noqa: NPY002
    try:
        trained = []
        for estimator in (case.ours("itself"), case.theirs()):
            np.random.seed(5)  # noqa: NPY002
            trained += case.train(estimator)
    finally:
        np.random.set_state(before)  # noqa: NPY002
    assert_same(*trained, case.X, case.rtol)


WARNINGS = {
    "max-iter": classify(X2, y2),
    "max-iter-partial-fit": classify(X2, y2, calls="partial_fit partial_fit"),
    "max-iter-at-the-stop": classify(X2, y2, tol=10.0, n_iter_no_change=18),
    "batch-size": classify(X2, y2, batch_size=131),
    "batch-size-of-training-rows": classify(
        X2, y2, batch_size=130, early_stopping=True
    ),
    "column-of-labels": classify(X2, y2[:, np.newaxis]),
    "column-of-targets": regress(XR, YR[:, :1]),
    "lbfgs": classify(X3, y3, "lbfgs", max_iter=2),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings_are_those_of_scikit_learn(name):
    case = WARNINGS[name]

    def warnings_of(estimator):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            case.train(estimator)
        return [(w.category, str(w.message)) for w in caught]

    assert warnings_of(case.ours("itself")) == warnings_of(case.theirs())


SAYINGS = {
    "max-iter": classify(X2, y2),
    "tol": CASES["tol-stops"],
    "early-stopping": CASES["early-stopping"],
    "adaptive": CASES["sgd-adaptive"],
    "adaptive-too-small": regress(
        XR, YR, "sgd", learning_rate="adaptive", tol=10.0, n_iter_no_change=1
    ),
    "partial-fit": classify(X2, y2, calls="partial_fit " * 2),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", SAYINGS)
def test_verbose_training_says_what_scikit_learn_says(name, reduction, capsys):
    case = SAYINGS[name]
    case.train(case.theirs(verbose=True))
    expected = capsys.readouterr().out
    case.train(case.ours(reduction, verbose=True))
    assert expected
    assert capsys.readouterr().out == expected


MISTAKES = {
    "parameter": classify(X2, y2, alpha=-1.0),
    "parameter-type": classify(X2, y2, max_iter=2.5),
    "parameter-choice": regress(XR, YR, activation="swish"),
    "no-units": classify(X2, y2, hidden_layer_sizes=(5, 0)),
    "rows": classify(X2, y2[1:]),
    "nan": classify(np.where(X2 > 1, np.nan, X2), y2),
    "complex": classify(X2 + 1j, y2),
    "one-axis": classify(X2[:, 0], y2),
    "continuous-labels": classify(XR, YR[:, 0]),
    "multiclass-multioutput": classify(X3, np.c_[y3, y3 + 1]),
    "string-targets": regress(X3, strings),
    "weights-length": classify(X2, y2, sample_weight=weights[1:]),
    "weights-zero": regress(XR, YR, sample_weight=np.zeros(120)),
    "weights-nan": regress(XR, YR, sample_weight=np.full(120, np.nan)),
    "no-validation-rows": classify(
        X2, y2, early_stopping=True, validation_fraction=0.001
    ),
    "one-row-of-a-class": classify(
        X2[:20], np.r_[np.zeros(19), 1], early_stopping=True
    ),
    "diverges": regress(1e3 * XR, 1e6 * YR, "sgd", learning_rate_init=10.0),
    "early-stopping-partial-fit": regress(
        XR, YR, calls="partial_fit", early_stopping=True
    ),
    "lbfgs-partial-fit": classify(X2, y2, "lbfgs", calls="partial_fit"),
}


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::RuntimeWarning"
)
@pytest.mark.parametrize("name", [*map(param, MISTAKES)])
def test_mistakes_are_refused_in_the_words_of_scikit_learn(name):
    case = MISTAKES[name]

    def refusal(estimator):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - any, but the same
            case.train(estimator)
        message = str(caught.value).replace("SAMMLP", "MLP")
        # the words of a choice, which scikit-learn lists in the order of a set
        words = r"{.*}", lambda m: str(sorted(re.findall(r"\w+", m[0])))
        return type(caught.value), re.sub(*words, message)

    assert refusal(case.ours("itself")) == refusal(case.theirs())


SECOND_CALLS = {
    "other-features": (classify(X3, y3), "partial_fit", X3[:, 1:], y3),
    "unseen-class": (classify(X3, y3), "partial_fit", X3, y3 + 1),
    "warm-other-classes": (classify(X3, y3, warm_start=True), "fit", X3, y3 > 1),
    "warm-other-features": (regress(XR, YR, warm_start=True), "fit", XR[:, 1:], YR),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", SECOND_CALLS)
def test_continuing_on_other_data_is_refused_in_the_words_of_scikit_learn(name):
    case, method, X, y = SECOND_CALLS[name]

    def refusal(estimator):
        estimator.fit(case.X, case.y)
        with pytest.raises(ValueError, match=r".") as caught:
            getattr(estimator, method)(X, y)
        return str(caught.value).replace("SAMMLP", "MLP")

    assert refusal(case.ours("itself")) == refusal(case.theirs())


@pytest.mark.parametrize("Reference", OURS)
def test_shared_parameters_keep_name_position_kind_and_default(Reference):
    theirs = list(inspect.signature(Reference).parameters.values())
    ours = [
        p.replace(annotation=p.empty)  # scikit-learn's have no types
        for p in inspect.signature(OURS[Reference]).parameters.values()
    ]
    own_default = [
        p.replace(default="sam") if p.name == "solver" else p for p in theirs
    ]
    assert ours[: len(theirs)] == own_default
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


def test_both_estimators_have_the_same_parameters_and_defaults():
    of_classifier, of_regressor = (Ours().get_params() for Ours in OURS.values())
    assert of_classifier.pop("class_weight") is None
    assert of_regressor.pop("loss") == "squared_error"
    assert of_classifier == of_regressor


def test_both_estimators_document_shared_parameters_and_attributes_alike():
    entries = [
        dict(re.findall(r"^    (\w+) :((?:.|\n)*?)\n\n", Ours.__doc__, re.M))
        for Ours in OURS.values()
    ]
    names = entries[0].keys() & entries[1].keys()
    differing = {name for name in names if entries[0][name] != entries[1][name]}
    assert len(names) > 50
    # stratified folds, accuracy or R², quantiles
    of_outputs = {"n_outputs_", "out_activation_"}
    assert differing == {"cv", "scoring", "validation_scores_", *of_outputs}


def test_positional_arguments_mean_what_they_mean_in_scikit_learn():
    for Reference, positional in [
        (MLPClassifier, [(3, 2), "tanh"]),
        (MLPRegressor, ["poisson", (3, 2), "tanh"]),
    ]:
        theirs, ours = Reference(*positional), OURS[Reference](*positional)
        shared = theirs.get_params().keys() - {"solver"}
        for name in shared:
            assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize("Reference", OURS)
def test_methods_keep_the_signatures_of_scikit_learn(Reference):
    names = [name for name in dir(Reference) if not name.startswith("_")]
    methods = [name for name in names if callable(getattr(Reference, name))]
    assert "partial_fit" in methods
    of_validation = {"X_val", "y_val", "sample_weight_val"}

    def parameters(Estimator, name):
        signature = inspect.signature(getattr(Estimator, name))
        return [(p.name, p.kind, p.default) for p in signature.parameters.values()]

    for name in methods:
        ours = parameters(OURS[Reference], name)
        added = [parameter for parameter in ours if parameter[0] in of_validation]
        shared = [parameter for parameter in ours if parameter not in added]
        assert shared == parameters(Reference, name), name
        takes_them = name in ("fit", "set_fit_request")
        assert {parameter[0] for parameter in added} == (
            of_validation if takes_them else set()
        ), name
        assert all(kind is inspect.Parameter.KEYWORD_ONLY for _, kind, _ in added)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("Reference", OURS)
def test_every_fitted_attribute_of_scikit_learn_is_there(
    Reference, early_stopping, solver
):
    case = Case(Reference, X2, y2, solver, ("fit",), None, {"max_iter": 2})
    (theirs,) = case.train(case.theirs(early_stopping=early_stopping))
    (ours,) = case.train(case.ours("itself", early_stopping=early_stopping))
    public = {name for name in vars(theirs) if not name.startswith("_")}
    assert public <= vars(ours).keys()


@pytest.mark.parametrize("Reference", OURS)
def test_tags_are_those_of_scikit_learn(Reference):
    assert get_tags(OURS[Reference]()) == get_tags(Reference())


def test_partial_fit_is_there_for_stochastic_solvers_only():
    for Ours in OURS.values():
        assert not hasattr(Ours(solver="lbfgs"), "partial_fit")
        assert hasattr(Ours(), "partial_fit")
