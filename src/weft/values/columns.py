"""Columns: the values of a run of elements, stored natively where all have one type and come back the same.

A `Column` is an immutable sequence of n values. `pack` makes one of results, `from_input` and `nested` of
mapped inputs, `from_parts` of what a file holds; `concat` joins them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from itertools import chain
from typing import Any

import numpy as np

from weft.errors import CorruptResult, InvalidInput, ShapeError, kind_of
from weft.values.columns_kinds import (
    Array,
    Column,
    DeferredColumn,
    TextColumn,
    TypedColumn,
    Unstorable,
    join,
    objects,
)
from weft.values.content_arrays import from_raw, read_dtype
from weft.values.content_rules import NoRule
from weft.values.packing import ObjectColumn, RangeColumn, SequenceColumn, kept, native, pack
from weft.values.ragged import RowsColumn

__all__ = [
    "Column", "DeferredColumn", "ObjectColumn", "RangeColumn", "RowsColumn", "SequenceColumn", "TextColumn",
    "TypedColumn", "Unstorable", "arranged", "concat", "from_input", "from_parts", "nested", "objects",
    "pack", "rows",
]  # fmt: skip


def from_parts(meta: dict[str, Any], buffers: Sequence[memoryview | bytes], *, trust: bool = True) -> Column:
    """The column of which ``column.parts()`` was ``(meta, buffers)``, over the same memory."""
    try:
        kind = meta["column"]
        if kind == "typed":
            return TypedColumn(
                from_raw(buffers[0], read_dtype(meta["dtype"]), tuple(meta["shape"])), meta["kind"]
            )
        if kind == "range":
            return RangeColumn(int(meta["start"]), int(meta["step"]), meta["n"])
        offsets = from_raw(buffers[0], np.dtype(np.int64), (meta["n"] + 1,))
        if kind == "rows":
            return RowsColumn(from_parts(meta["cells"], buffers[1:], trust=trust), offsets)
        if kind == "text":
            return TextColumn(buffers[1], offsets, meta["text"])
        if kind == "object":
            return ObjectColumn(buffers[1], offsets, trust=trust)
    except (KeyError, IndexError, TypeError, ValueError, NoRule) as error:
        raise CorruptResult(f"this is not a stored column ({type(error).__name__}: {error})") from error
    raise CorruptResult(f"a column of the unknown kind {kind!r}: damaged, or written by a newer weft")


def concat(columns: Sequence[Column]) -> Column:
    """One column after the other; where their kinds differ each value still keeps its own type."""
    columns = [column for column in columns if len(column)]
    if not columns:
        return pack([])
    if len(columns) == 1:
        return columns[0]
    columns = [column.whole() if isinstance(column, DeferredColumn) else column for column in columns]
    first = columns[0]
    if isinstance(first, RowsColumn):
        rows = [column for column in columns if isinstance(column, RowsColumn)]
        lengths = np.concatenate([column.lengths for column in rows])
        return RowsColumn(concat([column.cells for column in rows]), np.cumsum([0, *lengths.tolist()]))
    alike = all(column.signature == first.signature for column in columns)
    if alike and isinstance(first, TypedColumn):
        arrays = [column.data for column in columns if isinstance(column, TypedColumn)]
        dtype = max((array.dtype for array in arrays), key=lambda dtype: dtype.itemsize)
        return TypedColumn(np.concatenate(arrays, dtype=dtype), first.kind)
    if alike and isinstance(first, TextColumn):
        texts = [column for column in columns if isinstance(column, TextColumn)]
        return TextColumn(*join([piece for text in texts for piece in text.pieces()]), text=first.text)
    try:
        parts = [c if isinstance(c, ObjectColumn) else ObjectColumn.encode(c.tolist()) for c in columns]
    except Unstorable:
        return kept(value for column in columns for value in column.tolist())
    pieces = [piece for part in parts for piece in part.pieces()]
    return ObjectColumn(*join(pieces), trust=all(part.trust for part in parts))


def rows(cells: Sequence[Column]) -> RowsColumn:
    """The column of rows, given the cells of each."""
    return RowsColumn(concat(cells), np.cumsum([0, *(len(row) for row in cells)]))


def arranged(pieces: Sequence[Column], order: Sequence[Array]) -> Column:
    """Pieces put together so that value k of piece p stands at ``order[p][k]``."""
    joined = pieces[0] if len(pieces) == 1 else concat(pieces)
    places = np.concatenate(order) if order else np.empty(0, np.intp)
    if (np.diff(places) == 1).all():
        return joined
    return joined.take(np.argsort(places, kind="stable"))


def _is_table(value: Any, module: str, *names: str) -> bool:
    """Whether it is of one of these classes, without importing the module."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, tuple(getattr(loaded, name) for name in names))


