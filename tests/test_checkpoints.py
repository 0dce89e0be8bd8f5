"""Trainings that were killed go on from their files, bit for bit."""

import contextlib
import dataclasses
import errno
import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

import sksharp
from sksharp import (
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    checkpoints,
    load,
    progress,
    save,
    tabular_pipeline,
)
from sksharp._jobs import Weights
from sksharp.checkpointing import _context, _saves
from sksharp.exceptions import CheckpointWarning
from sksharp.options import SWA, Snapshots
from sksharp.persistence._rules import CHAINS
from sksharp.storage import _archive, _files
from sksharp.training import _fit, _loop

from . import golden

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sksharp.exceptions.ScalingWarning"),
]

rng = np.random.RandomState(0)
X = rng.normal(size=(120, 3))
LABELS = (X[:, 0] + rng.normal(size=120) > 0).astype(int)
TARGET = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=120)
WEIGHTS = rng.uniform(0.5, 2, size=120)

SMALL = {
    "hidden_layer_sizes": (3,),
    "batch_size": 40,
    "learning_rate_init": 0.02,
    "max_iter": 5,
    "rho": 0.1,
    "random_state": 0,
}


def classifier(**params):
    return SAMMLPClassifier(**{**SMALL, **params})


def regressor(**params):
    return SAMMLPRegressor(**{**SMALL, **params})


class Killed(BaseException):
    """Takes the place of the end of a process."""


@pytest.fixture(autouse=True)
def saves_are_free(monkeypatch):
    monkeypatch.setattr(_saves, "SHARE", np.inf)


@pytest.fixture
def kill(monkeypatch):
    """Return a function that sets which save is the last of a process, 0 for none."""
    left, write = [0], _saves.GroupSave._write

    def killing(self, results):
        write(self, results)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(_saves.GroupSave, "_write", killing)
    return lambda n: left.__setitem__(0, n)


@pytest.fixture
def epochs(monkeypatch):
    """Return a list that grows by an entry for every epoch that is trained."""
    trained, train_epoch = [], _loop.Loop.train_epoch

    def counted(self, lrs):
        trained.append(len(self.networks.jobs))
        return train_epoch(self, lrs)

    monkeypatch.setattr(_loop.Loop, "train_epoch", counted)
    return trained


def network_of(model):
    for part in ("best_estimator_", "regressor_"):
        model = getattr(model, part, model)
    return network_of(model[-1]) if hasattr(model, "steps") else model


def content(model, tmp_path):
    """Return all that a fit has left, as bytes."""
    path = tmp_path / "content"
    save(network_of(model), path)
    scores = getattr(model, "cv_results_", {}).get("mean_test_score", np.zeros(0))
    return path.read_bytes() + scores.tobytes()


def fit_with_kills(model, fit, folder, kill, after=1):
    """Start a fit again until it ends; return it and how often it was killed."""
    n_kills = 0
    while True:
        kill(after)
        try:
            with checkpoints(folder, interval=0):
                return fit(model and clone(model)), n_kills
        except Killed:
            n_kills += 1
            assert n_kills < 100


def search_of(estimator, grid):
    return VectorizedGridSearchCV(estimator, grid, cv=2)


STOPS = {"early_stopping": True, "n_iter_no_change": 1, "tol": 1e-3, "max_iter": 9}
KINDS = {
    "single": (classifier(), LABELS),
    "average of a regressor": (regressor(swa=SWA(start=2)), TARGET),
    "early stopping": (regressor(**STOPS, ema_decay=0.5), TARGET),
    "snapshots": (classifier(snapshots=Snapshots(n=2, start=1)), LABELS),
    "dropout": (classifier(dropout=0.2), LABELS),
    "rows in their order": (regressor(shuffle=False, solver="ranger"), TARGET),
    "rho chosen": (classifier(rho="auto", max_iter=20), LABELS),
    "members": (regressor(n_members=3, solver="wsam"), TARGET),
    "members that choose": (classifier(n_members=2, rho=[0, 0.5]), LABELS),
    "one line": (tabular_pipeline(regressor(n_members=2)), TARGET),
    "search": (
        search_of(
            make_pipeline(StandardScaler(), classifier()),
            {
                "sammlpclassifier__rho": [0.0, 0.1, 0.2],
                "sammlpclassifier__max_iter": [2, 5],
            },
        ),
        LABELS,
    ),
    # of a group of several, one network is left
    "search that stops early": (
        search_of(regressor(**STOPS), {"learning_rate_init": [1e-3, 0.3]}),
        TARGET,
    ),
    "plain search": (GridSearchCV(classifier(), {"rho": [0, 0.1]}, cv=2), LABELS),
}


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_that_is_killed_ends_as_one_that_is_not(kind, after, kill, tmp_path):
    model, y = KINDS[kind]
    expected = content(clone(model).fit(X, y), tmp_path)
    folder = tmp_path / "folder"
    fitted, n_kills = fit_with_kills(
        model, lambda model: model.fit(X, y), folder, kill, after
    )
    assert n_kills
    assert content(fitted, tmp_path) == expected
    assert not folder.exists()


