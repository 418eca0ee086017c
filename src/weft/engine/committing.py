"""From results in a worker's lists to commits in the store, behind the worker's back."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from weft.engine.control import Control
from weft.engine.jobs import Job, Report
from weft.engine.lanes import Lane
from weft.engine.memory import forget_peak, peak_memory
from weft.plan.blocks import Grid, Positions, block_elements, positions, ranges
from weft.store.commits import Commit, Failure, Payload
from weft.study.arguments import Arguments, Carried, Item
from weft.study.study import Study
from weft.values.columns import RowsColumn, TypedColumn
from weft.values.traces import joined, traced

UNWATCHED = 64  # elements in memory that are run without the second thread, which takes 0.1 ms to start
MOST_FAILURES = 20  # failures that a report carries; all of them are in the commits


@dataclass
class Work:
    """An item being run: its lanes, and how far they are."""

    item: Item
    local: Positions
    grid: Grid
    n: int
    arguments: Arguments
    lanes: list[Lane] = field(default_factory=list)
    reached: int = 0
    running: int = 0
    started: float = field(default_factory=time.time)
    peak: int = 0

    def where(self) -> tuple[str, list[int]]:
        """Step and storage position of the element that runs now."""
        lane = self.lanes[self.running]
        at = self.local[min(len(lane.results), self.n - 1)]
        return lane.step.name, [int(p) for p in self.grid.storage(self.item.block, at)]


class Committer:
    """Commits finished items, and what is done of the current one every so often.

    It has a thread of its own: the next elements run while the disk syncs, and a long call does not keep
    earlier results from the disk. A job of one element has neither, and does without.
    """

    def __init__(self, study: Study, job: Job, report: Report, control: Control) -> None:
        self.study, self.job, self.report, self.control = study, job, report, control
        self.current: Work | None = None
        self.problem: BaseException | None = None
        self.thread: threading.Thread | None = None
        self.waiting: queue.Queue[Work | None] = queue.Queue(maxsize=2)
        self.seen: tuple[Work | None, int] = (None, 0)
        self.durable = study.store.durable

    def begin(self, work: Work) -> None:
        """An item starts."""
        alone = len(self.job.items) == 1 and work.n == 1
        if self.thread is None and (work.n > UNWATCHED or (self.durable and not alone)):
            self.thread = threading.Thread(
                target=copy_context().run, args=(self._loop,), name="weft-committer", daemon=True
            )
            self.thread.start()
        if self.job.driver is not None:
            forget_peak()
        self.current = work
        if self.problem is not None:
            raise self.problem

    def finish(self, work: Work) -> None:
        """An item has ended, or was left: commit what is done."""
        self.current = None
        work.peak = peak_memory(self.job.driver is not None)
        if not self.durable or self.thread is None:
            self._flush(work, final=True)
        else:
            self.waiting.put(work)

    def close(self) -> BaseException | None:
        """Wait until all is committed; what went wrong, if anything did."""
        self.current = None
        if self.thread is not None:
            self.waiting.put(None)
            self.thread.join()
        return self.problem

    def _loop(self) -> None:
        due = time.monotonic() + self.job.flush_seconds if self.durable else math.inf
        while True:
            try:
                work = self.waiting.get(timeout=min(0.25, max(0.01, due - time.monotonic())))
                if work is None:
                    return
                final = True
            except queue.Empty:
                work, final = self.current, False
                self._look(work)
                if work is None or time.monotonic() < due:
                    continue
                due = time.monotonic() + self.job.flush_seconds
            try:
                if self.problem is None:
                    self._flush(work, final)
            except BaseException as error:
                self.problem = error
                self.control.stopped = True

    def _look(self, work: Work | None) -> None:
        """End a chunk that takes long, so that its elements can be committed and a wish to stop be heard."""
        reached = work.reached if work is not None else 0
        if work is not None and (self.seen == (work, reached) or self.control.stop()):
            work.lanes[0].cut()
        self.seen = (work, reached)

    def _flush(self, work: Work, final: bool) -> None:
        """Commit each lane's results so far."""
        for lane in work.lanes:
            low, high = lane.committed, len(lane.results)
            if not final:
                high = min(high, work.reached)  # what is within a chunk may not be settled yet
            if high > low:
                seconds = lane.seconds - lane.spent
                self._commit(work, lane, low, high, seconds)
                lane.committed, lane.spent = high, lane.spent + seconds

    def _commit(self, work: Work, lane: Lane, low: int, high: int, seconds: float) -> None:
        """Commit what became of the elements between two positions."""
        columns, inner, done = lane.stored(low, high)
        if lane.step.name in self.job.unkept:
            done = []
        grid = self._grid(work, lane, high, columns)
        each = seconds / (high - low)
        if len(done):
            at = np.array(done, np.int64) if lane.holes else np.arange(low, high)
            local = work.local[at]
            if not (local[1:] > local[:-1]).all():  # of loops they come iteration by iteration
                order = np.argsort(local)
                at, columns = at[order], [_cells(c, i, order) for c, i in zip(columns, inner, strict=True)]
            self._write(work, lane, grid, at, columns, inner, [], each)
        failed = np.array([p for p in list(lane.failures) if low <= p < high], np.int64)
        if len(failed):
            at = failed[np.argsort(work.local[failed])]
            self._write(work, lane, grid, at, [], [], [lane.failures[p] for p in at.tolist()], each)

    def _grid(self, work: Work, lane: Lane, ran: int, columns: Sequence[Any]) -> Grid:
        """The grid of blocks; a pilot chooses it now, from what its first elements took."""
        step, pilot = lane.step, self.job.pilot
        if pilot is None or not step.axes:
            return work.grid
        if self.report.blocks is None:
            seconds = sum(other.seconds for other in work.lanes) / max(ran, 1)
            n_bytes = sum(c.nbytes for c in columns) / max(ran, 1)
            elements = block_elements(pilot.n_elements, pilot.workers, seconds, n_bytes)
            block = pilot.layout.block(work.grid.shape, elements)
            for other in work.lanes:
                identity = self.study.records[other.step.name].identity
                block = self.study.store.set_grid(other.step.name, identity, block)
            self.report.blocks = block
        return Grid(work.grid.shape, self.report.blocks)

    def _write(
        self, work: Work, lane: Lane, grid: Grid, at: Positions, columns: Sequence[Any],
        inner: Sequence[tuple[int, ...]], failures: Sequence[Failure], each: float,
    ) -> None:  # fmt: skip
        """Commit elements, all done or all failed, that took `each` so many seconds."""
        study, step = self.study, lane.step
        record = study.records[step.name]
        local = work.local[at]
        spans = tuple((low, high) for low, high in ranges(local))
        made = {} if failures else dict(zip(step.outputs, columns, strict=True))
        shapes = dict(zip(step.outputs, inner, strict=False))
        shapes |= _longest(made)
        made |= {f"{n}?": TypedColumn(c.lengths, "int") for n, c in made.items() if isinstance(c, RowsColumn)}
        commit = Commit(
            step.name, record.identity, work.item.block, () if failures else spans, spans if failures else (),
            self.job.epoch, shapes,
            work.arguments.reads.get(step.name, ""), work.started, each * len(at), self.job.attempts + 1,
            self.report.host, self.report.worker, record.code[:12], step.name in study.forced,
            work.peak or peak_memory(self.job.driver is not None),
        )  # fmt: skip
        why = [replace(failure, local=int(p)) for failure, p in zip(failures, local, strict=False)]
        payload = Payload(made, why, None if failures else _read(work, lane, at))
        for part, carried, picked in _in_blocks(commit, payload, work.grid, grid):
            self.report.commits.append(study.store.commit(part, carried))
            self.report.n += part.n_done + part.n_failed
            for failure, position in zip(carried.failures, at[picked], strict=False):
                if len(self.report.failures) < MOST_FAILURES:
                    self.report.failures.append((step.name, part.block, failure))
                if position in lane.exceptions:
                    key = step.name, part.block, failure.local
                    self.report.exceptions[key] = lane.exceptions[position]


