"""The summary of a fit says what its attributes say, in the same words every time."""

import pickle
import re
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sksharp
from sksharp import SAMMLPClassifier, SAMMLPRegressor, summary
from sksharp._jobs import AveragingState
from sksharp.estimators._comparison import STANDARD_ERRORS
from sksharp.estimators._state import TrainingState
from sksharp.options import ASAM, Quantile

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::sksharp.exceptions.UnusedParameterWarning",
)

X, y = make_classification(60, 5, n_informative=4, n_redundant=0, random_state=0)
SMALL = {"max_iter": 6, "hidden_layer_sizes": (5,), "batch_size": 20, "random_state": 0}


def classifier(**params):
    return SAMMLPClassifier(**{**SMALL, "rho": 0.1, **params})


def by_hand(cls=SAMMLPClassifier, *, state=None, n_outputs=3, attributes=(), **params):
    """Return an estimator with the attributes of a fit that never was."""
    estimator = cls(**{"hidden_layer_sizes": (4,), "rho": 0.1, **params})
    own = {
        "n_features_in_": 2,
        "n_outputs_": n_outputs,
        "out_activation_": "softmax" if cls is SAMMLPClassifier else "identity",
        "coefs_": [np.zeros((2, 4)), np.zeros((4, n_outputs))],
        "intercepts_": [np.zeros(4), np.zeros(n_outputs)],
        "n_averaged_": 0,
        "n_iter_": 5,
        "t_": 5000,
        "loss_": 0.5,
        "loss_curve_": [0.9, 0.8, 0.7, 0.6, 0.5],
        "validation_scores_": None,
        "best_validation_score_": None,
        "_no_improvement_count": 0,
        "_state": TrainingState(**(state or {})),
    }
    if cls is SAMMLPClassifier:
        own["classes_"] = np.arange(n_outputs)
    for name, value in {**own, **dict(attributes)}.items():
        setattr(estimator, name, value)
    return estimator


def text(lines):
    return dedent(lines).strip("\n")


def line_of(label, estimator):
    """Return the first line with a label, without the label."""
    lines = summary(estimator).splitlines()
    found = [one for one in lines if one.startswith(f"  {label} ")]
    return found[0].removeprefix(f"  {label}").strip() if found else None


# -- whole texts ---------------------------------------------------------------------------


def test_a_chosen_radius_with_an_average_and_a_temperature():
    chosen = {
        "rho_": 0.1,
        "rho_grid_": np.array([0, 0.1, 0.5]),
        "rho_losses_": np.array([0.25, 0.2512, 1.5]),
        "rho_differences_": np.array([0, 0.001, 0.0625]),
        "rho_standard_errors_": np.array([0, 0.002, 0.03]),
        "rho_epochs_": np.array([5, 5, 1]),
        "oof_decision_function_": np.full((1000, 3), 1 / 3),
    }
    chosen["oof_decision_function_"][600:] = np.nan
    state = {
        "averaging": AveragingState("ema_decay", 5, 0, {}),
        "inverse_temperature": 0.8,
    }
    clf = by_hand(state=state, attributes=chosen, rho="auto", max_iter=5)
    assert summary(clf) == text(
        """
    SAMMLPClassifier
      data         1,000 rows, 600 of them held out by a fold, 2 features, 3 classes
      network      2-4-3 units, relu, softmax outputs; 27 parameters, float64
      solver       'sam', base_solver='adam', learning_rate_init=0.001, batch_size='auto',
                   alpha=0.0001
      radius       rho=0.1 was chosen: of the radii that were compared last, the largest
                   whose loss of left-out rows was at most a standard error and 5 % above
                   the lowest
                      rho    loss  above lowest  standard error  epochs
                        0    0.25             0               0       5
                   *  0.1  0.2512         0.001           0.002       5
                      0.5     1.5        0.0625            0.03       1
      training     5 epochs (all of max_iter=5), 5,000 rows seen, loss 0.5 at the end
      average      exponential moving average of the weights
      temperature  1.25: it divides what goes into softmax
        """
    )
    assert STANDARD_ERRORS == 1  # which the text says


def test_early_stopping_tells_the_epoch_that_is_kept():
    scores = {
        "validation_scores_": [0.5, 0.75, 0.8125, 0.75, 0.8125],
        "best_validation_score_": 0.8125,
        "_no_improvement_count": 2,
    }
    clf = by_hand(
        solver=ASAM(eta=0.1),
        base_solver="sgd",
        momentum=0.5,
        attributes=scores,
        early_stopping=True,
        n_iter_no_change=1,
    )
    assert summary(clf) == text(
        """
    SAMMLPClassifier
      data         2 features, 3 classes
      network      2-4-3 units, relu, softmax outputs; 27 parameters, float64
      solver       ASAM(eta=0.1), base_solver='sgd', learning_rate_init=0.001,
                   batch_size='auto', alpha=0.0001, momentum=0.5
      radius       rho=0.1, as given
      training     5 epochs (max_iter=200), 5,000 rows seen, loss 0.5 at the end, score not
                   better by more than tol=0.0001 in the last 2 epochs
      kept         the weights of epoch 3, validation accuracy 0.8125
        """
    )


