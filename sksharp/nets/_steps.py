"""Steps that skorch does not take: in parts, by rows, or in mixed precision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from skorch.dataset import get_len, unpack_data
from skorch.utils import TeeGenerator, multi_indexing, to_numpy, to_tensor
from torch import Tensor

from ..optim import scaled_step
from ..optim._base import each_closure
from ..options.solvers import TwoGradients
from ._inputs import cast_floats, dtype_of
from ._losses import shares_of
from ._solver import solvers_of

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def takes_own_step(net: Any) -> bool:
    """Return whether a net takes steps that skorch does not."""
    return (
        chooses_rows(net)
        or micro_batch_size(net) is not None
        or net.mixed_precision == "fp16"
    )


def chooses_rows(net: Any) -> bool:
    """Return whether the solver of a net chooses rows of a minibatch."""
    return solvers_of(net)[0].chooses_rows


def micro_batch_size(net: Any) -> int | None:
    """Return the rows that have a perturbation of their own, None for all."""
    outer = solvers_of(net)[0]
    return outer.micro_batch_size if isinstance(outer, TwoGradients) else None


def take_step(net: Any, batch: Any, **fit_params: Any) -> dict[str, Any]:
    """Take a step, as the solver needs it.

    Parameters
    ----------
    net : NeuralNet
        The net.

    batch : tuple
        Inputs and targets.

    **fit_params
        Arguments of ``forward``.

    Returns
    -------
    step : dict
        With the loss at the weights before the step, and the predictions.
    """
    step = _step_by_rows if chooses_rows(net) else _step_in_parts
    return step(net, batch, **fit_params)


def _step_in_parts(net: Any, batch: Any, **fit_params: Any) -> dict[str, Any]:
    """Take a step with a perturbation for every part of a minibatch, or for all of it."""
    n_rows, weights = get_len(unpack_data(batch)[0]), net.batch_weights_
    size = micro_batch_size(net) or n_rows
    first: dict[int, dict[str, Any]] = {}
    last: list[Any] = []  # the part that was evaluated last
    closures: list[tuple[Callable[[], Any], float]] = []
    for begin in range(0, n_rows, size):
        rows = np.arange(begin, min(begin + size, n_rows))
        part, of_part = _rows_of(batch, weights, rows)

        def closure(
            begin: int = begin, part: Any = part, of_part: Any = of_part
        ) -> Tensor:
            net.batch_weights_ = of_part
            net._zero_grad_optimizer()
            step = net.train_step_single(part, **fit_params)
            first.setdefault(begin, step)
            last[:] = [part]
            loss: Tensor = step["loss"]
            return loss

        share = len(rows) if of_part is None else float(of_part.sum())
        closures.append((closure, share))
    whole: Any = closures if len(closures) > 1 else closures[0][0]
    try:
        loss = _apply(net, whole, lambda: _notify(net, last[0]))
    finally:
        net.batch_weights_ = weights
    if loss is None:  # skipped by the scaler
        loss = next(iter(first.values()))["loss"]
    return {"loss": loss, "y_pred": joined([s["y_pred"] for s in first.values()])}


def _step_by_rows(net: Any, batch: Any, **fit_params: Any) -> dict[str, Any]:
    """Take a step with an optimizer that chooses rows of the minibatch."""
    X, y = unpack_data(batch)
    X = to_tensor(X, device=net.device)
    first: list[Tensor] = []
    net._set_training(True)

    def closure(rows: Any = slice(None)) -> Tensor:
        part, targets = X, y
        if isinstance(rows, Tensor):
            part, targets = (multi_indexing(each, rows.tolist()) for each in (X, y))
        y_pred = net.infer(part, **fit_params)
        first.append(y_pred)
        losses: Tensor = net.row_losses(y_pred, targets)
        return losses

    loss = net.optimizer_.step(closure)
    return {"loss": loss, "y_pred": first[0]}


def _apply(net: Any, closures: Any, tell: Callable[[], None]) -> Any:
    """Call the optimizer, and tell callbacks of every gradient that it is given."""

    def told(closure: Callable[[], Any]) -> Callable[[], Any]:
        def evaluate() -> Any:
            loss = closure()
            tell()
            return loss

        return evaluate

    scaler = scaler_of(net)
    if scaler is None:
        return net.optimizer_.step(each_closure(closures, told))
    telling: Any = _Telling(net.optimizer_, told)
    return scaled_step(scaler, telling, closures)


class _Telling:
    """An optimizer whose closures tell of gradients when the scaler is done with them."""

    def __init__(self, optimizer: Any, told: Callable[..., Any]) -> None:
        self.optimizer, self.told = optimizer, told

    @property
    def param_groups(self) -> Any:
        """Return those of the optimizer."""
        return self.optimizer.param_groups

    def step(self, closures: Any) -> Any:
        """Take the step of the optimizer."""
        return self.optimizer.step(each_closure(closures, self.told))


# -- the gradient of a minibatch -----------------------------------------------------------


def accumulates(net: Any) -> bool:
    """Return whether the gradient of a net is not that of one call of ``backward``."""
    return net.gradient_accumulation > 1 or scaler_of(net) is not None


def accumulated(net: Any, batch: Any, **fit_params: Any) -> dict[str, Any]:
    """Compute the gradient of a minibatch part after part, and sum it up.

    Parameters
    ----------
    net : NeuralNet
        The net, which says how many parts.

    batch : tuple
        Inputs and targets.

    **fit_params
        Arguments of ``forward``.

    Returns
    -------
    step : dict
        With the loss and the predictions of all rows.
    """
    net._set_training(True)
    X, y = unpack_data(batch)
    n_rows, weights, scaler = get_len(X), net.batch_weights_, scaler_of(net)
    shares = shares_of(net, y, weights, n_rows)
    loss, outputs = 0.0, []
    try:
        for rows in np.array_split(
            np.arange(n_rows), min(n_rows, net.gradient_accumulation)
        ):
            part, net.batch_weights_ = _rows_of(batch, weights, rows)
            y_pred = net.infer(part[0], **fit_params)
            of_part = net.get_loss(y_pred, part[1], X=part[0], training=True)
            if shares is not None:
                of_part = of_part * float(shares[rows].sum() / shares.sum())
            (of_part if scaler is None else scaler.scale(of_part)).backward()
            loss = loss + of_part.detach()
            outputs.append(y_pred)
    finally:
        net.batch_weights_ = weights
    return {"loss": loss, "y_pred": joined(outputs)}


def joined(outputs: list[Any]) -> Any:
    """Return the outputs of the parts of a minibatch as those of the whole."""
    if isinstance(outputs[0], Tensor):
        return torch.cat(outputs)
    if isinstance(outputs[0], tuple):
        return tuple(map(torch.cat, zip(*outputs, strict=True)))
    return outputs[0] if len(outputs) == 1 else outputs


def _rows_of(batch: Any, weights: Any, rows: Any) -> tuple[tuple[Any, Any], Any]:
    """Return some rows of a minibatch, and their weights."""
    X, y = (multi_indexing(each, rows.tolist()) for each in unpack_data(batch))
    return (X, y), None if weights is None else to_numpy(weights)[rows]


def _notify(net: Any, batch: Any) -> None:
    net.notify(
        "on_grad_computed",
        named_parameters=TeeGenerator(net.get_all_learnable_params()),
        batch=batch,
        training=True,
    )


# -- mixed precision -----------------------------------------------------------------------


def scaler_of(net: Any) -> torch.amp.GradScaler | None:
    """Return what keeps gradients of half precision from underflowing, if it is needed."""
    if net.mixed_precision != "fp16":
        net.scaler_ = None
    elif net.scaler_ is None:
        net.scaler_ = torch.amp.GradScaler(torch.device(net.device or "cpu").type)
    scaler: torch.amp.GradScaler | None = net.scaler_
    return scaler


@contextlib.contextmanager
def in_precision(net: Any) -> Iterator[Callable[[Any], Any]]:
    """Context in which a module computes in the precision of a net.

    Yields
    ------
    restore : callable
        Returns outputs in the precision of the weights.
    """
    if net.mixed_precision is None:
        yield lambda outputs: outputs
        return
    dtype = dtype_of(net.module_)
    if dtype is not torch.float32:
        raise ValueError(
            f"mixed_precision={net.mixed_precision!r} needs a module in float32, got "
            f"{dtype} in {type(net.module_).__name__}. Leave mixed_precision at None, or "
            "call float() on the module."
        )
    device = torch.device(net.device or "cpu").type
    with torch.autocast(device, PRECISIONS[net.mixed_precision]):
        yield lambda outputs: cast_floats(outputs, dtype)
