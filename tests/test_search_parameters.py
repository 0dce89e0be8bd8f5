"""A vectorized search tells candidates apart by every parameter that may differ."""

import copy
import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV, training
from sksharp._input_noise import HeldOutNoise
from sksharp._jobs import Settings
from sksharp.model_selection._pretraining import START_PARAMETERS, Pretraining
from sksharp.model_selection._results import (
    JobCollected,
    PretrainedResults,
    data_digests,
    job_key,
)
from sksharp.options import SWA, InputNoise, LookSAM, Option, Quantile, Snapshots, Step
from sksharp.options.schedules import SCHEDULES
from sksharp.options.solvers import SOLVERS
from sksharp.training import _fit
from sksharp.training._plan import plan

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
N = 40
X = rng.normal(size=(N, 3))
LABELS = (X[:, 0] + rng.normal(size=N) > -0.4).astype(int) + (X[:, 2] > 0.8)
COUNTS = rng.poisson(np.exp(X[:, 0] / 2)).astype(float)

SMALL = {
    "rho": 0.1,
    "hidden_layer_sizes": (3,),
    "batch_size": 6,
    "max_iter": 3,
    "learning_rate_init": 0.05,
    "random_state": 0,
}
SGD = {"base_solver": "sgd"}
EARLY = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 5}
SLOW = {**EARLY, "learning_rate_init": 0.005}
JUDGES = InputNoise(std=3.0, missing=0.5, on="validation")

# what a candidate may vary: two values that train to different networks, and the
# parameters that let them be read
PARAMETERS = {
    "activation": (["relu", "logistic"], {}),
    "alpha": ([1e-4, 1.0], {}),
    "base_solver": (["adam", "radam"], {}),
    # as many minibatches
    "batch_size": ([5, 6], {}),
    "beta_1": ([0.9, 0.5], {}),
    "beta_2": ([0.999, 0.9], {}),
    "class_weight": ([None, "balanced"], {}),
    "cv": ([KFold(2), KFold(2, shuffle=True, random_state=1)], {"n_members": 2}),
    "dropout": ([0.3, 0.6], {}),
    "dropout of layers": ([[0.2, 0.5], [0.2, 0.3]], {}),
    "early_stopping": ([False, True], {"validation_fraction": 0.3}),
    "ema_decay": ([None, 0.5], {}),
    "epsilon": ([1e-8, 0.1], {}),
    "hidden_layer_sizes": ([(3,), (2, 2)], {}),
    "input_noise": ([0.0, 0.5], {}),
    "input_noise of held-out rows": (
        [0.0, JUDGES],
        {**EARLY, "scoring": "loss", "max_iter": 12},
    ),
    "input_noise of scored rows": ([JUDGES, 0.0], {**SLOW, "scoring": "f1_macro"}),
    "learning_rate": (["constant", "cosine"], {}),
    "learning_rate_init": ([0.05, 0.01], {}),
    "loss": (["squared_error", "poisson"], {}),
    "max_fun": ([2, 20], {"solver": "lbfgs", "max_iter": 20}),
    "max_iter": ([3, 2], {}),
    "max_steps": ([3, 9], {}),
    "momentum": ([0.9, 0.5], SGD),
    "n_iter_no_change": ([1, 9], {**EARLY, "tol": 1.0}),
    "n_members": ([1, 2], {}),
    "nesterovs_momentum": ([True, False], SGD),
    "power_t": ([0.5, 0.1], {**SGD, "learning_rate": "invscaling"}),
    "random_state": ([0, 1], {}),
    "rho": ([0.1, 0.5], {}),
    "rho of lists": ([[0.0], [2.0]], {"cv": 2, "max_iter": 2}),
    "scoring": ([None, "loss"], SLOW),
    "shuffle": ([True, False], {}),
    "snapshots": ([None, 2], {"max_iter": 4}),
    "solver": (["sam", "gsam"], {}),
    "swa": ([False, SWA(start=1)], {}),
    "tol": ([1e-4, 1.0], {**SLOW, "n_iter_no_change": 1, "scoring": "loss"}),
    "validation_fraction": ([0.3, 0.2], EARLY),
    "warmup": ([0, 1], {}),
}
# what changes no network of a search
WITHOUT_EFFECT = {
    "callbacks": "look on, and may end a training that is then one of its own",
    "device": "computes the same, and not every machine has another",
    "n_jobs": "computes the same but for rounding, in other processes",
    "verbose": "prints",
    "warm_start": "finds nothing to go on from in a clone",
}
# how many of the two candidates have one training, which can be done before their fits
TRAINED_BEFORE = {"cv": 0, "max_fun": 0, "n_members": 1, "rho of lists": 0}

