"""How far each group of steps is: which blocks are ready, which elements of them are open, and why not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weft.contracts import Count
from weft.model.step import Step
from weft.plan.blocks import Block, Grid, Positions, positions
from weft.plan.dataflow import Group, Need, begins, reads, required, unkept
from weft.store.commits import BLOCKED, DONE, FAILED, OPEN, SKIPPED, STATES, BlockState, Commit
from weft.study.arguments import Fetcher, Item
from weft.study.ends import absent, skipped
from weft.study.losses import Codes, Losses, is_lost
from weft.study.pieces import by_signature, in_turn
from weft.study.queue import Queue
from weft.study.study import Study


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
    told
        For each step and block how many of its elements are done, blocked and skipped, as counted.
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
    ready: Queue = field(default_factory=Queue)
    out: Counter[int] = field(default_factory=Counter)
    failed: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    n_settled: int = 0
    ended: list[int] = field(default_factory=list)
    told: dict[tuple[str, int], tuple[int, int, int]] = field(default_factory=dict)
    measured: tuple[int, float] = (0, 0.0)

    def __post_init__(self) -> None:
        self.counts = {step.name: Count() for step in self.steps}
        self.first = self.steps[0]
        self.unkept = unkept(self.study.graph, self.steps)
        graph = self.study.graph
        self.losses = Losses(self.study, self.steps, reads(graph, self.group))
        # Of the first step's outputs, without the axes that it opens.
        self.ragged = any(axis in graph.ragged for axis in self.first.axes)
        self.sparse = self.ragged or any(axis in graph.loops for axis in self.first.axes)

    @property
    def impossible(self) -> bool:
        """Whether nothing of it can ever be made."""
        return self.losses.impossible

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
        lengths = zip(self.study.shape(self.first) or (), self.selection, strict=True)
        return math.prod(length if picked is None else len(picked) for length, picked in lengths)

    def open(self) -> bool:
        """Set the blocks up once the shape and the block size are known; whether that is so."""
        if self.grid is not None or self.impossible:
            return self.grid is not None
        shape = self.study.shape(self.first)
        if shape is None:
            opener_over = all(t.finished for n, t in self.needs)
            if opener_over:
                self.losses.impossible = True
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
        self._tell_done(step.name, self.grid.number(block), done)

    def _tell_done(self, step: str, number: int, done: int) -> None:
        """Count the done elements of a block, and the others as they were."""
        self._tell(step, number, done, *self.told.get((step, number), (0, 0, 0))[1:])

    def _tell(self, step: str, number: int, done: int, blocked: int = 0, skipped: int = 0) -> None:
        """Count elements of a block by state, instead of what was counted before."""
        before, count = self.told.get((step, number), (0, 0, 0)), self.counts[step]
        self.told[step, number] = (done, blocked, skipped)
        count.done += done - before[0]
        count.blocked += blocked - before[1]
        if self.ragged:  # there never were such elements
            count.total = (count.total or 0) - skipped + before[2]
        else:
            count.skipped += skipped - before[2]

    def skips(self, number: int) -> int:
        """How many elements of a block a loop, or a row, ended before, as far as it was looked at."""
        return self.told.get((self.first.name, number), (0, 0, 0))[2]

    def count(self, commit: Commit) -> None:
        """Count what a commit of this session adds."""
        count = self.counts[commit.step]
        count.seconds += commit.seconds
        assert self.grid is not None
        number = self.grid.number(commit.block)
        if commit.n_done:
            before = self.told.get((commit.step, number), (0, 0, 0))[0]
            self._tell_done(commit.step, number, before + commit.n_done)
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
        self._tell_done(damaged.step, number, 0)
        self.known[number] = False
        self.consider(number)

    def release(self, numbers: Iterable[int]) -> None:
        """A job that was at work on blocks has ended."""
        self.out -= Counter(numbers)

    def look_again(self) -> None:
        """Find anew what can be sent: something that it needs may be open again."""
        if self.grid is not None:
            self.ready = Queue()
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
        self.ready.add(number)

    def look(self, number: int) -> dict[str, Codes]:
        """For each step the states of a block's wanted elements, which are counted."""
        assert self.grid is not None
        grid, block = self.grid, self.grid.at(number)
        local = grid.local(block, self.selection)
        n, where = len(local), dict(zip(self.first.axes, grid.storage(block, local), strict=True))
        over = absent(self.study, self.first.outputs[0], where, n) if self.sparse else None
        found: dict[str, Codes] = {}
        for step in self.steps:
            states = found[step.name] = np.full(n, OPEN, np.int8)
            known = self.failed.get((step.name, number), ())
            blocked = self.losses.blocked(step, found, where, n)
            states[blocked] = BLOCKED
            states[np.isin(local, list(known))] = FAILED
            states[self._done(step, grid, block, local)] = DONE
            if over is not None:
                states[over] = SKIPPED
        if self.group.chain and any(is_lost(states).any() for states in found.values()):
            self.losses.carry_on(found, self.fetcher.before(self.group.chain, where, n).tolist())
        for name, states in found.items():
            self.losses.note(name, number, local, is_lost(states))
        for step in reversed(self.steps) if self.unkept else ():
            if step.name in self.unkept:
                self._on_demand(step, found)
        for name, states in found.items():
            n_of = np.bincount(states, minlength=len(STATES)).tolist()
            self._tell(name, number, n_of[DONE], n_of[BLOCKED], n_of[SKIPPED])
        return found

    def _on_demand(self, step: Step, found: Mapping[str, Codes]) -> None:
        """Let a step that keeps nothing be open only where a step that reads it is."""
        states = found[step.name]
        needed = np.zeros(len(states), bool)
        for other in self.steps:
            if any(p.name in step.outputs for p in other.parameters if not other.is_bound(p)):
                needed |= found[other.name] == OPEN
        possible = (states == OPEN) | (states == DONE)
        states[possible] = np.where(needed, OPEN, DONE)[possible]

    def items(self, number: int) -> list[Item]:
        """What is open in a block, and can run now; if nothing is, the block is settled by that."""
        assert self.grid is not None
        found = self.look(number)
        opened = np.stack(list(found.values())) == OPEN
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
            if self.skips(number) and not self.group.chain:
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
                    for step in self.steps:
                        self._tell(step.name, other, 0, 0, len(local) if asked else 0)

    def _done(self, step: Step, grid: Grid, block: Block, local: Positions) -> Any:
        results = self.study.results[step.name]
        if block not in results.commits:
            return np.zeros(len(local), bool)
        state = results.state(grid, block)
        if _all_done(state, grid):
            done = np.ones(len(local), bool)
        else:
            done = state.states()[local] == DONE
        return self.fetcher.holding(step, grid, block, local, done) if done.any() else done


def _all_done(state: BlockState, grid: Grid) -> bool:
    return state.whole is not None and state.whole.done == ((0, grid.capacity),)
