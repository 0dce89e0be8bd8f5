"""The nets: data, weights, labels, repeatable fits, choices, and what scikit-learn does."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import sksharp
from sksharp import options
from sksharp.estimators._comparison import standard_error
from sksharp.nets import SAMNetClassifier, SAMNetRegressor

from .modules import RANDOM, Small, rows, weights

X, y = rows()
COMMON = {"max_epochs": 3, "lr": 0.02, "random_state": 0, "device": "cpu"}


def classifier(**params):
    return SAMNetClassifier(**{"module": Small, **COMMON, **params})


def regressor(**params):
    return SAMNetRegressor(Small, **{**COMMON, **params})


def numpy_state():
    return np.random.mtrand._rand.get_state()[1].copy()


def test_the_module_of_the_package_has_them():
    assert sksharp.nets.SAMNetClassifier is SAMNetClassifier


# -- repeatable ------------------------------------------------------------------------


@pytest.mark.parametrize("state", [0, np.random.RandomState(3)])
def test_a_random_state_makes_a_fit_repeatable_and_leaves_torchs_alone(state):
    net = classifier(**{**RANDOM, "batch_size": 8, "random_state": state})
    other = clone(net)
    of_torch, of_numpy = torch.get_rng_state(), numpy_state()
    net.fit(X, y)
    torch.rand(3)
    other.fit(X, y)
    assert_array_equal(weights(net), weights(other))
    torch.set_rng_state(of_torch)
    net.fit(X, y).partial_fit(X, y)
    net.set_params(module__n_hidden=3)
    assert torch.equal(torch.get_rng_state(), of_torch)
    assert_array_equal(numpy_state(), of_numpy)


def test_without_a_random_state_a_fit_follows_torchs_generator():
    def fitted(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return weights(classifier(random_state=None, **RANDOM).fit(X, y))

    assert_array_equal(fitted(1), fitted(1))
    assert not np.array_equal(fitted(1), fitted(2))


def test_the_order_of_the_rows_changes_from_epoch_to_epoch_unless_shuffle_is_off():
    class Seen(Callback):
        def initialize(self):
            self.rows_ = []
            return self

        def on_batch_begin(self, net, batch, training, **kwargs):
            self.rows_.append(np.asarray(batch[0])[:, 0])

    orders = {}
    for shuffle in (True, False):
        net = classifier(shuffle=shuffle, callbacks=[Seen()], max_epochs=2).fit(X, y)
        orders[shuffle] = dict(net.callbacks_)["Seen"].rows_
    assert not np.array_equal(orders[True][0], orders[True][1])
    assert_array_equal(orders[False][0], X[:, 0])
    assert_array_equal(orders[False][1], X[:, 0])


def test_a_module_that_is_an_object_is_copied():
    module = Small(4, 3)
    before = module.layers[0].weight.detach().clone()
    net = SAMNetClassifier(module, **COMMON).fit(X, y)
    first = weights(net)
    assert torch.equal(module.layers[0].weight, before)
    assert_array_equal(weights(net.fit(X, y)), first)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_object_is_trained_from_the_weights_that_it_has(seed):
    module = Small(4, 3)
    before = {name: v.clone() for name, v in module.state_dict().items()}
    net = classifier(module=module, lr=1e-30, random_state=seed).fit(X, y)
    for name, value in net.module_.state_dict().items():
        assert_array_equal(value, before[name])
    assert net.module_ is not module


# -- data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels", [("a", "b", "c"), (7, 5, -1), (0, 1, 2), (True, False)]
)
@pytest.mark.parametrize("iterator", [None, DataLoader])
def test_labels_of_any_kind(labels, iterator):
    y = rows(labels=labels)[1]
    kwargs = {} if iterator is None else {"iterator_train": iterator}
    scoring = EpochScoring("accuracy", on_train=True, use_caching=False)
    net = classifier(max_epochs=30, callbacks=[scoring], **kwargs).fit(X, y)
    assert_array_equal(net.classes_, np.unique(y))
    assert net.predict(X).dtype == y.dtype
    assert net.score(X, y) == net.history[-1, "accuracy"] > 0.8
    # what labels are called changes nothing
    codes = np.unique(y, return_inverse=True)[1]
    same = classifier(max_epochs=30, **kwargs).fit(X, codes)
    assert_array_equal(same.predict_proba(X), net.predict_proba(X))


def test_classes_are_in_the_order_that_is_given():
    net = classifier(classes=["c", "a", "b"], max_epochs=30).fit(X, y)
    assert_array_equal(net.classes_, ["c", "a", "b"])
    assert net.score(X, y) > 0.8


def test_validation_scores_see_the_users_labels():
    net = classifier(train_split=ValidSplit(4, stratified=True), max_epochs=30)
    net.fit(X, y)
    _, held = net.train_split(X, y)
    rows_held = held.indices
    assert net.history[-1, "valid_acc"] == np.mean(
        net.predict(X[rows_held]) == y[rows_held]
    )


def test_inputs_get_the_dtype_of_the_module():
    single = classifier(module__dtype=torch.float32).fit(X.astype("float32"), y)
    double = classifier(module__dtype=torch.float32).fit(X, y)
    assert_array_equal(weights(single), weights(double))
    whole = np.round(X).astype(int)
    assert_array_equal(
        weights(classifier().fit(whole, y)),
        weights(classifier().fit(whole.astype(float), y)),
    )


@pytest.mark.parametrize(
    "convert", [pd.DataFrame, scipy.sparse.csr_array, scipy.sparse.coo_matrix, list]
)
def test_other_forms_of_a_table(convert):
    table = convert(X)
    net = classifier(batch_size=7).fit(table, y)
    assert_array_equal(weights(net), weights(classifier(batch_size=7).fit(X, y)))
    assert_array_equal(net.predict_proba(table), net.predict_proba(X))
    assert net.n_features_in_ == 4


class Named(nn.Module):
    """Takes columns by their names: numbers, and words by an embedding."""

    def __init__(self, n_outputs):
        super().__init__()
        self.look_up = nn.Embedding(3, 2)
        self.out = nn.Linear(3, n_outputs)

    def forward(self, size, kind):
        return self.out(torch.cat([size, self.look_up(kind[:, 0])], 1))


@pytest.mark.parametrize("form", ["frame", "dictionary"])
def test_columns_by_their_names(form):
    columns = {"size": X[:, :1], "kind": np.arange(len(X))[:, None] % 3}
    if form == "frame":
        columns = pd.DataFrame({name: each[:, 0] for name, each in columns.items()})
    net = SAMNetClassifier(Named, **COMMON).fit(columns, y)
    assert net.predict_proba(columns).shape == (len(X), 3)


class Words(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.bag = nn.EmbeddingBag(5, 4)
        self.out = nn.Linear(4, n_outputs)

    def forward(self, words):
        return self.out(self.bag(words))


def test_integers_stay_integers_for_a_module_that_looks_them_up():
    words = np.arange(3 * len(X)).reshape(-1, 3) % 5
    assert (
        SAMNetClassifier(Words, **COMMON).fit(words, y).predict(words).shape == y.shape
    )


def test_images_and_lists_of_inputs():
    class Two(nn.Module):
        def __init__(self, n_outputs):
            super().__init__()
            self.out = nn.LazyLinear(n_outputs)

        def forward(self, inputs):
            return self.out(torch.cat([each.flatten(1) for each in inputs], 1))

    images = X.reshape(-1, 1, 2, 2).astype("float32")
    flatten = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    assert SAMNetClassifier(flatten, **COMMON).fit(images, y).predict(images).shape
    both = [images, images[:, 0]]
    assert SAMNetClassifier(Two, **COMMON).fit(both, y).predict(both).shape == y.shape


def test_a_dataset_with_its_own_labels():
    codes = np.unique(y, return_inverse=True)[1]
    dataset = TensorDataset(torch.as_tensor(X), torch.as_tensor(codes))
    net = SAMNetClassifier(Small(4, 3), batch_size=9, **COMMON).fit(dataset, None)
    expected = SAMNetClassifier(Small(4, 3), batch_size=9, **COMMON)
    assert net.predict(dataset).shape == codes.shape
    expected.set_params(module=net.module).fit(X, codes)
    assert_array_equal(weights(net), weights(expected))


CODES = np.unique(y, return_inverse=True)[1]
DATASET = TensorDataset(torch.as_tensor(X), torch.as_tensor(CODES))


@pytest.mark.parametrize("more", [{"early_stopping": True}, {"rho": [0.0, 0.3]}])
def test_rows_of_a_dataset_are_held_out_too(more):
    net = classifier(module=Small(4, 3), **more).fit(DATASET, None)
    losses = net.rho_losses_ if "rho" in more else net.history[:, "valid_loss"]
    assert np.isfinite(losses).all()


class Stream(IterableDataset):
    """Rows without a length."""

    def __iter__(self):
        yield from DATASET


def test_a_dataset_without_a_length_is_trained_in_its_order():
    params = {"module": Small(4, 3), "batch_size": 7, "shuffle": False}
    net = classifier(**params).fit(Stream(), None)
    assert_array_equal(weights(net), weights(classifier(**params).fit(X, CODES)))
    assert_array_equal(net.predict(Stream()), net.predict(X))
    for more in ({"learning_rate": "cosine"}, {"solver": options.SAM(start=1)}):
        with pytest.raises(TypeError, match="needs to know the number of minibatches"):
            classifier(**params, **more).fit(Stream(), None)


def test_a_tensor_tells_the_module_its_columns():
    net = classifier(batch_size=7).fit(torch.as_tensor(X), torch.as_tensor(CODES))
    assert_array_equal(weights(net), weights(classifier(batch_size=7).fit(X, CODES)))
    with pytest.raises(
        ValueError, match="X has 2 features, but SAMNetClassifier is ex"
    ):
        net.predict(torch.as_tensor(X[:, :2]))


def test_a_last_minibatch_that_is_not_full_can_be_left_out():
    net = classifier(batch_size=15, iterator_train__drop_last=True).fit(X, y)
    assert [b["train_batch_size"] for b in net.history[-1, "batches"]] == [15, 15]


class Pair(Small):
    def forward(self, X):
        return super().forward(X), X


def test_a_get_loss_of_the_users_own_takes_what_it_needs():
    class OfPairs(SAMNetClassifier):
        def get_loss(self, y_pred, y_true, *args, **kwargs):
            return super().get_loss(y_pred[0], y_true, *args, **kwargs)

    net = OfPairs(Pair, gradient_accumulation=2, **COMMON).fit(X, y)
    assert_array_equal(net.predict(X), classifier().fit(X, y).predict(X))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 2)])
def test_predictions_of_a_regressor_have_the_shape_of_the_targets(shape):
    targets = X[:, :2] if shape == (-1, 2) else X[:, 0].reshape(shape)
    net = regressor().fit(X, targets)
    assert net.predict(X).shape == targets.shape
    assert not hasattr(net, "predict_proba")


def test_a_single_target_is_not_broadcast():
    flat = regressor(shuffle=False).fit(X, X[:, 0])
    column = regressor(shuffle=False).fit(X, X[:, :1])
    assert_array_equal(weights(flat), weights(column))
    loss = np.mean((flat.predict(X) - X[:, 0]) ** 2)
    after = flat.set_params(max_epochs=1).partial_fit(X, X[:, 0])
    assert_allclose(after.history[-1, "train_loss"], loss, rtol=1e-12)


@pytest.mark.parametrize("columns", [True, False])
def test_a_criterion_of_one_logit(columns):
    two = y == "a"
    net = SAMNetClassifier(
        nn.Sequential(nn.Linear(4, 1), *([] if columns else [nn.Flatten(0)])).double(),
        criterion=nn.BCEWithLogitsLoss,
        **{**COMMON, "max_epochs": 50},
    ).fit(X, two)
    proba = net.predict_proba(X)
    assert proba.shape == (len(X), 2)
    assert_allclose(proba.sum(1), 1)
    assert_array_equal(net.predict(X), proba[:, 1] > 0.5)


# -- weights ---------------------------------------------------------------------------


def test_integer_weights_are_repeated_rows():
    counts = np.arange(len(X)) % 3
    weighted = classifier(shuffle=False).fit(X, y, sample_weight=counts)
    repeated = classifier(shuffle=False).fit(
        np.repeat(X, counts, 0), np.repeat(y, counts)
    )
    assert_allclose(weights(weighted), weights(repeated), rtol=0, atol=1e-12)
    assert_allclose(
        weighted.history[:, "train_loss"], repeated.history[:, "train_loss"], rtol=1e-12
    )


def test_rows_of_weight_zero_are_left_out():
    weight = np.arange(len(X)) % 3
    kept = weight > 0
    params = {"shuffle": False, "batch_size": 7, **RANDOM}
    whole = classifier(**params).fit(X, y, weight)
    part = classifier(**params).fit(X[kept], y[kept], weight[kept])
    assert_array_equal(weights(whole), weights(part))


def test_weighted_losses_of_minibatches_are_averaged_by_their_weights():
    weight = np.arange(1.0, len(X) + 1)
    net = classifier(batch_size=7, shuffle=False, max_epochs=1)
    net.fit(X, y, weight, X_val=X, y_val=y, sample_weight_val=weight[::-1])
    codes = np.searchsorted(net.classes_, y)
    losses = -np.log(net.predict_proba(X)[np.arange(len(X)), codes])
    expected = np.average(losses, weights=weight[::-1])
    assert_allclose(net.history[-1, "valid_loss"], expected, rtol=1e-12)


def test_weights_of_classes_multiply_those_of_rows():
    weight = 1.0 + np.arange(len(X)) % 2
    of_class = {"a": 1.0, "b": 2.0, "c": 5.0}
    net = classifier(class_weight=of_class, batch_size=9).fit(X, y, weight)
    product = weight * np.array([of_class[label] for label in y])
    assert_array_equal(
        weights(net), weights(classifier(batch_size=9).fit(X, y, product))
    )


@pytest.mark.parametrize("iterator", ["iterator_train", "iterator_valid"])
def test_weights_go_through_a_dataloader(iterator):
    weight = 1.0 + np.arange(len(X)) % 4
    params = {"shuffle": False, "batch_size": 9, "early_stopping": True}
    ours = classifier(**params).fit(X, y, weight)
    theirs = classifier(**params, **{iterator: DataLoader}).fit(X, y, weight)
    assert_array_equal(weights(ours), weights(theirs))


OF_CLASS = torch.tensor([1.0, 2.0, 7.0]).double()
CRITERIA = {
    "mean": {},
    "of_class": {"criterion__weight": OF_CLASS},
    "smooth": {"criterion__weight": OF_CLASS, "criterion__label_smoothing": 0.1},
    "sum": {"criterion__reduction": "sum"},
}
# steps that are as long as the gradient
PLAIN = {"base_solver": "sgd", "optimizer__momentum": 0.0, "batch_size": 7, "lr": 0.01}


def assert_same_fit(net, other):
    assert_allclose(weights(net), weights(other), rtol=0, atol=1e-13)
    losses = (each.history[:, "train_loss"] for each in (net, other))
    assert_allclose(*losses, rtol=1e-12)


@pytest.mark.parametrize("name", CRITERIA)
def test_weights_of_one_change_nothing(name):
    net = classifier(**PLAIN, **CRITERIA[name])
    assert_same_fit(clone(net).fit(X, y, np.ones(len(X))), net.fit(X, y))


@pytest.mark.parametrize("name", ["mean", "of_class", "smooth"])
def test_the_losses_of_all_rows_make_the_loss(name):
    net = classifier(**PLAIN, **CRITERIA[name])
    of_rows = clone(net).set_params(solver=options.ESAM(fraction=1.0))
    assert_same_fit(of_rows.fit(X, y), net.fit(X, y))


def test_adaboost_weighs_the_rows():
    boosted = AdaBoostClassifier(classifier(), n_estimators=2, random_state=0).fit(X, y)
    assert len(boosted.estimators_) == 2


# -- validation and choices ------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"ema_decay": 0.6}, {"solver": "ranger"}])
def test_early_stopping_restores_the_best_weights(more):
    net = classifier(
        early_stopping=True,
        max_epochs=50,
        lr=0.3,
        n_iter_no_change=4,
        tol=0.02,
        **RANDOM,
        **more,
    ).fit(X, y)
    curve = net.history[:, "valid_loss"]
    assert 5 < len(curve) < 50
    assert net.validation_loss_ == min(curve)
    held = net.fit(X, y, X_val=X[:15], y_val=y[:15])
    codes = np.searchsorted(net.classes_, y[:15])
    losses = -np.log(held.predict_proba(X[:15])[np.arange(15), codes])
    assert_allclose(losses.mean(), min(held.history[:, "valid_loss"]), rtol=1e-12)


def test_early_stopping_counts_as_scikit_learn_does():
    # the loss cannot get better: the first epoch, and one more than the patience
    net = classifier(early_stopping=True, tol=1e9, n_iter_no_change=3, max_epochs=50)
    assert len(net.fit(X, y).history) == 1 + (3 + 1)


def test_an_average_begins_where_early_stopping_would_end():
    swa = options.SWA(start=40)
    net = classifier(
        early_stopping=True, swa=swa, tol=1e9, n_iter_no_change=3, max_epochs=45
    ).fit(X, y)
    assert len(net.history) == 5 + 5
    assert net.n_averaged_ == 5


def test_validation_rows_are_not_trained_on():
    net = classifier(batch_size=9).fit(X, y, X_val=X[:5] + 1, y_val=y[:5])
    assert_array_equal(weights(net), weights(classifier(batch_size=9).fit(X, y)))


@pytest.mark.parametrize(
    "more", [{}, {"early_stopping": True}, {"train_split": ValidSplit(3)}]
)
def test_a_radius_is_chosen_by_the_validation_loss(more):
    radii = [0.0, 0.3, 2.0]
    net = classifier(rho=radii, batch_size=9, **more).fit(X, y)
    assert_array_equal(net.rho_grid_, radii)
    assert_allclose(net.rho_differences_, net.rho_losses_ - net.rho_losses_.min())
    assert net.rho_ == radii[np.argmin(net.rho_losses_)]
    expected = classifier(rho=net.rho_, batch_size=9, **more).fit(X, y)
    assert_array_equal(weights(net), weights(expected))
    split = ValidSplit(0.1, stratified=True, random_state=net.seed_)
    held = clone(net).set_params(rho=0.3, **{"train_split": split, **more})
    assert held.fit(X, y).validation_loss_ == net.rho_losses_[1]


def test_every_radius_begins_with_the_same_weights():
    losses = []
    for radii in ([0.7, 0.2], [0.9, 0.7]):
        net = classifier(rho=radii, random_state=None, **RANDOM)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net.fit(X, y)
        assert_array_equal(net.rho_grid_, sorted(radii))
        losses.append(dict(zip(net.rho_grid_, net.rho_losses_, strict=True)))
    assert losses[0][0.7] == losses[1][0.7]


@pytest.mark.parametrize("callbacks", [None, "disable"])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("own_rows", [True, False])
def test_the_losses_of_radii_are_compared_row_by_row(own_rows, weighted, callbacks):
    weight = 1.0 + np.arange(len(X)) % 3 if weighted else None
    validation, kept = {}, np.arange(15)
    if own_rows:
        validation = {"X_val": X[:15], "y_val": y[:15]}
        if weighted:
            validation["sample_weight_val"] = weight[:15]
    params = {"batch_size": 7, "swa": True, "max_epochs": 6, **RANDOM}
    net = classifier(rho=[0.0, 1.0], callbacks=callbacks, **params)
    net.fit(X, y, weight, **validation)
    losses = []
    for rho in net.rho_grid_:
        one = classifier(rho=rho, **params)
        if not own_rows:
            split = ValidSplit(0.1, stratified=True, random_state=net.seed_)
            one.set_params(train_split=split)
            kept = split(X, y)[1].indices
        proba = one.fit(X, y, weight, **validation).predict_proba(X[kept])
        codes = np.searchsorted(net.classes_, y[kept])
        losses.append(-np.log(proba[np.arange(len(kept)), codes]))
    w = np.ones(len(kept)) if weight is None else weight[kept]
    means = [np.average(of_rows, weights=w) for of_rows in losses]
    assert_allclose(net.rho_losses_, means, rtol=1e-9)
    better = int(np.argmin(means))
    difference = losses[1 - better] - losses[better]
    expected = standard_error(difference, np.arange(len(kept)), w)
    assert_allclose(net.rho_standard_errors_[1 - better], expected, rtol=1e-6)


def test_a_criterion_without_losses_of_rows_has_no_standard_errors():
    class Summed(nn.Module):
        def forward(self, y_pred, y):
            return nn.functional.cross_entropy(y_pred, y)

    params = {"rho": [0.0, 0.3, 2.0], "batch_size": 9}
    net = classifier(**params).fit(X, y)
    assert net.rho_differences_.any()
    net.set_params(criterion=Summed).fit(X, y)
    assert net.rho_ == net.rho_grid_[np.argmin(net.rho_losses_)]
    assert not hasattr(net, "rho_differences_")


def test_the_radii_of_auto_are_the_estimators():
    assert_allclose(classifier(rho="auto").fit(X, y).rho_grid_, [0, 0.1, 0.5])
    net = classifier(rho="auto", solver="asam").fit(X, y)
    assert_allclose(net.rho_grid_, [0, 1, 5])


def test_a_radius_that_diverges_is_not_chosen():
    net = regressor(rho=[0.1, 1e200]).fit(X, X[:, 0])
    assert net.rho_ == 0.1
    assert net.rho_losses_[1] == np.inf


# -- solvers ---------------------------------------------------------------------------


def test_a_base_of_torch_takes_the_descent_step():
    ours = classifier(base_solver="sgd", rho=0.2, batch_size=9)
    ours.set_params(optimizer__momentum=0.0)
    theirs = classifier(base_solver=torch.optim.SGD, rho=0.2, batch_size=9)
    assert_allclose(
        weights(ours.fit(X, y)), weights(theirs.fit(X, y)), rtol=0, atol=1e-14
    )
    assert isinstance(theirs.optimizer_.base_optimizer, torch.optim.SGD)


def test_micro_batches_are_weighted():
    counts = 1 + np.arange(len(X)) % 3
    solver = options.SAM(micro_batch_size=40)
    whole = classifier(shuffle=False).fit(X, y, counts)
    parts = classifier(shuffle=False, solver=solver).fit(X, y, counts)
    assert_allclose(weights(whole), weights(parts), rtol=0, atol=1e-14)
    # without a perturbation the gradients of parts are that of the whole
    solver = options.SAM(micro_batch_size=7)
    whole = classifier(shuffle=False, rho=0.0).fit(X, y, counts)
    parts = classifier(shuffle=False, rho=0.0, solver=solver).fit(X, y, counts)
    assert_allclose(weights(whole), weights(parts), rtol=0, atol=1e-12)


def test_dropout_and_statistics_are_those_of_one_gradient_at_radius_zero():
    sam = classifier(rho=0.0, batch_size=9, **RANDOM).fit(X, y)
    adam = classifier(solver="adam", batch_size=9, **RANDOM).fit(X, y)
    assert_array_equal(weights(sam), weights(adam))


@pytest.mark.parametrize("solver", ["sam", options.SAM(micro_batch_size=5)])
def test_both_gradients_see_the_same_masks_and_count_a_batch_once(solver):
    class Masks(nn.Dropout):
        drawn = []

        def forward(self, X):
            kept = super().forward(X)
            self.drawn.append(kept.detach() != 0)
            return kept

    module = Small(4, 3, bn=True)
    module.layers[3] = Masks(0.5)
    Masks.drawn.clear()
    net = classifier(module=module, solver=solver, batch_size=10, max_epochs=1)
    net.fit(X, y)
    masks = module.layers[3].drawn
    assert all(torch.equal(a, b) for a, b in zip(masks[::2], masks[1::2], strict=True))
    n_parts = 4 if solver == "sam" else 8
    assert net.module_.layers[1].num_batches_tracked == n_parts == len(masks) / 2


def test_biases_do_not_decay_unless_groups_are_given():
    net = classifier(base_solver="adamw").fit(X, y)
    decays = {
        p.ndim: group["weight_decay"]
        for group in net.optimizer_.param_groups
        for p in group["params"]
    }
    assert decays == {2: 0.01, 1: 0.0}
    groups = [("layers.0*", {"lr": 0.5})]
    net = classifier(base_solver="adamw", optimizer__param_groups=groups).fit(X, y)
    assert [g["lr"] for g in net.optimizer_.param_groups] == [0.5, 0.02]
    assert [g["weight_decay"] for g in net.optimizer_.param_groups] == [0.01, 0.01]


def test_a_schedule_keeps_the_ratio_of_groups():
    groups = [("layers.0*", {"lr": 0.2})]
    net = classifier(learning_rate="step", optimizer__param_groups=groups)
    net.set_params(learning_rate__size=1, learning_rate__gamma=0.5).fit(X, y)
    assert_allclose([g["lr"] for g in net.optimizer_.param_groups], [0.05, 0.005])


def test_schedules_of_skorch_work_too():
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.5)
    net = classifier(callbacks=[scheduler]).fit(X, y)
    assert net.optimizer_.param_groups[0]["lr"] == 0.02 / 8


# -- scikit-learn ----------------------------------------------------------------------


def test_options_are_parameters():
    net = classifier(solver="asam", swa=True)
    net.set_params(solver__eta=0.3, swa__start=0.5)
    assert net.solver == options.ASAM(eta=0.3)
    assert net.swa == options.SWA(start=0.5)
    assert net.get_params()["solver__eta"] == 0.3


def test_options_need_something_to_belong_to():
    with pytest.raises(ValueError, match="swa must be on for its options"):
        classifier().set_params(swa__start=0.5)


def test_a_radius_that_is_set_holds_for_the_training_that_goes_on():
    net = classifier(batch_size=9).fit(X, y).set_params(rho=0.4)
    assert net.optimizer_.param_groups[0]["rho"] == net.rho_ == 0.4


def test_a_search_over_radius_and_module_in_a_pipeline():
    model = make_pipeline(StandardScaler(), classifier(max_epochs=2))
    grid = {
        "samnetclassifier__rho": [0.0, 0.1],
        "samnetclassifier__module__n_hidden": [2, 4],
        "samnetclassifier__solver__interval": [2],
    }
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    best = search.best_estimator_[-1]
    n_hidden = search.best_params_["samnetclassifier__module__n_hidden"]
    assert best.module_.layers[0].out_features == n_hidden
    assert best.optimizer_.param_groups[0]["interval"] == 2


def test_a_clone_has_the_parameters_and_nothing_else():
    net = classifier(device="auto", optimizer__beta_1=0.8, module__n_hidden=3).fit(X, y)
    other = clone(net)
    ours, theirs = net.get_params(deep=False), other.get_params(deep=False)
    assert ours.keys() == theirs.keys()
    assert theirs["device"] == "auto"
    assert theirs["optimizer__beta_1"] == 0.8
    assert not other.initialized_


def test_a_pickle_predicts_and_goes_on():
    net = classifier(device="auto", swa=True, batch_size=9, **RANDOM).fit(X, y)
    again = pickle.loads(pickle.dumps(net))
    assert again.get_params(deep=False)["device"] == "auto"
    assert_array_equal(again.predict(X), net.predict(X))
    assert_array_equal(weights(again.partial_fit(X, y)), weights(net.partial_fit(X, y)))


def test_parameters_are_saved_and_loaded(tmp_path):
    net = classifier(device="auto").fit(X, y)
    net.save_params(f_params=str(tmp_path / "w.pt"))
    other = classifier(device="auto", random_state=5).fit(X, y)
    other.load_params(f_params=str(tmp_path / "w.pt"))
    assert_array_equal(other.predict_proba(X), net.predict_proba(X))
    assert other.get_params(deep=False)["device"] == "auto"


def test_a_warm_start_goes_on():
    net = classifier(warm_start=True, batch_size=9).fit(X, y).fit(X, y)
    assert len(net.history) == 6
    other = classifier(batch_size=9).fit(X, y).partial_fit(X, y)
    assert_array_equal(weights(net), weights(other))


@pytest.mark.parametrize("warm_start", [True, False])
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "adam"},
        {"base_solver": torch.optim.SGD},
        {"learning_rate": "cosine"},
        {"swa": True},
        {"ema_decay": 0.9},
        {"early_stopping": True},
        {"solver": options.SAM(interval=2)},
    ],
    ids=str,
)
def test_what_a_training_is_planned_with_stays(params, warm_start):
    net = classifier(warm_start=warm_start).fit(X, y)
    before = weights(net)
    goes_on = net.fit if warm_start else net.partial_fit
    (name,) = params
    was = net.get_params()[name]
    net.set_params(**params)
    with pytest.raises(ValueError, match=f"^{name} must stay the same to continue"):
        goes_on(X, y)
    assert_array_equal(weights(net), before)
    net.set_params(**{name: was})
    goes_on(X, y)
    net.set_params(**params, warm_start=False).fit(X, y)
    assert_array_equal(weights(net), weights(classifier(**params).fit(X, y)))


@pytest.mark.parametrize("warm_start", [True, False])
def test_a_net_that_is_only_initialized_can_be_trained(warm_start, tmp_path):
    module, params = Small(4, 3), {"warm_start": warm_start, "batch_size": 9}
    expected = classifier(module=module, **params).fit(X, y)
    net = classifier(module=module, **params).initialize()
    (net.fit if warm_start else net.partial_fit)(X, y)
    assert_array_equal(net.predict(X), expected.predict(X))
    # and with weights that were loaded
    expected.save_params(f_params=str(tmp_path / "w.pt"))
    net = classifier(module=module, **params).initialize()
    net.load_params(f_params=str(tmp_path / "w.pt"))
    net.set_params(lr=1e-30).partial_fit(X[:9], y[:9], classes=["a", "b", "c"])
    assert_array_equal(net.predict_proba(X), expected.predict_proba(X))


def test_a_module_that_needs_the_shape_of_rows_says_so():
    with pytest.raises(ValueError, match="module needs n_features_in and n_outputs"):
        classifier().initialize()
    shape = {"module__n_features_in": 4, "module__n_outputs": 3}
    assert classifier(**shape).initialize().module_.layers[0].in_features == 4


def test_a_net_is_shown_with_what_it_has():
    net = classifier().fit(X, y)
    assert "Small" in repr(net)
    assert "SAMNetClassifier" in net._repr_html_()
    assert not hasattr(net, "validation_loss_")
    assert not hasattr(classifier(), "validation_loss_")


def test_classes_that_come_later_are_named_in_the_first_call():
    net = classifier()
    net.partial_fit(X[y != "c"], y[y != "c"], classes=["c", "a", "b"]).partial_fit(X, y)
    assert_array_equal(net.classes_, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"classes \['a', 'b', 'c'\], got \['z'\] too"):
        net.partial_fit(X, np.where(y == "a", "z", y))


class Broken(nn.Module):
    def forward(self, y_pred, y):
        raise RuntimeError("broken")


def test_a_fit_that_fails_leaves_the_net_as_it_was():
    net = classifier().fit(X, y)
    before, history = net.predict_proba(X), len(net.history)
    net.set_params(criterion=Broken)
    with pytest.raises(RuntimeError, match="broken"):
        net.fit(X, y)
    net.set_params(criterion=nn.CrossEntropyLoss)
    assert_array_equal(net.predict_proba(X), before)
    assert len(net.history) == history
