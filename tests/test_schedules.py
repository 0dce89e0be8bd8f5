"""The learning rates are those of torch's schedulers, and of the papers' formulas."""

import inspect
from bisect import bisect_right

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from sksharp import SAMMLPClassifier
from sksharp._schedules import (
    CYCLES,
    SCHEDULES,
    AveragingRate,
    Moment,
    Schedule,
    snapshot_epochs,
    snapshot_turns,
)

INITIAL = 0.3
VALUES = {
    "lr_min": 0.02,
    "lr_gamma": 0.7,
    "lr_step_size": 3,
    "lr_milestones": (2, 7),
    "lr_flat": 0.6,
}


def make(name, epochs=10, warmup=0, turns=(), **values):
    return Schedule(name, INITIAL, epochs, warmup, {**VALUES, **values}, turns)


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
    return lambda o: lr_scheduler.CosineAnnealingLR(o, n, eta_min=VALUES["lr_min"])


def flat(o):
    return lr_scheduler.ConstantLR(o, factor=1.0)


def rise_over(n):
    return lambda o: lr_scheduler.LinearLR(o, start_factor=1 / (n + 1), total_iters=n)


# schedule, epochs, steps an epoch, warm-up, and torch's scheduler of every step
BY_STEP = {
    "cosine": ("cosine", 6, 5, 0, cosine_of(30)),
    "cosine of one step": ("cosine", 1, 1, 0, cosine_of(1)),
    "cosine after a warm-up": (
        "cosine",
        6,
        5,
        2,
        sequence(rise_over(10), cosine_of(20), at=[10]),
    ),
    "flat, then cosine": (
        "flat_cosine",
        6,
        5,
        0,
        sequence(flat, cosine_of(12), at=[18]),
    ),
    "flat after a warm-up": (
        "flat_cosine",
        6,
        5,
        1,
        sequence(rise_over(5), flat, cosine_of(12), at=[5, 18]),
    ),
    "a warm-up longer than what is flat": (
        "flat_cosine",
        6,
        5,
        4,
        sequence(rise_over(20), cosine_of(10), at=[20]),
    ),
    "constant after a warm-up": ("constant", 6, 5, 0.4, rise_over(12)),
}


@pytest.mark.parametrize("case", BY_STEP)
def test_the_rate_of_every_step_is_torchs(case):
    name, epochs, n_steps, warmup, make_scheduler = BY_STEP[case]
    schedule = make(name, epochs, warmup)
    expected = rates_of_torch(make_scheduler, epochs * n_steps)
    found = rates_of(schedule, epochs, n_steps)
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
    schedule = make("onecycle", epochs, 0 if rise is None else rise)
    rise = 0.3 if rise is None else int(rise * total) / total
    expected = one_cycle(total, rise)
    assert_allclose(rates_of(schedule, epochs, n_steps), expected, rtol=1e-12)


# schedule and torch's scheduler of every epoch
BY_EPOCH = {
    "step": lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.7),
    "multistep": lambda o: lr_scheduler.MultiStepLR(o, milestones=[2, 7], gamma=0.7),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, gamma=0.7),
}


@pytest.mark.parametrize("n_steps", [1, 4])
@pytest.mark.parametrize("epochs", [12, None], ids=["known", "unknown"])
@pytest.mark.parametrize("name", BY_EPOCH)
def test_the_rate_of_every_epoch_is_torchs(name, epochs, n_steps):
    expected = np.repeat(rates_of_torch(BY_EPOCH[name], 12), n_steps)
    found = rates_of(make(name, epochs), 12, n_steps)
    assert_allclose(found, expected, rtol=1e-12)


def test_every_schedule_is_compared_with_torchs():
    by_step = {name for name, *_ in BY_STEP.values()}
    assert by_step | {"onecycle"} | BY_EPOCH.keys() == SCHEDULES.keys() | {"constant"}


def test_every_schedule_reads_parameters_of_the_estimators_alone():
    parameters = inspect.signature(SAMMLPClassifier).parameters
    for kind in SCHEDULES.values():
        assert set(kind.reads) <= parameters.keys()
        schedule = Schedule("", INITIAL, 4, 0, {n: VALUES[n] for n in kind.reads})
        assert kind.rate(schedule, Moment(7, 2, 8, 0)) > 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_milestones_may_be_shares_of_the_training(share):
    epochs = 30
    found = rates_of(make("multistep", epochs, lr_milestones=(share, 20)), epochs, 2)
    milestones = sorted([int(share * epochs), 20])
    expected = [
        INITIAL * 0.7 ** bisect_right(milestones, e) for e in range(30) for _ in "ab"
    ]
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", BY_EPOCH)
def test_a_warm_up_multiplies_what_is_counted_in_epochs(name):
    plain, rising = make(name), make(name, warmup=2)
    factors = [min(1, (step + 1) / (2 * 3 + 1)) for step in range(30)]
    expected = np.multiply(rates_of(plain, 10, 3), factors)
    assert_allclose(rates_of(rising, 10, 3), expected, rtol=1e-12)


