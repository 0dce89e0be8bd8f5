"""A parameter that nothing reads does not go unnoticed."""

import inspect
import warnings

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp._schedules import SCHEDULES
from sksharp.exceptions import UnusedParameterWarning
from sksharp.optim import BASE_SOLVERS, SOLVERS, solver_parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.normal(size=(20, 3))
y = np.arange(20) % 2

DEFAULTS = {
    name: p.default
    for name, p in inspect.signature(SAMMLPClassifier).parameters.items()
}
THEIRS = set(inspect.signature(MLPClassifier).parameters)
OURS = {
    name for solver in SOLVERS.values() for name in solver.arguments.values()
} - THEIRS
CHAINS = [
    (solver, base_solver)
    for solver in [*SOLVERS, "lbfgs"]
    for base_solver in BASE_SOLVERS
    if base_solver == "adam" or (solver in SOLVERS and SOLVERS[solver].is_ascent)
]


def another(name):
    """Return a value of a parameter that is valid and not its default."""
    value = DEFAULTS[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    return {"base_solver": "sgd", "lr_milestones": (0.3,), "lr_gamma": 0.5}.get(name)


def warnings_of(**params):
    """Return what a fit warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        params = {"max_iter": 1, **params}
        SAMMLPClassifier((2,), random_state=0, **params).fit(X, y)
    return [
        str(w.message) for w in caught if issubclass(w.category, UnusedParameterWarning)
    ]


@pytest.mark.parametrize(("solver", "base_solver"), CHAINS)
def test_parameters_warn_if_and_only_if_the_solver_does_not_read_them(
    solver, base_solver
):
    values = {name: another(name) for name in sorted(OURS - {"rho"})}
    base = {} if base_solver == "adam" else {"base_solver": base_solver}
    (message,) = warnings_of(solver=solver, **base, **values)
    read = solver_parameters(solver, base_solver) if solver in SOLVERS else ()
    unread = [f"{name}={value!r}" for name, value in values.items() if name not in read]
    assert f"solver={solver!r} does not read have no effect, got " in message
    _, rest = message.split(" got ")
    assert sorted(rest.split(". Set another solver")[0].split(", ")) == unread


@pytest.mark.parametrize("solver", ["sam", "adam"])
@pytest.mark.parametrize("name", sorted(OURS - {"rho"}))
def test_a_parameter_alone_warns_if_and_only_if_the_solver_does_not_read_it(
    name, solver
):
    value = another(name)
    caught = warnings_of(solver=solver, **{name: value})
    if name in solver_parameters(solver, "adam"):
        assert caught == []
    else:
        (message,) = caught
        assert f"solver={solver!r} does not read" in message
        assert f"{name}={value!r}" in message


@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_micro_batches_warn_unless_the_solver_is_sharpness_aware(solver):
    caught = warnings_of(solver=solver, micro_batch_size=5)
    is_ascent = solver in SOLVERS and SOLVERS[solver].is_ascent
    assert len(caught) == (not is_ascent)


@pytest.mark.parametrize("rho", ["auto", 0.1])
@pytest.mark.parametrize("solver", ["sam", "msam", "adam", "lbfgs"])
def test_a_grid_of_radii_warns_unless_the_radius_is_searched(solver, rho):
    caught = warnings_of(solver=solver, rho=rho, rho_grid=[0.1])
    if solver in ("adam", "lbfgs"):
        (message,) = caught
        assert f"solver={solver!r} does not read" in message
        assert "rho_grid=[0.1]" in message
    elif rho == "auto":
        assert caught == []
    else:
        (message,) = caught
        assert "Parameters that rho=0.1 does not read have no effect" in message
        assert "got rho_grid=[0.1]. Set another rho" in message


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize(
    ("solver", "rho", "name"),
    [("sam", "auto", None), ("sam", 0.1, "rho"), ("adam", "auto", "solver")],
)
def test_folds_warn_unless_a_radius_is_searched_or_there_are_members(
    solver, rho, name, n_members
):
    caught = warnings_of(solver=solver, rho=rho, cv=2, n_members=n_members)
    if name is None or n_members == 2:
        assert caught == []
    else:
        (message,) = caught
        assert f"Parameters that {name}=" in message
        assert "got cv=2." in message


@pytest.mark.parametrize(
    ("switch", "name", "value"),
    [
        ({"swa": True}, "swa_start", 0.5),
        ({"swa": True}, "swa_freq", 2),
        ({"swa": True}, "swa_lr", 0.1),
        ({"swa": True}, "swa_anneal", 1),
        ({"swa": True}, "swa_anneal_strategy", "linear"),
        ({"swa": True}, "swa_cycle", 2),
        ({"n_snapshots": 2}, "snapshot_schedule", "triangular"),
        ({"n_snapshots": 2}, "snapshot_start", 0.5),
    ],
)
def test_a_parameter_warns_unless_what_it_belongs_to_is_on(switch, name, value):
    other = {"swa_lr": 1e-4} if name.startswith("swa") and name != "swa_lr" else {}
    assert warnings_of(**switch, **other, max_iter=20, **{name: value}) == []
    (message,) = warnings_of(max_iter=20, **{name: value})
    (off,) = switch
    assert f"Parameters that {off}={DEFAULTS[off]!r} does not read" in message
    assert f"got {name}={value!r}." in message


@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_a_base_solver_warns_unless_the_solver_takes_one(solver):
    caught = warnings_of(solver=solver, base_solver="sgd")
    takes_base = solver in SOLVERS and SOLVERS[solver].takes_base
    assert len(caught) == (not takes_base)


@pytest.mark.parametrize(
    "name", sorted({name for kind in SCHEDULES.values() for name in kind.reads})
)
@pytest.mark.parametrize("learning_rate", ["constant", "adaptive", *SCHEDULES])
def test_a_parameter_warns_if_and_only_if_the_schedule_does_not_read_it(
    learning_rate, name
):
    value = another(name) if name != "lr_min" else 1e-4
    caught = warnings_of(learning_rate=learning_rate, **{name: value})
    kind = SCHEDULES.get(learning_rate)
    if kind is not None and name in kind.reads:
        assert caught == []
    else:
        (message,) = caught
        assert f"learning_rate={learning_rate!r} does not read" in message
        assert f"{name}={value!r}" in message


def test_snapshots_read_the_lowest_rate():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SAMMLPClassifier((2,), n_snapshots=2, max_iter=2, lr_min=1e-4).fit(X, y)


@pytest.mark.parametrize("Estimator", [SAMMLPClassifier, SAMMLPRegressor])
@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_the_defaults_are_silent(solver, Estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnusedParameterWarning)
        Estimator(
            hidden_layer_sizes=(2,), solver=solver, max_iter=1, batch_size=10
        ).fit(X, y)


def test_an_equal_value_of_another_type_is_the_default():
    values = {
        "gamma": np.float64(0.9),
        "lookahead_alpha": 1 / 2,
        "lr_milestones": [0.5, 0.75],
    }
    assert warnings_of(solver="adam", **values) == []


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_parameters_of_scikit_learn_are_silent_as_there(solver):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnusedParameterWarning)
        SAMMLPClassifier(
            (2,),
            solver=solver,
            momentum=0.5,
            nesterovs_momentum=False,
            beta_1=0.5,
            epsilon=1e-4,
            power_t=0.1,
            max_fun=3,
            max_iter=1,
        ).fit(X, y)


def test_several_are_named_in_one_warning():
    (message,) = warnings_of(solver="adam", gamma=0.5, rho=0.25, lookahead_k=3)
    assert "got gamma=0.5, lookahead_k=3, rho=0.25." in message


@pytest.mark.parametrize(
    "params",
    [
        {"rho_grid": [0, 1]},
        {"scoring": "accuracy"},
        {"rho_grid": (0, 1), "scoring": "accuracy"},
    ],
)
def test_what_chooses_a_radius_warns_where_the_rows_are_too_few_to_choose(params):
    (message,) = warnings_of(**params)
    values = ", ".join(f"{name}={value!r}" for name, value in params.items())
    assert f"with 20 rows, got {values}. Training is with rho=0.05" in message


@pytest.mark.parametrize(
    "params",
    [
        {"rho_grid": [0]},
        {"rho_grid": [0, 1], "cv": 2},
        {"rho_grid": [0, 1], "n_members": 2},
        {"scoring": "accuracy", "early_stopping": True},
        {},
    ],
)
def test_few_rows_are_silent_where_something_reads_the_parameters(params):
    assert warnings_of(**params) == []


def test_calls_of_partial_fit_warn_once():
    clf = SAMMLPClassifier((2,), solver="adam", rho=0.2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            clf.partial_fit(X, y, classes=[0, 1])
    assert [w.category for w in caught] == [UnusedParameterWarning]


def test_members_do_not_repeat_the_warning():
    (message,) = warnings_of(solver="adam", gamma=0.5, n_members=3)
    assert "gamma=0.5" in message
