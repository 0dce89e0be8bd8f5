"""scoring='refined_loss': epochs and radii by the loss at the best temperature.

The reference is a scorer: a callable that computes the same score in numpy. It chooses the
same epochs and radii and leaves the networks as they are trained.
"""

import copy
import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.utils._param_validation import InvalidParameterError

import sksharp
from sksharp import (
    LossCurveDisplay,
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    training,
)
from sksharp.estimators import _rho_search
from sksharp.estimators._tempering import untempered
from sksharp.exceptions import UnusedParameterWarning
from sksharp.observers._sklearn_callbacks import attributes_of
from sksharp.options import SWA

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
N = 80
X = rng.normal(size=(N, 4))
LABELS = (X[:, 0] + rng.normal(size=N) > 0.3).astype(int) + (X[:, 2] > 0.5)
SEVERAL = np.c_[LABELS > 0, LABELS > 1].astype(int)
WEIGHTS = rng.uniform(0.1, 3, size=N)
WEIGHTS[::7] = 0
FOLDS = list(StratifiedKFold(3, shuffle=True, random_state=1).split(X, LABELS))
TRAIN, VAL = slice(0, 48), slice(48, None)

SMALL = {
    "rho": 0.05,
    "hidden_layer_sizes": (6,),
    "batch_size": 4,
    "max_iter": 8,
    "learning_rate_init": 0.05,
    "random_state": 0,
    "scoring": "refined_loss",
}
EARLY = {**SMALL, "early_stopping": True, "n_iter_no_change": 99, "max_iter": 12}
MEMBERS = {**SMALL, "n_members": 3, "cv": FOLDS}
AUTO = {**SMALL, "rho": [0.0, 0.5], "cv": FOLDS, "ema_decay": 0.0}
BOTH = {**AUTO, "n_members": 3}
WAYS = {"one": EARLY, "members": MEMBERS, "rho": AUTO, "both": BOTH}

LIMIT = 10 * np.log(2)
TARGETS = {"two": (LABELS > 0) + 0, "three": LABELS, "several": SEVERAL}


def logits(network, rows):
    """Return the inputs of the output activation of a network with a hidden layer."""
    coefs, intercepts = network.coefs_, network.intercepts_
    hidden = np.maximum(rows @ coefs[0] + intercepts[0], 0)
    return hidden @ coefs[1] + intercepts[1]


def indicators(network, y):
    y = network._label_binarizer.transform(y)
    return y.reshape(len(y), -1).astype(float)


def refined(network, rows, y, sample_weight=None):
    """Return the best inverse temperature and the loss there, of a raw network."""
    z, y = logits(network, rows).astype(float), indicators(network, y)
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    is_softmax = network.out_activation_ == "softmax"
    share = 1 / (np.count_nonzero(weights) + 1)
    smooth = (1 - share) * y + share / (y.shape[1] if is_softmax else 2)

    def slope(log_b):
        scaled = np.exp(log_b) * z
        p = softmax(scaled, axis=1) if is_softmax else expit(scaled)
        return weights @ ((p - smooth) * z).sum(axis=1)

    log_b = LIMIT * np.sign(-slope(0))
    if slope(0) * slope(log_b) < 0:
        log_b = brentq(slope, -LIMIT, LIMIT, xtol=1e-13)
    scaled = np.exp(log_b) * z
    if is_softmax:
        losses = -(y * log_softmax(scaled, axis=1))
    else:
        losses = -(y * log_expit(scaled) + (1 - y) * log_expit(-scaled))
    return np.exp(log_b), np.average(losses.sum(axis=1), weights=weights)


def refined_scorer(network, rows, y, sample_weight=None):
    return -refined(network, rows, y, sample_weight)[1]


def raw(clf):
    """Return a copy of an estimator, with the weights that training has reached."""
    network = copy.copy(clf)
    weights, _ = untempered(clf)
    network.coefs_, network.intercepts_ = weights.coefs, weights.intercepts
    return network


