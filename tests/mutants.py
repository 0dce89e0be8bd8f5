"""Plant bugs, one at a time, and see which of them the tests notice.

For maintainers, no part of ``make test``. The bugs are small edits of the package, in
``mutants.toml`` beside this file, each with the reason why a person would make it. An edit
is found by its text, wherever in the package that lies and however it is indented or
wrapped, and is planted in a copy of the working tree::

    python tests/mutants.py                        # all of them
    python tests/mutants.py --only 'swa-*' --whole
    python tests/mutants.py --check                # whether all edits still fit

Tests near the bug run first, the whole suite only with ``--whole``. A bug is caught if a
test fails that passes without it. An edit that no longer fits, or breaks the import, says
nothing of the tests and is to be repaired.
"""

import argparse
import ast
import contextlib
import fnmatch
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "sksharp"
EDITS = Path(__file__).with_suffix(".toml")
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)

# tests near a module, beside those of its own name and those that an edit names
NEAREST = {
    "sksharp/averaging/*": ["tests/averaging", "tests/test_swa.py"],
    "sksharp/inspection/*": ["tests/inspection"],
    "sksharp/onnx/*": ["tests/test_onnx.py"],
    "sksharp/optim/*": [
        "tests/optim/test_limits.py",
        "tests/optim/test_sharpness_aware.py",
        "tests/training/test_two_gradients.py",
        "tests/test_one_gradient.py",
        "tests/optim/test_conformance.py",
    ],
    "sksharp/options/*": [
        "tests/optim/test_solvers.py",
        "tests/test_schedules.py",
        "tests/test_learning_rates.py",
        "tests/test_snapshot_ensembles.py",
        "tests/test_two_gradients.py",
        "tests/test_one_gradient.py",
    ],
    "sksharp/training/*": [
        "tests/training",
        "tests/test_parity_sklearn.py",
        "tests/test_errors.py",
        "tests/test_swa.py",
    ],
    "sksharp/*": [
        "tests/test_parity_sklearn.py",
        "tests/test_errors.py",
        "tests/test_persistence.py",
        "tests/test_members.py",
    ],
}
# errors of a clumsy edit, which any test would notice
CLUMSY = {"ImportError", "ModuleNotFoundError", "NameError", "SyntaxError"}

# runs pytest and writes down what begins and what fails; a test that takes too long ends it
PROGRAM = """
import importlib, json, pathlib, signal, sys
import pytest

module, record, options, *args = sys.argv[1:]
options = json.loads(options)

def write(**line):
    with open(record, "a") as file:
        print(json.dumps(line), file=file)

def begin(what):
    write(began=what)
    if hasattr(signal, "alarm"):
        signal.alarm(options["seconds"])

class Record:
    def pytest_collection_modifyitems(self, items):
        if not options["slow"]:
            items[:] = [item for item in items if not item.get_closest_marker("slow")]

    def pytest_runtest_logstart(self, nodeid):
        begin(nodeid)

    def pytest_exception_interact(self, node, call):
        error = type(call.excinfo.value).__name__
        write(failed=node.nodeid, error=error, ran=isinstance(node, pytest.Item))

begin(module)
path = pathlib.Path(importlib.import_module(module).__file__).resolve()
assert path.is_relative_to(pathlib.Path.cwd()), f"{path} is not the copy's"
sys.exit(pytest.main(args, plugins=[Record()]))
"""


class DoesNotFitError(Exception):
    """The text of an edit is not in the package once, or makes no program."""


@dataclass(frozen=True)
class Mutant:
    """A bug that somebody might make.

    ``tests`` are tried first, those that match the expression ``keyword`` before all.
    """

    name: str
    file: str
    why: str
    old: str
    new: str
    tests: list[str] = field(default_factory=list)
    keyword: str = ""


@dataclass
class Outcome:
    """What came of a planted bug: ``state`` is 'caught' if a test has failed."""

    mutant: Mutant
    state: str
    test: str = ""
    error: str = ""
    seconds: float = 0.0


def read_mutants(path=EDITS):
    """Return the bugs of a file."""
    with open(path, "rb") as file:
        return [Mutant(name, **edit) for name, edit in tomllib.load(file).items()]


def read_sources(root=ROOT):
    """Return the text of every module of the package."""
    paths = sorted((root / PACKAGE).rglob("*.py"))
    return {path.relative_to(root).as_posix(): path.read_text() for path in paths}


# -- where a bug goes ----------------------------------------------------------------------


