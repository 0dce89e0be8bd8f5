"""Files that somebody forged, with a checksum that is right: what they can do.

Each is refused, or an estimator like any other comes of it. The many are tried in a process
of their own, which has to survive them.
"""

import copy
import faulthandler
import functools
import itertools
import json
import subprocess
import sys
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import is_classifier
from sklearn.datasets import make_classification

import sksharp
from sksharp import SAMMLPClassifier, SAMMLPRegressor
from sksharp.options import SWA, Cyclic, LookSAM, Quantile, Ranger
from sksharp.persistence import _encoding
from sksharp.persistence._file import FORMAT
from sksharp.storage import _archive

X, y = make_classification(40, 4, n_informative=3, n_redundant=1, random_state=0)
THREE = np.arange(40) % 3
NAMES = np.array(["ant", "bee", "cow"])[THREE]
LABELS = np.column_stack([y, THREE == 0]).astype(int)
TARGETS = X[:, :2] @ [[1.0, 2.0], [3.0, 4.0]]
FRAME = pd.DataFrame(X, columns=list("abcd"))
SMALL = {"max_iter": 2, "hidden_layer_sizes": (3,), "batch_size": 20}


def generator(bits, seed=0):
    random_state = np.random.RandomState(getattr(np.random, bits)(seed))
    random_state.normal()  # leaves a second number for the next call
    return random_state


def classifier(**params):
    return SAMMLPClassifier(**{**SMALL, "random_state": 0, **params})


def regressor(**params):
    return SAMMLPRegressor(**{**SMALL, "random_state": 0, **params})


def after_calls(estimator, rows, targets):
    """Return an estimator after two calls of ``partial_fit``."""
    classes = {"classes": np.unique(targets)} if is_classifier(estimator) else {}
    return estimator.partial_fit(rows, targets, **classes).partial_fit(rows, targets)


KINDS = {
    "calls": (
        lambda: after_calls(classifier(random_state=generator("MT19937")), X, NAMES),
        (X, NAMES),
    ),
    "swa": (
        lambda: after_calls(
            classifier(swa=SWA(start=1), random_state=generator("PCG64")), X, y
        ),
        (X, y),
    ),
    "several targets": (
        lambda: after_calls(
            regressor(solver="sgd", random_state=generator("Philox")), FRAME, TARGETS
        ),
        (FRAME, TARGETS),
    ),
    "slow weights": (
        lambda: after_calls(
            regressor(base_solver=Ranger(alpha=0.25), random_state=generator("SFC64")),
            X,
            X[:, 0],
        ),
        (X, X[:, 0]),
    ),
    "members": (
        lambda: classifier(n_members=2, rho=[0, 0.1]).fit(X, NAMES.astype(object)),
        (X, NAMES.astype(object)),
    ),
    "chosen radius": (
        lambda: regressor(cv=2, rho=[0, 0.1]).fit(X, X[:, 0]),
        (X, X[:, 0]),
    ),
    "early stopping": (
        lambda: classifier(early_stopping=True, warm_start=True).fit(X, LABELS),
        (X, LABELS),
    ),
    "refined": (
        lambda: classifier(
            early_stopping=True, warm_start=True, scoring="refined_loss"
        ).fit(X, y),
        (X, y),
    ),
    "snapshots": (
        lambda: classifier(random_state=generator("PCG64DXSM"), snapshots=2).fit(X, y),
        (X, y),
    ),
    "quantiles": (
        lambda: after_calls(
            regressor(loss=Quantile(quantile=[0.1, 0.5, 0.9])), X, X[:, 0]
        ),
        (X, X[:, 0]),
    ),
    "yellowfin": (lambda: classifier(solver="yellowfin").fit(X, y), (X, y)),
    "schedule_free": (
        lambda: classifier(
            solver=LookSAM(k=2), base_solver="schedule_free", learning_rate=Cyclic()
        ).fit(X, y),
        (X, y),
    ),
    "noise": (lambda: classifier(input_noise=0.5).fit(X, y), (X, y)),
    "lbfgs": (lambda: classifier(solver="lbfgs", warm_start=True).fit(X, y), (X, y)),
}


