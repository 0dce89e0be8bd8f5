"""The pages are connected, and the reference is that of the package."""

import ast
import importlib.util
import inspect
import json
import re
import tomllib
from pathlib import Path

import pytest
from sklearn.neural_network import MLPClassifier

import sksharp
from sksharp import averaging, options
from sksharp.optim import __all__ as OPTIMIZERS
from sksharp.options.schedules import SCHEDULES
from sksharp.options.solvers import SOLVERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(DOCS.glob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("_reference", DOCS / "_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(page):
    """Return the text of a page without its code."""
    return re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S
    )


def anchors(page):
    """Return the anchors that code hosts give to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def files_linked(page):
    """Yield the files that a page links to, with the anchors."""
    for target in LINK.findall(text_of(page)):
        if not re.match(r"\w+:", target):
            name, _, anchor = target.partition("#")
            yield (page.parent / name).resolve() if name else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page):
    for path, anchor in files_linked(page):
        assert path.exists(), f"{page.name} links to {path}, which is not there"
        if anchor:
            assert anchor in anchors(path), f"{page.name} links to {path.name}#{anchor}"


def test_every_page_is_on_the_map_or_in_a_section():
    maps = [
        DOCS / f"{name}.md"
        for name in ("index", "tutorials", "how-to", "reference", "explanation")
    ]
    placed = {path for page in maps for path, _ in files_linked(page)}
    assert set(DOCS.glob("*.md")) <= {maps[0], *placed}


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_every_example_is_among_the_tutorials():
    linked = {path for path, _ in files_linked(DOCS / "tutorials.md")}
    assert {*EXAMPLES} <= linked


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_has_a_title_of_its_own(path):
    first, second, *_ = inspect.cleandoc(
        ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ).splitlines()
    assert re.fullmatch("=+", second), "underline its first line"
    assert len(second) >= len(first)


def test_the_first_steps_have_a_row_for_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (DOCS / "start.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[\w`, ]+`) \| [^|]+ \| [^|]+ \|$", page, re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert project["optional-dependencies"].keys() <= named


def test_the_page_of_differences_has_a_row_for_every_added_parameter():
    page = (DOCS / "differences-from-scikit-learn.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (`.*?`) \| .* \|$", page, re.M)
    listed = {}
    for names, defaults in rows:
        values = re.findall(r"`(.*?)`", defaults)
        listed |= zip(re.findall(r"`(\w+)`", names), values, strict=False)
    theirs = inspect.signature(MLPClassifier).parameters
    ours = inspect.signature(sksharp.SAMMLPClassifier).parameters
    added = {name: repr(p.default) for name, p in ours.items() if name not in theirs}
    assert {name: listed.get(name) for name in added} == added


def test_the_diagram_of_the_package_has_every_module():
    package = ROOT / "sksharp"
    modules = [*package.glob("*.py")]
    for folder in ("estimators", "options", "training"):
        modules += (package / folder).glob(
            "[!_]*.py" if folder == "options" else "*.py"
        )
    modules = {path.name for path in modules} - {"__init__.py"}
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    diagram = text.split("```text\n")[1].split("```")[0]
    named = set(re.findall(r"(?<!\w)\w+(?:\.py|/)", diagram))
    assert modules | folders <= named


def test_what_is_said_of_the_tables_is_in_the_stored_results():
    stored = (DOCS / "quality.md").read_text(encoding="utf-8").splitlines()
    page = (DOCS / "when-not-to-use.md").read_text(encoding="utf-8")
    page = page.split("## Searched")[0].splitlines()
    said = [line for line in page if line.startswith("| ")]
    assert len(said) == 7
    assert set(said) <= set(stored), "copy the rows of docs/quality.md"


def test_the_readme_says_what_the_first_page_of_the_site_says():
    pages = []
    for path in (ROOT / "README.md", DOCS / "index.md"):
        text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", path.read_text(encoding="utf-8"))
        pages.append(" ".join(text.split()))
    readme, index = pages
    gains = re.findall(r"\*\*Gain:\*\*.*?\*\*Cost:\*\* .*?\.(?= [A-Zt[])", index)
    assert len(gains) == 3
    for said in gains:
        assert said in readme
    (lead,) = re.findall(r"\*\*On \d+ public tables\*\*.*?by chance\.", index)
    assert lead in readme
    figures = []
    for page in pages:
        (flatness,) = re.findall(r"Is it SAM that helps\?(.*?)##", page)
        figures.append(re.findall(r"\d+(?:\.\d+)?", flatness))
    assert figures[0] == figures[1]


def test_what_is_said_of_a_step_on_the_cpu_is_in_the_stored_results():
    stored = json.loads((ROOT / "benchmarks/results/steps.json").read_text())
    costs = [1e6 * row["ms"] / row["work"] for row in stored["rows"] if row["ms"] > 0.5]
    assert len(costs) > 10
    said = f"{min(costs):.2f} to {max(costs):.2f} ns for each unit"
    assert said in (DOCS / "gpu.md").read_text(encoding="utf-8")
    assert said in (ROOT / "sksharp/training/_placement.py").read_text()


def test_the_readme_is_read_in_five_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_what_is_said_of_realmlp_is_in_the_stored_results():
    stored = (DOCS / "quality.md").read_text(encoding="utf-8")
    page = (DOCS / "when-not-to-use.md").read_text(encoding="utf-8")
    table = stored.split("| recommended against |")[1]
    (row,) = re.findall(r"^\| realmlp5 \| (.*) \|$", table.split("\n\n")[0], re.M)
    sets, wins, _, losses, loss, cpu, points = row.split(" | ")
    said = " ".join(page.split())
    assert f"wins {wins} times and loses {losses}, and" in said
    assert f"measured here on {sets} tables" in said
    assert f"has {loss} of its loss and takes {float(cpu):.2f} of its CPU time" in said
    assert f"its score is {float(points):.2f} points higher" in said


def solvers_measured():
    """Return losses with 0, 20 and 40 % of the labels flipped and the CPU time."""
    page = (DOCS / "solvers-measured.md").read_text(encoding="utf-8")
    table = {}
    for line in page.splitlines():
        if line.startswith("| `"):
            solver, setting, *cells = line.strip("| ").split(" | ")
            figures = [cells[i] for i in (1, 3, 5, 6)]
            numbers = [float(one) if one.strip() else None for one in figures]
            table[solver.replace("`", ""), setting] = numbers
    return table


def span(values):
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def test_what_is_said_of_the_solvers_is_in_the_stored_results():
    page = (DOCS / "choosing-a-solver.md").read_text(encoding="utf-8")
    stored = (DOCS / "solvers-measured.md").read_text(encoding="utf-8")
    said = " ".join(page.split())
    (n_sets,) = re.findall(r"run on (\d+) tables", stored)
    assert f"was run on {n_sets} small tables]" in said
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"Every solver measured on {n_sets} tables" in changelog

    measured = solvers_measured()

    def of(solver, setting):
        clean, _, noisy, cpu = measured[solver, setting]
        return f"{clean:.2f}", f"{noisy:.2f}", f"{cpu:.1f}"

    clean, noisy, cpu = of("'sam'", "chosen")
    assert f"{clean} of the loss, {noisy} with 40 % flipped; CPU {cpu} |" in said
    both = zip(of("SAM(interval=5)", "chosen"), of("'msam'", "chosen"), strict=True)
    clean, noisy, cpu = (" and ".join(pair) for pair in both)
    assert f"{clean}, {noisy} with 40 % flipped; CPU {cpu} |" in said
    adam, noisy, cpu = of("'adam'", "searched")
    assert f"{adam}, {noisy} with 40 % flipped; CPU {cpu}: less than" in said

    climb = [
        *("'sam'", "'wsam'", "'asam'", "'gsam'", "'fisher_sam'", "'friendly_sam'"),
        *("'looksam'", "'esam'", "SAM(interval=5)", "SAM(start=0.5)"),
        "SAM(micro_batch_size=32)",
    ]
    chosen, fixed = ([measured[one, to] for one in climb] for to in ("chosen", "fixed"))
    noisy = sorted(
        (losses[2], solver) for losses, solver in zip(chosen, climb, strict=True)
    )
    for _, solver in noisy[:5]:
        assert f"`{solver}`" in page
    ends = [span([loss for loss, _ in part]) for part in (noisy[:5], noisy[5:])]
    assert f"{ends[0]} with 40 % flipped, and the differences are" in said
    assert f"others {ends[1]}; " in said
    times = [f[3] / c[3] for f, c in zip(fixed, chosen, strict=True)]
    losses = span([f[2] for f in fixed])
    assert f"two-gradient solvers {losses}, for {span(times)} of the time |" in said
    losses = [f[0] for f in fixed] + [measured["'msam'", "fixed"][0]]
    assert f"a fixed radius raises the loss on clean labels: {span(losses)} |" in said
    losses = [loss[0] for loss in chosen]
    assert f"all two-gradient solvers reach {span(losses)}" in said

    slow = [
        f"'{name}'"
        for name in ("ranger", "radam", "lookahead", "schedule_free", "muon")
    ]
    plain, searched, chosen = (
        span([measured[one, to][0] for one in slow])
        for to in ("`rho=0`", "searched", "chosen")
    )
    assert f"too little in 200 epochs: {plain}; searched {searched}" in said
    assert f"chooses their length: {chosen} on " in said
    cosine = of("'sam', snapshots=5", "chosen")[0]
    triangular = of("'sam', snapshots=5, triangular", "chosen")[0]
    assert f"by cosine cycles {cosine}, by triangular ones {triangular} |" in said
    muon = of("'muon'", "searched")[0]
    assert muon > adam
    assert f"rate searched ({muon} and {adam})" in said
    noisy = span(measured["'yellowfin'", "default"][1:3])
    assert f"is for history: {noisy} with" in said


def test_what_is_said_of_flatness_is_in_the_stored_results():
    stored = (DOCS / "quality.md").read_text(encoding="utf-8").splitlines()
    flat = " ".join((DOCS / "flat-minima.md").read_text(encoding="utf-8").split())
    head = "| default | default_rho_0 | "
    rows = [line.strip("| ").split(" | ") for line in stored if line.startswith(head)]
    in_words = []
    for row, share in zip(rows[1:], (20, 40), strict=True):
        _, _, _, wins, _, losses, loss, _, points = row
        said = f"{wins} wins" if share == 20 else f"wins {wins} times"
        assert f"{said} to {losses} and {float(points):.1f} points" in flat
        in_words.append(f"{100 * (float(loss) - 1):.0f} %")
    assert f"log-loss is then {in_words[1]} and {in_words[0]} higher" in flat


def test_the_site_has_a_page_for_every_public_name(reference):
    pages = reference.pages()
    public = [f"sksharp.{name}" for name in sksharp.__all__]
    public += [f"sksharp.optim.{name}" for name in OPTIMIZERS]
    public += [f"sksharp.options.{name}" for name in options.__all__]
    for name in public:
        assert f":: {name.rpartition('.')[2]}\n" in pages[f"{name}.rst"]
        assert f"({name}.rst)" in pages["index.md"]


@pytest.mark.parametrize("name", ["SAMMLPClassifier", "SAMMLPRegressor"])
def test_the_display_of_an_estimator_links_to_its_page(reference, name):
    link = getattr(sksharp, name)()._get_doc_link()
    assert link == f"https://sksharp.readthedocs.io/en/stable/api/sksharp.{name}.html"
    assert f"sksharp.{name}.rst" in reference.pages()


def test_the_tables_of_the_site_are_in_markdown_alone(reference):
    tables = [text for name, text in reference.pages().items() if name.endswith(".md")]
    found = re.findall(r"``\w+``|:\w+:`\w+`", "".join(tables))
    assert not found, "roles and double quotes are those of docstrings"


def row_of(page, name):
    """Return the row of a table that begins with a name."""
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    return row


def is_said(row, cls):
    """Return whether a row links to a class of options and has them with defaults."""
    link = f"[`{cls.__name__}`](sksharp.options.{cls.__name__}.rst)"
    return link in row and all(
        f"`{name}={default!r}`" in row for name, default in cls().get_params().items()
    )


def test_the_site_has_a_row_for_every_entry_of_a_registry(reference):
    pages = reference.pages()
    for name, solver in SOLVERS.items():
        row = row_of(pages["solvers.md"], f"'{name}'")
        assert is_said(row, solver)
        assert f"[`{solver.optimizer}`](sksharp.optim.{solver.optimizer}.rst)" in row
        assert all(f"`{reads}`" in row for reads in solver.reads.values())
    for name, schedule in SCHEDULES.items():
        row = row_of(pages["schedules.md"], f"'{name}'")
        assert is_said(row, schedule)
        assert row.endswith("| yes |") == schedule().needs_length
    for parameter, averager, option in (
        ("swa", averaging.SWA, options.SWA),
        ("ema_decay", averaging.EMA, None),
        ("snapshots", averaging.Snapshots, options.Snapshots),
    ):
        row = row_of(pages["averages.md"], parameter)
        name = averager.__name__
        assert f"[`{name}`](sksharp.averaging.{name}.rst)" in row
        assert "sksharp.options" not in row if option is None else is_said(row, option)


def test_a_page_of_options_shows_what_a_user_sets_and_a_base_what_one_writes(reference):
    pages = reference.pages()
    for name in options.__all__:
        is_base = name in ("Option", "Solver", "LearningRateSchedule")
        assert (":members:" in pages[f"sksharp.options.{name}.rst"]) == is_base


def test_the_cards_that_the_site_links_to_are_there(reference):
    cards = reference.cards()
    assert SOLVERS.keys() - {"adam", "sgd"} <= cards.keys()  # which are scikit-learn's
    for target in cards.values():
        name, _, anchor = target.removeprefix("../").partition("#")
        assert anchor in anchors(DOCS / name)
