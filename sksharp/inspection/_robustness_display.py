"""Score or loss of estimators against the strength of a perturbation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import validate_params

from .._choices import Choice, suggests
from .._jobs import Array
from ._plotting import color_of, make_axes, names_of, put_legend, style_of_line
from ._robustness import Robustness, mean_of, robustness, std_of

OF_COLUMN = "in standard deviations of a column"
OF_LAYER = "in root mean squares of a layer"
LABELS = {
    "noise": f"Noise, {OF_COLUMN}",
    "rounding": f"Step of rounding, {OF_COLUMN}",
    "shift": f"Shift, {OF_COLUMN}",
    "scale": "Change of scale, as logarithm of the factor",
    "missing": "Share of missing entries",
    "constant": "Share of entries with the mean or most frequent value",
    "swap": "Share of entries from other rows",
    "unseen": "Share of categories never seen",
    "weight_noise": f"Noise of the weights, {OF_LAYER}",
    "weight_rounding": f"Step of the weights, {OF_LAYER}",
}
OF_METRIC = {"metric": [Choice({"score", "loss"})]}


class RobustnessDisplay:
    """Score, or loss, against the strength of a perturbation.

    Make one with :meth:`from_estimators`, :meth:`from_estimator` or
    :meth:`from_results`. All parameters are stored as attributes, sorted by the strength.

    Parameters
    ----------
    strengths : array-like of shape (n_strengths,)
        Strengths.

    scores : array-like of shape (n_estimators, n_strengths, n_repeats)
        Scores.

    names : list of str
        Names of the estimators.

    losses : array-like of shape (n_estimators, n_strengths, n_repeats), default=None
        Losses, NaN for an estimator that has none.

    perturbation : str, default='noise'
        What was perturbed, as of :func:`robustness`, or any other text.

    score_name : str, default='Score'
        Label of the axis of scores.

    loss_name : str, default='Loss'
        Label of the axis of losses.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.

    figure_ : matplotlib Figure
        Its figure.

    lines_ : list of matplotlib Line2D
        The means over the repeats, a line per estimator.

    bands_ : list of (matplotlib FillBetweenPolyCollection or None)
        One standard deviation of the repeats to either side, None if there is one repeat.

    Examples
    --------
    >>> from sksharp import RobustnessDisplay
    >>> display = RobustnessDisplay([1, 0], [[[0.6, 0.7], [0.9, 0.9]]], ["sam"])
    >>> display.strengths, display.scores.shape
    (array([0., 1.]), (1, 2, 2))
    """

    def __init__(
        self,
        strengths: ArrayLike,
        scores: ArrayLike,
        names: Sequence[str],
        *,
        losses: ArrayLike | None = None,
        perturbation: str = "noise",
        score_name: str = "Score",
        loss_name: str = "Loss",
    ) -> None:
        self.names = list(names)
        strengths = np.asarray(strengths, dtype=float)
        order = np.argsort(strengths, kind="stable")
        self.strengths: Array = strengths[order]
        self.scores: Array = self._checked("scores", scores)[:, order]
        self.losses: Array | None = None
        if losses is not None:
            self.losses = self._checked("losses", losses)[:, order]
        self.perturbation = perturbation
        self.score_name, self.loss_name = score_name, loss_name

    def _checked(self, name: str, values: ArrayLike) -> Array:
        found: Array = np.asarray(values, dtype=float)
        shape = (len(self.names), len(self.strengths))
        if found.ndim != 3 or found.shape[:2] != shape or not found.size:
            raise ValueError(
                f"{name} must have the shape (n_estimators, n_strengths, n_repeats), "
                f"{shape} + (n_repeats,), got an array of shape {found.shape}."
            )
        return found

    @suggests
    @validate_params(OF_METRIC, prefer_skip_nested_validation=True)
    def plot(self, ax: Any = None, *, metric: str = "score", **kwargs: Any) -> Self:
        """Draw the curves, with the legend beside the axes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw, None for a new figure.

        metric : str, default='score'
            What to draw, 'score' or 'loss'.

        **kwargs : dict
            Passed to ``plot`` of matplotlib for every line.

        Returns
        -------
        display : RobustnessDisplay
            The object, with the attributes of the drawing.

        Raises
        ------
        ValueError
            If there are no losses to draw: classifiers that predict no probabilities have
            none.
        """
        values = self._values(metric)
        axes, self.figure_ = make_axes(self, ax, 1)
        self.ax_ = ax = axes[0]
        self.lines_: list[Any] = []
        self.bands_: list[Any] = []
        for i, of_estimator in enumerate(values):
            style = {"marker": "o", "ms": 4, "lw": 1.6, "color": color_of(i)}
            style["label"] = self.names[i]
            self._draw(of_estimator, style_of_line(style, kwargs))
        label = LABELS.get(self.perturbation, f"Strength of {self.perturbation}")
        ax.set(
            xlabel=label,
            ylabel=self.score_name if metric == "score" else self.loss_name,
        )
        ax.spines[["top", "right"]].set_visible(False)
        self._add_legend()
        return self

    def _values(self, metric: str) -> Array:
        if metric == "score":
            return self.scores
        if self.losses is None or np.isnan(self.losses).all():
            raise ValueError(
                "metric must be 'score' where there are no losses, got metric='loss'. "
                "Classifiers need predict_proba for a loss, such as that of "
                "CalibratedClassifierCV."
            )
        return self.losses

    def _draw(self, values: Array, style: Mapping[str, Any]) -> None:
        mean, std = mean_of(values), std_of(values)
        self.lines_ += self.ax_.plot(self.strengths, mean, **style)
        band = None
        if values.shape[1] > 1:
            band = self.ax_.fill_between(
                self.strengths,
                mean - std,
                mean + std,
                color=style["color"],
                alpha=0.15,
                lw=0,
            )
        self.bands_.append(band)

    def _add_legend(self) -> None:
        handles, has_bands = list(self.lines_), any(b is not None for b in self.bands_)
        if has_bands:
            from matplotlib.patches import Patch

            label = "± 1 standard deviation\nof the repeats"
            handles.append(Patch(color="0.35", alpha=0.3, lw=0, label=label))
        put_legend(self.ax_, handles=handles)

    @classmethod
    def from_results(
        cls,
        results: Robustness,
        *,
        ax: Any = None,
        metric: str = "score",
        **kwargs: Any,
    ) -> Self:
        """Draw what :func:`robustness` has measured.

        Parameters
        ----------
        results : Robustness
            What :func:`robustness` returned.

        ax : matplotlib Axes, default=None
            As in :meth:`plot`.

        metric : str, default='score'
            As in :meth:`plot`.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : RobustnessDisplay
            The drawing.

        Raises
        ------
        TypeError
            If the results are none of :func:`robustness`.
        """
        if not isinstance(results, Robustness):
            raise TypeError(
                "results must be what robustness returned, got a "
                f"{type(results).__name__}. Draw estimators with from_estimators."
            )
        display = cls(
            results.strengths,
            results.scores,
            results.names,
            losses=results.losses,
            perturbation=results.perturbation,
            score_name=results.score_name,
            loss_name=results.loss_name,
        )
        drawn: Self = display.plot(ax, metric=metric, **kwargs)
        return drawn

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        name: str | None = None,
        metric: str = "score",
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Measure one estimator and draw its curve.

        Parameters
        ----------
        estimator : estimator
            Fitted, as for :func:`robustness`.

        X : {array-like, dataframe, sparse matrix} of shape (n_samples, n_features)
            Rows, usually those of a test set.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.

        name : str or None, default=None
            Name of the curve. None for the estimator's repr.

        metric : str, default='score'
            As in :meth:`plot`.

        ax : matplotlib Axes, default=None
            As in :meth:`plot`.

        **kwargs : dict
            Passed to :func:`robustness`.

        Returns
        -------
        display : RobustnessDisplay
            The drawing.
        """
        names = None if name is None else [name]
        drawn: Self = cls.from_estimators(
            [estimator], X, y, names=names, metric=metric, ax=ax, **kwargs
        )
        return drawn

    @classmethod
    @suggests
    @validate_params(OF_METRIC, prefer_skip_nested_validation=True)
    def from_estimators(
        cls,
        estimators: Sequence[Any] | Mapping[str, Any],
        X: Any,
        y: Any,
        *,
        names: Sequence[str] | None = None,
        metric: str = "score",
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Measure estimators on the same perturbed rows and draw their curves.

        Parameters
        ----------
        estimators : dict of str to estimator, or list of estimators
            Fitted, as for :func:`robustness`.

        X : {array-like, dataframe, sparse matrix} of shape (n_samples, n_features)
            Rows, usually those of a test set.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.

        names : list of str or None, default=None
            Names of the estimators of a list.

        metric : str, default='score'
            As in :meth:`plot`.

        ax : matplotlib Axes, default=None
            As in :meth:`plot`.

        **kwargs : dict
            Passed to :func:`robustness`.

        Returns
        -------
        display : RobustnessDisplay
            The drawing.
        """
        estimators, names = names_of(estimators, names)
        found = replace(robustness(estimators, X, y, **kwargs), names=names)
        return cls.from_results(found, ax=ax, metric=metric)
