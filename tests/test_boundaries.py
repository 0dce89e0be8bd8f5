"""What may import what: the walls that keep torch and skorch in their places."""

import ast
from pathlib import Path

import pytest

import sksharp

ROOT = Path(sksharp.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path
    for path in sorted(ROOT.rglob("*.py"))
}
FILES = list(MODULES)


def is_type_checking(node):
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def imports(module, *, inside_functions):
    """Yield the absolute names that a module imports when it runs."""
    parts = module.split(".")

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if is_type_checking(child):
                continue
            if isinstance(child, ast.FunctionDef) and not inside_functions:
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                name = child.module or ""
                if child.level:
                    name = ".".join([*parts[: -child.level], *filter(None, [name])])
                yield name
                yield from (f"{name}.{alias.name}" for alias in child.names)
            yield from walk(child)

    return set(walk(ast.parse(MODULES[module].read_text())))


def importers_of(package):
    return {
        module
        for module in FILES
        if any(
            name == package or name.startswith(package + ".")
            for name in imports(module, inside_functions=True)
        )
    }


def test_skorch_is_imported_in_two_modules_only():
    assert importers_of("skorch") == {
        "sksharp.training._net",
        "sksharp.training._callbacks",
    }


def test_torch_is_imported_on_its_own_side_only():
    sides = ("sksharp.optim.", "sksharp.averaging.", "sksharp.training.")
    others = importers_of("torch")
    assert {name for name in others if not name.startswith(sides)} == {
        "sksharp.inspection._module_surface",
        "sksharp.inspection._surface",
    }


@pytest.mark.parametrize("side", ["optim", "averaging"])
def test_optimizers_and_averages_stand_alone(side):
    own = f"sksharp.{side}"
    for module in FILES:
        if not module.startswith(own + "."):
            continue
        ours = {
            name
            for name in imports(module, inside_functions=True)
            if name.split(".")[0] == "sksharp"
        }
        assert all(name == own or name.startswith(own + ".") for name in ours), module


def test_numpy_and_torch_meet_in_the_bridge_only():
    meeting = {
        module
        for module, path in MODULES.items()
        if any(word in path.read_text() for word in ("from_numpy(", ".numpy()"))
    }
    assert meeting == {"sksharp.training._bridge"}


def test_no_import_goes_round_in_a_circle():
    graph = {
        module: {
            file
            for name in imports(module, inside_functions=False)
            for file in (name, name + ".__init__")
            if file in MODULES
        }
        for module in FILES
    }

    def visit(module, path):
        assert module not in path, " -> ".join([*path, module])
        for name in graph[module]:
            visit(name, [*path, module])

    for module in FILES:
        visit(module, [])
