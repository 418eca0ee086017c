"""Who is to blame: failures of elements, deaths of workers, and the suspects that run alone to tell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from weft.engine.failures import step_error
from weft.engine.grouping import groups_of
from weft.engine.jobs import Job, Report
from weft.engine.worker import HOST
from weft.errors import InvalidInput, StepError, WeftError
from weft.plan.blocks import Grid, positions
from weft.store.commits import Commit, Failure, Payload
from weft.study.arguments import Item, in_order, place
from weft.study.arrays import Values
from weft.study.study import Study
from weft.study.tracks import Track

MOST_DEATHS = 10  # of jobs that brought no new commit, before the run stops


class Blame:
    """Keeps the first failure of a run, and finds the elements that kill their workers."""

    def __init__(self, study: Study, emit: Callable[..., None]) -> None:
        self.study, self.emit = study, emit
        self.error: StepError | None = None
        self.problem: WeftError | None = None
        # Jobs to be run alone, because the workers that had them died, and the blocks that they are at.
        self.suspects: list[tuple[Job, Track, tuple[int, ...]]] = []
        self.deaths: Counter[tuple[Any, ...]] = Counter()
        self.idle_deaths = 0

    def report(self, track: Track, report: Report) -> None:
        """Take the failures that a job reports."""
        if report.n:
            self.idle_deaths = 0
        for step, block, failure in report.failures if track.grid is not None else ():
            self.failed(track, step, block, failure, report.exceptions.get((step, block, failure.local)))

    def failed(
        self, track: Track, step: str, block: tuple[int, ...], failure: Failure,
        original: BaseException | None = None,
    ) -> None:  # fmt: skip
        """Note a failure, the first one for good: with its position and the values it was given."""
        assert track.grid is not None
        index, coords = located(self.study, step, track.grid, block, failure.local)
        error = step_error(step, failure, index, coords, original)
        self.error = self.error or error
        self.emit(
            "element-failed", error.step, message=str(error), traceback=failure.traceback, index=error.index
        )

    def inquest(
        self, track: Track, job: Job, numbers: tuple[int, ...], mark: tuple[int, int, int] | None
    ) -> tuple[int, ...]:
        """Look into the death of a worker: charge the element that it marked, have the rest run again alone.

        Parameters
        ----------
        mark
            What a careful worker was running; None if it was not one.

        Returns
        -------
        tuple of int
            Numbers of the blocks that the job touched.
        """
        assert track.grid is not None
        if job.pilot is not None:
            items = [part for item in job.items for part in track.placed(item)]
            job = replace(job, items=tuple(items), pilot=None)
            numbers = tuple(track.grid.number(item.block) for item in items)
        guilty, deaths = self._charge(track, job, mark) if mark is not None else (None, 0)
        if guilty is not None:
            if deaths > self.study.graph.steps[guilty.steps[0]].retries:
                self._bury(track, guilty, deaths)
            elif track.group.chain:  # it stays with those that it follows
                guilty, job = None, replace(job, attempts=deaths)
            else:
                again = replace(job, token=f"{job.token}r", items=(guilty,), attempts=deaths)
                self._suspect(track, again)
        items = [
            self._owed(item, job, guilty) for number in dict.fromkeys(numbers) for item in track.items(number)
        ]
        left = tuple(item for item in items if item.n)
        if left:
            attempts = job.attempts if track.group.chain and guilty is None else 0
            self._suspect(track, replace(job, token=f"{job.token}s", items=left, attempts=attempts))
        return numbers

    @staticmethod
    def _owed(item: Item, job: Job, guilty: Item | None) -> Item:
        """The part of an open item that was this job's: others may be at work on the same block."""
        mine = [positions(own.local) for own in job.items if own.block == item.block]
        left = np.intersect1d(positions(item.local), np.concatenate([np.empty(0, np.int64), *mine]))
        if guilty is not None and item.block == guilty.block:
            left = np.setdiff1d(left, positions(guilty.local))
        return Item.of(item.steps, item.block, left)

    def _suspect(self, track: Track, job: Job) -> None:
        """Have a job run again, alone and marked."""
        assert track.grid is not None
        numbers = tuple(dict.fromkeys(track.grid.number(item.block) for item in job.items))
        if groups_of(track) is not None:  # nothing else starts before it: it may be of the same group
            numbers = tuple(np.flatnonzero(~track.settled).tolist())
        track.out.update(numbers)
        self.suspects.append((job, track, numbers))

    def _charge(self, track: Track, job: Job, mark: tuple[int, int, int]) -> tuple[Item | None, int]:
        """The element that ran when its worker died, and how often it did; None if nothing was running."""
        number, lane, position = mark
        if number < 0:
            self.idle_deaths += 1
            if self.idle_deaths >= MOST_DEATHS:
                self.problem = WeftError(
                    f"Workers died {self.idle_deaths} times without a single new result, and not while an "
                    "element ran: the memory of the machine or the initializer may be the reason."
                )
            return None, 0
        item = job.items[number]
        assert track.grid is not None
        local = in_order(item, track.first, track.grid)[position : position + 1]
        key = (item.steps[lane], item.block, int(local[0]))
        self.deaths[key] += 1
        return Item.of(item.steps[lane:], item.block, local), self.deaths[key]

    def _bury(self, track: Track, guilty: Item, deaths: int) -> None:
        """Commit the failure of an element whose worker died as often as its retries allow."""
        step, block, local = guilty.steps[0], guilty.block, guilty.local[0][0]
        grid = track.grid
        assert grid is not None
        message = f"the worker process died while it ran this element (attempt {deaths})"
        timeout = self.study.graph.steps[step].timeout
        if timeout is not None:
            message += f"; it was ended if it did not react to its timeout of {timeout:g} s"
        failure = Failure(local, "WorkerDied", message, f"WorkerDied: {message}\n", deaths, "death")
        record = self.study.records[step]
        commit = Commit(
            step, record.identity, block, (), guilty.local, self.study.epoch, started=time.time(),
            attempt=deaths, host=HOST, worker="driver", code=record.code[:12],
        )  # fmt: skip
        commit = self.study.store.commit(commit, Payload({}, [failure]))
        self.study.results[step].add(commit)
        track.failed.setdefault((step, grid.number(block)), set()).add(local)
        track.counts[step].failed += 1
        self.failed(track, step, block, failure)

    def unsendable(self, track: Track, job: Job, error: BaseException | None) -> WeftError:
        """The error for a job that could not be sent, or whose report could not come back."""
        name = track.group.name
        if isinstance(error, WeftError):
            return error
        problem = InvalidInput(
            f"{_culprit(job) or f'The arguments of step {name!r}'} cannot be pickled to be sent to another "
            f"process: {error!r}. "
            "Give something that can be, or use backend='thread_pool' or 'sequential'."
        )
        problem.__cause__ = error
        return problem


