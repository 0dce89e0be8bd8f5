import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import get_scorer, log_loss
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from skorch.history import History

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import SWA, LookSAM
from sksharp.options.solvers import SOLVERS, as_solver

from .solvers import reads

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
labels = (X[:, 0] + rng.normal(size=40) > 0).astype(int)
three = np.argmax(X + rng.normal(size=X.shape), axis=1)
target = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=40)

every_solver = pytest.mark.parametrize("solver", SOLVERS)


SHARED = {
    "rho": 0.05,
    "hidden_layer_sizes": (4,),
    "batch_size": 15,
    "learning_rate_init": 0.02,
    "max_iter": 4,
    "random_state": 0,
}


def with_shared(params):
    """Return parameters with the shared ones that the solver reads."""
    solver = params.get("solver", "sam")
    has_radius = solver != "lbfgs" and as_solver(solver).takes_radius
    shared = {name: SHARED[name] for name in SHARED if name != "rho" or has_radius}
    return {**shared, **params}


def make_classifier(**params):
    return SAMMLPClassifier(**with_shared(params))


def make_regressor(**params):
    return SAMMLPRegressor(**with_shared(params))


class Recorder(Callback):
    """Keeps the history, and after every epoch the weights to predict with."""

    def on_train_begin(self, net, **kwargs):
        self.net, self.history, self.epochs = net, net.history, []

    def on_epoch_end(self, net, dataset_train, dataset_valid, **kwargs):
        self.train, self.valid = dataset_train, dataset_valid
        coefs, intercepts = net.module_.split(net.optimizer_.evaluation_params()[0])
        self.epochs.append(
            [
                [array.detach().numpy().copy() for array in part]
                for part in (coefs, intercepts)
            ]
        )

    def models(self, estimator):
        """Return the estimator as it was after every epoch."""
        models = []
        for coefs, intercepts in self.epochs:
            model = copy.copy(estimator)
            model.coefs_, model.intercepts_ = coefs, intercepts
            models.append(model)
        return models


# -- scoring ---------------------------------------------------------------------------

SCORINGS = {
    "accuracy": (make_classifier, labels, "accuracy"),
    "accuracy of words": (make_classifier, np.array(["no", "yes"])[labels], "accuracy"),
    "accuracy of three": (make_classifier, three, "accuracy"),
    "accuracy of several": (make_classifier, np.c_[labels, 1 - labels], "accuracy"),
    "ranking": (make_classifier, labels, "roc_auc"),
    "log-loss of three": (make_classifier, three, "neg_log_loss"),
    "r2": (make_regressor, target, "r2"),
    "squared error of two": (
        make_regressor,
        np.c_[target, -2 * target],
        "neg_mean_squared_error",
    ),
}


@pytest.mark.parametrize("on_train", [True, False], ids=["training", "validation"])
@pytest.mark.parametrize("case", SCORINGS)
def test_scores_of_an_epoch_are_those_of_its_model(case, on_train):
    make, y, scoring = SCORINGS[case]
    recorder = Recorder()
    scores = EpochScoring(
        scoring, on_train=on_train, name="score", lower_is_better=False
    )
    estimator = make(
        early_stopping=not on_train,
        validation_fraction=0.4,
        callbacks=[recorder, ("scores", scores)],
    ).fit(X, y)
    rows = recorder.train if on_train else recorder.valid
    scorer = get_scorer(scoring)
    expected = [scorer(model, rows.X, rows.y) for model in recorder.models(estimator)]
    assert_allclose(recorder.history[:, "score"], expected, rtol=1e-9)
    assert recorder.history[-1, "score_best"] == (expected[-1] > max(expected[:-1]))


@every_solver
def test_the_net_predicts_as_the_estimator_would(solver):
    class Predictions(Callback):
        def on_train_end(self, net, **kwargs):
            self.proba, self.labels = net.predict_proba(X), net.predict(X)
            self.classes = net.classes_

    predictions = Predictions()
    y = np.array(["no", "yes"])[labels]
    clf = make_classifier(solver=solver, callbacks=[predictions]).fit(X, y)
    assert_allclose(predictions.proba, clf.predict_proba(X), rtol=1e-12)
    assert_array_equal(predictions.labels, clf.predict(X))
    assert_array_equal(predictions.classes, clf.classes_)


# -- history ---------------------------------------------------------------------------


def is_best(losses):
    return [
        all(loss < before for before in losses[:i]) for i, loss in enumerate(losses)
    ]


