"""scikit-learn's searches, with their networks trained together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import get_config
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_method_params

from .._version import VersionStamp
from .._warnings import Counting
from ..observers._observers import Observers, search_observers
from ._cache import free_memory
from ._pretraining import Pretraining
from ._results import find_network, remove_trainer

# of the memory that is free when the search starts
MEMORY_SHARE = 1 / 4

# attributes that live as long as fit does
TRANSIENT = ("_pretraining", "_pretrain")


class FrozenSplits:
    """A splitter that draws its splits once and returns them in every call.

    Parameters
    ----------
    cv : int, splitter, iterable of splits or None
        Parameter of the search.

    is_classification : bool
        Whether folds are stratified by default.
    """

    def __init__(self, cv: Any, is_classification: bool) -> None:
        self.cv, self.is_classification = cv, is_classification
        self._splitter: Any = None
        self._splits: list[Any] | None = None

    def _resolve(self, y: Any) -> Any:
        if self._splitter is None:
            self._splitter = check_cv(self.cv, y, classifier=self.is_classification)
        return self._splitter

    def get_n_splits(self, X: Any = None, y: Any = None, **params: Any) -> int:
        """Return the number of splits."""
        n_splits: int = self._resolve(y).get_n_splits(X, y, **params)
        return n_splits

    def split(self, X: Any, y: Any = None, **params: Any) -> list[Any]:
        """Return the splits."""
        if self._splits is None:
            self._splits = list(self._resolve(y).split(X, y, **params))
        return list(self._splits)

    def __getattr__(self, name: str) -> Any:
        # metadata requests and the like are those of the splitter
        if name.startswith("__") or "cv" not in vars(self):
            raise AttributeError(name)
        return getattr(self.cv, name)


class VectorizedSearch(VersionStamp, BaseSearchCV):
    """Base of the searches that train all networks before they fit and score."""

    estimator: Any
    cv: Any

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Train, fit and score all candidates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets.

        **params : dict of str to object
            Parameters of the estimator's fit, the scorer and the splitter.

        Returns
        -------
        self : object
            The search.

        Raises
        ------
        KeyboardInterrupt
            If the user interrupts the common training.
        """
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()
        if find_network(self.estimator) is None:
            super().fit(X, y, **params)
            return self
        estimator, cv = self.estimator, self.cv
        budget = self.memory_budget
        if budget is None:
            budget = int(free_memory() * MEMORY_SHARE)
        pretraining = Pretraining(
            estimator, n_jobs=self.n_jobs, budget=budget, verbose=self.verbose
        )
        frozen = FrozenSplits(cv, is_classifier(estimator))
        self._pretraining = pretraining
        self._pretrain = lambda candidates, observer: pretraining.train(
            candidates, *self._training_data(frozen, X, y, params), observer
        )
        try:
            self.estimator, self.cv = pretraining.estimator, frozen
            with Counting("this search"):
                super().fit(X, y, **params)
        finally:
            self.estimator, self.cv = estimator, cv
            del self._pretraining, self._pretrain
            pretraining.close()
            if hasattr(self, "best_estimator_"):  # also one whose fit has failed
                remove_trainer(self.best_estimator_)
        if hasattr(self, "_checked_cv_orig"):
            self._checked_cv_orig = frozen._splitter
        return self

    def _training_data(
        self, frozen: FrozenSplits, X: Any, y: Any, params: dict[str, Any]
    ) -> tuple[list[Any], Any, Any, dict[str, Any]]:
        """Return the splits, the data and the parameters of the estimator's fit."""
        X, y = indexable(X, y)
        routed = self._get_routed_params_for_fit(_check_method_params(X, params=params))
        splits = frozen.split(X, y, **routed.splitter.split)
        return splits, X, y, routed.estimator.fit

    def __getstate__(self) -> dict[str, Any]:
        # the workers of a search need no trainer
        state = super().__getstate__().items()
        return {name: value for name, value in state if name not in TRANSIENT}

    def _run_search(
        self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any = None
    ) -> None:
        def train_and_evaluate(
            candidates: Iterable[dict[str, Any]], *args: Any, **kwargs: Any
        ) -> Any:
            candidates = list(candidates)
            if "_pretrain" in vars(self):
                observer: Observers = search_observers(self, callback_ctx)
                with contextlib.closing(observer):
                    self._pretrain(candidates, observer)
            return evaluate_candidates(candidates, *args, **kwargs)

        # scikit-learn 1.9 passes the context, older versions do not take it
        context = {} if callback_ctx is None else {"callback_ctx": callback_ctx}
        super()._run_search(train_and_evaluate, **context)
        if "_pretraining" in vars(self):
            # the last fit is to train itself: it keeps its solver's state
            self._pretraining.results.clear()

    def _init_callback_context(
        self,
        task_name: str = "fit",
        task_id: int = 0,
        max_subtasks: int = 0,
        sequential_subtasks: bool = True,
    ) -> Any:
        # the common training is a task beside the search and the last fit
        n_more = 1 if "_pretrain" in vars(self) else 0
        return super()._init_callback_context(
            task_name, task_id, max_subtasks + n_more, sequential_subtasks
        )

    def _format_results(
        self,
        candidate_params: list[dict[str, Any]],
        n_splits: int,
        out: list[dict[str, Any]],
        more_results: Any = None,
    ) -> Any:
        if "_pretraining" in vars(self):
            # the time of a fit includes its share of the common training
            for (k, i), seconds in self._pretraining.seconds.items():
                out[k * n_splits + i]["fit_time"] += seconds
        return super()._format_results(candidate_params, n_splits, out, more_results)


