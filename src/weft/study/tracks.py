"""How far each group of steps is: which blocks are ready, which elements of them are open, and why not."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weft.model.crossing import Read
from weft.model.step import Step
from weft.plan.blocks import Block, Grid, Positions, positions
from weft.plan.dataflow import Group, Need, reads, required, unkept
from weft.store.commits import DONE, BlockState, Commit
from weft.study.arguments import Fetcher, Item
from weft.study.study import Study
from weft.study.validity import valid

PILOT_CANDIDATES = 4096


@dataclass
class Count:
    """Elements of a step by state; `total` is None while its shape is unknown."""

    total: int | None = None
    done: int = 0
    failed: int = 0
    blocked: int = 0
    seconds: float = 0.0


@dataclass(eq=False)
class Track:
    """The progress of one group.

    Attributes
    ----------
    settled, bad
        For each block: whether nothing of it is open any more, and whether some of it is not done.
    ready
        Numbers of blocks that can be sent, a heap: earlier ones first.
    out
        For each block how many jobs are at work on it.
    pilots_out, held
        Pilots under way, and the blocks that they turned out to lie in, by token.
    lost
        Flags by local position, of elements that failed or are blocked, by step and block number.
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
    bad: Any = None
    known: Any = None
    ready: list[int] = field(default_factory=list)
    out: dict[int, int] = field(default_factory=dict)
    failed: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    pilots_out: dict[str, Item] = field(default_factory=dict)
    held: dict[str, tuple[int, ...]] = field(default_factory=dict)
    impossible: bool = False
    n_settled: int = 0
    lost: dict[tuple[str, int], Any] = field(default_factory=dict)
    counted: dict[tuple[str, int], int] = field(default_factory=dict)
    measured: tuple[int, float] = (0, 0.0)

    def __post_init__(self) -> None:
        self.counts = {step.name: Count() for step in self.steps}
        self.first = self.steps[0]
        self.unkept = unkept(self.study.graph, self.steps)
        self.reads = [r for r in reads(self.study.graph, self.group) if r.step in self.counts]

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
        self.bad = np.zeros(grid.n_blocks, bool)
        self.known = np.zeros(grid.n_blocks, bool)
        for token, item in self.pilots_out.items():
            self.held[token] = tuple(grid.number(part.block) for part in self.placed(item))
            for number in self.held[token]:
                self.out[number] = self.out.get(number, 0) + 1
        for step in self.steps:
            for block in self.study.results[step.name].blocks(grid):
                self._recount_block(step, block)
        for number in range(grid.n_blocks):
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
        for name, (done, _, _) in self.look(number).items():
            self._counted(name, number, int(done.sum()))

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
        if self.settled[number] or self.known[number] or self.out.get(number):
            return
        block = self.grid.at(number)
        for need, track in self.needs:
            if track.impossible:
                continue
            if track.grid is None or track.settled is None:
                return
            part = required(need, self.first.axes, self.grid.box(block), track.first.axes, track.grid)
            flags = track.settled.reshape(track.grid.counts)[part] if track.grid.counts else track.settled
            if not flags.all():
                return
        self.known[number] = True
        heapq.heappush(self.ready, number)

    def look(self, number: int) -> dict[str, tuple[Any, Any, Any]]:
        """For each step, of a block's wanted elements: which are done, failed, blocked; the rest are open."""
        assert self.grid is not None
        grid, block = self.grid, self.grid.at(number)
        local = grid.local(block, self.selection)
        lost: dict[str, Any] = {}
        found = {}
        for step in self.steps:
            done = self._done(step, grid, block, local)
            failed = self._failed(step, number, local) & ~done
            blocked = self._blocked(step, block, local, lost) & ~done & ~failed
            for output in step.outputs:
                lost[output] = failed | blocked
            found[step.name] = (done, failed, blocked)
            if (failed | blocked).any():
                self.bad[number] = True
                flags = self.lost.setdefault((step.name, number), np.zeros(grid.capacity, bool))
                flags[local] = failed | blocked
        for step in reversed(self.steps) if self.unkept else ():
            if step.name in self.unkept:
                found[step.name] = self._on_demand(step, found)
        return found

    def _on_demand(self, step: Step, found: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        """The state of a step that keeps nothing: it is open only where a step that reads it is."""
        _, failed, blocked = found[step.name]
        needed = np.zeros(len(failed), bool)
        for other in self.steps:
            if any(p.name in step.outputs for p in other.parameters if not other.is_bound(p)):
                needed |= ~np.logical_or.reduce(found[other.name])
        return ~needed & ~failed & ~blocked, failed, blocked

    def items(self, number: int) -> list[Item]:
        """What is open in a block; if nothing is, the block is settled by that."""
        assert self.grid is not None
        found = self.look(number)
        opened = np.stack([~(done | failed | blocked) for done, failed, blocked in found.values()])
        if opened.any():
            block = self.grid.at(number)
            return list(_by_signature(list(found), block, self.grid.local(block, self.selection), opened))
        if not self.settled[number]:
            self.settled[number] = True
            self.n_settled += 1
            for name, (done, _, blocked) in found.items():
                self.counts[name].blocked += int(blocked.sum())
                self._counted(name, number, int(done.sum()))
        return []

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

    def _blocked(self, step: Step, block: Block, local: Positions, lost: Mapping[str, Any]) -> Any:
        blocked = np.zeros(len(local), bool)
        for parameter in step.parameters:
            if parameter.name in lost and not step.is_bound(parameter):
                blocked |= lost[parameter.name]
        assert self.grid is not None
        return blocked | self.blocked_outside(step, self.grid, block, local)

    def blocked_outside(self, step: Step, grid: Grid, block: Block, local: Positions) -> Any:
        """Which elements of a block lack something from another group that failed or is blocked."""
        blocked = np.zeros(len(local), bool)
        where: dict[str, Positions] | None = None
        for read in self.reads:
            if read.step != step.name:
                continue
            made = self.study.graph.producer[read.name]
            track = next(t for _, t in self.needs if made.name in t.counts)
            if track.impossible:
                return ~blocked
            if track.bad is None or not track.bad.any() or (step.allow_missing and not read.elementwise):
                continue
            if where is None:
                where = dict(zip(step.axes, grid.storage(block, local), strict=True))
            blocked |= track.lost_for(made, read, where, len(local))
        return blocked

    def lost_for(self, made: Step, read: Read, where: Mapping[str, Positions], n: int) -> Any:
        """Which of `n` elements read something that this group's step `made` will not make."""
        assert self.grid is not None
        axes = self.study.graph.axes.get(read.name, ())
        along = [
            a for a, index in zip(axes, read.indices, strict=True) if index is not None and a in made.axes
        ]
        numbers = [number for step, number in self.lost if step == made.name]
        found = np.zeros(n, bool)
        for number in numbers:
            flags = self.lost[made.name, number]
            at = self.grid.storage(self.grid.at(number), np.flatnonzero(flags))
            gone = dict(zip(made.axes, at, strict=True))
            if not along:
                return ~found
            size = [self.study.axes[a].size or 0 for a in along]
            mine = np.ravel_multi_index([where[a] for a in along], size)
            found |= np.isin(mine, np.ravel_multi_index([gone[a] for a in along], size))
        return found

    def pilots(self, workers: int) -> list[Item]:
        """The first few elements that can run, to learn how long they take: an item for each worker."""
        grid = self.study.provisional(self.first)
        chosen = self.selection
        total = self.total()
        few = min(total, PILOT_CANDIDATES)
        local = _first(grid, chosen, few)
        where = dict(zip(self.first.axes, grid.storage(grid.at(0), local), strict=True))
        able = np.ones(len(local), bool)
        for need, track in self.needs:
            if track.impossible:
                continue
            if track.grid is None:
                return []
            positions = [where[a] if a in need.along else None for a in track.first.axes]
            if any(p is None for p in positions) or not positions:
                able &= bool(track.settled.all())
            else:
                at, _ = track.grid.locate([p for p in positions if p is not None])
                able &= track.settled[at]
        local = local[able]
        if not len(local):
            return []
        names = [step.name for step in self.steps]
        each = max(1, min(64, len(local) // (4 * workers) or 1))
        for step in self.steps:
            local = local[~self.blocked_outside(step, grid, grid.at(0), local)]
        if not len(local):
            # All of the first are blocked: the blocks must be chosen without measuring.
            return [Item.of(names, grid.at(0), local)]
        parts = [local[i * each : (i + 1) * each] for i in range(workers)]
        return [Item.of(names, grid.at(0), part) for part in parts if len(part)]


def _all_done(state: BlockState, grid: Grid) -> bool:
    return state.whole is not None and state.whole.done == ((0, grid.capacity),)


def _first(grid: Grid, chosen: list[Any], few: int) -> Positions:
    """The first `few` wanted positions of a grid of one block."""
    sizes = [n if p is None else len(p) for n, p in zip(grid.shape, chosen, strict=True)]
    flat = np.unravel_index(np.arange(few), sizes)
    local = np.zeros(few, np.int64)
    for place, index in enumerate(flat):
        local = local * grid.block[place] + (index if chosen[place] is None else chosen[place][index])
    return local


def _by_signature(names: list[str], block: Block, local: Positions, opened: Any) -> Iterable[Item]:
    """One item for each set of steps that is open at the same elements."""
    if opened.all():
        yield Item.of(names, block, local)
        return
    if len(names) < 63:
        signatures = (opened * (1 << np.arange(len(names)))[:, None]).sum(axis=0)
    else:  # more than an integer has bits
        signatures = np.unique(opened, axis=1, return_inverse=True)[1].reshape(-1)
    for signature in np.unique(signatures).tolist():
        where = signatures == signature
        steps = [name for name, is_open in zip(names, opened[:, where.argmax()], strict=True) if is_open]
        if steps:
            yield Item.of(steps, block, local[where])
