"""Who writes what other packages take is told what to write here."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from sksharp.optim import (
    ASAM,
    ESAM,
    GSAM,
    MSAM,
    SAM,
    WSAM,
    FisherSAM,
    FriendlySAM,
    Lookahead,
    LookSAM,
    Ranger,
)

ASCENTS = [SAM, WSAM, ASAM, GSAM, FisherSAM, FriendlySAM, LookSAM, ESAM]


def parameters():
    return [nn.Parameter(torch.ones(2))]


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize(
    "base", [torch.optim.SGD, partial(Lookahead, base_optimizer=torch.optim.SGD)]
)
@pytest.mark.parametrize("optimizer", ASCENTS)
def test_adaptive_is_refused_with_the_class_that_is_meant(optimizer, base, adaptive):
    words = (
        rf"{optimizer.__name__} has no argument 'adaptive'.* take sksharp\.optim\.ASAM"
    )
    with pytest.raises(TypeError, match=words):
        optimizer(parameters(), base, rho=0.05, adaptive=adaptive, lr=0.1)


def test_a_base_optimizer_may_have_an_argument_adaptive():
    taken = []

    def base(params, *, adaptive, **rest):
        taken.append(adaptive)
        return torch.optim.SGD(params, **rest)

    SAM(parameters(), base, adaptive="mine", lr=0.1)
    assert taken == ["mine"]


def test_another_unknown_argument_is_the_base_optimizers_to_refuse():
    with pytest.raises(TypeError, match="unexpected keyword argument 'leaning_rate'"):
        SAM(parameters(), torch.optim.SGD, leaning_rate=0.1)


@pytest.mark.parametrize("name", ["first_step", "second_step"])
@pytest.mark.parametrize("optimizer", ASCENTS)
def test_the_two_halves_of_a_step_are_refused_with_the_whole_one(optimizer, name):
    made = optimizer(parameters(), torch.optim.SGD, lr=0.1)
    with pytest.raises(AttributeError, match=rf"{name}'.* One call of step\(closure\)"):
        getattr(made, name)(zero_grad=True)
    assert not hasattr(made, name)


def test_another_attribute_is_missing_without_a_lecture():
    optimizer = SAM(parameters(), torch.optim.SGD, lr=0.1)
    with pytest.raises(
        AttributeError, match=r"^'SAM' object has no attribute 'momentum'$"
    ):
        _ = optimizer.momentum
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert twin.param_groups[0]["rho"] == 0.05


@pytest.mark.parametrize("optimizer", [Lookahead, Ranger, MSAM, *ASCENTS])
def test_an_optimizer_in_the_place_of_parameters_is_refused(optimizer):
    adam = torch.optim.Adam(parameters())
    name = optimizer.__name__
    rest = r"\.\.\." if optimizer is Ranger else r"Adam, \.\.\.\), also"
    words = rf"got an optimizer, Adam.* write {name}\(model\.parameters\(\), {rest}"
    with pytest.raises(TypeError, match=words):
        optimizer(adam, **({"k": 5} if optimizer is Lookahead else {}))


def test_the_form_for_an_optimizer_that_was_trained_keeps_its_state():
    params = parameters()
    adam = torch.optim.Adam(params, lr=0.01)
    params[0].grad = torch.ones(2)
    adam.step()
    wrapper = Lookahead(params, lambda params: adam, k=5)
    assert wrapper.base_optimizer is adam
    assert wrapper.state is adam.state
    assert wrapper.state[params[0]]["step"] == 1
