"""Exponential moving average of weights."""

from collections.abc import Iterable
from numbers import Real

import torch
from torch import Tensor

from ._base import RunningAverage


class EMA(RunningAverage):
    r"""Exponential moving average of the weights along a training run.

    The first update takes the weights as they are. After :math:`n` updates,

    .. math:: \bar w \leftarrow d_n \bar w + (1 - d_n) w, \qquad
              d_n = \min\left(d, \frac{1 + n}{10 + n}\right)

    with ``warm_up``, :math:`d_n = d` without. The average looks back over about
    :math:`1 / (1 - d)` updates, which should be a small part of the run.

    Parameters
    ----------
    decay : float, default=0.99
        Decay :math:`d`, in [0, 1].

    warm_up : bool, default=False
        Whether to forget the initial weights soon.

    Attributes
    ----------
    averaged : list of Tensor
        The averaged weights, in the order of the parameters, of half precision in
        single precision. Empty before the first update.

    n_averaged : int
        Number of updates.

    Raises
    ------
    TypeError
        If ``decay`` is no number.
    ValueError
        If ``decay`` is out of its range.

    References
    ----------
    B. T. Polyak, A. B. Juditsky. "Acceleration of stochastic approximation by
    averaging." SIAM Journal on Control and Optimization, 1992.

    Examples
    --------
    >>> import torch
    >>> from sksharp.averaging import EMA
    >>> average = EMA(decay=0.5)
    >>> for value in (1.0, 2.0, 6.0):
    ...     average.update([torch.tensor([value])])
    >>> average.averaged, average.n_averaged
    ([tensor([3.7500])], 3)
    """

    def __init__(self, decay: float = 0.99, *, warm_up: bool = False) -> None:
        given: object = decay
        if not isinstance(given, Real):
            raise TypeError(f"decay must be a number in [0, 1], got decay={decay!r}.")
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be in [0, 1], got decay={decay}.")
        super().__init__()
        self.decay, self.warm_up = decay, warm_up

    @torch.no_grad()
    def update(self, params: Iterable[Tensor]) -> None:
        """Add the current weights to the average.

        Parameters
        ----------
        params : iterable of Tensor
            The weights. They are read, never kept.

        Raises
        ------
        ValueError
            If the shapes are not those of the first update, or there is no tensor. The
            average is as it was.
        TypeError
            If they are no tensors, or if one of the first update is of integers.
        """
        weights = self._checked(params)
        n = self.n_averaged
        if not n:
            self._begin(weights)
        else:
            self._approach(weights, self._share())
        self.n_averaged = n + 1

    def _share(self) -> float:
        """Return the share of the weights that come next, in the average."""
        n = self.n_averaged
        decay = min(self.decay, (1 + n) / (10 + n)) if self.warm_up else self.decay
        return 1 - decay

    def _approach(self, weights: Iterable[Tensor], share: float | Tensor) -> None:
        """Move the average by a share of the way to weights."""
        for mean, w in zip(self.averaged, weights, strict=True):
            mean.lerp_(w if w.dtype == mean.dtype else w.to(mean.dtype), share)
