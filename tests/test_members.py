"""Members that each keep a fold, and the radius that is chosen by them."""

import copy
import itertools
import math
import pickle
import re
import warnings
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, mean_poisson_deviance, mean_squared_error
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    KFold,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.utils.class_weight import compute_sample_weight
from skorch.callbacks import Callback

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.estimators import _rho_search, _strategies
from sksharp.options import SAM, SWA, WSAM
from sksharp.training._net import MLPNet
from sksharp.training._step import Step

from .checks import with_checks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
N = 60
X = rng.normal(size=(N, 4))
LABELS = (X[:, 0] + rng.normal(size=N) > 0.3).astype(int) + (X[:, 2] > 0.5)
TARGETS = X[:, 0] - X[:, 2] ** 2 + 0.5 * rng.normal(size=N)
WEIGHTS = rng.uniform(0.1, 3, size=N)
FOLDS = list(StratifiedKFold(3, shuffle=True, random_state=1).split(X, LABELS))

# 20 minibatches on two thirds of the rows, so that every epoch ends with a look
SMALL = {
    "rho": 0.05,
    "hidden_layer_sizes": (4,),
    "batch_size": 2,
    "max_iter": 6,
    "learning_rate_init": 0.02,
    "random_state": 0,
}
ENSEMBLE = {**SMALL, "n_members": 3, "cv": FOLDS}
AUTO = {**SMALL, "rho": [0.0, 0.05, 0.5], "cv": FOLDS, "ema_decay": 0.0}

# (estimator, targets, sample_weight)
KINDS = {
    "two labels": (SAMMLPClassifier(), LABELS > 0, None),
    "three labels": (SAMMLPClassifier(), LABELS, None),
    "labels that are words": (
        SAMMLPClassifier(),
        np.array(["no", "so", "yes"])[LABELS],
        None,
    ),
    "several labels": (SAMMLPClassifier(), np.c_[LABELS > 0, LABELS > 1], None),
    "weights": (SAMMLPClassifier(), LABELS, WEIGHTS),
    "class_weight": (
        SAMMLPClassifier(class_weight={0: 1, 1: 0.2, 2: 3}),
        LABELS,
        WEIGHTS,
    ),
    "a target": (SAMMLPRegressor(), TARGETS, None),
    "several targets": (SAMMLPRegressor(), np.c_[TARGETS, TARGETS**2], WEIGHTS),
    "counts": (SAMMLPRegressor(loss="poisson"), np.abs(TARGETS).round(), WEIGHTS),
}


def make_kind(kind, **params):
    """Return an estimator, targets and weights for it."""
    estimator, y, weights = KINDS[kind]
    return clone(estimator).set_params(**params), y, weights


def outputs(estimator, X):
    """Return what an estimator and its members agree in: means of the outputs."""
    if is_classifier(estimator):
        return estimator.predict_proba(X)
    return estimator.predict(X)


def out_of_fold(estimator):
    if is_classifier(estimator):
        return estimator.oof_decision_function_
    return estimator.oof_prediction_


