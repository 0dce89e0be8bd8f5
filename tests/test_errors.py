import contextlib
import copy
import dataclasses
from functools import partial

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from skorch.callbacks import Callback
from torch import nn

from sksharp import SAMMLPClassifier, SAMMLPRegressor, options
from sksharp._numbers import (
    Number,
    check_data,
    check_divisor,
    check_range,
    is_real,
)
from sksharp.estimators._validation import check_sum
from sksharp.options import (
    ASAM,
    ESAM,
    GSAM,
    SWA,
    WSAM,
    AdamW,
    FisherSAM,
    FriendlySAM,
    Huber,
    LearningRateSchedule,
    Lookahead,
    LookSAM,
    Muon,
    Quantile,
    Ranger,
    ScheduleFree,
    Solver,
)
from sksharp.options.solvers import SOLVERS
from sksharp.training._gradient import Backprop

from .solvers import reads

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:solver='friendly_sam' perturbs along the noise"),
]

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
labels = (X[:, 0] + 0.5 * rng.normal(size=40) > 0).astype(int)
target = X @ [1.0, -2.0, 0.5]
counts = rng.poisson(2.0, size=40).astype(float)
X_single = X.astype(np.float32)
GAP = np.where(np.arange(40) < 10, 0.0, 1.0)  # no weight for ten rows


def make_classifier(**params):
    return SAMMLPClassifier(
        **{
            "hidden_layer_sizes": (4,),
            "max_iter": 3,
            "rho": 0.05,
            "random_state": 0,
            **params,
        }
    )


def make_regressor(**params):
    return SAMMLPRegressor(
        **{
            "hidden_layer_sizes": (4,),
            "max_iter": 3,
            "rho": 0.05,
            "random_state": 0,
            **params,
        }
    )


TARGETS = {make_classifier: labels, make_regressor: target}


# -- an estimator's state --------------------------------------------------------------


def state_of(estimator):
    """Return a copy of all that is not a parameter, and the parameters themselves."""
    own = {n: v for n, v in vars(estimator).items() if n not in estimator.get_params()}
    return copy.deepcopy(own), estimator.get_params()


def assert_same_state(estimator, state):
    own, params = state_of(estimator)
    assert_same(own, state[0])
    assert params.keys() == state[1].keys()
    assert all(params[name] is value for name, value in state[1].items())


def assert_same(value, expected):
    """Compare nested values bit for bit."""
    assert type(value) is type(expected)
    if isinstance(value, np.ndarray):
        assert value.dtype == expected.dtype
        assert_array_equal(value, expected)
    elif isinstance(value, dict):
        assert list(value) == list(expected)
        assert_same(list(value.values()), list(expected.values()))
    elif isinstance(value, list | tuple):
        assert len(value) == len(expected)
        for item, other in zip(value, expected, strict=True):
            assert_same(item, other)
    elif isinstance(value, np.random.RandomState):
        assert_same(value.get_state(), expected.get_state())
    elif dataclasses.is_dataclass(value) or type(value).__module__ != "builtins":
        if hasattr(value, "__dict__"):
            assert_same(vars(value), vars(expected))
        else:
            assert_array_equal(value, expected)
    else:
        assert value == expected


def test_the_judge_of_states_sees_a_single_bit():
    clf = make_classifier(swa=True).fit(X, labels)
    state = state_of(clf)
    assert_same_state(clf, state)
    for change in (
        lambda clf: clf.coefs_[0].__setitem__((0, 0), clf.coefs_[0][0, 0] + 1e-15),
        lambda clf: clf.loss_curve_.append(1.0),
        lambda clf: setattr(clf, "t_", clf.t_ + 1),
        lambda clf: clf._state.optimizer.state_dict["state"][0].update(step=0),
        lambda clf: clf._label_binarizer.classes_.__setitem__(0, 7),
        lambda clf: delattr(clf, "n_iter_"),
        lambda clf: clf.set_params(rho=0.3),
    ):
        changed = copy.deepcopy(clf)
        change(changed)
        with pytest.raises(AssertionError):
            assert_same_state(changed, state)


# -- bad input -------------------------------------------------------------------------


class Case:
    """Arguments that must fail, how, and whether the first partial_fit fails too."""

    def __init__(
        self,
        match,
        *,
        error=ValueError,
        make=make_classifier,
        X=X,
        y=None,
        weights=None,
        in_partial_fit=True,
        **params,
    ):
        self.match, self.error, self.make, self.params = match, error, make, params
        self.X, self.y = X, TARGETS[make] if y is None else y
        self.weights, self.in_partial_fit = weights, in_partial_fit


def not_a_parameter(name, owner=r"SAMMLP\w+"):
    return rf"The '{name}' parameter of {owner} must be"


# in the words of newer versions of scikit-learn, or of the engine
NO_WEIGHT = "at least one non-zero|sample_weight must not sum to zero"
HUGE = 10**400  # larger than any float
AFTER_ANOTHER = "|loss must stay the same"  # which a warm start says first
LBFGS = {"solver": "lbfgs", "in_partial_fit": False}
IN_FIT = {"in_partial_fit": False}


def beyond(name, dtype="float32"):
    """Return the beginning of the error of a number that a dtype does not hold."""
    largest = {"float32": "3.4e", "float": "1.8e"}[dtype]
    if dtype == "float":
        return rf"^{name} must be at most {largest}\+308, .* Lower {name}\.$"
    return (
        rf"^{name} must be representable in float32, the dtype of X: at most {largest}"
        rf"\+38, got {name}=1e\+39\. Lower {name}, or give X as float64\.$"
    )


def own(name, **more):
    """Return the name of a parameter in errors, and parameters by its value."""
    return name, lambda value: {name: value, **more}


