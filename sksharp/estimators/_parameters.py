"""The parameters of a fit, read once, with names replaced by objects."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.utils._param_validation import InvalidParameterError, StrOptions

from .._choices import Choice
from .._input_noise import NoiseSettings
from .._jobs import Array, AveragingSettings, OptimizerSpec, Settings
from .._numbers import Number, as_float, check_divisor, check_range, plain, plain_scalar
from .._warnings import warn
from ..options._base import SHARE_OR_EPOCHS, Option, epochs_before
from ..options._rates import RatePlan
from ..options.averages import SWA, Snapshots, as_snapshots, as_swa
from ..options.losses import LOSSES, Huber
from ..options.noise import InputNoise, as_input_noise
from ..options.schedules import (
    SCHEDULES,
    SKLEARN_SCHEDULES,
    Constant,
    LearningRateSchedule,
    as_schedule,
)
from ..options.solvers import SOLVERS, Solver, TwoGradients, solver_chain

# with rho='auto': the radius without a choice, the steps of an epoch, and the fewest and
# most rows of a minibatch of one network and of members
RHO_UNTIL_CHOSEN = 0.05
STEPS_OF_AUTO = 20
ROWS_OF_ONE = 8, 200
ROWS_OF_MEMBERS = 32, 128

# 'auto' chooses no radius for one network from fewer rows
MIN_ROWS = 100

# radii that rho='auto' tries
RADII = (0.0, 0.1, 0.5)

# ema_decay=None if a radius is chosen
DECAY_OF_AUTO = 0.99

# the average of ema_decay='auto' spans this share of all steps
EMA_SHARE = 0.1
EMA_RANGE = (0.9, 0.999)

CONSTRAINTS: dict[str, Any] = {
    "solver": [Choice({"lbfgs", *SOLVERS}, Solver, "sksharp.options.ASAM()")],
    "base_solver": [
        Choice(
            {name for name, cls in SOLVERS.items() if cls.is_base},
            Solver,
            "sksharp.options.AdamW()",
        )
    ],
    "learning_rate": [
        Choice(
            {"constant", *SKLEARN_SCHEDULES, *SCHEDULES},
            LearningRateSchedule,
            "sksharp.options.Cosine()",
        )
    ],
    "rho": [
        Number(Real, 0, None, closed="left"),
        StrOptions({"auto"}),
        "array-like",
    ],
    "swa": ["boolean", SWA],
    "snapshots": [Number(Integral, 2, None, closed="left"), Snapshots, None],
    "warmup": SHARE_OR_EPOCHS,
    "ema_decay": [Number(Real, 0, 1, closed="left"), StrOptions({"auto"}), None],
    "n_members": [Number(Integral, 1, None, closed="left")],
    "cv": ["cv_object"],
    "max_steps": [Number(Integral, 1, None, closed="left"), None],
    "dropout": [Number(Real, 0, 1, closed="left"), "array-like"],
    "input_noise": [Number(Real, 0, None, closed="left"), InputNoise],
}

# parameters that may hold an object with options
HOLD_OPTIONS = (
    "loss",
    "solver",
    "base_solver",
    "learning_rate",
    "swa",
    "snapshots",
    "input_noise",
)

# parameters that have the same name in the engine's settings
_SHARED_SETTINGS = (
    "activation",
    "alpha",
    "learning_rate_init",
    "power_t",
    "shuffle",
    "tol",
    "n_iter_no_change",
    "verbose",
    "device",
)


def check_options(params: Mapping[str, Any]) -> None:
    """Raise for invalid options, and for objects that are no options.

    Parameters
    ----------
    params : dict
        Parameters of an estimator.
    """
    for name in HOLD_OPTIONS:
        value = params.get(name)  # a subclass may have fewer
        if isinstance(value, Option):
            try:
                value.validate()
            except ValueError as error:
                raise type(error)(f"{error} It is an option of {name}.") from None
            continue
        cls = value if inspect.isclass(value) else type(value)
        if inspect.isclass(value) and issubclass(cls, Option):
            raise InvalidParameterError(
                f"{name} must be an object, got the class {cls.__name__}. Write "
                f"{name}={cls.__name__}()."
            )
        if cls.__module__.startswith(("sksharp.optim", "sksharp.averaging", "torch.")):
            raise InvalidParameterError(
                f"{name} must be a name, or an object of sksharp.options, got "
                f"{cls.__module__}.{cls.__name__}, which is made for torch's parameters. "
                "Look among the classes of sksharp.options."
            )


def with_objects(estimator: Any, names: Iterable[str]) -> dict[str, Option]:
    """Return copies of the options of parameters, whose names become objects.

    Parameters
    ----------
    estimator : estimator
        With parameters that hold names or objects.

    names : iterable of str
        Parameters whose options are set.

    Returns
    -------
    objects : dict of str to Option
        Copies, so that other estimators that hold an object do not change.
    """
    as_object: dict[str, Callable[[Any], Option | None]] = {
        "loss": _known(LOSSES),
        "solver": _known(SOLVERS),
        "base_solver": _known(SOLVERS),
        "learning_rate": _known(SCHEDULES),
        "swa": as_swa,
        "snapshots": as_snapshots,
        "input_noise": as_input_noise,
    }
    objects: dict[str, Option] = {}
    for name in names:
        value = getattr(estimator, name, None)
        if name not in as_object:
            if hasattr(estimator, name) and not hasattr(value, "set_params"):
                raise ValueError(
                    f"{name} has no options to set, got {name}={value!r}. Set {name} "
                    "itself."
                )
            continue
        if not isinstance(value, Option):
            value = as_object[name](value)
        if value is None:
            held = getattr(estimator, name)
            if isinstance(held, str):
                raise ValueError(
                    f"{name}={held!r} has no options to set. First set {name} to an "
                    "object of sksharp.options, or to a name that has options."
                )
            raise ValueError(
                f"{name} must be on for its options to be set, got {name}={held!r}. "
                f"First set {name} to an object of sksharp.options."
            )
        objects[name] = type(value)(**value.get_params(deep=False))
    return objects


def _known(registry: Mapping[str, type[Option]]) -> Callable[[Any], Option | None]:
    def as_object(value: Any) -> Option | None:
        is_known = isinstance(value, str) and value in registry
        return registry[value]() if is_known else None

    return as_object


def read_parameters(estimator: Any) -> FitPlan:
    """Return the plan of a fit from the parameters of an estimator, without checks.

    Parameters
    ----------
    estimator : estimator
        With valid parameters.

    Returns
    -------
    plan : FitPlan
        The parameters, and the objects that they mean.
    """
    return plan_of(
        {
            name: value
            for name, value in vars(estimator).items()
            if name[0] != "_" and name[-1] != "_"
        },
        estimator._parameter_constraints,
    )


def plan_of(params: Mapping[str, Any], constraints: Mapping[str, Any]) -> FitPlan:
    """Return the plan of a fit from its parameters."""
    is_stochastic = isinstance(params["solver"], Solver) or params["solver"] in SOLVERS
    return FitPlan(
        params=params,
        constraints=constraints,
        chain=tuple(solver_chain(params["solver"], params["base_solver"]))
        if is_stochastic
        else (),
        schedule=as_schedule(params["learning_rate"]),
        swa=as_swa(params["swa"]),
        snapshots=as_snapshots(params["snapshots"]),
        input_noise=as_input_noise(params["input_noise"]),
        batch_size=params["batch_size"],
        callbacks=params["callbacks"],
        cv=params["cv"],
        early_stopping=params["early_stopping"],
        ema_decay=params["ema_decay"],
        learning_rate_init=params["learning_rate_init"],
        max_iter=params["max_iter"],
        max_steps=params["max_steps"],
        n_iter_no_change=params["n_iter_no_change"],
        n_members=params["n_members"],
        scoring=params["scoring"],
        tol=params["tol"],
        validation_fraction=params["validation_fraction"],
        verbose=params["verbose"],
        warmup=params["warmup"],
    )


@dataclass(frozen=True)
class FitPlan:
    """The parameters of a fit, and the objects that they mean.

    Parameters
    ----------
    params : dict
        The parameters, as the user set them.

    constraints : dict
        Their constraints.

    chain : tuple of Solver
        The solvers that take part, the one with the descent step last. Empty for 'lbfgs'.

    schedule : LearningRateSchedule or None
        The schedule of the learning rate, None if it is one of scikit-learn's.

    swa : SWA or None
        The average of the last epochs, if there is one.

    snapshots : Snapshots or None
        The ensemble of one training, if there is one.

    input_noise : InputNoise
        The noise of inputs, of strength 0 if there is none.

    batch_size, callbacks, ..., warmup : object
        Parameters of the same names, as the user set them.
    """

    params: Mapping[str, Any]
    constraints: Mapping[str, Any]
    chain: tuple[Solver, ...]
    schedule: LearningRateSchedule | None
    swa: SWA | None
    snapshots: Snapshots | None
    input_noise: InputNoise
    batch_size: int | Literal["auto"]
    callbacks: Sequence[Any] | None
    cv: Any
    early_stopping: bool
    ema_decay: float | Literal["auto"] | None
    learning_rate_init: float
    max_iter: int
    max_steps: int | None
    n_iter_no_change: float
    n_members: int
    scoring: str | Callable[..., float] | None
    tol: float
    validation_fraction: float
    verbose: int
    warmup: float

    def with_params(self, **params: Any) -> FitPlan:
        """Return a plan with other parameters."""
        return plan_of({**self.params, **params}, self.constraints)

    def value(self, name: str) -> Any:
        """Return a parameter as a Python scalar, a float if it may be real."""
        return plain(name, self.params[name], self.constraints[name])

    # -- solvers and radii -------------------------------------------------------------

    @property
    def is_stochastic(self) -> bool:
        """Whether the solver takes steps on minibatches."""
        return bool(self.chain)

    @property
    def outer(self) -> Solver:
        """The solver that ``solver`` names."""
        return self.chain[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the solvers that take part."""
        return tuple(solver.name for solver in self.chain)

    @property
    def reads(self) -> set[str]:
        """The parameters of the estimator that the solvers read."""
        return {name for solver in self.chain for name in solver.reads.values()}

    @property
    def radii(self) -> Any:
        """The radii that ``rho`` lists, None if it is one radius or 'auto'."""
        rho = self.params["rho"]
        return None if isinstance(rho, str | Real) else rho

    @property
    def searches(self) -> bool:
        """Whether ``rho`` leaves the length of training to be chosen, and the radius."""
        if not self.is_stochastic:
            return False
        if self.outer.takes_radius:
            return not isinstance(self.params["rho"], Real)
        return self.outer.chooses_length and isinstance(self.params["rho"], str)

    @property
    def radius_until_chosen(self) -> float | None:
        """The radius without a choice, with ``rho='auto'`` or a list.

        None if the solver has no such argument.
        """
        if "rho" not in self.reads:
            return None
        if self.radii is not None and np.size(self.radii) == 1:
            only: float = np.ravel(self.radii).item()  # which leaves no choice
            return only
        radius: float = self.outer.scale_radii(RHO_UNTIL_CHOSEN * self.outer.radius)
        return radius

    @property
    def candidates(self) -> Any:
        """The radii to choose from; of 'auto' those with the effect of 'sam' at its.

        The only one is None if the solver has no radius.
        """
        if not self.outer.takes_radius:
            return [None]
        if self.radii is not None:
            return self.radii
        return self.outer.scale_radii(np.multiply(RADII, self.outer.radius))

    def is_automatic(
        self, y: Array, sample_weight: Array | None, validation_data: object = None
    ) -> bool:
        """Return whether a choice of the radius also changes other parameters."""
        if not self.searches or self.cv is not None or validation_data is not None:
            return self.searches
        n_rows = len(y) if sample_weight is None else np.count_nonzero(sample_weight)
        return bool(n_rows >= MIN_ROWS)

    def chooses(
        self, y: Array, sample_weight: Array | None, validation_data: object = None
    ) -> bool:
        """Return whether a fit of one network chooses its radius, or its length."""
        if not self.searches:
            return False
        ends_by_itself = self.early_stopping or self.swa or self.snapshots
        if not self.outer.takes_radius and ends_by_itself:
            return False
        lists = self.radii is not None and np.size(self.radii) > 1
        return lists or self.is_automatic(y, sample_weight, validation_data)

    @property
    def micro_batch_size(self) -> int | None:
        """Rows of the parts of a minibatch, None for the whole."""
        outer = self.outer
        return outer.micro_batch_size if isinstance(outer, TwoGradients) else None

    @property
    def n_hidden(self) -> int:
        """Number of hidden layers."""
        sizes = np.asarray(self.params["hidden_layer_sizes"], dtype=object)
        return len(np.atleast_1d(sizes))

    @property
    def dropout(self) -> tuple[float, ...]:
        """Shares of the inputs and of every hidden layer's units that a step leaves out.

        Empty if it leaves out none.
        """
        given = self.params["dropout"]
        n_hidden = self.n_hidden
        if isinstance(given, Real):
            shares = [0.0, *[self.value("dropout")] * n_hidden]
        else:
            shares = [
                as_float("dropout", share) for share in np.asarray(given).tolist()
            ]
            if len(shares) == n_hidden:
                shares = [0.0, *shares]
        return tuple(shares) if any(shares) else ()

    def noise_of(self, rows: Literal["training", "validation"]) -> NoiseSettings | None:
        """Return the noise of the inputs of some rows, None if there is none."""
        if not self.input_noise.perturbs(rows):
            return None
        noise = self.input_noise.plain()
        return NoiseSettings(noise.std, noise.missing)

    # -- lengths -----------------------------------------------------------------------

    @property
    def length_name(self) -> str:
        """The parameter that says how long training is."""
        return "max_iter" if self.max_steps is None else "max_steps"

    def epochs(self, n_samples: int, batch_size: int) -> int:
        """Return how many epochs training lasts at most."""
        if self.max_steps is None:
            return int(self.max_iter)
        return -(-int(self.max_steps) // -(-n_samples // batch_size))

    @property
    def ends_low(self) -> bool:
        """Whether the learning rate has fallen to its end when training ends."""
        return self.schedule is not None and self.schedule.ends_low

    def clipped_batch_size(self, n_samples: int, *, is_automatic: bool) -> int:
        """Return the rows of a minibatch, of a network that trains on so many rows."""
        if self.batch_size == "auto":
            if not is_automatic or n_samples < MIN_ROWS:
                return min(200, n_samples)
            fewest, most = ROWS_OF_ONE if self.n_members == 1 else ROWS_OF_MEMBERS
            return min(most, max(fewest, n_samples // STEPS_OF_AUTO))
        return min(self.batch_size, n_samples)

    # -- settings of the engine ------------------------------------------------------

    def settings(
        self,
        *,
        n_samples: int,
        batch_size: int,
        epochs: int,
        radius: float | None,
        dtype: np.dtype[Any],
        incremental: bool,
        averages: bool,
        **own: Any,
    ) -> Settings:
        """Return the settings of a training.

        Parameters
        ----------
        n_samples, batch_size, epochs : int
            Its rows, those of a minibatch and its epochs.

        radius : float or None
            Its radius, if the solver has one.

        dtype : numpy.dtype
            Of the network.

        incremental : bool
            Whether this is a call of ``partial_fit``.

        averages : bool
            Whether ``ema_decay=None`` averages weights.

        **own : dict
            Settings that are not parameters.
        """
        n_batches = -(-n_samples // batch_size)
        settings = Settings(
            batch_size=batch_size,
            optimizers=self._optimizers(
                n_samples, batch_size, n_batches, epochs, radius, incremental
            ),
            averaging=self._averaging(epochs),
            micro_batch_size=plain_scalar(self.micro_batch_size),
            ema_decay=self._decay(epochs * n_batches, is_automatic=averages),
            learning_rate=self._sklearn_schedule(),
            schedule=self._rate_plan(epochs, incremental=incremental),
            dropout=self.dropout,
            input_noise=self.noise_of("training"),
            **{name: self.value(name) for name in _SHARED_SETTINGS},
            **own,
        )
        self._check_ranges(settings, dtype)
        return settings

    def _optimizers(
        self,
        n_samples: int,
        batch_size: int,
        n_batches: int,
        epochs: int,
        radius: float | None,
        incremental: bool,
    ) -> tuple[OptimizerSpec, ...]:
        specs = []
        for solver in self.chain:
            arguments = {
                **{
                    argument: radius if name == "rho" else self.value(name)
                    for argument, name in solver.reads.items()
                },
                **solver.own_arguments(),
            }
            specs.append(OptimizerSpec(solver.name, arguments))
        outer = self.outer
        if isinstance(outer, TwoGradients):
            own = dict(specs[0].arguments)
            own["start"] = n_batches * epochs_before(outer.start, epochs)
            is_whole = n_samples <= (self.micro_batch_size or batch_size)
            # the rows of one call of partial_fit are a minibatch of those of all calls
            is_silent = incremental or radius == 0
            if "sigma" in own and is_whole and not is_silent:
                warn(
                    "solver='friendly_sam' perturbs along the noise of minibatches, and "
                    f"one that holds all {n_samples} rows has none. 'sam' is used "
                    "instead; lower batch_size or set solver__micro_batch_size."
                )
                own["sigma"] = 0.0
            specs[0] = OptimizerSpec(outer.name, own)
        return tuple(specs)

    def _sklearn_schedule(self) -> str:
        name: Any = self.params["learning_rate"]
        return name if name in SKLEARN_SCHEDULES else "constant"

    def _rate_plan(self, epochs: int, *, incremental: bool) -> RatePlan | None:
        """Return the schedule over so many epochs, None if the rate has none."""
        schedule: LearningRateSchedule
        if self.snapshots is not None:
            schedule = self.snapshots.cycles(epochs)
        elif self.schedule is not None:
            schedule = self.schedule.plain()
        elif self.warmup:
            schedule = Constant()
        else:
            return None
        return RatePlan(
            schedule=schedule,
            initial=self.value("learning_rate_init"),
            epochs=None if incremental else epochs,
            warmup=plain_scalar(self.warmup),
        )

    def _averaging(self, epochs: int) -> AveragingSettings | None:
        if self.snapshots is not None:
            return AveragingSettings(
                scheme="snapshots",
                start=0,
                freq=1,
                length=epochs,
                lr=None,
                epochs=tuple(self.snapshots.collected(epochs)),
            )
        if self.swa is None:
            return None
        swa = self.swa.plain()
        start = swa.first_epoch(epochs)
        return AveragingSettings(
            scheme="swa",
            start=start,
            freq=int(swa.freq if swa.cycle is None else swa.cycle),
            length=epochs - start,
            lr=swa.lr,
            anneal=epochs_before(swa.anneal, epochs - start),
            strategy=swa.strategy,
            cycle=swa.cycle,
        )

    def _decay(self, n_steps: int, *, is_automatic: bool) -> float | None:
        """Return the decay of the exponential average of a training of so many steps."""
        if self.ema_decay is None:
            is_free = self.swa is None and self.snapshots is None
            return DECAY_OF_AUTO if is_automatic and is_free else None
        if self.ema_decay != "auto":
            return self.value("ema_decay") or None
        low, high = EMA_RANGE
        return min(high, max(low, 1 - 1 / (EMA_SHARE * n_steps)))

    def _check_ranges(self, settings: Settings, dtype: np.dtype[Any]) -> None:
        """Raise for numbers outside the range of the dtype of ``X``."""
        numbers: dict[str, Any] = {"alpha": settings.alpha}
        for solver, spec, holder in zip(
            self.chain, settings.optimizers, ("solver", "base_solver"), strict=False
        ):
            options = solver.option_arguments()
            numbers |= {
                solver.reads.get(argument)
                or f"{holder}__{options.get(argument, argument)}": value
                for argument, value in spec.arguments.items()
            }
        if settings.averaging is not None and settings.averaging.lr is not None:
            numbers["swa__lr"] = settings.averaging.lr
        if isinstance(settings.loss, Huber):
            numbers["loss__delta"] = float(settings.loss.delta)
            check_divisor("loss__delta", numbers["loss__delta"], dtype)
        for name, value in numbers.items():
            if isinstance(value, float):
                check_range(name, value, dtype)
        if "epsilon" in numbers:
            check_divisor("epsilon", numbers["epsilon"], dtype)
        if "solver__fraction" in numbers:  # of rows, which no tensor holds
            check_divisor("solver__fraction", numbers["solver__fraction"], np.float64)
