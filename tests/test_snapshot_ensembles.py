"""Members that are collected along one training, at the lowest learning rates."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from skorch.callbacks import Callback

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import Cosine, Snapshots

from .checks import SEE_THE_TRAINING, with_checks
from .solvers import every_solver_with_a_rate

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
target = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=40)
labels = (target > 0).astype(int) + (target > 1)

every_schedule = pytest.mark.parametrize(
    ("schedule", "start", "collected"),
    [
        ("cosine", None, [4, 8, 12]),
        ("cosine", 3, [6, 9, 12]),
        ("cosine", 0.5, [8, 10, 12]),
        ("triangular", 0, [2, 7, 12]),
        ("triangular", 0.5, [7, 9, 12]),
        ("triangular", 2, [4, 8, 12]),
    ],
)
SMALL = {
    "hidden_layer_sizes": (4,),
    "batch_size": 10,
    "max_iter": 12,
    "learning_rate_init": 0.05,
    "random_state": 0,
    "snapshots": 3,
}


def assert_same_network(network, other):
    for array, expected in zip(
        [*network.coefs_, *network.intercepts_],
        [*other.coefs_, *other.intercepts_],
        strict=True,
    ):
        assert_array_equal(array, expected)


def weights_along(estimator, y):
    """Return the weights to predict with after every epoch of a fit."""

    class Path(Callback):
        def on_train_begin(self, net, **kwargs):
            self.path = []

        def on_epoch_end(self, net, **kwargs):
            self.path.append(net.networks.evaluation_weights().clone().numpy())

    seen = Path()
    clone(estimator).set_params(callbacks=[seen]).fit(X, y)
    return seen.path


def flat(network):
    return np.concatenate([w.ravel() for w in [*network.coefs_, *network.intercepts_]])


@every_schedule
def test_the_members_are_the_networks_at_the_ends_of_cycles(schedule, start, collected):
    snapshots = Snapshots(n=3, schedule=schedule, start=start)
    clf = SAMMLPClassifier(**{**SMALL, "snapshots": snapshots})
    path = weights_along(clf, labels)
    clf.fit(X, labels)
    assert [member.n_iter_ for member in clf.members_] == collected
    assert [member.t_ for member in clf.members_] == [40 * n for n in collected]
    for member, epoch in zip(clf.members_, collected, strict=True):
        assert_array_equal(flat(member), path[epoch - 1])
        assert member.loss_curve_ == clf.loss_curve_[:epoch]
        assert member.loss_ == member.loss_curve_[-1]


@every_solver_with_a_rate
def test_snapshots_only_watch(solver, base_solver):
    """The first cycle of snapshots is a cosine over a training as long."""
    params = {
        **SMALL,
        "n_iter_no_change": np.inf,
        "solver": solver,
        "base_solver": base_solver,
    }
    schedule = {"learning_rate": Cosine(lr_min=0.01), "snapshots": None}
    cosine = SAMMLPRegressor(**{**params, **schedule}).fit(X, target)
    # two cycles, each of which is as long as that training
    cycles = {"max_iter": 24, "snapshots": Snapshots(n=2, lr_min=0.01)}
    regr = SAMMLPRegressor(**{**params, **cycles}).fit(X, target)
    assert_same_network(regr.members_[0], cosine)
    assert regr.loss_curve_[:12] == cosine.loss_curve_


KINDS = {
    "two labels": (SAMMLPClassifier, labels > 0),
    "three labels": (SAMMLPClassifier, labels),
    "several labels": (SAMMLPClassifier, np.c_[labels > 0, labels > 1]),
    "words": (SAMMLPClassifier, np.array(["no", "so", "yes"])[labels]),
    "a target": (SAMMLPRegressor, target),
    "several targets": (SAMMLPRegressor, np.c_[target, target**2]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_the_mean_of_the_members(kind):
    Estimator, y = KINDS[kind]
    estimator = Estimator(**SMALL).fit(X, y)
    assert len(estimator.members_) == 3
    method = "predict_proba" if is_classifier(estimator) else "predict"
    each = [getattr(member, method)(X) for member in estimator.members_]
    assert_allclose(getattr(estimator, method)(X), np.mean(each, axis=0), rtol=1e-12)
    assert np.ptp(each, axis=0).max() > 1e-3
    assert estimator.score(X, y) > 0.3
    sparse = getattr(estimator, method)(sp.csr_array(X))
    assert_allclose(sparse, getattr(estimator, method)(X), rtol=1e-12)


def test_the_training_has_its_attributes_and_the_members_their_weights():
    clf = SAMMLPClassifier(**SMALL).fit(X, labels)
    assert clf.n_iter_ == len(clf.loss_curve_) == 12
    assert clf.t_ == 12 * 40
    for name in ("coefs_", "intercepts_", "n_averaged_", "oof_decision_function_"):
        assert not hasattr(clf, name)
    for member in clf.members_:
        assert isinstance(member, SAMMLPClassifier)
        assert member.snapshots is None
        assert member.n_averaged_ == 0
        assert member.get_params().keys() == clf.get_params().keys()


def test_no_rule_ends_a_training_of_snapshots():
    clf = SAMMLPClassifier(**SMALL, tol=1e9, n_iter_no_change=1).fit(X, labels)
    assert clf.n_iter_ == 12


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_a_training_of_snapshots_was_not_cut_off():
    SAMMLPClassifier(**SMALL).fit(X, labels)


def test_the_length_is_that_of_max_steps():
    steps = SAMMLPClassifier(**{**SMALL, "max_iter": 999}, max_steps=47).fit(X, labels)
    epochs = SAMMLPClassifier(**SMALL).fit(X, labels)
    for member, expected in zip(steps.members_, epochs.members_, strict=True):
        assert_same_network(member, expected)


@pytest.mark.parametrize("random_state", [0, np.random.RandomState(0)], ids=type)
def test_a_fit_is_repeated_by_its_seed(random_state):
    params = {**SMALL, "random_state": random_state}
    a = SAMMLPClassifier(**copy.deepcopy(params)).fit(X, labels)
    b = SAMMLPClassifier(**copy.deepcopy(params)).fit(X, labels)
    for member, other in zip(a.members_, b.members_, strict=True):
        assert_same_network(member, other)


# -- the next call ---------------------------------------------------------------------


@every_solver_with_a_rate
def test_a_warm_start_goes_on_from_the_end_of_the_last_training(solver, base_solver):
    params = {**SMALL, "solver": solver, "base_solver": base_solver, "shuffle": False}
    clf = SAMMLPClassifier(**params, warm_start=True).fit(X, labels)
    last = copy.deepcopy(clf.members_[-1])
    clf.fit(X, labels)
    assert len(clf.members_) == 3
    assert len(clf.loss_curve_) == 24
    assert [len(member.loss_curve_) for member in clf.members_] == [16, 20, 24]
    assert [member.t_ for member in clf.members_] == [40 * 16, 40 * 20, 40 * 24]
    if solver != "ranger" and base_solver != "ranger":  # which hide fast weights
        last.set_params(snapshots=3).fit(X, labels)
        for member, expected in zip(clf.members_, last.members_, strict=True):
            assert_same_network(member, expected)


def test_partial_fit_goes_on_with_one_network_from_the_last_snapshot():
    clf = SAMMLPClassifier(**SMALL).fit(X, labels)
    last, rate = clf.members_[-1], clf._state.optimizer.learning_rate
    assert 0 < rate < 0.02  # that of the last step of a cycle
    clf.set_params(snapshots=None).partial_fit(X, labels)
    assert not hasattr(clf, "members_")
    change = abs(flat(clf) - flat(last)).max()
    assert 0 < change < 4 * 3 * rate


def test_a_plain_fit_after_snapshots_leaves_none():
    clf = SAMMLPClassifier(**SMALL).fit(X, labels)
    plain = SAMMLPClassifier(**{**SMALL, "snapshots": None}).fit(X, labels)
    clf.set_params(snapshots=None).fit(X, labels)
    assert not hasattr(clf, "members_")
    assert_same_network(clf, plain)


def test_members_of_folds_do_not_continue_snapshots():
    clf = SAMMLPClassifier(**SMALL, warm_start=True).fit(X, labels)
    clf.set_params(n_members=3, snapshots=None)
    with pytest.raises(ValueError, match=r"as many members .*, 1, got n_members=3"):
        clf.fit(X, labels)
    assert len(clf.members_) == 3  # as it was
    clf.predict(X)


def test_a_fit_that_fails_leaves_the_snapshots():
    clf = SAMMLPClassifier(**SMALL, warm_start=True).fit(X, labels)
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match="NaN"):
        clf.fit(X * np.nan, labels)
    assert_array_equal(clf.predict_proba(X), before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pickle_predicts_and_continues_bit_for_bit(dtype):
    clf = SAMMLPClassifier(**SMALL, warm_start=True).fit(X.astype(dtype), labels)
    twin = pickle.loads(pickle.dumps(clf))
    assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))
    assert clf.members_[0].coefs_[0].dtype == dtype
    clf.fit(X.astype(dtype), labels)
    twin.fit(X.astype(dtype), labels)
    for member, expected in zip(twin.members_, clf.members_, strict=True):
        assert_same_network(member, expected)


# -- callbacks -------------------------------------------------------------------------


class StopAfter(Callback):
    """Stop after some epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epochs:
            raise KeyboardInterrupt


