"""Training jobs and their results: collecting jobs, their keys, and looking results up."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import pickle
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from sklearn.pipeline import Pipeline

from .._digest import digest_of
from .._jobs import (
    DATA,
    Matrix,
    Observer,
    TrainingJob,
    TrainingResult,
    Validation,
    state_key,
)
from ..estimators._base import FlatMinimaMLP
from ..estimators._network import FitData, Rows, make_job
from ..estimators._noise import held_out_noise, with_columns
from ..estimators._parameters import FitPlan
from ..estimators._validation import validation_of
from ._cache import TransformerCache, n_bytes


def _transforms_target(estimator: Any) -> bool:
    # in the function: it comes with linear models, neighbors and more
    from sklearn.compose import TransformedTargetRegressor

    return isinstance(estimator, TransformedTargetRegressor)


def find_network(estimator: Any) -> FlatMinimaMLP | None:
    """Return the network in a pipeline or target transformer, None if there is none."""
    return locate_network(estimator)[0]


def locate_network(estimator: Any) -> tuple[FlatMinimaMLP | None, str]:
    """Return the network and the prefix of its parameters, None if there is none."""
    prefix = ""
    while not isinstance(estimator, FlatMinimaMLP):
        if isinstance(estimator, Pipeline) and estimator.steps:
            name, estimator = estimator.steps[-1]
        elif _transforms_target(estimator):
            name, estimator = "regressor", estimator.regressor
        else:
            return None, ""
        prefix += name + "__"
    return estimator, prefix


def remove_trainer(estimator: Any) -> None:
    """Remove the trainer and the cache of a search from an estimator and its parts."""
    if isinstance(estimator, FlatMinimaMLP):
        estimator.__dict__.pop("_trainer", None)
    elif isinstance(estimator, Pipeline) and estimator.steps:
        if isinstance(estimator.memory, TransformerCache):
            estimator.memory = None
        remove_trainer(estimator.steps[-1][1])
    elif _transforms_target(estimator):
        remove_trainer(estimator.regressor)
        remove_trainer(getattr(estimator, "regressor_", None))


class JobCollected(BaseException):
    """Raised in a fit that reaches its training, to collect the job.

    Parameters
    ----------
    job : TrainingJob
        What would be trained.

    estimator : estimator
        The one that fits.

    digests : list of bytes
        Fingerprints of the data.
    """

    def __init__(
        self, job: TrainingJob, estimator: Any, digests: Sequence[bytes]
    ) -> None:
        super().__init__()
        # a copy: the fit, when it ends, resets attributes that a score reads
        self.estimator, self.digests = copy.copy(estimator), digests
        self.job = _bound_to(self.estimator, job)
        self.key = job_key(job, estimator, digests)

    def variant(self, parameters: dict[str, Any]) -> JobCollected:
        """Return the job of the same network with other hyperparameters."""
        estimator = copy.copy(self.estimator).set_params(**parameters)
        estimator._validate_params()
        plan, job = estimator._read_parameters(False), self.job
        estimator._random_state = copy.deepcopy(job.random_state)
        data = FitData(job.X, job.y, job.sample_weight, None, estimator, job.columns)
        data = with_columns(estimator, plan, data)
        network = estimator._network(plan, data)
        validation = _with_noise(estimator, plan, data, job)
        job = make_job(network, data, job.rows, validation)
        return JobCollected(job, estimator, self.digests)


def _with_noise(
    estimator: Any, plan: FitPlan, data: FitData, job: TrainingJob
) -> Validation | None:
    """Return the validation of a job with the noise of other parameters."""
    validation = job.validation
    if validation is None:
        return None
    before = None if validation.noise is None else validation.noise.settings
    if plan.noise_of("validation") == before:
        return validation
    # of one network: the seed is drawn where its job begins
    noise = held_out_noise(plan, data, job.random_state)
    rows = Rows(validation.X, validation.y, validation.sample_weight)
    return validation_of(
        estimator, rows, validation.rows, scoring=plan.scoring, noise=noise
    )


def _bound_to(estimator: Any, job: TrainingJob) -> TrainingJob:
    """Return a job whose outputs another estimator decodes and scores."""
    validation = job.validation
    if validation is not None and validation.score is not None:
        score = dataclasses.replace(cast(Any, validation.score), estimator=estimator)
        validation = dataclasses.replace(validation, score=score)
    return dataclasses.replace(
        job,
        decode=estimator._decode,
        decode_targets=estimator._decode_targets,
        validation=validation,
    )


class PretrainedResults:
    """Results of trainings, for estimators that would train the same.

    The ``_trainer`` of the estimators of a search, which their copies share. A job without
    a result is trained when it is asked for.

    Parameters
    ----------
    folder : Path or None
        Where the results are stored for other processes, None if there are none.

    client : distributed.Client or None, default=None
        Of a cluster, whose workers are sent the results: they may not see the folder.

    Attributes
    ----------
    is_collecting : bool
        Whether to collect jobs instead of handing out results.
    """

    def __init__(self, folder: Path | None = None, client: Any = None) -> None:
        self.folder, self.client = folder, client
        self.is_collecting = False
        self._results: dict[str, TrainingResult] = {}
        # name of the results that were sent to the workers of a cluster
        self._sent: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        # other processes read the folder, or what they were sent
        state = {"folder": self.folder, "client": None, "_sent": self._sent}
        return {**state, "is_collecting": False, "_results": {}}

    def train(
        self,
        estimator: Any,
        jobs: Sequence[TrainingJob],
        observer: Observer | None = None,
    ) -> list[TrainingResult]:
        """Return the results of an estimator's jobs, as the engine would."""
        if self.is_collecting:
            (job,) = jobs
            raise JobCollected(job, estimator, data_digests(job))
        remove_trainer(estimator)  # a scorer may store it when it is fitted
        result = None
        if len(jobs) == 1 and (self._results or self._sent or self.folder is not None):
            (job,) = jobs
            result = self._find(job_key(job, estimator, data_digests(job)))
        if result is not None:
            return [_copied_for(estimator, result)]
        from ..training import fit_models

        return fit_models(jobs, n_jobs=estimator.n_jobs, observer=observer)

    def add(self, key: str, result: TrainingResult) -> None:
        """Store the result of a job under its key."""
        if self.folder is None:
            self._results[key] = result
            return
        path = self.folder / key
        try:
            with open(path, "wb") as file:
                pickle.dump(result, file, protocol=pickle.HIGHEST_PROTOCOL)
        except OSError:  # the disk is full: the fit itself trains again
            with contextlib.suppress(OSError):
                path.unlink()

    def send(self) -> None:
        """Send what was added to the workers of a cluster."""
        if self.client is None or not self._results:
            return
        if self._sent is None:
            self._sent = uuid.uuid4().hex
        # not by scatter: dask drops the copies of what no task depends on
        self.client.run(_keep, self._sent, self._results)
        self._results = {}

    def clear(self) -> None:
        """Drop all results: every estimator trains by itself from now on."""
        if self.client is not None and self._sent is not None:
            self.client.run(_drop, self._sent)
        self.folder, self.client, self._results, self._sent = None, None, {}, None

    def _find(self, key: str) -> TrainingResult | None:
        if self.folder is None:
            sent = _of_worker.get(self._sent, {})
            return self._results.get(key) or sent.get(key)
        try:
            with open(self.folder / key, "rb") as file:
                result: TrainingResult = pickle.load(file)
                return result
        except (OSError, EOFError, pickle.UnpicklingError):
            # not trained, on another machine, or cut short
            return None