def option(holder, cls, name, **more):
    """Return the name of an option in errors, and parameters by its value."""
    return f"{holder}__{name}", lambda value: {holder: cls(**{name: value}), **more}


# what goes into a step as it is, and what it takes to be read
LARGE = {
    "alpha": own("alpha"),
    "rho": own("rho"),
    "learning_rate_init": own("learning_rate_init", base_solver="sgd"),
    "epsilon": own("epsilon"),
    "eta of ASAM": option("solver", ASAM, "eta"),
    "alpha of GSAM": option("solver", GSAM, "alpha"),
    "eta of FisherSAM": option("solver", FisherSAM, "eta"),
    "sigma of FriendlySAM": option("solver", FriendlySAM, "sigma", batch_size=10),
    "alpha of LookSAM": option("solver", LookSAM, "alpha"),
    "weight_decay of AdamW": option("base_solver", AdamW, "weight_decay"),
    "weight_decay of ScheduleFree": option("base_solver", ScheduleFree, "weight_decay"),
    "weight_decay of Muon": option("solver", Muon, "weight_decay"),
    "delta of Huber": option("loss", Huber, "delta", make=make_regressor),
    "lr of SWA": option("swa", partial(SWA, start=1), "lr"),
}


def is_number(constraints):
    return any(isinstance(constraint, Number) for constraint in constraints)


def is_unbounded(constraints):
    return is_real(constraints) and any(
        getattr(constraint, "right", 0) is None for constraint in constraints
    )


# the estimators' own, which scikit-learn has no word in
NUMBERS = sorted(
    name
    for name, constraints in SAMMLPClassifier._parameter_constraints.items()
    if is_number(constraints)
)

# what the objects in the place of names hold
OPTIONS = {
    (cls, name): constraints
    for cls in map(vars(options).get, options.__all__)
    for name, constraints in cls._parameter_constraints.items()
}


def holder_of(cls):
    """Return the parameter that objects of a class belong into."""
    if issubclass(cls, Solver):
        return "solver"
    return cls.holder


def in_estimator(cls, **values):
    """Return an estimator's parameters with an object of a class, and what makes it."""
    holder = holder_of(cls)
    more = {"make": make_regressor} if holder == "loss" else {}
    return {holder: cls(**values), **more}


