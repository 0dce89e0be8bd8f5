"""Parameters that hold a name, or an object with its options."""

import copy
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.utils import estimator_html_repr

import sksharp.averaging
import sksharp.optim
import sksharp.options
from sksharp import SAMMLPClassifier, SAMMLPRegressor, VectorizedGridSearchCV
from sksharp.options import (
    ASAM,
    SAM,
    SGD,
    SWA,
    WSAM,
    Adam,
    AdamW,
    Cosine,
    Cyclic,
    LearningRateSchedule,
    Lookahead,
    MultiStep,
    Muon,
    Option,
    Ranger,
    Snapshots,
    Solver,
    Step,
)
from sksharp.options._base import OWN_PARAMETERS
from sksharp.options.schedules import SCHEDULES
from sksharp.options.solvers import SOLVERS

OPTIONS = [
    cls
    for cls in vars(sksharp.options).values()
    if isinstance(cls, type)
    and issubclass(cls, Option)
    and cls.__name__ not in ("Option", "Solver", "LearningRateSchedule")
]
every_option = pytest.mark.parametrize("cls", OPTIONS, ids=lambda cls: cls.__name__)

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
y = (X[:, 0] > 0).astype(int)
SMALL = {
    "hidden_layer_sizes": (3,),
    "batch_size": 10,
    "max_iter": 3,
    "rho": 0.1,
    "random_state": 0,
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(**params):
    return SAMMLPClassifier(**{**SMALL, **params})


def weights_of(estimator):
    return np.concatenate([w.ravel() for w in estimator.coefs_])


# -- the objects -------------------------------------------------------------------------


@every_option
def test_an_option_is_documented_constrained_and_keyword_only(cls):
    names = cls._get_param_names()
    assert names == sorted(cls._parameter_constraints)
    for name in names:
        # in a line of its own, or with those that are documented elsewhere
        line = rf"^ *(?:\w+, )*{name}(?: : .+|(?:, \w+)*)$"
        assert re.search(line, cls.__doc__, re.MULTILINE), name
    assert "Examples" in cls.__doc__
    cls().validate()
    if names:
        with pytest.raises(TypeError, match="takes its options by their names"):
            cls(1)


@every_option
def test_options_are_equal_by_class_and_values(cls):
    assert cls() == cls() == clone(cls()) == pickle.loads(pickle.dumps(cls()))
    assert hash(cls()) == hash(cls())
    assert cls() != object()
    assert repr(cls()) == f"{cls.__name__}()"


def test_a_representation_says_what_differs_from_the_defaults():
    assert repr(ASAM(eta=0.1, start=0.0)) == "ASAM(eta=0.1)"
    assert repr(MultiStep(milestones=np.array([1, 2]))) == (
        "MultiStep(milestones=(1, 2))"
    )
    assert MultiStep(milestones=[1, 2]) == MultiStep(milestones=(1, 2))
    assert ASAM(eta=0.1) != ASAM()
    assert AdamW() != Adam()
    text = repr(classifier(solver=ASAM(eta=0.1)))
    assert "solver=ASAM(eta=0.1)" in text
    assert "ASAM" in estimator_html_repr(classifier(solver=ASAM(eta=0.1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Adam(beta_1=0.5),
            r"Adam has no option 'beta_1', which is a parameter of the estimator\. Set it "
            r"there: SAMMLPClassifier\(solver=Adam\(\), beta_1=\.\.\.\)\.",
        ),
        (
            lambda: SGD(momentum=0.5),
            "'momentum', which is a parameter of the estimator",
        ),
        (lambda: SAM(rho=0.1), r"SAM has no option 'rho'.*\(solver=SAM\(\), rho="),
        (lambda: Cosine(warmup=1), r"'warmup'.*\(learning_rate=Cosine\(\), warmup="),
        (lambda: SWA(max_iter=9), r"'max_iter'.*\(swa=SWA\(\), max_iter="),
        (lambda: Snapshots(swa=True), r"'swa'.*\(snapshots=Snapshots\(\), swa="),
        (
            lambda: ASAM(etta=1),
            r"no option 'etta', its options are \['eta',.*mean 'eta'",
        ),
        (lambda: Adam(depth=1), r"Adam has no option 'depth', it has none\.$"),
    ],
)
def test_an_argument_that_an_option_does_not_have_says_where_it_belongs(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_every_parameter_of_the_estimators_is_known_as_one():
    own = {
        *SAMMLPClassifier._get_param_names(),
        *SAMMLPRegressor._get_param_names(),
    } - {*MLPRegressor._get_param_names()}
    assert own == {*OWN_PARAMETERS}


# -- a name is its object ----------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_by_name_is_its_object_as_it_comes(name):
    by_name = classifier(solver=name).fit(X, y)
    by_object = classifier(solver=SOLVERS[name]()).fit(X, y)
    assert_array_equal(weights_of(by_name), weights_of(by_object))
    if SOLVERS[name].is_base:
        by_name = classifier(base_solver=name).fit(X, y)
        by_object = classifier(base_solver=SOLVERS[name]()).fit(X, y)
        assert_array_equal(weights_of(by_name), weights_of(by_object))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_by_name_is_its_object_as_it_comes(name):
    by_name = classifier(learning_rate=name).fit(X, y)
    by_object = classifier(learning_rate=SCHEDULES[name]()).fit(X, y)
    assert_array_equal(weights_of(by_name), weights_of(by_object))


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"swa": True}, {"swa": SWA()}),
        ({"snapshots": 2}, {"snapshots": Snapshots(n=2)}),
        ({"swa": np.True_}, {"swa": SWA()}),
    ],
)
def test_an_average_that_is_on_is_its_object_as_it_comes(short, long):
    one, other = classifier(**short).fit(X, y), classifier(**long).fit(X, y)
    assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_numbers_of_numpy_are_options_like_pythons():
    plain = classifier(solver=ASAM(eta=0.5, interval=2), learning_rate=Step(size=2))
    numpys = classifier(
        solver=ASAM(eta=np.float32(0.5), interval=np.int64(2)),
        learning_rate=Step(size=np.int32(2)),
    )
    assert_array_equal(weights_of(plain.fit(X, y)), weights_of(numpys.fit(X, y)))


