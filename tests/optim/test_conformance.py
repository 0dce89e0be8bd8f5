"""What every optimizer and composition keeps to."""

import copy
import os
import pickle
import subprocess
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR
from torch.optim.optimizer import register_optimizer_step_post_hook

import sksharp
from sksharp.optim import (
    ASAM,
    ESAM,
    GSAM,
    MSAM,
    SAM,
    SGD,
    WSAM,
    Adam,
    AdamW,
    FisherSAM,
    FriendlySAM,
    Lookahead,
    LookSAM,
    Muon,
    RAdam,
    Ranger,
    ScheduleFree,
    YellowFin,
)

from . import reference
from .cases import CASES, N_MODELS, Training, equal, initial_weights, train, walk

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_ascent = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.is_ascent],
    ids=[name for name, case in CASES.items() if case.is_ascent],
)
# whose closures do all that torch asks of one
PLAIN = {name: case for name, case in CASES.items() if not name.startswith("ESAM")}
each_plain = pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
each_plain_ascent = pytest.mark.parametrize(
    "case",
    [case for case in PLAIN.values() if case.is_ascent],
    ids=[name for name, case in PLAIN.items() if case.is_ascent],
)


def many_weights():
    models = [initial_weights(seed) for seed in range(N_MODELS)]
    return [torch.stack(tensors) for tensors in zip(*models, strict=True)]


def innermost(optimizer):
    while hasattr(optimizer, "base_optimizer"):
        optimizer = optimizer.base_optimizer
    return optimizer


@pytest.mark.parametrize("n_shared", [0, 1, None], ids=["own", "mixed", "shared"])
@each
def test_many_models_train_as_each_one_alone(case, n_shared):
    """Whether they have hyperparameters of their own or share some, or all."""
    shared = list(case.per_model)[:n_shared]
    together = Training(partial(case.make_for_all, shared=shared), many_weights())
    losses = torch.stack(together.run(12))
    for k in range(N_MODELS):
        values = vars(case.values(k)) | {n: vars(case.values())[n] for n in shared}
        alone = Training(partial(case.optimizer, **values), initial_weights(k))
        assert_allclose(losses[:, k], torch.stack(alone.run(12)), rtol=0, atol=1e-12)
        for p, q in zip(together.params, alone.params, strict=True):
            assert_allclose(p[k].detach(), q.detach(), rtol=0, atol=1e-12)