def test_members_have_a_table():
    members = [
        by_hand(
            state={"score_freq": 2, "inverse_temperature": b},
            ema_decay=0.9,
            attributes={
                "validation_scores_": scores,
                "best_validation_score_": max(scores),
                "loss_": loss,
            },
        )
        for b, scores, loss in [(0.5, [-2, -1, -1.5], 0.4), (2, [-1, -0.75, -0.5], 0.6)]
    ]
    clf = by_hand(
        n_members=2,
        ema_decay=0.9,
        attributes={"members_": members, "rho_": 0.05},
        rho="auto",
        solver="msam",
    )
    for name in ("coefs_", "intercepts_", "loss_curve_", "n_averaged_"):
        delattr(clf, name)
    assert summary(clf) == text(
        """
    SAMMLPClassifier
      data         2 features, 3 classes
      network      2-4-3 units, relu, softmax outputs; 27 parameters, float64
      solver       'msam', base_solver='adam', learning_rate_init=0.001, batch_size='auto',
                   alpha=0.0001
      radius       rho=0.05, used without a choice (rho='auto')
      training     5 epochs (max_iter=200), 5,000 rows seen by the longest of the members,
                   mean loss 0.5 at the end
      average      exponential moving average of the weights, ema_decay=0.9
      members      2 networks, whose predictions are averaged; score: minus loss of the
                   left-out rows
                   member  epochs  best epoch  score  loss at the end  temperature
                        1       5           4     -1              0.4            2
                        2       5           5   -0.5              0.6          0.5
        """
    )


def test_a_regressor_that_went_on():
    reg = by_hand(
        SAMMLPRegressor,
        n_outputs=2,
        max_steps=100,
        attributes={
            "n_iter_": 2,
            "n_averaged_": 3,
            "_fitted_loss": Quantile(quantile=(0.1, 0.9)),
        },
        swa=True,
    )
    assert summary(reg) == text(
        """
    SAMMLPRegressor
      data         2 features, 2 outputs
      network      2-4-2 units, relu, identity outputs; 22 parameters, float64
      loss         Quantile(quantile=(0.1, 0.9))
      solver       'sam', base_solver='adam', learning_rate_init=0.001, batch_size='auto',
                   alpha=0.0001
      radius       rho=0.1, as given
      training     5 epochs, 2 of them in the last call (max_steps=100), 5,000 rows seen,
                   loss 0.5 at the end
      average      mean of the weights after each of 3 epochs
        """
    )


@pytest.mark.slow
def test_the_page_shows_what_its_code_prints(capsys):
    page = Path(__file__).parents[2] / "docs" / "looking-at-a-fit.md"
    after = page.read_text(encoding="utf-8").partition("## In words")[2]
    code, shown = re.findall(r"```(?:python|text)\n(.*?)```", after, re.DOTALL)[:2]
    exec(code, {})
    printed = capsys.readouterr().out
    assert words_of(shown) == words_of(printed)


def words_of(text):
    """Return a text with a # in the place of every number, and without its layout."""
    return re.sub(r"-?\d[\d.,e-]*", "#", text).split()


# -- fits ----------------------------------------------------------------------------------


def test_lbfgs_has_iterations_and_no_radius():
    clf = classifier(solver="lbfgs", max_iter=3).fit(X, y)
    expected = f"3 iterations (all of max_iter=3), loss {clf.loss_:.4g} at the end"
    assert line_of("training", clf) == expected
    assert line_of("solver", clf) == "'lbfgs', alpha=0.0001, max_fun=15000"
    assert line_of("radius", clf) is None
    assert line_of("kept", clf) is None


def test_the_last_fit_counts_and_not_the_solver_that_is_set_after_it():
    clf = classifier(solver="lbfgs", max_iter=3).fit(X, y)
    clf.set_params(solver="sam")
    assert line_of("training", clf).startswith("3 iterations")
    clf.fit(X, y).set_params(solver="lbfgs")
    assert line_of("training", clf).startswith("3 epochs")
    # scikit-learn leaves the curve of the earlier fit
    mlp = MLPClassifier((5,), max_iter=3).fit(X, y)
    mlp.set_params(solver="lbfgs", max_iter=2).fit(X, y)
    assert line_of("training", mlp).startswith("2 iterations")
    assert line_of("kept", mlp) is None


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"rho": [0, 0.1], "cv": 2},
        {"n_members": 2},
        {"snapshots": 2},
        {"solver": "adam", "early_stopping": True},
        {"scoring": "refined_loss", "early_stopping": True},
        {"scoring": "accuracy", "n_members": 2, "rho": [0, 0.1]},
        {"swa": True, "max_iter": 8},
        {"solver": "lbfgs"},
    ],
    ids=str,
)
def test_a_copy_and_a_file_have_the_same_summary(params, tmp_path):
    clf = classifier(**params).fit(X, y)
    expected = summary(clf)
    assert summary(pickle.loads(pickle.dumps(clf))) == expected
    sksharp.save(clf, tmp_path / "clf")
    assert summary(sksharp.load(tmp_path / "clf")) == expected
    assert max(map(len, expected.splitlines())) <= 88
    with pytest.raises(NotFittedError):
        summary(clone(clf))