def pattern(text):
    """Return what finds code, whatever lies between its words: blanks or line ends."""
    words = re.findall(r"\w+|[^\w\s]", text)
    found = r"\b" if re.match(r"\w", words[0]) else ""
    for before, word in zip(["", *words], words, strict=False):
        if re.match(r"\w", before) and re.match(r"\w", word):
            found += r"\s+"
        elif before:
            # the formatter ends a list of lines of its own with a comma
            found += r"\s*,?\s*" if word in ")]}" and before != "," else r"\s*"
        found += re.escape(word)
    return re.compile(found + (r"\b" if re.match(r"\w", words[-1]) else ""))


def plant(mutant, sources):
    """Return the file that a bug goes into, and the file's text with it."""
    code = pattern(mutant.old)
    places = [(mutant.file, m) for m in code.finditer(sources.get(mutant.file, ""))]
    if len(places) != 1:
        places = [(file, m) for file in sources for m in code.finditer(sources[file])]
    if len(places) != 1:
        raise DoesNotFitError(f"its text is in the package {len(places)} times")
    [(file, match)] = places
    text = sources[file]
    line = text[text.rfind("\n", 0, match.start()) + 1 :]
    indent = line[: len(line) - len(line.lstrip(" "))]
    first, *rest = textwrap.dedent(mutant.new).strip("\n").split("\n")
    new = "\n".join([first, *(indent + more if more else "" for more in rest)])
    changed = text[: match.start()] + new + text[match.end() :]
    if changed == text:
        raise DoesNotFitError("it changes nothing")
    try:
        ast.parse(changed)
    except SyntaxError as error:
        raise DoesNotFitError(f"it makes no program: {error}") from error
    return file, changed


def problems(mutants, root=ROOT):
    """Return what is wrong with edits, in a line each."""
    sources, lines = read_sources(root), []
    for mutant in mutants:
        try:
            plant(mutant, sources)
        except DoesNotFitError as error:
            lines.append(f"{mutant.name} ({mutant.file}) does not fit: {error}")
        for test in mutant.tests:
            if not (root / test).exists():
                lines.append(f"{mutant.name} names {test}, which is not there")
    for test in sorted({test for tests in NEAREST.values() for test in tests}):
        if not (root / test).exists():
            lines.append(f"NEAREST names {test}, which is not there")
    return lines


def own_test(file):
    """Return the tests that have the name of a module, whether there are some or not."""
    folders, module = Path(file).parts[1:-1], Path(file).stem.strip("_")
    return Path("tests", *folders, f"test_{module}.py").as_posix()


def stages_of(mutant, file, root=ROOT):
    """Return arguments of pytest, run by run: the tests nearest to a bug come first."""
    first = _files([*mutant.tests, own_test(file)], root)
    near = next(
        (tests for path, tests in NEAREST.items() if fnmatch.fnmatch(file, path))
    )
    stages = [first, [test for test in _files(near, root) if test not in first]]
    if mutant.keyword:
        stages.insert(0, ["-k", mutant.keyword, *first])
    return [stage for stage in stages if stage]


def _files(tests, root):
    """Return the test files among paths, and those of folders, each once."""
    files = [
        file
        for test in tests
        for file in (sorted((root / test).glob("test_*.py")) or [root / test])
        if file.exists()
    ]
    return list(dict.fromkeys(file.relative_to(root).as_posix() for file in files))


# -- running -------------------------------------------------------------------------------


