"""Scores and losses of fitted models on perturbed rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples, check_is_fitted

from .._choices import Choice, suggests
from .._jobs import Array
from ._data import check_weights, networks_in
from ._evaluation import Measure, Perturbation, score_name
from ._losses import loss_name
from ._perturbations import (
    OF_ENTRIES,
    OF_NUMBERS,
    SEEDS,
    RowFunction,
    RowPerturbation,
)
from ._plotting import names_of
from ._weight_perturbations import OF_WEIGHTS, WeightPerturbation


@dataclass(frozen=True)
class Robustness:
    """Scores and losses under a perturbation, as `robustness` returns them.

    Attributes
    ----------
    perturbation : str
        What was perturbed, the name of a function.

    names : list of str
        Names of the estimators.

    strengths : ndarray of shape (n_strengths,)
        Strengths, in the order in which they were given.

    scores : ndarray of shape (n_estimators, n_strengths, n_repeats)
        Scores.

    losses : ndarray of shape (n_estimators, n_strengths, n_repeats)
        Mean losses: the log-loss of classifiers, in nats, the pinball loss of regressors
        that all predict the same quantiles, in units of the target, the squared error of
        all others, in squared units of the targets. NaN for classifiers that predict no
        probabilities.

    baseline_scores : ndarray of shape (n_estimators,)
        Scores without a perturbation.

    baseline_losses : ndarray of shape (n_estimators,)
        Losses without a perturbation.

    score_name : str
        Name of the score.

    loss_name : str
        Name of the loss.
    """

    perturbation: str
    names: list[str]
    strengths: Array
    scores: Array = field(repr=False)
    losses: Array = field(repr=False)
    baseline_scores: Array = field(repr=False)
    baseline_losses: Array = field(repr=False)
    score_name: str
    loss_name: str

    @property
    def scores_mean(self) -> Array:
        """Mean scores over the repeats, of shape (n_estimators, n_strengths)."""
        return mean_of(self.scores)

    @property
    def scores_std(self) -> Array:
        """Standard deviations of the scores over the repeats, of the same shape."""
        return std_of(self.scores)

    @property
    def losses_mean(self) -> Array:
        """Mean losses over the repeats, of shape (n_estimators, n_strengths)."""
        return mean_of(self.losses)

    @property
    def losses_std(self) -> Array:
        """Standard deviations of the losses over the repeats, of the same shape."""
        return std_of(self.losses)

    def to_frame(self) -> Any:
        """Return a DataFrame with a row per estimator, strength and repeat.

        Returns
        -------
        frame : pandas.DataFrame
            With the columns ``estimator``, ``perturbation``, ``strength``, ``repeat``
            (from 0), ``score`` and ``loss``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "Robustness.to_frame needs pandas, which is not installed. Install it "
                "with pip install pandas, or read scores and losses, which are arrays."
            ) from error
        names, strengths, repeats = np.indices(self.scores.shape).reshape(3, -1)
        return pd.DataFrame(
            {
                "estimator": np.array(self.names, dtype=object)[names],
                "perturbation": self.perturbation,
                "strength": self.strengths[strengths],
                "repeat": repeats,
                "score": self.scores.ravel(),
                "loss": self.losses.ravel(),
            }
        )


def mean_of(values: Array) -> Array:
    """Return the means over the last axis, of equal numbers exactly these."""
    mean: Array = np.where(_are_equal(values), values[..., 0], values.mean(axis=-1))
    return mean


def std_of(values: Array) -> Array:
    """Return the standard deviations over the last axis, of equal numbers exactly 0."""
    std: Array = np.where(_are_equal(values), 0, values.std(axis=-1))
    return std


def _are_equal(values: Array) -> Array:
    are_equal: Array = (values == values[..., :1]).all(axis=-1)
    return are_equal


