"""What does sksharp do, on real data, in a minute?
===================================================

Four jobs, each beside what it replaces: a raw table, labels that are partly wrong, a search
over ``rho``, and a torch module with batch normalization. It prints a table and saves a
picture. Run it with ``make demo``.
"""

# sphinx_gallery_thumbnail_path = "_static/thumbnails/demo.svg"

import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from sksharp import SAMMLPClassifier, VectorizedGridSearchCV, tabular_pipeline
from sksharp.optim import SAM

CREDIT = Path(__file__).parent / "data" / "credit.csv.gz"
PICTURE = Path(__file__).with_name("demo.png")
SPLITS = range(3)
WRONG = [0.0, 0.2, 0.4, 0.6]
RHO = [0, 0.1, 0.2, 0.5, 1, 2, 5, 10]
GRAY, ORANGE, BLUE = "0.45", "#e69f00", "#0072b2"
# the networks of the search train to the end, whatever the labels are
warnings.filterwarnings("ignore", category=ConvergenceWarning)


def timed(fit, *args):
    """Return what a function returns, and how many seconds of one core it took."""
    start = time.process_time()
    result = fit(*args)
    return result, time.process_time() - start


def digits(share, seed):
    """Return training and test rows of digits, with a share of wrong training labels."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=seed, stratify=y)
    rng = np.random.default_rng(seed)
    is_wrong = rng.random(len(y)) < share
    y = np.where(is_wrong, (y + rng.integers(1, 10, size=len(y))) % 10, y)
    return X, X_test, y, y_test


# %%
# A raw table: loans, with words in four columns and gaps in six.


def raw_table():
    """Return accuracy, log-loss and seconds of three models, means over the splits."""
    X = pd.read_csv(CREDIT)
    y = X.pop("target")
    models = {
        "MLPClassifier": tabular_pipeline(MLPClassifier()),
        "HistGradientBoosting": tabular_pipeline(HistGradientBoostingClassifier()),
        'tabular_pipeline("classifier")': tabular_pipeline("classifier"),
    }
    print(f"\n1. A raw table: {len(X):,} loans, {X.shape[1]} columns, paid back or not")
    results = {}
    for name, model in models.items():
        runs = []
        for seed in SPLITS:
            parts = train_test_split(X, y, random_state=seed, stratify=y)
            X_train, X_test, y_train, y_test = parts
            model[-1].set_params(random_state=seed)
            _, seconds = timed(model.fit, X_train, y_train)
            loss = log_loss(y_test, model.predict_proba(X_test))
            runs.append((model.score(X_test, y_test), loss, seconds))
        results[name] = np.mean(runs, axis=0)
        accuracy, loss, seconds = results[name]
        show(name, f"accuracy {accuracy:.3f}, log-loss {loss:.3f}", seconds)
    return results


# %%
# Labels that are partly wrong: digits, scored on test labels that are right.


def wrong_labels():
    """Return accuracies of three networks by the share of wrong labels, and the times."""
    networks = {
        "MLPClassifier": MLPClassifier(),
        "MLPClassifier, early stopping": MLPClassifier(early_stopping=True),
        "SAMMLPClassifier": SAMMLPClassifier(),
    }
    print(
        "\n2. Wrong labels: digits, " + ", ".join(f"{w:.0%}" for w in WRONG) + " wrong"
    )
    results = {}
    for name, network in networks.items():
        scores, total = np.empty((len(SPLITS), len(WRONG))), 0.0
        for seed, (j, share) in ((s, w) for s in SPLITS for w in enumerate(WRONG)):
            X, X_test, y, y_test = digits(share, seed)
            clf = clone(network).set_params(random_state=seed)
            model, seconds = timed(make_pipeline(StandardScaler(), clf).fit, X, y)
            scores[seed, j] = model.score(X_test, y_test)
            total += seconds / scores.size
        results[name] = scores.mean(axis=0)
        found = ", ".join(f"{score:.3f}" for score in results[name])
        show(name, f"accuracy {found}", total)
    return results


# %%
# A search over ``rho``, by scikit-learn's search and by the one that trains all candidates
# and folds together. Networks train to the end: nothing but ``rho`` holds them back.


def search_over_rho():
    """Return a search and its test scores by radius, and the times of both searches."""
    X, X_test, y, y_test = digits(0.4, seed=0)
    network = SAMMLPClassifier(
        (32,), batch_size=32, learning_rate_init=0.01, max_iter=40, random_state=0
    )
    model = make_pipeline(StandardScaler(), network)
    grid = {"sammlpclassifier__rho": RHO}
    print(f"\n3. A search: {len(RHO)} radii, 5 folds, digits with 40% wrong labels")
    seconds, searches = {}, {}
    for cls in (GridSearchCV, VectorizedGridSearchCV):
        name = cls.__name__
        searches[name], seconds[name] = timed(cls(model, grid, cv=5).fit, X, y)
        best = searches[name].best_params_["sammlpclassifier__rho"]
        show(name, f"best rho {best:g}", seconds[name])
    theirs, ours = (s.cv_results_["mean_test_score"] for s in searches.values())
    print(
        f"   scores of all candidates differ by at most {abs(ours - theirs).max():.1g}"
    )
    scores = []
    for rho in RHO:
        model.set_params(sammlpclassifier__rho=rho).fit(X, y)
        scores.append(model.score(X_test, y_test))
    return searches["VectorizedGridSearchCV"], scores, seconds


# %%
# A torch module with batch normalization, in a loop of one's own. SAM counts the batch
# statistics once a step, although it computes two gradients.


def torch_loop():
    """Return accuracies of a module without and with SAM."""
    X, X_test, y, y_test = digits(0.4, seed=0)
    scaler = StandardScaler().fit(X)
    X, X_test = (
        torch.tensor(scaler.transform(rows), dtype=torch.float32)
        for rows in (X, X_test)
    )
    y = torch.tensor(y)
    print("\n4. A torch loop: batch normalization, digits with 40% wrong labels")
    results = {}
    for name, rho in {"SGD with momentum": 0.0, "SAM, rho=1": 1.0}.items():
        (score, seconds) = timed(train_module, rho, X, y, X_test, y_test)
        results[name] = score
        show(name, f"accuracy {score:.3f}", seconds)
    return results


def train_module(rho, X, y, X_test, y_test):
    """Train a module with a radius, and return its accuracy."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)
        )
        optimizer = SAM(
            model.parameters(), torch.optim.SGD, rho=rho, lr=0.1, momentum=0.9
        )
        for _ in range(40):
            for batch in torch.randperm(len(X)).split(64):

                def closure(batch=batch):
                    optimizer.zero_grad()
                    loss = nn.functional.cross_entropy(model(X[batch]), y[batch])
                    loss.backward()
                    return loss

                optimizer.step(closure)
    model.eval()
    return (model(X_test).argmax(1).numpy() == y_test).mean()


