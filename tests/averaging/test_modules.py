"""Averages of the weights of torch's modules: compiled, tied and frozen ones."""

import copy

import pytest
import torch
from torch import nn

from sksharp.averaging import EMA, SWA, Snapshots, update_bn

AVERAGES = {
    "SWA": SWA,
    "EMA": lambda: EMA(decay=0.7),
    "Snapshots": Snapshots,
}
each_average = pytest.mark.parametrize("make", AVERAGES.values(), ids=AVERAGES)

X = torch.arange(48.0).reshape(12, 4).sin()


def make_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)
        )


def walk(params, average, n_steps=3):
    """Move the weights that are trained, and average them."""
    for step in range(n_steps):
        with torch.no_grad():
            for p in params:
                if p.requires_grad:
                    p.add_(torch.full_like(p, 0.1 * (step + 1)))
        average.update(params)


def written(average, params):
    """Write the average, or the first member, into parameters."""
    if isinstance(average, Snapshots):
        average.copy_to(params, 0)
    else:
        average.copy_to(params)


@each_average
def test_the_average_of_a_compiled_module_is_that_of_the_module(make):
    plain, original = make_model(), make_model()
    compiled = torch.compile(original, backend="eager")
    compiled(X)
    plain(X)
    for model in (plain, compiled):
        average, params = make(), list(model.parameters())
        walk(params, average)
        written(average, params)
        model.eval()
    # what was compiled computes with what was written
    assert torch.equal(compiled(X), plain(X))
    assert torch.equal(original[0].weight, plain[0].weight)


@each_average
def test_tied_parameters_are_averaged_once_and_stay_tied(make):
    encoder, decoder = nn.Linear(4, 4), nn.Linear(4, 4)
    decoder.weight = encoder.weight
    model = nn.Sequential(encoder, decoder)
    average, params = make(), list(model.parameters())
    assert len(params) == 3
    start = encoder.weight.detach().clone()
    walk(params, average)
    written(average, params)
    assert decoder.weight is encoder.weight
    mean = {SWA: (0.1 + 0.3 + 0.6) / 3, EMA: 0.49 * 0.1 + 0.21 * 0.3 + 0.3 * 0.6}
    expected = start + mean.get(type(average), 0.1)
    assert torch.allclose(encoder.weight, expected, rtol=0, atol=1e-6)


@each_average
def test_a_frozen_parameter_is_its_average_bit_for_bit_and_stays_frozen(make):
    model = make_model()
    model[0].weight.requires_grad_(False)
    average, params = make(), list(model.parameters())
    start = model[0].weight.clone()
    walk(params, average)
    written(average, params)
    assert torch.equal(model[0].weight, start)
    assert [p.requires_grad for p in params] == [False] + [True] * (len(params) - 1)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("was_called", [False, True])
def test_the_statistics_of_a_compiled_module_are_those_of_the_module(
    in_place, was_called
):
    plain, original = make_model(), make_model()
    compiled = original if in_place else torch.compile(original, backend="eager")
    if in_place:
        original.compile(backend="eager")
    if was_called:
        before = copy.deepcopy(original.state_dict())
        compiled(X)
        original.load_state_dict(before)
    update_bn(X.split(5), plain)
    update_bn(X.split(5), compiled)
    for name, buffer in plain.named_buffers():
        assert torch.equal(original.get_buffer(name), buffer)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("make", [SWA, EMA], ids=["SWA", "EMA"])
def test_the_average_of_half_precision_is_that_of_single_precision(
    make, resumed, dtype
):
    half, single = make(), make()
    for step in range(1000):
        w = torch.tensor([float(step > 500), 1.0 + step % 2], dtype=dtype)
        half.update([w])
        single.update([w.float()])
        if resumed and step == 300:
            state, half = half.state_dict(), make()
            half.load_state_dict(state)
    assert torch.equal(half.averaged[0], single.averaged[0])
    half.copy_to([w])
    assert torch.equal(w, single.averaged[0].to(dtype))


@pytest.mark.parametrize(
    "shapes", [[(2,), (3,)], [(2,), (1,)], [(2,)], [(2,), (2,), (2,)]], ids=str
)
@each_average
def test_tensors_of_other_shapes_change_nothing(make, shapes):
    average = make()
    average.update([torch.zeros(2), torch.zeros(2)])
    before = copy.deepcopy(average.state_dict())
    others = [torch.ones(shape) for shape in shapes]
    with pytest.raises(ValueError, match=r"\[\(2,\), \(2,\)\], got \[\(2,\)"):
        average.update(others)
    assert repr(average.state_dict()) == repr(before)
    with pytest.raises(ValueError, match="params must have the shapes"):
        written(average, others)
    assert all(other.eq(1).all() for other in others)


