"""The learning rates are those of torch's schedulers, and of the papers' formulas."""

from bisect import bisect_right

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from sksharp.options import (
    Cosine,
    Cyclic,
    Exponential,
    MultiStep,
    OneCycle,
    Snapshots,
    Step,
)
from sksharp.options._rates import AveragingRate, RatePlan, StepInfo
from sksharp.options.averages import SNAPSHOT_STARTS
from sksharp.options.schedules import SCHEDULES, Constant

INITIAL, LOWEST, GAMMA = 0.3, 0.02, 0.7

# every schedule with options of its own
EVERY = [
    Cosine(lr_min=LOWEST),
    Cosine(flat=0.6, lr_min=LOWEST),
    OneCycle(),
    Step(size=3, gamma=GAMMA),
    MultiStep(milestones=(2, 7), gamma=GAMMA),
    Exponential(gamma=GAMMA),
    Cyclic(length=2, lr_min=LOWEST),
    Cyclic(shape="triangular", length=0.3, growth=2, lr_min=LOWEST),
]


def plan(schedule, epochs=10, warmup=0):
    return RatePlan(schedule, INITIAL, epochs, warmup)


def rates_of(schedule, epochs, n_steps):
    return [rate for epoch in range(epochs) for rate in schedule.rates(epoch, n_steps)]


