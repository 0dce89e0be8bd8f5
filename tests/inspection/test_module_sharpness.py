"""Sharpness of torch modules: closed forms, the estimators' values, nothing left behind."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.nn import functional as F

from sksharp import SAMMLPClassifier, SAMMLPRegressor, sharpness
from sksharp.inspection import Sharpness, module_sharpness

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    # torch.func uses what torch deprecates
    "ignore:.*torch.jit.script:DeprecationWarning",
)
MEASURES = ["worst_case", "average_case", "top_eigenvalue", "trace"]
each_measure = pytest.mark.parametrize("measure", MEASURES)

RNG = np.random.RandomState(0)
ROOT = RNG.randn(6, 6)
H = ROOT @ ROOT.T / 6
W = RNG.randn(6)


class Weights(nn.Module):
    """A vector in two parameters, a matrix and a number, beside a frozen one."""

    def __init__(self, w=W, dtype=torch.float64):
        super().__init__()
        w = torch.as_tensor(w, dtype=dtype)
        self.matrix = nn.Parameter(w[:-1].reshape(1, -1).clone())
        self.frozen = nn.Parameter(torch.ones(3, dtype=dtype), requires_grad=False)
        self.number = nn.Parameter(w[-1].clone())

    def forward(self):
        return torch.cat([self.matrix.flatten(), self.number.reshape(1)])


def bowl(module, hessian=H):
    """Return the loss 0.5 w'Hw as a closure."""
    hessian = torch.as_tensor(hessian, dtype=module.number.dtype)

    def closure():
        w = module()
        return w @ hessian @ w / 2

    return closure


@pytest.mark.parametrize("rho", [0.1, 3.0])
def test_the_worst_loss_around_the_minimum_of_a_bowl_goes_with_the_top_eigenvalue(rho):
    module = Weights(np.zeros(6))
    found = module_sharpness(module, bowl(module), rho=rho)
    assert_allclose(found.value, np.linalg.eigvalsh(H)[-1] * rho**2 / 2, rtol=1e-6)
    assert found.converged
    assert found.loss == 0


def test_the_adaptive_worst_loss_is_that_of_the_scaled_slope_and_hessian():
    module = Weights()
    slope = torch.as_tensor(RNG.randn(6))
    closure = lambda: slope @ module()  # noqa: E731
    found = module_sharpness(module, closure, rho=0.3, adaptive=True)
    assert_allclose(found.value, 0.3 * np.linalg.norm(np.abs(W) * slope.numpy()))
    assert module_sharpness(module, closure, measure="top_eigenvalue").value == 0


def test_curvatures_of_a_bowl_are_those_of_its_hessian():
    module = Weights()
    options = {"tol": 1e-8, "n_probes": 6}
    found = {
        measure: module_sharpness(module, bowl(module), measure=measure, **options)
        for measure in ("top_eigenvalue", "trace")
    }
    top, trace = (found[measure] for measure in found)
    assert_allclose(top.value, np.linalg.eigvalsh(H)[-1], rtol=1e-10)
    assert_allclose(trace.value, np.trace(H), rtol=1e-12)
    assert trace.standard_error is None
    assert_allclose(trace.loss, W @ H @ W / 2)
    assert trace.settings == {"n_probes": 6, "n_params": 6}
    assert isinstance(trace, Sharpness)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_mean_rise_on_a_bowl_is_that_of_the_same_noise(adaptive):
    module = Weights()
    options = {"sigma": 0.3, "adaptive": adaptive, "n_probes": 50, "random_state": 5}
    found = module_sharpness(module, bowl(module), measure="average_case", **options)
    scale = np.abs(W) if adaptive else 1
    noise = 0.3 * scale * np.random.RandomState(5).standard_normal((50, 6))
    samples = np.einsum("ki,ij,kj->k", noise, H, noise) / 2
    assert_allclose(found.value, samples.mean(), rtol=1e-10)
    assert_allclose(found.standard_error, samples.std(ddof=1) / 50**0.5, rtol=1e-10)


def test_of_some_parameters_the_others_stay_where_they_are():
    module = Weights()
    options = {"measure": "trace", "n_probes": 6}
    found = module_sharpness(
        module, bowl(module), params=[module.number, module.frozen], **options
    )
    assert_allclose(found.value, H[-1, -1], rtol=1e-12)
    assert found.settings["n_params"] == 1


