"""What each of two processes does, started by torchrun with a folder as argument."""

import contextlib
import faulthandler
import io
import os
import pickle
import sys
import warnings
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from cases import LOCAL, REDUCED, classes, classifier, weights_of
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from sksharp import VectorizedGridSearchCV, checkpoints, progress
from sksharp.checkpointing import _saves
from sksharp.distributed import data_parallel
from sksharp.exceptions import UnusedParameterWarning
from sksharp.optim import (
    ASAM,
    GSAM,
    MSAM,
    SAM,
    Adam,
    FriendlySAM,
    Lookahead,
    Muon,
    Ranger,
    YellowFin,
)
from sksharp.training._loop import Loop

warnings.simplefilter("ignore", ConvergenceWarning)
warnings.simplefilter("ignore", UnusedParameterWarning)


def fits():
    """Return every case, done alone and in both ways by two."""
    alone = {name: case() for name, case in REDUCED.items()}
    in_parts = {name: case(solver__micro_batch_size=8) for name, case in LOCAL.items()}
    with data_parallel() as ranks:
        reduced = {name: case() for name, case in REDUCED.items()}
    with data_parallel("local"):
        local = {name: case() for name, case in LOCAL.items()}
    return {
        "alone": alone,
        "reduced": reduced,
        "in parts": in_parts,
        "local": local,
        "ranks": (ranks.rank, ranks.world_size, ranks.is_first),
    }


