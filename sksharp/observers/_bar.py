"""A progress bar for fits and searches that take long."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any, Protocol, TextIO, TypedDict

from .._jobs import TrainingJob, TrainingResult
from .._warnings import warn

_display: contextvars.ContextVar[Display | None] = contextvars.ContextVar(
    "display", default=None
)
_is_quiet = contextvars.ContextVar("is_quiet", default=False)

# seconds between two updates: on a terminal one replaces the other, in a file each is a
# line
SCREEN_INTERVAL = 0.1
FILE_INTERVAL = 10.0


@contextlib.contextmanager
def progress(
    *,
    delay: float = 2.0,
    mininterval: float | None = None,
    file: TextIO | None = None,
) -> Iterator[None]:
    """Context that shows how far its fits and vectorized searches are.

    A fit that takes less than ``delay`` seconds shows nothing. A longer one shows a bar of
    tqdm on a terminal or in a notebook, and a line of text every ``mininterval`` seconds
    elsewhere, as in a log file. Both give the number of epochs (of several networks that
    train together, the sum), the training loss, the best validation score, the best radius
    so far with ``rho='auto'``, the group of networks, and the estimated time left for what
    the title names.

    Parameters
    ----------
    delay : float, default=2.0
        Seconds of a fit before it shows anything.

    mininterval : float or None, default=None
        Fewest seconds between two updates. None for 0.1 on a terminal or in a notebook
        and 10 elsewhere.

    file : file object or None, default=None
        Where to write, None for ``sys.stderr`` or the notebook.

    Raises
    ------
    TypeError
        If ``file`` is not writable, or ``delay`` or ``mininterval`` is no number.
    ValueError
        If ``delay`` or ``mininterval`` is negative or not finite.

    See Also
    --------
    SAMMLPClassifier.set_callbacks : Takes scikit-learn's callbacks, its ``ProgressBar``
        among them, from scikit-learn 1.9 on.

    Notes
    -----
    The context applies to the thread that enters it. Fits in other processes or threads,
    such as those of ``GridSearchCV(n_jobs=2)``, show nothing. Groups of networks that
    train in other processes (``n_jobs`` of the estimators and searches of this package)
    count when they are done. Of the processes that share a fit in
    :func:`~sksharp.distributed.data_parallel` only the first shows it.

    Examples
    --------
    >>> import sys
    >>> from sklearn.datasets import load_iris
    >>> from sksharp import SAMMLPClassifier, progress
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SAMMLPClassifier((16,), rho=0.1, batch_size=20, learning_rate_init=0.02,
    ...                        tol=0.01, random_state=0)
    >>> with progress(delay=0, mininterval=3600, file=sys.stdout):
    ...     clf = clf.fit(X, y)
    SAMMLPClassifier: 0 of 200 epochs, 00:00
    SAMMLPClassifier: ... epochs, loss 0..., ...
    """
    for name, seconds in (("delay", delay), ("mininterval", mininterval)):
        if name == "mininterval" and seconds is None:
            continue
        if not isinstance(seconds, Real) or isinstance(seconds, bool):
            raise TypeError(
                f"{name} must be a number of seconds, got {name}={seconds!r}."
            )
        if not 0 <= seconds < math.inf:
            raise ValueError(
                f"{name} must be a finite number of seconds, at least 0, got "
                f"{name}={seconds!r}."
            )
    if file is not None and not hasattr(file, "write"):
        raise TypeError(
            f"file must be a file that is open for writing, got file={file!r}. Pass "
            "open(path, 'a'), or None for sys.stderr."
        )
    token = _display.set(Display(delay, mininterval, file))
    try:
        yield
    finally:
        _display.reset(token)


def current_display() -> Display | None:
    """Return where to show progress, None outside of :func:`progress`."""
    return None if _is_quiet.get() else _display.get()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Context without bars and printed lines, because another process has them."""
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)


def say(message: str) -> None:
    """Print a line, unless another process does."""
    if not _is_quiet.get():
        print(message, flush=True)


