"""Lookahead."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import SAM, SGD, Adam, Lookahead, Ranger

from .cases import Training, equal, initial_weights, quadratic, train, walk

PLAIN = {"momentum": 0.0, "nesterov": False}
over_sgd = partial(Lookahead, base_optimizer=SGD, **PLAIN)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize(("lr", "h"), [(0.1, 1.0), (0.2, 4.0)])
def test_a_cycle_contracts_a_quadratic_by_the_formula(lr, h, k, alpha):
    """1 - alpha + alpha (1 - lr h)^k."""
    lookahead = partial(over_sgd, lr=lr, k=k, alpha=alpha)
    trajectory = walk(lookahead, quadratic(h), [1.0], n_steps=4 * k)[:, 0]
    contraction = 1 - alpha + alpha * (1 - lr * h) ** k
    assert_allclose(trajectory[::k], contraction ** np.arange(5), rtol=0, atol=1e-12)


def test_between_two_synchronizations_the_fast_weights_train_alone():
    lookahead = partial(over_sgd, lr=0.1, k=3, alpha=0.5)
    trajectory = walk(lookahead, quadratic(2.0), [1.0], n_steps=9)[:, 0]
    for cycle in range(3):
        start = trajectory[3 * cycle]
        assert_allclose(trajectory[3 * cycle + 1], 0.8 * start, rtol=0, atol=1e-12)
        assert_allclose(trajectory[3 * cycle + 2], 0.8**2 * start, rtol=0, atol=1e-12)


def test_at_a_constant_gradient_it_moves_alpha_times_as_far():
    lookahead = partial(over_sgd, lr=0.1, k=4, alpha=0.3)
    trajectory = walk(lookahead, torch.sum, [0.0, 1.0], n_steps=20)
    t = np.arange(0, 21, 4)[:, None]
    assert_allclose(trajectory[::4], [0.0, 1.0] - 0.3 * 0.1 * t, rtol=0, atol=1e-12)


def test_the_momentum_of_the_base_optimizer_is_kept_across_a_synchronization():
    """At a constant gradient the velocity goes on growing as if nothing had happened."""
    lookahead = partial(
        Lookahead, base_optimizer=partial(SGD, nesterov=False), momentum=0.9
    )
    make = partial(lookahead, lr=0.1, k=4, alpha=0.5)
    trajectory = walk(make, torch.sum, [0.0], n_steps=11)[:, 0]
    moves = 0.1 * (1 - 0.9 ** np.arange(1, 12)) / (1 - 0.9)
    fast = slow = 0.0
    for t, move in enumerate(moves, start=1):
        fast -= move
        if t % 4 == 0:
            fast = slow = (slow + fast) / 2
        assert_allclose(trajectory[t], fast, rtol=0, atol=1e-12)


MAKERS = {
    "Lookahead": partial(Lookahead, lr=0.01, k=3, alpha=0.3),
    "Lookahead over torch's Adam": partial(
        Lookahead, base_optimizer=torch.optim.Adam, lr=0.01, k=3, alpha=0.3
    ),
    "Lookahead over SAM": partial(
        Lookahead, base_optimizer=SAM, lr=0.01, k=3, alpha=0.3
    ),
    "Ranger": partial(Ranger, lr=0.01, k=3, alpha=0.3),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@each
def test_synchronizing_mid_cycle_moves_the_slow_weights_to_meet_the_fast(make):
    training = Training(make, initial_weights(0))
    training.run(3)
    slow = [p.detach().clone() for p in training.params]
    training.run(2)
    fast = [p.detach().clone() for p in training.params]
    training.optimizer.synchronize()
    for p, s, f in zip(training.params, slow, fast, strict=True):
        assert_allclose(p.detach(), s + 0.3 * (f - s), rtol=0, atol=1e-12)


@each
def test_synchronizing_begins_a_new_cycle(make):
    training = Training(make, initial_weights(0))
    training.run(2)
    training.optimizer.synchronize()
    synchronized = []
    for _ in range(6):
        training.run(1)
        synchronized.append(training.optimizer.is_synchronized)
    assert synchronized == [False, False, True] * 2


@each
def test_synchronizing_twice_is_synchronizing_once(make):
    training = Training(make, initial_weights(0))
    training.run(5)
    training.optimizer.synchronize()
    once = [p.detach().clone() for p in training.params]
    training.optimizer.synchronize()
    assert equal(training.params, once)


@each
def test_synchronizing_before_the_first_step_changes_nothing(make):
    training = Training(make, initial_weights(0))
    assert training.optimizer.is_synchronized
    assert equal(training.optimizer.evaluation_params(), training.params)
    training.optimizer.synchronize()
    training.run(12)
    assert equal(training.params, train(make, 12))


@each
def test_evaluation_params_are_what_synchronizing_would_leave(make):
    training = Training(make, initial_weights(0))
    for _ in range(7):
        training.run(1)
        evaluated = [p.clone() for p in training.optimizer.evaluation_params()]
        twin = Training(make, initial_weights(0))
        twin.run(training.n_steps)
        assert equal(twin.params, training.params)
        twin.optimizer.synchronize()
        assert equal(evaluated, twin.params)


@each
def test_looking_at_the_evaluation_params_does_not_change_the_training(make):
    training = Training(make, initial_weights(0))
    for _ in range(8):
        training.run(1)
        training.optimizer.evaluation_params()
    assert equal(training.params, train(make, 8))


@each
def test_at_a_synchronization_the_parameters_are_the_evaluation_params(make):
    training = Training(make, initial_weights(0))
    training.run(6)
    evaluated = training.optimizer.evaluation_params()
    assert all(p is q for p, q in zip(evaluated, training.params, strict=True))


def test_the_slow_weights_of_a_parameter_begin_where_its_training_does():
    """A parameter without a gradient in the first steps has nothing to go back to."""
    early, late = (nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2))
    optimizer = over_sgd([early, late], lr=0.1, k=4, alpha=0.5)
    with torch.no_grad():
        for t in range(8):
            early.grad = torch.ones_like(early)
            if t == 2:
                late.fill_(5.0)
            late.grad = torch.ones_like(late) if t >= 2 else None
            optimizer.step()
    assert_allclose(early.item(), 1 - 0.5 * 0.1 * 8, rtol=0, atol=1e-12)
    assert_allclose(late.item(), 5 - 0.5 * 0.1 * 6, rtol=0, atol=1e-12)


def test_adopted_parameters_are_the_slow_weights_of_a_new_cycle():
    """Weights that were written by hand mid-cycle are not pulled back."""
    w = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = over_sgd([w], lr=0.1, k=3, alpha=0.5)

    def train_for(n_steps):
        for _ in range(n_steps):
            w.grad = w.detach().clone()
            optimizer.step()

    train_for(4)
    with torch.no_grad():
        w.fill_(7.0)
    optimizer.reset_to_params()
    assert w.item() == 7.0
    train_for(3)
    assert_allclose(w.item(), 7 * (0.5 + 0.5 * 0.9**3), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [*MAKERS.values(), partial(SAM, base_optimizer=Ranger, lr=0.01, k=3)],
    ids=[*MAKERS, "SAM over Ranger"],
)
def test_adopting_parameters_forgets_the_slow_weights_only(make):
    training = Training(make, initial_weights(0))
    training.run(5)
    optimizer = training.optimizer
    before = copy.deepcopy([optimizer.state[p] for p in training.params])
    assert not optimizer.is_synchronized
    optimizer.reset_to_params()
    assert optimizer.is_synchronized
    assert equal(optimizer.evaluation_params(), training.params)
    for p, state in zip(training.params, before, strict=True):
        del state["slow"]
        assert optimizer.state[p].keys() == state.keys()
        for name, value in state.items():
            assert_allclose(optimizer.state[p][name], value, rtol=0, atol=0)


def test_the_base_optimizer_is_adam_unless_told_otherwise():
    assert equal(train(Lookahead), train(partial(Lookahead, base_optimizer=Adam)))


@pytest.mark.parametrize("looks", [False, True])
def test_a_module_may_change_its_precision_within_a_cycle(looks):
    w = nn.Parameter(torch.ones(3))
    optimizer = Lookahead([w], torch.optim.SGD, k=2, alpha=0.5, lr=0.25)
    for dtype in (torch.float32, torch.float64, torch.float32):
        w.data = w.data.to(dtype)
        w.grad = torch.ones_like(w)
        optimizer.step()
        if looks:
            assert all(p.dtype == dtype for p in optimizer.evaluation_params())
    optimizer.synchronize()
    # 1 - 0.5 * 2 * 0.25, and then half of a step from there
    assert_allclose(w.detach(), np.full(3, 0.75 - 0.125), rtol=0, atol=0)
