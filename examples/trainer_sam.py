"""How does a Trainer of Hugging Face train with SAM?
==================================================

``Trainer`` calls ``step`` without a closure, and SAM evaluates the gradient twice. A
subclass takes the step in ``training_step``, with a closure over all micro-batches of it. A
small vision transformer learns digits; half of the labels that it trains with are drawn at
random:

.. code-block:: shell

    pip install transformers accelerate
    python examples/trainer_sam.py --rho 0 0.05
"""

# sphinx_gallery_thumbnail_path = "_static/thumbnails/trainer_sam.svg"

import argparse
from tempfile import TemporaryDirectory

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import (
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)

from sksharp.optim import SAM


class TrainerSAM(SAM):
    """SAM that ignores the call of ``step`` without a closure, which Trainer makes."""

    def step(self, closure=None):
        """Take a step, if there is a closure."""
        return None if closure is None else super().step(closure)


class SAMTrainer(Trainer):
    """Takes a step when the last of its micro-batches has come."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.args.fp16:
            raise ValueError(
                "fp16 must be False, got True: set bf16=True in its place."
            )
        self.micro_batches = []

    def training_step(self, model, inputs, num_items_in_batch=None):
        """Keep the micro-batch; if it is the last one, step and return the loss of all."""
        self.micro_batches.append(inputs)
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        micro_batches, self.micro_batches = self.micro_batches, []
        optimizer = self.optimizer.optimizer  # that of Accelerate has it inside
        backward = super().training_step

        def closure():
            optimizer.zero_grad()
            return sum(
                backward(model, one, num_items_in_batch) for one in micro_batches
            )

        return optimizer.step(closure)


def make_network():
    """Return a vision transformer for images of 8 by 8 pixels."""
    config = ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        hidden_dropout_prob=0.1,
        initializer_range=0.2,
        num_labels=10,
    )
    return ViTForImageClassification(config)


def make_rows(X, y):
    """Return the rows as Trainer takes them."""
    images = X.astype("float32").reshape(-1, 1, 8, 8)
    return [
        {"pixel_values": image, "labels": label}
        for image, label in zip(images, y, strict=True)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rho", type=float, nargs="+", default=[0.0, 0.05])
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.5, random_state=0)
    rng = np.random.default_rng(0)
    y = np.where(rng.random(len(y)) < 0.5, rng.integers(10, size=len(y)), y)

    for rho in options.rho:
        set_seed(0)
        with TemporaryDirectory() as folder:
            trainer = SAMTrainer(
                make_network(),
                TrainingArguments(
                    folder,
                    num_train_epochs=options.epochs,
                    per_device_train_batch_size=32,
                    gradient_accumulation_steps=2,
                    save_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                    logging_strategy="no",
                    use_cpu=True,
                    dataloader_pin_memory=False,
                ),
                train_dataset=make_rows(X, y),
                optimizer_cls_and_kwargs=(
                    TrainerSAM,
                    {"base_optimizer": torch.optim.AdamW, "rho": rho, "lr": 0.003},
                ),
            )
            loss = trainer.train().training_loss
            logits = trainer.predict(make_rows(X_test, y_test)).predictions
        accuracy = np.mean(logits.argmax(axis=1) == y_test)
        print(f"rho={rho:<5g}mean loss {loss:.2f}, test accuracy {accuracy:.3f}")
