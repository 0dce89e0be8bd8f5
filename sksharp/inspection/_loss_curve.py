"""The losses and scores of the epochs of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .._jobs import Array
from ..estimators._state import state_of
from ._data import check_network, networks_of
from ._plotting import (
    color_of,
    label_log_axis,
    make_axes,
    names_of,
    put_legend,
    style_of_line,
)
from ._scores import epochs_of_scores, name_of_scores

# the share of the epochs that are the first, as a divisor
FIRST = 5


class LossCurveDisplay:
    """Training loss and validation score of every epoch.

    Make one with :meth:`from_estimator` or :meth:`from_estimators`. All parameters are
    stored as attributes.

    Parameters
    ----------
    loss_curves : list of array-like of shape (n_epochs,)
        Losses of the epochs, a curve per network.

    names : list of str
        Names of the curves.

    validation_scores : list of (array-like of shape (n_scores,) or None), default=None
        Scores of rows that were left out. None for a network that has none.

    validation_epochs : list of (array-like of shape (n_scores,) or None), default=None
        Epochs after which they were taken, counted from 1. None for every epoch.

    averaging_starts : list of (int or None), default=None
        Epochs after which weight averaging began.

    score_name : str, default="Validation score"
        Label of the axis of scores.

    Attributes
    ----------
    best_epochs_ : list of (int or None)
        Epoch of the best validation score.

    ax_ : matplotlib Axes
        The panel of the losses.

    axes_ : ndarray of matplotlib Axes
        All panels: the losses and, if there are any, the scores.

    figure_ : matplotlib Figure
        Their figure.

    lines_ : list of matplotlib Line2D
        The loss curves.

    score_lines_ : list of (matplotlib Line2D or None)
        The curves of scores.

    Examples
    --------
    >>> from sksharp import LossCurveDisplay
    >>> display = LossCurveDisplay(
    ...     [[0.9, 0.5, 0.4]], ["sam"], validation_scores=[[0.6, 0.8, 0.7]])
    >>> display.best_epochs_
    [2]
    """

    def __init__(
        self,
        loss_curves: Sequence[ArrayLike],
        names: Sequence[str],
        *,
        validation_scores: Sequence[Any] | None = None,
        validation_epochs: Sequence[Any] | None = None,
        averaging_starts: Sequence[int | None] | None = None,
        score_name: str = "Validation score",
    ) -> None:
        nothing: list[Any] = [None] * len(loss_curves)
        self.loss_curves = [np.asarray(curve, dtype=float) for curve in loss_curves]
        self.names = list(names)
        self.validation_scores = list(validation_scores or nothing)
        epochs = list(validation_epochs or nothing)
        self.validation_epochs = [
            np.arange(1, len(scores) + 1) if of is None and scores is not None else of
            for of, scores in zip(epochs, self.validation_scores, strict=True)
        ]
        self.averaging_starts = list(averaging_starts or nothing)
        self.score_name = score_name
        self.best_epochs_ = [
            None if scores is None else int(of[np.nanargmax(scores)])
            for of, scores in zip(
                self.validation_epochs, self.validation_scores, strict=True
            )
        ]

    def plot(self, ax: Any = None, *, log_scale: bool = False, **kwargs: Any) -> Self:
        """Draw the curves, with the legend beside the axes.

        Where the scores of the first epochs would take up most of the axis of scores, it
        leaves them out.

        Parameters
        ----------
        ax : matplotlib Axes or array of two, default=None
            Where to draw: the losses, and the scores in a second panel. With one only,
            the losses alone. None for a new figure.

        log_scale : bool, default=False
            Whether the axis of losses is logarithmic.

        **kwargs : dict
            Passed to ``plot`` of matplotlib for every curve.

        Returns
        -------
        display : LossCurveDisplay
            The object, with the attributes of the drawing.
        """
        has_scores = any(scores is not None for scores in self.validation_scores)
        n_panels = 1 + has_scores
        if ax is not None and np.size(ax) == 1:
            n_panels = 1
        size = (7.6, 4.0 if n_panels == 1 else 5.6)
        axes, figure = make_axes(
            self, ax, n_panels, shape=(n_panels, 1), size=size, sharex=True
        )
        self.axes_, self.ax_, self.figure_ = axes, axes[0], figure
        self.lines_: list[Any] = []
        self.score_lines_: list[Any] = []
        for i, curve in enumerate(self.loss_curves):
            style = {"color": color_of(i), "lw": 1.6, "label": self.names[i]}
            self._draw(i, curve, style_of_line(style, kwargs))
        self.ax_.set_ylabel("Training loss")
        if log_scale:
            self.ax_.set_yscale("log")
            label_log_axis(self.ax_.yaxis)
        if n_panels == 2:
            axes[1].set_ylabel(self.score_name)
            self._leave_out_first_scores()
        for panel in axes:
            panel.spines[["top", "right"]].set_visible(False)
        axes[-1].set_xlabel("Epoch")
        self._add_legend()
        return self

    def _draw(self, i: int, curve: Array, style: dict[str, Any]) -> None:
        epochs = np.arange(1, len(curve) + 1)
        (line,) = self.ax_.plot(epochs, curve, **style)
        self.lines_.append(line)
        start = self.averaging_starts[i]
        if start is not None and 0 < start <= len(curve):
            self.ax_.plot(
                start, curve[start - 1], **_MARKS["average"], color=style["color"]
            )
        scores, at = self.validation_scores[i], self.validation_epochs[i]
        if scores is None or len(self.axes_) == 1:
            self.score_lines_.append(None)
            return
        (line,) = self.axes_[1].plot(at, scores, **style)
        self.score_lines_.append(line)
        best = self.best_epochs_[i]
        self.axes_[1].plot(
            best, np.nanmax(scores), **_MARKS["best"], color=style["color"]
        )

    def _leave_out_first_scores(self) -> None:
        curves = [scores for scores in self.validation_scores if scores is not None]
        late = [of[len(of) // FIRST :] for of in map(np.asarray, curves)]
        values, all_values = np.concatenate(late), np.concatenate(curves)
        values, all_values = (v[np.isfinite(v)] for v in (values, all_values))
        if not len(values) or np.ptp(values) > np.ptp(all_values) / 2:
            return
        margin = 0.05 * np.ptp(values) or 0.05 * abs(values[0]) or 0.05
        self.axes_[1].set_ylim(values.min() - margin, all_values.max() + margin)

    def _add_legend(self) -> None:
        handles = list(self.lines_)
        marks = {
            "average": any(start is not None for start in self.averaging_starts),
            "best": len(self.axes_) == 2,
        }
        for name, is_drawn in marks.items():
            if is_drawn:
                # no points: for the legend only
                handles += self.ax_.plot(
                    [], [], **_MARKS[name], color="0.35", label=_MARK_NAMES[name]
                )
        put_legend(self.ax_, handles=handles)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, name: str | None = None, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw the training of one estimator; of an ensemble, that of every network.

        Parameters
        ----------
        estimator : SAMMLPClassifier, SAMMLPRegressor, MLPClassifier or MLPRegressor
            Fitted by a stochastic solver.

        name : str or None, default=None
            Name of the curve. None for the estimator's repr.

        ax : matplotlib Axes or array of two, default=None
            As in :meth:`plot`.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : LossCurveDisplay
            The drawing.

        Raises
        ------
        ValueError
            If the estimator was fitted by 'lbfgs', which keeps no loss curve.
        """
        names = None if name is None else [name]
        return cls.from_estimators([estimator], names=names, ax=ax, **kwargs)

    @classmethod
    def from_estimators(
        cls,
        estimators: Sequence[Any] | Mapping[str, Any],
        *,
        names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the training of several estimators in one picture.

        Parameters
        ----------
        estimators : dict of str to estimator, or list of estimators
            As in :meth:`from_estimator`.

        names : list of str or None, default=None
            Names of the estimators of a list.

        ax : matplotlib Axes or array of two, default=None
            As in :meth:`plot`.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : LossCurveDisplay
            The drawing.

        Raises
        ------
        ValueError
            If an estimator was fitted by 'lbfgs', which keeps no loss curve.
        """
        estimators, names = names_of(estimators, names)
        trainings, labels = [], []
        score_names: set[str] = set()
        for estimator, name in zip(estimators, names, strict=True):
            check_network(estimator)
            members = networks_of(estimator)
            for i, network in enumerate(members):
                trainings.append(_training_of(network, is_member=len(members) > 1))
                labels.append(name if len(members) == 1 else f"{name}, member {i + 1}")
                score_names.add(name_of_scores(network, is_member=len(members) > 1))
        curves, scores, epochs, starts = zip(*trainings, strict=True)
        display = cls(
            curves,
            labels,
            validation_scores=scores,
            validation_epochs=epochs,
            averaging_starts=starts,
            score_name=score_names.pop()
            if len(score_names) == 1
            else "Validation score",
        )
        return display.plot(ax, **kwargs)


_MARKS: dict[str, dict[str, Any]] = {
    "average": {"marker": "D", "ms": 7, "mfc": "white", "mew": 1.8, "ls": "none"},
    "best": {"marker": "*", "ms": 12, "ls": "none"},
}
_MARK_NAMES = {"average": "averaging begins", "best": "best epoch"}


def _training_of(network: Any, is_member: bool) -> tuple[Any, Any, Any, int | None]:
    """Return losses, scores, the epochs of the scores and the start of averaging."""
    check_is_fitted(network)
    if not hasattr(network, "loss_curve_"):
        raise ValueError(
            "The estimator must have a loss curve, which solver='lbfgs' does not keep. Fit "
            "it with a stochastic solver."
        )
    n_epochs = len(network.loss_curve_)
    scores = getattr(network, "validation_scores_", None) or None
    epochs = None if scores is None else epochs_of_scores(network, is_member)
    if epochs is None:
        scores = None
    average = state_of(network).averaging
    start = None
    is_swa = average is not None and average.scheme == "swa"
    if is_swa and vars(network).get("n_averaged_"):
        assert average is not None
        assert average.began is not None
        # counted from the end: the curve may have begun in an earlier fit
        start = n_epochs - (average.epochs - average.began)
    return network.loss_curve_, scores, epochs, start
