"""Where loops end: how many iterations there are for each element that a loop runs for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from weft.model.iterations import Iterations
from weft.plan.blocks import Positions
from weft.store.commits import DONE
from weft.study.study import Study

UNKNOWN = -1


class Ends:
    """The ends of one loop, from what its body made as ``until`` so far.

    Under other axes each element has its own loop, and its own end.
    """

    def __init__(self, study: Study, loop: Iterations) -> None:
        assert loop.until is not None
        self.study, self.loop, self.until = study, loop, loop.until
        self.step = study.graph.producer[loop.until]
        self.along = tuple(axis for axis in self.step.axes if axis != loop.name)
        self._truths: Any = None
        self._read = self._removed = 0
        self._results: Any = None

    def lengths(self) -> Any:
        """Iterations that there are, an array along `along` in storage order; all while none ended."""
        truths = self._look()
        ended = truths == 1
        n = truths.shape[-1]
        return np.where(ended.any(axis=-1), ended.argmax(axis=-1) + 1, n)

    def known(self) -> bool:
        """Whether no loop goes on."""
        truths, lengths = self._look(), self.lengths()
        last = np.take_along_axis(truths, np.maximum(lengths - 1, 0)[..., None], axis=-1)
        return bool((last != UNKNOWN).all())

    def _look(self) -> Any:
        """What was made so far: -1 unknown, 0 go on, 1 end; the iterations in the last dimension."""
        study = self.study
        results, grid = study.results[self.step.name], study.grid(self.step)
        shape = tuple(study.axes[axis].size or 0 for axis in (*self.along, self.loop.name))
        fresh = self._truths is None or self._truths.shape != shape
        if fresh or results is not self._results or results.removed != self._removed:
            self._truths = np.full(shape, UNKNOWN, np.int8)
            self._read, self._results, self._removed = 0, results, results.removed
        new = results.log[self._read :]
        self._read += len(new)
        if grid is None:
            return self._truths
        for block in dict.fromkeys(
            commit.block for commit in new if commit.n_done and grid.holds(commit.block)
        ):
            local = grid.local(block)
            local = local[results.state(grid, block).states()[local] == DONE]
            where = dict(zip(self.step.axes, grid.storage(block, local), strict=True))
            values = results.read(grid, self.until, [where[axis] for axis in self.step.axes]).tolist()
            at = tuple(where[axis] for axis in (*self.along, self.loop.name))
            self._truths[at] = [bool(value) for value in values]
        return self._truths


def ends(study: Study, loop: Iterations) -> Ends:
    """The study's ends of a loop that has any."""
    found: Ends = study.memory.setdefault(f"ends of {loop.name}", Ends(study, loop))
    return found


def skipped(study: Study, axes: Any, where: Mapping[str, Positions], n: int) -> Any:
    """Which of `n` elements along `axes` a loop ended before; None if no loop can have."""
    found = None
    for axis in axes:
        loop = study.graph.loops.get(axis)
        if loop is None or loop.until is None:
            continue
        held = ends(study, loop)
        lengths = held.lengths()
        for place in reversed(range(len(held.along))):
            if held.along[place] not in where:
                # What runs once for all goes on as long as any does.
                lengths = lengths.max(axis=place, initial=0)
        over = where[axis] >= lengths[tuple(where[a] for a in held.along if a in where)]
        found = over if found is None else found | over
    return None if found is None else np.broadcast_to(found, (n,))


def last(study: Study, axis: str, where: Mapping[str, Positions], n: int) -> Positions:
    """Position of the last iteration for each of `n` elements."""
    loop = study.graph.loops[axis]
    size = study.axes[axis].length or 0
    if loop.until is None:
        return np.full(n, size - 1)
    held = ends(study, loop)
    found: Positions = np.broadcast_to(held.lengths()[tuple(where[a] for a in held.along)] - 1, (n,))
    return found


def positions(study: Study, axis: str) -> Positions:
    """Storage position of each logical position of an axis; of a loop's as far as any ran."""
    found = study.axes[axis].positions
    loop = study.graph.loops.get(axis)
    if loop is None or loop.until is None or not ends(study, loop).known():
        return found
    lengths = ends(study, loop).lengths()
    return found[: int(lengths.max(initial=0))]