@every_solver
def test_the_history_holds_the_losses_of_epochs_and_batches(solver):
    recorder = Recorder()
    clf = make_classifier(solver=solver, alpha=0.0, callbacks=[recorder]).fit(X, three)
    history = recorder.history
    assert history[:, "epoch"] == [1, 2, 3, 4]
    assert history[:, "train_loss"] == clf.loss_curve_
    assert history[:, "train_loss_best"] == is_best(clf.loss_curve_)
    sizes = history[:, "batches", :, "train_batch_size"]
    assert sizes == [[15, 15, 10]] * 4
    losses = np.array(history[:, "batches", :, "train_loss"])
    assert_allclose((losses * sizes).sum(axis=1) / 40, clf.loss_curve_, rtol=1e-12)
    assert "valid_loss" not in history[-1]


def test_the_losses_of_batches_are_weighted_as_those_of_epochs():
    recorder, weights = Recorder(), np.linspace(0.1, 3, 40)
    clf = make_classifier(alpha=0.0, callbacks=[recorder]).fit(X, three, weights)
    losses = np.array(recorder.history[:, "batches", :, "train_loss"])
    assert_allclose(losses @ [15, 15, 10] / 40, clf.loss_curve_, rtol=1e-12)


def test_the_history_holds_losses_and_scores_of_the_validation_rows():
    recorder = Recorder()
    clf = make_classifier(
        early_stopping=True, validation_fraction=0.4, callbacks=[recorder]
    ).fit(X, three)
    history, rows = recorder.history, recorder.valid
    assert history[:, "valid_score"] == clf.validation_scores_
    assert history[:, "valid_score_best"] == is_best(-np.array(clf.validation_scores_))
    losses = [
        log_loss(rows.y, model.predict_proba(rows.X)) for model in recorder.models(clf)
    ]
    assert_allclose(history[:, "valid_loss"], losses, rtol=1e-12)
    assert history[:, "valid_loss_best"] == is_best(losses)


def test_the_history_can_be_written_to_a_file_and_read_back(tmp_path):
    recorder = Recorder()
    make_classifier(
        early_stopping=True, validation_fraction=0.4, callbacks=[recorder]
    ).fit(X, three)
    recorder.history.to_file(tmp_path / "history.json")
    assert History.from_file(tmp_path / "history.json") == recorder.history


def test_callbacks_see_the_users_rows_and_labels():
    recorder = Recorder()
    y = np.array(["no", "yes"])[labels]
    make_classifier(callbacks=[recorder]).fit(X, y)
    assert_array_equal(recorder.train.X, X)
    assert_array_equal(recorder.train.y, y)
    assert recorder.valid is None


# -- events ----------------------------------------------------------------------------


class Events(Callback):
    """Keeps what it is told of a training, in order."""

    def initialize(self):
        self.order = []
        return self

    def on_train_begin(self, net, **kwargs):
        self.order.append("training")

    def on_train_end(self, net, **kwargs):
        self.order.append("end of training")

    def on_epoch_begin(self, net, **kwargs):
        self.order.append("epoch")

    def on_batch_begin(self, net, batch, training, **kwargs):
        assert training
        self.order.append("batch")
        self.before = net.module_.flat.detach().clone()

    def on_grad_computed(self, net, named_parameters, **kwargs):
        ((name, parameter),) = named_parameters
        assert name == "flat"
        assert parameter.grad.abs().max() > 0
        self.order.append("gradient")

    def on_batch_end(self, net, batch, training, y_pred, loss, **kwargs):
        assert y_pred.shape == (len(batch[0]), 3)
        assert loss.shape == ()
        assert (net.module_.flat != self.before).any()
        self.order.append("end of batch")

    def on_epoch_end(self, net, **kwargs):
        self.order.append("end of epoch")


@every_solver
def test_every_epoch_batch_and_gradient_is_told_in_order(solver):
    events = Events()
    # an ascent in every step
    held = LookSAM(k=1) if solver == "looksam" else solver
    make_classifier(solver=held, callbacks=[events]).fit(X, three)
    n_gradients = 2 if SOLVERS[solver].is_two_gradient else 1
    step = ["batch", *["gradient"] * n_gradients, "end of batch"]
    epochs = ["epoch", *step * 3, "end of epoch"] * 4
    assert events.order == ["training", *epochs, "end of training"]


def test_partial_fit_is_a_training_of_one_epoch():
    events = Events()
    clf = make_classifier(solver="adam", callbacks=[events])
    for _ in range(2):
        clf.partial_fit(X, three, classes=[0, 1, 2])
        step = ["batch", "gradient", "end of batch"]
        epoch = ["epoch", *step * 3, "end of epoch"]
        assert events.order == ["training", *epoch, "end of training"]


OPTIONS = {
    "plain": {},
    "averaging": {"swa": True},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.4},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@every_solver
