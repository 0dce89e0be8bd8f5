"""A record of what fits come to, number by number, to hold a change of the code against.

    python tests/golden.py check            compare with the record that is stored
    python tests/golden.py write            store a new one: a number was meant to change
    python tests/golden.py write A.json     write one elsewhere, `check A.json` reads it

Where the same libraries compute on the same processor, every bit must be the same. Write
a record of your own before a change if yours is another processor.
"""

import argparse
import json
import platform
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
import scipy.sparse as sp
import sklearn
import threadpoolctl
import torch
from sklearn.base import clone
from sklearn.model_selection import KFold

from sksharp import (
    SAMMLPClassifier,
    SAMMLPRegressor,
    VectorizedGridSearchCV,
    load,
    save,
    tabular_pipeline,
)
from sksharp.options import (
    SAM,
    SWA,
    Cosine,
    FisherSAM,
    LookSAM,
    Ranger,
    Snapshots,
    Step,
)

RECORD = Path(__file__).with_suffix(".json")

# how far numbers may be apart where other libraries or another processor compute
TOLERANCE = {"float64": 1e-8, "float32": 1e-3}

ATTRIBUTES = (
    "loss_curve_",
    "loss_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "n_iter_",
    "t_",
    "n_averaged_",
    "rho_",
    "rho_grid_",
    "rho_losses_",
    "rho_differences_",
    "rho_standard_errors_",
    "rho_scores_",
    "rho_epochs_",
    "oof_prediction_",
    "oof_decision_function_",
)

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
CLASSES = (X @ [1, -1, 0] + rng.normal(size=40) > 0) + (X[:, 2] > 0.7).astype(int)
TARGETS = np.c_[X[:, 0] * X[:, 1], X[:, 2] ** 2] + rng.normal(scale=0.1, size=(40, 2))
LABELS = (X[:, :2] + rng.normal(size=(40, 2)) > 0).astype(int)
COUNTS = rng.poisson(np.exp(X[:, 0]))
WEIGHTS = rng.uniform(0.2, 2, size=40)
X_VAL = rng.normal(size=(15, 3))
CLASSES_VAL = rng.randint(3, size=15)
TARGETS_VAL = rng.normal(size=(15, 2))
# the radius is chosen with 100 rows or more
X_MANY = rng.normal(size=(105, 3))
CLASSES_MANY = (X_MANY[:, 0] + rng.normal(size=105) > 0).astype(int)
TARGETS_MANY = X_MANY[:, 0] * X_MANY[:, 1] + rng.normal(scale=0.1, size=105)
SPARSE = sp.csr_matrix(np.where(np.abs(X) > 0.7, X, 0))
TABLE = pd.DataFrame(
    {
        "height": X[:, 0],
        "tree": np.array(["ash", "oak", None], dtype=object)[CLASSES],
        "year": np.where(X[:, 1] > 1, np.nan, rng.randint(1990, 2000, size=40)),
    }
)

SMALL = {
    "hidden_layer_sizes": (3,),
    "batch_size": 16,
    "learning_rate_init": 0.01,
    "max_iter": 4,
    "rho": 0.1,
    "random_state": 1,
}
FITS = {}


def fit(function):
    """Add a function that returns fitted estimators to the record."""
    FITS[function.__name__.replace("_", " ")] = function
    return function


def classifier(**params):
    return SAMMLPClassifier(**{**SMALL, **params})


def regressor(**params):
    return SAMMLPRegressor(**{**SMALL, **params})


def add(name, estimator, X, y, **fit_params):
    """Add a single fit to the record."""
    FITS[name] = lambda: clone(estimator).fit(X, y, **fit_params)


# -- solvers ---------------------------------------------------------------------------

STOPS = {"early_stopping": True, "validation_fraction": 0.3}