def test_the_epoch_that_is_named_is_the_one_whose_weights_are_kept():
    clf = classifier(early_stopping=True, max_iter=20, learning_rate_init=0.2)
    clf.fit(X, y)
    best = int(np.argmax(clf.validation_scores_)) + 1
    assert best < 20
    assert line_of("kept", clf).startswith(f"the weights of epoch {best},")
    shorter = clone(clf).set_params(max_iter=best).fit(X, y)
    np.testing.assert_array_equal(shorter.coefs_[0], clf.coefs_[0])


def test_a_single_radius_of_a_list_is_no_choice():
    clf = classifier(rho=[0.2], n_members=2).fit(X, y)
    assert line_of("radius", clf) == "rho=0.2, the only one of the list"


def test_snapshots_are_those_of_one_training():
    clf = classifier(snapshots=2).fit(X, y)
    lines = summary(clf).splitlines()
    assert lines[-4].endswith("averaged; snapshots of one training")
    assert [line.split()[:2] for line in lines[-2:]] == [["1", "3"], ["2", "6"]]


def test_partial_fit_counts_all_epochs():
    clf = classifier(rho="auto").partial_fit(X, y, classes=[0, 1])
    clf.partial_fit(X, y)
    expected = "2 epochs, 1 of them in the last call (max_iter=6), 120 rows seen, loss"
    assert line_of("training", clf).startswith(expected)
    assert line_of("radius", clf) == "rho='auto', of which none is chosen yet"


def test_labels_classes_and_outputs_are_counted():
    both = classifier(max_iter=1).fit(X, np.c_[y, 1 - y])
    assert line_of("data", both) == "5 features, 2 labels"
    assert line_of("data", classifier(max_iter=1).fit(X, y)) == "5 features, 2 classes"
    reg = SAMMLPRegressor(**{**SMALL, "max_iter": 1}, rho=0.1)
    assert line_of("data", reg.fit(X, y.astype(float))) == "5 features, 1 output"
    reg.set_params(loss=Quantile(quantile=0.25)).fit(X, y.astype(float))
    assert line_of("loss", reg) == "Quantile(quantile=0.25)"


# -- where the networks are ----------------------------------------------------------------


def test_the_network_of_a_pipeline_or_of_a_transformed_target_is_found():
    pipe = make_pipeline(StandardScaler(), classifier()).fit(X, y)
    assert summary(pipe) == summary(pipe[-1])
    assert summary(FrozenEstimator(pipe)) == summary(pipe)
    A, b = make_regression(60, 5, random_state=0)
    network = SAMMLPRegressor(**SMALL, rho=0.1)
    target = TransformedTargetRegressor(network, transformer=StandardScaler())
    nested = make_pipeline(StandardScaler(), target).fit(A, b)
    assert summary(nested) == summary(nested[-1].regressor_)


def test_of_a_search_the_fitted_network_counts_and_not_the_one_it_began_with():
    template = classifier(rho=0.5).fit(X, y)
    search = GridSearchCV(template, {"rho": [0.1]}, cv=2).fit(X, y)
    assert summary(search) == summary(search.best_estimator_)


def test_several_networks_are_numbered():
    one, two = classifier(), classifier(rho=0)
    voting = VotingClassifier([("one", one), ("two", two)]).fit(X, y)
    first, second = voting.estimators_
    assert summary(voting) == f"1 of 2: {summary(first)}\n\n2 of 2: {summary(second)}"


@pytest.mark.parametrize(
    "not_fitted", [SAMMLPClassifier(), make_pipeline(classifier())]
)
def test_what_is_not_fitted_has_none(not_fitted):
    with pytest.raises(NotFittedError):
        summary(not_fitted)


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (LogisticRegression().fit(X, y), "LogisticRegression"),
        (SAMMLPClassifier, "SAMMLPClassifier"),
        (None, "NoneType"),
    ],
)
def test_what_holds_no_network_is_refused(other, name):
    with pytest.raises(TypeError, match=f"fitted, got {name} without one. Pass what"):
        summary(other)


def test_a_parameter_that_no_fit_takes_does_not_hide_the_fit():
    clf = classifier().fit(X, y).set_params(solver="sma", base_solver=None)
    assert line_of("training", clf).startswith("6 epochs")
    assert line_of("solver", clf).startswith("'sma', ")