FORMULAS = {
    "SGD": lambda v: reference.sgd(v.lr, v.momentum, nesterov=True),
    "SGD without Nesterov": lambda v: reference.sgd(v.lr, v.momentum),
    "Adam": lambda v: reference.adam(v.lr, v.beta_1, v.beta_2, v.eps),
    "RAdam": lambda v: reference.radam(v.lr, v.beta_1, v.beta_2, v.eps),
    "Ranger": lambda v: reference.lookahead(FORMULAS["RAdam"](v), 3, v.alpha),
    "Lookahead over Adam": lambda v: reference.lookahead(
        FORMULAS["Adam"](v), 3, v.alpha
    ),
    "AdamW": lambda v: reference.adamw(v.lr, v.beta_1, v.beta_2, v.eps, v.weight_decay),
    "Schedule-Free": lambda v: reference.schedule_free(
        v.lr, v.beta_1, v.weight_decay, v.warmup, v.beta_2, v.eps
    ),
    "Schedule-Free SGD": lambda v: reference.schedule_free(
        v.lr, v.beta_1, v.weight_decay, v.warmup
    ),
    "Muon": lambda v: FORMULAS["Adam"](v),  # there are no matrices
    "YellowFin": lambda v: reference.yellowfin(v.lr, 0.9, 4, 10),
    "MSAM over SGD": lambda v: reference.msam(FORMULAS["SGD"](v), v.rho, v.momentum),
    "MSAM over Adam": lambda v: reference.msam(FORMULAS["Adam"](v), v.rho, v.beta_1),
    "MSAM over Ranger": lambda v: reference.msam(
        FORMULAS["Ranger"](v), v.rho, v.beta_1
    ),
    "SAM over Schedule-Free": lambda v: reference.sam(
        FORMULAS["Schedule-Free"](v), v.rho
    ),
    "SAM over SGD": lambda v: reference.sam(FORMULAS["SGD"](v), v.rho),
    "SAM over Adam": lambda v: reference.sam(FORMULAS["Adam"](v), v.rho),
    "SAM over Ranger": lambda v: reference.sam(FORMULAS["Ranger"](v), v.rho),
    "WSAM decoupled over SGD": lambda v: reference.wsam(
        FORMULAS["SGD"](v), v.rho, v.gamma, decoupled_lr=v.lr
    ),
    "WSAM coupled over SGD": lambda v: reference.wsam(
        FORMULAS["SGD"](v), v.rho, v.gamma
    ),
    "WSAM coupled over Adam": lambda v: reference.wsam(
        FORMULAS["Adam"](v), v.rho, v.gamma
    ),
    "Lookahead over SAM over Adam": lambda v: reference.lookahead(
        FORMULAS["SAM over Adam"](v), 3, v.alpha
    ),
    "ASAM over SGD": lambda v: reference.asam(
        FORMULAS["SGD"](v), v.rho, v.eta, [True, True, False] * 2
    ),
    "GSAM over SGD": lambda v: reference.gsam(FORMULAS["SGD"](v), v.rho, v.gsam_alpha),
    "GSAM over Ranger": lambda v: reference.gsam(
        FORMULAS["Ranger"](v), v.rho, v.gsam_alpha
    ),
    "FisherSAM over Adam": lambda v: reference.fisher_sam(
        FORMULAS["Adam"](v), v.rho, v.eta
    ),
    "FriendlySAM over SGD": lambda v: reference.friendly_sam(
        FORMULAS["SGD"](v), v.rho, v.sigma, v.decay
    ),
    "LookSAM over SGD": lambda v: reference.looksam(
        FORMULAS["SGD"](v), v.rho, 7, v.looksam_alpha
    ),
    "SAM over Adam, late and every third step": lambda v: reference.some_steps(
        *shared_base(reference.sam, FORMULAS["Adam"](v), v.rho), interval=3, start=1
    ),
    # vectors are not scaled
    "weighted ASAM over Adam": lambda v: reference.weighted_asam(
        FORMULAS["Adam"](v), v.rho, v.eta, v.gamma, False
    ),
}


def shared_base(method, base, *hyperparameters):
    """Return a method over a base optimizer, and that base."""
    return method(base, *hyperparameters), base


@pytest.mark.parametrize("model", range(N_MODELS))
@pytest.mark.parametrize("name", FORMULAS)
def test_the_trajectory_is_that_of_the_formulas(name, model):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(6, 6))
    hessian, start = factor @ factor.T / 6, rng.normal(size=6)
    matrix = torch.from_numpy(hessian)

    def loss(w):
        return w @ matrix @ w / 2 + w.cos().sum()

    case = CASES[name]
    step = FORMULAS[name](case.values(model))
    expected = [start]
    for _ in range(14):
        expected.append(step(expected[-1], lambda w: hessian @ w - np.sin(w)))
    trajectory = walk(partial(case.make, model=model), loss, start, n_steps=14)
    assert_allclose(trajectory, expected, rtol=0, atol=1e-12)


@each
def test_step_returns_the_loss_at_the_start(case):
    training = Training(case.make, initial_weights(0))
    for _ in range(4):
        loss_at_start = training.loss().detach()
        [returned] = training.run(1)
        assert torch.equal(returned, loss_at_start)


@each
def test_a_closure_is_evaluated_with_gradients_on_and_only_as_often_as_needed(case):
    training = Training(case.make, initial_weights(0))
    evaluations = []

    def closure(*rows):
        evaluations.append(torch.is_grad_enabled())
        return training.closure(*rows)

    with torch.no_grad():
        training.optimizer.step(closure)
    usual = [True] * (2 if case.is_ascent else 1)
    assert evaluations == list(case.evaluations or usual)


@each
def test_step_writes_into_the_parameters_in_place(case):
    training = Training(case.make, initial_weights(0))
    addresses = [p.data_ptr() for p in training.params]
    training.run(4)
    assert [p.data_ptr() for p in training.params] == addresses


def padded(tensor):
    """Return the same tensor, with holes between its elements."""
    wide = tensor.new_zeros(*tensor.shape[:-1], 2 * tensor.shape[-1])
    return wide[..., ::2].copy_(tensor)


def column_major(tensor):
    """Return the same tensor, with its first axis contiguous."""
    return tensor.mT.contiguous().mT if tensor.ndim > 1 else tensor


