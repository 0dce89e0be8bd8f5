"""scikit-learn's callbacks: the tasks that they are told of."""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sksharp import (
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    load,
    progress,
    save,
)
from sksharp.options import SWA
from sksharp.options.solvers import SOLVERS
from sksharp.training import _loop

callback = pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9")

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

rng = np.random.RandomState(0)
X = rng.normal(size=(120, 3))
labels = np.array(["no", "yes"])[(X[:, 0] + rng.normal(size=120) > 0).astype(int)]
target = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=120)
weights = rng.uniform(0.5, 2.0, size=120)

SMALL = {
    "hidden_layer_sizes": (4,),
    "batch_size": 40,
    "learning_rate_init": 0.02,
    "max_iter": 5,
    "n_iter_no_change": 1000,
    "random_state": 0,
}


def make_classifier(**params):
    return SAMMLPClassifier(**{"rho": 0.1, **SMALL, **params})


def make_regressor(**params):
    return SAMMLPRegressor(**{"rho": 0.1, **SMALL, **params})


class Recorder:
    """Keeps what it is told: the event, and the place of its task in the tree."""

    def __init__(self):
        self.events, self.limits = [], {}

    def _record(self, event, context):
        path, names, limit = [], [], context.max_subtasks
        while context is not None:
            names.insert(0, context.task_name)
            path.insert(0, context.task_id)
            context = context.parent
        if limit != 0:
            self.limits["/".join(names)] = limit
        self.events.append((event, "/".join(names), tuple(path)))

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self._record("begin", context)

    def on_fit_task_end(self, estimator, context):
        self._record("end", context)

    def count(self, name):
        """Return how many tasks of a name have begun, and check that all ended."""
        counts = [
            sum(event[:2] == (kind, name) for event in self.events)
            for kind in ("begin", "end")
        ]
        assert counts[0] == counts[1]
        return counts[0]

    @property
    def names(self):
        return {event[1] for event in self.events if isinstance(event, tuple)}


class Propagated(Recorder):
    max_propagation_depth = None