CASES = {
    # parameters, one by one
    **{
        f"gamma of {gamma!r}": Case(
            not_a_parameter("gamma", "WSAM"), solver=WSAM(gamma=gamma)
        )
        for gamma in (1, 1.0, -0.1, "large", None)
    },
    "negative rho": Case(not_a_parameter("rho"), rho=-0.05),
    "rho is NaN": Case(not_a_parameter("rho"), rho=np.nan),
    "infinite rho": Case(not_a_parameter("rho"), rho=np.inf),
    "rho is None": Case(not_a_parameter("rho"), rho=None),
    "rho is a word": Case(not_a_parameter("rho"), rho="large"),
    "unknown solver": Case(not_a_parameter("solver"), solver="newton", **IN_FIT),
    "solver is None": Case(not_a_parameter("solver"), solver=None, **IN_FIT),
    "unknown base solver": Case(not_a_parameter("base_solver"), base_solver="x"),
    "lbfgs as a base": Case(not_a_parameter("base_solver"), base_solver="lbfgs"),
    "an ascent as a base": Case(not_a_parameter("base_solver"), base_solver="sam"),
    "a solver in capitals": Case(not_a_parameter("solver"), solver="SAM", **IN_FIT),
    "lookahead of no step": Case(not_a_parameter("k", "Ranger"), solver=Ranger(k=0)),
    "half a step": Case(not_a_parameter("k", "Lookahead"), solver=Lookahead(k=1.5)),
    "slow weights beyond the fast ones": Case(
        not_a_parameter("alpha", "Ranger"), base_solver=Ranger(alpha=1.5)
    ),
    "swa is a word": Case(not_a_parameter("swa"), swa="yes"),
    **{
        f"{name} of {value!r} of an average": Case(
            not_a_parameter(name, "SWA"), swa=SWA(**{name: value})
        )
        for name, value in (
            ("start", 1.0),
            ("start", -1),
            ("freq", 0),
            ("freq", 1.0),
            ("lr", 0),
        )
    },
    # losses
    **{
        f"delta of {delta!r}": Case(
            not_a_parameter("delta", "Huber"),
            make=make_regressor,
            loss=Huber(delta=delta),
        )
        for delta in (0, 0.0, -1, np.nan, np.inf, "1", None, [1.0])
    },
    **{
        f"a quantile of {level!r}": Case(
            not_a_parameter("quantile", "Quantile") + ".*It is an option of loss",
            make=make_regressor,
            loss=Quantile(quantile=level),
        )
        for level in (0, 1, 0.0, 1.0, -0.1, 1.5, np.nan, np.inf, "median", None)
    },
    **{
        f"quantiles of {levels!r}": Case(
            "^quantile must be a level above 0 and below 1, or a list",
            make=make_regressor,
            loss=Quantile(quantile=levels),
        )
        for levels in ([], [0, 0.5], [0.5, 1], [np.nan], ["a"], [[0.1, 0.9]], {0.1: 1})
    },
    **{
        f"quantiles of {levels!r}": Case(
            "^quantile must hold its levels in ascending order, each once.* Sort them",
            make=make_regressor,
            loss=Quantile(quantile=levels),
        )
        for levels in ([0.9, 0.1], [0.1, 0.5, 0.5], np.array([0.1, 0.9, 0.5]))
    },
    "an unknown loss": Case(not_a_parameter("loss"), make=make_regressor, loss="mae"),
    "a loss that is a class": Case(
        r"^loss must be an object, got the class Huber\. Write loss=Huber\(\)",
        make=make_regressor,
        loss=Huber,
    ),
    "a loss of torch": Case(
        "^loss must be a name, or an object of sksharp.options, got torch.nn",
        make=make_regressor,
        loss=nn.HuberLoss(),
    ),
    "a solver as a loss": Case(
        not_a_parameter("loss"), make=make_regressor, loss=ASAM()
    ),
    "a delta that is zero in single precision": Case(
        r"loss__delta must be at least 1\.2e-38.*got loss__delta=1e-45"
        f"{AFTER_ANOTHER}",
        make=make_regressor,
        X=X_single,
        loss=Huber(delta=1e-45),
    ),
    "quantiles of several targets": Case(
        r"^loss=Quantile\(quantile=\(0\.1, 0\.9\)\) predicts 2 quantiles of a single "
        "target, got 3 targets in y",
        make=make_regressor,
        y=X,
        loss=Quantile(quantile=[0.1, 0.9]),
    ),
    **{
        f"{name} with lbfgs": Case(
            "^loss needs a stochastic solver, got solver='lbfgs'",
            make=make_regressor,
            loss=name,
            **LBFGS,
        )
        for name in ("absolute_error", "huber", "quantile")
    },
    "class_weight is a list": Case("class_weight must be a dict", class_weight=[1]),
    "unknown class_weight": Case(not_a_parameter("class_weight"), class_weight="even"),
    "device is an int": Case(not_a_parameter("device"), device=0),
    "callbacks is a word": Case(not_a_parameter("callbacks"), callbacks="disable"),
    "callbacks is a callback": Case(not_a_parameter("callbacks"), callbacks=Callback()),
    "negative alpha": Case(not_a_parameter("alpha"), alpha=-1),
    # numbers that the dtype of X does not hold
    **{
        f"{label} beyond single precision": Case(
            beyond(name) + (AFTER_ANOTHER if name[:4] == "loss" else ""),
            X=X_single,
            **params(1e39),
        )
        for label, (name, params) in LARGE.items()
    },
    **{
        f"{label} beyond all floats": Case(beyond(label, "float"), **params(HUGE))
        for label, (_, params) in {**LARGE, "tol": own("tol")}.items()
    },
    "a radius beyond all floats in more digits": Case(
        r"rho must be at most 1\.8e\+308, .*Lower rho",
        rho=np.longdouble("1e400") if np.finfo(np.longdouble).max > 1e308 else HUGE,
    ),
    "an alpha beyond single precision with lbfgs": Case(
        beyond("alpha"), X=X_single, alpha=1e39, **LBFGS
    ),
    "an alpha beyond all floats with lbfgs": Case(
        beyond("alpha", "float"), alpha=HUGE, **LBFGS
    ),
    "a radius to try beyond single precision": Case(
        r"rho must be representable in float32.*got rho=1e\+39",
        X=X_single,
        rho=[0.1, 1e39],
        cv=2,
        **IN_FIT,
    ),
    "a radius to train with beyond single precision": Case(
        r"rho must be representable in float32.*got rho=1e\+39",
        X=X_single,
        rho=[1e39],
    ),
    "radii of members beyond single precision": Case(
        # a network cannot be continued as two
        r"rho must be representable in float32.*got rho=1e\+39|as many members",
        X=X_single,
        rho=[0.1, 1e39],
        n_members=2,
        **IN_FIT,
    ),
    "a radius to try beyond all floats": Case(
        "rho must hold at least one radius", rho=[0.1, HUGE]
    ),
    "radii that are no numbers": Case(
        "rho must hold at least one radius", rho=[False, True]
    ),
    **{
        f"radii of {radii!r}": Case("rho must hold at least one radius", rho=radii)
        for radii in ([], ["a"], [0.1, -0.1], [0.1, np.inf], [np.nan], [[0.1, 0.2]])
    },
    "radii over a gamma of next to nothing": Case(
        "gamma must be 0 or large enough to divide by.*got gamma=5e-324",
        rho="auto",
        solver=WSAM(gamma=5e-324),
    ),
    "an epsilon that is zero in single precision": Case(
        r"epsilon must be at least 1\.2e-38.*got epsilon=1e-45\. Raise epsilon, or give",
        X=X_single,
        epsilon=1e-45,
    ),
    "an epsilon without all its digits": Case(
        r"epsilon must be at least 2\.2e-308.*got epsilon=4\.9.*e-324\. Raise epsilon\.$",
        epsilon=5e-324,
    ),
    "a share of the rows that is zero": Case(
        "solver__fraction must be at least 2.2e-308", solver=ESAM(fraction=5e-324)
    ),
    # True is no number
    **{
        f"{name} is True": Case(not_a_parameter(name), **{name: True})
        for name in NUMBERS
    },
    **{
        f"{name} of {cls.__name__} is True": Case(
            not_a_parameter(name, cls.__name__), **in_estimator(cls, **{name: True})
        )
        for (cls, name), constraints in OPTIONS.items()
        if is_number(constraints)
    },
    "a cv of True": Case(not_a_parameter("cv"), cv=True),
    # parameters together
    "an average that never begins": Case(
        r"swa__start must lie before max_iter=3, got swa__start=3\..*lower",
        swa=SWA(start=3),
        **IN_FIT,
    ),
    "an average of nothing": Case(
        r"swa__freq must not exceed the 2 epochs.*got swa__freq=3\..*lower",
        swa=SWA(start=1, freq=3),
        **IN_FIT,
    ),
    "swa with lbfgs": Case(
        r"swa needs a stochastic solver, got solver='lbfgs'", swa=True, **LBFGS
    ),
    "callbacks with lbfgs": Case(
        r"callbacks needs a stochastic solver, got solver='lbfgs'",
        callbacks=[Callback()],
        **LBFGS,
    ),
    "balanced in partial_fit": Case(
        "class_weight='balanced' needs all rows at once.*Pass a dict",
        class_weight="balanced",
    ),
    "early stopping in partial_fit": Case(
        "partial_fit does not support early_stopping=True", early_stopping=True
    ),
    # callbacks that are none
    "a callback is a function": Case(
        r"callbacks must hold skorch callbacks, got <",
        error=TypeError,
        callbacks=[print],
    ),
    "a callback is None": Case(
        "callbacks must hold skorch callbacks, got None",
        error=TypeError,
        callbacks=[Callback(), None],
    ),
    "a named callback is none": Case(
        "callbacks must hold skorch callbacks, got 1",
        error=TypeError,
        callbacks=(("name", 1),),
    ),
    "a name without a callback": Case(
        "callbacks must hold skorch callbacks", error=TypeError, callbacks=[("name",)]
    ),
    # the network
    "a layer of nothing": Case(
        r"hidden_layer_sizes must be > 0, got \[0\]", hidden_layer_sizes=(0,)
    ),
    "a negative layer": Case(
        r"hidden_layer_sizes must be > 0, got \[5, -1\]", hidden_layer_sizes=(5, -1)
    ),
    "no units at all": Case(
        "hidden_layer_sizes", hidden_layer_sizes=0, error=ValueError
    ),
    **{
        f"units of {sizes}": Case(
            "hidden_layer_sizes must be an integer or a list of integers, got",
            error=TypeError,
            hidden_layer_sizes=sizes,
        )
        for sizes in ((5.5,), ("many",), [[5, 3]])
    },
    **{
        f"no units but {sizes!r}": Case(
            r"hidden_layer_sizes must be an integer or a list of integers, got",
            error=TypeError,
            hidden_layer_sizes=sizes,
        )
        for sizes in (True, (True,), (4, np.True_), (2.0,))
    },
    "no units but True with lbfgs": Case(
        "hidden_layer_sizes must be an integer or a list of integers, got True",
        error=TypeError,
        hidden_layer_sizes=True,
        **LBFGS,
    ),
    # devices
    "an unknown device": Case("device must be 'auto'.*got device='gpu'", device="gpu"),
    "a device without tensors": Case("device='meta' needs a meta", device="meta"),
    # data
    "negative counts": Case(
        r"y must not be negative with loss='poisson', got.*squared_error",
        make=make_regressor,
        loss="poisson",
    ),
    "words to regress on": Case(
        "y must hold numbers, got dtype=<U2", make=make_regressor, y=["no"] * len(X)
    ),
    "sparse targets to regress on": Case(
        r"y must be dense.*y\.toarray\(\)",
        error=TypeError,
        make=make_regressor,
        y=sp.csr_array(np.eye(len(X))),
    ),
    "dates to regress on": Case(
        "y must hold numbers, got dtype=datetime64.*dates to numbers of days",
        make=make_regressor,
        y=np.full(len(X), "2020-01-01", dtype="M8[s]"),
    ),
    "negative counts with lbfgs": Case(
        "y must not be negative with loss='poisson'",
        make=make_regressor,
        loss="poisson",
        **LBFGS,
    ),
    "a minibatch without weight": Case(
        r"sample_weight must not sum to zero over a minibatch.*raise batch_size",
        weights=GAP,
        batch_size=10,
        shuffle=False,
    ),
    "no weight at all": Case(NO_WEIGHT, weights=0 * GAP),
    "weights of another length": Case("sample_weight.shape", weights=GAP[1:]),
    "a class without weight": Case(
        r"sample_weight must not sum to zero over a minibatch",
        class_weight={0: 0.0, 1: 1.0},
        batch_size=1,
    ),
    "a class that is not there": Case(
        r"The classes, \[1\], are not in class_weight", class_weight={0: 1, 7: 2}
    ),
    "NaN in the rows": Case("contains NaN", X=np.where(X > 1, np.nan, X)),
    "rows without targets": Case("inconsistent numbers of samples", y=labels[1:]),
    "targets of many classes each": Case(
        "Multioutput target data is not supported|Unknown label type",
        y=np.column_stack([labels, labels + 1, labels + 2]),
    ),
    "no rows": Case("0 sample", X=X[:0], y=labels[:0]),
    "complex rows": Case("Complex data not supported", X=X + 1j),
    "no validation rows to speak of": Case(
        "The validation set is too small",
        make=make_regressor,
        early_stopping=True,
        validation_fraction=0.01,
        **IN_FIT,
    ),
    "targets beyond single precision": Case(
        r"^y must be representable in float32.*got 1e\+39\. Scale y",
        make=make_regressor,
        X=X_single,
        y=np.full(40, 1e39),
    ),
    "weights that are zero in single precision": Case(
        r"sample_weight must have a weight of at least 1\.2e-38.*got weights up to 1e-45",
        X=X_single,
        weights=np.full(40, 1e-45),
    ),
    # training
    "squares that overflow": Case(
        r"The training diverged: the loss of the last epoch must be finite in float64",
        make=make_regressor,
        y=target * 1e200,
    ),
    "a penalty that overflows": Case(
        "The training diverged: the numbers of a step must be representable in float32",
        X=X_single,
        weights=np.full(40, 1e-37),
        alpha=1e10,
    ),
    "a fit that diverges": Case(
        "Solver produced non-finite parameter weights",
        make=make_regressor,
        solver="sgd",
        batch_size=2,
        learning_rate_init=1e200,
        activation="identity",
    ),
    "a fit whose squared learning rate overflows": Case(
        "Solver produced non-finite parameter weights",
        solver="schedule_free",
        batch_size=10,
        learning_rate_init=1e200,
    ),
    "a fit that diverges uphill": Case(
        "Solver produced non-finite parameter weights",
        make=make_regressor,
        base_solver="sgd",
        batch_size=2,
        learning_rate_init=1e200,
        activation="identity",
    ),
    "counts that diverge": Case(
        # after a fit with another loss, a warm start says so first
        "Solver produced non-finite parameter weights|loss must stay the same",
        make=make_regressor,
        y=counts,
        loss="poisson",
        solver="sgd",
        batch_size=10,
        learning_rate_init=1e10,
    ),
}
# these are errors of partial_fit alone
PARTIAL_FIT_ONLY = {"balanced in partial_fit", "early stopping in partial_fit"}


