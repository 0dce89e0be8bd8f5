"""Averages of weights along a training run.

The classes are imported when they are first asked for, so that the registry can be read
without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ema import EMA as EMA
    from .swa import SWA as SWA

__all__ = ["EMA", "SWA"]

# the estimators' parameter that switches a scheme on, and its class
AVERAGERS: dict[str, str] = {"swa": "SWA", "ema_decay": "EMA"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{name.lower()}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