def assert_same_weights(a, b, rtol=0.0):
    for array, other in zip(
        [*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True
    ):
        assert_allclose(array, other, rtol=rtol, atol=rtol)


def assert_same_members(a, b, rtol=0.0):
    for member, other in zip(a.members_, b.members_, strict=True):
        assert_same_weights(member, other, rtol)
        assert member.n_iter_ == other.n_iter_


def best_epoch(member):
    """Return the epoch that the fold of a member chose."""
    return int(np.argmax(member.validation_scores_)) + 1


def good_epoch(member):
    """Return the last epoch with a loss next to the best."""
    losses = -np.array(member.validation_scores_)
    return np.flatnonzero(losses <= 1.02 * losses.min())[-1] + 1


# -- members -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_is_the_mean_of_the_members(kind):
    estimator, y, weights = make_kind(kind, **ENSEMBLE)
    estimator.fit(X, y, weights)
    assert len(estimator.members_) == 3
    means = np.mean([outputs(member, X) for member in estimator.members_], axis=0)
    assert_allclose(outputs(estimator, X), means, rtol=1e-12)
    if is_classifier(estimator) and y.ndim == 1:
        assert_array_equal(
            estimator.predict(X), estimator.classes_[means.argmax(axis=1)]
        )
    assert not np.allclose(*[outputs(member, X) for member in estimator.members_[:2]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_is_a_network_trained_on_the_other_folds(kind):
    estimator, y, weights = make_kind(kind, **ENSEMBLE)
    estimator.fit(X, y, weights)
    for member, (train, _) in zip(estimator.members_, FOLDS, strict=True):
        assert len(member.validation_scores_) == SMALL["max_iter"]
        alone, *_ = make_kind(
            kind,
            **{**SMALL, "random_state": member.random_state},
            n_iter_no_change=np.inf,
        )
        alone.set_params(max_iter=best_epoch(member))
        alone.fit(X[train], y[train], None if weights is None else weights[train])
        assert_same_weights(member, alone, rtol=1e-9)


@pytest.mark.parametrize("solver", ["sam", "wsam", "ranger", "adam", "sgd"])
@pytest.mark.parametrize("average", [{}, {"ema_decay": 0.8}])
def test_members_of_every_solver_are_networks_trained_alone(solver, average):
    settings = {"solver": solver, **average}
    estimator = SAMMLPClassifier(**ENSEMBLE, **settings).fit(X, LABELS)
    for member, (train, _) in zip(estimator.members_, FOLDS, strict=True):
        alone = SAMMLPClassifier(
            **{**SMALL, **settings, "random_state": member.random_state},
            n_iter_no_change=np.inf,
        ).set_params(max_iter=best_epoch(member))
        assert_same_weights(member, alone.fit(X[train], LABELS[train]), rtol=1e-9)


def test_a_member_never_trains_on_its_fold():
    y = (LABELS > 0).astype(int)
    network = SAMMLPClassifier(**ENSEMBLE)
    before = clone(network).fit(X, y).members_
    for k, (_, test) in enumerate(FOLDS):
        other_X, other_y = X.copy(), y.copy()
        other_X[test] *= -100
        other_y[test] = 1 - y[test]
        after = clone(network).fit(other_X, other_y).members_
        for i, (member, other) in enumerate(zip(after, before, strict=True)):
            assert (member.loss_curve_ == other.loss_curve_) == (i == k)
        assert after[k].validation_scores_ != before[k].validation_scores_


def test_a_member_chooses_the_epoch_at_which_its_fold_is_best():
    network = SAMMLPRegressor(**{**ENSEMBLE, "learning_rate_init": 0.1})
    network.fit(X, TARGETS)
    for member, (_, test) in zip(network.members_, FOLDS, strict=True):
        loss = mean_squared_error(TARGETS[test], member.predict(X[test])) / 2
        assert_allclose(-max(member.validation_scores_), loss, rtol=1e-12)
    assert len({best_epoch(member) for member in network.members_}) > 1


def test_members_train_to_the_end_whatever_the_stopping_rule():
    network = SAMMLPRegressor(
        **ENSEMBLE, n_iter_no_change=1, tol=1e3, validation_fraction=0.5
    ).fit(X, TARGETS)
    assert [member.n_iter_ for member in network.members_] == [6, 6, 6]
    same = SAMMLPRegressor(**ENSEMBLE).fit(X, TARGETS)
    assert_same_members(network, same)


def n_scores_until_stalled(scores, patience, tol):
    """Return how many scores there are when more than ``patience`` did not improve."""
    best, count = -np.inf, 0
    for n, score in enumerate(scores, start=1):
        count = count + 1 if score < best + tol else 0
        best = max(best, score)
        if count > patience:
            return n
    return len(scores)


@pytest.mark.parametrize("params", [{}, {"rho": [0.2]}, {"ema_decay": 0.5}], ids=str)
@pytest.mark.parametrize(("patience", "tol"), [(1, 0.0), (2, 0.0), (3, 0.05)])
def test_members_stop_early_where_the_whole_training_stalls(patience, tol, params):
    longer = {**ENSEMBLE, "learning_rate_init": 0.1, "max_iter": 25, **params}
    whole = SAMMLPRegressor(**longer).fit(X, TARGETS)
    network = SAMMLPRegressor(
        **longer, early_stopping=True, n_iter_no_change=patience, tol=tol
    ).fit(X, TARGETS)
    lengths = []
    for member, other in zip(network.members_, whole.members_, strict=True):
        scores = other.validation_scores_
        lengths.append(n_scores_until_stalled(scores, patience, tol))
        # fewer networks at once round otherwise
        assert_allclose(member.validation_scores_, scores[: lengths[-1]], rtol=1e-9)
    assert network.n_iter_ == max(lengths) < 25


def test_members_stop_early_also_while_radii_are_dropped():
    longer = {**AUTO, "n_members": 3, "learning_rate_init": 0.1, "max_iter": 25}
    longer |= {"early_stopping": True, "n_iter_no_change": 2, "tol": 0.0}
    network = SAMMLPRegressor(**longer).fit(X, TARGETS)
    alone = SAMMLPRegressor(**{**longer, "rho": [network.rho_]}).fit(X, TARGETS)
    assert network.n_iter_ < 25
    assert_same_members(network, alone, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_fold_predictions_are_of_the_member_that_kept_the_row(kind):
    estimator, y, weights = make_kind(kind, **ENSEMBLE)
    estimator.fit(X, y, weights)
    kept = out_of_fold(estimator)
    assert kept.shape == outputs(estimator, X).shape
    for member, (_, test) in zip(estimator.members_, FOLDS, strict=True):
        assert_allclose(kept[test], outputs(member, X[test]), rtol=1e-12)


def test_a_row_of_several_folds_has_the_mean_of_their_members():
    cv = RepeatedKFold(n_splits=2, n_repeats=2, random_state=0)
    network = SAMMLPRegressor(**{**ENSEMBLE, "n_members": 4, "cv": cv})
    network.fit(X, TARGETS)
    expected = np.zeros(N)
    for member, (_, test) in zip(network.members_, cv.split(X), strict=True):
        expected[test] += member.predict(X[test]) / 2
    assert_allclose(network.oof_prediction_, expected, rtol=1e-12)


def test_a_member_counts_twice_where_its_fold_holds_a_row_twice():
    rows = np.arange(N)
    cv = [(rows[20:], np.repeat(rows[:20], 2)), (rows[:10], rows[10:])]
    network = SAMMLPRegressor(**{**ENSEMBLE, "n_members": 2, "cv": cv})
    first, second = network.fit(X, TARGETS).members_
    both = slice(10, 20)
    expected = (2 * first.predict(X[both]) + second.predict(X[both])) / 3
    assert_allclose(network.oof_prediction_[both], expected, rtol=1e-12)
    assert_allclose(network.oof_prediction_[:10], first.predict(X[:10]), rtol=1e-12)


def test_a_row_of_no_fold_has_no_prediction():
    cv = ShuffleSplit(2, test_size=0.2, random_state=0)
    network = SAMMLPRegressor(**{**ENSEMBLE, "n_members": 2, "cv": cv})
    network.fit(X, TARGETS)
    kept = np.unique(np.concatenate([test for _, test in cv.split(X)]))
    assert_array_equal(
        np.flatnonzero(np.isfinite(network.oof_prediction_)), np.sort(kept)
    )


@pytest.mark.filterwarnings("ignore::sksharp.exceptions.UnusedParameterWarning")
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("rho", [AUTO["rho"], "auto", 0.1], ids=str)
def test_out_of_fold_predictions_are_those_of_the_last_fit(rho, n_members):
    clf = SAMMLPClassifier(**{**AUTO, "n_members": n_members}, warm_start=True)
    clf.set_params(cv=3).fit(X, LABELS)
    assert len(clf.oof_decision_function_) == len(X)
    clf.set_params(rho=rho).fit(X[:40], LABELS[:40])
    # of one network, a radius that was chosen needs no folds any more
    assert hasattr(clf, "oof_decision_function_") == (n_members > 1)
    if n_members > 1:
        assert len(clf.oof_decision_function_) == 40
        clf.partial_fit(X, LABELS)
        assert not hasattr(clf, "oof_decision_function_")


class SmallNetwork(SAMMLPRegressor):
    """A subclass with a signature of its own."""

    def __init__(self, alpha=1e-4, random_state=None):
        super().__init__(
            hidden_layer_sizes=(3,), max_iter=3, alpha=alpha, random_state=random_state
        )
        self._shift = 0.0

    def _forward_pass_fast(self, X, check_input=True):
        return super()._forward_pass_fast(X, check_input=check_input) + self._shift


@pytest.mark.parametrize("params", [{}, {"n_members": 2}, {"snapshots": 3}], ids=repr)
def test_a_subclass_may_have_a_signature_of_its_own(params):
    network = SmallNetwork(alpha=0.1, random_state=0)
    for name, value in params.items():
        setattr(network, name, value)
    same = SAMMLPRegressor(
        hidden_layer_sizes=(3,), max_iter=3, alpha=0.1, random_state=0, **params
    )
    for warm_start in (False, True):
        network.warm_start = same.warm_start = warm_start
        same.fit(ROWS, ROWS[:, 0])
        assert_array_equal(
            network.fit(ROWS, ROWS[:, 0]).predict(ROWS), same.predict(ROWS)
        )


def test_labels_that_are_noise_are_learnt_by_heart_and_not_out_of_fold():
    noise = np.random.RandomState(1)
    rows, labels = noise.normal(size=(100, 200)), noise.randint(0, 2, size=100)
    network = SAMMLPClassifier(**{**SMALL, "n_members": 4, "max_iter": 3})
    network.fit(rows, labels)
    out = network.oof_decision_function_.argmax(axis=1)
    # four standard deviations of a fair coin thrown 100 times
    assert abs((out == labels).mean() - 0.5) < 0.2
    assert network.score(rows, labels) > 0.85


@pytest.fixture
def folds(monkeypatch):
    """Record the folds of every fit."""
    made, make = [], _strategies.make_folds

    def make_folds(*args, **kwargs):
        made.append(make(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(_strategies, "make_folds", make_folds)
    return made


@pytest.mark.parametrize("cv", [None, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_folds_share_out_the_rows_and_the_labels(kind, cv, folds):
    estimator, y, weights = make_kind(kind, **{**ENSEMBLE, "n_members": 4, "cv": cv})
    estimator.set_params(max_iter=1).fit(X, y, weights)
    ((*made,),) = folds
    kept = np.concatenate([test for _, test in made])
    assert_array_equal(np.sort(kept), np.arange(N))
    # they are shuffled
    assert not all(np.array_equal(test, np.sort(kept)[:15]) for _, test in made[:1])
    for train, test in made:
        assert_array_equal(np.sort(np.r_[train, test]), np.arange(N))
        if is_classifier(estimator) and y.ndim == 1:
            counts = np.unique(y, return_counts=True)[1]
            in_fold = [(y[test] == label).sum() for label in np.unique(y)]
            assert np.abs(in_fold - counts / 4).max() < 1


def test_a_label_that_is_rarer_than_folds_is_no_obstacle(folds):
    labels = np.where(np.arange(N) < 2, "rare", "common")
    with pytest.warns(UserWarning, match="The least populated class"):
        SAMMLPClassifier(**{**SMALL, "n_members": 3}).fit(X, labels)
    assert len(folds[0]) == 3


@pytest.mark.parametrize("kind", ["splitter", "list", "generator", "array"])
def test_splits_may_come_in_every_form(kind, folds):
    splitter = KFold(3)
    cv = {
        "splitter": splitter,
        "list": list(splitter.split(X)),
        "generator": splitter.split(X),
        "array": np.array(list(splitter.split(X)), dtype=object),
    }[kind]
    SAMMLPRegressor(**{**ENSEMBLE, "cv": cv, "max_iter": 1}).fit(X, TARGETS)
    for (train, test), (other_train, other_test) in zip(
        folds[0], splitter.split(X), strict=True
    ):
        assert_array_equal(train, other_train)
        assert_array_equal(test, other_test)


class ByRows(BaseCrossValidator):
    """Splits by the sign of a feature, or by the words for two labels."""

    def __init__(self, by):
        self.by = by

    def get_n_splits(self, X=None, y=None, groups=None):
        return 2

    def _iter_test_masks(self, X, y, groups=None):
        is_in = (X[:, 2] > 0) if self.by == "a feature" else (np.array(y) == "yes")
        return iter([is_in, ~is_in])


@pytest.mark.parametrize("rho", [0.05, "auto"])
@pytest.mark.parametrize("by", ["a feature", "a label"])
def test_a_splitter_is_given_the_rows_and_the_users_labels(by, rho, folds):
    words = np.where(LABELS > 0, "yes", "no")
    estimator = SAMMLPClassifier(**{**SMALL, "max_iter": 1, "rho": rho})
    estimator.set_params(cv=ByRows(by), n_members=2).fit(X, words)
    is_in = X[:, 2] > 0 if by == "a feature" else words == "yes"
    ((_, first), (_, second)) = folds[0]
    assert_array_equal(first, np.flatnonzero(is_in))
    assert_array_equal(second, np.flatnonzero(~is_in))


def test_a_splitter_is_given_the_targets_of_a_regressor(folds):
    target = np.where(LABELS > 0, 1.5, -2.0)
    SAMMLPRegressor(**{**SMALL, "max_iter": 1, "n_members": 3}).set_params(
        cv=PredefinedSplit(LABELS)
    ).fit(X, target)
    assert [len(test) for _, test in folds[0]] == np.bincount(LABELS).tolist()
    for n_outputs, seen in [(1, (N,)), (2, (N, 2))]:
        splitter = ByRows("a feature")
        shapes = []
        splitter.split = lambda X, y, groups=None, to=shapes: (
            to.append((X.shape, y.shape)) or KFold(2).split(X)
        )
        y = np.squeeze(np.column_stack([target] * n_outputs))
        SAMMLPRegressor(**{**SMALL, "max_iter": 1, "n_members": 2, "cv": splitter}).fit(
            X, y
        )
        assert shapes == [(X.shape, seen)]


@pytest.mark.parametrize(
    ("splitter", "match"),
    [
        (GroupKFold(2), "got cv=GroupKFold.*'groups'.*give the splits themselves"),
        (StratifiedKFold(2), "got cv=StratifiedKFold.*Got 'continuous' instead"),
    ],
)
def test_a_splitter_that_cannot_split_is_named(splitter, match):
    regr = SAMMLPRegressor(**{**SMALL, "n_members": 2, "cv": splitter})
    with pytest.raises(ValueError, match=f"cv must split the rows by X and y, {match}"):
        regr.fit(X, TARGETS)
    assert not hasattr(regr, "n_features_in_")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([0.0, 1.0], "cv must give the indices of rows, or masks, of n_samples=60"),
        (np.ones(59, dtype=bool), "cv must give the indices of rows, or masks"),
        ([59, 60], "cv must give the indices of rows, or masks.* out of bounds"),
        ([[0, 1], [2, 3]], r"in one dimension, got 2 of shape \(2, 2\)"),
    ],
)
def test_splits_that_are_no_rows_are_errors(rows, match):
    cv = [(np.arange(30), rows), (np.arange(30, 60), np.arange(30))]
    with pytest.raises(ValueError, match=match):
        SAMMLPRegressor(**{**ENSEMBLE, "n_members": 2, "cv": cv}).fit(X, TARGETS)


# -- the radius --------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_the_radius_is_that_of_the_rows_out_of_fold(kind, n_members):
    estimator, y, weights = make_kind(kind, **AUTO, n_members=n_members)
    estimator.fit(X, y, weights)
    out = out_of_fold(estimator)
    if getattr(estimator, "class_weight", None) is not None:
        weights = weights * compute_sample_weight(estimator.class_weight, y)
    n_compared = 3 if n_members == 1 else 2
    rows = np.concatenate([test for _, test in FOLDS[:n_compared]])
    out, y, weights = out[rows], y[rows], None if weights is None else weights[rows]
    if kind == "several labels":
        loss = sum(log_loss(y[:, k], np.c_[1 - out[:, k], out[:, k]]) for k in range(2))
    elif is_classifier(estimator):
        loss = log_loss(y, out, sample_weight=weights)
    elif kind == "counts":
        loss = mean_poisson_deviance(y, out, sample_weight=weights) / 2
    else:
        loss = mean_squared_error(y, out, sample_weight=weights) / 2
    chosen = estimator.rho_grid_ == estimator.rho_
    assert_allclose(estimator.rho_losses_[chosen], loss, rtol=1e-9)
    assert_array_equal(estimator.rho_grid_, AUTO["rho"])


@pytest.mark.parametrize(("solver", "radius"), [(SAM(), 0.2), (WSAM(gamma=0.8), 0.2)])
@pytest.mark.parametrize("average", [{}, {"swa": SWA(start=3)}], ids=str)
def test_a_grid_of_one_radius_is_that_radius(solver, radius, average):
    shared = {**ENSEMBLE, **average, "solver": solver}
    auto = SAMMLPClassifier(**{**shared, "rho": [0.2], "ema_decay": 0}).fit(X, LABELS)
    fixed = SAMMLPClassifier(**{**shared, "rho": radius}).fit(X, LABELS)
    assert auto.rho_ == radius
    assert_same_members(auto, fixed)
    assert_array_equal(auto.oof_decision_function_, fixed.oof_decision_function_)
    assert [member.rho for member in auto.members_] == [radius] * 3


@pytest.mark.parametrize("n_members", [1, 3])
def test_the_radii_of_wsam_are_those_of_its_perturbation(n_members):
    network = SAMMLPClassifier(
        **{**AUTO, "rho": "auto", "max_iter": 2},
        n_members=n_members,
        solver=WSAM(gamma=0.6),
    ).fit(X, LABELS)
    radii = [0, 0.1, 0.5]
    assert_allclose(network.rho_grid_ * 0.6 / (1 - 0.6), radii, rtol=1e-12, atol=0)
    assert network.rho_ in network.rho_grid_


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("solver", ["ranger", "adamw", WSAM(gamma=0.0)], ids=str)
def test_without_a_radius_the_length_is_chosen(solver, n_members):
    shared = {**AUTO, "max_iter": 20, "n_members": n_members}
    auto = SAMMLPClassifier(**{**shared, "rho": "auto", "solver": solver})
    auto.fit(X, LABELS)
    # as of the only radius of a list
    base_solver = solver if isinstance(solver, str) else "adam"
    of_list = SAMMLPClassifier(**{**shared, "rho": [0.0]}, base_solver=base_solver)
    of_list.fit(X, LABELS)
    assert not any(name.startswith("rho_") for name in vars(auto))
    assert auto.n_iter_ == of_list.n_iter_
    assert_allclose(auto.predict_proba(X), of_list.predict_proba(X), rtol=1e-9)
    assert_allclose(
        auto.oof_decision_function_, of_list.oof_decision_function_, rtol=1e-9
    )


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("solver", ["ranger", "lookahead"])
def test_a_number_chooses_no_length(solver, n_members):
    shared = {**SMALL, "n_members": n_members, "solver": solver}
    fixed = SAMMLPClassifier(**{**shared, "rho": 0.0}).fit(X, LABELS)
    other = SAMMLPClassifier(**{**shared, "rho": 3.0}).fit(X, LABELS)
    assert fixed.n_iter_ == SMALL["max_iter"]
    assert_array_equal(fixed.predict_proba(X), other.predict_proba(X))


def test_a_length_that_was_chosen_is_not_chosen_anew():
    shared = {**AUTO, "rho": "auto", "solver": "ranger", "warm_start": True}
    network = SAMMLPClassifier(**shared).fit(X, LABELS)
    network.fit(X, LABELS)
    assert network.n_iter_ == SMALL["max_iter"]  # as of a radius that was chosen
    assert not hasattr(network, "oof_decision_function_")
    network.set_params(solver="radam").fit(X, LABELS)
    assert hasattr(network, "oof_decision_function_")


@pytest.mark.parametrize(
    "params", [{"early_stopping": True}, {"swa": True}, {"snapshots": 3}], ids=str
)
def test_no_length_is_chosen_where_training_ends_by_itself(params):
    network = SAMMLPClassifier(**{**SMALL, "rho": "auto"}, solver="ranger", **params)
    network.fit(ROWS, SIGNS)
    assert not hasattr(network, "oof_decision_function_")


def test_the_temperature_of_a_length_that_was_chosen_stays():
    network = SAMMLPClassifier(
        **{**AUTO, "rho": "auto"}, solver="ranger", scoring="refined_loss"
    )
    network.set_params(warm_start=True).fit(X, LABELS)
    before = network._state.inverse_temperature
    assert before not in (None, 1.0)
    assert network.fit(X, LABELS)._state.inverse_temperature == before


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_solvers_of_scikit_learn_a_radius_do_not_look_for_one(solver):
    auto = SAMMLPClassifier(**AUTO, solver=solver).fit(X, LABELS)
    assert not hasattr(auto, "rho_")
    assert not hasattr(auto, "oof_decision_function_")
    assert_same_weights(auto, SAMMLPClassifier(**SMALL, solver=solver).fit(X, LABELS))


@pytest.mark.parametrize("epochs", [2, 7, 20, 101])
@pytest.mark.parametrize("freq", [1, 3, 10])
def test_radii_are_given_up_at_the_first_looks_after_their_stages(freq, epochs):
    jobs = [
        SimpleNamespace(epochs=n, validation=SimpleNamespace(freq=freq))
        for n in (epochs - 1, epochs)
    ]
    expected = {}
    for share, left in _rho_search.RUNGS:
        looks = [n for n in range(freq, epochs, freq) if n >= share * epochs]
        if looks:
            expected[looks[0]] = left
    assert _rho_search.pauses_of(jobs, _rho_search.RUNGS) == expected


def test_hopeless_radii_are_given_up_and_leave_no_trace():
    grid = [0.0, 0.02, 0.1, 0.5, 1.0, 3.0]
    network = SAMMLPClassifier(
        **{**AUTO, "rho": grid, "max_iter": 60}, n_members=3
    ).fit(X, LABELS)
    # of six radii three go on after 5 % of the epochs, one after 10 %
    assert sorted(network.rho_epochs_) == [3, 3, 3, 6, 6, 60]
    fixed = SAMMLPClassifier(**{**ENSEMBLE, "max_iter": 60, "rho": network.rho_})
    # as close as rounding among more models allows
    assert_same_members(network, fixed.fit(X, LABELS), rtol=1e-9)


@pytest.mark.parametrize("n_members", [1, 3])
def test_of_a_short_training_as_many_radii_are_given_up(n_members):
    # one minibatch an epoch is a look every 20 epochs: both pauses coincide
    shared = {**AUTO, "batch_size": 60, "max_iter": 50, "n_members": n_members}
    network = SAMMLPClassifier(**shared).fit(X, LABELS)
    assert sorted(network.rho_epochs_) == [20, 20, 50]


def test_without_a_race_every_radius_is_trained_to_the_end(monkeypatch):
    monkeypatch.setattr(_rho_search, "RUNGS", ())
    network = SAMMLPClassifier(**AUTO, n_members=3).fit(X, LABELS)
    assert_array_equal(network.rho_epochs_, [6, 6, 6])
    for radius, loss in zip(AUTO["rho"], network.rho_losses_, strict=True):
        fixed = SAMMLPClassifier(**{**ENSEMBLE, "rho": radius}).fit(X, LABELS)
        out = fixed.oof_decision_function_
        assert_allclose(log_loss(LABELS, out), loss, rtol=1e-9)


def test_the_order_and_the_copies_of_radii_do_not_matter():
    shared = {**AUTO, "n_members": 3}
    a = SAMMLPClassifier(**shared).fit(X, LABELS)
    shared["rho"] = np.array([0.5, 0.05, 0.0, 0.5])
    b = SAMMLPClassifier(**shared).fit(X, LABELS)
    assert_array_equal(a.rho_grid_, b.rho_grid_)
    assert_same_members(a, b)


@pytest.mark.parametrize("max_iter", [6, 25])
@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
def test_one_network_trains_as_long_as_was_good_for_the_folds(
    max_iter, weighted, monkeypatch
):
    monkeypatch.setattr(_rho_search, "PATIENCE_OF_ONE", math.inf)
    shared = {"max_iter": max_iter, "learning_rate_init": 0.05}
    weights = WEIGHTS if weighted else None
    network = SAMMLPRegressor(**{**AUTO, **shared}).fit(X, TARGETS, weights)
    members = SAMMLPRegressor(**{**ENSEMBLE, **shared, "rho": network.rho_})
    members.fit(X, TARGETS, weights)
    assert_allclose(network.oof_prediction_, members.oof_prediction_, rtol=1e-9)
    assert not hasattr(network, "members_")
    epochs = round(np.mean([good_epoch(member) for member in members.members_]))
    assert network.n_iter_ == epochs
    # and is drawn as if nothing had been chosen before
    plain = SAMMLPRegressor(
        **{**SMALL, **shared, "max_iter": epochs, "rho": network.rho_},
        n_iter_no_change=np.inf,
    ).fit(X, TARGETS, weights)
    assert_same_weights(network, plain)


def test_folds_of_one_network_give_up_and_those_of_members_do_not():
    # a large step overfits soon
    shared = {**AUTO, "max_iter": 150, "learning_rate_init": 0.1}
    one = SAMMLPRegressor(**shared).fit(X, TARGETS)
    assert one.rho_epochs_.max() < 150
    members = SAMMLPRegressor(**shared, n_members=3).fit(X, TARGETS)
    assert members.rho_epochs_.max() == 150


# -- what rho='auto' sets beside the radius ---------------------------------------------

ROWS = rng.normal(size=(400, 4))
SIGNS = (ROWS[:, 0] * ROWS[:, 1] > 0).astype(int)
QUICK = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}


def test_the_default_chooses_its_radius():
    network = SAMMLPClassifier(**QUICK).fit(ROWS, SIGNS)
    assert_array_equal(network.rho_grid_, [0, 0.1, 0.5])
    assert network.rho_ in network.rho_grid_
    members = SAMMLPClassifier(**QUICK, n_members=2).fit(ROWS, SIGNS)
    assert_array_equal(members.rho_grid_, [0, 0.1, 0.5])


@pytest.mark.parametrize(
    ("n_members", "n_rows", "batch_size"),
    [
        *[(1, 400, 20), (1, 180, 9), (1, 100, 8), (1, 4000, 200), (1, 4100, 200)],
        *[(2, 800, 40), (2, 640, 32), (2, 400, 32), (2, 2560, 128), (2, 4100, 128)],
    ],
)
def test_an_automatic_minibatch_is_a_twentieth_of_the_rows(
    n_members, n_rows, batch_size
):
    rows = np.resize(ROWS, (n_rows, 4))
    y = rows[:, 0]
    params = {**QUICK, "max_iter": 2, "n_members": n_members, "rho": [0.1]}
    automatic = SAMMLPRegressor(**params).fit(rows, y)
    given = SAMMLPRegressor(**params, batch_size=batch_size).fit(rows, y)
    assert_array_equal(automatic.predict(rows), given.predict(rows))


@pytest.mark.parametrize("n_members", [1, 2])
def test_the_automatic_average_looks_back_over_a_hundred_steps(n_members):
    params = {**QUICK, "n_members": n_members}
    fits = [
        SAMMLPRegressor(**params, ema_decay=decay).fit(ROWS, ROWS[:, 0]).predict(ROWS)
        for decay in (None, 0.99, 0.0)
    ]
    assert_array_equal(fits[0], fits[1])
    assert not np.allclose(fits[0], fits[2])


@pytest.mark.parametrize(("n_rows", "n_kept"), [(120, 120), (500, 334), (1200, 400)])
def test_enough_rows_are_left_out_to_choose_by(n_rows, n_kept):
    rows = np.resize(ROWS, (n_rows, 4))
    network = SAMMLPRegressor(**QUICK).fit(rows, rows[:, 0])
    assert np.isfinite(network.oof_prediction_).sum() == n_kept


def test_rows_of_no_weight_do_not_judge():
    weights = np.zeros(len(ROWS))
    weights[:120] = 1
    network = SAMMLPRegressor(**QUICK).fit(ROWS, ROWS[:, 0], weights)
    assert_array_equal(np.isfinite(network.oof_prediction_), weights > 0)


@pytest.mark.parametrize(
    ("params", "has_rows"),
    [
        ({}, False),
        ({}, True),
        ({"n_members": 2}, False),
        ({"n_members": 2}, True),
        ({"early_stopping": True}, True),
        ({"swa": True}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_rows", [160, 1200])
def test_rows_of_no_weight_might_as_well_not_be_there(n_rows, params, has_rows):
    rows = np.random.RandomState(1).normal(size=(n_rows, 3))
    y = rows[:, 0] + rows[:, 1] ** 2
    weights = np.ones(n_rows)
    weights[np.random.RandomState(2).permutation(n_rows)[: n_rows // 3]] = 0
    counts = weights > 0
    network = SAMMLPRegressor(**{**QUICK, **params})
    given = {"X_val": rows[:50], "y_val": y[:50]} if has_rows else {}
    weighted = clone(network).fit(rows, y, weights, **given)
    alone = clone(network).fit(rows[counts], y[counts], **given)
    networks = [getattr(n, "members_", [n]) for n in (weighted, alone)]
    for ours, theirs in zip(*networks, strict=True):
        assert_same_weights(ours, theirs, rtol=1e-9)


def test_small_minibatches_of_a_users_folds_have_rows_that_count():
    weights = np.zeros(len(ROWS))
    weights[np.random.RandomState(0).permutation(len(ROWS))[:110]] = 1
    cv = ShuffleSplit(3, random_state=0)
    network = SAMMLPRegressor(**QUICK, cv=cv).fit(ROWS, ROWS[:, 0], weights)
    assert network.rho_ in network.rho_grid_


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
def test_with_too_few_rows_training_is_that_of_a_number(weighted):
    rows, y = ROWS[:99], SIGNS[:99]
    weights = np.ones(99)
    if weighted:
        rows, y = ROWS, SIGNS
        weights = (np.arange(len(ROWS)) < 99).astype(float)
    automatic = SAMMLPClassifier(**QUICK).fit(rows, y, weights)
    plain = SAMMLPClassifier(**QUICK, rho=0.05).fit(rows, y, weights)
    assert automatic.rho_ == 0.05
    assert_same_weights(automatic, plain)


@pytest.mark.parametrize(
    ("params", "radius"),
    [
        ({"rho": [0]}, 0.0),
        ({"rho": np.array([0.3])}, 0.3),
        ({"solver": WSAM(gamma=0.75), "rho": (0.3,)}, 0.3),
    ],
)
def test_a_grid_of_one_radius_is_that_radius_with_few_rows_and_call_by_call(
    params, radius
):
    rows, y = ROWS[:60], SIGNS[:60]
    fixed = {name: value for name, value in params.items() if name != "rho"}
    automatic = SAMMLPClassifier(**QUICK, **params).fit(rows, y)
    assert automatic.rho_ == pytest.approx(radius, rel=1e-15)
    plain = SAMMLPClassifier(**QUICK, **fixed, rho=automatic.rho_).fit(rows, y)
    assert_same_weights(automatic, plain)
    called, told = (
        SAMMLPClassifier(**QUICK, **each).partial_fit(rows, y, classes=np.unique(y))
        for each in (params, {**fixed, "rho": automatic.rho_})
    )
    assert_same_weights(called, told)


CUT_OFF = "rows left out got better"


def gain_of_the_end(n_epochs):
    """Return two members, and how much they got better in their last epochs."""
    # 400 rows, 20 a minibatch, 10 steps an epoch: every other epoch is judged
    params = {**QUICK, "max_iter": 12, "n_members": 2, "rho": 0.1, "batch_size": 20}
    members = SAMMLPRegressor(**params).fit(ROWS, ROWS[:, 0])
    scores = np.array([m.validation_scores_ for m in members.members_])
    assert scores.shape == (2, 6)
    n_before = (12 - n_epochs) // 2
    late = scores.max(axis=1) - scores[:, :n_before].max(axis=1)
    return members.set_params(n_iter_no_change=n_epochs), late.mean()


@pytest.mark.parametrize("n_epochs", [1, 4, 5])
def test_a_training_that_is_cut_off_is_warned_of_by_tol_and_n_iter(n_epochs):
    members, gain = gain_of_the_end(n_epochs)
    assert gain > 0
    with pytest.warns(ConvergenceWarning, match=r"\(12\).*Increase max_iter"):
        members.set_params(tol=0.999 * gain).fit(ROWS, ROWS[:, 0])
    members.set_params(tol=1.001 * gain)
    assert not any(CUT_OFF in message for message in messages_of(members))


def test_folds_count_by_their_rows_where_they_got_better():
    # 10 steps an epoch for both, 160 rows and 40
    folds = [
        (np.arange(200, 400), np.arange(160)),
        (np.arange(200), np.arange(360, 400)),
    ]
    params = {**QUICK, "max_iter": 12, "n_members": 2, "rho": 0.1, "batch_size": 20}
    members = SAMMLPRegressor(**params, cv=folds, n_iter_no_change=4)
    members.fit(ROWS, ROWS[:, 0])
    scores = np.array([m.validation_scores_ for m in members.members_])
    late = scores.max(axis=1) - scores[:, :4].max(axis=1)
    gain = 0.8 * late[0] + 0.2 * late[1]
    assert abs(gain / late.mean() - 1) > 0.002
    with pytest.warns(ConvergenceWarning, match=CUT_OFF):
        members.set_params(tol=0.999 * gain).fit(ROWS, ROWS[:, 0])
    members.set_params(tol=1.001 * gain)
    assert not any(CUT_OFF in message for message in messages_of(members))


def messages_of(estimator, y=ROWS[:, 0]):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(ROWS, y)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize(
    ("params", "way_out"),
    [
        ({}, "the loss of the rows left out .* Increase max_iter"),
        ({"max_steps": 60}, "the loss .* Increase max_steps"),
        ({"scoring": "r2"}, "the score .* Increase max_iter"),
        ({"n_iter_no_change": np.inf}, "n_iter_no_change=inf"),
    ],
)
def test_the_warning_of_a_cut_off_says_what_to_change(params, way_out, n_members):
    # ten steps an epoch of a member, twice as many of the one network's fold
    network = SAMMLPRegressor(**{**QUICK, "max_iter": 6}, batch_size=20)
    network.set_params(n_members=n_members, **params)
    (message,) = messages_of(network)
    assert re.search(way_out, message)


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize(
    "params",
    [
        {"tol": 1e9},
        {"max_iter": 30, "learning_rate": "cosine"},
        {"max_iter": 30, "swa": True},
    ],
)
def test_training_that_was_not_cut_off_is_not_warned_of(params, n_members):
    network = SAMMLPRegressor(**QUICK, n_members=n_members)
    assert messages_of(network.set_params(**{"tol": 1e-9, "max_iter": 20})) != []
    assert not any(CUT_OFF in m for m in messages_of(network.set_params(**params)))


@pytest.mark.parametrize("params", [{}, {"n_members": 2}, {"rho": 0.1, "n_members": 2}])
@pytest.mark.parametrize("length", [{"max_iter": 1}, {"max_steps": 1}])
def test_a_training_of_one_look_at_the_folds_is_cut_off(params, length):
    network = SAMMLPRegressor(**{**QUICK, **params, **length, "tol": 1e9})
    (message,) = messages_of(network)
    assert re.search(
        rf"Maximum iterations \(1\) .* the rows left out was evaluated once\. Increase "
        rf"{next(iter(length))}",
        message,
    )


@pytest.mark.parametrize("n_epochs", [40, np.inf])
def test_members_that_got_worse_were_not_cut_off(n_epochs):
    noise = np.random.default_rng(1).normal(size=400)
    members = SAMMLPRegressor(
        hidden_layer_sizes=(32,),
        rho=0.0,
        n_members=2,
        max_iter=40,
        learning_rate_init=0.02,
        n_iter_no_change=n_epochs,
        random_state=0,
    ).fit(ROWS, noise)
    for member in members.members_:
        assert np.argmax(member.validation_scores_) == 0
    assert not any(CUT_OFF in m for m in messages_of(members, noise))


def test_given_rows_are_named_as_what_they_are():
    network = SAMMLPRegressor(**QUICK, n_members=2)
    with pytest.warns(
        ConvergenceWarning, match="loss of the validation rows got better"
    ):
        network.fit(ROWS, ROWS[:, 0], X_val=ROWS[:50], y_val=ROWS[:50, 0])


def test_a_network_that_judges_itself_warns_once():
    network = SAMMLPRegressor(**QUICK, early_stopping=True)
    (message,) = messages_of(network)
    assert CUT_OFF not in message


def test_folds_that_gave_up_were_not_cut_off():
    rows = np.random.default_rng(0).normal(size=(300, 4))
    noise = np.random.default_rng(1).normal(size=300)
    network = SAMMLPRegressor(
        hidden_layer_sizes=(32,),
        max_iter=60,
        learning_rate_init=0.02,
        random_state=0,
        rho=[0],
    )
    network.set_params(n_iter_no_change=50)  # longer than they wait for a better epoch
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.fit(rows, noise)
    assert network.rho_epochs_ < 60


def test_rows_for_early_stopping_do_not_change_the_minibatch():
    rows, y = ROWS[:210], SIGNS[:210]
    fits = [
        SAMMLPClassifier(**QUICK, early_stopping=True, batch_size=size).fit(rows, y)
        for size in ("auto", 10)
    ]
    assert_same_weights(*fits)


def test_a_call_of_partial_fit_with_few_rows_goes_on_with_the_average():
    one = SAMMLPClassifier(**QUICK, batch_size=20).fit(ROWS, SIGNS)
    other = clone(one).set_params(ema_decay=0.99).fit(ROWS, SIGNS)
    for network in (one, other):
        network.partial_fit(ROWS[:60], SIGNS[:60])
    assert_same_weights(one, other)


def test_an_adaptive_rate_adapts_at_the_chosen_radius():
    params = {"base_solver": "sgd", "learning_rate": "adaptive", "tol": 0.01}
    params |= {"learning_rate_init": 0.1, "n_iter_no_change": 2, "ema_decay": 0.0}
    params |= {**QUICK, "max_iter": 60, "batch_size": 40}
    auto = SAMMLPClassifier(**params).fit(ROWS, SIGNS)
    fixed = SAMMLPClassifier(**params, rho=auto.rho_).fit(ROWS, SIGNS)
    assert_same_weights(auto, fixed)


def test_an_adaptive_rate_of_members_goes_by_their_folds():
    params = {"base_solver": "sgd", "learning_rate": "adaptive", "tol": 1.0}
    params |= {"learning_rate_init": 0.1, "n_iter_no_change": 1, "random_state": 0}
    params |= {"rho": 0.05, "max_iter": 200, "batch_size": 4, "scoring": "loss"}
    halves = np.split(np.arange(len(ROWS)), 2)
    both = SAMMLPClassifier(**params, n_members=2, cv=[halves, halves[::-1]])
    for member, (train, kept) in zip(
        both.fit(ROWS, SIGNS).members_, [halves, halves[::-1]], strict=True
    ):
        alone = SAMMLPClassifier(**params, early_stopping=True)
        alone.set_params(random_state=member.random_state)
        alone.fit(ROWS[train], SIGNS[train], X_val=ROWS[kept], y_val=SIGNS[kept])
        assert member.n_iter_ == alone.n_iter_ < 200
        assert_same_weights(member, alone, rtol=1e-6)


@pytest.mark.filterwarnings("error")
def test_a_rare_label_is_nothing_to_warn_of():
    y = SIGNS.copy()
    y[0] = 7
    network = SAMMLPClassifier(**QUICK).fit(ROWS, y)
    assert network.predict_proba(ROWS).shape == (len(ROWS), 3)


@pytest.mark.parametrize(
    ("solver", "radius"), [("sam", 0.05), ("wsam", 0.05 / 9), ("asam", 0.5)]
)
def test_the_radius_before_one_is_chosen_is_that_of_the_solver(solver, radius):
    network = SAMMLPClassifier(**QUICK, solver=solver).fit(ROWS[:60], SIGNS[:60])
    assert_allclose(network.rho_, radius, rtol=1e-12)


def test_callbacks_see_the_network_of_all_rows():
    class Rows(Callback):
        seen = ()

        def on_epoch_end(self, net, **kwargs):
            self.seen += (len(net.history),)

    rows = Rows()
    network = SAMMLPClassifier(**QUICK, callbacks=[rows]).fit(ROWS, SIGNS)
    assert rows.seen == tuple(range(1, network.n_iter_ + 1))


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("n_members", [1, 3])
def test_an_interrupt_while_radii_are_tried_ends_the_fit(
    n_members, number, monkeypatch
):
    count = itertools.count(1)
    step = Step.__call__

    def interrupted(self, *args):
        if next(count) == number:
            raise KeyboardInterrupt
        return step(self, *args)

    network = SAMMLPClassifier(**QUICK, n_members=n_members)
    before = set(vars(network))
    monkeypatch.setattr(Step, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        network.fit(ROWS, SIGNS)
    assert set(vars(network)) == before


@pytest.mark.parametrize("average", ["early_stopping", "swa"])
def test_one_network_may_end_in_another_way(average):
    # steps so long that an average is better than all that it is of
    shared = {"learning_rate_init": 0.2, "max_iter": 12}
    shared |= {"early_stopping": True} if average != "swa" else {"swa": SWA(start=2)}
    network = SAMMLPRegressor(**{**AUTO, **shared}).fit(X, TARGETS)
    plain = SAMMLPRegressor(**{**SMALL, **shared, "rho": network.rho_}).fit(X, TARGETS)
    assert network.n_averaged_ == plain.n_averaged_ == 10 * (average == "swa")
    assert_same_weights(network, plain)


# -- rows of every kind ------------------------------------------------------------------

MODES = {"members": ENSEMBLE, "rho": AUTO, "both": {**AUTO, "n_members": 3}}


@pytest.mark.parametrize("mode", MODES)
def test_sparse_rows_train_as_dense_ones(mode):
    dense = X * (X > 0)
    networks = [
        SAMMLPClassifier(**MODES[mode]).fit(rows, LABELS)
        for rows in (dense, sp.csr_array(dense), sp.csc_matrix(dense))
    ]
    for network in networks[1:]:
        assert_allclose(
            network.predict_proba(sp.csr_array(dense)),
            networks[0].predict_proba(dense),
            rtol=1e-9,
        )
        assert_allclose(out_of_fold(network), out_of_fold(networks[0]), rtol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_single_precision_stays_single(mode):
    network = SAMMLPClassifier(**MODES[mode]).fit(X.astype(np.float32), LABELS)
    parts = getattr(network, "members_", [network])
    assert {coef.dtype for part in parts for coef in part.coefs_} == {
        np.dtype(np.float32)
    }
    assert network.predict_proba(X.astype(np.float32)).dtype == np.float32
    double = SAMMLPClassifier(**MODES[mode]).fit(X, LABELS)
    assert_allclose(out_of_fold(network), out_of_fold(double), atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_frames_keep_their_names_and_do_not_warn(mode):
    frame = pd.DataFrame(X, columns=list("abcd"))
    network = SAMMLPClassifier(**MODES[mode]).fit(frame, pd.Series(LABELS))
    assert network.feature_names_in_.tolist() == list("abcd")
    same = SAMMLPClassifier(**MODES[mode]).fit(X, LABELS)
    assert_array_equal(network.predict_proba(frame), same.predict_proba(X))
    for member in getattr(network, "members_", []):
        member.predict(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        network.predict(frame[list("dcba")])


# -- going on ----------------------------------------------------------------------------


def test_a_warm_start_keeps_the_folds_and_the_weights(folds):
    network = SAMMLPRegressor(**{**ENSEMBLE, "cv": None}, warm_start=True)
    before = network.fit(X, TARGETS).members_
    # steps too short to be seen
    network.set_params(learning_rate_init=1e-300).fit(X, TARGETS)
    for (train, test), (other_train, other_test) in zip(*folds, strict=True):
        assert_array_equal(train, other_train)
        assert_array_equal(test, other_test)
    for member, first in zip(network.members_, before, strict=True):
        assert_same_weights(member, first, rtol=1e-12)
        assert member.loss_curve_[:6] == first.loss_curve_
        assert len(member.loss_curve_) == 12
        assert member.t_ == 2 * first.t_


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_warm_start_keeps_the_radius(n_members):
    network = SAMMLPRegressor(**AUTO, n_members=n_members, warm_start=True)
    radius = network.fit(X, TARGETS).rho_
    losses = network.rho_losses_
    network.set_params(rho=[radius, 7.0]).fit(X, TARGETS)
    assert network.rho_ == radius
    assert network.rho_losses_ is losses


def test_members_of_a_chosen_radius_go_on_as_those_of_a_given_one():
    chosen = SAMMLPRegressor(**AUTO, n_members=3, warm_start=True).fit(X, TARGETS)
    given = clone(chosen).set_params(rho=chosen.rho_).fit(X, TARGETS)
    assert_same_members(chosen, given, rtol=1e-9)
    chosen.fit(X, TARGETS)
    assert_same_members(chosen, given.fit(X, TARGETS), rtol=1e-9)


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_warm_start_by_lbfgs_leaves_nothing_of_a_choice(n_members):
    network = SAMMLPRegressor(**AUTO, n_members=n_members, warm_start=True)
    network.fit(X, TARGETS).set_params(solver="lbfgs", n_members=1).fit(X, TARGETS)
    fitted = [name for name in vars(network) if name.endswith("_")]
    assert not [
        name for name in fitted if name.startswith(("rho_", "oof_", "members_"))
    ]


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_warm_start_with_another_solver_chooses_its_radius(n_members):
    network = SAMMLPRegressor(**AUTO, n_members=n_members, warm_start=True)
    network.fit(X, TARGETS)
    network.set_params(solver="asam", rho=[0.7, 7.0]).fit(X, TARGETS)
    assert_array_equal(network.rho_grid_, [0.7, 7.0])
    assert network.rho_ in (0.7, 7.0)
    chosen = network.rho_
    assert network.set_params(rho=[chosen, 9.0]).fit(X, TARGETS).rho_ == chosen


def test_partial_fit_with_another_solver_does_not_take_its_radius():
    network = SAMMLPRegressor(**AUTO).fit(X, TARGETS)
    twin = copy.deepcopy(network).set_params(solver="asam", rho=0.5)
    network.set_params(solver="asam").partial_fit(X, TARGETS)
    assert_same_weights(network, twin.partial_fit(X, TARGETS))


def test_what_is_printed_names_the_network(capsys):
    shared = {**AUTO, "rho": [0.0, 0.5], "max_iter": 2, "verbose": True}
    network = SAMMLPRegressor(**shared).fit(X, TARGETS)
    lines = capsys.readouterr().out.splitlines()
    trained = [line for line in lines if "Iteration 1, loss" in line]
    names = [line.partition("Iteration")[0] for line in trained]
    folds = [f"[rho={rho}, fold {i}/3] " for rho in ("0", "0.5") for i in (1, 2, 3)]
    # the network of all rows is the one that the user has asked for
    assert names == [*folds, ""]
    network.set_params(rho=0.1, n_members=3).fit(X, TARGETS)
    members = [f"[member {i}/3" for i in (1, 2, 3)]
    lines = capsys.readouterr().out.splitlines()
    assert {line.partition("]")[0] for line in lines} == set(members)
    network.partial_fit(X, TARGETS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("]")[0] for line in lines] == members


def test_a_cold_start_draws_and_chooses_anew(folds):
    state = np.random.RandomState(0)
    network = SAMMLPRegressor(
        **{**AUTO, "n_members": 3, "cv": None, "random_state": state}
    )
    network.fit(X, TARGETS).set_params(rho=[7.0]).fit(X, TARGETS)
    assert network.rho_ == 7.0
    assert not np.array_equal(folds[0][0][1], folds[1][0][1])
    assert [len(member.loss_curve_) for member in network.members_] == [6, 6, 6]


def test_fewer_networks_leave_nothing_of_the_members():
    network = SAMMLPRegressor(**AUTO, n_members=3).fit(X, TARGETS)
    network.set_params(n_members=1, rho=0.05, cv=None)
    network.fit(X, TARGETS)
    plain = SAMMLPRegressor(**SMALL).fit(X, TARGETS)
    assert vars(network).keys() == vars(plain).keys()
    assert_array_equal(network.predict(X), plain.predict(X))


@pytest.mark.parametrize("kind", ["three labels", "a target"])
def test_partial_fit_trains_every_member_on_all_rows(kind):
    # alone, a seed would begin anew in every call
    shared = {"shuffle": False}
    estimator, y, _ = make_kind(kind, **ENSEMBLE, **shared)
    first = {"classes": [0, 1, 2]} if is_classifier(estimator) else {}
    parts = [slice(0, 30), slice(30, 60), slice(0, 60)]
    for part in parts:
        estimator.partial_fit(X[part], y[part], **first)
    assert estimator.t_ == 120
    for member in estimator.members_:
        alone, *_ = make_kind(kind, **SMALL, **shared)
        alone.set_params(random_state=member.random_state)
        for part in parts:
            alone.partial_fit(X[part], y[part], **first)
        assert_same_weights(member, alone, rtol=1e-9)
    assert not np.allclose(*[member.coefs_[0] for member in estimator.members_[:2]])


@pytest.mark.parametrize("mode", MODES)
def test_a_pickle_goes_on_as_the_original(mode):
    original = SAMMLPClassifier(**MODES[mode]).fit(X, LABELS)
    twin = pickle.loads(pickle.dumps(original))
    for network in (original, twin):
        if hasattr(network, "partial_fit"):
            network.partial_fit(X[:30], LABELS[:30])
        network.set_params(warm_start=True).fit(X, LABELS)
    assert_array_equal(twin.predict_proba(X), original.predict_proba(X))
    if original.n_members > 1:
        assert_array_equal(out_of_fold(twin), out_of_fold(original))


def test_partial_fit_after_a_fit_goes_on_from_it():
    network = SAMMLPRegressor(**ENSEMBLE, shuffle=False).fit(X, TARGETS)
    alone = copy.deepcopy(network.members_)
    network.partial_fit(X, TARGETS).partial_fit(X, TARGETS)
    for member, twin in zip(network.members_, alone, strict=True):
        twin.partial_fit(X, TARGETS).partial_fit(X, TARGETS)
        assert_same_weights(member, twin, rtol=1e-9)
        assert member.t_ == 6 * 40 + 2 * N


# -- as an estimator ---------------------------------------------------------------------


CHECKED = {"max_iter": 20, "learning_rate_init": 0.03}
CHOOSING = {**CHECKED, "rho": (0.0, 0.05)}
# one of the checks sets cv to three splits
too_few_of_a_class = pytest.mark.filterwarnings("ignore:The least populated class")
unused = pytest.mark.filterwarnings("ignore::sksharp.exceptions.UnusedParameterWarning")


@too_few_of_a_class
@unused
@with_checks([SAMMLPClassifier(**CHECKED, rho=0.05, n_members=3)])
def test_members_pass_the_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@too_few_of_a_class
@unused
@with_checks(
    [SAMMLPClassifier(**CHOOSING), SAMMLPRegressor(**CHOOSING, n_members=3)],
)
def test_estimators_that_choose_their_radius_pass_the_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("mode", MODES)
def test_a_seed_gives_the_same_fit_and_no_other_draw(mode):
    params = {**MODES[mode], "cv": 3}
    before = np.random.get_state()  # noqa: NPY002
    a, b, other = (
        SAMMLPClassifier(**{**params, "random_state": seed}).fit(X, LABELS)
        for seed in (0, 0, 1)
    )
    after = np.random.get_state()  # noqa: NPY002
    assert repr(before) == repr(after)
    assert_array_equal(before[1], after[1])
    assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    assert not np.allclose(a.predict_proba(X), other.predict_proba(X))
    assert not np.allclose(out_of_fold(a), out_of_fold(other))


@pytest.mark.parametrize("mode", MODES)
def test_a_clone_is_fitted_to_the_same(mode):
    network = SAMMLPClassifier(**MODES[mode]).fit(X, LABELS)
    twin = clone(network)
    assert not hasattr(twin, "members_")
    assert not hasattr(twin, "rho_")
    assert network.get_params()["rho"] == MODES[mode].get("rho", 0.05)
    assert_array_equal(twin.fit(X, LABELS).predict_proba(X), network.predict_proba(X))


def test_threads_that_are_at_work_are_left_to_their_owner():
    with joblib.parallel_config("threading", n_jobs=2), joblib.Parallel(2) as parallel:
        SAMMLPClassifier(**ENSEMBLE, n_jobs=2).fit(X, LABELS)
        assert parallel(joblib.delayed(abs)(i) for i in (-1, 2)) == [1, 2]


@pytest.mark.slow
def test_processes_train_the_same_members():
    one, two = (
        SAMMLPClassifier(**MODES["both"], n_jobs=n_jobs).fit(X, LABELS)
        for n_jobs in (None, 2)
    )
    assert one.rho_ == two.rho_
    assert_allclose(one.rho_losses_, two.rho_losses_, rtol=1e-10)
    assert_same_members(one, two, rtol=1e-10)


def test_a_member_is_the_same_to_rounding_in_a_group_of_any_size(monkeypatch):
    """A process gets a smaller group the more of them there are."""
    sizes, groups, train = [1, 2, 3], [], MLPNet.train

    def noted(net):
        groups.append(len(net.networks.jobs))
        return train(net)

    monkeypatch.setattr(MLPNet, "train", noted)
    networks = []
    for n_jobs in (3, 2, 1):
        with joblib.parallel_config("threading"):
            network = SAMMLPClassifier(**ENSEMBLE, n_jobs=n_jobs)
            networks.append(network.fit(X, LABELS))
    assert [max(groups[:3]), max(groups[3:5]), max(groups[5:])] == sizes
    for network in networks[1:]:
        assert_same_members(networks[0], network, rtol=1e-10)


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(mode, warm_start, monkeypatch):
    network = SAMMLPRegressor(**MODES[mode], warm_start=warm_start).fit(X, TARGETS)
    before, predictions = dict(vars(network)), network.predict(X)
    generators = [m._random_state for m in before.get("members_", [])]
    states = [generator.get_state()[1:3] for generator in generators]
    n_networks = {"members": 3, "rho": 1, "both": 3}[mode]
    taken, take = [], SAMMLPRegressor._take

    def fail_at_last(self, result):
        taken.append(take(self, result))
        if len(taken) == n_networks:
            raise MemoryError

    monkeypatch.setattr(SAMMLPRegressor, "_take", fail_at_last)
    with pytest.raises(MemoryError):
        network.fit(-X, -TARGETS)
    assert vars(network).keys() == before.keys()
    members = (getattr(network, "members_", []), before.get("members_", []))
    assert all(member is first for member, first in zip(*members, strict=True))
    for name in ("rho_", "rho_losses_", "oof_prediction_", "n_iter_", "t_"):
        assert getattr(network, name, None) is before.get(name)
    assert_array_equal(network.predict(X), predictions)
    # a warm start goes on with them
    for generator, (words, place) in zip(generators, states, strict=True):
        assert_array_equal(generator.get_state()[1], words)
        assert generator.get_state()[2] == place


# -- errors ------------------------------------------------------------------------------

NO_WEIGHT = np.ones(N)
NO_WEIGHT[FOLDS[1][1]] = 0
ALONE = {"n_members": 1, "cv": None}
ERRORS = {
    "more members than rows": (
        {"n_members": 70, "cv": None},
        r"Each of the 70 folds needs a row .*, got n_samples=60 .*Lower n_members",
    ),
    "more splits than rows": (
        {"n_members": 1, "rho": "auto", "cv": 61},
        r"Each of the 61 folds needs a row .*, got n_samples=60 .*Lower",
    ),
    "another number of splits": (
        {"cv": 5},
        r"got 5 splits with n_members=3\. Set n_members=5, or cv=None",
    ),
    "no member": ({"n_members": 0}, "The 'n_members' parameter of SAMMLPClassifier"),
    "half a member": ({"n_members": 1.5}, "The 'n_members' parameter"),
    "no radius": (
        {"rho": []},
        r"rho must hold at least one radius.*got rho=\[\]",
    ),
    "a negative radius": (
        {"rho": [0.1, -0.1]},
        r"neither negative nor infinite, got rho=\[0\.1, -0\.1\]",
    ),
    "a radius that is none": (
        {"rho": [0.1, np.nan]},
        "rho must hold.*nan",
    ),
    "a grid of grids": ({"rho": [[0.1]]}, "rho must hold"),
    "a grid of words": ({"rho": ["a"]}, "rho must hold.*'a'"),
    "a set": ({"rho": {0.1}}, "rho must hold"),
    "a dict": ({"rho": {0.1: 1}}, "rho must hold"),
    "another word": ({"rho": "best"}, "The 'rho' parameter of SAMMLPClassifier"),
    "callbacks of members": (
        {"callbacks": [Callback()]},
        r"callbacks work with one network, got .* n_members=3\. Set callbacks=None",
    ),
    "members by lbfgs": (
        {"solver": "lbfgs"},
        r"n_members needs a stochastic solver, got solver='lbfgs'\. Set solver to",
    ),
    "steps of lbfgs": (
        {"solver": "lbfgs", "n_members": 1, "max_steps": 5},
        "max_steps needs a stochastic solver",
    ),
    "no step": ({"max_steps": 0}, "The 'max_steps' parameter"),
    "a fold without weight": (
        {},
        r"sample_weight must not sum to zero over a fold.*Drop",
        NO_WEIGHT,
    ),
    "averaging after the last step": (
        {**ALONE, "max_steps": 60, "swa": SWA(start=2)},
        r"swa__start must lie before max_steps=60, got swa__start=2\..*raise max_steps",
    ),
    "averaging too seldom for the steps": (
        {**ALONE, "max_steps": 90, "swa": SWA(start=2, freq=2)},
        r"swa__freq must not exceed the 1 epochs.*raise max_steps",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_mistake_is_told_with_the_way_out(case):
    params, match, *weights = ERRORS[case]
    network = SAMMLPClassifier(**{**ENSEMBLE, **params})
    before = set(vars(network))
    with pytest.raises(ValueError, match=match):
        network.fit(X, LABELS, *weights)
    assert set(vars(network)) == before


def test_partial_fit_goes_on_with_the_radius_that_was_chosen():
    network = SAMMLPRegressor(**AUTO).fit(X, TARGETS)
    twin = SAMMLPRegressor(**{**SMALL, "rho": network.rho_})
    twin.__dict__.update({**vars(network), **twin.get_params()})
    assert_same_weights(network.partial_fit(X, TARGETS), twin.partial_fit(X, TARGETS))


def test_partial_fit_alone_has_a_radius_of_a_twentieth():
    network = SAMMLPRegressor(**AUTO).partial_fit(X, TARGETS).partial_fit(X, TARGETS)
    fixed = SAMMLPRegressor(**SMALL).partial_fit(X, TARGETS).partial_fit(X, TARGETS)
    assert_same_weights(network, fixed)
    assert not hasattr(network, "rho_")


def test_partial_fit_of_members_does_not_stop_early():
    network = SAMMLPRegressor(**ENSEMBLE, early_stopping=True)
    with pytest.raises(ValueError, match="does not support early_stopping=True"):
        network.partial_fit(X, TARGETS)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("before", "after"), [(3, 2), (3, 1), (1, 3)])
def test_going_on_takes_as_many_members_as_before(before, after, method):
    network = SAMMLPRegressor(
        **{**ENSEMBLE, "n_members": before, "cv": None}, warm_start=True
    ).fit(X, TARGETS)
    network.set_params(n_members=after)
    message = (
        rf"as many members as.*{before}, got n_members={after}\. Set n_members back"
    )
    with pytest.raises(ValueError, match=message):
        getattr(network, method)(X, TARGETS)


def test_going_on_takes_the_same_layers():
    network = SAMMLPRegressor(**ENSEMBLE, warm_start=True).fit(X, TARGETS)
    network.set_params(hidden_layer_sizes=(5,))
    with pytest.raises(
        ValueError, match=r"layers of \[4, 4, 1\] units, got \[4, 5, 1\]"
    ):
        network.fit(X, TARGETS)


# -- max_steps ---------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [7, 20, 60, "auto"])
@pytest.mark.parametrize("max_steps", [1, 9, 10, 31])
def test_steps_are_rounded_up_to_epochs(max_steps, batch_size):
    shared = {**SMALL, "batch_size": batch_size, "n_iter_no_change": np.inf}
    network = SAMMLPClassifier(**shared, max_steps=max_steps).fit(X, LABELS)
    rows_per_batch = 60 if batch_size == "auto" else batch_size
    epochs = math.ceil(max_steps / math.ceil(N / rows_per_batch))
    assert network.n_iter_ == epochs
    same = SAMMLPClassifier(**{**shared, "max_iter": epochs}).fit(X, LABELS)
    assert_same_weights(network, same)


@pytest.mark.parametrize(
    ("settings", "n_rows"),
    [
        ({"early_stopping": True, "validation_fraction": 0.5}, 30),
        ({"n_members": 3}, 40),
    ],
)
def test_the_rows_that_are_trained_on_make_the_epoch(settings, n_rows):
    network = SAMMLPClassifier(
        **{**SMALL, "batch_size": 7}, **settings, n_iter_no_change=99, max_steps=40
    ).fit(X, LABELS)
    assert network.n_iter_ == math.ceil(40 / math.ceil(n_rows / 7))


def test_averaging_begins_at_a_share_of_the_steps():
    shared = {**SMALL, "swa": SWA(start=0.5), "batch_size": 20, "tol": 0.0}
    by_steps = SAMMLPRegressor(**shared, max_steps=24).fit(X, TARGETS)
    by_epochs = SAMMLPRegressor(**{**shared, "max_iter": 8}).fit(X, TARGETS)
    assert by_steps.n_averaged_ == 4
    assert_same_weights(by_steps, by_epochs)


def test_splits_may_be_masks():
    rows = np.arange(N)
    masks = [(rows % 2 == k, rows % 2 != k) for k in (0, 1)]
    places = [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in masks]
    of_masks, of_places = (
        SAMMLPRegressor(**SMALL, n_members=2, cv=cv).fit(X, TARGETS)
        for cv in (masks, places)
    )
    assert_same_members(of_masks, of_places)


def test_a_generator_that_is_used_up_is_named():
    splits = KFold(2).split(X)
    list(splits)
    with pytest.raises(ValueError, match="a generator is used up by its first fit"):
        SAMMLPRegressor(**SMALL, n_members=2, cv=splits).fit(X, TARGETS)
