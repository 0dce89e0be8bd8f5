"""Whether estimators train on a device what they train on the CPU."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from _cuda_runs import ROOT, Run, graph_fields, noted_graphs
from scipy.sparse import csr_matrix
from sklearn.metrics import log_loss
from skorch.callbacks import Callback

import sksharp
from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV
from sksharp.nets import SAMNetClassifier
from sksharp.options import SAM, SWA, Huber, InputNoise, Quantile, Snapshots
from sksharp.options.schedules import SCHEDULES
from sksharp.options.solvers import SOLVERS
from sksharp.training._device import GRAPHS_VARIABLE

# after 20 steps, by dtype
TOLERANCES = {"float32": 1e-4, "float64": 1e-10}
# of the scores of fits that choose
SCORE_TOLERANCE = 1e-3

N_ROWS, BATCH_SIZE, EPOCHS = 80, 20, 5  # 20 steps
rng = np.random.RandomState(0)
X = rng.normal(size=(N_ROWS, 6))
LOGITS = X @ rng.normal(size=(6, 3)) + rng.normal(size=(N_ROWS, 3))
TARGETS = {
    "classes": LOGITS.argmax(axis=1),
    "two": (LOGITS[:, 0] > 0).astype(int),
    "labels": (LOGITS > 0).astype(int),
    "number": LOGITS[:, 0],
    "numbers": LOGITS,
    "counts": np.abs(LOGITS[:, 0]).round(),
}
WEIGHTS = 1.0 + np.arange(N_ROWS) % 3


def fit(estimator: Any, X: Any, y: Any) -> Any:
    """Fit."""
    return estimator.fit(X, y)


def fit_weighted(estimator: Any, X: Any, y: Any) -> Any:
    """Fit with weights of the rows."""
    return estimator.fit(X, y, sample_weight=WEIGHTS)


def fit_sparse(estimator: Any, X: Any, y: Any) -> Any:
    """Fit to a sparse matrix."""
    return estimator.fit(csr_matrix(np.where(np.abs(X) > 0.7, X, 0)), y)


def fit_validated(estimator: Any, X: Any, y: Any) -> Any:
    """Fit with rows to validate with."""
    return estimator.fit(X, y, X_val=X[:30], y_val=y[:30])


def fit_twice(estimator: Any, X: Any, y: Any) -> Any:
    """Fit, and go on."""
    return estimator.fit(X, y).fit(X, y)


def fit_in_parts(estimator: Any, X: Any, y: Any) -> Any:
    """Train by ``partial_fit``."""
    estimator.partial_fit(X, y, classes=np.unique(y))
    for _ in range(EPOCHS - 1):
        estimator.partial_fit(X, y)
    return estimator


@dataclass(frozen=True)
class Check:
    """A fit that is to be the same on a device and on the CPU.

    Parameters
    ----------
    name : str
        What it is of.

    params : dict
        Parameters of the estimator.

    target : str, default='classes'
        Key of ``TARGETS``.

    train : callable, default=fit
        Takes the estimator and the data.
    """

    name: str
    params: dict[str, Any]
    target: str = "classes"
    train: Callable[[Any, Any, Any], Any] = fit

    def trained(self, device: str, dtype: str) -> Any:
        """Return the estimator, fitted."""
        y = TARGETS[self.target]
        is_regression = self.target in ("number", "numbers", "counts")
        cls = SAMMLPRegressor if is_regression else SAMMLPClassifier
        common = {
            "hidden_layer_sizes": (12, 8),
            "batch_size": BATCH_SIZE,
            "max_iter": EPOCHS,
            "n_iter_no_change": 100,
            "random_state": 0,
            "rho": 0.05,
        }
        estimator = cls(**{**common, **self.params, "device": device})
        return self.train(estimator, X.astype(dtype), y)


def weight_checks() -> Iterator[Check]:
    """Yield what is compared by its weights."""
    for solver in SOLVERS:
        for base in SOLVERS[solver]().allowed_bases() or ["adam"]:
            name = f"{solver} over {base}" if solver != base else solver
            yield Check(name, {"solver": solver, "base_solver": base})
    yield Check("sam, interval=3", {"solver": SAM(interval=3)})
    yield Check("sam, start=0.5", {"solver": SAM(start=0.5)})
    yield Check("sam, micro_batch_size=7", {"solver": SAM(micro_batch_size=7)})
    averages: dict[str, dict[str, Any]] = {
        "swa": {"swa": True},
        "swa, lr and cycle": {"swa": SWA(start=1, lr=1e-4, cycle=1)},
        "ema_decay": {"ema_decay": 0.9},
        "ema_decay='auto'": {"ema_decay": "auto"},
        "snapshots": {"snapshots": Snapshots(n=2)},
    }
    for name, params in averages.items():
        yield Check(name, params)
    for schedule in SCHEDULES:
        yield Check(f"{schedule} schedule", {"learning_rate": schedule, "warmup": 0.2})
    for schedule in ("constant", "invscaling", "adaptive"):
        yield Check(f"{schedule} rate", {"solver": "sgd", "learning_rate": schedule})
    for activation in ("identity", "logistic", "tanh"):
        yield Check(activation, {"activation": activation})
    yield Check("dropout", {"dropout": [0.1, 0.3, 0.3]})
    yield Check("input_noise", {"input_noise": InputNoise(std=0.5, missing=0.1)})
    yield Check("class_weight", {"class_weight": "balanced"})
    for target in ("two", "labels", "number", "numbers"):
        yield Check(f"target: {target}", {}, target)
    losses = (
        "poisson",
        "absolute_error",
        Huber(delta=0.5),
        Quantile(quantile=[0.1, 0.9]),
    )
    for loss in losses:
        target = "counts" if loss == "poisson" else "number"
        yield Check(f"loss: {loss}", {"loss": loss}, target)
    yield Check("sample_weight", {}, train=fit_weighted)
    yield Check("sparse", {}, train=fit_sparse)
    yield Check("sparse, dropout", {"dropout": [0.1, 0.3, 0.3]}, train=fit_sparse)
    yield Check("X_val", {"early_stopping": True}, train=fit_validated)
    yield Check("early_stopping", {"early_stopping": True})
    yield Check("warm_start", {"warm_start": True}, train=fit_twice)
    yield Check("partial_fit", {}, train=fit_in_parts)
    yield Check("partial_fit, ranger", {"solver": "ranger"}, train=fit_in_parts)
    yield Check("members", {"n_members": 3})


def arrays_of(estimator: Any) -> list[np.ndarray]:
    """Return weights and predictions of a fitted estimator."""
    arrays = []
    for network in getattr(estimator, "members_", None) or [estimator]:
        arrays += [*network.coefs_, *network.intercepts_]
    predict = getattr(estimator, "predict_proba", estimator.predict)
    return [*arrays, np.asarray(predict(X.astype(arrays[0].dtype)))]


def distance(a: Any, b: Any) -> float:
    """Return the largest difference of weights and predictions, NaN if one is."""
    pairs = zip(arrays_of(a), arrays_of(b), strict=True)
    return float(np.max([np.abs(x - y).max() for x, y in pairs]))


def judged(difference: float, tolerance: float, **more: Any) -> dict[str, Any]:
    """Return a difference and whether it is allowed; NaN is not."""
    is_ok = bool(difference <= tolerance) and all(
        value for value in more.values() if isinstance(value, bool)
    )
    return {"difference": difference, "tolerance": tolerance, "ok": is_ok, **more}


def compare_weights(check: Check, dtype: str, device: str) -> dict[str, Any]:
    """Compare weights and predictions of a device with those of the CPU.

    With graphs, if they are captured, and without.
    """
    theirs = check.trained("cpu", dtype)
    with noted_graphs() as graphs:
        difference = distance(check.trained(device, dtype), theirs)
    with mock.patch.dict(os.environ, {GRAPHS_VARIABLE: "0"}):
        launched = distance(check.trained(device, dtype), theirs)
    # the larger one, or NaN
    worst = float(np.max([difference, launched]))
    return judged(worst, TOLERANCES[dtype], **graph_fields(graphs))


# -- fits that choose ------------------------------------------------------------------

LARGE_X = rng.normal(size=(900, 6))
NOISY = LARGE_X[:, 0] * LARGE_X[:, 1] + 0.5 * rng.normal(size=900)
CHOICES: dict[str, tuple[Any, dict[str, Any]]] = {
    "rho='auto'": (SAMMLPClassifier, {"rho": "auto"}),
    "rho='auto', regressor": (SAMMLPRegressor, {"rho": "auto"}),
    "rho=[0, 0.1, 1]": (SAMMLPClassifier, {"rho": [0, 0.1, 1]}),
    "rho='auto', asam": (SAMMLPClassifier, {"rho": "auto", "solver": "asam"}),
    "rho='auto', 3 members": (SAMMLPClassifier, {"rho": "auto", "n_members": 3}),
    "3 members": (SAMMLPClassifier, {"rho": 0.1, "n_members": 3}),
    "5 members as for tables": (
        SAMMLPClassifier,
        {
            "rho": [0.0],
            "base_solver": "adamw",
            "n_members": 5,
            "early_stopping": True,
            "learning_rate": "cosine",
            "ema_decay": 0.99,
            "dropout": 0.1,
            "scoring": "refined_loss",
        },
    ),
}


def compare_choice(name: str, device: str) -> dict[str, Any]:
    """Compare the radius and the score of a fit that chooses."""
    cls, params = CHOICES[name]
    train, test = slice(600), slice(600, None)
    y = NOISY if cls is SAMMLPRegressor else (NOISY > 0).astype(int)
    found = []
    for where in (device, "cpu"):
        network = cls(
            hidden_layer_sizes=(16,),
            max_iter=15,
            random_state=0,
            device=where,
            **params,
        )
        network.fit(LARGE_X[train], y[train])
        if cls is SAMMLPRegressor:
            score = network.score(LARGE_X[test], y[test])
        else:
            score = -log_loss(y[test], network.predict_proba(LARGE_X[test]))
        found.append((getattr(network, "rho_", None), score))
    (ours, score), (theirs, expected) = found
    return judged(
        abs(score - expected), SCORE_TOLERANCE, same_radius=ours == theirs, rho=ours
    )


def compare_search(device: str) -> dict[str, Any]:
    """Compare the scores of all candidates of a vectorized search."""
    y = (NOISY > 0).astype(int)
    grid = {"rho": [0, 0.05, 0.2], "alpha": [1e-4, 1e-2]}
    found = []
    for where in (device, "cpu"):
        network = SAMMLPClassifier((16,), max_iter=10, random_state=0, device=where)
        search = VectorizedGridSearchCV(network, grid, scoring="neg_log_loss", cv=3)
        found.append(search.fit(LARGE_X[:600], y[:600]))
    ours, theirs = (search.cv_results_["mean_test_score"] for search in found)
    same = found[0].best_params_ == found[1].best_params_
    return judged(
        float(np.abs(ours - theirs).max()), SCORE_TOLERANCE, same_candidate=bool(same)
    )


# -- callbacks, repetition, nets and files -----------------------------------------------


class Places(Callback):
    """Note where the weights are, and how often it is called."""

    def initialize(self) -> Places:
        """Begin anew."""
        self.n_batches, self.devices = 0, set()
        return self

    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        """Look at the weights."""
        self.n_batches += 1
        self.devices |= {p.device.type for p in net.module_.parameters()}


def check_callbacks(device: str) -> dict[str, Any]:
    """Train with a callback on every step."""
    places = Places()
    check = Check("callbacks", {"callbacks": [places]})
    ours = check.trained(device, "float64")
    plain = Check("callbacks", {}).trained("cpu", "float64")
    return judged(
        distance(ours, plain),
        TOLERANCES["float64"],
        on_the_device=places.devices == {device},
        every_step=places.n_batches == EPOCHS * N_ROWS // BATCH_SIZE,
    )


def check_repetition(device: str) -> dict[str, Any]:
    """Train twice on the device: the bits are to be the same."""
    check = Check("twice", {"n_members": 3, "dropout": 0.1})
    twice = [check.trained(device, "float32") for _ in range(2)]
    return judged(distance(*twice), 0.0)


class Net(torch.nn.Module):
    """A small module with batch normalization."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(n_features_in, 16, bias=False),
            torch.nn.BatchNorm1d(16),
            torch.nn.ReLU(),
            torch.nn.Linear(16, n_outputs),
        )

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return the outputs for rows."""
        outputs: torch.Tensor = self.layers(X)
        return outputs


def check_net(device: str) -> dict[str, Any]:
    """Train a skorch net, and pickle it."""
    nets = [
        SAMNetClassifier(
            Net, max_epochs=EPOCHS, batch_size=BATCH_SIZE, random_state=0, device=where
        ).fit(X.astype("float32"), TARGETS["classes"])
        for where in (device, "cpu")
    ]
    ours, theirs = (net.predict_proba(X.astype("float32")) for net in nets)
    again = pickle.load(io.BytesIO(pickle.dumps(nets[0])))
    same = np.array_equal(again.predict_proba(X.astype("float32")), ours)
    difference = float(np.abs(ours - theirs).max())
    return judged(difference, TOLERANCES["float32"], pickled=bool(same))


# predicts where no GPU is seen, and goes on with the training there
READER = """
import pickle, sys
from pathlib import Path
import numpy as np
import sksharp
folder = Path(sys.argv[1])
X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
expected = np.load(folder / "expected.npy")
loaded = sksharp.load(folder / "model.sksharp")
pickled = pickle.loads((folder / "model.pickle").read_bytes())
assert "torch" not in sys.modules, "a prediction has imported torch"
for model in (loaded, pickled):
    assert np.array_equal(model.predict_proba(X), expected)
import torch
assert not torch.cuda.is_available()
loaded.set_params(device="auto").partial_fit(X, y)
assert np.isfinite(loaded.predict_proba(X)).all()
print("read")
"""


def check_files(device: str) -> dict[str, Any]:
    """Fit on the device, and read file and pickle in a process without CUDA."""
    model = Check("file", {"solver": "ranger"}).trained(device, "float32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sksharp.save(model, folder / "model.sksharp")
        (folder / "model.pickle").write_bytes(pickle.dumps(model))
        single = X.astype("float32")
        np.save(folder / "X.npy", single)
        np.save(folder / "y.npy", TARGETS["classes"])
        np.save(folder / "expected.npy", model.predict_proba(single))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-c", READER, name],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path},
            text=True,
            capture_output=True,
            timeout=120,
        )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])
    return {"ok": done.stdout.strip() == "read"}


def run(part: Run) -> None:
    """Make all checks, those that nothing else covers first."""
    device = part.device
    part.row("callbacks", lambda: check_callbacks(device))
    part.row("twice on the device", lambda: check_repetition(device))
    part.row("SAMNetClassifier", lambda: check_net(device))
    part.row("read without CUDA", lambda: check_files(device))
    part.row("vectorized search", lambda: compare_search(device))
    for name in CHOICES if not part.is_dry else list(CHOICES)[-2:]:
        part.row(name, lambda name=name: compare_choice(name, device))
    checks = list(weight_checks())
    for dtype in TOLERANCES:
        # a dry run takes every seventh: this shows that the script works, not the package
        for check in checks[:: part.pick(1, 7)]:
            part.row(
                check.name,
                lambda check=check, dtype=dtype: compare_weights(check, dtype, device),
                dtype=dtype,
            )


def run_tests(part: Run) -> None:
    """Run the tests that are marked for CUDA."""
    files = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "mark.cuda" in path.read_text() and path.name != "test_benchmarks.py"
    )

    def run_files() -> dict[str, Any]:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-m",
                "cuda and not slow",
                "-q",
                "-rs",
                *files,
            ],
            cwd=ROOT,
            text=True,
            capture_output=True,
            timeout=max(30.0, part.left),
        )
        lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
        print(*lines[-30:], sep="\n")
        return {"ok": done.returncode == 0, "summary": lines[-1], "files": files}

    part.row("marked tests", run_files)
