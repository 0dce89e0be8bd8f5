"""What does a gradient and its update cost on one thread, by the work that they are?

    python benchmarks/bench_steps.py

The rule of ``device='auto'`` rests on these figures (``sksharp/training/_placement.py``).
They are stored in ``results/steps.json``. `bench_cuda.py` measures the other side.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import _harness as harness
import torch
from _cuda_steps import SIZES, loop_of, step_seconds

from sksharp.training import _placement

SECONDS = 1.0  # of every size


def measure(units: tuple[int, ...], batch_size: int, n_networks: int) -> dict[str, Any]:
    """Return the work of a gradient and its update, and the milliseconds it takes."""
    n_weights = sum(a * b for a, b in pairwise((*units, 1)))
    with loop_of("cpu", units, batch_size, n_networks, solver="adam") as loop:
        loop.train_epoch(None)  # warm
        seconds = step_seconds(loop, "cpu", SECONDS)
    return {
        "units": units,
        "minibatch": batch_size,
        "networks": n_networks,
        "work": _placement.step_work(n_networks, n_weights, batch_size),
        "ms": 1e3 * seconds,
    }


def main() -> None:
    """Measure and store the figures."""
    torch.set_num_threads(1)
    rows = []
    for size in SIZES:
        rows.append(measure(*size))
        row = rows[-1]
        print(
            f"{size!s:32} {row['ms']:9.3f} ms {1e6 * row['ms'] / row['work']:7.3f} ns"
        )
    clock = "shortest step of one second of epochs, one thread"
    result = {"environment": harness.environment() | {"clock": clock}, "rows": rows}
    print("wrote", harness.save("steps", result))


if __name__ == "__main__":
    main()
