"""What a fit leaves in an estimator: which attributes, and what each of them must be.

Anyone may have written a file, and numpy, scikit-learn and torch do not check the
attributes of an estimator. What passes here could have come from a fit.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import (
    InvalidParameterError,
    validate_parameter_constraints,
)

from .._input_noise import Columns
from .._jobs import Weights
from .._numbers import is_real
from ..estimators._state import TrainingState
from ..options.losses import LOSSES
from ..options.solvers import SOLVERS
from ..storage._predicates import (
    is_count,
    is_finite_or_none,
    is_floats,
    is_network,
    is_number,
    is_numbers,
    is_positive,
    is_strings,
)
from ..storage._solver_state import holds, is_average, is_optimizer_state

# takes the value of an attribute and the fit
Rule: TypeAlias = Callable[[Any, "Fit"], bool]

# kinds of numpy's dtypes for labels: booleans, numbers, strings and times
LABEL_KINDS = "biufUSMm"

# settings of optimizers that are booleans
BOOLEANS = {"adaptive", "use_muon"}

# averages that the next call goes on with
AVERAGES = ("swa", "ema_decay")

# the solvers that take part in a step, that with the descent last
CHAINS: list[tuple[str, ...]] = [
    (name, base) if base else (name,)
    for name, solver in SOLVERS.items()
    for base in solver().allowed_bases() or [""]
]


class NotFromFit(Exception):
    """Why attributes are not those of a fit."""


class Fit:
    """A fitted estimator, with the sizes that its attributes have to agree on.

    Parameters
    ----------
    estimator : SAMMLPClassifier or SAMMLPRegressor
        With its parameters.

    state : dict
        Its attributes.
    """

    def __init__(self, estimator: Any, state: dict[str, Any]) -> None:
        self.estimator, self.state = estimator, state

    @property
    def network(self) -> dict[str, Any]:
        """Attributes of the network, of an ensemble the first one."""
        if "members_" not in self.state:
            return self.state
        network: dict[str, Any] = vars(self.state["members_"][0])
        return network

    @functools.cached_property
    def units(self) -> list[int]:
        """Widths of the layers, the input included."""
        coefs, intercepts = self.network["coefs_"], self.network["intercepts_"]
        units = [self.state["n_features_in_"], *map(len, intercepts)]
        if not is_network(coefs, intercepts, units):
            raise ValueError("layers must fit together")
        return units

    @property
    def dtype(self) -> Any:
        """Dtype of the weights and biases."""
        return self.network["coefs_"][0].dtype

    @property
    def n_params(self) -> int:
        """Number of weights and biases."""
        units = self.units
        return sum((n + 1) * m for n, m in itertools.pairwise(units))

    @property
    def n_outputs(self) -> int:
        """Number of units of the output layer."""
        return self.units[-1]

    def is_vector(self, value: Any) -> bool:
        """Return whether a value is an array with an entry for every weight and bias."""
        return is_floats(value, (self.n_params,))

    def may_set(self, constraints: Any, value: Any) -> bool:
        """Return whether training may have set an optimizer to such a value."""
        if is_real(constraints):
            return isinstance(value, float) and satisfies(constraints, value)
        is_plain = type(value) is bool or is_count(value)
        return is_plain and satisfies(constraints, value)

    def allows(self, parameter: str, value: Any) -> bool:
        """Return whether a value is one that a parameter may have."""
        return satisfies(self.estimator._parameter_constraints[parameter], value)


def satisfies(constraints: Any, value: Any) -> bool:
    """Return whether a value keeps the constraints of a parameter."""
    try:
        validate_parameter_constraints({"value": constraints}, {"value": value}, "fit")
    except InvalidParameterError:
        return False
    return True


def check_state(estimator: Any, state: dict[str, Any]) -> None:
    """Raise :class:`NotFromFit` unless attributes are those of a fit.

    Parameters
    ----------
    estimator : SAMMLPClassifier or SAMMLPRegressor
        With its parameters.

    state : dict
        Its other attributes.
    """
    rules = SHARED | (OF_CLASSIFIERS if is_classifier(estimator) else OF_REGRESSORS)
    unknown = sorted(state.keys() - rules)
    if unknown:
        raise NotFromFit(f"it has attributes that are not of a fit, {unknown}.")
    fit = Fit(estimator, state)
    if state.keys() - {"loss"}:
        has_members = "members_" in state
        needed = NEEDED if has_members else NEEDED | OF_ONE_NETWORK
        if is_classifier(estimator):
            needed = needed | {"classes_", "_label_binarizer"}
        if missing := sorted(needed - state.keys()):
            raise NotFromFit(f"it lacks attributes of a fit, {missing}.")
        if has_members and OF_ONE_NETWORK & state.keys():
            raise NotFromFit("it has a network of its own next to members_.")
        if not fit.allows("activation", estimator.activation):  # predictions read it
            raise NotFromFit(f"it has no activation {estimator.activation!r:.80}.")
        if not holds(lambda: fit.units):
            raise NotFromFit(
                "the layers of its network do not fit together, or weights and biases are "
                "not all float32 or all float64."
            )
    for name, value in state.items():
        words, rule = rules[name]
        if not holds(rule, value, fit):
            raise NotFromFit(f"its {name} must be {words}, got {value!r:.80}.")


# -- labels and outputs --------------------------------------------------------------------


def is_labels(value: Any) -> bool:
    """Return whether a value is an array of labels in ascending order."""
    if not (isinstance(value, np.ndarray) and value.ndim == 1 and value.size):
        return False
    is_plain = value.dtype.kind in LABEL_KINDS or is_strings(value)
    return is_plain and np.array_equal(np.unique(value), value)


def is_binarizer(value: Any, fit: Fit) -> bool:
    """Return whether a value turns labels into the outputs of the network."""
    state = vars(value) if type(value) is LabelBinarizer else {}
    fixed = {"neg_label": 0, "pos_label": 1, "sparse_output": False}
    fitted = {"y_type_", "sparse_input_", "classes_"}
    if state.keys() != fixed.keys() | fitted or not is_labels(state["classes_"]):
        return False
    n_classes, n_outputs = len(state["classes_"]), fit.n_outputs
    has_several = state["y_type_"] == "multilabel-indicator"
    fits = {
        "binary": n_outputs == 1 and n_classes <= 2,
        "multiclass": n_outputs == n_classes,
        "multilabel-indicator": n_outputs == n_classes,
    }
    return (
        all(type(state[name]) is type(fixed[name]) for name in fixed)
        and all(state[name] == fixed[name] for name in fixed)
        and type(state["sparse_input_"]) is bool
        and state["sparse_input_"] <= has_several
        and fits[state["y_type_"]]
        # those of a multilabel binarizer are numbers, not the names of the classes
        and (has_several or np.array_equal(state["classes_"], fit.state["classes_"]))
    )


def is_out_activation(value: Any, fit: Fit) -> bool:
    """Return whether a value is the activation of the output for such targets."""
    if not is_classifier(fit.estimator):
        loss = fit.state.get("_fitted_loss")
        if loss is None:
            return value in ("identity", "exp")
        return bool(value == ("identity" if len(loss.levels) < 2 else "ascending"))
    is_multiclass = fit.state["_label_binarizer"].y_type_ == "multiclass"
    return bool(value == ("softmax" if is_multiclass else "logistic"))


def is_loss(value: Any, fit: Fit) -> bool:
    """Return whether a value is a loss of such outputs."""
    if type(value) not in LOSSES.values():
        return False
    value.validate()
    return value == value.plain() and len(value.levels) in (0, 1, fit.n_outputs)


def is_out_of_fold(value: Any, fit: Fit) -> bool:
    """Return whether a value has an output for every row."""
    n_columns = fit.n_outputs
    if is_classifier(fit.estimator):
        n_columns = max(2, n_columns)
    elif n_columns == 1:
        return is_floats(value, value.shape[:1])
    return is_floats(value, (*value.shape[:1], n_columns))


# -- ensembles and radii -------------------------------------------------------------------


def is_members(value: Any, fit: Fit) -> bool:
    """Return whether a value is a list of networks that are alike."""
    if type(value) is not list:
        return False
    # members that are trained together go on, each with its own generator
    goes_on = not fit.state["_state"].holds_snapshots
    return all(
        type(member) is type(fit.estimator)
        and "members_" not in vars(member)
        and (other := Fit(member, member.__dict__)).units == fit.units
        and other.dtype == fit.dtype
        and member.out_activation_ == fit.state["out_activation_"]
        and vars(member).get("_fitted_loss") == fit.state.get("_fitted_loss")
        and (not goes_on or "_random_state" in vars(member))
        and (
            not is_classifier(member)
            or np.array_equal(member.classes_, fit.state["classes_"])
        )
        for member in value
    )


def is_per_radius(kind: str) -> Rule:
    """Return a rule for arrays with a number of a kind for every radius."""
    return lambda value, fit: (
        isinstance(value, np.ndarray)
        and value.dtype.kind == kind
        and value.shape == (len(fit.state["rho_grid_"]),)
    )


# -- the state that training continues from ------------------------------------------------


def is_state(value: Any, fit: Fit) -> bool:
    """Return whether a value is a state that training can continue from."""
    if type(value) is not TrainingState:
        return False
    iterate, by = value.iterate, value.validated_by
    return (
        (iterate is None or is_weights(iterate, fit))
        and (value.digest is None or isinstance(value.digest, str))
        and (value.optimizer is None or is_optimizer(value.optimizer, fit))
        and (
            value.averaging is None
            or is_average(value.averaging, AVERAGES, fit.is_vector)
        )
        and (by is None or is_validated_by(by))
        and (value.score_freq is None or is_count(value.score_freq, 1))
        and (value.fold_seed is None or is_seed(value.fold_seed))
        and (value.rho_solver is None or isinstance(value.rho_solver, str))
        and type(value.holds_snapshots) is bool
        and (not value.holds_snapshots or "members_" in fit.state)
        and is_tempered(value, fit)
        and (value.columns is None or are_columns(value.columns, fit))
    )


def is_weights(value: Any, fit: Fit) -> bool:
    """Return whether a value is weights of the network."""
    is_record = type(value) is Weights
    return is_record and is_network(value.coefs, value.intercepts, fit.units)


def is_tempered(state: TrainingState, fit: Fit) -> bool:
    """Return whether a state has the output layer and its factor, or none of them."""
    layer, factor = state.output_layer, state.inverse_temperature
    if layer is None or factor is None:
        return layer is None and factor is None
    return (
        is_classifier(fit.estimator)
        and is_positive(factor)
        and factor > 0
        and type(layer) is Weights
        and is_network(layer.coefs, layer.intercepts, fit.units[-2:])
        and layer.coefs[0].dtype == fit.dtype
    )


def are_columns(value: Any, fit: Fit) -> bool:
    """Return whether a value is what the columns of rows were measured to be."""
    shape = (fit.units[0],)
    return (
        type(value) is Columns
        and is_positive(value.weight)
        and all(
            is_floats(part, shape) and part.dtype == np.float64
            for part in (value.mean, value.variance)
        )
        and bool(np.isfinite(value.mean).all())
        and bool((np.isfinite(value.variance) & (value.variance >= 0)).all())
    )


def is_seed(value: Any) -> bool:
    """Return whether a value is a seed."""
    return is_count(value) and value < 2**32


def is_optimizer(value: Any, fit: Fit) -> bool:
    """Return whether a value is the state of a solver that trains the network."""
    settings = functools.partial(are_settings, fit=fit)
    return is_optimizer_state(value, CHAINS, fit.is_vector, settings)


def are_settings(group: dict[str, Any], links: Sequence[Any], fit: Fit) -> bool:
    """Return whether a value is what an optimizer's group of parameters holds."""
    *_, descent = links
    rules = {"params": lambda value: type(value) is list and value == [0]}
    for link in links:
        rules |= dict.fromkeys(link.counters, is_count)
        constraints = {
            **{
                a: fit.estimator._parameter_constraints[p]
                for a, p in link.reads.items()
            },
            **{
                argument: link._parameter_constraints[option]
                for argument, option in link.option_arguments().items()
            },
        }
        rules |= {
            argument: functools.partial(fit.may_set, allowed)
            for argument, allowed in constraints.items()
        }
    # a schedule takes the rate to zero, and epochs have become steps
    rules |= {"lr": is_positive, "rho": is_positive, "start": is_count}
    rules |= dict.fromkeys(BOOLEANS & rules.keys(), lambda value: type(value) is bool)
    # what a scheduler sets in the place of beta_1
    rules.setdefault("momentum", lambda v: v is None or (is_number(v) and 0 <= v < 1))
    # a wrapper adds its own settings where they are missing
    needed = {
        "params",
        "lr",
        *descent.reads,
        *descent.option_arguments(),
        *descent.counters,
    }
    # a scheduler, such as one of skorch's, adds numbers and sets momentum
    return needed <= group.keys() and all(
        rules.get(name, is_finite_or_none)(value) for name, value in group.items()
    )