def _as_array(value: Any) -> Any:
    """The NumPy array of a labelled one: a mapped input goes by position."""
    if _is_table(value, "pandas", "Series", "Index"):
        return value.to_numpy()
    if _is_table(value, "xarray", "DataArray"):
        return np.asarray(value.values)
    # Rows of a memory-mapped file are read when they are needed, and are plain arrays.
    return np.asarray(value) if type(value) is np.memmap else value


def from_input(value: Any) -> Column:
    """The values of a mapped input along its first dimension.

    Raises
    ------
    InvalidInput
        If it has no order or no length: text, dicts, sets, scalars, tables with several columns.
    """
    value = _as_array(value)
    if type(value) in (list, tuple):
        return pack(value, live=True)
    if type(value) is range:
        return RangeColumn(value.start, value.step, len(value))
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            raise InvalidInput("an array without dimensions cannot be mapped over; give it at least one")
        if value.dtype == object and value.ndim == 1:
            return pack(value.tolist(), live=True)
        if type(value) is np.ndarray and native(value.dtype):
            return TypedColumn(value, "scalar" if value.ndim == 1 else "array")
        return pack([value[i] for i in range(len(value))], live=True)
    refused = isinstance(value, (str, bytes, bytearray, memoryview, Mapping, Set))
    table = _is_table(value, "pandas", "DataFrame")
    if refused or table or not (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
        raise InvalidInput(
            f"{kind_of(value)} cannot be mapped over; give a list, a tuple, a range, an "
            "array, or anything else with __len__ and __getitem__ by position"
        )
    return SequenceColumn(value)


def nested(value: Any, depth: int) -> tuple[Column, tuple[int, ...]]:
    """The elements of a mapped input with `depth` indices, in C order, and their shape.

    Nested lists are descended exactly so deep; what lies deeper stays one value. Arrays give subarrays.

    Raises
    ------
    ShapeError
        If nested lists have different lengths; the message says where.
    InvalidInput
        If it has fewer dimensions.
    """
    value = _as_array(value)
    if depth == 1:
        column = from_input(value)
        return column, (len(column),)
    if isinstance(value, np.ndarray) and value.ndim >= depth:
        shape = value.shape[:depth]
        return from_input(value.reshape(int(np.prod(shape)), *value.shape[depth:])), shape
    if type(value) not in (list, tuple):
        from_input(value)  # what can never be mapped over says so itself
        has = f"an array of {value.ndim}" if isinstance(value, np.ndarray) else f"{kind_of(value)} of 1"
        raise InvalidInput(
            f"{has} dimension(s) cannot be mapped over with {depth} indices; give nested lists or an array"
        )
    return _descend(value, depth)


def _descend(value: Sequence[Any], depth: int) -> tuple[Column, tuple[int, ...]]:
    flat = value
    shape: tuple[int, ...] = (len(value),)
    for _ in range(1, depth):
        rows = [_listed(item, i, shape) for i, item in enumerate(flat)]
        length = len(rows[0]) if rows else 0
        for position, row in enumerate(rows):
            if len(row) != length:
                here, first = _place(position, shape), _place(0, shape)
                raise ShapeError(
                    f"{here} has length {len(row)}, {first} has length {length}; "
                    "nested lists of a mapped input must have equal lengths"
                )
        flat, shape = list(chain.from_iterable(rows)), (*shape, length)
    return pack(flat, live=True), shape


def _place(position: int, shape: tuple[int, ...]) -> str:
    return "value" + "".join(f"[{i}]" for i in np.unravel_index(position, shape))


def _listed(item: Any, position: int, shape: tuple[int, ...]) -> Sequence[Any]:
    if type(item) in (list, tuple):
        found: Sequence[Any] = item
        return found
    try:
        return from_input(item).tolist()
    except InvalidInput as error:
        raise InvalidInput(f"{_place(position, shape)}: {error}") from None
