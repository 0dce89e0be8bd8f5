"""Inspection of a fit: the sharpness of its minimum, and displays."""

from ._loss_curve import LossCurveDisplay
from ._loss_landscape import LossLandscapeDisplay
from ._rho_curve import RhoCurveDisplay
from ._sharpness import Sharpness, module_sharpness, sharpness
from ._sharpness_display import SharpnessDisplay

__all__ = [
    "LossCurveDisplay",
    "LossLandscapeDisplay",
    "RhoCurveDisplay",
    "Sharpness",
    "SharpnessDisplay",
    "module_sharpness",
    "sharpness",
]