def test_a_callback_that_does_nothing_changes_nothing(solver, options):
    silent = make_classifier(solver=solver, **options)
    told = clone(silent).set_params(callbacks=[Callback()])
    for model in (silent, told):
        model.fit(X, three, sample_weight=np.arange(1.0, 41))
    assert told.loss_curve_ == silent.loss_curve_
    assert told.validation_scores_ == silent.validation_scores_
    for name in ("coefs_", "intercepts_"):
        for array, expected in zip(
            getattr(told, name), getattr(silent, name), strict=True
        ):
            assert_array_equal(array, expected)


FORMS = {
    "an instance": lambda: [Recorder()],
    "a tuple of them": lambda: (Recorder(), Recorder()),
    "with a name": lambda: [("recorder", Recorder())],
    "a class": lambda: [Recorder],
    "two of a kind": lambda: [Recorder(), Recorder()],
    "none": list,
}


@pytest.mark.parametrize("callbacks", FORMS.values(), ids=FORMS)
def test_callbacks_come_as_skorch_takes_them(callbacks):
    callbacks = callbacks()
    clf = make_classifier(callbacks=callbacks)
    clf.fit(X, labels).fit(X, labels)
    assert clf.callbacks is callbacks
    expected = make_classifier().fit(X, labels)
    assert_array_equal(clf.coefs_[0], expected.coefs_[0])
    for callback in callbacks:
        callback = callback[1] if isinstance(callback, tuple) else callback
        if isinstance(callback, Recorder):
            assert len(callback.epochs) == 4


# -- stopping --------------------------------------------------------------------------


class Stop(Callback):
    """Asks for the end of training at the n-th time of an event."""

    def __init__(self, event, n):
        self.event, self.n, self.left = event, n, n
        setattr(self, event, self.stop)

    def stop(self, net, *args, **kwargs):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


# event, its number, whole epochs and steps until then, of three steps an epoch
STOPS = {
    "at once": ("on_train_begin", 1, 0, 0),
    "before an epoch": ("on_epoch_begin", 2, 1, 3),
    "before a step": ("on_batch_begin", 5, 1, 4),
    "after a step": ("on_batch_end", 5, 1, 5),
    "after an epoch": ("on_epoch_end", 2, 2, 6),
    "in the end": ("on_train_end", 1, 4, 12),
}


class Steps(Callback):
    def on_train_begin(self, net, **kwargs):
        self.weights = [net.optimizer_.evaluation_params()[0].detach().clone()]

    def on_batch_end(self, net, **kwargs):
        self.weights.append(net.optimizer_.evaluation_params()[0].detach().clone())


@pytest.mark.parametrize("stop", STOPS)
@every_solver
def test_a_callback_ends_training_where_it_is_without_a_warning(solver, stop, recwarn):
    event, n, n_epochs, n_steps = STOPS[stop]
    steps = Steps()
    make_classifier(solver=solver, callbacks=[steps]).fit(X, labels)
    recwarn.clear()
    # twice as many epochs as it gets
    max_iter = 4 if event == "on_train_end" else 8
    clf = make_classifier(solver=solver, max_iter=max_iter, tol=0.0)
    clf.set_params(callbacks=[Stop(event, n)]).fit(X, labels)
    flat = np.concatenate([w.ravel() for w in (*clf.coefs_, *clf.intercepts_)])
    assert_array_equal(flat, steps.weights[n_steps])
    assert clf.n_iter_ == len(clf.loss_curve_) == n_epochs
    assert clf.t_ == 40 * n_epochs
    if event != "on_train_end":
        assert not recwarn.list


@pytest.mark.filterwarnings("error")
def test_early_stopping_of_skorch_ends_training_without_a_warning():
    stopping = EarlyStopping(monitor="train_loss", patience=3, threshold=10.0)
    clf = make_classifier(callbacks=[stopping], max_iter=100).fit(X, labels)
    # the first epoch is the best, and none of the next three is 1000 % better
    assert clf.n_iter_ == 1 + 3


def test_an_average_is_of_the_epochs_until_a_callback_stops():
    epochs = [make_classifier(max_iter=n).fit(X, labels).coefs_[0] for n in (3, 4, 5)]
    clf = make_classifier(max_iter=8, swa=SWA(start=2))
    clf.set_params(callbacks=[Stop("on_epoch_end", 5)]).fit(X, labels)
    assert clf.n_averaged_ == 3
    assert_allclose(clf.coefs_[0], np.mean(epochs, axis=0), rtol=1e-12)


# -- skorch's callbacks that change the training ---------------------------------------


