"""How files are written: completely or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from typing import TypeAlias

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file by a new one, completely or not at all."""
    path = os.path.realpath(os.fsdecode(path))  # a link stays a link
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        with open(path, "wb") as file:  # a pipe, or an error that names the folder
            file.write(content)
        return
    folder = os.path.dirname(path)
    other = os.path.join(folder, f".{uuid.uuid4().hex}.sksharp")
    try:
        with open(other, "xb", opener=None if old is None else _open_private) as file:
            if old is not None:
                _take_mode(other, old)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(other, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(other)
        raise
    sync_folder(folder)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)


def _take_mode(path: str, old: os.stat_result) -> None:
    """Give a file the group and mode of the old one, as far as the system allows."""
    mode = stat.S_IMODE(old.st_mode)
    with contextlib.suppress(AttributeError, OSError):  # Windows has no groups
        os.chown(path, -1, old.st_gid)
    if os.stat(path).st_gid != old.st_gid:
        mode &= ~stat.S_IRWXG
    with contextlib.suppress(OSError):
        os.chmod(path, mode)


def sync_folder(folder: str) -> None:
    """Write the names in a folder to disk, to survive a crash of the system."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