add("sgd", classifier(solver="sgd"), X, CLASSES)
add("sgd, invscaling", regressor(solver="sgd", learning_rate="invscaling"), X, TARGETS)
add(
    "sgd, adaptive",
    classifier(solver="sgd", learning_rate="adaptive", tol=1, n_iter_no_change=1),
    X,
    CLASSES,
)
add("adam, early stopping", classifier(solver="adam", **STOPS), X, CLASSES)
add("ranger", regressor(solver=Ranger(k=2)), X, TARGETS)
add("adamw, float32", classifier(solver="adamw"), X.astype(np.float32), CLASSES)
add("radam", classifier(solver="radam", activation="tanh"), X, LABELS)
add("schedule_free", regressor(solver="schedule_free"), X, TARGETS)
add("muon, two layers", classifier(solver="muon", hidden_layer_sizes=(4, 3)), X, LABELS)
add("yellowfin", regressor(solver="yellowfin", max_iter=6), X, TARGETS)
add("lookahead over sgd", classifier(solver="lookahead", base_solver="sgd"), X, CLASSES)
add("lbfgs", regressor(solver="lbfgs", max_iter=8), X, TARGETS)
add("sam", classifier(), X, CLASSES)
add(
    "sam over sgd, weights",
    classifier(base_solver="sgd", momentum=0.7, nesterovs_momentum=False),
    X,
    CLASSES,
    sample_weight=WEIGHTS,
)
add(
    "sam over ranger",
    classifier(base_solver=Ranger(k=2), max_iter=3),
    X,
    CLASSES,
)
add("sam every other step", regressor(solver=SAM(interval=2, start=1)), X, TARGETS)
add("sam, parts of a minibatch", classifier(solver=SAM(micro_batch_size=5)), X, CLASSES)
add("sam, max_steps", regressor(max_steps=7, shuffle=False), X, TARGETS)
add("wsam", classifier(solver="wsam"), X, CLASSES)
add(
    "wsam over sgd, float32",
    regressor(solver="wsam", base_solver="sgd"),
    X.astype("f4"),
    TARGETS,
)
add("asam over muon", classifier(solver="asam", base_solver="muon"), X, LABELS)
add("gsam, sparse", classifier(solver="gsam"), SPARSE, CLASSES)
add("fisher_sam", regressor(solver=FisherSAM(eta=1.0)), X, TARGETS)
add("friendly_sam", classifier(solver="friendly_sam"), X, CLASSES)
add("looksam", classifier(solver=LookSAM(k=2)), X, CLASSES)
add("esam", regressor(solver="esam"), X, TARGETS)
add("msam over adamw", classifier(solver="msam", base_solver="adamw"), X, CLASSES)

# -- learning rates --------------------------------------------------------------------

add("cosine, warm-up", classifier(learning_rate="cosine", warmup=0.25), X, CLASSES)
add("flat_cosine", regressor(learning_rate=Cosine(flat=0.75, lr_min=1e-3)), X, TARGETS)
add("onecycle", classifier(solver="adam", learning_rate="onecycle"), X, CLASSES)
add("step", classifier(learning_rate=Step(size=2)), X, CLASSES)
add("multistep", regressor(learning_rate="multistep"), X, TARGETS)
add(
    "exponential, wsam",
    classifier(solver="wsam", learning_rate="exponential"),
    X,
    LABELS,
)

# -- averages and snapshots ------------------------------------------------------------

add("swa", classifier(swa=SWA(start=1, lr=0.05, anneal=2)), X, CLASSES)
add(
    "swa in cycles",
    regressor(swa=SWA(start=0, cycle=2, lr=1e-3)),
    X,
    TARGETS,
)
add(
    "swa every other epoch, asam, early stopping",
    classifier(solver="asam", swa=SWA(start=1, freq=2), **STOPS),
    X,
    CLASSES,
)
add("ema", regressor(ema_decay=0.8, solver="gsam"), X, TARGETS)
add("ema, float32", classifier(ema_decay="auto"), X.astype(np.float32), CLASSES)
add("snapshots", classifier(snapshots=Snapshots(n=2, start=1)), X, CLASSES)
add(
    "snapshots, triangular",
    regressor(snapshots=Snapshots(n=2, schedule="triangular"), max_iter=16),
    X,
    TARGETS,
)

# -- rows, weights and labels ----------------------------------------------------------

add("balanced classes", classifier(class_weight="balanced"), X, CLASSES)
add("poisson", regressor(loss="poisson"), X, COUNTS, sample_weight=WEIGHTS)
add(
    "validation rows of the user's",
    classifier(early_stopping=True, scoring="accuracy"),
    X,
    CLASSES,
    X_val=X_VAL,
    y_val=CLASSES_VAL,
)
add(
    "validation loss",
    regressor(early_stopping=True, scoring="loss", n_iter_no_change=1, max_iter=9),
    X,
    TARGETS,
    X_val=X_VAL,
    y_val=TARGETS_VAL,
)