# -- parameters of parameters ------------------------------------------------------------


def test_setting_an_option_of_a_name_makes_its_object():
    clf = classifier(solver="asam", learning_rate="cosine", swa=True, snapshots=3)
    clf.set_params(solver__eta=0.5, learning_rate__flat=0.5, swa__start=2)
    assert clf.solver == ASAM(eta=0.5)
    assert clf.learning_rate == Cosine(flat=0.5)
    assert clf.swa == SWA(start=2)
    assert clf.set_params(snapshots__lr_min=1e-4).snapshots == Snapshots(
        n=3, lr_min=1e-4
    )
    assert clf.get_params()["solver__eta"] == 0.5


def test_a_method_and_its_options_are_set_in_one_call():
    clf = classifier().set_params(solver__gamma=0.5, solver="wsam")
    assert clf.solver == WSAM(gamma=0.5)
    clf.set_params(base_solver__momentum=0.5, base_solver=Muon(weight_decay=0.1))
    assert clf.base_solver == Muon(momentum=0.5, weight_decay=0.1)


def test_setting_an_option_leaves_other_holders_of_the_object_alone():
    given = ASAM()
    clf = classifier(solver=given)
    shallow, cloned = copy.copy(clf), clone(clf)
    shallow.set_params(solver__eta=5)
    assert shallow.solver.eta == 5
    assert clf.solver.eta == cloned.solver.eta == given.eta == 0.01


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"solver": "lbfgs", "solver__eta": 1}, "solver='lbfgs' has no options to set"),
        ({"swa__start": 1}, "swa must be on for its options.*swa=False"),
        ({"snapshots__n": 2}, "snapshots must be on.*snapshots=None"),
        (
            {"learning_rate__flat": 0.1},
            "learning_rate='constant' has no options to set",
        ),
        ({"solver__etta": 1}, r"Invalid parameter 'etta' for estimator SAM\(\)"),
        ({"rho__x": 1}, "rho has no options to set"),
        ({"nothing__x": 1}, "Invalid parameter 'nothing'"),
    ],
)
def test_an_option_of_what_has_none_is_an_error_that_names_it(params, message):
    clf = classifier()
    with pytest.raises((ValueError, AttributeError), match=message):
        clf.set_params(**params)


