"""Steps of solvers that need more than one closure for a minibatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from skorch.dataset import get_len, unpack_data
from skorch.utils import TeeGenerator, multi_indexing, to_numpy, to_tensor
from torch import Tensor


def step_in_parts(net: Any, batch: Any, size: int, **fit_params: Any) -> dict[str, Any]:
    """Take a step with a perturbation for every part of a minibatch.

    Parameters
    ----------
    net : NeuralNet
        The net.

    batch : tuple
        Inputs and targets.

    size : int
        Rows of a part.

    **fit_params
        Arguments of ``forward``.

    Returns
    -------
    step : dict
        With the loss at the weights before the step, and the predictions.
    """
    X, y = unpack_data(batch)
    n_rows, weights = get_len(X), net.batch_weights_
    first: dict[int, Tensor] = {}
    closures: list[tuple[Callable[[], Tensor], float]] = []
    for begin in range(0, n_rows, size):
        rows = list(range(begin, min(begin + size, n_rows)))
        part = multi_indexing(X, rows), multi_indexing(y, rows)
        of_part = None if weights is None else to_numpy(weights)[rows]

        def closure(
            begin: int = begin, part: Any = part, of_part: Any = of_part
        ) -> Tensor:
            net.batch_weights_ = of_part
            net._zero_grad_optimizer()
            step = net.train_step_single(part, **fit_params)
            first.setdefault(begin, step["y_pred"])
            _notify(net, part)
            loss: Tensor = step["loss"]
            return loss

        share = len(rows) if of_part is None else float(of_part.sum())
        closures.append((closure, share))
    try:
        loss = net.optimizer_.step(closures)
    finally:
        net.batch_weights_ = weights
    return {"loss": loss, "y_pred": torch.cat(list(first.values()))}


def step_by_rows(net: Any, batch: Any, **fit_params: Any) -> dict[str, Any]:
    """Take a step with an optimizer that chooses rows of the minibatch.

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


def _notify(net: Any, batch: Any) -> None:
    net.notify(
        "on_grad_computed",
        named_parameters=TeeGenerator(net.get_all_learnable_params()),
        batch=batch,
        training=True,
    )
