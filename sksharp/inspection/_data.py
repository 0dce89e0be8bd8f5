"""Checks of an estimator and of data before they are measured or drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from .._jobs import Array, Matrix, Weights
from ..estimators._outputs import ASCENDING, fitted_loss

if TYPE_CHECKING:  # it imports torch
    from ._surface import LossSurface


def check_network(estimator: Any) -> None:
    """Raise unless the estimator is a fitted multi-layer perceptron."""
    if isinstance(estimator, Pipeline):
        raise TypeError(
            "estimator must be a network, got a Pipeline. Pass its last step and the data "
            "that this step sees: pipeline[-1] and pipeline[:-1].transform(X)."
        )
    if not isinstance(estimator, MLPClassifier | MLPRegressor):
        raise TypeError(
            "estimator must be a SAMMLPClassifier, SAMMLPRegressor, MLPClassifier or "
            f"MLPRegressor, got {type(estimator).__name__}. Pass the network itself, such "
            "as best_estimator_ of a search. Torch modules have module_sharpness of "
            "sksharp.inspection."
        )
    check_is_fitted(estimator)


def networks_of(estimator: Any) -> list[Any]:
    """Return the members of an ensemble, or the estimator itself."""
    return list(getattr(estimator, "members_", [estimator]))


def estimators_in(estimator: Any) -> list[Any]:
    """Return the fitted networks in an estimator, ensembles as they are, and nets.

    Where a fit has left some, those among the parameters are what it was made from, and
    are left out.
    """
    return [*_estimators(estimator, set(), templates=False)]


def is_net(value: Any) -> bool:
    """Return whether a value is a net of a torch module, without importing torch."""
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(value).__mro__}
    return "sksharp.nets._net.FlatNet" in names


def networks_in(estimator: Any) -> list[Any]:
    """Return the fitted networks that an estimator consists of, members one by one."""
    return [
        network
        for one in _estimators(estimator, set(), templates=True)
        for network in networks_of(one)
        if hasattr(network, "coefs_")
    ]


def _estimators(value: Any, seen: set[int], templates: bool) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    inner: Iterable[Any] = ()
    if isinstance(value, MLPClassifier | MLPRegressor):
        if hasattr(value, "coefs_") or hasattr(value, "members_"):
            yield value
    elif is_net(value):
        if value.initialized_:
            yield value
    elif isinstance(value, BaseEstimator) or hasattr(type(value), "predict_proba"):
        inner = vars(value).values()
        if not templates:
            left = [v for name, v in vars(value).items() if name.endswith("_")]
            found = [*_estimators(left, seen, templates)]
            if found:
                yield from found
                return
    elif isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple) or (
        isinstance(value, np.ndarray) and value.dtype == object
    ):
        inner = value
    for one in inner:
        yield from _estimators(one, seen, templates)


def weights_of(network: Any) -> Weights:
    """Return the weights of one network in float64."""
    return Weights(
        [np.asarray(coef, dtype=np.float64) for coef in network.coefs_],
        [np.asarray(bias, dtype=np.float64) for bias in network.intercepts_],
    )


def check_rows(
    estimator: Any, X: Any, y: Any, sample_weight: Any = None
) -> tuple[Matrix, Array, Array | None]:
    """Return rows, encoded targets and weights of rows in float64."""
    X = validate_data(
        estimator, X, accept_sparse=["csr", "csc"], dtype=np.float64, reset=False
    )
    encode = _encode_labels if is_classifier(estimator) else _check_targets
    y = encode(estimator, y)
    check_consistent_length(X, y)
    sample_weight = check_weights(sample_weight, X)
    return X, y, sample_weight


def check_weights(sample_weight: Any, X: Any) -> Array | None:
    """Return weights of rows in float64, None if there are none."""
    if sample_weight is None:
        return None
    weights: Array = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    if not weights.any():  # of which scikit-learn 1.7 says nothing
        raise ValueError(
            "sample_weight must hold at least one non-zero number, got zeros only. "
            "Give a row a weight, or leave sample_weight out."
        )
    return weights


def check_classes(labels: Iterable[Any], classes: Sequence[Any]) -> None:
    """Raise if there are labels that are no class of a fit."""
    unknown = sorted(set(labels) - set(classes), key=str)
    if unknown:
        others = f" and {len(unknown) - 5} others" if len(unknown) > 5 else ""
        raise ValueError(
            f"y must hold the classes of the fit, {[*classes]}, got {unknown[:5]}{others} "
            "besides. Leave those rows out."
        )


def _encode_labels(estimator: Any, y: Any) -> Array:
    """Return indicators, one column for two classes."""
    binarizer = estimator._label_binarizer
    if binarizer.y_type_.startswith("multilabel"):
        y = check_array(y, accept_sparse=True, dtype=np.float64, input_name="y")
        y = y.toarray() if issparse(y) else y
        if y.shape[1] != estimator.n_outputs_ or not np.isin(y, [0, 1]).all():
            raise ValueError(
                f"y must hold 0 or 1 for each of the {estimator.n_outputs_} labels of the "
                f"fit, got an array of shape {y.shape} with values from {y.min():g} to "
                f"{y.max():g}."
            )
        indicators: Array = y
        return indicators
    y = column_or_1d(y)
    check_classes(y.tolist(), estimator.classes_.tolist())
    encoded: Array = binarizer.transform(y).astype(np.float64)
    return encoded


def _check_targets(estimator: Any, y: Any) -> Array:
    targets: Array = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    targets = targets.reshape(-1, 1) if targets.ndim == 1 else targets
    if estimator.out_activation_ == ASCENDING and targets.shape[1] == 1:
        return targets.repeat(estimator.n_outputs_, axis=1)
    if targets.shape[1] != estimator.n_outputs_:
        raise ValueError(
            f"y must have as many targets as in the fit, {estimator.n_outputs_}, got "
            f"{targets.shape[1]}."
        )
    if estimator.out_activation_ == "exp" and targets.min() < 0:
        raise ValueError(
            "y must not be negative with loss='poisson', got a minimum of "
            f"{targets.min()}. Leave those rows out."
        )
    return targets


def penalty_of(estimator: Any, n_samples: int, sample_weight: Array | None) -> float:
    """Return the factor of the squared weights in the loss that the fit minimized."""
    total = n_samples if sample_weight is None else sample_weight.sum()
    alpha: float = estimator.alpha
    if estimator.solver == "lbfgs":
        return alpha / total
    if hasattr(estimator, "_rows_of_minibatch"):
        size = estimator._rows_of_minibatch(n_samples, sample_weight)
    else:
        size = 200 if estimator.batch_size == "auto" else estimator.batch_size
    # the penalty is divided by the rows, or by their weights, of a minibatch
    penalty: float = alpha / (total * min(size, n_samples) / n_samples)
    return penalty


def make_surface(
    network: Any,
    X: Matrix,
    y: Array,
    sample_weight: Array | None = None,
    penalty: bool = False,
) -> LossSurface:
    """Return the loss of a network over checked rows."""
    from ._surface import LossSurface  # imports torch

    return LossSurface(
        weights_of(network),
        network.activation,
        network.out_activation_,
        X,
        y,
        sample_weight,
        penalty_of(network, X.shape[0], sample_weight) if penalty else 0.0,
        fitted_loss(network),
    )
