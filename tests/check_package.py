"""Build wheel and sdist, look into them, and fit from the wheel: ``make package``."""

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
IN_SDIST = [
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "README.md",
    "docs/conf.py",
    "docs/index.md",
    "examples/data/credit.csv.gz",
    "examples/demo.py",
    "pyproject.toml",
    "sksharp/py.typed",
    "tests/optim/reference.py",
    "tests/test_common.py",
]
METADATA = [
    "Name: sksharp\n",
    "License-Expression: BSD-3-Clause\n",
    "Requires-Python: >=3.11\n",
    "Requires-Dist: numpy>=",
    "Requires-Dist: scikit-learn>=",
    "Requires-Dist: skorch>=",
    "Requires-Dist: torch>=",
    "Description-Content-Type: text/markdown\n",
]
MAX_SIZE = 1_000_000  # bytes of the wheel
MADE = ("docs/_build/", "docs/api/", "docs/gallery/", ".venv", "benchmarks/data/")
PROGRAM = """
import pathlib, sys
import numpy as np
import sksharp
assert pathlib.Path(sys.prefix) in pathlib.Path(sksharp.__file__).parents, sksharp
X = np.random.default_rng(0).standard_normal((60, 3))
clf = sksharp.SAMMLPClassifier(rho=0.1, learning_rate_init=0.05, random_state=0)
score = clf.fit(X, X[:, 0] > 0).score(X, X[:, 0] > 0)
assert score > 0.9, score
print("sksharp", sksharp.__version__, "from", sksharp.__file__, "scores", score)
"""


def run(*command, **kwargs):
    """Run a command, and end with it if it fails."""
    subprocess.run([str(part) for part in command], check=True, **kwargs)


def check_sdist(path):
    """Look whether the sdist holds what a distributor needs, and nothing that is made."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = sorted(set(IN_SDIST) - names)
    assert not missing, f"{path.name} must hold {missing}"
    made = sorted(name for name in names if name.startswith(MADE))
    assert not made, f"{path.name} must not hold {made[:5]}"


def check_wheel(path):
    """Look whether the wheel holds the package, its license and its metadata alone."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert "sksharp/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names), names
    with zipfile.ZipFile(path) as archive:
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    for line in METADATA:
        assert f"\n{line}" in text, f"{path.name} must have {line!r} in its metadata"
    assert path.stat().st_size < MAX_SIZE, (
        f"{path.name} is {path.stat().st_size:,} bytes"
    )
    tops = {name.split("/")[0].partition("-")[0] for name in names}
    assert tops == {"sksharp"}, f"{path.name} must hold the package alone, holds {tops}"


def main():
    """Build and check in a folder of its own, which is removed."""
    constraint = ROOT / "constraints.txt"
    with tempfile.TemporaryDirectory(prefix="sksharp_package_") as temporary:
        folder = Path(temporary)
        # the wheel is built from the sdist, which shows that the sdist is complete
        run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
        (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
        run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
        check_sdist(sdist)
        check_wheel(wheel)

        venv.create(folder / "clean", with_pip=True)
        python = folder / "clean" / ("Scripts" if os.name == "nt" else "bin") / "python"
        # an environment that knows the checkout would hide what the wheel lacks
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        install = ["-m", "pip", "install", "--quiet", "--no-compile"]
        run(python, *install, "--constraint", constraint, wheel, env=env, cwd=folder)
        run(python, "-c", PROGRAM, env=env, cwd=folder)
        print(f"{sdist.name}: {sdist.stat().st_size / 1e6:.2f} MB")
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