# -- what is no option -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"solver": ASAM}, r"solver must be an object, got the class ASAM.*ASAM\(\)"),
        ({"swa": SWA}, r"swa must be an object.*Write swa=SWA\(\)"),
        ({"solver": sksharp.optim.ASAM}, "solver must.*object of sksharp.options"),
        ({"swa": sksharp.averaging.SWA()}, "swa must.*object of sksharp.options"),
        ({"learning_rate": ASAM()}, r"'learning_rate' parameter.*like.*Cosine\(\)"),
        ({"solver": Cosine()}, r"'solver' parameter.*Got Cosine\(\) instead"),
        ({"base_solver": Lookahead()}, "base_solver must be one of"),
        ({"base_solver": SAM()}, "base_solver must be one of"),
        (
            {"solver": "lookahead", "base_solver": Ranger()},
            r"base_solver must be one of.*got base_solver=Ranger\(\)",
        ),
        (
            {"solver": WSAM(decouple=True), "base_solver": "ranger"},
            "base_solver must be one of.*'ranger'",
        ),
        ({"solver": ASAM(eta=-1)}, "The 'eta' parameter of ASAM must be a float"),
        ({"solver": SAM(interval=0)}, "The 'interval' parameter of SAM"),
        ({"solver": WSAM(decouple="yes")}, "The 'decouple' parameter of WSAM"),
        ({"swa": SWA(strategy="cosin")}, "Did you mean 'cosine'"),
        ({"swa": SWA(anneal=2)}, "anneal needs lr"),
        ({"snapshots": 1}, "The 'snapshots' parameter"),
        ({"snapshots": Snapshots(n=1)}, "The 'n' parameter of Snapshots"),
        ({"learning_rate": MultiStep(milestones=[])}, "at least one milestone"),
        ({"learning_rate": Cyclic(shape="saw")}, "The 'shape' parameter of Cyclic"),
        ({"learning_rate": Cosine(lr_min=1)}, "learning_rate__lr_min must not exceed"),
        ({"learning_rate": Cyclic(lr_min=1)}, "learning_rate__lr_min must not exceed"),
        ({"rho": []}, "rho must hold at least one radius"),
        ({"rho": ["a"]}, "rho must hold at least one radius"),
        ({"solver": "assam"}, "Did you mean 'asam'"),
    ],
)
def test_what_is_no_option_is_an_error_that_names_the_way_out(params, message):
    clf = classifier(**params)
    before = dict(vars(clf))
    with pytest.raises((ValueError, TypeError), match=message):
        clf.fit(X, y)
    assert vars(clf) == before


# -- decoupled over Adam -----------------------------------------------------------------


def test_decoupled_wsam_reaches_adam():
    coupled = classifier(solver=WSAM(decouple=False)).fit(X, y)
    auto = classifier(solver=WSAM()).fit(X, y)
    decoupled = classifier(solver=WSAM(decouple=True)).fit(X, y)
    assert_array_equal(weights_of(auto), weights_of(coupled))
    assert abs(weights_of(decoupled) - weights_of(coupled)).max() > 1e-4
    over_sgd = {"base_solver": "sgd"}
    auto = classifier(solver=WSAM(), **over_sgd).fit(X, y)
    decoupled = classifier(solver=WSAM(decouple=True), **over_sgd).fit(X, y)
    assert_array_equal(weights_of(auto), weights_of(decoupled))


# -- going on ----------------------------------------------------------------------------


