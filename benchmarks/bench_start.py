"""What does the first use cost: the import, the first fit, a worker of a grid search?

    python benchmarks/bench_start.py              # writes results/start.json
    python benchmarks/bench_start.py --imports    # anew only what concerns the import

Every figure is taken in fresh processes, in turn with what it is compared to.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import _harness as harness
from packaging.requirements import Requirement

REPEATS = 7

FIRST_FIT = """
import time, warnings
warnings.simplefilter("ignore")
import numpy as np
import torch
from sksharp import SAMMLPClassifier
X = np.random.default_rng(0).standard_normal((200, 10))
y = X[:, 0] > 0
for _ in range(2):
    start = time.process_time()
    SAMMLPClassifier(rho=0.05, max_iter=5, random_state=0).fit(X, y)
    print(time.process_time() - start)
"""

MODULES = """
import sys
import sklearn.neural_network
before = set(sys.modules)
import sksharp
print(*sorted(set(sys.modules) - before))
"""

SEARCH = """
import time, warnings
warnings.simplefilter("ignore")
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sksharp import SAMMLPClassifier
X = np.random.default_rng(0).standard_normal((1000, 20))
y = X[:, 0] > 0
settings = dict(max_iter=30, random_state=0)
{search}
start = time.perf_counter()
search.fit(X, y)
print(time.perf_counter() - start)
"""
OURS = (
    'search = GridSearchCV(SAMMLPClassifier(**settings), {"rho": [0, 0.1, 0.2, 0.5]}, '
    "n_jobs=2)"
)
THEIRS = (
    'search = GridSearchCV(MLPClassifier(**settings), {"alpha": [1e-5, 1e-4, 1e-3, 1e-2]}'
    ", n_jobs=2)"
)


def cpu_of(code: str) -> float:
    """Return the CPU seconds of a fresh interpreter that runs ``code``."""
    timed = (
        "import resource\n"
        + code
        + "\nusage = resource.getrusage(resource.RUSAGE_SELF)"
        + "\nprint(usage.ru_utime + usage.ru_stime)"
    )
    return float(printed(timed)[-1])


def printed(code: str) -> list[str]:
    """Return the lines that a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    # an installed package has its bytecode: do not compile a checkout again and again
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=env
    ).stdout.split("\n")[:-1]


def measure_imports() -> dict[str, Any]:
    """Return what an import costs, and what it and an installation bring along."""
    imports: dict[str, list[float]] = {"sksharp": [], "sklearn.neural_network": []}
    for name in imports:  # compiles what is not
        cpu_of(f"import {name}")
    for _ in range(REPEATS):
        for name, seconds in imports.items():
            seconds.append(cpu_of(f"import {name}"))
    modules = printed(MODULES)[0].split()
    return {
        "import_to_sklearn": harness.ratio(
            imports["sksharp"], imports["sklearn.neural_network"]
        ),
        "import_seconds": {k: statistics.median(v) for k, v in imports.items()},
        "modules_beside_sklearn_neural_network": len(modules),
        "modules_of_others": [m for m in modules if m.split(".")[0] != "sksharp"],
        "packages_beside_torch": sorted(
            required("sksharp") - required("torch") - {"sksharp"}
        ),
    }


def required(name: str) -> set[str]:
    """Return a distribution and all that it requires."""
    found: set[str] = set()
    queue = [name]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            wanted = map(Requirement, requires(name) or [])
            queue += [
                want.name.lower()
                for want in wanted
                if want.marker is None or want.marker.evaluate({"extra": ""})
            ]
    return found


def main() -> None:
    """Measure and store the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--imports", action="store_true", help="measure these alone")
    imports = measure_imports()
    if parser.parse_args().imports:
        path = Path(__file__).with_name("results") / "start.json"
        result = {**json.loads(path.read_text()), **imports}
        print(imports)
        print("wrote", harness.save("start", result))
        return
    first = [[float(x) for x in printed(FIRST_FIT)] for _ in range(REPEATS)]
    wall = {
        name: statistics.median(
            float(printed(SEARCH.format(search=search))[-1]) for _ in range(3)
        )
        for name, search in (("sksharp", OURS), ("sklearn", THEIRS))
    }
    result = {
        "environment": harness.environment(),
        **imports,
        "first_fit_over_second_seconds": statistics.median(a - b for a, b in first),
        "grid_search_two_workers_wall_seconds": wall,
    }
    print(result)
    print("wrote", harness.save("start", result))


if __name__ == "__main__":
    main()
