"""Averages and ensembles along one training."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

from sklearn.utils._param_validation import RealNotInt, StrOptions

from .._numbers import Number
from ._base import SHARE_OR_EPOCHS, Option, epochs_before
from ._rates import StepInfo, anneal
from .schedules import LearningRateSchedule

# where snapshots begin: cycles from scratch, or around weights that have been trained
SNAPSHOT_STARTS = {"cosine": 0.0, "triangular": 0.8}


class SWA(Option):
    r"""Stochastic weight averaging: the mean of the weights of the last epochs.

    .. math::
        w_{\mathrm{SWA}} = \frac{1}{n} \sum_{k=1}^{n} w_k

    with the weights :math:`w_k` after every ``freq`` epochs from ``start`` on, or
    earlier if training would stop.

    Parameters
    ----------
    start : float or int, default=0.75
        Epochs before averaging begins: a share of the training if float, a number of
        epochs if int. A call of ``partial_fit`` is one epoch.

    freq : int, default=1
        Number of epochs between two weights that enter the average.

    lr : float or None, default=None
        Learning rate while averaging. None leaves it to the schedule.

    anneal : float or int, default=0
        Length of the transition of the learning rate to ``lr`` when averaging begins: a
        share of the averaging if float, a number of epochs if int. 0 is at once. Needs
        ``lr``.

    strategy : {'cosine', 'linear'}, default='cosine'
        Shape of the transition. Only used when ``anneal`` is not 0.

    cycle : int or None, default=None
        Epochs per cycle of the learning rate while averaging: it falls linearly from
        ``learning_rate_init`` to ``lr``, then restarts. Weights enter the average at the
        end of every cycle, where the rate is lowest. Needs ``lr``.

    See Also
    --------
    sksharp.averaging.SWA : The average, for torch.
    torch.optim.swa_utils.SWALR : The same rates.

    References
    ----------
    P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson. "Averaging weights
    leads to wider optima and better generalization." UAI 2018. :arxiv:`1803.05407`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import SWA
    >>> clf = SAMMLPClassifier(swa=SWA(start=0.5, lr=0.01), rho=0.1)
    >>> clf.set_params(swa__freq=2).swa
    SWA(start=0.5, freq=2, lr=0.01)
    """

    holder = "swa"
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "start": SHARE_OR_EPOCHS,
        "freq": [Number(Integral, 1, None, closed="left")],
        "lr": [Number(Real, 0, None, closed="neither"), None],
        "anneal": [
            Number(RealNotInt, 0, 1, closed="both"),
            Number(Integral, 0, None, closed="left"),
        ],
        "strategy": [StrOptions({"cosine", "linear"})],
        "cycle": [Number(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        start: float = 0.75,
        freq: int = 1,
        lr: float | None = None,
        anneal: float = 0,
        strategy: Literal["cosine", "linear"] = "cosine",
        cycle: int | None = None,
    ) -> None:
        self.start = start
        self.freq = freq
        self.lr = lr
        self.anneal = anneal
        self.strategy = strategy
        self.cycle = cycle

    def validate(self) -> None:
        """Raise if a value is not valid, alone or together with another."""
        super().validate()
        moves = [name for name in ("anneal", "cycle") if getattr(self, name)]
        for name in moves:
            if self.lr is None:
                raise ValueError(
                    f"{name} needs lr, the rate to go to, got {self!r}. Set lr, or leave "
                    f"{name} at its default."
                )
        if len(moves) == 2:
            raise ValueError(
                "anneal and cycle must not be used together, since both change the rate, "
                f"got {self!r}. Set anneal=0 or cycle=None."
            )
        if self.cycle is not None and self.freq != 1:
            raise ValueError(
                "freq must be 1 with cycle, which collects the weights at the end of every "
                f"cycle, got {self!r}. Leave one of them at its default."
            )

    def first_epoch(self, epochs: int) -> int:
        """Return the epochs before averaging begins."""
        return epochs_before(self.start, epochs)


class SnapshotCycles(LearningRateSchedule):
    """The cycles between the snapshots of an ensemble, which :class:`Snapshots` makes.

    Parameters
    ----------
    shape : {'cosine', 'triangular'}, default='cosine'
        'cosine' falls between two boundaries, 'triangular' falls and rises in turn.

    lr_min : float, default=0.0
        Lowest learning rate.

    boundaries : tuple of int, default=()
        Epochs at which a fall or a rise begins or ends; the cycles begin at the first.
    """

    def __init__(
        self,
        *,
        shape: Literal["cosine", "triangular"] = "cosine",
        lr_min: float = 0.0,
        boundaries: Sequence[int] = (),
    ) -> None:
        self.shape = shape
        self.lr_min = lr_min
        self.boundaries = boundaries

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step."""
        part = bisect_right(self.boundaries, at.epoch) - 1
        part = min(part, len(self.boundaries) - 2)
        begin = max(self.boundaries[part] * at.n_steps, at.warmup)
        if part < 0 or at.step < begin:
            return initial
        length = self.boundaries[part + 1] * at.n_steps - begin
        if self.shape == "cosine":
            return anneal(initial, self.lr_min, (at.step - begin) / length)
        share = (at.step + 1 - begin) / length
        fallen = share if part % 2 == 0 else 1 - share
        return (1 - fallen) * initial + fallen * self.lr_min


