"""What a group of steps will not make, because it failed, or because what it needs did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from weft.model.crossing import Source
from weft.model.step import Step
from weft.plan.blocks import Grid, Positions
from weft.store.commits import BLOCKED, FAILED, OPEN
from weft.study.coarse import lost
from weft.study.study import Study

Codes = np.ndarray[Any, np.dtype[np.int8]]  # states of elements, as in `weft.store.commits`


def is_lost(states: Codes) -> Any:
    """Which elements failed or are blocked."""
    return (states == FAILED) | (states == BLOCKED)


class Losses:
    """What of a group's steps failed or is blocked, and what of others depends on it.

    Attributes
    ----------
    needed
        Those of the groups that this one needs, which may be itself.
    impossible
        Whether nothing of the group can ever be made.
    """

    def __init__(self, study: Study, steps: Sequence[Step], reads: Iterable[tuple[Step, Source]]) -> None:
        self.study, self.steps = study, steps
        self.needed: Sequence[Losses] = ()
        self.impossible = False
        self.flags: dict[str, dict[int, Any]] = {step.name: {} for step in steps}
        self.sources: dict[str, list[Source]] = {step.name: [] for step in steps}
        for step, source in reads:
            self.sources[step.name].append(source)

    @property
    def grid(self) -> Grid:
        """The blocks of the group."""
        grid = self.study.grid(self.steps[0])
        assert grid is not None
        return grid

    def note(self, step: str, number: int, local: Positions, lost: Any) -> None:
        """Note the lost elements of a block."""
        if lost.any() or number in self.flags[step]:
            flags = self.flags[step].setdefault(number, np.zeros(self.grid.capacity, bool))
            flags[local] = lost

    def total(self, step: str) -> int:
        """How many elements of a step are lost."""
        return sum(int(flags.sum()) for flags in self.flags[step].values())

    def blocked(self, step: Step, group: Mapping[str, Codes], where: Mapping[str, Positions], n: int) -> Any:
        """Which of `n` elements lack something that is lost, of steps before it in the group or of others."""
        found = self.outside(step, where, n)
        for name in self._inputs(step):
            if name in group:
                found = found | is_lost(group[name])
        return found

    def _inputs(self, step: Step) -> list[str]:
        producer = self.study.graph.producer
        return [producer[p.name].name for p in step.parameters if p.name in producer and not step.is_bound(p)]

    def outside(self, step: Step, where: Mapping[str, Positions], n: int) -> Any:
        """Which of `n` elements lack something of another group, or of an iteration before, that is lost."""
        blocked = np.zeros(n, bool)
        for source in self.sources[step.name]:
            made = self.study.graph.producer[source.array]
            other = next(losses for losses in self.needed if made.name in losses.flags)
            reading = np.ones(n, bool)
            for axis in source.first:
                reading &= where[axis] == 0
            at = dict(where)
            for axis in source.back:
                reading &= where[axis] > 0
                at[axis] = np.maximum(where[axis] - 1, 0)
            if other.impossible:
                return reading | blocked
            if other.flags[made.name] and not (step.allow_missing and not source.elementwise):
                blocked |= reading & other.of(made, source, at, n, step)
        return blocked

    def of(self, made: Step, source: Source, where: Mapping[str, Positions], n: int, reader: Step) -> Any:
        """Which of `n` elements of `reader` read something that this group's step `made` will not make."""
        grid, flags = self.grid, self.flags[made.name]
        axes = self.study.graph.axes.get(source.array, ())
        along = [a for a, i in zip(axes, source.indices, strict=True) if i is not None and a in made.axes]
        found = np.zeros(n, bool)
        if len(along) == len(made.axes):
            number, local = grid.locate([np.broadcast_to(where[a], (n,)) for a in made.axes])
            number, local = np.broadcast_to(number, (n,)), np.broadcast_to(local, (n,))
            for block in np.unique(number).tolist():
                if block in flags:
                    found |= (number == block) & flags[block][local]
            return found
        for block, held in flags.items():
            if not held.any():
                continue
            gone = dict(zip(made.axes, grid.storage(grid.at(block), np.flatnonzero(held)), strict=True))
            pairs = [(where[a], gone[a], self.study.axes[a].size or 0) for a in along]
            pairs += lost(self.study, reader, gone, where)
            if not pairs:
                return ~found
            mine, theirs, size = zip(*pairs, strict=True)
            found |= np.isin(np.ravel_multi_index(mine, size), np.ravel_multi_index(theirs, size))
        return found

    def carry_on(self, found: Mapping[str, Codes], before: Sequence[int]) -> None:
        """Block what follows, in later iterations within the block, from what is lost in earlier ones.

        `before` has the position of each element's predecessor, -1 if it is not in the block.
        """
        inputs = {step.name: [i for i in self._inputs(step) if i in found] for step in self.steps}
        carried = {
            step.name: [made.name for made in self.study.graph.carriers(step) if made.name in found]
            for step in self.steps
        }
        lost = {name: is_lost(states).tolist() for name, states in found.items()}
        opened = {name: (states == OPEN).tolist() for name, states in found.items()}
        for position, earlier in enumerate(before):
            for name, states in found.items():
                if opened[name][position] and (
                    any(lost[other][position] for other in inputs[name])
                    or (earlier >= 0 and any(lost[other][earlier] for other in carried[name]))
                ):
                    lost[name][position], states[position] = True, BLOCKED
