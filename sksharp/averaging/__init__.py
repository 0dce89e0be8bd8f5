"""Averages of weights along a training run, and ensembles of them.

The classes are imported when they are first asked for, so that the registry can be read
without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bn import update_bn as update_bn
    from .ema import EMA as EMA
    from .snapshots import Snapshots as Snapshots
    from .swa import SWA as SWA

__all__ = ["EMA", "SWA", "Snapshots", "update_bn"]

# the estimators' parameter that switches a scheme on, and its class
AVERAGERS: dict[str, str] = {
    "swa": "SWA",
    "ema_decay": "EMA",
    "n_snapshots": "Snapshots",
}

_MODULES = {"update_bn": "bn"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES.get(name, name.lower())
    return getattr(import_module(f".{module}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
