"""Quantiles, absolute and Huber's loss: how good are they, and are intervals calibrated?

    pip install pandas pyarrow lightgbm
    python benchmarks/bench_quantiles.py --data FOLDER    # stores results/quantiles.json

Three sets of the quality benchmark, three splits each. Losses are of the test rows and in
standard deviations of the training target (Huber's in their squares, with delta=1). All
methods run with their defaults; 'recommended' is ``tabular_pipeline("regressor")``,
'default' is ``SAMMLPRegressor()`` behind plain preprocessing.

- ``quantiles``: the levels 0.05, 0.5 and 0.95. ``pinball`` is the mean over them.
  ``coverage`` and ``width`` are those of the interval between the outer two, whose nominal
  coverage is 0.9. ``crossings`` is the share of rows whose quantiles do not ascend.
- ``absolute_error``, ``huber``: the loss that the method was fitted with.
- ``intervals``: coverage and width of intervals for 0.9 from predictions for rows that a
  network of the ensemble was not trained on: around the prediction by the absolute
  residuals, and around the outer quantiles by how far rows lie outside.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _harness as harness
import numpy as np
from _datasets import Problem, load, split
from _methods import recommended, sharp, with_plain_preprocessing
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import HuberRegressor, QuantileRegressor
from sklearn.metrics import mean_pinball_loss
from sklearn.preprocessing import StandardScaler

from sksharp.options import Huber, Quantile

SETS = ("concrete_strength", "saratoga_houses", "abalone")
SPLITS = (0, 1, 2)
LEVELS = [0.05, 0.5, 0.95]
COVERAGE = 0.9
DELTA = 1.0


class OnePerLevel(RegressorMixin, BaseEstimator):
    """Quantile regressions side by side, one per level."""

    def __init__(self, make: Callable[[float], Any]) -> None:
        self.make = make

    def fit(self, X: Any, y: Any) -> OnePerLevel:
        """Fit all."""
        self.models_ = [self.make(level).fit(X, y) for level in LEVELS]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return a column per level."""
        return np.column_stack([model.predict(X) for model in self.models_])


def scaled(estimator: BaseEstimator) -> BaseEstimator:
    """Put an estimator behind a target in standard deviations."""
    return TransformedTargetRegressor(estimator, transformer=StandardScaler())


def linear_quantile(problem: Problem, level: float) -> BaseEstimator:
    """Return scikit-learn's linear quantile regression, without a penalty."""
    return with_plain_preprocessing(QuantileRegressor(quantile=level, alpha=0), problem)


