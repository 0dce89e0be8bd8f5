"""The second pass of a step as a replay of the first."""

import threading
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_pre_hook


class Replay:
    """Context of a second pass that sees the first pass's random numbers.

    Made before the first pass. Inside the context, dropout draws the masks of the first
    pass, and batch normalization uses the statistics of its batch as ever. On leaving,
    the random number generators and the running statistics are as the first pass left
    them, so that a step with two passes leaves the same traces as a step with one.

    Normalization layers are found as they are called: the optimizer knows parameters,
    not modules.
    """

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self._accelerators = [d for d in devices if d.type not in ("cpu", "meta")]
        self._before = self._random_states()
        self._statistics: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def __enter__(self) -> None:
        self._after = self._random_states()
        self._set_random_states(self._before)
        self._thread = threading.get_ident()
        self._hook = register_module_forward_pre_hook(self._keep_statistics)

    def __exit__(self, *exception: object) -> None:
        self._hook.remove()
        self._set_random_states(self._after)
        for buffers in self._statistics.values():
            for buffer, value in buffers:
                buffer.copy_(value)

    def _keep_statistics(self, module: nn.Module, inputs: Any) -> None:
        # the hook is called for the modules of all threads
        if (
            isinstance(module, _NormBase)
            and module.training
            and module not in self._statistics
            and threading.get_ident() == self._thread
        ):
            buffers = list(module.buffers(recurse=False))
            self._statistics[module] = [(b, b.clone()) for b in buffers]

    def _random_states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        for device in self._accelerators:
            states.append(torch.get_device_module(device).get_rng_state(device))
        return states

    def _set_random_states(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(self._accelerators, states[1:], strict=True):
            torch.get_device_module(device).set_rng_state(state, device)
