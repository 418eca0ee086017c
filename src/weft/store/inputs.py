"""Large mapped inputs on disk, read chunk by chunk as their elements are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from weft.store import frames
from weft.store.fs import FileSystem
from weft.values.columns import Column, DeferredColumn, arranged, concat

CHUNK = 65536  # values that are read, and checked, together
KEPT = 4


class StoredColumn(DeferredColumn):
    """A column in a file; only the chunks that are asked for are read, and the last few are kept."""

    def __init__(self, fs: FileSystem, frame: frames.Frame, trust: bool) -> None:
        self.fs, self.frame, self.trust = fs, frame, trust
        self._chunks: dict[int, Column] = {}

    def __len__(self) -> int:
        return int(self.frame.header["n"])

    def _chunk(self, number: int) -> Column:
        held = self._chunks.get(number)
        if held is None:
            held = frames.column(self.fs, self.frame, self.frame.header["chunks"][number], self.trust)
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

    def _take(self, positions: Any) -> Column:
        step = int(self.frame.header["step"])
        numbers = positions // step
        order = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
        pieces = [
            self._chunk(int(numbers[which[0]])).take(positions[which] - numbers[which[0]] * step)
            for which in order
        ]
        return arranged(pieces, order)

    def whole(self) -> Column:
        """All of it, in memory."""
        return self._slice(0, len(self))

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(length for length, _ in self.frame.buffers)
