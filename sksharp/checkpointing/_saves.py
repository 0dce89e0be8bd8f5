"""Files of groups of networks that train together."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import io
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import joblib
import numpy as np

from .._fingerprints import Fingerprints
from .._jobs import Progress, Snapshot, TrainingJob, TrainingResult
from .._version import __version__
from ..storage._archive import Format, NotReadable, check_digest, pack, unpack
from ..storage._encoding import Decoder, Encoder
from ..storage._files import replace_file
from ._context import SUFFIX, Checkpoints, found, time_of
from ._rules import CATEGORIES, are_results

FORMAT = Format("sksharp checkpoint", 1, "sksharp.checkpoints")

# largest share of the time that is spent on saving
SHARE = 0.02

# files whose differences are looked at, the latest ones
N_COMPARED = 20

WORDS = {
    "settings": "the parameters",
    "state": "what was trained before",
    "scoring": "scoring",
    "versions": "the versions of the packages",
}


class ResultEncoder(Encoder):
    """Encodes results of trainings."""

    records: ClassVar[dict[str, Any]] = {
        **Encoder.records,
        **{cls.__name__: cls for cls in (Progress, Snapshot, TrainingResult)},
    }


class ResultDecoder(Decoder):
    """Decodes results of trainings, which may come from anyone."""

    records: ClassVar[dict[str, Any]] = ResultEncoder.records


class GroupSave:
    """The save of a group of jobs that train together.

    Parameters
    ----------
    context : Checkpoints
        Where it is kept.

    jobs : list of TrainingJob
        The jobs of the group, as they begin.

    of : dict of str to str
        Fingerprints of what the training depends on.

    Attributes
    ----------
    jobs : list of TrainingJob
        Those that are left to train, as they go on; all of them if all have ended.

    n_jobs : int
        How many there are in all.

    is_writer : bool
        Whether this process writes.
    """

    def __init__(
        self,
        context: Checkpoints,
        jobs: Sequence[TrainingJob],
        of: dict[str, str],
    ) -> None:
        self.context, self.of = context, of
        self.jobs, self.n_jobs = list(jobs), len(jobs)
        self.is_writer = True
        described = repr((sorted(of.items()), len(jobs)))
        self.key = hashlib.blake2b(described.encode(), digest_size=20).hexdigest()
        # by the places of the jobs: results of those that have ended
        self._ended: dict[int, TrainingResult] = {}
        self._begin = self._due = self._spent = 0.0

    @property
    def is_done(self) -> bool:
        """Whether all jobs have ended."""
        return len(self._ended) == self.n_jobs

    @property
    def path(self) -> Path:
        """The file of this context."""
        return self.context.folder / self.key / (self.context.name + SUFFIX)

    def without_jobs(self) -> GroupSave:
        """Return a copy without jobs, which are sent to other processes by themselves."""
        twin = copy.copy(self)
        twin.jobs = []
        return twin

    # -- reading ---------------------------------------------------------------------

    def read(self) -> bytes | None:
        """Return the latest readable file of the training, None if there is none."""
        paths = found(self.path.parent, "*" + SUFFIX)
        for path in sorted(paths, key=time_of, reverse=True):
            try:
                content = _content_of(path)
                self._results_of(content)
            except (OSError, NotReadable, MemoryError) as error:
                self.context.has_found = True
                why = str(error).rstrip(".") or "it does not fit into memory"
                self.context.tell(
                    str(path),
                    f"The file {str(path)!r} cannot be used: {why}. What it held is "
                    "trained anew.",
                )
                continue
            if path != self.path:
                with contextlib.suppress(OSError):  # read-only
                    os.replace(path, self.path)
            return content
        return None

    def resume(self, content: bytes | None) -> None:
        """Take over what a file holds."""
        if content is None:
            return
        self.context.has_found = True
        left = []
        results = self._results_of(content)
        for k, (job, result) in enumerate(zip(self.jobs, results, strict=True)):
            # a pause that the job asks for is its end
            if not result.is_paused or result.progress.n_iter == job.pause_at:
                self._ended[k] = result
                continue
            job = dataclasses.replace(
                job.resume(result, job.pause_at),
                # rows in their order need no index
                rows=result.rows if job.settings.shuffle else job.rows,
            )
            left.append(job)
        self.jobs = left or self.jobs

    def _results_of(self, content: bytes) -> list[TrainingResult]:
        manifest, arrays = unpack(io.BytesIO(content), FORMAT)
        results = ResultDecoder(arrays).content(manifest.get("results"))
        if not are_results(results, self.jobs):
            raise NotReadable("it holds a state that the training cannot reach.")
        return [
            dataclasses.replace(
                result,
                warnings=tuple(
                    (text, CATEGORIES[name]) for text, name in result.warnings
                ),
            )
            for result in results
        ]

    # -- writing ---------------------------------------------------------------------

    def begin(self) -> None:
        """Begin the training in this process."""
        self._begin = time.monotonic()
        self._plan_next()

    def after_epoch(self, results_now: Callable[[], list[TrainingResult]]) -> None:
        """Save the training if it is time.

        ``results_now`` returns results of jobs that have ended, and pauses of the others.
        """
        if self.is_writer and time.monotonic() >= self._due:
            self._write(results_now())
            self._plan_next()

    def end(self, results: Sequence[TrainingResult]) -> None:
        """Save the results, unless to train them again costs little."""
        allowed = SHARE * (time.monotonic() - self._begin)
        if self.is_writer and self._spent + self.context.seconds <= allowed:
            self._write(results)

    def all_results(self, results: Sequence[TrainingResult]) -> list[TrainingResult]:
        """Return the results of all jobs, given those of the ones that were left."""
        others = iter(results)
        return [
            self._ended[k] if k in self._ended else next(others)
            for k in range(self.n_jobs)
        ]

    def _plan_next(self) -> None:
        pause = max(self.context.interval, self.context.seconds / SHARE)
        self._due = time.monotonic() + pause

    def _write(self, results: Sequence[TrainingResult]) -> None:
        start = time.monotonic()
        self._tell_of_others()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, self._content(self.all_results(results)))
        except OSError as error:
            with contextlib.suppress(OSError):  # nothing is in it
                self.path.parent.rmdir()
            self.context.tell(
                "write",
                f"checkpoints() cannot write to {str(self.context.folder)!r}: {error}. "
                "The training goes on, but what comes from here on is lost if it is "
                "killed. Free space, or let the folder be written; it is tried again.",
            )
        self.context.seconds = time.monotonic() - start
        self._spent += self.context.seconds

    def _content(self, results: Sequence[TrainingResult]) -> bytes:
        encoder = ResultEncoder()
        plain = [_with_names(result) for result in results]
        tree = encoder.encode(plain, "results")
        content = {"of": self.of, "results": tree}
        return pack(FORMAT.manifest(content, encoder.arrays), encoder.arrays)

    def _tell_of_others(self) -> None:
        """Warn if the folder has files, and none of them is of this work."""
        context = self.context
        if not context.has_files or context.has_found or context.own_files():
            return
        others = context.other_files()
        context.has_found = True  # told once
        if not others:
            return
        differs = [diff for path in others[-N_COMPARED:] if (diff := self._diff(path))]
        nearest = min(differs, key=len, default=[])
        names = " and ".join(WORDS.get(name, name) for name in nearest)
        what = f" The nearest one differs in {names}." if names else ""
        context.tell(
            "others",
            f"None of the {len(others)} files in {str(context.folder)!r} is of this "
            f"training, which begins anew.{what} The files stay until you remove them.",
        )

    def _diff(self, path: Path) -> list[str]:
        """Return the names of what differs between this training and that of a file."""
        try:
            with _open_regular(path) as file:
                of = dict(unpack(file, FORMAT)[0]["of"])
        except Exception:  # it is not read for anything else
            return []
        return [name for name, digest in self.of.items() if of.get(name) != digest]


def _open_regular(path: Path) -> BinaryIO:
    """Open a file, but no pipe, which may wait for ever, and no device."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NotReadable("it is not a regular file.")
    return open(path, "rb")


