"""Training of many estimators before their ``fit`` is called."""

import contextlib
import copy
import dataclasses
import hashlib
import os
import pickle
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from ._contract import DATA, state_key
from ._estimator import FlatMinimaMLP
from ._progress import say
from ._tasks import has_callbacks, silence
from ._warnings import hold_back, warn_again
from .optim import SOLVERS

# hyperparameters of a training that do not change how it begins
FREE = (
    "alpha",
    "asam_eta",
    "beta_1",
    "beta_2",
    "epsilon",
    "esam_fraction",
    "fisher_eta",
    "friendly_decay",
    "friendly_sigma",
    "gamma",
    "gsam_alpha",
    "learning_rate",
    "learning_rate_init",
    "lookahead_alpha",
    "lr_flat",
    "lr_gamma",
    "lr_milestones",
    "lr_min",
    "lr_step_size",
    "looksam_alpha",
    "looksam_k",
    "micro_batch_size",
    "momentum",
    "n_iter_no_change",
    "power_t",
    "rho",
    "sam_interval",
    "sam_start",
    "tol",
    "warmup",
)


def _transforms_target(estimator):
    # in the function: it comes with linear models, neighbors and more
    from sklearn.compose import TransformedTargetRegressor

    return isinstance(estimator, TransformedTargetRegressor)


def find_network(estimator):
    """Return our estimator inside pipelines and around targets, None if there is none."""
    return locate_network(estimator)[0]


def locate_network(estimator):
    """Return our estimator and the prefix of its parameters, None if there is none."""
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


def forget_trainer(estimator):
    """Let estimators train and remember by themselves again, fitted ones too."""
    if isinstance(estimator, FlatMinimaMLP):
        vars(estimator).pop("_trainer", None)
    elif isinstance(estimator, Pipeline) and estimator.steps:
        if isinstance(estimator.memory, TransformerCache):
            estimator.memory = None
        forget_trainer(estimator.steps[-1][1])
    elif _transforms_target(estimator):
        forget_trainer(estimator.regressor)
        forget_trainer(getattr(estimator, "regressor_", None))


class JobCollected(BaseException):
    """A fit has come to its training job, and ends there."""

    def __init__(self, job, estimator, data):
        super().__init__()
        # the fit that ends takes back what it has set, and a score asks for
        self.estimator, self.data = copy.copy(estimator), data
        self.job = _bound_to(self.estimator, job)
        self.key = job_key(job, estimator, data)

    def sibling(self, parameters):
        """Return the job of the same network with other hyperparameters."""
        estimator = copy.copy(self.estimator).set_params(**parameters)
        estimator._validate_params()
        estimator._check_combinations(False)
        job = self.job
        estimator._random_state = copy.deepcopy(job.random_state)
        job = estimator._job(job.X, job.y, job.sample_weight, job.rows, job.validation)
        return JobCollected(job, estimator, self.data)


class Prefetched:
    """Trains for estimators by handing out what was trained before.

    Copies of an estimator share it. What was not trained before, is trained when it is
    asked for.

    Parameters
    ----------
    folder : Path or None
        Where the results lie for other processes, None if there are none.

    client : distributed.Client or None, default=None
        Of a cluster, whose workers get the results in the place of a folder, which they
        may not see.

    Attributes
    ----------
    is_collecting : bool
        Whether to collect jobs instead of handing out results.
    """

    def __init__(self, folder=None, client=None):
        self.folder, self.client = folder, client
        self.is_collecting = False
        self._results = {}
        # under which name the workers of a cluster keep what was sent to them
        self._sent = None

    def __getstate__(self):
        # other processes read the folder, or what they were sent
        state = {"folder": self.folder, "client": None, "_sent": self._sent}
        return {**state, "is_collecting": False, "_results": {}}

    def train(self, estimator, jobs, watch=None):
        """Return the results of an estimator's jobs, as the engine would."""
        if self.is_collecting:
            (job,) = jobs
            raise JobCollected(job, estimator, data_digests(job))
        forget_trainer(estimator)  # a scorer may store it when it is fitted
        result = None
        if len(jobs) == 1 and (self._results or self._sent or self.folder is not None):
            (job,) = jobs
            result = self._find(job_key(job, estimator, data_digests(job)))
        if result is not None:
            return [_given_to(estimator, result)]
        from .training import fit_models

        return fit_models(jobs, n_jobs=estimator.n_jobs, watch=watch)

    def add(self, key, result):
        """Keep a result until it is asked for."""
        if self.folder is None:
            self._results[key] = result
            return
        path = self.folder / key
        try:
            with open(path, "wb") as file:
                pickle.dump(result, file, protocol=pickle.HIGHEST_PROTOCOL)
        except OSError:  # the disk is full: its own fit trains it again
            with contextlib.suppress(OSError):
                path.unlink()

    def send(self):
        """Let the workers of a cluster have what was added since the last time."""
        if self.client is None or not self._results:
            return
        if self._sent is None:
            self._sent = uuid.uuid4().hex
        # not by scatter: dask drops the copies of what no task depends on
        self.client.run(_keep, self._sent, self._results)
        self._results = {}

    def forget(self):
        """Let every estimator train by itself from now on."""
        if self.client is not None and self._sent is not None:
            self.client.run(_drop, self._sent)
        self.folder, self.client, self._results, self._sent = None, None, {}, None

    def _find(self, key):
        if self.folder is None:
            found = self._results.get(key)
            sent = _kept.get(self._sent, {})
            return sent.get(key) if found is None else found
        try:
            with open(self.folder / key, "rb") as file:
                return pickle.load(file)
        except (OSError, EOFError, pickle.UnpicklingError):
            # not trained, on another machine, or cut short
            return None


