"""What a step works out on the host, noted and played again."""

import contextlib
import threading

import pytest
import torch

from sksharp.optim._tape import Tape, advance, changing, count, is_captured

P = torch.zeros(2, dtype=torch.float32)


def rate(state):
    return 0.1 / state["step"]


def total(state):
    return state["sum"] + rate(state)


def is_even(state):
    return state["step"] % 2 == 0


def per_model(state):
    return torch.tensor([1.0, 2.0]) * state["step"]


def step(state):
    """Take a step and return what its kernels are given."""
    count(state, "step")
    advance(state, "sum", total, state)
    return changing(rate, state), changing(per_model, state)


LARGEST = torch.finfo(P.dtype).max


def recorded(state, function=step, n_steps=1):
    """Return a tape of steps, and the state as it was before them."""
    tape, before = Tape(), dict(state)
    with tape.recording():
        for _ in range(n_steps):
            function(state)
    state.update(before)
    return tape


def test_without_a_tape_a_value_is_what_the_function_returns():
    state = {"step": 0, "sum": 0.0}
    lr, values = step(state)
    assert (lr, values.tolist()) == (0.1, [1, 2])
    assert state == {"step": 1, "sum": 0.1}


def test_while_it_records_too():
    state = {"step": 0, "sum": 0.0}
    with Tape().recording():
        lr, values = step(state)
    assert (lr, values.tolist()) == (0.1, [1, 2])
    assert state == {"step": 1, "sum": 0.1}


def test_a_tape_plays_the_steps_that_come_next():
    state, expected = {"step": 3, "sum": 0.0}, {"step": 3, "sum": 0.0}
    tape = recorded(state, n_steps=2)
    for _ in range(3):
        rates = [step(expected)[0] for _ in range(2)]
        assert tape.play(LARGEST) == rates
        assert state == expected


def test_a_tape_that_is_rewound_leaves_the_host_as_it_was():
    state = {"step": 3, "sum": 0.5}
    tape = recorded(state, n_steps=2)
    tape.play(LARGEST)
    tape.rewind()
    assert state == {"step": 3, "sum": 0.5}


def test_the_same_steps_are_lent_the_memory_of_the_tape_and_the_host_stays():
    state = {"step": 1, "sum": 0.0}
    tape = recorded(state, n_steps=2)
    tape.allocate(P)
    with tape.lending():
        lent = [step(state) for _ in range(2)]
    assert state == {"step": 1, "sum": 0.0}
    tape.numbers.copy_(torch.tensor(tape.play(LARGEST)))
    assert {lr.dtype for lr, _ in lent} == {P.dtype}
    assert [lr.item() for lr, _ in lent] == pytest.approx([0.1 / 2, 0.1 / 3])
    assert [values.tolist() for _, values in lent] == [[2, 4], [3, 6]]


def test_steps_that_were_not_noted_are_lent_nothing():
    state = {"step": 1, "sum": 0.0}
    tape = recorded(state)
    tape.allocate(P)
    with tape.lending(), pytest.raises(RuntimeError, match=r"is_even.* not noted here"):
        changing(is_even, state)
    with tape.lending():
        step(state)
        with pytest.raises(RuntimeError, match=r"was not noted here"):
            step(state)


def test_another_decision_leaves_the_host_as_it_was():
    def decides(state):
        count(state, "step")
        return changing(is_even, state)

    state = {"step": 1}
    tape = recorded(state, decides)
    assert tape.play(LARGEST) == []
    assert state == {"step": 2}
    assert tape.play(LARGEST) is None
    assert state == {"step": 2}


def test_a_number_beyond_the_precision_leaves_the_host_as_it_was():
    def grows(state):
        count(state, "step")
        return changing(lambda: 10.0 ** state["step"])

    state = {"step": 37}
    tape = recorded(state, grows)
    assert tape.play(LARGEST) == [1e38]
    assert tape.play(LARGEST) is None
    assert state == {"step": 38}


def test_an_error_leaves_the_host_as_it_was():
    def fails(state):
        count(state, "step")
        return changing(lambda: 1.0 / (3 - state["step"]))

    state = {"step": 1}
    tape = recorded(state, fails)
    assert tape.play(LARGEST) == [1.0]
    with pytest.raises(ZeroDivisionError):
        tape.play(LARGEST)
    assert state == {"step": 2}


@pytest.mark.parametrize(
    ("first", "then"),
    [(0.5, None), (0.5, torch.ones(2)), (True, torch.ones(2)), (None, 0.5)],
)
def test_a_value_of_another_kind_is_not_that_step(first, then):
    holder = {"value": first}
    tape = recorded(holder, lambda h: changing(h.get, "value"))
    assert tape.play(LARGEST) is not None
    holder["value"] = then
    assert tape.play(LARGEST) is None


def test_another_thread_does_not_write_on_the_tape():
    tape, states = Tape(), [{"step": 0, "sum": 0.0} for _ in range(2)]
    with tape.recording():
        thread = threading.Thread(target=step, args=(states[0],))
        thread.start()
        thread.join()
        step(states[1])
    assert not tape.advances(states[0], "step")
    assert tape.advances(states[1], "step")
    assert len(tape.play(LARGEST)) == 1


def test_a_step_knows_that_it_is_captured():
    found = []

    def steps():
        found.append(is_captured())

    tape = Tape()
    steps()
    with tape.recording():
        steps()
    tape.allocate(torch.zeros(2))
    with tape.lending():
        steps()
    with contextlib.suppress(RuntimeError), tape.lending():
        raise RuntimeError("the capture failed")
    steps()
    assert found == [False, False, True, False]
