"""Score and loss of fitted estimators, with as few predictions as these take."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, TypeAlias

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.metrics import check_scoring
from sklearn.pipeline import Pipeline

from .._jobs import Array
from ._losses import common_levels, levels_of, make_loss, no_loss
from ._perturbations import RowFunction, RowPerturbation
from ._weight_perturbations import WeightPerturbation

Perturbation: TypeAlias = RowPerturbation | RowFunction | WeightPerturbation

WAYS_OUT = {
    "missing": (
        "Take perturbation='constant', which puts the mean or the most frequent value in "
        "the place of entries, or an estimator that takes missing values."
    ),
    "unseen": (
        "Have the encoder of the categories ignore those of no row of the fit, such as "
        "OneHotEncoder(handle_unknown='ignore')."
    ),
}
OTHER_WAY_OUT = (
    "Name the columns that may change in features, without numbers that are codes of "
    "categories."
)


class Measure:
    """Scores and losses of estimators, of rows as they are or perturbed.

    Parameters
    ----------
    estimators : list of estimators
        Fitted.

    names : list of str
        Their names, for messages.

    scoring : str, callable or None
        The metric.

    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets of the rows.

    sample_weight : array of shape (n_samples,) or None
        Weights of the rows.
    """

    def __init__(
        self,
        estimators: Sequence[Any],
        names: Sequence[str],
        scoring: Any,
        y: Any,
        sample_weight: Array | None,
    ) -> None:
        self.estimators, self.names, self.y = estimators, names, y
        self.scoring = scoring
        self.options = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.scorers = [check_scoring(one, scoring=scoring) for one in estimators]
        levels = common_levels(estimators)
        self.losses = [make_loss(one, y, sample_weight, levels) for one in estimators]

    def __call__(self, X: Any) -> Array:
        """Return scores and losses, of shape (2, n_estimators)."""
        of_each = [self._of(i, one, X) for i, one in enumerate(self.estimators)]
        return np.array(of_each).T

    def perturbed(
        self, X: Any, perturb: Perturbation, strength: float, seed: int
    ) -> Array:
        """Return scores and losses under a perturbation, of shape (2, n_estimators)."""
        if isinstance(perturb, WeightPerturbation):
            # each from the same seed: the others do not matter
            copies = (
                perturb(one, strength, np.random.RandomState(seed))
                for one in self.estimators
            )
            of_each = [self._of(i, one, X) for i, one in enumerate(copies)]
            return np.array(of_each).T
        rows = perturb(X, strength, np.random.RandomState(seed))
        of_each = []
        for i, one in enumerate(self.estimators):
            try:
                of_each.append(self._of(i, one, rows))
            except (TypeError, ValueError) as error:
                raise ValueError(_refusal(perturb, self.names[i], error)) from error
        return np.array(of_each).T

    def _of(self, i: int, estimator: Any, X: Any) -> tuple[float, float]:
        once, rows = predicting_once(estimator, X)
        loss = self.losses[i](once, rows)
        if not np.isfinite(loss) and self.losses[i] is not no_loss:
            raise ValueError(
                f"The predictions of {self.names[i]} must be finite, got a loss of {loss}. "
                "Lower strengths, or see whether the fit has diverged."
            )
        if callable(self.scoring):  # which may look at what it is given
            once, rows = estimator, X
        return float(self.scorers[i](once, rows, self.y, **self.options)), loss


def _refusal(perturb: Perturbation, name: str, error: Exception) -> str:
    way_out = WAYS_OUT.get(perturb.name, OTHER_WAY_OUT)
    if isinstance(perturb, RowFunction):
        way_out = "Return rows like those of X from the function."
    return (
        f"The estimators must take the rows that perturbation={perturb.name!r} makes, got "
        f"an error from {name}. {way_out} The error was: {error}"
    )


# -- one prediction for both ---------------------------------------------------------------


def predicting_once(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return an estimator and rows whose score and loss are those of the ones given.

    A pipeline has its rows transformed, and what it ends with returned. Of the estimator
    it is a shallow copy that remembers what it has predicted for these rows, also where
    its own methods ask for it.
    """
    while type(estimator) is Pipeline and not get_config()["enable_metadata_routing"]:
        for _, step in estimator.steps[:-1]:
            if step is not None and not isinstance(step, str):  # 'passthrough'
                X = step.transform(X)
        estimator = estimator.steps[-1][1]
    Class = type(estimator)
    new: Any = Class.__new__
    if not isinstance(estimator, BaseEstimator) or new is not object.__new__:
        return estimator, X
    once = object.__new__(Class)
    attributes = vars(once)
    attributes.update(vars(estimator))
    for name in ("predict", "predict_proba", "decision_function"):
        if hasattr(once, name):
            attributes[name] = Remembered(getattr(once, name), X)
    return once, X


class Remembered:
    """A method that computes its answer for some rows once.

    Parameters
    ----------
    method : callable
        Predicts for rows.

    X : table or sparse matrix of shape (n_samples, n_features)
        The rows of which the answer is remembered.
    """

    def __init__(self, method: Callable[..., Any], X: Any) -> None:
        update_wrapper(self, method)  # scorers read its name
        self.method, self.X = method, X
        self.answers: list[Any] = []

    def __call__(self, X: Any, **options: Any) -> Any:
        """Return the predictions for rows."""
        if X is not self.X or options:
            return self.method(X, **options)
        if not self.answers:
            self.answers.append(self.method(X))
        return copy.deepcopy(self.answers[0])  # some work on it in place


# -- names ---------------------------------------------------------------------------------


def score_name(scoring: Any, estimators: Sequence[Any]) -> str:
    """Return the name of a metric, of None that of the estimators' ``score``."""
    if isinstance(scoring, str):
        return scoring
    if scoring is not None:
        scoring = getattr(scoring, "_score_func", scoring)  # of make_scorer
        return getattr(scoring, "__name__", "Score")
    names = {_name_of_own_score(one) for one in estimators}
    return names.pop() if len(names) == 1 else "Score"


def _name_of_own_score(estimator: Any) -> str:
    if isinstance(estimator, Pipeline):
        return _name_of_own_score(estimator.steps[-1][1])
    names = {ClassifierMixin.score: "Accuracy", RegressorMixin.score: "R²"}
    own = getattr(type(estimator), "score", None)
    if own in names:
        return names[own]
    if getattr(own, "__module__", "").startswith("sksharp."):  # of regressors
        return "D²" if levels_of(estimator) else "R²"
    scoring = getattr(estimator, "scoring", None)  # of a search
    if scoring is not None:
        several = (scoring, getattr(estimator, "refit", None))
        return next((name for name in several if isinstance(name, str)), "Score")
    if hasattr(estimator, "best_estimator_"):
        return _name_of_own_score(estimator.best_estimator_)
    return "Accuracy" if is_classifier(estimator) else "Score"
