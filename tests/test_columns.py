"""A column is what it holds, however it is stored, at the fit and at prediction."""

import datetime
import io
import json
import pickle
import re
import tracemalloc
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler, TargetEncoder
from sklearn.utils.validation import _get_feature_names

from sksharp import SAMMLPRegressor, tabular_pipeline
from sksharp.exceptions import ColumnWarning
from sksharp.preprocessing import _compose, _kinds, _tables

from .storages import (
    CODES,
    COUNTS,
    DAYS,
    FLAGS,
    POSTCODES,
    PRICES,
    SPANS,
    STORAGES,
    TIMES,
    TOWNS,
    N,
    objects,
    with_gaps,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EARLY = {
    "hidden_layer_sizes": (4,),
    "max_iter": 3,
    "rho": 0.1,
    "early_stopping": True,
    "random_state": 0,
}
TARGET = np.random.RandomState(1).normal(size=N)


def fitted(frame, **parts):
    """Return the columns' part of a pipeline, which says what it made of the columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        return tabular_pipeline(Ridge(), **parts).fit(frame, TARGET[: len(frame)])[0]


# -- the matrix of fits and predictions ----------------------------------------------------


@pytest.mark.parametrize("group", STORAGES)
def test_a_column_is_predicted_from_alike_however_it_is_stored(group):
    fits, more = STORAGES[group]
    # all fits at once, each a column of one table
    table = pd.DataFrame(
        {f"fit{j:02}": column for j, column in enumerate(fits.values())}
    )
    columns = fitted(table)
    names = columns.get_feature_names_out()
    expected = columns.transform(table)
    of_column = [np.char.find(names.astype(str), name) >= 0 for name in table]
    wrong = []
    for stored, column in {**fits, **more}.items():
        found = columns.transform(pd.DataFrame(dict.fromkeys(table, column)))
        same = np.isclose(found, expected, rtol=1e-6, atol=1e-6).all(axis=0)
        row = ["." if same[mine].all() else "x" for mine in of_column]
        print(f"{group:>18} | {stored:26} | {''.join(row)}")
        wrong += [
            (at_fit, stored)
            for at_fit, mark in zip(fits, row, strict=True)
            if mark == "x"
        ]
    assert not wrong
    # and every fit found the same
    for mine in of_column:
        assert_allclose(expected[:, mine], expected[:, of_column[0]], atol=1e-6)


# -- where tables come from ----------------------------------------------------------------

TABLE = pd.DataFrame(
    {
        "count": COUNTS,
        "price": with_gaps(PRICES),
        "day": pd.to_datetime(DAYS),
        "time": pd.Series(with_gaps(TIMES), dtype="datetime64[us]"),
        "span": SPANS,
        "flag": FLAGS,
        "maybe": pd.Series(with_gaps(FLAGS), dtype="boolean"),
        "code": pd.Series(CODES, dtype="category"),
        "town": with_gaps(TOWNS),
        "postcode": POSTCODES,
        "nothing": np.nan,
    }
)


def by_csv(table):
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def by_csv_as_text(table):
    text = io.StringIO(table.to_csv(index=False))
    return pd.read_csv(text, dtype=str, keep_default_na=False)


def by_json(table):
    text = table.to_json(orient="records", date_format="iso")
    return pd.DataFrame(json.loads(text))


def by_json_row(table):
    rows = json.loads(table.to_json(orient="records", date_format="iso"))
    return pd.concat([pd.DataFrame([row]) for row in rows], ignore_index=True)


def by_rows(table):
    return pd.concat([table.iloc[j].to_frame().T for j in range(len(table))])


def by_database(table):
    """Return what a driver gives for NUMERIC, DATE, BOOLEAN and VARCHAR."""
    found = pd.DataFrame(
        {
            "count": objects(COUNTS),
            "price": objects(with_gaps([Decimal(str(price)) for price in PRICES])),
            "day": objects(DAYS),
            "time": objects(with_gaps(TIMES)),
            "span": objects(SPANS),
            "flag": objects(FLAGS),
            "maybe": objects(with_gaps(FLAGS)),
            "code": objects(CODES),
            "town": objects(with_gaps(TOWNS)),
            "postcode": objects(POSTCODES),
            "nothing": objects([None] * N),
        }
    )
    return found[[*table]]


def by_merge(table):
    extended = table.merge(pd.DataFrame({"count": [10_000]}), how="outer")
    # which made floats and objects of integers and booleans
    assert extended["flag"].dtype == object
    return table.merge(extended.dropna(subset="flag"), how="left")


def by_nullable(table):
    return table.convert_dtypes()


def by_records(table):
    return pd.DataFrame(table.to_dict(orient="records"))


def by_array(table):
    return table.to_numpy()


WAYS = [
    *[by_csv, by_csv_as_text, by_json, by_json_row, by_rows, by_database, by_merge],
    *[by_nullable, by_records, by_array],
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:The behavior of .*concat:FutureWarning")
def test_a_table_that_went_another_way_is_predicted_from_alike(way):
    columns = fitted(TABLE)
    found = columns.transform(way(TABLE))
    assert_allclose(found, columns.transform(TABLE), atol=1e-6)


@pytest.mark.parametrize("way", [by_csv, by_json, by_rows, by_database, by_nullable])
@pytest.mark.filterwarnings("ignore:The behavior of .*concat:FutureWarning")
def test_a_fit_finds_the_same_in_a_table_that_went_another_way(way):
    # codes and postcodes are categories where they were declared to be
    table = TABLE.drop(columns=["code", "postcode"])
    expected, columns = fitted(table), fitted(way(table))
    assert_array_equal(
        columns.get_feature_names_out(), expected.get_feature_names_out()
    )
    assert_allclose(columns.transform(table), expected.transform(table), atol=1e-6)


def test_one_row_of_a_table_is_predicted_as_in_the_table():
    model = tabular_pipeline(Ridge()).fit(TABLE, TARGET)
    row = TABLE.iloc[5].to_frame().T
    assert {*row.dtypes} == {np.dtype(object)}
    assert_allclose(model.predict(row), model.predict(TABLE)[[5]], atol=1e-6)


def by_polars(table):
    polars = pytest.importorskip("polars")
    gone = table.astype({"code": object})
    columns = {
        name: [None if pd.isna(value) else value for value in gone[name]]
        for name in gone
    }
    schema = {
        "count": polars.Int32,
        "price": polars.Decimal(9, 2),
        "day": polars.Date,
        "time": polars.Datetime("ms", "Asia/Tokyo"),
        "span": polars.Duration("us"),
        "flag": polars.Boolean,
        "maybe": polars.Boolean,
        "code": polars.Int64,
        "town": polars.Categorical,
        "postcode": polars.String,
        "nothing": polars.Null,
    }
    columns["price"] = [p if p is None else Decimal(str(p)) for p in columns["price"]]
    found = polars.DataFrame(columns, schema={**schema, "time": polars.Datetime("ms")})
    as_utc = polars.col("time").dt.replace_time_zone("UTC")
    as_enum = (
        polars.col("code")
        .cast(polars.String)
        .cast(polars.Enum(["7", "10", "33", "104"]))
    )
    found = found.with_columns(as_utc.dt.convert_time_zone("Asia/Tokyo"), as_enum)
    if _get_feature_names(found) is None:
        pytest.skip("this scikit-learn does not know the names of this polars")
    return found


def by_pyarrow(table):
    pyarrow = pytest.importorskip("pyarrow")
    types = {
        "count": pyarrow.int16(),
        "price": pyarrow.decimal128(9, 2),
        "day": pyarrow.date32(),
        "time": pyarrow.timestamp("us", tz="Europe/Berlin"),
        "span": pyarrow.duration("ms"),
        "flag": pyarrow.bool_(),
        "maybe": pyarrow.bool_(),
        "code": pyarrow.int32(),
        "town": pyarrow.string(),
        "postcode": pyarrow.large_string(),
        "nothing": pyarrow.null(),
    }
    columns = {
        name: [None if pd.isna(value) else value for value in table[name]]
        for name in table
    }
    columns["price"] = [p if p is None else Decimal(str(p)) for p in columns["price"]]
    arrays = {name: pyarrow.array(columns[name], types[name]) for name in table}
    for name in ("code", "town"):
        arrays[name] = arrays[name].dictionary_encode()
    return pyarrow.table(arrays)


def by_batch(table):
    return by_pyarrow(table).to_batches()[0]


def by_arrow_dtypes(table):
    pyarrow = pytest.importorskip("pyarrow")
    found = by_pyarrow(table).to_pandas(types_mapper=pd.ArrowDtype)
    assert found["price"].dtype == pd.ArrowDtype(pyarrow.decimal128(9, 2))
    return found


FRAMES = [by_polars, by_pyarrow, by_batch, by_arrow_dtypes]


@pytest.mark.parametrize("way", FRAMES)
def test_a_frame_of_another_library_is_read_as_one_of_pandas(way):
    frame = way(TABLE)
    expected, columns = fitted(TABLE), fitted(frame)
    names = columns.get_feature_names_out()
    assert_array_equal(names, expected.get_feature_names_out())
    features = expected.transform(TABLE)
    for one in (columns, expected):
        for rows in (frame, TABLE):
            assert_allclose(one.transform(rows), features, atol=1e-6)


@pytest.mark.parametrize("way", [by_polars, by_pyarrow])
def test_columns_of_another_library_are_found_by_name(way):
    columns, frame = fitted(TABLE), way(TABLE)
    shuffled = frame.select([*TABLE.columns[::-1]])
    assert_allclose(columns.transform(shuffled), columns.transform(frame), atol=1e-12)


def test_a_frame_whose_names_scikit_learn_does_not_find_is_to_be_converted(monkeypatch):
    frame = by_pyarrow(TABLE)
    monkeypatch.setattr(_tables, "_get_feature_names", lambda X: None)
    with pytest.raises(
        TypeError, match=r"finds by name, got one of pyarrow .*to_pandas"
    ):
        fitted(TABLE).transform(frame)


def test_a_lazy_frame_is_to_be_collected():
    lazy = by_polars(TABLE).lazy()
    with pytest.raises(TypeError, match=r"got a LazyFrame of polars\. Give X\.collect"):
        tabular_pipeline(Ridge()).fit(lazy, TARGET)


# -- what cannot be read, and what says nothing --------------------------------------------


@pytest.mark.parametrize(
    ("at_fit", "value", "kind"),
    [
        (COUNTS, "many", "numbers"),
        (COUNTS, "1_000", "numbers"),
        (COUNTS, pd.Timestamp("2020-01-01"), "numbers"),
        (COUNTS, datetime.timedelta(1), "numbers"),
        (COUNTS, 1j, "numbers"),
        (COUNTS, 10**400, "numbers"),
        (pd.to_datetime(DAYS), 18_000, "dates"),
        (pd.to_datetime(DAYS), "yesterday", "dates"),
        (pd.to_datetime(DAYS), "2020-13-01", "dates"),
        (SPANS, 3.5, "durations"),
        (SPANS, "long", "durations"),
        (SPANS, pd.Timestamp("2020-01-01"), "durations"),
    ],
)
def test_what_cannot_be_read_as_in_the_fit_is_named(at_fit, value, kind):
    columns = fitted(pd.DataFrame({"x": at_fit}))
    with pytest.raises(
        ValueError, match=f"column 'x' of X must hold {kind}, as in the"
    ):
        columns.transform(pd.DataFrame({"x": objects([None, value])}))


@pytest.mark.parametrize("value", [2, -1, 0.5, "yes", "t", pd.Timestamp("2020-01-01")])
def test_a_flag_that_is_neither_says_nothing(value):
    columns = fitted(pd.DataFrame({"x": FLAGS}))
    with pytest.warns(
        ColumnWarning, match=r"in 'x', where the fit had 'False', 'True'"
    ):
        found = columns.transform(pd.DataFrame({"x": objects([value, None])}))
    assert_allclose(found, np.full((2, 1), np.mean(FLAGS)), rtol=1e-6)


def test_a_column_without_any_value_at_the_fit_says_nothing_later():
    table = pd.DataFrame({"count": COUNTS, "x": np.nan})
    model = tabular_pipeline(Ridge()).fit(table, TARGET)
    expected = model.predict(table)
    for values in (COUNTS, TOWNS, DAYS, FLAGS):
        assert_array_equal(model.predict(table.assign(x=values)), expected)


@pytest.mark.parametrize("values", [COUNTS, FLAGS, TOWNS])
@pytest.mark.parametrize("as_table", [pd.DataFrame, pd.DataFrame.to_numpy, by_rows])
def test_a_signaling_nan_is_a_missing_value(values, as_table):
    if values is TOWNS and as_table is pd.DataFrame.to_numpy:
        pytest.skip("an array holds no words")
    gap = pd.DataFrame({"x": objects(with_gaps(values))})
    signal = pd.DataFrame({"x": objects(with_gaps(values, Decimal("sNaN")))})
    gap, signal = as_table(gap), as_table(signal)
    expected, columns = fitted(gap), fitted(signal)
    for rows in (gap, signal):
        assert_array_equal(columns.transform(rows), expected.transform(gap))
        assert_array_equal(expected.transform(rows), expected.transform(gap))


# -- text ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"), [(COUNTS, "number"), (DAYS, "date"), (SPANS, "duration")]
)
def test_text_of_something_else_is_read_as_that_and_named(values, kind):
    stored = pd.DataFrame({"a": TARGET, "x": values})
    text = stored.assign(x=stored["x"].astype(str))
    with pytest.warns(
        ColumnWarning, match=rf"columns \['x'\] of X hold {kind}s as text"
    ):
        model = tabular_pipeline(Ridge()).fit(text, TARGET)
    assert_allclose(
        model[0].transform(text), fitted(stored).transform(stored), atol=1e-6
    )


def test_a_few_whole_numbers_as_text_are_categories():
    codes = [*map(str, CODES)]
    columns = tabular_pipeline(Ridge()).fit(pd.DataFrame({"x": codes}), TARGET)[0]
    names = columns.get_feature_names_out()
    assert {*names} == {f"categorical__x_{code}" for code in {*codes}}


def test_leading_zeros_are_of_names_and_stay():
    codes = [f"{k:05}" for k in range(N)]
    with pytest.warns(ColumnWarning, match="more words than half the rows"):
        model = tabular_pipeline(Ridge(), max_categories=None).fit(
            pd.DataFrame({"x": codes}), TARGET
        )
    names = model[0].get_feature_names_out()
    assert {*names} == {f"categorical__x_{code}" for code in codes}
    # and are lost where a file was read as numbers
    numbers = pd.DataFrame({"x": range(N)})
    assert_array_equal(model[0].transform(numbers), np.eye(N))


def test_words_that_are_one_number_stay_apart():
    versions = pd.DataFrame({"x": ["1.1", "1.10", "1.2", "a"] * 5})
    names = fitted(versions).get_feature_names_out()
    expected = [f"categorical__x_{word}" for word in ["1.1", "1.10", "1.2", "a"]]
    assert names.tolist() == expected


@pytest.mark.parametrize("dtype", [object, "string", "category"])
def test_a_column_of_unique_words_is_named(dtype):
    table = pd.DataFrame(
        {
            "count": COUNTS,
            "name": pd.Series([f"guest {k}" for k in range(N)], dtype=dtype),
            "town": TOWNS,
        }
    )
    with pytest.warns(
        ColumnWarning, match=r"columns \['name'\] of X have more than 32"
    ):
        tabular_pipeline(Ridge()).fit(table, TARGET)


@pytest.mark.parametrize(("n_words", "n_rows"), [(32, 32), (40, 80), (50, 100)])
def test_words_that_repeat_and_few_words_do_not_warn(n_words, n_rows):
    words = [f"word {k % n_words}" for k in range(n_rows)]
    table = pd.DataFrame({"x": words})
    tabular_pipeline(Ridge()).fit(table, np.arange(n_rows))
    if n_words > 32:
        with pytest.warns(ColumnWarning):
            tabular_pipeline(Ridge()).fit(table[:-1], np.arange(n_rows - 1))


def test_a_transformer_of_the_users_for_words_does_not_warn():
    table = pd.DataFrame({"x": [f"guest {k}" for k in range(N)]})
    tabular_pipeline(Ridge(), categorical=TargetEncoder(cv=2)).fit(table, TARGET)


# -- text that is nearly of numbers or dates -----------------------------------------------

WHOLE = [*range(100, 100 + N)]


def written(values, *odd):
    """Return the values as text, with others in the place of the first."""
    return [*odd, *map(str, values[len(odd) :])]


def said(frame, **parts):
    """Return what a fit warns of a column ``x``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tabular_pipeline(Ridge(), **parts).fit(frame, np.arange(len(frame)))
    return [str(one.message) for one in caught]


MARKERS = ["?", "-", "Unknown", "#N/A", " n.a. ", "...", "NULL"]


@pytest.mark.parametrize("values", [PRICES, WHOLE, DAYS, SPANS])
def test_what_files_have_for_a_missing_value_is_one(values):
    text = pd.DataFrame({marker: written(values, marker) for marker in MARKERS})
    stored = pd.DataFrame({m: objects([None, *values[1:]]) for m in MARKERS})
    mixed = pd.DataFrame({m: objects([m, *values[1:]]) for m in MARKERS})
    expected = fitted(stored).transform(stored)
    for frame in (text, stored, mixed):
        columns = fitted(frame)
        for rows in (text, stored, mixed):
            assert_array_equal(columns.transform(rows), expected)
    for frame in (text, mixed):
        (message,) = said(frame)
        named = ", ".join(repr(marker.strip()) for marker in MARKERS[:-1])
        assert f", and {named} as missing." in message


@pytest.mark.parametrize("gap", ["0000-00-00", "0000-00-00 00:00:00"])
def test_a_date_of_zeros_is_a_missing_one(gap):
    text = pd.DataFrame({"x": written(DAYS, gap)})
    stored = pd.DataFrame({"x": objects([None, *DAYS[1:]])})
    assert_array_equal(fitted(text).transform(text), fitted(stored).transform(stored))
    (message,) = said(text)
    assert f"{gap!r} as missing" in message


def test_flags_and_their_marker_are_flags_with_gaps():
    text = pd.DataFrame({"x": ["True", "False", "?"] * 4})
    mixed = pd.DataFrame({"x": objects([True, False, "?"] * 4)})
    stored = pd.DataFrame({"x": objects([True, False, None] * 4)})
    expected = fitted(stored)
    for frame in (text, mixed, stored):
        columns = fitted(frame)
        names = columns.get_feature_names_out()
        assert_array_equal(names, expected.get_feature_names_out())
        assert_array_equal(columns.transform(frame), expected.transform(stored))


def test_a_marker_among_words_is_a_word():
    names = fitted(
        pd.DataFrame({"x": ["a", "b", "?", "-"] * 5})
    ).get_feature_names_out()
    assert {*names} == {f"categorical__x_{word}" for word in ["?", "-", "a", "b"]}


ODD = ["$18", "12%", "1,8", "18_000", "31.12.2020", "<5", "many", "#DIV/0!"]


@pytest.mark.parametrize(
    ("values", "kind", "call"),
    [
        (PRICES, "number", "to_numeric"),
        (WHOLE, "number", "to_numeric"),
        (DAYS, "date", "to_datetime"),
        (SPANS, "duration", "to_timedelta"),
    ],
)
def test_a_value_that_keeps_a_column_from_being_numbers_is_named(values, kind, call):
    text = {f"x{j}": written(values, odd) for j, odd in enumerate(ODD)}
    mixed = {f"y{j}": objects([odd, *values[1:]]) for j, odd in enumerate(ODD)}
    frame = pd.DataFrame({"z": TARGET, **text, **mixed})
    (message,) = said(frame)
    assert (
        f"columns {[*text, *mixed]} of X hold {kind}s but for some values: " in message
    )
    quoted = [f"{ODD[int(name[1:])]!r} in {name!r}" for name in [*text, *mixed]]
    assert "; ".join(quoted) in message
    assert f"pd.{call}(column, errors='coerce')" in message
    # whatever is made of words
    assert said(frame, categorical="drop") == [message]
    # which are declared
    twice = {name: [*column, *column] for name, column in text.items()}
    assert said(pd.DataFrame(twice, dtype="category")) == []


def test_of_many_odd_values_the_first_are_quoted():
    frame = pd.DataFrame({"x": written(PRICES, *ODD[:5], "x" * 99)})
    (message,) = said(frame)
    assert "values: '$18', '12%', '1,8' and 3 more in 'x'. " in message
    (message,) = said(pd.DataFrame({"x": written(PRICES, "x" * 999)}))
    assert len(message) < 400


WRITTEN = {
    "a currency": ("number", "${}"),
    "a currency of letters": ("number", "R$ {}"),
    "a share": ("number", "{}%"),
    "a unit": ("number", "{} kg"),
    "another unit": ("number", "{}km/h"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_numbers_with_a_sign_or_a_unit_are_named_as_such(case):
    kind, form = WRITTEN[case]
    text = [form.format(price) for price in PRICES]
    for values in (text, written(text, "?"), written(text, "12.5", "13.5")):
        (message,) = said(pd.DataFrame({"x": values}))
        assert f"columns ['x'] of X hold {kind}s in a notation that is not" in message
        assert repr(text[2]) in message


@pytest.mark.parametrize(
    "form",
    ["{:,}", "{:_}", "{:,}.50", "(1,234.{})", "0,{}"],
    ids=["thousands", "underscores", "cents", "in brackets", "a decimal comma"],
)
def test_numbers_with_separators_are_named_as_such(form):
    text = [form.format(1000 * whole) for whole in WHOLE]
    (message,) = said(pd.DataFrame({"x": text}))
    assert "hold numbers in a notation that is not read" in message


@pytest.mark.parametrize(
    "form",
    [
        *["%d.%m.%Y", "%m/%d/%Y", "%d-%m-%y", "%Y/%m/%d", "%d %b %Y", "%B %d, %Y"],
        *["%m/%d/%Y %I:%M %p", "%d.%m.%Y, %H:%M:%S"],
    ],
)
def test_dates_in_another_notation_are_named_as_such(form):
    text = [day.strftime(form) for day in DAYS]
    (message,) = said(pd.DataFrame({"x": text}))
    assert "hold dates in a notation that is not read" in message
    assert message.count("pd.to_datetime") == 1


def test_months_are_dates_where_they_are_many():
    months = pd.period_range("2001-01", periods=40, freq="M")
    for form in ("%Y-%m", "%b-%Y", "%B %Y"):
        text = [*months.strftime(form)] * 3
        (message,) = said(pd.DataFrame({"x": text}))
        assert "hold dates in a notation that is not read" in message
        assert said(pd.DataFrame({"x": text[:20] * 3})) == []


k = np.arange(200)
NO_NUMBERS = {
    "few whole numbers and another word": [["1", "2", "3+", "4"][j % 4] for j in k],
    "31 codes and a letter": [str(j % 32) if j % 32 else "A" for j in k],
    "few prices": [["$5", "$10", "$20"][j % 3] for j in k],
    "terms": [["36 months", "60 months", "12 months"][j % 3] for j in k],
    "versions": [["1.1.2", "1.10.0", "1.2.0", "a"][j % 4] for j in k],
    "seats": [f"{j % 9}{'ABCDEF'[j % 6]}" for j in k],
    "cabins": [f"C{j % 80}" for j in k],
    "ranges": [f"{10 * (j % 9)}-{10 * (j % 9) + 9}" for j in k],
    "sizes": [["S", "M", "L", "40", "42"][j % 5] for j in k],
    "half of them numbers": [str(j % 50) if j % 2 else f"w{j % 50}" for j in k],
    "lists": [",".join("12345"[: 1 + j % 5]) for j in k],
    "quarters": [f"{2000 + j % 20}Q{j % 4 + 1}" for j in k],
    "two words": [["1,8", "2,5"][j % 2] for j in k],
    "markers": [["?", "-"][j % 2] for j in k],
}


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_words_with_digits_are_words(case):
    assert said(pd.DataFrame({"x": NO_NUMBERS[case]})) == []


@pytest.mark.parametrize(
    "form", ["guest {}", "ID{:05}", "#{}", "{:04}-X", "{:05}", "555-{:04}", "a{}@b.org"]
)
def test_names_and_keys_with_numbers_are_names_and_keys(form):
    keys = [form.format(j) for j in k]
    for values in (keys, ["abc", *keys]):
        (message,) = said(pd.DataFrame({"x": values}))
        assert "as columns of names or keys have" in message


def test_what_is_nearly_of_numbers_is_told_from_many_words():
    prices = [f"${price}" for price in PRICES]
    many = [f"word {j}" for j in range(3000)]
    (message,) = said(pd.DataFrame({"x": many}))
    assert "as columns of names" in message
    few = prices * 2 + [f"word {j}" for j in range(9)]
    (message,) = said(pd.DataFrame({"x": few}))
    assert "hold numbers in a notation" in message
    # all of many are looked at, to name the one
    (message,) = said(pd.DataFrame({"x": [f"{j}.5" for j in range(3001)] + ["odd"]}))
    assert "values: 'odd' in 'x'" in message


def test_a_new_odd_value_at_prediction_is_named():
    columns = fitted(pd.DataFrame({"x": PRICES}))
    for odd in ODD:
        rows = pd.DataFrame({"x": written(PRICES, odd)})
        with pytest.raises(ValueError, match=f"numbers, .* got {re.escape(repr(odd))}"):
            columns.transform(rows)


# -- words that the fit had not ------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_fit", "later", "new", "old"),
    [
        (["Yes", "No"], ["yes", "y", None, "Yes"], "'y', 'yes'", "'No', 'Yes'"),
        (["Yes", "No"], ["no"], "'no'", "'No', 'Yes'"),
        (["Yes", None], ["true"], "'true'", "'Yes', 'missing'"),
        ([True, False], ["Yes", "No"], "'No', 'Yes'", "'False', 'True'"),
        ([True, False, None], ["Yes", True], "'Yes'", "'False', 'True', 'missing'"),
        (["a", "b", "c"], ["1", "2", None], "'1', '2'", "'a', 'b', 'c'"),
        (["Ulm", "Bonn", "Jena"], ["ulm", "Bern"], "'Bern', 'ulm'", "'Bonn', 'Jena'"),
        (["Ulm", "Bonn", "Jena"], [" Ulm ", "Bonn"], "' Ulm '", "'Bonn', 'Jena'"),
    ],
)
def test_a_column_in_other_words_is_named(at_fit, later, new, old):
    frame = pd.DataFrame({"z": 1.0, "x": objects(at_fit * 4)})
    model = tabular_pipeline(Ridge()).fit(frame, np.arange(len(frame)))
    rows = pd.DataFrame({"z": 1.0, "x": objects(later)})
    with pytest.warns(
        ColumnWarning,
        match=re.escape(
            f"columns ['x'] of X hold words that are not those of the fit: {new} in "
        ),
    ) as caught:
        model.predict(rows)
    assert f"where the fit had {old}" in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("at_fit", "later"),
    [
        (["a", "b", "c"], ["a", "new", "other", None]),
        (["a", "b", "c"], ["new"]),
        (["a", "b", "c"], ["new", "new", None]),
        (["a", "b", "c"], [None]),
        (["a", "b"], [None, "a"]),
        ([True, False], [1, 0, "false", "", None]),
        (["a", "A", "b"], ["A", "a"]),
        ([3, 4], ["3", 4.0]),
    ],
)
def test_a_category_more_is_no_other_word(at_fit, later):
    x = objects(at_fit * 4).astype("category")
    model = tabular_pipeline(Ridge()).fit(pd.DataFrame({"x": x}), np.arange(len(x)))
    model.predict(pd.DataFrame({"x": objects(later)}))


# -- values that are nearly the same -------------------------------------------------------


def test_large_whole_numbers_stay_apart_as_categories():
    large = 2**53
    table = pd.DataFrame({"x": pd.Categorical([large, large + 1, large + 2] * 4)})
    columns = fitted(table)
    for dtype in ("Int64", "UInt64", object, "string"):
        stored = pd.Series([large + 1, None, large + 2], dtype=dtype)
        found = columns.transform(pd.DataFrame({"x": stored}))
        assert_array_equal(found, [[0, 1, 0], [0, 0, 0], [0, 0, 1]])


def test_true_and_1_are_a_number_where_there_are_others():
    mixed = objects(
        [True, 1, 2.5, False, Fraction(1, 4), Decimal("7"), np.int8(3), "4"]
    )
    numbers = pd.Series([1, 1, 2.5, 0, 0.25, 7, 3, 4])
    columns = fitted(pd.DataFrame({"x": numbers}))
    assert_array_equal(
        columns.transform(pd.DataFrame({"x": mixed})),
        columns.transform(pd.DataFrame({"x": numbers})),
    )
    without_text = pd.DataFrame({"x": mixed[:7]})
    assert_allclose(
        fitted(without_text).transform(without_text),
        fitted(pd.DataFrame({"x": numbers[:7]})).transform(without_text),
    )


def test_true_and_1_are_two_words_beside_another():
    table = pd.DataFrame({"x": objects([True, 1, "x"] * 3)})
    columns = fitted(table)
    names = [f"categorical__x_{word}" for word in ["1", "True", "x"]]
    assert columns.get_feature_names_out().tolist() == names
    expected = np.tile([[0, 1, 0], [1, 0, 0], [0, 0, 1]], (3, 1))
    assert_array_equal(columns.transform(table), expected)


def test_single_precision_is_the_same_category():
    table = pd.DataFrame({"x": pd.Categorical([0.1, 0.25, 0.7] * 3)})
    columns = fitted(table)
    single = pd.DataFrame({"x": np.float32([0.1, 0.25, 0.7] * 3)})
    assert_array_equal(columns.transform(single), columns.transform(table))


def test_categories_of_dates_and_periods_are_one_with_their_text():
    days = pd.Series(pd.to_datetime(["2020-01-01", "2020-02-01", "2020-03-01"] * 3))
    for stored, others in [
        (days, [days, days.dt.date, days.dt.strftime("%Y-%m-%d")]),
        (days.dt.to_period("M"), [days.dt.to_period("M"), days.dt.strftime("%Y-%m")]),
    ]:
        columns = fitted(pd.DataFrame({"x": stored.astype("category")}))
        for other in others:
            found = columns.transform(pd.DataFrame({"x": other}))
            assert_array_equal(found, np.tile(np.eye(3), (3, 1)))


def test_an_array_of_objects_holds_what_its_values_are():
    table = TABLE[["count", "price", "flag", "maybe", "day", "span", "nothing"]]
    expected, columns = fitted(table), fitted(table.astype(object).to_numpy())
    rows = by_database(TABLE)[[*table]].to_numpy()
    assert_allclose(columns.transform(rows), expected.transform(table), atol=1e-6)


def test_text_of_numbers_in_an_array_is_of_numbers():
    numbers = np.array([[7, 10, 33, 104] * 5], dtype=float).T
    text = numbers.astype(int).astype(str)
    with pytest.warns(ColumnWarning, match=r"columns \[0\] of X hold numbers as text"):
        columns = tabular_pipeline(Ridge()).fit(text, np.arange(20))[0]
    expected = fitted(numbers).transform(numbers)
    assert_array_equal(columns.transform(text), expected)
    assert_array_equal(columns.transform(numbers), expected)


# -- weights and validation rows -----------------------------------------------------------


def test_weights_of_the_rows_are_routed_past_the_scaler():
    weights = np.random.RandomState(0).uniform(0.1, 5, size=N)
    expected = tabular_pipeline(Ridge())
    expected.fit(TABLE, TARGET, model__sample_weight=weights)
    with sklearn.config_context(enable_metadata_routing=True):
        ridge = Ridge().set_fit_request(sample_weight=True)
        routed = tabular_pipeline(ridge).fit(TABLE, TARGET, sample_weight=weights)
    assert_array_equal(routed.predict(TABLE), expected.predict(TABLE))
    scaled = [step["columns"]["numeric"]["encode"] for step in (routed, expected)]
    means = [union.transformer_list[0][1][0].mean_ for union in scaled]
    assert_array_equal(*means)
    unweighted = tabular_pipeline(Ridge()).fit(TABLE, TARGET)
    assert not np.allclose(routed.predict(TABLE), unweighted.predict(TABLE))


@pytest.mark.parametrize(
    "transformer", [None, QuantileTransformer(n_quantiles=5, subsample=20)]
)
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.filterwarnings("ignore:The provided functions or transformer")
def test_targets_of_validation_rows_are_transformed_like_the_others(
    transformer, n_outputs
):
    y = 1000 + 50 * TARGET
    if n_outputs == 2:
        y = np.column_stack([y, TARGET])
    train, val = slice(60), slice(60, None)
    pipeline = tabular_pipeline(SAMMLPRegressor(**EARLY), target=transformer)
    rows = pipeline[:-1].fit(TABLE[train]).transform(TABLE)
    model = pipeline["model"].fit(rows[train], y[train], X_val=rows[val], y_val=y[val])
    scale = model.transformer_
    scaled = scale.transform(y.reshape(N, -1)).reshape(y.shape)
    alone = SAMMLPRegressor(**EARLY)
    alone.fit(rows[train], scaled[train], X_val=rows[val], y_val=scaled[val])
    assert_allclose(
        model.regressor_.validation_scores_, alone.validation_scores_, rtol=1e-9
    )
    assert model.transformer is not scale
    assert type(model.transformer) is type(scale)
    twin = pickle.loads(pickle.dumps(model))
    assert_array_equal(twin.predict(rows), model.predict(rows))


def test_validation_rows_and_targets_are_routed_through_the_pipeline():
    y = 1000 + 50 * TARGET
    with sklearn.config_context(enable_metadata_routing=True):
        network = SAMMLPRegressor(**EARLY).set_fit_request(X_val=True, y_val=True)
        pipeline = tabular_pipeline(network).set_params(transform_input=["X_val"])
        pipeline.fit(TABLE[:60], y[:60], X_val=TABLE[60:], y_val=y[60:])
    # what no epoch but the first changes: R² is the same in every unit
    network = pipeline["model"].regressor_
    best = max(network.validation_scores_)
    assert network.best_validation_score_ == best
    assert pipeline.score(TABLE[60:], y[60:]) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("y_val", [[1.0, None, 2.0], [["a"], ["b"]], np.ones((20, 3))])
def test_targets_of_validation_rows_that_are_none_are_named(y_val):
    model = tabular_pipeline(SAMMLPRegressor(**EARLY))["model"]
    rows = np.ones((N, 2))
    with pytest.raises(ValueError, match="y_val must hold targets like those of y"):
        model.fit(rows, TARGET, X_val=rows[: len(y_val)], y_val=y_val)
    assert isinstance(model.transformer.steps[0][1], StandardScaler)


def test_targets_of_validation_rows_in_other_units_warn():
    y = 1000 + 50 * TARGET
    rows = np.random.RandomState(0).normal(size=(N, 2))
    given = {"X_val": rows[60:], "y_val": y[60:]}
    network = SAMMLPRegressor(**EARLY)
    around = TransformedTargetRegressor(network, transformer=StandardScaler())
    with pytest.warns(UserWarning, match="y_val must be in the units of the targets"):
        around.fit(rows[:60], y[:60], **given)
    network.fit(rows[:60], y[:60], **given)  # and does not here
    # too few to tell
    around.fit(rows[:60], y[:60], X_val=rows[60:69], y_val=y[60:69])
    around.fit(rows[:19], y[:19], **given)


# -- memory --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_features_are_held_once(dtype):
    rng = np.random.RandomState(0)
    table = pd.DataFrame(rng.normal(size=(40_000, 4)).astype(dtype))
    pipeline = tabular_pipeline(Ridge())[:-1]
    tracemalloc.start()
    features = pipeline.fit_transform(table)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # the numbers and those that fill their gaps, beside the features and a block of them
    assert peak < 1.3 * features.nbytes + 2 * table.to_numpy().nbytes


def test_blocks_of_rows_become_what_all_rows_become(monkeypatch):
    expected = fitted(TABLE).transform(TABLE)
    monkeypatch.setattr(_compose, "BLOCK_SIZE", 7)
    assert_array_equal(fitted(TABLE).transform(TABLE), expected)
    named = tabular_pipeline(Ridge()).set_output(transform="pandas").fit(TABLE, TARGET)
    assert_array_equal(named[0].transform(TABLE), expected)


class AcrossRows(TransformerMixin, BaseEstimator):
    """Gives the rows of the fit something else than others, as TargetEncoder does."""

    def fit_transform(self, X, y=None):
        return np.zeros((len(X), 1))

    def fit(self, X, y=None):
        raise AssertionError

    def transform(self, X):
        return np.ones((len(X), 1))

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.parametrize("part", [AcrossRows(), make_pipeline(AcrossRows())])
def test_a_part_whose_fit_transforms_otherwise_may_do_so(part):
    pipeline = tabular_pipeline(Ridge())
    pipeline.set_params(columns__numeric__encode__transformer_list=[("part", part)])
    columns, rows = pipeline["columns"], TABLE[["count"]]
    assert_array_equal(columns.fit_transform(rows), np.zeros((N, 1)))
    assert_array_equal(columns.transform(rows), np.ones((N, 1)))


# -- ONNX ----------------------------------------------------------------------------------


def test_inputs_of_an_onnx_model_are_read_in_the_same_way():
    pytest.importorskip("skl2onnx")
    runtime = pytest.importorskip("onnxruntime")
    from sksharp.onnx import make_inputs, to_onnx

    network = SAMMLPRegressor(hidden_layer_sizes=(2,), solver="lbfgs", max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = tabular_pipeline(network).fit(TABLE, TARGET)
    carried = to_onnx(model, TABLE)
    session = runtime.InferenceSession(carried.SerializeToString())
    expected = make_inputs(carried, TABLE)
    (prediction,) = session.run(None, expected)
    assert_allclose(prediction, model.predict(TABLE), atol=1e-6)
    # another program may give what the fit had not
    something = {**expected, "nothing": np.full((N, 1), 5.0)}
    assert_array_equal(session.run(None, something)[0], prediction)
    for way in (by_csv, by_csv_as_text, by_json, by_database, *FRAMES):
        try:
            rows = way(TABLE)
        except pytest.skip.Exception:
            continue
        inputs = make_inputs(carried, rows)
        assert inputs.keys() == expected.keys()
        for name, values in expected.items():
            assert_array_equal(inputs[name], values, strict=True, err_msg=name)
        assert {input.name for input in to_onnx(model, rows).graph.input} == {*TABLE}


@pytest.mark.filterwarnings("ignore::sksharp.exceptions.ColumnWarning")
@pytest.mark.parametrize(
    "values",
    [
        ["9999-12-31T23:59:59-05:00", "2020-01-01T00:00:00+00:00"],
        ["999999999999 days", "3 days"],
    ],
    ids=["a day after the last", "a span too long"],
)
def test_values_that_python_cannot_compute_with_are_no_error(values):
    table = pd.DataFrame({"c": values * 10, "z": np.arange(20.0)})
    model = tabular_pipeline(Ridge()).fit(table, np.arange(20.0))
    model.predict(table)


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_dates_are_days_since_1970_and_durations_days(unit):
    days = [0.5, 10957.0, np.nan]
    dates = pd.to_datetime(["1970-01-01T12:00", "2000-01-01T00:00", None]).as_unit(unit)
    spans = pd.to_timedelta([12, 10957 * 24, None], unit="h").as_unit(unit)
    for values in (dates, spans):
        (column,) = _tables.columns_of(pd.DataFrame({"c": values}))
        found = _kinds.numbers(column, _kinds.kind_of(column))
        assert_array_equal(found, days)
