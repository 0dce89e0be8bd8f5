"""What a fit leaves in an estimator: which attributes, and what each of them must be.

numpy, scikit-learn and torch believe what they find in an estimator, and a file may have
been written by anyone. What passes here is what a fit could have left.
"""

import functools
import itertools
from numbers import Integral

import numpy as np
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import (
    InvalidParameterError,
    validate_parameter_constraints,
)

from ._contract import AveragingState, OptimizerState, Weights
from ._numbers import is_real
from .optim import SOLVERS, base_solvers

# kinds of numpy's dtypes for labels: booleans, numbers, strings and times
LABEL_KINDS = "biufUSMm"

# what Python and numpy call integers, and is none
OTHERS = (bool, np.timedelta64)

# counters of optimizers that count nothing
FLAGS = {"adaptive", "use_muon"}

CHAINS = [
    chain
    for solver in SOLVERS
    for chain in [(solver, base) for base in base_solvers(solver)] or [(solver,)]
]


class Misfit(Exception):
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

    def __init__(self, estimator, state):
        self.estimator, self.state = estimator, state

    @property
    def network(self):
        """Attributes of the network, the first one of an ensemble."""
        if "members_" not in self.state:
            return self.state
        return vars(self.state["members_"][0])

    @functools.cached_property
    def units(self):
        """Widths of the layers, the input included."""
        coefs, intercepts = self.network["coefs_"], self.network["intercepts_"]
        units = [self.state["n_features_in_"], *map(len, intercepts)]
        if not is_network(coefs, intercepts, units):
            raise ValueError("layers must fit together")
        return units

    @property
    def dtype(self):
        """Of the weights and biases."""
        return self.network["coefs_"][0].dtype

    @property
    def n_params(self):
        """Number of weights and biases."""
        units = self.units
        return sum((n + 1) * m for n, m in itertools.pairwise(units))

    @property
    def n_outputs(self):
        """Number of units of the output layer."""
        return self.units[-1]

    def is_vector(self, value):
        """Return whether a value is an array with an entry for every weight and bias."""
        return is_floats(value, (self.n_params,))

    def may_set(self, parameter, value):
        """Return whether training may have set an optimizer to the value of a parameter."""
        constraints = self.estimator._parameter_constraints[parameter]
        if is_real(constraints):
            return isinstance(value, float) and self.allows(parameter, value)
        is_plain = type(value) is bool or is_count(value)
        return is_plain and self.allows(parameter, value)

    def allows(self, parameter, value):
        """Return whether a value is one that a parameter may have."""
        constraints = self.estimator._parameter_constraints[parameter]
        try:
            validate_parameter_constraints(
                {parameter: constraints}, {parameter: value}, "fit"
            )
        except InvalidParameterError:
            return False
        return True


