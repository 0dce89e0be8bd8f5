"""The fingerprint of arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

# bytes of rows that are digested at once
BLOCK_BYTES = 2**24


def digest_of(arrays: Iterable[Any]) -> bytes:
    """Return a fingerprint of arrays: equal for equal values, shapes and dtypes.

    Parameters
    ----------
    arrays : iterable of array, sparse matrix or None
        What it is of.
    """
    digest = hashlib.blake2b(digest_size=20)
    for array in arrays:
        _update(digest, array)
    return digest.digest()


def _update(digest: Any, array: Any) -> None:
    if array is None:
        digest.update(b"None")
    elif hasattr(array, "tocsr"):
        rows = array.tocsr()
        for part in (rows.data, rows.indices, rows.indptr):
            _update(digest, part)
    else:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        if not array.ndim:
            array = array.reshape(1)
        # block by block: rows that lie in a file may not fit into memory
        n_rows = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
        for start in range(0, len(array), n_rows):
            block = np.ascontiguousarray(array[start : start + n_rows])
            digest.update(block.view(np.uint8).data)
