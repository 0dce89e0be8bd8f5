"""Options of one method, as an object in place of its name.

``SAMMLPClassifier(solver="asam")`` uses the defaults of the method,
``SAMMLPClassifier(solver=ASAM(eta=0.1))`` other options. Searches set them by
``solver__eta``. Nothing here imports torch.
"""

from ._base import Option
from .averages import SWA, Snapshots
from .losses import AbsoluteError, Huber, Quantile
from .noise import InputNoise
from .schedules import (
    Cosine,
    Cyclic,
    Exponential,
    LearningRateSchedule,
    MultiStep,
    OneCycle,
    Step,
)
from .solvers import (
    ASAM,
    ESAM,
    GSAM,
    MSAM,
    SAM,
    SGD,
    WSAM,
    Adam,
    AdamW,
    FisherSAM,
    FriendlySAM,
    Lookahead,
    LookSAM,
    Muon,
    RAdam,
    Ranger,
    ScheduleFree,
    Solver,
    YellowFin,
)

__all__ = [
    "ASAM",
    "ESAM",
    "GSAM",
    "MSAM",
    "SAM",
    "SGD",
    "SWA",
    "WSAM",
    "AbsoluteError",
    "Adam",
    "AdamW",
    "Cosine",
    "Cyclic",
    "Exponential",
    "FisherSAM",
    "FriendlySAM",
    "Huber",
    "InputNoise",
    "LearningRateSchedule",
    "LookSAM",
    "Lookahead",
    "MultiStep",
    "Muon",
    "OneCycle",
    "Option",
    "Quantile",
    "RAdam",
    "Ranger",
    "ScheduleFree",
    "Snapshots",
    "Solver",
    "Step",
    "YellowFin",
]