def check_state(estimator, state):
    """Raise :class:`Misfit` unless attributes are those of a fit.

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
        raise Misfit(f"it has attributes that are not of a fit, {unknown}.")
    fit = Fit(estimator, state)
    if state.keys() - {"loss"}:
        has_members = "members_" in state
        needed = NEEDED if has_members else NEEDED | OF_ONE_NETWORK
        if is_classifier(estimator):
            needed = needed | {"classes_", "_label_binarizer"}
        if missing := sorted(needed - state.keys()):
            raise Misfit(f"it lacks attributes of a fit, {missing}.")
        if has_members and OF_ONE_NETWORK & state.keys():
            raise Misfit("it has a network of its own next to members_.")
        if not fit.allows("activation", estimator.activation):  # predictions read it
            raise Misfit(f"it has no activation {estimator.activation!r:.80}.")
        if not holds(lambda: fit.units):
            raise Misfit(
                "the layers of its network do not fit together, or weights and biases are "
                "not all float32 or all float64."
            )
    for name, value in state.items():
        words, rule = rules[name]
        if not holds(rule, value, fit):
            raise Misfit(f"its {name} must be {words}, got {value!r:.80}.")


def holds(rule, *args):
    """Return whether a rule is kept. What it cannot look into does not keep it."""
    try:
        return bool(rule(*args))
    except Exception:
        return False


# -- numbers and arrays --------------------------------------------------------------------


def is_count(value, low=0):
    """Return whether a value is an integer that has 64 bits and is not too small."""
    is_integer = isinstance(value, Integral) and not isinstance(value, OTHERS)
    return is_integer and low <= value < 2**63


def is_number(value):
    """Return whether a value is a real number, infinite and NaN included."""
    return isinstance(value, float | np.floating) or is_count(value, -(2**63))


def is_finite_or_none(value):
    """Return whether a value is a finite number or None."""
    return value is None or is_finite(value)


def is_positive(value):
    """Return whether a value is a finite number of at least 0."""
    return is_finite(value) and value >= 0


def is_finite(value):
    """Return whether a value is a finite number."""
    return is_number(value) and -np.inf < value < np.inf


def is_floats(value, shape):
    """Return whether a value is an array of single or double precision."""
    is_array = isinstance(value, np.ndarray) and value.shape == shape
    return is_array and value.dtype in (np.float32, np.float64)


def is_numbers(value):
    """Return whether a value is a list of numbers."""
    return type(value) is list and all(map(is_number, value))


def is_strings(value):
    """Return whether a value is an array of objects that are strings."""
    is_array = isinstance(value, np.ndarray) and value.dtype == object
    return is_array and all(isinstance(item, str) for item in value.flat)


def is_network(coefs, intercepts, units):
    """Return whether arrays are the weights and biases of layers of so many units."""
    if not (type(coefs) is type(intercepts) is list and len(units) > 1):
        return False
    shapes = list(itertools.pairwise(units))
    return (
        all(is_count(n, 1) for n in units)
        and len({array.dtype for array in (*coefs, *intercepts)}) == 1
        and len(coefs) == len(intercepts) == len(shapes)
        and all(map(is_floats, coefs, shapes))
        and all(is_floats(b, (n,)) for b, n in zip(intercepts, units[1:], strict=True))
    )


# -- labels and outputs --------------------------------------------------------------------


def is_labels(value):
    """Return whether a value is an array of labels in ascending order."""
    if not (isinstance(value, np.ndarray) and value.ndim == 1 and value.size):
        return False
    is_plain = value.dtype.kind in LABEL_KINDS or is_strings(value)
    return is_plain and np.array_equal(np.unique(value), value)


def is_binarizer(value, fit):
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
        # those of several labels are their numbers, whatever the classes are called
        and (has_several or np.array_equal(state["classes_"], fit.state["classes_"]))
    )


def is_out_activation(value, fit):
    """Return whether a value is the activation of the output for such targets."""
    if not is_classifier(fit.estimator):
        return value in ("identity", "exp")
    is_multiclass = fit.state["_label_binarizer"].y_type_ == "multiclass"
    return value == ("softmax" if is_multiclass else "logistic")


def is_out_of_fold(value, fit):
    """Return whether a value has an output for every row."""
    n_columns = fit.n_outputs
    if is_classifier(fit.estimator):
        n_columns = max(2, n_columns)
    elif n_columns == 1:
        return is_floats(value, value.shape[:1])
    return is_floats(value, (*value.shape[:1], n_columns))


# -- ensembles and radii -------------------------------------------------------------------


def is_members(value, fit):
    """Return whether a value is a list of networks that are alike."""
    if type(value) is not list:
        return False
    # members that are trained together go on, each with its own generator
    goes_on = "_holds_snapshots" not in fit.state
    return all(
        type(member) is type(fit.estimator)
        and "members_" not in vars(member)
        and (other := Fit(member, vars(member))).units == fit.units
        and other.dtype == fit.dtype
        and member.out_activation_ == fit.state["out_activation_"]
        and (not goes_on or "_random_state" in vars(member))
        and (
            not is_classifier(member)
            or np.array_equal(member.classes_, fit.state["classes_"])
        )
        for member in value
    )


def is_per_radius(kind):
    """Return a rule for arrays with a number of a kind for every radius."""
    return lambda value, fit: (
        isinstance(value, np.ndarray)
        and value.dtype.kind == kind
        and value.shape == (len(fit.state["rho_grid_"]),)
    )


# -- what training goes on from ------------------------------------------------------------


def is_iterate(value, fit):
    """Return whether a value is the solver's own weights and a digest."""
    weights, digest = value if type(value) is tuple else (0, 0)
    is_weights = weights is None or (
        type(weights) is Weights
        and is_network(weights.coefs, weights.intercepts, fit.units)
    )
    return is_weights and isinstance(digest, str)


def is_optimizer(value, fit):
    """Return whether a value is the state of a solver that trains the network."""
    if type(value) is not OptimizerState or value.solvers not in CHAINS:
        return False
    content = value.state_dict
    if content.keys() != {"state", "param_groups"} or not is_count(value.epochs):
        return False
    links = [SOLVERS[name] for name in value.solvers]
    (group,) = content["param_groups"]
    state = dict(content["state"])
    entries = state.pop(0, {})
    group, tuner = dict(group), group.get("tuner")
    if value.solvers == ("yellowfin",):
        del group["tuner"]
    return (
        not state
        and are_settings(group, links, fit)
        and are_entries(entries, links, fit)
        and (is_tuner(tuner) if entries and tuner is not None else not tuner)
    )


