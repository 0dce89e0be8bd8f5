"""Training by Hugging Face's Trainer is that of a plain loop, with the example's code."""

import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import SequentialSampler

from sksharp.optim import SAM

from .cases import equal

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

EXAMPLE = Path(__file__).parents[2] / "examples" / "trainer_sam.py"
X = np.random.default_rng(0).normal(size=(64, 64))
y = np.arange(64) % 10
OVER_SGD = {"base_optimizer": torch.optim.SGD, "rho": 0.2, "lr": 0.1}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example():
    return SimpleNamespace(**runpy.run_path(str(EXAMPLE), run_name="example"))


@pytest.fixture
def fit(example, tmp_path):
    """Return a function that trains by the example's Trainer, in order of the rows."""
    from accelerate.state import AcceleratorState, GradientState

    class InOrder(example.SAMTrainer):
        def _get_train_sampler(self, *args, **kwargs):
            return SequentialSampler(self.train_dataset)

    def fit(optimizer=example.TrainerSAM, trainer=InOrder, options=OVER_SGD, **params):
        with torch.random.fork_rng(devices=[]):
            arguments = transformers.TrainingArguments(
                str(tmp_path),
                num_train_epochs=2,
                lr_scheduler_type="constant",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                dataloader_pin_memory=False,
                **{"per_device_train_batch_size": 16, **params},
            )
            made = trainer(
                network(example),
                arguments,
                train_dataset=example.make_rows(X, y),
                optimizer_cls_and_kwargs=(optimizer, options),
            )
            loss = made.train().training_loss
        return made.model, loss

    yield fit
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def network(example):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = example.make_network()
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return net


def by_hand(example, size):
    net = network(example).train()
    names = transformers.Trainer.get_decay_parameter_names(None, net)
    groups = [
        {
            "params": [
                p for name, p in net.named_parameters() if (name in names) is decays
            ]
        }
        for decays in (True, False)
    ]
    optimizer = SAM(groups, **OVER_SGD)
    images = torch.tensor(X, dtype=torch.float32).reshape(-1, 1, 8, 8)
    labels, losses = torch.tensor(y), []
    for _ in range(2):
        for batch in torch.arange(64).split(size):

            def closure(batch=batch):
                optimizer.zero_grad()
                loss = net(pixel_values=images[batch], labels=labels[batch]).loss
                loss.backward()
                return loss.detach()

            losses.append(optimizer.step(closure))
    return net, torch.stack(losses).mean().item()


def test_steps_are_those_of_a_plain_loop_bit_for_bit(example, fit):
    net, loss = fit()
    expected, expected_loss = by_hand(example, 16)
    assert equal(net.state_dict().values(), expected.state_dict().values())
    assert loss == pytest.approx(expected_loss)


def test_accumulated_steps_are_those_of_whole_minibatches(example, fit):
    net, loss = fit(gradient_accumulation_steps=2)
    expected, expected_loss = by_hand(example, 32)
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert loss == pytest.approx(expected_loss)


def test_trainers_clipping_has_no_effect_and_that_of_the_optimizer_has(fit):
    net, _ = fit()
    theirs, _ = fit(max_grad_norm=1e-6)
    ours, _ = fit(options={**OVER_SGD, "max_grad_norm": 1e-6})
    assert equal(net.parameters(), theirs.parameters())
    assert not equal(net.parameters(), ours.parameters())


def test_bfloat16_trains_weights_of_float32(fit):
    net, loss = fit(bf16=True)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert loss == pytest.approx(fit()[1], rel=0.01)


def test_trainer_itself_needs_the_subclass(fit):
    with pytest.raises(TypeError, match=r"SAM.step needs a closure"):
        fit(SAM, partial(transformers.Trainer))


def test_scaled_gradients_are_refused(fit):
    with pytest.raises(ValueError, match="fp16 must be False"):
        fit(fp16=True)
