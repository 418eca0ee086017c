"""Columns against plain lists."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from weft.errors import CorruptResult, InvalidInput, ShapeError, UnsafePayload
from weft.values.columns import (
    Column,
    ObjectColumn,
    RangeColumn,
    SequenceColumn,
    TextColumn,
    TypedColumn,
    Unstorable,
    concat,
    from_input,
    from_parts,
    nested,
    pack,
)
from weft.values.content import digest, encode

STRUCT = np.dtype([("a", "<i4"), ("b", ">f8", (2,)), ("c", "U3")])
NAN_WITH_PAYLOAD = np.frombuffer(b"\x01\0\0\0\0\0\xf8\xff", "<f8")


def same(a: Any, b: Any) -> bool:
    """One type and one content: arrays by dtype, shape and values."""
    if type(a) is type(b) is np.longdouble:  # its encoding has padding that nobody sets
        return digest(a) == digest(b)
    return type(a) is type(b) and encode(a) == encode(b)


def all_same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(map(same, a, b))


def stored(column: Column) -> Column:
    meta, buffers = column.parts()
    return from_parts(json.loads(json.dumps(meta)), [memoryview(bytes(buffer)) for buffer in buffers])


class Rows:
    """A lazily read input that counts what is asked of it."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> float:
        assert type(i) is int
        self.asked.append(i)
        return i / 2


KINDS: dict[str, tuple[list[Any], type[Column], Any]] = {
    "bool": ([True, False, True], TypedColumn, np.dtype(bool)),
    "int": ([1, -(2**63), 2**63 - 1], TypedColumn, np.dtype("i8")),
    "float": ([1.0, math.nan, -0.0, math.inf], TypedColumn, np.dtype("f8")),
    "odd nan": (NAN_WITH_PAYLOAD.tolist(), TypedColumn, np.dtype("f8")),
    "complex": ([1j, complex(math.nan, -0.0)], TypedColumn, np.dtype("c16")),
    "none": ([None, None], TypedColumn, np.dtype(object)),
    "np float": ([np.float64(1), np.float64("nan")], TypedColumn, np.dtype("f8")),
    "np int8": ([np.int8(1), np.int8(-1)], TypedColumn, np.dtype("i1")),
    "np bool": ([np.bool_(True), np.bool_(False)], TypedColumn, np.dtype(bool)),
    "longdouble": ([np.longdouble("0.1"), np.longdouble("nan")], TypedColumn, np.dtype(np.longdouble)),
    "datetime64": ([np.datetime64("2020", "D"), np.datetime64("NaT", "D")], TypedColumn, np.dtype("M8[D]")),
    "two units": ([np.datetime64("2020", "D"), np.datetime64("2020", "s")], ObjectColumn, np.dtype(object)),
    "void": ([np.void(b"abc"), np.void(b"ab\0")], TypedColumn, np.dtype("V3")),
    "struct": (list(np.array([(1, (2, 3), "a"), (4, (5, math.nan), "abc")], STRUCT)), TypedColumn, STRUCT),
    "np str": ([np.str_("a\0"), np.str_("bcd")], ObjectColumn, np.dtype(object)),
    "np bytes": ([np.bytes_(b"a\0"), np.bytes_(b"")], ObjectColumn, np.dtype(object)),
    "arrays": ([np.arange(3), np.array([5, 6, 7])], TypedColumn, np.dtype("i8")),
    "fortran": ([np.asfortranarray(np.eye(3)), np.eye(3)], TypedColumn, np.dtype("f8")),
    "big-endian": ([np.arange(3, dtype=">i4"), np.zeros(3, ">i4")], TypedColumn, np.dtype(">i4")),
    "0-d": ([np.array(1.5), np.array(2.5)], TypedColumn, np.dtype("f8")),
    "no values": ([np.zeros((0, 2)), np.zeros((0, 2))], TypedColumn, np.dtype("f8")),
    "nan arrays": ([np.array([math.nan]), NAN_WITH_PAYLOAD.copy()], TypedColumn, np.dtype("f8")),
    "text arrays": ([np.array(["a", "b"]), np.array(["c", "d"])], TypedColumn, np.dtype("<U1")),
    "struct arrays": ([np.zeros(2, STRUCT), np.ones(2, STRUCT)], TypedColumn, STRUCT),
    "ragged": ([np.arange(3), np.arange(2)], ObjectColumn, np.dtype(object)),
    "two dtypes": ([np.arange(3), np.arange(3.0)], ObjectColumn, np.dtype(object)),
    "object arrays": ([np.array([1, None]), np.array([(), 2], object)], ObjectColumn, np.dtype(object)),
    "masked": ([np.ma.array([1, 2], mask=[0, 1]), np.ma.array([3, 4])], ObjectColumn, np.dtype(object)),
    "str": (["a", "", "héllo"], TextColumn, np.dtype("<U5")),
    "str with NUL": (["a", "b\0"], TextColumn, np.dtype(object)),
    "surrogates": (["\ud83d", "\ude00"], TextColumn, np.dtype("<U1")),
    "bytes": ([b"a", b"", b"\0\xff"], TextColumn, np.dtype(object)),
    "big ints": ([1, 2**63], ObjectColumn, np.dtype(object)),
    "int and float": ([1, 1.0, True], ObjectColumn, np.dtype(object)),
    "lists": ([[1, 2], [3, 4]], ObjectColumn, np.dtype(object)),
    "tuples": ([(1,), (), (None,)], ObjectColumn, np.dtype(object)),
    "mixed": ([1, "a", None, np.arange(2), {"k": {1}}], ObjectColumn, np.dtype(object)),
    "bytearrays": ([bytearray(b"a")], ObjectColumn, np.dtype(object)),
}


@pytest.fixture(params=KINDS, ids=str)
def case(request: pytest.FixtureRequest) -> tuple[list[Any], type[Column], Any]:
    return KINDS[request.param]


def test_values_come_back(case: tuple[list[Any], type[Column], Any]) -> None:
    values, kind, dtype = case
    column = pack(values)
    assert type(column) is kind
    assert len(column) == len(values)
    for one in (column, stored(column), pack(tuple(values)), pack(values, live=True)):
        assert all_same(one.tolist(), values)
        assert one.to_array().dtype == dtype
        assert len(one.to_array()) == len(values)
    assert all_same([column[i] for i in range(len(values))], values)
    assert same(column[-1], values[-1])
    assert column.nbytes == sum(memoryview(buffer).nbytes for buffer in column.parts()[1])


def test_slices_and_takes(case: tuple[list[Any], type[Column], Any]) -> None:
    values, _, _ = case
    n = len(values)
    for column in (pack(values), stored(pack(values))):
        for where in (slice(1, None), slice(0, 0), slice(-1, None), slice(None, None, -1), slice(5, 1)):
            assert all_same(column[where].tolist(), values[where])
        for positions in ([], [0], [n - 1, 0, 0], [-1]):
            taken = column.take(np.array(positions, int))
            assert all_same(taken.tolist(), [values[i] for i in positions])
            assert all_same(stored(taken).tolist(), taken.tolist())
        assert all_same(stored(column[1:][:1]).tolist(), values[1:][:1])


def test_digests(case: tuple[list[Any], type[Column], Any]) -> None:
    values, _, _ = case
    column = pack([*values, *values])
    digests = column.element_digests()
    assert digests.shape == (len(column), 16)
    assert digests.dtype == np.uint8
    found = [bytes(row).hex() for row in digests]
    assert found == [digest(value) for value in column.tolist()]


def test_array_values_are_copies_of_one_s_own(case: tuple[list[Any], type[Column], Any]) -> None:
    values, _, _ = case
    column = pack(values)
    for value in column.tolist():
        if isinstance(value, (np.ndarray, np.void)) and value.dtype.kind in "if" and value.size:
            value.flat[0] = 77
        if isinstance(value, np.void) and value.dtype.names:
            value["a"] = 77
    assert all_same(column.tolist(), values)


def test_what_was_packed_is_a_copy() -> None:
    array = np.arange(3)
    column = pack([array, array])
    array[0] = 9
    assert column[0][0] == 0
    assert not column.to_array().flags.writeable


@pytest.mark.parametrize(
    "other", ["int", "none", "np float", "arrays", "text arrays", "str", "bytes", "mixed"]
)
def test_concat(case: tuple[list[Any], type[Column], Any], other: str) -> None:
    values, more = case[0], KINDS[other][0]
    joined = concat([pack(values), pack([]), pack(more), pack(values)[:1]])
    expected = values + more + values[:1]
    assert all_same(joined.tolist(), expected)
    assert all_same(stored(joined).tolist(), expected)
    assert [bytes(row).hex() for row in joined.element_digests()] == [digest(value) for value in expected]


