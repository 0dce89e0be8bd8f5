"""The progress bar, and what ``verbose`` prints."""

import io
import itertools
import math
import pickle
import re
import sys
import threading
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils.fixes import parse_version
from skorch.callbacks import Callback

from sksharp import (
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    progress,
)
from sksharp.observers import _bar
from sksharp.observers._observers import Observers

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

rng = np.random.RandomState(0)
X = rng.normal(size=(120, 3))
labels = (X[:, 0] + rng.normal(size=120) > 0).astype(int)
target = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=120)

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


# four radii that are more than those of one rung, evaluated after every epoch
RACE = {"rho": [0.1, 0.2], "n_members": 3, "batch_size": 4, "max_iter": 20}


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self):
        return True


def everything(file):
    """Return a context that shows all that happens."""
    return progress(delay=0, mininterval=0, file=file)


LINE = re.compile(
    r"(?P<title>.*): (?P<n>\d+) of (?P<total>\d+) (?P<unit>network epochs|epochs)"
    r"(, (mean )?loss (?P<loss>[-\d.e+]+))?"
    r"(, best validation score (?P<score>[-\d.e+]+))?"
    r"(, (rho=(?P<ahead>[-\d.e+]+) ahead|folds) at (?P<at>[-\d.e+]+))?"
    r", (?P<seconds>[\d:]+)(, about (?P<left>[\d:]+) left)?"
)


def lines_of(file):
    return [LINE.fullmatch(line).groupdict() for line in file.getvalue().splitlines()]


# -- when nothing is shown -------------------------------------------------------------


def fit_all():
    make_classifier().fit(X, labels)
    make_regressor(rho=[0.1], cv=2).fit(X, target)
    VectorizedGridSearchCV(make_classifier(), {"rho": [0, 0.1]}, cv=2).fit(X, labels)


def test_nothing_is_shown_by_default(capfd):
    fit_all()
    assert capfd.readouterr() == ("", "")


def test_nothing_is_shown_of_fits_that_are_short(capfd):
    with progress(delay=1000):
        fit_all()
    assert capfd.readouterr() == ("", "")


def test_nothing_is_shown_outside(capfd):
    file = io.StringIO()
    with pytest.raises(RuntimeError, match="the user's"), everything(file):
        raise RuntimeError("the user's")
    make_classifier().fit(X, labels)
    assert file.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_the_innermost_context_says_where():
    outer, inner = io.StringIO(), io.StringIO()
    with everything(outer):
        with everything(inner):
            make_classifier().fit(X, labels)
        assert outer.getvalue() == ""
        make_regressor().fit(X, target)
    assert {line["title"] for line in lines_of(inner)} == {"SAMMLPClassifier"}
    assert {line["title"] for line in lines_of(outer)} == {"SAMMLPRegressor"}


def test_a_fit_in_another_thread_is_silent():
    file = io.StringIO()
    with everything(file):
        thread = threading.Thread(target=make_classifier().fit, args=(X, labels))
        thread.start()
        thread.join()
    assert file.getvalue() == ""


# -- lines of text ---------------------------------------------------------------------


def test_a_line_tells_the_epoch_and_the_loss():
    file = io.StringIO()
    with everything(file):
        regr = make_regressor().fit(X, target)
    first, *lines = lines_of(file)
    assert (first["n"], first["loss"], first["left"]) == ("0", None, None)
    assert [int(line["n"]) for line in lines] == [1, 2, 3, 4, 5]
    assert {(line["total"], line["unit"]) for line in lines} == {("5", "epochs")}
    losses = [float(line["loss"]) for line in lines]
    assert_allclose(losses, regr.loss_curve_, rtol=1e-3)
    assert {line["score"] for line in lines} == {None}


