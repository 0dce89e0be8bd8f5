"""Many models in one parameter: the leading axis and the helpers that know it.

A parameter has shape ``(*model_shape, *shape)``, where ``model_shape`` is ``()`` for one
model and ``(n_models,)`` for many. A hyperparameter is a float, shared by all models, or
a tensor of shape ``model_shape``.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Hyperparameter: TypeAlias = float | Tensor

# tensors that may be reshaped freely: others may be shared by processes
PLAIN_TENSORS = (Tensor, torch.nn.Parameter)


def expand(value: Hyperparameter, like: Tensor) -> Hyperparameter:
    """View a per-model value so that it broadcasts over ``like``."""
    return _broadcast(value, like) if isinstance(value, Tensor) else value


def as_weight(value: Hyperparameter, p: Tensor) -> Any:
    """Return a weight between tensors like ``p``, of their precision."""
    return expand(value.to(p.dtype) if isinstance(value, Tensor) else value, p)


def _broadcast(value: Tensor, like: Tensor) -> Tensor:
    if not value.ndim and value.dtype == like.dtype:
        return value
    # a value of shape () would be cast to half precision
    return value.reshape(_column(value, like))


def _column(value: Tensor, like: Tensor) -> tuple[int, ...]:
    return (*value.shape, *(1,) * (like.ndim - value.ndim))


def add_scaled_(target: Tensor, source: Tensor, scale: Hyperparameter) -> Tensor:
    """Add ``scale * source`` to ``target`` in place, in one kernel."""
    if isinstance(scale, Tensor):
        return target.addcmul_(source, scale)
    return target.add_(source, alpha=scale)


def add_product_(
    target: Tensor, source: Tensor, factor: Tensor, scale: Hyperparameter
) -> Tensor:
    """Add ``scale * factor * source`` to ``target`` in place, given a factor per model."""
    if isinstance(scale, Tensor):
        factor, scale = factor * scale, 1.0
    return target.addcmul_(source, _broadcast(factor, target), value=scale)


def add_direction_(
    target: Tensor, vector: Tensor, norm: Tensor, length: Hyperparameter
) -> Tensor:
    """Add ``length * vector / norm`` to ``target`` in place, given a norm per model."""
    return set_direction_(target, target, vector, norm, length)


def set_direction_(
    target: Tensor,
    start: Tensor,
    vector: Tensor,
    norm: Tensor,
    length: Hyperparameter,
) -> Tensor:
    """Set ``target`` to ``start + length * vector / norm``, given a norm per model."""
    if isinstance(length, Tensor):
        scale = _broadcast(length / norm, target)
        return torch.addcmul(start, vector, scale, out=target)
    norm = _broadcast(norm, target)
    return torch.addcdiv(start, vector, norm, value=length, out=target)


def global_norm(tensors: Sequence[Tensor], model_ndim: int = 0) -> Tensor:
    """Euclidean norm of a list of tensors taken as one vector, one value per model.

    Computed in at least single precision, on the device of the first tensor.
    """
    if len(tensors) == 1:
        return _model_norm(tensors[0], model_ndim)
    norms = [_model_norm(tensor, model_ndim) for tensor in tensors]
    device = norms[0].device
    stacked = torch.stack([n.to(device) for n in norms])
    norm: Tensor = torch.linalg.vector_norm(stacked, dim=0)
    return norm


def _model_norm(tensor: Tensor, model_ndim: int) -> Tensor:
    dtype = torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else None
    if type(tensor) not in PLAIN_TENSORS:
        dims = list(range(model_ndim, tensor.ndim)) or None
        return as_plain(torch.linalg.vector_norm(tensor, dim=dims, dtype=dtype))
    vectors = _vectors(tensor, model_ndim)
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=-1, dtype=dtype)
    return norm


def _vectors(tensor: Tensor, model_ndim: int) -> Tensor:
    """View a tensor as one vector per model."""
    if tensor.ndim == model_ndim + 1:
        return tensor
    return tensor.reshape(*tensor.shape[:model_ndim], -1)


def as_plain(tensor: Tensor) -> Tensor:
    """Return a tensor that processes share, a DTensor, as the whole of it."""
    full_tensor = getattr(tensor, "full_tensor", None)
    whole: Tensor = tensor if full_tensor is None else full_tensor()
    return whole


def share_as(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor, the same in all processes, shared by them as another one."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    mesh, placements = like.device_mesh, like.placements  # type: ignore[attr-defined]
    whole = DTensor.from_local(tensor, mesh, [Replicate()] * mesh.ndim)
    shared: Tensor = whole.redistribute(placements=placements)
    return shared


def model_sum(
    tensor: Tensor, model_ndim: int = 0, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the sum of the entries of a tensor, one value per model."""
    if type(tensor) not in PLAIN_TENSORS:
        dims = list(range(model_ndim, tensor.ndim)) or None
        return as_plain(tensor.sum(dims, dtype=dtype))
    # a parameter of one number per model has no axis beside that of the models
    total: Tensor = tensor.unsqueeze(-1).flatten(model_ndim).sum(-1, dtype=dtype)
    return total


def global_dot(
    first: Sequence[Tensor], second: Sequence[Tensor], model_ndim: int = 0
) -> Tensor:
    """Scalar product of two lists of tensors taken as vectors, one value per model.

    Computed in at least single precision, on the device of the first tensor.
    """
    if len(first) == len(second) == 1:
        return _model_dot(first[0], second[0], model_ndim)
    dots = [_model_dot(a, b, model_ndim) for a, b in zip(first, second, strict=True)]
    return torch.stack([dot.to(dots[0].device) for dot in dots]).sum(0)


def _model_dot(a: Tensor, b: Tensor, model_ndim: int) -> Tensor:
    if a.dtype in (torch.float16, torch.bfloat16):
        a, b = a.float(), b.float()
    # not vecdot, which autocast around the step computes in half precision, and not dot,
    # which adds one by one: of 10 million numbers the fifth digit is wrong
    product = a * b
    if type(product) not in PLAIN_TENSORS:
        return model_sum(product, model_ndim)
    return _vectors(product, model_ndim).sum(-1)
