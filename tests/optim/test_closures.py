"""A step is what it says for closures that clear the gradients, or do not."""

import copy
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sksharp.optim import (
    ASAM,
    ESAM,
    GSAM,
    MSAM,
    SAM,
    WSAM,
    Adam,
    AdaptivePerturbation,
    Combination,
    FisherPerturbation,
    FisherSAM,
    FriendlyPerturbation,
    FriendlySAM,
    GradientPerturbation,
    Lookahead,
    LookSAM,
    ReusedDirection,
    SharpnessAware,
    SurrogateGap,
    WeightedSharpness,
    scaled_step,
)

from .cases import equal

OVER_ADAM = {"base_optimizer": Adam, "lr": 0.01}
METHODS = {
    "SAM": partial(SAM, rho=0.2, **OVER_ADAM),
    "SAM every other step": partial(SAM, rho=0.2, interval=2, start=1, **OVER_ADAM),
    "SAM, clipped": partial(SAM, rho=0.2, max_grad_norm=0.1, **OVER_ADAM),
    "SAM over SGD": partial(SAM, rho=0.2, lr=0.1, momentum=0.9),
    "WSAM coupled": partial(WSAM, rho=0.2, decouple=False, **OVER_ADAM),
    "WSAM decoupled": partial(WSAM, rho=0.2, decouple=True, **OVER_ADAM),
    "ASAM": partial(ASAM, rho=0.5, **OVER_ADAM),
    "GSAM": partial(GSAM, rho=0.2, **OVER_ADAM),
    "FisherSAM": partial(FisherSAM, rho=0.2, eta=100.0, **OVER_ADAM),
    "FriendlySAM": partial(FriendlySAM, rho=0.2, **OVER_ADAM),
    "LookSAM": partial(LookSAM, rho=0.2, looksam_k=2, **OVER_ADAM),
    "Lookahead over SAM": partial(
        Lookahead, base_optimizer=partial(SAM, base_optimizer=Adam), k=3, lr=0.01
    ),
}
PERTURBATIONS = [
    GradientPerturbation,
    AdaptivePerturbation,
    FisherPerturbation,
    FriendlyPerturbation,
]
COMBINATIONS = [
    Combination,
    WeightedSharpness,
    SurrogateGap,
    partial(ReusedDirection, looksam_k=2),
]
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)

X = torch.arange(48.0, dtype=torch.float64).reshape(12, 4).sin()
Y = torch.arange(12) % 3


class Training:
    """A network with noise and batch statistics; one layer takes part in turn only."""

    def __init__(self, method, clears=None):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.ModuleList(
                nn.Linear(*units).double() for units in [(4, 8), (8, 3), (8, 3)]
            )
            self.norm = nn.BatchNorm1d(8).double()
        self.layers[0].bias.requires_grad_(False)
        self.params = [*self.layers.parameters(), *self.norm.parameters()]
        self.optimizer, self.clears = method(self.params), clears
        self.scaler, self.factor, self.n_evaluations, self.n_steps = None, 1, 0, 0

    def loss(self, rows=slice(None)):
        hidden = self.norm(self.layers[0](X[rows])).tanh()
        head = self.layers[1 + self.n_steps % 2]
        return F.cross_entropy(head(F.dropout(hidden, 0.2)), Y[rows])

    def closure(self, rows=slice(None)):
        if self.clears == "in the closure":
            self.optimizer.zero_grad()
        elif self.clears == "in the closure, by zeros":
            self.optimizer.zero_grad(set_to_none=False)
        loss = self.loss(rows)
        self.n_evaluations += 1
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        (self.factor * scaled).backward()
        return loss.detach()

    def step(self, closure=None):
        closure = closure or self.closure
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.n_steps)
            if self.scaler is None:
                loss = self.optimizer.step(closure)
            else:
                loss = scaled_step(self.scaler, self.optimizer, closure)
        if self.clears == "after the step":
            self.optimizer.zero_grad()
        elif self.clears == "after the step, by zeros":
            # a layer that takes no part has no gradient, and not one of zero
            for p in self.params:
                if p.grad is not None:
                    p.grad.zero_()
        self.n_steps += 1
        return loss

    def state(self):
        tensors = [*self.params, *self.norm.buffers()]
        return [tensor.detach().clone() for tensor in tensors]


