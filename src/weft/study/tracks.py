"""How far each group of steps is: which blocks are ready, which elements of them are open, and why not."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from weft.contracts import Count
from weft.model.step import Step
from weft.plan.blocks import Block, Grid, Positions, positions
from weft.plan.dataflow import Group, Need, begins, required, unkept
from weft.store.commits import DONE, BlockState, Commit
from weft.study.arguments import Fetcher, Item
from weft.study.ends import absent, skipped
from weft.study.losses import Losses, States
from weft.study.pieces import by_signature, in_turn
from weft.study.study import Study
from weft.study.validity import valid


@dataclass(eq=False)
class Track:
    """The progress of one group.

    Attributes
    ----------
    settled
        For each block: whether nothing of it is open any more.
    ready
        Numbers of blocks that can be sent, a heap: earlier ones first.
    out
        For each block how many jobs are at work on it.
    skips
        For each block how many of its elements a loop ended before.
    ended
        Blocks that were settled because a loop had ended, and that nobody was told of.
    failed
        Local positions that failed in this session, by step and block number.
    """

    study: Study
    group: Group
    steps: tuple[Step, ...]
    needs: tuple[tuple[Need, Track], ...]
    chosen: Mapping[str, Positions]
    fetcher: Fetcher
    counts: dict[str, Count] = field(default_factory=dict)
    grid: Grid | None = None
    settled: Any = None
    known: Any = None
    ready: list[int] = field(default_factory=list)
    out: Counter[int] = field(default_factory=Counter)
    failed: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    impossible: bool = False
    n_settled: int = 0
    skips: dict[int, int] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    counted: dict[tuple[str, int], int] = field(default_factory=dict)
    measured: tuple[int, float] = (0, 0.0)

    def __post_init__(self) -> None:
        self.counts = {step.name: Count() for step in self.steps}
        self.first = self.steps[0]
        self.unkept = unkept(self.study.graph, self.steps)
        self.losses = Losses(self)
        graph = self.study.graph
        # Of the first step's outputs, without the axes that it opens.
        self.ragged = any(axis in graph.ragged for axis in self.first.axes)
        self.sparse = self.ragged or any(axis in graph.loops for axis in self.first.axes)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do, now or later."""
        return self.impossible or (self.grid is not None and self.n_settled == self.grid.n_blocks)

    @property
    def selection(self) -> list[Any]:
        """Wanted storage positions along each axis, None for all."""
        return self.study.selection(self.first, self.chosen)

    def total(self) -> int:
        """Number of wanted elements."""
        shape = self.study.shape(self.first) or ()
        n = 1
        for length, picked in zip(shape, self.selection, strict=True):
            n *= length if picked is None else len(picked)
        return n

    def open(self) -> bool:
        """Set the blocks up once the shape and the block size are known; whether that is so."""
        if self.grid is not None or self.impossible:
            return self.grid is not None
        shape = self.study.shape(self.first)
        if shape is None:
            opener_over = all(t.finished for n, t in self.needs)
            if opener_over:
                self.impossible = True
                for count in self.counts.values():
                    count.blocked += 1
            return False
        total = self.total()
        if self.ragged and total == 0 and not all(t.finished for _, t in self.needs):
            return False  # the rows known so far are empty; others may not be
        for count in self.counts.values():
            count.total = total
        grid = self.study.grid(self.first)
        if grid is None and total == 0:
            self.study.blocks.update({step.name: tuple(1 for _ in shape) for step in self.steps})
            grid = self.study.grid(self.first)
        if grid is None:
            return False
        for step in self.group.steps:
            self.study.blocks[step.name] = grid.block
        self.grid = grid
        self.settled = np.zeros(grid.n_blocks, bool)
        self.known = np.zeros(grid.n_blocks, bool)
        for step in self.steps:
            for block in self.study.results[step.name].blocks(grid):
                self._recount_block(step, block)
        for number in range(grid.n_blocks):
            self.consider(number)
        return True

    def widen(self) -> bool:
        """Take up that rows are longer than was known; whether there are more blocks."""
        shape = self.study.shape(self.first)
        if self.grid is None or shape is None or shape == self.grid.shape:
            return False
        old, self.grid = self.grid, Grid(shape, self.grid.block)
        more = self.grid.n_blocks - old.n_blocks
        self.settled, self.known = (np.append(f, np.zeros(more, bool)) for f in (self.settled, self.known))
        for count in self.counts.values():
            count.total = (count.total or 0) + self.grid.n_elements - old.n_elements
        for number in range(self.grid.n_blocks):
            if number >= old.n_blocks or self.grid.size(self.grid.at(number)) > old.size(
                self.grid.at(number)
            ):
                if self.settled[number]:  # what is added to it is beyond the ends of its rows
                    self.look(number)
                else:
                    self.consider(number)
        return True

    def _recount_block(self, step: Step, block: Block) -> None:
        """Count the done elements of a block as its commits say."""
        assert self.grid is not None
        local = self.grid.local(block, self.selection)
        state = self.study.results[step.name].state(self.grid, block)
        done = len(local) if _all_done(state, self.grid) else int((state.states()[local] == DONE).sum())
        self._counted(step.name, self.grid.number(block), done)

    def _counted(self, step: str, number: int, done: int) -> None:
        self.counts[step].done += done - self.counted.get((step, number), 0)
        self.counted[step, number] = done

    def count_valid(self, number: int) -> None:
        """Count the done elements of a block that still hold: stale ones are open again."""
        for name, states in self.look(number).items():
            self._counted(name, number, int(states.done.sum()))

    def count(self, commit: Commit) -> None:
        """Count what a commit of this session adds."""
        count = self.counts[commit.step]
        count.seconds += commit.seconds
        assert self.grid is not None
        number = self.grid.number(commit.block)
        if commit.n_done:
            self._counted(commit.step, number, self.counted.get((commit.step, number), 0) + commit.n_done)
        for low, high in commit.failed:
            self.failed.setdefault((commit.step, number), set()).update(range(low, high))
        count.failed += commit.n_failed

    def recount(self, step: Step) -> None:
        """Look in the store for what a dead worker committed."""
        assert self.grid is not None
        results = self.study.results[step.name].refresh().settle()
        for block in results.blocks(self.grid):
            self._recount_block(step, block)

    def placed(self, item: Item) -> list[Item]:
        """A pilot's item, which counts in one block of everything, in the blocks that were chosen."""
        assert self.grid is not None
        whole = self.study.provisional(self.first)
        number, local = self.grid.locate(whole.storage(item.block, positions(item.local)))
        return [
            Item.of(item.steps, self.grid.at(block), local[number == block])
            for block in np.unique(number).tolist()
        ]

    def reopen(self, number: int, damaged: Commit) -> None:
        """A block lost a commit: what it held is open again."""
        if self.settled[number]:
            self.settled[number] = False
            self.n_settled -= 1
        self._counted(damaged.step, number, 0)
        self.known[number] = False
        self.consider(number)

    def release(self, numbers: Iterable[int]) -> None:
        """A job that was at work on blocks has ended."""
        self.out -= Counter(numbers)

    def look_again(self) -> None:
        """Find anew what can be sent: something that it needs may be open again."""
        if self.grid is not None:
            self.ready.clear()
            self.known[:] = False
            for number in range(self.grid.n_blocks):
                self.consider(number)

    def consider(self, number: int) -> None:
        """Look whether a block can be sent now."""
        assert self.grid is not None
        if self.settled[number] or self.known[number] or self.out[number]:
            return
        block = self.grid.at(number)
        for need, track in self.needs:
            own = track is self
            if track.impossible or begins(need, self.first.axes, self.grid.box(block), own):
                continue
            if track.grid is None or track.settled is None:
                return
            part = required(need, self.first.axes, self.grid.box(block), track.first.axes, track.grid, own)
            flags = (
                track.settled.reshape(track.grid.counts, order="F")[part]
                if track.grid.counts
                else track.settled
            )
            if not flags.all():
                return
        self.known[number] = True
        heapq.heappush(self.ready, number)

    def look(self, number: int) -> dict[str, States]:
        """For each step the states of a block's wanted elements."""
        assert self.grid is not None
        grid, block = self.grid, self.grid.at(number)
        local = grid.local(block, self.selection)
        where = dict(zip(self.first.axes, grid.storage(block, local), strict=True))
        over = absent(self.study, self.first.outputs[0], where, len(local)) if self.sparse else None
        found: dict[str, States] = {}
        for step in self.steps:
            done = self._done(step, grid, block, local)
            failed = self._failed(step, number, local) & ~done
            blocked = self.losses.blocked(step, found, where, len(local)) & ~done & ~failed
            found[step.name] = States(done, failed, blocked).without(over)
        if self.group.chain and any(states.lost.any() for states in found.values()):
            self.losses.carry_on(found, where, len(local))
        for name, states in found.items():
            self.losses.note(name, number, local, states.lost)
        for step in reversed(self.steps) if self.unkept else ():
            if step.name in self.unkept:
                found[step.name] = self._on_demand(step, found)
        self._skipped(number, 0 if over is None else int(over.sum()))
        return found

    def _on_demand(self, step: Step, found: Mapping[str, States]) -> States:
        """The state of a step that keeps nothing: it is open only where a step that reads it is."""
        states = found[step.name]
        needed = np.zeros(len(states.done), bool)
        for other in self.steps:
            if any(p.name in step.outputs for p in other.parameters if not other.is_bound(p)):
                needed |= found[other.name].open
        return replace(states, done=~(needed | states.lost | states.skipped))

    def items(self, number: int) -> list[Item]:
        """What is open in a block, and can run now; if nothing is, the block is settled by that."""
        assert self.grid is not None
        found = self.look(number)
        opened = np.stack([states.open for states in found.values()])
        if opened.any():
            block = self.grid.at(number)
            local = self.grid.local(block, self.selection)
            if self.group.chain:
                where = dict(zip(self.first.axes, self.grid.storage(block, local), strict=True))
                before = self.fetcher.before(self.group.chain, where, len(local))
                opened &= in_turn(opened, before)
            return list(by_signature(list(found), block, local, opened))
        if not self.settled[number]:
            self.settled[number] = True
            self.n_settled += 1
            for name, states in found.items():
                self.counts[name].blocked += int(states.blocked.sum())
                self._counted(name, number, int(states.done.sum()))
            if self.skips.get(number) and not self.group.chain:
                self._end_after(number)
        return []

    def _end_after(self, number: int) -> None:
        """Settle at once all blocks of iterations that come after one before which their loop ended."""
        assert self.grid is not None
        grid, block = self.grid, self.grid.at(number)
        local = grid.local(block, self.selection)
        where = dict(zip(self.first.axes, grid.storage(block, local), strict=True))
        for loop in self.first.loops:
            over = skipped(self.study, (loop.name,), where, len(local))
            if over is None or not over.all():
                continue
            place = self.first.axes.index(loop.name)
            later = [slice(index, index + 1) for index in block]
            later[place] = slice(block[place] + 1, grid.counts[place])
            picked = self.selection[place]
            wanted = None if picked is None else set(picked.tolist())
            for other in grid.numbers(later):
                if not self.settled[other] and other not in self.out:
                    self.settled[other] = True
                    self.n_settled += 1
                    self.ended.append(other)
                    # A block has one position along that axis: as many, or none, if fewer are asked for now.
                    asked = wanted is None or grid.at(other)[place] in wanted
                    self._skipped(other, len(local) if asked else 0)
                    for step in self.steps:
                        if self.counted.get((step.name, other)):
                            self._counted(step.name, other, 0)

    def _skipped(self, number: int, n: int) -> None:
        """Count how many elements of a block a loop, or a row, ended before."""
        more = n - self.skips.get(number, 0)
        if more:
            self.skips[number] = n
            for count in self.counts.values():
                if self.ragged:  # there never were such elements
                    count.total = (count.total or 0) - more
                else:
                    count.skipped += more

    def _done(self, step: Step, grid: Grid, block: Block, local: Positions) -> Any:
        results = self.study.results[step.name]
        if block not in results.commits:
            return np.zeros(len(local), bool)
        state = results.state(grid, block)
        if _all_done(state, grid):
            done = np.ones(len(local), bool)
        else:
            done = state.states()[local] == DONE
        return valid(self.study, self.fetcher, step, grid, block, local, done) if done.any() else done

    def _failed(self, step: Step, number: int, local: Positions) -> Any:
        known = self.failed.get((step.name, number))
        if not known:
            return np.zeros(len(local), bool)
        return np.isin(local, np.fromiter(known, np.int64, len(known)))


def _all_done(state: BlockState, grid: Grid) -> bool:
    return state.whole is not None and state.whole.done == ((0, grid.capacity),)
