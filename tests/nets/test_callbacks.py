"""Averages and snapshots as callbacks of a skorch net."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn

from sksharp import options
from sksharp.nets import Snapshots, WeightAveraging
from sksharp.optim import ScheduleFree

from .modules import Small, rows, weights

X, y = rows()
y = np.unique(y, return_inverse=True)[1]
EPOCHS, BATCH = 6, 11


def net(callbacks, **params):
    torch.manual_seed(0)
    return NeuralNetClassifier(
        Small,
        **{
            "module__n_features_in": 4,
            "module__n_outputs": 3,
            "criterion": nn.CrossEntropyLoss,
            "lr": 0.1,
            "max_epochs": EPOCHS,
            "batch_size": BATCH,
            "train_split": None,
            "callbacks": callbacks,
            "verbose": 0,
            **params,
        },
    )


def loop(model, optimizer, after_step=None, after_epoch=None, epochs=EPOCHS):
    """Train by hand on the minibatches of a net."""
    inputs, targets = torch.as_tensor(X), torch.as_tensor(y)
    for epoch in range(epochs):
        model.train()
        for rows_now in torch.arange(len(X)).split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                model(inputs[rows_now]), targets[rows_now]
            )
            loss.backward()
            optimizer.step()
            if after_step:
                after_step()
        if after_epoch:
            after_epoch(epoch)


def by_hand(**module):
    torch.manual_seed(0)
    model = Small(4, 3, **module)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def average_of(net):
    return next(cb for _, cb in net.callbacks_ if isinstance(cb, WeightAveraging))


def test_swa_is_the_hand_written_loop_of_torch():
    model, optimizer = by_hand()
    averaged = AveragedModel(model)
    schedule = SWALR(optimizer, swa_lr=0.02, anneal_epochs=2)

    def after_epoch(epoch):
        if epoch >= 3:
            averaged.update_parameters(model)
        if epoch >= 2:  # before the first epoch of the average
            schedule.step()

    loop(model, optimizer, after_epoch=after_epoch)
    swa = options.SWA(start=3, lr=0.02, anneal=2)
    fitted = net([WeightAveraging(swa)]).fit(X, y)
    assert average_of(fitted).n_averaged_ == averaged.n_averaged == 3
    for p, expected in zip(
        fitted.module_.parameters(), averaged.module.parameters(), strict=True
    ):
        assert_allclose(p.detach(), expected.detach(), rtol=0, atol=1e-15)


def test_ema_is_the_hand_written_loop_of_torch():
    model, optimizer = by_hand()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8))
    loop(model, optimizer, after_step=lambda: averaged.update_parameters(model))
    fitted = net([WeightAveraging(ema_decay=0.8, warm_up=False)]).fit(X, y)
    for p, expected in zip(
        fitted.module_.parameters(), averaged.module.parameters(), strict=True
    ):
        assert_allclose(p.detach(), expected.detach(), rtol=0, atol=1e-15)


def test_statistics_of_batch_normalization_are_those_of_the_average():
    fitted = net([WeightAveraging()], module__bn=True, batch_size=12).fit(X, y)
    first, norm = fitted.module_.layers[0], fitted.module_.layers[1]
    with torch.no_grad():
        given = first(torch.as_tensor(X)).numpy()
    assert_allclose(norm.running_mean, given.mean(0), rtol=1e-12)
    assert_allclose(norm.running_var, given.var(0, ddof=1), rtol=1e-12)


def test_validation_rows_are_no_part_of_the_statistics():
    fitted = net([WeightAveraging()], module__bn=True, train_split=ValidSplit(4)).fit(
        X, y
    )
    train, _ = ValidSplit(4)(X, y)
    with torch.no_grad():
        given = fitted.module_.layers[0](torch.as_tensor(X[train.indices])).numpy()
    assert_allclose(fitted.module_.layers[1].running_mean, given.mean(0), rtol=1e-12)


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("bn", [False, True])
@pytest.mark.parametrize("average", [{"swa": True}, {"ema_decay": 0.7}])
def test_averaging_does_not_change_the_training(average, bn, validate):
    def seen(callbacks):
        fitted = net(callbacks, module__bn=bn, train_split=ValidSplit(4)).fit(X, y)
        return fitted, fitted.history[:, "train_loss"]

    _, losses = seen([])
    averaged, losses_too = seen([WeightAveraging(**average, validate=validate)])
    assert losses_too == losses
    # nor that of the next call, which goes on from the weights of training
    plain, _ = seen([])
    for each in (plain, averaged):
        each.partial_fit(X, y)
    assert averaged.history[:, "train_loss"] == plain.history[:, "train_loss"]
    if "swa" in average:  # up to where an average is validated again
        ours, theirs = (each.history[EPOCHS : EPOCHS + 4] for each in (averaged, plain))
        losses = [[epoch["valid_loss"] for epoch in each] for each in (ours, theirs)]
        assert losses[0] == losses[1]


def test_the_validation_loss_is_that_of_the_average():
    callback = WeightAveraging(ema_decay=0.7)
    fitted = net([callback], module__bn=True, train_split=ValidSplit(4)).fit(X, y)
    _, held = ValidSplit(4)(X, y)
    logits = fitted.forward(X[held.indices])
    loss = nn.functional.cross_entropy(logits, torch.as_tensor(y[held.indices]))
    assert_allclose(fitted.history[-1, "valid_loss"], loss.item(), rtol=1e-12)


def test_early_stopping_of_skorch_restores_an_average():
    callbacks = [
        WeightAveraging(ema_decay=0.7),
        EarlyStopping(patience=2, load_best=True),
    ]
    fitted = net(
        callbacks, train_split=ValidSplit(4), max_epochs=40, lr=5.0, batch_size=5
    ).fit(X, y)
    _, held = ValidSplit(4)(X, y)
    logits = fitted.forward(X[held.indices])
    loss = nn.functional.cross_entropy(logits, torch.as_tensor(y[held.indices]))
    assert_allclose(min(fitted.history[:, "valid_loss"]), loss.item(), rtol=1e-12)


def test_weights_that_were_written_by_others_are_trained_on():
    fitted = net([WeightAveraging()]).fit(X, y)
    zeros = {k: torch.zeros_like(v) for k, v in fitted.module_.state_dict().items()}
    fitted.module_.load_state_dict(zeros)
    fitted.partial_fit(X, y)
    other = net([]).initialize()
    other.module_.load_state_dict(zeros)
    other.partial_fit(X, y)
    assert fitted.history[-1, "train_loss"] == other.history[-1, "train_loss"]


def test_the_average_is_over_the_weights_that_an_optimizer_evaluates_with():
    swa = options.SWA(start=5)
    fitted = net([WeightAveraging(swa)], optimizer=ScheduleFree).fit(X, y)
    alone = net([], optimizer=ScheduleFree).fit(X, y)
    alone.optimizer_.synchronize()
    assert_array_equal(weights(fitted), weights(alone))


def test_a_net_with_an_average_is_pickled_and_goes_on():
    fitted = net([WeightAveraging(ema_decay=0.7)]).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.weight_averaging_ is average_of(again)
    for each in (fitted, again):
        each.partial_fit(X, y)
    assert_array_equal(weights(fitted), weights(again))


def test_snapshots_are_the_hand_written_cycles():
    model, optimizer = by_hand(bn=True)
    expected, steps, taken = [], -(-len(X) // BATCH), 0

    def set_rate():
        nonlocal taken
        taken += 1
        share = (taken % (3 * steps)) / (3 * steps)
        optimizer.param_groups[0]["lr"] = 0.1 * (1 + np.cos(np.pi * share)) / 2

    def after_epoch(epoch):
        if epoch in (2, 5):
            model.eval()
            with torch.no_grad():
                expected.append(torch.softmax(model(torch.as_tensor(X)), 1).numpy())

    loop(model, optimizer, set_rate, after_epoch)
    fitted = net([Snapshots(n=2)], module__bn=True).fit(X, y)
    before = weights(fitted)
    found = fitted.snapshots_.predict_proba(fitted, X)
    assert_allclose(found, np.mean(expected, axis=0), rtol=0, atol=1e-15)
    assert_array_equal(weights(fitted), before)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (WeightAveraging(True, 0.9), "takes swa or ema_decay"),
        (WeightAveraging(swa=False), "must have something to average"),
        (WeightAveraging(swa="swa"), "swa must be True, None or an object"),
        (WeightAveraging(ema_decay=1.0), r"ema_decay must be a number in \[0, 1\)"),
        (WeightAveraging(options.SWA(start=6)), "start must lie before max_epochs=6"),
        (Snapshots(n=1), "'n' parameter"),
        (Snapshots(n=7), "needs at least 7 epochs, got 6"),
        (Snapshots(n=2, lr_min=0.2), "lr_min must not exceed"),
    ],
)
def test_what_an_average_needs(callback, message):
    with pytest.raises((ValueError, TypeError), match=message):
        net([callback]).fit(X, y)


def test_snapshots_that_have_nothing_do_not_predict():
    fitted = net([Snapshots(n=2)]).fit(X, y)
    fitted.snapshots_.members_.members.clear()
    with pytest.raises(ValueError, match="must have collected"):
        fitted.snapshots_.predict_proba(fitted, X)


def test_a_schedule_of_skorch_works_beside_an_average():
    schedule = LRScheduler("StepLR", step_size=2, gamma=0.5)
    fitted = net([schedule, WeightAveraging()]).fit(X, y)
    assert fitted.optimizer_.param_groups[0]["lr"] == 0.1 * 0.5**3
