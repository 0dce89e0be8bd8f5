"""Learning rates, averages and snapshots: from the estimators' parameters to settings."""

import copy
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import RealNotInt, StrOptions

from ._contract import AveragingSettings
from ._members import DECAY_OF_AUTO
from ._numbers import Number
from ._schedules import (
    CYCLES,
    GAMMAS,
    SCHEDULES,
    SNAPSHOT_STARTS,
    Schedule,
    snapshot_epochs,
    snapshot_parts,
    snapshot_turns,
)
from .optim import solver_parameters

# scikit-learn's schedules that change the rate
THEIRS = ("invscaling", "adaptive")

# the average of ema_decay='auto' looks back over this share of all steps
EMA_SHARE = 0.1
EMA_RANGE = (0.9, 0.999)

SHARE_OR_EPOCHS = [
    Number(RealNotInt, 0, 1, closed="left"),
    Number(Integral, 0, None, closed="left"),
]

CONSTRAINTS = {
    "learning_rate": [StrOptions({"constant", *THEIRS, *SCHEDULES})],
    "warmup": SHARE_OR_EPOCHS,
    "lr_min": [Number(Real, 0, None, closed="left")],
    "lr_gamma": [Number(Real, 0, 1, closed="right"), None],
    "lr_step_size": [Number(Integral, 1, None, closed="left")],
    "lr_milestones": ["array-like"],
    "lr_flat": [Number(Real, 0, 1, closed="left")],
    "ema_decay": [Number(Real, 0, 1, closed="left"), StrOptions({"auto"}), None],
    "swa_start": SHARE_OR_EPOCHS,
    "swa_anneal": [
        Number(RealNotInt, 0, 1, closed="both"),
        Number(Integral, 0, None, closed="left"),
    ],
    "swa_anneal_strategy": [StrOptions({"cosine", "linear"})],
    "swa_cycle": [Number(Integral, 1, None, closed="left"), None],
    "n_snapshots": [Number(Integral, 1, None, closed="left")],
    "snapshot_schedule": [StrOptions(set(CYCLES))],
    "snapshot_start": [*SHARE_OR_EPOCHS, None],
}