@pytest.mark.parametrize("layout", [padded, column_major])
@pytest.mark.parametrize("of", ["parameters", "gradients"])
@each_plain
def test_the_layout_of_the_memory_does_not_matter(case, of, layout):
    training, plain = (Training(case.make, initial_weights(0)) for _ in range(2))
    if of == "parameters":
        training = Training(case.make, map(layout, initial_weights(0)))

    def closure():
        loss = training.closure()
        if of == "gradients":
            for p in training.params:
                p.grad = layout(p.grad)
        return loss

    for _ in range(7):
        training.optimizer.step(closure)
        training.n_steps += 1
    plain.run(7)
    for p, q in zip(training.params, plain.params, strict=True):
        assert_allclose(p.detach(), q.detach(), rtol=0, atol=1e-12)


@each
def test_hooks_of_the_step_are_called_once_a_step(case):
    training = Training(case.make, initial_weights(0))
    calls = []
    handles = [
        training.optimizer.register_step_pre_hook(lambda *_: calls.append("before")),
        training.optimizer.register_step_post_hook(lambda *_: calls.append("after")),
    ]
    training.run(3)
    assert calls == ["before", "after"] * 3
    for handle in handles:
        handle.remove()
    training.run(4)
    assert len(calls) == 6
    assert equal(training.params, train(case.make, 7))


def test_a_hook_of_all_optimizers_sees_the_wrapper_and_its_base():
    seen = []
    handle = register_optimizer_step_post_hook(lambda self, *_: seen.append(self))
    try:
        training = Training(
            CASES["Lookahead over SAM over Adam"].make, initial_weights(0)
        )
        training.run(1)
    finally:
        handle.remove()
    lookahead = training.optimizer
    sam = lookahead.base_optimizer
    assert seen == [sam.base_optimizer, sam, lookahead]


def test_a_profiler_sees_the_steps_by_name():
    training = Training(CASES["SAM over Adam"].make, initial_weights(0))
    with torch.autograd.profiler.profile() as profile:
        training.run(2)
    names = [event.name for event in profile.function_events]
    assert names.count("Optimizer.step#SAM.step") == 2
    assert names.count("Optimizer.step#Adam.step") == 2


@pytest.mark.parametrize("scheduled", [False, True], ids=["", "scheduled"])
@each
def test_resumed_training_is_the_uninterrupted_one(case, scheduled, tmp_path):
    runs = [Training(case.make, initial_weights(seed)) for seed in (0, 0, 1)]
    if scheduled:
        for run in runs:
            run.schedule()
    uninterrupted, first_part, second_part = runs

    first_part.run(7)  # not a multiple of Lookahead's k
    torch.save(first_part.checkpoint(), tmp_path / "checkpoint.pt")
    second_part.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))

    losses = uninterrupted.run(12)[7:]
    assert equal(second_part.run(5), losses)
    assert equal(second_part.params, uninterrupted.params)


RESUME = """
import sys
from collections import defaultdict
import torch
from cases import CASES, Training, initial_weights

source, target = sys.argv[1:]
resumed = {}
for name, checkpoint in torch.load(source, weights_only=True).items():
    training = Training(CASES[name].make, initial_weights(1))
    training.schedule()
    training.restore(checkpoint)
    training.run(5)
    resumed[name] = [p.detach() for p in training.params]
torch.save(resumed, target)
"""


def run_python(code, *arguments):
    """Run code in a fresh process that can import this directory's modules."""
    package = Path(sksharp.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"},
        check=True,
    )


# one of every kind of state that a checkpoint holds
RESUMED = [
    "Lookahead over SAM over Adam",
    "MSAM over Ranger",
    "Muon",
    "SAM over Schedule-Free",  # in the warm-up
    "YellowFin",
    "FriendlySAM over torch's Adam",
    "LookSAM over torch's Adam",
    "SAM over Adam, late and every third step",
    "ESAM over Adam",
]


def test_training_resumed_in_a_fresh_process_is_the_uninterrupted_one(tmp_path):
    half, full = {}, {}
    for name in RESUMED:
        training = Training(CASES[name].make, initial_weights(0))
        training.schedule()
        training.run(7)
        # the state that is saved is not the one that trains on
        half[name] = copy.deepcopy(training.checkpoint())
        training.run(5)
        full[name] = training.params
    torch.save(half, tmp_path / "half.pt")
    run_python(RESUME, tmp_path / "half.pt", tmp_path / "full.pt")
    resumed = torch.load(tmp_path / "full.pt", weights_only=True)
    assert [name for name in RESUMED if not equal(resumed[name], full[name])] == []


