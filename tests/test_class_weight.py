import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.utils.class_weight import compute_sample_weight

from sksharp import SAMMLPClassifier
from sksharp.options.solvers import SOLVERS

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:solver='friendly_sam' perturbs along the noise"),
]

rng = np.random.RandomState(0)
X = rng.normal(size=(60, 3))
binary = (X[:, 0] + rng.normal(size=60) > 0.8).astype(int)
three = np.clip(np.round(X[:, 0] + 1), 0, 2).astype(int)
several = np.c_[binary, X[:, 1] > 1, X[:, 2] > -1].astype(int)
words = np.array(["ape", "bee", "cat"])[three]
SAMPLE_WEIGHT = rng.uniform(0.5, 2, size=60)

# classes, class_weight
CASES = {
    "two": (binary, {0: 0.3, 1: 2.0}),
    "two, balanced": (binary, "balanced"),
    "three": (three, {0: 0.3, 1: 1.0, 2: 4.0}),
    "three, one named": (three, {2: 4.0}),
    "three, balanced": (three, "balanced"),
    "words": (words, {"ape": 0.3, "cat": 4}),
    "words, balanced": (words, "balanced"),
    "several, balanced": (several, "balanced"),
    "numbers that are far apart": (np.array([-7, 0, 100])[three], {-7: 2.0, 100: 0.5}),
    "truths": (binary.astype(bool), {True: 3.0}),
    "one": (np.ones(60), {1: 3.0}),
    "one, balanced": (np.ones(60), "balanced"),
}
OPTIONS = {
    **{solver: {"solver": solver} for solver in [*SOLVERS, "lbfgs"]},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "averaging": {"swa": True},
    "small batches": {"batch_size": 7},
}


def make(**params):
    defaults = {
        "hidden_layer_sizes": (4,),
        "batch_size": 25,
        "learning_rate_init": 0.02,
        "max_iter": 4,
        "random_state": 0,
    }
    return SAMMLPClassifier(**{**defaults, **params})


def assert_same_fit(clf, expected):
    for array, other in zip(
        [*clf.coefs_, *clf.intercepts_],
        [*expected.coefs_, *expected.intercepts_],
        strict=True,
    ):
        assert_array_equal(array, other)
    assert clf.loss_ == expected.loss_
    if hasattr(expected, "loss_curve_"):
        assert clf.loss_curve_ == expected.loss_curve_
        assert clf.validation_scores_ == expected.validation_scores_


ROWS = [("three", options) for options in OPTIONS]
ROWS += [(case, options) for case in CASES for options in ("sam", "lbfgs")]


@pytest.mark.parametrize("weighted", [False, True], ids=["alone", "with rows'"])
@pytest.mark.parametrize(("case", "options"), sorted(set(ROWS)))
def test_weights_of_classes_are_weights_of_their_rows(case, options, weighted):
    (y, class_weight), options = CASES[case], OPTIONS[options]
    own = SAMPLE_WEIGHT if weighted else np.ones(60)
    expected = make(**options)
    expected.fit(X, y, sample_weight=compute_sample_weight(class_weight, y) * own)
    clf = make(class_weight=class_weight, **options)
    clf.fit(X, y, sample_weight=SAMPLE_WEIGHT if weighted else None)
    assert_same_fit(clf, expected)


@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_weights_of_one_for_all_classes_change_next_to_nothing(solver):
    params = {"solver": solver, "batch_size": 60}
    plain = make(**params).fit(X, three)
    clf = make(class_weight={0: 1, 1: 1, 2: 1}, **params).fit(X, three)
    np.testing.assert_allclose(clf.coefs_[0], plain.coefs_[0], rtol=1e-9)


def test_balanced_weights_are_the_documented_formula():
    clf = make(class_weight="balanced").fit(X, three)
    weights = 60 / (3 * np.bincount(three))
    expected = make(class_weight=dict(enumerate(weights))).fit(X, three)
    assert_same_fit(clf, expected)


def test_sparse_labels_can_be_balanced():
    clf = make(class_weight="balanced").fit(X, sp.csr_array(several))
    assert_same_fit(clf, make(class_weight="balanced").fit(X, several))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", ["two", "three, one named", "words"])
def test_partial_fit_weighs_the_classes_of_its_rows(case, solver):
    y, class_weight = CASES[case]
    params = {"solver": solver, "batch_size": "auto"}
    clf, expected = make(class_weight=class_weight, **params), make(**params)
    # the second call has rows of one class alone
    for rows in (np.arange(60) < 30, y == y[0], np.arange(60) >= 30):
        clf.partial_fit(X[rows], y[rows], classes=np.unique(y))
        weights = compute_sample_weight(
            {label: class_weight.get(label, 1) for label in np.unique(y)}, y[rows]
        )
        expected.partial_fit(
            X[rows], y[rows], classes=np.unique(y), sample_weight=weights
        )
        assert_same_fit(clf, expected)


def test_partial_fit_multiplies_weights_of_rows_and_classes():
    clf = make(class_weight={0: 0.3, 2: 4.0})
    clf.partial_fit(X, three, sample_weight=SAMPLE_WEIGHT, classes=[0, 1, 2])
    weights = np.array([0.3, 1.0, 4.0])[three] * SAMPLE_WEIGHT
    expected = make().partial_fit(X, three, sample_weight=weights, classes=[0, 1, 2])
    assert_same_fit(clf, expected)


def test_a_warm_start_weighs_the_classes_anew():
    clf = make(class_weight={0: 0.3, 1: 2.0}, warm_start=True).fit(X, binary)
    clf.set_params(class_weight={0: 5.0, 1: 1.0}).fit(X, binary)
    expected = make(warm_start=True)
    for weights in ([0.3, 2.0], [5.0, 1.0]):
        expected.fit(X, binary, sample_weight=np.array(weights)[binary])
    assert_same_fit(clf, expected)


def test_weights_of_classes_leave_the_users_weights_alone():
    weights, class_weight = SAMPLE_WEIGHT.copy(), {0: 0.3, 1: 2.0}
    make(class_weight=class_weight).fit(X, binary, sample_weight=weights)
    assert_array_equal(weights, SAMPLE_WEIGHT)
    assert class_weight == {0: 0.3, 1: 2.0}


def test_a_class_of_great_weight_is_predicted_more_often():
    few, many = (
        make(class_weight={0: 1, 1: weight}, max_iter=50, solver="adam")
        .fit(X, binary)
        .predict(X)
        .sum()
        for weight in (1e-6, 1e6)
    )
    assert (few, many) == (0, 60)


@pytest.mark.parametrize(
    ("class_weight", "match"),
    [
        (
            {0: 0, 1: 0},
            r"must leave a row with a weight other than 0.*got \{0: 0, 1: 0\}",
        ),
        ({0: "a"}, "class_weight must give classes of y their weights: .*'a'"),
        ({0: None}, "class_weight must hold finite numbers, got {0: None}"),
        ([{0: 1}], "class_weight must .*a dict or 'balanced' for a single label"),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "options", [{}, {"n_members": 2}, {"solver": "lbfgs"}], ids=str
)
def test_weights_that_are_none_are_told(class_weight, match, options):
    clf = make(**options, class_weight=class_weight)
    with pytest.raises(ValueError, match=match):
        clf.fit(X, binary)
    assert not hasattr(clf, "classes_")


def test_weights_of_rows_and_classes_that_leave_nothing_are_told():
    clf = make(class_weight={0: 0}, solver="lbfgs")
    with pytest.raises(ValueError, match="sample_weight included"):
        clf.fit(X, binary, sample_weight=1.0 - binary)
