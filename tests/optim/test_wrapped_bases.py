"""Wrappers are transparent: what their bases save, load and are given."""

import copy
import warnings
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from sksharp.optim import (
    ASAM,
    ESAM,
    GSAM,
    SAM,
    WSAM,
    Adam,
    FisherSAM,
    FriendlySAM,
    Lookahead,
    LookSAM,
)

from .cases import CASES, Training, equal, initial_weights

WRAPPERS = {
    "SAM": SAM,
    "SAM every third step": partial(SAM, interval=3, start=1),
    "WSAM": WSAM,
    "ASAM": ASAM,
    "GSAM": GSAM,
    "FisherSAM": FisherSAM,
    "FriendlySAM": FriendlySAM,
    "LookSAM": partial(LookSAM, looksam_k=3),
    "ESAM": ESAM,
    "Lookahead": partial(Lookahead, k=3),
    "Lookahead over FriendlySAM": lambda params, base, **rest: Lookahead(
        params, partial(FriendlySAM, base_optimizer=base), k=3, **rest
    ),
}


class Master(torch.optim.Optimizer):
    """Descent on weights in double precision, which a checkpoint keeps as they are."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    master = self.state[p].setdefault("master", p.double())
                    master.sub_(p.grad.double(), alpha=group["lr"])
                    p.copy_(master)
        return loss

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for p, state in zip(
            self.param_groups[0]["params"], state_dict["state"].values(), strict=True
        ):
            assert set(state) == {"master"}, "what is not its own"
            self.state[p]["master"] = state["master"].clone()


class Nested(Master):
    """The same in a form of its own."""

    def state_dict(self):
        groups = [{"lr": group["lr"]} for group in self.param_groups]
        masters = [self.state[p]["master"] for p in self.param_groups[0]["params"]]
        return {"masters": masters, "groups": groups, "version": 3}

    def load_state_dict(self, state_dict):
        assert set(state_dict) == {"masters", "groups", "version"}
        for group, saved in zip(self.param_groups, state_dict["groups"], strict=True):
            group.update(saved)
        params = self.param_groups[0]["params"]
        for p, master in zip(params, state_dict["masters"], strict=True):
            self.state[p]["master"] = master.clone()


@pytest.fixture(scope="module")
def zero_redundancy():
    """Return torch's optimizer whose state processes share, for the only process."""
    with warnings.catch_warnings():
        # it imports functions that torch compiles in a way that it deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.distributed.optim import ZeroRedundancyOptimizer

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield partial(ZeroRedundancyOptimizer, optimizer_class=torch.optim.Adam)
    dist.destroy_process_group()


def in_half(wrapper, base, seed=0):
    """Return the training of weights in half precision by an optimizer of its own kind."""

    def make(params):
        return wrapper(params, base, lr=0.3)

    training = Training(make, [w.bfloat16() for w in initial_weights(seed)])
    row_losses = training.row_losses

    def in_double(rows=slice(None)):
        halves = training.params
        training.params = [p.double() for p in halves]
        losses = row_losses(rows)
        training.params = halves
        return losses

    training.row_losses = in_double
    return training


@pytest.mark.parametrize("base", [Master, Nested])
@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
def test_training_resumes_from_a_checkpoint_that_the_base_writes_and_reads(
    wrapper, base, tmp_path
):
    first, resumed = in_half(wrapper, base), in_half(wrapper, base, 1)
    first.run(4)
    torch.save(first.checkpoint(), tmp_path / "checkpoint.pt")
    resumed.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    losses = first.run(5)
    assert resumed.run(5) == losses
    assert equal(resumed.params, first.params)


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
def test_training_resumes_over_a_base_whose_state_is_shared_by_processes(
    wrapper, zero_redundancy
):
    first, resumed, plain = (
        Training(lambda params, base=base: wrapper(params, base, lr=0.05), weights)
        for base, weights in (
            (zero_redundancy, initial_weights(0)),
            (zero_redundancy, initial_weights(1)),
            (torch.optim.Adam, initial_weights(0)),
        )
    )
    first.run(4)
    innermost = first.optimizer
    while hasattr(innermost, "base_optimizer"):
        innermost = innermost.base_optimizer
    innermost.consolidate_state_dict()
    saved = copy.deepcopy(first.checkpoint())
    twice = copy.deepcopy(saved)
    resumed.restore(saved)
    assert str(saved) == str(twice)  # though the base writes into what it loads
    losses = first.run(5)
    assert equal(resumed.run(5), losses)
    plain.run(9)
    assert equal(resumed.params, first.params)
    assert equal(plain.params, first.params)