MAKE_ALL = """
import sys
from collections import defaultdict
from functools import partial
from sksharp.optim import MSAM, SAM, SGD, WSAM, Adam, AdamW, Lookahead, Muon, RAdam
from sksharp.optim import Ranger, ScheduleFree, YellowFin
from sksharp.optim import ASAM, GSAM, FisherSAM, FriendlySAM, LookSAM, SharpnessAware
import torch

composition = partial(Lookahead, base_optimizer=partial(SAM, base_optimizer=Adam))
one_gradient = [AdamW, ScheduleFree, Muon, YellowFin, MSAM]
ascents = [SAM, WSAM, ASAM, GSAM, FisherSAM, FriendlySAM, LookSAM, SharpnessAware]
for make in [
    SGD, Adam, RAdam, Ranger, Lookahead, *ascents, composition, *one_gradient
]:
    w = torch.nn.Parameter(torch.ones(2))
    optimizer = make([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    assert "torch._dynamo" not in sys.modules, make
"""


@pytest.mark.slow
def test_making_and_using_an_optimizer_does_not_import_the_compiler():
    run_python(MAKE_ALL)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda training: pickle.loads(pickle.dumps(training))],
    ids=["deepcopy", "pickle"],
)
@each
def test_a_copy_trains_on_as_the_original(case, duplicate):
    original = Training(case.make, initial_weights(0))
    original.run(7)
    twin = duplicate(original)
    assert equal(twin.run(5), original.run(5))
    assert equal(twin.params, original.params)
    assert twin.params[0] is not original.params[0]


@pytest.mark.parametrize("reloaded", [False, True], ids=["", "reloaded"])
@each
def test_a_scheduler_reaches_the_base_optimizer(case, reloaded):
    outside, inside = (Training(case.make, initial_weights(0)) for _ in range(2))
    if reloaded:
        for training in (outside, inside):
            training.run(4)
            training.optimizer.load_state_dict(training.optimizer.state_dict())
    base = innermost(outside.optimizer)
    lr = base.param_groups[0]["lr"]
    outside.scheduler = StepLR(outside.optimizer, step_size=2, gamma=0.5)
    inside.scheduler = StepLR(innermost(inside.optimizer), step_size=2, gamma=0.5)
    outside.run(5)
    inside.run(5)
    assert base.param_groups[0]["lr"] == lr * 0.5**2
    assert equal(outside.params, inside.params)
    assert not equal(outside.params, train(case.make, outside.n_steps))


@each
def test_two_groups_train_as_one(case):
    def make_in_two_groups(params):
        return case.make([{"params": params[:2]}, {"params": params[2:]}])

    assert equal(train(make_in_two_groups), train(case.make))


@pytest.mark.parametrize("of", [lambda it: it, innermost], ids=["itself", "innermost"])
@each
def test_a_group_added_later_trains_as_one_that_was_frozen_until_then(case, of):
    waiting = Training(
        lambda params: case.make([{"params": params[:3]}, {"params": params[3:]}]),
        initial_weights(0),
    )
    added = Training(lambda params: case.make(params[:3]), initial_weights(0))
    for training in (waiting, added):
        training.params[3].requires_grad_(False)
        training.run(6)
    of(added.optimizer).add_param_group({"params": [added.params[3]]})
    for training in (waiting, added):
        training.params[3].requires_grad_(True)
        training.run(4)
    assert equal(added.params, waiting.params)
    assert not torch.equal(added.params[3], initial_weights(0)[3])


@each
def test_a_frozen_parameter_is_as_if_the_optimizer_had_not_got_it(case):
    given = Training(case.make, initial_weights(0))
    withheld = Training(
        lambda params: case.make([params[0], *params[2:]]), initial_weights(0)
    )
    for training in (given, withheld):
        training.params[1].requires_grad_(False)
        training.run(7)
    assert equal(given.params, withheld.params)
    assert torch.equal(given.params[1], initial_weights(0)[1])
    assert given.params[1] not in given.optimizer.state


