"""A progress bar for fits and searches that take long."""

import contextlib
import contextvars
import functools
import math
import sys
import time
from numbers import Real

from ._warnings import warn

_display = contextvars.ContextVar("display", default=None)
_is_quiet = contextvars.ContextVar("is_quiet", default=False)

# seconds between two updates, where they replace each other and where they pile up
ON_SCREEN = 0.1
IN_A_FILE = 10.0


@contextlib.contextmanager
def progress(*, delay=2.0, mininterval=None, file=None):
    """Show how far the fits and vectorized searches inside are.

    Nothing is shown of a fit that is over before ``delay``. After it there is a bar of
    tqdm's on a terminal and in a notebook, and a line of text now and then elsewhere, as
    in a log file. It tells the epochs or, where several networks are trained together,
    the sum of their epochs; the training loss, the best validation score, the radius that
    is ahead with ``rho='auto'``, the group of networks, and about how much time is left
    for what the title names.

    Parameters
    ----------
    delay : float, default=2.0
        Seconds of a fit before anything is shown.

    mininterval : float or None, default=None
        Seconds between two updates at least. None for 0.1 on a terminal or in a notebook
        and 10 elsewhere.

    file : file object or None, default=None
        Where to write, None for ``sys.stderr`` or the notebook.

    Raises
    ------
    TypeError
        If ``file`` cannot be written to, or a number of seconds is none.
    ValueError
        If a number of seconds is negative or not finite.

    See Also
    --------
    SAMMLPClassifier.set_callbacks : Takes scikit-learn's callbacks, its ``ProgressBar``
        among them, from scikit-learn 1.9 on.

    Notes
    -----
    It holds for the thread that enters it. Fits in other processes or threads, such as
    those of ``GridSearchCV(n_jobs=2)``, are silent. Of groups of networks that are trained
    in other processes (``n_jobs`` of our estimators and searches), it tells which are
    done. Of the processes that share a fit in :func:`~sksharp.distributed.data_parallel`
    the first one shows it.

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


def current_display():
    """Return where to show progress, None if nobody has asked to."""
    return None if _is_quiet.get() else _display.get()


@contextlib.contextmanager
def quiet():
    """Context in which nothing is shown or said, because another process does."""
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)


def say(message):
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

    def __init__(self, delay, mininterval, file):
        self.delay, self.mininterval, self.file = delay, mininterval, file

    def bar(self, name):
        """Return a bar for an estimator's fit, not shown yet."""
        return Bar(name, self)

    def screen(self):
        """Return what draws, and how often."""
        tqdm = None
        if self.file is None:
            tqdm = notebook_bar()
        file = sys.stderr if self.file is None else self.file
        if tqdm is None and getattr(file, "isatty", lambda: False)():
            from tqdm import tqdm
        screen, interval = Lines(file), IN_A_FILE
        if tqdm is not None:
            screen, interval = Screen(tqdm, self.file), ON_SCREEN
        return screen, interval if self.mininterval is None else self.mininterval


def notebook_bar():
    """Return the class of tqdm's bars in a notebook, None if this is none."""
    from tqdm.auto import tqdm
    from tqdm.notebook import tqdm_notebook

    return tqdm if issubclass(tqdm, tqdm_notebook) else None


