"""Warnings of this package, for filters by category."""

import sklearn.exceptions


class InconsistentVersionWarning(sklearn.exceptions.InconsistentVersionWarning):  # type: ignore[misc]
    """A pickle was written by another version of sksharp or of scikit-learn.

    Parameters
    ----------
    estimator_name : str
        Class that is read.

    current_sksharp_version, current_sklearn_version : str
        Versions that read it.

    original_sksharp_version, original_sklearn_version : str
        Versions that wrote it, 'unknown' if it does not tell.

    Examples
    --------
    >>> import warnings
    >>> from sksharp.exceptions import InconsistentVersionWarning
    >>> warnings.filterwarnings("error", category=InconsistentVersionWarning)
    """

    def __init__(
        self,
        *,
        estimator_name: str,
        current_sksharp_version: str,
        original_sksharp_version: str,
        current_sklearn_version: str,
        original_sklearn_version: str,
    ) -> None:
        super().__init__(
            estimator_name=estimator_name,
            current_sklearn_version=current_sklearn_version,
            original_sklearn_version=original_sklearn_version,
        )
        self.current_sksharp_version = current_sksharp_version
        self.original_sksharp_version = original_sksharp_version

    def __str__(self) -> str:
        return (
            f"{self.estimator_name} was written by sksharp "
            f"{self.original_sksharp_version} with scikit-learn "
            f"{self.original_sklearn_version}, and is read by sksharp "
            f"{self.current_sksharp_version} with scikit-learn "
            f"{self.current_sklearn_version}. It may fail or predict otherwise. Fit it "
            "again, or read it with the versions that wrote it."
        )


class UnusedParameterWarning(UserWarning):
    """A parameter was set that nothing reads.

    scikit-learn's own parameters never warn, as in scikit-learn.

    Examples
    --------
    >>> import warnings
    >>> from sksharp.exceptions import UnusedParameterWarning
    >>> warnings.filterwarnings("ignore", category=UnusedParameterWarning)
    """


class ColumnWarning(UserWarning):
    """A column of a table may not be read as you expect.

    Numbers and dates stored as text are read as such, and as words if some of them have
    another notation. Text with more than 32 words, and more words than half the rows,
    is probably a name or a key. At prediction, words in another spelling than in the
    fit, "yes" for "Yes", are unknown to the model.

    Examples
    --------
    >>> import warnings
    >>> from sksharp.exceptions import ColumnWarning
    >>> warnings.filterwarnings("ignore", category=ColumnWarning)
    """


class CheckpointWarning(UserWarning):
    """A training cannot be saved to, or found in, the folder of ``checkpoints()``.

    Examples
    --------
    >>> import warnings
    >>> from sksharp.exceptions import CheckpointWarning
    >>> warnings.filterwarnings("error", category=CheckpointWarning)
    """


class ScalingWarning(UserWarning):
    """The columns of ``X``, or the targets, need scaling.

    Examples
    --------
    >>> import warnings
    >>> from sksharp.exceptions import ScalingWarning
    >>> warnings.filterwarnings("error", category=ScalingWarning)
    """
