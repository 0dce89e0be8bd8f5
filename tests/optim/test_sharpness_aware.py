"""Compositions: when there is an ascent, micro-batches, clipping, torch's machinery."""

import copy
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
    MSAM,
    SAM,
    SGD,
    WSAM,
    Adam,
    Combination,
    FisherSAM,
    FriendlySAM,
    Lookahead,
    LookSAM,
    Muon,
    Ranger,
    ScheduleFree,
    SharpnessAware,
    YellowFin,
)

from .cases import Training, equal, initial_weights, quadratic, walk

PLAIN = {"momentum": 0.0, "nesterov": False}
# every method, with values at which it is not SAM
METHODS = {
    "SAM": partial(SAM, rho=0.2),
    "WSAM coupled": partial(WSAM, rho=0.2, gamma=0.8, decouple=False),
    "WSAM decoupled": partial(WSAM, rho=0.2, gamma=0.8, decouple=True),
    "ASAM": partial(ASAM, rho=0.5),
    "GSAM": partial(GSAM, rho=0.2),
    "FisherSAM": partial(FisherSAM, rho=0.2, eta=100.0),
    "FriendlySAM": partial(FriendlySAM, rho=0.2),
    "LookSAM": partial(LookSAM, rho=0.2, looksam_k=2),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


CLASSES = [SAM, WSAM, ASAM, GSAM, FisherSAM, FriendlySAM, LookSAM, ESAM]


@pytest.mark.parametrize("method", CLASSES)
def test_a_method_passes_on_what_all_methods_take(method):
    arguments = {"interval": 2, "start": 3, "max_grad_norm": 0.5}
    arguments |= {"model_ndim": 1, "replay": False}
    optimizer = method([torch.zeros(2, 3)], Adam, beta_1=0.7, **arguments)
    (group,) = optimizer.param_groups
    assert (group["interval"], group["start"], group["beta_1"]) == (2, 3, 0.7)
    for name in ("max_grad_norm", "model_ndim", "replay"):
        assert getattr(optimizer, name) == arguments[name]


@pytest.mark.parametrize("part", ["perturbation", "combination"])
@pytest.mark.parametrize("method", CLASSES)
def test_a_method_has_its_own_parts_and_takes_no_others(method, part):
    with pytest.raises(TypeError, match=f"keyword argument '{part}'"):
        method([torch.zeros(3)], **{part: Combination()})


@pytest.mark.parametrize("method", CLASSES)
def test_what_all_methods_take_has_the_same_defaults_in_all(method):
    own, composed = method([torch.zeros(3)]), SharpnessAware([torch.zeros(3)])
    for name in ("interval", "start"):
        assert own.param_groups[0][name] == composed.param_groups[0][name]
    for name in ("max_grad_norm", "model_ndim", "replay"):
        assert getattr(own, name) == getattr(composed, name)


@pytest.mark.parametrize("method", CLASSES)
def test_a_method_has_the_defaults_of_its_parts(method):
    optimizer = method([torch.zeros(3)])
    (group,) = optimizer.param_groups
    for part in (optimizer.perturbation, optimizer.combination):
        defaults = type(part)().hyperparameters
        assert {name: group[name] for name in defaults} == defaults


MAXIMIZING = METHODS | {
    "ESAM": partial(ESAM, rho=0.2, fraction=0.5),
    "MSAM": partial(MSAM, rho=0.2),
    "clipped WSAM": partial(WSAM, rho=0.2, max_grad_norm=0.1),
}


@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("method", MAXIMIZING.values(), ids=MAXIMIZING)
def test_to_maximize_is_to_minimize_the_negative(method, base):
    x = torch.tensor([[1.0, 0.5], [-1.0, 2.0], [0.3, 0.1], [2.0, -1.0]]).double()
    weights = []
    for sign in (1, -1):
        w = nn.Parameter(torch.tensor([1.0, -0.7]).double())
        lr = {"lr": 0.01, "maximize": sign < 0}
        # momentum of AdamW is on by itself
        rest = {"momentum": 0.9} if base is torch.optim.SGD else {}
        optimizer = method([w], base, **lr, **rest)

        def losses(rows=slice(None), w=w, sign=sign):
            return sign * ((x[rows] @ w) ** 4 + (x[rows] @ w) ** 2)

        def closure(losses=losses, optimizer=optimizer):
            optimizer.zero_grad()
            losses().mean().backward()

        for _ in range(4):
            optimizer.step(losses if isinstance(optimizer, ESAM) else closure)
        weights.append(w.detach())
    assert torch.equal(*weights)


# -- when there is an ascent -----------------------------------------------------------


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize(
    ("interval", "start", "expected"),
    [
        (1, 0, [2, 2, 2, 2, 2, 2, 2, 2]),
        (3, 0, [2, 1, 1, 2, 1, 1, 2, 1]),
        (1, 5, [1, 1, 1, 1, 1, 2, 2, 2]),
        (2, 3, [1, 1, 1, 2, 1, 2, 1, 2]),
    ],
)
def test_there_is_an_ascent_every_few_steps_from_the_start_on(
    interval, start, expected, replay
):
    method = partial(SAM, interval=interval, start=start, replay=replay)
    assert evaluations_of(method, 8) == expected


def test_looksam_counts_the_steps_that_interval_leaves():
    method = partial(LookSAM, looksam_k=3, interval=2, start=1)
    assert evaluations_of(method, 14) == [1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2]


def evaluations_of(method, n_steps):
    """Return how often each step evaluates its closure."""
    training = Training(method, initial_weights(0))
    counts = []

    def closure():
        counts[-1] += 1
        return training.closure()

    for _ in range(n_steps):
        counts.append(0)
        training.optimizer.step(closure)
    return counts


@each_method
def test_a_plain_step_is_the_base_optimizers_bit_for_bit(method):
    late = Training(partial(method, base_optimizer=Adam, start=5), initial_weights(0))
    base = Training(Adam, initial_weights(0))
    late.run(5)
    base.run(5)
    assert equal(late.params, base.params)
    late.run(1)
    base.run(1)
    assert not equal(late.params, base.params)


def test_a_failed_step_is_not_counted():
    training = Training(partial(SAM, interval=2), initial_weights(0))

    def fail():
        raise FloatingPointError

    for _ in range(3):
        with pytest.raises(FloatingPointError):
            training.optimizer.step(fail)
    assert training.optimizer.param_groups[0]["n_steps"] == 0
    training.run(3)
    assert training.optimizer.param_groups[0]["n_steps"] == 3


# -- micro-batches ---------------------------------------------------------------------

HESSIAN = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
LINEAR = np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0], [-3.0, 1.0, 0.5]])
START = np.array([1.0, 2.0, -0.5])


