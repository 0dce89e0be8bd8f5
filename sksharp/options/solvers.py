"""Solvers: their options, and the optimizer arguments that these become."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.utils._param_validation import StrOptions

from .._numbers import Number
from ._base import SHARE_OR_EPOCHS, Option, register

_NOT_NEGATIVE = [Number(Real, 0, None, closed="left")]
_POSITIVE_INTEGER = [Number(Integral, 1, None, closed="left")]
_BELOW_ONE = [Number(Real, 0, 1, closed="left")]

_ADAM = {
    "lr": "learning_rate_init",
    "beta_1": "beta_1",
    "beta_2": "beta_2",
    "eps": "epsilon",
}


# all solvers by name; subclasses register themselves
SOLVERS: dict[str, type[Solver]] = {}


class Solver(Option):
    """Base of the solvers: what ``solver`` and ``base_solver`` take.

    A subclass describes one solver: its options are the parameters, and its optimizer and
    the rest are class attributes.

    Attributes
    ----------
    name : str
        Its name as a parameter of an estimator.

    optimizer : str
        Name of the optimizer's class, in the module of :mod:`sksharp.optim` that has the
        solver's name.

    reads : dict of str to str
        Arguments of the optimizer that are parameters of the estimator, with the names of
        these.

    arguments : dict of str to str
        Arguments of the optimizer that are options, where their names differ.

    shared : tuple of str
        Arguments that must be equal for networks to be trained together.

    is_two_gradient : bool
        Whether a step perturbs the weights, and leaves the descent to a base solver.

    takes_base : bool
        Whether a base solver takes the descent step.

    is_base : bool
        Whether it can be a ``base_solver``.

    refuses : tuple of str
        Base solvers that it does not work with.

    has_schedule : bool
        Whether scikit-learn's schedules of the learning rate apply, as to 'sgd'.

    chooses_rows : bool
        Whether a step uses the losses of single rows of the minibatch.

    needs : tuple of str
        What the optimizer needs to know of the network: of 'model_ndim', 'layout' and
        'n_scaled', the number of entries that are weights.

    chooses_length : bool
        Whether ``rho='auto'`` chooses the length of training, and small minibatches.

    radius : float
        Factor by which ``rho`` exceeds that of 'sam' for the same effect.

    state : tuple of str
        State of every parameter, from the first step on: 'step',
        'weight_sum' and tensors of the parameter's shape.

    memory : tuple of str
        Further entries of the state, which are all there or none of them.

    counters : tuple of str
        Entries of the parameter groups besides the arguments.
    """

    holder = "solver"
    name: ClassVar[str] = ""
    optimizer: ClassVar[str] = ""
    reads: ClassVar[Mapping[str, str]] = {}
    arguments: ClassVar[Mapping[str, str]] = {}
    shared: ClassVar[tuple[str, ...]] = ()
    is_two_gradient: ClassVar[bool] = False
    takes_base: ClassVar[bool] = False
    is_base: ClassVar[bool] = True
    refuses: ClassVar[tuple[str, ...]] = ()
    has_schedule: ClassVar[bool] = False
    chooses_rows: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    chooses_length: ClassVar[bool] = True
    radius: ClassVar[float] = 1.0
    state: ClassVar[tuple[str, ...]] = ()
    memory: ClassVar[tuple[str, ...]] = ()
    counters: ClassVar[tuple[str, ...]] = ()
    # options that are no arguments of the optimizer
    not_arguments: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(SOLVERS, cls)

    def validate(self) -> None:
        """Raise if a value is not valid, or if it has no optimizer."""
        if not self.optimizer:
            raise TypeError(
                f"{type(self).__name__} must name an optimizer to be a solver. Take one of "
                "sksharp.options, or write name and optimizer."
            )
        super().validate()

    @classmethod
    @functools.cache
    def option_arguments(cls) -> dict[str, str]:
        """Return the optimizer's arguments that are options, with the options' names."""
        renamed = {option: argument for argument, option in cls.arguments.items()}
        names = [
            name for name in cls._get_param_names() if name not in cls.not_arguments
        ]
        return {renamed.get(name, name): name for name in names}

    @property
    def takes_radius(self) -> bool:
        """Whether ``rho`` has an effect."""
        return "rho" in self.reads

    def own_arguments(self) -> dict[str, Any]:
        """Return the arguments of the optimizer that are options, with their values."""
        options = self.plain()
        return {
            argument: getattr(options, name)
            for argument, name in self.option_arguments().items()
        }

    def allowed_bases(self) -> list[str]:
        """Return the names of the base solvers that it works with."""
        if not self.takes_base:
            return []
        return [
            name
            for name, cls in SOLVERS.items()
            if cls.is_base and name not in self.refuses
        ]

    def scale_radii(self, radii: Any) -> Any:
        """Return the ``rho`` whose effect is that of given radii of 'sam'."""
        return radii


class TwoGradients(Solver):
    """Base of the solvers that take a second gradient, at perturbed weights."""

    is_two_gradient = True
    takes_base = True
    is_base = False
    reads = {"rho": "rho"}
    not_arguments = ("micro_batch_size",)
    shared: ClassVar[tuple[str, ...]] = ("interval", "start")
    needs: ClassVar[tuple[str, ...]] = ("model_ndim",)
    counters: ClassVar[tuple[str, ...]] = ("n_steps",)

    interval: int
    start: float
    micro_batch_size: int | None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "interval": _POSITIVE_INTEGER,
        "start": SHARE_OR_EPOCHS,
        "micro_batch_size": [*_POSITIVE_INTEGER, None],
    }


class SAM(TwoGradients):
    r"""Sharpness-aware minimization: descend with the gradient at the worst neighbor.

    .. math::
        \epsilon = \rho\, g / \|g\|_2, \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(w + \epsilon))

    with the gradient :math:`g` of the minibatch at the weights :math:`w`, the estimator's
    ``rho`` and its ``base_solver``.

    Parameters
    ----------
    interval : int, default=1
        Every ``interval``-th step takes two gradients. The others are the base solver's.

    start : float or int, default=0.0
        Epochs before the first such step: a share of the training if float, a number of
        epochs if int. A call of ``partial_fit`` is one epoch. If training stops
        earlier, all steps are the base solver's.

    micro_batch_size : int or None, default=None
        Rows per perturbation: the minibatch is divided into parts of this many rows,
        each with its own perturbation, and their gradients are averaged. None is the
        whole minibatch.

    See Also
    --------
    sksharp.optim.SAM : The optimizer, for torch.

    References
    ----------
    P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur. "Sharpness-aware minimization for
    efficiently improving generalization." ICLR 2021. :arxiv:`2010.01412`.

    M. Andriushchenko, N. Flammarion. "Towards understanding sharpness-aware
    minimization." ICML 2022. :arxiv:`2206.06232`. (``micro_batch_size``)

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import SAM
    >>> clf = SAMMLPClassifier(solver=SAM(interval=2), rho=0.1)
    >>> clf.set_params(solver__start=0.5).solver
    SAM(interval=2, start=0.5)
    """

    name, optimizer = "sam", "SAM"

    def __init__(
        self,
        *,
        interval: int = 1,
        start: float = 0.0,
        micro_batch_size: int | None = None,
    ) -> None:
        self.interval = interval
        self.start = start
        self.micro_batch_size = micro_batch_size


class WSAM(TwoGradients):
    r"""Weighted SAM: minimize the loss plus a weighted sharpness.

    The objective is :math:`L + \kappa (L_{SAM} - L)` with
    :math:`\kappa = \gamma / (1 - \gamma)`. With the gradients :math:`g` at the weights
    and :math:`\tilde g` at SAM's perturbed ones, a step is

    .. math::
        \text{coupled:} \quad & w \leftarrow
            \mathrm{base}(w, \kappa \tilde g + (1 - \kappa) g) \\
        \text{decoupled:} \quad & w \leftarrow
            \mathrm{base}(w, g) - \eta \kappa (\tilde g - g)

    Parameters
    ----------
    gamma : float, default=0.9
        Weight of the sharpness, in [0, 1). 0 gives the base solver; 0.5 gives 'sam' if
        coupled; more acts like 'sam' with the larger radius
        ``rho * gamma / (1 - gamma)``.

    decouple : bool or 'auto', default='auto'
        Whether the sharpness term bypasses the base solver. 'auto' decouples with 'sgd'
        only; the paper does so with Adam too. True does not work with 'ranger' and
        'schedule_free'.

    interval, start, micro_batch_size
        As of :class:`SAM`.

    See Also
    --------
    sksharp.optim.WSAM : The optimizer, for torch.

    References
    ----------
    Y. Yue, J. Jiang, Z. Ye, N. Gao, Y. Liu, K. Zhang. "Sharpness-aware minimization
    revisited: Weighted sharpness as a regularization term." KDD 2023.
    :arxiv:`2305.15817`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import WSAM
    >>> SAMMLPClassifier(solver=WSAM(gamma=0.8, decouple=True), rho=0.05).solver
    WSAM(gamma=0.8, decouple=True)
    """

    name, optimizer = "wsam", "WSAM"
    shared = (*TwoGradients.shared, "decouple")

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "gamma": _BELOW_ONE,
        "decouple": ["boolean", StrOptions({"auto"})],
        **TwoGradients._parameter_constraints,
    }

    def __init__(
        self,
        *,
        gamma: float = 0.9,
        decouple: bool | Literal["auto"] = "auto",
        interval: int = 1,
        start: float = 0.0,
        micro_batch_size: int | None = None,
    ) -> None:
        self.gamma = gamma
        self.decouple = decouple
        self.interval = interval
        self.start = start
        self.micro_batch_size = micro_batch_size

    @property
    def takes_radius(self) -> bool:
        """Whether the sharpness has a weight."""
        return self.gamma != 0

    def own_arguments(self) -> dict[str, Any]:
        """Return the arguments of the optimizer that are options, with their values."""
        own = super().own_arguments()
        if self.decouple == "auto":
            own["decouple"] = None
        return own

    def allowed_bases(self) -> list[str]:
        """Return the names of the base solvers that it works with."""
        # the decoupled term goes to the weights, which these set from their own
        refused = ("ranger", "schedule_free") if self.decouple is True else ()
        return [name for name in super().allowed_bases() if name not in refused]

    def scale_radii(self, radii: Any) -> Any:
        """Return the ``rho`` whose effect is that of given radii of 'sam'."""
        if not self.gamma:
            return radii
        factor = (1 - self.gamma) / self.gamma
        if not np.isfinite(factor):
            raise ValueError(
                "gamma must be 0 or large enough to divide by, for the radii of "
                f"rho='auto', got gamma={self.gamma}. Raise gamma, or set it to 0."
            )
        return radii * factor


class ASAM(TwoGradients):
    r"""Adaptive SAM: perturb each weight relative to its size.

    .. math::
        \epsilon = \rho\, T^2 g / \|T g\|_2, \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(w + \epsilon))

    with :math:`T = \mathrm{diag}(|w_i| + \eta)` for the weights of a layer and
    :math:`T = 1` for biases. It needs a ``rho`` about ten times that of 'sam'.

    Parameters
    ----------
    eta : float, default=0.01
        Added to the size of the weights.

    interval, start, micro_batch_size
        As of :class:`SAM`.

    See Also
    --------
    sksharp.optim.ASAM : The optimizer, for torch.

    References
    ----------
    J. Kwon, J. Kim, H. Park, I. K. Choi. "ASAM: Adaptive sharpness-aware minimization
    for scale-invariant learning of deep neural networks." ICML 2021.
    :arxiv:`2102.11600`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import ASAM
    >>> clf = SAMMLPClassifier(solver=ASAM(eta=0.1, interval=2), rho=0.5)
    >>> clf.get_params()["solver__eta"]
    0.1
    """

    name, optimizer = "asam", "ASAM"
    needs = ("model_ndim", "n_scaled")
    radius = 10.0
    counters = ("n_steps", "n_scaled")

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "eta": _NOT_NEGATIVE,
        **TwoGradients._parameter_constraints,
    }

    def __init__(
        self,
        *,
        eta: float = 0.01,
        interval: int = 1,
        start: float = 0.0,
        micro_batch_size: int | None = None,
    ) -> None:
        self.eta = eta
        self.interval = interval
        self.start = start
        self.micro_batch_size = micro_batch_size


class GSAM(TwoGradients):
    r"""SAM that also reduces the surrogate gap, the perturbed loss minus the loss.

    With the gradients :math:`g` at the weights and :math:`\tilde g` at the perturbed
    ones,

    .. math::
        g_\perp = g - \frac{g^\top \tilde g}{\|\tilde g\|_2^2}\, \tilde g, \qquad
        w \leftarrow \mathrm{base}(w, \tilde g - \alpha\, g_\perp)

    Parameters
    ----------
    alpha : float, default=0.4
        Weight of the descent on the gap. 0 gives 'sam'.

    interval, start, micro_batch_size
        As of :class:`SAM`.

    See Also
    --------
    sksharp.optim.GSAM : The optimizer, for torch.

    References
    ----------
    J. Zhuang et al. "Surrogate gap minimization improves sharpness-aware training."
    ICLR 2022. :arxiv:`2203.08065`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import GSAM
    >>> SAMMLPClassifier(solver=GSAM(alpha=0.2), rho=0.1).solver
    GSAM(alpha=0.2)
    """

    name, optimizer = "gsam", "GSAM"
    arguments = {"gsam_alpha": "alpha"}

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": _NOT_NEGATIVE,
        **TwoGradients._parameter_constraints,
    }

    def __init__(
        self,
        *,
        alpha: float = 0.4,
        interval: int = 1,
        start: float = 0.0,
        micro_batch_size: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.interval = interval
        self.start = start
        self.micro_batch_size = micro_batch_size


class FisherSAM(TwoGradients):
    r"""Fisher SAM: perturb weights with a large squared gradient less.

    .. math::
        \epsilon = \rho\, F^{-1} g / \sqrt{g^\top F^{-1} g}, \qquad
        F = \mathrm{diag}(1 + \eta\, g_i^2), \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(w + \epsilon))

    Parameters
    ----------
    eta : float, default=10000.0
        Weight of the squared gradient against the identity. Values far below one over
        the squared gradient give 'sam', such as 0 and usually the paper's 1: search in
        powers of ten.

    interval, start, micro_batch_size
        As of :class:`SAM`.

    See Also
    --------
    sksharp.optim.FisherSAM : The optimizer, for torch.

    References
    ----------
    M. Kim, D. Li, S. X. Hu, T. M. Hospedales. "Fisher SAM: Information geometry and
    sharpness aware minimisation." ICML 2022. :arxiv:`2206.04920`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import FisherSAM
    >>> SAMMLPClassifier(solver=FisherSAM(eta=1e3), rho=0.1).solver
    FisherSAM(eta=1000.0)
    """

    name, optimizer = "fisher_sam", "FisherSAM"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "eta": _NOT_NEGATIVE,
        **TwoGradients._parameter_constraints,
    }

    def __init__(
        self,
        *,
        eta: float = 10000.0,
        interval: int = 1,
        start: float = 0.0,
        micro_batch_size: int | None = None,
    ) -> None:
        self.eta = eta
        self.interval = interval
        self.start = start
        self.micro_batch_size = micro_batch_size


class FriendlySAM(TwoGradients):
    r"""Friendly SAM: perturb along the noise of the minibatch only.

    .. math::
        m \leftarrow \lambda m + (1 - \lambda) g, \qquad d = g - \sigma m, \qquad
        \epsilon = \rho\, d / \|d\|_2, \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(w + \epsilon))

    Parameters
    ----------
    sigma : float, default=1.0
        Share of the mean gradient :math:`m` that is subtracted. 0 gives 'sam', and is
        used where a minibatch holds all rows.

    decay : float, default=0.9
        Decay :math:`\lambda` of the mean gradient, in [0, 1).

    interval, start, micro_batch_size
        As of :class:`SAM`.

    See Also
    --------
    sksharp.optim.FriendlySAM : The optimizer, for torch.

    References
    ----------
    T. Li, P. Zhou, Z. He, X. Cheng, X. Huang. "Friendly sharpness-aware minimization."
    CVPR 2024. :arxiv:`2403.12350`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import FriendlySAM
    >>> SAMMLPClassifier(solver=FriendlySAM(decay=0.95), rho=0.1).solver
    FriendlySAM(decay=0.95)
    """

    name, optimizer = "friendly_sam", "FriendlySAM"
    memory = ("friendly_mean",)

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "sigma": _NOT_NEGATIVE,
        "decay": _BELOW_ONE,
        **TwoGradients._parameter_constraints,
    }

    def __init__(
        self,
        *,
        sigma: float = 1.0,
        decay: float = 0.9,
        interval: int = 1,
        start: float = 0.0,
        micro_batch_size: int | None = None,
    ) -> None:
        self.sigma = sigma
        self.decay = decay
        self.interval = interval
        self.start = start
        self.micro_batch_size = micro_batch_size


class LookSAM(TwoGradients):
    r"""LookSAM: perturb every few steps, and reuse the direction in between.

    In every :math:`k`-th step, with the gradients :math:`g` at the weights and
    :math:`\tilde g` at the perturbed ones,

    .. math::
        g_v = \tilde g - \frac{\tilde g^\top g}{\|g\|_2^2}\, g, \qquad
        w \leftarrow \mathrm{base}(w, \tilde g)

    and in the steps between

    .. math::
        w \leftarrow \mathrm{base}\left(w,
            g + \alpha\, \|g\|_2\, \frac{g_v}{\|g_v\|_2}\right)

    Parameters
    ----------
    k : int, default=5
        Number of steps between perturbations. 1 gives 'sam'.

    alpha : float, default=0.7
        Length of the reused direction relative to the gradient.

    interval, start, micro_batch_size
        As of :class:`SAM`.

    See Also
    --------
    sksharp.optim.LookSAM : The optimizer, for torch.

    References
    ----------
    Y. Liu, S. Mai, X. Chen, C.-J. Hsieh, Y. You. "Towards efficient and scalable
    sharpness-aware minimization." CVPR 2022. :arxiv:`2203.02714`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import LookSAM
    >>> SAMMLPClassifier(solver=LookSAM(k=10), rho=0.1).solver
    LookSAM(k=10)
    """

    name, optimizer = "looksam", "LookSAM"
    arguments = {"looksam_k": "k", "looksam_alpha": "alpha"}
    shared = (*TwoGradients.shared, "looksam_k")
    memory = ("looksam_direction",)

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "k": _POSITIVE_INTEGER,
        "alpha": _NOT_NEGATIVE,
        **TwoGradients._parameter_constraints,
    }

    def __init__(
        self,
        *,
        k: int = 5,
        alpha: float = 0.7,
        interval: int = 1,
        start: float = 0.0,
        micro_batch_size: int | None = None,
    ) -> None:
        self.k = k
        self.alpha = alpha
        self.interval = interval
        self.start = start
        self.micro_batch_size = micro_batch_size


class ESAM(TwoGradients):
    r"""Efficient SAM: take the second gradient from the rows whose loss rose most.

    With the losses :math:`\ell_i` of the :math:`B` rows of the minibatch, SAM's
    perturbation :math:`\epsilon`, and the set :math:`S` of the
    :math:`\max(1, \mathrm{round}(\gamma B))` rows with the largest
    :math:`\ell_i(w + \epsilon) - \ell_i(w)`,

    .. math::
        w \leftarrow \mathrm{base}\left(w,
            \frac{1}{|S|} \sum_{i \in S} \nabla \ell_i(w + \epsilon)\right)

    Parameters
    ----------
    fraction : float, default=0.5
        Share :math:`\gamma` of the rows whose second gradient is taken, in (0, 1]. 1 gives
        'sam'.

    interval, start, micro_batch_size
        As of :class:`SAM`.

    See Also
    --------
    sksharp.optim.ESAM : The optimizer, for torch.

    References
    ----------
    J. Du et al. "Efficient sharpness-aware minimization for improved training of neural
    networks." ICLR 2022. :arxiv:`2110.03141`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import ESAM
    >>> SAMMLPClassifier(solver=ESAM(fraction=0.7), rho=0.1).solver
    ESAM(fraction=0.7)
    """

    name, optimizer = "esam", "ESAM"
    chooses_rows = True
    shared = (*TwoGradients.shared, "fraction")

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "fraction": [Number(Real, 0, 1, closed="right")],
        **TwoGradients._parameter_constraints,
    }

    def __init__(
        self,
        *,
        fraction: float = 0.5,
        interval: int = 1,
        start: float = 0.0,
        micro_batch_size: int | None = None,
    ) -> None:
        self.fraction = fraction
        self.interval = interval
        self.start = start
        self.micro_batch_size = micro_batch_size


class MSAM(Solver):
    r"""Sharpness-aware minimization along the momentum, with one gradient a step.

    The weights are kept perturbed along the momentum :math:`v` of the base solver. From
    the weights :math:`w`

    .. math::
        \tilde w = w - \rho\, v / \|v\|_2, \qquad
        w \leftarrow \mathrm{base}(w, \nabla L(\tilde w))

    It has no options, and needs a ``rho`` about ten times that of 'sam'.

    See Also
    --------
    sksharp.optim.MSAM : The optimizer, for torch.

    References
    ----------
    M. Becker, F. Altrock, B. Risse. "Momentum-SAM: Sharpness aware minimization without
    computational overhead." 2024. :arxiv:`2401.12033`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import MSAM, AdamW
    >>> clf = SAMMLPClassifier(solver=MSAM(), base_solver=AdamW(), rho=1.0)
    """

    name, optimizer = "msam", "MSAM"
    takes_base = True
    is_base = False
    reads = {"rho": "rho"}
    refuses = ("schedule_free",)
    needs = ("model_ndim",)
    radius = 10.0
    memory = ("start",)


class Ranger(Solver):
    r"""Rectified Adam with Lookahead.

    :class:`RAdam` takes the steps on the fast weights :math:`w`; after every :math:`k` of
    them :math:`s \leftarrow s + \alpha (w - s)` and :math:`w \leftarrow s`.

    Parameters
    ----------
    k : int, default=6
        Steps between two updates of the slow weights :math:`s`.

    alpha : float, default=0.5
        Share of the way that they move towards the fast weights, in [0, 1].

    See Also
    --------
    sksharp.optim.Ranger : The optimizer, for torch.

    References
    ----------
    L. Wright. "Ranger: a synergistic optimizer." 2019.

    L. Liu et al. "On the variance of the adaptive learning rate and beyond." ICLR 2020.
    :arxiv:`1908.03265`.

    M. R. Zhang et al. "Lookahead optimizer: k steps forward, 1 step back." NeurIPS
    2019. :arxiv:`1907.08610`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import Ranger
    >>> SAMMLPClassifier(solver=Ranger(k=10)).solver
    Ranger(k=10)
    """

    name, optimizer = "ranger", "Ranger"
    reads = _ADAM
    shared = ("k",)
    state = ("step", "mean", "mean_sq")
    memory = ("slow",)
    counters = ("steps_since_sync",)

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "k": _POSITIVE_INTEGER,
        "alpha": [Number(Real, 0, 1, closed="both")],
    }

    def __init__(self, *, k: int = 6, alpha: float = 0.5) -> None:
        self.k = k
        self.alpha = alpha


class Lookahead(Solver):
    r"""Slow weights that follow the fast weights of a base solver.

    After every :math:`k` steps of ``base_solver`` on the fast weights :math:`w`,

    .. math::
        s \leftarrow s + \alpha (w - s), \qquad w \leftarrow s

    Parameters
    ----------
    k : int, default=6
        Steps between two updates of the slow weights. 6 is Ranger's; the paper has 5.

    alpha : float, default=0.5
        Share of the way that the slow weights move towards the fast ones, in [0, 1].

    See Also
    --------
    sksharp.optim.Lookahead : The optimizer, for torch.

    References
    ----------
    M. R. Zhang, J. Lucas, G. Hinton, J. Ba. "Lookahead optimizer: k steps forward, 1
    step back." NeurIPS 2019. :arxiv:`1907.08610`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import Lookahead
    >>> SAMMLPClassifier(solver=Lookahead(k=5), base_solver="sgd").solver
    Lookahead(k=5)
    """

    name, optimizer = "lookahead", "Lookahead"
    takes_base = True
    is_base = False
    refuses = ("ranger", "schedule_free")
    shared = ("k",)
    memory = ("slow",)
    counters = ("steps_since_sync",)

    _parameter_constraints: ClassVar[dict[str, Any]] = Ranger._parameter_constraints

    def __init__(self, *, k: int = 6, alpha: float = 0.5) -> None:
        self.k = k
        self.alpha = alpha


class RAdam(Solver):
    """Adam whose step is rectified while its variance is not yet known.

    It has no options besides the estimator's ``beta_1``, ``beta_2`` and ``epsilon``.

    See Also
    --------
    sksharp.optim.RAdam : The optimizer, for torch, with its formulas.

    References
    ----------
    L. Liu, H. Jiang, P. He, W. Chen, X. Liu, J. Gao, J. Han. "On the variance of the
    adaptive learning rate and beyond." ICLR 2020. :arxiv:`1908.03265`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import SAM, RAdam
    >>> clf = SAMMLPClassifier(solver=SAM(), base_solver=RAdam(), rho=0.1)
    """

    name, optimizer = "radam", "RAdam"
    reads = _ADAM
    state = ("step", "mean", "mean_sq")


class Adam(Solver):
    r"""Adaptive moment estimation (Adam), as in scikit-learn.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
                         \frac{m}{\sqrt{v} + \epsilon}

    It has no options besides the estimator's ``beta_1``, ``beta_2`` and ``epsilon``.

    See Also
    --------
    sksharp.optim.Adam : The optimizer, for torch.

    References
    ----------
    D. P. Kingma, J. Ba. "Adam: A method for stochastic optimization." ICLR 2015.
    :arxiv:`1412.6980`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import Adam
    >>> clf = SAMMLPClassifier(solver=Adam(), beta_1=0.8)
    """

    name, optimizer = "adam", "Adam"
    chooses_length = False  # as in scikit-learn
    reads = _ADAM
    state = ("step", "mean", "mean_sq")


class SGD(Solver):
    r"""Stochastic gradient descent with momentum, as in scikit-learn.

    .. math::
        v \leftarrow \mu v - \eta g, \qquad
        w \leftarrow w + \begin{cases} \mu v - \eta g & \text{Nesterov} \\
                                       v & \text{otherwise} \end{cases}

    It has no options besides the estimator's ``momentum`` and ``nesterovs_momentum``.

    See Also
    --------
    sksharp.optim.SGD : The optimizer, for torch.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl, G. Hinton. "On the importance of initialization
    and momentum in deep learning." ICML 2013.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import SGD
    >>> clf = SAMMLPClassifier(solver=SGD(), momentum=0.8)
    """

    name, optimizer = "sgd", "SGD"
    chooses_length = False  # as in scikit-learn
    reads = {
        "lr": "learning_rate_init",
        "momentum": "momentum",
        "nesterov": "nesterovs_momentum",
    }
    shared = ("nesterov",)
    has_schedule = True
    state = ("velocity",)


class AdamW(Solver):
    r"""Adam with decoupled weight decay.

    .. math::
        w \leftarrow (1 - \eta \lambda) w
          - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt{v} + \epsilon}

    with the moments :math:`m` and :math:`v` of :class:`Adam`. Biases do not shrink.

    Parameters
    ----------
    weight_decay : float, default=0.01
        Decay :math:`\lambda`. The estimator's ``alpha`` also penalizes the squared
        weights; set it to 0 for decay alone.

    See Also
    --------
    sksharp.optim.AdamW : The optimizer, for torch.

    References
    ----------
    I. Loshchilov, F. Hutter. "Decoupled weight decay regularization." ICLR 2019.
    :arxiv:`1711.05101`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import AdamW
    >>> SAMMLPClassifier(solver=AdamW(weight_decay=0.1), alpha=0).solver
    AdamW(weight_decay=0.1)
    """

    name, optimizer = "adamw", "AdamW"
    reads = _ADAM
    needs = ("layout",)
    state = ("step", "mean", "mean_sq")

    _parameter_constraints: ClassVar[dict[str, Any]] = {"weight_decay": _NOT_NEGATIVE}

    def __init__(self, *, weight_decay: float = 0.01) -> None:
        self.weight_decay = weight_decay


class ScheduleFree(Solver):
    r"""Schedule-Free AdamW: gradients near a running average of the weights.

    .. math::
        y_t &= (1 - \beta_1) z_t + \beta_1 x_t, \qquad g_t = \nabla L(y_t), \\
        z_{t+1} &= z_t - \gamma_t \left( \frac{g_t}{\sqrt{\hat v_t} + \epsilon}
                   + \lambda y_t \right), \\
        x_{t+1} &= (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}, \qquad
        c_{t+1} = \frac{\gamma_t^2}{\sum_{i \le t} \gamma_i^2}

    The estimator predicts with :math:`x`.

    Parameters
    ----------
    weight_decay : float, default=0.01
        Decay :math:`\lambda`, of the weights and not of the biases.

    warmup_steps : int, default=0
        Steps over which the learning rate :math:`\gamma_t` rises to
        ``learning_rate_init``.

    See Also
    --------
    sksharp.optim.ScheduleFree : The optimizer, for torch.

    References
    ----------
    A. Defazio, X. Yang, H. Mehta, K. Mishchenko, A. Khaled, A. Cutkosky. "The road less
    scheduled." NeurIPS 2024. :arxiv:`2405.15682`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import ScheduleFree
    >>> SAMMLPClassifier(solver=ScheduleFree(warmup_steps=50)).solver
    ScheduleFree(warmup_steps=50)
    """

    name, optimizer = "schedule_free", "ScheduleFree"
    reads = _ADAM
    arguments = {"warmup": "warmup_steps"}
    needs = ("layout",)
    state = ("step", "mean_sq")
    memory = ("fast", "averaged", "weight_sum")
    counters = ("adaptive",)

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "weight_decay": _NOT_NEGATIVE,
        "warmup_steps": [Number(Integral, 0, None, closed="left")],
    }

    def __init__(self, *, weight_decay: float = 0.01, warmup_steps: int = 0) -> None:
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps


class Muon(Solver):
    r"""Orthogonalized momentum for matrices; AdamW for the rest.

    For the weights :math:`W` into a hidden layer, :math:`a \times b`,

    .. math::
        B \leftarrow \mu B + (1 - \mu) G, \qquad
        W \leftarrow (1 - \eta \lambda) W - 0.2 \eta \sqrt{\max(a, b)}\;
            \mathrm{NS}((1 - \mu) G + \mu B)

    where :math:`\mathrm{NS}` brings all singular values to about 1 and keeps the singular
    vectors. The output layer and the biases take :class:`AdamW`'s step.

    Parameters
    ----------
    momentum : float, default=0.95
        Decay :math:`\mu` of the mean gradient, in [0, 1).

    weight_decay : float, default=0.01
        Decay :math:`\lambda`, of all weights and not of the biases.

    See Also
    --------
    sksharp.optim.Muon : The optimizer, for torch.

    References
    ----------
    K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse, J. Bernstein. "Muon: An
    optimizer for hidden layers in neural networks." 2024.

    J. Liu et al. "Muon is scalable for LLM training." 2025. :arxiv:`2502.16982`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import Muon
    >>> SAMMLPClassifier((64, 64), solver=Muon(momentum=0.9)).solver
    Muon(momentum=0.9)
    """

    name, optimizer = "muon", "Muon"
    reads = _ADAM
    needs = ("model_ndim", "layout")
    state = ("step", "mean", "mean_sq")
    counters = ("use_muon",)

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "momentum": [Number(Real, 0, 1, closed="left")],
        "weight_decay": _NOT_NEGATIVE,
    }

    def __init__(self, *, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        self.momentum = momentum
        self.weight_decay = weight_decay


class YellowFin(Solver):
    """Gradient descent that tunes its learning rate and its momentum.

    It has no options, and does not read ``learning_rate_init``.

    See Also
    --------
    sksharp.optim.YellowFin : The optimizer, for torch, with its formulas.

    References
    ----------
    J. Zhang, I. Mitliagkas. "YellowFin and the art of momentum tuning." MLSys 2019.
    :arxiv:`1706.03471`.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import YellowFin
    >>> clf = SAMMLPClassifier(solver=YellowFin())
    """

    name, optimizer = "yellowfin", "YellowFin"
    is_base = False
    chooses_length = False  # it may diverge on small minibatches
    needs = ("model_ndim",)
    state = ("step", "velocity", "mean", "mean_sq")


def as_solver(value: Any) -> Solver:
    """Return the solver that a parameter means, by name or as an object."""
    return value if isinstance(value, Solver) else SOLVERS[value]()


def solver_chain(solver: Any, base_solver: Any) -> list[Solver]:
    """Return the solvers that take part, the one with the descent step last."""
    outer = as_solver(solver)
    return [outer, as_solver(base_solver)] if outer.takes_base else [outer]