def rates_of_torch(make_scheduler, n):
    """Return the rates of the first steps under one of torch's schedulers."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=INITIAL)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def sequence(*schedulers, at):
    """Return a function that makes schedulers one after the other."""
    return lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [make(optimizer) for make in schedulers], at
    )


def cosine_of(n):
    return lambda o: lr_scheduler.CosineAnnealingLR(o, n, eta_min=LOWEST)


def flat(o):
    return lr_scheduler.ConstantLR(o, factor=1.0)


def rise_over(n):
    return lambda o: lr_scheduler.LinearLR(o, start_factor=1 / (n + 1), total_iters=n)


# schedule, epochs, steps an epoch, warm-up, and torch's scheduler of every step
BY_STEP = {
    "cosine": (Cosine(lr_min=LOWEST), 6, 5, 0, cosine_of(30)),
    "cosine of one step": (Cosine(lr_min=LOWEST), 1, 1, 0, cosine_of(1)),
    "cosine after a warm-up": (
        Cosine(lr_min=LOWEST),
        6,
        5,
        2,
        sequence(rise_over(10), cosine_of(20), at=[10]),
    ),
    "flat, then cosine": (
        Cosine(flat=0.6, lr_min=LOWEST),
        6,
        5,
        0,
        sequence(flat, cosine_of(12), at=[18]),
    ),
    "flat after a warm-up": (
        Cosine(flat=0.6, lr_min=LOWEST),
        6,
        5,
        1,
        sequence(rise_over(5), flat, cosine_of(12), at=[5, 18]),
    ),
    "a warm-up longer than what is flat": (
        Cosine(flat=0.6, lr_min=LOWEST),
        6,
        5,
        4,
        sequence(rise_over(20), cosine_of(10), at=[20]),
    ),
    "constant after a warm-up": (Constant(), 6, 5, 0.4, rise_over(12)),
}


@pytest.mark.parametrize("case", BY_STEP)
def test_the_rate_of_every_step_is_torchs(case):
    schedule, epochs, n_steps, warmup, make_scheduler = BY_STEP[case]
    expected = rates_of_torch(make_scheduler, epochs * n_steps)
    found = rates_of(plan(schedule, epochs, warmup), epochs, n_steps)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def one_cycle(total, rise):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=INITIAL)
    scheduler = lr_scheduler.OneCycleLR(
        optimizer, INITIAL, total_steps=total, pct_start=rise, cycle_momentum=False
    )
    rates = []
    for step in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total - 1:
            scheduler.step()
    return rates


@pytest.mark.parametrize(("epochs", "n_steps"), [(10, 4), (7, 3), (40, 1)])
@pytest.mark.parametrize("rise", [None, 0.25, 0.5])
def test_one_cycle_is_torchs_with_the_warm_up_as_its_rise(rise, epochs, n_steps):
    total = epochs * n_steps
    schedule = plan(OneCycle(), epochs, 0 if rise is None else rise)
    rise = 0.3 if rise is None else int(rise * total) / total
    expected = one_cycle(total, rise)
    assert_allclose(rates_of(schedule, epochs, n_steps), expected, rtol=1e-12)


# schedule and torch's scheduler of every epoch
BY_EPOCH = {
    Step: (
        Step(size=3, gamma=GAMMA),
        lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.7),
    ),
    MultiStep: (
        MultiStep(milestones=(2, 7), gamma=GAMMA),
        lambda o: lr_scheduler.MultiStepLR(o, milestones=[2, 7], gamma=0.7),
    ),
    Exponential: (
        Exponential(gamma=GAMMA),
        lambda o: lr_scheduler.ExponentialLR(o, gamma=0.7),
    ),
}


@pytest.mark.parametrize("n_steps", [1, 4])
@pytest.mark.parametrize("epochs", [12, None], ids=["known", "unknown"])
@pytest.mark.parametrize("cls", BY_EPOCH)
def test_the_rate_of_every_epoch_is_torchs(cls, epochs, n_steps):
    schedule, make_scheduler = BY_EPOCH[cls]
    expected = np.repeat(rates_of_torch(make_scheduler, 12), n_steps)
    found = rates_of(plan(schedule, epochs), 12, n_steps)
    assert_allclose(found, expected, rtol=1e-12)


def test_every_schedule_is_compared_with_torchs():
    by_step = {type(schedule) for schedule, *_ in BY_STEP.values()}
    compared = by_step | {OneCycle, Cyclic} | BY_EPOCH.keys()
    assert compared == {Constant, *SCHEDULES.values()}
    assert {type(schedule) for schedule in EVERY} == {*SCHEDULES.values()}


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
def test_every_option_of_a_schedule_is_validated(schedule):
    assert schedule._parameter_constraints.keys() == schedule.get_params().keys()
    schedule.validate()
    plain = schedule.plain()
    assert plain == schedule
    assert plain.rate(INITIAL, StepInfo(7, 2, 4, 0)) > 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_milestones_may_be_shares_of_the_training(share):
    epochs = 30
    schedule = MultiStep(milestones=(share, 20), gamma=GAMMA)
    found = rates_of(plan(schedule, epochs), epochs, 2)
    milestones = sorted([int(share * epochs), 20])
    expected = [
        INITIAL * 0.7 ** bisect_right(milestones, e) for e in range(30) for _ in "ab"
    ]
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("cls", BY_EPOCH)
def test_a_warm_up_multiplies_what_is_counted_in_epochs(cls):
    schedule, _ = BY_EPOCH[cls]
    factors = [min(1, (step + 1) / (2 * 3 + 1)) for step in range(30)]
    expected = np.multiply(rates_of(plan(schedule), 10, 3), factors)
    assert_allclose(rates_of(plan(schedule, warmup=2), 10, 3), expected, rtol=1e-12)


# settings at which a schedule is another one, bit for bit
LIMITS = {
    "a flat part within the warm-up": (
        plan(Cosine(flat=0.2, lr_min=LOWEST), warmup=2),
        plan(Cosine(lr_min=LOWEST), warmup=2),
    ),
    "a cosine to where it begins": (plan(Cosine(lr_min=INITIAL)), plan(Constant())),
    "a warm-up of no epoch": (plan(Constant(), warmup=0), plan(Constant())),
    "a warm-up of no share": (plan(Cosine(), warmup=0.0), plan(Cosine())),
    "drops by one": (plan(Step(size=3, gamma=1)), plan(Constant())),
    "a decay by one": (plan(Exponential(gamma=1)), plan(Constant())),
    "a drop after the end": (plan(MultiStep(milestones=(10,))), plan(Constant())),
    "a drop of every epoch": (
        plan(Step(size=1, gamma=GAMMA)),
        plan(Exponential(gamma=GAMMA)),
    ),
    "one cycle of snapshots": (
        plan(Snapshots(n=1, lr_min=LOWEST).cycles(10)),
        plan(Cosine(lr_min=LOWEST)),
    ),
    "one restart of the whole length": (
        plan(Cyclic(length=1.0, lr_min=LOWEST)),
        plan(Cosine(lr_min=LOWEST)),
    ),
    "a cycle longer than the training": (
        plan(Cyclic(length=20, growth=3, lr_min=LOWEST)),
        plan(Cosine(lr_min=LOWEST), epochs=20),
    ),
    "restarts at the ends of cosine cycles": (
        plan(Cyclic(length=0.2, lr_min=LOWEST)),
        plan(Snapshots(n=5, lr_min=LOWEST).cycles(10)),
    ),
    "restarts to where they begin": (
        plan(Cyclic(length=3, lr_min=INITIAL)),
        plan(Constant()),
    ),
    "triangles without height": (
        plan(Cyclic(shape="triangular", length=3, lr_min=INITIAL)),
        plan(Constant()),
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_a_schedule_reduces_to_another_one(case):
    schedule, other = LIMITS[case]
    assert rates_of(schedule, 10, 4) == rates_of(other, 10, 4)


@pytest.mark.parametrize("schedule", [Constant(), *EVERY], ids=repr)
def test_the_rate_never_leaves_its_bounds(schedule):
    rates = rates_of(plan(schedule, epochs=7, warmup=0.3), 9, 3)
    assert max(rates) <= INITIAL
    assert min(rates) > 0


# -- cycles ----------------------------------------------------------------------------


def warm_restarts(length, growth, epochs, n_steps, lowest=LOWEST):
    """Return the rates of torch's warm restarts, called with fractions of epochs."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=INITIAL)
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, length, T_mult=growth, eta_min=lowest
    )
    rates = []
    for epoch in range(epochs):
        for i in range(n_steps):
            scheduler.step(epoch + i / n_steps)
            rates.append(optimizer.param_groups[0]["lr"])
    return rates


