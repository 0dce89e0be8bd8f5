"""Columns of the same values in every way that pandas, polars and pyarrow store them."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd

try:
    import pyarrow as pa
except ImportError:
    pa = None
try:
    import polars as pl
except ImportError:
    pl = None

N = 80
rows = np.arange(N)
rng = np.random.RandomState(0)
gaps = rows % 9 == 4

FLAGS = [bool(flag) for flag in rng.rand(N) < 0.4]
COUNTS = [int(count) for count in rng.randint(-5, 900, N)]
PRICES = [float(price) for price in np.round(rng.rand(N) * 100, 2)]
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(int(k)) for k in rows * 3]
TIMES = [
    datetime.datetime(2021, 3, 1, 12, 30, 15, 250_000)
    + datetime.timedelta(hours=int(k))
    for k in rows * 7
]
SPANS = [datetime.timedelta(seconds=90 * int(k)) for k in rows]
CODES = [int(code) for code in rng.choice([7, 10, 33, 104], N)]
TOWNS = [str(town) for town in rng.choice(["Ulm", "Bonn", "Köln"], N)]
POSTCODES = [str(code) for code in rng.choice(["01067", "89073", "53111"], N)]


def with_gaps(values, gap=None):
    """Return the values, some of them missing."""
    return [gap if is_gap else v for v, is_gap in zip(values, gaps, strict=True)]


def objects(values):
    """Return a series of Python's own objects."""
    return pd.Series(values, dtype=object)


def arrow(values, kind):
    """Return a series in a type of pyarrow."""
    return pd.Series(values, dtype=pd.ArrowDtype(kind))


def dictionary(values):
    """Return a series of pyarrow's categories."""
    encoded = pa.array(values).dictionary_encode()
    return pd.Series(pd.arrays.ArrowExtensionArray(encoded))


def _flags():
    numbers = [*map(int, FLAGS)]
    found = {
        "bool": pd.Series(FLAGS),
        "object": objects(FLAGS),
        "object of numpy": objects([np.bool_(flag) for flag in FLAGS]),
        "boolean": pd.Series(FLAGS, dtype="boolean"),
        "category": pd.Series(FLAGS, dtype="category"),
        "category of text": pd.Series([*map(str, FLAGS)], dtype="category"),
        "category of 0, 1": pd.Series(numbers, dtype="category"),
        "text": pd.Series([*map(str, FLAGS)]),
        "object of text": objects([*map(str, FLAGS)]),
        "string": pd.Series([*map(str, FLAGS)], dtype="string"),
        "lower case": pd.Series([str(flag).lower() for flag in FLAGS]),
        "text of 0, 1": pd.Series([*map(str, numbers)]),
        "sparse": pd.Series(pd.arrays.SparseArray(FLAGS)),
    }
    if pa:
        found["arrow bool"] = arrow(FLAGS, pa.bool_())
        found["arrow string"] = arrow([*map(str, FLAGS)], pa.string())
    return found


def _flags_as_numbers():
    """Return storages that are numbers in a fit, and a flag where the fit had one."""
    numbers = [*map(int, FLAGS)]
    found = {
        "int64": pd.Series(numbers),
        "int8": pd.Series(numbers, dtype="int8"),
        "uint8": pd.Series(numbers, dtype="uint8"),
        "float64": pd.Series(numbers, dtype=float),
        "float32": pd.Series(numbers, dtype="float32"),
        "Int64": pd.Series(numbers, dtype="Int64"),
        "UInt8": pd.Series(numbers, dtype="UInt8"),
        "Float64": pd.Series(numbers, dtype="Float64"),
        "object of int": objects(numbers),
        "object of float": objects([*map(float, numbers)]),
        "Decimal": objects([*map(Decimal, numbers)]),
    }
    if pa:
        found["arrow int64"] = arrow(numbers, pa.int64())
        found["arrow double"] = arrow([*map(float, numbers)], pa.float64())
        found["arrow decimal"] = arrow([*map(Decimal, numbers)], pa.decimal128(3, 1))
    return found


