"""Axes read value by value in stretches: runs of an axis, and the states of runs, held piece by piece."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from weft.model.crossing import Crossing
from weft.model.step import Step
from weft.plan.blocks import Positions
from weft.plan.dataflow import Need
from weft.store.results import ColumnCache
from weft.study.arrays import STREAMED_BYTES, STREAMED_ELEMENTS, Assembled, Values
from weft.study.ends import positions as all_positions
from weft.study.study import Study
from weft.study.whole import bites
from weft.values.columns import Column, concat
from weft.values.content import digest_bytes
from weft.values.traces import traced


def stretched(graph: Crossing, step: Step, name: str) -> tuple[str, ...]:
    """The axes of which an element reads a stretch of the array; none if it reads it in another way."""
    indices = graph.read(step, name).indices
    free = tuple(a for a, index in zip(graph.axes.get(name, ()), indices, strict=True) if index is None)
    return free if step.coarse is not None or any(axis in graph.coarse for axis in free) else ()


@dataclass(frozen=True, eq=False)
class Stretches:
    """The values of each element's stretch, read piece by piece when they are asked for.

    Of arrays that a step reads together only the positions count at which all of them are there.
    """

    values: Values
    step: Step
    name: str
    where: Mapping[str, Positions]
    cache: ColumnCache = field(default_factory=lambda: ColumnCache(STREAMED_BYTES))

    def at(self, position: int) -> Assembled:
        """All values of a stretch that are there."""
        column = concat(list(self.columns(position)))
        return Assembled(column, (len(column),))

    def columns(self, position: int) -> Iterator[Column]:
        """The values, in C order."""
        study, graph = self.values.study, self.values.study.graph
        free = stretched(graph, self.step, self.name)
        along = [_positions(study, self.step, axis, self.where, position) for axis in free]
        fixed = {axis: p[position : position + 1] for axis, p in self.where.items()}
        shape = tuple(map(len, along))
        cache = self.cache if len(graph.axes[self.name]) == 1 else None
        width, size = _width(study, self.name, free[-1]), math.prod(shape)
        for low in range(0, size, width):
            flat = np.unravel_index(np.arange(low, min(low + width, size)), shape)
            n = len(flat[0])
            at = {axis: np.broadcast_to(p, (n,)) for axis, p in fixed.items()}
            at |= {axis: chosen[p] for axis, chosen, p in zip(free, along, flat, strict=True)}
            there = np.ones(n, bool)
            for name in self.together:
                there &= self.values.present(name, at, n)
            if there.any():
                kept = at if there.all() else {axis: p[there] for axis, p in at.items()}
                yield self.values.elements(self.name, kept, int(there.sum()), cache)

    @property
    def together(self) -> list[str]:
        """The arrays that are read together."""
        graph = self.values.study.graph
        return [p.name for p in self.step.inputs if stretched(graph, self.step, p.name)]

    def digests(self, n: int) -> Iterator[bytes]:
        """For each of `n` elements the digest of its values, read piece by piece."""
        given = self.values.study.inputs.get(self.name)
        # An input of a run in memory stays as it is, and is costly to read if it is made as it goes.
        fixed = given is not None and not given.digest and len(self.together) == 1
        for position in range(n):
            state = hashlib.blake2b(digest_size=16)
            for column in () if fixed else self.columns(position):
                for bite in bites(column):
                    state.update(traced(bite).tobytes())
            yield state.digest()

    def __reduce__(self) -> tuple[Any, ...]:
        n = max((len(p) for p in self.where.values()), default=1)
        return Sent, ([list(self.columns(position)) for position in range(n)],)


@dataclass(frozen=True, eq=False)
class Sent:
    """The values of each element's stretch, for a worker that cannot read them."""

    held: list[list[Column]]

    def at(self, position: int) -> Assembled:
        """All values of a stretch."""
        column = concat(self.held[position])
        return Assembled(column, (len(column),))

    def columns(self, position: int) -> Iterator[Column]:
        """The values, in C order."""
        yield from self.held[position]


def _positions(
    study: Study, step: Step, axis: str, where: Mapping[str, Positions], position: int
) -> Positions:
    """Storage positions of an element's stretch along an axis."""
    coarse, held = study.graph.runs(step), study.axes[axis]
    if coarse is None or axis != coarse.of:
        return all_positions(study, axis)
    run = int(where[coarse.axis][position])
    low, high = coarse.span(run, run + 1)
    high = min(high, held.length or 0)
    return np.arange(low, high) if held.selection is None else held.selection[low:high]


def _width(study: Study, name: str, axis: str) -> int:
    """How many values to read at once: about a block, which is made to fit into memory."""
    made = study.graph.producer.get(name)
    grid = study.grid(made) if made is not None else None
    if made is None or grid is None or axis not in made.axes:
        return STREAMED_ELEMENTS
    return min(STREAMED_ELEMENTS, grid.block[made.axes.index(axis)])


def fingerprint(values: Values, step: Step, name: str, box: Mapping[str, tuple[int, int]]) -> str:
    """Changes whenever what elements in a box read of an array may have changed."""
    study, coarse = values.study, values.study.graph.runs(step)
    if coarse is None:
        return values.fingerprint(name)
    made = study.graph.producer.get(name)
    grid = study.grid(made) if made is not None else None
    if (
        made is None
        or grid is None
        or coarse.of not in made.axes
        or study.axes[coarse.of].selection is not None
        or not stretched(study.graph, step, name)
    ):
        return f"{values.fingerprint(name)} {coarse.length}"
    low, high = coarse.span(*box[coarse.axis])
    spans = {**box, coarse.of: (low, min(high, study.axes[coarse.of].size or 0))}
    results = study.results[made.name]
    parts = [results.identity, repr(spans[coarse.of]), *map(repr, results.resets)]
    for number in grid.numbers(grid.covering([spans.get(axis) for axis in made.axes])):
        parts += sorted(results.commits.get(grid.at(number), ()))
    return digest_bytes(*(part.encode() for part in parts))


def in_storage(study: Study, need: Need) -> Need:
    """A need that waits for the blocks of its runs, if these lie in storage as they do on the axis."""
    known = need.coarse is not None and study.axes[need.coarse.of].selection is None
    return need if known else replace(need, coarse=None)


def lost(
    study: Study, step: Step, gone: Mapping[str, Positions], where: Mapping[str, Positions]
) -> list[tuple[Any, Any, int]]:
    """Where elements and what is lost stand along the coarse axis: runs of both, and how many there are."""
    coarse = study.graph.runs(step)
    if coarse is None or coarse.of not in gone:
        return []
    fine = study.axes[coarse.of]
    there = fine.logical[gone[coarse.of]] // coarse.length
    return [(where[coarse.axis], there, coarse.size(fine.length or 0))]