# -- several networks, and a radius that is chosen -------------------------------------

add("members", classifier(n_members=2), X, CLASSES)
add("members, swa, wsam", regressor(n_members=2, solver="wsam", swa=True), X, TARGETS)
add("members, scored", classifier(n_members=2, scoring="accuracy"), X, CLASSES)
add("members choose", classifier(n_members=2, rho="auto"), X, CLASSES)
add(
    "members choose, asam, weights",
    regressor(n_members=2, rho=[0, 0.5, 2.0], solver="asam"),
    X,
    TARGETS,
    sample_weight=WEIGHTS,
)
add("rho chosen", classifier(rho="auto", batch_size="auto"), X_MANY, CLASSES_MANY)
add(
    "rho chosen, wsam, float32",
    regressor(rho="auto", solver="wsam", cv=3),
    X_MANY.astype(np.float32),
    TARGETS_MANY,
)
add(
    "rho chosen by splits of the user's",
    classifier(rho="auto", cv=KFold(2), scoring="neg_log_loss", learning_rate="cosine"),
    SPARSE,
    LABELS[:, 0],
)
add(
    "rho chosen by validation rows",
    regressor(rho="auto", early_stopping=True, swa=SWA(start=2)),
    X,
    TARGETS,
    X_val=X_VAL,
    y_val=TARGETS_VAL,
)

# -- more than one call ----------------------------------------------------------------


def fit_in_calls(estimator, y, **params):
    for part in (slice(0, 25), slice(25, 40), slice(5, 30)):
        estimator.partial_fit(X[part], y[part], **params)
        params = {}
    return estimator


def fit_twice(estimator, y, **fit_params):
    """Fit, go through a file and fit on, from where the first fit has stopped."""
    estimator.set_params(warm_start=True).fit(X, y, **fit_params)
    return through_file(estimator).fit(X[::-1], y[::-1], **fit_params)


def through_file(estimator):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "estimator"
        save(estimator, path)
        return load(path)


@fit
def partial_fit():
    return fit_in_calls(classifier(), CLASSES, classes=[0, 1, 2])


@fit
def partial_fit_of_swa():
    return fit_in_calls(regressor(swa=SWA(start=1), solver="gsam"), TARGETS)


@fit
def partial_fit_of_members():
    estimator = classifier(n_members=2, ema_decay=0.7, base_solver="sgd")
    return fit_in_calls(estimator, CLASSES, classes=[0, 1, 2])


@fit
def warm_start():
    return fit_twice(classifier(solver="looksam"), CLASSES)


@fit
def warm_start_of_swa_and_early_stopping():
    return fit_twice(regressor(swa=SWA(start=2), **STOPS), TARGETS)


@fit
def warm_start_of_members():
    return fit_twice(classifier(n_members=2, rho="auto", max_iter=3), CLASSES)


@fit
def warm_start_of_a_radius_that_was_chosen():
    return fit_twice(regressor(rho="auto", cv=2, max_iter=3), TARGETS)


# -- around the estimators -------------------------------------------------------------


@fit
def vectorized_search():
    grid = {"rho": [0.0, 0.2], "alpha": [1e-4, 1.0], "solver": ["sam", "adam"]}
    return VectorizedGridSearchCV(classifier(), grid, cv=2).fit(X, CLASSES)


@fit
def vectorized_search_of_early_stopping():
    grid = {"learning_rate_init": [0.01, 0.1], "max_iter": [2, 5], "ema_decay": [0.5]}
    estimator = regressor(n_iter_no_change=1, **STOPS)
    return VectorizedGridSearchCV(estimator, grid, cv=2).fit(X, TARGETS)


@fit
def table():
    return tabular_pipeline(regressor(), n_bins=8).fit(TABLE, TARGETS[:, 0])


# -- the record ------------------------------------------------------------------------


def networks(estimator, name=""):
    """Yield the estimators with weights inside of what was fitted, and their names."""
    if hasattr(estimator, "best_estimator_"):
        yield from networks(estimator.best_estimator_, name + "best ")
    elif hasattr(estimator, "regressor_"):
        yield from networks(estimator.regressor_, name)
    elif hasattr(estimator, "steps"):
        yield from networks(estimator[-1], name)
    else:
        yield name, estimator
        for k, member in enumerate(getattr(estimator, "members_", [])):
            yield from networks(member, f"{name}member {k} ")


