"""A slip in a parameter that is one of several words gets the nearest word."""

import re

import numpy as np
import pytest
from sklearn.utils._param_validation import InvalidParameterError, StrOptions

from sksharp import SAMMLPClassifier, SAMMLPRegressor, sharpness, tabular_pipeline
from sksharp._choices import nearest

X = np.arange(12.0).reshape(6, 2)
y = np.arange(6) % 2

SLIPS = [
    (SAMMLPClassifier, "solver", "smam", "sam"),
    (SAMMLPClassifier, "solver", "Fisher-SAM", "fisher_sam"),
    (SAMMLPRegressor, "solver", "lbgfs", "lbfgs"),
    (SAMMLPClassifier, "base_solver", "AdamW", "adamw"),
    (SAMMLPClassifier, "learning_rate", "OneCycle", "onecycle"),
    (SAMMLPClassifier, "learning_rate", "cosine_annealing", "cosine"),
    (SAMMLPClassifier, "activation", "Relu", "relu"),
    (SAMMLPClassifier, "class_weight", "balance", "balanced"),
    (SAMMLPClassifier, "scoring", "acuracy", "accuracy"),
    (SAMMLPClassifier, "rho", "Auto", "auto"),
    (SAMMLPClassifier, "swa_anneal_strategy", "cos", "cosine"),
    (SAMMLPRegressor, "loss", "square_error", "squared_error"),
]


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize(("Estimator", "name", "slip", "meant"), SLIPS)
def test_a_slip_gets_the_nearest_word(Estimator, name, slip, meant, call):
    estimator = Estimator(**{name: slip})
    message = (
        rf"The '{name}' parameter of {Estimator.__name__} must be .*\. "
        rf"Got '{re.escape(slip)}' instead\. Did you mean '{meant}'\?$"
    )
    with pytest.raises(InvalidParameterError, match=message):
        getattr(estimator, call)(X, y)


def test_what_resembles_no_word_gets_none_and_the_words_are_in_order():
    with pytest.raises(InvalidParameterError, match=r"Got 'qqq' instead\.$") as caught:
        SAMMLPClassifier(solver="qqq").fit(X, y)
    (options,) = SAMMLPClassifier._parameter_constraints["solver"]
    assert re.findall(r"'(\w+)'[,}]", str(caught.value)) == sorted(options.options)


@pytest.mark.parametrize("Estimator", [SAMMLPClassifier, SAMMLPRegressor])
def test_every_word_is_its_own_nearest_however_it_is_written(Estimator):
    for name, constraints in Estimator._parameter_constraints.items():
        for allowed in constraints:
            if isinstance(allowed, StrOptions):
                words = sorted(allowed.options)
                for word in words:
                    for written in (word, word.upper(), word.replace("_", " ")):
                        assert nearest(written, words) == word, name


def test_a_number_out_of_its_range_gets_no_word():
    with pytest.raises(InvalidParameterError, match=r"Got -1 instead\.$"):
        SAMMLPClassifier(rho=-1).fit(X, y)


def test_the_measure_of_sharpness_gets_the_nearest_word():
    with pytest.raises(InvalidParameterError, match="Did you mean 'worst_case'"):
        sharpness(SAMMLPClassifier(), X, y, measure="worstcase")


@pytest.mark.parametrize("no_estimator", ["net", SAMMLPClassifier, None, 3])
def test_a_pipeline_of_what_is_no_estimator_is_an_error(no_estimator):
    with pytest.raises(
        TypeError, match="estimator must be a classifier or a regressor"
    ):
        tabular_pipeline(no_estimator)
