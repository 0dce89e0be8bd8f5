"""How did training go, where did averaging begin, and which epoch was best?
=========================================================================

``LossCurveDisplay`` draws the losses of several fits, and their validation scores.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sksharp import LossCurveDisplay, SAMMLPClassifier

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # at max_iter, as meant
X, y = load_digits(return_X_y=True)
X = X / 16
settings = {"max_iter": 40, "n_iter_no_change": 40, "random_state": 0}

# %%
# Three fits on the same rows. The loss is that of the training, of the weights before each
# step; the scores are those of the tenth of the rows that ``early_stopping`` leaves out.
# The scores of the third fit are those of the averaged weights, its losses are not.

left_out = {"early_stopping": True, **settings}
fits = {
    "adam": SAMMLPClassifier(solver="adam", **left_out),
    "SAM": SAMMLPClassifier(rho=0.2, **left_out),
    "SAM, EMA of weights": SAMMLPClassifier(rho=0.2, ema_decay=0.99, **left_out),
}
for clf in fits.values():
    clf.fit(X, y)

display = LossCurveDisplay.from_estimators(fits, log_scale=True)
losses = {name: clf.loss_curve_[-1] for name, clf in fits.items()}
scores = {name: clf.best_validation_score_ for name, clf in fits.items()}
lowest, best = min(losses, key=losses.get), max(scores, key=scores.get)
display.ax_.set_title(
    f"Lowest loss: {lowest}. Best score: {best}, {scores[best]:.3f}\n"
    f"(the others: {', '.join(f'{s:.3f}' for n, s in scores.items() if n != best)}; "
    f"one row is {1 / (0.1 * len(y)):.3f})",
    fontsize="medium",
)

# %%
# With ``swa=True`` the weights are averaged from an epoch on, which the curve marks. All
# rows are trained on, so that there are no scores.

options = {"solver": "sgd", "learning_rate_init": 0.1, **settings}
fits = {
    "sgd": SAMMLPClassifier(**options),
    "sgd, averaged at the end": SAMMLPClassifier(swa=True, **options),
}
for clf in fits.values():
    clf.fit(X, y)
display = LossCurveDisplay.from_estimators(fits, log_scale=True)
same = fits["sgd"].loss_curve_ == fits["sgd, averaged at the end"].loss_curve_
display.ax_.set_title(
    "The average follows the training, and does not change it"
    if same
    else "The two trainings differ",
    fontsize="medium",
)
plt.show()
