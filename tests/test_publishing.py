"""What is published agrees with itself: versions, requirements, forms."""

import re
import tomllib
from pathlib import Path

import pytest

import sksharp

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "packaging" / "conda" / "recipe.yaml"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))

yaml = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load(RECIPE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", ["CITATION.cff", "docs/citing.md"])
def test_the_version_to_cite_is_that_of_the_package(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    (version,) = re.findall(r"^ *version *[:=] *\{?([\w.]+)", text, re.M)
    assert version == sksharp.__version__


def test_the_changelog_begins_with_the_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## ([\w.]+)", text, re.M)[1]
    assert first in (sksharp.__version__.partition(".dev")[0], "Unreleased")


def test_the_conda_package_is_that_of_the_index(project, recipe):
    assert recipe["package"]["name"] == project["name"]
    assert recipe["context"]["version"] == sksharp.__version__
    assert recipe["about"]["license"] == project["license"]
    assert recipe["about"]["summary"] == project["description"]
    wanted = [f"python{project['requires-python']}", *project["dependencies"]]
    needs = [
        one.replace(" ", "").replace("pytorch", "torch")
        for one in recipe["requirements"]["run"]
    ]
    assert sorted(needs) == sorted(wanted)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_has_what_code_hosts_ask_for(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert isinstance(form["blank_issues_enabled"], bool)
        return
    assert form["name"]
    assert form["description"]
    ids = [part["id"] for part in form["body"]]
    assert len({*ids}) == len(ids)
    for part in form["body"]:
        assert part["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert part["attributes"]["label"]