# on a worker of a cluster: results of searches, by name
_of_worker: dict[str | None, dict[str, TrainingResult]] = {}


def _keep(name: str, results: dict[str, TrainingResult]) -> None:
    _of_worker.setdefault(name, {}).update(results)


def _drop(name: str) -> None:
    _of_worker.pop(name, None)


def _copied_for(estimator: Any, result: TrainingResult) -> TrainingResult:
    """Return a copy of a result that one estimator owns."""
    result = copy.deepcopy(result)
    if estimator.random_state is None:
        # the global generator continues from its own state
        result = dataclasses.replace(result, random_state=estimator._random_state)
    return result


# -- keys ----------------------------------------------------------------------------------


def data_digests(job: TrainingJob) -> list[bytes]:
    """Return the fingerprints of a job's data, then of validation data of its own."""
    digests = [digest_of([getattr(job, name)]) for name in DATA]
    validation = job.validation
    if validation is not None and validation.rows is None:
        digests += [digest_of([getattr(validation, name)]) for name in DATA]
    return digests


def job_key(job: TrainingJob, estimator: Any, digests: Sequence[bytes]) -> str:
    """Return a fingerprint of everything that a training depends on."""
    digest = hashlib.blake2b(b"".join(digests), digest_size=20)
    parts: list[Any] = []
    validation = job.validation
    noise = None if validation is None else validation.noise
    if estimator.random_state is not None:
        parts += [*job.weights.coefs, *job.weights.intercepts, job.rows]
        parts += [None if validation is None else validation.rows]
        if noise is not None:
            digest.update(repr(noise.seed).encode())
        digest.update(repr(state_key(job.random_state)).encode())
    digest.update(digest_of(parts))
    rows = None if validation is None else validation.rows
    n_kept = None if rows is None else len(rows)
    scoring = None if validation is None else estimator.scoring
    described = job.layer_units, job.settings, job.epochs, job.n_samples, n_kept
    judged = scoring, None if noise is None else noise.settings
    digest.update(repr((*described, *judged)).encode())
    return digest.hexdigest()


class SharedArrays:
    """One object for equal arrays of several jobs."""

    def __init__(self) -> None:
        self._arrays: dict[bytes, Matrix | None] = {}

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        arrays = [array for array in self._arrays.values() if array is not None]
        return sum(map(n_bytes, arrays))

    def _share(
        self, owner: TrainingJob | Validation, digests: Sequence[bytes]
    ) -> list[Any]:
        return [
            self._arrays.setdefault(digest, getattr(owner, name))
            for name, digest in zip(DATA, digests, strict=True)
        ]

    def job(
        self, job: TrainingJob, digests: Sequence[bytes], label: str
    ) -> TrainingJob:
        """Return a job on shared arrays, given the fingerprints of its data."""
        of_training, of_validation = digests[: len(DATA)], digests[len(DATA) :]
        X, y, sample_weight = self._share(job, of_training)
        validation = job.validation
        if validation is not None:
            arrays = [X, y, sample_weight]
            if of_validation:
                arrays = self._share(validation, of_validation)
            values = dict(zip(DATA, arrays, strict=True))
            validation = dataclasses.replace(validation, **values)
        return dataclasses.replace(
            job,
            X=X,
            y=y,
            sample_weight=sample_weight,
            validation=validation,
            keeps_state=False,
            settings=dataclasses.replace(job.settings, label=label),
        )