# the same for the options of every method, by the methods' names
ASCENTS = [name for name, cls in SOLVERS.items() if cls.is_two_gradient]
OPTIONS_OF_SOLVERS = {
    **{("interval", name): [1, 2] for name in ASCENTS},
    **{("start", name): [0.0, 1] for name in ASCENTS},
    **{("micro_batch_size", name): [2, 3] for name in ASCENTS},
    ("alpha", "gsam"): [0.4, 0.0],
    ("alpha", "lookahead"): [0.5, 0.9],
    ("alpha", "looksam"): [0.7, 0.1],
    ("alpha", "ranger"): [0.5, 0.9],
    ("decay", "friendly_sam"): [0.9, 0.1],
    ("decouple", "wsam"): [False, True],
    ("eta", "asam"): [0.01, 1.0],
    ("eta", "fisher_sam"): [1e4, 1.0],
    ("fraction", "esam"): [0.5, 1.0],
    ("gamma", "wsam"): [0.9, 0.5],
    ("k", "lookahead"): [6, 2],
    ("k", "looksam"): [5, 2],
    ("k", "ranger"): [6, 2],
    ("momentum", "muon"): [0.95, 0.5],
    ("sigma", "friendly_sam"): [1.0, 0.1],
    ("warmup_steps", "schedule_free"): [0, 5],
    ("weight_decay", "adamw"): [0.01, 0.5],
    ("weight_decay", "muon"): [0.01, 0.5],
    ("weight_decay", "schedule_free"): [0.01, 0.5],
}
OPTIONS_OF_SCHEDULES = {
    ("flat", "cosine"): [0.75, 0.1],
    ("gamma", "exponential"): [0.99, 0.5],
    ("gamma", "multistep"): [0.1, 0.5],
    ("gamma", "step"): [0.1, 0.5],
    ("growth", "cyclic"): [1, 2],
    ("length", "cyclic"): [0.2, 2],
    ("lr_min", "cosine"): [0.0, 0.04],
    ("lr_min", "cyclic"): [0.0, 0.04],
    ("milestones", "multistep"): [(0.5,), (1, 2)],
    ("shape", "cyclic"): ["cosine", "triangular"],
    ("size", "step"): [2, 1],
}
OPTIONS_OF_OTHERS = {
    "swa": {
        "start": ([1, 3], SWA()),
        "freq": ([1, 2], SWA(start=1)),
        "lr": ([None, 0.01], SWA(start=1)),
        "anneal": ([0, 3], SWA(start=1, lr=0.01)),
        "strategy": (["cosine", "linear"], SWA(start=1, lr=0.01, anneal=4)),
        "cycle": ([None, 2], SWA(start=1, lr=0.01)),
    },
    "snapshots": {
        "n": ([2, 3], 2),
        "schedule": (["cosine", "triangular"], Snapshots(n=2, start=0)),
        "start": ([None, 2], 2),
        "lr_min": ([0.0, 0.04], 2),
    },
    "input_noise": {
        "std": ([0.0, 0.5], 0.1),
        "missing": ([0.0, 0.5], 0.1),
        "on": (["training", "validation"], 0.5),
    },
}


