"""From results in a worker's lists to commits in the store, behind the worker's back."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Sequence
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
    """An item being run: its lanes, how far they are, and how much of that is committed."""

    item: Item
    local: Positions
    grid: Grid
    n: int
    arguments: Arguments
    lanes: list[Lane] = field(default_factory=list)
    reached: int = 0
    running: int = 0
    committed: list[int] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
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
        self.lock = threading.Lock()
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
        work.committed = [0] * len(work.lanes)
        work.spent = [0.0] * len(work.lanes)
        if self.job.driver is not None:
            forget_peak()
        self.current = work
        self._raise()

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

    def _raise(self) -> None:
        if self.problem is not None:
            raise self.problem

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
        for number, lane in enumerate(work.lanes):
            low, high = work.committed[number], len(lane.results)
            if not final:
                high = min(high, work.reached)  # what is within a chunk may not be settled yet
            if high > low:
                seconds = lane.seconds - work.spent[number]
                self._commit(work, lane, low, high, seconds)
                work.committed[number], work.spent[number] = high, work.spent[number] + seconds

    def _commit(self, work: Work, lane: Lane, low: int, high: int, seconds: float) -> None:
        columns, inner, done = lane.stored(low, high)
        if lane.step.name in self.job.unkept:
            done = []
        failed = {p: f for p, f in lane.failures.items() if low <= p < high}
        grid = self._grid(work, lane, high, columns)
        done_at = np.array(done, np.int64) if lane.holes or not done else np.arange(low, high)
        for block, local, picked in _by_block(work, grid, done_at):
            part = (
                columns
                if np.array_equal(picked, np.arange(len(done_at)))
                else [_cells(c, i, picked) for c, i in zip(columns, inner, strict=True)]
            )
            self._write(
                work,
                lane,
                block,
                local,
                done_at[picked],
                part,
                inner,
                [],
                seconds * len(picked) / (high - low),
            )
        if failed:
            at = np.array(sorted(failed), np.int64)
            for block, local, picked in _by_block(work, grid, at):
                why = [replace(failed[int(at[i])], local=int(p)) for i, p in zip(picked, local, strict=True)]
                self._write(
                    work, lane, block, local, at[picked], [], [], why, seconds * len(picked) / (high - low)
                )

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
        self,
        work: Work,
        lane: Lane,
        block: tuple[int, ...],
        local: Positions,
        at: Positions,
        columns: Sequence[Any],
        inner: Sequence[tuple[int, ...]],
        failures: list[Failure],
        seconds: float,
    ) -> None:
        study, step = self.study, lane.step
        record = study.records[step.name]
        spans = tuple((low, high) for low, high in ranges(local))
        made = {} if failures else dict(zip(step.outputs, columns, strict=True))
        shapes = dict(zip(step.outputs, inner, strict=False))
        if step.ragged:
            rows = {n: c.lengths for n, c in made.items() if isinstance(c, RowsColumn)}
            shapes = {name: (int(lengths.max(initial=0)),) for name, lengths in rows.items()}
            made |= {f"{name}?": TypedColumn(lengths, "int") for name, lengths in rows.items()}
        commit = Commit(
            step.name, record.identity, block, () if failures else spans, spans if failures else (),
            self.job.epoch, shapes,
            work.arguments.reads.get(step.name, ""), work.started, seconds, self.job.attempts + 1,
            self.report.host, self.report.worker, record.code[:12], step.name in study.forced,
            work.peak or peak_memory(self.job.driver is not None),
        )  # fmt: skip
        payload = Payload(
            made, failures,
            None if failures else _read(work, lane, at),
        )  # fmt: skip
        with self.lock:
            self.report.commits.append(study.store.commit(commit, payload))
            self.report.n += len(at)
            for failure in failures:
                if len(self.report.failures) < MOST_FAILURES:
                    self.report.failures.append((step.name, block, failure))
            for position, error in lane.exceptions.items():
                for where, place in zip(at.tolist(), local.tolist(), strict=True):
                    if where == position:
                        self.report.exceptions[step.name, block, place] = error


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
    commits, payloads, failures = [], [], []
    for commit, payload in zip(report.commits, report.payloads, strict=True):
        at = positions(commit.failed or commit.done)
        number, local = grid.locate(chosen.storage(commit.block, at))
        for each in np.unique(number).tolist():
            picked, block = np.flatnonzero(number == each), grid.at(each)
            spans = tuple((low, high) for low, high in ranges(local[picked]))
            done, failed = ((), spans) if commit.failed else (spans, ())
            commits.append(replace(commit, block=block, done=done, failed=failed).named())
            columns = {n: _cells(c, commit.inner.get(n, ()), picked) for n, c in payload.columns.items()}
            why = (
                [replace(payload.failures[i], local=int(local[i])) for i in picked.tolist()]
                if commit.failed
                else []
            )
            payloads.append(
                Payload(columns, why, None if payload.digests is None else payload.digests[picked])
            )
            failures += [(commit.step, block, failure) for failure in why]
    report.commits, report.payloads, report.blocks = commits, payloads, grid.block
    report.failures = failures[:MOST_FAILURES]


def _by_block(work: Work, grid: Grid, at: Positions) -> Any:
    """Elements by block of the grid: block, local positions, and which elements they are."""
    if not len(at):
        return
    if grid is work.grid:
        which = _ascending(work.local[at])
        yield work.item.block, work.local[at[which]], which
        return
    number, local = grid.locate(work.grid.storage(work.item.block, work.local[at]))
    for block in np.unique(number).tolist():
        which = np.flatnonzero(number == block)
        which = which[_ascending(local[which])]
        yield grid.at(block), local[which], which


def _ascending(local: Positions) -> Positions:
    """The order in which positions ascend: of loops they come iteration by iteration."""
    in_place = bool((local[1:] > local[:-1]).all())
    return np.arange(len(local)) if in_place else np.argsort(local, kind="stable")


def _cells(column: Any, shape: tuple[int, ...], picked: Positions) -> Any:
    """Part of a column; of one with cells, all those of the picked elements."""
    width = int(np.prod(shape))
    if not shape or isinstance(column, RowsColumn):
        return column.take(picked)
    return column.take((picked[:, None] * width + np.arange(width)).reshape(-1))
