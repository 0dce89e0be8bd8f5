"""How do I train a published tabular network flat?
================================================

``FTTransformer`` of the package ``rtdl_revisiting_models``, a transformer over the columns
of a table, trained with and without a radius on the cultivars of wine. The difference is a
test row or two. Without the package the script says how to get it:

.. code-block:: shell

    pip install rtdl_revisiting_models
    python examples/net_tabular_transformer.py --seeds 3 --rho 0 0.02 0.05
"""

# sphinx_gallery_thumbnail_path = "_static/thumbnails/net_tabular_transformer.svg"

import argparse

import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksharp.nets import SAMNetClassifier

try:
    from rtdl_revisiting_models import FTTransformer
except ImportError:
    raise SystemExit(
        "This example needs a package: pip install rtdl_revisiting_models"
    ) from None


class Transformer(FTTransformer):
    """The transformer for a table of numbers, whose shape the net tells it."""

    def __init__(self, n_features_in, n_outputs, n_blocks=1):
        super().__init__(
            n_cont_features=n_features_in,
            cat_cardinalities=[],
            d_out=n_outputs,
            **FTTransformer.get_default_kwargs(n_blocks=n_blocks),
        )

    def forward(self, X):
        """Return the logits."""
        return super().forward(X, None)


def main():
    """Train with every radius and print the accuracy on the other half of the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rho", type=float, nargs="+", default=[0.0, 0.02, 0.05])
    args = parser.parse_args()
    X, y = load_wine(return_X_y=True)
    for rho in args.rho:
        scores = []
        for seed in range(args.seeds):
            X_train, X_test, y_train, y_test = train_test_split(
                X, y, test_size=0.5, random_state=seed, stratify=y
            )
            net = SAMNetClassifier(
                Transformer,
                base_solver="adamw",
                rho=rho,
                lr=0.001,
                max_epochs=15,
                batch_size=32,
                random_state=seed,
            )
            model = make_pipeline(StandardScaler(), net).fit(X_train, y_train)
            scores.append(model.score(X_test, y_test))
        print(f"rho={rho:<5} test accuracy {np.mean(scores):.3f}, seeds {args.seeds}")


if __name__ == "__main__":
    main()
