"""Sharpness-aware minimization."""

import copy
import threading
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn.modules import module

from sksharp.optim import SAM, SGD, WSAM, Adam, FriendlySAM, Ranger

from .cases import Training, equal, initial_weights, quadratic, walk

PLAIN = {"momentum": 0.0, "nesterov": False}


def perturbation(params, gradients, make):
    """Return by how much a step moves the parameters between its two evaluations."""
    optimizer = make(params)
    evaluated_at = []

    def closure():
        evaluated_at.append([p.detach().clone() for p in params])
        for p, g in zip(params, gradients, strict=True):
            p.grad = g.clone()

    optimizer.step(closure)
    start, perturbed = evaluated_at
    return [(b - a).double() for a, b in zip(start, perturbed, strict=True)]


def test_a_step_on_a_quadratic_is_the_formula():
    """w - lr (g + rho H u) with u = g / |g|, the example worked by hand."""
    step = walk(
        partial(SAM, rho=0.3, lr=0.1, **PLAIN), quadratic(np.diag([4, 1])), [1.0, 2.0]
    )
    expected = [
        1 - 0.1 * (4 + 0.3 * 16 / 20**0.5),
        2 - 0.1 * (2 + 0.3 * 2 / 20**0.5),
    ]
    assert_allclose(step[-1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rho", [0.01, 0.3, 2.0])
def test_every_step_on_a_quadratic_is_the_formula(rho):
    rng = np.random.default_rng(0)
    factor, linear = rng.normal(size=(5, 5)), rng.normal(size=5)
    hessian = factor @ factor.T / 5
    trajectory = walk(
        partial(SAM, rho=rho, lr=0.1, **PLAIN),
        quadratic(hessian, linear),
        rng.normal(size=5),
        n_steps=10,
    )
    for w, after in pairwise(trajectory):
        g = hessian @ w - linear
        u = g / np.linalg.norm(g)
        assert_allclose(after, w - 0.1 * (g + rho * hessian @ u), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("h", "lr", "rho"), [(1, 0.1, 0.5), (4, 0.2, 0.3)])
def test_in_one_dimension_it_ends_in_a_cycle_of_two_points(h, lr, rho):
    """It does not settle: the points are lr h rho / (2 - lr h) either side of 0."""
    sam = partial(SAM, rho=rho, lr=lr, **PLAIN)
    trajectory = walk(sam, quadratic(h), [1.0], n_steps=330)
    amplitude = lr * h * rho / (2 - lr * h)
    assert_allclose(abs(trajectory[-4:]), amplitude, rtol=0, atol=1e-12)
    assert np.all(np.diff(np.sign(trajectory[-4:]), axis=0) != 0)


def test_the_perturbation_has_length_rho_along_the_gradient_over_all_groups():
    training = Training(partial(SAM, rho=0.3), initial_weights(0))
    training.closure()
    gradients = [p.grad for p in training.params]

    def make(params):
        return SAM([{"params": params[:1]}, {"params": params[1:]}], rho=0.3)

    steps = perturbation(training.params, gradients, make)
    step, gradient = (
        torch.cat([t.flatten() for t in tensors]) for tensors in (steps, gradients)
    )
    assert_allclose(step.norm(), 0.3, rtol=0, atol=1e-12)
    assert_allclose(step, 0.3 * gradient / gradient.norm(), rtol=0, atol=1e-12)


def test_a_group_may_have_its_own_rho():
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    params = [nn.Parameter(torch.zeros_like(g)) for g in gradients]

    def make(params):
        return SAM([{"params": params[:1], "rho": 0.5}, {"params": params[1:]}], rho=2)

    first, second = perturbation(params, gradients, make)
    assert_allclose(first, [0.5 * 3 / 5, 0.0])
    assert_allclose(second, [2.0 * 4 / 5])


def test_each_model_has_a_perturbation_of_its_own_length():
    """A model's norm is over its own slices, however a parameter is shaped."""
    rng = np.random.default_rng(0)
    rho = torch.tensor([0.0, 0.1, 2.0], dtype=torch.float64)
    shapes = [(3, 4, 2), (3, 2), (3,)]
    gradients = [torch.from_numpy(rng.normal(size=shape)) for shape in shapes]
    params = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
    steps = perturbation(params, gradients, partial(SAM, rho=rho, model_ndim=1))
    squares = [step.reshape(3, -1).square().sum(-1) for step in steps]
    assert_allclose(sum(squares).sqrt(), rho, rtol=0, atol=1e-12)


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("model_ndim", [0, 1], ids=["one model", "many models"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_at_a_gradient_of_zero_there_is_no_ascent(dtype, model_ndim):
    params = [nn.Parameter(torch.ones(shape, dtype=dtype)) for shape in [(2, 3), (2,)]]
    gradients = [torch.zeros_like(p) for p in params]
    for step in perturbation(params, gradients, partial(SAM, model_ndim=model_ndim)):
        assert not step.any()
    for p in params:
        assert p.eq(1).all()


SCALES = {
    torch.float64: [-323, -200, -100, -50, -40, -28, -10, 0, 50, 150, 200, 300],
    torch.float32: [-44, -38, -30, -25, -22, -15, 0, 15, 20, 30, 38],
    torch.bfloat16: [-38, -25, -22, -15, 0, 15, 20, 38],
    torch.float16: [-7, -6, -4, 0, 4],
}
# powers of ten between which the squares of a gradient are accurate
ACCURATE = {
    torch.float64: (-28, 150),
    torch.float32: (-15, 15),
    torch.bfloat16: (-15, 15),
    torch.float16: (-4, 4),
}


@pytest.mark.parametrize("model_ndim", [0, 1], ids=["one model", "many models"])
@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(dtype, exponent) for dtype in SCALES for exponent in SCALES[dtype]],
    ids=str,
)
def test_the_perturbation_is_never_longer_than_rho(dtype, exponent, model_ndim):
    """Nor NaN where the squares of the gradient underflow or overflow."""
    gradients = [
        (torch.tensor([part], dtype=torch.float64) * 10.0**exponent).to(dtype)
        for part in ([0.6, 0.8], [2.4])
    ]
    params = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
    make = partial(SAM, rho=0.5, model_ndim=model_ndim)
    length = torch.cat(perturbation(params, gradients, make), dim=1).norm()
    rounding = 2 * torch.finfo(dtype).eps
    assert length <= 0.5 * (1 + rounding)
    low, high = ACCURATE[dtype]
    if low <= exponent <= high:
        assert length >= 0.5 * (1 - rounding)


def test_restored_weights_are_the_weights_bit_for_bit():
    """In single precision w + e - e is not always w."""
    generator = torch.Generator().manual_seed(0)
    w = nn.Parameter(torch.randn(10_000, generator=generator))
    start = w.detach().clone()
    gradient = torch.randn(10_000, generator=generator)
    perturbation([w], [gradient], partial(SAM, rho=1.0, lr=0.0))
    assert torch.equal(w, start)
    [step] = perturbation([w], [gradient], partial(SAM, rho=1.0, lr=0.0))
    assert not torch.equal((w + step.float()) - step.float(), start)


def test_the_descent_steps_with_the_gradient_of_the_perturbed_weights():
    training = Training(partial(SAM, rho=0.3, base_optimizer=Adam), initial_weights(0))
    gradients = []

    def closure():
        loss = training.closure()
        gradients.append([p.grad.clone() for p in training.params])
        return loss

    training.optimizer.step(closure)
    alone = Training(Adam, initial_weights(0))
    for p, g in zip(alone.params, gradients[1], strict=True):
        p.grad = g
    alone.optimizer.step()
    for p, q in zip(training.params, alone.params, strict=True):
        assert torch.equal(p, q)


def drop_twice(replay):
    """Take two steps; return the outputs of dropout and the state of the generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        w = nn.Parameter(torch.ones(100))
        optimizer = SAM([w], replay=replay)
        dropped = []

        def closure():
            optimizer.zero_grad()
            kept = nn.functional.dropout(torch.ones(100))
            dropped.append(kept)
            loss = (w * kept).square().sum()
            loss.backward()
            return loss

        for _ in range(2):
            optimizer.step(closure)
        return dropped, torch.get_rng_state()


def test_dropout_is_the_same_in_both_evaluations_and_new_in_the_next_step():
    dropped, state_after = drop_twice(replay=True)
    assert torch.equal(dropped[0], dropped[1])
    assert torch.equal(dropped[2], dropped[3])
    assert not torch.equal(dropped[0], dropped[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(2):
            nn.functional.dropout(torch.ones(100))
        assert torch.equal(torch.get_rng_state(), state_after)


def test_dropout_differs_between_the_evaluations_without_replay():
    dropped, _ = drop_twice(replay=False)
    assert not torch.equal(dropped[0], dropped[1])


def test_the_generator_ends_where_the_first_evaluation_left_it():
    """Also if the second draws less, as after another branch of the model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        w = nn.Parameter(torch.ones(3))
        optimizer = SAM([w])
        drawn = []

        def closure():
            drawn.append(torch.rand(1 if drawn else 3))
            optimizer.zero_grad()
            w.sum().backward()

        optimizer.step(closure)
        state_after = torch.get_rng_state()
        torch.manual_seed(0)
        torch.rand(3)
        assert torch.equal(torch.get_rng_state(), state_after)
    assert drawn[1] == drawn[0][0]


NORMALIZATIONS = {
    "BatchNorm1d": (nn.BatchNorm1d(4), (8, 4)),
    "cumulative": (nn.BatchNorm1d(4, momentum=None), (8, 4)),
    "BatchNorm2d": (nn.BatchNorm2d(4), (8, 4, 3, 3)),
    "InstanceNorm1d": (nn.InstanceNorm1d(4, track_running_stats=True), (8, 4, 3)),
    "frozen": (nn.BatchNorm1d(4).eval(), (8, 4)),
    "without statistics": (nn.BatchNorm1d(4, track_running_stats=False), (8, 4)),
}


@pytest.mark.parametrize("n_calls", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("name", NORMALIZATIONS)
@pytest.mark.parametrize("optimizer", [SAM, WSAM])
def test_running_statistics_are_those_of_the_first_evaluation(optimizer, name, n_calls):
    """A layer may be called more than once in an evaluation."""
    prototype, shape = NORMALIZATIONS[name]
    layer, expected = copy.deepcopy(prototype), copy.deepcopy(prototype)
    shift = nn.Parameter(torch.zeros(1))  # so that the ascent moves the layer's inputs
    optimizer = optimizer([shift], rho=5.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.randn(shape, generator=generator)
        for _ in range(n_calls):
            expected(x + shift.detach())

        def closure(x=x):
            optimizer.zero_grad()
            outputs = [layer(x + shift) for _ in range(n_calls)]
            loss = shift.sum() + sum(output.square().mean() for output in outputs)
            loss.backward()
            return loss

        optimizer.step(closure)
    assert layer.state_dict().keys() == expected.state_dict().keys()
    for key, buffer in expected.named_buffers():
        assert torch.equal(layer.get_buffer(key), buffer), key


def test_batch_normalization_in_another_thread_counts_its_own_batches():
    own, foreign, expected = (nn.BatchNorm1d(3) for _ in range(3))
    w = nn.Parameter(torch.ones(3))
    optimizer = SAM([w])
    x = torch.arange(12.0).reshape(4, 3)
    n_evaluations = 0

    def closure():
        nonlocal n_evaluations
        n_evaluations += 1
        optimizer.zero_grad()
        loss = (own(x) * w).square().sum()
        loss.backward()
        if n_evaluations == 2:
            thread = threading.Thread(target=foreign, args=[x])
            thread.start()
            thread.join()
        return loss

    optimizer.step(closure)
    expected(x)
    assert own.num_batches_tracked == 1
    assert torch.equal(foreign.running_mean, expected.running_mean)
    assert torch.equal(foreign.num_batches_tracked, expected.num_batches_tracked)


@pytest.mark.parametrize("failing", [1, 2], ids=["ascent", "descent"])
def test_a_failed_step_leaves_the_traces_of_its_first_evaluation_only(failing):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        w = nn.Parameter(torch.ones(3))
        layer, expected = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        optimizer = SAM([w], rho=1.0)
        n_evaluations = 0

        def closure():
            nonlocal n_evaluations
            n_evaluations += 1
            optimizer.zero_grad()
            (layer(torch.randn(4, 3) + w) * w).sum().backward()
            if n_evaluations == failing:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            optimizer.step(closure)
        state_after = torch.get_rng_state()

        torch.manual_seed(0)
        expected(torch.randn(4, 3) + 1)
        assert torch.equal(torch.get_rng_state(), state_after)
    for key, buffer in expected.named_buffers():
        assert torch.equal(layer.get_buffer(key), buffer), key
    assert w.eq(1).all()
    assert not module._global_forward_pre_hooks


def test_it_evaluates_the_model_at_the_weights_of_its_base_optimizer():
    training = Training(
        partial(SAM, base_optimizer=Ranger, k=3, lr=0.01), initial_weights(0)
    )
    assert training.optimizer.is_synchronized
    training.run(2)
    base = training.optimizer.base_optimizer
    assert not training.optimizer.is_synchronized
    assert equal(training.optimizer.evaluation_params(), base.evaluation_params())
    assert not equal(training.optimizer.evaluation_params(), training.params)
    training.run(1)
    assert training.optimizer.is_synchronized


@pytest.mark.parametrize("base", [SGD, Adam, torch.optim.SGD, torch.optim.Adam])
def test_over_a_base_without_slow_weights_it_evaluates_the_parameters(base):
    training = Training(partial(SAM, base_optimizer=base, lr=0.01), initial_weights(0))
    training.run(2)
    assert training.optimizer.is_synchronized
    for p, q in zip(
        training.optimizer.evaluation_params(), training.params, strict=True
    ):
        assert p is q


@pytest.mark.parametrize("cls", [SAM, WSAM, FriendlySAM])
def test_a_module_may_change_its_precision_between_two_steps(cls):
    model = torch.nn.Linear(3, 2)
    optimizer = cls(model.parameters(), torch.optim.SGD, rho=0.1, lr=0.0)
    rows = torch.ones(4, 3)

    def closure():
        optimizer.zero_grad()
        loss = model(rows.to(model.weight.dtype)).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    model.double()
    with torch.no_grad():
        model.weight.fill_(1 / 3)  # not a number of single precision
    before = model.weight.detach().clone()
    optimizer.step(closure)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("rho", ["auto", None])
def test_a_radius_that_is_no_number_is_refused(rho):
    with pytest.raises(TypeError, match=f"rho must be a number, got rho={rho!r}"):
        SAM([torch.nn.Parameter(torch.ones(2))], torch.optim.SGD, rho=rho, lr=0.1)