@suggests
@validate_params(
    {
        "estimator": "no_validation",
        "X": "no_validation",
        "y": "no_validation",
        "perturbation": [Choice({*OF_NUMBERS, *OF_ENTRIES, *OF_WEIGHTS}), callable],
        "strengths": ["array-like", None],
        "features": ["array-like", None],
        "scoring": [str, callable, None],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "sample_weight": ["array-like", None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def robustness(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    perturbation: str | Callable[[Any, float, np.random.RandomState], Any] = "noise",
    strengths: ArrayLike | None = None,
    features: Sequence[Any] | None = None,
    scoring: str | Callable[..., float] | None = None,
    n_repeats: int = 5,
    sample_weight: Any = None,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> Robustness:
    r"""Measure how score and loss of fitted estimators change on perturbed rows.

    The rows are perturbed, the targets are not. A column of ``X`` has entries
    :math:`x`, mean :math:`m` and standard deviation :math:`s`. With the strength
    :math:`c`, a standard normal :math:`z` of every entry, and a random sign :math:`\pm`
    of every column and repeat:

    .. math::
        \text{noise} &: x + c\, s\, z \\
        \text{rounding} &: m + c\, s \operatorname{round}\big((x - m) / (c\, s)\big) \\
        \text{shift} &: x \pm c\, s \\
        \text{scale} &: m + e^{\pm c} (x - m)

    Four others replace entries, each with probability :math:`c`, and two perturb the
    networks instead. With the root mean square :math:`r` of a layer's weights, its
    weights and biases :math:`w` become:

    .. math::
        \text{weight\_noise} &: w + c\, r\, z \\
        \text{weight\_rounding} &: c\, r \operatorname{round}\big(w / (c\, r)\big)

    Parameters
    ----------
    estimator : estimator, dict of str to estimator, or list of estimators
        Fitted classifiers, or fitted regressors, of any library with scikit-learn's
        interface, also pipelines that begin with the raw table. All of them get the
        same perturbed rows, so that their differences are paired. A pipeline transforms
        them once for score and loss.

    X : {array-like, dataframe, sparse matrix} of shape (n_samples, n_features)
        Rows, usually those of a test set: an array, a DataFrame of pandas or polars, a
        table of pyarrow. It is not changed.

    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets.

    perturbation : str or callable, default='noise'
        Perturbation of the rows. Strengths are in units of the column's standard
        deviation, or are shares of its entries.

        - 'noise' adds independent Gaussian noise to every numeric column. Unit: standard
          deviation.
        - 'rounding' rounds numeric columns to steps, counted from the mean. Unit:
          standard deviation.
        - 'shift' moves all of a numeric column up or down. Unit: standard deviation.
        - 'scale' stretches or shrinks numeric columns about their mean, as a changed unit
          does. Unit: natural logarithm of the factor.
        - 'missing' makes entries of all columns missing. Share.
        - 'constant' replaces entries by the mean of a numeric column, and by the most
          frequent value of any other. Share.
        - 'swap' replaces entries of all columns by the value of another row, drawn
          independently for every column. The only one for a sparse ``X``. Share.
        - 'unseen' replaces entries of columns of text and categories by a category that
          is neither present nor declared. Share.
        - 'weight_noise' adds Gaussian noise to all weights and biases of networks
          (this package's and scikit-learn's), wherever they are in an estimator. Unit:
          root mean square of the weights of the layer.
        - 'weight_rounding' rounds them to steps. Unit: the same. ``6 / 2**k`` is the
          step of k bits over three root mean squares to either side.

        A callable takes a copy of ``X``, a strength and a ``numpy.random.RandomState``,
        and returns rows. It is not called for the strength 0.

    strengths : array-like of shape (n_strengths,), default=None
        Strengths, not negative; shares at most 1. 0 is without a perturbation. None is
        six values from 0 to 0.5 for a share, and to 1 otherwise.

    features : list of {int, str}, default=None
        Columns to perturb, by position or name. None is all. Numbers that encode
        categories count as numbers: leave them out. Only used for perturbations of
        columns, given by name.

    scoring : str, callable or None, default=None
        Metric, as in scikit-learn. None is the estimator's ``score``. A callable gets
        the estimator and the rows as they are, so the estimator predicts once more.

    n_repeats : int, default=5
        Number of draws of every strength. In a repeat all strengths and estimators
        share the random numbers. 'rounding' and 'weight_rounding' draw none.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in scores and losses, but not in means and deviations of
        columns.

    n_jobs : int or None, default=None
        Number of parallel jobs, as in joblib. The result does not depend on it.

    random_state : int, RandomState instance or None, default=0
        Draws the perturbations. None draws others in every call. numpy's and torch's
        global generators are never used.

    Returns
    -------
    robustness : Robustness
        Object with the arrays ``scores`` and ``losses`` of shape (n_estimators,
        n_strengths, n_repeats), their ``scores_mean``, ``scores_std``, ``losses_mean``
        and ``losses_std``, ``strengths``, ``names``, ``baseline_scores`` and
        ``baseline_losses``, and the method ``to_frame``.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If an estimator is not fitted.

    TypeError
        If an estimator is neither classifier nor regressor, or has no networks whose
        weights could be perturbed, if ``X`` is no table, or is sparse and the perturbation
        is not for sparse rows.

    ValueError
        If a parameter or the data are not valid, if there is no column to perturb, or if
        an estimator does not take the perturbed rows.

    See Also
    --------
    RobustnessDisplay : The curves of several estimators in one picture.
    sharpness : The rise of the loss around the weights.

    Notes
    -----
    Missing and infinite entries count neither in means nor in standard deviations.
    Missing entries stay missing in the perturbations of numbers. Columns of one value
    stay as they are, and so do booleans, dates, text and categories there. Integers
    become floats, and entries that go missing take the dtype that the library of the
    table has for that. A column of objects is numeric if all that is present are numbers.

    The log-loss is of the probability of the class, summed over labels or outputs if
    there are several, the squared error a mean over the targets, the pinball loss a mean
    over the quantiles. All are means over the rows. A classifier that answers with more
    certainty has more to lose: compare the losses at strength 0 too.

    These perturbations are simple and independent. They tell how much a model relies on
    digits, entries and units being right, and not what a certain change of the world
    would do to it.

    References
    ----------
    D. Hendrycks, T. Dietterich. "Benchmarking neural network robustness to common
    corruptions and perturbations." ICLR 2019. :arxiv:`1903.12261`.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sksharp import robustness
    >>> X, y = load_wine(return_X_y=True)
    >>> forest = RandomForestClassifier(20, random_state=0).fit(X[::2], y[::2])
    >>> found = robustness(forest, X[1::2], y[1::2], strengths=[0, 0.5, 2])
    >>> found.scores.shape
    (1, 3, 5)
    >>> bool(found.scores_mean[0, 0] == forest.score(X[1::2], y[1::2]))
    True
    """
    estimators, names = _estimators_of(estimator)
    n_repeats = int(n_repeats)  # of True, too
    strengths = _check_strengths(perturbation, strengths)
    perturb = _make_perturbation(perturbation, X, features)
    _check_length(X, y)
    sample_weight = check_weights(sample_weight, X)
    if isinstance(perturb, WeightPerturbation):
        _check_networks(perturb, estimators, names)
    measure = Measure(estimators, names, scoring, y, sample_weight)
    seeds = check_random_state(random_state).randint(SEEDS, size=n_repeats)
    baseline = measure(X)
    values = np.empty((len(strengths), n_repeats, *baseline.shape))
    values[strengths == 0] = baseline
    # what draws nothing is the same in all repeats
    tasks = [
        (i, slice(j, j + 1) if perturb.is_random else slice(None))
        for i in np.flatnonzero(strengths)
        for j in range(n_repeats if perturb.is_random else 1)
    ]
    found = Parallel(n_jobs=n_jobs)(
        delayed(measure.perturbed)(X, perturb, strengths[i], seeds[at][0])
        for i, at in tasks
    )
    for (i, at), one in zip(tasks, found, strict=True):
        values[i, at] = one
    scores, losses = values.transpose(2, 3, 0, 1).copy()
    return Robustness(
        perturbation=perturb.name,
        names=names,
        strengths=strengths,
        scores=scores,
        losses=losses,
        baseline_scores=baseline[0],
        baseline_losses=baseline[1],
        score_name=score_name(scoring, estimators),
        loss_name=loss_name(estimators),
    )


def _estimators_of(estimator: Any) -> tuple[list[Any], list[str]]:
    several = isinstance(estimator, Mapping | list | tuple)
    if several and not len(estimator):
        raise ValueError(
            "estimator must hold at least one estimator, got none. Pass one, or a dict or "
            "list of them."
        )
    estimators, names = names_of(estimator if several else [estimator])
    for one in estimators:
        check_is_fitted(one)
        if not hasattr(one, "predict"):
            raise TypeError(
                "estimator must have the method predict, got a "
                f"{type(one).__name__}. Pass a classifier, a regressor or a pipeline that "
                "ends with one."
            )
        kind = get_tags(one).estimator_type
        if kind not in ("classifier", "regressor", None):
            raise TypeError(
                f"estimator must be a classifier or a regressor, got a {kind}, "
                f"{type(one).__name__}. Its predictions are no targets."
            )
    if len({is_classifier(one) for one in estimators}) > 1:
        raise ValueError(
            "estimator must hold classifiers alone or regressors alone, got both. Measure "
            "them in two calls."
        )
    return estimators, names


def _check_length(X: Any, y: Any) -> None:
    if y is None:
        raise ValueError("y must hold the targets of the rows of X, got None.")
    n_rows, n_targets = _num_samples(X), _num_samples(y)
    if n_rows != n_targets:
        raise ValueError(
            f"y must have a target for every row of X, {n_rows}, got {n_targets}. Give "
            "the targets of these rows."
        )


def _check_strengths(perturbation: Any, strengths: ArrayLike | None) -> Array:
    is_share = isinstance(perturbation, str) and perturbation in OF_ENTRIES
    if strengths is None:
        return np.linspace(0, 0.5 if is_share else 1, 6)
    try:
        found: Array = np.array(strengths, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"strengths must hold numbers, got strengths={strengths!r}."
        ) from error
    if found.ndim != 1 or not len(found):
        raise ValueError(
            "strengths must be a list of at least one number, got an array of shape "
            f"{found.shape}."
        )
    highest = 1 if is_share else np.finfo(np.float64).max
    wrong = found[~((found >= 0) & (found <= highest))]
    if len(wrong):
        limits = "from 0 to 1, as shares of the entries," if is_share else "from 0 on"
        raise ValueError(
            f"strengths must be finite numbers {limits} with "
            f"perturbation={perturbation!r}, got {wrong[0]:g}."
        )
    return found


def _make_perturbation(perturbation: Any, X: Any, features: Any) -> Perturbation:
    is_of_columns = isinstance(perturbation, str) and perturbation not in OF_WEIGHTS
    if is_of_columns:
        return RowPerturbation(perturbation, X, features)
    if features is not None:
        raise ValueError(
            "features must be None for perturbations of weights and for functions, got "
            f"features={features!r} with perturbation={perturbation!r}. Leave it out."
        )
    if isinstance(perturbation, str):
        return WeightPerturbation(perturbation)
    return RowFunction(perturbation)


def _check_networks(
    perturb: WeightPerturbation, estimators: Sequence[Any], names: Sequence[str]
) -> None:
    for one, name in zip(estimators, names, strict=True):
        if not networks_in(one):
            raise TypeError(
                f"perturbation={perturb.name!r} needs estimators with networks, fitted "
                "SAMMLPClassifier, SAMMLPRegressor, MLPClassifier or MLPRegressor, got "
                f"{name} without one. Take a perturbation of the rows, such as 'noise'."
            )
