"""The losses of the regressor that scikit-learn's network does not have."""

import inspect

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import (
    d2_pinball_score,
    make_scorer,
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
)
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)
from skorch.callbacks import Callback

from sksharp import (
    LossCurveDisplay,
    LossLandscapeDisplay,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    robustness,
    sharpness,
    tabular_pipeline,
)
from sksharp.estimators._advice import loss_of_constant
from sksharp.estimators._outputs import ascending_
from sksharp.exceptions import ScalingWarning
from sksharp.options import AbsoluteError, Huber, Quantile
from sksharp.options.losses import LOSSES, RegressionLoss
from sksharp.training._losses import ascending, loss_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
N = 60
X = rng.normal(size=(N, 3))
y = X[:, 0] - 0.5 * X[:, 1] + rng.standard_t(2, size=N)
two = np.c_[y, y**2]
weights = rng.randint(1, 4, size=N)
LEVELS = (0.05, 0.3, 0.5, 0.95)
BAND = Quantile(quantile=LEVELS)
OF_ONE_OUTPUT = {
    "absolute_error": AbsoluteError(),
    "huber": Huber(delta=0.5),
    "quantile": Quantile(quantile=0.8),
}
ALL = {**OF_ONE_OUTPUT, "quantiles": BAND}
SMALL = {
    "hidden_layer_sizes": (5,),
    "max_iter": 6,
    "batch_size": 16,
    "rho": 0.1,
    "learning_rate_init": 0.01,
    "random_state": 0,
}


def make(loss, **params):
    return SAMMLPRegressor(**{**SMALL, "loss": clone(loss, safe=False), **params})


def mean_loss(loss, targets, y_pred):
    """Return the mean of a loss by its formula, and by scikit-learn's where it has it."""
    targets = targets.reshape(len(targets), -1)
    r = np.abs(y_pred.reshape(len(targets), -1) - targets)
    if isinstance(loss, AbsoluteError):
        return mean_absolute_error(targets, y_pred)
    if isinstance(loss, Huber):
        d = loss.delta
        return np.where(r <= d, r**2 / 2, d * (r - d / 2)).mean()
    columns = y_pred.reshape(len(targets), -1).T
    return np.mean(
        [
            mean_pinball_loss(targets[:, 0], column, alpha=level)
            for column, level in zip(columns, loss.levels, strict=True)
        ]
    )


# -- the formulas ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_numpy_torch_and_the_formula_agree(name):
    loss = ALL[name]
    n = len(loss.levels) or 2
    y_pred = np.sort(rng.normal(size=(N, n)), axis=1)
    targets = y[:, None].repeat(n, axis=1)
    engine = loss_of("ascending" if n > 2 else "identity", loss)

    in_torch = engine.row_losses(torch.tensor(y_pred), torch.tensor(targets))

    assert_allclose(in_torch, loss.losses(y_pred - targets).mean(axis=1), rtol=1e-12)
    assert_allclose(in_torch.mean(), mean_loss(loss, targets, y_pred), rtol=1e-12)


@pytest.mark.parametrize("loss", [Huber(delta=1e9), "squared_error"], ids=str)
def test_a_large_delta_is_the_squared_error(loss):
    fit, expected = make(loss).fit(X, two), make("squared_error").fit(X, two)
    assert_allclose(fit.loss_curve_, expected.loss_curve_, rtol=1e-12)
    assert_allclose(fit.coefs_[0], expected.coefs_[0], rtol=1e-12)


def test_a_small_delta_is_delta_times_the_absolute_error():
    delta = 1e-9
    gradients = []
    for loss in (Huber(delta=delta), AbsoluteError()):
        y_pred, targets = torch.tensor(X), torch.tensor(two)[:, :1]
        out = torch.empty_like(y_pred)
        gradients.append(loss_of("identity", loss).differentiate(y_pred, targets, out))
        values = loss.losses(X - two[:, :1])
        gradients.append(values)
    assert_allclose(gradients[0] / delta, gradients[2], rtol=1e-12)
    assert_allclose(gradients[1] / delta, gradients[3], atol=1e-8)


