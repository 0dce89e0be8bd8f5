"""Which radius is best, and how sure is that?
===========================================

``RhoCurveDisplay`` draws a search over ``rho``, and what ``rho='auto'`` looked at. A
quarter of the labels are flipped, so that there is something to resist.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from sksharp import RhoCurveDisplay, SAMMLPClassifier, VectorizedGridSearchCV

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # at max_iter, as meant
X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
flipped = np.random.default_rng(0).random(len(y)) < 0.25
y = np.where(flipped, 1 - y, y)
settings = {"max_iter": 60, "learning_rate_init": 0.005, "random_state": 0}

# %%
# A search, with the spread of the folds.

search = VectorizedGridSearchCV(
    SAMMLPClassifier(**settings), {"rho": [0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]}
)
search.fit(X, y)
display = RhoCurveDisplay.from_cv_results(search, score_name="Mean test accuracy")
best, spread = search.best_score_, display.std[display.rho == display.chosen_rho].item()
display.ax_.set_title(
    f"rho={display.chosen_rho:g} is best: {best:.3f}, and {display.baseline:.3f} without a "
    f"radius;\nthe folds of the best differ by {spread:.3f}",
    fontsize="medium",
)

# %%
# The choice by ``rho='auto'``: radii that are hopeless are given up on the way. Their
# losses are of fewer epochs, so that no line joins them: they tell the order in which the
# radii went, and not how much worse they would have been.

clf = SAMMLPClassifier(rho="auto", n_members=3, **settings).fit(X, y)
display = RhoCurveDisplay.from_estimator(clf)
given_up = ", ".join(f"{rho:g}" for rho in display.rho[~display.is_complete])
display.ax_.set_title(
    f"rho='auto' keeps {clf.rho_:g}; given up early: {given_up or 'none'}",
    fontsize="medium",
)

# %%
# What the choice was made by is the difference to the lowest loss at the same epoch: of the
# radii that were compared last, the largest that is no more than a standard error, and no
# more than 5 %, above it is chosen.

display = RhoCurveDisplay.from_estimator(clf, kind="difference")
above = dict(zip(clf.rho_grid_, clf.rho_differences_, strict=True))
display.ax_.set_title(
    f"The chosen rho={clf.rho_:g} was {above[clf.rho_]:.3f} above the lowest loss, rho=0 "
    f"{above[0]:.3f}",
    fontsize="medium",
)
plt.show()
