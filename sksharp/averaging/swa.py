"""Stochastic weight averaging."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


class SWA:
    r"""Equal-weight running mean of the weights along a training run.

    After :math:`n` updates,

    .. math:: \bar w \leftarrow \bar w + (w - \bar w) / (n + 1)

    Attributes
    ----------
    averaged : list of Tensor
        The averaged weights, in the order of the parameters. Empty before the first
        update.

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

    def __init__(self) -> None:
        self.averaged: list[Tensor] = []
        self.n_averaged = 0

    @torch.no_grad()
    def update(self, params: Iterable[Tensor]) -> None:
        """Take the weights of now into the average.

        Parameters
        ----------
        params : iterable of Tensor
            The weights. They are read, never kept.
        """
        weights = list(params)
        if not self.n_averaged:
            self.averaged = [w.detach().clone() for w in weights]
        self.n_averaged += 1
        for mean, w in zip(self.averaged, weights, strict=True):
            # exact for the first weights and for weights that do not change
            mean.add_((w - mean).div_(self.n_averaged))

    @torch.no_grad()
    def copy_to(self, params: Iterable[Tensor]) -> None:
        """Write the averaged weights into ``params``, in place.

        Parameters
        ----------
        params : iterable of Tensor
            As many tensors, of the same shapes, as every update has had.

        Raises
        ------
        ValueError
            If there is no average yet.
        """
        if not self.n_averaged:
            raise ValueError(
                "copy_to needs at least one update, got none. Call update(params) first."
            )
        for p, mean in zip(params, self.averaged, strict=True):
            p.copy_(mean)

    def state_dict(self) -> dict[str, Any]:
        """Return the average as a dictionary of tensors and numbers.

        Returns
        -------
        state_dict : dict
            With keys 'averaged' and 'n_averaged'. Later updates do not change it.
        """
        averaged = [mean.clone() for mean in self.averaged]
        return {"averaged": averaged, "n_averaged": self.n_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the average of another object.

        Parameters
        ----------
        state_dict : dict
            What :meth:`state_dict` returned. Its tensors are copied.
        """
        averaged: Sequence[Tensor] = state_dict["averaged"]
        self.averaged = [mean.clone() for mean in averaged]
        self.n_averaged = state_dict["n_averaged"]
