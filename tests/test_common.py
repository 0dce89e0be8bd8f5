"""scikit-learn's checks of estimators, without an expected failure."""

import json
import os
import subprocess
import sys

import pytest
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)

from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import SAM
from sksharp.options.solvers import as_solver

from .checks import SEE_THE_TRAINING, with_checks

# most checks train for max_iter epochs on a few rows
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:solver='friendly_sam' perturbs along the noise"),
]

ESTIMATORS = [SAMMLPClassifier, SAMMLPRegressor]
# beside the default, which chooses its radius
VARIANTS = [
    {},
    {"solver": "wsam"},
    {"solver": "asam"},
    {"solver": "gsam"},
    {"solver": "fisher_sam"},
    {"solver": "friendly_sam"},
    {"solver": "looksam"},
    {"solver": "esam"},
    {"solver": SAM(interval=2, start=0.5)},
    {"solver": "ranger"},
    {"solver": "msam"},
    {"solver": "schedule_free"},
    {"solver": "muon"},
    {"solver": "yellowfin"},
    {"solver": "adam"},
    {"solver": "sgd"},
    {"swa": True},
    {"learning_rate": "step", "warmup": 2},
]
# some checks ask for a good score, which takes the default learning rate many epochs
QUICK = {"max_iter": 20, "learning_rate_init": 0.03}


@with_checks([Estimator(**QUICK) for Estimator in ESTIMATORS])
def test_the_estimators_pass_the_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@with_checks([Estimator() for Estimator in ESTIMATORS])
def test_the_estimators_pass_the_checks_as_they_come(estimator, check):
    check(estimator)


def make_variants():
    """Return every variant once: as the classifier and as the regressor in turn."""
    for i, variant in enumerate(VARIANTS):
        # the search for a radius is the default's
        solver = as_solver(variant.get("solver", "sam"))
        radius = {"rho": 0.05} if solver.takes_radius else {}
        yield ESTIMATORS[i % 2](**QUICK, **radius, **variant)


@with_checks(list(make_variants()), only=SEE_THE_TRAINING)
def test_every_variant_passes_the_checks(estimator, check):
    check(estimator)


def test_the_checks_that_see_the_training_are_scikit_learns():
    _, values = parametrize_with_checks([E() for E in ESTIMATORS]).args
    assert {check.func.__name__ for _, check in values} >= SEE_THE_TRAINING


@pytest.mark.parametrize("Estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency]
)
def test_the_estimators_pass_checks_that_are_not_run_by_default(check, Estimator):
    check(Estimator.__name__, Estimator(**QUICK))


@pytest.mark.slow
def test_the_checks_pass_with_the_array_api_switched_on():
    # scipy reads the variable when it is imported; without it one check is skipped
    program = f"""
import json, warnings
warnings.simplefilter("ignore")
from sklearn.utils.estimator_checks import check_estimator
from sksharp import SAMMLPRegressor
results = check_estimator(SAMMLPRegressor(**{QUICK}), on_skip=None, on_fail=None)
print(json.dumps([[r["check_name"], r["status"], str(r["exception"])] for r in results]))
"""
    out = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert [result for result in json.loads(out) if result[1] != "passed"] == []