def test_a_line_tells_the_best_validation_score_so_far():
    file = io.StringIO()
    with everything(file):
        clf = make_classifier(
            early_stopping=True, validation_fraction=0.4, learning_rate_init=0.3
        ).fit(X, labels)
    _, *lines = lines_of(file)
    best = np.maximum.accumulate(clf.validation_scores_)
    assert len(set(clf.validation_scores_)) > 1
    assert_allclose([float(line["score"]) for line in lines], best, rtol=1e-3)


def test_the_last_line_of_a_fit_that_stops_early_is_complete():
    file = io.StringIO()
    with everything(file):
        regr = make_regressor(max_iter=300, tol=1.0, n_iter_no_change=2).fit(X, target)
    *_, before, last = lines_of(file)
    assert before["total"] == "300"
    assert int(last["n"]) == int(last["total"]) == regr.n_iter_ < 300


def set_clock(monkeypatch, minutes):
    """Let so much time pass whenever somebody looks."""
    looks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: round(60 * minutes) * next(looks))
    monkeypatch.setattr(_bar, "time", clock)


def test_the_time_left_is_that_of_the_epochs_left(monkeypatch):
    set_clock(monkeypatch, minutes=1)
    file = io.StringIO()
    with everything(file):
        make_classifier(max_iter=4).fit(X, labels)
    lines = lines_of(file)[1:]
    spent = [2, 3, 4, 5]
    assert [line["seconds"] for line in lines] == [f"0{s}:00" for s in spent]
    left = [spent[k - 1] / k * (4 - k) for k in (1, 2, 3)]
    assert left == [6, 3, 4 / 3]
    assert [line["left"] for line in lines] == ["06:00", "03:00", "01:20", None]


def test_the_first_line_comes_after_the_delay_and_others_now_and_then(monkeypatch):
    set_clock(monkeypatch, minutes=1 / 60)
    file = io.StringIO()
    with progress(delay=10, file=file):
        make_classifier(max_iter=30).fit(X, labels)
    # the training begins at 1, the first epoch ends at 3, the last at 32, all at 34
    times = [line["seconds"] for line in lines_of(file)]
    assert times == ["00:09", "00:19", "00:29", "00:33"]


def mean_score(clf):
    """Return the mean of the best scores of the members."""
    return np.mean([member.best_validation_score_ for member in clf.members_])


def test_the_choice_of_a_radius_is_shown_by_rungs():
    file = io.StringIO()
    with everything(file):
        clf = make_classifier(**RACE).fit(X, labels)
    lines = lines_of(file)
    first, *others = (
        f"SAMMLPClassifier, choosing rho, rung {rung} networks"
        for rung in ("1 of 3, 4", "2 of 3, group 1 of 2, 3", "2 of 3, group 2 of 2, 3")
    )
    titles = list(dict.fromkeys(line["title"] for line in lines))
    assert titles == [first, *others]
    of_first = [line for line in lines if line["title"] == first]
    # two folds for an epoch, then the third of the better radius too
    assert of_first[-1]["n"] == of_first[-1]["total"] == "4"
    assert lines[-1]["n"] == lines[-1]["total"] == str(2 * 19 + 20)
    assert {line["total"] for line in lines[len(of_first) :]} == {str(2 * 19 + 20)}
    for line in (of_first[-1], lines[-1]):
        assert line["unit"] == "network epochs"
        assert float(line["ahead"]) == clf.rho_
    assert_allclose(float(lines[-1]["at"]), -mean_score(clf), rtol=1e-3)


def test_the_race_is_told_by_the_scores_if_there_is_a_scorer():
    file = io.StringIO()
    with everything(file):
        clf = make_classifier(**RACE, scoring="accuracy").fit(X, labels)
    last = lines_of(file)[-1]
    assert float(last["ahead"]) == clf.rho_
    assert_allclose(float(last["at"]), mean_score(clf), rtol=1e-3)


