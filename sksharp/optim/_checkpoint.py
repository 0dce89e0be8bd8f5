"""What wrappers add to the checkpoint of a base optimizer that writes it in its own way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

# where it is if a checkpoint has not the form of torch's
KEY = "wrappers"


def method_of(optimizer: Optimizer, name: str) -> Callable[..., Any]:
    """Return a method of an optimizer, that of torch without what imports its compiler."""
    plain = getattr(Optimizer, name)
    if getattr(type(optimizer), name) is plain:
        method: Callable[..., Any] = inspect.unwrap(plain).__get__(optimizer)
        return method
    bound: Callable[..., Any] = getattr(optimizer, name)
    return bound


def add_own(
    state_dict: dict[str, Any], optimizer: Optimizer, names: Collection[str], own: Any
) -> dict[str, Any]:
    """Return a checkpoint with a wrapper's tensors and hyperparameters.

    Parameters
    ----------
    state_dict : dict
        The checkpoint of the base optimizer.

    optimizer : Optimizer
        The wrapper.

    names : collection of str
        Names of its tensors in the state of a parameter.

    own : collection of str
        Names of its hyperparameters in the groups.
    """
    groups = optimizer.param_groups
    state = {
        index: tensors
        for index, p in enumerate(_params(optimizer))
        if (
            tensors := {
                name: value
                for name, value in (optimizer.state.get(p) or {}).items()
                if name in names
            }
        )
    }
    values = [{name: group[name] for name in own if name in group} for group in groups]
    if not _is_usual(state_dict, len(groups)):
        rest = state_dict.get(KEY, [])
        return {**state_dict, KEY: [*rest, {"state": state, "param_groups": values}]}
    saved, groups = dict(state_dict["state"]), state_dict["param_groups"]
    keys = _keys(state_dict)
    for index, tensors in state.items():
        saved[keys[index]] = {**(saved.get(keys[index]) or {}), **tensors}
    pairs = zip(values, groups, strict=True)
    return {
        **state_dict,
        "state": saved,
        "param_groups": [{**group, **{**value, **group}} for value, group in pairs],
    }


def take_own(
    state_dict: dict[str, Any], n_groups: int, names: Collection[str]
) -> tuple[dict[str, Any], dict[int, dict[str, Any]], list[dict[str, Any]]]:
    """Return a checkpoint for the base optimizer, and what the wrapper has added to it."""
    if not _is_usual(state_dict, n_groups):
        *rest, last = state_dict.get(KEY) or [{"state": {}, "param_groups": []}]
        for_base = {name: value for name, value in state_dict.items() if name != KEY}
        if rest:
            for_base[KEY] = rest
        return for_base, last["state"], last["param_groups"]
    own: dict[int, dict[str, Any]] = {}
    state: dict[Any, Any] = {}
    indices = {key: index for index, key in enumerate(_keys(state_dict))}
    for key, tensors in state_dict["state"].items():
        if isinstance(tensors, dict) and key in indices:
            taken = {n: value for n, value in tensors.items() if n in names}
            if taken:
                own[indices[key]] = taken
                tensors = {n: v for n, v in tensors.items() if n not in names}
        if tensors or key not in indices:
            state[key] = tensors
    return {**state_dict, "state": state}, own, []


def put_own(
    optimizer: Optimizer, own: dict[int, dict[str, Any]], values: list[dict[str, Any]]
) -> None:
    """Set what a wrapper has added to a checkpoint."""
    params = _params(optimizer)
    for index, p in enumerate(params):
        tensors = own.get(index, {})
        if tensors or (p in optimizer.state and optimizer.state[p] is None):
            state = optimizer.state[p] = dict(optimizer.state.get(p) or {})
            for name, value in tensors.items():
                state[name] = _like(value, p)
    for group, value in zip(optimizer.param_groups, values, strict=False):
        group.update(value)


def _params(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _keys(state_dict: dict[str, Any]) -> list[Any]:
    """Return what a checkpoint calls the parameters, in their order."""
    return [key for group in state_dict["param_groups"] for key in group["params"]]


def _is_usual(state_dict: dict[str, Any], n_groups: int) -> bool:
    groups = state_dict.get("param_groups")
    has_state = isinstance(state_dict.get("state"), dict)
    return has_state and isinstance(groups, list) and len(groups) == n_groups


def _like(value: Any, p: Tensor) -> Any:
    """Return what was saved on the device of a parameter and in its precision, a copy."""
    if not isinstance(value, Tensor):
        return value
    return value.to(p.device, p.dtype if value.is_floating_point() else None, copy=True)
