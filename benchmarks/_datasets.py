"""The tabular sets of the quality benchmark, and how their rows are split.

``datasets.json`` says of every set which packages carry it and which lines read it.
``pip install pyarrow`` and the line ``install`` of that file bring all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
CACHE = HERE / "data"
CATALOGUE: dict[str, Any] = json.loads((HERE / "datasets.json").read_text())
SETS: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in CATALOGUE["sets"]}

TEST_SHARE = 0.25
MAX_ROWS = 10_000  # of the training rows, and of the test rows


@dataclass(frozen=True)
class Problem:
    """A set, split into training and test rows.

    Classes are numbered from 0. Missing values are NaN, categories are of pandas' dtype
    ``category`` and keep the levels of the whole set in both parts.
    """

    name: str
    task: str
    seed: int
    X_train: pd.DataFrame
    X_test: pd.DataFrame
    y_train: np.ndarray
    y_test: np.ndarray
    n_classes: int = 0  # 0 in regression

    @property
    def is_regression(self) -> bool:
        """Whether the target is a number."""
        return not self.n_classes

    @property
    def categorical(self) -> list[str]:
        """The names of the columns that hold categories."""
        return list(self.X_train.select_dtypes("category").columns)

    def with_noise(self, share: float) -> Problem:
        """Return the problem with a share of the training labels moved elsewhere.

        Every label is moved with that probability, to one of the other classes, all of
        them equally likely. Test labels stay as they are.
        """
        random = np.random.default_rng([self.seed, round(1000 * share)])
        is_moved = random.random(len(self.y_train)) < share
        distance = random.integers(1, self.n_classes, len(self.y_train))
        moved = (self.y_train + distance) % self.n_classes
        return replace(self, y_train=np.where(is_moved, moved, self.y_train))


def load(name: str, folder: Path | None = None) -> pd.DataFrame:
    """Return a set, its target in the last column.

    Parameters
    ----------
    name : str
        A set of ``datasets.json``.

    folder : Path or None, default=None
        Where ``<name>.parquet`` lies. If None, the file is made in ``benchmarks/data``
        the first time.
    """
    path = (folder or CACHE) / f"{name}.parquet"
    if folder is None and not path.exists():
        path.parent.mkdir(exist_ok=True)
        read_from_package(name).to_parquet(path)
    return pd.read_parquet(path)


def read_from_package(name: str) -> pd.DataFrame:
    """Return a set as the package that carries it gives it."""
    scope: dict[str, Any] = {}
    try:
        exec("\n".join(SETS[name]["load"]), scope)
    # find_spec gives None for a package that is not there, hence AttributeError
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"{name} needs {' '.join(SETS[name]['packages'])}. For all sets: "
            f"{CATALOGUE['install']}"
        ) from error
    frame = scope["X"].reset_index(drop=True)
    for column in frame.select_dtypes(exclude="number"):
        frame[column] = as_category(frame[column])
    target = scope["y"].reset_index(drop=True)
    is_regression = SETS[name]["task"] == "regression"
    frame["target"] = target.astype(float) if is_regression else as_category(target)
    return frame


def as_category(column: pd.Series) -> pd.Series:
    """Return a column as categories named by text, what is missing left missing."""
    text = column.astype(object).where(column.notna(), None)
    names = text.map(lambda level: str(level).strip(), na_action="ignore")
    return names.astype("category")


def split(name: str, frame: pd.DataFrame, seed: int) -> Problem:
    """Split a set: a quarter of the rows for the test, at most 10,000 rows each.

    Classification is stratified. What exceeds 10,000 rows is left out at random, the
    same rows for all methods. The split is random for ``chicago_ridership`` too, though
    it is a daily series with lags: scores on it are higher than a forecast's would be.
    """
    X, target = frame.iloc[:, :-1], frame.iloc[:, -1]
    # names such as "a[0]" are more than LightGBM takes
    X = X.set_axis([f"x{i}" for i in range(X.shape[1])], axis=1)
    if SETS[name]["task"] == "regression":
        n_classes, y = 0, target.to_numpy(dtype=float)
    else:
        n_classes, y = len(target.cat.categories), target.cat.codes.to_numpy(dtype=int)
    rows = np.arange(len(y))
    parts = train_test_split(
        rows,
        test_size=TEST_SHARE,
        random_state=seed,
        stratify=y if n_classes else None,
    )
    for i, part in enumerate(parts):
        if len(part) > MAX_ROWS:
            parts[i], _ = train_test_split(
                part,
                train_size=MAX_ROWS,
                random_state=seed,
                stratify=y[part] if n_classes else None,
            )
    train, test = parts
    return Problem(
        name=name,
        task=SETS[name]["task"],
        seed=seed,
        X_train=X.iloc[train].reset_index(drop=True),
        X_test=X.iloc[test].reset_index(drop=True),
        y_train=y[train],
        y_test=y[test],
        n_classes=n_classes,
    )


def make_small(like: Problem) -> Problem:
    """Return a small problem of the same kind, for a first fit that is not timed."""
    n_classes = like.n_classes and 2
    X, y = make_classification(200, 5, random_state=0)
    frame = pd.DataFrame(X).set_axis([f"x{i}" for i in range(5)], axis=1)
    y = y if n_classes else X[:, 0] + y
    return Problem("small", like.task, 0, frame, frame, y, y, n_classes)