def option_cases():
    """Yield an option of every method, in every parameter that holds the method."""
    for (option, name), values in OPTIONS_OF_SOLVERS.items():
        yield f"solver__{option} of {name}", (values, {"solver": name})
        if SOLVERS[name].is_base:
            yield f"base_solver__{option} of {name}", (values, {"base_solver": name})
    for (option, name), values in OPTIONS_OF_SCHEDULES.items():
        # time for a drop, and for a second cycle
        held = Step(size=2) if name == "step" else name
        params = {"learning_rate": held, "max_iter": 6}
        yield f"learning_rate__{option} of {name}", (values, params)
    for holder, options in OPTIONS_OF_OTHERS.items():
        for option, (values, held) in options.items():
            early = EARLY if option == "on" else {}
            params = {**early, holder: held, "max_iter": 6}
            yield f"{holder}__{option}", (values, params)


OPTIONS = dict(option_cases())
# which change how a training is scored and how many outputs it has
OPTIONS_OF_LOSSES = {
    "loss__delta of huber": ([0.5, 2.0], {"loss": "huber"}),
    "loss__quantile of quantile": ([0.5, 0.9], {"loss": "quantile"}),
    "loss of quantiles": (
        [Quantile(quantile=[0.1, 0.9]), Quantile(quantile=[0.2, 0.9])],
        {},
    ),
}
TABLE = {**PARAMETERS, **OPTIONS, **OPTIONS_OF_LOSSES}

# arguments of a solver that networks have in common which are trained together
SHARED = {
    f"{option} of {name}"
    for name, cls in SOLVERS.items()
    for argument, option in cls.option_arguments().items()
    if argument in cls.shared
} | {f"micro_batch_size of {name}" for name in ASCENTS}
SHARED |= {*OPTIONS_OF_OTHERS["input_noise"]}


def make(name="", **params):
    """Return an estimator that has a parameter, and targets for it."""
    params = {
        key: clone(v) if isinstance(v, Option) else v for key, v in params.items()
    }
    if "loss" in (name, *params):
        return SAMMLPRegressor(**{**SMALL, **params}), COUNTS
    return SAMMLPClassifier(**{**SMALL, **params}), LABELS


SEEN = ("outputs", "weights", "n_iter", "loss")


def seen(estimator, X, y):
    """Return what tells a trained network from another one."""
    networks = getattr(estimator, "members_", [estimator])
    arrays = [w for net in networks for w in (*net.coefs_, *net.intercepts_)]
    outputs = estimator._forward_pass_fast(X)
    squares = [float((array**2).sum()) for array in (outputs, *arrays)]
    values = squares[0], sum(squares[1:]), estimator.n_iter_, estimator.loss_
    return dict(zip(SEEN, values, strict=True))


def searched(Search, estimator, grid, y):
    """Return what a search has seen, of shape (n_candidates, n_splits, n_seen)."""
    options = {"cv": KFold(2), "scoring": seen, "refit": False, "error_score": "raise"}
    results = Search(clone(estimator), grid, **options).fit(X, y).cv_results_
    return np.stack(
        [
            np.stack([results[f"split{i}_test_{name}"] for name in SEEN], axis=-1)
            for i in range(2)
        ],
        axis=1,
    )


@pytest.fixture
def calls(monkeypatch):
    """Count the jobs of every call of the engine."""
    sizes = []

    def fit_models(jobs, **kwargs):
        sizes.append(len(jobs))
        return _fit.fit_models(jobs, **kwargs)

    monkeypatch.setattr(training, "fit_models", fit_models)
    return sizes


@pytest.fixture
def groups(monkeypatch):
    """Count the groups of networks that every call of the engine trains together."""
    sizes = []

    def fit_models(jobs, **kwargs):
        sizes.append([len(group) for group in plan(jobs)])
        return _fit.fit_models(jobs, **kwargs)

    monkeypatch.setattr(training, "fit_models", fit_models)
    return sizes


@pytest.fixture
def fits(monkeypatch):
    """Note the candidates whose own fit was begun, to see what it trains."""
    begun, collect = [], Pretraining._collect_fit

    def collect_fit(self, candidate, *args):
        begun.append(candidate)
        return collect(self, candidate, *args)

    monkeypatch.setattr(Pretraining, "_collect_fit", collect_fit)
    return begun


