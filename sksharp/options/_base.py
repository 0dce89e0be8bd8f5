"""Base of the options: objects that a parameter takes in place of a name."""

from __future__ import annotations

import functools
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.neural_network import MLPRegressor
from sklearn.utils._param_validation import RealNotInt, validate_parameter_constraints

from .._choices import in_order, nearest, suggesting
from .._numbers import Number, plain

SHARE_OR_EPOCHS = [
    Number(RealNotInt, 0, 1, closed="left"),
    Number(Integral, 0, None, closed="left"),
]


# parameters that the estimators have besides scikit-learn's
OWN_PARAMETERS = (
    "rho",
    "base_solver",
    "swa",
    "ema_decay",
    "snapshots",
    "n_members",
    "cv",
    "max_steps",
    "warmup",
    "class_weight",
    "scoring",
    "n_jobs",
    "device",
    "callbacks",
)


class NamedErrors(BaseEstimator):
    """Base of the options: its error of an unknown argument says where that belongs."""

    holder: ClassVar[str] = ""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Make an object, unless there is an argument that it does not have."""
        names = cls._get_param_names()
        for name in options:
            if name not in names:
                raise TypeError(_unknown(cls, name, names))
        self: Self = super().__new__(cls)
        return self


def _unknown(cls: type[NamedErrors], name: str, names: list[str]) -> str:
    """Return the error of an argument that a class does not have."""
    has_no = f"{cls.__name__} has no option {name!r}"
    if name in (*MLPRegressor._get_param_names(), *OWN_PARAMETERS):
        return (
            f"{has_no}, which is a parameter of the estimator. Set it there: "
            f"SAMMLPClassifier({cls.holder}={cls.__name__}(), {name}=...)."
        )
    meant = nearest(name, names)
    has = f"its options are {names}" if names else "it has none"
    return f"{has_no}, {has}." + (f" Did you mean {meant!r}?" if meant else "")


class Option(NamedErrors):
    """Base of the options: objects that a parameter takes in place of a name.

    Two are equal if they have the same class and values. An estimator never changes the
    object that it holds: ``set_params`` replaces it by a copy.

    Attributes
    ----------
    holder : str
        Parameter of the estimator that takes it.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        pass

    @classmethod
    @functools.cache  # asked for at every get_params, set_params, clone and fit
    def _get_param_names(cls) -> list[str]:
        names: list[str] = super()._get_param_names()
        return names

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        defaults = type(self)()._values()
        changed = [f"{k}={v!r}" for k, v in self._values().items() if v != defaults[k]]
        return f"{type(self).__name__}({', '.join(changed)})"

    def _values(self) -> dict[str, Any]:
        return {name: _comparable(value) for name, value in vars(self).items()}

    def validate(self) -> None:
        """Raise if a value is not valid."""
        params, constraints = vars(self), in_order(self._parameter_constraints)
        with suggesting(constraints, params):
            validate_parameter_constraints(constraints, params, type(self).__name__)

    def plain(self) -> Any:
        """Return a copy with Python scalars in place of numpy's."""
        constraints = self._parameter_constraints
        values = {
            k: plain(f"{k} of {type(self).__name__}", v, constraints[k])
            for k, v in vars(self).items()
        }
        return type(self)(**values)


def _comparable(value: Any) -> Any:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return tuple(value) if isinstance(value, list) else value


def epochs_before(start: float, epochs: int) -> int:
    """Return a start in epochs, from a number of epochs or a share of the training."""
    return int(start) if isinstance(start, Integral) else int(start * epochs)


def cloned(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with copies of the objects among them."""
    return {k: clone(v) if isinstance(v, Option) else v for k, v in params.items()}