def of_steps(training, n_steps=5):
    """Return the losses of some steps, and what these leave."""
    return [training.step() for _ in range(n_steps)], training.state()


@pytest.mark.parametrize(
    "clears", ["after the step", "never", "in the closure, by zeros"]
)
@each_method
def test_a_step_is_the_same_whether_the_closure_clears_the_gradients_or_not(
    method, clears
):
    losses, state = of_steps(Training(method, clears))
    expected_losses, expected = of_steps(Training(method, "in the closure"))
    assert losses == expected_losses
    assert equal(state, expected)


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_every_composition_takes_a_closure_that_does_not_clear(
    perturbation, combination
):
    def method(params):
        parts = {"perturbation": perturbation(0.2), "combination": combination()}
        return SharpnessAware(params, lr=0.1, **parts)

    _, state = of_steps(Training(method, "never"), 3)
    assert equal(state, of_steps(Training(method, "in the closure"), 3)[1])


def test_gradients_of_zero_before_a_step_are_none_at_all():
    """As zero_grad(set_to_none=False) leaves them."""
    losses, state = of_steps(Training(METHODS["WSAM coupled"], "after the step"), 1)
    zeros = Training(METHODS["WSAM coupled"], "after the step, by zeros")
    for p in zeros.params[2:4]:
        p.grad = torch.zeros_like(p)
    assert zeros.step() == losses[0]
    assert equal(zeros.state(), state)


@each_method
def test_a_step_of_micro_batches_is_the_same_for_both_kinds_of_closure(method):
    states = []
    for clears in ("in the closure", "never"):
        training = Training(method, clears)
        for _ in range(3):
            parts = [partial(training.closure, r) for r in (slice(8), slice(8, 12))]
            training.step(list(zip(parts, (8, 4), strict=True)))
        states.append(training.state())
    assert equal(*states)


@pytest.mark.parametrize("overflows", [False, True])
def test_a_scaled_step_is_the_same_for_both_kinds_of_closure(overflows):
    states = []
    for clears in ("in the closure", "never"):
        training = Training(METHODS["WSAM coupled"], clears)
        training.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for step in range(4):
            training.factor = torch.inf if overflows and step == 1 else 1
            training.step()
        states.append(training.state())
    assert equal(*states)


@pytest.mark.parametrize("failing", [1, 2])
def test_after_a_closure_that_failed_the_next_step_is_the_usual_one(failing):
    training, plain = (Training(METHODS["WSAM coupled"], "never") for _ in range(2))

    def fails():
        training.closure()
        if training.n_evaluations == failing:
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        training.step(fails)
    training.step()
    plain.step()
    assert equal(training.params, plain.params)


# -- gradients of others ---------------------------------------------------------------


@each_method
def test_gradients_of_others_that_the_closure_clears_are_no_part_of_the_step(method):
    training, plain = (Training(method, "in the closure") for _ in range(2))
    training.step()
    plain.step()
    F.cross_entropy(training.layers[1](X @ X.mT[:, :8]), Y).backward()
    assert training.step() == plain.step()
    assert equal(training.params, plain.params)


def backward_elsewhere(training):
    """Leave gradients of zero, and others, in all parameters but one."""
    hidden = training.layers[0](X) * training.norm.weight + training.norm.bias
    F.cross_entropy(
        training.layers[1](hidden) + training.layers[2](hidden), Y
    ).backward()
    training.params[2].grad = None
    training.params[3].grad = torch.zeros_like(training.params[3])


@pytest.mark.parametrize("sizes", [None, (8, 4)], ids=["whole", "micro-batches"])
@pytest.mark.parametrize("n_steps", [0, 1, 2])
@each_method
def test_gradients_of_others_that_the_closure_zeroes_are_no_part_of_the_step(
    method, n_steps, sizes
):
    """As zero_grad(set_to_none=False) in it does, which leaves them where they are."""
    zeroing, plain = (
        Training(method, clears)
        for clears in ("in the closure, by zeros", "in the closure")
    )
    losses = []
    for training in (zeroing, plain):
        of_steps(training, n_steps)
        training.optimizer.zero_grad()
        backward_elsewhere(training)
        parts = None
        if sizes is not None:
            rows = slice(8), slice(8, 12)
            closures = [partial(training.closure, part) for part in rows]
            parts = list(zip(closures, sizes, strict=True))
        losses.append([training.step(parts), *of_steps(training, 2)[0]])
    assert losses[0] == losses[1]
    assert equal(zeroing.state(), plain.state())


