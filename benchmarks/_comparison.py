"""Tables of the quality benchmark, in Markdown."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

BASELINE = "mlp"
FIGURES = ("score", "loss", "calibration", "fit_cpu")
Runs = dict[str, dict[str, dict[int, dict[str, float]]]]  # method, set, split, figure


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Return the tables that were asked for, a section per share of noise.

    A method wins on a set if its mean score is higher by more than twice the standard
    error of the paired differences over the splits, and loses if it is lower by more.
    Ratios are geometric means over the sets, of the mean loss and of the CPU time of a
    fit. Only splits that both methods have are compared. Points are hundredths of
    accuracy or R².

    Three splits give two degrees of freedom and share rows, so about one set in five is
    a win or a loss by chance: read how many there are, not which ones.
    """
    lines = []
    for noise in options.noise:
        runs = select(rows, options, noise)
        lines += [f"## Noise {noise:g}", ""]
        if options.report:
            lines += compare(runs, *options.report)
        else:
            lines += compare_all(runs)
            lines += wide_table(runs, options, "score", "Mean score", ".3f")
            lines += wide_table(runs, options, "loss", "Mean loss", ".4f")
    lines += failures(rows, options)
    return "\n".join(lines)


def select(
    rows: list[dict[str, Any]],
    options: argparse.Namespace,
    noise: float,
    names: Sequence[str] = FIGURES,
) -> Runs:
    """Return the figures of the runs that were asked for and did not fail."""
    wanted = [*options.methods, *(options.report or [])]
    runs: Runs = {method: defaultdict(dict) for method in wanted}
    for row in rows:
        if (
            row["method"] in wanted
            and row["set"] in options.sets
            and int(row["split"]) in options.splits
            and float(row["noise"]) == noise
            and not row["error"]
        ):
            # a regression has no calibration
            figures = {name: float(row[name] or "nan") for name in names}
            runs[row["method"]][row["set"]][int(row["split"])] = figures
    return {method: sets for method, sets in runs.items() if sets}


