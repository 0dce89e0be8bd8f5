"""scikit-learn's searches, with all networks of a search trained together."""

import contextlib
from numbers import Integral

import numpy as np
from sklearn import get_config
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, check_cv
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_method_params

from ._pickles import VersionStamp
from ._prefetch import Prefetch, find_network, forget_trainer, free_memory
from ._warnings import Counting
from ._watching import search_watchers

# of the memory that is free when the search begins
DEFAULT_SHARE = 1 / 4


class FrozenSplits:
    """A splitter that gives the splits that it gave the first time.

    Parameters
    ----------
    cv : int, splitter, iterable of splits or None
        Parameter of the search.

    is_classification : bool
        Whether folds are stratified by default.
    """

    def __init__(self, cv, is_classification):
        self.cv, self.is_classification = cv, is_classification
        self._splitter = self._splits = None

    def _make(self, y):
        if self._splitter is None:
            self._splitter = check_cv(self.cv, y, classifier=self.is_classification)
        return self._splitter

    def get_n_splits(self, X=None, y=None, **params):
        """Return the number of splits."""
        return self._make(y).get_n_splits(X, y, **params)

    def split(self, X, y=None, **params):
        """Return the splits, drawn once."""
        if self._splits is None:
            self._splits = list(self._make(y).split(X, y, **params))
        return list(self._splits)

    def __getattr__(self, name):
        # metadata requests and the like are those of the splitter
        if name.startswith("__") or "cv" not in vars(self):
            raise AttributeError(name)
        return getattr(self.cv, name)


class VectorizedSearch(VersionStamp):
    """Mixin of scikit-learn's searches that trains before they fit and score."""

    def fit(self, X, y=None, **params):
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
            return super().fit(X, y, **params)
        estimator, cv = self.estimator, self.cv
        budget = self.memory_budget
        if budget is None:
            budget = int(free_memory() * DEFAULT_SHARE)
        prefetch = Prefetch(
            estimator, n_jobs=self.n_jobs, budget=budget, verbose=self.verbose
        )
        frozen = FrozenSplits(cv, is_classifier(estimator))
        self._prefetch = prefetch
        self._train_all = lambda candidates, watch: prefetch.train(
            candidates, *self._what_to_train_on(frozen, X, y, params), watch
        )
        try:
            self.estimator, self.cv = prefetch.estimator, frozen
            with Counting("this search"):
                super().fit(X, y, **params)
        finally:
            self.estimator, self.cv = estimator, cv
            del self._prefetch, self._train_all
            prefetch.close()
            if hasattr(self, "best_estimator_"):  # also one whose fit has failed
                forget_trainer(self.best_estimator_)
        if hasattr(self, "_checked_cv_orig"):
            self._checked_cv_orig = frozen._splitter
        return self

    def _what_to_train_on(self, frozen, X, y, params):
        """Return the splits, the data and the parameters of the estimator's fit."""
        X, y = indexable(X, y)
        routed = self._get_routed_params_for_fit(_check_method_params(X, params=params))
        splits = frozen.split(X, y, **routed.splitter.split)
        return splits, X, y, routed.estimator.fit

    def __getstate__(self):
        state = super().__getstate__()
        # a search that travels to its workers leaves the trainer at home
        return {
            name: value
            for name, value in state.items()
            if name not in ("_prefetch", "_train_all")
        }

    def _run_search(self, evaluate_candidates, *, callback_ctx=None):
        def train_and_evaluate(candidates, *args, **kwargs):
            candidates = list(candidates)
            if "_train_all" in vars(self):
                watch = search_watchers(self, callback_ctx)
                with contextlib.closing(watch):
                    self._train_all(candidates, watch)
            return evaluate_candidates(candidates, *args, **kwargs)

        # scikit-learn 1.9 passes it if it is there to take
        context = {} if callback_ctx is None else {"callback_ctx": callback_ctx}
        super()._run_search(train_and_evaluate, **context)
        if "_prefetch" in vars(self):
            self._prefetch.results.forget()  # the last fit keeps its solver's state

    def _init_callback_context(
        self, task_name="fit", task_id=0, max_subtasks=0, sequential_subtasks=True
    ):
        # the common training is a task beside the search and the last fit
        n_more = 1 if "_train_all" in vars(self) else 0
        return super()._init_callback_context(
            task_name, task_id, max_subtasks + n_more, sequential_subtasks
        )

    def _format_results(self, candidate_params, n_splits, out, more_results=None):
        if "_prefetch" in vars(self):
            # a fit took its share of the common training too
            for place, seconds in self._prefetch.seconds.items():
                k, i = place
                out[k * n_splits + i]["fit_time"] += seconds
        return super()._format_results(candidate_params, n_splits, out, more_results)