def copy_tree(folder):
    """Copy the files of the working tree, those of git's and new ones."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def write_module(path, text):
    """Write a module, and remove what an earlier text of the same length compiled to."""
    path.write_text(text)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def run_tests(folder, file, args, options):
    """Return how a run of pytest ended, what it said, and what it has written down."""
    record = folder / ".mutants"
    record.unlink(missing_ok=True)
    module = ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")
    told = json.dumps({"seconds": options.timeout, "slow": options.slow})
    args = [
        *("-q", "--tb=no", "-p", "no:cacheprovider", "-m", ""),
        f"--basetemp={folder}_temporary",
        *args,
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, module, record, told, *args],
        cwd=folder,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate()
    finally:
        # of a test that was ended, the processes that it has started too
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    lines = record.read_text().splitlines() if record.exists() else []
    return process.returncode, said, [json.loads(line) for line in lines]


def try_tests(mutant, folder, file, args, options):
    """Return what tests say of a bug that is planted."""
    code, said, lines = run_tests(folder, file, ["-x", *args], options)
    if hasattr(signal, "SIGALRM") and code == -signal.SIGALRM:
        began = [line["began"] for line in lines if "began" in line]
        return Outcome(mutant, "timeout", began[-1])
    failed = next((line for line in lines if "failed" in line), None)
    if failed is not None:
        is_clumsy = not failed["ran"] or failed["error"] in CLUMSY
        state = "broken" if is_clumsy else "caught"
        return Outcome(mutant, state, failed["failed"], failed["error"])
    if code not in (0, 5):  # all have passed, or there were none
        return Outcome(mutant, "broken", error=said.strip().split("\n")[-1])
    return Outcome(mutant, "missed")


def try_mutant(mutant, folder, options):
    """Plant a bug in a copy of the tree, and return what the tests say."""
    start, sources = time.monotonic(), read_sources(folder)
    try:
        file, text = plant(mutant, sources)
    except DoesNotFitError as error:
        return Outcome(mutant, "does not fit", error=str(error))
    stages = stages_of(mutant, file, folder)
    if options.whole:
        stages.append([])
    write_module(folder / file, text)
    try:
        for stage in stages:
            outcome = try_tests(mutant, folder, file, stage, options)
            if outcome.state != "missed":
                break
    finally:
        write_module(folder / file, sources[file])
    outcome.seconds = time.monotonic() - start
    return outcome


def try_all(mutants, options, show):
    """Return the outcomes of all bugs, in their order."""
    with tempfile.TemporaryDirectory(prefix="mutants_") as temporary:
        folders = queue.SimpleQueue()
        for i in range(options.jobs):
            copy_tree(Path(temporary, str(i)))
            folders.put(Path(temporary, str(i)))

        def work(mutant):
            folder = folders.get()
            try:
                outcome = try_mutant(mutant, folder, options)
            finally:
                folders.put(folder)
            show(outcome)
            return outcome

        with ThreadPoolExecutor(options.jobs) as pool:
            outcomes = list(pool.map(work, mutants))
        if not options.no_baseline:
            check_baseline(outcomes, folders.get(), options)
    return outcomes


def check_baseline(outcomes, folder, options):
    """Take back what was caught by tests that fail without the bug too."""
    caught = [outcome for outcome in outcomes if outcome.state == "caught"]
    tests = sorted({outcome.test for outcome in caught})
    if not tests:
        return
    code, said, lines = run_tests(folder, f"{PACKAGE}/__init__.py", tests, options)
    failed = {line["failed"] for line in lines if "failed" in line}
    if code and not failed:
        raise RuntimeError(f"the tests do not run without a bug:\n{said}")
    for outcome in caught:
        if outcome.test in failed:
            outcome.state = "fails without it"


# -- telling -------------------------------------------------------------------------------


def row(outcome):
    """Return a line of the table."""
    mutant = outcome.mutant
    what = " ".join(filter(None, [outcome.test, outcome.error]))
    return (
        f"{mutant.name:42} {mutant.file:36} {outcome.state:12} "
        f"{outcome.seconds:6.1f} s  {what}"
    )


def parse(argv):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", metavar="PATTERN", action="append", help="names, such as 'swa-*'")
    add("--list", action="store_true", help="list the bugs and why people make them")
    add("--check", action="store_true", help="see only whether all edits fit")
    add("--whole", action="store_true", help="run all tests where the nearest pass")
    add("--slow", action="store_true", help="run tests that are marked slow too")
    add("--jobs", type=int, default=1, metavar="N", help="bugs at a time (default 1)")
    add("--timeout", type=int, default=60, metavar="S", help="seconds of one test (60)")
    add("--no-baseline", action="store_true", help="trust that all pass without a bug")
    return parser.parse_args(argv)


def main(argv=None):
    """Do what the command line says; return 0 if every bug was caught."""
    options = parse(argv)
    wanted = options.only or ["*"]
    mutants = [
        mutant
        for mutant in read_mutants()
        if any(fnmatch.fnmatch(mutant.name, name) for name in wanted)
    ]
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name:42} {mutant.file:36} {mutant.why}")
        return 0
    if options.check:
        lines = problems(mutants)
        print("\n".join([*lines, f"{len(mutants)} edits, {len(lines)} problems"]))
        return 1 if lines else 0

    start = time.monotonic()
    outcomes = try_all(
        mutants, options, lambda outcome: print(row(outcome), flush=True)
    )
    states = [outcome.state for outcome in outcomes]
    others = [outcome for outcome in outcomes if outcome.state != "caught"]
    print(f"\n{len(outcomes)} bugs in {(time.monotonic() - start) / 60:.0f} minutes:")
    print(", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(sorted(states))))
    for outcome in others:
        print(f"{row(outcome)}\n    {outcome.mutant.why}")
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
