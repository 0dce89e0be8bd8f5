"""Each special case of a method is the method it reduces to."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional as F

from sksharp.optim import (
    ASAM,
    ESAM,
    GSAM,
    SAM,
    SGD,
    WSAM,
    Adam,
    AdaptivePerturbation,
    FisherPerturbation,
    FisherSAM,
    FriendlyPerturbation,
    FriendlySAM,
    GradientPerturbation,
    Lookahead,
    LookSAM,
    RAdam,
    Ranger,
    ReusedDirection,
    SharpnessAware,
    SurrogateGap,
    WeightedSharpness,
)

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

            def closure(rows=slice(None), x=x, y=y):
                if isinstance(optimizer, ESAM):
                    return F.cross_entropy(model(x[rows]), y[rows], reduction="none")
                optimizer.zero_grad()
                # reduced as ESAM reduces
                loss = F.cross_entropy(model(x), y, reduction="none").mean(-1)
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
        partial(ASAM, rho=0.0),
        partial(GSAM, rho=0.0, gsam_alpha=2.0),
        partial(FisherSAM, rho=0.0, eta=10.0),
        partial(FriendlySAM, rho=0.0),
        partial(LookSAM, rho=0.0, looksam_k=3),
        partial(ESAM, rho=0.0, fraction=0.3),
        partial(SAM, rho=0.5, start=100),
        partial(SAM, rho=0.0, interval=2, start=1),
    ],
    ids=[
        "SAM",
        "WSAM coupled",
        "WSAM decoupled",
        "ASAM",
        "GSAM",
        "FisherSAM",
        "FriendlySAM",
        "LookSAM",
        "ESAM",
        "late SAM",
        "interval SAM",
    ],
)
def test_rho_of_zero_is_the_base_optimizer_bit_for_bit(ascent, base, batch_norm):
    """R1: the weights, the running statistics and the random numbers after."""
    expected = train_with_noise(base, batch_norm)
    assert equal(
        train_with_noise(partial(ascent, base_optimizer=base), batch_norm), expected
    )


IS_SAM = {
    "GSAM without alpha": partial(GSAM, gsam_alpha=0.0),
    "LookSAM every step": partial(LookSAM, looksam_k=1),
    "FisherSAM without eta": partial(FisherSAM, eta=0.0),
    "FriendlySAM without sigma": partial(FriendlySAM, sigma=0.0),
    "FriendlySAM without memory": partial(FriendlySAM, decay=0.0),
    "ESAM of all rows": partial(ESAM, fraction=1.0),
    "ASAM without weights": partial(ASAM, n_scaled=0),
    "every step": partial(SAM, interval=1, start=0),
    "the composition of nothing": partial(
        SharpnessAware, perturbation=GradientPerturbation(0.2)
    ),
    "LookSAM that reuses nothing": partial(LookSAM, looksam_k=3, looksam_alpha=0.0),
}


@each_batch_norm
@each_base
@pytest.mark.parametrize("method", IS_SAM.values(), ids=IS_SAM)
def test_methods_that_reduce_to_sam_are_sam_bit_for_bit(method, base, batch_norm):
    """R6 and R7, with dropout and batch normalization."""
    rho = {} if method.func is SharpnessAware else {"rho": 0.2}
    interval = 3 if "looksam_alpha" in method.keywords else 1
    sam = partial(SAM, base_optimizer=base, rho=0.2, interval=interval)
    expected = train_with_noise(sam, batch_norm)
    assert equal(
        train_with_noise(partial(method, base_optimizer=base, **rho), batch_norm),
        expected,
    )
    assert not equal(train_with_noise(base, batch_norm), expected)


@each_base
def test_asam_of_vectors_is_sam_bit_for_bit(base):
    """R5: biases are not scaled, whatever they are called."""

    def train_vectors(method):
        make = partial(method, base_optimizer=base, rho=0.3)
        start = [0.5, -1.0, 2.0, 0.3]
        return walk(make, quadratic(np.diag([4.0, 1.0, 0.5, 2.0])), start, n_steps=6)

    assert np.array_equal(train_vectors(ASAM), train_vectors(SAM))


def test_asam_of_weights_whose_size_and_eta_make_one_is_sam():
    """R5: T = |w| + eta = 1, for a step."""
    params = [nn.Parameter(torch.full((2, 3), sign * 0.4)) for sign in (1, -1)]
    twins = [nn.Parameter(p.detach().clone()) for p in params]
    x = torch.arange(6.0).reshape(2, 3)
    for make, ps in [(partial(ASAM, eta=0.6), params), (SAM, twins)]:
        optimizer = make(ps, torch.optim.SGD, rho=0.5, lr=0.1)

        def closure(ps=ps, optimizer=optimizer):
            optimizer.zero_grad()
            loss = ((ps[0] * x - ps[1]) ** 2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
    assert_close([p.detach() for p in params], [p.detach() for p in twins])


@pytest.mark.parametrize("alpha", [0.1, 0.4, 3.0])
def test_gsam_on_an_isotropic_bowl_is_sam(alpha):
    """R6: the two gradients are parallel, and nothing is orthogonal."""
    start, bowl = [1.0, -2.0, 0.5], quadratic(2.0 * np.eye(3))
    gsam = partial(GSAM, rho=0.3, gsam_alpha=alpha, lr=0.1)
    sam = partial(SAM, rho=0.3, lr=0.1)
    assert_allclose(walk(gsam, bowl, start, 12), walk(sam, bowl, start, 12), atol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_looksam_on_an_isotropic_bowl_is_sam_every_k_steps(factor):
    """Nothing is orthogonal there, and rounding has no direction to reuse."""
    bowl = quadratic(factor * np.eye(3))
    start = [0.1, -0.7, 0.3]
    looksam = partial(LookSAM, rho=0.3, looksam_k=4, looksam_alpha=5.0, lr=0.03)
    sam = partial(SAM, rho=0.3, interval=4, lr=0.03)
    assert_allclose(
        walk(looksam, bowl, start, 12), walk(sam, bowl, start, 12), rtol=0, atol=1e-12
    )


def test_wsams_weight_of_a_half_makes_any_perturbation_that_methods():
    """R3, composed: WSAM's combination of ASAM's perturbation is then ASAM."""
    base = partial(Adam, lr=0.01)
    for perturbation, method in [
        (AdaptivePerturbation(0.7, 0.1), partial(ASAM, rho=0.7, eta=0.1)),
        (FisherPerturbation(0.2, 9.0), partial(FisherSAM, rho=0.2, eta=9.0)),
        (
            FriendlyPerturbation(0.2, 0.9, 0.8),
            partial(FriendlySAM, rho=0.2, sigma=0.9, decay=0.8),
        ),
    ]:
        composed = partial(
            SharpnessAware,
            base_optimizer=base,
            perturbation=perturbation,
            combination=WeightedSharpness(0.5),
        )
        assert equal(train(composed), train(partial(method, base_optimizer=base)))


COMPOSED = {
    "WSAM": (
        lambda: (GradientPerturbation(0.2), WeightedSharpness(0.8)),
        partial(WSAM, rho=0.2, gamma=0.8),
    ),
    "GSAM": (
        lambda: (GradientPerturbation(0.2), SurrogateGap(0.3)),
        partial(GSAM, rho=0.2, gsam_alpha=0.3),
    ),
    "LookSAM": (
        lambda: (GradientPerturbation(0.2), ReusedDirection(3, 0.5)),
        partial(LookSAM, rho=0.2, looksam_k=3, looksam_alpha=0.5),
    ),
    "ASAM": (
        lambda: (AdaptivePerturbation(0.2, 0.3), None),
        partial(ASAM, rho=0.2, eta=0.3),
    ),
}


@each_base
@pytest.mark.parametrize("name", COMPOSED)
def test_a_method_with_a_name_is_its_composition_bit_for_bit(name, base):
    make_parts, method = COMPOSED[name]
    perturbation, combination = make_parts()
    composed = partial(
        SharpnessAware, perturbation=perturbation, combination=combination, interval=2
    )
    expected = train(partial(method, base_optimizer=base, interval=2))
    assert equal(train(partial(composed, base_optimizer=base)), expected)


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
    ascents = (SAM, WSAM, ASAM, GSAM, FisherSAM, FriendlySAM, LookSAM, ESAM)
    for optimizer in (SGD, Adam, RAdam, Ranger, Lookahead, *ascents):
        assert equal(train(partial(optimizer, lr=0.0)), initial_weights(0))


@pytest.mark.parametrize(
    "name",
    ["ASGD", "Adafactor", "Adagrad", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop"],
)
def test_rho_of_zero_is_any_optimizer_of_torch_bit_for_bit(name):
    base = partial(getattr(torch.optim, name), lr=0.01)
    assert equal(train(partial(SAM, base_optimizer=base, rho=0.0)), train(base))
