"""Training on CUDA is that on the CPU. Left out where there is no device."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from skorch.callbacks import Callback

import sksharp
from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV
from sksharp.nets import SAMNetClassifier
from sksharp.optim import SAM, scaled_step
from sksharp.options import SWA, Cyclic, Huber, InputNoise, Quantile
from sksharp.training import _fit
from sksharp.training._plan import plan

from .solvers import every_solver

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

rng = np.random.RandomState(0)
X = rng.normal(size=(80, 6))
LOGITS = X @ rng.normal(size=(6, 3)) + rng.normal(size=(80, 3))
y = LOGITS.argmax(axis=1)
TOLERANCES = {"float32": 1e-4, "float64": 1e-10}
# 20 steps
COMMON = {
    "hidden_layer_sizes": (12, 8),
    "rho": 0.05,
    "batch_size": 20,
    "max_iter": 5,
    "n_iter_no_change": 100,
    "random_state": 0,
}


@pytest.fixture(autouse=True, params=["0", "1"], ids=["launched", "graphs"])
def with_and_without_graphs(request, monkeypatch):
    monkeypatch.setenv("SKSHARP_CUDA_GRAPHS", request.param)


def fits(cls=SAMMLPClassifier, target=y, dtype="float64", rows=X, **params):
    """Return fits on CUDA and on the CPU."""
    return [
        cls(**{**COMMON, "device": device, **params}).fit(rows.astype(dtype), target)
        for device in ("cuda", "cpu")
    ]


def arrays_of(clf):
    networks = getattr(clf, "members_", None) or [clf]
    return [w for net in networks for w in (*net.coefs_, *net.intercepts_)]


def assert_same(ours, theirs, atol=1e-10):
    for a, b in zip(arrays_of(ours), arrays_of(theirs), strict=True):
        assert isinstance(a, np.ndarray)
        assert a.dtype == b.dtype
        assert_allclose(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", TOLERANCES)
@every_solver
def test_every_solver_trains_as_on_the_cpu(solver, base_solver, dtype):
    both = fits(solver=solver, base_solver=base_solver, dtype=dtype)
    assert_same(*both, atol=TOLERANCES[dtype])


KINDS = {
    "swa": {"swa": SWA(start=1, lr=1e-4, cycle=1)},
    "ema_decay": {"ema_decay": "auto"},
    "snapshots": {"snapshots": 2},
    "cyclic": {"learning_rate": Cyclic(length=2), "warmup": 0.2},
    "dropout": {"dropout": [0.1, 0.3, 0.3]},
    "input_noise": {"input_noise": InputNoise(std=0.5, missing=0.1)},
    "class_weight": {"class_weight": "balanced"},
    "early_stopping": {"early_stopping": True},
    "tanh": {"activation": "tanh"},
    "sparse": {"rows": csr_matrix(np.where(np.abs(X) > 0.7, X, 0))},
    "two labels": {"target": (LOGITS[:, :2] > 0).astype(int)},
    "regression": {"cls": SAMMLPRegressor, "target": LOGITS},
    "huber": {"cls": SAMMLPRegressor, "target": LOGITS[:, 0], "loss": Huber(delta=0.5)},
    "quantiles": {
        "cls": SAMMLPRegressor,
        "target": LOGITS[:, 0],
        "loss": Quantile(quantile=[0.1, 0.9]),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_training_is_that_on_the_cpu(kind):
    assert_same(*fits(**KINDS[kind]))


def test_partial_fit_goes_on_with_what_another_device_left():
    both = [SAMMLPClassifier(**COMMON, device="cuda") for _ in range(2)]
    for k in range(4):
        for device, clf in zip(("cuda", "cpu" if k % 2 else "cuda"), both, strict=True):
            clf.set_params(device=device).partial_fit(X, y, classes=[0, 1, 2])
    assert_same(*both)


@pytest.mark.parametrize("params", [{"rho": "auto"}, {"rho": [0, 0.5], "n_members": 3}])
def test_a_fit_chooses_the_radius_that_it_chooses_on_the_cpu(params):
    many = rng.normal(size=(300, 6))
    labels = (many[:, 0] * many[:, 1] + 0.5 * rng.normal(size=300) > 0).astype(int)
    ours, theirs = (
        SAMMLPClassifier((16,), max_iter=10, random_state=0, device=device, **params)
        for device in ("cuda", "cpu")
    )
    ours.fit(many, labels)
    theirs.fit(many, labels)
    assert ours.rho_ == theirs.rho_
    assert_allclose(ours.predict_proba(many), theirs.predict_proba(many), atol=1e-3)


def test_a_vectorized_search_has_the_scores_of_the_cpu():
    searches = [
        VectorizedGridSearchCV(
            SAMMLPClassifier(**COMMON, device=device),
            {"rho": [0, 0.1, 0.5], "alpha": [1e-4, 1e-2]},
            scoring="neg_log_loss",
            cv=3,
        ).fit(X, y)
        for device in ("cuda", "cpu")
    ]
    ours, theirs = (search.cv_results_["mean_test_score"] for search in searches)
    assert_allclose(ours, theirs, rtol=1e-8)
    assert_same(*(search.best_estimator_ for search in searches))


def test_a_fit_on_cuda_is_repeated_bit_for_bit():
    params = {**COMMON, "n_members": 3, "dropout": 0.1, "device": "cuda"}
    twice = [SAMMLPClassifier(**params).fit(X, y).predict_proba(X) for _ in range(2)]
    assert_array_equal(*twice)


class Places(Callback):
    def initialize(self):
        self.devices = []
        return self

    def on_batch_end(self, net, **kwargs):
        self.devices += [p.device.type for p in net.module_.parameters()]


def test_callbacks_see_the_weights_on_the_device():
    places = Places()
    ours, theirs = fits(), fits(callbacks=[places])
    SAMMLPClassifier(**COMMON, device="cuda", callbacks=[places]).fit(X, y)
    assert set(places.devices) == {"cuda"}
    assert len(places.devices) >= 20
    assert_same(ours[0], theirs[0])


READER = """
import pickle, sys
import numpy as np, sksharp
X, expected = np.load(sys.argv[1]), np.load(sys.argv[2])
for model in (sksharp.load(sys.argv[3]), pickle.load(open(sys.argv[4], "rb"))):
    np.testing.assert_array_equal(model.predict_proba(X), expected)
