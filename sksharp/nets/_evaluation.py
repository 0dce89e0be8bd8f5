"""The weights to predict with: in the module while it predicts, away while it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self

import torch
from skorch.callbacks import Callback
from skorch.dataset import unpack_data
from torch import Tensor, nn

from ..averaging import update_bn


def learned_params(net: Any) -> list[Tensor]:
    """Return what a net learns, also in its criterion."""
    return [p for _, p in net.get_all_learnable_params()]


def states(net: Any) -> list[Tensor]:
    """Return parameters and buffers of a net, each once."""
    found: dict[Tensor, None] = {}
    for name in net._modules + net._criteria:
        component = getattr(net, name + "_")
        if isinstance(component, nn.Module):
            found |= dict.fromkeys([*component.parameters(), *component.buffers()])
    return list(found)


def optimizers(net: Any) -> list[Any]:
    """Return the optimizers of a net."""
    return [getattr(net, name + "_") for name in net._optimizers]


@contextlib.contextmanager
def at_evaluation_params(net: Any) -> Iterator[None]:
    """Context in which a net has the weights that its optimizer evaluates it with."""
    with contextlib.ExitStack() as stack:
        for optimizer in optimizers(net):
            if not getattr(optimizer, "is_synchronized", True):
                stack.enter_context(optimizer.evaluating())
        yield


@torch.no_grad()
def write(tensors: list[Tensor], values: list[Tensor]) -> None:
    """Write values into tensors, in place."""
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def copies(tensors: list[Tensor]) -> list[Tensor]:
    """Return copies of tensors."""
    return [tensor.detach().clone() for tensor in tensors]


def update_statistics(net: Any, dataset: Any) -> None:
    """Compute the statistics of batch normalization anew, at the weights of now."""
    modules = nn.ModuleList(
        module
        for name in net._modules
        if isinstance(module := getattr(net, name + "_"), nn.Module)
    )
    update_bn(
        net.get_iterator(dataset, training=False),
        modules,
        call=lambda _, batch: net.infer(unpack_data(batch)[0]),
    )


class EvaluationWeights(Callback):
    """Puts the weights to predict with into a net at the end of every epoch.

    Those of training come back when it goes on. Here they differ for optimizers with slow
    or averaged weights of their own only.
    """

    def initialize(self) -> Self:
        """Forget the weights of another training."""
        # of parameters and buffers, while others are in their place
        self.kept_: list[Tensor] | None = None
        # the parameters that are in the place of theirs
        self.put_: list[Tensor] | None = None
        self.dataset_: Any = None
        return self

    def values(self, net: Any) -> list[Tensor] | None:
        """Return the parameters to predict with, None for those of training."""
        if all(getattr(o, "is_synchronized", True) for o in optimizers(net)):
            return None
        with at_evaluation_params(net):
            return copies(learned_params(net))

    def put(self, net: Any) -> None:
        """Put the weights to predict with into the net, if they are not there."""
        if self.kept_ is not None:
            return
        values = self.values(net)
        if values is None:
            return
        self.kept_ = copies(states(net))
        write(learned_params(net), values)
        self.put_ = copies(learned_params(net))
        try:
            update_statistics(net, self.dataset_)
        except BaseException:
            self.give_back(net)
            raise

    def give_back(self, net: Any) -> None:
        """Put the weights of training into the net."""
        if self.kept_ is not None:
            write(states(net), self.kept_)
            self.forget()

    def forget(self) -> None:
        """Go on from the weights that are in the net."""
        self.kept_ = self.put_ = None

    def is_rewritten(self, net: Any) -> bool:
        """Return whether others have written to the parameters since."""
        params = learned_params(net)
        return self.put_ is not None and not all(map(torch.equal, params, self.put_))

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Take back the weights of training, unless somebody has written others."""
        if self.is_rewritten(net):
            self.forget()
            self.begin_anew()
            reset_to_params(net)
        self.give_back(net)

    def begin_anew(self) -> None:
        """Drop what comes from weights that were written over."""

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Train the weights of training."""
        self.dataset_ = dataset_train
        self.give_back(net)

    def on_batch_begin(self, net: Any, training: Any = None, **kwargs: Any) -> None:
        """Validate the weights to predict with."""
        if not training:
            self.put(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Show the weights to predict with to what follows."""
        self.put(net)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Leave the weights to predict with."""
        if self.dataset_ is not None:  # a training without an epoch
            self.put(net)
        self.dataset_ = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a training needs to go on."""
        return {"kept": None if self.kept_ is None else copies(self.kept_)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the state of another training."""
        self.kept_, self.put_ = state_dict["kept"], None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "dataset_": None}


def reset_to_params(net: Any) -> None:
    """Let optimizers begin anew from parameters that were written to."""
    for optimizer in optimizers(net):
        if hasattr(optimizer, "reset_to_params"):
            optimizer.reset_to_params()
