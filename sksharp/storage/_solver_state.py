"""What the state of a solver and of an average is, in records that anyone may write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .._jobs import AveragingState, OptimizerState
from ..options.solvers import SOLVERS
from ._predicates import is_count, is_floats, is_number, is_positive


def holds(rule: Callable[..., Any], *args: Any) -> bool:
    """Return whether a rule holds; it does not if it raises."""
    try:
        return bool(rule(*args))
    except Exception:
        return False


def is_optimizer_state(
    value: Any,
    chains: Collection[tuple[str, ...]],
    is_vector: Callable[[Any], bool],
    are_settings: Callable[[dict[str, Any], Sequence[Any]], bool],
) -> bool:
    """Return whether a value is the state of a solver.

    Parameters
    ----------
    value : object
        Value.

    chains : collection of tuple of str
        The solvers that may take part in a step, the one with the descent last.

    is_vector : callable
        Whether a value has an entry for every weight and bias.

    are_settings : callable
        Takes a group of parameters and the solvers' entries in the registry, returns
        whether it is what the optimizer holds.
    """
    if type(value) is not OptimizerState or value.solvers not in chains:
        return False
    content = value.state_dict
    if content.keys() != {"state", "param_groups"} or not is_count(value.epochs):
        return False
    links = [SOLVERS[name] for name in value.solvers]
    (group,) = content["param_groups"]
    state = dict(content["state"])
    entries = state.pop(0, {})
    group, tuner = dict(group), group.get("tuner")
    if value.solvers == ("yellowfin",):
        del group["tuner"]
    return (
        not state
        and are_settings(group, links)
        and _are_entries(entries, links, is_vector)
        and (_is_tuner(tuner) if entries and tuner is not None else not tuner)
    )


def _are_entries(
    entries: Mapping[str, Any], links: Sequence[Any], is_vector: Callable[[Any], bool]
) -> bool:
    """Return whether a value is what an optimizer keeps of the weights and biases."""
    *_, descent = links
    memories = [{*link.memory} for link in links if entries.keys() & {*link.memory}]
    # there is nothing before the first step
    expected = {*descent.state}.union(*memories) if entries else set()
    numbers = {"step": is_count, "weight_sum": is_positive}
    return entries.keys() == expected and all(
        numbers.get(name, is_vector)(value) for name, value in entries.items()
    )


def _is_tuner(tuner: Any) -> bool:
    """Return whether a value is what 'yellowfin' has measured."""
    names = {"largest", "smallest", "norm", "curvature", "distance", "momentum", "rate"}
    return (
        tuner.keys() == names | {"step", "recent"}
        and is_count(tuner["step"])
        and is_floats(tuner["recent"], (np.size(tuner["recent"]),))
        and all(is_number(tuner[n]) or is_floats(tuner[n], ()) for n in names)
    )


def is_average(
    value: Any, schemes: Collection[str], is_vector: Callable[[Any], bool]
) -> bool:
    """Return whether a value is an average of weights under way, of one of some schemes."""
    if type(value) is not AveragingState or value.scheme not in schemes:
        return False
    has_counts = (
        is_count(value.epochs)
        and (value.began is None or is_count(value.began))
        and (value.lr is None or is_positive(value.lr))
    )
    content = value.scheme_state
    if value.scheme == "snapshots":
        (members,) = content.values()
        collected = [weights for (weights,) in members]
        return (
            has_counts and "members" in content and bool(all(map(is_vector, collected)))
        )
    averaged, n_averaged = content["averaged"], content["n_averaged"]
    return (
        has_counts
        and content.keys() == {"averaged", "n_averaged"}
        and type(averaged) is list
        and all(map(is_vector, averaged))
        and is_count(n_averaged)
        and len(averaged) == min(n_averaged, 1)
    )
