"""Training by Lightning's Trainer is that of a plain loop, with the code of the page."""

import re
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from sksharp.averaging import SWA, update_bn
from sksharp.optim import (
    ASAM,
    ESAM,
    GSAM,
    MSAM,
    SAM,
    WSAM,
    Adam,
    AdamW,
    FisherSAM,
    FriendlySAM,
    Lookahead,
    LookSAM,
    Muon,
    RAdam,
    Ranger,
    ScheduleFree,
    YellowFin,
    scaled_step,
)

from .cases import equal

PAGE = Path(__file__).parents[2] / "docs" / "lightning.md"

pytestmark = [
    pytest.mark.slow,
    # of Lightning: its use of torch, and what it advises for large data
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]

OVER_ADAM = {"base_optimizer": torch.optim.Adam, "rho": 0.2, "lr": 0.01}
TWO_GRADIENTS = {
    "SAM": partial(SAM, **OVER_ADAM),
    "SAM over SGD, clipped": partial(SAM, rho=0.2, max_grad_norm=0.1, lr=0.1),
    "SAM every other step": partial(SAM, interval=2, start=1, **OVER_ADAM),
    "SAM over Lookahead": partial(
        SAM, base_optimizer=partial(Lookahead, k=3), rho=0.2, lr=0.01
    ),
    "WSAM": partial(WSAM, rho=0.2, lr=0.1),
    "ASAM": partial(ASAM, **OVER_ADAM),
    "GSAM": partial(GSAM, **OVER_ADAM),
    "FisherSAM": partial(FisherSAM, **OVER_ADAM),
    "FriendlySAM": partial(FriendlySAM, **OVER_ADAM),
    "LookSAM": partial(LookSAM, looksam_k=2, **OVER_ADAM),
    "Lookahead over SAM": partial(
        Lookahead, base_optimizer=partial(SAM, base_optimizer=Adam), k=3, lr=0.01
    ),
}
ONE_GRADIENT = {
    "Adam": partial(Adam, lr=0.01),
    "AdamW": partial(AdamW, lr=0.01, weight_decay=0.1),
    "RAdam": partial(RAdam, lr=0.01),
    "Ranger": partial(Ranger, k=4, lr=0.01),
    "Lookahead": partial(Lookahead, base_optimizer=torch.optim.SGD, k=4, lr=0.1),
    "MSAM": partial(MSAM, rho=0.3, lr=0.1, momentum=0.9),
    "MSAM over Ranger": partial(MSAM, base_optimizer=Ranger, k=4, rho=0.3, lr=0.01),
    "ScheduleFree": partial(ScheduleFree, lr=0.01, warmup=3),
    "Muon": partial(Muon, lr=0.01),
    "YellowFin": partial(YellowFin, lr=0.1),
}
METHODS = TWO_GRADIENTS | ONE_GRADIENT
SOME = {
    name: METHODS[name] for name in ("SAM", "WSAM", "Ranger", "MSAM", "ScheduleFree")
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
each_with_two = pytest.mark.parametrize(
    "method", TWO_GRADIENTS.values(), ids=TWO_GRADIENTS
)
each_with_one = pytest.mark.parametrize(
    "method", ONE_GRADIENT.values(), ids=ONE_GRADIENT
)

X = torch.arange(120.0).reshape(30, 4).sin()
Y = torch.arange(30) % 2
BATCHES = DataLoader(TensorDataset(X, Y), batch_size=6)  # five an epoch
SAM_ADAM = TWO_GRADIENTS["SAM"]


@pytest.fixture(scope="module")
def page():
    """Return what the code of the page defines."""
    pytest.importorskip("lightning")
    namespace = {"__name__": "lightning_page"}
    text = PAGE.read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec")
        warnings.filterwarnings("ignore", ".*does not have many workers")
        for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            exec(compile(block, PAGE, "exec"), namespace)
    return SimpleNamespace(**namespace)


@pytest.fixture
def trainer(page, tmp_path):
    """Return a function that makes trainers which leave nothing behind."""

    class Seeds(page.L.Callback):
        """Seeds every minibatch, so that the masks of dropout are known."""

        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            torch.manual_seed(100 * trainer.current_epoch + batch_idx)

    def make(n_epochs=2, callbacks=(), **options):
        return page.L.Trainer(
            **{**page.quiet, **options},
            max_epochs=n_epochs,
            callbacks=[Seeds(), *callbacks],
            default_root_dir=tmp_path,
        )

    return make


def module_of(page, method, kind="Classifier", **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(page, kind)(method, **arguments)


def by_hand(page, method, n_epochs=2, schedule=None, after_epoch=None, take=None):
    """Train in a plain loop; return the network, the optimizer and the losses."""
    net = module_of(page, method).net
    optimizer = method(net.parameters())
    scheduler, interval = schedule(optimizer) if schedule else (None, None)
    losses = []
    for epoch in range(n_epochs):
        for i, (rows, labels) in enumerate(BATCHES):
            torch.manual_seed(100 * epoch + i)

            def closure(rows=rows, labels=labels):
                optimizer.zero_grad()
                loss = F.cross_entropy(net(rows), labels)
                loss.backward()
                return loss.detach()

            step = optimizer.step if take is None else partial(take, net, optimizer)
            losses.append(step(closure))
            if interval == "step":
                scheduler.step()
        if interval == "epoch":
            scheduler.step()
        if after_epoch is not None:
            after_epoch(epoch, net, optimizer)
    return SimpleNamespace(net=net, optimizer=optimizer, losses=losses)


def are_alike(module, net):
    """Whether weights and buffers are the same bit for bit."""
    return equal(module.net.state_dict().values(), net.state_dict().values())


# -- steps -------------------------------------------------------------------------------


@each_method
def test_a_fit_is_a_plain_loop_bit_for_bit(page, trainer, method):
    module = module_of(page, method)
    training = trainer()
    training.fit(module, BATCHES)
    assert are_alike(module, by_hand(page, method).net)
    assert training.global_step == 10


@each_method
def test_manual_optimization_is_a_plain_loop_bit_for_bit(page, trainer, method):
    module = module_of(page, method, "Accumulating", n_micro_batches=1)
    training = trainer()
    training.fit(module, BATCHES)
    assert are_alike(module, by_hand(page, method).net)
    assert training.global_step == 10


@each_with_one
def test_one_gradient_needs_no_closure_in_manual_optimization(page, trainer, method):
    class Manual(page.Classifier):
        def __init__(self, method):
            super().__init__(method)
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Manual(method)
    trainer().fit(module, BATCHES)
    assert are_alike(module, by_hand(page, method).net)


@each_with_two
def test_two_gradients_without_a_closure_are_refused(page, trainer, method):
    class Manual(page.Classifier):
        def __init__(self, method):
            super().__init__(method)
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            self.manual_backward(self.loss(batch))
            self.optimizers().step()

    with pytest.raises(ValueError, match=r"closure must compute .* Lightning's"):
        trainer().fit(Manual(method), BATCHES)


@pytest.mark.parametrize("method", [SAM_ADAM, METHODS["Lookahead over SAM"]])
def test_the_loss_of_an_epoch_is_that_at_the_weights(page, trainer, method):
    training = trainer(n_epochs=1)
    training.fit(module_of(page, method), BATCHES)
    losses = by_hand(page, method, n_epochs=1).losses
    torch.testing.assert_close(
        training.callback_metrics["train_loss"], torch.stack(losses).mean()
    )


@each_with_two
def test_a_minibatch_without_a_loss_is_skipped(page, trainer, method):
    class Skips(page.Classifier):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 2 else self.loss(batch)

    def take(net, optimizer, closure):
        if torch.equal(closure.__defaults__[0], X[12:18]):
            return optimizer.step(optimizer.zero_grad)
        return optimizer.step(closure)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Skips(method)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*`training_step` returned `None`")
        trainer().fit(module, BATCHES)
    assert are_alike(module, by_hand(page, method, take=take).net)


def test_esam_is_refused(page, trainer):
    esam = partial(ESAM, rho=0.1, lr=0.1)
    with pytest.raises(TypeError, match="use SAM"):
        trainer().fit(module_of(page, esam), BATCHES)

    class Rows(page.Classifier):
        def __init__(self, method):
            super().__init__(method)
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            def closure(rows=slice(None)):
                return F.cross_entropy(self(batch[0]), batch[1], reduction="none")[rows]

            self.optimizers().step(closure)

    with pytest.raises(TypeError, match="through Lightning take none: use SAM"):
        trainer().fit(Rows(esam), BATCHES)


# -- gradient accumulation ---------------------------------------------------------------


@each_with_two
def test_accumulated_gradients_are_refused(page, trainer, method):
    with pytest.raises(ValueError, match="accumulate_grad_batches"):
        trainer(accumulate_grad_batches=2).fit(module_of(page, method), BATCHES)


@each_with_one
def test_one_gradient_is_accumulated(page, trainer, method):
    module = module_of(page, method)
    trainer(accumulate_grad_batches=2).fit(module, BATCHES)

    net = module_of(page, method).net
    optimizer = method(net.parameters())
    for epoch in range(2):
        for i, (rows, labels) in enumerate(BATCHES):
            torch.manual_seed(100 * epoch + i)
            loss = F.cross_entropy(net(rows), labels) / 2
            if i % 2 == 0:
                optimizer.zero_grad()
            loss.backward()
            if i % 2 or i == 4:  # the last one alone
                optimizer.step()
    assert are_alike(module, net)


@each_method
def test_micro_batches_are_one_minibatch(page, trainer, method):
    """Without batch normalization and dropout, which see them one by one."""

    def plain(page):
        module = module_of(page, method, "Accumulating", n_micro_batches=2)
        for place, layer in enumerate(module.net):
            if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.Dropout):
                module.net[place] = torch.nn.Identity()
        return module.double()

    modules, trainings = [], []
    for n_micro_batches in (2, 1):
        data = TensorDataset(X.double(), Y)
        batches = DataLoader(data, batch_size=12 // n_micro_batches)
        module = plain(page)
        module.n_micro_batches = n_micro_batches
        modules.append(module)
        trainings.append(trainer())
        trainings[-1].fit(module, batches)
    assert [training.global_step for training in trainings] == [6, 6]
    for p, q in zip(*(module.parameters() for module in modules), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-7, atol=1e-9)


# -- clipping ----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@each_with_two
def test_gradients_are_clipped_one_by_one(page, trainer, method, algorithm):
    module = module_of(page, method)
    trainer(gradient_clip_val=0.05, gradient_clip_algorithm=algorithm).fit(
        module, BATCHES
    )
    clip = getattr(torch.nn.utils, f"clip_grad_{algorithm}_")

    def take(net, optimizer, closure):
        def clipping():
            loss = closure()
            clip(net.parameters(), 0.05)
            return loss

        return optimizer.step(clipping)

    clipped = by_hand(page, method, take=take).net
    assert are_alike(module, clipped)
    assert not are_alike(module, by_hand(page, method).net)


# -- mixed precision ---------------------------------------------------------------------


@each_method
def test_bfloat16_is_a_plain_loop_under_autocast(page, trainer, method):
    module = module_of(page, method)
    trainer(precision="bf16-mixed").fit(module, BATCHES)

    def take(net, optimizer, closure):
        def cast():
            with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
                return closure()

        return optimizer.step(cast)

    assert are_alike(module, by_hand(page, method, take=take).net)


@each_method
def test_float16_is_a_plain_loop_with_scaled_steps(page, trainer, method):
    module = module_of(page, method)
    plugin = page.ScaledPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    trainer(plugins=plugin).fit(module, BATCHES)
    scaler = torch.amp.GradScaler("cpu")

    def take(net, optimizer, closure):
        rows, labels = closure.__defaults__

        def scaled():
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16, cache_enabled=False):
                loss = F.cross_entropy(net(rows), labels)
            scaler.scale(loss).backward()
            return loss.detach()

        return scaled_step(scaler, optimizer, scaled)

    assert are_alike(module, by_hand(page, method, take=take).net)
    assert plugin.scaler.state_dict() == scaler.state_dict()


@each_with_two
def test_lightnings_own_float16_is_refused_with_two_gradients(page, trainer, method):
    plugin = page.MixedPrecision("16-mixed", "cpu")
    with pytest.raises(TypeError, match=r"GradScaler calls step without .*scaled_step"):
        trainer(plugins=plugin).fit(module_of(page, method), BATCHES)


@each_with_one
def test_lightnings_own_float16_is_that_of_scaled_steps(page, trainer, method):
    modules = []
    for plugin in (page.MixedPrecision, page.ScaledPrecision):
        modules.append(module_of(page, method))
        trainer(plugins=plugin("16-mixed", "cpu")).fit(modules[-1], BATCHES)
    assert are_alike(*(modules[0], modules[1].net))


def test_clipping_of_scaled_gradients_is_refused(page, trainer):
    plugin = page.ScaledPrecision("16-mixed", "cpu")
    with pytest.raises(ValueError, match="would clip scaled gradients"):
        trainer(plugins=plugin, gradient_clip_val=1.0).fit(
            module_of(page, SAM_ADAM), BATCHES
        )


# -- schedules ---------------------------------------------------------------------------

SCHEDULES = {
    "step": lambda o: (torch.optim.lr_scheduler.StepLR(o, 3, 0.5), "step"),
    "epoch": lambda o: (torch.optim.lr_scheduler.ExponentialLR(o, 0.5), "epoch"),
    "one cycle": lambda o: (
        torch.optim.lr_scheduler.OneCycleLR(
            o, 0.05, total_steps=10, cycle_momentum=False
        ),
        "step",
    ),
}


def scheduled(page, method, schedule):
    """Return a module with a schedule."""

    class Scheduled(page.Classifier):
        def configure_optimizers(self):
            optimizer = self.make_optimizer(self.parameters())
            scheduler, interval = schedule(optimizer)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "interval": interval},
            }

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Scheduled(method)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("method", SOME.values(), ids=SOME)
def test_schedules_are_those_of_a_plain_loop(page, trainer, method, schedule):
    module = scheduled(page, method, schedule)
    trainer().fit(module, BATCHES)
    assert are_alike(module, by_hand(page, method, schedule=schedule).net)
    assert not are_alike(module, by_hand(page, method).net)


