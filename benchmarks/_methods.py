"""The methods of the quality benchmark, one entry of ``METHODS`` each.

A method is a function that takes a problem and returns an estimator, which is fitted on
the raw frame: numbers, categories and missing values. It takes its seed and the names of
the categories from the problem, and trains on one thread.

All plain networks, scikit-learn's as well as ours, get the same plain preprocessing, and
in regression a target in standard deviations: on a raw one scikit-learn's network hardly
trains, so the comparison would say nothing. Other packages get the frame as they want it
and run with their own defaults.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _datasets import SETS, Problem
from sklearn.base import BaseEstimator
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
)
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sksharp.options import SAM, Snapshots

MAX_LEVELS = 30  # of a category; rarer levels share one column
ALPHA = np.logspace(-5, 1, 5)
RATES = [3e-4, 1e-3, 3e-3]


@dataclass(frozen=True)
class Method:
    """How an estimator is made, its group and the packages that it needs."""

    make: Callable[[Problem], BaseEstimator]
    group: str
    needs: tuple[str, ...] = ("scikit-learn",)

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.needs if not is_installed(name)]

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages."""
        return {name: version(name) for name in self.needs}


def is_installed(package: str) -> bool:
    """Return whether a package is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


# -- plain networks ---------------------------------------------------------------------


def with_plain_preprocessing(network: BaseEstimator, problem: Problem) -> BaseEstimator:
    """Put a network behind median imputation, scaling and one-hot columns."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    levels = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MAX_LEVELS,
        sparse_output=False,
    )
    columns = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("levels", levels, make_column_selector(dtype_include="category")),
        ]
    )
    pipeline = make_pipeline(columns, network)
    if problem.is_regression:
        return TransformedTargetRegressor(pipeline, transformer=StandardScaler())
    return pipeline