def test_every_parameter_is_in_the_table():
    names = {*SAMMLPClassifier().get_params(), *SAMMLPRegressor().get_params()}
    names = {name for name in names if "__" not in name}
    listed = {key.partition(" of ")[0] for key in PARAMETERS}
    assert listed | {*WITHOUT_EFFECT} == names
    assert {*START_PARAMETERS} <= names


def test_every_option_is_in_the_table():
    for methods, listed in (
        (SOLVERS, OPTIONS_OF_SOLVERS),
        (SCHEDULES, OPTIONS_OF_SCHEDULES),
    ):
        expected = {
            (n, name) for name, cls in methods.items() for n in cls().get_params()
        }
        assert {*listed} == expected
    others = {"swa": SWA, "snapshots": Snapshots, "input_noise": InputNoise}
    assert OPTIONS_OF_OTHERS.keys() == others.keys()
    for holder, cls in others.items():
        assert OPTIONS_OF_OTHERS[holder].keys() == cls().get_params().keys()


@pytest.mark.parametrize("key", TABLE)
def test_two_values_of_a_parameter_are_two_trainings(key, calls):
    values, params = TABLE[key]
    name = key.partition(" of ")[0]
    estimator, y = make(name, **params)
    ours = searched(VectorizedGridSearchCV, estimator, {name: values}, y)
    n_before = TRAINED_BEFORE.get(key, 2)
    assert calls[:1] == [2 * n_before] or n_before == 0
    assert (len(calls) == 1) == (n_before == 2)
    expected = searched(GridSearchCV, estimator, {name: values}, y)
    assert_allclose(ours, expected, rtol=1e-9)
    # on every split, or the one could be taken for the other
    assert np.isfinite(expected).all()
    first, second = expected
    assert (first != second).any(axis=-1).all()


@pytest.mark.parametrize("key", OPTIONS)
def test_values_of_an_option_begin_as_one_fit_and_train_together(key, fits, groups):
    """One fit a split prepares the data and the weights for all candidates."""
    values, params = OPTIONS[key]
    name = key.partition(" of ")[0]
    estimator, y = make(**params)
    searched(VectorizedGridSearchCV, estimator, {name: values}, y)
    assert fits == [{name: values[0]}] * 2
    is_shared = key.partition("__")[2] in SHARED
    assert groups == [[2, 2] if is_shared else [4]]


# parameters that meet, of which a training has to be told as a whole
CROSSED = {
    "lengths": {"max_iter": [2, 3, 4], "n_iter_no_change": [1, 9], "tol": [1e-4, 1.0]},
    "who judges": {
        "scoring": [None, "loss", "f1_macro"],
        "class_weight": [None, "balanced"],
        "rho": [0.0, 0.3],
    },
    "what is trained on": {
        "validation_fraction": [0.2, 0.3],
        "random_state": [0, 1],
        "shuffle": [True, False],
        "alpha": [1e-4, 1.0],
    },
    "what is averaged": {
        "swa": [False, SWA(start=1), SWA(start=3)],
        "early_stopping": [False, True],
        "max_iter": [4, 5],
    },
    # a candidate has the others at their defaults
    "one at a time": [
        {"alpha": [1.0]},
        {"beta_1": [0.5]},
        {"rho": [0.5]},
        {"warmup": [1]},
        {"max_iter": [4]},
    ],
}


@pytest.mark.filterwarnings("ignore::sksharp.exceptions.UnusedParameterWarning")
@pytest.mark.parametrize("case", CROSSED)
def test_parameters_that_meet_are_as_many_trainings(case, calls):
    estimator, y = make(**EARLY)
    ours = searched(VectorizedGridSearchCV, estimator, CROSSED[case], y)
    assert calls == [2 * len(ours)]
    assert_allclose(
        ours, searched(GridSearchCV, estimator, CROSSED[case], y), rtol=1e-9
    )


