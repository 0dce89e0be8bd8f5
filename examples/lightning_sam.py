"""How does a LightningModule train with SAM?
==========================================

``configure_optimizers`` returns it, and ``training_step`` logs in the first of its two
evaluations. A callback averages the weights of the last epochs. Half of the labels that the
script trains with are drawn at random:

.. code-block:: shell

    pip install lightning
    python examples/lightning_sam.py --rho 0 0.1 0.3
"""

# sphinx_gallery_thumbnail_path = "_static/thumbnails/lightning_sam.svg"

import argparse
import logging

import lightning as L
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sksharp.averaging import SWA, update_bn
from sksharp.optim import SAM


class Classifier(L.LightningModule):
    """One hidden layer, with batch normalization."""

    def __init__(self, rho):
        super().__init__()
        self.rho = rho
        self.net = nn.Sequential(
            nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10)
        )

    def forward(self, rows):
        """Return the logits."""
        return self.net(rows)

    def training_step(self, batch, batch_idx):
        """Return the loss; it is logged at the weights, not at the perturbed ones."""
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        if not self.optimizers().is_second_pass:
            self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def test_step(self, batch, batch_idx):
        """Log the accuracy."""
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        """Return SAM over Adam, which is Adam with a radius of 0."""
        return SAM(self.parameters(), torch.optim.Adam, rho=self.rho, lr=0.003)


class Averaging(L.Callback):
    """Ends with the mean of the weights of the second half of the epochs."""

    def __init__(self):
        self.average = SWA()

    def on_train_epoch_end(self, trainer, module):
        """Take the weights into the average."""
        if trainer.current_epoch >= trainer.max_epochs // 2:
            self.average.update(module.parameters())

    def on_train_end(self, trainer, module):
        """Put the average into the module, with statistics of its own."""
        self.average.copy_to(module.parameters())
        update_bn(trainer.train_dataloader, module, module.device)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rho", type=float, nargs="+", default=[0.0, 0.1, 0.3])
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = map(
        torch.as_tensor,
        train_test_split((X / 16).astype("float32"), y, test_size=0.5, random_state=0),
    )
    L.seed_everything(0, verbose=False)
    y = torch.where(torch.rand(len(y)) < 0.5, torch.randint(10, y.shape), y)
    loader = DataLoader(TensorDataset(X, y), batch_size=64, shuffle=True)
    test = DataLoader(TensorDataset(X_test, y_test), batch_size=1024)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

    for rho in options.rho:
        for callbacks in ([], [Averaging()]):
            L.seed_everything(0, verbose=False)
            trainer = L.Trainer(
                max_epochs=options.epochs,
                callbacks=callbacks,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            module = Classifier(rho)
            trainer.fit(module, loader)
            loss = trainer.callback_metrics["loss"].item()
            (scores,) = trainer.test(module, test, verbose=False)
            weights = "averaged weights" if callbacks else "last weights"
            print(
                f"rho={rho:<5g}{weights:<17} loss of the last epoch {loss:.2f}, "
                f"test accuracy {scores['accuracy']:.3f}"
            )
