"""Values as bytes and back, and their digests."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import math
import pathlib
import subprocess
import sys
import threading
import uuid
import zoneinfo
from typing import Any

import hypothesis.extra.numpy as hnp
import msgpack
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from weft.errors import CorruptResult, StoreError, UnsafePayload
from weft.values.codecs import codec_for, get_codec, register_codec
from weft.values.content import decode, digest, digest_bytes, encode


def uses_pickle(data: bytes) -> bool:
    """Whether only code can restore it."""
    try:
        decode(data, trust=False)
    except UnsafePayload:
        return True
    return False


class Color(enum.Enum):
    RED = 1
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: float
    y: Any = None
    norm: float = dataclasses.field(init=False, default=0.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    names: tuple[str, ...]
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", len(self.names))


@dataclasses.dataclass
class Link:
    to: Any


@dataclasses.dataclass
class Failure(Exception):
    reason: str


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is Plain and other.value == self.value


class MyInt(int):
    pass


Pair = collections.namedtuple("Pair", "a b")
STRUCT = np.dtype([("a", "<i4"), ("b", ">f8", (2,)), ("c", "U3")])
ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)


def same(a: Any, b: Any) -> bool:
    """Equal, of one type, all the way down; NaN equals itself, -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if a is np.ma.masked:
        return b is np.ma.masked
    if isinstance(a, np.ma.MaskedArray):
        return (
            same(a.data, b.data)
            and same(np.ma.getmaskarray(a), np.ma.getmaskarray(b))
            and same(a.fill_value, b.fill_value)
        )
    if isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype.kind in "OT":
            return all(same(x, y) for x, y in zip(a.ravel(), b.ravel()))
        if a.dtype.names:  # not the padding, which nobody sets
            return all(same(a[name], b[name]) for name in a.dtype.names)
        return a.tobytes() == b.tobytes()
    if isinstance(a, (np.str_, np.bytes_)):
        return len(a) == len(b) and a == b
    if isinstance(a, np.generic):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, (float, complex)):
        return repr(a) == repr(b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, dt.datetime):
        return a == b and a.fold == b.fold and a.tzinfo == b.tzinfo and type(a.tzinfo) is type(b.tzinfo)
    if isinstance(a, decimal.Decimal):
        return str(a) == str(b)
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return bool(a == b)


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NATIVE: dict[str, Any] = {
    "none": None,
    "true": True,
    "zero": 0,
    "int64": -(2**63),
    "uint64": 2**64 - 1,
    "big": 2**64,
    "bigger": -(10**50),
    "float": 0.1,
    "nan": math.nan,
    "inf": -math.inf,
    "minus zero": -0.0,
    "complex": complex(-0.0, math.nan),
    "str": "héllo\0",
    "surrogate": "\ud800x",
    "bytes": b"\0\xff",
    "bytearray": bytearray(b"ab"),
    "tuple": (1, (2.0, ()), [3]),
    "list": [1, [2, (3,)], {}],
    "set": {1, "a", (2,)},
    "frozenset": frozenset({1, None}),
    "dict": {"z": 1, 2: [bytearray(b"x")], (1, 2): {"a": None}, None: (), frozenset({1}): 2.0, True: 3},
    "tuple of bytearray": (bytearray(b"x"), 1),
    "range": range(3, 2**70, 7),
    "slice": slice(None, (1,), -1),
    "ellipsis": ...,
    "datetime": dt.datetime(2020, 1, 2, 3, 4, 5, 6),
    "class": dict,
    "user class": Point,
    "zoned": dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
    "offset": dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, microseconds=5), "here")),
    "utc": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    "date": dt.date(1, 1, 1),
    "time": dt.time(1, 2, 3, 4, fold=1),
    "timedelta": dt.timedelta(-1, 2, 3),
    "timezone": dt.timezone(dt.timedelta(hours=1)),
    "zone": BERLIN,
    "decimal": decimal.Decimal("-1.50E+400"),
    "decimal nan": decimal.Decimal("sNaN12"),
    "fraction": fractions.Fraction(1, 3**50),
    "uuid": uuid.UUID(int=2**100),
    "path": pathlib.Path("/a/../b c"),
    "pure path": pathlib.PureWindowsPath("c:\\x"),
    "enum": Color.GREEN,
    "int enum": Level.LOW,
    "flags": Rights.READ | Rights.WRITE,
    "no flag": Rights(0),
    "dataclass": Point(1.0, [Point(2.0)]),
    "frozen": Frozen(("a", "b")),
    "namedtuple": Pair(1, Pair(2, (3,))),
    "ext": msgpack.ExtType(5, b"x"),
    "float64": np.float64(np.nan),
    "int8": np.int8(-1),
    "bool_": np.bool_(True),
    "complex64": np.complex64(1 + 2j),
    "longdouble": np.longdouble("0.1"),
    "datetime64": np.datetime64("2020-01-01T00", "h"),
    "nat": np.timedelta64("NaT", "10ms"),
    "str_": np.str_("a\0"),
    "bytes_": np.bytes_(b""),
    "void": np.void(b"abc"),
    "record": np.array([(1, (2, 3), "abc")], STRUCT)[0],
    "dtype": np.dtype(">f4"),
    "struct dtype": STRUCT,
    "aligned dtype": ALIGNED,
    "array": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.eye(3)[:2]),
    "strided": np.arange(10)[::3],
    "big-endian": np.arange(3, dtype=">i2"),
    "0-d": np.array(5),
    "empty": np.zeros((0, 3)),
    "empty text": np.array([""]),
    "bools": np.array([True, False]),
    "text": np.array(["a", "bcd"]),
    "S": np.array([b"a", b"bcd"]),
    "dates": np.array(["2020", "NaT"], "M8[s]"),
    "struct": np.zeros(2, STRUCT),
    "aligned": np.zeros(2, ALIGNED),
    "objects": np.array([[1, "a"], [None, (2,)]], object),
    "half": np.ones(2, "f2"),
    "object 0-d": np.array({1: 2}, object),
    "lists": np.array([[1], [2, 3], None], object)[:2],
    "strings": np.array(["a", "much longer than the others"], np.dtypes.StringDType()),
    "strings with nan": np.array(["a", np.nan], np.dtypes.StringDType(na_object=np.nan)),
    "masked": np.ma.array([1.0, 2.0], mask=[True, False], fill_value=-1.0),
    "unmasked": np.ma.array([1, 2]),
    "masked struct": np.ma.zeros(2, STRUCT),
    "array in dict": {"a": [np.arange(3), (np.float32(1),)]},
}

