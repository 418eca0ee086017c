"""The state of every step's elements as the store has it: what a reader sees, and a driver starts from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from weft.plan.blocks import Positions
from weft.plan.dataflow import Group, fuse, needs, unkept
from weft.store.commits import DONE, FAILED
from weft.study.arguments import Fetcher
from weft.study.arrays import Assembled
from weft.study.study import Study
from weft.study.tracks import Count, Track
from weft.values.columns import concat


def tracks_of(
    study: Study, groups: Iterable[Group], chosen: Mapping[str, Positions] | None = None, wanted: Any = None
) -> list[Track]:
    """A track for each group; with `wanted` only for those steps."""
    groups = list(groups)
    home = {step.name: group.name for group in groups for step in group.steps}
    fetcher = Fetcher.of(study)
    made: dict[str, Track] = {}
    for group in groups:
        steps = tuple(s for s in group.steps if wanted is None or s.name in wanted)
        if not steps:
            continue
        part = Group(steps)
        needed = tuple((n, made[n.producer]) for n in needs(study.graph, part, home) if n.producer in made)
        made[group.name] = Track(study, part, steps, needed, chosen or {}, fetcher)
    return list(made.values())


class Survey:
    """What is done, failed, blocked and open in a study, step by step.

    Fusion is the driver's affair, but for steps that keep nothing.

    Parameters
    ----------
    chosen, wanted
        Storage positions on some axes, and steps, that were asked for; all unless given.
    """

    def __init__(
        self,
        study: Study,
        chosen: Mapping[str, Positions] | None = None,
        wanted: frozenset[str] | None = None,
    ) -> None:
        self.study = study
        found = tracks_of(study, self._groups(), chosen, wanted)
        self.tracks = {step.name: track for track in found for step in track.steps}
        for track in found:
            if track.open():
                for step in track.steps:
                    self._prefill(track, step.name)
                for number in range(track.grid.n_blocks if track.grid else 0):
                    if track.items(number):
                        track.count_valid(number)
            elif not track.impossible and study.shape(track.first) is not None:
                for count in track.counts.values():
                    count.total = track.total()

    def _groups(self) -> list[Group]:
        """Steps by themselves; those that keep nothing together with the steps that read them."""
        graph, found = self.study.graph, []
        for group in fuse(graph, lambda step: self.study.blocks.get(step.name)):
            found += [group] if unkept(graph, group.steps) else [Group((step,)) for step in group.steps]
        return found

    def _prefill(self, track: Track, name: str) -> None:
        """Count failures of earlier sessions as failures: a reader does not retry."""
        assert track.grid is not None
        results = self.study.results[name]
        for block in results.blocks(track.grid):
            if any(c.failed for c in results.commits[block].values()):
                states = results.state(track.grid, block).states()
                local = track.grid.local(block, track.selection)
                failed = local[states[local] == FAILED]
                if len(failed):
                    track.failed[name, track.grid.number(block)] = set(failed.tolist())
                    track.counts[name].failed += len(failed)

    def counts(self) -> dict[str, Count]:
        """Elements of each step by state."""
        return {name: self._count(track, name) for name, track in self.tracks.items()}

    def _count(self, track: Track, name: str) -> Count:
        count = track.counts[name]
        commits = self.study.results[name].commits
        count.seconds = sum(c.seconds for found in commits.values() for c in found.values())
        if track.grid is not None:
            count.blocked = sum(int(f.sum()) for (s, _), f in track.lost.items() if s == name) - count.failed
        return count

    def states(self, step: str) -> Iterator[tuple[tuple[int, ...], Positions, Any]]:
        """Each block, its wanted local positions and their states: 0 open, 1 done, 2 failed, 3 blocked."""
        track = self.tracks[step]
        if track.grid is None:
            return
        for number in range(track.grid.n_blocks):
            block = track.grid.at(number)
            done, failed, blocked = track.look(number)[step]
            yield block, track.grid.local(block, track.selection), done * 1 + failed * 2 + blocked * 3

    def complete(self, step: str) -> bool:
        """Whether every wanted element of a step is done."""
        count = self.tracks[step].counts[step]
        return count.total is not None and count.done == count.total and not np.any(count.failed)


def without_stale(
    survey: Survey, step: str, name: str, found: Assembled, chosen: Mapping[str, Positions] | None = None
) -> Assembled:
    """An array without the values that were made from something that has changed since."""
    study, track = survey.study, survey.tracks[step]
    grid = track.grid
    if grid is None:
        return Assembled(concat([]), found.shape, np.empty(0, np.int64))
    flags = np.zeros((grid.n_blocks, grid.capacity), bool)
    for number, (_, local, states) in enumerate(survey.states(step)):
        flags[number, local] = states == DONE
    if flags.all():
        return found
    axes = study.graph.axes.get(name, ())
    along = [chosen[a] if chosen and a in chosen else study.axes[a].positions for a in axes]
    mesh = dict(zip(axes, np.meshgrid(*along, indexing="ij"), strict=True)) if along else {}
    made = study.graph.steps[step]
    if made.axes:
        numbers, local = grid.locate([mesh[a].reshape(-1) for a in made.axes])
        valid = flags[numbers, local]
    else:
        valid = np.full(math.prod(found.shape), flags[0, 0])
    present = np.arange(len(valid)) if found.present is None else found.present
    kept = valid[present]
    if kept.all():
        return found
    return Assembled(found.column.take(np.flatnonzero(kept)), found.shape, present[kept])
