"""Fitted estimators in files that hold data alone: reading one runs no code of it.

A file is a zip archive, not compressed, with a comment:

- ``manifest.json`` describes the estimator. JSON's own types stand for themselves;
  everything else is an object with the key ``type``.
- ``arrays/0.npy`` and so on are numpy arrays, none of objects.
- The comment ends with the SHA-256 of everything in front of it.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import stat
import sys
import uuid
import zipfile

import numpy as np
import sklearn
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer

from ._classifier import SAMMLPClassifier
from ._contract import AveragingState, OptimizerState, Weights
from ._generators import BIT_GENERATORS, make_generator
from ._regressor import SAMMLPRegressor
from ._state import Misfit, check_state

FORMAT, FORMAT_VERSION = "sksharp estimator", 1
MANIFEST = "manifest.json"
COMMENT = b"sksharp sha256 "
DIGEST_LENGTH = 64

ESTIMATORS = {cls.__name__: cls for cls in (SAMMLPClassifier, SAMMLPRegressor)}
RECORDS = {cls.__name__: cls for cls in (Weights, OptimizerState, AveragingState)}
# of numpy's dtypes: booleans, numbers, strings and times
PLAIN_KINDS = "biufcSUMm"

# of an integer: the state of a generator has the longest
MOST_BITS = 128

# what lives for the time of a search alone
TRANSIENT = {"_trainer", "_skl_callbacks"}


def save(estimator, path):
    """Store a fitted estimator in a file that holds data alone.

    Parameters
    ----------
    estimator : SAMMLPClassifier or SAMMLPRegressor
        Estimator, usually fitted. Its parameters and all of its fitted attributes are
        stored, with what ``partial_fit`` and ``warm_start`` need to go on.

    path : str or path-like
        File to write. One that is there is replaced, once the new one is complete and
        on disk, and its mode is kept. If the path is a link, so is it afterwards.

    Raises
    ------
    TypeError
        If the estimator is of another class, or if a parameter or attribute is neither
        data nor a generator: callbacks, a splitter or generator as ``cv``. The file is
        then as it was.

    ValueError
        If an attribute was added to what ``fit`` leaves, or changed to what it could not
        leave, so that the file could not be loaded. The file is then as it was.

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
    from . import __version__

    _check_is_ours(estimator)
    writer = _Writer()
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "written_by": {
            "sksharp": __version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
        },
        "estimator": writer.encode(estimator, "estimator"),
        "n_arrays": len(writer.arrays),
    }
    content = _pack(manifest, writer.arrays)
    try:
        _read(content)
    except _NotReadable as error:
        raise ValueError(
            f"estimator must be as fit leaves it to be saved: {error} Set back what was "
            "changed, delete what was added, or store it with joblib.dump."
        ) from error
    _replace_file(path, content)


def load(path):
    """Return the estimator of a file that :func:`save` wrote.

    No code from the file is run: it holds data only, which become numbers, strings,
    arrays, containers, generators and the two estimators, and nothing else.

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
        If it is damaged, was not written by :func:`save`, if this version does not know
        its format, or if it holds what no fit leaves in an estimator.

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
    except _NotReadable as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {error}") from error


class _NotReadable(Exception):
    """Why a file cannot be read."""


def _check_is_ours(estimator):
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


# -- the file ------------------------------------------------------------------------------


def _pack(manifest, arrays):
    """Return the bytes of a file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = COMMENT + b"0" * DIGEST_LENGTH
        # a date of its own would make equal estimators different files
        text = json.dumps(manifest, allow_nan=False, indent=1).encode()
        archive.writestr(zipfile.ZipInfo(MANIFEST), text)
        for i, array in enumerate(arrays):
            part = io.BytesIO()
            np.lib.format.write_array(part, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(_array_name(i)), part.getvalue())
    content = buffer.getvalue()[:-DIGEST_LENGTH]
    return content + hashlib.sha256(content).hexdigest().encode()


def _replace_file(path, content):
    """Write a file next to the one to replace and move it there, as a whole or not."""
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


def _open_private(path, flags):
    return os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)


def _take_mode(path, old):
    """Let those read a file who may read the old one, as far as the system allows."""
    mode = stat.S_IMODE(old.st_mode)
    with contextlib.suppress(AttributeError, OSError):  # Windows has no groups
        os.chown(path, -1, old.st_gid)
    if os.stat(path).st_gid != old.st_gid:
        mode &= ~stat.S_IRWXG
    with contextlib.suppress(OSError):
        os.chmod(path, mode)


