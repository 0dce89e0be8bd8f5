"""Stochastic weight averaging."""

import io

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.optim.swa_utils import AveragedModel

import sksharp.averaging
from sksharp import SAMMLPClassifier
from sksharp.averaging import EMA, SWA
from sksharp.training._averaging import SCHEMES

SHAPES = [(3, 4), (4,), (4, 2), (2,)]


def snapshots(n_snapshots, seed=0):
    """Weights along a run: one list of tensors for each time they are collected."""
    rng = np.random.default_rng(seed)
    return [
        [torch.from_numpy(rng.normal(size=shape)) for shape in SHAPES]
        for _ in range(n_snapshots)
    ]


def average_of(run):
    average = SWA()
    for weights in run:
        average.update(weights)
    return average


@pytest.mark.parametrize("n_snapshots", [1, 2, 3, 50])
def test_the_average_is_the_mean(n_snapshots):
    run = snapshots(n_snapshots)
    average = average_of(run)
    assert average.n_averaged == n_snapshots
    for mean, weights in zip(average.averaged, zip(*run, strict=True), strict=True):
        assert_allclose(mean, np.mean(weights, axis=0), rtol=0, atol=1e-12)


def test_the_average_is_the_averaged_model_of_torch():
    model = nn.Linear(3, 4).double()
    averaged_model, average = AveragedModel(model), SWA()
    for weight, bias, *_ in snapshots(7):
        with torch.no_grad():
            model.weight.copy_(weight.T)
            model.bias.copy_(bias)
        averaged_model.update_parameters(model)
        average.update(model.parameters())
    assert average.n_averaged == averaged_model.n_averaged
    for mean, p in zip(average.averaged, averaged_model.parameters(), strict=True):
        assert_allclose(mean, p.detach(), rtol=0, atol=1e-12)


def test_the_average_of_one_snapshot_is_the_snapshot_bit_for_bit():
    [weights] = snapshots(1)
    for mean, w in zip(average_of([weights]).averaged, weights, strict=True):
        assert torch.equal(mean, w)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str
)
def test_the_average_of_weights_that_do_not_change_is_those_weights_bit_for_bit(dtype):
    weights = [w.to(dtype) for w in snapshots(1)[0]]
    for mean, w in zip(average_of([weights] * 30).averaged, weights, strict=True):
        assert torch.equal(mean.to(dtype), w)


def test_the_order_of_the_snapshots_does_not_matter():
    run = snapshots(9)
    for mean, other in zip(
        average_of(run).averaged, average_of(run[::-1]).averaged, strict=True
    ):
        assert_allclose(mean, other, rtol=0, atol=1e-12)


def test_a_linear_model_of_the_average_predicts_the_average_of_the_predictions():
    run = snapshots(5)
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(10, 3)))
    weight, bias, *_ = average_of(run).averaged
    predictions = torch.stack([x @ w + b for w, b, *_ in run])
    assert_allclose(x @ weight + bias, predictions.mean(0), rtol=0, atol=1e-12)


def test_many_models_are_averaged_as_each_one_alone():
    runs = [snapshots(6, seed) for seed in range(3)]
    together = average_of(
        [torch.stack(w) for w in zip(*models, strict=True)]
        for models in zip(*runs, strict=True)
    )
    for k, run in enumerate(runs):
        for mean, alone in zip(
            together.averaged, average_of(run).averaged, strict=True
        ):
            assert torch.equal(mean[k], alone)


def test_a_nan_stays_in_its_model():
    run = snapshots(4)
    clean = average_of(run).averaged[0]
    run[2][0][1] = torch.nan  # the leading axis counts models
    broken = average_of(run).averaged[0]
    assert broken[1].isnan().all()
    assert torch.equal(broken[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("n_before", [0, 1, 4])
def test_an_average_that_was_saved_goes_on_as_the_uninterrupted_one(n_before):
    run = snapshots(9)
    file = io.BytesIO()
    torch.save(average_of(run[:n_before]).state_dict(), file)
    file.seek(0)
    resumed = SWA()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for weights in run[n_before:]:
        resumed.update(weights)
    assert resumed.n_averaged == 9
    for mean, whole in zip(resumed.averaged, average_of(run).averaged, strict=True):
        assert torch.equal(mean, whole)


def test_a_loaded_average_shares_nothing_with_the_one_it_came_from():
    run = snapshots(3)
    source, target = average_of(run[:1]), SWA()
    target.load_state_dict(source.state_dict())
    target.update(run[1])
    for mean, w in zip(source.averaged, run[0], strict=True):
        assert torch.equal(mean, w)


def test_the_average_never_shares_memory_with_the_parameters():
    params = [nn.Parameter(w.clone()) for w in snapshots(1)[0]]
    average = SWA()
    average.update(params)
    before = [p.detach().clone() for p in params]
    with torch.no_grad():
        for p in params:
            p.add_(1)
    for mean, w in zip(average.averaged, before, strict=True):
        assert torch.equal(mean, w)
        assert not mean.requires_grad
    average.update(params)
    for p, w in zip(params, before, strict=True):
        assert torch.equal(p.detach(), w + 1)


def test_copy_to_writes_into_the_parameters_and_leaves_the_average():
    run = snapshots(3)
    average = average_of(run)
    params = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in SHAPES]
    addresses = [p.data_ptr() for p in params]
    average.copy_to(params)
    assert [p.data_ptr() for p in params] == addresses
    for p, mean in zip(params, average.averaged, strict=True):
        assert p.requires_grad
        assert torch.equal(p.detach(), mean)
    with torch.no_grad():
        for p in params:
            p.zero_()
    for mean, whole in zip(average.averaged, average_of(run).averaged, strict=True):
        assert torch.equal(mean, whole)


def test_copy_to_before_the_first_update_is_refused():
    w = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="copy_to needs at least one update"):
        SWA().copy_to([w])
    assert w.eq(1).all()


@pytest.mark.parametrize("n_tensors", [3, 5])
def test_another_number_of_tensors_than_before_is_refused(n_tensors):
    average = average_of(snapshots(1))
    others = [torch.zeros(2, dtype=torch.float64)] * n_tensors
    with pytest.raises((ValueError, RuntimeError)):
        average.update(others)


def test_every_averaging_scheme_is_a_public_class():
    schemes = {**SCHEMES, "ema_decay": EMA}
    for name, cls in schemes.items():
        assert name in SAMMLPClassifier().get_params()
        assert getattr(sksharp.averaging, cls.__name__) is cls
    names = {cls.__name__ for cls in schemes.values()}
    assert names | {"update_bn"} == set(sksharp.averaging.__all__)