@functools.cache
def file_of(kind):
    """Return the manifest and the arrays of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = KINDS[kind][0]()
    encoder = _encoding.Encoder()
    tree = encoder.encode(estimator, "estimator")
    manifest = {"format": FORMAT.name, "format_version": 1, "estimator": tree}
    return manifest, encoder.arrays


# -- one field at a time -------------------------------------------------------------------


def step_into(tree, key):
    """Return where the part of a tree with a key is kept: a container and its key."""
    if not isinstance(tree, dict):
        return tree, key
    if "params" in tree and "state" in tree:  # an estimator
        return tree["params" if key in ("activation", "random_state") else "state"], key
    for part in ("state", "fields"):
        if part in tree:
            return step_into(tree[part], key)
    if tree["type"] == "dict":
        return next(pair for pair in tree["items"] if pair[0] == key), 1
    return (tree, key) if key in tree else (tree["items"], key)


def spot(manifest, keys):
    """Return the container and the key of a value, given the keys that lead to it."""
    container, key = manifest, "estimator"
    for name in keys:
        container, key = step_into(container[key], name)
    return container, key


def put(*keys, value):
    """Return a change of a file: a value in the place of another, or a new attribute."""

    def change(manifest, arrays):
        container, key = spot(manifest, keys)
        container[key] = copy.deepcopy(value)

    return change


def edit(*keys, how):
    """Return a change of a file: what ``how`` returns in the place of a value."""

    def change(manifest, arrays):
        container, key = spot(manifest, keys)
        container[key] = how(container[key])

    return change


def put_array(*keys, how):
    """Return a change of a file: what ``how`` returns in the place of an array."""

    def change(manifest, arrays):
        container, key = spot(manifest, keys)
        i = container[key]["array"]
        arrays[i] = np.asarray(how(arrays[i].copy()))

    return change


def without(*names):
    """Return an edit that drops entries of a dictionary."""

    def how(tree):
        if tree.get("type") == "dict":
            items = [pair for pair in tree["items"] if pair[0] not in names]
            return {**tree, "items": items}
        state = {k: v for k, v in tree["state"].items() if k not in names}
        return {**tree, "state": state}

    return how


def typed(kind, **content):
    return {"type": kind, **content}


def real(word):
    return typed("float", value=word)


def words(*items):
    return typed("tuple", items=[*items])


def names(*items):
    return typed("objects", shape=[len(items)], items=[*items])


def with_entry(name, value):
    return lambda tree: {**tree, "items": [*tree["items"], [name, value]]}


OPTIMIZER = ("_state", "optimizer")
AVERAGING = ("_state", "averaging")
STATE = (*OPTIMIZER, "state_dict", "state")
OF_ALL = (*STATE, 0)
GROUP = (*OPTIMIZER, "state_dict", "param_groups", 0)
AVERAGE = (*AVERAGING, "scheme_state")

WRONG = {
    "n_features_in_": [("calls", -4), ("calls", 5), ("calls", 4.0), ("calls", None)],
    "n_outputs_": [("calls", 1), ("swa", True), ("calls", "3")],
    "n_layers_": [("calls", "3"), ("calls", 2), ("calls", 2**70)],
    "out_activation_": [
        ("calls", "logistic"),
        ("calls", None),
        ("swa", "softmax"),
        ("several targets", "logistic"),
        ("several targets", "relu"),
    ],
    "loss": [("calls", "poisson"), ("calls", None)],
    "n_iter_": [("calls", -1), ("calls", 1.0), ("calls", True)],
    "t_": [("calls", -1), ("calls", "0"), ("calls", 2**63)],
    "n_averaged_": [("swa", -1), ("swa", None)],
    "loss_": [("calls", "1"), ("calls", None), ("calls", False), ("calls", [1.0])],
    "loss_curve_": [("calls", None), ("calls", [None]), ("calls", [True, 1.0])],
    "best_loss_": [("calls", "1"), ("calls", True), ("calls", [])],
    "validation_scores_": [("early stopping", 1.0), ("early stopping", ["1"])],
    "best_validation_score_": [("early stopping", "1")],
    "_no_improvement_count": [("calls", -1), ("calls", None), ("calls", 0.5)],
    ("_state", "validated_by"): [
        ("early stopping", "r2"),
        ("early stopping", words("r2", 1)),
        ("early stopping", words("r2")),
    ],
    ("_state", "fold_seed"): [("members", -1), ("members", 2**32), ("members", "1")],
    ("_state", "holds_snapshots"): [
        ("snapshots", False),
        ("snapshots", 1),
        ("calls", True),
    ],
    "rho_": [
        ("members", -0.1),
        ("members", real("nan")),
        ("members", real("inf")),
        ("members", "auto"),
        ("members", True),
    ],
    ("_state", "rho_solver"): [("members", 0)],
    ("_state", "inverse_temperature"): [
        ("refined", 0),
        ("refined", -1.0),
        ("refined", real("inf")),
        ("refined", "2"),
        ("refined", None),
        ("calls", 2.0),
    ],
    ("_state", "output_layer"): [("refined", None), ("refined", words())],
    ("_state", "columns"): [("noise", 0), ("noise", words())],
    "_random_state": [("calls", 0), ("calls", None)],
    ("_state", "iterate"): [
        ("calls", 0),
        ("calls", words()),
        ("calls", words(None, None)),
        ("calls", words([], "digest")),
    ],
    ("_state",): [("calls", 0), ("calls", None), ("calls", typed("dict", items=[]))],
    ("_state", "digest"): [("calls", 0)],
    ("_state", "optimizer"): [
        ("calls", 0),
        ("calls", []),
        ("calls", typed("dict", items=[])),
    ],
    ("_state", "averaging"): [("swa", 0), ("swa", "swa")],
    "_coef_indptr": [("lbfgs", 0), ("lbfgs", [0.5]), ("lbfgs", [words(-1, 3)])],
    "classes_": [("calls", ["ant", "bee", "cow"]), ("calls", None), ("calls", "abc")],
    "_label_binarizer": [("calls", None), ("calls", "multiclass")],
    "coefs_": [("calls", []), ("calls", None), ("calls", [[1.0]])],
    "intercepts_": [("calls", []), ("calls", None), ("calls", words())],
    "members_": [("members", []), ("members", None), ("members", [None])],
    "activation": [("calls", "softmax"), ("calls", None), ("calls", ["relu"])],
}


def unfitted(name):
    return typed(name, params={}, state={})


def call_other_names(manifest, arrays):
    """Let the second member have other classes than the first."""
    for keys in [("classes_",), ("_label_binarizer", "classes_")]:
        container, key = spot(manifest, ("members_", 1, *keys))
        container[key] = names("d", "e", "f")


def nest(manifest, arrays):
    """Let the second member be an ensemble."""
    container, key = spot(manifest, ("members_", 1))
    container[key] = copy.deepcopy(manifest["estimator"])
    nodes = [look_up(manifest, path) for path in places(manifest)]
    generators = [node for node in nodes if isinstance(node, dict) and "place" in node]
    for place, node in enumerate(generators):
        node["place"] = place


def tell_several(*member):
    """Return a change to what is sound alone: classes that do not exclude each other."""

    def change(manifest, arrays):
        kind = "multilabel-indicator"
        put(*member, "_label_binarizer", "y_type_", value=kind)(manifest, arrays)
        put(*member, "out_activation_", value="logistic")(manifest, arrays)

    return change


def tell_two(manifest, arrays):
    """Let three classes be two."""
    put("_label_binarizer", "y_type_", value="binary")(manifest, arrays)
    put("out_activation_", value="logistic")(manifest, arrays)


def cast(*network, dtype):
    """Return a change of the dtype of all weights and biases."""

    def change(manifest, arrays):
        for name, layer in itertools.product(("coefs_", "intercepts_"), (0, 1)):
            keys = (*network, name, layer)
            put_array(*keys, how=lambda a: a.astype(dtype))(manifest, arrays)

    return change


def turn_classes(manifest, arrays):
    """Let the classes be in descending order."""
    for keys in [("classes_",), ("_label_binarizer", "classes_")]:
        put_array(*keys, how=lambda a: a[::-1])(manifest, arrays)


def narrow(manifest, arrays):
    """Let the second member have a narrower hidden layer, which is sound by itself."""
    member = ("members_", 1)
    forget = {"optimizer": None, "iterate": None, "averaging": None}
    for name, value in forget.items():
        put(*member, "_state", name, value=value)(manifest, arrays)
    put_array(*member, "coefs_", 0, how=lambda a: a[:, :2])(manifest, arrays)
    put_array(*member, "coefs_", 1, how=lambda a: a[:2])(manifest, arrays)
    put_array(*member, "intercepts_", 0, how=lambda a: a[:2])(manifest, arrays)


def rows_of(*columns):
    return lambda array: np.ones((40, *columns))


CHANGES = [
    *(
        (kind, put(*([keys] if isinstance(keys, str) else keys), value=value))
        for keys, cases in WRONG.items()
        for kind, value in cases
    ),
    # arrays of another shape or dtype
    ("calls", put_array("classes_", how=lambda a: a[:2])),
    ("calls", put_array("classes_", how=lambda a: a[::-1])),
    ("calls", put_array("classes_", how=lambda a: a[[0, 0, 1]])),
    ("calls", put_array("classes_", how=lambda a: a[None])),
    ("calls", put_array("classes_", how=lambda a: a[:0])),
    ("swa", put_array("classes_", how=lambda a: [0, 1j])),
    ("swa", put_array("classes_", how=lambda a: [0, np.nan])),
    *(
        ("calls", put_array("coefs_", 0, how=how))
        for how in (
            np.transpose,
            np.ravel,
            lambda a: a[:0],
            lambda a: a.astype(complex),
            lambda a: a.astype(int),
            lambda a: a.astype("U8"),
            lambda a: a.astype("f2"),
            lambda a: a.astype("g"),
            lambda a: a.astype("f4"),  # the others are float64
        )
    ),
    ("calls", put_array("intercepts_", 0, how=lambda a: a[:2])),
    ("calls", put_array("intercepts_", 1, how=lambda a: a[:, None])),
    ("calls", cast(dtype="f2")),
    ("calls", edit("coefs_", how=lambda layers: words(*layers))),
    ("calls", edit("coefs_", how=lambda layers: layers[:1])),
    ("calls", edit("coefs_", how=lambda layers: layers[::-1])),
    ("several targets", put("feature_names_in_", value=names("a", "b", "c"))),
    ("several targets", put("feature_names_in_", value=names("a", "b", "c", 1))),
    ("members", put_array("rho_grid_", how=lambda a: a[:1])),
    ("members", put_array("rho_losses_", how=lambda a: a[:, None])),
    ("members", put_array("rho_differences_", how=lambda a: a[:1])),
    ("members", put_array("rho_standard_errors_", how=lambda a: a[:, None])),
    ("members", put_array("rho_epochs_", how=lambda a: a.astype(float))),
    ("members", put_array("oof_decision_function_", how=rows_of(2))),
    ("chosen radius", put_array("oof_prediction_", how=rows_of(2))),
    ("members", put_array("rho_grid_", how=lambda a: a.astype(int))),
    ("members", put("rho_scores_", value=1.0)),
    ("members", put("members_", 0, "_state", "score_freq", value=0)),
    ("lbfgs", put("_intercept_indptr", value=0)),
    # labels
    ("calls", put("_label_binarizer", "y_type_", value="binary")),
    ("calls", put("_label_binarizer", "y_type_", value="multilabel-indicator")),
    ("calls", put("_label_binarizer", "y_type_", value="continuous")),
    ("calls", put("_label_binarizer", "sparse_input_", value=True)),
    ("early stopping", put("_label_binarizer", "sparse_input_", value=1)),
    ("calls", put("_label_binarizer", "neg_label", value=1)),
    ("calls", put("_label_binarizer", "neg_label", value=False)),
    ("calls", put("_label_binarizer", "sparse_output", value=True)),
    (
        "calls",
        edit(
            "_label_binarizer",
            how=lambda tree: {**tree, "state": with_entry("fit", 1)(tree["state"])},
        ),
    ),
    ("calls", put_array("_label_binarizer", "classes_", how=lambda a: a[:2])),
    ("calls", put_array("_label_binarizer", "classes_", how=lambda a: a[::-1])),
    ("calls", tell_two),
    ("calls", turn_classes),
    (
        "early stopping",
        put_array("_label_binarizer", "classes_", how=lambda a: a[::-1]),
    ),
    # members
    ("members", put("members_", 1, value=unfitted("SAMMLPRegressor"))),
    (
        "members",
        put("members_", 1, value=typed("SAMMLPClassifier", params={}, state={})),
    ),
    ("members", edit("members_", 1, how=without("_random_state"))),
    ("members", put("members_", 1, "activation", value="softmax")),
    ("members", call_other_names),
    ("members", nest),
    ("members", narrow),
    ("members", tell_several("members_", 1)),
    ("members", cast("members_", 1, dtype="f4")),  # which is sound by itself
    ("members", put("coefs_", value=[])),
    # the solver
    ("calls", put(*OPTIMIZER, "solvers", value=words("sam"))),
    ("calls", put(*OPTIMIZER, "solvers", value=words("adam", "sam"))),
    ("calls", put(*OPTIMIZER, "solvers", value=["sam", "adam"])),
    ("calls", put(*OPTIMIZER, "solvers", value=words("sam", "yellowfin"))),
    ("calls", put(*OPTIMIZER, "epochs", value=-1)),
    ("calls", put_array(*OF_ALL, "mean", how=lambda a: a[1:])),
    ("calls", put_array(*OF_ALL, "mean", how=lambda a: a[None])),
    ("calls", put_array(*OF_ALL, "mean", how=lambda a: a.astype(int))),
    ("calls", put(*OF_ALL, "step", value=-1)),
    ("calls", put(*OF_ALL, "step", value="1")),
    ("calls", edit(*OF_ALL, how=without("mean_sq"))),
    ("calls", edit(*OF_ALL, how=with_entry("slow", 1))),
    ("calls", edit(*OF_ALL, how=with_entry("weight_sum", 1.0))),
    ("calls", edit(*STATE, how=with_entry(1, typed("dict", items=[])))),
    ("calls", edit(*GROUP, how=with_entry("tuner", typed("dict", items=[])))),
    ("calls", edit(*GROUP[:-1], how=lambda groups: groups * 2)),
    ("calls", edit(*GROUP[:-1], how=lambda groups: [])),
    ("calls", put(*GROUP, "params", value=[1])),
    ("calls", put(*GROUP, "lr", value=-1.0)),
    ("calls", put(*GROUP, "lr", value=real("nan"))),
    ("calls", put(*GROUP, "lr", value="0.1")),
    ("calls", put(*GROUP, "beta_1", value=2.0)),
    ("calls", put(*GROUP, "beta_1", value=False)),
    ("calls", put(*GROUP, "interval", value=0)),
    ("calls", put(*GROUP, "interval", value=2**64)),
    ("calls", put(*GROUP, "n_steps", value=-1)),
    ("calls", put(*GROUP, "n_steps", value=True)),
    ("calls", put(*GROUP, "start", value=0.5)),
    ("calls", put(*GROUP, "rho", value="auto")),
    ("calls", edit(*GROUP, how=without("eps"))),
    ("calls", edit(*GROUP, how=with_entry("maximize", True))),
    ("slow weights", put(*GROUP, "k", value=0)),
    ("slow weights", put(*GROUP, "momentum", value=-1)),
    ("slow weights", put_array(*OF_ALL, "slow", how=lambda a: a[:3])),
    ("schedule_free", put(*GROUP, "adaptive", value=1)),
    ("schedule_free", edit(*OF_ALL, how=without("weight_sum"))),
    ("schedule_free", put(*OF_ALL, "weight_sum", value="1")),
    ("yellowfin", edit(*GROUP, how=without("lr"))),
    ("yellowfin", edit(*GROUP, how=without("tuner"))),
    ("yellowfin", edit(*GROUP, "tuner", how=without("recent"))),
    ("yellowfin", put_array(*GROUP, "tuner", "recent", how=lambda a: a[None])),
    ("yellowfin", put_array(*GROUP, "tuner", "norm", how=lambda a: a[None])),
    ("yellowfin", put(*GROUP, "tuner", "rate", value="1")),
    ("yellowfin", put(*GROUP, "tuner", "step", value=-1)),
    # the average, and what training goes on from
    ("swa", put(*AVERAGING, "scheme", value="snapshots")),
    ("swa", put(*AVERAGING, "epochs", value=-1)),
    ("swa", put(*AVERAGING, "began", value="0")),
    ("swa", put(*AVERAGING, "lr", value="0")),
    ("swa", put(*AVERAGE, "n_averaged", value=0)),
    ("swa", put(*AVERAGE, "n_averaged", value=True)),
    ("swa", put(*AVERAGE, "averaged", value=[])),
    ("swa", edit(*AVERAGE, "averaged", how=lambda average: words(*average))),
    ("swa", put_array(*AVERAGE, "averaged", 0, how=lambda a: a[1:])),
    ("swa", edit(*AVERAGING, "scheme_state", how=with_entry("members", []))),
    ("slow weights", put_array("_state", "iterate", "coefs", 0, how=np.transpose)),
    ("slow weights", put("_state", "iterate", "intercepts", value=[])),
    ("refined", put_array("_state", "output_layer", "coefs", 0, how=np.transpose)),
    ("refined", put("_state", "output_layer", "intercepts", value=[])),
    (
        "refined",
        put_array("_state", "output_layer", "coefs", 0, how=np.float32),
    ),
    # the columns of noise
    ("noise", put("_state", "columns", "weight", value=-1.0)),
    ("noise", put("_state", "columns", "weight", value="1")),
    ("noise", put_array("_state", "columns", "mean", how=lambda a: a[1:])),
    ("noise", put_array("_state", "columns", "mean", how=lambda a: a * np.nan)),
    ("noise", put_array("_state", "columns", "mean", how=np.float32)),
    ("noise", put_array("_state", "columns", "variance", how=np.negative)),
    ("noise", put_array("_state", "columns", "variance", how=lambda a: a + np.inf)),
    # what is missing
    *(("calls", edit(how=without(name))) for name in ("t_", "coefs_", "classes_")),
    ("chosen radius", edit(how=without("rho_grid_"))),
    # what the estimator, scikit-learn or Python would take for their own
    *(
        ("calls", put(name, value=None))
        for name in (
            "_trainer",
            "_watch",
            "_skl_callbacks",
            "_callback_fit_ctx",
            "_metadata_request",
            "_sklearn_output_config",
            "_best_coefs",
            "predict",
            "__class__",
            "oof_prediction_",
            "note_",
            "solver",
        )
    ),
    ("several targets", put("classes_", value=None)),
    ("several targets", put("_label_binarizer", value=None)),
]


@pytest.mark.parametrize("place", range(len(CHANGES)))
def test_an_attribute_that_no_fit_leaves_is_refused(place, tmp_path):
    kind, change = CHANGES[place]
    path = tmp_path / "forged"
    path.write_bytes(forged(kind, change))
    with pytest.raises(ValueError, match="forged' cannot be loaded: ") as caught:
        sksharp.load(path)
    assert "its content is not valid" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_forged_is_a_file_that_would_be_loaded(kind, tmp_path):
    path = tmp_path / "forged"
    path.write_bytes(forged(kind, lambda manifest, arrays: None))
    sksharp.load(path).predict(KINDS[kind][1][0])


# -- generators ----------------------------------------------------------------------------

BITS = ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"]


def file_with(state, path):
    """Write an estimator whose random_state has a state, as numpy gives it."""
    encoder = _encoding.Encoder()
    tree = encoder.encode(SAMMLPClassifier(), "estimator")
    tree["params"]["random_state"] = typed(
        "RandomState", place=0, state=encoder.encode(state, "random_state")
    )
    manifest = {"format": FORMAT.name, "format_version": 1, "estimator": tree}
    n_arrays = len(encoder.arrays)
    path.write_bytes(_archive.pack({**manifest, "n_arrays": n_arrays}, encoder.arrays))


@pytest.mark.parametrize("bits", BITS)
def test_a_generator_goes_on_from_every_place_that_it_can_be_at(bits, tmp_path):
    path = tmp_path / "model"
    places = set()
    # normal() keeps a second number for the next call
    for n_drawn, n_normal in itertools.product((0, 1, 2, 3, 4, 312, 623, 624), (0, 1)):
        original = np.random.RandomState(getattr(np.random, bits)(3))
        original._bit_generator.random_raw(n_drawn)
        original.normal(size=n_normal)
        state = original.get_state(legacy=False)
        places.add(state["state"].get("pos", state.get("buffer_pos")))
        file_with(state, path)
        twin = sksharp.load(path).random_state
        for draw in ("normal", "random_sample", "tomaxint"):
            expected = getattr(original, draw)(size=3)
            np.testing.assert_array_equal(getattr(twin, draw)(size=3), expected)
    of_all = {"MT19937": {1, 623, 624}, "Philox": {1, 2, 3, 4}}
    assert of_all.get(bits, {None}) <= places


def of_state(name, value):
    """Return a change of a generator's state: a value, what a function returns or none."""

    def change(state):
        part = state if name in state else state["state"]
        part[name] = value(part[name]) if callable(value) else value
        if value is ...:
            del part[name]

    return change