def test_a_parameter_of_two_layers_counts_once():
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    module = module.double()
    module[1].weight = module[0].weight
    closure = lambda: (module[1].weight.square() + module[0].weight.square()).sum()  # noqa: E731
    options = {"measure": "trace", "n_probes": 9}
    params = [module[0].weight, module[1].weight]
    for given in (None, params):
        found = module_sharpness(module, closure, params=given, **options)
        assert_allclose(found.value, 9 * 4.0, rtol=1e-12)


def test_closures_of_micro_batches_are_averaged_by_their_sizes():
    module = Weights()
    parts = [(bowl(module, H), 3), (bowl(module, np.eye(6)), 1)]
    mixed = 0.75 * H + 0.25 * np.eye(6)
    for measure in MEASURES:
        options = {"measure": measure, "n_probes": 6}
        found = module_sharpness(module, parts, **options)
        expected = module_sharpness(module, bowl(module, mixed), **options)
        assert_allclose(found.value, expected.value, rtol=1e-6)
        assert_allclose(found.loss, expected.loss, rtol=1e-12)
    even = module_sharpness(module, [bowl(module), bowl(module)], measure="trace")
    assert_allclose(even.value, np.trace(H), rtol=1e-12)


# -- as of the estimators --------------------------------------------------------------

X = np.random.RandomState(1).randn(40, 5)
PARAMS = {"hidden_layer_sizes": (4,), "max_iter": 15, "rho": 0.1, "random_state": 0}


def classifier():
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
    estimator = SAMMLPClassifier(activation="tanh", **PARAMS).fit(X, y)
    module, rows = estimator.to_torch(output_activation=False), torch.tensor(X)
    labels = torch.tensor(y)
    return estimator, y, module, lambda: F.cross_entropy(module(rows), labels)


def regressor():
    y = X @ np.arange(5.0)
    estimator = SAMMLPRegressor(activation="relu", **PARAMS).fit(X, y)
    module, rows = estimator.to_torch(), torch.tensor(X)
    targets = torch.tensor(y)
    return estimator, y, module, lambda: F.mse_loss(module(rows), targets) / 2


@pytest.mark.parametrize("of", [classifier, regressor])
@pytest.mark.parametrize(
    "options",
    [
        {"rho": 0.2, "tol": 1e-6},
        {"rho": 0.2, "tol": 1e-6, "adaptive": True},
        {"measure": "top_eigenvalue", "tol": 1e-7},
        {"measure": "trace", "n_probes": 1000},
    ],
    ids=["worst", "adaptive", "eigenvalue", "trace"],
)
def test_a_network_in_torch_is_as_sharp_as_the_estimator(of, options):
    estimator, y, module, closure = of()
    found = module_sharpness(module, closure, **options)
    expected = sharpness(estimator, X, y, **options)
    assert_allclose(found.value, expected.value, rtol=1e-6)
    assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert type(found) is type(expected)
    assert_allclose(found.member_values, [found.value])


# -- any module ------------------------------------------------------------------------


def convolutional():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(1, 2, 3),
            nn.BatchNorm2d(2),
            nn.Tanh(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(8, 3),
        ).double()
    module[0].bias.requires_grad_(False)
    return module


IMAGES = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.arange(5) % 3


