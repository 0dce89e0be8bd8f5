"""Write the pages of docs that are of stored results: benchmarks, quality and others.

python benchmarks/report.py
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import _cuda_report
import _landing_report
import _pictures
import _robustness_report
from _comparison import (
    Runs,
    compare,
    compare_all,
    compare_calibration,
    compare_one,
    compare_pairs,
    compare_sets,
    compare_sizes,
    select,
    summary,
)
from _datasets import SETS
from _methods import METHODS, RATES

from sksharp.options.solvers import SOLVERS as OPTIONS_OF_SOLVERS

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"

INTRODUCTION = """# Benchmarks

Every figure on this page comes from a result stored under `benchmarks/results/`. To
repeat the measurements and write this page again (the section on sharpness has a script
of its own):

```shell
make bench
```

{environment}

The machine is shared and its speed drifts, so ratios are more reliable than seconds.
Everything but the [last section](#on-a-gpu) is about that CPU.
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
float32. A figure is the CPU time of this package over the other's: below 1 this package
is faster. The bare loop takes the same steps and keeps the loss, so its figure shows the
cost of everything around them: validation, labels, initial weights, skorch, stopping
rule. The loop with autograd is a tutorial's, with `torch.nn.Linear` and
`torch.optim.Adam`. Plain skorch runs with its defaults and, for SAM, with the class of
`pytorch_optimizer`.

| solver | to a bare loop of the same steps | to a loop with autograd | to plain skorch |
|---|---|---|---|
{peers}

`predict_proba` over scikit-learn's: {one_row:.2f} for one row, {many_rows:.2f} for
100,000 rows.
""",
    "cost": """## The cost of a solver or an average

CPU time of `fit` over that of the solver that the method is built on, for a network of
{hidden} hidden units, {n_features} features, minibatches of {batch_size}, in both dtypes:
the median of the ratios of {pairs} pairs, and their quartiles. Where the quartiles are
far apart, other programs were running. *Aim* is the ratio that the implementation aims
at. The last two columns are the time of the optimizer's step alone, with a gradient that
is already computed, in float32: the arithmetic of the method. The gradient of this
network is cheap, so that arithmetic shows here more than it does in a large network.

| method | over | float32 | quartiles | float64 | quartiles | aim | step, µs | its base's |
|---|---|---|---|---|---|---|---|---|
{rows}

{misses}
""",
    "references": """## Next to published code

`benchmarks/compare_references.py` trains the same network from the same weights on the
same minibatches, {n_steps} steps, with our optimizer and with that of another package. A
figure is the largest distance between the two trajectories, over the norm of the weights.
Single precision rounds at about 1e-7. Where the other code departs from the paper, or
from the form used here, the next row shows our optimizer with the same departure: nothing
else differs. Versions: {versions}.

| method | other code | float32 | float64 | difference |
|---|---|---|---|---|
{rows}
""",
    "scale": """## Time and memory by size

{what}. Memory is the peak of the process minus what it held before the fit.

| rows | CPU seconds per million rows | peak over the array | array |
|---|---|---|---|
{rows}

| hidden layers | minibatch | CPU seconds per million rows |
|---|---|---|
{shapes}
""",
    "search": """## Many networks at once

CPU time on one thread of a search over `rho` with five folds, as two ratios: that of
`GridSearchCV` to `VectorizedGridSearchCV`, both with `SAMMLPClassifier`; and that of
`GridSearchCV` with scikit-learn's `MLPClassifier`, over as many values of `alpha`, to
`VectorizedGridSearchCV`. Above 1, training together is faster.

| network, dtype | one by one / together | scikit-learn / together |
|---|---|---|
{searches}

The cost of choosing a radius and of members, in units of a fit of one network with one
radius and as many epochs. Measured when members tried six radii on all folds, and a choice
took longer than now:

| network, dtype | `rho='auto'` | `n_members=5` | both |
|---|---|---|---|
{fits}
""",
    "sharpness": """## How flat the minima are

Three tables of the [quality benchmark](quality.md), one network of 100 hidden units for
each of {splits} splits, 200 epochs. A radius of 0 is `solver='adam'`. Sharpness is that
of the training rows: the highest rise of the loss within {radius:g} of the weights, the
same relative to the weights (`adaptive=True`), the largest eigenvalue of the Hessian and
its trace; `score` is the accuracy or R² on the test rows. A larger radius finds a flatter
minimum on every table and by every measure. Whether it predicts better depends on the
data.

| table | `rho` | train loss | worst | adaptive | eigenvalue | trace | test loss | score |
|---|---|---|---|---|---|---|---|---|
{rows}

To repeat: `python benchmarks/bench_sharpness.py`.
""",
    "start": """## The first use

- `import sksharp` takes {import_to_sklearn:.2f} times as long as
  `import sklearn.neural_network`; torch is imported by the first fit. It adds
  {n_modules} modules, {n_others} of them of other packages.
- Besides torch and what torch requires, an installation brings {n_packages} packages:
  {packages}.
- With torch imported, the first fit of a process takes
  {first_fit_over_second_seconds:.2f} s of CPU time more than the second.
- A grid search over four candidates with two fresh workers takes
  {ours:.1f} s of wall time, {theirs:.1f} s with scikit-learn's estimator: every worker
  imports torch once.
""",
}

QUALITY = """# How well the networks predict

`benchmarks/bench_quality.py` trains on 52 public tables of 112 to 10,000 training rows,
in up to three random splits each, and stores every run in
`benchmarks/results/quality.csv`.

- The tables come from Python packages that carry them; `benchmarks/datasets.json` has for
  each the package, its version and the lines that read it. A quarter of the rows are test
  rows, and training and test rows are limited to 10,000 each.
- `default` is `SAMMLPClassifier()` or `SAMMLPRegressor()`, `default_rho_0` the same with
  `rho=[0]`: what small minibatches, the average and the choice of the length give without
  flatness.
  `recommended` is `tabular_pipeline("classifier")` or `("regressor")`, which has no
  radius. `adam` is this package's network with scikit-learn's solver, `sam` the one with
  a fixed radius of 0.05, `swa` that one with `swa=True`.
- `mlp` is scikit-learn's network with default parameters, `mlp_es` with early stopping,
  `mlp_grid` with a search over `alpha`; `hgb` is scikit-learn's `HistGradientBoosting`.
  LightGBM, CatBoost, RealMLP (`realmlp5`: five folds) and TabM (of pytabkit) run with their
  own defaults.
- Plain networks get the same preprocessing: missing numbers become the median, numbers
  are standardized, categories become one column each; the target of a regression is
  standardized.
- A win is a mean score (accuracy, R²) higher by more than twice the standard error over
  the splits; with three splits about one table in five is a win or a loss by chance.
  Ratios are geometric means over the tables: of the loss (log-loss, squared error) and of
  the CPU time of a fit on one thread. *Points* are hundredths of the score. The
  calibration error is the expected calibration error of the most likely class, in 15
  bins.
- How `default` trains, and which network `recommended` has, was chosen with these tables
  in view, which flatters them. The other methods have the defaults of their authors, who
  may have known some of the tables too.
- A method is compared on the tables and splits that it has been run on. The column `sets`
  has the number of tables. Only methods with three splits of all 52 tables can be read as
  results: for the others, a table with one split is always a tie, and the missing tables
  are mostly the large ones.
- Only `mlp` and `recommended` ran in turns, in one run. `default`, `default_rho_0`, `tabm`,
  the ablation and `recommended` with flipped labels ran later: their times are multiplied,
  table by table, by the ratio of what `mlp` took in the two runs. All others ran on other
  days, at speeds that differ by up to a factor of two: read their ratios of times loosely.
- Measured with Python {python} on {machine}.

{tables}
To repeat the measurements: `python benchmarks/bench_quality.py`. `--report default mlp`
compares any two methods table by table.
"""

SOLVERS = """# The solvers, measured

Every solver was run on {n_sets} tables of the [quality benchmark](quality.md) with up to
{max_rows:,} rows, {splits}: with the original labels, and with 20 % and 40 % of the
training labels flipped ({n_noisy} tables; the others are regressions). All networks have
100 hidden units and the same plain preprocessing.

- The baseline is `adam`: this package's network with scikit-learn's solver and defaults.
- *chosen*: with `rho='auto'`, the default, which chooses one of three radii on held-out
  rows and also brings an average of the weights and smaller minibatches.
- *fixed*: the usual radius (0.05; 0.5 for `'asam'` and `'msam'`), and otherwise the
  baseline's settings. This shows what the solver itself does.
- For solvers without a radius, *chosen* is the length of training alone, `rho=0` is
  scikit-learn's training, and *searched* that with the best of three values of
  `learning_rate_init` ({rates}) by cross-validation.
- Wins and losses are tables where the mean score differs by more than twice its standard
  error; *loss* is the geometric mean of the ratios of log-loss or squared error, below 1
  if better than the baseline; *CPU* is that of the times of a fit, including the choice
  or the search. The columns *20 %* and *40 %* have the wins and losses with that share of
  labels flipped, and each *loss* belongs to the column before it.

| solver | setting | wins, losses | loss | 20 % | loss | 40 % | loss | CPU |
|---|---|---|---|---|---|---|---|---|
{rows}

With three splits about one table in five is a win or a loss by chance, with two splits
one in three, so compare whole columns rather than single cells. The times were taken at
different loads of the machine: a difference of a quarter in *CPU* says nothing. The
*chosen* rows of solvers with a radius were measured when a choice took longer than it does
now and took the radius with the lowest loss; those without one on {n_lengths} of the
tables and two splits, with the original labels. To repeat the measurements:

```shell
python benchmarks/bench_quality.py --methods family --max-rows {max_rows} --noise 0 0.2 0.4
python benchmarks/bench_quality.py --methods ours recipes --noise 0.2 0.4
```
"""
# rows of the costs that were stored under names of parameters as they once were
RENAMED = {
    "sam, sam_interval=5": "sam, interval=5",
    "n_snapshots=5 over adam": "snapshots=5 over adam",
}
MAX_ROWS_OF_SOLVERS = 4400
NOISES = (0.0, 0.2, 0.4)
HIDDEN = ("recipes", "family", "ablation")  # groups that the tables of all leave out
SIZES = [500, 1500, 5000]  # bounds of the training rows


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
    step = row.get("step", {})
    ratios = []
    for fit in row["fit"].values():
        low, high = fit["quartiles"]
        ratios += [f"{fit['ratio']:.2f}", f"{low:.2f} to {high:.2f}"]
    microseconds = [
        f"{step[name]:.0f}" if step else ""
        for name in ("microseconds_per_step", "microseconds_per_step_of_base")
    ]
    return [
        cost_name(row),
        row["base"]["solver"],
        *ratios,
        "" if row["target"] is None else f"{row['target']:g}",
        *microseconds,
    ]


def cost_name(row: dict[str, Any]) -> str:
    """Return what a method of a stored cost is called today."""
    return RENAMED.get(row["name"], row["name"])


def misses(rows: list[dict[str, Any]]) -> str:
    """Return a sentence on the methods that cost more than was aimed at."""
    names = {
        dtype: [
            cost_name(row)
            for row in rows
            if row["target"] is not None and row["fit"][dtype]["ratio"] > row["target"]
        ]
        for dtype in rows[0]["fit"]
    }
    if not any(names.values()):
        return "Every method costs no more than the aim."
    missed = "; ".join(
        f"in {dtype} {', '.join(of_dtype) or 'none'}"
        for dtype, of_dtype in names.items()
    )
    return (
        f"Above the aim: {missed}. Besides its gradients a method makes calls of small "
        "kernels, with ESAM those for the losses of rows and their selection."
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


def sharpness_section() -> str:
    """Return the section on how flat the minima are."""
    result = load("sharpness")
    del result["environment"]
    settings = result.pop("settings")
    names = (
        "training loss",
        "worst case",
        "worst case, adaptive",
        "top eigenvalue",
        "trace",
        "test loss",
        "score",
    )
    rows = [
        [name, rho, *(f"{figures[key]:.3g}" for key in names)]
        for name, by_radius in result.items()
        for rho, figures in by_radius.items()
    ]
    return SECTIONS["sharpness"].format(
        splits=settings["splits"],
        radius=settings["radius_of_ball"],
        rows=table(rows),
    )


def start_section() -> str:
    """Return the section on the first use."""
    result = load("start")
    wall = result.pop("grid_search_two_workers_wall_seconds")
    packages = result.pop("packages_beside_torch")
    return SECTIONS["start"].format(
        **result,
        ours=wall["sksharp"],
        theirs=wall["sklearn"],
        n_modules=result["modules_beside_sklearn_neural_network"],
        n_others=len(result["modules_of_others"]),
        n_packages=len(packages),
        packages=", ".join(packages),
    )


def quality_page() -> str:
    """Return the page on the quality of the predictions."""
    with (HERE / "results" / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sizes = {row["set"]: int(row["n_train"]) for row in rows}
    order = ("default", "default_rho_0", "recommended", "recommended_auto", "adam")
    stored = dict.fromkeys([*order, *(row["method"] for row in rows)])
    options = argparse.Namespace(
        methods=[name for name in stored if METHODS[name].group not in HIDDEN],
        sets=list(dict.fromkeys(row["set"] for row in rows)),
        splits=[0, 1, 2],
        report=None,
    )
    tables = []
    for noise in sorted({float(row["noise"]) for row in rows}):
        runs = select(rows, options, noise)
        title = "Labels as they are" if not noise else f"{noise:.0%} of labels flipped"
        lines = compare_all(runs)
        for name in ("default", "recommended"):
            if name in runs and not noise:
                lines += compare_sizes(runs, name, sizes, SIZES)
        both = select(rows, with_methods(options, ["default", "default_rho_0"]), noise)
        if radius := compare_pairs(both, [("default", "default_rho_0")]):
            lines += ["What the radius adds:", "", *radius]
        if not noise:
            lines += ["Calibration of the classifiers:", "", *compare_calibration(runs)]
        if "default" in runs:
            detail = compare_sets(runs, "default", "mlp")
            lines += ["The default on every table:", "", *detail]
        if "recommended" in runs:
            lines += [
                "The recommended setting against the others, and the mean difference of",
                "the score in points:",
                "",
                *compare_one(runs, "recommended"),
                "The recommended setting on every table, against mlp:",
                "",
                *compare_sets(runs, "recommended", "mlp"),
            ]
        for name in ("default", "recommended"):
            as_long = f"mlp_as_long_as_{name}"
            if {name, as_long} <= runs.keys():
                head, *detail = compare(runs, name, as_long)
                lines += [f"At equal training time, {head}", *detail]
        parts = [name for name in METHODS if METHODS[name].group == "ablation"]
        ablation = select(rows, with_methods(options, ["recommended", *parts]), noise)
        if len(ablation) > 1:
            lines += [
                "The recommended setting without one of its parts, against the whole:",
                "",
                *compare_pairs(ablation, [(name, "recommended") for name in parts]),
            ]
        if lines:
            tables += [f"## {title}", "", *lines]
    measured = load("quality")
    return QUALITY.format(
        tables="\n".join(tables), python=measured["python"], machine=measured["machine"]
    )


def with_methods(options: argparse.Namespace, methods: list[str]) -> argparse.Namespace:
    """Return options for other methods."""
    return argparse.Namespace(**{**vars(options), "methods": methods})


def in_common(runs: Runs) -> Runs:
    """Return the runs of tables and splits that all methods have, two splits or more."""
    common: dict[str, set[int]] = {}
    for name in set.intersection(*(set(sets) for sets in runs.values())):
        splits = set.intersection(*(set(sets[name]) for sets in runs.values()))
        if len(splits) > 1:
            common[name] = splits
    return {
        method: {
            name: {split: sets[name][split] for split in sorted(common[name])}
            for name in sorted(common)
        }
        for method, sets in runs.items()
    }


def solvers_page() -> str:
    """Return the page on all solvers."""
    with (HERE / "results" / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    family = [name for name, method in METHODS.items() if method.group == "family"]
    lengths = [name for name in family if chooses_length(name)]
    methods = ["adam", "adam_ema", "swa", "sam", *family]
    options = argparse.Namespace(
        methods=[name for name in methods if name not in lengths],
        sets=[n for n in SETS if SETS[n]["n_rows"] <= MAX_ROWS_OF_SOLVERS],
        splits=[0, 1, 2],
        report=None,
    )
    runs = {noise: in_common(select(rows, options, noise)) for noise in NOISES}
    of_lengths = select(rows, with_methods(options, ["adam", *lengths]), 0.0)
    of_clean, of_noisy = (runs[noise]["adam"] for noise in NOISES[:2])
    n_splits = sorted({len(splits) for splits in of_clean.values()})
    body = []
    for name in options.methods:
        if name == "adam":
            continue
        cells = []
        for noise in NOISES:
            _, wins, _, losses, loss, cpu = summary(runs[noise], name, "adam")
            cells += [f"{wins}, {losses}" if wins else "", loss]
            if not noise:
                cpu_of_clean = cpu
        body.append([*described(name), *cells, cpu_of_clean])
    for name in lengths:
        _, wins, _, losses, loss, cpu = summary(of_lengths, name, "adam")
        body.append([*described(name), f"{wins}, {losses}", loss, "", "", "", "", cpu])
    return SOLVERS.format(
        n_lengths=len(of_lengths[lengths[0]]),
        n_sets=len(of_clean),
        n_noisy=len(of_noisy),
        max_rows=MAX_ROWS_OF_SOLVERS,
        splits=" or ".join(map(str, n_splits)) + " random splits each",
        rates=", ".join(f"{rate:g}" for rate in RATES),
        rows=table(body),
    )


ADDED = {
    "swa": ("`'sam'`, `swa=True`", "fixed"),
    "adam_ema": ("`'adam'`, `ema_decay=0.99`", "default"),
    "sam_every_5": ("`SAM(interval=5)`", "chosen"),
    "sam_late": ("`SAM(start=0.5)`", "chosen"),
    "sam_micro": ("`SAM(micro_batch_size=32)`", "chosen"),
    "snapshots": ("`'sam'`, `snapshots=5`", "chosen"),
    "fast_geometric": ("`'sam'`, `snapshots=5`, triangular", "chosen"),
    "sam": ("`'sam'`", "fixed"),
    "sam_chosen": ("`'sam'`", "chosen"),
}


def chooses_length(method: str) -> bool:
    """Return whether a method is a solver without a radius, as it comes."""
    solver = OPTIONS_OF_SOLVERS.get(method)
    return solver is not None and solver.chooses_length and not solver().takes_radius


def described(method: str) -> tuple[str, str]:
    """Return a method's solver and setting in words."""
    name, _, kind = method.rpartition("_")
    if kind == "fixed":
        setting = "`rho=0`" if chooses_length(name) else "fixed"
        return ADDED.get(name, (f"`'{name}'`",))[0], setting
    if kind == "search":
        return f"`'{name}'`", "searched"
    setting = "default" if method == "yellowfin" else "chosen"
    return ADDED.get(method, (f"`'{method}'`", setting))


def benchmarks_page() -> str:
    """Return the page on times, memory and trajectories."""
    page = [
        INTRODUCTION.format(environment=describe(load("fit")["environment"])),
        fit_section(),
        cost_section(),
        references_section(),
        scale_section(),
        search_section(),
        sharpness_section(),
        start_section(),
        _cuda_report.section(HERE / "results" / "cuda.json"),
    ]
    return "\n".join(page)


def main() -> None:
    """Write the pages and the pictures."""
    (DOCS / "benchmarks.md").write_text(benchmarks_page())
    (DOCS / "quality.md").write_text(quality_page())
    _pictures.draw_fit()
    _pictures.draw_quality()
    (DOCS / "index.md").write_text(_landing_report.page())
    (DOCS / "what-flatness-is-for.md").write_text(_robustness_report.page())
    _robustness_report.draw()
    with (HERE / "results" / "quality.csv").open(newline="") as file:
        measured = {row["method"] for row in csv.DictReader(file)}
    if "wsam" in measured:  # hours of runs that a checkout need not have
        (DOCS / "solvers-measured.md").write_text(solvers_page())


if __name__ == "__main__":
    main()
