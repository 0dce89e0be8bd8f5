"""How long fits and searches take on a device, on the CPU, and by other code."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _cuda_loops import PlainLoop
from _cuda_runs import Run, release, seconds_of
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier

from sksharp import SAMMLPClassifier, VectorizedGridSearchCV
from sksharp.preprocessing._recommended import recommended_network

MIB = 2**20


@functools.lru_cache(2)
def make_rows(n_samples: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows in float32 and their two classes."""
    X, y = make_classification(
        n_samples,
        n_features,
        n_informative=min(10, n_features),
        n_redundant=0,
        flip_y=0.1,
        random_state=0,
    )
    return X.astype(np.float32), y


def fixed(epochs: int, batch_size: int) -> dict[str, Any]:
    """Return parameters of a training of given length."""
    return {
        "batch_size": batch_size,
        "max_iter": epochs,
        "n_iter_no_change": 10 * epochs,
        "tol": 0.0,
        "random_state": 0,
    }


@dataclass(frozen=True)
class Single:
    """One network with a radius that is given: the time of a step.

    Parameters
    ----------
    hidden : tuple of int
        Units of the hidden layers.

    batch_size, n_samples, n_features : int
        Of the training.

    solver : str, default='sam'
        'sam' or 'adam'.
    """

    hidden: tuple[int, ...]
    batch_size: int
    n_samples: int
    n_features: int = 50
    solver: str = "sam"

    @property
    def name(self) -> str:
        """The network in words."""
        units = ", ".join(map(str, self.hidden))
        return (
            f"{self.solver}, {units} units, minibatch {self.batch_size}, "
            f"{self.n_samples:,} rows"
        )

    def n_steps(self, n_samples: int) -> int:
        """Return the steps of an epoch."""
        return -(-n_samples // self.batch_size)


SINGLES = [
    Single((256, 256), 1024, 1_000_000),
    Single((32,), 200, 10_000),
    Single((100,), 200, 10_000),
    Single((256, 256), 200, 10_000),
    Single((1024,), 200, 10_000),
    Single((1024, 1024), 1024, 10_000),
    Single((100,), 200, 1_000_000),
    Single((256, 256), 1024, 1_000_000, solver="adam"),
    Single((1024,), 1024, 1_000_000),
]
# rows that the CPU trains on: a step takes as long with fewer of them
MAX_CPU_ROWS = 40_000


def per_step(fit: Callable[[int], Any], n_steps: int, device: str) -> dict[str, float]:
    """Return the microseconds of a step, from fits of one and of several epochs.

    The difference leaves out what a fit does once: checks, weights, results.
    """
    fit(1)  # CUDA, its libraries and the caches are warm then
    few = seconds_of(lambda: fit(1), device)
    # so many epochs that they take a second, or one more
    epochs = 1 + max(1, min(50, int(1.0 / max(few, 1e-3))))
    many = seconds_of(lambda: fit(epochs), device)
    return {
        "us_per_step": 1e6 * max(many - few, 1e-9) / ((epochs - 1) * n_steps),
        "seconds_of_first_epoch": few,
    }


def single_row(case: Single, device: str) -> dict[str, Any]:
    """Return the time of a step of one network, ours and of others."""
    X, y = make_rows(case.n_samples, case.n_features)
    n_cpu = min(case.n_samples, MAX_CPU_ROWS)
    row: dict[str, Any] = {}

    def ours(where: str, n_samples: int) -> Callable[[int], Any]:
        return lambda epochs: SAMMLPClassifier(
            case.hidden,
            solver=case.solver,
            rho=0.05,
            device=where,
            **fixed(epochs, case.batch_size),
        ).fit(X[:n_samples], y[:n_samples])

    with PeakMemory(device) as memory:
        found = per_step(
            ours(device, case.n_samples), case.n_steps(case.n_samples), device
        )
    row["us_per_step"] = found["us_per_step"]
    row["seconds_of_first_epoch"] = found["seconds_of_first_epoch"]
    row |= memory.row
    for name, is_captured in (("eager", False), ("captured", device == "cuda")):
        loop = PlainLoop(
            *(X, y, case.hidden, case.batch_size, case.solver, device),
            is_captured=is_captured,
        )
        loop_step = per_step(loop.train, loop.n_steps, device)["us_per_step"]
        row[f"{name} torch loop, us"] = loop_step
        del loop
        release(device)
    cpu = per_step(ours("cpu", n_cpu), case.n_steps(n_cpu), "cpu")["us_per_step"]
    row["CPU, us"] = cpu
    theirs = per_step(
        lambda epochs: MLPClassifier(case.hidden, **fixed(epochs, case.batch_size)).fit(
            X[:n_cpu], y[:n_cpu]
        ),
        case.n_steps(n_cpu),
        "cpu",
    )["us_per_step"]
    row["scikit-learn's adam, us"] = theirs
    row["CPU / device"] = cpu / row["us_per_step"]
    row["device / captured"] = row["us_per_step"] / row["captured torch loop, us"]
    return row


class PeakMemory:
    """Context that notes the peak of the device's memory."""

    def __init__(self, device: str) -> None:
        self.device, self.row = device, dict[str, float]()

    def __enter__(self) -> PeakMemory:
        gc.collect()
        release(self.device)
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.device == "cuda":
            self.row["peak_mib"] = torch.cuda.max_memory_allocated() / MIB
            self.row["reserved_mib"] = torch.cuda.max_memory_reserved() / MIB


# -- whole fits and searches -------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """A fit or a search, timed from its call to its end.

    Parameters
    ----------
    name : str
        What it is.

    make : callable
        Takes a device and returns the estimator.

    n_features : int
        Of the rows.

    n_networks : int
        Networks that are trained.

    params : dict or None, default=None
        Those of scikit-learn's network, of which one is timed.
    """

    name: str
    make: Callable[[str], Any]
    n_features: int
    n_networks: int
    params: dict[str, Any] | None = None
    n_samples: int = 10_000


def search(
    hidden: tuple[int, ...], grid: dict[str, Any], epochs: int
) -> Callable[[str], Any]:
    """Return what makes a vectorized search with five folds."""
    return lambda device: VectorizedGridSearchCV(
        SAMMLPClassifier(hidden, device=device, **fixed(epochs, 200)),
        grid,
        cv=5,
        scoring="neg_log_loss",
        refit=False,
    )


def wholes(
    n_radii: int, n_rates: int, n_samples: int, epochs: int, max_steps: int
) -> list[Whole]:
    """Return the fits and searches, the most important ones first."""
    radii = np.geomspace(0.01, 2, n_radii).tolist()
    few = np.geomspace(0.01, 2, max(2, n_radii // 3)).tolist()
    rates = np.geomspace(1e-4, 1e-1, n_rates).tolist()
    return [
        Whole(
            f"search, {n_radii} radii, 5 folds, 100 units",
            search((100,), {"rho": radii}, epochs),
            20,
            5 * n_radii,
            {"hidden_layer_sizes": (100,), **fixed(epochs, 200)},
            n_samples,
        ),
        Whole(
            "recommended fit",
            lambda device: recommended_network(
                "classifier",
                {"random_state": 0, "device": device, "max_steps": max_steps},
            ),
            60,
            5,
            {"hidden_layer_sizes": (128, 128), "random_state": 0},
            n_samples,
        ),
        Whole(
            "default fit",
            lambda device: SAMMLPClassifier(random_state=0, device=device),
            20,
            1,
            {"random_state": 0},
            n_samples,
        ),
        Whole(
            f"search, {len(few) * n_rates} candidates, 5 folds, 100 units",
            search(
                (100,), {"rho": few, "learning_rate_init": rates}, max(1, epochs // 3)
            ),
            20,
            5 * len(few) * n_rates,
            {"hidden_layer_sizes": (100,), **fixed(max(1, epochs // 3), 200)},
            n_samples,
        ),
        Whole(
            f"search, {len(few)} radii, 5 folds, 256, 256 units",
            search((256, 256), {"rho": few}, max(1, epochs // 3)),
            50,
            5 * len(few),
            {"hidden_layer_sizes": (256, 256), **fixed(max(1, epochs // 3), 200)},
            n_samples,
        ),
        Whole(
            f"search, {n_radii} radii, 5 folds, 32 units",
            search((32,), {"rho": radii}, epochs),
            20,
            5 * n_radii,
            {"hidden_layer_sizes": (32,), **fixed(epochs, 200)},
            n_samples,
        ),
    ]


def whole_row(case: Whole, device: str) -> dict[str, Any]:
    """Return the seconds of a fit or search on the device and on one CPU thread."""
    X, y = make_rows(case.n_samples, case.n_features)
    row: dict[str, Any] = {"networks": case.n_networks, "rows": case.n_samples}
    case.make(device).fit(X[:2000], y[:2000])  # warm
    with PeakMemory(device) as memory:
        row["seconds"] = seconds_of(lambda: case.make(device).fit(X, y), device)
    row |= memory.row
    row["CPU, s"] = seconds_of(lambda: case.make("cpu").fit(X, y), "cpu")
    row["CPU / device"] = row["CPU, s"] / row["seconds"]
    if case.params is not None:
        one = seconds_of(lambda: MLPClassifier(**case.params).fit(X, y), "cpu")
        row["scikit-learn's adam, one network, s"] = one
    return row


def run(part: Run) -> None:
    """Time whole fits, then steps."""
    torch.set_num_threads(1)
    device = part.device
    sizes = part.pick((24, 25, 10_000, 10, 2500), (2, 2, 300, 1, 20))
    for whole in wholes(*sizes)[: part.pick(None, 2)]:
        part.row(whole.name, lambda whole=whole: whole_row(whole, device))
    singles = part.pick(
        SINGLES, [Single((8,), 50, 300), Single((8,), 50, 300, 5, "adam")]
    )
    for single in singles:
        part.row(single.name, lambda single=single: single_row(single, device))
    part.row("cores of this machine", lambda: {"cores": os.cpu_count()})
