"""A parameter that nothing reads does not go unnoticed."""

import warnings

import numpy as np
import pytest

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.exceptions import UnusedParameterWarning
from sksharp.options import AdamW, Snapshots
from sksharp.options.schedules import SCHEDULES
from sksharp.options.solvers import SOLVERS

from .solvers import PAIRS, reads

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.normal(size=(20, 3))
y = np.arange(20) % 2

CHAINS = [*PAIRS, ("lbfgs", "adam")]


def options_of(registry):
    """Return the names of all options that classes have."""
    return sorted({name for cls in registry.values() for name in cls().get_params()})


def another(cls, name):
    """Return a value of an option that is valid and not its default."""
    value = cls().get_params()[name]
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 1e-4
    others = {
        "decouple": False,
        "micro_batch_size": 5,
        "milestones": (0.3,),
        "shape": "triangular",
    }
    return others[name]


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
    takes_radius = solver in SOLVERS and "rho" in reads(solver, base_solver)
    for rho in (0.25, [0.25]):
        caught = warnings_of(solver=solver, base_solver=base_solver, rho=rho)
        # where the length would be chosen, a number says not to choose it
        chooses = solver not in ("adam", "sgd", "lbfgs", "yellowfin")
        is_read = rho == 0.25 and chooses
        if takes_radius or is_read:
            assert caught == []
        else:
            (message,) = caught
            assert f"solver={solver!r} does not read have no effect, got " in message
            assert f"got rho={rho}. Set another solver" in message


@pytest.mark.parametrize("name", options_of(SOLVERS))
@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_an_option_is_an_error_if_and_only_if_the_solver_has_it_not(solver, name):
    clf = SAMMLPClassifier(solver=solver)
    cls = SOLVERS.get(solver)
    if cls is None:
        with pytest.raises(ValueError, match="solver='lbfgs' has no options to set"):
            clf.set_params(**{f"solver__{name}": 1})
    elif name not in cls().get_params():
        with pytest.raises(ValueError, match=rf"'{name}' for estimator {cls.__name__}"):
            clf.set_params(**{f"solver__{name}": 1})
        with pytest.raises(TypeError, match=f"has no option '{name}'"):
            cls(**{name: 1})
    else:
        value = another(cls, name)
        clf.set_params(**{f"solver__{name}": value})
        assert clf.solver == cls(**{name: value}) != cls()
        assert warnings_of(solver=clf.solver, rho="auto") == []


def test_an_option_without_its_object_is_an_error_that_names_it():
    for name in ("gamma", "swa_start", "lr_min", "n_snapshots", "rho_grid"):
        with pytest.raises(TypeError, match=f"argument '{name}'"):
            SAMMLPClassifier(**{name: 1})
        with pytest.raises(ValueError, match=f"Invalid parameter '{name}'"):
            SAMMLPClassifier().set_params(**{name: 1})


@pytest.mark.parametrize("solver", SOLVERS)
def test_micro_batches_are_of_sharpness_aware_solvers(solver):
    cls = SOLVERS[solver]
    assert ("micro_batch_size" in cls().get_params()) == cls.is_two_gradient


@pytest.mark.parametrize("rho", [[0.1], [0.1, 0.2]])
@pytest.mark.parametrize("solver", ["sam", "msam", "adam", "lbfgs"])
def test_radii_to_choose_from_warn_unless_the_solver_has_one(solver, rho):
    caught = warnings_of(solver=solver, rho=rho)
    if solver in ("adam", "lbfgs"):
        (message,) = caught
        assert f"solver={solver!r} does not read" in message
        assert f"got rho={rho!r}. Set another solver" in message
    else:
        assert caught == []


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
    ("switch", "option", "value"),
    [
        ({"swa": True}, "swa__start", 0.5),
        ({"swa": True}, "swa__freq", 2),
        ({"swa": True}, "swa__lr", 0.1),
        ({"swa": True}, "swa__anneal", 1),
        ({"swa": True}, "swa__strategy", "linear"),
        ({"swa": True}, "swa__cycle", 2),
        ({"snapshots": 2}, "snapshots__n", 3),
        ({"snapshots": 2}, "snapshots__schedule", "triangular"),
        ({"snapshots": 2}, "snapshots__start", 0.5),
        ({"snapshots": 2}, "snapshots__lr_min", 1e-4),
    ],
)
def test_an_option_is_an_error_unless_what_it_belongs_to_is_on(switch, option, value):
    (holder,) = switch
    clf = SAMMLPClassifier()
    off = getattr(clf, holder)
    message = f"{holder} must be on for its options to be set, got {holder}={off!r}"
    with pytest.raises(ValueError, match=message):
        clf.set_params(**{option: value})
    assert getattr(clf, holder) is off
    clf.set_params(**switch, **{option: value})
    assert clf.get_params()[option] == value
    if option in ("swa__anneal", "swa__cycle"):
        clf.set_params(swa__lr=1e-4)
    assert warnings_of(max_iter=20, **{holder: getattr(clf, holder)}) == []