PICKLED: dict[str, Any] = {
    "subclass": MyInt(3),
    "subclass in list": [1, MyInt(3)],
    "ordered": collections.OrderedDict(a=1),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "object": Plain({"a": (1,)}),
    "counter": collections.Counter("aab"),
    "masked constant": np.ma.masked,
    "exception": {"e": Plain(Plain(1))},
    "timestamp": msgpack.Timestamp(1, 2),
    "key that msgpack takes for its own": {msgpack.ExtType(5, b"x"): 1},
    "struct of objects": np.array([(1, [2])], [("a", "i4"), ("b", "O")]).tolist(),
    "function": math.sqrt,
    "matrix": Plain(1),
}


@pytest.mark.parametrize("value", NATIVE.values(), ids=NATIVE.keys())
def test_known_types_survive_without_pickle(value: Any) -> None:
    for wrapped in (value, [value], (value, {"k": value})):
        data = encode(wrapped)
        assert not uses_pickle(data)
        back = decode(memoryview(data), trust=False)
        assert same(wrapped, back)
        assert digest(back) == digest(wrapped)


@pytest.mark.parametrize("value", PICKLED.values(), ids=PICKLED.keys())
def test_other_types_survive_as_pickles(value: Any) -> None:
    assert same(value, decode(encode(value)))


@pytest.mark.parametrize(
    "value", [MyInt(1), [collections.OrderedDict()], {"a": (Plain(1),)}, Point(1.0, lambda: 1)]
)
def test_pickles_are_marked_and_refused_without_trust(value: Any) -> None:
    data = encode(value)
    assert uses_pickle(data)
    with pytest.raises(UnsafePayload, match="trust"):
        decode(data, trust=False)


def frames() -> dict[str, Any]:
    when = pd.date_range("2020-01-01", periods=3, freq="D", tz="Europe/Berlin", name="when")
    frame = pd.DataFrame(
        {
            "i": [1, 2, 3],
            "f": np.float32([1, np.nan, 3]),
            "s": ["a", None, "c"],
            "when": when,
            "cat": pd.Categorical(["x", "y", None], categories=["y", "x"], ordered=True),
            "o": pd.Series([1, "a", None], dtype=object),
            "naive": pd.to_datetime(["2020", None, "2021"]),
            "delta": pd.to_timedelta([1, 2, None], unit="s"),
            "Int": pd.array([1, None, 3], dtype="Int16"),
            "UInt": pd.array([1, 2, 3], dtype="UInt8"),
            "Float": pd.array([1.5, None, 3], dtype="Float32"),
            "bool": pd.array([True, None, False], dtype="boolean"),
            "python": pd.array(["a", pd.NA, "b"], dtype=pd.StringDtype("python")),
        },
    )
    multi = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", None])
    return {
        "frame": frame,
        "indexed": frame.set_index("when"),
        "multi": pd.DataFrame({"v": range(4)}, index=multi),
        "multi columns": pd.DataFrame(np.eye(4), columns=multi),
        "no columns": pd.DataFrame(index=[1, 2]),
        "no rows": frame.iloc[:0],
        "repeated": pd.DataFrame([[1, "a"]], columns=["x", "x"]),
        "series": frame["Int"],
        "named": pd.Series(["a"], index=[(1, 2)], name=("n", 1)),
        "object text": pd.Series(["a"], dtype=object),
        "index": pd.Index(["a", "b"], name="n"),
        "object index": pd.Index(["a", 1], dtype=object),
        "range": pd.RangeIndex(1, 9, 2, name="r"),
        "dates": when,
        "categories": pd.CategoricalIndex(["a", "b"]),
        "deltas": pd.to_timedelta([1, 2], unit="h"),
        "multi index": multi,
        "seconds": pd.Series(np.array(["2020"], "M8[s]")),
    }


def check_pandas(a: Any, b: Any) -> None:
    kind = next(name for name in ("Series", "DataFrame", "Index") if isinstance(a, getattr(pd, name)))
    exact = {"exact": True} if kind == "Index" else {"check_index_type": True, "check_freq": True}
    getattr(pd.testing, f"assert_{'frame' if kind == 'DataFrame' else kind.lower()}_equal")(a, b, **exact)


@pytest.mark.parametrize("name", frames())
def test_tables_survive_without_pickle(name: str) -> None:
    value = frames()[name]
    data = encode({"t": value})
    assert not uses_pickle(data)
    back = decode(data, trust=False)["t"]
    assert type(back) is type(value)
    check_pandas(value, back)
    assert digest(back) == digest(value)


def test_exotic_tables_survive_as_pickles() -> None:
    value = pd.Series(pd.period_range("2020", periods=2, freq="M"))
    check_pandas(value, decode(encode(value)))