class VectorizedGridSearchCV(VectorizedSearch, GridSearchCV):
    """Grid search that trains its networks together.

    The results are those of :class:`sklearn.model_selection.GridSearchCV`, in a
    fraction of its time for small networks.

    Parameters
    ----------
    estimator : estimator
        Estimator of this package, alone, as the last step of a Pipeline, or inside a
        TransformedTargetRegressor. Any other estimator is searched as in scikit-learn.

    param_grid : dict or list of dict
        Values to try, by parameter.

    scoring : str, callable, list, tuple or dict, default=None
        Score, as in scikit-learn.

    n_jobs : int or None, default=None
        Number of processes for groups of networks, and then for the scoring. More
        processes make smaller groups, which may change the last digits of weights.

    refit : bool, str or callable, default=True
        Whether, and by which score, to fit the best candidate on all rows.

    cv : int, splitter, iterable of splits or None, default=None
        Splits, as in scikit-learn.

    verbose : int, default=0
        Amount to print. From 1 on, also how many networks are trained.

    pre_dispatch : int or str, default='2*n_jobs'
        Fits that are sent to the processes ahead.

    error_score : 'raise' or float, default=np.nan
        Score of a candidate whose fit fails.

    return_train_score : bool, default=False
        Whether to score on the rows of the fit too.

    memory_budget : int or None, default=None
        Largest number of bytes for data and networks that wait for training or scoring.
        A training itself and scikit-learn's copies of a split are not counted. None is a
        quarter of the memory that is free at the start. Splits that do not fit are
        trained one after another.

    Attributes
    ----------
    cv_results_ : dict of str to array
        Scores and times of all candidates. The time of a fit includes its share of the
        common training.

    best_estimator_ : estimator
        The best candidate, fitted on all rows. Only set when ``refit`` is not False.

    best_score_ : float
        Mean score of the best candidate.

    best_params_ : dict
        Its parameters.

    best_index_ : int
        Its index in ``cv_results_``.

    scorer_ : callable or dict
        The scorer, or several by name.

    n_splits_ : int
        Number of splits.

    refit_time_ : float
        Seconds of the last fit.

    multimetric_ : bool
        Whether there are several scores.

    classes_ : ndarray of shape (n_classes,)
        Class labels, for a classifier.

    n_features_in_ : int
        Number of features.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if there are any.

    See Also
    --------
    VectorizedRandomizedSearchCV : Draws the candidates.

    Notes
    -----
    Networks that agree in architecture, solver, minibatches and dtype are trained
    together, over candidates and splits. They may differ in the radius, the penalty, the
    learning rate, the seed and the epoch at which training stops. scikit-learn then fits
    and scores each candidate as always, and the fit takes the trained network. A
    candidate that cannot be trained before (another estimator, ``solver='lbfgs'``,
    ``callbacks``, a callable ``scoring``, ``rho='auto'`` or several members) is trained
    in its own fit.

    Equal warnings of several networks are given once, with their number. Those of other
    processes (``n_jobs``) are printed there.

    With ``random_state=None`` every fit draws anew, as always, but the networks of a
    split see the rows in the same order, and equal candidates share one draw.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksharp import SAMMLPClassifier, VectorizedGridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SAMMLPClassifier((16,), batch_size=20, learning_rate_init=0.02,
    ...                        tol=0.01, random_state=0)
    >>> search = VectorizedGridSearchCV(clf, {"rho": [0.0, 0.1, 0.2]}, cv=3)
    >>> sorted(search.fit(X, y).best_params_)
    ['rho']
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **GridSearchCV._parameter_constraints,
        "memory_budget": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., Any] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: str | float = np.nan,
        return_train_score: bool = False,
        memory_budget: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.memory_budget = memory_budget


class VectorizedRandomizedSearchCV(VectorizedSearch, RandomizedSearchCV):
    """Randomized search that trains its networks together.

    The results are those of :class:`sklearn.model_selection.RandomizedSearchCV`, in a
    fraction of its time for small networks.

    Parameters
    ----------
    estimator : estimator
        Estimator of this package, alone, as the last step of a Pipeline, or inside a
        TransformedTargetRegressor. Any other estimator is searched as in scikit-learn.

    param_distributions : dict or list of dict
        Values or distributions to draw from, by parameter.

    n_iter : int, default=10
        Number of candidates.

    scoring : str, callable, list, tuple or dict, default=None
        Score, as in scikit-learn.

    n_jobs : int or None, default=None
        Number of processes for groups of networks, and then for the scoring. More
        processes make smaller groups, which may change the last digits of weights.

    refit : bool, str or callable, default=True
        Whether, and by which score, to fit the best candidate on all rows.

    cv : int, splitter, iterable of splits or None, default=None
        Splits, as in scikit-learn.

    verbose : int, default=0
        Amount to print. From 1 on, also how many networks are trained.

    pre_dispatch : int or str, default='2*n_jobs'
        Fits that are sent to the processes ahead.

    random_state : int, RandomState instance or None, default=None
        Draws the candidates.

    error_score : 'raise' or float, default=np.nan
        Score of a candidate whose fit fails.

    return_train_score : bool, default=False
        Whether to score on the rows of the fit too.

    memory_budget : int or None, default=None
        Largest number of bytes for data and networks that wait for training or scoring.
        A training itself and scikit-learn's copies of a split are not counted. None is a
        quarter of the memory that is free at the start. Splits that do not fit are
        trained one after another.

    Attributes
    ----------
    cv_results_ : dict of str to array
        Scores and times of all candidates. The time of a fit includes its share of the
        common training.

    best_estimator_ : estimator
        The best candidate, fitted on all rows. Only set when ``refit`` is not False.

    best_score_ : float
        Mean score of the best candidate.

    best_params_ : dict
        Its parameters.

    best_index_ : int
        Its index in ``cv_results_``.

    scorer_ : callable or dict
        The scorer, or several by name.

    n_splits_ : int
        Number of splits.

    refit_time_ : float
        Seconds of the last fit.

    multimetric_ : bool
        Whether there are several scores.

    classes_ : ndarray of shape (n_classes,)
        Class labels, for a classifier.

    n_features_in_ : int
        Number of features.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if there are any.

    See Also
    --------
    VectorizedGridSearchCV : Tries all candidates of a grid. Its notes hold here too.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sksharp import SAMMLPClassifier, VectorizedRandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SAMMLPClassifier((8,), solver="adam", learning_rate_init=0.05,
    ...                        tol=0.01, random_state=0)
    >>> search = VectorizedRandomizedSearchCV(
    ...     clf, {"alpha": loguniform(1e-4, 0.1)}, n_iter=4, cv=3, random_state=0)
    >>> bool(search.fit(X, y).best_score_ > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **RandomizedSearchCV._parameter_constraints,
        "memory_budget": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., Any] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: int | np.random.RandomState | None = None,
        error_score: str | float = np.nan,
        return_train_score: bool = False,
        memory_budget: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.memory_budget = memory_budget
