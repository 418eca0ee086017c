"""From a list of values to the column that holds them best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import GeneratorType
from typing import Any

import numpy as np

from weft.values import content
from weft.values.columns_kinds import (
    Array,
    Blob,
    BlobColumn,
    Buffers,
    Column,
    Pick,
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
    live
        What cannot be encoded, by itself: a list of n with None for the others, whose bytes are not empty.
    trust
        As in `content.decode`.
    """

    def __init__(self, blob: Blob, offsets: Array, live: list[Any] | None = None, trust: bool = True) -> None:
        super().__init__(blob, offsets)
        self.live = live
        self.trust = trust

    def _same(self, blob: Blob, offsets: Array, where: Pick) -> Column:
        return ObjectColumn(blob, offsets, None if self.live is None else where(self.live), self.trust)

    @classmethod
    def encode(cls, values: Iterable[Any], live: bool = False) -> ObjectColumn:
        """Encode each value; `Unstorable` at the first that cannot be, unless it may stay `live`."""
        pieces: list[bytes] = []
        kept: dict[int, Any] = {}
        for position, value in enumerate(values):
            try:
                pieces.append(content.encode(value))
            except TypeError as error:
                if not live or isinstance(value, GeneratorType):  # the first to read it would use it up
                    raise Unstorable(position, str(error)) from error
                pieces.append(b"")
                kept[position] = value
        return cls(*join(pieces), live=[kept.get(i) for i in range(len(pieces))] if kept else None)

    @property
    def signature(self) -> tuple[Any, ...]:
        return ("object",)

    def tolist(self) -> list[Any]:
        references = self.live or [None] * len(self)
        return [
            content.decode(piece, trust=self.trust) if len(piece) else reference
            for piece, reference in zip(self.pieces(), references)
        ]

    def _array(self) -> Array:
        values = self.tolist()
        packed = pack(values, live=True)  # values of one type, in a slice of a mixed column, look like such
        return objects(values) if isinstance(packed, ObjectColumn) else packed.to_array()

    def parts(self) -> tuple[dict[str, Any], Buffers]:
        for piece, value in zip(self.pieces(), self.live or ()):
            if not len(piece):
                content.encode(value)  # raises the TypeError that says why
        return {"column": "object", "n": len(self)}, self._buffers()


class RangeColumn(Column):
    """Python integers in even steps, of which none is kept."""

    def __init__(self, start: int, step: int, n: int) -> None:
        self.values = range(start, start + step * n, step)

    def __len__(self) -> int:
        return len(self.values)

    def _slice(self, start: int, stop: int) -> Column:
        part = self.values[start:stop]
        return RangeColumn(part.start, part.step, len(part))

    def take(self, positions: Array) -> Column:
        return self.materialised(np.asarray(positions, np.intp))

    def materialised(self, positions: Array | None = None) -> Column:
        """The same integers, one by one."""
        if not self._fits or abs(self.values.step) >= 2**63:
            chosen = range(len(self)) if positions is None else positions.tolist()
            return pack([self.values[i] for i in chosen], live=True)
        if positions is None:
            positions = np.arange(len(self), dtype=np.int64)
        positions = np.where(positions < 0, positions + len(self), positions).astype(np.int64)
        return TypedColumn(self.values.start + positions * (self.values.step if len(self) > 1 else 0), "int")

    @property
    def signature(self) -> tuple[Any, ...]:
        return TypedColumn(np.empty(0, np.int64), "int").signature if self._fits else ("object",)

    @property
    def _fits(self) -> bool:
        ends = self.values[:1], self.values[-1:]
        return all(-(2**63) <= end < 2**63 for part in ends for end in part)

    def tolist(self) -> list[Any]:
        return list(self.values)

    def _array(self) -> Array:
        return self.materialised().to_array()

    @property
    def nbytes(self) -> int:
        return 0

    def parts(self) -> tuple[dict[str, Any], Buffers]:
        # As text: JSON elsewhere may round integers beyond 2**53.
        start, step = str(self.values.start), str(self.values.step)
        return {"column": "range", "start": start, "step": step, "n": len(self)}, []

    def keys(self) -> Array | list[bytes]:
        return self.materialised().keys()

    def element_digests(self) -> Array:
        return self.materialised().element_digests()


def pack(values: Sequence[Any], *, live: bool = False) -> Column:
    """The column of a list or tuple of values.

    Parameters
    ----------
    live
        Keep values that cannot be stored as they are; the column then has no `parts`.

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
    types = set(map(type, values))
    if len(types) != 1:
        return ObjectColumn.encode(values, live) if types else TypedColumn(np.empty(0), "float")
    (kind,) = types
    if kind in _PYTHON:
        name, dtype = _PYTHON[kind]
        try:
            return TypedColumn(np.array(values, dtype), name)
        except OverflowError:
            return ObjectColumn.encode(values)
    if kind is str:
        return TextColumn(*join([value.encode("utf-8", "surrogatepass") for value in values]), text=True)
    if kind is bytes:
        return TextColumn(*join(values), text=False)
    if kind is type(None):
        return TypedColumn(np.empty((len(values), 0), np.uint8), "none")
    column = None
    if kind is np.ndarray or (issubclass(kind, np.generic) and kind.__module__ == "numpy"):
        column = _pack_numpy(values, kind)
    return ObjectColumn.encode(values, live) if column is None else column


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
