"""Statistics of batch normalization for averaged weights."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy


@torch.no_grad()
def update_bn(
    loader: Iterable[Any],
    model: nn.Module,
    device: torch.device | str | int | None = None,
    *,
    call: Callable[[nn.Module, Any], Any] | None = None,
) -> None:
    r"""Recompute the statistics of batch normalization in one pass over the data.

    Averaged weights have not seen any rows. The running mean and variance of every
    normalization layer become those of its inputs :math:`x_i` over all rows (and
    positions) :math:`i = 1, \dots, n` together,

    .. math:: \mu = \frac1n \sum_i x_i, \qquad
              \sigma^2 = \frac{1}{n - 1} \sum_i (x_i - \mu)^2

    independently of the batch sizes.

    Parameters
    ----------
    loader : iterable
        Batches as the model takes them: Tensors, dicts of Tensors, or anything else. Of
        a list or tuple, the model gets the first item.

    model : torch.nn.Module
        Model whose statistics are set, in place. It stays in its mode. Compiled parts
        run uncompiled here.

    device : torch.device, str, int or None, default=None
        Device to move the batches to, with all that is in them.

    call : callable or None, default=None
        Function of the model and a batch that calls the model, such as
        ``lambda model, batch: model(batch["image"], mask=batch["mask"])``. It gets
        whole lists and tuples. None is ``model(batch)``, or ``model(batch[0])`` for
        lists and tuples.

    Raises
    ------
    TypeError
        If a layer that normalizes batches is TorchScript.

    ValueError
        If no batch has two rows, or positions, or more where a layer needs them. The model
        is then as it was.

    Notes
    -----
    Like :func:`torch.optim.swa_utils.update_bn`, except that batches are weighted by
    their rows, so that a short last one does not count too much, and that the variance
    between batches is included. torch's function fails where a layer gets a single row
    without positions; here such a row is normalized by the statistics of the others.
    Dropout is off and draws nothing. ``momentum`` is neither read nor written.

    References
    ----------
    P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson. "Averaging weights
    leads to wider optima and better generalization." UAI 2018. :arxiv:`1803.05407`.

    Examples
    --------
    >>> import torch
    >>> from sksharp.averaging import update_bn
    >>> model = torch.nn.BatchNorm1d(1)
    >>> update_bn(torch.tensor([[1.0], [2.0], [6.0]]).split(2), model)
    >>> model.running_mean, model.running_var
    (tensor([3.]), tensor([7.]))
    """
    layers = _layers(model)
    if not layers:
        return
    call = _call if call is None else call
    recorder = Recorder(layers)
    with _uncompiled(), _restored_on_error(layers), _only_training(model, layers):
        later, n_batches = [], 0
        with recorder:
            for batch in loader:
                batch = batch if device is None else _moved(batch, device)
                if _is_empty(batch):
                    continue  # has no mean
                n_batches += 1
                try:
                    call(model, batch)
                    recorder.keep()
                except OneValue:  # which has no variance to normalize by
                    later.append(batch)
                    recorder.drop()
            recorder.write(n_batches)
            if not n_batches:
                raise _too_few(0)
            recorder.takes_one_value(len(later))
            for batch in later:
                call(model, batch)
                recorder.keep()
        recorder.write(n_batches)


class OneValue(Exception):
    """A layer is given a single value of every channel."""


class Recorder:
    """Context that records the statistics of what normalization layers are given.

    Parameters
    ----------
    layers : list of Module
        Which of them.
    """

    def __init__(self, layers: list[_BatchNorm]) -> None:
        self._statistics = {layer: Statistics() for layer in layers}
        self._of_batch: list[tuple[Statistics, tuple[int, Tensor, Tensor]]] = []
        self._n_single: int | None = None

    def __enter__(self) -> None:
        self._handles = [
            layer.register_forward_pre_hook(self._see, with_kwargs=True)
            for layer in self._statistics
        ]

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def takes_one_value(self, n_batches: int) -> None:
        """Let layers normalize single values by the statistics that are written."""
        self._n_single = n_batches

    def keep(self) -> None:
        """Count the batch that was seen."""
        for statistics, part in self._of_batch:
            statistics.add(part)
        self._of_batch = []

    def drop(self) -> None:
        """Forget the batch that was seen."""
        self._of_batch = []

    def write(self, n_batches: int) -> None:
        """Write the statistics to the layers."""
        for layer, statistics in self._statistics.items():
            statistics.write(layer, n_batches)

    def _see(self, layer: nn.Module, args: Any, kwargs: Any) -> None:
        assert isinstance(layer, _BatchNorm)
        x, statistics = args[0] if args else kwargs["input"], self._statistics[layer]
        is_single = x.numel() == x.shape[1]
        if is_single and self._n_single is None:
            raise OneValue
        if is_single and statistics.mean is None:
            raise _too_few(self._n_single)
        layer.training = not is_single
        self._of_batch.append((statistics, Statistics.of(x)))


class Statistics:
    """Mean and variance of what a normalization is given, batch by batch."""

    def __init__(self) -> None:
        self.n = 0
        self.mean: Tensor | None = None
        self.squares: Tensor | None = None

    @staticmethod
    def of(x: Tensor) -> tuple[int, Tensor, Tensor]:
        """Return number, mean and squares of a batch, (n_samples, n_channels, ...)."""
        x = x.transpose(0, 1).flatten(1)  # (n_channels, n)
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.float()
        mean = x.mean(1)
        return x.shape[1], mean, (x - mean[:, None]).square().sum(1)

    def add(self, part: tuple[int, Tensor, Tensor]) -> None:
        """Add a batch."""
        n, mean, squares = part
        if self.mean is None or self.squares is None:
            self.n, self.mean, self.squares = n, mean, squares
            return
        # of both parts together, without the loss of digits of a sum of squares
        total, difference = self.n + n, mean - self.mean
        self.mean = self.mean + difference * (n / total)
        self.squares += squares + difference.square() * (self.n * n / total)
        self.n = total

    def write(self, layer: _BatchNorm, n_batches: int) -> None:
        """Write them to a layer, if it was called."""
        if self.mean is None or self.squares is None:
            return
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(self.mean)
        layer.running_var.copy_(self.squares / max(1, self.n - 1))
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.fill_(n_batches)


def _layers(model: nn.Module) -> list[_BatchNorm]:
    """Return what normalizes batches and keeps their statistics."""
    for name, module in model.named_modules():
        is_script = isinstance(module, torch.jit.ScriptModule)
        if (
            is_script
            and dict(module.named_buffers(recurse=False)).get("running_mean")
            is not None
        ):
            raise TypeError(
                "model must normalize batches in Python for its layers to be recorded, got "
                f"a TorchScript module as {name or 'the model'!r}. Call update_bn before "
                "torch.jit.script or torch.jit.trace."
            )
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]


def _too_few(n_batches: int | None) -> ValueError:
    return ValueError(
        f"loader must hold a batch of at least two rows, got {n_batches} batches of one. "
        "Put more rows in a batch."
    )


def _call(model: nn.Module, batch: Any) -> Any:
    return model(_first(batch))


def _first(batch: Any) -> Any:
    return batch[0] if isinstance(batch, list | tuple) else batch


def _is_empty(batch: Any) -> bool:
    """Return whether a batch is a Tensor without rows, or begins with one."""
    first = _first(batch)
    if isinstance(first, dict):
        first = next(iter(first.values()), None)
    return isinstance(first, Tensor) and first.ndim > 0 and not len(first)


def _moved(batch: Any, device: torch.device | str | int) -> Any:
    """Return a batch whose Tensors are on a device."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, dict):
        moved = {key: _moved(value, device) for key, value in batch.items()}
        return type(batch)(moved) if type(batch) is not dict else moved
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_moved(part, device) for part in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_moved(part, device) for part in batch)
    return batch


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """Run compiled modules uncompiled: hooks and modes would compile them anew."""
    if "torch._dynamo" not in sys.modules:  # nothing was
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextlib.contextmanager
def _only_training(model: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """Put layers into training mode and everything else into evaluation mode."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        for layer in layers:
            layer.train()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextlib.contextmanager
def _restored_on_error(layers: list[_BatchNorm]) -> Iterator[None]:
    """Give layers their statistics back if something fails."""
    before = [
        (buffer, buffer.clone())
        for layer in layers
        for buffer in layer.buffers()
        if not is_lazy(buffer)  # it has no values yet
    ]
    try:
        yield
    except BaseException:
        for buffer, values in before:
            buffer.copy_(values)
        raise
