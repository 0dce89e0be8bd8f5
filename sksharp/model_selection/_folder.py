"""The folder of a search, which does not outlive it for long."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

PREFIX, LOCK = "sksharp-search-", "in-use"


class SearchFolder:
    """A new folder under the temporary directory, and no more of killed processes.

    Its process holds a file in it. Where no process does any more, the next search removes
    the folder.

    Raises
    ------
    OSError
        If it cannot be made.
    """

    def __init__(self) -> None:
        remove_left()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            self._lock: Any = open(self.path / LOCK, "xb")
            _hold(self._lock)
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def close(self) -> None:
        """Remove the folder."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def remove_left() -> None:
    """Remove folders that killed searches of this user have left."""
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
            with contextlib.suppress(OSError):
                if _is_own(folder) and _is_left(folder / LOCK):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_own(folder: Path) -> bool:
    # Windows has a temporary directory for every user
    is_folder = folder.is_dir() and not folder.is_symlink()
    return is_folder and (
        not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
    )


def _hold(file: Any) -> None:
    """Lock a file until its process ends, however it does."""
    with contextlib.suppress(ImportError):  # Windows: an open file cannot be removed
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_left(path: Path) -> bool:
    """Return whether no process holds a file."""
    try:
        import fcntl
    except ImportError:
        path.unlink()  # raises if it is open
        return True
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if it is held
    return True