def test_weights_sparse_rows_and_rows_for_validation(kill, tmp_path):
    rows = sp.csr_matrix(np.where(np.abs(X) > 0.7, X, 0))
    model = classifier(early_stopping=True, scoring="neg_log_loss")

    def fit(model):
        return model.fit(
            rows, LABELS, WEIGHTS, X_val=X[:30], y_val=np.array(LABELS[:30])
        )

    expected = content(fit(clone(model)), tmp_path)
    fitted, n_kills = fit_with_kills(model, fit, tmp_path / "folder", kill)
    assert n_kills == 5
    assert content(fitted, tmp_path) == expected


def test_a_save_changes_nothing(tmp_path):
    for kind in ("rows in their order", "members", "search that stops early"):
        model, y = KINDS[kind]
        expected = content(clone(model).fit(X, y), tmp_path)
        with checkpoints(tmp_path / "folder", interval=0):
            assert content(clone(model).fit(X, y), tmp_path) == expected


def test_what_has_ended_is_not_trained_again(epochs, tmp_path):
    model, y = KINDS["rho chosen"]
    with contextlib.suppress(Killed), checkpoints(tmp_path, interval=60):
        expected = content(clone(model).fit(X, y), tmp_path)
        raise Killed
    assert epochs
    del epochs[:]
    with checkpoints(tmp_path, interval=60):
        assert content(clone(model).fit(X, y), tmp_path) == expected
    assert not epochs


def test_what_is_cheap_to_train_again_is_not_saved(monkeypatch, tmp_path):
    monkeypatch.setattr(_saves, "SHARE", 0.02)
    monkeypatch.setattr(_saves.GroupSave, "_write", None)
    with checkpoints(tmp_path, interval=0.001):
        classifier().fit(X, LABELS)


def test_saves_take_a_small_share_of_the_time(monkeypatch, tmp_path):
    # a clock at which an epoch takes a second and a save two
    clock, write = [0.0], _saves.GroupSave._content
    monkeypatch.setattr(_saves, "SHARE", 0.02)
    monkeypatch.setattr(_saves.time, "monotonic", lambda: clock[0])
    train_epoch = _loop.Loop.train_epoch
    times = []

    def train(self, lrs):
        clock[0] += 1
        return train_epoch(self, lrs)

    def slow(self, results):
        times.append(clock[0])
        clock[0] += 2
        return write(self, results)

    monkeypatch.setattr(_loop.Loop, "train_epoch", train)
    monkeypatch.setattr(_saves.GroupSave, "_content", slow)
    with checkpoints(tmp_path, interval=30):
        classifier(max_iter=250, n_iter_no_change=250).fit(X, LABELS)
    # after 30 s, then every 2 / 0.02 = 100 s, and not once more at the end
    assert times == [30, 132, 234]


def fit_and_end(fit, model, folder):
    """Fit, and end the process before the context ends."""
    with contextlib.suppress(Killed), checkpoints(folder, interval=0):
        fit(model)
        raise Killed


# -- what belongs to another training ------------------------------------------------------


def stopped(model, folder, kill, fit=None):
    """Fit until the second save."""
    kill(2)
    with contextlib.suppress(Killed), checkpoints(folder, interval=0):
        model.fit(X, LABELS) if fit is None else fit(model)
    kill(0)


def negative_brier(y, probabilities):
    return -np.mean((y - probabilities) ** 2)


