"""The context that saves trainings to a folder."""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import re
import time
import uuid
from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import Any

from .._warnings import warn
from ..exceptions import CheckpointWarning
from ..storage._files import replace_file

_active: contextvars.ContextVar[Checkpoints | None] = contextvars.ContextVar(
    "checkpoints", default=None
)

SUFFIX = ".checkpoint"

# bytes that are written to know how fast the disk is
MEASURED_BYTES = 2**16

# files in the folder itself that a process may have left that was killed as it measured
LEFT = re.compile(r"[0-9a-f]{32}\.measured|\.[0-9a-f]{32}\.sksharp")


@contextlib.contextmanager
def checkpoints(
    folder: str | os.PathLike[str], *, interval: float = 60.0
) -> Iterator[None]:
    """Context that saves fits and searches, to continue them after a kill.

    Every training inside it is saved to ``folder`` while it runs and when it ends.
    Start a killed script again as it is: finished trainings are read, the others
    continue from their last save, and the result is bit for bit that of an
    uninterrupted run. When the context ends, it removes its files, and the folder if it
    is empty.

    Parameters
    ----------
    folder : str or path-like
        Folder of the files. It is created if it does not exist.

    interval : float, default=60.0
        Smallest number of seconds between two saves of a training. Saves are less
        frequent if they would take more than 2 % of the time.

    Raises
    ------
    TypeError
        If ``folder`` is no path, or ``interval`` no number.
    ValueError
        If ``interval`` is negative or not finite.
    NotADirectoryError
        If ``folder`` is a file.
    OSError
        If ``folder`` cannot be created.

    Warns
    -----
    CheckpointWarning
        If a file cannot be written or read, if files of the folder belong to another
        training, or if a fit cannot be saved. The training itself continues.

    See Also
    --------
    save : Store a fitted estimator.
    progress : Show how far a fit is.

    Notes
    -----
    A training is found by its data, its parameters, the numbers that it has drawn, and the
    versions of sksharp, numpy and torch. If one of them is another, it begins anew, and the
    files of the other stay. So ``random_state`` must be set: with None nothing is saved,
    nor with ``callbacks``, whose state is not known, nor with ``solver='lbfgs'``. A call of
    ``partial_fit`` is one epoch and not saved either: a stream is best kept by
    :func:`save`.

    Threads that a script starts itself are outside of the context: enter it in each.
    Networks that train in processes of this package or of joblib are saved there, also
    those of ``GridSearchCV(n_jobs=2)``. On a cluster the folder must be one that all
    machines see. In :func:`sksharp.distributed.data_parallel` the first process reads and
    writes.

    Files hold data alone, as those of :func:`save`. The state of a network takes up to six
    times the memory of its weights; what has ended stays until the context ends.

    After an error or Ctrl-C the files stay, also where a fit that was interrupted ends
    fitted.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sksharp import SAMMLPClassifier, checkpoints
    >>> X, y = load_iris(return_X_y=True)
    >>> folder = os.path.join(tempfile.gettempdir(), "iris-checkpoints")
    >>> clf = SAMMLPClassifier((16,), rho=0.1, max_iter=20, tol=1, random_state=0)
    >>> with checkpoints(folder, interval=30):
    ...     clf = clf.fit(X, y)
    >>> os.path.exists(folder)
    False
    """
    if not isinstance(folder, str | os.PathLike):
        raise TypeError(
            f"folder must be a path, got folder={folder!r}. Pass the name of a folder, as "
            "a string."
        )
    if not isinstance(interval, Real) or isinstance(interval, bool):
        raise TypeError(
            f"interval must be a number of seconds, got interval={interval!r}."
        )
    if not 0 <= interval < math.inf:
        raise ValueError(
            "interval must be a finite number of seconds, at least 0, got "
            f"interval={interval!r}."
        )
    path = Path(os.path.abspath(folder))
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(
            f"folder must be a folder, got the file {str(path)!r}. Choose another name."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            error.errno,
            f"folder cannot be made ({error.strerror}). Choose one in a place that can be "
            "written",
            str(path),
        ) from error
    context = Checkpoints(path, float(interval))
    try:
        with using(context):
            yield
    finally:
        context.is_over = True
    if not context.is_interrupted:
        context.clean_up()
        with contextlib.suppress(OSError):  # files of others are in it
            path.rmdir()


