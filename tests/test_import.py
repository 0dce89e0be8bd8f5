"""What an installation brings along, and what an import of the package does."""

import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

import sksharp

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
IMPORTS = """
import sys
from sklearn.neural_network import MLPClassifier
before = set(sys.modules)
import sksharp
print(*(set(sys.modules) - before))
import sksharp.inspection
from sksharp import sharpness
assert not {"torch", "skorch", "matplotlib"} & sys.modules.keys()
"""


def test_an_import_is_that_of_scikit_learns_networks_and_a_few_modules():
    run = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    imported = [name.split(".") for name in run.stdout.split()]
    packages = {name[0] for name in imported}
    assert packages - sys.stdlib_module_names == {"sklearn", "sksharp"}
    of_sklearn = {name[1] for name in imported if name[0] == "sklearn"}
    assert of_sklearn <= {"pipeline", "utils"}


def required(names):
    """Return the distributions that come with some, themselves included."""
    found, queue = set(), list(names)
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found.add(name)
        for text in requires(name) or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or marker.evaluate({"extra": ""}):
                queue.append(requirement.name.lower())
    return found


def test_an_installation_brings_at_most_twelve_packages_beside_torch():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    names = {Requirement(text).name for text in project["dependencies"]}
    assert names == {"numpy", "scikit-learn", "skorch", "torch"}
    assert len(required(names) - required({"torch"})) <= 12


def test_type_checkers_are_told_to_read_the_types():
    assert Path(sksharp.__file__).with_name("py.typed").exists()
