"""The networks of ``tabular_pipeline("classifier")`` and ``("regressor")``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._choices import nearest
from ..estimators._classifier import SAMMLPClassifier
from ..estimators._regressor import SAMMLPRegressor
from ..options.solvers import AdamW

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
    return network.set_params(**params)


def _hint(word: str, words: Iterable[str]) -> str:
    meant = nearest(word, sorted(words))
    return f"Did you mean {meant!r}?" if meant else "Correct it, or leave it out."
