"""Ranger: RAdam with Lookahead."""

from ._base import Params
from ._models import Hyperparameter
from .lookahead import Lookahead
from .radam import RAdam


class Ranger(Lookahead):
    r"""RAdam for the fast weights, Lookahead for the slow ones.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, as in :class:`torch.optim.Optimizer`. A leading
        axis of every parameter may count models.

    lr : float or Tensor of shape (n_models,), default=1e-3
        Learning rate, not negative. Rates of 3e-3 to 1e-2 are usual: Lookahead with
        ``alpha=0.5`` halves the speed, and rectification shortens the first steps.

    beta_1 : float or Tensor of shape (n_models,), default=0.95
        Decay of the mean of the gradient, in [0, 1).

    beta_2 : float or Tensor of shape (n_models,), default=0.999
        Decay of the mean of the squared gradient, in [0, 1).

    eps : float or Tensor of shape (n_models,), default=1e-5
        Added to the root of the mean squared gradient, not negative.

    k : int, default=6
        Steps of RAdam between two updates of the slow weights, >= 1.

    alpha : float or Tensor of shape (n_models,), default=0.5
        Share of the way that the slow weights move towards the fast ones, in [0, 1].

    Attributes
    ----------
    base_optimizer : RAdam
        The optimizer of the fast weights.

    Raises
    ------
    ValueError
        If a hyperparameter is out of its range.

    See Also
    --------
    RAdam, Lookahead : The two parts.

    Notes
    -----
    There is no gradient centralization: it sets the gradient of a layer with one input
    to zero.

    References
    ----------
    L. Wright. "Ranger: a synergistic optimizer." 2019.

    L. Liu et al. "On the variance of the adaptive learning rate and beyond." ICLR 2020.
    :arxiv:`1908.03265`.

    M. R. Zhang et al. "Lookahead optimizer: k steps forward, 1 step back." NeurIPS
    2019. :arxiv:`1907.08610`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.optim import Ranger
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Ranger([w], lr=0.1, k=2)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     w.sum().backward()
    ...     _ = optimizer.step()
    >>> round(w.item(), 3)  # two plain gradient steps, then half way back
    0.9
    """

    capturable = True

    def __init__(
        self,
        params: Params,
        lr: Hyperparameter = 1e-3,
        beta_1: Hyperparameter = 0.95,
        beta_2: Hyperparameter = 0.999,
        eps: Hyperparameter = 1e-5,
        k: int = 6,
        alpha: Hyperparameter = 0.5,
    ) -> None:
        super().__init__(
            params,
            RAdam,
            k=k,
            alpha=alpha,
            lr=lr,
            beta_1=beta_1,
            beta_2=beta_2,
            eps=eps,
        )
