"""Does sharpness-aware training find flatter minima?
==================================================

``SharpnessDisplay`` measures several fits and draws them side by side. A quarter of the
training labels are flipped: to fit them takes a sharp minimum.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from sksharp import SAMMLPClassifier, SharpnessDisplay, sharpness

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # at max_iter, as meant
X, y = load_breast_cancer(return_X_y=True)
X, X_test, y, y_test = train_test_split(scale(X), y, random_state=0)
flipped = np.random.default_rng(0).random(len(y)) < 0.25
y = np.where(flipped, 1 - y, y)
settings = {"max_iter": 100, "learning_rate_init": 0.005, "tol": 0, "random_state": 0}
fits = {
    "adam": SAMMLPClassifier(solver="adam", **settings),
    "SAM, rho=0.2": SAMMLPClassifier(rho=0.2, **settings),
    "SAM, rho=0.5": SAMMLPClassifier(rho=0.5, **settings),
    "SAM, rho=1": SAMMLPClassifier(rho=1, **settings),
}
for clf in fits.values():
    clf.fit(X, y)

# %%
# Bars are standard errors over the random probes, where there are probes.

display = SharpnessDisplay.from_estimators(
    fits, X, y, measure=["worst_case", "top_eigenvalue", "trace"], rho=0.5
)
ratios = display.values[:, 0] / display.values[:, -1]
display.figure_.suptitle(
    f"adam's minimum is {ratios.min():.0f} to {ratios.max():.0f} times as sharp as that of "
    "SAM with rho=1",
    fontsize="medium",
)

# %%
# Beside the sharpness relative to the weights: what became of the labels that are right.

for name, clf in fits.items():
    found = sharpness(clf, X, y, adaptive=True, rho=0.5)
    print(
        f"{name:13} training loss {found.loss:.3f}, adaptive worst case "
        f"{found.value:.3f}, test accuracy {clf.score(X_test, y_test):.3f}"
    )
plt.show()
