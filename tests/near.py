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
    "_digest": ["tests/test_members.py"],
    "_jobs": ["tests/training/test_fit_models.py"],
    "_numbers": ["tests/test_errors.py"],
    "_version": ["tests/test_persistence.py"],
    "distributed": ["tests/distributed"],
    "estimators/_advice": ["tests/test_advice.py"],
    "estimators/_base": ["tests/test_errors.py", "tests/test_parity_sklearn.py"],
    "estimators/_classifier": ["tests/test_class_weight.py"],
    "estimators/_combinations": ["tests/test_errors.py"],
    "estimators/_comparison": ["tests/test_rho_comparison.py"],
    "estimators/_convert": ["tests/test_export.py"],
    "checkpointing/_context": ["tests/test_checkpoints.py"],
    "checkpointing/_rules": ["tests/test_checkpoints.py"],
    "checkpointing/_saves": ["tests/test_checkpoints.py"],
    "estimators/_folds": ["tests/test_members.py"],
    "estimators/_halving": ["tests/test_members.py", "tests/test_rho_comparison.py"],
    "estimators/_network": ["tests/test_members.py", "tests/test_parity_sklearn.py"],
    "estimators/_parameters": ["tests/test_options.py", "tests/test_errors.py"],
    "estimators/_outputs": ["tests/test_losses.py"],
    "estimators/_regression": ["tests/test_losses.py"],
    "estimators/_regressor": ["tests/test_parity_sklearn.py"],
    "estimators/_rho_search": ["tests/test_members.py", "tests/test_rho_comparison.py"],
    "estimators/_state": ["tests/test_persistence.py", "tests/test_members.py"],
    "estimators/_strategies": ["tests/test_members.py"],
    "estimators/_tempering": ["tests/test_refined_loss.py"],
    "estimators/_unused": ["tests/test_unused.py"],
    "estimators/_validation": ["tests/test_scoring.py"],
    "model_selection/_search": ["tests/test_search.py"],
    "observers/_bar": ["tests/test_progress.py"],
    "observers/_observers": ["tests/test_progress.py"],
    "observers/_sklearn_callbacks": ["tests/test_sklearn_callbacks.py"],
    "onnx/_text": ["tests/test_onnx_text.py"],
    "options/averages": ["tests/test_swa.py", "tests/test_snapshot_ensembles.py"],
    "options/_rates": ["tests/test_schedules.py"],
    "options/schedules": ["tests/test_schedules.py"],
    "options/solvers": ["tests/optim/test_solvers.py"],
    "persistence/_file": ["tests/test_persistence.py", "tests/test_saved_models.py"],
    "persistence/_rules": ["tests/test_saved_models.py", "tests/test_forged_files.py"],
    "storage/_archive": ["tests/test_saved_models.py", "tests/test_forged_files.py"],
    "storage/_encoding": ["tests/test_saved_models.py", "tests/test_forged_files.py"],
    "storage/_files": ["tests/test_saved_models.py"],
    "storage/_generators": ["tests/test_forged_files.py"],
    "training/_model_run": [
        "tests/training/test_fit_models.py",
        "tests/training/test_stopping.py",
    ],
    "training/_fit": ["tests/training/test_fit_models.py"],
    "training/_learning_rate": ["tests/training/test_schedule.py"],
    "training/_loop": ["tests/training/test_fit_models.py"],
    "training/_networks": ["tests/training/test_fit_models.py"],
    "training/_net": ["tests/training/test_fit_models.py"],
    "training/_optimizer": ["tests/optim/test_solvers.py"],
    "training/_sequential": ["tests/test_export.py"],
    "training/_validation": ["tests/training/test_fit_models.py"],
}
# of whole folders, where a module is in none of these
FOLDERS = {
    "sksharp/averaging": ["tests/averaging"],
    "sksharp/inspection": ["tests/inspection"],
    "sksharp/model_selection": [
        "tests/test_search_parameters.py",
        "tests/test_search_resampled.py",
    ],
    "sksharp/nets": ["tests/nets"],
    "sksharp/onnx": ["tests/test_onnx.py"],
    "sksharp/optim": ["tests/optim/test_limits.py", "tests/optim/test_sam.py"],
    "sksharp/options": ["tests/test_options.py"],
    "sksharp/persistence": ["tests/test_saved_models.py", "tests/test_forged_files.py"],
    "sksharp/preprocessing": ["tests/test_tabular.py", "tests/test_columns.py"],
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
    module = Path(file).relative_to("sksharp").with_suffix("").as_posix()
    found = ELSEWHERE.get(module, FOLDERS.get(folder, []))
    if not found:
        print(f"{file} has no tests of its own; make test has those around it.")
    return found


if __name__ == "__main__":
    tests = near(sys.argv[1:] or edited())
    print(*tests)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *tests]
    sys.exit(subprocess.run(command, cwd=ROOT, check=False).returncode)
