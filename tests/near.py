"""Run the tests nearest to what was edited since the last commit: seconds, not minutes.

    python tests/near.py            the edited files of the working tree
    python tests/near.py FILE ...   those files

Beside the tests of each module these are the walls between the modules and the record of
fits, which sees a number change wherever that happens.
"""

import subprocess
import sys
from pathlib import Path

from mutants import ROOT, own_test

ALWAYS = ["tests/test_boundaries.py", "tests/test_golden.py"]

# of modules without tests of their own name, those that see most in a few seconds
ELSEWHERE = {
    "_classifier": ["tests/test_class_weight.py"],
    "_compose": ["tests/test_tabular.py"],
    "_contract": ["tests/training/test_fit_models.py"],
    "_course": ["tests/training/test_fit_models.py", "tests/training/test_stopping.py"],
    "_estimator": ["tests/test_errors.py", "tests/test_parity_sklearn.py"],
    "_export": ["tests/test_export.py"],
    "_fit": ["tests/training/test_fit_models.py"],
    "_folds": ["tests/test_members.py"],
    "_generators": ["tests/test_forged_files.py"],
    "_loop": ["tests/training/test_fit_models.py"],
    "_misread": ["tests/test_columns.py"],
    "_net": ["tests/training/test_fit_models.py"],
    "_numbers": ["tests/test_errors.py"],
    "_pickles": ["tests/test_persistence.py"],
    "_plan": ["tests/training/test_fit_models.py"],
    "_prefetch": [
        "tests/test_search_parameters.py",
        "tests/test_search_resampled.py",
    ],
    "_race": ["tests/test_members.py"],
    "_regressor": ["tests/test_parity_sklearn.py"],
    "_scheduling": ["tests/test_schedules.py", "tests/test_swa.py"],
    "_state": ["tests/test_saved_models.py", "tests/test_forged_files.py"],
    "_tasks": ["tests/test_sklearn_callbacks.py"],
    "_text": ["tests/test_onnx_text.py"],
    "_validation": ["tests/training/test_fit_models.py"],
    "_watching": ["tests/test_progress.py"],
}
# of whole folders, where a module is in none of these
FOLDERS = {
    "sksharp/averaging": ["tests/averaging"],
    "sksharp/inspection": ["tests/inspection"],
    "sksharp/onnx": ["tests/test_onnx.py"],
    "sksharp/optim": ["tests/optim/test_limits.py", "tests/optim/test_sam.py"],
    "sksharp/training": ["tests/training"],
}


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
            tests += [file, *tests_of(file)]
    return list(dict.fromkeys([*tests, *ALWAYS]))


def tests_of(file):
    """Return the tests nearest to a module."""
    own, folder = own_test(file), str(Path(file).parent)
    if (ROOT / own).exists():
        return [own]
    found = ELSEWHERE.get(Path(file).stem, FOLDERS.get(folder, []))
    if not found:
        print(f"{file} has no tests of its own; make test has those around it.")
    return found


if __name__ == "__main__":
    tests = near(sys.argv[1:] or edited())
    print(*tests)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *tests]
    sys.exit(subprocess.run(command, cwd=ROOT, check=False).returncode)
