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
    SGD,
    WSAM,
    Adam,
    FisherSAM,
    FriendlySAM,
    Lookahead,
    LookSAM,
    Ranger,
    ScheduleFree,
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


@pytest.mark.parametrize("optimizer", ASCENTS)
def test_another_unknown_argument_is_the_base_optimizers_to_refuse(optimizer):
    words = r"^SGD\.__init__\(\) got an unexpected keyword argument 'leaning_rate'"
    with pytest.raises(TypeError, match=words):
        optimizer(parameters(), torch.optim.SGD, leaning_rate=0.1)


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


# -- an object that stands for an optimizer, as Lightning's and Accelerate's do --------


class StandIn:
    """Subclasses the class of an optimizer and has nothing of its own but a link to it."""

    def __init__(self, optimizer):
        self._optimizer = optimizer
        self.__class__ = type("Stand", (StandIn, type(optimizer)), {})

    def __getattr__(self, name):
        return getattr(self._optimizer, name)


def closure_of(params, seen):
    """Return a closure that notes what ``seen`` returns."""

    def closure():
        for p in params:
            p.grad = None
        loss = sum(p.square().sum() for p in params)
        loss.backward()
        passes.append(seen())
        return loss.detach()

    passes = closure.passes = []
    return closure


def rows_of(params, seen):
    """Return a closure as ESAM's."""

    def closure(rows=slice(None)):
        passes.append(seen())
        return sum(p.square().sum() for p in params).expand(4)[rows]

    passes = closure.passes = []
    return closure


@pytest.mark.parametrize("stand", [lambda optimizer: optimizer, StandIn])
@pytest.mark.parametrize("outer", [None, Lookahead])
@pytest.mark.parametrize("optimizer", ASCENTS)
def test_a_closure_can_tell_the_second_pass_from_the_first(optimizer, outer, stand):
    params = parameters()
    make = partial(optimizer, base_optimizer=torch.optim.SGD, start=1, lr=0.1)
    made = make(params) if outer is None else outer(params, make)
    asked = stand(made)
    form = rows_of if optimizer is ESAM else closure_of
    closure = form(params, lambda: asked.is_second_pass)
    for _ in range(2):
        made.step(closure)
    first, *second = closure.passes[1:]
    assert closure.passes[0] is first is False  # a step with one pass, and one with two
    assert all(second)
    assert not made.is_second_pass


def test_a_closure_that_fails_ends_the_second_pass():
    params = parameters()
    optimizer = SAM(params, torch.optim.SGD, lr=0.1)
    closure = closure_of(params, lambda: 1 / (not optimizer.is_second_pass))
    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    assert not optimizer.is_second_pass


@pytest.mark.parametrize(
    "optimizer", [SGD, Adam, ScheduleFree, MSAM, Ranger, Lookahead]
)
def test_optimizers_with_one_gradient_have_no_second_pass(optimizer):
    params = parameters()
    made = optimizer(params, lr=0.1)
    closure = closure_of(params, lambda: made.is_second_pass)
    made.step(closure)
    assert closure.passes == [False]


@pytest.mark.parametrize("optimizer", [SAM, Lookahead, MSAM])
def test_a_group_can_be_added_through_an_object_that_stands_for_a_wrapper(optimizer):
    added = []

    class Base(torch.optim.SGD):
        def add_param_group(self, group):
            added.append(group)
            super().add_param_group(group)

    made = optimizer(parameters(), Base, lr=0.1)
    added.clear()
    StandIn(made).add_param_group({"params": parameters(), "lr": 0.5})
    assert len(added) == 1
    assert made.param_groups[1].keys() == made.param_groups[0].keys()