class Bar:
    """How far a fit is, in one line.

    Parameters
    ----------
    name : str
        What is fitted.

    display : Display
        Where and when to show it.
    """

    def __init__(self, name, display):
        self._name, self._display = name, display
        self._next = time.monotonic() + display.delay
        self._screen = self._stage = self._shown = None
        self._n_stages = 0

    # -- what it hears -------------------------------------------------------------------

    def begin_fit(self):
        """Hear that a fit begins that cannot tell how far it is."""

    def begin_choice(self, n_stages, n_parts):
        """Hear that a radius will be chosen, in so many stages at most."""
        self._stage, self._n_stages = 0, n_stages

    def end_choice(self):
        """Hear that it is chosen."""
        self._stage = None

    def expect_no_more(self):
        """Hear that the next training is the only one."""

    def begin_training(self, groups):
        """Hear which jobs will be trained together."""
        self._groups, self._begun = groups, time.monotonic()
        # epochs of all networks of a group
        self._to_come = [
            len(group) * max(job.epochs_to_come for job in group) for group in groups
        ]
        self._n_done = self._n_of_group = self._group = 0
        if self._stage is not None:
            self._stage += 1
        self._tell()

    def begin_epoch(self, result_now):
        """Hear that an epoch begins."""

    def end_epoch(self, result_now):
        """Hear that it has ended."""
        self._n_of_group += len(self._groups[self._group])
        self._tell()

    def end_group(self):
        """Hear that a group is trained."""
        # one that was trained in a process has told of no epochs
        self._n_done += self._n_of_group or self._to_come[self._group]
        self._n_of_group = 0
        self._group += 1
        self._tell()

    def end_training(self, is_interrupted):
        """Hear that all groups are trained."""
        if self._screen is not None:
            self._tell(is_due=True)

    def finish(self):
        """Hear that all went well."""

    def close(self):
        """Leave whole lines behind, whatever has happened."""
        if self._screen is not None:
            self._try(self._screen.close)

    # -- what it shows -------------------------------------------------------------------

    def _tell(self, is_due=False):
        now = time.monotonic()
        if now < self._next and not is_due:
            return
        self._try(self._show, now)

    def _try(self, draw, *args):
        try:
            draw(*args)
        except (OSError, ValueError) as error:
            # a full disk, a closed file or a terminal that is gone: the fit goes on
            self._screen, self._next = None, math.inf
            warn(
                f"progress() cannot write any more and is silent for this fit: {error}"
            )

    def _show(self, now):
        if self._screen is None:
            self._screen, self._interval = self._display.screen()
        self._next = now + self._interval
        n = self._n_done + self._n_of_group
        total = self._n_done + sum(self._to_come[self._group :])
        place = {"title": self._title(), "n": n, "total": total}
        if place == self._shown:
            return
        self._shown = place
        self._screen.draw(
            **place,
            unit="network epochs" if self._n_networks > 1 else "epochs",
            seconds=now - self._begun,
            note=self._note(),
        )

    @property
    def _n_networks(self):
        return sum(map(len, self._groups))

    def _title(self):
        parts = [self._name]
        if self._stage is not None:
            parts.append(f"choosing rho, stage {self._stage} of {self._n_stages}")
        elif self._n_stages:
            parts.append("training with the chosen rho")
        if len(self._groups) > 1:
            place = min(self._group + 1, len(self._groups))
            parts.append(f"group {place} of {len(self._groups)}")
        if self._n_networks > 1:
            parts.append(f"{self._n_networks} networks")
        return ", ".join(parts)

    def _note(self):
        jobs = [job for group in self._groups for job in group]
        losses = [loss for job in jobs for loss in job.progress.loss_curve[-1:]]
        parts = []
        if losses:
            mean = "mean " if len(jobs) > 1 else ""
            parts.append(f"{mean}loss {sum(losses) / len(losses):.4g}")
        scores = {}
        for job in jobs:
            best = job.progress.best_validation_score
            if best is not None and math.isfinite(best):
                radius = job.settings.solver_parameters.get("rho")
                scores.setdefault(radius, []).append(best)
        means = {radius: sum(s) / len(s) for radius, s in scores.items()}
        if len(jobs) == 1 and means:
            parts.append(f"best validation score {max(means.values()):.4g}")
        elif self._stage is not None and means:
            ahead = max(means, key=means.get)
            is_loss = jobs[0].validation.score is None
            value = -means[ahead] if is_loss else means[ahead]
            parts.append(f"rho={ahead:.4g} ahead at {value:.4g}")
        return ", ".join(parts)


class Screen:
    """One line that is drawn again and again, by tqdm.

    Parameters
    ----------
    tqdm : type
        Class of the bar.

    file : file object or None
        Where to draw, None for tqdm's own choice.
    """

    def __init__(self, tqdm, file):
        # without tqdm's thread, which would outlive the fit
        kind = type("Bar", (tqdm,), {"monitor_interval": 0})
        self._make = functools.partial(kind, file=file, dynamic_ncols=True)
        self._bar = None

    def draw(self, *, title, n, total, unit, seconds, note):
        """Draw the line."""
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

    def close(self):
        """End the line."""
        if self._bar is not None:
            self._bar.close()


class Lines:
    """A line of text for every time.

    Parameters
    ----------
    file : file object or None
        Where to write, None for nowhere.
    """

    def __init__(self, file):
        from tqdm import tqdm

        self._file, self._clock = file, tqdm.format_interval

    def draw(self, *, title, n, total, unit, seconds, note):
        """Write a line."""
        parts = [f"{title}: {n} of {total} {unit}"]
        if note:
            parts.append(note)
        parts.append(self._clock(seconds))
        if 0 < n < total:
            parts.append(f"about {self._clock(seconds / n * (total - n))} left")
        if self._file is not None:
            print(", ".join(parts), file=self._file, flush=True)

    def close(self):
        """Do nothing: every line is whole."""