GIVEN, AVERAGE = LookSAM(interval=2), SWA(start=1)
# of every option, the candidates after it have what they had without it
ONE_OPTION_AT_A_TIME = [
    {"solver__interval": [2]},
    {"solver__start": [1]},
    {"solver": ["asam"], "solver__eta": [1.0]},
    {"solver": ["asam"], "solver__start": [1]},
    {"solver": [GIVEN], "solver__alpha": [0.1]},
    {"solver": [GIVEN], "solver__k": [3]},
    {"solver": [GIVEN]},
    {"base_solver__momentum": [0.5]},
    {"base_solver__weight_decay": [0.5]},
    {"learning_rate__flat": [0.5]},
    {"learning_rate__lr_min": [0.04]},
    {"learning_rate": ["step"], "learning_rate__size": [1]},
    {"learning_rate": ["step"], "learning_rate__gamma": [0.5]},
    {"swa__freq": [2]},
    {"swa__lr": [0.01]},
    {"swa": [AVERAGE], "swa__freq": [3]},
    {"swa": [AVERAGE], "swa__lr": [0.02]},
    {},
]


def test_a_candidate_has_no_option_of_the_one_before_it(calls, fits):
    params = {"base_solver": "muon", "learning_rate": "cosine", "swa": True}
    estimator, y = make(**params, hidden_layer_sizes=(3, 3), max_iter=6)
    grid = ONE_OPTION_AT_A_TIME
    ours = searched(VectorizedGridSearchCV, estimator, grid, y)
    assert calls == [2 * len(grid)]
    assert len(fits) == 2 * 4  # of three solvers and two averages
    assert GIVEN == LookSAM(interval=2)
    assert AVERAGE == SWA(start=1)
    expected = searched(GridSearchCV, estimator, grid, y)
    assert_allclose(ours, expected, rtol=1e-9)
    assert len(np.unique(expected[:, 0], axis=0)) == len(grid)


class Narrow(SAMMLPClassifier):
    """A subclass with a signature of its own."""

    def __init__(self, alpha=1e-4, swa=False, random_state=0):
        params = {**SMALL, "random_state": random_state}
        super().__init__(**params, alpha=alpha, swa=swa)


def test_a_subclass_with_fewer_parameters_trains_its_candidates_together(calls, fits):
    grid = {"alpha": [1e-4, 1.0], "swa__freq": [1, 2]}
    estimator = Narrow(swa=SWA(start=0))
    ours = searched(VectorizedGridSearchCV, estimator, grid, LABELS)
    assert calls == [2 * 4]
    assert len(fits) == 2
    assert_allclose(ours, searched(GridSearchCV, estimator, grid, LABELS), rtol=1e-9)


def test_options_are_reached_through_what_stands_around_the_network(calls, fits):
    network, y = make(solver="asam", loss="squared_error", max_iter=6, swa=True)
    around = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), network), transformer=StandardScaler()
    )
    grid = {
        "regressor__sammlpregressor__solver__eta": [0.01, 1.0],
        "regressor__sammlpregressor__swa__freq": [1, 2],
    }
    options = {"cv": KFold(2), "scoring": "r2", "error_score": "raise", "refit": False}
    ours, theirs = (
        Search(clone(around), grid, **options).fit(X, y).cv_results_["mean_test_score"]
        for Search in (VectorizedGridSearchCV, GridSearchCV)
    )
    assert calls[0] == 2 * 4
    assert len(calls) == 1 + 2 * 4  # scikit-learn's search trains one by one
    assert len(fits) == 2
    assert_allclose(ours, theirs, rtol=1e-9)
    assert len({*theirs}) == 4


# -- what a training is known by -----------------------------------------------------------


def shape_of(estimator, X, y):
    """Return what a training without a seed has of its parameters."""
    score = estimator.best_validation_score_
    return {
        "units": len(estimator.intercepts_[0]),
        "n_iter": estimator.n_iter_,
        "n_rows": estimator.t_ / estimator.n_iter_,
        "is_loss": score is not None and score < 0,
    }