def test_concat_keeps_native_storage() -> None:
    assert isinstance(concat([pack([1.0]), pack([2.0])]), TypedColumn)
    assert isinstance(concat([RangeColumn(0, 1, 3), pack([2])]), TypedColumn)
    assert isinstance(concat([pack(["a"]), pack(["b"])]), TextColumn)
    wide = concat([from_input(np.array(["a"])), from_input(np.array(["bcd"]))])
    assert isinstance(wide, TypedColumn)
    assert all_same(wide.tolist(), [np.str_("a"), np.str_("bcd")])
    big = concat([from_input(np.arange(2, dtype=">i2")), from_input(np.arange(2, dtype=">i2"))])
    assert big.to_array().dtype == np.dtype(">i2")
    structs = concat([from_input(np.zeros(2, STRUCT)), from_input(np.ones(1, STRUCT))])
    assert structs.to_array().dtype == STRUCT


def test_empty_columns_have_no_kind() -> None:
    for empty in (
        pack([]),
        concat([]),
        pack(["a"])[:0],
        pack([np.arange(3)])[1:],
        from_input(np.zeros((0, 3))),
        from_input(range(0)),
        from_input([]),
    ):
        assert len(empty) == 0
        assert empty.tolist() == []
        assert empty.to_array().shape == (0,)
        assert empty.to_array().dtype == np.float64
        assert stored(empty).tolist() == []
        assert empty.element_digests().shape == (0, 16)
        assert concat([empty, pack(["x"])]).tolist() == ["x"]


def test_a_part_of_one_type_looks_like_one() -> None:
    column = pack([1, 2, "a", 2**70])
    assert column[:2].to_array().dtype == np.int64
    assert column.to_array().tolist() == [1, 2, "a", 2**70]


def test_one_long_text_does_not_blow_up_the_array() -> None:
    column = pack(["x"] * 50_000 + ["y" * 100_000])
    assert column.to_array().dtype == object


# --- what cannot be stored -----------------------------------------------------------------------


def test_unstorable_values_are_named_or_kept() -> None:
    lock = threading.Lock()
    with pytest.raises(Unstorable, match=r"position 2.*lock") as caught:
        pack([1, None, lock])
    assert caught.value.position == 2
    assert isinstance(caught.value, TypeError)
    column = pack([1, None, lock, [lock]], live=True)
    assert column.tolist()[2] is lock
    assert column[1:][1] is lock
    assert column.take(np.array([2, 0])).tolist() == [lock, 1]
    assert concat([column, pack([1.0]), column]).tolist() == [
        1,
        None,
        lock,
        [lock],
        1.0,
        1,
        None,
        lock,
        [lock],
    ]
    assert column.to_array()[2] is lock
    with pytest.raises(TypeError, match="lock"):
        column.parts()
    with pytest.raises(TypeError, match="lock"):
        column.element_digests()
    assert stored(column[:2]).tolist() == [1, None]


class Odd:
    pass


def test_trust_reaches_the_values() -> None:
    column = pack([Odd(), 1])
    assert isinstance(column, ObjectColumn)
    meta, buffers = column.parts()
    shut = from_parts(meta, [memoryview(buffer) for buffer in buffers], trust=False)
    assert shut[1] == 1
    for part in (shut, shut[:1], shut.take(np.array([0])), concat([pack([1.0]), shut])):
        with pytest.raises(UnsafePayload):
            part.tolist()


@pytest.mark.parametrize("change", [{"shape": [5]}, {"column": "odd"}, {"dtype": "<q9"}, {"shape": None}])
def test_damaged_facts_are_reported(change: dict[str, Any]) -> None:
    meta, buffers = pack([1.0, 2.0]).parts()
    with pytest.raises(CorruptResult):
        from_parts(meta | change, [memoryview(buffer) for buffer in buffers])


# --- mapped inputs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [range(5), range(10, 0, -3), range(2**62, 2**65, 2**62), range(7, 8), range(-(2**63), 2**63, 2**63)],
)
def test_ranges_are_not_materialised(values: range) -> None:
    column = from_input(values)
    assert isinstance(column, RangeColumn)
    assert column.nbytes == 0
    for one in (column, stored(column)):
        assert all_same(one.tolist(), list(values))
        assert all_same(one[1:].tolist(), list(values)[1:])
        assert all_same(one.take(np.array([-1, 0])).tolist(), [values[-1], values[0]])
        assert one.to_array().tolist() == list(values)
    assert isinstance(column[1:], RangeColumn)
    assert column.element_digests().tolist() == pack(list(values)).element_digests().tolist()


