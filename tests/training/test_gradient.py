import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.neural_network._base import LOSS_FUNCTIONS

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.training._gradient import Backprop, Batch, objective
from sksharp.training._module import ACTIVATIONS, MLPModule

from ..losses import LOSSES, OF_RESIDUALS, OF_SKLEARN

N_FEATURES = 4
N_OUTPUTS = {
    "softmax": 3,
    "logistic": 2,
    "identity": 2,
    "exp": 2,
    **dict.fromkeys(OF_RESIDUALS, 2),
    "three quantiles": 3,
    "four quantiles": 4,
}
ALPHA = {"no penalty": 0.0, "penalty": 0.7}

# scikit-learn's name of a loss, and its output activation, by ours
IN_SKLEARN = {
    "softmax": ("log_loss", lambda z: softmax(z, axis=1)),
    "logistic": ("binary_log_loss", expit),
    "identity": ("squared_error", lambda z: z),
    "exp": ("poisson", np.exp),
}


def targets(out_activation, n_samples, rng):
    k = N_OUTPUTS[out_activation]
    if out_activation.endswith("quantiles"):  # of one target
        return rng.normal(size=(n_samples, 1)).repeat(k, axis=1)
    if out_activation in OF_RESIDUALS:
        return rng.normal(size=(n_samples, k))
    return {
        "softmax": lambda: np.eye(k)[rng.randint(k, size=n_samples)],
        "logistic": lambda: rng.randint(2, size=(n_samples, k)).astype(float),
        "identity": lambda: rng.normal(size=(n_samples, k)),
        "exp": lambda: rng.poisson(1.0, size=(n_samples, k)).astype(float),
    }[out_activation]()


def make_batch(
    out_activation, *, n=7, weighted=False, sparse=False, dtype=torch.float64, seed=0
):
    rng = np.random.RandomState(seed)
    X = torch.from_numpy(rng.normal(size=(n, N_FEATURES))).to(dtype)
    if sparse:
        X = (X * (X > 0)).to_sparse()
    y = torch.from_numpy(targets(out_activation, n, rng)).to(dtype)
    weights = torch.from_numpy(rng.uniform(0.1, 2, size=n)).to(dtype)
    return Batch(
        X,
        y,
        weights if weighted else None,
        float(weights.sum()) if weighted else float(n),
    )


def make_masks(hidden, n, model_shape, kind, rng):
    """Return masks of hidden layers: of all models or of each, some layers without."""
    shape = model_shape if kind == "own masks" else ()
    masks = [
        torch.from_numpy(rng.binomial(1, 0.6, size=(*shape, n, width)) / 0.6)
        for width in hidden
    ]
    return (None, *masks[1:]) if kind == "a layer without" else tuple(masks)


def masked_objective(module, activation, out_activation, alpha, batch):
    """Return the objective of a network whose hidden units are masked, in plain torch."""
    act = {
        "identity": lambda z: z,
        "logistic": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
    }[activation]
    coefs, intercepts = module.split(module.flat)
    below = batch.X.to_dense()
    for coef, intercept, mask in zip(coefs, intercepts, batch.masks, strict=False):
        below = act(below @ coef + intercept.unsqueeze(-2))
        below = below if mask is None else below * mask
    z = below @ coefs[-1] + intercepts[-1].unsqueeze(-2)
    rows = LOSSES[out_activation].row_objectives(z, batch.y)
    if batch.sample_weight is not None:
        rows = rows * batch.sample_weight
    squares = sum(coef.square().sum((-1, -2)) for coef in coefs)
    return (rows.sum(-1) + alpha * squares / 2) / batch.weight_sum


def make_module(
    activation, out_activation, *, hidden=(5, 3), model_shape=(), dtype=torch.float64
):
    units = [N_FEATURES, *hidden, N_OUTPUTS[out_activation]]
    module = MLPModule(units, activation, model_shape=model_shape, dtype=dtype)
    rng = np.random.RandomState(1)
    with torch.no_grad():
        module.flat.copy_(torch.from_numpy(rng.normal(0, 0.6, module.flat.shape)))
    return module