def make_linear(**params):
    """Return a regressor that does plain gradient descent on a linear model."""
    return SAMMLPRegressor(
        hidden_layer_sizes=(),
        base_solver="sgd",
        momentum=0.0,
        alpha=0.0,
        shuffle=False,
        random_state=0,
        **{"solver": "sgd", "max_iter": 6, "learning_rate_init": 0.1, **params},
    )


def weights_of(regr):
    return np.append(regr.coefs_[0].ravel(), regr.intercepts_[0])


def start_of(regr):
    still = clone(regr).set_params(
        callbacks=None, learning_rate_init=1e-300, max_iter=1
    )
    return weights_of(still.fit(X, target))


def gradient(weights):
    residual = X @ weights[:3] + weights[3] - target
    return np.append(X.T @ residual, residual.sum()) / 40


def test_a_scheduler_of_skorch_drives_the_rate():
    recorder = Recorder()
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.5)
    regr = make_linear(callbacks=[recorder, scheduler])
    weights = start_of(regr)
    for epoch in range(6):
        weights = weights - 0.1 * 0.5**epoch * gradient(weights)
    assert_allclose(weights_of(regr.fit(X, target)), weights, rtol=1e-12)
    assert_allclose(recorder.history[:, "event_lr"], 0.1 * 0.5 ** np.arange(6))


@pytest.mark.parametrize(
    "solver",
    [s for s in SOLVERS if "learning_rate_init" in reads(s, "adam")],
)
def test_a_scheduler_of_skorch_reaches_the_descent_step(solver):
    # a rate of zero from the second epoch on
    scheduler = LRScheduler("LambdaLR", lr_lambda=lambda epoch: float(epoch == 0))
    held = SOLVERS[solver](k=1) if solver in ("lookahead", "ranger") else solver
    params = {"solver": held, "momentum": 0.0}
    clf = make_classifier(callbacks=[scheduler], **params).fit(X, labels)
    expected = make_classifier(max_iter=1, **params).fit(X, labels)
    assert clf.n_iter_ == 4
    assert_array_equal(clf.coefs_[0], expected.coefs_[0])


def clipped(vector, norm):
    return vector * min(1.0, norm / (np.linalg.norm(vector) + 1e-6))


@pytest.mark.parametrize("rho", [0.0, 0.3])
@pytest.mark.parametrize("norm", [0.05, 1.0, 1e9])
def test_clipping_reaches_both_gradients(norm, rho):
    regr = make_linear(
        solver="sam", rho=rho, callbacks=[GradientNormClipping(norm)], max_iter=5
    )
    weights = start_of(regr)
    for _ in range(5):
        ascent = clipped(gradient(weights), norm)
        perturbation = rho * ascent / np.linalg.norm(ascent)
        weights = weights - 0.1 * clipped(gradient(weights + perturbation), norm)
    assert_allclose(weights_of(regr.fit(X, target)), weights, rtol=1e-10)


# a rate that makes the loss rise after some epochs
RISING = {"solver": "sgd", "learning_rate_init": 2.0, "max_iter": 5, "batch_size": 40}


@pytest.mark.parametrize(
    "make_callback",
    [
        lambda path: Checkpoint(
            dirname=path,
            monitor="train_loss_best",
            load_best=True,
            sink=lambda *args: None,
        ),
        lambda path: EarlyStopping(
            monitor="train_loss", patience=9, threshold=0.0, load_best=True
        ),
    ],
    ids=["Checkpoint", "EarlyStopping"],
)
def test_a_callback_that_loads_the_best_weights_has_the_last_word(
    make_callback, tmp_path
):
    clf = make_classifier(**RISING, n_iter_no_change=99)
    clf.set_params(callbacks=[make_callback(tmp_path)]).fit(X, three)
    best = int(np.argmin(clf.loss_curve_))
    assert 0 < best < 4
    expected = make_classifier(**{**RISING, "max_iter": best + 1}).fit(X, three)
    for coef, other in zip(clf.coefs_, expected.coefs_, strict=True):
        assert_array_equal(coef, other)


def test_a_checkpoint_saves_weights_optimizer_and_history(tmp_path):
    recorder, messages = Recorder(), []
    checkpoint = Checkpoint(
        dirname=tmp_path, monitor=None, sink=lambda text, *args: messages.append(text)
    )
    clf = make_classifier(callbacks=[recorder, checkpoint]).fit(X, labels)
    assert not [text for text in messages if "Unable" in text]
    assert History.from_file(tmp_path / "history.json")[:, "epoch"] == [1, 2, 3, 4]
    net = recorder.net
    net.module_.flat.detach().zero_()
    net.load_params(checkpoint=checkpoint)
    coefs, _ = net.module_.split(net.module_.flat.detach())
    assert_array_equal(coefs[0], clf.coefs_[0])
    assert (tmp_path / "optimizer.pt").exists()
