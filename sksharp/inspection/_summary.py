"""The choices and the course of a fit, as text."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from ..estimators._outputs import loss_name
from ..estimators._state import OUT_OF_FOLD, state_of
from ..estimators._tempering import untempered
from ..options.solvers import SOLVERS, Solver, solver_chain
from ._data import estimators_in, is_net, networks_of
from ._net_summary import net_lines
from ._scores import epochs_of_scores, name_of_scores
from ._text import (
    Part,
    cells,
    counted,
    epochs_and_limit,
    joined,
    lines_of,
    table_of_radii,
)


def summary(estimator: Any) -> str:
    r"""Return the choices and the course of a fit, as text to print.

    Parameters
    ----------
    estimator : estimator
        Fitted: a SAMMLPClassifier or SAMMLPRegressor, a net of :mod:`sksharp.nets`,
        scikit-learn's MLPClassifier or MLPRegressor, or an estimator that contains some of
        them, such as a Pipeline, a TransformedTargetRegressor or a search.

    Returns
    -------
    text : str
        A few lines for every network or ensemble in the estimator.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If there is no network in it.

    Notes
    -----
    The text has the fitted attributes and the current parameters: a parameter that was
    set after the fit is shown with its new value. The number of rows is known if there
    are out-of-fold predictions, and of nets. Only nets store the time of the fit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksharp import SAMMLPClassifier, summary
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SAMMLPClassifier((10,), solver="lbfgs", random_state=0).fit(X, y)
    >>> print("\n".join(summary(clf).splitlines()[:3]))
    SAMMLPClassifier
      data         4 features, 3 classes
      network      4-10-3 units, relu, softmax outputs; 83 parameters, float64
    """
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise _no_network(estimator)
    check_is_fitted(estimator)
    found = estimators_in(estimator)
    if not found:
        raise _no_network(estimator)
    titles = [type(one).__name__ for one in found]
    if len(found) > 1:
        titles = [f"{i + 1} of {len(found)}: {name}" for i, name in enumerate(titles)]
    return "\n\n".join(
        "\n".join([title, *_lines(one)])
        for title, one in zip(titles, found, strict=True)
    )


def _no_network(estimator: Any) -> TypeError:
    name = estimator if isinstance(estimator, type) else type(estimator)
    return TypeError(
        "estimator must be or hold a network of this package or of scikit-learn, such as a "
        f"SAMMLPClassifier, fitted, got {name.__name__} without one. Pass what you have "
        "fitted; skorch's own nets have their epochs in history."
    )


def _lines(estimator: Any) -> list[str]:
    """Return the lines about one network, or one ensemble."""
    if is_net(estimator):
        return net_lines(estimator)
    networks = networks_of(estimator)
    parts: list[Part] = [
        ("data", _data(estimator), []),
        ("network", _network(networks[0]), []),
        ("loss", _loss(estimator), []),
        ("solver", _solver(estimator), []),
        ("radius", _radius(estimator), table_of_radii(estimator)),
        ("training", _training(estimator), []),
    ]
    if hasattr(estimator, "members_"):
        parts += [
            ("average", _decay(networks[0]), []),
            ("members", *_members(estimator, networks)),
        ]
    else:
        parts += [
            ("average", _average(estimator), []),
            ("kept", _kept(estimator), []),
            ("temperature", _temperature(estimator), []),
        ]
    return lines_of(parts)


# -- what was given ------------------------------------------------------------------------


def _data(estimator: Any) -> str:
    rows = None
    for name in OUT_OF_FOLD:
        if hasattr(estimator, name):
            of_folds = getattr(estimator, name)
            is_held = ~np.isnan(of_folds.reshape(len(of_folds), -1)).any(axis=1)
            n_held = "all" if is_held.all() else f"{is_held.sum():,} of them"
            rows = f"{counted(len(of_folds), 'row')}, {n_held} held out by a fold"
    outputs = counted(estimator.n_outputs_, "output")
    if is_classifier(estimator):
        binarizer = getattr(estimator, "_label_binarizer", None)
        kind = getattr(binarizer, "y_type_", "")
        is_multilabel = kind.startswith("multilabel")
        words = ("label", None) if is_multilabel else ("class", "classes")
        outputs = counted(len(estimator.classes_), *words)
    return joined([rows, counted(estimator.n_features_in_, "feature"), outputs])


def _network(network: Any) -> str:
    coefs, biases = network.coefs_, network.intercepts_
    units = "-".join(str(n) for n in [*(len(c) for c in coefs), coefs[-1].shape[1]])
    n_weights = sum(array.size for array in [*coefs, *biases])
    return (
        f"{units} units, {network.activation}, {network.out_activation_} outputs; "
        f"{n_weights:,} parameters, {coefs[0].dtype}"
    )


def _loss(estimator: Any) -> str | None:
    """Return the loss of a regressor."""
    return None if is_classifier(estimator) else loss_name(estimator)


def _chain(estimator: Any) -> list[Solver]:
    """Return the solvers that take part, none of those that are scikit-learn's alone."""
    solver, base = estimator.solver, getattr(estimator, "base_solver", "adam")
    names = [one for one in (solver, base) if not isinstance(one, Solver)]
    if all(name in SOLVERS for name in names):
        return solver_chain(solver, base)
    return []