def test_one_cycle_moves_the_momentum_of_the_base_too(page, trainer):
    module = module_of(page, SAM_ADAM, "Scheduled")
    trainer().fit(module, BATCHES)

    def schedule(optimizer):
        one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, 10)
        return one_cycle, "step"

    assert are_alike(module, by_hand(page, SAM_ADAM, schedule=schedule).net)


# -- checkpoints -------------------------------------------------------------------------


@each_method
def test_a_resumed_fit_is_an_uninterrupted_one_bit_for_bit(
    page, trainer, method, tmp_path
):
    path, schedule = tmp_path / "half.ckpt", SCHEDULES["step"]
    first = trainer(n_epochs=1)
    first.fit(scheduled(page, method, schedule), BATCHES)
    first.save_checkpoint(path)

    module = scheduled(page, method, schedule)
    second = trainer(n_epochs=3)
    second.fit(module, BATCHES, ckpt_path=path)
    whole = scheduled(page, method, schedule)
    trainer(n_epochs=3).fit(whole, BATCHES)
    assert second.global_step == 15
    assert are_alike(module, whole.net)


def test_steps_that_pass_by_lightning_are_not_counted(page, trainer):
    class Parts(page.Accumulating):
        def training_step(self, batch, batch_idx):
            def closure():
                loss = self.loss(batch)
                self.manual_backward(loss)
                return loss

            self.optimizers().optimizer.step([closure])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Parts(SAM_ADAM, 1)
    training = trainer(enable_checkpointing=True)
    training.fit(module, BATCHES)
    assert are_alike(module, by_hand(page, SAM_ADAM).net)
    assert training.global_step == 0
    assert not training.checkpoint_callback.best_model_path


