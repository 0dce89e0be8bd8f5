"""The loss of a torch module as a function of its parameters, with its derivatives."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy

from ..optim._checks import check_parts, refuse_complex
from ..optim._replay import random_states, set_random_states, with_generators


class ModuleSurface:
    """Loss that closures compute, as a function of parameters of a module.

    Every evaluation starts with the buffers, modes and random numbers of the module as it
    was. Call the methods in the context ``computation()``, which restores these, the
    parameters and the gradients at the end.

    Parameters
    ----------
    module : Module
        What the closures evaluate.

    closure : callable, or sequence of callables or of (callable, float)
        Each returns the loss of a micro-batch; the number is its size.

    params : iterable of Tensor or None, default=None
        The parameters that vary, if they require a gradient. None for all of the module.
    """

    advice = "train again at a lower learning rate"

    def __init__(
        self,
        module: nn.Module,
        closure: Any,
        params: Iterable[Tensor] | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"module must be a torch.nn.Module, got a {type(module).__name__}. Of a "
                "fitted estimator measure sksharp.sharpness(estimator, X, y)."
            )
        self._closures, self._total = check_parts(closure)
        self._module = module
        self._params = _check_params(module.parameters() if params is None else params)
        self._sizes = [p.numel() for p in self._params]
        device = self._params[0].device
        # MPS has no float64
        self._device = torch.device("cpu") if device.type == "mps" else device
        self.start = self._flatten(self._params)

    @contextlib.contextmanager
    def computation(self) -> Iterator[None]:
        """Context that enables gradients, and restores the module at the end."""
        with torch.inference_mode(False), torch.enable_grad():
            self._state = ModuleState(self._module, self._params)
            try:
                self._check()
                yield
            finally:
                self._state.restore()
                del self._state
                torch.clear_autocast_cache()

    def _check(self) -> None:
        """Raise unless the closures compute a loss of the parameters, the same twice."""
        first, depends, precision = 0.0, False, 0.0
        for part in self._part_losses(self.start):
            grads = torch.autograd.grad(part, self._params, allow_unused=True)
            depends = depends or any(grad is not None for grad in grads)
            first += part.item()
            precision = max(precision, math.sqrt(torch.finfo(part.dtype).eps))
        if not depends:
            raise ValueError(
                "closure must return a loss that depends on the measured parameters, got "
                "one that depends on none of them. Pass the module that it calls."
            )
        again = self.loss(self.start)
        if abs(again - first) > precision * max(abs(first), abs(again)):
            raise ValueError(
                "closure must return the same loss at the same weights, got "
                f"{first:.6g} and then {again:.6g}. Draw minibatches and augment data "
                "outside of it, and let it draw random numbers by torch only."
            )

    def _part_losses(self, flat: Tensor) -> Iterator[Tensor]:
        """Yield losses that sum to that of all micro-batches."""
        self._set(flat)
        for closure, size in self._closures:
            self._state.restore_state()
            loss = _check_loss(closure())
            if self._state.is_any_grad():
                raise ValueError(
                    "closure must not call backward, got gradients. Return the loss alone: "
                    "the measure differentiates it."
                )
            yield loss.reshape(()) * (size / self._total)

    def loss(self, flat: Tensor) -> float:
        """Return the loss at weights of shape (n_params,)."""
        # with gradients: the closure may differentiate by what the module is given
        return float(sum(part.item() for part in self._part_losses(flat)))

    def gradient(self, flat: Tensor) -> tuple[float, Tensor]:
        """Return the loss at weights of shape (n_params,), and its gradient."""
        loss, total = 0.0, torch.zeros_like(flat)
        for part in self._part_losses(flat):
            grads = torch.autograd.grad(part, self._params, allow_unused=True)
            total += self._flatten(self._filled(grads))
            loss += part.item()
        return loss, total

    def hessian_product(self, flat: Tensor, vector: Tensor) -> Tensor:
        """Return the Hessian at ``flat`` times a vector, both of shape (n_params,)."""
        total = torch.zeros_like(flat)
        with sdpa_kernel(SDPBackend.MATH):  # the others are differentiable once
            for part in self._part_losses(flat):
                grads = torch.autograd.grad(
                    part, self._params, create_graph=True, allow_unused=True
                )
                # a gradient without a graph is constant
                pairs = [
                    (grad, v.to(grad))
                    for grad, v in zip(grads, self._parts(vector), strict=True)
                    if grad is not None and grad.requires_grad
                ]
                if pairs:
                    products = torch.autograd.grad(
                        [grad for grad, _ in pairs],
                        self._params,
                        [v for _, v in pairs],
                        allow_unused=True,
                    )
                    total += self._flatten(self._filled(products))
        return total

    def _set(self, flat: Tensor) -> None:
        with torch.no_grad():
            for p, part in zip(self._params, self._parts(flat), strict=True):
                p.copy_(part)
        # autocast around the measure keeps its casts of the weights
        torch.clear_autocast_cache()

    def _parts(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, self._sizes)
        return [part.view_as(p) for p, part in zip(self._params, parts, strict=True)]

    def _filled(self, grads: Sequence[Tensor | None]) -> list[Tensor]:
        return [
            torch.zeros_like(p) if grad is None else grad
            for p, grad in zip(self._params, grads, strict=True)
        ]

    def _flatten(self, tensors: Iterable[Tensor]) -> Tensor:
        parts = [t.detach().to(self._device, torch.float64) for t in tensors]
        return torch.cat([part.to_dense().reshape(-1) for part in parts])


class ModuleState:
    """State of a module that a measure restores when it is done.

    Until then the parameters have no gradients.

    Parameters
    ----------
    module : Module
        The module.

    params : list of Tensor
        Those that a measure writes to, of the module or of others.
    """

    def __init__(self, module: nn.Module, params: list[Tensor]) -> None:
        self._weights = [(p, p.detach().clone()) for p in params]
        everything = dict.fromkeys([*module.parameters(), *params])
        self._grads = [(p, p.grad) for p in everything]
        self._modes = [(layer, layer.training) for layer in module.modules()]
        self._buffers = [
            (layer, name, buffer, None if buffer is None else buffer.clone())
            for layer in module.modules()
            for name, buffer in layer._buffers.items()
        ]
        self._accelerators = with_generators({p.device for p in everything})
        self._random = random_states(self._accelerators)
        for p in everything:
            p.grad = None

    def restore_state(self) -> None:
        """Restore the modes, buffers and random numbers."""
        for layer, mode in self._modes:
            layer.training = mode
        with torch.no_grad():
            for layer, name, buffer, value in self._buffers:
                layer._buffers[name] = buffer
                if buffer is not None and value is not None:
                    buffer.copy_(value)
        set_random_states(self._accelerators, self._random)

    def restore(self) -> None:
        """Restore the parameters and gradients too."""
        with torch.no_grad():
            for p, value in self._weights:
                p.copy_(value)
        for p, grad in self._grads:
            p.grad = grad
        self.restore_state()

    def is_any_grad(self) -> bool:
        """Whether one of the parameters has a gradient."""
        return any(p.grad is not None for p, _ in self._grads)


def _check_params(params: Any) -> list[Tensor]:
    """Return the parameters that vary, each one once."""
    if isinstance(params, Tensor | nn.Module) or not isinstance(params, Iterable):
        raise TypeError(
            "params must be an iterable of tensors, such as module.parameters(), got a "
            f"{type(params).__name__}."
        )
    distinct = list(dict.fromkeys(params))
    for p in distinct:
        if not isinstance(p, Tensor):
            raise TypeError(
                f"params must hold tensors, got a {type(p).__name__}. Pass "
                "module.parameters(), or some of them."
            )
        if is_lazy(p):
            raise ValueError(
                "params must have a shape, got one of a lazy layer. Call the module once."
            )
        if p.is_complex():
            refuse_complex(p)
        if not p.is_leaf:
            raise ValueError(
                "params must hold leaves, got a tensor that was computed from others. "
                "Pass those."
            )
    varying = [p for p in distinct if p.requires_grad and p.numel()]
    if not varying:
        raise ValueError(
            "params must hold one that requires a gradient, got "
            f"{len(distinct)} that do not. Call requires_grad_() of those to be measured."
        )
    return varying


def _check_loss(loss: Any) -> Tensor:
    """Return the loss that a closure has returned."""
    if not isinstance(loss, Tensor):
        got = f"a {type(loss).__name__}"
    elif loss.numel() != 1:
        got = f"a tensor of shape {tuple(loss.shape)}"
    elif not loss.is_floating_point():
        got = f"one of {loss.dtype}"
    elif not loss.requires_grad:
        raise ValueError(
            "closure must return a loss that depends on the weights, got one without a "
            "graph. Return the loss itself, not loss.detach(), and do not turn gradients "
            "off in it."
        )
    else:
        return loss
    raise TypeError(
        f"closure must return the loss as a tensor of one number, got {got}. Return the "
        "mean over the rows, loss.mean(), and not loss.item()."
    )