def networks_of(clf):
    return getattr(clf, "members_", [clf])


def factor_of(clf):
    return clf._state.inverse_temperature


def assert_raw_weights(clf, reference, rtol=0.0):
    """Compare raw weights with the weights of an estimator that has no temperature."""
    for network, other in zip(networks_of(clf), networks_of(reference), strict=True):
        for array, expected in zip(
            [*raw(network).coefs_, *raw(network).intercepts_],
            [*other.coefs_, *other.intercepts_],
            strict=True,
        ):
            assert_allclose(array, expected, rtol=rtol, atol=rtol)
        assert_allclose(network.loss_curve_, other.loss_curve_, rtol=rtol)


def assert_tempered(clf, rows=X):
    """See that predictions are those of a factor times the raw logits, not of factor 1."""
    for network in networks_of(clf):
        b = factor_of(network)
        assert abs(np.log(b)) > 1e-6
        z = b * logits(raw(network), rows)
        outputs = softmax(z, axis=1) if clf.out_activation_ == "softmax" else expit(z)
        found = network._forward_pass_fast(rows)
        tolerance = 1e-12 if network.coefs_[0].dtype == np.float64 else 1e-5
        assert_allclose(found, outputs, rtol=tolerance)
        assert network.coefs_[1].dtype == network.coefs_[0].dtype
        assert network.intercepts_[1].dtype == network.coefs_[0].dtype


def mean_log_loss(clf, y, rows=X, sample_weight=None):
    p = clf.predict_proba(rows)
    if y.ndim == 2:
        columns = zip(y.T, p.T, strict=True)
        return sum(
            log_loss(t, column, sample_weight=sample_weight, labels=[0, 1])
            for t, column in columns
        )
    return log_loss(y, p, sample_weight=sample_weight, labels=clf.classes_)


# -- one network ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("has_weights", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("kind", TARGETS)
def test_the_best_epoch_is_that_of_the_lowest_loss_at_its_temperature(
    kind, has_weights, dtype
):
    y, weights = TARGETS[kind], WEIGHTS if has_weights else np.ones(N)
    seen = []

    def scorer(network, rows, labels, sample_weight):
        seen.append(refined(network, rows, labels, sample_weight))
        return -seen[-1][1]

    rows = X.astype(dtype)
    data = {"X_val": rows[VAL], "y_val": y[VAL], "sample_weight_val": weights[VAL]}
    clf, reference = (
        SAMMLPClassifier(**{**EARLY, "scoring": scoring}).fit(
            rows[TRAIN], y[TRAIN], weights[TRAIN], **data
        )
        for scoring in ("refined_loss", scorer)
    )
    temperatures, losses = np.transpose(seen)
    rtol = 1e-8 if dtype == np.float64 else 1e-5
    assert_allclose(clf.validation_scores_, -losses, rtol=rtol)
    assert clf.best_validation_score_ == max(clf.validation_scores_)
    assert_raw_weights(clf, reference)
    best = int(losses.argmin())
    assert_allclose(factor_of(clf), temperatures[best], rtol=1e-5)
    assert_tempered(clf, rows)
    # the score is the loss of what the estimator predicts
    loss = mean_log_loss(clf, y[VAL], rows[VAL], weights[VAL])
    assert_allclose(-clf.best_validation_score_, loss, rtol=rtol)


def test_the_rows_that_are_held_out_judge_with_the_weights_of_their_classes():
    clf, reference = (
        SAMMLPClassifier(
            **{**EARLY, "scoring": scoring}, class_weight={0: 0.2, 1: 3, 2: 1}
        ).fit(X, LABELS, WEIGHTS)
        for scoring in ("refined_loss", refined_scorer)
    )
    assert_allclose(clf.validation_scores_, reference.validation_scores_, rtol=1e-8)
    assert_raw_weights(clf, reference)
    assert_tempered(clf)


