"""Draw the tables and the plot of docs/benchmarks.md from the stored results.

python benchmarks/report.py
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from _comparison import compare_all, compare_sets, select
from _methods import METHODS

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"

INTRODUCTION = """# Benchmarks

Every figure on this page comes from a result stored under `benchmarks/results/`. To
measure anew and draw this page again:

```shell
make bench
```

{environment}

The machine is shared and its speed drifts, so read the ratios, not the seconds.
"""

SECTIONS = {
    "fit": """## The time of a fit

CPU time of `fit` on one thread, over that of scikit-learn's `MLPClassifier` or
`MLPRegressor` with `solver='adam'`, for the same network, data, dtype and number of
epochs: the median of the ratios of seven pairs. A sharpness-aware step takes two
gradients; below 1 it takes less time than scikit-learn needs for one.

| network | solver | dtype | to scikit-learn's adam | to our own adam |
|---|---|---|---|---|
{rows}

![Time of a fit over that of scikit-learn's adam](images/fit.png)

## Next to other ways to train the same network

{n_samples} rows, 20 features, 100 hidden units, minibatches of 200, {epochs} epochs,
float32. A figure is our CPU time over the other's: below 1 we are faster. The bare loop
takes the engine's own steps and keeps the loss, so its figure is the cost of everything
around them: validation, labels, initial weights, skorch, stopping rule. The loop with
autograd is that of a tutorial, with `torch.nn.Linear` and `torch.optim.Adam`. Plain
skorch runs with its defaults and, for SAM, with the class of `pytorch_optimizer`.

| solver | to a bare loop of the same steps | to a loop with autograd | to plain skorch |
|---|---|---|---|
{peers}

`predict_proba` over scikit-learn's: {one_row:.2f} for one row, {many_rows:.2f} for
100,000 rows.
""",
    "cost": """## The cost of a solver or an average

CPU time of `fit` over that of the solver that the method is built on, for a network of
{hidden} hidden units, {n_features} features, minibatches of {batch_size}, {dtype}:
the median of the ratios of {pairs} pairs, and their quartiles. Where the quartiles are far
apart, other programs had the machine. The last two columns are the optimizer's step alone,
with a gradient that is there already: the arithmetic of the method. A gradient of this
network is small work, so that arithmetic shows here, as it does not beside a large one.

| method | over | fit | quartiles | aim | step, µs | of its base, µs |
|---|---|---|---|---|---|---|
{rows}

{misses}
""",
    "references": """## Next to published code

`benchmarks/compare_references.py` trains the same network from the same weights on the
same minibatches, {n_steps} steps, with our optimizer and with that of another package. A
figure is the largest distance between the two trajectories, over the length of the
weights. Single precision rounds at about 1e-7. Where the other code departs from the
paper, or from the form of ours, the row after shows ours made to depart alike: nothing
else is different. With {versions}.

| method | other code | float32 | float64 | difference |
|---|---|---|---|---|
{rows}
""",
    "scale": """## Growth

{what}. Memory is the peak of the process over what it held before the fit.

| rows | CPU seconds per million rows | peak over the array | array |
|---|---|---|---|
{rows}

| hidden layers | minibatch | CPU seconds per million rows |
|---|---|---|
{shapes}
""",
    "search": """## Many networks at once

CPU time on one thread of a search over `rho` with five folds: `GridSearchCV` over
`VectorizedGridSearchCV`, both with our estimator, so above 1 training together is
faster; and `GridSearchCV` with scikit-learn's `MLPClassifier` over as many values of
`alpha`, over `VectorizedGridSearchCV`.

| network, dtype | one by one / together | scikit-learn / together |
|---|---|---|
{searches}

What choosing a radius and averaging cost, in fits of one network with one radius and as
many epochs. One network tries three radii, five members try six. The two largest networks
train for 6 and 4 epochs here, between which the radii cannot be dropped as early as in a
training of usual length:

| network, dtype | `rho='auto'` | `n_members=5` | both |
|---|---|---|---|
{fits}
""",
    "start": """## The first use

- `import sksharp` takes {import_to_sklearn:.2f} times as long as
  `import sklearn.neural_network`; torch is imported by the first fit.
- With torch imported, the first fit of a process takes
  {first_fit_over_second_seconds:.2f} s of CPU time more than the second.
- A grid search over four candidates with two fresh workers takes
  {ours:.1f} s of wall time, {theirs:.1f} s with scikit-learn's estimator: every worker
  imports torch once.
""",
}

QUALITY = """# How well the networks predict

`benchmarks/bench_quality.py` trains on 52 public tables of 112 to 10,000 training rows,
in up to three random splits each, and stores every run in `benchmarks/results/quality.csv`.

- `default` is `SAMMLPClassifier()` or `SAMMLPRegressor()` as it comes; `recommended` is
  the setting of the [README](../README.md#choose-rho), in a `tabular_pipeline`, and
  `recommended_rho_0` the same with `rho=0`: what members, averages and the encoding of
  the columns give without flatness. `adam` is our network with scikit-learn's solver,
  `sam` the one with a fixed radius of 0.05.
- `mlp` is scikit-learn's network as it comes, `mlp_es` the one with early stopping, `hgb`
  its `HistGradientBoosting`. LightGBM, CatBoost and RealMLP (`realmlp5`: five folds)
  run with their own defaults.
- Plain networks get the same preprocessing: median, standard deviations, one column per
  category; the target of a regression in standard deviations.
- A win is a mean score (accuracy, R²) higher by more than twice the standard error over
  the splits. Ratios are geometric means over the tables: of the loss (log-loss, squared
  error) and of the CPU time of a fit on one thread.
- A method is compared on the tables and splits that it has been run on. The first column
  has the number of tables. Only methods with three splits of all 52 tables can be read as
  results: of the others, a table with one split is always a tie, and most that are
  missing are the large ones.

{tables}
To measure anew: `python benchmarks/bench_quality.py`; `--report default mlp` prints any
two methods set by set.
"""


def load(name: str) -> dict[str, Any]:
    """Return a stored result."""
    result: dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text())
    return result


def describe(environment: dict[str, Any]) -> str:
    """Return a sentence on versions and machine."""
    packages = (
        "sksharp",
        "scikit-learn",
        "torch",
        "skorch",
        "numpy",
        "pytorch_optimizer",
    )
    versions = ", ".join(f"{p} {environment[p]}" for p in packages if p in environment)
    return (
        f"Measured with Python {environment['python']}, {versions}, on "
        f"{environment['machine']}."
    )


def table(rows: list[list[str]]) -> str:
    """Return the lines of a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def network(row: dict[str, Any]) -> str:
    """Return a row's network in words."""
    hidden = ", ".join(map(str, row["hidden"]))
    kind = "regression" if row["is_regression"] else f"{row['n_classes']} classes"
    return f"{hidden} units, minibatch {row['batch_size']}, {kind}"


def fit_section() -> str:
    """Return the section on the time of a fit."""
    result = load("fit")
    peers = result["peers"]
    return SECTIONS["fit"].format(
        rows=table(
            [
                [
                    network(row),
                    row["solver"],
                    row["dtype"],
                    f"{row['to_sklearn_adam']:.2f}",
                    f"{row['to_our_adam']:.2f}" if row["solver"] != "adam" else "",
                ]
                for row in result["rows"]
            ]
        ),
        peers=table(
            [
                [solver]
                + [
                    f"{peers[solver][f'to_{peer}']:.2f}"
                    for peer in ("bare_loop", "autograd", "skorch")
                ]
                for solver in ("adam", "sam")
            ]
        ),
        n_samples=peers["row"]["n_samples"],
        epochs=peers["row"]["epochs"],
        one_row=result["predict"]["one_row"],
        many_rows=result["predict"]["100000_rows"],
    )


def cost_section() -> str:
    """Return the section on the cost of solvers and averages."""
    result = load("cost")
    return SECTIONS["cost"].format(
        **result["setting"],
        rows=table([cost_row(row) for row in result["rows"]]),
        misses=misses(result["rows"]),
    )


def cost_row(row: dict[str, Any]) -> list[str]:
    """Return the cells of a method's row."""
    low, high = row["fit"]["quartiles"]
    step = row.get("step", {})
    microseconds = [
        f"{step[name]:.0f}" if step else ""
        for name in ("microseconds_per_step", "microseconds_per_step_of_base")
    ]
    return [
        row["name"],
        row["base"]["solver"],
        f"{row['fit']['ratio']:.2f}",
        f"{low:.2f} to {high:.2f}",
        "" if row["target"] is None else f"{row['target']:g}",
        *microseconds,
    ]


def misses(rows: list[dict[str, Any]]) -> str:
    """Return a sentence on the methods that cost more than was aimed at."""
    names = [
        row["name"]
        for row in rows
        if row["target"] is not None and row["fit"]["ratio"] > row["target"]
    ]
    if not names:
        return "Every method costs what was aimed at, or less."
    return (
        f"More than was aimed at: {', '.join(names)}. ESAM evaluates rows three times; the "
        "others pass over the weights more often than Adam and SAM, whose arithmetic is a "
        "few kernels."
    )


def references_section() -> str:
    """Return the section on the trajectories of other code."""
    result = load("references")
    packages = (
        "pytorch_optimizer",
        "schedulefree",
        "torch_optimizer",
        "pytorch_ranger",
    )
    environment = result["environment"]
    versions = ", ".join(f"{name} {environment[name]}" for name in packages)
    return SECTIONS["references"].format(
        n_steps=result["n_steps"],
        versions=f"torch {environment['torch']}, {versions}",
        rows=table(
            [
                [
                    row["method"],
                    f"`{row['reference']}`",
                    f"{row['float32']:.0e}",
                    f"{row['float64']:.0e}",
                    row["note"],
                ]
                for row in result["rows"]
            ]
        ),
    )


def scale_section() -> str:
    """Return the section on growth."""
    result = load("scale")
    return SECTIONS["scale"].format(
        what=result["what"].capitalize(),
        rows=table(
            [
                [
                    f"{row['n_samples']:,}",
                    f"{row['seconds_per_million_rows']:.2f}",
                    f"{row['peak_mib_over_array']:.0f} MiB",
                    f"{row['array_mib']:.0f} MiB",
                ]
                for row in result["rows"]
            ]
        ),
        shapes=table(
            [
                [
                    ", ".join(map(str, row["hidden"])),
                    str(row["batch_size"]),
                    f"{row['seconds_per_million_rows']:.1f}",
                ]
                for row in result["shapes"]
            ]
        ),
    )


def search_section() -> str:
    """Return the section on searches and members."""
    result = load("search")
    del result["environment"]
    names = ("one by one / together", "scikit-learn / together")
    kinds = ("auto", "5 members", "auto, 5 members")
    return SECTIONS["search"].format(
        searches=table(
            [
                [case, *(f"{row[name]:.2f}" for name in names)]
                for case, row in result.items()
            ]
        ),
        fits=table(
            [
                [case, *(f"{row['in fits of one radius'][kind]:.1f}" for kind in kinds)]
                for case, row in result.items()
            ]
        ),
    )


def start_section() -> str:
    """Return the section on the first use."""
    result = load("start")
    wall = result.pop("grid_search_two_workers_wall_seconds")
    return SECTIONS["start"].format(
        **result, ours=wall["sksharp"], theirs=wall["sklearn"]
    )


def quality_page() -> str:
    """Return the page on the quality of the predictions."""
    with (HERE / "results" / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    order = ("default", "recommended", "recommended_rho_0", "adam", "sam")
    stored = dict.fromkeys([*order, *(row["method"] for row in rows)])
    options = argparse.Namespace(
        methods=[name for name in stored if METHODS[name].group != "recipes"],
        sets={row["set"] for row in rows},
        splits=[0, 1, 2],
        report=None,
    )
    tables = []
    for noise in sorted({float(row["noise"]) for row in rows}):
        runs = select(rows, options, noise)
        title = "Labels as they are" if not noise else f"{noise:.0%} of labels flipped"
        lines = compare_all(runs)
        if "default" in runs:
            detail = compare_sets(runs, "default", "mlp")
            lines += ["The default on every table:", "", *detail]
        if lines:
            tables += [f"## {title}", "", *lines]
    return QUALITY.format(tables="\n".join(tables))


def draw() -> None:
    """Draw the ratios of the fits."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = load("fit")["rows"]
    names = [f"{row['solver']}, {network(row)}, {row['dtype']}" for row in rows]
    ratios = [row["to_sklearn_adam"] for row in rows]
    figure, ax = plt.subplots(figsize=(8, 0.35 * len(rows) + 1), layout="constrained")
    colors = ["tab:gray" if row["solver"] == "adam" else "tab:blue" for row in rows]
    bars = ax.barh(names, ratios, color=colors)
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.axvline(1, color="black", linestyle="--", linewidth=1)
    ax.invert_yaxis()
    ax.margins(x=0.1)
    ax.set_xlabel("CPU time of a fit over that of scikit-learn's adam")
    (DOCS / "images").mkdir(exist_ok=True)
    figure.savefig(DOCS / "images" / "fit.png", dpi=110)


def main() -> None:
    """Write the page and the picture."""
    page = [
        INTRODUCTION.format(environment=describe(load("fit")["environment"])),
        fit_section(),
        cost_section(),
        references_section(),
        scale_section(),
        search_section(),
        start_section(),
    ]
    (DOCS / "benchmarks.md").write_text("\n".join(page))
    (DOCS / "quality.md").write_text(quality_page())
    draw()


if __name__ == "__main__":
    main()