def test_a_training_that_is_stopped_has_the_snapshots_so_far():
    whole = SAMMLPClassifier(**SMALL).fit(X, labels)
    clf = SAMMLPClassifier(**SMALL, callbacks=[StopAfter(9)]).fit(X, labels)
    assert clf.n_iter_ == 9
    assert len(clf.members_) == 2
    for member, expected in zip(clf.members_, whole.members_, strict=False):
        assert_same_network(member, expected)


def test_a_training_that_is_stopped_before_the_first_snapshot_is_one_network():
    clf = SAMMLPClassifier(**SMALL, callbacks=[StopAfter(3)]).fit(X, labels)
    assert not hasattr(clf, "members_")
    assert clf.n_averaged_ == 0
    clf.predict(X)


QUICK = {"max_iter": 20, "learning_rate_init": 0.03, "rho": 0.05, "snapshots": 2}


class NoPartialFit:
    """Estimators whose partial_fit is not looked for, as it refuses snapshots."""

    partial_fit = property()


class Classifier(NoPartialFit, SAMMLPClassifier):
    """The classifier without partial_fit."""


class Regressor(NoPartialFit, SAMMLPRegressor):
    """The regressor without partial_fit."""


@with_checks([Classifier(**QUICK), Regressor(**QUICK)], only=SEE_THE_TRAINING)
def test_estimators_of_snapshots_pass_the_checks(estimator, check):
    check(estimator)