@pytest.mark.parametrize("training", [True, False])
def test_the_curvature_of_a_convolution_is_that_of_its_exact_hessian(training):
    """In training with one mask of dropout and the statistics of the batch."""
    module = convolutional().train(training)
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    params = {name: module.get_parameter(name).detach() for name in names}
    sizes = [p.numel() for p in params.values()]

    def loss_of(flat):
        parts = {
            name: part.view_as(p)
            for (name, p), part in zip(params.items(), flat.split(sizes), strict=True)
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            twin = copy.deepcopy(module)
            out = torch.func.functional_call(twin, parts, IMAGES)
        return F.cross_entropy(out, LABELS)

    flat = torch.cat([p.flatten() for p in params.values()])
    hessian = torch.autograd.functional.hessian(loss_of, flat)
    torch.manual_seed(3)
    found = module_sharpness(
        module,
        lambda: F.cross_entropy(module(IMAGES), LABELS),
        measure="top_eigenvalue",
        tol=1e-8,
    )
    assert_allclose(found.value, torch.linalg.eigvalsh(hessian)[-1], rtol=1e-8)


def test_attention_has_the_curvature_that_its_formula_has():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rows, w = torch.randn(3, 4).double(), nn.Parameter(torch.randn(4).double())

    def fused():
        q = (rows * w).reshape(1, 1, 3, 4)
        return F.scaled_dot_product_attention(q, q, q).square().mean()

    def written_out():
        q = rows * w
        return (torch.softmax(q @ q.mT / 2, -1) @ q).square().mean()

    found, expected = (
        module_sharpness(nn.ParameterList([w]), closure, measure="trace", n_probes=4)
        for closure in (fused, written_out)
    )
    assert_allclose(found.value, expected.value, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_are_measured_to_their_precision(dtype):
    w = torch.as_tensor(W).to(dtype)
    hessian = torch.as_tensor(H).to(dtype)
    module = Weights(w, dtype)
    twin = Weights(w.double())
    for measure in ("worst_case", "top_eigenvalue", "trace"):
        options = {"measure": measure, "n_probes": 6, "rho": 2.0}
        found = module_sharpness(module, bowl(module, hessian), **options)
        expected = module_sharpness(twin, bowl(twin, hessian.double()), **options)
        rtol = 1e-4 if dtype == torch.float32 else 0.1
        assert_allclose(found.value, expected.value, rtol=rtol)
    assert module.number.dtype == dtype


@each_measure
def test_the_same_seed_measures_the_same(measure):
    module = convolutional()
    closure = lambda: F.cross_entropy(module(IMAGES), LABELS)  # noqa: E731
    options = {"measure": measure, "n_probes": 3, "n_starts": 2, "max_iter": 5}
    first, again, other = (
        module_sharpness(module, closure, **options, random_state=seed)
        for seed in (1, 1, 2)
    )
    assert first.value == again.value != other.value


class Watched(nn.Module):
    """A module whose closure changes all that it can."""

    def __init__(self):
        super().__init__()
        self.layers = convolutional()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("none", None)

    def forward(self, x):
        self.calls = self.calls + 1
        return self.layers(x)


def traces(module):
    """Return all that a measure must leave, as values, and the tensors themselves."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    grads = {name: p.grad for name, p in module.named_parameters()}
    values = {
        name: None if t is None else t.detach().clone()
        for name, t in {**tensors, **{f"{n} grad": g for n, g in grads.items()}}.items()
    }
    values["random"] = torch.get_rng_state()
    modes = [m.training for m in module.modules()], torch.is_grad_enabled()
    needs = [p.requires_grad for p in module.parameters()]
    things = [id(t) for t in (*tensors.values(), *grads.values())]
    return values, (modes, needs, things)


def assert_untouched(module, before):
    (values, others), (expected, expected_others) = traces(module), before
    assert others == expected_others
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert value is expected[name] or torch.equal(value, expected[name]), name


@pytest.mark.parametrize("fails", [None, 1, 2, 5])
@pytest.mark.parametrize("measure", [*MEASURES])
def test_nothing_is_left_behind_also_after_an_error(measure, fails):
    module = Watched()
    module.layers[1].eval()
    with torch.no_grad():
        for p in list(module.parameters())[:3]:
            p.grad = torch.full_like(p, 7.0)
    n_calls = 0

    def closure():
        nonlocal n_calls
        n_calls += 1
        module.zero_grad(set_to_none=n_calls % 2 == 0)
        loss = F.cross_entropy(module(IMAGES), LABELS)
        module.eval()
        torch.rand(3)
        if n_calls == fails:
            raise KeyboardInterrupt
        return loss

    before = traces(module)
    options = {"measure": measure, "n_probes": 3, "n_starts": 2, "max_iter": 5}
    if fails is None:
        module_sharpness(module, closure, **options)
    else:
        with pytest.raises(KeyboardInterrupt):
            module_sharpness(module, closure, **options)
    assert_untouched(module, before)


@each_measure
def test_it_measures_whatever_the_caller_has_turned_off(measure):
    module = Weights()
    closure = bowl(module)
    expected = module_sharpness(module, closure, measure=measure)
    with torch.no_grad():
        assert module_sharpness(module, closure, measure=measure) == expected
    with torch.inference_mode():
        assert module_sharpness(module, closure, measure=measure) == expected


def test_autocast_around_it_keeps_no_casts_of_other_weights():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, rows = nn.Linear(4, 1), torch.randn(8, 4)

    def closure():
        with torch.autocast("cpu", torch.bfloat16):
            return module(rows).float().square().mean()

    expected = module_sharpness(module, closure, rho=1.0).value
    with torch.autocast("cpu", torch.bfloat16):
        found = module_sharpness(module, closure, rho=1.0).value
    assert_allclose(found, expected)


# -- what cannot be measured -----------------------------------------------------------


def with_backward(module):
    def closure():
        loss = bowl(module)()
        loss.backward()
        return loss

    return closure


def changing(module):
    factors = iter(range(1, 100))
    return lambda: next(factors) * bowl(module)()


def frozen(module):
    module.requires_grad_(False)
    return bowl(module)


OTHER = Weights()
BAD = {
    "backward": (with_backward, {}, ValueError, "closure must not call backward"),
    "vector": (lambda m: m, {}, TypeError, r"one number, got .* shape \(6,\).*mean"),
    "float": (lambda m: lambda: bowl(m)().item(), {}, TypeError, "got a float"),
    "none": (lambda m: lambda: None, {}, TypeError, "got a NoneType"),
    "integer": (lambda m: lambda: torch.ones((), dtype=int), {}, TypeError, "int64"),
    "detached": (
        lambda m: lambda: bowl(m)().detach(),
        {},
        ValueError,
        "closure must return a loss that depends on the weights, .*detach",
    ),
    "without gradients": (
        lambda m: torch.no_grad()(bowl(m)),
        {},
        ValueError,
        "closure must return a loss that depends on the weights",
    ),
    "another module": (
        lambda m: bowl(OTHER),
        {},
        ValueError,
        "closure must return a loss that depends on the measured",
    ),
    "another minibatch": (
        changing,
        {},
        ValueError,
        "closure must return the same loss at the same weights, got .* and then",
    ),
    "frozen": (frozen, {}, ValueError, "params must hold .* requires a gradient"),
    "no closure": (lambda m: [], {}, ValueError, "at least one"),
    "loss": (lambda m: bowl(m)(), {}, TypeError, "closure must be a function"),
    "rho": (bowl, {"rho": -0.1}, ValueError, "The 'rho' parameter of module_sharp"),
    "measure": (bowl, {"measure": "traces"}, ValueError, "Did you mean 'trace'"),
    "params": (bowl, {"params": torch.ones(2)}, TypeError, "params must be .*tensors"),
    "names": (
        bowl,
        {"params": [("w", torch.ones(2))]},
        TypeError,
        "params must hold tensors, got a tuple",
    ),
    "no leaf": (
        bowl,
        {"params": [nn.Parameter(torch.ones(2)) * 2]},
        ValueError,
        "params must hold leaves",
    ),
    "complex": (
        bowl,
        {"params": [nn.Parameter(torch.ones(2, dtype=torch.complex64))]},
        TypeError,
        "params must be real",
    ),
    "lazy": (
        bowl,
        {"params": nn.LazyLinear(2).parameters()},
        ValueError,
        "params must have a shape",
    ),
    "not finite": (
        lambda m: lambda: bowl(m)() / 0,
        {},
        ValueError,
        "loss at the weights must be finite",
    ),
    "not finite around": (
        lambda m: lambda: (bowl(m)() * 1e100).square(),
        {"rho": 1e100},
        ValueError,
        r"around the weights must be finite.* with rho=1e\+100\. Look",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_cannot_be_measured_is_said_clearly(case):
    make, options, error, match = BAD[case]
    module = Weights(1e-3 * W)
    closure = make(module)
    before = traces(module)
    with pytest.raises(error, match=match):
        module_sharpness(module, closure, **options)
    assert_untouched(module, before)


def test_modules_and_estimators_are_told_apart():
    with pytest.raises(
        TypeError, match=r"module must be a torch.nn.Module, .*sharpness"
    ):
        module_sharpness(SAMMLPClassifier(), lambda: None)
    with pytest.raises(TypeError, match=r"estimator must be .*module_sharpness"):
        sharpness(nn.Linear(1, 1), X, X)


def test_it_says_when_it_has_not_converged():
    module = Weights()
    for measure in ("top_eigenvalue", "worst_case"):
        with pytest.warns(ConvergenceWarning, match=f"measure='{measure}'.*max_iter=1"):
            found = module_sharpness(module, bowl(module), measure=measure, max_iter=1)
        assert not found.converged
