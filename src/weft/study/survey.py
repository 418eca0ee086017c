"""The state of every step's elements as the store has it: what a reader sees, and a driver starts from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from weft.contracts import Count
from weft.model.step import Step
from weft.plan.blocks import Positions
from weft.plan.dataflow import Group, fuse, needs, unkept
from weft.store.commits import DONE, FAILED, OPEN, SKIPPED
from weft.study.arguments import Fetcher
from weft.study.arrays import Holds
from weft.study.coarse import in_storage
from weft.study.losses import Codes
from weft.study.study import Study
from weft.study.tracks import Track


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
        part = Group(steps, group.chain)
        made[group.name] = Track(study, part, steps, (), chosen or {}, fetcher)
    for track in made.values():
        # Of loops a track may need itself, and those after it.
        found = needs(study.graph, track.group, home)
        track.needs = tuple((in_storage(study, n), made[n.producer]) for n in found if n.producer in made)
        track.losses.needed = [needed.losses for _, needed in track.needs]
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
        opened = []
        for track in found:
            if track.open():
                opened.append(track)
                for step in track.steps:
                    self._prefill(track, step.name)
            elif not track.impossible and study.shape(track.first) is not None:
                for count in track.counts.values():
                    count.total = track.total()
        for track, number in _in_order(opened):
            if not track.settled[number]:
                track.items(number)
        lost, now = 0, self._lost(opened) if study.graph.loops else 0
        while lost != now:  # what is lost blocks later iterations, and so on
            for track, number in _in_order(opened):
                track.look(number)
            lost, now = now, self._lost(opened)

    @staticmethod
    def _lost(tracks: Iterable[Track]) -> int:
        return sum(track.losses.total(name) for track in tracks for name in track.counts)

    def _groups(self) -> list[Group]:
        """Steps by themselves; those that keep nothing together with the steps that read them."""
        graph, found = self.study.graph, []
        blocks = self.study.blocks
        for group in fuse(graph, lambda step: blocks.get(step.name), blocks):
            together = group.chain or unkept(graph, group.steps)
            found += [group] if together else [Group((step,)) for step in group.steps]
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
        for name, track in self.tracks.items():
            commits = self.study.results[name].commits
            track.counts[name].seconds = sum(c.seconds for found in commits.values() for c in found.values())
        return {name: track.counts[name] for name, track in self.tracks.items()}

    def elements(self, step: str) -> Iterator[tuple[dict[str, Positions], Codes]]:
        """Storage positions on each axis, and states, of a step's wanted elements, block by block."""
        track, made = self.tracks[step], self.study.graph.steps[step]
        grid = track.grid
        if grid is None and self.study.shape(made) is None:
            return
        blocks = grid or self.study.provisional(made)
        for number in range(blocks.n_blocks):
            block = blocks.at(number)
            local = blocks.local(block, track.selection)
            if grid is None:
                states = np.full(len(local), OPEN, np.int8)
            elif len(local) and track.skips(number) == len(local):
                states = np.full(len(local), SKIPPED, np.int8)
            else:
                states = track.look(number)[step]
            if track.ragged:  # beyond the end of a row there are no elements
                local, states = local[states != SKIPPED], states[states != SKIPPED]
            yield dict(zip(made.axes, blocks.storage(block, local), strict=True)), states

    def holding(self, step: Step) -> Holds | None:
        """Which elements of a step are done and not stale, by storage positions; None if all are."""
        if self.tracks[step.name].grid is None:
            return lambda _, n: np.zeros(n, bool)
        done = np.zeros(self.study.shape(step) or (), bool)
        for at, states in self.elements(step.name):
            done[tuple(at.values())] = states == DONE
        if done.all():
            return None
        return lambda where, n: np.broadcast_to(done[tuple(where[axis] for axis in step.axes)], n)

    def complete(self, step: str) -> bool:
        """Whether every wanted element of a step is done."""
        count = self.tracks[step].counts[step]
        return count.total is not None and count.done + count.skipped == count.total and not count.failed


def _in_order(tracks: Sequence[Track]) -> Iterator[tuple[Track, int]]:
    """Every block of some tracks, what it needs before it; in a loop iteration by iteration."""
    bodies: dict[str, list[Track]] = {}
    for track in tracks:
        if track.first.loops:
            bodies.setdefault(track.first.loops[0].name, []).append(track)
    for first in tracks:
        loop = first.first.loops[0].name if first.first.loops else ""
        body = bodies.pop(loop, []) if loop else [first]
        blocks = [(t, number) for t in body for number in range(t.grid.n_blocks if t.grid else 0)]
        if loop:
            axis = {t.group.name: t.first.axes.index(loop) for t in body}
            blocks.sort(key=lambda pair: pair[0].grid.at(pair[1])[axis[pair[0].group.name]])  # type: ignore[union-attr]
        yield from blocks