import torch
assert not torch.cuda.is_available()
"""


def test_what_was_trained_on_cuda_is_read_without_it(tmp_path):
    clf = fits(solver="ranger")[0]
    names = ["X.npy", "expected.npy", "model.sksharp", "model.pickle"]
    paths = [tmp_path / name for name in names]
    np.save(paths[0], X)
    np.save(paths[1], clf.predict_proba(X))
    sksharp.save(clf, paths[2])
    paths[3].write_bytes(pickle.dumps(clf))
    subprocess.run(
        [sys.executable, "-c", READER, *map(str, paths)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )


def test_a_net_trains_as_on_the_cpu_and_comes_back_from_a_pickle():
    nets = []
    for device in ("cuda", "cpu", "auto"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = torch.nn.Sequential(
                torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
            )
        net = SAMNetClassifier(module, max_epochs=3, random_state=0, device=device)
        nets.append(net.fit(X.astype("float32"), y))
    probas = [net.predict_proba(X.astype("float32")) for net in nets]
    assert_allclose(probas[0], probas[1], atol=1e-4)
    assert_array_equal(probas[0], probas[2])
    again = pickle.loads(pickle.dumps(nets[0]))
    assert_array_equal(again.predict_proba(X.astype("float32")), probas[0])


@pytest.mark.parametrize("overflows", [False, True])
def test_a_scaled_step_on_cuda_is_the_step_without_or_none(overflows):
    models, starts = [], []
    for is_scaled in (True, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = torch.nn.Linear(6, 3).cuda()
        starts.append([p.detach().clone() for p in model.parameters()])
        optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1)
        scaler = torch.amp.GradScaler("cuda", init_scale=2.0**10, enabled=is_scaled)

        def closure(model=model, optimizer=optimizer, scaler=scaler):
            optimizer.zero_grad()
            rows = torch.tensor(X, dtype=torch.float32, device="cuda")
            loss = model(rows).square().mean()
            loss = loss * torch.inf if overflows else loss
            scaler.scale(loss).backward()
            return loss

        if is_scaled or not overflows:
            scaled_step(scaler, optimizer, closure)
        models.append([p.detach() for p in model.parameters()])
    expected = starts[0] if overflows else models[1]
    for a, b in zip(models[0], expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_auto_takes_cuda_for_many_networks_and_the_cpu_for_one(monkeypatch):
    places = []

    def noting(jobs, *args):
        places.append({job.settings.device for job in jobs})
        return plan(jobs, *args)

    monkeypatch.setattr(_fit, "plan", noting)
    common = {**COMMON, "device": "auto", "max_iter": 2}
    SAMMLPClassifier(**common).fit(X, y)
    of_fit = _fit.placed.__globals__
    monkeypatch.setitem(of_fit, "FIT_WORK", 0)
    monkeypatch.setitem(of_fit, "STEP_WORK", 10_000)
    SAMMLPClassifier(**{**common, "n_members": 5, "n_jobs": 2}).fit(X, y)
    SAMMLPClassifier(**common).fit(X, y)
    assert places == [{"auto"}, {"cuda"}, {"auto"}]


FORK = """
import os, sys
import torch
from sksharp.training._device import has_cuda
torch.zeros(1, device="cuda")
assert has_cuda()
child = os.fork()
if not child:
    os._exit(int(has_cuda()))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_fork_of_a_process_with_cuda_has_none():
    subprocess.run([sys.executable, "-c", FORK], check=True)


def test_a_lack_of_memory_is_told_by_the_parameters():
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(MemoryError, match="device='cuda' must have memory"):
            SAMMLPClassifier((2048, 2048), rho=0.1, max_iter=1, device="cuda").fit(X, y)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