def _flags_with_gaps():
    numbers = [*map(int, FLAGS)]
    texts = [*map(str, FLAGS)]
    found = {
        "boolean": pd.Series(with_gaps(FLAGS), dtype="boolean"),
        "object, None": objects(with_gaps(FLAGS)),
        "object, nan": objects(with_gaps(FLAGS, np.nan)),
        "object, NA": objects(with_gaps(FLAGS, pd.NA)),
        "category": pd.Series(with_gaps(FLAGS), dtype="category"),
        "text": pd.Series(with_gaps(texts)),
        "string": pd.Series(with_gaps(texts), dtype="string"),
        "object of text": objects(with_gaps(texts)),
        "object of text, ''": objects(with_gaps(texts, "")),
        "object of text, 'nan'": objects(with_gaps(texts, "nan")),
        "object of text, 'None'": objects(with_gaps(texts, "None")),
        "category of 0.0, 1.0": pd.Series(
            with_gaps([*map(float, numbers)]), dtype="category"
        ),
    }
    if pa:
        found["arrow bool"] = arrow(with_gaps(FLAGS), pa.bool_())
        found["arrow string"] = arrow(with_gaps(texts), pa.string())
    return found


def _gapped_flags_as_numbers():
    numbers = [*map(int, FLAGS)]
    found = {
        "float64": pd.Series(with_gaps(numbers), dtype=float),
        "float32": pd.Series(with_gaps(numbers), dtype="float32"),
        "Int64": pd.Series(with_gaps(numbers), dtype="Int64"),
        "Float64": pd.Series(with_gaps(numbers), dtype="Float64"),
        "object of int": objects(with_gaps(numbers)),
        "Decimal": objects(with_gaps([*map(Decimal, numbers)])),
        "Decimal, NaN": objects(with_gaps([*map(Decimal, numbers)], Decimal("nan"))),
    }
    if pa:
        found["arrow int64"] = arrow(with_gaps(numbers), pa.int64())
    return found


def _counts():
    floats = [*map(float, COUNTS)]
    found = {
        "int64": pd.Series(COUNTS),
        "int16": pd.Series(COUNTS, dtype="int16"),
        "float64": pd.Series(floats),
        "float32": pd.Series(floats, dtype="float32"),
        "Int64": pd.Series(COUNTS, dtype="Int64"),
        "Int32": pd.Series(COUNTS, dtype="Int32"),
        "Float64": pd.Series(COUNTS, dtype="Float64"),
        "Float32": pd.Series(COUNTS, dtype="Float32"),
        "object": objects(COUNTS),
        "object of float": objects(floats),
        "object of both": objects([*COUNTS[:40], *floats[40:]]),
        "object of numpy": objects([np.int32(count) for count in COUNTS]),
        "Decimal": objects([*map(Decimal, COUNTS)]),
        "Decimal of two places": objects([Decimal(f"{count}.00") for count in COUNTS]),
        "sparse": pd.Series(pd.arrays.SparseArray(COUNTS)),
        "text": pd.Series([*map(str, COUNTS)]),
        "text of floats": pd.Series([*map(str, floats)]),
        "string": pd.Series([*map(str, COUNTS)], dtype="string"),
        "object of text": objects([*map(str, COUNTS)]),
    }
    if pa:
        found["arrow int64"] = arrow(COUNTS, pa.int64())
        found["arrow float"] = arrow(floats, pa.float32())
        found["arrow double"] = arrow(floats, pa.float64())
        found["arrow decimal"] = arrow([*map(Decimal, COUNTS)], pa.decimal128(9, 2))
        found["arrow string"] = arrow([*map(str, COUNTS)], pa.string())
    return found


def _prices_with_gaps():
    decimals = [Decimal(f"{price:.2f}") for price in PRICES]
    texts = [f"{price:.2f}" for price in PRICES]
    found = {
        "float64": pd.Series(with_gaps(PRICES), dtype=float),
        "Float64": pd.Series(with_gaps(PRICES), dtype="Float64"),
        "object, None": objects(with_gaps(PRICES)),
        "object, nan": objects(with_gaps(PRICES, np.nan)),
        "object, NA": objects(with_gaps(PRICES, pd.NA)),
        "Decimal": objects(with_gaps(decimals)),
        "Decimal, NaN": objects(with_gaps(decimals, Decimal("nan"))),
        "text": pd.Series(with_gaps(texts)),
        "string": pd.Series(with_gaps(texts), dtype="string"),
        "object of text, ''": objects(with_gaps(texts, "")),
        "object of text, 'nan'": objects(with_gaps(texts, "nan")),
        "sparse": pd.Series(pd.arrays.SparseArray(with_gaps(PRICES, np.nan))),
    }
    if pa:
        found["arrow double"] = arrow(with_gaps(PRICES), pa.float64())
        found["arrow decimal"] = arrow(with_gaps(decimals), pa.decimal128(9, 2))
        found["arrow string"] = arrow(with_gaps(texts), pa.string())
    return found


