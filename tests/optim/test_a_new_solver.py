"""A solver that somebody adds: its optimizer, its options and one import."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sksharp

PACKAGE = Path(sksharp.__file__).parent
TESTS = Path(__file__).parents[1]

OPTIMIZER = '''"""Gradient descent."""

from ._base import Descent
from ._checks import check_interval
from ._models import expand


class Toy(Descent):
    """Gradient descent with a factor."""

    def __init__(self, params, lr=0.1, factor=1.0):
        check_interval("lr", lr, 0)
        check_interval("factor", factor, 0)
        super().__init__(params, {"lr": lr, "factor": factor})

    def update(self, p, grad, state, group):
        """Move one parameter."""
        p.sub_(grad * expand(group["lr"] * group["factor"], p))
'''

OPTIONS = '''"""Gradient descent."""

from numbers import Real

from .._numbers import Number
from .solvers import Solver


class Toy(Solver):
    """Gradient descent that multiplies its rate."""

    name, optimizer = "toy", "Toy"
    chooses_length = False
    reads = {"lr": "learning_rate_init"}
    _parameter_constraints = {"factor": [Number(Real, 0, None, closed="left")]}

    def __init__(self, *, factor=1.0):
        self.factor = factor
'''

PROGRAM = """
import numpy as np
import sksharp
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator
from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV
from sksharp.options import Lookahead, Toy
from sksharp.training import _fit

X, y = load_iris(return_X_y=True)


def make(rate=0.02, **params):
    shared = {"max_iter": 5, "batch_size": 30, "random_state": 0, "rho": 0.0}
    return SAMMLPClassifier(learning_rate_init=rate, **{**shared, **params})


def assert_same(estimator, other):
    for coef, expected in zip(estimator.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(coef, expected, rtol=1e-12, atol=1e-15)


# by its name, and half as fast by its option
slow, fast = (make(r, solver="sgd", momentum=0).fit(X, y) for r in (0.01, 0.02))
toy = make(solver="toy").fit(X, y)
half = make(solver=Toy(factor=0.5)).fit(X, y)
assert_same(toy, fast)
assert_same(half, slow)
for before in ("toy", Toy(), Toy(factor=3)):
    named = make(solver=before).set_params(solver__factor=0.5)
    assert named.get_params()["solver__factor"] == 0.5
    assert_same(clone(named).fit(X, y), slow)
    assert make(solver=before).solver == before

# as the base of another, of which nothing is left without a radius
assert_same(make(base_solver="toy", rho=0).fit(X, y), fast)
for base in (
    make(base_solver=Toy(factor=0.5), rho=0),
    make(base_solver="toy", rho=0).set_params(base_solver__factor=0.5),
    make(solver=Lookahead(k=1, alpha=1.0), base_solver=Toy(factor=0.5)),
):
    assert_same(base.fit(X, y), slow)

# what is no factor
for factor in (-1, "fast"):
    try:
        make(solver=Toy(factor=factor)).fit(X, y)
    except ValueError as error:
        assert str(error).startswith("The 'factor' parameter of Toy must be"), error
    else:
        raise AssertionError(factor)
try:
    make(solver=Toy(factor=1e39)).fit(X.astype("f4"), y)
except ValueError as error:
    assert str(error).startswith("solver__factor must be representable"), error
else:
    raise AssertionError("1e39")

# a search trains all factors at once
groups, plan = [], _fit.plan


def noting(jobs, *args):
    groups.extend(plan(jobs, *args))
    return plan(jobs, *args)


_fit.plan = noting
grid = {"solver__factor": [0.5, 1.0, 2.0]}
search = VectorizedGridSearchCV(make(solver="toy"), grid, cv=2).fit(X, y)
assert max(map(len, groups)) == 6, groups
_fit.plan = plan
other = GridSearchCV(make(solver="toy"), grid, cv=2).fit(X, y)
for key in ("split0_test_score", "split1_test_score"):
    scores = search.cv_results_[key]
    np.testing.assert_array_equal(scores, other.cv_results_[key])
best = search.best_params_["solver__factor"]
assert search.best_estimator_.solver == Toy(factor=best)
assert_same(search.best_estimator_, other.best_estimator_)

# a file holds the option, and training goes on from it
sksharp.save(half, "toy.sksharp")
loaded = sksharp.load("toy.sksharp")
assert loaded.solver == Toy(factor=0.5)
assert_same(loaded, half)
assert_same(loaded.partial_fit(X, y), half.partial_fit(X, y))

check_estimator(SAMMLPRegressor(solver="toy", max_iter=50, learning_rate_init=0.03))
"""

PAGES = """
import sys
sys.path.append(sys.argv[1])
import _reference
pages = _reference.pages()
assert ".. autoclass:: Toy" in pages["sksharp.options.Toy.rst"]
[row] = [r for r in pages["solvers.md"].splitlines() if r.startswith("| `'toy'` |")]
assert "[`Toy`](sksharp.options.Toy.rst)" in row, row
assert "Gradient descent that multiplies its rate." in row, row
assert "`factor=1.0`" in row, row
assert "`learning_rate_init`" in row, row
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a copy of the package, to which a solver was added."""
    folder = tmp_path_factory.mktemp("package")
    ignored = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(PACKAGE, folder / "sksharp", ignore=ignored)
    (package / "optim" / "toy.py").write_text(OPTIMIZER)
    (package / "options" / "toy.py").write_text(OPTIONS)
    names = package / "options" / "__init__.py"
    head, tail = names.read_text().split("__all__ = [\n")
    head += "from .toy import Toy\n\n"
    names.write_text(f'{head}__all__ = [\n    "Toy",\n{tail}')
    return folder


def run(folder, *command):
    """Run Python with the copy of the package, and return what it says."""
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *command], env=env, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_three_files_make_a_solver_with_options(folder):
    touched = [
        path
        for path in (folder / "sksharp").rglob("*.py")
        if not (old := PACKAGE / path.relative_to(folder / "sksharp")).exists()
        or old.read_bytes() != path.read_bytes()
    ]
    assert len(touched) == 3
    run(folder, "-c", PROGRAM)


@pytest.mark.slow
def test_the_tests_of_all_solvers_take_it_up(folder):
    # MSAM wants a base with momentum
    tests = ("training/test_many_models.py", "optim/test_solvers.py")
    said = run(
        folder,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--rootdir", str(TESTS.parent), "-c", str(TESTS.parent / "pyproject.toml")),
        *(str(TESTS / name) for name in (*tests, "optim/test_ranges.py")),
        *("-k", "(toy or Toy) and not msam"),
    )
    assert int(said.split(" passed")[0].split()[-1]) > 20


@pytest.mark.slow
def test_it_has_its_page_and_its_row_in_the_reference(folder):
    run(folder, "-c", PAGES, str(TESTS.parent / "docs"))