def are_indices(value: Any) -> bool:
    """Return whether a value is made of integers, in tuples."""
    return all(is_count(v) or (type(v) is tuple and are_indices(v)) for v in value)


def is_validated_by(value: Any) -> bool:
    """Return whether a value names a scorer and rows."""
    return (
        type(value) is tuple
        and len(value) == 2
        and all(part is None or isinstance(part, str) for part in value)
    )


# -- the attributes: what each must be, in words and as a rule -----------------------------

COUNT = ("an integer of at least 0", lambda value, fit: is_count(value))
NUMBER = ("a number", lambda value, fit: is_number(value))
NUMBER_OR_NONE = ("a number or None", lambda v, fit: v is None or is_number(v))
NUMBERS = ("a list of numbers", lambda value, fit: is_numbers(value))
# which also give the sizes that others have to agree on
LAYERS = ("the layers of a network", lambda value, fit: bool(fit.units))
PER_RADIUS = ("an array with a float for every radius", is_per_radius("f"))
# of scikit-learn's 'lbfgs', which only the fit itself reads
INDICES = (
    "a list of tuples",
    lambda value, fit: type(value) is list and are_indices(value),
)

SHARED: dict[str, tuple[str, Rule]] = {
    "n_features_in_": LAYERS,
    "feature_names_in_": (
        "an array of a name for every feature",
        lambda v, fit: is_strings(v) and v.shape == (fit.units[0],),
    ),
    "n_outputs_": (
        "the width of the last layer",
        lambda value, fit: is_count(value) and value == fit.n_outputs,
    ),
    "n_layers_": (
        "the number of layers",
        lambda value, fit: is_count(value) and value == len(fit.units),
    ),
    "out_activation_": ("that of such targets", is_out_activation),
    "coefs_": LAYERS,
    "intercepts_": LAYERS,
    "members_": ("a list of networks that are alike", is_members),
    "n_iter_": COUNT,
    "t_": COUNT,
    "n_averaged_": COUNT,
    "loss_": NUMBER,
    "loss_curve_": NUMBERS,
    "best_loss_": NUMBER_OR_NONE,
    "validation_scores_": (
        "a list of numbers or None",
        lambda value, fit: value is None or is_numbers(value),
    ),
    "best_validation_score_": NUMBER_OR_NONE,
    "_no_improvement_count": COUNT,
    "rho_": ("a radius", lambda value, fit: is_positive(value)),
    "rho_grid_": PER_RADIUS,
    "rho_losses_": PER_RADIUS,
    "rho_differences_": PER_RADIUS,
    "rho_standard_errors_": PER_RADIUS,
    "rho_scores_": PER_RADIUS,
    "rho_epochs_": ("an array with an integer for every radius", is_per_radius("i")),
    "_random_state": (
        "a RandomState",
        lambda value, fit: type(value) is np.random.RandomState,
    ),
    "_state": ("the state that training of the network continues from", is_state),
    "_coef_indptr": INDICES,
    "_intercept_indptr": INDICES,
}
OF_CLASSIFIERS: dict[str, tuple[str, Rule]] = {
    "loss": ("'log_loss'", lambda value, fit: value == "log_loss"),
    "classes_": ("labels in ascending order", lambda value, fit: is_labels(value)),
    "_label_binarizer": ("that of classes_ and n_outputs_", is_binarizer),
    "oof_decision_function_": ("probabilities of every row", is_out_of_fold),
}
OF_REGRESSORS: dict[str, tuple[str, Rule]] = {
    "_fitted_loss": ("a loss of n_outputs_", is_loss),
    "oof_prediction_": ("a prediction of every row", is_out_of_fold),
}

OF_ONE_NETWORK = {"coefs_", "intercepts_"}
NEEDED = {
    "n_features_in_",
    "n_outputs_",
    "n_layers_",
    "out_activation_",
    "n_iter_",
    "t_",
    "loss_",
}
