"""The estimators inside scikit-learn's pipelines, searches and other meta-estimators."""

import inspect

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingRegressor,
    StackingClassifier,
    VotingRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_predict,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted

from sksharp import SAMMLPClassifier, SAMMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [SAMMLPClassifier, SAMMLPRegressor]
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0}
# a large step, for predictions that tell one candidate from another
QUICK = {**SMALL, "learning_rate_init": 0.05}
X, y = make_classification(90, 6, n_informative=4, n_classes=3, random_state=0)
weights = np.random.RandomState(1).uniform(0.1, 5, size=90)


@pytest.mark.slow
def test_a_parallel_search_over_rho_routes_weights_and_scores_as_by_hand():
    grid, folds = [0.0, 0.5, 2.0], KFold(2)

    def by_hand(fit_weight):
        scores = np.empty((len(grid), 2))
        for i, rho in enumerate(grid):
            for j, (train, test) in enumerate(folds.split(X)):
                scaler = StandardScaler().fit(X[train])
                network = SAMMLPClassifier(**QUICK, rho=rho)
                network.fit(scaler.transform(X[train]), y[train], fit_weight[train])
                scores[i, j] = network.score(
                    scaler.transform(X[test]), y[test], weights[test]
                )
        return scores

    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        network = SAMMLPClassifier(**QUICK).set_fit_request(sample_weight=True)
        pipeline = Pipeline([("scale", scaler), ("mlp", network)])
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        search = GridSearchCV(
            pipeline, {"mlp__rho": grid}, scoring=scorer, cv=folds, n_jobs=2
        )
        search.fit(X, y, sample_weight=weights)
        refitted = clone(pipeline).set_params(**search.best_params_)
        refitted.fit(X, y, sample_weight=weights)
    scores = np.c_[
        search.cv_results_["split0_test_score"], search.cv_results_["split1_test_score"]
    ]
    expected = by_hand(weights)
    assert_allclose(scores, expected, rtol=1e-12)
    assert not np.allclose(expected, by_hand(np.ones(90)))
    assert search.best_params_ == {"mlp__rho": grid[expected.mean(axis=1).argmax()]}
    assert_array_equal(search.predict_proba(X), refitted.predict_proba(X))


def test_a_randomized_search_refits_the_best_candidate():
    search = RandomizedSearchCV(
        SAMMLPRegressor(**QUICK),
        {"rho": loguniform(1e-2, 1), "solver": ["sam", "wsam", "ranger"]},
        n_iter=4,
        cv=2,
        random_state=0,
    ).fit(X, y)
    assert 1e-2 <= search.best_params_["rho"] <= 1
    best = SAMMLPRegressor(**QUICK, **search.best_params_).fit(X, y)
    assert_array_equal(search.predict(X), best.predict(X))


@pytest.mark.parametrize("Estimator", ESTIMATORS)
def test_a_clone_has_the_parameters_and_not_the_fit(Estimator):
    estimator = Estimator(**SMALL, rho=0.3, swa=True).fit(X, y)
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    assert vars(twin).keys() == estimator.get_params().keys() | (
        {"loss"} if is_classifier(estimator) else set()
    )
    with pytest.raises(NotFittedError):
        check_is_fitted(twin)
    assert_array_equal(twin.fit(X, y).predict(X), estimator.predict(X))


@pytest.mark.parametrize("Estimator", ESTIMATORS)
def test_every_parameter_can_be_read_and_set_through_a_pipeline(Estimator):
    names = list(inspect.signature(Estimator).parameters)
    pipeline = Pipeline([("mlp", Estimator())])
    assert {f"mlp__{name}" for name in names} <= pipeline.get_params().keys()
    pipeline.set_params(**{f"mlp__{name}": i for i, name in enumerate(names)})
    assert pipeline["mlp"].get_params() == dict(zip(names, range(99), strict=False))


def test_a_frozen_network_is_calibrated_and_left_as_it_is():
    network = SAMMLPClassifier(**QUICK).fit(X, y)
    before = [coef.copy() for coef in network.coefs_]
    frozen = FrozenEstimator(network)
    calibrated = CalibratedClassifierCV(frozen, method="sigmoid").fit(X, y)
    assert all(fold.estimator is frozen for fold in calibrated.calibrated_classifiers_)
    assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1, rtol=1e-12)
    for coef, expected in zip(network.coefs_, before, strict=True):
        assert_array_equal(coef, expected)


