"""What does every solver and average cost, next to the solver that it is built on?

    python benchmarks/bench_cost.py             # all rows, writes results/cost.json
    python benchmarks/bench_cost.py msam ema    # those whose names begin so, anew

Whole fits of the estimator, and the optimizer's step alone: with a gradient that is there
already, so what is left is the arithmetic of the method, in float32. Ratios of CPU times,
on one thread, pair by pair in one run.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import _harness as harness
import torch
from sklearn.datasets import make_classification

from sksharp import SAMMLPClassifier
from sksharp.options import SAM, InputNoise
from sksharp.options.solvers import SOLVERS
from sksharp.training._module import MLPModule

N_SAMPLES, N_FEATURES, HIDDEN, BATCH_SIZE, EPOCHS = 4000, 20, 100, 200, 20
N_STEPS = EPOCHS * N_SAMPLES // BATCH_SIZE
N_STEPS_ALONE = 500
REPEATS = 15

DTYPES = ("float32", "float64")

# parameters that are not the optimizer's
OUTSIDE = {"swa", "ema_decay", "snapshots", "dropout", "input_noise"}

TWO_GRADIENTS, ONE_GRADIENT, EVERY_FIFTH = 2.05, 1.15, 1.3


@dataclass(frozen=True)
class Row:
    """A method, what it is built on, and the largest ratio that is aimed at.

    Stored results are kept by their names.
    """

    name: str
    method: dict[str, Any]
    base: dict[str, Any] = field(default_factory=lambda: {"solver": "adam"})
    target: float | None = ONE_GRADIENT


def ascent(solver: str, base: str = "adam", **options: Any) -> Row:
    """Return the row of a two-gradient solver over a base solver."""
    method = {"solver": solver, "base_solver": base, "rho": 0.05, **options}
    return Row(f"{solver} over {base}", method, {"solver": base}, TWO_GRADIENTS)


ASCENTS = [name for name, solver in SOLVERS.items() if solver.is_two_gradient]


def sam(**options: Any) -> dict[str, Any]:
    """Return SAM with options, at the radius of the other rows."""
    return {"solver": SAM(**options) if options else "sam", "rho": 0.05}


MEMBERS = {"solver": "adam", "n_members": 5, "hidden_layer_sizes": (128, 128)}
HELD_OUT = InputNoise(std=0.25, missing=0.1, on="validation")

ROWS = [
    *(ascent(name) for name in ASCENTS if name != "looksam"),
    *(ascent(name, "sgd") for name in ("sam", "wsam", "asam")),
    Row("looksam, k=5", {**sam(), "solver": "looksam"}, target=None),
    Row("sam, sam_interval=5", sam(interval=5), target=EVERY_FIFTH),
    Row("sam, micro_batch_size=50", sam(micro_batch_size=50), target=TWO_GRADIENTS),
    Row("sam, micro_batch_size=10", sam(micro_batch_size=10), target=TWO_GRADIENTS),
    Row("msam over adam", {**sam(), "solver": "msam"}),
    Row("msam over sgd", {**sam(), "solver": "msam", "base_solver": "sgd"},
        {"solver": "sgd"}),
    Row("lookahead over adam", {"solver": "lookahead"}),
    Row("lookahead over sgd", {"solver": "lookahead", "base_solver": "sgd"},
        {"solver": "sgd"}),
    Row("ranger", {"solver": "ranger"}, {"solver": "radam"}),
    Row("radam", {"solver": "radam"}),
    Row("adamw", {"solver": "adamw"}),
    Row("schedule_free", {"solver": "schedule_free"}),
    Row("muon", {"solver": "muon"}, target=None),
    Row("yellowfin", {"solver": "yellowfin"}, {"solver": "sgd"}, target=None),
    Row("ema_decay over adam", {"solver": "adam", "ema_decay": 0.99}),
    Row("ema_decay over sam", {**sam(), "ema_decay": 0.99}, sam()),
    Row("swa over adam", {"solver": "adam", "swa": True}),
    Row("swa over sam", {**sam(), "swa": True}, sam()),
    Row("n_snapshots=5 over adam", {"solver": "adam", "snapshots": 5},
        {"solver": "adam", "learning_rate": "cosine"}),
    Row("dropout=0.1 over adam", {"solver": "adam", "dropout": 0.1}, target=None),
    Row("dropout=0.1 over sam", {**sam(), "dropout": 0.1}, sam(), target=None),
    Row("dropout=(0.1, 0.1) over adam", {"solver": "adam", "dropout": (0.1, 0.1)},
        target=None),
    Row("input_noise=0.25 over adam", {"solver": "adam", "input_noise": 0.25},
        target=None),
    Row("input_noise=0.25 over sam", {**sam(), "input_noise": 0.25}, sam(), target=None),
    Row("input_noise=0.25 over members", {**MEMBERS, "input_noise": 0.25}, MEMBERS,
        target=None),
    Row("input_noise, held out, over members", {**MEMBERS, "input_noise": HELD_OUT},
        MEMBERS, target=None),
]  # fmt: skip


def fit(settings: dict[str, Any], dtype: str) -> Callable[[], Any]:
    """Return a function that fits an estimator."""
    X, y = make_classification(N_SAMPLES, N_FEATURES, random_state=0)
    X = X.astype(dtype)
    if settings["solver"] not in ("adam", "sgd"):
        settings = {"rho": 0.0, **settings}  # a number: nothing is chosen
    settings = {"hidden_layer_sizes": (HIDDEN,), **settings}
    clf = SAMMLPClassifier(
        batch_size=BATCH_SIZE,
        max_iter=EPOCHS,
        tol=0,
        n_iter_no_change=EPOCHS + 1,
        random_state=0,
        **settings,
    )
    return lambda: clf.fit(X, y)


def steps(settings: dict[str, Any], n_steps: int) -> Callable[[], Any]:
    """Return a function that steps an optimizer on a gradient that is there."""
    clf = SAMMLPClassifier(batch_size=BATCH_SIZE, max_iter=EPOCHS, **settings)
    module = MLPModule([N_FEATURES, HIDDEN, 1], "relu", dtype=torch.float32)
    flat = module.flat
    with torch.no_grad():
        flat.copy_(torch.linspace(-0.1, 0.1, len(flat)))
    gradient = torch.linspace(-1, 1, len(flat)).sin()
    optimizer = harness.optimizer_of(clf, [flat], N_SAMPLES, layout=module.shapes)

    def run() -> None:
        for _ in range(n_steps):
            optimizer.step(closure)

    def closure() -> None:
        """Leave the gradient that is there."""
        flat.grad = gradient

    return run


def compare(
    method: Callable[[], Any], base: Callable[[], Any], n_steps: int
) -> dict[str, float]:
    """Return the ratio of two CPU times, its quartiles and the time of a step."""
    seconds = harness.measure({"method": method, "base": base}, repeats=REPEATS)
    pairs = zip(seconds["method"], seconds["base"], strict=True)
    low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    return {
        "ratio": middle,
        "quartiles": [low, high],
        "microseconds_per_step": statistics.median(seconds["method"]) / n_steps * 1e6,
        "microseconds_per_step_of_base": statistics.median(seconds["base"])
        / n_steps
        * 1e6,
    }


def bench_row(row: Row) -> dict[str, Any]:
    """Compare a method with its base."""
    fits = {
        dtype: compare(fit(row.method, dtype), fit(row.base, dtype), N_STEPS)
        for dtype in DTYPES
    }
    result = {**asdict(row), "fit": fits}
    # these and parts of a minibatch are not the optimizer's, and ESAM wants the losses of
    # rows
    solver = row.method["solver"]
    is_outside = bool(OUTSIDE & {*row.method})
    in_parts = getattr(solver, "micro_batch_size", None) is not None
    if not is_outside and not in_parts and solver != "esam":
        result["step"] = compare(
            steps(row.method, N_STEPS_ALONE),
            steps(row.base, N_STEPS_ALONE),
            N_STEPS_ALONE,
        )
    return result


def describe(row: dict[str, Any]) -> str:
    """Return a row's figures in a line."""
    step, target = row.get("step"), row["target"]
    parts = [f"{row['name']:26s}"]
    for dtype, fit in row["fit"].items():
        low, high = fit["quartiles"]
        is_missed = target is not None and fit["ratio"] > target
        parts.append(
            f"{dtype} {fit['ratio']:.3f} [{low:.3f}, {high:.3f}]{' MISSED' * is_missed}"
        )
    if target is not None:
        parts.append(f"target {target}")
    if step is not None:
        own, base = (
            step[name]
            for name in ("microseconds_per_step", "microseconds_per_step_of_base")
        )
        parts.append(f"step {own:.0f} us, of the base {base:.0f} us")
    return "  ".join(parts)


def main(prefixes: list[str]) -> None:
    """Run rows and store their figures, one after the other; the others stay."""
    path = harness.RESULTS / "cost.json"
    stored = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = {row["name"]: row for row in stored}
    setting = {
        "n_samples": N_SAMPLES,
        "n_features": N_FEATURES,
        "hidden": HIDDEN,
        "batch_size": BATCH_SIZE,
        "epochs": EPOCHS,
        "pairs": REPEATS,
    }
    for row in ROWS:
        if prefixes and not row.name.startswith(tuple(prefixes)):
            continue
        rows[row.name] = bench_row(row)
        print(describe(rows[row.name]), flush=True)
        in_order = [rows[row.name] for row in ROWS if row.name in rows]
        result = {
            "environment": harness.environment(),
            "setting": setting,
            "rows": in_order,
        }
        harness.save("cost", result)


if __name__ == "__main__":
    main(sys.argv[1:])
