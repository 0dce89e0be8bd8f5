"""Does memory grow with the file that ``partial_fit`` trains from?

    python benchmarks/bench_out_of_core.py    # writes results/out_of_core.json

Linux only. Every file is trained from in a process of its own, by
examples/train_from_file.py, which copies one chunk of 10,000 rows at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import _harness as harness

EXAMPLES = Path(__file__).parents[1] / "examples"
N_SAMPLES = (20_000, 80_000, 320_000)  # 8 to 122 MB

CHILD = """
import json, sys, threading, time, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from train_from_file import train

def used():
    lines = open("/proc/self/status").read().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024
            for name in ("RssAnon", "VmHWM")}

anonymous, done = [], threading.Event()
def watch():
    while not done.is_set():
        anonymous.append(used()["RssAnon"])
        time.sleep(0.01)

thread = threading.Thread(target=watch)
thread.start()
train(sys.argv[2:4], passes=1)
done.set()
thread.join()
print(json.dumps({"anonymous": max(anonymous), "resident": used()["VmHWM"]}))
"""


def peaks(n_samples: int) -> dict[str, float]:
    """Return the size of a file and the peaks of memory of a training, in MB."""
    sys.path.insert(0, str(EXAMPLES))
    from train_from_file import write_files

    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(folder, n_samples)
        command = [sys.executable, "-c", CHILD, str(EXAMPLES), *map(str, paths)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peak = json.loads(done.stdout)
        size = paths[0].stat().st_size
    megabytes = {name: round(value / 2**20, 1) for name, value in peak.items()}
    return {"n_samples": n_samples, "file": round(size / 2**20, 1), **megabytes}


if __name__ == "__main__":
    rows = [peaks(n_samples) for n_samples in N_SAMPLES]
    for row in rows:
        print(row)
    harness.save(
        "out_of_core",
        {
            "environment": {**harness.environment(), "clock": "none"},
            "unit": "MB, peaks: anonymous memory (sampled), resident with file pages",
            "results": rows,
        },
    )
