"""The networks of ``tabular_pipeline("classifier")`` and ``("regressor")``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .._choices import nearest
from ..estimators._classifier import SAMMLPClassifier
from ..estimators._regressor import SAMMLPRegressor
from ..options.solvers import SOLVERS, AdamW, Solver

# skrub's words
ESTIMATORS: dict[str, Any] = {
    "classifier": SAMMLPClassifier,
    "classification": SAMMLPClassifier,
    "regressor": SAMMLPRegressor,
    "regression": SAMMLPRegressor,
}

DECAY = 0.1
PARAMETERS: dict[str, Any] = {
    "hidden_layer_sizes": (128, 128),
    "alpha": 0.0,
    "learning_rate": "cosine",
    "learning_rate_init": 5e-3,
    "early_stopping": True,
    "tol": 0.0,
    "beta_2": 0.95,
    "n_iter_no_change": 20,
    "rho": [0.0],
    "ema_decay": 0.99,
    "n_members": 5,
    "max_steps": 2500,
    "dropout": 0.1,
}


def recommended_network(kind: str, params: Mapping[str, Any]) -> Any:
    """Return the network that is recommended for tables.

    Parameters
    ----------
    kind : str
        Key of ``ESTIMATORS``.

    params : dict
        Parameters in the place of the recommended ones.

    Returns
    -------
    network : SAMMLPClassifier or SAMMLPRegressor
        The network, unfitted.

    Raises
    ------
    ValueError
        If the kind is not known.
    TypeError
        If the network has no parameter of a name.
    """
    if kind not in ESTIMATORS:
        raise ValueError(
            "estimator must be 'classifier', 'regressor' or an object with fit and "
            f"predict, got estimator={kind!r}. {_hint(kind, ESTIMATORS)}"
        )
    cls = ESTIMATORS[kind]
    # an object each: pipelines share no options
    own = {**PARAMETERS, "base_solver": AdamW(weight_decay=DECAY)}
    if cls is SAMMLPClassifier:
        own["scoring"] = "refined_loss"
    network = cls(**own)
    known = network.get_params()
    for name in params:
        if name not in known:
            raise TypeError(
                f"{name} must be a parameter of tabular_pipeline or of "
                f"{cls.__name__}, got {name}={params[name]!r}. {_hint(name, known)}"
            )
    return network.set_params(**_instead(params), **params)


def _instead(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what takes the place of recommended parameters that given ones exclude."""
    changes: dict[str, Any] = {}
    if "max_iter" in params:
        changes["max_steps"] = None
    if params.get("swa"):
        changes["ema_decay"] = None
    if params.get("snapshots"):
        changes |= {"ema_decay": None, "n_members": 1, "early_stopping": False}
        changes |= {"learning_rate": "constant", "rho": 0.0, "scoring": None}
    if "hidden_layer_sizes" in params and not np.size(params["hidden_layer_sizes"]):
        changes["dropout"] = 0.0
    if "solver" in params:
        changes |= _instead_with(params["solver"])
    return {name: value for name, value in changes.items() if name not in params}


def _instead_with(solver: Any) -> dict[str, Any]:
    """Return what takes the place of recommended parameters that a solver excludes."""
    if isinstance(solver, str) and solver in SOLVERS:
        solver = SOLVERS[solver]()
    if not isinstance(solver, Solver):
        return {}
    changes: dict[str, Any] = {"rho": "auto"}
    if not solver.takes_base:
        changes["base_solver"] = "adam"
    if "learning_rate_init" not in solver.reads.values() and not solver.takes_base:
        changes["learning_rate"] = "constant"  # it tunes the rate itself
    return changes


def _hint(word: str, words: Iterable[str]) -> str:
    meant = nearest(word, sorted(words))
    return f"Did you mean {meant!r}?" if meant else "Correct it, or leave it out."
