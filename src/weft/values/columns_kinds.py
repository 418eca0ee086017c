"""The kinds of columns; `weft.values.columns` makes them of values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias, overload

import numpy as np

from weft.values import content
from weft.values.content_arrays import canonical_rows, dtype_spec, raw
from weft.values.content_digest import COMPLEX, FLOAT, INT, array_tag, scalar_tag, short_hash

Array: TypeAlias = "np.ndarray[Any, Any]"
Blob: TypeAlias = "bytes | memoryview"
Buffers: TypeAlias = "list[memoryview | bytes]"

TAGS = {"int": INT, "float": FLOAT, "complex": COMPLEX}


class Unstorable(TypeError):
    """A value that cannot be stored; `position` is its place among the values."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"the value at position {position}: {reason}")
        self.position = position
        self.reason = reason


def objects(values: Sequence[Any]) -> Array:
    """An array of shape (n,) with these objects, whatever they are."""
    array = np.empty(len(values), object)
    for i, value in enumerate(values):  # NumPy would take lists and arrays apart
        array[i] = value
    return array


def _gather(digests: Iterable[bytes]) -> Array:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


class Column(ABC):
    """An immutable sequence of n values."""

    @abstractmethod
    def __len__(self) -> int: ...

    def take(self, positions: Array) -> Column:
        """The values at these positions; of those in a row no copy is made."""
        n = len(positions)
        low = int(positions[0]) if n else -1
        in_a_row = 0 <= low <= len(self) - n and positions[-1] - low == n - 1
        if not in_a_row or (n > 2 and (np.diff(positions) != 1).any()):
            return self._take(positions)
        return self if n == len(self) else self._slice(low, low + n)

    @abstractmethod
    def tolist(self) -> list[Any]:
        """Exactly the values that were given; arrays are fresh copies."""

    @abstractmethod
    def parts(self) -> tuple[dict[str, Any], Buffers]:
        """What a file needs: facts for JSON, and raw buffers; see `from_parts`."""

    @abstractmethod
    def _slice(self, start: int, stop: int) -> Column: ...

    @abstractmethod
    def _take(self, positions: Array) -> Column: ...

    @property
    def signature(self) -> tuple[Any, ...]:
        """What is equal in two columns that store their values alike."""
        return ("object",)

    @property
    def nbytes(self) -> int:
        """Bytes of the raw buffers; 0 if it has none."""
        return 0

    @overload
    def __getitem__(self, where: int) -> Any: ...
    @overload
    def __getitem__(self, where: slice) -> Column: ...
    def __getitem__(self, where: int | slice) -> Any:
        if isinstance(where, slice):
            start, stop, step = where.indices(len(self))
            if step != 1:
                return self.take(np.arange(start, stop, step))
            return self._slice(start, max(start, stop))
        position = range(len(self))[where]
        return self._slice(position, position + 1).tolist()[0]

    def to_array(self) -> Array:
        """The values as a user wants to see them; of shape (n,) and objects where they are of several kinds.

        It may be a read-only view. An empty column has forgotten its kind, and is ``float64``.
        """
        return self._array() if len(self) else np.empty(0)

    def _array(self) -> Array:
        return objects(self.tolist())

    def element_digests(self) -> Array:
        """`content.digest` of each value, as bytes: shape (n, 16), uint8."""
        return _gather(bytes.fromhex(content.digest(value)) for value in self.tolist())


class DeferredColumn(Column):
    """Values that are made, or read, when they are asked for."""

    @abstractmethod
    def whole(self) -> Column:
        """All of them in memory."""

    def tolist(self) -> list[Any]:
        return self.whole().tolist()

    def _array(self) -> Array:
        return self.whole().to_array()

    @property
    def signature(self) -> tuple[Any, ...]:
        return self.whole().signature

    def element_digests(self) -> Array:
        return self.whole().element_digests()

    def parts(self) -> tuple[dict[str, Any], Buffers]:
        return self.whole().parts()


