"""Are the minima flatter, and are flatter minima better? Adam against SAM.

    python benchmarks/bench_sharpness.py --data FOLDER    # stores results/sharpness.json

Three sets of the quality benchmark, three splits each, one network per solver and split:
100 hidden units, 200 epochs without early stopping. Sharpness is measured on the training
rows, by the loss without the penalty; figures are means over the splits.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import _harness as harness
import numpy as np
from _datasets import Problem, load, split
from _methods import sharp
from bench_quality import score_classification, score_regression
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from sksharp import sharpness

SETS = ("vehicle", "credit_g", "concrete_strength")
RADII = (0.0, 0.05, 0.2, 0.5)
RADIUS_OF_BALL = 0.2
SPLITS = (0, 1, 2)


def figures(problem: Problem, rho: float) -> dict[str, float]:
    """Train one network and measure how sharp its minimum is and how well it predicts."""
    model = sharp(problem, rho=rho, max_iter=200, n_iter_no_change=np.inf, tol=0)
    y = problem.y_train
    if problem.is_regression:
        scaler = StandardScaler().fit(y.reshape(-1, 1))
        y = scaler.transform(y.reshape(-1, 1)).ravel()
        model = clone(model.regressor)
    model.fit(problem.X_train, y)
    prepare, network = model[:-1], model[-1]
    X = prepare.transform(problem.X_train)
    found = {
        "worst case": sharpness(network, X, y, rho=RADIUS_OF_BALL),
        "worst case, adaptive": sharpness(
            network, X, y, rho=RADIUS_OF_BALL, adaptive=True
        ),
        "top eigenvalue": sharpness(network, X, y, measure="top_eigenvalue"),
        "trace": sharpness(network, X, y, measure="trace"),
    }
    if problem.is_regression:
        prediction = scaler.inverse_transform(
            model.predict(problem.X_test).reshape(-1, 1)
        )
        scores = score_regression(problem, prediction.ravel())
    else:
        scores = score_classification(problem, model.predict_proba(problem.X_test))
    return {
        "training loss": found["trace"].loss,
        "test loss": float(scores["loss"]),
        "score": float(scores["score"]),
        **{name: result.value for name, result in found.items()},
    }


def measure(name: str, folder: Path | None) -> dict[str, Any]:
    """Return the mean figures of a set by radius."""
    problems = [split(name, load(name, folder), seed) for seed in SPLITS]
    rows = {}
    for rho in RADII:
        runs = [figures(problem, rho) for problem in problems]
        rows[f"{rho:g}"] = {
            key: float(f"{np.mean([run[key] for run in runs]):.4g}") for key in runs[0]
        }
        print(f"{name:20} rho {rho:<5g}", rows[f"{rho:g}"], flush=True)
    return rows


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with a Parquet file per set")
    options = parser.parse_args()
    results = {name: measure(name, options.data) for name in SETS}
    settings = {"radius_of_ball": RADIUS_OF_BALL, "splits": len(SPLITS)}
    environment = harness.environment()
    del environment["clock"]
    harness.save(
        "sharpness", {"environment": environment, "settings": settings, **results}
    )


if __name__ == "__main__":
    main()
