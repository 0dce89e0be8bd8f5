"""The scorer and the rows by which the user lets the epochs and radii be judged."""

import copy
import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.metrics import get_scorer, log_loss, make_scorer
from sklearn.metrics import mean_absolute_error as mae
from sklearn.metrics import mean_squared_error as mse
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

import sksharp
from sksharp import (
    RhoCurveDisplay,
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    training,
)
from sksharp.estimators import _rho_search
from sksharp.exceptions import UnusedParameterWarning
from sksharp.options import SWA
from sksharp.training import _fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
N = 80
X = rng.normal(size=(N, 4))
LABELS = (X[:, 0] + rng.normal(size=N) > 0.3).astype(int) + (X[:, 2] > 0.5)
WORDS = np.array(["no", "so", "yes"])[LABELS]
SEVERAL = np.c_[LABELS > 0, LABELS > 1].astype(int)
TARGETS = X[:, 0] - X[:, 2] ** 2 + 0.5 * rng.normal(size=N)
WEIGHTS = rng.uniform(0.1, 3, size=N)
FOLDS = list(StratifiedKFold(3, shuffle=True, random_state=1).split(X, LABELS))
X_TRAIN, X_VAL = X[:50], X[50:]

SMALL = {
    "rho": 0.05,
    "hidden_layer_sizes": (4,),
    "batch_size": 4,
    "max_iter": 6,
    "learning_rate_init": 0.05,
    "random_state": 0,
}
EARLY = {**SMALL, "early_stopping": True, "validation_fraction": 0.3, "max_iter": 12}
MEMBERS = {**SMALL, "n_members": 3, "cv": FOLDS}
AUTO = {**SMALL, "rho": [0.0, 0.5], "cv": FOLDS, "ema_decay": 0.0}
BOTH = {**AUTO, "n_members": 3}

# estimator, targets, its metric, another scorer, and one of its probabilities
KINDS = {
    "two": (SAMMLPClassifier(), LABELS > 0, "accuracy", "roc_auc"),
    "three words": (SAMMLPClassifier(), WORDS, "accuracy", "neg_log_loss"),
    "several": (SAMMLPClassifier(), SEVERAL, "accuracy", "f1_micro"),
    "balanced": (
        SAMMLPClassifier(class_weight="balanced"),
        WORDS,
        "accuracy",
        "neg_log_loss",
    ),
    "a target": (SAMMLPRegressor(), TARGETS, "r2", "neg_mean_absolute_error"),
    "two targets": (
        SAMMLPRegressor(),
        np.c_[TARGETS, X[:, 1]],
        "r2",
        "neg_mean_absolute_error",
    ),
    "counts": (
        SAMMLPRegressor(loss="poisson"),
        np.abs(TARGETS).round(),
        "r2",
        "neg_mean_poisson_deviance",
    ),
}


def make_kind(kind, **params):
    estimator, y, *_ = KINDS[kind]
    return clone(estimator).set_params(**params), y


def assert_same_fit(a, b, rtol=0.0):
    """Judge the weights, and the curves of losses and of scores."""
    pairs = zip(getattr(a, "members_", [a]), getattr(b, "members_", [b]), strict=True)
    for one, other in pairs:
        for array, expected in zip(
            [*one.coefs_, *one.intercepts_],
            [*other.coefs_, *other.intercepts_],
            strict=True,
        ):
            assert_allclose(array, expected, rtol=rtol, atol=rtol)
        for name in ("loss_curve_", "validation_scores_"):
            curves = (getattr(one, name), getattr(other, name))
            assert (curves[0] is None) == (curves[1] is None)
            if curves[0] is not None:
                assert_allclose(*curves, rtol=rtol)
        assert one.n_iter_ == other.n_iter_


class Recorder:
    """A scorer that keeps what it was given, and scores as another."""

    def __init__(self, scorer):
        self.scorer, self.calls = scorer, []

    def __call__(self, estimator, X, y, sample_weight=None):
        self.calls.append((estimator, X, y, sample_weight))
        return self.scorer(estimator, X, y, sample_weight=sample_weight)

    def __deepcopy__(self, memo):
        return self


# -- early stopping ------------------------------------------------------------------


