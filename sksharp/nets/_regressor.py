"""A skorch regressor with this package's solvers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_y
from skorch import NeuralNetRegressor
from skorch.utils import to_numpy
from torch import Tensor, nn

from .._jobs import Array
from .._numbers import check_numeric
from ._inputs import refuse_no_targets, refuse_outputs
from ._losses import plain
from ._net import FlatNet

# criteria that compare outputs and targets one by one
_ELEMENTWISE = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.PoissonNLLLoss,
)


class SAMNetRegressor(FlatNet, NeuralNetRegressor):
    """Train any torch module as a regressor, to flat minima.

    It is a skorch net: skorch's parameters, callbacks and methods work, and what skorch
    does, skorch does. Added are the solvers and the other words of
    :class:`~sksharp.SAMMLPRegressor`.

    Parameters
    ----------
    module : class, object or function
        A :class:`torch.nn.Module`, or a function that makes one. It returns one output for
        every target, (n_rows, n_targets) or, for one target, (n_rows,).

    criterion : class or object, default=torch.nn.MSELoss
        The loss. Outputs (n_rows, 1) and targets (n_rows,) are not broadcast.

    solver, base_solver, rho, lr, learning_rate, warmup, max_epochs, batch_size, shuffle
        As of :class:`SAMNetClassifier`.

    swa, ema_decay, snapshots, early_stopping, validation_fraction, n_iter_no_change, tol
        As of :class:`SAMNetClassifier`.

    gradient_accumulation, mixed_precision, device, random_state, verbose, **kwargs
        As of :class:`SAMNetClassifier`.

    Attributes
    ----------
    module_, criterion_, optimizer_, callbacks_, history : object
        As in skorch.

    rho_, rho_grid_, rho_losses_, rho_differences_, rho_standard_errors_
        As of :class:`SAMNetClassifier`.

    validation_loss_, n_averaged_, n_outputs_, n_features_in_
        As of :class:`SAMNetClassifier`.

    See Also
    --------
    sksharp.SAMMLPRegressor : scikit-learn's network, faster for small ones.
    WeightAveraging, Snapshots : Callbacks for a net of skorch's own.

    Notes
    -----
    Scale the targets, with :class:`sklearn.compose.TransformedTargetRegressor` for
    instance. :class:`SAMNetClassifier` says what ``random_state`` guarantees.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from torch import nn
    >>> from sksharp.nets import SAMNetRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> module = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
    >>> net = SAMNetRegressor(module, swa=True, lr=0.01, random_state=0)
    >>> net.fit(scale(X), scale(y)).predict(scale(X)).shape
    (442,)
    """

    def __init__(
        self,
        module: type[nn.Module] | nn.Module | Callable[..., nn.Module],
        *,
        criterion: Any = nn.MSELoss,
        solver: Any = "sam",
        base_solver: Any = "adam",
        rho: Any = 0.05,
        lr: float = 0.001,
        learning_rate: Any = "constant",
        warmup: float = 0,
        max_epochs: int = 10,
        batch_size: int = 128,
        shuffle: bool = True,
        swa: Any = False,
        ema_decay: float | None = None,
        snapshots: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        tol: float = 1e-4,
        gradient_accumulation: int = 1,
        mixed_precision: str | None = None,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
        **kwargs: Any,
    ) -> None:
        own = {
            "solver": solver,
            "base_solver": base_solver,
            "rho": rho,
            "learning_rate": learning_rate,
            "warmup": warmup,
            "shuffle": shuffle,
            "swa": swa,
            "ema_decay": ema_decay,
            "snapshots": snapshots,
            "early_stopping": early_stopping,
            "validation_fraction": validation_fraction,
            "n_iter_no_change": n_iter_no_change,
            "tol": tol,
            "gradient_accumulation": gradient_accumulation,
            "mixed_precision": mixed_precision,
            "random_state": random_state,
        }
        of_skorch = {
            "module": module,
            "criterion": criterion,
            "lr": lr,
            "max_epochs": max_epochs,
            "batch_size": batch_size,
            "device": device,
            "verbose": verbose,
            **kwargs,
        }
        self._set_up(own, of_skorch)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Train the module from the beginning, or on with ``warm_start``.

        Parameters
        ----------
        X : array-like, sparse matrix, frame, dict, list, Tensor or Dataset
            Rows, as skorch takes them. Arrays, sparse matrices and frames of numbers are
            checked as in scikit-learn, and become the dtype of the module. Frames whose
            columns are arguments of ``forward``, and dictionaries, are passed by their
            names. Integers stay integers for a module with embeddings.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets, or None for a Dataset that has them.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss. Rows with weight 0 are left out.

        X_val, y_val : object, default=None
            Rows to validate with, in place of held-out ones.

        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.

        **fit_params
            Arguments of ``forward``, as in skorch.

        Returns
        -------
        self : object
            The net. If the fit fails it is as it was, but for what ``warm_start`` has
            trained.

        Raises
        ------
        ValueError
            If a parameter or the data are not valid, the outputs of the module do not fit
            the targets, or the loss becomes infinite or NaN.
        """
        validation = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, validation, fit_params)

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, **fit_params: Any
    ) -> Self:
        """Train on, for ``max_epochs`` epochs.

        Parameters
        ----------
        X, y : object
            Rows and targets, as in ``fit``.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        **fit_params
            Arguments of ``forward``.

        Returns
        -------
        self : object
            The net.
        """
        return self._partial_fit(X, y, sample_weight, fit_params)

    def _read_targets(self, X: Any, y: Any, *, reset: bool) -> Any:
        if y is None:
            refuse_no_targets(self, X)
            self.__dict__.pop("n_outputs_", None)  # of other rows
            return None
        y = to_numpy(y) if isinstance(y, Tensor) else y
        y = _check_y(y, multi_output=True, y_numeric=True, estimator=self)
        check_numeric(y, "y")
        if reset:
            self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
            self.is_flat_ = y.ndim == 1
        elif self.n_outputs_ != (1 if y.ndim == 1 else y.shape[1]):
            raise ValueError(
                f"y must have {self.n_outputs_} targets as before, got shape {y.shape}."
            )
        return y

    def _matched(self, y_pred: Any, y_true: Any) -> tuple[Any, Any]:
        """Return outputs and targets as the criterion takes them."""
        if not hasattr(self, "n_outputs_"):  # a dataset with targets of its own
            return y_pred, y_true
        wanted = f"one output for every target, (n_rows, {self.n_outputs_})"
        if not isinstance(y_pred, Tensor):
            if isinstance(plain(self.criterion_), _ELEMENTWISE):
                refuse_outputs(self, y_pred, wanted)
            return y_pred, y_true
        y = torch.as_tensor(y_true, device=y_pred.device).to(y_pred.dtype)
        # (n, 1) and (n,) would be broadcast to (n, n)
        if y_pred.ndim == 2 and y_pred.shape[1] == 1 and y.ndim == 1:
            y = y[:, None]
        elif y_pred.ndim == 1 and y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if isinstance(plain(self.criterion_), _ELEMENTWISE) and y_pred.shape != y.shape:
            refuse_outputs(self, y_pred, wanted)
        return y_pred, y

    @available_if(lambda net: False)
    def predict_proba(self, X: Any) -> Array:
        """Be absent: a regressor of scikit-learn has no such method, one of skorch does."""
        raise NotImplementedError

    def predict(self, X: Any) -> Array:
        """Return the outputs of the module.

        Parameters
        ----------
        X : object
            Rows, as ``fit`` takes them.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of a single target in the shape that ``y`` had.
        """
        y_pred = self._outputs(X)
        if getattr(self, "n_outputs_", None) != 1 or y_pred.size != len(y_pred):
            return y_pred
        return np.reshape(y_pred, -1 if self.is_flat_ else (-1, 1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags
