"""Schedulers that cycle the momentum find it, and it acts."""

from functools import partial

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from sksharp.optim import Adam, AdamW, RAdam, Ranger, ScheduleFree, YellowFin

from .cases import CASES, Training, equal, initial_weights

CYCLES = {
    "OneCycleLR": partial(OneCycleLR, max_lr=0.1, total_steps=20),
    "CyclicLR": partial(CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=5),
}


@pytest.mark.parametrize("schedule", CYCLES.values(), ids=CYCLES)
@pytest.mark.parametrize("optimizer", [Adam, AdamW, RAdam, Ranger, ScheduleFree])
def test_a_cycled_momentum_is_beta_1(optimizer, schedule):
    def run(by_hand):
        training = Training(partial(optimizer, eps=1e-3), initial_weights(0))
        training.scheduler = schedule(training.optimizer)
        for _ in range(8):
            [group] = training.optimizer.param_groups
            if by_hand:
                group["beta_1"], group["momentum"] = group["momentum"], None
            training.run(1)
        return training.params

    assert equal(run(by_hand=True), run(by_hand=False))


@pytest.mark.parametrize("schedule", CYCLES.values(), ids=CYCLES)
@pytest.mark.parametrize("name", [name for name in CASES if name != "YellowFin"])
def test_a_momentum_is_cycled_over_every_base(name, schedule):
    trained = []
    for cycle_momentum in (True, False):
        training = Training(CASES[name].make, initial_weights(0))
        training.scheduler = schedule(training.optimizer, cycle_momentum=cycle_momentum)
        training.run(5)
        trained.append(training.params)
    assert not equal(*trained)


def test_where_the_optimizer_finds_its_momentum_no_other_is_cycled():
    with pytest.raises(ValueError, match="cycle_momentum"):
        OneCycleLR(YellowFin([nn.Parameter(torch.ones(1))]), 0.1, total_steps=10)


def test_a_group_that_is_added_has_the_beta_1_of_its_own():
    optimizer = Adam([nn.Parameter(torch.ones(1))], beta_1=0.5)
    w = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer.add_param_group({"params": [w], "beta_1": 0.8})
    w.grad = torch.full_like(w, 2.0)
    optimizer.step()
    assert_allclose(optimizer.state[w]["mean"], [2 * (1 - 0.8)])