@pytest.mark.parametrize("swa", [False, True])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["rows", "weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_metric_of_scikit_learn_by_name_is_the_default(kind, weights, swa):
    scoring = KINDS[kind][2]
    params = {**EARLY, "swa": swa}
    default, y = make_kind(kind, **params)
    named, _ = make_kind(kind, **params, scoring=scoring)
    default.fit(X, y, weights)
    named.fit(X, y, weights)
    assert_same_fit(named, default)
    assert named.best_validation_score_ == default.best_validation_score_


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["rows", "weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_the_scorers_of_a_network_trained_for_so_many_epochs(kind, weights):
    scoring = KINDS[kind][3]
    estimator, y = make_kind(kind, **EARLY, scoring=scoring, n_iter_no_change=99)
    recorder = Recorder(get_scorer(scoring))
    estimator.set_params(scoring=recorder).fit(X, y, weights)
    named, _ = make_kind(kind, **EARLY, scoring=scoring, n_iter_no_change=99)
    assert_same_fit(estimator, named.fit(X, y, weights))
    assert len(recorder.calls) == 12 == len(estimator.validation_scores_)
    for epoch in (0, 4, 11):
        network, rows, targets, of_rows = recorder.calls[epoch]
        is_weighted = weights is not None or kind == "balanced"
        assert (of_rows is not None) == is_weighted
        places = np.array([np.flatnonzero((row == X).all(axis=1))[0] for row in rows])
        assert_array_equal(targets, y[places])
        network = copy.copy(network)
        del network._forward_pass_fast
        score = get_scorer(scoring)(network, rows, targets, sample_weight=of_rows)
        assert_allclose(estimator.validation_scores_[epoch], score, rtol=1e-9)
    best = int(np.argmax(estimator.validation_scores_))
    assert_array_equal(recorder.calls[best][0].coefs_[0], estimator.coefs_[0])
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_scores_as_minus_the_loss_of_the_rows(kind):
    weighted = kind != "several"  # whose log-loss is summed by hand
    estimator, y = make_kind(kind, **EARLY, scoring="loss")
    weights = WEIGHTS if weighted else None
    train, test = train_test_split(np.arange(N), test_size=0.3, random_state=5)
    of_test = None if weights is None else weights[test]
    estimator.fit(
        X[train],
        y[train],
        None if weights is None else weights[train],
        X_val=X[test],
        y_val=y[test],
        sample_weight_val=of_test,
    )
    if kind == "balanced":
        by_class = compute_sample_weight("balanced", y[train])
        of_class = dict(zip(y[train], by_class, strict=True))
        of_test = of_test * [of_class[label] for label in y[test]]
    if is_classifier(estimator):
        p = estimator.predict_proba(X[test])
    if kind == "several":
        loss = sum(log_loss(y[test][:, k], p[:, k]) for k in range(2))
    elif is_classifier(estimator):
        loss = log_loss(y[test], p, sample_weight=of_test)
    elif kind == "counts":
        score = get_scorer("neg_mean_poisson_deviance")
        loss = -score(estimator, X[test], y[test], sample_weight=of_test) / 2
    else:
        loss = mse(y[test], estimator.predict(X[test]), sample_weight=of_test) / 2
    assert_allclose(-estimator.best_validation_score_, loss, rtol=1e-9)


def test_a_scorer_sees_an_estimator_of_the_epoch():
    seen = []

    def scorer(estimator, rows, y):
        seen.append(estimator)
        assert is_classifier(estimator)
        assert not is_regressor(estimator)
        assert estimator.classes_.tolist() == ["no", "so", "yes"]
        assert set(y) <= set(estimator.classes_)
        assert isinstance(estimator, SAMMLPClassifier)
        # some of the rows are computed, all of them are known
        probabilities = estimator.predict_proba(rows)
        assert_allclose(estimator.predict_proba(rows[:5]), probabilities[:5], rtol=1e-9)
        logs = estimator.predict_log_proba(rows)
        assert_allclose(np.exp(logs), estimator.predict_proba(rows), rtol=1e-12)
        assert_array_equal(
            estimator.predict(rows), estimator.classes_[probabilities.argmax(axis=1)]
        )
        return estimator.score(rows, y)

    clf = SAMMLPClassifier(**EARLY, scoring=scorer).fit(X, WORDS)
    default = SAMMLPClassifier(**EARLY).fit(X, WORDS)
    assert_same_fit(clf, default)
    # each keeps its own weights
    first, last = seen[0], seen[-1]
    assert not np.array_equal(first.coefs_[0], last.coefs_[0])


@pytest.mark.parametrize(("of_average", "wins"), [(0.5, True), (0.4, False)])
def test_the_average_that_competes_is_scored_by_the_scorer(of_average, wins):
    # twelve epochs, the sixth of which is the best, and the average
    scores = [0.1] * 5 + [0.5] + [0.1] * 6 + [of_average]
    seen = []

    def scorer(estimator, X, y):
        seen.append(estimator)
        return scores[len(seen) - 1]

    params = {**EARLY, "n_iter_no_change": 99}
    regr = SAMMLPRegressor(**params, swa=SWA(start=2), scoring=scorer)
    regr.fit(X, TARGETS)
    assert len(seen) == 13
    assert_array_equal(regr.coefs_[0], seen[-1 if wins else 5].coefs_[0])
    assert regr.n_averaged_ == (10 if wins else 0)
    assert regr.best_validation_score_ == 0.5


def test_a_network_that_diverges_is_no_error_of_the_scorer():
    regr = SAMMLPRegressor(**EARLY, scoring="r2", activation="identity")
    regr.set_params(solver="sgd", learning_rate_init=1e3, max_iter=40)
    default = clone(regr).set_params(scoring=None)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = [
            network.set_params(warm_start=False).fit(X, TARGETS).validation_scores_
            for network in (regr, default)
        ]
    assert np.isnan(scores[0]).any()
    assert_array_equal(*scores)


def test_labels_do_not_hide_that_a_network_has_diverged():
    calls = []
    clf = SAMMLPClassifier(**EARLY, solver="sgd", activation="identity")
    # weights are finite, and nothing finite comes through two layers of them
    clf.set_params(learning_rate_init=1e200, alpha=0, max_iter=1, batch_size=56)
    clf.set_params(scoring=lambda network, rows, y: calls.append(0) or 1.0)
    with np.errstate(all="ignore"):
        clf.fit(X, WORDS)
    assert_array_equal(clf.validation_scores_, [np.nan])
    assert not calls


def test_a_scorer_may_predict_some_rows_of_a_table_without_a_warning():
    table = pd.DataFrame(X, columns=list("abcd"))

    def scorer(network, rows, y):
        return float((network.predict(rows[:9]) == y[:9]).mean())

    clf = SAMMLPClassifier(**EARLY, scoring=scorer).fit(table, WORDS)
    assert len(clf.validation_scores_) == clf.n_iter_
    assert clf.feature_names_in_.tolist() == list("abcd")


# -- members and radii ---------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["rows", "weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_members_are_chosen_by_the_scorer_on_their_folds(kind, weights):
    scoring = KINDS[kind][3]
    estimator, y = make_kind(kind, **MEMBERS, scoring=scoring)
    estimator.fit(X, y, weights)
    of_rows = weights
    if kind == "balanced":
        balanced = compute_sample_weight("balanced", y)
        of_rows = balanced if weights is None else balanced * weights
    for member, (_, test) in zip(estimator.members_, FOLDS, strict=True):
        of_fold = None if of_rows is None else of_rows[test]
        score = get_scorer(scoring)(member, X[test], y[test], sample_weight=of_fold)
        assert_allclose(max(member.validation_scores_), score, rtol=1e-9)
        assert_allclose(member.best_validation_score_, score, rtol=1e-9)


@pytest.mark.parametrize(
    "params", [MEMBERS, AUTO, BOTH], ids=["members", "rho", "both"]
)
def test_the_loss_by_name_is_the_default_of_folds(params):
    default = SAMMLPClassifier(**params).fit(X, LABELS)
    named = SAMMLPClassifier(**params, scoring="loss").fit(X, LABELS)
    assert_same_fit(named, default)
    assert_array_equal(named.oof_decision_function_, default.oof_decision_function_)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["rows", "weights"])
@pytest.mark.parametrize("kind", ["three words", "a target"])
def test_the_score_of_a_radius_is_the_mean_of_its_folds(kind, weights, monkeypatch):
    scoring = KINDS[kind][3]
    params = {"rho": [0.0, 0.3, 2.0], "scoring": scoring}
    estimator, y = make_kind(kind, **{**BOTH, **params})
    monkeypatch.setattr(_rho_search, "RUNGS", ())
    estimator.fit(X, y, weights)
    assert not hasattr(estimator, "rho_losses_")
    for radius, score in zip(params["rho"], estimator.rho_scores_, strict=True):
        fixed, _ = make_kind(kind, **MEMBERS, scoring=scoring)
        fixed.set_params(rho=radius).fit(X, y, weights)
        scores = [member.best_validation_score_ for member in fixed.members_]
        sizes = [
            len(test) if weights is None else weights[test].sum() for _, test in FOLDS
        ]
        assert_allclose(score, np.average(scores, weights=sizes), rtol=1e-9)
    assert estimator.rho_ == estimator.rho_grid_[estimator.rho_scores_.argmax()]


def test_equal_scores_choose_the_smallest_radius():
    constant = SAMMLPClassifier(**AUTO, scoring=lambda clf, X, y: 0.5)
    constant.set_params(rho=[0.5, 0.1]).fit(X, LABELS)
    assert constant.rho_ == 0.1
    assert_array_equal(constant.rho_scores_, [0.5, 0.5])


def test_one_network_trains_until_the_last_epoch_of_the_best_score():
    # per fold the best score first comes in epoch 2 and last in epoch 4
    scores = [0.1, 0.9, 0.2, 0.9, 0.3, 0.3]
    counts = {}

    def scorer(network, X, y):
        count = counts[len(counts)] = len(counts)
        return scores[count // len(FOLDS)]

    params = {**AUTO, "rho": [0.1]}
    network = SAMMLPRegressor(**params, scoring=scorer).fit(X, TARGETS)
    assert network.n_iter_ == 4
    plain = SAMMLPRegressor(
        **{**SMALL, "rho": 0.1, "max_iter": 4}, n_iter_no_change=np.inf
    )
    assert_same_fit(network, plain.fit(X, TARGETS))


def test_the_curve_of_radii_shows_the_scores():
    pytest.importorskip("matplotlib").use("Agg")
    network = SAMMLPClassifier(**BOTH, scoring="neg_brier_score").fit(X, LABELS > 0)
    display = RhoCurveDisplay.from_estimator(network)
    assert_array_equal(display.scores, network.rho_scores_)
    assert display.score_name == "Score of the left-out rows"


# -- validation rows of the user's -----------------------------------------------------


@pytest.mark.parametrize("scoring", [None, "loss", "by name"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["rows", "weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_given_rows_are_as_those_that_would_be_drawn(kind, weights, scoring):
    scoring = KINDS[kind][3] if scoring == "by name" else scoring
    params = {**EARLY, "shuffle": False, "scoring": scoring}
    drawn, y = make_kind(kind, **params)
    if drawn.get_params().get("class_weight") == "balanced":
        # of all rows, and of those that are trained on, are two balances
        params["class_weight"] = {"no": 0.3, "yes": 2.0}
        drawn.set_params(**params)
    drawn.fit(X, y, weights)
    # the weights are drawn before the split
    state = np.random.RandomState(0)
    units = [4, 4, drawn.n_outputs_]
    for fan_in, fan_out in itertools.pairwise(units):
        state.uniform(size=fan_in * fan_out)
        state.uniform(size=fan_out)
    has_one = is_classifier(drawn) and drawn.n_outputs_ == 1
    train, test = train_test_split(
        np.arange(N), random_state=state, test_size=0.3, stratify=y if has_one else None
    )
    given, _ = make_kind(kind, **params)
    given.fit(
        X[train],
        y[train],
        None if weights is None else weights[train],
        X_val=X[test],
        y_val=y[test],
        sample_weight_val=None if weights is None else weights[test],
    )
    assert_same_fit(given, drawn)
    assert given.best_validation_score_ == drawn.best_validation_score_


@pytest.mark.parametrize("kind", ["three words", "several", "a target"])
def test_every_member_trains_on_all_rows_if_rows_are_given(kind):
    # a look an epoch, as at one network
    steps = {"batch_size": 2}
    params = {**MEMBERS, **steps, "cv": None}
    estimator, y = make_kind(kind, **params, scoring=KINDS[kind][3])
    estimator.fit(X_TRAIN, y[:50], X_val=X_VAL, y_val=y[50:])
    assert not hasattr(estimator, "oof_decision_function_")
    assert not hasattr(estimator, "oof_prediction_")
    for member in estimator.members_:
        assert member.n_iter_ == 6
        assert member.t_ == 6 * 50
        alone, _ = make_kind(
            kind,
            **{**EARLY, **steps, "max_iter": 6, "random_state": member.random_state},
            n_iter_no_change=99,
            scoring=KINDS[kind][3],
        )
        alone.fit(X_TRAIN, y[:50], X_val=X_VAL, y_val=y[50:])
        assert_same_fit(member, alone, rtol=1e-9)


@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
@pytest.mark.parametrize("n_members", [1, 3])
def test_given_rows_choose_the_radius(n_members, scoring, monkeypatch):
    monkeypatch.setattr(_rho_search, "RUNGS", ())
    radii = [0.0, 0.3, 2.0]
    params = {**BOTH, "cv": None, "rho": radii, "scoring": scoring}
    network = SAMMLPClassifier(**{**params, "n_members": n_members})
    data = {"X_val": X_VAL, "y_val": WORDS[50:]}
    network.fit(X_TRAIN, WORDS[:50], **data)
    scores = network.rho_scores_ if scoring else -network.rho_losses_
    assert network.rho_ == radii[scores.argmax()]
    if n_members == 1:
        return
    for radius, score in zip(radii, scores, strict=True):
        fixed = SAMMLPClassifier(**{**MEMBERS, "cv": None, "rho": radius})
        fixed.set_params(scoring=scoring).fit(X_TRAIN, WORDS[:50], **data)
        # scikit-learn's score of the log-loss and ours are two roads
        losses = [
            -log_loss(WORDS[50:], member.predict_proba(X_VAL))
            for member in fixed.members_
        ]
        assert_allclose(score, np.mean(losses), rtol=1e-9)
        if radius == network.rho_:
            assert_same_fit(network, fixed, rtol=1e-9)


def test_few_rows_choose_if_others_are_given():
    params = {**SMALL, "rho": "auto", "batch_size": "auto"}
    network = SAMMLPClassifier(**params)
    network.fit(X_TRAIN, WORDS[:50], X_val=X_VAL, y_val=WORDS[50:])
    assert_array_equal(network.rho_grid_, [0, 0.1, 0.5])
    assert network._state.averaging.scheme == "ema_decay"


@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
def test_early_stopping_at_the_chosen_radius_is_by_the_given_rows(scoring):
    params = {**EARLY, "scoring": scoring, "n_iter_no_change": 2}
    data = {"X_val": X_VAL, "y_val": WORDS[50:]}
    auto = {"rho": [0.0, 0.5], "ema_decay": 0.0}
    network = SAMMLPClassifier(**{**params, **auto})
    network.fit(X_TRAIN, WORDS[:50], **data)
    fixed = SAMMLPClassifier(**{**params, "rho": network.rho_})
    assert_same_fit(network, fixed.fit(X_TRAIN, WORDS[:50], **data))


def test_balanced_weights_of_given_rows_are_those_of_the_training():
    data = {"X_val": X_VAL, "y_val": WORDS[50:]}
    clf = SAMMLPClassifier(**EARLY, class_weight="balanced", scoring="loss")
    clf.fit(X_TRAIN, WORDS[:50], **data)
    weights = compute_sample_weight("balanced", WORDS[:50])
    table = dict(zip(WORDS[:50], weights, strict=True))
    same = SAMMLPClassifier(**EARLY, class_weight=table, scoring="loss")
    assert_same_fit(clf, same.fit(X_TRAIN, WORDS[:50], **data))


def test_balanced_weights_of_several_labels_are_those_of_the_training():
    recorder = Recorder(get_scorer("accuracy"))
    clf = SAMMLPClassifier(**EARLY, class_weight="balanced", scoring=recorder)
    clf.fit(X_TRAIN, SEVERAL[:50], X_val=X_VAL, y_val=SEVERAL[50:])
    expected = 1.0
    for column in SEVERAL.T:
        table = 50 / (2 * np.bincount(column[:50]))
        expected = expected * table[column[50:]]
    assert_allclose(recorder.calls[0][3], expected, rtol=1e-12)


@pytest.mark.parametrize(
    "params", [EARLY, {**BOTH, "cv": None}], ids=["one", "members"]
)
@pytest.mark.parametrize("train_form", [np.asarray, sp.csr_array, sp.csc_matrix])
@pytest.mark.parametrize("val_form", [np.asarray, sp.csr_array, sp.csc_matrix])
def test_given_rows_may_be_sparse_whatever_the_others_are(train_form, val_form, params):
    dense = X * (X > 0)
    networks = [
        SAMMLPClassifier(**params, scoring="neg_log_loss").fit(
            form(dense[:50]), WORDS[:50], X_val=of_val(dense[50:]), y_val=WORDS[50:]
        )
        for form, of_val in [(np.asarray, np.asarray), (train_form, val_form)]
    ]
    assert_same_fit(*networks, rtol=1e-9)


def test_given_rows_may_be_frames_and_lists():
    params = {**EARLY, "scoring": "f1_macro"}
    plain = SAMMLPClassifier(**params)
    plain.fit(X_TRAIN, WORDS[:50], X_val=X_VAL, y_val=WORDS[50:])
    frame = pd.DataFrame(X, columns=list("abcd"))
    framed = SAMMLPClassifier(**params).fit(
        frame[:50], pd.Series(WORDS)[:50], X_val=frame[50:], y_val=pd.Series(WORDS)[50:]
    )
    assert_same_fit(framed, plain)
    listed = SAMMLPClassifier(**params).fit(
        X_TRAIN, WORDS[:50], X_val=X_VAL.tolist(), y_val=WORDS[50:].tolist()
    )
    assert_same_fit(listed, plain)
    # a class that is not among the given rows, and none of the labels but one
    few = WORDS[50:] == "no"
    SAMMLPClassifier(**EARLY).fit(
        X_TRAIN, WORDS[:50], X_val=X_VAL[few], y_val=WORDS[50:][few]
    )


def test_single_precision_of_the_rows_is_that_of_the_given_ones():
    rows = []

    def scorer(network, X, y):
        rows.append(X)
        return 0.0

    SAMMLPClassifier(**EARLY, scoring=scorer).fit(
        X_TRAIN.astype(np.float32), WORDS[:50], X_val=X_VAL, y_val=WORDS[50:]
    )
    assert rows[0].dtype == np.float32
    assert all(row is rows[0] for row in rows)


# -- going on ------------------------------------------------------------------------


def first_class(network, X, y):
    return float((network.predict(X) == "no").mean())


# (parameters, validation rows of the user's): no two of them judge alike
DRAWN = {
    "drawn": ({}, {}),
    "drawn, loss": ({"scoring": "loss"}, {}),
    "drawn, f1": ({"scoring": "f1_macro"}, {}),
    "drawn, a callable": ({"scoring": first_class}, {}),
}
GIVEN_ROWS = {"X_val": X_VAL, "y_val": WORDS[50:]}
JUDGES = {
    **DRAWN,
    "given": ({}, GIVEN_ROWS),
    "given, loss": ({"scoring": "loss"}, GIVEN_ROWS),
    "other rows": ({}, {**GIVEN_ROWS, "X_val": X_VAL[::-1]}),
    "other targets": ({}, {**GIVEN_ROWS, "y_val": WORDS[:30]}),
    "fewer rows": ({}, {"X_val": X_VAL[:20], "y_val": WORDS[50:70]}),
    "weights": ({}, {**GIVEN_ROWS, "sample_weight_val": WEIGHTS[50:]}),
    "other weights": ({}, {**GIVEN_ROWS, "sample_weight_val": WEIGHTS[:30]}),
    "weights of classes": ({"class_weight": "balanced"}, GIVEN_ROWS),
}


BRIEF = {"batch_size": 10, "max_iter": 2, "n_iter_no_change": 99}


def fit_judged(clf, judge):
    """Fit once more, by a judge that is a copy of its own."""
    params, data = JUDGES[judge]
    clf.set_params(**{"scoring": None, "class_weight": None, **params})
    return clf.fit(X_TRAIN, WORDS[:50], **{name: data[name].copy() for name in data})


@pytest.mark.parametrize("second", JUDGES)
@pytest.mark.parametrize("first", JUDGES)
def test_a_warm_start_by_another_judge_begins_to_choose_anew(first, second):
    params = {**EARLY, **BRIEF}
    clf = SAMMLPClassifier(**params, warm_start=True)
    scores = [*fit_judged(clf, first).validation_scores_]
    fit_judged(clf, second)
    assert len(clf.validation_scores_) == (4 if first == second else 2)
    if first == second:
        assert clf.validation_scores_[:2] == scores
    assert clf.best_validation_score_ == max(clf.validation_scores_)
    assert len(clf.loss_curve_) == 4
    # and the last one goes on
    fit_judged(clf, second)
    assert len(clf.validation_scores_) == (6 if first == second else 4)


@pytest.mark.parametrize("judge", ["drawn", "drawn, loss", "given", "given, loss"])
def test_a_fit_without_a_judge_ends_what_the_last_one_chose(judge):
    params = {**EARLY, **BRIEF}
    clf = fit_judged(SAMMLPClassifier(**params, warm_start=True), judge)
    clf.set_params(early_stopping=False, scoring=None).fit(X_TRAIN, WORDS[:50])
    assert clf.validation_scores_ is None
    fit_judged(clf.set_params(early_stopping=True), judge)
    assert len(clf.validation_scores_) == 2
    assert clf.best_validation_score_ == max(clf.validation_scores_)


@pytest.mark.parametrize("second", ["drawn", "given", "other rows"])
@pytest.mark.parametrize("first", ["drawn", "given"])
@pytest.mark.parametrize("radii", [([0.1], [0.1]), (0.1, [0.1]), ([0.1], 0.1)])
def test_the_choice_of_a_radius_goes_on_with_the_judge(radii, first, second):
    params = {**EARLY, **BRIEF}
    clf = SAMMLPClassifier(**params, ema_decay=0.0, warm_start=True)
    for radius, judge in zip(radii, (first, second), strict=True):
        fit_judged(clf.set_params(rho=radius), judge)
    assert len(clf.validation_scores_) == (4 if first == second else 2)


@pytest.mark.parametrize("way", ["pickle", "file"])
def test_a_copy_goes_on_to_choose_as_the_original(way, tmp_path):
    params = {**EARLY, "warm_start": True, "max_iter": 4}
    clf = SAMMLPClassifier(**params, scoring="neg_log_loss")
    data = {"X_val": X_VAL, "y_val": WORDS[50:]}
    clf.fit(X_TRAIN, WORDS[:50], **data)
    if way == "pickle":
        twin = pickle.loads(pickle.dumps(clf))
    else:
        sksharp.save(clf, tmp_path / "clf")
        twin = sksharp.load(tmp_path / "clf")
    for network in (clf, twin):
        network.fit(X_TRAIN, WORDS[:50], **data)
    assert_same_fit(clf, twin)


def test_given_rows_replace_the_folds_of_an_earlier_fit():
    params = {**MEMBERS, "cv": None}
    clf = SAMMLPClassifier(**params, warm_start=True).fit(X_TRAIN, WORDS[:50])
    assert hasattr(clf, "oof_decision_function_")
    clf.fit(X_TRAIN, WORDS[:50], X_val=X_VAL, y_val=WORDS[50:])
    assert not hasattr(clf, "oof_decision_function_")


def test_partial_fit_does_not_look_at_the_scorer():
    one, other = (
        SAMMLPClassifier(**{**SMALL, "scoring": scoring}, n_members=2)
        for scoring in (None, "roc_auc")
    )
    for clf in (one, other):
        clf.partial_fit(X, WORDS, classes=np.unique(WORDS))
    for a, b in zip(one.members_, other.members_, strict=True):
        assert_array_equal(a.coefs_[0], b.coefs_[0])


# -- pipelines and searches --------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_a_pipeline_transforms_the_given_rows_like_the_others():
    clf = SAMMLPClassifier(**EARLY, scoring="neg_log_loss").set_fit_request(
        X_val=True, y_val=True, sample_weight="weights", sample_weight_val=True
    )
    pipeline = make_pipeline(StandardScaler(), clf, transform_input=["X_val"])
    pipeline.fit(
        X_TRAIN,
        WORDS[:50],
        X_val=X_VAL,
        y_val=WORDS[50:],
        weights=WEIGHTS[:50],
        sample_weight_val=WEIGHTS[50:],
    )
    scaler = StandardScaler().fit(X_TRAIN)
    alone = SAMMLPClassifier(**EARLY, scoring="neg_log_loss").fit(
        scaler.transform(X_TRAIN),
        WORDS[:50],
        WEIGHTS[:50],
        X_val=scaler.transform(X_VAL),
        y_val=WORDS[50:],
        sample_weight_val=WEIGHTS[50:],
    )
    assert_same_fit(pipeline[-1], alone)


@pytest.fixture
def calls(monkeypatch):
    """Count the jobs of every call of the engine."""
    sizes = []

    def fit_models(jobs, **kwargs):
        sizes.append(len(jobs))
        return _fit.fit_models(jobs, **kwargs)

    monkeypatch.setattr(training, "fit_models", fit_models)
    return sizes


GRIDS = {
    "scorers": {"rho": [0.05, 0.5], "scoring": [None, "loss", "f1_macro"]},
    "a callable": {
        "rho": [0.05, 0.5],
        "scoring": [
            lambda clf, X, y: -abs(clf.coefs_[0]).sum(),
            lambda clf, X, y: clf.score(X, y),
        ],
    },
}


@pytest.mark.parametrize("given", [False, True], ids=["drawn", "given"])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_search_gives_the_results_of_scikit_learns(grid, given, calls):
    data = {}
    if given:
        data = {"X_val": X_VAL, "y_val": WORDS[50:]}
        data["sample_weight_val"] = WEIGHTS[50:]
    params = {**EARLY, "batch_size": 8, "max_iter": 8}
    searches, sizes = [], []
    for Search in (VectorizedGridSearchCV, GridSearchCV):
        search = Search(SAMMLPClassifier(**params), GRIDS[grid], cv=3)
        if given and grid == "a callable":
            # which would have to take the weights
            data.pop("sample_weight_val", None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "fit_models", training.fit_models)
            searches.append(search.fit(X_TRAIN, WORDS[:50], **data))
        sizes.append(list(calls))
        calls.clear()
    ours, theirs = searches
    for name in ("mean_test_score", "std_test_score"):
        assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], rtol=0)
    assert_same_fit(ours.best_estimator_, theirs.best_estimator_, rtol=1e-9)
    if grid == "scorers":
        # all of the search together, and the last fit
        assert sizes[0] == [18, 1]
    else:
        assert set(sizes[0]) == {1}


def test_given_rows_of_a_search_tell_trainings_apart(calls):
    clf = SAMMLPClassifier(**{**EARLY, "batch_size": 8}, scoring="f1_macro")
    grid = {"rho": [0.05, 0.5]}
    scores = []
    for rows in (slice(50, 65), slice(65, 80)):
        search = VectorizedGridSearchCV(clf, grid, cv=2)
        search.fit(X_TRAIN, WORDS[:50], X_val=X[rows], y_val=WORDS[rows])
        scores.append(search.best_estimator_.best_validation_score_)
        best = search.best_estimator_
        score = get_scorer("f1_macro")(best, X[rows], WORDS[rows])
        assert_allclose(scores[-1], score, rtol=1e-9)
    assert scores[0] != scores[1]


@pytest.mark.parametrize("n_jobs", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_processes_choose_the_same_by_a_scorer(n_jobs):
    networks = [
        SAMMLPClassifier(**BOTH, scoring=scoring, n_jobs=n_jobs).fit(X, WORDS)
        for scoring in (
            "neg_log_loss",
            make_scorer(
                log_loss, greater_is_better=False, response_method="predict_proba"
            ),
        )
    ]
    assert_same_fit(*networks, rtol=1e-9)
    assert networks[0].rho_ == networks[1].rho_


def test_cross_validation_takes_a_network_with_a_scorer():
    clf = SAMMLPClassifier(**EARLY, scoring="roc_auc_ovr")
    assert cross_val_score(clf, X, WORDS, cv=3, error_score="raise").shape == (3,)


def test_targets_of_given_rows_are_in_the_units_of_the_network():
    scaler = StandardScaler().fit(TARGETS[:50, None])
    scaled = scaler.transform(TARGETS[:, None])[:, 0]
    network = SAMMLPRegressor(**EARLY)
    around = TransformedTargetRegressor(network, transformer=StandardScaler())
    around.fit(X_TRAIN, TARGETS[:50], X_val=X_VAL, y_val=scaled[50:])
    alone = clone(network).fit(X_TRAIN, scaled[:50], X_val=X_VAL, y_val=scaled[50:])
    assert_same_fit(around.regressor_, alone, rtol=1e-9)


# -- errors ------------------------------------------------------------------------------


def no_weights(estimator, X, y):
    return 0.0


SCORER_ERRORS = {
    "an unknown name": ({"scoring": "great"}, {}, "The 'scoring' parameter of SAMMLP"),
    "a list of names": ({"scoring": ["f1"]}, {}, "The 'scoring' parameter of SAMMLP"),
    "a metric": ({"scoring": mae}, {}, "looks like it is a metric function"),
    "not a number": (
        {"scoring": lambda clf, X, y: np.nan},
        {},
        r"must give a finite number for the predictions of SAMMLPClassifier for 24 "
        r"validation rows, got nan\. It may not be defined.*scoring='loss'",
    ),
    "infinity": ({"scoring": lambda clf, X, y: -np.inf}, {}, "got -inf"),
    "nothing": ({"scoring": lambda clf, X, y: None}, {}, "but it raised TypeError"),
    "several numbers": ({"scoring": lambda clf, X, y: {"a": 1}}, {}, "TypeError"),
    "an error of its own": (
        {"scoring": lambda clf, X, y: {}["missing"]},
        {},
        "but it raised KeyError: 'missing'",
    ),
    "another kind of labels": (
        {"scoring": "f1"},
        {},
        "but it raised ValueError: .*multiclass.*Choose a scorer",
    ),
    "weights that it does not take": (
        {"scoring": no_weights},
        {"sample_weight": WEIGHTS},
        r"scoring must take sample_weight where rows have weights.*no_weights",
    ),
    "weights of classes": (
        {"scoring": no_weights, "class_weight": "balanced"},
        {},
        "scoring must take sample_weight where rows have weights",
    ),
}


@pytest.mark.parametrize(
    "params", [EARLY, MEMBERS, BOTH], ids=["one", "members", "rho"]
)
@pytest.mark.parametrize("case", SCORER_ERRORS)
def test_a_scorer_that_does_not_work_is_told(case, params):
    own, data, match = SCORER_ERRORS[case]
    if params is not EARLY:
        match = match.replace("24", r"\d+")
    clf = SAMMLPClassifier(**{**params, **own})
    before = set(vars(clf))
    with pytest.raises(ValueError, match=match):
        clf.fit(X, WORDS, **data)
    assert set(vars(clf)) == before


def test_probabilities_of_a_regressor_are_told():
    regr = SAMMLPRegressor(**EARLY, scoring="neg_log_loss")
    match = "predictions of SAMMLPRegressor.*raised AttributeError.*predict_proba"
    with pytest.raises(ValueError, match=match):
        regr.fit(X, TARGETS)


def test_a_metric_without_weights_is_told():
    regr = SAMMLPRegressor(**EARLY, scoring="neg_max_error")
    with pytest.raises(ValueError, match="got scoring='neg_max_error'"):
        regr.fit(X, TARGETS, WEIGHTS)
    regr.fit(X, TARGETS)


GIVEN = {"X_val": X_VAL, "y_val": WORDS[50:]}
GIVEN_ERRORS = {
    "no targets": ({}, {"X_val": X_VAL}, "got X_val without y_val. Pass both"),
    "no rows": ({}, {"y_val": WORDS[50:]}, "got y_val without X_val"),
    "weights alone": (
        {},
        {"sample_weight_val": WEIGHTS},
        "got sample_weight_val without X_val and y_val",
    ),
    "nothing reads them": (
        {"early_stopping": False},
        GIVEN,
        r"X_val needs early_stopping=True.*got early_stopping=False.*leave X_val",
    ),
    "lbfgs": (
        {"solver": "lbfgs"},
        GIVEN,
        "X_val needs a stochastic solver, got solver='lbfgs'",
    ),
    "folds too": (
        {"n_members": 3, "cv": 3},
        GIVEN,
        "X_val takes the place of the folds, got X_val and cv=3",
    ),
    "folds of radii too": ({"rho": "auto", "cv": 3}, GIVEN, "place of the folds"),
    "fewer features": (
        {},
        {**GIVEN, "X_val": X_VAL[:, :3]},
        "X_val must hold rows like those of X: X has 3 features, .*expecting 4",
    ),
    "not a table": ({}, {**GIVEN, "X_val": X_VAL[:, 0]}, "X_val must hold rows"),
    "NaN": ({}, {**GIVEN, "X_val": X_VAL * np.nan}, "X_val must hold.*contains NaN"),
    "sparse NaN": (
        {},
        {**GIVEN, "X_val": sp.csr_array(X_VAL * np.nan)},
        "X_val must hold.*contains NaN",
    ),
    "words for numbers": ({}, {**GIVEN, "X_val": [["a"] * 4] * 30}, "X_val must hold"),
    "fewer targets": (
        {},
        {**GIVEN, "y_val": WORDS[51:]},
        "X_val and y_val must have the same number of rows, 2 or more, got 30 and 29",
    ),
    "one row": ({}, {"X_val": X_VAL[:1], "y_val": WORDS[:1]}, "2 or more, got 1 and 1"),
    "none": ({}, {"X_val": X_VAL[:0], "y_val": WORDS[:0]}, "X_val must hold"),
    "fewer weights": (
        {},
        {**GIVEN, "sample_weight_val": WEIGHTS[:29]},
        "sample_weight_val must hold a weight for every row of X_val: ",
    ),
    "no weight at all": (
        {},
        {**GIVEN, "sample_weight_val": np.zeros(30)},
        "sample_weight_val must|at least one non-zero",
    ),
    "unknown classes": (
        {},
        {**GIVEN, "y_val": ["no"] * 29 + ["never"]},
        r"y_val must hold.*classes \['never'\], which are not in y\. Drop these rows",
    ),
    "classes of another type": (
        {},
        {**GIVEN, "y_val": LABELS[50:]},
        r"y_val must hold targets like those of y",
    ),
    "numbers for classes": (
        {},
        {**GIVEN, "y_val": TARGETS[50:]},
        "y_val must hold.*binary or multiclass, as y is, got continuous",
    ),
    "several labels": (
        {},
        {**GIVEN, "y_val": SEVERAL[50:]},
        "y_val must hold.*got multilabel-indicator",
    ),
}


@pytest.mark.parametrize("is_fitted", [False, True], ids=["new", "fitted"])
@pytest.mark.parametrize("case", GIVEN_ERRORS)
def test_given_rows_that_do_not_fit_are_told(case, is_fitted):
    params, data, match = GIVEN_ERRORS[case]
    clf = SAMMLPClassifier(**{**EARLY, **params}, warm_start=is_fitted)
    if is_fitted:
        clf.fit(X_TRAIN, WORDS[:50])
    before = vars(copy.deepcopy(clf))
    with pytest.raises(ValueError, match=match):
        clf.fit(X_TRAIN, WORDS[:50], **data)
    assert vars(clf).keys() == before.keys()
    for name in ("loss_curve_", "validation_scores_", "classes_", "n_iter_", "t_"):
        assert_array_equal(getattr(clf, name, None), before.get(name))
    for coef, expected in zip(
        getattr(clf, "coefs_", []), before.get("coefs_", []), strict=True
    ):
        assert_array_equal(coef, expected)


@pytest.mark.parametrize("of_first", [{}, GIVEN], ids=["folds", "given"])
def test_given_rows_are_an_error_once_the_radius_is_chosen(of_first):
    y, cv = WORDS[:50], None if of_first else 2
    clf = SAMMLPClassifier(**{**AUTO, "cv": cv}, warm_start=True)
    clf.fit(X_TRAIN, y, **of_first).set_params(cv=None)
    n_iter, coefs = clf.n_iter_, copy.deepcopy(clf.coefs_)
    with pytest.raises(
        ValueError, match=r"X_val needs early_stopping=True.*has chosen"
    ):
        clf.fit(X_TRAIN, y, **GIVEN)
    assert clf.n_iter_ == n_iter
    assert_array_equal(clf.coefs_[0], coefs[0])
    # where something reads them they are welcome
    assert clone(clf).set_params(n_members=2).fit(X_TRAIN, y, **GIVEN).members_
    clf.set_params(warm_start=False).fit(X_TRAIN, y, **GIVEN)
    clf.set_params(warm_start=True, solver="asam").fit(X_TRAIN, y, **GIVEN)
    clf.set_params(early_stopping=True).fit(X_TRAIN, y, **GIVEN)
    assert len(clf.validation_scores_) == clf.n_iter_


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "Float64"])
@pytest.mark.parametrize("labels", [LABELS > 0, SEVERAL], ids=["one", "several"])
def test_given_targets_may_be_of_pandas_nullable_types(labels, dtype):
    y = pd.DataFrame(labels).astype("Int64").astype(dtype)
    y = y if labels.ndim == 2 else y[0]
    scores = [
        SAMMLPClassifier(**EARLY)
        .fit(X[:50], train, X_val=X_VAL, y_val=val)
        .validation_scores_
        for train, val in [(labels[:50], labels[50:]), (y[:50], y[50:])]
    ]
    assert scores[0] == scores[1]


def test_given_targets_that_are_dates_are_told():
    days = pd.Series(pd.date_range("2020", periods=N))
    with pytest.raises(ValueError, match="y_val must hold numbers, got dtype=datetime"):
        SAMMLPRegressor(**EARLY).fit(X, TARGETS, X_val=X, y_val=days)


@pytest.mark.parametrize("case", ["rows", "members", "single precision", "given rows"])
def test_weights_that_cannot_be_added_up_are_told(case):
    clf = SAMMLPClassifier(**EARLY)
    if case == "members":
        clf.set_params(n_members=2, early_stopping=False)
    data = {"X": X, "y": LABELS, "sample_weight": WEIGHTS * 1e307}
    name = "sample_weight"
    if case == "single precision":
        data |= {"X": X.astype(np.float32), "sample_weight": WEIGHTS * 1e39}
    if case == "given rows":
        name = "sample_weight_val"
        data |= {"sample_weight": None, "X_val": X, "y_val": LABELS}
        data["sample_weight_val"] = WEIGHTS * 1e307
    match = rf"{name} must have a finite sum in float\d\d.*got weights up to \d"
    with pytest.raises(ValueError, match=match):
        clf.fit(**data)
    assert not hasattr(clf, "classes_")


def test_given_targets_of_another_form_are_told():
    with pytest.raises(ValueError, match=r"y_val must hold.*array-like, got 3\.0"):
        SAMMLPRegressor(**EARLY).fit(X, TARGETS, X_val=X, y_val=3.0)
    several = SAMMLPClassifier(**EARLY)
    three = np.c_[SEVERAL, SEVERAL[:, :1]]
    match = r"it must have 2 columns, got \(30, 3\)"
    with pytest.raises(ValueError, match=match):
        several.fit(X_TRAIN, SEVERAL[:50], X_val=X_VAL, y_val=three[50:])
    regr = SAMMLPRegressor(**EARLY)
    match = "y_val must have 1 columns like y, got 2"
    with pytest.raises(ValueError, match=match):
        regr.fit(X_TRAIN, TARGETS[:50], X_val=X_VAL, y_val=np.c_[TARGETS, TARGETS][50:])
    with pytest.raises(ValueError, match=r"y_val must hold.*Input y_val contains NaN"):
        regr.fit(X_TRAIN, TARGETS[:50], X_val=X_VAL, y_val=TARGETS[50:] * np.nan)
    counts = SAMMLPRegressor(**EARLY, loss="poisson")
    with pytest.raises(
        ValueError, match="y_val must not be negative with loss='poisson'"
    ):
        counts.fit(X_TRAIN, abs(TARGETS[:50]), X_val=X_VAL, y_val=TARGETS[50:])
    frame = pd.DataFrame(X, columns=list("abcd"))
    with pytest.raises(
        ValueError, match=r"X_val must hold.*feature names should match"
    ):
        regr.fit(
            frame[:50], TARGETS[:50], X_val=frame[50:][list("dcba")], y_val=TARGETS[50:]
        )


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({}, "early_stopping=False"),
        ({"solver": "lbfgs", "early_stopping": True}, "solver='lbfgs'"),
    ],
)
def test_a_scorer_that_nothing_reads_warns(params, name):
    clf = SAMMLPClassifier(**{**SMALL, "rho": "auto", "solver": "adam", **params})
    with pytest.warns(UnusedParameterWarning) as caught:
        clf.set_params(scoring="f1", batch_size="auto").fit(X, WORDS)
    assert f"{name} does not read" in str(caught[0].message)
    assert "scoring='f1'" in str(caught[0].message)


@pytest.mark.parametrize(
    "params", [EARLY, MEMBERS, AUTO], ids=["one", "members", "rho"]
)
def test_a_scorer_that_is_read_does_not_warn(params):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnusedParameterWarning)
        SAMMLPClassifier(**params, scoring="accuracy").fit(X, WORDS)