# on a worker of a cluster: results of searches, by their names
_kept = {}


def _keep(name, results):
    _kept.setdefault(name, {}).update(results)


def _drop(name):
    _kept.pop(name, None)


def dask_client():
    """Return the client of the cluster that joblib's backend is now, None if none is."""
    backend, _ = joblib.parallel.get_active_backend()
    is_dask = type(backend).__name__ == "DaskDistributedBackend"
    return backend.client if is_dask else None


def _given_to(estimator, result):
    """Return a result for one estimator alone."""
    result = copy.deepcopy(result)
    if estimator.random_state is None:
        # the global generator goes on from where it is
        result = dataclasses.replace(result, random_state=estimator._random_state)
    return result


def _bound_to(estimator, job):
    """Return a job that asks another estimator for labels and scores."""
    validation = job.validation
    if validation is not None and validation.score is not None:
        score = dataclasses.replace(validation.score, estimator=estimator)
        validation = dataclasses.replace(validation, score=score)
    return dataclasses.replace(job, decode=estimator._decode, validation=validation)


def data_digests(job):
    """Return the fingerprints of a job's data, then of its own validation data."""
    digests = [array_digest(getattr(job, name)) for name in DATA]
    if _has_own_validation(job):
        digests += [array_digest(getattr(job.validation, name)) for name in DATA]
    return digests


def _has_own_validation(job):
    """Return whether a job is judged by data of the user's, not by rows of its own."""
    return job.validation is not None and job.validation.rows is None


def job_key(job, estimator, data):
    """Return a fingerprint of everything that a training depends on."""
    digest = hashlib.blake2b(b"".join(data), digest_size=20)
    parts = []
    validation = job.validation
    if estimator.random_state is not None:
        parts += [*job.weights.coefs, *job.weights.intercepts, job.rows]
        parts += [None if validation is None else validation.rows]
        digest.update(repr(state_key(job.random_state)).encode())
    for part in parts:
        _update(digest, part)
    rows = None if validation is None else validation.rows
    n_kept = None if rows is None else len(rows)
    described = job.layer_units, job.settings, job.epochs, job.n_samples, n_kept
    described += (None if validation is None else estimator.scoring,)
    digest.update(repr(described).encode())
    return digest.hexdigest()


def array_digest(array):
    """Return a fingerprint of an array, a sparse matrix or None."""
    digest = hashlib.blake2b(digest_size=20)
    _update(digest, array)
    return digest.digest()


def _update(digest, array):
    if array is None:
        digest.update(b"None")
    elif hasattr(array, "tocsr"):
        rows = array.tocsr()
        for part in (rows.data, rows.indices, rows.indptr):
            _update(digest, part)
    else:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)


