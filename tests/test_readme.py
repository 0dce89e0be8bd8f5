"""The pages say what is so: their code runs, their tables are those of the code."""

import json
import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from sksharp.options import SAM
from sksharp.options.schedules import SCHEDULES
from sksharp.options.solvers import SOLVERS

ROOT = Path(__file__).parents[1]
# a real fit is long: here it is as long as shows that the code runs
SHORTER = {"max_steps=2500": "max_steps=100"}
# a page ends early where one of these is not installed
OPTIONAL = {
    "accelerate",
    "lightning",
    "mapie",
    "mlflow",
    "onnx",
    "onnxruntime",
    "optuna",
    "shap",
    "skl2onnx",
    "skops",
    "tensorboard",
    "transformers",
}
PAGES = sorted((ROOT / "docs").glob("*.md"))

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # of Lightning: its use of torch, and what it advises for large data
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # of shap: functions of matplotlib that it calls
    pytest.mark.filterwarnings("ignore:The set_:PendingDeprecationWarning"),
    # of MLflow: its use of SQLAlchemy
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]


def code_blocks(page):
    """Yield the Python blocks of a page, each at its place in the file."""
    text = page.read_text(encoding="utf-8")
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        line = text[: match.start(1)].count("\n")
        yield compile("\n" * line + match[1], page, "exec")


def table_rows(page, first_cell):
    """Yield the cells of every row below the table head that begins with a cell."""
    lines = iter(page.read_text(encoding="utf-8").splitlines())
    next(line for line in lines if line.startswith(f"| {first_cell} |"))
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page, monkeypatch):
    monkeypatch.chdir(ROOT)  # for the files of the examples
    if "sklearn.callback" in page.read_text(encoding="utf-8"):
        pytest.importorskip("sklearn.callback")  # scikit-learn 1.9
    namespace = {"__name__": page.stem}
    for block in code_blocks(page):
        try:
            exec(block, namespace)
        except ImportError as error:
            if (error.name or "").split(".")[0] not in OPTIONAL:
                raise
            pytest.skip(f"the rest of {page.name} needs {error.name}")


@pytest.mark.slow
def test_the_readme_prints_what_it_says(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    page = ROOT / "README.md"
    namespace = {"__name__": "readme"}
    for block in code_blocks(page):
        exec(block, namespace)
    said = re.findall(
        r"^```text\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S
    )
    number = r"\d\.\d+"
    printed, said = capsys.readouterr().out, "".join(said)
    assert re.sub(number, "", printed) == re.sub(number, "", said)
    values = [[float(one) for one in re.findall(number, s)] for s in (printed, said)]
    np.testing.assert_allclose(*values, atol=0.03)  # another machine rounds differently


def test_the_result_table_is_that_of_the_stored_run():
    path = ROOT / "benchmarks" / "results" / "choose_rho.json"
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    expected = [
        [name]
        + [
            "{:.3f} ({:.3f})".format(
                *np.mean([[split["score"], split["loss"]] for split in splits], axis=0)
            )
            for splits in by_estimator.values()
        ]
        for name, by_estimator in results.items()
    ]
    page = ROOT / "docs" / "when-not-to-use.md"
    assert list(table_rows(page, "data")) == expected


@pytest.mark.parametrize(
    ("page", "first_cell", "parts", "form"),
    [
        ("prediction-intervals", "pinball loss", ["quantiles"], "{pinball:.3f}"),
        (
            "prediction-intervals",
            "coverage (width)",
            ["quantiles", "intervals"],
            "{coverage:.3f} ({width:.2f})",
        ),
        ("options", "absolute error", ["absolute_error"], "{loss:.3f}"),
        ("options", "Huber's loss", ["huber"], "{loss:.3f}"),
    ],
)
def test_the_tables_of_losses_are_those_of_the_stored_run(
    page, first_cell, parts, form
):
    path = ROOT / "benchmarks" / "results" / "quantiles.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    sets = [results[n] for n in ("concrete_strength", "saratoga_houses", "abalone")]
    expected = [
        [
            form.format(**{k: fmean(values) for k, values in one[part][method].items()})
            for one in sets
        ]
        for part in parts
        for method in sets[0][part]
    ]
    rows = table_rows(ROOT / "docs" / f"{page}.md", first_cell)
    assert [cells for _, *cells in rows] == expected


def options_in(cell):
    """Return the options with defaults that a cell of a table names."""
    named = set(re.findall(r"`(\w+=[^`]+)`", cell))
    return named | options_of(SAM) if "those of `SAM`" in cell else named


def options_of(cls):
    return {f"{name}={default!r}" for name, default in cls().get_params().items()}


def test_the_table_of_solvers_is_that_of_the_registry():
    page = ROOT / "docs" / "differences-from-scikit-learn.md"
    listed = {
        solver.strip("`'"): (cls.strip("`"), options_in(options), {*names(reads)})
        for solver, cls, options, reads in table_rows(page, "solver")
    }
    assert listed == {
        name: (
            cls.__name__,
            options_of(cls),
            set(cls.reads.values())
            | ({"base_solver"} if cls.takes_base else set())
            | ({"learning_rate", "power_t"} if cls.has_schedule else set()),
        )
        for name, cls in SOLVERS.items()
    }


def names(cell):
    """Return what a cell of a table has as code."""
    return re.findall(r"`(\w+)`", cell)


def test_the_table_of_schedules_is_that_of_the_registry():
    page = ROOT / "docs" / "learning-rate-schedules.md"
    listed = {
        name.strip("`'"): (cls.strip("`"), options_in(options))
        for name, cls, _, _, options in table_rows(page, "name")
    }
    assert listed == {
        name: (cls.__name__, options_of(cls)) for name, cls in SCHEDULES.items()
    }


def test_the_page_of_nets_has_the_tables_of_the_stored_run():
    path = ROOT / "benchmarks" / "results" / "nets.json"
    tables = json.loads(path.read_text(encoding="utf-8"))["tables"]
    page = (ROOT / "docs" / "nets.md").read_text(encoding="utf-8")
    for name, lines in tables.items():
        assert "```text\n" + "\n".join(lines) + "\n```" in page, name