# %%
# The table and the picture.


def show(name, found, seconds):
    """Print a line of the table."""
    print(f"   {name:31}{found:40}{seconds:6.1f} s", flush=True)


def draw(table, labels, search):
    """Draw what was found, a panel per job."""
    fig, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    draw_table(axes[0, 0], table)
    draw_labels(axes[0, 1], labels)
    draw_search(axes[1, 0], *search[:2])
    draw_times(axes[1, 1], search[2])
    fig.savefig(PICTURE, dpi=120)


def draw_table(ax, table):
    """Draw the loss of the models of the raw table."""
    losses = [loss for _, loss, _ in table.values()]
    names = [name.replace("(", "\n(") for name in table]
    bars = ax.barh(names, losses, color=[GRAY, ORANGE, BLUE])
    texts = [f"{loss:.3f}, in {s:.1f} s" for _, loss, s in table.values()]
    ax.bar_label(bars, texts, padding=4)
    ax.set(xlabel="log-loss of test rows, lower is better", xlim=(0, 1.5 * max(losses)))
    best = min(table, key=lambda name: table[name][1])
    ax.set_title(f"Raw table: lowest loss with {best}")


def draw_labels(ax, labels):
    """Draw accuracy against the share of wrong labels."""
    styles = [(GRAY, "o-"), (ORANGE, "^--"), (BLUE, "s-")]
    for (name, scores), (color, style) in zip(labels.items(), styles, strict=True):
        ax.plot(WRONG, scores, style, color=color, label=name)
    ax.set(xlabel="share of wrong training labels", ylabel="accuracy of test rows")
    ax.set_xticks(WRONG, [f"{share:.0%}" for share in WRONG])
    ax.legend(loc="lower left")
    theirs, ours = (labels[f"{one}Classifier"][-1] for one in ("MLP", "SAMMLP"))
    ax.set_title(f"{WRONG[-1]:.0%} wrong labels: accuracy {theirs:.2f} → {ours:.2f}")


def draw_search(ax, search, scores):
    """Draw the scores of test rows and of folds against the radius."""
    x, folds = range(len(RHO)), search.cv_results_["mean_test_score"]
    ax.plot(x, scores, "s-", color=BLUE, label="test rows, labels right")
    ax.plot(x, folds, "o--", color=ORANGE, label="folds, 40% of the labels wrong")
    best = search.best_index_
    ax.plot(best, folds[best], "o", ms=13, mfc="none", color="k", label="chosen")
    ax.set_xticks(x, [f"{rho:g}" for rho in RHO])
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.set(xlabel="rho", ylabel="accuracy", ylim=(0, 1.25))
    ax.legend(loc="upper right")
    found = f"test accuracy {scores[0]:.2f} → {scores[best]:.2f}"
    ax.set_title(f"rho={RHO[best]:g} in place of 0: {found}")


def draw_times(ax, seconds):
    """Draw the time of the two searches."""
    names = [name.replace("GridSearchCV", "\nGridSearchCV") for name in seconds]
    bars = ax.barh(names, list(seconds.values()), color=[GRAY, BLUE])
    ax.bar_label(bars, fmt="%.1f s", padding=4)
    ax.set(xlabel="CPU time in seconds", xlim=(0, 1.2 * max(seconds.values())))
    theirs, ours = seconds.values()
    ax.set_title(f"The same search in {ours / theirs:.0%} of the time")


def main():
    """Run the jobs."""
    plt.switch_backend("Agg")  # needs no display
    start = time.perf_counter()
    with threadpool_limits(1):
        print("Seconds are CPU time of one fit or search, on one thread.")
        table, labels, search = raw_table(), wrong_labels(), search_over_rho()
        torch_loop()
        draw(table, labels, search)
    print("\nWith right labels, nothing is gained on digits. On large tables of many")
    print("categories, boosted trees are better: docs/when-not-to-use.md.")
    print(f"\nPicture: {PICTURE} ({time.perf_counter() - start:.0f} s in all)")


if __name__ == "__main__":
    main()