class Snapshots(Option):
    """Collect networks along one training, and average their predictions.

    The learning rate falls in cycles, and a network is collected at the end of each.

    Parameters
    ----------
    n : int, default=5
        Number of networks to collect, 2 or more.

    schedule : {'cosine', 'triangular'}, default='cosine'
        Cycles of the learning rate between ``learning_rate_init`` and ``lr_min``.
        'cosine' falls along half a cosine, then restarts (snapshot ensembles).
        'triangular' falls and rises linearly (fast geometric ensembling).

    start : float, int or None, default=None
        Epochs before the cycles begin: a share of the training if float, a number of
        epochs if int. None is 0 with 'cosine', and 0.8 with 'triangular', whose cycles
        need trained weights.

    lr_min : float, default=0.0
        Lowest learning rate, not above ``learning_rate_init``.

    See Also
    --------
    sksharp.averaging.Snapshots : The collection, for torch.

    References
    ----------
    G. Huang, Y. Li, G. Pleiss, Z. Liu, J. E. Hopcroft, K. Q. Weinberger. "Snapshot
    ensembles: Train 1, get M for free." ICLR 2017. :arxiv:`1704.00109`.

    T. Garipov, P. Izmailov, D. Podoprikhin, D. Vetrov, A. G. Wilson. "Loss surfaces, mode
    connectivity, and fast ensembling of DNNs." NeurIPS 2018. :arxiv:`1802.10026`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import Snapshots
    >>> clf = SAMMLPClassifier(snapshots=Snapshots(n=4, schedule="triangular"), rho=0.1)
    >>> clf.set_params(snapshots__n=3).snapshots
    Snapshots(n=3, schedule='triangular')
    """

    holder = "snapshots"
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n": [Number(Integral, 2, None, closed="left")],
        "schedule": [StrOptions(set(SNAPSHOT_STARTS))],
        "start": [*SHARE_OR_EPOCHS, None],
        "lr_min": [Number(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n: int = 5,
        schedule: Literal["cosine", "triangular"] = "cosine",
        start: float | None = None,
        lr_min: float = 0.0,
    ) -> None:
        self.n = n
        self.schedule = schedule
        self.start = start
        self.lr_min = lr_min

    def first_epoch(self, epochs: int) -> int:
        """Return the epochs before the cycles begin."""
        start = SNAPSHOT_STARTS[self.schedule] if self.start is None else self.start
        return epochs_before(start, epochs)

    @property
    def n_parts(self) -> int:
        """Number of falls and rises of the learning rate."""
        n = int(self.n)
        return n if self.schedule == "cosine" else 2 * n - 1

    def boundaries(self, epochs: int) -> list[int]:
        """Return the epochs at which a fall or a rise of the learning rate begins or ends.

        Cosine cycles fall from boundary to boundary. Triangles fall and rise, and end with
        a fall: the last snapshot is the end of the training.
        """
        start, n_parts = self.first_epoch(epochs), self.n_parts
        return [start + (epochs - start) * k // n_parts for k in range(n_parts + 1)]

    def collected(self, epochs: int) -> list[int]:
        """Return the epochs after which networks are collected."""
        boundaries = self.boundaries(epochs)
        return boundaries[1:] if self.schedule == "cosine" else boundaries[1::2]

    def cycles(self, epochs: int) -> SnapshotCycles:
        """Return the schedule of the learning rate."""
        options = self.plain()
        return SnapshotCycles(
            shape=options.schedule,
            lr_min=options.lr_min,
            boundaries=tuple(self.boundaries(epochs)),
        )


def as_swa(value: Any) -> SWA | None:
    """Return the options that the parameter ``swa`` means, None for no average."""
    if isinstance(value, SWA):
        return value
    return SWA() if value else None


def as_snapshots(value: Any) -> Snapshots | None:
    """Return the options that the parameter ``snapshots`` means, None for no ensemble."""
    if value is None or isinstance(value, Snapshots):
        return value
    return Snapshots(n=value)
