"""Types of scikit-learn's methods and attributes, for editors and type checkers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import _fit_context
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils.metaestimators import available_if

from .._jobs import Array
from ._state import TrainingState


class SparseMatrix(Protocol):
    """A sparse matrix or array of scipy."""

    def tocsr(self) -> Any:
        """Return it in compressed sparse row format."""


# features or targets: arrays, lists, data frames, sparse matrices
MatrixLike: TypeAlias = ArrayLike | SparseMatrix

# X_val, y_val and sample_weight_val
ValidationData: TypeAlias = tuple[
    MatrixLike | None, MatrixLike | None, ArrayLike | None
]

Method = TypeVar("Method", bound=Callable[..., Any])


def validates(method: Method) -> Method:
    """Decorate ``fit``, to have scikit-learn validate the parameters first."""
    decorated: Method = _fit_context(prefer_skip_nested_validation=True)(method)
    return decorated


def if_stochastic(method: Method) -> Method:
    """Decorate a method that only exists while ``solver`` is not 'lbfgs'."""
    decorated: Method = available_if(lambda est: est._check_solver())(method)
    return decorated


class TypedPerceptron(BaseMultilayerPerceptron):
    """scikit-learn's base of the estimators, with types."""

    coefs_: list[Array]
    intercepts_: list[Array]
    members_: list[Self]
    rho_: float
    rho_grid_: Array
    rho_losses_: Array
    rho_differences_: Array
    rho_standard_errors_: Array
    rho_scores_: Array
    rho_epochs_: Array
    n_averaged_: int
    loss_: float
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    n_iter_: int
    t_: int
    n_layers_: int
    n_features_in_: int
    feature_names_in_: Array
    out_activation_: str
    _state: TrainingState
    _random_state: np.random.RandomState

    if TYPE_CHECKING:

        def predict(self, X: MatrixLike) -> Array: ...

        def score(
            self, X: MatrixLike, y: MatrixLike, sample_weight: ArrayLike | None = None
        ) -> float: ...

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...

        # of the two estimators
        def _decode(self, outputs: Array) -> Array: ...
        def _decode_targets(self, y: Array) -> Array: ...
        def _encode_user_targets(self, y: Any) -> Array: ...
        def _keep_out_of_fold(self, outputs: Array) -> None: ...
