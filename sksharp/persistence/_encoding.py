"""Estimators as trees of JSON's types and arrays, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sklearn.preprocessing import LabelBinarizer

from .._input_noise import Columns
from ..estimators._classifier import SAMMLPClassifier
from ..estimators._regressor import SAMMLPRegressor
from ..estimators._state import TrainingState
from ..options._base import Option
from ..options.averages import SWA, Snapshots
from ..options.losses import LOSSES
from ..options.noise import InputNoise
from ..options.schedules import SCHEDULES
from ..options.solvers import SOLVERS
from ..storage import _encoding
from ..storage._archive import NotReadable
from ..storage._encoding import Tree, typed
from ._rules import NotFromFit, check_state

ESTIMATORS: dict[str, Any] = {
    cls.__name__: cls for cls in (SAMMLPClassifier, SAMMLPRegressor)
}
RECORDS: dict[str, Any] = {
    **_encoding.Encoder.records,
    **{cls.__name__: cls for cls in (Columns, TrainingState)},
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

# attributes that live as long as a search
TRANSIENT = {"_trainer", "_skl_callbacks", "_checkpoints"}


class Encoder(_encoding.Encoder):
    """Encodes an estimator as a tree of JSON's types and a list of arrays."""

    records: ClassVar[dict[str, Any]] = RECORDS

    def encode(self, value: Any, name: str) -> Any:
        """Return the tree of a value; ``name`` is that of a parameter or attribute."""
        if type(value) is LabelBinarizer:
            return typed("LabelBinarizer", state=self.encode(vars(value), name))
        if type(value) in OPTIONS.values():
            values = value.get_params(deep=False)
            own = {key: self.encode(item, name) for key, item in values.items()}
            return typed("option", name=type(value).__name__, options=own)
        if type(value) in ESTIMATORS.values():
            return self._encode_estimator(value)
        return super().encode(value, name)

    def _encode_estimator(self, estimator: Any) -> Tree:
        params = estimator.get_params(deep=False)
        state = {
            name: value
            for name, value in vars(estimator).items()
            if name not in params and name not in TRANSIENT
        }
        return typed(
            type(estimator).__name__,
            params={name: self.encode(value, name) for name, value in params.items()},
            state={name: self.encode(value, name) for name, value in state.items()},
        )


class Decoder(_encoding.Decoder):
    """Decodes a tree and arrays, which may come from anyone, as an estimator.

    Parameters
    ----------
    arrays : list of ndarray
        The arrays of the file.
    """

    records: ClassVar[dict[str, Any]] = RECORDS

    def estimator(self, manifest: Tree) -> SAMMLPClassifier | SAMMLPRegressor:
        """Return the estimator that a manifest describes."""
        if "estimator" not in manifest:
            raise NotReadable("its content is not valid (there is no estimator).")
        tree = manifest["estimator"]
        name = tree.get("type") if isinstance(tree, dict) else tree
        if not isinstance(name, str) or name not in ESTIMATORS:
            raise NotReadable(f"it holds {name!r:.80} in place of an estimator.")
        estimator: SAMMLPClassifier | SAMMLPRegressor = self.content(tree)
        return estimator

    def decode(self, tree: Any) -> Any:
        """Return the value of a tree."""
        if isinstance(tree, dict) and tree["type"] in ESTIMATORS:
            content = dict(tree)
            Estimator = ESTIMATORS[content.pop("type")]
            return self._decode_estimator(Estimator, **content)
        return super().decode(tree)

    def _decode_binarizer(self, state: Any) -> LabelBinarizer:
        binarizer = LabelBinarizer()
        vars(binarizer).update(self.decode(state))
        return binarizer

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
        values = {key: self.decode(value) for key, value in options.items()}
        return OPTIONS[name](**values)

    def _decode_estimator(
        self, Estimator: Any, params: dict[str, Any], state: dict[str, Any]
    ) -> Any:
        params = {name: self.decode(value) for name, value in params.items()}
        unknown = params.keys() - Estimator().get_params(deep=False).keys()
        if unknown:
            raise NotReadable(
                f"it has parameters that this version does not know, {sorted(unknown)}. "
                "Install a later version of sksharp."
            )
        estimator = Estimator(**params)
        state = {name: self.decode(value) for name, value in state.items()}
        try:
            check_state(estimator, state)
        except NotFromFit as error:
            raise NotReadable(str(error)) from error
        vars(estimator).update(state)
        return estimator

    decoders: ClassVar[dict[str, Callable[..., Any]]] = {
        **_encoding.Decoder.decoders,
        "LabelBinarizer": _decode_binarizer,
        "option": _decode_option,
    }
