"""The engine: everything that imports torch to train an estimator's network."""

from ._fit import fit_models as fit_models

__all__ = ["fit_models"]