def step_in_parts(method, linear, sizes, n_steps=1):
    """Step on quadratics w'Hw/2 - b'w, one b per micro-batch; return the weights."""
    w = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = method([w])

    def closure(loss):
        optimizer.zero_grad()
        value = loss(w)
        value.backward()
        return value.item()

    losses = [quadratic(HESSIAN, b) for b in linear]
    parts = [(partial(closure, loss), n) for loss, n in zip(losses, sizes, strict=True)]
    returned = [optimizer.step(parts) for _ in range(n_steps)]
    return w.detach().numpy(), returned


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 2)], ids=str)
def test_micro_batches_are_each_perturbed_by_its_own_gradient(sizes):
    """g + rho H mean_j(g_j / |g_j|), the means weighted by size."""
    shares = np.array(sizes) / sum(sizes)
    w, (loss,) = step_in_parts(partial(SAM, rho=0.3, lr=0.1, **PLAIN), LINEAR, sizes)
    gradients = HESSIAN @ START - LINEAR
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    expected = START - 0.1 * (shares @ gradients + 0.3 * HESSIAN @ (shares @ units))
    assert_allclose(w, expected, rtol=0, atol=1e-12)
    mean_loss = START @ HESSIAN @ START / 2 - shares @ LINEAR @ START
    assert_allclose(loss, mean_loss, rtol=0, atol=1e-12)
    # not the perturbation of their mean gradient
    mean = shares @ gradients
    of_mean = mean + 0.3 * HESSIAN @ mean / np.linalg.norm(mean)
    assert abs(w - (START - 0.1 * of_mean)).max() > 1e-3


