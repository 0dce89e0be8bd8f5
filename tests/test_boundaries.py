"""What may import what: the walls that keep torch and skorch in their places."""

import pytest

from .imports import MODULES, circles, imports, of_folders, of_modules

FILES = list(MODULES)


def importers_of(package):
    return {
        module
        for module in FILES
        if any(
            name == package or name.startswith(package + ".")
            for name in imports(module)
        )
    }


def test_skorch_is_imported_by_its_nets_and_in_two_other_modules_only():
    others = {n for n in importers_of("skorch") if not n.startswith("sksharp.nets.")}
    assert others == {"sksharp.training._net", "sksharp.training._callbacks"}


def test_nothing_else_needs_the_nets():
    importers = importers_of("sksharp.nets")
    assert {n for n in importers if not n.startswith("sksharp.nets.")} == set()


def test_torch_is_imported_on_its_own_side_only():
    folders = ("optim", "averaging", "training", "nets")
    sides = tuple(f"sksharp.{folder}." for folder in folders)
    others = importers_of("torch")
    assert {name for name in others if not name.startswith(sides)} == {
        "sksharp.inspection._measures",
        "sksharp.inspection._module_surface",
        "sksharp.inspection._surface",
    }


@pytest.mark.parametrize("side", ["optim", "averaging"])
def test_optimizers_and_averages_stand_alone(side):
    own = f"sksharp.{side}"
    for module in FILES:
        if not module.startswith(own + "."):
            continue
        ours = {name for name in imports(module) if name.split(".")[0] == "sksharp"}
        assert all(name == own or name.startswith(own + ".") for name in ours), module


def test_numpy_and_torch_meet_in_the_bridge_only():
    meeting = {
        module
        for module, path in MODULES.items()
        if any(word in path.read_text() for word in ("from_numpy(", ".numpy()"))
    }
    assert meeting == {"sksharp.training._bridge"}


@pytest.mark.parametrize("graph", [of_modules, of_folders])
def test_no_import_goes_round_in_a_circle(graph):
    assert not circles(graph())


def test_a_circle_is_found_however_long():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}
    assert circles(graph) == {frozenset("abc")}
