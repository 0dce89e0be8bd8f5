"""Two processes train one estimator as one does.

They are started once and go through all cases; the tests read what they have written.
"""

import builtins
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sksharp import SAMMLPClassifier
from sksharp.distributed import data_parallel

from .cases import LOCAL, REDUCED, classes
from .launch import torchrun

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch without torch.distributed"
)


@pytest.fixture(scope="session")
def ranks(tmp_path_factory):
    """What each of two processes has found."""
    folder = tmp_path_factory.mktemp("ranks")
    torchrun(Path(__file__).with_name("two_ranks.py"), folder)
    return [pickle.loads((folder / f"{rank}.pkl").read_bytes()) for rank in range(2)]


def assert_alike(found, expected, rtol):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("case", REDUCED)
def test_two_processes_come_to_what_one_comes_to(ranks, case):
    fits = ranks[0]["fits"]
    rtol = 1e-6 if case == "single precision" else 1e-10
    assert_alike(fits["reduced"][case], fits["alone"][case], rtol)


@pytest.mark.parametrize("case", LOCAL)
def test_a_local_first_pass_is_that_of_micro_batches_of_a_process(ranks, case):
    fits = ranks[0]["fits"]
    assert_alike(fits["local"][case], fits["in parts"][case], 1e-10)


@pytest.mark.parametrize("way", ["reduced", "local"])
def test_all_processes_end_with_the_same_bits(ranks, way):
    first, second = (found["fits"][way] for found in ranks)
    for case, values in first.items():
        for name, value in values.items():
            assert_array_equal(value, second[case][name], err_msg=f"{case}: {name}")


def test_a_local_first_pass_is_not_a_reduced_one(ranks):
    fits = ranks[0]["fits"]
    whole = fits["reduced"]["64 rows"]["weights"]
    assert np.abs(fits["local"]["sam"]["weights"] - whole).max() > 1e-3


def test_a_local_first_pass_halves_the_gradients_that_are_exchanged(ranks):
    # 4 minibatches of two passes
    assert ranks[0]["exchanges"] == {"reduced": 8, "local": 4}


def test_a_shared_fit_that_is_killed_goes_on_in_all_processes(ranks):
    for found in ranks:
        whole, resumed, n_epochs, n_files = found["killed"]
        assert_array_equal(resumed, whole)
        assert n_epochs == 3
        assert n_files == 1


def test_processes_know_their_number(ranks):
    assert [found["fits"]["ranks"] for found in ranks] == [(0, 2, True), (1, 2, False)]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("X", "X must be the same in all processes.* in process 1 than in process 0"),
        ("y", "y must be the same in all processes"),
        ("sample_weight", "sample_weight must be the same in all processes"),
        ("random_state", "random_state must be the same.* Set random_state to an int"),
        ("no random_state", "random_state must be the same"),
        ("parameters", "The parameters of the estimator must be the same"),
        ("scoring", "The parameters of the estimator must be the same"),
        ("X_val", "X_val must be the same in all processes"),
        ("y_val", "y_val must be the same in all processes"),
        ("sample_weight_val", "sample_weight_val must be the same in all processes"),
        ("callbacks", "callbacks must be None"),
        ("callbacks of the second", "callbacks must be None .* in process 1"),
        ("wsam", "first_pass must be None with WSAM"),
        ("gsam", "first_pass must be None with GSAM"),
        ("looksam", "first_pass must be None with LookSAM"),
        ("friendly_sam", "first_pass must be None with FriendlySAM"),
    ],
)
def test_unlike_processes_are_all_told_and_nothing_is_left_of_the_fit(
    ranks, case, message
):
    for found in ranks:
        told, is_fitted = found["errors"][case]
        with pytest.raises(ValueError, match=message):
            raise ValueError(told)
        assert not is_fitted


def test_only_the_first_process_prints(ranks):
    lines = [found["printed"].splitlines() for found in ranks]
    assert [line.split(",")[0] for line in lines[0]] == [
        f"Iteration {epoch}" for epoch in range(1, 5)
    ]
    assert lines[1] == []