OTHERS = {
    "X": (classifier(), {"X": X + 1e-12}, "X"),
    "y": (classifier(), {"y": 1 - LABELS}, "y"),
    "weights": (classifier(), {"sample_weight": WEIGHTS}, "sample_weight"),
    "random state": (classifier(random_state=1), {}, "random_state"),
    "a parameter": (classifier(rho=0.1000001), {}, "the parameters"),
    "length": (classifier(max_iter=6), {}, "the parameters"),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("case", OTHERS)
def test_another_training_is_noticed_and_begins_anew(case, kill, tmp_path):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    model, changes, name = OTHERS[case]
    data = {"X": X, "y": LABELS, **changes}
    expected = content(clone(model).fit(**data), tmp_path)
    (old,) = folder.glob("*/*")
    before = old.read_bytes()
    with (
        pytest.warns(CheckpointWarning, match=f"differs in (.* and )?{name}"),
        checkpoints(folder, interval=0),
    ):
        assert content(clone(model).fit(**data), tmp_path) == expected
    # it may go on another time
    assert old.read_bytes() == before
    with checkpoints(folder, interval=0):
        assert classifier().fit(X, LABELS).n_iter_ == 5
    assert not list(folder.glob("*/*"))


def test_another_scorer_and_another_splitter_are_other_trainings(
    epochs, kill, tmp_path
):
    folder = tmp_path / "folder"
    model = classifier(early_stopping=True, scoring="accuracy")
    stopped(model, folder, kill)
    for other in (
        "neg_log_loss",
        make_scorer(negative_brier, response_method="predict"),
    ):
        del epochs[:]
        with (
            pytest.warns(CheckpointWarning, match="differs in scoring"),
            checkpoints(folder, interval=0),
        ):
            clone(model).set_params(scoring=other).fit(X, LABELS)
        assert len(epochs) == 5
    search = VectorizedGridSearchCV(classifier(), {"rho": [0.1, 0.2]}, cv=2)
    stopped(search, folder, kill)
    with pytest.warns(CheckpointWarning), checkpoints(folder, interval=0):
        search.set_params(cv=3).fit(X, LABELS)


def test_another_version_is_another_training(epochs, kill, monkeypatch, tmp_path):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    monkeypatch.setattr(_saves, "__version__", "another")
    del epochs[:]
    with (
        pytest.warns(
            CheckpointWarning, match="differs in the versions of the packages"
        ),
        checkpoints(folder, interval=0),
    ):
        classifier().fit(X, LABELS)
    assert len(epochs) == 5


def test_what_is_printed_and_where_it_runs_do_not_count(epochs, kill, capsys, tmp_path):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    del epochs[:]
    with checkpoints(folder, interval=0):
        classifier(verbose=True, device="cpu").fit(X, LABELS)
    assert len(epochs) == 3
    assert "Iteration 3, loss" in capsys.readouterr().out


# -- files that are no good ----------------------------------------------------------------


def test_a_file_that_is_damaged_at_any_byte_is_told_and_trained_anew(
    epochs, kill, tmp_path
):
    folder = tmp_path / "folder"
    stopped(classifier(hidden_layer_sizes=(1,)), folder, kill)
    (path,) = folder.glob("*/*")
    whole = path.read_bytes()
    context = _context.Checkpoints(folder, 0)
    (save,) = saves_of(classifier(hidden_layer_sizes=(1,)), context)
    assert save.read() == whole
    for place in np.random.RandomState(0).randint(len(whole), size=300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        save.path.write_bytes(damaged)
        with pytest.warns(CheckpointWarning, match="it was damaged|not a complete"):
            assert save.read() is None
        context._told.clear()
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        save.path.write_bytes(whole[:size])
        with pytest.warns(CheckpointWarning, match=r"\.checkpoint' cannot be used"):
            assert save.read() is None
        context._told.clear()
    del epochs[:]
    with pytest.warns(CheckpointWarning, match="not a complete"):
        with checkpoints(folder, interval=0):
            classifier(hidden_layer_sizes=(1,)).fit(X, LABELS)
    assert len(epochs) == 5
    assert not list(folder.glob("*/*"))


def saves_of(model, context):
    """Return the saves of the trainings of a fit, which does not train."""
    found = []

    def collect(jobs, **kwargs):
        found.extend(_saves.open_saves(context, [jobs], {"torch": VERSION}))
        raise Killed

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr("sksharp.training.fit_models", collect)
        clone(model).fit(X, LABELS)
    return found


VERSION = _fit.torch.__version__


def change_first(results, **changes):
    return [dataclasses.replace(results[0], **changes)]


def with_state(results, **entries):
    state = results[0].optimizer_state
    (old,) = state.state_dict["state"].values()
    changed = {**state.state_dict, "state": {0: {**old, **entries}}}
    return change_first(
        results, optimizer_state=dataclasses.replace(state, state_dict=changed)
    )


def with_progress(results, **changes):
    return change_first(
        results, progress=dataclasses.replace(results[0].progress, **changes)
    )


def with_group(results, **entries):
    state = results[0].optimizer_state
    (group,) = state.state_dict["param_groups"]
    changed = {**state.state_dict, "param_groups": [{**group, **entries}]}
    return change_first(
        results, optimizer_state=dataclasses.replace(state, state_dict=changed)
    )


def file_of(results):
    encoder = _saves.ResultEncoder()
    tree = {"of": {}, "results": encoder.encode(results, "results")}
    manifest = _saves.FORMAT.manifest(tree, encoder.arrays)
    return _archive.pack(manifest, encoder.arrays)


FORGED = {
    "no results": lambda r: [],
    "two results": lambda r: [r[0], r[0]],
    "another record": lambda r: [r[0].weights],
    "other layers": lambda r: change_first(r, weights=Weights([], [])),
    "another dtype": lambda r: change_first(
        r,
        weights=Weights(
            [w.astype("f4") for w in r[0].weights.coefs],
            [w.astype("f4") for w in r[0].weights.intercepts],
        ),
    ),
    "rows that are not there": lambda r: change_first(r, rows=r[0].rows + 1),
    "a row twice": lambda r: change_first(r, rows=np.zeros_like(r[0].rows)),
    "no state": lambda r: change_first(r, optimizer_state=None),
    "a short mean": lambda r: with_state(r, mean=np.zeros(1)),
    "a step of -1": lambda r: with_state(r, step=-1),
    "an unknown entry": lambda r: with_state(r, other=np.zeros(16)),
    "a rate of none": lambda r: with_group(r, lr=None),
    "a rate that is true": lambda r: with_group(r, lr=True),
    "a radius of none": lambda r: with_group(r, rho=None),
    "a rate of no number": lambda r: with_group(r, lr="0.1"),
    "an infinite rate": lambda r: with_group(r, lr=np.inf),
    "parameters that are not there": lambda r: with_group(r, params=[5]),
    "too many epochs": lambda r: with_progress(r, n_iter=10**9),
    # would train for ever: its last epoch has passed
    "a pause after the last epoch": lambda r: with_progress(
        r, n_iter=5, loss_curve=[1.0] * 5
    ),
    "a best score": lambda r: with_progress(r, best_validation_score=0.5),
    "losses of other epochs": lambda r: with_progress(r, loss_curve=[]),
    "a loss of no number": lambda r: with_progress(r, loss_curve=["a", "b"]),
    "scores": lambda r: with_progress(r, validation_scores=[1.0]),
    "another generator": lambda r: change_first(
        r, random_state=np.random.RandomState(np.random.PCG64(0))
    ),
    "an unknown warning": lambda r: change_first(r, warnings=(("a", "SystemExit"),)),
    "an interrupt": lambda r: change_first(r, is_interrupted=True),
    "a snapshot of nothing": lambda r: change_first(r, snapshots=(r[0].weights,)),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_file_is_refused(case, kill, tmp_path):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    context = _context.Checkpoints(folder, 0)
    (save,) = saves_of(classifier(), context)
    (paused,) = save._results_of(save.read())
    save.path.write_bytes(file_of([paused]))
    assert save.read() is not None
    save.path.write_bytes(file_of(FORGED[case]([paused])))
    with pytest.warns(CheckpointWarning, match="training cannot reach"):
        assert save.read() is None


def test_other_files_are_refused(kill, tmp_path):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    (path,) = folder.glob("*/*")
    save(classifier().fit(X, LABELS), tmp_path / "model")
    manifest, arrays = _archive.unpack(io.BytesIO(path.read_bytes()), _saves.FORMAT)
    for content, match in [
        (pickle.dumps(1), "not a complete file of sksharp.checkpoints"),
        ((tmp_path / "model").read_bytes(), "not a file of sksharp.checkpoints"),
        (_archive.pack({**manifest, "format_version": 2}, arrays), "has version 2"),
    ]:
        path.write_bytes(content)
        with pytest.warns(CheckpointWarning, match=match):
            (save_,) = saves_of(classifier(), _context.Checkpoints(folder, 0))
        assert not save_.is_done
        path = save_.path if save_.path.exists() else path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder"])
def test_what_is_no_regular_file_is_refused(kind, kill, tmp_path):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    (path,) = folder.glob("*/*")
    path.unlink()
    {
        "a pipe": os.mkfifo,
        "a device": lambda path: path.symlink_to("/dev/null"),
        "a folder": os.mkdir,
    }[kind](path)
    for model in (classifier(), classifier(alpha=0.1)):
        match = "not a regular file" if model.alpha != 0.1 else "None of the 1 files"
        context = _context.Checkpoints(folder, 0)
        with pytest.warns(CheckpointWarning, match=match):
            [save._tell_of_others() for save in saves_of(model, context)]
        assert context.has_found


def test_a_huge_file_is_refused_before_it_is_read(kill, monkeypatch, tmp_path):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    (path,) = folder.glob("*/*")
    os.truncate(path, 2**41)  # of holes, it takes no room
    with pytest.warns(CheckpointWarning, match="not a complete file"):
        saves_of(classifier(), _context.Checkpoints(folder, 0))

    def lacks_memory(*args):
        raise MemoryError

    monkeypatch.setattr(_saves, "unpack", lacks_memory)
    monkeypatch.setattr(_saves, "check_digest", lambda *args: 0)
    os.truncate(path, 1)
    with pytest.warns(CheckpointWarning, match="does not fit into memory"):
        saves_of(classifier(), _context.Checkpoints(folder, 0))


# -- disks and folders ---------------------------------------------------------------------


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fails_later(function, n):
    """Return a function that fails from its n-th call on."""
    calls = [0]

    def failing(*args, **kwargs):
        calls[0] += 1
        return full() if calls[0] >= n else function(*args, **kwargs)

    return failing


TROUBLES = {
    "a full disk": (_files, "open", open),
    "a disk that takes nothing": (os, "fsync", os.fsync),
    "no move": (os, "replace", os.replace),
    "no folder": (_saves.Path, "mkdir", _saves.Path.mkdir),
}


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("case", TROUBLES)
def test_a_write_that_fails_is_told_once_and_the_fit_goes_on(
    case, n, monkeypatch, tmp_path
):
    folder = tmp_path / "folder"
    folder.mkdir()
    expected = content(classifier().fit(X, LABELS), tmp_path)
    place, name, function = TROUBLES[case]
    model = classifier()

    def fit(model):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fails_later(function, n), raising=False)
            model.fit(X, LABELS)

    with pytest.warns(CheckpointWarning, match="cannot write to .*No space") as warned:
        fit_and_end(fit, model, folder)
    assert sum(w.category is CheckpointWarning for w in warned) == 1
    assert content(model, tmp_path) == expected
    # what was written before is whole, and nothing else is there
    files = list(folder.glob("*/*"))
    assert len(files) == (n > 1 and case != "no folder") or case == "no folder"
    for path in files:
        _archive.unpack(io.BytesIO(path.read_bytes()), _saves.FORMAT)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_that_is_read_only_is_read(kill, tmp_path, epochs):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    del epochs[:]
    (own,) = folder.iterdir()
    own.chmod(0o500)
    folder.chmod(0o500)
    try:
        with pytest.warns(CheckpointWarning, match="cannot write"):
            with checkpoints(folder, interval=0):
                classifier().fit(X, LABELS)
    finally:
        folder.chmod(0o700)
        own.chmod(0o700)
    assert len(epochs) == 3


def test_two_at_once_in_one_folder_are_both_right(tmp_path):
    expected = content(classifier().fit(X, LABELS), tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()

    def fit(k):
        with checkpoints(folder, interval=0):
            return classifier().fit(X, LABELS)

    with warnings.catch_warnings():
        # one may end first, and remove the folder that the other is writing to
        warnings.simplefilter("ignore", CheckpointWarning)
        fitted = joblib.Parallel(4, backend="threading")(
            joblib.delayed(fit)(k) for k in range(8)
        )
    assert all(content(model, tmp_path) == expected for model in fitted)


def removed_before(monkeypatch, place, name):
    """Let another process remove a folder's files before each call of a function."""
    function = getattr(place, name)

    def called(path, *args):
        shutil.rmtree(path, ignore_errors=True)
        return function(path, *args)

    monkeypatch.setattr(place, name, called)


def test_another_process_may_remove_the_folder_at_any_time(monkeypatch, tmp_path):
    folder = tmp_path / "folder"
    with checkpoints(folder, interval=0):
        expected = content(classifier().fit(X, LABELS), tmp_path)
        removed_before(monkeypatch, _saves.Path, "glob")
        removed_before(monkeypatch, _saves.Path, "iterdir")
        assert content(classifier().fit(X, LABELS), tmp_path) == expected
    monkeypatch.setattr(_saves.Path, "glob", full)
    monkeypatch.setattr(_saves.Path, "iterdir", full)
    with checkpoints(folder, interval=0):
        assert content(classifier().fit(X, LABELS), tmp_path) == expected


def test_two_trainings_in_one_folder_leave_each_other_alone(kill, tmp_path):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    with pytest.warns(CheckpointWarning, match="differs in random_state"):
        stopped(classifier(random_state=1), folder, kill)
    (one, other) = folder.iterdir()
    with checkpoints(folder, interval=0):
        classifier().fit(X, LABELS)
    assert one.exists() != other.exists()


@pytest.mark.parametrize(
    ("folder", "interval", "error", "match"),
    [
        (3, 60, TypeError, "folder must be a path, got folder=3"),
        (
            "a",
            "60",
            TypeError,
            "interval must be a number of seconds, got interval='60'",
        ),
        ("a", True, TypeError, "got interval=True"),
        ("a", -1, ValueError, "at least 0, got interval=-1"),
        ("a", np.nan, ValueError, "finite number of seconds"),
        (__file__, 60, NotADirectoryError, "folder must be a folder, got the file"),
        (f"{__file__}/a", 60, NotADirectoryError, "folder cannot be made"),
    ],
)
def test_bad_input_is_named(folder, interval, error, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=match):
        with checkpoints(folder, interval=interval):
            pass
    assert not list(tmp_path.iterdir())


def test_files_of_others_stay(tmp_path):
    folder = tmp_path / "made" / "here"
    with checkpoints(folder, interval=0):
        (folder / "notes").write_text("mine")
        classifier().fit(X, LABELS)
    assert [path.name for path in folder.iterdir()] == ["notes"]


# -- what is kept, and what is not ---------------------------------------------------------


def test_what_cannot_be_kept_is_named_and_fitted(tmp_path):
    for model, match in [
        (classifier(random_state=None), "random_state must not be None"),
        (classifier(callbacks=[Callback()]), "the state of its callbacks"),
        (classifier(solver="lbfgs"), "the state of solver='lbfgs'"),
        (
            classifier(early_stopping=True, scoring=lambda e, X, y: 0.0),
            "its scorer cannot be told from another",
        ),
    ]:
        folder = tmp_path / "folder"
        with pytest.warns(CheckpointWarning, match=match):
            fit_and_end(lambda model: model.fit(X, LABELS), model, folder)
        assert not list(folder.iterdir())
    search = VectorizedGridSearchCV(
        classifier(random_state=None), {"rho": [0, 0.1]}, cv=2
    )
    with pytest.warns(CheckpointWarning, match="random_state"):
        fit_and_end(lambda model: model.fit(X, LABELS), search, folder)
    assert not list(folder.iterdir())


def test_a_stream_is_kept_by_save(tmp_path):
    parts = [slice(start, start + 20) for start in range(0, 120, 20)]
    whole = classifier(solver="ranger", batch_size=10)
    for part in parts:
        whole.partial_fit(X[part], LABELS[part], classes=[0, 1])
    path = tmp_path / "stream"
    for n_before_the_end in (1, 2, 3, 4):
        model = load(path) if path.exists() else clone(whole)
        n_done = len(getattr(model, "loss_curve_", []))
        with checkpoints(tmp_path / "folder", interval=0):
            for part in parts[n_done : n_done + n_before_the_end]:
                model.partial_fit(X[part], LABELS[part], classes=[0, 1])
                save(model, path)
    assert content(model, tmp_path) == content(whole, tmp_path)
    assert not (tmp_path / "folder").exists()


def test_what_was_interrupted_goes_on(monkeypatch, epochs, tmp_path):
    expected = content(classifier().fit(X, LABELS), tmp_path)
    folder = tmp_path / "folder"
    with monkeypatch.context() as patch:
        train_epoch = _loop.Loop.train_epoch

        def interrupted(self, lrs):
            if self.runs[0].progress.n_iter == 3:
                raise KeyboardInterrupt
            return train_epoch(self, lrs)

        patch.setattr(_loop.Loop, "train_epoch", interrupted)
        with pytest.warns(UserWarning, match="interrupted by user"):
            with checkpoints(folder, interval=0):
                assert classifier().fit(X, LABELS).n_iter_ == 3
        for model in (classifier(rho="auto"), classifier(n_members=2)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(KeyboardInterrupt):
                    with checkpoints(folder, interval=0):
                        model.fit(X, LABELS)
    assert len(list(folder.glob("*/*"))) == 3
    del epochs[:]
    with checkpoints(folder, interval=0):
        assert content(classifier().fit(X, LABELS), tmp_path) == expected
    assert len(epochs) == 2


def test_a_callback_of_scikit_learns_that_stops_a_fit_is_asked_again(
    epochs, monkeypatch, tmp_path
):
    class Stop:
        error = None

        def __getattr__(self, name):
            return lambda *args, **kwargs: False

        def end_epoch(self, result_now):
            return result_now().progress.n_iter == 3

    monkeypatch.setattr(
        "sksharp.observers._observers._bars", lambda estimator: [Stop()]
    )
    with contextlib.suppress(Killed), checkpoints(tmp_path, interval=0):
        classifier().fit(X, LABELS)
        raise Killed
    del epochs[:]
    with checkpoints(tmp_path, interval=0):
        assert classifier().fit(X, LABELS).n_iter_ == 3
    assert len(epochs) == 1


def test_progress_counts_the_epochs_that_are_left(kill, tmp_path):
    folder = tmp_path / "folder"
    stopped(classifier(), folder, kill)
    file = io.StringIO()
    with checkpoints(folder, interval=0), progress(delay=0, mininterval=0, file=file):
        classifier().fit(X, LABELS)
    assert "0 of 3 epochs" in file.getvalue()
    assert "3 of 3 epochs" in file.getvalue()


# -- other threads and processes -----------------------------------------------------------


def test_a_search_in_threads_is_kept(epochs, tmp_path):
    search = GridSearchCV(classifier(), {"rho": [0.0, 0.1]}, cv=2, n_jobs=2)
    folder = tmp_path / "folder"
    with joblib.parallel_config("threading"):
        with contextlib.suppress(Killed), checkpoints(folder, interval=60):
            search.fit(X, LABELS)
            raise Killed
        assert len(list(folder.glob("*/*"))) == 5
        del epochs[:]
        with checkpoints(folder, interval=60):
            search.fit(X, LABELS)
    assert not epochs
    assert not folder.exists()


def test_an_estimator_keeps_nothing_of_the_context(tmp_path):
    with checkpoints(tmp_path / "folder", interval=0):
        unfitted = clone(classifier())
        stored = pickle.dumps(unfitted)
        fitted = clone(classifier()).fit(X, LABELS)
    assert not vars(fitted).get("_checkpoints")
    assert "checkpoint" not in repr(unfitted)
    unfitted.fit(X, LABELS)  # of a context that is over
    pickle.loads(stored).fit(X, LABELS)  # which a pickle has not heard of
    assert not (tmp_path / "folder").exists()
    save(clone(unfitted), tmp_path / "model")


@pytest.mark.parametrize("where", ["the file", "the move"])
def test_a_kill_while_the_disk_is_measured_leaves_nothing(tmp_path, monkeypatch, where):
    folder = tmp_path / "folder"

    def killed(*args):
        raise Killed

    with monkeypatch.context() as patch:
        if where == "the move":
            patch.setattr("os.replace", killed)
            patch.setattr("os.unlink", killed)
        else:
            patch.setattr("pathlib.Path.unlink", killed)
        with pytest.raises(Killed), checkpoints(folder):
            pass
    (left,) = folder.iterdir()
    mine = folder / "mine.measured"
    mine.write_bytes(b"")
    with checkpoints(folder, interval=0):
        classifier().fit(X, LABELS)
    assert [*folder.iterdir()] == [mine]
    assert left != mine


@pytest.mark.slow
def test_processes_save_to_the_folder(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    model = classifier(
        n_members=2, hidden_layer_sizes=(40,), max_iter=300, batch_size=2
    )
    search = GridSearchCV(model.set_params(n_members=1), {"rho": [0, 0.1]}, cv=2)
    for fit in (
        lambda: classifier(n_members=3, n_jobs=2).fit(X, LABELS),
        lambda: search.set_params(n_jobs=2).fit(X, LABELS),
    ):
        expected = content(fit(), tmp_path)
        with contextlib.suppress(Killed), checkpoints(folder, interval=0):
            fit()
            raise Killed
        with checkpoints(folder, interval=0):
            assert content(fit(), tmp_path) == expected
        assert not folder.exists()


SCRIPT = """
import sys
import numpy as np
import sksharp
from sksharp.checkpointing import _saves

_saves.SHARE = np.inf
rng = np.random.RandomState(0)
X = rng.normal(size=(200, 5))
y = X @ rng.normal(size=5)
regr = sksharp.SAMMLPRegressor(
    hidden_layer_sizes=(20,), batch_size=10, max_iter=400, n_members=3, random_state=0
)
print("ready", flush=True)
with sksharp.checkpoints(sys.argv[1], interval=0.01):
    regr.fit(X, y)
sksharp.save(regr, sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9")
def test_a_process_that_is_killed_goes_on(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    folder, results = tmp_path / "folder", []
    for n_kills in (0, 3):
        for k in range(n_kills + 1):
            path = tmp_path / f"model {n_kills}"
            command = [sys.executable, "-W", "ignore", script, folder, path]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                process.stdout.readline()
                if k < n_kills:
                    end = time.monotonic() + 60
                    while not list(folder.glob("*/*")) and time.monotonic() < end:
                        time.sleep(0.01)
                    process.kill()
            assert process.returncode == (-signal.SIGKILL if k < n_kills else 0)
        results.append(path.read_bytes())
        assert not folder.exists()
    assert results[0] == results[1]


def test_the_package_says_where_it_is():
    assert sksharp.checkpoints is checkpoints


def test_the_last_network_of_a_group_keeps_the_axis_of_models(monkeypatch, tmp_path):
    shapes, train_epoch = [], _loop.Loop.train_epoch

    def noted(self, lrs):
        shapes.append(self.networks.model_shape)
        if len(shapes) == 4:
            raise Killed
        return train_epoch(self, lrs)

    monkeypatch.setattr(_loop.Loop, "train_epoch", noted)
    splits = [(np.arange(60), np.arange(60, 120))]
    search = VectorizedGridSearchCV(
        classifier(), {"max_iter": [2, 6]}, cv=splits, refit=False
    )
    for _ in range(2):
        with contextlib.suppress(Killed), checkpoints(tmp_path, interval=0):
            search.fit(X, LABELS)
    # two networks, the one that is left, and that one after the kill
    assert shapes == [(2,)] * 2 + [(1,)] * 2 + [(1,)] * 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_solver_over_every_base_goes_on(kill, tmp_path):
    chains = [(name, base) for name, *base in CHAINS if name != "lbfgs"]
    assert len(chains) > 50
    for name, base in chains:
        params = {"base_solver": base[0]} if base else {}
        model = classifier(solver=name, max_iter=3, **params)
        expected = content(clone(model).fit(X[:60], LABELS[:60]), tmp_path)
        fitted, n_kills = fit_with_kills(
            model,
            lambda model: model.fit(X[:60], LABELS[:60]),
            tmp_path / "folder",
            kill,
        )
        assert n_kills == 3, (name, base)
        assert content(fitted, tmp_path) == expected, (name, base)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", golden.FITS)
def test_every_fit_of_the_record_goes_on(name, kill, tmp_path):
    make = golden.FITS[name]
    expected = golden.values_of(make())
    fitted, _ = fit_with_kills(None, lambda _: make(), tmp_path / "folder", kill)
    found = golden.values_of(fitted)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)