class Checkpoints:
    """Where the trainings of a context are kept.

    Parameters
    ----------
    folder : Path
        Folder, with a folder for every training.

    interval : float
        Fewest seconds between two saves.

    Attributes
    ----------
    name : str
        Name of this context's files.

    is_over : bool
        Whether the context has ended.

    is_interrupted : bool
        Whether a training was interrupted by the user, and is to go on another time.

    is_elsewhere : bool
        Whether this is a copy in another process, or one that was stored.

    has_found : bool
        Whether a training was found in the folder.

    seconds : float
        What the last save took, at first that of a small file.
    """

    def __init__(self, folder: Path, interval: float) -> None:
        self.folder, self.interval = folder, interval
        self.name = uuid.uuid4().hex
        # of earlier contexts
        self.has_files = bool(found(folder, "*"))
        self.is_over = self.is_interrupted = self.has_found = False
        self.is_elsewhere = False
        self._told: set[str] = set()
        self.seconds = self._measure()

    def _measure(self) -> float:
        """Return the seconds that the disk takes for a small file."""
        path, start = self.folder / f"{self.name}.measured", time.monotonic()
        with contextlib.suppress(OSError):  # the first save tells
            replace_file(path, bytes(MEASURED_BYTES))
            path.unlink()
        return time.monotonic() - start

    def __getstate__(self) -> dict[str, Any]:
        # another process tells by itself, and does not hear of the end
        return {**vars(self), "_told": set(), "is_elsewhere": True}

    @property
    def is_known_over(self) -> bool:
        """Whether the context has ended, as far as can be known."""
        # its folder goes when it ends
        return self.is_over or (self.is_elsewhere and not self.folder.is_dir())

    def tell(self, kind: str, message: str) -> None:
        """Warn, once of every kind."""
        if kind not in self._told:
            self._told.add(kind)
            warn(message, CheckpointWarning)

    def own_files(self) -> list[Path]:
        """Return the files of this context, of all processes."""
        return found(self.folder, f"*/{self.name}{SUFFIX}")

    def other_files(self) -> list[Path]:
        """Return the files of other contexts, the latest last."""
        own = self.name + SUFFIX
        paths = found(self.folder, f"*/*{SUFFIX}")
        return sorted((path for path in paths if path.name != own), key=time_of)

    def clean_up(self) -> None:
        """Remove what belongs to the trainings of this context."""
        for own in self.own_files():
            for path in found(own.parent, "*"):
                with contextlib.suppress(OSError):
                    path.unlink()
            with contextlib.suppress(OSError):
                own.parent.rmdir()
        for path in found(self.folder, "*"):
            if LEFT.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()


def found(folder: Path, pattern: str) -> list[Path]:
    """Return the paths in a folder, none if another process removes it meanwhile."""
    with contextlib.suppress(OSError):
        return list(folder.glob(pattern))
    return []


def time_of(path: Path) -> float:
    """Return when a file was written, 0 if it is gone."""
    with contextlib.suppress(OSError):
        return os.path.getmtime(path)
    return 0.0


def current_checkpoints() -> Checkpoints | None:
    """Return where trainings are kept, None outside of :func:`checkpoints`."""
    return _active.get()


@contextlib.contextmanager
def using(context: Checkpoints | None) -> Iterator[None]:
    """Context in which trainings are kept in a folder, or nowhere."""
    token = _active.set(context)
    try:
        yield
    finally:
        _active.reset(token)


def carry(estimator: Any) -> None:
    """Let a clone of an estimator take the context to another process or thread."""
    context = _active.get()
    if context is not None:
        estimator._checkpoints = context


@contextlib.contextmanager
def of_fit(estimator: Any, why_not: str | None) -> Iterator[None]:
    """Context of a fit, in which its trainings are kept if that is asked for.

    Parameters
    ----------
    estimator : estimator
        The one that fits.

    why_not : str or None
        Why its training cannot be kept, None if it can. Empty where that is no surprise.
    """
    carried = vars(estimator).pop("_checkpoints", None)
    context = _active.get()
    if context is None and carried is not None and not carried.is_known_over:
        context = carried
    if context is not None and why_not is not None:
        if why_not:
            context.tell(
                why_not,
                f"{type(estimator).__name__} is not saved in checkpoints(): {why_not}",
            )
        context = None
    with using(context):
        yield
