"""The page on what flatness is for, written from the stored results."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence

import numpy as np
from _comparison import Runs, pairs, restrict, select, table
from _datasets import SETS
from bench_robustness import BENCHMARK, FIGURES, OF_ROWS, column

# perturbations of the summary: a column of the results and its heading
SHOWN = {
    "score": "clean",
    column("noise", 0.25): "noise, 0.25 sd",
    column("noise", 0.5): "0.5 sd",
    column("noise", 1): "1 sd",
    column("constant", 0.3): "30 % replaced by the mean",
    column("missing", 0.3): "30 % missing",
    column("swap", 0.3): "30 % swapped",
}
NAMES = {
    "mlp": "`MLPClassifier`, `MLPRegressor`",
    "hgb": "`HistGradientBoosting`",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "forest": "random forest",
    "realmlp5": "RealMLP, five folds",
    "default": "`SAMMLPClassifier()`",
    "default_rho_0": "the same, `rho=[0]`",
    "members_rho_0": "five members, `rho=0`",
    "members_rho_0.2": "five members, `rho=0.2`",
    "members_rho_0.5": "five members, `rho=0.5`",
    "members_auto": "five members, `rho='auto'`",
    "recommended_rho_0": "`tabular_pipeline`, `rho=0`, its default",
    "recommended_rho_0.2": "`tabular_pipeline`, `rho=0.2`",
    "recommended_rho_0.5": "`tabular_pipeline`, `rho=0.5`",
    "recommended_auto": "`tabular_pipeline`, `rho='auto'`",
    "last_rho_0": "one network, last epoch, `rho=0`",
    "last_rho_0.2": "one network, last epoch, `rho=0.2`",
    "last_rho_0.5": "one network, last epoch, `rho=0.5`",
    "last_rho_1": "one network, last epoch, `rho=1`",
}
POINTS = 0.002  # of a score, that make a difference
SHARE = 0.02  # of a loss


def read(methods: Sequence[str] | None = None) -> Runs:
    """Return the stored figures by method, set and split."""
    with BENCHMARK.path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    options = argparse.Namespace(
        methods=methods or list(dict.fromkeys(row["method"] for row in rows)),
        sets=list(SETS),
        splits=[0, 1, 2],
        report=None,
    )
    return select(rows, options, 0.0, FIGURES)


def of_task(runs: Runs, is_regression: bool) -> Runs:
    """Return the runs of the regressions, or of the classifications."""
    names = {
        name
        for name, entry in SETS.items()
        if (entry["task"] == "regression") == is_regression
    }
    return restrict(runs, names)


def difference(runs: Runs, a: str, b: str, figure: str) -> str:
    """Return points, wins and losses of one method against another, for classifiers."""
    differences = differences_of(runs, a, b, figure)
    if not len(differences):
        return ""
    wins, losses = (differences > POINTS).sum(), (differences < -POINTS).sum()
    return f"{100 * differences.mean():+.2f} ({wins}/{losses})"


def differences_of(runs: Runs, a: str, b: str, figure: str) -> np.ndarray:
    """Return the mean differences of a figure over the splits, one per set."""
    both = [values for values in pairs(runs, a, b, figure).values()]
    means = np.array([values[0].mean() - values[1].mean() for values in both])
    return means[np.isfinite(means)]


def ratio(runs: Runs, a: str, b: str, figure: str) -> str:
    """Return the ratio of losses, and on how many sets it is lower or higher."""
    both = [values.mean(axis=1) for values in pairs(runs, a, b, figure).values()]
    logs = np.array([np.log(ours / theirs) for ours, theirs in both])
    logs = logs[np.isfinite(logs)]
    if not len(logs):
        return ""
    lower, higher = (logs < -SHARE).sum(), (logs > SHARE).sum()
    return f"{np.exp(logs.mean()):.3f} ({lower}/{higher})"


def means(
    runs: Runs, methods: Sequence[str], figures: Sequence[str]
) -> list[list[str]]:
    """Return mean scores over the sets and splits that all methods have."""
    methods = [method for method in methods if method in runs]
    common = set.intersection(*(set(runs[method]) for method in methods))
    body = []
    for method in methods:
        cells = []
        for figure in figures:
            scores = [
                np.mean([run[figure] for run in runs[method][name].values()])
                for name in sorted(common)
            ]
            mean = np.nanmean(scores) if np.isfinite(scores).any() else np.nan
            cells.append(f"{100 * mean:.1f}" if np.isfinite(mean) else "")
        body.append([NAMES[method], *cells])
    return body


if __name__ == "__main__":
    import sys

    runs = read()
    for is_regression in (False, True):
        part = of_task(runs, is_regression)
        print({method: len(sets) for method, sets in part.items()})
        show = ratio if is_regression else difference
        for a, b in (pair.split(":") for pair in sys.argv[1:]):
            print(a, b)
            for name, strengths in {"": (), **OF_ROWS}.items():
                figures = [column(name, s) for s in strengths] or ["score"]
                if is_regression:
                    figures = [f"{f} loss" if f != "score" else "loss" for f in figures]
                print(
                    "  ",
                    name.ljust(10),
                    *(show(part, a, b, f).ljust(18) for f in figures),
                )
        if not is_regression:
            for line in table(["", *SHOWN.values()], means(part, NAMES, list(SHOWN))):
                print(line)
