"""Inspection of a fit: its summary, sharpness and robustness, and displays."""

from ._loss_curve import LossCurveDisplay
from ._loss_landscape import LossLandscapeDisplay
from ._rho_curve import RhoCurveDisplay
from ._robustness import Robustness, robustness
from ._robustness_display import RobustnessDisplay
from ._sharpness import Sharpness, module_sharpness, sharpness
from ._sharpness_display import SharpnessDisplay
from ._summary import summary

__all__ = [
    "LossCurveDisplay",
    "LossLandscapeDisplay",
    "RhoCurveDisplay",
    "Robustness",
    "RobustnessDisplay",
    "Sharpness",
    "SharpnessDisplay",
    "module_sharpness",
    "robustness",
    "sharpness",
    "summary",
]