@each_method
def test_one_micro_batch_is_the_whole_bit_for_bit(method):
    """R7."""
    one, whole = (Training(method, initial_weights(0)) for _ in range(2))
    for _ in range(6):
        loss = one.optimizer.step([(one.closure, 20)])
        one.n_steps += 1
        assert torch.equal(loss, whole.run(1)[0])
    assert equal(one.params, whole.params)


@each_method
def test_micro_batches_that_are_alike_are_the_whole(method):
    """Parallel gradients have one perturbation."""
    if method.func is FriendlySAM:
        pytest.skip("its mean gradient is that of all micro-batches seen")
    method = partial(method, lr=0.05)
    linear = np.tile(LINEAR[:1], (3, 1))
    several, _ = step_in_parts(method, linear, [1, 2, 3], 5)
    one, _ = step_in_parts(method, linear[:1], [1], 5)
    assert_allclose(several, one, rtol=0, atol=1e-12)


def test_a_plain_step_of_micro_batches_accumulates_the_gradient():
    sizes = (5, 3, 2)
    method = partial(SAM, rho=0.3, lr=0.1, start=1, **PLAIN)
    w, _ = step_in_parts(method, LINEAR, sizes)
    gradient = np.array(sizes) / 10 @ (HESSIAN @ START - LINEAR)
    assert_allclose(w, START - 0.1 * gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decouple", [False, True], ids=["coupled", "decoupled"])
def test_the_gradients_of_micro_batches_are_combined_once(decouple):
    """WSAM's formula with the mean gradients, for either way of weighing."""
    sizes, kappa = (5, 3, 2), 4
    method = partial(WSAM, rho=0.3, gamma=0.8, lr=0.1, decouple=decouple, **PLAIN)
    w, _ = step_in_parts(method, LINEAR, sizes)
    shares = np.array(sizes) / 10
    gradients = HESSIAN @ START - LINEAR
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    sharpness = 0.3 * HESSIAN @ (shares @ units)
    expected = START - 0.1 * (shares @ gradients + kappa * sharpness)
    assert_allclose(w, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_micro_batch_that_fails_leaves_the_weights_as_they_were(failing):
    training = Training(partial(FriendlySAM, rho=0.5), initial_weights(0))
    training.run(2)
    before = [p.detach().clone() for p in training.params]
    means = [training.optimizer.state[p]["friendly_mean"] for p in training.params]
    n_calls = 0

    def closure():
        nonlocal n_calls
        n_calls += 1
        if n_calls == failing:
            raise FloatingPointError
        return training.closure()

    with pytest.raises(FloatingPointError):
        training.optimizer.step([closure, closure])
    assert equal(training.params, before)
    after = [training.optimizer.state[p]["friendly_mean"] for p in training.params]
    assert equal(after, means)
    training.run(1)  # goes on from what was there
    expected = Training(partial(FriendlySAM, rho=0.5), initial_weights(0))
    expected.run(3)
    assert equal(training.params, expected.params)
    for p, q in zip(training.params, expected.params, strict=True):
        mean, expected_mean = (
            run.optimizer.state[w]["friendly_mean"]
            for run, w in ((training, p), (expected, q))
        )
        assert torch.equal(mean, expected_mean)


def test_batch_normalization_counts_each_micro_batch_once():
    layer, expected = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    w = nn.Parameter(torch.ones(4))
    optimizer = SAM([w], rho=1.0)
    generator = torch.Generator().manual_seed(0)
    batches = torch.randn(3, 8, 4, generator=generator)

    def closure(x):
        optimizer.zero_grad()
        loss = (layer(x * w) * w).square().sum()
        loss.backward()
        return loss

    optimizer.step([partial(closure, x) for x in batches])
    for x in batches:
        expected(x)
    for key, buffer in expected.named_buffers():
        assert torch.equal(layer.get_buffer(key), buffer), key


def test_a_parameter_may_take_part_in_some_micro_batches_only():
    params = [nn.Parameter(torch.tensor([2.0])) for _ in range(2)]
    optimizer = WSAM(params, rho=0.0, gamma=0.5, lr=0.1, decouple=False, **PLAIN)

    def closure(p):
        optimizer.zero_grad()
        loss = p.square().sum() / 2
        loss.backward()
        return loss

    loss = optimizer.step([partial(closure, p) for p in params])
    assert loss == 2
    for p in params:
        assert_allclose(p.detach(), 2 - 0.1 * 2 / 2, rtol=1e-6)


def test_closures_without_a_value_have_no_mean():
    w = nn.Parameter(torch.ones(2))
    optimizer = SAM([w])

    def closure():
        optimizer.zero_grad()
        w.sum().backward()

    assert optimizer.step([closure, closure]) is None


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], ValueError, "at least one micro-batch, got none"),
        ([3], TypeError, "a sequence of functions .* got 3"),
        (3, TypeError, "a sequence of functions .* got 3"),
        ([(3, len)], TypeError, "size of its micro-batch, got"),
    ],
)
def test_what_is_no_closure_is_refused(parts, error, message):
    training = Training(SAM, initial_weights(0))
    with pytest.raises(error, match=message):
        training.optimizer.step(parts)