def test_the_loss_of_the_median_is_half_the_absolute_error():
    # plain gradient steps at half the rate, with half the penalty
    params = {"solver": "sgd", "momentum": 0.0, "n_iter_no_change": 100}
    fit = make("quantile", learning_rate_init=0.02, alpha=0.05, **params).fit(X, y)
    expected = make("absolute_error", alpha=0.1, **params).fit(X, y)
    assert_allclose(fit.coefs_[0], expected.coefs_[0], rtol=1e-12)
    assert_allclose(fit.loss_curve_, np.divide(expected.loss_curve_, 2), rtol=1e-12)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.85])
def test_a_constant_model_comes_to_the_empirical_quantile(level):
    # of 41 numbers, whose quantile is one of them
    values = np.sort(rng.normal(size=41))
    regr = SAMMLPRegressor(
        Quantile(quantile=level),
        hidden_layer_sizes=(),
        solver="sgd",
        learning_rate_init=0.3,
        learning_rate="cosine",
        max_iter=500,
        batch_size=41,
        tol=0,
        n_iter_no_change=500,
        random_state=0,
    )
    regr.fit(np.zeros((41, 1)), values)
    expected = values[int(np.ceil(level * 41)) - 1]
    assert_allclose(regr.predict([[0.0]]), expected, atol=1e-2)


def test_several_constants_come_to_the_empirical_quantiles():
    values = np.sort(rng.normal(size=41))
    regr = SAMMLPRegressor(
        BAND,
        hidden_layer_sizes=(),
        solver="sgd",
        learning_rate_init=0.3,
        learning_rate="cosine",
        max_iter=900,
        batch_size=41,
        tol=0,
        n_iter_no_change=900,
        random_state=0,
    )
    regr.fit(np.zeros((41, 1)), values)
    expected = [values[int(np.ceil(level * 41)) - 1] for level in LEVELS]
    assert_allclose(regr.predict([[0.0]])[0], expected, atol=0.03)


