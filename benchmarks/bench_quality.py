"""How well do the networks predict, next to scikit-learn's and to other packages?

    pip install pandas pyarrow lightgbm catboost pytabkit     # the peers are optional
    python benchmarks/bench_quality.py --list
    python benchmarks/bench_quality.py --methods sklearn ours # all sets and splits
    python benchmarks/bench_quality.py --methods mlp sam --noise 0.2 0.4
    python benchmarks/bench_quality.py --report sam mlp       # wins, losses, ratios
    python benchmarks/bench_quality.py --report               # all methods, as tables

The sets come from packages that ``datasets.json`` names, or ready from ``--data``. A run
is a set, a split, a share of noise and a method, and becomes a row of
``results/quality.csv``. Runs that are there are skipped, so the benchmark can be stopped
and started again. A run that fails leaves a row with its error.

- Splits: a quarter of the rows for the test, stratified by class; at most 10,000 rows for
  training and 10,000 for the test.
- Noise: the share of training labels that are moved to another class, all others being
  equally likely. Test labels stay as they are.
- ``score``: accuracy or R².
- ``loss``: log-loss, no probability below 1e-7, or the mean squared error in variances of
  the training target.
- ``calibration``: expected calibration error of the likeliest class, 15 bins of equal
  width. Classification only.
- ``fit_cpu``, ``fit_wall``, ``predict_cpu``: seconds, on one thread. A small fit before
  the first run of a method, which is not counted, pays for the imports.

Methods are in ``_methods.py``. Versions are kept in ``results/quality.json``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import _harness as harness
import numpy as np
from _comparison import report
from _datasets import SETS, Problem, load, make_small, split
from _methods import GROUPS, METHODS
from sklearn.metrics import log_loss, r2_score

RESULTS = harness.RESULTS / "quality.csv"
VERSIONS = harness.RESULTS / "quality.json"
COLUMNS = [
    "set",
    "task",
    "n_train",
    "n_features",
    "split",
    "noise",
    "method",
    "score",
    "loss",
    "calibration",
    "fit_cpu",
    "fit_wall",
    "predict_cpu",
    "error",
]
SMALLEST_PROBABILITY = 1e-7
N_BINS = 15


def cpu_clock() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def evaluate(method: str, problem: Problem) -> dict[str, float]:
    """Fit a method and return its scores and times."""
    estimator = METHODS[method].make(problem)
    wall, start = time.perf_counter(), cpu_clock()
    estimator.fit(problem.X_train, problem.y_train)
    wall, fitted = time.perf_counter() - wall, cpu_clock()
    if problem.is_regression:
        prediction = np.ravel(estimator.predict(problem.X_test))
    else:
        prediction = np.zeros((len(problem.X_test), problem.n_classes))
        columns = estimator.classes_.astype(int)
        prediction[:, columns] = estimator.predict_proba(problem.X_test)
    end = cpu_clock()
    score = score_regression if problem.is_regression else score_classification
    times = {"fit_cpu": fitted - start, "fit_wall": wall, "predict_cpu": end - fitted}
    return score(problem, prediction) | times


def score_regression(problem: Problem, prediction: np.ndarray) -> dict[str, float]:
    """Return R² and the squared error in variances of the training target."""
    error = np.mean((problem.y_test - prediction) ** 2)
    return {
        "score": r2_score(problem.y_test, prediction),
        "loss": error / problem.y_train.var(),
    }


def score_classification(problem: Problem, proba: np.ndarray) -> dict[str, float]:
    """Return accuracy, log-loss and calibration error."""
    proba = np.clip(proba, SMALLEST_PROBABILITY, None)
    proba /= proba.sum(axis=1, keepdims=True)
    is_right = proba.argmax(axis=1) == problem.y_test
    return {
        "score": is_right.mean(),
        "loss": log_loss(problem.y_test, proba, labels=range(problem.n_classes)),
        "calibration": calibration_error(proba.max(axis=1), is_right),
    }


def calibration_error(confidence: np.ndarray, is_right: np.ndarray) -> float:
    """Return the mean distance of confidence and accuracy over bins of confidence."""
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    excess = np.bincount(bins, weights=confidence - is_right, minlength=N_BINS)
    return np.abs(excess).sum() / len(confidence)


# -- the runs and their rows ------------------------------------------------------------


def key(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return what identifies a run."""
    return row["set"], str(row["split"]), f"{float(row['noise']):g}", row["method"]


def read_results() -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the stored rows by run. The last row of a run counts."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open(newline="") as file:
        return {key(row): row for row in csv.DictReader(file)}


def append(row: dict[str, Any]) -> None:
    """Write a row at once, so that a run is never lost."""
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow({name: compact(value) for name, value in row.items()})


def compact(value: Any) -> Any:
    """Return a number with five digits, anything else as it is."""
    return f"{value:.5g}" if isinstance(value, float) else value


def planned(options: argparse.Namespace) -> Iterator[tuple[str, float, int, str]]:
    """Yield the runs that were asked for: set, noise, split, method."""
    for name in options.sets:
        is_regression = SETS[name]["task"] == "regression"
        for noise, seed, method in product(
            options.noise, options.splits, options.methods
        ):
            if not (noise and is_regression):
                yield name, noise, seed, method


