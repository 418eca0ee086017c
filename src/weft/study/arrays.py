"""Reading the arrays of a study: inputs and results alike, by element or whole, in logical order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from weft.plan.blocks import Grid, Positions
from weft.store.commits import DONE
from weft.store.results import ColumnCache
from weft.study.assembled import NONE, Assembled
from weft.study.ends import absent, across
from weft.study.ends import positions as all_positions
from weft.study.study import Study
from weft.values.columns import Column, TypedColumn, arranged, concat, pack
from weft.values.content import digest, digest_bytes
from weft.values.content_arrays import canonical_rows
from weft.values.content_digest import array_tag, short_hash

STREAMED_BYTES = 1 << 20  # of columns that are kept while an array is read block by block
STREAMED_ELEMENTS = 16384
Holds = Callable[[Mapping[str, Positions], int], Any]


class Values:
    """Reads from a study's inputs and results."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._whole: dict[str, tuple[str, Assembled]] = {}
        self._digests: dict[str, tuple[str, bytes]] = {}

    def elements(
        self, name: str, positions: Mapping[str, Positions], n: int, cache: ColumnCache | None = None
    ) -> Column:
        """Values of an array for `n` elements, given their storage positions along its axes.

        All of them must be there.
        """
        study = self.study
        if name in study.graph.aliases:
            parts = across(self.study, name, positions, n)
            pieces = [self.elements(array, where, len(at), cache) for array, where, at in parts]
            return arranged(pieces, [at for _, _, at in parts])
        axes = study.graph.axes.get(name, ())
        step = study.graph.producer.get(name)
        if not axes and n != 1:
            return self.elements(name, {}, 1, cache).take(np.zeros(n, np.int64))
        if step is None:
            given = study.inputs[name]
            if given.column is None:
                return pack([given.value], live=True)
            flat = np.zeros((), np.int64)
            for axis, length in zip(axes, given.shape, strict=True):
                logical = (
                    positions[axis]
                    if study.axes[axis].selection is None
                    else study.axes[axis].logical[positions[axis]]
                )
                flat = flat * length + logical
            return given.column.take(np.broadcast_to(flat, (n,)))
        grid = study.grid(step)
        assert grid is not None
        cell = None
        if step.opened:
            cell = np.zeros((), np.int64)
            for axis in step.opened:
                cell = cell * (study.axes[axis].size or 0) + positions[axis]
            cell = np.broadcast_to(cell, (n,))
        return study.results[step.name].read(
            grid, name, [np.broadcast_to(positions[a], (n,)) for a in step.axes], cell, cache
        )

    def present(
        self, name: str, positions: Mapping[str, Positions], n: int
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of `n` elements have a value."""
        if name in self.study.graph.aliases:
            found = np.zeros(n, bool)
            for array, where, at in across(self.study, name, positions, n):
                found[at] = self.present(array, where, len(at))
            return found
        step = self.study.graph.producer.get(name)
        if step is None:
            return np.ones(n, bool)
        grid = self.study.grid(step)
        if grid is None:
            return np.zeros(n, bool)
        results, found = self.study.results[step.name], np.zeros(n, bool)
        number, local = (np.broadcast_to(p, n) for p in grid.locate([positions[a] for a in step.axes]))
        for block in np.unique(number).tolist():
            which = np.flatnonzero(number == block)
            if grid.at(block) in results.commits:
                found[which] = results.state(grid, grid.at(block)).states()[local[which]] == DONE
        return found & ~absent(self.study, name, positions, n) if step.ragged else found

    def whole(self, name: str, seen: str = "") -> Assembled:
        """A whole array in logical order, kept for the next who asks while its fingerprint is as it was."""
        seen = seen or self.fingerprint(name)
        kept = self._whole.get(name)
        if kept is None or kept[0] != seen:
            kept = self._whole[name] = (seen, self.assemble(name))
        return kept[1]

    def assemble(
        self, name: str, chosen: Mapping[str, Positions] | None = None, holds: Holds | None = None
    ) -> Assembled:
        """An array, or a part of it.

        Parameters
        ----------
        chosen
            Storage positions along some of the axes, in the order that is wanted; the others are whole.
        holds
            Says which of `n` elements at storage positions still hold; all unless given.
        """
        study = self.study
        axes = study.graph.axes.get(name, ())
        if not chosen and holds is None:
            quick = self._quick(name)
            if quick is not None:
                return quick
        along = [chosen[a] if chosen and a in chosen else all_positions(study, a) for a in axes]
        shape = tuple(len(p) for p in along)
        n = math.prod(shape)
        mesh = np.meshgrid(*along, indexing="ij") if along else []
        positions = {a: m.reshape(-1) for a, m in zip(axes, mesh, strict=True)}
        gone = absent(study, name, positions, n)
        if gone is not None and axes[-1] in study.graph.ragged:  # as long as the longest row
            there = ~gone.reshape(-1, shape[-1]).all(axis=0) if n else np.zeros(0, bool)
            kept = np.flatnonzero(np.broadcast_to(np.arange(shape[-1]) < there.sum(), shape))
            shape, n = (*shape[:-1], int(there.sum())), len(kept)
            positions, gone = {a: p[kept] for a, p in positions.items()}, gone[kept]
        there = self.present(name, positions, n)
        if gone is not None:
            there = there & ~gone
        if holds is not None:
            there = there & holds(positions, n)
        if there.all():
            return Assembled(self.elements(name, positions, n) if n else concat([]), shape)
        kept = np.flatnonzero(there)
        part = {a: p[kept] for a, p in positions.items()}
        column = self.elements(name, part, len(kept)) if len(kept) else concat([])
        return Assembled(column, shape, kept, gone=NONE if gone is None else np.flatnonzero(gone))

    def _in_order(self, name: str) -> bool:
        """Whether an array has one axis or none, whose positions are stored in their own order."""
        study, axes = self.study, self.study.graph.axes.get(name, ())
        moved = (study.axes[axis].selection is not None or axis in study.graph.loops for axis in axes)
        return len(axes) <= 1 and not any(moved)

    def _blocks(self, name: str) -> Grid | None:
        """The blocks of an array that a step made, if one after the other they are the array."""
        step = self.study.graph.producer.get(name)
        return None if step is None or step.opened or not self._in_order(name) else self.study.grid(step)

    def _quick(self, name: str) -> Assembled | None:
        """The whole of an array whose blocks are whole: no index per element."""
        study, grid = self.study, self._blocks(name)
        if grid is None:
            given = study.inputs.get(name)
            column = None if given is None or not self._in_order(name) else given.column
            return None if column is None else Assembled(column, (len(column),))
        results = study.results[study.graph.producer[name].name]
        columns = []
        for number in range(grid.n_blocks):
            column = results.block(grid, grid.at(number), name)
            if column is None:
                return None
            columns.append(column)
        return Assembled(concat(columns), grid.shape, own=len(columns) > 1)

    def pieces(
        self,
        name: str,
        chosen: Mapping[str, Positions] = MappingProxyType({}),
        together: Sequence[str] = (),
        cache: ColumnCache | None = None,
    ) -> Iterator[tuple[Column, Positions]]:
        """The values of an array or a part of it, about a block at a time, with their flat positions in it.

        Parameters
        ----------
        chosen
            As in `assemble`; on axes of the others alone a single position.
        together
            Other arrays: only positions count at which they are there too.
        cache
            As in `Results.read`.
        """
        study, axes = self.study, self.study.graph.axes.get(name, ())
        along = [chosen[a] if a in chosen else all_positions(study, a) for a in axes]
        shape = tuple(map(len, along))
        grid = None if chosen or together else self._blocks(name)
        size, width = math.prod(shape), self._width(name) if grid is None else grid.capacity
        for low in range(0, size, width):
            flat = np.arange(low, min(low + width, size))
            if grid is not None:
                results = study.results[study.graph.producer[name].name]
                column = results.block(grid, grid.at(low // width), name, cache)
                if column is not None:
                    yield column, flat
                    continue
            at = np.unravel_index(flat, shape)
            where = {axis: np.broadcast_to(p, len(flat)) for axis, p in chosen.items() if axis not in axes}
            where |= {axis: places[p] for axis, places, p in zip(axes, along, at, strict=True)}
            there = self.present(name, where, len(flat))
            for other in together:
                there = there & self.present(other, where, len(flat))
            if there.any():
                kept = {axis: p[there] for axis, p in where.items()}
                yield self.elements(name, kept, int(there.sum()), cache), flat[there]

    def _width(self, name: str) -> int:
        """How many values to read at once: at most a block, which is made to fit into memory."""
        step = self.study.graph.producer.get(name)
        grid = None if step is None or step.opened else self.study.grid(step)
        return STREAMED_ELEMENTS if grid is None else min(STREAMED_ELEMENTS, grid.capacity)

    def fingerprint(self, name: str) -> str:
        """A string that stays the same while the array does; it may change though the values do not."""
        study = self.study
        alias = study.graph.aliases.get(name)
        if alias is not None:
            until = study.graph.loops[alias.axis].until if alias.initial is None else None
            names = [alias.axis, alias.of, *(other for other in (alias.initial, until) if other is not None)]
            return digest_bytes(*(self.fingerprint(other).encode() for other in names))
        parts = []
        for axis in study.graph.axes.get(name, ()):
            held = study.axes[axis]
            parts.append(f"{axis}:{held.size}".encode())
            if held.selection is not None:
                parts.append(held.selection.tobytes())
        step = study.graph.producer.get(name)
        if step is None:
            parts.append(study.inputs[name].digest.encode())
            return digest_bytes(*parts)
        results = study.results[step.name]
        parts += [results.identity.encode(), str(results.version).encode()]
        parts += [repr(r).encode() for r in results.resets]
        return digest_bytes(*parts)

    def axis_digest(self, axis: str) -> bytes:
        """Digest of an axis's coordinates in logical order."""
        study = self.study
        if axis in study.graph.ragged or axis in study.graph.loops:  # what is read along it tells
            return axis.encode()
        parts = [axis.encode(), str(study.axes[axis].length).encode()]
        for given in study.coordinates.get(axis, ()):
            values = given.digest or digest(self.whole(given.name).array())
            parts += [given.name.encode(), values.encode()]
        return digest_bytes(*parts).encode()

    def content_digest(self, name: str, streamed: bool = False) -> bytes:
        """Digest of an array as a step takes it whole: its coordinates and its content.

        Parameters
        ----------
        streamed
            Read the array block by block if possible, not to hold it: the digest is the same.
        """
        seen = self.fingerprint(name)
        kept = self._digests.get(name)
        if kept is None or kept[0] != seen:
            parts = [self.axis_digest(axis) for axis in self.study.graph.axes.get(name, ())]
            held = self._streamed(name) if streamed else None
            if held is None:
                found = self.whole(name, seen)
                there = b"" if found.present is None else found.present.tobytes()
                held = (self._digest(found, seen), there)
            kept = self._digests[name] = (seen, digest_bytes(*parts, *held).encode())
        return kept[1]

    def _digest(self, found: Assembled, seen: str) -> bytes:
        """Digest of values; of some that have none, as memory can hold them, who made them."""
        try:
            return digest(found.column.to_array()).encode()
        except TypeError:
            if self.study.store.durable:
                raise
            return seen.encode()

    def _streamed(self, name: str) -> tuple[bytes, bytes] | None:
        """Digest of an array's values, and where they stand if some are missing; None if not of numbers."""
        state, n = hashlib.blake2b(digest_size=16), 0
        first: TypedColumn | None = None
        there: list[Positions] = []
        for column, flat in self.pieces(name, cache=ColumnCache(STREAMED_BYTES)):
            if not isinstance(column, TypedColumn) or column.data.dtype.kind not in "biufcmM":
                return None
            first = column if first is None else first
            if column.kind == "none" or column.signature != first.signature:
                return None
            state.update(canonical_rows(column.data).data)
            there.append(flat)
            n += len(flat)
        if first is None:
            return None
        values = first.data
        whole = short_hash(array_tag(values.dtype, (n, *values.shape[1:])) + state.digest()).hex()
        size = self.study.array_shape(name) or ()
        return whole.encode(), b"" if n == math.prod(size) else np.concatenate(there).tobytes()
