"""From a list of values to the column that holds them best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import GeneratorType
from typing import Any

import numpy as np

from weft.values import content
from weft.values.codecs import Codec
from weft.values.columns_kinds import (
    Array,
    Blob,
    BlobColumn,
    Buffers,
    Column,
    DeferredColumn,
    TextColumn,
    TypedColumn,
    Unstorable,
    join,
    objects,
)
from weft.values.content_arrays import dtype_spec
from weft.values.content_rules import NoRule

_PYTHON: dict[type, tuple[str, Any]] = {
    bool: ("bool", np.bool_), int: ("int", np.int64), float: ("float", np.float64),
    complex: ("complex", np.complex128),
}  # fmt: skip


class ObjectColumn(BlobColumn):
    """Values of any types, each encoded by `content.encode`.

    Parameters
    ----------
    blob, offsets
        Their bytes.
    trust
        As in `content.decode`.
    """

    def __init__(self, blob: Blob, offsets: Array, trust: bool = True) -> None:
        super().__init__(blob, offsets)
        self.trust = trust

    def _same(self, blob: Blob, offsets: Array) -> Column:
        return ObjectColumn(blob, offsets, self.trust)

    @classmethod
    def encode(cls, values: Iterable[Any], codec: Codec | None = None) -> ObjectColumn:
        """Encode each value, by `codec` if one is given; `Unstorable` at the first that cannot be."""
        pieces: list[bytes] = []
        for position, value in enumerate(values):
            try:
                pieces.append(content.encode(value, codec))
            except TypeError as error:
                raise Unstorable(position, str(error)) from error
        return cls(*join(pieces))

    def tolist(self) -> list[Any]:
        return [content.decode(piece, trust=self.trust) for piece in self.pieces()]

    def _array(self) -> Array:
        return _shown(self.tolist())

    def parts(self) -> tuple[dict[str, Any], Buffers]:
        return {"column": "object", "n": len(self)}, self._buffers()


class SequenceColumn(Column):
    """An object with ``__len__`` and ``__getitem__``, asked for single values when they are needed.

    It is what a user gave to be read lazily, or values of which some cannot be stored.
    """

    def __init__(self, source: Any, positions: range | Array | None = None) -> None:
        self.source = source
        self.positions = range(len(source)) if positions is None else positions

    def __len__(self) -> int:
        return len(self.positions)

    def _slice(self, start: int, stop: int) -> Column:
        return SequenceColumn(self.source, self.positions[start:stop])

    def _take(self, positions: Array) -> Column:
        return SequenceColumn(self.source, np.asarray(self.positions, np.intp)[positions])

    def tolist(self) -> list[Any]:
        return [self.source[int(i)] for i in self.positions]

    def _array(self) -> Array:
        return _shown(self.tolist())

    def parts(self) -> tuple[dict[str, Any], Buffers]:
        return pack(self.tolist()).parts()


def _shown(values: list[Any]) -> Array:
    # Values of one type, in a slice of a mixed column, look like such.
    column = _pack_alike(values)
    return objects(values) if column is None else column.to_array()


class RangeColumn(DeferredColumn):
    """Python integers in even steps, of which none is kept."""

    def __init__(self, start: int, step: int, n: int) -> None:
        self.values = range(start, start + step * n, step)

    def __len__(self) -> int:
        return len(self.values)

    def _slice(self, start: int, stop: int) -> Column:
        part = self.values[start:stop]
        return RangeColumn(part.start, part.step, len(part))

    def _take(self, positions: Array) -> Column:
        r = self.values
        if not r or not all(-(2**63) <= number < 2**63 for number in (r[0], r[-1], r.step)):
            return pack([r[i] for i in positions.tolist()])
        return TypedColumn(r.start + r.step * (positions % len(r)), "int")

    def whole(self) -> Column:
        return self._take(np.arange(len(self)))

    @property
    def signature(self) -> tuple[Any, ...]:
        return pack([*self.values[:1], *self.values[-1:]]).signature

    def parts(self) -> tuple[dict[str, Any], Buffers]:
        meta = {"column": "range", "start": str(self.values.start), "step": str(self.values.step)}
        return {**meta, "n": len(self)}, []


def pack(values: Sequence[Any], *, live: bool = False, codec: Codec | None = None) -> Column:
    """The column of a list or tuple of values.

    Parameters
    ----------
    live
        Keep values that cannot be stored as they are, by reference; the column then has no `parts`.
    codec
        Encodes every value, whatever its type.

    Raises
    ------
    Unstorable
        Without `live`, at the first value that cannot be stored.

    Examples
    --------
    >>> pack([1.5, 2.5]).to_array()
    array([1.5, 2.5])
    >>> pack([1, 2.5]).tolist()
    [1, 2.5]
    """
    if codec is not None:
        return ObjectColumn.encode(values, codec=codec)
    column = _pack_alike(values)
    if column is not None:
        return column
    try:
        return ObjectColumn.encode(values)
    except Unstorable:
        if not live:
            raise
        return kept(values)


def kept(values: Iterable[Any]) -> SequenceColumn:
    """Values of which some cannot be stored: these stay by reference, of others each reader has a copy."""
    found: list[Any] = []
    for position, value in enumerate(values):
        try:
            found.append(ObjectColumn.encode([value]))
        except Unstorable as error:
            if isinstance(value, GeneratorType):  # the first to read it would use it up
                raise Unstorable(position, error.reason) from error
            found.append(value)
    return SequenceColumn(_Kept(found))


class _Kept:
    def __init__(self, found: list[Any]) -> None:
        self.found = found

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, position: int) -> Any:
        found = self.found[position]
        return found.tolist()[0] if isinstance(found, ObjectColumn) else found


def _pack_alike(values: Sequence[Any]) -> Column | None:
    """The column of values that all have one type, which arrays or text can hold; None for others."""
    types = set(map(type, values))
    if not types:
        return TypedColumn(np.empty(0), "float")
    if len(types) > 1:
        return None
    (kind,) = types
    if kind in _PYTHON:
        name, dtype = _PYTHON[kind]
        try:
            return TypedColumn(np.array(values, dtype), name)
        except OverflowError:
            return None
    if kind is str:
        return TextColumn(*join([value.encode("utf-8", "surrogatepass") for value in values]), text=True)
    if kind is bytes:
        return TextColumn(*join(values), text=False)
    if kind is type(None):
        return TypedColumn(np.empty((len(values), 0), np.uint8), "none")
    if kind is np.ndarray or (issubclass(kind, np.generic) and kind.__module__ == "numpy"):
        return _pack_numpy(values, kind)
    return None


def native(dtype: np.dtype[Any]) -> bool:
    """Whether its bytes say everything."""
    try:
        dtype_spec(dtype)
    except NoRule:
        return False
    return not dtype.hasobject and dtype.itemsize > 0


def _pack_numpy(values: Sequence[Any], kind: type) -> Column | None:
    """The column of arrays, or of scalars of one type; None where they have no common dtype and shape."""
    first: Any = values[0]
    dtype = first.dtype
    if not native(dtype) or (issubclass(kind, np.flexible) and not issubclass(kind, np.void)):
        return None  # np.str_ may end in NULs, which an array does not keep
    if kind in (np.ndarray, np.void, np.datetime64, np.timedelta64):
        if any(value.dtype != dtype or value.shape != first.shape for value in values):
            return None
        data = np.empty((len(values), *first.shape), dtype)  # np.stack would swap a foreign byte order
        for i, value in enumerate(values):
            data[i] = value
        return TypedColumn(data, "array" if kind is np.ndarray else "scalar")
    return TypedColumn(np.array(values, dtype), "scalar")
