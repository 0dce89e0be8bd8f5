"""Each special case of a method is the method it reduces to."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional as F

from sksharp.optim import SAM, SGD, WSAM, Adam, Lookahead, RAdam, Ranger

from .cases import Training, equal, initial_weights, quadratic, train, walk

PLAIN = {"momentum": 0.0, "nesterov": False}
BASES = {
    "SGD": partial(SGD, lr=0.05),
    "Adam": partial(Adam, lr=0.01),
    "Ranger": partial(Ranger, lr=0.01, k=4),
    "torch's SGD": partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True),
    "torch's Adam": partial(torch.optim.Adam, lr=0.01),
}
each_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)
each_batch_norm = pytest.mark.parametrize(
    "batch_norm", [{"momentum": 0.1}, {"momentum": None}], ids=["ema", "cumulative"]
)


def assert_close(first, second):
    for a, b in zip(first, second, strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-12)


def train_with_noise(make, batch_norm, dtype=torch.float32):
    """Train with batch normalization and dropout; return all that this leaves."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(6, 16),
            nn.BatchNorm1d(16, **batch_norm),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(16, 3),
        ).to(dtype)
        optimizer = make(model.parameters())
        for _ in range(7):
            x, y = torch.randn(20, 6, dtype=dtype), torch.randint(3, (20,))

            def closure(x=x, y=y):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
        return [*model.state_dict().values(), torch.get_rng_state()]


@each_batch_norm
@each_base
@pytest.mark.parametrize(
    "ascent",
    [
        partial(SAM, rho=0.0),
        partial(WSAM, rho=0.0, gamma=0.5, decouple=False),
        partial(WSAM, rho=0.0, gamma=0.9, decouple=True),
    ],
    ids=["SAM", "WSAM coupled", "WSAM decoupled"],
)
def test_rho_of_zero_is_the_base_optimizer_bit_for_bit(ascent, base, batch_norm):
    """R1: the weights, the running statistics and the random numbers after."""
    expected = train_with_noise(base, batch_norm)
    assert equal(
        train_with_noise(partial(ascent, base_optimizer=base), batch_norm), expected
    )


@each_batch_norm
@each_base
@pytest.mark.parametrize("decouple", [False, True], ids=["coupled", "decoupled"])
def test_wsam_with_gamma_of_zero_is_the_base_optimizer_bit_for_bit(
    decouple, base, batch_norm
):
    """R2: with an ascent that is really made."""
    wsam = partial(WSAM, base_optimizer=base, rho=0.5, gamma=0.0, decouple=decouple)
    expected = train_with_noise(base, batch_norm)
    assert equal(train_with_noise(wsam, batch_norm), expected)


@pytest.mark.parametrize("gamma", [0.3, 0.9])
@each_base
def test_coupled_wsam_with_rho_of_zero_is_the_base_optimizer(base, gamma):
    """R1: only to rounding, for 9 g - 8 g is not g."""
    wsam = partial(WSAM, base_optimizer=base, rho=0.0, gamma=gamma, decouple=False)
    assert_close(train(wsam), train(base))


@each_batch_norm
@each_base
def test_coupled_wsam_with_gamma_of_a_half_is_sam_bit_for_bit(base, batch_norm):
    """R3."""
    wsam = partial(WSAM, base_optimizer=base, rho=0.2, gamma=0.5, decouple=False)
    sam = partial(SAM, base_optimizer=base, rho=0.2)
    expected = train_with_noise(sam, batch_norm)
    assert equal(train_with_noise(wsam, batch_norm), expected)
    assert not equal(train_with_noise(base, batch_norm), expected)


@pytest.mark.parametrize(
    "base", [partial(SGD, **PLAIN), torch.optim.SGD], ids=["SGD", "torch's SGD"]
)
def test_decoupled_wsam_with_gamma_of_a_half_is_sam_without_momentum(base):
    """R4."""
    wsam = partial(WSAM, base_optimizer=base, rho=0.2, gamma=0.5, lr=0.1, decouple=True)
    assert_close(train(wsam), train(partial(SAM, base_optimizer=base, rho=0.2, lr=0.1)))


@pytest.mark.parametrize(
    "base",
    [SGD, partial(torch.optim.SGD, momentum=0.9), partial(Adam, beta_1=0.5)],
    ids=["SGD", "torch's SGD", "Adam"],
)
def test_decoupled_wsam_with_gamma_of_a_half_is_not_sam_with_momentum(base):
    """R4: the sharpness bypasses the momentum."""
    wsam = partial(WSAM, base_optimizer=base, rho=0.2, gamma=0.5, lr=0.1, decouple=True)
    sam = partial(SAM, base_optimizer=base, rho=0.2, lr=0.1)
    differences = [a - b for a, b in zip(train(wsam, 3), train(sam, 3), strict=True)]
    assert max(d.abs().max() for d in differences) > 1e-3


@each_base
def test_lookahead_with_k_and_alpha_of_one_is_the_base_optimizer_bit_for_bit(base):
    """R9, except over Ranger, which looks ahead already."""
    if base is BASES["Ranger"]:
        base = partial(RAdam, lr=0.01)
    lookahead = partial(Lookahead, base_optimizer=base, k=1, alpha=1.0)
    assert equal(train(lookahead), train(base))


