"""How do I train a convolutional network of my own in scikit-learn?
=================================================================

``SAMNetClassifier`` takes any torch module. Here it is a small convolutional network with
batch normalization, on the digits of 8 x 8 pixels, as they are and with 40 % of the labels
that it trains with flipped. It is trained by Adam, by SAM, which takes twice the gradients,
and by SAM with the weights of the last epochs averaged. Expect no gain on clean images,
where twice the epochs of Adam cost the same and do better, and one with flipped labels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sksharp.nets import SAMNetClassifier

N_SEEDS = 3
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32").reshape(-1, 1, 8, 8)

# %%
# The module is a class of the user's own, its parameters are set by ``module__...``, and
# the number of classes comes from the labels.


class Convolutional(nn.Sequential):
    """Two convolutions, and a linear layer."""

    def __init__(self, n_outputs, width=8):
        super().__init__(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * width, n_outputs),
        )


METHODS = {
    "Adam": {"solver": "adam"},
    "Adam, twice the epochs": {"solver": "adam", "max_epochs": 12},
    "SAM": {"rho": 0.2},
    "SAM, averaged": {"rho": 0.2, "swa": True},
}


def accuracy(params, noise, seed):
    """Return the accuracy on images with their right labels."""
    X, X_test, y, y_test = train_test_split(
        images, labels, test_size=0.5, random_state=seed, stratify=labels
    )
    random = np.random.default_rng(seed)
    flipped = random.random(len(y)) < noise
    y = np.where(flipped, (y + random.integers(1, 10, len(y))) % 10, y)
    common = {"max_epochs": 6, "lr": 0.003, "batch_size": 64, "random_state": seed}
    net = SAMNetClassifier(Convolutional, **{**common, **params})
    return net.fit(X, y).score(X_test, y_test)


# %%
# All methods see the same splits, flips, initial weights and minibatches, so that the
# differences from Adam can be taken seed by seed.

found = {}
for noise in (0.0, 0.4):
    print(f"{noise:.0%} of the labels flipped, {N_SEEDS} seeds")
    for name, params in METHODS.items():
        runs = [accuracy(params, noise, seed) for seed in range(N_SEEDS)]
        found[name, noise] = np.array(runs)
        gain = found[name, noise] - found["Adam", noise]
        error = gain.std(ddof=1) / np.sqrt(N_SEEDS)
        over = f", over Adam {gain.mean():+.3f} (standard error {error:.3f})"
        print(f"  {name:24}{np.mean(runs):.3f}" + ("" if name == "Adam" else over))

# %%
# A gray dot is a seed, a diamond the mean of the seeds with two standard errors, by which
# three seeds tell large differences only.

others = [name for name in METHODS if name != "Adam"]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
for ax, noise in zip(axes, (0.0, 0.4), strict=True):
    for place, name in enumerate(others):
        gains = 100 * (found[name, noise] - found["Adam", noise])
        error = gains.std(ddof=1) / np.sqrt(N_SEEDS)
        ax.errorbar(
            gains.mean(), place, xerr=2 * error, fmt="D", capsize=5, color="#0072B2"
        )
        ax.plot(gains, [place + 0.18] * N_SEEDS, "o", color="0.6", ms=5)
    ax.axvline(0, color="0.35", lw=1)
    ax.set_yticks(range(len(others)), others)
    ax.set_ylim(len(others) - 0.5, -0.5)
    ax.set_xlabel("test accuracy over Adam, in points")
    ax.spines[["top", "right"]].set_visible(False)
    gains = 100 * (found["SAM", noise] - found["Adam", noise])
    ax.set_title(f"{noise:.0%} of the labels flipped: SAM {gains.mean():+.1f} points")
plt.show()
