"""How do I train on a file that does not fit into memory?
=======================================================

Rows come from the file chunk by chunk: a first pass for the scaler, then some passes for
the network, with ``partial_fit``.

.. code-block:: shell

    python examples/train_from_file.py --rows 200000 --folder /tmp
"""

# sphinx_gallery_thumbnail_path = "_static/thumbnails/train_from_file.svg"

import argparse
from pathlib import Path

import numpy as np
from sklearn.preprocessing import StandardScaler

from sksharp import SAMMLPClassifier

CHUNK = 10_000
N_FEATURES = 100


def write_files(folder, n_samples, n_features=N_FEATURES):
    """Write rows and labels, chunk by chunk, and return the paths of their files."""
    paths = Path(folder) / "X.npy", Path(folder) / "y.npy"
    create = np.lib.format.open_memmap
    X = create(paths[0], mode="w+", dtype="float32", shape=(n_samples, n_features))
    y = create(paths[1], mode="w+", dtype="int8", shape=(n_samples,))
    rng = np.random.default_rng(0)
    for start in range(0, n_samples, CHUNK):
        rows = rng.standard_normal((min(CHUNK, n_samples - start), n_features))
        X[start : start + CHUNK] = rows
        y[start : start + CHUNK] = rows[:, 0] * rows[:, 1] > 0
    return paths


def read_chunks(paths):
    """Yield rows and labels of a chunk, in memory of their own."""
    n_samples = len(np.load(paths[0], mmap_mode="r"))
    for start in range(0, n_samples, CHUNK):
        # opened anew: the pages of a map that stays open count as used
        X, y = (np.load(path, mmap_mode="r") for path in paths)
        yield np.array(X[start : start + CHUNK]), np.array(y[start : start + CHUNK])


def train(paths, passes=2):
    """Return a scaler and a classifier that have seen the rows of files."""
    scaler = StandardScaler()
    for X, _ in read_chunks(paths):
        scaler.partial_fit(X)
    clf = SAMMLPClassifier(
        (64,), rho=0.05, batch_size=256, learning_rate_init=2e-3, random_state=0
    )
    for _ in range(passes):
        for X, y in read_chunks(paths):
            # a chunk may lack a class, so all are named
            clf.partial_fit(scaler.transform(X), y, classes=[0, 1])
    return scaler, clf


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--folder", default=".", help="where to write X.npy and y.npy")
    options = parser.parse_args()
    paths = write_files(options.folder, options.rows)
    scaler, clf = train(paths)
    X, y = next(read_chunks(paths))
    print(f"accuracy on the first chunk {clf.score(scaler.transform(X), y):.3f}")