class Scheduling:
    """Mixin of the estimators: how the learning rate moves and what is collected."""

    # -- combinations ----------------------------------------------------------------

    def _check_scheduling(self, incremental):
        """Raise for parameters that are valid alone and not together."""
        if self.warmup and self.learning_rate in THEIRS:
            raise ValueError(
                "warmup needs learning_rate='constant' or one of "
                f"{sorted(SCHEDULES)}, got learning_rate={self.learning_rate!r} with "
                f"warmup={self.warmup}. scikit-learn's schedules keep its meaning: set "
                "warmup=0 or another learning_rate."
            )
        self._check_rate_is_given()
        if self.n_snapshots > 1:
            self._check_snapshots(incremental)
        reads = self._schedule_reads()
        if "lr_min" in reads and self.lr_min > self.learning_rate_init:
            raise ValueError(
                "lr_min must not exceed learning_rate_init, from which the rate falls, "
                f"got lr_min={self.lr_min} with learning_rate_init="
                f"{self.learning_rate_init}. Lower lr_min."
            )
        if "lr_milestones" in reads:
            self._milestones()
        if incremental:
            self._check_unknown_length()
        if self.swa:
            self._check_swa_rate()
        if self.max_steps is None and not incremental:
            self._check_lengths(self.max_iter)

    def _check_rate_is_given(self):
        """Raise if a schedule is asked for, of a rate that the solver finds itself."""
        if "learning_rate_init" in solver_parameters(self.solver, self.base_solver):
            return
        asked = {
            "learning_rate": self.learning_rate in SCHEDULES,
            "warmup": self.warmup,
            "n_snapshots": self.n_snapshots > 1,
            "swa_lr": self.swa and self.swa_lr is not None,
        }
        for name, is_on in asked.items():
            if is_on:
                raise ValueError(
                    f"solver={self.solver!r} finds its learning rate, which no schedule "
                    f"moves, got {name}={getattr(self, name)!r}. Choose another solver, "
                    f"or leave {name} at its default."
                )

    def _schedule_reads(self):
        if self.n_snapshots > 1:
            return ("lr_min",)
        schedule = SCHEDULES.get(self.learning_rate)
        return () if schedule is None else schedule.reads

    def _ends_on_purpose(self):
        """Return whether the learning rate has fallen to its end when training ends."""
        schedule = SCHEDULES.get(self.learning_rate)
        return schedule is not None and schedule.needs_length

    def _milestones(self):
        """Return the milestones as numbers of Python's own: shares or epochs."""
        milestones = [_plain(milestone) for milestone in self.lr_milestones]
        for milestone in milestones:
            is_share = isinstance(milestone, float) and 0 <= milestone < 1
            is_epoch = type(milestone) is int and milestone >= 0
            if not (is_share or is_epoch):
                raise ValueError(
                    "lr_milestones must hold shares of the training, floats in [0, 1), or "
                    f"epochs, ints, got {milestone!r} among {self.lr_milestones}. Write "
                    "a number of epochs as an int."
                )
        if not milestones:
            raise ValueError(
                "lr_milestones must hold at least one milestone, got none. Set "
                "learning_rate='constant' for a rate that never drops."
            )
        return milestones

    def _check_unknown_length(self):
        """Raise for what depends on the end of the training, which nobody knows."""
        schedule = SCHEDULES.get(self.learning_rate)
        needs = {
            "learning_rate": schedule is not None and schedule.needs_length,
            "lr_milestones": self.learning_rate == "multistep"
            and any(isinstance(m, float) for m in self._milestones()),
            "warmup": isinstance(_plain(self.warmup), float) and self.warmup > 0,
            "ema_decay": self.ema_decay == "auto",
        }
        ways_out = {
            "learning_rate": "Set it to 'constant', 'step', 'multistep' or 'exponential', "
            "which count calls as epochs",
            "lr_milestones": "Give epochs, as ints: calls count as epochs",
            "warmup": "Give epochs, as an int: calls count as epochs",
            "ema_decay": "Set it to a number",
        }
        for name, depends in needs.items():
            if depends:
                raise ValueError(
                    f"partial_fit does not know the length of the training, on which "
                    f"{name}={getattr(self, name)!r} depends. {ways_out[name]}, or call "
                    "fit."
                )

    def _check_snapshots(self, incremental):
        """Raise for what does not go with an ensemble of snapshots."""
        if incremental:
            raise ValueError(
                "partial_fit does not know the length of the training, on which the cycles "
                f"of n_snapshots={self.n_snapshots} depend. Set n_snapshots=1, or call "
                "fit."
            )
        excluded = {
            "learning_rate": (self.learning_rate != "constant", "'constant'"),
            "early_stopping": (self.early_stopping, "False"),
            "n_members": (self.n_members > 1, "1"),
            "swa": (self.swa, "False"),
            "ema_decay": (self.ema_decay is not None, "None"),
        }
        reasons = {
            "learning_rate": "The cycles are the schedule",
            "early_stopping": "It keeps the best epoch, they keep the end of every cycle",
            "n_members": "Members keep the best epoch of their folds, snapshots the end "
            "of every cycle",
            "swa": "An average and an ensemble are two ways to use the path",
            "ema_decay": "An average and an ensemble are two ways to use the path",
        }
        for name, (is_on, value) in excluded.items():
            if is_on:
                raise ValueError(
                    f"n_snapshots={self.n_snapshots} needs {name} to be {value}, got "
                    f"{name}={getattr(self, name)!r}. {reasons[name]}; set it to {value}, "
                    "or n_snapshots=1."
                )

    def _check_swa_rate(self):
        """Raise if the rate of averaging is asked to move and not said where to."""
        moves = [name for name in ("swa_anneal", "swa_cycle") if getattr(self, name)]
        for name in moves:
            if self.swa_lr is None:
                raise ValueError(
                    f"{name} needs swa_lr, the rate to go to, got swa_lr=None with "
                    f"{name}={getattr(self, name)}. Set swa_lr, or leave {name} at its "
                    "default."
                )
        if len(moves) == 2:
            raise ValueError(
                "swa_anneal and swa_cycle both say how the rate moves while averaging, got "
                f"swa_anneal={self.swa_anneal} and swa_cycle={self.swa_cycle}. Set "
                "swa_anneal=0 or swa_cycle=None."
            )
        if self.swa_cycle is None:
            return
        if self.swa_freq != 1:
            raise ValueError(
                "swa_freq must be 1 with swa_cycle, which collects the weights at the end "
                f"of every cycle, got swa_freq={self.swa_freq} with swa_cycle="
                f"{self.swa_cycle}. Leave one of them at its default."
            )
        if self.swa_lr >= self.learning_rate_init:
            raise ValueError(
                "swa_lr must be below learning_rate_init with swa_cycle, whose cycles fall "
                f"from the one to the other, got swa_lr={self.swa_lr} with "
                f"learning_rate_init={self.learning_rate_init}. Lower swa_lr."
            )

    @property
    def _length_name(self):
        """The parameter that says how long training is."""
        return "max_iter" if self.max_steps is None else "max_steps"

    def _check_lengths(self, epochs):
        """Raise if a training of so many epochs is too short."""
        length = self._length_name
        end = f"{length}={getattr(self, length)}"
        if isinstance(self.warmup, Integral) and 0 < self.warmup >= epochs:
            raise ValueError(
                f"warmup must be shorter than the {epochs} epochs of {end}, got warmup="
                f"{self.warmup}. Lower warmup or raise {length}."
            )
        if self.swa:
            self._check_averaging(epochs)
            left = epochs - self._first_epoch(self.swa_start, epochs)
            if isinstance(self.swa_anneal, Integral) and self.swa_anneal > left:
                raise ValueError(
                    f"swa_anneal must not exceed the {left} epochs after swa_start="
                    f"{self.swa_start}, got swa_anneal={self.swa_anneal}. Lower "
                    f"swa_anneal or swa_start, or raise {length}."
                )
            if self.swa_cycle is not None and self.swa_cycle > left:
                raise ValueError(
                    f"swa_cycle must not exceed the {left} epochs after swa_start="
                    f"{self.swa_start}, got swa_cycle={self.swa_cycle}. Nothing would be "
                    f"averaged; lower swa_cycle or swa_start, or raise {length}."
                )
        if self.n_snapshots > 1:
            self._check_cycles(epochs, end, length)

    def _check_cycles(self, epochs, end, length):
        start = self._snapshot_start(epochs)
        n_parts = snapshot_parts(self.snapshot_schedule, int(self.n_snapshots))
        if epochs - start < n_parts:
            raise ValueError(
                f"n_snapshots={self.n_snapshots} with snapshot_schedule="
                f"{self.snapshot_schedule!r} needs at least {n_parts} epochs, got "
                f"{max(0, epochs - start)} after snapshot_start={start} of {end}. Lower "
                f"n_snapshots or snapshot_start, or raise {length}."
            )
        is_epochs = isinstance(self.warmup, Integral)
        warm_up = self.warmup if is_epochs else self.warmup * epochs
        end_of_first = self._turns(epochs)[1]
        if warm_up and warm_up >= end_of_first:
            raise ValueError(
                f"warmup must end before the first cycle of the learning rate does, after "
                f"{end_of_first} epochs, got warmup={self.warmup}. Lower warmup or "
                "n_snapshots."
            )

    def _snapshot_start(self, epochs):
        start = self.snapshot_start
        if start is None:
            start = SNAPSHOT_STARTS[self.snapshot_schedule]
        return int(start) if isinstance(start, Integral) else int(start * epochs)

    def _turns(self, epochs):
        return snapshot_turns(
            self.snapshot_schedule,
            int(self.n_snapshots),
            self._snapshot_start(epochs),
            epochs,
        )

    # -- settings --------------------------------------------------------------------

    def _schedule(self, epochs):
        """Return the schedule over so many epochs, None if nobody knows how many.

        It is None itself for scikit-learn's schedules.
        """
        turns = ()
        if self.n_snapshots > 1:
            name, turns = f"{self.snapshot_schedule} cycles", tuple(self._turns(epochs))
        elif self.learning_rate in SCHEDULES or self.warmup:
            name = self.learning_rate
        else:
            return None
        values = {key: self._value(key) for key in self._schedule_reads()}
        if "lr_gamma" in values and values["lr_gamma"] is None:
            values["lr_gamma"] = GAMMAS[name]
        if "lr_milestones" in values:
            values["lr_milestones"] = tuple(self._milestones())
        return Schedule(
            name=name,
            initial=self._value("learning_rate_init"),
            epochs=epochs,
            warmup=_plain(self.warmup),
            values=values,
            turns=turns,
        )

    def _averaging_settings(self, epochs):
        if self.n_snapshots > 1:
            collected = snapshot_epochs(self.snapshot_schedule, self._turns(epochs))
            return AveragingSettings(
                scheme="n_snapshots",
                start=0,
                freq=1,
                length=epochs,
                lr=None,
                epochs=tuple(collected),
            )
        if not self.swa:
            return None
        start = self._first_epoch(self.swa_start, epochs)
        anneal = _plain(self.swa_anneal)
        return AveragingSettings(
            scheme="swa",
            start=start,
            freq=int(self.swa_freq if self.swa_cycle is None else self.swa_cycle),
            length=epochs - start,
            lr=self._value("swa_lr"),
            anneal=anneal
            if isinstance(anneal, int)
            else int(anneal * (epochs - start)),
            strategy=self.swa_anneal_strategy,
            cycle=_plain(self.swa_cycle),
        )

    def _averaging_decay(self, n_steps, *, is_automatic):
        """Return the decay of the exponential average of a training of so many steps."""
        if self.ema_decay is None:
            is_free = not self.swa and self.n_snapshots == 1
            return DECAY_OF_AUTO if is_automatic and is_free else None
        if self.ema_decay != "auto":
            return self._value("ema_decay") or None
        low, high = EMA_RANGE
        return min(high, max(low, 1 - 1 / (EMA_SHARE * n_steps)))

    # -- snapshots -------------------------------------------------------------------

    def _take_snapshots(self, snapshots):
        """Store the networks that were collected as members."""
        n_after = len(self.loss_curve_) - self.n_iter_
        members = []
        for snapshot in snapshots:
            member = copy.copy(self)
            member.n_snapshots = 1
            for name in _OF_ONE_TRAINING:
                vars(member).pop(name, None)
            member.coefs_ = list(snapshot.weights.coefs)
            member.intercepts_ = list(snapshot.weights.intercepts)
            member.n_iter_, member.t_ = snapshot.n_iter, snapshot.t
            member.loss_curve_ = self.loss_curve_[: n_after + snapshot.n_iter]
            member.loss_ = member.loss_curve_[-1]
            members.append(member)
        self.members_, self._holds_snapshots = members, True
        for name in ("coefs_", "intercepts_", "n_averaged_"):
            vars(self).pop(name, None)

    def _restore_network(self):
        """Take the last snapshot for the network, to train it further."""
        if not vars(self).pop("_holds_snapshots", False):
            return
        last = self.members_[-1]
        self.coefs_ = [coef.copy() for coef in last.coefs_]
        self.intercepts_ = [intercept.copy() for intercept in last.intercepts_]
        del self.members_


# what a snapshot does not have of its own
_OF_ONE_TRAINING = (
    "_trainer",
    "_watch",
    "_skl_callbacks",
    "_skl_callbacks_to_teardown",
    "_callback_fit_ctx",
    "_parent_callback_ctx",
    "_random_state",
    "_optimizer",
    "_averaging",
    "_iterate",
    "best_loss_",
    "_no_improvement_count",
)


def _plain(value):
    """Return a number of Python's own in the place of numpy's."""
    return value.item() if isinstance(value, np.generic) else value