@pytest.mark.parametrize(
    "params",
    [{"ema_decay": 0.9}, {"dropout": 0.3}, {"solver": "ranger"}, {"swa": True}],
    ids=str,
)
def test_other_weights_to_predict_with_are_refined_too(params):
    clf, reference = (
        SAMMLPClassifier(**{**EARLY, **params, "scoring": scoring}).fit(X, LABELS)
        for scoring in ("refined_loss", refined_scorer)
    )
    assert_allclose(clf.validation_scores_, reference.validation_scores_, rtol=1e-8)
    assert_raw_weights(clf, reference)
    assert clf.n_averaged_ == reference.n_averaged_
    assert_tempered(clf)


@pytest.mark.parametrize(("rate", "wins"), [(0.1, True), (0.3, False)])
def test_an_average_competes_with_a_temperature_of_its_own(rate, wins):
    clf = SAMMLPClassifier(**{**EARLY, "learning_rate_init": rate}, swa=SWA(start=4))
    clf.fit(X, LABELS, X_val=X, y_val=LABELS)
    assert bool(clf.n_averaged_) == wins
    assert (clf.best_validation_score_ > max(clf.validation_scores_)) == wins
    b, loss = refined(raw(clf), X, LABELS)
    assert_allclose(factor_of(clf), b, rtol=1e-6)
    assert_allclose(-clf.best_validation_score_, loss, rtol=1e-8)
    assert_tempered(clf)


def test_classes_that_no_held_out_row_has_are_no_matter():
    one = {"X_val": X[LABELS == 1], "y_val": LABELS[LABELS == 1]}
    clf = SAMMLPClassifier(**EARLY).fit(X, LABELS, **one)
    b, loss = refined(raw(clf), *one.values())
    assert_allclose([factor_of(clf), -clf.best_validation_score_], [b, loss], rtol=1e-6)
    two = {"X_val": X[:2], "y_val": LABELS[:2]}
    clf = SAMMLPClassifier(**EARLY).fit(X, LABELS, **two)
    b, loss = refined(raw(clf), *two.values())
    assert_allclose([factor_of(clf), -clf.best_validation_score_], [b, loss], rtol=1e-6)


def test_separable_rows_end_with_finite_weights():
    y = (X[:, 0] > 0) + 0
    clf = SAMMLPClassifier(**{**EARLY, "max_iter": 60}).fit(
        X, y, X_val=X[abs(X[:, 0]) > 0.5], y_val=y[abs(X[:, 0]) > 0.5]
    )
    assert clf.score(X, y) > 0.95
    assert 0.05 < factor_of(clf) < 50
    assert_tempered(clf)


def test_a_network_that_diverges_scores_as_by_its_loss():
    params = {"solver": "sgd", "activation": "identity", "alpha": 0, "max_iter": 1}
    params |= {"learning_rate_init": 1e200}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf, by_loss = (
            SAMMLPClassifier(**{**EARLY, **params, "scoring": scoring}).fit(X, LABELS)
            for scoring in ("refined_loss", "loss")
        )
    assert_array_equal(clf.validation_scores_, by_loss.validation_scores_)
    assert np.isnan(clf.validation_scores_).all()
    assert factor_of(clf) is None
    assert_array_equal(clf.coefs_[1], by_loss.coefs_[1])


def test_patience_counts_refined_scores():
    params = {**EARLY, "n_iter_no_change": 2, "max_iter": 60, "tol": 1e-3}
    clf, reference = (
        SAMMLPClassifier(**{**params, "scoring": scoring}).fit(X, LABELS)
        for scoring in ("refined_loss", refined_scorer)
    )
    assert clf.n_iter_ == reference.n_iter_ < 60
    assert_raw_weights(clf, reference)


# -- members and radii ---------------------------------------------------------------------