class Interned:
    """One object for equal arrays."""

    def __init__(self):
        self._arrays = {}

    @property
    def n_bytes(self):
        """Memory of the arrays."""
        arrays = [array for array in self._arrays.values() if array is not None]
        return sum(map(_n_bytes, arrays))

    def _intern(self, owner, digests):
        return [
            self._arrays.setdefault(digest, getattr(owner, name))
            for name, digest in zip(DATA, digests, strict=True)
        ]

    def job(self, job, data, label):
        """Return a job on interned arrays, given the fingerprints of its data."""
        own, given = data[: len(DATA)], data[len(DATA) :]
        X, y, sample_weight = self._intern(job, own)
        validation = job.validation
        if validation is not None:
            arrays = self._intern(validation, given) if given else (X, y, sample_weight)
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


def _n_bytes(array):
    if hasattr(array, "tocsr"):
        return array.data.nbytes + array.indices.nbytes + array.indptr.nbytes
    return array.nbytes


class TransformerCache:
    """What fitted transformers made of data, for the pipelines of a search.

    It is what a Pipeline asks of its parameter ``memory``. A function of scikit-learn's
    returns rows and the fitted transformer; one of imbalanced-learn's that resamples
    returns rows, their targets and the fitted resampler.

    Parameters
    ----------
    budget : int
        Bytes to keep at most. The oldest are forgotten first.
    """

    def __init__(self, budget):
        self.budget = budget
        self._made = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self):
        # in a pickle a pipeline has the memory that its user gave it
        return type(None), ()

    def __repr__(self):
        # in a message too
        return "None"

    def __deepcopy__(self, memo):
        # the clones of a pipeline share it
        return self

    def cache(self, function, ignore=()):
        """Return the function with a memory, which does not look at some arguments."""
        name_of_function = function.__module__, function.__qualname__

        def cached(*args, **kwargs):
            telling = {name: kwargs[name] for name in kwargs if name not in ignore}
            try:
                key = joblib.hash((name_of_function, args, telling))
            except Exception:  # a lambda, for instance, has no fingerprint
                return function(*args, **kwargs)
            with self._lock:
                made, warned = self._made.get(key, (None, []))
            try:
                if made is None:
                    with hold_back() as warned:
                        made = function(*args, **kwargs)
                    with self._lock:
                        self._made[key] = made, warned
                        self._forget()
            finally:
                warn_again(warned)  # to every fit, as if it were its own
            *data, fitted = made
            # the next step may write to what it is given
            data = [part.copy() if hasattr(part, "copy") else part for part in data]
            return *data, fitted

        return cached

    def _forget(self):
        sizes = [_size_of_output(made) for made, _ in self._made.values()]
        total = sum(sizes)
        for size in sizes[:-1]:
            if total <= self.budget:
                break
            self._made.popitem(last=False)
            total -= size


def _size_of_output(made):
    return sum(map(_size_of, made[:-1]))


def _size_of(data):
    if hasattr(data, "memory_usage"):
        return int(np.sum(data.memory_usage()))
    return _n_bytes(data) if hasattr(data, "tocsr") else getattr(data, "nbytes", 0)


