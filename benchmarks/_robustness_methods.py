"""The methods of the robustness benchmark: what a radius, and what else, protects against.

All plain networks get the same plain preprocessing, as in ``_methods.py``: a perturbed
number reaches the network as that number, scaled. The one line encodes numbers, and a
perturbed number may stay in its bin.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from _datasets import Problem
from _methods import METHODS as OF_QUALITY
from _methods import (
    OURS,
    Method,
    mlp,
    recommended,
    sharp,
    with_plain_preprocessing,
)
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from sksharp.options import ASAM, AdamW, InputNoise

# one network of 2,500 steps, the last of which counts
LAST = {
    "hidden_layer_sizes": (128, 128),
    "max_steps": 2500,
    "n_iter_no_change": np.inf,
}
# five networks, each at the best epoch of its fold
MEMBERS = {
    "hidden_layer_sizes": (128, 128),
    "n_members": 5,
    "ema_decay": 0.99,
    "max_steps": 2500,
    "learning_rate_init": 3e-3,
    "early_stopping": True,
    "scoring": "loss",
    "n_iter_no_change": 20,
}
REGULARIZED = {"base_solver": AdamW(weight_decay=0.1), "dropout": 0.1}


def forest(problem: Problem) -> BaseEstimator:
    """Return scikit-learn's random forest behind the same preprocessing."""
    cls = RandomForestRegressor if problem.is_regression else RandomForestClassifier
    return with_plain_preprocessing(cls(random_state=problem.seed), problem)


METHODS = {
    "mlp": OF_QUALITY["mlp"],
    "mlp_es": OF_QUALITY["mlp_es"],
    "mlp_alpha_1": Method(partial(mlp, alpha=1.0), "sklearn"),
    "hgb": OF_QUALITY["hgb"],
    "forest": Method(forest, "peers"),
    "lightgbm": OF_QUALITY["lightgbm"],
    "catboost": OF_QUALITY["catboost"],
    "realmlp5": OF_QUALITY["realmlp5"],
    "default": OF_QUALITY["default"],
    "default_rho_0": OF_QUALITY["default_rho_0"],
}


def add(name: str, group: str, settings: dict[str, Any], **parameters: Any) -> None:
    """Add a network of ours to the methods."""
    METHODS[name] = Method(partial(sharp, **{**settings, **parameters}), group, OURS)


for _rho in (0.0, 0.2, 0.5, 1.0):
    add(f"last_rho_{_rho:g}", "last", LAST, rho=_rho)
for _rho in (0.0, 0.1, 0.2, 0.5):
    add(f"members_rho_{_rho:g}", "members", MEMBERS, rho=_rho)
add("members_asam_2", "members", MEMBERS, solver=ASAM(), rho=2.0)
add("members_auto", "members", MEMBERS, rho="auto")
add("members_alpha_1", "members", MEMBERS, rho=0.0, alpha=1.0)
for _rho in (0.0, 0.5):
    add(f"members_no_ema_rho_{_rho:g}", "members", MEMBERS, ema_decay=0.0, rho=_rho)
for _rho in (0.0, 0.2, 0.5):
    add(f"members_regularized_rho_{_rho:g}", "members", MEMBERS | REGULARIZED, rho=_rho)
for _name, _noise in {
    "noisy": InputNoise(std=0.25),
    "masked": InputNoise(missing=0.1),
}.items():
    for _rho in (0.0, 0.5):
        add(
            f"members_{_name}_rho_{_rho:g}",
            "augmented",
            MEMBERS,
            input_noise=_noise,
            rho=_rho,
        )
add(
    "members_dropped_rho_0",
    "augmented",
    MEMBERS,
    dropout=[0.1, 0.0, 0.0],
    rho=0.0,
)
# the rows that choose the radius and the epochs are like those that will be served
add(
    "members_auto_judged",
    "augmented",
    MEMBERS,
    input_noise=InputNoise(std=0.5, missing=0.1, on="validation"),
    rho="auto",
)
for _rho in (0.0, 0.2, 0.5, "auto"):
    _name = f"recommended_rho_{_rho:g}" if _rho != "auto" else "recommended_auto"
    METHODS[_name] = Method(partial(recommended, rho=_rho), "one line", OURS)
