"""Steps that are captured and replayed come to what steps that are launched come to.

On the CPU a recorder takes the place of a CUDA graph: it runs the operations of the
capture again, on the same memory and with the same numbers.
"""

import contextlib
import copy
import dataclasses
import gc
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from skorch.callbacks import Callback

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import (
    ESAM,
    SAM,
    SWA,
    Huber,
    InputNoise,
    LookSAM,
    Quantile,
    Snapshots,
)
from sksharp.options.schedules import SCHEDULES
from sksharp.options.solvers import SOLVERS
from sksharp.training import _batches, _graphs, fit_models
from sksharp.training._chunk import Chunk
from sksharp.training._epoch import EpochLoss
from sksharp.training._loop import Loop
from sksharp.training._optimizer import optimizer_class

from ..solvers import PAIRS_WITH_A_RATE, every_solver, pair_params
from .recorder import Recorder

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

# chunks of three minibatches, three and one, which is short
N, BATCH_SIZE, STEPS = 51, 8, 3
rng = np.random.RandomState(0)
X = rng.normal(size=(N, 4))
LABELS = (X[:, 0] + rng.normal(size=N) > 0) + (X[:, 1] > 0.5)
TARGETS = X[:, 0] - X[:, 1] ** 2 + rng.normal(size=N)
WEIGHTS = rng.uniform(0.5, 2, size=N)
BASE = {
    "hidden_layer_sizes": (5, 4),
    "batch_size": BATCH_SIZE,
    "max_iter": 4,
    "learning_rate_init": 0.01,
    "alpha": 0.1,
    "rho": 0.2,
    "tol": 0.0,
    "random_state": 0,
}


@pytest.fixture
def train(monkeypatch):
    """Return a function that trains jobs with graphs or without, on copies."""
    made = []
    monkeypatch.setenv("SKSHARP_CUDA_GRAPHS", "1")  # of the tests on CUDA

    class Noted(_graphs.StepGraphs):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr("sksharp.training._loop.StepGraphs", Noted)
    monkeypatch.setattr(
        _batches.Batches, "_steps_per_chunk", lambda batches, n_bytes: STEPS
    )

    def train(jobs, new_graph=None):
        made.clear()
        monkeypatch.setattr(_graphs, "graph_of_device", lambda device: new_graph)
        return fit_models(copy.deepcopy(jobs)), [*made]

    return train


@pytest.fixture
def make(job_of):
    """Return a function that makes the jobs of models that train together."""

    def make(params=None, variants=({},), *, kind=SAMMLPClassifier, **fit_params):
        y = LABELS if kind is SAMMLPClassifier else TARGETS
        data = fit_params.pop("X", X), fit_params.pop("y", y)
        estimators = [kind(**{**BASE, **(params or {}), **more}) for more in variants]
        return [job_of(estimator, *data, **fit_params) for estimator in estimators]

    return make


def in_one_stream(jobs):
    """Return jobs that go through the same rows in the same order."""
    first = jobs[0]
    names = ("X", "y", "sample_weight", "random_state")
    shared = {name: getattr(first, name) for name in names}
    return [dataclasses.replace(job, **shared) for job in jobs]


