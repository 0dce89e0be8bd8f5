"""Noise on the inputs of a network."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Literal

from sklearn.utils._param_validation import StrOptions

from .._numbers import Number
from ._base import Option


class InputNoise(Option):
    r"""Noise on the inputs of training rows, held-out rows, or both.

    An input :math:`x_j` becomes

    .. math::
        x_j + \mathrm{std} \cdot s_j \varepsilon, \qquad
        \varepsilon \sim \mathcal{N}(0, 1)

    or, with probability ``missing``, the mean of its column, drawn for every entry
    independently. :math:`s_j` is the weighted standard deviation of column :math:`j`
    over the rows of ``fit``, including held-out ones. A constant column gets no noise.

    Parameters
    ----------
    std : float, default=0.0
        Standard deviation of the noise, in units of the column's. ``input_noise=0.25`` is
        short for ``input_noise=InputNoise(std=0.25)``.

    missing : float, default=0.0
        Share of the entries that are replaced by the mean of their column, in [0, 1],
        as :class:`sklearn.impute.SimpleImputer` does with missing values. Rounded to a
        multiple of ``2**-16``.

    on : {'training', 'validation', 'both'}, default='training'
        Rows that get it. 'training' draws anew in every epoch. 'validation' leaves
        training rows as they are and perturbs held-out rows: those of
        ``early_stopping``, ``X_val``, and the folds of members and of the choice of
        ``rho``. The radius, the length of training and the best epoch are then chosen
        for such rows. They are drawn once for all epochs and radii.

    See Also
    --------
    sksharp.robustness : Scores of a fitted estimator on perturbed rows.

    Notes
    -----
    The noise takes one of ``2**16`` equally likely quantiles of the normal
    distribution, up to 4.3 standard deviations, scaled to variance 1. Held-out rows are
    repeated up to 10 times, each time with another draw, until there are about 1,000.

    References
    ----------
    C. M. Bishop. "Training with noise is equivalent to Tikhonov regularization." Neural
    Computation 7, 1995.

    Examples
    --------
    >>> from sksharp import SAMMLPClassifier
    >>> from sksharp.options import InputNoise
    >>> clf = SAMMLPClassifier(input_noise=InputNoise(std=0.25, missing=0.1))
    >>> clf.set_params(input_noise__on="validation").input_noise
    InputNoise(std=0.25, missing=0.1, on='validation')
    """

    holder = "input_noise"
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "std": [Number(Real, 0, None, closed="left")],
        "missing": [Number(Real, 0, 1, closed="both")],
        "on": [StrOptions({"training", "validation", "both"})],
    }

    def __init__(
        self,
        *,
        std: float = 0.0,
        missing: float = 0.0,
        on: Literal["training", "validation", "both"] = "training",
    ) -> None:
        self.std = std
        self.missing = missing
        self.on = on

    def perturbs(self, rows: Literal["training", "validation"]) -> bool:
        """Return whether rows of a kind get noise."""
        return bool(self.std or self.missing) and self.on in (rows, "both")


def as_input_noise(value: Any) -> InputNoise:
    """Return the options that the parameter ``input_noise`` means."""
    return value if isinstance(value, InputNoise) else InputNoise(std=value)
