"""Warnings that name the line of the user's."""

import os
import sys
import warnings

import joblib
import sklearn

# pipelines and searches call a fit too, and are nobody's own line
_FOLDERS = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep
    for file in (__file__, sklearn.__file__, joblib.__file__)
)


def warn(message, category=UserWarning):
    """Warn, at the line that called this package, by way of scikit-learn or directly."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDERS):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
