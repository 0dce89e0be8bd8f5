"""What the parts of bench_cuda.py share: the device, the time that is left, the record."""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import _harness as harness
import torch

from sksharp.training import _loop
from sksharp.training._device import captures_graphs
from sksharp.training._graphs import StepGraphs

ROOT = Path(__file__).parent.parent
FORMAT = 1


class Record:
    """Rows of all parts, written to a file after each of them.

    Parameters
    ----------
    path : Path or None
        JSON to write to, whose other parts stay. None writes nothing.

    environment : dict
        What the rows depend on, stored with every part.
    """

    def __init__(self, path: Path | None, environment: dict[str, Any]) -> None:
        self.path, self.environment = path, environment
        self.parts: dict[str, Any] = {}
        if path is not None and path.exists():
            self.parts = json.loads(path.read_text())["parts"]

    def begin(self, part: str) -> None:
        """Begin a part anew."""
        self.parts[part] = {"environment": self.environment, "rows": []}

    def add(self, part: str, row: dict[str, Any]) -> None:
        """Print a row and write it."""
        self.parts[part]["rows"].append(row)
        print(part, "|", words(row), flush=True)
        self.write()

    def write(self) -> None:
        """Write all parts at once: whoever ends the process leaves a whole file."""
        if self.path is None:
            return
        content = {"format": FORMAT, "parts": self.parts}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps(content, indent=1, default=repr) + "\n")
        draft.replace(self.path)


def words(row: dict[str, Any]) -> str:
    """Return a row as a line of the log."""
    shown = {
        key: f"{value:.3g}" if isinstance(value, float) else value
        for key, value in row.items()
        if value is not None
    }
    return "  ".join(f"{key}={value}" for key, value in shown.items())


class Run:
    """A part under way.

    Parameters
    ----------
    part : str
        Its name.

    device : str
        'cuda', or 'cpu' in a dry run.

    is_dry : bool
        Whether only the script is tried out, on small sizes.

    seconds : float
        Time for the part. No row begins after that.

    record : Record
        Takes the rows.
    """

    def __init__(
        self, part: str, device: str, is_dry: bool, seconds: float, record: Record
    ) -> None:
        self.part, self.device, self.is_dry, self.record = part, device, is_dry, record
        self.end = time.monotonic() + seconds
        record.begin(part)

    @property
    def left(self) -> float:
        """Seconds that are left for the part."""
        return self.end - time.monotonic()

    def row(
        self, name: str, measure: Callable[[], dict[str, Any]], **fields: Any
    ) -> dict[str, Any]:
        """Measure and record a row, beside fields that are known before.

        One that fails, or has no time left, says so.
        """
        start = time.monotonic()
        if self.left < 0:
            row: dict[str, Any] = {"skipped": "the time of the part was over"}
        else:
            try:
                row = measure()
            except Exception as error:  # is a result too, and must not stop the rest
                place = traceback.extract_tb(error.__traceback__)[-1]
                message = " ".join(str(error).split())[:300]
                row = {
                    "error": f"{type(error).__name__}: {message}",
                    "at": f"{Path(place.filename).name}:{place.lineno}",
                }
                release(self.device)
        row = {"name": name, **fields, **row, "row_seconds": time.monotonic() - start}
        self.record.add(self.part, row)
        return row

    def pick(self, value: Any, dry: Any) -> Any:
        """Return a size, or the one of a dry run."""
        return dry if self.is_dry else value


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def release(device: str) -> None:
    """Give back what torch holds of the device's memory."""
    if device == "cuda":
        torch.cuda.empty_cache()


def seconds_of(function: Callable[[], Any], device: str) -> float:
    """Return the wall time of a call, until the device is done."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


@contextlib.contextmanager
def noted_graphs() -> Iterator[list[StepGraphs]]:
    """Context that lists what runs the steps of every training in it."""
    made: list[StepGraphs] = []

    class Noted(StepGraphs):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    with mock.patch.object(_loop, "StepGraphs", Noted):
        yield made


def graph_fields(graphs: Sequence[StepGraphs]) -> dict[str, Any]:
    """Return how many chunks were replayed, and whether and why a capture failed."""
    failures = [g.failure for g in graphs if g.failure is not None]
    fields = {"replays": sum(g.n_replays for g in graphs), "captured": not failures}
    return fields | ({"failure": failures[0][:300]} if failures else {})


def environment(device: str) -> dict[str, Any]:
    """Return versions, the machine and its GPU."""
    found = {
        **harness.environment(),
        "clock": "wall time",
        "cpu": processor(),
        "commit": commit(),
    }
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": gpu.name,
            "gpu_gib": round(gpu.total_memory / 2**30),
            "cuda": torch.version.cuda,
            "graphs": captures_graphs(torch.device(device)),
        }
    return found


def processor() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """Return the commit of this checkout."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(
            command, cwd=ROOT, text=True, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