def test_only_the_first_process_tells_of_choices_searches_and_progress(ranks):
    printed, shown = zip(*(found["printed of many"] for found in ranks), strict=True)
    assert "Chose rho=0.1." in printed[0].splitlines()
    assert "Training a network on all rows." in printed[0].splitlines()
    assert "Trained 4 of 4 networks." in printed[0].splitlines()
    shared, alone = shown[0].split("alone\n")
    assert "SAMMLPClassifier, choosing rho, rung 1 of 1" in shared
    assert "VectorizedGridSearchCV, 4 networks: 16 of 16 network epochs" in shared
    # the second process is silent in a shared fit only; clocks differ
    assert "Chose rho" not in printed[1]
    assert "Trained" not in printed[1]
    nothing, alone_too = shown[1].split("alone\n")
    assert nothing == ""
    assert len(alone_too.splitlines()) == len(alone.splitlines()) == 1 + 4


def test_callbacks_of_the_first_process_stop_all(ranks):
    first, second = (found["stopped"] for found in ranks)
    if first is None:
        pytest.skip("needs scikit-learn 1.9")
    lengths = {name: (n_iter, n_told) for name, (n_iter, n_told, _) in first.items()}
    assert lengths == {"first": (2, [2]), "second": (4, []), "both": (3, [3])}
    lengths = {name: (n_iter, n_told) for name, (n_iter, n_told, _) in second.items()}
    assert lengths == {"first": (2, []), "second": (4, [4]), "both": (3, [3])}
    for name, (*_, weights) in first.items():
        assert_array_equal(weights, second[name][-1], err_msg=name)


def test_a_shared_fit_leaves_generators_threads_and_dtype(ranks):
    assert all(found["left as found"] for found in ranks)


def test_a_module_under_ddp_is_trained_as_by_one_process(ranks):
    weights = ranks[0]["modules"]
    assert_allclose(weights["reduced"], weights["alone"], rtol=1e-12, atol=1e-14)


def test_no_sync_makes_the_first_pass_that_of_a_process(ranks):
    weights = ranks[0]["modules"]
    assert_allclose(weights["local"], weights["in parts"], rtol=1e-12, atol=1e-14)
    assert np.abs(weights["local"] - weights["alone"]).max() > 1e-3


@pytest.mark.parametrize("way", ["reduced", "local"])
def test_a_module_under_ddp_ends_with_the_same_bits(ranks, way):
    assert_array_equal(ranks[0]["modules"][way], ranks[1]["modules"][way])


def test_a_module_whose_rows_are_shared_is_trained_as_by_one_process(ranks):
    for found in ranks:
        for name, (shared, alone) in found["shards"].items():
            assert_allclose(shared, alone, rtol=0, atol=1e-10, err_msg=name)


def test_training_resumes_from_a_state_that_processes_have_shared(ranks):
    for found in ranks:
        assert_array_equal(*found["resumed from shares"])


# -- in one process --------------------------------------------------------------------


def test_first_pass_is_one_of_two():
    with pytest.raises(
        ValueError, match=r"first_pass must be one of .* got .*'global'"
    ):
        with data_parallel("global"):
            pass


def test_without_accelerate_the_error_says_what_to_install(monkeypatch):
    importing = builtins.__import__

    def without_accelerate(name, *args, **kwargs):
        if name.split(".")[0] == "accelerate":
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_accelerate)
    with pytest.raises(ImportError, match="pip install accelerate"):
        with data_parallel():
            pass


def test_a_script_that_no_launcher_has_started_fits_as_ever():
    pytest.importorskip("accelerate")
    X, y = classes()
    clf = SAMMLPClassifier((4,), rho=0.1, tol=0.1, n_iter_no_change=1, random_state=0)
    expected = clf.fit(X, y).coefs_[0]
    with data_parallel() as ranks:
        found = clf.fit(X, y).coefs_[0]
    assert (ranks.rank, ranks.world_size, ranks.is_first) == (0, 1, True)
    assert_array_equal(found, expected)
