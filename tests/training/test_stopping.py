import dataclasses
import warnings

import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp._jobs import Progress
from sksharp.options import Ranger
from sksharp.options.solvers import SOLVERS
from sksharp.training._stopping import StoppingRule

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
y = X[:, 0] + 0.1 * rng.normal(size=40)

SEQUENCES = {
    "falling": np.linspace(1, 0, 12),
    "rising": np.linspace(0, 1, 12),
    "noise": rng.normal(size=30),
    "constant": np.ones(8),
    "falling by exactly tol": 1 - 0.125 * np.arange(8),
    "a NaN in between": np.array([1, 1, 1, np.nan, 1, 1, 0.5, np.nan, np.nan]),
    "infinite": np.array([np.inf, np.inf, 1, -np.inf, 0, 1]),
}


class ScikitLearn(MLPRegressor):
    """scikit-learn's rule alone, told the losses or the scores."""

    def __init__(self, tol, uses_scores):
        super().__init__(tol=tol)
        self.uses_scores = uses_scores
        self.coefs_, self.intercepts_ = [], []
        self._no_improvement_count = 0
        self.loss_curve_, self.validation_scores_ = [], []
        self.best_loss_, self.best_validation_score_ = np.inf, -np.inf

    def tell(self, value):
        self.value = value
        self.loss_curve_.append(value)
        self._update_no_improvement_count(self.uses_scores, None, None, None)

    def _score(self, X, y, sample_weight=None):
        return self.value


@pytest.fixture
def make_rule(job_of):
    settings = job_of(SAMMLPRegressor(), X, y).settings

    def make_rule(*, uses_scores=False, **changes):
        progress = Progress()
        if uses_scores:
            progress = Progress(
                best_loss=None, validation_scores=[], best_validation_score=-np.inf
            )
        return StoppingRule(dataclasses.replace(settings, **changes), progress)

    return make_rule


@pytest.mark.parametrize("tol", [0.0, 0.125, 0.2])
@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_losses_are_judged_as_scikit_learn_judges_them(sequence, tol, make_rule):
    rule, reference = make_rule(tol=tol), ScikitLearn(tol, uses_scores=False)
    for loss in sequence:
        rule.after_loss(loss, is_of_model=True)
        reference.tell(loss)
        progress = rule.progress
        assert progress.no_improvement_count == reference._no_improvement_count
        assert progress.best_loss == reference.best_loss_
        assert progress.validation_scores is None


@pytest.mark.parametrize("tol", [0.0, 0.125, 0.2])
@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_scores_are_judged_as_scikit_learn_judges_them(sequence, tol, make_rule):
    rule = make_rule(tol=tol, uses_scores=True)
    reference = ScikitLearn(tol, uses_scores=True)
    for score in -sequence:
        best_before = reference.best_validation_score_
        is_best = rule.after_score(score)
        reference.tell(score)
        progress = rule.progress
        assert is_best == (reference.best_validation_score_ != best_before)
        assert progress.no_improvement_count == reference._no_improvement_count
        assert progress.best_validation_score == reference.best_validation_score_
        assert progress.best_loss is None
    np.testing.assert_array_equal(progress.validation_scores, -sequence)


@pytest.mark.parametrize("patience", [1, 3, np.inf])
def test_the_rule_fires_when_the_patience_is_exceeded(patience, make_rule):
    rule = make_rule(n_iter_no_change=patience, tol=0.1)
    fired = []
    for _ in range(6):
        rule.after_loss(1.0, is_of_model=True)
        fired.append(rule.fires())
    # the first epoch always improves on nothing; then more than patience must not
    assert fired == [epoch > 1 + patience for epoch in range(1, 7)]
    rule.reset()
    assert not rule.fires()


@pytest.mark.parametrize("uses_scores", [False, True], ids=["losses", "scores"])
def test_the_message_is_scikit_learns(uses_scores, make_rule, capsys):
    rule = make_rule(uses_scores=uses_scores, tol=1e9, n_iter_no_change=2)
    reference = MLPRegressor(
        tol=1e9, n_iter_no_change=2, early_stopping=uses_scores, verbose=True
    )
    reference.fit(X, y)
    assert f"{rule.message()} Stopping.\n" in capsys.readouterr().out


def test_a_loss_that_is_not_of_the_model_repeats_the_last_verdict(make_rule):
    rule = make_rule(tol=0.0)
    # loss, whether it is the model's, epochs without improvement, best loss
    table = [
        (5.0, True, 0, 5.0),
        (9.0, False, 0, 5.0),  # no verdict of its own: improved, as the last
        (1.0, False, 0, 5.0),  # and not the best loss
        (6.0, True, 1, 5.0),
        (1.0, False, 2, 5.0),  # stalled, as the last
        (1.0, False, 3, 5.0),
        (4.0, True, 0, 4.0),
        (9.0, False, 0, 4.0),
    ]
    for loss, is_of_model, count, best in table:
        rule.after_loss(loss, is_of_model=is_of_model)
        assert rule.progress.no_improvement_count == count
        assert rule.progress.best_loss == best


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("solver", ["ranger", "sam", "wsam"])
def test_only_epochs_that_begin_a_step_at_slow_weights_count(solver, k):
    """The best loss is that of an epoch in which the fast weights were the model's."""
    regr = SAMMLPRegressor(
        hidden_layer_sizes=(4,),
        solver=Ranger(k=k) if solver == "ranger" else solver,
        base_solver=Ranger(k=k),
        learning_rate_init=0.01,
        batch_size=20,  # two steps an epoch
        n_iter_no_change=np.inf,
        max_iter=9,
        random_state=0,
    ).fit(X, y)
    # step 0, and every k-th after it, begins at the slow weights
    is_of_model = [
        any(step % k == 0 for step in (2 * epoch, 2 * epoch + 1)) for epoch in range(9)
    ]
    losses = np.array(regr.loss_curve_)
    assert regr.best_loss_ == losses[is_of_model].min()


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_fit_stops_after_its_patience_without_a_warning(solver):
    regr = SAMMLPRegressor(
        hidden_layer_sizes=(4,),
        solver=solver,
        batch_size=5,
        tol=1e9,
        n_iter_no_change=3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regr.fit(X, y)
    # one epoch that improves on nothing, three of patience and the one too many
    assert regr.n_iter_ == len(regr.loss_curve_) == 5


@pytest.mark.parametrize("make", [SAMMLPClassifier, SAMMLPRegressor])
def test_with_validation_rows_the_best_epochs_weights_are_kept(make):
    labels = (y > 0).astype(int) if make is SAMMLPClassifier else y
    params = {
        "hidden_layer_sizes": (4,),
        "solver": "adam",
        "learning_rate_init": 0.3,
        "early_stopping": True,
        "validation_fraction": 0.3,
        "n_iter_no_change": 5,
        "random_state": 1,
    }
    model = make(**params).fit(X, labels)
    scores = np.array(model.validation_scores_)
    best = int(scores.argmax())
    assert best < len(scores) - 1
    assert model.best_validation_score_ == scores[best]
    # the weights of the best epoch are those of a fit that ends with it
    at_best = make(**params, max_iter=best + 1).fit(X, labels)
    for coef, expected in zip(model.coefs_, at_best.coefs_, strict=True):
        np.testing.assert_array_equal(coef, expected)