class Display:
    """Where and when progress is shown.

    Parameters
    ----------
    delay, mininterval, file
        As in :func:`progress`.
    """

    def __init__(
        self, delay: float, mininterval: float | None, file: TextIO | None
    ) -> None:
        self.delay, self.mininterval, self.file = delay, mininterval, file

    def bar(self, name: str) -> Bar:
        """Return a bar for an estimator's fit, not shown yet."""
        return Bar(name, self)

    def screen(self) -> tuple[Screen, float]:
        """Return what draws, and the seconds between two updates."""
        bar = notebook_bar() if self.file is None else None
        file = sys.stderr if self.file is None else self.file
        if bar is None and getattr(file, "isatty", lambda: False)():
            from tqdm import tqdm as terminal_bar

            bar = terminal_bar
        screen: Screen = Lines(file)
        interval = FILE_INTERVAL
        if bar is not None:
            screen, interval = TqdmScreen(bar, self.file), SCREEN_INTERVAL
        return screen, interval if self.mininterval is None else self.mininterval


def notebook_bar() -> Any:
    """Return the class of tqdm's bars in a notebook, None if this is none."""
    from tqdm.auto import tqdm
    from tqdm.notebook import tqdm_notebook

    return tqdm if issubclass(tqdm, tqdm_notebook) else None


class Position(TypedDict):
    """Where a bar stands: changes of it are drawn."""

    title: str
    n: int
    total: int


class Screen(Protocol):
    """What a bar is drawn on."""

    def draw(
        self, *, title: str, n: int, total: int, unit: str, seconds: float, note: str
    ) -> None:
        """Draw the bar."""

    def close(self) -> None:
        """End the last line."""


class Bar:
    """Observer that shows how far a fit is, in one line.

    Parameters
    ----------
    name : str
        What is fitted, for the title.

    display : Display
        Where and when to show it.
    """

    error: Exception | None = None  # it raises none

    def __init__(self, name: str, display: Display) -> None:
        self._name, self._display = name, display
        self._next = time.monotonic() + display.delay
        self._screen: Screen | None = None
        self._position: Position | None = None
        self._rung: int | None = None
        self._n_rungs = 0

    # -- events --------------------------------------------------------------------------

    def begin_fit(self) -> None:
        """Do nothing: the fit reports no epochs."""

    def begin_choice(self, n_rungs: int, n_parts: int) -> None:
        """Count the rungs of the choice of a radius from here on."""
        self._rung, self._n_rungs = 0, n_rungs

    def end_choice(self) -> None:
        """Stop counting rungs."""
        self._rung = None

    def expect_no_more(self) -> None:
        """Do nothing: the title names one training."""

    def begin_training(self, groups: Sequence[Sequence[TrainingJob]]) -> None:
        """Begin to count the epochs of groups of jobs."""
        self._groups, self._start = groups, time.monotonic()
        # epochs of all networks of a group
        self._to_come = [
            len(group) * max(job.epochs_to_come for job in group) for group in groups
        ]
        self._n_done = self._n_of_group = self._group = 0
        if self._rung is not None:
            self._rung += 1
        self._show_if_due()

    def begin_epoch(self, result_now: Callable[[], TrainingResult]) -> None:
        """Do nothing: the end of an epoch counts."""

    def end_epoch(self, result_now: Callable[[], TrainingResult]) -> bool:
        """Count an epoch; never stop."""
        self._n_of_group += len(self._groups[self._group])
        self._show_if_due()
        return False

    def end_group(self) -> None:
        """Count the epochs of a group."""
        # a group that trained in another process has reported none
        self._n_done += self._n_of_group or self._to_come[self._group]
        self._n_of_group = 0
        self._group += 1
        self._show_if_due()

    def end_training(self, *, is_interrupted: bool) -> None:
        """Show the end, if anything was shown."""
        if self._screen is not None:
            self._show_if_due(is_due=True)

    def finish(self) -> None:
        """Do nothing: close ends the bar."""

    def close(self) -> None:
        """End the last line, also after an error."""
        if self._screen is not None:
            self._try(self._screen.close)

    # -- drawing -------------------------------------------------------------------------

    def _show_if_due(self, is_due: bool = False) -> None:
        now = time.monotonic()
        if now < self._next and not is_due:
            return
        self._try(self._show, now)

    def _try(self, draw: Callable[..., None], *args: Any) -> None:
        try:
            draw(*args)
        except (OSError, ValueError) as error:
            # a full disk, a closed file or a closed terminal: the fit continues
            self._screen, self._next = None, math.inf
            warn(
                f"progress() cannot write any more and is silent for this fit: {error}"
            )

    def _show(self, now: float) -> None:
        if self._screen is None:
            self._screen, self._interval = self._display.screen()
        self._next = now + self._interval
        n = self._n_done + self._n_of_group
        total = self._n_done + sum(self._to_come[self._group :])
        position: Position = {"title": self._title(), "n": n, "total": total}
        if position == self._position:
            return
        self._position = position
        self._screen.draw(
            **position,
            unit="network epochs" if self._n_networks > 1 else "epochs",
            seconds=now - self._start,
            note=self._note(),
        )

    @property
    def _n_networks(self) -> int:
        return sum(map(len, self._groups))

    def _title(self) -> str:
        parts = [self._name]
        has_radius = self._groups[0][0].settings.argument("rho") is not None
        choice = "rho" if has_radius else "length"
        if self._rung is not None:
            parts.append(f"choosing {choice}, rung {self._rung} of {self._n_rungs}")
        elif self._n_rungs:
            parts.append(f"training with the chosen {choice}")
        if len(self._groups) > 1:
            number = min(self._group + 1, len(self._groups))
            parts.append(f"group {number} of {len(self._groups)}")
        if self._n_networks > 1:
            parts.append(f"{self._n_networks} networks")
        return ", ".join(parts)

    def _note(self) -> str:
        jobs = [job for group in self._groups for job in group]
        losses = [loss for job in jobs for loss in job.progress.loss_curve[-1:]]
        parts = []
        if losses:
            mean = "mean " if len(jobs) > 1 else ""
            parts.append(f"{mean}loss {sum(losses) / len(losses):.4g}")
        scores: dict[float | None, list[float]] = {}
        for job in jobs:
            best = job.progress.best_validation_score
            if best is not None and math.isfinite(best):
                radius = job.settings.argument("rho")
                scores.setdefault(radius, []).append(best)
        means = {radius: sum(s) / len(s) for radius, s in scores.items()}
        if len(jobs) == 1 and means:
            parts.append(f"best validation score {max(means.values()):.4g}")
        elif self._rung is not None and means:
            leader = max(means, key=lambda radius: means[radius])
            validation = jobs[0].validation
            is_loss = validation is not None and validation.score is None
            value = -means[leader] if is_loss else means[leader]
            ahead = "folds" if leader is None else f"rho={leader:.4g} ahead"
            parts.append(f"{ahead} at {value:.4g}")
        return ", ".join(parts)