# -- weights to evaluate the model with --------------------------------------------------


@each_method
def test_validations_and_the_end_are_at_the_weights_to_evaluate_with(
    page, trainer, method, tmp_path
):
    module = module_of(page, method, "Validated")
    rows, labels = X[:8], Y[:8]
    seen, path = [], tmp_path / "saved.ckpt"

    class Watch(page.L.Callback):
        def on_validation_epoch_end(self, trainer, module):
            seen.append(trainer.callback_metrics["val_loss"].item())

        def on_train_epoch_end(self, trainer, module):
            trainer.save_checkpoint(path)

    callbacks = [page.Evaluating(), Watch()]
    trainer(callbacks=callbacks, num_sanity_val_steps=0).fit(
        module, BATCHES, DataLoader(TensorDataset(rows, labels), 8)
    )
    expected = []

    def validate(epoch, net, optimizer):
        net.eval()
        with optimizer.evaluating(), torch.no_grad():
            expected.append(F.cross_entropy(net(rows), labels).item())
        net.train()

    plain = by_hand(page, method, after_epoch=validate)
    assert seen == expected
    saved = torch.load(path, weights_only=False)
    prefix = len("net.")
    assert equal(
        [v for k, v in saved["state_dict"].items()], plain.net.state_dict().values()
    )
    plain.optimizer.synchronize()
    assert are_alike(module, plain.net)
    evaluated = {k[prefix:]: v for k, v in saved["evaluation_weights"].items()}
    assert equal(
        [evaluated[name] for name, _ in plain.net.named_parameters()],
        list(plain.net.parameters()),
    )


