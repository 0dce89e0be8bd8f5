"""scikit-learn's multi-layer perceptrons, trained to flat minima."""

from typing import Any

from ._version import __version__ as __version__
from .checkpointing._context import checkpoints
from .estimators._classifier import SAMMLPClassifier
from .estimators._regressor import SAMMLPRegressor
from .inspection import (
    LossCurveDisplay,
    LossLandscapeDisplay,
    RhoCurveDisplay,
    RobustnessDisplay,
    SharpnessDisplay,
    robustness,
    sharpness,
    summary,
)
from .model_selection._search import (
    VectorizedGridSearchCV,
    VectorizedRandomizedSearchCV,
)
from .observers._bar import progress
from .persistence._file import load, save
from .preprocessing._piecewise_linear import PiecewiseLinearEncoder
from .preprocessing._pipeline import tabular_pipeline

__all__ = [
    "LossCurveDisplay",
    "LossLandscapeDisplay",
    "PiecewiseLinearEncoder",
    "RhoCurveDisplay",
    "RobustnessDisplay",
    "SAMMLPClassifier",
    "SAMMLPRegressor",
    "SharpnessDisplay",
    "VectorizedGridSearchCV",
    "VectorizedRandomizedSearchCV",
    "checkpoints",
    "load",
    "progress",
    "robustness",
    "save",
    "sharpness",
    "summary",
    "tabular_pipeline",
]


def __getattr__(name: str) -> Any:
    # they import torch, which `import sksharp` does not
    if name in ("averaging", "nets", "onnx", "optim"):
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