def clip_in_closure(training):
    def closure(rows=slice(None)):
        loss = training.closure(rows)
        nn.utils.clip_grad_norm_(training.params, 1e-3)
        return loss

    return closure


def in_two_backwards(training):
    def closure(rows=slice(None)):
        loss = training.closure(rows)
        training.loss(rows).backward()
        return loss

    return closure


@pytest.mark.parametrize("change", [clip_in_closure, in_two_backwards])
def test_gradients_that_are_zeroed_are_told_from_those_that_are_added_to(change):
    """By what is there when backward begins, whatever the closure does to it after."""
    zeroing, plain, adding = (
        Training(METHODS["SAM"], clears)
        for clears in ("in the closure, by zeros", "in the closure", "never")
    )
    for training in (zeroing, plain, adding):
        backward_elsewhere(training)
    for _ in range(2):
        assert zeroing.step(change(zeroing)) == plain.step(change(plain))
    assert equal(zeroing.state(), plain.state())
    with pytest.raises(ValueError, match="must clear the gradients"):
        adding.step(change(adding))


def test_gradients_that_are_zeroed_and_infinite_are_no_part_of_the_step():
    """As with an overflow, which a sum of the old and the new would be as well."""
    w = nn.Parameter(torch.ones(1))
    w.grad = torch.full_like(w, torch.nan)
    optimizer = SAM([w], torch.optim.SGD, rho=0.1, lr=0.5)

    def closure():
        optimizer.zero_grad(set_to_none=False)
        loss = w.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(w.detach(), torch.tensor([1 - 0.5 * 2 * 1.1]))


def test_nothing_is_left_in_the_parameters_that_hears_of_backward():
    training = Training(METHODS["SAM"], "in the closure, by zeros")
    backward_elsewhere(training)

    def fails():
        training.closure()
        raise FloatingPointError

    with pytest.raises(FloatingPointError):
        training.step(fails)
    backward_elsewhere(training)
    training.step()
    assert not any(p._backward_hooks for p in training.params)


@pytest.mark.parametrize("n_steps", [0, 1, 2])
@each_method
def test_gradients_of_others_that_the_closure_adds_to_are_refused(method, n_steps):
    """As of Lightning's accumulate_grad_batches: they are of rows that it has not got."""
    training = Training(method, "never")
    for _ in range(n_steps):
        training.step()
    before, saved = training.state(), copy.deepcopy(training.optimizer.state_dict())
    training.optimizer.zero_grad()
    training.norm.eval()  # counts nothing
    training.closure(slice(6))
    for _ in range(2):
        with pytest.raises(ValueError, match="must clear the gradients"):
            training.optimizer.step(partial(training.closure, slice(6, 12)))
    assert equal(training.state(), before)
    assert str(training.optimizer.state_dict()) == str(saved)


def test_gradients_that_were_added_to_those_of_a_step_are_refused():
    training = Training(METHODS["SAM"], "never")
    training.step()
    training.closure()
    with pytest.raises(
        ValueError, match="a list with the closures of all micro-batches"
    ):
        training.step()


def test_gradients_of_others_in_one_parameter_are_refused():
    training = Training(METHODS["SAM"], "never")
    training.params[-1].grad = torch.ones_like(training.params[-1])
    with pytest.raises(ValueError, match="must clear the gradients"):
        training.step()


def test_gradients_that_lie_where_those_of_a_step_were_are_of_others():
    w = nn.Parameter(torch.ones(1))
    optimizer = SAM([w], torch.optim.SGD, rho=0.1, lr=0.1)
    optimizer.step(lambda: w.square().sum().backward() or 0.0)
    address = id(w.grad)
    optimizer.zero_grad()
    others = []
    for _ in range(1000):
        others.append(torch.ones(1))
        if id(others[-1]) == address:
            break
    else:
        pytest.skip("the memory was not used again")
    w.grad = others.pop()
    with pytest.raises(ValueError, match="must clear the gradients"):
        optimizer.step(lambda: w.square().sum().backward() or 0.0)


