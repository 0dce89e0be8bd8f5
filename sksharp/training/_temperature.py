"""The temperature by which the outputs of a classifier fit held-out rows best."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._batches import CHUNK_BYTES

# log(b) lies within plus and minus this: beyond, the outputs say nothing, or what differs
# between them is rounding
LIMIT = 10 * math.log(2)

# Newton's steps in log(b): the longest, and the last, whose error is of the order of its
# square
LONGEST_STEP, LAST_STEP = 3.0, 1e-4
MAX_STEPS = 100


class TemperatureScaling:
    """Temperature scaling of classifiers on the same rows.

    The inverse temperature of a model is the ``b`` in ``[2**-10, 2**10]`` that minimizes
    the mean log-loss of the outputs of ``b * z`` for the targets

        ``(1 - s) * y + s / n_classes``,  ``s = 1 / (n_rows + 1)``.

    ``n_classes`` is the number of outputs of a softmax, and 2 for every output of a
    logistic function; ``n_rows`` are the rows of a weight other than 0. The share ``s`` of
    uniform targets keeps ``b`` finite where the rows are separable. The loss is convex in
    ``b``.

    Parameters
    ----------
    y : Tensor of shape (n_draws * n_rows, n_outputs)
        Indicators.

    sample_weight : Tensor of shape (n_rows,) or None
        Weights of the rows, which sum to 1.

    out_activation : str
        'softmax' or 'logistic'.

    n_draws : int, default=1
        How often the rows are there, each time with other noise.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger. "On calibration of modern neural
    networks." ICML 2017. arXiv:1706.04599.

    E. Berta, D. Holzmüller, M. I. Jordan, F. Bach. "Rethinking early stopping: Refine,
    then calibrate." 2025. arXiv:2501.19195.
    """

    def __init__(
        self,
        y: Tensor,
        sample_weight: Tensor | None,
        out_activation: str,
        n_draws: int = 1,
    ) -> None:
        n_rows, n_outputs = len(y) // n_draws, y.shape[1]
        if sample_weight is None:
            weights = y.new_full((n_rows,), 1 / n_rows, dtype=torch.float64)
        else:
            weights = sample_weight.double()
        share = 1 / (int(weights.count_nonzero()) + 1)
        self.weights = weights.repeat(n_draws) / n_draws
        self.is_softmax = out_activation == "softmax"
        n_classes = n_outputs if self.is_softmax else 2
        # rows last: sums over the outputs run along them
        self.targets = ((1 - share) * y.double() + share / n_classes).T.contiguous()

    @torch.no_grad()
    def fit(self, z: Tensor) -> Tensor:
        """Return the inverse temperatures, of shape (n_models,), in double precision.

        1 stands for a model whose ``z`` do not differ, or are not all finite.

        Parameters
        ----------
        z : Tensor of shape (n_models, n_rows, n_outputs)
            Inputs of the output activation.
        """
        n_models = len(z)
        if z.device.type == "cpu":  # as many as stay in the cache
            n_models = max(1, CHUNK_BYTES // (8 * self.targets.numel()))
        return torch.cat([self._fit(part) for part in torch.split(z, n_models)])

    def _fit(self, z: Tensor) -> Tensor:
        is_finite = z.isfinite().flatten(1).all(1)
        z = torch.where(is_finite[:, None, None], z, 0).double()
        z = z.transpose(1, 2).contiguous()
        if self.is_softmax:
            z -= z.amax(1, keepdim=True)
        moments = _softmax_moments if self.is_softmax else _logistic_moments
        of_targets = ((self.targets * z).sum(1) @ self.weights).tolist()
        minima = [Minimum() for _ in of_targets]
        for _ in range(MAX_STEPS):
            left = [k for k, minimum in enumerate(minima) if not minimum.is_found]
            if not left:
                break
            b = z.new_tensor([minima[k].b for k in left])[:, None, None]
            some = z if len(left) == len(minima) else z[left]
            means, variances = (moments(some, b) @ self.weights).tolist()
            for k, mean, variance in zip(left, means, variances, strict=True):
                minima[k].approach(mean - of_targets[k], variance)
        return z.new_tensor([minimum.b for minimum in minima])


def _softmax_moments(z: Tensor, b: Tensor) -> Tensor:
    """Return mean and variance of z <= 0 over the classes, by the softmax of b z.

    Parameters
    ----------
    z : Tensor of shape (n_models, n_outputs, n_rows)
        At most 0, and 0 for a class of every row.

    b : Tensor of shape (n_models, 1, 1)
        Inverse temperatures.

    Returns
    -------
    moments : Tensor of shape (2, n_models, n_rows)
        Their means over the rows are parts of the derivatives of the loss.
    """
    p = (z * b).exp_()
    total = p.sum(1)
    pz = p.mul_(z)
    means = pz.sum(1) / total
    squares = pz.mul_(z).sum(1) / total
    return torch.stack([means, squares - means.square()])


def _logistic_moments(z: Tensor, b: Tensor) -> Tensor:
    """Return mean and variance of z or 0 by the logistic function, summed over outputs."""
    p = (z * b).sigmoid_()
    pz = p * z
    return torch.stack([pz.sum(1), (1 - p).mul_(pz).mul_(z).sum(1)])


class Minimum:
    """Where a convex loss is lowest: Newton's method in log(b), within a bracket."""

    def __init__(self) -> None:
        self.log_b, self.is_found = 0.0, False
        self.low, self.high = -math.inf, math.inf

    @property
    def b(self) -> float:
        """Where it is, as far as known."""
        return math.exp(self.log_b)

    def approach(self, slope: float, curvature: float) -> None:
        """Move on, given the derivatives at ``b``.

        A step that leaves the bracket goes to its middle.
        """
        if slope == 0:  # also where all outputs are equal
            self.is_found = True
            return
        if slope < 0:
            self.low = self.log_b
        else:
            self.high = self.log_b
        step = math.copysign(LONGEST_STEP, -slope)
        if abs(slope) < LONGEST_STEP * self.b * curvature:
            step = -slope / (self.b * curvature)
        before, self.log_b = self.log_b, self.log_b + step
        if abs(step) > LAST_STEP and not self.low < self.log_b < self.high:
            self.log_b = (self.low + self.high) / 2
        self.log_b = min(max(self.log_b, -LIMIT), LIMIT)
        self.is_found = abs(self.log_b - before) <= LAST_STEP
