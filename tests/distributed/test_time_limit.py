"""The alarm of this folder rings for its tests alone."""

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from . import conftest

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGALRM"), reason="there are no alarms"
)


def ring():
    """Raise the alarm now and return what it says, None if there is none."""
    try:
        signal.raise_signal(signal.SIGALRM)
    except TimeoutError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (Path(__file__), "test_x did not end within 320 seconds"),
        (Path(__file__).parent / "further" / "down.py", "test_x did not end"),
        (Path(__file__).parents[1] / "test_search.py", None),
        (Path(__file__).parents[1] / "distributed.py", None),
    ],
    ids=["here", "below", "above", "beside"],
)
def test_the_tests_of_this_folder_alone_are_woken_up(path, message, monkeypatch):
    seconds = []
    monkeypatch.setattr(signal, "alarm", seconds.append)
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        item = SimpleNamespace(path=path, name="test_x")
        protocol = conftest.pytest_runtest_protocol(item)
        next(protocol)
        said = ring()
        with pytest.raises(StopIteration):
            protocol.send(None)
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGALRM, before)
    if message is None:
        assert said is None
        assert seconds == []
    else:
        assert message in said
        assert seconds == [conftest.TIME_LIMIT, 0]


def test_a_test_of_this_folder_runs_against_the_clock():
    left = signal.alarm(conftest.TIME_LIMIT)
    assert 0 < left <= conftest.TIME_LIMIT
