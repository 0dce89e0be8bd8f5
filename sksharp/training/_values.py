"""Hyperparameters of many models: one value for all of them, or one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..optim._models import Hyperparameter


def shared_or_each(values: Sequence[float], like: Tensor) -> Hyperparameter:
    """Return the value that models share, else a Tensor of shape (n_models,).

    A number is the faster one: it needs no memory, and some kernels take nothing else.
    """
    if all(value == values[0] for value in values):
        return values[0]
    return torch.tensor(values, dtype=like.dtype).to(like.device)


def select_model(state: Any, k: int) -> Any:
    """Return the part of one model of a nested state whose tensors lead with models."""
    if isinstance(state, Tensor):
        part = state[k]
        return part if part.ndim else part.item()
    if isinstance(state, Mapping):
        return {key: select_model(value, k) for key, value in state.items()}
    if isinstance(state, list):
        return [select_model(value, k) for value in state]
    return state


def select_models(state: Any, index: Tensor) -> Any:
    """Return the part of some models of a nested state whose tensors lead with models."""
    if isinstance(state, Tensor):
        return state.index_select(0, index)
    if isinstance(state, Mapping):
        return {key: select_models(value, index) for key, value in state.items()}
    if isinstance(state, list):
        return [select_models(value, index) for value in state]
    return state


def join_models(states: Sequence[Any], like: Tensor) -> Any:
    """Return nested states of single models as one whose tensors lead with models.

    Parameters
    ----------
    states : sequence
        Alike but for the values of tensors and floats.

    like : Tensor
        Of the dtype and device of floats that are not shared.
    """
    first = states[0]
    if isinstance(first, Tensor):
        return torch.stack(list(states))
    if isinstance(first, Mapping):
        return {
            key: join_models([state[key] for state in states], like) for key in first
        }
    if isinstance(first, list):
        return [join_models(parts, like) for parts in zip(*states, strict=True)]
    if isinstance(first, float):
        return shared_or_each(list(states), like)
    return first
