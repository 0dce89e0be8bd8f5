"""What a training needs to go on from a checkpoint, beside weights and optimizer."""

from __future__ import annotations

from typing import Any

import torch

from ._generators import set_states, states_now
from ._steps import scaler_of


class TrainingState:
    """The state of a training, for skorch's checkpoints: ``f_training``.

    It has the generators, the epochs that are planned, averages, snapshots and the best
    weights.

    Parameters
    ----------
    net : SAMNetClassifier or SAMNetRegressor
        The net.
    """

    def __init__(self, net: Any) -> None:
        self.net = net
        # whether the training goes on with what was loaded
        self.is_loaded = False
        # whether torch draws from the net's generators now
        self.is_lent = False

    @property
    def device(self) -> torch.device:
        """Where the net trains."""
        return torch.device("cpu" if self.net.device is None else self.net.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and numbers.

        Returns
        -------
        state_dict : dict
            For :meth:`load_state_dict`.
        """
        net = self.net
        states = states_now(self.device) if self.is_lent else net.generator_states_
        return {
            "generators": states,
            "phases": {name: p.state_dict() for name, p in net.phases_.items()},
            "seed": net.seed_,
            "scaler": None if net.scaler_ is None else net.scaler_.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the training of another net.

        Parameters
        ----------
        state_dict : dict
            What :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            If the other net had other parameters, so that its state does not fit.
        """
        net, phases = self.net, state_dict["phases"]
        if phases.keys() != net.phases_.keys():
            raise ValueError(
                "A checkpoint must be of a net with the same averages, schedule and early "
                f"stopping, got one with {sorted(phases)} for {sorted(net.phases_)}. Set "
                "the parameters that it was written with."
            )
        net.seed_ = state_dict["seed"]
        scaler = scaler_of(net)
        if scaler is not None and state_dict["scaler"] is not None:
            scaler.load_state_dict(state_dict["scaler"])
        states = [state.cpu() for state in state_dict["generators"]]
        net.generator_states_ = states
        if self.is_lent:
            set_states(states, self.device)
        for name, phase in net.phases_.items():
            phase.load_state_dict(phases[name])
        self.is_loaded = True
