"""Which elements there are: each has its own loop with its own end, and rows have their own lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weft.model.iterations import Iterations
from weft.plan.blocks import Positions
from weft.study.gathered import UNKNOWN, gathered
from weft.study.study import Study

AT_ONCE = 1 << 18  # places that are looked at together


class Ends:
    """The ends of one loop, from what its body made as ``until`` so far.

    Under other axes, `along`, each element has its own loop, and its own end.
    """

    def __init__(self, study: Study, loop: Iterations) -> None:
        assert loop.until is not None
        step = study.graph.producer[loop.until]
        self.along = tuple(axis for axis in step.axes if axis != loop.name)
        truths = gathered(study, step.name, loop.until, lambda column: list(map(bool, column.tolist())))
        # -1 unknown, 0 go on, 1 end; the iterations in the last dimension
        self._truths = np.moveaxis(truths.numbers(), step.axes.index(loop.name), -1)
        ended = self._truths == 1
        # Iterations that there are, in storage order; all while none ended.
        lengths = np.where(ended.any(axis=-1), ended.argmax(axis=-1) + 1, ended.shape[-1])
        most = study.axes[loop.name].length  # fewer than were made, if n_iterations was lowered
        self.lengths = lengths if most is None else np.minimum(lengths, most)

    def at(self, where: Mapping[str, Positions]) -> Any:
        """Iterations that there are of the loops of some elements."""
        # What runs once for all goes on as long as any does.
        once = tuple(place for place, axis in enumerate(self.along) if axis not in where)
        lengths = self.lengths.max(axis=once, initial=0)
        return lengths[tuple(where[axis] for axis in self.along if axis in where)]

    def known(self) -> bool:
        """Whether no loop goes on."""
        last = np.take_along_axis(self._truths, np.maximum(self.lengths - 1, 0)[..., None], axis=-1)
        return bool((last != UNKNOWN).all())


def ends(study: Study, axis: str) -> Ends | None:
    """The ends of a loop; None if the axis is no loop's that ends by itself."""
    loop = study.graph.loops.get(axis)
    return None if loop is None or loop.until is None else Ends(study, loop)


def skipped(study: Study, axes: Any, where: Mapping[str, Positions], n: int) -> Any:
    """Which of `n` elements along `axes` a loop ended before; None if no loop can have."""
    found = None
    for axis in axes:
        held = ends(study, axis)
        if held is None:
            continue
        over = where[axis] >= held.at(where)
        found = over if found is None else found | over
    return None if found is None else np.broadcast_to(found, (n,))


def last(study: Study, axis: str, where: Mapping[str, Positions], n: int) -> Positions:
    """Position of the last iteration for each of `n` elements."""
    held = ends(study, axis)
    if held is None:
        return np.full(n, (study.axes[axis].length or 0) - 1)
    found: Positions = np.broadcast_to(held.at(where) - 1, (n,))
    return found


def positions(study: Study, axis: str) -> Positions:
    """Storage position of each logical position of an axis; of a loop's as far as any ran."""
    found, held = study.axes[axis].positions, ends(study, axis)
    return found[: int(held.lengths.max(initial=0))] if held is not None and held.known() else found


def absent(study: Study, name: str, where: Mapping[str, Positions], n: int) -> Any:
    """Which of `n` places of an array have no element, beyond the end of a loop or row; None if all do."""
    axes = study.graph.axes.get(name, ())
    found = skipped(study, axes, where, n)
    for axis in axes:
        if axis in study.graph.ragged and axis in where:
            beyond = where[axis] >= extent(study, name, axis, where, n)
            found = beyond if found is None else found | beyond
    return None if found is None else np.broadcast_to(found, (n,))


