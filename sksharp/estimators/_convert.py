"""Conversion of fitted estimators to scikit-learn and torch."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any

from sklearn.base import is_classifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils._param_validation import (
    InvalidParameterError,
    validate_parameter_constraints,
)
from sklearn.utils.validation import check_is_fitted

from .._jobs import Weights
from ._outputs import ASCENDING
from ._parameters import read_parameters

if TYPE_CHECKING:
    from ..training._sequential import Module

# fitted attributes that scikit-learn's prediction or training reads
SHARED_ATTRIBUTES = (
    "n_features_in_",
    "feature_names_in_",
    "classes_",
    "_label_binarizer",
    "coefs_",
    "intercepts_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "_no_improvement_count",
    "_random_state",
)


class Exports:
    """Mixin of the estimators: conversion to other packages."""

    n_outputs_: int
    out_activation_: str

    def to_sklearn(self) -> MLPClassifier | MLPRegressor:
        """Return a fitted scikit-learn estimator that predicts the same.

        Returns
        -------
        estimator : MLPClassifier or MLPRegressor
            With copies of the weights, of the other fitted attributes, and of the
            parameters that scikit-learn has. A solver that it does not have is replaced by
            ``base_solver`` or 'adam', another value by the default, such as
            'squared_error' for the loss. This only matters if training continues, which
            starts with a new state of the solver.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If it has several networks, or predicts several quantiles.

        Examples
        --------
        >>> from sksharp import SAMMLPRegressor
        >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 4.0]
        >>> regr = SAMMLPRegressor(n_iter_no_change=2, tol=1, random_state=0).fit(X, y)
        >>> twin = regr.to_sklearn()
        >>> type(twin)
        <class 'sklearn.neural_network._multilayer_perceptron.MLPRegressor'>
        >>> abs(twin.predict(X) - regr.predict(X)).max()
        np.float64(0.0)
        """
        check_is_fitted(self)
        if hasattr(self, "members_"):
            raise ValueError(
                "scikit-learn's estimators have one network, got "
                f"{len(self.members_)} in members_. Convert each of them, "
                "[member.to_sklearn() for member in members_], and average their "
                "predictions, or use to_torch or sksharp.save."
            )
        if self.out_activation_ == ASCENDING:
            raise ValueError(
                "scikit-learn's estimators cannot predict several quantiles, got "
                f"{self.n_outputs_}. Use to_torch or sksharp.save, or fit a "
                "single quantile."
            )
        Twin = MLPClassifier if is_classifier(self) else MLPRegressor
        params = _params_for(Twin, self)
        # copied together, so that shared objects stay shared
        state = {
            name: getattr(self, name)
            for name in SHARED_ATTRIBUTES
            if hasattr(self, name)
        }
        params, state = copy.deepcopy((params, state))
        twin = Twin(**params)
        vars(twin).update(state)
        # the best weights so far, for warm_start with early stopping
        twin._best_coefs = copy.deepcopy(twin.coefs_)
        twin._best_intercepts = copy.deepcopy(twin.intercepts_)
        return twin

    def to_torch(self, *, output_activation: bool = True) -> Module:
        """Return a torch module that predicts the same.

        Parameters
        ----------
        output_activation : bool, default=True
            Whether the module ends with the activation of the output. If False it returns
            logits, for losses such as :class:`torch.nn.CrossEntropyLoss`. Must be True for
            an ensemble, whose probabilities are averaged.

        Returns
        -------
        module : torch.nn.Sequential
            It takes rows of the dtype of ``coefs_``, and returns what ``predict_proba``
            does, or ``predict`` in regression. It is on the CPU, with copies of the
            weights, and trainable. For several networks, a module that averages them.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If ``output_activation`` is False and there are several networks.

        Notes
        -----
        For two classes the network has one output, the logit of the second class. The
        module has two, of which the first is zero, so that it returns both probabilities.

        Examples
        --------
        >>> import torch
        >>> from sksharp import SAMMLPClassifier
        >>> X, y = [[0.0], [1.0], [2.0]], [0, 1, 1]
        >>> clf = SAMMLPClassifier(n_iter_no_change=2, tol=1, random_state=0).fit(X, y)
        >>> module = clf.to_torch()
        >>> probabilities = module(torch.tensor(X, dtype=torch.float64))
        >>> torch.allclose(probabilities, torch.tensor(clf.predict_proba(X)))
        True
        """
        check_is_fitted(self)
        networks: list[Any] = getattr(self, "members_", [self])
        if not output_activation and len(networks) > 1:
            raise ValueError(
                "output_activation=False needs a single network, got "
                f"{len(networks)} in members_: their probabilities are averaged, not "
                "their logits. Convert a member, or set output_activation=True."
            )
        from ..training._sequential import Mean, to_sequential  # imports torch

        has_one_output = self.n_outputs_ == 1
        modules = [
            to_sequential(
                Weights(network.coefs_, network.intercepts_),
                network.activation,
                network.out_activation_,
                is_binary=has_one_output and is_classifier(self),
                is_flat=has_one_output and not is_classifier(self),
                output_activation=output_activation,
            )
            for network in networks
        ]
        return modules[0] if len(modules) == 1 else Mean(modules)


def _params_for(Twin: Any, estimator: Any) -> dict[str, Any]:
    """Return the parameters that scikit-learn's estimator has, all of them valid."""
    params: dict[str, Any] = Twin().get_params(deep=False)
    own = {name: getattr(estimator, name) for name in params}
    chain = read_parameters(estimator).names
    if chain:
        own["solver"] = chain[-1]
    for name, value in own.items():
        with contextlib.suppress(InvalidParameterError):
            validate_parameter_constraints(
                Twin._parameter_constraints, {name: value}, Twin.__name__
            )
            params[name] = value
    return params
