"""Exponential moving averages of weights."""

import io

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import train_test_split
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.averaging import EMA
from sksharp.options import SWA, Ranger

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

rng = np.random.RandomState(0)
X = rng.normal(size=(60, 4))
y = X[:, 0] - X[:, 1] + rng.normal(size=60)


def averages_of(values, **settings):
    average, found = EMA(**settings), []
    for value in values:
        average.update([torch.tensor([float(value)], dtype=torch.float64)])
        found.append(average.averaged[0].item())
    return found


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.99])
def test_the_average_of_a_steady_walk_has_a_closed_form(decay):
    t = np.arange(50)
    expected = t - decay * (1 - decay**t) / (1 - decay)
    assert_allclose(averages_of(t, decay=decay), expected, rtol=1e-12, atol=1e-12)


def test_a_decay_of_zero_is_the_weights_of_now():
    assert averages_of([3, 1, 2], decay=0.0) == [3, 1, 2]


def test_a_decay_of_one_is_the_first_weights():
    assert averages_of([3, 1, 2], decay=1.0) == [3, 3, 3]


def test_weights_that_stay_are_their_average():
    assert averages_of([0.1] * 20, decay=0.7, warm_up=True) == [0.1] * 20


def test_with_a_warm_up_the_decay_grows_to_its_value():
    values, decay = rng.normal(size=200), 0.9
    expected, mean = [], None
    for n, value in enumerate(values):
        d = min(decay, (1 + n) / (10 + n))
        mean = value if mean is None else d * mean + (1 - d) * value
        expected.append(mean)
    found = averages_of(values, decay=decay, warm_up=True)
    assert_allclose(found, expected, rtol=1e-12)
    # from then on it is a plain one
    assert (1 + 80) / (10 + 80) == decay


def test_it_is_torchs_own():
    model = torch.nn.Linear(3, 2)
    reference = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    average = EMA(decay=0.9)
    for seed in range(5):
        with torch.no_grad():
            model.weight.fill_(seed**2)
        reference.update_parameters(model)
        average.update(model.parameters())
    assert_allclose(average.averaged[0], reference.module.weight.detach(), rtol=1e-6)


def test_an_average_goes_on_from_its_state():
    values = rng.normal(size=30)
    whole = averages_of(values, decay=0.9, warm_up=True)[-1]
    first = EMA(decay=0.9, warm_up=True)
    for value in values[:10]:
        first.update([torch.tensor([value])])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = EMA(decay=0.9, warm_up=True)
    second.load_state_dict(torch.load(file))
    for value in values[10:]:
        second.update([torch.tensor([value])])
    assert second.averaged[0].item() == whole
    assert second.n_averaged == 30


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match="decay must be in"):
        EMA(decay=decay)


def test_a_decay_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match=r"decay must be a number in .*'auto'"):
        EMA(decay="auto")


# -- in the estimators -----------------------------------------------------------------

SMALL = {
    "hidden_layer_sizes": (5,),
    "batch_size": 20,
    "max_iter": 12,
    "random_state": 0,
    "learning_rate_init": 0.01,
}


@pytest.mark.parametrize("solver", ["sgd", Ranger(k=4), "msam", "schedule_free"])
def test_the_estimator_predicts_with_the_average_of_every_step(solver):
    # without shuffling, a pass over the rows is three steps, seen one by one
    params = {**SMALL, "shuffle": False, "solver": solver, "rho": 0.3}
    regr = SAMMLPRegressor(**params, ema_decay=0.8).fit(X, y)
    plain = SAMMLPRegressor(**params)
    average = EMA(decay=0.8, warm_up=True)
    plain.partial_fit(X[:20], y[:20])
    steps = [slice(0, 20), slice(20, 40), slice(40, 60)] * 12
    average.update([torch.from_numpy(coef.copy()) for coef in plain.coefs_])
    for rows in steps[1:]:
        plain.partial_fit(X[rows], y[rows])
        average.update([torch.from_numpy(coef.copy()) for coef in plain.coefs_])
    for coef, mean in zip(regr.coefs_, average.averaged, strict=True):
        assert_allclose(coef, mean, rtol=1e-10)
    assert not np.allclose(regr.coefs_[0], plain.coefs_[0])


@pytest.mark.parametrize("solver", ["sam", "adam", "ranger"])
def test_partial_fits_are_one_training(solver):
    params = {**SMALL, "solver": solver, "ema_decay": 0.9, "shuffle": False}
    whole = SAMMLPRegressor(**params).fit(X, y)
    parts = SAMMLPRegressor(**params)
    for _ in range(12):
        parts.partial_fit(X, y)
    for coef, other in zip(whole.coefs_, parts.coefs_, strict=True):
        assert_array_equal(coef, other)


def test_validation_scores_are_those_of_the_average():
    labels = y > 0
    params = {**SMALL, "ema_decay": 0.95, "early_stopping": True, "max_iter": 1}
    clf = SAMMLPClassifier(**params, validation_fraction=0.5).fit(X, labels)
    # what the fit draws: the initial weights, layer by layer, then the rows
    random_state = np.random.RandomState(0)
    for fan_in, fan_out in ((4, 5), (5, 1)):
        random_state.uniform(size=(fan_in, fan_out))
        random_state.uniform(size=fan_out)
    _, held_out = train_test_split(
        np.arange(60), random_state=random_state, test_size=0.5, stratify=labels
    )
    assert clf.validation_scores_ == [clf.score(X[held_out], labels[held_out])]


def test_swa_and_an_exponential_average_exclude_each_other():
    with pytest.raises(ValueError, match=r"swa=True and ema_decay=0\.9"):
        SAMMLPRegressor(swa=True, ema_decay=0.9).fit(X, y)


def test_an_average_needs_a_stochastic_solver():
    with pytest.raises(ValueError, match="ema_decay needs a stochastic solver"):
        SAMMLPRegressor(solver="lbfgs", ema_decay=0.9).fit(X, y)


def test_an_average_of_another_kind_is_not_continued():
    regr = SAMMLPRegressor(**SMALL, ema_decay=0.9).partial_fit(X, y)
    regr.set_params(ema_decay=None, swa=SWA(start=0)).partial_fit(X, y)
    assert regr.n_averaged_ == 1