def _solver(estimator: Any) -> str:
    """Return the solver and the parameters that it reads."""
    parameters = estimator.get_params(deep=False)
    if estimator.solver == "lbfgs":
        always, others = ["alpha", "max_fun"], []
    else:
        chain = _chain(estimator)
        read = [name for solver in chain for name in solver.reads.values()]
        always = ["base_solver"] if chain and chain[0].takes_base else []
        always += ["learning_rate_init", "batch_size", "alpha"]
        others = [n for n in ["learning_rate", "max_grad_norm", *read] if n != "rho"]
    defaults = inspect.signature(type(estimator)).parameters
    for name in dict.fromkeys(others):
        if name in always or name not in parameters or name not in defaults:
            continue
        if repr(parameters[name]) != repr(defaults[name].default):
            always.append(name)
    shown = [f"{name}={parameters[name]!r}" for name in always if name in parameters]
    return joined([repr(estimator.solver), *shown])


# -- what was chosen -----------------------------------------------------------------------


def _radius(estimator: Any) -> str | None:
    rho = getattr(estimator, "rho_", None)
    if rho is None:
        chain = _chain(estimator)
        is_read = any(solver.takes_radius for solver in chain)
        if not is_read:
            return None
        is_given = isinstance(estimator.rho, Real)
        how = "as given" if is_given else "of which none is chosen yet"
        return f"rho={estimator.rho!r}, {how}"
    if not hasattr(estimator, "rho_grid_"):
        return f"rho={rho:.4g}, used without a choice (rho={estimator.rho!r})"
    if len(estimator.rho_grid_) == 1:
        return f"rho={rho:.4g}, the only one of the list"
    if hasattr(estimator, "rho_scores_"):
        why = "the highest score of left-out rows, of equal ones the smallest radius"
    else:
        why = (
            "of the radii that were compared last, the largest whose loss of left-out "
            "rows was at most a standard error and 5 % above the lowest"
        )
    return f"rho={rho:.4g} was chosen: {why}"


# -- how it went ---------------------------------------------------------------------------


def _has_epochs(estimator: Any) -> bool:
    """Return whether the last fit was by a stochastic solver."""
    (network, *_) = networks_of(estimator)
    # scikit-learn leaves the curve of an earlier fit where 'lbfgs' makes none
    is_ours = "_state" in vars(estimator)
    return hasattr(network, "loss_curve_") and (is_ours or estimator.solver != "lbfgs")


def _training(estimator: Any) -> str:
    """Return how long it took, and how it ended."""
    n_last, max_iter = estimator.n_iter_, estimator.max_iter
    limit = (
        f"all of max_iter={max_iter}" if n_last == max_iter else f"max_iter={max_iter}"
    )
    if not _has_epochs(estimator):
        length = counted(n_last, "iteration")
        return f"{length} ({limit}), loss {estimator.loss_:.4g} at the end"
    if getattr(estimator, "max_steps", None) is not None:
        limit = f"max_steps={estimator.max_steps}"
    is_one = hasattr(estimator, "loss_curve_")
    networks = [estimator] if is_one else networks_of(estimator)
    n_epochs = max(len(one.loss_curve_) for one in networks)
    return joined(
        [
            epochs_and_limit(n_epochs, n_last, limit),
            f"{estimator.t_:,} rows seen",
            None if is_one else "by the longest of the members",
            f"{'' if is_one else 'mean '}loss {estimator.loss_:.4g} at the end",
            _stall(estimator),
        ]
    ).replace("seen, by", "seen by")


