"""Which ``rho`` does my data want, and does it pay?
=================================================

``GridSearchCV`` chooses the radius of sharpness-aware training on data that comes with
scikit-learn. Beside it: scikit-learn's network with its defaults, and with a search as
large.
"""

import argparse
import json
import os
import platform
import sys
import time
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
from joblib import parallel_config
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sksharp import SAMMLPClassifier, SAMMLPRegressor

CLASSIFIERS = (MLPClassifier, SAMMLPClassifier, "accuracy", "neg_log_loss")
REGRESSORS = (MLPRegressor, SAMMLPRegressor, "r2", "neg_root_mean_squared_error")
DATA = {  # the number is the share of training labels to flip
    "breast cancer, 30 % flipped": (load_breast_cancer, 0.3, *CLASSIFIERS),
    "breast cancer": (load_breast_cancer, 0, *CLASSIFIERS),
    "diabetes": (load_diabetes, 0, *REGRESSORS),
}
RHO = [0, 0.05, 0.2, 0.5, 1, 2]
ALPHA = [1e-4, 0.01, 0.1, 1, 10]
GRIDS = {  # six candidates in every search
    "MLP, default": None,
    "MLP, searched": [{"net__alpha": ALPHA}, {"net__early_stopping": [True]}],
    "SAM, default": None,
    "SAM, rho searched": {"net__rho": RHO},
    "SAM, rho and alpha": {"net__rho": [0, 0.5], "net__alpha": [1e-4, 1, 10]},
}
# Searched networks train until nearly every training row is fitted, flipped or not, if
# nothing holds them back. Many end at max_iter: that is meant, so it needs no warning.
TRAINING = {"net__learning_rate_init": 0.005, "net__max_iter": 100}
warnings.filterwarnings("ignore", category=ConvergenceWarning)


def load(name, seed):
    """Return X, y, training rows and test rows. Test labels stay as they are."""
    loader, flipped_share, *_ = DATA[name]
    X, y = loader(return_X_y=True)
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, random_state=seed)
    if loader is load_diabetes:  # in standard deviations: networks want a scaled target
        y = (y - y[train].mean()) / y[train].std()
    flipped = train[np.random.default_rng(seed).random(len(train)) < flipped_share]
    y[flipped] = 1 - y[flipped]
    return X, y, train, test


def compare(name, seed):
    """Yield the title and the results of every estimator on one split of the rows."""
    X, y, train, test = load(name, seed)
    *_, MLP, SAM, score, loss = DATA[name]
    for title, grid in GRIDS.items():
        network = (MLP if title.startswith("MLP") else SAM)(random_state=seed)
        estimator = Pipeline([("scale", StandardScaler()), ("net", network)])
        if grid:  # the loss chooses: on a few hundred rows the score is too coarse
            options = {"scoring": [score, loss], "refit": loss, "cv": 3}
            estimator = GridSearchCV(estimator.set_params(**TRAINING), grid, **options)
        start = time.perf_counter()
        estimator.fit(X[train], y[train])
        result = {"seconds": round(time.perf_counter() - start, 2)}
        result["score"] = get_scorer(score)(estimator, X[test], y[test])
        result["loss"] = -get_scorer(loss)(estimator, X[test], y[test])
        chosen = estimator.best_params_.items() if grid else []
        result["chosen"] = " ".join(f"{key[5:]}={value}" for key, value in chosen)
        if title == "SAM, rho searched":
            columns = [f"mean_test_{score}", f"std_test_{score}"]
            result["cv"] = [estimator.cv_results_[key].tolist() for key in columns]
            # every candidate once more, trained on all training rows
            estimator.set_params(cv=[(train, test)], refit=False).fit(X, y)
            result["test"] = estimator.cv_results_[columns[0]].tolist()
        yield title, result


def mean(splits, key):
    """Average a result over the splits."""
    return np.mean([split[key] for split in splits], axis=0)


def draw(results, path):
    """Draw the score against rho, a panel per data set."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")  # needs no display

    # the folds of a panel's training rows have flipped labels, the test rows have not:
    # they share no axis
    fig, axes = plt.subplots(2, len(DATA), figsize=(12, 7), layout="constrained")
    for (above, below), (name, splits) in zip(axes.T, results.items(), strict=True):
        x, sam = range(len(RHO)), splits["SAM, rho searched"]
        cv, std = mean(sam, "cv")
        above.fill_between(x, cv - std, cv + std, alpha=0.15, lw=0)
        above.plot(x, cv, "o-", label="SAM, cross-validated (± 1 std of the folds)")
        below.plot(x, mean(sam, "test"), "s-", color="C1", label="SAM, test")
        for title, style in [("MLP, default", ":"), ("MLP, searched", "--")]:
            score = mean(splits[title], "score")
            below.axhline(score, color="0.3", ls=style, label=f"{title}, test")
        score_name = DATA[name][4].replace("r2", "R²")
        above.set(title=name, ylabel=f"{score_name} of the folds")
        below.set(xlabel="rho", ylabel=f"{score_name} of the test rows")
        for ax in (above, below):
            ax.margins(y=0.1)
            ax.set_xticks(x, RHO)
            if ax.get_ylim()[0] > 0.9:  # differences of single rows
                ax.set_ylim(bottom=0.9)
    # outside of the panels, one legend for all
    shown, names = axes[0, 0].get_legend_handles_labels()
    more_shown, more_names = axes[1, 0].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 4}
    fig.legend(shown + more_shown, names + more_names, **place)
    fig.savefig(path, dpi=120)


# %%
# Run it all, in two processes of one thread: more gain nothing on small networks.

parser = argparse.ArgumentParser()
parser.add_argument("--splits", type=int, default=2, help="of the rows")
parser.add_argument("--save", type=Path, help="JSON file to write the results to")
options = parser.parse_args()
results = {name: {} for name in DATA}
threadpool_limits(1)
with parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
    for name, seed in product(DATA, range(options.splits)):
        for title, run in compare(name, seed):
            results[name].setdefault(title, []).append(run)
            print(f"{run['seconds']:5.1f} s  {name}, split {seed}: {title}", flush=True)
print(f"\n{'data':29}{'estimator':20}score   loss  seconds  chosen")
for name, title in product(DATA, GRIDS):
    splits = results[name][title]
    score, loss, s = (mean(splits, key) for key in ("score", "loss", "seconds"))
    chosen = ", ".join(split["chosen"] for split in splits)
    line = f"{name:29}{title:20}{score:.3f}  {loss:.3f}  {s:7.1f}  {chosen}"
    print(line.rstrip(" ,"))
print("score: accuracy, of diabetes R²; loss: log-loss, of diabetes RMSE\n")
if options.save:
    about = {name: version(name) for name in ("scikit-learn", "torch", "numpy")}
    about |= {"python": platform.python_version(), "cores": os.cpu_count()}
    about |= {"seeds": list(range(options.splits)), "rho": RHO, "results": results}
    options.save.write_text(json.dumps(about, indent=1) + "\n")
if find_spec("matplotlib"):
    draw(results, Path(sys.argv[0]).with_name("choose_rho.png"))
else:
    print("No picture without matplotlib: pip install '.[plots]'")
