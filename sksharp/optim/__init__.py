"""Optimizers that train any torch module to flat minima.

Each is a :class:`torch.optim.Optimizer` and follows torch's contract for
``step(closure)``.
"""

from ._ascent import Combination, GradientPerturbation
from ._scaling import scaled_step
from .adam import Adam
from .adamw import AdamW
from .asam import ASAM, AdaptivePerturbation
from .esam import ESAM
from .fisher_sam import FisherPerturbation, FisherSAM
from .friendly_sam import FriendlyPerturbation, FriendlySAM
from .gsam import GSAM, SurrogateGap
from .lookahead import Lookahead
from .looksam import LookSAM, ReusedDirection
from .msam import MSAM
from .muon import Muon
from .radam import RAdam
from .ranger import Ranger
from .sam import SAM
from .schedule_free import ScheduleFree
from .sgd import SGD
from .sharpness_aware import SharpnessAware
from .wsam import WSAM, WeightedSharpness
from .yellowfin import YellowFin

__all__ = [
    "ASAM",
    "ESAM",
    "GSAM",
    "MSAM",
    "SAM",
    "SGD",
    "WSAM",
    "Adam",
    "AdamW",
    "AdaptivePerturbation",
    "Combination",
    "FisherPerturbation",
    "FisherSAM",
    "FriendlyPerturbation",
    "FriendlySAM",
    "GradientPerturbation",
    "LookSAM",
    "Lookahead",
    "Muon",
    "RAdam",
    "Ranger",
    "ReusedDirection",
    "ScheduleFree",
    "SharpnessAware",
    "SurrogateGap",
    "WeightedSharpness",
    "YellowFin",
    "scaled_step",
]
