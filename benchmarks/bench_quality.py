"""How well do the networks predict, next to scikit-learn's and to other packages?

    pip install pandas pyarrow lightgbm catboost pytabkit     # the peers are optional
    python benchmarks/bench_quality.py --list
    python benchmarks/bench_quality.py --methods sklearn ours # all sets and splits
    python benchmarks/bench_quality.py --methods mlp sam --noise 0.2 0.4
    python benchmarks/bench_quality.py --report sam mlp       # wins, losses, ratios
    python benchmarks/bench_quality.py --report               # all methods, as tables

The sets come from packages that ``datasets.json`` names, or ready from ``--data``. How
runs are stored and taken up again is told in ``_runs.py``. Results are in
``results/quality.csv``, versions in ``results/quality.json``, methods in ``_methods.py``.

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
"""

from __future__ import annotations

from typing import Any

import _harness  # noqa: F401  sets the number of threads
import numpy as np
from _comparison import report
from _datasets import Problem
from _methods import METHODS
from _runs import TIMES, Benchmark, cpu_clock, fit
from sklearn.metrics import log_loss, r2_score

SMALLEST_PROBABILITY = 1e-7
N_BINS = 15


def evaluate(estimator: Any, problem: Problem) -> dict[str, float]:
    """Fit an estimator and return its scores and times."""
    times, start = fit(estimator, problem), cpu_clock()
    if problem.is_regression:
        prediction = np.ravel(estimator.predict(problem.X_test))
    else:
        prediction = np.zeros((len(problem.X_test), problem.n_classes))
        columns = estimator.classes_.astype(int)
        prediction[:, columns] = estimator.predict_proba(problem.X_test)
    times["predict_cpu"] = cpu_clock() - start
    score = score_regression if problem.is_regression else score_classification
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


BENCHMARK = Benchmark(
    "quality", METHODS, ["score", "loss", "calibration", *TIMES], evaluate
)


def main() -> None:
    """Do what the command line asks for."""
    parser = BENCHMARK.parser(__doc__)
    parser.add_argument(
        "--report",
        nargs="*",
        choices=METHODS,
        metavar="METHOD",
        help="print tables; with two methods, the first against the second",
    )
    options = BENCHMARK.parse(parser)
    if options.report and len(options.report) != 2:
        parser.error("--report takes two methods, or none for the tables of all")
    if options.list:
        BENCHMARK.print_list(options)
    elif options.report is not None:
        print(report(list(BENCHMARK.stored().values()), options))
    else:
        BENCHMARK.run(options)


if __name__ == "__main__":
    main()