def _days():
    stamps = pd.to_datetime(pd.Series(DAYS))
    found = {
        "datetime64[s]": stamps.astype("datetime64[s]"),
        "datetime64[ns]": stamps.astype("datetime64[ns]"),
        "with zone": stamps.dt.tz_localize("UTC"),
        "date": objects(DAYS),
        "datetime": objects([*map(pd.Timestamp.to_pydatetime, stamps)]),
        "Timestamp": objects([*stamps]),
        "datetime64 of numpy": objects([np.datetime64(day) for day in DAYS]),
        "period": stamps.dt.to_period("D"),
        "object of period": objects([*stamps.dt.to_period("D")]),
        "text": pd.Series([day.isoformat() for day in DAYS]),
        "text of times": pd.Series([f"{day.isoformat()} 00:00:00" for day in DAYS]),
        "string": pd.Series([day.isoformat() for day in DAYS], dtype="string"),
    }
    if pa:
        found["arrow date32"] = arrow(DAYS, pa.date32())
        found["arrow timestamp"] = arrow(DAYS, pa.timestamp("ms"))
        found["arrow string"] = arrow([day.isoformat() for day in DAYS], pa.string())
    return found


def _times_with_gaps():
    stamps = pd.Series(with_gaps(TIMES))
    zone = stamps.dt.tz_localize("UTC")
    utc = datetime.UTC
    found = {
        "datetime64[us]": stamps.astype("datetime64[us]"),
        "datetime64[ns]": stamps.astype("datetime64[ns]"),
        "UTC": zone,
        "another zone": zone.dt.tz_convert("Asia/Tokyo"),
        "datetime": objects(with_gaps(TIMES)),
        "datetime, NaT": objects(with_gaps(TIMES, pd.NaT)),
        "datetime, nan": objects(with_gaps(TIMES, np.nan)),
        "datetime with zone": objects(
            with_gaps([t.replace(tzinfo=utc) for t in TIMES])
        ),
        "Timestamp": objects(with_gaps([*map(pd.Timestamp, TIMES)], pd.NaT)),
        "Timestamp with zone": objects([*zone.dt.tz_convert("Asia/Tokyo")]),
        "text": pd.Series(with_gaps([*map(str, TIMES)])),
        "text with T": pd.Series(with_gaps([t.isoformat() for t in TIMES])),
        "text with Z": objects(with_gaps([t.isoformat() + "Z" for t in TIMES])),
        "text with zone": objects(with_gaps([t.isoformat() + "+00:00" for t in TIMES])),
        "text, 'NaT'": objects(with_gaps([*map(str, TIMES)], "NaT")),
    }
    if pa:
        found["arrow timestamp"] = arrow(with_gaps(TIMES), pa.timestamp("us"))
        of_zone = pa.timestamp("ns", tz="Europe/Berlin")
        found["arrow timestamp with zone"] = zone.astype(pd.ArrowDtype(of_zone))
    return found


def _spans():
    spans = pd.Series(SPANS)
    found = {
        "timedelta64[s]": spans.astype("timedelta64[s]"),
        "timedelta64[ns]": spans.astype("timedelta64[ns]"),
        "timedelta": objects(SPANS),
        "Timedelta": objects([*map(pd.Timedelta, SPANS)]),
        "timedelta64 of numpy": objects([np.timedelta64(span) for span in SPANS]),
        "time": objects([(datetime.datetime.min + span).time() for span in SPANS]),
        "text": pd.Series([*map(str, SPANS)]),
        "text of pandas": pd.Series([*map(str, map(pd.Timedelta, SPANS))]),
    }
    if pa:
        found["arrow duration"] = arrow(SPANS, pa.duration("ms"))
        times = [(datetime.datetime.min + span).time() for span in SPANS]
        found["arrow time32"] = arrow(times, pa.time32("s"))
    return found