def test_training_goes_on_over_a_name_and_its_object():
    def in_calls(*solvers):
        clf = classifier(base_solver="adamw")
        for solver in solvers:
            clf.set_params(solver=solver).partial_fit(X, y, classes=[0, 1])
        return weights_of(clf)

    expected = in_calls("asam", "asam")
    assert_array_equal(in_calls("asam", ASAM()), expected)
    assert_array_equal(in_calls(ASAM(), "asam"), expected)


def test_members_and_snapshots_hold_objects_of_their_own():
    solver = ASAM()
    for extra in ({"n_members": 2}, {"snapshots": 2}):
        clf = classifier(solver=solver, **extra).fit(X, y)
        solvers = [clf.solver, *(member.solver for member in clf.members_)]
        assert len({id(s) for s in solvers}) == 3
        assert all(s == solver for s in solvers)


# -- searches ----------------------------------------------------------------------------

GRIDS = {
    "names and objects": {"solver": ["sam", ASAM(eta=0.5), "adam", Muon()]},
    "an option of a name": {"solver__start": [0.0, 0.5]},
    "options of several": {
        "solver__interval": [1, 2],
        "base_solver__weight_decay": [0.0, 0.5],
        "base_solver": [AdamW()],
    },
    "an average": {"swa": [False, True, SWA(start=1)]},
    "an option of an average": {"swa": [True], "swa__start": [1, 2]},
    "a schedule": {
        "learning_rate": ["constant", "cosine", Cosine(flat=0.5), "adaptive"]
    },
    "an option of a schedule": {
        "learning_rate": ["cosine"],
        "learning_rate__flat": [0.0, 0.5],
    },
    "radii and what to choose from": {"rho": [0.0, 0.1, [0.0, 0.1]]},
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_searches_over_options_agree(grid):
    searches = [
        Search(classifier(), grid, cv=2, error_score="raise").fit(X, y)
        for Search in (GridSearchCV, VectorizedGridSearchCV)
    ]
    plain, vectorized = (search.cv_results_ for search in searches)
    assert plain["params"] == vectorized["params"]
    np.testing.assert_allclose(
        plain["mean_test_score"], vectorized["mean_test_score"], rtol=0, atol=1e-12
    )
    assert searches[0].best_params_ == searches[1].best_params_


def test_halving_goes_over_options():
    grid = {"solver__eta": [0.01, 1.0], "solver": ["asam"]}
    search = HalvingGridSearchCV(
        classifier(), grid, cv=2, min_resources=20, random_state=0, error_score="raise"
    )
    best = search.fit(X, y).best_estimator_
    assert best.solver == ASAM(eta=search.best_params_["solver__eta"])
    assert {*search.cv_results_["param_solver__eta"]} == {0.01, 1.0}


@pytest.mark.parametrize(
    "params",
    [
        {"rho": (0.0, 0.2), "cv": 2},
        {"rho": np.array([0.0, 0.2]), "cv": 2},
        {"rho": [0.3], "cv": None},
    ],
)
def test_a_list_of_radii_is_what_to_choose_from(params):
    clf = classifier(**params).fit(X, y)
    assert clf.rho_ in np.ravel(params["rho"])
    assert_array_equal(clone(clf).fit(X, y).coefs_[0], clf.coefs_[0])
    regr = SAMMLPRegressor(**{**SMALL, **params}).fit(X, X[:, 0])
    assert regr.rho_ in np.ravel(params["rho"])


# -- classes of the user -----------------------------------------------------------------


class Wide(ASAM):
    """'asam' with another default and fewer options."""

    def __init__(self, *, eta=5.0):
        super().__init__(eta=eta)


class Halving(LearningRateSchedule):
    """The rate is halved every few epochs."""

    def __init__(self, *, every=2):
        self.every = every

    def rate(self, initial, at):
        return initial * 0.5 ** (at.epoch // self.every)


def test_a_subclass_of_an_option_leaves_its_name_alone():
    assert SOLVERS["asam"] is ASAM
    assert classifier(solver="asam").set_params(solver__start=1).solver == ASAM(start=1)
    ours, theirs = classifier(solver=Wide()), classifier(solver=ASAM(eta=5.0))
    assert_array_equal(weights_of(ours.fit(X, y)), weights_of(theirs.fit(X, y)))
    assert repr(Wide(eta=2)) == "Wide(eta=2)"
    assert clone(Wide(eta=2)) == Wide(eta=2) != ASAM(eta=2)


def test_a_schedule_of_the_user_is_a_schedule():
    ours = classifier(learning_rate=Halving(every=1))
    theirs = classifier(learning_rate=Step(size=1, gamma=0.5))
    assert_array_equal(weights_of(ours.fit(X, y)), weights_of(theirs.fit(X, y)))


def test_a_name_that_another_has_is_refused():
    with pytest.raises(ValueError, match="name must be one that no other class has"):
        type("Other", (Solver,), {"name": "asam", "__module__": __name__})
    assert SOLVERS["asam"] is ASAM


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"solver": Solver()}, "Solver must name an optimizer"),
        ({"learning_rate": LearningRateSchedule()}, "must define rate"),
        ({"solver": ASAM(eta=-1)}, "It is an option of solver"),
        ({"base_solver": Ranger(k=0)}, "It is an option of base_solver"),
    ],
)
def test_the_error_of_an_option_names_its_parameter(params, message):
    with pytest.raises((TypeError, ValueError), match=message):
        classifier(**params).fit(X, y)