class TqdmScreen:
    """A bar of tqdm, which replaces itself.

    Parameters
    ----------
    tqdm : type
        Class of the bar.

    file : file object or None
        Where to draw, None for tqdm's default.
    """

    def __init__(self, tqdm: Any, file: TextIO | None) -> None:
        # without tqdm's thread, which would outlive the fit
        kind = type("Bar", (tqdm,), {"monitor_interval": 0})
        self._make = functools.partial(kind, file=file, dynamic_ncols=True)
        self._bar: Any = None

    def draw(
        self, *, title: str, n: int, total: int, unit: str, seconds: float, note: str
    ) -> None:
        """Draw the bar."""
        unit = f" {unit}"
        if self._bar is None:
            self._bar = self._make(total=total, desc=title, unit=unit)
        bar = self._bar
        if bar.total != total:
            bar.reset(total)
        bar.n, bar.unit, bar.start_t = n, unit, time.time() - seconds
        bar.set_description_str(title, refresh=False)
        bar.set_postfix_str(note, refresh=False)
        bar.refresh()

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.close()


class Lines:
    """A line of text for every update.

    Parameters
    ----------
    file : file object or None
        Where to write, None for nowhere.
    """

    def __init__(self, file: TextIO | None) -> None:
        from tqdm import tqdm

        self._file, self._clock = file, tqdm.format_interval

    def draw(
        self, *, title: str, n: int, total: int, unit: str, seconds: float, note: str
    ) -> None:
        """Write a line."""
        parts = [f"{title}: {n} of {total} {unit}"]
        if note:
            parts.append(note)
        parts.append(self._clock(seconds))
        if 0 < n < total:
            parts.append(f"about {self._clock(seconds / n * (total - n))} left")
        if self._file is not None:
            print(", ".join(parts), file=self._file, flush=True)

    def close(self) -> None:
        """Do nothing: every line is complete."""