def triangles(length, n_steps, n):
    """Return the rates of torch's triangles in the first steps of a training."""
    half = length * n_steps / 2
    return rates_of_torch(
        lambda o: lr_scheduler.CyclicLR(
            o, LOWEST, INITIAL, step_size_up=half, cycle_momentum=False
        ),
        n,
    )


@pytest.mark.parametrize("n_steps", [1, 4, 5])
@pytest.mark.parametrize("epochs", [23, None], ids=["known", "unknown"])
@pytest.mark.parametrize("growth", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 3, 30])
def test_restarts_are_torchs(length, growth, epochs, n_steps):
    schedule = Cyclic(length=length, growth=growth, lr_min=LOWEST)
    found = rates_of(plan(schedule, epochs), 23, n_steps)
    expected = warm_restarts(length, growth, 23, n_steps)
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("n_steps", [1, 4, 5])
@pytest.mark.parametrize("epochs", [23, None], ids=["known", "unknown"])
@pytest.mark.parametrize("length", [1, 3, 30])
def test_triangles_are_torchs(length, epochs, n_steps):
    schedule = Cyclic(shape="triangular", length=length, lr_min=LOWEST)
    found = rates_of(plan(schedule, epochs), 23, n_steps)
    assert_allclose(found, triangles(length, n_steps, 23 * n_steps), rtol=1e-12)


def test_triangles_grow_from_cycle_to_cycle():
    schedule = Cyclic(shape="triangular", length=2, growth=2, lr_min=LOWEST)
    found = rates_of(plan(schedule, 14), 14, 3)
    expected = np.concatenate([triangles(n, 3, 3 * n) for n in (2, 4, 8)])
    assert_allclose(found, expected, rtol=1e-12)


# the share, the epochs of a training, and those of the first cycle
SHARES = [(0.2, 30, 6), (0.25, 30, 7), (1.0, 30, 30), (0.01, 30, 1), (0.2, 1, 1)]


