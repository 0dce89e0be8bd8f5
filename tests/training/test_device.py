import contextlib
import threading

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from threadpoolctl import threadpool_limits

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.training import _device
from sksharp.training._device import (
    deserved_threads,
    flushed_denormals,
    resolve_device,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

CPU = torch.device("cpu")
FLOAT64 = np.dtype(np.float64)

rng = np.random.RandomState(0)
X, y = rng.normal(size=(30, 4)), np.arange(30) % 3


def test_auto_is_the_cpu_unless_the_placement_has_said_otherwise():
    assert resolve_device("auto", FLOAT64).type == "cpu"


def test_auto_without_cuda_fits_as_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fits = [
        SAMMLPClassifier((5,), device=device, max_iter=2, random_state=0).fit(X, y)
        for device in ("auto", "cpu")
    ]
    assert_array_equal(fits[0].coefs_[0], fits[1].coefs_[0])


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_without_cuda_is_refused_with_the_way_out(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device='{name}' needs.*device='auto'"):
        SAMMLPClassifier(device=name).fit(X, y)


def test_a_device_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1", FLOAT64) == torch.device("cuda:1")
    with pytest.raises(ValueError, match=r"device='cuda:2' needs.*found 2 of them"):
        resolve_device("cuda:2", FLOAT64)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "cpu:", "Cuda"])
def test_an_unknown_device_is_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"device must be.*got device='{name}'"):
        SAMMLPClassifier(device=name).fit(X, y)


def test_single_precision_devices_refuse_double(monkeypatch):
    monkeypatch.setattr(torch.mps, "is_available", lambda: True, raising=False)
    monkeypatch.setattr(torch.mps, "device_count", lambda: 1)
    assert resolve_device("mps", np.dtype(np.float32)).type == "mps"
    with pytest.raises(ValueError, match=r"single precision.*astype\('float32'\)"):
        resolve_device("mps", FLOAT64)


# -- threads -------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    """Let torch use two threads, of as many cores as there are."""
    with threadpool_limits(limits=2, user_api="openmp"):
        if torch.get_num_threads() != 2:
            pytest.skip("torch does not follow OpenMP's number of threads here")
        yield


class ThreadRecorder(Callback):
    def initialize(self):
        self.seen = set()
        return self

    def on_batch_end(self, net, **kwargs):
        self.seen.add(torch.get_num_threads())


@pytest.mark.usefixtures("two_threads")
def test_a_small_fit_runs_on_one_thread_and_gives_the_others_back():
    recorder = ThreadRecorder()
    SAMMLPClassifier((5,), callbacks=[recorder], max_iter=2).fit(X, y)
    assert recorder.seen == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_fit_that_fails_gives_the_threads_back(monkeypatch):
    def fail(net):
        assert torch.get_num_threads() == 1
        raise RuntimeError("the training failed")

    monkeypatch.setattr("sksharp.training._net.MLPNet.train", fail)
    with pytest.raises(RuntimeError, match="the training failed"):
        SAMMLPRegressor().fit(X, y)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_large_step_keeps_all_threads():
    with deserved_threads(CPU, 1024, [1024, 1024, 10]):
        assert torch.get_num_threads() == 2
    with deserved_threads(CPU, 1024, [1023, 1024, 10]):
        assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("two_threads")
def test_another_python_thread_keeps_its_own_number():
    seen = []

    def look():
        torch.get_num_threads()  # torch sets the number at its first call of a thread
        with threadpool_limits(limits=2, user_api="openmp"):
            ready.set()
            entered.wait(timeout=10)
            seen.append(torch.get_num_threads())

    ready, entered = threading.Event(), threading.Event()
    other = threading.Thread(target=look)
    other.start()
    ready.wait(timeout=10)
    with deserved_threads(CPU, 10, [4, 5, 3]):
        entered.set()
        other.join(timeout=10)
    assert seen == [2]


# -- numbers too small to have all their digits ---------------------------------------


def flushes_denormals():
    return bool((torch.tensor([1e-38]) / 100 == 0).all())


needs_flushing = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="the processor cannot do it"
)


class FlushRecorder(Callback):
    def on_batch_end(self, net, **kwargs):
        self.seen = flushes_denormals()


@needs_flushing
@pytest.mark.parametrize("before", [False, True])
def test_a_fit_takes_denormals_for_zero_and_leaves_the_thread_as_it_was(before):
    recorder = FlushRecorder()
    torch.set_flush_denormal(before)
    try:
        SAMMLPClassifier((5,), callbacks=[recorder], max_iter=2).fit(X, y)
        assert recorder.seen
        assert flushes_denormals() == before
    finally:
        torch.set_flush_denormal(False)


@needs_flushing
def test_denormals_are_back_after_a_fit_that_fails(monkeypatch):
    def fail(net):
        assert flushes_denormals()
        raise RuntimeError("the training failed")

    monkeypatch.setattr("sksharp.training._net.MLPNet.train", fail)
    with pytest.raises(RuntimeError, match="training failed"):
        SAMMLPClassifier((5,), max_iter=2).fit(X, y)
    assert not flushes_denormals()


@needs_flushing
@pytest.mark.usefixtures("two_threads")
def test_several_threads_keep_their_denormals():
    # one that begins in a fit would take its mode to the end of the process
    with flushed_denormals():
        assert not flushes_denormals()


# -- streams of CUDA -------------------------------------------------------------------


class Stream:
    """A stream of CUDA, as far as one waits for another."""

    made = 0

    def __init__(self, device):
        self.device, self.log = device, []
        Stream.made += 1

    def wait_stream(self, other):
        self.log.append(other)


@pytest.fixture
def streams(monkeypatch):
    """Return the streams that are current, by the index of their device."""
    first, second = (torch.device("cuda", k) for k in range(2))
    current = {0: Stream(first), 1: Stream(second), None: None}
    current[None] = current[0]

    @contextlib.contextmanager
    def stream(entered):
        before, current[None] = current[None], entered
        try:
            yield
        finally:
            current[None] = before

    monkeypatch.setattr(torch.cuda, "current_stream", lambda d: current[d.index])
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(_device, "_idle_streams", {})
    monkeypatch.setenv("SKSHARP_CUDA_GRAPHS", "1")
    monkeypatch.setattr(Stream, "made", 0)
    return current


CUDA = torch.device("cuda")


def test_a_training_that_captures_nothing_is_on_the_stream_of_the_caller(
    streams, monkeypatch
):
    monkeypatch.delenv("SKSHARP_CUDA_GRAPHS")
    for device in (CUDA, CPU):
        with _device.own_stream(device):
            assert streams[None] is streams[0]
    assert Stream.made == 0


def test_trainings_after_one_another_share_a_stream_and_others_do_not(streams):
    caller = streams[0]
    with _device.own_stream(CUDA):
        first = streams[None]
        assert first is not caller
        assert first.log == [caller]
    assert caller.log == [first]
    with _device.own_stream(CUDA):
        assert streams[None] is first
        streams[None] = caller  # of another thread
        with _device.own_stream(CUDA):
            assert streams[None] not in (first, caller)


def test_a_stream_is_of_the_device_that_is_current(streams):
    with _device.own_stream(CUDA):
        pass
    streams[None] = streams[1]  # as torch.cuda.set_device does
    with _device.own_stream(CUDA):
        assert streams[None].device.index == 1


def test_a_training_that_fails_gives_its_stream_back(streams):
    with pytest.raises(RuntimeError, match="failed"), _device.own_stream(CUDA):
        raise RuntimeError("the training failed")
    with _device.own_stream(CUDA):
        pass
    assert Stream.made == 1
