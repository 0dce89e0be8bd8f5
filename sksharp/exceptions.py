"""Warnings of this package, to be filtered by their category."""


class UnusedParameterWarning(UserWarning):
    """A parameter was set that the solver, or the schedule, does not read.

    scikit-learn's own parameters never warn, as in scikit-learn.

    Examples
    --------
    >>> import warnings
    >>> from sksharp.exceptions import UnusedParameterWarning
    >>> warnings.filterwarnings("ignore", category=UnusedParameterWarning)
    """