def test_lookahead_that_never_synchronizes_is_the_base_optimizer_bit_for_bit():
    lookahead = partial(Lookahead, lr=0.01, k=13, alpha=0.3)
    assert equal(train(lookahead, 12), train(partial(Adam, lr=0.01), 12))


def test_lookahead_with_alpha_of_zero_returns_to_the_start_every_k_steps():
    """R9."""
    training = Training(partial(Lookahead, lr=0.01, k=3, alpha=0.0), initial_weights(0))
    for _ in range(3):
        training.run(2)
        assert not equal(training.params, initial_weights(0))
        training.run(1)
        assert equal(training.params, initial_weights(0))


@pytest.mark.parametrize(
    "switched_off", [{"k": 1000}, {"k": 1, "alpha": 1.0}], ids=["k", "alpha"]
)
def test_ranger_without_lookahead_is_the_radam_of_torch(switched_off):
    """R10."""
    ranger = partial(Ranger, lr=0.01, beta_1=0.95, beta_2=0.99, **switched_off)
    radam = partial(torch.optim.RAdam, lr=0.01, betas=(0.95, 0.99), eps=1e-5)
    for p, q in zip(train(ranger, 50), train(radam, 50), strict=True):
        assert_allclose(p, q, rtol=0, atol=1e-10)


def test_ranger_is_lookahead_over_radam_bit_for_bit():
    values = {"lr": 0.01, "beta_1": 0.9, "beta_2": 0.99, "eps": 1e-6}
    ranger = partial(Ranger, **values, k=3, alpha=0.7)
    lookahead = partial(Lookahead, base_optimizer=RAdam, **values, k=3, alpha=0.7)
    assert equal(train(ranger), train(lookahead))


@pytest.mark.parametrize("beta_2", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("eps", [1e-8, 0.1])
def test_radam_is_the_radam_of_torch(beta_2, eps):
    radam = partial(RAdam, lr=0.01, beta_1=0.8, beta_2=beta_2, eps=eps)
    other = partial(torch.optim.RAdam, lr=0.01, betas=(0.8, beta_2), eps=eps)
    for p, q in zip(train(radam, 50), train(other, 50), strict=True):
        assert_allclose(p, q, rtol=0, atol=1e-10)


def test_radam_with_a_short_memory_is_gradient_descent():
    """The variance over few steps is never known: beta_2 <= 2/3."""
    radam = partial(RAdam, lr=0.1, beta_1=0.0, beta_2=0.6)
    assert_close(train(radam), train(partial(SGD, lr=0.1, **PLAIN)))


def test_adam_without_epsilon_is_the_adam_of_torch():
    """The two forms differ by where epsilon stands only."""
    adam = partial(Adam, lr=0.01, beta_1=0.8, beta_2=0.95, eps=0.0)
    other = partial(torch.optim.Adam, lr=0.01, betas=(0.8, 0.95), eps=0.0)
    assert_close(train(adam), train(other))


def test_sam_over_adam_without_epsilon_is_sam_over_the_adam_of_torch():
    adam = partial(Adam, lr=0.01, beta_1=0.8, beta_2=0.95, eps=0.0)
    other = partial(torch.optim.Adam, lr=0.01, betas=(0.8, 0.95), eps=0.0)
    assert_close(
        train(partial(SAM, base_optimizer=adam, rho=0.2)),
        train(partial(SAM, base_optimizer=other, rho=0.2)),
    )


def test_adam_without_memory_is_sign_descent():
    adam = partial(Adam, lr=0.1, beta_1=0.0, beta_2=0.0, eps=0.0)
    start = np.array([1.03, -2.04, 3.01])
    trajectory = walk(adam, quadratic(np.diag([1.0, 2.0, 0.5])), start, n_steps=8)
    assert_allclose(np.diff(trajectory, axis=0), -0.1 * np.sign(trajectory[:-1]))


@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy ball", "Nesterov"])
def test_sgd_at_a_constant_rate_is_the_sgd_of_torch(nesterov):
    values = {"lr": 0.05, "momentum": 0.9, "nesterov": nesterov}
    assert_close(
        train(partial(SGD, **values), 50), train(partial(torch.optim.SGD, **values), 50)
    )


@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy ball", "Nesterov"])
def test_sgd_without_momentum_is_gradient_descent(nesterov):
    sgd = partial(SGD, lr=0.1, momentum=0.0, nesterov=nesterov)
    start, hessian = np.array([1.0, -2.0]), np.array([[2.0, 1.0], [1.0, 3.0]])
    expected = [start]
    for _ in range(9):
        expected.append(expected[-1] - 0.1 * hessian @ expected[-1])
    trajectory = walk(sgd, quadratic(hessian), start, n_steps=9)
    assert_allclose(trajectory, expected, rtol=0, atol=1e-12)


def test_a_rate_of_zero_is_no_training():
    for optimizer in (SGD, Adam, RAdam, Ranger, Lookahead, SAM, WSAM):
        assert equal(train(partial(optimizer, lr=0.0)), initial_weights(0))


@pytest.mark.parametrize(
    "name",
    ["ASGD", "Adafactor", "Adagrad", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop"],
)
def test_rho_of_zero_is_any_optimizer_of_torch_bit_for_bit(name):
    base = partial(getattr(torch.optim, name), lr=0.01)
    assert equal(train(partial(SAM, base_optimizer=base, rho=0.0)), train(base))
