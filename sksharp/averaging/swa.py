"""Stochastic weight averaging."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ._base import RunningAverage


class SWA(RunningAverage):
    r"""Equal-weight running mean of the weights along a training run.

    After :math:`n` updates,

    .. math:: \bar w \leftarrow \bar w + (w - \bar w) / (n + 1)

    It is the mean of the collected weights. The paper also counts the weights at which
    averaging starts: for that, call ``update`` once before the first step.

    Attributes
    ----------
    averaged : list of Tensor
        The averaged weights, in the order of the parameters, of half precision in
        single precision. Empty before the first update.

    n_averaged : int
        Number of updates.

    References
    ----------
    P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson. "Averaging weights
    leads to wider optima and better generalization." UAI 2018. :arxiv:`1803.05407`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.averaging import SWA
    >>> average = SWA()
    >>> for value in (1.0, 2.0, 6.0):
    ...     average.update([torch.tensor([value])])
    >>> average.averaged, average.n_averaged
    ([tensor([3.])], 3)
    """

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
        if not self.n_averaged:
            self._begin(weights)
        n = self.n_averaged + 1
        for mean, w in zip(self.averaged, weights, strict=True):
            # exact for the first weights and for weights that do not change
            mean.add_((w - mean).div_(n))
        self.n_averaged = n