def _stall(estimator: Any) -> str | None:
    """Return whether the rule that ends a training had had enough."""
    count = getattr(estimator, "_no_improvement_count", 0)
    if not _has_epochs(estimator) or not count > estimator.n_iter_no_change:
        return None
    what = "loss" if getattr(estimator, "validation_scores_", None) is None else "score"
    return (
        f"{what} not better by more than tol={estimator.tol:g} in the last "
        f"{counted(count, 'epoch')}"
    )


def _average(network: Any) -> str | None:
    """Return which average the weights are, None for none."""
    n_averaged = getattr(network, "n_averaged_", 0)
    if not n_averaged:
        return _decay(network)
    return f"mean of the weights after each of {counted(n_averaged, 'epoch')}"


def _decay(network: Any) -> str | None:
    """Return the exponential moving average that the weights are, None for none."""
    average, text = (
        state_of(network).averaging,
        "exponential moving average of the weights",
    )
    decay = getattr(network, "ema_decay", None)
    if decay is not None and _has_epochs(network):
        return f"{text}, ema_decay={decay!r}"
    return text if average is not None and average.scheme == "ema_decay" else None


def _kept(network: Any) -> str | None:
    """Return which weights were kept."""
    score = getattr(network, "best_validation_score_", None)
    if not _has_epochs(network):
        return None
    if score is None:
        return None if _average(network) else "the weights of the last epoch"
    name = _score_name(network, is_member=False)
    if getattr(network, "n_averaged_", 0):
        return f"the average, {name} {score:.4g}"
    best = _best_epoch(network, is_member=False)
    where = "the best epoch" if best is None else f"epoch {best}"
    return f"the weights of {where}, {name} {score:.4g}"


def _score_name(network: Any, is_member: bool) -> str:
    name = name_of_scores(network, is_member)
    return name[0].lower() + name[1:]


def _best_epoch(network: Any, is_member: bool) -> int | None:
    """Return the epoch whose weights were kept, None if that is not known."""
    scores = getattr(network, "validation_scores_", None)
    if not scores or getattr(network, "n_averaged_", 0) > 0:
        return None
    epochs = epochs_of_scores(network, is_member)
    is_best = np.flatnonzero(np.asarray(scores) == network.best_validation_score_)
    return None if epochs is None or not len(is_best) else int(epochs[is_best[0]])


def _inverse_temperature(network: Any) -> float | None:
    return untempered(network)[1].inverse_temperature


def _temperature(network: Any) -> str | None:
    b = _inverse_temperature(network)
    if b is None:
        return None
    return f"{1 / b:.4g}: it divides what goes into {network.out_activation_}"


def _members(
    estimator: Any, networks: Sequence[Any]
) -> tuple[str, list[tuple[str, ...]]]:
    """Return what the members are, and their table."""
    columns: dict[str, list[str]] = {
        "member": [str(i + 1) for i in range(len(networks))],
        "epochs": [str(len(one.loss_curve_)) for one in networks],
    }
    text = f"{counted(len(networks), 'network')}, whose predictions are averaged"
    if state_of(estimator).holds_snapshots:
        text += "; snapshots of one training"
    scores = [one.best_validation_score_ for one in networks]
    if any(score is not None for score in scores):
        text += f"; score: {_score_name(networks[0], is_member=True)}"
        columns["best epoch"] = cells(_best_epoch(one, True) for one in networks)
        columns["score"] = cells(scores)
    n_averaged = [one.n_averaged_ for one in networks]
    if any(n_averaged):
        columns["epochs averaged"] = cells(n_averaged)
    columns["loss at the end"] = cells(one.loss_ for one in networks)
    each = [_inverse_temperature(one) for one in networks]
    if any(b is not None for b in each):
        columns["temperature"] = cells(None if b is None else 1 / b for b in each)
    return text, [
        *zip(*([name, *cells] for name, cells in columns.items()), strict=True)
    ]