# -- clipping --------------------------------------------------------------------------


@pytest.mark.parametrize("base", [SGD, torch.optim.SGD])
@each_method
def test_what_is_descended_with_is_as_long_as_allowed(method, base):
    """The combination is clipped, once, and points where it did."""
    rates = {"momentum": 0.0, "lr": 0.1}
    make = partial(method, base_optimizer=base, **rates)
    bowl = quadratic(HESSIAN, LINEAR[0])
    free = np.diff(walk(make, bowl, START), axis=0)[0]
    clipped = np.diff(walk(partial(make, max_grad_norm=0.7), bowl, START), axis=0)[0]
    assert np.linalg.norm(free) > 0.1 * 0.7
    assert_allclose(clipped, 0.07 * free / np.linalg.norm(free), rtol=0, atol=1e-12)


@each_method
def test_what_is_short_enough_is_not_touched(method):
    free, clipped = (
        Training(partial(method, max_grad_norm=norm), initial_weights(0))
        for norm in (None, 1e6)
    )
    free.run(6)
    clipped.run(6)
    assert equal(free.params, clipped.params)


def test_a_plain_step_is_clipped_too():
    make = partial(SAM, start=9, max_grad_norm=0.7, lr=0.1, **PLAIN)
    [step] = np.diff(walk(make, quadratic(HESSIAN), START), axis=0)
    assert_allclose(np.linalg.norm(step), 0.07, rtol=0, atol=1e-12)


def test_a_gradient_of_zero_is_clipped_to_zero():
    make = partial(SAM, max_grad_norm=1.0, lr=0.1, **PLAIN)
    assert_allclose(walk(make, quadratic(HESSIAN), [0.0, 0, 0]), 0, rtol=0, atol=0)


def test_each_model_is_clipped_by_its_own_norm():
    w = nn.Parameter(torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64))
    norms = torch.tensor([1.0, 1.0], dtype=torch.float64)
    optimizer = SAM(
        [w], rho=0.0, lr=1.0, max_grad_norm=norms, model_ndim=1, replay=True, **PLAIN
    )

    def closure():
        optimizer.zero_grad()
        loss = w.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert_allclose(w.detach(), [[3 - 0.6, 4 - 0.8], [0, 0]], rtol=0, atol=1e-12)


