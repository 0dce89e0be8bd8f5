"""How do I train a network with embeddings for categories?
========================================================

A module whose ``forward`` has arguments of the names of columns is given a data frame
column by column. Here it looks up the sex and the decade of the age in embeddings, beside
eight measurements, to predict the progression of diabetes. With and without a radius, and
with a radius that each fit chooses, which makes no difference on these rows that the folds
could tell from chance.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold, cross_val_score
from sklearn.preprocessing import StandardScaler
from torch import nn

from sksharp.nets import SAMNetRegressor

frame, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
measurements = [name for name in frame if name not in ("age", "sex")]
standardized = StandardScaler().fit_transform(frame[measurements])
frame[measurements] = standardized.astype("float32")
frame["decade"] = (frame.pop("age") // 10).astype(int)
frame["sex"] = frame["sex"].astype(int) - 1
print(frame.head(3).round(1).to_string())

# %%
# Every column arrives as a tensor of shape (n_rows, 1), integers as integers.


class WithEmbeddings(nn.Module):
    """A hidden layer over measurements and what the categories are looked up as."""

    def __init__(self, n_hidden=32, n_each=2):
        super().__init__()
        self.sex, self.decade = nn.Embedding(2, n_each), nn.Embedding(10, n_each)
        self.layers = nn.Sequential(
            nn.Linear(8 + 2 * n_each, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 1)
        )

    def forward(self, sex, decade, bmi, bp, s1, s2, s3, s4, s5, s6):
        """Return the predictions, of shape (n_rows, 1)."""
        looked_up = [self.sex(sex[:, 0]), self.decade(decade[:, 0])]
        return self.layers(torch.cat([*looked_up, bmi, bp, s1, s2, s3, s4, s5, s6], 1))


# %%
# The mean squared error of five folds, in units of the variance.

RADII = {"Adam": 0.0, "SAM, rho=0.2": 0.2, "chosen": [0.0, 0.2, 0.5]}
folds = KFold(5, shuffle=True, random_state=0)
errors = {}
for name, rho in RADII.items():
    net = SAMNetRegressor(
        WithEmbeddings, rho=rho, lr=0.01, max_epochs=15, batch_size=64, random_state=0
    )
    model = TransformedTargetRegressor(net, transformer=StandardScaler())
    scores = cross_val_score(
        model, frame, y, cv=folds, scoring="neg_mean_squared_error"
    )
    errors[name] = -scores / y.var()
    difference = errors[name] - errors["Adam"]
    spread = difference.std(ddof=1) / np.sqrt(len(difference))
    print(
        f"{name:14} {errors[name].mean():.3f}, minus Adam's {difference.mean():+.3f} "
        f"(standard error of the folds {spread:.3f})"
    )

# %%
# A gray dot is a fold, a diamond the mean of the folds with two standard errors.

others = [name for name in errors if name != "Adam"]
_, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
ax.axvline(0, color="0.35", lw=1)
for place, name in enumerate(others):
    differences = errors[name] - errors["Adam"]
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    ax.errorbar(
        differences.mean(), place, xerr=2 * error, fmt="D", capsize=5, color="#0072B2"
    )
    ax.plot(differences, [place + 0.18] * len(differences), "o", color="0.6", ms=5)
ax.set_yticks(range(len(others)), others)
ax.set_ylim(len(others) - 0.5, -0.5)
ax.set_xlabel("squared error / variance, minus that of Adam")
ax.spines[["top", "right"]].set_visible(False)
lower = {name: (errors[name] < errors["Adam"]).sum() for name in others}
ax.set_title(
    "Folds of five with a lower error than Adam's: "
    + ", ".join(f"{name} {n}" for name, n in lower.items()),
    fontsize="medium",
)
plt.show()
