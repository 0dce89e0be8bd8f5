"""Checks of a converted model: its types, and its predictions on rows of the user."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from onnx import checker
from onnx.reference import ReferenceEvaluator
from sklearn.base import is_classifier
from sklearn.utils import _safe_indexing

from ..preprocessing._tables import is_frame
from ._inputs import make_inputs
from ._text import OPERATORS

# rows to predict, and the largest difference, relative to the largest value
N_ROWS = 100
TOLERANCE = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-3}


def check_types(model: Any) -> None:
    """Raise if the types of the nodes do not match."""
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:
        raise ValueError(
            "skl2onnx converts a step to a graph that is not valid for these types: "
            f"{error}. Give X in float32, or take another transformer."
        ) from error


def check_predictions(model: Any, estimator: Any, network: Any, X: Any) -> None:
    """Raise if the predictions of the model and of the estimator differ."""
    n_rows = min(N_ROWS, X.shape[0] if hasattr(X, "shape") else len(X))
    rows = _safe_indexing(X, slice(n_rows)) if is_frame(X) else X[:n_rows]
    is_probable = is_classifier(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = (
            estimator.predict_proba(rows) if is_probable else estimator.predict(rows)
        )
        session = ReferenceEvaluator(model, new_ops=OPERATORS)
        with np.errstate(all="ignore"):
            outputs: Any = session.run(None, make_inputs(model, rows))
    expected, actual = np.asarray(expected), np.asarray(outputs[-1])
    # a target may be scaled back in double precision after a network in single
    (network, *_) = getattr(network, "members_", [network])
    tolerance = max(
        TOLERANCE[np.dtype(dtype)] for dtype in (actual.dtype, network.coefs_[0].dtype)
    )
    is_same = expected.shape == actual.shape and np.allclose(
        actual, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max())
    )
    if not is_same:
        difference = (
            f"by up to {np.abs(actual - expected).max():.2g}"
            if expected.shape == actual.shape
            else f"an array of shape {actual.shape} instead of {expected.shape}"
        )
        raise ValueError(
            "the predictions of the ONNX model differ from those of the estimator, "
            f"{difference}. skl2onnx may convert a step inexactly; give X in float64, and "
            "try the steps one by one with skl2onnx.to_onnx."
        )