def failures(rows: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    """Return the runs that failed, if any, with their errors."""
    wanted = {*options.methods, *(options.report or [])}
    body = [
        [row["set"], row["split"], row["noise"], row["method"], row["error"]]
        for row in rows
        if row["error"] and row["method"] in wanted and row["set"] in options.sets
    ]
    head = ["failed", "split", "noise", "method", "error"]
    return table(head, body) if body else []


def pairs(runs: Runs, a: str, b: str, figure: str) -> dict[str, np.ndarray]:
    """Return a figure of two methods by set, of shape (2, n_splits)."""
    found = {}
    for name in sorted(runs.get(a, {}).keys() & runs.get(b, {}).keys()):
        ours, theirs = runs[a][name], runs[b][name]
        if splits := sorted(ours.keys() & theirs.keys()):
            columns = [(ours[s][figure], theirs[s][figure]) for s in splits]
            found[name] = np.array(columns).T
    return found


def verdict(scores: np.ndarray) -> tuple[int, float, float]:
    """Return 1, -1 or 0 for a win, a loss or a tie, the difference and its error."""
    difference = scores[0] - scores[1]
    mean, error = difference.mean(), np.nan
    if len(difference) > 1:
        error = difference.std(ddof=1) / np.sqrt(len(difference))
    return int(np.sign(mean) * (abs(mean) > 2 * error)), mean, error


def geometric_ratio(figures: dict[str, np.ndarray]) -> float:
    """Return the geometric mean over sets of the ratio of means over splits."""
    return np.exp(np.mean([np.log(a.mean() / b.mean()) for a, b in figures.values()]))


def summary(runs: Runs, a: str, b: str) -> list[str]:
    """Return the cells that sum up one method against another."""
    verdicts = [verdict(scores)[0] for scores in pairs(runs, a, b, "score").values()]
    if not verdicts:
        return ["0", "", "", "", "", ""]
    return [
        str(len(verdicts)),
        *(str(verdicts.count(sign)) for sign in (1, 0, -1)),
        *(f"{geometric_ratio(pairs(runs, a, b, f)):.3f}" for f in ("loss", "fit_cpu")),
    ]


SUMMARY = ["sets", "wins", "ties", "losses", "loss ratio", "CPU ratio"]


def compare(runs: Runs, a: str, b: str) -> list[str]:
    """Return how one method does against another, and on which sets it differs."""
    return [
        f"{a} against {b}:",
        "",
        *table(SUMMARY, [summary(runs, a, b)]),
        *compare_sets(runs, a, b),
    ]


def compare_sets(runs: Runs, a: str, b: str) -> list[str]:
    """Return how one method does against another on every set, the best first."""
    scores = pairs(runs, a, b, "score")
    verdicts = sorted(
        ((name, *verdict(scores[name])) for name in scores), key=lambda row: -row[2]
    )
    losses = pairs(runs, a, b, "loss")
    outcomes = {1: "win", 0: "tie", -1: "loss"}
    body = [
        [
            name,
            outcomes[sign],
            f"{100 * mean:+.2f}",
            f"{100 * error:.2f}" if np.isfinite(error) else "",
            f"{losses[name][0].mean() / losses[name][1].mean():.3f}",
        ]
        for name, sign, mean, error in verdicts
    ]
    return table(["set", f"{a}", "points", "standard error", "loss ratio"], body)


def compare_all(runs: Runs) -> list[str]:
    """Return how every method does against the baseline."""
    methods = [method for method in runs if method != BASELINE]
    if BASELINE not in runs or not methods:
        return []
    body = [[method, *summary(runs, method, BASELINE)] for method in methods]
    return table([f"against {BASELINE}", *SUMMARY], body)


def compare_one(runs: Runs, method: str) -> list[str]:
    """Return how a method does against every other."""
    body = [
        [other, *summary(runs, method, other), points(runs, method, other)]
        for other in runs
        if other != method and pairs(runs, method, other, "score")
    ]
    return table([f"{method} against", *SUMMARY, "points"], body)


def compare_pairs(runs: Runs, which: list[tuple[str, str]]) -> list[str]:
    """Return how methods do against others, a row per pair."""
    body = [
        [a, b, *summary(runs, a, b), points(runs, a, b)]
        for a, b in which
        if pairs(runs, a, b, "score")
    ]
    return table(["method", "against", *SUMMARY, "points"], body) if body else []


def points(runs: Runs, a: str, b: str) -> str:
    """Return the mean difference of the scores of two methods, in hundredths."""
    scores = pairs(runs, a, b, "score").values()
    return f"{100 * np.mean([verdict(both)[1] for both in scores]):+.2f}"


def restrict(runs: Runs, names: set[str]) -> Runs:
    """Return the runs of some of the sets."""
    return {
        method: {name: splits for name, splits in sets.items() if name in names}
        for method, sets in runs.items()
    }


def compare_sizes(
    runs: Runs, method: str, sizes: dict[str, int], bounds: list[int]
) -> list[str]:
    """Return how a method does against the baseline by the rows for training."""
    body = []
    for low, high in pairwise([0, *bounds, max(sizes.values()) + 1]):
        part = restrict(runs, {name for name, n in sizes.items() if low <= n < high})
        label = f"{low:,} to {high - 1:,}" if low else f"up to {high - 1:,}"
        body.append([label, *summary(part, method, BASELINE)])
    return table([f"{method}: training rows", *SUMMARY], body)


def compare_calibration(runs: Runs) -> list[str]:
    """Return every method's calibration error, and the baseline's on the same sets."""
    body = []
    for method in runs:
        both = pairs(runs, method, BASELINE, "calibration")
        means = [figures.mean(axis=1) for figures in both.values()]
        means = [pair for pair in means if np.isfinite(pair).all()]
        if means:
            mean, theirs = (f"{value:.3f}" for value in np.mean(means, axis=0))
            body.append([method, str(len(means)), mean, theirs])
    return table(["method", "sets", "calibration error", f"{BASELINE}'s"], body)


def wide_table(
    runs: Runs, options: argparse.Namespace, figure: str, title: str, form: str
) -> list[str]:
    """Return a figure of every method on every set."""
    body = []
    for name in options.sets:
        splits = [sets.get(name, {}).values() for sets in runs.values()]
        cells = [
            format(np.mean([run[figure] for run in method]), form) if method else ""
            for method in splits
        ]
        if any(cells):
            body.append([name, *cells])
    return [f"{title}:", "", *table(["set", *runs], body)]


def table(head: list[str], body: list[list[str]]) -> list[str]:
    """Return the lines of a table, an empty one at the end."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *body)] + [""]