def test_an_optimizer_that_calls_backward_itself_clears_all():
    w = nn.Parameter(torch.tensor([1.0]))
    w.grad = torch.tensor([5.0])
    ESAM([w], torch.optim.SGD, rho=0.0, lr=0.1).step(
        lambda rows=slice(None): (w**2 / 2).expand(4)[rows]
    )
    torch.testing.assert_close(w.detach(), torch.tensor([0.9]))


def test_gradients_are_not_kept_by_the_optimizer():
    training = Training(METHODS["SAM"], "after the step")
    refs = []

    def closure():
        loss = training.closure()
        refs.append(weakref.ref(training.params[0].grad))
        return loss

    training.step(closure)
    assert [ref() for ref in refs] == [None, None]


def test_gradients_that_were_made_in_inference_mode_train_as_others():
    def run(inference):
        w = nn.Parameter(torch.tensor([2.0, 1.0]))
        optimizer = SAM([w], torch.optim.SGD, rho=0.2, lr=0.1)

        def closure():
            with torch.inference_mode(inference):
                w.grad = 3 * w.detach().sin()
            return 0.0

        for _ in range(3):
            optimizer.step(closure)
        return w.detach()

    assert torch.equal(run(True), run(False))


# -- gradients that the closure writes itself ------------------------------------------


def by_hand(training, write):
    """Return a closure that has gradients written, of zero where there are none."""

    def closure():
        loss = training.loss()
        params = trained(training)
        grads = torch.autograd.grad(
            loss, params, allow_unused=True, materialize_grads=True
        )
        for p, grad in zip(params, grads, strict=True):
            write(p, grad)
        return loss.detach()

    return closure


def trained(training):
    return [p for p in training.params if p.requires_grad]


def assign(p, grad):
    p.grad = grad


WRITE = {
    "copy": lambda p, grad: p.grad.copy_(grad),
    "add": lambda p, grad: p.grad.add_(grad),
}


@pytest.mark.parametrize("write", WRITE.values(), ids=WRITE)
@each_method
def test_a_closure_may_write_into_gradients_that_are_there(method, write):
    training, plain = Training(method), Training(method)
    for p in trained(training):
        p.grad = torch.zeros_like(p)
    places = [p.grad.data_ptr() for p in trained(training)]
    for _ in range(3):
        loss = training.step(by_hand(training, write))
        assert loss == plain.step(by_hand(plain, assign))
    assert equal(training.state(), plain.state())
    assert [p.grad.data_ptr() for p in trained(training)] == places


def test_a_closure_that_stops_to_write_gradients_is_refused():
    training = Training(METHODS["SAM"])
    for p in trained(training):
        p.grad = torch.zeros_like(p)
    training.step(by_hand(training, WRITE["copy"]))
    weights = training.state()[:-3]
    with pytest.raises(ValueError, match="Call backward"):
        training.step(lambda: training.loss().detach())
    assert equal(training.state()[:-3], weights)


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.grad.copy_(p),
        lambda p: p.grad.__setitem__(0, 1.0),
        lambda p: torch._foreach_mul_([p.grad], 2.0),
    ],
)
def test_a_closure_that_writes_into_gradients_of_none_is_told_how_to_make_them(write):
    w = nn.Parameter(torch.ones(2))
    optimizer = SAM([w], torch.optim.SGD, rho=0.1, lr=0.1)
    with pytest.raises((AttributeError, TypeError)) as raised:
        optimizer.step(lambda: write(w) and 0.0)
    (note,) = raised.value.__notes__
    assert "None before each evaluation" in note
    assert "backward" in note


def test_errors_of_other_things_have_no_note_on_gradients():
    w = nn.Parameter(torch.ones(2))
    optimizer = SAM([w], torch.optim.SGD, rho=0.1, lr=0.1)
    none = None
    for wrong in (lambda: w.no_such_thing, lambda: w.add(None), lambda: none.loss):
        with pytest.raises((AttributeError, TypeError)) as raised:
            optimizer.step(wrong)
        assert not hasattr(raised.value, "__notes__")


# -- closures that leave no gradient ---------------------------------------------------


