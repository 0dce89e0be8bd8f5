"""Errors that the optimizers share."""

import inspect
import linecache
import traceback
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from numbers import Integral
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.optim import Optimizer


def check_interval(
    name: str,
    value: float | Tensor,
    low: float,
    high: float = inf,
    *,
    closed: bool = False,
) -> None:
    """Raise ``ValueError`` unless ``low <= value < high`` (``<= high`` if closed).

    A tensor holds one value per model and is taken as it is: looking into it would wait
    for its device. What is no number is a ``TypeError``.
    """
    if isinstance(value, Tensor):
        return
    try:
        is_inside = low <= value and (value <= high if closed else value < high)
    except TypeError:
        raise TypeError(f"{name} must be a number, got {name}={value!r}.") from None
    if is_inside:
        return
    upper = "" if high == inf else f" and {'<=' if closed else '<'} {high:g}"
    raise ValueError(f"{name} must be >= {low:g}{upper}, got {name}={value}.")


def check_range(group: Mapping[str, Any], params: Iterable[Tensor]) -> None:
    """Raise ``ValueError`` for hyperparameters beyond what kernels compute with.

    That is double precision for parameters of it, else single precision: half's kernels
    take their numbers so. Tensors and integers are not looked at, as in
    :func:`check_interval` and because they count.
    """
    if all(p.dtype == torch.float64 for p in params):
        return
    largest = torch.finfo(torch.float32).max
    for name, value in group.items():
        if isinstance(value, float) and largest < abs(value) < inf:
            raise ValueError(
                f"{name} must be representable in float32, in which all parameters but "
                f"those of float64 are updated: at most {largest:.2g}, got {name}="
                f"{value:g}. Lower {name}, or train parameters of float64."
            )


def refuse_missing_closure(optimizer: object) -> NoReturn:
    """Raise the error of a two-gradient step without a closure."""
    raise TypeError(
        f"{type(optimizer).__name__}.step needs a closure, because it evaluates the "
        "gradient twice. Pass a function that computes the loss, calls backward and "
        "returns the loss. A GradScaler calls step without one: use "
        "sksharp.optim.scaled_step, or bfloat16 autocast, which needs no scaler."
    )


def refuse_missing_gradient(optimizer: object) -> NoReturn:
    """Raise the error of a closure that leaves no gradient."""
    raise ValueError(
        f"closure must leave a gradient of a parameter of {type(optimizer).__name__}, got "
        "none. Call backward on the loss in it, before it returns the loss. In Lightning, "
        "StochasticWeightAveraging leaves it out in a last epoch for batch normalization: "
        "average with sksharp.averaging, in a callback."
    )


def refuse_empty_closure(optimizer: object) -> NoReturn:
    """Raise the error of a closure that leaves the gradients as they were."""
    raise ValueError(
        "closure must compute the loss and call backward, got one that returned None and "
        f"left gradients as they were. {type(optimizer).__name__} evaluates it at two "
        "weights. Call backward inside of it, and pass it to step; without one, step of "
        "Lightning's optimizers passes one that does nothing."
    )


def refuse_gradients_before(optimizer: object) -> NoReturn:
    """Raise the error of gradients that were there before a step."""
    raise ValueError(
        "closure must clear the gradients of before the step, got one that adds to them. "
        "If they are left over, call optimizer.zero_grad() before the step. If they are "
        "those of earlier micro-batches (gradient accumulation, accumulate_grad_batches "
        f"of Lightning), {type(optimizer).__name__} needs them at the perturbed weights "
        "too: pass a list with the closures of all micro-batches, and call no backward "
        "outside."
    )


def explain_missing_gradient(error: BaseException, params: Iterable[Tensor]) -> None:
    """Add to the error of a closure that writes into gradients of None how to make them."""
    if not isinstance(error, AttributeError | TypeError) or "None" not in str(error):
        return
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    text = linecache.getline(frame.f_code.co_filename, line)
    if "grad" in text and any(p.grad is None for p in params):
        error.add_note(
            "Gradients are None before each evaluation of the closure. Call backward in "
            "it, which makes them, or assign them, p.grad = ..., in each call."
        )


def refuse_complex(p: Tensor) -> NoReturn:
    """Raise the error of a complex parameter."""
    raise TypeError(
        f"params must be real, got one of {p.dtype} of shape {tuple(p.shape)}. Train its "
        "real and imaginary parts: make a parameter of torch.view_as_real of it, and use "
        "torch.view_as_complex of that in the module."
    )