def test_a_huge_range_is_cheap() -> None:
    column = from_input(range(10**15))
    assert column[10**14 : 10**14 + 2].tolist() == [10**14, 10**14 + 1]
    assert column.take(np.array([10**14])).tolist() == [10**14]
    assert column.signature == pack([1]).signature


def test_sequences_are_read_when_needed() -> None:
    rows = Rows(100)
    column = from_input(rows)
    assert isinstance(column, SequenceColumn)
    part = column[10:20].take(np.array([3, -1]))
    assert not rows.asked
    assert part.tolist() == [6.5, 9.5]
    assert rows.asked == [13, 19]
    assert part.to_array().tolist() == [6.5, 9.5]
    assert stored(part).tolist() == [6.5, 9.5]
    assert part.element_digests().tolist() == pack([6.5, 9.5]).element_digests().tolist()
    assert concat([part, pack([1])]).tolist() == [6.5, 9.5, 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2.0], [1, 2.0]),
        ((1, 2), [1, 2]),
        (np.array([1, 2]), [np.int64(1), np.int64(2)]),
        (np.array(["a", "bc"]), [np.str_("a"), np.str_("bc")]),
        (np.eye(2), [np.array([1.0, 0.0]), np.array([0.0, 1.0])]),
        (np.eye(4)[::2, ::2], [np.array([1.0, 0.0]), np.array([0.0, 1.0])]),
        (np.array([1, "a", None], object), [1, "a", None]),
        (np.array([[1, "a"]], object), [np.array([1, "a"], object)]),
        (np.array(["a", "b"], np.dtypes.StringDType()), ["a", "b"]),
        (np.array([""]), [np.str_("")]),
        (np.zeros(1, STRUCT), [np.zeros(1, STRUCT)[0]]),
        (np.ma.array([[1, 2]], mask=[[True, False]]), [np.ma.array([1, 2], mask=[True, False])]),
        (pd.Series([1, 2], index=[5, 1]), [np.int64(1), np.int64(2)]),
        (pd.Series(["a", "b"]), ["a", "b"]),
        (pd.Series([1, "a"], dtype=object), [1, "a"]),
        (pd.Series(pd.to_datetime(["2020"], utc=True)), [pd.Timestamp("2020", tz="UTC")]),
        (pd.Index([1.5]), [np.float64(1.5)]),
        (xr.DataArray([[1.0, 2.0]], dims=("a", "b")), [np.array([1.0, 2.0])]),
    ],
)
def test_inputs_go_by_position(value: Any, expected: list[Any]) -> None:
    column = from_input(value)
    assert all_same(column.tolist(), expected)
    assert [bytes(row).hex() for row in column.element_digests()] == [digest(item) for item in expected]
    assert all_same(stored(column).tolist(), expected)


def test_memory_maps_are_arrays(tmp_path: Any) -> None:
    np.save(tmp_path / "a.npy", np.eye(2))
    column = from_input(np.load(tmp_path / "a.npy", mmap_mode="r"))
    assert all_same(column.tolist(), [np.array([1.0, 0.0]), np.array([0.0, 1.0])])


@pytest.mark.parametrize(
    "value",
    [
        "text",
        b"b",
        bytearray(b"b"),
        {"a": 1},
        {1},
        frozenset(),
        1,
        None,
        np.array(1),
        np.float64(1),
        pd.DataFrame({"a": [1]}),
        iter([1]),
    ],
)
def test_what_has_no_order_is_refused(value: Any) -> None:
    for depth in (1, 2):
        with pytest.raises(InvalidInput, match="cannot be mapped over"):
            nested(value, depth)


