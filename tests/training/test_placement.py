"""Where ``device='auto'`` trains. CUDA is only said to be there: nothing runs on it."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from sksharp import SAMMLPClassifier, VectorizedGridSearchCV
from sksharp.nets import SAMNetClassifier
from sksharp.training import _fit, _placement, _plan
from sksharp.training._device import has_cuda, resolve_device
from sksharp.training._placement import (
    FIT_WORK,
    ROWS_OF_UPDATE,
    STEP_WORK,
    gains_from_others,
    pays_on_cuda,
    placed,
    step_work,
)
from sksharp.training._plan import alike, plan

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

rng = np.random.RandomState(0)
X = rng.normal(size=(1024, 50)).astype(np.float32)
y = np.arange(1024) % 2
LARGE = {"hidden_layer_sizes": (256, 256), "batch_size": 1024, "max_iter": 1000}
SMALL = {"hidden_layer_sizes": (10,), "batch_size": 32, "max_iter": 1000}
GIB = 2**30


def no_question():
    raise AssertionError("CUDA was asked for")


@pytest.fixture
def cuda(monkeypatch):
    """A GPU of 8 GiB, as far as torch says."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (8 * GIB, 8 * GIB))
    for module in (_fit.placed.__globals__, vars(_placement)):
        monkeypatch.setitem(module, "_run_a_kernel", lambda: None)
    return monkeypatch


@pytest.fixture
def cpu_as_cuda(cuda):
    """A GPU that every training pays on, and that is the CPU."""
    of_fit = _fit.placed.__globals__  # the module that fits use, however often imported
    for name in ("STEP_WORK", "FIT_WORK"):
        cuda.setitem(of_fit, name, 0)
    cuda.setattr(_fit, "resolve_device", lambda *args: torch.device("cpu"))
    return cuda


def jobs_of(job, n, **settings):
    """Return jobs like one, each with rows and an order of its own."""
    settings = dataclasses.replace(job.settings, **settings)
    return [
        dataclasses.replace(
            job, settings=settings, random_state=np.random.RandomState(k)
        )
        for k in range(n)
    ]


def devices(jobs, *args):
    return [job.settings.device for job in placed(jobs, *args)]


# -- the rule ------------------------------------------------------------------------


def test_the_work_of_a_step_is_that_of_its_rows_and_of_the_update():
    assert step_work(3, 100, 32) == 3 * (32 * 100 + ROWS_OF_UPDATE * 100)
    # rows that meet a tenth of the weights
    assert step_work(3, 100, 32, 10) == 3 * (32 * 10 + ROWS_OF_UPDATE * 100)


def test_a_step_must_be_worth_its_launches_and_a_fit_the_start_of_cuda():
    n_steps = FIT_WORK // STEP_WORK
    assert pays_on_cuda(STEP_WORK, n_steps)
    assert not pays_on_cuda(STEP_WORK - 1, n_steps * 2)
    assert not pays_on_cuda(STEP_WORK, n_steps - 1)


@pytest.mark.parametrize(
    ("n_networks", "units", "batch_size", "n_steps", "pays"),
    [
        (1, (20, 100, 1), 200, 10_000, False),
        (5, (60, 128, 128, 1), 32, 2500, False),
        (120, (20, 100, 1), 200, 10_000, True),
        (1, (50, 256, 256, 1), 1024, 10_000, True),
        (1, (50, 256, 256, 1), 1024, 100, False),
        (1, (50, 1024, 1024, 1), 200, 1000, True),
    ],
)
def test_many_or_large_networks_pay_on_cuda_and_a_small_or_short_fit_does_not(
    n_networks, units, batch_size, n_steps, pays
):
    n_weights = sum(a * b for a, b in itertools.pairwise(units))
    work = step_work(n_networks, n_weights, batch_size)
    assert pays_on_cuda(work, n_steps) == pays


def test_the_work_of_a_job_is_that_of_its_network_rows_and_epochs(job_of):
    n_weights = 50 * 10 + 10
    job = job_of(SAMMLPClassifier(**SMALL, rho=0.1), X, y)
    assert _placement._work_of(job) == step_work(1, n_weights, 32)
    assert _placement._steps_of(job) == 1000 * 1024 // 32
    few = csr_matrix(np.where(np.arange(50) < 5, 1 + X**2, 0))
    job = job_of(SAMMLPClassifier(**SMALL, rho=0.1), few, y)
    assert _placement._work_of(job) == step_work(1, n_weights, 32, 5 * 10 + 10)