@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
@pytest.mark.parametrize("base_solver", ["sgd", AdamW(weight_decay=0.1)])
def test_a_base_solver_warns_unless_the_solver_takes_one(solver, base_solver):
    caught = warnings_of(solver=solver, base_solver=base_solver)
    takes_base = solver in SOLVERS and SOLVERS[solver].takes_base
    assert len(caught) == (not takes_base)
    for message in caught:
        assert f"got base_solver={base_solver!r}. Set another solver" in message


@pytest.mark.parametrize("name", options_of(SCHEDULES))
@pytest.mark.parametrize("learning_rate", ["constant", "adaptive", *SCHEDULES])
def test_an_option_is_an_error_if_and_only_if_the_schedule_has_it_not(
    learning_rate, name
):
    clf = SAMMLPClassifier(learning_rate=learning_rate)
    cls = SCHEDULES.get(learning_rate)
    if cls is None:
        with pytest.raises(ValueError, match=f"learning_rate='{learning_rate}'"):
            clf.set_params(**{f"learning_rate__{name}": 1})
    elif name not in cls().get_params():
        with pytest.raises(ValueError, match=rf"'{name}' for estimator {cls.__name__}"):
            clf.set_params(**{f"learning_rate__{name}": 1})
    else:
        value = another(cls, name)
        clf.set_params(**{f"learning_rate__{name}": value})
        assert clf.learning_rate == cls(**{name: value}) != cls()
        assert warnings_of(learning_rate=clf.learning_rate) == []


def test_snapshots_read_the_lowest_rate():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SAMMLPClassifier((2,), max_iter=2, snapshots=Snapshots(n=2, lr_min=1e-4)).fit(
            X, y
        )


@pytest.mark.parametrize("Estimator", [SAMMLPClassifier, SAMMLPRegressor])
@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_the_defaults_are_silent(solver, Estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnusedParameterWarning)
        Estimator(
            hidden_layer_sizes=(2,), solver=solver, max_iter=1, batch_size=10
        ).fit(X, y)


def test_an_equal_value_of_another_type_is_the_default():
    values = {"rho": np.str_("auto"), "base_solver": np.str_("adam")}
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
    (message,) = warnings_of(solver="adam", rho=0.25, cv=2, base_solver="sgd")
    assert "got base_solver='sgd', cv=2, rho=0.25." in message


@pytest.mark.parametrize(
    ("params", "radius"), [({}, "0.05"), ({"rho": [0.3]}, "0.3"), ({"rho": [0]}, "0")]
)
def test_what_chooses_a_radius_warns_where_the_rows_are_too_few_to_choose(
    params, radius
):
    (message,) = warnings_of(scoring="accuracy", **params)
    assert "with 20 rows, got scoring='accuracy'." in message
    assert f"Training is with rho={radius};" in message


@pytest.mark.parametrize("solver", ["ranger", "adamw"])
def test_what_chooses_a_length_warns_where_the_rows_are_too_few_to_choose(solver):
    (message,) = warnings_of(scoring="accuracy", solver=solver)
    assert "the length of training have no effect with 20 rows" in message


def test_cv_is_not_read_where_a_number_leaves_no_length_to_choose():
    (message,) = warnings_of(cv=2, solver="ranger", rho=0.0)
    assert "rho=0.0 does not read have no effect, got cv=2" in message


@pytest.mark.parametrize(
    "params",
    [
        {"rho": [0]},
        {"rho": [0, 1]},
        {"rho": [0, 1], "scoring": "accuracy"},
        {"cv": 2, "rho": [0, 1]},
        {"n_members": 2, "rho": [0, 1]},
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
    (message,) = warnings_of(solver="adam", base_solver="sgd", n_members=3)
    assert "base_solver='sgd'" in message
