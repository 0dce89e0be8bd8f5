"""Fits that are done by one process and by two, and what is compared of them."""

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.datasets import make_classification, make_regression

from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV
from sksharp.options import ESAM, SAM, SWA, InputNoise
from sksharp.options.solvers import SOLVERS

# the last minibatch of 16 has 5 rows, which two processes cannot halve
N_SAMPLES = 53

NOISE = InputNoise(std=0.5, missing=0.1, on="both")


def classes(n_samples=N_SAMPLES, n_classes=3):
    """Return rows and labels."""
    return make_classification(
        n_samples,
        n_features=6,
        n_informative=4,
        n_classes=n_classes,
        random_state=0,
    )


def targets(n_samples=N_SAMPLES):
    """Return rows and two targets, scaled."""
    X, y = make_regression(n_samples, n_features=5, n_targets=2, random_state=0)
    return X, y / 100


def row_weights(n_samples=N_SAMPLES):
    """Return weights, some of them zero."""
    return np.random.RandomState(1).randint(0, 4, n_samples).astype(np.float64)


def classifier(**params):
    """Return a small estimator, whose fits stop by no rule."""
    return SAMMLPClassifier((7,), **{**_PARAMS, **params})


def regressor(**params):
    """Return a small estimator, whose fits stop by no rule."""
    return SAMMLPRegressor(hidden_layer_sizes=(7,), **{**_PARAMS, **params})


_PARAMS = {
    "solver": "sam",
    "rho": 0.3,
    "batch_size": 16,
    "learning_rate_init": 0.02,
    "max_iter": 4,
    "random_state": 0,
}


def weights_of(estimator):
    """Return all weights of an estimator, member by member, as one vector."""
    networks = getattr(estimator, "members_", [estimator])
    parts = [w for net in networks for w in (*net.coefs_, *net.intercepts_)]
    return np.concatenate([part.ravel() for part in parts])


def seen(estimator):
    """Return what a fit came to."""
    return {
        "weights": weights_of(estimator),
        "loss_curve": np.array(getattr(estimator, "loss_curve_", [])),
        "scores": np.array(getattr(estimator, "validation_scores_", None) or []),
        "n_iter": np.array(estimator.n_iter_),
    }


def _with_weights(estimator, X, y):
    return estimator.fit(X, y, sample_weight=row_weights(len(y)))


def _in_chunks(estimator, X, y):
    for rows in np.array_split(np.arange(len(y)), 3):
        estimator.partial_fit(X[rows], y[rows], classes=np.unique(y))
    return estimator


def _search(X, y):
    grid = {"rho": [0.0, 0.2], "alpha": [1e-4, 0.1]}
    search = VectorizedGridSearchCV(classifier(), grid, cv=3, scoring="neg_log_loss")
    search.fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    return {"weights": weights_of(search.best_estimator_), "scores": scores}


# all that a fit of two processes, with its first pass reduced, should come to as well
REDUCED = {
    **{
        solver: lambda solver=solver: seen(
            classifier(solver=solver).fit(*classes()),
        )
        for solver in SOLVERS
        if solver != "esam"  # selects among the rows of a process
    },
    "esam of all rows": lambda: seen(
        classifier(solver=ESAM(fraction=1.0)).fit(*classes())
    ),
    "without a penalty": lambda: seen(classifier(alpha=0.0).fit(*classes())),
    "a large penalty": lambda: seen(classifier(alpha=5.0).fit(*classes())),
    "two classes": lambda: seen(classifier().fit(*classes(n_classes=2))),
    "two targets": lambda: seen(regressor().fit(*targets())),
    "sample_weight": lambda: seen(_with_weights(classifier(), *classes())),
    "class_weight": lambda: seen(classifier(class_weight="balanced").fit(*classes())),
    "64 rows": lambda: seen(classifier().fit(*classes(64))),
    "a last minibatch of one row": lambda: seen(classifier().fit(*classes(49))),
    "single precision": lambda: seen(
        classifier().fit(classes()[0].astype("float32"), classes()[1])
    ),
    "sparse rows": lambda: seen(
        classifier().fit(csr_matrix(classes()[0].clip(0)), classes()[1])
    ),
    "without shuffling": lambda: seen(classifier(shuffle=False).fit(*classes())),
    "micro-batches": lambda: seen(
        classifier(solver=SAM(micro_batch_size=4)).fit(*classes())
    ),
    "early stopping": lambda: seen(
        classifier(early_stopping=True, n_iter_no_change=2, max_iter=30).fit(*classes())
    ),
    "refined early stopping": lambda: seen(
        classifier(early_stopping=True, scoring="refined_loss").fit(*classes())
    ),
    "stopping by tol": lambda: seen(
        classifier(tol=0.05, n_iter_no_change=2, max_iter=40).fit(*classes())
    ),
    "swa": lambda: seen(classifier(swa=SWA(start=0.5)).fit(*classes())),
    "ema_decay": lambda: seen(classifier(ema_decay=0.9).fit(*classes())),
    "dropout": lambda: seen(classifier(dropout=[0.2, 0.4]).fit(*classes())),
    "dropout without shuffling": lambda: seen(
        classifier(dropout=0.4, shuffle=False).fit(*classes())
    ),
    "noise": lambda: seen(
        classifier(input_noise=NOISE, early_stopping=True).fit(*classes())
    ),
    "dropout of members": lambda: seen(
        classifier(n_members=3, rho="auto", dropout=0.3).fit(*classes(120))
    ),
    "onecycle": lambda: seen(classifier(learning_rate="onecycle").fit(*classes())),
    "rho='auto'": lambda: seen(classifier(rho="auto").fit(*classes(120))),
    "members": lambda: seen(classifier(n_members=3).fit(*classes())),
    "refined members": lambda: seen(
        classifier(n_members=2, rho="auto", scoring="refined_loss").fit(*classes(120))
    ),
    "weighted members": lambda: seen(
        _with_weights(classifier(n_members=3, rho="auto"), *classes(120))
    ),
    "partial_fit": lambda: seen(_in_chunks(classifier(), *classes())),
    "search": lambda: _search(*classes(60)),
}

# minibatches of 16 rows, halved: m-SAM with 8 rows
LOCAL = {
    solver: lambda solver=solver, **params: seen(
        classifier(solver=solver).set_params(**params).fit(*classes(64))
    )
    for solver in ("sam", "asam", "fisher_sam", "esam")
} | {
    "sample_weight": lambda **params: seen(
        _with_weights(classifier().set_params(**params), *classes(64))
    ),
    "dropout": lambda **params: seen(
        classifier(dropout=[0.2, 0.4]).set_params(**params).fit(*classes(64))
    ),
    "members": lambda **params: seen(
        classifier(n_members=2).set_params(**params).fit(*classes(128))
    ),
}
