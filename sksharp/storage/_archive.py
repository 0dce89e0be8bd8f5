"""The bytes of a file: a zip archive of a manifest and arrays, with a checksum.

The archive is not compressed:

- ``manifest.json`` describes the content. JSON's own types stand for themselves;
  everything else is an object with the key ``type``.
- ``arrays/0.npy`` and so on are arrays of numpy, without objects.
- The comment ends with the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from .._jobs import Array

MANIFEST = "manifest.json"
COMMENT = b"sksharp sha256 "
DIGEST_LENGTH = 64

# bytes that are read at once
BLOCK_BYTES = 2**20

# kinds of numpy's dtypes without objects: booleans, numbers, strings and times
PLAIN_KINDS = "biufcSUMm"


class NotReadable(Exception):
    """Why a file cannot be read."""


@dataclass(frozen=True)
class Format:
    """Format of files.

    Parameters
    ----------
    name : str
        What the files hold.

    version : int
        Version that is written, the only one that is read.

    writer : str
        What writes them, for messages.
    """

    name: str
    version: int
    writer: str

    def manifest(self, content: Any, arrays: Sequence[Array], **more: Any) -> Any:
        """Return the manifest of a file."""
        return {
            "format": self.name,
            "format_version": self.version,
            **more,
            **content,
            "n_arrays": len(arrays),
        }

    def check(self, manifest: Any) -> None:
        """Raise unless a manifest is of this format and version."""
        if not isinstance(manifest, dict) or manifest.get("format") != self.name:
            raise NotReadable(f"it is not a file of {self.writer}.")
        found = manifest.get("format_version")
        if type(found) is not int or found != self.version:
            raise NotReadable(
                f"its format has version {found!r}, and this version of sksharp reads "
                f"{self.version}. Install the version that wrote it, or a later one: "
                f"{manifest.get('written_by')}."
            )


def pack(manifest: dict[str, Any], arrays: Sequence[Array]) -> bytes:
    """Return the bytes of a file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = COMMENT + b"0" * DIGEST_LENGTH
        # ZipInfo without a date: equal estimators become equal files
        text = json.dumps(manifest, allow_nan=False, indent=1).encode()
        archive.writestr(zipfile.ZipInfo(MANIFEST), text)
        for i, array in enumerate(arrays):
            part = io.BytesIO()
            np.lib.format.write_array(part, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(_array_name(i)), part.getbuffer())
    digest = hashlib.sha256(buffer.getbuffer()[:-DIGEST_LENGTH]).hexdigest().encode()
    buffer.seek(-DIGEST_LENGTH, io.SEEK_END)
    buffer.write(digest)
    return buffer.getvalue()


def unpack(file: BinaryIO, format: Format) -> tuple[dict[str, Any], list[Array]]:
    """Return the manifest and the arrays of a complete file.

    Parameters
    ----------
    file : file object
        Open for reading, and able to seek.

    format : Format
        What the file must be.

    Raises
    ------
    NotReadable
        If it is not.
    """
    size = check_digest(file, format)
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = json.loads(archive.read(_stored(archive, MANIFEST, format)))
            if sum(info.file_size for info in archive.infolist()) > size:
                raise NotReadable("its parts overlap.")
            format.check(manifest)
            arrays = [
                _read_array(archive, _stored(archive, _array_name(i), format))
                for i in range(manifest["n_arrays"])
            ]
    except NotReadable:
        raise
    except OSError:
        raise
    except Exception as error:
        # the parsers of zip, JSON and npy raise anything for what is never written
        raise NotReadable(f"it is not a file of {format.writer} ({error}).") from error
    return manifest, arrays


def check_digest(file: BinaryIO, format: Format) -> int:
    """Return the size of a file without its checksum, or raise if that is wrong."""
    size = file.seek(0, io.SEEK_END) - DIGEST_LENGTH
    file.seek(max(0, size - len(COMMENT)))
    if file.read(len(COMMENT)) != COMMENT or size < len(COMMENT):
        raise NotReadable(
            f"it is not a complete file of {format.writer}. It may have been cut short, "
            "or packed again by another program."
        )
    digest = hashlib.sha256()
    file.seek(0)
    for start in range(0, size, BLOCK_BYTES):
        digest.update(file.read(min(BLOCK_BYTES, size - start)))
    if digest.hexdigest().encode() != file.read(DIGEST_LENGTH):
        raise NotReadable(
            "its checksum is wrong, it was damaged. Save or copy it again."
        )
    return size


def _array_name(i: int) -> str:
    return f"arrays/{i}.npy"


def _stored(archive: zipfile.ZipFile, name: str, format: Format) -> zipfile.ZipInfo:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise NotReadable(f"it is compressed, which {format.writer} does not do.")
    return info


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """Return the array of a complete npy file without objects."""
    with archive.open(info) as opened:
        file: Any = opened
        major = np.lib.format.read_magic(file)[0]
        read_header: Any = {
            1: np.lib.format.read_array_header_1_0,
            2: np.lib.format.read_array_header_2_0,
        }[major]
        shape, is_fortran, dtype = read_header(file)
        if dtype.hasobject or dtype.kind not in PLAIN_KINDS:
            raise NotReadable(f"it has an array of {dtype}.")
        size = math.prod(shape) * dtype.itemsize
        content = np.empty(info.file_size - file.tell(), np.uint8)
        # block by block: the whole would be in memory twice
        n_read, view = 0, content.data
        while n := file.readinto(view[n_read : n_read + BLOCK_BYTES]):
            n_read += n
        if not size == n_read == content.size:
            raise NotReadable(f"an array of shape {shape} is not complete.")
    flat = content.view(dtype)
    _check_bytes(flat)
    array: Array = flat.reshape(shape, order="F" if is_fortran else "C")
    return array


def _check_bytes(array: Array) -> None:
    """Raise if an array has bytes that numpy relies on never to occur."""
    is_sound = True
    if array.dtype.kind == "b":
        is_sound = array.view(np.uint8).max(initial=0) <= 1
    elif array.dtype.kind == "U":
        codes = array.view(array.dtype.byteorder.replace("|", "=") + "u4")
        is_sound = codes.max(initial=0) <= sys.maxunicode
    if not is_sound:
        raise NotReadable(f"an array of {array.dtype} has invalid values.")
