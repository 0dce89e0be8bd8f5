"""What the fit of a net has chosen and how it went, in words."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from ..options.solvers import as_solver
from ._text import Part, counted, epochs_and_limit, joined, lines_of, table_of_radii


def net_lines(net: Any) -> list[str]:
    """Return the lines about a net.

    Parameters
    ----------
    net : SAMNetClassifier or SAMNetRegressor
        The net, initialized.

    Returns
    -------
    lines : list of str
        What it was given, what was chosen, and how training went.
    """
    parts: list[Part] = [
        ("data", _data(net), []),
        ("module", _module(net), []),
        ("loss", _class_of(net.criterion_), []),
        ("solver", _solver(net), []),
        ("radius", _radius(net), table_of_radii(net)),
        ("training", _training(net), []),
        ("average", _average(net), []),
        ("kept", _kept(net), []),
        ("snapshots", _snapshots(net), []),
    ]
    return lines_of(parts)


def _class_of(component: Any) -> str:
    return type(getattr(component, "_orig_mod", component)).__name__


def _data(net: Any) -> str | None:
    n_train, n_valid = net.n_rows_
    n_features, n_outputs = (
        getattr(net, name, None) for name in ("n_features_in_", "n_outputs_")
    )
    outputs = None
    if n_outputs is not None and is_classifier(net) and not net.is_multilabel_:
        outputs = counted(len(net.classes_), "class", "classes")
    elif n_outputs is not None:
        what = "label" if is_classifier(net) else "target"
        outputs = counted(n_outputs, what)
    rows = [
        None if n_train is None else f"{counted(n_train, 'row')} to train with",
        None if n_valid is None else f"{n_valid:,} to validate with",
        None if n_features is None else counted(n_features, "feature"),
        outputs,
    ]
    return joined(rows) or None


def _module(net: Any) -> str:
    params = list(net.module_.parameters())
    n_frozen = _size(p for p in params if not p.requires_grad)
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in params})
    return joined(
        [
            f"{_class_of(net.module_)}; {_size(params):,} parameters",
            f"{n_frozen:,} of them frozen" if n_frozen else None,
            " and ".join(dtypes),
            f"on {net.device or params[0].device}",
        ]
    )


def _size(params: Iterable[Any]) -> int:
    return sum(p.numel() for p in params)


def _solver(net: Any) -> str:
    """Return the solver, its rates and batches, and what differs from the defaults."""
    parameters = net.get_params(deep=False)
    always = ["base_solver"] if as_solver(net.solver).takes_base else []
    always += ["lr", "batch_size"]
    defaults = inspect.signature(type(net)).parameters
    others = ["learning_rate", "warmup", "gradient_accumulation", "mixed_precision"]
    always += [n for n in others if parameters[n] != defaults[n].default]
    always += [n for n in sorted(parameters) if n.startswith("optimizer__")]
    shown = [f"{name}={_name(parameters[name])}" for name in always]
    return joined([repr(net.solver), *shown])


def _name(value: Any) -> str:
    return value.__name__ if inspect.isclass(value) else repr(value)


def _radius(net: Any) -> str | None:
    if not as_solver(net.solver).takes_radius:
        return None
    if isinstance(net.rho, Real):
        return f"rho={net.rho!r}, as given"
    rho = f"rho={net.radius:.4g}"
    if not hasattr(net, "rho_grid_"):
        is_only = not isinstance(net.rho, str) and len(net.rho) == 1
        if is_only:
            return f"{rho}, the only one of the list"
        return f"{rho}, used without a choice (rho={net.rho!r})"
    return f"{rho} was chosen: the lowest validation loss"


def _training(net: Any) -> str:
    """Return how long it took, and how it ended."""
    plan, n_epochs = net.phases_["plan"], len(net.history)
    is_full = plan.epoch == net.max_epochs
    limit = f"{'all of ' if is_full else ''}max_epochs={net.max_epochs}"
    best = net.phases_.get("best")
    stall = None
    if best is not None and best.is_stalled:
        stall = (
            f"validation loss not better by more than tol={net.tol:g} in the last "
            f"{counted(best.misses_, 'epoch')}"
        )
    losses = [_last(net, name) for name in ("train_loss", "valid_loss")]
    texts = [
        None if loss is None else f"{name} {loss:.4g} at the end"
        for loss, name in zip(losses, ("loss", "validation loss"), strict=True)
    ]
    duration = _seconds(net)
    return joined(
        [
            epochs_and_limit(n_epochs, plan.epoch, limit),
            None if duration is None else f"{duration:.3g} s",
            *texts,
            stall,
        ]
    )


def _last(net: Any, name: str) -> float | None:
    """Return a loss of the last epoch, None if there is none."""
    try:
        batches = net.history[-1, "batches", :, [name, f"{name[:5]}_batch_size"]]
    except (KeyError, IndexError):
        return None
    losses, sizes = zip(*batches, strict=True)
    return float(np.average(losses, weights=sizes))


def _seconds(net: Any) -> float | None:
    try:
        return float(sum(net.history[:, "dur"]))
    except (KeyError, IndexError):  # without callbacks
        return None


def _average(net: Any) -> str | None:
    if net.ema_decay:
        return (
            "exponential moving average of the weights, ema_decay="
            f"{net.ema_decay!r}, over {counted(net.n_averaged_, 'step')}"
        )
    if net.n_averaged_:
        n_epochs = counted(net.n_averaged_, "epoch")
        return f"mean of the weights after each of {n_epochs}"
    return None


def _kept(net: Any) -> str | None:
    best = net.phases_.get("best")
    if best is None or not best.best_epoch_:
        return None
    what = "the average" if net.n_averaged_ else "the weights"
    return f"{what} of epoch {best.best_epoch_}, validation loss {best.loss_:.4g}"


def _snapshots(net: Any) -> str | None:
    snapshots = net.phases_.get("snapshots")
    if snapshots is None:
        return None
    return f"{counted(len(snapshots), 'network')}, whose predictions are averaged"
