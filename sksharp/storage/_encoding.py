"""Data as trees of JSON's types and arrays, and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from .._jobs import Array, AveragingState, OptimizerState, Weights
from ._archive import PLAIN_KINDS, NotReadable
from ._generators import BIT_GENERATORS, make_generator

Tree: TypeAlias = dict[str, Any]  # an object of JSON

# of an integer: the state of a generator has the longest
MAX_BITS = 128


class Encoder:
    """Encodes data as a tree of JSON's types and a list of arrays.

    Attributes
    ----------
    records : dict of str to type
        Dataclasses that are encoded field by field, by their names.

    arrays : list of ndarray
        To which the tree refers by their indices.
    """

    records: ClassVar[dict[str, Any]] = {
        cls.__name__: cls for cls in (Weights, OptimizerState, AveragingState)
    }

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
            return value if math.isfinite(value) else typed("float", value=repr(value))
        if type(value) is list:
            return [self.encode(item, name) for item in value]
        if type(value) is tuple:
            return typed("tuple", items=self.encode([*value], name))
        if isinstance(value, dict):
            pairs = [[key, item] for key, item in value.items()]
            return typed("dict", items=self.encode(pairs, name))
        if isinstance(value, np.generic) and value.dtype.kind in PLAIN_KINDS:
            return typed("scalar", array=self._array(np.asarray(value)))
        if isinstance(value, np.ndarray):
            return self._encode_array(value, name)
        if isinstance(value, np.random.RandomState):
            return self._encode_generator(value, name)
        if type(value) in self.records.values():
            fields = {
                field.name: getattr(value, field.name)
                for field in dataclasses.fields(value)
            }
            return typed(type(value).__name__, fields=self.encode(fields, name))
        raise TypeError(
            f"{name} must be data to be saved (numbers, strings, arrays), got {value!r}. "
            "Set it to None, or store the estimator with joblib.dump."
        )

    def _array(self, array: Array) -> int:
        self.arrays.append(array)
        return len(self.arrays) - 1

    def _encode_array(self, array: Array, name: str) -> Tree:
        if array.dtype.kind in PLAIN_KINDS:
            return typed("array", array=self._array(np.asarray(array)))
        if array.dtype == object:
            items = self.encode(array.ravel().tolist(), name)
            return typed("objects", shape=list(array.shape), items=items)
        raise TypeError(
            f"{name} must be of a plain dtype to be saved, got an array of {array.dtype}. "
            "Store the estimator with joblib.dump."
        )

    def _encode_generator(self, generator: np.random.RandomState, name: str) -> Tree:
        # the same generator may be a parameter and an attribute: it must stay one object
        if id(generator) in self.generators:
            return typed("RandomState", same_as=self.generators[id(generator)])
        index = self.generators[id(generator)] = len(self.generators)
        state = generator.get_state(legacy=False)
        if state["bit_generator"] not in BIT_GENERATORS:
            raise TypeError(
                f"{name} must have one of numpy's bit generators to be saved, got "
                f"{state['bit_generator']}. Use an int."
            )
        return typed("RandomState", place=index, state=self.encode(state, name))


def typed(type_name: str, **content: Any) -> Tree:
    """Return the tree of a value of another type than those of JSON."""
    return {"type": type_name, **content}


class Decoder:
    """Decodes a tree and arrays, which may come from anyone.

    Parameters
    ----------
    arrays : list of ndarray
        The arrays of the file.
    """

    records: ClassVar[dict[str, Any]] = Encoder.records

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = dict(enumerate(arrays))
        self.generators: list[np.random.RandomState] = []

    def content(self, tree: Any) -> Any:
        """Return the content of a file, which must refer to all of its arrays."""
        try:
            value = self.decode(tree)
        except NotReadable:
            raise
        except Exception as error:
            raise NotReadable(f"its content is not valid ({error!r}).") from error
        if self.arrays:
            raise NotReadable("it has arrays that nothing uses.")
        return value

    def decode(self, tree: Any) -> Any:
        """Return the value of a tree."""
        if isinstance(tree, int) and tree.bit_length() > MAX_BITS:
            raise NotReadable(f"it has an integer of more than {MAX_BITS} bits.")
        if tree is None or isinstance(tree, bool | int | float | str):
            return tree
        if isinstance(tree, list):
            return [self.decode(item) for item in tree]
        content = dict(tree)
        name = content.pop("type")
        if name in self.records:
            return self._decode_record(self.records[name], **content)
        return self.decoders[name](self, **content)

    def _decode_float(self, value: str) -> float:
        if value not in ("inf", "-inf", "nan"):
            raise NotReadable(f"it has {value!r:.80} in place of inf, -inf or nan.")
        return float(value)

    def _decode_tuple(self, items: Any) -> tuple[Any, ...]:
        return tuple(self.decode(items))

    def _decode_dict(self, items: Any) -> dict[Any, Any]:
        return {key: item for key, item in self.decode(items)}

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
        items = self.decode(items)
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
        self.generators.append(make_generator(self.decode(state)))
        return self.generators[-1]

    def _decode_record(self, Record: Any, fields: Any) -> Any:
        return Record(**self.decode(fields))

    decoders: ClassVar[dict[str, Callable[..., Any]]] = {
        "float": _decode_float,
        "tuple": _decode_tuple,
        "dict": _decode_dict,
        "scalar": _decode_scalar,
        "array": _decode_array,
        "objects": _decode_objects,
        "RandomState": _decode_generator,
    }
