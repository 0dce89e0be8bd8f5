"""Members of an ensemble, collected along a training run."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ._base import check_alike, check_keys, check_tensors, restoring


class Snapshots:
    r"""Weights collected along one training run, whose predictions are averaged.

    With a cyclic learning rate the training visits one minimum after the other, and
    weights are collected where the rate is lowest. Cosine cycles of :math:`C` steps
    restart at the highest rate (snapshot ensembles),

    .. math:: \eta_s = \tfrac12 \eta_0 \left(1 + \cos \frac{\pi (s \bmod C)}{C}\right),
              \qquad s = 0, 1, \dots

    and weights are collected at the end of each. Triangles fall from :math:`\alpha_1` to
    :math:`\alpha_2` and rise again (fast geometric ensembling), with
    :math:`t = ((s \bmod C) + 1) / C`,

    .. math:: \eta_s = \begin{cases}
              (1 - 2t) \alpha_1 + 2t \alpha_2 & t \le \tfrac12 \\
              (2 - 2t) \alpha_2 + (2t - 1) \alpha_1 & t > \tfrac12 \end{cases}

    and weights are collected at :math:`t = \tfrac12`. Unlike an average, the members may
    lie in different minima; prediction costs as many passes as there are members.

    Attributes
    ----------
    members : list of list of Tensor
        The weights, one list per update, in the order of the parameters.

    References
    ----------
    G. Huang, Y. Li, G. Pleiss, Z. Liu, J. E. Hopcroft, K. Q. Weinberger. "Snapshot
    ensembles: Train 1, get M for free." ICLR 2017. :arxiv:`1704.00109`.

    T. Garipov, P. Izmailov, D. Podoprikhin, D. Vetrov, A. G. Wilson. "Loss surfaces, mode
    connectivity, and fast ensembling of DNNs." NeurIPS 2018. :arxiv:`1802.10026`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.averaging import Snapshots
    >>> w = torch.tensor([1.0])
    >>> snapshots = Snapshots()
    >>> for value in (1.0, 2.0):
    ...     snapshots.update([w.fill_(value)])
    >>> predictions = []
    >>> for member in range(len(snapshots)):
    ...     snapshots.copy_to([w], member)
    ...     predictions.append(3 * w.item())
    >>> sum(predictions) / len(snapshots)
    4.5
    """

    def __init__(self) -> None:
        self.members: list[list[Tensor]] = []

    def __len__(self) -> int:
        return len(self.members)

    @torch.no_grad()
    def update(self, params: Iterable[Tensor]) -> None:
        """Collect the current weights.

        Parameters
        ----------
        params : iterable of Tensor
            The weights. They are copied.

        Raises
        ------
        ValueError
            If the shapes are not those of the first update, or there is no tensor.
        TypeError
            If they are no tensors.
        """
        weights = [w.detach().clone() for w in check_tensors(params)]
        if self.members:
            check_alike(weights, self.members[0])
        self.members.append(weights)

    @torch.no_grad()
    def copy_to(self, params: Iterable[Tensor], member: int) -> None:
        """Write the weights of a member into ``params``, in place.

        Parameters
        ----------
        params : iterable of Tensor
            Tensors of the same number and shapes as in every update.

        member : int
            Which member, in the order of the updates.

        Raises
        ------
        IndexError
            If there is no such member.
        ValueError
            If the shapes are others.
        """
        if not -len(self.members) <= member < len(self.members):
            raise IndexError(
                f"member must be one of the {len(self.members)} that were collected, got "
                f"member={member}. Call update(params) to collect one."
            )
        weights = list(params)
        check_alike(weights, self.members[member])
        for p, w in zip(weights, self.members[member], strict=True):
            p.copy_(w)

    @contextlib.contextmanager
    def evaluating(self, params: Iterable[Tensor], member: int) -> Iterator[None]:
        """Context in which ``params`` are the weights of a member.

        On exit they are restored, and training continues as if nothing had happened.
        Buffers, such as the statistics of batch normalization, stay as they are.

        Parameters
        ----------
        params : iterable of Tensor
            Tensors of the same number and shapes as in every update.

        member : int
            Which member, in the order of the updates.

        Raises
        ------
        IndexError
            If there is no such member.
        ValueError
            If the shapes are others.
        """
        weights = list(params)
        with restoring(weights):
            self.copy_to(weights, member)
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return the members as a dictionary of tensors.

        Returns
        -------
        state_dict : dict
            With the key 'members'. Later updates do not change it.
        """
        return {"members": [[w.clone() for w in member] for member in self.members]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the members of another object.

        Parameters
        ----------
        state_dict : dict
            What :meth:`state_dict` returned. Its tensors are copied.

        Raises
        ------
        ValueError
            If its keys are not those of an average. The members are as they were.
        """
        check_keys(self, state_dict, ("members",))
        members: Sequence[Sequence[Tensor]] = state_dict["members"]
        self.members = [[w.clone() for w in member] for member in members]