def mlp(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return scikit-learn's network."""
    cls = MLPRegressor if problem.is_regression else MLPClassifier
    network = cls(random_state=problem.seed, **parameters)
    return with_plain_preprocessing(network, problem)


def mlp_grid(problem: Problem) -> BaseEstimator:
    """Return scikit-learn's network with its penalty searched."""
    cls = MLPRegressor if problem.is_regression else MLPClassifier
    network = cls(random_state=problem.seed)
    search = GridSearchCV(network, {"alpha": ALPHA}, cv=3)
    return with_plain_preprocessing(search, problem)


def mlp_as_long_as(other: str, problem: Problem) -> BaseEstimator:
    """Return scikit-learn's network with as many epochs as take another's stored time."""
    # a first fit, on a problem that is not one of the sets, need not be long
    budget = stored_seconds(other, problem) if problem.name in SETS else 0.5

    def of_length(n_epochs: int) -> BaseEstimator:
        return mlp(problem, max_iter=n_epochs, tol=0, n_iter_no_change=n_epochs)

    def seconds(n_epochs: int) -> float:
        start = time.process_time()
        of_length(n_epochs).fit(problem.X_train, problem.y_train)
        return time.process_time() - start

    few = many = 5  # two lengths: preprocessing is no epoch
    shortest = longest = seconds(few)
    while longest - shortest < min(0.25, budget / 2):
        many *= 2
        longest = seconds(many)
    per_epoch = (longest - shortest) / (many - few)
    return of_length(max(few, round(few + (budget - shortest) / per_epoch)))


def stored_seconds(method: str, problem: Problem) -> float:
    """Return the CPU seconds of a stored fit, on clean labels."""
    run = problem.name, str(problem.seed), method
    with (Path(__file__).parent / "results" / "quality.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["set"], row["split"], row["method"]
            if key == run and row["fit_cpu"] and float(row["noise"]) == 0:
                return float(row["fit_cpu"])
    raise LookupError(f"no stored run of {method} on {problem.name}, {problem.seed}")


def sharp(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return our network."""
    from sksharp import SAMMLPClassifier, SAMMLPRegressor

    cls = SAMMLPRegressor if problem.is_regression else SAMMLPClassifier
    network = cls(random_state=problem.seed, **parameters)
    return with_plain_preprocessing(network, problem)


def rate_searched(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return our network with its learning rate searched, and a length that is not."""
    from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV

    cls = SAMMLPRegressor if problem.is_regression else SAMMLPClassifier
    if parameters["solver"] != "adam":
        parameters["rho"] = 0.0
    network = cls(random_state=problem.seed, **parameters)
    search = VectorizedGridSearchCV(network, {"learning_rate_init": RATES}, cv=3)
    return with_plain_preprocessing(search, problem)


def longer(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return our network, trained for 2,000 steps at least."""
    n_samples = len(problem.y_train)
    n_batches = -(-n_samples // min(200, n_samples))
    return sharp(problem, max_iter=max(200, -(-2000 // n_batches)), **parameters)


def recommended(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return the one line that the documentation recommends for tables."""
    from sksharp import tabular_pipeline

    if problem.is_regression:  # which have no scoring='refined_loss' to replace
        parameters.pop("scoring", None)
    kind = "regressor" if problem.is_regression else "classifier"
    return tabular_pipeline(kind, random_state=problem.seed, **parameters)


def members(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return members behind the same preprocessing, as plainly as they were before."""
    from sksharp import SAMMLPClassifier, SAMMLPRegressor, tabular_pipeline

    cls = SAMMLPRegressor if problem.is_regression else SAMMLPClassifier
    settings = {
        "hidden_layer_sizes": (128, 128),
        "rho": "auto",
        "n_members": 5,
        "ema_decay": 0.99,
        "max_steps": 2500,
        "batch_size": 128,
        "learning_rate_init": 3e-3,
        "random_state": problem.seed,
    }
    return tabular_pipeline(cls(**{**settings, **parameters}), n_bins=8)


# -- other packages ---------------------------------------------------------------------


def hgb(problem: Problem) -> BaseEstimator:
    """Return scikit-learn's gradient boosting, which knows categories by their dtype."""
    cls = (
        HistGradientBoostingRegressor
        if problem.is_regression
        else HistGradientBoostingClassifier
    )
    return cls(categorical_features="from_dtype", random_state=problem.seed)


def lightgbm(problem: Problem) -> BaseEstimator:
    """Return LightGBM, which knows categories by their dtype."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    cls = LGBMRegressor if problem.is_regression else LGBMClassifier
    return cls(random_state=problem.seed, n_jobs=1, verbose=-1)


def catboost(problem: Problem) -> BaseEstimator:
    """Return CatBoost, which wants categories as text without missing values."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    cls = CatBoostRegressor if problem.is_regression else CatBoostClassifier
    model = cls(
        cat_features=problem.categorical,
        random_seed=problem.seed,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
    )
    return make_pipeline(FunctionTransformer(categories_as_text), model)


def categories_as_text(X: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with its categories as text, also those that are missing."""
    names = X.select_dtypes("category").columns
    return X.assign(
        **{name: X[name].astype(object).fillna("missing") for name in names}
    )


def realmlp(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return RealMLP with its tuned defaults."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    cls = RealMLP_TD_Regressor if problem.is_regression else RealMLP_TD_Classifier
    return of_pytabkit(cls, problem, **parameters)


def tabm(problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return TabM with its defaults, one fifth of the rows left out for its length."""
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    cls = TabM_D_Regressor if problem.is_regression else TabM_D_Classifier
    return of_pytabkit(cls, problem, **parameters)


def of_pytabkit(cls: Any, problem: Problem, **parameters: Any) -> BaseEstimator:
    """Return an estimator of pytabkit behind the median in the place of missing numbers."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    model = cls(device="cpu", n_threads=1, random_state=problem.seed, **parameters)
    median = SimpleImputer(strategy="median")
    columns = ColumnTransformer(
        [("numbers", median, make_column_selector(dtype_include="number"))],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    return make_pipeline(columns.set_output(transform="pandas"), model)


# -- the registry -----------------------------------------------------------------------

OURS = ("sksharp", "scikit-learn", "torch", "skorch")
PYTABKIT = ("pytabkit", "torch")

METHODS = {
    "mlp": Method(mlp, "sklearn"),
    "mlp_es": Method(partial(mlp, early_stopping=True), "sklearn"),
    "mlp_grid": Method(mlp_grid, "sklearn"),
    "mlp_as_long_as_default": Method(partial(mlp_as_long_as, "default"), "sklearn"),
    "mlp_as_long_as_recommended": Method(
        partial(mlp_as_long_as, "recommended"), "sklearn"
    ),
    "lightgbm": Method(lightgbm, "peers", ("lightgbm",)),
    "catboost": Method(catboost, "peers", ("catboost",)),
    "hgb": Method(hgb, "peers"),
    "realmlp": Method(partial(realmlp, n_cv=1), "peers", PYTABKIT),
    "realmlp5": Method(partial(realmlp, n_cv=5), "peers", PYTABKIT),
    "tabm": Method(tabm, "peers", PYTABKIT),
    "adam": Method(partial(sharp, solver="adam"), "ours", OURS),
    "default": Method(sharp, "ours", OURS),
    "default_rho_0": Method(partial(sharp, rho=[0.0]), "ours", OURS),
    "sam": Method(partial(sharp, rho=0.05), "ours", OURS),
    "sam_0.2": Method(partial(sharp, rho=0.2), "ours", OURS),
    "sam_0.5": Method(partial(sharp, rho=0.5), "ours", OURS),
    "swa": Method(partial(sharp, rho=0.05, swa=True), "ours", OURS),
    # what the default could be
    "adam_ema": Method(partial(sharp, solver="adam", ema_decay=0.99), "recipes", OURS),
    "adam_long": Method(partial(longer, solver="adam"), "recipes", OURS),
    "adam_long_ema": Method(
        partial(longer, solver="adam", ema_decay=0.99), "recipes", OURS
    ),
    "sam_.02_ema": Method(partial(sharp, rho=0.02, ema_decay=0.99), "recipes", OURS),
    "sam_long_ema": Method(partial(longer, rho=0.05, ema_decay=0.99), "recipes", OURS),
    "recommended": Method(recommended, "ours", OURS),
    "recommended_auto": Method(partial(recommended, rho="auto"), "ours", OURS),
    "members_rho_0": Method(partial(members, rho=0.0), "recipes", OURS),
}
# the one line without one of its parts
for _name, _parameters in {
    "dropout": {"dropout": 0.0},
    "decay": {"base_solver": "adam"},
    "refined_loss": {"scoring": "loss"},
    "cosine": {"learning_rate": "constant"},
    "average": {"ema_decay": None},
    "early_stopping": {"early_stopping": False},
    "bins": {"n_bins": 8},
}.items():
    METHODS[f"without_{_name}"] = Method(
        partial(recommended, **_parameters), "ablation", OURS
    )
# Every other solver and ensemble of one training: as it comes, where a radius is chosen
# out of three, and at SAM's customary radius.
for _name, _radius in {
    "wsam": 0.05,
    "asam": 0.5,
    "gsam": 0.05,
    "fisher_sam": 0.05,
    "friendly_sam": 0.05,
    "looksam": 0.05,
    "esam": 0.05,
    "msam": 0.5,
}.items():
    _method = partial(sharp, solver=_name)
    METHODS[_name] = Method(_method, "family", OURS)
    METHODS[f"{_name}_fixed"] = Method(partial(_method, rho=_radius), "family", OURS)
for _name, _parameters in {
    "sam_every_5": {"solver": SAM(interval=5)},
    "sam_late": {"solver": SAM(start=0.5)},
    "sam_micro": {"solver": SAM(micro_batch_size=32)},
    "snapshots": {"snapshots": 5},
    "fast_geometric": {"snapshots": Snapshots(n=5, schedule="triangular")},
}.items():
    _method = partial(sharp, **_parameters)
    METHODS[_name] = Method(_method, "family", OURS)
    METHODS[f"{_name}_fixed"] = Method(partial(_method, rho=0.05), "family", OURS)
METHODS["sam_chosen"] = Method(partial(sharp, solver="sam"), "family", OURS)
# without a radius: the length is chosen, or training is scikit-learn's, or that with its
# learning rate searched
for _name in ("ranger", "radam", "adamw", "lookahead", "schedule_free", "muon"):
    _method = partial(sharp, solver=_name)
    METHODS[_name] = Method(_method, "family", OURS)
    METHODS[f"{_name}_fixed"] = Method(partial(_method, rho=0.0), "family", OURS)
METHODS["yellowfin"] = Method(partial(sharp, solver="yellowfin"), "family", OURS)
for _name in ("adam", "ranger", "radam", "adamw", "lookahead", "schedule_free", "muon"):
    METHODS[f"{_name}_search"] = Method(
        partial(rate_searched, solver=_name), "family", OURS
    )
