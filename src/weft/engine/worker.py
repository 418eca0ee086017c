"""The worker: one function runs one job. The only caller of users' functions, the same on every backend."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from weft.backends.devices import device
from weft.engine.batches import BatchLane
from weft.engine.caching import remembering
from weft.engine.calls import positional, returning
from weft.engine.committing import Committer, Work
from weft.engine.context import Context
from weft.engine.control import Control
from weft.engine.failures import ElementCancelled, Mark, with_timeout
from weft.engine.jobs import PILOT_SECONDS, Job, Report
from weft.engine.lanes import FIRST_CHUNK, Constant, Lane, Tempo, Upstream
from weft.engine.printed import keeping
from weft.engine.turns import Previous, Turns
from weft.model.resources import Resources
from weft.model.step import Parameter, Step
from weft.plan.blocks import Grid
from weft.store.artifacts import keeping_files
from weft.store.commits import DONE
from weft.store.fs import current as current_fs
from weft.store.record import RunDirectory
from weft.study.arguments import Arguments, Carried, Fetcher, Item, Single, in_order
from weft.study.reading import injected
from weft.study.streams import generator
from weft.study.study import Study
from weft.study.whole import Whole
from weft.values.columns import SequenceColumn

HOST = platform.node()


def run_job(study: Study, job: Job, stopping: Callable[[], bool] = lambda: False) -> Report:
    """Run a job: fetch arguments, call, commit.

    Parameters
    ----------
    stopping
        Says whether the driver wants no more.

    Returns
    -------
    Report
        Also after a failure, a wish to stop, or a disk that refused: it says so.
    """
    report = Report(host=HOST, worker=f"{os.getpid()}:{threading.get_ident() % 10_000_000}")
    control = Control(job, stopping)
    mark = Mark(job.mark) if job.mark else None
    started = time.perf_counter()
    committer = Committer(study, job, report, control)
    current: Work | None = None
    fetcher = Fetcher.of(study)
    kept = contextlib.ExitStack()
    if study.path is not None:
        fs = RunDirectory(study.path, current_fs()).fs
        kept.enter_context(keeping_files(study.path, fs))
        name = f"{HOST}-{os.getpid()}-{job.token}"
        kept.enter_context(keeping(study.path, fs, name, lambda: current.where() if current else None))
    try:
        for number, item in enumerate(job.items):
            if control.stop():
                break
            first = study.graph.steps[item.steps[0]]
            grid = study.provisional(first) if job.pilot and first.axes else study.grid(first)
            assert grid is not None
            arguments = job.arguments[number] if job.arguments else fetcher.fetch(item, grid)
            current = _work(study, item, grid, arguments, control, mark, number)
            committer.begin(current)
            ended = _run(current, control, committer)
            committer.finish(current)
            if not ended:
                break
    except ElementCancelled:
        if current is not None:
            committer.finish(current)
    except BaseException as error:
        if current is not None and isinstance(error, KeyboardInterrupt):
            committer.finish(current)
        report.problem = error
    finally:
        kept.close()
        problem = committer.close()
        report.problem = report.problem or problem
    report.seconds = time.perf_counter() - started + control.saved
    return report


def _run(work: Work, control: Control, committer: Committer) -> bool:
    """Carry the elements of an item through its chain; whether all were run."""
    tempo = Tempo(work.n if work.lanes[0].step.batch else FIRST_CHUNK)
    first, n = work.lanes[0], work.n
    stop_at_failure = control.job.on_error in ("stop", "cancel")
    budget = PILOT_SECONDS if control.job.pilot else math.inf
    begun = time.perf_counter()
    position = 0
    turns = Turns(work.arguments, work.lanes, n)
    while position < n:
        high = position + tempo.next(
            n - position, not first.step.batch and any(lane.mutable for lane in work.lanes)
        )
        high = turns.high(position, high)
        if not turns.begin(position, high):
            break
        for number, lane in enumerate(work.lanes):
            work.running = number
            lane.begin()
            clock = time.perf_counter() - control.saved
            lane.advance(high)
            while lane is not first and len(lane.results) < high and not control.stop():
                lane.advance(high)
            high = min(high, len(lane.results))
            lane.seconds += time.perf_counter() + control.saved - clock
        ran, position = high - position, high
        work.reached = position
        tempo.tick(ran)
        if stop_at_failure and any(lane.failures for lane in work.lanes):
            control.stopped = True
        if position < n and (control.stop() or 4 * (time.perf_counter() - begun) > budget):
            return False
    return True


def _work(
    study: Study, item: Item, grid: Grid, arguments: Arguments, control: Control, mark: Mark | None = None,
    number: int = 0,
) -> Work:  # fmt: skip
    local = in_order(item, study.graph.steps[item.steps[0]], grid)
    work = Work(item, local, grid, len(local), arguments)
    made: dict[str, Upstream] = {}
    for lane_number, name in enumerate(item.steps):
        step = study.graph.steps[name]
        lane = _lane(study, step, made, work, control)
        if mark is not None:
            lane.call = _marked(lane, mark, number, lane_number)
        lane.stop_at_failure = control.job.on_error in ("stop", "cancel")
        lane.alone = len(item.steps) == 1 and not step.batch
        work.lanes.append(lane)
        for place, output in enumerate(step.outputs):
            made[output] = Upstream(lane, place)
    for source in (source for lane in work.lanes for source in lane.sources if isinstance(source, Previous)):
        source.lane = made[source.of].lane
    return work


def _lane(study: Study, step: Step, made: dict[str, Upstream], work: Work, control: Control) -> Lane:
    sources: list[Any] = []
    about = About(study, step, work, control)
    for parameter in step.parameters:
        given = work.arguments.given.get((step.name, parameter.name))
        if injected(step, parameter, study):
            sources.append(about.source(parameter))
        elif given is None:
            sources.append(made[parameter.name])
        elif isinstance(given, Single):
            sources.append(Constant(given.value))
        elif isinstance(given, Carried):
            sources.append(Previous(given))
        elif isinstance(given, Whole):
            sources.append(given)
        elif step.batch:
            sources.append(given.to_array())
        else:
            sources.append(given if isinstance(given, SequenceColumn) else given.tolist())
    sizes = {
        axis: size
        for axis in step.opened
        if axis != step.ragged and (size := step.sizes.get(axis, study.axes[axis].length)) is not None
    }
    call = positional(step, [parameter.name for parameter in step.parameters], control.instances)
    if step.timeout is not None:
        call = with_timeout(call, step.timeout, kill=bool(control.job.driver))
    live = not study.store.durable and not getattr(study.store, "sends", False)
    attempts = step.retries + 1 - control.job.attempts
    if step.batch:
        return BatchLane(step, call, sources, attempts, live, about.again)
    call = returning(step, call, sizes, remembering(study, step, sources, control))
    return Lane(step, call, sources, attempts, live, about.again)


def _marked(lane: Lane, mark: Mark, item: int, number: int) -> Callable[..., Any]:
    call, results, setter = lane.call, lane.results, mark.set

    def marked(*args: Any) -> Any:
        setter(item, number, len(results))
        return call(*args)

    return marked


class About:
    """Makes what a step asks for by annotation: streams, contexts, resources, each when it is called."""

    def __init__(self, study: Study, step: Step, work: Work, control: Control) -> None:
        self.study, self.step, self.arguments, self.control = study, step, work.arguments, control
        # Not `work` itself: it holds the lanes, which hold this, and circles are freed late (200 MB at 10^7).
        self.item, self.local, self.grid = work.item, work.local, work.grid
        self.again: dict[int, int] = {}

    def source(self, parameter: Parameter) -> Any:
        """What to inject for each element."""
        if parameter.injected == "rng":
            return _Made(self.stream, lambda chosen: [self.stream(position) for position in chosen])
        if parameter.injected == "ctx":
            return _Made(self.context, self.contexts)
        return _Made(self.resources, lambda chosen: self.resources(chosen[0]))

    def stream(self, position: int) -> np.random.Generator:
        """The element's random stream, from its start."""
        return generator(self.study.seed, self.arguments.words[self.step.name][position])

    def contexts(self, chosen: list[int]) -> Context:
        """The context of a batch: lists instead of single positions and values."""
        one = self.context(chosen[0])
        index = {axis: [self.arguments.index[axis][p] for p in chosen] for axis in one.index}
        coords = {name: [self.arguments.coords[name][p] for p in chosen] for name in one.coords}
        return replace(one, index=index, coords=coords)

    def resources(self, position: int) -> Resources:
        """What was asked for, for this element."""
        asked = self.step.resources
        if callable(asked):
            values = {name: values[position] for name, values in self.arguments.coords.items()}
            asked = asked(values)
        return Resources.from_any(asked)

    def context(self, position: int) -> Context:
        """The element's context."""
        study, step = self.study, self.step
        index = {axis: values[position] for axis, values in self.arguments.index.items() if axis in step.axes}
        block, local = self.item.block, int(self.local[position])
        where = [int(p[0]) for p in self.grid.storage(block, np.array([local]))]
        element = f"{step.name}-{study.records[step.name].identity[:12]}-{'-'.join(map(str, where)) or 'all'}"
        return Context(
            step.name,
            study.name,
            element,
            index,
            {name: values[position] for name, values in self.arguments.coords.items()},
            self.again.get(position, 1) + self.control.job.attempts,
            step.name in study.forced,
            self.resources(position),
            iteration={loop.name: index[loop.name] for loop in step.loops if loop.name in index},
            device=device(),
            folder=f"{study.path}/scratch/{element}" if study.path else None,
            stopping=self.control.stop,
        )