@pytest.mark.parametrize("w", [None, weights], ids=["rows", "weights"])
@pytest.mark.parametrize("name", ALL)
def test_no_constant_has_a_lower_loss_than_the_best_one(name, w):
    loss = ALL[name]
    targets = (
        y[:, None].repeat(len(loss.levels), axis=1) if name == "quantiles" else two
    )
    fit = make(loss, max_iter=1).fit(X, y if name == "quantiles" else two)
    at_best = loss_of_constant(fit, targets, w)

    shares = np.full(N, 1 / N) if w is None else w / w.sum()
    grids = [np.r_[column, np.linspace(-5, 5, 4001)] for column in targets.T]
    columns = zip(*np.broadcast_arrays(*grids), strict=True)
    by_grid = np.array([shares @ loss.losses(np.array(c) - targets) for c in columns])
    lowest = by_grid.min(axis=0).mean()
    assert at_best <= lowest + 1e-12
    assert_allclose(at_best, lowest, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_gradient_may_be_written_over_the_prediction(name):
    loss = ALL[name]
    n = len(loss.levels) or 2
    engine = loss_of("ascending" if name == "quantiles" else "identity", loss)
    y_pred = torch.tensor(np.sort(rng.normal(size=(2, N, n)), axis=-1))
    targets = torch.tensor(y)[:, None].expand(N, n)
    expected = engine.differentiate(y_pred, targets, torch.empty_like(y_pred))
    found = engine.differentiate(y_pred, targets, y_pred)
    assert found is y_pred
    assert_array_equal(found, expected)


# -- several quantiles -------------------------------------------------------------------


@pytest.mark.parametrize("n", range(2, 8))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outputs_ascend_whatever_the_last_layer_gives(n, dtype):
    z = (rng.normal(size=(500, n)) * 10.0 ** rng.uniform(-3, 3, (500, 1))).astype(dtype)
    in_torch = ascending(torch.tensor(z)).numpy()
    outputs = ascending_(z.copy())
    assert outputs.dtype == in_torch.dtype == dtype
    assert (np.diff(outputs, axis=1) >= 0).all()
    scale = np.abs(outputs).max(axis=1, keepdims=True)
    assert_allclose(in_torch / scale, outputs / scale, atol=4 * np.finfo(dtype).eps)
    middle = (n - 1) // 2
    assert_array_equal(outputs[:, middle], z[:, middle])
    if middle + 1 < n:
        step = np.log1p(np.exp(np.float64(z[:200:7, middle + 1]).clip(-30, 30)))
        is_plain = np.abs(z[:200:7, middle + 1]) < 30
        found = outputs[:200:7, middle + 1] - outputs[:200:7, middle]
        assert_allclose(found[is_plain], step[is_plain], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("params", [{}, {"n_members": 3}, {"snapshots": 2}], ids=str)
def test_quantiles_do_not_cross_for_any_weights(params, dtype):
    regr = make(BAND, **params).fit(X.astype(dtype), y)
    for network in getattr(regr, "members_", [regr]):
        for array in (*network.coefs_, *network.intercepts_):
            array += rng.normal(size=array.shape) * 10
    for scaler in (StandardScaler(), MinMaxScaler(), RobustScaler(), MaxAbsScaler()):
        scaler.fit(y[:, None] * 1e3)
        rows = (X * 10).astype(dtype)
        assert (np.diff(regr.predict(rows), axis=1) >= 0).all()
        assert (
            np.diff(scaler.inverse_transform(regr.predict(rows)), axis=1) >= 0
        ).all()


def test_a_list_of_one_level_is_that_level():
    one, expected = make(Quantile(quantile=[0.8])), make(Quantile(quantile=0.8))
    assert_array_equal(one.fit(X, y).predict(X), expected.fit(X, y).predict(X))
    assert_array_equal(one.quantiles_, [0.8])


def test_the_levels_of_a_fit_are_its_own():
    levels = [0.1, 0.9]
    regr = SAMMLPRegressor(Quantile(quantile=levels), **SMALL).fit(X, y)
    before = regr.predict(X), regr.score(X, y)
    levels[:] = [0.4, 0.5]
    regr.set_params(loss=Quantile(quantile=[0.2, 0.3, 0.4]))
    assert_array_equal(regr.quantiles_, [0.1, 0.9])
    assert_array_equal(regr.predict(X), before[0])
    assert regr.score(X, y) == before[1]
    regr.fit(X, y)
    assert regr.predict(X).shape == (N, 3)
    regr.set_params(loss="squared_error").fit(X, y)
    assert regr.predict(X).shape == (N,)
    assert regr.out_activation_ == "identity"
    assert not hasattr(regr, "quantiles_")


@pytest.mark.parametrize("name", ["absolute_error", "huber"])
def test_levels_are_those_of_quantiles_alone(name):
    regr = make(ALL[name]).fit(X, y)
    with pytest.raises(
        AttributeError, match="only set by a fit with the loss 'quantile'"
    ):
        _ = regr.quantiles_


# -- training ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_name_is_its_object_with_defaults(name):
    assert {"absolute_error", "huber", "quantile"} == LOSSES.keys()
    if name == "quantiles":
        return
    fit, expected = make(name).fit(X, y), make(LOSSES[name]()).fit(X, y)
    assert_array_equal(fit.predict(X), expected.predict(X))


def test_another_packages_word_for_an_option_is_understood():
    for cls, word, meant in (
        (Huber, "epsilon", "delta"),
        (Huber, "alpha", "delta"),
        (Quantile, "alpha", "quantile"),
        (Quantile, "quantiles", "quantile"),
    ):
        match = (
            rf"has no option '{word}', its options are \['{meant}'\].*mean '{meant}'"
        )
        with pytest.raises(TypeError, match=match):
            cls(**{word: 0.9})
    with pytest.raises(TypeError, match=r"Set it there: SAMMLPRegressor\(loss=Huber"):
        Huber(momentum=0.9)
    with pytest.raises(TypeError, match=r"by their names, \['quantile'\], got 0.9"):
        Quantile(0.9)


def test_the_options_of_a_name_can_be_set():
    regr = make("quantile").set_params(loss__quantile=0.25)
    assert regr.loss == Quantile(quantile=0.25)
    assert make("huber").set_params(loss__delta=2).loss == Huber(delta=2.0)
    with pytest.raises(ValueError, match="loss='poisson' has no options to set"):
        make("poisson").set_params(loss__delta=2)


@pytest.mark.parametrize("name", ALL)
def test_the_loss_of_an_epoch_is_the_mean_of_its_minibatches(name):
    loss = ALL[name]
    regr = make(
        loss,
        solver="sgd",
        learning_rate_init=1e-300,
        max_iter=1,
        shuffle=False,
        alpha=0,
    )
    targets = y if name in ("quantile", "quantiles") else two
    regr.fit(X, targets)
    expected = mean_loss(loss, targets, regr.predict(X))
    assert_allclose(regr.loss_curve_, [expected], rtol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_weights_are_repeated_rows(name):
    params = {"batch_size": N, "shuffle": False, "solver": "sgd", "momentum": 0.0}
    regr = make(ALL[name], **params).fit(X, y, sample_weight=weights)
    params["batch_size"] = int(weights.sum())
    rows = np.repeat(np.arange(N), weights)
    expected = make(ALL[name], **params).fit(X[rows], y[rows])
    assert_allclose(regr.coefs_[0], expected.coefs_[0], rtol=1e-9)
    assert_allclose(
        regr.score(X, y, weights), expected.score(X[rows], y[rows]), rtol=1e-9
    )


@pytest.mark.parametrize("name", OF_ONE_OUTPUT)
def test_the_outputs_of_a_linear_model_train_as_each_alone(name):
    params = {"hidden_layer_sizes": (), "solver": "sgd", "momentum": 0.0, "alpha": 0}
    both = make(ALL[name], **params, warm_start=True, max_iter=1).fit(X, two)
    starts = [both.coefs_[0].copy(), both.intercepts_[0].copy()]
    # a second call draws the same order of the rows as another one
    both.set_params(max_iter=3, shuffle=False).fit(X, two)
    assert both.predict(X).shape == two.shape
    for k in range(2):
        alone = make(ALL[name], **params, warm_start=True, max_iter=1)
        alone.fit(X, two[:, k])
        alone.coefs_ = [starts[0][:, [k]].copy()]
        alone.intercepts_ = [starts[1][[k]].copy()]
        alone.set_params(max_iter=3, shuffle=False).fit(X, two[:, k])
        assert_allclose(alone.coefs_[0][:, 0], both.coefs_[0][:, k], rtol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_sparse_rows_are_trained_as_dense_ones(name):
    rows = X * (X > 0)
    dense = make(ALL[name]).fit(rows, y)
    sparse = make(ALL[name]).fit(csr_array(rows), y)
    assert_allclose(dense.predict(rows), sparse.predict(csr_array(rows)), rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_single_precision_follows_double(name):
    params = {"solver": "sgd", "max_iter": 2}
    single = make(ALL[name], **params).fit(X.astype(np.float32), y)
    double = make(ALL[name], **params).fit(X, y)
    assert single.predict(X.astype(np.float32)).dtype == np.float32
    assert_allclose(single.predict(X.astype(np.float32)), double.predict(X), atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_members_train_together_as_in_processes_of_their_own(name, monkeypatch):
    together = make(ALL[name], n_members=3).fit(X, y)
    with monkeypatch.context() as patch:
        patch.setattr("sksharp.training._plan.group_size", lambda *args: 1)
        alone = make(ALL[name], n_members=3).fit(X, y)
    assert_allclose(together.predict(X), alone.predict(X), rtol=1e-9)
    assert_allclose(
        together.predict(X), np.mean([m.predict(X) for m in together.members_], axis=0)
    )
    held_out = together.oof_prediction_
    assert held_out.shape == together.predict(X).shape
    assert np.isfinite(held_out).all()


@pytest.mark.parametrize("name", ALL)
def test_a_warm_start_goes_on_and_keeps_the_loss(name):
    regr = make(ALL[name], warm_start=True, max_iter=3).fit(X, y).fit(X, y)
    for other in ("squared_error", "poisson", Huber(delta=0.6), Quantile(quantile=0.7)):
        before = regr.predict(X)
        regr.set_params(loss=other)
        with pytest.raises(ValueError, match=r"^loss must stay the same .* got loss="):
            regr.fit(X, np.abs(y))
        with pytest.raises(ValueError, match="loss must stay the same"):
            regr.partial_fit(X, np.abs(y))
        assert_array_equal(regr.predict(X), before)
    member = make(ALL[name], n_members=2).fit(X, y).members_[0]
    member.partial_fit(X, y)
    with pytest.raises(ValueError, match="loss must stay the same"):
        member.set_params(loss="squared_error").partial_fit(X, y)


@pytest.mark.parametrize("name", ["squared_error", "poisson"])
def test_a_warm_start_of_scikit_learns_losses_takes_no_other(name):
    regr = make(name, warm_start=True).fit(X, np.abs(y)).fit(X, np.abs(y))
    with pytest.raises(ValueError, match=f"got loss=Huber.* after '{name}' in the"):
        regr.set_params(loss="huber").fit(X, np.abs(y))


# -- held-out rows and scores ------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_early_stopping_judges_by_the_loss(name):
    loss, rows, held_out = ALL[name], slice(0, 40), slice(40, N)
    validation = {"X_val": X[held_out], "y_val": y[held_out]}
    by_default = make(loss, early_stopping=True).fit(X[rows], y[rows], **validation)
    by_loss = make(loss, early_stopping=True, scoring="loss")
    by_loss.fit(X[rows], y[rows], **validation)
    assert by_default.validation_scores_ == by_loss.validation_scores_
    assert_allclose(
        by_default.best_validation_score_,
        -mean_loss(loss, y[held_out], by_default.predict(X[held_out])),
        rtol=1e-10,
    )
    of_scorer = make(loss, early_stopping=True, scoring=scorer_of(loss))
    of_scorer.fit(X[rows], y[rows], **validation)
    assert_allclose(
        of_scorer.validation_scores_, by_loss.validation_scores_, rtol=1e-10
    )


def scorer_of(loss):
    return make_scorer(lambda y, y_pred: -mean_loss(loss, y, y_pred))


def test_early_stopping_of_scikit_learns_losses_judges_by_r2():
    regr = make("squared_error", early_stopping=True)
    regr.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    expected = r2_score(y[40:], regr.predict(X[40:]))
    assert_allclose(regr.best_validation_score_, expected)


@pytest.mark.parametrize("name", ALL)
def test_a_radius_is_chosen_by_the_loss_of_the_folds(name):
    rows, held_out = np.arange(40), np.arange(40, N)
    regr = make(ALL[name], rho=[0, 0.3], cv=[(rows, held_out)], max_iter=3)
    regr.fit(X, y)
    expected = mean_loss(ALL[name], y[held_out], regr.oof_prediction_[held_out])
    assert_allclose(regr.rho_losses_.min(), expected, rtol=1e-9)
    assert np.isnan(regr.oof_prediction_[rows]).all()


def test_a_scorer_sees_the_quantiles_of_the_epoch():
    seen = []

    def scorer(estimator, X, y):
        seen.append((estimator.predict(X).shape, estimator.quantiles_.tolist(), y.ndim))
        return estimator.score(X, y)

    regr = make(BAND, early_stopping=True, scoring=scorer, max_iter=2).fit(X, y)
    assert seen == [((6, 4), list(LEVELS), 1)] * 2
    assert len(regr.validation_scores_) == 2
    with pytest.raises(ValueError, match="scoring='r2' must give a finite number for"):
        make(BAND, early_stopping=True, scoring="r2").fit(X, y)


def test_a_splitter_sees_the_targets_of_the_user():
    class Splitter:
        def split(self, X, y, groups=None):
            assert_array_equal(y, targets)
            yield np.arange(40), np.arange(40, N)

        def get_n_splits(self, X=None, y=None, groups=None):
            return 1

    targets = y
    make(BAND, rho=[0, 0.1], cv=Splitter(), max_iter=2).fit(X, targets)


def test_callbacks_see_the_targets_of_the_user():
    seen = []

    class Seen(Callback):
        def on_epoch_end(self, net, dataset_train, **kwargs):
            seen.append((dataset_train.y, net.predict(X)))

    make(BAND, max_iter=1, callbacks=[Seen()]).fit(X, y)
    assert_array_equal(seen[0][0], y)
    assert seen[0][1].shape == (N, 4)


def test_the_score_of_quantiles_is_d2():
    regr = make(BAND).fit(X, y)
    columns = zip(regr.predict(X).T, LEVELS, strict=True)
    scores = [
        d2_pinball_score(y, column, sample_weight=weights, alpha=level)
        for column, level in columns
    ]
    assert_allclose(regr.score(X, y, sample_weight=weights), np.mean(scores))
    one = make(Quantile(quantile=0.8)).fit(X, two)
    expected = d2_pinball_score(two, one.predict(X), alpha=0.8)
    assert_allclose(one.score(X, two), expected)
    for name in ("absolute_error", "huber"):
        other = make(ALL[name]).fit(X, y)
        assert_allclose(other.score(X, y), r2_score(y, other.predict(X)))


# -- searches, targets that are transformed, and what looks at a fit -----------------------


def test_a_search_trains_each_loss_as_a_fit_of_its_own():
    grid = [
        {"loss": ["huber", "absolute_error"], "alpha": [0.1, 1.0]},
        {"loss": ["huber"], "loss__delta": [0.1, 10.0], "rho": [0.0, 0.2]},
        {"loss": [Quantile()], "loss__quantile": [0.2, 0.8]},
    ]
    found, expected = (
        Search(make("squared_error"), grid, cv=2, scoring="r2").fit(X, y)
        for Search in (VectorizedGridSearchCV, GridSearchCV)
    )
    key = "mean_test_score"
    assert_allclose(found.cv_results_[key], expected.cv_results_[key], rtol=1e-8)
    assert len(np.unique(expected.cv_results_[key].round(9))) == 10


def test_a_search_of_quantiles_scores_by_d2():
    grid = {"rho": [0.0, 0.2], "loss__quantile": [[0.1, 0.9], [0.1, 0.5, 0.9]]}
    found, expected = (
        Search(make("quantile"), grid, cv=2).fit(X, y)
        for Search in (VectorizedGridSearchCV, GridSearchCV)
    )
    key = "mean_test_score"
    assert_allclose(found.cv_results_[key], expected.cv_results_[key], rtol=1e-8)


@pytest.mark.parametrize("name", ["absolute_error", "quantile", "quantiles"])
def test_quantiles_move_with_the_target(name):
    scaled = (y - y.mean()) / y.std()
    model = TransformedTargetRegressor(make(ALL[name]), transformer=StandardScaler())
    model.fit(X, 1e3 * y + 7)
    expected = make(ALL[name]).fit(X, scaled).predict(X) * y.std() + y.mean()
    assert_allclose(model.predict(X), 1e3 * expected + 7, rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_a_table_in_one_line(name):
    target = 1e3 * y + 7
    model = tabular_pipeline(
        "regressor", loss=ALL[name], max_steps=20, n_members=2, random_state=0
    )
    model.fit(X, target, model__X_val=None)
    predictions = model.predict(X)
    assert predictions.shape == ((N, 4) if name == "quantiles" else (N,))
    if name == "quantiles":
        columns = zip(predictions.T, LEVELS, strict=True)
        expected = np.mean([d2_pinball_score(target, c, alpha=q) for c, q in columns])
    elif name == "quantile":
        expected = d2_pinball_score(target, predictions, alpha=0.8)
    else:
        expected = r2_score(target, predictions)
    assert_allclose(model.score(X, target), expected)


@pytest.mark.parametrize("name", ALL)
def test_a_target_to_scale_is_named(name):
    with pytest.warns(ScalingWarning, match="no better than a constant does"):
        make(ALL[name], max_iter=15).fit(X, 1e4 * y + 1e6)


@pytest.mark.parametrize("w", [None, weights], ids=["rows", "weights"])
@pytest.mark.parametrize("name", ALL)
def test_what_looks_at_a_fit_has_its_loss(name, w):
    loss = ALL[name]
    targets = two if name in ("absolute_error", "huber") else y
    regr = make(loss, alpha=0).fit(X, targets)
    rows = slice(None) if w is None else np.repeat(np.arange(N), w)
    expected = mean_loss(loss, targets[rows], regr.predict(X[rows]))
    found = sharpness(
        regr, X, targets, sample_weight=w, measure="average_case", random_state=0
    )
    assert_allclose(found.loss, expected, rtol=1e-10)
    measured = robustness(regr, X, targets, strengths=[0], sample_weight=w)
    if loss.levels:
        assert_allclose(measured.losses, expected, rtol=1e-10)
        assert (measured.loss_name, measured.score_name) == ("Pinball loss", "D²")
    else:
        assert (measured.loss_name, measured.score_name) == ("Squared error", "R²")


def test_quantiles_inside_of_pipelines_are_found():
    model = tabular_pipeline(make(BAND)).fit(X, y)
    measured = robustness(model, X, y, strengths=[0])
    assert measured.loss_name == "Pinball loss"
    assert_allclose(measured.losses, mean_loss(BAND, y, model.predict(X)))
    assert_allclose(measured.scores, model.score(X, y))


@pytest.mark.parametrize("name", ALL)
def test_second_derivatives_are_finite(name):
    for hidden in ((), (3,)):
        regr = make(ALL[name], hidden_layer_sizes=hidden).fit(X, y)
        for measure in ("trace", "top_eigenvalue"):
            found = sharpness(
                regr, X, y, measure=measure, max_iter=9, n_probes=4, random_state=0
            )
            assert np.isfinite(found.value)


def test_a_line_goes_through_networks_of_one_loss():
    first, second = (make(name).fit(X, y) for name in ("huber", "absolute_error"))
    match = r"same loss, got Huber\(\) and AbsoluteError\(\)"
    with pytest.raises(ValueError, match=match):
        LossLandscapeDisplay.from_estimators(first, second, X, y)


def test_the_curve_says_what_the_scores_are():
    plt = pytest.importorskip("matplotlib.pyplot")
    regr = make("huber", early_stopping=True).fit(X, y)
    display = LossCurveDisplay.from_estimator(regr)
    plt.close("all")
    assert display.score_name == "Minus loss of the left-out rows"


# -- the field's names -------------------------------------------------------------------


def test_the_names_are_those_of_scikit_learn():
    words = HistGradientBoostingRegressor._parameter_constraints["loss"][0].options
    assert {"absolute_error", "quantile"} <= words & LOSSES.keys()
    assert {*Quantile().get_params()} == {"quantile"}
    for cls in (HistGradientBoostingRegressor, QuantileRegressor):
        assert "quantile" in inspect.signature(cls).parameters
    default = inspect.signature(QuantileRegressor).parameters["quantile"].default
    assert Quantile().quantile == default
    assert all(issubclass(cls, RegressionLoss) for cls in LOSSES.values())
