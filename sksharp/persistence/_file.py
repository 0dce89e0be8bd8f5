"""Fitted estimators in files of data: reading a file runs no code from it."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

import numpy as np
import sklearn
from sklearn.pipeline import Pipeline

from .._version import __version__
from ..estimators._classifier import SAMMLPClassifier
from ..estimators._regressor import SAMMLPRegressor
from ..storage._archive import Format, NotReadable, pack, unpack
from ..storage._files import Path, replace_file
from ._encoding import ESTIMATORS, Decoder, Encoder

FORMAT = Format("sksharp estimator", 1, "sksharp.save")


def save(estimator: SAMMLPClassifier | SAMMLPRegressor, path: Path) -> None:
    """Store a fitted estimator in a file that holds data alone.

    Parameters
    ----------
    estimator : SAMMLPClassifier or SAMMLPRegressor
        Estimator, usually fitted. The file has its parameters, its fitted attributes,
        and the state that ``partial_fit`` and ``warm_start`` continue from.

    path : str or path-like
        File to write. An existing file is replaced when the new one is complete and on
        disk; it keeps its mode, and a link stays a link.

    Raises
    ------
    TypeError
        If the estimator is of another class, or if a parameter or attribute is neither
        data nor a random generator: callbacks, or a splitter or iterator as ``cv``. The
        file is then as it was.

    ValueError
        If an attribute was added or changed after ``fit`` so that the file could not be
        loaded. The file is then as it was.

    See Also
    --------
    load : Read the file.

    Notes
    -----
    The format is described in ``docs/saved-models.md``. For a whole pipeline use
    :func:`joblib.dump`, whose files run code when they are loaded, or skops.

    Examples
    --------
    >>> import os, tempfile
    >>> import sksharp
    >>> X, y = [[0.0], [1.0], [2.0]], ["a", "b", "b"]
    >>> clf = sksharp.SAMMLPClassifier(n_iter_no_change=2, tol=1, random_state=0)
    >>> clf = clf.fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.sksharp")
    ...     sksharp.save(clf, path)
    ...     twin = sksharp.load(path)
    >>> (twin.predict_proba(X) == clf.predict_proba(X)).all()
    np.True_
    """
    _check_class(estimator)
    encoder = Encoder()
    tree = encoder.encode(estimator, "estimator")
    versions = {
        "sksharp": __version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
    manifest = FORMAT.manifest({"estimator": tree}, encoder.arrays, written_by=versions)
    content = pack(manifest, encoder.arrays)
    try:
        _read(io.BytesIO(content))
    except NotReadable as error:
        raise ValueError(
            f"estimator must be as fit leaves it to be saved: {error} Undo your changes to "
            "its attributes, or store it with joblib.dump."
        ) from error
    replace_file(path, content)


def load(path: Path) -> SAMMLPClassifier | SAMMLPRegressor:
    """Return the estimator of a file that :func:`save` wrote.

    The file runs no code: it holds only numbers, strings, arrays, containers, random
    generators, options and the two estimators.

    Parameters
    ----------
    path : str or path-like
        File to read.

    Returns
    -------
    estimator : SAMMLPClassifier or SAMMLPRegressor
        It predicts and continues training as the original does, bit for bit.

    Raises
    ------
    OSError
        If the file cannot be read.

    ValueError
        If the file is damaged, was not written by :func:`save`, has a format that this
        version does not know, or holds what no fit leaves in an estimator.

    See Also
    --------
    save : Write the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import sksharp
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 4.0]
    >>> regr = sksharp.SAMMLPRegressor(n_iter_no_change=2, tol=1, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.sksharp")
    ...     sksharp.save(regr.fit(X, y), path)
    ...     twin = sksharp.load(path)
    >>> (twin.predict(X) == regr.predict(X)).all()
    np.True_
    """
    with open(path, "rb") as file:
        try:
            return _read(file)
        except NotReadable as error:
            raise ValueError(
                f"{os.fspath(path)!r} cannot be loaded: {error}"
            ) from error


def _read(file: BinaryIO) -> SAMMLPClassifier | SAMMLPRegressor:
    """Return the estimator of a file."""
    manifest, arrays = unpack(file, FORMAT)
    return Decoder(arrays).estimator(manifest)


def _check_class(estimator: Any) -> None:
    if isinstance(estimator, Pipeline):
        raise TypeError(
            "estimator must be a SAMMLPClassifier or SAMMLPRegressor, got a Pipeline. "
            "Save its last step, pipeline[-1], or store the whole with joblib.dump or "
            "skops.io.dump."
        )
    if type(estimator) not in ESTIMATORS.values():
        raise TypeError(
            "estimator must be a SAMMLPClassifier or SAMMLPRegressor, got "
            f"{type(estimator).__name__}. Save the network itself, such as "
            "best_estimator_ of a search, or store the whole with joblib.dump."
        )
