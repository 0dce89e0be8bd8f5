"""Training of all candidates of a search together, before their ``fit`` is called."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TypeAlias

import joblib
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from .._jobs import Array, TrainingJob
from .._warnings import record_warnings
from ..checkpointing._context import using
from ..estimators._checkpoints import kept
from ..estimators._parameters import HOLD_OPTIONS, read_parameters
from ..observers._bar import say
from ..observers._observers import Observers
from ..observers._sklearn_callbacks import has_callbacks, silence
from ._cache import TransformerCache
from ._folder import SearchFolder
from ._results import (
    JobCollected,
    PretrainedResults,
    SharedArrays,
    find_network,
    locate_network,
    remove_trainer,
)

Rows: TypeAlias = tuple[
    Any, Any, Array
]  # X, y, and the indices of a split's training set
# indices of candidate and split, key and job
Pending: TypeAlias = tuple[tuple[int, int], str, TrainingJob]

# parameters that change the data of a training or how it starts. All others, and options
# but those of the loss, may differ between variants of one network
START_PARAMETERS = (
    "activation",
    "batch_size",
    "class_weight",
    "cv",
    "early_stopping",
    "ema_decay",
    "hidden_layer_sizes",
    "loss",
    "max_iter",
    "max_steps",
    "n_members",
    "random_state",
    "scoring",
    "solver",
    "base_solver",
    "snapshots",
    "swa",
    "validation_fraction",
    "warm_start",
    "callbacks",
    "device",
    "shuffle",
    "verbose",
)


def dask_client() -> Any:
    """Return the client of joblib's current backend, None unless it is a dask cluster."""
    backend, _ = joblib.parallel.get_active_backend()
    is_dask = type(backend).__name__ == "DaskDistributedBackend"
    return backend.client if is_dask else None


