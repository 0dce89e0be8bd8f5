"""Optimizers that train any torch module to flat minima.

Each is a :class:`torch.optim.Optimizer` and follows torch's contract for
``step(closure)``. The classes are imported when they are first asked for, so that the
registry of solvers can be read without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._solvers import BASE_SOLVERS as BASE_SOLVERS
from ._solvers import SOLVERS as SOLVERS
from ._solvers import base_solvers as base_solvers
from ._solvers import make_optimizer as make_optimizer
from ._solvers import solver_chain as solver_chain
from ._solvers import solver_parameters as solver_parameters

if TYPE_CHECKING:
    from ._ascent import Combination as Combination
    from ._ascent import GradientPerturbation as GradientPerturbation
    from ._scaling import scaled_step as scaled_step
    from .adam import Adam as Adam
    from .adamw import AdamW as AdamW
    from .asam import ASAM as ASAM
    from .asam import AdaptivePerturbation as AdaptivePerturbation
    from .esam import ESAM as ESAM
    from .fisher_sam import FisherPerturbation as FisherPerturbation
    from .fisher_sam import FisherSAM as FisherSAM
    from .friendly_sam import FriendlyPerturbation as FriendlyPerturbation
    from .friendly_sam import FriendlySAM as FriendlySAM
    from .gsam import GSAM as GSAM
    from .gsam import SurrogateGap as SurrogateGap
    from .lookahead import Lookahead as Lookahead
    from .looksam import LookSAM as LookSAM
    from .looksam import ReusedDirection as ReusedDirection
    from .msam import MSAM as MSAM
    from .muon import Muon as Muon
    from .radam import RAdam as RAdam
    from .ranger import Ranger as Ranger
    from .sam import SAM as SAM
    from .schedule_free import ScheduleFree as ScheduleFree
    from .sgd import SGD as SGD
    from .sharpness_aware import SharpnessAware as SharpnessAware
    from .wsam import WSAM as WSAM
    from .wsam import WeightedSharpness as WeightedSharpness
    from .yellowfin import YellowFin as YellowFin

# a solver's class is in the module of the solver's name
_MODULES = {solver.optimizer: name for name, solver in SOLVERS.items()} | {
    "AdaptivePerturbation": "asam",
    "Combination": "_ascent",
    "FisherPerturbation": "fisher_sam",
    "FriendlyPerturbation": "friendly_sam",
    "GradientPerturbation": "_ascent",
    "ReusedDirection": "looksam",
    "SharpnessAware": "sharpness_aware",
    "SurrogateGap": "gsam",
    "WeightedSharpness": "wsam",
    "scaled_step": "_scaling",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # `from .sam import SAM` binds the class beside its module sam
    module = import_module(f".{_MODULES[name]}", __name__)
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
