"""Estimators as trees of JSON's types and arrays, and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from .._input_noise import Columns
from .._jobs import Array, AveragingState, OptimizerState, Weights
from ..estimators._classifier import SAMMLPClassifier
from ..estimators._regressor import SAMMLPRegressor
from ..estimators._state import TrainingState
from ..options._base import Option
from ..options.averages import SWA, Snapshots
from ..options.losses import LOSSES
from ..options.noise import InputNoise
from ..options.schedules import SCHEDULES
from ..options.solvers import SOLVERS
from ._archive import PLAIN_KINDS, NotReadable
from ._generators import BIT_GENERATORS, make_generator
from ._rules import NotFromFit, check_state

Tree: TypeAlias = dict[str, Any]  # an object of JSON

ESTIMATORS: dict[str, Any] = {
    cls.__name__: cls for cls in (SAMMLPClassifier, SAMMLPRegressor)
}
RECORDS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (Weights, OptimizerState, AveragingState, Columns, TrainingState)
}
# objects that a parameter takes instead of a name
OPTIONS: dict[str, type[Option]] = {
    cls.__name__: cls
    for cls in (
        *LOSSES.values(),
        *SOLVERS.values(),
        *SCHEDULES.values(),
        SWA,
        Snapshots,
        InputNoise,
    )
}

# of an integer: the state of a generator has the longest
MAX_BITS = 128

# attributes that live as long as a search
TRANSIENT = {"_trainer", "_skl_callbacks"}


class Encoder:
    """Encodes an estimator as a tree of JSON's types and a list of arrays.

    Attributes
    ----------
    arrays : list of ndarray
        To which the tree refers by their indices.
    """

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        # by id: the index of every generator
        self.generators: dict[int, int] = {}

    def encode(self, value: Any, name: str) -> Any:
        """Return the tree of a value; ``name`` is that of a parameter or attribute."""
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
        if type(value) in OPTIONS.values():
            values = value.get_params(deep=False)
            own = {key: self.encode(item, name) for key, item in values.items()}
            return _typed("option", name=type(value).__name__, options=own)
        if type(value) in ESTIMATORS.values():
            return self._encode_estimator(value)
        raise TypeError(
            f"{name} must be data to be saved (numbers, strings, arrays), got {value!r}. "
            "Set it to None, or store the estimator with joblib.dump."
        )

    def _encode_estimator(self, estimator: Any) -> Tree:
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

    def _array(self, array: Array) -> int:
        self.arrays.append(array)
        return len(self.arrays) - 1

    def _encode_array(self, array: Array, name: str) -> Tree:
        if array.dtype.kind in PLAIN_KINDS:
            return _typed("array", array=self._array(np.asarray(array)))
        if array.dtype == object:
            items = self.encode(array.ravel().tolist(), name)
            return _typed("objects", shape=list(array.shape), items=items)
        raise TypeError(
            f"{name} must be of a plain dtype to be saved, got an array of {array.dtype}. "
            "Store the estimator with joblib.dump."
        )

    def _encode_generator(self, generator: np.random.RandomState, name: str) -> Tree:
        # the same generator may be a parameter and an attribute: it must stay one object
        if id(generator) in self.generators:
            return _typed("RandomState", same_as=self.generators[id(generator)])
        index = self.generators[id(generator)] = len(self.generators)
        state = generator.get_state(legacy=False)
        if state["bit_generator"] not in BIT_GENERATORS:
            raise TypeError(
                f"{name} must have one of numpy's bit generators to be saved, got "
                f"{state['bit_generator']}. Use an int."
            )
        return _typed("RandomState", place=index, state=self.encode(state, name))


def _typed(type_name: str, **content: Any) -> Tree:
    return {"type": type_name, **content}


class Decoder:
    """Decodes a tree and arrays, which may come from anyone, as an estimator.

    Parameters
    ----------
    arrays : list of ndarray
        The arrays of the file.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = dict(enumerate(arrays))
        self.generators: list[np.random.RandomState] = []

    def estimator(self, manifest: Tree) -> SAMMLPClassifier | SAMMLPRegressor:
        """Return the estimator that a manifest describes."""
        try:
            tree = manifest["estimator"]
            if tree["type"] not in ESTIMATORS:
                raise NotReadable(
                    f"it holds {tree['type']!r} in place of an estimator."
                )
            estimator: SAMMLPClassifier | SAMMLPRegressor = self._decode(tree)
        except NotReadable:
            raise
        except Exception as error:
            raise NotReadable(f"its content is not valid ({error!r}).") from error
        if self.arrays:
            raise NotReadable("it has arrays that belong to nothing.")
        return estimator

    def _decode(self, tree: Any) -> Any:
        if isinstance(tree, int) and tree.bit_length() > MAX_BITS:
            raise NotReadable(f"it has an integer of more than {MAX_BITS} bits.")
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

    def _decode_float(self, value: str) -> float:
        if value not in ("inf", "-inf", "nan"):
            raise NotReadable(f"it has {value!r:.80} in place of inf, -inf or nan.")
        return float(value)

    def _decode_tuple(self, items: Any) -> tuple[Any, ...]:
        return tuple(self._decode(items))

    def _decode_dict(self, items: Any) -> dict[Any, Any]:
        return {key: item for key, item in self._decode(items)}

    def _decode_array(self, array: int) -> Array:
        # each is used once, so that no two attributes share memory
        if type(array) is not int or array not in self.arrays:
            raise NotReadable(f"it has no array {array!r:.80} that is not used yet.")
        return self.arrays.pop(array)

    def _decode_scalar(self, array: int) -> Any:
        value = self._decode_array(array)
        if value.ndim:
            raise NotReadable(f"it has an array of shape {value.shape} for a number.")
        return value[()]

    def _decode_objects(self, shape: list[int], items: list[Any]) -> Array:
        items = self._decode(items)
        array = np.empty(len(items), dtype=object)
        array[:] = items
        return array.reshape(shape)

    def _decode_generator(
        self,
        same_as: int | None = None,
        place: int | None = None,
        state: Any = None,
    ) -> np.random.RandomState:
        if same_as is not None:
            return self.generators[same_as]
        if place != len(self.generators):
            raise NotReadable("its random generators are not in order.")
        self.generators.append(make_generator(self._decode(state)))
        return self.generators[-1]

    def _decode_binarizer(self, state: Any) -> LabelBinarizer:
        binarizer = LabelBinarizer()
        vars(binarizer).update(self._decode(state))
        return binarizer

    def _decode_record(self, Record: Any, fields: Any) -> Any:
        return Record(**self._decode(fields))

    def _decode_option(self, name: str, options: dict[str, Any]) -> Option:
        if name not in OPTIONS:
            raise NotReadable(
                f"it has options of {name!r:.80}, which this version does not know. "
                "Install a later version of sksharp."
            )
        unknown = options.keys() - OPTIONS[name]().get_params().keys()
        if unknown:
            raise NotReadable(
                f"it has options of {name!r} that this version does not know, "
                f"{sorted(unknown)}. Install a later version of sksharp."
            )
        values = {key: self._decode(value) for key, value in options.items()}
        return OPTIONS[name](**values)

    def _decode_estimator(
        self, Estimator: Any, params: dict[str, Any], state: dict[str, Any]
    ) -> Any:
        params = {name: self._decode(value) for name, value in params.items()}
        unknown = params.keys() - Estimator().get_params(deep=False).keys()
        if unknown:
            raise NotReadable(
                f"it has parameters that this version does not know, {sorted(unknown)}. "
                "Install a later version of sksharp."
            )
        estimator = Estimator(**params)
        state = {name: self._decode(value) for name, value in state.items()}
        try:
            check_state(estimator, state)
        except NotFromFit as error:
            raise NotReadable(str(error)) from error
        vars(estimator).update(state)
        return estimator

    _DECODERS: ClassVar[dict[str, Callable[..., Any]]] = {
        "float": _decode_float,
        "tuple": _decode_tuple,
        "dict": _decode_dict,
        "scalar": _decode_scalar,
        "array": _decode_array,
        "objects": _decode_objects,
        "RandomState": _decode_generator,
        "LabelBinarizer": _decode_binarizer,
        "option": _decode_option,
    }