class VectorizedGridSearchCV(VectorizedSearch, GridSearchCV):
    """Exhaustive search whose networks are trained together.

    It is :class:`sklearn.model_selection.GridSearchCV`, result for result, and takes a
    fraction of its time where networks are small.

    Parameters
    ----------
    estimator : estimator
        One of this package's, alone, as the last step of a Pipeline, or inside a
        TransformedTargetRegressor. With any other estimator this is a plain search.

    param_grid : dict or list of dict
        Values to try, by parameter.

    scoring : str, callable, list, tuple or dict, default=None
        How to score, as in scikit-learn.

    n_jobs : int or None, default=None
        Processes over which groups of networks, and then the scoring, are spread.
        Groups get smaller with it, and the last digits of weights may then be others.

    refit : bool, str or callable, default=True
        Whether, and by which score, to fit the best candidate on all rows.

    cv : int, splitter, iterable of splits or None, default=None
        Splits, as in scikit-learn.

    verbose : int, default=0
        How much to print. From 1 on, also how many networks are trained.

    pre_dispatch : int or str, default='2*n_jobs'
        Fits that are sent to the processes ahead.

    error_score : 'raise' or float, default=np.nan
        Score of a candidate whose fit fails.

    return_train_score : bool, default=False
        Whether to score on the rows of the fit too.

    memory_budget : int or None, default=None
        Bytes to use at most for data and networks that wait for their training or for
        their score; a training itself and scikit-learn's copies of a split come on top.
        None for a quarter of what is free when the search begins. More splits than fit
        are trained one after another.

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
        Its place in ``cv_results_``.

    scorer_ : callable or dict
        What scored.

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
    The networks of candidates and splits that agree in architecture, solver, minibatches
    and dtype are trained together, whatever else differs: the radius, the penalty, the
    learning rate, the seed, the epoch at which training stops. Everything else is the
    search's own: each candidate is then fitted and scored as always, and finds its
    network trained. A candidate that cannot be trained before (another estimator,
    ``solver='lbfgs'``, callbacks of its own, a callable ``scoring``, ``rho='auto'`` or
    several members) is trained then.

    Warnings of the networks that are the same come once, with their number. Those of
    other processes (``n_jobs``) are printed there.

    With ``random_state=None`` every fit is a draw of its own, as always, but the networks
    of a split see the rows in the same order, and equal candidates are one draw.

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

    _parameter_constraints: dict = {
        **GridSearchCV._parameter_constraints,
        "memory_budget": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        error_score=np.nan,
        return_train_score=False,
        memory_budget=None,
    ):
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
    """Randomized search whose networks are trained together.

    It is :class:`sklearn.model_selection.RandomizedSearchCV`, result for result, and
    takes a fraction of its time where networks are small.

    Parameters
    ----------
    estimator : estimator
        One of this package's, alone, as the last step of a Pipeline, or inside a
        TransformedTargetRegressor. With any other estimator this is a plain search.

    param_distributions : dict or list of dict
        Values or distributions to draw from, by parameter.

    n_iter : int, default=10
        Number of candidates.

    scoring : str, callable, list, tuple or dict, default=None
        How to score, as in scikit-learn.

    n_jobs : int or None, default=None
        Processes over which groups of networks, and then the scoring, are spread.
        Groups get smaller with it, and the last digits of weights may then be others.

    refit : bool, str or callable, default=True
        Whether, and by which score, to fit the best candidate on all rows.

    cv : int, splitter, iterable of splits or None, default=None
        Splits, as in scikit-learn.

    verbose : int, default=0
        How much to print. From 1 on, also how many networks are trained.

    pre_dispatch : int or str, default='2*n_jobs'
        Fits that are sent to the processes ahead.

    random_state : int, RandomState instance or None, default=None
        Draws the candidates.

    error_score : 'raise' or float, default=np.nan
        Score of a candidate whose fit fails.

    return_train_score : bool, default=False
        Whether to score on the rows of the fit too.

    memory_budget : int or None, default=None
        Bytes to use at most for data and networks that wait for their training or for
        their score; a training itself and scikit-learn's copies of a split come on top.
        None for a quarter of what is free when the search begins. More splits than fit
        are trained one after another.

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
        Its place in ``cv_results_``.

    scorer_ : callable or dict
        What scored.

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

    _parameter_constraints: dict = {
        **RandomizedSearchCV._parameter_constraints,
        "memory_budget": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator,
        param_distributions,
        *,
        n_iter=10,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        random_state=None,
        error_score=np.nan,
        return_train_score=False,
        memory_budget=None,
    ):
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