@each
def test_parameters_with_names_keep_them(case):
    names = ["hidden.weight", "hidden.bias", "output.weight", "output.bias"]

    def make_named(params):
        return case.make(zip(names, params, strict=True))

    training = Training(make_named, initial_weights(0))
    training.run(7)
    assert equal(training.params, train(case.make, 7))
    assert training.optimizer.state_dict()["param_groups"][0]["param_names"] == names


@each
def test_a_nan_gradient_stays_in_its_model(case):
    clean, broken = (Training(case.make_for_all, many_weights()) for _ in range(2))
    clean.run(9)
    broken.run(4)
    broken.loss_scale = torch.ones(N_MODELS, dtype=torch.float64)
    broken.loss_scale[1] = torch.nan
    broken.run(5)
    others = [0, 2, 3]
    assert equal([p[others] for p in broken.params], [p[others] for p in clean.params])
    assert all(p[1].isnan().all() for p in broken.params)


# LookSAM scales the difference of two gradients to the length of one, its rounding too
FOLLOWING = {name: case for name, case in PLAIN.items() if "LookSAM" not in name}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", FOLLOWING.values(), ids=FOLLOWING)
def test_half_precision_is_kept_and_follows_the_full_one(case, dtype):
    """To about the rounding of a few steps, whatever the method divides by."""

    def train_in(precision):
        params = [nn.Parameter(w.to(precision)) for w in initial_weights(0)]
        optimizer = case.make(params)

        def closure():
            for p in params:
                p.grad = (3 * p.detach()).sin()

        for _ in range(4):
            optimizer.step(closure)
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step(closure)
        assert {p.dtype for p in params} == {precision}
        return [p.detach().double() for p in params]

    for p, q in zip(train_in(dtype), train_in(torch.float64), strict=True):
        assert_allclose(p, q, rtol=0, atol=0.1)


@each_plain
def test_a_tied_parameter_moves_once(case):
    """Two layers with one weight train as the function of that weight."""

    def make_layers():
        generator = torch.Generator().manual_seed(0)
        layers = nn.Linear(3, 3).double(), nn.Linear(3, 3).double()
        for p in (*layers[0].parameters(), layers[1].bias):
            nn.init.uniform_(p, generator=generator)
        layers[1].weight = layers[0].weight
        return nn.Sequential(*layers)

    def run(params, forward):
        optimizer = case.make(params)

        def closure():
            optimizer.zero_grad()
            loss = forward(torch.eye(3, dtype=torch.float64)).square().mean()
            loss.backward()
            return loss

        for _ in range(7):
            optimizer.step(closure)

    model, source = make_layers(), make_layers()
    run(model.parameters(), model)
    weight, bias_1, bias_2 = params = list(source.parameters())
    run(params, lambda x: F.linear(F.linear(x, weight, bias_1), weight, bias_2))
    assert equal(model.parameters(), params)


@each_plain_ascent
def test_a_parameter_used_in_the_ascent_only_is_put_back(case):
    w = nn.Parameter(torch.tensor([1.0, 2.0]))
    sometimes = nn.Parameter(torch.tensor([3.0]))
    optimizer = case.make([w, sometimes])
    in_ascent = True
    before_descent = []
    optimizer_step = innermost(optimizer).step

    def closure():
        nonlocal in_ascent
        optimizer.zero_grad()
        loss = w.square().sum() + (sometimes.square().sum() if in_ascent else 0)
        loss.backward()
        in_ascent = False
        return loss

    def spy(*args):
        before_descent.extend([w.tolist(), sometimes.tolist()])
        return optimizer_step(*args)

    innermost(optimizer).step = spy
    optimizer.step(closure)
    assert before_descent == [[1.0, 2.0], [3.0]]


@each_ascent
def test_a_step_without_a_closure_is_refused(case):
    training = Training(case.make, initial_weights(0))
    with pytest.raises(TypeError, match="closure"):
        training.optimizer.step()
    assert equal(training.params, initial_weights(0))


@each_ascent
@pytest.mark.parametrize("failing", [1, 2], ids=["ascent", "descent"])
def test_a_step_whose_closure_fails_is_as_if_it_had_not_been_tried(case, failing):
    training = Training(case.make, initial_weights(0))
    training.run(7)
    n_calls = 0

    def closure(*rows):
        nonlocal n_calls
        n_calls += 1
        losses = training.closure(*rows)
        if n_calls == failing:
            raise FloatingPointError("no loss today")
        return losses

    before = [p.detach().clone() for p in training.params]
    with pytest.raises(FloatingPointError, match="no loss today"):
        training.optimizer.step(closure)
    assert torch.is_grad_enabled()
    assert equal(training.params, before)
    training.run(5)
    assert equal(training.params, train(case.make, 12))


