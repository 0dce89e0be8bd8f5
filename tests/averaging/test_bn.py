"""Statistics of batch normalization for averaged weights."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn as update_bn_of_torch

from sksharp.averaging import update_bn

ROWS = torch.randn(64, 5, generator=torch.Generator().manual_seed(0)).double()
ROWS = 3 * ROWS + torch.arange(5)


def make_model(**options):
    generator = torch.Generator().manual_seed(1)
    layer = nn.BatchNorm1d(4, **options)
    model = nn.Sequential(
        nn.Linear(5, 4), layer, nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2)
    )
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return model.double()


def assert_same_statistics(layer, other):
    torch.testing.assert_close(
        layer.running_mean, other.running_mean, rtol=1e-12, atol=0
    )
    torch.testing.assert_close(layer.running_var, other.running_var, rtol=1e-12, atol=0)


@pytest.mark.parametrize("momentum", [0.1, None, 0.9])
@pytest.mark.parametrize("sizes", [[64], [60, 4], [30, 30, 4], [21, 22, 20, 1]])
def test_the_statistics_are_those_of_all_rows_whatever_the_batches(sizes, momentum):
    model = make_model(momentum=momentum)
    update_bn(ROWS.split(sizes), model)
    inputs = model[0](ROWS).detach()
    torch.testing.assert_close(
        model[1].running_mean, inputs.mean(0), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(
        model[1].running_var, inputs.var(0, unbiased=True), rtol=1e-12, atol=0
    )
    assert model[1].momentum == momentum
    assert model[1].num_batches_tracked == len(sizes)


def test_the_mean_is_the_mean_over_batches_weighted_by_their_rows():
    model = make_model()
    update_bn(ROWS.split([60, 4]), model)
    means = [model[0](part).detach().mean(0) for part in ROWS.split([60, 4])]
    expected = (60 * means[0] + 4 * means[1]) / 64
    torch.testing.assert_close(model[1].running_mean, expected, rtol=1e-12, atol=0)
    # torch's does not weigh them
    update_bn_of_torch(ROWS.split([60, 4]), model)
    torch.testing.assert_close(
        model[1].running_mean, (means[0] + means[1]) / 2, rtol=1e-12, atol=0
    )
    assert (model[1].running_mean - expected).abs().max() > 0.1


def test_one_batch_gives_torchs_statistics():
    model = make_model()
    other = copy.deepcopy(model)
    update_bn([ROWS], model)
    update_bn_of_torch([ROWS], other)
    assert_same_statistics(model[1], other[1])
    assert model[1].num_batches_tracked == other[1].num_batches_tracked


def test_what_came_before_is_forgotten():
    model = make_model()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[1].running_mean.fill_(1e3)
        other[1].running_var.fill_(1e3)
    update_bn(ROWS.split(16), model)
    update_bn(ROWS.split(16), other)
    assert torch.equal(model[1].running_mean, other[1].running_mean)
    assert torch.equal(model[1].running_var, other[1].running_var)


def test_positions_of_images_count_like_rows():
    layer = nn.BatchNorm2d(3).double()
    images = torch.randn(
        7, 3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    update_bn(images.split([4, 2, 1]), layer)
    positions = images.transpose(0, 1).flatten(1)
    torch.testing.assert_close(layer.running_mean, positions.mean(1))
    torch.testing.assert_close(layer.running_var, positions.var(1))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_of_one_row_counts_as_one_row_wherever_it_comes(place):
    batches = list(ROWS.split([32, 31, 1]))
    batches.insert(place, batches.pop())
    model = make_model()
    update_bn(batches, model)
    expected = model[0](ROWS).detach()
    torch.testing.assert_close(model[1].running_mean, expected.mean(0))
    torch.testing.assert_close(model[1].running_var, expected.var(0))


@pytest.mark.parametrize("batches", [[], [ROWS[:1]], [ROWS[:1], ROWS[1:2]]])
def test_too_few_rows_are_refused_and_leave_the_model_as_it_was(batches):
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="at least two rows, got"):
        update_bn(batches, model)
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)


def test_an_error_on_the_way_leaves_the_model_as_it_was():
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError):
        update_bn([ROWS, ROWS[:, :2]], model)
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)
    assert all(module.training for module in model.modules())
    assert not model[1]._forward_pre_hooks


@pytest.mark.parametrize("training", [False, True])
def test_modes_and_random_numbers_are_left_alone(training):
    model = make_model().train(training)
    model[3].train(not training)
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    update_bn(ROWS.split([60, 4]), model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_without_statistics_and_models_without_layers_are_left_alone():
    layer = nn.BatchNorm1d(5, track_running_stats=False)
    update_bn([ROWS.float()], layer)
    assert layer.running_mean is None
    update_bn(iter(()), nn.Linear(5, 2))


def test_rows_may_come_with_their_labels():
    model, other = make_model(), make_model()
    labels = torch.zeros(64)
    batches = list(zip(ROWS.split([60, 4]), labels.split([60, 4]), strict=True))
    update_bn(batches, model, device="cpu")
    update_bn(ROWS.split([60, 4]), other)
    assert torch.equal(model[1].running_mean, other[1].running_mean)


def test_half_precision_is_summed_in_single_precision():
    layer = nn.BatchNorm1d(1).to(torch.bfloat16)
    rows = (torch.arange(1024.0) % 2).reshape(-1, 1)
    update_bn(rows.bfloat16().split(64), layer)
    assert layer.running_mean.item() == 0.5


def test_a_batch_without_rows_changes_nothing():
    batches = [*ROWS.split(16)]
    expected, model = make_model(), make_model()
    update_bn(batches, expected)
    update_bn([batches[0], ROWS[:0], *batches[1:]], model)
    assert torch.equal(model[1].running_mean, expected[1].running_mean)
    assert torch.equal(model[1].running_var, expected[1].running_var)
    with pytest.raises(
        ValueError, match="loader must hold a batch of at least two rows"
    ):
        update_bn([ROWS[:0]], model)