def parts(value, name=""):
    """Yield all that a result holds, by name."""
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, np.random.RandomState):
        value = value.get_state(legacy=False)
    if isinstance(value, dict):
        for key, part in value.items():
            yield from parts(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from parts(part, f"{name}[{i}]")
    else:
        is_array = isinstance(value, np.ndarray)
        yield name, (value.dtype, value.tobytes()) if is_array else repr(value)


def assert_same(results, expected):
    found, wanted = (dict(parts(r)) for r in (results, expected))
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == []


def assert_replays_as_launched(train, jobs, *, n_replays=None):
    """Train with graphs and without, and compare all that is left, to the bit."""
    expected, (launched, *_) = train(jobs)
    results, (graphs, *_) = train(jobs, Recorder)
    assert launched.n_replays == 0
    if n_replays is None:
        assert graphs.n_replays > 0
    else:
        assert graphs.n_replays == n_replays
    assert_same(results, expected)


# -- solvers ---------------------------------------------------------------------------

# models that differ in all that they may
VARIANTS = [
    {},
    {"rho": 0.5, "alpha": 0.0, "random_state": 1},
    {"learning_rate_init": 0.02, "momentum": 0.5, "beta_1": 0.8, "beta_2": 0.99},
]


def without_kernel(solver, base_solver, monkeypatch):
    """Take Adam's step apart where the rate alone is not what changes.

    The fused kernel takes an epsilon of the host. In several kernels the step rounds
    otherwise, with a graph and without.
    """
    if "schedule_free" in (solver, base_solver):
        monkeypatch.setattr("sksharp.optim.adam._has_kernel", lambda *tensors: False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_solver
def test_every_solver(solver, base_solver, dtype, train, make, monkeypatch):
    without_kernel(solver, base_solver, monkeypatch)
    params = {"solver": solver, "base_solver": base_solver}
    jobs = make(params, X=X.astype(dtype), sample_weight=WEIGHTS)
    assert_replays_as_launched(train, jobs)


@pytest.mark.parametrize("is_shared", [False, True], ids=["own rows", "same rows"])
@every_solver
def test_every_solver_for_many_models(
    solver, base_solver, is_shared, train, make, monkeypatch
):
    without_kernel(solver, base_solver, monkeypatch)
    params = {"solver": solver, "base_solver": base_solver}
    jobs = make(params, VARIANTS, X=X.astype(np.float32), sample_weight=WEIGHTS)
    assert_replays_as_launched(train, in_one_stream(jobs) if is_shared else jobs)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_says_that_it_can_be_captured(solver):
    assert vars(optimizer_class(SOLVERS[solver]))["capturable"] is True


STEPS_THAT_DIFFER = {
    "interval": SAM(interval=2),
    "start": SAM(start=1),
    "interval and start": SAM(interval=3, start=2),
    "reused directions": LookSAM(k=2),
    "parts at once": SAM(micro_batch_size=4),
    "parts one by one": SAM(micro_batch_size=3),
    "a part of the rows": ESAM(fraction=0.3),
    "all rows": ESAM(fraction=1.0),
}


@pytest.mark.parametrize("sample_weight", [None, WEIGHTS], ids=["", "weighted"])
@pytest.mark.parametrize("case", STEPS_THAT_DIFFER)
def test_steps_that_differ_among_themselves(case, sample_weight, train, make):
    jobs = make({"solver": STEPS_THAT_DIFFER[case]}, sample_weight=sample_weight)
    assert_replays_as_launched(train, jobs)


# -- rates, averages, masks and losses -------------------------------------------------

SETTINGS = {
    **{f"{name}": {"learning_rate": name} for name in SCHEDULES},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "tol": 1.0,
        "n_iter_no_change": 1,
    },
    "warm-up": {"warmup": 0.5},
    "cosine of adamw": {"solver": "adamw", "learning_rate": "cosine"},
    "cosine of ranger": {"solver": "ranger", "learning_rate": "cosine"},
    "cosine of wsam": {
        "solver": "wsam",
        "base_solver": "sgd",
        "learning_rate": "cosine",
    },
    "cosine of muon": {"solver": "muon", "learning_rate": "cosine"},
    "swa": {"swa": SWA(start=1)},
    "swa at another rate": {"swa": SWA(start=1, lr=1e-4)},
    "swa in cycles": {"swa": SWA(start=1, lr=1e-4, cycle=1)},
    "ema": {"ema_decay": 0.9},
    "ema of a length": {"ema_decay": "auto"},
    "ema of slow weights": {"ema_decay": 0.9, "solver": "ranger"},
    "ema of unperturbed weights": {"ema_decay": 0.9, "solver": "msam"},
    "ema of averaged weights": {"ema_decay": 0.9, "solver": "schedule_free"},
    "snapshots": {"snapshots": Snapshots(n=2)},
    "dropout": {"dropout": 0.3},
    "dropout of inputs": {"dropout": [0.2, 0.3, 0]},
    "noise": {"input_noise": InputNoise(std=0.3, missing=0.1)},
    "all of them": {
        "dropout": [0.1, 0.3, 0.2],
        "input_noise": 0.2,
        "ema_decay": 0.9,
        "learning_rate": "cosine",
        "warmup": 1,
        "solver": "friendly_sam",
    },
    "no penalty": {"alpha": 0.0},
    "no ascent": {"rho": 0.0},
    "in order": {"shuffle": False},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
}


@pytest.mark.parametrize("n_models", [1, 2])
@pytest.mark.parametrize("case", SETTINGS)
def test_every_setting(case, n_models, train, make, monkeypatch):
    settings = SETTINGS[case]
    without_kernel(settings.get("solver"), None, monkeypatch)
    variants = [{}, {"learning_rate_init": 0.03, "random_state": 1}][:n_models]
    assert_replays_as_launched(train, make(settings, variants))


@pytest.mark.parametrize("sample_weight", [None, WEIGHTS], ids=["", "weighted"])
def test_folds_of_other_lengths(sample_weight, train, make):
    # seven minibatches each, the last of which is shorter for one than for the other
    jobs = [
        make(
            variant,
            X=X[:n],
            y=LABELS[:n],
            sample_weight=None if sample_weight is None else sample_weight[:n],
        )[0]
        for variant, n in [({}, 51), ({"random_state": 1}, 53 - 4)]
    ]
    assert_replays_as_launched(train, jobs)


LOSSES = {
    "squared_error": {},
    "poisson": {"loss": "poisson"},
    "huber": {"loss": Huber(delta=0.7)},
    "quantiles": {"loss": Quantile(quantile=(0.1, 0.5, 0.9))},
}


@pytest.mark.parametrize("case", LOSSES)
def test_every_loss_of_a_regressor(case, train, make):
    y = np.abs(TARGETS) if case == "poisson" else TARGETS
    assert_replays_as_launched(train, make(LOSSES[case], kind=SAMMLPRegressor, y=y))


def test_models_that_end_before_the_others(train, make):
    jobs = make({}, [{}, {"max_iter": 2}, {"alpha": 1.0}])
    assert_replays_as_launched(train, jobs)
    _, all_graphs = train(jobs, Recorder)
    assert [graphs.n_replays > 0 for graphs in all_graphs] == [True, True]


# -- which steps are replayed ----------------------------------------------------------


def test_the_first_chunk_of_a_kind_is_launched_and_the_others_are_replayed(train, make):
    # of each epoch two chunks of three steps, and one of one
    assert_replays_as_launched(train, make(), n_replays=4 * 3 - 2)


def test_one_graph_of_a_kind_is_enough_where_steps_are_alike(train, make):
    _, (graphs,) = train(make({"learning_rate": "cosine"}), Recorder)
    assert [len(programs) for programs in graphs._programs.values()] == [1, 1]


def test_a_training_with_too_many_kinds_of_steps_launches_the_rest(
    train, make, monkeypatch
):
    monkeypatch.setattr(_graphs, "MAX_KINDS", 2)
    jobs = make({"solver": SAM(interval=5), "max_iter": 6})
    assert_replays_as_launched(train, jobs)


class Silent(Callback):
    pass


NOT_CAPTURED = {
    "callbacks": ({"callbacks": [Silent()]}, {}),
    "sparse rows": ({}, {"X": sp.csr_matrix(X)}),
}


@pytest.mark.parametrize("case", NOT_CAPTURED)
def test_what_cannot_be_captured_is_launched(case, train, make):
    params, data = NOT_CAPTURED[case]
    jobs, made = make(params, **data), []

    def new_graph():
        made.append(Recorder())
        return made[-1]

    results, _ = train(jobs, new_graph)
    assert made == []
    assert_same(results, train(jobs)[0])


def test_an_interrupt_before_a_replay_leaves_counts_as_they_were(
    train, make, monkeypatch
):
    jobs = make({"solver": "adam", "max_iter": 1})
    (launched,), _ = train([dataclasses.replace(jobs[0])])

    def interrupt(chunk, other):
        raise KeyboardInterrupt

    monkeypatch.setattr(Chunk, "copy_from", interrupt)
    (result,), _ = train(jobs, Recorder)
    # the first chunk was launched, the second one would have been replayed
    counts = [
        r.optimizer_state.state_dict["state"][0]["step"] for r in (launched, result)
    ]
    assert counts == [7, STEPS]


def test_a_step_of_much_work_is_launched(train, make, monkeypatch):
    monkeypatch.setattr(_graphs, "WORK_OF_LAUNCHES", 100)
    assert_replays_as_launched(train, make(), n_replays=0)


def test_an_optimizer_that_does_not_say_so_is_launched(train, make, monkeypatch):
    from sksharp.optim import Adam

    monkeypatch.setattr(Adam, "capturable", False)
    assert_replays_as_launched(train, make(), n_replays=0)


def test_a_class_that_derives_from_another_has_to_say_so_itself():
    from sksharp.optim import SAM, Adam

    class Own(Adam):
        pass

    p = [torch.nn.Parameter(torch.zeros(2))]
    assert _graphs.is_capturable(SAM(p, Adam))
    assert not _graphs.is_capturable(Own(p))
    assert not _graphs.is_capturable(SAM(p, Own))
    assert not _graphs.is_capturable(torch.optim.SGD(p))


class Failing(Recorder):
    """Fails at an operation of a capture, as a device may, or from one on, as CUDA."""

    n_calls = 0
    fails_at = 0
    is_lasting = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        Failing.n_calls += 1
        is_late = self.is_lasting and Failing.n_calls > Failing.fails_at
        if is_late or Failing.n_calls == Failing.fails_at:
            raise RuntimeError("operation not permitted when stream is capturing")
        return super().__torch_dispatch__(func, types, args, kwargs)


@pytest.mark.parametrize("solver", ["sam", "ranger", "friendly_sam", "yellowfin"])
@pytest.mark.parametrize("fails_at", [1, 30, 70])
@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "from then on"])
def test_after_an_error_in_a_capture_steps_are_launched(
    solver, fails_at, is_lasting, train, make, monkeypatch
):
    monkeypatch.setattr(Failing, "fails_at", fails_at)
    monkeypatch.setattr(Failing, "is_lasting", is_lasting)
    monkeypatch.setattr(Failing, "n_calls", 0)
    jobs = make({"solver": solver, "ema_decay": 0.9})
    expected, _ = train(jobs)
    results, (graphs,) = train(jobs, Failing)
    assert Failing.n_calls >= fails_at
    assert graphs.new_graph is None
    assert graphs.failure.startswith("RuntimeError: operation not permitted")
    assert_same(results, expected)


