"""Learning-rate schedules: functions of the step, without a state."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import RealNotInt, StrOptions

from .._numbers import Number
from ._base import Option, register
from ._rates import StepInfo, anneal

# torch.optim.lr_scheduler.OneCycleLR's defaults
ONECYCLE_RISE = 0.3
ONECYCLE_FIRST = 1 / 25
ONECYCLE_LAST = 1 / 25 / 1e4

# scikit-learn's schedules that change the rate
SKLEARN_SCHEDULES = ("invscaling", "adaptive")

# all other schedules by name; subclasses register themselves
SCHEDULES: dict[str, type[LearningRateSchedule]] = {}


class LearningRateSchedule(Option):
    """Base of the schedules: what ``learning_rate`` takes besides scikit-learn's names.

    A subclass defines :meth:`rate` and, for its options, ``_parameter_constraints``;
    ``learning_rate`` takes an object of it.

    Attributes
    ----------
    name : str
        Its name as a parameter of an estimator.

    warms_up : bool
        Whether :meth:`rate` contains the warm-up.
    """

    holder = "learning_rate"
    name: ClassVar[str] = ""
    warms_up: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(SCHEDULES, cls)

    def validate(self) -> None:
        """Raise if a value is not valid, or if it has no rate."""
        if type(self).rate is LearningRateSchedule.rate:
            raise TypeError(
                f"{type(self).__name__} must define rate(initial, at) to be a schedule. "
                "Take one of sksharp.options, or write the method."
            )
        super().validate()

    @property
    def needs_length(self) -> bool:
        """Whether the length of the training must be known."""
        return False

    @property
    def ends_low(self) -> bool:
        """Whether training ends where the rate has fallen to its end."""
        return self.needs_length

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step.

        Parameters
        ----------
        initial : float
            The largest rate, ``learning_rate_init``.

        at : StepInfo
            The step.
        """
        raise NotImplementedError


class Constant(LearningRateSchedule):
    """The rate stays: 'constant' with a ``warmup``."""

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step."""
        return initial


class Cosine(LearningRateSchedule):
    r"""Fall along half a cosine from ``learning_rate_init`` to ``lr_min``.

    .. math::
        \eta_t = \eta_{\min} + (\eta_0 - \eta_{\min})
            \frac{1 + \cos(\pi (t - t_0) / (T - t_0))}{2}

    for the step :math:`t` of :math:`T`, and :math:`\eta_0` up to :math:`t_0`, where the
    warm-up and the flat part have ended.

    Parameters
    ----------
    lr_min : float, default=0.0
        Lowest learning rate, not above ``learning_rate_init``.

    flat : float, default=0.0
        Share of the training before the rate begins to fall, in [0, 1).

    See Also
    --------
    torch.optim.lr_scheduler.CosineAnnealingLR : torch's, epoch by epoch.

    References
    ----------
    I. Loshchilov, F. Hutter. "SGDR: Stochastic gradient descent with warm restarts." ICLR
    2017. :arxiv:`1608.03983`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import Cosine
    >>> clf = SAMMLPClassifier(learning_rate=Cosine(flat=0.75), rho=0.1)
    >>> clf.set_params(learning_rate__lr_min=1e-5).learning_rate
    Cosine(lr_min=1e-05, flat=0.75)
    """

    name = "cosine"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "lr_min": [Number(Real, 0, None, closed="left")],
        "flat": [Number(Real, 0, 1, closed="left")],
    }

    def __init__(self, *, lr_min: float = 0.0, flat: float = 0.0) -> None:
        self.lr_min = lr_min
        self.flat = flat

    @property
    def needs_length(self) -> bool:
        """Whether the length of the training must be known."""
        return True

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step."""
        start = max(int(self.flat * at.total), at.warmup)
        if at.step < start:
            return initial
        share = (at.step - start) / max(1, at.total - start)
        return anneal(initial, self.lr_min, share)


