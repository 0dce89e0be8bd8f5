"""How do several processes share one fit?
=======================================

Each process computes the gradient of its part of every minibatch. All load the same rows,
here made up; a real script would open a memory-mapped file, which is in memory once per
machine. To start two processes on this machine:

.. code-block:: shell

    pip install accelerate
    torchrun --nproc-per-node 2 examples/fit_in_processes.py --save model.sksharp
"""

# sphinx_gallery_thumbnail_path = "_static/thumbnails/fit_in_processes.svg"

import argparse

import numpy as np
from sklearn.datasets import make_classification

import sksharp
from sksharp.distributed import data_parallel

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--first-pass", choices=["reduced", "local"], default="reduced")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--save", help="file to write the estimator to")
    options = parser.parse_args()

    X, y = make_classification(options.rows, n_features=20, random_state=0)
    clf = sksharp.SAMMLPClassifier(
        (64, 64),
        solver="sam",
        rho=0.1,
        batch_size=256,
        early_stopping=True,
        random_state=0,  # the same initial weights and minibatches in all processes
    )
    with data_parallel(options.first_pass) as ranks:
        clf.fit(X, y)

    # all processes have the same estimator now; one of them speaks and writes
    if ranks.is_first:
        norm = np.sqrt(sum(np.square(w).sum() for w in clf.coefs_))
        print(f"{ranks.world_size} processes, accuracy {clf.score(X, y):.3f}")
        print(f"norm of the weights {norm:.12f}")
        if options.save:
            sksharp.save(clf, options.save)
