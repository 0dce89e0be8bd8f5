"""skorch nets that train any torch module to flat minima, and callbacks for others."""

from ._batches import Batches
from ._callbacks import Snapshots, WeightAveraging
from ._classifier import SAMNetClassifier
from ._regressor import SAMNetRegressor

__all__ = [
    "Batches",
    "SAMNetClassifier",
    "SAMNetRegressor",
    "Snapshots",
    "WeightAveraging",
]