class Pretraining:
    """Training of all candidates of a search on all of its splits.

    Parameters
    ----------
    estimator : estimator
        That of the search, with a network of this package as its last step. It is not
        changed.

    n_jobs : int or None
        Processes to train in.

    budget : int
        Most bytes to use.

    verbose : int
        Whether to print how far training is.

    Attributes
    ----------
    estimator : estimator
        A clone, whose own clones find the results of this training.

    seconds : dict of (int, int) to float
        Share of the training time of every candidate and split.
    """

    def __init__(
        self, estimator: Any, *, n_jobs: int | None, budget: int, verbose: int
    ) -> None:
        self.n_jobs, self.budget, self.verbose = n_jobs, budget, verbose
        self.n_workers = joblib.effective_n_jobs(n_jobs)
        self.seconds: dict[tuple[int, int], float] = {}
        self._folder: SearchFolder | None = None
        folder, client = None, dask_client()
        if self.n_workers > 1 and client is None:
            folder = self._make_folder()
        self.results = PretrainedResults(folder, client)
        self.estimator = clone(estimator)
        network = find_network(self.estimator)
        assert network is not None
        network._trainer = self.results
        if isinstance(estimator, Pipeline) and estimator.memory is None:
            self.estimator.memory = TransformerCache(budget // 4)

    def __getstate__(self) -> dict[str, Any]:
        # the search is sent to its workers, this is not
        return {}

    def _make_folder(self) -> Path | None:
        try:
            self._folder = SearchFolder()
        except OSError:  # the disk is full: results stay in memory
            return None
        return self._folder.path

    def train(
        self,
        candidates: list[dict[str, Any]],
        splits: list[tuple[Array, Array]],
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        observer: Observers,
    ) -> None:
        """Train every candidate on every split, but those that only a fit can train.

        Parameters
        ----------
        candidates : list of dict
            Parameters.

        splits : list of (array of int, array of int)
            Rows to fit and to score on.

        X, y : array-like
            Data.

        fit_params : dict
            Parameters of ``fit``, to be split like the rows.

        observer : Observers
            Called during the training.
        """
        from ..training import gains_from_others

        self._n_networks = len(candidates) * len(splits)
        self._n_done = 0
        self._observer = observer
        shared, pending, n_bytes = SharedArrays(), [], 0
        for i, (train, _) in enumerate(splits):
            self._first_jobs: dict[Any, JobCollected] = {}
            params = _check_method_params(X, params=fit_params, indices=train)
            for k, candidate in enumerate(candidates):
                found = self._collect(candidate, (X, y, train), params)
                if found is None or not gains_from_others(
                    found.job, self._n_networks, self.n_workers
                ):
                    self._n_networks -= 1
                    continue
                self._network = found.estimator
                label = f"CV {i + 1}/{len(splits)}; {k + 1}/{len(candidates)}"
                found.job = job = shared.job(found.job, found.digests, label)
                weights = [*job.weights.coefs, *job.weights.intercepts]
                size = sum(w.nbytes for w in weights) + 2**12
                # the weights at the start, the best ones and the result
                n_bytes += 3 * size
                pending.append(((k, i), found.key, job))
                is_much = size * self._n_networks > self.budget // 4
                if self._folder is None and self.results.client is None and is_much:
                    self.results.folder = self._make_folder()
            if n_bytes + shared.n_bytes > self.budget // 2:
                self._first_jobs = {}
                self._train(pending, is_last=i + 1 == len(splits))
                shared, pending, n_bytes = SharedArrays(), [], 0
        self._first_jobs = {}
        self._train(pending, is_last=True)
        observer.finish()

    def _collect(
        self, candidate: dict[str, Any], rows: Rows, params: dict[str, Any]
    ) -> JobCollected | None:
        """Return the job of a candidate's fit, None if only the fit can train it."""
        network, prefix = locate_network(self.estimator)
        assert network is not None
        own = network.get_params(deep=False).keys()
        free = own - set(START_PARAMETERS)
        names = {
            name: name.removeprefix(prefix)
            for name in candidate
            if name.startswith(prefix) and _is_free(name.removeprefix(prefix), free)
        }
        other = {name: value for name, value in candidate.items() if name not in names}
        key = tuple(sorted((name, id(value)) for name, value in other.items()))
        try:
            # the fit itself will warn
            with record_warnings(), using(None):
                if key not in self._first_jobs:
                    found = self._collect_fit(candidate, rows, params)
                    # without a seed, every network draws anew
                    if found is not None and found.estimator.random_state is not None:
                        self._first_jobs[key] = found
                    return found
                # the network starts as that of another candidate
                values = {name: getattr(network, name) for name in free}
                # without the options that were set for the other
                values |= {
                    name: other.get(prefix + name, getattr(network, name))
                    for name in own & set(HOLD_OPTIONS) - {"loss"}
                }
                values |= {names[n]: v for n, v in candidate.items() if n in names}
                found = self._first_jobs[key].variant(values)
                return found if _has_one_job(found.estimator) else None
        except Exception:  # the fit itself will raise it again
            return None

    def _collect_fit(
        self, candidate: dict[str, Any], rows: Rows, params: dict[str, Any]
    ) -> JobCollected | None:
        """Return the job that a candidate's fit would train."""
        estimator = clone(self.estimator)
        estimator.set_params(**clone(candidate, safe=False))
        if not _has_one_job(find_network(estimator)):
            return None
        silence(estimator)
        # copies of the rows, which a transformer may write to
        X, y = _safe_split(self.estimator, *rows)
        self.results.is_collecting = True
        try:
            if y is None:
                estimator.fit(X, **params)
            else:
                estimator.fit(X, y, **params)
        except JobCollected as collected:
            return collected
        finally:
            self.results.is_collecting = False
        return None

    def _train(self, pending: list[Pending], is_last: bool) -> None:
        if not pending:
            return
        if is_last and not self._n_done:
            self._observer.expect_no_more()
        from ..training import fit_models

        indices, keys, jobs = zip(*pending, strict=True)
        start, n_before = time.perf_counter(), self._n_done
        with kept(self._network):
            results = fit_models(
                jobs,
                n_jobs=self.n_jobs,
                on_group=self._report,
                skip_errors=True,
                observer=self._observer or None,
            )
        if any(result is not None and result.is_interrupted for result in results):
            raise KeyboardInterrupt  # nothing is scored yet
        seconds = time.perf_counter() - start
        self._n_done = n_before + len(jobs)
        for index, key, result in zip(indices, keys, results, strict=True):
            self.seconds[index] = seconds / len(jobs)
            if result is not None:
                self.results.add(key, result)
        self.results.send()

    def _report(self, n_done: int, n_jobs: int) -> None:
        if self.verbose > 0:
            say(f"Trained {self._n_done + n_done} of {self._n_networks} networks.")

    def close(self) -> None:
        """Drop all results."""
        self.results.clear()
        remove_trainer(self.estimator)
        if self._folder is not None:
            self._folder.close()


def _is_free(name: str, free: set[str]) -> bool:
    """Return whether a parameter, or an option, may differ between variants."""
    holder, _, option = name.partition("__")
    # the options of a loss are part of it
    return name in free or bool(option and holder != "loss")


def _has_one_job(network: Any) -> bool:
    """Return whether a fit is one training, whose result the fit itself will find."""
    return (
        # a network from the grid has no trainer
        "_trainer" in vars(network or object)
        and (plan := read_parameters(network)).is_stochastic
        and network.n_members == 1
        and not plan.searches
        and not network.callbacks
        and not has_callbacks(network)
        # the key of a job takes a scorer by its name
        and (network.scoring is None or isinstance(network.scoring, str))
    )