BAD_HYPERPARAMETERS = [
    (SGD, "lr", -0.1),
    (SGD, "lr", np.nan),
    (SGD, "momentum", -0.1),
    (SGD, "momentum", 1.1),
    *[
        (optimizer, *bad)
        for optimizer in (Adam, RAdam, Ranger, AdamW, ScheduleFree, Muon)
        for bad in [
            ("lr", -0.1),
            ("beta_1", 1.0),
            ("beta_1", -0.1),
            ("beta_2", 1.0),
            ("eps", -1e-8),
            ("eps", np.nan),
        ]
    ],
    *[
        (optimizer, *bad)
        for optimizer in (Lookahead, Ranger)
        for bad in [("k", 0), ("alpha", 2.0), ("alpha", -0.1), ("alpha", np.nan)]
    ],
    *[
        (optimizer, "weight_decay", value)
        for optimizer in (AdamW, ScheduleFree, Muon)
        for value in (-0.1, np.nan)
    ],
    (ScheduleFree, "warmup", -1),
    (Muon, "momentum", 1.0),
    (Muon, "momentum", -0.1),
    (YellowFin, "lr", -0.1),
    (YellowFin, "beta", 1.0),
    (YellowFin, "window", 0),
    (YellowFin, "slow_start", -1),
    (MSAM, "rho", -0.1),
    (MSAM, "rho", np.nan),
    (MSAM, "momentum", 1.1),
    (SAM, "lr", -0.1),
    (WSAM, "gamma", 1.0),
    (WSAM, "gamma", -0.1),
    (WSAM, "gamma", np.nan),
    *[
        (optimizer, *bad)
        for optimizer in (SAM, WSAM, ASAM, GSAM, FisherSAM, FriendlySAM, LookSAM, ESAM)
        for bad in [
            ("rho", -0.1),
            ("rho", np.nan),
            ("interval", 0),
            ("start", -1),
            ("max_grad_norm", -1.0),
        ]
    ],
    (ASAM, "eta", -0.1),
    (ASAM, "n_scaled", -1),
    (FisherSAM, "eta", -0.1),
    (GSAM, "gsam_alpha", -0.1),
    (FriendlySAM, "sigma", -0.1),
    (FriendlySAM, "decay", 1.0),
    (LookSAM, "looksam_k", 0),
    (LookSAM, "looksam_alpha", -0.1),
    (ESAM, "fraction", 0.0),
    (ESAM, "fraction", 1.1),
    (ESAM, "fraction", np.nan),
]
COUNTS = [
    (optimizer, name)
    for optimizer in (SAM, WSAM, ASAM, GSAM, FisherSAM, FriendlySAM, LookSAM, ESAM)
    for name in ("interval", "start")
]
COUNTS += [(Lookahead, "k"), (LookSAM, "looksam_k"), (ASAM, "n_scaled")]


@pytest.mark.parametrize(("optimizer", "name"), [*COUNTS, (YellowFin, "window")])
@pytest.mark.parametrize("value", [2.0, "2", torch.tensor(2)], ids=repr)
def test_what_counts_steps_or_entries_is_an_integer(optimizer, name, value):
    params = [nn.Parameter(torch.ones(1))]
    with pytest.raises(TypeError, match=rf"^{name} .*got {name}="):
        optimizer(params, **{name: value})


@pytest.mark.parametrize(("optimizer", "name"), COUNTS)
def test_a_count_of_numpys_is_one_of_pythons_in_a_checkpoint(optimizer, name):
    """Where torch.load refuses the first."""
    params = [nn.Parameter(torch.ones(1))]
    [group] = optimizer(params, **{name: np.int64(2)}).state_dict()["param_groups"]
    assert type(group[name]) is int


@pytest.mark.parametrize(
    ("optimizer", "name", "value"),
    BAD_HYPERPARAMETERS,
    ids=[f"{o.__name__}({name}={value})" for o, name, value in BAD_HYPERPARAMETERS],
)
def test_an_error_names_the_hyperparameter_and_its_value(optimizer, name, value):
    params = [nn.Parameter(torch.ones(1))]
    with pytest.raises(ValueError, match=rf"^{name} .*got {name}={value}"):
        optimizer(params, **{name: value})


