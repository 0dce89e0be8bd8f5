"""Scripts for other processes are no tests, and no test waits for ever."""

import signal
from pathlib import Path

import pytest

collect_ignore = ["two_ranks.py"]

# seconds of a test, the start and the end of its processes included
TIME_LIMIT = 320

FOLDER = Path(__file__).parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Wake up a test that waits for a process that does not answer."""
    # pytest asks for every test of its session, those of other folders too
    is_ours = FOLDER in item.path.parents
    if not is_ours or not hasattr(signal, "SIGALRM"):  # Windows
        return (yield)

    def give_up(number, frame):
        raise TimeoutError(f"{item.name} did not end within {TIME_LIMIT} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TIME_LIMIT)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
