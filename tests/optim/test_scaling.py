"""Steps with a gradient scaler are those without, or none."""

import copy
from functools import partial

import pytest
import torch
from numpy.testing import assert_allclose
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
    FisherSAM,
    FriendlySAM,
    Lookahead,
    LookSAM,
    scaled_step,
)

from .cases import equal

OVER_ADAM = {"base_optimizer": torch.optim.Adam, "lr": 0.01}
METHODS = {
    "SAM": partial(SAM, rho=0.2, **OVER_ADAM),
    "SAM over SGD, clipped": partial(
        SAM, base_optimizer=torch.optim.SGD, rho=0.2, lr=0.1, max_grad_norm=0.1
    ),
    "WSAM coupled": partial(WSAM, rho=0.2, decouple=False, **OVER_ADAM),
    "WSAM decoupled": partial(WSAM, rho=0.2, decouple=True, **OVER_ADAM),
    "ASAM": partial(ASAM, rho=0.5, **OVER_ADAM),
    "GSAM": partial(GSAM, rho=0.2, **OVER_ADAM),
    "FisherSAM": partial(FisherSAM, rho=0.2, eta=100.0, **OVER_ADAM),
    "FriendlySAM": partial(FriendlySAM, rho=0.2, **OVER_ADAM),
    "LookSAM": partial(LookSAM, rho=0.2, looksam_k=2, **OVER_ADAM),
    "MSAM": partial(MSAM, rho=0.2, **OVER_ADAM),
    "Lookahead over SAM": partial(
        Lookahead, base_optimizer=partial(SAM, base_optimizer=Adam), k=2, lr=0.01
    ),
    "torch's Adam": partial(torch.optim.Adam, lr=0.01),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)

X = torch.arange(48.0).reshape(12, 4).sin()
Y = torch.arange(12) % 3


class Training:
    """A network with noise and batch statistics, trained with a scaler or without."""

    def __init__(self, method, scaler=None):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = nn.Sequential(
                nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)
            )
        self.optimizer, self.scaler = method(self.model.parameters()), scaler
        self.n_evaluations, self.factors = 0, {}

    def closure(self, rows=slice(None)):
        """Evaluate some rows; ``factors`` multiply the loss of an evaluation."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(X[rows]), Y[rows])
        scaled = loss * self.factors.get(self.n_evaluations, 1.0)
        self.n_evaluations += 1
        (scaled if self.scaler is None else self.scaler.scale(scaled)).backward()
        return loss.detach()

    def step(self, closure=None):
        closure = closure or self.closure
        if self.scaler is None:
            return self.optimizer.step(closure)
        return scaled_step(self.scaler, self.optimizer, closure)

    def weights(self):
        return [p.detach().clone() for p in self.model.parameters()]


def power_of_two(scale=2.0**10, **options):
    """Return a scaler that changes no digits."""
    return torch.amp.GradScaler("cpu", init_scale=scale, **options)


@each_method
def test_steps_with_a_scale_are_those_without_bit_for_bit(method):
    scaled, plain = Training(method, power_of_two()), Training(method)
    for _ in range(4):
        assert scaled.step() == plain.step()
        assert equal(
            scaled.model.state_dict().values(), plain.model.state_dict().values()
        )


def test_a_scaler_that_is_off_changes_nothing():
    off = torch.amp.GradScaler("cpu", enabled=False)
    scaled, plain = Training(METHODS["SAM"], off), Training(METHODS["SAM"])
    for _ in range(3):
        assert scaled.step() == plain.step()
    assert equal(scaled.weights(), plain.weights())


@pytest.mark.parametrize("sized", [False, True])
def test_the_gradients_of_micro_batches_are_unscaled_one_by_one(sized):
    scaled, plain = (
        Training(METHODS["WSAM coupled"], power_of_two()),
        Training(METHODS["WSAM coupled"]),
    )
    for training in (scaled, plain):
        rows = (slice(0, 8), slice(8, 12))
        parts = [partial(training.closure, part) for part in rows]
        if sized:
            parts = list(zip(parts, (8, 4), strict=True))
        for _ in range(3):
            training.step(parts)
    assert equal(scaled.weights(), plain.weights())


@pytest.mark.parametrize("evaluation", [0, 1], ids=["ascent", "descent"])
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@each_method
def test_an_overflow_skips_the_step_and_halves_the_scale(method, value, evaluation):
    training = Training(method, power_of_two())
    training.step()
    if evaluation and training.n_evaluations == 1:
        pytest.skip("one evaluation a step")
    training.step()
    weights = training.weights()
    state = copy.deepcopy(training.optimizer.state_dict())
    training.n_evaluations = 0
    training.factors = {evaluation: value}
    assert training.step() is None
    assert training.n_evaluations == evaluation + 1
    assert equal(training.weights(), weights)
    assert training.scaler.get_scale() == 2.0**9
    assert str(training.optimizer.state_dict()) == str(state)


@each_method
def test_after_an_overflow_training_goes_on_as_if_it_had_not_been(method):
    training, plain = Training(method, power_of_two()), Training(method)
    for step in range(4):
        if step == 2:
            statistics = copy.deepcopy(training.model.state_dict())
            training.factors = {training.n_evaluations: torch.inf}
            assert training.step() is None
            training.model.load_state_dict(statistics)  # the batch was seen once more
        assert training.step() == plain.step()
    assert equal(training.weights(), plain.weights())


def test_the_scale_grows_with_the_steps_and_not_with_the_evaluations():
    training = Training(METHODS["SAM"], power_of_two(growth_interval=3))
    scales = []
    for _ in range(6):
        training.step()
        scales.append(training.scaler.get_scale() / 2.0**10)
    assert scales == [1, 1, 2, 2, 2, 4]


def test_gradients_that_underflow_in_half_precision_are_saved():
    """Those of float16 are zero below 6e-8, and SAM's direction is lost with them."""
    weights = {}
    for name, scaler in {"plain": None, "scaled": power_of_two(2.0**16)}.items():
        training = Training(
            partial(SAM, base_optimizer=torch.optim.SGD, rho=0.2, lr=1e7)
        )
        training.scaler = scaler
        model = training.model = nn.Linear(4, 3, bias=False)
        with torch.no_grad():
            model.weight.copy_(torch.arange(12.0).reshape(3, 4).cos())
        training.optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.2, lr=1e8)

        def closure(model=model, training=training, scaler=scaler):
            training.optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                outputs = model(X)
            loss = F.cross_entropy(outputs.float(), Y) * 1e-8
            (loss if scaler is None else scaler.scale(loss)).backward()

        training.step(closure)
        weights[name] = model.weight.detach()
    start = torch.arange(12.0).reshape(3, 4).cos()
    assert torch.equal(weights["plain"], start)

    w = start.double().requires_grad_()
    loss = F.cross_entropy(X.double() @ w.T, Y)
    (grad,) = torch.autograd.grad(loss, w)
    moved = (w + 0.2 * grad / grad.norm()).detach().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(X.double() @ moved.T, Y), moved)
    assert_allclose(weights["scaled"], start - grad, rtol=0, atol=2e-3)
    assert grad.abs().max() > 0.05


