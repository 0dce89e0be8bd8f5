"""Run the tests nearest to what was edited since the last commit: seconds, not minutes.

    python tests/near.py            the edited files of the working tree
    python tests/near.py FILE ...   those files

Beside the tests of each module's own name these are the walls between the modules and the
record of fits, which sees a number change wherever that happens.
"""

import subprocess
import sys
from pathlib import Path

from mutants import ROOT, own_test

ALWAYS = ["tests/test_boundaries.py", "tests/test_golden.py"]


def edited():
    """Return the files that differ from the last commit, new ones included."""
    commands = (
        ["git", "diff", "--name-only", "HEAD"],
        ["git", "ls-files", "--others", "--exclude-standard"],
    )
    return [
        name
        for command in commands
        for name in subprocess.run(
            command, cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split()
    ]


def near(files):
    """Return the tests to run for files, each once."""
    tests = []
    for file in files:
        if Path(file).name.startswith("test_") and file.startswith("tests/"):
            tests.append(file)
        elif file.startswith("sksharp/"):
            tests += [file, own_test(file)]
    return list(dict.fromkeys([*tests, *ALWAYS]))


if __name__ == "__main__":
    tests = [test for test in near(sys.argv[1:] or edited()) if (ROOT / test).exists()]
    print(*tests)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *tests]
    sys.exit(subprocess.run(command, cwd=ROOT, check=False).returncode)