class OneCycle(LearningRateSchedule):
    """Rise from a 25th of ``learning_rate_init`` to it, then fall to a 250,000th.

    Both are half cosines, step by step. The rise lasts for ``warmup``, or 0.3 of the
    training. It does not cycle the momentum, and has no options.

    See Also
    --------
    torch.optim.lr_scheduler.OneCycleLR : torch's, with the same rates.

    References
    ----------
    L. N. Smith, N. Topin. "Super-convergence: Very fast training of neural networks using
    large learning rates." 2017. :arxiv:`1708.07120`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import OneCycle
    >>> clf = SAMMLPClassifier(learning_rate=OneCycle(), warmup=0.2)
    """

    name, warms_up = "onecycle", True

    @property
    def needs_length(self) -> bool:
        """Whether the length of the training must be known."""
        return True

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step."""
        top = (at.warmup or ONECYCLE_RISE * at.total) - 1
        last = at.total - 1
        step = min(at.step, last)
        if step <= top:
            share = step / top if top else 1.0
            return anneal(initial * ONECYCLE_FIRST, initial, share)
        return anneal(initial, initial * ONECYCLE_LAST, (step - top) / (last - top))


class Step(LearningRateSchedule):
    """Multiply the rate by ``gamma`` every ``size`` epochs.

    Parameters
    ----------
    size : int, default=50
        Epochs between two drops.

    gamma : float, default=0.1
        Factor of the rate, in (0, 1].

    See Also
    --------
    torch.optim.lr_scheduler.StepLR : torch's.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import Step
    >>> clf = SAMMLPClassifier(learning_rate=Step(size=20))
    """

    name = "step"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "size": [Number(Integral, 1, None, closed="left")],
        "gamma": [Number(Real, 0, 1, closed="right")],
    }

    def __init__(self, *, size: int = 50, gamma: float = 0.1) -> None:
        self.size = size
        self.gamma = gamma

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step."""
        return _power(initial, self.gamma, at.epoch // self.size)


class MultiStep(LearningRateSchedule):
    """Multiply the rate by ``gamma`` at each of the ``milestones``.

    Parameters
    ----------
    milestones : array-like of float or int, default=(0.5, 0.75)
        When the rate drops: shares of the training if floats, numbers of epochs if
        ints.

    gamma : float, default=0.1
        Factor of the rate, in (0, 1].

    See Also
    --------
    torch.optim.lr_scheduler.MultiStepLR : torch's.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import MultiStep
    >>> clf = SAMMLPClassifier(learning_rate=MultiStep(milestones=(100, 150)))
    """

    name = "multistep"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "milestones": ["array-like"],
        "gamma": [Number(Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        *,
        milestones: Sequence[float] | NDArray[Any] = (0.5, 0.75),
        gamma: float = 0.1,
    ) -> None:
        self.milestones = milestones
        self.gamma = gamma

    def validate(self) -> None:
        """Raise if a value is not valid."""
        super().validate()
        self._plain_milestones()

    def plain(self) -> MultiStep:
        """Return a copy with Python scalars in place of numpy's."""
        copy: MultiStep = super().plain()
        copy.milestones = self._plain_milestones()
        return copy

    def _plain_milestones(self) -> tuple[float, ...]:
        milestones = [
            m.item() if isinstance(m, np.generic) else m for m in self.milestones
        ]
        for milestone in milestones:
            is_share = isinstance(milestone, float) and 0 <= milestone < 1
            is_epoch = type(milestone) is int and milestone >= 0
            if not (is_share or is_epoch):
                raise ValueError(
                    "milestones must hold shares of the training, floats in [0, 1), or "
                    f"epochs, ints, got {milestone!r} among {self.milestones}. Write a "
                    "number of epochs as an int."
                )
        if not milestones:
            raise ValueError(
                "milestones must hold at least one milestone, got none. Set "
                "learning_rate='constant' for a rate that never drops."
            )
        return tuple(milestones)

    @property
    def needs_length(self) -> bool:
        """Whether the length of the training must be known."""
        return any(isinstance(m, float) for m in self._plain_milestones())

    @property
    def ends_low(self) -> bool:
        """Whether training ends where the rate has fallen to its end."""
        return False

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step."""
        milestones = sorted(
            m if isinstance(m, int) else int(m * at.epochs) for m in self.milestones
        )
        return _power(initial, self.gamma, bisect_right(milestones, at.epoch))


class Exponential(LearningRateSchedule):
    """Multiply the rate by ``gamma`` after every epoch.

    Parameters
    ----------
    gamma : float, default=0.99
        Factor of the rate, in (0, 1].

    See Also
    --------
    torch.optim.lr_scheduler.ExponentialLR : torch's.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import Exponential
    >>> clf = SAMMLPClassifier(learning_rate=Exponential(gamma=0.95))
    """

    name = "exponential"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "gamma": [Number(Real, 0, 1, closed="right")],
    }

    def __init__(self, *, gamma: float = 0.99) -> None:
        self.gamma = gamma

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step."""
        return _power(initial, self.gamma, at.epoch)


class Cyclic(LearningRateSchedule):
    r"""Cycle between ``learning_rate_init`` and ``lr_min``, step by step.

    With the step :math:`t` of a cycle of :math:`T` steps

    .. math::
        \text{cosine:} \quad & \eta_t = \eta_{\min} + (\eta_0 - \eta_{\min})
            \frac{1 + \cos(\pi t / T)}{2} \\
        \text{triangular:} \quad & \eta_t = \eta_{\min} + (\eta_0 - \eta_{\min})
            (1 - |2 t / T - 1|)

    'cosine' falls, then restarts (warm restarts). 'triangular' begins at ``lr_min``, rises
    to ``learning_rate_init`` and falls again. The first cycle begins after the warm-up.

    Parameters
    ----------
    shape : {'cosine', 'triangular'}, default='cosine'
        Shape of a cycle.

    length : float or int, default=0.2
        Length of the first cycle: a share of the training if float, a number of epochs if
        int.

    growth : int, default=1
        Factor by which each cycle is longer than the one before.

    lr_min : float, default=0.0
        Lowest learning rate, not above ``learning_rate_init``.

    See Also
    --------
    Snapshots : Collect a network at the end of every cycle.
    torch.optim.lr_scheduler.CosineAnnealingWarmRestarts : The same rates as 'cosine'.
    torch.optim.lr_scheduler.CyclicLR : The same rates as 'triangular'.

    References
    ----------
    I. Loshchilov, F. Hutter. "SGDR: Stochastic gradient descent with warm restarts." ICLR
    2017. :arxiv:`1608.03983`.

    L. N. Smith. "Cyclical learning rates for training neural networks." WACV 2017.
    :arxiv:`1506.01186`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import Cyclic
    >>> restarts = Cyclic(length=10, growth=2)  # 10, 20, 40 and 80 epochs
    >>> clf = SAMMLPClassifier(learning_rate=restarts, max_iter=150)
    """

    name = "cyclic"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "shape": [StrOptions({"cosine", "triangular"})],
        "length": [
            Number(RealNotInt, 0, 1, closed="right"),
            Number(Integral, 1, None, closed="left"),
        ],
        "growth": [Number(Integral, 1, None, closed="left")],
        "lr_min": [Number(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        shape: Literal["cosine", "triangular"] = "cosine",
        length: float = 0.2,
        growth: int = 1,
        lr_min: float = 0.0,
    ) -> None:
        self.shape = shape
        self.length = length
        self.growth = growth
        self.lr_min = lr_min

    @property
    def needs_length(self) -> bool:
        """Whether the length of the training must be known."""
        return not isinstance(self.length, Integral)

    @property
    def ends_low(self) -> bool:
        """Whether training ends where the rate has fallen to its end."""
        return False

    def rate(self, initial: float, at: StepInfo) -> float:
        """Return the learning rate of a step."""
        step = at.step - at.warmup
        if step < 0:
            return initial if self.shape == "cosine" else self.lr_min
        epochs = self.length
        if not isinstance(epochs, Integral):
            epochs = max(1, int(epochs * at.epochs))
        length = int(epochs) * at.n_steps
        if self.growth == 1:
            step %= length
        else:
            while step >= length:
                step -= length
                length *= self.growth
        if self.shape == "cosine":
            return anneal(initial, self.lr_min, step / length)
        share = 1 - abs(2 * step / length - 1)
        return self.lr_min + (initial - self.lr_min) * share


def _power(initial: float, gamma: float, n: int) -> float:
    rate: float = initial * gamma**n
    return rate


def as_schedule(value: Any) -> LearningRateSchedule | None:
    """Return the schedule that ``learning_rate`` means, None for one of scikit-learn's."""
    if isinstance(value, LearningRateSchedule):
        return value
    return SCHEDULES[value]() if value in SCHEDULES else None