def _read(work: Work, lane: Lane, at: Positions) -> Any:
    """What elements read, in the bytes that are kept with them; None where their identity tells."""
    name = lane.step.name
    whole = work.arguments.digests.get(name)
    if whole is None:
        return None
    parts = []
    for trace in work.arguments.traces.get(name, ()):
        if isinstance(trace, str):
            parts.append(_made(work, trace, at))
        elif isinstance(trace, Carried):
            before = trace.before[at]
            rows = np.empty((len(at), 16), np.uint8)
            rows[before >= 0] = _made(work, trace.of, before[before >= 0])
            rows[before < 0] = traced(trace.outside.take(trace.rank(at[before < 0])))
            parts.append(rows)
        else:
            parts.append(trace[at])
    return joined(whole[at], parts) if parts else whole[at]


def _made(work: Work, output: str, at: Positions) -> Any:
    maker = next(lane for lane in work.lanes if output in lane.step.outputs)
    return traced(maker.made(output, at.tolist()))


def rehomed(report: Report, grid: Grid) -> None:
    """Put what a pilot sent home, in blocks of its own, into the blocks that another had chosen first."""
    if report.blocks is None or tuple(report.blocks) == grid.block:
        return
    chosen = Grid(grid.shape, tuple(report.blocks))
    sent = zip(report.commits, report.payloads, strict=True)
    found = [part for commit, payload in sent for part in _in_blocks(commit, payload, chosen, grid)]
    report.commits = [commit.named() for commit, _, _ in found]
    report.payloads = [payload for _, payload, _ in found]
    failures = [(commit.step, commit.block, why) for commit, payload, _ in found for why in payload.failures]
    report.failures, report.blocks = failures[:MOST_FAILURES], grid.block


def _in_blocks(
    commit: Commit, payload: Payload, made: Grid, grid: Grid
) -> Iterator[tuple[Commit, Payload, Positions | slice]]:
    """A commit to a block of the grid `made` as commits to blocks of `grid`; and which elements each has."""
    if grid is made:
        yield commit, payload, slice(None)
        return
    at = positions(commit.failed or commit.done)
    number, local = grid.locate(made.storage(commit.block, at))
    for each in np.unique(number).tolist():
        picked = np.flatnonzero(number == each)
        spans = tuple((low, high) for low, high in ranges(local[picked]))
        done, failed = ((), spans) if commit.failed else (spans, ())
        seconds = commit.seconds * len(picked) / len(at)
        columns = {n: _cells(c, commit.inner.get(n, ()), picked) for n, c in payload.columns.items()}
        failures = [replace(payload.failures[i], local=int(local[i])) for i in picked.tolist() if failed]
        digests = None if payload.digests is None else payload.digests[picked]
        inner = {**commit.inner, **_longest(columns)}
        part = replace(commit, block=grid.at(each), done=done, failed=failed, seconds=seconds, inner=inner)
        yield part, Payload(columns, failures, digests), picked


def _longest(columns: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The length of the longest row of each column of rows."""
    return {n: (int(c.lengths.max(initial=0)),) for n, c in columns.items() if isinstance(c, RowsColumn)}


def _cells(column: Any, shape: tuple[int, ...], picked: Positions) -> Any:
    """Part of a column; of one with cells, all those of the picked elements."""
    width = int(np.prod(shape))
    if not shape or isinstance(column, RowsColumn):
        return column.take(picked)
    return column.take((picked[:, None] * width + np.arange(width)).reshape(-1))
