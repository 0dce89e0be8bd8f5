"""Fitted estimators and whole pipelines as ONNX models, which need neither when they run.

What it imports comes with ``pip install onnx skl2onnx``, and is imported when it is
called.
"""

from ._export import make_inputs, register_converters, to_onnx

__all__ = ["make_inputs", "register_converters", "to_onnx"]
