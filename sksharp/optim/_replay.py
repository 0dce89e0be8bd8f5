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

    Normalization layers are found as they are called, unless they are in a module that is
    given: the optimizer knows parameters, not modules. What other layers keep in buffers,
    such as the vectors of spectral normalization, both passes change. Of a compiled
    module all layers are taken, because what is compiled calls no hooks.

    Parameters
    ----------
    devices : iterable of torch.device
        Where random numbers are drawn.

    module : Module or None, default=None
        The module, if it is known.
    """

    def __init__(
        self, devices: Iterable[torch.device], module: nn.Module | None = None
    ) -> None:
        self._module = module
        self._accelerators = [d for d in devices if d.type not in ("cpu", "meta")]
        self._before = self._random_states()
        self._statistics: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def __enter__(self) -> None:
        self._after = self._random_states()
        self._set_random_states(self._before)
        self._thread = threading.get_ident()
        self._hook = None
        if self._module is None:
            self._hook = register_module_forward_pre_hook(self._before_call)
        else:
            self._keep_all(self._module)

    def __exit__(self, *exception: object) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._set_random_states(self._after)
        for buffers in self._statistics.values():
            for buffer, value in buffers:
                buffer.copy_(value)

    def _before_call(self, module: nn.Module, inputs: Any) -> None:
        # the hook is called for the modules of all threads
        if threading.get_ident() != self._thread:
            return
        if hasattr(module, "_orig_mod"):  # what torch.compile returns
            self._keep_all(module)
        else:
            self._keep_statistics(module)

    def _keep_all(self, module: nn.Module) -> None:
        for layer in module.modules():
            self._keep_statistics(layer)

    def _keep_statistics(self, module: nn.Module) -> None:
        if (
            isinstance(module, _NormBase)
            and module.training
            and module not in self._statistics
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