@pytest.mark.parametrize(("share", "epochs", "length"), SHARES)
@pytest.mark.parametrize("shape", ["cosine", "triangular"])
def test_a_length_may_be_a_share_of_the_training(shape, share, epochs, length):
    by_share, by_epochs = (
        plan(Cyclic(shape=shape, length=n, growth=2, lr_min=LOWEST), epochs)
        for n in (share, length)
    )
    assert by_share.schedule.needs_length
    assert not by_epochs.schedule.needs_length
    assert rates_of(by_share, epochs, 4) == rates_of(by_epochs, epochs, 4)


@pytest.mark.parametrize("length", [1, 1.0, 0.2])
def test_a_training_of_one_epoch_is_one_cycle(length):
    restarts = plan(Cyclic(length=length, lr_min=LOWEST), epochs=1)
    assert_allclose(rates_of(restarts, 1, 8), warm_restarts(1, 1, 1, 8), rtol=1e-12)
    triangle = plan(Cyclic(shape="triangular", length=length, lr_min=LOWEST), epochs=1)
    assert_allclose(rates_of(triangle, 1, 8), triangles(1, 8, 8), rtol=1e-12)


def test_restarts_fall_to_zero_unless_told_otherwise():
    found = rates_of(plan(Cyclic(length=2)), 10, 3)
    assert_allclose(found, warm_restarts(2, 1, 10, 3, lowest=0.0), rtol=1e-12)


# the warm-up, and its steps among 30
@pytest.mark.parametrize(("warmup", "n"), [(2, 6), (0.3, 9), (0.35, 10)])
def test_cycles_begin_when_the_warm_up_has_ended(warmup, n):
    rise = np.arange(1, n + 1) / (n + 1)
    restarts = plan(Cyclic(length=2, growth=2, lr_min=LOWEST), warmup=warmup)
    expected = [*(rise * INITIAL), *warm_restarts(2, 2, 10, 3)[: 30 - n]]
    assert_allclose(rates_of(restarts, 10, 3), expected, rtol=1e-12)
    triangle = plan(Cyclic(shape="triangular", length=2, lr_min=LOWEST), warmup=warmup)
    expected = [*(rise * LOWEST), *triangles(2, 3, 30 - n)]
    assert_allclose(rates_of(triangle, 10, 3), expected, rtol=1e-12)


@pytest.mark.parametrize(("n", "epochs"), [(1, 5), (3, 12), (5, 10)])
def test_cosine_cycles_are_those_of_snapshot_ensembles(n, epochs):
    n_steps = 3
    found = rates_of(plan(Snapshots(n=n).cycles(epochs), epochs), epochs, n_steps)
    t = np.arange(1, epochs * n_steps + 1)
    cycle = -(-epochs * n_steps // n)
    expected = INITIAL / 2 * (np.cos(np.pi * ((t - 1) % cycle) / cycle) + 1)
    assert_allclose(found, expected, rtol=0, atol=1e-15)
    warm = rates_of_torch(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, cycle), epochs * n_steps
    )
    assert_allclose(found, warm, rtol=0, atol=1e-15)


@pytest.mark.parametrize("n_steps", [1, 5])
def test_triangles_are_those_of_fast_geometric_ensembling(n_steps):
    snapshots = Snapshots(n=3, schedule="triangular", start=0, lr_min=LOWEST)
    cycles = snapshots.cycles(10)
    assert cycles.boundaries == (0, 2, 4, 6, 8, 10)
    high, low = INITIAL, LOWEST
    expected = []
    for i in range(1, 10 * n_steps + 1):
        t = ((i - 1) % (4 * n_steps) + 1) / (4 * n_steps)
        falls = (1 - 2 * t) * high + 2 * t * low
        rises = (2 - 2 * t) * low + (2 * t - 1) * high
        expected.append(falls if t <= 0.5 else rises)
    assert_allclose(rates_of(plan(cycles, 10), 10, n_steps), expected, rtol=1e-12)