def _codes():
    texts = [*map(str, CODES)]
    found = {
        "category": pd.Series(CODES, dtype="category"),
        "category of float": pd.Series([*map(float, CODES)], dtype="category"),
        "category of text": pd.Series(texts, dtype="category"),
        "text": pd.Series(texts),
        "object of text": objects(texts),
        "string": pd.Series(texts, dtype="string"),
    }
    if pa:
        found["arrow dictionary"] = dictionary(CODES)
        found["arrow dictionary of text"] = dictionary(texts)
        found["arrow string"] = arrow(texts, pa.string())
    return found


def _codes_as_numbers():
    found = {
        "int64": pd.Series(CODES),
        "float64": pd.Series(CODES, dtype=float),
        "float32": pd.Series(CODES, dtype="float32"),
        "Int64": pd.Series(CODES, dtype="Int64"),
        "object": objects(CODES),
        "object of float": objects([*map(float, CODES)]),
        "Decimal": objects([Decimal(f"{code}.0") for code in CODES]),
        "text of floats": pd.Series([f"{code}.0" for code in CODES]),
    }
    if pa:
        found["arrow int64"] = arrow(CODES, pa.int64())
        found["arrow decimal"] = arrow([*map(Decimal, CODES)], pa.decimal128(5, 1))
    return found


def _towns():
    found = {
        "text": pd.Series(with_gaps(TOWNS)),
        "string": pd.Series(with_gaps(TOWNS), dtype="string"),
        "object, None": objects(with_gaps(TOWNS)),
        "object, nan": objects(with_gaps(TOWNS, np.nan)),
        "object, NA": objects(with_gaps(TOWNS, pd.NA)),
        "object of numpy": objects(with_gaps([np.str_(town) for town in TOWNS])),
        "bytes": objects(with_gaps([town.encode() for town in TOWNS])),
        "category": pd.Series(with_gaps(TOWNS), dtype="category"),
        "ordered": pd.Series(
            pd.Categorical(with_gaps(TOWNS), ["Ulm", "Köln", "Bonn"], ordered=True)
        ),
    }
    if pa:
        found["arrow string"] = arrow(with_gaps(TOWNS), pa.string())
        found["arrow large string"] = arrow(with_gaps(TOWNS), pa.large_string())
        found["arrow dictionary"] = dictionary(with_gaps(TOWNS))
    return found


def _postcodes():
    return {
        "text": pd.Series(POSTCODES),
        "object of text": objects(POSTCODES),
        "category": pd.Series(POSTCODES, dtype="category"),
    }


def _postcodes_as_numbers():
    return {
        "int64": pd.Series([*map(int, POSTCODES)]),
        "float64": pd.Series([*map(float, POSTCODES)]),
        "text without zeros": pd.Series([str(int(code)) for code in POSTCODES]),
    }


def _nothing():
    found = {
        "float64": pd.Series([np.nan] * N),
        "object": objects([None] * N),
        "category": pd.Series([None] * N, dtype="category"),
        "string": pd.Series([None] * N, dtype="string"),
        "Int64": pd.Series([None] * N, dtype="Int64"),
        "datetime64[ns]": pd.Series([pd.NaT] * N, dtype="datetime64[ns]"),
    }
    if pa:
        found["arrow null"] = arrow([None] * N, pa.null())
    return found


# what a fit may be given, and what more may come to be predicted
STORAGES = {
    "flags": (_flags(), _flags_as_numbers()),
    "flags with gaps": (_flags_with_gaps(), _gapped_flags_as_numbers()),
    "0 and 1": (_flags_as_numbers(), _flags()),
    "counts": (_counts(), {"category": pd.Series(COUNTS, dtype="category")}),
    "prices with gaps": (_prices_with_gaps(), {}),
    "days": (_days(), {"category": pd.Series(pd.to_datetime(DAYS)).astype("category")}),
    "times with gaps": (_times_with_gaps(), {}),
    "spans": (_spans(), {}),
    "codes": (_codes(), _codes_as_numbers()),
    "towns": (_towns(), {}),
    "postcodes": (_postcodes(), _postcodes_as_numbers()),
    "nothing": (_nothing(), {"numbers": pd.Series(COUNTS), "text": pd.Series(TOWNS)}),
}