def test_graphs_are_gone_with_the_training(train, make):
    made = []

    def new_graph():
        graph = Recorder()
        made.append(weakref.ref(graph))
        return graph

    gc.disable()
    try:
        _, all_graphs = train(make({"solver": "ranger", "ema_decay": 0.9}), new_graph)
        assert all_graphs[0].n_replays > 0
        # nothing else holds them, and no cycle
        all_graphs.clear()
        train(make({"max_iter": 1}))
        assert [ref() for ref in made] == [None] * len(made)
    finally:
        gc.enable()


def test_what_the_host_keeps_beside_the_tape_is_not_captured(train, make, monkeypatch):
    from sksharp.optim import SGD

    update = SGD.update

    def counts(self, p, grad, state, group):
        state["count"] = state.get("count", 0) + 1
        update(self, p, grad, state, group)

    monkeypatch.setattr(SGD, "update", counts)
    assert_replays_as_launched(train, make({"solver": "sgd"}), n_replays=0)


# -- on CUDA ---------------------------------------------------------------------------


CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("value", "is_on"), [(None, False), ("", False), ("0", False), ("1", True)]
)
def test_graphs_are_captured_only_where_the_user_says_so(value, is_on, monkeypatch):
    monkeypatch.delenv("SKSHARP_CUDA_GRAPHS", raising=False)
    if value is not None:
        monkeypatch.setenv("SKSHARP_CUDA_GRAPHS", value)
    assert (_graphs.graph_of_device(CUDA) is not None) == is_on
    assert _graphs.graph_of_device(torch.device("cpu")) is None


