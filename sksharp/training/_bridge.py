"""The only conversions between numpy and torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._jobs import Array, Matrix, Weights

# bytes up to which an array goes to a GPU by pinned memory, from where the host need not
# wait for the copy
PINNED_BYTES = 2**24


def to_tensor(
    array: Array,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return a tensor of the array's values, sharing its memory where possible."""
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        # torch warns of arrays that must not be written; training data never is
        array = np.asarray(_Unlocked(array))
    return to_device(torch.from_numpy(array).to(dtype=dtype), device)


def to_device(tensor: Tensor, device: torch.device | None) -> Tensor:
    """Return a tensor of the host on a device, without waiting for it if it is small."""
    if device is None or device.type != "cuda" or tensor.nbytes > PINNED_BYTES:
        return tensor.to(device=device)
    try:
        pinned = tensor.pin_memory()
    except RuntimeError:  # the system locks no more memory
        return tensor.to(device=device)
    return pinned.to(device, non_blocking=True)


class _Unlocked:
    """View of a read-only array that numpy takes for writeable."""

    def __init__(self, array: Array) -> None:
        self.array = array
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def to_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """Return torch's name of a floating dtype."""
    return torch.float32 if dtype == np.float32 else torch.float64


def to_array(tensor: Tensor) -> Array:
    """Return a new array of the tensor's values."""
    array: Array = tensor.detach().cpu().numpy()
    return array.copy()


def to_sparse_tensor(matrix: Any, device: torch.device) -> Tensor:
    """Return a coalesced sparse tensor of a scipy CSR matrix with sorted indices."""
    coo = matrix.tocoo()
    indices = np.stack([coo.row, coo.col]).astype(np.int64, copy=False)
    return torch.sparse_coo_tensor(
        torch.from_numpy(indices),
        torch.from_numpy(coo.data),
        coo.shape,
        device=device,
        is_coalesced=True,
        check_invariants=False,
    )


def to_canonical(matrix: Any) -> Any:
    """Return a CSR matrix with sorted indices and no duplicates; never write to it."""
    rows = matrix.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def to_parts(X: Matrix | Tensor, n_rows: int, device: torch.device) -> Iterator[Tensor]:
    """Yield rows of an array, sparse matrix or tensor on the device, part by part."""
    if not hasattr(X, "tocsr"):
        rows = X if isinstance(X, Tensor) else to_tensor(X)
        for part in torch.split(rows, n_rows):
            yield part.to(device)
        return
    matrix = to_canonical(X)
    for start in range(0, matrix.shape[0], n_rows):
        yield to_sparse_tensor(matrix[start : start + n_rows], device)


def flatten(weights: Weights, device: torch.device | None = None) -> Tensor:
    """Return all weights, then all biases, as one new vector."""
    parts = [w.ravel() for w in (*weights.coefs, *weights.intercepts)]
    return torch.from_numpy(np.concatenate(parts)).to(device)


def unflatten(vector: Tensor, like: Weights) -> Weights:
    """Return new arrays, shaped as ``like``, of a vector made by :func:`flatten`."""
    array, start = to_array(vector), 0
    parts = []
    for w in (*like.coefs, *like.intercepts):
        # a copy each: an estimator's arrays do not share memory
        parts.append(array[start : start + w.size].reshape(w.shape).copy())
        start += w.size
    n_layers = len(like.coefs)
    return Weights(parts[:n_layers], parts[n_layers:])


def state_to_arrays(state: Any) -> Any:
    """Return a nested state with arrays in the place of tensors."""
    if isinstance(state, Tensor):
        return to_array(state)
    if isinstance(state, Mapping):
        return {key: state_to_arrays(value) for key, value in state.items()}
    if isinstance(state, list):
        return [state_to_arrays(value) for value in state]
    return state


def state_to_tensors(state: Any, device: torch.device) -> Any:
    """Return a nested state with new tensors in the place of arrays."""
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state.copy()).to(device)
    if isinstance(state, Mapping):
        return {key: state_to_tensors(value, device) for key, value in state.items()}
    if isinstance(state, list):
        return [state_to_tensors(value, device) for value in state]
    return state
