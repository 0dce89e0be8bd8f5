"""Which radii are as good as the best: paired standard errors, and the largest of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import KFold

from sksharp import SAMMLPClassifier, SAMMLPRegressor, load, save
from sksharp.estimators import _comparison, _rho_search
from sksharp.estimators._comparison import largest_as_good, standard_error
from sksharp.options import SWA, InputNoise

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
N = 60
X = rng.normal(size=(N, 4))
LABELS = (X[:, 0] + rng.normal(size=N) > 0.3).astype(int) + (X[:, 2] > 0.5)
TARGETS = X[:, 0] - X[:, 2] ** 2 + 0.5 * rng.normal(size=N)
WEIGHTS = rng.uniform(0.1, 3, size=N)
WEIGHTS[::7] = 0
FOLDS = list(KFold(3, shuffle=True, random_state=1).split(X))

SMALL = {
    "rho": [0.0, 0.1, 0.5],
    "hidden_layer_sizes": (4,),
    "batch_size": 2,
    "max_iter": 6,
    "learning_rate_init": 0.02,
    "random_state": 0,
    "cv": FOLDS,
}

# -- the standard error ------------------------------------------------------------------

FEW = np.array([1.0, 2.0, 6.0])


def test_the_error_of_equal_rows_is_that_of_a_mean():
    differences = rng.normal(size=50)
    error = standard_error(differences, np.arange(50), np.full(50, 0.3))
    assert_allclose(error, differences.std(ddof=1) / np.sqrt(50), rtol=1e-12)


def test_the_error_of_weighted_rows_by_hand():
    # the mean is 15/4; weights times deviations are -11/4, -7/4 and 18/4
    expected = np.sqrt(3 / 2 * (121 + 49 + 324) / 16) / 4
    weights = np.array([1.0, 1.0, 2.0])
    assert_allclose(standard_error(FEW, np.arange(3), weights), expected, rtol=1e-12)
    # a unit of the weights does not matter, and rows of weight 0 are not there
    more = np.r_[FEW, 100.0], np.arange(4), np.r_[5 * weights, 0.0]
    assert_allclose(standard_error(*more), expected, rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e160, 1e300])
def test_the_error_of_numbers_whose_squares_are_none(unit):
    weights = np.array([1.0, 1.0, 2.0])
    expected = standard_error(FEW, np.arange(3), weights)
    error = standard_error(FEW, np.arange(3), unit * weights)
    assert_allclose(error, expected, rtol=1e-12)
    error = standard_error(unit * FEW, np.arange(3), weights)
    assert_allclose(error, unit * expected, rtol=1e-12)


def test_large_weights_choose_the_radius_of_small_ones():
    fits = [
        SAMMLPClassifier(**SMALL | {"alpha": 0.0, "rho": [0.0, 0.1, 20.0]}).fit(
            X, LABELS, sample_weight=unit * WEIGHTS
        )
        for unit in (1, 2.0**700)
    ]
    errors = [fit.rho_standard_errors_ for fit in fits]
    assert_allclose(*errors, rtol=1e-9)
    assert fits[0].rho_ == fits[1].rho_ < 20


def test_radii_that_all_diverge_are_an_error_and_nothing_of_numpys():
    served = InputNoise(std=1e300, on="validation")
    reg = SAMMLPRegressor(**SMALL, input_noise=served)
    with (
        np.errstate(all="raise"),
        pytest.raises(ValueError, match="no epoch had a finite loss"),
    ):
        reg.fit(X, TARGETS)
    assert not hasattr(reg, "coefs_")


def test_rows_that_are_held_out_twice_count_once():
    once = standard_error(FEW, np.arange(3), np.ones(3))
    twice = np.r_[FEW + 1, FEW - 1], np.r_[:3, :3], np.ones(6)
    assert_allclose(standard_error(*twice), once, rtol=1e-12)


def test_of_one_row_nothing_is_known():
    assert standard_error(np.array([3.0, 4.0]), np.zeros(2, int), np.ones(2)) == 0


@pytest.mark.parametrize(
    ("differences", "chosen"),
    [
        ([0.0, 0.0, 0.0], 2),
        ([0.0, 0.09, 0.11], 1),
        ([0.0, 0.11, 0.09], 2),
        ([0.11, 0.0, 0.3], 1),
        ([0.0, np.inf, np.nan], 0),
    ],
    ids=str,
)
def test_the_largest_within_an_error_is_chosen(differences, chosen):
    differences = np.array(differences)
    errors = np.where(differences == 0, 0, 0.1)
    assert largest_as_good(range(3), 10 + differences, differences, errors) == chosen


@pytest.mark.parametrize("lowest", [1.0, -1.0, 1e-300, 1e300])
@pytest.mark.parametrize(("increase", "chosen"), [(0.049, 1), (0.051, 0)])
def test_an_error_excuses_no_more_than_a_twentieth(lowest, increase, chosen):
    differences = np.array([0, increase, 0]) * abs(lowest)
    # of the last radius, which was given up, nothing counts
    losses = lowest + differences - [0, 0, abs(lowest)]
    errors = np.full(3, abs(lowest))
    assert largest_as_good([0, 1], losses, differences, errors) == chosen


def test_one_enormous_loss_is_no_excuse():
    of_rows = np.zeros(300)
    of_rows[17] = 1e6
    error = standard_error(of_rows, np.arange(300), np.ones(300))
    differences = np.array([0.0, of_rows.mean()])
    assert_allclose(error, differences[1], rtol=1e-12)
    losses = 0.3 + differences
    errors = np.array([0.0, error * (1 + 1e-9)])
    assert largest_as_good([0, 1], losses, differences, errors) == 0


# -- fits --------------------------------------------------------------------------------


def log_losses(y, outputs):
    return -np.log(outputs[np.arange(len(y)), y])


def label_losses(y, outputs):
    return -np.log(np.where(y, outputs, 1 - outputs)).sum(axis=1)


def squared_losses(y, outputs):
    return np.square(outputs - y).reshape(len(y), -1).mean(axis=1) / 2


# (estimator, targets, losses of rows)
KINDS = {
    "classes": (SAMMLPClassifier(), LABELS, log_losses),
    "labels": (SAMMLPClassifier(), np.c_[LABELS > 0, LABELS > 1], label_losses),
    "target": (SAMMLPRegressor(), TARGETS, squared_losses),
    "targets": (SAMMLPRegressor(), np.c_[TARGETS, TARGETS**2], squared_losses),
}


def out_of_fold(estimator):
    if isinstance(estimator, SAMMLPRegressor):
        return estimator.oof_prediction_
    return estimator.oof_decision_function_


@pytest.fixture
def without_rungs(monkeypatch):
    """Train every radius to the end, on all folds."""
    monkeypatch.setattr(_rho_search, "RUNGS", ())


@pytest.mark.parametrize(
    ("kind", "weights"),
    [("classes", WEIGHTS), ("labels", None), ("target", None), ("targets", WEIGHTS)],
    ids=KINDS,
)
def test_the_errors_are_those_of_the_rows_out_of_fold(kind, weights, without_rungs):
    estimator, y, losses_of = KINDS[kind]
    estimator = clone(estimator).set_params(**SMALL, ema_decay=0)
    members = clone(estimator).set_params(n_members=3).fit(X, y, weights)
    w = np.ones(N) if weights is None else weights
    losses = np.stack(
        [
            losses_of(
                y, out_of_fold(clone(members).set_params(rho=r).fit(X, y, weights))
            )
            for r in members.rho_grid_
        ]
    )
    means = np.average(losses, axis=1, weights=w)
    assert_allclose(members.rho_losses_, means, rtol=1e-9)
    above = losses - losses[means.argmin()]
    spread = w * (above - np.average(above, axis=1, weights=w)[:, None])
    n = np.count_nonzero(w)
    errors = np.sqrt(n / (n - 1) * np.square(spread).sum(axis=1)) / w.sum()
    assert_allclose(members.rho_differences_, means - means.min(), atol=1e-9)
    assert_allclose(members.rho_standard_errors_, errors, rtol=1e-6, atol=1e-12)
    is_good = members.rho_differences_ <= members.rho_standard_errors_
    is_good &= members.rho_losses_ <= 1.05 * means.min()
    assert members.rho_ == members.rho_grid_[is_good].max()


def test_members_on_the_same_rows_are_no_more_rows(without_rungs):
    rows = {"X_val": X[40:], "y_val": LABELS[40:]}
    params = {**SMALL, "cv": None, "n_members": 3, "ema_decay": 0}
    auto = SAMMLPClassifier(**params).fit(X[:40], LABELS[:40], **rows)
    losses = []
    for radius in auto.rho_grid_:
        fixed = SAMMLPClassifier(**{**params, "rho": radius})
        members = fixed.fit(X[:40], LABELS[:40], **rows).members_
        each = [log_losses(LABELS[40:], m.predict_proba(X[40:])) for m in members]
        losses.append(np.mean(each, axis=0))
    above = losses - losses[auto.rho_differences_.argmin()]
    errors = above.std(axis=1, ddof=1) / np.sqrt(20)
    assert_allclose(auto.rho_standard_errors_, errors, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize(
    "params", [{}, {"scoring": "refined_loss"}, {"swa": SWA(start=3)}], ids=str
)
def test_the_losses_that_are_kept_are_those_of_the_best_score(
    params, n_members, monkeypatch
):
    halvings = []

    class Recorded(_rho_search.Halving):
        def __init__(self, *args):
            super().__init__(*args)
            halvings.append(self)

    monkeypatch.setattr(_rho_search, "Halving", Recorded)
    clf = SAMMLPClassifier(**SMALL, **params, n_members=n_members)
    clf.fit(X, LABELS, WEIGHTS)
    (halving,) = halvings
    assert len(halving.results) >= 7
    for (_, j), result in halving.results.items():
        progress = result.progress
        loss = np.average(progress.best_row_losses, weights=halving.weights[j])
        assert_allclose(loss, -progress.best_validation_score, rtol=1e-12)


@pytest.mark.parametrize("n_members", [1, 3])
def test_of_equal_losses_the_largest_radius_is_chosen(n_members):
    # steps too short to be seen
    clf = SAMMLPClassifier(**SMALL, n_members=n_members)
    clf.set_params(learning_rate_init=1e-300).fit(X, LABELS)
    assert clf.rho_ == 0.5
    assert_array_equal(clf.rho_differences_, [0, 0, 0])
    assert_array_equal(clf.rho_standard_errors_, [0, 0, 0])


@pytest.mark.parametrize("n_members", [1, 3])
def test_the_rule_holds_at_every_rung(n_members, monkeypatch):
    params = {**SMALL, "rho": [0, 0.1, 0.5, 1, 20], "max_iter": 60}
    clf = SAMMLPClassifier(**params, n_members=n_members).fit(X, LABELS)
    assert clf.rho_losses_.argmax() == 4
    assert clf.rho_ < 20
    # what is far from the best goes on as long as it is not measurably worse
    monkeypatch.setattr(_comparison, "STANDARD_ERRORS", 1e9)
    monkeypatch.setattr(_comparison, "MAX_INCREASE", 1e9)
    clf.fit(X, LABELS)
    assert clf.rho_ == 20
    assert clf.rho_epochs_.argmax() == 4
    assert clf.rho_differences_[4] > 0
    # and by the lowest loss alone a smaller one
    monkeypatch.setattr(_comparison, "STANDARD_ERRORS", 0)
    lowest = clf.fit(X, LABELS)
    assert lowest.rho_differences_[lowest.rho_grid_ == lowest.rho_] == 0


@pytest.mark.parametrize("n_members", [1, 3])
def test_of_the_chosen_radius_the_last_comparison_is_told(n_members):
    clf = SAMMLPClassifier(**{**SMALL, "max_iter": 60}, n_members=n_members)
    clf.fit(X, LABELS)
    # 0 was ahead when radii were compared for the last time, and trained no longer
    assert_array_equal(clf.rho_epochs_ > 6, [False, True, False])
    assert clf.rho_ == 0.1
    assert clf.rho_differences_[0] == 0
    assert 0 < clf.rho_differences_[1] <= clf.rho_standard_errors_[1]


def test_a_score_has_no_errors():
    clf = SAMMLPClassifier(**SMALL, scoring="neg_log_loss").fit(X, LABELS)
    assert not hasattr(clf, "rho_differences_")
    assert not hasattr(clf, "rho_standard_errors_")
    assert clf.rho_ in clf.rho_grid_
    clf.set_params(scoring=None).fit(X, LABELS)
    assert hasattr(clf, "rho_standard_errors_")


def test_one_radius_is_the_lowest():
    reg = SAMMLPRegressor(**{**SMALL, "rho": [0.2]}).fit(X, TARGETS)
    assert_array_equal(reg.rho_differences_, [0])
    assert_array_equal(reg.rho_standard_errors_, [0])


def test_the_errors_are_saved(tmp_path):
    reg = SAMMLPRegressor(**SMALL).fit(X, TARGETS)
    save(reg, tmp_path / "model.sksharp")
    loaded = load(tmp_path / "model.sksharp")
    assert_array_equal(loaded.rho_differences_, reg.rho_differences_)
    assert_array_equal(loaded.rho_standard_errors_, reg.rho_standard_errors_)