@pytest.mark.parametrize("has_weights", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("kind", TARGETS)
def test_members_have_the_root_of_the_temperature_of_their_fold(kind, has_weights):
    y, weights = TARGETS[kind], WEIGHTS if has_weights else None
    clf, reference = (
        SAMMLPClassifier(**{**MEMBERS, "scoring": scoring}).fit(X, y, weights)
        for scoring in ("refined_loss", refined_scorer)
    )
    assert_raw_weights(clf, reference, rtol=1e-9)
    assert_tempered(clf)
    for member, (_, test) in zip(clf.members_, FOLDS, strict=True):
        of_fold = None if weights is None else weights[test]
        b, loss = refined(raw(member), X[test], y[test], of_fold)
        assert_allclose(factor_of(member), np.sqrt(b), rtol=1e-6)
        assert_allclose(-member.best_validation_score_, loss, rtol=1e-8)
        # out of fold is what the member predicts
        outputs = clf.oof_decision_function_[test]
        assert_allclose(outputs, member.predict_proba(X[test]), rtol=1e-12)


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_radius_is_chosen_by_the_refined_loss_of_all_folds(n_members, monkeypatch):
    monkeypatch.setattr(_rho_search, "RUNGS", ())
    params = {**AUTO, "n_members": n_members, "rho": [0.0, 0.3, 2.0]}
    clf, reference = (
        SAMMLPClassifier(**{**params, "scoring": scoring}).fit(X, LABELS)
        for scoring in ("refined_loss", refined_scorer)
    )
    assert not hasattr(clf, "rho_scores_")
    assert_allclose(clf.rho_losses_, -reference.rho_scores_, rtol=1e-8)
    above = clf.rho_losses_ - clf.rho_losses_.min()
    assert_allclose(clf.rho_differences_, above, rtol=1e-12)
    is_good = above <= clf.rho_standard_errors_
    assert clf.rho_ == clf.rho_grid_[is_good].max()
    by_loss = clone(clf).set_params(scoring="loss").fit(X, LABELS)
    assert (clf.rho_losses_ < by_loss.rho_losses_).any()


@pytest.mark.parametrize("kind", TARGETS)
def test_one_network_has_the_mean_temperature_of_the_folds(kind, monkeypatch):
    folds, fit_models = [], training.fit_models

    def recorded(jobs, **options):
        results = fit_models(jobs, **options)
        for job, result in zip(jobs, results, strict=True):
            if job.validation is not None and not result.is_paused:
                rho = job.settings.argument("rho")
                folds.append((rho, copy.deepcopy(result)))
        return results

    monkeypatch.setattr(training, "fit_models", recorded)
    y = TARGETS[kind]
    clf = SAMMLPClassifier(**AUTO).fit(X, y)
    of_radius = [result for rho, result in folds if rho == clf.rho_]
    temperatures = []
    for result, (_, test) in zip(of_radius, FOLDS, strict=True):
        network = copy.copy(clf)
        network.coefs_, network.intercepts_ = (
            result.weights.coefs,
            result.weights.intercepts,
        )
        temperatures.append(refined(network, X[test], y[test])[0])
        z = factor_of(clf) * logits(network, X[test])
        p = softmax(z, axis=1) if kind == "three" else expit(z)
        p = np.hstack([1 - p, p]) if kind == "two" else p
        assert_allclose(clf.oof_decision_function_[test], p, rtol=1e-10)
    assert len({*np.round(temperatures, 3)}) == 3
    assert_allclose(factor_of(clf), np.exp(np.mean(np.log(temperatures))), rtol=1e-6)
    assert_tempered(clf)
    # and is trained as ever, on all rows
    plain = {**SMALL, "scoring": None, "rho": clf.rho_, "max_iter": clf.n_iter_}
    assert_raw_weights(
        clf, SAMMLPClassifier(**plain, n_iter_no_change=np.inf).fit(X, y)
    )


def test_early_stopping_after_a_choice_has_the_temperature_of_its_own_rows():
    data = {"X_val": X[VAL], "y_val": LABELS[VAL]}
    params = {**AUTO, "cv": None, "early_stopping": True, "n_iter_no_change": 99}
    clf = SAMMLPClassifier(**params).fit(X[TRAIN], LABELS[TRAIN], **data)
    b, loss = refined(raw(clf), X[VAL], LABELS[VAL])
    assert_allclose(factor_of(clf), b, rtol=1e-6)
    assert_allclose(-clf.best_validation_score_, loss, rtol=1e-8)


@pytest.mark.parametrize("n_members", [1, 3])
def test_given_rows_judge_instead_of_folds(n_members):
    data = {"X_val": X[VAL], "y_val": LABELS[VAL], "sample_weight_val": WEIGHTS[VAL]}
    params = {**AUTO, "cv": None, "n_members": n_members}
    clf, reference = (
        SAMMLPClassifier(**{**params, "scoring": scoring}).fit(
            X[TRAIN], LABELS[TRAIN], **data
        )
        for scoring in ("refined_loss", refined_scorer)
    )
    assert clf.rho_ == reference.rho_
    assert_allclose(clf.rho_losses_, -reference.rho_scores_, rtol=1e-8)
    assert_tempered(clf)
    if n_members == 1:
        return  # a scorer does not know when losses are as good as the best
    assert_raw_weights(clf, reference, rtol=1e-9)
    for member in clf.members_:
        b, _ = refined(raw(member), X[VAL], LABELS[VAL], WEIGHTS[VAL])
        assert_allclose(factor_of(member), np.sqrt(b), rtol=1e-6)


def test_snapshots_have_no_temperature():
    params = {**AUTO, "ema_decay": None, "snapshots": 2}
    clf, by_loss = (
        SAMMLPClassifier(**{**params, "scoring": scoring}).fit(X, LABELS)
        for scoring in ("refined_loss", "loss")
    )
    assert clf.rho_ == by_loss.rho_
    for member, other in zip(clf.members_, by_loss.members_, strict=True):
        assert_array_equal(member.coefs_[1], other.coefs_[1])
    assert factor_of(clf) is None


# -- going on ------------------------------------------------------------------------------


def fit_twice(clf, rows):
    clf.set_params(warm_start=True).fit(rows, LABELS)
    clf.fit(rows, LABELS)


def update(clf, rows):
    clf.fit(rows, LABELS).set_params(early_stopping=False)
    clf.partial_fit(rows[:30], LABELS[:30]).partial_fit(rows[30:], LABELS[30:])


def fit_after_updates(clf, rows):
    early_stopping = clf.early_stopping
    update(clf, rows)
    clf.set_params(early_stopping=early_stopping, warm_start=True).fit(rows, LABELS)


GOING_ON = {"fit twice": fit_twice, "update": update, "fit later": fit_after_updates}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("history", GOING_ON)
@pytest.mark.parametrize("way", ["one", "members", "both"])
def test_training_goes_on_from_the_weights_without_a_temperature(way, history, dtype):
    params = {**WAYS[way], "max_iter": 3}
    clf, reference = (
        SAMMLPClassifier(**{**params, "scoring": scoring})
        for scoring in ("refined_loss", refined_scorer)
    )
    for estimator in (clf, reference):
        GOING_ON[history](estimator, X.astype(dtype))
    assert_raw_weights(clf, reference, rtol=1e-9)
    assert_tempered(clf)


def test_the_radius_of_the_first_fit_keeps_its_temperature():
    clf = SAMMLPClassifier(**AUTO, warm_start=True).fit(X, LABELS)
    b, weights = factor_of(clf), untempered(clf)[0]
    twin = copy.deepcopy(clf)
    twin.coefs_, twin.intercepts_ = weights.coefs, weights.intercepts
    twin._state = twin._state.replace(
        output_layer=None, digest=untempered(clf)[1].digest
    )
    clf.fit(X, LABELS)
    assert factor_of(clf) == b
    assert_tempered(clf)
    assert_raw_weights(clf, raw(twin.fit(X, LABELS)))
    # another judge of the next fit does not know it
    clf.set_params(scoring="loss").fit(X, LABELS)
    assert factor_of(clf) is None


@pytest.mark.parametrize("way", WAYS)
def test_an_update_keeps_the_temperature_while_the_score_is_refined(way):
    clf = SAMMLPClassifier(**WAYS[way]).fit(X, LABELS)
    clf.set_params(early_stopping=False)
    before = [factor_of(network) for network in networks_of(clf)]
    clf.partial_fit(X, LABELS)
    assert [factor_of(network) for network in networks_of(clf)] == before
    assert_tempered(clf)
    untouched = [raw(network).coefs_ for network in networks_of(clf)]
    twin = copy.deepcopy(clf).set_params(scoring=None).partial_fit(X, LABELS)
    clf.partial_fit(X, LABELS)
    assert [factor_of(network) for network in networks_of(twin)] == [None] * len(before)
    for network, other, coefs in zip(
        networks_of(clf), networks_of(twin), untouched, strict=True
    ):
        assert_array_equal(raw(network).coefs_[1], other.coefs_[1])
        assert not np.array_equal(other.coefs_[1], coefs[1])


def test_a_fit_that_finds_nothing_better_predicts_as_before():
    clf = SAMMLPClassifier(**EARLY, warm_start=True).fit(X, LABELS)
    before = clf.predict_proba(X), factor_of(clf)
    clf.best_validation_score_ = 0.0  # which no epoch reaches
    clf.fit(X, LABELS)
    assert_array_equal(clf.predict_proba(X), before[0])
    assert factor_of(clf) == before[1]


def test_another_judge_begins_without_a_temperature():
    clf = SAMMLPClassifier(**EARLY, warm_start=True).fit(X, LABELS)
    start = raw(clf)
    clf.set_params(scoring="loss").fit(X, LABELS)
    assert len(clf.validation_scores_) == clf.n_iter_
    assert factor_of(clf) is None
    # and by other rows, in which nothing is better than the rest
    clf.set_params(scoring="refined_loss").fit(X, LABELS)
    assert len(clf.validation_scores_) == clf.n_iter_
    assert_tempered(clf)
    assert not np.array_equal(raw(clf).coefs_[0], start.coefs_[0])


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("way", ["one", "members"])
def test_weights_that_the_user_writes_are_taken_as_they_are(way, layer, method):
    clf = SAMMLPClassifier(**WAYS[way], warm_start=True).fit(X, LABELS)
    reference = SAMMLPClassifier(**{**WAYS[way], "scoring": refined_scorer})
    reference.set_params(warm_start=True).fit(X, LABELS)
    for network, other in zip(networks_of(clf), networks_of(reference), strict=True):
        network.coefs_[layer] = network.coefs_[layer] * 1.5
        other.coefs_ = copy.deepcopy(network.coefs_)
        other.intercepts_ = copy.deepcopy(network.intercepts_)
    for estimator in (clf, reference):
        if method == "partial_fit":
            estimator.set_params(early_stopping=False)
        getattr(estimator, method)(X, LABELS)
    if method == "partial_fit":
        assert [factor_of(network) for network in networks_of(clf)] == [None] * len(
            networks_of(clf)
        )
    assert_raw_weights(clf, reference, rtol=1e-9)


def test_lbfgs_goes_on_from_the_weights_without_a_temperature():
    clf = SAMMLPClassifier(**EARLY, warm_start=True).fit(X, LABELS)
    twin = SAMMLPClassifier(**{**EARLY, "scoring": None}, warm_start=True)
    twin.set_params(max_iter=1).fit(X, LABELS)
    twin.coefs_, twin.intercepts_ = copy.deepcopy(
        (raw(clf).coefs_, raw(clf).intercepts_)
    )
    for estimator in (clf, twin):
        estimator.set_params(solver="lbfgs", early_stopping=False, scoring=None)
        estimator.set_params(rho="auto", batch_size="auto", max_iter=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, LABELS)
    assert_array_equal(clf.coefs_[1], twin.coefs_[1])


@pytest.mark.parametrize("n_epochs", [1, 5])
def test_an_interrupted_fit_has_the_temperature_of_its_best_epoch(
    n_epochs, monkeypatch
):
    from sksharp.training import _loop

    count, epoch = [0], _loop.Loop._epoch

    def interrupted(loop):
        if count[0] == n_epochs:
            raise KeyboardInterrupt
        count[0] += 1
        return epoch(loop)

    whole = SAMMLPClassifier(**{**EARLY, "max_iter": n_epochs}).fit(X, LABELS)
    monkeypatch.setattr(_loop.Loop, "_epoch", interrupted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        clf = SAMMLPClassifier(**EARLY).fit(X, LABELS)
    assert clf.n_iter_ == n_epochs
    assert_array_equal(clf.coefs_[1], whole.coefs_[1])
    assert factor_of(clf) == factor_of(whole)


def test_what_a_callback_sees_of_an_epoch_is_tempered(monkeypatch):
    results, fit_models = [], training.fit_models

    def recorded(jobs, **options):
        results[:] = fit_models(jobs, **options)
        return results

    monkeypatch.setattr(training, "fit_models", recorded)
    clf = SAMMLPClassifier(**EARLY).fit(X, LABELS)
    seen = attributes_of(copy.deepcopy(clf), results[0])
    assert_array_equal(seen["coefs_"][1], clf.coefs_[1])


# -- copies, files, other packages and searches --------------------------------------------


COPIES = {
    "pickle": lambda clf, path: pickle.loads(pickle.dumps(clf)),
    "deepcopy": lambda clf, path: copy.deepcopy(clf),
    "file": lambda clf, path: [sksharp.save(clf, path), sksharp.load(path)][1],
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("copier", COPIES)
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_predicts_and_goes_on_as_the_original(way, copier, method, tmp_path):
    clf = SAMMLPClassifier(**{**WAYS[way], "cv": KFold(3)}, warm_start=True)
    if copier == "file":
        clf.set_params(cv=3)  # which a file can hold
    clf.fit(X, LABELS)
    twin = COPIES[copier](clf, tmp_path / "clf")
    assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))
    for estimator in (clf, twin):
        if method == "partial_fit":
            estimator.set_params(early_stopping=False)
        getattr(estimator, method)(X, LABELS)
    assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))
    assert_tempered(twin)
    fresh = clone(clf)
    assert fresh.scoring == "refined_loss"
    assert not hasattr(fresh, "_state")


