"""Which networks are trained together."""

import numpy as np
import pytest

from sksharp import SAMMLPClassifier
from sksharp.options import WSAM
from sksharp.options.solvers import SOLVERS
from sksharp.training._plan import plan

X = np.linspace(-1, 1, 24).reshape(12, 2)
y = np.arange(12) % 2


def test_networks_that_decouple_the_sharpness_are_trained_apart_from_others(job_of):
    network = SAMMLPClassifier((3,), rho=0.1, batch_size=4, max_iter=2, random_state=0)
    jobs = [
        job_of(network.set_params(solver=WSAM(gamma=gamma, decouple=decouple)), X, y)
        for gamma, decouple in [(0.5, True), (0.5, False), (0.8, True), (0.8, False)]
    ]
    assert plan(jobs) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("name", SOLVERS)
def test_an_option_that_is_no_number_is_shared_by_networks_trained_together(name):
    """Numbers may be one per model; a truth value chooses the code of a step."""
    solver = SOLVERS[name]()
    options = {a: getattr(solver, o) for a, o in solver.option_arguments().items()}
    words = {a for a, value in options.items() if not isinstance(value, int | float)}
    assert words <= {*solver.shared}
