"""The estimators' parameter ``dropout``: what it changes, and what it leaves alone."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from skorch.callbacks import Callback

from sksharp import (
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    load,
    save,
)
from sksharp.exceptions import UnusedParameterWarning
from sksharp.inspection import LossCurveDisplay, RhoCurveDisplay, sharpness
from sksharp.options import SWA
from sksharp.options.solvers import SOLVERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GLOBAL = np.random.mtrand._rand

rng = np.random.RandomState(0)
N = 60
X = rng.normal(size=(N, 4))
LABELS = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int) + (X[:, 2] > 0.8)
SMALL = {
    "hidden_layer_sizes": (8, 6),
    "rho": 0.1,
    "batch_size": 16,
    "learning_rate_init": 0.01,
    "max_iter": 4,
    "random_state": 0,
}


def classifier(**params):
    return SAMMLPClassifier(**{**SMALL, **params})


def weights_of(estimator):
    networks = getattr(estimator, "members_", [estimator])
    parts = [w for net in networks for w in (*net.coefs_, *net.intercepts_)]
    return np.concatenate([part.ravel() for part in parts])


def outputs_of(network, X):
    """Return the outputs before the last activation, of all units."""
    below, n_layers = X, len(network.coefs_)
    for i, (coef, intercept) in enumerate(
        zip(network.coefs_, network.intercepts_, strict=True)
    ):
        below = below @ coef + intercept
        below = np.maximum(below, 0) if i < n_layers - 1 else below
    return below


# -- off -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0, 0.0, [0, 0], (0.0, 0.0, 0.0), np.zeros(2)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_shares_of_zero_are_no_dropout_bit_for_bit(shuffle, dropout):
    states = [np.random.RandomState(3) for _ in range(2)]
    without = classifier(random_state=states[0], shuffle=shuffle).fit(X, LABELS)
    zero = classifier(random_state=states[1], shuffle=shuffle, dropout=dropout)
    zero.fit(X, LABELS)
    assert_array_equal(weights_of(zero), weights_of(without))
    assert zero.loss_curve_ == without.loss_curve_
    assert states[0].tomaxint() == states[1].tomaxint()


# -- forms of the parameter ----------------------------------------------------------------

SAME = {
    "a list": (0.3, [0.3, 0.3]),
    "the inputs without": (0.3, (0, 0.3, 0.3)),
    "an array": ([0.1, 0.2, 0.3], np.array([0.1, 0.2, 0.3])),
    "single precision": (0.25, np.float32(0.25)),
    "integers among them": ([0.0, 0.5], [0, 0.5]),
}
DIFFERENT = {
    "another share": (0.3, 0.4),
    "the first layer alone": ([0.3, 0.3], [0.3, 0.0]),
    "the last layer alone": ([0.3, 0.3], [0.0, 0.3]),
    "the inputs too": ([0.3, 0.3], [0.3, 0.3, 0.3]),
    "layers by their order": ([0.3, 0.1], [0.1, 0.3]),
}


@pytest.mark.parametrize("case", SAME)
def test_these_are_the_same_shares(case):
    first, second = (
        weights_of(classifier(dropout=d).fit(X, LABELS)) for d in SAME[case]
    )
    assert_array_equal(first, second)


@pytest.mark.parametrize("case", DIFFERENT)
def test_these_are_other_shares(case):
    first, second = (
        weights_of(classifier(dropout=d).fit(X, LABELS)) for d in DIFFERENT[case]
    )
    assert np.abs(first - second).max() > 1e-4


ONE = "dropout must be one number, 2 numbers"
NUMBERS = "dropout must hold numbers of at least 0 and below 1"
REFUSED = {
    "negative": (-0.1, "The 'dropout' parameter of SAMMLPClassifier must be"),
    "all": (1.0, "The 'dropout' parameter of SAMMLPClassifier must be"),
    "nan": (np.nan, "The 'dropout' parameter of SAMMLPClassifier must be"),
    "true": (True, "The 'dropout' parameter of SAMMLPClassifier must be"),
    "a word": ("auto", "The 'dropout' parameter of SAMMLPClassifier must be"),
    "none": (None, "The 'dropout' parameter of SAMMLPClassifier must be"),
    "too few": ([0.1], ONE),
    "too many": ([0.1] * 4, ONE),
    "empty": ([], ONE),
    "all of a layer": ([0.1, 1.0], NUMBERS),
    "negative in a list": ([0.1, -0.1], NUMBERS),
    "nan in a list": ([0.1, np.nan], NUMBERS),
    "true in a list": ([0.1, True], NUMBERS),
    "a word in a list": ([0.1, "0.2"], NUMBERS),
    "two axes": ([[0.1, 0.2]], NUMBERS),
    "ragged": ([0.1, [0.2]], NUMBERS),
    "a dict": ({0: 0.1}, NUMBERS),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_share_is_refused_by_name(case, method):
    dropout, message = REFUSED[case]
    clf = classifier(dropout=dropout)
    options = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
    with pytest.raises(ValueError, match=message):
        getattr(clf, method)(X, LABELS, **options)
    assert not hasattr(clf, "coefs_")


def test_lbfgs_has_no_steps_to_leave_units_out_of():
    with pytest.raises(
        ValueError, match="dropout needs a stochastic solver, got solver"
    ):
        classifier(solver="lbfgs", dropout=0.1).fit(X, LABELS)
    classifier(solver="lbfgs", dropout=0.0).fit(X, LABELS)


def test_a_share_of_hidden_units_that_are_not_there_is_unused():
    with pytest.warns(UnusedParameterWarning, match=r"got dropout=0\.2"):
        linear = classifier(hidden_layer_sizes=(), dropout=0.2).fit(X, LABELS)
    without = classifier(hidden_layer_sizes=()).fit(X, LABELS)
    assert_array_equal(weights_of(linear), weights_of(without))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnusedParameterWarning)
        of_inputs = classifier(hidden_layer_sizes=(), dropout=[0.2]).fit(X, LABELS)
    assert np.abs(weights_of(of_inputs) - weights_of(without)).max() > 1e-4


# -- what is without dropout ---------------------------------------------------------------


def test_predictions_are_of_all_units():
    clf = classifier(dropout=[0.2, 0.4, 0.4]).fit(X, LABELS)
    z = outputs_of(clf, X)
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert_allclose(clf.predict_proba(X), expected, rtol=1e-12)
    module = clf.to_torch()
    for mode in (module.train(), module.eval()):
        assert_allclose(mode(torch.from_numpy(X)).detach(), expected, rtol=1e-12)
    assert_array_equal(clf.to_sklearn().predict_proba(X), clf.predict_proba(X))


def test_validation_scores_are_of_all_units():
    seen = []

    def scorer(estimator, X, y):
        expected = outputs_of(estimator, X).argmax(axis=1)
        assert_array_equal(estimator.predict(X), expected)
        seen.append(estimator.score(X, y))
        return seen[-1]

    clf = classifier(dropout=0.5, early_stopping=True, scoring=scorer)
    clf.fit(X, LABELS, X_val=X, y_val=LABELS)
    assert clf.validation_scores_ == seen
    of_loss = classifier(dropout=0.5, early_stopping=True, scoring="loss")
    of_loss.fit(X, LABELS, X_val=X, y_val=LABELS)
    best = np.log(of_loss.predict_proba(X)[np.arange(N), LABELS]).mean()
    assert_allclose(of_loss.best_validation_score_, best, rtol=1e-12)


def test_out_of_fold_outputs_are_of_all_units():
    clf = classifier(dropout=0.5, n_members=3).fit(X, LABELS)
    for i in range(N):
        assert any(
            np.allclose(
                member.predict_proba(X[i : i + 1]), clf.oof_decision_function_[i]
            )
            for member in clf.members_
        )


def test_displays_and_measures_take_a_fit_with_dropout():
    clf = classifier(dropout=0.3, rho=[0.0, 0.5], cv=3).fit(X, LABELS)
    twin = pickle.loads(pickle.dumps(clf)).set_params(dropout=0.0)
    assert sharpness(clf, X, LABELS) == sharpness(twin, X, LABELS)
    curve = LossCurveDisplay.from_estimator(clf).loss_curves[0]
    assert_array_equal(curve, clf.loss_curve_)
    display = RhoCurveDisplay.from_estimator(clf)
    assert_array_equal(display.scores, clf.rho_losses_)


# -- random numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [SAMMLPClassifier, SAMMLPRegressor])
def test_the_global_generators_are_untouched_and_a_seed_repeats_a_fit(cls):
    numpy_before, torch_before = GLOBAL.get_state(), torch.get_rng_state()
    params = {**SMALL, "dropout": [0.1, 0.3, 0.3]}
    first, second = (weights_of(cls(**params).fit(X, LABELS)) for _ in range(2))
    assert_array_equal(first, second)
    assert_array_equal(GLOBAL.get_state()[1], numpy_before[1])
    assert GLOBAL.get_state()[2:] == numpy_before[2:]
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_without_a_seed_every_fit_leaves_out_other_units():
    start = classifier(shuffle=False, max_iter=1).fit(X, LABELS)
    losses = set()
    for _ in range(2):
        clf = classifier(shuffle=False, max_iter=1, warm_start=True, dropout=0.5)
        clf.fit(X, LABELS)
        clf.coefs_ = [coef.copy() for coef in start.coefs_]
        clf.intercepts_ = [intercept.copy() for intercept in start.intercepts_]
        losses.add(clf.set_params(random_state=None).fit(X, LABELS).loss_)
    assert len(losses) == 2


# -- a training in parts -------------------------------------------------------------------

OTHERS = {
    "sam": {},
    "inputs": {"dropout": [0.2, 0.3, 0.3]},
    "without shuffling": {"shuffle": False},
    "ema": {"ema_decay": 0.9},
    "inputs without shuffling": {"dropout": [0.2, 0.3, 0.3], "shuffle": False},
    **{name: {"solver": name, "shuffle": False} for name in SOLVERS},
}


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("case", OTHERS)
def test_calls_of_partial_fit_are_the_epochs_of_a_fit(case, kind):
    params = {"dropout": 0.3, "max_iter": 3, "solver": "sam", **OTHERS[case]}
    # a generator, which goes on from call to call as in a fit
    states = [np.random.RandomState(5) for _ in range(2)]
    whole = classifier(**params, random_state=states[0]).fit(kind(X), LABELS)
    in_calls = classifier(**params, random_state=states[1])
    for _ in range(3):
        in_calls.partial_fit(kind(X), LABELS, classes=[0, 1, 2])
    if params.get("shuffle", True):  # fit permutes the last permutation
        assert_allclose(in_calls.loss_curve_[0], whole.loss_curve_[0], rtol=1e-12)
    else:
        assert_allclose(weights_of(in_calls), weights_of(whole), rtol=1e-10)
    assert_array_equal(states[0].get_state()[1], states[1].get_state()[1])
    assert states[0].get_state()[2:] == states[1].get_state()[2:]


class Watch(Callback):
    """A callback that only looks on."""

    def __init__(self):
        self.losses, self.n_gradients = [], 0

    def on_grad_computed(self, net, **kwargs):
        """Count."""
        self.n_gradients += 1

    def on_epoch_end(self, net, **kwargs):
        """Note the loss."""
        self.losses.append(net.history[-1, "train_loss"])


def test_a_callback_sees_the_training_and_changes_nothing():
    watch = Watch()
    seen = classifier(dropout=0.3, callbacks=[watch]).fit(X, LABELS)
    plain = classifier(dropout=0.3).fit(X, LABELS)
    assert_array_equal(weights_of(seen), weights_of(plain))
    assert watch.losses == plain.loss_curve_
    assert watch.n_gradients == 4 * 4 * 2


AVERAGED = {
    "swa": {"swa": SWA(start=0.5)},
    "ema": {"ema_decay": 0.9},
    "snapshots": {"snapshots": 2},
    "warm start": {"warm_start": True},
    "members": {"n_members": 3},
    "a choice of rho": {"rho": [0.0, 0.5], "cv": 3},
    "early stopping": {"early_stopping": True},
}


@pytest.mark.parametrize("case", AVERAGED)
def test_a_model_is_copied_saved_and_trained_on_bit_for_bit(case, tmp_path):
    clf = classifier(dropout=[0.1, 0.3, 0.3], **AVERAGED[case])
    twin = clone(clf).fit(X, LABELS)
    clf.fit(X, LABELS)
    assert_array_equal(weights_of(twin), weights_of(clf))
    save(clf, tmp_path / "model")
    loaded, pickled = load(tmp_path / "model"), pickle.loads(pickle.dumps(clf))
    for other in (loaded, pickled):
        assert_array_equal(other.predict_proba(X), clf.predict_proba(X))
        assert other.dropout == clf.dropout
    clf.set_params(warm_start=True).fit(X, LABELS)
    for other in (loaded, pickled):
        other.set_params(warm_start=True).fit(X, LABELS)
        assert_array_equal(weights_of(other), weights_of(clf))


def test_a_member_is_what_its_network_is_alone():
    """Of the same rows, seed and epochs."""
    together = classifier(dropout=0.4, n_members=3, max_iter=3)
    together.fit(X, LABELS, X_val=X, y_val=LABELS)
    for member in together.members_:
        alone = classifier(
            dropout=0.4,
            max_iter=3,
            random_state=member.random_state,
            early_stopping=True,
            n_iter_no_change=np.inf,
            scoring="loss",
        ).fit(X, LABELS, X_val=X, y_val=LABELS)
        assert_allclose(weights_of(member), weights_of(alone), rtol=1e-10)
        assert_allclose(member.loss_curve_, alone.loss_curve_, rtol=1e-10)


def test_a_search_over_shares_trains_what_fits_alone_train():
    shares = [0.0, 0.2, 0.5, [0.3, 0.1], [0.2, 0.0, 0.4]]
    search = VectorizedGridSearchCV(
        classifier(), {"dropout": shares}, cv=2, scoring="neg_log_loss"
    ).fit(X, LABELS)
    alone = classifier(dropout=search.best_params_["dropout"]).fit(X, LABELS)
    assert is_classifier(search.best_estimator_)
    assert_allclose(weights_of(search.best_estimator_), weights_of(alone), rtol=1e-9)


@pytest.mark.parametrize("sizes", [[[3], [4, 5]], [[3, 4]], ["a", "b"]], ids=str)
def test_hidden_layers_that_are_none_keep_their_error(sizes):
    with pytest.raises(TypeError, match="hidden_layer_sizes must be an integer or"):
        classifier(hidden_layer_sizes=sizes).fit(X, LABELS)
