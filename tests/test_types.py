"""What a type checker says of programs that use the package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sksharp

pytestmark = pytest.mark.slow  # mypy takes some seconds

CONFIG = """
[mypy]
strict = True
[mypy-sklearn.*,skorch.*,scipy.*,joblib.*,tqdm.*]
ignore_missing_imports = True
[mypy-torch.*]
follow_imports = skip
"""

RIGHT = """
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray
from sksharp import SAMMLPClassifier, SAMMLPRegressor, load, save
from sksharp.options import ASAM, SWA, WSAM, AdamW, Cosine, MultiStep, Snapshots

X = np.zeros((20, 3))
names = ["a", "b"] * 10

clf = SAMMLPClassifier(
    (64, 32),
    "tanh",
    solver=ASAM(eta=0.1, interval=2),
    base_solver=AdamW(weight_decay=0.1),
    batch_size=32,
    learning_rate=Cosine(flat=0.5),
    random_state=np.random.RandomState(0),
    verbose=1,
    n_iter_no_change=np.inf,
    rho=[0.0, 0.1],
    swa=SWA(start=0.5, lr=0.01, strategy="linear"),
    class_weight={0: 1, 1: 2},
)
assert_type(clf.fit(X, names), SAMMLPClassifier)
assert_type(clf.partial_fit(X.tolist(), names, classes=["a", "b"]), SAMMLPClassifier)
assert_type(clf.set_params(solver__eta=0.5), SAMMLPClassifier)
assert_type(clf.predict(X), NDArray[Any])
assert_type(clf.predict_proba(X), NDArray[Any])
assert_type(clf.score(X, names), float)
assert_type(clf.loss_curve_, list[float])
assert_type(clf.members_, list[SAMMLPClassifier])
clf.to_sklearn().predict(X)
clf.to_torch(output_activation=False)
save(clf, "model.sksharp")
load("model.sksharp").predict(X)

regr = SAMMLPRegressor(
    loss="poisson",
    hidden_layer_sizes=50,
    solver="wsam",
    learning_rate="cosine",
    rho="auto",
    swa=True,
    snapshots=Snapshots(n=3, schedule="triangular"),
    scoring=lambda estimator, X, y: 0.0,
    cv=5,
)
assert_type(regr.fit(X, X[:, 0], X_val=X, y_val=X[:, 0]), SAMMLPRegressor)
assert_type(regr.oof_prediction_, NDArray[Any])
regr.set_params(solver=WSAM(decouple="auto"), learning_rate=MultiStep(milestones=[3]))
"""

# every line is wrong
WRONG = """
SAMMLPClassifier(solver=3)
SAMMLPClassifier(solver=ASAM)
SAMMLPClassifier(learning_rate=0.1)
SAMMLPClassifier(rho="0.1")
SAMMLPClassifier(activation="selu")
SAMMLPClassifier(loss="poisson")
SAMMLPClassifier(swa=0.5)
SAMMLPClassifier(snapshots="5")
SAMMLPClassifier(eta=0.1)
SAMMLPRegressor(class_weight="balanced")
ASAM(0.1)
ASAM(eta="0.1")
SWA(strategy="step")
SAMMLPClassifier().fit(X=3)
"""
IMPORTS = """
from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import ASAM, SWA
"""


@pytest.fixture(scope="module")
def lines_with_errors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    for name, text in {
        "mypy.ini": CONFIG,
        "right.py": RIGHT,
        "wrong.py": IMPORTS + WRONG,
    }.items():
        (folder / name).write_text(text)
    package = Path(sksharp.__file__).parents[1]
    path = {} if package.name == "site-packages" else {"MYPYPATH": str(package)}
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "right.py", "wrong.py"],
        cwd=folder,
        env={**os.environ, **path},
        capture_output=True,
        text=True,
    )
    errors = [line for line in run.stdout.splitlines() if ": error: " in line]
    found = {"right.py": {}, "wrong.py": {}}
    for error in errors:
        file, line, message = error.split(":", 2)
        if file in found:
            found[file][int(line)] = message
    assert "checked 2 source files" in run.stdout, run.stdout + run.stderr
    return found


def test_programs_that_run_have_no_errors(lines_with_errors):
    assert not lines_with_errors["right.py"]


def test_arguments_of_a_wrong_type_are_errors(lines_with_errors):
    lines = enumerate((IMPORTS + WRONG).splitlines(), start=1)
    wrong = [i for i, line in lines if line.startswith(("SAM", "ASAM", "SWA"))]
    assert list(lines_with_errors["wrong.py"]) == wrong
