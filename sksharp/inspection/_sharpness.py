"""The sharpness of the minimum of a fitted network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from .._choices import Choice, suggests
from .._jobs import Array
from .._warnings import warn
from ._data import check_network, check_rows, make_surface, networks_of

if TYPE_CHECKING:  # it imports torch
    from ._surface import Surface

# by measure: its parameters
PARAMETERS = {
    "worst_case": ("rho", "adaptive", "n_starts", "max_iter", "tol"),
    "average_case": ("sigma", "adaptive", "n_probes"),
    "top_eigenvalue": ("max_iter", "tol"),
    "trace": ("n_probes",),
}
CONSTRAINTS = {
    "measure": [Choice(set(PARAMETERS))],
    "rho": [Interval(Real, 0, None, closed="left")],
    "adaptive": ["boolean"],
    "sigma": [Interval(Real, 0, None, closed="left")],
    "n_probes": [Interval(Integral, 1, None, closed="left")],
    "n_starts": [Interval(Integral, 1, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, 1, closed="left")],
    "random_state": ["random_state"],
}


@dataclass(frozen=True)
class Sharpness:
    """Sharpness of a minimum, as `sharpness` and `module_sharpness` return it.

    Attributes
    ----------
    measure : str
        What was measured.

    value : float
        The sharpness. Of several networks, the mean of ``member_values``.

    standard_error : float or None
        Standard error of ``value`` over the random probes. None for a measure without
        probes, with a single probe, or if the trace is exact.

    loss : float
        Loss at the weights themselves, the mean over the networks.

    n_iterations : int
        Products with the Hessian ('top_eigenvalue'), steps of ascent ('worst_case') or
        probes, over all networks.

    converged : bool
        Whether every iteration ended by ``tol``; in 'worst_case' that is at a local
        maximum, not necessarily the global one.

    member_values : ndarray of shape (n_members,)
        Sharpness of every network; of one element if there is one network.

    settings : dict
        Parameters of the measure; of an estimator also the number of rows
        (``n_samples``) and whether the penalty is included, of a torch module the number
        of its weights that were measured (``n_params``).
    """

    measure: str
    value: float
    standard_error: float | None
    loss: float
    n_iterations: int
    converged: bool
    member_values: Array = field(repr=False)
    settings: dict[str, Any] = field(repr=False)


@suggests
@validate_params(
    {
        "estimator": "no_validation",
        "X": "no_validation",
        "y": "no_validation",
        "sample_weight": ["array-like", None],
        "penalty": ["boolean"],
        **CONSTRAINTS,
    },
    prefer_skip_nested_validation=True,
)
def sharpness(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    measure: str = "worst_case",
    rho: float = 0.05,
    adaptive: bool = False,
    sigma: float = 0.05,
    n_probes: int = 100,
    n_starts: int = 10,
    max_iter: int = 200,
    tol: float = 1e-4,
    penalty: bool = False,
    random_state: int | np.random.RandomState | None = 0,
) -> Sharpness:
    r"""Measure how sharp the minimum of a fitted network is.

    With the mean loss :math:`L` over the rows, the vector :math:`w` of all weights and
    biases, its :math:`P` entries, and the Hessian :math:`H = \nabla^2 L(w)`:

    .. math::
        \text{worst\_case} &= \max_{\|\epsilon\|_2 \le \rho} L(w + \epsilon) - L(w) \\
        \text{average\_case} &= \mathbb{E}_{z \sim N(0, I)}\, L(w + \sigma z) - L(w) \\
        \text{top\_eigenvalue} &= \lambda_{\max}(H) \\
        \text{trace} &= \operatorname{tr} H

    The adaptive forms put :math:`|w| \odot \epsilon` and :math:`|w| \odot z` in place of
    :math:`\epsilon` and :math:`z`.

    Parameters
    ----------
    estimator : SAMMLPClassifier, SAMMLPRegressor, MLPClassifier or MLPRegressor
        Fitted network. Of a pipeline, pass the last step, and the rows that it gets. In
        an ensemble (``n_members``), every network is measured separately.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows, usually those of the fit.

    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
        Their targets, sparse where they are indicators of labels.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the mean. ``class_weight`` of the estimator is not applied.

    measure : str, default='worst_case'
        What to measure, one of four.

        - 'worst_case' is the highest rise of the loss in a ball, by projected gradient
          ascent: a lower bound, which is exact where the loss is a quadratic bowl. More
          starts may find a higher rise.
        - 'average_case' is the mean rise under Gaussian noise, over probes that come with
          both signs.
        - 'top_eigenvalue' is the largest curvature, by Lanczos' method.
        - 'trace' is the sum of all curvatures, by Hutchinson's estimator; exact if there
          are as many probes as weights and biases.

    rho : float, default=0.05
        Radius of the ball, in the Euclidean norm over all weights and biases. With
        ``adaptive=True`` it is relative to the weights. Only used when ``measure`` is
        'worst_case'.

    adaptive : bool, default=False
        Whether perturbations are relative to the size of each weight. The measure is
        then the same for networks that differ by a rescaling of ReLU units and predict
        the same. Only used when ``measure`` is 'worst_case' or 'average_case'.

    sigma : float, default=0.05
        Standard deviation of the noise. Only used when ``measure`` is 'average_case'.

    n_probes : int, default=100
        Random probes. Only used when ``measure`` is 'average_case' or 'trace'.

    n_starts : int, default=10
        Random starts of the ascent, of which the highest counts. Each ends at a local
        maximum, of which a large ball has several. Only used when ``measure`` is
        'worst_case'.

    max_iter : int, default=200
        Steps of the ascent from every start, or products with the Hessian, at most. Only
        used when ``measure`` is 'worst_case' or 'top_eigenvalue'.

    tol : float, default=1e-4
        Relative residual of the eigenvalue at which to stop, or root of the relative gain
        of a step of the ascent. Only used when ``measure`` is 'worst_case' or
        'top_eigenvalue'.

    penalty : bool, default=False
        Whether :math:`L` includes the penalty on the squared weights that the fit
        minimized, ``alpha`` divided by the rows of a minibatch. If False it is the loss
        of the data alone.

    random_state : int, RandomState instance or None, default=0
        Draws the probes and starts. None draws others in every call. numpy's and torch's
        global generators are never used.

    Returns
    -------
    sharpness : Sharpness
        Object with the attributes ``value``, ``standard_error``, ``loss``,
        ``n_iterations``, ``converged``, ``member_values``, ``measure`` and ``settings``.

    Raises
    ------
    TypeError
        If the estimator is none of the four.

    sklearn.exceptions.NotFittedError
        If it is not fitted.

    ValueError
        If a parameter or the data are not valid, if ``y`` has unknown labels, or if the
        loss is not finite, at the weights or around them.

    Warns
    -----
    ConvergenceWarning
        If an iteration did not end within ``max_iter``.

    See Also
    --------
    module_sharpness : The same of any torch module.
    SharpnessDisplay : Several estimators side by side.
    LossLandscapeDisplay : The loss on a plane or a line through the weights.

    Notes
    -----
    Everything is computed in float64 on the CPU, without dropout or minibatches. The loss
    is that of ``loss_curve_`` without the penalty: the log-loss, summed over the labels,
    half the squared error, Huber's, the absolute error or the pinball loss, averaged over
    the outputs, or half the Poisson deviance, summed over the targets. Second derivatives
    leave out the kinks of the absolute error and of the pinball loss.

    A sharp minimum need not predict badly: sharpness is a diagnostic, to compare fits of
    one architecture on one data set. All but the adaptive measures change when the units
    of a ReLU network are rescaled, although its predictions do not.

    Memory: 'top_eigenvalue' keeps one vector of :math:`P` floats per iteration.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur. "Sharpness-aware minimization for
    efficiently improving generalization." ICLR 2021. :arxiv:`2010.01412`.

    J. Kwon, J. Kim, H. Park, I. K. Choi. "ASAM: Adaptive sharpness-aware minimization for
    scale-invariant learning of deep neural networks." ICML 2021. :arxiv:`2102.11600`.

    M. Andriushchenko, F. Croce, M. Müller, M. Hein, N. Flammarion. "A modern look at the
    relationship between sharpness and generalization." ICML 2023. :arxiv:`2302.07011`.

    M. F. Hutchinson. "A stochastic estimator of the trace of the influence matrix for
    Laplacian smoothing splines." Communications in Statistics 18(3), 1989.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import scale
    >>> from sksharp import SAMMLPClassifier, sharpness
    >>> X, y = load_iris(return_X_y=True)
    >>> X = scale(X)
    >>> clf = SAMMLPClassifier(rho=0.5, learning_rate_init=0.01, random_state=0)
    >>> clf = clf.fit(X, y)
    >>> round(sharpness(clf, X, y, rho=0.5).value, 1)
    0.2
    """
    check_network(estimator)
    X, y, sample_weight = check_rows(estimator, X, y, sample_weight)
    surfaces = (
        make_surface(network, X, y, sample_weight, penalty)
        for network in networks_of(estimator)
    )
    parameters = _as_python(rho, adaptive, sigma, n_probes, n_starts, max_iter, tol)
    settings = {"penalty": bool(penalty), "n_samples": X.shape[0]}
    return _measure_all(surfaces, measure, parameters, random_state, settings)


@suggests
@validate_params(
    {
        "module": "no_validation",
        "closure": "no_validation",
        "params": "no_validation",
        **CONSTRAINTS,
    },
    prefer_skip_nested_validation=True,
)
def module_sharpness(
    module: Any,
    closure: Any,
    *,
    params: Iterable[Any] | None = None,
    measure: str = "worst_case",
    rho: float = 0.05,
    adaptive: bool = False,
    sigma: float = 0.05,
    n_probes: int = 100,
    n_starts: int = 10,
    max_iter: int = 200,
    tol: float = 1e-4,
    random_state: int | np.random.RandomState | None = 0,
) -> Sharpness:
    r"""Measure how sharp the minimum of a torch module is.

    The measures are those of :func:`sharpness`. With the loss :math:`L` that ``closure``
    computes, the vector :math:`w` of all parameters, and :math:`H = \nabla^2 L(w)`:

    .. math::
        \text{worst\_case} &= \max_{\|\epsilon\|_2 \le \rho} L(w + \epsilon) - L(w) \\
        \text{average\_case} &= \mathbb{E}_{z \sim N(0, I)}\, L(w + \sigma z) - L(w) \\
        \text{top\_eigenvalue} &= \lambda_{\max}(H) \\
        \text{trace} &= \operatorname{tr} H

    The adaptive forms put :math:`|w| \odot \epsilon` and :math:`|w| \odot z` in place of
    :math:`\epsilon` and :math:`z`.

    Parameters
    ----------
    module : torch.nn.Module
        The module, on any device. Its layers keep their mode: in training mode, dropout
        draws the same mask in every evaluation, and batch normalization uses the
        statistics of the rows. For the loss of predictions call ``module.eval()``
        before. For several modules, pass a :class:`torch.nn.ModuleList`.

    closure : callable, or sequence of callables or of (callable, float)
        Computes the loss of the same rows in every call and returns it, a tensor of one
        number, without calling ``backward``. Several closures are those of
        micro-batches, for rows that do not fit into memory: the loss is the mean of
        theirs, weighted by the numbers, which are the sizes of the micro-batches (equal
        without numbers).

    params : iterable of Tensor, default=None
        Parameters to perturb, such as those of one layer. None is all of the module.
        Those that require no gradient stay as they are.

    measure : str, default='worst_case'
        What to measure, one of four.

        - 'worst_case' is the highest rise of the loss in a ball, by projected gradient
          ascent: a lower bound, which is exact where the loss is a quadratic bowl. More
          starts may find a higher rise.
        - 'average_case' is the mean rise under Gaussian noise, over probes that come with
          both signs.
        - 'top_eigenvalue' is the largest curvature, by Lanczos' method.
        - 'trace' is the sum of all curvatures, by Hutchinson's estimator; exact if there
          are as many probes as numbers in the parameters.

    rho : float, default=0.05
        Radius of the ball, in the Euclidean norm over all parameters. With
        ``adaptive=True`` it is relative to the weights. Only used when ``measure`` is
        'worst_case'.

    adaptive : bool, default=False
        Whether perturbations are relative to the size of each weight. Only used when
        ``measure`` is 'worst_case' or 'average_case'.

    sigma : float, default=0.05
        Standard deviation of the noise. Only used when ``measure`` is 'average_case'.

    n_probes : int, default=100
        Random probes. Only used when ``measure`` is 'average_case' or 'trace'.

    n_starts : int, default=10
        Random starts of the ascent, of which the highest counts. Only used when
        ``measure`` is 'worst_case'.

    max_iter : int, default=200
        Steps of the ascent from every start, or products with the Hessian, at most. Only
        used when ``measure`` is 'worst_case' or 'top_eigenvalue'.

    tol : float, default=1e-4
        Relative residual of the eigenvalue at which to stop, or root of the relative gain
        of a step of the ascent. Only used when ``measure`` is 'worst_case' or
        'top_eigenvalue'.

    random_state : int, RandomState instance or None, default=0
        Draws the probes and starts. None draws others in every call.

    Returns
    -------
    sharpness : Sharpness
        Object with the attributes ``value``, ``standard_error``, ``loss``,
        ``n_iterations``, ``converged``, ``measure`` and ``settings``.

    Raises
    ------
    TypeError
        If ``module`` is none, ``closure`` no function or does not return a tensor of one
        number, or ``params`` are no real tensors.

    ValueError
        If a parameter is not valid, if nothing is to be perturbed, if the loss does not
        depend on it, is not finite, or differs between two evaluations at the same
        weights, or if ``closure`` calls ``backward``.

    Warns
    -----
    ConvergenceWarning
        If an iteration did not end within ``max_iter``.

    See Also
    --------
    sharpness : The same of a fitted estimator.

    Notes
    -----
    Parameters, gradients, buffers, such as running statistics, the modes of the layers and
    torch's random number generators are afterwards what they were before, also if
    ``closure`` raises. Until then the parameters are written to.

    The loss is computed in the precision of the module, and everything else in float64. In
    float32 a rise of less than about 1e-6 of the loss is lost in rounding, and in half
    precision most perturbations are: convert a copy, ``copy.deepcopy(module).double()``.

    'top_eigenvalue' and 'trace' need a second derivative, which modules compiled with
    ``torch.compile``, under ``DistributedDataParallel``, or with recurrent layers of cuDNN
    do not have. Pass the module that was compiled or wrapped, and a closure that calls it.

    Memory: two copies of the parameters, a few vectors of their size in float64, and with
    'top_eigenvalue' one per iteration.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur. "Sharpness-aware minimization for
    efficiently improving generalization." ICLR 2021. :arxiv:`2010.01412`.

    J. Kwon, J. Kim, H. Park, I. K. Choi. "ASAM: Adaptive sharpness-aware minimization for
    scale-invariant learning of deep neural networks." ICML 2021. :arxiv:`2102.11600`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.inspection import module_sharpness
    >>> module = torch.nn.Linear(2, 1, bias=False)
    >>> X = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    >>> def closure():
    ...     return (module(X).square() / 2).mean()
    >>> round(module_sharpness(module, closure, measure="top_eigenvalue").value, 4)
    4.5
    """
    from ._module_surface import ModuleSurface  # imports torch

    surface = ModuleSurface(module, closure, params)
    parameters = _as_python(rho, adaptive, sigma, n_probes, n_starts, max_iter, tol)
    settings = {"n_params": len(surface.start)}
    return _measure_all([surface], measure, parameters, random_state, settings)


def _as_python(
    rho: float,
    adaptive: bool,
    sigma: float,
    n_probes: int,
    n_starts: int,
    max_iter: int,
    tol: float,
) -> dict[str, Any]:
    """Return the parameters of all measures, as Python scalars."""
    return {
        "rho": float(rho),
        "adaptive": bool(adaptive),
        "sigma": float(sigma),
        "n_probes": int(n_probes),
        "n_starts": int(n_starts),
        "max_iter": int(max_iter),
        "tol": float(tol),
    }


def _measure_all(
    surfaces: Iterable[Surface],
    measure: str,
    parameters: dict[str, Any],
    random_state: int | np.random.RandomState | None,
    settings: dict[str, Any],
) -> Sharpness:
    """Return the sharpness of one network or of several."""
    if random_state is None:
        random_state = np.random.RandomState()
    rng: np.random.RandomState = check_random_state(random_state)
    parameters = {name: parameters[name] for name in PARAMETERS[measure]}
    outcomes = [_measure(surface, measure, parameters, rng) for surface in surfaces]
    values, errors, losses, n_iterations, converged = zip(*outcomes, strict=True)
    if not all(converged):
        warn(
            f"measure={measure!r} has not converged within "
            f"max_iter={parameters['max_iter']}. Raise max_iter or tol.",
            ConvergenceWarning,
        )
    error = math.hypot(*errors) / len(errors)
    return Sharpness(
        measure=measure,
        value=float(np.mean(values)),
        standard_error=None if math.isnan(error) else error,
        loss=float(np.mean(losses)),
        n_iterations=sum(n_iterations),
        converged=all(converged),
        member_values=np.array(values),
        settings={**parameters, **settings},
    )


def _measure(
    surface: Surface,
    measure: str,
    parameters: dict[str, Any],
    random_state: np.random.RandomState,
) -> tuple[float, float, float, int, bool]:
    """Return value, standard error (or NaN), loss, iterations and convergence."""
    from . import _measures  # imports torch

    with surface.computation():
        loss = surface.loss(surface.start)
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss at the weights must be finite, got {loss}. "
                f"{surface.advice.capitalize()}."
            )
        values, n_iterations, converged = getattr(_measures, measure)(
            surface, random_state, **parameters
        )
    if not np.all(np.isfinite(values)):
        far = [f"{n}={parameters[n]:g}" for n in ("rho", "sigma") if n in parameters]
        raise ValueError(
            "The loss around the weights must be finite, got a rise or curvature of "
            f"{np.mean(values)}{' with '.join(['', *far])}. Look less far from the "
            f"weights, or {surface.advice}."
        )
    if measure == "worst_case":
        return max(values), math.nan, loss, n_iterations, converged
    error = math.nan
    if len(values) > 1:
        error = np.std(values, ddof=1).item() / math.sqrt(len(values))
    return np.mean(values).item(), error, loss, n_iterations, converged