@pytest.mark.parametrize(
    "value",
    [
        pd.NA,
        pd.NaT,
        pd.Timestamp("2020-10-25 01:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timestamp("2020").as_unit("ms"),
        pd.Timedelta(5),
    ],
    ids=str,
)
def test_scalars_of_pandas(value: Any) -> None:
    data = encode([value])
    back = decode(data, trust=False)[0]
    assert not uses_pickle(data)
    assert type(back) is type(value)
    assert repr(back) == repr(value)
    assert digest(back) == digest(value)


def arrays_of_xarray() -> dict[str, Any]:
    array = xr.DataArray(
        np.arange(6.0).reshape(2, 3),
        dims=("x", "t"),
        coords={
            "x": ["a", "b"],
            "t": np.array(["2020", "2021", "2022"], "M8[ns]"),
            "scalar": 5,
            "other": ("x", np.array([1, None], object), {"unit": "m"}),
        },
        name="v",
        attrs={"unit": "K", "nested": {"a": (1, 2)}},
    )
    return {
        "array": array,
        "plain": xr.DataArray([1, 2]),
        "0-d": xr.DataArray(3.0),
        "dataset": xr.Dataset({"v": array, "w": ("t", [1, 2, 3])}, attrs={"title": "t"}),
        "empty": xr.Dataset(),
    }


@pytest.mark.parametrize("name", arrays_of_xarray())
def test_labelled_arrays_survive_without_pickle(name: str) -> None:
    value = arrays_of_xarray()[name]
    data = encode(value)
    assert not uses_pickle(data)
    back = decode(data, trust=False)
    assert type(back) is type(value)
    xr.testing.assert_identical(value, back)
    assert {k: v.dtype for k, v in back.coords.items()} == {k: v.dtype for k, v in value.coords.items()}
    assert digest(back) == digest(value)


def test_an_index_that_xarray_would_not_make_itself_goes_by_pickle() -> None:
    stacked = xr.DataArray(np.eye(2), dims=("x", "y"), coords={"x": [1, 2], "y": [3, 4]}).stack(z=("x", "y"))
    xr.testing.assert_identical(stacked, decode(encode(stacked)))
    bare = xr.DataArray([1, 2], coords={"x": ("x", [3, 4])}, dims="x").drop_indexes("x")
    assert "x" not in decode(encode(bare)).xindexes


NESTINGS: list[Any] = [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, Link, lambda v: Pair(1, v)]


def nested(make: Any, depth: int) -> Any:
    value: Any = bytearray(b"end")
    for _ in range(depth):
        value = make(value)
    return value


@pytest.mark.parametrize("make", NESTINGS)
@pytest.mark.parametrize("depth", [24, 80, 150])
def test_deep_values(make: Any, depth: int) -> None:
    value = nested(make, depth)
    back = decode(encode(value), trust=depth > 24)
    assert digest(back) == digest(value)
    for _ in range(depth):
        assert type(back) is type(value)
        if isinstance(back, Link):
            back = back.to
        else:
            back = next(iter(back.values())) if isinstance(back, dict) else back[-1]
    assert back == bytearray(b"end")


@pytest.mark.parametrize("make", NESTINGS)
def test_values_too_deep_even_for_pickle_are_refused(make: Any) -> None:
    value = nested(make, 100_000)
    for act in (encode, digest):
        with pytest.raises(TypeError, match=r"cannot be stored: .*recursion"):
            act(value)


def test_a_value_that_contains_itself() -> None:
    value: list[Any] = [1]
    value.append(value)
    back = decode(encode(value))
    assert back[1] is back
    assert len(digest(value)) == 32


def test_arrays_come_back_writable() -> None:
    for value in (np.arange(3), np.ma.array([1, 2, 3]), {"a": np.arange(3)}["a"]):
        back = decode(encode(value))
        back[0] = 7
        assert back[0] == 7


def test_local_classes_are_pickled_with_their_definition() -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    class Own(enum.Enum):
        A = 1

    for value in (Local(1), Own.A, Local):
        assert uses_pickle(encode(value))
    assert decode(encode(Local(3))).x == 3
    assert decode(encode(Failure("x"))).reason == "x"


def test_what_hangs_on_a_dataclass_is_kept_but_is_no_content() -> None:
    value = Point(1.0)
    before = digest(value)
    value.extra = "more"  # type: ignore[attr-defined]
    assert decode(encode(value)).extra == "more"
    assert digest(value) == before


def test_without_trust_nothing_is_imported(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weft_test_shapes.py").write_text("import enum\nclass Shape(enum.Enum):\n    ROUND = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import weft_test_shapes  # type: ignore[import-not-found]

    data = encode(weft_test_shapes.Shape.ROUND)
    monkeypatch.delitem(sys.modules, "weft_test_shapes")
    with pytest.raises(UnsafePayload, match="import weft_test_shapes"):
        decode(data, trust=False)
    assert decode(data).name == "ROUND"
    monkeypatch.delitem(sys.modules, "weft_test_shapes")
    (tmp_path / "weft_test_shapes.py").unlink()
    with pytest.raises(StoreError, match=r"weft_test_shapes\.Shape"):
        decode(data)


def test_a_class_that_is_no_dataclass_is_never_built() -> None:
    inner = msgpack.ExtType(40, msgpack.packb(["subprocess", "Popen"]))
    crafted = msgpack.packb(msgpack.ExtType(41, msgpack.packb([inner, {"returncode": 1}])))
    with pytest.raises(StoreError, match="Popen"):
        decode(crafted, trust=False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, 2, 3, (i for i in ())]}, r"value\['a'\]\[3\] \(a generator\) cannot be stored: "),
        (threading.Lock(), r"value \(a lock\)"),
        (Point(1.0, (threading.Lock(),)), r"value\.y\[0\] \(a lock\)"),
        (Pair(1, {2: threading.Lock()}), r"value\.b\[2\] \(a lock\)"),
        ([Plain(threading.Lock())], r"value\[0\]\.value \(a lock\)"),
        (np.array([1, threading.Lock()], object), r"value\[1\] \(a lock\)"),
        ([memoryview(b"x")], r"value\[0\] \(a memoryview\)"),
        (memoryview(b"x"), r"value \(a memoryview\)"),
    ],
)
def test_what_cannot_be_stored_is_named_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        encode(value)
    with pytest.raises(TypeError, match=message):
        digest(value)


@pytest.mark.parametrize("data", [b"", b"\x92\x01", b"\x01\x02", b"\xc7"])
def test_damage_is_reported(data: bytes) -> None:
    with pytest.raises(CorruptResult):
        decode(data)