def test_a_pickle_from_before_there_were_temperatures_can_be_read():
    state = SAMMLPClassifier(**{**EARLY, "scoring": None}).fit(X, LABELS).__getstate__()
    for name in ("inverse_temperature", "output_layer"):
        del state["_state"][name]
    clf = SAMMLPClassifier()
    clf.__setstate__(state)
    assert clf._state.output_layer is None
    clf.set_params(early_stopping=False).partial_fit(X, LABELS)


@pytest.mark.parametrize("kind", TARGETS)
def test_other_packages_get_the_temperature_with_the_weights(kind):
    clf = SAMMLPClassifier(**EARLY).fit(X, TARGETS[kind])
    expected = clf.predict_proba(X)
    assert_allclose(clf.to_sklearn().predict_proba(X), expected, rtol=1e-12)
    torch = pytest.importorskip("torch")
    found = clf.to_torch()(torch.tensor(X)).detach().numpy()
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("way", ["one", "members"])
def test_onnx_gets_the_temperature_with_the_weights(way):
    onnx = pytest.importorskip("sksharp.onnx")
    runtime = pytest.importorskip("onnxruntime")
    clf = SAMMLPClassifier(**WAYS[way]).fit(X, LABELS)
    model = onnx.to_onnx(clf, X)
    session = runtime.InferenceSession(model.SerializeToString())
    (name,) = (node.name for node in session.get_inputs())
    found = session.run(None, {name: X})[1]
    assert_allclose(found, clf.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("given", [False, True], ids=["drawn", "given"])
def test_a_search_gives_the_results_of_scikit_learns(given):
    grid = {"rho": [0.0, 0.5], "alpha": [1e-4, 0.3]}
    data = {"X_val": X[:9], "y_val": LABELS[:9]} if given else {}
    ours, theirs = (
        Search(
            SAMMLPClassifier(**EARLY), grid, cv=KFold(2), scoring="neg_log_loss"
        ).fit(X, LABELS, **data)
        for Search in (VectorizedGridSearchCV, GridSearchCV)
    )
    for name in ("mean_test_score", "rank_test_score"):
        assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], rtol=1e-9)
    assert_allclose(
        ours.best_estimator_.predict_proba(X),
        theirs.best_estimator_.predict_proba(X),
        rtol=1e-9,
    )
    assert_tempered(ours.best_estimator_)