# -- torch's machinery -----------------------------------------------------------------


def make_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)
        )


X = torch.arange(48.0).reshape(12, 4).sin()
Y = torch.arange(12) % 3


def train_model(make, forward=None, n_steps=3, autocast=False, model=None):
    """Train a module of torch's; return it and what the steps returned."""
    model = make_model() if model is None else model
    forward = forward(model) if forward else model
    optimizer = make(model.parameters())

    def closure(rows=slice(None)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            losses = F.cross_entropy(forward(X[rows]), Y[rows], reduction="none")
        if isinstance(optimizer, ESAM):
            return losses
        optimizer.zero_grad()
        loss = losses.mean()
        loss.backward()
        return loss

    losses = [optimizer.step(closure) for _ in range(n_steps)]
    return model, losses


ALL = {**METHODS, "ESAM": partial(ESAM, rho=0.2)}


@pytest.mark.parametrize("method", ALL.values(), ids=ALL)
def test_bfloat16_autocast_needs_no_scaler(method):
    """Weights stay in single precision, near those without autocast."""
    make = partial(method, base_optimizer=torch.optim.SGD, lr=0.1)
    model, losses = train_model(make, autocast=True)
    expected, _ = train_model(make)
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        assert p.dtype == torch.float32
        assert_allclose(p.detach(), q.detach(), rtol=0, atol=0.05)
    assert all(torch.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("method", ALL.values(), ids=ALL)
def test_autocast_may_be_around_the_step_or_inside_the_closure(method):
    """Autocast keeps its casts of the weights: those of the ascent are others."""
    make = partial(method, base_optimizer=torch.optim.SGD, lr=0.1)
    inside, _ = train_model(make, autocast=True)
    around = make_model()
    optimizer = make(around.parameters())

    def closure(rows=slice(None)):
        losses = F.cross_entropy(around(X[rows]), Y[rows], reduction="none")
        if isinstance(optimizer, ESAM):
            return losses
        optimizer.zero_grad()
        loss = losses.mean()
        loss.backward()
        return loss

    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            optimizer.step(closure)
    assert equal(around.parameters(), inside.parameters())


def test_autocast_around_the_step_does_not_keep_the_weights_of_the_ascent():
    model = nn.Linear(4, 3)
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.5, lr=0.1)

    def closure():
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()

    with torch.autocast("cpu", torch.bfloat16):
        optimizer.step(closure)
        seen = model(X)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(seen, model(X))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@each_method
def test_a_module_of_half_precision_trains_in_it(method, dtype):
    w = nn.Parameter(torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=dtype))
    optimizer = method([w], lr=0.1, max_grad_norm=1.0)

    def closure():
        optimizer.zero_grad()
        loss = (w * w * w.new_tensor([1.0, 3.0])).sum()
        loss.backward()
        return loss

    before = w.detach().float()
    for _ in range(3):
        optimizer.step(closure)
    assert w.dtype == dtype
    assert torch.isfinite(w).all()
    # every weight has come nearer to zero
    assert (w.detach().float().abs() < before.abs()).all()


@pytest.mark.parametrize("method", ALL.values(), ids=ALL)
def test_a_compiled_module_that_is_given_trains_as_it_does_uncompiled(method):
    """Batch normalization counts each batch once, however it was compiled."""
    expected, _ = train_model(partial(method, base_optimizer=Adam, lr=0.01))

    def compile_in_place(model):
        model.compile(backend="eager")
        return model

    for compiled in (partial(torch.compile, backend="eager"), compile_in_place):
        model = make_model()
        make = partial(method, base_optimizer=Adam, lr=0.01, replay=model)
        train_model(make, compiled, model=model)
        assert equal(model.state_dict().values(), expected.state_dict().values())


