"""How do time and memory of a fit grow with rows, width, depth and minibatch?

    python benchmarks/bench_scale.py    # writes results/scale.json

Every fit runs in a process of its own. Memory is the peak of the process over what it
held before the fit, the array of features included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import _harness as harness

N_FEATURES = 50
ROWS = [
    {"n_samples": n, "hidden": [100], "batch_size": 200} for n in (10**4, 10**5, 10**6)
]
SHAPES = [
    {"n_samples": 10**4, "hidden": hidden, "batch_size": batch_size}
    for hidden in ([32], [128], [512], [128, 128], [128, 128, 128, 128])
    for batch_size in (32, 200, 1000)
]


def fit_once(n_samples: int, hidden: list[int], batch_size: int) -> dict[str, Any]:
    """Fit one network in this process and return its time and memory."""
    import resource

    import numpy as np

    from sksharp import SAMMLPClassifier

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, N_FEATURES), dtype=np.float32)
    y = X[:, 0] > 0
    estimator = SAMMLPClassifier(
        hidden, batch_size=batch_size, rho=0.05, max_iter=1, random_state=0
    )
    estimator.fit(X[:1000], y[:1000])  # imports and first calls
    before = peak()
    seconds = min(
        harness.cpu_seconds(lambda: estimator.fit(X, y))
        for _ in range(3 if n_samples < 10**6 else 1)
    )
    return {
        "n_samples": n_samples,
        "hidden": hidden,
        "batch_size": batch_size,
        "seconds_per_million_rows": seconds / n_samples * 1e6,
        "peak_mib_over_array": peak() - before,
        "array_mib": X.nbytes / 2**20,
    }


def in_a_process(case: dict[str, Any]) -> dict[str, Any]:
    """Run :func:`fit_once` in a fresh process."""
    command = [sys.executable, __file__, json.dumps(case)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    print(figures, flush=True)
    return figures


def main() -> None:
    """Measure one epoch of SAM for every case and store the figures."""
    result = {
        "environment": harness.environment(),
        "what": "one epoch of solver='sam', float32, 50 features, 2 classes",
        "rows": [in_a_process(case) for case in ROWS],
        "shapes": [in_a_process(case) for case in SHAPES],
    }
    print("wrote", harness.save("scale", result))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(fit_once(**json.loads(sys.argv[1]))))
    else:
        main()