def _content_of(path: Path) -> bytes:
    """Return the content of a file, which is not taken into memory if it is damaged."""
    with _open_regular(path) as file:
        check_digest(file, FORMAT)
        file.seek(0)
        return file.read()


def _with_names(result: TrainingResult) -> TrainingResult:
    """Return a result with the names of categories of warnings in their places."""
    warnings: Any = tuple((text, kind.__name__) for text, kind in result.warnings)
    return dataclasses.replace(result, warnings=warnings)


def open_saves(
    context: Checkpoints,
    groups: Sequence[Sequence[TrainingJob]],
    versions: dict[str, str],
    share: Callable[[bytes | None], bytes | None] | None = None,
    *,
    is_writer: bool = True,
) -> list[GroupSave | None]:
    """Return the saves of groups, with what was found of them.

    Parameters
    ----------
    context : Checkpoints
        Where they are kept.

    groups : list of list of TrainingJob
        Jobs that train together.

    versions : dict of str to str
        Of packages whose numbers are in the results.

    share : callable or None, default=None
        Returns what the first of several processes has read, in all of them.

    is_writer : bool, default=True
        Whether this process is the one to read and write.

    Returns
    -------
    saves : list of (GroupSave or None)
        None for a group that cannot be kept.
    """
    fingerprints = Fingerprints()
    own = {"sksharp": __version__, "numpy": np.__version__, **versions}
    saves: list[GroupSave | None] = []
    for jobs in groups:
        try:
            scoring = _of_scoring(jobs)
        except Exception as error:  # a lambda, for instance, has no fingerprint
            context.tell(
                "scoring",
                f"A training is not saved in checkpoints(), its scorer cannot be told "
                f"from another ({error}). Define it at the top level of a module.",
            )
            saves.append(None)
            continue
        of = {**fingerprints(jobs), "scoring": scoring, "versions": repr(own)}
        save = GroupSave(context, jobs, of)
        save.is_writer = is_writer
        content = save.read() if is_writer else None
        save.resume(content if share is None else share(content))
        saves.append(save)
    return saves


def _of_scoring(jobs: Sequence[TrainingJob]) -> str:
    """Return a fingerprint of what scores validation rows, and of what it decodes to."""
    parts: list[Any] = []
    for job in jobs:
        score: Any = None if job.validation is None else job.validation.score
        classes = None if job.classes is None else np.asarray(job.classes)
        parts += [score is None, classes if classes is None else classes.tolist()]
        scoring = None if score is None else score.estimator.scoring
        known = scoring is None or isinstance(scoring, str)
        parts.append(scoring if known else joblib.hash(scoring))
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
