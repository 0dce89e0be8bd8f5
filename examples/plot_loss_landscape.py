"""What does the loss look like around a fit?
==========================================

``LossLandscapeDisplay`` draws the plane through a network, and the line between two: here
from where stochastic gradient descent has ended to the average of its last epochs.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sksharp import LossLandscapeDisplay, SAMMLPClassifier
from sksharp.options import SWA

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # at max_iter, as meant
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
test = {"X_test": X_test, "y_test": y_test}
settings = {"hidden_layer_sizes": (32,), "max_iter": 60, "tol": 0, "random_state": 0}

# %%
# The line from SGD to its average, as in the paper on stochastic weight averaging. Both
# fits walk the same path, so their last weights are comparable.
#
# The test loss is so much higher that it has a scale of its own.

options = {"solver": "sgd", "learning_rate_init": 0.1, "batch_size": 32, **settings}
sgd = SAMMLPClassifier(**options).fit(X_train, y_train)
swa = SAMMLPClassifier(swa=SWA(start=0.5), **options).fit(X_train, y_train)
rows = {"Training rows": (X_train, y_train), "Test rows": (X_test, y_test)}
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, (title, (X_shown, y_shown)) in zip(axes, rows.items(), strict=True):
    LossLandscapeDisplay.from_estimators(
        sgd, swa, X_shown, y_shown, names=["SGD", "SWA"], ax=ax
    )
    start, end = np.interp([0, 1], *ax.lines[0].get_data())
    way = "rises" if end > start else "falls"
    ax.set_title(f"{title}: the loss {way} from {start:.2g} to {end:.2g}")

# %%
# The plane through a fit by SAM, training and test rows on one scale.

sam = SAMMLPClassifier(rho=0.5, learning_rate_init=0.005, **settings)
sam.fit(X_train, y_train)
display = LossLandscapeDisplay.from_estimator(sam, X_train, y_train, **test)
middle = display.losses.shape[1] // 2
train_loss, test_loss = display.losses[:, middle, middle]
display.figure_.suptitle(
    f"At the network the loss is {train_loss:.2g} on training rows and "
    f"{test_loss:.2g} on test rows"
)
plt.show()
