"""The loss along lines and planes of the space of weights."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from .._jobs import Array, Weights
from ..estimators._outputs import fitted_loss, loss_name
from ._data import check_network, check_rows, make_surface, networks_of, weights_of
from ._plotting import (
    color_of,
    label_log_axis,
    make_axes,
    names_of,
    put_legend,
    style_of_line,
)


class LossLandscapeDisplay:
    r"""Loss around a network on a random plane, or on the line through two networks.

    Make one with :meth:`from_estimator` (plane) or :meth:`from_estimators` (line). All
    parameters are stored as attributes.

    Parameters
    ----------
    coordinates : tuple of one or two array-like of shape (n_points,)
        One array is the line: 0 is the first network, 1 the second. Two are the plane,
        horizontal and vertical, with the network at (0, 0).

    losses : array-like of shape (n_sets, n_points) or (n_sets, n_vertical, n_horizontal)
        Mean losses on every set of rows.

    set_names : list of str, default=("train", "test")
        Names of the sets of rows. Surplus names are not used.

    names : list of str, default=("first", "second")
        Names of the two networks of a line. Only used for a line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The first panel.

    axes_ : ndarray of matplotlib Axes
        All panels: one for a line, one per set of rows for a plane.

    figure_ : matplotlib Figure
        Their figure.

    lines_ : list of matplotlib Line2D
        The curves of a line. Empty for a plane.

    contours_ : list of matplotlib QuadContourSet
        The contours of a plane. Empty for a line.

    Notes
    -----
    On the line the weights are :math:`(1 - t)\, w_1 + t\, w_2`. On the plane they are
    :math:`w + a\, d_1 + b\, d_2`, with directions drawn from the normal distribution and
    normalized by filters: the weights that enter a unit have the norm of those of the
    network. Biases stay as they are. So a rescaling of ReLU units does not change the
    picture (unless there are biases), which makes two networks comparable.

    The loss is that of the data, without the penalty; in float64.

    References
    ----------
    H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein. "Visualizing the loss landscape of
    neural nets." NeurIPS 2018. :arxiv:`1712.09913`.

    P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson. "Averaging weights
    leads to wider optima and better generalization." UAI 2018. :arxiv:`1803.05407`.

    Examples
    --------
    >>> import numpy as np
    >>> from sksharp import LossLandscapeDisplay
    >>> t = np.array([0.0, 0.5, 1.0])
    >>> display = LossLandscapeDisplay((t,), [[0.2, 0.1, 0.3]], names=["sgd", "swa"])
    >>> display.losses.shape
    (1, 3)
    """

    def __init__(
        self,
        coordinates: Sequence[ArrayLike],
        losses: ArrayLike,
        *,
        set_names: Sequence[str] = ("train", "test"),
        names: Sequence[str] = ("first", "second"),
    ) -> None:
        self.coordinates = tuple(np.asarray(c, dtype=float) for c in coordinates)
        self.losses = np.asarray(losses, dtype=float)
        self.set_names = list(set_names)[: len(self.losses)]
        self.names = list(names)

    def plot(
        self, ax: Any = None, *, log_scale: bool | None = None, **kwargs: Any
    ) -> Self:
        """Draw the line or the plane.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            Where to draw: one for a line, one per set of rows for a plane. None for a new
            figure.

        log_scale : bool or None, default=None
            Whether the losses are on a logarithmic scale. None if they span more than a
            factor of 20.

        **kwargs : dict
            Passed to ``plot`` (line) or ``contourf`` (plane) of matplotlib.

        Returns
        -------
        display : LossLandscapeDisplay
            The object, with the attributes of the drawing.
        """
        self.lines_: list[Any] = []
        self.contours_: list[Any] = []
        finite = self.losses[np.isfinite(self.losses)]
        if not finite.size:
            raise ValueError(
                f"losses must hold a finite number to be drawn, got {self.losses.size} "
                "numbers that are not finite. Scale the features, or look less far from "
                "the networks."
            )
        low, high = finite.min(), finite.max()
        if log_scale is None:
            log_scale = low > 0 and high > 20 * low
        draw = self._plot_line if len(self.coordinates) == 1 else self._plot_plane
        draw(ax, log_scale, low, high, kwargs)
        return self

    def _plot_line(
        self, ax: Any, log_scale: bool, low: float, high: float, kwargs: Any
    ) -> None:
        self.axes_, self.figure_ = make_axes(self, ax, 1)
        self.ax_ = ax = self.axes_[0]
        (t,) = self.coordinates
        for i, (losses, name) in enumerate(
            zip(self.losses, self.set_names, strict=True)
        ):
            style = {"color": color_of(i), "lw": 1.8, "ls": ["-", "--", ":"][i % 3]}
            style = style_of_line({**style, "label": name}, kwargs)
            self.lines_ += ax.plot(t, losses, **style)
        for line in self.lines_:  # the networks themselves
            drawn = [place for place in (0, 1) if t.min() <= place <= t.max()]
            losses = np.interp(drawn, *line.get_data())
            ax.plot(drawn, losses, "o", color=line.get_color())
        for t_of_end in (0, 1):
            ax.axvline(t_of_end, color="0.6", lw=1, zorder=0)
        ends = self.names if max(map(len, self.names)) < 16 else ("first", "second")
        ax.set(xlabel=f"t in (1 - t) · {ends[0]} + t · {ends[1]}", ylabel="Loss")
        if log_scale:
            ax.set_yscale("log")
            label_log_axis(ax.yaxis)
        above = ax.secondary_xaxis("top")
        above.set_xticks([0, 1], self.names)
        above.tick_params(length=0)
        if len(self.lines_) > 1:
            put_legend(ax)

    def _plot_plane(
        self, ax: Any, log_scale: bool, low: float, high: float, kwargs: Any
    ) -> None:
        n_sets = len(self.losses)
        self.axes_, self.figure_ = make_axes(
            self, ax, n_sets, size=(1.2 + 3.9 * n_sets, 4.0), sharex=True, sharey=True
        )
        from matplotlib.colors import LogNorm, Normalize

        self.ax_ = self.axes_[0]
        space = np.geomspace if log_scale else np.linspace
        high = max(high, low * (1 + 1e-9) + 1e-12)
        style: dict[str, Any] = {
            "levels": space(low, high, 16),
            "norm": (LogNorm if log_scale else Normalize)(low, high),
            "cmap": "cividis",
            **kwargs,
        }
        for panel, losses, name in zip(
            self.axes_, self.losses, self.set_names, strict=True
        ):
            # infinite and NaN losses get the highest color
            values = np.where(np.isfinite(losses), losses, high).clip(low, high)
            filled = panel.contourf(*self.coordinates, values, **style)
            panel.contour(filled, colors="white", linewidths=0.5, alpha=0.6)
            self.contours_.append(filled)
            panel.plot(0, 0, "+", color="white", ms=11, mew=2)
            panel.set(title=name, xlabel="direction 1", aspect="equal")
        self.ax_.set_ylabel("direction 2")
        levels = style["levels"][::3]
        bar = self.figure_.colorbar(
            self.contours_[0], ax=list(self.axes_), ticks=levels, label="Loss"
        )
        bar.ax.minorticks_off()
        bar.ax.set_yticks(levels, [f"{float(f'{level:.2g}'):g}" for level in levels])

    @classmethod
    @validate_params(
        {
            "extent": [Interval(Real, 0, None, closed="neither")],
            "n_points": [Interval(Integral, 2, None, closed="left")],
            "random_state": ["random_state"],
        },
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        X_test: Any = None,
        y_test: Any = None,
        extent: float = 1.0,
        n_points: int = 25,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the loss on a random plane through a network.

        Parameters
        ----------
        estimator : SAMMLPClassifier, SAMMLPRegressor, MLPClassifier or MLPRegressor
            Fitted, with one network.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, usually those of the fit.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.

        X_test, y_test : array-like, default=None
            Rows and targets of a second panel.

        extent : float, default=1.0
            Half the width of the plane. 1 is the distance of the weights from zero.

        n_points : int, default=25
            Number of points in either direction; their number squared is evaluated. An
            odd number includes the network itself.

        random_state : int, RandomState instance or None, default=0
            Draws the directions. Equal ints give networks with equal layers the same
            directions.

        ax : matplotlib Axes or array of Axes, default=None
            As in :meth:`plot`.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : LossLandscapeDisplay
            The drawing.
        """
        weights = weights_of(_single_network(estimator))
        if random_state is None:
            random_state = np.random.RandomState()
        rng: np.random.RandomState = check_random_state(random_state)
        first, second = (random_direction(weights, rng) for _ in range(2))
        steps = np.linspace(-extent, extent, n_points)
        points = [
            _moved(weights, (a, first), (b, second)) for b in steps for a in steps
        ]
        losses = _losses(estimator, points, (X, y), (X_test, y_test))
        losses = losses.reshape(-1, n_points, n_points)
        return cls((steps, steps), losses).plot(ax, **kwargs)

    @classmethod
    def from_estimators(
        cls,
        first: Any,
        second: Any,
        X: Any,
        y: Any,
        *,
        X_test: Any = None,
        y_test: Any = None,
        t: Any = None,
        names: Sequence[str] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the loss on the line through two networks.

        Parameters
        ----------
        first, second : estimators
            Fitted, with one network each, of the same layers. Compare trainings from
            the same start: networks from other starts may differ only in the order of
            their units.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, usually those of the fit.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.

        X_test, y_test : array-like, default=None
            Rows and targets of a second curve.

        t : array-like of shape (n_points,) or None, default=None
            Points of the line. None for 41 from -0.5 to 1.5.

        names : list of two str or None, default=None
            Names of the networks. None for their reprs.

        ax : matplotlib Axes, default=None
            Where to draw, None for a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : LossLandscapeDisplay
            The drawing.

        Raises
        ------
        ValueError
            If the networks have other layers.
        """
        _, names = names_of([first, second], names)
        ends = [weights_of(_single_network(one)) for one in (first, second)]
        _check_alike(first, second, *ends)
        t = np.linspace(-0.5, 1.5, 41) if t is None else np.asarray(t, dtype=float)
        if t.ndim != 1 or not t.size:
            raise ValueError(
                "t must be one-dimensional with at least one point, got an array of shape "
                f"{t.shape}. Leave it out for 41 points."
            )
        points = [
            Weights(
                *(
                    [(1 - s) * a + s * b for a, b in zip(*arrays, strict=True)]
                    for arrays in zip(*map(_layers, ends), strict=True)
                )
            )
            for s in t
        ]
        losses = _losses(first, points, (X, y), (X_test, y_test))
        return cls((t,), losses, names=names).plot(ax, **kwargs)


def random_direction(weights: Weights, random_state: np.random.RandomState) -> Weights:
    """Return a normal direction, scaled to the norm of the weights of every unit.

    Its biases are zero.
    """
    coefs = []
    for coef in weights.coefs:
        direction = random_state.standard_normal(coef.shape)
        # the filter of a unit is a column here
        scale = np.linalg.norm(coef, axis=0) / np.linalg.norm(direction, axis=0)
        coefs.append(direction * scale)
    return Weights(coefs, [np.zeros_like(bias) for bias in weights.intercepts])


def _layers(weights: Weights) -> tuple[Sequence[Array], Sequence[Array]]:
    return weights.coefs, weights.intercepts


def _moved(weights: Weights, *steps: tuple[float, Weights]) -> Weights:
    """Return the weights moved by steps of (length, direction)."""
    coefs = [
        sum((length * to.coefs[i] for length, to in steps), start=coef)
        for i, coef in enumerate(weights.coefs)
    ]
    return Weights(coefs, weights.intercepts)


def _single_network(estimator: Any) -> Any:
    check_network(estimator)
    networks = networks_of(estimator)
    if len(networks) > 1:
        raise ValueError(
            f"A landscape needs a single network, got {len(networks)} in members_. Pass "
            "one of them."
        )
    return networks[0]


def _check_alike(first: Any, second: Any, *ends: Weights) -> None:
    shapes = [[coef.shape for coef in end.coefs] for end in ends]
    kinds = [(e.activation, e.out_activation_) for e in (first, second)]
    losses = [repr(fitted_loss(e)) for e in (first, second)]
    if kinds[0] == kinds[1] and losses[0] != losses[1]:
        raise ValueError(
            "A line goes through networks with the same loss, got "
            f"{loss_name(first)} and {loss_name(second)}."
        )
    if shapes[0] != shapes[1] or kinds[0] != kinds[1]:
        raise ValueError(
            "A line goes through networks with the same layers and activations, got "
            f"{shapes[0]} with {kinds[0]} and {shapes[1]} with {kinds[1]}."
        )


def _losses(estimator: Any, points: list[Weights], *sets: tuple[Any, Any]) -> Array:
    """Return losses of shape (n_sets, n_points), for the sets that are given."""
    losses = []
    if (sets[-1][0] is None) != (sets[-1][1] is None):
        given = "y_test" if sets[-1][0] is None else "X_test"
        raise ValueError(
            f"X_test and y_test must be given together, got {given} alone. Pass both, or "
            "neither."
        )
    for X, y in sets:
        if X is None:
            continue
        surface = make_surface(_single_network(estimator), *check_rows(estimator, X, y))
        losses.append(surface.losses(points))
    return np.array(losses)