@pytest.mark.parametrize("case", sorted(CASES.keys() - PARTIAL_FIT_ONLY))
def test_a_first_fit_that_fails_leaves_no_trace(case):
    case = CASES[case]
    estimator = case.make(**case.params)
    state = state_of(estimator)
    with pytest.raises(case.error, match=case.match):
        estimator.fit(case.X, case.y, sample_weight=case.weights)
    assert_same_state(estimator, state)
    assert not hasattr(estimator, "coefs_")


@pytest.mark.parametrize("warm_start", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("case", sorted(CASES.keys() - PARTIAL_FIT_ONLY))
def test_a_fit_that_fails_leaves_the_last_one(case, warm_start):
    case = CASES[case]
    estimator = case.make(swa=True, warm_start=warm_start)
    rows = X_single if case.X is X_single else X  # a network keeps its dtype
    estimator.fit(rows, TARGETS[case.make])
    estimator.set_params(**{"swa": False, **case.params})
    state = state_of(estimator)
    with pytest.raises(case.error, match=case.match):
        estimator.fit(case.X, case.y, sample_weight=case.weights)
    assert_same_state(estimator, state)


@pytest.mark.parametrize(
    "case", sorted(name for name, case in CASES.items() if case.in_partial_fit)
)
def test_a_first_partial_fit_that_fails_leaves_no_trace(case):
    case = CASES[case]
    estimator = case.make(**case.params)
    state = state_of(estimator)
    more = {"classes": [0, 1]} if case.make is make_classifier else {}
    with pytest.raises(case.error, match=case.match):
        estimator.partial_fit(case.X, case.y, sample_weight=case.weights, **more)
    assert_same_state(estimator, state)


def test_every_number_of_a_step_has_its_case():
    read = {name for s in SOLVERS for name in reads(s, "adamw")} | {"alpha"}
    constraints = SAMMLPClassifier._parameter_constraints
    unbounded = {name for name in read if is_unbounded(constraints[name])}
    unbounded |= {
        f"{name} of {cls.__name__}"
        for (cls, name), constraints in OPTIONS.items()
        if is_unbounded(constraints) and not issubclass(cls, LearningRateSchedule)
    }
    # no rate falls to one above learning_rate_init; noise is in units of the columns
    unbounded -= {"lr_min of Snapshots", "std of InputNoise"}
    assert unbounded == LARGE.keys()
    own = SAMMLPClassifier().get_params().keys() - MLPClassifier().get_params().keys()
    others = {"base_solver", "callbacks", "class_weight", "cv", "device", "scoring"}
    assert own - others - {"swa"} == set(NUMBERS)
    no_numbers = {
        name for (_, name), constraints in OPTIONS.items() if not is_number(constraints)
    }
    words = {"decouple", "milestones", "on", "shape", "schedule", "strategy"}
    assert no_numbers == words


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_names_the_parameter_that_is_too_large(solver):
    cls = SOLVERS[solver]
    cases = [
        (name, {"solver": solver, name: 1e39})
        for name in (reads(solver, "adam") & LARGE.keys()) | {"alpha"}
    ]
    cases += [
        (f"solver__{name}", {"solver": cls(**{name: 1e39})})
        for name, constraints in cls._parameter_constraints.items()
        if is_unbounded(constraints)
    ]
    for name, params in cases:
        clf = make_classifier(batch_size=10, **params)
        with pytest.raises(ValueError, match=beyond(name)):
            clf.fit(X_single, labels)


def test_numbers_at_the_end_of_the_range_are_computed_with():
    largest = float(np.finfo(np.float32).max)
    for _, params in LARGE.values():
        params = params(largest)
        make = params.pop("make", make_classifier)
        clf = make(**params)
        # it may diverge, and is not refused
        with contextlib.suppress(ValueError):
            clf.fit(X_single, TARGETS[make])
            continue
        with pytest.raises(ValueError, match=r"diverged|non-finite"):
            clf.fit(X_single, TARGETS[make])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_limits_of_the_range_are_in_it(dtype):
    limits = np.finfo(dtype)
    check_range("rho", float(limits.max), dtype)
    check_divisor("epsilon", float(limits.tiny), dtype)
    check_data(np.array([-float(limits.max)]), dtype, "X")
    check_sum(np.array([float(limits.tiny), 0.0]), dtype, "sample_weight")
    for check in (
        lambda: check_divisor("epsilon", float(limits.tiny) / 2, dtype),
        lambda: check_sum(np.array([float(limits.tiny) / 2]), dtype, "sample_weight"),
    ):
        with pytest.raises(ValueError, match="smallest normal number"):
            check()


@pytest.mark.parametrize(
    "value", [np.float32(0.25), np.float16(0.25), np.longdouble(0.5)]
)
def test_a_number_may_be_of_any_real_kind(value):
    clf = make_classifier(rho=value, learning_rate_init=value / 100).fit(X, labels)
    rate = float(value / 100)
    expected = make_classifier(rho=float(value), learning_rate_init=rate).fit(X, labels)
    assert_same(clf.coefs_, expected.coefs_)


@pytest.mark.parametrize("power_t", [300.0, 1e300, 2**70], ids=str)
def test_a_power_beyond_all_floats_leaves_no_rate(power_t):
    params = {"solver": "sgd", "momentum": 0}
    expected = make_regressor(max_iter=1, **params).fit(X, target)
    params |= {"learning_rate": "invscaling", "power_t": power_t}
    assert_same(make_regressor(**params).fit(X, target).coefs_, expected.coefs_)


@pytest.mark.parametrize("name", ["X", "y"])
def test_data_beyond_the_dtype_of_the_network_are_named(name):
    regr = make_regressor(warm_start=True).fit(X_single, target)
    state, data = state_of(regr), {"X": X, "y": target}
    for rows in (data["X"], sp.csr_array(data["X"])):
        wide = {**data, "X": rows}
        wide[name] = wide[name] * 1e39
        with pytest.raises(
            ValueError, match=f"^{name} must be representable in float32"
        ):
            regr.fit(**wide)
    assert_same_state(regr, state)
    regr.set_params(early_stopping=True)
    given = {f"{n}_val": v * 1e39 if n == name else v for n, v in data.items()}
    with pytest.raises(
        ValueError, match=f"^{name}_val must be representable in float32"
    ):
        regr.fit(X, target, **given)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_search_names_the_parameter_that_is_too_large():
    search = GridSearchCV(make_classifier(), {"rho": [0.1, 1e39]}, cv=2)
    with pytest.warns(FitFailedWarning, match="rho must be representable in float32"):
        search.fit(X_single, labels)
    assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), [False, True])


