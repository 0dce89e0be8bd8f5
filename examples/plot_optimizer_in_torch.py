"""How does a plain torch loop use SAM, and average its weights?
=============================================================

The optimizers of ``sksharp.optim`` train any torch module. Two things differ from a usual
loop: the loss and its gradient go into a closure, which a step evaluates twice, and the
averaged weights need statistics of batch normalization of their own.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale
from torch import nn

from sksharp.averaging import SWA, update_bn
from sksharp.optim import SAM

X, y = load_breast_cancer(return_X_y=True)
X, X_test, y, y_test = map(
    torch.as_tensor,
    train_test_split(scale(X).astype("float32"), y, test_size=0.5, random_state=0),
)
torch.manual_seed(0)
model = nn.Sequential(
    nn.Linear(30, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 2)
)
optimizer = SAM(model.parameters(), torch.optim.AdamW, rho=0.2, lr=0.01)
swa, params = SWA(), list(model.parameters())


def accuracy():
    """Return the accuracy on the rows that were left out."""
    model.eval()
    with torch.no_grad():
        found = (model(X_test).argmax(1) == y_test).float().mean().item()
    model.train()
    return found


# %%
# A batch is drawn outside the closure, because both evaluations must see the same. The
# step replays dropout and counts the batch once in the statistics of the layers.

losses, accuracies = [], []
for epoch in range(40):
    for batch in torch.randperm(len(X)).split(64):

        def closure(batch=batch):
            """Evaluate the loss and its gradient."""
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(X[batch]), y[batch])
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
    accuracies.append(accuracy())
    if epoch >= 20:
        swa.update(params)

# %%
# The average is written into the module, and the running statistics are computed anew:
# those of the last weights are not those of the average.

last = accuracy()
swa.copy_to(params)
stale = accuracy()
update_bn([X], model)
print(f"test accuracy of the last weights {last:.3f}")
print(f"of the average, with the statistics of the last weights {stale:.3f}")
average = accuracy()
print(f"of the average, with its own statistics {average:.3f}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
means = np.reshape(losses, (40, -1)).mean(axis=1)
axes[0].plot(losses, color="0.8", label="minibatch")
axes[0].plot(np.arange(40) * len(losses) / 40, means, color="#0072B2", label="epoch")
axes[0].set(xlabel="step", ylabel="training loss", yscale="log")
axes[0].set_title(f"The loss falls from {means[0]:.2f} to {means[-1]:.2f}")
axes[0].legend(frameon=False)
axes[1].plot(range(1, 41), accuracies, color="0.6", label="weights after an epoch")
axes[1].plot(
    [21, 40], [average] * 2, color="#D55E00", lw=3, label="average of these epochs"
)
axes[1].set(xlabel="epoch", ylabel="test accuracy")
axes[1].set_title(f"Last weights {last:.3f}, average {average:.3f}")
axes[1].legend(frameon=False)
plt.show()
