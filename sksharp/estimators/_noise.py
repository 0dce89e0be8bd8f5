"""Noise of inputs: what it is measured by, and that of rows that are held out."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from .._input_noise import Columns, HeldOutNoise
from ._network import FitData
from ._parameters import FitPlan
from ._state import state_of


def with_columns(
    estimator: Any, plan: FitPlan, data: FitData, incremental: bool = False
) -> FitData:
    """Return the data of a fit with the columns measured, if there is noise.

    Parameters
    ----------
    estimator : estimator
        The estimator that is fitted.

    plan : FitPlan
        Its parameters.

    data : FitData
        Its data, whose columns may be known.

    incremental : bool, default=False
        Whether this is a call of ``partial_fit``, which goes on measuring.

    Raises
    ------
    ValueError
        If rows with noise are sparse, or the noise is not finite in their dtype.
    """
    of_training, of_held_out = plan.noise_of("training"), plan.noise_of("validation")
    noise = of_training or of_held_out
    if noise is None:
        return data
    _check_dense(plan, "X", data.X)
    if of_held_out is not None and data.validation is not None:
        _check_dense(plan, "X_val", data.validation.X)
    before = state_of(estimator).columns if incremental else None
    columns = data.columns or Columns.of(data.X, data.sample_weight, before)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = (noise.std * columns.spread).astype(data.dtype)
    if not np.isfinite(scale).all():
        raise ValueError(
            "input_noise times the standard deviation of every column must be "
            f"representable in {data.dtype}, the dtype of X, got input_noise="
            f"{plan.params['input_noise']!r} with a standard deviation of "
            f"{np.nan_to_num(columns.spread, nan=np.inf).max():.2g}. Lower it, or scale X."
        )
    return dataclasses.replace(data, columns=columns)


def _check_dense(plan: FitPlan, name: str, X: Any) -> None:
    if hasattr(X, "tocsr"):
        raise ValueError(
            f"{name} must be dense with input_noise, which makes every zero a number, got "
            f"a sparse matrix and input_noise={plan.params['input_noise']!r}. Pass "
            f"{name}.toarray(), or leave entries out: dropout=[0.1, ...] begins with the "
            "share of the inputs."
        )


def held_out_noise(
    plan: FitPlan, data: FitData, random_state: np.random.RandomState
) -> HeldOutNoise | None:
    """Return the noise of rows that are held out, None if there is none.

    Parameters
    ----------
    plan : FitPlan
        Parameters of the fit.

    data : FitData
        Its data.

    random_state : numpy.random.RandomState
        Source of the seed. It stays as it is: training draws what it draws without noise.
    """
    settings = plan.noise_of("validation")
    if settings is None:
        return None
    assert data.columns is not None
    seed = copy.deepcopy(random_state).randint(2**32, size=4, dtype=np.uint32)
    return HeldOutNoise(settings, data.columns, tuple(seed.tolist()))


def of_fold(noise: HeldOutNoise | None, fold: int) -> HeldOutNoise | None:
    """Return the noise of the rows of a fold."""
    if noise is None:
        return None
    return dataclasses.replace(noise, seed=(*noise.seed, fold))
