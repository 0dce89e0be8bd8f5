"""Runs of methods on the tables: the command line, what is stored, and what is left to do.

A run is a set, a split, a share of noise and a method, and becomes a row of a CSV file
under ``results/``. Runs that are there are skipped, so a benchmark can be stopped and
started again. A run that fails leaves a row with its error.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import _harness as harness
import numpy as np
from _datasets import SETS, Problem, load, make_small, split
from _methods import Method

RUN = ["set", "task", "n_train", "n_features", "split", "noise", "method"]
TIMES = ["fit_cpu", "fit_wall", "predict_cpu"]


@dataclass(frozen=True)
class Benchmark:
    """Methods, and what is measured of each on a problem.

    Parameters
    ----------
    name : str
        Its results are ``results/<name>.csv``, and the versions with which they were
        measured ``results/<name>.json``.

    methods : dict of str to Method
        Methods by name.

    figures : list of str
        Names of what is measured.

    evaluate : callable
        Fits an estimator to a problem and returns the figures.

    digits : int, default=5
        Digits that are stored of a figure.
    """

    name: str
    methods: Mapping[str, Method]
    figures: Sequence[str]
    evaluate: Callable[[Any, Problem], dict[str, float]]
    digits: int = 5

    @property
    def path(self) -> Path:
        """Where the results are."""
        return harness.RESULTS / f"{self.name}.csv"

    @property
    def groups(self) -> list[str]:
        """The groups of the methods."""
        return list(dict.fromkeys(method.group for method in self.methods.values()))

    def stored(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """Return the stored rows by run. The last row of a run counts."""
        if not self.path.exists():
            return {}
        with self.path.open(newline="") as file:
            return {key(row): row for row in csv.DictReader(file)}

    def append(self, row: dict[str, Any]) -> None:
        """Write a row at once, so that a run is never lost."""
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            columns = [*RUN, *self.figures, "error"]
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow({name: self._compact(value) for name, value in row.items()})

    def _compact(self, value: Any) -> Any:
        """Return a number with few digits, anything else as it is."""
        return f"{value:.{self.digits}g}" if isinstance(value, float) else value

    # -- the runs ----------------------------------------------------------------------

    def run(self, options: argparse.Namespace) -> None:
        """Do the runs that are not stored yet, until they are done or time is over."""
        options.methods = self._installed(options.methods)
        self._save_versions(options.methods)
        start = time.monotonic()
        stored = self.stored()
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
            make = self.methods[method].make
            try:
                if (method, problem.task) not in warm:
                    warm.add((method, problem.task))
                    small = make_small(problem)
                    self.evaluate(make(small), small)
                noisy = problem.with_noise(noise) if noise else problem
                row |= self.evaluate(make(noisy), noisy)
            except Exception as error:  # is a result too, and must not stop the rest
                message = f"{type(error).__name__}: {error}"
                row["error"] = " ".join(message.split())[:200]
            self.append(row)
            print(describe(row), flush=True)

    def _installed(self, methods: Sequence[str]) -> list[str]:
        """Return the methods that can run, and say which ones cannot."""
        for method in methods:
            if missing := self.methods[method].missing():
                print(f"skipping {method}: pip install {' '.join(missing)}", flush=True)
        return [method for method in methods if not self.methods[method].missing()]

    def _save_versions(self, methods: Sequence[str]) -> None:
        """Store the versions with which the methods run."""
        path = self.path.with_suffix(".json")
        stored = json.loads(path.read_text()) if path.exists() else {}
        stored["python"] = platform.python_version()
        stored["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, one used"
        stored |= {package: version(package) for package in ("numpy", "pandas")}
        versions = stored.setdefault("methods", {})
        for method in methods:
            versions[method] = self.methods[method].versions()
            if "sksharp" in self.methods[method].needs:
                versions[method]["commit"] = commit()
        harness.save(self.name, stored)

    # -- the command line --------------------------------------------------------------

    def parser(self, description: str | None) -> argparse.ArgumentParser:
        """Return the parser of the command line."""
        parser = argparse.ArgumentParser(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument(
            "--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET"
        )
        parser.add_argument(
            "--methods",
            nargs="+",
            choices=[*self.methods, *self.groups],
            default=self.groups,
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
        parser.add_argument(
            "--data", type=Path, help="folder with a Parquet file per set"
        )
        parser.add_argument(
            "--again",
            choices=["errors", "all"],
            help="repeat runs that are stored: those that failed, or all",
        )
        parser.add_argument(
            "--list", action="store_true", help="print sets and methods"
        )
        parser.add_argument(
            "--max-rows", type=float, default=np.inf, help="sets up to that size only"
        )
        return parser

    def parse(self, parser: argparse.ArgumentParser) -> argparse.Namespace:
        """Return the options, with methods and sets as they are run."""
        options = parser.parse_args()
        options.methods = [
            method
            for method in self.methods
            if {method, self.methods[method].group} & {*options.methods}
        ]
        options.sets = [
            n for n in options.sets if SETS[n]["n_rows"] <= options.max_rows
        ]
        if options.order == "smallest-first":
            options.sets.sort(key=size)
        return options

    def print_list(self, options: argparse.Namespace) -> None:
        """Print the sets and the methods."""
        for name in options.sets:
            entry = SETS[name]
            print(
                f"{name:20} {entry['task']:11} {entry['n_rows']:6} x "
                f"{entry['n_features']:3}  {' '.join(entry['packages']):26} "
                f"{entry.get('notes', '')}".rstrip()
            )
        print()
        for method in options.methods:
            missing = self.methods[method].missing()
            note = f"needs {' '.join(missing)}" if missing else ""
            print(f"{method:10} {self.methods[method].group:8} {note}".rstrip())


def key(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return what identifies a run."""
    return row["set"], str(row["split"]), f"{float(row['noise']):g}", row["method"]


def planned(options: argparse.Namespace) -> Iterator[tuple[str, float, int, str]]:
    """Yield the runs that were asked for: set, noise, split, method."""
    for name in options.sets:
        is_regression = SETS[name]["task"] == "regression"
        for noise, seed, method in product(
            options.noise, options.splits, options.methods
        ):
            if not (noise and is_regression):
                yield name, noise, seed, method


def size(name: str) -> int:
    """Return the number of cells of a set."""
    return SETS[name]["n_rows"] * SETS[name]["n_features"]


def describe(row: dict[str, Any]) -> str:
    """Return a row as a line of the log."""
    head = f"{row['set']:20} {row['split']} {row['noise']:>4} {row['method']:10}"
    if "score" not in row:
        return f"{head} {row['error']}"
    return (
        f"{head} score {row['score']:.4f}  loss {row['loss']:.4f}  "
        f"fit {row['fit_cpu']:.2f} s"
    )


def commit() -> str:
    """Return the commit of the package that is imported."""
    folder = Path(find_spec("sksharp").origin).parent
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.check_output(command, cwd=folder, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_clock() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def fit(estimator: Any, problem: Problem) -> dict[str, float]:
    """Fit an estimator and return the CPU and the wall time."""
    wall, start = time.perf_counter(), cpu_clock()
    estimator.fit(problem.X_train, problem.y_train)
    end = cpu_clock()
    return {"fit_cpu": end - start, "fit_wall": time.perf_counter() - wall}
