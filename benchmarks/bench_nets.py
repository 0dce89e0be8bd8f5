"""What do nets gain by a radius? The tables that the examples of nets print.

pip install matplotlib rtdl_revisiting_models
python benchmarks/bench_nets.py    # stores results/nets.json
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
from pathlib import Path

import _harness as harness

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("plot_net_images", "plot_net_categories", "net_tabular_transformer")


def printed_by(path: Path) -> list[str]:
    """Return the lines with an accuracy or an error that a script prints."""
    out = io.StringIO()
    sys.argv = [str(path)]
    with contextlib.redirect_stdout(out):
        runpy.run_path(str(path), run_name="__main__")
    words = ("Adam", "SAM", "chosen", "flipped", "rho=")
    return [line for line in out.getvalue().splitlines() if any(map(line.count, words))]


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "agg"
    tables = {name: printed_by(EXAMPLES / f"{name}.py") for name in NAMES}
    for lines in tables.values():
        print("\n".join(lines))
    environment = harness.environment("rtdl_revisiting_models")
    harness.save("nets", {"environment": environment, "tables": tables})
