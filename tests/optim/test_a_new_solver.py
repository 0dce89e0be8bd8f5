"""A solver that somebody adds: one file and one line in the registry."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sksharp

PACKAGE = Path(sksharp.__file__).parent
TESTS = Path(__file__).parents[1]

FILE = '''"""Gradient descent."""

from ._base import Descent


class Toy(Descent):
    """Gradient descent without anything."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    def update(self, p, grad, state, group):
        """Move one parameter."""
        lr = group["lr"]
        if hasattr(lr, "reshape"):
            lr = lr.reshape(*lr.shape, *(1,) * (p.ndim - lr.ndim))
        p.sub_(grad * lr)
'''
LINE = '    "toy": Solver("Toy", {"lr": "learning_rate_init"}),\n'

PROGRAM = """
import numpy as np
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import check_estimator
from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.optim import Toy

X, y = load_iris(return_X_y=True)
shared = {"max_iter": 5, "batch_size": 30, "random_state": 0}
toy = SAMMLPClassifier(solver="toy", **shared).fit(X, y)
sgd = SAMMLPClassifier(solver="sgd", momentum=0, **shared).fit(X, y)
np.testing.assert_allclose(toy.coefs_[0], sgd.coefs_[0], rtol=1e-12)
over = SAMMLPClassifier(base_solver="toy", rho=0, **shared).fit(X, y)
np.testing.assert_array_equal(over.coefs_[0], toy.coefs_[0])
check_estimator(SAMMLPRegressor(solver="toy", max_iter=50, learning_rate_init=0.03))

import sys
sys.path.append(sys.argv[1])
import _reference
pages = _reference.pages()
assert ".. autoclass:: Toy" in pages["sksharp.optim.Toy.rst"]
assert "| `'toy'` | [`Toy`](sksharp.optim.Toy.rst) | Grad" in pages["solvers.md"]
"""


@pytest.mark.slow
def test_a_file_and_a_line_make_a_solver(tmp_path):
    package = shutil.copytree(PACKAGE, tmp_path / "sksharp")
    (package / "optim" / "toy.py").write_text(FILE)
    registry = package / "optim" / "_solvers.py"
    head, tail = registry.read_text().split("}\nBASE_SOLVERS")
    registry.write_text(head + LINE + "}\nBASE_SOLVERS" + tail)
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    docs = str(TESTS.parent / "docs")
    command = [sys.executable, "-c", PROGRAM, docs]
    subprocess.run(command, env=env, cwd=tmp_path, check=True)

    # and the tests that read the registry take it up; MSAM wants a base with momentum
    tests = ["training/test_many_models.py", "optim/test_solvers.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [
        "--rootdir",
        str(TESTS.parent),
        "-c",
        str(TESTS.parent / "pyproject.toml"),
    ]
    command += [*(str(TESTS / name) for name in tests), "-k", "toy and not msam"]
    run = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    n_passed = int(run.stdout.split(" passed")[0].split()[-1])
    assert n_passed > 20
