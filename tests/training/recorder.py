"""A graph on the CPU: records the operations of a capture and runs them again.

As a CUDA graph it knows tensors by their memory and numbers by their value, runs no
Python of the steps when it is replayed, and leaves all memory as it was while it
captures. What it has allocated may be used for something else afterwards, so it is NaN
outside of a replay. Operations that need a value on the host raise.
"""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    # a tensor of numbers of the host
    torch.ops.aten.lift_fresh.default,
}


class Recorder(TorchDispatchMode):
    """Takes the place of ``sksharp.training._graphs.CudaGraph``."""

    def __init__(self):
        super().__init__()
        self.calls, self._before = [], {}

    @contextlib.contextmanager
    def capture(self):
        try:
            with self:
                yield
        finally:
            for storage, content in self._before.values():
                storage.copy_(content)
            self._spoil()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in WAITS:
            raise RuntimeError(f"{func} in a capture")
        kwargs = kwargs or {}
        for tensor in _written(func, args, kwargs):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._before:
                self._before[storage.data_ptr()] = storage, storage.clone()
        result = func(*args, **kwargs)
        is_new = all(r.alias_info is None for r in func._schema.returns)
        outputs = [t for t in tree_leaves(result) if torch.is_tensor(t)]
        self.calls.append((func, args, kwargs, outputs if is_new else []))
        return result

    def replay(self):
        with torch.no_grad():
            for func, args, kwargs, outputs in self.calls:
                result = func(*args, **kwargs)
                for out, value in zip(outputs, tree_leaves(result), strict=False):
                    out.copy_(value)
            self._spoil()

    def _spoil(self):
        """Overwrite what the operations have allocated."""
        with torch.no_grad():
            for *_, outputs in self.calls:
                for out in outputs:
                    out.fill_(torch.nan if out.is_floating_point() else 0)


def _written(func, args, kwargs):
    """Yield the tensors that an operation writes to."""
    schema = func._schema.arguments
    values = {a.name: v for a, v in zip(schema, args, strict=False)} | kwargs
    for argument in schema:
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = values.get(argument.name)
            yield from (t for t in tree_leaves(value) if torch.is_tensor(t))
