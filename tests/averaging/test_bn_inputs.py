"""Statistics of batch normalization, whatever a batch is and however it is called."""

from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn as update_bn_of_torch

from sksharp.averaging import update_bn


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64) + 1


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def assert_counts(layer, batches):
    """Assert the statistics of all values, of batches of (n_samples, n_channels, ...)."""
    values = torch.cat([x.transpose(0, 1).flatten(1) for x in batches], 1)
    assert_close(layer.running_mean, values.mean(1))
    assert_close(layer.running_var, values.var(1))
    assert layer.num_batches_tracked == len(batches)


class Unbatched(nn.Sequential):
    def forward(self, x):
        return super().forward(x[None])


class Sequences(nn.Sequential):
    def forward(self, x):  # (n_positions, n_samples, n_channels)
        return super().forward(x.permute(1, 2, 0))


@pytest.mark.parametrize(
    ("model", "batches", "prepare"),
    [
        (nn.Sequential(nn.BatchNorm2d(3)), [draw(1, 3, 4, 5)], lambda x: x),
        (nn.Sequential(nn.BatchNorm3d(2)), [draw(1, 2, 2, 3, 4)] * 2, lambda x: x),
        # clouds of different numbers of points
        (
            nn.Sequential(nn.BatchNorm1d(3)),
            [draw(1, 3, n, seed=n) for n in (7, 2, 4)],
            lambda x: x,
        ),
        (
            Unbatched(nn.BatchNorm2d(1)),
            [draw(1, 3, 3, seed=n) for n in range(3)],
            lambda x: x[None],
        ),
        (
            Sequences(nn.BatchNorm1d(2)),
            [draw(5, 1, 2), draw(1, 4, 2), draw(1, 1, 2)],
            lambda x: x.permute(1, 2, 0),
        ),
    ],
    ids=["image", "volume", "points", "grey image", "sequence"],
)
def test_examples_may_come_one_by_one(model, batches, prepare):
    model = model.double()
    update_bn(batches, model)
    assert_counts(model[0], [prepare(x) for x in batches])


def test_an_image_is_normalized_by_its_own_positions():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.BatchNorm2d(2)).double()
    other = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.BatchNorm2d(2)).double()
    images = [draw(1, 2, 3, 3, seed=n) for n in range(4)]
    update_bn(images, model)
    update_bn_of_torch(images, other)
    # of batches alike in size the mean of means is the mean
    assert_close(model[2].running_mean, other[2].running_mean)


def test_a_layer_without_positions_waits_for_the_others():
    def pooled(x):
        return nn.functional.batch_norm(x, None, None, training=True).amax((2, 3))

    model = nn.Sequential(
        nn.BatchNorm2d(2), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.BatchNorm1d(2)
    ).double()
    batches = [draw(1, 2, 3, 3), draw(4, 2, 3, 3, seed=1), draw(1, 2, 3, 3, seed=2)]
    update_bn(batches, model)
    assert_counts(model[0], batches)
    assert_counts(model[3], [pooled(x) for x in batches])
    before = [buffer.clone() for buffer in model.buffers()]
    with pytest.raises(ValueError, match="at least two rows, got 2 batches of one"):
        update_bn(batches[::2], model)
    assert all(map(torch.equal, before, model.buffers()))
    assert all(layer.training for layer in model.modules())


Pair = namedtuple("Pair", ["x", "y"])


class Keyed(nn.Module):
    """Takes a dict, a tuple or two arguments, with a layer of their sum."""

    def __init__(self):
        super().__init__()
        self.layer = nn.BatchNorm1d(2, dtype=torch.float64)

    def forward(self, x, y=None):
        if isinstance(x, dict):
            x, y = x["x"], x.get("y")
        elif isinstance(x, tuple):
            x, y = x
        return self.layer(x if y is None else x + y)


A, B = draw(5, 2), draw(5, 2, seed=1)


@pytest.mark.parametrize(
    ("batch", "call", "expected"),
    [
        ({"x": A}, None, A),
        ({"x": A, "y": B}, None, A + B),
        ([{"x": A, "y": B}, B], None, A + B),
        (((A, B), B), None, A + B),
        ({"x": A, "y": B}, lambda model, batch: model(**batch), A + B),
        ([A, B, 0], lambda model, batch: model(batch[0], y=batch[1]), A + B),
        (Pair(A, B), lambda model, batch: model(batch.x, batch.y), A + B),
        (A, lambda model, batch: model(x=batch), A),
    ],
)
def test_a_batch_is_what_the_model_takes(batch, call, expected):
    model = Keyed()
    update_bn([batch, batch], model, call=call)
    assert_counts(model.layer, [expected, expected])


def test_all_of_a_batch_is_moved():
    class Elsewhere:
        def to(self, device):
            assert device == "cpu"
            return A

    seen, away = [], Elsewhere()
    batch = {"x": [away, (away, 3)], "y": Pair(away, {"z": away}), "n": "word"}

    def call(model, batch):
        seen.append(batch)
        model(batch["x"][0])

    update_bn([batch], Keyed(), device="cpu", call=call)
    assert seen == [{"x": [A, (A, 3)], "y": Pair(A, {"z": A}), "n": "word"}]
    assert batch["x"][0] is away
    model = Keyed()
    update_bn([away, (away, 0)], model, device="cpu")
    assert_counts(model.layer, [A, A])


@pytest.mark.parametrize("batch", [{"x": A[:0]}, ({"x": A[:0]}, B), (A[:0], B)])
def test_batches_without_rows_are_passed_over_in_every_kind(batch):
    model = Keyed()
    update_bn([batch, A, batch], model)
    assert_counts(model.layer, [A])


def test_layers_that_have_not_seen_their_size_are_taken():
    model = nn.Sequential(nn.LazyBatchNorm1d(dtype=torch.float64))
    update_bn([A], model)
    assert_counts(model[0], [A])


class Block(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + x


def in_place(module, backend):
    module.compile(backend=backend)
    return module


@pytest.mark.parametrize("compiling", [torch.compile, in_place])
@pytest.mark.parametrize("whole", [False, True])
def test_what_is_compiled_is_not_compiled_anew(compiling, whole):
    graphs = []

    def backend(module, inputs):
        graphs.append(module)
        return module

    block = Block(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU()).double()
    part = block if whole else compiling(block, backend=backend)
    model = Block(part, nn.Linear(2, 2)).double()
    if whole:
        model = compiling(model, backend=backend)
    model(A)
    (graph,) = graphs
    update_bn([A, B[:1], B[1:3]], model)
    rows = [A, B[1:3], B[:1]]
    assert_counts(block[1], [block[0](x).detach() for x in rows])
    model(A)
    assert graphs == [graph]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_layer_of_torchscript_is_refused_by_name():
    block = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).double()
    for script in (torch.jit.script(block), torch.jit.trace(block.eval(), A)):
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), script).double()
        before = [buffer.clone() for buffer in model.buffers()]
        with pytest.raises(TypeError, match=r"in Python .* as '2\.1'\. Call update_bn"):
            update_bn([A], model)
        assert all(map(torch.equal, before, model.buffers()))
    # other layers may be
    model = nn.Sequential(nn.BatchNorm1d(2), torch.jit.script(nn.Linear(2, 2)))
    update_bn([A], model.double())
    assert_counts(model[0], [A])