# -- jobs ----------------------------------------------------------------------------


def test_a_small_fit_does_not_touch_cuda(job_of, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", no_question)
    jobs = jobs_of(job_of(SAMMLPClassifier(**SMALL, rho=0.1), X, y), 3)
    assert placed(jobs) is jobs
    assert not gains_from_others(job_of(SAMMLPClassifier((1000,)), X, y), 1)


def test_without_cuda_the_jobs_stay_as_they_are(job_of, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    jobs = [job_of(SAMMLPClassifier(**LARGE, rho=0.1), X, y)]
    assert placed(jobs) is jobs


@pytest.mark.usefixtures("cuda")
def test_a_large_network_moves_and_a_small_one_beside_it_stays(job_of):
    large = job_of(SAMMLPClassifier(**LARGE, rho=0.1), X, y)
    small = job_of(SAMMLPClassifier(**SMALL, rho=0.1), X, y)
    moved = placed([small, large])
    assert [job.settings.device for job in moved] == ["auto", "cuda"]
    assert moved[0] is small
    assert moved[1].progress is large.progress


@pytest.mark.usefixtures("cuda")
def test_small_networks_move_together_if_they_are_many_enough(job_of):
    job = job_of(SAMMLPClassifier(**SMALL, rho=0.1), X, y)
    enough = -(-STEP_WORK // int(step_work(1, 510, 32)))
    assert set(devices(jobs_of(job, enough))) == {"cuda"}
    assert set(devices(jobs_of(job, enough - 1))) == {"auto"}
    # those that cannot train together do not count together
    others = jobs_of(job, 1, activation="tanh")
    assert set(devices(jobs_of(job, enough - 1) + others)) == {"auto"}


@pytest.mark.usefixtures("cuda")
def test_processes_on_the_cpu_share_the_work(job_of):
    job = job_of(SAMMLPClassifier(**SMALL, rho=0.1), X, y)
    enough = -(-STEP_WORK // int(step_work(1, 510, 32)))
    jobs = jobs_of(job, 2 * enough)
    assert set(devices(jobs, 2)) == {"cuda"}
    assert set(devices(jobs, 3)) == {"auto"}


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", "mps"])
def test_a_device_that_the_user_names_is_kept(device, job_of):
    large = job_of(SAMMLPClassifier(**LARGE, rho=0.1, device=device), X, y)
    small = job_of(SAMMLPClassifier(**SMALL, rho=0.1, device=device), X, y)
    assert devices([small, large]) == [device] * 2


@pytest.mark.parametrize("free", [0, X.nbytes])
def test_a_gpu_without_room_is_left_alone(free, cuda, job_of):
    jobs = [job_of(SAMMLPClassifier(**LARGE, rho=0.1), X, y)]
    assert devices(jobs) == ["cuda"]
    cuda.setattr(torch.cuda, "mem_get_info", lambda: (free, 8 * GIB))
    assert devices(jobs) == ["auto"]


def test_memory_that_torch_holds_for_later_counts_as_free(cuda, job_of):
    jobs = [job_of(SAMMLPClassifier(**LARGE, rho=0.1), X, y)]
    cuda.setattr(torch.cuda, "mem_get_info", lambda: (0, 8 * GIB))
    cuda.setattr(torch.cuda, "memory_reserved", lambda: 3 * GIB)
    cuda.setattr(torch.cuda, "memory_allocated", lambda: GIB)
    assert devices(jobs) == ["cuda"]


BROKEN = {
    "no memory for a context": ("mem_get_info", RuntimeError("out of memory")),
    "a driver that does not start": (
        "mem_get_info",
        torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization"),
    ),
    "a build for other devices": (
        "_run_a_kernel",
        RuntimeError("no kernel image is available for execution on the device"),
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_gpu_that_does_not_work_is_left_alone(case, cuda, job_of):
    name, error = BROKEN[case]

    def fail():
        raise error

    place = torch.cuda if hasattr(torch.cuda, name) else _placement
    cuda.setattr(place, name, fail)
    large = job_of(SAMMLPClassifier(**LARGE, rho=0.1), X, y)
    assert devices([large]) == ["auto"]
    assert gains_from_others(large, 3) == (_plan.group_size(large, 4, 1) > 1)


def test_a_gpu_is_tried_with_a_kernel():
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            _placement._run_a_kernel()
    else:
        _placement._run_a_kernel()


def test_in_a_fork_of_a_process_with_cuda_auto_is_the_cpu(cuda, job_of):
    assert has_cuda()
    cuda.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert not has_cuda()
    assert devices([job_of(SAMMLPClassifier(**LARGE, rho=0.1), X, y)]) == ["auto"]
    assert SAMNetClassifier(torch.nn.Identity).device == "cpu"
    with pytest.raises(ValueError, match=r"device='cuda' needs.*forked.*'loky'"):
        resolve_device("cuda", np.dtype(np.float32))


@pytest.mark.usefixtures("cuda")
def test_processes_that_share_a_training_take_their_gpus_whatever_its_size(
    job_of, monkeypatch
):
    jobs = [job_of(SAMMLPClassifier(**SMALL, rho=0.1), X, y)]
    monkeypatch.setattr(_placement, "active_ranks", object)
    assert devices(jobs) == ["cuda"]
    assert devices(jobs_of(jobs[0], 1, device="cpu")) == ["cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices(jobs) == ["auto"]


# -- groups --------------------------------------------------------------------------


def test_on_a_gpu_all_networks_train_together_that_its_memory_holds(job_of):
    job = job_of(SAMMLPClassifier(**LARGE, rho=0.1), X, y)
    on_cpu, on_gpu = jobs_of(job, 60, device="cpu"), jobs_of(job, 60, device="cuda")
    assert {len(group) for group in plan(on_cpu)} == {1}
    assert [sorted(group) for group in plan(on_gpu)] == [list(range(60))]
    assert len(plan(on_gpu, 4)) == 1
    assert {len(group) for group in plan(on_gpu, 4, True)} == {15}
    most = _plan.ACCELERATED_GROUP_BYTES // _plan.bytes_of_model(job)
    sizes = [len(group) for group in plan(jobs_of(job, 2 * most, device="cuda"))]
    assert max(sizes) == most
    assert len(alike(on_cpu + on_gpu)) == 2


def test_networks_of_few_streams_make_one_group_on_a_gpu(job_of):
    job = job_of(SAMMLPClassifier(**SMALL, rho=0.1), X, y)
    jobs = [
        dataclasses.replace(job, random_state=np.random.RandomState(k % 5))
        for k in range(120)
    ]
    assert len(plan(jobs)) > 1
    on_gpu = [
        dataclasses.replace(
            j, settings=dataclasses.replace(j.settings, device="cuda:1")
        )
        for j in jobs
    ]
    assert len(plan(on_gpu)) == 1


def test_large_networks_gain_from_others_on_a_gpu_alone(cuda, job_of):
    large = job_of(SAMMLPClassifier(**LARGE, rho=0.1), X, y)
    assert gains_from_others(large, 10)
    assert not gains_from_others(*jobs_of(large, 1, device="cpu"), 10)
    assert gains_from_others(*jobs_of(large, 1, device="cuda"), 10)
    cuda.setattr(torch.cuda, "is_available", lambda: False)
    assert not gains_from_others(large, 10)


# -- fits ----------------------------------------------------------------------------

SHORT = {"max_iter": 2, "batch_size": 128, "random_state": 0}


@pytest.fixture
def no_processes(monkeypatch):
    def fail(*args):
        raise AssertionError("a process was asked for")

    monkeypatch.setattr(_fit, "_parallel", fail)


@pytest.mark.usefixtures("cpu_as_cuda", "no_processes")
def test_members_on_a_gpu_train_in_one_process_whatever_n_jobs_is(monkeypatch):
    groups = []

    def noting(jobs, *args):
        groups.extend(found := plan(jobs, *args))
        return found

    monkeypatch.setattr(_fit, "plan", noting)
    fits = [
        SAMMLPClassifier((4,), rho=0.1, n_members=3, n_jobs=n_jobs, **SHORT).fit(X, y)
        for n_jobs in (None, 2)
    ]
    assert list(map(len, groups)) == [3, 3]
    assert_array_equal(fits[1].predict_proba(X), fits[0].predict_proba(X))


class Worker:
    """joblib, but for the processes."""

    def __init__(self, log):
        self.log = log

    def __call__(self, tasks):
        for function, args, kwargs in tasks:
            self.log.append("process")
            yield function(*args, **kwargs)


def test_results_keep_their_order_where_some_train_on_a_gpu(job_of, monkeypatch):
    """And only what trains on the CPU is given to processes."""
    log = []
    monkeypatch.setattr(_fit, "_parallel", lambda n_jobs: Worker(log))
    monkeypatch.setattr(_fit, "resolve_device", lambda *args: torch.device("cpu"))
    jobs = []
    for k, device in enumerate(["cpu", "cuda", "cpu", "cuda", "cpu"]):
        network = SAMMLPClassifier((k + 2,), rho=0.1, device=device, **SHORT)
        jobs.append(job_of(network, X, y))
    results = _fit.fit_models(jobs, n_jobs=2)
    assert [len(r.weights.coefs[1]) for r in results] == [2, 3, 4, 5, 6]
    assert log == ["process"] * 3


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_worker_of_a_cluster_takes_a_device_of_its_own(device, job_of, cpu_as_cuda):
    """The machine that sends the trainings may have another one, or none."""
    log, seen = [], []

    def resolve(name, dtype):
        seen.append(name)
        return torch.device("cpu")

    cpu_as_cuda.setattr(_fit, "resolve_device", resolve)
    cpu_as_cuda.setattr(_fit, "_parallel", lambda n_jobs: Worker(log))
    cpu_as_cuda.setattr(_fit, "_is_on_cluster", lambda: True)
    network = SAMMLPClassifier((3,), rho=0.1, device=device, **SHORT)
    jobs = [job_of(network.set_params(random_state=k), X, y) for k in range(4)]
    alone = [_fit.fit_models([job])[0] for job in copy.deepcopy(jobs)]
    seen.clear()
    results = _fit.fit_models(jobs, n_jobs=2)
    assert log == ["process"] * 2
    assert seen == ["cuda"] * 2
    for result, expected in zip(results, alone, strict=True):
        assert_allclose(result.weights.coefs[0], expected.weights.coefs[0], rtol=1e-4)


def test_processes_are_of_this_machine_unless_the_backend_is_anothers(monkeypatch):
    assert not _fit._is_on_cluster()

    for module, client, expected in [
        ("joblib._parallel_backends", False, False),
        ("joblib._dask", True, True),
        ("ray.util.joblib.ray_backend", False, True),
    ]:
        backend = type("Backend", (), {"__module__": module})()
        if client:
            backend.client = None
        monkeypatch.setattr(
            "joblib.parallel.get_active_backend", lambda backend=backend: (backend, 1)
        )
        assert _fit._is_on_cluster() == expected


@pytest.mark.usefixtures("cpu_as_cuda", "no_processes")
def test_a_search_of_large_networks_trains_them_together_on_a_gpu(monkeypatch):
    sizes = []

    def noting(jobs, *args):
        sizes.append([len(group) for group in plan(jobs, *args)])
        return plan(jobs, *args)

    monkeypatch.setattr(_fit, "plan", noting)
    # more than the models of a group on the CPU
    network = SAMMLPClassifier((600, 600), batch_size=64, max_iter=1, random_state=0)
    grid = {"rho": [0.05, 0.1, 0.2]}
    search = VectorizedGridSearchCV(network, grid, cv=2, refit=False)
    search.fit(X[:128], y[:128])
    assert sizes == [[6]]


def test_a_lack_of_memory_is_told_by_the_parameters_and_changes_nothing(monkeypatch):
    clf = SAMMLPClassifier((4,), rho=0.1, **SHORT).fit(X, y)
    before = clf.coefs_[0].copy()

    def fail(net):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("sksharp.training._net.MLPNet.train", fail)
    with pytest.raises(
        MemoryError, match=r"device='auto' must.*'CUDA out of memory'.*device='cpu'"
    ):
        clf.fit(X, y)
    assert_array_equal(clf.coefs_[0], before)
    assert clf.n_iter_ == 2