@pytest.mark.parametrize(
    ("params", "choice"),
    [({"rho": [0.1]}, "rho"), ({"rho": "auto", "solver": "ranger"}, "length")],
    ids=str,
)
def test_the_training_after_a_choice_is_told_apart(params, choice):
    file = io.StringIO()
    with everything(file):
        make_classifier(**params, cv=2).fit(X, labels)
    titles = [line["title"] for line in lines_of(file)]
    assert list(dict.fromkeys(titles)) == [
        f"SAMMLPClassifier, choosing {choice}, rung 1 of 1, 2 networks",
        f"SAMMLPClassifier, training with the chosen {choice}",
    ]


def test_the_groups_of_a_search_are_counted():
    file = io.StringIO()
    # without an ascent a step is another one
    grid = {"rho": [0, 0.1], "alpha": [0.1, 1.0]}
    with everything(file):
        VectorizedGridSearchCV(make_classifier(), grid, cv=2, refit=False).fit(
            X, labels
        )
    lines = lines_of(file)
    titles = [f"VectorizedGridSearchCV, group {k} of 2, 8 networks" for k in (1, 2)]
    assert list(dict.fromkeys(line["title"] for line in lines)) == titles
    assert lines[-1]["n"] == lines[-1]["total"] == str(8 * 5)
    assert [int(line["n"]) for line in lines] == sorted(
        int(line["n"]) for line in lines
    )


def test_groups_that_others_train_are_told_when_they_are_done():
    file = io.StringIO()
    with joblib.parallel_config(backend="threading", n_jobs=2), everything(file):
        make_classifier(n_members=4).fit(X, labels)
    counts = [(line["n"], line["total"]) for line in lines_of(file)]
    assert counts == [("0", "20"), ("10", "20"), ("20", "20")]


@pytest.mark.parametrize(
    "options", [{}, RACE, {"swa": True, "early_stopping": True}], ids=str
)
def test_showing_changes_nothing(options):
    silent = make_classifier(**options).fit(X, labels)
    with everything(io.StringIO()):
        shown = make_classifier(**options).fit(X, labels)
    assert_array_equal(shown.predict_proba(X), silent.predict_proba(X))
    assert list(vars(shown)) == list(vars(silent))


def test_a_bar_stays_at_home_when_an_estimator_travels():
    observer = Observers(_bar.Bar("fit", _bar.Display(0, 0, sys.stderr)))
    assert observer
    assert not pickle.loads(pickle.dumps(observer))


# -- on a terminal and in a notebook ---------------------------------------------------


def shown_by(terminal):
    """Return what stands on the lines of a terminal in the end."""
    text = terminal.getvalue().replace("\x1b[A", "")
    return [line.split("\r")[-1].rstrip() for line in text.split("\n")]


def test_a_terminal_shows_one_line_that_ends_complete():
    terminal = Terminal()
    with everything(terminal):
        clf = make_classifier(max_iter=300, tol=1.0, n_iter_no_change=2).fit(X, labels)
    line, rest = shown_by(terminal)
    assert rest == ""
    assert line.startswith("SAMMLPClassifier: 100%|")
    assert f" {clf.n_iter_}/{clf.n_iter_} " in line
    assert f"loss {clf.loss_:.4g}" in line


class At(Callback):
    """Raises at the begin of an epoch."""

    def __init__(self, error, epoch):
        self.error, self.epoch = error, epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise self.error


class Failure(Exception):
    """What a callback raises."""


def test_an_error_leaves_a_whole_line():
    terminal = Terminal()
    clf = make_classifier(callbacks=[At(Failure(), 3)])
    with everything(terminal):
        with pytest.raises(Failure):
            clf.fit(X, labels)
        print("next", file=terminal)
    line, after, rest = shown_by(terminal)
    assert " 2/5 " in line
    assert (after, rest) == ("next", "")
    assert "_observer" not in vars(clf)


