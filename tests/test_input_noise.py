"""The estimators' parameter ``input_noise``: what it changes, and what it leaves alone."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import log_loss

from sksharp import (
    SAMMLPClassifier,
    SAMMLPRegressor,
    load,
    save,
)
from sksharp.exceptions import UnusedParameterWarning
from sksharp.options import SWA, InputNoise

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
BOTH = InputNoise(std=0.5, missing=0.2, on="both")
JUDGES = InputNoise(std=0.5, missing=0.2, on="validation")
GIVEN = {"X_val": X[:20], "y_val": LABELS[:20]}


def classifier(**params):
    return SAMMLPClassifier(**{**SMALL, **params})


def weights_of(estimator):
    networks = getattr(estimator, "members_", [estimator])
    parts = [w for net in networks for w in (*net.coefs_, *net.intercepts_)]
    return np.concatenate([part.ravel() for part in parts])


# -- off, and forms of the parameter -------------------------------------------------------


@pytest.mark.parametrize(
    "noise", [0, np.float32(0), InputNoise(), InputNoise(on="both")], ids=repr
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_strengths_of_zero_are_no_noise_bit_for_bit(noise, early_stopping):
    states = [np.random.RandomState(3) for _ in range(2)]
    params = {"shuffle": False, "early_stopping": early_stopping}
    without = classifier(random_state=states[0], **params).fit(X, LABELS)
    zero = classifier(random_state=states[1], input_noise=noise, **params)
    zero.fit(X, LABELS)
    assert_array_equal(weights_of(zero), weights_of(without))
    assert zero.loss_curve_ == without.loss_curve_
    assert zero.validation_scores_ == without.validation_scores_
    assert states[0].tomaxint() == states[1].tomaxint()


def test_a_share_that_rounds_to_none_replaces_nothing():
    fits = [
        classifier(shuffle=False, input_noise=noise, early_stopping=True).fit(X, LABELS)
        for noise in (0.0, InputNoise(missing=1e-9, on="both"))
    ]
    assert fits[0].loss_curve_ == fits[1].loss_curve_


@pytest.mark.parametrize(
    "noise", [np.float32(0.25), InputNoise(std=0.25), InputNoise(std=0.25, on="both")]
)
def test_these_are_the_same_noise(noise):
    first, second = (
        weights_of(classifier(input_noise=each).fit(X, LABELS))
        for each in (0.25, noise)
    )
    assert_array_equal(first, second)


def test_options_are_set_where_a_number_was():
    clf = classifier(input_noise=0.5).set_params(input_noise__missing=0.1)
    assert clf.input_noise == InputNoise(std=0.5, missing=0.1)
    assert classifier().set_params(input_noise__std=1).input_noise == InputNoise(std=1)


REFUSED = {
    "negative": (-0.1, "The 'input_noise' parameter of SAMMLPClassifier must be"),
    "infinite": (np.inf, "The 'input_noise' parameter of SAMMLPClassifier must be"),
    "nan": (np.nan, "The 'input_noise' parameter of SAMMLPClassifier must be"),
    "true": (True, "The 'input_noise' parameter of SAMMLPClassifier must be"),
    "a word": ("auto", "The 'input_noise' parameter of SAMMLPClassifier must be"),
    "a list": ([0.1] * 4, "The 'input_noise' parameter of SAMMLPClassifier must be"),
    "none": (None, "The 'input_noise' parameter of SAMMLPClassifier must be"),
    "another option": (SWA(), "The 'input_noise' parameter of SAMMLPClassifier must"),
    "the class": (InputNoise, "Write input_noise=InputNoise()"),
    "std": (InputNoise(std=-1), "The 'std' parameter of InputNoise must be"),
    "missing": (InputNoise(missing=1.1), "'missing' parameter of InputNoise must be"),
    "on": (
        InputNoise(on="train"),
        "The 'on' parameter of InputNoise must be.*mean 'tr",
    ),
    "too large": (1e308, "input_noise times the.*representable in float64"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_noise_is_refused_by_name(case, method):
    noise, message = REFUSED[case]
    clf = classifier(input_noise=noise)
    options = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
    with pytest.raises(ValueError, match=message):
        getattr(clf, method)(100 * X, LABELS, **options)
    assert not hasattr(clf, "coefs_")


def test_noise_of_single_precision_is_in_its_range():
    with pytest.raises(ValueError, match=r"in float32.*got input_noise=1e\+39"):
        classifier(input_noise=1e39).fit(X.astype("f4"), LABELS)


@pytest.mark.parametrize("noise", [0.1, JUDGES], ids=repr)
def test_lbfgs_has_no_steps(noise):
    with pytest.raises(ValueError, match="input_noise needs a stochastic solver, got"):
        classifier(solver="lbfgs", input_noise=noise).fit(X, LABELS)


@pytest.mark.parametrize("noise", [0.1, InputNoise(missing=0.1)], ids=repr)
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_matrix])
def test_sparse_rows_are_refused_with_a_way_out(kind, noise):
    clf = classifier(input_noise=noise)
    with pytest.raises(ValueError, match=r"X must be dense .* dropout=\[0\.1"):
        clf.fit(kind(X), LABELS)
    with pytest.raises(ValueError, match="X must be dense"):
        clf.partial_fit(kind(X), LABELS, classes=[0, 1, 2])


def test_sparse_rows_may_judge_without_noise():
    sparse = {**GIVEN, "X_val": sp.csr_array(X[:20])}
    clf = classifier(early_stopping=True, input_noise=0.1).fit(X, LABELS, **sparse)
    assert clf.n_iter_ == 4
    with pytest.raises(ValueError, match="X_val must be dense"):
        clf.set_params(input_noise=JUDGES).fit(X, LABELS, **sparse)


def test_noise_of_rows_that_nobody_holds_out_is_unused():
    with pytest.warns(
        UnusedParameterWarning, match="early_stopping=False does not read"
    ):
        unread = classifier(input_noise=JUDGES).fit(X, LABELS)
    assert_array_equal(weights_of(unread), weights_of(classifier().fit(X, LABELS)))
    with pytest.warns(UnusedParameterWarning, match="with 60 rows, got input_noise="):
        classifier(rho="auto", input_noise=JUDGES).fit(X, LABELS)
    # training reads it
    classifier(input_noise=BOTH).fit(X, LABELS)


# -- what is perturbed, and what is not ----------------------------------------------------


def test_noise_of_the_training_alone_leaves_scores_and_predictions():
    def by_hand(estimator, rows, y):
        assert_array_equal(rows, X[:20])
        return -log_loss(y, estimator.predict_proba(rows))

    params = {"early_stopping": True, "input_noise": 0.5}
    ours = classifier(scoring="loss", **params).fit(X, LABELS, **GIVEN)
    scored = classifier(scoring=by_hand, **params).fit(X, LABELS, **GIVEN)
    assert_allclose(scored.validation_scores_, ours.validation_scores_, rtol=1e-12)
    plain = pickle.loads(pickle.dumps(ours)).set_params(input_noise=0.0)
    assert_array_equal(plain.predict_proba(X), ours.predict_proba(X))
    without = classifier(early_stopping=True).fit(X, LABELS, **GIVEN)
    assert np.abs(weights_of(ours) - weights_of(without)).max() > 1e-3


@pytest.mark.parametrize("scoring", [None, "loss", "refined_loss", "f1_macro"])
@pytest.mark.parametrize("given", [{}, GIVEN], ids=["drawn", "given"])
def test_noise_of_held_out_rows_leaves_training_as_it_is(given, scoring):
    params = {"early_stopping": True, "validation_fraction": 0.4, "scoring": scoring}
    without, judged, both = (
        classifier(input_noise=noise, **params).fit(X, LABELS, **given)
        for noise in (0.0, JUDGES, BOTH)
    )
    assert judged.loss_curve_ == without.loss_curve_
    assert judged.validation_scores_ != without.validation_scores_
    assert both.loss_curve_[0] != without.loss_curve_[0]
    # the first order of the rows is that without noise
    same_training = classifier(input_noise=InputNoise(std=0.5, missing=0.2), **params)
    assert same_training.fit(X, LABELS, **given).loss_curve_ == both.loss_curve_


@pytest.mark.parametrize("params", [{"n_members": 3}, {"rho": [0.0, 1.0], "cv": 3}])
def test_folds_judge_with_noise_and_predict_without(params):
    without, judged = (
        classifier(input_noise=noise, **params).fit(X, LABELS)
        for noise in (0.0, JUDGES)
    )
    if "n_members" not in params:
        assert (without.rho_losses_ != judged.rho_losses_).all()
        return
    for member, other in zip(without.members_, judged.members_, strict=True):
        assert member.loss_curve_ == other.loss_curve_
        assert member.validation_scores_ != other.validation_scores_
    for i in range(N):
        row = X[i : i + 1]
        assert any(
            np.allclose(member.predict_proba(row), judged.oof_decision_function_[i])
            for member in judged.members_
        )


def test_a_copy_of_every_radius_meets_the_same_noise():
    """Losses of two radii that are as good as one are those of one."""
    params = {"cv": 3, "input_noise": BOTH, "max_iter": 2}
    clf = classifier(rho=[0.1, 0.1 + 1e-12], **params).fit(X, LABELS)
    assert_allclose(*clf.rho_losses_, rtol=1e-9)


def test_a_best_score_of_other_noise_does_not_count():
    clf = classifier(early_stopping=True, warm_start=True, scoring="loss")
    n_scores = []
    for noise in (0.0, JUDGES, JUDGES, InputNoise(std=1.0, on="validation")):
        clf.set_params(input_noise=noise).fit(X, LABELS, **GIVEN)
        n_scores.append(len(clf.validation_scores_))
    assert n_scores == [4, 4, 8, 4]


# -- random numbers, and a training in parts -----------------------------------------------


@pytest.mark.parametrize("cls", [SAMMLPClassifier, SAMMLPRegressor])
def test_the_global_generator_is_untouched_and_a_seed_repeats_a_fit(cls):
    before = GLOBAL.get_state()
    params = {**SMALL, "input_noise": BOTH, "early_stopping": True}
    first, second = (weights_of(cls(**params).fit(X, LABELS)) for _ in range(2))
    assert_array_equal(first, second)
    assert_array_equal(GLOBAL.get_state()[1], before[1])
    assert GLOBAL.get_state()[2:] == before[2:]


def test_calls_of_partial_fit_are_the_epochs_of_a_fit():
    states = [np.random.RandomState(5) for _ in range(2)]
    params = {"shuffle": False, "max_iter": 3, "input_noise": BOTH}
    whole = classifier(random_state=states[0], **params).fit(X, LABELS)
    in_calls = classifier(random_state=states[1], **params)
    for _ in range(3):
        in_calls.partial_fit(X, LABELS, classes=[0, 1, 2])
    assert_allclose(weights_of(in_calls), weights_of(whole), rtol=1e-10)
    assert states[0].tomaxint() == states[1].tomaxint()


def test_calls_go_by_the_columns_of_all_their_rows(tmp_path):
    params = {"shuffle": False, "batch_size": 1, "input_noise": 0.5, "max_iter": 1}
    clf = classifier(**params).partial_fit(X[:30], LABELS[:30], classes=[0, 1, 2])
    save(clf, tmp_path / "model")
    others = [load(tmp_path / "model"), pickle.loads(pickle.dumps(clf))]
    for other in (clf, *others):
        # a row has no spread of its own
        other.partial_fit(X[30:31], LABELS[30:31])
        assert_array_equal(weights_of(other), weights_of(clf))
    columns = clf._state.columns
    assert columns.weight == 31
    assert_allclose(columns.spread, X[:31].std(0), rtol=1e-12)


CASES = {
    "swa": {"swa": SWA(start=0.5)},
    "ema": {"ema_decay": 0.9},
    "snapshots": {"snapshots": 2},
    "warm start": {"warm_start": True},
    "members": {"n_members": 3},
    "a choice of rho": {"rho": [0.0, 0.5], "cv": 3},
    "early stopping": {"early_stopping": True},
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_is_copied_saved_and_trained_on_bit_for_bit(case, tmp_path):
    clf = classifier(input_noise=BOTH, **CASES[case])
    twin = clone(clf).fit(X, LABELS)
    clf.fit(X, LABELS)
    assert_array_equal(weights_of(twin), weights_of(clf))
    save(clf, tmp_path / "model")
    loaded, pickled = load(tmp_path / "model"), pickle.loads(pickle.dumps(clf))
    clf.set_params(warm_start=True).fit(X, LABELS)
    for other in (loaded, pickled):
        assert other.input_noise == BOTH
        other.set_params(warm_start=True).fit(X, LABELS)
        assert_array_equal(weights_of(other), weights_of(clf))


def test_a_member_is_what_its_network_is_alone():
    """Of the same rows, seed and epochs."""
    together = classifier(input_noise=0.4, n_members=3, max_iter=3)
    together.fit(X, LABELS, X_val=X, y_val=LABELS)
    for member in together.members_:
        alone = classifier(
            input_noise=0.4,
            max_iter=3,
            random_state=member.random_state,
            early_stopping=True,
            n_iter_no_change=np.inf,
            scoring="loss",
        ).fit(X, LABELS, X_val=X, y_val=LABELS)
        assert_allclose(weights_of(member), weights_of(alone), rtol=1e-10)
        assert_allclose(member.loss_curve_, alone.loss_curve_, rtol=1e-10)