def test_partial_fit_without_classes_leaves_no_trace():
    clf = make_classifier()
    state = state_of(clf)
    with pytest.raises(ValueError, match="classes must be passed"):
        clf.partial_fit(X, labels)
    assert_same_state(clf, state)


# what a next call may get wrong: how, and its error
NEXT_CALLS = {
    "an unseen class": (lambda clf: clf.partial_fit(X, labels + 1), "classes not in"),
    "other classes": (
        lambda clf: clf.partial_fit(X, labels, classes=[0, 2]),
        "is not the same as on last call to partial_fit",
    ),
    "other columns": (
        lambda clf: clf.partial_fit(X[:, :2], labels),
        "X has 2 features",
    ),
    "other layers": (
        lambda clf: clf.set_params(hidden_layer_sizes=(5,)).partial_fit(X, labels),
        r"layers of \[3, 4, 1\] units, got \[3, 5, 1\].*hidden_layer_sizes back",
    ),
    "gamma out of range": (
        lambda clf: clf.set_params(solver=WSAM(gamma=1)).partial_fit(X, labels),
        not_a_parameter("gamma", "WSAM"),
    ),
    "no weight": (
        lambda clf: clf.partial_fit(X, labels, sample_weight=np.zeros(40)),
        NO_WEIGHT,
    ),
    "an unknown device": (
        lambda clf: clf.set_params(device="gpu").partial_fit(X, labels),
        "got device='gpu'",
    ),
}


