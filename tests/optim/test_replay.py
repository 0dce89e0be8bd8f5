"""A step with two evaluations counts each batch once, however the module runs."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from sksharp.optim import SAM

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).double()


class Norm(nn.Module):
    """Batch normalization that is none of torch's classes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))
        self.register_buffer("running_var", torch.ones(3))

    def forward(self, x):
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, training=True
        )


def make_model(layer=nn.BatchNorm1d):
    norm = layer() if layer is Norm else layer(3)
    return nn.Sequential(nn.Linear(2, 3), norm, nn.Linear(3, 1)).double()


def in_thread(module):
    def call(x):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(module, x).result()

    return call


def layer_in_thread(model):
    return lambda x: model[2](in_thread(model[1])(model[0](x)))


def traced(model):
    before = copy.deepcopy(model.state_dict())
    script = torch.jit.trace(model, X, check_trace=False)
    script.load_state_dict(before)  # tracing evaluates it
    return script


def scripted_block(model):
    return nn.Sequential(torch.jit.script(model[:2]), model[2])


WAYS = {
    "script": torch.jit.script,
    "trace": traced,
    "trace, then evaluation": lambda model: traced(model).eval(),
    "block of a script": scripted_block,
    "graph": torch.fx.symbolic_trace,
    "thread": in_thread,
    "script in a thread": lambda model: in_thread(torch.jit.script(model)),
    "DataParallel": nn.DataParallel,
}


def take_step(module, call, replay):
    optimizer = SAM(module.parameters(), lr=0.1, rho=0.3, replay=replay)

    def closure():
        optimizer.zero_grad()
        loss = call(X).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)


def assert_one_batch(call, model, given):
    """Assert the statistics of one evaluation at the weights before the step."""
    module = call if isinstance(call, nn.Module) else model
    expected = copy.deepcopy(model)
    expected.train()(X)
    take_step(module, call, module if given else True)
    for key, buffer in expected.named_buffers():
        (actual,) = (b for name, b in module.named_buffers() if name.endswith(key))
        torch.testing.assert_close(actual, buffer, rtol=1e-12, atol=1e-12, msg=key)


@pytest.mark.parametrize("given", [False, True], ids=["found", "given"])
@pytest.mark.parametrize("layer", [nn.BatchNorm1d, Norm])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_batch_counts_once(way, layer, given):
    model = make_model(layer)
    assert_one_batch(way(model), model, given)


# a layer without parameters is nobody's, if it is called by another thread
@pytest.mark.parametrize(
    ("layer", "given"), [(nn.BatchNorm1d, False), (nn.BatchNorm1d, True), (Norm, True)]
)
def test_a_layer_that_another_thread_calls_counts_once(layer, given):
    model = make_model(layer)
    assert_one_batch(layer_in_thread(model), model, given)


def test_two_threads_at_once_count_their_halves():
    model, first = make_model(), threading.Event()

    def call(x):
        def half(part):
            first.wait()
            return model(part)

        with ThreadPoolExecutor(2) as pool:
            parts = [pool.submit(half, part) for part in x.split(3)]
            first.set()
            return torch.cat([part.result() for part in parts])

    take_step(model, call, True)
    assert model[1].num_batches_tracked == 2


def test_a_module_of_others_counts_what_it_is_given_in_another_thread():
    model, foreign, expected = make_model(), make_model(), make_model()
    expected.load_state_dict(foreign.state_dict())

    def call(x):
        in_thread(foreign)(x)
        return model(x)

    take_step(model, call, True)
    for _ in range(2):
        expected(X)
    for key, buffer in expected.named_buffers():
        assert torch.equal(foreign.get_buffer(key), buffer), key