# -- averages ----------------------------------------------------------------------------


@each_method
def test_the_average_of_epochs_is_that_of_a_plain_loop(page, trainer, method):
    module = module_of(page, method)
    trainer(n_epochs=3, callbacks=[page.Averaging(start=1)]).fit(module, BATCHES)
    average = SWA()

    def after_epoch(epoch, net, optimizer):
        if epoch >= 1:
            average.update(optimizer.evaluation_params())

    net = by_hand(page, method, n_epochs=3, after_epoch=after_epoch).net
    average.copy_to(net.parameters())
    update_bn(BATCHES, net)
    assert average.n_averaged == 2
    assert are_alike(module, net)


def test_an_average_goes_on_from_a_checkpoint(page, trainer, tmp_path):
    path = tmp_path / "half.ckpt"
    modules = []
    for first, last in ((2, 4), (4, None)):
        module, callback = module_of(page, SAM_ADAM), page.Averaging(start=1)
        training = trainer(n_epochs=first, callbacks=[callback])

        if last is not None:
            # before the average replaces the weights

            class Save(page.L.Callback):
                def on_train_epoch_end(self, trainer, module):
                    if trainer.current_epoch == 1:
                        trainer.save_checkpoint(path)

            training.callbacks.append(Save())
        training.fit(module, BATCHES)
        if last is not None:
            module, callback = module_of(page, SAM_ADAM), page.Averaging(start=1)
            trainer(n_epochs=last, callbacks=[callback]).fit(
                module, BATCHES, ckpt_path=path
            )
        modules.append(module)
        assert callback.average.n_averaged == 3
    assert are_alike(modules[0], modules[1].net)


