"""The driver: keeps jobs in flight, takes what ends, finds what is ready; memory per block, not element."""

from __future__ import annotations

import concurrent.futures
import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from weft.engine.attention import Attention
from weft.engine.blame import Blame, unexplained
from weft.engine.committing import rehomed
from weft.engine.grouping import at_once, groups_of, growing, send_groups, unmeasured
from weft.engine.jobs import Job, Pilot, Report, Settings
from weft.engine.mending import Mending
from weft.engine.pools import Pool, Sent
from weft.engine.sizing import MOST_BLOCKS, job_size, weight
from weft.errors import CorruptResult
from weft.plan.blocks import block_elements
from weft.plan.dataflow import Group
from weft.study.arguments import Fetcher, Item
from weft.study.pilots import pilots
from weft.study.study import Study
from weft.study.survey import tracks_of
from weft.study.tracks import Track

TICK_SECONDS = 0.2


class Driver:
    """Drives one run to its end.

    Parameters
    ----------
    groups
        The fused steps, in running order.
    pool_of
        The pool that runs a group, given the group and what is known of it (elements, seconds each).
    emit
        Receives ``(kind, step, **data)``.
    """

    def __init__(
        self, study: Study, groups: Sequence[Group], pool_of: Callable[[Track], Pool], settings: Settings,
        emit: Callable[..., None],
    ) -> None:  # fmt: skip
        self.study, self.settings, self.emit, self.pool_of = study, settings, emit, pool_of
        self.fetcher = Fetcher.of(study)
        self.sent: dict[Any, Sent] = {}
        self.tracks = tracks_of(study, groups, settings.chosen, settings.steps)
        self.blame = Blame(study, emit)
        self.attention = Attention(self.tracks)
        self.mending = Mending(study, self.attention, emit)
        self.stopping = False
        self.cancelling = False
        self.problem: BaseException | None = None
        self.tokens = itertools.count()
        self.ticked = 0.0
        self.session = secrets.token_hex(4)

    def run(self) -> None:
        """Drive until nothing is left, or a failure or the user stops it.

        Raises
        ------
        StepError
            After a failure, unless ``on_error`` is ``"continue"``.
        WeftError
            If elements stay open that nothing keeps from being run.
        """
        try:
            while True:
                try:
                    self._advance()
                except CorruptResult as error:
                    if not self.mending.mend(error):
                        raise
                    continue
                if not self.sent:
                    break
                self._take()
        except BaseException:
            self._interrupt()
            raise
        if self.problem is not None:
            raise self.problem
        if self.blame.error is not None and self.settings.on_error != "continue":
            raise self.blame.error
        if not self.stopping and (left := unexplained(self.study, self.tracks)) is not None:
            raise left

    def _advance(self) -> None:
        """Send whatever can be sent."""
        self._send_suspects()
        while not self.stopping:
            if (track := self.attention.changed()) is not None:
                self._look(track)
            elif (track := self._sendable()) is not None:
                self._send(track)
            elif not self.attention:
                return

    def _look(self, track: Track) -> None:
        """Open a group whose shape and blocks are known by now, or send pilots; put it in line if ready."""
        if track.grid is None and not track.impossible:
            self._open(track)
            if track.impossible:
                self.attention.tell(track, ())
            elif track.grid is None:
                self._pilot(track)
        if track.ready:
            self.attention.wait(track, self.pool_of(track))

    def _sendable(self) -> Track | None:
        """The last group with blocks that are ready and a pool that has room for them."""
        for pool, places in self.attention.waiting.items():
            while places and sum(s.weight for s in self.sent.values() if s.pool is pool) < self._window(pool):
                track = self.tracks[-places.first]
                if track.ready and self.pool_of(track) is pool:
                    return track
                places.pop()
                if track.ready or track.grid is None:  # its pool is another one by now, or it is free again
                    self.attention.wake(track)
        return None

    def _window(self, pool: Pool) -> int:
        """How much may be under way in a pool: nothing while its devices are for the suspects alone."""
        alone = pool.devices and (self.blame.suspects or any(s.mark is not None for s in self.sent.values()))
        return 0 if alone else pool.window

    def _pilot(self, track: Track) -> None:
        """Choose the blocks of a group: as the user says, or from what its first elements take."""
        if self._pilots(track) or self.study.shape(track.first) is None:
            return
        pool = self.pool_of(track)
        if not self._window(pool):
            return self.attention.wait(track, pool)
        size = self.settings.block_size or unmeasured(track, pool)
        items = pilots(track, pool.n_jobs) if size is None else []
        if items and not items[0].n:  # blocked, all of them: nothing tells how long they would take
            size = block_elements(track.total(), pool.n_jobs, 1.0, 8.0)
        if size is not None:
            return self._open(track, size)
        pilot = Pilot(pool.n_jobs, track.total(), track.group.layout)
        for item in items:
            self._submit(track, pool, (item,), (), pilot)

    def _pilots(self, track: Track) -> list[Sent]:
        """The pilots of a group that are under way."""
        return [sent for sent in self.sent.values() if sent.track is track and sent.job.pilot is not None]

    def _open(self, track: Track, elements: int | None = None) -> None:
        """Open a group if its shape and blocks are known; with `elements`, its blocks are of so many."""
        if elements is not None:
            shape = self.study.shape(track.first)
            assert shape is not None
            block = track.group.layout.block(shape, elements, growing(track))
            for step in track.steps:
                block = self.study.store.set_grid(step.name, self.study.records[step.name].identity, block)
            self.study.blocks.update({step.name: block for step in track.steps})
        if track.open():
            assert track.grid is not None
            for sent in self._pilots(track):  # now it is known which blocks they are at work on
                placed = track.placed(sent.job.items[0])
                sent.numbers = tuple(track.grid.number(item.block) for item in placed)
                track.out.update(sent.numbers)
            self._settled(track, ())

    def _send(self, track: Track) -> None:
        """Send a run of ready blocks, or parts of one: about two seconds of work, or a share of the rest."""
        assert track.grid is not None
        pool = self.pool_of(track)
        if groups_of(track) is not None:
            self._settled(track, send_groups(track, pool, weight(track, pool), self._submit))
            return
        most = job_size(track, pool, self.sent.values())
        items: list[Item] = []
        numbers: list[int] = []
        size = 0
        while track.ready and (size < most or not items) and len(numbers) < MOST_BLOCKS:
            number = track.ready.first
            # A block that came to be ready and then lost its worker waits for what is suspected in it.
            found = [] if track.out[number] else track.items(number)
            n = sum(item.n for item in found)
            if items and size + n > most:
                break
            track.ready.pop()
            if not found:
                self._settled(track, (number,))
                continue
            items += found
            numbers.append(number)
            size += n
        parts = (
            [item.parts(most) for item in items]
            if size > 1.5 * most and len(numbers) == 1 and not track.group.chain
            else [[tuple(items)]]
        )
        for part in [p for found in parts for p in found if p]:
            self._submit(track, pool, part, tuple(numbers), None)

    def _submit(
        self, track: Track, pool: Pool, items: tuple[Item, ...], numbers: tuple[int, ...], pilot: Pilot | None
    ) -> None:
        job = Job(
            f"{self.session}-{next(self.tokens)}", items, self.study.epoch, self.settings.on_error, pilot,
            flush_seconds=self.settings.flush_seconds, unkept=track.unkept,
        )  # fmt: skip
        sent = pool.submit(self._supplied(job, track, pool), track, numbers, weight(track, pool))
        track.out.update(numbers)
        self.emit("job-sent", track.group.name, n=sum(i.n for i in items), token=job.token)
        self.sent[sent.future] = sent

    def _supplied(self, job: Job, track: Track, pool: Pool) -> Job:
        """A job with its arguments, where the worker cannot read them from the store."""
        if not pool.separate or self.study.store.durable:
            return job
        grid = track.grid or self.study.provisional(track.first)
        return replace(job, arguments=tuple(self.fetcher.fetch(item, grid) for item in job.items))

    def _send_suspects(self) -> None:
        while self.blame.suspects and not self.stopping:
            job, track, numbers = self.blame.suspects[0]
            pool = self.pool_of(track)
            if sum(s.mark is not None for s in self.sent.values()) >= at_once(track, pool):
                return
            self.blame.suspects.pop(0)
            sent = pool.submit_alone(self._supplied(job, track, pool), track, numbers)
            self.sent[sent.future] = sent

    def _take(self) -> None:
        """Wait for jobs to end, and take what they bring."""
        done = [future for future in self.sent if future.done()]
        if not done:
            waited = concurrent.futures.wait(
                self.sent, timeout=0.5, return_when=concurrent.futures.FIRST_COMPLETED
            )
            done = list(waited.done)
        if time.monotonic() - self.ticked > TICK_SECONDS:
            self.ticked = time.monotonic()
            self.emit("tick", counts=counts(self.tracks))
        for future in done:
            sent = self.sent.pop(future)
            if future.cancelled():
                self._let_go(sent)
            elif future.exception() is not None:
                self._lost(sent)
            else:
                self._ended(sent, future.result())
        if done and self.cancelling and not self.sent:
            self.stopping = True

    def _ended(self, sent: Sent, report: Report) -> None:
        """Take a report: count its commits, blame its failures, settle its blocks."""
        track = sent.track
        self._let_go(sent)
        if report.payloads:
            if track.grid is not None:
                rehomed(report, track.grid)
            for commit, payload in zip(report.commits, report.payloads, strict=True):
                self.study.store.commit(commit, payload)
        if sent.job.pilot is not None:
            self._piloted(track, report)
        for commit in report.commits:
            self.study.results[commit.step].add(commit)
            track.count(commit)
        if report.n:
            n, spent = track.measured
            n += sum(c.n_done for c in report.commits if c.step == track.first.name)
            track.measured = n, spent + report.seconds
        self._learn(track)
        self.blame.report(track, report)
        self.emit(
            "job-ended", track.group.name, n=report.n, seconds=report.seconds,
            worker=f"{report.host}:{report.worker}", token=sent.job.token,
            counts=counts([track]),
        )  # fmt: skip
        if report.problem is not None and not self.mending.mend(report.problem):
            self._problem(report.problem)
        self._judge()
        self._settled(track, sent.numbers)

    def _learn(self, track: Track) -> None:
        """Learn the lengths of rows that a group made; where they are longer now, there are more blocks."""
        if sum(self.study.learn(step) for step in track.steps):
            for other in self.tracks:
                if other.widen():
                    self._settled(other, ())

    def _piloted(self, track: Track, report: Report) -> None:
        """Take the blocks that a pilot chose; its commits are added and counted after that, and only once."""
        if track.grid is not None:
            return
        if report.blocks is not None:
            self.study.blocks.update({step.name: tuple(report.blocks) for step in track.steps})
            self._open(track)
        elif report.problem is None and not self._pilots(track):
            self._open(track, block_elements(track.total(), self.pool_of(track).n_jobs, 1.0, 8.0))

    def _problem(self, error: BaseException) -> None:
        """Something other than an element's failure ends the run; the first such thing is told."""
        self.problem = self.problem or error
        self.stop()

    def _lost(self, sent: Sent) -> None:
        """A job that brought nothing: its worker died, or it could not be sent."""
        mark = sent.mark.get() if sent.mark is not None else None
        self._let_go(sent)
        error = sent.future.exception()
        if not isinstance(error, concurrent.futures.BrokenExecutor):
            if not self.cancelling:  # then what is killed need not have died in any way that tells
                self._problem(self.blame.unsendable(sent.track, sent.job, error))
            return
        self.emit("worker-died", sent.track.group.name, token=sent.job.token)
        if sent.mark is None:
            sent.pool.broken(sent.executor)
        if sent.track.grid is None:
            # The pilot died: without a measurement, blocks are small.
            self._open(sent.track, block_elements(sent.track.total(), sent.pool.n_jobs, 0.1, 8.0))
        for step in sent.track.steps:
            sent.track.recount(step)
        self._learn(sent.track)
        numbers = self.blame.inquest(sent.track, sent.job, sent.numbers, mark)
        self.problem = self.problem or self.blame.problem
        self._judge()
        self._settled(sent.track, numbers)

    def _judge(self) -> None:
        """Stop after a failure, if that is what the user asked for."""
        failed = self.blame.error is not None and self.settings.on_error != "continue"
        if failed or self.problem is not None:
            self.blame.suspects.clear()
            self.stop(cancel=self.settings.on_error == "cancel")

    def _let_go(self, sent: Sent) -> None:
        sent.track.release(sent.numbers)
        if sent.mark is not None:
            sent.executor.shutdown(wait=False)
            sent.mark.remove()

    def _settled(self, track: Track, numbers: Sequence[int]) -> None:
        """Look at blocks again: what is open in them is sent again, what is settled lets others start."""
        for number in numbers:
            if track.settled is not None and not track.settled[number] and not track.out[number]:
                track.known[number] = False
                if not self.stopping:
                    track.consider(number)
        self.attention.wake(track)
        self.attention.tell(track, numbers)

    def stop(self, cancel: bool = False) -> None:
        """No new work; what is running ends, or with `cancel` is ended. May be asked from any thread."""
        if not self.stopping:
            self.emit("stopping", "")
        self.stopping = True
        pools = {sent.pool for sent in self.sent.values()}
        for pool in pools:
            pool.stop()
        for future in list(self.sent):
            future.cancel()
        if cancel and not self.cancelling:
            self.cancelling = True
            for pool in pools:
                pool.cancel()
            for sent in self.sent.values():
                if sent.mark is not None:
                    sent.executor.shutdown(wait=False, kill_workers=True)  # type: ignore[call-arg]

    def _interrupt(self) -> None:
        """Ctrl-C, or an error of weft's own: commit what is running, then let go."""
        self.stop()
        deadline = time.monotonic() + 30
        while self.sent and time.monotonic() < deadline:
            self._take()


def counts(tracks: Iterable[Track]) -> dict[str, dict[str, Any]]:
    """Elements of each step by state, as observers are told."""
    return {step: vars(count).copy() for track in tracks for step, count in track.counts.items()}
