"""What must hold, what came, and the way out."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Checkpoint, EarlyStopping
from skorch.exceptions import SkorchException
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sksharp import optim, options
from sksharp.nets import SAMNetClassifier, SAMNetRegressor

from .modules import Small, rows

X, y = rows()
COMMON = {"max_epochs": 3, "random_state": 0, "device": "cpu"}


def net(**params):
    module = params.pop("module", Small)
    return SAMNetClassifier(module, **{**COMMON, **params})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"solver": "Sam"}, "Did you mean 'sam'"),
        ({"solver": "lbfgs"}, "'solver' parameter of SAMNetClassifier"),
        ({"solver": options.SAM}, r"Write solver=SAM\(\)"),
        ({"solver": optim.SAM}, "made for torch's parameters"),
        ({"solver": options.ASAM(eta=-1)}, "It is an option of solver"),
        ({"base_solver": "msam"}, "'base_solver' parameter"),
        (
            {"solver": "wsam", "base_solver": options.MSAM()},
            "base_solver must be one of",
        ),
        ({"rho": -1}, "'rho' parameter"),
        ({"rho": []}, "rho must hold at least one radius"),
        ({"rho": [0.1, np.nan]}, "rho must hold at least one radius"),
        ({"rho": ["a"]}, "rho must hold at least one radius"),
        ({"lr": 0}, "'lr' parameter"),
        ({"max_epochs": 0}, "'max_epochs' parameter"),
        ({"learning_rate": "invscaling"}, "'learning_rate' parameter"),
        (
            {"learning_rate": options.Cosine(lr_min=1.0)},
            "learning_rate__lr_min must not exceed lr",
        ),
        ({"warmup": 3}, "warmup must be shorter than max_epochs=3"),
        ({"swa": True, "ema_decay": 0.9}, "swa and ema_decay are two averages"),
        ({"swa": options.SWA(start=3)}, "swa__start must lie before max_epochs=3"),
        ({"snapshots": 5}, "snapshots=5 needs at least 5 epochs"),
        ({"snapshots": 2, "early_stopping": True}, "needs early_stopping to be False"),
        ({"solver": "yellowfin", "learning_rate": "step"}, "tunes its learning rate"),
        (
            {"solver": options.SAM(start=3)},
            "solver__start must lie before max_epochs=3",
        ),
        ({"ema_decay": 1.0}, "'ema_decay' parameter"),
        ({"early_stopping": "yes"}, "'early_stopping' parameter"),
        ({"validation_fraction": 0}, "'validation_fraction' parameter"),
        ({"random_state": "0"}, "'random_state' parameter"),
        ({"device": "gpu"}, "device must be 'auto', 'cpu', 'cuda'"),
        ({"optimizer__rho": 0.1}, "optimizer__rho must not be set, it is rho here"),
        (
            {"base_solver": "adamw", "optimizer__weight_decay": 0.1},
            "it is base_solver__weight_decay here",
        ),
        (
            {"optimizer__weight_decay": 0.1},
            r"must be an argument of 'adam'.*set base_solver to one of \['adamw'",
        ),
        ({"solver": "sgd", "optimizer__betas": 1}, r"argument of 'sgd'.*'momentum'"),
        (
            {"base_solver": torch.optim.AdamW, "optimizer__beta_1": 0.8},
            "optimizer__beta_1 must be an argument of AdamW.*'betas'",
        ),
        (
            {"iterator_train__num_workers": 2},
            "num_workers is no argument of Batches. Set iterator_train=torch.utils",
        ),
        (
            {"iterator_train__drop_last": True},
            "An epoch must have a minibatch, got none",
        ),
        ({"module__n_hiden": 3}, "n_hiden"),
        ({"betas": (0.9, 0.9)}, "unexpected argument.*betas"),
        ({"callbacks": 3}, "callbacks must be a list of skorch's"),
        ({"module": 3}, "module must be a class or an object of torch.nn.Module"),
        ({"module": nn.Identity}, "module must have parameters that require gradients"),
        ({"module": nn.Linear(4, 2).double()}, r"\(n_rows, 3\).*got outputs of shape"),
        ({"criterion": nn.BCEWithLogitsLoss}, "y must have two classes"),
        ({"class_weight": "even"}, "class_weight"),
        ({"solver": "esam", "class_weight": "balanced"}, "solver='esam' chooses rows"),
    ],
    ids=str,
)
def test_parameters_that_are_not_valid(params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        net(**params).fit(X, y)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match="device='cuda' needs a cuda device"):
        net(device="cuda").fit(X, y)


def test_an_optimizer_is_named_by_the_solver():
    with pytest.raises(TypeError, match="optimizer must be left out"):
        net(optimizer=torch.optim.SGD)
    with pytest.raises(TypeError, match="optimizer must be left out"):
        net().set_params(optimizer=torch.optim.SGD)


@pytest.mark.parametrize("n_outputs", [1, 2, 3])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_outputs_of_a_regressor_that_do_not_fit(n_outputs, n_targets):
    regressor = SAMNetRegressor(nn.Linear(4, n_outputs).double(), **COMMON)
    targets = X[:, 0] if n_targets == 1 else X[:, :2]
    if n_outputs == n_targets:
        regressor.fit(X, targets)
        return
    message = rf"one output for every target, \(n_rows, {n_targets}\), got outputs of "
    with pytest.raises(ValueError, match=message):
        regressor.fit(X, targets)


class Several(Small):
    as_one = dict

    def forward(self, X):
        outputs = super().forward(X)
        return self.as_one(a=outputs) if self.as_one is dict else (outputs, X)


@pytest.mark.parametrize("kind", [dict, tuple])
@pytest.mark.parametrize("Net", [SAMNetClassifier, SAMNetRegressor])
def test_outputs_that_are_no_tensor(Net, kind, monkeypatch):
    monkeypatch.setattr(Several, "as_one", kind)
    targets = y if Net is SAMNetClassifier else X[:, 0]
    with pytest.raises(
        TypeError, match=f"must return a Tensor.* got a {kind.__name__}"
    ):
        Net(Several, **COMMON).fit(X, targets)


def test_targets_that_are_no_numbers():
    with pytest.raises(ValueError, match="y must hold numbers, got dtype=<U1"):
        SAMNetRegressor(Small, **COMMON).fit(X, y)


def test_outputs_that_are_images_do_not_fit():
    module = nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))).double()
    with pytest.raises(ValueError, match="one output for every class"):
        net(module=module).fit(X, y)


def test_a_criterion_of_one_logit_and_outputs_for_two():
    with pytest.raises(ValueError, match="must return a single logit"):
        net(module=nn.Linear(4, 2).double(), criterion=nn.BCEWithLogitsLoss).fit(
            X, y == "a"
        )


class Summed(nn.Module):
    """A loss without rows."""

    def forward(self, y_pred, y):
        return nn.functional.cross_entropy(y_pred, y)


class Deaf(Summed):
    """A loss that does not read its reduction."""

    reduction = "mean"


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (Summed, "criterion must have an attribute 'reduction'"),
        (Deaf, "must return a loss for every row"),
    ],
)
def test_weights_need_the_losses_of_rows(criterion, message):
    net(criterion=criterion).fit(X, y)
    with pytest.raises(ValueError, match=message):
        net(criterion=criterion).fit(X, y, sample_weight=np.ones(len(X)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X_val": X}, "X_val and y_val must be given together, got only X_val"),
        ({"y_val": y}, "X_val and y_val must be given together, got only y_val"),
        (
            {"X_val": X[:, :2], "y_val": y},
            "2 features, but SAMNet",
        ),
        ({"X_val": X, "y_val": np.full(len(X), "d")}, r"got \['d'\] too"),
        ({"sample_weight": np.zeros(len(X))}, "non-zero|other than 0"),
        ({"sample_weight": -np.ones(len(X))}, "Negative"),
        ({"sample_weight": np.ones(3)}, "sample_weight"),
    ],
    ids=str,
)
def test_rows_that_are_not_valid(arguments, message):
    with pytest.raises(ValueError, match=message):
        net().fit(X, y, **arguments)


@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor, lambda X: {"X": X}])
def test_rows_without_targets(form):
    fit = net(module=Small(4, 3)).fit(form(X), y)
    before = {name: value for name, value in vars(fit).items()}
    for goes_on in (fit.fit, fit.partial_fit):
        with pytest.raises(
            ValueError, match=r"inconsistent numbers of samples: \[40, 3"
        ):
            goes_on(form(X), y[:3])
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[40, 3"):
        fit.fit(form(X), y, X_val=form(X), y_val=y[:3])
    assert all(vars(fit)[name] is value for name, value in before.items())


def test_weights_need_the_rows_that_were_given():
    other = TensorDataset(torch.as_tensor(X), torch.zeros(len(X)))

    class Elsewhere(DataLoader):
        def __init__(self, dataset, **kwargs):
            super().__init__(other, **kwargs)

    with pytest.raises(
        ValueError, match="need minibatches of the rows that fit was given"
    ):
        net(iterator_train=Elsewhere).fit(X, y, np.ones(len(X)))


def test_a_training_that_diverges_says_so():
    regressor = SAMNetRegressor(
        nn.Linear(4, 1).double(), solver="sgd", lr=1e300, **COMMON
    )
    with pytest.raises(ValueError, match="training loss must stay finite, got"):
        regressor.fit(X, X[:, 0])
    with pytest.raises(ValueError, match="A radius must have a finite validation loss"):
        regressor.set_params(solver="sam", rho=[0.1, 0.2], base_solver="sgd").fit(
            X, X[:, 0]
        )


@pytest.mark.parametrize("callback", [EarlyStopping(), Checkpoint(f_params=None)])
def test_callbacks_of_skorch_that_need_validation_rows(callback):
    message = "Make sure you have validation data|need validation rows: give fit X_val"
    with pytest.raises((SkorchException, ValueError), match=message):
        net(callbacks=[callback]).fit(X, y)
