"""scikit-learn's own tests of its MLPs, run against ours.

They run twice: with the solvers that they ask for, and with each stochastic solver as the
base of a sharpness-aware one.

The tests name the classes in ``parametrize``, which is evaluated on import: the two names
in ``sklearn.neural_network`` are replaced for as long as a private copy of the test module
is imported, and no longer.
"""

import functools
import importlib.util

import pytest
import sklearn.neural_network

from sksharp import SAMMLPClassifier, SAMMLPRegressor

TESTS = "sklearn.neural_network.tests.test_mlp"

# scikit-learn's tests do not expect warnings to be errors: many of them train for a few
# epochs and ignore the ConvergenceWarning, or run into overflows on purpose
pytestmark = pytest.mark.filterwarnings("ignore")

pytest.register_assert_rewrite(TESTS)

AMPLIFIED = (
    "compares weights of float32 and float64 at rtol=5e-4 after up to 150 epochs; the "
    "ascent step amplifies the difference in rounding"
)
HOVERS = (
    "expects the prediction for the one row it trains on to reach its target at rtol=1e-4; "
    "with a constant rho the weights hover about the minimum"
)
# these are run over SAM without an ascent
AT_ZERO = {
    "test_mlp_regressor_dtypes_casting": AMPLIFIED,
    "test_mlp_loading_from_joblib_partial_fit": HOVERS,
}


def as_asked(Estimator):
    """Return a constructor with scikit-learn's default solver."""

    def construct(*args, solver="adam", **params):
        return Estimator(*args, solver=solver, **params)

    construct.__name__ = Estimator.__name__
    return construct


def over_sam(Estimator, rho=0.05):
    """Return a constructor that makes every stochastic solver the base of SAM."""

    def construct(*args, solver="adam", **params):
        if solver != "lbfgs":
            params |= {"base_solver": solver, "rho": rho}
            solver = "sam"
        return Estimator(*args, solver=solver, **params)

    construct.__name__ = Estimator.__name__
    return construct


def import_tests(substitute):
    """Return a private copy of scikit-learn's test module that tests our estimators."""
    spec = importlib.util.find_spec(TESTS)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for Estimator in (SAMMLPClassifier, SAMMLPRegressor):
            name = Estimator.__name__.removeprefix("SAM")
            patch.setattr(sklearn.neural_network, name, substitute(Estimator))
        spec.loader.exec_module(module)
    return {name: f for name, f in vars(module).items() if name.startswith("test_")}


AS_ASKED = import_tests(as_asked)
OVER_SAM = import_tests(over_sam)
OVER_SAM_AT_ZERO = import_tests(functools.partial(over_sam, rho=0.0))
OVER_SAM |= {name: OVER_SAM_AT_ZERO[name] for name in AT_ZERO}

globals().update({f"{name}_as_asked": test for name, test in AS_ASKED.items()})
globals().update(
    {f"{name}_over_sam": pytest.mark.slow(test) for name, test in OVER_SAM.items()}
)


@pytest.fixture
def global_random_seed():
    """Stand in for the fixture of scikit-learn's conftest."""
    return 42


def test_over_sam_there_is_an_ascent_but_where_it_is_said_why_not():
    for name, test in OVER_SAM.items():
        assert test.__globals__["MLPRegressor"]().rho == (
            0 if name in AT_ZERO else 0.05
        )


@pytest.mark.parametrize(("tests", "solver"), [(AS_ASKED, "adam"), (OVER_SAM, "sam")])
def test_the_copies_see_our_estimators_and_scikit_learn_sees_its_own(tests, solver):
    for Estimator in (SAMMLPClassifier, SAMMLPRegressor):
        name = Estimator.__name__.removeprefix("SAM")
        estimator = tests["test_alpha"].__globals__[name]()
        assert (type(estimator), estimator.solver) == (Estimator, solver)
        assert type(getattr(sklearn.neural_network, name)()) in Estimator.__mro__
