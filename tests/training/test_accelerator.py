"""The engine on an accelerator that has no kernels, only devices.

Tensors are fake: they have a shape, a dtype and a device, and no values. Operations that
mix devices and operations that need a value on the host raise.
"""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sksharp import SAMMLPClassifier, SAMMLPRegressor, averaging
from sksharp.options import SWA, InputNoise
from sksharp.training._gradient import Backprop, Batch
from sksharp.training._losses import LOSSES
from sksharp.training._module import ACTIVATIONS, MLPModule
from sksharp.training._optimizer import make_optimizer
from sksharp.training._step import Evaluation

from ..solvers import every_solver, of_chain, specs

fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")
registration = pytest.importorskip("torch.utils.backend_registration")

SINGLE = {
    "learning_rate_init": 0.01,
    "momentum": 0.9,
    "nesterovs_momentum": True,
    "beta_1": 0.9,
    "beta_2": 0.99,
    "epsilon": 1e-8,
    "rho": 0.05,
}
OPTIONS = {
    "wsam": {"gamma": 0.9},
    "asam": {"eta": 0.01},
    "gsam": {"alpha": 0.4},
    "fisher_sam": {"eta": 1.0},
    "friendly_sam": {"sigma": 1.0, "decay": 0.9},
    "looksam": {"k": 2, "alpha": 0.7},
    "esam": {"fraction": 0.5},
    "ranger": {"k": 3, "alpha": 0.5},
    "lookahead": {"k": 3, "alpha": 0.5},
    "adamw": {"weight_decay": 0.1},
    "schedule_free": {"weight_decay": 0.1, "warmup_steps": 2},
    "muon": {"momentum": 0.95, "weight_decay": 0.1},
}


@pytest.fixture(scope="module")
def accelerator():
    """Register the fake accelerator, once per process."""
    if torch._C._get_privateuse1_backend_name() == "privateuseone":
        if not hasattr(registration, "_setup_privateuseone_for_python_backend"):
            pytest.skip("this torch cannot register a device without kernels")
        registration._setup_privateuseone_for_python_backend("accel")
    return torch.device(torch._C._get_privateuse1_backend_name(), 0)


@pytest.fixture
def fake(accelerator):
    with fake_tensor.FakeTensorMode(allow_non_fake_inputs=False):
        yield accelerator


def make_parts(device, out_activation="softmax", activation="relu", model_shape=()):
    n_outputs = 3
    module = MLPModule(
        [4, 5, n_outputs],
        activation,
        model_shape=model_shape,
        dtype=torch.float32,
        device=device,
    )
    gradient = Backprop(module, LOSSES[out_activation], 0.1)
    batches = [
        Batch(
            torch.empty(n, 4, device=device),
            torch.empty(n, n_outputs, device=device),
            torch.empty(n, device=device),
            float(n),
        )
        for n in (8, 8, 3)
    ]
    return module, gradient, batches


def steps(module, gradient, batches, optimizer):
    """Take a step on every minibatch, as an epoch does."""
    for batch in batches:
        mean = batch.y.new_empty(*module.flat.shape[:-1], *batch.y.shape)
        optimizer.step(Evaluation(gradient, batch, mean, None))


@every_solver
def test_steps_and_averages_stay_on_the_device_and_wait_for_nothing(
    solver, base_solver, fake
):
    module, gradient, batches = make_parts(fake)
    values = SINGLE | of_chain(solver, base_solver, OPTIONS)
    optimizer = make_optimizer(
        [module.flat], specs(solver, base_solver, values), layout=module.shapes
    )
    average, snapshots = averaging.SWA(), averaging.Snapshots()
    ema = averaging.EMA(0.9, warm_up=True)
    for _ in range(2):
        steps(module, gradient, batches, optimizer)
        for collector in (average, ema, snapshots):
            collector.update(optimizer.evaluation_params())
    assert module.flat.device == module.flat.grad.device == fake
    assert average.averaged[0].device == ema.averaged[0].device == fake
    assert {member[0].device for member in snapshots.members} == {fake}
    for state in optimizer.state.values():
        tensors = [value for value in state.values() if torch.is_tensor(value)]
        assert {tensor.device for tensor in tensors} <= {fake}


@every_solver
def test_steps_of_many_models_stay_on_the_device_and_wait_for_nothing(
    solver, base_solver, fake
):
    module, gradient, batches = make_parts(fake, model_shape=(2,))
    values = {
        name: torch.empty(2, device=fake)
        if isinstance(value, float) and name != "solver__fraction"
        else value
        for name, value in (SINGLE | of_chain(solver, base_solver, OPTIONS)).items()
    }
    optimizer = make_optimizer(
        [module.flat],
        specs(solver, base_solver, values),
        model_ndim=1,
        layout=module.shapes,
    )
    steps(module, gradient, batches, optimizer)
    assert module.flat.device == fake


