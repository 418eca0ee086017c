"""Axes read value by value in stretches: runs of an axis, and the states of runs, held piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from weft.model.crossing import Crossing
from weft.model.step import Step
from weft.plan.blocks import Positions
from weft.plan.dataflow import Need
from weft.study.arrays import Values
from weft.study.study import Study
from weft.study.whole import OnDisk, bites
from weft.values.content import digest_bytes
from weft.values.traces import traced


def stretched(graph: Crossing, step: Step, name: str) -> tuple[str, ...]:
    """The axes of which an element reads a stretch of the array; none if it reads it in another way."""
    indices = graph.read(step, name).indices
    free = tuple(a for a, index in zip(graph.axes.get(name, ()), indices, strict=True) if index is None)
    return free if step.coarse is not None or any(axis in graph.coarse for axis in free) else ()


@dataclass(frozen=True, eq=False)
class Stretches(Sequence[Mapping[str, Positions]]):
    """For each element the storage positions of its stretch: one on some axes, a run of the coarse one's."""

    study: Study
    step: Step
    where: Mapping[str, Positions]

    def __len__(self) -> int:
        return max((len(p) for p in self.where.values()), default=1)

    def __getitem__(self, position: Any) -> Any:
        found = {axis: p[position : position + 1] for axis, p in self.where.items()}
        coarse = self.study.graph.runs(self.step)
        if coarse is not None:
            held, run = self.study.axes[coarse.of], int(self.where[coarse.axis][position])
            low, high = coarse.span(run, run + 1)
            found[coarse.of] = np.arange(low, min(high, held.length or 0))
            if held.selection is not None:
                found[coarse.of] = held.selection[found[coarse.of]]
        return found


def read(values: Values, step: Step, name: str, where: Mapping[str, Positions]) -> OnDisk:
    """The values of each element's stretch.

    Of arrays that a step reads together only the positions count at which all of them are there.
    """
    graph = values.study.graph
    together = [p.name for p in step.inputs if p.name != name and stretched(graph, step, p.name)]
    found = OnDisk(values, name, Stretches(values.study, step, where), tuple(together), shared=False)
    return found if len(graph.axes[name]) == 1 else replace(found, cache=None)


def digests(source: OnDisk) -> Iterator[bytes]:
    """For each element the digest of the values of its stretch, read piece by piece."""
    given = source.values.study.inputs.get(source.name)
    # An input of a run in memory stays as it is, and is costly to read if it is made as it goes.
    fixed = given is not None and not given.digest and not source.together
    for position in range(len(source.chosen)):
        state = hashlib.blake2b(digest_size=16)
        for column in () if fixed else source.columns(position):
            for bite in bites(column):
                state.update(traced(bite).tobytes())
        yield state.digest()


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
