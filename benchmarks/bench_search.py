"""Searches, ``rho='auto'`` and members: all networks at once against one by one.

    python benchmarks/bench_search.py            # stores results/search.json
    python benchmarks/bench_search.py --quick    # the first problem only, not stored

CPU time on one thread, in one run; the fits take turns. Ratios are medians.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import _harness as harness
import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier

from sksharp import SAMMLPClassifier, VectorizedGridSearchCV

RADII = np.geomspace(0.01, 1, 24)
ALPHAS = np.geomspace(1e-5, 10, 24)

# enough for the radii to be dropped one after the other, as in a training of usual length
EPOCHS_OF_FITS = 40

# rows, features, classes, hidden layers, batch size, epochs, candidates
PROBLEMS = {
    "hidden (32,), batch 64": (1000, 20, 2, (32,), 64, 60, 24),
    "hidden (100,), batch 200": (4000, 20, 2, (100,), 200, 12, 24),
    "hidden (128, 128), batch 128": (2000, 50, 2, (128, 128), 128, 6, 8),
    "hidden (256, 256), batch 200": (2000, 50, 10, (256, 256), 200, 4, 4),
}


Problem = tuple[int, int, int, tuple[int, ...], int, int, int]


def make_data(problem: Problem, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and labels."""
    n_samples, n_features, n_classes, *_ = problem
    X, y = make_classification(
        n_samples,
        n_features,
        n_informative=n_features // 2,
        n_classes=n_classes,
        random_state=0,
    )
    return X.astype(dtype), y


def make_fits(problem: Problem, dtype: str) -> dict[str, Callable[[], object]]:
    """Return a fit with one radius, and fits that choose it for so many members."""
    *_, hidden, batch_size, _, _ = problem
    X, y = make_data(problem, dtype)
    settings = {
        "batch_size": batch_size,
        "max_iter": EPOCHS_OF_FITS,
        "n_iter_no_change": np.inf,
        "random_state": 0,
    }

    def fit(**more: object) -> Callable[[], object]:
        params = {"rho": 0.05, **settings, **more}
        return lambda: SAMMLPClassifier(hidden, **params).fit(X, y)

    return {
        "one radius": fit(),
        "auto": fit(rho="auto"),
        "5 members": fit(n_members=5),
        "auto, 5 members": fit(rho="auto", n_members=5),
    }


def make_searches(problem: Problem, dtype: str) -> dict[str, Callable[[], object]]:
    """Return the fits of a search over the radius, both ways."""
    *_, hidden, batch_size, epochs, n_radii = problem
    X, y = make_data(problem, dtype)
    settings = {
        "batch_size": batch_size,
        "max_iter": epochs,
        "n_iter_no_change": epochs,
        "random_state": 0,
    }
    network = SAMMLPClassifier(hidden, **settings)
    grid = {"rho": RADII[:: len(RADII) // n_radii]}
    plain = MLPClassifier(hidden, **settings)
    penalties = {"alpha": ALPHAS[:: len(ALPHAS) // n_radii]}
    return {
        "together": lambda: VectorizedGridSearchCV(network, grid, cv=5).fit(X, y),
        "one by one": lambda: GridSearchCV(network, grid, cv=5).fit(X, y),
        "scikit-learn, alpha": lambda: GridSearchCV(plain, penalties, cv=5).fit(X, y),
    }


def measure_search(problem: Problem, dtype: str, repeats: int) -> dict[str, object]:
    """Return what a search takes, both ways."""
    seconds = harness.measure(make_searches(problem, dtype), repeats=repeats)
    together = seconds["together"]
    return {
        "seconds": {key: min(times) for key, times in seconds.items()},
        "one by one / together": harness.ratio(seconds["one by one"], together),
        "scikit-learn / together": harness.ratio(
            seconds["scikit-learn, alpha"], together
        ),
    }


def measure_fits(problem: Problem, dtype: str, repeats: int) -> dict[str, object]:
    """Return what choosing a radius and averaging cost."""
    fits = harness.measure(make_fits(problem, dtype), repeats=repeats)
    one = fits.pop("one radius")
    ratios = {key: harness.ratio(times, one) for key, times in fits.items()}
    return {"in fits of one radius": ratios}


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--part", choices=["searches", "fits"], help="keep the other as it is stored"
    )
    parser.add_argument(
        "--problem", choices=PROBLEMS, help="keep the others as they are stored"
    )
    options = parser.parse_args()
    problems = dict(list(PROBLEMS.items())[:1]) if options.quick else PROBLEMS
    if options.problem:
        problems = {options.problem: PROBLEMS[options.problem]}
    results: dict[str, dict[str, object]] = {}
    if options.part or options.problem:
        results = json.loads((harness.RESULTS / "search.json").read_text())
    for name, problem in problems.items():
        for dtype in ("float32", "float64"):
            case = results.setdefault(f"{name}, {dtype}", {})
            if options.part != "fits":
                case |= measure_search(problem, dtype, options.repeats)
            if options.part != "searches":
                case |= measure_fits(problem, dtype, options.repeats)
            print(name, dtype, case, flush=True)
    if not options.quick:
        harness.save("search", {**results, "environment": harness.environment()})


if __name__ == "__main__":
    main()
