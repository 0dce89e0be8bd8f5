"""A vectorized search tells candidates apart by every parameter that may differ."""

import copy
import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV, training
from sksharp._contract import Settings
from sksharp._prefetch import FREE, JobCollected, Prefetched, data_digests, job_key
from sksharp.training import _fit

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
AUTO = {"rho": "auto", "rho_grid": [0.0, 2.0], "cv": 2, "max_iter": 2}
SWA = {"swa": True, "swa_start": 1, "max_iter": 5}
SWA_RATE = {**SWA, "swa_lr": 0.01}
SNAPSHOTS = {"n_snapshots": 2, "max_iter": 6}

# what a candidate may vary: two values that train to different networks, and the
# parameters that let them be read
TABLE = {
    "activation": (["relu", "logistic"], {}),
    "alpha": ([1e-4, 1.0], {}),
    "asam_eta": ([0.01, 1.0], {"solver": "asam", "rho": 0.5}),
    "base_solver": (["adam", "radam"], {}),
    # as many minibatches
    "batch_size": ([5, 6], {}),
    "beta_1": ([0.9, 0.5], {}),
    "beta_2": ([0.999, 0.9], {}),
    "class_weight": ([None, "balanced"], {}),
    "cv": ([KFold(2), KFold(2, shuffle=True, random_state=1)], {"n_members": 2}),
    "early_stopping": ([False, True], {"validation_fraction": 0.3}),
    "ema_decay": ([None, 0.5], {}),
    "epsilon": ([1e-8, 0.1], {}),
    "esam_fraction": ([0.5, 1.0], {"solver": "esam"}),
    "fisher_eta": ([1e4, 1.0], {"solver": "fisher_sam"}),
    "friendly_decay": ([0.9, 0.1], {"solver": "friendly_sam"}),
    "friendly_sigma": ([1.0, 0.1], {"solver": "friendly_sam"}),
    "gamma": ([0.9, 0.5], {"solver": "wsam"}),
    "gsam_alpha": ([0.4, 0.0], {"solver": "gsam"}),
    "hidden_layer_sizes": ([(3,), (2, 2)], {}),
    "learning_rate": (["constant", "cosine"], {}),
    "learning_rate_init": ([0.05, 0.01], {}),
    "lookahead_alpha": ([0.5, 0.9], {"solver": "ranger"}),
    "lookahead_k": ([6, 2], {"solver": "ranger"}),
    "looksam_alpha": ([0.7, 0.1], {"solver": "looksam"}),
    "looksam_k": ([5, 2], {"solver": "looksam"}),
    "loss": (["squared_error", "poisson"], {}),
    "lr_flat": ([0.75, 0.1], {"learning_rate": "flat_cosine"}),
    "lr_gamma": ([None, 0.5], {"learning_rate": "exponential"}),
    "lr_milestones": ([(0.5,), (1, 2)], {"learning_rate": "multistep"}),
    "lr_min": ([0.0, 0.04], {"learning_rate": "cosine"}),
    "lr_step_size": ([2, 1], {"learning_rate": "step"}),
    "max_fun": ([2, 20], {"solver": "lbfgs", "max_iter": 20}),
    "max_iter": ([3, 2], {}),
    "max_steps": ([3, 9], {}),
    "micro_batch_size": ([2, 3], {}),
    "momentum": ([0.9, 0.5], SGD),
    "muon_momentum": ([0.95, 0.5], {"solver": "muon"}),
    "n_iter_no_change": ([1, 9], {**EARLY, "tol": 1.0}),
    "n_members": ([1, 2], {}),
    "n_snapshots": ([1, 2], {"max_iter": 4}),
    "nesterovs_momentum": ([True, False], SGD),
    "power_t": ([0.5, 0.1], {**SGD, "learning_rate": "invscaling"}),
    "random_state": ([0, 1], {}),
    "rho": ([0.1, 0.5], {}),
    "rho_grid": ([[0.0], [2.0]], AUTO),
    "sam_interval": ([1, 2], {}),
    "sam_start": ([0.0, 1], {}),
    "schedule_free_warmup": ([0, 5], {"solver": "schedule_free"}),
    "scoring": ([None, "loss"], SLOW),
    "shuffle": ([True, False], {}),
    "snapshot_schedule": (["cosine", "triangular"], {**SNAPSHOTS, "snapshot_start": 0}),
    "snapshot_start": ([None, 2], SNAPSHOTS),
    "solver": (["sam", "gsam"], {}),
    "swa": ([False, True], {"swa_start": 1}),
    "swa_anneal": ([0, 3], SWA_RATE),
    "swa_anneal_strategy": (["cosine", "linear"], {**SWA_RATE, "swa_anneal": 4}),
    "swa_cycle": ([None, 2], SWA_RATE),
    "swa_freq": ([1, 2], SWA),
    "swa_lr": ([None, 0.01], SWA),
    "swa_start": ([1, 3], SWA),
    "tol": ([1e-4, 1.0], {**SLOW, "n_iter_no_change": 1, "scoring": "loss"}),
    "validation_fraction": ([0.3, 0.2], EARLY),
    "warmup": ([0, 1], {}),
    "weight_decay": ([0.01, 0.5], {"solver": "adamw"}),
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
TRAINED_BEFORE = {"cv": 0, "max_fun": 0, "rho_grid": 0, "n_members": 1}


def make(name="", **params):
    """Return an estimator that has a parameter, and targets for it."""
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


def test_every_parameter_is_in_the_table():
    names = {*SAMMLPClassifier().get_params(), *SAMMLPRegressor().get_params()}
    assert sorted([*TABLE, *WITHOUT_EFFECT]) == sorted(names)
    assert {*FREE} <= {*TABLE}


@pytest.mark.parametrize("name", TABLE)
def test_two_values_of_a_parameter_are_two_trainings(name, calls):
    values, params = TABLE[name]
    estimator, y = make(name, **params)
    ours = searched(VectorizedGridSearchCV, estimator, {name: values}, y)
    n_before = TRAINED_BEFORE.get(name, 2)
    assert calls[:1] == [2 * n_before] or n_before == 0
    assert (len(calls) == 1) == (n_before == 2)
    expected = searched(GridSearchCV, estimator, {name: values}, y)
    assert_allclose(ours, expected, rtol=1e-9)
    # on every split, or the one could be taken for the other
    assert np.isfinite(expected).all()
    first, second = expected
    assert (first != second).any(axis=-1).all()


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
        "swa": [False, True],
        "swa_start": [1, 3],
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
    clf._trainer = Prefetched()
    clf._trainer.is_collecting = True
    with pytest.raises(JobCollected) as info:
        clf.fit(X, LABELS, **data)
    return info.value


# fields of a training by which none is told apart, because of others or of what they hold
OF_A_JOB_ALONE = {
    "averaging_state",
    "callbacks",
    "classes",
    "decode",
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
    keys.append(job_key(found.job, estimator, found.data))
    assert len(set(keys)) == len(keys) > 2 + len(dataclasses.fields(Settings))
    fields = {field.name for field in dataclasses.fields(found.job)}
    # with rows that are given, all others are trained on
    assert names == fields - OF_A_JOB_ALONE - ({"rows"} if is_given else set())


def test_a_training_without_a_seed_is_known_whatever_was_drawn():
    keys = {collected({"random_state": None}).key for _ in range(3)}
    assert len(keys) == 1
    assert keys != {collected({"random_state": 0}).key}
