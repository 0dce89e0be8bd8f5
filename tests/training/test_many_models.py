import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sksharp.averaging import SWA
from sksharp.training._gradient import Backprop, Batch
from sksharp.training._module import MLPModule
from sksharp.training._optimizer import make_optimizer
from sksharp.training._step import Evaluation

from ..losses import LOSSES
from ..solvers import every_solver, of_chain, specs

K = 3
UNITS = [4, 6, 5, 3]
ALPHA = torch.tensor([0.0, 0.01, 2.0], dtype=torch.float64)
# one value per model; what counts steps or rows is shared
VALUES = {
    "learning_rate_init": torch.tensor([0.003, 0.01, 0.1], dtype=torch.float64),
    "momentum": torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64),
    "nesterovs_momentum": True,
    "beta_1": torch.tensor([0.0, 0.8, 0.95], dtype=torch.float64),
    "beta_2": torch.tensor([0.2, 0.9, 0.999], dtype=torch.float64),
    "epsilon": torch.tensor([1e-8, 1e-5, 1e-2], dtype=torch.float64),
    "rho": torch.tensor([0.01, 0.05, 0.5], dtype=torch.float64),
}
DECAY = torch.tensor([0.0, 0.1, 1.0], dtype=torch.float64)
LOOKAHEAD = {"k": 4, "alpha": torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)}
OPTIONS = {
    "wsam": {"gamma": torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64)},
    "asam": {"eta": torch.tensor([0.0, 0.01, 0.5], dtype=torch.float64)},
    "gsam": {"alpha": torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)},
    "fisher_sam": {"eta": torch.tensor([0.0, 1.0, 100.0], dtype=torch.float64)},
    "friendly_sam": {
        "sigma": torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64),
        "decay": torch.tensor([0.0, 0.6, 0.9], dtype=torch.float64),
    },
    "looksam": {"k": 2, "alpha": torch.tensor([0.0, 0.2, 0.7], dtype=torch.float64)},
    "esam": {"fraction": 0.3},
    "ranger": LOOKAHEAD,
    "lookahead": LOOKAHEAD,
    "adamw": {"weight_decay": DECAY},
    "schedule_free": {
        "weight_decay": DECAY,
        "warmup_steps": torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64),
    },
    "muon": {
        "momentum": torch.tensor([0.0, 0.5, 0.95], dtype=torch.float64),
        "weight_decay": DECAY,
    },
}


def values_of(solver, base_solver):
    return VALUES | of_chain(solver, base_solver, OPTIONS)


def alone(value, k):
    return value[k].item() if isinstance(value, torch.Tensor) else value


def make_batches(out_activation="softmax", *, weighted=True, sparse=False):
    """Return two epochs of minibatches, each with a short last one."""
    rng = np.random.RandomState(0)
    draw = {
        **dict.fromkeys(LOSSES, lambda n: rng.normal(size=(n, 3))),
        "softmax": lambda n: np.eye(3)[rng.randint(3, size=n)],
        "logistic": lambda n: rng.randint(2, size=(n, 3)).astype(float),
        "exp": lambda n: rng.poisson(1.0, size=(n, 3)).astype(float),
    }[out_activation]
    batches = []
    for n in [10, 10, 4] * 2:
        X = torch.from_numpy(rng.normal(size=(n, UNITS[0])))
        X = (X * (X > 0)).to_sparse() if sparse else X
        weights = torch.from_numpy(rng.uniform(0.5, 2, size=n)) if weighted else None
        total = float(weights.sum()) if weighted else float(n)
        batches.append(Batch(X, torch.from_numpy(draw(n)), weights, total))
    return batches


def start_weights():
    n_params = MLPModule(UNITS, "tanh").flat.numel()
    return torch.from_numpy(np.random.RandomState(1).normal(0, 0.5, (K, n_params)))


def train(start, batches, solver, base_solver, values, alpha, out_activation="softmax"):
    """Return the weights, the predictions before each step and the average."""
    module = MLPModule(UNITS, "tanh", model_shape=tuple(start.shape[:-1]))
    with torch.no_grad():
        module.flat.copy_(start)
    gradient = Backprop(module, LOSSES[out_activation], alpha)
    optimizer = make_optimizer(
        [module.flat],
        specs(solver, base_solver, values),
        model_ndim=start.ndim - 1,
        layout=module.shapes,
    )
    average, means = SWA(), []
    for i, batch in enumerate(batches):
        shape = (*start.shape[:-1], *batch.y.shape)
        # the first evaluation of a step comes before it
        means.append(torch.empty(shape, dtype=torch.float64))
        optimizer.step(Evaluation(gradient, batch, means[-1], None))
        if i % 3 == 2:  # an epoch
            average.update(optimizer.evaluation_params())
    (weights,) = optimizer.evaluation_params()
    return weights.detach(), means, average.averaged[0]


def assert_each_trains_as_alone(batches, solver, base_solver, **options):
    start, each = start_weights(), values_of(solver, base_solver)
    weights, means, averaged = train(
        start, batches, solver, base_solver, each, ALPHA, **options
    )
    for k in range(K):
        values = {name: alone(value, k) for name, value in each.items()}
        expected = train(
            start[k], batches, solver, base_solver, values, ALPHA[k].item(), **options
        )
        assert_allclose(weights[k], expected[0], rtol=1e-12, atol=1e-12)
        assert_allclose(averaged[k], expected[2], rtol=1e-12, atol=1e-12)
        for mean, mean_alone in zip(means, expected[1], strict=True):
            assert_allclose(mean[k], mean_alone, rtol=1e-12, atol=1e-12)
        assert abs(weights[k] - start[k]).max() > 1e-4


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@every_solver
def test_many_models_train_as_each_one_alone(solver, base_solver, sparse):
    assert_each_trains_as_alone(make_batches(sparse=sparse), solver, base_solver)


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("out_activation", sorted(LOSSES.keys() - {"four quantiles"}))
def test_many_models_train_as_each_one_alone_on_every_loss(out_activation, weighted):
    batches = make_batches(out_activation, weighted=weighted)
    assert_each_trains_as_alone(batches, "sam", "adam", out_activation=out_activation)


@every_solver
def test_a_model_that_diverges_does_not_disturb_the_others(solver, base_solver):
    start, batches = start_weights(), make_batches()
    values = values_of(solver, base_solver)
    weights, _, averaged = train(start, batches, solver, base_solver, values, ALPHA)
    broken = start.clone()
    broken[1] = torch.nan
    others, _, others_averaged = train(
        broken, batches, solver, base_solver, values, ALPHA
    )
    assert torch.isnan(others[1]).all()
    assert torch.isnan(others_averaged[1]).all()
    for k in (0, 2):
        assert_array_equal(others[k], weights[k])
        assert_array_equal(others_averaged[k], averaged[k])


@every_solver
def test_a_value_for_all_models_is_that_value_for_each(solver, base_solver):
    start, batches = start_weights(), make_batches()
    values = values_of(solver, base_solver)
    shared = {name: alone(value, 1) for name, value in values.items()}
    each = {
        name: value.new_full((K,), value[1].item()) if torch.is_tensor(value) else value
        for name, value in values.items()
    }
    weights, _, _ = train(start, batches, solver, base_solver, shared, 0.1)
    expected, _, _ = train(
        start, batches, solver, base_solver, each, torch.full_like(ALPHA, 0.1)
    )
    assert_allclose(weights, expected, rtol=1e-12, atol=1e-12)
