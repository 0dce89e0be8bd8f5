"""How long does a fit take, next to scikit-learn, a bare torch loop and plain skorch?

    python benchmarks/bench_fit.py              # all rows, writes results/fit.json
    python benchmarks/bench_fit.py sam-100      # the rows whose names begin so

Every row trains the same network on the same data for the same epochs. The figure of a
row is a ratio of CPU times, on one thread, pair by pair in one run.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import _harness as harness
import numpy as np
import torch
from sklearn.datasets import make_classification, make_regression
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sksharp import SAMMLPClassifier, SAMMLPRegressor


@dataclass(frozen=True)
class Row:
    """A network, its data and the target for the ratio to scikit-learn's adam."""

    name: str
    solver: str
    n_samples: int
    n_features: int
    hidden: tuple[int, ...]
    batch_size: int
    epochs: int
    dtype: str
    target: float
    n_classes: int = 2
    is_regression: bool = False


ROWS = [
    Row("sam-32", "sam", 2000, 20, (32,), 64, 20, "float32", 0.95),
    Row("sam-32", "sam", 2000, 20, (32,), 64, 20, "float64", 1.0),
    Row("sam-100", "sam", 4000, 20, (100,), 200, 20, "float32", 1.0),
    Row("sam-100", "sam", 4000, 20, (100,), 200, 20, "float64", 1.1),
    Row("sam-64-64", "sam", 4000, 20, (64, 64), 200, 20, "float32", 1.1),
    Row("sam-128-128", "sam", 4000, 20, (128, 128), 128, 10, "float32", 1.05),
    Row("sam-128-128", "sam", 4000, 20, (128, 128), 128, 10, "float64", 1.4),
    Row("sam-256-256", "sam", 10000, 50, (256, 256), 200, 4, "float32", 1.9, 10),
    Row("adam-100", "adam", 4000, 20, (100,), 200, 20, "float32", 0.6),
    Row("adam-100", "adam", 4000, 20, (100,), 200, 20, "float64", 0.65),
    Row("adam-256-256", "adam", 10000, 50, (256, 256), 200, 4, "float32", 0.95, 10),
    Row("sam-tiny", "sam", 50, 5, (10,), 50, 200, "float64", 2.0),
    Row("regression-100", "sam", 4000, 20, (100,), 200, 20, "float32", 1.05,
        is_regression=True),
]  # fmt: skip