def extent(study: Study, name: str, axis: str, where: Mapping[str, Positions], n: int) -> Any:
    """For `n` places the number of cells that their row has along an axis, as far as it is known; else -1."""
    graph = study.graph
    if name in graph.aliases:
        found = np.full(n, UNKNOWN)
        own = graph.started_along.get(name, {})
        for array, part, at in across(study, name, where, n):
            along = own.get(axis, axis) if array == graph.aliases[name].initial else axis
            found[at] = extent(study, array, along, part, len(at))
        return found
    step = graph.producer.get(name)
    if step is None or axis not in graph.ragged:
        return np.full(n, UNKNOWN if study.axes[axis].length is None else study.axes[axis].length)
    if step.ragged == axis:
        lengths = gathered(study, step.name, f"{name}?", lambda column: column.to_array()).numbers()
        places = [np.asarray(where[a]) for a in step.axes]
        inside = np.ones(n, bool)
        for place, size in zip(places, lengths.shape, strict=True):
            inside &= place < size
        if not inside.any():
            return np.full(n, UNKNOWN)
        known = lengths[tuple(np.minimum(p, size - 1) for p, size in zip(places, lengths.shape, strict=True))]
        return np.where(inside, known, UNKNOWN)
    taken = next(p.name for p in step.parameters if axis in graph.read(step, p.name).indices)
    return extent(study, taken, axis, where, n)


def uneven(study: Study, axis: str) -> bool:
    """Whether rows along an axis may have different lengths."""
    loop = study.graph.loops.get(axis)
    return axis in study.graph.ragged or (loop is not None and bool(loop.until))


def reach(
    study: Study, name: str, free: Sequence[str], where: Mapping[str, Positions], n: int
) -> Positions | None:
    """How far the rows of `n` elements go along axes that they take whole; None if all go to the end.

    The shape is ``(n, len(free))``.
    """
    if not any(uneven(study, axis) for axis in free):
        return None
    along = [positions(study, axis) for axis in free]
    width = max(1, AT_ONCE // max(1, math.prod(map(len, along))))
    parts = []
    for low in range(0, max(1, n), width):
        own = {axis: np.broadcast_to(p, (n,))[low : low + width] for axis, p in where.items()}
        parts.append(_reach(study, name, dict(zip(free, along, strict=True)), own, min(width, n - low)))
    return np.concatenate(parts)


def _reach(
    study: Study, name: str, free: Mapping[str, Positions], where: Mapping[str, Positions], n: int
) -> Positions:
    number, *mesh = np.meshgrid(np.arange(n), *free.values(), indexing="ij")
    at = {axis: p[number.reshape(-1)] for axis, p in where.items()}
    at |= {axis: m.reshape(-1) for axis, m in zip(free, mesh, strict=True)}
    gone = absent(study, name, at, number.size)
    over = skipped(study, study.graph.axes.get(name, ()), at, number.size)
    ran = np.ones(number.size, bool) if over is None else ~over
    ends = []
    for place, axis in enumerate(free, start=1):
        others = tuple(p for p in range(1, number.ndim) if p != place)
        # A position of an even axis, and an iteration that ran, stays, however empty its row is.
        there = (ran if axis in study.graph.loops else ~gone).reshape(number.shape).any(axis=others)
        ends.append(there.sum(axis=1) if uneven(study, axis) else np.full(n, number.shape[place]))
    return np.stack(ends, axis=1)


def across(
    study: Study, name: str, positions: Mapping[str, Positions], n: int
) -> list[tuple[str, dict[str, Positions], Positions]]:
    """What elements read by an alias: arrays, storage positions in them, and which elements these are."""
    alias = study.graph.aliases[name]
    where = {axis: np.broadcast_to(p, (n,)) for axis, p in positions.items()}
    if alias.initial is None:
        return [(alias.of, where | {alias.axis: last(study, alias.axis, where, n)}, np.arange(n))]
    at = where[alias.axis]
    parts = []
    if (at == 0).any():
        part = {axis: p[at == 0] for axis, p in where.items()}
        for own, start in study.graph.started_along[name].items():
            if own != start and own in part:
                # What comes from outside is known by position: where it was born is its own affair.
                there = study.axes[start].positions
                part[start] = there[np.minimum(part[own], len(there) - 1)] if len(there) else part[own]
        parts.append((alias.initial, part, np.flatnonzero(at == 0)))
    if (at > 0).any():
        part = {axis: p[at > 0] for axis, p in where.items()}
        parts.append((alias.of, part | {alias.axis: part[alias.axis] - 1}, np.flatnonzero(at > 0)))
    return parts