BROKEN = [
    # a place outside of the numbers that are there: numpy would read what is next to them
    *(("MT19937", "pos", place) for place in (-1, 625, 10**8, -(10**8), 2**40)),
    *(("Philox", "buffer_pos", place) for place in (-1, 5, 10**8, -(10**8), 2**40)),
    *(("MT19937", "pos", value) for value in (True, 1.0, None, "1")),
    ("MT19937", "key", lambda key: key[:-1]),
    ("MT19937", "key", lambda key: np.append(key, key[:1])),
    ("MT19937", "key", lambda key: key[None]),
    ("MT19937", "key", lambda key: key.astype("u8")),
    ("MT19937", "key", lambda key: key.astype(float)),
    ("MT19937", "key", lambda key: key.tolist()),
    ("MT19937", "key", np.zeros_like),
    ("Philox", "buffer", lambda buffer: buffer[:3]),
    ("Philox", "counter", lambda counter: counter[:3]),
    ("Philox", "key", lambda key: key[:1]),
    ("Philox", "key", lambda key: key.astype("f8")),
    ("SFC64", "state", lambda state: {"state": state["state"][:3]}),
    ("SFC64", "state", lambda state: {"state": state["state"].astype("i8")}),
    ("PCG64", "inc", lambda inc: inc + 1),
    ("PCG64", "inc", 2**128 + 1),
    ("PCG64", "inc", -1),
    ("PCG64DXSM", "inc", 0),
    ("PCG64", "state", lambda state: {**state, "state": 2**128}),
    ("PCG64", "state", lambda state: {**state, "state": -1}),
    ("PCG64", "state", lambda state: {**state, "more": 1}),
    ("PCG64", "state", lambda state: {"state": state["state"]}),
    *((bits, "has_uint32", 2) for bits in BITS[1:]),
    *((bits, "uinteger", 2**32) for bits in BITS[1:]),
    *((bits, "uinteger", -1) for bits in BITS[1:]),
    *((bits, "has_gauss", value) for bits in BITS for value in (2, -1, True, 0.0)),
    *((bits, "gauss", value) for bits in BITS for value in (0, np.nan, np.inf, None)),
    *((bits, name, ...) for bits in BITS for name in ("has_gauss", "gauss", "state")),
    *((bits, "bit_generator", "dict") for bits in BITS),
    *((bits, "bit_generator", "SFC64") for bits in BITS[:-1]),
]


