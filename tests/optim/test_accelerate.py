"""Training by Accelerate is that of a plain loop."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sksharp.optim import MSAM, SAM, WSAM, LookSAM, Ranger, ScheduleFree

from .cases import equal

accelerate = pytest.importorskip("accelerate")

pytestmark = pytest.mark.slow  # the import

METHODS = {
    "SAM": partial(SAM, base_optimizer=torch.optim.Adam, rho=0.2, lr=0.01),
    "WSAM": partial(WSAM, rho=0.2, lr=0.1),
    "LookSAM": partial(LookSAM, base_optimizer=torch.optim.Adam, lr=0.01, looksam_k=2),
    "MSAM": partial(MSAM, rho=0.3, lr=0.1),
    "Ranger": partial(Ranger, k=4, lr=0.01),
    "ScheduleFree": partial(ScheduleFree, lr=0.01),
}
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    X = torch.randn(40, 4)
    NET = nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 2)
    )
BATCHES = list(zip(X.split(8), (X[:, 0] > 0).long().split(8), strict=True))


@pytest.fixture
def make_accelerator():
    """Accelerate's state is one for the process: each test begins and ends without."""
    from accelerate.state import AcceleratorState, GradientState

    yield partial(accelerate.Accelerator, cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def train(make, accelerator=None):
    """Return a net after a step of every batch."""
    net = deepcopy(NET)
    optimizer = make(net.parameters())
    backward = torch.Tensor.backward
    if accelerator is not None:
        net, optimizer = accelerator.prepare(net, optimizer)
        backward = accelerator.backward
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for rows, labels in BATCHES:

            def closure(rows=rows, labels=labels):
                optimizer.zero_grad()
                loss = F.cross_entropy(net(rows), labels)
                backward(loss)
                return loss.detach()

            optimizer.step(closure)
    return net


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_steps_are_those_of_a_plain_loop_bit_for_bit(make_accelerator, method):
    net = train(method, make_accelerator())
    assert equal(net.state_dict().values(), train(method).state_dict().values())


def test_bfloat16_leaves_the_weights_as_they_were_made(make_accelerator):
    net = train(METHODS["SAM"], make_accelerator(mixed_precision="bf16"))
    plain = train(METHODS["SAM"])
    assert not equal(net.parameters(), plain.parameters())
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0.05)


def test_a_closure_over_micro_batches_is_the_step_of_the_whole(make_accelerator):
    accelerator = make_accelerator(gradient_accumulation_steps=2)
    make = partial(SAM, rho=0.2, lr=0.1)
    plain = nn.Linear(4, 2)
    net = deepcopy(plain)
    by_hand = make(plain.parameters())
    net, optimizer = accelerator.prepare(net, make(net.parameters()))

    def whole():
        by_hand.zero_grad()
        loss = F.cross_entropy(plain(X[:16]), torch.cat([BATCHES[0][1], BATCHES[1][1]]))
        loss.backward()
        return loss.detach()

    def closure():
        optimizer.zero_grad()
        for rows, labels in BATCHES[:2]:
            accelerator.backward(F.cross_entropy(net(rows), labels))

    by_hand.step(whole)
    optimizer.step(closure)
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_accumulate_calls_the_closure_of_the_last_micro_batch_only(make_accelerator):
    """As the page warns: it is Accelerate that leaves the others out."""
    accelerator = make_accelerator(gradient_accumulation_steps=2)
    net = deepcopy(NET)
    net, optimizer = accelerator.prepare(net, METHODS["SAM"](net.parameters()))
    seen = []
    for i, (rows, labels) in enumerate(BATCHES[:4]):
        with accelerator.accumulate(net):

            def closure(i=i, rows=rows, labels=labels):
                seen.append(i)
                optimizer.zero_grad()
                accelerator.backward(F.cross_entropy(net(rows), labels))

            optimizer.step(closure)
    assert seen == [1, 1, 3, 3]