@pytest.mark.parametrize(("call", "match"), NEXT_CALLS.values(), ids=NEXT_CALLS)
def test_a_next_partial_fit_that_fails_leaves_the_last_one(call, match):
    clf = make_classifier(swa=SWA(start=1))
    for _ in range(3):
        clf.partial_fit(X, labels, classes=[0, 1])
    own, _ = state_of(clf)
    with pytest.raises(ValueError, match=match):
        call(clf)
    assert_same(state_of(clf)[0], own)


def test_training_continues_after_a_failure_as_if_it_had_not_been():
    clf, undisturbed = make_classifier(swa=True), make_classifier(swa=True)
    for _ in range(4):
        for model in (clf, undisturbed):
            model.partial_fit(X, labels, classes=[0, 1])
        with pytest.raises(ValueError, match="NaN"):
            clf.partial_fit(X * np.nan, labels)
        with pytest.raises(ValueError, match="swa__start"):
            clf.set_params(swa__start=99).fit(X, labels)
        clf.set_params(swa__start=0.75)
    assert_same(state_of(clf)[0], state_of(undisturbed)[0])


# -- interruptions ---------------------------------------------------------------------

EVENTS = [
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_grad_computed",
    "on_batch_end",
    "on_epoch_end",
    "on_train_end",
]


class Failing(Callback):
    """Raises at the second time of an event, at the first if there is only one."""

    def __init__(self, event):
        self.left = 1 if "train" in event else 2
        setattr(self, event, self.fail)

    def fail(self, net, *args, **kwargs):
        self.left -= 1
        if not self.left:
            raise RuntimeError("the callback failed")


def fit(estimator):
    return estimator.fit(X, labels)


def partial_fit(estimator):
    for _ in range(2):
        estimator.partial_fit(X, labels, classes=[0, 1])


@pytest.mark.parametrize("is_fitted", [False, True], ids=["unfitted", "fitted"])
@pytest.mark.parametrize("event", EVENTS)
def test_a_callback_that_raises_ends_the_fit_without_a_trace(event, is_fitted):
    clf = make_classifier(swa=True, warm_start=True)
    if is_fitted:
        clf.fit(X, labels)
    clf.set_params(callbacks=[Failing(event)])
    state = state_of(clf)
    with pytest.raises(RuntimeError, match="the callback failed"):
        clf.fit(X, labels)
    assert_same_state(clf, state)