def test_the_variable_for_graphs_is_0_or_1(monkeypatch):
    monkeypatch.setenv("SKSHARP_CUDA_GRAPHS", "yes")
    with pytest.raises(
        ValueError, match="SKSHARP_CUDA_GRAPHS must be 0 or 1, got 'yes'"
    ):
        _graphs.graph_of_device(CUDA)


def test_the_default_stream_is_refused_before_torch_begins(monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "default")
    monkeypatch.setattr(torch.cuda, "default_stream", lambda: "default")
    with pytest.raises(RuntimeError, match="default stream"):
        with _graphs.CudaGraph().capture():
            raise AssertionError("the capture began")
    assert not _graphs._one_capture.locked()


def test_a_graph_of_cuda_is_of_the_current_stream_and_one_at_a_time(monkeypatch):
    monkeypatch.setenv("SKSHARP_CUDA_GRAPHS", "1")
    log = []

    class CUDAGraph:
        def replay(self):
            log.append("replay")

    @contextlib.contextmanager
    def graph(graph, *, stream, capture_error_mode):
        assert isinstance(graph, CUDAGraph)
        log.append((stream, capture_error_mode, _graphs._one_capture.locked()))
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", CUDAGraph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "own")
    monkeypatch.setattr(torch.cuda, "default_stream", lambda: "default")
    graph_of_steps = _graphs.graph_of_device(CUDA)()
    with graph_of_steps.capture():
        log.append("steps")
    graph_of_steps.replay()
    assert log == [("own", "thread_local", True), "steps", "replay"]
    assert not _graphs._one_capture.locked()