def are_settings(group, links, fit):
    """Return whether a value is what an optimizer's group of parameters holds."""
    *_, descent = links
    rules = {"params": lambda value: type(value) is list and value == [0]}
    for link in links:
        rules |= dict.fromkeys(link.counters, is_count)
        rules |= {
            name: functools.partial(fit.may_set, parameter)
            for name, parameter in link.arguments.items()
        }
    # a schedule takes the rate to zero, and epochs have become steps
    rules |= {"lr": is_positive, "rho": is_positive, "start": is_count}
    rules |= dict.fromkeys(FLAGS & rules.keys(), lambda value: type(value) is bool)
    # what is missing of its own a wrapper adds
    needed = {"params", "lr", *descent.arguments, *descent.counters}
    # a scheduler, such as one of skorch's, leaves numbers of its own, and sets momentum
    return needed <= group.keys() and all(
        rules.get(name, is_finite_or_none)(value) for name, value in group.items()
    )


def are_entries(entries, links, fit):
    """Return whether a value is what an optimizer keeps of the weights and biases."""
    *_, descent = links
    memories = [{*link.memory} for link in links if entries.keys() & {*link.memory}]
    # there is nothing before the first step
    expected = {*descent.state}.union(*memories) if entries else set()
    numbers = {"step": is_count, "weight_sum": is_positive}
    return entries.keys() == expected and all(
        numbers.get(name, fit.is_vector)(value) for name, value in entries.items()
    )


def is_tuner(tuner):
    """Return whether a value is what 'yellowfin' has measured."""
    names = {"largest", "smallest", "norm", "curvature", "distance", "momentum", "rate"}
    return (
        tuner.keys() == names | {"step", "recent"}
        and is_count(tuner["step"])
        and is_floats(tuner["recent"], (np.size(tuner["recent"]),))
        and all(is_number(tuner[n]) or is_floats(tuner[n], ()) for n in names)
    )


def is_average(value, fit):
    """Return whether a value is an average of such networks under way."""
    if type(value) is not AveragingState or value.scheme not in ("swa", "ema_decay"):
        return False
    content = value.scheme_state
    if content.keys() != {"averaged", "n_averaged"}:
        return False
    averaged, n_averaged = content["averaged"], content["n_averaged"]
    return (
        is_count(value.epochs)
        and (value.began is None or is_count(value.began))
        and (value.lr is None or is_positive(value.lr))
        and type(averaged) is list
        and all(map(fit.is_vector, averaged))
        and is_count(n_averaged)
        and len(averaged) == min(n_averaged, 1)
    )


def are_places(value):
    """Return whether a value is made of integers, in tuples."""
    return all(is_count(v) or (type(v) is tuple and are_places(v)) for v in value)


def is_judge(value, fit):
    """Return whether a value names the scorer and the rows of the last fit."""
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
# without which there is no fit to judge the others by
LAYERS = ("the layers of a network", lambda value, fit: bool(fit.units))
PER_RADIUS = ("an array with a float for every radius", is_per_radius("f"))
# of scikit-learn's 'lbfgs', which does not read them again
PLACES = (
    "a list of tuples",
    lambda value, fit: type(value) is list and are_places(value),
)

SHARED = {
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
    "_holds_snapshots": (
        "True, and there must be members_",
        lambda value, fit: value is True and "members_" in fit.state,
    ),
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
    "_scored_by": ("a scorer and a digest, or None each", is_judge),
    "_score_freq": ("at least 1", lambda value, fit: is_count(value, 1)),
    "_fold_seed": (
        "a seed",
        lambda value, fit: is_count(value) and value < 2**32,
    ),
    "rho_": ("a radius", lambda value, fit: is_positive(value)),
    "rho_grid_": PER_RADIUS,
    "rho_losses_": PER_RADIUS,
    "rho_scores_": PER_RADIUS,
    "rho_epochs_": ("an array with an integer for every radius", is_per_radius("i")),
    "_rho_solver": ("a solver", lambda value, fit: value in [*SOLVERS]),
    "_random_state": (
        "a RandomState",
        lambda value, fit: type(value) is np.random.RandomState,
    ),
    "_iterate": ("weights of the network and a digest", is_iterate),
    "_optimizer": (
        "the state of a solver of the network, or None",
        lambda value, fit: value is None or is_optimizer(value, fit),
    ),
    "_averaging": (
        "an average of networks, or None",
        lambda value, fit: value is None or is_average(value, fit),
    ),
    "_coef_indptr": PLACES,
    "_intercept_indptr": PLACES,
}
OF_CLASSIFIERS = {
    "loss": ("'log_loss'", lambda value, fit: value == "log_loss"),
    "classes_": ("labels in ascending order", lambda value, fit: is_labels(value)),
    "_label_binarizer": ("that of classes_ and n_outputs_", is_binarizer),
    "oof_decision_function_": ("probabilities of every row", is_out_of_fold),
}
OF_REGRESSORS = {"oof_prediction_": ("a prediction of every row", is_out_of_fold)}

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