ASCENTS = [SAM, WSAM, ASAM, GSAM, FisherSAM, FriendlySAM, LookSAM, ESAM]


@pytest.mark.parametrize("wrapper", [Lookahead, MSAM, *ASCENTS])
@pytest.mark.parametrize("base", [None, "adam", 0.1])
def test_a_base_optimizer_that_cannot_be_called_is_refused(wrapper, base):
    params = [nn.Parameter(torch.ones(1))]
    with pytest.raises(TypeError, match=f"base_optimizer .*got {base!r}"):
        wrapper(params, base)


@pytest.mark.parametrize(
    ("wrapper", "base", "name"),
    [
        (SAM, torch.optim.Adadelta, "rho"),
        (WSAM, torch.optim.Adadelta, "rho"),
        (Lookahead, torch.optim.RMSprop, "alpha"),
        (Lookahead, Ranger, "k"),
        (SAM, MSAM, "rho"),
        (MSAM, MSAM, "rho"),
        (MSAM, SAM, "rho"),
        *[(ascent, SAM, "rho") for ascent in ASCENTS],
        (SAM, WSAM, "rho"),
    ],
)
def test_a_base_optimizer_with_a_hyperparameter_of_that_name_is_refused(
    wrapper, base, name
):
    """They share their groups, so that one value would silently serve both."""
    params = [nn.Parameter(torch.ones(1))]
    with pytest.raises(ValueError, match=name):
        wrapper(params, base)


SAM_OVER_SCHEDULE_FREE = partial(SAM, base_optimizer=ScheduleFree)


@pytest.mark.parametrize(
    ("wrapper", "base"),
    [
        (Lookahead, ScheduleFree),
        (Lookahead, MSAM),
        (Lookahead, SAM_OVER_SCHEDULE_FREE),
        (MSAM, ScheduleFree),
        (partial(WSAM, decouple=True), ScheduleFree),
    ],
)
def test_a_base_optimizer_that_would_undo_the_wrapper_is_refused(wrapper, base):
    """It computes the parameters from weights that the wrapper does not know of."""
    params = [nn.Parameter(torch.ones(1))]
    with pytest.raises(ValueError, match="base_optimizer must train the parameters"):
        wrapper(params, base)


LOOKAHEAD_OVER_LBFGS = partial(Lookahead, base_optimizer=torch.optim.LBFGS)


@pytest.mark.parametrize("base", [torch.optim.LBFGS, LOOKAHEAD_OVER_LBFGS])
@pytest.mark.parametrize("wrapper", [MSAM, *ASCENTS])
def test_a_base_optimizer_that_needs_a_closure_is_refused(wrapper, base):
    """It evaluates the closure as often as it likes, and the wrapper as it must."""
    params = [nn.Parameter(torch.ones(1))]
    with pytest.raises(ValueError, match="got LBFGS, which needs one"):
        wrapper(params, base)


@pytest.mark.parametrize("wrapper", [Lookahead, MSAM, *ASCENTS])
def test_a_base_optimizer_that_comes_with_a_state_keeps_it(wrapper):
    first = Training(Adam, initial_weights(0))
    first.run(3)
    saved = first.optimizer.state_dict()

    def make_experienced(params):
        optimizer = Adam(params)
        optimizer.load_state_dict(saved)
        return optimizer

    def load_afterwards(params):
        optimizer = wrapper(params, Adam)
        for p, state in zip(params, saved["state"].values(), strict=True):
            optimizer.state[p] = copy.deepcopy(state)
        return optimizer

    expected = train(load_afterwards)
    assert equal(train(lambda params: wrapper(params, make_experienced)), expected)
    assert not equal(train(lambda params: wrapper(params, Adam)), expected)


# -- a wrapper and its base are one ----------------------------------------------------

OFF = {
    "SAM": partial(SAM, rho=0.0),
    "LookSAM": partial(LookSAM, rho=0.0),
    "Lookahead": partial(Lookahead, k=100),
    "MSAM": partial(MSAM, rho=0.0),
    "Lookahead over SAM": lambda params, base, **rest: Lookahead(
        params, partial(SAM, base_optimizer=base, rho=0.0), k=100, **rest
    ),
}
each_that_is_off = pytest.mark.parametrize("wrapper", OFF.values(), ids=OFF)


