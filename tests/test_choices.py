"""A slip in a parameter that is one of several words gets the nearest word."""

import re

import numpy as np
import pytest
from sklearn.utils._param_validation import InvalidParameterError, StrOptions

from sksharp import (
    SAMMLPClassifier,
    SAMMLPRegressor,
    options,
    sharpness,
    tabular_pipeline,
)
from sksharp._choices import nearest
from sksharp.options import SWA, WSAM, Cyclic, Snapshots

X = np.arange(12.0).reshape(6, 2)
y = np.arange(6) % 2


def words_of(cls):
    """Return the words that parameters of a class may be."""
    return {
        name: allowed.options
        for name, constraints in cls._parameter_constraints.items()
        for allowed in constraints
        if isinstance(allowed, StrOptions)
    }


OPTIONS = [cls for cls in map(vars(options).get, options.__all__) if words_of(cls)]

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


# the parameter that holds an object, its class, and a word of the object's
SLIPS_OF_OPTIONS = [
    ("swa", SWA, "strategy", "cos", "cosine"),
    ("snapshots", Snapshots, "schedule", "triangle", "triangular"),
    ("learning_rate", Cyclic, "shape", "Cosine", "cosine"),
    ("solver", WSAM, "decouple", "Auto", "auto"),
]


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize(("holder", "cls", "name", "slip", "meant"), SLIPS_OF_OPTIONS)
def test_a_slip_in_an_option_gets_the_nearest_word(
    holder, cls, name, slip, meant, call
):
    clf = SAMMLPClassifier(**{holder: cls(**{name: slip})})
    message = (
        rf"The '{name}' parameter of {cls.__name__} must be .*\. "
        rf"Got '{re.escape(slip)}' instead\. Did you mean '{meant}'\? It "
        rf"is an option of {holder}\.$"
    )
    with pytest.raises(InvalidParameterError, match=message):
        getattr(clf, call)(X, y)


@pytest.mark.parametrize("cls", OPTIONS, ids=lambda cls: cls.__name__)
def test_the_words_of_an_option_are_in_order(cls):
    for name in words_of(cls):
        with pytest.raises(InvalidParameterError, match=r"Got 'qqq' inst") as caught:
            cls(**{name: "qqq"}).validate()
        words = re.findall(r"'(\w+)'[,}]", str(caught.value))
        assert words == sorted(words_of(cls)[name])


def test_what_resembles_no_word_gets_none_and_the_words_are_in_order():
    with pytest.raises(InvalidParameterError, match=r"Got 'qqq' instead\.$") as caught:
        SAMMLPClassifier(solver="qqq").fit(X, y)
    (options,) = SAMMLPClassifier._parameter_constraints["solver"]
    assert re.findall(r"'(\w+)'[,}]", str(caught.value)) == sorted(options.options)


@pytest.mark.parametrize(
    "cls", [SAMMLPClassifier, SAMMLPRegressor, *OPTIONS], ids=lambda cls: cls.__name__
)
def test_every_word_is_its_own_nearest_however_it_is_written(cls):
    for name, words in words_of(cls).items():
        for word in words:
            for written in (word, word.upper(), word.replace("_", " ")):
                assert nearest(written, sorted(words)) == word, name


def test_a_number_out_of_its_range_gets_no_word():
    with pytest.raises(InvalidParameterError, match=r"Got -1 instead\.$"):
        SAMMLPClassifier(rho=-1).fit(X, y)


def test_the_measure_of_sharpness_gets_the_nearest_word():
    with pytest.raises(InvalidParameterError, match="Did you mean 'worst_case'"):
        sharpness(SAMMLPClassifier(), X, y, measure="worstcase")


@pytest.mark.parametrize("no_estimator", [SAMMLPClassifier, None, 3])
def test_a_pipeline_of_what_is_no_estimator_is_an_error(no_estimator):
    with pytest.raises(TypeError, match="estimator must be 'classifier', 'regressor'"):
        tabular_pipeline(no_estimator)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("Classifer", "Did you mean 'classifier'?"), ("net", "Correct it")],
)
def test_a_pipeline_of_another_word_is_an_error(word, hint):
    with pytest.raises(ValueError, match=f"got estimator={word!r}. {re.escape(hint)}"):
        tabular_pipeline(word)


def test_parameters_of_the_recommended_network_are_checked_by_name():
    with pytest.raises(TypeError, match=r"got n_member=3. Did you mean 'n_members'\?"):
        tabular_pipeline("classifier", n_member=3)
    with pytest.raises(TypeError, match="got rho, n_members with SAMMLPClassifier"):
        tabular_pipeline(SAMMLPClassifier(), rho=0.1, n_members=3)