def boosted(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return scikit-learn's boosted trees."""
    return HistGradientBoostingRegressor(random_state=problem.seed, **parameters)


def lightgbm(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return LightGBM's."""
    from lightgbm import LGBMRegressor

    return LGBMRegressor(
        random_state=problem.seed,
        n_jobs=1,
        verbose=-1,
        deterministic=True,
        **parameters,
    )


def per_level(make: Callable[..., Any], problem: Problem) -> BaseEstimator:
    """Return one model per level."""
    return OnePerLevel(partial(make, problem))


# by loss: what makes an estimator for a problem
METHODS: dict[str, dict[str, Callable[[Problem], BaseEstimator]]] = {
    "quantiles": {
        "recommended": partial(recommended, loss=Quantile(quantile=LEVELS)),
        "default": partial(sharp, loss=Quantile(quantile=LEVELS)),
        "linear": partial(per_level, linear_quantile),
        "boosted trees": partial(
            per_level, lambda p, q: boosted(p, loss="quantile", quantile=q)
        ),
        "LightGBM": partial(
            per_level, lambda p, q: lightgbm(p, objective="quantile", alpha=q)
        ),
    },
    "absolute_error": {
        "recommended": partial(recommended, loss="absolute_error"),
        "recommended, squared error": recommended,
        "default": partial(sharp, loss="absolute_error"),
        "default, squared error": sharp,
        "linear": partial(linear_quantile, level=0.5),
        "boosted trees": partial(boosted, loss="absolute_error"),
        "LightGBM": partial(lightgbm, objective="regression_l1"),
    },
    "huber": {
        "recommended": partial(recommended, loss=Huber(delta=DELTA)),
        "recommended, squared error": recommended,
        "default": partial(sharp, loss=Huber(delta=DELTA)),
        "default, squared error": sharp,
        # its epsilon is in scales of the residuals, which it estimates
        "linear": lambda p: with_plain_preprocessing(HuberRegressor(max_iter=1000), p),
        "LightGBM": lambda p: scaled(lightgbm(p, objective="huber", alpha=DELTA)),
    },
}


def score(kind: str, problem: Problem, prediction: np.ndarray) -> dict[str, float]:
    """Return the figures of predictions for the test rows, in standard deviations."""
    scale = problem.y_train.std()
    y, prediction = problem.y_test / scale, np.asarray(prediction) / scale
    if kind == "absolute_error":
        return {"loss": np.abs(prediction - y).mean()}
    if kind == "huber":
        return {"loss": Huber(delta=DELTA).losses(prediction - y).mean()}
    columns = zip(prediction.T, LEVELS, strict=True)
    return {
        "pinball": np.mean([mean_pinball_loss(y, c, alpha=q) for c, q in columns]),
        **score_interval(y, prediction[:, 0], prediction[:, -1]),
        "crossings": (np.diff(prediction, axis=1) < 0).any(axis=1).mean(),
    }


def score_interval(
    y: np.ndarray, low: np.ndarray, high: np.ndarray
) -> dict[str, float]:
    """Return the share of targets inside, and the mean width."""
    return {
        "coverage": ((low <= y) & (y <= high)).mean(),
        "width": (high - low).mean(),
    }


# -- intervals from predictions for rows that were left out ------------------------------


def out_of_fold(model: Any) -> np.ndarray:
    """Return what the networks predict for the rows that they were not trained on."""
    target = model[-1]
    scaled_target = target.regressor_.oof_prediction_
    columns = scaled_target.reshape(len(scaled_target), -1)
    return target.transformer_.inverse_transform(columns)


def margin(excess: np.ndarray) -> float:
    """Return the excess that a share of ``COVERAGE`` of rows does not exceed."""
    rank = int(np.ceil((len(excess) + 1) * COVERAGE))
    return np.sort(excess)[min(rank, len(excess)) - 1]


def by_residuals(problem: Problem) -> dict[str, float]:
    """Score prediction plus and minus a margin."""
    model = recommended(problem).fit(problem.X_train, problem.y_train)
    plus = margin(np.abs(problem.y_train - out_of_fold(model)[:, 0]))
    center, scale = model.predict(problem.X_test), problem.y_train.std()
    y = problem.y_test / scale
    return score_interval(y, (center - plus) / scale, (center + plus) / scale)


def by_quantiles(problem: Problem) -> dict[str, float]:
    """Score the outer quantiles, moved outwards or inwards by a margin."""
    model = METHODS["quantiles"]["recommended"](problem)
    model.fit(problem.X_train, problem.y_train)
    held_out = out_of_fold(model)
    y = problem.y_train
    plus = margin(np.maximum(held_out[:, 0] - y, y - held_out[:, -1]))
    found, scale = model.predict(problem.X_test), problem.y_train.std()
    y = problem.y_test / scale
    return score_interval(
        y, (found[:, 0] - plus) / scale, (found[:, -1] + plus) / scale
    )


INTERVALS = {"residuals": by_residuals, "quantiles": by_quantiles}


def figures(values: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return the figures of every split."""
    return {name: [float(f"{v[name]:.4g}") for v in values] for name in values[0]}


def measure(name: str, folder: Path | None) -> dict[str, Any]:
    """Return the figures of a set, by loss and method."""
    problems = [split(name, load(name, folder), seed) for seed in SPLITS]
    found: dict[str, Any] = {}
    for kind, methods in METHODS.items():
        found[kind] = {}
        for method, make in methods.items():
            runs = []
            for problem in problems:
                model = clone(make(problem)).fit(problem.X_train, problem.y_train)
                runs.append(score(kind, problem, model.predict(problem.X_test)))
            found[kind][method] = figures(runs)
            print(name, kind, method, found[kind][method], flush=True)
    found["intervals"] = {}
    for method, score_problem in INTERVALS.items():
        found["intervals"][method] = figures([score_problem(p) for p in problems])
        print(name, "intervals", method, found["intervals"][method], flush=True)
    return found


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with a Parquet file per set")
    options = parser.parse_args()
    results = {name: measure(name, options.data) for name in SETS}
    environment = harness.environment("lightgbm")
    del environment["clock"]
    settings = {"levels": LEVELS, "delta": DELTA, "splits": len(SPLITS)}
    harness.save(
        "quantiles", {"environment": environment, "settings": settings, **results}
    )


if __name__ == "__main__":
    main()
