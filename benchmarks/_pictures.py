"""The pictures of the pages, drawn from the stored results."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from _comparison import Runs, geometric_ratio, pairs, select

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
IMAGES = HERE.parent / "docs" / "images"
# Okabe and Ito's colors, which the color-blind can tell apart
OURS, TREES, NETWORKS, GRAY = "#0072B2", "#D55E00", "#009E73", "0.35"

# -- loss against time -------------------------------------------------------------------

# label, its place, and color
ABOVE, BELOW, RIGHT = ("center", "bottom"), ("center", "top"), ("left", "center")
SHIFT = {"bottom": (0, 3), "top": (0, -4), "center": (8, 0)}  # points
NAMES = {
    "default": ("sksharp, default", ABOVE, OURS),
    "recommended": ("sksharp, tabular_pipeline", BELOW, OURS),
    "mlp_es": ("scikit-learn's MLP,\nearly stopping", RIGHT, GRAY),
    "hgb": ("HistGradientBoosting", BELOW, TREES),
    "lightgbm": ("LightGBM", ABOVE, TREES),
    "catboost": ("CatBoost", RIGHT, TREES),
    "realmlp": ("RealMLP", ABOVE, NETWORKS),
    "realmlp5": ("RealMLP, five folds", ABOVE, NETWORKS),
}


def draw_quality() -> None:
    """Draw loss against time of the methods that have been run on all tables."""
    with (HERE / "results" / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sets = list(dict.fromkeys(row["set"] for row in rows))
    options = argparse.Namespace(
        methods=["mlp", *NAMES], sets=sets, splits=[0, 1, 2], report=None
    )
    runs = select(rows, options, 0.0)
    random = np.random.default_rng(0)
    # on a phone it is a third as wide
    with plt.rc_context({"font.size": 11}):
        figure, ax = plt.subplots(figsize=(6.4, 4.9), layout="constrained")
        ax.axhline(1, color="0.7", linewidth=1)
        ax.plot(1, 1, "o", color=GRAY)
        ax.annotate("scikit-learn's MLP", (1, 1), (8, 6), textcoords="offset points")
        for method in NAMES:
            # the tables that others lack are the large ones
            if len(runs.get(method, ())) == len(sets):
                draw_method(ax, runs, method, random)
        ax.set_xscale("log")
        ticks = [0.1, 0.3, 1, 3, 10]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set_xlim(0.05, 17)
        ax.set_ylim(bottom=0.53)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("CPU time of a fit, scikit-learn's MLP = 1 (log scale)")
        ax.set_ylabel("Loss on test rows, scikit-learn's MLP = 1")
        losses = [ratio(runs, method, "loss") for method in ("default", "recommended")]
        ax.set_title(
            f"{len(sets)} tables: {losses[0]:.2f} of the loss of scikit-learn's MLP,\n"
            f"{losses[1]:.2f} with tabular_pipeline (means, 95 % intervals)",
            fontsize=11,
            loc="left",
        )
        save(figure, "quality")


def ratio(runs: Runs, method: str, figure: str) -> float:
    """Return the geometric mean of a method's ratio to scikit-learn's network."""
    return float(geometric_ratio(pairs(runs, method, "mlp", figure)))


def draw_method(ax: Any, runs: Runs, method: str, random: np.random.Generator) -> None:
    """Draw the point of a method, with the interval from resampling the tables."""
    name, (ha, va), color = NAMES[method]
    both = pairs(runs, method, "mlp", "loss").values()
    logs = np.array([np.log(a.mean() / b.mean()) for a, b in both])
    means = random.choice(logs, (10_000, len(logs))).mean(axis=1)
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    x, y = ratio(runs, method, "fit_cpu"), ratio(runs, method, "loss")
    ax.errorbar(x, y, [[y - low], [high - y]], fmt="o", capsize=3, color=color)
    at = {"bottom": high, "top": low}.get(va, y)
    style = {"ha": ha, "va": va, "color": color, "textcoords": "offset points"}
    ax.annotate(name, (x, at), SHIFT[va], **style)


# -- the time of a fit -------------------------------------------------------------------


def draw_fit() -> None:
    """Draw the ratios of the times of a fit, those below 1 to the left."""
    result = json.loads((HERE / "results" / "fit.json").read_text())
    rows = sorted(result["rows"], key=lambda row: row["solver"])
    solvers = list(dict.fromkeys(row["solver"] for row in rows))
    figure, ax = plt.subplots(
        figsize=(7.5, 0.33 * len(rows) + 1.6), layout="constrained"
    )
    for color, solver in zip((GRAY, OURS), solvers, strict=True):
        places = [i for i, row in enumerate(rows) if row["solver"] == solver]
        ratios = [rows[i]["to_sklearn_adam"] for i in places]
        ax.hlines(places, 1, ratios, color=color, lw=2, alpha=0.5)
        ax.plot(ratios, places, "o", color=color, ms=8, label=LABELS[solver])
        for place, one in zip(places, ratios, strict=True):
            side = {"ha": "right", "xytext": (-8, 0)} if one < 1 else {"xytext": (8, 0)}
            ax.annotate(
                f"{one:.2f}",
                (one, place),
                va="center",
                textcoords="offset points",
                **side,
            )
    ax.axvline(1, color="0.35", lw=1)
    ax.set_yticks(range(len(rows)), [network(row) for row in rows])
    ax.invert_yaxis()
    ax.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlim(0.25, 2.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel("CPU time of a fit over that of scikit-learn's adam (log scale)")
    of_sam = [row["to_sklearn_adam"] for row in rows if row["solver"] == "sam"]
    faster = sum(one < 1 for one in of_sam)
    ax.set_title(
        f"Two gradients take less time than scikit-learn's one in {faster} of "
        f"{len(of_sam)} settings",
        fontsize="medium",
        loc="left",
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    save(figure, "fit")


LABELS = {
    "adam": "solver='adam', one gradient a step",
    "sam": "solver='sam', two gradients a step",
}


def network(row: dict[str, Any]) -> str:
    """Return a row's network in few words."""
    hidden = ", ".join(map(str, row["hidden"]))
    kind = "regression" if row["is_regression"] else f"{row['n_classes']} classes"
    return f"{hidden} units, {kind}, {row['dtype']}"


def save(figure: Any, name: str) -> None:
    """Write a picture."""
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / f"{name}.png", dpi=140)
    plt.close(figure)
