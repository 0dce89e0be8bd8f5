"""What does it cost to save a training while it lasts?

    python benchmarks/bench_checkpoints.py    # writes results/checkpoints.json

Every fit is measured with ``checkpoints(folder, interval=0)`` next to one without, in turn:
it saves as often as ``checkpoints`` ever does. With the default interval, 60 s, none of
these fits would be saved more than once, at its end.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

import _harness as harness
import numpy as np

import sksharp
from sksharp.checkpointing import _saves

REPEATS = 3

rng = np.random.default_rng(0)
X = rng.standard_normal((5000, 50))
y = X[:, 0] * X[:, 1] + rng.standard_normal(5000)
SETTINGS: dict[str, Any] = {"random_state": 0, "rho": 0.1, "n_iter_no_change": 10**6}


def small() -> None:
    """Train one network of 50-64-1."""
    sksharp.SAMMLPRegressor(
        hidden_layer_sizes=(64,), batch_size=50, max_iter=40, **SETTINGS
    ).fit(X, y)


def large() -> None:
    """Train one network of 50-1000-1000-1, a million weights."""
    sksharp.SAMMLPRegressor(
        hidden_layer_sizes=(1000, 1000), max_iter=6, **SETTINGS
    ).fit(X.astype(np.float32), y)


def rho_chosen() -> None:
    """Choose a radius, as by default, on 2000 rows."""
    settings = {**SETTINGS, "rho": "auto", "n_iter_no_change": 10}
    sksharp.SAMMLPRegressor(max_iter=30, **settings).fit(X[:2000], y[:2000])


def search() -> None:
    """Search 20 candidates, on 3 splits."""
    network = sksharp.SAMMLPRegressor(
        hidden_layer_sizes=(32,), batch_size=50, max_iter=10, **SETTINGS
    )
    grid = {"rho": np.linspace(0.1, 1, 5), "alpha": [1e-4, 1e-2, 1.0, 10.0]}
    sksharp.VectorizedGridSearchCV(network, grid, cv=3, refit=False).fit(X, y)


FITS: dict[str, Callable[[], None]] = {
    "small": small,
    "large": large,
    "rho_chosen": rho_chosen,
    "search": search,
}


def saving(
    fit: Callable[[], None], saves: list[tuple[float, int]], walls: list[float]
) -> Any:
    """Return a fit that saves.

    ``saves`` gets the seconds and the bytes of each save, ``walls`` the seconds of fits.
    """

    def run() -> None:
        write = _saves.GroupSave._write

        def noted(self: Any, results: Any) -> None:
            start = time.perf_counter()
            write(self, results)
            size = self.path.stat().st_size
            saves.append((time.perf_counter() - start, size))

        folder, start = tempfile.mkdtemp(), time.perf_counter()
        _saves.GroupSave._write = noted  # type: ignore[method-assign]
        try:
            with sksharp.checkpoints(folder, interval=0):
                fit()
            walls.append(time.perf_counter() - start)
        finally:
            _saves.GroupSave._write = write  # type: ignore[method-assign]
            shutil.rmtree(folder, ignore_errors=True)

    return run


def main() -> None:
    """Measure every fit, and store the result."""
    results: dict[str, Any] = {}
    for name, fit in FITS.items():
        saves: list[tuple[float, int]] = []
        walls: list[float] = []
        seconds = harness.measure(
            {"without": fit, "saving": saving(fit, saves, walls)}, repeats=REPEATS
        )
        times, sizes = zip(*(saves or [(0.0, 0)]), strict=True)
        results[name] = {
            "what": (fit.__doc__ or "").strip(),
            "cpu_ratio": harness.ratio(seconds["saving"], seconds["without"]),
            "cpu_seconds_without": float(np.median(seconds["without"])),
            "saves_of_a_fit": len(saves) / (REPEATS + 1),
            "seconds_of_a_save": float(np.median(times)),
            "bytes_of_a_save": int(np.median(sizes)),
            # of the wall-clock time
            "share_of_saves": sum(times) / sum(walls),
        }
        print(name, results[name], flush=True)
    stored = {"environment": harness.environment(), "fits": results}
    print("wrote", harness.save("checkpoints", stored))


if __name__ == "__main__":
    main()
