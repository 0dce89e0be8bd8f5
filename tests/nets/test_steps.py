"""Steps of nets: gradients that are accumulated, and mixed precision."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from sksharp import optim, options
from sksharp.nets import SAMNetClassifier, SAMNetRegressor

from .modules import Small, rows, weights

X, y = rows()
COMMON = {
    "lr": 0.02,
    "max_epochs": 2,
    "batch_size": 16,
    "shuffle": False,
    "random_state": 0,
    "device": "cpu",
}
OF_CLASS = torch.tensor([1.0, 2.0, 7.0]).double()


def net(**params):
    return SAMNetClassifier(params.pop("module", Small), **{**COMMON, **params})


# -- gradients that are accumulated ------------------------------------------------------


@pytest.mark.parametrize("weight", [None, 1.0 + np.arange(len(X)) % 4], ids=["", "w"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"solver": "gsam", "base_solver": "sgd"},
        {"solver": options.LookSAM(k=2)},
        {"solver": "adam", "early_stopping": True},
        {"criterion__reduction": "sum"},
        {"criterion__weight": OF_CLASS, "base_solver": "sgd"},
        {"class_weight": "balanced", "swa": True, "rho": [0.0, 0.3]},
        {"gradient_accumulation": 1000, "ema_decay": 0.9},
    ],
    ids=str,
)
def test_the_gradients_of_parts_add_up_to_that_of_the_minibatch(params, weight):
    of_parts = net(**{"gradient_accumulation": 3, **params}).fit(X, y, weight)
    whole = net(**{**params, "gradient_accumulation": 1}).fit(X, y, weight)
    assert_allclose(weights(of_parts), weights(whole), rtol=0, atol=1e-12)
    losses = (each.history[:, "train_loss"] for each in (of_parts, whole))
    assert_allclose(*losses, rtol=1e-12)


def test_targets_of_a_regressor_are_accumulated():
    nets = (
        SAMNetRegressor(Small, gradient_accumulation=n, **COMMON).fit(X, X[:, :2])
        for n in (1, 5)
    )
    assert_allclose(*map(weights, nets), rtol=0, atol=1e-12)


class Seen(Callback):
    """Keeps the gradients that callbacks are told of."""

    def initialize(self):
        self.gradients_ = []
        return self

    def on_grad_computed(self, net, named_parameters, **kwargs):
        grads = [p.grad.ravel().clone() for _, p in named_parameters]
        self.gradients_.append(torch.cat(grads))


def seen_by(net):
    return dict(net.callbacks_)["Seen"].gradients_


def test_callbacks_see_the_gradient_of_all_parts_once():
    found = {
        n: net(gradient_accumulation=n, callbacks=[Seen()], max_epochs=1).fit(X, y)
        for n in (1, 4)
    }
    one, four = (seen_by(found[n]) for n in (1, 4))
    assert len(one) == len(four) == 2 * 3
    assert_allclose(torch.stack(one), torch.stack(four), rtol=0, atol=1e-13)


def test_no_more_rows_than_a_part_has_are_in_the_module():
    class Counting(Small):
        seen = []

        def forward(self, X):
            self.seen.append((len(X), self.training))
            return super().forward(X)

    module = Counting(4, 3)
    net(module=module, gradient_accumulation=4, max_epochs=1).fit(X, y)
    assert {n for n, is_training in Counting.seen if is_training} == {4, 2}


# -- mixed precision ---------------------------------------------------------------------


def by_hand(dtype, scaler):
    """Train a module by a plain loop, and return it as it was and as it is."""
    module = Small(4, 3, dtype=torch.float32)
    start = copy.deepcopy(module)
    params = module.parameters()
    optimizer = optim.SAM(params, torch.optim.SGD, rho=0.1, lr=0.02)
    codes = torch.as_tensor(np.unique(y, return_inverse=True)[1])
    inputs = torch.as_tensor(X, dtype=torch.float32)
    for _ in range(2):
        for part in torch.arange(len(X)).split(16):

            def closure(part=part):
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype):
                    outputs = module(inputs[part])
                loss = nn.functional.cross_entropy(outputs.float(), codes[part])
                (loss if scaler is None else scaler.scale(loss)).backward()
                return loss.detach()

            if scaler is None:
                optimizer.step(closure)
            else:
                optim.scaled_step(scaler, optimizer, closure)
    return start, module


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_is_a_plain_loop_of_torch(precision):
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    scaler = torch.amp.GradScaler("cpu") if precision == "fp16" else None
    start, module = by_hand(dtype, scaler)
    params = {"module": start, "rho": 0.1, "base_solver": torch.optim.SGD}
    fit = net(mixed_precision=precision, **params).fit(X, y)
    for name, value in module.state_dict().items():
        assert torch.equal(fit.module_.state_dict()[name], value)
    assert not np.array_equal(weights(fit), weights(net(**params).fit(X, y)))
    assert fit.predict_proba(X).dtype == np.float32


SINGLE = {"module__dtype": torch.float32}


@pytest.mark.parametrize("solver", ["sam", options.SAM(micro_batch_size=8), "adam"])
def test_callbacks_see_gradients_without_the_scale(solver):
    params = {"solver": solver, "callbacks": [Seen()], "max_epochs": 1, **SINGLE}
    half = seen_by(net(mixed_precision="fp16", **params).fit(X, y))
    single = seen_by(net(**params).fit(X, y))
    assert len(half) == len(single)
    assert_allclose(torch.stack(half), torch.stack(single), rtol=0, atol=0.02)


def test_a_step_whose_gradients_are_not_finite_is_left_out():
    module = Small(4, 3, dtype=torch.float32)
    fit = net(module=module, mixed_precision="fp16", max_epochs=1).initialize()
    before = weights(fit)
    fit.scaler_ = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    fit.partial_fit(X, y)
    assert_array_equal(weights(fit), before)
    assert fit.scaler_.get_scale() == 2.0**117  # halved by each of three steps


def test_parts_in_half_precision_add_up():
    params = {"mixed_precision": "fp16", "max_epochs": 1, **SINGLE}
    whole = net(**params, callbacks=[Seen()]).fit(X, y)
    parts = net(**params, callbacks=[Seen()], gradient_accumulation=4).fit(X, y)
    assert len(seen_by(whole)) == len(seen_by(parts))
    assert_allclose(seen_by(whole)[0], seen_by(parts)[0], rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"gradient_accumulation": 0}, "'gradient_accumulation' parameter"),
        ({"gradient_accumulation": True}, "'gradient_accumulation' parameter"),
        ({"mixed_precision": "float16"}, "'mixed_precision' parameter of SAMNetCl"),
        ({"mixed_precision": "bf16"}, "needs a module in float32, got torch.float64"),
        (
            {"mixed_precision": "fp16", "solver": "esam"},
            "scales losses, which solver='esam' compares",
        ),
        (
            {"gradient_accumulation": 2, "solver": "esam"},
            "must be 1 for a solver that chooses rows, got 2",
        ),
        (
            {"gradient_accumulation": 2, "solver": options.SAM(micro_batch_size=3)},
            "must be 1 with solver__micro_batch_size=3",
        ),
    ],
    ids=str,
)
def test_parts_and_precisions_that_do_not_go_together(params, message):
    with pytest.raises(ValueError, match=message):
        net(**params).fit(X, y)


def test_the_parameters_are_cloned():
    params = {"gradient_accumulation": 2, "mixed_precision": "bf16"}
    assert params.items() <= clone(net(**params)).get_params().items()
