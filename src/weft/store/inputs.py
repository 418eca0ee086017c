"""Large mapped inputs on disk, read chunk by chunk as their elements are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from weft.store import frames
from weft.store.fs import FileSystem
from weft.values.columns import Column, concat, from_parts

CHUNK = 65536  # values that are read, and checked, together
KEPT = 4


class StoredColumn(Column):
    """A column in a file; only the chunks that are asked for are read, and the last few are kept."""

    def __init__(self, fs: FileSystem, frame: frames.Frame, trust: bool) -> None:
        self.fs, self.frame, self.trust = fs, frame, trust
        self._chunks: dict[int, Column] = {}

    def __len__(self) -> int:
        return int(self.frame.header["n"])

    def _chunk(self, number: int) -> Column:
        held = self._chunks.get(number)
        if held is None:
            meta, first, count = self.frame.header["chunks"][number]
            buffers = frames.read(self.fs, self.frame, range(first, first + count))
            held = from_parts(meta, buffers, trust=self.trust)
            while len(self._chunks) >= KEPT:
                self._chunks.pop(next(iter(self._chunks)))
            self._chunks[number] = held
        return held

    def _slice(self, start: int, stop: int) -> Column:
        step = int(self.frame.header["step"])
        pieces = []
        for number in range(start // step, -(-stop // step)):
            low = number * step
            chunk = self._chunk(number)
            pieces.append(chunk[max(start - low, 0) : min(stop - low, len(chunk))])
        return pieces[0] if len(pieces) == 1 else concat(pieces)

    def take(self, positions: Any) -> Column:
        """The values at these positions."""
        places = np.asarray(positions, np.int64)
        step = int(self.frame.header["step"])
        numbers = places // step
        pieces: list[Column] = []
        order: list[Any] = []
        for number in np.unique(numbers).tolist():
            which = np.flatnonzero(numbers == number)
            pieces.append(self._chunk(number).take(places[which] - number * step))
            order.append(which)
        joined = concat(pieces)
        return joined if not order else joined.take(np.argsort(np.concatenate(order), kind="stable"))

    def whole(self) -> Column:
        """All of it, in memory."""
        return self._slice(0, len(self))

    def tolist(self) -> list[Any]:
        """Exactly the values that were given."""
        return self.whole().tolist()

    def to_array(self) -> Any:
        """The values as an array of native dtype."""
        return self.whole().to_array()

    def keys(self) -> Any:
        """See `Column.keys`."""
        return self.whole().keys()

    def element_digests(self) -> Any:
        """See `Column.element_digests`."""
        return self.whole().element_digests()

    @property
    def signature(self) -> tuple[Any, ...]:
        """Of the column that it holds."""
        return self.whole().signature

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(length for length, _ in self.frame.buffers)

    def parts(self) -> tuple[dict[str, Any], list[memoryview | bytes]]:
        """See `Column.parts`."""
        return self.whole().parts()
