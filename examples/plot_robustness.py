"""How much does a fitted model lose on rows that are measured less exactly?
==========================================================================

``robustness`` perturbs the rows of a test set and measures several fitted models on the
same perturbed rows; ``RobustnessDisplay`` draws that. Here every column gets Gaussian
noise, up to its own standard deviation, at prediction only.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksharp import RobustnessDisplay, SAMMLPClassifier, robustness

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # at max_iter, as meant
X, y = load_breast_cancer(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
settings = {"max_iter": 100, "learning_rate_init": 0.005, "random_state": 0}
fits = {
    "network, rho=0": SAMMLPClassifier(rho=0, **settings),
    "network, rho=0.5": SAMMLPClassifier(rho=0.5, **settings),
}
fits = {name: make_pipeline(StandardScaler(), clf) for name, clf in fits.items()}
fits["gradient boosting"] = HistGradientBoostingClassifier(random_state=0)
for clf in fits.values():
    clf.fit(X, y)

# %%
# The log-loss also counts how certain wrong answers are.

found = robustness(fits, X_test, y_test, perturbation="noise", n_repeats=10)

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
RobustnessDisplay.from_results(found, ax=axes[0])
RobustnessDisplay.from_results(found, metric="loss", ax=axes[1])
axes[0].get_legend().remove()  # the other panel has it
for ax, values, better in ((axes[0], found.scores, max), (axes[1], found.losses, min)):
    last = dict(zip(found.names, values[:, -1].mean(axis=1), strict=True))
    best = better(last, key=last.get)
    ax.set_title(
        f"Best with the most noise: {best}, {last[best]:.2f}", fontsize="medium"
    )

# %%
# All models see the same rows, so that their differences vary less than they do. This is
# one split of one small table, a picture of these fits and no evidence for a method: with
# other splits the order of the three in log-loss is another.

differences = found.losses[0] - found.losses[1]  # of shape (n_strengths, n_repeats)
for strength, of_repeats in zip(found.strengths, differences, strict=True):
    print(
        f"noise {strength:.1f}: log-loss without a radius higher by "
        f"{of_repeats.mean():.3f} (deviation of the repeats {of_repeats.std():.3f})"
    )
plt.show()
