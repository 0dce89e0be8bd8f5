"""Members of an ensemble, collected along a training run."""

import io
import pickle

import pytest
import torch
from torch import nn

from sksharp.averaging import EMA, SWA, Snapshots


def run_of(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (4,)]
    return [[torch.randn(s, generator=generator) for s in shapes] for _ in range(n)]


def snapshots_of(run):
    snapshots = Snapshots()
    for weights in run:
        snapshots.update(weights)
    return snapshots


def assert_members(snapshots, run):
    assert len(snapshots) == len(snapshots.members) == len(run)
    for member, weights in zip(snapshots.members, run, strict=True):
        assert all(map(torch.equal, member, weights))


def test_the_members_are_what_was_collected_bit_for_bit():
    run = run_of(4)
    assert_members(snapshots_of(run), run)


def test_a_member_shares_no_memory_with_the_parameters():
    (weights,) = run_of(1)
    params = [nn.Parameter(w.clone()) for w in weights]
    snapshots = snapshots_of([params])
    with torch.no_grad():
        for p in params:
            p.add_(1)
    assert_members(snapshots, [weights])
    assert not snapshots.members[0][0].requires_grad


def test_copy_to_writes_one_member_into_the_parameters():
    run = run_of(3)
    params = [nn.Parameter(torch.zeros_like(w)) for w in run[0]]
    for k in (1, -1):
        snapshots_of(run).copy_to(params, k)
        assert all(map(torch.equal, params, run[k]))


@pytest.mark.parametrize("member", [2, -3])
def test_a_member_that_was_not_collected_is_refused(member):
    with pytest.raises(IndexError, match=rf"one of the 2 .* member={member}"):
        snapshots_of(run_of(2)).copy_to([], member)


@pytest.mark.parametrize("n_before", [0, 2])
def test_collecting_goes_on_from_a_saved_state(n_before):
    run = run_of(5)
    file = io.BytesIO()
    torch.save(snapshots_of(run[:n_before]).state_dict(), file)
    file.seek(0)
    resumed = Snapshots()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for weights in run[n_before:]:
        resumed.update(weights)
    assert_members(resumed, run)


def test_a_state_is_not_changed_by_what_comes_after():
    run = run_of(2)
    snapshots = snapshots_of(run[:1])
    state = snapshots.state_dict()
    snapshots.update(run[1])
    snapshots.members[0][0].zero_()
    other = Snapshots()
    other.load_state_dict(state)
    assert_members(other, run[:1])


@pytest.mark.parametrize(
    "make", [SWA, lambda: EMA(0.7, warm_up=True), Snapshots], ids=["SWA", "EMA", "all"]
)
def test_an_object_that_was_pickled_goes_on_as_the_uninterrupted_one(make):
    run, whole, part = run_of(6), make(), make()
    for weights in run[:3]:
        part.update(weights)
    part = pickle.loads(pickle.dumps(part))
    for weights in run[3:]:
        part.update(weights)
    for weights in run:
        whole.update(weights)
    state, expected = part.state_dict(), whole.state_dict()
    assert state.keys() == expected.keys()
    name = "members" if make is Snapshots else "averaged"
    for tensors, others in zip(state[name], expected[name], strict=True):
        if name == "averaged":
            tensors, others = [tensors], [others]
        assert all(map(torch.equal, tensors, others))


def test_a_linear_models_members_predict_as_their_average():
    """Only there: the ensemble of a network is not the network of the average."""
    run, x = run_of(5), torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    average, snapshots = SWA(), snapshots_of(run)
    outputs = []
    for k, weights in enumerate(run):
        average.update(weights)
        params = [torch.empty_like(w) for w in weights]
        snapshots.copy_to(params, k)
        outputs.append(x @ params[0] + params[1])
    mean, bias = average.averaged
    torch.testing.assert_close(torch.stack(outputs).mean(0), x @ mean + bias)