@pytest.mark.parametrize("place", range(len(BROKEN)))
def test_a_state_that_no_generator_comes_to_is_refused(place, tmp_path):
    bits, name, value = BROKEN[place]
    state = generator(bits).get_state(legacy=False)
    of_state(name, value)(state)
    file_with(state, tmp_path / "forged")
    with pytest.raises(ValueError, match="forged' cannot be loaded: "):
        sksharp.load(tmp_path / "forged")


# -- the file itself -----------------------------------------------------------------------


def set_at(*path, value):
    """Return a change of what the manifest has along a path, as it stands in JSON."""

    def change(manifest, arrays):
        look_up(manifest, path[:-1])[path[-1]] = value

    return change


def set_parameter(value, array=None):
    """Return a change that puts a value where anything may be, with an array for it."""

    def change(manifest, arrays):
        manifest["estimator"]["params"]["cv"] = copy.deepcopy(value)
        if array is not None:
            manifest["estimator"]["params"]["cv"]["array"] = len(arrays)
            arrays.append(array)

    return change


def set_option(name, **options):
    """Return a change that puts an object with options where anything may be."""
    return set_parameter(typed("option", name=name, options=options))


def name_by_truth(manifest, arrays):
    """Let the array with the number 1 be named by True, which equals 1."""
    nodes = [look_up(manifest, path) for path in all_places("early stopping")]
    next(n for n in nodes if isinstance(n, dict) and n.get("array") == 1)["array"] = (
        True
    )


