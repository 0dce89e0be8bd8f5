"""scikit-learn's multi-layer perceptrons, trained to flat minima."""

from ._classifier import SAMMLPClassifier
from ._persistence import load, save
from ._progress import progress
from ._regressor import SAMMLPRegressor
from ._search import VectorizedGridSearchCV, VectorizedRandomizedSearchCV
from ._tabular import PiecewiseLinearEncoder, tabular_pipeline
from .inspection import (
    LossCurveDisplay,
    LossLandscapeDisplay,
    RhoCurveDisplay,
    SharpnessDisplay,
    sharpness,
)

__all__ = [
    "LossCurveDisplay",
    "LossLandscapeDisplay",
    "PiecewiseLinearEncoder",
    "RhoCurveDisplay",
    "SAMMLPClassifier",
    "SAMMLPRegressor",
    "SharpnessDisplay",
    "VectorizedGridSearchCV",
    "VectorizedRandomizedSearchCV",
    "load",
    "progress",
    "save",
    "sharpness",
    "tabular_pipeline",
]
__version__ = "0.1.0.dev0"
