"""The encoding of numbers, and the pipeline from a table as it is to an estimator."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    PowerTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.utils.estimator_checks import check_estimator

from sksharp import (
    PiecewiseLinearEncoder,
    SAMMLPClassifier,
    SAMMLPRegressor,
    tabular_pipeline,
)
from sksharp.exceptions import ColumnWarning, UnusedParameterWarning
from sksharp.options import AdamW, YellowFin
from sksharp.preprocessing._recommended import PARAMETERS as RECOMMENDED

NETWORK = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}
random = np.random.RandomState(0)


# -- the encoder ---------------------------------------------------------------------------


def test_the_encoder_passes_the_checks():
    check_estimator(PiecewiseLinearEncoder(), on_skip=None)


@pytest.mark.parametrize("n_bins", [1, 2.5, "many"])
def test_a_number_of_bins_that_makes_no_sense_is_an_error(n_bins):
    with pytest.raises(ValueError, match="The 'n_bins' parameter"):
        PiecewiseLinearEncoder(n_bins=n_bins).fit([[0.0], [1.0]])


@pytest.mark.parametrize(
    ("n_rows", "n_features", "expected"),
    [
        (180, 2, 32),
        (179, 2, 8),
        (1080, 12, 32),
        (1079, 12, 8),
        (2000, 13, 4),
        (20, 13, 4),
    ],
)
def test_few_features_get_many_bins_if_there_are_rows_for_them(
    n_rows, n_features, expected
):
    X = random.normal(size=(n_rows, n_features))
    # features of one or two values have no bins and do not count
    X = np.c_[X, X[:, :1] > 0, np.ones(n_rows)]
    encoder = PiecewiseLinearEncoder(n_bins="auto").fit(X)
    assert encoder.n_bins_ == expected
    same = PiecewiseLinearEncoder(n_bins=expected).fit(X)
    assert_array_equal(encoder.transform(X), same.transform(X))


@pytest.mark.parametrize("parameters", [{"height": 0}, {"height": "1"}, {"center": 2}])
def test_a_height_or_center_that_makes_no_sense_is_an_error(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        PiecewiseLinearEncoder(**parameters).fit([[0.0], [1.0]])


def test_a_ramp_rises_from_0_to_1_within_its_bin():
    encoder = PiecewiseLinearEncoder(n_bins=2).fit([[0.0], [4.0], [14.0]])
    assert_array_equal(
        encoder.transform([[-9.0], [0.0], [1.0], [4.0], [9.0], [14.0], [99.0]]),
        [[0, 0], [0, 0], [0.25, 0], [1, 0], [1, 0.5], [1, 1], [1, 1]],
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_centered_ramps_of_a_height_are_those_multiplied_less_the_mean(dtype):
    X, wider = random.normal(size=(50, 3)), 2 * random.normal(size=(40, 3))
    plain = PiecewiseLinearEncoder(n_bins=3).fit(X)
    encoder = PiecewiseLinearEncoder(n_bins=3, height=0.25, center=True).fit(X)
    means = plain.transform(X).mean(axis=0) / 4
    assert_allclose(encoder.means_, 4 * means, rtol=1e-12)
    ramps = encoder.transform(wider.astype(dtype))
    assert ramps.dtype == dtype
    expected = plain.transform(wider) / 4 - means
    assert_allclose(ramps, expected, atol=1e-14 if dtype == np.float64 else 1e-6)
    higher = PiecewiseLinearEncoder(n_bins=3, height=4.0).fit(X)
    assert_allclose(higher.transform(wider), 4 * plain.transform(wider))
    # both may be changed without another fit
    changed = higher.set_params(height=0.25, center=True).transform(wider)
    assert_allclose(changed, expected, atol=1e-14)


def test_every_ramp_is_an_interpolation_between_two_quantiles():
    X, wider = random.normal(size=(50, 3)), 2 * random.normal(size=(40, 3))
    encoder = PiecewiseLinearEncoder(n_bins=5).fit(X)
    expected = []
    for values, column in zip(X.T, wider.T, strict=True):
        knots = np.quantile(values, [0, 0.2, 0.4, 0.6, 0.8, 1], method="nearest")
        expected += [np.interp(column, knots[j : j + 2], [0, 1]) for j in range(5)]
    assert_allclose(encoder.transform(wider), np.transpose(expected), atol=1e-14)


def test_it_spans_what_a_linear_spline_spans():
    # 8 bins of 65 values end on values
    X, wider = random.normal(size=(65, 2)), 3 * random.normal(size=(200, 2))
    spline = SplineTransformer(
        n_knots=9, degree=1, knots="quantile", extrapolation="constant"
    ).fit(X)
    hats = spline.transform(wider)
    ramps = np.c_[
        np.ones(200), PiecewiseLinearEncoder(n_bins=8).fit(X).transform(wider)
    ]
    # hats of a feature sum to 1, so that the constant is among them twice
    assert np.linalg.matrix_rank(hats) == np.linalg.matrix_rank(ramps) == 2 * 8 + 1
    for basis, functions in [(hats, ramps), (ramps, hats)]:
        combined = basis @ np.linalg.lstsq(basis, functions, rcond=None)[0]
        assert_allclose(combined, functions, atol=1e-12)


def test_the_ramps_add_up_to_the_feature_between_its_outer_knots():
    X, wider = random.exponential(size=(80, 1)), random.normal(size=(80, 1))
    encoder = PiecewiseLinearEncoder().fit(X)
    (knots,) = encoder.knots_
    added = knots[0] + encoder.transform(wider) @ np.diff(knots)
    assert_allclose(added, wider.ravel().clip(X.min(), X.max()), rtol=1e-12)


def test_quantiles_that_coincide_are_one_knot():
    zero_inflated = np.r_[np.zeros(70), np.arange(1, 31)]
    few = np.arange(100) % 4
    encoder = PiecewiseLinearEncoder(n_bins=4).fit(np.c_[zero_inflated, few])
    expected = np.quantile(zero_inflated, [0.5, 0.75, 1], method="nearest")
    assert expected[0] == 0
    assert_array_equal(encoder.knots_[0], expected)
    assert_array_equal(encoder.knots_[1], [0, 1, 2, 3])
    assert encoder.get_feature_names_out(["a", "b"]).tolist() == [
        *["a_bin1", "a_bin2"],
        *["b_bin1", "b_bin2", "b_bin3"],
    ]
    # between integers the encoding is that of their order
    thermometer = np.arange(4)[:, None] >= [1, 2, 3]
    zeros = np.zeros(4)
    assert_array_equal(
        encoder.transform(np.c_[zeros, np.arange(4)])[:, 2:], thermometer
    )


def test_a_feature_of_two_knots_has_no_ramps():
    constant, indicator = np.full(20, 7.0), np.arange(20.0) % 2
    mostly_zero = np.r_[np.zeros(19), 5]
    values = np.arange(20.0)
    X = np.c_[constant, values, indicator, mostly_zero]
    encoder = PiecewiseLinearEncoder(n_bins=2).fit(X)
    alone = PiecewiseLinearEncoder(n_bins=2).fit(values[:, None])
    assert_array_equal(encoder.transform(X), alone.transform(values[:, None]))
    assert encoder.get_feature_names_out().tolist() == ["x1_bin1", "x1_bin2"]
    nothing = PiecewiseLinearEncoder().fit_transform(X[:, [0, 2]])
    assert nothing.shape == (20, 0)


def test_outliers_do_not_blow_up():
    huge = np.finfo(float).max
    tiny = np.nextafter(0, 1)
    encoder = PiecewiseLinearEncoder(n_bins=2).fit([[0.0], [tiny], [1.0]])
    assert_array_equal(
        encoder.transform([[-huge], [0.0], [tiny], [huge]]),
        [[0, 0], [0, 0], [1, 0], [1, 1]],
    )


def test_single_precision_is_kept_and_its_rounding_stays_between_0_and_1():
    X = 1e6 + np.array([[0.0], [1e-3], [2e-3], [1.0]])  # three are one in float32
    encoder = PiecewiseLinearEncoder(n_bins=3).fit(X)
    ramps = encoder.transform(X.astype(np.float32))
    assert ramps.dtype == np.float32
    assert ramps.min() >= 0
    assert ramps.max() <= 1
    assert_array_equal(ramps[-1], 1)


def test_the_input_of_the_encoder_is_left_alone():
    X = random.normal(size=(20, 2))
    before = X.copy()
    PiecewiseLinearEncoder().fit_transform(X)
    assert_array_equal(X, before)


# -- the pipeline: its columns -------------------------------------------------------------


def table(n=48):
    """Return a table with a column of every kind, each with a trap of its own."""
    rows = np.arange(n)
    every_fifth = rows % 5 == 0
    words = [["Ulm", "Bonn", "Köln"][k % 3] for k in rows]
    return pd.DataFrame(
        {
            "float": random.normal(size=n),
            "gaps": np.where(every_fifth, np.nan, random.normal(size=n)),
            "single": random.normal(size=n).astype(np.float32),
            "int": rows % 7,
            "Int64": pd.array([None if k % 5 == 0 else k for k in rows], "Int64"),
            "Float64": pd.array(
                [None if k % 5 == 0 else k / 3 for k in rows], "Float64"
            ),
            "constant": 1.0,
            "empty": np.nan,
            "date": pd.Series(pd.date_range("2020-01-01", periods=n)).mask(every_fifth),
            "zone": pd.date_range("2020-01-01", periods=n, tz="Europe/Berlin"),
            "duration": pd.to_timedelta(rows, unit="h"),
            "bool": rows % 2 == 0,
            "boolean": pd.array([None if k % 5 == 0 else k % 2 == 0 for k in rows]),
            "two": pd.Series(["u", "v"] * (n // 2)),
            "category": pd.Categorical(words),
            "object": pd.Series(words, dtype=object).mask(every_fifth, None),
            "mixed": pd.Series([3 if k % 3 else "x" for k in rows], dtype=object),
            "string": pd.Series(words, dtype="string").mask(every_fifth),
            "one": pd.Categorical(["only"] * n),
            "nothing": pd.Series([None] * n, dtype=object),
        }
    )


FRAME = table()
y = random.normal(size=len(FRAME))


def test_every_kind_of_column_becomes_finite_numbers():
    columns = tabular_pipeline(Ridge()).fit(FRAME, y)["columns"]
    kinds = {name: list(labels) for name, _, labels in columns.transformers_}
    masks = {name: list(FRAME.columns[mask]) for name, mask in kinds.items()}
    names = list(FRAME)
    assert masks == {
        "numeric": [*names[: names.index("bool")], "nothing"],
        "binary": ["bool", "two", "mixed"],
        "categorical": ["boolean", "category", "object", "string", "one"],
    }
    out = columns.transform(FRAME)
    assert isinstance(out, np.ndarray)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert out.shape == (len(FRAME), len(columns.get_feature_names_out()))


def transformed(frame, new=None, **parts):
    """Return the features of a frame (of new rows) by name."""
    pipeline = in_double(Ridge(), **parts).set_output(transform="pandas")
    columns = pipeline.fit(frame, 0.5 + np.arange(len(frame)))["columns"]
    return columns.transform(frame if new is None else new)


def test_numbers_are_imputed_scaled_clipped_and_encoded():
    column = np.array([3.0, 1.0, np.nan, 1000.0, 5.0, 2.0])
    filled = np.where(np.isnan(column), np.nanmedian(column), column)

    def scaled(values):
        z = (values - values.mean()) / values.std()
        return z / np.sqrt(1 + (z / 3) ** 2)

    knots = np.quantile(filled, [0, 0.5, 1], method="nearest")
    expected = {
        "numeric__scale__x": scaled(filled),
        "numeric__scale__missingindicator_x": scaled(np.isnan(column)),
    }
    for j in range(2):
        ramp = np.interp(filled, knots[j : j + 2], [0, 0.5])
        expected[f"numeric__bins__x_bin{j + 1}"] = ramp - ramp.mean()
    out = transformed(pd.DataFrame({"x": column}), n_bins=2)
    assert list(out) == list(expected)
    for name, values in expected.items():
        assert_allclose(out[name], values, rtol=1e-12, atol=1e-15, err_msg=name)
    assert out["numeric__scale__x"].max() < 3


def test_the_clip_keeps_the_order_of_huge_values():
    new = pd.DataFrame({"x": [-1e300, -1e2, 0.0, 1e2, 1e300]})
    clipped = transformed(pd.DataFrame({"x": np.arange(9.0)}), new)["numeric__scale__x"]
    assert (np.diff(clipped) > 0).all()
    assert_allclose(clipped.iloc[[0, -1]], [-3, 3], rtol=1e-12)


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_dates_and_durations_are_numbers_of_days(zone):
    days = np.array([0, 1, 3, 10, 30, 31.5])
    frame = pd.DataFrame(
        {
            "date": pd.Timestamp("2021-06-01", tz=zone) + pd.to_timedelta(days, "D"),
            "duration": pd.to_timedelta(days, "D"),
            "number": days,
        }
    )
    frame.loc[2] = [pd.NaT, pd.NaT, np.nan]
    out = transformed(frame)
    for part in ["scale__", "scale__missingindicator_", "bins__"]:
        names = [name for name in out if name.startswith(f"numeric__{part}number")]
        assert names
        for name in names:
            for kind in ["date", "duration"]:
                assert_allclose(
                    out[name.replace("number", kind)], out[name], atol=1e-9, rtol=1e-9
                )


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
@pytest.mark.parametrize("dtype", [object, "string", "str", "category"])
def test_a_missing_word_is_a_category_of_its_own(dtype, gap):
    words = ["b", gap, "a", "c", "b", gap]
    out = transformed(pd.DataFrame({"x": pd.Series(words, dtype=dtype)}))
    expected = {
        f"categorical__x_{word}": [
            float(("missing" if pd.isna(other) else other) == word) for other in words
        ]
        for word in ["a", "b", "c", "missing"]
    }
    assert {name: values.tolist() for name, values in out.items()} == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([True, False, True], [1, 0, 1]),
        (pd.Categorical(["b", "b", "a"]), [1, 1, 0]),
        (pd.Categorical(["x", None, "x"]), [1, 0, 1]),  # 'missing' is before 'x'
        (pd.array([True, None, True], "boolean"), [0, 1, 0]),  # and after 'True'
    ],
)
def test_two_values_are_one_column(column, expected):
    out = transformed(pd.DataFrame({"x": column}))
    assert list(out) == ["binary__x"]
    assert_array_equal(out["binary__x"], expected)


def test_a_value_that_is_new_at_prediction_says_nothing():
    frame = pd.DataFrame(
        {"two": list("uvvv"), "three": list("abca"), "number": [1.0, 2.0, 4.0, 9.0]}
    )
    new = pd.DataFrame({"two": ["w", None], "three": ["z", None], "number": None})
    with pytest.warns(ColumnWarning, match="'w' in 'two', where the fit had 'u', 'v'"):
        out = transformed(frame, new)
    assert_array_equal(out["binary__two"], [3 / 4, 3 / 4])
    assert_array_equal(out.filter(like="three"), np.zeros((2, 3)))
    median = transformed(frame, pd.DataFrame([{"two": "u", "three": "a", "number": 3}]))
    for name in out.filter(like="number"):
        assert_array_equal(out[name], np.repeat(median[name], 2))


def test_rare_categories_share_a_column_with_new_ones():
    frame = pd.DataFrame({"x": list("aaaabbbbcdef")})
    new = pd.DataFrame({"x": ["a", "b", "c", "f", "new", None]})
    out = transformed(frame, new, max_categories=3)
    assert list(out) == [
        f"categorical__x_{n}" for n in ["a", "b", "infrequent_sklearn"]
    ]
    assert_array_equal(out, np.eye(3)[[0, 1, 2, 2, 2, 2]])
    assert transformed(frame, new, max_categories=None).shape == (6, 6)


def test_whole_numbers_are_the_same_category_beside_a_missing_value():
    codes = pd.DataFrame({"x": pd.Categorical([10, 20, 30, 30])})
    with_gap = pd.DataFrame({"x": pd.Categorical([20.0, None, 10.0])})
    out = transformed(codes, with_gap)
    assert list(out) == [f"categorical__x_{code}" for code in [10, 20, 30]]
    assert_array_equal(out, [[0, 1, 0], [0, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_an_error_at_fit_and_at_prediction(value):
    infinite = FRAME.assign(float=value)
    with pytest.raises(ValueError, match="contains infinity"):
        tabular_pipeline(Ridge()).fit(infinite, y)
    with pytest.raises(ValueError, match="contains infinity"):
        tabular_pipeline(Ridge()).fit(FRAME, y).predict(infinite)


@pytest.mark.parametrize("as_frame", [True, False])
def test_numbers_too_large_to_square_are_numbers(as_frame):
    X = np.random.RandomState(0).normal(size=(20, 2))
    X[3, 1], X[4, 1] = np.finfo(float).max, -1e200
    rows = pd.DataFrame(X) if as_frame else X
    pipeline = tabular_pipeline(Ridge()).fit(rows, X[:, 0])
    assert np.isfinite(pipeline[:-1].transform(rows)).all()
    assert pipeline.score(rows, X[:, 0]) > 0.9


def test_sparse_rows_are_no_table():
    with pytest.raises(TypeError, match="X must be dense"):
        tabular_pipeline(Ridge()).fit(csr_array(np.eye(6)), np.arange(6))


class Other:
    """A frame of another library, as far as scikit-learn looks at it."""

    shape, columns = (6, 2), ["one", "two"]

    def __array__(self, dtype=None, copy=None):
        return np.eye(6)[:, :2]

    def to_pandas(self):
        return pd.DataFrame(np.asarray(self), columns=self.columns)


def test_a_frame_of_another_library_is_to_be_converted():
    frame, target = Other(), np.arange(6)
    with pytest.raises(
        TypeError, match=r"or an array of numpy, got a Other .*to_pandas"
    ):
        tabular_pipeline(Ridge()).fit(frame, target)
    tabular_pipeline(Ridge()).fit(frame.to_pandas(), target)


def test_an_array_of_another_library_is_to_be_converted():
    rows = torch.eye(6)
    with pytest.raises(TypeError, match=r"got a Tensor of torch.*numpy\.asarray"):
        tabular_pipeline(Ridge()).fit(rows, np.arange(6))
    tabular_pipeline(Ridge()).fit(np.asarray(rows), np.arange(6))


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, np.zeros(2)], ids=type)
def test_a_column_of_containers_is_named(value):
    frame = FRAME.assign(tags=[value] * (len(FRAME) - 1) + [None])
    kind = type(value).__name__
    with pytest.raises(TypeError, match=f"column 'tags' of X must .*, got {kind}\\. "):
        tabular_pipeline(Ridge()).fit(frame, y)


@pytest.mark.parametrize(
    "column", [np.arange(6.0), pd.Series(np.arange(6.0))], ids=type
)
def test_one_column_is_no_table(column):
    with pytest.raises(ValueError, match=r"Expected a table.*got 1 dimension.*\(6,\)"):
        tabular_pipeline(Ridge()).fit(column, np.arange(6))


def test_columns_are_found_by_name_at_prediction():
    pipeline = tabular_pipeline(Ridge()).fit(FRAME, y)
    shuffled = FRAME[FRAME.columns[::-1]].assign(further=1)
    assert_array_equal(pipeline.predict(shuffled), pipeline.predict(FRAME))
    with pytest.raises(ValueError, match="columns are missing"):
        pipeline.predict(FRAME.drop(columns="two"))


def test_a_row_without_any_value_is_predicted():
    row = pd.DataFrame([dict.fromkeys(FRAME)])
    assert np.isfinite(tabular_pipeline(Ridge()).fit(FRAME, y).predict(row)).all()


def in_double(estimator, **parts):
    """Return the pipeline without what makes its features float32."""
    pipeline = tabular_pipeline(estimator, **parts).set_params(precision="passthrough")
    if "numeric" not in parts:
        pipeline.set_params(columns__numeric__encode__dtype=None)
    return pipeline


def test_the_model_is_given_single_precision():
    pipeline = tabular_pipeline(Ridge()).fit(FRAME, np.arange(len(FRAME)))
    assert pipeline[:-1].transform(FRAME).dtype == np.float32
    names = pipeline[:-1].get_feature_names_out()
    assert_array_equal(names, pipeline["columns"].get_feature_names_out())


@pytest.mark.parametrize("labels", [["a", "b", "c"], [0, 1, 2], [7, 5, 1]])
def test_an_array_is_read_as_a_frame_of_its_numbers(labels):
    X = random.normal(size=(30, 3))
    X[::4, 1] = np.nan
    frame = pd.DataFrame(X, columns=labels)
    target = random.normal(size=30)
    expected = in_double(Ridge()).fit(frame, target)
    for rows in (X, X.tolist(), X.astype(object)):
        pipeline = in_double(Ridge()).fit(rows, target)
        assert_allclose(
            pipeline["columns"].transform(rows),
            expected["columns"].transform(frame),
            rtol=1e-12,
            atol=1e-12,
        )
        assert_allclose(pipeline.predict(rows), expected.predict(frame), rtol=1e-9)


def test_booleans_of_an_array_are_binary_or_constant():
    X = np.c_[np.arange(6) % 2 == 0, np.zeros(6, bool)]
    columns = tabular_pipeline(Ridge()).fit(X, np.arange(6))["columns"]
    assert columns.get_feature_names_out().tolist() == [
        "binary__x0",
        "categorical__x1_False",
    ]
    assert_array_equal(columns.transform(X), np.c_[X[:, 0], np.ones(6)])


def test_an_array_of_single_precision_stays_so():
    X = random.normal(size=(20, 2)).astype(np.float32)
    for rows in (X, pd.DataFrame(X, columns=["a", "b"])):
        columns = tabular_pipeline(Ridge()).fit(rows, X[:, 0])["columns"]
        assert columns.transform(rows).dtype == np.float32


def test_a_target_of_single_precision_with_values_near_zero_does_not_warn():
    y = np.r_[1e-7, np.linspace(1, 2, 19)].astype(np.float32)
    tabular_pipeline(Ridge()).fit(y[:, None], y)
    with pytest.warns(UserWarning, match="not strictly inverse"):
        tabular_pipeline(Ridge(), target=StandardScaler()).fit(y[:, None], y)


def test_words_in_an_array_are_an_error():
    X = np.array([["a", 1], ["b", 2]], dtype=object)
    with pytest.raises(ValueError, match="non-numeric data"):
        tabular_pipeline(Ridge()).fit(X, [0, 1])


def test_the_output_is_dense_when_a_part_is_sparse():
    frame = pd.DataFrame({"x": [f"word {k}" for k in range(20)]})
    pipeline = tabular_pipeline(Ridge(), max_categories=None)
    pipeline.set_params(columns__categorical__encode__sparse_output=True)
    out = pipeline.fit(frame, np.arange(20))["columns"].transform(frame)
    assert isinstance(out, np.ndarray)
    assert_array_equal(out.sum(axis=0), np.ones(20))


def test_set_output_names_the_same_numbers():
    plain = tabular_pipeline(Ridge()).fit(FRAME, y)
    named = tabular_pipeline(Ridge()).set_output(transform="pandas").fit(FRAME, y)
    out = named["columns"].transform(FRAME)
    assert out.columns.tolist() == plain["columns"].get_feature_names_out().tolist()
    assert out.columns.tolist() == named["columns"].get_feature_names_out().tolist()
    assert_array_equal(out, plain["columns"].transform(FRAME))


# -- the pipeline: its parts ---------------------------------------------------------------


def test_the_columns_can_be_treated_otherwise():
    frame = FRAME[["float", "two", "category"]]
    out = transformed(
        frame, numeric=MinMaxScaler(), binary="drop", categorical=TargetEncoder(cv=2)
    )
    low, high = frame["float"].min(), frame["float"].max()
    assert out.shape == (len(frame), 2)
    assert_allclose(out["numeric__float"], (frame["float"] - low) / (high - low))
    assert out["categorical__category"].nunique() == 3
    out = transformed(FRAME[["float", "int", "two"]], numeric="passthrough")
    assert_array_equal(out[["numeric__float", "numeric__int"]], FRAME[["float", "int"]])


def test_every_documented_step_can_be_reached():
    pipeline = tabular_pipeline(Ridge())
    parameters = pipeline.get_params()
    for path in [
        *["numeric__numbers", "numeric__impute__strategy"],
        *["numeric__encode__scale", "numeric__encode__bins__n_bins"],
        *["binary__text", "binary__encode", "binary__impute__strategy"],
        *["categorical__text", "categorical__encode__max_categories"],
    ]:
        assert f"columns__{path}" in parameters
    pipeline.set_params(
        columns__numeric__encode__bins="drop",
        columns__categorical="drop",
        model__regressor__alpha=3.0,
    ).fit(FRAME, y)
    names = pipeline["columns"].get_feature_names_out()
    assert {name.split("__")[0] for name in names} == {"numeric", "binary"}
    assert not any("bin1" in name for name in names)
    assert pipeline["model"].regressor_.alpha == 3


def test_the_target_of_a_regressor_is_standardized():
    target = 1e4 + 1e3 * y
    pipeline = in_double(Ridge(alpha=5)).fit(FRAME, target)
    assert isinstance(pipeline, Pipeline)
    assert isinstance(pipeline["model"], TransformedTargetRegressor)
    rows = pipeline["columns"].transform(FRAME)
    mean, scale = target.mean(), target.std()
    ridge = Ridge(alpha=5).fit(rows, (target - mean) / scale)
    assert_allclose(
        pipeline.predict(FRAME), mean + scale * ridge.predict(rows), rtol=1e-12
    )


def test_several_targets_are_standardized_each():
    targets = np.c_[y, 1e6 * y]
    predicted = in_double(Ridge()).fit(FRAME, targets).predict(FRAME)
    assert_allclose(predicted[:, 1], 1e6 * predicted[:, 0], rtol=1e-9)


def test_a_large_target_is_scaled_back_in_double_precision():
    target = 1.7e9 + y
    near = tabular_pipeline(Ridge()).fit(FRAME, y).predict(FRAME)
    far = tabular_pipeline(Ridge()).fit(FRAME, target).predict(FRAME)
    assert_allclose(far - 1.7e9, near, atol=1e-4 * np.ptp(y))


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (LogisticRegression(), None),
        (LogisticRegression(), "passthrough"),
        (SAMMLPClassifier(), None),
        (SAMMLPRegressor(loss="poisson"), None),
        (Ridge(), "passthrough"),
    ],
)
def test_the_target_is_left_alone_where_it_must_be(estimator, target):
    assert tabular_pipeline(estimator, target=target)["model"] is estimator


def test_the_target_can_be_transformed_otherwise():
    power = PowerTransformer()
    model = tabular_pipeline(SAMMLPRegressor(loss="poisson"), target=power)["model"]
    assert model.transformer is power
    with pytest.raises(ValueError, match="target must be None or 'passthrough' unless"):
        tabular_pipeline(LogisticRegression(), target=power)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_weights_of_the_rows_reach_the_estimator(kind):
    weights = random.uniform(0.1, 5, size=len(FRAME))
    if kind == "classifier":
        estimator, target = LogisticRegression(), y > 0
        expected_target = target
    else:
        estimator, target = Ridge(), y
        expected_target = (y - y.mean()) / y.std()
    pipeline = in_double(clone(estimator))
    pipeline.fit(FRAME, target, model__sample_weight=weights)
    rows = pipeline["columns"].transform(FRAME)
    fitted = getattr(pipeline["model"], "regressor_", pipeline["model"])
    alone = clone(estimator).fit(rows, expected_target, sample_weight=weights)
    assert_allclose(fitted.coef_, alone.coef_, rtol=1e-9)
    unweighted = clone(estimator).fit(rows, expected_target)
    assert not np.allclose(fitted.coef_, unweighted.coef_)


# -- the pipeline: as an estimator ---------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("Estimator", [SAMMLPClassifier, SAMMLPRegressor])
def test_networks_train_on_a_table_and_survive_clone_and_pickle(Estimator):
    target = np.where(y > 0, "up", "down") if Estimator is SAMMLPClassifier else y
    pipeline = tabular_pipeline(Estimator(**NETWORK))
    twin = pickle.loads(pickle.dumps(clone(pipeline).fit(FRAME, target)))
    assert not hasattr(pipeline["columns"], "transformers_")
    predicted = pipeline.fit(FRAME, target).predict(FRAME)
    assert_array_equal(twin.predict(FRAME), predicted)
    rows = pipeline["columns"].transform(FRAME)
    rows = rows.astype(np.float32)
    assert_array_equal(pipeline["model"].predict(rows), predicted)


SHORT = {
    "hidden_layer_sizes": (4,),
    "max_steps": 10,
    "batch_size": 8,
    "random_state": 0,
}


@pytest.mark.parametrize(
    ("word", "Estimator"),
    [
        ("classifier", SAMMLPClassifier),
        ("classification", SAMMLPClassifier),
        ("regressor", SAMMLPRegressor),
        ("regression", SAMMLPRegressor),
    ],
)
def test_a_word_is_the_recommended_network(word, Estimator):
    target = np.where(y > 0, "up", "down") if Estimator is SAMMLPClassifier else y
    pipeline = tabular_pipeline(word, **SHORT, n_members=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        pipeline.fit(FRAME, target)
    network = getattr(pipeline["model"], "regressor", pipeline["model"])
    assert type(network) is Estimator
    assert network.get_params() == {
        **Estimator().get_params(),
        **RECOMMENDED,
        **({"scoring": "refined_loss"} if Estimator is SAMMLPClassifier else {}),
        "base_solver": AdamW(weight_decay=0.1),
        "base_solver__weight_decay": 0.1,
        **SHORT,
        "n_members": 3,
    }
    same = tabular_pipeline(clone(network)).fit(FRAME, target)
    assert_array_equal(pipeline.predict(FRAME), same.predict(FRAME))


def test_recommended_networks_share_no_options():
    first, second = (tabular_pipeline("classifier")["model"] for _ in range(2))
    first.set_params(base_solver__weight_decay=0.5)
    assert second.base_solver.weight_decay == 0.1


def test_parts_of_the_recommended_network_can_be_replaced():
    pipeline = tabular_pipeline("regressor", rho="auto", base_solver="adam", n_bins=3)
    network = pipeline["model"].regressor
    assert (network.rho, network.base_solver) == ("auto", "adam")
    names = pipeline.get_params()
    assert names["columns__numeric__encode__bins__n_bins"] == 3


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"max_iter": 3}, {"max_steps": None}),
        ({"max_iter": 3, "max_steps": 9}, {"max_steps": 9}),
        ({"solver": "adam"}, {"rho": "auto", "base_solver": "adam"}),
        ({"solver": "ranger"}, {"rho": "auto", "base_solver": "adam"}),
        ({"solver": "asam"}, {"rho": "auto", "base_solver": AdamW(weight_decay=0.1)}),
        ({"solver": "asam", "rho": 0.5}, {"rho": 0.5}),
        ({"solver": YellowFin()}, {"learning_rate": "constant"}),
        ({"swa": True}, {"ema_decay": None}),
        ({"snapshots": 3}, {"n_members": 1, "learning_rate": "constant"}),
        ({"hidden_layer_sizes": ()}, {"dropout": 0.0}),
    ],
    ids=str,
)
def test_what_a_parameter_excludes_is_left_out_without_a_word(params, expected):
    pipeline = tabular_pipeline("classifier", **{"max_steps": 60, **params})
    if "max_iter" in params:
        pipeline = tabular_pipeline("classifier", **params)
    assert expected.items() <= pipeline["model"].get_params().items()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnusedParameterWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(FRAME, np.where(y > 0, "up", "down"))


def test_a_search_fits_every_fold_by_itself():
    folds = KFold(2)
    grid = [
        {
            "columns__numeric__encode__bins__n_bins": [n_bins],
            "model__regressor__alpha": [alpha],
        }
        for n_bins, alpha in [(2, 1.0), (6, 100.0)]
    ]
    pipeline = tabular_pipeline(Ridge())
    frame = FRAME[["gaps", "int", "two", "object"]]
    search = GridSearchCV(pipeline, grid, cv=folds).fit(frame, y)
    for k, candidate in enumerate(search.cv_results_["params"]):
        for fold, (train, test) in enumerate(folds.split(frame)):
            alone = clone(pipeline).set_params(**candidate)
            alone.fit(frame.iloc[train], y[train])
            assert_allclose(
                search.cv_results_[f"split{fold}_test_score"][k],
                alone.score(frame.iloc[test], y[test]),
                rtol=1e-12,
            )


@pytest.mark.filterwarnings("ignore::sksharp.exceptions.ColumnWarning")
def test_the_kind_of_a_column_is_that_of_the_rows_of_the_fit():
    frame = pd.DataFrame({"x": list("aaabbbccc"), "number": np.arange(9.0)})
    results = cross_validate(
        tabular_pipeline(Ridge()),
        frame,
        np.arange(9.0),
        cv=KFold(3),
        return_estimator=True,
    )
    for left_out, pipeline in zip("abc", results["estimator"], strict=True):
        names = pipeline["columns"].get_feature_names_out()
        assert "binary__x" in names
        present = sorted(set("abc") - {left_out})
        (encoder,) = (
            pipeline["columns"].named_transformers_["binary"]["encode"].categories_
        )
        assert encoder.tolist() == present


def test_the_scale_of_the_target_is_a_standard_scaler_that_set_params_replaces():
    pipeline = tabular_pipeline(Ridge())
    scale, _ = pipeline["model"].transformer
    assert isinstance(scale, StandardScaler)
    pipeline.set_params(model__transformer=MinMaxScaler()).fit(FRAME, y)
    assert pipeline["model"].transformer_.data_max_ == [y.max()]