def test_bytes_that_would_overflow_the_stack_are_reported() -> None:
    data = msgpack.packb(None)
    for _ in range(10_000):
        data = msgpack.packb(msgpack.ExtType(13, data))
    with pytest.raises(CorruptResult, match="nested deeper"):
        decode(data, trust=False)


def test_an_unknown_kind_is_reported() -> None:
    with pytest.raises(StoreError, match="newer weft"):
        decode(msgpack.packb(msgpack.ExtType(120, b"\x90")))


# --- digests -------------------------------------------------------------------------------------

DIFFERENT: list[Any] = [
    1,
    1.0,
    True,
    1 + 0j,
    "1",
    b"1",
    bytearray(b"1"),
    np.int64(1),
    np.float64(1),
    np.int32(1),
    np.array(1),
    np.array([1]),
    np.array([[1]]),
    np.array([1], ">i8"),
    np.array([1], object),
    [1],
    (1,),
    {1},
    frozenset({1}),
    {1: None},
    None,
    0.0,
    -0.0,
    math.nan,
    "nan",
    np.float32("nan"),
    [[1], 2],
    [[1, 2]],
    [1, [2]],
    "",
    b"",
    [],
    (),
    {},
    set(),
    ["a", "b"],
    ["ab"],
    [["a"], "b"],
    Color.RED,
    Color.GREEN,
    Pair(1, 2),
    (1, 2),
    [1, 2],
    Point(1.0, 2),
    {"x": 1.0, "y": 2},
    range(1),
    range(2),
    2**70,
    -(2**70),
    2**64,
    [None],
    np.str_("1"),
    np.bytes_(b"1"),
    Level.LOW,
    MyInt(1),
    dict,
    Point,
]


def test_digests_tell_types_apart() -> None:
    digests = [digest(value) for value in DIFFERENT]
    assert len(set(digests)) == len(digests)
    assert all(len(text) == 32 and set(text) <= set("0123456789abcdef") for text in digests)


def test_equal_content_has_equal_digests() -> None:
    odd_nan = np.frombuffer(b"\x01\0\0\0\0\0\xf8\xff", "<f8")[0]
    assert np.isnan(odd_nan)
    assert digest(float(odd_nan)) == digest(math.nan)
    assert digest(odd_nan) == digest(np.float64("nan"))
    assert digest(np.array([odd_nan, 1])) == digest(np.array([np.nan, 1]))
    assert digest(np.array([complex(1, odd_nan)])) == digest(np.array([complex(1, np.nan)]))
    assert digest({"a": 1, "b": {2: 3, 4: 5}}) == digest({"b": {4: 5, 2: 3}, "a": 1})
    assert digest({(1, "a"), None, 2}) == digest({2, None, (1, "a")})
    assert digest(np.asfortranarray(np.eye(2))) == digest(np.eye(2))
    padded = np.frombuffer(bytes(range(32)), ALIGNED).copy()
    again = np.zeros(2, ALIGNED)
    for name in ("a", "b"):
        again[name] = padded[name]
    assert digest(padded) == digest(again)


def test_digests_do_not_depend_on_the_process() -> None:
    code = (
        "import numpy as np; from weft.values.content import digest; import pathlib; "
        "print(digest({'b': {'x', 'y', 'zz', None, (1, 'q')}, 'a': [{'k': frozenset('abcdef')}, "
        "np.arange(3.0), pathlib.PurePosixPath('a'), np.longdouble('0.1')]}))"
    )
    found = set()
    for seed in ("0", "1", "77"):
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "src"},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=pathlib.Path(__file__).parents[2],
        )
        found.add(ran.stdout)
    assert len(found) == 1


def test_digest_of_bytes_knows_where_parts_end() -> None:
    assert digest_bytes(b"ab", b"c") != digest_bytes(b"a", b"bc")
    assert len(digest_bytes()) == 32


def test_the_form_of_digests_is_fixed() -> None:
    """Run directories record them: a change makes every old run look different."""
    assert digest({"a": [1, 2.5, None, "x"], "b": (np.arange(3, dtype="<i4"), {1, 2})}) == (
        "1ef439dec1578af1a25a4ce44752e33e"
    )


# --- codecs --------------------------------------------------------------------------------------


class Matrix:
    def __init__(self, rows: str) -> None:
        self.rows = rows

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Matrix) and other.rows == self.rows


class Sub(Matrix):
    pass


class Texty(Matrix):
    pass


