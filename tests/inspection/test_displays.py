"""The displays hold the right arrays and draw them."""

import sys
import warnings
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksharp import (
    LossCurveDisplay,
    LossLandscapeDisplay,
    RhoCurveDisplay,
    RobustnessDisplay,
    SAMMLPClassifier,
    SAMMLPRegressor,
    SharpnessDisplay,
    VectorizedGridSearchCV,
    sharpness,
)
from sksharp._jobs import Weights
from sksharp.inspection._loss_landscape import random_direction
from sksharp.options import SWA

plt = pytest.importorskip("matplotlib.pyplot")
plt.switch_backend("Agg")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = make_classification(60, 5, n_informative=4, n_redundant=0, random_state=0)
SMALL = {"max_iter": 6, "hidden_layer_sizes": (5,), "batch_size": 20, "random_state": 0}


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def classifier(**params):
    return SAMMLPClassifier(**{**SMALL, **params}).fit(X, y)


# -- LossCurveDisplay ----------------------------------------------------------------------


@pytest.mark.parametrize("Estimator", [SAMMLPClassifier, MLPClassifier, MLPRegressor])
def test_the_curve_is_the_loss_of_every_epoch(Estimator):
    fitted = Estimator(max_iter=6, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(fitted, name="fit")
    (line,) = display.lines_
    assert_array_equal(line.get_xdata(), np.arange(1, 7))
    assert_array_equal(line.get_ydata(), fitted.loss_curve_)
    assert display.best_epochs_ == [None]
    assert display.ax_.figure is display.figure_
    assert [t.get_text() for t in display.ax_.get_legend().get_texts()] == ["fit"]


@pytest.mark.parametrize("Estimator", [SAMMLPClassifier, MLPClassifier])
def test_scores_are_those_of_the_epochs_and_the_best_is_marked(Estimator):
    fitted = Estimator(max_iter=8, early_stopping=True, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(fitted)
    (line,) = display.score_lines_
    assert_array_equal(line.get_xdata(), np.arange(1, len(fitted.loss_curve_) + 1))
    assert_array_equal(line.get_ydata(), fitted.validation_scores_)
    (best,) = display.best_epochs_
    assert best == np.argmax(fitted.validation_scores_) + 1
    mark = display.axes_[1].lines[1]
    assert mark.get_xydata().tolist() == [[best, fitted.best_validation_score_]]
    assert display.axes_[1].get_ylabel() == "Validation accuracy"


@pytest.mark.parametrize("n_fits", [1, 2])
def test_averaging_is_marked_where_it_began(n_fits):
    clf = SAMMLPClassifier(**SMALL, swa=SWA(start=4), warm_start=True)
    for _ in range(n_fits):
        clf.fit(X, y)
    display = LossCurveDisplay.from_estimators({"swa": clf, "sam": classifier()})
    start = 6 * (n_fits - 1) + 4
    assert display.averaging_starts == [start, None]
    assert [start, clf.loss_curve_[start - 1]] in [
        line.get_xydata().tolist()[0]
        for line in display.ax_.lines
        if len(line.get_xdata())
    ]


def test_averaging_is_marked_where_training_stalled():
    clf = classifier(swa=True, max_iter=200, learning_rate_init=0.1, tol=0.05)
    display = LossCurveDisplay.from_estimator(clf)
    (start,) = display.averaging_starts
    assert start == clf.n_iter_ - clf.n_averaged_
    assert start < 150


def test_the_networks_of_an_ensemble_have_a_curve_each():
    clf = classifier(n_members=3, max_iter=25)
    display = LossCurveDisplay.from_estimator(clf, name="sam")
    assert display.names == ["sam, member 1", "sam, member 2", "sam, member 3"]
    # 40 rows are two batches of 20: a score every 10 epochs, and after the last
    for member, line, scores in zip(
        clf.members_, display.lines_, display.score_lines_, strict=True
    ):
        assert_array_equal(line.get_ydata(), member.loss_curve_)
        assert_array_equal(scores.get_xdata(), [10, 20, 25])
        assert_array_equal(scores.get_ydata(), member.validation_scores_)
    assert display.axes_[1].get_ylabel() == "Minus loss of the left-out rows"


@pytest.mark.parametrize("n_fits", [1, 2])
def test_folds_of_any_size_are_looked_at_together(n_fits):
    # 40 and 20 rows are two batches and one: alone, a look every 10 and every 20 epochs
    rows = np.arange(60)
    cv = [(rows[:40], rows[40:]), (rows[40:], rows[:40])]
    clf = classifier(n_members=2, cv=cv, max_iter=25, warm_start=True)
    for _ in range(n_fits - 1):
        clf.fit(X, y)
    display = LossCurveDisplay.from_estimator(clf)
    for scores in display.score_lines_:
        assert_array_equal(scores.get_xdata(), 25 * (n_fits - 1) + np.array([20, 25]))


def test_one_axes_has_the_losses_alone():
    _, ax = plt.subplots()
    display = LossCurveDisplay.from_estimator(classifier(early_stopping=True), ax=ax)
    assert display.ax_ is ax
    assert display.score_lines_ == [None]
    _, axes = plt.subplots(2)
    display = LossCurveDisplay.from_estimator(classifier(early_stopping=True), ax=axes)
    assert display.score_lines_[0].axes is axes[1]


def test_first_scores_that_would_hide_the_others_are_left_out():
    rising = [0.1, 0.5, 0.90, 0.92, 0.91, 0.93, 0.94, 0.92, 0.93, 0.94]
    curve = np.linspace(1, 0.1, 10)
    display = LossCurveDisplay([curve], ["a"], validation_scores=[rising]).plot()
    low, high = display.axes_[1].get_ylim()
    assert 0.5 < low < min(rising[2:])  # the first fifth of the epochs
    assert high > max(rising)
    # a range that the others fill too stays as it is
    steady = [0.1, 0.5, *np.linspace(0.2, 0.9, 8)]
    display = LossCurveDisplay([curve], ["a"], validation_scores=[steady]).plot()
    assert display.axes_[1].get_ylim()[0] < 0.1
    flat = [0.1, *[0.9] * 9]
    display = LossCurveDisplay([curve], ["a"], validation_scores=[flat]).plot()
    low, high = display.axes_[1].get_ylim()
    assert 0.5 < low < 0.9 < high


def test_a_logarithmic_axis_has_plain_numbers():
    display = LossCurveDisplay([[2, 0.9, 0.3, 0.2]], ["a"]).plot(log_scale=True)
    display.figure_.canvas.draw()
    low, high = display.ax_.get_ylim()
    labels = [
        text.get_text()
        for text, at in zip(
            display.ax_.get_yticklabels(), display.ax_.get_yticks(), strict=True
        )
        if low <= at <= high
    ]
    assert labels == ["0.2", "0.5", "1", "2"]


@pytest.mark.parametrize(
    "display",
    [
        LossCurveDisplay([[2, 1]], ["a name of some length"]),
        RhoCurveDisplay([0, 0.1], [1, 2], std=[1, 1], chosen_rho=0.1),
        LossLandscapeDisplay(([0, 1],), [[1, 2], [3, 4]]),
    ],
    ids=lambda display: type(display).__name__,
)
def test_no_legend_hides_data(display):
    display.plot()
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    assert legend.x0 >= display.ax_.get_window_extent().x1
    assert legend.x1 <= display.figure_.bbox.x1


def test_one_set_of_rows_needs_no_legend():
    display = LossLandscapeDisplay(([0, 1],), [[1, 2]]).plot()
    assert display.ax_.get_legend() is None


def test_a_fit_without_a_curve_has_no_display():
    with pytest.raises(ValueError, match=r"must have a loss curve.*stochastic solver"):
        LossCurveDisplay.from_estimator(classifier(solver="lbfgs"))
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(SAMMLPClassifier())


# -- RhoCurveDisplay -----------------------------------------------------------------------

RHO = [0.5, 0, 0.1]


@pytest.mark.parametrize("Search", [GridSearchCV, VectorizedGridSearchCV])
@pytest.mark.parametrize("is_pipeline", [False, True])
def test_the_scores_of_a_search_are_sorted_by_the_radius(Search, is_pipeline):
    estimator, name = SAMMLPClassifier(**SMALL), "rho"
    if is_pipeline:
        estimator = make_pipeline(StandardScaler(), estimator)
        name = "sammlpclassifier__rho"
    search = Search(estimator, {name: RHO}, cv=3).fit(X, y)
    for source in (search, search.cv_results_):
        display = RhoCurveDisplay.from_cv_results(source)
        order = [1, 2, 0]
        assert_array_equal(display.rho, [0, 0.1, 0.5])
        mean = search.cv_results_["mean_test_score"]
        curve, baseline = display.lines_
        assert_array_equal(curve.get_xdata(), [0, 0.1, 0.5])
        assert_array_equal(curve.get_ydata(), mean[order])
        assert_array_equal(display.std, search.cv_results_["std_test_score"][order])
        assert_array_equal(baseline.get_ydata(), [mean[1]] * 2)
        assert display.chosen_rho == search.best_params_[name]


def test_what_belongs_to_a_radius_is_sorted_with_it():
    display = RhoCurveDisplay(
        [0.5, 0, 0.1], [3, 1, 2], std=[0.3, 0.1, 0.2], is_complete=[True, False, True]
    )
    assert_array_equal(display.rho, [0, 0.1, 0.5])
    assert_array_equal(display.scores, [1, 2, 3])
    assert_array_equal(display.std, [0.1, 0.2, 0.3])
    assert_array_equal(display.is_complete, [False, True, True])
    assert display.baseline is None  # which has not been trained to the end


def test_only_what_was_trained_to_the_end_is_joined_and_compared():
    full = np.array([True, False, True, True])
    values = {"std": [0.1, 0.2, 0.3, 0.4], "is_complete": full}
    display = RhoCurveDisplay([0, 0.1, 0.2, 0.5], [4, 9, 2, 3], **values).plot()
    line, baseline = display.lines_
    assert_array_equal(line.get_xdata(), [0, 0.2, 0.5])
    assert_array_equal(line.get_ydata(), [4, 2, 3])
    assert_array_equal(baseline.get_ydata(), [4, 4])
    (band,) = display.ax_.collections
    assert set(band.get_paths()[0].vertices[:, 0]) == {0, 0.2, 0.5}
    (alone,) = (m for m in display.ax_.lines if m.get_label() == "given up early")
    assert (alone.get_linestyle(), alone.get_markerfacecolor()) == ("None", "white")
    assert_array_equal(alone.get_xydata(), [[0.1, 9]])
    values["is_complete"] = ~full
    alone = RhoCurveDisplay([0, 0.1, 0.2, 0.5], [4, 9, 2, 3], **values).plot()
    assert len(alone.lines_) == 1
    names = [text.get_text() for text in alone.ax_.get_legend().get_texts()]
    assert "mean" not in names
    assert {"trained to the end", "given up early"} <= set(names)


def test_of_several_candidates_with_a_radius_the_best_counts():
    grid = {"rho": RHO, "alpha": [1e-4, 10]}
    search = GridSearchCV(
        SAMMLPClassifier(**SMALL),
        grid,
        cv=3,
        scoring=["accuracy", "neg_log_loss"],
        refit="neg_log_loss",
    ).fit(X, y)
    results = search.cv_results_
    losses = -results["mean_test_neg_log_loss"].reshape(2, 3)
    display = RhoCurveDisplay.from_cv_results(search, negate_score=True)
    assert_array_equal(display.scores, losses.min(axis=0)[[1, 2, 0]])
    assert display.score_name == "Minus neg_log_loss"
    other = RhoCurveDisplay.from_cv_results(search, scoring="accuracy", baseline=0.5)
    best = results["mean_test_accuracy"].reshape(2, 3).max(axis=0)
    assert_array_equal(other.scores, best[[1, 2, 0]])
    assert other.baseline == 0.5


def test_radii_that_were_given_up_are_told_from_the_others():
    clf = classifier(rho=[0, 0.1, 0.5, 1], max_iter=20, n_members=2)
    display = RhoCurveDisplay.from_estimator(clf)
    assert_array_equal(display.rho, clf.rho_grid_)
    assert_array_equal(display.scores, clf.rho_losses_)
    full = clf.rho_epochs_ == 20
    assert_array_equal(display.lines_[0].get_ydata(), clf.rho_losses_[full])
    assert display.chosen_rho == clf.rho_
    assert_array_equal(display.is_complete, clf.rho_epochs_ == 20)
    assert display.is_complete[clf.rho_grid_ == clf.rho_]
    assert display.baseline == (clf.rho_losses_[0] if full[0] else None)


def test_the_differences_are_drawn_with_their_errors():
    clf = classifier(rho=[0, 0.1, 0.5, 1], max_iter=20, n_members=2)
    display = RhoCurveDisplay.from_estimator(clf, kind="difference")
    assert_array_equal(display.scores, clf.rho_differences_)
    assert_array_equal(display.errors, clf.rho_standard_errors_)
    assert display.is_complete.all()
    (bars,) = display.ax_.collections
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert_allclose(ends.mean(axis=1), clf.rho_differences_, atol=1e-12)
    assert_allclose(np.ptp(ends, axis=1) / 2, clf.rho_standard_errors_, atol=1e-12)
    assert display.chosen_rho == clf.rho_
    assert display.best_rho == clf.rho_grid_[clf.rho_differences_ == 0]
    # which were not all compared at the same epoch
    points, lowest = display.lines_
    assert points.get_linestyle() == "None"
    assert_array_equal(lowest.get_ydata(), [0, 0])
    assert lowest.get_label() == "lowest loss"
    with pytest.raises(ValueError, match="kind must be 'loss' or 'difference'"):
        RhoCurveDisplay.from_estimator(clf, kind="score")
    scored = classifier(rho=[0, 0.1], cv=2, scoring="accuracy")
    with pytest.raises(ValueError, match="needs a radius that was chosen by a loss"):
        RhoCurveDisplay.from_estimator(scored, kind="difference")


def test_errors_are_sorted_and_the_best_is_marked_beside_the_chosen():
    values = {"errors": [0.3, 0.1, 0.2], "chosen_rho": 0.5}
    display = RhoCurveDisplay([0.5, 0, 0.1], [3, 1, 2], best_rho=0, **values).plot()
    assert_array_equal(display.errors, [0.1, 0.2, 0.3])
    marks = {line.get_label(): line.get_xydata() for line in display.ax_.lines}
    assert_array_equal(marks["chosen, rho=0.5"], [[0.5, 3]])
    assert_array_equal(marks["best when compared, rho=0"], [[0, 1]])
    same = RhoCurveDisplay([0.5, 0, 0.1], [3, 1, 2], best_rho=0.5, **values).plot()
    names = [text.get_text() for text in same.ax_.get_legend().get_texts()]
    assert not any("best" in name for name in names)


@pytest.mark.parametrize(
    "rho",
    [[0, 0.05, 0.1, 0.5], [0, 0.2], [0.1, 1], [0], [0, *np.geomspace(1e-3, 2, 40)]],
)
def test_zero_has_a_place_of_its_own_on_the_axis(rho):
    ax = RhoCurveDisplay(rho, np.arange(len(rho))).plot().ax_
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    assert low < min(rho)
    assert high > max(rho)
    places = ax.transAxes.inverted().transform(
        ax.transData.transform([(r, 0) for r in sorted(rho)])
    )[:, 0]
    assert (places > 0.01).all()
    if len(rho) < 10:
        assert (np.diff(places) > 0.05).all()
        assert [t.get_text() for t in ax.get_xticklabels()] == [f"{r:g}" for r in rho]
    boxes = [t.get_window_extent() for t in ax.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_a_radius_without_a_finite_loss_is_a_gap():
    display = RhoCurveDisplay([0, 1, 2], [0.5, 0.3, np.inf], chosen_rho=1).plot()
    assert_array_equal(display.lines_[0].get_ydata(), [0.5, 0.3, np.nan])


def test_what_is_not_a_search_over_rho_is_said_clearly():
    search = GridSearchCV(SAMMLPClassifier(**SMALL), {"alpha": [1, 2]}, cv=2).fit(X, y)
    with pytest.raises(ValueError, match=r"param must name.*\['alpha'\]"):
        RhoCurveDisplay.from_cv_results(search)
    display = RhoCurveDisplay.from_cv_results(search, param="alpha")
    assert_array_equal(display.rho, [1, 2])
    with pytest.raises(ValueError, match=r"scoring must be one of \['score'\]"):
        RhoCurveDisplay.from_cv_results(search, param="alpha", scoring="roc_auc")
    with pytest.raises(ValueError, match="Fit it with rho='auto'"):
        RhoCurveDisplay.from_estimator(classifier())
    pipeline = make_pipeline(StandardScaler(), classifier(rho="auto", cv=2)).fit(X, y)
    with pytest.raises(TypeError, match=r"got a Pipeline\. Pass its last step"):
        RhoCurveDisplay.from_estimator(pipeline)
    with pytest.raises(ValueError, match="draw a search with from_cv_results"):
        RhoCurveDisplay.from_estimator(search)


# -- LossLandscapeDisplay ------------------------------------------------------------------


def test_the_line_ends_at_the_losses_of_the_two_networks():
    first, second = classifier(), classifier(swa=SWA(start=2))
    display = LossLandscapeDisplay.from_estimators(
        first, second, X, y, X_test=X[:20], y_test=y[:20], t=[-1, 0, 0.5, 1]
    )
    assert display.losses.shape == (2, 4)
    for losses, rows in zip(display.losses, (slice(None), slice(20)), strict=True):
        ends = [sharpness(e, X[rows], y[rows]).loss for e in (first, second)]
        assert_allclose(losses[[1, 3]], ends, rtol=1e-12)
    for line, losses in zip(display.lines_, display.losses, strict=True):
        assert_array_equal(
            line.get_xydata(), np.column_stack([[-1, 0, 0.5, 1], losses])
        )


def test_the_loss_of_linear_regression_is_a_parabola_on_every_line():
    target = X @ np.arange(5.0)
    first, second = (
        SAMMLPRegressor(hidden_layer_sizes=(), max_iter=n, random_state=0).fit(
            X, target
        )
        for n in (1, 30)
    )
    t = np.linspace(-0.5, 1.5, 9)
    display = LossLandscapeDisplay.from_estimators(first, second, X, target, t=t)
    ends = [np.append(e.coefs_[0].ravel(), e.intercepts_[0]) for e in (first, second)]
    A = np.column_stack([X, np.ones(len(X))])
    expected = [
        ((A @ ((1 - s) * ends[0] + s * ends[1]) - target) ** 2).mean() / 2 for s in t
    ]
    assert_allclose(display.losses, [expected], rtol=1e-12)


def test_the_middle_of_the_plane_is_the_loss_of_the_network():
    clf = classifier()
    display = LossLandscapeDisplay.from_estimator(
        clf, X, y, X_test=X[:20], y_test=y[:20], n_points=3, extent=0.5
    )
    assert display.losses.shape == (2, 3, 3)
    assert_allclose(display.losses[0, 1, 1], sharpness(clf, X, y).loss, rtol=1e-12)
    assert_allclose(
        display.losses[1, 1, 1], sharpness(clf, X[:20], y[:20]).loss, rtol=1e-12
    )
    assert len(display.axes_) == len(display.contours_) == 2
    again = LossLandscapeDisplay.from_estimator(clf, X, y, n_points=3, extent=0.5)
    assert_array_equal(again.losses[0], display.losses[0])


def test_a_point_of_the_plane_is_the_loss_of_the_moved_network():
    clf = classifier()
    rng = np.random.RandomState(4)
    weights = Weights(clf.coefs_, clf.intercepts_)
    first, second = random_direction(weights, rng), random_direction(weights, rng)
    display = LossLandscapeDisplay.from_estimator(clf, X, y, n_points=3, random_state=4)
    # row: vertical coordinate 1, the second direction; column: horizontal -1, the first
    clf.coefs_ = [
        w - a + b for w, a, b in zip(clf.coefs_, first.coefs, second.coefs, strict=True)
    ]
    assert_allclose(display.losses[0, 2, 0], sharpness(clf, X, y).loss, rtol=1e-12)


def test_directions_have_the_norm_of_the_filters_and_leave_the_biases():
    clf = classifier(hidden_layer_sizes=(5, 3))
    direction = random_direction(
        Weights(clf.coefs_, clf.intercepts_), np.random.RandomState(0)
    )
    for coef, to in zip(clf.coefs_, direction.coefs, strict=True):
        assert_allclose(np.linalg.norm(to, axis=0), np.linalg.norm(coef, axis=0))
    assert all((to == 0).all() for to in direction.intercepts)


def test_the_plane_does_not_see_a_rescaling_of_relu_units():
    clf = MLPClassifier(**SMALL).fit(X, y)
    clf.intercepts_ = [np.zeros_like(b) for b in clf.intercepts_]
    options = {"n_points": 5, "extent": 1.0}
    before = LossLandscapeDisplay.from_estimator(clf, X, y, **options)
    clf.coefs_ = [clf.coefs_[0] * 7, clf.coefs_[1] / 7]
    after = LossLandscapeDisplay.from_estimator(clf, X, y, **options)
    assert_allclose(after.losses, before.losses, rtol=1e-10)


def test_losses_over_decades_are_drawn_on_a_logarithmic_scale():
    t = np.array([0.0, 1.0])
    assert LossLandscapeDisplay((t,), [[1, 1000]]).plot().ax_.get_yscale() == "log"
    assert LossLandscapeDisplay((t,), [[1, 2]]).plot().ax_.get_yscale() == "linear"
    # flat, and with a point that is not finite
    LossLandscapeDisplay((t, t), [[[1, 1], [1, 1]]]).plot()
    LossLandscapeDisplay((t, t), [[[1, np.inf], [1, 50]]]).plot()


def test_a_landscape_is_that_of_one_network_and_of_equal_layers():
    ensemble = classifier(n_members=2)
    with pytest.raises(ValueError, match="needs a single network, got 2 in members_"):
        LossLandscapeDisplay.from_estimator(ensemble, X, y)
    with pytest.raises(ValueError, match=r"same layers.*\(5, 5\).*\(5, 4\)"):
        LossLandscapeDisplay.from_estimators(
            classifier(), classifier(hidden_layer_sizes=(4,)), X, y
        )
    with pytest.raises(ValueError, match="same layers and activations"):
        LossLandscapeDisplay.from_estimators(
            classifier(), classifier(activation="tanh"), X, y
        )
    with pytest.raises(ValueError, match="The 'extent' parameter"):
        LossLandscapeDisplay.from_estimator(classifier(), X, y, extent=0)


# -- SharpnessDisplay ----------------------------------------------------------------------


def test_the_points_are_the_sharpness_of_the_estimators():
    fits = {"sam": classifier(), "adam": classifier(solver="adam")}
    measures = ["worst_case", "trace"]
    display = SharpnessDisplay.from_estimators(
        fits, X, y, measure=measures, rho=0.3, n_probes=5
    )
    for i, measure in enumerate(measures):
        found = [
            sharpness(one, X, y, measure=measure, rho=0.3, n_probes=5)
            for one in fits.values()
        ]
        assert_array_equal(display.lines_[i].get_xdata(), [one.value for one in found])
        errors = [one.standard_error or np.nan for one in found]
        assert_array_equal(display.standard_errors[i], errors)
    assert display.measures == ["worst case (rho=0.3)", "trace"]
    written = [float(text.get_text()) for text in display.ax_.texts]
    assert_allclose(written, display.values[0], rtol=0.05)
    labels = [t.get_text() for t in display.ax_.get_yticklabels()]
    assert labels == ["sam", "adam"]


def test_names_are_told_from_the_parameters_and_do_not_repeat():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = [SAMMLPClassifier(rho=rho, max_iter=2).fit(X, y) for rho in (0.1, 0.2)]
    display = SharpnessDisplay.from_estimators(fits, X, y, measure="trace", n_probes=2)
    assert display.names == [
        "SAMMLPClassifier(max_iter=2, rho=0.1)",
        "SAMMLPClassifier(max_iter=2, rho=0.2)",
    ]
    same = [classifier(), classifier()]
    display = SharpnessDisplay.from_estimators(same, X, y, measure="trace", n_probes=2)
    assert display.names == ["1: SAMMLPClassifier", "2: SAMMLPClassifier"]
    with pytest.raises(ValueError, match="names must be as many"):
        SharpnessDisplay.from_estimators(same, X, y, names=["a"])
    with pytest.raises(ValueError, match="names must be None for a dict"):
        SharpnessDisplay.from_estimators({"a": same[0]}, X, y, names=["b"])


# -- all of them ---------------------------------------------------------------------------

LINE = (np.array([0.0, 1.0]),)
DISPLAYS = {
    "loss curve": LossCurveDisplay([[2, 1]], ["a"]),
    "rho curve": RhoCurveDisplay([0, 1], [2, 1]),
    "line": LossLandscapeDisplay(LINE, [[2, 1]]),
    "plane": LossLandscapeDisplay(LINE * 2, [[[2, 1], [1, 2]]]),
    "robustness": RobustnessDisplay([0, 1], [[[2], [1]]], ["a"]),
    "sharpness": SharpnessDisplay([[1, 2]], ["a", "b"], ["trace"]),
}


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_display_draws_on_the_axes_that_it_is_given(name):
    figure, ax = plt.subplots()
    display = DISPLAYS[name]
    assert display.plot(ax) is display
    assert display.ax_ is ax
    assert display.figure_ is figure
    figure, axes = plt.subplots(1, 3)
    with pytest.raises(ValueError, match="ax must hold as many axes"):
        display.plot(axes)


@pytest.mark.parametrize("name", DISPLAYS)
def test_without_matplotlib_the_error_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"plot needs .*pip install matplotlib"):
        DISPLAYS[name].plot()


@pytest.mark.parametrize("nothing", [{}, []], ids=["dict", "list"])
def test_displays_of_no_estimators_are_refused_by_name(nothing):
    with pytest.raises(ValueError, match="estimators must hold at least one"):
        LossCurveDisplay.from_estimators(nothing)
    with pytest.raises(ValueError, match="estimators must hold at least one"):
        SharpnessDisplay.from_estimators(nothing, X, y)


def test_a_single_estimator_and_no_measure_are_refused_by_name():
    clf = classifier()
    with pytest.raises(TypeError, match="estimators must be a dict or a list"):
        SharpnessDisplay.from_estimators(clf, X, y)
    with pytest.raises(ValueError, match="measure must name at least one"):
        SharpnessDisplay.from_estimators([clf], X, y, measure=[])


def test_a_landscape_refuses_what_it_cannot_draw_by_name():
    clf = classifier()
    for t in (0.5, []):
        with pytest.raises(ValueError, match="t must be one-dimensional"):
            LossLandscapeDisplay.from_estimators(clf, clf, X, y, t=t)
    for name, rows in {"X_test": X, "y_test": y}.items():
        with pytest.raises(ValueError, match=f"given together, got {name} alone"):
            LossLandscapeDisplay.from_estimator(clf, X, y, n_points=2, **{name: rows})
    with pytest.raises(ValueError, match="losses must hold a finite number"):
        LossLandscapeDisplay(([0, 1],), [[np.nan, np.inf]]).plot()


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"linewidth": 3}, "linewidth", 3),
        ({"lw": 3}, "linewidth", 3),
        ({"c": "red"}, "color", "red"),
        ({"linestyle": ":"}, "linestyle", ":"),
        ({"markersize": 9}, "markersize", 9),
        ({"label": "mine"}, "label", "mine"),
        ({"zorder": 7}, "zorder", 7),
    ],
)
def test_all_displays_take_the_options_of_a_line_by_any_name(options, name, value):
    rho, curve = [0.0, 0.5, 1.0], [3.0, 1.0, 2.0]
    displays = [
        LossCurveDisplay([curve], ["a"]),
        RhoCurveDisplay(rho, curve),
        LossLandscapeDisplay((rho,), [curve]),
        SharpnessDisplay([[0.5]], ["a"], ["trace"]),
        RobustnessDisplay(rho, np.reshape(curve, (1, 3, 1)), ["a"]),
    ]
    for display in displays:
        (line, *_) = display.plot(**options).lines_
        assert plt.getp(line, name) == value, type(display).__name__