class TypedColumn(Column):
    """Values of one type in an array of shape (n, ...).

    Parameters
    ----------
    data
        The values; it is not copied, and must not be changed any more.
    kind
        ``bool, int, float, complex`` (of Python), ``none``, ``scalar`` (of NumPy) or ``array``.
    """

    def __init__(self, data: Array, kind: str) -> None:
        self.data = data.view()
        self.data.flags.writeable = False
        self.kind = kind

    def __len__(self) -> int:
        return len(self.data)

    def _slice(self, start: int, stop: int) -> Column:
        return TypedColumn(self.data[start:stop], self.kind)

    def _take(self, positions: Array) -> Column:
        return TypedColumn(self.data[np.asarray(positions, np.intp)], self.kind)

    @property
    def signature(self) -> tuple[Any, ...]:
        text = self.kind == "scalar" and self.data.dtype.kind in "US"
        # A dtype does not hash where it is structured, and text is text however wide.
        dtype = self.data.dtype.kind if text else str(dtype_spec(self.data.dtype))
        return ("typed", self.kind, dtype, self.data.shape[1:])

    def tolist(self) -> list[Any]:
        if self.kind == "none":
            return [None] * len(self)
        if self.kind == "array":
            return [self.data[i, ...].copy() for i in range(len(self))]
        if self.kind == "scalar":
            # A structured scalar is a view: of a copy, lest its user change the column.
            return list(self.data.copy() if self.data.dtype.kind == "V" else self.data)
        values: list[Any] = self.data.tolist()
        return values

    def _array(self) -> Array:
        return objects(self.tolist()) if self.kind == "none" else self.data

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def parts(self) -> tuple[dict[str, Any], Buffers]:
        dtype, shape = dtype_spec(self.data.dtype), list(self.data.shape)
        return {"column": "typed", "kind": self.kind, "dtype": dtype, "shape": shape}, [raw(self.data)]

    def element_digests(self) -> Array:
        dtype, kind = self.data.dtype, self.kind
        if kind in ("none", "bool") or (kind == "scalar" and dtype.kind in "US"):
            return super().element_digests()
        rows = canonical_rows(self.data)
        data, width = rows.tobytes(), rows.shape[1]
        pieces = (data[i * width : (i + 1) * width] for i in range(len(rows)))
        if kind == "array":
            tag = array_tag(dtype, self.data.shape[1:])
            return _gather(short_hash(tag + short_hash(piece)) for piece in pieces)
        tag = scalar_tag(dtype) if kind == "scalar" else TAGS[kind]
        return _gather(short_hash(tag + piece) for piece in pieces)


class BlobColumn(Column):
    """Values one after the other in one string of bytes; value i is ``blob[offsets[i]:offsets[i + 1]]``."""

    def __init__(self, blob: bytes | memoryview, offsets: Array) -> None:
        self.blob = memoryview(blob)
        self.offsets = offsets

    def __getstate__(self) -> dict[str, Any]:
        # A memoryview does not travel to other processes, and a slice should not take the whole blob along.
        return {**self.__dict__, "blob": bytes(self._buffers()[1]), "offsets": self.offsets - self.offsets[0]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, blob=memoryview(state["blob"]))

    @abstractmethod
    def _same(self, blob: Blob, offsets: Array) -> Column:
        """A column of this kind."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def pieces(self) -> Sequence[bytes | memoryview]:
        """The bytes of each value."""
        first, last = int(self.offsets[0]), int(self.offsets[-1])
        blob: bytes | memoryview = self.blob[first:last]
        if len(blob) < 256 * len(self):  # a slice takes 60 ns of bytes, and 300 of a memoryview
            blob = bytes(blob)
        return [blob[start:stop] for start, stop in pairwise((self.offsets - first).tolist())]

    def _slice(self, start: int, stop: int) -> Column:
        return self._same(self.blob, self.offsets[start : stop + 1])

    def _take(self, positions: Array) -> Column:
        pieces = self.pieces()
        return self._same(*join([pieces[i] for i in positions.tolist()]))

    @property
    def nbytes(self) -> int:
        return int(self.offsets[-1] - self.offsets[0]) + self.offsets.nbytes

    def _buffers(self) -> Buffers:
        first, last = int(self.offsets[0]), int(self.offsets[-1])
        return [raw(self.offsets - first), self.blob[first:last]]


def join(pieces: Sequence[bytes | memoryview]) -> tuple[bytes, Array]:
    """The blob and the offsets of these pieces."""
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)), out=offsets[1:])
    return b"".join(pieces), offsets


class TextColumn(BlobColumn):
    """Python's ``str`` as UTF-8 (`text`), or its ``bytes``."""

    def __init__(self, blob: bytes | memoryview, offsets: Array, text: bool) -> None:
        super().__init__(blob, offsets)
        self.text = text

    def _same(self, blob: Blob, offsets: Array) -> Column:
        return TextColumn(blob, offsets, self.text)

    @property
    def signature(self) -> tuple[Any, ...]:
        return ("text", self.text)

    def tolist(self) -> list[Any]:
        if self.text:
            return [str(piece, "utf-8", "surrogatepass") for piece in self.pieces()]
        return [bytes(piece) for piece in self.pieces()]

    def _array(self) -> Array:
        values = self.tolist()
        if not self.text or any(value.endswith("\0") for value in values):
            return objects(values)
        # One long text among many short ones: a fixed width would take memory for all to be as long.
        width = 4 * max(map(len, values)) * len(values)
        return objects(values) if width > 2**24 + 64 * self.nbytes else np.array(values, np.str_)

    def parts(self) -> tuple[dict[str, Any], Buffers]:
        return {"column": "text", "text": self.text, "n": len(self)}, self._buffers()
