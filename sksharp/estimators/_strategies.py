"""Strategies of a fit: one network, one with a chosen radius, or members."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split

from .._jobs import Array, Progress, TrainingJob, TrainingResult, Validation, Weights
from .._warnings import record_warnings
from ..observers._bar import say
from ._comparison import validation_in
from ._folds import Folds, make_folds, n_nonzero_weight
from ._halving import with_radius
from ._network import (
    FitData,
    Network,
    Trainer,
    check_result,
    make_job,
    new_network,
)
from ._noise import held_out_noise
from ._parameters import DECAY_OF_AUTO, FitPlan, read_parameters
from ._rho_search import (
    RadiusChoice,
    adapts,
    check_scores,
    choose_radius,
    labeled,
    late_gain,
    share_at_best,
    validated_jobs,
    with_patience,
)
from ._tempering import common_inverse_temperature, soften, tempered
from ._validation import is_refined, validation_of

# a single network's radius is chosen by shuffled 3-fold, of which as many folds are used
# as hold out enough rows
PARTS_OF_ONE = 3
ENOUGH_KEPT = 300


@dataclass
class Outcome:
    """Outcome of a fit.

    Parameters
    ----------
    networks : list of Network
        The network, or the members.

    results : list of TrainingResult
        One per network.

    choice : RadiusChoice or None
        The choice of the radius, if there was one.

    out_of_fold : array of shape (n_samples, n_outputs) or None
        Outputs for every row, of the networks that were not trained on it.

    score_freq : int or None
        Epochs between two scores of a member.

    fold_seed : int or None
        Seed of the folds.

    cut_off : str or None
        Warning that the loss of held-out rows still fell at the end.
    """

    networks: list[Network]
    results: list[TrainingResult]
    choice: RadiusChoice | None = None
    out_of_fold: Array | None = None
    score_freq: int | None = None
    fold_seed: int | None = None
    cut_off: str | None = None


def train(
    plan: FitPlan,
    data: FitData,
    network: Network,
    members: Sequence[Network],
    trainer: Trainer,
    *,
    incremental: bool,
    has_chosen: bool,
) -> Outcome:
    """Train by the strategy that the parameters ask for.

    Parameters
    ----------
    plan : FitPlan
        The parameters.

    data : FitData
        The data.

    network : Network
        The network of the estimator.

    members : list of Network
        Networks of the last fit, to continue from.

    trainer : Trainer
        Trains jobs.

    incremental : bool
        Whether this is a call of ``partial_fit``, which chooses nothing.

    has_chosen : bool
        Whether an earlier fit has chosen radius and length.
    """
    if plan.n_members > 1:
        train_members = update_members if incremental else fit_members
        return train_members(plan, data, network, trainer, members)
    train_one = update_one if incremental else fit_one
    is_open = not (incremental or has_chosen)
    if is_open and plan.chooses(data.y, data.sample_weight, data.validation):
        train_one = choose_rho
    return train_one(plan, data, network, trainer)


def fit_one(
    plan: FitPlan, data: FitData, network: Network, trainer: Trainer
) -> Outcome:
    """Train one network."""
    rows, validation = split(plan, data, network.random_state)
    job = make_job(network, data, rows, validation)
    return Outcome([network], trainer([job]))


def update_one(
    plan: FitPlan, data: FitData, network: Network, trainer: Trainer
) -> Outcome:
    """Train one network for an epoch."""
    return Outcome([network], trainer([make_job(network, data, incremental=True)]))


def choose_rho(
    plan: FitPlan, data: FitData, network: Network, trainer: Trainer
) -> Outcome:
    """Choose the radius by folds, and train one network on all rows with it."""
    rows, validation = split(plan, data, network.random_state)
    # the final network has the random numbers of a fit without a choice
    rng = copy.deepcopy(network.random_state)
    folds, fold_seed = None, network.state.fold_seed
    if data.validation is None:
        # scikit-learn warns of rare classes, also where the user asked for no folds
        with record_warnings() if plan.cv is None else contextlib.nullcontext():
            folds, fold_seed = draw_folds(plan, data, None, rng, fold_seed)
    of_fold = member_plan(plan, data, network.rho)
    n_networks = 1 if folds is None else len(folds)
    networks = new_networks(n_networks, of_fold, data, rng, network.rho)
    noise = held_out_noise(plan, data, rng)
    jobs = validated_jobs(networks, data, folds, noise=noise)
    jobs = labeled(jobs, "network" if folds is None else "fold")
    if plan.swa is None:
        jobs = [with_patience(job) for job in jobs]
    choice = choose_radius(plan, jobs, trainer)
    check_scores(choice.results)
    for result in choice.results:
        check_result(result)
    b = common_inverse_temperature(choice.results)
    for result in choice.results:
        result.progress.inverse_temperature = b
    out_of_fold = _outputs_of_folds(choice.results, data, folds)
    if plan.verbose:
        say("Training a network on all rows.")
    if choice.rho is not None:
        network = dataclasses.replace(network, rho=choice.rho)
    if not plan.early_stopping and plan.snapshots is None:
        network.progress.inverse_temperature = b
    job = make_job(network, data, rows, validation)
    ends_by_itself = validation is not None or adapts(job.settings)
    if job.settings.averaging is None and not ends_by_itself:
        share = share_at_best(choice.results, jobs)
        job = dataclasses.replace(
            job,
            epochs=max(1, round(share * job.epochs)),
            settings=dataclasses.replace(job.settings, n_iter_no_change=np.inf),
            should_converge=False,
        )
    return Outcome(
        [network],
        trainer([job]),
        choice,
        out_of_fold,
        fold_seed=fold_seed,
        cut_off=cut_off(plan, choice.results, jobs) if validation is None else None,
    )


def fit_members(
    plan: FitPlan,
    data: FitData,
    network: Network,
    trainer: Trainer,
    members: Sequence[Network],
) -> Outcome:
    """Train networks that each hold out a fold, on which their best epoch is chosen."""
    folds, fold_seed = None, network.state.fold_seed
    rng = network.random_state
    if data.validation is None:
        folds, fold_seed = draw_folds(plan, data, plan.n_members, rng, fold_seed)
    networks = _members(plan, data, network, members)
    noise = held_out_noise(plan, data, rng)
    jobs = validated_jobs(
        networks, data, folds, stops_early=plan.early_stopping, noise=noise
    )
    jobs = labeled(jobs, "member")
    choice = None
    if not plan.searches:
        results = trainer(jobs)
    elif members and network.state.rho_solver is not None:
        results = trainer([with_radius(job, network.rho) for job in jobs])
    else:
        choice = choose_radius(plan, jobs, trainer)
        results = choice.results
    check_scores(results)
    for result in results:
        soften(result)
    return Outcome(
        networks,
        results,
        choice,
        _outputs_of_folds(results, data, folds),
        validation_in(jobs[0]).freq,
        fold_seed,
        cut_off(plan, results, jobs),
    )


def update_members(
    plan: FitPlan,
    data: FitData,
    network: Network,
    trainer: Trainer,
    members: Sequence[Network],
) -> Outcome:
    """Train every member on all rows for an epoch."""
    networks = _members(plan, data, network, members)
    if plan.searches and plan.swa is None and members and _has_decay(members[0]):
        networks = [_averaging(member) for member in networks]
    if is_refined(plan.scoring):  # as long as no rows are scored
        for member in networks:
            member.progress.inverse_temperature = member.state.inverse_temperature
    jobs = [make_job(member, data, incremental=True) for member in networks]
    return Outcome(networks, trainer(labeled(jobs, "member")))


def _members(
    plan: FitPlan, data: FitData, network: Network, members: Sequence[Network]
) -> list[Network]:
    """Return the members of the last fit, or new ones."""
    of_member = member_plan(plan, data, network.rho)
    if not members:
        rng = network.random_state
        return new_networks(plan.n_members, of_member, data, rng, network.rho)
    return [
        dataclasses.replace(member, plan=of_member, rho=network.rho)
        for member in members
    ]


def _averaging(member: Network) -> Network:
    """Return a member that goes on with the average of a choice of the radius."""
    if member.plan.ema_decay is not None:
        return member
    plan = member.plan.with_params(ema_decay=DECAY_OF_AUTO)
    return dataclasses.replace(member, plan=plan)


def _has_decay(member: Network) -> bool:
    averaging = member.state.averaging
    return averaging is not None and averaging.scheme == "ema_decay"


def member_plan(plan: FitPlan, data: FitData, rho: float | None) -> FitPlan:
    """Return the parameters of a network that is a member, or of a fold."""
    own: dict[str, Any] = {
        "n_members": 1,
        "early_stopping": False,
        "cv": None,  # a generator of splits cannot be copied
        "callbacks": None,
        "snapshots": None,
    }
    if rho is not None or plan.searches:
        own["rho"] = rho or 0.0  # a number, which leaves nothing to choose
    if data.is_automatic(plan):
        # with a number as rho, 'auto' and None have their other meaning
        if plan.ema_decay is None and plan.swa is None:
            own["ema_decay"] = DECAY_OF_AUTO
        if plan.batch_size == "auto":
            own["batch_size"] = plan.clipped_batch_size(
                n_nonzero_weight(data.y, data.sample_weight), is_automatic=True
            )
    return plan.with_params(**own)


def new_networks(
    n: int,
    plan: FitPlan,
    data: FitData,
    rng: np.random.RandomState,
    rho: float | None,
) -> list[Network]:
    """Return networks with a seed each."""
    return [
        new_network(data.estimator, plan, data, draw_seed(rng), rho) for _ in range(n)
    ]


# -- rows to train on and rows to hold out -----------------------------------------------


def split(
    plan: FitPlan, data: FitData, random_state: np.random.RandomState
) -> tuple[Array | None, Validation | None]:
    """Return the rows to train on and the rows for early stopping, None for all."""
    if not plan.early_stopping:
        return None, None
    estimator = data.estimator
    if data.validation is not None:
        user_rows = validation_of(
            estimator,
            data.validation,
            None,
            scoring=plan.scoring,
            noise=held_out_noise(plan, data, random_state),
        )
        return None, user_rows
    has_one_label = is_classifier(estimator) and data.y.shape[1] == 1
    rows, held_out = train_test_split(
        np.arange(len(data.y)),
        random_state=random_state,
        test_size=plan.validation_fraction,
        stratify=data.y if has_one_label else None,
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the "
            "size of your dataset."
        )
    noise = held_out_noise(plan, data, random_state)
    return rows, validation_of(
        estimator, data, held_out, scoring=plan.scoring, noise=noise
    )


def draw_folds(
    plan: FitPlan,
    data: FitData,
    n_folds: int | None,
    rng: np.random.RandomState,
    seed: int | None,
) -> tuple[Folds, int]:
    """Return the rows of every fold, and the seed that they were drawn with."""
    if seed is None:
        seed = draw_seed(rng)
    estimator, X, y = data.estimator, data.X, data.y
    n_parts, n_kept = n_folds, None
    if n_folds is None and plan.cv is None:
        n_parts = PARTS_OF_ONE
        n_rows = n_nonzero_weight(y, data.sample_weight)
        n_kept = min(n_parts, math.ceil(n_parts * ENOUGH_KEPT / n_rows))
    is_drawn = plan.cv is None or isinstance(plan.cv, Integral)
    nonzero = None
    if is_drawn and data.sample_weight is not None:
        # a fold of rows of weight 0 could not validate
        nonzero = np.flatnonzero(data.sample_weight)
        y = y[nonzero]
    has_one_label = data.y.shape[1] == 1 or estimator.out_activation_ == "softmax"
    folds = make_folds(
        plan.cv,
        n_parts,
        X,
        y,
        None if is_drawn else estimator._decode_targets(y),
        stratify=is_classifier(estimator) and has_one_label,
        # the same folds under warm_start: no network trains on rows it has held out
        random_state=np.random.RandomState(seed),
    )
    if nonzero is not None:
        folds = [(nonzero[train], nonzero[test]) for train, test in folds]
    return folds[:n_kept], seed


def draw_seed(random_state: np.random.RandomState) -> int:
    """Return a seed for another generator."""
    return int(random_state.randint(np.iinfo(np.int32).max))


def with_weights(estimator: Any, weights: Weights) -> Any:
    """Return a copy of an estimator that predicts with other weights."""
    network = copy.copy(estimator)
    network.coefs_, network.intercepts_ = list(weights.coefs), list(weights.intercepts)
    vars(network).pop("members_", None)
    return network


def _outputs_of_folds(
    results: Sequence[TrainingResult], data: FitData, folds: Folds | None
) -> Array | None:
    """Return the outputs for every row of the networks that held it out, NaN if none."""
    if folds is None:
        return None
    total = np.zeros(data.y.shape)
    counts = np.zeros((len(data.y), 1))
    for result, (_, test) in zip(results, folds, strict=True):
        b = result.progress.inverse_temperature
        network = with_weights(data.estimator, tempered(result.weights, b))
        # a fold may hold a row twice
        outputs = network._forward_pass_fast(data.X[test], check_input=False)
        np.add.at(total, test, outputs)
        np.add.at(counts, test, 1)
    with np.errstate(invalid="ignore"):
        return total / counts


# -- members as records ------------------------------------------------------------------


def members_of(estimator: Any) -> list[Network]:
    """Return the members of a fitted estimator as networks that training may change."""
    records = []
    for member in getattr(estimator, "members_", ()):
        record = Network.of(
            member,
            read_parameters(member),
            Progress(
                t=member.t_,
                loss_curve=list(getattr(member, "loss_curve_", [])),
                no_improvement_count=getattr(member, "_no_improvement_count", 0),
            ),
            seed=member.random_state,
        )
        if getattr(member, "best_loss_", None) is not None:
            record.progress.best_loss = member.best_loss_
        record.random_state = copy.deepcopy(record.random_state)
        records.append(record)
    return records


def cut_off(
    plan: FitPlan, results: Sequence[TrainingResult], jobs: Sequence[TrainingJob]
) -> str | None:
    """Return a warning if the loss of held-out rows still fell at the end, else None."""
    settings = jobs[0].settings
    ends_otherwise = settings.averaging is not None or adapts(settings)
    is_interrupted = any(result.is_interrupted for result in results)
    if ends_otherwise or is_interrupted or plan.ends_low:
        return None
    gain = late_gain(results, jobs, plan.n_iter_no_change)
    if gain <= plan.tol:
        return None
    epochs = max(job.epochs for job in jobs)
    validation = validation_in(jobs[0])
    of_what = "loss" if validation.score is None else "score"
    rows = "validation rows" if validation.rows is None else "rows left out"
    why = (
        f"got better by more than tol={plan.tol:g} in the last "
        f"n_iter_no_change={plan.n_iter_no_change} of them"
    )
    if np.isinf(gain):
        why = "was evaluated once"
    return (
        f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the "
        f"optimization hasn't converged yet: the {of_what} of the {rows} {why}. "
        f"Increase {plan.length_name}."
    )