def make_data(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Return data of a row's shape and dtype."""
    if row.is_regression:
        X, y = make_regression(row.n_samples, row.n_features, random_state=0)
        return X.astype(row.dtype), ((y - y.mean()) / y.std()).astype(row.dtype)
    X, y = make_classification(
        row.n_samples,
        row.n_features,
        n_informative=min(10, row.n_features),
        n_redundant=0,
        n_classes=row.n_classes,
        random_state=0,
    )
    return X.astype(row.dtype), y


def settings(row: Row) -> dict[str, Any]:
    """Return the parameters that all estimators of a row share."""
    return {
        "hidden_layer_sizes": row.hidden,
        "batch_size": row.batch_size,
        "max_iter": row.epochs,
        "tol": 0,
        "n_iter_no_change": row.epochs + 1,
        "random_state": 0,
    }


def fixed(solver: str) -> dict[str, Any]:
    """Return a solver, with a radius if it has one, so that none is chosen."""
    return {"solver": solver, **({"rho": 0.05} if solver in ("sam", "wsam") else {})}


def bench_row(row: Row) -> dict[str, Any]:
    """Compare a fit with scikit-learn's adam and with our own."""
    X, y = make_data(row)
    theirs = MLPRegressor if row.is_regression else MLPClassifier
    ours = SAMMLPRegressor if row.is_regression else SAMMLPClassifier
    seconds = harness.measure(
        {
            "sklearn": lambda: theirs(**settings(row)).fit(X, y),
            "ours": lambda: ours(**fixed(row.solver), **settings(row)).fit(X, y),
            "our_adam": lambda: ours(solver="adam", **settings(row)).fit(X, y),
        }
    )
    n_steps = row.epochs * -(-row.n_samples // row.batch_size)
    return {
        **asdict(row),
        "to_sklearn_adam": harness.ratio(seconds["ours"], seconds["sklearn"]),
        "to_our_adam": harness.ratio(seconds["ours"], seconds["our_adam"]),
        "microseconds_per_step": np.median(seconds["ours"]) / n_steps * 1e6,
    }


# -- the same steps without an estimator, and with other people's libraries -------------

PEER_ROW = Row("peers", "sam", 2000, 20, (100,), 200, 100, "float32", 1.15)


def bench_peers(row: Row) -> dict[str, Any]:
    """Compare with a bare loop of our own steps, torch's autograd and plain skorch."""
    X, y = make_data(row)
    peers = {"bare_loop": bare_loop, "autograd": autograd_loop, "skorch": plain_skorch}
    result: dict[str, Any] = {"row": asdict(row)}
    for solver in ("adam", "sam"):
        functions: dict[str, Any] = {
            name: partial(peer, X, y, row, solver) for name, peer in peers.items()
        }
        estimator = SAMMLPClassifier(**fixed(solver), **settings(row))
        functions["sksharp"] = partial(estimator.fit, X, y)
        seconds = harness.measure(functions)
        result[solver] = {
            f"to_{name}": harness.ratio(seconds["sksharp"], seconds[name])
            for name in peers
        }
    return result


def bare_loop(X: np.ndarray, y: np.ndarray, row: Row, solver: str) -> None:
    """Take the engine's steps in a plain loop: gather, gradient, update, loss."""
    from sksharp.training._gradient import Backprop, Batch
    from sksharp.training._losses import LOSSES
    from sksharp.training._module import MLPModule

    estimator = SAMMLPClassifier(**fixed(solver), **settings(row))
    module = MLPModule([row.n_features, *row.hidden, 1], "relu", dtype=torch.float32)
    torch.nn.init.normal_(module.flat, std=0.1)
    gradient = Backprop(module, LOSSES["logistic"], 1e-4)
    optimizer = harness.optimizer_of(estimator, [module.flat], row.n_samples)
    data, target = torch.from_numpy(X), torch.from_numpy(y).float().unsqueeze(1)
    mean = torch.empty(row.batch_size, 1)
    for _ in range(row.epochs):
        losses = []
        for index in torch.randperm(len(data)).split(row.batch_size):
            batch = Batch(data[index], target[index], None, float(len(index)))
            norm = gradient.weight_norm()
            optimizer.step(lambda batch=batch: gradient(batch, mean))
            loss = torch.nn.functional.binary_cross_entropy(mean, batch.y)
            losses.append(loss + 0.5e-4 / len(index) * norm.square())
        torch.stack(losses).mean().item()


def autograd_loop(X: np.ndarray, y: np.ndarray, row: Row, solver: str) -> None:
    """Train as a tutorial of torch would, with its own Adam."""
    model = torch.nn.Sequential(
        torch.nn.Linear(row.n_features, *row.hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(*row.hidden, 1),
    )
    loss_function = torch.nn.BCEWithLogitsLoss()
    data, target = torch.from_numpy(X), torch.from_numpy(y).float().unsqueeze(1)
    params = list(model.parameters())
    optimizer = torch.optim.Adam(params)

    def backward(index: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_function(model(data[index]), target[index])
        loss.backward()
        return loss.detach()

    for _ in range(row.epochs):
        losses = []
        for index in torch.randperm(len(data)).split(row.batch_size):
            losses.append(backward(index))
            if solver == "sam":
                with torch.no_grad():
                    grads = [p.grad for p in params]
                    norm = torch.nn.utils.get_total_norm(grads)
                    start = [p.clone() for p in params]
                    for p, grad in zip(params, grads, strict=True):
                        p.add_(grad * (0.05 / norm))
                backward(index)
                with torch.no_grad():
                    for p, w in zip(params, start, strict=True):
                        p.copy_(w)
            optimizer.step()
        torch.stack(losses).mean().item()


def plain_skorch(X: np.ndarray, y: np.ndarray, row: Row, solver: str) -> None:
    """Train with skorch's defaults and, for SAM, the class of pytorch_optimizer."""
    from pytorch_optimizer import SAM
    from skorch import NeuralNetBinaryClassifier

    class Net(NeuralNetBinaryClassifier):
        """The two passes as a training step, as skorch's maintainers advise."""

        def train_step(self, batch: Any, **fit_params: Any) -> Any:
            if solver != "sam":
                return super().train_step(batch, **fit_params)
            step = self.train_step_single(batch, **fit_params)
            self.optimizer_.first_step(zero_grad=True)
            self.train_step_single(batch, **fit_params)
            self.optimizer_.second_step(zero_grad=True)
            return step

    model = torch.nn.Sequential(
        torch.nn.Linear(row.n_features, *row.hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(*row.hidden, 1),
        torch.nn.Flatten(0),
    )
    sam = {"optimizer": SAM, "optimizer__base_optimizer": torch.optim.Adam}
    net = Net(
        model,
        max_epochs=row.epochs,
        batch_size=row.batch_size,
        lr=1e-3,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        **(sam if solver == "sam" else {"optimizer": torch.optim.Adam}),
    )
    net.fit(X, y.astype(np.float32))


def bench_predict() -> dict[str, float]:
    """Compare ``predict_proba`` with scikit-learn's, on one row and on many."""
    X, y = make_data(ROWS[2])
    theirs = MLPClassifier(max_iter=2, random_state=0).fit(X, y)
    ours = SAMMLPClassifier(rho=0.05, max_iter=2, random_state=0).fit(X, y)
    many = np.tile(X, (25, 1))
    result = {}
    for name, rows, calls in (("one_row", X[:1], 2000), ("100000_rows", many, 3)):
        seconds = harness.measure(
            {
                "sklearn": lambda: [theirs.predict_proba(rows) for _ in range(calls)],  # noqa: B023
                "ours": lambda: [ours.predict_proba(rows) for _ in range(calls)],  # noqa: B023
            }
        )
        result[name] = harness.ratio(seconds["ours"], seconds["sklearn"])
    return result


def main(prefixes: list[str]) -> None:
    """Run the rows and store their figures."""
    rows = []
    for row in ROWS:
        if prefixes and not row.name.startswith(tuple(prefixes)):
            continue
        rows.append(bench_row(row))
        figures = rows[-1]
        print(
            f"{row.name:15s} {row.dtype}  to scikit-learn's adam "
            f"{figures['to_sklearn_adam']:.2f} (target {row.target})  "
            f"to our adam {figures['to_our_adam']:.2f}",
            flush=True,
        )
    if prefixes:
        return
    peers, predict = bench_peers(PEER_ROW), bench_predict()
    print(peers, predict, sep="\n")
    environment = harness.environment("pytorch_optimizer")
    result = {
        "environment": environment,
        "rows": rows,
        "peers": peers,
        "predict": predict,
    }
    print("wrote", harness.save("fit", result))


if __name__ == "__main__":
    main(sys.argv[1:])
