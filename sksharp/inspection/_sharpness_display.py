"""The sharpness of several estimators, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ._plotting import color_of, make_axes, names_of, style_of_line
from ._sharpness import Sharpness, sharpness


class SharpnessDisplay:
    """Sharpness of several estimators, a panel per measure.

    Make one with :meth:`from_estimators`. All parameters are stored as attributes.

    Parameters
    ----------
    values : array-like of shape (n_measures, n_estimators)
        Sharpness.

    names : list of str
        Names of the estimators.

    measures : list of str
        Names of the measures.

    standard_errors : array-like of shape (n_measures, n_estimators) or None, default=None
        Standard errors, NaN where there are none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The first panel.

    axes_ : ndarray of matplotlib Axes
        All panels.

    figure_ : matplotlib Figure
        Their figure.

    lines_ : list of matplotlib Line2D
        The points, a line per panel.

    Examples
    --------
    >>> from sksharp import SharpnessDisplay
    >>> display = SharpnessDisplay([[3.0, 0.5]], ["adam", "sam"], ["trace"])
    >>> display.values
    array([[3. , 0.5]])
    """

    def __init__(
        self,
        values: ArrayLike,
        names: Sequence[str],
        measures: Sequence[str],
        *,
        standard_errors: ArrayLike | None = None,
    ) -> None:
        self.values = np.asarray(values, dtype=float)
        self.names, self.measures = list(names), list(measures)
        if standard_errors is None:
            standard_errors = np.full(self.values.shape, np.nan)
        self.standard_errors = np.asarray(standard_errors, dtype=float)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the estimators, the first one on top, with their sharpness in figures.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            Where to draw, one per measure. None for a new figure.

        **kwargs : dict
            Passed to ``plot`` of matplotlib for the points.

        Returns
        -------
        display : SharpnessDisplay
            The object, with the attributes of the drawing.
        """
        n_panels, n_names = len(self.measures), len(self.names)
        self.axes_, self.figure_ = make_axes(
            self,
            ax,
            n_panels,
            size=(1.6 + 3.0 * n_panels, 1.4 + 0.55 * n_names),
            sharey=True,
        )
        self.ax_, self.lines_ = self.axes_[0], []
        positions = np.arange(n_names)
        for i, panel in enumerate(self.axes_):
            color = color_of(i)
            values, errors = self.values[i], np.nan_to_num(self.standard_errors[i])
            panel.hlines(positions, 0, values, color=color, lw=2, alpha=0.5)
            panel.errorbar(
                values, positions, xerr=errors, fmt="none", ecolor="black", capsize=4
            )
            style = {"marker": "o", "ls": "none", "color": color, "ms": 8}
            style = style_of_line(style, kwargs)
            self.lines_ += panel.plot(values, positions, **style)
            for value, position in zip(values, positions, strict=True):
                panel.annotate(
                    f"{value:.2g}",
                    (value, position),
                    (0, 7),
                    textcoords="offset points",
                    ha="center",
                )
            panel.margins(x=0.12)
            panel.axvline(0, color="0.6", lw=1, zorder=0)
            panel.set_xlabel(self.measures[i])
            panel.set_yticks(positions, self.names)
            panel.set_ylim(n_names - 0.5, -0.5)
            panel.spines[["top", "right"]].set_visible(False)
        for panel in self.axes_[1:]:
            panel.tick_params(labelleft=False)
        return self

    @classmethod
    def from_estimators(
        cls,
        estimators: Sequence[Any] | Mapping[str, Any],
        X: Any,
        y: Any,
        *,
        measure: str | Sequence[str] = "worst_case",
        names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Measure estimators and draw them side by side.

        Parameters
        ----------
        estimators : dict of str to estimator, or list of estimators
            Fitted, as for :func:`sharpness`.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, usually those of the fit.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.

        measure : str or list of str, default='worst_case'
            Measures, as of :func:`sharpness`, a panel each.

        names : list of str or None, default=None
            Names of the estimators of a list.

        ax : matplotlib Axes or array of Axes, default=None
            As in :meth:`plot`.

        **kwargs : dict
            Passed to :func:`sharpness`.

        Returns
        -------
        display : SharpnessDisplay
            The drawing.
        """
        estimators, names = names_of(estimators, names)
        measures = [measure] if isinstance(measure, str) else list(measure)
        if not measures:
            raise ValueError(
                "measure must name at least one measure, got none. Leave it out for "
                "'worst_case'."
            )
        found = [
            [sharpness(one, X, y, measure=name, **kwargs) for one in estimators]
            for name in measures
        ]
        display = cls(
            [[result.value for result in row] for row in found],
            names,
            [_title(row[0]) for row in found],
            standard_errors=[
                [
                    np.nan if result.standard_error is None else result.standard_error
                    for result in row
                ]
                for row in found
            ],
        )
        return display.plot(ax)


def _title(result: Sharpness) -> str:
    settings = result.settings
    parts = [
        f"{name}={settings[name]:g}" for name in ("rho", "sigma") if name in settings
    ]
    if settings.get("adaptive"):
        parts.append("adaptive")
    name = result.measure.replace("_", " ")
    return f"{name} ({', '.join(parts)})" if parts else name
