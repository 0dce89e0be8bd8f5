"""What ``fit`` and ``predict`` are given, checked as scikit-learn checks it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import scipy.sparse
import torch
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import (
    _check_n_features,
    _check_sample_weight,
    validate_data,
)
from skorch.dataset import get_len
from skorch.utils import is_pandas_ndframe
from torch import Tensor, nn
from torch.utils.data import Subset

from .._jobs import Array
from ._batches import rows_of
from ._solver import solvers_of

# arguments of a module's constructor that a net fills in, and its attributes
SHAPE = {"n_features_in": "n_features_in_", "n_outputs": "n_outputs_"}


@dataclass
class FitRows:
    """The rows of a fit, with their weights.

    Parameters
    ----------
    X, y : object
        Inputs and targets, as skorch's dataset takes them.

    sample_weight : ndarray of shape (n_rows,) or None
        Weights of the user's, without those of classes.

    weights : ndarray of shape (n_rows,) or None
        With those of classes.

    validation : FitRows or None
        Rows to validate with.

    dataset : Dataset or None
        The skorch dataset of these rows.
    """

    X: Any
    y: Any
    sample_weight: Array | None = None
    weights: Array | None = None
    validation: FitRows | None = None
    dataset: Any = None

    def weights_of(self, dataset: Any) -> Array | None:
        """Return the weights of a dataset that was made of these rows."""
        if self.weights is None:
            return None
        if dataset is self.dataset:
            return self.weights
        if isinstance(dataset, Subset):
            weights = self.weights_of(dataset.dataset)
            if weights is not None:
                return np.asarray(weights[np.asarray(dataset.indices)])
        return None

    def held_weights_of(self, dataset: Any) -> Array | None:
        """Return the weights of a dataset of validation rows, of these or of their own."""
        held = self.validation
        if held is not None and dataset is held.dataset:
            return held.weights
        return self.weights_of(dataset)


def read_rows(
    net: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    validation: tuple[Any, Any, Any] = (None, None, None),
    *,
    reset: bool,
) -> FitRows:
    """Return the rows of a fit, checked.

    Parameters
    ----------
    net : SAMNetClassifier or SAMNetRegressor
        The net.

    X, y, sample_weight : object
        What ``fit`` was given.

    validation : tuple of object
        ``X_val``, ``y_val`` and ``sample_weight_val``.

    reset : bool
        Whether the net learns features and classes from them.
    """
    X = checked_inputs(net, X, reset=reset)
    y = net._read_targets(X, y, reset=reset)
    check_lengths(X, y)
    rows = FitRows(X, y, checked_weights(X, sample_weight))
    rows.weights = net._weigh(y, rows.sample_weight, y)
    X_val, y_val, weight_val = validation
    if (X_val is None) != (y_val is None):
        raise ValueError(
            "X_val and y_val must be given together, got only "
            f"{'y_val' if X_val is None else 'X_val'}."
        )
    if X_val is not None:
        X_val = checked_inputs(net, X_val, reset=False)
        y_val = net._read_targets(X_val, y_val, reset=False)
        check_lengths(X_val, y_val)
        held = FitRows(X_val, y_val, checked_weights(X_val, weight_val))
        held.weights = net._weigh(y_val, held.sample_weight, y)
        rows.validation = held
    if rows.weights is not None and solvers_of(net)[0].chooses_rows:
        raise ValueError(
            f"solver={net.solver!r} chooses rows by their loss and takes no "
            "sample_weight or class_weight here. Leave them out, or take 'sam'."
        )
    return without_zeros(rows)


def check_lengths(X: Any, y: Any) -> None:
    """Raise if there is not a target for every row."""
    if y is not None and not isinstance(X, torch.utils.data.Dataset):
        check_consistent_length(np.empty((get_len(X), 0)), y)


def checked_inputs(net: Any, X: Any, *, reset: bool) -> Any:
    """Return inputs as the module is given them.

    Arrays, lists, frames and sparse matrices are checked as scikit-learn checks them.
    What only skorch takes stays as it is: dictionaries, lists of arrays, tensors, datasets,
    and frames whose columns are arguments of ``forward``.

    Parameters
    ----------
    net : NeuralNet
        The net.

    X : object
        The inputs.

    reset : bool
        Whether the net learns number and names of the features from them.
    """
    if _is_skorchs_own(X) or (is_pandas_ndframe(X) and takes_columns(net, X)):
        if reset:
            for name in ("n_features_in_", "feature_names_in_"):
                vars(net).pop(name, None)
        if isinstance(X, Tensor) and X.ndim > 1:
            _check_n_features(net, X, reset=reset)
        return X
    X = validate_data(net, X, reset=reset, accept_sparse="csr", allow_nd=True)
    # of whose rows skorch makes arrays, as it does not of csr_array
    return X if isinstance(X, np.ndarray) else scipy.sparse.csr_matrix(X)


def _is_skorchs_own(X: Any) -> bool:
    if scipy.sparse.issparse(X):  # some of which are mappings
        return False
    if isinstance(X, Mapping | Tensor | torch.utils.data.Dataset):
        return True
    is_list = isinstance(X, list | tuple) and len(X) > 0
    return is_list and all(isinstance(x, Tensor) or _n_axes(x) > 1 for x in X)


def _n_axes(x: Any) -> int:
    return int(getattr(x, "ndim", 0))


def takes_columns(net: Any, X: Any) -> bool:
    """Return whether the module's ``forward`` has the columns of a frame as arguments."""
    forward = getattr(getattr(net, "module_", net.module), "forward", None)
    if forward is None:  # of a function that makes a module
        return False
    parameters = inspect.signature(forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return True
    return {str(name) for name in X} <= {p.name for p in parameters}


def checked_weights(X: Any, sample_weight: Any) -> Array | None:
    """Return the weights of rows, None for equal ones."""
    if sample_weight is None:
        return None
    rows = np.empty((get_len(X), 0))
    weights: Array = _check_sample_weight(
        sample_weight, rows, dtype=np.float64, ensure_non_negative=True
    )
    if not weights.any():
        raise ValueError(
            "sample_weight must leave a row with a weight other than 0, got none. Raise "
            "the weight of a row."
        )
    return weights


def without_zeros(rows: FitRows) -> FitRows:
    """Return rows without those whose weight is 0."""
    if rows.weights is None or rows.weights.all():
        return rows
    kept = np.flatnonzero(rows.weights)
    sample_weight = rows.sample_weight
    return FitRows(
        rows_of(rows.X, kept),
        rows.y if rows.y is None else rows_of(rows.y, kept),
        None if sample_weight is None else sample_weight[kept],
        rows.weights[kept],
        rows.validation,
    )


def cast(module: Any, X: Any) -> Any:
    """Return the tensors of a minibatch in the dtype of the module's parameters.

    Integers become floats too, unless they are in a dictionary or list, or the module has
    a layer that looks them up.
    """
    dtype = dtype_of(module)
    if dtype is None:
        return X
    if isinstance(X, Tensor) and not X.is_floating_point() and not X.is_complex():
        return X if _looks_up(module) else X.to(dtype)
    return cast_floats(X, dtype)


def cast_floats(X: Any, dtype: torch.dtype) -> Any:
    """Return tensors, also in lists and dictionaries, with all floats in a dtype."""
    if isinstance(X, Tensor):
        return X.to(dtype) if X.is_floating_point() else X
    if isinstance(X, Mapping):
        return {name: cast_floats(x, dtype) for name, x in X.items()}
    if isinstance(X, list | tuple) and not hasattr(X, "_fields"):
        return type(X)(cast_floats(x, dtype) for x in X)
    return X


def dtype_of(module: Any) -> torch.dtype | None:
    """Return the dtype of a module's parameters, None if none is a float."""
    dtypes = (p.dtype for p in module.parameters() if p.is_floating_point())
    return next(dtypes, None)


def _looks_up(module: nn.Module) -> bool:
    return any(isinstance(m, nn.Embedding | nn.EmbeddingBag) for m in module.modules())


def check_signature(module: Any, arguments: Mapping[str, Any]) -> None:
    """Raise for a module that needs to know the shape of rows that the net has not seen."""
    needed = {
        name
        for name, parameter in inspect.signature(module).parameters.items()
        if parameter.default is parameter.empty and name in SHAPE
    }
    missing = sorted(needed - arguments.keys())
    if missing:
        raise ValueError(
            f"module needs {' and '.join(missing)}, which fit knows of X and y that are "
            "arrays, got none. Set "
            f"{' and '.join(f'module__{name}' for name in missing)}."
        )


def refuse_no_targets(net: Any, X: Any) -> None:
    """Raise for rows without targets, unless they are a dataset that may have some."""
    if not isinstance(X, torch.utils.data.Dataset):
        raise ValueError(
            f"This {type(net).__name__} estimator requires y to be passed, but the target "
            "y is None."
        )


def refuse_outputs(net: Any, outputs: Any, wanted: str, why: str = "") -> NoReturn:
    """Raise for outputs of a module that do not fit the targets."""
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"module must return a Tensor, {wanted}{why}, got a {type(outputs).__name__} "
            f"from {type(net.module_).__name__}. Return what the criterion takes, or take "
            "it from the outputs in a get_loss of your own, in a subclass of the net."
        )
    raise ValueError(
        f"module must return {wanted}{why}, got outputs of shape {tuple(outputs.shape)} "
        f"from {type(net.module_).__name__}. Change its last layer; an argument n_outputs "
        "of its constructor is given the number."
    )
