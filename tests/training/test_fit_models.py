"""Jobs that are trained together come to what each comes to alone."""

import copy
import dataclasses
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp._input_noise import Columns, HeldOutNoise, NoiseSettings
from sksharp._jobs import Validation
from sksharp.options import (
    ESAM,
    GSAM,
    SAM,
    SWA,
    WSAM,
    Cosine,
    InputNoise,
    LookSAM,
    MultiStep,
    Ranger,
    Snapshots,
    Step,
)
from sksharp.training import _plan, fit_models
from sksharp.training._plan import plan

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

rng = np.random.RandomState(0)
N = 83
X = rng.normal(size=(N, 5))
LABELS = (X[:, 0] + X[:, 1] ** 2 + rng.normal(size=N) > 0.7) + (X[:, 2] > 0.5)
TARGETS = X[:, 0] - X[:, 1] ** 2 + rng.normal(size=N)
WEIGHTS = rng.uniform(0.5, 2, size=N)

BASE = {
    "hidden_layer_sizes": (6, 4),
    "batch_size": 20,
    "max_iter": 25,
    "learning_rate_init": 0.01,
    "n_iter_no_change": 3,
    "random_state": 0,
}
# what may differ between models that are trained together
VARIANTS = [
    {},
    {"rho": 0.2},
    {"rho": 0.2, "alpha": 1.0},
    {"random_state": 1},
    {"learning_rate_init": 0.05, "tol": 0.02},
    {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-4, "random_state": 1},
    {"max_iter": 7},
]
NOISE = InputNoise(std=0.5, missing=0.1, on="both")
DRAWN = [
    {},
    {"dropout": [0.3, 0.2, 0.2]},
    {"input_noise": NOISE},
    {"input_noise": 0.5, "dropout": [0.3, 0, 0]},
]
SGD_VARIANTS = [
    {},
    {"momentum": 0.5, "tol": 0.1},
    {"learning_rate": "invscaling", "tol": 0.1},
    {"learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 1},
    {"learning_rate_init": 0.1, "random_state": 3},
]
# schedules that change the rate step by step, epoch by epoch and not at all
SCHEDULE_VARIANTS = [
    {"learning_rate": "cosine"},
    {"learning_rate": Cosine(lr_min=0.01), "learning_rate_init": 0.05},
    {"learning_rate": Cosine(flat=0.75), "rho": 0.2, "max_iter": 7},
    {"learning_rate": "onecycle", "alpha": 1.0, "n_iter_no_change": 9},
    {"learning_rate": Step(size=4, gamma=0.5), "random_state": 1},
    {"learning_rate": MultiStep(milestones=(0.2, 5))},
    {"learning_rate": "exponential", "warmup": 2},
    {"warmup": 0.3, "tol": 0.02},
    {"tol": 0.02, "learning_rate_init": 0.05},
]
SNAPSHOT_VARIANTS = [
    {"snapshots": 3},
    {"random_state": 1, "max_iter": 16, "snapshots": Snapshots(n=2, lr_min=0.001)},
    {"snapshots": Snapshots(n=3, schedule="triangular", start=5)},
    {"warmup": 2, "rho": 0.2, "snapshots": 4},
    {},
]
SETTINGS = {
    "schedules": ({}, SCHEDULE_VARIANTS),
    "schedules of one length": ({"n_iter_no_change": 100}, SCHEDULE_VARIANTS),
    "schedules of ranger": ({"solver": "ranger"}, SCHEDULE_VARIANTS),
    "schedules of wsam over sgd": (
        {"solver": "wsam", "base_solver": "sgd"},
        [*SCHEDULE_VARIANTS, {"learning_rate": "adaptive", "tol": 0.1}],
    ),
    "a schedule for all": (
        {"learning_rate": "cosine", "warmup": 1},
        [{}, {"alpha": 1.0}, {"rho": 0.2, "max_iter": 25, "tol": 0.02}],
    ),
    "schedules and early stopping": (
        {"early_stopping": True, "validation_fraction": 0.3},
        SCHEDULE_VARIANTS,
    ),
    "snapshots": ({}, SNAPSHOT_VARIANTS),
    "rates of averaging": (
        {"swa": SWA(start=10), "n_iter_no_change": 6},
        [
            {},
            {"swa": SWA(start=10, lr=0.001)},
            {"swa": SWA(start=10, lr=0.03, anneal=5)},
            {"swa": SWA(start=10, lr=0.001, anneal=0.5, strategy="linear")},
            {"swa": SWA(start=10, lr=0.001, cycle=4)},
            {"swa": SWA(start=10, lr=0.001, anneal=3), "learning_rate": "cosine"},
            {"swa": SWA(start=10, lr=0.001, cycle=3), "max_iter": 17, "tol": 0.02},
        ],
    ),
    "ema of a length": ({"ema_decay": "auto"}, VARIANTS),
    "sam": ({}, VARIANTS),
    "adam": ({"solver": "adam"}, VARIANTS),
    "wsam": ({"solver": "wsam"}, [*VARIANTS, {"solver": WSAM(gamma=0.3)}]),
    "numbers that steps share": (
        {"solver": "looksam"},
        [
            *VARIANTS,
            {"solver": LookSAM(k=2)},
            {"solver": LookSAM(interval=2)},
            {"solver": LookSAM(alpha=0.2)},
        ],
    ),
    "sam over sgd": ({"base_solver": "sgd"}, SGD_VARIANTS),
    "sgd": ({"solver": "sgd"}, SGD_VARIANTS),
    "ranger": (
        {"solver": "ranger", "learning_rate_init": 0.03},
        [*VARIANTS, {"solver": Ranger(alpha=0.2)}],
    ),
    "swa": ({"swa": True}, [*VARIANTS, {"swa": SWA(start=3, lr=0.001)}]),
    "early stopping": (
        {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 8},
        VARIANTS,
    ),
    "early stopping of ranger": (
        {
            "early_stopping": True,
            "solver": "ranger",
            "learning_rate_init": 0.03,
            "n_iter_no_change": 9,
        },
        VARIANTS,
    ),
    "early stopping and swa": ({"early_stopping": True, "swa": True}, VARIANTS),
    "ema": ({"ema_decay": 0.9}, [*VARIANTS, {"ema_decay": 0.5}, {"ema_decay": None}]),
    "ema and early stopping": (
        {"ema_decay": 0.9, "early_stopping": True, "n_iter_no_change": 9},
        VARIANTS,
    ),
    "without shuffling": ({"shuffle": False}, VARIANTS),
    "one hidden layer": ({"hidden_layer_sizes": 7}, VARIANTS),
    "dropout": ({}, [{"dropout": 0.3, **variant} for variant in VARIANTS]),
    "shares of dropout": (
        {"dropout": 0.3},
        [
            *VARIANTS,
            {"dropout": 0.6},
            {"dropout": [0.3, 0.5], "random_state": 1},
            {"dropout": [0, 1e-9, 0.1]},
        ],
    ),
    "dropout without shuffling": ({"dropout": 0.3, "shuffle": False}, VARIANTS),
    "noise": ({"input_noise": 0.5}, VARIANTS),
    "noise without shuffling": ({"input_noise": NOISE, "shuffle": False}, VARIANTS),
    "noise and dropout": ({"input_noise": NOISE, "dropout": [0.2, 0, 0.4]}, VARIANTS),
    "noise of held-out rows": (
        {
            "input_noise": InputNoise(std=0.5, on="validation"),
            "early_stopping": True,
            "n_iter_no_change": 9,
        },
        VARIANTS,
    ),
    "dropout of the inputs": (
        {"dropout": [0.2, 0, 0.4], "ema_decay": 0.9},
        [*VARIANTS, {"dropout": [0.2, 0, 0.1]}],
    ),
    "no penalty": ({"alpha": 0.0}, VARIANTS[:2]),
    "whole batch": ({"batch_size": 100}, VARIANTS),
}


def make_jobs(job_of, settings, variants, *, estimator=SAMMLPClassifier, **data):
    X_, y = data.pop("X", X), data.pop("y", LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the batch size is clipped
        jobs = [
            job_of(estimator(**{**BASE, **settings, **variant}), X_, y, **data)
            for variant in variants
        ]
    # as the search does: the same rows are the same object
    for job in jobs:
        job.X, job.sample_weight = jobs[0].X, jobs[0].sample_weight
        job.y = jobs[0].y
        if job.validation is not None:
            object.__setattr__(job.validation, "X", job.X)
            object.__setattr__(job.validation, "y", job.y)
    return jobs


def assert_same_result(together, alone):
    for array, other in zip(
        [*together.weights.coefs, *together.weights.intercepts],
        [*alone.weights.coefs, *alone.weights.intercepts],
        strict=True,
    ):
        assert_allclose(array, other, rtol=1e-9, atol=1e-9)
    a, b = together.progress, alone.progress
    assert (a.n_iter, a.t, a.best_n_iter) == (b.n_iter, b.t, b.best_n_iter)
    assert a.no_improvement_count == b.no_improvement_count
    assert_allclose(a.loss_curve, b.loss_curve, rtol=1e-9)
    if b.validation_scores is not None:
        assert_allclose(a.validation_scores, b.validation_scores, rtol=1e-9)
    assert together.n_averaged == alone.n_averaged
    assert (together.iterate is None) == (alone.iterate is None)
    assert together.warnings == alone.warnings
    assert len(together.snapshots) == len(alone.snapshots)
    for snapshot, other in zip(together.snapshots, alone.snapshots, strict=True):
        assert (snapshot.n_iter, snapshot.t) == (other.n_iter, other.t)
        for array, expected in zip(
            snapshot.weights.coefs, other.weights.coefs, strict=True
        ):
            assert_allclose(array, expected, rtol=1e-9, atol=1e-9)
    assert_array_equal(
        together.random_state.get_state()[1], alone.random_state.get_state()[1]
    )
    assert together.random_state.get_state()[2:] == alone.random_state.get_state()[2:]
    assert_same_state(
        together.optimizer_state.state_dict, alone.optimizer_state.state_dict
    )


def assert_same_state(state, other):
    assert type(state) is type(other)
    if isinstance(state, dict):
        assert state.keys() == other.keys()
        for key in state:
            assert_same_state(state[key], other[key])
    elif isinstance(state, list):
        for item, other_item in zip(state, other, strict=True):
            assert_same_state(item, other_item)
    elif state is not None:
        assert_allclose(state, other, rtol=1e-8, atol=1e-10)


def assert_together_as_alone(jobs):
    alone = [fit_models([job])[0] for job in copy.deepcopy(jobs)]
    together = fit_models(jobs)
    for result, expected in zip(together, alone, strict=True):
        assert_same_result(result, expected)
    return together


@pytest.mark.parametrize("case", SETTINGS)
def test_jobs_together_come_to_what_each_comes_to_alone(case, job_of):
    jobs = make_jobs(job_of, *SETTINGS[case])
    assert len(plan(jobs)) < len(jobs)
    results = assert_together_as_alone(jobs)
    # they end at epochs of their own
    assert len({result.progress.n_iter for result in results}) > (len(jobs) > 2)


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressors_together_come_to_what_each_comes_to_alone(loss, weighted, job_of):
    y = TARGETS if loss == "squared_error" else np.abs(TARGETS)
    jobs = make_jobs(
        job_of,
        {"loss": loss, "early_stopping": True},
        VARIANTS,
        estimator=SAMMLPRegressor,
        y=y,
        sample_weight=WEIGHTS if weighted else None,
    )
    assert_together_as_alone(jobs)


@pytest.mark.parametrize("targets", ["labels", "several labels", "several targets"])
def test_several_outputs_together_are_what_each_is_alone(targets, job_of):
    estimator, y = {
        "labels": (SAMMLPClassifier, LABELS > 0),
        "several labels": (SAMMLPClassifier, np.c_[LABELS > 0, LABELS > 1]),
        "several targets": (SAMMLPRegressor, np.c_[TARGETS, TARGETS**2]),
    }[targets]
    assert_together_as_alone(make_jobs(job_of, {}, VARIANTS, estimator=estimator, y=y))


@pytest.mark.parametrize("dropout", [0.0, [0.3, 0.2, 0.2]])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_rows_are_shared_by_models_of_one_seed(early_stopping, dropout, job_of):
    sparse = sp.csr_array(X * (X > 0))
    settings = {"early_stopping": early_stopping, "dropout": dropout}
    jobs = make_jobs(job_of, settings, VARIANTS, X=sparse)
    assert len(plan(jobs)) == 2
    assert_together_as_alone(jobs)


def folds_of(job, sizes):
    """Return jobs on parts of the rows, of these sizes, each judged by the others."""
    jobs = []
    for i, size in enumerate(sizes):
        part = copy.copy(job)
        part.random_state = np.random.RandomState(i)
        part.progress = copy.deepcopy(job.progress)
        part.rows = np.random.RandomState(10 + i).permutation(N)[:size]
        jobs.append(part)
    return jobs


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("params", DRAWN, ids=str)
@pytest.mark.parametrize("rho", [0.05, 0.0])
def test_folds_of_different_sizes_train_together(weighted, rho, params, job_of):
    weights = WEIGHTS if weighted else None
    job, other = make_jobs(
        job_of,
        {"rho": rho, **params},
        [{}, {"alpha": 1.0}],
        sample_weight=weights,
    )
    # 4 minibatches each, the last one of 1 to 20 rows
    jobs = folds_of(job, [61, 70, 80]) + folds_of(other, [61, 70, 80])
    assert len(plan(jobs)) == 1
    assert_together_as_alone(jobs)


def test_folds_with_another_number_of_minibatches_train_apart(job_of):
    (job,) = make_jobs(job_of, {}, [{}])
    jobs = folds_of(job, [60, 61, 70])
    assert sorted(plan(jobs)) == [[0], [1, 2]]
    assert_together_as_alone(jobs)


def accuracy_of_the_first(outputs, weights):
    return float((outputs[:, 0] > 0.5).mean())


# another one for every field of the rows that judge a network, and of those it sees
OTHER_JUDGES = {
    "X": lambda X: X[::-1].copy(),
    "y": lambda y: y[::-1].copy(),
    "rows": lambda rows: rows[1:],
    "score": lambda score: accuracy_of_the_first,
    "sample_weight": lambda weights: weights[::-1].copy(),
    "freq": lambda freq: 2,
    "is_refined": lambda is_refined: True,
    "noise": lambda noise: HeldOutNoise(NoiseSettings(1.0, 0.0), Columns.of(X), (0,)),
}
OTHER_ROWS = {
    "X": OTHER_JUDGES["X"],
    "y": OTHER_JUDGES["y"],
    "rows": lambda rows: rows[1:],
    "sample_weight": OTHER_JUDGES["sample_weight"],
    "random_state": lambda state: np.random.RandomState(7),
}

# what a training writes to
OF_ONE_NETWORK = ("progress", "random_state")


def make_twins(job_of, change):
    """Return jobs of one network, the last of which is changed, on the same arrays."""
    settings = {"early_stopping": True, "validation_fraction": 0.3, "scoring": "loss"}
    (job,) = make_jobs(job_of, {**settings, "max_iter": 4}, [{}], sample_weight=WEIGHTS)
    twins = []
    for changes in ({}, change(job)):
        own = {name: copy.deepcopy(getattr(job, name)) for name in OF_ONE_NETWORK}
        twin = dataclasses.replace(job, **{**own, **changes})
        twins.append(twin)
    return twins


def assert_twins_train_as_alone(twins):
    assert len(plan(twins)) == 1
    first, second = assert_together_as_alone(twins)
    # the one would be seen in the place of the other
    assert first.progress.validation_scores != second.progress.validation_scores


def test_every_field_of_the_rows_that_judge_is_told_apart():
    fields = {field.name for field in dataclasses.fields(Validation)}
    # the losses of the rows are there, whether they are kept or not
    assert fields - {"keeps_rows"} == {*OTHER_JUDGES}


@pytest.mark.parametrize("field", OTHER_JUDGES)
@pytest.mark.parametrize("is_first", [False, True])
def test_networks_of_a_group_are_judged_by_rows_of_their_own(field, is_first, job_of):
    def change(job):
        value = OTHER_JUDGES[field](getattr(job.validation, field))
        return {"validation": dataclasses.replace(job.validation, **{field: value})}

    twins = make_twins(job_of, change)
    assert_twins_train_as_alone(twins[::-1] if is_first else twins)


@pytest.mark.parametrize("field", OTHER_ROWS)
def test_networks_of_a_group_see_rows_of_their_own(field, job_of):
    assert_twins_train_as_alone(
        make_twins(job_of, lambda job: {field: OTHER_ROWS[field](getattr(job, field))})
    )


# what the models of a step have in common: settings, and another one of them
SHARED = {
    "units": ({}, {"hidden_layer_sizes": (6, 5)}),
    "activation": ({}, {"activation": "tanh"}),
    "solver": ({}, {"solver": GSAM(alpha=0.0)}),
    "base solver": ({}, {"base_solver": "radam"}),
    "device": ({}, {"device": "cpu"}),
    # both make five minibatches
    "batch size": ({}, {"batch_size": 18}),
    "decay": ({"ema_decay": 0.9}, {"ema_decay": 0.8}),
    "lookahead": ({"solver": "ranger"}, {"solver": Ranger(k=3)}),
    "nesterov": ({"base_solver": "sgd"}, {"nesterovs_momentum": False}),
    "decoupling": ({"solver": "wsam"}, {"solver": WSAM(decouple=True)}),
    "looksam": ({"solver": "looksam"}, {"solver": LookSAM(k=2)}),
    "interval": ({}, {"solver": SAM(interval=2)}),
    "start": ({}, {"solver": SAM(start=2)}),
    "parts": ({"solver": SAM(micro_batch_size=6)}, {"solver": SAM(micro_batch_size=7)}),
    "fraction": ({"solver": "esam"}, {"solver": ESAM(fraction=0.7)}),
    "no ascent": ({}, {"rho": 0.0}),
    "dropout": ({}, {"dropout": 0.2}),
    "layers of dropout": ({"dropout": 0.2}, {"dropout": [0.2, 0]}),
    "dropout of the inputs": ({"dropout": [0.1, 0, 0]}, {"dropout": [0.2, 0, 0]}),
    "noise": ({}, {"input_noise": 0.2}),
    "strengths of noise": ({"input_noise": 0.1}, {"input_noise": 0.2}),
}


def assert_apart(jobs):
    assert sorted(plan(jobs)) == [[k] for k in range(len(jobs))]
    assert_together_as_alone(jobs)


@pytest.mark.parametrize("case", SHARED)
def test_models_that_cannot_share_a_step_train_apart(case, job_of):
    settings, other = SHARED[case]
    assert_apart(make_jobs(job_of, {**settings, "max_iter": 4}, [{}, other]))


def test_models_of_two_precisions_train_apart(job_of):
    clf = SAMMLPClassifier(**{**BASE, "max_iter": 4})
    jobs = [job_of(clf, X.astype(dtype), LABELS) for dtype in ("f4", "f8")]
    assert_apart(jobs)


@pytest.mark.parametrize(
    "settings", [{"solver": "esam"}, {"solver": SAM(micro_batch_size=7)}]
)
def test_folds_whose_minibatches_are_cut_train_apart(settings, job_of):
    (job,) = make_jobs(job_of, {**settings, "max_iter": 4}, [{}])
    # 4 minibatches each
    assert_apart(folds_of(job, [61, 70, 80]))


def test_a_model_that_goes_on_from_a_pause_trains_apart(job_of):
    jobs = make_jobs(job_of, {"max_iter": 4}, [{}, {"alpha": 1.0}])
    (paused,) = fit_models([dataclasses.replace(jobs[0], pause_at=2)])
    jobs[0] = jobs[0].resume(paused, None)
    assert_apart(jobs)


@pytest.mark.parametrize("params", DRAWN, ids=str)
def test_chunks_of_several_streams_leave_no_trace(params, job_of, monkeypatch):
    (job,) = make_jobs(job_of, params, [{}], sample_weight=WEIGHTS)
    whole = fit_models(folds_of(job, [61, 70, 80]))
    monkeypatch.setattr("sksharp.training._batches.CHUNK_BYTES", 1)
    in_parts = fit_models(folds_of(job, [61, 70, 80]))
    for result, expected in zip(in_parts, whole, strict=True):
        assert_same_result(result, expected)


def test_a_model_that_diverges_leaves_the_others_alone(job_of):
    jobs = make_jobs(job_of, {"solver": "sgd"}, [{}, {"alpha": 1e300}, {"tol": 0.1}])
    alone = [fit_models([job])[0] for job in copy.deepcopy(jobs)]
    together = fit_models(jobs)
    assert not together[1].weights.is_finite()
    for k in (0, 2):
        assert_same_result(together[k], alone[k])


def test_groups_are_cut_and_every_job_is_in_one(job_of, monkeypatch):
    jobs = make_jobs(job_of, {}, VARIANTS)
    monkeypatch.setattr(_plan, "group_size", lambda *args: 3)
    groups = plan(jobs)
    assert max(map(len, groups)) == 3
    assert sorted(place for group in groups for place in group) == list(
        range(len(jobs))
    )
    assert_together_as_alone(jobs)


@pytest.mark.parametrize("limit", ["WORK_TOGETHER", "GROUP_BYTES"])
def test_large_networks_train_one_by_one(limit, job_of, monkeypatch):
    jobs = make_jobs(job_of, {}, VARIANTS)
    monkeypatch.setattr(_plan, limit, 1)
    assert sorted(plan(jobs)) == [[k] for k in range(len(jobs))]


PAUSED = {
    "sam": {},
    "wsam over sgd": {"solver": "wsam", "base_solver": "sgd"},
    "ranger": {"solver": "ranger"},
    "swa": {"swa": SWA(start=5)},
    "early stopping": {"early_stopping": True},
    # the pauses are between the looks
    "early stopping in every third epoch": {"early_stopping": True, "freq": 3},
    "refined": {"early_stopping": True, "scoring": "refined_loss"},
    "refined swa": {
        "swa": SWA(start=5),
        "early_stopping": True,
        "scoring": "refined_loss",
    },
    "ema": {"ema_decay": 0.9},
    "ema and early stopping": {"ema_decay": 0.9, "early_stopping": True},
    "without shuffling": {"shuffle": False},
    "dropout": {"dropout": [0.1, 0.3, 0.3]},
    "dropout without shuffling": {"dropout": 0.3, "shuffle": False},
    "dropout and swa": {"dropout": 0.3, "swa": SWA(start=5)},
    "dropout and early stopping": {"dropout": 0.3, "early_stopping": True},
    "noise": {"input_noise": NOISE},
    "noise without shuffling": {"input_noise": NOISE, "shuffle": False},
    "noise and early stopping": {"input_noise": NOISE, "early_stopping": True},
    "cosine": {"learning_rate": "cosine", "warmup": 0.2},
    "one cycle of ranger": {"learning_rate": "onecycle", "solver": "ranger"},
    "drops": {"learning_rate": MultiStep(milestones=(3, 5, 8))},
    "decay of sgd": {"learning_rate": "exponential", "solver": "sgd", "warmup": 5},
    "ema of a length": {"ema_decay": "auto"},
    "swa after annealing": {
        "swa": SWA(start=3, lr=1e-3, anneal=6),
        "learning_rate": "cosine",
    },
    "swa in cycles": {"swa": SWA(start=3, lr=1e-3, cycle=3)},
    "snapshots": {"snapshots": 5},
    "snapshots of ranger": {
        "solver": "ranger",
        "snapshots": Snapshots(n=3, schedule="triangular", start=3),
    },
}


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
@pytest.mark.parametrize("case", PAUSED)
def test_a_pause_leaves_no_trace(case, together, job_of):
    settings = {"n_iter_no_change": 8, **PAUSED[case], "tol": 1e-6, "max_iter": 13}
    freq = settings.pop("freq", 1)
    jobs = make_jobs(job_of, settings, VARIANTS[:3] if together else VARIANTS[:1])
    for job in jobs:
        if job.validation is not None:
            job.validation = dataclasses.replace(job.validation, freq=freq)
    expected = fit_models(copy.deepcopy(jobs))
    results = fit_models([dataclasses.replace(job, pause_at=4) for job in jobs])
    assert all(result.is_paused for result in results)
    for pause_at in (7, None):
        jobs = [
            job.resume(result, pause_at)
            for job, result in zip(jobs, results, strict=True)
        ]
        assert len(plan(jobs)) == 1
        results = fit_models(jobs)
    for result, whole in zip(results, expected, strict=True):
        assert not result.is_paused
        for array, other in zip(
            [*result.weights.coefs, *result.weights.intercepts],
            [*whole.weights.coefs, *whole.weights.intercepts],
            strict=True,
        ):
            assert_array_equal(array, other)
        assert result.progress == whole.progress
        assert result.warnings == whole.warnings
        assert result.n_averaged == whole.n_averaged
        assert len(result.snapshots) == len(whole.snapshots)
        for snapshot, other in zip(result.snapshots, whole.snapshots, strict=True):
            assert (snapshot.n_iter, snapshot.t) == (other.n_iter, other.t)
            for array, expected in zip(
                snapshot.weights.coefs, other.weights.coefs, strict=True
            ):
                assert_array_equal(array, expected)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_processes_train_what_one_process_trains(backend, job_of):
    jobs = make_jobs(job_of, {}, VARIANTS)
    expected = fit_models(copy.deepcopy(jobs))
    counts = []
    with joblib.parallel_config(backend):
        results = fit_models(
            jobs,
            n_jobs=2,
            on_group=lambda n_done, n_jobs: counts.append((n_done, n_jobs)),
        )
    assert counts[-1] == (len(jobs), len(jobs))
    for result, other in zip(results, expected, strict=True):
        assert_same_result(result, other)
