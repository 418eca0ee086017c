"""Blocks: a regular grid over the storage order of a step's axes. Index arithmetic, nothing per element."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Positions = np.ndarray[Any, np.dtype[np.int64]]
Block = tuple[int, ...]

QUICK_BLOCK = 32768  # elements; a synced commit of 0.5 ms is then 0.02 µs each, and 10^6 load in 31 reads
BLOCK_SECONDS = 1.0
BLOCK_BYTES = 64 << 20
BLOCKS_PER_WORKER = 8  # a commit costs 0.5 ms; the last blocks are run in parts, so workers end together
MOST_BLOCKS = 4096


@dataclass(frozen=True)
class Grid:
    """Blocks of shape `block` over elements of shape `shape`; blocks at the far edges are clipped.

    A step without axes is a grid of one block of one element.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Blocks along each axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    @cached_property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return math.prod(self.counts)

    @cached_property
    def n_elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @cached_property
    def capacity(self) -> int:
        """Elements of a block that is not clipped; local positions count in its C order."""
        return math.prod(self.block)

    def at(self, number: int) -> Block:
        """The block of a number; the first axis runs fastest, so that growth of the last keeps numbers."""
        return tuple(int(i) for i in np.unravel_index(number, self.counts, "F")) if self.counts else ()

    def number(self, block: Sequence[int]) -> int:
        """The number of a block, see `at`."""
        number = 0
        for index, count in zip(reversed(block), reversed(self.counts), strict=True):
            number = number * count + index
        return number

    def holds(self, block: Sequence[int]) -> bool:
        """Whether the block lies within the grid."""
        return len(block) == len(self.counts) and all(
            0 <= i < n for i, n in zip(block, self.counts, strict=True)
        )

    def box(self, block: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Storage positions ``(low, high)`` of the block along each axis, clipped to the shape."""
        return tuple(
            (i * b, min((i + 1) * b, n)) for i, b, n in zip(block, self.block, self.shape, strict=True)
        )

    def size(self, block: Sequence[int]) -> int:
        """Elements of the block."""
        return math.prod(high - low for low, high in self.box(block))

    def local(self, block: Sequence[int], chosen: Sequence[Positions | None] | None = None) -> Positions:
        """Local positions of the block's elements, of those only whose storage positions are `chosen`.

        Parameters
        ----------
        chosen
            For each axis sorted storage positions, or None for all.
        """
        flat = np.zeros((), np.int64)
        for place, (low, high) in enumerate(self.box(block)):
            positions = np.arange(low, high)
            picked = chosen[place] if chosen is not None else None
            if picked is not None:
                positions = picked[np.searchsorted(picked, low) : np.searchsorted(picked, high)]
            flat = flat[..., None] * self.block[place] + (positions - low)
        return flat.reshape(-1)

    def storage(self, block: Sequence[int], local: Positions) -> tuple[Positions, ...]:
        """Storage positions along each axis of local positions."""
        if not self.block:
            return ()
        offsets = np.unravel_index(local, self.block)
        return tuple(offset + i * b for offset, i, b in zip(offsets, block, self.block, strict=True))

    def locate(self, positions: Sequence[Positions]) -> tuple[Positions, Positions]:
        """Block number and local position of elements at storage positions (arrays that broadcast)."""
        number = np.zeros((), np.int64)
        local = np.zeros((), np.int64)
        stride = 1
        for place, position in enumerate(positions):
            index, offset = np.divmod(position, self.block[place])
            number = number + index * stride if place else index
            stride *= self.counts[place]
            local = local * self.block[place] + offset if place else offset
        return number, local

    def covering(self, ranges: Sequence[tuple[int, int] | None]) -> tuple[slice, ...]:
        """Blocks, as slices along each axis, that hold the storage ranges (None: the whole axis)."""
        return tuple(
            slice(0, count) if r is None else slice(r[0] // b, -(-r[1] // b))
            for r, b, count in zip(ranges, self.block, self.counts, strict=True)
        )

    def numbers(self, slices: Sequence[slice]) -> Iterator[int]:
        """Numbers of the blocks within slices along each axis."""
        flat = np.zeros((), np.int64)
        for place, part in reversed(list(enumerate(slices))):
            flat = flat[..., None] * self.counts[place] + np.arange(*part.indices(self.counts[place]))
        return iter(np.sort(flat.reshape(-1)).tolist())


@dataclass(frozen=True)
class Layout:
    """How the blocks of a group lie: along which axes they may be longer than one.

    Attributes
    ----------
    order
        The places of these axes; the last is filled first.
    """

    order: tuple[int, ...] = ()

    def block(self, shape: Sequence[int], elements: int, growing: int | None = None) -> tuple[int, ...]:
        """A block of about `elements` elements: whole trailing axes first, so that rows stay together.

        Where there are fewer, it has room for more along the axis at the place `growing`, or the outermost.
        """
        left = max(1, elements)
        found = [1] * len(shape)
        for place in reversed(self.order):
            found[place] = max(1, min(shape[place], left))
            left //= found[place]
        # An axis may grow: quick elements keep the size that was asked for.
        if self.order and left > 1:
            found[growing if growing in self.order else self.order[0]] *= left
        return tuple(found)


def block_elements(n_elements: int, workers: int, seconds: float, n_bytes: float) -> int:
    """Elements per block, from the measured time and size of one element.

    About a second of work, at most 64 MiB, few enough that files stay few, and small enough that
    every worker gets many blocks; for quick elements commits of 16,384 at a time.
    """
    by_time = BLOCK_SECONDS / max(seconds, 1e-9)
    by_size = BLOCK_BYTES / max(n_bytes, 1.0)
    by_share = math.ceil(n_elements / (workers * BLOCKS_PER_WORKER)) if workers > 1 else n_elements
    if seconds < 50e-6:
        by_share = max(by_share, QUICK_BLOCK)
    size = min(by_time, by_size, max(1, by_share), 4 * QUICK_BLOCK if n_elements > 1 << 22 else QUICK_BLOCK)
    return int(max(1, size, math.ceil(n_elements / MOST_BLOCKS) if by_size > n_elements / MOST_BLOCKS else 1))


def ranges(local: Positions) -> list[list[int]]:
    """Sorted positions as ``[low, high)`` ranges."""
    if not len(local):
        return []
    if local[-1] - local[0] == len(local) - 1:
        return [[int(local[0]), int(local[-1]) + 1]]
    breaks = np.flatnonzero(np.diff(local) != 1)
    lows = local[np.concatenate(([0], breaks + 1))]
    highs = local[np.concatenate((breaks, [len(local) - 1]))] + 1
    return [[int(low), int(high)] for low, high in zip(lows, highs, strict=True)]


def positions(pairs: Sequence[Sequence[int]]) -> Positions:
    """Positions of ``[low, high)`` ranges."""
    if len(pairs) == 1:
        return np.arange(pairs[0][0], pairs[0][1])
    return np.concatenate([np.arange(low, high) for low, high in pairs]) if pairs else np.empty(0, np.int64)
