"""scikit-learn's multi-layer perceptrons, trained to flat minima."""

from ._classifier import SAMMLPClassifier
from ._regressor import SAMMLPRegressor

__all__ = ["SAMMLPClassifier", "SAMMLPRegressor"]
__version__ = "0.1.0.dev0"