def test_a_search_tells_the_loss_from_the_refined_one():
    clf = SAMMLPClassifier(**EARLY)
    grid = {"scoring": ["loss", "refined_loss"]}
    search = VectorizedGridSearchCV(clf, grid, cv=KFold(2), scoring="neg_log_loss")
    search.fit(X, LABELS)
    plain = GridSearchCV(clf, grid, cv=KFold(2), scoring="neg_log_loss").fit(X, LABELS)
    scores = search.cv_results_["mean_test_score"]
    assert_allclose(scores, plain.cv_results_["mean_test_score"], rtol=1e-9)
    assert scores[0] != scores[1]


# -- messages ------------------------------------------------------------------------------


def test_a_regressor_has_no_temperature():
    match = (
        r"scoring='refined_loss' needs a classifier.* got SAMMLPRegressor\. "
        r"Set scoring='loss'\."
    )
    regr = SAMMLPRegressor(**EARLY)
    with pytest.raises(ValueError, match=match):
        regr.fit(X, X[:, 0])
    with pytest.raises(ValueError, match=match):
        regr.set_params(early_stopping=False).partial_fit(X, X[:, 0])
    assert not hasattr(regr, "coefs_")


def test_a_misspelt_name_is_told_the_right_one():
    clf = SAMMLPClassifier(**{**EARLY, "scoring": "refine_loss"})
    with pytest.raises(InvalidParameterError, match="'refined_loss'"):
        clf.fit(X, LABELS)


def test_it_is_not_read_without_rows_to_score():
    clf = SAMMLPClassifier(**{**SMALL, "scoring": "refined_loss"})
    with pytest.warns(UnusedParameterWarning, match="scoring='refined_loss'"):
        clf.fit(X, LABELS)
    assert factor_of(clf) is None


def test_a_fit_that_fails_leaves_the_temperature():
    clf = SAMMLPClassifier(**EARLY, warm_start=True).fit(X, LABELS)
    before = clf.predict_proba(X), clf._state
    with pytest.raises(ValueError, match="must"):
        clf.set_params(learning_rate_init=-1).fit(X, LABELS)
    assert_array_equal(clf.predict_proba(X), before[0])
    assert clf._state is before[1]


def test_the_curve_of_losses_names_the_score():
    pytest.importorskip("matplotlib").use("Agg")
    clf = SAMMLPClassifier(**EARLY).fit(X, LABELS)
    display = LossCurveDisplay.from_estimator(clf)
    assert display.score_name == "Minus refined loss of the left-out rows"
