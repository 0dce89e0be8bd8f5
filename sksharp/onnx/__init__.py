"""Fitted estimators and whole pipelines as ONNX models.

A model runs without this package and scikit-learn. Making one needs ``pip install onnx
skl2onnx``; both are imported by the functions that need them.
"""

from ._inputs import make_inputs
from ._to_onnx import register_converters, to_onnx

__all__ = ["make_inputs", "register_converters", "to_onnx"]
