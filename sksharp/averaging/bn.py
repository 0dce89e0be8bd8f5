"""Statistics of batch normalization for weights that no minibatch has seen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def update_bn(
    loader: Iterable[Any],
    model: nn.Module,
    device: torch.device | str | int | None = None,
) -> None:
    r"""Compute the statistics of batch normalization anew, in one pass over the data.

    Averaged weights have no activations of their own yet. The running mean and variance
    of every normalization become those of its inputs :math:`x_i` over all rows (and
    positions) :math:`i = 1, \dots, n` together,

    .. math:: \mu = \frac1n \sum_i x_i, \qquad
              \sigma^2 = \frac{1}{n - 1} \sum_i (x_i - \mu)^2

    whatever the sizes of the batches.

    Parameters
    ----------
    loader : iterable
        Batches of rows, each a Tensor or a list or tuple that begins with one.

    model : torch.nn.Module
        Model whose statistics are set, in place. It is left in the mode it was in.

    device : torch.device, str, int or None, default=None
        Where to move the batches to.

    Raises
    ------
    ValueError
        If no batch has two rows or more. The model is then as it was.

    Notes
    -----
    Like :func:`torch.optim.swa_utils.update_bn`, with these differences. That function
    gives every batch the same weight, so that a short last one counts for too much, and
    leaves out the variance between batches. It fails on a batch of a single row; here such
    a row is normalized by the statistics of the others. Dropout is off and draws nothing.
    ``momentum`` is neither read nor written.

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
    # what torch.compile returned would be compiled anew for every batch
    model = getattr(model, "_orig_mod", model)
    layers = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not layers:
        return
    statistics = {layer: Statistics() for layer in layers}
    with _restored_on_error(layers), _only_training(model, layers):
        single, n_batches = [], 0
        with _watched(statistics):
            for batch in loader:
                rows = batch[0] if isinstance(batch, list | tuple) else batch
                rows = rows if device is None else rows.to(device)
                if not len(rows):
                    continue  # has no mean
                n_batches += 1
                if len(rows) == 1:  # has no variance to normalize by
                    single.append(rows)
                else:
                    model(rows)
            if n_batches == len(single):
                raise ValueError(
                    "loader must hold a batch of at least two rows, got "
                    f"{n_batches} batches of one row. Put more rows in a batch."
                )
            for layer in layers:
                statistics[layer].write(layer, n_batches)
                layer.eval()
            for rows in single:
                model(rows)
        for layer in layers:
            statistics[layer].write(layer, n_batches)


class Statistics:
    """Mean and variance of what a normalization is given, batch by batch."""

    def __init__(self) -> None:
        self.n = 0
        self.mean: Tensor | None = None
        self.squares: Tensor | None = None

    def see(self, x: Tensor) -> None:
        """Take a batch of shape (n_samples, n_channels, ...) in."""
        x = x.transpose(0, 1).flatten(1)  # (n_channels, n)
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.float()
        n = x.shape[1]
        mean = x.mean(1)
        squares = (x - mean[:, None]).square().sum(1)
        if self.mean is None or self.squares is None:
            self.n, self.mean, self.squares = n, mean, squares
            return
        # of both parts together, without the loss of digits of a sum of squares
        total, difference = self.n + n, mean - self.mean
        self.mean = self.mean + difference * (n / total)
        self.squares += squares + difference.square() * (self.n * n / total)
        self.n = total

    def write(self, layer: _BatchNorm, n_batches: int) -> None:
        """Make them those of a layer, if it was reached."""
        if self.mean is None or self.squares is None:
            return
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(self.mean)
        layer.running_var.copy_(self.squares / max(1, self.n - 1))
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.fill_(n_batches)


@contextlib.contextmanager
def _watched(statistics: dict[_BatchNorm, Statistics]) -> Iterator[None]:
    """Let statistics see the inputs of their layers."""
    with contextlib.ExitStack() as stack:
        for layer, seen in statistics.items():

            def see(
                module: nn.Module, args: Any, kwargs: Any, seen: Statistics = seen
            ) -> None:
                seen.see(args[0] if args else kwargs["input"])

            handle = layer.register_forward_pre_hook(see, with_kwargs=True)
            stack.callback(handle.remove)
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
        (buffer, buffer.clone()) for layer in layers for buffer in layer.buffers()
    ]
    try:
        yield
    except BaseException:
        for buffer, values in before:
            buffer.copy_(values)
        raise
