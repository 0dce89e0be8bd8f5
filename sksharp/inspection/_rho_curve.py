"""The score or loss against the radius."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .._jobs import Array
from ._data import check_network
from ._plotting import COLORS, make_axes, put_legend, style_of_line

# smallest distance of two labels of the axis, as a share of its width
LABEL_DISTANCE = 0.1


class RhoCurveDisplay:
    """Score, or loss, against the radius ``rho``.

    Make one with :meth:`from_cv_results`, of a search over ``rho``, or with
    :meth:`from_estimator`, of an estimator with ``rho='auto'``. All parameters are stored
    as attributes, sorted by the radius.

    Parameters
    ----------
    rho : array-like of shape (n_radii,)
        Radii. The axis is logarithmic, and linear between 0 and the smallest other one.

    scores : array-like of shape (n_radii,)
        Mean scores, or losses.

    std : array-like of shape (n_radii,) or None, default=None
        Standard deviation of the scores over the folds.

    errors : array-like of shape (n_radii,) or None, default=None
        Standard errors of the scores, drawn as bars.

    chosen_rho : float or None, default=None
        Radius to mark.

    best_rho : float or None, default=None
        Radius to mark as the best, if it is not the chosen one.

    baseline : float or None, default=None
        Score of the base solver, for a horizontal line. None for that of ``rho=0``, if it
        is among the radii and was trained to the end.

    is_complete : array-like of bool of shape (n_radii,) or None, default=None
        Whether a radius was trained to the end. The others have hollow marks and no
        line: a loss after fewer epochs is not comparable.

    score_name : str, default="Score"
        Label of the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.

    figure_ : matplotlib Figure
        Its figure.

    lines_ : list of matplotlib Line2D
        The curve, through the radii that were trained to the end, and, if there is one,
        the line of the base solver.

    Examples
    --------
    >>> from sksharp import RhoCurveDisplay
    >>> display = RhoCurveDisplay([0.5, 0, 0.1], [0.8, 0.7, 0.75])
    >>> display.rho, display.baseline
    (array([0. , 0.1, 0.5]), 0.7)
    """

    _baseline_name = "base solver (rho=0)"

    def __init__(
        self,
        rho: ArrayLike,
        scores: ArrayLike,
        *,
        std: ArrayLike | None = None,
        errors: ArrayLike | None = None,
        chosen_rho: float | None = None,
        best_rho: float | None = None,
        baseline: float | None = None,
        is_complete: ArrayLike | None = None,
        score_name: str = "Score",
    ) -> None:
        rho = np.asarray(rho, dtype=float)
        order = np.argsort(rho)
        self.rho = rho[order]
        self.scores = np.asarray(scores, dtype=float)[order]
        self.std = None if std is None else np.asarray(std, dtype=float)[order]
        self.errors = None if errors is None else np.asarray(errors, dtype=float)[order]
        self.chosen_rho, self.best_rho = chosen_rho, best_rho
        if is_complete is None:
            is_complete = np.ones(len(rho), dtype=bool)
        self.is_complete = np.asarray(is_complete, dtype=bool)[order]
        # a radius that was dropped early is not comparable
        if baseline is None and len(rho) and self.rho[0] == 0 and self.is_complete[0]:
            baseline = self.scores[0].item()
        self.baseline = baseline
        self.score_name = score_name

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the curve, with the legend beside the axes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw, None for a new figure.

        **kwargs : dict
            Passed to ``plot`` of matplotlib for the curve.

        Returns
        -------
        display : RhoCurveDisplay
            The object, with the attributes of the drawing.
        """
        (ax,), self.figure_ = make_axes(self, ax, 1, size=(8.6, 4.2))
        self.ax_ = ax
        self._scale_axis()
        finite = np.where(np.isfinite(self.scores), self.scores, np.nan)
        defaults = {"color": COLORS[0], "lw": 1.6, "label": "mean", "zorder": 2}
        style = style_of_line(defaults, kwargs)
        full = self.is_complete
        if full.sum() < 2 < len(full):  # a line of one point needs no name
            style["label"] = kwargs.get("label")
        if self.std is not None:
            ax.fill_between(
                self.rho[full],
                (finite - self.std)[full],
                (finite + self.std)[full],
                color=style["color"],
                alpha=0.15,
                lw=0,
                label="± 1 standard deviation\nof the folds",
            )
        if self.errors is not None:
            ax.errorbar(
                self.rho,
                finite,
                self.errors,
                fmt="none",
                ecolor=style["color"],
                capsize=4,
                label="± 1 standard error",
            )
        self.lines_ = ax.plot(self.rho[full], finite[full], **style)
        for shown, mfc, label in [
            (full, style["color"], None if full.all() else "trained to the end"),
            (~full, "white", "given up early"),
        ]:
            if shown.any():
                ax.plot(
                    self.rho[shown],
                    finite[shown],
                    "o",
                    mec=style["color"],
                    mfc=mfc,
                    label=label,
                    zorder=3,
                )
        if self.baseline is not None:
            self.lines_.append(
                ax.axhline(
                    self.baseline,
                    color="0.35",
                    ls="--",
                    lw=1.3,
                    label=self._baseline_name,
                )
            )
        self._mark(finite)
        ax.set(xlabel="rho", ylabel=self.score_name)
        ax.spines[["top", "right"]].set_visible(False)
        put_legend(ax)
        return self

    def _mark(self, scores: Array) -> None:
        """Mark the chosen radius and the best."""
        marks = [(self.chosen_rho, "o", "chosen")]
        if self.best_rho != self.chosen_rho:
            marks.append((self.best_rho, "s", "best when compared"))
        for color, (rho, marker, name) in zip(COLORS[1:], marks, strict=False):
            if rho is None:
                continue
            at = np.argmin(np.abs(self.rho - rho))
            self.ax_.plot(
                self.rho[at],
                scores[at],
                marker,
                ms=14,
                mfc="none",
                mec=color,
                mew=2,
                ls="none",
                label=f"{name}, rho={rho:.3g}",
                zorder=4,
            )

    def _scale_axis(self) -> None:
        positive = self.rho[self.rho > 0]
        if len(positive):
            steps = np.diff(np.log10(np.unique(positive)))
            # 0 lies one step of the grid to the left of the smallest radius
            width = np.median(steps) if len(steps) else 0.5
            self.ax_.set_xscale(
                "symlog", linthresh=positive[0], linscale=max(0.25, width) * 0.9
            )
            reach = 10 ** (0.3 * max(0.25, width))
            left = -0.3 * positive[0] if self.rho[0] == 0 else positive[0] / reach
            self.ax_.set_xlim(left, positive[-1] * reach)
        self.ax_.set_xticks(self._labeled(), minor=False)
        self.ax_.set_xticks([], minor=True)
        self.ax_.xaxis.set_major_formatter(lambda rho, position: f"{rho:.3g}")

    def _labeled(self) -> list[float]:
        """Return the radii whose labels do not touch."""
        low, high = self.ax_.get_xlim()
        scale = self.ax_.xaxis.get_transform().transform
        ends = scale(np.array([low, high]))
        positions = (scale(self.rho) - ends[0]) / (ends[1] - ends[0])
        labeled: list[tuple[float, float]] = []
        for rho, position in zip(self.rho, positions, strict=True):
            if not labeled or position - labeled[-1][1] >= LABEL_DISTANCE:
                labeled.append((rho, position))
        return [rho for rho, _ in labeled]

    @classmethod
    def from_cv_results(
        cls,
        search: Any,
        *,
        param: str | None = None,
        scoring: str | None = None,
        negate_score: bool = False,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the scores of a search over ``rho``.

        Parameters
        ----------
        search : GridSearchCV, VectorizedGridSearchCV or dict
            Fitted search, or its ``cv_results_``. Of several candidates with the same
            radius, the best counts.

        param : str or None, default=None
            Parameter that is the radius. None for the one that is ``rho`` or ends with
            ``__rho``.

        scoring : str or None, default=None
            Metric. None for the only one, or for that by which the search refitted.

        negate_score : bool, default=False
            Whether to draw minus the score, for metrics such as 'neg_log_loss'.

        ax : matplotlib Axes, default=None
            Where to draw, None for a new figure.

        **kwargs : dict
            Passed to the constructor: ``baseline``, ``score_name``.

        Returns
        -------
        display : RhoCurveDisplay
            The drawing.

        Raises
        ------
        ValueError
            If there is no such parameter or metric.
        """
        results = search
        if not isinstance(search, dict):
            check_is_fitted(search)
            results = search.cv_results_
            refit = getattr(search, "refit", None)
            if scoring is None and isinstance(refit, str):
                scoring = refit
        column = _radius_column(results, param)
        metric = _metric(results, scoring)
        radii = np.asarray(results[column], dtype=float)
        means = np.asarray(results[f"mean_test_{metric}"], dtype=float)
        best = [
            max(
                np.flatnonzero(radii == rho),
                key=lambda i: np.nan_to_num(means[i], nan=-np.inf),
            )
            for rho in np.unique(radii)
        ]
        sign = -1 if negate_score else 1
        name = "score" if metric == "score" else metric
        options: dict[str, Any] = {
            "score_name": f"Minus {name}" if negate_score else f"Mean test {name}",
            "chosen_rho": radii[np.argmin(results[f"rank_test_{metric}"])].item(),
        }
        display = cls(
            radii[best],
            sign * means[best],
            std=np.asarray(results[f"std_test_{metric}"])[best],
            **{**options, **kwargs},
        )
        return display.plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: Literal["loss", "difference"] = "loss",
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the losses, or scores, of the choice by ``rho='auto'``.

        Parameters
        ----------
        estimator : SAMMLPClassifier or SAMMLPRegressor
            Fitted with ``rho='auto'``.

        kind : {'loss', 'difference'}, default='loss'
            'loss' draws the losses, or scores, at the end of the training of each
            radius. 'difference' draws the criterion of the choice: each loss minus the
            lowest at the last comparison of the radius (``rho_differences_``), with
            bars of a standard error (``rho_standard_errors_``). Of the radii that were
            compared last, the largest is chosen whose bar reaches 0 and whose loss is
            at most 5 % above the lowest.

        ax : matplotlib Axes, default=None
            Where to draw, None for a new figure.

        **kwargs : dict
            Passed to the constructor: ``baseline``, ``score_name``.

        Returns
        -------
        display : RhoCurveDisplay
            The drawing. Radii that were dropped early have hollow marks without a line:
            their losses are of fewer epochs (``rho_epochs_``).

        Raises
        ------
        ValueError
            If the radius was not chosen by the estimator, or not by a loss with
            ``kind='difference'``.
        TypeError
            If it is not a network, such as a Pipeline: pass its last step.
        """
        if not hasattr(
            estimator, "cv_results_"
        ):  # the error below names from_cv_results
            check_network(estimator)
        if not hasattr(estimator, "rho_grid_"):
            raise ValueError(
                "The estimator must have chosen its radius, got one without rho_grid_. Fit "
                "it with rho='auto' on at least 100 rows or with cv, or draw a search "
                "with from_cv_results."
            )
        epochs = estimator.rho_epochs_
        is_scored = hasattr(estimator, "rho_scores_")
        options: dict[str, Any] = {
            "score_name": f"{'Score' if is_scored else 'Loss'} of the left-out rows",
            "chosen_rho": float(estimator.rho_),
            "is_complete": epochs == epochs.max(),
        }
        values = estimator.rho_scores_ if is_scored else estimator.rho_losses_
        if kind not in ("loss", "difference"):
            raise ValueError(f"kind must be 'loss' or 'difference', got kind={kind!r}.")
        has_differences = hasattr(estimator, "rho_differences_")
        if has_differences:
            best = np.argmin(estimator.rho_differences_)
            options["best_rho"] = float(estimator.rho_grid_[best])
        if kind == "difference":
            if not has_differences:
                raise ValueError(
                    "kind='difference' needs a radius that was chosen by a loss, got an "
                    "estimator without rho_differences_. Draw kind='loss'."
                )
            values = estimator.rho_differences_
            options["errors"] = estimator.rho_standard_errors_
            options["score_name"] = "Loss above the lowest, when last compared"
            options["baseline"] = 0.0
            del options["is_complete"]
        display = cls(estimator.rho_grid_, values, **{**options, **kwargs})
        if kind == "loss":
            return display.plot(ax)
        display._baseline_name = "lowest loss"
        # no line: some were last compared after 5 % of the epochs, others after 10 %
        return display.plot(ax, ls="none", label="_nolegend_")


def _radius_column(results: Mapping[str, Any], param: str | None) -> str:
    columns = [name for name in results if name.startswith("param_")]
    if param is None:
        found = [c for c in columns if c == "param_rho" or c.endswith("__rho")]
    else:
        found = [c for c in columns if c == f"param_{param}"]
    if len(found) != 1:
        raise ValueError(
            "param must name the one parameter of the search that is the radius, got "
            f"param={param!r}. The search has {[c[len('param_') :] for c in columns]}."
        )
    return found[0]


def _metric(results: Mapping[str, Any], scoring: str | None) -> str:
    prefix = "mean_test_"
    metrics = [name[len(prefix) :] for name in results if name.startswith(prefix)]
    if scoring is None and len(metrics) == 1:
        return metrics[0]
    # a search by one metric calls it score, whatever it is
    if scoring not in metrics:
        raise ValueError(f"scoring must be one of {metrics}, got scoring={scoring!r}.")
    return scoring