def test_options_are_given_by_their_names():
    with pytest.raises(TypeError, match=r"ASAM takes its options by their names"):
        ASAM(0.1)


def test_epochs_and_shares_of_one_value_differ():
    assert Cyclic(length=1) != Cyclic(length=1.0)
    assert SWA(lr=0.1, anneal=1) != SWA(lr=0.1, anneal=1.0)
    assert MultiStep(milestones=(0, 1)) != MultiStep(milestones=(0.0, 1))
    assert SWA(start=np.int64(3)) == SWA(start=3)
    assert ASAM(eta=1) == ASAM(eta=1.0)


# -- radii -------------------------------------------------------------------------------

MANY = rng.normal(size=(120, 3))
LABELS = (MANY[:, 0] + rng.normal(size=120) > 0).astype(int)
AUTO = {"rho": "auto", "warm_start": True, "max_iter": 4}


def test_a_list_of_one_radius_is_that_radius():
    for solver in ("sam", "wsam", "asam"):
        listed = classifier(solver=solver, rho=[0.3]).fit(X, y)
        fixed = classifier(solver=solver, rho=0.3).fit(X, y)
        assert listed.rho_ == 0.3
        assert_array_equal(weights_of(listed), weights_of(fixed))
    chosen = classifier(solver="wsam", rho=[0.1, 0.3]).fit(X, y)
    assert_array_equal(chosen.rho_grid_, [0.1, 0.3])


def test_another_list_or_another_option_lets_a_warm_start_choose_anew():
    clf = classifier(rho=[0.0, 0.1], warm_start=True).fit(X, y)
    assert clf.set_params(rho=[2.0, 3.0]).fit(X, y).rho_ in (2.0, 3.0)
    wsam = classifier(**AUTO, solver=WSAM(gamma=0.9)).fit(MANY, LABELS)
    grid = wsam.rho_grid_
    wsam.set_params(solver__gamma=0.5).fit(MANY, LABELS)
    np.testing.assert_allclose(wsam.rho_grid_, grid * 9)
    kept = clone(wsam).fit(MANY, LABELS)
    kept.rho_grid_[:] = 7  # a choice would write it
    assert (kept.fit(MANY, LABELS).rho_grid_ == 7).all()


def test_members_get_no_average_in_a_fit_that_nobody_has_asked_for():
    clf = classifier(**AUTO, n_members=2).fit(MANY, LABELS)
    clf.partial_fit(MANY, LABELS).set_params(swa=True).fit(MANY, LABELS)
    assert {member.ema_decay for member in clf.members_} == {None}
    assert all(member.n_averaged_ for member in clf.members_)


def test_snapshots_keep_the_radius_that_was_chosen():
    clf = classifier(**AUTO, snapshots=2).fit(MANY, LABELS)
    assert [member.rho for member in clf.members_] == [clf.rho_] * 2