WITHOUT_RHO = {
    "classifier": SAMMLPClassifier(**QUICK, rho=0),
    "regressor": SAMMLPRegressor(**QUICK, rho=0),
}
REFERENCES = {"classifier": MLPClassifier(**QUICK), "regressor": MLPRegressor(**QUICK)}
labels = np.c_[y > 0, y > 1].astype(int)
META_ESTIMATORS = {
    "ada-boost": lambda mlp: AdaBoostClassifier(
        mlp["classifier"], n_estimators=3, random_state=0
    ),
    "bagging": lambda mlp: BaggingRegressor(
        mlp["regressor"], n_estimators=3, random_state=0
    ),
    "calibration": lambda mlp: CalibratedClassifierCV(mlp["classifier"], cv=2),
    "chain": lambda mlp: ClassifierChain(mlp["classifier"]),
    "one-vs-rest": lambda mlp: OneVsRestClassifier(mlp["classifier"]),
    "search": lambda mlp: GridSearchCV(mlp["regressor"], {"alpha": [0.1, 10]}, cv=2),
    "self-training": lambda mlp: SelfTrainingClassifier(mlp["classifier"]),
    "several-targets": lambda mlp: MultiOutputRegressor(mlp["regressor"]),
    "stacking": lambda mlp: StackingClassifier(
        [("mlp", mlp["classifier"])], mlp["classifier"], cv=2
    ),
    "target": lambda mlp: TransformedTargetRegressor(
        mlp["regressor"], transformer=StandardScaler()
    ),
    "voting": lambda mlp: VotingRegressor([("mlp", mlp["regressor"])]),
}
TARGETS = {
    "chain": labels,
    "several-targets": labels,
    "self-training": np.where(np.arange(90) % 3, y, -1),
}


@pytest.mark.parametrize("name", META_ESTIMATORS)
def test_meta_estimators_use_it_as_scikit_learns_own(name):
    target, outputs = TARGETS.get(name, y), []
    for networks in (WITHOUT_RHO, REFERENCES):
        meta = META_ESTIMATORS[name](networks).fit(X, target)
        outputs.append(getattr(meta, "predict_proba", meta.predict)(X))
    assert_allclose(*outputs, rtol=1e-9)


def test_cross_validation_and_inspection_use_it_as_scikit_learns_own():
    ours, theirs = SAMMLPClassifier(**QUICK, rho=0), MLPClassifier(**QUICK)
    assert_allclose(
        cross_val_predict(ours, X, y, cv=3, method="predict_proba"),
        cross_val_predict(theirs, X, y, cv=3, method="predict_proba"),
        rtol=1e-9,
    )
    importances = [
        permutation_importance(model.fit(X, y), X, y, random_state=0).importances
        for model in (ours, theirs)
    ]
    assert_array_equal(*importances)


@pytest.mark.parametrize("Estimator", ESTIMATORS)
def test_names_of_columns_are_kept_and_checked(Estimator):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    scale_two = make_column_transformer(
        (StandardScaler(), ["b", "d"]),
        remainder="drop",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipeline = make_pipeline(scale_two, Estimator(**SMALL)).fit(frame, y)
    assert pipeline[-1].feature_names_in_.tolist() == ["b", "d"]
    shuffled = frame[list("fedcba")]
    assert_array_equal(pipeline.predict(shuffled), pipeline.predict(frame))
    network = Estimator(**SMALL).fit(frame, y)
    assert_array_equal(network.predict(frame), Estimator(**SMALL).fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        network.predict(shuffled)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        network.predict(X)


@pytest.mark.parametrize("Estimator", ESTIMATORS)
def test_it_is_no_transformer(Estimator):
    network = Estimator(**SMALL).fit(X, y)
    for name in ["transform", "set_output", "get_feature_names_out"]:
        assert not hasattr(network, name)
    pipeline = make_pipeline(StandardScaler(), network).set_output(transform="pandas")
    assert isinstance(pipeline.fit(X, y).predict(X), np.ndarray)


@pytest.mark.parametrize("Estimator", ESTIMATORS)
def test_the_html_display_links_to_the_documentation(Estimator):
    page = f"api/sksharp.{Estimator.__name__}"
    link = f"https://sksharp.readthedocs.io/en/stable/{page}.html"
    network = Estimator(**SMALL)
    for state in (network, network.fit(X, y), make_pipeline(network)):
        assert link in estimator_html_repr(state)
