"""Losses of a regressor, beside scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .._numbers import Number
from ._base import Option

# bisections of the interval in which the best constant of Huber's loss lies
N_BISECTIONS = 60


class RegressionLoss(Option):
    """Base of the losses of a regressor: of the residual ``r = y_pred - y``.

    Attributes
    ----------
    name : str
        Name as the parameter ``loss``.
    """

    holder = "loss"
    name: ClassVar[str] = ""

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the predicted quantiles, empty for other losses."""
        return ()

    def losses(self, residuals: NDArray[Any]) -> NDArray[Any]:
        """Return the loss of every residual ``y_pred - y``."""
        raise NotImplementedError

    def best_constants(self, y: NDArray[Any], shares: NDArray[Any]) -> NDArray[Any]:
        """Return the best constant prediction of every output.

        Parameters
        ----------
        y : array of shape (n_samples, n_outputs)
            Targets.

        shares : array of shape (n_samples,)
            Weights of the rows, which sum to 1.

        Returns
        -------
        constants : array of shape (n_outputs,)
            One of them, if there are several.
        """
        raise NotImplementedError


class AbsoluteError(RegressionLoss):
    r"""Absolute error: the network predicts the median.

    .. math:: \ell(y, \hat y) = |\hat y - y|

    Outliers count for less than in the squared error.

    See Also
    --------
    Quantile : Other quantiles. The median's loss is half this one.
    sklearn.ensemble.HistGradientBoostingRegressor : Has the same loss.

    Examples
    --------
    >>> from sksharp import SAMMLPRegressor
    >>> from sksharp.options import AbsoluteError
    >>> SAMMLPRegressor(loss="absolute_error").set_params(loss=AbsoluteError()).loss
    AbsoluteError()
    """

    name = "absolute_error"

    def losses(self, residuals: NDArray[Any]) -> NDArray[Any]:
        """Return the loss of every residual ``y_pred - y``."""
        losses: NDArray[Any] = np.abs(residuals)
        return losses

    def best_constants(self, y: NDArray[Any], shares: NDArray[Any]) -> NDArray[Any]:
        """Return the median of every output."""
        return np.array([_quantile(column, shares, 0.5) for column in y.T])


class Huber(RegressionLoss):
    r"""Huber's loss: squared for small errors, absolute for large ones.

    .. math::
        \ell(y, \hat y) = \begin{cases}
            r^2 / 2 & \text{if } |r| \le \delta \\
            \delta\, (|r| - \delta / 2) & \text{otherwise}
        \end{cases}
        \qquad r = \hat y - y

    It equals 'squared_error' for a large ``delta``, and ``delta`` times
    'absolute_error' for a small one.

    Parameters
    ----------
    delta : float, default=1.0
        Error beyond which the loss is linear, in units of the target that the network
        gets: standard deviations if a ``StandardScaler`` transforms it, as in
        ``tabular_pipeline``.

    See Also
    --------
    sklearn.linear_model.SGDRegressor : Has the same loss, with ``epsilon`` for ``delta``.
    torch.nn.HuberLoss : The same loss.

    References
    ----------
    P. J. Huber. "Robust estimation of a location parameter." Annals of Mathematical
    Statistics 35, 1964.

    Examples
    --------
    >>> from sksharp import SAMMLPRegressor
    >>> from sksharp.options import Huber
    >>> regr = SAMMLPRegressor(loss=Huber(delta=0.5))
    >>> regr.set_params(loss__delta=2.0).loss
    Huber(delta=2.0)
    """

    name = "huber"
    # of HuberRegressor, and of GradientBoostingRegressor and LightGBM
    synonyms: ClassVar[dict[str, str]] = {"epsilon": "delta", "alpha": "delta"}
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "delta": [Number(Real, 0, None, closed="neither")]
    }

    def __init__(self, *, delta: float = 1.0) -> None:
        self.delta = delta

    def losses(self, residuals: NDArray[Any]) -> NDArray[Any]:
        """Return the loss of every residual ``y_pred - y``."""
        size = np.abs(residuals)
        clipped = np.minimum(size, float(self.delta))
        losses: NDArray[Any] = clipped * (size - clipped / 2)
        return losses

    def best_constants(self, y: NDArray[Any], shares: NDArray[Any]) -> NDArray[Any]:
        """Return the constant of every output at which the clipped residuals sum to 0."""
        low, high = y.min(axis=0), y.max(axis=0)
        for _ in range(N_BISECTIONS):
            middle = low + (high - low) / 2
            slope = shares @ np.clip(middle - y, -float(self.delta), float(self.delta))
            low = np.where(slope < 0, middle, low)
            high = np.where(slope < 0, high, middle)
        constants: NDArray[Any] = low
        return constants