@pytest.mark.parametrize("into", ["the wrapper", "its base"])
@each_that_is_off
def test_training_goes_on_from_a_checkpoint_of_the_base_optimizer(wrapper, into):
    adamw = partial(torch.optim.AdamW, lr=0.03)
    uninterrupted = Training(adamw, initial_weights(0))
    uninterrupted.run(3)
    weights = [p.detach().clone() for p in uninterrupted.params]
    resumed = Training(lambda ps: wrapper(ps, torch.optim.AdamW, lr=0.5), weights)
    resumed.n_steps = 3
    optimizer = resumed.optimizer
    loader = innermost(optimizer) if into == "its base" else optimizer
    loader.load_state_dict(copy.deepcopy(uninterrupted.optimizer.state_dict()))
    for training in (uninterrupted, resumed):
        training.schedule()
        training.run(3)
    assert equal(resumed.params, uninterrupted.params)
    assert len(optimizer.state_dict()["state"]) == len(resumed.params)


@each_that_is_off
def test_a_state_that_is_set_is_the_base_optimizers(wrapper):
    training = Training(
        lambda ps: wrapper(ps, torch.optim.AdamW, lr=0.1), initial_weights(0)
    )
    training.run(2)
    training.optimizer.state = defaultdict(dict)
    assert not innermost(training.optimizer).state
    training.run(2)
    assert training.optimizer.state is innermost(training.optimizer).state
    assert len(training.optimizer.state) == len(training.params)


@each
def test_inside_evaluating_the_parameters_are_the_weights_to_evaluate(case):
    training = Training(case.make, initial_weights(0))
    training.run(4)  # not a multiple of Lookahead's k
    optimizer, params = training.optimizer, training.params
    trained = [p.detach().clone() for p in params]
    expected = [w.detach().clone() for w in optimizer.evaluation_params()]
    with optimizer.evaluating():
        for part in (optimizer, getattr(optimizer, "base_optimizer", optimizer)):
            if not hasattr(part, "evaluating"):  # torch's
                continue
            assert part.is_synchronized
            assert equal(part.evaluation_params(), expected)
            with part.evaluating():
                assert equal(params, expected)
            assert equal(params, expected)
    assert equal(params, trained)
    assert equal(optimizer.evaluation_params(), expected)


@each
def test_complex_parameters_are_refused(case):
    real, other = (nn.Parameter(torch.zeros(2, dtype=d)) for d in (None, torch.cfloat))
    with pytest.raises(TypeError, match=r"got one of torch\.complex64 of shape \(2,\)"):
        case.make([real, other])
    optimizer = case.make([real])
    with pytest.raises(TypeError, match="params must be real"):
        optimizer.add_param_group({"params": [other]})
    assert len(optimizer.param_groups) == len(innermost(optimizer).param_groups) == 1


TAKE_SPARSE = {"SGD", "SGD without Nesterov", "MSAM over SGD"}


def embed(case, *, sparse):
    """Return an optimizer, the weights of its embedding and a closure."""
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    layer = nn.Embedding.from_pretrained(weights, freeze=False, sparse=sparse)
    optimizer = case.make(layer.parameters())

    def closure(rows=slice(None)):
        losses = layer(torch.tensor([1, 2, 2])[rows]).square().sum(-1)
        if isinstance(optimizer, ESAM):
            return losses
        optimizer.zero_grad()
        losses.mean().backward()
        return losses.mean().detach()

    return optimizer, layer.weight, closure


@pytest.mark.parametrize("name", sorted(TAKE_SPARSE))
def test_sparse_gradients_train_as_dense_ones(name):
    trained = []
    for sparse in (False, True):
        optimizer, weights, closure = embed(CASES[name], sparse=sparse)
        for _ in range(3):
            optimizer.step(closure)
        assert weights.grad.is_sparse == sparse
        trained.append(weights.detach())
    assert_allclose(*trained, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", [name for name in CASES if name not in TAKE_SPARSE])
def test_other_sparse_gradients_are_refused_before_anything_changes(name):
    optimizer, weights, closure = embed(CASES[name], sparse=True)
    before = weights.detach().clone()
    # torch's own say so in their words
    words = "must be dense, got a sparse one for|does not support sparse gradients"
    with pytest.raises((TypeError, RuntimeError), match=words):
        optimizer.step(closure)
    assert torch.equal(weights, before)
    assert not innermost(optimizer).state
