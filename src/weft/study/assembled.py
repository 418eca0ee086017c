"""An array put together from what is there of it, or a part of one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from weft.plan.blocks import Positions
from weft.values.columns import Column

NONE: Positions = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Assembled:
    """An array put together from blocks: present values in C order, and where they stand.

    Attributes
    ----------
    column
        The values that are there.
    shape
        Lengths of the whole.
    present
        Flat positions of the values; None if all are there.
    own
        Whether the values lie in memory that nobody else holds: whoever asked may have it as it is, which
        saves copying it, a fifth of loading 10^6 values.
    gone
        Flat positions at which there never will be a value: a loop or a row ended before them.
    """

    column: Column
    shape: tuple[int, ...]
    present: Positions | None = None
    own: bool = False
    gone: Positions = field(default_factory=lambda: NONE)

    @property
    def places(self) -> Positions:
        """Flat positions of the values."""
        return np.arange(len(self.column)) if self.present is None else self.present

    @property
    def n_missing(self) -> int:
        """How many values are not there, and could be."""
        return 0 if self.present is None else math.prod(self.shape) - len(self.present) - len(self.gone)

    def part(self, flat: Positions, shape: tuple[int, ...]) -> Assembled:
        """The values at flat positions, in a shape of their own."""
        if self.present is None:
            return Assembled(self.column.take(flat), shape)
        there = among(flat, self.present)
        kept = None if there.all() else np.flatnonzero(there)
        return Assembled(self.column.take(np.searchsorted(self.present, flat[there])), shape, kept)

    def array(self) -> np.ndarray[Any, Any]:
        """The values as an array of native dtype, values that are arrays stacked behind.

        A masked array if some are missing.
        """
        values = self.column.to_array()
        base = values.base
        if (
            self.own
            and isinstance(base, np.ndarray)
            and base.shape == values.shape
            and base.dtype == values.dtype
        ):
            values = base
        inner = values.shape[1:]
        if self.present is None:
            return values.reshape(self.shape + inner)
        size = math.prod(self.shape)
        # What lies under the mask is read and told apart with the rest: not whatever was in the memory.
        blank = (np.empty if values.dtype.hasobject else np.zeros)((size, *inner), values.dtype)
        full: np.ndarray[Any, Any] = cast(Any, np.ma).array(blank, mask=True)
        if len(self.present):
            full[self.present] = values
        return full.reshape(self.shape + inner)

    def nested(self) -> Any:
        """The values as nested lists, exactly as they were given or returned."""
        values: list[Any] = self.column.tolist()
        if self.present is not None and len(self.shape) > 1:
            return self._rows(values)
        for length in reversed(self.shape[1:]):
            values = (
                [values[i : i + length] for i in range(0, len(values), length)]
                if length
                else [[] for _ in range(math.prod(self.shape[:-1]))]
            )
        return values

    def _rows(self, values: list[Any]) -> Any:
        """Nested lists in which the last dimension has what is there, and no more."""
        assert self.present is not None
        outer = self.shape[:-1]
        number = self.present // max(self.shape[-1], 1)
        ends = np.searchsorted(number, np.arange(math.prod(outer)), side="right").tolist()
        rows: list[Any] = [values[low:high] for low, high in zip([0, *ends], ends, strict=False)]
        for length in reversed(outer[1:]):
            rows = [rows[i : i + length] for i in range(0, len(rows), length)]
        return rows


def among(flat: Positions, known: Positions) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which positions are among others, which are sorted."""
    if not len(known):
        return np.zeros(flat.shape, bool)
    found: np.ndarray[Any, np.dtype[np.bool_]] = known.take(np.searchsorted(known, flat), mode="clip") == flat
    return found
