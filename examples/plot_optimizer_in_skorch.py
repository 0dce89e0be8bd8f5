"""How does a skorch net train with SAM?
=====================================

skorch passes a closure to ``step``, so an optimizer of ``sksharp.optim`` goes in as it is,
with its parameters under ``optimizer__``. The net trains on CUDA where there is a device.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from sksharp.optim import SAM

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
torch.manual_seed(0)


class Network(nn.Module):
    """One hidden layer, with dropout."""

    def __init__(self, n_hidden=64):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, n_hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(n_hidden, 10)
        )

    def forward(self, X):
        """Return the logits."""
        return self.layers(X)


net = NeuralNetClassifier(
    Network,
    criterion=nn.CrossEntropyLoss,
    optimizer=SAM,
    optimizer__base_optimizer=torch.optim.Adam,
    optimizer__rho=0.1,
    lr=0.005,
    batch_size=64,
    max_epochs=10,
    iterator_train__shuffle=True,
    train_split=None,
    device="cuda" if torch.cuda.is_available() else "cpu",
    verbose=0,
)

# %%
# The radius is a parameter like any other. A radius of 0 is Adam.

search = GridSearchCV(net, {"optimizer__rho": [0.0, 0.1, 0.3]}, cv=3)
search.fit(X, y)
results = search.cv_results_
radii = results["param_optimizer__rho"].data.astype(float)
for rho, mean, spread in zip(
    radii, results["mean_test_score"], results["std_test_score"], strict=True
):
    print(f"rho={rho:<5} accuracy of three folds {mean:.3f}, spread {spread:.3f}")
print(f"test accuracy with {search.best_params_}: {search.score(X_test, y_test):.3f}")

means, spreads = results["mean_test_score"], results["std_test_score"]
_, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.errorbar(range(len(radii)), means, spreads, fmt="o", capsize=5, color="#0072B2")
ax.set_xticks(range(len(radii)), [f"{rho:g}" for rho in radii])
ax.margins(x=0.2)
ax.set(xlabel="rho", ylabel="accuracy of three folds, and their spread")
ax.spines[["top", "right"]].set_visible(False)
best = means.argmax()
ax.set_title(
    f"rho={radii[best]:g} is best by {means[best] - np.delete(means, best).max():.3f}; the "
    f"folds differ by {spreads[best]:.3f}",
    fontsize="medium",
)
plt.show()