@dataclass(frozen=True)
class _Made:
    """Values that are made when they are fetched, one by one or many for a batch."""

    make: Callable[[int], Any]
    many: Callable[[list[int]], Any]

    def __getitem__(self, position: int) -> Any:
        return self.make(position)


def call_arguments(study: Study, step: Step, item: Item) -> dict[str, Any]:
    """What an item's first element of a step is called with, by the function's own argument names."""
    grid = study.grid(step)
    assert grid is not None
    chain = [step]
    for other in reversed(study.graph.order):
        read = any(p.name in other.outputs for s in chain for p in s.parameters if not s.is_bound(p))
        stored = (
            study.results[other.name].state(grid, item.block).states() if read and not other.keep else None
        )
        if stored is not None and stored[item.local[0][0]] != DONE:
            chain.insert(0, other)  # it keeps nothing: what it made is made once more
    item = replace(item, steps=tuple(s.name for s in chain))
    control = Control(Job("look", (item,), study.epoch), lambda: False)
    arguments = Fetcher(study).fetch(item, grid)
    lanes = _work(study, item, grid, arguments, control).lanes
    for lane in lanes[:-1]:
        lane.begin()
        lane.advance(1)
    values = lanes[-1].arguments(0)
    return {p.argument: value for p, value in zip(step.parameters, values, strict=True)}