def test_hooks_of_wrapper_and_base_are_called_once():
    optimizer = Lookahead([nn.Parameter(torch.ones(1))], torch.optim.SGD, lr=0.1)
    calls = []

    def changes(self, state_dict):
        calls.append("changed")
        return {**state_dict, "note": 7}

    for name, part in {"wrapper": optimizer, "base": optimizer.base_optimizer}.items():
        part.register_state_dict_pre_hook(lambda _, n=name: calls.append(f"{n} saves"))
        part.register_load_state_dict_post_hook(
            lambda _, n=name: calls.append(f"{n} has loaded")
        )
        part.register_state_dict_post_hook(changes)
        part.register_load_state_dict_pre_hook(changes)
    saved = optimizer.state_dict()
    assert saved["note"] == 7
    assert calls == ["wrapper saves", "base saves", "changed", "changed"]
    calls.clear()
    optimizer.load_state_dict(saved)
    assert calls == ["changed", "changed", "base has loaded", "wrapper has loaded"]


def test_a_hook_of_the_wrapper_changes_what_the_base_loads():
    optimizer = SAM([nn.Parameter(torch.ones(1))], torch.optim.SGD, lr=0.1)

    def faster(self, state_dict):
        groups = [{**group, "lr": 0.7} for group in state_dict["param_groups"]]
        return {**state_dict, "param_groups": groups}

    optimizer.register_load_state_dict_pre_hook(faster)
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.base_optimizer.param_groups[0]["lr"] == 0.7


def test_a_checkpoint_in_memory_is_not_written_to():
    training, resumed = (
        Training(CASES["Lookahead over Adam"].make, initial_weights(0))
        for _ in range(2)
    )
    training.run(2)
    saved = copy.deepcopy(training.optimizer.state_dict())
    before = [state["slow"].clone() for state in saved["state"].values()]
    resumed.optimizer.load_state_dict(saved)
    resumed.run(4)
    assert equal([state["slow"] for state in saved["state"].values()], before)


