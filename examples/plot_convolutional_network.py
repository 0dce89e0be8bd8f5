"""Does SAM help a small convolutional network?
============================================

A network of two convolutions on the digits of 8 x 8 pixels, with labels as they are and
with 40 % of them flipped. It is trained by AdamW, and by SAM over AdamW with the same
number of epochs, which takes twice the gradients, from the same weights on the same
minibatches; AdamW has a row with twice the epochs too.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sksharp.optim import SAM

N_SEEDS, EPOCHS = 3, 6
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32").reshape(-1, 1, 8, 8)


def network():
    """Return the network."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def test_accuracy(make, epochs, noise, seed):
    """Train from a seed and return the accuracy on images with their right labels."""
    X, X_test, y, y_test = train_test_split(
        images, labels, test_size=0.5, random_state=seed, stratify=labels
    )
    random = np.random.default_rng(seed)
    flipped = random.random(len(y)) < noise
    y = np.where(flipped, (y + random.integers(1, 10, len(y))) % 10, y)
    X, X_test, y, y_test = map(torch.as_tensor, (X, X_test, y, y_test))
    torch.manual_seed(seed)
    model = network()
    optimizer = make(model.parameters())
    for _ in range(epochs):
        for batch in torch.randperm(len(X)).split(64):

            def closure(batch=batch):
                """Evaluate the loss and its gradient."""
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(X[batch]), y[batch])
                loss.backward()
                return loss

            optimizer.step(closure)
    model.eval()
    with torch.no_grad():
        return (model(X_test).argmax(1) == y_test).float().mean().item()


# %%
# Every method sees the same splits, flips and initial weights, so that the differences
# from AdamW can be taken seed by seed.

METHODS = {
    "AdamW": (lambda params: torch.optim.AdamW(params, lr=0.003), EPOCHS),
    "AdamW, twice the epochs": (
        lambda params: torch.optim.AdamW(params, lr=0.003),
        2 * EPOCHS,
    ),
    "SAM over AdamW": (
        lambda params: SAM(params, torch.optim.AdamW, rho=0.2, lr=0.003),
        EPOCHS,
    ),
}
NOISES = [0.0, 0.4]
found = {}
for noise in NOISES:
    print(f"{noise:.0%} of labels flipped, {N_SEEDS} seeds")
    for name, (make, epochs) in METHODS.items():
        runs = [test_accuracy(make, epochs, noise, seed) for seed in range(N_SEEDS)]
        found[name, noise] = np.array(runs)
        gain = found[name, noise] - found["AdamW", noise]
        error = gain.std(ddof=1) / np.sqrt(N_SEEDS)
        verdict = "no difference" if abs(gain.mean()) <= 2 * error else "a difference"
        print(
            f"  {name:24} {np.mean(runs):.3f}, over AdamW {gain.mean():+.3f} "
            f"(standard error {error:.3f})"
            + ("" if name == "AdamW" else f": {verdict}")
        )

# %%
# A gray dot is a seed, a diamond the mean of the seeds with two standard errors, by which
# three seeds tell large differences only.

others = [name for name in METHODS if name != "AdamW"]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
for ax, noise in zip(axes, NOISES, strict=True):
    for place, name in enumerate(others):
        gains = 100 * (found[name, noise] - found["AdamW", noise])
        error = gains.std(ddof=1) / np.sqrt(N_SEEDS)
        ax.errorbar(
            gains.mean(), place, xerr=2 * error, fmt="D", capsize=5, color="#0072B2"
        )
        ax.plot(gains, [place + 0.18] * N_SEEDS, "o", color="0.6", ms=5)
    ax.axvline(0, color="0.35", lw=1)
    ax.set_yticks(range(len(others)), others)
    ax.set_ylim(len(others) - 0.5, -0.5)
    ax.set_xlabel("test accuracy over AdamW, in points")
    ax.spines[["top", "right"]].set_visible(False)
    gains = 100 * (found["SAM over AdamW", noise] - found["AdamW", noise])
    ax.set_title(f"{noise:.0%} of labels flipped: SAM {gains.mean():+.1f} points")
plt.show()
