"""Is training on CUDA that of the CPU, how fast is it, and where does its time go?

    python benchmarks/bench_cuda.py                   # all parts, under ten minutes
    python benchmarks/bench_cuda.py --part speed      # one; the others stay as stored
    python benchmarks/bench_cuda.py --dry-run         # on the CPU: does the script work?

Prints every row and writes it to results/cuda.json at once, so that a run that is cut off
leaves what it has measured. Needs a CUDA device, and beside this package and what it
requires only pytest, for the part 'tests'. A dry run takes small sizes, compares the CPU
with itself and writes nothing, unless --out names a file.

Steps are captured in CUDA graphs, which a fit does only with SKSHARP_CUDA_GRAPHS=1. The
checks of weights train without them too. With SKSHARP_CUDA_GRAPHS=0 nothing is captured.

- correctness: fits on CUDA against the CPU, and what else must hold there.
- modules: the optimizers in a convolutional network, with automatic mixed precision,
  torch.compile and channels_last.
- waits: how often the host waits for the device in an epoch.
- profile: kernels, launches and times of a step.
- speed: searches, fits and steps, next to the CPU, scikit-learn and plain torch loops.
- crossover: from which size on a step is faster, for the rule of device='auto'.
- tests: those marked for CUDA.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import _harness as harness  # before torch: it sets the number of threads

# isort: split
import _cuda_checks
import _cuda_modules
import _cuda_speed
import _cuda_steps
import torch
from _cuda_runs import Record, Run, environment

from sksharp.training._device import GRAPHS_VARIABLE

# seconds at most; no row begins after that
PARTS: dict[str, tuple[Any, float]] = {
    "correctness": (_cuda_checks.run, 100),
    "waits": (_cuda_steps.run_waits, 30),
    "profile": (_cuda_steps.run_profile, 30),
    "speed": (_cuda_speed.run, 200),
    "crossover": (_cuda_steps.run_crossover, 60),
    "modules": (_cuda_modules.run, 60),
    "tests": (_cuda_checks.run_tests, 60),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the parts and return 1 if a check has failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=540, help="for all parts")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON to write to")
    options = parser.parse_args(arguments)
    device = "cpu" if options.dry_run else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "torch finds no CUDA device. --dry-run tries the script on the CPU."
        )
    os.environ.setdefault(GRAPHS_VARIABLE, "1")
    stored = harness.RESULTS / "cuda.json"
    if options.dry_run and options.out and options.out.resolve() == stored.resolve():
        parser.error("a dry run measures nothing, and is not stored as a result.")
    path = options.out or (None if options.dry_run else stored)
    record = Record(path, environment(device))
    end = time.monotonic() + options.seconds
    for part in options.part:
        function, seconds = PARTS[part]
        left = end - time.monotonic()
        function(Run(part, device, options.dry_run, min(seconds, left), record))
    return report({part: record.parts[part]["rows"] for part in options.part})


def report(parts: dict[str, list[dict[str, Any]]]) -> int:
    """Print how the parts ended; return 1 if a check has failed."""
    is_bad = False
    for part, rows in parts.items():
        failed = [r for r in rows if "error" in r or r.get("ok") is False]
        skipped = [r for r in rows if "skipped" in r]
        # a wait costs time, and is no wrong number
        is_bad = is_bad or (bool(failed) and part != "waits")
        print(f"{part}: {len(rows)} rows, {len(failed)} failed, {len(skipped)} skipped")
        for row in failed:
            print("  ", row["name"], row.get("error", row.get("difference", "")))
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
