"""Which radii are as good as the best, by the losses of the rows held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .._jobs import Array, TrainingJob, Validation
from .._numbers import near_one

# a loss is as good as the lowest if it is above it by no more than so many standard errors
STANDARD_ERRORS = 1.0
# and by no more than this share of it: one row with an enormous loss has a standard error
# as large as what it adds to the mean
MAX_INCREASE = 0.05


def validation_in(job: TrainingJob) -> Validation:
    """Return the validation of a job that has one."""
    assert job.validation is not None
    return job.validation


def rows_of_fold(job: TrainingJob) -> tuple[Array, Array]:
    """Return the rows that a job holds out, as numbers, and their weights."""
    validation = validation_in(job)
    rows, weights = validation.rows, validation.sample_weight
    if rows is None:
        rows = np.arange(len(validation.y))
    return rows, np.ones(len(rows)) if weights is None else weights[rows]


def standard_error(differences: Array, rows: Array, weights: Array) -> float:
    r"""Return the standard error of the mean of paired differences.

    With the weighted mean :math:`\bar d` of the differences :math:`d_i`, the weights
    :math:`w_i`, and the :math:`n` rows whose weight is not 0,

    .. math:: \sqrt{\frac{n}{n - 1} \sum_i w_i^2 (d_i - \bar d)^2} \Big/ \sum_i w_i,

    which is the standard deviation over :math:`\sqrt n` where all weights are equal. What
    several networks say of one row is first added up: rows are independent, and networks
    on the same row are not.

    Parameters
    ----------
    differences : array of shape (n,)
        Differences of two losses, of rows that may occur several times.

    rows : array of int of shape (n,)
        Which rows they are.

    weights : array of shape (n,)
        Their weights.

    Returns
    -------
    error : float
        In the units of the differences. 0 if there is one row, of which nothing is known.
    """
    weights, _ = near_one(weights)
    differences, unit = near_one(differences)
    mean = np.average(differences, weights=weights)
    _, of_row = np.unique(rows, return_inverse=True)
    deviations = np.bincount(of_row, weights * (differences - mean))
    n = np.count_nonzero(np.bincount(of_row, weights))
    if n < 2:
        return 0.0
    total = np.sqrt(n / (n - 1) * np.square(deviations).sum())
    return float(unit * (total / weights.sum()))


def compared_to_lowest(
    radii: Sequence[int],
    losses: Array,
    row_losses: Callable[[int], Array],
    rows: Array,
    weights: Array,
) -> tuple[Array, Array]:
    """Return by how much losses are above the lowest, and the standard errors of this.

    Parameters
    ----------
    radii : sequence of int
        Indices of the radii that are compared.

    losses : array of shape (n_radii,)
        Losses of all radii, infinite where a training diverged.

    row_losses : callable
        Returns the losses of the rows at a radius, given its index.

    rows : array of int of shape (n,)
        Which rows they are.

    weights : array of shape (n,)
        Their weights.

    Returns
    -------
    differences, standard_errors : array of shape (n_compared,)
        In the order of ``radii``.
    """
    lowest = min(radii, key=lambda i: losses[i])
    differences, errors = np.zeros((2, len(radii)))
    for k, i in enumerate(radii):
        if i == lowest:
            continue
        if np.isinf(losses[i]):  # maybe the lowest too
            differences[k] = np.inf
        else:
            differences[k] = losses[i] - losses[lowest]
            of_rows = row_losses(i) - row_losses(lowest)
            errors[k] = standard_error(of_rows, rows, weights)
    return differences, errors


def largest_as_good(
    radii: Sequence[int], losses: Array, differences: Array, standard_errors: Array
) -> int:
    """Return the largest radius whose loss is as good as the lowest.

    Parameters
    ----------
    radii : sequence of int
        Indices of the radii that are compared, which are in ascending order.

    losses : array of shape (n_radii,)
        Their losses.

    differences : array of shape (n_radii,)
        Their losses less the lowest.

    standard_errors : array of shape (n_radii,)
        Standard errors of these differences.
    """
    bound = MAX_INCREASE * abs(min(losses[i] for i in radii))
    return max(
        i
        for i in radii
        if differences[i] <= min(STANDARD_ERRORS * standard_errors[i], bound)
    )