@pytest.mark.parametrize("out_activation", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_gradient_and_loss_stays_on_the_device(activation, out_activation, fake):
    module, gradient, batches = make_parts(fake, out_activation, activation)
    for batch in batches:
        mean = torch.empty_like(batch.y)
        gradient(batch, mean)
        loss = LOSSES[out_activation].row_losses(mean, batch.y)
        assert module.flat.grad.device == loss.device == fake


# what goes wrong, and what it raises
MISTAKES = {
    "waiting for a value": (
        lambda p: p.grad.sum().item(),
        "DataDependentOutputException",
    ),
    "branching on a value": (
        lambda p: p.grad.sum() > 0 and p.grad.zero_(),
        "DataDependentOutputException",
    ),
    "a tensor of the host": (
        lambda p: p.grad.add(torch.ones(p.grad.shape)),
        "FakeTensorDeviceMismatchError|Unhandled FakeTensor Device Propagation",
    ),
}


@pytest.mark.parametrize(("mistake", "error"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("solver", ["sgd", "sam"])
def test_a_mistake_in_a_step_does_not_go_unnoticed(
    solver, mistake, error, fake, monkeypatch
):
    module, gradient, batches = make_parts(fake)
    optimizer = make_optimizer([module.flat], specs(solver, "sgd", SINGLE))
    descent = getattr(optimizer, "base_optimizer", optimizer)
    update = descent.update

    def update_with_mistake(p, *args):
        mistake(p)
        update(p, *args)

    monkeypatch.setattr(descent, "update", update_with_mistake)
    with pytest.raises(Exception) as raised:  # noqa: PT011
        steps(module, gradient, batches, optimizer)
    names = f"{type(raised.value).__name__}: {raised.value}"
    assert any(part in names for part in error.split("|"))


# -- a whole fit ---------------------------------------------------------------------

rng = np.random.RandomState(0)
X = rng.normal(size=(30, 4)).astype(np.float32)
CLASSIFIER = SAMMLPClassifier((5,), alpha=0.1), np.arange(30) % 3, np.arange(1.0, 31)
REGRESSOR = SAMMLPRegressor("poisson", (5,), alpha=0.0), np.arange(30) % 3 * 1.0, None
FITS = {
    "sam over adam": (*CLASSIFIER, {"solver": "sam"}),
    "wsam over sgd": (*REGRESSOR, {"solver": "wsam", "base_solver": "sgd"}),
    "ranger": (*CLASSIFIER, {"solver": "ranger"}),
    "sgd": (*REGRESSOR, {"solver": "sgd", "learning_rate": "invscaling"}),
    "cosine": (*CLASSIFIER, {"learning_rate": "cosine", "warmup": 0.2}),
    "swa in cycles": (*CLASSIFIER, {"swa": SWA(start=1, lr=1e-4, cycle=1)}),
    "ema of a length": (*CLASSIFIER, {"ema_decay": "auto", "swa": False}),
    "snapshots": (*CLASSIFIER, {"swa": False, "snapshots": 2}),
    "dropout": (*CLASSIFIER, {"dropout": [0.1, 0.3]}),
    "noise": (*CLASSIFIER, {"input_noise": InputNoise(std=0.5, missing=0.1)}),
}


class Transfers:
    """Count the arrays that come back from the device."""

    def __init__(self, monkeypatch):
        self.n = 0
        for module in ("_bridge", "_networks", "_epoch", "_validation"):
            name = f"sksharp.training.{module}.to_array"
            monkeypatch.setattr(name, self.to_array, raising=False)
        # training ends with the device's weights, which fake ones do not have
        monkeypatch.setattr("sksharp.training._loop.Loop.results", lambda loop: None)

    def to_array(self, tensor):
        self.n += 1
        return np.zeros(tensor.shape)


class OnDevice(TorchDispatchMode):
    """A graph of operations on the device alone. There is nothing to replay."""

    n_replays = 0

    def capture(self):
        return self

    def replay(self):
        OnDevice.n_replays += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = (args, kwargs, result)
        devices = {t.device.type for t in tree_leaves(tensors) if torch.is_tensor(t)}
        assert "cpu" not in devices, f"{func} with the host in a capture"
        return result


@pytest.mark.parametrize("graph", [None, OnDevice], ids=["launched", "captured"])
@pytest.mark.parametrize("case", FITS)
def test_an_epoch_waits_for_the_device_when_it_ends_and_never_before(
    case, graph, accelerator, job_of, monkeypatch
):
    from sksharp.training import _graphs
    from sksharp.training._net import MLPNet
    from sksharp.training._networks import Networks

    estimator, y, sample_weight, params = FITS[case]
    estimator = clone(estimator)
    transfers = Transfers(monkeypatch)
    monkeypatch.setattr(_graphs, "graph_of_device", lambda device: graph)
    monkeypatch.setattr(OnDevice, "n_replays", 0)

    def waits(batch_size):
        """Train for three epochs and return how often the host waited for the device."""
        estimator.set_params(
            **{"swa": SWA(start=1), **params}, batch_size=batch_size, max_iter=3
        )
        job = job_of(estimator, X, y, sample_weight=sample_weight)
        before = transfers.n
        with fake_tensor.FakeTensorMode(allow_non_fake_inputs=False):
            MLPNet(Networks([job], accelerator)).train()
        return transfers.n - before

    with_two_steps = waits(batch_size=15)
    assert 3 <= with_two_steps <= 6
    assert waits(batch_size=5) == with_two_steps
    assert (OnDevice.n_replays > 0) == (graph is not None)


def test_rates_of_many_models_are_planned_and_kept_without_a_wait(accelerator):
    from sksharp.training._learning_rate import Rates

    with fake_tensor.FakeTensorMode(allow_non_fake_inputs=False):
        params = [torch.zeros(2, 3, device=accelerator)]
        optimizer = make_optimizer(params, specs("adam", "-", SINGLE), model_ndim=1)
        rates = Rates(optimizer, 2)
        each = [[0.3, 0.2, 0.1], [0.1, 0.2, 0.3]]
        lrs = rates.plan(each)
        assert {lr.device for lr in lrs} == {accelerator}
        for i in range(len(lrs)):
            rates.take(lrs, i)
        assert [rates.get(k) for k in range(2)] == pytest.approx([0.1, 0.3])
        rates.set(1, 0.7)
        assert [rates.get(k) for k in range(2)] == pytest.approx([0.1, 0.7])
        assert rates.plan([[0.5] * 3, None]) is None
        assert [rates.get(k) for k in range(2)] == pytest.approx([0.5, 0.7])