def count_exchanges():
    """Return how many gradients an epoch of 4 minibatches exchanges."""
    n_weights = len(weights_of(classifier(max_iter=1).fit(*classes(64))))
    all_reduce, counts = dist.all_reduce, {}
    for first_pass in ("reduced", "local"):
        sizes = []

        def counting(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            all_reduce(tensor)

        dist.all_reduce = counting
        try:
            with data_parallel(first_pass):
                classifier(max_iter=1).fit(*classes(64))
        finally:
            dist.all_reduce = all_reduce
        counts[first_pass] = sizes.count(n_weights)
    return counts


def errors():
    """Return what unlike processes are told, and whether anything is left of a fit."""
    rank = dist.get_rank()
    X, y = classes()
    other = X + rank
    told = {}

    def refused(name, estimator, *data, first_pass="reduced", **params):
        with data_parallel(first_pass):
            try:
                estimator.fit(*data, **params)
            except ValueError as error:
                told[name] = str(error), hasattr(estimator, "coefs_")

    def judged(**other):
        data = {"X_val": X, "y_val": y, "sample_weight_val": np.ones(len(y)), **other}
        (name,) = other
        refused(name, classifier(early_stopping=True), X, y, **data)

    refused("X", classifier(), other, y)
    refused("y", classifier(), X, np.roll(y, rank))
    refused("sample_weight", classifier(), X, y, sample_weight=1.0 + rank * (y == 0))
    refused("random_state", classifier(random_state=rank), X, y)
    refused("no random_state", classifier(random_state=None), X, y)
    refused("parameters", classifier(alpha=0.1 * rank), X, y)
    scoring = "refined_loss" if rank else "loss"
    refused("scoring", classifier(early_stopping=True, scoring=scoring), X, y)
    refused("callbacks", classifier(callbacks=[Callback()]), X, y)
    of_second = [Callback()] if rank else None
    refused("callbacks of the second", classifier(callbacks=of_second), X, y)
    judged(X_val=other)
    judged(y_val=np.roll(y, rank))
    judged(sample_weight_val=1.0 + rank * (y == 0))
    for solver in ("wsam", "gsam", "looksam", "friendly_sam"):
        refused(solver, classifier(solver=solver), X, y, first_pass="local")
    return told


def printed():
    """Return what a verbose fit prints."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), data_parallel():
        classifier(verbose=True).fit(*classes())
    return stream.getvalue()


def printed_of_many():
    """Return what verbose choices and searches print, and what progress shows."""
    stream, bar = io.StringIO(), io.StringIO()
    grid = {"rho": [0.1, 0.2]}
    with (
        contextlib.redirect_stdout(stream),
        progress(delay=0, mininterval=0, file=bar),
        data_parallel(),
    ):
        classifier(rho=[0.1], verbose=True).fit(*classes(120))
        search = VectorizedGridSearchCV(classifier(), grid, cv=2, verbose=1)
        search.fit(*classes(60))
    with progress(delay=0, mininterval=0, file=bar):
        print("alone", file=bar)
        classifier().fit(*classes())
    return stream.getvalue(), bar.getvalue()


class Stop:
    """Asks for the end of a fit when so many epochs are over."""

    def __init__(self, epoch):
        self.epoch, self.n_told = epoch, 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "epoch":
            # what it predicts with is made by this process alone
            assert len(fitted_estimator.loss_curve_) == self.n_told + 1
            self.n_told += 1
        return self.n_told == self.epoch


def stopped():
    """Return how long fits are that callbacks of one process or both stop."""
    lengths = {}
    for name, epochs in {
        "first": (2, None),
        "second": (None, 2),
        "both": (3, 2),
    }.items():
        clf, epoch = classifier(), epochs[dist.get_rank()]
        if not hasattr(clf, "set_callbacks"):
            return None
        callbacks = [] if epoch is None else [Stop(epoch)]
        with data_parallel():
            clf.set_callbacks(*callbacks).fit(*classes())
        n_told = [callback.n_told for callback in callbacks]
        lengths[name] = clf.n_iter_, n_told, weights_of(clf)
    return lengths


def left_as_found():
    """Return whether a fit leaves the generators, the threads and the dtype."""

    def state():
        numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
        torch_state = torch.get_rng_state().tolist()
        return (
            numpy_state,
            torch_state,
            torch.get_num_threads(),
            torch.get_default_dtype(),
        )

    before = state()
    with data_parallel():
        classifier().fit(*classes())
    return before == state()


def modules():
    """Return the weights of a module of one's own after some steps, in four ways."""
    X, y = (torch.tensor(array) for array in classes(64))

    def trained(first_pass, rows_of_step):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        in_two = first_pass is not None
        model = DistributedDataParallel(model) if in_two else model
        optimizer = SAM(model.parameters(), Adam, rho=0.5, lr=0.05)
        if first_pass == "local":
            optimizer.first_pass = model.no_sync

        def closure_of(rows):
            def closure():
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(X[rows]), y[rows])
                loss.backward()
                return loss

            return closure

        for batch in torch.arange(64).split(16):
            closures = [closure_of(rows) for rows in rows_of_step(batch)]
            optimizer.step(closures if len(closures) > 1 else closures[0])
        return torch.cat([p.detach().ravel() for p in model.parameters()]).numpy()

    own = slice(8 * dist.get_rank(), 8 * (dist.get_rank() + 1))
    return {
        "alone": trained(None, lambda batch: [batch]),
        "in parts": trained(None, lambda batch: batch.split(8)),
        "reduced": trained("reduced", lambda batch: [batch[own]]),
        "local": trained("local", lambda batch: [batch[own]]),
    }


SHARDED = {
    "SAM": partial(SAM, base_optimizer=Adam, rho=0.5),
    "SAM, clipped": partial(SAM, rho=0.5, max_grad_norm=0.1),
    "GSAM": partial(GSAM, rho=0.5),
    "ASAM": partial(ASAM, rho=0.5),
    "FriendlySAM": partial(FriendlySAM, rho=0.5),
    "MSAM": partial(MSAM, rho=0.5),
    "Ranger": partial(Ranger, k=2),
    "Muon": Muon,
    "YellowFin": partial(YellowFin, slow_start=10),
}


