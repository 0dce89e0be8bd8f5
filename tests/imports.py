"""Print which folder of the package imports which, and circles if there are any.

    python tests/imports.py                 the folders, those that import nothing first
    python tests/imports.py --modules       the modules

Imports in functions and for type checkers count too.
"""

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1] / "sksharp"
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path
    for path in sorted(ROOT.rglob("*.py"))
}


def import_statements(module):
    """Yield modules and the names taken from them, in functions and for mypy too."""
    parts = module.split(".")
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level:
                name = ".".join([*parts[: -node.level], *filter(None, [name])])
            yield name, [alias.name for alias in node.names]


def imports(module):
    """Return the absolute names that a module imports."""
    return {
        name
        for source, taken in import_statements(module)
        for name in (source, *(f"{source}.{alias}" for alias in taken))
    }


def imported_modules(module):
    """Return the modules of the package that a module imports.

    ``from . import a`` is an import of ``a`` if that is a module, else of the package:
    Python itself imports the packages that a module is in, whoever asks for it.
    """
    found = set()
    for source, taken in import_statements(module):
        names = [f"{source}.{alias}" for alias in taken] or [source]
        for name in names:
            files = (name, f"{name}.__init__", source, f"{source}.__init__")
            found.update([file for file in files if file in MODULES][:1])
    return found


def of_modules():
    """Return the modules that each module imports."""
    return {module: imported_modules(module) for module in MODULES}


def folder_of(module):
    """Return the folder of a module, or the module if it lies at the root."""
    parts = module.split(".")[1:]
    return parts[0] + ("/" if len(parts) > 1 else ".py")


def of_folders():
    """Return the folders, and modules at the root, that each of them imports."""
    graph = {folder_of(module): set() for module in MODULES}
    for module, imported in of_modules().items():
        folder = folder_of(module)
        graph[folder] |= {folder_of(other) for other in imported} - {folder}
    return graph


def circles(graph):
    """Return the sets of modules, or folders, that reach one another."""

    def reached_from(module):
        reached, left = set(), [module]
        while left:
            new = graph[left.pop()] - reached
            reached |= new
            left += new
        return reached

    reached = {module: reached_from(module) for module in graph}
    return {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
        if module in reached[module]
    }


def in_order(graph):
    """Yield what imports only what was yielded before, as far as that goes."""
    left = dict(graph)
    while left:
        free = sorted(name for name in left if not graph[name] & left.keys())
        yield from free or sorted(left)
        left = {name: left[name] for name in left if free and name not in free}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modules", action="store_true")
    graph = of_modules() if parser.parse_args().modules else of_folders()
    for name in in_order(graph):
        print(f"{name:24} {'  '.join(sorted(graph[name]))}".rstrip())
    found = circles(graph)
    print("\n".join(f"circle: {' '.join(sorted(c))}" for c in found) or "no circle")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