class Quantile(RegressionLoss):
    r"""Pinball loss: the network predicts quantiles.

    .. math::
        \ell_q(y, \hat y) = \max\big(q\, (y - \hat y),\; (q - 1)\, (y - \hat y)\big)

    The loss is averaged over several levels. The network predicts all of them, without
    crossing. With the outputs :math:`z` of the last layer, the middle one :math:`m` of
    them, and :math:`s(z) = \log(1 + e^z)`:

    .. math::
        \hat y_m = z_m, \qquad
        \hat y_{k+1} = \hat y_k + s(z_{k+1}) \ (k \ge m), \qquad
        \hat y_{k-1} = \hat y_k - s(z_{k-1}) \ (k \le m)

    Parameters
    ----------
    quantile : float or array-like of shape (n_quantiles,), default=0.5
        Level of the quantile, in (0, 1), or several in ascending order. The default
        predicts the median; its loss is half 'absolute_error'.

        With several levels ``predict`` returns an array of shape (n_samples, n_quantiles),
        whose rows ascend, for a single target. A list of one level is that level.

    See Also
    --------
    sklearn.linear_model.QuantileRegressor : Has the same loss.
    sklearn.metrics.mean_pinball_loss : The loss as a metric.

    References
    ----------
    R. Koenker, G. Bassett. "Regression quantiles." Econometrica 46, 1978.

    A. J. Cannon. "Non-crossing nonlinear regression quantiles by monotone composite
    quantile regression neural network." Stochastic Environmental Research and Risk
    Assessment 32, 2018 (the levels in one network).

    Examples
    --------
    >>> from sksharp import SAMMLPRegressor
    >>> from sksharp.options import Quantile
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 1.5, 4.0]
    >>> regr = SAMMLPRegressor(
    ...     loss=Quantile(quantile=[0.05, 0.5, 0.95]), rho=0, max_iter=20, tol=1,
    ...     random_state=0)
    >>> regr.fit(X, y).predict(X).shape
    (4, 3)
    >>> regr.set_params(loss__quantile=0.9).loss
    Quantile(quantile=0.9)
    """

    name = "quantile"
    # of GradientBoostingRegressor and LightGBM
    synonyms: ClassVar[dict[str, str]] = {"alpha": "quantile", "level": "quantile"}
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "quantile": [Number(Real, 0, 1, closed="neither"), "array-like"]
    }

    def __init__(
        self, *, quantile: float | Sequence[float] | NDArray[Any] = 0.5
    ) -> None:
        self.quantile = quantile

    def validate(self) -> None:
        """Raise if a level is not valid, or if several do not ascend."""
        super().validate()
        if isinstance(self.quantile, Real):
            return
        given = np.asarray(self.quantile, dtype=object)
        is_valid = given.ndim == 1 and given.size > 0 and all(map(_is_level, given))
        if not is_valid:
            raise ValueError(
                "quantile must be a level above 0 and below 1, or a list of at least one "
                f"of them, got quantile={self.quantile!r}."
            )
        if any(a >= b for a, b in zip(self.levels, self.levels[1:], strict=False)):
            raise ValueError(
                "quantile must hold its levels in ascending order, each once, got "
                f"quantile={self.quantile!r}. Sort them."
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the quantiles, one per output."""
        return tuple(float(level) for level in np.ravel(self.quantile))

    def plain(self) -> Quantile:
        """Return a copy with Python scalars, of which the caller's list is no part."""
        levels = self.levels
        return Quantile(quantile=levels if len(levels) > 1 else levels[0])

    def losses(self, residuals: NDArray[Any]) -> NDArray[Any]:
        """Return the loss of every residual ``y_pred - y``, an output per level."""
        tilt = 0.5 - np.array(self.levels)
        losses: NDArray[Any] = np.abs(residuals) / 2 + tilt * residuals
        return losses

    def best_constants(self, y: NDArray[Any], shares: NDArray[Any]) -> NDArray[Any]:
        """Return the quantile of every output."""
        levels = np.broadcast_to(self.levels, y.shape[1])
        pairs = zip(y.T, levels, strict=True)
        return np.array([_quantile(column, shares, level) for column, level in pairs])


LOSSES: dict[str, type[RegressionLoss]] = {
    cls.name: cls for cls in (AbsoluteError, Huber, Quantile)
}


def as_loss(value: Any) -> RegressionLoss | None:
    """Return the loss that a parameter means, None if it is one of scikit-learn's."""
    if isinstance(value, RegressionLoss):
        return value
    return LOSSES[value]() if isinstance(value, str) and value in LOSSES else None


def _is_level(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return is_number and 0 < value < 1


def _quantile(values: NDArray[Any], shares: NDArray[Any], level: float) -> Any:
    """Return the smallest value below or at which there is such a share of the rows."""
    order = np.argsort(values)
    at = int(np.searchsorted(np.cumsum(shares[order]), level * (1 - 1e-12)))
    return values[order[min(at, len(order) - 1)]]
