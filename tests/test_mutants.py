"""The planted bugs of ``mutants.py``: whether all fit, and where an edit goes."""

import dataclasses
import importlib.util
import textwrap
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "sksharp_mutants", Path(__file__).with_name("mutants.py")
)
mutants = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutants)

CODE = {
    "sksharp/a.py": "def half(x):\n    if x:\n        y = x / 2\n        return y\n",
    "sksharp/b.py": "PAIR = (\n    first,\n    second,\n)\n",
}


def edit(old, new, file="sksharp/a.py"):
    return mutants.Mutant("name", file, "a reason", old, new)


def test_every_planted_bug_fits_the_package():
    problems = mutants.problems(mutants.read_mutants())
    assert not problems, "Bring tests/mutants.toml up to date:\n" + "\n".join(problems)


def test_every_planted_bug_is_one_of_its_own():
    edits = [(m.old, m.new) for m in mutants.read_mutants()]
    assert len({*edits}) == len(edits)


def test_an_edit_takes_the_indentation_of_its_place():
    bug = edit("y = x / 2\nreturn y", "y = x\nif y:\n    return y")
    file, text = mutants.plant(bug, CODE)
    assert file == "sksharp/a.py"
    assert text == textwrap.dedent("""\
        def half(x):
            if x:
                y = x
                if y:
                    return y
        """)


@pytest.mark.parametrize("file", ["sksharp/b.py", "sksharp/gone.py"])
def test_an_edit_is_found_where_its_code_has_moved(file):
    bug = edit("x / 2", "x / 3", file)
    assert mutants.plant(bug, CODE) == mutants.plant(edit("x / 2", "x / 3"), CODE)


@pytest.mark.parametrize(
    "old", ["(first, second)", "(first,second,)", "first,\nsecond"]
)
def test_an_edit_is_found_however_its_code_is_wrapped(old):
    new = "(second, first)" if old[0] == "(" else "second, first"
    _, text = mutants.plant(edit(old, new, "sksharp/b.py"), CODE)
    scope = {"first": 1, "second": 2}
    exec(text, scope)
    assert scope["PAIR"] == (2, 1)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("y = x / 4", "y = x", "0 times"),
        ("x", "y", "3 times"),
        ("x / 2", "x / 2", "changes nothing"),
        ("x / 2", "x /", "makes no program"),
    ],
)
def test_an_edit_that_does_not_fit_says_why(old, new, reason):
    with pytest.raises(mutants.DoesNotFitError, match=reason):
        mutants.plant(edit(old, new), CODE)


def test_words_are_found_as_a_whole():
    sources = {"sksharp/a.py": "rate = 1\nrates = 2\nthe_rate = 3\n"}
    _, text = mutants.plant(edit("rate", "speed"), sources)
    assert text == "speed = 1\nrates = 2\nthe_rate = 3\n"


def test_the_nearest_tests_of_a_bug_run_first(tmp_path):
    for name in ("test_a.py", "test_errors.py", "test_hint.py", "test_members.py"):
        (tmp_path / "tests").mkdir(exist_ok=True)
        (tmp_path / "tests" / name).touch()
    bug = edit("x / 2", "x / 3")
    bug = dataclasses.replace(bug, tests=["tests/test_hint.py"], keyword="half")
    first = ["tests/test_hint.py", "tests/test_a.py"]
    rest = ["tests/test_errors.py", "tests/test_members.py"]
    assert mutants.stages_of(bug, "sksharp/_a.py", tmp_path) == [
        ["-k", "half", *first],
        first,
        rest,
    ]