def test_an_interrupt_leaves_a_whole_line(monkeypatch):
    from sksharp.training._loop import Loop

    def interrupted(*args, **kwargs):
        epochs.append(args)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return train_epoch(*args, **kwargs)

    epochs, train_epoch = [], Loop.train_epoch
    monkeypatch.setattr(Loop, "train_epoch", interrupted)
    terminal = Terminal()
    with everything(terminal), pytest.warns(UserWarning, match="interrupted by user"):
        make_classifier().fit(X, labels)
    line, rest = shown_by(terminal)
    assert " 2/5 " in line
    assert rest == ""


def test_an_interrupt_in_a_race_leaves_a_whole_line(monkeypatch):
    from sksharp.training._loop import Loop

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "train_epoch", interrupted)
    terminal = Terminal()
    with everything(terminal), pytest.raises(KeyboardInterrupt):
        make_classifier(**RACE).fit(X, labels)
    assert shown_by(terminal)[-1] == ""
    assert len(shown_by(terminal)) == 2


def test_no_thread_outlives_a_fit():
    before = threading.enumerate()
    with everything(Terminal()):
        make_classifier().fit(X, labels)
    assert threading.enumerate() == before


def test_a_notebook_shows_the_bar_of_tqdm(monkeypatch):
    from tqdm import tqdm

    bars = []

    class NotebookBar(tqdm):
        def __init__(self, **kwargs):
            bars.append(self)
            super().__init__(**{**kwargs, "file": io.StringIO()})

    monkeypatch.setattr(_bar, "notebook_bar", lambda: NotebookBar)
    with progress(delay=0):
        clf = make_classifier().fit(X, labels)
    (bar,) = bars
    assert (bar.n, bar.total, bar.unit) == (5, 5, " epochs")
    assert bar.desc == "SAMMLPClassifier"
    assert bar.postfix == f"loss {clf.loss_:.4g}"
    assert bar.disable


def test_this_is_no_notebook():
    assert _bar.notebook_bar() is None


def test_a_program_without_an_error_stream_is_silent(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress(delay=0):
        clf = make_classifier().fit(X, labels)
    assert clf.n_iter_ == 5


class FullDisk(io.StringIO):
    """A file that has no room for more lines."""

    def __init__(self, n_lines):
        super().__init__()
        self.left = n_lines

    def write(self, text):
        if not self.left:
            raise OSError("No space left on device")
        self.left -= text.endswith("\n")
        return super().write(text)


def closed(file):
    file.close()
    return file


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (lambda: FullDisk(2), "No space left"),
        (lambda: closed(io.StringIO()), "closed file"),
    ],
    ids=["disk", "file"],
)
def test_a_fit_outlives_the_file_that_shows_it(file, message):
    expected = make_classifier().fit(X, labels)
    with everything(file()), pytest.warns(UserWarning, match=message) as told:
        clf = make_classifier().fit(X, labels)
    assert [warning.category for warning in told].count(UserWarning) == 1
    assert_array_equal(clf.predict_proba(X), expected.predict_proba(X))


INVALID = {
    "delay=-1": (ValueError, "delay must be a finite number of seconds, at least 0"),
    "delay=inf": (ValueError, "delay must be a finite"),
    "delay=nan": (ValueError, "delay must be a finite"),
    "delay='1'": (TypeError, "delay must be a number of seconds, got delay='1'"),
    "delay=None": (TypeError, "delay must be a number of seconds, got delay=None"),
    "delay=True": (TypeError, "delay must be a number of seconds, got delay=True"),
    "mininterval=-1": (ValueError, "mininterval must be a finite number of seconds"),
    "mininterval='1'": (TypeError, "mininterval must be a number of seconds"),
    "file='log.txt'": (TypeError, "file must be a file that is open for writing"),
}


@pytest.mark.parametrize("arguments", INVALID)
def test_arguments_are_checked(arguments):
    error, message = INVALID[arguments]
    names = {"inf": math.inf, "nan": math.nan}
    with (
        pytest.raises(error, match=message),
        eval(f"progress({arguments})", {"progress": progress, **names}),
    ):
        pass