class Shared(torch.optim.SGD):
    """Whose first parameter is another process's to update."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.state[self.param_groups[0]["params"][0]] = None


@pytest.mark.parametrize("n_steps", [0, 3])
def test_a_base_may_have_no_state_of_a_parameter(n_steps):
    def run(base):
        params = [nn.Parameter(torch.ones(1)) for _ in range(2)]
        optimizer = Lookahead(params, base, k=2, lr=0.1)
        for step in range(5):
            if step == n_steps:
                optimizer.load_state_dict(optimizer.state_dict())
            for p in params:
                p.grad = torch.ones(1)
            optimizer.step()
        return params

    assert equal(run(Shared), run(torch.optim.SGD))


@pytest.mark.parametrize("copied", [False, True])
def test_a_group_that_is_added_is_added_by_the_base(copied):
    class Counting(torch.optim.SGD):
        n_added = 0

        def add_param_group(self, param_group):
            self.n_added += 1
            super().add_param_group(param_group)

    optimizer = SAM([nn.Parameter(torch.ones(1))], Counting, rho=0.3, lr=0.1)
    optimizer = copy.deepcopy(optimizer) if copied else optimizer
    n_before = optimizer.base_optimizer.n_added
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": 0.2})
    assert optimizer.base_optimizer.n_added == n_before + 1
    assert [group["rho"] for group in optimizer.param_groups] == [0.3, 0.3]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


# -- torch.distributed.checkpoint ------------------------------------------------------


class Module(nn.Module):
    """Whose parameters are those of a training."""

    def __init__(self, training):
        super().__init__()
        self.params = nn.ParameterList(training.params)


def resume(case, saved, first, options=None):
    """Return a new training that goes on from a saved state, and its learning rate."""
    resumed = Training(case.make, initial_weights(1))
    set_optimizer_state_dict(Module(resumed), resumed.optimizer, saved, options=options)
    with torch.no_grad():
        for p, w in zip(resumed.params, first.params, strict=True):
            p.copy_(w)
    resumed.n_steps = first.n_steps
    return resumed


@pytest.mark.parametrize("flatten", [False, True], ids=["", "flattened"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_training_resumes_from_a_state_with_names(case, flatten):
    options = StateDictOptions(flatten_optimizer_state_dict=flatten)
    first = Training(case.make, initial_weights(0))
    first.run(7)
    saved = get_optimizer_state_dict(Module(first), first.optimizer, options=options)
    resumed = resume(case, copy.deepcopy(saved), first, options)
    assert equal(first.run(5), resumed.run(5))
    assert equal(first.params, resumed.params)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        "LookSAM over SGD",
        "FriendlySAM over torch's Adam",
        "MSAM over Adam",
        "YellowFin",
    ],
)
def test_training_resumes_from_files_that_are_read_into_the_state_of_a_fresh_optimizer(
    name, tmp_path
):
    case = CASES[name]
    first = Training(case.make, initial_weights(0))
    first.run(9)
    saved = {"optimizer": get_optimizer_state_dict(Module(first), first.optimizer)}
    dcp.save(saved, checkpoint_id=tmp_path, no_dist=True)
    fresh = Training(case.make, initial_weights(1))
    lr = fresh.optimizer.param_groups[0].get("lr")
    read = {"optimizer": get_optimizer_state_dict(Module(fresh), fresh.optimizer)}
    assert fresh.optimizer.param_groups[0].get("lr") == lr
    assert equal(fresh.params, initial_weights(1))
    dcp.load(read, checkpoint_id=tmp_path, no_dist=True)
    resumed = resume(case, read["optimizer"], first)
    assert equal(first.run(5), resumed.run(5))
    assert equal(first.params, resumed.params)


@pytest.mark.parametrize("lr", [0.0, torch.tensor(0.0)])
@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
def test_a_step_without_a_closure_at_rates_and_gradients_of_zero_moves_nothing(
    wrapper, lr
):
    params = [nn.Parameter(w) for w in initial_weights(0)]
    optimizer = wrapper(params, Adam, lr=lr)
    for p in params:
        p.grad = torch.zeros_like(p)
    assert optimizer.step() is None
    assert equal(params, initial_weights(0))
    assert optimizer.state[params[0]]
    assert optimizer.param_groups[0].get("n_steps", 0) == 0


@pytest.mark.parametrize(("lr", "grad"), [(0.1, 0.0), (0.0, 1.0)])
def test_another_step_without_a_closure_is_refused(lr, grad):
    w = nn.Parameter(torch.ones(2))
    w.grad = torch.tensor([0.0, grad])
    with pytest.raises(TypeError, match=r"SAM\.step needs a closure"):
        SAM([w], torch.optim.SGD, lr=lr).step()


# -- weights that are written from outside ---------------------------------------------


@pytest.mark.parametrize("name", ["Ranger", "MSAM over Adam", "Schedule-Free"])
def test_after_reset_to_params_training_goes_on_from_weights_that_were_loaded(name):
    training = Training(CASES[name].make, initial_weights(0))
    training.run(4)
    module, best = Module(training), initial_weights(1)
    keys = module.state_dict().keys()
    module.load_state_dict(dict(zip(keys, best, strict=True)))
    training.optimizer.reset_to_params()
    assert equal(training.optimizer.evaluation_params(), best)
    with torch.no_grad():
        expected = training.loss()
    assert training.run(1) == [expected]
    training.optimizer.reset_to_params()
    kept = [w.clone() for w in training.optimizer.evaluation_params()]
    for group in training.optimizer.param_groups:
        group["lr"] = 0.0
    training.run(4)
    assert equal(training.optimizer.evaluation_params(), kept)