def test_without_a_seed_a_candidate_gets_a_network_of_its_own_parameters(calls):
    lengths = {"hidden_layer_sizes": [(2,), (3,)], "max_iter": [2, 3]}
    kept = {"validation_fraction": [0.2, 0.4], "scoring": [None, "loss"]}
    grid = [lengths, {**lengths, **kept, "early_stopping": [True]}]
    clf = SAMMLPClassifier(**{**SMALL, "random_state": None})
    search = VectorizedGridSearchCV(
        clf, grid, cv=KFold(2), scoring=shape_of, refit=False, error_score="raise"
    )
    results = search.fit(X, LABELS).cv_results_
    assert calls == [2 * (4 + 16)]
    for k, params in enumerate(results["params"]):
        expected = {
            "units": params["hidden_layer_sizes"][0],
            "n_iter": params["max_iter"],
            "n_rows": N / 2 * (1 - params.get("validation_fraction", 0)),
            "is_loss": params.get("scoring") == "loss",
        }
        for name, value in expected.items():
            for i in range(2):
                assert results[f"split{i}_test_{name}"][k] == value


def collected(params=None, **data):
    """Return the training that a fit comes to."""
    clf = SAMMLPClassifier(**{**SMALL, **EARLY, **(params or {})})
    clf._trainer = PretrainedResults()
    clf._trainer.is_collecting = True
    with pytest.raises(JobCollected) as info:
        clf.fit(X, LABELS, **data)
    return info.value


# fields of a training by which none is told apart, because of others or of what they hold
OF_A_JOB_ALONE = {
    "averaging_state",
    "callbacks",
    "classes",
    "columns",
    "decode",
    "decode_targets",
    "is_incremental",
    "is_resumed",
    "is_rewritten",
    "iterate",
    "keeps_state",
    "optimizer_state",
    "pause_at",
    "progress",
    "should_converge",
}


def other_array(array):
    """Return an array whose first entry is another one."""
    other = array.copy()
    other.flat[0] += 1
    return other


def other_weights(weights, name):
    first, *rest = getattr(weights, name)
    return dataclasses.replace(weights, **{name: [other_array(first), *rest]})


def other_jobs(job):
    """Yield jobs that differ in one field each, with the name of the field."""
    for field in dataclasses.fields(job):
        name, value = field.name, getattr(job, field.name)
        if name in OF_A_JOB_ALONE:
            continue
        if name == "weights":
            others = [other_weights(value, part) for part in ("coefs", "intercepts")]
        elif name == "settings":
            others = [
                dataclasses.replace(value, **{part.name: "another"})
                for part in dataclasses.fields(value)
            ]
        elif name == "validation":
            fields = {"rows"} if value.rows is not None else {"X", "y", "sample_weight"}
            others = [
                dataclasses.replace(value, **{part: other_array(getattr(value, part))})
                for part in fields
            ]
            others.append(None)
            others += [
                dataclasses.replace(value, noise=HeldOutNoise(settings, None, seed))
                for settings, seed in (("some", (0,)), ("other", (0,)), ("some", (1,)))
            ]
        elif name == "random_state":
            others = [np.random.RandomState(7)]
        elif name == "epochs":
            others = [value + 1]
        else:
            others = [None if value is None else other_array(value)]
        for other in others:
            if other is not value:
                yield name, dataclasses.replace(job, **{name: other})


@pytest.mark.parametrize("is_given", [False, True], ids=["drawn", "given"])
def test_a_training_is_known_by_every_field_that_it_depends_on(is_given):
    data = {"sample_weight": np.ones(N)}
    if is_given:
        data |= {"X_val": X[:9], "y_val": LABELS[:9], "sample_weight_val": np.ones(9)}
    found = collected(**data)
    assert found.key == collected(**data).key
    keys, names = [found.key], set()
    for name, job in other_jobs(found.job):
        keys.append(job_key(job, found.estimator, data_digests(job)))
        names.add(name)
    estimator = copy.copy(found.estimator).set_params(scoring="loss")
    keys.append(job_key(found.job, estimator, found.digests))
    assert len(set(keys)) == len(keys) > 2 + len(dataclasses.fields(Settings))
    fields = {field.name for field in dataclasses.fields(found.job)}
    # with rows that are given, all others are trained on
    assert names == fields - OF_A_JOB_ALONE - ({"rows"} if is_given else set())


def test_a_training_without_a_seed_is_known_whatever_was_drawn():
    keys = {collected({"random_state": None}).key for _ in range(3)}
    assert len(keys) == 1
    assert keys != {collected({"random_state": 0}).key}
