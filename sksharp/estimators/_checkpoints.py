"""Which fits are kept, to go on with after their process was killed."""

from __future__ import annotations

import contextlib
from typing import Any

from ..checkpointing._context import of_fit


def kept(
    estimator: Any, incremental: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Return the context of a fit, in which its trainings are kept if they can be."""
    # a call of partial_fit is one epoch
    return of_fit(estimator, "" if incremental else _why_not(estimator))


def _why_not(estimator: Any) -> str | None:
    """Return why the fit of an estimator cannot be kept, None if it can."""
    if isinstance(estimator.solver, str) and estimator.solver == "lbfgs":
        return (
            "the state of solver='lbfgs' is scikit-learn's and not known. Choose another "
            "solver."
        )
    if estimator.random_state is None:
        return (
            "random_state must not be None, which draws other numbers in every start. Set "
            "it to an int."
        )
    if estimator.callbacks:
        return (
            "the state of its callbacks is not known. Leave them out, or keep weights by "
            "skorch's Checkpoint among them."
        )
    return None
