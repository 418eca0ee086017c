"""Columns of rows, each with its own number of cells: what a step returns along a ragged axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from weft.values.columns_kinds import Array, Buffers, Column


class RowsColumn(Column):
    """Rows of cells, one after the other; row i is ``cells[offsets[i]:offsets[i + 1]]``."""

    def __init__(self, cells: Column, offsets: Array) -> None:
        self.cells = cells
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Array:
        """Number of cells of each row."""
        found: Array = np.diff(self.offsets)
        return found

    def tolist(self) -> list[Any]:
        """Each row as a list."""
        return [self.row(i).tolist() for i in range(len(self))]

    def row(self, i: int) -> Column:
        """The cells of one row."""
        return self.cells[int(self.offsets[i]) : int(self.offsets[i + 1])]

    def _slice(self, start: int, stop: int) -> Column:
        offsets = self.offsets[start : stop + 1]
        low, high = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
        return RowsColumn(self.cells[low:high], offsets - low if len(offsets) else np.zeros(1, np.int64))

    def _take(self, positions: Array) -> Column:
        lengths = self.lengths[positions]
        offsets = np.cumsum([0, *lengths.tolist()])
        flat = np.repeat(self.offsets[positions] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return RowsColumn(self.cells.take(flat), offsets)

    @property
    def signature(self) -> tuple[Any, ...]:
        return ("rows", *self.cells.signature)

    @property
    def nbytes(self) -> int:
        """Bytes of the raw buffers."""
        return self.cells.nbytes + self.offsets.nbytes

    def parts(self) -> tuple[dict[str, Any], Buffers]:
        """What a file needs."""
        meta, buffers = self.cells.parts()
        offsets = self.offsets.astype(np.int64).tobytes()
        return {"column": "rows", "cells": meta, "n": len(self)}, [offsets, *buffers]
