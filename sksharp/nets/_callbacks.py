"""Averages of weights and ensembles along a training, as callbacks of skorch nets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any, Literal, Self

import numpy as np

from .. import averaging, options
from .._jobs import Array
from ..averaging._base import RunningAverage
from ..estimators._combinations import check_cycles, check_swa
from ..options._base import epochs_before
from ..options._rates import AveragingRate, RatePlan
from ..options.averages import as_swa
from ._evaluation import (
    EvaluationWeights,
    at_evaluation_params,
    learned_params,
    states,
)
from ._planned import Planned


class WeightAveraging(EvaluationWeights, Planned):
    """Average the weights of a skorch net: SWA or an exponential moving average.

    For a net of skorch's own with any optimizer; :class:`SAMNetClassifier` and
    :class:`SAMNetRegressor` have it as ``swa`` and ``ema_decay``. After the training the
    module has the averaged weights, and the statistics of batch normalization that belong
    to them, computed from the training rows (:func:`~sksharp.averaging.update_bn`). When
    training goes on, by ``partial_fit`` or ``warm_start``, the weights of training come
    back.

    Parameters
    ----------
    swa : bool or :class:`sksharp.options.SWA`, default=None
        True, or an object that says when: the mean of the weights at the ends of the last
        epochs. None for True, unless ``ema_decay`` is given.

    ema_decay : float, default=None
        Decay of an exponential moving average over all steps, in [0, 1).

    warm_up : bool, default=True
        Whether the decay grows to ``ema_decay`` as ``(1 + n) / (10 + n)`` does, so that the
        first weights are soon forgotten. Only used with ``ema_decay``.

    validate : bool, default=True
        Whether the average is in the module at the end of an epoch, so that the validation
        loss, scores and what other callbacks save are those of the average. It costs a
        pass over the training rows for modules with batch normalization. False for the
        end of the training only. Without validation rows it is never there before.

    Attributes
    ----------
    n_averaged_ : int
        Number of weights in the average.

    See Also
    --------
    sksharp.averaging.SWA, sksharp.averaging.EMA : The averages, for a loop of your own.

    Notes
    -----
    A checkpoint needs the state of the average. The callback enters itself into the net as
    ``weight_averaging_``, so that ``Checkpoint(f_weight_averaging="average.pt")`` saves it.
    Put this callback before those that save and load.

    References
    ----------
    P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson. "Averaging weights
    leads to wider optima and better generalization." UAI 2018. :arxiv:`1803.05407`.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from skorch import NeuralNetClassifier
    >>> from sksharp.nets import WeightAveraging
    >>> X, y = load_wine(return_X_y=True)
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Sequential(torch.nn.Linear(13, 3)),
    ...     criterion=torch.nn.CrossEntropyLoss,
    ...     lr=0.1,
    ...     max_epochs=8,
    ...     callbacks=[("average", WeightAveraging())],
    ...     verbose=0,
    ... ).fit(scale(X).astype("float32"), y)
    >>> dict(net.callbacks_)["average"].n_averaged_
    2
    """

    def __init__(
        self,
        swa: bool | options.SWA | None = None,
        ema_decay: float | None = None,
        *,
        warm_up: bool = True,
        validate: bool = True,
    ) -> None:
        self.swa = swa
        self.ema_decay = ema_decay
        self.warm_up = warm_up
        self.validate = validate

    def initialize(self) -> Self:
        """Check the parameters and begin to count."""
        EvaluationWeights.initialize(self)
        Planned.initialize(self)
        self._check()
        self.begin_anew()
        return self

    def _check(self) -> None:
        if self.swa and self.ema_decay is not None:
            raise ValueError(
                "WeightAveraging takes swa or ema_decay, got "
                f"swa={self.swa!r} and ema_decay={self.ema_decay!r}. Set one of them to "
                "None."
            )
        if not isinstance(self.swa, bool | options.SWA | None):
            raise TypeError(
                "swa must be True, None or an object like sksharp.options.SWA(), got "
                f"swa={self.swa!r}."
            )
        if self.swa is False and self.ema_decay is None:
            raise ValueError(
                "WeightAveraging must have something to average, got swa=False and "
                "ema_decay=None. Set one of them, or leave the callback out."
            )
        decay: Any = self.ema_decay
        if decay is None:
            self._options.validate()
        elif isinstance(decay, bool) or not (
            isinstance(decay, Real) and 0 <= float(decay) < 1
        ):
            raise ValueError(
                f"ema_decay must be a number in [0, 1), got ema_decay={decay!r}."
            )

    @property
    def _options(self) -> options.SWA:
        swa = as_swa(True if self.swa is None else self.swa)
        assert swa is not None
        return swa

    @property
    def is_swa(self) -> bool:
        """Whether the average is over epochs, not steps."""
        return self.ema_decay is None

    @property
    def n_averaged_(self) -> int:
        """Number of weights in the average."""
        return self.average_.n_averaged

    @property
    def is_on(self) -> bool:
        """Whether averaging over epochs has begun."""
        return self.is_swa and self.epoch >= self.start_

    @property
    def is_over(self) -> bool:
        """Whether averaging over epochs has lasted as long as it should."""
        return self.is_swa and self.epoch >= self.start_ + self.length_

    def begin_now(self) -> None:
        """Begin to average with the next epoch, before its time."""
        self.start_ = self.epoch

    def begin_anew(self) -> None:
        """Begin another average."""
        self.average_: RunningAverage
        if self.is_swa:
            self.average_ = averaging.SWA()
        else:
            assert self.ema_decay is not None
            decay = float(self.ema_decay)
            self.average_ = averaging.EMA(decay, warm_up=self.warm_up)
        self.start_ = self.length_ = 0
        # the rates at which averaging began, and whether the epoch was counted
        self.from_: list[float] | None = None
        self.is_counted_ = False

    def plan(self, net: Any) -> None:
        """Begin a training: an average over epochs is a new one."""
        if not self.is_swa:
            return
        swa, epochs = self._options.plain(), self.epochs
        check_swa(swa, epochs, f"max_epochs={net.max_epochs}", "max_epochs")
        self.begin_anew()
        self.start_ = swa.first_epoch(epochs)
        self.length_ = epochs - self.start_

    @property
    def moves_rate(self) -> bool:
        """Whether the epoch that begins has rates of its own."""
        return self.is_on and self._options.lr is not None

    def rates(self, now: Sequence[float], n_steps: int) -> list[Sequence[float]]:
        """Return, for every group, the rates of the steps of an epoch."""
        swa = self._options.plain()
        if self.from_ is None:
            self.from_ = list(now if swa.cycle is None else self.initial_)
        anneal = epochs_before(swa.anneal, self.length_)
        return [
            AveragingRate(lr, swa.lr, anneal, swa.strategy, swa.cycle).rates(
                self.epoch - self.start_, n_steps
            )
            for lr in self.from_
        ]

    def values(self, net: Any) -> list[Any] | None:
        """Return the average, or before there is one the weights of the optimizer."""
        if not self.n_averaged_:
            return super().values(net)
        return self.average_.averaged

    # -- hooks ---------------------------------------------------------------------------

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Enter the state into the net, and take back the weights of training."""
        net.weight_averaging_ = self
        super().on_train_begin(net, **kwargs)

    def on_epoch_begin(
        self,
        net: Any,
        dataset_train: Any = None,
        dataset_valid: Any = None,
        **kwargs: Any,
    ) -> None:
        """Train the weights of training."""
        EvaluationWeights.on_epoch_begin(self, net, dataset_train)
        Planned.on_epoch_begin(self, net, dataset_train)
        self.shows_ = self.validate and dataset_valid is not None
        self.is_counted_ = False

    def on_batch_begin(self, net: Any, training: Any = None, **kwargs: Any) -> None:
        """Set the rate of a step, or validate the average."""
        Planned.on_batch_begin(self, net, training)
        if not training:
            self._count(net)
            if self.shows_:
                self.put(net)

    def on_batch_end(self, net: Any, training: Any = None, **kwargs: Any) -> None:
        """Add the weights after a step."""
        if training and not self.is_swa:
            self._update(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Add the weights after an epoch."""
        self._count(net)
        if self.shows_:
            self.put(net)
        Planned.on_epoch_end(self, net)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Leave the average."""
        EvaluationWeights.on_train_end(self, net)
        Planned.on_train_end(self, net)

    def _count(self, net: Any) -> None:
        """Add the weights at the end of the training part of an epoch, once."""
        if self.is_counted_ or not self.is_swa:
            return
        self.is_counted_ = True
        swa = self._options
        done, freq = self.epoch + 1 - self.start_, swa.cycle or swa.freq
        if done > 0 and done % freq == 0:
            self._update(net)

    def _update(self, net: Any) -> None:
        with at_evaluation_params(net):
            self.average_.update(learned_params(net))

    # -- checkpoints -----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a training needs to go on.

        Returns
        -------
        state_dict : dict
            Tensors and numbers.
        """
        names = ("start_", "length_", "from_")
        return {
            **EvaluationWeights.state_dict(self),
            **Planned.state_dict(self),
            **{name: getattr(self, name) for name in names},
            "average": self.average_.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the state of another training.

        Parameters
        ----------
        state_dict : dict
            What :meth:`state_dict` returned.
        """
        EvaluationWeights.load_state_dict(self, state_dict)
        Planned.load_state_dict(self, state_dict)
        for name in ("start_", "length_", "from_"):
            setattr(self, name, state_dict[name])
        self.average_.load_state_dict(state_dict["average"])


class Snapshots(Planned):
    """Collect networks along the training of a skorch net, to average their predictions.

    The learning rate falls in cycles, and the net is collected at the end of each, with
    its statistics of batch normalization. For a net of skorch's own;
    :class:`SAMNetClassifier` and :class:`SAMNetRegressor` have it as ``snapshots``.

    Parameters
    ----------
    n : int, default=5
        Networks to collect, 2 or more.

    schedule : {'cosine', 'triangular'}, default='cosine'
        Cycles of the learning rate between that of the optimizer and ``lr_min``.

    start : float, int or None, default=None
        Epochs before the cycles begin: a share of the training if float, a number of
        epochs if int. None is 0 with 'cosine' and 0.8 with 'triangular'.

    lr_min : float, default=0.0
        Lowest learning rate.

    See Also
    --------
    sksharp.options.Snapshots : The same parameters, and the formulas.

    Notes
    -----
    The callback enters itself into the net as ``snapshots_``, so that
    ``Checkpoint(f_snapshots="snapshots.pt")`` saves its state. Put it before the callbacks
    that save and load.

    References
    ----------
    G. Huang, Y. Li, G. Pleiss, Z. Liu, J. E. Hopcroft, K. Q. Weinberger. "Snapshot
    ensembles: Train 1, get M for free." ICLR 2017. :arxiv:`1704.00109`.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from skorch import NeuralNetClassifier
    >>> from sksharp.nets import Snapshots
    >>> X, y = load_wine(return_X_y=True)
    >>> X = scale(X).astype("float32")
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Sequential(torch.nn.Linear(13, 3)),
    ...     criterion=torch.nn.CrossEntropyLoss,
    ...     lr=0.1,
    ...     max_epochs=10,
    ...     callbacks=[Snapshots(n=3)],
    ...     verbose=0,
    ... ).fit(X, y)
    >>> len(net.snapshots_), net.snapshots_.predict_proba(net, X).shape
    (3, (178, 3))
    """

    def __init__(
        self,
        n: int = 5,
        *,
        schedule: Literal["cosine", "triangular"] = "cosine",
        start: float | None = None,
        lr_min: float = 0.0,
    ) -> None:
        self.n = n
        self.schedule = schedule
        self.start = start
        self.lr_min = lr_min

    def initialize(self) -> Self:
        """Check the parameters and begin to count."""
        super().initialize()
        self._options.validate()
        self.members_ = averaging.Snapshots()
        self.is_training_ = False
        return self

    @property
    def _options(self) -> options.Snapshots:
        return options.Snapshots(**self.get_params())

    def __len__(self) -> int:
        return len(self.members_)

    def __bool__(self) -> bool:
        return True

    def plan(self, net: Any) -> None:
        """Begin a training: its members are new ones."""
        snapshots = self._options
        check_cycles(
            snapshots, self.epochs, f"max_epochs={net.max_epochs}", "max_epochs"
        )
        if not self.initial_:
            raise ValueError(
                "snapshots need an optimizer whose parameter groups have 'lr', got "
                f"{type(net.optimizer_).__name__}. Take another optimizer."
            )
        if self.lr_min > min(self.initial_):
            raise ValueError(
                "lr_min must not exceed the learning rate, from which it falls, got "
                f"lr_min={self.lr_min} with lr={min(self.initial_)}. Lower lr_min."
            )
        self.members_ = averaging.Snapshots()

    @property
    def moves_rate(self) -> bool:
        """Whether the epoch that begins has rates of its own."""
        return True

    def rates(self, now: Sequence[float], n_steps: int) -> list[Sequence[float]]:
        """Return, for every group, the rates of the steps of an epoch."""
        cycles = self._options.cycles(self.epochs)
        return [
            RatePlan(cycles, lr, self.epochs, 0).rates(self.epoch, n_steps)
            for lr in self.initial_
        ]

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Enter the state into the net."""
        net.snapshots_ = self
        self.is_training_ = True

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Collect the net at the end of a cycle."""
        super().on_epoch_end(net)
        if self.epoch in self._options.collected(self.epochs):
            with at_evaluation_params(net):
                self.members_.update(states(net))

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """End the training."""
        super().on_train_end(net)
        self.is_training_ = False

    # -- prediction ------------------------------------------------------------------------

    @contextmanager
    def evaluating(self, net: Any, member: int) -> Iterator[None]:
        """Context in which a net is one of those that were collected.

        Parameters
        ----------
        net : NeuralNet
            The net.

        member : int
            Which one, in the order of the training.
        """
        with self.members_.evaluating(states(net), member):
            yield

    def predict_proba(self, net: Any, X: Any) -> Array:
        """Return the mean of the predictions of the networks.

        Parameters
        ----------
        net : NeuralNet
            The net that was trained.

        X : object
            Rows, as the net takes them.

        Returns
        -------
        y_proba : ndarray
            Mean of what ``net.predict_proba`` returns for each.

        Raises
        ------
        ValueError
            If none was collected.
        """
        return self.mean(net, lambda: net.predict_proba(X))

    def mean(self, net: Any, predict: Any) -> Array:
        """Return the mean of what a function returns at each of the networks."""
        if not len(self):
            raise ValueError(
                "Snapshots must have collected a network to predict, got none. Fit the net "
                "until the first cycle of the learning rate ends."
            )
        total = 0.0
        for member in range(len(self)):
            with self.evaluating(net, member):
                total = total + predict()
        return np.asarray(total / len(self))

    # -- checkpoints -----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a training needs to go on.

        Returns
        -------
        state_dict : dict
            Tensors and numbers.
        """
        return {**super().state_dict(), **self.members_.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the state of another training.

        Parameters
        ----------
        state_dict : dict
            What :meth:`state_dict` returned.
        """
        super().load_state_dict(state_dict)
        self.members_.load_state_dict(state_dict)
