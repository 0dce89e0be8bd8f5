"""The bytes of a file: a zip archive of a manifest and arrays, with a checksum.

The archive is not compressed:

- ``manifest.json`` describes the estimator. JSON's own types stand for themselves;
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
from typing import Any

import numpy as np

from .._jobs import Array

FORMAT, FORMAT_VERSION = "sksharp estimator", 1
MANIFEST = "manifest.json"
COMMENT = b"sksharp sha256 "
DIGEST_LENGTH = 64

# kinds of numpy's dtypes without objects: booleans, numbers, strings and times
PLAIN_KINDS = "biufcSUMm"


class NotReadable(Exception):
    """Why a file cannot be read."""


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
            archive.writestr(zipfile.ZipInfo(_array_name(i)), part.getvalue())
    content = buffer.getvalue()[:-DIGEST_LENGTH]
    return content + hashlib.sha256(content).hexdigest().encode()


def unpack(content: bytes) -> tuple[dict[str, Any], list[Array]]:
    """Return the manifest and the arrays of a complete file of a known version."""
    content, digest = content[:-DIGEST_LENGTH], content[-DIGEST_LENGTH:]
    if not content.endswith(COMMENT):
        raise NotReadable(
            "it is not a complete file of sksharp.save. It may have been cut short, or "
            "packed again by another program."
        )
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise NotReadable(
            "its checksum is wrong, it was damaged. Save or copy it again."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content + digest)) as archive:
            manifest = json.loads(archive.read(_stored(archive, MANIFEST)))
            if sum(info.file_size for info in archive.infolist()) > len(content):
                raise NotReadable("its parts overlap, and would unfold.")
            _check_version(manifest)
            arrays = [
                _read_array(archive.read(_stored(archive, _array_name(i))))
                for i in range(manifest["n_arrays"])
            ]
    except NotReadable:
        raise
    except Exception as error:
        # the parsers of zip, JSON and npy raise anything for what save never writes
        raise NotReadable(f"it is not a file of sksharp.save ({error}).") from error
    return manifest, arrays


def _array_name(i: int) -> str:
    return f"arrays/{i}.npy"


def _stored(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise NotReadable("it is compressed, which sksharp.save does not do.")
    return info


def _check_version(manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NotReadable("it is not a file of sksharp.save.")
    found = manifest.get("format_version")
    if type(found) is not int or found != FORMAT_VERSION:
        raise NotReadable(
            f"its format has version {found!r}, and this version of sksharp reads "
            f"{FORMAT_VERSION}. Install the version that wrote it, or a later one: "
            f"{manifest.get('written_by')}."
        )


def _read_array(content: bytes) -> Array:
    """Return the array of a complete npy file without objects."""
    file = io.BytesIO(content)
    major = np.lib.format.read_magic(file)[0]
    read_header: Any = {
        1: np.lib.format.read_array_header_1_0,
        2: np.lib.format.read_array_header_2_0,
    }[major]
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject or dtype.kind not in PLAIN_KINDS:
        raise NotReadable(f"it has an array of {dtype}.")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise NotReadable(f"an array of shape {shape} is not complete.")
    flat = np.frombuffer(content, dtype, offset=file.tell()).copy()
    _check_bytes(flat)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _check_bytes(array: Array) -> None:
    """Raise if an array has bytes that numpy relies on never to occur."""
    is_sound = True
    if array.dtype.kind == "b":
        is_sound = array.view(np.uint8).max(initial=0) <= 1
    elif array.dtype.kind == "U":
        codes = array.view(array.dtype.byteorder.replace("|", "=") + "u4")
        is_sound = codes.max(initial=0) <= sys.maxunicode
    if not is_sound:
        raise NotReadable(f"an array of {array.dtype} has values that are none.")