def without_normalization(module):
    module.net[1] = torch.nn.Identity()
    return module


@pytest.mark.parametrize("method", SOME.values(), ids=SOME)
def test_lightnings_averages_are_those_of_the_trained_weights(page, trainer, method):
    module = without_normalization(module_of(page, method))
    # constant rates: those of the optimizer
    lr = method.keywords["lr"]
    swa = page.L.pytorch.callbacks.StochasticWeightAveraging(lr, 2, annealing_epochs=1)
    trainer(n_epochs=4, callbacks=[swa]).fit(module, BATCHES)

    # the weights at the beginning of the epochs from the second on
    copies = without_normalization(module_of(page, method)).net
    optimizer, average = method(copies.parameters()), SWA()
    for epoch in range(4):
        if epoch >= 1:
            average.update(copies.parameters())
        for i, (rows, labels) in enumerate(BATCHES):
            torch.manual_seed(100 * epoch + i)

            def closure(rows=rows, labels=labels):
                optimizer.zero_grad()
                loss = F.cross_entropy(copies(rows), labels)
                loss.backward()
                return loss

            optimizer.step(closure)
    average.copy_to(copies.parameters())
    for p, q in zip(module.parameters(), copies.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@each_with_two
def test_the_epoch_for_normalization_of_lightning_is_refused(page, trainer, method):
    swa = page.L.pytorch.callbacks.StochasticWeightAveraging(
        0.05, 2, annealing_epochs=1
    )
    with pytest.raises(ValueError, match=r"average with sksharp\.averaging"):
        trainer(n_epochs=3, callbacks=[swa]).fit(module_of(page, method), BATCHES)


def test_lightnings_running_average_is_that_of_every_step(page, trainer):
    module = module_of(page, SAM_ADAM)
    average = SWA()

    def take(net, optimizer, closure):
        optimizer.step(closure)
        average.update(net.parameters())

    trainer(callbacks=[page.L.pytorch.callbacks.WeightAveraging()]).fit(module, BATCHES)
    net = by_hand(page, SAM_ADAM, take=take).net
    average.copy_to(net.parameters())
    for p, q in zip(module.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


# -- two optimizers ----------------------------------------------------------------------


@pytest.mark.parametrize("second", SOME.values(), ids=SOME)
def test_two_optimizers_take_turns_as_in_a_plain_loop(page, trainer, second):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = page.TwoRadii(SAM_ADAM, second)
    training = trainer()
    training.fit(module, BATCHES)
    net = module_of(page, None).net
    parts = [net[:-1], net[-1]]
    optimizers = [
        make(part.parameters())
        for make, part in zip((SAM_ADAM, second), parts, strict=True)
    ]
    for epoch in range(2):
        for i, (rows, labels) in enumerate(BATCHES):
            torch.manual_seed(100 * epoch + i)
            for optimizer, part in zip(optimizers, parts, strict=True):

                def closure(optimizer=optimizer, part=part, rows=rows, labels=labels):
                    optimizer.zero_grad()
                    loss = F.cross_entropy(net(rows), labels)
                    params = list(part.parameters())
                    grads = torch.autograd.grad(loss, params)
                    for p, grad in zip(params, grads, strict=True):
                        p.grad = grad
                    return loss

                optimizer.step(closure)
    assert are_alike(module, net)
    assert training.global_step == 20
