"""The script that measures on CUDA, tried out where there is none."""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "bench_cuda.py"
STORED = ROOT / "benchmarks" / "results" / "cuda.json"
ENVIRONMENT = {
    "python": "3.12",
    "torch": "2.11",
    "scikit-learn": "1.9",
    "gpu": "a GPU",
    "cuda": "13.0",
    "cpu": "a CPU",
    "graphs": True,
}


def run_script(*arguments):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        text=True,
        capture_output=True,
    )


@pytest.fixture
def module(monkeypatch):
    """Return a function that imports a module of the benchmarks."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    with warnings.catch_warnings():
        yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(
            str(ROOT / "benchmarks")
        ):
            del sys.modules[name]


def all_rows(path):
    parts = json.loads(path.read_text())["parts"]
    return {name: part["rows"] for name, part in parts.items()}


# -- the script ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_dry_run_goes_through_every_part_without_a_failure(tmp_path):
    before = STORED.read_bytes() if STORED.exists() else None
    done = run_script("--dry-run", "--out", tmp_path / "dry.json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    parts = all_rows(tmp_path / "dry.json")
    assert [*parts] == [
        "correctness",
        "waits",
        "profile",
        "speed",
        "crossover",
        "modules",
        "tests",
    ]
    for rows in parts.values():
        assert rows
        assert not [row for row in rows if {"error", "skipped"} & row.keys()]
        assert all(row.get("ok", True) for row in rows)
    assert all(row["difference"] == 0 for row in parts["correctness"][-5:])
    assert (STORED.read_bytes() if STORED.exists() else None) == before


@pytest.mark.slow
def test_a_part_that_has_no_time_left_says_so_and_keeps_the_others(tmp_path):
    path = tmp_path / "cuda.json"
    path.write_text(json.dumps({"parts": {"speed": {"rows": [1], "environment": {}}}}))
    done = run_script("--dry-run", "--part", "waits", "--seconds", 0, "--out", path)
    assert done.returncode == 0, done.stderr
    parts = all_rows(path)
    assert parts["speed"] == [1]
    assert all("skipped" in row for row in parts["waits"])


@pytest.mark.slow
def test_nothing_is_stored_of_a_dry_run_nor_measured_without_cuda():
    refused = run_script("--dry-run", "--out", STORED)
    assert refused.returncode == 2
    assert "not stored as a result" in refused.stderr
    without = run_script("--part", "waits")
    assert without.returncode == 2
    assert "--dry-run" in without.stderr


# -- its parts -----------------------------------------------------------------------


def test_rows_are_written_one_by_one_and_errors_are_rows(module, tmp_path):
    runs, path = module("_cuda_runs"), tmp_path / "cuda.json"
    record = runs.Record(path, {"gpu": "a GPU"})
    part = runs.Run("speed", "cpu", True, 60, record)
    part.row("first", lambda: {"us": 1.0})
    assert [row["name"] for row in all_rows(path)["speed"]] == ["first"]
    part.row("second", lambda: 1 / 0, dtype="float32")
    late = runs.Run("late", "cpu", True, -1, record)
    late.row("third", lambda: {"us": 1.0})
    rows = all_rows(path)
    assert rows["speed"][1]["error"].startswith("ZeroDivisionError")
    assert rows["speed"][1]["dtype"] == "float32"
    assert "us" not in rows["late"][0]
    assert "skipped" in rows["late"][0]
    # another run keeps the parts that it does not measure
    runs.Run("speed", "cpu", True, 60, runs.Record(path, {}))
    again = runs.Record(path, {})
    assert [*again.parts] == ["speed", "late"]


def test_a_difference_that_is_too_large_or_not_finite_is_no_success(module):
    judged = module("_cuda_checks").judged
    assert judged(1e-4, 1e-4)["ok"]
    assert not judged(1.1e-4, 1e-4)["ok"]
    assert not judged(float("nan"), 1e-4)["ok"]
    assert not judged(0.0, 1e-4, same_radius=False)["ok"]
    assert judged(0.0, 1e-4, same_radius=True, rho=0)["ok"]


def test_every_solver_average_and_schedule_is_checked(module):
    checks = module("_cuda_checks")
    names = {check.name for check in checks.weight_checks()}
    from sksharp.options.schedules import SCHEDULES
    from sksharp.options.solvers import SOLVERS

    for solver in SOLVERS:
        assert any(name.split(" ")[0] == solver for name in names)
    assert {f"{name} schedule" for name in SCHEDULES} <= names
    assert {"swa", "ema_decay", "snapshots", "sparse", "partial_fit"} <= names
    assert "rho='auto'" in checks.CHOICES


def test_a_fit_that_differs_on_the_device_is_noticed(module, monkeypatch):
    checks = module("_cuda_checks")
    check = checks.Check("adam", {"solver": "adam"})
    assert checks.compare_weights(check, "float64", "cpu")["ok"]
    trained = checks.Check.trained

    def off(self, device, dtype):
        found = trained(self, "cpu", dtype)
        if device != "cpu":
            found.coefs_[0][0, 0] += 1e-9
        return found

    monkeypatch.setattr(checks.Check, "trained", off)
    assert not checks.compare_weights(check, "float64", "cuda")["ok"]
    assert checks.compare_weights(check, "float32", "cuda")["ok"]


def test_a_nan_in_the_last_array_is_no_small_difference(module):
    checks = module("_cuda_checks")
    check = checks.Check("adam", {"solver": "adam"})
    ours, theirs = (check.trained("cpu", "float64") for _ in range(2))
    assert checks.distance(ours, theirs) == 0
    theirs.intercepts_[-1][-1] = np.nan
    assert np.isnan(checks.distance(ours, theirs))


def test_a_check_is_of_steps_with_graphs_and_without(module, monkeypatch):
    checks, asked = module("_cuda_checks"), []
    wrong = None
    check = checks.Check("adam", {"solver": "adam"})
    trained = checks.Check.trained

    def noting(self, device, dtype):
        found = trained(self, "cpu", dtype)
        if device != "cpu":
            asked.append(os.environ["SKSHARP_CUDA_GRAPHS"])
            # wrong in one of them
            found.coefs_[0][0, 0] += asked[-1] == wrong
        return found

    monkeypatch.setattr(checks.Check, "trained", noting)
    monkeypatch.setenv("SKSHARP_CUDA_GRAPHS", "1")
    assert checks.compare_weights(check, "float64", "cuda")["ok"]
    for wrong in ("0", "1"):  # noqa: B007
        assert not checks.compare_weights(check, "float64", "cuda")["ok"]
    assert asked == ["1", "0"] * 3


def test_a_capture_that_fails_is_no_success(module, monkeypatch):
    runs, checks = module("_cuda_runs"), module("_cuda_checks")
    with runs.noted_graphs() as graphs:
        checks.Check("adam", {"solver": "adam"}).trained("cpu", "float64")
    assert len(graphs) == 1
    assert runs.graph_fields(graphs) == {"replays": 0, "captured": True}
    graphs[0].failure = "RuntimeError: the default stream captures nothing"
    fields = runs.graph_fields(graphs)
    assert fields["failure"] == graphs[0].failure
    assert not checks.judged(0.0, 1e-4, **fields)["ok"]


def test_steps_are_measured_on_a_stream_that_graphs_are_captured_on(
    module, monkeypatch
):
    steps, log = module("_cuda_steps"), []

    @contextlib.contextmanager
    def own_stream(device):
        log.append(device)
        yield
        log.append("left")

    monkeypatch.setattr(steps, "own_stream", own_stream)
    with steps.loop_of("cpu", (4, 3), 5, 1) as loop:
        loop.train_epoch(None)
        assert log == [torch.device("cpu")]
    assert log[1:] == ["left"]


@pytest.mark.parametrize(
    ("ratios", "faster_from", "slower_to"),
    [
        ([0.5, 0.9, 2.0, 3.0], 3, 2),
        ([0.5, 2.0, 0.9, 3.0], 4, 3),
        ([2.0, 2.0, 2.0, 2.0], 1, None),
        ([0.5, 0.5, 0.5, 0.5], None, 4),
    ],
)
def test_the_crossover_is_where_no_larger_step_is_slower(
    ratios, faster_from, slower_to, module
):
    rows = [{"work": k + 1, "CPU / device": r} for k, r in enumerate(ratios)]
    found = module("_cuda_steps").crossover([*rows[::-1], {"error": "failed"}])
    assert found["faster_from"] == faster_from
    assert found["slower_to"] == slower_to


def test_waits_are_counted_by_their_line_and_the_mode_is_given_back(
    module, monkeypatch
):
    steps, modes = module("_cuda_steps"), []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def call():
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    found = steps.waits_of(call, "cuda")
    assert sum(found.values()) == 3
    assert [name.partition(":")[0] for name in found] == [Path(__file__).name]
    assert modes == ["warn", "default"]


def test_the_plain_loop_of_sam_is_that_of_the_optimizer(module):
    """What fits are compared with takes the same steps."""
    from sksharp.optim import SAM

    loops, torch_of = module("_cuda_loops"), torch.from_numpy
    X, y = module("_cuda_speed").make_rows(60, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loop = loops.PlainLoop(X, y, (4,), 20, "sam", "cpu", is_captured=False)
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1)
    )
    model.load_state_dict(loop.model.state_dict())
    optimizer = SAM(model.parameters(), torch.optim.Adam, rho=0.05)
    rows, targets = torch_of(X), torch_of(y).float().unsqueeze(1)
    for start in (0, 20, 40):
        index = torch.arange(start, start + 20)
        loop.index.copy_(index)
        loop.take_step()

        def closure(index=index):
            optimizer.zero_grad()
            outputs = model(rows[index])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                outputs, targets[index]
            )
            loss.backward()
            return loss

        optimizer.step(closure)
    for ours, theirs in zip(model.parameters(), loop.params, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


# -- the page ------------------------------------------------------------------------


def test_without_a_result_the_page_says_how_to_measure(module, tmp_path):
    text = module("_cuda_report").section(tmp_path / "cuda.json")
    assert text.count(".") == 3  # one sentence, with two names of files
    assert "Nothing was measured on CUDA" in text
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert module("_cuda_report").section(STORED) in page


def test_with_a_result_the_page_has_its_figures(module, tmp_path):
    speed = {"CPU / device": 20.0, "peak_mib": 12.0}
    step = {"us_per_step": 50.0, "CPU, us": 1000.0, "device / captured": 1.5}
    sized = {
        "networks": 1,
        "weights": 2,
        "minibatch": 3,
        "work": 4,
        "us": 5,
        "CPU, us": 6,
    }
    parts = {
        "correctness": [{"name": "a", "ok": True}, {"name": "b", "ok": False}],
        "modules": [{"name": "c", "skipped": "late"}],
        "waits": [{"name": "sam", "steps": 10, "waits_of_epoch": 2, "ok": True}],
        "speed": [
            {"name": "a search", "seconds": 1.5, "CPU, s": 30.0, **speed},
            {"name": "a network", **step, **speed},
            {"name": "what failed", "error": "no"},
        ],
        "profile": [{"name": "one", "us": 100.0, "kernels": 45.0}],
        "crossover": [
            {"name": "x", **sized, "CPU / device": 1.2},
            {"name": "first use", "seconds": 1.25},
            {"name": "crossover", "faster_from": 4, "slower_to": 3, "STEP_WORK": 16},
        ],
    }
    path = tmp_path / "cuda.json"
    stored = {
        n: {"environment": ENVIRONMENT, "rows": rows} for n, rows in parts.items()
    }
    path.write_text(json.dumps({"parts": stored}))
    text = module("_cuda_report").section(path)
    assert "one a GPU (CUDA 13.0)" in text
    assert "captured in CUDA graphs" in text
    assert "1 of 2 checks hold; not: b." in text
    assert "0 of 0 checks hold, 1 were not made for lack of time." in text
    assert "at most 2 times in an epoch of 10 steps" in " ".join(text.split())
    assert "| a search |  |  | 1.5 | 30 | 20 | 12 |  |" in text
    assert "| a network | 50 |  |  | 1,000 |  | 20 | 1.5 |" in text
    assert "what failed" not in text
    assert "faster from a work of 4 on; the rule asks for 16" in " ".join(text.split())