def _sync_folder(folder):
    """Let a new name in a folder survive a crash of the system, where it can."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(content):
    """Return the estimator of a file, given its bytes."""
    manifest, arrays = _unpack(content)
    return _Reader(arrays).read_estimator(manifest)


def _unpack(content):
    """Return the manifest and the arrays of a file, whole and of a known version."""
    content, digest = content[:-DIGEST_LENGTH], content[-DIGEST_LENGTH:]
    if not content.endswith(COMMENT):
        raise _NotReadable(
            "it is not a complete file of sksharp.save. It may have been cut short, or "
            "packed again by another program."
        )
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise _NotReadable(
            "its checksum is wrong, it was damaged. Save or copy it again."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content + digest)) as archive:
            manifest = json.loads(archive.read(_stored(archive, MANIFEST)))
            if sum(info.file_size for info in archive.infolist()) > len(content):
                raise _NotReadable("its parts overlap, and would unfold.")
            _check_version(manifest)
            arrays = [
                _read_array(archive.read(_stored(archive, _array_name(i))))
                for i in range(manifest["n_arrays"])
            ]
    except _NotReadable:
        raise
    except Exception as error:
        # whatever the parsers of zip, JSON and npy raise at content that save never writes
        raise _NotReadable(f"it is not a file of sksharp.save ({error}).") from error
    return manifest, arrays


def _array_name(i):
    return f"arrays/{i}.npy"


def _stored(archive, name):
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise _NotReadable("it is compressed, which sksharp.save does not do.")
    return info


def _check_version(manifest):
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _NotReadable("it is not a file of sksharp.save.")
    found = manifest.get("format_version")
    if type(found) is not int or found != FORMAT_VERSION:
        raise _NotReadable(
            f"its format has version {found!r}, and this version of sksharp reads "
            f"{FORMAT_VERSION}. Install the version that wrote it, or a later one: "
            f"{manifest.get('written_by')}."
        )


def _read_array(content):
    """Return an array of the npy format, which has no objects and is complete."""
    file = io.BytesIO(content)
    major = np.lib.format.read_magic(file)[0]
    read_header = {
        1: np.lib.format.read_array_header_1_0,
        2: np.lib.format.read_array_header_2_0,
    }[major]
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject or dtype.kind not in PLAIN_KINDS:
        raise _NotReadable(f"it has an array of {dtype}.")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise _NotReadable(f"an array of shape {shape} is not complete.")
    flat = np.frombuffer(content, dtype, offset=file.tell()).copy()
    _check_bytes(flat)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _check_bytes(array):
    """Raise if an array has bytes that numpy takes for granted never to be there."""
    is_sound = True
    if array.dtype.kind == "b":
        is_sound = array.view(np.uint8).max(initial=0) <= 1
    elif array.dtype.kind == "U":
        codes = array.view(array.dtype.byteorder.replace("|", "=") + "u4")
        is_sound = codes.max(initial=0) <= sys.maxunicode
    if not is_sound:
        raise _NotReadable(f"an array of {array.dtype} has values that are none.")


# -- the estimator -------------------------------------------------------------------------


class _Writer:
    """Turns an estimator into what JSON has, and a list of arrays."""

    def __init__(self):
        self.arrays = []
        self.generators = {}

    def encode(self, value, name):
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            # JSON has no infinity
            return value if math.isfinite(value) else _typed("float", value=repr(value))
        if type(value) is list:
            return [self.encode(item, name) for item in value]
        if type(value) is tuple:
            return _typed("tuple", items=self.encode([*value], name))
        if isinstance(value, dict):
            pairs = [[key, item] for key, item in value.items()]
            return _typed("dict", items=self.encode(pairs, name))
        if isinstance(value, np.generic) and value.dtype.kind in PLAIN_KINDS:
            return _typed("scalar", array=self._array(np.asarray(value)))
        if isinstance(value, np.ndarray):
            return self._encode_array(value, name)
        if isinstance(value, np.random.RandomState):
            return self._encode_generator(value, name)
        if type(value) is LabelBinarizer:
            return _typed("LabelBinarizer", state=self.encode(vars(value), name))
        if type(value) in RECORDS.values():
            fields = {
                field.name: getattr(value, field.name)
                for field in dataclasses.fields(value)
            }
            return _typed(type(value).__name__, fields=self.encode(fields, name))
        if type(value) in ESTIMATORS.values():
            return self._encode_estimator(value)
        raise TypeError(
            f"{name} must be data to be saved (numbers, strings, arrays), got {value!r}. "
            "Set it to None, or store the estimator with joblib.dump."
        )

    def _encode_estimator(self, estimator):
        params = estimator.get_params(deep=False)
        state = {
            name: value
            for name, value in vars(estimator).items()
            if name not in params and name not in TRANSIENT
        }
        return _typed(
            type(estimator).__name__,
            params={name: self.encode(value, name) for name, value in params.items()},
            state={name: self.encode(value, name) for name, value in state.items()},
        )

    def _array(self, array):
        self.arrays.append(array)
        return len(self.arrays) - 1

    def _encode_array(self, array, name):
        if array.dtype.kind in PLAIN_KINDS:
            return _typed("array", array=self._array(np.asarray(array)))
        if array.dtype == object:
            items = self.encode(array.ravel().tolist(), name)
            return _typed("objects", shape=list(array.shape), items=items)
        raise TypeError(
            f"{name} must be of a plain dtype to be saved, got an array of {array.dtype}. "
            "Store the estimator with joblib.dump."
        )

    def _encode_generator(self, generator, name):
        # an estimator's own generator may be its parameter: it must stay one object
        if id(generator) in self.generators:
            return _typed("RandomState", same_as=self.generators[id(generator)])
        place = self.generators[id(generator)] = len(self.generators)
        state = generator.get_state(legacy=False)
        if state["bit_generator"] not in BIT_GENERATORS:
            raise TypeError(
                f"{name} must have one of numpy's bit generators to be saved, got "
                f"{state['bit_generator']}. Use an int."
            )
        return _typed("RandomState", place=place, state=self.encode(state, name))


def _typed(type_name, **content):
    return {"type": type_name, **content}


class _Reader:
    """Turns what a file holds into an estimator."""

    def __init__(self, arrays):
        self.arrays = dict(enumerate(arrays))
        self.generators = []

    def read_estimator(self, manifest):
        """Return the estimator that a manifest describes."""
        try:
            tree = manifest["estimator"]
            if tree["type"] not in ESTIMATORS:
                raise _NotReadable(
                    f"it holds {tree['type']!r} in place of an estimator."
                )
            estimator = self._decode(tree)
        except _NotReadable:
            raise
        except Exception as error:
            raise _NotReadable(f"its content is not valid ({error!r}).") from error
        if self.arrays:
            raise _NotReadable("it has arrays that belong to nothing.")
        return estimator

    def _decode(self, tree):
        if isinstance(tree, int) and tree.bit_length() > MOST_BITS:
            raise _NotReadable(f"it has an integer of more than {MOST_BITS} bits.")
        if tree is None or isinstance(tree, bool | int | float | str):
            return tree
        if isinstance(tree, list):
            return [self._decode(item) for item in tree]
        content = dict(tree)
        name = content.pop("type")
        if name in ESTIMATORS:
            return self._decode_estimator(ESTIMATORS[name], **content)
        if name in RECORDS:
            return self._decode_record(RECORDS[name], **content)
        return self._DECODERS[name](self, **content)

    def _decode_float(self, value):
        if value not in ("inf", "-inf", "nan"):
            raise _NotReadable(f"it has {value!r:.80} for a number that JSON has not.")
        return float(value)

    def _decode_tuple(self, items):
        return tuple(self._decode(items))

    def _decode_dict(self, items):
        return {key: item for key, item in self._decode(items)}

    def _decode_array(self, array):
        # each has one place, so that no two share memory
        if type(array) is not int or array not in self.arrays:
            raise _NotReadable(f"it has no array {array!r:.80} that is not taken.")
        return self.arrays.pop(array)

    def _decode_scalar(self, array):
        value = self._decode_array(array)
        if value.ndim:
            raise _NotReadable(f"it has an array of shape {value.shape} for a number.")
        return value[()]

    def _decode_objects(self, shape, items):
        items = self._decode(items)
        array = np.empty(len(items), dtype=object)
        array[:] = items
        return array.reshape(shape)

    def _decode_generator(self, same_as=None, place=None, state=None):
        if same_as is not None:
            return self.generators[same_as]
        if place != len(self.generators):
            raise _NotReadable("its random generators are not in order.")
        self.generators.append(make_generator(self._decode(state)))
        return self.generators[-1]

    def _decode_binarizer(self, state):
        binarizer = LabelBinarizer()
        vars(binarizer).update(self._decode(state))
        return binarizer

    def _decode_record(self, Record, fields):
        return Record(**self._decode(fields))

    def _decode_estimator(self, Estimator, params, state):
        params = {name: self._decode(value) for name, value in params.items()}
        unknown = params.keys() - Estimator().get_params(deep=False).keys()
        if unknown:
            raise _NotReadable(
                f"it has parameters that this version does not know, {sorted(unknown)}. "
                "Install a later version of sksharp."
            )
        estimator = Estimator(**params)
        state = {name: self._decode(value) for name, value in state.items()}
        try:
            check_state(estimator, state)
        except Misfit as error:
            raise _NotReadable(str(error)) from error
        vars(estimator).update(state)
        return estimator

    _DECODERS = {
        "float": _decode_float,
        "tuple": _decode_tuple,
        "dict": _decode_dict,
        "scalar": _decode_scalar,
        "array": _decode_array,
        "objects": _decode_objects,
        "RandomState": _decode_generator,
        "LabelBinarizer": _decode_binarizer,
    }
