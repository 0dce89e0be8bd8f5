"""The site shows the maps of pages as cards, and its first page the stored results."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from sksharp.options.solvers import SOLVERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MAPS = ["index", "tutorials", "how-to", "reference", "explanation"]


@pytest.fixture
def module_of(monkeypatch):
    def load(folder, name):
        monkeypatch.setattr(sys, "path", [str(ROOT / folder), *sys.path])
        return importlib.import_module(name)

    return load


def test_the_first_page_is_written_from_the_stored_results(module_of):
    written = module_of("benchmarks", "_landing_report").page()
    assert (DOCS / "index.md").read_text(encoding="utf-8") == written


def test_every_row_of_a_map_is_a_card(module_of):
    cards = module_of("docs", "_cards")
    for name in MAPS:
        text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| (.+) \| (.*\]\(.+) \|$", text, re.M)
        shown = cards.with_cards(text)
        assert rows
        for question, page in rows:
            found = re.escape(f"::::{{grid-item-card}} {question}\n")
            (body,) = re.findall(f"^{found}(.*)\n::::$", shown, re.M)
            assert body.replace("{.sd-stretched-link}", "") == page
            assert body.endswith("{.sd-stretched-link}") <= (page.count("](") == 1)


def test_headings_and_halves_between_comments_stand_beside_each_other(module_of):
    cards = module_of("docs", "_cards")
    text = "<!-- hero -->\nleft\n<!-- beside -->\nright\n<!-- end -->\n"
    assert cards.with_cards(text) == (
        ":::::{grid} 1 1 1 2\n:gutter: 3\n\n"
        "::::{grid-item}\nleft\n::::\n\n::::{grid-item}\nright\n::::\n:::::\n"
    )
    text = "<!-- cards: 1 2 -->\n\n### A\n\na\n\n### B\n\nb\n\n<!-- end -->\nafter"
    assert cards.with_cards(text) == (
        ":::::{grid} 1 2\n:gutter: 3\n\n"
        "::::{grid-item-card} A\na\n::::\n\n::::{grid-item-card} B\nb\n::::\n:::::\nafter"
    )


def test_a_class_without_options_has_none_on_the_site(module_of):
    reference = module_of("docs", "_reference")
    found = {name: reference.options_of(solver) for name, solver in SOLVERS.items()}
    for name, solver in SOLVERS.items():
        assert re.findall(r"`(\w+)=", found[name]) == sorted(
            solver().get_params(), key=found[name].index
        )
    assert found["msam"] == ""


def formulas():
    for path in sorted((ROOT / "sksharp").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for block in re.findall(r"^( *)\.\. math::\n((?:\1 +.*\n|\n)+)", text, re.M):
            yield from (part for part in re.split(r"\n\s*\n", block[1]) if part.strip())


def test_every_formula_is_written_without_a_rest_of_latex(module_of):
    pytest.importorskip("latex2mathml")
    mathml = module_of("docs", "_mathml")
    found = [mathml.block(formula.strip()) for formula in formulas()]
    assert len(found) > 40
    for formula in found:
        assert not re.search(r"\\|&amp;|&#x0*26;|<mi>(begin|end)", formula)


def test_the_oldest_versions_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [f"Python{project['requires-python']}", *project["dependencies"]]
    page = (DOCS / "versions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", page, re.M)
    assert {f"{name}>={version}" for name, version in rows} == set(wanted)
