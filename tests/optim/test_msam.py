"""Momentum-SAM."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import MSAM, SGD, Adam, AdamW, Muon, RAdam, Ranger, YellowFin

from .cases import Training, equal, initial_weights, quadratic, train

BASES = {
    "SGD": partial(SGD, lr=0.05),
    "heavy ball": partial(SGD, lr=0.05, nesterov=False),
    "Adam": partial(Adam, lr=0.01),
    "AdamW": partial(AdamW, lr=0.01),
    "RAdam": partial(RAdam, lr=0.01),
    "Muon": partial(Muon, lr=0.01),
    "Ranger": partial(Ranger, lr=0.01, k=3),
    "YellowFin": partial(YellowFin, lr=0.1),
    "torch's SGD": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    "torch's AdamW": partial(torch.optim.AdamW, lr=0.01),
    "torch's RAdam": partial(torch.optim.RAdam, lr=0.01),
}
each_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)
# whose momentum is the mean of the gradient, in one or another scale
MEANS = ["mean", "exp_avg", "momentum_buffer"]


@each_base
def test_rho_of_zero_is_the_base_optimizer_bit_for_bit(base):
    """R8."""
    assert equal(train(partial(MSAM, base_optimizer=base, rho=0.0)), train(base))


@pytest.mark.parametrize("base", ["SGD", "Adam"])
def test_rho_of_zero_per_model_is_the_base_optimizer_bit_for_bit(base):
    rho = torch.tensor(0.0, dtype=torch.float64)
    msam = partial(MSAM, base_optimizer=BASES[base], rho=rho)
    assert equal(train(msam), train(BASES[base]))


@each_base
def test_the_parameters_are_off_the_weights_by_rho_down_the_momentum(base):
    """- rho v / |v|, over all parameters of all groups."""

    def make(params):
        groups = [{"params": params[:1]}, {"params": params[1:]}]
        return MSAM(groups, base, rho=0.7)

    training = Training(make, initial_weights(0))
    training.run(4)
    optimizer, params = training.optimizer, training.params
    offsets, momenta = [], []
    for p in params:
        state = optimizer.state[p]
        offsets.append((p.detach() - state["start"]).flatten())
        downhill = state.get("velocity")
        if downhill is None:
            (uphill,) = (state[name] for name in MEANS if name in state)
            downhill = -uphill
        momenta.append(-downhill)
    offset = torch.cat(offsets)
    v = torch.cat([m.flatten() for m in momenta])
    assert_allclose(offset, -0.7 * v / v.norm(), rtol=0, atol=1e-12)
    assert_allclose(offset.norm(), 0.7, rtol=1e-12)


@each_base
def test_a_step_is_the_base_optimizers_with_the_gradient_of_the_perturbed_weights(base):
    training = Training(partial(MSAM, base_optimizer=base, rho=0.3), initial_weights(0))
    twin = Training(base, initial_weights(0))
    for _ in range(7):
        training.closure()
        for p, q in zip(training.params, twin.params, strict=True):
            q.grad = p.grad.clone()
        training.optimizer.step()
        twin.optimizer.step()
        training.n_steps += 1
        expected = twin.params
        if hasattr(twin.optimizer, "evaluation_params"):
            expected = twin.optimizer.evaluation_params()
        assert equal(training.optimizer.evaluation_params(), expected)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_a_radius_of_the_next_nesterov_move_is_nesterovs_momentum(momentum):
    """NAG is MSAM with rho_t = lr momentum |v_t|."""
    hessian, lr = np.array([[2.0, 1.0], [1.0, 3.0]]), 0.1
    loss = quadratic(hessian)
    paths = []
    for make in (
        partial(SGD, nesterov=True),
        partial(MSAM, base_optimizer=partial(SGD, nesterov=False)),
    ):
        w = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        optimizer = make([w], lr=lr, momentum=momentum)
        velocity, path = np.zeros(2), []
        for _ in range(12):
            optimizer.zero_grad()
            loss(w).backward()
            velocity = momentum * velocity - lr * w.grad.numpy()
            if "rho" in optimizer.param_groups[0]:
                rho = momentum * np.linalg.norm(velocity)
                optimizer.param_groups[0]["rho"] = rho
            optimizer.step()
            path.append(w.detach().clone().numpy())
        paths.append(path)
    assert_allclose(paths[0], paths[1], rtol=0, atol=1e-12)


def test_a_momentum_of_zero_does_not_perturb():
    w = nn.Parameter(torch.ones(2))
    optimizer = MSAM([w], SGD, rho=0.5, lr=0.1)
    w.grad = torch.zeros_like(w)
    optimizer.step()
    assert (w == 1).all()


@pytest.mark.parametrize(
    "base", [partial(torch.optim.SGD, lr=0.1), torch.optim.RMSprop, torch.optim.Adagrad]
)
def test_a_base_optimizer_without_momentum_is_refused(base):
    training = Training(partial(MSAM, base_optimizer=base), initial_weights(0))
    with pytest.raises(ValueError, match="must keep a momentum"):
        training.run(2)


def test_a_radius_that_becomes_zero_leaves_the_weights_unperturbed():
    training, twin = (
        Training(partial(MSAM, rho=0.3, lr=0.05), initial_weights(0)) for _ in range(2)
    )
    training.run(3)
    assert not training.optimizer.is_synchronized
    training.optimizer.param_groups[0]["rho"] = 0.0
    training.run(1)
    twin.run(4)
    assert training.optimizer.is_synchronized
    assert equal(training.params, twin.optimizer.evaluation_params())


each_kind = pytest.mark.parametrize("base", ["SGD", "Adam", "Ranger", "torch's AdamW"])


@each_kind
def test_evaluating_puts_the_weights_in_place_for_a_while(base):
    make = partial(MSAM, base_optimizer=BASES[base], rho=0.3)
    training = Training(make, initial_weights(0))
    for _ in range(7):
        training.run(1)
        before = [p.detach().clone() for p in training.params]
        weights = [w.clone() for w in training.optimizer.evaluation_params()]
        with training.optimizer.evaluating():
            assert equal(training.params, weights)
        assert equal(training.params, before)
    assert equal(training.params, train(make, 7))
    with pytest.raises(KeyError), training.optimizer.evaluating():
        raise KeyError
    assert equal(training.params, before)


@each_kind
def test_synchronizing_leaves_the_weights_in_place(base):
    make = partial(MSAM, base_optimizer=BASES[base], rho=0.3)
    training = Training(make, initial_weights(0))
    training.run(5)
    weights = [w.clone() for w in training.optimizer.evaluation_params()]
    training.optimizer.synchronize()
    assert training.optimizer.is_synchronized
    assert equal(training.params, weights)
    assert equal(training.optimizer.evaluation_params(), weights)


@each_kind
def test_the_parameters_are_found_again_from_the_weights(base):
    make = partial(MSAM, base_optimizer=BASES[base], rho=0.3)
    training = Training(make, initial_weights(0))
    training.run(5)
    before = [p.detach().clone() for p in training.params]
    weights = training.optimizer.training_params()
    with torch.no_grad():
        for p, w in zip(training.params, weights, strict=True):
            p.copy_(w)
    assert not equal(training.params, before)
    training.optimizer.resume_params()
    assert equal(training.params, before)
    training.run(4)
    assert equal(training.params, train(make, 9))


@each_kind
def test_adopted_parameters_are_the_weights(base):
    training = Training(
        partial(MSAM, base_optimizer=BASES[base], rho=0.3), initial_weights(0)
    )
    training.run(5)
    with torch.no_grad():
        for p in training.params:
            p.fill_(7.0)
    training.optimizer.reset_to_params()
    for w in training.optimizer.evaluation_params():
        assert (w == 7).all()
    training.optimizer.resume_params()  # they were not perturbed
    assert all((p == 7).all() for p in training.params)


def test_a_closure_that_fails_leaves_the_step_untried():
    make = partial(MSAM, base_optimizer=Adam, rho=0.3, lr=0.01)
    training = Training(make, initial_weights(0))
    training.run(3)

    def closure():
        training.closure()
        raise FloatingPointError

    with pytest.raises(FloatingPointError):
        training.optimizer.step(closure)
    training.run(4)
    assert equal(training.params, train(make, 7))