def per_model(value, model_shape):
    """Return a float for one model, a different value for each of many."""
    if not model_shape:
        return value
    return value * torch.linspace(0.5, 1.5, *model_shape, dtype=torch.float64)


def evaluate(gradient, module, batch):
    """Write the gradient and return the predicted mean."""
    shape = (*module.flat.shape[:-1], *batch.y.shape)
    mean = torch.full(shape, torch.nan, dtype=batch.y.dtype)
    gradient(batch, mean)
    return mean


def reported_loss(loss, mean, batch):
    """Return the weighted mean of the loss of the rows, without the penalty."""
    rows = loss.row_losses(mean, batch.y)
    rows = rows if batch.sample_weight is None else rows * batch.sample_weight
    return rows.sum(-1) / batch.weight_sum


def autograd(module, loss, alpha, batch):
    value = objective(module, loss, alpha, batch)
    (gradient,) = torch.autograd.grad(value.sum(), module.flat)
    return gradient


@pytest.mark.parametrize("alpha", ALPHA.values(), ids=ALPHA)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("model_shape", [(), (3,)], ids=["one", "many"])
@pytest.mark.parametrize("out_activation", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_is_the_objectives_by_autograd(
    activation, out_activation, model_shape, weighted, sparse, alpha
):
    module = make_module(activation, out_activation, model_shape=model_shape)
    alpha = per_model(alpha, model_shape)
    loss = LOSSES[out_activation]
    batch = make_batch(out_activation, weighted=weighted, sparse=sparse)

    evaluate(Backprop(module, loss, alpha), module, batch)

    expected = autograd(module, loss, alpha, batch)
    assert_allclose(module.flat.grad, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("hidden", [(), (1,), (6, 5, 4)], ids=str)
@pytest.mark.parametrize("model_shape", [(), (1,)], ids=["one", "many of one"])
@pytest.mark.parametrize("out_activation", LOSSES)
def test_the_gradient_is_right_at_every_depth(out_activation, model_shape, hidden):
    module = make_module("tanh", out_activation, hidden=hidden, model_shape=model_shape)
    loss, batch = LOSSES[out_activation], make_batch(out_activation)

    evaluate(Backprop(module, loss, 0.3), module, batch)

    expected = autograd(module, loss, 0.3, batch)
    assert_allclose(module.flat.grad, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("hidden", [(5,), (5, 3)], ids=str)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("model_shape", [(), (3,)], ids=["one", "many"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_is_right_with_a_single_output(
    monkeypatch, activation, model_shape, sparse, hidden
):
    monkeypatch.setitem(N_OUTPUTS, "logistic", 1)
    module = make_module(activation, "logistic", hidden=hidden, model_shape=model_shape)
    alpha, loss = per_model(0.7, model_shape), LOSSES["logistic"]
    batch = make_batch("logistic", weighted=True, sparse=sparse)
    gradient = Backprop(module, loss, alpha)

    for _ in range(2):  # a second gradient finds the buffers of the first
        evaluate(gradient, module, batch)

    expected = autograd(module, loss, alpha, batch)
    assert_allclose(module.flat.grad, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("kind", ["shared masks", "own masks", "a layer without"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("model_shape", [(), (3,)], ids=["one", "many"])
@pytest.mark.parametrize("hidden", [(5,), (5, 3), (6, 5, 4)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_with_dropout_is_that_of_the_masked_network(
    monkeypatch, activation, hidden, model_shape, sparse, kind, n_outputs
):
    monkeypatch.setitem(N_OUTPUTS, "logistic", n_outputs)
    module = make_module(activation, "logistic", hidden=hidden, model_shape=model_shape)
    alpha, loss = per_model(0.7, model_shape), LOSSES["logistic"]
    batch = make_batch("logistic", weighted=True, sparse=sparse)
    gradient = Backprop(module, loss, alpha)
    rng = np.random.RandomState(2)

    for _ in range(2):  # the second minibatch has other masks
        batch.masks = make_masks(hidden, len(batch), model_shape, kind, rng)
        evaluate(gradient, module, batch)

    value = masked_objective(module, activation, "logistic", alpha, batch)
    (expected,) = torch.autograd.grad(value.sum(), module.flat)
    assert_allclose(module.flat.grad, expected, rtol=1e-12, atol=1e-12)
    assert_allclose(objective(module, loss, alpha, batch).detach(), value.detach())


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("out_activation", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_is_the_slope_of_the_objective(
    activation, out_activation, weighted
):
    module = make_module(activation, out_activation)
    loss, batch = LOSSES[out_activation], make_batch(out_activation, weighted=weighted)
    flat, h = module.flat.detach(), 1e-5
    slopes = []
    for i in range(len(flat)):
        start = flat[i].item()
        values = []
        for shifted in (start + h, start - h):
            flat[i] = shifted
            values.append(objective(module, loss, 0.7, batch).item())
        flat[i] = start
        slopes.append((values[0] - values[1]) / (2 * h))

    evaluate(Backprop(module, loss, 0.7), module, batch)

    assert_allclose(module.flat.grad, slopes, atol=1e-8)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("out_activation", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_single_precision_agrees_with_double(activation, out_activation, sparse):
    loss = LOSSES[out_activation]
    gradients, means = [], []
    for dtype in (torch.float32, torch.float64):
        module = make_module(activation, out_activation, dtype=dtype)
        batch = make_batch(out_activation, weighted=True, sparse=sparse, dtype=dtype)
        means.append(evaluate(Backprop(module, loss, 0.7), module, batch))
        gradients.append(module.flat.grad)
        assert gradients[-1].dtype == dtype
    assert_allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)
    assert_allclose(means[0], means[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("out_activation", OF_SKLEARN)
def test_the_loss_of_rows_is_scikit_learns(out_activation, weighted):
    module = make_module("tanh", out_activation)
    batch = make_batch(out_activation, weighted=weighted)
    name, activate = IN_SKLEARN[out_activation]
    mean = activate(module(batch.X).detach().numpy())
    weights = batch.sample_weight.numpy() if weighted else None

    predicted = evaluate(Backprop(module, LOSSES[out_activation], 0.5), module, batch)

    assert_allclose(predicted, mean, rtol=1e-12)
    assert_allclose(
        reported_loss(LOSSES[out_activation], predicted, batch),
        LOSS_FUNCTIONS[name](batch.y.numpy(), mean, weights),
        rtol=1e-12,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("out_activation", ["softmax", "logistic"])
def test_a_prediction_that_is_certain_and_wrong_has_scikit_learns_loss(
    out_activation, dtype
):
    module = make_module("identity", out_activation, hidden=(), dtype=dtype)
    with torch.no_grad():
        module.flat.mul_(1e6)
    batch = make_batch(out_activation, dtype=dtype)
    name, activate = IN_SKLEARN[out_activation]
    mean = activate(module(batch.X).detach().numpy())
    assert set(np.unique(mean)) == {0, 1}

    predicted = evaluate(Backprop(module, LOSSES[out_activation], 0.0), module, batch)

    loss = reported_loss(LOSSES[out_activation], predicted, batch)
    assert_allclose(loss, LOSS_FUNCTIONS[name](batch.y.numpy(), mean), rtol=1e-6)
    assert torch.isfinite(module.flat.grad).all()


@pytest.mark.parametrize("model_shape", [(), (3,)], ids=["one", "many"])
@pytest.mark.parametrize("out_activation", LOSSES)
def test_the_objective_is_the_reported_loss_but_for_losses_that_are_means_of_outputs(
    out_activation, model_shape
):
    module = make_module("relu", out_activation, model_shape=model_shape)
    loss, batch = LOSSES[out_activation], make_batch(out_activation, weighted=True)
    # the gradient is that of the sum over outputs, the report is of their mean
    has_sum = out_activation in ("softmax", "logistic", "exp")
    factor = 1 if has_sum else N_OUTPUTS[out_activation]
    assert loss.is_mean != has_sum

    mean = evaluate(Backprop(module, loss, 0.0), module, batch)

    expected = objective(module, loss, 0.0, batch).detach()
    assert expected.shape == model_shape
    assert_allclose(factor * reported_loss(loss, mean, batch), expected, rtol=1e-12)


# estimator, scikit-learn's name of its loss, targets
ESTIMATORS = {
    "multiclass": (SAMMLPClassifier(), "softmax", lambda rng: np.arange(23) % 3),
    "multilabel": (
        SAMMLPClassifier(),
        "logistic",
        lambda rng: rng.randint(2, size=(23, 2)),
    ),
    "squared error": (
        SAMMLPRegressor(),
        "identity",
        lambda rng: rng.normal(size=(23, 2)),
    ),
    "poisson": (
        SAMMLPRegressor(loss="poisson"),
        "exp",
        lambda rng: rng.poisson(1.0, size=(23, 2)).astype(float),
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("alpha", ALPHA.values(), ids=ALPHA)
@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("case", ESTIMATORS)
def test_the_loss_of_an_epoch_is_the_mean_of_its_minibatches_by_scikit_learn(
    case, weighted, alpha, job_of
):
    estimator, out_activation, make_y = ESTIMATORS[case]
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(23, N_FEATURES)), make_y(rng)
    sample_weight = rng.uniform(0.1, 2, size=23) if weighted else None
    # a rate so small that the weights do not move
    estimator.set_params(
        hidden_layer_sizes=(5,),
        solver="sgd",
        learning_rate_init=1e-300,
        alpha=alpha,
        batch_size=10,
        shuffle=False,
        max_iter=1,
        random_state=0,
    )
    job = job_of(estimator, X, y, sample_weight=sample_weight)
    estimator.fit(X, y, sample_weight=sample_weight)
    (V, W), (a, b) = estimator.coefs_, estimator.intercepts_
    name, activate = IN_SKLEARN[out_activation]
    mean = activate(np.maximum(X @ V + a, 0) @ W + b)
    squares = (V**2).sum() + (W**2).sum()
    expected = 0
    for rows in (slice(0, 10), slice(10, 20), slice(20, 23)):
        n = rows.stop - rows.start
        weights = sample_weight[rows] if weighted else None
        loss = LOSS_FUNCTIONS[name](job.y[rows], mean[rows], weights)
        loss += alpha / 2 * squares / (weights.sum() if weighted else n)
        expected += loss * n / 23
    assert_allclose(estimator.loss_curve_, [expected], rtol=1e-12)


def test_the_penalty_is_on_weights_and_not_on_biases():
    module = make_module("tanh", "identity")
    batch = make_batch("identity", weighted=True)
    gradients = []
    for alpha in (0.0, 2.0):
        evaluate(Backprop(module, LOSSES["identity"], alpha), module, batch)
        gradients.append(module.flat.grad.clone())
    coefs, intercepts = module.split(gradients[1] - gradients[0])
    for penalty, W in zip(coefs, module.split(module.flat.detach())[0], strict=True):
        assert_allclose(penalty, 2.0 * W / batch.weight_sum, rtol=1e-12)
    for penalty in intercepts:
        assert_array_equal(penalty, 0)


def test_a_rectifier_has_no_slope_at_zero():
    module = make_module("relu", "identity", hidden=(5,))
    coefs, intercepts = module.split(module.flat.detach())
    coefs[0].zero_()
    intercepts[0].zero_()

    gradient = Backprop(module, LOSSES["identity"], 0.0)
    evaluate(gradient, module, make_batch("identity"))

    coef_grads, intercept_grads = module.split(module.flat.grad)
    assert_array_equal(coef_grads[0], 0)
    assert_array_equal(intercept_grads[0], 0)
    assert intercept_grads[1].abs().min() > 0


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("model_shape", [(), (3,)], ids=["one", "many"])
def test_batches_of_any_length_may_follow_each_other(model_shape, sparse):
    module = make_module("relu", "softmax", model_shape=model_shape)
    loss = LOSSES["softmax"]
    gradient = Backprop(module, loss, 0.1)
    for seed, n in enumerate([7, 7, 3, 7, 1, 3]):
        batch = make_batch("softmax", n=n, sparse=sparse, seed=seed)
        mean = evaluate(gradient, module, batch)
        expected = autograd(module, loss, 0.1, batch)
        assert_allclose(module.flat.grad, expected, rtol=1e-12, atol=1e-12)
        expected = torch.softmax(module(batch.X).detach(), -1)
        assert_allclose(mean, expected, rtol=1e-12)


def test_the_gradient_stays_in_one_place():
    module = make_module("relu", "softmax")
    gradient = Backprop(module, LOSSES["softmax"], 0.1)
    grad, address = module.flat.grad, module.flat.grad.data_ptr()
    for n in (7, 3, 7):
        evaluate(gradient, module, make_batch("softmax", n=n))
        assert module.flat.grad is grad
        assert grad.data_ptr() == address


def test_the_gradient_follows_weights_that_are_written_in_place():
    module = make_module("tanh", "softmax")
    loss, batch = LOSSES["softmax"], make_batch("softmax")
    gradient = Backprop(module, loss, 0.1)
    for shift in (0.0, 0.5, -1.0):
        with torch.no_grad():
            module.flat.add_(shift)
        evaluate(gradient, module, batch)
        expected = autograd(module, loss, 0.1, batch)
        assert_allclose(module.flat.grad, expected, rtol=1e-12, atol=1e-12)


def test_weights_and_batch_are_only_read():
    module = make_module("relu", "softmax")
    batch = make_batch("softmax", weighted=True)
    tensors = (module.flat.detach(), batch.X, batch.y, batch.sample_weight)
    before = [tensor.clone() for tensor in tensors]
    evaluate(Backprop(module, LOSSES["softmax"], 0.1), module, batch)
    for tensor, start in zip(tensors, before, strict=True):
        assert_array_equal(tensor, start)


@pytest.mark.parametrize("shared", [False, True], ids=["own rows", "shared rows"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("model_shape", [(), (3,)], ids=["one", "many"])
@pytest.mark.parametrize("out_activation", LOSSES)
def test_rows_selected_of_a_prediction_have_the_gradient_of_these_rows_alone(
    out_activation, model_shape, sparse, shared
):
    module = make_module("tanh", out_activation, model_shape=model_shape)
    gradient = Backprop(module, LOSSES[out_activation], 0.7)
    batch = make_batch(out_activation, sparse=sparse)
    rows = torch.tensor([5, 0, 3])
    if model_shape and not shared:
        rows = torch.stack([rows, rows + 1, rows.flip(0)])
        if not sparse:  # many models may have rows of their own
            X = batch.X + torch.arange(3.0, dtype=torch.float64).view(3, 1, 1)
            batch = Batch(X, batch.y, None, batch.weight_sum)
    selected = batch.take(rows)
    gradient(selected, gradient.scratch(len(selected)))
    expected = gradient.grad.clone()
    with torch.no_grad():
        module.flat.add_(1)  # the hidden layers of other weights are in the buffers
        gradient(selected, gradient.scratch(len(selected)))
        module.flat.sub_(1)
    gradient.grad.fill_(torch.nan)
    gradient.predict(batch, gradient.scratch(len(batch)))
    part = gradient.select(batch, rows)
    gradient.differentiate(part, gradient.scratch(len(part)))
    assert_allclose(gradient.grad, expected, rtol=0, atol=1e-12)