def run(options: argparse.Namespace) -> None:
    """Do the runs that are not stored yet, until they are done or time is over."""
    start = time.monotonic()
    stored = read_results()
    problems: dict[tuple[str, int], Problem] = {}
    warm: set[tuple[str, str]] = set()
    for name, noise, seed, method in planned(options):
        row = {"set": name, "split": seed, "noise": f"{noise:g}", "method": method}
        old = stored.get(key(row))
        if old and not (options.again == "all" or (options.again and old["error"])):
            continue
        if time.monotonic() - start > options.max_seconds:
            print("time is over", flush=True)
            return
        if (name, seed) not in problems:
            problems = {(name, seed): split(name, load(name, options.data), seed)}
        problem = problems[name, seed]
        row |= {
            "task": problem.task,
            "n_train": len(problem.X_train),
            "n_features": problem.X_train.shape[1],
        }
        try:
            if (method, problem.task) not in warm:
                warm.add((method, problem.task))
                evaluate(method, make_small(problem))
            row |= evaluate(method, problem.with_noise(noise) if noise else problem)
        except Exception as error:  # is a result too, and must not stop the rest
            message = f"{type(error).__name__}: {error}"
            row["error"] = " ".join(message.split())[:200]
        append(row)
        print(describe(row), flush=True)


def describe(row: dict[str, Any]) -> str:
    """Return a row as a line of the log."""
    head = f"{row['set']:20} {row['split']} {row['noise']:>4} {row['method']:10}"
    if "error" in row:
        return f"{head} {row['error']}"
    return (
        f"{head} score {row['score']:.4f}  loss {row['loss']:.4f}  "
        f"fit {row['fit_cpu']:.2f} s"
    )


def save_versions(methods: Sequence[str]) -> None:
    """Store the versions with which the methods run."""
    stored = json.loads(VERSIONS.read_text()) if VERSIONS.exists() else {}
    stored["python"] = platform.python_version()
    stored["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, one used"
    stored |= {package: version(package) for package in ("numpy", "pandas")}
    versions = stored.setdefault("methods", {})
    for method in methods:
        versions[method] = METHODS[method].versions()
        if "sksharp" in METHODS[method].needs:
            versions[method]["commit"] = commit()
    harness.save("quality", stored)


def commit() -> str:
    """Return the commit of the package that is imported."""
    folder = Path(find_spec("sksharp").origin).parent
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.check_output(command, cwd=folder, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# -- the command line -------------------------------------------------------------------


def chosen_methods(names: Sequence[str]) -> list[str]:
    """Return the methods of a list of methods and groups."""
    methods = [
        method
        for name in names
        for method in METHODS
        if name in (method, METHODS[method].group)
    ]
    return list(dict.fromkeys(methods))


def size(name: str) -> int:
    """Return the number of cells of a set."""
    return SETS[name]["n_rows"] * SETS[name]["n_features"]


def installed(methods: Sequence[str]) -> list[str]:
    """Return the methods that can run, and say which ones cannot."""
    for method in methods:
        if missing := METHODS[method].missing():
            print(f"skipping {method}: pip install {' '.join(missing)}", flush=True)
    return [method for method in methods if not METHODS[method].missing()]


def print_list(options: argparse.Namespace) -> None:
    """Print the sets and the methods."""
    for name in options.sets:
        entry = SETS[name]
        print(
            f"{name:20} {entry['task']:11} {entry['n_rows']:6} x {entry['n_features']:3}"
            f"  {' '.join(entry['packages']):26} {entry.get('notes', '')}".rstrip()
        )
    print()
    for method in options.methods:
        missing = METHODS[method].missing()
        note = f"needs {' '.join(missing)}" if missing else ""
        print(f"{method:10} {METHODS[method].group:8} {note}".rstrip())


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=[*METHODS, *GROUPS],
        default=GROUPS,
        metavar="METHOD",
        help="methods or groups of them",
    )
    parser.add_argument(
        "--splits", nargs="+", type=int, default=[0, 1, 2], metavar="SEED"
    )
    parser.add_argument(
        "--noise", nargs="+", type=float, default=[0.0], metavar="SHARE"
    )
    parser.add_argument(
        "--max-seconds", type=float, default=np.inf, help="begin no run after that"
    )
    parser.add_argument(
        "--order", choices=["smallest-first", "catalogue"], default="smallest-first"
    )
    parser.add_argument("--data", type=Path, help="folder with a Parquet file per set")
    parser.add_argument(
        "--again",
        choices=["errors", "all"],
        help="repeat runs that are stored: those that failed, or all",
    )
    parser.add_argument("--list", action="store_true", help="print sets and methods")
    parser.add_argument(
        "--report",
        nargs="*",
        choices=METHODS,
        metavar="METHOD",
        help="print tables; with two methods, the first against the second",
    )
    parser.add_argument(
        "--max-rows", type=float, default=np.inf, help="sets up to that size only"
    )
    options = parser.parse_args()
    if options.report and len(options.report) != 2:
        parser.error("--report takes two methods, or none for the tables of all")
    options.methods = chosen_methods(options.methods)
    options.sets = [n for n in options.sets if SETS[n]["n_rows"] <= options.max_rows]
    if options.order == "smallest-first":
        options.sets.sort(key=size)
    return options


def main() -> None:
    """Do what the command line asks for."""
    options = parse()
    if options.list:
        print_list(options)
    elif options.report is not None:
        print(report(list(read_results().values()), options))
    else:
        options.methods = installed(options.methods)
        save_versions(options.methods)
        run(options)


if __name__ == "__main__":
    main()
