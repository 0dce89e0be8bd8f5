"""Import of the packages that ONNX models need, when a function is called."""

from __future__ import annotations

import importlib
from types import ModuleType

EXTRA = "pip install onnx skl2onnx"


def import_package(name: str) -> ModuleType:
    """Return a module, or raise and say how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"sksharp.onnx needs {name.split('.')[0]}, which is not installed. Run {EXTRA}",
            name=error.name,
        ) from error
