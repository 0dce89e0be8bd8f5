"""What a step works out on the host, noted and played again."""

import threading

import pytest
import torch

from sksharp.optim._tape import Tape, advance, changing, count

P = torch.zeros(2, dtype=torch.float32)


def rate(state):
    return 0.1 / state["step"]


def is_even(state):
    return state["step"] % 2 == 0


def per_model(state):
    return torch.tensor([1.0, 2.0]) * state["step"]


def step(state):
    """Take a step and return where its kernels find its numbers."""
    count(state, "step")
    advance(state, "sum", lambda: state["sum"] + rate(state))
    return changing(rate, state), changing(per_model, state)


def recorded(state, function=step, capacity=4, n_steps=1):
    tape, before = Tape(P, capacity), dict(state)
    with tape.recording():
        memory = [function(state) for _ in range(n_steps)]
    state.update(before)
    return tape, memory


def test_without_a_tape_a_value_is_what_the_function_returns():
    state = {"step": 0, "sum": 0.0}
    lr, values = step(state)
    assert (lr, values.tolist()) == (0.1, [1, 2])
    assert state == {"step": 1, "sum": 0.1}


def test_a_tape_plays_the_steps_that_come_next():
    state, expected = {"step": 3, "sum": 0.0}, {"step": 3, "sum": 0.0}
    tape, memory = recorded(state, n_steps=2)
    assert state == expected
    for _ in range(3):
        rates = [step(expected)[0] for _ in range(2)]
        assert tape.play() == rates
        assert state == expected
        assert memory[1][1].tolist() == per_model(state).tolist()


def test_a_float_is_read_from_the_memory_of_the_tape_in_its_order():
    tape, memory = recorded({"step": 1, "sum": 0.0}, n_steps=2)
    tape.numbers[:2] = torch.tensor([5.0, 7.0])
    assert [lr.item() for lr, _ in memory] == [5, 7]
    assert {lr.dtype for lr, _ in memory} == {torch.float32}


def test_another_decision_leaves_the_host_as_it_was():
    def decides(state):
        count(state, "step")
        return changing(is_even, state)

    state = {"step": 1}
    tape, _ = recorded(state, decides)
    assert tape.play() == []
    assert state == {"step": 2}
    assert tape.play() is None
    assert state == {"step": 2}


def test_a_number_beyond_the_precision_leaves_the_host_as_it_was():
    def grows(state):
        count(state, "step")
        return changing(lambda: 10.0 ** state["step"])

    state = {"step": 37}
    tape, _ = recorded(state, grows)
    assert tape.play() == [1e38]
    assert tape.play() is None
    assert state == {"step": 38}


def test_an_error_leaves_the_host_as_it_was():
    def fails(state):
        count(state, "step")
        return changing(lambda: 1.0 / (3 - state["step"]))

    state = {"step": 1}
    tape, _ = recorded(state, fails)
    assert tape.play() == [1.0]
    with pytest.raises(ZeroDivisionError):
        tape.play()
    assert state == {"step": 2}


@pytest.mark.parametrize(
    ("first", "then"),
    [(0.5, None), (0.5, torch.ones(2)), (True, torch.ones(2)), (None, 0.5)],
)
def test_a_value_of_another_kind_is_not_that_step(first, then):
    holder = {"value": first}
    tape, _ = recorded(holder, lambda h: changing(h.get, "value"))
    assert tape.play() is not None
    holder["value"] = then
    assert tape.play() is None


def test_more_numbers_than_there_is_room_for_are_refused():
    with pytest.raises(RuntimeError, match="no room for more than 1 numbers"):
        recorded({"step": 1, "sum": 0.0}, capacity=1, n_steps=2)


def test_another_thread_does_not_write_on_the_tape():
    tape, states = Tape(P, 4), [{"step": 0, "sum": 0.0} for _ in range(2)]
    with tape.recording():
        thread = threading.Thread(target=step, args=(states[0],))
        thread.start()
        thread.join()
        step(states[1])
    assert not tape.advances(states[0], "step")
    assert tape.advances(states[1], "step")
    assert len(tape.play()) == 1
