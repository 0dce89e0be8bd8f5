"""Averages of weights along a training run, and ensembles of them."""

from .bn import update_bn
from .ema import EMA
from .snapshots import Snapshots
from .swa import SWA

__all__ = ["EMA", "SWA", "Snapshots", "update_bn"]
