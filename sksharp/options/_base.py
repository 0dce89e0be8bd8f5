"""Base of the options: objects that a parameter takes in place of a name."""

from __future__ import annotations

import functools
import inspect
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
    "dropout",
    "input_noise",
    "class_weight",
    "scoring",
    "n_jobs",
    "device",
    "callbacks",
)


def _unknown(cls: type[Option], name: str, names: list[str]) -> str:
    """Return the error of an argument that a class does not have."""
    has_no = f"{cls.__name__} has no option {name!r}"
    if name not in cls.synonyms and name in (
        *MLPRegressor._get_param_names(),
        *OWN_PARAMETERS,
    ):
        estimator = "SAMMLPRegressor" if cls.holder == "loss" else "SAMMLPClassifier"
        return (
            f"{has_no}, which is a parameter of the estimator. Set it there: "
            f"{estimator}({cls.holder}={cls.__name__}(), {name}=...)."
        )
    meant = cls.synonyms.get(name) or nearest(name, names)
    has = f"its options are {names}" if names else "it has none"
    return f"{has_no}, {has}." + (f" Did you mean {meant!r}?" if meant else "")


class Option(BaseEstimator):
    """Base of the options: objects that a parameter takes in place of a name.

    Two are equal if they have the same class and values. An estimator never changes the
    object that it holds: ``set_params`` replaces it by a copy.

    Attributes
    ----------
    holder : str
        Parameter of the estimator that takes it.

    synonyms : dict of str to str
        Options by the names that they have elsewhere.
    """

    holder: ClassVar[str] = ""
    synonyms: ClassVar[dict[str, str]] = {}
    _parameter_constraints: ClassVar[dict[str, Any]] = {}

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Make an object, or say where an argument that it does not have belongs."""
        names = cls._get_param_names()
        if args:
            raise TypeError(
                f"{cls.__name__} takes its options by their names, {names}, got "
                f"{args[0]!r} without one."
            )
        for name in options:
            if name not in names:
                raise TypeError(_unknown(cls, name, names))
        self: Self = super().__new__(cls)
        return self

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
        parameters = inspect.signature(type(self).__init__).parameters
        values = self._values()
        changed = [
            f"{name}={values[name]!r}"
            for name, parameter in parameters.items()
            if name in values
            and values[name] != self._comparable(name, parameter.default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def _values(self) -> dict[str, Any]:
        return {
            name: self._comparable(name, value)
            for name, value in self.get_params(deep=False).items()
        }

    def _comparable(self, name: str, value: Any) -> Any:
        """Return a value that is equal to others that mean the same."""
        value = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(value, list | tuple):
            return tuple(Epochs(v) if isinstance(v, Integral) else v for v in value)
        constraints = self._parameter_constraints.get(name, [])
        has_shares = any(getattr(c, "type", None) is RealNotInt for c in constraints)
        return Epochs(value) if has_shares and isinstance(value, Integral) else value

    def validate(self) -> None:
        """Raise if a value is not valid."""
        params = self.get_params(deep=False)
        constraints = in_order(self._parameter_constraints)
        with suggesting(constraints, params):
            validate_parameter_constraints(constraints, params, type(self).__name__)

    def plain(self) -> Any:
        """Return a copy with Python scalars in place of numpy's."""
        constraints = self._parameter_constraints
        values = {
            k: plain(f"{k} of {type(self).__name__}", v, constraints.get(k, []))
            for k, v in self.get_params(deep=False).items()
        }
        return type(self)(**values)


class Epochs(int):
    """A number of epochs, which is not the share of that value."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Epochs) and int(self) == int(other)

    def __hash__(self) -> int:
        return hash(int(self))

    def __repr__(self) -> str:
        return repr(int(self))


def register(registry: dict[str, Any], cls: type[Any]) -> None:
    """Enter a class by the name that is its own, unless another has that name."""
    name = vars(cls).get("name")  # not one that it inherits
    if not name:
        return
    other = registry.get(name)
    if other is not None and other.__module__ != cls.__module__:
        raise ValueError(
            f"name must be one that no other class has, got name={name!r}, which is that "
            f"of {other.__module__}.{other.__name__}. Choose another, or leave it out and "
            "give estimators an object."
        )
    registry[name] = cls


def epochs_before(start: float, epochs: int) -> int:
    """Return a start in epochs, from a number of epochs or a share of the training."""
    return int(start) if isinstance(start, Integral) else int(start * epochs)


def cloned(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with copies of the objects among them."""
    return {k: clone(v) if isinstance(v, Option) else v for k, v in params.items()}
