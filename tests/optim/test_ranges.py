"""Numbers that kernels of single precision refuse, or take for infinite."""

import copy
import inspect

import pytest
import torch

from sksharp.optim import SAM, SGD, Adam
from sksharp.options.solvers import SOLVERS
from sksharp.training._optimizer import optimizer_class

TOO_LARGE = r"^{} must be representable in float32.*got {}=1e\+39\. Lower {}, or train"
CLASSES = {s.optimizer: optimizer_class(s) for s in SOLVERS.values()}
NARROW = (torch.float32, torch.bfloat16, torch.float16)


def too_large(name):
    return TOO_LARGE.format(name, name, name)


def make_param(dtype=torch.float32):
    return torch.nn.Parameter(torch.ones(2, 2, dtype=dtype))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_a_number_too_large_for_the_precision_is_named(cls, dtype):
    read = inspect.signature(cls).parameters.values()
    # a clip at a norm that is never reached is none
    names = {p.name for p in read if isinstance(p.default, float)} - {"max_grad_norm"}
    bounded = {
        "alpha",
        "beta",
        "beta_1",
        "beta_2",
        "decay",
        "fraction",
        "gamma",
        "momentum",
    }
    if "base_optimizer" in {p.name for p in read}:
        names |= {"lr"}
    assert names - bounded
    for number in names - bounded:
        more = {} if number == "lr" or "lr" not in names else {"lr": 0.1}
        with pytest.raises(ValueError, match=too_large(number)):
            cls([make_param(dtype)], **more, **{number: 1e39})
        # double precision holds it
        cls([make_param(torch.float64)], **more, **{number: 1e39})


@pytest.mark.parametrize("base_optimizer", [SGD, torch.optim.SGD])
def test_a_group_or_a_state_with_such_a_number_changes_nothing(base_optimizer):
    optimizer = SAM([make_param()], base_optimizer, rho=0.1, lr=0.1)
    wide = SAM([make_param(torch.float64)], base_optimizer, rho=1e39, lr=0.1)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=too_large("rho")):
        optimizer.load_state_dict(wide.state_dict())
    for number in ("lr", "rho"):
        with pytest.raises(ValueError, match=too_large(number)):
            optimizer.add_param_group({"params": [make_param()], number: 1e39})
    assert optimizer.state_dict() == before
    wide.load_state_dict(wide.state_dict())


def test_the_narrowest_parameters_of_a_group_decide():
    with pytest.raises(ValueError, match=too_large("lr")):
        Adam([make_param(torch.float64), make_param()], lr=1e39)
    largest = float(torch.finfo(torch.float32).max)
    assert Adam([make_param()], lr=largest).param_groups[0]["lr"] == largest
