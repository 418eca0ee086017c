"""What a group of steps will not make, because it failed, or because what it needs did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from weft.model.crossing import Source
from weft.model.step import Step
from weft.plan.blocks import Grid, Positions
from weft.plan.dataflow import Group, Need, reads
from weft.study.arguments import Fetcher
from weft.study.coarse import lost
from weft.study.study import Study


class Progress(Protocol):
    """What losses ask of a group's track, and of those that it needs."""

    study: Study
    group: Group
    steps: tuple[Step, ...]
    fetcher: Fetcher
    counts: dict[str, Any]
    grid: Grid | None
    impossible: bool
    losses: Losses

    @property
    def needs(self) -> tuple[tuple[Need, Progress], ...]: ...


@dataclass(frozen=True, eq=False)
class States:
    """The states of some elements of a step, as flags; what is none of these is open.

    `skipped` are those that a loop ended before.
    """

    done: Any
    failed: Any
    blocked: Any
    skipped: Any = False

    @cached_property
    def lost(self) -> Any:
        """Failed or blocked."""
        return self.failed | self.blocked

    @property
    def open(self) -> Any:
        """Still to run."""
        return ~(self.done | self.lost | self.skipped)

    def without(self, over: Any) -> States:
        """With elements that a loop ended before, if there are any."""
        if over is None:
            return self
        return States(self.done & ~over, self.failed & ~over, self.blocked & ~over, over)


class Losses:
    """What of a track's steps failed or is blocked, and what of others depends on it."""

    def __init__(self, track: Progress) -> None:
        self.track = track
        self.flags: dict[str, dict[int, Any]] = {step.name: {} for step in track.steps}
        self.sources: dict[str, list[Source]] = {step.name: [] for step in track.steps}
        for step, source in reads(track.study.graph, track.group):
            if step.name in self.sources:
                self.sources[step.name].append(source)

    def note(self, step: str, number: int, local: Positions, lost: Any) -> None:
        """Note the lost elements of a block."""
        if lost.any() or number in self.flags[step]:
            assert self.track.grid is not None
            flags = self.flags[step].setdefault(number, np.zeros(self.track.grid.capacity, bool))
            flags[local] = lost

    def total(self, step: str) -> int:
        """How many elements of a step are lost."""
        return sum(int(flags.sum()) for flags in self.flags[step].values())

    def blocked(self, step: Step, group: Mapping[str, States], where: Mapping[str, Positions], n: int) -> Any:
        """Which of `n` elements lack something that is lost, of steps before it in the group or of others."""
        found = self.outside(step, where, n)
        for name in self._inputs(step):
            if name in group:
                found = found | group[name].lost
        return found

    def _inputs(self, step: Step) -> list[str]:
        producer = self.track.study.graph.producer
        return [producer[p.name].name for p in step.parameters if p.name in producer and not step.is_bound(p)]

    def outside(self, step: Step, where: Mapping[str, Positions], n: int) -> Any:
        """Which of `n` elements lack something of another group, or of an iteration before, that is lost."""
        blocked = np.zeros(n, bool)
        for source in self.sources[step.name]:
            made = self.track.study.graph.producer[source.array]
            track = next(t for _, t in self.track.needs if made.name in t.counts)
            reading = np.ones(n, bool)
            for axis in source.first:
                reading &= where[axis] == 0
            at = dict(where)
            for axis in source.back:
                reading &= where[axis] > 0
                at[axis] = np.maximum(where[axis] - 1, 0)
            if track.impossible:
                return reading | blocked
            if track.losses.flags[made.name] and not (step.allow_missing and not source.elementwise):
                blocked |= reading & track.losses.of(made, source, at, n, step)
        return blocked

    def of(self, made: Step, source: Source, where: Mapping[str, Positions], n: int, reader: Step) -> Any:
        """Which of `n` elements of `reader` read something that this group's step `made` will not make."""
        grid, flags = self.track.grid, self.flags[made.name]
        assert grid is not None
        axes = self.track.study.graph.axes.get(source.array, ())
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
            pairs = [(where[a], gone[a], self.track.study.axes[a].size or 0) for a in along]
            pairs += lost(self.track.study, reader, gone, where)
            if not pairs:
                return ~found
            mine, theirs, size = zip(*pairs, strict=True)
            found |= np.isin(np.ravel_multi_index(mine, size), np.ravel_multi_index(theirs, size))
        return found

    def carry_on(self, found: dict[str, States], where: Mapping[str, Positions], n: int) -> None:
        """Block what follows, in later iterations within the block, from what is lost in earlier ones."""
        track, graph = self.track, self.track.study.graph
        before = track.fetcher.before(track.group.chain, where, n).tolist()
        blocked = {name: states.blocked.copy() for name, states in found.items()}
        inputs = {step.name: [i for i in self._inputs(step) if i in found] for step in track.steps}
        carried = {
            step.name: [made.name for made in graph.carriers(step) if made.name in found]
            for step in track.steps
        }
        lost = {name: states.lost.tolist() for name, states in found.items()}
        fixed = {
            name: (states.done | states.failed | states.skipped).tolist() for name, states in found.items()
        }
        for position in range(n):
            earlier = before[position]
            for name in found:
                if fixed[name][position] or lost[name][position]:
                    continue
                if any(lost[other][position] for other in inputs[name]) or (
                    earlier >= 0 and any(lost[other][earlier] for other in carried[name])
                ):
                    lost[name][position] = blocked[name][position] = True
        for name, states in found.items():
            found[name] = replace(states, blocked=blocked[name])