def shards():
    """Return weights whose rows are shared by processes, and those of one process.

    A layer of 5 rows and one of 3 cannot be cut into two halves, and one has no bias.
    """
    X, y = (torch.tensor(array) for array in classes(32))
    own = slice(16 * dist.get_rank(), 16 * (dist.get_rank() + 1))

    def trained(make, rows, is_shared):
        torch.manual_seed(0)
        layers = (
            nn.Linear(6, 5),
            nn.Tanh(),
            nn.Linear(5, 4),
            nn.Linear(4, 3, bias=False),
        )
        model = nn.Sequential(*layers).double()
        if is_shared:
            fully_shard(model)
        optimizer = make(model.parameters(), lr=0.05)

        def closure():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(X[rows]), y[rows])
            loss.backward()
            return loss

        for _ in range(4):
            optimizer.step(closure)
        weights = [
            getattr(p, "full_tensor", lambda p=p: p)() for p in model.parameters()
        ]
        return torch.cat([w.detach().ravel() for w in weights]).numpy()

    return {
        name: (trained(make, own, True), trained(make, slice(None), False))
        for name, make in SHARDED.items()
    }


def resumed_from_shares():
    """Return weights of a training that was resumed, and of one that was not.

    The state of the base optimizer is shared by the processes.
    """
    # importing it warns of how torch compiles some functions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.distributed.optim import ZeroRedundancyOptimizer

    def base(params, **rest):
        return ZeroRedundancyOptimizer(params, optimizer_class=Adam, **rest)

    friendly = partial(FriendlySAM, base_optimizer=base, rho=0.5)
    X, y = (torch.tensor(array) for array in classes(32))

    def trained(resumed_at=None):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        optimizer = Lookahead(model.parameters(), friendly, k=3, lr=0.05)
        for step in range(8):
            if step == resumed_at:
                optimizer.base_optimizer.base_optimizer.consolidate_state_dict()
                saved = [optimizer.state_dict() if dist.get_rank() == 0 else None]
                dist.broadcast_object_list(saved)
                optimizer = Lookahead(model.parameters(), friendly, k=3, lr=0.05)
                optimizer.load_state_dict(saved[0])

            def closure(optimizer=optimizer):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(X), y)
                loss.backward()
                return loss

            optimizer.step(closure)
        return torch.cat([p.detach().ravel() for p in model.parameters()]).numpy()

    return trained(4), trained()


class Killed(BaseException):
    """Takes the place of the end of a process."""


def killed(folder):
    """Return the weights of a fit, of one that was killed, and the epochs of the rest."""
    train_epoch, trained = Loop.train_epoch, []

    def train(self, lrs):
        trained.append(1)
        if len(trained) == 4:
            raise Killed
        return train_epoch(self, lrs)

    def fit():
        with data_parallel(), checkpoints(folder, interval=0):
            return weights_of(classifier(max_iter=6).fit(*classes(64)))

    whole, _saves.SHARE, Loop.train_epoch = fit(), np.inf, train
    try:
        with contextlib.suppress(Killed):
            fit()
        dist.barrier()
        n_files = len(list(Path(folder).glob("*/*")))
        dist.barrier()
        return whole, fit(), len(trained) - 4, n_files
    finally:
        _saves.SHARE, Loop.train_epoch = 0.02, train_epoch


if __name__ == "__main__":
    # one that waits for ever says where and ends, also if nobody is left to end it
    faulthandler.dump_traceback_later(280, exit=True)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    results = {
        "fits": fits(),
        "exchanges": count_exchanges(),
        "errors": errors(),
        "printed": printed(),
        "printed of many": printed_of_many(),
        "stopped": stopped(),
        "left as found": left_as_found(),
        "modules": modules(),
        "shards": shards(),
        "killed": killed(Path(sys.argv[1]) / "checkpoints"),
        "resumed from shares": resumed_from_shares(),
    }
    with open(Path(sys.argv[1]) / f"{dist.get_rank()}.pkl", "wb") as file:
        pickle.dump(results, file)
    dist.destroy_process_group()
    # threads that fully_shard has left make torch abort when Python ends by itself
    sys.stdout.flush()
    os._exit(0)
