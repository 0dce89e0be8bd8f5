"""Loops in plain torch, as a person would write them: eager, and with the step captured."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


class PlainLoop:
    """Training of one network by Adam, or by SAM over it, with autograd.

    Parameters
    ----------
    X, y : array
        Rows, in float32, and their classes, 0 and 1.

    hidden : tuple of int
        Units of the hidden layers.

    batch_size : int
        Rows of a minibatch. A last one that is shorter is left out.

    solver : str
        'adam' or 'sam'.

    device : str
        Where to train.

    is_captured : bool
        Whether a step is a CUDA graph, replayed for every minibatch.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        hidden: tuple[int, ...],
        batch_size: int,
        solver: str,
        device: str,
        *,
        is_captured: bool,
    ) -> None:
        self.X = torch.as_tensor(X).to(device)
        self.y = torch.as_tensor(y).to(device, torch.float32).unsqueeze(1)
        units = (self.X.shape[1], *hidden)
        layers: list[nn.Module] = []
        for a, b in pairwise(units):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Linear(units[-1], 1)).to(device)
        self.params = list(self.model.parameters())
        self.loss_function = nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.Adam(self.params, capturable=is_captured)
        self.solver, self.batch_size = solver, batch_size
        self.index = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self.loss = torch.zeros((), device=device)
        self.take_step: Callable[[], None] = self._step
        if is_captured:
            self._capture()

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return len(self.X) // self.batch_size

    def train(self, epochs: int) -> float:
        """Train and return the loss of the last epoch, as a training waits for it."""
        mean = 0.0
        for _ in range(epochs):
            self.loss.zero_()
            order = torch.randperm(len(self.X), device=self.X.device)
            for k in range(self.n_steps):
                start = k * self.batch_size
                self.index.copy_(order[start : start + self.batch_size])
                self.take_step()
            mean = self.loss.item() / self.n_steps
        return mean

    def _step(self) -> None:
        loss, grads = self._gradient()
        if self.solver == "sam":
            with torch.no_grad():
                norm = torch.stack(torch._foreach_norm(grads)).norm()
                ascent = torch._foreach_mul(grads, 0.05 / norm)
                torch._foreach_add_(self.params, ascent)
            _, grads = self._gradient()
            with torch.no_grad():
                torch._foreach_sub_(self.params, ascent)
        for p, grad in zip(self.params, grads, strict=True):
            p.grad = grad
        self.optimizer.step()
        self.loss += loss.detach()

    def _gradient(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        rows, targets = self.X[self.index], self.y[self.index]
        loss: Tensor = self.loss_function(self.model(rows), targets)
        return loss, torch.autograd.grad(loss, self.params)

    def _capture(self) -> None:
        # a stream of its own, and steps before: the way of torch's documentation
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._step()
        self.take_step = self.graph.replay