def assert_close(results, expected, tolerance):
    for result, wanted in zip(results, expected, strict=True):
        found = [*result.weights.coefs, *result.weights.intercepts]
        arrays = [*wanted.weights.coefs, *wanted.weights.intercepts]
        for array, other in zip(found, arrays, strict=True):
            np.testing.assert_allclose(array, other, rtol=0, atol=tolerance)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("solver", "base_solver"), pair_params(PAIRS_WITH_A_RATE))
def test_graphs_of_cuda_come_to_what_launches_come_to(
    solver, base_solver, dtype, train, make
):
    params = {"solver": solver, "base_solver": base_solver, "device": "cuda"}
    settings = {"learning_rate": "cosine", "ema_decay": 0.9, "dropout": 0.2}
    for variants in ([{}], VARIANTS):
        jobs = make(
            {**params, **settings}, variants, X=X.astype(dtype), sample_weight=WEIGHTS
        )
        expected, _ = train(jobs)
        results, (graphs,) = train(jobs, _graphs.CudaGraph)
        assert graphs.n_replays > 0
        tolerance = 1e-4 if dtype is np.float32 else 1e-10
        assert_close(results, expected, tolerance)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_an_epoch_on_cuda_does_not_wait_for_the_device(train, make, monkeypatch):
    jobs = make({"device": "cuda", "dropout": 0.2, "learning_rate": "cosine"})
    train_epoch, values = Loop.train_epoch, EpochLoss.values

    def without_waiting(loop, lrs):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return train_epoch(loop, lrs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def waiting(loss, batches):
        torch.cuda.set_sync_debug_mode("default")
        return values(loss, batches)

    expected, _ = train(jobs)
    monkeypatch.setattr(Loop, "train_epoch", without_waiting)
    monkeypatch.setattr(EpochLoss, "values", waiting)
    results, _ = train(jobs, _graphs.CudaGraph)
    assert_close(results, expected, 1e-10)
