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
    from .adam import Adam as Adam
    from .adamw import AdamW as AdamW
    from .lookahead import Lookahead as Lookahead
    from .msam import MSAM as MSAM
    from .muon import Muon as Muon
    from .radam import RAdam as RAdam
    from .ranger import Ranger as Ranger
    from .sam import SAM as SAM
    from .schedulefree import ScheduleFree as ScheduleFree
    from .sgd import SGD as SGD
    from .wsam import WSAM as WSAM
    from .yellowfin import YellowFin as YellowFin

__all__ = [
    "MSAM",
    "SAM",
    "SGD",
    "WSAM",
    "Adam",
    "AdamW",
    "Lookahead",
    "Muon",
    "RAdam",
    "Ranger",
    "ScheduleFree",
    "YellowFin",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # `from .sam import SAM` binds the class beside its module sam
    return getattr(import_module(f".{name.lower()}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
