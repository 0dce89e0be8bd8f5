"""Arrays on their way to a device."""

import pytest
import torch

from sksharp.training._bridge import PINNED_BYTES, to_device

CUDA = torch.device("cuda", 0)


class Rows:
    """A tensor of the host, as far as it is copied."""

    def __init__(self, nbytes, *, can_be_pinned=True):
        self.nbytes, self.can_be_pinned, self.log = nbytes, can_be_pinned, []

    def pin_memory(self):
        if not self.can_be_pinned:
            raise RuntimeError("CUDA error: OS call failed or operation not supported")
        self.log.append("pinned")
        return self

    def to(self, device, non_blocking=False):
        self.log.append((device, non_blocking))


@pytest.mark.parametrize(
    ("rows", "log"),
    [
        (Rows(8), ["pinned", (CUDA, True)]),
        (Rows(PINNED_BYTES + 1), [(CUDA, False)]),
        # the host waits, and the copy is made
        (Rows(8, can_be_pinned=False), [(CUDA, False)]),
    ],
    ids=["small", "large", "no memory to pin"],
)
def test_a_copy_to_cuda_waits_unless_its_memory_is_pinned(rows, log):
    to_device(rows, CUDA)
    assert rows.log == log


def test_what_goes_to_the_cpu_is_not_copied():
    rows = torch.zeros(2)
    assert to_device(rows, None) is rows
    assert to_device(rows, torch.device("cpu")) is rows
