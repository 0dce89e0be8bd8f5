"""The first page of the site, written from the stored results."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from _comparison import compare_sizes, select, summary
from _robustness_report import (
    differences_of,
    mean_of,
    of_choice,
    of_methods,
    of_task,
    with_noise,
)
from _robustness_report import read as read_robustness
from bench_robustness import column

RESULTS = Path(__file__).parent / "results"
SIZES = [500, 1500, 5000]  # bounds of the training rows
METHODS = ["mlp", "default", "default_rho_0", "recommended", "hgb", "lightgbm"]

PAGE = Path(__file__).with_name("landing.md")  # the page, with names of figures


def page() -> str:
    """Return the page."""
    return PAGE.read_text(encoding="utf-8").format(
        **of_tables(), **of_times(), **of_noise(), **of_wrong_labels()
    )


def of_tables() -> dict[str, Any]:
    """Return figures of the quality benchmark."""
    with (RESULTS / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    options = argparse.Namespace(
        methods=METHODS,
        sets=list(dict.fromkeys(row["set"] for row in rows)),
        splits=[0, 1, 2],
        report=None,
    )
    runs = select(rows, options, 0.0)
    sizes = {row["set"]: int(row["n_train"]) for row in rows}
    _, _, small, middle, *large = compare_sizes(runs, "default", sizes, SIZES)[:-1]
    n_sets, wins, ties, losses, loss, cpu = summary(runs, "default", "mlp")
    of_line, of_trees = (summary(runs, "recommended", b) for b in ("mlp", "hgb"))
    of_lightgbm = summary(runs, "lightgbm", "mlp")
    return {
        "n_sets": n_sets,
        "wins": wins,
        "losses": losses,
        "ties": ties,
        "less": less(loss),
        "by_chance": f"{int(n_sets) / 5:.0f}",
        "cpu": shorter(cpu),
        "cpu_small": shorter(cpu_of(small)),
        "cpu_middle": shorter(cpu_of(middle)),
        "cpu_large": span([float(cpu_of(row)) for row in large], 1),
        "cpu_without": short(summary(runs, "default_rho_0", "mlp")[5]),
        "less_of_lightgbm": less(of_lightgbm[4]),
        "cpu_of_lightgbm": shorter(of_lightgbm[5]),
        "wins_of_line": of_line[1],
        "losses_of_line": of_line[3],
        "less_of_line": less(of_line[4]),
        "cpu_of_line": shorter(of_line[5]),
        "wins_of_trees": of_trees[1],
        "losses_of_trees": of_trees[3],
        "cpu_of_trees": f"{float(of_trees[5]):.0f}",
        "radius": short(summary(runs, "default", "default_rho_0")[4]),
    }


def cpu_of(row: str) -> str:
    """Return the last cell of a row, the ratio of the CPU times."""
    return row.strip("| ").split(" | ")[-1]


def less(ratio: str) -> str:
    """Return by how many percent a ratio is below 1."""
    return f"{100 * (1 - float(ratio)):.0f}"


def short(number: str) -> str:
    """Return a ratio in two decimals."""
    return f"{float(number):.2f}"


def shorter(number: str) -> str:
    """Return a ratio in one decimal."""
    return f"{float(number):.1f}"


def of_times() -> dict[str, Any]:
    """Return figures of the benchmarks of time."""
    fits, search, references = map(load, ("fit", "search", "references"))
    adam = [row["to_sklearn_adam"] for row in fits["rows"] if row["solver"] == "adam"]
    of_sam = [row for row in fits["rows"] if row["solver"] == "sam"]
    tiny = [row["to_sklearn_adam"] for row in of_sam if row["hidden"] == [10]]
    sam = [row["to_sklearn_adam"] for row in of_sam if row["hidden"] != [10]]
    del search["environment"]
    ratios = [1 / case["one by one / together"] for case in search.values()]
    return {
        "adam": span(adam, 2),
        "sam": span(sam, 2),
        "worst_sam": span(tiny, 2),
        "search": span(ratios, 2),
        "n_references": len(references["rows"]),
    }


def load(name: str) -> dict[str, Any]:
    """Return a stored result."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def span(values: list[float], digits: int) -> str:
    """Return the lowest and the highest of some figures."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def of_wrong_labels() -> dict[str, Any]:
    """Return accuracies where 40 % of the training labels are wrong."""
    runs = of_methods(read_robustness(0.4), ["mlp", "default"])
    mlp, ours = (
        f"{100 * np.mean([mean_of(splits, 'score') for splits in sets.values()]):.0f}"
        for sets in runs.values()
    )
    return {"mlp_wrong": mlp, "accuracy_wrong": ours, "n_wrong": len(runs["mlp"])}


def of_noise() -> dict[str, Any]:
    """Return what a radius brings with noise on the inputs."""
    pair = ("members_rho_0.5", "members_rho_0")
    runs = of_methods(read_robustness(), [*pair, "members_auto"])
    classification, regression = (of_task(runs, kind) for kind in (False, True))
    points = 100 * differences_of(classification, *pair, column("noise", 1)).mean()
    return {
        **of_choice(classification),
        **with_noise(classification, regression, *pair),
        "noisy": f"{points:.2f}",
    }