# -- what verbose prints ---------------------------------------------------------------


def test_a_fit_prints_the_lines_of_scikit_learn(capsys):
    clf = make_classifier(verbose=True).fit(X, labels)
    assert capsys.readouterr().out.splitlines() == [
        f"Iteration {k}, loss = {loss:.8f}"
        for k, loss in enumerate(clf.loss_curve_, start=1)
    ]


def test_members_say_who_prints(capsys):
    clf = make_classifier(n_members=3, verbose=True).fit(X, labels)
    shown = capsys.readouterr().out.splitlines()
    for k, member in enumerate(clf.members_, start=1):
        of_member = [line for line in shown if line.startswith(f"[member {k}/3] ")]
        assert [line for line in of_member if "loss" in line] == [
            f"[member {k}/3] Iteration {n}, loss = {loss:.8f}"
            for n, loss in enumerate(member.loss_curve_, start=1)
        ]
    assert all(line.startswith("[member ") for line in shown)


def test_members_of_partial_fit_say_who_prints(capsys):
    make_regressor(n_members=2, verbose=True).partial_fit(X, target)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in shown] == [
        "[member 1/2] Iteration 1",
        "[member 2/2] Iteration 1",
    ]


def test_a_choice_says_which_radius_and_fold_prints(capsys):
    clf = make_classifier(verbose=True, **RACE).fit(X, labels)
    shown = capsys.readouterr().out.splitlines()
    plain = [line for line in shown if not line.startswith("[")]
    assert plain == [
        "Choosing rho, rung 1 of at most 3: 2 radii, 4 networks.",
        "Choosing rho, rung 2 of at most 3: 1 radius, 3 networks.",
        f"Chose rho={clf.rho_:g}.",
    ]
    for radius, epochs in zip(clf.rho_grid_, clf.rho_epochs_, strict=True):
        for k in (1, 2, 3):
            label = f"[rho={radius:g}, member {k}/3] Iteration "
            is_compared = radius == clf.rho_ or k < 3
            n_lines = sum(line.startswith(label) for line in shown)
            assert n_lines == epochs * is_compared


def test_the_training_after_a_choice_prints_the_lines_of_scikit_learn(capsys):
    clf = make_classifier(rho=[0.1], cv=2, verbose=True).fit(X, labels)
    shown = capsys.readouterr().out.splitlines()
    start = shown.index("Training a network on all rows.")
    assert shown[start - 1] == "Chose rho=0.1."
    assert all(line.startswith("[rho=0.1, fold ") for line in shown[1 : start - 1])
    assert shown[start + 1 :] == [
        f"Iteration {k}, loss = {loss:.8f}"
        for k, loss in enumerate(clf.loss_curve_, start=1)
    ]


def test_the_networks_of_a_search_say_who_prints(capsys):
    search = VectorizedGridSearchCV(
        make_classifier(verbose=True), {"rho": [0.1, 0.2]}, cv=2, refit=False
    )
    search.fit(X, labels)
    shown = capsys.readouterr().out.splitlines()
    for split in (1, 2):
        for candidate in (1, 2):
            label = f"[CV {split}/2; {candidate}/2] Iteration "
            assert sum(line.startswith(label) for line in shown) == 5
    assert len(shown) == 2 * 2 * 5


# -- older versions of scikit-learn ----------------------------------------------------


@pytest.mark.skipif(
    parse_version(sklearn.__version__) >= parse_version("1.9.dev0"),
    reason="scikit-learn has callbacks",
)
def test_without_callbacks_the_version_that_has_them_is_named():
    clf = make_classifier()
    assert not hasattr(clf, "set_callbacks")
    with pytest.raises(AttributeError, match=r"needs scikit-learn 1\.9 or newer, got"):
        clf.set_callbacks(object())