def test_a_triangle_of_four_steps_has_the_rates_of_the_published_table():
    snapshots = Snapshots(n=2, schedule="triangular", start=0, lr_min=0.0005)
    cycles = snapshots.cycles(6)
    assert cycles.boundaries == (0, 2, 4, 6)
    expected = [0.02525, 0.0005, 0.02525, 0.05, 0.02525, 0.0005]
    assert_allclose(rates_of(RatePlan(cycles, 0.05, 6, 0), 6, 1), expected, rtol=1e-12)


@pytest.mark.parametrize("start", [0, 4])
@pytest.mark.parametrize(("n", "epochs"), [(2, 30), (3, 17), (5, 13)])
@pytest.mark.parametrize("shape", SNAPSHOT_STARTS)
def test_every_snapshot_is_taken_where_the_rate_is_lowest(shape, n, epochs, start):
    snapshots = Snapshots(n=n, schedule=shape, start=start, lr_min=LOWEST)
    schedule = plan(snapshots.cycles(epochs), epochs)
    rates = np.array([schedule.rates(epoch, 4)[-1] for epoch in range(epochs)])
    collected = snapshots.collected(epochs)
    assert len(collected) == n
    assert collected[-1] == epochs
    assert (rates[:start] == INITIAL).all()
    padded = np.concatenate([[INITIAL], rates, [INITIAL]])
    is_lowest = (rates <= padded[:-2]) & (rates <= padded[2:]) & (rates < INITIAL)
    assert set(collected) <= set(np.flatnonzero(is_lowest) + 1)
    lengths = np.diff(snapshots.boundaries(epochs))
    assert max(lengths) - min(lengths) <= 1


def test_a_warm_up_ends_before_the_first_cycle_falls():
    cycles = Snapshots(n=2, lr_min=LOWEST).cycles(12)
    cosine = Cosine(lr_min=LOWEST)
    found = rates_of(plan(cycles, 12, warmup=2), 12, 1)
    first = rates_of(plan(cosine, 6, warmup=2), 6, 1)
    assert_allclose(found, [*first, *rates_of(plan(cosine, 6), 6, 1)], rtol=1e-12)


# -- the rate while averaging ----------------------------------------------------------


@pytest.mark.parametrize("strategy", ["cosine", "linear"])
@pytest.mark.parametrize("anneal", [0, 1, 5, 30])
@pytest.mark.parametrize("swa_lr", [0.01, 0.9])
def test_the_rate_goes_to_that_of_averaging_as_under_torchs_scheduler(
    swa_lr, anneal, strategy
):
    def scheduler(optimizer):
        return SWALR(
            optimizer,
            swa_lr,
            anneal_epochs=anneal,
            anneal_strategy={"cosine": "cos", "linear": "linear"}[strategy],
        )

    # torch's first rate is the one before averaging
    first, *expected = rates_of_torch(scheduler, 13)
    if anneal:
        assert first == INITIAL
    rate = AveragingRate(INITIAL, swa_lr, anneal, strategy)
    found = [rate.rates(epoch, 2) for epoch in range(12)]
    assert_allclose(found, np.repeat(expected, 2).reshape(12, 2), rtol=1e-12)


def test_without_annealing_the_rate_is_held_bit_for_bit():
    for strategy in ("cosine", "linear"):
        assert AveragingRate(0.1, 0.037, 0, strategy).rates(0, 2) == [0.037] * 2
        assert AveragingRate(0.1, 0.037, 3, strategy).rates(2, 2) == [0.037] * 2


@pytest.mark.parametrize(("cycle", "n_steps"), [(1, 4), (3, 1), (2, 5)])
def test_a_cycle_falls_from_the_one_rate_to_the_other(cycle, n_steps):
    rate = AveragingRate(0.1, 0.02, cycle=cycle)
    found = rates_of(rate, 3 * cycle, n_steps)
    length = cycle * n_steps
    i = np.arange(1, 3 * length + 1)
    t = ((i - 1) % length + 1) / length
    assert_allclose(found, (1 - t) * 0.1 + t * 0.02, rtol=1e-12)
    assert found[length - 1 :: length] == [0.02] * 3