def refuse_sparse(optimizer: object) -> NoReturn:
    """Raise the error of a sparse gradient."""
    raise TypeError(
        f"gradients must be dense, got a sparse one for {type(optimizer).__name__}. Make "
        "the layer with sparse=False."
    )


def check_params(wrapper: object, params: object) -> None:
    """Raise ``TypeError`` if ``params`` is an optimizer, as wrappers elsewhere take."""
    if isinstance(params, Optimizer):
        name, base = type(wrapper).__name__, type(params).__name__
        way_out = f"{name}(model.parameters(), ...)"
        if "base_optimizer" in inspect.signature(type(wrapper)).parameters:
            way_out = (
                f"{name}(model.parameters(), {base}, ...), also with the arguments of "
                f"{base}, or, for one that was trained, "
                f"{name}(model.parameters(), lambda params: optimizer, ...)"
            )
        raise TypeError(
            f"params must be parameters or parameter groups, got an optimizer, {base}. "
            f"{name} makes its own: write {way_out}."
        )


def refuse_adaptive(optimizer: object) -> NoReturn:
    """Raise the error of an argument that published code has for ASAM."""
    raise TypeError(
        f"{type(optimizer).__name__} has no argument 'adaptive', nor has its base "
        "optimizer. For adaptive=True take sksharp.optim.ASAM, or SharpnessAware with "
        "perturbation=AdaptivePerturbation(...); for adaptive=False leave it out."
    )


def missing_attribute(optimizer: object, name: str) -> AttributeError:
    """Return the error of a missing attribute, some with what to write instead."""
    text = f"{type(optimizer).__name__!r} object has no attribute {name!r}"
    if name in ("first_step", "second_step", "ascent_step", "descent_step"):
        text += (
            ". One call of step(closure) takes both: put the computation of the loss and "
            "backward into a function that returns the loss, and pass it to step"
        )
    return AttributeError(text, name=name, obj=optimizer)


def check_base(base_optimizer: object) -> None:
    """Raise ``TypeError`` unless ``base_optimizer`` can be called to make an optimizer."""
    if not callable(base_optimizer):
        raise TypeError(
            "base_optimizer must be an optimizer class or a function that takes the "
            f"parameters and returns an optimizer, got {base_optimizer!r}."
        )


def refuse_shared_name(wrapper: object, base_optimizer: Any, name: str) -> None:
    """Raise ``ValueError`` if a wrapper's hyperparameter is its base optimizer's too."""
    if name in base_optimizer.defaults:
        raise ValueError(
            f"{type(wrapper).__name__} and {type(base_optimizer).__name__} both have a "
            f"hyperparameter {name}, and one value would serve both. Choose another "
            "base_optimizer."
        )


def refuse_owner(wrapper: object, base_optimizer: object, does: str) -> NoReturn:
    """Raise the error of a base optimizer that overwrites the parameters."""
    name = type(base_optimizer).__name__
    raise ValueError(
        f"base_optimizer must train the parameters themselves, got {name}, which sets "
        f"them from weights of its own. {type(wrapper).__name__} {does}, and that would "
        "be lost. Choose another base_optimizer."
    )


def refuse_closure_of_its_own(wrapper: object, base_optimizer: object) -> NoReturn:
    """Raise the error of a base optimizer that evaluates the closure itself."""
    raise ValueError(
        "base_optimizer must step without a closure, got "
        f"{type(base_optimizer).__name__}, which needs one. "
        f"{type(wrapper).__name__} evaluates the closure itself. Choose another "
        "base_optimizer."
    )


def check_count(name: str, value: object, low: int) -> None:
    """Raise unless ``value`` is an integer of at least ``low``.

    It counts for all models at once, so a tensor is not one.
    """
    if not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {name}={value!r}.")
    check_interval(name, int(value), low)


def check_parts(closures: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """Return the closures of micro-batches with their sizes, and the sum of the sizes.

    Raises
    ------
    TypeError
        If they are not callables, or pairs of a callable and a size.
    ValueError
        If there are none.
    """
    parts = [
        (part, 1.0) if callable(part) else part
        for part in (closures if isinstance(closures, Sequence) else [closures])
    ]
    if not parts:
        raise ValueError(
            "closure must hold the closure of at least one micro-batch, got none."
        )
    for part in parts:
        if not (isinstance(part, tuple) and len(part) == 2 and callable(part[0])):
            raise TypeError(
                "closure must be a function, or a sequence of functions or of pairs of a "
                f"function and the size of its micro-batch, got {part!r}."
            )
    return parts, sum(size for _, size in parts)
