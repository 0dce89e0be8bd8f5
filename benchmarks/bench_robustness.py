"""What do models lose on rows that differ from those of the training?

    pip install pandas pyarrow lightgbm catboost pytabkit     # the peers are optional
    python benchmarks/bench_robustness.py --max-rows 8200     # 38 sets
    python benchmarks/bench_robustness.py --methods last members --splits 0
    python benchmarks/bench_robustness.py --list

Training rows are clean. The test rows, at most 1,000, are perturbed by
``sksharp.robustness``, every perturbation at four strengths, one draw each, the same for
all methods; so are the weights of the networks. Sets, splits and storage are those of
``bench_quality.py``; results are in ``results/robustness.csv``.

A column such as ``noise@0.5`` is the score, ``noise@0.5 loss`` the loss: accuracy and
log-loss, or R² and the mean squared error in variances of the training target. Strengths
are in the units of ``sksharp.robustness``. An empty cell is a perturbation that the set has
no columns for, or that the method does not take.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import _harness  # noqa: F401  sets the number of threads
from _datasets import Problem
from _robustness_methods import METHODS
from _runs import Benchmark, fit

from sksharp import robustness

OF_ROWS = {
    "noise": (0.1, 0.25, 0.5, 1),
    "rounding": (0.5, 1, 1.5, 2),
    "shift": (0.1, 0.25, 0.5, 1),
    "scale": (0.1, 0.25, 0.5, 1),
    "missing": (0.1, 0.2, 0.3, 0.5),
    "constant": (0.1, 0.2, 0.3, 0.5),
    "swap": (0.1, 0.2, 0.3, 0.5),
    "unseen": (0.1, 0.2, 0.3, 0.5),
}
OF_WEIGHTS = {
    "weight_noise": (0.1, 0.2, 0.5, 1),
    "weight_rounding": tuple(6 / 2**n_bits for n_bits in (6, 5, 4, 3)),
}
STRENGTHS = OF_ROWS | OF_WEIGHTS
N_REPEATS = 1
MAX_TEST_ROWS = 1_000


def column(perturbation: str, strength: float, figure: str = "score") -> str:
    """Return the name of a figure in the results."""
    suffix = "" if figure == "score" else f" {figure}"
    return f"{perturbation}@{strength:.3g}{suffix}"


FIGURES = [
    "fit_cpu",
    "fit_wall",
    "score",
    "loss",
    *(
        column(name, strength, figure)
        for name, strengths in STRENGTHS.items()
        for strength in strengths
        for figure in ("score", "loss")
    ),
]


def evaluate(estimator: Any, problem: Problem) -> dict[str, float]:
    """Fit an estimator and return its scores and losses of clean and of perturbed rows."""
    figures = fit(estimator, problem)
    rows = slice(MAX_TEST_ROWS)
    problem = replace(
        problem,
        X_test=problem.X_test.iloc[rows],
        y_test=problem.y_test[rows],
    )
    unit = problem.y_train.var() if problem.is_regression else 1.0
    for name, strengths in STRENGTHS.items():
        try:
            found = robustness(
                estimator,
                problem.X_test,
                problem.y_test,
                perturbation=name,
                strengths=strengths,
                n_repeats=N_REPEATS,
                random_state=problem.seed,
            )
        except (TypeError, ValueError) as error:  # no such columns, or no networks
            print(f"without {name}: {error}", flush=True)
            continue
        figures["score"] = float(found.baseline_scores[0])
        figures["loss"] = float(found.baseline_losses[0]) / unit
        means = zip(strengths, found.scores_mean[0], found.losses_mean[0], strict=True)
        for strength, score, loss in means:
            figures[column(name, strength)] = float(score)
            figures[column(name, strength, "loss")] = float(loss) / unit
    if "score" not in figures:
        raise ValueError("every perturbation was refused")
    return figures


BENCHMARK = Benchmark("robustness", METHODS, FIGURES, evaluate, digits=4)


def main() -> None:
    """Do what the command line asks for."""
    options = BENCHMARK.parse(BENCHMARK.parser(__doc__))
    if options.list:
        BENCHMARK.print_list(options)
    else:
        BENCHMARK.run(options)


if __name__ == "__main__":
    main()