class Filed(Matrix):
    pass


class Risky(Matrix):
    pass


def _write(value: Matrix, path: str) -> None:
    pathlib.Path(path).write_bytes(value.rows.encode())


register_codec(
    "test-matrix", Matrix, ".m", lambda v, f: f.write(v.rows.encode()), lambda f: Matrix(f.read().decode())
)
register_codec(
    "test-text", [Texty], ".txt", lambda v, f: f.write(v.rows), lambda f: Texty(f.read()), binary=False
)
register_codec(
    "test-file", (Filed,), ".f", _write, lambda p: Filed(pathlib.Path(p).read_bytes().decode()), by_path=True
)
register_codec("test-risky", Risky, ".r", lambda v, f: f.write(b""), lambda f: Risky("r"), safe=False)


@pytest.mark.parametrize("kind", [Matrix, Texty, Filed])
def test_codecs_take_their_exact_types(kind: type) -> None:
    value = {"m": (kind("a\r\nb"),)}
    data = encode(value)
    back = decode(data, trust=False)
    assert back == value
    assert type(back["m"][0]) is kind
    assert not uses_pickle(data)
    assert digest(back) == digest(value) != digest({"m": (kind("c"),)})
    assert uses_pickle(encode(Sub("x")))


def test_a_codec_that_is_not_safe_counts_as_a_pickle() -> None:
    data = encode([Risky("r")])
    assert uses_pickle(data)
    assert decode(data) == [Risky("r")]
    with pytest.raises(UnsafePayload, match="test-risky"):
        decode(data, trust=False)


def test_an_unknown_codec_is_named() -> None:
    data = msgpack.packb(msgpack.ExtType(2, msgpack.packb(["gone", b""])))
    with pytest.raises(StoreError, match=r"'gone'.*test-matrix"):
        decode(data)


def test_codecs_are_registered_once() -> None:
    with pytest.raises(ValueError, match="test-matrix"):
        register_codec("test-matrix", (), ".x", _write, _write)
    with pytest.raises(ValueError, match="test-matrix"):
        register_codec("test-other", Matrix, ".x", _write, _write)
    with pytest.raises(ValueError, match="natively"):
        register_codec("test-other", dict, ".x", _write, _write)
    assert codec_for(Matrix) is get_codec("test-matrix")
    assert codec_for(Sub) is None


def test_code_that_registers_a_codec_may_be_executed_again() -> None:
    cell = """
class Cell:
    def __init__(self, number):
        self.number = number

register_codec("test-cell", Cell, ".t", lambda v, f: f.write(b"%d" % v.number), lambda f: Cell(int(f.read())))
"""
    first: dict[str, Any] = {"register_codec": register_codec, "__name__": "__main__"}
    exec(cell, first)
    second = {**first}
    exec(cell, second)
    assert codec_for(first["Cell"]) is None
    assert type(decode(encode(second["Cell"](3)))) is second["Cell"]
    with pytest.raises(ValueError, match="test-cell"):
        exec(cell, {**first, "__name__": "elsewhere"})
    assert codec_for(second["Cell"]) is get_codec("test-cell")


def test_a_failing_codec_is_named_with_its_place() -> None:
    broken = Matrix("x")
    broken.rows = 3  # type: ignore[assignment]
    with pytest.raises(
        TypeError, match=r"value\[1\] \(a Matrix\) cannot be stored: codec 'test-matrix' raised"
    ):
        encode([1, broken])
    with pytest.raises(TypeError, match=r"value\[1\]"):
        digest([1, broken])


def _fail(file: Any) -> Any:
    raise ValueError("cannot read it")


class Lost(Matrix):
    pass


register_codec("test-lost", Lost, ".l", lambda v, f: None, _fail)


def test_a_codec_that_cannot_read_is_named() -> None:
    with pytest.raises(StoreError, match="'test-lost' raised ValueError: cannot read it"):
        decode(encode(Lost("x")))


# --- properties ----------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.binary()
    | st.datetimes()
    | st.text(st.characters(codec=None))
    | st.binary().map(bytearray)
    | st.decimals()
    | st.fractions()
    | st.sampled_from(Color)
    | st.timedeltas()
    | st.uuids()
)
HASHABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    SCALARS | hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_side=3)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(HASHABLE, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.builds(Point, st.floats(), inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_nesting_survives(value: Any) -> None:
    data = encode(value)
    back = decode(data, trust=False)
    assert same(value, back)
    assert digest(back) == digest(value)
    assert not uses_pickle(data)
