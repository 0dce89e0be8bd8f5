"""The section of docs/benchmarks.md on CUDA, of results/cuda.json if it is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[dict[str, Any]]

COMMAND = "`python benchmarks/bench_cuda.py`"
NOTHING = f"""## On a GPU

Nothing was measured on CUDA: {COMMAND}, on a machine with a
GPU, checks the training there against that on the CPU, measures it, and stores
`benchmarks/results/cuda.json`, of which this section is then written.
"""

HEAD = f"""## On a GPU

Measured by {COMMAND}, wall times, with Python {{python}}, torch {{torch}} and
scikit-learn {{scikit-learn}}, on one {{gpu}} (CUDA {{cuda}}), next to one thread of
{{cpu}}.
"""

GRAPHS = """Steps were [captured in CUDA graphs](gpu.md#cuda-graphs), which a fit does only
if it is told to.
"""

WHOLES = """### Fits and searches

Seconds from the call to its end, and the peak of the GPU's memory. *One* is a fit of
scikit-learn's network with `solver='adam'` and, in searches, as many epochs.

| what | rows | networks | CUDA, s | CPU, s | CPU / CUDA | peak, MiB | one, s |
|---|---|---|---|---|---|---|---|
{rows}
"""

SINGLES = """### Steps of one network

Microseconds of a step. The plain torch loops train the same network with autograd: *eager*
as a person would write it, *graph* with the step captured as a CUDA graph. scikit-learn has
`solver='adam'`.

| network | CUDA | eager | graph | CPU | scikit-learn | CPU / CUDA | CUDA / graph |
|---|---|---|---|---|---|---|---|
{rows}
"""

PROFILE = """### Where the time of a step goes

Kernels and launches by torch's profiler, microseconds without it. *Host* is the time until
the step is launched.

| networks | step, µs | host, µs | kernels | kernels, µs | launches | graphs |
|---|---|---|---|---|---|---|
{rows}
"""

CROSSOVER = """### What the rule of `device='auto'` rests on

*Work* is what [the rule](gpu.md#what-auto-does) counts, of a step.

| networks | weights | minibatch | work | CUDA, µs | CPU, µs | CPU / CUDA |
|---|---|---|---|---|---|---|
{rows}

{found}
"""


def section(path: Path) -> str:
    """Return the section, of a stored result if there is one."""
    if not path.exists():
        return NOTHING
    parts: dict[str, Any] = json.loads(path.read_text())["parts"]
    environment = next(iter(parts.values()))["environment"]
    rows = {name: part["rows"] for name, part in parts.items()}
    texts = [HEAD.format(**environment)]
    if environment.get("graphs"):
        texts.append(GRAPHS)
    texts += [checks(rows), waits(rows.get("waits", []))]
    speed = [row for row in rows.get("speed", []) if "CPU / device" in row]
    texts.append(wholes([row for row in speed if "seconds" in row]))
    texts.append(singles([row for row in speed if "us_per_step" in row]))
    texts.append(profile([r for r in rows.get("profile", []) if "us" in r]))
    texts.append(crossover(rows.get("crossover", [])))
    return "\n".join(text for text in texts if text)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the lines of a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def number(row: dict[str, Any], name: str) -> str:
    """Return a figure of a row, empty where it was not measured."""
    value = row.get(name)
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def checks(parts: dict[str, Rows]) -> str:
    """Return the lines on correctness."""
    lines = []
    words = {
        "correctness": "Fits on CUDA against the CPU",
        "modules": "The optimizers in a convolutional network",
        "tests": "The tests marked for CUDA",
    }
    for part, what in words.items():
        if part not in parts:
            continue
        done = [row for row in parts[part] if "skipped" not in row]
        bad = [row["name"] for row in done if not row.get("ok")]
        line = f"- {what}: {len(done) - len(bad)} of {len(done)} checks hold"
        if skipped := len(parts[part]) - len(done):
            line += f", {skipped} were not made for lack of time"
        lines.append(f"{line}." if not bad else f"{line}; not: {', '.join(bad)}.")
    return "\n".join([*lines, ""]) if lines else ""


def waits(rows: Rows) -> str:
    """Return a sentence on how often the host waits."""
    known = [row for row in rows if "waits_of_epoch" in row]
    if not known:
        return ""
    most = max(known, key=lambda row: row["waits_of_epoch"])
    free = sum(bool(row["ok"]) for row in known)
    return (
        f"The host waits for the device at most {most['waits_of_epoch']} times in an epoch "
        f"of {most['steps']} steps ({most['name']}). In {free} of {len(known)} trainings "
        "torch's sync debug mode, set to error, finds no wait before the epoch's loss.\n"
    )


def wholes(rows: Rows) -> str:
    """Return the table of fits and searches."""
    figures = (
        *("rows", "networks", "seconds", "CPU, s", "CPU / device", "peak_mib"),
        "scikit-learn's adam, one network, s",
    )
    body = [[row["name"], *(number(row, name) for name in figures)] for row in rows]
    return WHOLES.format(rows=table(body)) if body else ""


def singles(rows: Rows) -> str:
    """Return the table of steps."""
    figures = (
        *("us_per_step", "eager torch loop, us", "captured torch loop, us", "CPU, us"),
        *("scikit-learn's adam, us", "CPU / device", "device / captured"),
    )
    body = [[row["name"], *(number(row, name) for name in figures)] for row in rows]
    return SINGLES.format(rows=table(body)) if body else ""


def profile(rows: Rows) -> str:
    """Return the table of kernels and launches."""
    figures = ("us", "host_us", "kernels", "device_us", "launches", "graphs")
    body = [[row["name"], *(number(row, name) for name in figures)] for row in rows]
    return PROFILE.format(rows=table(body)) if body else ""


def crossover(rows: Rows) -> str:
    """Return the table of sizes, and where the device begins to be faster."""
    figures = ("networks", "weights", "minibatch", "work", "us", "CPU, us")
    body = [
        [number(row, name) for name in (*figures, "CPU / device")]
        for row in rows
        if "work" in row
    ]
    if not body:
        return ""
    found = next((row for row in rows if "STEP_WORK" in row), {})
    start = next((row for row in rows if row["name"] == "first use"), {})
    lines = []
    if found.get("faster_from") is not None:
        lines.append(
            f"CUDA is faster from a work of {found['faster_from']:,.0f} on; the rule asks "
            f"for {found['STEP_WORK']:,}."
        )
    if "seconds" in start:
        lines.append(f"The first use in a process takes {start['seconds']:.1f} s.")
    return CROSSOVER.format(rows=table(body), found=" ".join(lines))