@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")
def test_a_compiled_module_is_found_as_it_is_called():
    make = partial(SAM, rho=0.2)
    compiled, _ = train_model(make, partial(torch.compile, backend="eager"))
    expected, _ = train_model(make)
    assert equal(compiled.state_dict().values(), expected.state_dict().values())


ONE_GRADIENT = {
    "Lookahead": partial(Lookahead, k=2, lr=0.01),
    "MSAM": partial(MSAM, rho=0.2, lr=0.01, base_optimizer=Adam),
    "Ranger": partial(Ranger, k=2, lr=0.01),
    "Schedule-Free": partial(ScheduleFree, lr=0.01),
    "Muon": partial(Muon, lr=0.01),
    "YellowFin": YellowFin,
}


@pytest.mark.parametrize("method", ONE_GRADIENT.values(), ids=ONE_GRADIENT)
def test_a_compiled_module_trains_with_one_gradient_as_it_does_uncompiled(method):
    expected, _ = train_model(method)
    compiled, _ = train_model(method, partial(torch.compile, backend="eager"))
    assert equal(compiled.state_dict().values(), expected.state_dict().values())


@pytest.mark.parametrize("method", ONE_GRADIENT.values(), ids=ONE_GRADIENT)
def test_gradients_that_were_accumulated_are_those_of_the_whole_batch(method):
    """Without a closure, the gradients of micro-batches add up as with torch's own."""
    trained = []
    for parts in ([slice(0, 12)], [slice(0, 5), slice(5, 12)]):
        model = nn.Linear(4, 3, bias=False, dtype=torch.float64)
        with torch.no_grad():
            model.weight.copy_(torch.arange(12.0).reshape(3, 4).cos())
        optimizer = method(model.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            for rows in parts:
                outputs = model(X[rows].double())
                (F.cross_entropy(outputs, Y[rows], reduction="sum") / 12).backward()
            optimizer.step()
        trained.append(model.weight.detach())
    assert_allclose(*trained, rtol=0, atol=1e-12)


@each_method
def test_a_gradient_scaler_is_told_what_to_do(method):
    model = make_model()
    optimizer = method(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(F.cross_entropy(model(X), Y)).backward()
    with pytest.raises(TypeError, match=r"GradScaler .* bfloat16 autocast"):
        scaler.step(optimizer)


@each_method
def test_the_state_holds_neither_weights_nor_gradients_of_the_step(method):
    """The base optimizer's, a mean or a direction, and nothing else."""
    training = Training(partial(method, base_optimizer=Adam), initial_weights(0))
    training.run(3)
    own = {FriendlySAM: {"friendly_mean"}, LookSAM: {"looksam_direction"}}
    base = Training(Adam, initial_weights(0))
    base.run(3)
    for p, q in zip(training.params, base.params, strict=True):
        names = set(base.optimizer.state[q]) | own.get(method.func, set())
        assert set(training.optimizer.state[p]) == names


@pytest.mark.parametrize("method", [FriendlySAM, partial(LookSAM, looksam_k=2)])
def test_what_is_remembered_may_come_after_torchs_own_state(method):
    """torch's optimizers take a state that is not empty for their own."""
    for base in (torch.optim.Adam, partial(torch.optim.SGD, momentum=0.9)):
        training = Training(partial(method, base_optimizer=base), initial_weights(0))
        training.params[1].requires_grad_(False)
        training.run(3)
        assert training.params[1] not in training.optimizer.state
        training.params[1].requires_grad_(True)
        training.run(3)
        state = training.optimizer.state[training.params[1]]
        assert len(state) >= 2


def test_nothing_is_remembered_of_a_parameter_that_took_no_part_in_the_step():
    """torch's Adam, which has no state of it yet, would trip over one."""
    always, sometimes = (nn.Parameter(torch.tensor([2.0])) for _ in range(2))
    optimizer = FriendlySAM([always, sometimes], torch.optim.Adam, lr=0.1)
    n_evaluations = 0

    def closure():
        nonlocal n_evaluations
        n_evaluations += 1
        optimizer.zero_grad()
        loss = always.square().sum()
        if n_evaluations != 2:  # the second evaluation of the first step
            loss = loss + sometimes.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert sometimes not in optimizer.state or not optimizer.state[sometimes]
    assert_allclose(sometimes.detach(), [2.0])
    optimizer.step(closure)
    assert_allclose(sometimes.detach(), [2.0 - 0.1], rtol=1e-6)


@each_method
def test_a_copy_of_the_optimizer_does_not_share_its_memory(method):
    training = Training(partial(method, base_optimizer=Adam), initial_weights(0))
    training.run(3)
    twin = copy.deepcopy(training)
    twin.run(2)
    expected = Training(partial(method, base_optimizer=Adam), initial_weights(0))
    expected.run(5)
    training.run(2)
    assert equal(training.params, expected.params)
    assert equal(twin.params, expected.params)


@each_method
def test_lookahead_goes_around_every_method(method):
    """With k and alpha of one it is the method, micro-batches included."""
    inner = partial(method, base_optimizer=Adam)
    around = Training(
        partial(Lookahead, base_optimizer=inner, k=1, alpha=1.0), initial_weights(0)
    )
    alone = Training(inner, initial_weights(0))
    for training in (around, alone):
        training.run(2)
        training.optimizer.step([training.closure] * 2)
    assert equal(around.params, alone.params)


# -- the context of the first pass -----------------------------------------------------

KEEPS_MORE = (WSAM, GSAM, LookSAM, FriendlySAM)


class Switch:
    """A context that knows whether it is on."""

    def __init__(self):
        self.is_on = False

    def __call__(self):
        return self

    def __enter__(self):
        self.is_on = True

    def __exit__(self, *error):
        self.is_on = False


def evaluations(optimizer, w, context, n_steps=1):
    """Return whether the context was on in every evaluation of some steps."""
    seen = []

    def closure():
        seen.append(context.is_on)
        optimizer.zero_grad()
        loss = (w**2 / 2).sum()
        loss.backward()
        return loss

    for _ in range(n_steps):
        optimizer.step(closure)
    return seen


@pytest.mark.parametrize("optimizer", [SAM, ASAM, FisherSAM])
def test_the_first_pass_runs_in_its_context_and_the_second_does_not(optimizer):
    w, context = nn.Parameter(torch.ones(2)), Switch()
    optimizer = optimizer([w], SGD, rho=0.1, lr=0.1)
    optimizer.first_pass = context
    assert evaluations(optimizer, w, context) == [True, False]


def test_a_step_without_an_ascent_does_not_run_in_the_context_of_the_first_pass():
    w, context = nn.Parameter(torch.ones(2)), Switch()
    optimizer = SAM([w], SGD, rho=0.1, interval=2, lr=0.1)
    optimizer.first_pass = context
    assert evaluations(optimizer, w, context, 2) == [True, False, False]


def test_the_context_of_the_first_pass_outlives_the_loading_of_a_state():
    w, context = nn.Parameter(torch.ones(2)), Switch()
    optimizer = SAM([w], SGD, rho=0.1, lr=0.1)
    optimizer.first_pass = context
    optimizer.load_state_dict(optimizer.state_dict())
    assert evaluations(optimizer, w, context) == [True, False]


@pytest.mark.parametrize("optimizer", KEEPS_MORE)
def test_a_first_pass_of_its_own_is_refused_where_its_gradient_is_kept(optimizer):
    optimizer = optimizer([nn.Parameter(torch.ones(2))], SGD, rho=0.1, lr=0.1)
    with pytest.raises(
        ValueError,
        match=f"first_pass must be None with {optimizer.__class__.__name__}",
    ):
        optimizer.first_pass = Switch()
    optimizer.first_pass = None
