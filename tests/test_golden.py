"""Every number of the stored record of fits is what the code computes today."""

import copy

import pytest

from sksharp.options.schedules import SCHEDULES
from sksharp.options.solvers import SOLVERS

from . import golden


@pytest.fixture(scope="module")
def found():
    return golden.compute()


def test_the_numbers_are_those_of_the_record(found):
    assert not [*golden.differences(golden.read(golden.RECORD), found)]


def test_a_record_is_the_same_after_it_was_written_and_read(found, tmp_path):
    golden.write(found, tmp_path / "record.json")
    assert golden.read(tmp_path / "record.json") == found


# 'cyclic' is younger than the record; tests/test_schedules.py has its rates
@pytest.mark.parametrize(
    "name", [*SOLVERS, "lbfgs", *sorted(SCHEDULES.keys() - {"cyclic"})]
)
def test_every_solver_and_schedule_is_in_the_record(name):
    assert any(name in words.replace(",", "").split() for words in golden.FITS)


def test_the_last_bit_of_a_number_counts(found):
    other = copy.deepcopy(found)
    values = other["fits"]["members choose"]["member 1 coefs_"]["values"]
    values[2] *= 1 + 2**-52
    (line,) = golden.differences(other, found)
    assert line.startswith("members choose: member 1 coefs_ differs by up to")


@pytest.mark.parametrize(("change", "is_same"), [(1e-9, True), (1e-5, False)])
def test_another_processor_may_round_otherwise(found, change, is_same):
    other = copy.deepcopy(found)
    other["computed_by"]["processor"] = "another one"
    other["fits"]["sam"]["coefs_"]["values"][0] += change
    assert not [*golden.differences(other, found)] == is_same


def test_what_is_missing_or_new_is_named(found):
    other = copy.deepcopy(found)
    del other["fits"]["swa"], other["fits"]["sam"]["loss_"]
    other["fits"]["wsam"]["n_iter_"]["values"] = [3]
    other["fits"]["gsam, sparse"]["coefs_"]["dtype"] = "float32"
    assert [*golden.differences(other, found)] == [
        "swa: only in the code",
        "sam: loss_ only now",
        "wsam: n_iter_ differs by up to 1",
        "gsam, sparse: coefs_ is of float64 in place of float32",
    ]
