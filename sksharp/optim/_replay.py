"""The second pass of a step as a replay of the first."""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy

# buffers that count batches, by the names that torch's layers give them
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Replay:
    """Context of a second pass with the random numbers of the first.

    Made before the first pass. Inside the context, dropout draws the masks of the first
    pass, and batch normalization uses the statistics of its batch as ever. On leaving,
    the random number generators and the running statistics are as the first pass left
    them, so that a step with two passes leaves the same traces as a step with one.

    Normalization layers are found as they are called, unless they are in a module that is
    given: the optimizer knows parameters, not modules. What other layers keep in buffers,
    such as the vectors of spectral normalization, both passes change. Of a compiled
    module, TorchScript, an exported one or what runs in threads of its own all layers are
    taken, because they call no hooks. A module that another thread calls is taken if it
    has a parameter of the optimizer's: what else is trained there counts its own batches,
    and so does a layer without parameters, unless the module is given.

    Parameters
    ----------
    devices : iterable of torch.device
        Where random numbers are drawn.

    module : Module or None, default=None
        The module, if it is known.

    param_groups : list of dict, default=()
        The optimizer's.
    """

    def __init__(
        self,
        devices: Iterable[torch.device],
        module: nn.Module | None = None,
        param_groups: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._module = module
        self._param_groups = param_groups
        self._lock = threading.Lock()
        self._accelerators = with_generators(devices)
        self._before = random_states(self._accelerators)
        self._statistics: dict[Tensor, Tensor] = {}

    def __enter__(self) -> None:
        self._after = random_states(self._accelerators)
        set_random_states(self._accelerators, self._before)
        self._thread = threading.get_ident()
        self._hook = None
        if self._module is None:
            self._hook = register_module_forward_pre_hook(self._before_call)
        else:
            self._keep_all(self._module)

    def __exit__(self, *exception: object) -> None:
        if self._hook is not None:
            self._hook.remove()
        set_random_states(self._accelerators, self._after)
        for buffer, value in self._statistics.items():
            buffer.copy_(value)

    def _before_call(self, module: nn.Module, inputs: Any) -> None:
        # the hook is called for the modules of all threads
        if threading.get_ident() == self._thread:
            if _calls_no_hooks(module):
                self._keep_all(module)
            else:
                self._keep_statistics(module)
        elif self._is_ours(module):
            self._keep_all(module)

    def _is_ours(self, module: nn.Module) -> bool:
        ours = {id(p) for group in self._param_groups for p in group["params"]}
        return any(id(p) in ours for p in module.parameters())

    def _keep_all(self, module: nn.Module) -> None:
        for layer in module.modules():
            self._keep_statistics(layer)

    def _keep_statistics(self, module: nn.Module) -> None:
        # what was traced in training counts batches in evaluation too
        if not module.training and not isinstance(module, torch.jit.ScriptModule):
            return
        for name, buffer in module.named_buffers(recurse=False):
            if isinstance(module, _NormBase) or name in STATISTICS:
                with self._lock:  # two threads may call a layer at once
                    if buffer not in self._statistics and not is_lazy(buffer):
                        self._statistics[buffer] = buffer.clone()


def with_generators(devices: Iterable[torch.device]) -> list[torch.device]:
    """Return the devices that have generators of their own, beside the CPU's."""
    return [d for d in devices if d.type not in ("cpu", "meta")]


def random_states(accelerators: Iterable[torch.device]) -> list[Tensor]:
    """Return the states of the generators of the CPU and of some accelerators."""
    states = [torch.get_rng_state()]
    for device in accelerators:
        states.append(torch.get_device_module(device).get_rng_state(device))
    return states


def set_random_states(
    accelerators: Iterable[torch.device], states: Sequence[Tensor]
) -> None:
    """Set the generators of the CPU and of some accelerators."""
    torch.set_rng_state(states[0])
    for device, state in zip(accelerators, states[1:], strict=True):
        torch.get_device_module(device).set_rng_state(state, device)


def _calls_no_hooks(module: nn.Module) -> bool:
    """Return whether the layers of a module run without hooks, or in other threads."""
    kinds = torch.jit.ScriptModule, GraphModule, nn.DataParallel
    # the attribute is that of what torch.compile returns
    return hasattr(module, "_orig_mod") or isinstance(module, kinds)