ARRAY, SCALAR = typed("array", array=0), typed("scalar", array=0)
LAYER = ("estimator", "state", "coefs_", 0)
NOT_VALID = "its content is not valid"
ODD = {
    "an array in two places": (set_parameter(ARRAY), "no array 0 that is not used yet"),
    "an array by a truth value": (name_by_truth, "no array True"),
    "an array before the first": (set_at(*LAYER, "array", value=-1), "no array -1"),
    "an array too many": (
        lambda manifest, arrays: arrays.append(np.ones(1)),
        "arrays that nothing uses",
    ),
    "truth values that are 2": (
        set_parameter(ARRAY, np.full(2, 2, np.uint8).view(bool)),
        "an array of bool has invalid values",
    ),
    "characters that are none": (
        set_parameter(ARRAY, np.full(3, 0x110000, np.uint32).view("U1")),
        "an array of <U1 has invalid values",
    ),
    "an array for a number": (
        set_parameter(SCALAR, np.ones(1)),
        r"an array of shape \(1,\) for a number",
    ),
    "a word for a number": (
        set_parameter(typed("float", value="1e5")),
        "'1e5' in place of inf",
    ),
    "an integer of 129 bits": (set_parameter(2**128), "more than 128 bits"),
    "a negative one": (set_parameter(-(2**128)), "more than 128 bits"),
    "an integer of 100,000 bits": (set_parameter(2**10000), "more than 128 bits"),
    "more than a type has": (set_at(*LAYER, "order", value="F"), NOT_VALID),
    "less than a type has": (set_at(*LAYER, value={"type": "array"}), NOT_VALID),
    "no type": (set_at(*LAYER, value={}), NOT_VALID),
    "an unknown type": (set_at(*LAYER, "type", value="ndarray"), NOT_VALID),
    "a type that is none": (set_at(*LAYER, "type", value=[]), NOT_VALID),
    "objects of another shape": (
        set_parameter(typed("objects", shape=[10**15], items=[])),
        NOT_VALID,
    ),
    "a generator that is not there": (
        set_parameter(typed("RandomState", same_as=5)),
        NOT_VALID,
    ),
    "a generator out of order": (
        set_at("estimator", "state", "_random_state", "place", value=5),
        "random generators are not in order",
    ),
    "options of no class": (set_option("Pipeline"), "options of 'Pipeline', which"),
    "options of a class of Python's": (set_option("dict"), "options of 'dict', which"),
    "options of the base of all": (set_option("Option"), "options of 'Option', which"),
    "options of a base of ours": (set_option("Solver"), "options of 'Solver', which"),
    "options of a list": (set_option(["SAM"]), NOT_VALID),
    "an option of no name": (
        set_option("SAM", depth=1),
        r"of 'SAM' that .*\['depth'\]",
    ),
    "a method for an option": (set_option("SAM", validate=1), r"\['validate'\]"),
    "options without a name for them": (
        set_parameter(typed("option", name="SAM", options=[1])),
        NOT_VALID,
    ),
    "deep nesting": (
        set_at(
            "estimator",
            "params",
            "cv",
            value=functools.reduce(lambda inner, _: [inner], range(900), 0),
        ),
        "recursion",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_save_does_not_write_is_refused(case, tmp_path):
    path, (change, match) = tmp_path / "forged", ODD[case]
    path.write_bytes(forged("early stopping", change, tidy=False))
    with pytest.raises(ValueError, match=f"forged' cannot be loaded: .*{match}"):
        sksharp.load(path)


@pytest.mark.parametrize(
    ("parameter", "name", "options", "match"),
    [
        ("solver", "SAM", {"interval": 0}, "The 'interval' parameter of SAM"),
        ("solver", "SAM", {"interval": True}, "The 'interval' parameter of SAM"),
        ("solver", "SWA", {}, "The 'solver' parameter"),
        ("swa", "SWA", {"start": "late"}, "The 'start' parameter of SWA"),
        ("swa", "SWA", {"anneal": 3}, "anneal needs lr"),
        (
            "swa",
            "SWA",
            {"start": typed("option", name="SAM", options={})},
            "The 'start' parameter of SWA",
        ),
        ("learning_rate", "MultiStep", {"milestones": "12"}, "milestones"),
    ],
)
def test_options_are_checked_by_fit_like_parameters(
    parameter, name, options, match, tmp_path
):
    path = tmp_path / "forged"
    option = typed("option", name=name, options=options)
    change = set_at("estimator", "params", parameter, value=option)
    path.write_bytes(forged("early stopping", change, tidy=False))
    loaded = sksharp.load(path)
    loaded.predict(np.zeros((2, loaded.n_features_in_)))
    with pytest.raises(ValueError, match=match):
        loaded.fit(np.zeros((10, 2)), np.arange(10) % 2)


def test_integers_of_128_bits_and_sound_arrays_are_read(tmp_path):
    path = tmp_path / "forged"
    sound = [
        (2**128 - 1, None),
        (ARRAY, np.array([False, True])),
        (ARRAY, np.array(["\U0010ffff"])),
        (ARRAY, np.array(["\U0010ffff"], ">U1")),
        (ARRAY, np.zeros((0, 3))),
        (SCALAR, np.array(1.5)),
    ]
    for value, array in sound:
        path.write_bytes(
            forged("early stopping", set_parameter(value, array), tidy=False)
        )
        read = sksharp.load(path).cv
        np.testing.assert_array_equal(read, value if array is None else array)


def test_parts_that_lie_upon_each_other_are_refused_before_they_unfold(tmp_path):
    # 100 entries of the archive for the same million bytes
    arrays = [np.zeros(10**6, np.uint8), *(np.zeros(1, np.uint8) for _ in range(99))]
    manifest = {"format": FORMAT.name, "format_version": 1, "n_arrays": 100}
    content = bytearray(_archive.pack(manifest, arrays))
    first = content.index(b"PK\x01\x02")
    entry = content.index(b"PK\x01\x02", first + 1)  # of the large array
    size_and_place = {at: content[entry + at :][:4] for at in (16, 20, 24, 42)}
    other = entry
    for _ in range(99):
        other = content.index(b"PK\x01\x02", other + 1)
        for at, value in size_and_place.items():
            content[other + at : other + at + 4] = value
    body = bytes(content[: -_archive.DIGEST_LENGTH])
    path = tmp_path / "forged"
    path.write_bytes(body + sha256(body).hexdigest().encode())
    with pytest.raises(ValueError, match="its parts overlap"):
        sksharp.load(path)


# -- forging -------------------------------------------------------------------------------

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    10**400,
    0.0,
    -1.5,
    1e308,
    {"type": "float", "value": "nan"},
    {"type": "float", "value": "inf"},
    "",
    "sam",
    "1",
    [],
    [0],
    {},
    {"type": "tuple", "items": []},
    {"type": "dict", "items": []},
    {"type": "array", "array": 0},
    {"type": "scalar", "array": 0},
    {"type": "objects", "shape": [-1], "items": ["a", 1]},
    {"type": "objects", "shape": [10**12], "items": []},
    {"type": "LabelBinarizer", "state": {"type": "dict", "items": []}},
    {"type": "RandomState", "same_as": 0},
    {"type": "Weights", "fields": {"type": "dict", "items": []}},
    {"type": "SAMMLPRegressor", "params": {}, "state": {}},
    {"type": "option", "name": "LookSAM", "options": {}},
]
TYPES = [
    *("tuple", "dict", "array", "scalar", "objects", "option", "RandomState", "Weights")
]
# names that mean something to the estimator, to scikit-learn or to Python
ADDED = [
    "_trainer",
    "_watch",
    "_skl_callbacks",
    "_callback_fit_ctx",
    "_metadata_request",
    "_sklearn_output_config",
    "_best_coefs",
    "predict",
    "__class__",
    "__dict__",
    "solver",
    "estimators_",
    "note_",
]


def other_arrays(array):
    """Yield arrays for the place of one."""
    yield array[None]
    yield array.ravel()[:0]
    yield array.ravel()[:1]
    yield np.concatenate([array.ravel(), array.ravel()[:1]])
    yield array.T[..., None]
    yield np.zeros((0, 10**6), array.dtype)
    yield np.resize(array, array.shape[::-1])
    yield np.zeros((), array.dtype)
    for dtype in "?", "i1", "u8", "f2", "f4", ">f8", "g", "c16", "U3", "S2", "M8[s]":
        yield np.zeros(array.shape, dtype)
    if array.dtype.kind == "f":
        yield np.full_like(array, np.nan)
        yield np.full_like(array, -1e300)
    if array.dtype.kind in "iu":
        yield np.full_like(array, np.iinfo(array.dtype).max)
        yield np.zeros_like(array)
    for dtype, bits in (("?", np.uint8), ("U1", np.uint32)):
        broken = np.zeros(array.shape, dtype)
        broken.reshape(-1).view(bits)[...] = np.iinfo(bits).max
        yield broken


def places(tree, path=()):
    """Yield the paths of a tree, of its containers too."""
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from places(tree[key], (*path, key))


def look_up(tree, path):
    return functools.reduce(lambda part, key: part[key], path, tree)


def changes_at(manifest, arrays, path):
    """Yield what may be done at a place: a name, and a function of a file to forge."""

    def put(value):
        def change(manifest, arrays):
            look_up(manifest, path[:-1])[path[-1]] = copy.deepcopy(value)

        return change

    def drop(manifest, arrays):
        del look_up(manifest, path[:-1])[path[-1]]

    def put_array(i, array):
        return lambda manifest, arrays: arrays.__setitem__(i, array)

    if path[-1] == "n_jobs":  # processes that are asked for are started
        return
    part = look_up(manifest, path)
    for value in VALUES:
        if type(value) is not type(part) or value != part:
            yield f"is {value!r:.40}", put(value)
    yield "is missing", drop
    if isinstance(part, int) and not isinstance(part, bool):
        for value in (part + 1, part - 1, -part, float(part), str(part), 625):
            yield f"is {value!r}", put(value)
    if isinstance(part, list):
        yield "is twice as long", put(part + part)
        yield "is nested", put([part])
        yield "is reversed", put(part[::-1])
        deep = functools.reduce(lambda inner, _: [inner], range(300), part)
        yield "is nested deeply", put(deep)
    if not isinstance(part, dict):
        return
    for name in TYPES:
        if part.get("type", name) != name:
            yield f"has the type {name}", put({**part, "type": name})
    for name in ADDED:
        yield f"has {name}", put({**part, name: 1})
    if part.get("type") in ("array", "scalar"):
        i = part["array"]
        for array in other_arrays(arrays[i]):
            yield f"has {array.shape} of {array.dtype}", put_array(i, array)


@functools.cache
def all_places(kind):
    """Return the paths of everything in a file that is of the estimator."""
    return [p for p in places(file_of(kind)[0]) if p and p[0] == "estimator"]


def draw_forgery(kind, rng):
    """Return a place and what is done there, in words, and a function that does it."""
    paths = all_places(kind)
    changes = []
    while not changes:
        path = paths[rng.randint(len(paths))]
        changes = list(changes_at(*file_of(kind), path))
    what, change = changes[rng.randint(len(changes))]
    return f"{kind}: {'/'.join(map(str, path))} {what}", change


def forged(kind, change, tidy=True):
    """Return the bytes of a forged file, without arrays that have lost their place."""
    manifest, arrays = file_of(kind)
    manifest, arrays = copy.deepcopy(manifest), [*arrays]
    change(manifest, arrays)
    if tidy:
        arrays = in_their_order(manifest, arrays)
    return _archive.pack({**manifest, "n_arrays": len(arrays)}, arrays)


def in_their_order(tree, arrays):
    """Return the arrays that a tree names, and let it name them one by one."""
    kept = []

    def visit(part):
        if isinstance(part, dict) and type(i := part.get("array")) is int:
            if 0 <= i < len(arrays):
                kept.append(arrays[i])
                part["array"] = len(kept) - 1
        for inner in part.values() if isinstance(part, dict) else part:
            if isinstance(inner, dict | list):
                visit(inner)

    visit(tree)
    return kept


# -- using ---------------------------------------------------------------------------------


def uses(kind, estimator):
    """Return whatever is done with an estimator, as functions."""
    rows, targets = KINDS[kind][1]

    def train():
        if kind in ("early stopping", "snapshots", "lbfgs"):
            # a forged one may last forever
            return estimator.set_params(max_iter=2).fit(rows, targets)
        return estimator.partial_fit(rows, targets)

    return [
        lambda: estimator.predict(rows),
        lambda: estimator.predict_proba(rows),
        lambda: estimator.score(rows, targets),
        train,
        lambda: estimator.predict(rows),
    ]


def try_file(kind, change, path, n_uses=None):
    """Return whether a forged file was refused, and what was raised if it was not."""
    path.write_bytes(forged(kind, change, tidy=False))
    try:
        estimator = sksharp.load(path)
    except Exception as error:
        is_clear = type(error) is ValueError and "cannot be loaded: " in str(error)
        return True, [] if is_clear else [RuntimeError(f"load raised {error!r}")]
    raised = []
    for use in uses(kind, estimator)[:n_uses]:
        try:
            use()
        except Exception as error:
            raised.append(error)
    return False, raised


def wrong(raised):
    """Return the errors that a parameter or row that is not valid does not cause."""
    usual = ValueError | TypeError | AttributeError
    return [f"{error!r:.300}" for error in raised if not isinstance(error, usual)]


# places of generators, at which a training would read what is not theirs
OUT_OF_BOUNDS = [
    (kind, f"{kind}: {keys[-1]} is {value}", put("random_state", *keys, value=value))
    for kind, keys in [
        ("calls", ("state", "pos")),
        ("several targets", ("buffer_pos",)),
    ]
    for value in (10**8, -(10**8))
]


def main(folder, n_files, seed):
    """Try so many files of each kind, and print what came of them."""
    warnings.simplefilter("ignore")
    rng = np.random.RandomState(seed)
    found = {"n_tried": 0, "n_refused": 0, "wrong": []}
    drawn = ((kind, *draw_forgery(kind, rng)) for kind in KINDS for _ in range(n_files))
    for kind, name, change in itertools.chain(OUT_OF_BOUNDS, drawn):
        print(name, file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(60, exit=True)
        is_refused, raised = try_file(kind, change, Path(folder, "forged"))
        found["n_tried"] += 1
        found["n_refused"] += is_refused
        found["wrong"] += [f"{name}: {error}" for error in wrong(raised)]
        if not is_refused:
            print("  is taken,", len(raised), "errors", file=sys.stderr)
    print(json.dumps(found))


def test_a_sample_of_all_forgeries_is_refused_or_predicts(tmp_path):
    rng = np.random.RandomState(0)
    n_refused, n_tried = 0, 0
    for kind in KINDS:
        for _ in range(4):
            name, change = draw_forgery(kind, rng)
            is_refused, raised = try_file(kind, change, tmp_path / "forged", n_uses=3)
            n_refused, n_tried = n_refused + is_refused, n_tried + 1
            assert not wrong(raised), (name, raised)
    assert n_tried == 4 * len(KINDS)
    assert n_refused > n_tried / 2


@pytest.mark.slow
def test_hundreds_of_forgeries_do_nothing_worse_in_training(tmp_path):
    program = [sys.executable, __file__, str(tmp_path), "60", "1"]
    run = subprocess.run(program, capture_output=True, text=True)
    # the last one that was begun, if the process did not survive it
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["n_tried"] == 60 * len(KINDS) + len(OUT_OF_BOUNDS) > 300
    assert found["n_refused"] > found["n_tried"] / 2


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