@pytest.mark.parametrize("train", [fit, partial_fit])
@pytest.mark.parametrize("is_fitted", [False, True], ids=["unfitted", "fitted"])
@pytest.mark.parametrize(
    "place", ["sksharp.training.fit_models", "sksharp.training._net.MLPNet.initialize"]
)
def test_an_interrupt_before_training_leaves_no_trace(
    place, is_fitted, train, monkeypatch
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    clf = make_classifier(swa=True)
    if is_fitted:
        clf.fit(X, labels)
    state = state_of(clf)
    monkeypatch.setattr(place, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(clf)
    assert_same_state(clf, state)


class Steps(Callback):
    """Records the weights to predict with, after every step."""

    def on_train_begin(self, net, **kwargs):
        self.weights = [net.optimizer_.evaluation_params()[0].detach().clone()]

    def on_batch_end(self, net, **kwargs):
        self.weights.append(net.optimizer_.evaluation_params()[0].detach().clone())


def interrupt_gradient(monkeypatch, number):
    """Interrupt when a gradient of that number, counted from one, is asked for."""
    left, differentiate = [number], Backprop.differentiate

    def differentiate_or_interrupt(self, *args, **kwargs):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return differentiate(self, *args, **kwargs)

    monkeypatch.setattr(Backprop, "differentiate", differentiate_or_interrupt)


@pytest.mark.parametrize("number", [1, 2, 3, 8, 10, 13])
@pytest.mark.parametrize("solver", SOLVERS)
def test_an_interrupt_within_an_epoch_keeps_the_steps_that_were_taken(
    solver, number, monkeypatch
):
    steps = Steps()
    params = {"solver": solver, "batch_size": 10, "max_iter": 6}
    make_classifier(callbacks=[steps], **params).fit(X, labels)
    k = 5 if solver == "looksam" else 1  # an ascent every five steps
    costs = [1 + (SOLVERS[solver].is_two_gradient and t % k == 0) for t in range(24)]
    n_steps = int(np.sum(np.cumsum(costs) < number))

    interrupt_gradient(monkeypatch, number)
    clf = make_classifier(**params)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        clf.fit(X, labels)

    flat = np.concatenate([w.ravel() for w in (*clf.coefs_, *clf.intercepts_)])
    assert_array_equal(flat, steps.weights[n_steps])
    assert clf.n_iter_ == len(clf.loss_curve_) == n_steps // 4
    assert clf.predict(X).shape == (40,)


@pytest.mark.parametrize("swa", [False, True], ids=["path", "average"])
def test_an_interrupt_with_early_stopping_keeps_the_best_epoch(swa, monkeypatch):
    params = {"solver": "sgd", "early_stopping": True, "validation_fraction": 0.3}
    params |= {"learning_rate_init": 0.4, "n_iter_no_change": np.inf}
    scores = make_regressor(max_iter=9, **params).fit(X, target).validation_scores_
    best = int(np.argmax(scores))
    assert 0 < best < 8
    expected = make_regressor(max_iter=best + 1, **params).fit(X, target)
    interrupt_gradient(monkeypatch, 10)
    regr = make_regressor(max_iter=20, swa=swa, **params)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        regr.fit(X, target)
    assert_same(regr.coefs_, expected.coefs_)
    assert regr.best_validation_score_ == expected.best_validation_score_
    assert regr.n_averaged_ == 0


def test_an_interrupt_of_members_is_kept_once_there_is_one_radius(monkeypatch):
    params = {"n_members": 2, "max_iter": 40, "batch_size": 5}
    interrupt_gradient(monkeypatch, 100)
    clf = make_classifier(**{**params, "rho": [0.05]})
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        clf.fit(X, labels)
    monkeypatch.undo()
    interrupt_gradient(monkeypatch, 100)
    fixed = make_classifier(**{**params, "rho": 0.05})
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        fixed.fit(X, labels)
    assert 0 < clf.n_iter_ == fixed.n_iter_ < 40
    assert_array_equal(clf.predict_proba(X), fixed.predict_proba(X))
    for rho in (
        0.05,
        [0.05, 0.1],
    ):  # before any row that was left out has said anything
        monkeypatch.undo()
        interrupt_gradient(monkeypatch, 10)
        with pytest.raises(KeyboardInterrupt):
            make_classifier(**{**params, "rho": rho}).fit(X, labels)


def test_an_interrupt_of_lbfgs_leaves_the_last_fit(monkeypatch):
    clf = make_classifier(warm_start=True, solver="lbfgs", max_iter=20).fit(X, labels)
    state, evaluations = state_of(clf), []
    evaluate = SAMMLPClassifier._backprop

    def evaluate_or_interrupt(self, *args):
        evaluations.append(self.coefs_[0])
        if len(evaluations) == 5:
            raise KeyboardInterrupt
        return evaluate(self, *args)

    monkeypatch.setattr(SAMMLPClassifier, "_backprop", evaluate_or_interrupt)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X[::-1], labels)
    # lbfgs writes the weights it tries into the list of those of the estimator
    assert evaluations[-1] is not clf.coefs_[0]
    assert_same_state(clf, state)


def test_an_interrupted_average_is_of_the_epochs_so_far(monkeypatch):
    params = {"solver": "sgd", "n_iter_no_change": np.inf}
    epochs = [
        make_classifier(max_iter=n, **params).fit(X, labels).coefs_[0] for n in (3, 4)
    ]
    interrupt_gradient(monkeypatch, 5)
    clf = make_classifier(max_iter=20, swa=SWA(start=2), **params)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        clf.fit(X, labels)
    assert_allclose(clf.coefs_[0], np.mean(epochs, axis=0), rtol=1e-12)
    assert clf.n_averaged_ == 2


def test_an_interrupted_partial_fit_can_be_continued(monkeypatch):
    clf = make_classifier(solver="sam", batch_size=10, shuffle=False)
    with monkeypatch.context() as patch:
        interrupt_gradient(patch, 4)  # in the second step, uphill
        with pytest.warns(UserWarning, match="Training interrupted by user"):
            clf.partial_fit(X, labels, classes=[0, 1])
    assert clf.n_iter_ == 0
    clf.partial_fit(X, labels)
    assert clf.n_iter_ == 1
    assert np.isfinite(clf.coefs_[0]).all()


# -- bugs of scikit-learn that are not copied --------------------------------------------


def test_early_stopping_with_warm_start_restores_the_best_weights():
    """scikit-learn trains the array of the best weights in place."""

    class Rows(Callback):
        def on_epoch_end(self, net, dataset_valid, **kwargs):
            self.X, self.y = dataset_valid.X, dataset_valid.y

    rows = Rows()
    regr = make_regressor(
        solver="sgd",
        early_stopping=True,
        warm_start=True,
        validation_fraction=0.3,
        learning_rate_init=0.05,
        random_state=np.random.RandomState(0),
        max_iter=20,
    ).fit(X, target)
    best = copy.deepcopy([regr.coefs_, regr.intercepts_])
    score = regr.best_validation_score_
    # from here on every epoch is worse
    regr.set_params(alpha=1e4, max_iter=3, callbacks=[rows]).fit(X, target)
    assert max(regr.validation_scores_[-3:]) < score
    assert_same([regr.coefs_, regr.intercepts_], best)
    assert regr.best_validation_score_ == score


@pytest.mark.parametrize("first", [False, True], ids=["switched on", "switched off"])
@pytest.mark.parametrize("make", [make_classifier, make_regressor])
def test_early_stopping_can_be_toggled_between_warm_fits(make, first):
    """scikit-learn raises AttributeError and TypeError."""
    estimator = make(warm_start=True, early_stopping=first, validation_fraction=0.3)
    estimator.fit(X, TARGETS[make])
    estimator.set_params(early_stopping=not first).fit(X, TARGETS[make])
    assert len(estimator.loss_curve_) == 6
    if first:
        assert estimator.best_loss_ == min(estimator.loss_curve_[3:])
        assert estimator.validation_scores_ is None
        assert estimator.best_validation_score_ is None
    else:
        assert estimator.best_loss_ is None
        assert len(estimator.validation_scores_) == 3
        best = max(estimator.validation_scores_)
        assert estimator.best_validation_score_ == best


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_warm_start_may_follow_lbfgs_and_precede_it(solver, early_stopping):
    """scikit-learn raises AttributeError for the missing loss curve."""
    clf = make_classifier(
        solver="lbfgs",
        warm_start=True,
        early_stopping=early_stopping,
        validation_fraction=0.3,
    ).fit(X, labels)
    start = copy.deepcopy(clf.coefs_)
    clf.set_params(solver=solver, learning_rate_init=1e-12).fit(X, labels)
    assert len(clf.loss_curve_) == clf.n_iter_ == 3
    if "learning_rate_init" not in reads(solver, "adam"):
        start = clf.coefs_  # it finds a rate by itself
    for coef, expected in zip(clf.coefs_, start, strict=True):
        assert_allclose(coef, expected, rtol=1e-9, atol=1e-9)
    clf.set_params(solver="lbfgs").fit(X, labels)
    assert not hasattr(clf, "loss_curve_")
    assert clf.n_averaged_ == 0


@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
@pytest.mark.parametrize("sizes", [(5,), (4, 4), ()], ids=str)
def test_a_warm_start_refuses_other_hidden_layers(sizes, solver):
    """scikit-learn ignores them, or fails with AttributeError."""
    clf = make_classifier(solver=solver, warm_start=True).fit(X, labels)
    clf.set_params(hidden_layer_sizes=sizes)
    state = state_of(clf)
    with pytest.raises(ValueError, match=r"layers of \[3, 4, 1\].*hidden_layer_sizes"):
        clf.fit(X, labels)
    assert_same_state(clf, state)


def test_a_minibatch_without_weight_is_no_zero_division():
    """scikit-learn raises ZeroDivisionError from numpy."""
    clf = make_classifier(batch_size=10, shuffle=False)
    with pytest.raises(ValueError, match=r"sample_weight.*batch_size"):
        clf.fit(X, labels, sample_weight=GAP)
    clf.set_params(batch_size=20).fit(X, labels, sample_weight=GAP)


@pytest.mark.parametrize("make", [make_classifier, make_regressor])
def test_lbfgs_has_no_partial_fit(make):
    """scikit-learn's regressor has, and runs all of lbfgs."""
    assert hasattr(make(), "partial_fit")
    estimator = make(solver="lbfgs")
    assert not hasattr(estimator, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
        _ = estimator.partial_fit


def test_negative_counts_are_no_silent_nan():
    """scikit-learn trains on, with a loss of NaN."""
    regr = make_regressor(loss="poisson")
    with pytest.raises(ValueError, match="y must not be negative"):
        regr.fit(X, np.where(np.arange(40) == 7, -1e-3, counts))
    regr.fit(X, counts)
    assert np.isfinite(regr.loss_curve_).all()


@pytest.mark.parametrize("swa", [False, True], ids=["path", "average"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_memory_mapped_model_can_be_trained(solver, swa, tmp_path):
    """scikit-learn fails because its arrays are read-only."""
    clf = make_classifier(solver=solver, swa=swa, warm_start=True).fit(X, labels)
    joblib.dump(clf, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert not mapped.coefs_[0].flags.writeable
    for train in ("partial_fit", "fit"):
        for model in (clf, mapped):
            getattr(model, train)(X, labels)
        assert mapped.coefs_[0].flags.writeable
        assert_same(mapped.coefs_, clf.coefs_)


def test_read_only_data_is_trained_on():
    arrays = [X.copy(), labels.copy(), 1.0 + GAP]
    for array in arrays:
        array.flags.writeable = False
    make_classifier().fit(arrays[0], arrays[1], sample_weight=arrays[2])
    sparse = sp.csr_array(X)
    sparse.data.flags.writeable = False
    expected = clone(make_classifier()).fit(sp.csr_array(X), labels)
    assert_same(make_classifier().fit(sparse, labels).coefs_, expected.coefs_)