@pytest.mark.parametrize("before", ["none", "zeros", "another's"])
@each_method
def test_a_closure_that_does_not_call_backward_is_refused(method, before):
    training = Training(method)
    training.norm.eval()
    weights = training.state()
    if before != "none":
        for p in training.params:
            p.grad = torch.full_like(p, before != "zeros")
    with pytest.raises(
        ValueError, match=r"closure must leave a gradient .* Call backward"
    ):
        training.optimizer.step(training.loss)
    assert equal(training.state(), weights)
    assert not training.optimizer.state


@each_method
def test_a_second_evaluation_without_backward_is_refused(method):
    training = Training(method, "never")
    is_late = training.optimizer.param_groups[0].get("start") == 1
    for _ in range(1 if is_late else 2):  # the next step has an ascent
        training.step()
    training.norm.eval()
    weights, n_before = training.state(), training.n_evaluations

    def closure():
        if training.n_evaluations == n_before:
            return training.closure()
        return training.loss()

    with pytest.raises(ValueError, match="Call backward"):
        training.optimizer.step(closure)
    assert equal(training.state(), weights)


def test_a_micro_batch_without_backward_is_refused():
    training = Training(METHODS["SAM"], "in the closure")
    weights = [p.detach().clone() for p in training.params]
    with pytest.raises(ValueError, match="Call backward"):
        training.step([training.closure, training.loss])
    assert equal(training.params, weights)


@pytest.mark.parametrize("skipped", [1, 2], ids=["ascent", "descent"])
@each_method
def test_a_closure_that_returns_none_without_a_gradient_skips_the_minibatch(
    method, skipped
):
    """As a training step of Lightning may."""
    training = Training(method, "in the closure")
    training.step()
    before = training.state()[:-3]
    moments = copy.deepcopy(training.optimizer.state_dict()["state"])
    n_calls = 0

    def closure():
        nonlocal n_calls
        n_calls += 1
        if n_calls == skipped:
            training.optimizer.zero_grad()
            return None
        return training.closure()

    training.optimizer.step(closure)
    if n_calls < skipped:
        pytest.skip("one evaluation a step")
    assert equal(training.state()[:-3], before)
    assert str(training.optimizer.state_dict()["state"]) == str(moments)


@each_method
def test_a_closure_that_zeroes_and_does_not_call_backward_is_refused(method):
    training = Training(method)
    training.norm.eval()
    weights = training.state()
    for before in (torch.zeros_like, torch.ones_like):
        for p in training.params:
            p.grad = before(p)

        def closure():
            training.optimizer.zero_grad(set_to_none=False)
            return training.loss()

        with pytest.raises(ValueError, match="Call backward"):
            training.optimizer.step(closure)
        assert equal(training.state(), weights)


def test_where_all_is_frozen_a_step_does_nothing():
    training = Training(METHODS["SAM"])
    before = training.state()[:-3]
    for p in training.params:
        p.requires_grad_(False)
    training.optimizer.step(training.loss)
    assert equal(training.state()[:-3], before)


def test_methods_with_one_gradient_take_either_kind_of_closure():
    _, state = of_steps(Training(partial(MSAM, lr=0.1), "after the step"))
    assert equal(state, of_steps(Training(partial(MSAM, lr=0.1), "in the closure"))[1])


@each_method
def test_an_empty_closure_after_a_backward_is_refused_by_what_it_lacks(method):
    """As Lightning passes where step is called without one."""
    training = Training(method)
    training.norm.eval()
    weights = training.state()
    training.closure()
    with pytest.raises(ValueError, match=r"closure must compute the loss .* Lightning"):
        training.optimizer.step(lambda: None)
    assert equal(training.state(), weights)


@each_method
def test_one_closure_may_go_over_micro_batches(method):
    """Their gradients add up to that of the minibatch, in both passes."""
    halves, whole = (Training(method, "never") for _ in range(2))
    for training in (halves, whole):
        training.norm.eval()
        training.factor = 0.5

    def over_both():
        for rows in (slice(6), slice(6, 12)):
            loss = halves.closure(rows)
        return loss

    def at_once():
        total = 0.0
        for rows in (slice(6), slice(6, 12)):
            total = total + 0.5 * whole.loss(rows)
        total.backward()
        return total.detach()

    for _ in range(4):
        halves.step(over_both)
        whole.step(at_once)
    for p, q in zip(halves.params, whole.params, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)