@pytest.mark.parametrize("make", [SWA, EMA], ids=["SWA", "EMA"])
def test_integers_have_no_average(make):
    average = make()
    with pytest.raises(TypeError, match=r"got a tensor of torch\.int64"):
        average.update([torch.zeros(2), torch.tensor(3)])
    assert not average.n_averaged
    average.update(torch.ones(2).to(torch.complex64) for _ in range(2))
    average.update([torch.full((2,), 1j)] * 2)
    share = 1 - average.decay if make is EMA else 0.5
    assert torch.allclose(average.averaged[0], torch.tensor(1 - share + share * 1j))


def test_the_statistics_of_a_compiled_module_are_taken_without_compiling():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    update_bn(X.split(5), torch.compile(make_model(), backend=backend))
    assert not graphs


def test_a_layer_may_be_called_by_keyword():
    class ByKeyword(nn.BatchNorm1d):
        def __call__(self, x):
            return super().__call__(input=x)

    layer, plain = ByKeyword(4), nn.BatchNorm1d(4)
    for model in (layer, plain):
        update_bn(X.split(5), model)
    assert torch.equal(layer.running_var, plain.running_var)


@each_average
def test_what_are_no_tensors_is_refused_by_name(make):
    model = nn.Sequential(nn.Linear(2, 2))
    for params in (model, model[0], model.named_parameters(), model.state_dict()):
        with pytest.raises(
            TypeError, match=r"params must be tensors, .*parameters\(\)"
        ):
            make().update(params)
    with pytest.raises(ValueError, match="params must hold at least one tensor"):
        make().update(iter(()))


# -- for an evaluation in the middle of a run -------------------------------------------


def evaluating(average, params):
    """Return the context with the average, or with the first member."""
    if isinstance(average, Snapshots):
        return average.evaluating(params, 0)
    return average.evaluating(params)


@each_average
def test_training_goes_on_after_an_evaluation_as_without_it(make):
    runs = []
    for evaluates in (False, True):
        model, average = make_model(), make()
        params = list(model.parameters())
        for _ in range(3):
            walk(params, average)
            if evaluates:
                other = copy.deepcopy(params)
                with evaluating(average, iter(params)):
                    assert torch.is_grad_enabled()
                    seen = [p.detach().clone() for p in params]
                written(average, other)
                assert all(map(torch.equal, seen, other))
                assert not torch.equal(seen[0], params[0])
        runs.append([*params, *(w for ws in state_of(average) for w in ws)])
    assert all(map(torch.equal, *runs))


def state_of(average):
    """Return the tensors that an average keeps."""
    is_ensemble = isinstance(average, Snapshots)
    return average.members if is_ensemble else [average.averaged]


@each_average
def test_the_weights_are_back_after_an_evaluation_that_fails(make):
    params, average = list(make_model().parameters()), make()
    walk(params, average)
    before = [p.detach().clone() for p in params]
    with pytest.raises(RuntimeError, match="of the user"), evaluating(average, params):
        raise RuntimeError("of the user's")
    assert all(map(torch.equal, params, before))


@each_average
def test_no_average_yet_is_no_context(make):
    params = [torch.ones(2)]
    with pytest.raises((ValueError, IndexError)), evaluating(make(), params):
        raise AssertionError("never entered")
    assert torch.equal(params[0], torch.ones(2))


@each_average
@pytest.mark.parametrize("state", [{}, {"step": 1}], ids=["empty", "other"])
def test_a_state_without_the_keys_of_one_is_refused(make, state):
    params, average = [torch.ones(2)], make()
    average.update(params)
    with pytest.raises(ValueError, match=r"state_dict must have the keys .*got \["):
        average.load_state_dict(state)
    written(average, params)
    assert torch.equal(params[0], torch.ones(2))


@pytest.mark.parametrize("begins", ["update", "load_state_dict"])
@pytest.mark.parametrize("average", [SWA, EMA])
def test_an_average_that_begins_in_inference_mode_goes_on_outside(average, begins):
    """As in the hooks of Lightning around a validation."""
    w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    plain, begun = average(), average()
    plain.update([w])
    with torch.inference_mode():
        if begins == "update":
            begun.update([w.clone()])
        else:
            begun.load_state_dict(plain.state_dict())
    for one in (plain, begun):
        one.update([w + 1])
    assert torch.equal(begun.averaged[0], plain.averaged[0])
    assert not begun.averaged[0].requires_grad
