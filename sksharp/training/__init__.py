"""The engine: everything that imports torch to train an estimator's network."""

from ._fit import fit_models as fit_models
from ._placement import gains_from_others as gains_from_others
from ._ranks import active_ranks as active_ranks
from ._ranks import data_parallel as data_parallel

__all__ = ["active_ranks", "data_parallel", "fit_models", "gains_from_others"]