@pytest.mark.parametrize(
    ("value", "depth", "shape", "expected"),
    [
        ([[1, 2, 3], [4, 5, 6]], 2, (2, 3), [1, 2, 3, 4, 5, 6]),
        ([[1, 2], (3, 4)], 1, (2,), [[1, 2], (3, 4)]),
        ([[[1], [2, 3]], [[], [4]]], 2, (2, 2), [[1], [2, 3], [], [4]]),
        ([[[1, 2]], [[3, 4]]], 3, (2, 1, 2), [1, 2, 3, 4]),
        (np.arange(4).reshape(2, 2), 2, (2, 2), [np.int64(i) for i in range(4)]),
        (np.arange(4).reshape(2, 1, 2), 2, (2, 1), [np.array([0, 1]), np.array([2, 3])]),
        ([np.array([1, 2]), np.array([3, 4])], 2, (2, 2), [np.int64(i) for i in range(1, 5)]),
        (
            [np.eye(2), [np.zeros(2), np.ones(2)]],
            2,
            (2, 2),
            [np.array([1.0, 0]), np.array([0, 1.0]), np.zeros(2), np.ones(2)],
        ),
        ([range(2), [5, 6]], 2, (2, 2), [0, 1, 5, 6]),
        ([], 2, (0, 0), []),
        ([[], []], 2, (2, 0), []),
        ([[], []], 3, (2, 0, 0), []),
        (np.zeros((0, 3)), 2, (0, 3), []),
        (np.array([[1, "a"]], object), 2, (1, 2), [1, "a"]),
        (xr.DataArray([[1, 2]]), 2, (1, 2), [np.int64(1), np.int64(2)]),
        (["ab", "cd"], 1, (2,), ["ab", "cd"]),
    ],
)
def test_nested_inputs(value: Any, depth: int, shape: tuple[int, ...], expected: list[Any]) -> None:
    column, found = nested(value, depth)
    assert found == shape
    assert all_same(column.tolist(), expected)


@pytest.mark.parametrize(
    ("value", "depth", "message"),
    [
        ([[1, 2], [3]], 2, r"value\[1\] has length 1, value\[0\] has length 2"),
        ([[[1], [2]], [[3], [4, 5]]], 3, r"value\[1\]\[1\] has length 2, value\[0\]\[0\] has length 1"),
        ([np.zeros(2), np.zeros(3)], 2, r"value\[1\] has length 3, value\[0\] has length 2"),
        (
            [np.zeros((2, 1)), np.zeros((2, 3))],
            3,
            r"value\[1\]\[0\] has length 3, value\[0\]\[0\] has length 1",
        ),
    ],
)
def test_ragged_inputs_are_refused_with_the_place(value: Any, depth: int, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        nested(value, depth)


@pytest.mark.parametrize(
    ("value", "depth", "message"),
    [
        ([1, 2], 2, r"value\[0\]: an int cannot be mapped over"),
        ([[1], "ab"], 2, r"value\[1\]: a str cannot be mapped over"),
        (np.zeros(2), 2, "array of 1 dimension"),
        (range(3), 2, "range of 1 dimension"),
        (Rows(3), 2, "Rows of 1 dimension"),
        (pd.Series([1]), 2, "array of 1 dimension"),
    ],
)
def test_too_few_dimensions_are_refused(value: Any, depth: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        nested(value, depth)


# --- properties ----------------------------------------------------------------------------------

FAMILIES = [
    st.booleans(),
    st.integers(),
    st.integers(-5, 5),
    st.floats(),
    st.complex_numbers(),
    st.none(),
    st.binary(),
    st.text(st.characters(codec=None)),
    st.floats().map(np.float64),
    st.integers(-9, 9).map(np.int16),
    st.lists(st.floats(), min_size=2, max_size=2).map(np.array),
    st.lists(st.integers(0, 3), max_size=2),
]
LISTS = st.one_of([st.lists(family, max_size=6) for family in FAMILIES]) | st.lists(
    st.one_of(FAMILIES), max_size=6
)


@given(st.lists(LISTS, max_size=4), st.data())
def test_columns_behave_like_lists(lists: list[list[Any]], data: st.DataObject) -> None:
    values = [value for part in lists for value in part]
    column = concat([pack(part) for part in lists])
    assert all_same(column.tolist(), values)
    where = data.draw(st.slices(len(values)))
    assert all_same(column[where].tolist(), values[where])
    positions = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=8)) if values else []
    taken = column.take(np.array(positions, np.intp))
    assert all_same(taken.tolist(), [values[i] for i in positions])
    assert all_same(stored(taken[1:]).tolist(), [values[i] for i in positions][1:])
    assert [bytes(row).hex() for row in column.element_digests()] == [digest(value) for value in values]
    assert concat([column[:2], column[2:]]).element_digests().tolist() == column.element_digests().tolist()
