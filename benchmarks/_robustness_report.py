"""The page on what flatness is for, written from the stored results."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from typing import Any

import numpy as np
from _comparison import Runs, pairs, restrict, select, table
from _datasets import SETS
from bench_robustness import BENCHMARK, FIGURES, OF_ROWS, OF_WEIGHTS, column

PAGE = """# What flatness is for

With clean training rows and clean test rows, a radius brings little: the [tables of the
quality benchmark](quality.md) show it. That is not what a flat minimum is for. A network
that does not mind its weights being moved does not mind its inputs being moved either. In
use they are: sensors drift, values are rounded, columns go missing, categories turn up that
no training row had.

## The measurement

`benchmarks/bench_robustness.py` trained on clean rows of {n_sets} tables
({n_classification} classifications, {n_regression} regressions, up to 8,000 rows) and
perturbed the test rows with [`robustness`](looking-at-a-fit.md#robustness): ten
perturbations at four strengths, the same for all methods. There are {n_splits} random
splits, {fewest_splits} for {n_fewer_splits} of the large tables, whose mean counts as one
result of a table; every run is stored in `benchmarks/results/robustness.csv`.

- *Five members* are networks of 128 and 128 units behind median, standardization and
  one-hot columns, each kept at the best epoch of its fold: `n_members=5`, `ema_decay=0.99`,
  `early_stopping=True`. Only `rho` differs between their rows.
- `tabular_pipeline` is the [one line for tables](tabular-data.md#the-recommended-network).
- Plain networks have the same preprocessing. Boosted trees take the table as it is and run
  with their defaults.

![Accuracy against the strength of three perturbations](images/robustness.png)

## Accuracy under perturbations

Mean accuracy in percent over the {n_with_numbers} classification tables that have numbers
and that all of these methods were run on, one split each. *sd* is the standard deviation of
a column.

{means}
Where numbers are off, boosted trees lose most: their splits sit at exact values. Networks
lose less, and flat ones least. Missing entries are read as such by `HistGradientBoosting`,
LightGBM and CatBoost, though the training rows had few of them; networks get the median.

## What a radius changes

Difference of the accuracy to the same method with `rho=0`, in points, and in brackets the
number of tables where it is higher and lower by more than 0.2 points. There are
{n_classification} tables, {n_noisy} of them with numbers that noise can be added to.

{radius}
For regressions, the ratio of the squared errors, below 1 if the radius is better, and the
number of tables where it is lower and higher by more than 2 %:

{radius_of_regressions}
- **The inputs are off: a radius helps.** With noise of one standard deviation, `rho=0.5`
  has the higher accuracy on {noisy_wins} tables and the lower on {noisy_losses}, and the
  lower squared error on {noisy_wins_of_regressions} of {n_noisy_regressions} regressions.
- **The inputs are as they were: it helps little, or costs.** On clean rows accuracy hardly
  changes. The squared error of regressions rises, and most where there is little noise: a
  radius smooths what is there to be fitted. With `rho=0.5` it is {worst} times as high on
  `{worst_set}`, where R² falls from {worst_from} to {worst_to}.
- **`rho='auto'` helps on clean rows, and a little elsewhere.** It takes the [largest
  radius that is not measurably worse](searching-and-members.md) on clean held-out rows, and
  compares radii after a tenth of the epochs, where a radius lags. On clean rows its
  accuracy is higher than that of radius 0 on {auto_wins} tables and lower on {auto_losses};
  against strong noise and missing entries it gains less than a fixed radius. If you know
  that inputs will be off, set `rho` yourself.
- **The one line gains less.** It encodes numbers in bins, which are a protection of their
  own, and has dropout and decay. A radius helps it where entries are missing.

All perturbations at all strengths, five members with `rho=0.5` against `rho=0`:

{all_strengths}
The strengths are those of `robustness`, from the left: {strengths}.

## What else helps, and how much

Accuracy to *five members, `rho=0`*, in points, on {n_few_classification} classification
tables ({n_few_with_numbers} have numbers), one split each:

{others}
What `rho=0.5` adds to them, to the same setting without a radius:

{added}
**Training with the perturbation that will come beats a radius.** `input_noise=0.25` and
`InputNoise(missing=0.1)` ([noise on the inputs](dropout.md#noise-on-the-inputs)) gain more
than `rho=0.5` against what they train for: the first somewhat more, the second several
times as much. A radius names no perturbation, and adds to both.

**Dropout and decay do not replace a radius.** They help on clean rows, and little against
noise. `rho=0.5` adds about as much to them as without them, and takes back most of what
they gain on clean rows.

**Rows like those that will be served can [choose the
radius](dropout.md#choose-for-the-rows-that-will-be-served)**, the epochs and the members.
`InputNoise(std=0.5, missing=0.1, on="validation")` with `rho='auto'` gains more than
`rho=0.5` against strong noise, and costs most on clean rows. Take it if you know what will
come, not as a precaution.

## Wrong labels

Mean accuracy in percent on clean test rows, with 40 % of the training labels moved to
another class ({n_of_40} tables), and with 60 % ({n_of_60} tables of more than two classes:
with two, most labels would be wrong). *Last epoch* is one network of 128 and 128 units
after 2,500 steps, which has had time to fit wrong labels. `SAMMLPClassifier` chooses the
length of its training. Differences are to the same method with radius 0, in points, with
the number of tables where it is higher and lower by more than 0.2.

{wrong_labels}
Where nothing ends training early, a radius keeps the network from fitting wrong labels. A
length of training chosen on held-out rows does more. A chosen radius adds a little to it
with 40 % of wrong labels, and nothing measurable with 60 %.

## When it does not help

- Test rows like the training rows, clean labels: see [when not to use
  sksharp](when-not-to-use.md).
- A regression with little noise, whose inputs stay as they are.
- A perturbation that you know and can train for.

To repeat the measurements:

```shell
python benchmarks/bench_robustness.py --max-rows 8000
python benchmarks/bench_robustness.py --splits 0 --noise 0.4 0.6 \\
    --methods last mlp default default_rho_0
python benchmarks/report.py
```
"""

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
    "mlp": "`MLPClassifier()`",
    "hgb": "`HistGradientBoosting`",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "forest": "random forest",
    "realmlp5": "RealMLP, five folds",
    "default": "`SAMMLPClassifier()`",
    "default_rho_0": "`SAMMLPClassifier(rho=[0])`",
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
MANY = 30  # sets of the methods that the large tables have


def read(noise: float = 0.0) -> Runs:
    """Return the stored figures by method, set and split, for a share of wrong labels."""
    with BENCHMARK.path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    options = argparse.Namespace(
        methods=list(dict.fromkeys(row["method"] for row in rows)),
        sets=list(SETS),
        splits=[0, 1, 2],
        report=None,
    )
    return select(rows, options, noise, FIGURES)


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
    wins, losses = beyond(differences, POINTS)
    return f"{100 * differences.mean():+.2f} ({wins}/{losses})"


def beyond(differences: np.ndarray, bound: float) -> tuple[int, int]:
    """Return how many differences are above a bound, and how many below minus it."""
    return int((differences > bound).sum()), int((differences < -bound).sum())


def differences_of(runs: Runs, a: str, b: str, figure: str) -> np.ndarray:
    """Return the mean differences of a figure over the splits, one per set."""
    both = [values for values in pairs(runs, a, b, figure).values()]
    means = np.array([values[0].mean() - values[1].mean() for values in both])
    return means[np.isfinite(means)]


def ratio(runs: Runs, a: str, b: str, figure: str) -> str:
    """Return the ratio of losses, and on how many sets it is lower or higher."""
    logs = log_ratios_of(runs, a, b, figure)
    if not len(logs):
        return ""
    higher, lower = beyond(logs, SHARE)
    return f"{np.exp(logs.mean()):.3f} ({lower}/{higher})"


def log_ratios_of(runs: Runs, a: str, b: str, figure: str) -> np.ndarray:
    """Return the logarithms of the ratios of losses, one per set."""
    both = [values.mean(axis=1) for values in pairs(runs, a, b, figure).values()]
    logs = np.array([np.log(ours / theirs) for ours, theirs in both])
    return logs[np.isfinite(logs)]


def means(
    runs: Runs, methods: Sequence[str], figures: Sequence[str]
) -> list[list[str]]:
    """Return mean scores over the sets and splits that all methods have."""
    body = []
    for method in methods:
        sets = runs[method].values()
        scores = [[mean_of(splits, figure) for splits in sets] for figure in figures]
        body.append([NAMES[method], *(f"{100 * np.mean(one):.1f}" for one in scores)])
    return body


def with_all(runs: Runs, figures: Sequence[str]) -> Runs:
    """Return the runs of the sets that have all figures: that have numbers, for one."""
    sets = next(iter(runs.values()))
    complete = {
        name
        for name, splits in sets.items()
        if np.isfinite([mean_of(splits, figure) for figure in figures]).all()
    }
    return restrict(runs, complete)


# methods that have been run on all sets and splits, and their counterparts without a radius
OF_RADIUS = [
    ("members_rho_0.2", "members_rho_0"),
    ("members_rho_0.5", "members_rho_0"),
    ("members_auto", "members_rho_0"),
    ("recommended_rho_0.2", "recommended_rho_0"),
]
OF_OTHERS = {
    "members_rho_0.2": "`rho=0.2`",
    "members_rho_0.5": "`rho=0.5`",
    "members_auto": "`rho='auto'`",
    "members_noisy_rho_0": "`input_noise=0.25`",
    "members_noisy_rho_0.5": "`input_noise=0.25`, `rho=0.5`",
    "members_masked_rho_0": "`InputNoise(missing=0.1)`",
    "members_masked_rho_0.5": "`InputNoise(missing=0.1)`, `rho=0.5`",
    "members_regularized_rho_0": "`dropout=0.1`, `AdamW(weight_decay=0.1)`",
    "members_regularized_rho_0.5": "both, `rho=0.5`",
    "members_auto_judged": "`rho='auto'`, chosen by noisy rows with gaps",
}
ADDED = {  # a radius to what else helps
    "members_noisy": "`input_noise=0.25`",
    "members_masked": "`InputNoise(missing=0.1)`",
    "members_regularized": "`dropout=0.1`, `AdamW(weight_decay=0.1)`",
}


def of_methods(runs: Runs, methods: Sequence[str]) -> Runs:
    """Return the runs of methods, on the sets and splits that all of them have."""
    runs = {method: runs[method] for method in methods if method in runs}
    common = {
        name: splits
        for name in set.intersection(*map(set, runs.values()))
        if (splits := set.intersection(*(set(sets[name]) for sets in runs.values())))
    }
    return {
        method: {
            name: {split: run for split, run in sets[name].items() if split in splits}
            for name, splits in common.items()
        }
        for method, sets in runs.items()
    }


def page() -> str:
    """Return the page."""
    runs = read()
    complete = [method for method in NAMES if len(runs.get(method, ())) >= MANY]
    of_all = of_methods(runs, [*{name for names in OF_RADIUS for name in names}])
    classification, regression = (of_task(of_all, kind) for kind in (False, True))
    with_numbers = with_all(of_task(of_methods(runs, complete), False), list(SHOWN))
    few = of_methods(runs, ["members_rho_0", *OF_OTHERS])
    few_classification = of_task(few, False)
    losses = [f"{name} loss" if "@" in name else "loss" for name in SHOWN]
    figures = {
        name: [column(name, strength) for strength in strengths]
        for name, strengths in (OF_ROWS | OF_WEIGHTS).items()
    }
    pair = ("members_rho_0.5", "members_rho_0")
    body = [
        [f"`{name}`", *(difference(classification, *pair, one) for one in columns)]
        for name, columns in figures.items()
    ]
    others = [
        [words, *(difference(few_classification, a, pair[1], one) for one in SHOWN)]
        for a, words in OF_OTHERS.items()
    ]
    return PAGE.format(
        n_sets=len(of_all[pair[0]]),
        **of_splits(of_all[pair[0]]),
        n_classification=len(classification[pair[0]]),
        n_regression=len(regression[pair[0]]),
        **with_noise(classification, regression, *pair),
        **of_choice(classification),
        added=lines(
            [
                [
                    words,
                    *(
                        difference(
                            few_classification, f"{a}_rho_0.5", f"{a}_rho_0", one
                        )
                        for one in SHOWN
                    ),
                ]
                for a, words in ADDED.items()
            ]
        ),
        n_with_numbers=len(with_numbers["mlp"]),
        means=lines(means(with_numbers, complete, list(SHOWN))),
        radius=lines(
            [
                [NAMES[a], *(difference(classification, a, b, one) for one in SHOWN)]
                for a, b in OF_RADIUS
            ]
        ),
        radius_of_regressions=lines(
            [
                [NAMES[a], *(ratio(regression, a, b, one) for one in losses)]
                for a, b in OF_RADIUS
            ]
        ),
        all_strengths="\n".join(
            table(["perturbation", "weakest", "weak", "strong", "strongest"], body)
        ),
        strengths="; ".join(
            f"`{name}` " + ", ".join(f"{strength:.3g}" for strength in strengths)
            for name, strengths in (OF_ROWS | OF_WEIGHTS).items()
        ),
        n_few_classification=len(few_classification["members_rho_0"]),
        n_few_with_numbers=len(
            with_all(few_classification, list(SHOWN))["members_rho_0"]
        ),
        **cost_on_clean_rows(regression, *pair),
        others=lines(others),
        **wrong_labels(),
    )


def of_splits(sets: dict[str, dict[int, dict[str, float]]]) -> dict[str, int]:
    """Return how many splits there are, and for how many sets there are fewer."""
    n_splits = [len(splits) for splits in sets.values()]
    return {
        "n_splits": max(n_splits),
        "fewest_splits": min(n_splits),
        "n_fewer_splits": sum(n < max(n_splits) for n in n_splits),
    }


def with_noise(
    classification: Runs, regression: Runs, a: str, b: str
) -> dict[str, int]:
    """Return on how many tables a radius helps against strong noise."""
    figure = column("noise", 1)
    of_classes = differences_of(classification, a, b, figure)
    wins, losses = beyond(of_classes, POINTS)
    _, lower = beyond(log_ratios_of(regression, a, b, f"{figure} loss"), SHARE)
    return {
        "n_noisy": len(of_classes),
        "noisy_wins": wins,
        "noisy_losses": losses,
        "noisy_wins_of_regressions": lower,
        "n_noisy_regressions": len(regression[a]),
    }


def of_choice(classification: Runs) -> dict[str, int]:
    """Return on how many tables a chosen radius changes the accuracy of clean rows."""
    changes = differences_of(classification, "members_auto", "members_rho_0", "score")
    wins, losses = beyond(changes, POINTS)
    return {"n_auto": len(changes), "auto_wins": wins, "auto_losses": losses}


def cost_on_clean_rows(runs: Runs, a: str, b: str) -> dict[str, str]:
    """Return the table on which one method costs most over another, and how much."""
    ratios = {
        name: mean_of(runs[a][name], "loss") / mean_of(runs[b][name], "loss")
        for name in runs[a]
    }
    worst = max(ratios, key=lambda name: ratios[name])
    before, after = (mean_of(runs[method][worst], "score") for method in (b, a))
    return {
        "worst": f"{ratios[worst]:.0f}",
        "worst_set": worst,
        "worst_from": f"{before:.2f}",
        "worst_to": f"{after:.2f}",
    }


# methods with wrong labels, and what they are compared with
OF_WRONG_LABELS = {
    "mlp": None,
    "last_rho_0": None,
    "last_rho_0.5": "last_rho_0",
    "last_rho_1": "last_rho_0",
    "default_rho_0": None,
    "default": "default_rho_0",
}


def wrong_labels() -> dict[str, Any]:
    """Return what the section on wrong labels has."""
    runs = of_methods(read(0.4), list(OF_WRONG_LABELS)), read(0.6)
    several = {name for name, entry in SETS.items() if entry["task"] == "multiclass"}
    runs = runs[0], restrict(of_methods(runs[1], list(OF_WRONG_LABELS)), several)
    body = []
    for method, other in OF_WRONG_LABELS.items():
        cells = []
        for part in runs:
            scores = [mean_of(splits, "score") for splits in part[method].values()]
            cells.append(f"{100 * np.mean(scores):.1f}")
            cells.append(difference(part, method, other, "score") if other else "")
        body.append([NAMES[method], *cells])
    head = ["method", "40 % wrong", "to radius 0", "60 % wrong", "to radius 0"]
    return {
        "wrong_labels": "\n".join(table(head, body)),
        "n_of_40": len(runs[0]["mlp"]),
        "n_of_60": len(runs[1]["mlp"]),
    }


def lines(body: list[list[str]]) -> str:
    """Return a table with the perturbations of the summary as columns."""
    return "\n".join(table(["method", *SHOWN.values()], body))


# -- the picture -------------------------------------------------------------------------

# label, colour that the colour-blind can tell apart, and line
DRAWN = {
    "members_rho_0.5": ("five networks, rho=0.5", "#0072B2", "-"),
    "members_rho_0": ("five networks, rho=0", "#56B4E9", "-"),
    "mlp": ("MLPClassifier", "0.4", "-"),
    "catboost": ("CatBoost", "#E69F00", "--"),
    "hgb": ("HistGradientBoosting", "#D55E00", "--"),
}
AXES = {
    "noise": "Noise on every number,\nstandard deviations of its column",
    "constant": "Share of entries that the mean or\nthe most frequent value replaces",
    "swap": "Share of entries swapped with\nthose of other rows",
}


def draw() -> None:
    """Draw accuracy against the strength of three perturbations."""
    from _pictures import plt, save

    runs = of_task(of_methods(read(), list(DRAWN)), False)
    runs = with_all(runs, [column(name, OF_ROWS[name][0]) for name in AXES])
    figure, axes = plt.subplots(
        1, 3, figsize=(10.5, 4.3), sharey=True, layout="constrained"
    )
    for ax, (name, label) in zip(axes, AXES.items(), strict=True):
        strengths = OF_ROWS[name]
        last = {}
        for method, (words, color, line) in DRAWN.items():
            figures = ["score", *(column(name, one) for one in strengths)]
            scores = [
                100 * np.mean([mean_of(sets, one) for sets in runs[method].values()])
                for one in figures
            ]
            style = {"color": color, "label": words, "marker": ".", "lw": 2}
            ax.plot([0, *strengths], scores, line, **style)
            last[words] = scores[-1]
        ax.set_xlabel(label)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        ends = [pick(last, key=last.get) for pick in (max, min)]
        title = "\n".join(f"{one}: {last[one]:.0f} %" for one in ends)
        ax.set_title(f"Most and least left, at the right end:\n{title}", fontsize=9)
    axes[0].set_ylabel(f"Accuracy on test rows of {len(runs['mlp'])} tables, %")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False
    )
    save(figure, "robustness")


def mean_of(splits: dict[int, dict[str, float]], figure: str) -> float:
    """Return the mean of a figure over splits."""
    return float(np.mean([run[figure] for run in splits.values()]))