def test_a_closure_that_fails_leaves_scaler_and_weights_as_they_were():
    training = Training(METHODS["SAM"], power_of_two(growth_interval=2))
    training.step()
    weights = training.weights()

    def failing():
        if training.n_evaluations == 3:
            raise KeyError("data")
        return training.closure()

    with pytest.raises(KeyError, match="data"):
        training.step(failing)
    assert equal(training.weights(), weights)
    assert training.scaler.get_scale() == 2.0**10
    training.step()  # the second that counts
    assert training.scaler.get_scale() == 2.0**11


@pytest.mark.parametrize("scaler", [None, 8.0])
def test_what_is_no_scaler_is_refused(scaler):
    training = Training(METHODS["SAM"])
    with pytest.raises(TypeError, match=r"scaler must be .*, got .*optimizer\.step"):
        scaled_step(scaler, training.optimizer, training.closure)


@pytest.mark.parametrize(
    "around", [lambda esam: esam, lambda esam: partial(Lookahead, base_optimizer=esam)]
)
def test_an_optimizer_that_calls_backward_itself_is_refused(around):
    training = Training(around(partial(ESAM, rho=0.2, lr=0.1)), power_of_two())
    with pytest.raises(TypeError, match=r"ESAM.* bfloat16 autocast"):
        training.step()


def test_a_closure_that_does_not_scale_is_refused():
    training = Training(METHODS["SAM"])
    weights = training.weights()
    with pytest.raises(ValueError, match=r"scaler\.scale\(loss\)\.backward"):
        scaled_step(power_of_two(), training.optimizer, training.closure)
    assert equal(training.weights(), weights)


def test_a_closure_with_a_loss_and_without_a_gradient_is_refused():
    training = Training(METHODS["SAM"], power_of_two())
    training.step()
    training.optimizer.zero_grad()
    with pytest.raises(ValueError, match="closure must leave the gradients"):
        training.step(lambda: 1.0)


@each_method
def test_a_closure_that_returns_none_without_a_gradient_skips_the_minibatch(method):
    """As without a scaler, and it does not count for the growth of the scale."""
    scaled = Training(method, power_of_two(growth_interval=2))
    plain = Training(method)
    for training in (scaled, plain):
        training.step()
        assert training.step(training.optimizer.zero_grad) is None
    assert scaled.scaler.get_scale() == 2.0**10
    assert scaled.step() == plain.step()
    assert equal(scaled.weights(), plain.weights())
    assert scaled.scaler.get_scale() == 2.0**11


def test_a_micro_batch_that_is_skipped_leaves_the_scaled_step_to_the_others():
    scaled, plain = (
        Training(METHODS["SAM"], power_of_two()),
        Training(METHODS["SAM"]),
    )
    for training in (scaled, plain):
        training.step([(training.closure, 8), (training.optimizer.zero_grad, 4)])
    assert equal(scaled.weights(), plain.weights())
