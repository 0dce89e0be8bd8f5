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
left_out = {"early_stopping": True, **settings}
fits = {
    "adam": SAMMLPClassifier(solver="adam", **left_out),
    "SAM": SAMMLPClassifier(rho=0.2, **left_out),
    "SAM, averaged": SAMMLPClassifier(rho=0.2, swa=True, **settings),
}
for clf in fits.values():
    clf.fit(X, y)

# %%
# The loss is that of the training, of the weights before each step. Averaging does not
# change it: what the average is worth, other rows tell. The scores are those of the rows
# that ``early_stopping`` leaves out; the third fit trains on all of them, and so its curve
# lies lower.

display = LossCurveDisplay.from_estimators(fits, log_scale=True)
plt.show()
