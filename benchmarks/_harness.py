"""Paired measurements, and where their results are kept."""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# before numpy and torch are imported: a benchmark runs on one thread
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

RESULTS = Path(__file__).parent / "results"
warnings.simplefilter("ignore")  # nothing here is trained to convergence


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Return the CPU time of a call, over all threads of the process."""
    start = time.process_time()
    function()
    return time.process_time() - start


def measure(
    functions: dict[str, Callable[[], Any]], *, repeats: int = 7
) -> dict[str, list[float]]:
    """Time functions in turn, A B A B ..., after one round that does not count.

    Parameters
    ----------
    functions : dict of str to callable
        What to time, by name.

    repeats : int, default=7
        Rounds that count.

    Returns
    -------
    seconds : dict of str to list of float
        CPU seconds of every round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for i in range(repeats + 1):
        for name, function in functions.items():
            elapsed = cpu_seconds(function)
            if i:
                seconds[name].append(elapsed)
    return seconds


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios pair by pair."""
    pairs = zip(numerators, denominators, strict=True)
    return statistics.median(a / b for a, b in pairs)


def optimizer_of(estimator: Any, params: Any, n_samples: int, **network: Any) -> Any:
    """Return the optimizer of a fit with a given radius, or without one.

    Parameters
    ----------
    estimator : estimator
        With numbers for ``rho``, unless its solver has none, and ``batch_size``.

    params : iterable of Tensor
        What the optimizer trains.

    n_samples : int
        Rows of the training.

    **network : dict
        What the optimizer needs of the network.
    """
    import numpy as np

    from sksharp.estimators._parameters import read_parameters
    from sksharp.training._optimizer import make_optimizer

    settings = read_parameters(estimator).settings(
        n_samples=n_samples,
        batch_size=estimator.batch_size,
        epochs=estimator.max_iter,
        radius=estimator.rho,
        dtype=np.dtype("float32"),
        incremental=False,
        averages=False,
        out_activation="logistic",
    )
    return make_optimizer(params, settings.optimizers, **network)


def environment(*packages: str) -> dict[str, Any]:
    """Return what a result depends on: versions and the machine."""
    names = ("sksharp", "scikit-learn", "torch", "skorch", "numpy", *packages)
    return {
        "python": platform.python_version(),
        **{name: version_of(name) for name in names},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": 1,
        "clock": "CPU time, pairs in one run, median of the ratios",
    }


def version_of(package: str) -> str:
    """Return the version of a package, also of a checkout that is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return str(importlib.import_module(package).__version__)


def save(name: str, result: dict[str, Any]) -> Path:
    """Write a result to ``results/<name>.json``, objects with options as they are made."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, default=repr) + "\n")
    return path