class Keeper:
    """Keeps what the fitted estimator of every task predicts."""

    def __init__(self, predict):
        self.predict, self.begins, self.ends, self.models = predict, [], [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.begins.append(self.predict(fitted_estimator))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.ends.append(self.predict(fitted_estimator))
            self.models.append(fitted_estimator)


class Reaction(Recorder):
    """Does something at the n-th time of an event."""

    def __init__(self, event, name, n, react):
        super().__init__()
        self.event, self.name, self.left, self.react = event, name, n, react

    def _record(self, event, context):
        super()._record(event, context)
        if (event, context.task_name) == (self.event, self.name):
            self.left -= 1
            if not self.left:
                return self.react()
        return False

    def on_fit_task_end(self, estimator, context):
        return self._record("end", context)


class Propagating(Reaction):
    max_propagation_depth = None


def stop_after(n):
    return Reaction("end", "epoch", n, lambda: True)


class Failure(Exception):
    """What a callback raises."""


def fail():
    raise Failure


def assert_same_weights(model, expected):
    for name in ("coefs_", "intercepts_"):
        for array, other in zip(
            getattr(model, name), getattr(expected, name), strict=True
        ):
            assert_array_equal(array, other)


# -- tasks -----------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_epoch_is_a_task_of_the_fit(solver):
    recorder = Recorder()
    params = {} if SOLVERS[solver].chooses_length else {"rho": "auto"}
    make_classifier(solver=solver, **params).set_callbacks(recorder).fit(X, labels)
    expected = ["setup", ("begin", "fit", (0,))]
    for k in range(5):
        expected += [("begin", "fit/epoch", (0, k)), ("end", "fit/epoch", (0, k))]
    assert recorder.events == [*expected, ("end", "fit", (0,)), "teardown"]
    assert recorder.limits == {"fit": 5}


@pytest.mark.parametrize("given", [None, weights], ids=["alone", "weights"])
def test_a_task_is_told_the_data_of_its_fit(given):
    class Listener(Recorder):
        def on_fit_task_begin(self, estimator, context, *, X, y, metadata):
            told.append((X, y, metadata))

    told = []
    clf = make_classifier().set_callbacks(Listener()).fit(X, labels, given)
    assert len(told) == 1 + clf.n_iter_
    for rows, targets, metadata in told:
        assert rows is X
        assert targets is labels
        assert metadata == (None if given is None else {"sample_weight": given})


def test_a_fit_that_stops_early_ends_its_task_early():
    recorder = Recorder()
    regr = make_regressor(max_iter=300, tol=1.0, n_iter_no_change=2)
    regr.set_callbacks(recorder).fit(X, target)
    # no loss is better than the first by 1, and more than two are waited for
    assert recorder.count("fit/epoch") == regr.n_iter_ < 300
    assert recorder.limits == {"fit": 300}
    assert recorder.events[-2:] == [("end", "fit", (0,)), "teardown"]


def test_the_epochs_of_max_steps_are_the_limit():
    recorder = Recorder()
    make_regressor(max_steps=10).set_callbacks(recorder).fit(X, target)
    assert recorder.count("fit/epoch") == 4  # three steps an epoch
    assert recorder.limits == {"fit": 4}


def test_partial_fit_is_a_fit_of_one_epoch():
    recorder = Recorder()
    clf = make_classifier().set_callbacks(recorder)
    for _ in range(2):
        clf.partial_fit(X, labels, classes=["no", "yes"])
    epoch = [("begin", "fit/epoch", (0, 0)), ("end", "fit/epoch", (0, 0))]
    fit = [("begin", "fit", (0,)), *epoch, ("end", "fit", (0,))]
    assert recorder.events == ["setup", *fit, "teardown"] * 2


def test_partial_fit_that_fails_tells_the_callbacks_of_its_end():
    for model, y, params in (
        (make_classifier(), labels, {"classes": ["no", "yes"]}),
        (make_regressor(), target, {}),
    ):
        recorder = Reaction("end", "epoch", 1, fail)
        with pytest.raises(Failure):
            model.set_callbacks(recorder).partial_fit(X, y, **params)
        assert recorder.events[0] == "setup"
        assert recorder.events[-1] == "teardown"
        assert list(vars(model.set_callbacks())) == list(vars(type(model)()))


def test_lbfgs_is_one_task():
    recorder = Recorder()
    clf = SAMMLPClassifier((4,), solver="lbfgs", max_iter=5, random_state=0)
    clf.set_callbacks(recorder).fit(X, labels)
    fit = [("begin", "fit", (0,)), ("end", "fit", (0,))]
    assert recorder.events == ["setup", *fit, "teardown"]


def test_the_rungs_of_a_choice_are_tasks_with_the_epochs_of_their_networks():
    recorder = Recorder()
    # an epoch of fifteen steps, so that every epoch is looked at
    clf = make_classifier(rho=[0.1, 0.2], n_members=2, batch_size=4, max_iter=20)
    clf.set_callbacks(recorder).fit(X, labels)
    dropped, chosen = sorted(clf.rho_epochs_)
    assert (dropped, chosen) == (1, 20)  # after 5 %
    group = "fit/choose-rho/rung/train-group"
    epochs = [path for kind, name, path in recorder.events[1:-1] if kind == "begin"]
    assert recorder.count("fit/choose-rho/rung") == 2
    assert recorder.count(f"{group}/epoch") == chosen
    of_first = [path for path in epochs if len(path) == 5 and path[2] == 0]
    assert len(of_first) == dropped
    assert recorder.limits["fit"] == 1
    assert recorder.limits["fit/choose-rho"] == 3


def test_a_single_network_is_trained_after_the_choice():
    recorder = Recorder()
    clf = make_classifier(rho=[0.1], cv=3, max_iter=4)
    clf.set_callbacks(recorder).fit(X, labels)
    assert recorder.limits["fit"] == 2
    assert recorder.limits["fit/choose-rho"] == 1
    assert recorder.count("fit/fit-with-chosen-rho/epoch") == clf.n_iter_
    assert recorder.names == {
        "fit",
        "fit/choose-rho",
        "fit/choose-rho/rung",
        "fit/choose-rho/rung/train-group",
        "fit/choose-rho/rung/train-group/epoch",
        "fit/fit-with-chosen-rho",
        "fit/fit-with-chosen-rho/epoch",
    }


def test_a_single_network_that_is_judged_is_not_the_estimator():
    recorder, keeper = Recorder(), Keeper(lambda model: model is not None)
    split = [(np.arange(80), np.arange(80, 120))]
    clf = make_classifier(rho=[0.1], cv=split)
    clf.set_callbacks(recorder, keeper).fit(X, labels)
    assert recorder.count("fit/choose-rho/rung/train-group/epoch") == 5
    n_of_fit = recorder.count("fit/fit-with-chosen-rho/epoch")
    assert keeper.ends == [False] * 5 + [True] * n_of_fit


def test_members_are_a_group_with_epochs():
    recorder = Recorder()
    clf = make_classifier(n_members=3).set_callbacks(recorder).fit(X, labels)
    assert recorder.count("fit/train-group") == 1
    assert recorder.count("fit/train-group/epoch") == clf.n_iter_ == 5
    assert recorder.limits == {"fit": 1, "fit/train-group": 5}


def test_groups_that_others_train_are_tasks_without_epochs():
    recorder = Recorder()
    clf = make_classifier(n_members=4).set_callbacks(recorder)
    # threads are not told apart from processes
    with joblib.parallel_config(backend="threading", n_jobs=2):
        clf.fit(X, labels)
    assert recorder.names == {"fit", "fit/train-group"}
    assert recorder.count("fit/train-group") == recorder.limits["fit"] == 2


# -- the estimator as it would be ------------------------------------------------------


MONITORED = {
    "labels": (make_classifier, labels, "neg_log_loss"),
    "numbers": (make_regressor, target, "r2"),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", MONITORED)
def test_the_monitor_scores_as_fits_that_are_as_long(case, weighted):
    make, y, scoring = MONITORED[case]
    params = {"sample_weight": weights} if weighted else {}
    monitor = callback.ScoringMonitor(scoring=scoring)
    make().set_callbacks(monitor).fit(X, y, **params)
    rows = monitor.get_logs().data
    scorer = get_scorer(scoring)
    expected = [
        scorer(make(max_iter=k).fit(X, y, **params), X, y, **params)
        for k in range(1, 6)
    ]
    assert [row["task_id_path"] for row in rows] == [(0,), *((0, k) for k in range(5))]
    # the fit itself is that of the last epoch
    scores = [row[scoring] for row in rows]
    assert_allclose(scores, [expected[-1], *expected], rtol=1e-12)


def test_the_monitor_sees_named_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    monitor = callback.ScoringMonitor(scoring="accuracy")
    clf = make_classifier().set_callbacks(monitor).fit(frame, labels)
    assert monitor.get_logs().data[-1]["accuracy"] == clf.score(frame, labels)


OPTIONS = {
    "plain": {},
    "adam": {"solver": "adam", "rho": "auto"},
    "schedule-free": {"solver": "schedule_free", "rho": "auto"},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "averaging": {"swa": SWA(start=2)},
    "averaging or the best": {
        "swa": SWA(start=2),
        "early_stopping": True,
        "validation_fraction": 0.3,
    },
    "moving average": {"ema_decay": 0.9},
    "snapshots": {"snapshots": 2, "max_iter": 6},
    "chosen": {"rho": [0.1], "cv": 2},
    "cosine": {"learning_rate": "cosine"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_fitted_estimator_of_an_epoch_is_what_stopping_there_gives(options):
    keeper = Keeper(lambda model: None if model is None else model.predict_proba(X))
    told = make_classifier(**options).set_callbacks(keeper).fit(X, labels)
    fits = [model is not None for model in keeper.models]
    n_epochs = told.n_iter_
    assert fits[-n_epochs:] == [True] * n_epochs
    # nobody could predict while the radius was chosen
    assert not any(fits[:-n_epochs])
    for k in range(1, n_epochs):
        stop = Reaction("end", "epoch", len(fits) - n_epochs + k, lambda: True)
        stopped = make_classifier(**options).set_callbacks(stop).fit(X, labels)
        model = keeper.models[len(fits) - n_epochs + k - 1]
        assert_array_equal(
            keeper.ends[len(fits) - n_epochs + k - 1], stopped.predict_proba(X)
        )
        for name in ("n_iter_", "t_", "loss_", "loss_curve_", "validation_scores_"):
            assert getattr(model, name) == getattr(stopped, name), name
        assert_array_equal(model.predict_proba(X), stopped.predict_proba(X))
    assert_array_equal(keeper.ends[-1], told.predict_proba(X))


def test_an_epoch_begins_where_the_one_before_has_ended():
    keeper = Keeper(lambda model: model.predict(X))
    regr = make_regressor().set_callbacks(keeper).fit(X, target)
    assert_array_equal(keeper.begins[1:], keeper.ends[:-1])
    still = clone(regr).set_callbacks()
    still.set_params(solver="sgd", learning_rate_init=1e-300, max_iter=1)
    assert_array_equal(keeper.begins[0], still.fit(X, target).predict(X))


def test_no_weights_are_copied_for_callbacks_that_do_not_ask(monkeypatch):
    copies = []

    def counted(*args):
        copies.append(args)
        return unflatten(*args)

    unflatten = _loop.unflatten
    monkeypatch.setattr(_loop, "unflatten", counted)
    make_classifier().fit(X, labels)
    n_alone = len(copies)
    make_classifier().set_callbacks(Recorder()).fit(X, labels)
    assert len(copies) == 2 * n_alone


def test_weights_that_are_not_finite_are_no_estimator():
    keeper = Keeper(lambda model: model is not None)
    clf = make_classifier(solver="sgd", rho="auto", learning_rate_init=1e300)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite"):
        clf.set_callbacks(keeper).fit(X, labels)
    assert keeper.begins[0] is True
    assert keeper.ends[-1] is False


# -- what a callback can do to a fit ---------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_callbacks_that_only_listen_change_nothing(options):
    silent = make_classifier(**options).fit(X, labels, sample_weight=weights)
    told = make_classifier(**options)
    told.set_callbacks(Recorder(), Keeper(lambda model: model))
    told.fit(X, labels, sample_weight=weights)
    assert_array_equal(told.predict_proba(X), silent.predict_proba(X))
    assert told.loss_curve_ == silent.loss_curve_
    told.set_callbacks()
    assert list(vars(told)) == list(vars(silent))
    for model in getattr(told, "members_", []):
        assert "_skl_callbacks" not in vars(model)
        assert "_callback_fit_ctx" not in vars(model)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [1, 3])
def test_true_at_the_end_of_an_epoch_ends_the_fit_without_a_warning(n):
    recorder = stop_after(n)
    clf = make_classifier(max_iter=50).set_callbacks(recorder).fit(X, labels)
    assert clf.n_iter_ == recorder.count("fit/epoch") == n
    assert recorder.events[-2:] == [("end", "fit", (0,)), "teardown"]


def test_a_callback_ends_a_fit_that_a_bar_watches_too():
    recorder, file = stop_after(2), io.StringIO()
    with progress(delay=0, file=file):
        clf = make_classifier().set_callbacks(recorder).fit(X, labels)
    assert clf.n_iter_ == 2
    assert "2 of 2 epochs" in file.getvalue()


def test_a_stop_in_a_choice_ends_the_training_of_the_group():
    # the first rung is over after its second epoch, and so are its networks
    recorder = stop_after(2)
    clf = make_classifier(rho=[0.1, 0.2], n_members=2, batch_size=4, max_iter=120)
    clf.set_callbacks(recorder).fit(X, labels)
    assert_array_equal(clf.rho_epochs_, [2, 2])
    assert clf.n_iter_ == recorder.count("fit/choose-rho/rung/train-group/epoch") == 2


def test_a_stop_where_a_choice_pauses_is_a_stop():
    recorder = stop_after(3)
    clf = make_classifier(rho=[0.1, 0.2], n_members=2, batch_size=4, max_iter=120)
    clf.set_callbacks(recorder).fit(X, labels)
    assert_array_equal(clf.rho_epochs_, [3, 3])


PLACES = {
    "the begin": ("begin", "fit", 1),
    "the begin of an epoch": ("begin", "epoch", 2),
    "the end of an epoch": ("end", "epoch", 2),
    "the end": ("end", "fit", 1),
}


@pytest.mark.parametrize("is_fitted", [False, True])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_an_error_of_a_callback_leaves_the_estimator_as_it_was(place, is_fitted):
    clf = make_classifier()
    if is_fitted:
        clf.fit(X, labels)
    before = copy.deepcopy(vars(clf))
    recorder = Reaction(*place, fail)
    with pytest.raises(Failure):
        clf.set_callbacks(recorder).fit(-X, labels)
    assert recorder.events[0] == "setup"
    assert recorder.events[-1] == "teardown"
    clf.set_callbacks()
    assert list(vars(clf)) == list(before)
    assert_array_equal(is_fitted and clf.coefs_[0], is_fitted and before["coefs_"][0])
    assert_same_weights(clf.fit(X, labels), make_classifier().fit(X, labels))


def test_an_error_in_setup_is_torn_down():
    class Broken(Recorder):
        def setup(self, estimator, context):
            super().setup(estimator, context)
            raise Failure

    recorder = Broken()
    clf = make_classifier().set_callbacks(recorder)
    with pytest.raises(Failure):
        clf.fit(X, labels)
    assert recorder.events == ["setup", "teardown"]
    assert not [name for name in vars(clf) if "ctx" in name or "teardown" in name]


def test_an_interrupt_in_a_callback_is_that_of_the_user():
    def interrupt():
        raise KeyboardInterrupt

    recorder = Reaction("begin", "epoch", 4, interrupt)
    clf = make_classifier(max_iter=50).set_callbacks(recorder)
    with pytest.warns(UserWarning, match="interrupted by user"):
        clf.fit(X, labels)
    assert_same_weights(clf, make_classifier(max_iter=3).fit(X, labels))
    assert recorder.count("fit/epoch") == 4
    assert recorder.events[-2:] == [("end", "fit", (0,)), "teardown"]


def test_data_that_are_not_valid_begin_no_task():
    recorder = Recorder()
    with pytest.raises(ValueError, match="NaN"):
        make_classifier().set_callbacks(recorder).fit(X * np.nan, labels)
    assert recorder.events == []


# -- clones, pickles and files ---------------------------------------------------------


def test_callbacks_go_with_clones_and_pickles_and_are_no_parameters():
    recorder = Recorder()
    clf = make_classifier().set_callbacks(recorder).fit(X, labels)
    assert clf.get_params() == make_classifier().get_params()
    n_events = len(recorder.events)
    clone(clf).fit(X, labels)
    assert recorder.events == 2 * recorder.events[:n_events]
    stored = pickle.loads(pickle.dumps(clf))
    assert_array_equal(stored.predict_proba(X), clf.predict_proba(X))
    stored.fit(X, labels)
    assert len(recorder.events) == 2 * n_events


def test_a_saved_estimator_has_no_callbacks(tmp_path):
    clf = make_classifier().set_callbacks(Recorder()).fit(X, labels)
    save(clf, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    loaded.set_callbacks().fit(X, labels)


def test_each_kind_of_callback_has_its_own_place():
    with pytest.raises(TypeError, match="FitCallback protocol"):
        make_classifier().set_callbacks(Callback())
    clf = make_classifier(callbacks=[Recorder()])
    with pytest.raises(TypeError, match="set_callbacks"):
        clf.fit(X, labels)


def test_both_kinds_of_callbacks_see_the_same_fit():
    class Losses(Callback):
        def on_epoch_end(self, net, **kwargs):
            losses.append(net.history[-1, "train_loss"])

    losses, recorder = [], Recorder()
    clf = make_classifier(callbacks=[Losses()]).set_callbacks(recorder).fit(X, labels)
    assert losses == clf.loss_curve_
    assert recorder.count("fit/epoch") == 5


# -- inside pipelines and searches -----------------------------------------------------


def test_a_pipeline_passes_its_callbacks_to_the_epochs():
    recorder = Propagated()
    pipeline = make_pipeline(StandardScaler(), make_classifier())
    pipeline.set_callbacks(recorder).fit(X, labels)
    assert recorder.count("fit/fit/epoch") == 5
    assert not hasattr(pipeline[-1], "_skl_callbacks")


GRID = {"rho": [0.1, 0.2], "alpha": [0.1, 1.0]}


@pytest.mark.parametrize("search", [GridSearchCV, VectorizedGridSearchCV])
def test_a_monitor_inside_a_search_scores_every_fit(search):
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    network = make_classifier().set_callbacks(monitor)
    search(network, GRID, cv=2, refit=False).fit(X, labels)
    scores = {}
    for row in monitor.get_logs().data:
        if row["task_name"] == "epoch":
            scores.setdefault(row["parent_task_id_path"][-1], []).append(
                row["neg_log_loss"]
            )
    assert sorted(scores) == list(range(8))
    assert all(len(of_fit) == 5 for of_fit in scores.values())
    # the last candidate on the last fold
    *_, (train, _) = StratifiedKFold(2).split(X, labels)
    network = make_classifier(alpha=1.0, rho=0.2).fit(X[train], labels[train])
    expected = get_scorer("neg_log_loss")(network, X[train], labels[train])
    assert_allclose(scores[7][-1], expected, rtol=1e-12)


@pytest.mark.parametrize("kind", [Recorder, Propagated])
def test_the_common_training_of_a_search_is_a_task_with_groups(kind):
    recorder = kind()
    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=2)
    search.set_callbacks(recorder).fit(X, labels)
    (training,) = (name for name in recorder.names if name.endswith("train-networks"))
    assert recorder.count(training) == 1
    assert recorder.count(f"{training}/train-group") == recorder.limits[training] == 1
    assert recorder.count(f"{training}/train-group/epoch") == 5
    assert recorder.limits["fit"] == 3
    expected = GridSearchCV(make_classifier(), GRID, cv=2).fit(X, labels)
    for name in ("mean_test_score", "split0_test_score"):
        assert_array_equal(search.cv_results_[name], expected.cv_results_[name])
    if kind is Propagated:
        # the last fit trains by itself, the others find what was trained
        assert recorder.count("fit/fit/epoch") == 5
        assert recorder.count("fit/search/fit") == 8
        assert recorder.count("fit/search/fit/epoch") == 0


def test_what_is_fitted_to_look_at_a_candidate_is_not_told():
    recorder = Recorder()
    pipeline = make_pipeline(StandardScaler(), make_classifier())
    pipeline.set_callbacks(recorder)
    grid = {"sammlpclassifier__rho": [0.1, 0.2]}
    VectorizedGridSearchCV(pipeline, grid, cv=2).fit(X, labels)
    # two candidates on two splits, and the last fit
    assert recorder.events.count("setup") == 2 * 2 + 1


def test_a_search_in_parts_does_not_know_how_many_groups_come():
    recorder = Recorder()
    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=2, memory_budget=1)
    search.set_callbacks(recorder).fit(X, labels)
    (training,) = (name for name in recorder.names if name.endswith("train-networks"))
    assert recorder.count(training) == 1
    assert recorder.count(f"{training}/train-group") == 2
    assert recorder.limits[training] is None


def test_a_plain_search_of_another_estimator_has_no_task_more():
    recorder = Recorder()
    search = VectorizedGridSearchCV(StandardScaler(), {"with_std": [True]}, cv=2)
    search.set_params(scoring=lambda estimator, X, y: 0.0).set_callbacks(recorder)
    search.fit(X, labels)
    assert recorder.limits["fit"] == 2


def raise_value_error():
    raise ValueError("of the callback")


def test_an_error_in_the_common_training_is_not_taken_for_a_failed_fit():
    recorder = Reaction("end", "epoch", 2, raise_value_error)
    search = VectorizedGridSearchCV(make_classifier(), GRID, cv=2)
    with pytest.raises(ValueError, match="of the callback"):
        search.set_callbacks(recorder).fit(X, labels)
    assert recorder.events[-1] == "teardown"
    assert "_callback_fit_ctx" not in vars(search)


def test_scikit_learns_progress_bar_shows_a_fit(capsys):
    pytest.importorskip("rich")
    network = make_classifier(rho="auto", n_members=3)
    network.set_callbacks(callback.ProgressBar()).fit(X, labels)
    shown = capsys.readouterr().out
    assert "SAMMLPClassifier - fit" in shown
    assert "SAMMLPClassifier - choose-rho #0" in shown
