"""Doctests of what needs an extra are left out where it is not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("skl2onnx") else ["sksharp/onnx"]