# settings at which a schedule is another one, bit for bit
LIMITS = {
    "flat_cosine without its flat part": (make("flat_cosine", lr_flat=0), "cosine"),
    "a cosine to where it begins": (make("cosine", lr_min=INITIAL), "constant"),
    "a warm-up of no epoch": (make("constant", warmup=0), "constant"),
    "a warm-up of no share": (make("cosine", warmup=0.0), "cosine"),
    "drops by one": (make("step", lr_gamma=1), "constant"),
    "a decay by one": (make("exponential", lr_gamma=1), "constant"),
    "a drop after the end": (make("multistep", lr_milestones=(10,)), "constant"),
    "a drop of every epoch": (make("step", lr_step_size=1), "exponential"),
    "one cycle of cosines": (make("cosine cycles", turns=(0, 10)), "cosine"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_a_schedule_reduces_to_another_one(case):
    schedule, name = LIMITS[case]
    assert rates_of(schedule, 10, 4) == rates_of(make(name), 10, 4)


@pytest.mark.parametrize("name", ["constant", *SCHEDULES])
def test_the_rate_never_leaves_its_bounds(name):
    rates = rates_of(make(name, epochs=7, warmup=0.3), 9, 3)
    assert max(rates) <= INITIAL
    assert min(rates) > 0


# -- cycles ----------------------------------------------------------------------------


@pytest.mark.parametrize(("n_snapshots", "epochs"), [(1, 5), (3, 12), (5, 10)])
def test_cosine_cycles_are_those_of_snapshot_ensembles(n_snapshots, epochs):
    n_steps = 3
    turns = tuple(snapshot_turns("cosine", n_snapshots, 0, epochs))
    found = rates_of(make("cosine cycles", epochs, turns=turns, lr_min=0), epochs, 3)
    t = np.arange(1, epochs * n_steps + 1)
    cycle = -(-epochs * n_steps // n_snapshots)
    expected = INITIAL / 2 * (np.cos(np.pi * ((t - 1) % cycle) / cycle) + 1)
    assert_allclose(found, expected, rtol=0, atol=1e-15)
    warm = rates_of_torch(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, cycle), epochs * n_steps
    )
    assert_allclose(found, warm, rtol=0, atol=1e-15)


@pytest.mark.parametrize("n_steps", [1, 5])
def test_triangles_are_those_of_fast_geometric_ensembling(n_steps):
    turns = tuple(snapshot_turns("triangular", 3, 0, 10))
    assert turns == (0, 2, 4, 6, 8, 10)
    schedule = make("triangular cycles", 10, turns=turns)
    high, low = INITIAL, VALUES["lr_min"]
    expected = []
    for i in range(1, 10 * n_steps + 1):
        t = ((i - 1) % (4 * n_steps) + 1) / (4 * n_steps)
        falls = (1 - 2 * t) * high + 2 * t * low
        rises = (2 - 2 * t) * low + (2 * t - 1) * high
        expected.append(falls if t <= 0.5 else rises)
    assert_allclose(rates_of(schedule, 10, n_steps), expected, rtol=1e-12)


def test_a_triangle_of_four_steps_has_the_rates_of_the_published_table():
    schedule = Schedule(
        "triangular cycles", 0.05, 6, 0, {"lr_min": 0.0005}, (0, 2, 4, 6)
    )
    expected = [0.02525, 0.0005, 0.02525, 0.05, 0.02525, 0.0005]
    assert_allclose(rates_of(schedule, 6, 1), expected, rtol=1e-12)


@pytest.mark.parametrize("start", [0, 4])
@pytest.mark.parametrize(("n_snapshots", "epochs"), [(2, 30), (3, 17), (5, 13)])
@pytest.mark.parametrize("name", CYCLES)
def test_every_snapshot_is_taken_where_the_rate_is_lowest(
    name, n_snapshots, epochs, start
):
    turns = snapshot_turns(name, n_snapshots, start, epochs)
    schedule = make(f"{name} cycles", epochs, turns=tuple(turns))
    rates = np.array([schedule.rates(epoch, 4)[-1] for epoch in range(epochs)])
    collected = snapshot_epochs(name, turns)
    assert len(collected) == n_snapshots
    assert collected[-1] == epochs
    assert (rates[:start] == INITIAL).all()
    padded = np.concatenate([[INITIAL], rates, [INITIAL]])
    is_lowest = (rates <= padded[:-2]) & (rates <= padded[2:]) & (rates < INITIAL)
    assert set(collected) <= set(np.flatnonzero(is_lowest) + 1)
    lengths = np.diff(turns)
    assert max(lengths) - min(lengths) <= 1


def test_a_warm_up_ends_before_the_first_cycle_falls():
    turns = tuple(snapshot_turns("cosine", 2, 0, 12))
    found = rates_of(make("cosine cycles", 12, warmup=2, turns=turns), 12, 1)
    first = rates_of(make("cosine", 6, warmup=2), 6, 1)
    assert_allclose(found, [*first, *rates_of(make("cosine", 6), 6, 1)], rtol=1e-12)


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
