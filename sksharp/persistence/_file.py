"""Fitted estimators in files that hold data alone: reading one runs no code of it."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from typing import Any, TypeAlias

import numpy as np
import sklearn
from sklearn.pipeline import Pipeline

from .._version import __version__
from ..estimators._classifier import SAMMLPClassifier
from ..estimators._regressor import SAMMLPRegressor
from ._archive import FORMAT, FORMAT_VERSION, NotReadable, pack, unpack
from ._encoding import ESTIMATORS, Decoder, Encoder

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def save(estimator: SAMMLPClassifier | SAMMLPRegressor, path: Path) -> None:
    """Store a fitted estimator in a file that holds data alone.

    Parameters
    ----------
    estimator : SAMMLPClassifier or SAMMLPRegressor
        Estimator, usually fitted. Its parameters and all of its fitted attributes are
        stored, with what ``partial_fit`` and ``warm_start`` need to go on.

    path : str or path-like
        File to write. An existing one is replaced as soon as the new one is complete and
        on disk; its mode is kept, and a link stays a link.

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
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "written_by": {
            "sksharp": __version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
        },
        "estimator": encoder.encode(estimator, "estimator"),
        "n_arrays": len(encoder.arrays),
    }
    content = pack(manifest, encoder.arrays)
    try:
        _read(content)
    except NotReadable as error:
        raise ValueError(
            f"estimator must be as fit leaves it to be saved: {error} Set back what was "
            "changed, delete what was added, or store it with joblib.dump."
        ) from error
    _replace_file(path, content)


def load(path: Path) -> SAMMLPClassifier | SAMMLPRegressor:
    """Return the estimator of a file that :func:`save` wrote.

    The file runs no code: it holds data only, which become numbers, strings, arrays,
    containers, random generators, options and the two estimators, and nothing else.

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
        content = file.read()
    try:
        return _read(content)
    except NotReadable as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {error}") from error


def _read(content: bytes) -> SAMMLPClassifier | SAMMLPRegressor:
    """Return the estimator of a file, given its bytes."""
    manifest, arrays = unpack(content)
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


def _replace_file(path: Path, content: bytes) -> None:
    """Replace a file by a new one, completely or not at all."""
    path = os.path.realpath(os.fsdecode(path))  # a link stays a link
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        with open(path, "wb") as file:  # a pipe, or an error that names the folder
            file.write(content)
        return
    folder = os.path.dirname(path)
    other = os.path.join(folder, f".{uuid.uuid4().hex}.sksharp")
    try:
        with open(other, "xb", opener=None if old is None else _open_private) as file:
            if old is not None:
                _take_mode(other, old)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(other, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(other)
        raise
    _sync_folder(folder)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)


def _take_mode(path: str, old: os.stat_result) -> None:
    """Give a file the group and mode of the old one, as far as the system allows."""
    mode = stat.S_IMODE(old.st_mode)
    with contextlib.suppress(AttributeError, OSError):  # Windows has no groups
        os.chown(path, -1, old.st_gid)
    if os.stat(path).st_gid != old.st_gid:
        mode &= ~stat.S_IRWXG
    with contextlib.suppress(OSError):
        os.chmod(path, mode)


def _sync_folder(folder: str) -> None:
    """Write the names in a folder to disk, to survive a crash of the system."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