def values_of(estimator):
    """Return every number that a fit has come to, as arrays by their names."""
    values = {}
    for name, network in networks(estimator):
        for attribute in ("coefs_", "intercepts_"):
            if hasattr(network, attribute):
                arrays = getattr(network, attribute)
                values[name + attribute] = np.concatenate([a.ravel() for a in arrays])
        for attribute in ATTRIBUTES:
            value = getattr(network, attribute, None)
            if value is not None:
                values[name + attribute] = np.ravel(value)
    rows = (TABLE if hasattr(estimator, "feature_names_in_") else X)[:5]
    predict = getattr(estimator, "predict_proba", estimator.predict)
    values["prediction"] = np.ravel(predict(rows))
    for name, scores in getattr(estimator, "cv_results_", {}).items():
        if name.endswith("test_score"):
            values[name] = scores
    return values


def compute():
    """Return the record of the code as it is."""
    fits = {}
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, make in FITS.items():
            values = values_of(make())
            fits[name] = {
                key: {"dtype": array.dtype.name, "values": array.tolist()}
                for key, array in values.items()
            }
    return {"computed_by": computed_by(), "fits": fits}


def computed_by():
    """Return what the last bits of a number depend on."""
    blas = [library["architecture"] for library in blas_libraries()]
    return {
        "processor": processor(),
        "torch kernels": torch.backends.cpu.get_cpu_capability(),
        "BLAS kernels": sorted(set(blas)),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
    }


def blas_libraries():
    return [lib for lib in threadpoolctl.threadpool_info() if "architecture" in lib]


def processor():
    """Return the name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [
        line.split(":")[1].strip() for line in lines if line.startswith("model name")
    ]
    return f"{platform.machine()} {names[0] if names else platform.processor()}".strip()


def differences(record, found):
    """Yield what a new record has otherwise, a line each."""
    is_exact = record["computed_by"] == found["computed_by"]
    old, new = record["fits"], found["fits"]
    for name in sorted(old.keys() ^ new.keys()):
        yield f"{name}: only in the {'record' if name in old else 'code'}"
    for name in [name for name in old if name in new]:
        is_single = any(entry["dtype"] == "float32" for entry in old[name].values())
        tolerance = TOLERANCE["float32" if is_single else "float64"]
        for key in sorted(old[name].keys() ^ new[name].keys()):
            yield f"{name}: {key} only {'in the record' if key in old[name] else 'now'}"
        for key in [key for key in old[name] if key in new[name]]:
            difference = _difference(
                old[name][key], new[name][key], None if is_exact else tolerance
            )
            if difference:
                yield f"{name}: {key} {difference}"


def _difference(old, new, tolerance):
    if old["dtype"] != new["dtype"]:
        return f"is of {new['dtype']} in place of {old['dtype']}"
    a, b = (np.array(entry["values"], dtype=old["dtype"]) for entry in (old, new))
    if a.shape != b.shape:
        return f"has {b.size} values in place of {a.size}"
    if a.dtype.kind == "f" and tolerance is not None:
        is_same = np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    else:
        is_same = a.tobytes() == b.tobytes()
    if is_same:
        return None
    if a.dtype.kind not in "fi":
        return f"is {b.tolist()} in place of {a.tolist()}"
    return f"differs by up to {np.nanmax(np.abs(a.astype(float) - b)):.3g}"


def write(record, path):
    """Write a record, a line for each attribute of each fit."""
    lines = []
    for name, values in record["fits"].items():
        rows = [f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in values.items()]
        lines.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n  }")
    head = json.dumps(record["computed_by"])
    text = (
        f'{{\n "computed_by": {head},\n "fits": {{\n' + ",\n".join(lines) + "\n }\n}\n"
    )
    Path(path).write_text(text)


def read(path):
    """Return the record of a file."""
    return json.loads(Path(path).read_text())


def main():
    """Write a record or compare with one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["check", "write"])
    parser.add_argument("path", nargs="?", default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = compute()
    if arguments.what == "write":
        write(found, arguments.path)
        return 0
    record = read(arguments.path)
    for part, value in record["computed_by"].items():
        if found["computed_by"][part] != value:
            print(
                f"not to the bit: {part} is {found['computed_by'][part]}, was {value}"
            )
    lines = [*differences(record, found)]
    print("\n".join(lines) or f"{len(found['fits'])} fits are the same.")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
