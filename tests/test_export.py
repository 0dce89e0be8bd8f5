"""Other packages' forms of an estimator predict as it does."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import Huber, Quantile

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.randn(60, 5)
SMALL = {"hidden_layer_sizes": (7, 4), "max_iter": 5, "random_state": 0}
OF_SKLEARN = ("log_loss", "squared_error", "poisson")
CASES = {
    "binary": (SAMMLPClassifier(**SMALL), X[:, 0] > 0),
    "strings": (SAMMLPClassifier(**SMALL), np.where(X[:, 0] > 0, "up", "down")),
    "one class": (SAMMLPClassifier(**SMALL), np.ones(60)),
    "multiclass": (SAMMLPClassifier(**SMALL), RNG.randint(0, 3, 60)),
    "multilabel": (SAMMLPClassifier(**SMALL), RNG.randint(0, 2, (60, 4))),
    "one target": (SAMMLPRegressor(**SMALL), X[:, 0] - X[:, 1]),
    "two targets": (SAMMLPRegressor(**SMALL), X[:, :2]),
    "poisson": (SAMMLPRegressor("poisson", **SMALL), RNG.poisson(2.0, 60)),
    "poisson, two": (SAMMLPRegressor("poisson", **SMALL), RNG.poisson(2.0, (60, 2))),
    "absolute error": (SAMMLPRegressor("absolute_error", **SMALL), X[:, 0]),
    "huber, two": (SAMMLPRegressor(Huber(delta=0.5), **SMALL), X[:, :2]),
    "a quantile": (SAMMLPRegressor(Quantile(quantile=0.9), **SMALL), X[:, 0]),
    "two quantiles": (SAMMLPRegressor(Quantile(quantile=[0.1, 0.9]), **SMALL), X[:, 0]),
    "five quantiles": (
        SAMMLPRegressor(Quantile(quantile=[0.1, 0.2, 0.4, 0.5, 0.6]), **SMALL),
        X[:, 0],
    ),
}


def fitted(case, **params):
    estimator, y = CASES[case]
    return clone(estimator).set_params(**params).fit(X, y)


def outputs(estimator, X):
    predict = estimator.predict_proba if is_classifier(estimator) else estimator.predict
    return predict(X)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("case", CASES)
def test_the_torch_module_returns_what_the_estimator_predicts(case, activation):
    estimator = fitted(case, activation=activation)
    module = estimator.to_torch()
    assert type(module) is torch.nn.Sequential
    with torch.no_grad():
        found = module(torch.tensor(X)).numpy()
    expected = outputs(estimator, X)
    assert found.shape == expected.shape
    assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
def test_the_torch_module_of_an_ensemble_averages(case):
    estimator = fitted(case, n_members=3, cv=[(np.arange(40), np.arange(40, 60))] * 3)
    with torch.no_grad():
        found = estimator.to_torch()(torch.tensor(X)).numpy()
    assert_allclose(found, outputs(estimator, X), rtol=1e-12, atol=1e-14)


def test_the_torch_module_keeps_float32():
    y = CASES["multiclass"][1]
    rows = X.astype(np.float32)
    module = SAMMLPClassifier(**SMALL).fit(rows, y).to_torch()
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert module(torch.tensor(rows)).dtype == torch.float32


@pytest.mark.parametrize("case", ["binary", "multiclass", "multilabel", "poisson"])
def test_without_the_output_activation_the_module_returns_its_input(case):
    estimator = fitted(case)
    with torch.no_grad():
        z = estimator.to_torch(output_activation=False)(torch.tensor(X))
    activate = {
        "binary": lambda z: z.softmax(-1),
        "multiclass": lambda z: z.softmax(-1),
        "multilabel": torch.sigmoid,
        "poisson": torch.exp,
    }[case]
    assert_allclose(activate(z).numpy(), outputs(estimator, X), rtol=1e-12, atol=1e-14)


def test_logits_of_an_ensemble_are_refused():
    estimator = fitted("multiclass", n_members=2)
    with pytest.raises(
        ValueError, match="output_activation=False needs a single network"
    ):
        estimator.to_torch(output_activation=False)


def test_the_torch_module_is_a_copy_that_can_be_trained():
    estimator = fitted("multiclass")
    before = outputs(estimator, X)
    state = torch.get_rng_state()
    module = estimator.to_torch()
    assert torch.equal(torch.get_rng_state(), state)
    module(torch.tensor(X)).square().sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            assert parameter.grad is not None
            parameter.zero_()
    assert_array_equal(outputs(estimator, X), before)


@pytest.mark.parametrize("solver", ["sam", "ranger", "adam", "lbfgs"])
@pytest.mark.parametrize("case", [name for name in CASES if name[-6:] != "ntiles"])
def test_the_scikit_learn_estimator_predicts_the_same(case, solver):
    if solver == "lbfgs" and CASES[case][0].loss not in OF_SKLEARN:
        pytest.skip("needs another solver")
    estimator = fitted(case, solver=solver)
    twin = estimator.to_sklearn()
    expected = MLPClassifier if is_classifier(estimator) else MLPRegressor
    assert type(twin) is expected
    assert_array_equal(outputs(twin, X), outputs(estimator, X))
    assert_array_equal(twin.predict(X), estimator.predict(X))
    assert twin.n_iter_ == estimator.n_iter_
    assert twin.loss_ == estimator.loss_


@pytest.mark.parametrize(
    ("params", "solver"),
    [
        ({"solver": "sam", "base_solver": "sgd"}, "sgd"),
        ({"solver": "wsam", "base_solver": "ranger"}, "adam"),
        ({"solver": "msam", "base_solver": "sgd"}, "sgd"),
        ({"solver": "lookahead", "base_solver": "sgd"}, "sgd"),
        ({"solver": "ranger", "base_solver": "sgd"}, "adam"),
        ({"solver": "sgd"}, "sgd"),
    ],
)
def test_a_solver_that_scikit_learn_lacks_becomes_the_one_below_it(params, solver):
    twin = fitted("binary", **params, alpha=0.3).to_sklearn()
    assert twin.solver == solver
    assert twin.alpha == 0.3
    assert twin.hidden_layer_sizes == (7, 4)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_scikit_learn_can_go_on_training_it_and_the_original_stays(early_stopping):
    y = CASES["multiclass"][1]
    estimator = fitted("multiclass", early_stopping=early_stopping, warm_start=True)
    before = pickle.dumps(estimator)
    twin = estimator.to_sklearn()
    twin.fit(X, y)
    if not early_stopping:
        twin.partial_fit(X, y)
    assert pickle.dumps(estimator) == before
    assert pickle.loads(pickle.dumps(twin)).score(X, y) == twin.score(X, y)


def test_the_scikit_learn_estimator_of_another_loss_has_the_squared_error():
    twin = fitted("huber, two").to_sklearn()
    assert twin.loss == "squared_error"
    assert np.isfinite(twin.partial_fit(X, X[:, :2]).loss_)


def test_several_quantiles_are_not_a_network_of_scikit_learn():
    with pytest.raises(ValueError, match="cannot predict several quantiles, got 2"):
        fitted("two quantiles").to_sklearn()


def test_an_ensemble_is_not_one_network_of_scikit_learn():
    estimator = fitted("multiclass", n_members=2)
    with pytest.raises(ValueError, match=r"one network, got 2.*member\.to_sklearn\(\)"):
        estimator.to_sklearn()
    twins = [member.to_sklearn() for member in estimator.members_]
    mean = np.mean([twin.predict_proba(X) for twin in twins], axis=0)
    assert_allclose(mean, estimator.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("method", ["to_sklearn", "to_torch"])
def test_an_estimator_must_be_fitted(method):
    with pytest.raises(NotFittedError, match="not fitted"):
        getattr(SAMMLPClassifier(), method)()


def test_a_parameter_that_scikit_learn_does_not_take_becomes_its_default():
    estimator = fitted("binary", alpha=0.3)
    estimator.learning_rate = "cosine"
    twin = estimator.to_sklearn()
    assert twin.learning_rate == "constant"
    assert twin.alpha == 0.3
