"""Kill fits at random points, let them go on, and compare them with fits left alone.

    python tests/kills.py --kills 200                 every kind
    python tests/kills.py --kills 20 --kinds members  one of them

A fit is a process that saves as often as it can. It is killed (SIGKILL) at a random time,
started again, and so on; when it comes to its end before that, the whole of what it has
left is compared bit for bit with that of a fit that was never killed. Not for Windows.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np

import sksharp
from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV
from sksharp.checkpointing import _saves

rng = np.random.RandomState(0)
X = rng.normal(size=(200, 8))
LABELS = (X[:, 0] * X[:, 1] + rng.normal(size=200) > 0).astype(int)
TARGET = X @ rng.normal(size=8) + rng.normal(size=200)

SMALL = {"hidden_layer_sizes": (16,), "max_iter": 30, "random_state": 0}


def rho_chosen(folder):
    return SAMMLPClassifier(**SMALL).fit(X, LABELS)


def members(folder):
    model = SAMMLPRegressor(**SMALL, rho=0.1, n_members=5, n_jobs=2)
    with joblib.parallel_config("multiprocessing"):
        return model.fit(X, TARGET)


def members_of_loky(folder):
    return SAMMLPRegressor(**SMALL, rho=0.1, n_members=5, n_jobs=2).fit(X, TARGET)


def search(folder):
    grid = {"rho": np.linspace(0, 1, 10), "alpha": [1e-4, 1e-2, 1, 10]}
    network = SAMMLPClassifier(**{**SMALL, "max_iter": 15})
    return VectorizedGridSearchCV(network, grid, cv=3).fit(X, LABELS)


def snapshots(folder):
    network = SAMMLPClassifier(**SMALL, rho=0.1, batch_size=10, snapshots=4)
    return network.fit(X, LABELS)


def stream(folder):
    """Keep a stream by save: the number of losses says how far it is."""
    path = Path(folder + "-stream")
    model = SAMMLPClassifier(**SMALL, rho=0.1, batch_size=10)
    if path.exists():
        model = sksharp.load(path)
    for k in range(len(getattr(model, "loss_curve_", [])), 80):
        rows = slice(k % 5 * 40, k % 5 * 40 + 40)
        model.partial_fit(X[rows], LABELS[rows], classes=[0, 1])
        sksharp.save(model, path)
    path.unlink()
    return model


def one_line(folder):
    network = SAMMLPRegressor(**SMALL, rho=0.1, batch_size=20, n_members=2)
    return sksharp.tabular_pipeline(network).fit(X, TARGET)


KINDS = {
    function.__name__.replace("_", " "): function
    for function in (
        rho_chosen,
        members,
        members_of_loky,
        search,
        snapshots,
        stream,
        one_line,
    )
}


def digest(model):
    """Return a digest of all that a fit has left."""
    scores = getattr(model, "cv_results_", {}).get("mean_test_score", np.zeros(0))
    while not isinstance(model, SAMMLPClassifier | SAMMLPRegressor):
        for part in ("best_estimator_", "regressor_"):
            model = getattr(model, part, model)
        model = model[-1] if hasattr(model, "steps") else model
    model.n_jobs = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        sksharp.save(model, path)
        return hashlib.sha256(path.read_bytes() + scores.tobytes()).hexdigest()


def start(fit, folder, result):
    """Start a fit in a process of its own, and return its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # of workers that lose it
        warnings.simplefilter("ignore")
        _saves.SHARE = np.inf
        with sksharp.checkpoints(folder, interval=0.01):
            model = fit(folder)
        result.write_text(digest(model))
        os._exit(0)
    except BaseException as error:
        result.write_text(repr(error))
        os._exit(1)


def wait(pid, seconds):
    """Return whether a process ends within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.001)
    return False


def left(pids):
    """Return how many processes, and pieces of shared memory, fits have left."""
    sessions = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            sessions.append(os.getsid(int(path.name)))
    names = [re.split("[-_]", path.name) for path in Path("/dev/shm").glob("*")]
    return (
        sum(session in pids for session in sessions),
        sum(any(str(pid) in name for pid in pids) for name in names),
    )


def temporary_files():
    return {*map(str, Path(tempfile.gettempdir()).glob("sksharp-*"))}


def run(name, n_kills, draw, work):
    """Kill a kind of fit a number of times; return what happened."""
    fit, result = KINDS[name], work / "result"
    pids, before = set(), temporary_files()
    begin = time.monotonic()
    wait(start(fit, str(work / "alone"), result), 600)
    expected, length = result.read_text(), time.monotonic() - begin
    counts = {"kills": 0, "ended": 0, "equal": 0, "found a save": 0}
    folder, is_killed = work / "folder", False
    while counts["kills"] < n_kills or is_killed:
        counts["found a save"] += bool(is_killed and any(folder.glob("*/*")))
        result.unlink(missing_ok=True)
        pid = start(fit, str(folder), result)
        pids.add(pid)
        seconds = draw.uniform(0, length) if counts["kills"] < n_kills else 600
        if wait(pid, seconds):
            counts["ended"] += 1
            counts["equal"] += result.read_text() == expected
            is_killed = False
            if result.read_text() != expected:
                print(name, "ended otherwise:", result.read_text()[:200])
            continue
        # of every other one the workers live on
        whole = counts["kills"] % 2 == 0
        (os.killpg if whole else os.kill)(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        counts["kills"] += 1
        is_killed = True
    time.sleep(1)
    counts["processes left"], counts["shared memory left"] = left(pids)
    counts["temporary files left"] = len(temporary_files() - before)
    counts["files left"] = sum(path.name != "result" for path in work.iterdir())
    return {"kind": name, "seconds alone": round(length, 2), **counts}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="of every kind")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, is_right = random.Random(options.seed), True
    warnings.simplefilter("ignore")
    # what a process imports, once for all of them
    SAMMLPClassifier(max_iter=1).fit(X, LABELS)
    for name in options.kinds:
        work = Path(tempfile.mkdtemp(prefix="kills-"))
        try:
            row = run(name, options.kills, draw, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        print(json.dumps(row), flush=True)
        is_right = is_right and row["ended"] == row["equal"]
    return int(not is_right)


if __name__ == "__main__":
    sys.exit(main())