def free_memory():
    """Return how many bytes could be used now, as far as the system tells."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**31


class Prefetch:
    """The training of all candidates of a search on all of its splits.

    Parameters
    ----------
    estimator : estimator
        The search's, with our network as its last step. It is not changed.

    n_jobs : int or None
        Processes to train in.

    budget : int
        Bytes that may be used.

    verbose : int
        Whether to tell how far training is.

    Attributes
    ----------
    estimator : estimator
        A clone whose copies find what was trained.

    seconds : dict of (int, int) to float
        Share of the training time of every candidate and split.
    """

    def __init__(self, estimator, *, n_jobs, budget, verbose):
        self.n_jobs, self.budget, self.verbose = n_jobs, budget, verbose
        self.n_workers = joblib.effective_n_jobs(n_jobs)
        self.seconds = {}
        self._folder = None
        folder, client = None, dask_client()
        if self.n_workers > 1 and client is None:
            folder = self._make_folder()
        self.results = Prefetched(folder, client)
        self.estimator = clone(estimator)
        find_network(self.estimator)._trainer = self.results
        if isinstance(estimator, Pipeline) and estimator.memory is None:
            self.estimator.memory = TransformerCache(budget // 4)

    def __getstate__(self):
        # the search travels to its workers, this does not
        return {}

    def _make_folder(self):
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="sksharp-")
        except OSError:  # no place for it: results stay in memory
            return None
        return Path(self._folder.name)

    def train(self, candidates, splits, X, y, fit_params, watch):
        """Train every candidate on every split, unless its own fit has to do it.

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

        watch : Watchers
            Told of the training.
        """
        from .training import gains_from_others

        self._n_networks = len(candidates) * len(splits)
        self._n_done = 0
        self._watch = watch
        interned, waiting, n_bytes = Interned(), [], 0
        for i, (train, _) in enumerate(splits):
            self._begun = {}
            params = _check_method_params(X, params=fit_params, indices=train)
            for k, candidate in enumerate(candidates):
                found = self._collect(candidate, (X, y, train), params)
                if found is None or not gains_from_others(found.job):
                    self._n_networks -= 1
                    continue
                # a sibling begins on the same data
                label = f"CV {i + 1}/{len(splits)}; {k + 1}/{len(candidates)}"
                found.job = job = interned.job(found.job, found.data, label)
                weights = [*job.weights.coefs, *job.weights.intercepts]
                size = sum(w.nbytes for w in weights) + 2**12
                # the weights themselves, their best and their result
                n_bytes += 3 * size
                waiting.append(((k, i), found.key, job))
                is_much = size * self._n_networks > self.budget // 4
                if self._folder is None and self.results.client is None and is_much:
                    self.results.folder = self._make_folder()
            if n_bytes + interned.n_bytes > self.budget // 2:
                self._begun = {}
                self._train(waiting, is_last=i + 1 == len(splits))
                interned, waiting, n_bytes = Interned(), [], 0
        self._begun = {}
        self._train(waiting, is_last=True)
        watch.finish()

    def _collect(self, candidate, rows, params):
        """Return the job of a candidate's fit, None if it is not for us."""
        network, prefix = locate_network(self.estimator)
        names = {prefix + name: name for name in FREE}
        other = {name: value for name, value in candidate.items() if name not in names}
        key = tuple(sorted((name, id(value)) for name, value in other.items()))
        try:
            with hold_back():  # the fit itself will warn
                if key not in self._begun:
                    found = self._collect_fit(candidate, rows, params)
                    # without a seed, every network is a draw of its own
                    if found is not None and found.estimator.random_state is not None:
                        self._begun[key] = found
                    return found
                # the network begins as that of another candidate
                free = {name: getattr(network, name) for name in FREE}
                free |= {names[n]: v for n, v in candidate.items() if n in names}
                found = self._begun[key].sibling(free)
                return found if _has_one_job(found.estimator) else None
        except Exception:  # which its own fit will raise again
            return None

    def _collect_fit(self, candidate, rows, params):
        """Return the job that a candidate's fit comes to."""
        estimator = clone(self.estimator)
        estimator.set_params(**clone(candidate, safe=False))
        if not _has_one_job(find_network(estimator)):
            return None
        silence(estimator)
        # rows of its own, which a transformer may write to
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

    def _train(self, waiting, is_last):
        if not waiting:
            return
        if is_last and not self._n_done:
            self._watch.expect_no_more()
        from .training import fit_models

        places, keys, jobs = zip(*waiting, strict=True)
        start, n_before = time.perf_counter(), self._n_done
        results = fit_models(
            jobs,
            n_jobs=self.n_jobs,
            on_group=self._report,
            skip_errors=True,
            watch=self._watch or None,
        )
        if any(result is not None and result.is_interrupted for result in results):
            raise KeyboardInterrupt  # nothing is scored yet
        seconds = time.perf_counter() - start
        self._n_done = n_before + len(jobs)
        for place, key, result in zip(places, keys, results, strict=True):
            self.seconds[place] = seconds / len(jobs)
            if result is not None:
                self.results.add(key, result)
        self.results.send()

    def _report(self, n_done, n_jobs):
        if self.verbose > 0:
            say(f"Trained {self._n_done + n_done} of {self._n_networks} networks.")

    def close(self):
        """Forget everything that was trained."""
        self.results.forget()
        forget_trainer(self.estimator)
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.cleanup()


def _has_one_job(network):
    """Return whether the fit of a network is one training that can be done before."""
    return (
        # a network of the grid's own would not find what was trained
        "_trainer" in vars(network or object)
        and network.solver in SOLVERS
        and network.n_members == 1
        and not network._searches()
        and not network.callbacks
        and not has_callbacks(network)
        # another scorer has no name to tell it by
        and (network.scoring is None or isinstance(network.scoring, str))
    )