def unexplained(study: Study, tracks: Iterable[Track]) -> WeftError | None:
    """The error for a run that ends by itself with elements open though none failed; None for any other."""
    tracks = list(tracks)
    left = [
        f"{name} ({'an unknown number' if count.open is None else f'{count.open:,} of {count.total:,}'})"
        for track in tracks
        if not track.finished
        for name, count in track.counts.items()
    ]
    if not left or any(track.failed for track in tracks):
        return None
    kept = f" What is done is kept in {study.path}, and running again may go on." if study.path else ""
    return WeftError(
        f"The run ended with elements open, though none failed: {', '.join(left)}. This is a mistake "
        f"of weft's own: please report it, with the pipeline.{kept}"
    )


def _culprit(job: Job) -> str:
    """Which argument of a job cannot be pickled, and why; an empty string if all can."""
    import cloudpickle

    for (step, name), value in (
        pair for arguments in job.arguments or () for pair in arguments.given.items()
    ):
        try:
            cloudpickle.dumps(value)
        except Exception as error:
            return f"The input {name!r} of step {step!r} ({error})"
    return ""


def located(
    study: Study, step: str, grid: Grid, block: tuple[int, ...], local: int
) -> tuple[dict[str, int], dict[str, Any]]:
    """Logical position on each axis, and the values of the inputs along them, of one element."""
    held = study.graph.steps[step]
    where: Mapping[str, Any] = dict(zip(held.axes, grid.storage(block, np.array([local])), strict=True))
    index, coords = place(study, Values(study), held, where, 1)
    return {a: int(p[0]) for a, p in index.items()}, {n: v[0] for n, v in coords.items()}
