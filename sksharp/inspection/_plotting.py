"""Helpers of the displays. matplotlib is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Okabe and Ito's colors, which color-blind readers tell apart
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def import_pyplot(display: Any) -> Any:
    """Return matplotlib.pyplot, or raise and say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__}.plot needs matplotlib, which is not installed. "
            "Install it with pip install matplotlib."
        ) from error
    return plt


def make_axes(
    display: Any,
    ax: Any,
    n_panels: int,
    *,
    shape: tuple[int, int] | None = None,
    size: tuple[float, float] = (7.6, 4.2),
    **options: Any,
) -> tuple[Any, Any]:
    """Return an array of axes, new ones if none are given, and their figure."""
    plt = import_pyplot(display)
    if ax is None:
        figure, axes = plt.subplots(
            *(shape or (1, n_panels)),
            figsize=size,
            layout="constrained",
            squeeze=False,
            **options,
        )
        return axes.ravel(), figure
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(axes) != n_panels:
        raise ValueError(
            f"ax must hold as many axes as there are panels, {n_panels}, got {len(axes)}. "
            "Pass an array of axes, or ax=None for a new figure."
        )
    return axes, axes[0].figure


def names_of(
    estimators: Any, names: Sequence[str] | None = None
) -> tuple[list[Any], list[str]]:
    """Return the estimators and their names: keys of a dict, ``names`` or reprs."""
    if hasattr(estimators, "get_params"):
        raise TypeError(
            "estimators must be a dict or a list of estimators, got "
            f"{type(estimators).__name__}. Put it into a list."
        )
    estimators = estimators if hasattr(estimators, "items") else list(estimators)
    if not estimators:
        raise ValueError(
            "estimators must hold at least one estimator, got none. Pass a dict or a list "
            "of those to draw."
        )
    if hasattr(estimators, "items"):
        if names is not None:
            raise ValueError(
                "names must be None for a dict of estimators, whose keys are the names, "
                f"got names={names}. Leave it out, or pass a list of estimators."
            )
        names, estimators = [*estimators], [*estimators.values()]
    if names is None:
        names = [_short_name(estimator) for estimator in estimators]
        if len(set(names)) < len(names):
            names = [f"{i + 1}: {name}" for i, name in enumerate(names)]
    if len(names) != len(estimators):
        raise ValueError(
            f"names must be as many as the estimators, {len(estimators)}, got "
            f"{len(names)}."
        )
    return estimators, [str(name) for name in names]


def _short_name(estimator: Any) -> str:
    if hasattr(estimator, "steps"):  # the repr of a pipeline is long, and takes long
        return type(estimator).__name__
    text = " ".join(repr(estimator).split())
    return text if len(text) <= 40 else type(estimator).__name__


def style_of_line(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return options of ``plot``, those that are given before the defaults.

    Aliases are the same option: a given ``linewidth`` replaces ``lw``.
    """
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return {**normalize_kwargs(defaults, Line2D), **normalize_kwargs(given, Line2D)}


def put_legend(ax: Any, **options: Any) -> None:
    """Put the legend beside the axes, where it hides no data."""
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    ax.legend(**place, frameon=False, **options)


def label_log_axis(axis: Any) -> None:
    """Label a logarithmic axis by plain numbers, as many as are needed to read it."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    steps = range(1, 10) if decades < 0.8 else (1, 2, 5) if decades < 4 else (1,)
    axis.set_major_locator(LogLocator(subs=[float(step) for step in steps]))
    axis.set_major_formatter(lambda value, position: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def color_of(i: int) -> str:
    """Return the color of the i-th line."""
    return COLORS[i % len(COLORS)]
