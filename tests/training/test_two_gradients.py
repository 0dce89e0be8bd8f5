"""The two-gradient methods in the engine: weights in one vector, parts, rows."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sksharp.optim import ESAM
from sksharp.optim.esam import select_weights
from sksharp.options.solvers import SOLVERS
from sksharp.training._gradient import Backprop, Batch
from sksharp.training._losses import LOSSES
from sksharp.training._module import MLPModule
from sksharp.training._optimizer import make_optimizer
from sksharp.training._parts import MAX_WEIGHTS, Parts
from sksharp.training._step import Evaluation

from ..solvers import of_chain, specs

UNITS = [4, 6, 5, 3]
ALPHA = 0.3
ASCENTS = [name for name, solver in SOLVERS.items() if solver.is_two_gradient]
VALUES = {
    "learning_rate_init": 0.05,
    "momentum": 0.8,
    "nesterovs_momentum": True,
    "rho": 0.2,
}
OPTIONS = {
    "wsam": {"gamma": 0.8},
    "asam": {"eta": 0.1},
    "gsam": {"alpha": 0.4},
    "fisher_sam": {"eta": 100.0},
    "friendly_sam": {"sigma": 1.0, "decay": 0.6},
    "looksam": {"k": 2, "alpha": 0.7},
    "esam": {"fraction": 0.3},
}
rng = np.random.RandomState(0)
START = torch.from_numpy(rng.normal(0, 0.5, MLPModule(UNITS, "tanh").flat.numel()))


def make_batches(*, weighted=False, sparse=False, n_models=None):
    batches = []
    for n in [10, 10, 4, 10]:
        X = torch.from_numpy(rng.normal(size=(n, UNITS[0])))
        X = (X * (X > -0.5)).to_sparse() if sparse else X
        y = torch.from_numpy(np.eye(3)[rng.randint(3, size=n)])
        weights = torch.from_numpy(rng.uniform(0.1, 2, size=n)) if weighted else None
        total = float(weights.sum()) if weighted else float(n)
        batches.append(Batch(X, y, weights, total))
    return batches


def of_models(*batches):
    """Return the minibatches of several models as one."""
    weights, total = None, batches[0].weight_sum
    if batches[0].sample_weight is not None:
        weights = torch.stack([batch.sample_weight for batch in batches])
        total = weights.sum(-1)
    X, y = (torch.stack([getattr(batch, n) for batch in batches]) for n in "Xy")
    return Batch(X, y, weights, total)


def specs_of(solver, **values):
    """Return a solver over gradient descent, with other values than above."""
    return specs(solver, "sgd", VALUES | of_chain(solver, "sgd", OPTIONS) | values)


def make_engine(solver, start=START, **values):
    module = MLPModule(UNITS, "tanh", model_shape=tuple(start.shape[:-1]))
    with torch.no_grad():
        module.flat.copy_(start)
    optimizer = make_optimizer(
        [module.flat],
        specs_of(solver, **values),
        model_ndim=start.ndim - 1,
        layout=module.shapes,
    )
    return module, Backprop(module, LOSSES["softmax"], ALPHA), optimizer


def train(solver, batches, micro_batch_size=None, start=START, **values):
    """Train as the engine does and return the weights."""
    module, gradient, optimizer = make_engine(solver, start, **values)
    for batch in batches:
        shape = (*start.shape[:-1], *batch.y.shape[-2:])
        mean = torch.empty(shape, dtype=torch.float64)
        parts = batch.cut(micro_batch_size or len(batch))
        optimizer.step(
            [
                (Evaluation(gradient, part, mean[..., rows, :], None), part.weight_sum)
                for rows, part in parts
            ]
        )
    return module.flat.detach()


def train_at_once(solver, batches, size, start=START, **values):
    """Train with the parts of a minibatch at once and return the weights."""
    module, gradient, optimizer = make_engine(solver, start, **values)
    make = partial(MLPModule, UNITS, "tanh")
    parts = Parts(make, gradient.flat, gradient.loss, ALPHA, size)
    means = []
    for batch in batches:
        shape = (*start.shape[:-1], *batch.y.shape[-2:])
        mean = torch.empty(shape, dtype=torch.float64)
        whole = Evaluation(gradient, batch, mean, None)
        closure = whole
        if parts.take(batch):
            closure = parts.evaluation(whole, batch, mean)
        optimizer.step(closure)
        means.append(mean)
    return module.flat.detach(), means


def train_by_autograd(solver, batches, micro_batch_size=None):
    """Train with a tensor per layer, closures by autograd, and return the weights."""
    module = MLPModule(UNITS, "tanh")
    coefs, intercepts = module.split(START.clone())
    params = [nn.Parameter(part.clone()) for part in (*coefs, *intercepts)]
    optimizer = make_optimizer(params, specs_of(solver))
    n_layers = len(coefs)

    def objectives(batch, whole, rows=slice(None)):
        z = batch.X[rows]
        for i in range(n_layers):
            z = torch.tanh(z) if i else z
            z = z @ params[i] + params[n_layers + i]
        losses = -(batch.y[rows] * torch.log_softmax(z, -1)).sum(-1)
        squares = sum(p.square().sum() for p in params[:n_layers])
        if batch.sample_weight is not None:
            losses = losses * batch.sample_weight[rows]
        return losses, ALPHA * squares / 2 / whole

    def closure(batch, whole, *rows):
        losses, penalty = objectives(batch, whole, *rows)
        if isinstance(optimizer, ESAM):
            return losses + penalty
        optimizer.zero_grad()
        objective = losses.sum() / batch.weight_sum + penalty
        objective.backward()
        return objective

    for batch in batches:
        parts = [part for _, part in batch.cut(micro_batch_size or len(batch))]
        optimizer.step(
            [(partial(closure, p, batch.weight_sum), p.weight_sum) for p in parts]
        )
    return torch.cat([p.detach().flatten() for p in params])


@pytest.mark.parametrize("micro_batch_size", [None, 3])
@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("solver", ASCENTS)
def test_one_vector_of_weights_trains_as_a_tensor_per_layer(
    solver, weighted, micro_batch_size
):
    if solver == "esam" and weighted:
        pytest.skip("a closure of ESAM has no weights of rows")
    batches = make_batches(weighted=weighted)
    weights = train(solver, batches, micro_batch_size)
    expected = train_by_autograd(solver, batches, micro_batch_size)
    assert_allclose(weights, expected, rtol=0, atol=1e-12)
    assert abs(weights - START).max() > 1e-2


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("micro_batch_size", [1, 3, 4, 9])
def test_the_parts_of_a_minibatch_have_its_gradient(micro_batch_size, weighted):
    """The mean of theirs, weighted by their totals, the penalty included."""
    batches = make_batches(weighted=weighted)
    parts = train("sam", batches, micro_batch_size, rho=0.0)
    assert_allclose(parts, train("sam", batches, rho=0.0), rtol=0, atol=1e-12)


AT_ONCE = [name for name in ASCENTS if name not in ("esam", "friendly_sam")]


@pytest.mark.parametrize("models", ["one", "many", "rows of their own"])
@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("solver", AT_ONCE)
def test_parts_at_once_are_the_parts_one_by_one(solver, size, weighted, models):
    batches, start, values = make_batches(weighted=weighted), START, {}
    if models != "one":
        start = torch.stack([START, START.flip(0), 2 * START])
        values = {
            "rho": torch.tensor([0.05, 0.2, 1.0], dtype=torch.float64),
        }
        if solver == "asam":
            values["solver__eta"] = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
    if models == "rows of their own":
        others = [make_batches(weighted=weighted) for _ in range(2)]
        batches = [of_models(*each) for each in zip(batches, *others, strict=True)]
    values |= {"solver__interval": 2} if size == 3 else {}
    at_once, _ = train_at_once(solver, batches, size, start, **values)
    one_by_one = train(solver, batches, size, start, **values)
    assert_allclose(at_once, one_by_one, rtol=0, atol=1e-12)
    assert abs(at_once - start).max() > 1e-2


@pytest.mark.parametrize("size", [3, 5])
def test_parts_at_once_leave_the_prediction_before_the_step(size):
    batches = make_batches()
    _, (first,) = train_at_once("sam", batches[:1], size)
    _, gradient, _ = make_engine("sam")
    expected = torch.empty_like(first)
    gradient.predict(batches[0], expected)
    assert_allclose(first, expected, rtol=0, atol=1e-15)


def test_large_networks_take_parts_one_by_one():
    flat = torch.zeros(MAX_WEIGHTS // 4)
    parts = Parts(None, flat, None, 0.0, 3)
    rows = torch.zeros(16, 2)
    sizes = [n for n in range(1, 17) if parts.take(Batch(rows[:n], rows[:n], None, n))]
    assert sizes == list(range(4, 13))  # two to four parts


@pytest.mark.parametrize("micro_batch_size", [3, 4])
@pytest.mark.parametrize("solver", ASCENTS)
def test_sparse_rows_train_as_dense_ones(solver, micro_batch_size):
    batches = make_batches(sparse=True, weighted=True)
    dense = [Batch(b.X.to_dense(), b.y, b.sample_weight, b.weight_sum) for b in batches]
    for size in (None, micro_batch_size):
        sparse_weights = train(solver, batches, size)
        assert_allclose(sparse_weights, train(solver, dense, size), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("solver", ASCENTS)
def test_many_models_cut_and_select_as_each_one_alone(solver, weighted, sparse):
    batches = make_batches(weighted=weighted, sparse=sparse)
    starts = torch.stack([START, START.flip(0), 2 * START])
    rho = torch.tensor([0.05, 0.2, 1.0], dtype=torch.float64)
    for size in (None, 3):
        together = train(solver, batches, size, starts, rho=rho)
        for k in range(3):
            alone = train(solver, batches, size, starts[k], rho=rho[k].item())
            assert_allclose(together[k], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("solver", ASCENTS)
def test_many_models_on_rows_of_their_own_cut_and_select_as_each_one_alone(
    solver, weighted
):
    starts = torch.stack([START, 2 * START])
    firsts, seconds = make_batches(weighted=weighted), make_batches(weighted=weighted)
    joined = [of_models(*each) for each in zip(firsts, seconds, strict=True)]
    for size in (None, 3):
        together = train(solver, joined, size, starts)
        for k, batches in enumerate([firsts, seconds]):
            alone = train(solver, batches, size, starts[k])
            assert_allclose(together[k], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.8, 1.0])
def test_esam_takes_a_row_of_weight_two_as_two_rows(fraction):
    """And one of weight zero as none."""
    [batch, *_] = make_batches()
    n_copies = torch.tensor([0, 1, 2, 3, 0, 1, 1, 2, 5, 1])
    total = float(n_copies.sum())
    weighted = Batch(batch.X, batch.y, n_copies.double(), total)
    X, y = (part.repeat_interleave(n_copies, 0) for part in (batch.X, batch.y))
    repeated = Batch(X, y, None, total)
    assert_allclose(
        train("esam", [weighted], solver__fraction=fraction),
        train("esam", [repeated], solver__fraction=fraction),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("scale", [1e-6, 0.01])
def test_esam_selects_by_weights_of_any_scale(scale):
    """Half of the weight, cut within a row, where it is less than one."""
    rise = torch.tensor([[3.0, 1.0, 2.0, 0.0]], dtype=torch.float64)
    weights = scale * torch.tensor([1.0, 4.0, 2.0, 3.0], dtype=torch.float64)
    selected = select_weights(rise, weights, 0.5)
    assert_allclose(selected / scale, [[1.0, 2.0, 2.0, 0.0]], rtol=1e-12)


def test_a_part_whose_rows_have_no_weight_counts_for_nothing():
    [batch, *_] = make_batches(weighted=True)
    batch.sample_weight[3:6] = 0
    batch.weight_sum = float(batch.sample_weight.sum())
    rows = [0, 1, 2, 6, 7, 8, 9]
    kept = Batch(
        batch.X[rows], batch.y[rows], batch.sample_weight[rows], batch.weight_sum
    )
    for solver in ("sam", "wsam", "friendly_sam", "fisher_sam"):
        weights = train(solver, [batch], 3)
        assert torch.isfinite(weights).all()
        if solver != "friendly_sam":  # which sees a gradient of zero
            assert_allclose(weights, train(solver, [kept], 3), rtol=0, atol=1e-12)
            at_once, _ = train_at_once(solver, [batch], 3)
            assert_allclose(at_once, weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
def test_esam_evaluates_rows_once_at_each_of_its_two_places(weighted, monkeypatch):
    """The selected rows are differentiated from the pass that gave their losses."""
    predicted, differentiated = [], []
    predict, differentiate = Backprop.predict, Backprop.differentiate

    def noting_predict(self, batch, mean):
        predicted.append(len(batch))
        predict(self, batch, mean)

    def noting_differentiate(self, batch, mean):
        differentiated.append(len(batch))
        differentiate(self, batch, mean)

    monkeypatch.setattr(Backprop, "predict", noting_predict)
    monkeypatch.setattr(Backprop, "differentiate", noting_differentiate)
    batch = make_batches(weighted=weighted)[0]
    train("esam", [batch], solver__fraction=0.5)
    n = len(batch)
    assert predicted == [n, n]
    assert differentiated == [n, n if weighted else round(0.5 * n)]
